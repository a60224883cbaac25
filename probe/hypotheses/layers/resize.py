"""Mistakes of resizing: where the output elements stand, and which elements they are made of."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from probe import ops
from probe.hypotheses.registry import hypothesis
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_COORDINATES = ("half_pixel", "align_corners", "asymmetric")
_ROUNDINGS = ("floor", "round_prefer_floor", "round_prefer_ceil", "ceil")
_KERNELS: tuple[dict[str, Any], ...] = (
    {"mode": "linear"},
    {"mode": "cubic", "a": -0.75},
    {"mode": "cubic", "a": -0.5},
    {"mode": "lanczos3"},
    {"mode": "area"},
)


def _told(scales: Sequence[float]) -> str:
    return ", ".join(f"{scale:.6g}" for scale in scales)


@hypothesis("resize-coordinates")
def resize_coordinates(case: Case) -> Iterator[Edit]:
    """Another mapping from output coordinates to input coordinates.

    half_pixel maps output i to (i + 0.5) / scale - 0.5, align_corners to i * (in - 1) / (out - 1),
    asymmetric to i / scale; nearest-neighbour modes then round in one of four ways. PyTorch's
    "nearest" is asymmetric with floor; TensorFlow 2, OpenCV and Pillow use half_pixel; Keras 1 and
    older TensorFlow models use asymmetric. There is no error in the middle, or none at the corners.
    """
    for position, resized in case.having(ops.Resize, ops.ResizeNearest):
        have = case.input_of(position).shape[-len(resized.sizes) :]
        ratios = tuple(size / n for size, n in zip(resized.sizes, have, strict=True))
        if ratios != resized.scales:
            yield case.edit(
                f"coordinates by the ratio of the sizes, {_told(ratios)}, instead of the scale "
                f"factors {_told(resized.scales)}",
                case.changed(position, scales=ratios),
                do="divide by the scale factors that the layer was given",
            )
    for position, op in case.having(ops.Resize):
        if op.mode == "area":
            continue
        for coordinates in _COORDINATES:
            if coordinates != op.coordinates:
                yield case.edit(
                    f"{coordinates} coordinates instead of {op.coordinates}",
                    case.changed(position, coordinates=coordinates, table=0),
                    do=f"use {op.coordinates} coordinates",
                )
    for position, nearest in case.having(ops.ResizeNearest):
        for coordinates, rounding in product(_COORDINATES, _ROUNDINGS):
            if (coordinates, rounding) != (nearest.coordinates, nearest.rounding):
                yield case.edit(
                    f"{coordinates} coordinates and {rounding} instead of "
                    f"{nearest.coordinates} and {nearest.rounding}",
                    case.changed(position, coordinates=coordinates, rounding=rounding),
                    do=f"use {nearest.coordinates} coordinates and {nearest.rounding}",
                )


@hypothesis("resize-kernel")
def resize_kernel(case: Case) -> Iterator[Edit]:
    """Another interpolation than the layer's, or another variant with the same name.

    "bicubic" uses a = -0.75 in PyTorch and OpenCV and a = -0.5 in TensorFlow, Pillow and Matlab. At
    the border PyTorch repeats the edge, and TensorFlow leaves the outside elements out. Pillow
    widens the kernel when it shrinks an image (antialias); PyTorch and TensorFlow do so only on
    request. Or nearest neighbours instead of linear interpolation.
    """
    for position, op in case.having(ops.Resize):
        shape = case.input_of(position).shape
        lead = shape[: len(shape) - len(op.sizes)]
        for coordinates, rounding in (("asymmetric", "floor"), ("half_pixel", "round_prefer_ceil")):
            nearest = ops.ResizeNearest(
                (*(1.0 for _ in lead), *op.scales), (*lead, *op.sizes), coordinates, rounding
            )
            yield case.edit(
                f"nearest neighbours ({coordinates}) instead of {_kernel_of(op)}",
                case.with_op(position, nearest),
                do=f"use the kernel {_kernel_of(op)}",
            )
        yield from _other_kernels(case, position, op)
    for position, nearest in case.having(ops.ResizeNearest):
        yield from _linear_for_nearest(case, position, nearest)


def _kernel_of(op: ops.Resize) -> str:
    if op.mode == "cubic":
        return f"{op.mode} (a = {op.a:g})"
    return op.mode


def _other_kernels(case: Case, position: int, op: ops.Resize) -> Iterator[Edit]:
    """Every kernel, antialiased or not, with the elements outside or without them, but the layer's
    own."""
    own = _kernel_of(op)
    if op.antialias:
        own += ", antialiased"
    elif op.outside == "excluded":
        own += ", elements outside left out"
    for kind, antialias, outside in product(_KERNELS, (False, True), ("edge", "excluded")):
        if kind["mode"] == "area" and (antialias or outside == "excluded"):
            continue
        same = kind["mode"] == op.mode and kind.get("a", op.a) == op.a
        if (
            same
            and antialias == op.antialias
            and (outside == op.outside or op.antialias)
            and not op.table
        ):
            continue
        text = str(kind["mode"]) + (f" (a = {kind['a']:g})" if "a" in kind else "")
        text += (", antialiased" if antialias else "") + (
            ", elements outside left out" if outside == "excluded" else ""
        )
        steps = case.changed(position, antialias=antialias, outside=outside, table=0, **kind)
        yield case.edit(
            f"{text} instead of {own}",
            steps,
            do=f"use the kernel {own}",
        )


def _linear_for_nearest(case: Case, position: int, nearest: ops.ResizeNearest) -> Iterator[Edit]:
    """Linear interpolation, where the axes that are resized are the last ones."""
    shape = case.input_of(position).shape
    rank = len(shape)
    moved = [axis for axis in range(rank) if nearest.sizes[axis] != shape[axis]]
    if moved and moved == list(range(rank - len(moved), rank)):
        linear = ops.Resize(
            sizes=tuple(nearest.sizes[axis] for axis in moved),
            scales=tuple(float(nearest.scales[axis]) for axis in moved),
        )
        yield case.edit(
            "linear interpolation instead of nearest neighbours",
            case.with_op(position, linear),
            do="take the nearest neighbour",
        )
