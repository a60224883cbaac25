"""The float model that a model of integers stands for.

Quantising and dequantising by one scale and zero point is rounding, and cutting off what lies
beyond the range: in its place stands the cut alone. A product of integers whose result is scaled
back is the product of the numbers that these stand for. What does not fit together (another scale
behind than before, another zero point) stays as it is, and so shows.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probe.model_comparison.graphs.dequantizing import (
    chains_behind,
    only_reader,
    take_chains,
    take_constant,
    take_table,
)
from probe.model_comparison.graphs.graph import GraphCall, GraphNode, ModelGraph, Tensor
from probe.model_comparison.graphs.normalize import is_constant, values_in
from probe.model_comparison.graphs.simulated_folding import take_scaled_back
from probe.ops import (
    Cast,
    Clip,
    Constant,
    Conv,
    DynamicInput,
    DynamicQuantize,
    DynamicQuantizeLinear,
    FakeQuantize,
    Gather,
    Identity,
    Im2Col,
    MatMul,
    Mul,
    NudgedFakeQuantize,
    Op,
    Parameter,
    Product,
    QuantizeLinear,
    Recurrence,
)
from probe.ops.weight import Grid, Weight

__all__ = [
    "quantizes",
    "take_integers_away",
]

_SAME = 1e-6
_INTEGER_PRODUCTS = ("ConvInteger", "MatMulInteger")


def take_integers_away(graph: ModelGraph) -> ModelGraph:
    """The same graph with numbers in the place of the integers that stand for them."""
    steps = graph.steps
    gone: set[GraphNode] = set()
    for node in graph.nodes:
        if isinstance(node.op, QuantizeLinear):
            _take_static(node, steps, gone)
        elif isinstance(node.op, Gather):
            take_table(node, gone)
        elif isinstance(node.op, Parameter | Constant):
            take_constant(node, gone)
        elif isinstance(node.op, Conv | MatMul):
            take_scaled_back(node, gone)
        else:
            _take_rounding(node, steps)
    products: dict[GraphNode, GraphNode] = {}
    for call in dict.fromkeys(node.call for node in graph.nodes):
        if call.capture.kind in _INTEGER_PRODUCTS:
            _take_dynamic(call, graph, steps, gone, products)
    nodes: list[GraphNode] = []
    for node in graph.nodes:
        if node in products:
            nodes.append(products[node])
        if node not in gone:
            nodes.append(node)
    graph.nodes = nodes
    graph.numbered()
    unread = {
        node
        for node in nodes
        if isinstance(node.op, DynamicQuantizeLinear) and not any(x.consumers for x in node.outputs)
    }
    graph.nodes = [node for node in nodes if node not in unread]
    return graph.numbered()


def quantizes(graph: ModelGraph) -> bool:
    """Whether a model computes with integers that stand for numbers."""
    kinds = QuantizeLinear | FakeQuantize | NudgedFakeQuantize
    dynamic = DynamicQuantizeLinear | DynamicQuantize | DynamicInput
    return any(isinstance(node.op, kinds | dynamic) for node in graph.nodes)


def _take_static(node: GraphNode, steps: dict[GraphNode, float], gone: set[GraphNode]) -> None:
    """Makes of quantising, and of all dequantising of that, the cut at the ends of the range."""
    op = node.op
    assert isinstance(op, QuantizeLinear)
    if np.size(op.size) != 1 or np.size(op.zero_point) != 1:
        return
    size, zero = (float(np.ravel(parameter)[0]) for parameter in (op.size, op.zero_point))
    if (chains := chains_behind(node.outputs[0], size, zero)) is None:
        return
    low, high = ((end - zero) * size for end in (op.low, op.high))
    take_chains(chains, size, zero, gone)
    _becomes_cut(node, steps, size, low, high)
    node.quantizer = op


def _take_rounding(node: GraphNode, steps: dict[GraphNode, float]) -> None:
    """Leaves of rounding to levels in one operation the cut at the ends of its range; of rounding
    to the levels of the values' own range nothing."""
    op = node.op
    if isinstance(op, Recurrence) and isinstance(op.product_quantizer, DynamicQuantize):
        node.op = replace(op, product_quantizer=None)
    elif isinstance(op, DynamicQuantize):
        steps[node] = op.step(np.asarray(node.inputs[0].value, np.float32))
        node.op = Identity()
        node.__dict__.pop("layout", None)
    elif isinstance(op, DynamicInput):
        steps[node] = float(op.ends(np.asarray(node.inputs[0].value, np.float32))[0].max())
        node.op = Identity()
        node.__dict__.pop("layout", None)
    elif isinstance(op, FakeQuantize | NudgedFakeQuantize):
        size, (low, high) = op.step(), op.limits()
        if size.size == low.size == 1:
            _becomes_cut(node, steps, float(size.item()), float(low.item()), float(high.item()))
            if isinstance(op, FakeQuantize):
                node.quantizer = QuantizeLinear(op.size, op.zero_point, op.low, op.high)


