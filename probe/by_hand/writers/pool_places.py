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
