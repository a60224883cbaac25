"""Normalisation layers as steps."""

import math
from typing import Any

from probe.description import Description
from probe.ops import BatchNormalization, GroupNormalization, LayerNormalization, Reshape, Transpose

from ..describe.describe import SPATIAL, ModuleCall, chain, describes

__all__ = ["batch_norm", "group_norm", "layer_norm"]


@describes("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
def batch_norm(module: Any, call: ModuleCall) -> Description:
    """By the running statistics; in training mode, or where none are tracked, by those of the batch
    (biased, over batch and space)."""
    shape = call.x.shape
    axes = ("batch", "channels", *SPATIAL.get(len(shape) - 2, ()))
    scale, bias = call.weight("weight"), call.weight("bias")
    if module.running_mean is not None and not module.training:
        mean, variance = call.weight("running_mean"), call.weight("running_var")
        return chain(
            BatchNormalization(
                scale=scale, bias=bias, mean=mean, variance=variance, epsilon=module.eps, axis=1
            ),
            input_axes=axes,
        )
    swap = (1, 0, *range(2, len(shape)))
    return chain(
        Transpose(perm=swap),
        Reshape(shape=(1, shape[1], shape[0] * math.prod(shape[2:]))),
        GroupNormalization(scale=scale, bias=bias, groups=shape[1], epsilon=module.eps),
        Reshape(shape=(shape[1], shape[0], *shape[2:])),
        Transpose(perm=swap),
        input_axes=axes,
    )


@describes("LayerNorm")
def layer_norm(module: Any, call: ModuleCall) -> Description:
    """Over the trailing axes that ``normalized_shape`` names."""
    axes = tuple(range(call.x.ndim - len(module.normalized_shape), call.x.ndim))
    return chain(
        LayerNormalization(
            scale=call.weight("weight"), bias=call.weight("bias"), epsilon=module.eps, axes=axes
        )
    )


@describes("GroupNorm")
def group_norm(module: Any, call: ModuleCall) -> Description:
    """Over each group of channels and all of space."""
    scale, bias = call.weight("weight"), call.weight("bias")
    # ATen/native/cpu/group_norm_kernel.cpp: in channels_last the variance is E[x²] - E[x]².
    op = GroupNormalization(
        scale=scale,
        bias=bias,
        groups=module.num_groups,
        epsilon=module.eps,
        may_use_lossy_algorithm=call.may_use_lossy_algorithm,
    )
    return chain(op, input_axes=("batch", "channels", *SPATIAL.get(call.x.ndim - 2, ())))
