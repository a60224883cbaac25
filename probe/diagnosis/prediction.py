"""What an edited layer would give: everywhere, or, much sooner, at a few hundred elements.

Most mistakes can be told apart from a sample of the output, so the last step that the edit left
alone is looked up, and the last sum of products computed, at those elements alone; everything is
computed only for the few mistakes that survive.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from probe.evaluation.allowance import Values, allowances, settle
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.output_slices import Region, alike
from probe.numerics.blocks import blocks, places
from probe.numerics.dtypes import widened
from probe.numerics.precision import Precision
from probe.ops.base import Indices, Rearrangement
from probe.ops.step import Ref, Step
from probe.trial.case import Case, Edit
from probe.trial.prices import terms_price

__all__ = [
    "Rounding",
    "Sample",
    "as_healthy",
    "at",
    "everywhere",
    "most_apart",
    "rms",
    "rms_apart",
    "sample",
]

_TERMS = 1 << 17
_CHANGED = 4.0
"""How many times what the healthy layer is allowed a changed one is."""
_NOTHING = 1e-3
"""An allowance below this share of the largest is one of a value that is 0 by itself."""
_DRAWN = 1 << 14
"""Elements among which those of a sample are chosen where that leaves enough that are wrong."""


@dataclass(frozen=True, eq=False)
class Rounding:
    """How far an honest evaluation of the (edited) layer may lie from its prediction."""

    precision: Precision
    extra: Callable[[], np.ndarray] | None = None
    """What else is allowed: the layers before, storing."""
    tolerance: tuple[float, float] | None = None
    """The user's own rtol and atol instead of all that."""
    composed: np.ndarray | None = None
    """Of a layer that is composed of several calls: what it is allowed, edited or not."""

    def beside(self, case: Case, allowed: np.ndarray) -> "Rounding":
        """The same with all that the healthy layer was ``allowed`` beyond its own rounding."""
        if self.tolerance is not None or self.composed is not None:
            return self

        @cache
        def extra() -> np.ndarray:
            own = replace(self, extra=None).of(case.edit(""), case.values)
            return np.asarray(np.maximum(allowed - own, 0.0))

        return replace(self, extra=extra)

    def of(self, edit: Edit, values: Values, observed: np.ndarray | None = None) -> np.ndarray:
        """The allowance; where ``observed`` is given, after a second look at the elements
        beyond."""
        predicted = np.asarray(values[-1][0])
        if self.tolerance is not None:
            return np.asarray(self.tolerance[1] + self.tolerance[0] * np.abs(predicted))
        if self.composed is not None:
            most = self.composed.max(initial=0.0)
            same = self.composed.shape == predicted.shape
            return self.composed if same else np.full(predicted.shape, most)
        given = [widened(x) for x in edit.inputs]
        allowed = np.asarray(allowances(edit.steps, given, values, self.precision)[0])
        if (
            observed is not None
            and observed.shape == predicted.shape
            and 1 < most_apart(observed, predicted, allowed) < 50
        ):
            with np.errstate(invalid="ignore"):
                error = np.abs(observed - predicted)
            allowed = settle(edit.steps, given, values, self.precision, error, allowed)
        if self.extra is None:
            return allowed
        extra = self.extra()
        return np.asarray(
            allowed + (extra if extra.shape == allowed.shape else extra.max(initial=0.0))
        )


