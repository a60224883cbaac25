"""Mistakes that were made before the layer: another scale, another sample."""

from collections.abc import Iterator

import numpy as np

from probe import ops
from probe.errors import absorbed
from probe.hypotheses.registry import hypothesis
from probe.ops import Take
from probe.ops.base import Rearrangement
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_MAPS: tuple[tuple[float, float, str], ...] = (
    (1 / 255, 0.0, "x / 255"),
    (255.0, 0.0, "255 x"),
    (1 / 127.5, -1.0, "x / 127.5 - 1"),
    (127.5, 127.5, "127.5 x + 127.5"),
    (2.0, -1.0, "2 x - 1"),
    (0.5, 0.5, "x / 2 + 0.5"),
    (1 / 256, 0.0, "x / 256"),
    (256.0, 0.0, "256 x"),
    (1.0, -0.5, "x - 0.5"),
    (1.0, -128.0, "x - 128"),
    (-1.0, 1.0, "1 - x"),
    (-1.0, 0.0, "-x"),
    (2.0, 0.0, "2 x"),
    (0.5, 0.0, "x / 2"),
)
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CAFFE = np.array([103.939, 116.779, 123.68])


@hypothesis("scaled-input")
def scaled_input(case: Case) -> Iterator[Edit]:
    """The input has another scale: 0 to 255 instead of 0 to 1, or no mean and standard deviation
    applied.

    The usual input transformations are tried; then a factor and an offset are fitted if the layer
    is linear.
    """
    do = "compute the layer on the input that it gets in the model: report.inputs"
    x = np.asarray(case.inputs[0], np.float64)
    if case.inputs[0].dtype.kind != "f":
        return
    for factor, offset, scale in _MAPS:
        yield case.edit(
            f"the input is {scale}", inputs=(factor * x + offset, *case.inputs[1:]), do=do
        )
    for axis in dict.fromkeys((1, x.ndim - 1)):
        if x.ndim == 4 and x.shape[axis] == 3:
            shape = [3 if i == axis else 1 for i in range(4)]
            mean, std, caffe = (part.reshape(shape) for part in (_MEAN, _STD, _CAFFE))
            maps = {
                "(x - mean) / std of ImageNet": (x - mean) / std,
                "without mean and std of ImageNet": x * std + mean,
                "x minus Caffe's mean": x - caffe,
                "without Caffe's mean": x + caffe,
                "(x / 255 - mean) / std of ImageNet": (x / 255 - mean) / std,
                "255 (x std + mean) of ImageNet": 255 * (x * std + mean),
            }
            for scale, mapped in maps.items():
                yield case.edit(f"the input is {scale}", inputs=(mapped, *case.inputs[1:]), do=do)
    yield from _fitted(case, x, do)


def _fitted(case: Case, x: np.ndarray, do: str) -> Iterator[Edit]:
    """a x + b by least squares: the output of a linear layer is linear in a and b."""
    linear = (ops.Conv, ops.MatMul, ops.AveragePool, ops.GlobalAveragePool, ops.BatchNormalization)
    if not case.comparable or case.seen.size < 3 or case.observed.size > 1 << 20:
        return
    ends = [position for position, _ in case.having(*linear)]
    if not ends or any(
        not isinstance(step.op, (*linear, Rearrangement, ops.Relu)) for step in case.steps
    ):
        return
    rest = case.inputs[1:]
    try:
        columns = [_run(case, np.full_like(x, value)) for value in (0.0, 1.0)]
        nothing, ones = columns
        y = _run(case, x)
    except ValueError as error:
        absorbed(error)
        return
    if any(isinstance(step.op, ops.Relu) for step in case.steps):
        return
    with np.errstate(all="ignore"):
        matrix = np.stack([case.pick(y - nothing), case.pick(ones - nothing)], axis=1)
        target = case.seen - case.pick(nothing)
        finite = np.isfinite(matrix).all(axis=1) & np.isfinite(target)
        solution = np.linalg.lstsq(matrix[finite], target[finite], rcond=None)[0]
    factor, offset = (float(part) for part in solution)
    if not np.isfinite(solution).all():
        return
    largest = float(np.abs(x).max(initial=0.0))
    if abs(factor) <= _NOTHING:
        number = offset if abs(offset) > _NOTHING * largest else 0.0
        claim = f"the input is {number:.4g} everywhere"
        yield case.edit(claim, inputs=(np.full_like(x, number), *rest), do=do, fitted=1)
    elif abs(offset) <= _NOTHING * abs(factor) * largest:
        # one factor alone may be of the weight as well
        names = [name for name in case.weights if case.weights[name].effective.ndim > 1]
        or_weight = f", or {names[0]} is" if len(names) == 1 else ""
        if abs(factor - 1) > 1e-6:
            yield case.edit(
                f"the input is{or_weight} {factor:.6g} x what it should be (a fitted factor)",
                inputs=(factor * x, *rest),
                do=do,
                fitted=1,
            )
    elif abs(factor - 1) > 1e-6 or abs(offset) > 1e-6:
        sign = "-" if offset < 0 else "+"
        yield case.edit(
            f"the input is {factor:.6g} x {sign} {abs(offset):.4g} (fitted factor and offset)",
            inputs=(factor * x + offset, *rest),
            do=do,
            fitted=2,
        )


