"""Mistakes with rotary position embeddings (RoPE): which features are paired, the direction, the
base, the positions, and what is rotated."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.by_hand.registry import writes
from probe.by_hand.values import Value
from probe.hypotheses.attention.rope_scaling import frequencies
from probe.hypotheses.attention.rotation import (
    Rotation,
    quarter,
    rotation_by_hand,
    spread_angles,
)
from probe.hypotheses.edits.rewriting import (
    Rewiring,
    made_by,
    origin_of,
    rewired,
    source_of,
    steps_taking,
)
from probe.hypotheses.edits.step_words import ordinal, tensor_name
from probe.hypotheses.registry import hypothesis
from probe.ops.base import Rearrangement
from probe.ops.step import Ref
from probe.trial.case import Case, shape_of
from probe.trial.edit import Edit, Steps

__all__ = ["BASES", "angles_of", "base_of", "rotated", "with_angles"]

BASES = (1e4, 5e5, 1e6, *(n * 10.0**k for k in range(1, 8) for n in (1, 2, 5)), 1.6e5, 8e6)


_SHAPES = (ops.Reshape, ops.Squeeze, ops.Unsqueeze, ops.Identity)


class _Rope(NamedTuple):
    """x cos + turned(x) sin, at the step that adds the two, or (a cos - b sin, b cos + a sin) of
    the two features of each pair, at the step that puts them together: what is rotated, and the two
    factors as their products take them."""

    add: int
    x: Ref
    cos: Ref
    sin: Ref
    pairs: str
    """Which features are rotated together: "halves", (i, i + d/2), or "neighbours"."""
    of_pairs: bool = False
    """Whether the factors hold one number for each pair, not for each feature."""


def _ropes(case: Case) -> list[_Rope]:
    """The rotations, the last one first."""
    found = []
    for position, _ in case.having(ops.Add):
        sources = case.steps[position].sources(position)
        for plain, turned in permutations(sources, 2):
            if not all(ref.step >= 0 and made_by(case, ref, ops.Mul) for ref in (plain, turned)):
                continue
            factors = case.steps[plain.step].sources(plain.step)
            products = case.steps[turned.step].sources(turned.step)
            for k, ref in enumerate(products):
                x, pairs = _turned(case, ref)
                if x is not None and x in factors and pairs:
                    cos, sin = factors[1 - factors.index(x)], products[1 - k]
                    found.append(_Rope(position, x, cos, sin, pairs))
    found += (pair for position, _ in case.having(ops.Concat) if (pair := _joined(case, position)))
    return sorted(found, key=lambda rope: rope.add)[::-1]


def _joined(case: Case, position: int) -> _Rope | None:
    """The rotation that puts a cos - b sin and b cos + a sin together, at the step that gives it in
    the shape of what is rotated."""
    parts = [_unshaped(case, ref) for ref in case.steps[position].sources(position)]
    if len(parts) != 2 or not (
        made_by(case, parts[0], ops.Sub) and made_by(case, parts[1], ops.Add)
    ):
        return None
    terms = [ref for part in parts for ref in case.steps[part.step].sources(part.step)]
    if len(terms) != 4 or not all(made_by(case, ref, ops.Mul) for ref in terms):
        return None
    products = [case.steps[ref.step].sources(ref.step) for ref in terms]
    orders = product(*(permutations(pair, 2) for pair in products))
    for (a, cos), (b, sin), third, fourth in orders:
        if not any(
            _same_tensors(case, terms, (b, cos, a, sin))
            for terms in (third + fourth, fourth + third)
        ):
            continue
        cut = [_unshaped(case, half) for half in (a, b)]
        if not all(made_by(case, half, ops.Slice, ops.Take) for half in cut):
            continue
        x = source_of(case, cut[0])
        if x != source_of(case, cut[1]):
            continue
        whole, first = (ref.of(case.inputs, case.values) for ref in (x, a))
        if whole.shape[-1] == 2 and whole.ndim > first.ndim:  # of complex numbers
            flat = (*whole.shape[:-2], 2 * whole.shape[-2])
            while made_by(case, x, *_SHAPES) and shape_of(case, x) != flat:
                x = source_of(case, x)
            whole = x.of(case.inputs, case.values)
        for at in _given_in_shape(case, position, whole.shape):
            for pairs in ("halves", "neighbours") if not whole.shape[-1] % 2 else ():
                if pairs == "neighbours":
                    mine = whole[..., ::2]
                else:
                    mine = np.split(whole, 2, axis=-1)[0]
                if mine.size == first.size and np.array_equal(mine, first.reshape(mine.shape)):
                    return _Rope(at, x, cos, sin, pairs, True)
    return None


def _given_in_shape(case: Case, position: int, shape: tuple[int, ...]) -> Iterator[int]:
    """The step, and those behind it that give what it gives another shape, which give this one."""
    for at in range(position, min(position + 4, len(case.steps))):
        if at > position and not isinstance(case.steps[at].op, _SHAPES):
            return
        if shape_of(case, Ref(at)) == shape:
            yield at


def _same_tensors(case: Case, some: Sequence[Ref], others: Sequence[Ref]) -> bool:
    """Whether tensors are the same; a parameter is a step for each that takes it."""
    pairs = [
        (x.of(case.inputs, case.values), y.of(case.inputs, case.values))
        for x, y in zip(some, others, strict=True)
    ]
    return all(x is y or np.array_equal(x, y) for x, y in pairs)


def _unshaped(case: Case, ref: Ref) -> Ref:
    """The tensor before it was given another shape."""
    while made_by(case, ref, *_SHAPES):
        ref = source_of(case, ref)
    return ref


def _turned(case: Case, ref: Ref) -> tuple[Ref | None, str]:
    """x, where the tensor holds its features in another order, some of them negated, and which are
    exchanged; "" where that is no rotation."""
    halves, rest = [], [ref]
    while rest:
        turned = rest.pop()
        if made_by(case, turned, ops.Slice):
            halves.append(source_of(case, turned))
        elif (
            made_by(case, turned, Rearrangement, ops.Neg, ops.Concat)
            and turned.step > ref.step - 12
        ):
            rest += case.steps[turned.step].sources(turned.step)
        else:
            return None, ""
    if len(halves) != 2 or halves[0] != halves[1]:
        return None, ""
    x, y = (tensor.of(case.inputs, case.values) for tensor in (halves[0], ref))
    for pairs in ("halves", "neighbours"):
        if x.shape == y.shape and not x.shape[-1] % 2 and np.array_equal(quarter(x, pairs), y):
            return halves[0], pairs
    return None, ""


class _Angles(NamedTuple):
    """The angles by which a rotation turns, as far as its factors tell."""

    scale: float
    each: np.ndarray
    """Of one position, for each pair of features."""
    positions: np.ndarray
    behind: int = 0
    """How many axes lie between the positions and the features."""

    def rotation(self, pairs: str, **other: Any) -> Rotation:
        """The rotation with some of these being others."""
        held = self._replace(**{name: other.pop(name) for name in [*other] if name in self._fields})
        angles = held.positions[:, None] * held.each
        return Rotation(angles, held.scale, pairs, behind=held.behind, **other)


def _angles(case: Case, rope: _Rope) -> _Angles | None:
    """None where the positions are not one after the other, the same for all samples and heads."""
    cos, sin = (ref.of(case.inputs, case.values) for ref in (rope.cos, rope.sin))
    if rope.of_pairs and cos.ndim:
        cos, sin = (spread_angles(table, rope.pairs) for table in (cos, sin))
    behind = int(cos.ndim > 2 and cos.shape == sin.shape and cos.shape[-2] == 1)
    if behind:
        cos, sin = cos[..., 0, :], sin[..., 0, :]
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
    found = _Angles(float(scale.mean()), each, begin + np.arange(cos.shape[-2]), behind)
    again = found.positions[:, None] * each
    spread = spread_angles(again, rope.pairs)
    near = np.allclose(np.cos(spread) * found.scale, cos, atol=1e-3)
    near = near and np.allclose(np.sin(spread) * found.scale, sin, atol=1e-3)
    if near:
        return found
    return None


def angles_of(case: Case) -> Iterator[tuple[list[tuple[_Rope, _Angles]], str]]:
    """All rotations with their angles, and each of a few."""
    each = [(rope, angles) for rope in _ropes(case) if (angles := _angles(case, rope)) is not None]
    if each:
        yield each, ""
    if 1 < len(each) <= 4:
        names = [tensor_name(case, origin_of(case, rope.x)) for rope, _ in each]
        for number, rotation in enumerate(each):
            which = f"rotation of {names[number]}"
            if len({*names}) < len(each):
                which = f"{ordinal(len(each) - number)} rotation"
            yield [rotation], f" in the {which}"


def rotated(
    case: Case, some: Sequence[tuple[_Rope, _Angles]], of: Callable[[_Rope, _Angles], Rotation]
) -> Steps:
    """The steps with other rotations."""
    changes = [
        Rewiring(Ref(rope.add), (of(rope, angles),), _behind(rope.add), source=rope.x)
        for rope, angles in some
    ]
    return rewired(case, changes)


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
    for some, where in angles_of(case):
        own = some[0][0].pairs
        if own == "halves":
            what = "neighbouring features are"
        else:
            what = "the two halves are"
        yield case.edit(
            f"{what} rotated together, {_WORDS[_OTHER[own]]}{where}; the layer rotates "
            f"{_WORDS[own]}",
            rotated(case, some, lambda rope, angles: angles.rotation(_OTHER[rope.pairs])),
            do=f"rotate features {_WORDS[own]} together",
        )
        if own == "halves":
            yield case.edit(
                "the features of each head are reordered from neighbours (2i, 2i + 1) to halves "
                f"(i, i + d/2) before they are rotated{where}",
                rotated(case, some, lambda rope, angles: angles.rotation("halves", reordered=True)),
                do="rotate the features as they are, without reordering them",
            )


@hypothesis("rope-direction")
def rope_direction(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) rotates in the other direction: the sine has the wrong sign.

    Position 0 is exact. If both queries and keys are affected, only scores between different
    positions differ.
    """
    for some, where in angles_of(case):
        yield case.edit(
            f"the sine of the rotation has the other sign{where}",
            rotated(case, some, lambda r, angles: angles.rotation(r.pairs, each=-angles.each)),
            do="rotate (a, b) to (a cos - b sin, b cos + a sin)",
        )


