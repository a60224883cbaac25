"""Resize and Upsample: every mode, coordinate transformation and rounding, as lines that an axis'
coordinates lie on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node

__all__: list[str] = []

Line = tuple[float, float]
_COPIES = (
    "known difference of ONNX Runtime: it ignores roi along an axis of scale 1, and roi and "
    "scales where the output has the input's shape"
)


@dataclass(frozen=True)
class _Axis:
    """One axis of a resize: how many elements it has and gets, by which scale, and which part of it
    is wanted."""

    have: int
    size: int
    scale: float
    begin: float = 0.0
    end: float = 1.0

    def line(self, mode: str) -> Line:
        """(slope, start) of the coordinates of its outputs."""
        step = 1 / self.scale
        match mode:
            case "half_pixel":
                return step, 0.5 * step - 0.5
            case "half_pixel_symmetric":
                offset = self.have / 2 * (1 - self.size / (self.scale * self.have))
                return step, offset + 0.5 * step - 0.5
            case "pytorch_half_pixel":
                if self.size > 1:
                    return (step, 0.5 * step - 0.5)
                return (0.0, 0.0)
            case "align_corners":
                return ((self.have - 1) / (self.size - 1) if self.size > 1 else 0.0), 0.0
            case "asymmetric":
                return step, 0.0
            case "tf_half_pixel_for_nn":
                return step, 0.5 * step
            case "tf_crop_and_resize":
                last = self.have - 1
                if self.size > 1:
                    return (self.end - self.begin) * last / (self.size - 1), self.begin * last
                return 0.0, 0.5 * (self.begin + self.end) * last
        raise Undescribed(f"the coordinate mode {mode} is not supported")

    @property
    def stays(self) -> bool:
        return self.size == self.have and self.scale == 1


def _axes(
    build: NodeBuilder, x: Value, roi: Value | None, scales: Value | None, sizes: Value | None
) -> list[_Axis]:
    """What the scales, or the sizes, say of every axis."""
    shape, rank = build.shape(x), build.rank(x)
    along = [axis % rank for axis in build.get("axes", range(rank))]
    by = [1.0] * rank
    if scales is not None and build.array(scales).size:
        for axis, scale in zip(along, build.array(scales).astype(np.float64), strict=True):
            by[axis] = float(scale)
    else:
        assert sizes is not None
        wanted = build.array(sizes)
        ratios = [int(size) / shape[axis] for axis, size in zip(along, wanted, strict=True)]
        policy = build.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            ratios = [min(ratios) if policy == "not_larger" else max(ratios)] * len(ratios)
        for axis, ratio in zip(along, ratios, strict=True):
            by[axis] = ratio
    wide = build.outputs[0].shape
    parts = [(0.0, 1.0)] * rank
    if build.get("coordinate_transformation_mode") == "tf_crop_and_resize" and roi is not None:
        given = build.array(roi).astype(np.float64)
        for at, axis in enumerate(along):
            parts[axis] = float(given[at]), float(given[at + len(along)])
    return [_Axis(shape[axis], wide[axis], by[axis], *parts[axis]) for axis in range(rank)]


@node("Resize", implied=("roi",))
@node("Upsample")
def resize(
    build: NodeBuilder,
    x: Value,
    roi: Value | None = None,
    scales: Value | None = None,
    sizes: Value | None = None,
) -> Ref:
    """Upsample and the first Resize take the scales second, and asymmetric coordinates; nearest is
    floor there."""
    old = build.opset < 11
    build.knows(
        "antialias",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
        "keep_aspect_ratio_policy",
        "nearest_mode",
    )
    if old:
        roi, scales = None, roi if roi is not None else build.get("scales")
        assert scales is not None
        if not isinstance(scales, Ref) and not hasattr(scales, "value"):
            scales = np.asarray(scales)
    mode = build.get("mode", "nearest")
    if mode != "nearest" and build.array(x).dtype.kind != "f":
        raise Undescribed("interpolation of integers is not supported")
    if old:
        coordinates = "asymmetric"
    else:
        coordinates = build.get("coordinate_transformation_mode", "half_pixel")
    axes = _axes(build, x, roi, scales, sizes)
    lines = [
        (1.0, 0.0) if axis.stays and coordinates != "tf_crop_and_resize" else axis.line(coordinates)
        for axis in axes
    ]
    if any(
        axis.size == axis.have and (not axis.stays or line != (1.0, 0.0))
        for axis, line in zip(axes, lines, strict=True)
    ):
        build.notes.append(_COPIES)
    if mode == "nearest":
        if old:
            rounding = "floor"
        else:
            rounding = build.get("nearest_mode", "round_prefer_floor")
        y = build.add(
            ops.NearestOnLines(
                sizes=tuple(axis.size for axis in axes), lines=tuple(lines), rounding=rounding
            ),
            x,
        )
    else:
        y = _weighted(build, x, mode, coordinates, axes, lines)
    if coordinates != "tf_crop_and_resize":
        return y
    outside = _outside(axes)
    if not outside.any():
        return y
    value = build.get("extrapolation_value", 0.0)
    return build.add(ops.Where(fixed=True), outside, np.asarray(value, np.float64), y)


def _weighted(
    build: NodeBuilder,
    x: Value,
    mode: str,
    coordinates: str,
    axes: Sequence[_Axis],
    lines: Sequence[Line],
) -> Ref:
    """Over the axes that change, brought to the end for the op."""
    moving = [
        axis
        for axis, (resized, line) in enumerate(zip(axes, lines, strict=True))
        if not resized.stays or line != (1.0, 0.0)
    ]
    if not moving:
        return build.add(ops.Identity(), x)
    rank = len(axes)
    perm = [axis for axis in range(rank) if axis not in moving] + moving
    alone = perm == moving  # the op wants an axis before those that it resizes
    if perm == list(range(rank)):
        turned = x
    else:
        turned = build.add(ops.Transpose(perm=tuple(perm)), x)
    if alone:
        turned = build.add(ops.Unsqueeze(axes=(0,)), turned)
    smooth = bool(build.get("antialias", 0))  # stretches by 1 / scale, whatever the coordinates
    known = coordinates in ("half_pixel", "asymmetric") or (
        coordinates == "align_corners" and not smooth
    )
    outside = "repeated" if smooth else "edge"
    if build.get("exclude_outside", 0):
        outside = "excluded"
    op = ops.Resize(
        sizes=tuple(axes[axis].size for axis in moving),
        scales=tuple(axes[axis].scale for axis in moving),
        mode=mode if mode != "bilinear" else "linear",
        coordinates=coordinates if known else "lines",
        lines=() if known else tuple(lines[axis] for axis in moving),
        a=build.get("cubic_coeff_a", -0.75),
        antialias=smooth,
        outside=outside,
    )
    found = build.add(op, turned)
    if alone:
        found = build.add(ops.Squeeze(axes=(0,)), found)
    back = tuple(perm.index(axis) for axis in range(rank))
    if back == tuple(range(rank)):
        return found
    return build.add(ops.Transpose(perm=back), found)


def _outside(axes: Sequence[_Axis]) -> np.ndarray:
    """Which outputs lie beyond the input on some axis, their coordinates found in float32 as the
    formula stands."""
    y = np.zeros((1,) * len(axes), bool)
    single = np.float32
    for axis, resized in enumerate(axes):
        begin, end, last = single(resized.begin), single(resized.end), single(resized.have - 1)
        if resized.size > 1:
            at = begin * last + np.arange(resized.size, dtype=single) * (
                end - begin
            ) * last / single(resized.size - 1)
        else:
            at = np.array([single(0.5) * (begin + end) * last])
        away = (at < 0) | (at > last)
        y = y | away.reshape([-1 if k == axis else 1 for k in range(len(axes))])
    return y
