"""A batch normalisation that is simulated within its convolution: the weights are scaled as if it
was folded into them, rounded to integers, and the product is scaled back."""

from dataclasses import replace

import numpy as np

from probe.model_comparison.graphs.dequantizing import only_reader
from probe.model_comparison.graphs.graph import GraphNode
from probe.ops import AddConstant, Conv, MatMul, MulConstant
from probe.ops.weight import Grid, Weight

__all__ = ["take_scaled_back"]


def take_scaled_back(node: GraphNode, gone: set[GraphNode]) -> None:
    """Makes one product with the weights as they were of one with scaled weights and the scaling
    back; and of the bias behind it its bias."""
    op, scaling = node.op, only_reader(node)
    if not isinstance(op, Conv | MatMul) or op.weight is None or op.bias is not None:
        return
    if scaling is None or not isinstance(scaling.op, MulConstant) or op.weight.step is None:
        return
    axis = int(isinstance(op, MatMul))
    width = op.weight.value.shape[axis]
    factors = _for_each(scaling.op.value, width)
    if factors is None:
        return
    shape = [width if k == axis else 1 for k in range(op.weight.value.ndim)]
    value, step = (
        array.astype(np.float64) * factors.reshape(shape)
        for array in (op.weight.value, op.weight.step)
    )
    grid = replace(op.weight.grid or Grid(step, 8), scale=np.abs(step))
    last, bias, following = scaling, None, only_reader(scaling)
    if following is not None and isinstance(following.op, AddConstant):
        if (added := _for_each(following.op.value, width)) is not None:
            last, bias = following, Weight(following.op.value.name, None, added)
    weight = Weight(op.weight.name, None, value, grid=grid)
    last.op, last.inputs = replace(op, weight=weight, bias=bias), node.inputs
    last.__dict__.pop("layout", None)
    gone.update({node, scaling} - {last})


def _for_each(weight: Weight, width: int) -> np.ndarray | None:
    """One number for each channel."""
    numbers = np.asarray(weight.value, np.float64)
    if numbers.size == width:
        return numbers.ravel()
    return None
