"""Normalisation layers by instances, root mean squares and neighbouring channels: as steps."""

from typing import Any

import numpy as np

from probe.description import Description
from probe.errors import Undescribed
from probe.ops import LRN, BatchNormalization, GroupNormalization, Op, RMSNormalization

from ..describe.describe import SPATIAL, ModuleCall, batched, chain, describes
from .pooling import rank_of

__all__ = ["local_response_norm"]


@describes("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")
def _instance_norm(module: Any, call: ModuleCall) -> Description:
    """Every channel of every sample by its own statistics; by the running ones in evaluation mode
    where it tracks them."""
    rank = rank_of(module)
    channels = call.x.shape[-rank - 1]
    scale, bias = call.weight("weight"), call.weight("bias")
    op: Op = GroupNormalization(scale=scale, bias=bias, groups=channels, epsilon=module.eps)
    if module.track_running_stats and not module.training:
        mean, variance = call.required("running_mean"), call.required("running_var")
        op = BatchNormalization(
            scale=scale, bias=bias, mean=mean, variance=variance, epsilon=module.eps, axis=1
        )
    return batched(call.x, rank, call.x.shape, op)


@describes("RMSNorm")
def _rms_norm(module: Any, call: ModuleCall) -> Description:
    """Over the trailing axes that ``normalized_shape`` names; an eps of None is the smallest step
    of the precision it computes in."""
    count = len(module.normalized_shape)
    epsilon = module.eps
    # Half precision is computed in float32 (ATen/native/layer_norm.cpp, rms_norm_composite).
    if epsilon is None:
        epsilon = float(np.finfo(np.float64 if call.x.dtype == np.float64 else np.float32).eps)
    return chain(
        RMSNormalization(
            scale=call.weight("weight"),
            epsilon=epsilon,
            axes=tuple(range(call.x.ndim - count, call.x.ndim)),
        )
    )


def local_response_norm(
    x: np.ndarray, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Description:
    """``F.local_response_norm``: the window reaches size // 2 channels back and (size - 1) // 2
    on."""
    op = LRN(size=size, alpha=alpha, beta=beta, bias=k, before=size // 2, after=(size - 1) // 2)
    return chain(op, input_axes=("batch", "channels", *SPATIAL.get(x.ndim - 2, ())))


@describes("LocalResponseNorm")
def _local_response_norm(module: Any, call: ModuleCall) -> Description:
    return local_response_norm(call.x, module.size, module.alpha, module.beta, module.k)


@describes("CrossMapLRN2d")
def _cross_map_lrn(module: Any, call: ModuleCall) -> Description:
    """The window reaches (size - 1) // 2 channels both ways: one less than ``size`` where that is
    even (nn/modules/_functions.py)."""
    reach = (module.size - 1) // 2
    if call.x.shape[1] <= reach:
        raise Undescribed("its window extends beyond the number of channels")
    op = LRN(
        size=module.size,
        alpha=module.alpha,
        beta=module.beta,
        bias=module.k,
        before=reach,
        after=reach,
        first=True,
    )
    return chain(op, input_axes=("batch", "channels", "height", "width"))
