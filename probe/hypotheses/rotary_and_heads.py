"""Mistakes with the parts of language models: the rotation of positions, the heads, what attention
may see, the offset of norms, packed projections and routers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.case import Case, Edit, Steps
from probe.hypotheses.changes import taking
from probe.hypotheses.registry import hypothesis
from probe.hypotheses.rewiring import Change, rewired
from probe.ops.step import Ref
from probe.ops.weight import Weight

__all__: list[str] = []

_BASES = (1e4, 5e5, 1e6, 1e5, 1.6e5, 1e3, 8e6)
_CAPS = (50.0, 30.0, 20.0)
_HIDDEN = -1e3
"""What is added to a score that is not to count, or less."""


class _Rope(NamedTuple):
    """x cos + rotated(x) sin, at the step that adds the two: what is rotated, and the two factors
    as their products take them."""

    add: int
    x: Ref
    cos: tuple[int, Ref]
    sin: tuple[int, Ref]


def _ropes(case: Case) -> list[_Rope]:
    """The rotations whose pairs are the two halves of the features."""
    found = []
    for position, _ in case.having(ops.Add):
        sources = case.steps[position].sources(position)
        for plain, turned in permutations(sources, 2):
            if not all(one.step >= 0 and _is(case, one, ops.Mul) for one in (plain, turned)):
                continue
            for k, ref in enumerate(case.steps[turned.step].sources(turned.step)):
                x = _turned(case, ref)
                factors = case.steps[plain.step].sources(plain.step)
                if x is None or x not in factors:
                    continue
                cos = factors[1 - factors.index(x)]
                sin = case.steps[turned.step].sources(turned.step)[1 - k]
                found.append(_Rope(position, x, (plain.step, cos), (turned.step, sin)))
    return found


def _is(case: Case, ref: Ref, *kinds: type) -> bool:
    return ref.step >= 0 and isinstance(case.steps[ref.step].op, kinds)


def _taking(case: Case, instead_of: Ref, ref: Ref) -> Steps:
    return taking(case, instead_of, ref, "").applied(case.steps)


def _source(case: Case, ref: Ref) -> Ref:
    """What a step is applied to, first of all."""
    return case.steps[ref.step].sources(ref.step)[0]


def _turned(case: Case, ref: Ref) -> Ref | None:
    """x, where the tensor is its second half negated and then its first."""
    if not _is(case, ref, ops.Concat):
        return None
    halves = case.steps[ref.step].sources(ref.step)
    if len(halves) != 2 or not _is(case, halves[0], ops.Neg):
        return None
    second, first = _sliced(case, _source(case, halves[0])), _sliced(case, halves[1])
    return second if second == first else None


def _sliced(case: Case, ref: Ref) -> Ref | None:
    """What a tensor is cut out of."""
    while _is(case, ref, ops.Reshape):
        ref = _source(case, ref)
    return _source(case, ref) if _is(case, ref, ops.Slice) else None


def _at(position: int) -> Callable[[int], bool]:
    return lambda other: other == position


def _upto(position: int) -> Callable[[int], bool]:
    return lambda other: other <= position


def _behind(position: int) -> Callable[[int], bool]:
    return lambda other: other > position


def _some(ropes: Sequence[_Rope]) -> Iterator[tuple[list[_Rope], str]]:
    """All rotations, and each of a few, the last of them first."""
    last = sorted(ropes, key=lambda one: -one.add)
    yield last, ""
    if 1 < len(ropes) <= 4:
        for number, one in enumerate(ropes):
            yield [one], f" in rotation {number + 1} of {len(ropes)}"


@hypothesis("rope-layout")
def rope_layout(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) pairs other features: neighbours (2i, 2i + 1) instead of the
    two halves (i, i + d/2).

    Meta's and GPT-J's code pairs neighbours, Hugging Face's the halves, with the rows of the query
    and key weights permuted. Position 0 is exact, since it is not rotated.
    """
    for some, where in _some(_ropes(case)):
        conjugated, plain = [], []
        for rope in some:
            shape = np.shape(rope.x.of(case.inputs, case.values))
            half = shape[-1] // 2
            swap = ops.Transpose((*range(len(shape) - 1), len(shape), len(shape) - 1))
            apart = (ops.Reshape((*shape[:-1], half, 2)), swap, ops.Reshape(shape))
            back = (ops.Reshape((*shape[:-1], 2, half)), swap, ops.Reshape(shape))
            inside = Change(rope.x, apart, _upto(rope.add))
            behind = Change(Ref(rope.add), back, _behind(rope.add))
            conjugated += [inside, behind]
            plain.append(inside)
        yield case.edit(
            f"neighbouring features are rotated together, (2i, 2i + 1){where}; the layer rotates "
            "(i, i + d/2)",
            rewired(case, conjugated),
            do="pair feature i with feature i + d/2",
        )
        yield case.edit(
            f"features are reordered from neighbours to halves before the rotation{where}, as for "
            "weights that are not permuted yet",
            rewired(case, plain),
            do="leave the rows of the query and key weights as they are",
        )


