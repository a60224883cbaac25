"""A slice of a layer's output along one axis, computed from no more of each step's inputs than that
takes: of a block over many positions a few of these, when its steps are changed again and again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from itertools import takewhile, zip_longest
from typing import NamedTuple

import numpy as np

from probe.evaluation.allowance import Values
from probe.numerics.dtypes import widened
from probe.ops import Recurrence
from probe.ops.base import Arrays, Op
from probe.ops.shape.rearrange import Outputs, Reshape
from probe.ops.step import Ref, Step, weights_of
from probe.ops.weight import Weight

__all__ = ["Region", "Sliced", "alike"]

_OFFSETS = 8
"""By how much what a step gives for a slice of its input may begin before the slice of its
output."""


class Region(NamedTuple):
    """The elements from ``start`` to ``stop`` along one axis."""

    axis: int
    start: int
    stop: int

    def of(self, array: np.ndarray) -> np.ndarray:
        return array[(*(slice(None),) * self.axis, slice(self.start, self.stop))]


class _Rule(NamedTuple):
    """How a slice of what a step gives is computed."""

    op: Op
    sources: tuple[Region | None, ...]
    """The slice of each input that it takes; None: all of it."""
    offset: int
    """Where it begins in what the op gives for these."""


class Sliced:
    """The steps of a layer, what each gives, and how slices of that are computed: for every slice
    it is tried on these values which slices of the inputs give the same. ``ran`` is called with
    each op that was run, what it was given and what it gave."""

    def __init__(
        self,
        steps: Sequence[Step],
        inputs: Sequence[np.ndarray],
        values: Values,
        ran: Callable[[Op, Arrays, Arrays], None] = lambda op, inputs, outputs: None,
    ) -> None:
        self.steps, self.inputs, self.values, self.ran = steps, inputs, values, ran
        self._wide = [widened(x) for x in inputs]
        self._sources = [step.sources(at) for at, step in enumerate(steps)]
        self._places = {
            (id(step.op), self._sources[at]): at for at, step in reversed([*enumerate(steps)])
        }
        self._of_op = {id(step.op): at for at, step in reversed([*enumerate(steps)])}
        self._rules: dict[tuple[int, int, Region], _Rule | None] = {}

    def of(self, steps: Sequence[Step], inputs: Sequence[np.ndarray], region: Region) -> np.ndarray:
        """That slice of the output of changed steps; raises what their ops raise."""
        known = self.unchanged(steps, inputs)
        wide = [
            mine if x is own else widened(x)
            for x, own, mine in zip(inputs, self.inputs, self._wide, strict=True)
        ]
        last = _given(steps)
        plans = self._plans(steps, known, last, region)
        made: dict[tuple[Ref, Region | None], np.ndarray] = {}

        def taken(ref: Ref, part: Region | None) -> np.ndarray:
            if (ref, part) in made:
                return made[ref, part]
            if ref.step < 0:
                whole = wide[ref.index]
            elif ref.step in known:
                whole = self.values[known[ref.step]][ref.index]
            else:
                whole = made[ref, None]
            if part is None:
                return whole
            return part.of(whole)

        with np.errstate(all="ignore"):
            for at in sorted(plans):
                step = steps[at]
                for (index, part), rule in plans[at].items():
                    if rule is None:
                        outputs = self._run(step.op, [taken(ref, None) for ref in step.sources(at)])
                        made |= {(Ref(at, k), None): y for k, y in enumerate(outputs)}
                        break
                    assert part is not None
                    given = zip(step.sources(at), rule.sources, strict=True)
                    y = self._run(rule.op, [taken(ref, own) for ref, own in given])[index]
                    own = Region(part.axis, rule.offset, rule.offset + part.stop - part.start)
                    made[Ref(at, index), part] = own.of(y)
            return taken(last, region)

    def _run(self, op: Op, inputs: Arrays) -> tuple[np.ndarray, ...]:
        """What an op gives, in float32 where it computes in that: to widen weights takes longer
        than few sums. That is exact enough for a first look, since float32 is what is compared."""
        if op.narrows:
            inputs = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs]
        outputs = op.run(*inputs)
        self.ran(op, inputs, outputs)
        return outputs

    def _plans(
        self, steps: Sequence[Step], known: dict[int, int], last: Ref, region: Region
    ) -> dict[int, dict[tuple[int, Region | None], _Rule | None]]:
        """What is wanted of each changed step, and how it is computed; where the whole of it is,
        that comes first."""
        wanted: dict[int, set[tuple[int, Region | None]]] = {last.step: {(last.index, region)}}
        plans: dict[int, dict[tuple[int, Region | None], _Rule | None]] = {}
        for at in range(last.step, -1, -1):
            if at in known or at not in wanted:
                continue
            step = steps[at]
            rules: dict[tuple[int, Region | None], _Rule | None] = {}
            for index, part in wanted[at]:
                rule = None
                if part is not None:
                    rule = self._changed_rule(step, at, index, part, known)
                rules[index, part] = rule
            if None in rules.values():
                rules = {(0, None): None}
            plans[at] = rules
            for rule in rules.values():
                parts = (None,) * len(step.sources(at)) if rule is None else rule.sources
                for ref, part in zip(step.sources(at), parts, strict=True):
                    if ref.step >= 0:
                        wanted.setdefault(ref.step, set()).add((ref.index, part))
        return plans

    def unchanged(self, steps: Sequence[Step], inputs: Sequence[np.ndarray]) -> dict[int, int]:
        """The steps that give what those of the layer do, by their places among these."""
        same = [mine is own for mine, own in zip_longest(inputs, self.inputs)]
        known: dict[int, int] = {}
        if all(same):
            pairs = zip(steps, self.steps, strict=False)
            alone = takewhile(lambda pair: pair[0] is pair[1], pairs)
            known = {at: at for at, _ in enumerate(alone)}
        for at in range(len(known), len(steps)):
            refs = tuple(
                ref if ref.step < 0 else Ref(known.get(ref.step, -2), ref.index)
                for ref in steps[at].sources(at)
            )
            place = self._places.get((id(steps[at].op), refs))
            if place is not None and all(ref.step >= 0 or same[ref.index] for ref in refs):
                known[at] = place
        return known

    def _changed_rule(
        self, step: Step, at: int, index: int, region: Region, known: dict[int, int]
    ) -> _Rule | None:
        """How a slice of a changed step's output is computed: as that of the layer's step that has
        its op, that which it stands ``instead_of``, or one that differs in the numbers of its
        weights alone; or element by element."""
        place = self._of_op.get(id(getattr(step.op, "instead_of", step.op)))
        if place is None and at < len(self.steps) and _reach_alike(step.op, self.steps[at].op):
            place = at
        if place is None:
            single = step.op.computes_elements
            if single:
                return self._elementwise(step, at, region, known)
            return None
        if len(self._sources[place]) != len(step.sources(at)):
            return None
        rule = self._own_rule(place, index, region)
        if rule is None or step.op is self.steps[place].op:
            return rule
        if rule.op is self.steps[place].op:
            return rule._replace(op=step.op)
        return None

    def _elementwise(
        self, step: Step, at: int, region: Region, known: dict[int, int]
    ) -> _Rule | None:
        """The same slice of all that is as long, of changed tensors too: those have the shape of
        the output in nearly all changes."""
        parts: list[Region | None] = []
        for ref in step.sources(at):
            if ref.step < 0:
                shape = self.inputs[ref.index].shape
            elif ref.step in known:
                shape = self.values[known[ref.step]][ref.index].shape
            else:
                parts.append(region)
                continue
            wide = len(shape) > region.axis and shape[region.axis] >= region.stop
            parts.append(region if wide else None)
        if any(parts):
            return _Rule(step.op, tuple(parts), 0)
        return None

    def _own_rule(self, place: int, index: int, region: Region) -> _Rule | None:
        """How that slice of an output of one of the layer's steps is computed; None where it takes
        all of every input."""
        key = (place, index, region)
        if key not in self._rules:
            self._rules[key] = next(self._found(*key), None)
        return self._rules[key]

    def _found(self, place: int, index: int, region: Region) -> Iterator[_Rule]:
        op = self.steps[place].op
        given = [ref.of(self._wide, self.values) for ref in self._sources[place]]
        whole = self.values[place][index]
        y = region.of(whole)
        size = float(np.abs(y[np.isfinite(y)]).max(initial=0.0))
        for parts in dict.fromkeys(_guesses(op, given, whole, index, region)):
            cut = [x if part is None else part.of(x) for x, part in zip(given, parts, strict=True)]
            for candidate in _for_slices(op, whole.shape, region):
                try:
                    with np.errstate(all="ignore"):
                        outputs = candidate.run(*cut)
                    self.ran(candidate, cut, outputs)
                    z = outputs[index]
                except Exception:  # an op need not take a slice of what it was made for
                    continue
                if z.ndim != y.ndim:
                    continue
                for offset in range(min(_OFFSETS, z.shape[region.axis] - y.shape[region.axis] + 1)):
                    own = Region(region.axis, offset, offset + y.shape[region.axis]).of(z)
                    if own.shape == y.shape and np.allclose(
                        own, y, rtol=1e-9, atol=1e-9 * size, equal_nan=True
                    ):
                        yield _Rule(candidate, parts, offset)

    def work(self, region: Region | None = None) -> float:
        """About how many operations all of the output takes, or a slice of it where every step is
        changed."""
        if region is None:
            return sum(map(self._work, range(len(self.steps))))
        plans = self._plans(self.steps, {}, _given(self.steps), region)
        return sum(
            self._work(at) * (1.0 if part is None else self._share(at, index, part))
            for at, rules in plans.items()
            for index, part in rules
        )

    def _share(self, at: int, index: int, part: Region) -> float:
        size: int = self.values[at][index].shape[part.axis]
        return (part.stop - part.start) / size

    def _work(self, at: int) -> float:
        step, outputs = self.steps[at], self.values[at]
        given = [ref.of(self._wide, self.values) for ref in self._sources[at]]
        try:
            terms: float = step.op.term_count(given, outputs)
        except NotImplementedError:
            held = sum(weight.value.size for weight in weights_of((step,)).values())
            terms = max(1.0, held / max((1, *outputs[0].shape[-1:])))
        size: int = sum(y.size for y in outputs)
        return terms * size


def _given(steps: Sequence[Step]) -> Ref:
    """The tensor that steps give, of several the first."""
    ref = Ref(len(steps) - 1)
    while ref.step >= 0 and isinstance(steps[ref.step].op, Outputs):
        ref = steps[ref.step].sources(ref.step)[ref.index]
    return ref


def _guesses(
    op: Op, given: Sequence[np.ndarray], whole: np.ndarray, index: int, region: Region
) -> Iterator[tuple[Region | None, ...]]:
    """Which slices of its inputs an op may take: those with the elements that can influence the
    slice of the output, and the same slice of all that are as long, counted from the last axis."""
    if not index:
        mask = np.zeros(whole.shape, bool)
        region.of(mask)[...] = True
        boxes = tuple(_box(part) for part in op.influence(mask, given))
        if any(boxes):
            yield boxes
    back = region.axis - whole.ndim
    same: list[Region | None] = []
    for x in given:
        as_long = x.ndim + back >= 0 and x.shape[back] == whole.shape[back]
        same.append(region._replace(axis=x.ndim + back) if as_long else None)
    if any(same):
        yield tuple(same)


def _box(mask: np.ndarray) -> Region | None:
    """The slice along one axis, that which leaves least, with all that is true."""
    best, least = None, 1.0
    for axis, size in enumerate(mask.shape):
        places = np.flatnonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis)))
        if places.size and (share := (places[-1] + 1 - places[0]) / size) < least:
            best, least = Region(axis, int(places[0]), int(places[-1]) + 1), share
    return best


def _for_slices(op: Op, shape: tuple[int, ...], region: Region) -> Iterator[Op]:
    yield op
    if isinstance(op, Reshape):
        sizes = list(shape)
        sizes[region.axis] = region.stop - region.start
        yield Reshape(tuple(sizes))


def _reach_alike(mine: Op, theirs: Op) -> bool:
    """Whether what two ops give at a place depends on the same places of what they take, as far as
    their fields say it."""
    if isinstance(mine, Recurrence) and type(mine) is type(theirs):
        return all(getattr(mine, name) == getattr(theirs, name) for name in _ORDER)
    return alike(mine, theirs)


_ORDER = ("reverse", "has_mask", "has_states")
"""The fields of a recurrence that say in which order it reads which steps."""


def alike(mine: Op, theirs: Op) -> bool:
    """Whether two ops differ by nothing but the numbers in their weights."""
    if type(mine) is not type(theirs):
        return False
    for part in fields(mine):
        left, right = getattr(mine, part.name), getattr(theirs, part.name)
        if isinstance(left, Weight) and isinstance(right, Weight):
            if left.value.shape != right.value.shape:
                return False
        elif isinstance(left, np.ndarray) or isinstance(right, np.ndarray) or left != right:
            return False
    return True
