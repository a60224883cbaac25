"""What a Keras layer computes, as steps of ops: the seam between a call that was watched and the
families that describe it.

The namespace (keras or tf_keras) is handed in with the call and no module here imports either, so
that one set of descriptions serves both and nothing is imported that the model does not need. The
families (conv.py, pooling.py, …) register a function per class name; ``describe`` finds it along
the class's MRO and applies it only where the class that defines the arithmetic is the class
described.
"""

import importlib
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any

from probe.description import Description, Ref
from probe.errors import Undescribed

from .call import Describer, KerasCall
from .described_classes import DESCRIBED, FUNCTIONS, OPERATIONS, ROOTS, key_of
from .layer_options import unread
from .operation_options import described_by_reading
from .undescribed_classes import LEFT_OUT

__all__ = [
    "REGISTERED",
    "completes",
    "computed_in",
    "describe",
    "described_class",
    "described_name",
    "describes",
    "description_of",
    "is_own",
    "named_axes",
]

REGISTERED: dict[str, Describer] = {}
"""Class name -> the function that describes it, as far as the families have been imported."""

Completion = Callable[[Any, KerasCall, Describer], Description | None]
_COMPLETIONS: list[Completion] = []

_HARMLESS = frozenset(
    "build build_from_config compute_mask compute_output_shape compute_output_signature "
    "compute_output_spec count_params from_config "
    "get_build_config get_config load_own_variables quantize reset_state save_own_variables".split()
)
"""What a subclass, or Keras itself on an instance, may replace without changing what ``call``
computes."""


def computed_in(layer: Any) -> str:
    """The dtype that a layer computes in, or empty; of a recurrence of Keras 3 that of its cell,
    which casts what it is given."""
    cell = getattr(layer, "cell", None)
    if cell is not None and _root(type(layer)) == "keras":
        return str(getattr(cell, "compute_dtype", None) or "")
    return str(getattr(layer, "compute_dtype", None) or "")


def named_axes(ndim: int, rank: int, channels_first: bool) -> tuple[str, ...]:
    """The axes of a tensor with ``rank`` spatial axes, for the report; none where there is more
    than one batch axis."""
    if ndim != rank + 2:
        return ()
    spatial = {1: ("steps",), 2: ("height", "width"), 3: ("depth", "height", "width")}[rank]
    if channels_first:
        return ("batch", "channels", *spatial)
    return ("batch", *spatial, "channels")


def describes(*names: str, arguments: Collection[str] = ()) -> Callable[[Describer], Describer]:
    """Registers a function for the classes of these names; ``arguments`` of ``call`` are those it
    looks at beside the first."""

    def register(function: Describer) -> Describer:
        REGISTERED.update(dict.fromkeys(names, function))
        _UNDERSTOOD.update(dict.fromkeys(names, frozenset(arguments)))
        return function

    return register


def completes(function: Completion) -> Completion:
    """Registers what is asked before a class's own description: it gives another one, or None where
    that one holds."""
    _COMPLETIONS.append(function)
    return function


def described_class(layer: Any, watched: Collection[str] = ()) -> type:
    """The class along the layer's MRO whose description holds for it; Undescribed with the reason
    where there is none."""
    kind = type(layer)
    described = next(
        (cls for cls in kind.__mro__ if _key(cls) in DESCRIBED and _root(cls) in ROOTS), None
    )
    if described is None:
        raise Undescribed(f"{kind.__name__} has no description")
    for cls in kind.__mro__[: kind.__mro__.index(described)]:
        for name, value in vars(cls).items():
            if (
                _is_method(value)
                and name not in _HARMLESS
                and hasattr(described, name)
                and (name == "__call__" or not name.startswith("__"))
            ):
                if _root(kind) in ROOTS:
                    raise Undescribed(f"{kind.__name__} has no description")
                raise Undescribed(
                    f"{kind.__name__} has no description: it overrides `{name}` of "
                    f"{described.__name__}"
                )
    methods = _methods(described)
    for name, value in vars(layer).items():
        if name in methods and name not in watched and not is_own(value, layer, name):
            raise Undescribed(f"`{name}` of this {kind.__name__} instance has been replaced")
    told = unread(layer, described)
    if told:
        raise Undescribed(told)
    return described


