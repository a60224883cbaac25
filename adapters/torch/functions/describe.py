"""How a PyTorch function call becomes steps of ops.

The table holds names of functions and methods (``torch.add``, ``Tensor.__add__`` and
``aten.add.Tensor`` are all "add" here) and is filled by the family modules beside this file. None
of them imports torch: a describer has the signature of the PyTorch function, behind the builder
that it adds steps to, and receives a ``Ref`` for each tensor that follows the model's input and a
``Weight`` for each parameter.
"""

import dis
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import CodeType
from typing import Any, TypeVar

import numpy as np

from probe import description, ops
from probe.description import Description, Ref, Value, Weight
from probe.errors import Undescribed

from ..describe.describe import ModuleCall, described_by_name

__all__ = [
    "IDLE",
    "CallBuilder",
    "Outputs",
    "Value",
    "both_outputs",
    "describe_function",
    "function",
    "functions",
    "in_type",
    "named",
    "unread",
]


class CallBuilder(description.Builder):
    """The steps of one call of a function under construction."""

    single = ops.Identity

    def __init__(
        self,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        kinds: Sequence[str],
        training: bool = False,
        fixed: Collection[int] = (),
        lengths: Mapping[int, Sequence[int]] | None = None,
        complexes: Collection[Value] = (),
        layouts: Mapping[int, tuple[Sequence[int], int]] | None = None,
    ) -> None:
        super().__init__(inputs, outputs)
        self.training, self.kinds = training, tuple(kinds)
        """The types of the outputs: "float32", "bfloat16", …"""
        self.lengths = lengths or {}
        """For inputs that are nested tensors: how long each sample is; the arrays hold zeros behind
        the shorter ones."""
        self.layouts = layouts or {}
        """How inputs lie in memory, where a function is about that: strides and offset."""
        self.complexes = frozenset(map(id, complexes))
        """What stands for complex tensors, by id: their arrays have the real and imaginary parts
        along a last axis more."""
        self.whole = frozenset(place.index for place in complexes if isinstance(place, Ref))
        """The inputs among them."""
        self._fixed = frozenset(fixed)
        self._floating = any(array.dtype.kind == "f" for array in (*inputs, *outputs))

    def constant(self, value: Any) -> np.ndarray:
        """Numbers beside floats become floats, and beside integers integers of their type, which
        wrap around."""
        array = super().constant(value)
        if array.dtype.kind not in "biuf":
            raise Undescribed(f"an argument of type {type(value).__name__} is not supported")
        if isinstance(value, np.ndarray) or array.dtype.kind in "bf":
            return array
        if self._floating:
            return array.astype(np.float64)
        whole = [x.dtype for x in self.inputs if x.dtype.kind in "iu"]
        return array.astype(np.result_type(*whole) if whole else array.dtype)

    def fixed(self, value: Value) -> bool:
        """Whether a value does not follow from the model's input."""
        return not isinstance(value, Ref) or (value.step < 0 and value.index in self._fixed)

    def weight(self, name: str, value: Value | None) -> Weight | None:
        """A parameter, or what the model computes from parameters alone, as a weight; Undescribed
        where it follows from the input."""
        if value is None or isinstance(value, Weight):
            return value
        if not self.fixed(value):
            raise Undescribed(f"its {name} is computed from the model's input")
        return Weight(
            name, None, self.array(value), ("computed by the model and not stored under a name",)
        )

    def module(
        self,
        kind: str,
        x: Value,
        weights: Mapping[str, Weight | None] | None = None,
        **attributes: Any,
    ) -> Ref:
        """What the module of torch.nn with these attributes would do to x."""
        return self.module_outputs(kind, (x,), weights, **attributes)[0]

    def module_outputs(
        self,
        kind: str,
        inputs: Sequence[Value],
        weights: Mapping[str, Weight | None] | None = None,
        arguments: Mapping[str, Any] | None = None,
        **attributes: Any,
    ) -> tuple[Ref, ...]:
        """All that it gives for several tensors, of which ``arguments`` may name some."""
        if self.outputs[0].dtype.kind in "iu" and kind.startswith(
            ("AvgPool", "AdaptiveAvgPool", "LocalResponseNorm")
        ):
            raise Undescribed("means of integers are not supported, since they are truncated")
        call = ModuleCall(tuple(map(self.array, inputs)), dict(weights or {}).get, arguments or {})
        found = described_by_name(kind, {"training": self.training, **attributes}, call)
        return self.include(found.steps, *inputs)


def in_type(build: CallBuilder, dtype: Any, input: Value, reduce: Callable[[Value], Ref]) -> Ref:
    """A sum or product with ``dtype``: its elements are brought to that type first, in which whole
    numbers wrap around."""
    kind = build.kinds[0]
    if dtype is None or build.outputs[0].dtype.kind == "f":  # of two types of floats it is refused
        return reduce(input)
    if kind == "bool":
        raise Undescribed("sums and products of booleans are not supported")
    return build.add(ops.Cast(to=kind), reduce(build.add(ops.Cast(to=kind), input)))


