"""Ops as a port may write them otherwise, where no field says so: of another kind with the same
name, in another order, with another rounding."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writer_of, writes, writes_as
from probe.by_hand.values import ATOM, Value, as_tuple
from probe.by_hand.writers.window import stacked
from probe.hypotheses.edits.activations import COMMON
from probe.hypotheses.edits.op_words import op_words
from probe.ops.base import Elementwise, Op

__all__ = ["siblings", "tables"]


def siblings(op: Op) -> Iterator[Op]:
    """Ops that one may be taken for, each with its words (``in_words``, or its name)."""
    held = {part.name: getattr(op, part.name) for part in fields(op)}
    others: dict[Any, None] = {}
    for family in _FAMILIES:
        if type(op) is family[0] or (type(op) in family and ops.Identity not in family):
            others |= dict.fromkeys(kind for kind in family if kind is not type(op))
    for kind in others:
        names = {part.name for part in fields(kind)}
        yield kind(**{name: held[name] for name in names & held.keys()})
    for kinds, variants in _VARIANTS:
        if isinstance(op, kinds):
            yield from variants(op)
    if isinstance(op, Elementwise | ops.Softmax | ops.LogSoftmax) and type(op) in _ACTIVATIONS:
        for _, other in COMMON:
            if type(other) is not type(op):
                yield other


_ACTIVATIONS = {type(op) for _, op in COMMON} - {ops.Exp, ops.Abs, ops.Neg}

_FAMILIES: tuple[tuple[type, ...], ...] = (
    (ops.Add, ops.Sub, ops.Mul, ops.Div),
    (ops.Max, ops.Min, ops.Add),
    (ops.Mean, ops.Add, ops.Max),
    (
        *(ops.ReduceMean, ops.ReduceSum, ops.ReduceMax, ops.ReduceMin, ops.ReduceL2),
        *(ops.ReduceL1, ops.ReduceSumSquare, ops.ReduceStd, ops.ReduceVar),
    ),
    (ops.ReduceLogSumExp, ops.ReduceMax, ops.ReduceSum, ops.ReduceMean),
    (ops.GlobalMaxPool, ops.GlobalAveragePool),
    (ops.AdaptiveAveragePool, ops.AdaptiveMaxPool),
    (ops.Elu, ops.Celu),
    (ops.Square, ops.Abs, ops.Identity),
    (ops.Sqrt, ops.Identity, ops.Square),
    (ops.Log, ops.Identity, ops.Sqrt, ops.Abs),
    (ops.Exp, ops.Identity, ops.Abs, ops.Neg),
    (ops.Neg, ops.Identity, ops.Abs),
    (ops.Sin, ops.Cos),
    (ops.CumSum, ops.CumProd),
)


@dataclass(frozen=True, eq=False)
class _Variant(Op):
    """An op computed by another function of it and its inputs."""

    op: Any
    function: Callable[..., np.ndarray]
    in_words: str

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(self.function(self.op, *inputs)),)


@writes(_Variant)
def _by_hand(op: _Variant, w: Any, *values: Value) -> Value:
    """Of an op in float16, or with another way of rounding in it: the op's own text, changed; and
    a softmax of each sample."""
    if op.function is _in_float16:
        (x,) = values
        narrow = replace(x, text=f"{x.at(ATOM)}.astype(np.float16)", level=ATOM)
        made: Value = writer_of(op.op)(op.op, w, narrow)
        return made
    if isinstance(op.function, partial) and op.function.func in (_to_whole, _quantized_by):
        made = writer_of(op.op)(op.op, w, *values)
        rounded = _ROUNDED[op.function.args[0]]
        return replace(
            made, text=re.sub(r"np\.(round|floor|ceil|trunc)\(", rounded, made.text, count=1)
        )
    if op.function is _softmax_of_sample:
        (x,) = values
        axes = as_tuple(sorted(x.axes[1:]))
        text = f"{w.helper('softmax')}({x.text}, axis={axes})"
        of_sample: Value = w.result(text, ATOM, x.order)
        return of_sample
    raise Unwritten(f"{type(op.op).__name__} by {op.in_words}")


def _ways(*ways: tuple[str, Callable[..., np.ndarray]]) -> Callable[[Any], Iterator[Op]]:
    return lambda op: (
        _Variant(op, function, words.format(op_words(op))) for words, function in ways
    )


def _divided_by_less(op: Any, x: np.ndarray) -> np.ndarray:
    count = math.prod(x.shape[axis] for axis in op.axes)
    return np.asarray(ops.ReduceSum(op.axes, op.keepdims).run(x)[0] / (count - 1))


def _one_of_all(at: int) -> Callable[..., np.ndarray]:
    def run(op: Any, x: np.ndarray) -> np.ndarray:
        (axis,) = op.axes
        taken = np.take(x, at, axis)
        return np.expand_dims(taken, axis) if op.keepdims else taken

    return run


def _median(method: Literal["linear", "lower"]) -> Callable[..., np.ndarray]:
    def run(op: Any, x: np.ndarray) -> np.ndarray:
        median = np.quantile(x, 0.5, axis=op.axes, method=method, keepdims=op.keepdims)
        return np.asarray(median)

    return run


_MEDIANS = (("the median", _median("linear")), ("the lower median", _median("lower")))


def _mean_square(op: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(ops.ReduceMean(op.axes, op.keepdims).run(np.square(x))[0])


def _root_mean_square(op: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(_mean_square(op, x)))


def _to_whole(function: Callable[..., np.ndarray], _: Any, x: np.ndarray) -> np.ndarray:
    """That function of numbers of which those next to a whole one are that, as rounding makes
    them."""
    whole = np.rint(x)
    near = np.abs(x - whole) <= 2.0**-22 * np.abs(whole)
    return np.asarray(function(np.where(near, whole, x)))


def _half_up(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.floor(x + 0.5))


_WHOLE = (
    *(("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc)),
    *(("round", np.rint), ("round with halves up", _half_up)),
)


_ROUNDED = {
    np.floor: "np.floor(",
    np.ceil: "np.ceil(",
    np.trunc: "np.trunc(",
    np.rint: "np.round(",
    _half_up: "np.floor(0.5 + ",
}
"""These in a script."""


def _other_whole(op: Any) -> Iterator[Op]:
    for words, function in _WHOLE:
        if words != op_words(op):
            yield _Variant(op, partial(_to_whole, function), words)


def _in_float16(op: Any, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        narrow = x.astype(np.float16)
        return np.asarray(op.run(narrow)[0].astype(np.float16).astype(x.dtype))


def _softmax_of_sample(op: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(ops.Softmax(1).run(x.reshape(len(x), -1))[0].reshape(x.shape))


def _smallest(op: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(-op.run(-x)[0])


def _of_largest_magnitude(op: Any, x: np.ndarray) -> np.ndarray:
    most, least = op.run(x)[0], _smallest(op, x)
    return np.where(most >= -least, most, least)


def _as_maximum(op: Any, x: np.ndarray) -> np.ndarray:
    """max(x, slope x): the same for slopes up to 1."""
    slope = -op.run(np.full_like(x, -1.0))[0]
    return np.asarray(np.maximum(x, slope * x))


def _wrapped(op: Any, x: np.ndarray) -> np.ndarray:
    """What a type of so many numbers does where nothing is clipped."""
    low, high = op.low, op.high
    if low is None or high is None or not (float(high - low).is_integer() and high > low):
        raise ValueError("no range to wrap around in")
    return np.asarray((x - low) % (high - low + 1) + low)


def _at_both_ends(op: Any, x: np.ndarray) -> np.ndarray:
    if None not in (op.low, op.high):
        raise ValueError("bounded already")
    bound = -op.low if op.high is None else op.high
    return np.asarray(np.clip(x, -bound, bound))


@dataclass(frozen=True, eq=False)
class _OtherWindows(ops.AdaptiveAveragePool):
    """The mean over windows that end elsewhere; ``ends``: "floor", all of n // out elements, or all
    as wide as a stride of n // out leaves them."""

    ends: str = "floor"

    @property
    def in_words(self) -> str:
        return {
            "floor": "windows that end at floor((i + 1) n / out), not at the ceiling of it,",
            "equal": "windows of n // out elements, the rest at the end unused,",
            "last": "windows of n // out elements, the last one up to the end,",
            "stride": "windows of n - (out - 1) (n // out) elements at a stride of n // out",
        }[self.ends]

    def _tiles_of(self, size: int, count: int) -> Iterator[tuple[int, int]]:
        each = size // count
        for i in range(count):
            if self.ends == "floor":
                yield i * size // count, (i + 1) * size // count
            elif self.ends == "stride":
                yield i * each, i * each + size - (count - 1) * each
            else:
                last = self.ends == "last" and i == count - 1
                yield i * each, size if last else (i + 1) * each


