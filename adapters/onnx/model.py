"""An opened ONNX model: its layers are its nodes, and ONNX Runtime, which runs it with every tensor
an output, is the framework."""

import math
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from probe.description import Description, Ref, Weight
from probe.errors import BadInput, CannotOpen, ForwardFailed, Undescribed, UnknownLayer, describing
from probe.evaluation.import_onnxruntime import onnxruntime, state
from probe.evaluation.onnxruntime_session import ran, reason
from probe.listing import Layer, Shown
from probe.model import CallOutput, Capture, InputSpec, ModelInput, OnCall, Part, Producer

from .describe import Builder, Tensors, Value, describe_node, refusal
from .operators.control_flow import free_names
from .operators.quantize_linear import dequantized
from .operators.sequences import SEQUENCES
from .run_limits import memory_limit, time_limit
from .schema import numbers, plain

__all__ = ["OnnxModel"]

_REFUSALS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.NotImplemented,
    state.RuntimeException,
    state.InvalidProtobuf,
)
_NO_NUMPY = (*_REFUSALS, RuntimeError)
"""What running raises: a RuntimeError where NumPy has no such type, as of float8."""
_FULL = "Available memory of"
"""How ONNX Runtime begins to say that an allocator's limit is reached."""
_ALLOCATOR = threading.Lock()
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
    _sessions: dict[tuple[str, ...], onnxruntime.InferenceSession] = field(
        default_factory=dict, repr=False
    )
    _limits: dict[tuple[tuple[int, ...], ...], int | None] = field(default_factory=dict, repr=False)
    """How many bytes a run on inputs of some shapes may take."""
    _halves: set[str] = field(default_factory=set, repr=False)
    """The tensors in bfloat16, whose numbers are held in float32."""

    @property
    def framework(self) -> str:
        return f"onnxruntime {onnxruntime.__version__}"

    @cached_property
    def _seconds(self) -> float:
        if self.limited:
            return time_limit(self.proto)
        return math.inf

    @cached_property
    def initializers(self) -> Mapping[str, np.ndarray]:
        """The numbers that the model holds: initializers, and what its Constant nodes give."""
        found = {one.name: numbers(one) for one in self.proto.graph.initializer}
        for node in self.proto.graph.node:
            value = next((one for one in node.attribute if one.name == "value"), None)
            if node.op_type == "Constant" and value is not None:
                found[node.output[0]] = numbers(value.t)
        return found

    @cached_property
    def _ordered(self) -> Sequence[onnx.NodeProto]:
        """The nodes, each behind those whose outputs it takes. ONNX demands that order of a file,
        but ONNX Runtime does not, and its converter to float16 puts its casts at the end."""
        nodes = list(self.proto.graph.node)
        makers = {name: k for k, node in enumerate(nodes) for name in node.output if name}
        needs = [{makers[one] for one in _takes(node) if one in makers} for node in nodes]
        if all(max(need, default=-1) < k for k, need in enumerate(needs)):
            return nodes
        sorter = TopologicalSorter(dict(enumerate(needs)))
        try:
            sorter.prepare()
        except CycleError:  # ONNX Runtime will say so
            return nodes
        found: list[int] = []
        ready = list(sorter.get_ready())
        heapify(ready)
        while ready:  # of those that can be next, the first of the file
            found.append(heappop(ready))
            sorter.done(found[-1])
            for one in sorter.get_ready():
                heappush(ready, one)
        return [nodes[k] for k in found]

    @cached_property
    def following(self) -> frozenset[str]:
        """The tensors that follow from the model's inputs, shapes of them left out."""
        found = {one.name for one in self.proto.graph.input} - self.initializers.keys()
        for node in self._ordered:
            if node.op_type not in _SHAPES and found.intersection(_takes(node)):
                found.update(node.output)
        return frozenset(found - {""})

    @cached_property
    def nodes(self) -> Mapping[str, onnx.NodeProto]:
        """The nodes that are layers, by name: the node's own, or that of its operator and its
        number."""
        found: dict[str, onnx.NodeProto] = {}
        for number, node in enumerate(self._ordered):
            if self.following.intersection(node.output):
                if node.name and node.name not in found:
                    name = node.name
                else:
                    name = f"{node.name or node.op_type}_{number}"
                found[name] = node
        return found

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        specs = []
        for proto in self.proto.graph.input:
            if proto.name not in self.initializers:
                kind = proto.type.tensor_type
                if not kind.elem_type:
                    raise BadInput(
                        f"its input {proto.name!r} is a sequence, a map or an optional; only "
                        "tensor inputs are supported"
                    )
                sizes = tuple(
                    size.dim_value if size.HasField("dim_value") else None
                    for size in kind.shape.dim
                )
                specs.append(
                    InputSpec(
                        proto.name,
                        sizes,
                        np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name,
                    )
                )
        return tuple(specs)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The nodes in the order of the file, which is one of execution."""
        return tuple(self._layer(name, node) for name, node in self.nodes.items())

    def _layer(self, name: str, node: onnx.NodeProto) -> Layer:
        why = refusal(_kind(node))
        count = sum(self.initializers[one].size for one in node.input if one in self.initializers)
        return Layer(name, _kind(node), () if why else ("numpy", "onnx"), why, None, count)

    @property
    def input_hint(self) -> str:
        return ""

    @property
    def input_index_bound(self) -> int | None:
        return None

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        return ()

    def names(self) -> tuple[str, ...]:
        return ("", *self.nodes)

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
        results = [one.name for one in self.proto.graph.output]
        feeds = self._feeds(inputs)
        values = self._values(chosen, results, feeds)
        made_by: dict[str, Producer] = {
            spec.name: ModelInput(at) for at, spec in enumerate(self.inputs)
        }
        moved = False
        for name, node in self.nodes.items():
            if moved:
                values.update(zip(node.output, self._run_node(node, values), strict=False))
            if name in chosen:
                capture = self._capture(name, node, values, made_by)
                parts += [Part(capture, "")] if whole else []
                replacement = on_call(capture) if name in asked else None
                given = [key for one in node.output for key, _ in _tensors(one, values)]
                made_by |= {one: CallOutput(name, 0, at) for at, one in enumerate(given)}
                if replacement is not None:
                    if not moved and len(chosen) < len(self.nodes):
                        values = self._values(self.nodes, results, feeds)
                    values.update(_replaced(node, values, replacement))
                    moved = True
        outputs = tuple(values[name] for name in results)
        if whole:
            on_call(
                Capture(
                    layer="",
                    kind=_WHOLE,
                    call=0,
                    inputs=tuple(feeds.values()),
                    outputs=outputs,
                    dtype="float32",
                    why="a graph is composed of its nodes",
                    made_by=tuple(map(ModelInput, range(len(feeds)))),
                    by_onnxruntime=True,
                    parts=tuple(parts),
                    results=tuple(map(made_by.get, results)),
                    unseen=lambda: "",
                )
            )
        return outputs

    def _values(
        self,
        nodes: Mapping[str, onnx.NodeProto],
        results: Sequence[str],
        feeds: Mapping[str, np.ndarray],
    ) -> dict[str, Any]:
        """What the model is fed, its results, and what these nodes take and give."""
        tensors = {
            one
            for node in nodes.values()
            for one in (*_takes(node), *node.output)
            if one and one not in self.initializers
        }
        every = tuple(dict.fromkeys([*results, *sorted(tensors - feeds.keys())]))
        return {**feeds, **dict(zip(every, self._run(every, feeds), strict=True))}

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        if not name:
            self.run(inputs, {""}, on_call)
            return
        if name not in self.nodes:
            raise UnknownLayer(name, self.nodes)
        node = self.nodes[name]
        wanted = [one for one in _takes(node) if one in self.following]
        if any(one not in self.following and one not in self.initializers for one in _takes(node)):
            raise BadInput(
                f"{name!r} takes values that the model computes from constants, so it cannot "
                "run alone: give the model's input"
            )
        if len(wanted) != len(inputs):
            raise BadInput(
                f"{name!r} takes {len(wanted)} inputs ({', '.join(wanted)}); you gave {len(inputs)}"
            )
        values = dict(zip(wanted, map(np.array, inputs), strict=True))
        values.update(zip(node.output, self._run_node(node, values), strict=False))
        on_call(
            self._capture(
                name, node, values, {one: ModelInput(at) for at, one in enumerate(wanted)}
            )
        )

    def _feeds(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {
            spec.name: np.array(x, spec.dtype) for spec, x in zip(self.inputs, inputs, strict=True)
        }

    def _run(self, outputs: tuple[str, ...], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        most = self._most(feeds) if self.limited else None
        key = outputs if most is None else (f"{most}", *outputs)
        if key not in self._sessions:
            model = onnx.ModelProto()
            model.CopyFrom(self.proto)
            known = {one.name for one in model.graph.output}
            model.graph.output.extend(
                onnx.ValueInfoProto(name=name) for name in outputs if name not in known
            )
            self._sessions[key] = _session(model, self.source, most)
        found = self._answer(
            self._sessions[key], list(outputs), feeds, "the forward pass failed", most
        )
        if most is not None:  # what the session made lies in its own memory, which is limited
            for at, one in enumerate(found):
                found[at] = deepcopy(one)
        return found

    def _most(self, feeds: Mapping[str, np.ndarray]) -> int | None:
        shapes = tuple(array.shape for array in feeds.values())
        if shapes not in self._limits:
            self._limits[shapes] = memory_limit(self.proto, feeds)
        return self._limits[shapes]

    def _answer(
        self,
        session: onnxruntime.InferenceSession,
        outputs: list[str],
        feeds: Mapping[str, np.ndarray],
        failure: str,
        most: int | None = None,
    ) -> list[Any]:
        wide = {one.name for one in session.get_outputs() if one.name.endswith(_AS_FLOAT32)}
        halves = {name for name in outputs if f"{name}{_AS_FLOAT32}" in wide}
        self._halves.update(halves)
        names = [f"{name}{_AS_FLOAT32}" if name in halves else name for name in outputs]
        try:
            return [
                one if isinstance(one, list) else np.asarray(one)
                for one in ran(session, names, feeds, self._seconds)
            ]
        except TimeoutError:
            raise ForwardFailed(
                f"its loops did not end within {self._seconds:.0f} seconds; --trust "
                "(trust=True) removes this limit"
            ) from None
        except _NO_NUMPY as error:
            if most is not None and _FULL in str(error):
                why = (
                    f"its tensors need more than {most:,} bytes together; --trust "
                    "(trust=True) removes this limit"
                )
                raise ForwardFailed(why) from None
            shapes = ", ".join(f"{name} {one.shape}" for name, one in feeds.items())
            raise ForwardFailed(f"{failure} on {shapes}: {reason(error)}") from None

    @property
    def _surroundings(self) -> dict[str, Any]:
        """What a part of the model needs to run alone."""
        kept = self.proto
        return {
            "opset_imports": kept.opset_import,
            "ir_version": kept.ir_version,
            "functions": kept.functions,
        }

    def _run_node(self, node: onnx.NodeProto, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        key = ("", *node.output)
        inputs = {one: values[one] for one in _takes(node) if one in values}
        if key not in self._sessions:
            declared = [_declared(k, v) for k, v in inputs.items()]
            outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
            held = [
                numpy_helper.from_array(self.initializers[one], one)
                for one in _takes(node)
                if one in self.initializers
            ]
            graph = helper.make_graph([node], "node", declared, outputs, held)
            model = helper.make_model(graph, **self._surroundings)
            self._sessions[key] = _session(model, self.source)
        return self._answer(
            self._sessions[key],
            [name for name in node.output if name],
            inputs,
            f"the node {node.name or node.op_type} failed",
        )

    def _run_graph(
        self, graph: onnx.GraphProto, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Every tensor of a graph that a node runs."""
        names = [name for node in graph.node for name in node.output if name]
        key = (
            str(graph.SerializeToString(deterministic=True)),
            *(f"{name} {array.dtype}" for name, array in inputs.items()),
        )
        if key not in self._sessions:
            declared = [
                helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), None)
                for k, v in inputs.items()
            ]
            outputs = [onnx.ValueInfoProto(name=name) for name in names]
            alone = helper.make_graph(graph.node, "body", declared, outputs, graph.initializer)
            model = helper.make_model(alone, **self._surroundings)
            try:
                self._sessions[key] = _session(model, self.source)
            except CannotOpen as error:
                raise Undescribed(f"a subgraph cannot run alone: {error}") from None
        try:
            return dict(
                zip(
                    names,
                    self._answer(
                        self._sessions[key], names, inputs, "running a subgraph alone failed"
                    ),
                    strict=True,
                )
            )
        except ForwardFailed as error:
            raise Undescribed(str(error)) from None

    def _capture(
        self,
        name: str,
        node: onnx.NodeProto,
        values: Mapping[str, np.ndarray],
        made_by: Mapping[str, Producer],
    ) -> Capture:
        sequences = [
            one for one in (*_takes(node), *node.output) if isinstance(values.get(one), list)
        ]
        if sequences and (
            _kind(node) not in SEQUENCES
            or any(one not in self.following or not values[one] for one in sequences)
        ):
            given, made = (
                [values[one] for one in names if one in values and one not in sequences]
                for names in (node.input, node.output)
            )
            return Capture(
                name,
                _kind(node),
                0,
                tuple(given),
                tuple(made),
                "float32",
                None,
                f"{sequences[0]} is a sequence, not a tensor",
            )
        inputs: list[np.ndarray] = []
        refs: dict[str, Value | Tensors] = {}
        makers: list[Producer | None] = []
        for source in _takes(node):
            if source in self.initializers:
                array = self.initializers[source]
                refs[source] = Weight(source, array, array)
            elif source not in self.following:
                refs[source] = self._computed(source, values)
            else:
                found = _tensors(source, values)
                places = tuple(Ref(-1, len(inputs) + at) for at in range(len(found)))
                refs[source] = places if source in sequences else places[0]
                inputs += [array for _, array in found]
                makers += [made_by.get(key) for key, _ in found]
        outputs = tuple(array for one in node.output for _, array in _tensors(one, values))
        description, why, notes = self._described(node, inputs, outputs, refs, values)
        floating = [array for array in (*outputs, *inputs) if array.dtype.kind == "f"]
        floating += [
            value.effective
            for value in refs.values()
            if isinstance(value, Weight) and value.effective.dtype.kind == "f"
        ]
        # of integers with float scales that of the scales
        dtype = (floating or [*outputs])[0].dtype.name
        if self._halves.intersection(node.output):
            dtype = "bfloat16"
        return Capture(
            name,
            _kind(node),
            0,
            tuple(inputs),
            outputs,
            dtype,
            description,
            why,
            notes=notes,
            made_by=tuple(makers),
            by_onnxruntime=True,
        )

    def _computed(self, name: str, values: Mapping[str, np.ndarray]) -> Weight:
        """What the model computes from what it holds; of what it dequantises the integers are what
        is stored."""
        maker = next((node for node in self.proto.graph.node if name in node.output), None)
        if (
            maker is not None
            and maker.op_type == "DequantizeLinear"
            and all(one in self.initializers for one in maker.input if one)
        ):
            codes, scale, *rest = (self.initializers[one] for one in maker.input if one)
            how = {one.name: one.i for one in maker.attribute}
            if codes.dtype.name.startswith(("int", "uint")):  # float8 has no integers
                return dequantized(
                    codes,
                    maker.input[0],
                    scale,
                    rest[0] if rest else None,
                    how.get("axis", 1),
                    how.get("block_size", 0),
                )
        return Weight(name, None, values[name], ("computed by the model from constants",))

    def _described(
        self,
        node: onnx.NodeProto,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        refs: Mapping[str, Value | Tensors],
        values: Mapping[str, np.ndarray],
    ) -> tuple[Description | None, str, tuple[str, ...]]:
        own = {(one.domain, one.name) for one in self.proto.functions}
        if (node.domain, node.op_type) in own:
            return None, f"{_kind(node)} is a function defined in the model", ()
        opset = next(
            (one.version for one in self.proto.opset_import if one.domain in ("", "ai.onnx")), 1
        )
        attributes: dict[str, Any] = {
            one.name: plain(helper.get_attribute_value(one)) for one in node.attribute
        }
        present = [at for at, one in enumerate(node.output) if one]
        if len(outputs) > len(present):  # the tensors of a sequence
            present = list(range(len(outputs)))
        build = Builder(inputs, outputs, attributes, opset, present)
        build.outer, build.outside, build.run_graph, build.own = (
            {name: one for name, one in refs.items() if not isinstance(one, tuple)},
            {**self.initializers, **values},
            self._run_graph,
            own,
        )
        try:
            with describing():
                return (
                    describe_node(_kind(node), build, [refs.get(one) for one in node.input]),
                    "",
                    tuple(build.notes),
                )
        except Undescribed as error:
            return None, str(error), ()


