"""Elements moved, and none changed."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.reordered import reordered
from probe.by_hand.values import ATOM, Order, Value, as_tuple, composed, listed, number, reshaped
from probe.by_hand.writer import HandWriter


@writes(ops.Transpose)
def _transpose(op: ops.Transpose, w: HandWriter, x: Value) -> Value:
    perm = [int(axis) % x.rank for axis in op.perm]
    return replace(x, order=composed(x.order, perm))


@writes(ops.Outputs)
def _outputs(op: ops.Outputs, w: HandWriter, *values: Value) -> tuple[Value, ...]:
    return values


@writes(ops.Reshape)
def _reshape(op: ops.Reshape, w: HandWriter, x: Value) -> Value:
    if x.own_shape == w.shape():
        return x
    x = w.plain(x)
    return w.result(reshaped(x.array, w.shape()))


_MODES = {mode: f'mode="{mode}"' for mode in ("reflect", "edge", "wrap", "symmetric")}


@writes(ops.Pad)
def _pad(op: ops.Pad, w: HandWriter, x: Value) -> Value:
    pads: list[tuple[int, int]] = [(0, 0)] * x.rank
    for axis, pair in zip(x.axes, op.pads, strict=True):
        pads[axis] = pair
    if op.mode == "constant":
        how = f", constant_values={number(op.value)}" if op.value else ""
    elif op.mode in _MODES:
        how = f", {_MODES[op.mode]}"
    else:
        raise Unwritten("a padding mode of its own")
    return w.result(f"np.pad({x.text}, {pairs(pads)}{how})", ATOM, x.order)


def pairs(pads: Sequence[tuple[int, int]]) -> str:
    """Pairs of whole numbers as a tuple."""
    words = [as_tuple(pair) for pair in pads]
    return f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})"


def indexed(w: HandWriter, x: Value, words: Sequence[str], order: Order) -> Value:
    """Elements of x by an index a text axis, of which whole ones behind and before are left out."""
    index = [*words]
    while index and index[-1] == ":":
        index.pop()
    if not index:
        return w.result(x.text, x.level, order)
    lead = next(place for place, word in enumerate(index) if word != ":")
    if lead > 1 and len(index) == x.rank and "None" not in index:
        index = ["...", *index[lead:]]
    return w.result(f"{x.at(ATOM)}[{', '.join(index)}]", ATOM, order)


@writes(ops.Slice)
def _slice(op: ops.Slice, w: HandWriter, x: Value) -> Value:
    words = [":"] * x.rank
    steps = op.steps or (1,) * x.rank
    for axis, start, stop, step in zip(x.axes, op.starts, op.stops, steps, strict=True):
        words[axis] = _cut(start, _end(stop, step, x.shape[axis]), step)
    return indexed(w, x, words, x.order)


def _end(stop: int | None, step: int, size: int) -> int | None:
    """Where a slice ends; None where that is the end of the axis."""
    if stop is not None and step > 0 and stop >= size:
        return None
    return stop


def _cut(start: int | None, stop: int | None, step: int) -> str:
    begin = "" if start is None or (start == 0 and step > 0) else str(int(start))
    end = "" if stop is None else str(int(stop))
    return f"{begin}:{end}" + (f":{int(step)}" if step != 1 else "")


@writes(ops.Flip)
def _flip(op: ops.Flip, w: HandWriter, x: Value) -> Value:
    words = [":"] * x.rank
    words[x.axes[op.axis]] = "::-1"
    return indexed(w, x, words, x.order)


@writes(ops.Take)
def _take(op: ops.Take, w: HandWriter, x: Value) -> Value:
    order = np.asarray(op.order)
    if order.ndim != 1:
        raise Unwritten("places that are no list")
    axis = x.axes[op.axis]
    found = reordered(x, [int(place) for place in order], op.axis % x.rank)
    if found is not None and order.size == x.shape[axis]:
        return found
    if order.size <= _FEW:
        places = listed(order.tolist())
    else:
        places = w.constant("places", order).text
    return w.result(f"np.take({x.text}, {places}, axis={axis})", ATOM, x.order)


_FEW = 12


@writes(ops.Squeeze)
def _squeeze(op: ops.Squeeze, w: HandWriter, x: Value) -> Value:
    gone = {x.axes[axis] for axis in op.axes}
    order = order_without(x, gone)
    base, cuts = _cuts_of(x)
    if base:
        words = [_place(cut) if axis in gone else cut for axis, cut in enumerate(cuts)]
        return indexed(w, replace(x, text=base), words, order)
    words = ["0" if axis in gone else ":" for axis in range(x.rank)]
    return indexed(w, x, words, order)


def _cuts_of(x: Value) -> tuple[str, list[str]]:
    """The name of what x is a slice of, and the slice along each axis; "" where it is none."""
    found = re.fullmatch(r"(\w+)\[([-\d:, ]+)\]", x.text)
    if found is None:
        return "", []
    cuts = found[2].split(", ")
    if len(cuts) > x.rank or not all(cut.count(":") == 1 for cut in cuts):
        return "", []
    return found[1], [*cuts, *[":"] * (x.rank - len(cuts))]


def _place(cut: str) -> str:
    """The one place that a slice leaves."""
    return cut.partition(":")[0] or "0"


def order_without(x: Value, gone: Collection[int]) -> Order:
    """The order of what is left without some axes of the expression."""
    kept = [axis for axis in range(x.rank) if axis not in gone]
    order = tuple(kept.index(axis) for axis in x.axes if axis not in gone)
    return None if order == tuple(range(len(order))) else order


@writes(ops.Unsqueeze)
def _unsqueeze(op: ops.Unsqueeze, w: HandWriter, x: Value) -> Value:
    x, rank = w.plain(x), x.rank + len(op.axes)
    new = {axis % rank for axis in op.axes}
    words = ["None" if axis in new else ":" for axis in range(rank)]
    return indexed(w, x, words, None)


@writes(ops.Grouped)
def _grouped(op: ops.Grouped, w: HandWriter, x: Value) -> Value:
    x = w.plain(x)
    return w.result(reshaped(x.array, w.shape()))


@writes(ops.Expand)
def _expand(op: ops.Expand, w: HandWriter, x: Value) -> Value:
    x = w.plain(x)
    return w.result(f"np.broadcast_to({x.text}, {as_tuple(w.shape())})")


@writes(ops.Tile)
def _tile(op: ops.Tile, w: HandWriter, x: Value) -> Value:
    x = w.plain(x)
    return w.result(f"np.tile({x.text}, {as_tuple(op.repeats)})")
