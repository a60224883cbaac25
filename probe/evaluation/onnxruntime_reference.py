"""The same steps as a small ONNX model, run by ONNX Runtime in float32: the second opinion.

Each op writes its own nodes (``Op.to_onnx``); this file only holds the graph they write to and runs
it. Weights are graph inputs, so that equal graphs can share one session. Graph optimisations are
off and the CPU provider is named: what runs is what was emitted. A graph is kept by all that
emission can see (``Op.to_onnx``), and not built again for an equal call.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from probe.errors import Undescribed
from probe.evaluation.import_onnxruntime import onnxruntime, state
from probe.evaluation.onnxruntime_session import reason
from probe.ops.step import Step, field_names
from probe.ops.weight import Weight

__all__ = ["crosscheck", "layer_model"]

_REFUSALS = (
    state.NotImplemented,
    state.InvalidArgument,
    state.InvalidGraph,
    state.Fail,
    state.RuntimeException,
)
"""What ONNX Runtime raises where it has no kernel for a dtype or a shape."""

_OPSET = 22
_NODES = 100_000
"""A graph of more nodes is not built: ops that are emitted cell by cell may have any number."""
_SESSIONS: "OrderedDict[tuple[bytes, int], onnxruntime.InferenceSession]" = OrderedDict()
_PLANS: "dict[Hashable, _Plan | None]" = {}
_LOCK = threading.Lock()
_KEPT, _KEPT_PLANS, _KEPT_BYTES = 64, 1024, 1 << 16


def _narrowed(array: np.ndarray) -> np.ndarray:
    """Floats in float32, integers in int64: what the graphs are made of."""
    if array.dtype == np.float32:
        return array
    if array.dtype.kind == "f":
        # what float32 cannot hold is infinite there, as in the layer itself
        with np.errstate(over="ignore"):
            return np.asarray(array, np.float32)
    if array.dtype.kind in "iu":
        return np.asarray(array, np.int64)
    return np.asarray(array)


def _fed(array: np.ndarray) -> np.ndarray:
    return np.asarray(_narrowed(array), order="C")


def _lies_turned(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.T.flags.c_contiguous and not array.flags.c_contiguous


@dataclass(frozen=True, eq=False)
class _Plan:
    """A serialised graph, the names of its outputs, and what each of its inputs is fed: a call's
    input or a weight by its place, and whether its axes are exchanged."""

    model: bytes
    outputs: list[str]
    feeds: dict[str, tuple[int, bool]]


class _Graph:
    """The graph under construction: nodes, constants, and the weights to feed."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.feeds: dict[str, np.ndarray] = {}
        self.fed: dict[str, tuple[Weight | int, bool]] = {}
        """What stands behind each of ``feeds``: a weight, or the place of an input of the call; and
        whether its axes are exchanged."""
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.asked = False
        """Whether emission asked for a shape."""
        self.booleans: set[str] = set()
        self._names = 0

    def _name(self) -> str:
        self._names += 1
        return f"t{self._names}"

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> tuple[str, ...]:
        if len(self.nodes) == _NODES:
            raise Undescribed(f"its ONNX graph would have more than {_NODES:,} nodes")
        names = tuple(self._name() for _ in range(outputs))
        self.nodes.append(helper.make_node(kind, list(inputs), list(names), **attributes))
        return names

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def scan(
        self,
        body: Callable[..., tuple[Sequence[str], ...]],
        states: Sequence[str],
        sequences: Sequence[str],
        rank: int,
        reverse: bool = False,
    ) -> tuple[str, ...]:
        outer, self.nodes = self.nodes, []
        try:
            before, parts = ([self._name() for _ in group] for group in (states, sequences))
            after, shown = body(self, tuple(before), tuple(parts))
        finally:
            inner, self.nodes = self.nodes, outer
        kinds = [
            onnx.TensorProto.BOOL if kind == "bool" else onnx.TensorProto.FLOAT
            for kind in self._kinds(sequences)
        ]
        given = [*([onnx.TensorProto.FLOAT] * len(before)), *kinds]
        takes = [
            helper.make_tensor_value_info(name, kind, None)
            for name, kind in zip((*before, *parts), given, strict=True)
        ]
        gives = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * rank)
            for name in (*after, *shown)
        ]
        step, way = helper.make_graph(inner, f"step_{self._name()}", takes, gives), int(reverse)
        return self.ops(
            "Scan",
            *states,
            *sequences,
            outputs=len(gives),
            body=step,
            num_scan_inputs=len(parts),
            scan_input_directions=[way] * len(parts),
            scan_output_directions=[way] * len(shown),
        )

    def _kinds(self, names: Sequence[str]) -> list[str]:
        """ "bool" for what a Cast made of a mask, else "float"."""
        masks = {
            node.output[0]
            for node in self.nodes
            if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.BOOL
        }
        return ["bool" if name in masks else "float" for name in names]

    def const(self, value: Any) -> str:
        array = np.asarray(value)
        if not array.size and array.dtype.kind == "f":
            array = array.astype(np.int64)
        name = self._name()
        self.constants.append(numpy_helper.from_array(_narrowed(array), name))
        return name

    def weight(self, weight: Weight) -> str:
        return self.feed(weight.value, weight)

    def turned(self, weight: Weight) -> str | None:
        if _lies_turned(weight.value):
            return self.feed(weight.value.T, weight, True)
        return None

    def feed(self, array: np.ndarray, source: Weight | int, turned: bool = False) -> str:
        name = self._name()
        self.feeds[name], self.fed[name] = _fed(array), (source, turned)
        self.tell(name, array)
        return name

    def tell(self, name: str, array: np.ndarray) -> None:
        """Says what an array is like."""
        self.shapes[name] = array.shape
        if array.dtype == bool:
            self.booleans.add(name)

    def boolean(self, name: str) -> bool:
        return name in self.booleans

    def shape(self, name: str) -> tuple[int, ...]:
        self.asked = True
        return self.shapes[name]

    def model(self, outputs: Sequence[str], values: Sequence[np.ndarray]) -> bytes:
        """The serialised model; ranks are declared, sizes left free."""

        def declared(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
            kind = helper.np_dtype_to_tensor_dtype(_narrowed(array).dtype)
            return helper.make_tensor_value_info(
                name, kind, [f"{name}_{axis}" for axis in range(array.ndim)]
            )

        graph = helper.make_graph(
            self.nodes,
            "layer",
            [declared(name, array) for name, array in self.feeds.items()],
            [declared(name, array) for name, array in zip(outputs, values, strict=True)],
            self.constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10
        )
        content: bytes = model.SerializeToString()
        return content


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session for the model, checked once and kept for the next equal one."""
    key = (model, threads)
    with _LOCK:
        kept = _SESSIONS.get(key)
        if kept is not None:
            _SESSIONS.move_to_end(key)
            return kept
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


def _emitted(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Sequence[tuple[np.ndarray, ...]]
) -> tuple[_Graph, list[str]]:
    """The graph of the steps, and the names of its outputs."""
    graph = _Graph()
    given = [graph.feed(x, place) for place, x in enumerate(inputs)]
    names: list[tuple[str, ...]] = []
    for position, step in enumerate(steps):
        chosen = [ref.of(given, names) for ref in step.sources(position)]
        names.append(step.op.to_onnx(graph, *chosen))
        for name, value in zip(names[-1], values[position], strict=True):
            graph.tell(name, value)
    return graph, list(names[-1])


def layer_model(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Sequence[tuple[np.ndarray, ...]]
) -> bytes:
    """An ONNX model of the steps, which holds their weights and takes the call's inputs in their
    order. Raises Undescribed where they have no ONNX form."""
    graph, outputs = _emitted(steps, inputs, values)
    for name, (source, _) in graph.fed.items():
        if isinstance(source, Weight):
            graph.constants.append(numpy_helper.from_array(graph.feeds.pop(name), name))
    return graph.model(outputs, values[-1])


_PLAIN = frozenset({type(None), bool, int, str})


def _told(part: Any, weights: list[Weight]) -> Hashable:
    """All that emission can see of an op or of one of its fields: of a weight shape, dtype and
    order in memory. TypeError where unknown.

    The weights anywhere in it are added to ``weights``, in the order of its fields.
    """
    kind = type(part)
    if kind in _PLAIN:
        return kind, part
    if kind is Weight:
        weights.append(part)
        value = part.value
        return Weight, value.shape, part.effective.dtype.str, _lies_turned(value)
    if isinstance(part, tuple | list):
        if all([type(item) is int for item in part]):
            return tuple(part)
        return tuple([_told(item, weights) for item in part])
    if isinstance(part, float):
        return part.hex()  # 0.0 and -0.0 are equal
    if isinstance(part, np.ndarray | np.generic):
        if part.nbytes > _KEPT_BYTES or part.dtype.hasobject:
            raise TypeError
        return part.dtype.str, part.shape, part.tobytes()
    if is_dataclass(part):
        return kind, tuple(
            [_told(getattr(part, name), weights) for name in field_names(part.__class__)]
        )
    raise TypeError


def _keys(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Sequence[tuple[np.ndarray, ...]],
    weights: list[Weight],
) -> tuple[Hashable, Hashable] | None:
    """What graphs are kept by: without the shapes, which few emissions ask for, and with them. None
    where that is not known.

    The weights of the steps are added to ``weights``.
    """
    arrays = [*inputs, *(output for value in values for output in value)]
    try:
        ops = tuple([(_told(step.op, weights), step.inputs) for step in steps])
    except TypeError:
        return None
    plain = len(inputs), ops, tuple([(array.ndim, array.dtype.str) for array in arrays])
    return plain, (plain, tuple([array.shape for array in arrays]))


def _planned(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Sequence[tuple[np.ndarray, ...]]
) -> tuple[bytes, list[str], dict[str, np.ndarray]]:
    """The model of the steps, its outputs and what to feed it; emitted only where no equal call
    came before."""
    weights: list[Weight] = []
    keys = _keys(steps, inputs, values, weights)
    plan = None if keys is None else _PLANS.get(keys[0]) or _PLANS.get(keys[1])
    if plan is not None:
        sources = [*inputs, *(weight.value for weight in weights)]
        return (
            plan.model,
            plan.outputs,
            {
                name: _fed(sources[place].T if turned else sources[place])
                for name, (place, turned) in plan.feeds.items()
            },
        )
    graph, outputs = _emitted(steps, inputs, values)
    model = graph.model(outputs, values[-1])
    places: dict[int, int] = {
        id(weight): place for place, weight in enumerate(weights, start=len(inputs))
    }
    feeds = {
        name: (source if isinstance(source, int) else places.get(id(source), -1), turned)
        for name, (source, turned) in graph.fed.items()
    }
    if (
        keys is not None
        and all(place >= 0 for place, _ in feeds.values())
        and len(model) <= _KEPT_BYTES
    ):
        plan = _Plan(model, outputs, feeds)
        with _LOCK:
            _PLANS.update({keys[0]: None, keys[1]: plan} if graph.asked else {keys[0]: plan})
            while len(_PLANS) > _KEPT_PLANS:
                del _PLANS[next(iter(_PLANS))]
    return model, outputs, graph.feeds


def crosscheck(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Sequence[tuple[np.ndarray, ...]],
    threads: int = 0,
) -> tuple[np.ndarray, ...]:
    """The outputs of the last step in ONNX Runtime, on so many ``threads`` (0: its own choice).

    ``values`` are NumPy's results of every step; only their shapes are used (emission needs them,
    and the checker wants the outputs declared). float64 inputs and weights are rounded to float32
    first.
    """
    model, outputs, feeds = _planned(steps, inputs, values)
    try:
        return tuple(_session(model, threads).run(outputs, feeds))
    except _REFUSALS as error:
        raise Undescribed(f"ONNX Runtime cannot run this layer: {reason(error)}") from None
