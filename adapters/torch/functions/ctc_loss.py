"""The loss of a sequence of labels whose places are not known
(aten/src/ATen/native/LossCTC.cpp)."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function
from .losses import plus, reduced, reduction_of

__all__: list[str] = []

_MOST_STEPS = 128
"""Each is several steps of the description."""
_Lengths = Value | tuple[int, ...] | int


@function("ctc_loss", onnx="ctcloss")
def ctc_loss(
    build: CallBuilder,
    log_probs: Value,
    targets: Value,
    input_lengths: _Lengths,
    target_lengths: _Lengths,
    blank: int = 0,
    reduction: str | int = "mean",
    zero_infinity: bool = False,
) -> Ref:
    """Minus the log-probability of all ways to read the targets, with blanks between them (Graves
    et al., 2006)."""
    how, shape = reduction_of(reduction, None, None), build.shape(log_probs)
    batched, of_targets = len(shape) == 3, build.shape(targets)
    if len(of_targets) != 1 + batched or not of_targets[-1]:
        raise Undescribed(f"targets of shape {of_targets} beside log_probs of shape {shape}")
    if not 0 < shape[0] <= _MOST_STEPS:
        raise Undescribed(f"{shape[0]} steps; up to {_MOST_STEPS} are described")
    steps, count = _column(build, input_lengths), _column(build, target_lengths)
    if not batched:
        log_probs = build.add(ops.Unsqueeze(axes=(1,)), log_probs)
        targets = build.add(ops.Unsqueeze(axes=(0,)), targets)
    sizes = shape[1] if batched else 1, 2 * of_targets[-1] + 1
    labels = _with_blanks(build, targets, count, sizes, blank)
    found = _summed(build, log_probs, labels, steps, shape[0], sizes)
    last = build.add(ops.Add(), count, count)
    at = np.arange(sizes[1])[None]
    ends = build.add(  # with the blank behind the last label, or with that label
        ops.Or(),
        build.add(ops.Equal(), at, last),
        build.add(ops.Equal(), at, build.add(ops.Sub(), last, np.asarray(1))),
    )
    found = build.add(ops.Where(), ends, found, np.asarray(-np.inf))
    loss = build.add(ops.Neg(), build.add(ops.ReduceLogSumExp(axes=(1,)), found))
    if zero_infinity:
        loss = build.add(ops.Where(), build.add(ops.Equal(), loss, np.inf), 0.0, loss)
    if how == "mean":
        share = build.add(ops.Cast(to="float64"), build.add(ops.Reshape(shape=(-1,)), count))
        loss = build.add(ops.Div(), loss, build.add(ops.Clip(low=1.0, high=None), share))
    if not batched and how == "none":
        return build.add(ops.Squeeze(axes=(0,)), loss)
    return reduced(build, loss, 1, how)


def _column(build: CallBuilder, lengths: _Lengths) -> Ref:
    """Lengths as a number for each sample, below one another."""
    given = lengths if isinstance(lengths, Ref) else np.asarray(lengths, np.int64)
    return build.add(ops.Reshape(shape=(-1, 1)), build.add(ops.Cast(to="int64"), given))


def _with_blanks(
    build: CallBuilder, targets: Value, count: Ref, sizes: tuple[int, int], blank: int
) -> Ref:
    """The labels of each sample with blanks before, between and behind them."""
    rows, places = sizes
    held = build.add(ops.Less(), np.arange(places // 2)[None], count)
    labels = build.add(ops.Cast(to="int64"), targets)
    labels = build.add(ops.Where(), held, labels, np.asarray(blank, np.int64))
    labels = build.add(ops.Concat(axis=1), np.full((rows, 1), blank, np.int64), labels)
    at = np.where(np.arange(places) % 2, np.arange(places) // 2 + 1, 0)
    return build.add(ops.Gather(axis=1), labels, at)


def _summed(
    build: CallBuilder, logs: Value, labels: Ref, steps: Ref, most: int, sizes: tuple[int, int]
) -> Ref:
    """The log-probability of all ways that come to each label at a sample's last step."""

    def later(value: Ref, by: int) -> Ref:
        padded = build.add(ops.Pad(((0, 0), (by, 0)), value=-np.inf), value)
        return build.add(ops.Slice((0, 0), sizes), padded)

    lost = np.asarray(-np.inf)
    before = build.add(ops.Concat(axis=1), np.full((sizes[0], 2), -1), labels)
    before = build.add(ops.Slice((0, 0), sizes), before)
    repeats = build.add(ops.Equal(), labels, before)
    starts = np.broadcast_to(np.arange(sizes[1]), sizes)
    found = build.ref(np.where(starts < 1, 0.0, -np.inf))
    for step in range(most):
        own = build.add(ops.Slice((step, 0, 0), (step + 1, None, None)), logs)
        own = build.add(ops.GatherElements(axis=1), build.add(ops.Squeeze(axes=(0,)), own), labels)
        if step:
            skipped = build.add(ops.Where(), repeats, lost, later(found, 2))
            ways = [
                build.add(ops.Unsqueeze(axes=(0,)), way)
                for way in (found, later(found, 1), skipped)
            ]
            sums = build.add(ops.ReduceLogSumExp(axes=(0,)), build.add(ops.Concat(axis=0), *ways))
        else:
            sums = build.ref(np.where(starts < 2, 0.0, -np.inf))
        goes_on = build.add(ops.Greater(), steps, np.asarray(step, np.int64))
        found = build.add(ops.Where(), goes_on, plus(build, sums, own), found)
    return found
