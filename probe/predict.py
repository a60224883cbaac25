"""What an edited layer would give: everywhere, or, much sooner, at a few hundred elements.

Most mistakes can be told apart from a sample of the output, so the last sum of products of a layer is computed at those
elements alone, and everything is computed only for the few mistakes that survive.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np

from probe.blocks import places
from probe.hypotheses.base import Case, Edit
from probe.layer import Ref, Step, Weight
from probe.ops import AddConstant, BatchNormalization, Conv, MatMul, MulConstant
from probe.ops.base import Elementwise, Indices, Rearrangement
from probe.recompute import recompute, widened
from probe.rounding import Precision, Values, allowances, settle

__all__ = ["Rounding", "Sample", "at", "everywhere", "rms", "sample"]

_TERMS = 1 << 17


@dataclass(frozen=True, eq=False)
class Rounding:
    """How far an honest evaluation of the (edited) layer may lie from its prediction."""

    precision: Precision
    extra: Callable[[], np.ndarray] | None = None
    """What else is allowed: the layers before, storing."""
    tolerance: tuple[float, float] | None = None
    """The user's own rtol and atol instead of all that."""

    def beside(self, case: Case, allowed: np.ndarray) -> "Rounding":
        """The same with all that the healthy layer was ``allowed`` beyond its own rounding."""
        if self.tolerance is not None:
            return self

        @cache
        def extra() -> np.ndarray:
            return np.maximum(allowed - replace(self, extra=None).of(case.edit(""), case.values), 0.0)

        return replace(self, extra=extra)

    def of(self, edit: Edit, values: Values, observed: np.ndarray | None = None) -> np.ndarray:
        """The allowance; where ``observed`` is given, after a second look at the elements beyond."""
        predicted = np.asarray(values[-1][0])
        if self.tolerance is not None:
            return self.tolerance[1] + self.tolerance[0] * np.abs(predicted)
        given = [widened(x) for x in edit.inputs]
        allowed = np.asarray(allowances(edit.steps, given, values, self.precision)[0])
        if observed is not None and observed.shape == predicted.shape:
            with np.errstate(invalid="ignore"):
                error = np.abs(observed - predicted)
            if np.fmax.reduce(error / np.maximum(allowed, 1e-300), axis=None, initial=0.0) < 50:
                allowed = settle(edit.steps, given, values, self.precision, error, allowed)
        if self.extra is None:
            return allowed
        extra = self.extra()
        return allowed + (extra if extra.shape == allowed.shape else extra.max(initial=0.0))


def everywhere(case: Case, edit: Edit) -> Values | None:
    """The outputs of every step; None where the edit cannot be run on these shapes. Steps that the edit left alone are not run again."""
    try:
        return _upto(case, edit, len(edit.steps))
    except (ValueError, IndexError, TypeError, MemoryError):
        return None


def _upto(case: Case, edit: Edit, stop: int) -> Values:
    same = 0
    if len(edit.inputs) == len(case.inputs) and all(mine is theirs for mine, theirs in zip(edit.inputs, case.inputs, strict=True)):
        pairs = zip(edit.steps[:stop], case.steps, strict=False)
        same = next((i for i, (mine, theirs) in enumerate(pairs) if mine is not theirs), min(stop, len(case.steps)))
    values = list(case.values[:same])
    if not same:
        return recompute(edit.steps[:stop], edit.inputs)
    given = [widened(x) for x in edit.inputs]
    for position in range(same, stop):
        step = edit.steps[position]
        chosen = [given[ref.index] if ref.step < 0 else values[ref.step][ref.index] for ref in step.sources(position)]
        with np.errstate(all="ignore"):
            values.append(step.op.run(*chosen))
    return values


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
    with np.errstate(all="ignore"):
        square = float(np.vdot(error, error))
        if np.isfinite(square):
            return float(np.sqrt(square / error.size)) if error.size else 0.0
        finite = error[np.isfinite(error)]
        return float(np.sqrt(np.square(finite).mean())) if finite.size else 0.0


