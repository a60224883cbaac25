"""Images resized: floats by the ops that exist, codes with the kernels' whole-number weights."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import Operand, OperatorBuilder, node
from .conv import channels_first, channels_last

__all__: list[str] = []


def _modes(build: OperatorBuilder) -> tuple[bool, bool]:
    return bool(build.get("alignCorners", False)), bool(build.get("halfPixelCenters", False))


@node("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest(build: OperatorBuilder, x: Operand, size: Operand) -> Ref:
    """GetNearestNeighbor of lite/kernels/internal/common.h, in float32."""
    corners, centers = _modes(build)
    y: Ref | Operand = x
    for axis, count in enumerate((int(n) for n in size.constant), start=1):
        have = x.shape[axis]
        scale = np.float32(have) / np.float32(count)
        if corners and count > 1:
            scale = np.float32(have - 1) / np.float32(count - 1)
        at = (np.arange(count, dtype=np.float32) + np.float32(0.5 if centers else 0)) * scale
        near = np.floor(at + np.float32(0.5)) if corners else np.floor(at)
        order = np.clip(near.astype(np.int64), 0, have - 1)
        y = build.add(ops.Take(axis=axis, order=tuple(order.tolist())), y)
    return build.add(ops.Identity(), y)


@node("RESIZE_BILINEAR")
def resize_bilinear(build: OperatorBuilder, x: Operand, size: Operand) -> Ref:
    corners, centers = _modes(build)
    counts = tuple(int(n) for n in size.constant)
    if x.dtype == "float32":
        return _of_floats(build, x, counts, corners, centers)
    if x.dtype != "int8":
        raise Undescribed(f"RESIZE_BILINEAR of {x.dtype} codes has no description")
    in_xnnpack = build.kernel.family == "xnnpack"
    lines = _lines_of_11_bits if in_xnnpack else _lines_of_10_bits
    pairs = zip(x.shape[1:3], counts, strict=True)
    weights = [lines(have, count, corners, centers) for have, count in pairs]
    whole = build.add(ops.Cast(to="int64"), x)
    turned = build.add(ops.Transpose(perm=(0, 3, 1, 2)), whole)
    rows = build.add(ops.Product(), weights[0], turned)
    y = build.add(ops.Product(), rows, np.ascontiguousarray(weights[1].T))
    if in_xnnpack:
        op = ops.Requantize(
            multiplier=np.asarray(1),
            shift=np.asarray(9),
            factor=np.asarray(2.0**-22, np.float32),
            zero_point=0,
            low=build.limits[0],
            high=build.limits[1],
            rounding="single",
        )
        return channels_last(build, build.add(op, y))
    return channels_last(build, build.add(ops.DivideRounded(count=np.asarray(1 << 20)), y))


def _lines_of_10_bits(have: int, count: int, corners: bool, centers: bool) -> np.ndarray:
    """The weights of an axis as (out, in), in units of 2^-10 (ResizeBilinearInteger)."""
    whole, size = (have - 1, count - 1) if corners and count > 1 else (have, count)
    scale = ((whole << 10) + size // 2) // size
    at = np.arange(count) * scale + (scale // 2 - 512 if centers else 0)
    low = np.maximum(np.trunc(at / 1024).astype(np.int64), 0)
    high = np.minimum(np.trunc((at + 1023) / 1024).astype(np.int64), have - 1)
    return _matrix(have, low, high, at - 1024 * low, 1024)


def _lines_of_11_bits(have: int, count: int, corners: bool, centers: bool) -> np.ndarray:
    """The same in units of 2^-11, from positions in float32 (XNNPACK's indirection)."""
    whole, size = (have - 1, count - 1) if corners and count > 1 else (have, count)
    scale = np.float32(whole) / np.float32(size)
    at = np.arange(count, dtype=np.float32) * scale
    if centers:
        at = at + (np.float32(0.5) * scale - np.float32(0.5))
    at = np.minimum(np.maximum(at, np.float32(0)), np.float32(have - 1))
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, have - 1)
    share = np.rint((at - low.astype(np.float32)) * np.float32(2048)).astype(np.int64)
    return _matrix(have, low, high, share, 2048)


def _matrix(
    have: int, low: np.ndarray, high: np.ndarray, share: np.ndarray, unit: int
) -> np.ndarray:
    weights = np.zeros((len(low), have), np.int64)
    np.add.at(weights, (np.arange(len(low)), low), unit - share)
    np.add.at(weights, (np.arange(len(low)), high), share)
    return weights


def _of_floats(
    build: OperatorBuilder, x: Operand, counts: tuple[int, ...], corners: bool, centers: bool
) -> Ref:
    if corners and centers:
        raise Undescribed("aligned corners with half pixels have no description")
    scales = tuple(count / have for count, have in zip(counts, x.shape[1:3], strict=True))
    way = "asymmetric"
    if corners:
        way = "align_corners"
    if centers:
        way = "half_pixel"
    op = ops.Resize(sizes=counts, scales=scales, mode="linear", coordinates=way)
    return channels_last(build, build.add(op, channels_first(build, x)))
