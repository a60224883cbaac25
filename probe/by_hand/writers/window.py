"""Pools: the mean or the largest value of windows, of cells that tile an input, of whole axes."""

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, PRODUCT, Value, as_tuple, listed, sizes_of
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.along_axis import over, reduced
from probe.by_hand.writers.linear import windows_of

_FEW, _LISTED = 10, 32
"""So many cells along an axis are listed, and so many counts of elements."""


@writes(ops.GlobalAveragePool)
def _global_mean(op: ops.GlobalAveragePool, w: HandWriter, x: Value) -> Value:
    return reduced(w, x, op.axes, op.keepdims, "mean")


@writes(ops.GlobalMaxPool)
def _global_max(op: ops.GlobalMaxPool, w: HandWriter, x: Value) -> Value:
    return reduced(w, x, op.axes, op.keepdims, "max")


@writes(ops.MaxPool)
def _max_pool(op: ops.MaxPool, w: HandWriter, x: Value) -> Value:
    sizes, ones = x.own_shape[2:], op.dilations
    kernel, pads = op._trimmed(sizes, op._effective_pads(sizes, op.ceil_mode, ones), ones)
    x, around = _cut_to(w, x, pads)
    fill = ", constant_values=-np.inf"
    if w.dtype().kind != "f":
        fill = f", constant_values={np.iinfo(w.dtype()).min}"
    windows = windows_of(w, x, kernel, op.strides, around, op.dilations, fill)
    return w.result(f"{windows.text}.max(axis={_taps(kernel)})", ATOM, x.order)


@writes(ops.AveragePool)
def _average_pool(op: ops.AveragePool, w: HandWriter, x: Value) -> Value:
    pads, divisor = op._layout(x.own_shape[2:])
    kernel, pads = op._trimmed(x.own_shape[2:], pads, (1,) * len(op.kernel))
    x, around = _cut_to(w, x, pads)
    windows = windows_of(w, x, kernel, op.strides, around, (1,) * len(kernel))
    if (divisor == math.prod(kernel)).all():
        return w.result(f"{windows.text}.mean(axis={_taps(kernel)})", ATOM, x.order)
    if (divisor == divisor.flat[0]).all():
        counts = Value(str(int(divisor.flat[0])), ())
    else:
        counts = _counts(w, x, divisor, kernel)
    text = f"{windows.text}.sum(axis={_taps(kernel)}) / {counts.at(ATOM)}"
    return w.result(text, PRODUCT, x.order)


def _counts(w: HandWriter, x: Value, divisor: np.ndarray, kernel: Sequence[int]) -> Value:
    """How many elements of each window are counted: as the product of those along each axis, where
    these are few."""
    lines = [
        np.moveaxis(divisor, axis, 0).reshape(size, -1)[:, 0]
        for axis, size in enumerate(divisor.shape)
    ]
    parts = [
        (line * size / line.max()).astype(int) for line, size in zip(lines, kernel, strict=True)
    ]
    whole, behind = reduce(np.multiply.outer, parts), x.rank - 1 - max(x.axes[2:])
    few = max(divisor.shape) <= _LISTED and divisor.ndim < 3
    if not few or not np.array_equal(whole, divisor) or [*x.axes[2:]] != sorted(x.axes[2:]):
        ones = np.ones((1,) * 2 + divisor.shape) * divisor
        return w.constant("counts", ones.transpose(np.argsort(x.axes)))
    texts = ", ".join(listed(part) for part in parts)
    text = f"np.outer({texts})" if divisor.ndim > 1 else f"np.array({texts})"
    if behind:
        text += f"[{', '.join([':'] * divisor.ndim + ['None'] * behind)}]"
    return w.let("counts", Value(text, (*divisor.shape, *(1,) * behind)), "elements of each window")


def _taps(kernel: Sequence[int]) -> str:
    """The last axes of windows."""
    return as_tuple(range(-len(kernel), 0)) if len(kernel) > 1 else "-1"


def _cut_to(
    w: HandWriter, x: Value, pads: Sequence[tuple[int, int]]
) -> tuple[Value, list[tuple[int, int]]]:
    """The input without what no window reaches, a negative pad at its end, and the other pads."""
    words, shape = [":"] * x.rank, list(x.shape)
    for axis, (_, after) in zip(x.axes[2:], pads, strict=True):
        if after < 0:
            words[axis], shape[axis] = f":{after}", shape[axis] + after
    rest = [(before, max(0, after)) for before, after in pads]
    if set(words) == {":"}:
        return x, rest
    while words[-1] == ":":
        words.pop()
    return w.let("reached", Value(f"{x.at(ATOM)}[{', '.join(words)}]", tuple(shape), x.order)), rest


@writes(ops.AdaptiveAveragePool)
def _adaptive_mean(op: ops.AdaptiveAveragePool, w: HandWriter, x: Value) -> Value:
    return _adaptive(op.output_size, w, x, "mean")


@writes(ops.AdaptiveMaxPool)
def _adaptive_max(op: ops.AdaptiveMaxPool, w: HandWriter, x: Value) -> Value:
    return _adaptive(op.output_size, w, x, "max")


def _adaptive(counts: Sequence[int], w: HandWriter, x: Value, method: str) -> Value:
    axes = x.axes[-len(counts) :]
    sizes = [x.shape[axis] for axis in axes]
    if set(counts) == {1}:
        return w.result(f"{x.at(ATOM)}.{method}({over(axes, True)})", ATOM, x.order)
    if all(count and size % count == 0 for size, count in zip(sizes, counts, strict=True)):
        return _tiled(counts, w, x, method)
    if any(not 0 < count <= _FEW for count in counts):
        raise Unwritten("cells of unequal sizes, more than ten along an axis")
    for axis, size, count in zip(axes, sizes, counts, strict=True):
        ends = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        x = stacked(w, x, axis, ends, method)
    return w.result(x.text, x.level, x.order)


def _tiled(counts: Sequence[int], w: HandWriter, x: Value, method: str) -> Value:
    """Cells of equal sizes as axes of their own."""
    cells = dict(zip(x.axes[-len(counts) :], counts, strict=True))
    if all(x.shape[axis] == count for axis, count in cells.items()):
        return x
    shape, taken = list[int](), list[int]()
    for axis, size in enumerate(x.shape):
        if axis in cells:
            taken.append(len(shape) + 1)
            shape += [cells[axis], size // cells[axis]]
        else:
            shape.append(size)
    tiles = w.let("tiles", Value(f"{x.at(ATOM)}.reshape{sizes_of(shape)}", tuple(shape)))
    return w.result(f"{tiles.text}.{method}({over(taken, False)})", ATOM, x.order)


def stacked(
    w: HandWriter, x: Value, axis: int, ends: Sequence[tuple[int, int]], method: str
) -> Value:
    """Cells along one axis, from where to where each reaches, listed."""
    x = w.named("values", x)
    lead, count = ":, " * axis, len(ends)
    parts = [f"{x.text}[{lead}{first}:{end}]" for first, end in ends]
    listed = ", ".join(f"{part}.{method}(axis={axis})" for part in parts)
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    comment = f"{count} cells that tile axis {axis}"
    return w.let("pooled", Value(f"np.stack([{listed}], axis={axis})", shape, x.order), comment)
