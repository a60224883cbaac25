"""How a node becomes steps of ops.

The table holds operator names and is filled by the families in operators/, each imported for the
first of its nodes. A describer receives the builder that it adds steps to and the node's tensors,
None where an optional one is left out. What it reads of the options is noted: a node with anything
else set to other than its default has no description.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

import numpy as np

from probe import description, ops
from probe.description import Description, Grid, Ref, Step, Weight
from probe.errors import Undescribed

from .arithmetic import EngineKernel
from .dataflow import short
from .operator_families import FAMILY_OF
from .schema import OMITTED, Subgraph, TfliteNode, TfliteTensor

__all__ = ["Operand", "OperatorBuilder", "describe_node", "described", "node", "refusal"]

INTEGERS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
"""The types of codes that are computed with, and their least and largest."""


@dataclass(frozen=True, eq=False)
class Operand:
    """A tensor that a node takes or gives."""

    tensor: TfliteTensor
    value: Ref | Weight
    array: np.ndarray
    """What it holds in this run."""
    used: list[bool] = field(default_factory=list)

    @property
    def ref(self) -> Ref | Weight:
        """Its codes, or its numbers where it has none."""
        self.used.append(True)
        if isinstance(self.value, Weight) and self.in_steps:
            return Weight(self.value.name, self.value.stored, self.array)
        return self.value

    @property
    def held(self) -> Ref | Weight:
        """What is multiplied: of a constant with a scale the codes less their zero point."""
        self.used.append(True)
        return self.value

    @property
    def in_steps(self) -> bool:
        """Whether it is a constant whose codes have a scale."""
        grid = self.value.grid if isinstance(self.value, Weight) else None
        return grid is not None and grid.in_steps

    @property
    def has_scale(self) -> bool:
        quantisation = self.tensor.quantisation
        return quantisation is not None and (quantisation.scale.size or quantisation.block_size) > 0

    @property
    def constant(self) -> np.ndarray:
        """What it holds, for shapes and axes, which the description is made for."""
        self.used.append(True)
        return self.array

    @property
    def is_constant(self) -> bool:
        return isinstance(self.value, Weight)

    @property
    def shape(self) -> tuple[int, ...]:
        """In this run: the file's may differ."""
        return self.array.shape

    @property
    def dtype(self) -> str:
        return self.tensor.dtype

    @property
    def scales(self) -> np.ndarray:
        """One, or one of each place on an axis."""
        quantisation = self.tensor.quantisation
        if quantisation is None:
            raise Undescribed(f"its tensor {self.tensor.name} has no scale")
        if quantisation.unsupported:
            raise Undescribed(f"its tensor {self.tensor.name}: {quantisation.unsupported}")
        if quantisation.block_size:
            raise Undescribed(f"its tensor {self.tensor.name} has a scale for each block of codes")
        if not quantisation.scale.size:
            raise Undescribed(f"its tensor {self.tensor.name} has no scale")
        return quantisation.scale.astype(np.float32)

    @property
    def scale(self) -> np.float32:
        """The scale of the whole tensor."""
        if self.scales.size != 1:
            raise Undescribed(f"its tensor {self.tensor.name} has a scale for each channel")
        return np.float32(self.scales[0])

    @property
    def zero_point(self) -> int:
        assert self.tensor.quantisation is not None
        points = {int(point) for point in self.tensor.quantisation.zero_point} or {0}
        if len(points) != 1:
            raise Undescribed(f"its tensor {self.tensor.name} has a zero point for each channel")
        return points.pop()


