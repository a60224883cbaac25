"""Mistakes with the parts of language models: the rotation of positions, the heads, what attention
may see, the offset of norms, packed projections and routers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.case import Case, Edit, Steps
from probe.hypotheses.changes import shape_of, taking, users_of
from probe.hypotheses.registry import hypothesis
from probe.hypotheses.rewiring import Change, rewired
from probe.hypotheses.step_words import step_name
from probe.numerics.precision import Precision
from probe.ops.base import Evaluated, Rearrangement
from probe.ops.step import Ref

__all__: list[str] = []

_BASES = (1e4, 5e5, 1e6, *(n * 10.0**k for k in range(1, 8) for n in (1, 2, 5)), 1.6e5, 8e6)
_CAPS = (50.0, 30.0, 20.0)
_HIDDEN = -1e3
"""What is added to a score that is not to count, or less."""


class _Rope(NamedTuple):
    """x cos + turned(x) sin, at the step that adds the two: what is rotated, and the two factors
    as their products take them."""

    add: int
    x: Ref
    cos: Ref
    sin: Ref
    pairs: str
    """Which features are rotated together: "halves", (i, i + d/2), or "neighbours"."""


def _ropes(case: Case) -> list[_Rope]:
    """The rotations, the last one first."""
    found = []
    for position, _ in case.having(ops.Add):
        sources = case.steps[position].sources(position)
        for plain, turned in permutations(sources, 2):
            if not all(one.step >= 0 and _is(case, one, ops.Mul) for one in (plain, turned)):
                continue
            factors = case.steps[plain.step].sources(plain.step)
            products = case.steps[turned.step].sources(turned.step)
            for k, ref in enumerate(products):
                x, pairs = _turned(case, ref)
                if x is not None and x in factors and pairs:
                    cos, sin = factors[1 - factors.index(x)], products[1 - k]
                    found.append(_Rope(position, x, cos, sin, pairs))
    return found[::-1]


def _is(case: Case, ref: Ref, *kinds: type) -> bool:
    return ref.step >= 0 and isinstance(case.steps[ref.step].op, kinds)


def _taking(case: Case, instead_of: Ref, ref: Ref) -> Steps:
    return taking(case, instead_of, ref, "").applied(case.steps)


def _source(case: Case, ref: Ref) -> Ref:
    """What a step is applied to, first of all."""
    return case.steps[ref.step].sources(ref.step)[0]


def _turned(case: Case, ref: Ref) -> tuple[Ref | None, str]:
    """x, where the tensor holds its features in another order, some of them negated, and which are
    exchanged; "" where that is no rotation."""
    halves, rest = [], [ref]
    while rest:
        one = rest.pop()
        if _is(case, one, ops.Slice):
            halves.append(_source(case, one))
        elif _is(case, one, Rearrangement, ops.Neg, ops.Concat) and one.step > ref.step - 12:
            rest += case.steps[one.step].sources(one.step)
        else:
            return None, ""
    if len(halves) != 2 or halves[0] != halves[1]:
        return None, ""
    x, y = (one.of(case.inputs, case.values) for one in (halves[0], ref))
    for pairs in ("halves", "neighbours"):
        if x.shape == y.shape and not x.shape[-1] % 2 and np.array_equal(_quarter(x, pairs), y):
            return halves[0], pairs
    return None, ""


def _quarter(x: np.ndarray, pairs: str) -> np.ndarray:
    """Each pair of features turned by a right angle."""
    if pairs == "halves":
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([-second, first], axis=-1)
    return np.stack([-x[..., 1::2], x[..., ::2]], axis=-1).reshape(x.shape)


def _spread(angles: np.ndarray, pairs: str) -> np.ndarray:
    """The angles of pairs (position, pair) for each of their features."""
    if pairs == "halves":
        return np.concatenate([angles, angles], axis=-1)
    return np.repeat(angles, 2, axis=-1)


@dataclass(frozen=True, eq=False)
class _Rotation(ops.Op):
    """Pairs of features rotated by their angles (position, pair), the same for all heads."""

    angles: np.ndarray
    scale: float = 1.0
    pairs: str = "halves"
    reordered: bool = False
    """Whether neighbours are brought to the two halves before."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        if self.reordered:
            x = np.concatenate([x[..., ::2], x[..., 1::2]], axis=-1)
        angles = _spread(self.angles, self.pairs)
        turned = x * np.cos(angles) + _quarter(x, self.pairs) * np.sin(angles)
        return (self.scale * turned,)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """Four roundings of each of the two products, and what arrives with their factors."""
        (x,), (slack,) = of.inputs, of.slacks
        size = 4 * precision.unit * np.abs(x) + (0.0 if slack is None else slack)
        if self.reordered:
            size = np.concatenate([size[..., ::2], size[..., 1::2]], axis=-1)
        angles = _spread(self.angles, self.pairs)
        beside = np.abs(_quarter(size, self.pairs))
        bound = size * np.abs(np.cos(angles)) + beside * np.abs(np.sin(angles))
        return (np.asarray(abs(self.scale) * bound),)


