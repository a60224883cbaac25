"""Keras 2's locally connected layers: a convolution with another kernel at every place."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes, named_axes
from ..describe.op_builder import OpBuilder
from .activation import activation_steps


@describes("LocallyConnected1D", "LocallyConnected2D")
def _locally_connected(layer: Any, call: KerasCall) -> Description:
    rank = len(call.shape) - 2
    if layer.data_format == "channels_first":
        raise Undescribed("the data format channels_first is not supported")
    build = OpBuilder(call)
    if layer.implementation == 1:
        made = _by_windows(layer, call, build, call.shape[1:-1])
    elif layer.implementation == 2:
        made = _by_matrix(layer, call, build, rank)
    else:
        raise Undescribed("a sparse kernel matrix (implementation=3) is not supported")
    if layer.use_bias:
        build.add(ops.AddConstant(value=call.weight("bias", layer.bias)), made)
    axes = named_axes(len(call.shape), rank, False)
    steps = build.ended()
    return Description(
        (*steps, *activation_steps(layer.activation, call, rank + 2, steps)), axes, axes
    )


def _by_windows(layer: Any, call: KerasCall, build: OpBuilder, sizes: Sequence[int]) -> Ref:
    """The kernel is (places, taps * channels, filters): a matrix for the window at each place."""
    rank, x, out = len(sizes), Ref(-1), []
    for axis, (size, k, stride) in enumerate(
        zip(sizes, layer.kernel_size, layer.strides, strict=True)
    ):
        starts = np.arange(0, size - k + 1, stride)
        out.append(len(starts))
        # Each spatial axis becomes two, the place and the tap.
        x = build.take(x, build.ref(starts[:, None] + np.arange(k)), 1 + 2 * axis)
    order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    taps = prod(layer.kernel_size) * call.shape[-1]
    windows = build.reshape(build.transpose(x, order), (call.shape[0], prod(out), taps))
    kernel = build.ref(layer.kernel)
    made = build.add(
        ops.Einsum(equation="bpt,ptf->bpf"),
        windows,
        kernel,
        shape=(call.shape[0], prod(out), layer.filters),
    )
    return build.reshape(made, (call.shape[0], *out, layer.filters))


def _by_matrix(layer: Any, call: KerasCall, build: OpBuilder, rank: int) -> Ref:
    """The kernel is (*input, channels, *output, filters) with zeros outside the windows."""
    weight = call.weight("kernel", layer.kernel)
    shape, half = weight.effective.shape, rank + 1
    masked = weight.effective * np.asarray(layer.kernel_mask, weight.effective.dtype)
    words = (*weight.steps, "0 outside the window of each output")
    weight = replace(
        weight, effective=masked, steps=words, shape=(prod(shape[:half]), prod(shape[half:]))
    )
    flat = build.reshape(Ref(-1), (call.shape[0], prod(call.shape[1:])))
    made = build.add(
        ops.MatMul(weight=weight, bias=None), flat, shape=(call.shape[0], prod(shape[half:]))
    )
    return build.reshape(made, (call.shape[0], *shape[half:]))
