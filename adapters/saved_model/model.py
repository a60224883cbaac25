"""An opened SavedModel: its layers are the operations of one signature, and TensorFlow, which runs
it in a process of its own, is the framework."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from probe.capture.declared_shape import refuse_shapes
from probe.errors import BadInput, CannotOpen, ForwardFailed, UnknownLayer
from probe.listing import Layer, Shown
from probe.model import CallOutput, Capture, InputSpec, ModelInput, OnCall, Part, Producer

from .outline import Operation, Outline, SignatureRun
from .processes import Worker
from .proto import SavedFolder
from .run_limits import loading, running
from .serving import Serving

__all__ = ["SavedModel"]

_WHOLE = "graph"
"""The kind of the model as a whole."""


def _worker() -> Worker:
    return Worker(Serving)


@dataclass(frozen=True, eq=False, repr=False)
class SavedModel(Shown):
    """What ``probe.open_model`` returns for a SavedModel (``probe.model.Model``)."""

    folder: SavedFolder
    signature: str
    trusted: bool = False
    other_files: tuple[str, ...] = ()
    _worker: Worker = field(default_factory=_worker, repr=False)

    @property
    def source(self) -> str:
        return str(self.folder.path)

    @property
    def notes(self) -> tuple[str, ...]:
        others = [name for name in self.folder.signatures if name != self.signature]
        more = f"; others: {', '.join(others)} (--signature)" if others else ""
        return (f"the signature {self.signature} of a SavedModel{more}",)

    @cached_property
    def outline(self) -> Outline:
        return self._loaded()

    def _loaded(self) -> Outline:
        what = f"TensorFlow loading {self.source}"
        path = str(self.folder.path.absolute())
        try:
            outline: Outline = self._worker.ask(
                what, loading(self.folder, self.trusted), "load", path, self.signature
            )
        except ForwardFailed as error:
            raise CannotOpen(str(error)) from None
        return outline

    def _evaluated(
        self, fed: Mapping[str, np.ndarray], names: Collection[str], whole: bool
    ) -> SignatureRun:
        if not self._worker.runs:  # what ran before has ended it
            self._loaded()
        allowance = running(self.folder, fed.values(), self.trusted)
        what = f"TensorFlow running {self.source}"
        evaluated: SignatureRun = self._worker.ask(what, allowance, "run", fed, list(names), whole)
        return evaluated

    @property
    def framework(self) -> str:
        return f"tensorflow {self.outline.version}"

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        return tuple(
            InputSpec(tensor.operation, tensor.sizes, tensor.dtype)
            for tensor in self.outline.inputs
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The operations, in the order of the graph."""
        return tuple(
            Layer(name, operation.kind, ("numpy", "onnx"), "", None, operation.parameters)
            for name, operation in self.outline.operations.items()
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
        return self.outline.output_names

    def names(self) -> tuple[str, ...]:
        return ("", *self.outline.operations)

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
        operations = self.outline.operations
        asked = set(operations) if wanted is None else set(wanted) - {""}
        for name in sorted(asked):
            if name not in operations:
                raise UnknownLayer(name, operations)
        refuse_shapes(self.inputs, inputs)
        fed = {
            tensor.name: np.asarray(x)
            for tensor, x in zip(self.outline.inputs, inputs, strict=True)
        }
        chosen = [name for name in operations if whole or name in asked]
        run = self._evaluated(fed, chosen, True)
        made_by: dict[str, Producer] = {
            tensor.name: ModelInput(place) for place, tensor in enumerate(self.outline.inputs)
        }
        parts: list[Part] = []
        for place, name in enumerate(chosen):
            capture = _capture(name, operations[name], run, made_by)
            parts += [Part(capture, "")] if whole else []
            replacement = on_call(capture) if name in asked else None
            outputs = operations[name].outputs
            made_by |= {
                output.name: CallOutput(name, 0, number) for number, output in enumerate(outputs)
            }
            if replacement is not None:
                fed |= {
                    output.name: np.asarray(array)
                    for output, array in zip(outputs, replacement, strict=False)
                }
                run = self._evaluated(fed, chosen[place + 1 :], True)
        arrays = tuple(run.values[name] for name in self.outline.results)
        if whole:
            on_call(self._whole(run, arrays, tuple(parts), made_by))
        return arrays

    def _whole(
        self,
        run: SignatureRun,
        arrays: tuple[np.ndarray, ...],
        parts: tuple[Part, ...],
        made_by: Mapping[str, Producer],
    ) -> Capture:
        inputs = self.outline.inputs
        return Capture(
            layer="",
            kind=_WHOLE,
            call=0,
            inputs=tuple(run.values[tensor.name] for tensor in inputs),
            outputs=arrays,
            dtype="float32",
            why="a graph is composed of its operations",
            made_by=tuple(map(ModelInput, range(len(inputs)))),
            input_names=tuple(tensor.operation for tensor in inputs),
            parts=parts,
            results=tuple(made_by.get(name) for name in self.outline.results),
            unseen=lambda: "",
        )

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        if not name:
            self.run(inputs, {""}, on_call)
            return
        if name not in self.outline.operations:
            raise UnknownLayer(name, self.outline.operations)
        operation = self.outline.operations[name]
        taken = operation.taken
        if len(taken) != len(inputs):
            names = ", ".join(tensor.operation for tensor in taken)
            raise BadInput(f"{name!r} takes {len(taken)} inputs ({names}); you gave {len(inputs)}")
        fed = {tensor.name: np.asarray(x) for tensor, x in zip(taken, inputs, strict=True)}
        made_by: dict[str, Producer] = {
            tensor.name: ModelInput(place) for place, tensor in enumerate(taken)
        }
        on_call(_capture(name, operation, self._evaluated(fed, [name], False), made_by))


def _capture(
    name: str, operation: Operation, run: SignatureRun, made_by: Mapping[str, Producer]
) -> Capture:
    described, why = run.described[name]
    given = [tensor.name for tensor in operation.taken]
    outputs = [tensor.name for tensor in operation.outputs]
    return Capture(
        layer=name,
        kind=operation.kind,
        call=0,
        inputs=tuple(run.values[key] for key in given if key in run.values),
        outputs=tuple(run.values[key] for key in outputs if key in run.values),
        dtype=operation.dtype,
        description=described,
        why=why,
        made_by=tuple(made_by.get(key) for key in given),
        input_names=tuple(tensor.operation for tensor in operation.taken),
    )
