"""The same steps as a small ONNX model, run by ONNX Runtime in float32: the second opinion.

Each op writes its own nodes (``Op.emit``); this file only holds the graph they write to and runs it. Weights are graph
inputs, so that equal graphs can share one session. Graph optimisations are off and the CPU provider is named: what runs is
what was emitted.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as state

from probe.errors import Undescribed
from probe.layer import Step, Weight

__all__ = ["crosscheck"]

_REFUSALS = (state.NotImplemented, state.InvalidGraph, state.Fail, state.RuntimeException)
"""What ONNX Runtime raises where it has no kernel for a dtype."""

_OPSET = 22
_SESSIONS: "OrderedDict[tuple[bytes, int], onnxruntime.InferenceSession]" = OrderedDict()
_LOCK = threading.Lock()
_KEPT = 64


def _narrowed(array: np.ndarray) -> np.ndarray:
    """Floats in float32, integers in int64: what the graphs are made of."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite there, as in the layer itself
            return np.asarray(array, np.float32)
    return np.asarray(array, np.int64) if array.dtype.kind in "iu" else np.asarray(array)


class _Graph:
    """The graph under construction: nodes, constants, and the weights to feed."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.feeds: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._names = 0

    def _name(self) -> str:
        self._names += 1
        return f"t{self._names}"

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> tuple[str, ...]:
        names = tuple(self._name() for _ in range(outputs))
        self.nodes.append(helper.make_node(kind, list(inputs), list(names), **attributes))
        return names

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def const(self, value: Any) -> str:
        array = np.asarray(value)
        if not array.size and array.dtype.kind == "f":
            array = array.astype(np.int64)
        name = self._name()
        self.constants.append(numpy_helper.from_array(_narrowed(array), name))
        return name

    def weight(self, weight: Weight) -> str:
        return self.feed(weight.value)

    def feed(self, array: np.ndarray) -> str:
        name = self._name()
        self.feeds[name] = np.ascontiguousarray(_narrowed(array))
        self.shapes[name] = array.shape
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def model(self, outputs: Sequence[str], values: Sequence[np.ndarray]) -> bytes:
        """The serialised model; ranks are declared, sizes left free."""

        def declared(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
            kind = helper.np_dtype_to_tensor_dtype(_narrowed(array).dtype)
            return helper.make_tensor_value_info(name, kind, [f"{name}_{axis}" for axis in range(array.ndim)])

        graph = helper.make_graph(
            self.nodes,
            "layer",
            [declared(name, array) for name, array in self.feeds.items()],
            [declared(name, array) for name, array in zip(outputs, values, strict=True)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
        return model.SerializeToString()


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session for the model, checked once and kept for the next equal one."""
    key = (model, threads)
    with _LOCK:
        if key in _SESSIONS:
            _SESSIONS.move_to_end(key)
            return _SESSIONS[key]
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = False
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with _LOCK:
        _SESSIONS[key] = session
        if len(_SESSIONS) > _KEPT:
            _SESSIONS.popitem(last=False)
    return session


def crosscheck(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Sequence[tuple[np.ndarray, ...]], threads: int = 0
) -> tuple[np.ndarray, ...]:
    """The outputs of the last step in ONNX Runtime, on so many ``threads`` (0: its own choice).

    ``values`` are NumPy's results of every step; only their shapes are used (emission needs them, and the checker wants
    the outputs declared). float64 inputs and weights are rounded to float32 first.
    """
    graph = _Graph()
    given = [graph.feed(x) for x in inputs]
    names: list[tuple[str, ...]] = []
    for position, step in enumerate(steps):
        chosen = [given[ref.index] if ref.step < 0 else names[ref.step][ref.index] for ref in step.sources(position)]
        names.append(step.op.emit(graph, *chosen))
        for name, value in zip(names[-1], values[position], strict=True):
            graph.shapes[name] = value.shape
    try:
        session = _session(graph.model(names[-1], values[-1]), threads)
        return tuple(session.run(list(names[-1]), graph.feeds))
    except _REFUSALS as error:
        raise Undescribed(f"ONNX Runtime does not run it: {str(error).splitlines()[0]}") from None
