"""Graphs brought to one form: a bias that is added behind a product belongs to it, and a product
with a constant matrix is a layer."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from probe.model_comparison.graphs.graph import GraphNode, ModelGraph, Tensor
from probe.ops import (
    Add,
    AddConstant,
    Constant,
    Conv,
    ConvTranspose,
    Embedding,
    Gather,
    MatMul,
    Op,
    Pad,
    Parameter,
    Product,
    Transpose,
)
from probe.ops.weight import Weight

__all__ = ["is_constant", "normalized", "values_in"]

_BIASED = (MatMul, Conv, ConvTranspose)


def normalized(graph: ModelGraph, reordered: bool = False) -> ModelGraph:
    """The same passes with products and their biases as one node each; where ``reordered``, those
    too whose axes come in another order between the two. What the product gives is then no tensor
    any more."""
    gone: set[GraphNode] = set()
    for node in graph.nodes:
        _take_matrix(node, gone)
        _take_table(node, gone)
    for node in graph.nodes:
        _take_pads(node, gone)
    for node in graph.nodes:
        if node not in gone and (biased := _bias_of(node)) is not None:
            product, op, between = biased
            if reordered or not any(isinstance(step.op, Transpose) for step in between):
                _join(product, node, op, between, gone)
    graph.nodes = [node for node in graph.nodes if node not in gone]
    return graph.numbered()


def is_constant(tensor: Tensor) -> np.ndarray | Weight | None:
    """The weight or the numbers that a tensor is, whatever the model is given."""
    op = None if tensor.node is None else tensor.node.op
    if isinstance(op, Parameter):
        return op.weight
    if isinstance(op, Constant):
        return op.value
    return None


def values_in(constant: np.ndarray | Weight) -> np.ndarray:
    """The numbers of a constant."""
    if isinstance(constant, Weight):
        return constant.value
    return np.asarray(constant)


def _take_matrix(node: GraphNode, gone: set[GraphNode]) -> None:
    """Makes a layer of a product with a matrix of the model's own."""
    if not isinstance(node.op, Product) or len(node.inputs) != 2:
        return
    left, right = node.inputs
    weight = is_constant(right)
    if not isinstance(weight, Weight) or weight.value.ndim != 2 or is_constant(left) is not None:
        return
    node.op, node.inputs = MatMul(weight=weight, bias=None), (left,)
    right.consumers = [reader for reader in right.consumers if reader is not node]
    if not right.consumers and right.node is not None:
        gone.add(right.node)


def _take_pads(node: GraphNode, gone: set[GraphNode]) -> None:
    """Makes zeros that are put around the input of a convolution its own pads."""
    if not isinstance(node.op, Conv) or node.inputs[0].node is None:
        return
    source = node.inputs[0]
    before = source.node
    if before is None or not isinstance(before.op, Pad) or len(source.consumers) != 1:
        return
    pad = before.op
    if pad.mode != "constant" or pad.value or any(map(any, pad.pads[:2])) or len(before.inputs) > 1:
        return
    pads = tuple(
        (first + before_it, last + behind_it)
        for (first, last), (before_it, behind_it) in zip(node.op.pads, pad.pads[2:], strict=True)
    )
    node.op = replace(node.op, pads=pads)
    node.inputs = (before.inputs[0], *node.inputs[1:])
    gone.add(before)


def _take_table(node: GraphNode, gone: set[GraphNode]) -> None:
    """Makes a layer of rows that are taken of a matrix of the model's own."""
    if not isinstance(node.op, Gather) or node.op.axis or len(node.inputs) != 2:
        return
    rows, indices = node.inputs
    table = is_constant(rows)
    if not isinstance(table, Weight) or table.value.ndim != 2 or table.value.dtype.kind != "f":
        return
    if is_constant(indices) is not None:
        return
    node.op, node.inputs = Embedding(table=table), (indices,)
    rows.consumers = [reader for reader in rows.consumers if reader is not node]
    if not rows.consumers and rows.node is not None:
        gone.add(rows.node)


def _bias_of(node: GraphNode) -> tuple[GraphNode, Op, list[GraphNode]] | None:
    """The product that a node adds nothing but a bias to, the op that does both, and what lies
    between the two: reshapes, which leave the channels where they are, or another order of axes."""
    if isinstance(node.op, AddConstant):
        source, bias = node.inputs[0], node.op.value
    elif isinstance(node.op, Add) and len(node.inputs) == 2:
        first, second = (is_constant(tensor) for tensor in node.inputs)
        if (first is None) == (second is None):
            return None
        source, constant = node.inputs[0], second
        if second is None:
            source, constant = node.inputs[1], first
        assert constant is not None
        if isinstance(constant, Weight):
            bias = constant
        else:
            bias = Weight("bias", None, np.asarray(constant))
    else:
        return None
    between: list[GraphNode] = []
    while (before := source.node) is not None and before.layout and len(source.consumers) == 1:
        between.insert(0, before)
        source = before.inputs[0]
    product = source.node
    if (
        product is None
        or not isinstance(product.op, _BIASED)
        or product.op.bias is not None
        or product.op.weight is None
        or len(source.consumers) != 1
    ):
        return None
    width, axis = _channels(product.op)
    shape, wanted = bias.value.shape, _shape_of_bias(product, between, width, axis)
    if wanted is None or (1,) * (len(wanted) - len(shape)) + shape != wanted:
        return None
    if shape != (width,):
        bias = replace(bias, shape=(width,))
    return product, replace(product.op, bias=bias), between


def _shape_of_bias(
    product: GraphNode, between: Sequence[GraphNode], width: int, axis: int
) -> tuple[int, ...] | None:
    """What a bias of a product's channels has behind some steps; None where these mix them."""
    shapes = [step.outputs[0].value.shape for step in (product, *between)]
    orders = [step.op.perm for step in between if isinstance(step.op, Transpose)]
    if orders and len(orders) < len(between):
        return None
    place = axis % len(shapes[0])
    for order in orders:
        place = order.index(place)
    rank, kept = len(shapes[-1]), slice(2)  # the channels, and the batch before them
    if axis == -1 and not orders:
        rank, kept, place = 1, slice(-1, None), 0
    if not orders and any(other[kept] != shapes[0][kept] for other in shapes):
        return None
    return tuple(width if k == place else 1 for k in range(rank))


def _channels(op: Op) -> tuple[int, int]:
    """How many channels a product has, and on which axis of its output."""
    if isinstance(op, MatMul):
        return int(op.weight.value.shape[1]), -1
    assert isinstance(op, Conv | ConvTranspose)
    assert op.weight is not None
    shape = op.weight.value.shape
    if isinstance(op, Conv):
        return int(shape[0]), 1
    return int(shape[1] * op.groups), 1


def _join(
    product: GraphNode,
    adding: GraphNode,
    op: Op,
    between: Sequence[GraphNode],
    gone: set[GraphNode],
) -> None:
    product.op = op
    line = [product, *between]
    value = adding.outputs[0].value
    for before, step in reversed([*pairwise(line)]):  # now with the bias
        (tensor,) = before.outputs
        if isinstance(step.op, Transpose):
            value = value.transpose(np.argsort(step.op.perm))
        tensor.recorded = value = value.reshape(tensor.value.shape)
        tensor.name = adding.outputs[0].name
    line[-1].outputs = adding.outputs
    for tensor in line[-1].outputs:
        tensor.node = line[-1]
    gone.add(adding)
    for tensor in adding.inputs:
        if tensor.node is not None and tensor.node not in line and len(tensor.consumers) == 1:
            gone.add(tensor.node)