def as_healthy(case: Case, allowed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """What a changed layer is allowed of which only the healthy one's allowance is known: some
    times as much, and more where its values are larger."""
    size = rms(case.healthy)
    grown = max(1.0, rms(predicted) / size) if size else 1.0
    same = allowed.shape == predicted.shape
    # behind a ReLU that is 0 next to nothing is allowed
    some = allowed[allowed > _NOTHING * allowed.max(initial=0.0)]
    least = float(np.median(some)) if some.size else 0.0
    most = np.maximum(allowed, least) if same else np.full(predicted.shape, allowed.max(initial=0))
    return np.asarray(_CHANGED * grown * most)


def everywhere(case: Case, edit: Edit) -> Values | None:
    """The outputs of every step; None where the edit cannot be run on these shapes. Steps that the
    edit left alone are not run again."""
    try:
        return _upto(case, edit, len(edit.steps))
    except (ValueError, IndexError, TypeError, MemoryError):
        return None


def _upto(case: Case, edit: Edit, stop: int) -> Values:
    same = min(_left_alone(case, edit), stop)
    values = list(case.values[:same])
    if not same:
        return recompute(edit.steps[:stop], edit.inputs, ran=case.budget.ran)
    given = [widened(x) for x in edit.inputs]
    for position in range(same, stop):
        step = edit.steps[position]
        chosen = [ref.of(given, values) for ref in step.sources(position)]
        with np.errstate(all="ignore"):
            values.append(step.op.run(*chosen))
        case.budget.ran(step.op, chosen, values[-1])
    return values


def _left_alone(case: Case, edit: Edit) -> int:
    """How many steps, counted from the first, give what they give in the healthy layer."""
    if len(edit.inputs) != len(case.inputs) or any(
        mine is not theirs for mine, theirs in zip(edit.inputs, case.inputs, strict=True)
    ):
        return 0
    pairs = zip(edit.steps, case.steps, strict=False)
    return next(
        (i for i, (mine, theirs) in enumerate(pairs) if mine is not theirs),
        min(len(edit.steps), len(case.steps)),
    )


@dataclass(frozen=True, eq=False)
class Sample:
    """A few elements of the output, half of them from where the party is wrong."""

    where: Indices
    observed: np.ndarray
    healthy: np.ndarray
    allowed: np.ndarray

    @property
    def error(self) -> float:
        """The root mean square of what is to be explained."""
        return rms(self.observed - self.healthy)


def rms(error: np.ndarray) -> float:
    """The root mean square of what is finite."""
    return rms_apart(error, np.broadcast_to(0.0, error.shape))


def rms_apart(observed: np.ndarray, values: np.ndarray) -> float:
    """The root mean square of how far two arrays are apart where that is finite."""
    square, count = 0.0, 0
    with np.errstate(all="ignore"):
        for (mine, theirs), _ in blocks(observed, values):
            error = np.subtract(mine, theirs).ravel()
            part = float(error @ error)
            if not np.isfinite(part):
                error = error[np.isfinite(error)]
                part = float(error @ error)
            square, count = square + part, count + error.size
    return float(np.sqrt(square / count)) if count else 0.0


def most_apart(observed: np.ndarray, values: np.ndarray, allowed: np.ndarray) -> float:
    """The largest error in units of the allowance; inf where NaN or inf stand at other places."""
    most = 0.0
    with np.errstate(all="ignore"):
        for (mine, theirs, slack), _ in blocks(
            observed, values, np.broadcast_to(allowed, observed.shape)
        ):
            ratio = np.abs(mine - theirs) / slack
            if np.isnan(largest := float(ratio.max(initial=0.0))):
                same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
                largest = float(
                    np.nan_to_num(np.where(same, 0.0, ratio), nan=np.inf, posinf=np.inf).max()
                )
            most = max(most, largest)
    return most


def sample(case: Case, allowed: np.ndarray, seed: int = 0) -> Sample | None:
    """Elements to try edits on; None where the observation has another shape."""
    if not case.comparable:
        return None
    base, count = _base(case.steps, 0), 512
    if base is not None and base >= 0 and case.steps[base].op.terms is not None:
        given = [case.input_of(base, i) for i in range(len(case.steps[base].sources(base)))]
        count = int(
            np.clip(
                _TERMS // max(1, case.steps[base].op.term_count(given, case.values[base])), 48, 512
            )
        )
    observed, healthy = case.observed.reshape(-1), case.healthy.reshape(-1)
    slack = np.broadcast_to(allowed, case.observed.shape)
    rng = np.random.default_rng(seed)
    size = case.observed.size if case.known is None else case.seen.size
    if case.region is not None:
        chosen = case.region.of(np.arange(size).reshape(case.observed.shape)).ravel()
    else:
        drawn = np.arange(size) if size <= _DRAWN else np.unique(rng.integers(0, size, _DRAWN))
        chosen = drawn if case.known is None else np.flatnonzero(case.known)[drawn]
    if chosen.size > 2 * count:
        wrong = chosen[
            _wrong(observed[chosen], healthy[chosen], slack[places(chosen, slack.shape)])
        ]
        if wrong.size < count // 2 and size > _DRAWN and case.region is None:
            everywhere = _wrong(case.observed, case.healthy, slack)
            wrong = np.flatnonzero(everywhere if case.known is None else everywhere & case.known)
        few = [
            part[np.unique(rng.integers(0, part.size, count // 2))]
            for part in (wrong, chosen)
            if part.size
        ]
        chosen = np.unique(np.concatenate(few))
    where = places(chosen, case.observed.shape)
    return Sample(where, observed[chosen], healthy[chosen], slack[where])


def _wrong(observed: np.ndarray, healthy: np.ndarray, slack: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(~(np.abs(observed - healthy) <= slack))


def at(case: Case, edit: Edit, where: Indices) -> np.ndarray | None:
    """The edited layer's output at some elements; None where only the whole can be computed."""
    same = _left_alone(case, edit)
    base = _base(edit.steps, same)
    known = base is not None and 0 <= base < same
    if case.region is not None and (base is None or base > same):
        return _in_region(case, edit, case.region, where)
    if base is None:
        return None
    single = base < 0 or edit.steps[base].op.computes_elements
    try:
        values = case.values if known else _upto(case, edit, max(0, base))
        inputs = () if known else edit.inputs if single else [widened(x) for x in edit.inputs]
        shapes = _shapes(case, edit, values, base, inputs)
        if shapes is None or shapes[-1] != case.observed.shape:
            return None
        back = [where]
        for i in range(len(edit.steps) - 1, base, -1):
            origin = edit.steps[i].op.input_index(
                back[-1], [np.broadcast_to(0.0, shapes[i - 1 - base])]
            )
            if origin is None:
                return None
            back.append(origin)
        with np.errstate(all="ignore"):
            out = (
                np.asarray(values[base][0])[back[-1]]
                if known
                else _computed(case, edit, values, base, inputs, back[-1])
            )
            for i in range(base + 1, len(edit.steps)):
                back.pop()
                op = edit.steps[i].op
                if not isinstance(op, Rearrangement):
                    out = op.at((out,), back[-1], shapes[i - base])
        return out
    except (ValueError, IndexError, TypeError):
        return None


def _in_region(case: Case, edit: Edit, region: Region, where: Indices) -> np.ndarray | None:
    """The same from the slice of the output that these elements lie in."""
    try:
        y = case.sliced.of(edit.steps, edit.inputs, region)
    except (ValueError, IndexError, TypeError, MemoryError):
        return None
    if y.shape != region.of(case.healthy).shape:
        return None
    within = list(where)
    within[region.axis] = within[region.axis] - region.start
    return np.asarray(y[tuple(within)])


def _computed(
    case: Case,
    edit: Edit,
    values: Values,
    base: int,
    inputs: Sequence[np.ndarray],
    where: Indices,
) -> np.ndarray:
    """The output of the step at ``base`` (-1: the input) at some elements."""
    if base < 0:
        return widened(inputs[edit.steps[0].sources(0)[0].index][where])
    chosen, op = _chosen(edit, values, base, inputs), edit.steps[base].op
    if op.terms is not None:
        terms = op.terms(chosen, where)
        case.budget.charge(terms_price(op, terms))
        return np.asarray(terms.sum(axis=(1, 2)))
    shape = np.broadcast_shapes(*(one.shape for one in chosen))
    return op.at([widened(np.broadcast_to(one, shape)[where]) for one in chosen], where, shape)


def _chosen(
    edit: Edit, values: Values, position: int, inputs: Sequence[np.ndarray]
) -> list[np.ndarray]:
    return [ref.of(inputs, values) for ref in edit.steps[position].sources(position)]


def _shapes(
    case: Case, edit: Edit, values: Values, base: int, inputs: Sequence[np.ndarray]
) -> list[tuple[int, ...]] | None:
    """The output shapes of the step at ``base`` (-1: the input's) and of those behind it; None
    where they are not known beforehand."""
    shape: tuple[int, ...] | None
    if base < 0:
        shape = inputs[edit.steps[0].sources(0)[0].index].shape
    elif not inputs:
        shape = np.shape(values[base][0])
    else:
        chosen = _chosen(edit, values, base, inputs)
        shape = (
            case.values[base][0].shape
            if _alike(case, edit.steps, base, chosen)
            else edit.steps[base].op.output_shape([x.shape for x in chosen])
        )
    shapes: list[tuple[int, ...]] = []
    for later in edit.steps[base + 1 :]:
        if shape is None:
            return None
        shapes.append(shape)
        shape = later.op.output_shape([shape])
    return None if shape is None else [*shapes, shape]


def _alike(case: Case, steps: Sequence[Step], position: int, inputs: Sequence[np.ndarray]) -> bool:
    """Whether a step differs from the healthy one by nothing but the numbers in its weights."""
    if position >= len(case.steps) or not alike(steps[position].op, case.steps[position].op):
        return False
    return all(one.shape == case.input_of(position, i).shape for i, one in enumerate(inputs))


def _base(steps: Sequence[Step], same: int) -> int | None:
    """The last step that can be had element by element where all behind it acts on each element
    alone, else None.

    That is one of the first ``same``, whose values are there, a sum of products or a merge; -1
    where the whole layer acts so.
    """
    for position in range(len(steps) - 1, -1, -1):
        op, sources = steps[position].op, steps[position].sources(position)
        single = op.computes_elements
        if position < same or op.terms is not None or (single and len(sources) > 1):
            return position
        if not (single or isinstance(op, Rearrangement)) or len(sources) != 1:
            return None
        if position and sources[0] != Ref(position - 1):
            return None
    return -1 if steps and steps[0].sources(0)[0].step < 0 else None
