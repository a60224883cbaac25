"""Resizing: the nearest element, or a matrix of shares for each axis."""

import math

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import PRODUCT, Value, number
from probe.by_hand.writer import HandWriter

_KERNELS = {
    "linear": (1, "np.maximum(0, 1 - {far})"),
    "cubic": (
        2,
        "np.where({far} <= 1, (({a} + 2) * {far} - ({a} + 3)) * {far} ** 2 + 1, "
        "np.where({far} < 2, {a} * ((({far} - 5) * {far} + 8) * {far} - 4), 0))",
    ),
    "mitchell": (
        2,
        "np.where({far} < 1, ((7 * {far} - 12) * {far} ** 2 + 16 / 3) / 6, np.where({far} < 2, "
        "(((-7 / 3 * {far} + 12) * {far} - 20) * {far} + 32 / 3) / 6, 0))",
    ),
    "gaussian": (2, "np.where({far} < 1.5, np.exp(-2 * {far} ** 2), 0)"),
    "lanczos3": (3, "np.where({far} < 3, np.sinc({far}) * np.sinc({far} / 3), 0)"),
    "lanczos5": (5, "np.where({far} < 5, np.sinc({far}) * np.sinc({far} / 5), 0)"),
}
"""How far each kernel reaches, and the share of an element that is so far away."""
_NEAREST = {
    "floor": "np.floor({at})",
    "ceil": "np.ceil({at})",
    "round_prefer_floor": "np.ceil({at} - np.float32(0.5))",
    "round_prefer_ceil": "np.floor({at} + np.float32(0.5))",
    "round_to_even": "np.round({at})",  # of an op with a mistake in it
}


@writes(ops.ResizeNearest)
def _nearest(op: ops.ResizeNearest, w: HandWriter, x: Value) -> Value:
    if op.rounding not in _NEAREST:
        raise Unwritten("another way of rounding")
    for axis, (scale, size) in enumerate(zip(op.scales, op.sizes, strict=True)):
        lies, have = x.axes[axis], x.own_shape[axis]
        shape = tuple(size if at == lies else n for at, n in enumerate(x.shape))
        way = op.coordinates, op.rounding
        whole = scale == int(scale) and size == have * int(scale)
        plain = way in (("asymmetric", "floor"), ("half_pixel", "round_prefer_ceil"))
        if scale == 1 and size == have:
            continue
        x = w.named("resized", x)
        if whole and plain:
            text = f"np.repeat({x.text}, {int(scale)}, axis={lies})"
        else:
            places = _places(op, w, scale, size, have)
            text = f"np.take({x.text}, {places}, axis={lies})"
        x = Value(text, shape, x.order)
    return x


def _places(op: ops.ResizeNearest, w: HandWriter, scale: float, size: int, have: int) -> str:
    """The name of the places that are taken along an axis, in float32 as the frameworks do."""
    step = f"np.float32({number(1 / scale)})"
    at = f"np.arange({size}, dtype=np.float32)"
    nearest = _NEAREST[op.rounding]
    if op.coordinates == "align_corners":
        text = f"{at} * np.float32({number((have - 1) / (size - 1) if size > 1 else 0.0)})"
    elif op.coordinates == "half_pixel" and op.rounding == "round_prefer_ceil":
        text, nearest = f"({at} + np.float32(0.5)) * {step}", _NEAREST["floor"]
    elif op.coordinates == "half_pixel":
        text = f"({at} + np.float32(0.5)) * {step} - np.float32(0.5)"
    else:
        text = f"{at} * {step}"
    text = f"np.clip({nearest.replace('{at}', text)}.astype(int), 0, {have - 1})"
    return w.let("places", Value(text, (size,))).text


@writes(ops.Resize)
def _resize(op: ops.Resize, w: HandWriter, x: Value) -> Value:
    if op.table or (op.mode not in _KERNELS and op.mode != "area"):
        raise Unwritten("coordinates that are rounded to steps")
    rank = len(op.sizes)
    x = w.named("values", x)
    lines = op.lines or (None,) * rank
    for axis, size, scale, line in zip(
        range(x.rank - rank, x.rank), op.sizes, op.scales, lines, strict=True
    ):
        lies, have = x.axes[axis], x.own_shape[axis]
        if have == size and scale == 1 and line is None and op.mode in ("linear", "cubic", "area"):
            continue
        x, rows = _rows(op, w, w.named("resized", x), axis, (size, scale, line))
        letters = "abcdefgh"[: x.rank]
        out = letters.replace(letters[lies], "z")
        shape = tuple(size if at == lies else n for at, n in enumerate(x.shape))
        text = f'np.einsum("{letters},z{letters[lies]}->{out}", {x.text}, {rows})'
        x = Value(text, shape, x.order)
    return x


