"""How near what an edited layer gives is to what was observed: what it may be off by, and the few
elements of the output at which edits are told apart first.

There are two measures. ``FirstLook`` compares thousands of changes by a share of the largest
difference, which takes one subtraction; ``left`` is the verdict on the few that pass, in units of
what rounding allows the edited layer, and computing that takes longer than running it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from probe.evaluation.allowance import Values, allowances, settle
from probe.numerics.blocks import blocks, places
from probe.numerics.dtypes import widened
from probe.numerics.precision import Precision
from probe.ops.base import Indices
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps
from probe.trial.evaluator import last_sum
from probe.trial.refusals import refused

__all__ = [
    "FirstLook",
    "RoundingAllowance",
    "Sample",
    "amplified",
    "apart_of",
    "as_healthy",
    "difference_of",
    "left",
    "most_apart",
    "rank_distance",
    "rms",
    "rms_apart",
    "sample",
]

_TERMS = 1 << 17
_CHANGED = 4.0
"""How many times what the healthy layer is allowed a changed one is."""
_NOTHING = 1e-3
"""An allowance below this share of the largest is one of a value that is 0 by itself."""
_FEW = 0.05
"""A larger share of the values than this has an allowance that is not of ties alone."""
_DRAWN = 1 << 14
"""Elements among which those of a sample are chosen where that leaves enough that are wrong."""


_NEAR, _NEAR_IN_SLICE = 0.02, 0.05
"""What may be left, as a share of the largest difference, for an exact look; a slice is computed in
float32."""
_SPREAD, _MISTAKEN, _EXACT = 64, 1e-3, 1e-4
"""At how many of the values that differ by so much of the largest difference it is looked whether
they are given exactly, to that share of it."""
_LOOKED_AT = 16
"""At how many values it is looked first."""


@dataclass(frozen=True, eq=False)
class RoundingAllowance:
    """How far an honest evaluation of the (edited) layer may lie from its prediction."""

    precision: Precision
    extra: Callable[[], np.ndarray] | None = None
    """What else is allowed: the layers before, storing."""
    tolerance: tuple[float, float] | None = None
    """The user's own rtol and atol instead of all that."""
    composed: np.ndarray | None = None
    """Of a layer that is composed of several calls: what it is allowed, edited or not."""

    def beside(self, case: Case, allowed: np.ndarray) -> "RoundingAllowance":
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
            if same:
                return self.composed
            return np.full(predicted.shape, most)
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
    if same:
        allowed = _moved_along(case.healthy, allowed, predicted)
    # behind a ReLU that is 0 next to nothing is allowed; behind a quantiser, all but at ties
    some = allowed[allowed > _NOTHING * allowed.max(initial=0.0)]
    least = float(np.median(some)) if some.size > _FEW * allowed.size else 0.0
    if same:
        most = np.maximum(allowed, least)
    else:
        most = np.full(predicted.shape, allowed.max(initial=0))
    return np.asarray(_CHANGED * grown * most)