_NOTHING = 1e-6
"""An offset below this share of the input is none, and a factor below it 0."""


def _run(case: Case, x: np.ndarray) -> np.ndarray:
    return case.became(case.edit("", inputs=(x, *case.inputs[1:]))).healthy


@hypothesis("different-input", whole=True)
def different_input(case: Case) -> Iterator[Edit]:
    """Another sample of the batch, the samples in another order, or a missing batch axis."""
    y, mine = case.healthy, case.observed
    do = "compare sample by sample: report.inputs is the layer's input"
    if y.ndim and mine.shape == y.shape[1:]:
        for sample in range(min(y.shape[0], 64)):
            cut = ops.Slice((sample, *(0,) * (y.ndim - 1)), (sample + 1, *(None,) * (y.ndim - 1)))
            text = "the output has no batch axis" + (
                f": these are the values of sample {sample}" if y.shape[0] > 1 else ""
            )
            yield case.edit(
                text,
                case.appended(cut, ops.Reshape(mine.shape)),
                do="keep the batch axis: values[None]",
            )
    elif (
        y.ndim
        and mine.ndim == y.ndim
        and mine.shape[1:] == y.shape[1:]
        and mine.shape[0] != y.shape[0]
    ):
        for start in range(y.shape[0] - mine.shape[0] + 1):
            cut = ops.Slice(
                (start, *(0,) * (y.ndim - 1)), (start + mine.shape[0], *(None,) * (y.ndim - 1))
            )
            yield case.edit(
                f"only the samples {start} to {start + mine.shape[0] - 1}",
                case.appended(cut),
                do=do,
            )
    elif case.comparable and y.ndim > 1 and 1 < y.shape[0] <= 256 and case.known is None:
        yield from _other_order(case, do)


_MOST_OF_THEM = 0.75
"""How many of the samples an order holds at least, where some are repeated."""


def _other_order(case: Case, do: str) -> Iterator[Edit]:
    count = case.healthy.shape[0]
    columns = np.linspace(0, case.healthy[0].size - 1, min(64, case.healthy[0].size)).astype(int)
    healthy, mine = (part.reshape(count, -1)[:, columns] for part in (case.healthy, case.observed))
    with np.errstate(all="ignore"):
        apart = np.abs(mine[:, None] - healthy[None]).max(axis=2)
    order = np.argmin(np.nan_to_num(apart, nan=np.inf), axis=1)
    if (order == np.arange(count)).all():
        return
    taken = len(set(order.tolist()))
    if 1 < taken < count and taken < _MOST_OF_THEM * count:
        return  # no order: samples that are alike, or of few values
    text = ", ".join(map(str, order[:16])) + (", ..." if count > 16 else "")
    if taken == 1:
        text = f"the values of sample {order[0]} for every sample"
    elif (order == np.arange(count)[::-1]).all():
        text = "the samples are in reverse order"
    else:
        text = f"the samples are in the order {text}"
    yield case.edit(text, case.appended(Take(0, order)), do=do)
