"""Convolutions and matrix products."""

import math
import re
from collections.abc import Sequence

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, Value, as_tuple, reshaped, sizes_of
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.shape import pairs
from probe.ops.weight import Weight

_SPACE = {1: "t", 2: "hw", 3: "dhw"}
_TAPS = {1: "i", 2: "ij", 3: "ijk"}
_MANY = 1 << 23
"""From so many products on einsum is asked for the order that takes the least time."""


@writes(ops.MatMul)
def _matmul(op: ops.MatMul, w: HandWriter, x: Value) -> Value:
    kernel = w.weight(op.weight)
    if x.order is not None and x.axes[-1] != x.rank - 1:
        x = w.plain(x)
    right = w.plain(kernel)
    text = f"{x.at(PRODUCT)} @ {right.at(ATOM)}"
    return plus_bias(op.bias, w, w.result(text, PRODUCT, x.order), -1)


def plus_bias(bias: object, w: HandWriter, value: Value, axis: int) -> Value:
    """A value with a bias along one of the op's axes, where there is one."""
    if bias is None:
        return value
    assert isinstance(bias, Weight)
    vector = w.plain(w.weight(bias))
    if vector.is_zero:
        return value
    added = along(vector, value.axes[axis], value.rank)
    return Value(f"{value.text} + {added}", value.shape, value.order, SUM)


def along(vector: Value, axis: int, rank: int) -> str:
    """A vector that broadcasts along one axis of an array of that rank."""
    behind = rank - 1 - axis
    return vector.at(ATOM) + (f"[:{', None' * behind}]" if behind else "")


def windows_of(
    w: HandWriter,
    x: Value,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    fill: str = "",
) -> Value:
    """The windows over the last axes of the op's layout, padded, under a name; their taps are new
    axes at the end, behind the order of x."""
    spatial = x.axes[-len(kernel) :]
    if any(pair[0] < 0 or pair[1] < 0 for pair in pads):
        raise Unwritten("windows that leave a part of the input out")
    if any(map(any, pads)):
        amounts: list[tuple[int, int]] = [(0, 0)] * x.rank
        sizes = list(x.shape)
        for axis, pair in zip(spatial, pads, strict=True):
            amounts[axis] = pair
            sizes[axis] += sum(pair)
        text = f"np.pad({x.text}, {pairs(amounts)}{fill})"
        x = w.let("padded", Value(text, tuple(sizes), x.order))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    text = f"sliding_window_view({x.text}, {as_tuple(spans)}, axis={as_tuple(spatial)})"
    sizes, cuts = list(x.shape), ["", *[""] * (x.rank - 1)]
    for axis, span, step in zip(spatial, spans, strides, strict=True):
        sizes[axis] = (sizes[axis] - span) // step + 1
        cuts[axis] = f"::{step}" if step != 1 else ""
    inner = [f"::{d}" if d != 1 else "" for d in dilations]
    words = [cut or ":" for cut in (*cuts, *inner)]
    while words and words[-1] == ":":
        words.pop()
    if words:
        text += f"[{', '.join(words)}]"
    comment = ""
    if any(step != 1 for step in strides):
        comment = f"strides {as_tuple(strides)}"
    if any(d != 1 for d in dilations):
        comment += f"{', ' * bool(comment)}dilations {as_tuple(dilations)}"
    return w.let("windows", Value(text, (*sizes, *kernel)), comment)


@writes(ops.Conv)
def _conv(op: ops.Conv, w: HandWriter, x: Value, *given: Value) -> Value:
    kernel = given[0] if op.weight is None else w.weight(op.weight)
    rank = len(op.strides)
    if rank not in _SPACE or x.rank != rank + 2:
        raise Unwritten("a convolution of so many axes")
    sizes, space, taps = kernel.own_shape, _SPACE[rank], _TAPS[rank]
    windows = windows_of(w, x, sizes[2:], op.strides, op.pads, op.dilations)
    depthwise = sizes[1] == 1 and sizes[0] == op.groups == x.own_shape[1]
    if op.groups == 1:
        letters = x.letters(f"bc{space}")
        text = _einsum(w, f"{letters}{taps}", windows, kernel.letters(f"oc{taps}"), kernel, sizes)
        made = text(letters.replace("c", "o"))
    elif depthwise:
        letters = x.letters(f"bc{space}")
        alone = without_axis(kernel, 1)
        text = _einsum(w, f"{letters}{taps}", windows, alone.letters(f"c{taps}"), alone, sizes)
        made = text(letters)
    else:
        made = _grouped(op, w, x, windows, kernel)
    return plus_bias(op.bias, w, w.result(made, ATOM, x.order), 1)


