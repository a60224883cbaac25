"""Mistakes of preprocessing: numbers normalised, rescaled, put into intervals, counted and cropped
in another way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from probe import ops
from probe.by_hand.registry import writes_as
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.registry import hypothesis, more
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps

__all__: list[str] = []

_CONSTANTS: tuple[tuple[float, float, str], ...] = (
    (1 / 255, 0.0, "x / 255"),
    (1 / 127.5, -1.0, "x / 127.5 - 1"),
    (1 / 256, 0.0, "x / 256"),
    (1 / 128, -1.0, "x / 128 - 1"),
    (1 / 255, -0.5, "x / 255 - 0.5"),
    (1.0, -127.5, "x - 127.5"),
    (1.0, -128.0, "x - 128"),
)
_MOST_CROPS = 200


@more("missing-parameter")
def statistics_left_out(case: Case) -> Iterator[Edit]:
    """The mean or the variance of a fixed normalisation left out, the scale or the offset of a
    rescaling."""
    for _, op in case.having(ops.Standardize, ops.MulConstant, ops.AddConstant):
        if isinstance(op, ops.Standardize):
            parts = [(op.mean, 0.0), (op.variance, 1.0)]
        else:
            parts = [(op.value, float(isinstance(op, ops.MulConstant)))]
        for weight, neutral in parts:
            steps = case.with_weights({weight.name: np.full(weight.effective.shape, neutral)})
            yield case.edit(f"{weight.name} is not applied", steps, do=f"apply {weight.name}")


@hypothesis("variance-for-deviation")
def variance_for_deviation(case: Case) -> Iterator[Edit]:
    """Divided by the variance instead of the standard deviation, or by the square root of the
    standard deviation.

    Keras' Normalization takes a variance, torchvision's Normalize a standard deviation. The error
    is a constant ratio per channel.
    """
    for _, op in case.having(ops.Standardize):
        variance = op.variance.effective.astype(np.float64)
        for moved, told in (
            (np.square(variance), "the variance itself"),
            (np.sqrt(variance), "the square root of the standard deviation"),
        ):
            steps = case.with_weights({op.variance.name: moved})
            yield case.edit(
                f"x - mean is divided by {told}",
                steps,
                do=f"divide by the square root of {op.variance.name}",
            )


@hypothesis("ignored-inversion")
def ignored_inversion(case: Case) -> Iterator[Edit]:
    """The layer inverts a normalisation (``invert=True``) and a normalisation was computed, or the
    reverse.

    With ``invert=True`` Keras' Normalization multiplies by the standard deviation and adds the
    mean.
    """
    for position, op in case.having(ops.Standardize):
        ways = ["(x - mean) / standard deviation", "x * standard deviation + mean"]
        right, wrong = ways[op.invert], ways[not op.invert]
        yield case.edit(
            f"{wrong} is computed",
            case.changed(position, invert=not op.invert),
            do=f"compute {right}: the layer has invert={op.invert}",
        )


@more("unbiased-variance")
def variance_of_a_sample(case: Case) -> Iterator[Edit]:
    """The variance of a normalisation divided by n - 1: a ratio of sqrt(n / (n - 1)), which tells
    n."""
    for _, op in case.having(ops.Standardize):
        if not case.comparable or op.invert:
            continue
        with np.errstate(all="ignore"):
            ratio = float(np.median(np.square(case.pick(case.healthy) / case.seen)))
        count = round(ratio / (ratio - 1)) if ratio > 1 + 1e-5 else 0
        if count > 1:
            steps = case.with_weights(
                {op.variance.name: op.variance.effective * (count / (count - 1))}
            )
            text = f"the variance is divided by n - 1 (n = {count})"
            yield case.edit(text, steps, fitted=1, do="divide by n (ddof=0, unbiased=False)")


@more("batch-statistics", whole=True)
def statistics_of_the_batch(case: Case) -> Iterator[Edit]:
    """A fixed normalisation by the mean and variance of this batch instead of those it was adapted
    to."""
    for position, op in case.having(ops.Standardize):
        x, shape = case.input_of(position), op.mean.value.shape
        kept = [x.ndim - len(shape) + axis for axis, size in enumerate(shape) if size > 1]
        over = tuple(axis for axis in range(x.ndim) if axis not in kept)
        made = {
            name: Weight(f"{name} of the batch", None, getattr(x, name)(axis=over).reshape(shape))
            for name in ("mean", "var")
        }
        steps = case.changed(position, mean=made["mean"], variance=made["var"])
        yield case.edit(
            "mean and variance of this batch instead of the layer's",
            steps,
            do="use the mean and variance that the layer was adapted to",
        )


def _rescaled(case: Case) -> Iterator[int]:
    """Where a scale stands with an offset behind it."""
    for position, (first, second) in enumerate(pairwise(case.steps)):
        if (
            isinstance(first.op, ops.MulConstant)
            and isinstance(second.op, ops.AddConstant)
            and second.inputs is None
        ):
            yield position


@hypothesis("other-constant")
def other_constant(case: Case) -> Iterator[Edit]:
    """Rescaled with other constants: to 0 .. 1 instead of -1 .. 1, or by 256 instead of 255.

    Keras' applications expect x / 127.5 - 1 ("tf"), x / 255 normalised with ImageNet's mean and
    standard deviation ("torch"), or x minus Caffe's mean ("caffe"), depending on the model. The
    usual constants are tried; then a factor and an offset are fitted.
    """
    for position in _rescaled(case):
        scale, offset = case.steps[position].op.value, case.steps[position + 1].op.value  # type: ignore[attr-defined]
        if scale.effective.size != 1 or offset.effective.size != 1:
            continue
        have = (float(scale.effective.ravel()[0]), float(offset.effective.ravel()[0]))
        for factor, added, words in _CONSTANTS:
            if not np.allclose((factor, added), have, rtol=1e-6):
                yield case.edit(
                    f"{words} is computed",
                    _constants(case, position, factor, added),
                    do=f"compute {_in_words(*have)}",
                )
        if position + 2 == len(case.steps) and case.comparable and case.seen.size > 2:
            x = np.asarray(case.pick(case.input_of(position)), np.float64)
            if np.isfinite(case.seen).all() and np.ptp(x):
                factor, added = np.polyfit(x, case.seen, 1)
            else:
                factor, added = have
            yield case.edit(
                f"{_in_words(factor, added)} is computed (fitted)",
                _constants(case, position, factor, added),
                fitted=2,
                do=f"compute {_in_words(*have)}",
            )


def _in_words(factor: float, added: float) -> str:
    """Such as "x / 127.5 - 1"."""
    scaled = f"x / {1 / factor:.6g}" if 0 < factor <= 1 else f"{factor:.6g} x"
    scaled = scaled.removesuffix(" / 1")
    if abs(added) <= 1e-9:
        return scaled
    return f"{scaled} {'-' if added < 0 else '+'} {abs(added):.6g}"


def _constants(case: Case, position: int, factor: float, added: float) -> Steps:
    scaled = case.changed(position, value=Weight("scale", None, np.array(factor)))
    return case.became_steps(scaled).changed(
        position + 1, value=Weight("offset", None, np.array(added))
    )


@hypothesis("offset-before-scale")
def offset_before_scale(case: Case) -> Iterator[Edit]:
    """The offset was added before scaling: (x + offset) * scale instead of x * scale + offset.

    The difference is the constant offset * (scale - 1).
    """
    for position in _rescaled(case):
        scale, offset = case.steps[position].op, case.steps[position + 1].op
        steps = case.became_steps(case.with_op(position, offset)).with_op(position + 1, scale)
        yield case.edit(
            "(x + offset) * scale is computed", steps, do="scale first, then add the offset"
        )


@writes_as("Bucketize")
@dataclass(frozen=True, eq=False)
class _Left(ops.Bucketize):
    """How many of the boundaries are less than x."""

    side = "left"

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.searchsorted(np.array(self.boundaries), inputs[0], side="left"),)


@hypothesis("boundary-side")
def boundary_side(case: Case) -> Iterator[Edit]:
    """A value equal to a boundary was assigned to the interval below it instead of the one above
    it, or the reverse.

    Keras' Discretization and ``np.digitize`` use [low, high), ``torch.bucketize`` and
    ``np.digitize(right=True)`` use (low, high]. Only values exactly equal to a boundary differ.
    """
    for position, op in case.having(ops.Bucketize):
        steps = case.with_op(position, _Left(op.boundaries))
        yield case.edit(
            "a value equal to a boundary belongs to the interval below it: (low, high]",
            steps,
            do="put a value equal to a boundary into the interval above it: [low, high)",
        )


@more("off-by-one")
def places_shifted(case: Case) -> Iterator[Edit]:
    """The number of an interval, a category or a word one too large or too small."""
    for step in (1, -1):
        moved = ops.AddConstant(Weight("shift", None, np.array(float(step))))
        text = f"the index is one too {'large' if step > 0 else 'small'}"
        for position, _ in case.having(ops.Bucketize, ops.Lookup):
            yield case.edit(
                text,
                case.appended(moved, at=position),
                do=f"{'subtract 1 from' if step > 0 else 'add 1 to'} the index",
            )
        for position, _ in case.having(ops.OneHot):
            yield case.edit(
                text,
                case.inserted(position, moved),
                do=f"{'subtract 1 from' if step > 0 else 'add 1 to'} the index",
            )


@hypothesis("counts-for-presence")
def counts_for_presence(case: Case) -> Iterator[Edit]:
    """Occurrences were counted where the layer only marks presence, or the reverse.

    ``output_mode="multi_hot"`` gives ones, ``output_mode="count"`` gives counts.
    """
    hot = [position for position, _ in case.having(ops.OneHot)]
    for position, op in case.having(ops.GlobalMaxPool, ops.ReduceSum):
        if hot and position > hot[0]:
            counts = isinstance(op, ops.GlobalMaxPool)
            other = (ops.ReduceSum if counts else ops.GlobalMaxPool)(
                axes=op.axes, keepdims=op.keepdims
            )
            if counts:
                text, do = "each category is counted", "set 1 for each category that occurs"
            else:
                text, do = "each category counts once", "count how often each category occurs"
            yield case.edit(
                text,
                case.with_op(position, other),
                do=do,
            )


@hypothesis("crop-place")
def crop_place(case: Case) -> Iterator[Edit]:
    """Cropped at another position: from the corner, one element off, or with before and after
    exchanged.

    When an odd number of elements is cut off, Keras' CenterCrop cuts the smaller half at the start;
    torchvision rounds half to even.
    """
    if any(isinstance(step.op, ops.Recurrence) for step in case.steps):
        return
    for position, op in case.having(ops.Slice):
        if position in of_parameters(case):
            continue
        shape = case.input_of(position).shape
        spans = [
            range(*slice(*ends).indices(n))
            for n, *ends in zip(shape, op.starts, op.stops, strict=True)
        ]
        if op.steps and set(op.steps) != {1}:
            continue
        ways = [_starts(span.start, len(span), n) for span, n in zip(spans, shape, strict=True)]
        if np.prod([len(way) for way in ways]) > _MOST_CROPS:
            continue
        for starts in product(*ways):
            if list(starts) != [span.start for span in spans]:
                stops = tuple(start + len(span) for start, span in zip(starts, spans, strict=True))
                cut = [axis for axis, way in enumerate(ways) if len(way) > 1]
                here, there = (
                    ", ".join(str(positions[axis]) for axis in cut)
                    for positions in ([span.start for span in spans], starts)
                )
                if len(cut) > 1:
                    here, there = f"({here})", f"({there})"
                yield case.edit(
                    f"cropped from {there} on, not from {here} on",
                    case.changed(position, starts=tuple(starts), stops=stops),
                    do=f"crop from {here} on",
                )


def _starts(start: int, size: int, whole: int) -> Sequence[int]:
    """Where a part of an axis may have been cut out: where it is, and the usual other places."""
    spare = whole - size
    return [
        first
        for first in dict.fromkeys((start, start + 1, start - 1, 0, spare, spare - start))
        if 0 <= first <= spare
    ]
