"""The operations of keras.ops.image that sample at computed coordinates."""

from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.op_builder import OpBuilder
from .arithmetic import data_format, operation

_EDGES = {
    "constant": ("zeros", False),
    "nearest": ("border", False),
    "reflect": ("reflection", False),
    "mirror": ("reflection", True),
}
"""How a mode goes on outside, and whether it mirrors at the middle of the last element."""


def _sampler(op: Any, mode: str, modes: tuple[str, ...], call: KerasCall) -> ops.GridSample:
    if op.fill_mode not in modes:
        raise Undescribed(
            f"fill_mode={op.fill_mode!r} has other rules on the {call.backend} backend"
        )
    padding, align = _EDGES[op.fill_mode]
    fill = float(op.fill_value)
    return ops.GridSample(
        mode, padding, align, pixels=True, fill=fill if padding == "zeros" else 0.0
    )


def _within(places: np.ndarray) -> None:
    if not np.isfinite(places).all():
        raise Undescribed("its coordinates contain NaN")


@operation("MapCoordinates")
def _map_coordinates(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """A coordinate for each axis, along the first axis of the second input. Of the other modes
    TensorFlow's leave the image."""
    if any(x.dtype.kind != "f" for x in call.inputs):
        raise Undescribed("integer inputs are not supported, since it rounds the result")
    if call.backend not in ("tensorflow", "torch"):
        raise Undescribed(f"boundary handling of the {call.backend} backend is not modelled")
    known = ("constant", "nearest") if call.backend == "tensorflow" else tuple(_EDGES)
    sampler = _sampler(op, "linear" if op.order else "nearest", known, call)
    x, places = (
        build.ref(call.arguments["inputs"]),
        build.ref(build.shaped(call.arguments["coordinates"])),
    )
    shape, (rank, *out) = build.shape(x), build.shape(places)
    if places.step < 0:
        _within(call.inputs[places.index])
    grid = build.transpose(build.reshape(places, (rank, -1)), (1, 0))
    grid = build.take(grid, build.ref(np.arange(rank)[::-1].copy()), 1)
    count = int(np.prod(out))
    if rank == 1:  # a line is an image of one row
        shape, grid = (1, *shape), build.concat([grid, build.ref(np.zeros((count, 1)))], 1)
    image, grid = (
        build.reshape(x, (1, 1, *shape)),
        build.reshape(grid, (1, *(1,) * (len(shape) - 1), count, len(shape))),
    )
    found = build.add(sampler, image, grid, shape=(1, 1, *(1,) * (len(shape) - 1), count))
    return build.reshape(found, out)


@operation("AffineTransform")
def _affine_transform(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """Places (a0 x + a1 y + a2, b0 x + b1 y + b2) / (c0 x + c1 y + 1); on PyTorch Keras knows no
    c."""
    if call.inputs[0].dtype.kind != "f":
        raise Undescribed("integer inputs are not supported, since it rounds the result")
    if call.backend not in ("tensorflow", "torch"):
        raise Undescribed(f"boundary handling of the {call.backend} backend is not modelled")
    mode = {"bilinear": "linear", "nearest": "nearest"}[op.interpolation]
    sampler = _sampler(op, mode, ("constant", "nearest", "reflect"), call)
    images, transform = (
        build.ref(call.arguments["images"]),
        build.ref(build.shaped(call.arguments["transform"])),
    )
    whole = build.shape(images)
    if len(whole) == 3:
        images = build.reshape(images, (1, *whole))
    last = data_format(op, call) == "channels_last"
    if last:
        images = build.transpose(images, (0, 3, 1, 2))
    batch, channels, height, width = build.shape(images)
    single = call.backend == "tensorflow"
    rows = build.reshape(
        build.add(ops.Cast(to="float32"), transform) if single else transform, (-1, 8)
    )
    count = build.shape(rows)[0]
    matrices = build.reshape(build.concat([rows, build.ref(np.ones((count, 1)))], 1), (count, 3, 3))
    y, x = np.indices((height, width)).reshape(2, -1)
    base = build.ref(np.stack([x, y, np.ones_like(x)], axis=1).astype(np.float64))
    moved = build.product(base, build.transpose(matrices, (0, 2, 1)))
    places = build.part(moved, 2, 0, 2)
    values = np.asarray(
        call.inputs[transform.index] if transform.step < 0 else call.arguments["transform"]
    )
    if np.reshape(values, (-1, 8))[:, 6:].any():
        if call.backend == "torch":
            raise Undescribed(
                "its last two coefficients are not 0, which the torch backend treats differently"
            )
        places = build.add(ops.Div(), places, build.part(moved, 2, 2, 3))
    grid = build.reshape(places, (count, height, width, 2))
    if count != batch:
        grid = build.expand(grid, (batch, height, width, 2))
    found = build.add(
        replace(sampler, single=single), images, grid, shape=(batch, channels, height, width)
    )
    return build.reshape(build.transpose(found, (0, 2, 3, 1)) if last else found, whole)
