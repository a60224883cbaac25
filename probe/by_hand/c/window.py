"""Pooling: the largest of each window, and means whose divisor is a power of two."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from probe import ops
from probe.by_hand.c.integers import Integers, NotFixedPoint, at_least_32, narrowest
from probe.by_hand.c.program import CProgram
from probe.by_hand.c.registry import writes
from probe.by_hand.c.text import axis_letters, nest, plus, times

_IN, _OUT, _TAPS = ("h", "w", "d"), ("p", "q", "r"), ("i", "j", "k")


@writes(ops.MaxPool)
def _max_pool(op: ops.MaxPool, program: CProgram, x: Integers) -> Integers:
    windows, inside = _windows(op, x.values, op.dilations)
    cells = tuple(range(-len(op.kernel), 0))
    values = np.where(inside, windows, x.low).max(axis=cells)
    if not np.broadcast_to(inside, windows.shape).any(axis=cells).all():
        raise NotFixedPoint("a window lies in the padding alone")
    made = program.made("pooled", values, x.exponent, (x.low, x.high), x)
    ctype = narrowest(x.low, x.high)
    body = [
        f"{ctype} largest = {x.low};",
        *_cells(op, x, op.dilations, "if ({x} > largest) largest = {x};"),
        f"{made.at(['b', 'c', *_OUT[: len(op.kernel)]])} = largest;",
    ]
    program.step("pool", _positions(made, body), "The largest of each window.")
    return made


@writes(ops.AveragePool)
def _average_pool(op: ops.AveragePool, program: CProgram, x: Integers) -> Integers:
    ones = (1,) * len(op.kernel)
    windows, inside = _windows(op, x.values, ones)
    cells = tuple(range(-len(op.kernel), 0))
    counts = np.broadcast_to(inside, windows.shape).sum(axis=cells)
    size = int(np.prod(op.kernel))
    if op.divisor_override is not None:
        divisors = {int(op.divisor_override)}
    elif op.count_include_pad:
        divisors = {size}
    else:
        divisors = {*np.unique(counts).tolist()}
    values = np.where(inside, windows, 0).sum(axis=cells)
    low, high = min(0, x.low) * size, max(0, x.high) * size
    made = program.made("sums", values, x.exponent - _shift(divisors), (low, high), x)
    ctype = narrowest(low, high)
    body = [
        f"{at_least_32(low, high)} sum = 0;",
        *_cells(op, x, ones, "sum += {x};"),
        f"{made.at(['b', 'c', *_OUT[: len(op.kernel)]])} = ({ctype})sum;",
    ]
    program.step("pool", _positions(made, body), _divided(divisors))
    return made


def _shift(divisors: set[int]) -> int:
    """The one exponent of two that all windows are divided by."""
    if len(divisors) > 1:
        told = ", ".join(map(str, sorted(divisors)))
        raise NotFixedPoint(f"its means are of {told} cells, which no one shift divides by")
    (count,) = divisors
    if count & (count - 1) or not count:
        raise NotFixedPoint(f"a mean of {count} cells is no shift: {count} is no power of two")
    return count.bit_length() - 1


def _divided(divisors: set[int]) -> str:
    (count,) = divisors
    return (
        f"The sums of each window: the mean is a division by {count}, which moves the point by "
        f"{count.bit_length() - 1} bits and no digit."
    )


def _windows(
    op: ops.MaxPool | ops.AveragePool, x: np.ndarray, dilations: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The cells of each window, and which of them lie in the input."""
    if op.ceil_mode:
        raise NotFixedPoint("its windows reach beyond the padding (ceil_mode)")
    if len(op.kernel) > len(_OUT):
        raise NotFixedPoint(f"it has {len(op.kernel)} spatial axes")
    pads = ((0, 0), (0, 0), *op.pads)
    spans = [(size - 1) * step + 1 for size, step in zip(op.kernel, dilations, strict=True)]
    axes = tuple(range(2, x.ndim))
    select = (slice(None), slice(None), *(slice(None, None, step) for step in op.strides))
    select += tuple(slice(None, None, step) for step in dilations)
    inside = np.pad(np.ones((1, 1, *x.shape[2:]), bool), pads)
    return (
        sliding_window_view(np.pad(x, pads), spans, axis=axes)[select],
        sliding_window_view(inside, spans, axis=axes)[select],
    )