@hypothesis("rope-dims")
def rope_dims(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) is not applied to queries, to keys, or to both, is applied
    to values, or to all features of a head instead of the first ones.

    Position 0 is exact; the error grows with the distance between positions.
    """
    for some, where in angles_of(case):
        steps: Steps = case.steps
        for rope, _ in some:
            steps = steps_taking(case.became_steps(steps), Ref(rope.add), rope.x)
        yield case.edit(
            f"{where.removeprefix(' in ') or 'the rotation of queries and keys'} is left out",
            steps,
            do="rotate queries and keys by position",
        )
        if where:
            continue
        if all(_wide(case, rope) for rope, _ in some):
            yield case.edit(
                "all features of a head are rotated; the layer rotates the first "
                f"{2 * some[0][1].each.size}",
                rewired(case, [change for pair in some for change in _all_rotated(case, *pair)]),
                do="rotate the first features (partial_rotary_factor of the config)",
            )
        if all(_wide(case, rope) for rope, _ in some):
            size = 2 * some[0][1].each.size
            yield case.edit(
                f"the last {size} features of a head are rotated, not the first",
                rewired(case, [_last_rotated(case, *pair) for pair in some]),
                do=f"rotate the first {size} features of each head",
                as_healthy=True,
            )
        rope, angles = some[0]
        for ref in _like(case, rope):
            change = Rewiring(ref, (angles.rotation(rope.pairs),))
            yield case.edit(
                "values are rotated by position, too",
                rewired(case, [change]),
                do="rotate queries and keys alone",
            )


def _like(case: Case, rope: _Rope) -> Iterator[Ref]:
    """Tensors that are no rotation's and have the shape of what is rotated, as it is made."""
    taken = {rope.x for rope in _ropes(case)}
    kind, shape = type(case.steps[rope.x.step].op), np.shape(case.values[rope.add][0])
    for position, step in enumerate(case.steps):
        ref = Ref(position)
        alike = type(step.op) is kind and np.shape(case.values[position][0]) == shape
        if alike and ref not in taken and not made_by(case, ref, ops.Add):
            yield ref


