"""An opened ONNX model: its layers are its nodes, and ONNX Runtime, which runs it with every tensor
an output, is the framework."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
import onnx
from onnx import helper

from probe.capture.declared_shape import refuse_shapes
from probe.capture.input_values import refuse_no_indices
from probe.errors import BadInput, UnknownLayer
from probe.evaluation.import_onnxruntime import onnxruntime
from probe.listing import Layer, Shown
from probe.model import CallOutput, Capture, InputSpec, ModelInput, OnCall, Part, Producer

from .describe import refusal
from .node_capture import NodeCaptures
from .node_tensors import graphs_of, kind_of, replaced, takes, tensors_of
from .schema import numbers
from .sessions import Sessions

__all__ = ["OnnxModel"]

_WHOLE = "graph"
"""The kind of the model as a whole."""
_SHAPES = ("Shape", "Size")
"""What takes no more than the shape from its input."""


@dataclass(frozen=True, eq=False, repr=False)
class OnnxModel(Shown):
    """What ``probe.open_model`` returns for ONNX (``probe.model.Model``)."""

    proto: onnx.ModelProto
    source: str
    notes: tuple[str, ...] = ()
    other_files: tuple[str, ...] = ()
    limited: bool = False
    """Whether a run may not take what memory and time it likes."""
    _halves: set[str] = field(default_factory=set, repr=False)
    """The tensors in bfloat16 that runs have met, whose numbers are held in float32."""

    @property
    def framework(self) -> str:
        return f"onnxruntime {onnxruntime.__version__}"

    @cached_property
    def _sessions(self) -> Sessions:
        return Sessions(self.proto, self.source, self.initializers, self._halves, self.limited)

    @cached_property
    def _captures(self) -> NodeCaptures:
        run_graph = self._sessions.run_graph
        return NodeCaptures(self.proto, self.initializers, self.following, self._halves, run_graph)

    @cached_property
    def initializers(self) -> Mapping[str, np.ndarray]:
        """The numbers that the model holds: initializers, and what its Constant nodes give."""
        arrays = {proto.name: numbers(proto) for proto in self.proto.graph.initializer}
        for node in self.proto.graph.node:
            for attribute in node.attribute if node.op_type == "Constant" else ():
                if attribute.name == "value":
                    arrays[node.output[0]] = numbers(attribute.t)
        return arrays

    @cached_property
    def _ordered(self) -> Sequence[onnx.NodeProto]:
        """The nodes, each behind those whose outputs it takes. ONNX demands that order of a file,
        but ONNX Runtime does not, and its converter to float16 puts its casts at the end."""
        nodes = list(self.proto.graph.node)
        makers = {name: k for k, node in enumerate(nodes) for name in node.output if name}
        needs = [{makers[name] for name in takes(node) if name in makers} for node in nodes]
        if all(max(need, default=-1) < k for k, need in enumerate(needs)):
            return nodes
        sorter = TopologicalSorter(dict(enumerate(needs)))
        try:
            sorter.prepare()
        except CycleError:  # ONNX Runtime will say so
            return nodes
        order: list[int] = []
        ready = list(sorter.get_ready())
        heapify(ready)
        while ready:  # of those that can be next, the first of the file
            order.append(heappop(ready))
            sorter.done(order[-1])
            for number in sorter.get_ready():
                heappush(ready, number)
        return [nodes[number] for number in order]

    @cached_property
    def following(self) -> frozenset[str]:
        """The tensors that follow from the model's inputs, shapes of them left out."""
        inputs = {value.name for value in self.proto.graph.input}
        following = inputs - self.initializers.keys()
        for node in self._ordered:
            if node.op_type not in _SHAPES and following.intersection(takes(node)):
                following.update(node.output)
        return frozenset(following - {""})

    @cached_property
    def nodes(self) -> Mapping[str, onnx.NodeProto]:
        """The nodes that are layers, by name: the node's own, or that of its operator and its
        number."""
        nodes: dict[str, onnx.NodeProto] = {}
        for number, node in enumerate(self._ordered):
            if self.following.intersection(node.output):
                if node.name and node.name not in nodes:
                    name = node.name
                else:
                    name = f"{node.name or node.op_type}_{number}"
                nodes[name] = node
        return nodes

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        protos = [proto for proto in self.proto.graph.input if proto.name not in self.initializers]
        return tuple(map(_spec, protos))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The nodes in the order of the file, which is one of execution."""
        return tuple(self._layer(name, node) for name, node in self.nodes.items())

    def _layer(self, name: str, node: onnx.NodeProto) -> Layer:
        kind, held = kind_of(node), self.initializers
        why = refusal(kind)
        count = sum(held[name].size for name in node.input if name in held)
        return Layer(name, kind, () if why else ("numpy", "onnx"), why, None, count)

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
        return tuple(value.name for value in self.proto.graph.output)

    def names(self) -> tuple[str, ...]:
        return ("", *self.nodes)

    @property
    def containers(self) -> tuple[Layer, ...]:
        count = sum(layer.parameters for layer in self.layers)
        return (Layer("", _WHOLE, ("numpy", "onnx"), "", None, count),)

    def compiled_into_graph(self, name: str) -> str:
        for outer, node in self.nodes.items():
            inside = {inner.name for graph in graphs_of(node) for inner in graph.node}
            if name and name in inside and name not in self.nodes:
                return (
                    f"{name!r} is inside the {kind_of(node)} {outer!r}, whose graphs are checked "
                    "with it as one layer"
                )
        return ""

    def may_be_operation(self, name: str) -> bool:
        return False

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        """With every tensor that a wanted node takes or gives an output; after a replacement the
        rest is run node by node."""
        whole = wanted is not None and "" in wanted
        asked = set(self.nodes) if wanted is None else set(wanted) - {""}
        for name in sorted(asked):
            if name not in self.nodes:
                raise UnknownLayer(name, self.nodes)
        names = list(self.nodes) if whole else list(asked)
        parts: list[Part] = []
        chosen = {name: self.nodes[name] for name in self.nodes if name in set(names)}
        results = [value.name for value in self.proto.graph.output]
        feeds = self._feeds(inputs)
        values = self._values(chosen, results, feeds)
        made_by: dict[str, Producer] = {
            spec.name: ModelInput(at) for at, spec in enumerate(self.inputs)
        }
        moved = False
        for name, node in self.nodes.items():
            if moved:
                values.update(zip(node.output, self._sessions.run_node(node, values), strict=False))
            if name in chosen:
                capture = self._captures.capture(name, node, values, made_by)
                parts += [Part(capture, "")] if whole else []
                replacement = on_call(capture) if name in asked else None
                outputs = [key for output in node.output for key, _ in tensors_of(output, values)]
                made_by |= {key: CallOutput(name, 0, index) for index, key in enumerate(outputs)}
                if replacement is not None:
                    if not moved and len(chosen) < len(self.nodes):
                        values = self._values(self.nodes, results, feeds)
                    values.update(replaced(node, values, replacement))
                    moved = True
        arrays = tuple(values[name] for name in results)
        if whole:
            on_call(
                Capture(
                    layer="",
                    kind=_WHOLE,
                    call=0,
                    inputs=tuple(feeds.values()),
                    outputs=arrays,
                    dtype="float32",
                    why="a graph is composed of its nodes",
                    made_by=tuple(map(ModelInput, range(len(feeds)))),
                    input_names=tuple(feeds),
                    by_onnxruntime=True,
                    parts=tuple(parts),
                    results=tuple(map(made_by.get, results)),
                    unseen=lambda: "",
                )
            )
        return arrays

    def _values(
        self,
        nodes: Mapping[str, onnx.NodeProto],
        results: Sequence[str],
        feeds: Mapping[str, np.ndarray],
    ) -> dict[str, Any]:
        """What the model is fed, its results, and what these nodes take and give."""
        tensors = {
            name
            for node in nodes.values()
            for name in (*takes(node), *node.output)
            if name and name not in self.initializers
        }
        every = tuple(dict.fromkeys([*results, *sorted(tensors - feeds.keys())]))
        return {**feeds, **dict(zip(every, self._sessions.run(every, feeds), strict=True))}

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        if not name:
            self.run(inputs, {""}, on_call)
            return
        if name not in self.nodes:
            raise UnknownLayer(name, self.nodes)
        node = self.nodes[name]
        wanted = [key for key in takes(node) if key in self.following]
        if not set(takes(node)) <= self.following | self.initializers.keys():
            raise BadInput(
                f"{name!r} takes values that the model computes from constants, so it cannot "
                "run alone: give the model's input"
            )
        if len(wanted) != len(inputs):
            raise BadInput(
                f"{name!r} takes {len(wanted)} inputs ({', '.join(wanted)}); you gave {len(inputs)}"
            )
        values = dict(zip(wanted, map(np.array, inputs), strict=True))
        values.update(zip(node.output, self._sessions.run_node(node, values), strict=False))
        made_by = {key: ModelInput(index) for index, key in enumerate(wanted)}
        on_call(self._captures.capture(name, node, values, made_by))

    def _feeds(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        refuse_shapes(self.inputs, inputs)
        refuse_no_indices(self.inputs, inputs)
        return {
            spec.name: np.array(x, spec.dtype) for spec, x in zip(self.inputs, inputs, strict=True)
        }


def _spec(proto: onnx.ValueInfoProto) -> InputSpec:
    kind = proto.type.tensor_type
    if not kind.elem_type:
        raise BadInput(
            f"its input {proto.name!r} is a sequence, a map or an optional; only "
            "tensor inputs are supported"
        )
    sizes = tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return InputSpec(proto.name, sizes, dtype.name)
