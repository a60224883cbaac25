"""One operation of a graph that TensorFlow has traced, as the functions that describe it see it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Value, Weight
from probe.errors import Undescribed

from ..describe.op_builder import OpBuilder
from ..describe.variables import widened

__all__ = [
    "DESCRIBED",
    "FLOATS",
    "GraphOperation",
    "GraphTensor",
    "Laid",
    "Later",
    "TidyBuilder",
    "dtype_of",
    "node",
    "numbers_of",
    "numpy_dtype",
    "unread",
]

FLOATS = ("float64", "float32", "bfloat16", "float16")
_IDLE = frozenset(("message", "name", "use_cudnn_on_gpu"))
"""Attributes that change no number."""
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


class Later:
    """What TensorFlow itself gives, computed where it is asked for and then kept."""

    def __init__(self, make: Callable[..., Any], *needs: "Later") -> None:
        self._make, self._needs, self._made, self._value = make, needs, False, None

    def __call__(self) -> Any:
        waiting = [self]  # a chain may be longer than Python's stack
        while waiting:
            one = waiting[-1]
            more = [need for need in one._needs if not need._made]
            if one._made or not more:
                waiting.pop()
                one._keep()
            waiting += more
        return self._value

    def _keep(self) -> None:
        if not self._made:
            self._value = self._make(*(need._value for need in self._needs))
            self._made, self._needs = True, ()


class TidyBuilder(OpBuilder):
    """Leaves out what changes nothing, of which graphs have much: slices of everything, reshapes of
    reshapes."""

    def add(self, op: ops.Op, *inputs: Value, shape: Sequence[int] | None = None) -> Ref:
        if len(inputs) == 1:
            ref = self.ref(inputs[0])
            if shape is not None and tuple(shape) == self.shape(ref) and _idle(op):
                return ref
            if isinstance(op, ops.Reshape) and ref.step >= 0:
                before = self.steps[ref.step]
                if isinstance(before.op, ops.Reshape):
                    (ref,) = before.sources(ref.step)
                    if tuple(op.shape) == self.shape(ref):
                        return ref
            inputs = (ref,)
        return super().add(op, *inputs, shape=shape)


def _idle(op: ops.Op) -> bool:
    """Whether an op that leaves the shape as it is leaves everything as it is."""
    if isinstance(op, ops.Slice):
        return all(step == 1 for step in op.steps)
    if isinstance(op, ops.Transpose):
        return op.perm == tuple(range(len(op.perm)))
    return isinstance(op, ops.Reshape | ops.Expand | ops.Tile | ops.Concat)


@dataclass(frozen=True, eq=False)
class Laid:
    """A variable with its axes in another order, and others of size 1 between them."""

    weight: Weight
    order: tuple[int | None, ...]
    """Which axis of the variable each axis is; None for one of size 1."""

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = self.weight.effective.shape
        return tuple(1 if axis is None else sizes[axis] for axis in self.order)

    def turned(self, perm: Sequence[int]) -> "Laid":
        return replace(self, order=tuple(self.order[axis] for axis in perm))

    def reshaped(self, shape: Sequence[int]) -> "Laid | None":
        """The same elements in that shape, where it has the same sizes but for those of 1."""
        sizes = self.weight.effective.shape
        wide = iter([axis for axis in self.order if axis is not None and sizes[axis] != 1])
        if [size for size in self.shape if size != 1] != [size for size in shape if size != 1]:
            return None
        return replace(self, order=tuple(None if size == 1 else next(wide) for size in shape))

    def brought(self, perm: Sequence[int] | None = None) -> Weight:
        """The weight as it lies here, or with its axes in another order."""
        laid = self if perm is None else self.turned(perm)
        rank = self.weight.effective.ndim
        if laid.order == tuple(range(rank)):
            return self.weight
        axes = [axis for axis in laid.order if axis is not None]
        axes += [axis for axis in range(rank) if axis not in axes]
        plain = None not in laid.order and len(axes) == len(laid.order)
        return replace(self.weight, axes=tuple(axes), shape=None if plain else laid.shape)


@dataclass(eq=False)
class GraphTensor:
    """A tensor of the graph: known numbers, a variable, what a step gives, or a list of tensors."""

    dtype: str
    later: Later
    ref: Ref | None = None
    known: np.ndarray | None = None
    laid: Laid | None = None
    variable: Any = None
    """What a handle stands for, or what was read."""
    items: "Sequence[GraphTensor | None] | None" = None
    why: str = ""
    """Why it cannot be followed."""

    def in_steps(self, build: OpBuilder) -> Ref:
        """It as what a step gives."""
        if self.ref is None:
            if self.known is None and self.laid is None:
                raise Undescribed("its input is not a tensor of numbers")
            self.ref = build.ref(self.known if self.laid is None else self.laid.brought())
        return self.ref

    def shape(self, build: OpBuilder) -> tuple[int, ...]:
        if self.known is not None:
            return self.known.shape
        if self.laid is not None:
            return self.laid.shape
        return build.shape(self.in_steps(build))


@dataclass(frozen=True, eq=False)
class GraphOperation:
    """One operation, its inputs as they are held, and its attributes, which take down that they
    were looked at."""

    kind: str
    inputs: Sequence[GraphTensor]
    attributes: Callable[[str], Any]
    build: OpBuilder
    dtypes: Sequence[str]
    """Of its outputs."""
    run: Callable[[int, np.ndarray], np.ndarray]
    """What TensorFlow gives for integers in place of an input."""
    seen: set[str] = field(default_factory=set)

    def attr(self, name: str) -> Any:
        """An attribute; bytes as text."""
        self.seen.add(name)
        value = self.attributes(name)
        if isinstance(value, bytes):
            return value.decode()
        return value

    def only(self, **wanted: Any) -> None:
        """Undescribed where an attribute is another one."""
        for name, value in wanted.items():
            if (got := self.attr(name)) != value:
                raise Undescribed(f"its attribute {name}={got!r:.40} is not supported")

    def ref(self, k: int) -> Ref:
        """An input as what a step gives."""
        return self.inputs[k].in_steps(self.build)

    def refs(self, start: int = 0, stop: int | None = None) -> list[Ref]:
        return [self.ref(k) for k in range(len(self.inputs))[start:stop]]

    def shape(self, k: int) -> tuple[int, ...]:
        return self.inputs[k].shape(self.build)

    def array(self, k: int) -> np.ndarray:
        """The numbers of an input that does not follow from the layer's inputs or weights."""
        known = self.inputs[k].known
        if known is None:
            raise Undescribed(f"its input {k} depends on the data, which is not supported")
        return known

    def fixed(self, k: int) -> np.ndarray:
        """The same, or those of a variable."""
        laid = self.inputs[k].laid
        if laid is None:
            return self.array(k)
        return laid.brought().value

    def values(self, k: int) -> np.ndarray:
        """An input as TensorFlow has it in this call."""
        return numbers_of(self.inputs[k].later().numpy())

    def ints(self, k: int) -> list[int]:
        return [int(number) for number in np.ravel(self.array(k))]

    def number(self, k: int) -> float:
        return float(self.array(k).reshape(()))

    def weight(self, k: int, perm: Sequence[int]) -> Weight | None:
        """A variable with its axes in that order; None where the input is anything else."""
        laid = self.inputs[k].laid
        if laid is None:
            return None
        return laid.brought(perm)

    @property
    def integral(self) -> bool:
        """Whether it gives integers."""
        return self.dtypes[0] in _INTEGERS

    def whole(self, ref: Ref) -> Ref:
        """Integers in the type of the output, in which they wrap around."""
        dtype = self.dtypes[0]
        if dtype not in _INTEGERS or dtype == "int64":
            return ref
        return self.build.add(ops.Cast(to=dtype), ref, shape=self.build.shape(ref))

    def floats(self) -> None:
        """Undescribed for integers, which it rounds."""
        if self.integral:
            raise Undescribed(f"computing in {self.dtypes[0]} is not supported")

    def moved(self, k: int = 0) -> Ref:
        """The elements of one input where TensorFlow itself puts their numbers."""
        shape = self.shape(k)
        numbers = np.arange(1, int(np.prod(shape)) + 1, dtype=np.int64).reshape(shape)
        found = self.run(k, numbers)
        if (found < 1).any() and self.dtypes[0] not in FLOATS:
            raise Undescribed(f"padding {self.dtypes[0]} is not supported")
        return self.build.picked(self.ref(k), found - 1)