def _einsum(w: HandWriter, left: str, x: Value, right: str, kernel: Value, sizes: Sequence[int]):  # type: ignore[no-untyped-def]
    work = math.prod(w.shape()) * math.prod(sizes[1:])
    way = ", optimize=True" if work > _MANY else ""

    def text(out: str) -> str:
        return f'np.einsum("{left},{right}->{out}", {x.text}, {kernel.text}{way})'

    return text


def without_axis(value: Value, axis: int) -> Value:
    """A value without an axis of one place."""
    lies = value.axes[axis]
    index = [":"] * value.rank
    index[lies] = "0"
    while index[-1] == ":":
        index.pop()
    word = "..., 0" if lies == value.rank - 1 and lies > 1 else ", ".join(index)
    rest = [at - (at > lies) for at in value.axes if at != lies]
    shape = tuple(size for at, size in enumerate(value.shape) if at != lies)
    order = None if rest == sorted(rest) else tuple(rest)
    return Value(f"{value.at(ATOM)}[{word}]", shape, order)


def split_axis(value: Value, axis: int, count: int) -> tuple[str, int]:
    """The text of a value with an axis of the op's layout in two, of which the first has ``count``
    places; and where the first lies."""
    lies = value.axes[axis]
    shape = [*value.shape[:lies], count, value.shape[lies] // count, *value.shape[lies + 1 :]]
    return reshaped(value.at(ATOM), shape), lies


def _grouped(op: ops.Conv, w: HandWriter, x: Value, windows: Value, kernel: Value) -> str:
    """A convolution by groups: the channels in two axes, of which the first is the group."""
    rank, groups = len(op.strides), op.groups
    space, taps = _SPACE[rank], _TAPS[rank]
    spread = Value(
        windows.text, windows.shape, x.order and (*x.order, *range(x.rank, windows.rank))
    )
    text, _ = split_axis(spread, 1, groups)
    letters = x.letters(f"bc{space}")
    shape = list(windows.shape)
    shape[x.axes[1] : x.axes[1] + 1] = [groups, x.shape[x.axes[1]] // groups]
    grouped = w.let("grouped", Value(text, tuple(shape)), f"{groups} groups of channels")
    split, _ = split_axis(kernel, 0, groups)
    sizes = kernel.own_shape
    left = letters.replace("c", "gc") + taps
    right = kernel.letters(f"oc{taps}").replace("o", "go")
    out = letters.replace("c", "go")
    work = math.prod(w.shape()) * math.prod(sizes[1:])
    way = ", optimize=True" if work > _MANY else ""
    made = f'np.einsum("{left},{right}->{out}", {grouped.text}, {split}{way})'
    whole = [0] * x.rank
    for axis, size in zip(x.axes, w.shape(), strict=True):
        whole[axis] = size
    return f"{made}.reshape{sizes_of(whole)}"


@writes(ops.Product)
def _product(op: ops.Product, w: HandWriter, x: Value, y: Value) -> Value:
    x, y = w.plain(x), w.plain(y)
    return w.result(f"{x.at(PRODUCT)} @ {y.at(ATOM)}", PRODUCT)


@writes(ops.Einsum)
def _einsum_of(op: ops.Einsum, w: HandWriter, *values: Value) -> Value:
    return _summed(op.equation, w, values)


@writes(ops.WeightedEinsum)
def _weighted_einsum(op: ops.WeightedEinsum, w: HandWriter, x: Value) -> Value:
    return _summed(op.equation, w, (x, w.weight(op.weight)))


def _summed(equation: str, w: HandWriter, values: Sequence[Value]) -> Value:
    """The sum that an equation spells, whose letters are turned where the axes lie otherwise."""
    terms, arrow, out = equation.replace(" ", "").partition("->")
    spelled = terms.split(",")
    if not arrow or not (terms.replace(",", "") + out).isalpha() or not equation.isascii():
        values, words = [w.plain(value) for value in values], _checked_equation(equation)
    else:
        if len(spelled) != len(values):
            raise Unwritten("an equation of other inputs")
        turned = [value.letters(term) for value, term in zip(values, spelled, strict=True)]
        words = f"{','.join(turned)}->{out}"
    arrays = ", ".join(value.text for value in values)
    return w.result(f'np.einsum("{words}", {arrays})', ATOM)


def _checked_equation(equation: str) -> str:
    """An equation with an ellipsis, or without its output, of nothing but letters and signs."""
    words = equation.replace(" ", "")
    if not re.fullmatch(r"[A-Za-z.,]*(->[A-Za-z.]*)?", words):
        raise Unwritten("an equation of other signs")
    return words
