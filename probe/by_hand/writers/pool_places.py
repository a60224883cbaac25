"""Pools that say which element they took, what puts it back, and pools by norms."""

import math

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, POWER, Value, as_tuple, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.linear import windows_of


@writes(ops.MaxPoolIndices)
def _max_pool_indices(op: ops.MaxPoolIndices, w: HandWriter, x: Value) -> tuple[Value, Value]:
    sizes = x.own_shape[2:]
    if op.ceil_mode or op.placeless(sizes):
        raise Unwritten("windows that reach beyond the padding")
    x = w.plain(x)
    taps, fill = math.prod(op.kernel), ", constant_values=-np.inf"
    windows = windows_of(w, x, op.kernel, op.strides, op.pads, op.dilations, fill)
    shape = (*windows.shape[: x.rank], taps)
    text = f"{windows.text}.reshape{as_tuple(shape)}"
    cells = w.let("cells", Value(text, shape))
    plane = f"np.arange({math.prod(sizes)}).reshape{as_tuple((1, 1, *sizes))}"
    numbers = w.let("numbers", Value(plane, (1, 1, *sizes)), "the elements of a plane, row by row")
    others = windows_of(
        w, numbers, op.kernel, op.strides, op.pads, op.dilations, ", constant_values=-1"
    )
    flat = f"{others.text}.reshape{as_tuple((1, 1, *shape[2:]))}"
    best = w.let("best", Value(f"{cells.text}.argmax(axis=-1)[..., None]", (*shape[:-1], 1)))
    taken = f"np.take_along_axis(np.broadcast_to({flat}, {as_tuple(shape)}), {best.text}, axis=-1)"
    places = w.let("places", Value(f"{taken}[..., 0]", shape[:-1]))
    return w.result(f"{cells.text}.max(axis=-1)"), places


@writes(ops.MaxUnpool)
def _max_unpool(op: ops.MaxUnpool, w: HandWriter, x: Value, places: Value) -> Value:
    x, places = w.plain(x), w.plain(places)
    lead = x.shape[:2]
    name = w.local("plane")
    whole = (*lead, math.prod(op.sizes))
    flat = f".reshape({lead[0]}, {lead[1]}, -1)"
    at = f"{places.at(ATOM)}{flat}.astype(int)"
    lines = [
        f"{name} = np.zeros({as_tuple(whole)})",
        f"np.put_along_axis({name}, {at}, {x.at(ATOM)}{flat}, axis=2)",
    ]
    w.block(lines, "each value at its place, counted row by row in its plane")
    return w.result(f"{name}.reshape{as_tuple((*lead, *op.sizes))}")


@writes(ops.LpPool)
def _lp_pool(op: ops.LpPool, w: HandWriter, x: Value) -> Value:
    kernel, pads = op._held(x.own_shape[2:])
    if op.ceil_mode or any(pad < 0 for pair in pads for pad in pair):
        raise Unwritten("windows that reach beyond the padding")
    p = number(op.p)
    powers = w.let("powers", Value(f"{x.at(ATOM)} ** {p}", x.shape, x.order))
    windows = windows_of(w, powers, kernel, op.strides, pads, (1,) * len(kernel))
    total = f"{windows.text}.sum(axis={as_tuple(range(-len(kernel), 0))})"
    return w.result(f"{total} ** (1 / {p})", POWER, x.order)


@writes(ops.AdaptiveMaxPoolIndices)
def _adaptive_max_pool_indices(
    op: ops.AdaptiveMaxPoolIndices, w: HandWriter, x: Value
) -> tuple[Value, Value]:
    x = w.named("values", w.plain(x))
    lead, sizes = x.shape[: -len(op.output_size)], x.shape[-len(op.output_size) :]
    plane = f"np.arange({math.prod(sizes)}).reshape{as_tuple(sizes)}"
    numbers = w.let("numbers", Value(plane, sizes), "the elements of a plane, row by row")
    names = [w.local(hint) for hint in ("pooled", "places", "cell", "flat")]
    pooled, places, cell, flat = names
    letters = [w.local(letter) for letter in "ijk"[: len(sizes)]]
    spans = [
        f"{i} * {size} // {count}:-(-({i} + 1) * {size} // {count})"
        for i, size, count in zip(letters, sizes, op.output_size, strict=True)
    ]
    at = f"..., {', '.join(letters)}"
    counts = ", ".join(map(str, op.output_size))
    index = letters[0] if len(letters) == 1 else ", ".join(letters)
    lines = [
        f"{pooled} = np.zeros({as_tuple(w.shape())})",
        f"{places} = np.zeros({as_tuple(w.shape())}, dtype=int)",
        f"for {index}{',' * (len(letters) == 1)} in np.ndindex({counts}):",
        f"    {cell} = np.s_[..., {', '.join(spans)}]",
        f"    {flat} = {x.text}[{cell}].reshape{as_tuple((*lead, -1))}",
        f"    {pooled}[{at}] = {flat}.max(axis=-1)",
        f"    {places}[{at}] = {numbers.text}[{cell}].reshape(-1)[{flat}.argmax(axis=-1)]",
    ]
    w.block(lines, "cells that tile the plane, some of them larger than others")
    return Value(pooled, w.shape()), Value(places, w.shape(1))


@writes(ops.FractionalMaxPool)
def _fractional_max_pool(op: ops.FractionalMaxPool, w: HandWriter, x: Value) -> tuple[Value, Value]:
    x = w.plain(x)
    rank, shape = len(op.kernel), w.shape()
    terms, sizes = [], x.shape[2:]
    for axis, (starts, size) in enumerate(zip(op.starts, op.kernel, strict=True)):
        start = w.constant("starts", starts).at(ATOM)
        cells = [":" if at == axis else "None" for at in range(rank)]
        taps = ["None"] * rank
        index = ", ".join([":", ":", *cells, *taps])
        behind = ", None" * (rank - 1 - axis)
        places = f"{start}[{index}] + np.arange({size})" + (f"[:{behind}]" if behind else "")
        factor = math.prod(sizes[axis + 1 :])
        terms.append(f"{factor} * ({places})" if factor > 1 else places)
    whole = (*shape, math.prod(op.kernel))
    numbers = w.let(
        "numbers",
        Value(f"({' + '.join(terms)}).reshape{as_tuple(whole)}", whole),
        "the elements of each window, counted row by row in their plane",
    )
    flat = f".reshape({shape[0]}, {shape[1]}, -1)"
    taken = f"np.take_along_axis({x.at(ATOM)}{flat}, {numbers.text}{flat}, axis=2)"
    cells_of = w.let("cells", Value(f"{taken}.reshape{as_tuple(whole)}", whole))
    best = w.let("best", Value(f"{cells_of.text}.argmax(axis=-1)[..., None]", (*shape, 1)))
    chosen = f"np.take_along_axis({numbers.text}, {best.text}, axis=-1)[..., 0]"
    places_of = w.let("places", Value(chosen, shape))
    return w.result(f"{cells_of.text}.max(axis=-1)"), places_of
