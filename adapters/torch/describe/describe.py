"""How a PyTorch module becomes steps of ops, and when it must not.

The table holds class names of ``torch.nn.modules``, and those of other packages with the package
before them (``key_of``). It is filled by the family modules beside this file, none of which imports
torch: a description reads attributes of the module it is given. It applies only where the class
that defines the arithmetic is the class described; a subclass or an instance with a ``forward`` of
its own is refused by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from probe.description import Description, Step, Weight
from probe.description.custom_layers import describe_registered, registered
from probe.errors import Undescribed
from probe.ops import Reshape

from .module_options import unread, unread_argument

__all__ = [
    "SPATIAL",
    "Levels",
    "ModuleCall",
    "Scale",
    "batched",
    "calls_others",
    "chain",
    "completes",
    "describe",
    "described",
    "described_as",
    "described_by_name",
    "describes",
    "framework_class",
    "key_of",
    "ntuple",
    "opaque",
    "public_name",
    "refusal",
]

SPATIAL = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
"""What PyTorch's documentation calls the axes after (batch, channels)."""

_KEPT = 512
"""Of how many classes what was found out is kept."""
_FORWARD = ("forward", "_conv_forward", "__call__", "_call_impl", "_wrapped_call_impl")


class Levels(NamedTuple):
    """What a quantised tensor's integers stand for: scale * (integer - zero_point), from low to
    high."""

    scale: float
    zero_point: int
    low: int
    high: int


class Scale(NamedTuple):
    """What one of Brevitas' QuantTensors brings along: its scale, how many bits its integers have
    (None: they are none), and a sign."""

    size: np.ndarray
    bits: float | None
    signed: bool


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module: the tensors it was given, and how a parameter is read while the call is
    on."""

    inputs: tuple[np.ndarray, ...]
    read: Callable[[str], Weight | None]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What ``forward`` received, by the names of its parameters; a tensor anywhere in it is the
    ``Ref`` of that input."""
    may_use_lossy_algorithm: bool = False
    """Whether PyTorch may choose kernels that lose digits here (``Op.lossy_algorithm``)."""
    levels: tuple[Levels | None, ...] = ()
    """Those of the inputs that are quantised tensors, of which ``inputs`` has the dequantised
    values."""
    output_levels: tuple[Levels | None, ...] = ()
    """Those of the outputs."""
    engine: str = ""
    """What computes with quantised tensors, such as "x86" or "qnnpack"."""
    fused: bool = False
    """Whether its first three tensors are one, and nothing is on that keeps PyTorch from its fused
    attention."""
    scales: tuple[Scale | None, ...] = ()
    """Those of the inputs that are Brevitas' QuantTensors, of which ``inputs`` has the values."""

    @property
    def x(self) -> np.ndarray:
        """The first tensor, and for most layers the only one."""
        return self.inputs[0]

    def weight(
        self, name: str, axes: tuple[int, ...] | None = None, shape: tuple[int, ...] | None = None
    ) -> Weight | None:
        """The parameter or buffer of that name, brought to the op's layout; None where the module
        has none."""
        weight = self.read(name)
        if weight is None or (axes is None and shape is None):
            return weight
        return replace(weight, axes=axes, shape=shape)

    def required(
        self, name: str, axes: tuple[int, ...] | None = None, shape: tuple[int, ...] | None = None
    ) -> Weight:
        """The same for one that the layer cannot do without."""
        weight = self.weight(name, axes, shape)
        if weight is None:
            raise Undescribed(f"its {name} is None")
        return weight


Describer = Callable[[Any, ModuleCall], Description]
Refuser = Callable[[Any], str]


@dataclass(frozen=True)
class _DescribedModule:
    describe: Describer
    refuses: Refuser
    several: bool


_TABLE: dict[str, _DescribedModule] = {}
_COMPLETIONS: list[Callable[[Any, ModuleCall, Description], Description]] = []


def describes(
    *names: str, refuses: Refuser = lambda module: "", several: bool = False
) -> Callable[[Describer], Describer]:
    """Registers a function for classes, named as by ``key_of``; ``refuses`` gives the reason why a
    module cannot be described, or "".

    ``several`` where the function looks at all that the call was given (``call.arguments``), and
    not at one tensor alone.
    """

    def register(function: Describer) -> Describer:
        _TABLE.update(dict.fromkeys(names, _DescribedModule(function, refuses, several)))
        _owner.cache_clear()
        _computes.cache_clear()
        return function

    return register