def _becomes_cut(
    node: GraphNode, steps: dict[GraphNode, float], size: float, low: float, high: float
) -> None:
    node.op, steps[node] = Clip(low=low, high=high), size
    x = node.inputs[0].value
    node.__dict__["layout"] = bool((x >= low - size / 2).all() and (x <= high + size / 2).all())


def _take_dynamic(
    call: GraphCall,
    graph: ModelGraph,
    steps: dict[GraphNode, float],
    gone: set[GraphNode],
    copies: dict[GraphNode, GraphNode],
) -> None:
    """Makes one product of numbers of one of integers, its input quantised by the range of its own
    values, and the scaling of the result."""
    inside = [node for node in graph.nodes if node.call is call]
    outside = {x for node in inside for x in node.inputs if x.node not in inside}
    makers = {x.node for x in outside}
    source = next(iter(makers), None)
    product = next((node for node in inside if isinstance(node.op, Product)), None)
    if len(makers) != 1 or source is None or product is None:
        return
    if not isinstance(source.op, DynamicQuantizeLinear):
        return
    if outside != {source.outputs[0], source.outputs[2]}:
        return
    scaled = _scaled(inside[-1], source.outputs[1])
    kernel = next((x for x in product.inputs if not _follows(x, outside, inside)), None)
    if scaled is None or kernel is None:
        return
    between, last, scale = scaled
    op = _product(np.asarray(kernel.value), scale, inside)
    if op is None:
        return
    if source not in copies:
        copy = Tensor(source.call.name, _numbers(source))
        copies[source] = GraphNode(Identity(), source.inputs, (copy,), source.call)
        copy.node = copies[source]
        steps[copies[source]] = float(source.outputs[1].value)
    last.op, last.inputs = op, copies[source].outputs
    last.__dict__.pop("layout", None)
    gone.update(inside, between)


def _numbers(node: GraphNode) -> np.ndarray:
    """What the integers of a quantiser stand for."""
    codes, size, zero = (np.asarray(tensor.value, np.float64) for tensor in node.outputs)
    return ((codes - zero) * size).astype(np.float32)


def _follows(x: Tensor, sources: set[Tensor], inside: Sequence[GraphNode]) -> bool:
    """Whether a tensor is made of what a call is given."""
    waiting = [x]
    while waiting:
        node = waiting.pop()
        if node in sources:
            return True
        if node.node is not None and node.node in inside:
            waiting += node.node.inputs
    return False


def _scaled(node: GraphNode, size: Tensor) -> tuple[list[GraphNode], GraphNode, np.ndarray] | None:
    """What multiplies the integers by the scale of their input and that of the weights: the nodes
    between, the one that multiplies, and the weights' scale."""
    between: list[GraphNode] = []
    following = only_reader(node)
    while following is not None and isinstance(following.op, Cast):
        between.append(following)
        following = only_reader(following)
    if following is None or not isinstance(following.op, Mul):
        return None
    within = {*node.outputs, *(x for step in between for x in step.outputs)}
    scales = [x for x in following.inputs if x not in within]
    if len(scales) != 1 or scales[0].node is None or not isinstance(scales[0].node.op, Mul):
        return None
    factors = scales[0].node.inputs
    constants = [is_constant(x) for x in factors if x is not size]
    if len(constants) != 1 or constants[0] is None or size not in factors:
        return None
    if len(scales[0].consumers) == 1:
        between.append(scales[0].node)
    return between, following, np.asarray(values_in(constants[0]), np.float64)


def _product(codes: np.ndarray, scale: np.ndarray, inside: Sequence[GraphNode]) -> Op | None:
    """The product with the numbers that the integers stand for, a scale for all or for each
    channel."""
    windows = next((node for node in inside if isinstance(node.op, Im2Col)), None)
    if windows is None:
        if codes.ndim != 2 or scale.size not in (1, codes.shape[1]):
            return None
        size = np.broadcast_to(scale.reshape(-1), codes.shape)
        return MatMul(weight=_weight(codes, size), bias=None)
    op = windows.op
    assert isinstance(op, Im2Col)
    _, groups, rows, taps = codes.shape
    deep = groups * rows
    if scale.size not in (1, deep):
        return None
    kernel = codes.reshape(deep, taps // math.prod(op.kernel), *op.kernel)
    size = np.broadcast_to(scale.reshape(-1, *[1] * (kernel.ndim - 1)), kernel.shape)
    return Conv(
        weight=_weight(kernel, size),
        bias=None,
        strides=op.strides,
        pads=op.pads,
        dilations=op.dilations,
        groups=groups,
    )


def _weight(codes: np.ndarray, size: np.ndarray) -> Weight:
    return Weight("weight", None, codes * size, grid=Grid(size, 8))