@lru_cache(maxsize=512)
def _methods(cls: type) -> frozenset[str]:
    """What a layer of that class would compute something else by, were it replaced."""
    return frozenset(
        name for name in dir(cls) if name not in _HARMLESS and _is_method(getattr(cls, name, None))
    )


def is_own(value: Any, layer: Any, method: str) -> bool:
    """Whether an attribute of the instance is the class's own method, as Keras leaves it behind
    where it looked on for a while (GPTQ)."""
    return getattr(value, "__self__", None) is layer and getattr(
        value, "__func__", None
    ) is getattr(type(layer), method, None)


def described_name(layer: Any, watched: Collection[str] = ()) -> str:
    """What the layer's description is registered under; Undescribed with the reason where it has
    none.

    That is its class, of an operation of keras.ops "ops." and its class, and of a function of
    TensorFlow "tf." and its name.
    """
    kind = type(layer)
    if _root(kind) == "tf_keras" and kind.__name__ in ("TFOpLambda", "SlicingOpLambda"):
        symbol = layer.symbol or getattr(layer.function, "__name__", "")
        if symbol not in FUNCTIONS:
            raise Undescribed(f"the function {symbol} of TensorFlow has no description")
        return f"tf.{symbol}"
    if not kind.__module__.startswith("keras.src.ops."):
        return _key(described_class(layer, watched))
    if kind.__name__ not in OPERATIONS:
        why = LEFT_OUT["keras.ops"].get(kind.__name__)
        raise Undescribed(
            f"{kind.__name__} of keras.ops has no description{f': {why}' if why else ''}"
        )
    return f"ops.{kind.__name__}"


def _root(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _key(cls: type) -> str:
    return key_of(_root(cls), cls.__name__)


def _is_method(value: Any) -> bool:
    return callable(value) or isinstance(value, property | staticmethod | classmethod)


def describe(layer: Any, call: KerasCall) -> Description:
    """The steps of this call of a layer; raises Undescribed with the reason where they are not
    known."""
    name = described_name(layer, call.watched)
    description = description_of(name)
    if name.startswith(("ops.", "tf.")):
        return described_by_reading(layer, call, description)
    for argument, value in call.arguments.items():
        if (
            _holds_first(value)
            or argument == "training"
            or argument in _UNDERSTOOD[name]
            or value is None
        ):
            continue
        if argument == "mask" and name in _IGNORES_MASK:
            continue
        if argument == "mask":
            raise Undescribed("masks are not supported for it, and it received one")
        raise Undescribed(f"it was called with the argument `{argument}`, which is not supported")
    if not call.legacy and not getattr(layer, "autocast", True) and name not in _NEVER_CASTS:
        kinds = {
            call.dtype,
            *(array.dtype.name for array in call.inputs if array.dtype.kind == "f"),
        }
        if kinds not in ({"float32"}, {"float64"}):
            raise Undescribed(
                f"{type(layer).__name__} has autocast=False, so its compute dtype depends on "
                "its inputs and weights, which is not supported"
            )
    for complete in _COMPLETIONS:
        if (completed := complete(layer, call, description)) is not None:
            return completed
    return description(layer, call)


def description_of(name: str) -> Describer:
    """The function that is registered under a name of the tables, whose module is imported
    first."""
    if name not in REGISTERED:
        kind, _, rest = name.partition(".")
        if kind in ("ops", "tf"):
            module = {"ops": OPERATIONS, "tf": FUNCTIONS}[kind][rest]
        else:
            module = DESCRIBED[name]
        importlib.import_module(module, __package__.rpartition(".")[0])
    if name not in REGISTERED:
        raise Undescribed(f"{name} is checked as part of the layer that contains it")
    return REGISTERED[name]


def _holds_first(value: Any) -> bool:
    """Whether an argument is the one that holds the first input."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(_holds_first(entry) for entry in value)
    return isinstance(value, Ref) and value == Ref(-1)


_UNDERSTOOD: dict[str, frozenset[str]] = {}
"""Class name -> the arguments of ``call`` beside the first that its function looks at."""

_NEVER_CASTS = ("Embedding", "GroupNormalization", "LayerNormalization", "ReversibleEmbedding")
"""Classes of Keras 3 that switch ``autocast`` off themselves, and are described so."""

_IGNORES_MASK = ("BatchNormalization", "QBatchNormalization", "hgq.QBatchNormalization")
"""Classes whose ``call`` takes a mask and looks at it in training only."""