def completes(
    function: Callable[[Any, ModuleCall, Description], Description],
) -> Callable[[Any, ModuleCall, Description], Description]:
    """Registers what adds to a description the steps that quantisation puts behind any module."""
    _COMPLETIONS.append(function)
    return function


def described(elsewhere: bool = False) -> tuple[str, ...]:
    """The names of the described classes of torch.nn, in alphabetical order; with ``elsewhere``
    those of other packages."""
    return tuple(sorted(name for name in _TABLE if ("." in name) == elsewhere))


@lru_cache(maxsize=_KEPT)
def key_of(cls: type) -> str:
    """What a class is registered by: its name in torch.nn, else also the package it is imported
    from."""
    where = cls.__module__
    if where.startswith("torch.nn.modules."):
        return cls.__name__
    if where.startswith("torch.ao.quantization."):
        return f"torch.ao.quantization.{cls.__name__}"
    if where.startswith("torch.ao."):
        package = where.partition(".modules")[0]
    else:
        package = where
    return f"{package}.{cls.__name__}"


def describe(module: Any, call: ModuleCall) -> Description:
    """The steps of one call; raises Undescribed with the reason where there are none."""
    if registered(module):
        return describe_registered(module, call)
    reason = refusal(module)
    if reason:
        raise Undescribed(reason)
    owner = _owner(module.__class__)
    assert owner is not None
    key = key_of(owner)
    entry = _TABLE[key]
    if len(call.inputs) != 1 and not entry.several:
        raise Undescribed(f"it was called with {len(call.inputs)} tensors; one was expected")
    reason = "" if "." in key else unread_argument(module, owner, call.arguments)
    if reason:
        raise Undescribed(reason)
    description = entry.describe(module, call)
    for complete in _COMPLETIONS:
        description = complete(module, call, description)
    return description


def described_as(name: str, module: Any, call: ModuleCall) -> Description:
    """The steps of a module that computes what the class of that name does."""
    return _TABLE[name].describe(module, call)


def described_by_name(name: str, attributes: Mapping[str, Any], call: ModuleCall) -> Description:
    """The steps of what a module of that class with these attributes computes, for a function that
    does the same."""
    entry = _TABLE.get(name)
    if entry is None:
        raise Undescribed(
            f"torch.nn.{name} has no description; it would be added in adapters/torch"
        )
    module = type(name, (), dict(attributes))()
    reason = entry.refuses(module)
    if reason:
        raise Undescribed(reason)
    return entry.describe(module, call)


def refusal(module: Any) -> str:
    """Why the module has no description, or ""; the reasons that need no call, so that the listing
    has them too."""
    if registered(module):
        return ""
    if vars(module).get("blind"):
        return str(module.blind)  # TorchScript that is not followed
    owner = _owner(module.__class__)
    if owner is None and opaque(module):
        return (
            f"{public_name(type(module))} has no description; it would be added in adapters/torch"
        )
    if owner is None:
        return (
            f"{public_name(type(module))} has a custom forward: the modules and functions "
            "that it calls are checked individually"
        )
    return (
        _overridden(module, owner) or unread(module, owner) or _TABLE[key_of(owner)].refuses(module)
    )


def framework_class(module: Any) -> bool:
    """Whether the module's forward is PyTorch's own and computes something itself, rather than
    calling its children in turn."""
    return not _replaced(module, "forward") and _computes(
        module.__class__, getattr(type(module), "forward", None)
    )


@lru_cache(maxsize=_KEPT)
def _computes(cls: type, forward: Any) -> bool:
    """The same of a class with that forward, which may be exchanged."""
    owner = _definer(cls, "forward")
    if owner is None or owner.__module__ in (
        "torch.nn.modules.container",
        "torch.nn.modules.module",
    ):
        return False
    if owner.__module__.startswith("torch.ao.nn.quantizable.") or owner.__module__.endswith(
        (".functional_modules", "torch.nn.modules.transformer", "torch.nn.modules.loss")
    ):
        return False  # made of modules and functions that are checked one by one
    return (
        owner.__module__.startswith(("torch.nn.modules.", "torch.ao.nn.", "brevitas.nn."))
        or key_of(owner) in _TABLE
    )


