"""Runs of an ONNX model, of a node of it and of a graph that a node runs, in ONNX Runtime."""

import math
import threading
from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from probe.errors import CannotOpen, ForwardFailed, Undescribed
from probe.evaluation.import_onnxruntime import onnxruntime, state
from probe.evaluation.onnxruntime_session import ran, reason

from .node_tensors import takes
from .run_limits import memory_limit, time_limit

__all__ = ["Sessions"]

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
_AS_FLOAT32 = " as float32"


class Sessions:
    """The sessions of one model, each made when it is first needed. The tensors in bfloat16 that a
    run meets, whose numbers are held in float32, are added to ``halves``; ``limited`` says that a
    run may not take what memory and time it likes."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        source: str,
        initializers: Mapping[str, np.ndarray],
        halves: set[str],
        limited: bool,
    ) -> None:
        self._proto, self._source, self._initializers = proto, source, initializers
        self._halves, self._limited = halves, limited
        self._sessions: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}
        self._limits: dict[tuple[tuple[int, ...], ...], int | None] = {}
        """How many bytes a run on inputs of some shapes may take."""

    @cached_property
    def _seconds(self) -> float:
        if self._limited:
            return time_limit(self._proto)
        return math.inf

    def run(self, outputs: tuple[str, ...], feeds: Mapping[str, np.ndarray]) -> list[Any]:
        """Those tensors of the model."""
        most = self._most(feeds) if self._limited else None
        key = outputs if most is None else (f"{most}", *outputs)
        if key not in self._sessions:
            model = onnx.ModelProto()
            model.CopyFrom(self._proto)
            known = {output.name for output in model.graph.output}
            model.graph.output.extend(
                onnx.ValueInfoProto(name=name) for name in outputs if name not in known
            )
            self._sessions[key] = _session(model, self._source, most)
        session = self._sessions[key]
        arrays = self._answer(session, list(outputs), feeds, "the forward pass failed", most)
        if most is not None:  # what the session made lies in its own memory, which is limited
            for index, array in enumerate(arrays):
                arrays[index] = deepcopy(array)
        return arrays

    def run_node(self, node: onnx.NodeProto, values: Mapping[str, np.ndarray]) -> list[Any]:
        """What a node gives."""
        key = ("", *node.output)
        inputs = {name: values[name] for name in takes(node) if name in values}
        if key not in self._sessions:
            declared = [_declared(name, value) for name, value in inputs.items()]
            outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
            held = [
                numpy_helper.from_array(self._initializers[name], name)
                for name in takes(node)
                if name in self._initializers
            ]
            graph = helper.make_graph([node], "node", declared, outputs, held)
            model = helper.make_model(graph, **self._surroundings)
            self._sessions[key] = _session(model, self._source)
        return self._answer(
            self._sessions[key],
            [name for name in node.output if name],
            inputs,
            f"the node {node.name or node.op_type} failed",
        )

    def run_graph(self, graph: onnx.GraphProto, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
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
                self._sessions[key] = _session(model, self._source)
            except CannotOpen as error:
                raise Undescribed(f"a subgraph cannot run alone: {error}") from None
        session = self._sessions[key]
        try:
            arrays = self._answer(session, names, inputs, "running a subgraph alone failed")
        except ForwardFailed as error:
            raise Undescribed(str(error)) from None
        return dict(zip(names, arrays, strict=True))

    @property
    def _surroundings(self) -> dict[str, Any]:
        """What a part of the model needs to run alone."""
        return {
            "opset_imports": self._proto.opset_import,
            "ir_version": self._proto.ir_version,
            "functions": self._proto.functions,
        }

    def _most(self, feeds: Mapping[str, np.ndarray]) -> int | None:
        shapes = tuple(array.shape for array in feeds.values())
        if shapes not in self._limits:
            self._limits[shapes] = memory_limit(self._proto, feeds)
        return self._limits[shapes]

    def _answer(
        self,
        session: onnxruntime.InferenceSession,
        outputs: list[str],
        feeds: Mapping[str, np.ndarray],
        failure: str,
        most: int | None = None,
    ) -> list[Any]:
        given = [output.name for output in session.get_outputs()]
        wide = {name for name in given if name.endswith(_AS_FLOAT32)}
        halves = {name for name in outputs if f"{name}{_AS_FLOAT32}" in wide}
        self._halves.update(halves)
        names = [f"{name}{_AS_FLOAT32}" if name in halves else name for name in outputs]
        try:
            return [
                output if isinstance(output, list) else np.asarray(output)
                for output in ran(session, names, feeds, self._seconds)
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
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            raise ForwardFailed(f"{failure} on {shapes}: {reason(error)}") from None


def _declared(name: str, value: Any) -> onnx.ValueInfoProto:
    """What a part of the model takes."""
    if isinstance(value, list):
        kind = helper.np_dtype_to_tensor_dtype(value[0].dtype)
        return helper.make_tensor_sequence_value_info(name, kind, None)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)


def _session(
    model: onnx.ModelProto, source: str, most: int | None = None
) -> onnxruntime.InferenceSession:
    """A session for the model, which takes ``most`` bytes of memory. Instead of outputs in
    bfloat16, which ONNX Runtime gives NumPy in no way, it has the same numbers in float32."""
    session = _started(model, source, most)
    outputs = session.get_outputs()
    halves = [output.name for output in outputs if output.type == "tensor(bfloat16)"]
    if not halves:
        return session
    kept = [output for output in model.graph.output if output.name not in halves]
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