Describer = Callable[[GraphOperation], Ref | Sequence[Ref]]
DESCRIBED: dict[str, Describer] = {}
"""Operation -> what describes it."""


def node(*kinds: str) -> Callable[[Describer], Describer]:
    """Registers a function for the operations of these names."""

    def register(describer: Describer) -> Describer:
        DESCRIBED.update(dict.fromkeys(kinds, describer))
        return describer

    return register


_ALIKE = {"half": "float16"}


def dtype_of(tensor: Any) -> str:
    """The name of a tensor's type."""
    name = str(tensor.dtype.name).removesuffix("_ref")
    return _ALIKE.get(name, name)


def numpy_dtype(dtype: str) -> str:
    """The type in which the numbers of one are written down: float32 for all floats."""
    if dtype in FLOATS:
        return "float32"
    return dtype


def numbers_of(array: Any) -> np.ndarray:
    """An array of TensorFlow's, bfloat16 widened."""
    return widened(np.asarray(array))


def unread(definition: Any, attributes: Mapping[str, Any], seen: set[str]) -> Iterator[str]:
    """The attributes that are set to other than their default, and that nothing looked at.

    Those that follow from the types and numbers of inputs and outputs do not count.
    """
    told = {
        name
        for argument in (*definition.input_arg, *definition.output_arg)
        for name in (argument.type_attr, argument.number_attr, argument.type_list_attr)
    }
    for attribute in definition.attr:
        if (
            attribute.name in told
            or attribute.name in seen
            or attribute.name in _IDLE
            or attribute.name.startswith("_")
        ):
            continue
        if (
            not attribute.HasField("default_value")
            or attributes[attribute.name] != attribute.default_value
        ):
            yield attribute.name