def _wide(case: Case, rope: _Rope) -> tuple[Ref, int] | None:
    """The whole heads of which a rotation takes the first features, and the step that puts the
    rotated ones and the others together; None where it takes all."""
    cut = rope.x
    while made_by(case, cut, ops.Reshape):
        cut = source_of(case, cut)
    if not made_by(case, cut, ops.Slice):
        return None
    whole = source_of(case, cut)
    for position, _ in case.having(ops.Concat):
        same = np.shape(case.values[position][0]) == np.shape(whole.of(case.inputs, case.values))
        if same and case.steps[position].sources(position)[0] == Ref(rope.add):
            return whole, position
    return None


def _all_rotated(case: Case, rope: _Rope, angles: _Angles) -> list[Rewiring]:
    found = _wide(case, rope)
    assert found is not None
    whole, joined = found
    size = np.shape(whole.of(case.inputs, case.values))[-1]
    each = frequencies(base_of(angles), size // 2)
    rotation = angles.rotation(rope.pairs, each=each)
    return [Rewiring(Ref(joined), (rotation,), _behind(joined), source=whole)]


@dataclass(frozen=True, eq=False)
class _OfLast(ops.Op):
    """A rotation of the last features of each head."""

    rotation: Rotation

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        first, last = np.split(inputs[0], [-2 * self.rotation.angles.shape[-1]], axis=-1)
        return (np.concatenate([first, *self.rotation.run(last)], axis=-1),)


@writes(_OfLast)
def _of_last_by_hand(op: _OfLast, w: Any, x: Value) -> Value:
    x = w.named("heads", w.plain(x))
    size = x.shape[-1] - 2 * op.rotation.angles.shape[-1]
    last = w.let("last", Value(f"{x.text}[..., {size}:]", (*x.shape[:-1], x.shape[-1] - size)))
    turned = rotation_by_hand(op.rotation, w, last).text
    text = f"np.concatenate([{x.text}[..., :{size}], {turned}], axis=-1)"
    whole: Value = w.result(text)
    return whole


def _last_rotated(case: Case, rope: _Rope, angles: _Angles) -> Rewiring:
    found = _wide(case, rope)
    assert found is not None
    whole, joined = found
    rotation = _OfLast(angles.rotation(rope.pairs))
    return Rewiring(Ref(joined), (rotation,), _behind(joined), source=whole)


def base_of(angles: _Angles) -> float:
    """The base of the angles, as their first two tell; 10000 where there is but one."""
    count = angles.each.size
    if count > 1:
        return float((angles.each[1] / angles.each[0]) ** -count)
    return 1e4


@hypothesis("rope-base")
def rope_base(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) has another base, or positions or frequencies scaled by
    another formula.

    The usual base is 10000; Llama 3 has 500000, others 1000000. Position 0 is exact, and the error
    grows with the position: few positions hardly show it.
    """
    some, _ = next(angles_of(case), ([], ""))
    if not some:
        return
    rope, angles = some[0]
    count, base = angles.each.size, base_of(angles)
    own = frequencies(base, count)
    remark, factors = f"; the layer's base is about {float(f'{base:.4g}'):g}", [1]
    if not np.allclose(own, angles.each, rtol=1e-3):
        remark = "; the layer's frequencies are scaled, each by its own factor"
        factors += [2, 4, 8, 16, 32]
    tried = {
        f"with the base {other:.10g}"
        + f" and all frequencies divided by {factor}" * (factor > 1): (
            frequencies(other, count) / factor
        )
        for factor in factors
        for other in BASES
    }
    if found := _wide(case, rope):
        size = np.shape(found[0].of(case.inputs, case.values))[-1]
        words = f"with the frequencies of a head of {size} features, not of {2 * count}"
        tried[words] = frequencies(base if count > 1 else 1e4, count, size)
    for words, each in tried.items():
        if np.abs(each - angles.each).max() > 1e-6:
            of = partial(with_angles, each=each)
            yield case.edit(
                f"queries and keys are rotated {words}{remark}",
                rotated(case, some, of),
                do="use the base and the scaling of the config (rope_theta, rope_scaling)",
            )
    for factor in (2.0, 4.0, 8.0, 0.5, 0.25, 0.125):
        yield case.edit(
            f"positions are divided by {factor:g} before the rotation",
            rotated(case, some, partial(with_angles, each=angles.each / factor)),
            do="scale positions as the config says (rope_scaling)",
        )


def with_angles(rope: _Rope, angles: _Angles, **other: Any) -> Rotation:
    return angles.rotation(rope.pairs, **other)


@hypothesis("rope-offset")
def rope_offset(case: Case) -> Iterator[Edit]:
    """Rotary position embedding (RoPE) takes the position before or after: counted from 1, or
    without the length of the cache.

    It shows only if queries and keys are shifted differently: shifted alike, the scores are equal.
    """
    for some, where in angles_of(case):
        first = float(some[0][1].positions[0])
        for by in (1.0, -1.0, *((-first,) if first else ())):
            positions = some[0][1].positions + by
            yield case.edit(
                f"positions are {abs(by):g} too {'large' if by > 0 else 'small'}{where}",
                rotated(case, some, partial(with_angles, positions=positions)),
                do="count positions from the same start for queries and keys",
            )