class _Angles(NamedTuple):
    """The angles by which a rotation turns, as far as its factors tell."""

    scale: float
    each: np.ndarray
    """Of one position, for each pair of features."""
    positions: np.ndarray

    def rotation(self, pairs: str, **other: Any) -> _Rotation:
        """The rotation with some of these being others."""
        held = self._replace(**{name: other.pop(name) for name in [*other] if name in self._fields})
        return _Rotation(held.positions[:, None] * held.each, held.scale, pairs, **other)


def _angles(case: Case, rope: _Rope) -> _Angles | None:
    """None where the positions are not one after the other, the same for all samples and heads."""
    cos, sin = (one.of(case.inputs, case.values) for one in (rope.cos, rope.sin))
    size = cos.shape[-1] if cos.ndim else 0
    if cos.shape != sin.shape or cos.ndim < 2 or cos.shape[-2] < 2 or size % 2:
        return None
    scale, angle = np.hypot(cos, sin), np.arctan2(sin, cos).astype(np.float64)
    angle = angle.reshape(-1, *cos.shape[-2:])[0]
    angle = angle[:, : size // 2] if rope.pairs == "halves" else angle[:, ::2]
    each = np.angle(np.exp(1j * (angle[1] - angle[0])))
    if not each.all() or (each < 0).any():
        return None
    begin = np.rint(angle[0, np.argmin(each)] / each.min())
    found = _Angles(float(scale.mean()), each, begin + np.arange(cos.shape[-2]))
    again = found.positions[:, None] * each
    spread = _spread(again, rope.pairs)
    near = np.allclose(np.cos(spread) * found.scale, cos, atol=1e-3)
    near = near and np.allclose(np.sin(spread) * found.scale, sin, atol=1e-3)
    return found if near else None


def _some(case: Case) -> Iterator[tuple[list[tuple[_Rope, _Angles]], str]]:
    """All rotations with their angles, and each of a few."""
    each = [(rope, angles) for rope in _ropes(case) if (angles := _angles(case, rope)) is not None]
    if each:
        yield each, ""
    if 1 < len(each) <= 4:
        for number, one in enumerate(each):
            yield [one], f" in rotation {len(each) - number} of {len(each)}"


def _rotated(
    case: Case, some: Sequence[tuple[_Rope, _Angles]], of: Callable[[_Rope, _Angles], _Rotation]
) -> Steps:
    """The steps with other rotations."""
    changes = [
        Change(Ref(rope.add), (of(rope, angles),), _behind(rope.add), source=rope.x)
        for rope, angles in some
    ]
    return rewired(case, changes)


def _at(position: int) -> Callable[[int], bool]:
    return lambda other: other == position


def _behind(position: int) -> Callable[[int], bool]:
    return lambda other: other > position


_OTHER = {"halves": "neighbours", "neighbours": "halves"}
_WORDS = {"halves": "(i, i + d/2)", "neighbours": "(2i, 2i + 1)"}


@hypothesis("rope-layout")
def rope_layout(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) pairs other features: neighbours (2i, 2i + 1) instead of the
    two halves (i, i + d/2), or the reverse.

    Meta's, Cohere's and GPT-J's code pairs neighbours, Hugging Face's Llama the halves, with the
    rows of the query and key weights permuted. Position 0 is exact, since it is not rotated.
    """
    for some, where in _some(case):
        own = some[0][0].pairs
        what = "neighbouring features are" if own == "halves" else "the two halves are"
        yield case.edit(
            f"{what} rotated together, {_WORDS[_OTHER[own]]}{where}; the layer rotates "
            f"{_WORDS[own]}",
            _rotated(case, some, lambda rope, angles: angles.rotation(_OTHER[rope.pairs])),
            do=f"rotate features {_WORDS[own]} together",
        )
        if own == "halves":
            yield case.edit(
                "features are reordered from neighbours to halves before the rotation"
                f"{where}, as for weights that are not permuted yet",
                _rotated(
                    case, some, lambda rope, angles: angles.rotation("halves", reordered=True)
                ),
                do="leave the rows of the query and key weights as they are",
            )


@hypothesis("rope-direction")
def rope_direction(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) rotates in the other direction: the sine has the wrong sign.

    Position 0 is exact. If both queries and keys are affected, only scores between different
    positions differ.
    """
    for some, where in _some(case):
        yield case.edit(
            f"the sine of the rotation has the other sign{where}",
            _rotated(case, some, lambda r, angles: angles.rotation(r.pairs, each=-angles.each)),
            do="rotate (a, b) to (a cos - b sin, b cos + a sin)",
        )


@hypothesis("rope-dims")
def rope_dims(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) is not applied to queries, to keys, or to both, is applied
    to values, or to all features of a head instead of the first ones.

    Position 0 is exact; the error grows with the distance between positions.
    """
    for some, where in _some(case):
        steps: Steps = case.steps
        for rope, _ in some:
            steps = _taking(case.became_steps(steps), Ref(rope.add), rope.x)
        yield case.edit(
            f"positions are not rotated{where}", steps, do="rotate queries and keys by position"
        )
        if where:
            continue
        if all(_wide(case, rope) for rope, _ in some):
            yield case.edit(
                "all features of a head are rotated; the layer rotates the first "
                f"{2 * some[0][1].each.size}",
                rewired(case, [change for one in some for change in _all_rotated(case, *one)]),
                do="rotate the first features (partial_rotary_factor of the config)",
            )
        rope, angles = some[0]
        for ref in _like(case, rope):
            change = Change(ref, (angles.rotation(rope.pairs),))
            yield case.edit(
                "values are rotated by position, too",
                rewired(case, [change]),
                do="rotate queries and keys alone",
            )


def _like(case: Case, rope: _Rope) -> Iterator[Ref]:
    """Tensors that are no rotation's and have the shape of what is rotated, as it is made."""
    taken = {one.x for one in _ropes(case)}
    kind, shape = type(case.steps[rope.x.step].op), np.shape(case.values[rope.add][0])
    for position, step in enumerate(case.steps):
        ref = Ref(position)
        alike = type(step.op) is kind and np.shape(case.values[position][0]) == shape
        if alike and ref not in taken and not _is(case, ref, ops.Add):
            yield ref


def _wide(case: Case, rope: _Rope) -> tuple[Ref, int] | None:
    """The whole heads of which a rotation takes the first features, and the step that puts the
    rotated ones and the others together; None where it takes all."""
    cut = rope.x
    while _is(case, cut, ops.Reshape):
        cut = _source(case, cut)
    if not _is(case, cut, ops.Slice):
        return None
    whole = _source(case, cut)
    for position, _ in case.having(ops.Concat):
        same = np.shape(case.values[position][0]) == np.shape(whole.of(case.inputs, case.values))
        if same and case.steps[position].sources(position)[0] == Ref(rope.add):
            return whole, position
    return None


def _all_rotated(case: Case, rope: _Rope, angles: _Angles) -> list[Change]:
    found = _wide(case, rope)
    assert found is not None
    whole, joined = found
    size = np.shape(whole.of(case.inputs, case.values))[-1]
    each = _frequencies(_base(angles), size // 2)
    rotation = angles.rotation(rope.pairs, each=each)
    return [Change(Ref(joined), (rotation,), _behind(joined), source=whole)]


def _frequencies(base: float, count: int, size: int = 0) -> np.ndarray:
    """Of so many pairs of features, the first of a head of that size."""
    return np.asarray(base ** (-2.0 * np.arange(count) / (size or 2 * count)))


def _base(angles: _Angles) -> float:
    """The base of the angles, as their first two tell; 10000 where there is but one."""
    count = angles.each.size
    return float((angles.each[1] / angles.each[0]) ** -count) if count > 1 else 1e4


@hypothesis("rope-base")
def rope_base(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) has another base, or scaled positions or frequencies.

    The usual base is 10000; Llama 3 has 500000, others 1000000. Position 0 is exact, and the error
    grows with the position: few positions hardly show it.
    """
    some, _ = next(_some(case), ([], ""))
    if not some:
        return
    rope, angles = some[0]
    count, base = angles.each.size, _base(angles)
    own = _frequencies(base, count)
    told, factors = f"; the layer's base is about {base:.4g}", [1]
    if not np.allclose(own, angles.each, rtol=1e-3):
        told = "; the layer's frequencies are scaled, each by its own factor"
        factors += [2, 4, 8, 16, 32]
    tried = {
        f"with the base {other:.6g}" + f" and all frequencies divided by {factor}" * (factor > 1): (
            _frequencies(other, count) / factor
        )
        for factor in factors
        for other in _BASES
    }
    if found := _wide(case, rope):
        size = np.shape(found[0].of(case.inputs, case.values))[-1]
        words = f"with the frequencies of a head of {size} features, not of {2 * count}"
        tried[words] = _frequencies(base if count > 1 else 1e4, count, size)
    for words, each in tried.items():
        if np.abs(each - angles.each).max() > 1e-6:
            of = partial(_with, each=each)
            yield case.edit(
                f"positions are rotated {words}{told}",
                _rotated(case, some, of),
                do="use the base and the scaling of the config (rope_theta, rope_scaling)",
            )
    for factor in (2.0, 4.0, 8.0, 0.5, 0.25, 0.125):
        yield case.edit(
            f"positions are divided by {factor:g} before they are rotated",
            _rotated(case, some, partial(_with, each=angles.each / factor)),
            do="scale positions as the config says (rope_scaling)",
        )


def _with(rope: _Rope, angles: _Angles, **other: Any) -> _Rotation:
    return angles.rotation(rope.pairs, **other)


@hypothesis("rope-offset")
def rope_offset(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) takes the position before or after: counted from 1, or
    without the length of the cache.

    It shows only if queries and keys are shifted differently: shifted alike, the scores are equal.
    """
    for some, where in _some(case):
        first = float(some[0][1].positions[0])
        for by in (1.0, -1.0, *((-first,) if first else ())):
            positions = some[0][1].positions + by
            yield case.edit(
                f"positions are moved by {by:+g} before they are rotated{where}",
                _rotated(case, some, partial(_with, positions=positions)),
                do="count positions from the same start for queries and keys",
            )


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
            before = shape_of(case, _source(case, source))
            repeated = [axis for axis in (2, 3) if len(before) == 5 and before[axis] == 1]
            order = [0, 1, 2, 3, 4]
            for axis in repeated[:1]:
                order[axis - 1 : axis + 1] = axis, axis - 1
                changes.append(Change(source, (ops.Transpose(tuple(order)),), _at(position)))
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
    packed: dict[tuple[str, str], list[tuple[int, np.ndarray]]] = {}
    for position, step in enumerate(case.steps):
        if isinstance(step.op, Rearrangement) or len(case.values[position]) != 1:
            continue
        parts = _parts_taken(case, position)
        width = np.shape(case.values[position][0])[-1] if parts else 0
        for words, order in _packings(case, parts, width):
            if not np.array_equal(order, np.arange(width)):
                sizes = ", ".join(str(part.size) for part in parts)
                packed.setdefault((words, sizes), []).append((position, order))
    for (words, sizes), found in packed.items():
        alone = [[one] for one in found]
        for some in [found, *alone] if len(found) > 1 else alone:
            more = f" and {len(some) - 1} more" if len(some) > 1 else ""
            yield case.edit(
                f"the outputs of {_outputs_of(case, some[0][0])}{more} are taken {words}",
                rewired(case, [Change(Ref(at), (_Taken(order),)) for at, order in some]),
                do=f"split them into parts of {sizes} as the layer does",
                as_healthy=True,
            )


def _outputs_of(case: Case, position: int) -> str:
    op = case.steps[position].op
    return op.weight.name if isinstance(op, ops.MatMul) else step_name(case, position)


@dataclass(frozen=True, eq=False)
class _Taken(ops.Op):
    """The features in another order."""

    order: np.ndarray

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0][..., self.order],)


