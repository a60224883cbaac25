"""An opened SavedModel: its layers are the operations of one signature, and TensorFlow, which runs
it in a process of its own, is the framework."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from probe.capture.declared_shape import refuse_shapes
from probe.capture.input_values import refuse_no_indices
from probe.errors import BadInput, CannotOpen, ForwardFailed, UnknownLayer
from probe.listing import Layer, Shown
from probe.model import Capture, InputSpec, OnCall

from .blocks import SavedBlock, blocks_of
from .captures import BLOCK, WHOLE, captured
from .outline import Outline, SignatureRun
from .processes import Worker
from .proto import SavedFolder
from .run_limits import loading, running
from .serving import Serving

__all__ = ["SavedModel"]


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
        return (*self.blocks, *self.outline.operations)

    @cached_property
    def blocks(self) -> Mapping[str, SavedBlock]:
        return blocks_of(self.outline)

    @property
    def containers(self) -> tuple[Layer, ...]:
        """The name scopes, the outer ones first."""
        counts = {name: operation.parameters for name, operation in self.outline.operations.items()}
        return tuple(
            Layer(
                name,
                BLOCK if name else WHOLE,
                ("numpy", "onnx"),
                "",
                None,
                sum(map(counts.__getitem__, block.operations)),
            )
            for name, block in self.blocks.items()
        )

    def may_be_operation(self, name: str) -> bool:
        return False

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        """With every tensor that a wanted operation takes or gives fetched; after a replacement the
        rest is run on what was put there."""
        outline = self.outline
        asked = set(outline.operations if wanted is None else wanted)
        blocks = {name: block for name, block in self.blocks.items() if name in asked}
        asked -= blocks.keys()
        for name in sorted(asked - outline.operations.keys()):
            raise UnknownLayer(name, self.names())
        refuse_shapes(self.inputs, inputs)
        refuse_no_indices(self.inputs, inputs)
        fed = {tensor.name: np.asarray(x) for tensor, x in zip(outline.inputs, inputs, strict=True)}
        called = asked.union(*(block.operations for block in blocks.values()))
        chosen = [name for name in outline.operations if name in called]
        run = captured(outline, outline.inputs, blocks, chosen)
        run.ran(self._evaluated(fed, chosen, True))

        def pushed(call: Capture, outputs: Iterable[str], behind: Sequence[str]) -> None:
            replacement = on_call(call)
            if replacement is not None:
                fed.update(zip(outputs, map(np.asarray, replacement), strict=False))
                run.ran(self._evaluated(fed, behind, True))

        for place, name in enumerate(chosen):
            call, behind = run.call(name), chosen[place + 1 :]
            if name in asked:
                outputs = outline.operations[name].outputs
                pushed(call, (output.name for output in outputs), behind)
            for scope, block in reversed(blocks.items()):
                if scope and block.operations[-1] == name:
                    pushed(run.block(scope, block), block.outputs, behind)
        if "" in blocks:
            on_call(run.block("", blocks[""]))
        return tuple(run.values[name] for name in outline.results)

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        if not name:
            self.run(inputs, {""}, on_call)
            return
        operations = self.outline.operations
        block = self.blocks.get(name)
        if block is None and name not in operations:
            raise UnknownLayer(name, self.names())
        taken = operations[name].taken if block is None else block.taken
        if len(taken) != len(inputs):
            names = ", ".join(tensor.operation for tensor in taken)
            raise BadInput(f"{name!r} takes {len(taken)} inputs ({names}); you gave {len(inputs)}")
        fed = {tensor.name: np.asarray(x) for tensor, x in zip(taken, inputs, strict=True)}
        chosen = (name,) if block is None else block.operations
        run = captured(self.outline, taken, {}, chosen)
        run.ran(self._evaluated(fed, chosen, False))
        calls = [run.call(inside) for inside in chosen]
        on_call(calls[0] if block is None else run.block(name, block))
