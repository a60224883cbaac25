"""Normalisations by groups of channels, by root mean squares, norms and neighbouring channels."""

import math

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import PRODUCT, Value, as_tuple, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.along_axis import over
from probe.by_hand.writers.linear import split_axis
from probe.by_hand.writers.normalization import root_of_variance, scaled


@writes(ops.GroupNormalization)
def _group_norm(op: ops.GroupNormalization, w: HandWriter, x: Value) -> Value:
    lies, each = x.axes[1], x.own_shape[1] // op.groups
    text, _ = split_axis(x, 1, op.groups)
    shape = (*x.shape[:lies], op.groups, each, *x.shape[lies + 1 :])
    comment = f"{op.groups} groups of {each} channels"
    grouped = w.let("grouped", Value(text, shape), comment)
    batch = x.axes[0] + (x.axes[0] > lies)
    along = over([at for at in range(len(shape)) if at not in (batch, lies)], True)
    kept = tuple(size if at in (batch, lies) else 1 for at, size in enumerate(shape))
    mean = w.let("mean", Value(f"{grouped.text}.mean({along})", kept))
    root = root_of_variance(op, w, grouped.text, along, kept)
    whole = f"(({grouped.text} - {mean.text}) / {root}).reshape{as_tuple(x.shape)}"
    normalised = w.let("normalised", Value(whole, x.shape, x.order))
    return scaled(op, w, normalised, [lies])


@writes(ops.RMSNormalization)
def _rms_norm(op: ops.RMSNormalization, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    axes = [x.axes[axis] for axis in op.axes]
    along = over(axes, True)
    if op.centred:
        power = f"{x.text}.var({along})"
    else:
        power = f"({x.text} ** 2).mean({along})"
    text = f"{x.text} / np.sqrt({power} + {number(op.epsilon)})"
    return scaled(op, w, w.result(text, PRODUCT, x.order), axes)


@writes(ops.LpNormalization)
def _lp_norm(op: ops.LpNormalization, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    axes = [x.axes[axis] for axis in op.axes]
    along = over(axes, True)

    def at_least(text: str) -> str:
        return f"np.maximum({text}, {number(op.epsilon)})" if op.epsilon else text

    if math.isinf(op.p):
        norm = at_least(f"np.abs({x.text}).max({along})")
    elif op.squared:
        norm = _root(op.p, at_least(f"{_power(op.p, x.text)}.sum({along})"))
    else:
        norm = at_least(_root(op.p, f"{_power(op.p, x.text)}.sum({along})"))
    shape = tuple(1 if at in axes else size for at, size in enumerate(x.shape))
    named = w.let("norm", Value(norm, shape))
    return w.result(f"{x.text} / {named.text}", PRODUCT, x.order)


def _root(p: float, x: str) -> str:
    if p == 1:
        return x
    return f"np.sqrt({x})" if p == 2 else f"{x} ** (1 / {number(p)})"


def _power(p: float, x: str) -> str:
    if p == 2:
        return f"({x} ** 2)"
    if p == 1:
        return f"np.abs({x})"
    return f"(np.abs({x}) ** {number(p)})"


@writes(ops.LRN)
def _lrn(op: ops.LRN, w: HandWriter, x: Value) -> Value:
    if op.first:
        raise Unwritten("the first channel as a neighbour of all")
    if max(op.before, op.after) > x.own_shape[1]:
        raise Unwritten("more neighbours than channels")
    x, lies = w.named("values", x), x.axes[1]
    pads = [(0, 0)] * x.rank
    pads[lies] = (op.before, op.after)
    shape = list(x.shape)
    shape[lies] += op.before + op.after
    text = f"np.pad({x.text} ** 2, {_pairs(pads)})"
    comment = f"channels {op.before} before to {op.after} after are the neighbours of each"
    padded = w.let("padded", Value(text, tuple(shape)), comment)
    count = op.before + op.after + 1
    window = f"sliding_window_view({padded.text}, {count}, axis={lies})"
    sums = w.let("sums", Value(f"{window}.sum(axis=-1)", x.shape))
    share = f"{number(op.alpha)} / {op.size} * {sums.text}"
    text = f"{x.text} / ({number(op.bias)} + {share}) ** {number(op.beta)}"
    return w.result(text, PRODUCT, x.order)


def _pairs(pads: list[tuple[int, int]]) -> str:
    return f"({', '.join(as_tuple(pair) for pair in pads)})"
