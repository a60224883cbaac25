"""Resizing layers as steps: where PyTorch puts the output elements, in every mode of
``F.interpolate``."""

import math
from typing import Any

import numpy as np

from probe.description import Description
from probe.errors import Undescribed
from probe.ops import AdaptiveAveragePool, Op, Resize, ResizeNearest

from ..describe.describe import SPATIAL, ModuleCall, chain, describes, ntuple

__all__ = ["interpolate"]

_LINEAR = ("linear", "bilinear", "trilinear")


def interpolate(
    x: np.ndarray,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Description:
    """``F.interpolate``: the scale is the given one, or that of the sizes where they are given or
    to be recomputed."""
    have, rank = x.shape[2:], x.ndim - 2
    given: tuple[float, ...] | None = None
    if size is not None:
        sizes = tuple(int(n) for n in ntuple(size, rank))
    else:
        given = tuple(float(scale) for scale in ntuple(scale_factor, rank))
        sizes = tuple(math.floor(n * scale) for n, scale in zip(have, given, strict=True))
    if recompute_scale_factor or mode == "area":
        given = None
    ratios = tuple(out / n for out, n in zip(sizes, have, strict=True))
    return chain(
        _op(x, mode, sizes, ratios, given, bool(align_corners), antialias),
        input_axes=("batch", "channels", *SPATIAL[rank]),
    )


def _op(
    x: np.ndarray,
    mode: str,
    sizes: tuple[int, ...],
    ratios: tuple[float, ...],
    scale_factors: tuple[float, ...] | None,
    corners: bool,
    antialias: bool,
) -> Op:
    scales = ratios if scale_factors is None else scale_factors
    coordinates = "align_corners" if corners else "half_pixel"
    if x.dtype.kind != "f" and not mode.startswith("nearest"):
        raise Undescribed("integer inputs are not supported, since it rounds the result")
    match mode:
        case "nearest":
            if scale_factors is not None:
                # Where a size of two dimensions is kept or doubled, PyTorch goes by the sizes
                # (ATen/native/UpSample.h, nearest_idx).
                by_size = (1, 2) if len(sizes) == 2 else ()
                scales = tuple(
                    ratio if ratio in by_size else scale
                    for ratio, scale in zip(ratios, scale_factors, strict=True)
                )
            return ResizeNearest((1.0, 1.0, *scales), (*x.shape[:2], *sizes))
        case "nearest-exact":
            return ResizeNearest(
                (1.0, 1.0, *scales), (*x.shape[:2], *sizes), "half_pixel", "round_prefer_ceil"
            )
        case "area":
            return AdaptiveAveragePool(output_size=sizes)
        case "bicubic":
            if antialias:
                return Resize(
                    sizes, _kept(ratios, scales), "cubic", coordinates, a=-0.5, antialias=True
                )
            return Resize(sizes, scales, "cubic", coordinates, a=-0.75)
        case "lanczos":
            return Resize(sizes, _kept(ratios, scales), "lanczos3", coordinates, antialias=True)
    if mode not in _LINEAR:
        raise Undescribed(f"mode={mode!r} is not supported")
    return Resize(sizes, _kept(ratios, scales), "linear", coordinates, antialias=antialias)


def _kept(ratios: tuple[float, ...], scales: tuple[float, ...]) -> tuple[float, ...]:
    """An axis that keeps its size is copied, whatever the scale (ATen/native/UpSample.h,
    compute_source_index_and_lambda)."""
    return tuple(1.0 if ratio == 1 else scale for ratio, scale in zip(ratios, scales, strict=True))


@describes("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d")
def _upsample(module: Any, call: ModuleCall) -> Description:
    """``F.interpolate`` comes here too, with an ``antialias`` that no module has."""
    given = (
        module.size,
        module.scale_factor,
        module.mode,
        module.align_corners,
        module.recompute_scale_factor,
    )
    return interpolate(call.x, *given, getattr(module, "antialias", False))