def sample(case: Case, allowed: np.ndarray, seed: int = 0) -> Sample | None:
    """Elements to try edits on; None where the layer has no sum whose terms can be had one by one, or is small."""
    base = _trace(case.steps)
    if base is None or not case.comparable:
        return None
    count = 512
    if base >= 0:
        given = [case.input_of(base, i) for i in range(len(case.steps[base].sources(base)))]
        count = int(np.clip(_TERMS // max(1, case.steps[base].op.terms_of(given, case.values[base])), 48, 512))
    known = np.arange(case.observed.size) if case.known is None else np.flatnonzero(case.known)
    observed, healthy, slack = case.observed.ravel(), case.healthy.ravel(), np.broadcast_to(allowed, case.observed.shape).ravel()
    rng = np.random.default_rng(seed)
    if known.size > 2 * count:
        with np.errstate(invalid="ignore"):
            wrong = known[~(np.abs(observed[known] - healthy[known]) <= slack[known])]
        chosen = [rng.choice(part, min(part.size, count // 2), replace=False) for part in (wrong, known)]
        known = np.unique(np.concatenate(chosen))
    return Sample(places(known, case.observed.shape), observed[known], healthy[known], slack[known])


def at(case: Case, edit: Edit, where: Indices) -> np.ndarray | None:
    """The edited layer's output at some elements; None where only the whole can be computed."""
    base = _trace(edit.steps)
    if base is None:
        return None
    try:
        values = _upto(case, edit, max(0, base))
        given = [widened(x) for x in edit.inputs]
        shapes = _shapes(case, edit, values, base, given)
        back = [where]
        for i in range(len(edit.steps) - 1, base, -1):
            origin = edit.steps[i].op.origin(back[-1], [np.broadcast_to(0.0, shapes[i - 1 - base])])
            if origin is None:
                return None
            back.append(origin)
        if shapes[-1] != case.observed.shape:
            return None
        with np.errstate(all="ignore"):
            if base < 0:
                out = given[edit.steps[0].sources(0)[0].index][back[-1]]
            else:
                products = edit.steps[base].op.products
                assert products is not None
                out = products(_chosen(edit, values, base, given), back[-1]).sum(axis=(1, 2))
            for i in range(base + 1, len(edit.steps)):
                back.pop()
                out = _forward(edit.steps[i].op, out, back[-1], shapes[i - base])
        return out
    except (ValueError, IndexError, TypeError):
        return None


def _chosen(edit: Edit, values: Values, position: int, given: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [given[ref.index] if ref.step < 0 else values[ref.step][ref.index] for ref in edit.steps[position].sources(position)]


def _shapes(case: Case, edit: Edit, values: Values, base: int, given: Sequence[np.ndarray]) -> list[tuple[int, ...]]:
    """The output shapes of the step at ``base`` (-1: the input's) and of those behind it, found on arrays that hold nothing."""
    if base < 0:
        shapes = [given[edit.steps[0].sources(0)[0].index].shape]
    else:
        chosen = _chosen(edit, values, base, given)
        alike = _alike(case, edit.steps, base, chosen)
        shapes = [case.values[base][0].shape if alike else _shape_of(edit.steps[base].op, chosen)]
    for later in edit.steps[base + 1 :]:
        shapes.append(later.op.run(np.broadcast_to(0.0, shapes[-1]))[0].shape if isinstance(later.op, Rearrangement) else shapes[-1])
    return shapes


def _alike(case: Case, steps: Sequence[Step], position: int, inputs: Sequence[np.ndarray]) -> bool:
    """Whether a step differs from the healthy one by nothing but the numbers in its weights."""
    if position >= len(case.steps):
        return False
    mine, theirs = steps[position].op, case.steps[position].op
    if type(mine) is not type(theirs):
        return False
    for part in fields(mine):
        left, right = getattr(mine, part.name), getattr(theirs, part.name)
        if isinstance(left, Weight) and isinstance(right, Weight):
            if left.value.shape != right.value.shape:
                return False
        elif isinstance(left, np.ndarray) or isinstance(right, np.ndarray) or left != right:
            return False
    return all(one.shape == case.input_of(position, i).shape for i, one in enumerate(inputs))


def _shape_of(op: object, inputs: Sequence[np.ndarray]) -> tuple[int, ...]:
    shape = inputs[0].shape
    match op:
        case MatMul():
            return (*shape[:-1], op.weight.value.shape[1])
        case Conv():
            kernel = (inputs[1] if op.weight is None else op.weight.value).shape
            windows = zip(shape[2:], op.pads, kernel[2:], op.dilations, op.strides, strict=True)
            return (shape[0], kernel[0], *((n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, d, s in windows))
    inner = getattr(op, "inner", None)
    if inner is None:
        raise TypeError(f"no shape of {type(op).__name__}")
    return _shape_of(inner, inputs)


def _forward(op: object, x: np.ndarray, where: Indices, shape: tuple[int, ...]) -> np.ndarray:
    """One step on elements that are at ``where`` in an output of ``shape``."""
    match op:
        case Rearrangement():
            return x
        case AddConstant() | MulConstant():
            constant = np.broadcast_to(op.value.value, shape)[where]
            return x + constant if isinstance(op, AddConstant) else x * constant
        case BatchNormalization():
            gain, mean, bias = (np.broadcast_to(part, shape)[where] for part in op._terms(np.broadcast_to(0.0, shape)))
            return (x - mean) * gain + bias
        case Elementwise():
            return op.f(x)
    raise TypeError(f"{type(op).__name__} is not computed element by element")


def _trace(steps: Sequence[Step]) -> int | None:
    """The last sum of products where all behind it acts on each element alone; -1 where the whole layer does; else None."""
    for position in range(len(steps) - 1, -1, -1):
        op = steps[position].op
        if position < len(steps) - 1 and steps[position + 1].sources(position + 1)[0] != Ref(position):
            return None
        if op.products is not None:
            return position
        if isinstance(op, Rearrangement | AddConstant | MulConstant | BatchNormalization):
            continue
        held = [getattr(op, part.name) for part in fields(op)]
        if not isinstance(op, Elementwise) or any(isinstance(one, Weight | np.ndarray) for one in held):
            return None
    return -1 if steps and steps[0].sources(0)[0].step < 0 else None
