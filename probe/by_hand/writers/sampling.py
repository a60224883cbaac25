"""Elements at computed places, rows of sequences of different lengths, what is there at all."""

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, Value, as_tuple, listed, number
from probe.by_hand.writer import HandWriter

_FEW = 24
"""So many lengths are written out."""


@writes(ops.GridSample)
def _grid_sample(op: ops.GridSample, w: HandWriter, x: Value, grid: Value) -> Value:
    if op.mode not in ("linear", "nearest") or op.padding not in ("zeros", "border"):
        raise Unwritten("places that are reflected, or a cubic kernel")
    x, grid = w.plain(x), w.named("grid", w.plain(grid))
    sizes, places = x.shape[2:], grid.shape[1:-1]
    if len(sizes) > 3 or not all(sizes):
        raise Unwritten("maps of so many axes")
    names = [w.local(f"at_{letter}") for letter in "dhw"[-len(sizes) :]]
    lines = []
    for axis, (name, size) in enumerate(zip(names, sizes, strict=True)):
        at = f"{grid.text}[..., {len(sizes) - 1 - axis}]"
        if op.align and not op.pixels:
            at = f"({at} + 1) * {number((size - 1) / 2)}"
        elif not op.pixels:
            at = f"(({at} + 1) * {size} - 1) / 2"
        lines.append(f"{name} = {at}")
    batch, total = w.local("batch"), w.local("total")
    spread = ", None" * len(places)
    lines.append(f"{batch} = np.arange({x.shape[0]})[:{spread}]")
    whole = (x.shape[0], *places, x.shape[1])
    if op.mode == "nearest":
        nearest = [f"np.round({name})" for name in names]
        text = _cells(op, x, batch, nearest, sizes)
        lines.append(f"{total} = {text}")
    else:
        lines += _corners(op, w, x, (batch, total, names), sizes, whole)
    w.block(lines, "a grid's first number is the place along the last axis")
    turn = (0, len(places) + 1, *range(1, len(places) + 1))
    return w.result(f"{total}.transpose{as_tuple(turn)}")


def _corners(
    op: ops.GridSample,
    w: HandWriter,
    x: Value,
    names: tuple[str, str, list[str]],
    sizes: tuple[int, ...],
    whole: tuple[int, ...],
) -> list[str]:
    """The mean of the elements around a place, nearer ones counting more."""
    batch, total, ats = names
    corners = [w.local(letter) for letter in "ijk"[: len(ats)]]
    steps = [f"np.floor({at}) + {corner}" for at, corner in zip(ats, corners, strict=True)]
    numbers = [w.local(f"near_{at[3:]}") for at in ats]
    lines = [f"{total} = np.zeros({as_tuple(whole)})"]
    each = f"np.ndindex{as_tuple([2] * len(ats))}" if len(ats) > 1 else "range(2)"
    lines.append(f"for {', '.join(corners)} in {each}:")
    lines += [f"    {name} = {text}" for name, text in zip(numbers, steps, strict=True)]
    share = " * ".join(
        f"(1 - np.abs({at} - {near}))" for at, near in zip(ats, numbers, strict=True)
    )
    cells = _cells(op, x, batch, numbers, sizes)
    lines.append(f"    {total} += {cells} * ({share})[..., None]")
    return lines


def _cells(
    op: ops.GridSample, x: Value, batch: str, numbers: list[str], sizes: tuple[int, ...]
) -> str:
    """The elements of these numbers, with their channels last; what is put outside."""
    inside = " & ".join(
        f"({name} >= 0) & ({name} <= {size - 1})" for name, size in zip(numbers, sizes, strict=True)
    )
    index = ", ".join(
        f"np.clip({name}, 0, {size - 1}).astype(int)"
        for name, size in zip(numbers, sizes, strict=True)
    )
    cells = f"{x.at(ATOM)}[{batch}, :, {index}]"
    if op.padding == "border":
        return cells
    return f"np.where(({inside})[..., None], {cells}, {number(op.fill)})"


def _lengths(w: HandWriter, sizes: tuple[int, ...]) -> str:
    if len(sizes) > _FEW or not sizes:
        raise Unwritten("many lengths")
    return listed(sizes)