def opaque(module: Any) -> bool:
    """Whether the module is a layer of its own, rather than broken down into the modules and
    functions that its forward calls."""
    return framework_class(module) or registered(module)


def calls_others(module: Any) -> bool:
    """Whether what the module computes is known by the modules and functions that it calls."""
    return not opaque(module) and not vars(module).get("blind")


def public_name(cls: type) -> str:
    """The name that a user would import the class by."""
    if cls.__module__.startswith("torch.nn.modules."):
        return f"torch.nn.{cls.__qualname__}"
    if cls.__module__.startswith("torch.ao."):
        return key_of(cls)
    return f"{cls.__module__}.{cls.__qualname__}"


@lru_cache(maxsize=_KEPT)
def _owner(cls: type) -> type | None:
    """The described class that a module of class ``cls`` is an instance of."""
    return next((base for base in cls.__mro__ if key_of(base) in _TABLE), None)


def _definer(cls: type, method: str) -> type | None:
    return next((base for base in cls.__mro__ if method in vars(base)), None)


def _overridden(module: Any, owner: type) -> str:
    """A sentence where other code than the described class's computes the output, or ""."""
    for method in _FORWARD:
        if _replaced(module, method):
            return f"this instance replaces the method {method} of {public_name(owner)}"
    return _exchanged(
        module.__class__, owner, tuple([getattr(type(module), method, None) for method in _FORWARD])
    )


def _replaced(module: Any, method: str) -> bool:
    """Whether the instance has a method of its own. The forward that accelerate puts there around
    the class' one is none: it brings the weights, and a watched pass does without it
    (capture/offloading.py)."""
    own = vars(module)
    if method not in own:
        return False
    if "_hf_hook" in own and method == "forward":
        around = own.get("_old_forward")
    else:
        around = None
    return getattr(around, "__func__", around) is not getattr(type(module), "forward", None)


@lru_cache(maxsize=_KEPT)
def _exchanged(cls: type, owner: type, methods: tuple[Any, ...]) -> str:
    """The same of a class with those methods, which may be exchanged."""
    order = cls.__mro__
    for method in _FORWARD:
        definer = _definer(cls, method)
        if definer is None:
            continue
        if order.index(definer) < order.index(owner):
            return f"{public_name(definer)} overrides {method} of {public_name(owner)}"
        origin = getattr(vars(definer)[method], "__module__", None) or ""
        if not origin.startswith(("torch.", owner.__module__.partition(".")[0] + ".")):
            return f"{method} of {public_name(owner)} has been replaced by a function of {origin}"
    return ""


def chain(
    *ops: Any, input_axes: tuple[str, ...] = (), output_axes: tuple[str, ...] | None = None
) -> Description:
    """Ops applied one after the other; the axes keep their meaning unless ``output_axes`` says
    otherwise."""
    return Description(
        tuple(Step(op) for op in ops),
        input_axes,
        input_axes if output_axes is None else output_axes,
    )


def batched(x: np.ndarray, rank: int, output: tuple[int, ...], *ops: Any) -> Description:
    """Ops that want (batch, channels, *spatial), on that or on a single (channels, *spatial), whose
    output shape is ``output``."""
    axes = ("batch", "channels", *SPATIAL[rank])
    if x.ndim == rank + 2:
        return chain(*ops, input_axes=axes)
    if x.ndim == rank + 1:
        return chain(Reshape(shape=(1, *x.shape)), *ops, Reshape(shape=output), input_axes=axes[1:])
    raise Undescribed(f"an input with {x.ndim} axes; {rank + 1} or {rank + 2} were expected")


def ntuple(value: Any, rank: int) -> tuple[Any, ...]:
    """An option that PyTorch takes as one value or as one for each spatial axis."""
    if isinstance(value, tuple | list):
        if len(value) == rank:
            return tuple(value)
        return tuple(value) * rank
    return (value,) * rank