def _parts_taken(case: Case, position: int) -> list[np.ndarray]:
    """Which places along the last axis of what a step gives its parts take, each in their order;
    none where it is not cut into parts that make up the whole."""
    whole = case.values[position][0]
    if (
        whole.ndim < 2
        or whole.dtype.kind != "f"
        or not any(
            isinstance(case.steps[at].op, Rearrangement)
            for at in users_of(case).get(Ref(position), ())
        )
    ):
        return []
    width = whole.shape[-1]
    numbers = {Ref(position): np.broadcast_to(np.arange(width), whole.shape)}
    parts: list[np.ndarray] = []
    line = [Ref(position)]
    while line:
        ref = line.pop(0)
        for at in users_of(case).get(ref, ()):
            op, (data, *indices) = case.steps[at].op, case.steps[at].sources(at)
            if not isinstance(op, Rearrangement | ops.Gather) or data != ref:
                continue
            if not all(_is(case, one, ops.Constant) for one in indices):
                continue
            given = [numbers[ref], *(case.values[one.step][0] for one in indices)]
            for index, made in enumerate(op.run(*given)):
                if made.size == whole.size:
                    numbers[Ref(at, index)] = made
                    line.append(Ref(at, index))
                elif made.size:
                    parts.append(_first_of_each(made))
    parts.sort(key=lambda part: int(part.min()))
    together = np.concatenate(parts) if parts else np.empty(0, int)
    whole_once = together.size == width and np.array_equal(np.sort(together), np.arange(width))
    return parts if 2 <= len(parts) <= _PARTS and whole_once else []


