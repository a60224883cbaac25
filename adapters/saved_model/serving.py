"""A loaded signature in the process that runs it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..keras.describe.variables import widened
from .describe import description_of
from .graph import SignatureGraph, StoredVariable, loaded
from .outline import Operation, Outline, SavedTensor, SignatureRun

__all__ = ["Serving"]

_NO_NUMBERS = ("variant", "resource", "string")


class Serving:
    """Answers what ``SavedModel`` asks."""

    _graph: SignatureGraph

    def load(self, path: str, signature: str) -> Outline:
        self._graph = graph = loaded(path, signature)
        return Outline(
            version=str(graph.tensorflow.__version__),
            inputs=tuple(map(_tensor, graph.inputs)),
            operations={
                name: Operation(
                    kind=operation.type,
                    dtype=_dtype(operation),
                    parameters=sum(each.value.size for each in _variables(graph, operation)),
                    weights=_path(_variables(graph, operation)),
                    taken=tuple(map(_tensor, graph.taken(operation))),
                    outputs=tuple(map(_tensor, graph.given(operation))),
                )
                for name, operation in graph.operations.items()
            },
            results=tuple(graph.root(tensor).name for tensor in graph.outputs),
            output_names=graph.output_names,
        )

    def run(self, fed: Mapping[str, np.ndarray], names: Sequence[str], whole: bool) -> SignatureRun:
        """With these tensors given, what the operations take and give, and are; with ``whole``
        what the signature returns, too."""
        graph = self._graph
        operations = {name: graph.operations[name] for name in names}
        given = {
            name: (tensor, np.asarray(array, tensor.dtype.as_numpy_dtype))
            for name, array in fed.items()
            for tensor in [graph.graph.get_tensor_by_name(name)]
        }
        wanted = [graph.root(tensor) for tensor in graph.outputs if whole]
        for operation in operations.values():
            wanted += [*map(graph.root, operation.inputs), *graph.given(operation)]
        fetched = {
            tensor.name: tensor
            for tensor in wanted
            if tensor.name not in given and tensor.dtype.name not in _NO_NUMBERS
        }
        arrays = graph.run(given, list(fetched.values()))
        values = {name: widened(array) for name, (_, array) in given.items()}
        values |= {name: widened(array) for name, array in zip(fetched, arrays, strict=True)}
        described = {
            name: description_of(graph, operation, graph.taken(operation), values)
            for name, operation in operations.items()
        }
        return SignatureRun(values, described)


def _tensor(tensor: Any) -> SavedTensor:
    rank = tensor.shape.rank
    sizes = () if rank is None else tuple(tensor.shape.as_list())
    return SavedTensor(tensor.name, tensor.op.name, tensor.dtype.name, sizes)


def _dtype(operation: Any) -> str:
    """The type that an operation computes in: its first floats."""
    for tensor in (*operation.outputs, *operation.inputs):
        if tensor.dtype.is_floating:
            return str(tensor.dtype.name)
    return str(operation.outputs[0].dtype.name)


def _variables(graph: SignatureGraph, operation: Any) -> list[StoredVariable]:
    """The variables that an operation takes."""
    roots = {graph.root(source).op.name for source in operation.inputs}
    return [graph.variables[name] for name in roots if name in graph.variables]


def _path(variables: Sequence[StoredVariable]) -> str:
    """What their names begin with, up to the last part."""
    paths = {"".join(variable.name.rpartition("/")[:2]) for variable in variables}
    return paths.pop() if len(paths) == 1 else ""