def _cells(
    op: ops.MaxPool | ops.AveragePool, x: Integers, dilations: Sequence[int], statement: str
) -> list[str]:
    """The loops over the cells of a window, with ``{x}`` for a cell."""
    spatial = len(op.kernel)
    tests, begin = list[str](), list[str]()
    for axis in range(spatial):
        letter, (before, after) = _IN[axis], op.pads[axis]
        tap = times(_TAPS[axis], dilations[axis])
        text = plus(f"{times(_OUT[axis], op.strides[axis])} + {tap}", -before)
        if before or after or x.shape[2 + axis] > 1:  # of a single cell no index is used
            begin.append(f"const int {letter} = {text};")
        if before:
            tests.append(f"{letter} < 0")
        if after:
            tests.append(f"{letter} >= {x.shape[2 + axis]}")
    if tests:
        begin.append(f"if ({' || '.join(tests)}) continue; /* padding does not count */")
    cell = x.at(["b", "c", *_IN[:spatial]])
    body = [*begin, statement.replace("{x}", cell)]
    return nest(zip(_TAPS[:spatial], op.kernel, strict=True), body)


def _positions(made: Integers, body: Sequence[str]) -> list[str]:
    letters = ("b", *_OUT[: made.values.ndim - 2], "c")
    sizes = [made.shape[0], *made.shape[2:], made.shape[1]]
    return nest(zip(letters, sizes, strict=True), body)


@writes(ops.GlobalMaxPool)
def _global_max(op: ops.GlobalMaxPool, program: CProgram, x: Integers) -> Integers:
    values = x.values.max(axis=op.axes, keepdims=op.keepdims)
    bounds = x.low, x.high
    ctype = narrowest(*bounds)
    begin, each = f"{ctype} largest = {x.low};", "if ({x} > largest) largest = {x};"
    return _reduced(program, x, values, op.axes, op.keepdims, bounds, (begin, each, "largest"), 0)


@writes(ops.GlobalAveragePool)
def _global_mean(op: ops.GlobalAveragePool, program: CProgram, x: Integers) -> Integers:
    count = int(np.prod([x.shape[axis] for axis in op.axes]))
    values = x.values.sum(axis=op.axes, keepdims=op.keepdims)
    bounds = min(0, x.low) * count, max(0, x.high) * count
    ctype = narrowest(*bounds)
    begin, each = f"{at_least_32(*bounds)} sum = 0;", "sum += {x};"
    shift = _shift({count})
    parts = begin, each, f"({ctype})sum"
    return _reduced(program, x, values, op.axes, op.keepdims, bounds, parts, shift)


def _reduced(
    program: CProgram,
    x: Integers,
    values: np.ndarray,
    axes: Sequence[int],
    keepdims: bool,
    bounds: tuple[int, int],
    parts: tuple[str, str, str],
    shift: int,
) -> Integers:
    """One number for all elements along some axes."""
    begin, each, end = parts
    gone = {axis % x.values.ndim for axis in axes}
    letters = axis_letters(x.values.ndim)
    kept = [k for k in range(x.values.ndim) if k not in gone]
    like = x
    if not keepdims:
        ranks = sorted(x.order[k] for k in kept)
        order = tuple(ranks.index(x.order[k]) for k in kept)
        like = Integers("", values, x.exponent, x.low, x.high, order)
    made = program.made("pooled", values, x.exponent - shift, bounds, like)
    target = [letters[k] if k in kept else "0" for k in range(x.values.ndim)]
    if not keepdims:
        target = [letters[k] for k in kept]
    inner = nest(
        zip([letters[k] for k in sorted(gone)], [x.shape[k] for k in sorted(gone)], strict=True),
        [each.replace("{x}", x.at(letters))],
    )
    body = [begin, *inner, f"{made.at(target)} = {end};"]
    words = f"The mean divides by {2**shift}: the point moves by {shift} bits." * (shift > 0)
    loops = zip([letters[k] for k in kept], [x.shape[k] for k in kept], strict=True)
    program.step("pool", nest(loops, body), words)
    return made


@writes(ops.ReduceSum)
def _reduce_sum(op: ops.ReduceSum, program: CProgram, x: Integers) -> Integers:
    axes = [axis % x.values.ndim for axis in op.axes] or list(range(x.values.ndim))
    count = int(np.prod([x.shape[axis] for axis in axes]))
    values = np.asarray(x.values.sum(axis=tuple(axes), keepdims=op.keepdims))
    bounds = min(0, x.low) * count, max(0, x.high) * count
    parts = (
        f"{at_least_32(*bounds)} sum = 0;",
        "sum += {x};",
        f"({narrowest(*bounds)})sum",
    )
    return _reduced(program, x, values, axes, op.keepdims, bounds, parts, 0)
