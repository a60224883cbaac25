"""Mistakes with the attention of decoders: heads that share keys and values, the causal mask, the
sliding window, the soft cap of scores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from probe import ops
from probe.hypotheses.edits.attention_parts import Causal
from probe.hypotheses.edits.rewriting import (
    Rewiring,
    made_by,
    only,
    rewired,
    source_of,
    steps_taking,
)
from probe.hypotheses.edits.step_words import input_name
from probe.hypotheses.registry import hypothesis, more
from probe.ops.base import Rearrangement
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case, shape_of, users_of
from probe.trial.edit import Edit

__all__ = ["HIDDEN"]

_CAPS = (50.0, 30.0, 20.0)
HIDDEN = -1e3
"""What is added to a score that is not to count, or less."""
_MASKED = -1e9
_ROUNDING = 1e-3
"""Share of the largest difference up to which a position is right."""


@hypothesis("grouped-heads")
def grouped_heads(case: Case) -> Iterator[Edit]:
    """Key and value heads that several query heads share are tiled (0 1 0 1) instead of repeated
    (0 0 1 1).

    The first head is right; with a single key-value head all heads are.
    """
    changes, changed = [], case
    for position, _ in case.having(ops.Reshape):
        source = source_of(case, Ref(position))
        if made_by(case, source, ops.Expand) and case.values[source.step][0].ndim == 5:
            before = shape_of(case, source_of(case, source))
            repeated = [axis for axis in (2, 3) if len(before) == 5 and before[axis] == 1]
            order = [0, 1, 2, 3, 4]
            for axis in repeated[:1]:
                order[axis - 1 : axis + 1] = axis, axis - 1
                changes.append(Rewiring(source, (ops.Transpose(tuple(order)),), only(position)))
    for position, op in case.having(ops.Attention):
        if op.groups > 1:
            changed = changed.became_steps(changed.changed(position, groups=1))
            for ref in case.steps[position].sources(position)[1:3]:
                tile = (ops.Concat(axis=np.ndim(ref.of(case.inputs, case.values)) - 3),)
                here = only(position)
                changes.append(Rewiring(ref, tile, here, copies=op.groups))
    if changes:
        yield case.edit(
            "key and value heads are tiled (0 1 0 1) for the query heads that share them; the "
            "layer repeats each (0 0 1 1)",
            rewired(changed, changes),
            do="query head h uses key-value head h // group size",
        )


@hypothesis("window-off-by-one")
def window_off_by_one(case: Case) -> Iterator[Edit]:
    """A sliding window is one position wider or narrower, missing, or added.

    Some code counts the query itself among the W positions, other code takes W positions before it.
    Exact up to position W - 1: a sequence that is not longer than the window shows no difference.
    """
    for position, op in case.having(ops.Attention):
        wide: int = op.window or 0
        for by in (1, -1) if wide else ():
            if wide + by < 1:
                continue
            yield case.edit(
                f"the window is {_positions(wide + by)} wide instead of {wide}",
                case.changed(position, window=wide + by),
                do=f"a query attends to {_positions(wide)}, its own included",
            )
        if op.causal and not wide and (right := _right_positions(case)):
            yield case.edit(
                f"a window of {right} positions is applied, which the layer does not have",
                case.changed(position, window=right),
                do="attend to all positions up to the query's own",
            )
    for index, band in _bands(case):
        widest = int(band.apart.max())
        if band.most >= widest:
            if not band.least and (right := _right_positions(case)):
                words = f"a window of {right} positions is applied, which the layer does not have"
                yield _masked(case, index, words, band.of(0, right - 1))
            continue
        if band.least < 0:
            text = f"the window reaches {{}} to either side instead of {band.most}"
        else:
            text = f"the window is {{}} wide instead of {band.most + 1}"
        for other in (band.most + 1, band.most - 1, 2 * band.most, band.most // 2):
            if other < 0 or other == band.most:
                continue
            words = text.format(_positions(other if band.least < 0 else other + 1))
            yield _masked(case, index, words, band.of(-other if band.least < 0 else 0, other))
        words = f"the sliding window of {_positions(band.most - band.least + 1)} is not applied"
        yield _masked(case, index, words, band.of(-widest if band.least < 0 else 0, widest))
        if band.least < 0:
            words = "the window ends at the query's own position"
            yield _masked(case, index, words, band.of(0, band.most))


def _positions(count: int) -> str:
    return f"{count} position{'s' * (count != 1)}"


def _right_positions(case: Case) -> int:
    """How many positions are right before the first that is wrong: as wide a window hides nothing
    from these."""
    if not case.comparable or case.known is not None or case.healthy.ndim < 2:
        return 0
    apart = np.moveaxis(np.abs(case.observed - case.healthy), -2, 0)
    most = apart.reshape(len(apart), -1).max(axis=1, initial=0.0)
    wrong = most > _ROUNDING * most.max(initial=0.0)
    if most.any():
        return int(np.argmax(wrong))
    return 0


@more("attention-mask")
def padding_attended(case: Case) -> Iterator[Edit]:
    """Positions that are padding are attended to, by queries that are none or by all."""
    for index, band in _bands(case):
        if not band.seen.any(axis=-2).all():
            queries = np.asarray(band.seen.any(axis=-1, keepdims=True))
            for seen in (queries, np.ones_like(queries)):
                whole = replace(band, seen=seen).of(band.least, band.most)
                yield _masked(case, index, "padding is attended to", whole)


@more("attention-mask")
def causal_mask_too(case: Case) -> Iterator[Edit]:
    """Scores whose product and softmax are steps of their own are causally masked too."""
    for position, op in case.having(ops.Softmax):
        x = case.input_of(position)
        if x.ndim < 3 or op.axis % x.ndim != x.ndim - 1 or min(x.shape[-2:]) < 2:
            continue
        queries, keys = x.shape[-2:]
        for from_last in (False, True) if queries != keys else (False,):
            later = Causal(queries, keys, from_last=from_last).run()[0] == 0
            # What is masked already, but for a sink behind the keys, is not told by such a mask.
            if later.any() and np.mean(x[..., later] > HIDDEN) > 0.5:
                mask = Weight("a causal mask", None, np.where(later, _MASKED, 0.0))
                yield case.edit(
                    "a causal mask is applied, which the layer does not have",
                    case.inserted(position, ops.AddConstant(mask)),
                    do="apply no causal mask",
                )


@hypothesis("mask-off-by-one")
def mask_off_by_one(case: Case) -> Iterator[Edit]:
    """The causal mask begins one position too early or too late: a query sees the next position, or
    not its own.

    ``triu(diagonal=1)`` hides the later positions; ``triu(diagonal=0)`` hides the query's own
    position too.
    """
    for index, keep, apart in _masks(case):
        if (keep & (apart < 0)).any():
            continue
        next_one = keep | ((apart == -1) & _beside(keep))
        yield _masked(case, index, "queries see the next position too", next_one)
        yield _masked(case, index, "queries do not see their own position", keep & (apart != 0))
    for position, op in case.having(ops.Attention):
        if not op.causal or op.masks:
            continue
        q, k = (case.input_of(position, i) for i in range(2))
        apart = _apart(q.shape[-2], k.shape[-2])
        for words, keep in (
            ("queries see the next position too", apart >= -1),
            ("queries do not see their own position", apart >= 1),
        ):
            free = case.became_steps(case.changed(position, causal=False, masks=("keep",)))
            here = only(position)
            yield case.edit(
                words,
                rewired(free, [Rewiring(None, (ops.Constant(keep),), here, copies=0)]),
                do="mask only the positions after the query",
            )


def _beside(keep: np.ndarray) -> np.ndarray:
    """Where the position before is seen."""
    return np.concatenate([np.zeros_like(keep[..., :1]), keep[..., :-1]], axis=-1)


def _apart(queries: int, keys: int) -> np.ndarray:
    """How far each position lies before each query."""
    return np.arange(queries)[:, None] + (keys - queries) - np.arange(keys)


@dataclass(frozen=True, eq=False)
class _Band:
    """A mask as a range of distances and what is seen at all: queries that see something and keys
    that something sees."""

    apart: np.ndarray
    """How far each position lies before each query."""
    least: int
    most: int
    seen: np.ndarray

    def of(self, least: int, most: int) -> np.ndarray:
        """The mask with another range."""
        return np.asarray((self.apart >= least) & (self.apart <= most) & self.seen)


def _bands(case: Case) -> Iterator[tuple[int, _Band]]:
    """The masks that are nothing else; from the query on, or to both of its sides alike."""
    for index, keep, apart in _masks(case):
        seen = np.logical_and(keep.any(axis=-1, keepdims=True), keep.any(axis=-2, keepdims=True))
        most = int(apart[keep].max())
        for least in (0, -most):
            band = _Band(apart, least, most, seen)
            if (keep == band.of(least, most)).all():
                yield index, band
                break


def _masks(case: Case) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The inputs that hide positions, truth values or what is added to scores: which, where they
    hide nothing, and how far each position lies before each query."""
    for index, x in enumerate(case.inputs):
        if x.ndim < 2 or x.dtype.kind not in "fb" or min(x.shape[-2:]) < 2:
            continue
        truths = _are_truths(x)
        if truths and x.dtype.kind == "f" and _only_added(case, Ref(-1, index)):
            continue
        keep = (x != 0) != _drops(case) if truths else x > HIDDEN
        plain = truths or bool((x[keep] == 0).all())
        if plain and not keep.all() and keep.any():
            yield index, keep, np.broadcast_to(_apart(*keep.shape[-2:]), keep.shape)