def _takes(node: onnx.NodeProto) -> tuple[str, ...]:
    """The tensors that a node takes, those that the graphs it runs take from outside among them."""
    inner = [
        name
        for one in node.attribute
        for graph in (one.g, *one.graphs)
        for name in free_names(graph)
    ]
    return tuple(dict.fromkeys(name for name in (*node.input, *inner) if name))


def _tensors(name: str, values: Mapping[str, Any]) -> list[tuple[str, np.ndarray]]:
    """The tensor of that name, or all those of a sequence, each with a name."""
    value = values.get(name) if name else None
    if value is None:
        return []
    if not isinstance(value, list):
        return [(name, value)]
    return [(f"{name}[{at}]", one) for at, one in enumerate(value)]


def _replaced(
    node: onnx.NodeProto, values: Mapping[str, Any], replacement: Sequence[np.ndarray]
) -> dict[str, Any]:
    """What a node gives with other numbers in its tensors."""
    new, found = iter(replacement), dict[str, Any]()
    for one in filter(None, node.output):
        arrays = [np.asarray(next(new, array), array.dtype) for _, array in _tensors(one, values)]
        found[one] = arrays if isinstance(values[one], list) else arrays[0]
    return found


def _declared(name: str, value: Any) -> onnx.ValueInfoProto:
    """What a part of the model takes."""
    make, one = helper.make_tensor_value_info, value
    if isinstance(value, list):
        make, one = helper.make_tensor_sequence_value_info, value[0]
    return make(name, helper.np_dtype_to_tensor_dtype(one.dtype), None)


