"""Attention: scores, what a query may look at, and the weighted means of values."""

import math

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, PRODUCT, TEST, Value, as_tuple, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.gather import given

_LETTERS = {2: ("qd", "kd", "qk", "ke"), 3: ("hqd", "hkd", "hqk", "hke")}
_LETTERS[4] = ("bhqd", "bhkd", "bhqk", "bhke")
_LETTERS[5] = ("abhqd", "abhkd", "abhqk", "abhke")
_SMALLEST = 1e-3
"""No smaller scale is one over the root of a number of features."""


@writes(ops.Attention)
def _attention(
    op: ops.Attention, w: HandWriter, q: Value, k: Value, v: Value, *masks: Value
) -> Value | tuple[Value, ...]:
    return attended(op, w, (q, k, v), masks)


@writes(ops.AdditiveAttention)
def _additive(
    op: ops.AdditiveAttention, w: HandWriter, q: Value, k: Value, v: Value, *masks: Value
) -> Value | tuple[Value, ...]:
    return attended(op, w, (w.plain(q), w.plain(k), w.plain(v)), masks)


def attended(
    op: ops.Attention,
    w: HandWriter,
    heads: tuple[Value, Value, Value],
    masks: tuple[Value, ...],
    over: int = -1,
    hidden_after: bool = False,
) -> Value | tuple[Value, ...]:
    """What queries, keys and values make; of an op with a mistake in it with the softmax ``over``
    another axis, or with what a query may not look at hidden after it."""
    (q, k, v), shape = heads, w.shape()
    turned = any(value.order is not None for value in (q, k, v))
    if turned and (len({q.rank, k.rank, v.rank, len(shape)}) > 1 or len(shape) not in _LETTERS):
        q, k, v = (w.plain(value) for value in (q, k, v))
        turned = False
    q, k, v = w.named("q", q), w.named("k", k), w.named("v", v)
    queries, positions = q.own_shape[-2], k.own_shape[-2]
    if not positions:
        raise Unwritten("queries that see nothing")
    if op.groups > 1:
        k, v = _repeated(op, w, "keys", k), _repeated(op, w, "values", v)
    lead = np.broadcast_shapes(*(value.own_shape[:-2] for value in (q, k, v)))
    square = (*np.broadcast_shapes(lead, shape[:-2]), queries, positions)
    letters = _LETTERS.get(len(square), ("", "", "", ""))
    if turned:
        spelled = f"{q.letters(letters[0])},{k.letters(letters[1])}->{letters[2]}"
        product = f'np.einsum("{spelled}", {q.text}, {k.text})'
    else:
        product = f"{q.at(PRODUCT)} @ {k.at(ATOM)}.swapaxes(-1, -2)"
    if isinstance(op, ops.AdditiveAttention):
        product = _bent(op, w, q, k)
    text = f"{product}{_scale(op, w, q.own_shape[-1])}"
    for kind, mask in zip(op.masks, masks, strict=True):
        if kind == "add":
            text = f"{text} + {w.plain(mask).at(PRODUCT)}"
    scores = w.let("scores", Value(text, square))
    seen = _seen_by(op, w, masks, (queries, positions))
    if seen and not hidden_after:
        scores = _hidden(op, w, scores, seen)
    words = "how much each query looks at each position"
    share = f"{w.helper('softmax')}({scores.text}, axis={over})"
    if hidden_after:
        share = f"np.where({seen}, {share}, 0)"
    elif op.empty == "zero":
        some = f"np.max({scores.text}, axis=-1, keepdims=True) > -np.inf"
        share = f"np.where({some}, {share}, 0)"
    weights = w.let("weights", Value(share, square), words)
    if turned:
        lying = v.letters(letters[3])
        out = lying.replace("k", "q")
        made = f'np.einsum("{letters[2]},{lying}->{out}", {weights.text}, {v.text})'
        found = w.result(made, ATOM, v.order)
    else:
        found = w.result(f"{weights.text} @ {v.at(ATOM)}", PRODUCT)
    if not op.weights:
        return found
    found = w.let("attended", found)
    if op.weights == "mean":
        return found, w.result(f"{weights.text}.mean(axis=-3)", ATOM, None, 1)
    return found, weights