def _only_added(case: Case, ref: Ref) -> bool:
    """Whether all that takes a tensor adds it: ones and zeros, such as an identity matrix, then
    hide nothing."""
    users = users_of(case).get(ref, [])
    return bool(users) and all(
        isinstance(case.steps[user].op, ops.Add)
        or (
            isinstance(case.steps[user].op, Rearrangement)
            and len(case.values[user]) == 1
            and _only_added(case, Ref(user))
        )
        for user in users
    )


def _are_truths(x: np.ndarray) -> bool:
    return x.dtype.kind == "b" or bool(np.isin(x, (0, 1)).all())


def _drops(case: Case) -> bool:
    """Whether what is true in a mask is hidden."""
    return any("drop" in op.masks for _, op in case.having(ops.Attention))


def _masked(case: Case, index: int, words: str, keep: np.ndarray) -> Edit:
    x = case.inputs[index]
    other = keep != _drops(case) if _are_truths(x) else np.where(keep, 0.0, x.min())
    inputs = (*case.inputs[:index], other.astype(x.dtype), *case.inputs[index + 1 :])
    return case.edit(words, inputs=inputs, do=f"apply {input_name(case, index)} as it is")


@hypothesis("soft-cap")
def soft_cap(case: Case) -> Iterator[Edit]:
    """The scores are not soft-capped, c · tanh(x / c), or with another constant c.

    Gemma 2 caps attention at 50 and logits at 30. Small scores hardly show it.
    """
    for position, _ in case.having(ops.Tanh):
        before = source_of(case, Ref(position))
        after = [
            at
            for at, step in enumerate(case.steps)
            if isinstance(step.op, ops.Mul) and Ref(position) in step.sources(at)
        ]
        if len(after) != 1 or not made_by(case, before, ops.Div, ops.Mul):
            continue
        one, other = (
            _constant(case, at, ref)
            for at, ref in ((before.step, source_of(case, before)), (after[0], Ref(position)))
        )
        if one is None or other is None:
            continue
        scores, cap = source_of(case, before), case.values[other][0].item()
        yield case.edit(
            f"scores are not capped at {cap:g}",
            steps_taking(case, Ref(after[0]), scores),
            do=f"compute {cap:g} · tanh(scores / {cap:g})",
        )
        yield case.edit(
            f"scores are not multiplied by {cap:g} after the tanh",
            steps_taking(case, Ref(after[0]), Ref(position)),
            do=f"compute {cap:g} · tanh(scores / {cap:g})",
        )
        clipped = list(case.steps)
        clipped[after[0]] = Step(ops.Clip(low=-cap, high=cap), (scores,))
        yield case.edit(
            f"scores are clipped at -{cap:g} and {cap:g}, not bent by a tanh",
            tuple(clipped),
            do=f"compute {cap:g} · tanh(scores / {cap:g})",
        )
        for value in _CAPS:
            if abs(value - cap) > 1e-6:
                divided = value if made_by(case, before, ops.Div) else 1 / value
                steps = case.changed(one, value=np.array(divided))
                steps = case.became_steps(steps).changed(other, value=np.array(value))
                yield case.edit(f"scores are capped at {value:g}, not {cap:g}", steps)


def _constant(case: Case, position: int, beside_it: Ref) -> int | None:
    """The step of the single number that a step takes beside a tensor."""
    for ref in case.steps[position].sources(position):
        if ref != beside_it and made_by(case, ref, ops.Constant):
            if case.values[ref.step][0].size == 1:
                return ref.step
            return None
    return None
