"""A normalisation of channels by stored numbers behind a product, which another model may have
folded into the product: a batch normalisation, or a factor and a shift one after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.normalize import is_constant, values_in
from probe.numerics.dtypes import widened
from probe.ops import Add, BatchNormalization, Conv, MatMul, Mul, Op
from probe.ops.weight import Weight

__all__ = [
    "FoldedNode",
    "constant_values",
    "gain_of",
    "normalization_behind",
    "normalizing",
    "with_normalization",
]


@dataclass(eq=False)
class FoldedNode(GraphNode):
    """A product, and the normalisations behind it that were folded into it."""

    parts: tuple[GraphNode, ...] = ()


def constant_values(tensor: Tensor) -> np.ndarray | None:
    """The numbers of what a model has from itself: a weight, a constant, or an array that it made
    of such."""
    constant = is_constant(tensor)
    if constant is not None:
        return values_in(constant)
    if tensor.node is None and tensor.input is None:
        return tensor.value
    return None


def normalization_behind(tensor: Tensor) -> GraphNode | None:
    """The normalisation of channels that takes a tensor and nothing else does, through changes of
    layout, as one node: a batch normalisation, or a factor for each channel and what is added to
    it."""
    factor: GraphNode | None = None
    for node in _line_behind(tensor):
        if isinstance(node.op, BatchNormalization) and factor is None:
            return node
        if factor is None and isinstance(node.op, Mul):
            factor = normalizing(node)
            if factor is None:
                return None
            continue
        if factor is not None and isinstance(node.op, Add):
            return _together(factor, normalizing(node))
        if not node.layout:
            break
    return factor


def _line_behind(tensor: Tensor) -> Iterator[GraphNode]:
    """The nodes behind a tensor, as long as each alone reads what is before it."""
    while len(tensor.consumers) == 1:
        node = tensor.consumers[0]
        yield node
        tensor = node.outputs[0]


def normalizing(node: GraphNode) -> GraphNode | None:
    """A node that multiplies channels by constants, or adds these, as a batch normalisation; None
    of any other."""
    if isinstance(node.op, BatchNormalization):
        return node
    if not isinstance(node.op, Mul | Add) or len(node.inputs) != 2:
        return None
    held = [
        (k, values) for k, x in enumerate(node.inputs) if (values := constant_values(x)) is not None
    ]
    if len(held) != 1:
        return None
    ((place, values),) = held
    source = node.inputs[1 - place]
    shape = source.value.shape
    axis = _channel_axis(values.shape, shape)
    if axis is None:
        return None
    weight = Weight("factor" if isinstance(node.op, Mul) else "shift", None, values.reshape(-1))
    op = BatchNormalization(None, None, None, None, epsilon=0.0, axis=axis)
    if isinstance(node.op, Mul):
        op = replace(op, scale=weight)
    else:
        op = replace(op, bias=weight)
    return GraphNode(op, (source,), node.outputs, node.call, node.index)


def _channel_axis(constant: Sequence[int], shape: Sequence[int]) -> int | None:
    """The only axis of an array that a constant has several elements along."""
    lined = (1,) * (len(shape) - len(constant)) + tuple(constant)
    long_axes = [axis for axis, size in enumerate(lined) if size != 1]
    if (
        len(lined) != len(shape)
        or len(long_axes) != 1
        or lined[long_axes[0]] != shape[long_axes[0]]
    ):
        return None
    return long_axes[0]


def _together(factor: GraphNode, shift: GraphNode | None) -> GraphNode:
    """A factor and a shift as one normalisation; the factor alone where no shift follows."""
    first, second = factor.op, None if shift is None else shift.op
    assert isinstance(first, BatchNormalization)
    if shift is None or not isinstance(second, BatchNormalization) or second.axis != first.axis:
        return factor
    op = replace(first, bias=second.bias)
    return GraphNode(op, factor.inputs, shift.outputs, shift.call, shift.index)


def with_normalization(op: Op | None, behind: Op | None) -> Op | None:
    """One product that does what a product and the batch normalisation behind it do."""
    if not isinstance(op, Conv | MatMul) or not isinstance(behind, BatchNormalization):
        return None
    if op.weight is None:
        return None
    width = op.weight.value.shape[0 if isinstance(op, Conv) else 1]

    def of(weight: Weight | None) -> np.ndarray:
        value = np.zeros(width) if weight is None else weight.value
        return np.asarray(value, np.float64).ravel()

    held = (behind.scale, behind.bias, behind.mean, behind.variance)
    if any(weight.value.size != width for weight in held if weight is not None):
        return None
    gain = np.broadcast_to(gain_of(behind), width)
    bias = (of(op.bias) - of(behind.mean)) * gain + of(behind.bias)
    kernel = widened(op.weight.value)
    shape = (-1, *[1] * (kernel.ndim - 1)) if isinstance(op, Conv) else (-1,)
    weight = Weight(f"{op.weight.name}, folded", None, kernel * gain.reshape(shape))
    return replace(op, weight=weight, bias=Weight("bias, folded", None, bias))


def gain_of(op: BatchNormalization) -> np.ndarray:
    """What a normalisation multiplies each channel by."""
    gain = np.ones(1)
    if op.scale is not None:
        gain = op.scale.value.astype(np.float64).ravel()
    variance = np.ones(1)
    if op.variance is not None:
        variance = op.variance.value.astype(np.float64).ravel()
    return np.asarray(gain / np.sqrt(variance + op.epsilon))