def _bent(op: ops.AdditiveAttention, w: HandWriter, q: Value, k: Value) -> str:
    """The sum over features of the tanh of each query plus each key."""
    text = f"{q.at(ATOM)}[..., :, None, :] + {k.at(ATOM)}[..., None, :, :]"
    if op.inner is not None:
        text = f"{w.plain(w.weight(op.inner)).at(ATOM)} * ({text})"
    bent = w.let("bent", Value(f"np.tanh({text})", (*q.shape[:-1], k.shape[-2], q.shape[-1])))
    if op.outer is None:
        return f"{bent.text}.sum(axis=-1)"
    return f"({bent.text} * {w.plain(w.weight(op.outer)).at(ATOM)}).sum(axis=-1)"


def _repeated(op: ops.Attention, w: HandWriter, hint: str, value: Value) -> Value:
    """Each key or value head as often as query heads share it."""
    lies = value.axes[-3]
    shape = tuple(size * (op.groups if at == lies else 1) for at, size in enumerate(value.shape))
    text = f"np.repeat({value.text}, {op.groups}, axis={lies})"
    return w.let(hint, Value(text, shape, value.order), f"{op.groups} query heads share each")


def _scale(op: ops.Attention, w: HandWriter, features: int) -> str:
    """What the scores are multiplied by."""
    gain = "" if op.gain is None else f" * {w.plain(w.weight(op.gain)).at(ATOM)}"
    if op.scale == 1:
        return gain
    if features and op.scale in (1 / math.sqrt(features), features**-0.5):
        return f" / np.sqrt({features}){gain}"
    if features and op.scale == float(np.float32(1 / math.sqrt(features))):
        return f" * np.float32(1 / np.sqrt({features})){gain}"
    whole = round(op.scale**-2) if _SMALLEST < op.scale < 1 else 0
    if whole > 1 and op.scale in (1 / math.sqrt(whole), whole**-0.5):
        return f" / np.sqrt({whole}){gain}"
    return f" * {number(op.scale)}{gain}"


def _seen_by(
    op: ops.Attention, w: HandWriter, masks: tuple[Value, ...], sizes: tuple[int, int]
) -> str:
    """The name of what says where a query may look; "" where it is everywhere."""
    first = len(w.computation.steps[w.position].sources(w.position)) - len(masks)
    parts = [
        _seen(w.plain(mask), kind == "keep", given(w, source).dtype.kind == "b")
        for source, (kind, mask) in enumerate(zip(op.masks, masks, strict=True), start=first)
        if kind != "add"
    ]
    queries, positions = sizes
    comment = ""
    if op.causal:
        parts.append(f"np.tri({queries}, {positions}, dtype=bool)")
        comment = "each query with the positions up to its own"
    if op.window is not None:
        away = f"np.abs(np.arange({queries})[:, None] - np.arange({positions}))"
        parts.append(f"{away} < {op.window}")
        comment = "each query with the positions near its own"
    if not parts:
        return ""
    text = parts[0] if len(parts) == 1 else " & ".join(f"({part})" for part in parts)
    name = w.local("seen")
    w.block([f"{name} = {text}"], comment)
    return name


def _hidden(op: ops.Attention, w: HandWriter, scores: Value, seen: str) -> Value:
    """The scores with -inf where a query may not look."""
    masked = f"np.where({seen}, {scores.text}, -np.inf)"
    if op.empty in ("mean", "raw"):
        whole = f"np.broadcast_to({seen}, {_shape(scores)})"
        some = f"{whole}.any(axis=-1, keepdims=True)"
        otherwise = "0" if op.empty == "mean" else scores.text
        masked = f"np.where({some}, {masked}, {otherwise})"
    return w.let("masked", Value(masked, scores.shape))


def _seen(mask: Value, keeps: bool, is_bool: bool) -> str:
    """Where a mask lets a query look."""
    if is_bool:
        return mask.text if keeps else f"~{mask.at(ATOM)}"
    return f"{mask.at(TEST + 1)} {'!=' if keeps else '=='} 0"


def _shape(value: Value) -> str:
    return as_tuple(value.shape)
