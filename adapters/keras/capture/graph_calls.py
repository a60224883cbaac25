"""What a model of the user's own does between its layers by TensorFlow's own functions, as calls
with names of their own.

The graph that TensorFlow traces of its call is run piece by piece: each layer where it stands, and
what lies between the layers, up to the next of them, as one call. That is named after the model and
the last operation: "block/relu".
"""

import importlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from probe.description import Description, Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.layer_tree import Place
from ..describe.tensors import Tensors
from ..tf_graph.node import GraphTensor, TidyBuilder
from ..tf_graph.walk import GraphWalk
from .graph_of_call import TracedCall, captured, left, traced_call, weight_of
from .graph_trace import ended, taken
from .operation_calls import same

__all__ = ["TracedByGraph", "traced_by_graph"]

_MOVES = ("Cast", "Identity", "NoOp", "ReadVariableOp", "Const", "Placeholder")
"""Operations that are no call of their own."""


class Piece:
    """What lies between some tensors of a graph and another one."""

    def __init__(
        self, graph: Any, sources: Sequence[Any], wanted: Any, model: Any, tensors: Tensors
    ):
        self.graph, self.sources, self.wanted = graph, sources, wanted
        self.model, self.tensors = model, tensors

    def call(self, *inputs: Any) -> Any:
        arrays = tuple(self.tensors.array(tensor) for tensor in inputs)
        call = KerasCall(self, self.tensors.keras, arrays, self.tensors.dtype(inputs))
        return self._walked(inputs, call)[1][0].later()

    __call__ = call

    def described(self, call: KerasCall, tensors: Tensors) -> Description:
        """Its steps on the inputs of a call."""
        values = [
            tensors.tensor(array, source.dtype)
            for array, source in zip(call.inputs, self.sources, strict=True)
        ]
        return Description(ended(*self._walked(values, call)))

    def _walked(
        self, values: Sequence[Any], call: KerasCall
    ) -> tuple[GraphWalk, list[GraphTensor]]:
        build = TidyBuilder(replace(call, inputs=(*call.inputs, *call.masks)))
        tf = importlib.import_module("tensorflow")
        walk = GraphWalk(build, tf, call.dtype, weight_of(self.model, call))
        given = captured(self.graph, walk)
        for k, (tensor, value) in enumerate(zip(self.sources, values, strict=True)):
            given[tensor.name] = taken(build, Ref(-1, k), tensor, value)
        return walk, walk.outputs(self.graph, given, [self.wanted])


@dataclass(frozen=True, eq=False)
class TracedByGraph:
    """The call of a model as layers and pieces of a graph between them."""

    place: Place
    inputs: Sequence[Any]
    traced: TracedCall
    tensors: Tensors

    def run(self, step: Callable[[Place, Any, Any, Any], Any]) -> Any:
        """What the call gives; ``step`` makes that of each piece."""
        graph = self.traced.function.graph
        values = {
            tensor.name: value for tensor, value in zip(graph.inputs, self.inputs, strict=False)
        }
        counts: Counter[str] = Counter()

        def value_of(leaf: Any) -> Any:
            if getattr(leaf, "graph", None) is graph:
                return self._value(leaf, values, counts, step)
            return leaf

        def filled(nested: Any) -> Any:
            return self.tensors.mapped(value_of, nested)

        for called in self.traced.called:
            result = called.layer(*filled(called.args), **filled(called.kwargs))
            found = self.tensors.within(result)
            values.update({output.name: v for output, v in zip(called.outputs, found, strict=True)})
        return filled(self.traced.result)

    def _value(
        self,
        tensor: Any,
        values: dict[str, Any],
        counts: Counter[str],
        step: Callable[[Place, Any, Any, Any], Any],
    ) -> Any:
        if tensor.name not in values:
            sources, kinds = _sources_of(tensor, values)
            kind = next((kind for kind in kinds if kind not in _MOVES), "")
            # A class of its own, since calls go by the names of their classes.
            piece = type(kind or "Cast", (Piece,), {})(
                self.traced.function.graph, sources, tensor, self.place.layer, self.tensors
            )
            given = [values[source.name] for source in sources]
            if not sources or not kind:
                values[tensor.name] = piece(*given)
            else:
                name = f"{self.place.name}/{_snake(kind)}"
                counts[name] += 1
                name += f":{counts[name] - 1}" if counts[name] > 1 else ""
                place = Place(name, piece, "atomic", own=True)
                values[tensor.name] = step(place, piece, given, {})
        return values[tensor.name]


def traced_by_graph(
    place: Place,
    input_tensors: Sequence[Any],
    function: Callable[[Sequence[Any]], Any],
    own: Callable[[], Any],
    tensors: Tensors,
    inside: Callable[[Any], bool],
) -> TracedByGraph:
    """Undescribed where TensorFlow cannot trace the call, where a piece of its graph cannot run
    alone, and where the pieces do not give what ``own``, the call as it is, gives bit by bit."""
    tf = importlib.import_module("tensorflow")

    def noted(layer: Any) -> str | None:
        if inside(layer):
            return ""
        return None

    traced = left(
        place.layer,
        lambda: traced_call(function, input_tensors, place.layer, tensors, tf, noted, True),
    )
    steps = TracedByGraph(place, input_tensors, traced, tensors)

    def step(place: Place, piece: Any, args: Any, kwargs: Any) -> Any:
        return piece(*args)

    try:
        ours = left(place.layer, lambda: steps.run(step))
    except Undescribed:
        raise
    except Exception as error:
        raise Undescribed(
            f"running its graph piece by piece failed ({type(error).__name__})"
        ) from None
    if not same(ours, left(place.layer, lambda: tensors.made(own)), tensors):
        raise Undescribed(
            "its graph, as TensorFlow traces it, gives other values piece by piece than the call"
        )
    return steps


def _sources_of(tensor: Any, known: Mapping[str, Any]) -> tuple[list[Any], list[str]]:
    """The known tensors that a tensor of a graph follows from, and the operations between them, the
    last ones first."""
    sources: dict[str, Any] = {}
    kinds, waiting, seen = [], [tensor], set[str]()
    while waiting:
        current = waiting.pop(0)
        if current.name in known:
            sources[current.name] = current
        elif current.op.name not in seen:
            seen.add(current.op.name)
            kinds.append(str(current.op.type))
            waiting.extend(current.op.inputs)
    return list(sources.values()), kinds


def _snake(kind: str) -> str:
    """ "AddV2" as "add", "BiasAdd" as "bias_add", "StatelessIf" as "if"."""
    if kind.endswith("PartitionedCall"):
        return "function"
    plain = re.sub(r"^Stateless|V\d$", "", kind)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain).lower()