@writes(_OtherWindows)
def _windows_by_hand(op: _OtherWindows, w: Any, x: Value) -> Value:
    axes = x.axes[-len(op.output_size) :]
    for axis, count in zip(axes, op.output_size, strict=True):
        x = stacked(w, x, axis, [*op._tiles_of(x.shape[axis], count)], "mean")
    made: Value = w.result(x.text, x.level, x.order)
    return made


def _other_windows(op: Any) -> Iterator[Op]:
    for ends in ("floor", "equal", "last", "stride"):
        yield _OtherWindows(op.output_size, ends)


@writes_as("ResizeNearest")
@dataclass(frozen=True, eq=False)
class _NearestToEven(ops.ResizeNearest):
    """Halves of a coordinate go to the even element, as NumPy's ``round`` takes them."""

    @property
    def in_words(self) -> str:
        return f"{self.coordinates} coordinates with halves rounded to even"

    def _source(self, scale: float, size: int, have: int) -> np.ndarray:
        at = np.arange(size, dtype=np.float64)
        match self.coordinates:
            case "align_corners":
                at = at * ((have - 1) / (size - 1) if size > 1 else 0.0)
            case "half_pixel":
                at = (at + 0.5) / scale - 0.5
            case _:
                at = at / scale
        return np.asarray(np.clip(np.rint(at).astype(int), 0, have - 1))