def _rows(
    op: ops.Resize,
    w: HandWriter,
    x: Value,
    axis: int,
    line: tuple[int, float, tuple[float, float] | None],
) -> tuple[Value, str]:
    """The shares of the elements along an axis, for each output; and the input, with its edge
    repeated where shares lie outside of it."""
    size, scale, given = line
    have, lies = x.own_shape[axis], x.axes[axis]
    if op.mode == "area":
        return x, _area(w, have, size)
    at, shrunk = _centres(op, have, size, scale, given)
    reach, kernel = _KERNELS[op.mode]
    clipped = op.mode == "linear" and op.outside == "edge" and not op.antialias
    repeats = op.outside == "repeated" or (op.outside == "edge" and not op.antialias)
    if clipped:
        at = f"np.clip({at}, 0, {have - 1})"
    elif op.coordinates == "lines" and repeats:
        raise Unwritten("coordinates far outside")
    centre = w.let("at", Value(at, (size,)), "where each output lies in the input")
    first, count = 0, have
    if repeats and not clipped:
        before = math.ceil(reach * shrunk) + 1
        pads = ", ".join(f"({before}, {before})" if k == lies else "(0, 0)" for k in range(x.rank))
        wide = tuple(n + 2 * before * (k == lies) for k, n in enumerate(x.shape))
        text = f'np.pad({x.text}, ({pads},), mode="edge")'
        x = w.let("edged", Value(text, wide, x.order))
        first, count = -before, have + 2 * before
    places = f"np.arange({first}, {first + count})" if first else f"np.arange({count})"
    away = f"np.abs({places} - {centre.text}[:, None])"
    if shrunk != 1:
        away += f" / {number(shrunk)}"
    far = w.let("far", Value(away, (size, count)))
    text = kernel.replace("{far}", far.text).replace("{a}", number(op.a))
    rows = w.let("rows", Value(text, (size, count)), "the share of each element")
    if op.outside == "excluded" or op.antialias:
        total = f"{rows.text}.sum(axis=1, keepdims=True)"
        if op.coordinates == "lines":  # some may lie where no element is in reach
            total = w.let("total", Value(total, (size, 1))).text
            total = f"np.where({total} == 0, 1, {total})"
        text = f"{rows.text} / {total}"
        rows = w.let("rows", Value(text, (size, count)), "of those that there are")
    return x, rows.text


def _centres(
    op: ops.Resize, have: int, size: int, scale: float, line: tuple[float, float] | None
) -> tuple[str, float]:
    """Where each output lies, and how much wider the kernel is than one element."""
    step = 1 / scale
    at = f"np.arange({size})"
    if op.coordinates == "lines" and line is not None:
        text = f"{at} * {number(line[0])} + {number(line[1])}"
    elif op.coordinates == "half_pixel":
        text = f"({at} + 0.5) / {number(scale)} - 0.5"
    elif op.coordinates == "align_corners":
        step = (have - 1) / (size - 1) if size > 1 else step
        text = f"{at} * {number((have - 1) / (size - 1) if size > 1 else 0.0)}"
    else:
        text = f"{at} / {number(scale)}"
    return text, max(1.0, step) if op.antialias else 1.0


def _area(w: HandWriter, have: int, size: int) -> str:
    """The share of each element under each output cell."""
    edges = w.let("edges", Value(f"np.arange({size + 1}) * {have} / {size}", (size + 1,)))
    places = f"np.arange({have})"
    under = f"np.minimum({places} + 1, {edges.text}[1:, None])"
    text = f"np.maximum({under} - np.maximum({places}, {edges.text}[:-1, None]), 0)"
    shares = Value(f"{text} * {size} / {have}", (size, have), None, PRODUCT)
    return w.let("rows", shares, "the share of each element under a cell").text


_MEETING = {
    "floor": ("", "floor"),
    "ceil": ("", "ceil"),
    "round_prefer_floor": (" - 0.5", "ceil"),
    "round_prefer_ceil": (" + 0.5", "floor"),
}
"""What is added to a place, and how it is rounded then."""


@writes(ops.NearestOnLines)
def _nearest_on_lines(op: ops.NearestOnLines, w: HandWriter, x: Value) -> Value:
    if op.rounding not in _MEETING:
        raise Unwritten("another way of rounding")
    shift, function = _MEETING[op.rounding]
    for axis, (size, (slope, start)) in enumerate(zip(op.sizes, op.lines, strict=True)):
        lies, have = x.axes[axis], x.own_shape[axis]
        shape = tuple(size if k == lies else n for k, n in enumerate(x.shape))
        at = f"np.arange({size}) * {number(slope)} + {number(start)}{shift}"
        centre = w.let("at", Value(at, (size,)), "where each output lies in the input")
        whole = f"np.round({centre.text})"
        meets = f"np.abs({centre.text} - {whole}) <= 2**-20 * (np.abs({centre.text}) + 2)"
        nearest = f"np.where({meets}, {whole}, np.{function}({centre.text}))"
        text = f"np.clip({nearest}, 0, {have - 1}).astype(int)"
        places = w.let("places", Value(text, (size,)), "whole numbers within rounding stay")
        text = f"np.take({w.named('resized', x).text}, {places.text}, axis={lies})"
        x = Value(text, shape, x.order)
    return x
