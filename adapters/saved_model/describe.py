"""One operation of a signature as steps, by the walk over TensorFlow's graphs that Keras' adapter
has too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from probe.description import Description, Ref, Weight
from probe.errors import Undescribed, describing

from ..keras.capture.graph_trace import ended, taken
from ..keras.describe.call import KerasCall
from ..keras.describe.variables import cast, widened
from ..keras.tf_graph.node import GraphTensor, Laid, Later, TidyBuilder, dtype_of, numbers_of
from ..keras.tf_graph.walk import GraphWalk
from .graph import SignatureGraph, StoredVariable

__all__ = ["description_of"]


def description_of(
    graph: SignatureGraph,
    operation: Any,
    sources: Sequence[Any],
    values: Mapping[str, np.ndarray],
) -> tuple[Description | None, str]:
    """The steps of an operation on the tensors that it takes, or why there are none."""
    missing = [tensor for tensor in sources if tensor.name not in values]
    if missing:
        return None, f"it takes a {missing[0].dtype.name}, not a tensor of numbers"
    try:
        with describing():
            return _described(graph, operation, sources, values), ""
    except Undescribed as error:
        return None, str(error)


def _described(
    graph: SignatureGraph,
    operation: Any,
    sources: Sequence[Any],
    values: Mapping[str, np.ndarray],
) -> Description:
    arrays = tuple(values[tensor.name] for tensor in sources)
    floats = [tensor for tensor in (*operation.outputs, *sources) if tensor.dtype.is_floating]
    dtype = str(floats[0].dtype.name) if floats else "float32"
    build = TidyBuilder(KerasCall(operation, graph.tensorflow, arrays, dtype))
    walk = GraphWalk(build, graph.tensorflow, dtype, _weight(dtype))
    places = {tensor.name: place for place, tensor in enumerate(sources)}
    given: dict[str, GraphTensor] = {}
    for source in operation.inputs:
        root = graph.root(source)
        if root.name in places:
            value = graph.tensorflow.constant(values[root.name], root.dtype)
            given[source.name] = taken(build, Ref(-1, places[root.name]), root, value)
        else:
            given[source.name] = _fixed(graph, walk, root, values)
    return Description(ended(walk, walk.outputs(graph.graph, given, graph.given(operation))))


def _weight(dtype: str) -> Callable[[StoredVariable, bool], Weight]:
    def weight(variable: StoredVariable, casts: bool) -> Weight:
        stored = widened(np.array(variable.value))
        name = variable.name.rpartition("/")[2]
        return Weight(name, stored, cast(stored, dtype) if casts else stored)

    return weight


def _fixed(
    graph: SignatureGraph, walk: GraphWalk, root: Any, values: Mapping[str, np.ndarray]
) -> GraphTensor:
    """A tensor that does not follow from the inputs: a variable, or numbers of the graph."""
    variable = graph.variables.get(root.op.name)
    if variable is not None:
        weight = walk.weight(variable, False)
        laid = Laid(weight, tuple(range(weight.effective.ndim)))
        later = Later(lambda: graph.tensorflow.constant(variable.value))
        return GraphTensor(dtype_of(root), later, laid=laid, variable=variable)
    if root.name not in values:
        return GraphTensor(dtype_of(root), Later(lambda: None), why="it takes no tensor of numbers")
    tensor = graph.tensorflow.constant(values[root.name], root.dtype)
    return GraphTensor(dtype_of(root), Later(lambda: tensor), known=numbers_of(values[root.name]))