def _nearest_to_even(op: Any) -> Iterator[Op]:
    for coordinates in ("align_corners", "half_pixel", "asymmetric"):
        yield _NearestToEven(op.scales, op.sizes, coordinates, "round_to_even")


def _zeros_outside(op: Any, x: np.ndarray) -> np.ndarray:
    """Elements beyond the edge count as 0."""
    if op.table or op.antialias or op.mode == "area":
        raise ValueError("nothing outside")
    rank = len(op.sizes)
    taps = replace(op, outside="zeros").taps(x.shape[-rank:])
    wide = replace(op, outside="excluded").taps(x.shape[-rank:])
    for axis, (tap, inside) in enumerate(zip(taps, wide, strict=True), start=x.ndim - rank):
        matrix = np.zeros((len(tap.places), x.shape[axis]))
        rows = np.arange(len(tap.places))[:, None]
        np.add.at(matrix, (rows, tap.places), np.where(inside.used, tap.weights, 0.0))
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix.T, -1, axis)
    return x


def _zeros_appended(op: Any, *inputs: np.ndarray) -> np.ndarray:
    """What is cropped less at an end than at the beginning, PyTorch's ``output_padding``, is 0."""
    y = op.run(*inputs)[0].copy()
    for axis, (before, after) in enumerate(op.crops, start=2):
        if before > after:
            np.moveaxis(y, axis, 0)[after - before :] = 0
    return np.asarray(y)


_PaddingMode = Literal["edge", "reflect", "symmetric", "wrap"]


def _padded_with(mode: _PaddingMode) -> Callable[..., np.ndarray]:
    def run(op: Any, x: np.ndarray) -> np.ndarray:
        wide = np.pad(x, ((0, 0), (0, 0), *op.pads), mode=mode)
        return np.asarray(replace(op, pads=((0, 0),) * len(op.pads)).run(wide)[0])

    return run