def _moved_along(healthy: np.ndarray, allowed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """What each element is allowed, at its new place where a changed layer gives the same elements
    in another order."""
    if healthy.shape != predicted.shape or not healthy.size or healthy.max() != predicted.max():
        return allowed
    before, behind = healthy.argsort(axis=None), predicted.argsort(axis=None)
    if not np.array_equal(healthy.ravel()[before], predicted.ravel()[behind]):
        return allowed
    moved = np.empty(allowed.size)
    moved[behind] = allowed.ravel()[before]
    return moved.reshape(allowed.shape)


def amplified(case: Case, edit: Edit, predicted: np.ndarray) -> np.ndarray:
    """How many times as far as the healthy layer an edited one is taken by rounding each step to
    float32, along each row of the output: where a mistake leaves small differences of large
    numbers, much further."""
    try:
        errors = [
            np.abs(_narrowly(steps, inputs, case) - exact)
            for steps, inputs, exact in (
                (case.steps, case.inputs, case.healthy),
                (edit.steps, edit.inputs, predicted),
            )
        ]
    except Exception as error:
        refused(error)
        return np.ones(predicted.shape)
    usual, of_rows = rms(errors[0]), errors[1].max(axis=-1, keepdims=True, initial=0.0)
    if not usual > 0 or not np.isfinite(of_rows).all():
        return np.ones(predicted.shape)
    return np.broadcast_to(np.maximum(1.0, of_rows / usual), predicted.shape)


def _narrowly(steps: Steps, inputs: Sequence[np.ndarray], case: Case) -> np.ndarray:
    """What the layer gives where what each step gives is rounded to float32."""
    given, values = [widened(x) for x in inputs], list[tuple[np.ndarray, ...]]()
    for position, step in enumerate(steps):
        taken = [ref.of(given, values) for ref in step.sources(position)]
        run = step.op.run_float64 if step.op.takes_any_float else step.op.run
        outputs = run(*taken)
        case.budget.ran(step.op, taken, outputs)
        values.append(tuple(map(_narrow, outputs)))
    return np.asarray(values[-1][0])


def _narrow(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return x.astype(np.float32).astype(np.float64)
    return x


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
    if count:
        return float(np.sqrt(square / count))
    return 0.0


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
    base, count = last_sum(case.steps), 512
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
        if size <= _DRAWN:
            drawn = np.arange(size)
        else:
            drawn = np.unique(rng.integers(0, size, _DRAWN))
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


def apart_of(case: Case, predicted: np.ndarray) -> float:
    """The root mean square of what is not explained, where the party gave a value."""
    if case.known is None:
        return rms_apart(case.observed, predicted)
    return rms_apart(case.seen, case.pick(predicted))


def difference_of(case: Case) -> float:
    if case.comparable:
        return apart_of(case, case.healthy)
    return np.inf


def left(case: Case, predicted: np.ndarray, allowed: np.ndarray) -> float:
    """The largest error in units of the allowance; inf where NaN or inf stand at other places."""
    if case.known is None:
        return most_apart(case.observed, predicted, allowed)
    return most_apart(
        case.seen, case.pick(predicted), case.pick(np.broadcast_to(allowed, predicted.shape))
    )


def rank_distance(guess: np.ndarray, observed: np.ndarray) -> float:
    """The share of the variance of the ranks that is left by the best line through both; an
    activation behind hardly changes it."""
    x, y = (
        np.unique(np.ravel(values), return_inverse=True)[1].astype(np.float64)
        for values in (guess, observed)
    )
    x, y = x - x.mean(), y - y.mean()
    scale = float((x @ x) * (y @ y))
    if scale:
        return 1 - float(x @ y) ** 2 / scale
    return 1.0


class FirstLook:
    """Whether outputs are what was observed, or nearly: its values that differ most are looked at
    before all, so that thousands of outputs can be."""

    def __init__(self, case: Case, in_slice: bool = False) -> None:
        self._case = case
        self._finite = np.isfinite(case.seen)
        self._seen = case.seen[self._finite]
        healthy = case.pick(case.healthy)[self._finite] if case.comparable else 0.0
        apart = np.abs(healthy - self._seen)
        self._first = np.arange(apart.size)
        if apart.size > _LOOKED_AT:
            self._first = np.argpartition(apart, -_LOOKED_AT)[-_LOOKED_AT:]
        wrong = np.flatnonzero(apart > _MISTAKEN * float(apart.max(initial=0.0)))
        self._spread = wrong[:: 1 + wrong.size // _SPREAD]
        self._exact = _EXACT * float(apart.max(initial=0.0))
        self._most = (_NEAR_IN_SLICE if in_slice else _NEAR) * float(apart.max(initial=0.0))

    @property
    def anything(self) -> bool:
        """Whether anything was observed that is finite."""
        return bool(self._seen.size)

    def within(self, off: float, times: float) -> bool:
        """Whether what is off is no more than so many times as much as is near."""
        return off <= times * self._most

    def of(self, values: np.ndarray) -> tuple[bool, float, float]:
        """Whether an output is what was observed, or nearly, how far it is off where most differs,
        and the share of what differs that it gives exactly."""
        y = self._case.pick(values)[self._finite]
        with np.errstate(all="ignore"):
            first = np.abs(y[self._first] - self._seen[self._first])
            near = (first <= self._most).all() and (np.abs(y - self._seen) <= self._most).all()
            part = np.abs(y[self._spread] - self._seen[self._spread]) <= self._exact
            return bool(near), float(first.mean()), float(part.mean()) if part.size else 0.0