_PARTS = 3
"""Query, key and value."""


def _first_of_each(numbers: np.ndarray) -> np.ndarray:
    """The numbers in their order, without the axes along which they are the same."""
    for axis in range(numbers.ndim):
        first = np.take(numbers, [0], axis)
        if (numbers == first).all():
            numbers = first
    return numbers.reshape(-1)


def _packings(
    case: Case, parts: Sequence[np.ndarray], width: int
) -> Iterator[tuple[str, np.ndarray]]:
    """What is taken for each place in other packings: in blocks, head by head, feature by
    feature."""

    def instead(layout: Sequence[np.ndarray]) -> np.ndarray:
        order = np.arange(width)
        for mine, theirs in zip(parts, layout, strict=True):
            order[mine] = theirs.reshape(-1)
        return order

    count, sizes = len(parts), [part.size for part in parts]
    if not parts:
        return
    through_all = np.arange(width)
    blocks = np.split(through_all, np.cumsum(sizes)[:-1])
    equal = len(set(sizes)) == 1
    for turn in permutations(range(count)) if equal and count == _PARTS else [range(count)]:
        names = ", ".join(("query", "key", "value")[k] for k in turn)
        words = f"in the order {names}" if count == _PARTS and equal else "in blocks"
        yield words, instead([blocks[k] for k in turn])
    in_blocks = all(map(np.array_equal, parts, blocks))
    if equal:
        yield "feature by feature", instead(list(through_all.reshape(-1, count).T))
        if in_blocks:
            woven = through_all.reshape(count, -1).T.reshape(-1)
            yield "in blocks, though they were written feature by feature", woven
    for size in _head_sizes(case):
        if any(part % size for part in sizes):
            continue
        heads = [part // size for part in sizes]
        groups = min(heads)
        if any(one % groups for one in heads) or groups < 2:
            continue
        each = [one // groups for one in heads]
        by_head = through_all.reshape(groups, sum(each), size)
        ends = np.cumsum(each)
        apart = [by_head[:, end - n : end] for end, n in zip(ends, each, strict=True)]
        yield f"head by head ({groups} groups of {sum(each)} heads)", instead(apart)
        if equal:
            within = through_all.reshape(groups, size, count)
            features = [within[:, :, k] for k in range(count)]
            yield f"feature by feature within each of {groups} heads", instead(features)
        if in_blocks:
            pieces = zip(blocks, each, strict=True)
            together = [piece.reshape(groups, n, size) for piece, n in pieces]
            yield (
                f"in blocks, though they were written head by head ({groups} groups)",
                np.concatenate(together, axis=1).reshape(-1),
            )


def _head_sizes(case: Case) -> list[int]:
    """The features of a head, as reshapes tell."""
    shapes = [case.values[position][0].shape for position, _ in case.having(ops.Reshape)]
    return list(dict.fromkeys(shape[-1] for shape in shapes if len(shape) == 4))


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