def both_outputs(refs: tuple[Ref, ...]) -> tuple[Ref, ...]:
    """What a module gives and what stands beside it, such as places, which may be the two outputs
    of one op."""
    if len(refs) > 1:
        return refs
    return (refs[0], replace(refs[0], index=1))


Outputs = Ref | Sequence[Ref]
Describer = Callable[..., Outputs]
D = TypeVar("D", bound=Describer)

_ALIASES = {
    **{
        "axis": "dim",
        "keepdims": "keepdim",
        "a": "input",
        "x": "input",
        "x1": "input",
        "x2": "other",
        "axis0": "dim0",
        "axis1": "dim1",
    },
    **{"mat2": "other", "tensor": "other", "exponent": "other"},
    **{
        "batch1": "mat1",
        "batch2": "mat2",
        "mat": "mat1",
        "vec": "mat2",
        "mat_a": "input",
        "mat_b": "mat2",
    },
}
"""What arguments may be called besides the name in a describer: NumPy's names, which PyTorch takes
everywhere (torch/csrc/utils/python_arg_parser.cpp), and those of functions that share a
describer."""


IDLE = frozenset(
    (
        "cudnn_enabled",
        "inplace",
        "memory_format",
        "non_blocking",
        "scale_grad_by_freq",
        "sparse",
        "sparse_grad",
    )
)
"""Arguments that change no number of any function: which kernel, where the result lies, what the
gradient does."""


@dataclass(frozen=True)
class _DescribedFunction:
    describe: Describer
    onnx: str
    signature: inspect.Signature
    idle: frozenset[str]


_TABLE: dict[str, _DescribedFunction] = {}


def function(*names: str, onnx: str, idle: str = "") -> Callable[[D], D]:
    """Registers a describer for functions of these names; ``onnx`` names the layers that their
    calls become.

    A parameter that the describer never looks at, and a keyword that it has under ``**kwargs``, has
    to be left at its default, or be one of ``idle``: those that the shapes and types of the call's
    tensors tell already, or that change no number.
    """

    def register(describer: D) -> D:
        entry = _DescribedFunction(
            describer, onnx, inspect.signature(describer), IDLE.union(idle.split())
        )
        _TABLE.update(dict.fromkeys(names, entry))
        return describer

    return register


def _left(value: Any, default: Any) -> bool:
    """Whether an argument was left out, or at its default."""
    return (
        value is None
        or value is default
        or (isinstance(value, bool | int | float | str | tuple) and value in (default, ()))
    )


@lru_cache(maxsize=1024)
def unread(describer: Describer) -> tuple[str, ...]:
    """The parameters that a describer never looks at."""
    return tuple(
        name
        for name in inspect.signature(describer).parameters
        if name not in set(_looked_at(describer.__code__))
    )


def _looked_at(code: CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if "LOAD_FAST" in step.opname or step.opname in ("LOAD_CLOSURE", "LOAD_DEREF"):
            # Python 3.13 loads two at once
            yield from step.argval if isinstance(step.argval, tuple) else (step.argval,)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _looked_at(inner)


def functions() -> tuple[str, ...]:
    """The names of the described functions, in alphabetical order."""
    return tuple(sorted(_TABLE))


def named(name: str) -> str:
    """What layers of calls of this function are named: the ONNX op in lower case, or the function's
    own name."""
    if name in _TABLE:
        return _TABLE[name].onnx
    return name.strip("_")


def describe_function(
    name: str, shown: str, build: CallBuilder, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Description:
    """The steps of one call; raises Undescribed with the reason where there are none."""
    entry = _TABLE.get(name)
    if entry is None:
        raise Undescribed(
            f"{shown} has no description; it would be added in adapters/torch/functions"
        )
    known = entry.signature.parameters
    named_so = {
        key if key in known else _ALIASES.get(key, key): value
        for key, value in kwargs.items()
        if key != "out"
    }
    try:
        bound = entry.signature.bind(build, *args, **named_so)
    except TypeError as error:
        raise Undescribed(f"this call of {shown} is not supported ({error})") from None
    for argument in unread(entry.describe):
        value, parameter = bound.arguments.get(argument), known[argument]
        given = {argument: value}
        if value and parameter.kind is parameter.VAR_KEYWORD:
            given = value
        for name, value in given.items():
            if name not in entry.idle and not _left(value, parameter.default):
                raise Undescribed(
                    f"{shown} was called with {name}={value!r:.60}, which its description does "
                    "not support"
                )
    try:
        found = entry.describe(*bound.args, **bound.kwargs)
    except (LookupError, TypeError, ValueError) as error:
        raise Undescribed(
            f"this call of {shown} is not supported ({type(error).__name__}: {error})"
        ) from None
    refs = tuple(
        build.ref(output) for output in (found if isinstance(found, tuple | list) else (found,))
    )
    if len(refs) != len(build.outputs):
        raise Undescribed(
            f"{shown} returned {len(build.outputs)} tensors, but {len(refs)} are described"
        )
    return Description(build.ended(*refs))
