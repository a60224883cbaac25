"""An opened .tflite file: its layers are its nodes, and the engine that was asked for is the
framework."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from probe.capture.declared_shape import refuse_shapes, way_out
from probe.errors import BadInput, ForwardFailed, UnknownLayer
from probe.listing import Layer, Shown
from probe.model import CallOutput, Capture, InputSpec, Model, ModelInput, OnCall, Part, Producer

from .codes import as_codes
from .dataflow import Dataflow, short
from .dumps import by_layers
from .engines import machine, version
from .listing import layers, names_of, notes, specs
from .node_capture import capture, grid_of
from .real_numbers import InRealNumbers
from .runs import Runs, Values
from .schema import OMITTED, TfliteNode, TfliteTensor

__all__ = ["TfliteModel"]

_WHOLE = "graph"
"""The kind of the model as a whole."""


@dataclass(frozen=True, eq=False, repr=False)
class TfliteModel(Shown):
    """What ``probe.open_model`` returns for TFLite (``probe.model.Model``)."""

    flow: Dataflow
    source: str
    engine: str
    trusted: bool = False
    other_files: tuple[str, ...] = ()
    seen: Callable[[TfliteNode, Values, Capture], Capture] = lambda node, values, call: call
    """What is made of each call of a node."""

    @property
    def framework(self) -> str:
        return f"{version(self.engine)} ({self.engine} engine) on {machine()}"

    @property
    def notes(self) -> tuple[str, ...]:
        return notes(self.flow)

    @cached_property
    def _runs(self) -> Runs:
        return Runs(self.flow, self.engine, f"{self.framework} running {self.source}", self.trusted)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        return specs(self.flow, fixed=self.engine == "tflm")

    @cached_property
    def _fed(self) -> tuple[TfliteTensor, ...]:
        return tuple(self.flow.tensors[at] for at in self.flow.main.inputs if at != OMITTED)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The nodes, in the order in which they run."""
        return layers(self.flow)

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
        return names_of(self.flow, self.flow.main.outputs, outputs=True)

    def names(self) -> tuple[str, ...]:
        return ("", *self.flow.nodes)

    @property
    def containers(self) -> tuple[Layer, ...]:
        count = sum(layer.parameters for layer in self.layers)
        return (Layer("", _WHOLE, ("numpy", "onnx"), "", None, count),)

    def may_be_operation(self, name: str) -> bool:
        return False

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()

    def coded(
        self, arrays: Sequence[np.ndarray], layer: str = ""
    ) -> tuple[tuple[np.ndarray, ...], str]:
        """Real numbers as the codes that the model, or one layer, takes in their place; in words
        what was done."""
        tensors = self._fed
        if layer:
            node = self._node(layer)
            tensors = tuple(self.flow.tensors[at] for at in self.flow.taken(node))
        if len(arrays) != len(tensors):
            return tuple(arrays), ""
        return as_codes(tensors, arrays)

    def in_real_numbers(self) -> Model | None:
        """What a model of floats is compared with; None where no node takes or gives codes."""
        tensors = {at for node in self.flow.nodes.values() for at in (*node.inputs, *node.outputs)}
        computed = self.flow.following & tensors
        if any(grid_of(self.flow.tensors[at]) is not None for at in computed):
            return InRealNumbers(self)
        return None

    def tensors(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """What each held right after it was computed: all of them are kept."""
        arrays = self._runs.passed(self._feeds(inputs), None).arrays
        names = {
            at: name for name, node in self.flow.nodes.items() for at in self.flow.given(node)[:1]
        }
        return {
            names.get(at, short(self.flow.tensors[at].name)): array for at, array in arrays.items()
        }

    def dumped(
        self, arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """What a program on a device has written, by layers; in words how it was read."""
        return by_layers(self.flow, arrays)

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        """With every tensor that a wanted node takes or gives kept; after a replacement the rest is
        run as a file of its own."""
        whole = wanted is not None and "" in wanted
        asked = set(self.flow.nodes) if wanted is None else set(wanted) - {""}
        for name in sorted(asked):
            self._node(name)
        feeds = self._feeds(inputs)
        try:
            return self._passed(feeds, whole, asked, on_call)
        except ForwardFailed:
            refuse_shapes(self.inputs, inputs)
            raise

    def _passed(
        self, feeds: Mapping[int, np.ndarray], whole: bool, asked: Collection[str], on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        names = set(self.flow.nodes) if whole else asked
        values = self._runs.passed(feeds, self._tensors_of(names))
        made_by = self._fed_producers()
        parts: list[Part] = []
        moved = False
        for name, node in self.flow.nodes.items():
            if name not in names:
                continue
            call = self._capture(name, node, values, made_by)
            if call is None:
                continue
            parts += [Part(call, "")] if whole else []
            replacement = on_call(call) if name in asked else None
            made_by |= {
                at: CallOutput(name, 0, place) for place, at in enumerate(self.flow.given(node))
            }
            if replacement is not None:
                if not moved:
                    values = self._runs.passed(feeds, None)
                self._put(node, values, replacement)
                values, moved = self._runs.behind(node, values), True
        results = self._results(values)
        if whole:
            on_call(self._whole(feeds, results, parts, made_by))
        return results

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        if not name:
            self.run(inputs, {""}, on_call)
            return
        node = self._node(name)
        taken = self.flow.taken(node)
        names = [short(self.flow.tensors[at].name) for at in taken]
        if len(taken) != len(inputs):
            raise BadInput(
                f"{name!r} takes {len(taken)} inputs ({', '.join(names)}); you gave {len(inputs)}"
            )
        tensors = [self.flow.tensors[at] for at in taken]
        if any(tensor.is_variable for tensor in tensors):
            raise BadInput(f"{name!r} has a state, so it cannot run alone: give the model's input")
        arrays, _ = as_codes(tensors, list(map(np.asarray, inputs)))
        values = self._runs.alone(node, dict(zip(taken, arrays, strict=True)))
        made_by: dict[int, Producer] = {at: ModelInput(place) for place, at in enumerate(taken)}
        call = self._capture(name, node, values, made_by)
        if call is None:
            raise ForwardFailed(f"{self.framework} gave no output of {name!r}")
        on_call(call)

    def _node(self, name: str) -> TfliteNode:
        if name not in self.flow.nodes:
            raise UnknownLayer(name, self.flow.nodes)
        return self.flow.nodes[name]

    def _feeds(self, inputs: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
        arrays, _ = as_codes(self._fed, list(map(np.asarray, inputs)))
        for tensor, array in zip(self._fed, arrays, strict=True):
            if self.engine == "tflm" and array.shape != tensor.shape:
                spec = InputSpec(short(tensor.name), tensor.shape)
                raise BadInput(
                    f"TFLM runs a file in the shapes that it holds: {spec.name!r} takes "
                    f"{tensor.shape}, and you gave {array.shape}: {way_out(spec, array.shape)}"
                )
        return {tensor.index: array for tensor, array in zip(self._fed, arrays, strict=True)}

    def _fed_producers(self) -> dict[int, Producer]:
        return {tensor.index: ModelInput(place) for place, tensor in enumerate(self._fed)}

    def _tensors_of(self, names: Collection[str]) -> set[int]:
        """What these nodes take and give, and the results; nothing where there are no nodes."""
        nodes = [self.flow.nodes[name] for name in names]
        found = {at for node in nodes for at in (*node.inputs, *node.outputs)}
        return found | set(self.flow.main.outputs) if found else found

    def _capture(
        self, name: str, node: TfliteNode, values: Values, made_by: Mapping[int, Producer]
    ) -> Capture | None:
        call = capture(self._runs, name, node, values, made_by)
        return None if call is None else self.seen(node, values, call)

    def _put(self, node: TfliteNode, values: Values, replacement: Sequence[np.ndarray]) -> None:
        """Other numbers in the place of what a node gave."""
        for at, array in zip(self.flow.given(node), replacement, strict=False):
            values.arrays[at] = np.asarray(array, values.arrays[at].dtype)

    def _results(self, values: Values) -> tuple[np.ndarray, ...]:
        missing = [at for at in self.flow.main.outputs if at not in values.arrays]
        if missing:
            why = next(iter(values.refused.values()), "")
            raise ForwardFailed(
                f"{self.framework} gave no output {short(self.flow.tensors[missing[0]].name)!r}"
                + (f": {why}" if why else "")
            )
        return tuple(values.arrays[at] for at in self.flow.main.outputs)

    def _whole(
        self,
        feeds: Mapping[int, np.ndarray],
        results: tuple[np.ndarray, ...],
        parts: Sequence[Part],
        made_by: Mapping[int, Producer],
    ) -> Capture:
        outputs = self.flow.main.outputs
        return Capture(
            layer="",
            kind=_WHOLE,
            call=0,
            inputs=tuple(feeds.values()),
            outputs=results,
            dtype="float32",
            why="a graph is composed of its nodes",
            made_by=tuple(map(ModelInput, range(len(feeds)))),
            input_names=tuple(spec.name for spec in self.inputs),
            parts=tuple(parts),
            results=tuple(map(made_by.get, outputs)),
            unseen=lambda: "",
            input_grids=tuple(grid_of(tensor) for tensor in self._fed),
            output_grids=tuple(grid_of(self.flow.tensors[at]) for at in outputs),
        )