@hypothesis("rope-direction")
def rope_direction(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) rotates in the other direction: the sine has the wrong sign.

    Position 0 is exact. If both queries and keys are affected, only scores between different
    positions differ.
    """
    for some, where in _some(_ropes(case)):
        changes = [Change(rope.sin[1], (ops.Neg(),), _at(rope.sin[0])) for rope in some]
        yield case.edit(
            f"the sine of the rotation has the other sign{where}",
            rewired(case, changes),
            do="rotate (a, b) to (a cos - b sin, b cos + a sin)",
        )


@hypothesis("rope-dims")
def rope_dims(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) is not applied to queries, to keys, or to both.

    Position 0 is exact; the error grows with the distance between positions.
    """
    for some, where in _some(_ropes(case)):
        steps: Steps = case.steps
        for rope in some:
            steps = _taking(case.became_steps(steps), Ref(rope.add), rope.x)
        yield case.edit(
            f"positions are not rotated{where}", steps, do="rotate queries and keys by position"
        )


class _Angles(NamedTuple):
    """The angles by which a rotation turns, as far as its factors tell."""

    scale: np.ndarray
    each: np.ndarray
    """Of one position, for each feature."""
    positions: np.ndarray

    def factors(self, positions: np.ndarray, each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        angles = positions[:, None] * each
        return self.scale * np.cos(angles), self.scale * np.sin(angles)


def _angles(case: Case, rope: _Rope) -> _Angles | None:
    """None where the positions are not one after the other."""
    cos, sin = (one.of(case.inputs, case.values) for _, one in (rope.cos, rope.sin))
    if cos.shape != sin.shape or cos.ndim < 2 or cos.shape[-2] < 2 or cos.shape[-1] % 2:
        return None
    angle = np.arctan2(sin, cos).astype(np.float64)
    step = angle[..., 1, :] - angle[..., 0, :]
    each = np.angle(np.exp(1j * step)).reshape(-1, cos.shape[-1])[0]
    first = angle.reshape(-1, *cos.shape[-2:])[0, 0]
    if not each.all() or (each < 0).any():
        return None
    begin = np.rint(first[np.argmin(each)] / each[np.argmin(each)])
    positions = begin + np.arange(cos.shape[-2])
    found = _Angles(np.hypot(cos, sin), each, positions)
    again = found.factors(positions, each)
    near = all(
        np.allclose(made, given, atol=1e-3) for made, given in zip(again, (cos, sin), strict=True)
    )
    return found if near else None


def _rotated_otherwise(
    case: Case,
    some: Sequence[_Rope],
    change: Callable[[_Angles], tuple[np.ndarray, np.ndarray]],
) -> Steps | None:
    """The steps in which rotations turn by other angles: positions and, of one, each feature's."""
    changes = []
    for rope in some:
        angles = _angles(case, rope)
        if angles is None:
            return None
        values = angles.factors(*change(angles))
        for (at, ref), value in zip((rope.cos, rope.sin), values, strict=True):
            held = np.broadcast_to(value, np.shape(ref.of(case.inputs, case.values)))
            here = _at(at)
            changes.append(Change(ref, (ops.Constant(np.array(held)),), here, copies=0))
    return rewired(case, changes)


@hypothesis("rope-base")
def rope_base(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) has another base, or its positions are scaled.

    The usual base is 10000; Llama 3 has 500000, others 1000000. Position 0 is exact, and the error
    grows with the position: few positions hardly show it.
    """
    ropes = _ropes(case)
    angles = _angles(case, ropes[0]) if ropes else None
    if angles is None:
        return
    size = len(angles.each)
    half = np.arange(size // 2)
    base = float((angles.each[1] / angles.each[0]) ** (-size / 2)) if size > 2 else 0.0
    own = f"; the layer's base is about {base:.4g}" if size > 2 else ""
    some = sorted(ropes, key=lambda one: -one.add)
    for other in _BASES:
        each = np.tile(other ** (-2.0 * half / size), 2)
        if np.abs(each - angles.each).max() > 1e-6:
            steps = _rotated_otherwise(case, some, partial(_with_angles, each=each))
            if steps is not None:
                yield case.edit(
                    f"positions are rotated with the base {other:.6g}{own}",
                    steps,
                    do=f"use the base {base:.4g} (rope_theta of the config)",
                )
    for factor in (2.0, 4.0, 8.0, 0.5, 0.25, 0.125):
        steps = _rotated_otherwise(case, some, partial(_moved_by, factor=factor))
        if steps is not None:
            yield case.edit(
                f"positions are divided by {factor:g} before they are rotated",
                steps,
                do="scale positions as the config says (rope_scaling)",
            )


@hypothesis("rope-offset")
def rope_offset(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) takes the position before or after: counted from 1, or
    without the length of the cache.

    It shows only if queries and keys are shifted differently: shifted alike, the scores are equal.
    """
    ropes = _ropes(case)
    for some, where in _some(ropes):
        moves: tuple[float, ...] = (1.0, -1.0)
        angles = _angles(case, some[0]) if some else None
        if angles is not None and angles.positions[0]:
            moves = (*moves, -float(angles.positions[0]))
        for by in moves:
            steps = _rotated_otherwise(case, some, partial(_moved_by, by=by))
            if steps is not None:
                yield case.edit(
                    f"positions are moved by {by:+g} before they are rotated{where}",
                    steps,
                    do="count positions from the same start for queries and keys",
                )


def _with_angles(angles: _Angles, each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return angles.positions, each


def _moved_by(
    angles: _Angles, by: float = 0.0, factor: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    return angles.positions / factor + by, angles.each


# Heads.


@hypothesis("grouped-heads")
def grouped_heads(case: Case) -> Iterator[Edit]:
    """Key and value heads that several query heads share are tiled (0 1 0 1) instead of repeated
    (0 0 1 1).

    The first head is right; with a single key-value head all heads are.
    """
    changes, changed = [], case
    for position, _ in case.having(ops.Reshape):
        source = _source(case, Ref(position))
        if _is(case, source, ops.Expand) and case.values[source.step][0].ndim == 5:
            swap = (ops.Transpose((0, 2, 1, 3, 4)),)
            changes.append(Change(source, swap, _at(position)))
    for position, op in case.having(ops.Attention):
        if op.groups > 1:
            changed = changed.became_steps(changed.changed(position, groups=1))
            for ref in case.steps[position].sources(position)[1:3]:
                tile = (ops.Concat(axis=np.ndim(ref.of(case.inputs, case.values)) - 3),)
                here = _at(position)
                changes.append(Change(ref, tile, here, copies=op.groups))
    if changes:
        yield case.edit(
            "key and value heads are tiled (0 1 0 1) for the query heads that share them; the "
            "layer repeats each (0 0 1 1)",
            rewired(changed, changes),
            do="query head h uses key-value head h // group size",
        )


# What attention sees.


@hypothesis("window-off-by-one")
def window_off_by_one(case: Case) -> Iterator[Edit]:
    """A sliding window is one position wider or narrower, or not applied.

    Some code counts the query itself among the W positions, other code takes W positions before it.
    Exact up to position W - 1: a sequence that is not longer than the window shows no difference.
    """
    for position, op in case.having(ops.Attention):
        wide: int = op.window or 0
        for by in (1, -1) if wide else ():
            yield case.edit(
                f"the window is {wide + by} positions wide instead of {wide}",
                case.changed(position, window=wide + by),
                do=f"a query attends to {wide} positions, its own included",
            )
    for index, keep, apart in _masks(case):
        width = int(apart[keep].max(initial=0)) + 1
        if width >= keep.shape[-1] or not (keep == (apart < width) & (apart >= 0)).all():
            continue
        causal = apart >= 0
        for words, other in (
            (f"the window is {width + 1} positions wide instead of {width}", apart < width + 1),
            (f"the window is {width - 1} positions wide instead of {width}", apart < width - 1),
            (f"the sliding window of {width} positions is not applied", causal),
        ):
            yield _masked(case, index, words, other & causal)


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
            here = _at(position)
            yield case.edit(
                words,
                rewired(free, [Change(None, (ops.Constant(keep),), here, copies=0)]),
                do="mask only the positions after the query",
            )


def _beside(keep: np.ndarray) -> np.ndarray:
    """Where the position before is seen."""
    return np.concatenate([np.zeros_like(keep[..., :1]), keep[..., :-1]], axis=-1)


def _apart(queries: int, keys: int) -> np.ndarray:
    """How far each position lies before each query."""
    return np.arange(queries)[:, None] + (keys - queries) - np.arange(keys)


def _masks(case: Case) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The inputs that are added to scores to hide positions: which, where they hide nothing, and
    how far each position lies before each query."""
    for index, x in enumerate(case.inputs):
        if x.ndim < 2 or x.dtype.kind not in "fb" or min(x.shape[-2:]) < 2:
            continue
        keep = x > _HIDDEN if x.dtype.kind == "f" else x
        plain = x.dtype.kind == "b" or bool((x[keep] == 0).all())
        if plain and not keep.all() and keep.any():
            yield index, keep, np.broadcast_to(_apart(*keep.shape[-2:]), keep.shape)


def _masked(case: Case, index: int, words: str, keep: np.ndarray) -> Edit:
    x = case.inputs[index]
    hidden = x.min() if x.dtype.kind == "f" else False
    other = keep if x.dtype.kind == "b" else np.where(keep, 0.0, hidden).astype(x.dtype)
    inputs = (*case.inputs[:index], other, *case.inputs[index + 1 :])
    return case.edit(words, inputs=inputs, do=f"use the mask of input {index}")


@hypothesis("soft-cap")
def soft_cap(case: Case) -> Iterator[Edit]:
    """The scores are not soft-capped, c · tanh(x / c), or with another constant c.

    Gemma 2 caps attention at 50 and logits at 30. Small scores hardly show it.
    """
    for position, _ in case.having(ops.Tanh):
        before = _source(case, Ref(position))
        after = [
            at
            for at, step in enumerate(case.steps)
            if isinstance(step.op, ops.Mul) and Ref(position) in step.sources(at)
        ]
        if len(after) != 1 or not _is(case, before, ops.Div, ops.Mul):
            continue
        one, other = (
            _constant(case, at, ref)
            for at, ref in ((before.step, _source(case, before)), (after[0], Ref(position)))
        )
        if one is None or other is None:
            continue
        scores, cap = _source(case, before), float(case.steps[other].op.value)  # type: ignore[attr-defined]
        yield case.edit(
            f"scores are not capped at {cap:g}",
            _taking(case, Ref(after[0]), scores),
            do=f"{cap:g} · tanh(scores / {cap:g})",
        )
        yield case.edit(
            f"scores are not multiplied by {cap:g} after the tanh",
            _taking(case, Ref(after[0]), Ref(position)),
            do=f"{cap:g} · tanh(scores / {cap:g})",
        )
        for value in _CAPS:
            if abs(value - cap) > 1e-6:
                divided = value if _is(case, before, ops.Div) else 1 / value
                steps = case.changed(one, value=np.array(divided))
                steps = case.became_steps(steps).changed(other, value=np.array(value))
                yield case.edit(f"scores are capped at {value:g}, not {cap:g}", steps)


def _constant(case: Case, position: int, beside_it: Ref) -> int | None:
    """The step of the single number that a step takes beside a tensor."""
    for ref in case.steps[position].sources(position):
        if ref != beside_it and _is(case, ref, ops.Constant):
            return ref.step if case.values[ref.step][0].size == 1 else None
    return None


# Norms, packed projections, routers.


@hypothesis("norm-offset")
def norm_offset(case: Case) -> Iterator[Edit]:
    """A normalisation multiplies by w instead of 1 + w, or the reverse, or adds 1 twice.

    Gemma and others store the gain minus 1. The output is wrong by the factor w / (1 + w) in each
    channel.
    """
    gains = _gains(case)
    groups = [gains, *([one] for one in gains if 1 < len(gains) <= 8)] if gains else []
    for some in groups:
        for by, words in ((1.0, "1 is added to"), (-1.0, "1 is subtracted from")):
            arrays = {name: case.weights[name].effective + by for name in some}
            told = ", ".join(some[:3]) + (", ..." if len(some) > 3 else "")
            yield case.edit(
                f"{words} {told}",
                case.with_weights(arrays),
                do="use the gain as the layer has it: " + ("w" if by > 0 else "1 + w"),
            )
    for position, _ in case.having(ops.Mul):
        for ref in case.steps[position].sources(position):
            if ref.step < 0 and case.inputs[ref.index].ndim == 1:
                x = case.inputs[ref.index]
                for by, words in ((-1.0, "w instead of 1 + w"), (1.0, "2 + w instead of 1 + w")):
                    inputs = (*case.inputs[: ref.index], x + by, *case.inputs[ref.index + 1 :])
                    yield case.edit(f"the gain is {words}", inputs=inputs, do="use 1 + w")


def _gains(case: Case) -> list[str]:
    """The weights that norms multiply by."""
    found = []
    for position, op in case.having(ops.RMSNormalization, ops.LayerNormalization):
        del position
        if op.scale is not None:
            found.append(op.scale.name)
    for position, _ in case.having(ops.Mul):
        for ref in case.steps[position].sources(position):
            step = case.steps[ref.step].op if ref.step >= 0 else None
            weight = getattr(step, "weight", None)
            if isinstance(step, ops.Parameter) and weight is not None and weight.value.ndim == 1:
                found.append(weight.name)
    return list(dict.fromkeys(found))


@hypothesis("packed-order")
def packed_order(case: Case) -> Iterator[Edit]:
    """The parts of a packed projection, query, key and value (or gate and up), are split head by
    head or feature by feature instead of in blocks, or in another order.

    GPT-2 packs three blocks, GPT-NeoX the three parts of each head together. The first block, or
    head 0, may be right.
    """
    for position, op in case.having(ops.MatMul):
        width = op.weight.value.shape[-1]
        parts = _parts_taken(case, position)
        if len(parts) < 2:
            continue
        for words, order in _packings(case, parts, width):
            if not np.array_equal(order, np.arange(width)):
                yield case.edit(
                    f"the outputs of {op.weight.name} are taken {words}",
                    case.with_op(position, _reordered(op, order)),
                    do=f"split them into parts of {', '.join(map(str, parts))}",
                )


def _parts_taken(case: Case, position: int) -> list[int]:
    """The sizes of the parts that the last axis of what a step gives is cut into."""
    found: dict[int, int] = {}
    for at, step in enumerate(case.steps):
        if isinstance(step.op, ops.Slice) and Ref(position) in step.sources(at):
            found[step.op.starts[-1]] = case.values[at][0].shape[-1]
    whole = case.values[position][0].shape[-1]
    return [found[key] for key in sorted(found)] if sum(found.values()) == whole else []


def _packings(case: Case, parts: Sequence[int], width: int) -> Iterator[tuple[str, np.ndarray]]:
    through_all = np.arange(width)
    count = len(parts)
    if len(set(parts)) == 1:
        for order in permutations(range(count)) if count == 3 else ():
            blocks = through_all.reshape(count, -1)[list(order)]
            words = ", ".join(("query", "key", "value")[k] for k in order)
            yield f"in the order {words}", blocks.reshape(-1)
        yield "feature by feature", through_all.reshape(-1, count).T.reshape(-1)
        yield (
            "in blocks, though they were written feature by feature",
            through_all.reshape(count, -1).T.reshape(-1),
        )
    for size in _head_sizes(case):
        if any(part % size for part in parts):
            continue
        heads = [part // size for part in parts]
        groups = min(heads)
        if any(one % groups for one in heads) or groups < 2:
            continue
        each = [one // groups for one in heads]
        blocks = through_all.reshape(groups, sum(each), size)
        ends = np.cumsum(each)
        apart = [blocks[:, end - n : end].reshape(-1) for end, n in zip(ends, each, strict=True)]
        yield f"head by head ({groups} groups of {sum(each)} heads)", np.concatenate(apart)
        pieces = np.split(through_all, np.cumsum(parts)[:-1])
        together = [piece.reshape(groups, n, size) for piece, n in zip(pieces, each, strict=True)]
        yield (
            f"in blocks, though they were written head by head ({groups} groups)",
            np.concatenate(together, axis=1).reshape(-1),
        )


def _head_sizes(case: Case) -> list[int]:
    """The features of a head, as reshapes tell."""
    shapes = [case.values[position][0].shape for position, _ in case.having(ops.Reshape)]
    return list(dict.fromkeys(shape[-1] for shape in shapes if len(shape) == 4))


def _reordered(op: Any, order: np.ndarray) -> Any:
    """A product whose outputs are those at ``order``."""
    weight = Weight(op.weight.name, None, op.weight.value[..., order])
    bias = op.bias and Weight(op.bias.name, None, op.bias.value[order])
    return replace(op, weight=weight, bias=bias)


@hypothesis("topk-normalisation")
def topk_normalisation(case: Case) -> Iterator[Edit]:
    """The weights of the chosen experts are not divided by their sum, or are divided although the
    layer does not.

    The experts are right; their weighted sum is scaled by one factor per token.
    """
    for position, _ in case.having(ops.Div):
        sources = case.steps[position].sources(position)
        if _is(case, sources[1], ops.ReduceSum) and _source(case, sources[1]) == sources[0]:
            yield case.edit(
                "the weights of the chosen experts are not divided by their sum",
                _taking(case, Ref(position), sources[0]),
                do="divide them by their sum",
            )
    for position, op in case.having(ops.TopK):
        chosen = Ref(position)
        users = [step for at, step in enumerate(case.steps) if chosen in step.sources(at)]
        if _is(case, _source(case, chosen), ops.Softmax) and not any(
            isinstance(step.op, ops.ReduceSum) for step in users
        ):
            norm = ops.LpNormalization((op.axis,), 0.0, p=1.0)
            steps = rewired(case, [Change(chosen, (norm,))])
            yield case.edit(
                "the weights of the chosen experts are divided by their sum, as of a softmax over "
                "these alone",
                steps,
                also=("router-order",),
                do="take the softmax over all experts, and do not divide again",
            )


@hypothesis("router-order")
def router_order(case: Case) -> Iterator[Edit]:
    """The softmax of a router is computed before the top k experts are chosen instead of after it,
    or not at all.

    Computed over all experts, the weights of the chosen ones sum to less than 1. If they are then
    divided by their sum, both orders give the same values.
    """
    for position, op in case.having(ops.Softmax):
        source = _source(case, Ref(position))
        if not _is(case, source, ops.TopK):
            continue
        logits = _source(case, source)
        top = case.steps[source.step].op
        yield case.edit(
            "the softmax is taken over all experts, before the top are chosen",
            rewired(case, [Change(Ref(position), (op, top), source=logits)]),
            do="take the softmax of the chosen scores alone",
        )
    for position, _ in case.having(ops.Softmax):
        behind = [at for at, step in enumerate(case.steps) if Ref(position) in step.sources(at)]
        if behind and all(isinstance(case.steps[at].op, ops.TopK) for at in behind):
            yield case.edit(
                "the scores of the router are used as they are, without a softmax",
                _taking(case, Ref(position), _source(case, Ref(position))),
                do="take the softmax of the scores",
            )