class OperatorBuilder(description.Builder):
    """The steps of one run of a node under construction."""

    single = ops.Identity

    def __init__(
        self,
        of: TfliteNode,
        kernel: EngineKernel,
        inputs: Sequence[np.ndarray],
        results: Sequence[Operand],
    ) -> None:
        super().__init__(inputs, [result.array for result in results])
        self.node, self.kernel, self.results = of, kernel, tuple(results)
        self.read: set[str] = set()
        """The options that the description has asked for."""

    @property
    def result(self) -> Operand:
        return self.results[0]

    def get(self, name: str, default: Any = None) -> Any:
        """An option of the node."""
        self.read.add(name)
        return self.node.options.get(name, default)

    def knows(self, *names: str) -> None:
        """Options that change nothing here."""
        self.read.update(names)

    def array(self, value: Any) -> np.ndarray:
        if isinstance(value, Operand):
            return value.array
        return super().array(value)

    def shape(self, value: Any) -> tuple[int, ...]:
        if isinstance(value, Operand):
            return value.shape
        return super().shape(value)

    def add(self, op: ops.Op, *inputs: Any, shape: Sequence[int] | None = None) -> Ref:
        return super().add(op, *(_taken(value) for value in inputs), shape=shape)

    def steps_of(self, x: Operand) -> Ref:
        """The codes less the zero point."""
        if x.in_steps:
            return self.add(ops.Cast(to="int64"), self.ref(x.held), shape=x.shape)
        return self.add(ops.SubtractZeroPoint(zero_point=x.zero_point), x, shape=x.shape)

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest code of the output."""
        if self.result.dtype not in INTEGERS:
            raise Undescribed(f"an output of {self.result.dtype} has no description")
        return INTEGERS[self.result.dtype]

    def unread(self) -> str:
        """What the node sets that its description has not read, in words; empty where there is
        nothing."""
        for name, value in self.node.options.items():
            if name not in self.read and self.node.defaults.get(name) != value:
                return f"its option {name}={value!r} is not supported by its description"
        return ""


def _taken(value: Any) -> Any:
    return value.ref if isinstance(value, Operand) else value


def weight_of(
    tensor: TfliteTensor, codes: np.ndarray, tensors: Sequence[TfliteTensor] = ()
) -> Weight:
    """A constant as the layer multiplies by it: codes less their zero point, where it has a scale;
    the numbers themselves where it has none. The scales of blocks are one of the ``tensors``."""
    quantisation = tensor.quantisation
    if quantisation is not None and quantisation.block_size:
        return _in_blocks(tensor, codes, tensors)
    if (
        quantisation is None
        or codes.dtype.kind not in "iu"
        or not quantisation.scale.size
        or quantisation.unsupported
    ):
        return Weight(short(tensor.name), codes, codes)
    around = [1] * codes.ndim
    if quantisation.axis is not None:
        around[quantisation.axis] = -1
    scale = quantisation.scale.astype(np.float64).reshape(around)
    zero = quantisation.zero_point.astype(np.int64).reshape(around)
    kind = tensor.dtype
    text = f"{scale.min():g}" if scale.size == 1 else f"{scale.min():g} to {scale.max():g}"
    words = f"{kind}, in steps of {text}" + (", minus a zero point" if zero.any() else "")
    bits = int(kind.lstrip("uint"))
    grid = Grid(scale, bits, not kind.startswith("u"), zero, in_steps=True)
    return Weight(short(tensor.name), codes, codes.astype(np.int64) - zero, (words,), grid=grid)


def _in_blocks(tensor: TfliteTensor, codes: np.ndarray, tensors: Sequence[TfliteTensor]) -> Weight:
    """Codes of which some neighbours on the last axis share a scale."""
    quantisation = tensor.quantisation
    assert quantisation is not None
    scales = tensors[quantisation.block_scales].constant if quantisation.block_scales >= 0 else None
    if scales is None or quantisation.block_zero_points >= 0:
        raise Undescribed(f"its tensor {tensor.name} has blocks without scales or with zero points")
    size = quantisation.block_size
    whole = np.repeat(scales.astype(np.float64), size, axis=-1)[..., : codes.shape[-1]]
    if whole.shape != codes.shape:
        raise Undescribed(f"its tensor {tensor.name} has {scales.size:,} scales for its blocks")
    words = f"{tensor.dtype}, in steps of {scales.min():g} to {scales.max():g} in blocks of {size}"
    grid = Grid(whole, int(tensor.dtype.lstrip("uint")), in_steps=True)
    return Weight(short(tensor.name), codes, codes.astype(np.int64), (words,), grid=grid)


Describer = Callable[..., Ref | Sequence[Ref]]
D = TypeVar("D", bound=Describer)
_TABLE: dict[str, Describer] = {}


def node(*names: str) -> Callable[[D], D]:
    """Registers a describer for operators."""

    def register(describer: D) -> D:
        _TABLE.update(dict.fromkeys(names, describer))
        return describer

    return register


def described() -> tuple[str, ...]:
    """The names of the described operators, in alphabetical order."""
    return tuple(sorted(FAMILY_OF))


def _describer(operator: str) -> Describer:
    if operator not in _TABLE:
        import_module(f".operators.{FAMILY_OF[operator]}", __package__)
    return _TABLE[operator]


def refusal(of: TfliteNode) -> str:
    """Why a node has no description; empty where its operator has one."""
    if of.operator in FAMILY_OF:
        return ""
    return f"the operator {of.kind} has no description; it would be added in adapters/tflite"


def describe_node(
    of: TfliteNode,
    subgraph: Subgraph,
    arrays: Mapping[int, np.ndarray],
    inputs: Sequence[int],
    kernel: EngineKernel,
    weights: Mapping[int, Weight] | None = None,
) -> Description:
    """The steps of one run of a node; raises Undescribed with the reason where there are none.

    ``arrays`` has what the node's tensors hold in the run, constants aside, those of its outputs
    too; ``inputs`` are the tensors that the call takes, in its order. All others are constants:
    of these ``weights`` may say how the layer uses them.
    """
    if why := refusal(of):
        raise Undescribed(why)

    def operand(index: int) -> Operand | None:
        if index == OMITTED:
            return None
        tensor = subgraph.tensors[index]
        if index in inputs:
            return Operand(tensor, Ref(-1, list(inputs).index(index)), arrays[index])
        if weights and index in weights:
            return Operand(tensor, weights[index], weights[index].effective)
        codes = tensor.constant if tensor.constant is not None else arrays.get(index)
        if codes is None:
            raise Undescribed(f"its tensor {tensor.name} has no value")
        return Operand(tensor, weight_of(tensor, codes, subgraph.tensors), codes)

    results = [Operand(subgraph.tensors[at], Ref(-1), arrays[at]) for at in of.outputs]
    operands = [operand(index) for index in of.inputs]
    while operands and operands[-1] is None:
        operands.pop()
    describer = _describer(of.operator)
    known = inspect.signature(describer).parameters.values()
    if (
        all(parameter.kind is not parameter.VAR_POSITIONAL for parameter in known)
        and len(operands) > len(known) - 1
    ):
        raise Undescribed(f"its input {len(known)} is not supported by its description")
    build = OperatorBuilder(of, kernel, [arrays[index] for index in inputs], results)
    found = describer(build, *operands)
    if unread := build.unread():
        raise Undescribed(unread)
    for place, value in enumerate(operands, start=1):
        if value is not None and not value.used:
            raise Undescribed(f"its input {place} is not supported by its description")
    refs = tuple(found) if isinstance(found, tuple | list) else (found,)
    if len(refs) < len(results):
        raise Undescribed(f"only the first {len(refs)} outputs of {of.operator} are described")
    description = Description(build.ended(*refs))
    on_codes = any(operand is not None and operand.has_scale for operand in (*operands, *results))
    if on_codes and any(map(_rounds, description.steps)):
        kernel.refuse_unmeasured(of.operator)
    return description


def _rounds(step: Step) -> bool:
    """Whether a step brings numbers to codes, and does not only take codes as whole numbers."""
    return step.op.jumps and not isinstance(step.op, ops.Cast)
