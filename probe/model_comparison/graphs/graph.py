"""A model's forward pass as a flat graph: one node for each step of each call, joined by the arrays
that they hand on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import ml_dtypes
import numpy as np

from probe.evaluation.reference import values_of
from probe.model import (
    CallOutput,
    Capture,
    Model,
    ModelInput,
    NamesArrays,
    StopForward,
    WorkedOut,
)
from probe.model_comparison.graphs.bits import bits_of
from probe.model_comparison.graphs.origins import ConstantOrigin, note_origin
from probe.model_comparison.graphs.spool import Spool
from probe.ops import (
    Cast,
    Identity,
    Op,
    Outputs,
    Parameter,
    QuantizeLinear,
    Reshape,
    Squeeze,
    Stored,
    Transpose,
    Unsqueeze,
)
from probe.ops.step import Step

__all__ = ["GraphCall", "GraphNode", "ModelGraph", "Tensor", "recorded_pass", "tensors_alone"]

_HALVES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
_FEW = 2
"""An array of fewer elements is not known by its values."""


@dataclass(eq=False)
class GraphCall:
    """One call of a layer, and what its steps give on the inputs that were recorded."""

    capture: Capture
    inputs: tuple["Tensor", ...] = ()
    """What it takes."""

    @property
    def name(self) -> str:
        """The layer's name, with the number of a call that is not its first."""
        number = f":{self.capture.call}" if self.capture.call else ""
        return (self.capture.layer or "(root)") + number

    @cached_property
    def worked_out(self) -> Mapping[int | str, WorkedOut]:
        """How inputs were made that do not follow from the model's; asked while the call is on."""
        return self.capture.constants() if self.capture.constants else {}

    @cached_property
    def values(self) -> list[tuple[np.ndarray, ...]]:
        """The outputs of every step in NumPy."""
        return values_of(self.capture)


@dataclass(eq=False)
class Tensor:
    """An array that a forward pass makes or is given."""

    name: str
    """Whose output it is."""
    recorded: np.ndarray | None = None
    """As the framework gave it; None within a call."""
    node: "GraphNode | None" = None
    """What makes it; None of an input, and of what the model has from nowhere that was seen."""
    place: tuple[GraphCall, int, int] | None = None
    """Within a call: the call, the step and which of its outputs."""
    input: int | None = None
    """Which of the model's inputs it is."""
    consumers: list["GraphNode"] = field(default_factory=list)
    origin: ConstantOrigin | None = None
    """How the model makes it, where it does of its own numbers alone."""
    rounding: np.ndarray | None = None
    """How far such a tensor may lie from what another model holds in its place."""
    stands_for: str = ""
    """Of an array that no node makes: the name of a layer, as far as its own tells one."""
    partial: bool = False
    """Whether another program has given some of its elements alone; the others are the model's."""
    rearranged: bool = False
    """Whether it is not an array of a file as it is: axes or features moved, a part, a sum."""

    @property
    def value(self) -> np.ndarray:
        """As the framework gave it, or else NumPy on what the call was given."""
        if self.recorded is not None:
            return self.recorded
        assert self.place is not None
        call, step, output = self.place
        return call.values[step][output]

    def output_of(self, node: "GraphNode") -> int:
        """Which of the node's outputs it is."""
        return node.outputs.index(self)

    @property
    def shown(self) -> tuple["Tensor", tuple[int, ...]]:
        """The tensor in the axes that the framework gave it in, where it is one within a call; and
        the order of these axes."""
        tensor, perm = self, tuple(range(self.value.ndim))
        while tensor.recorded is None and len(tensor.consumers) == 1:
            node = tensor.consumers[0]
            if not isinstance(node.op, Transpose) or node.call is not (self.place or (None,))[0]:
                break
            perm = tuple(perm[axis] for axis in node.op.perm)
            tensor = node.outputs[0]
        if tensor.recorded is not None:
            return (tensor, perm)
        return (self, tuple(range(len(perm))))

    @property
    def root(self) -> "Tensor":
        """The tensor whose elements these are, in the same or another layout."""
        tensor = self
        while tensor.node is not None and tensor.node.layout:
            tensor = tensor.node.inputs[0]
        return tensor