def _mean_of_overlaps(op: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(op.run(x)[0] / np.maximum(op.run(np.ones_like(x))[0], 1))


def _last_of_overlaps(op: Any, x: np.ndarray) -> np.ndarray:
    y = op.run(x)[0]
    image = np.arange(1, math.prod(op.sizes) + 1).reshape(1, 1, *op.sizes)  # 0 is the padding
    held = {part.name: getattr(op, part.name) for part in fields(ops.Im2Col)}
    cells = ops.Im2Col(**held).run(image)[0][0].T
    columns = x.reshape(*y.shape[:2], -1, x.shape[2]).swapaxes(2, 3)
    out = np.zeros((*y.shape[:2], image.size + 1), x.dtype)
    out[:, :, cells.ravel()] = columns.reshape(*y.shape[:2], -1)
    return out[:, :, 1:].reshape(y.shape)


def _with_epsilon_added(op: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(x / (replace(op, epsilon=0.0).norm(x) + op.epsilon))


def _with_epsilon_under_the_root(op: Any, x: np.ndarray) -> np.ndarray:
    if op.p != 2:
        raise ValueError("no sum of squares")
    return np.asarray(x / np.sqrt(replace(op, epsilon=0.0).norm(x) ** 2 + op.epsilon))


def _less_the_threshold(op: Any, x: np.ndarray) -> np.ndarray:
    above = x - op.threshold
    capped = above if op.max_value is None else np.minimum(above, op.max_value)
    return np.asarray(np.where(above > 0, capped, op.run(x)[0]))


def _mean_of_all(op: Any, *inputs: np.ndarray) -> np.ndarray:
    if op.mode != "mean" or op.padding is None or op.offsets:
        raise ValueError("every index counts")
    return np.asarray(replace(op, mode="sum").run(*inputs)[0] / inputs[0].shape[1])


def _rounded_otherwise(op: Any) -> Iterator[Op]:
    for words, function in _WHOLE:
        if function is not np.rint:
            yield _Variant(
                op, partial(_quantized_by, function), f"quantisation that rounds by {words}"
            )


def _quantized_by(function: Callable[..., np.ndarray], op: Any, x: np.ndarray) -> np.ndarray:
    # The largest lies next to a whole number, and where it falls is a matter of the last digit.
    narrow = x.astype(np.float32)
    scale = op.scale(narrow)
    return np.asarray(np.clip(function(narrow * scale), op.low, op.high) / scale.astype(x.dtype))


@dataclass(frozen=True, eq=False)
class _LookupTable(Elementwise):
    """A function looked up in a table."""

    op: Any
    limit: float
    step: float
    rounded: Callable[[np.ndarray], np.ndarray] = np.rint

    @property
    def in_words(self) -> str:
        how = "the nearest" if self.rounded is np.rint else "the lower"
        return (
            f"{how} of a table's values of {op_words(self.op)} in steps of {self.step:g} "
            f"from {-self.limit:g} to {self.limit:g}"
        )

    def f(self, x: np.ndarray) -> np.ndarray:
        last = int(2 * self.limit / self.step) - (self.rounded is np.floor)
        number = np.clip(self.rounded((x + self.limit) / self.step), 0, last)
        return np.asarray(self.op.f(number * self.step - self.limit))


_REACHES = (4.0, 8.0)
_STEPS = tuple(2.0**-k for k in range(1, 9))


def tables(op: Op) -> Iterator[_LookupTable]:
    """An activation looked up in a table."""
    for step in _STEPS if isinstance(op, Elementwise) and type(op) in _ACTIVATIONS else ():
        for reach in _REACHES:
            yield _LookupTable(op, reach, step)
            yield _LookupTable(op, reach, step, np.floor)


def _largest_alone(op: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(x == x.max(axis=op.axis, keepdims=True), np.float64)


_VARIANTS: tuple[tuple[tuple[type, ...], Callable[[Any], Iterator[Op]]], ...] = (
    (
        (ops.ReduceMean,),
        _ways(("the sum divided by n - 1", _divided_by_less), *_MEDIANS),
    ),
    ((ops.ReduceMax, ops.ReduceMin), _ways(*_MEDIANS)),
    ((ops.ReduceVar,), _ways(("the mean of the squares", _mean_square))),
    ((ops.ReduceStd,), _ways(("the root of the mean square", _root_mean_square))),
    ((ops.Log,), _ways(("log(1 + x)", lambda _, x: np.log1p(x)))),
    (
        (ops.ReduceMean, ops.ReduceSum, ops.ReduceMax, ops.ReduceMin),
        _ways(("the last element", _one_of_all(-1)), ("the first element", _one_of_all(0))),
    ),
    (
        (ops.ReduceMean, ops.ReduceSum, ops.ReduceSumSquare),
        _ways(("{} in float16", _in_float16)),
    ),
    ((ops.Exp,), _ways(("1 + x, its first two terms,", lambda _, x: 1 + x))),
    ((ops.Softmax,), _ways(("a softmax over all axes of a sample", _softmax_of_sample))),
    (
        (ops.MaxPool,),
        _ways(
            ("the value of the largest magnitude", _of_largest_magnitude),
            ("the smallest value", _smallest),
        ),
    ),
    ((ops.PRelu, ops.LeakyRelu), _ways(("max(x, slope x)", _as_maximum))),
    ((ops.Round, ops.Floor, ops.Ceil, ops.Trunc), _other_whole),
    (
        (ops.Clip,),
        _ways(
            ("wrapping around at the ends", _wrapped),
            ("the same bound at both ends", _at_both_ends),
        ),
    ),
    ((ops.AdaptiveAveragePool,), _other_windows),
    ((ops.ResizeNearest,), _nearest_to_even),
    ((ops.Resize,), _ways(("zeros beyond the border", _zeros_outside))),
    ((ops.ConvTranspose,), _ways(("the output padding filled with zeros", _zeros_appended))),
    (
        (ops.Im2Col,),
        _ways(
            *((f"padding of mode {mode}", _padded_with(mode)) for mode in get_args(_PaddingMode))
        ),
    ),
    (
        (ops.Col2Im,),
        _ways(
            ("the mean where blocks overlap", _mean_of_overlaps),
            ("the last block where blocks overlap", _last_of_overlaps),
        ),
    ),
    (
        (ops.LpNormalization,),
        _ways(
            ("epsilon added to the norm", _with_epsilon_added),
            ("epsilon added to the sum of squares", _with_epsilon_under_the_root),
        ),
    ),
    ((ops.LogSoftmax,), lambda op: iter((ops.LogSigmoid(),))),
    ((ops.Softmax,), _ways(("1 for the largest, 0 for all others", _largest_alone))),
    ((ops.ScaledRelu,), _ways(("the threshold subtracted above it", _less_the_threshold))),
    ((ops.EmbeddingBag,), _ways(("the mean over the padding too", _mean_of_all))),
    ((ops.AbsMaxQuantize,), _rounded_otherwise),
)
