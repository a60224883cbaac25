"""An opened SavedModel: its layers are the operations of one signature, and TensorFlow, which runs
it, is the framework."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from probe.capture.declared_shape import refuse_shapes
from probe.errors import BadInput, UnknownLayer
from probe.listing import Layer, Shown
from probe.model import CallOutput, Capture, InputSpec, ModelInput, OnCall, Part, Producer

from .describe import description_of
from .graph import SignatureGraph, loaded
from .proto import SavedFolder

__all__ = ["SavedModel"]

_WHOLE = "graph"
"""The kind of the model as a whole."""


@dataclass(frozen=True, eq=False, repr=False)
class SavedModel(Shown):
    """What ``probe.open_model`` returns for a SavedModel (``probe.model.Model``)."""

    folder: SavedFolder
    signature: str
    other_files: tuple[str, ...] = ()
    _held: dict[str, SignatureGraph] = field(default_factory=dict, repr=False)

    @property
    def source(self) -> str:
        return str(self.folder.path)

    @property
    def notes(self) -> tuple[str, ...]:
        others = [name for name in self.folder.signatures if name != self.signature]
        more = f"; others: {', '.join(others)} (--signature)" if others else ""
        return (f"the signature {self.signature} of a SavedModel{more}",)

    @cached_property
    def graph(self) -> SignatureGraph:
        return loaded(self.folder, self.signature)

    @property
    def framework(self) -> str:
        return f"tensorflow {self.graph.tensorflow.__version__}"

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        return tuple(map(_spec, self.graph.inputs))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The operations, in the order of the graph."""
        held = self.graph.variables
        return tuple(
            Layer(
                name,
                operation.type,
                ("numpy", "onnx"),
                "",
                None,
                _count(self.graph, operation, held),
            )
            for name, operation in self.graph.operations.items()
        )

    @property
    def input_hint(self) -> str:
        return ""

    @property
    def input_index_bound(self) -> int | None:
        return None

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        return ()

    def argument_names(self) -> tuple[str, ...]:
        return ()

    def output_names(self) -> tuple[str, ...]:
        return self.graph.output_names

    def names(self) -> tuple[str, ...]:
        return ("", *self.graph.operations)

    @property
    def containers(self) -> tuple[Layer, ...]:
        count = sum(layer.parameters for layer in self.layers)
        return (Layer("", _WHOLE, ("numpy", "onnx"), "", None, count),)

    def may_be_operation(self, name: str) -> bool:
        return False

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        """With every tensor that a wanted operation takes or gives fetched; after a replacement the
        rest is run on what was put there."""
        whole = wanted is not None and "" in wanted
        operations = self.graph.operations
        asked = set(operations) if wanted is None else set(wanted) - {""}
        for name in sorted(asked):
            if name not in operations:
                raise UnknownLayer(name, operations)
        refuse_shapes(self.inputs, inputs)
        fed = {
            tensor.name: (tensor, np.array(x, spec.dtype))
            for tensor, spec, x in zip(self.graph.inputs, self.inputs, inputs, strict=True)
        }
        chosen = {name: op for name, op in operations.items() if whole or name in asked}
        values = self._values(chosen, fed)
        made_by: dict[str, Producer] = {
            tensor.name: ModelInput(place) for place, tensor in enumerate(self.graph.inputs)
        }
        parts: list[Part] = []
        for name, operation in chosen.items():
            capture = self._capture(name, operation, values, made_by)
            parts += [Part(capture, "")] if whole else []
            replacement = on_call(capture) if name in asked else None
            made_by |= {
                output.name: CallOutput(name, 0, place)
                for place, output in enumerate(operation.outputs)
            }
            if replacement is not None:
                for output, array in zip(operation.outputs, replacement, strict=False):
                    fed[output.name] = (output, np.asarray(array, output.dtype.as_numpy_dtype))
                values = self._values(chosen, fed)
        results = [self.graph.root(tensor) for tensor in self.graph.function.outputs]
        arrays = tuple(values[tensor.name] for tensor in results)
        if whole:
            on_call(
                Capture(
                    layer="",
                    kind=_WHOLE,
                    call=0,
                    inputs=tuple(values[tensor.name] for tensor in self.graph.inputs),
                    outputs=arrays,
                    dtype="float32",
                    why="a graph is composed of its operations",
                    made_by=tuple(map(ModelInput, range(len(self.graph.inputs)))),
                    input_names=tuple(spec.name for spec in self.inputs),
                    parts=tuple(parts),
                    results=tuple(made_by.get(tensor.name) for tensor in results),
                    unseen=lambda: "",
                )
            )
        return arrays

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        if not name:
            self.run(inputs, {""}, on_call)
            return
        if name not in self.graph.operations:
            raise UnknownLayer(name, self.graph.operations)
        operation = self.graph.operations[name]
        taken = self._taken(operation)
        if len(taken) != len(inputs):
            names = ", ".join(tensor.op.name for tensor in taken)
            raise BadInput(f"{name!r} takes {len(taken)} inputs ({names}); you gave {len(inputs)}")
        fed = {
            tensor.name: (tensor, np.asarray(x, tensor.dtype.as_numpy_dtype))
            for tensor, x in zip(taken, inputs, strict=True)
        }
        values = self._values({name: operation}, fed, results=False)
        made_by: dict[str, Producer] = {
            tensor.name: ModelInput(place) for place, tensor in enumerate(taken)
        }
        on_call(self._capture(name, operation, values, made_by))

    def _taken(self, operation: Any) -> list[Any]:
        """The tensors that an operation takes and that follow from the inputs, each once."""
        roots = map(self.graph.root, operation.inputs)
        return list(
            {root.name: root for root in roots if root.name in self.graph.following}.values()
        )

    def _values(
        self,
        operations: Mapping[str, Any],
        fed: Mapping[str, tuple[Any, np.ndarray]],
        results: bool = True,
    ) -> dict[str, np.ndarray]:
        """What is fed, the results, and what these operations take and give."""
        wanted = [self.graph.root(tensor) for tensor in self.graph.function.outputs if results]
        for operation in operations.values():
            wanted += [*map(self.graph.root, operation.inputs), *operation.outputs]
        fetched = {
            tensor.name: tensor
            for tensor in wanted
            if tensor.name not in fed and tensor.dtype.name not in ("variant", "resource", "string")
        }
        arrays = self.graph.run(fed, list(fetched.values()))
        given = {name: array for name, (_, array) in fed.items()}
        return {**given, **dict(zip(fetched, arrays, strict=True))}

    def _capture(
        self,
        name: str,
        operation: Any,
        values: Mapping[str, np.ndarray],
        made_by: Mapping[str, Producer],
    ) -> Capture:
        taken = self._taken(operation)
        outputs = [values[output.name] for output in operation.outputs if output.name in values]
        described, why = description_of(self.graph, operation, taken, values)
        return Capture(
            layer=name,
            kind=operation.type,
            call=0,
            inputs=tuple(values[tensor.name] for tensor in taken if tensor.name in values),
            outputs=tuple(outputs),
            dtype=_dtype(operation),
            description=described,
            why=why,
            made_by=tuple(made_by.get(tensor.name) for tensor in taken),
            input_names=tuple(tensor.op.name for tensor in taken),
        )


def _spec(tensor: Any) -> InputSpec:
    rank = tensor.shape.rank
    sizes = () if rank is None else tuple(tensor.shape.as_list())
    return InputSpec(tensor.op.name, sizes, tensor.dtype.name)


def _dtype(operation: Any) -> str:
    """The type that an operation computes in: its first floats."""
    for tensor in (*operation.outputs, *operation.inputs):
        if tensor.dtype.is_floating:
            return str(tensor.dtype.name)
    return str(operation.outputs[0].dtype.name)


def _count(graph: SignatureGraph, operation: Any, held: Mapping[str, Any]) -> int:
    """How many numbers of variables an operation takes."""
    roots = {graph.root(source).op.name for source in operation.inputs}
    return sum(held[name].value.size for name in roots if name in held)