@dataclass(eq=False)
class GraphNode:
    """One step of one call."""

    op: Op | None
    """None of a call without description."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    call: GraphCall
    index: int = 0
    """Its place in the execution order."""
    takes_floats: bool = False
    """Whether whole numbers that the call is given are taken for floats."""
    quantizer: QuantizeLinear | None = None
    """What quantised in the place of a cut at the ends of its range."""

    @cached_property
    def layout(self) -> bool:
        """Whether it gives the elements of its input, each once and unchanged."""
        if isinstance(self.op, Cast):
            kinds = [tensor.recorded for tensor in (*self.inputs, *self.outputs)]
            return self.op.to in ("float32", "float64") and all(
                array is None or array.dtype in (np.float32, np.float64) for array in kinds
            )
        return isinstance(self.op, _LAYOUT) and len(self.inputs) == 1

    @property
    def kind(self) -> str:
        if self.op is not None:
            return type(self.op).__name__
        return self.call.capture.kind


_LAYOUT = (Transpose, Reshape, Identity, Squeeze, Unsqueeze, Stored, Outputs)


@dataclass(eq=False)
class ModelGraph:
    """A forward pass: nodes and tensors in execution order."""

    nodes: list[GraphNode]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    """What the model gives, as far as a node makes it."""
    places: tuple[int, ...] = ()
    """Which of all that the model gives each of these is."""
    output_names: tuple[str, ...] = ()
    """Of all that the model gives; "" where there are none."""
    loose: tuple[Tensor, ...] = ()
    """Arrays by names that no node makes: of outputs alone."""
    training: bool = False
    """Whether a layer ran in training mode."""
    steps: dict[GraphNode, float] = field(default_factory=dict)
    """The distance of neighbouring values of what a node gives that integers stand for."""

    @property
    def tensors(self) -> Iterator[Tensor]:
        yield from self.inputs
        yield from self.loose
        for node in self.nodes:
            yield from node.outputs

    def numbered(self) -> "ModelGraph":
        """The same with places and consumers as the nodes now are."""
        for tensor in self.tensors:
            tensor.consumers = []
        for node in self.nodes:
            for tensor in node.inputs:
                tensor.consumers = []
        for index, node in enumerate(self.nodes):
            node.index = index
            for tensor in dict.fromkeys(node.inputs):
                tensor.consumers.append(node)
        return self


def recorded_pass(
    model: Model,
    arrays: Sequence[np.ndarray],
    seen: Callable[[Capture], Capture] = lambda capture: capture,
) -> tuple[ModelGraph, tuple[np.ndarray, ...]]:
    """The graph of one forward pass over every layer and operation, as they are ``seen``, and what
    the pass gives, nothing where ``seen`` ends it with StopForward."""
    build = _Building(arrays)
    outputs: tuple[np.ndarray, ...] = ()
    with suppress(StopForward):
        outputs = model.run(arrays, None, lambda capture: build.add(seen(capture)))
    ends = [build.by_value(np.asarray(output), last=True) for output in outputs]
    known = {place: end for place, end in enumerate(ends) if end is not None}
    names = model.output_names() if isinstance(model, NamesArrays) else ()
    graph = ModelGraph(
        *(build.nodes, build.inputs, tuple(known.values()), tuple(known)),
        output_names=(*names, *[""] * len(outputs))[: len(outputs)],
        training=build.training,
    )
    return graph.numbered(), outputs


def tensors_alone(
    arrays: Mapping[str, np.ndarray],
    files: Mapping[str, str] = MappingProxyType({}),
    held: Mapping[str, np.ndarray] | None = None,
) -> ModelGraph:
    """Arrays by names that another program wrote, of which nobody knows what made them; ``files``
    are the names that these have there, where they are others, and ``held`` what these hold."""
    loose = tuple(
        Tensor(
            *(files.get(name, name), np.asarray(array)),
            stands_for=name,
            rearranged=held is not None and held.get(name) is not array,
        )
        for name, array in arrays.items()
    )
    return ModelGraph([], (), (), loose=loose)


class _Building:
    """A graph under construction."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.inputs = tuple(
            Tensor(f"input {place}", np.asarray(array), input=place)
            for place, array in enumerate(arrays)
        )
        self.nodes: list[GraphNode] = []
        self._made: dict[tuple[str, int, int], Tensor] = {}
        self._known: list[Tensor] = [*self.inputs]
        self.training = False
        """Whether a layer ran in training mode."""
        self._spool = Spool()
        self._known_bits: dict[Tensor, tuple[object, ...]] = {}
        self._strays: dict[tuple[object, ...], Tensor] = {}

    def add(self, capture: Capture) -> None:
        call = GraphCall(capture)
        self.training = self.training or capture.training
        call.inputs = inputs = tuple(
            self._input(call, index) for index in range(len(capture.inputs))
        )
        shared = tuple(map(_shared, inputs, capture.inputs))
        outputs = tuple(map(self._spool.keep, capture.outputs))
        call.capture = capture = replace(capture, inputs=shared, outputs=outputs)
        if capture.description is None:
            tensors = tuple(Tensor(call.name, array) for array in capture.outputs)
            self._node(None, inputs, tensors, call)
        else:
            tensors = self._steps(call, inputs)
        for output, tensor in enumerate(tensors):
            self._made[capture.layer, capture.call, output] = tensor
            self._known.append(tensor)
        call.capture = replace(call.capture, constants=None)  # which holds on to the pass

    def _steps(self, call: GraphCall, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        capture = call.capture
        assert capture.description is not None
        steps = capture.description.steps
        floats = all(array.dtype.kind == "f" for array in capture.outputs)
        values: list[tuple[Tensor, ...]] = []
        ends: tuple[Tensor, ...] = ()
        for position, step in enumerate(steps):
            sources = tuple(ref.of(inputs, values) for ref in step.sources(position))
            last = position == len(steps) - 1
            if last and isinstance(step.op, Outputs):
                ends = sources
                break
            count = self._count(steps, position, len(capture.outputs) if last else 1)
            outputs = tuple(Tensor(call.name, place=(call, position, k)) for k in range(count))
            self._node(step.op, sources, outputs, call, floats)
            if isinstance(step.op, Parameter):
                note_origin(outputs[0], step.op.weight.value, call, step.op.weight.name)
            values.append(outputs)
            ends = outputs
        for tensor, array in zip(ends, capture.outputs, strict=False):
            if tensor.recorded is None:
                tensor.recorded = array
        return ends

    def _count(self, steps: Sequence[Step], position: int, least: int) -> int:
        """How many outputs of a step are used."""
        used = (
            ref.index + 1
            for place, step in enumerate(steps)
            for ref in step.sources(place)
            if ref.step == position
        )
        return max(least, steps[position].op.output_count or 1, *used)

    def _node(
        self,
        op: Op | None,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        call: GraphCall,
        floats: bool = False,
    ) -> None:
        node = GraphNode(op, inputs, outputs, call, takes_floats=floats)
        for tensor in outputs:
            tensor.node = node
        self.nodes.append(node)

    def _input(self, call: GraphCall, index: int) -> Tensor:
        capture = call.capture
        array = capture.inputs[index]
        maker = capture.made_by[index] if index < len(capture.made_by) else None
        if isinstance(maker, CallOutput) and maker in self._made:
            return self._made[maker]
        if isinstance(maker, ModelInput) and maker.position < len(self.inputs):
            return self.inputs[maker.position]
        if index not in capture.fixed:
            if (same := self.by_value(array)) is not None:
                return same
            if (wider := self._rounded_to(array, capture.dtype)) is not None:
                return self._cast(wider, array, call)
        if (key := bits_of(array)) not in self._strays:
            self._strays[key] = stray = Tensor(f"input {index} of {call.name}", array)
            note_origin(stray, array, call, index)
        return self._strays[key]

    def _rounded_to(self, array: np.ndarray, dtype: str) -> Tensor | None:
        """The latest tensor that an array of half precision is the rounded values of."""
        if dtype not in _HALVES or array.dtype.kind != "f" or array.size < _FEW:
            return None
        half, alike = _HALVES[dtype], array.astype(np.float32)
        for tensor in reversed(self._known):
            known = tensor.recorded
            if known is not None and known.dtype == np.float32 and known.shape == array.shape:
                with np.errstate(over="ignore"):
                    if np.array_equal(known.astype(half).astype(np.float32), alike):
                        return tensor
        return None

    def _cast(self, wider: Tensor, array: np.ndarray, call: GraphCall) -> Tensor:
        """What a layer rounds the tensor to before it computes."""
        tensor = Tensor(call.name, array)
        self._node(Cast(to=call.capture.dtype), (wider,), (tensor,), call)
        self._known.append(tensor)
        return tensor

    def by_value(self, array: np.ndarray, last: bool = False) -> Tensor | None:
        """The latest tensor that holds the same numbers; of what the model gives (``last``) a
        single number too."""
        if array.size < _FEW and not last:
            return None
        bits = None
        for tensor in reversed(self._known):
            known = tensor.recorded
            if known is None or known.shape != array.shape or known.dtype != array.dtype:
                continue
            if known is array:
                return tensor
            bits = bits or bits_of(array)
            if tensor not in self._known_bits:
                self._known_bits[tensor] = bits_of(known)
            if self._known_bits[tensor] == bits:
                return tensor
        return None


def _shared(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    """The array that a tensor holds already, where it is the same."""
    if tensor.recorded is None or tensor.recorded.dtype != array.dtype:
        return array
    return tensor.recorded