def _kind(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


_AS_FLOAT32 = " as float32"


def _session(
    model: onnx.ModelProto, source: str, most: int | None = None
) -> onnxruntime.InferenceSession:
    """A session for the model, which takes ``most`` bytes of memory. Instead of outputs in
    bfloat16, which ONNX Runtime gives NumPy in no way, it has the same numbers in float32."""
    session = _started(model, source, most)
    halves = [one.name for one in session.get_outputs() if one.type == "tensor(bfloat16)"]
    if not halves:
        return session
    kept = [one for one in model.graph.output if one.name not in halves]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    for name in halves:
        wide = f"{name}{_AS_FLOAT32}"
        model.graph.node.append(helper.make_node("Cast", [name], [wide], to=TensorProto.FLOAT))
        model.graph.output.append(helper.make_tensor_value_info(wide, TensorProto.FLOAT, None))
    return _started(model, source, most)


def _started(model: onnx.ModelProto, source: str, most: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        if most is None:
            return onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        options.add_session_config_entry("session.use_env_allocators", "1")
        with _ALLOCATOR:
            _allocate(most)
            try:
                return onnxruntime.InferenceSession(
                    model.SerializeToString(), options, providers=["CPUExecutionProvider"]
                )
            finally:
                _allocate(0)  # without limit
    except _REFUSALS as error:
        raise CannotOpen(f"ONNX Runtime cannot load {source}: {reason(error)}") from None


def _allocate(most: int) -> None:
    """Sets what a session that is made next and takes the process' allocator takes its memory from;
    it keeps that one."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    as_requested = 1
    onnxruntime.create_and_register_allocator(
        place, onnxruntime.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": as_requested})
    )
