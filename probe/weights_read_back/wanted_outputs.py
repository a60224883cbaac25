"""What a step would have to give for its layer to give a party's values: everything behind it is
inverted where it can be."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from probe.ops.along_axis.softmax import Softmax
from probe.ops.base import Op, Rearrangement
from probe.ops.normalization.batch_layer_group_norm import BatchNormalization
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref
from probe.trial.case import Case

__all__ = ["Wanted", "wanted_of"]

_STEPS = 60
_LARGE = 1 << 18
"""Elements from which on functions without a formula for their inverse are left alone."""
_NOTHING = 1e-6
"""Where less is allowed, as a share of the most, the layer's own value is 0; what stands there
instead may be off as others are."""
_FAR, _DIGITS = 16.0, 2.0**-22
"""How many times the layer's largest value one is that may be off by its own digits, and the
share of it that these are."""


class Wanted(NamedTuple):
    """What a step would have to give, and how far that may be off; inf where the party's values do
    not tell. Of what softmax was given only differences are told along ``classes``."""

    target: np.ndarray
    slack: np.ndarray
    classes: int | None = None


def wanted_of(case: Case, position: int, allowed: np.ndarray) -> Iterator[Wanted]:
    """What the step would have to give for the layer to give the party's values."""
    depends = {position}
    for i in range(position + 1, len(case.steps)):
        if any(ref.step in depends for ref in case.steps[i].sources(i)):
            depends.add(i)
    slack = np.array(np.broadcast_to(allowed, case.observed.shape))
    if (nothing := slack < _NOTHING * slack.max(initial=0.0)).any():
        slack[nothing] = np.median(slack[~nothing])
    # a sum of much larger numbers is rounded to their digits
    size = np.nan_to_num(np.abs(case.observed), nan=0.0)
    far = size > _FAR * float(np.abs(case.healthy).max(initial=0.0))
    slack[far] = np.maximum(slack, _DIGITS * size)[far]
    if case.known is not None:
        slack[~case.known] = np.inf
    several = any(isinstance(case.steps[i].op, Softmax) for i in depends)
    for mean in (False, True) if several else (False,):
        wanted: Wanted | None = Wanted(case.observed, slack)
        ref = Ref(len(case.steps) - 1)
        while ref.step != position and wanted is not None:
            i, sources = ref.step, case.steps[ref.step].sources(ref.step)
            if isinstance(case.steps[i].op, Outputs):
                ref = sources[ref.index]
                continue
            on = [j for j, source in enumerate(sources) if source.step in depends]
            if len(on) != 1 or ref.index:
                return
            wanted = _before(case, i, on[0], wanted, mean)
            ref = sources[on[0]]
        if ref.index:
            return
        if wanted is not None:
            yield wanted


def _before(case: Case, i: int, on: int, wanted: Wanted, mean: bool) -> Wanted | None:
    """What the input ``on`` of a step would have to be for it to give what is wanted."""
    op, (y, slack, classes) = case.steps[i].op, wanted
    inputs = [case.input_of(i, j) for j in range(len(case.steps[i].sources(i)))]
    x = inputs[on]

    def f(moved: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(op.run(*inputs[:on], moved, *inputs[on + 1 :])[0])

    if isinstance(op, Rearrangement):
        if classes is not None:
            return None
        try:
            return Wanted(*_moved_back(op, inputs, on, y, slack))
        except IndexError:  # its numbers are indices, which say where and not what
            return None
    if isinstance(op, Softmax):
        if classes is not None:
            return None
        return Wanted(*_log_of(x, op.axis, y, slack, mean), op.axis % x.ndim)
    if y.shape != x.shape or not (op.computes_elements or isinstance(op, BatchNormalization)):
        return None
    if op.run(*inputs)[0].shape != x.shape:
        return None
    start, slope = f(np.zeros_like(x)), f(np.ones_like(x))
    slope = slope - start
    if np.allclose(f(x), start + slope * x, rtol=1e-9, atol=1e-9 * float(np.abs(y).max(initial=0))):
        with np.errstate(all="ignore"):
            off = np.where(slope != 0, slack / np.abs(slope), np.inf)
            return Wanted((y - start) / slope, off, classes)
    if np.array_equal(f(x), np.maximum(x, 0)):
        return Wanted(y, np.where(y > slack, slack, np.inf), classes)
    if x.size > _LARGE:
        return None
    return Wanted(*_bisected(f, x, y, slack), classes)


def _moved_back(
    op: Op, inputs: Sequence[np.ndarray], on: int, y: np.ndarray, slack: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    x = inputs[on]
    numbered = [
        1.0 + np.arange(x.size).reshape(x.shape) if j == on else np.zeros_like(array)
        for j, array in enumerate(inputs)
    ]
    numbers = np.rint(np.asarray(op.run(*numbered)[0])).astype(int)
    from_x = numbers > 0
    target, left = np.zeros(x.size), np.full(x.size, np.inf)
    target[numbers[from_x] - 1] = y[from_x]
    left[numbers[from_x] - 1] = slack[from_x]
    return target.reshape(x.shape), left.reshape(x.shape)


def _log_of(
    x: np.ndarray, axis: int, y: np.ndarray, slack: np.ndarray, mean: bool
) -> tuple[np.ndarray, np.ndarray]:
    """What softmax was given, which it tells up to a constant: that which leaves most as it was,
    or the mean over the classes."""
    with np.errstate(all="ignore"):
        log, off = np.log(y), np.where(y > 4 * slack, 2 * slack / y, np.inf)
        if mean:
            log += np.mean(x - log, axis=axis, keepdims=True)
            return log, off + off.mean(axis=axis, keepdims=True)
        return log + np.median(x - log, axis=axis, keepdims=True), off


def _bisected(
    f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray, slack: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where a function that rises, or falls, gives y."""
    wide = max(float(np.ptp(x)), 1e-6)
    low, high = np.full(x.shape, x.min() - 8 * wide), np.full(x.shape, x.max() + 8 * wide)
    least, most = f(low), f(high)
    rising = most >= least
    for _ in range(_STEPS):
        middle = (low + high) / 2
        up = (f(middle) < y) == rising
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    found = (low + high) / 2
    step = 1e-5 * wide
    with np.errstate(all="ignore"):
        slope = np.abs(f(found + step) - f(found - step)) / (2 * step)
        # below what it tends to, a function that turns (GELU, SiLU) takes each value twice
        single = np.where(rising, y - least, least - y) > slack
        right = (np.abs(f(found) - y) <= slack + 1e-12) & (slope > 1e-3) & single
        return found, np.where(right, slack / slope, np.inf)