@writes(ops.Packed)
def _packed(op: ops.Packed, w: HandWriter, x: Value) -> Value:
    x = w.named("values", w.plain(x))
    t, n = w.local("t"), w.local("n")
    rows = f"[{x.text}[{t}, :{n}] for {t}, {n} in enumerate({_lengths(w, op.sizes)})]"
    return w.result(f"np.concatenate({rows})")


@writes(ops.Unpacked)
def _unpacked(op: ops.Unpacked, w: HandWriter, x: Value) -> Value:
    x = w.named("values", w.plain(x))
    name, t, n, first = (w.local(hint) for hint in ("unpacked", "t", "n", "first"))
    lines = [
        f"{name}, {first} = np.zeros({as_tuple(w.shape())}), 0",
        f"for {t}, {n} in enumerate({_lengths(w, op.sizes)}):",
        f"    {name}[{t}, :{n}] = {x.text}[{first}:{first} + {n}]",
        f"    {first} += {n}",
    ]
    w.block(lines, "so many samples have each step; the rest is 0")
    return Value(name, w.shape())


@writes(ops.NonZero)
def _non_zero(op: ops.NonZero, w: HandWriter, x: Value) -> Value:
    return w.result(f"np.array(np.nonzero({w.plain(x).text}))")


@writes(ops.Unique)
def _unique(op: ops.Unique, w: HandWriter, x: Value) -> tuple[Value, ...]:
    if not op.rising:
        raise Unwritten("values in the order of their first")
    names = [w.local(hint) for hint in ("found", "first", "back", "counts")]
    asked = "return_index=True, return_inverse=True, return_counts=True"
    axis = "None" if op.axis is None else str(op.axis)
    lines = [f"{', '.join(names)} = np.unique({w.plain(x).text}, axis={axis}, {asked})"]
    w.block(lines, "the values, where each stands first, which stands where, and how often")
    found = [Value(name, w.shape(k)) for k, name in enumerate(names)]
    found[2] = Value(f"{names[2]}.reshape(-1)", w.shape(2))
    return tuple(found)


@writes(ops.NonMaxSuppression)
def _non_max_suppression(
    op: ops.NonMaxSuppression, w: HandWriter, boxes: Value, scores: Value
) -> Value:
    boxes, scores = w.named("boxes", w.plain(boxes)), w.named("scores", w.plain(scores))
    first, second = f"{boxes.text}[..., :2]", f"{boxes.text}[..., 2:]"
    if op.centred:
        first, second = f"{first} - {second} / 2", f"{first} + {second} / 2"
    corners = (*boxes.shape[:-1], 2)
    low = w.let("low", Value(f"np.minimum({first}, {second})", corners)).text
    high = w.let("high", Value(f"np.maximum({first}, {second})", corners)).text
    area = w.let("area", Value(f"({high} - {low}).prod(axis=-1)", corners[:-1])).text
    hints = ("chosen", "n", "k", "order", "count", "best", "sides", "shared", "whole")
    chosen, n, k, order, count, best, sides, shared, whole = (w.local(hint) for hint in hints)
    bound = [f"    {order} = {order}[{scores.text}[{n}, {k}, {order}] > {number(op.least or 0)}]"]
    lines = [
        f"{chosen} = np.zeros((0, 3), dtype=int)",
        f"for {n}, {k} in np.ndindex({scores.shape[0]}, {scores.shape[1]}):",
        f'    {order}, {count} = np.argsort(-{scores.text}[{n}, {k}], kind="stable"), 0',
        *(bound if op.least is not None else ()),
        f"    while {order}.size and {count} < {op.most}:",
        f"        {best}, {order}, {count} = {order}[0], {order}[1:], {count} + 1",
        f"        {chosen} = np.append({chosen}, [[{n}, {k}, {best}]], axis=0)",
        f"        {sides} = np.minimum({high}[{n}, {best}], {high}[{n}, {order}])",
        f"        {sides} = {sides} - np.maximum({low}[{n}, {best}], {low}[{n}, {order}])",
        f"        {shared} = np.maximum({sides}, 0).prod(axis=-1)",
        f"        {whole} = {area}[{n}, {best}] + {area}[{n}, {order}] - {shared}",
        f"        {whole} = np.where({whole} > 0, {whole}, np.inf)",
        f"        {order} = {order}[{shared} / {whole} <= {number(op.overlap)}]",
    ]
    w.block(lines, "by falling scores; what overlaps the chosen box by more is dropped")
    return Value(chosen, w.shape())
