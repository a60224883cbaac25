"""Ops that hold several operations, decomposed into steps: the mathematics alone, without what only
keeps floating point in range, so that an edit can reach what is inside."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.attention_parts import (
    Causal,
    EmptySoftmax,
    Masked,
    RepeatedHeads,
    WindowMask,
)
from probe.ops.base import Op
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight

__all__ = [
    "DECOMPOSITIONS",
    "Decomposition",
    "Parts",
    "X",
    "decomposes",
]

_ROUNDED_AWAY = 18.0
"""From where softplus(x) - x, which is exp(-x), is less than the rounding of x in float32."""


class Parts:
    """Steps under construction, each with what it gives in words."""

    def __init__(self, inputs: Sequence[np.ndarray]) -> None:
        self.inputs = inputs
        """What the op takes."""
        self.shapes = [np.shape(x) for x in inputs]
        self.steps: list[Step] = []
        self.words: list[str] = []

    def add(self, words: str, op: Op, *inputs: Ref) -> Ref:
        self.steps.append(Step(op, inputs))
        self.words.append(words)
        return Ref(len(self.steps) - 1)

    def number(self, words: str, value: Any) -> Ref:
        return self.add(words, ops.Constant(np.asarray(value, np.float64)))

    def weight(self, weight: Weight, shape: Sequence[int]) -> Ref:
        held = replace(weight, shape=tuple(shape))
        return self.add(weight.name, ops.Parameter(held))


Decomposition = Callable[[Any, Parts], Ref | tuple[Ref, ...] | None]
DECOMPOSITIONS: dict[type, Decomposition] = {}


def decomposes(*kinds: type) -> Callable[[Decomposition], Decomposition]:
    def register(function: Decomposition) -> Decomposition:
        DECOMPOSITIONS.update(dict.fromkeys(kinds, function))
        return function

    return register


X = Ref(-1, 0)


@decomposes(ops.AbsMaxQuantize)
def _abs_max_quantize(op: ops.AbsMaxQuantize, to: Parts) -> Ref:
    size = to.add("the magnitudes", ops.Abs(), X)
    most = to.add("the largest magnitude", ops.ReduceMax(op.axes, True), size)
    most = to.add("the divisor", ops.Add(), most, to.number("epsilon", op.epsilon))
    step = to.add("the factor", ops.Div(), to.number("the highest level", op.high), most)
    y = to.add("the scaled input", ops.Mul(), X, step)
    y = to.add("the input's integers", ops.Round(), y)
    y = to.add("the clipped integers", ops.Clip(float(op.low), float(op.high)), y)
    return to.add("the quantised input", ops.Div(), y, step)


@decomposes(ops.MaskedMean)
def _masked_mean(op: ops.MaskedMean, to: Parts) -> Ref | None:
    if len(to.shapes) != 2 or len(to.shapes[0]) != 3:
        return None
    kept = to.add("the mask", ops.Unsqueeze((3 - op.axis,)), Ref(-1, 1))
    part = to.add("the steps that are kept", ops.Mul(), X, kept)
    total = to.add("the sum", ops.ReduceSum((op.axis,), op.keepdims), part)
    count = to.add("the number of steps", ops.ReduceSum((op.axis,), op.keepdims), kept)
    return to.add("the mean", ops.Div(), total, count)


def _standardised(op: Any, to: Parts, x: Ref, axes: tuple[int, ...]) -> Ref:
    """(x - mean) / sqrt(variance + epsilon)."""
    mean = to.add("the mean", ops.ReduceMean(axes, True), x)
    centred = to.add("the centred input", ops.Sub(), x, mean)
    square = to.add("the squares", ops.Square(), centred)
    variance = to.add("the variance", ops.ReduceMean(axes, True), square)
    epsilon = to.number("epsilon", op.epsilon)
    summed = to.add("the variance + epsilon", ops.Add(), variance, epsilon)
    root = to.add("the standard deviation", ops.Sqrt(), summed)
    return to.add("the normalised input", ops.Div(), centred, root)


def _with_gain(op: Any, to: Parts, x: Ref, shape: Sequence[int]) -> Ref:
    if op.scale is not None:
        x = to.add("the product with the gain", ops.Mul(), x, to.weight(op.scale, shape))
    if getattr(op, "bias", None) is not None:
        x = to.add("the output", ops.Add(), x, to.weight(op.bias, shape))
    return x


@decomposes(ops.LayerNormalization)
def _layer_norm(op: ops.LayerNormalization, to: Parts) -> Ref:
    shape = [size if axis in op.axes else 1 for axis, size in enumerate(to.shapes[0])]
    return _with_gain(op, to, _standardised(op, to, X, op.axes), shape)


@decomposes(ops.GroupNormalization)
def _group_norm(op: ops.GroupNormalization, to: Parts) -> Ref:
    _, channels, *spatial = shape = to.shapes[0]
    split = (-1, op.groups, channels // op.groups, *spatial)
    groups = to.add("the groups", ops.Reshape(split), X)
    y = _standardised(op, to, groups, tuple(range(2, len(split))))
    y = to.add("the normalised input", ops.Reshape((-1, *shape[1:])), y)
    return _with_gain(op, to, y, (channels, *(1,) * len(spatial)))


@decomposes(ops.RMSNormalization)
def _rms_norm(op: ops.RMSNormalization, to: Parts) -> Ref:
    part = X
    if op.centred:
        mean = to.add("the mean", ops.ReduceMean(op.axes, True), X)
        part = to.add("the centred input", ops.Sub(), X, mean)
    square = to.add("the squares", ops.Square(), part)
    power = to.add("the mean of the squares", ops.ReduceMean(op.axes, True), square)
    epsilon = to.number("epsilon", op.epsilon)
    summed = to.add("the mean of the squares + epsilon", ops.Add(), power, epsilon)
    root = to.add("the root of the mean square", ops.Sqrt(), summed)
    y = to.add("the normalised input", ops.Div(), X, root)
    return _with_gain(op, to, y, [n if k in op.axes else 1 for k, n in enumerate(to.shapes[0])])


@decomposes(ops.BatchNormalization)
def _batch_norm(op: ops.BatchNormalization, to: Parts) -> Ref:
    shape = [1] * len(to.shapes[0])
    shape[op.axis] = to.shapes[0][op.axis]
    y = X
    if op.mean is not None:
        y = to.add("the centred input", ops.Sub(), y, to.weight(op.mean, shape))
    if op.variance is not None:
        variance, epsilon = to.weight(op.variance, shape), to.number("epsilon", op.epsilon)
        summed = to.add("the variance + epsilon", ops.Add(), variance, epsilon)
        root = to.add("the standard deviation", ops.Sqrt(), summed)
        y = to.add("the normalised input", ops.Div(), y, root)
    return _with_gain(op, to, y, shape)


@dataclass(frozen=True, eq=False)
class _FunctionOp(Op):
    """What an op does in between."""

    function: Callable[[np.ndarray], np.ndarray]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self.function(inputs[0]),)


def _powers(to: Parts, p: float) -> Ref:
    if p == 2:
        return to.add("the squares", ops.Square(), X)
    return to.add("the powers", ops.Pow(), X, to.number("p", p))


@decomposes(ops.LpNormalization)
def _lp_norm(op: ops.LpNormalization, to: Parts) -> Ref | None:
    if op.p != 2:
        return None
    epsilon = to.number("epsilon", op.epsilon)
    norm = to.add("the sum of the squares", ops.ReduceSum(op.axes, True), _powers(to, 2))
    if op.squared:
        norm = to.add("the limited sum", ops.Max(), norm, epsilon)
    norm = to.add("the norm", ops.Sqrt(), norm)
    if not op.squared:
        norm = to.add("the limited norm", ops.Max(), norm, epsilon)
    return to.add("the output", ops.Div(), X, norm)


@decomposes(ops.LpPool)
def _lp_pool(op: ops.LpPool, to: Parts) -> Ref:
    total = to.add("the sums over the windows", _FunctionOp(op.window_sums), _powers(to, op.p))
    return to.add("the root", ops.Pow(), total, to.number("1 / p", 1 / op.p))


@decomposes(ops.LRN)
def _lrn(op: ops.LRN, to: Parts) -> Ref:
    total = to.add("the sums over channels", _FunctionOp(op.neighbour_sums), _powers(to, 2))
    factor = to.number("alpha / size", op.alpha / op.size)
    scaled = to.add("alpha / size times the sums", ops.Mul(), total, factor)
    base = to.add("the base of the power", ops.Add(), scaled, to.number("k", op.bias))
    power = to.add("the divisor", ops.Pow(), base, to.number("beta", op.beta))
    return to.add("the output", ops.Div(), X, power)


@decomposes(ops.Attention, ops.AdditiveAttention)
def _attention(op: Any, to: Parts) -> Ref | tuple[Ref, ...] | None:
    if op.weights == "mean":
        return None
    q, k, v, *masks = (Ref(-1, index) for index in range(len(to.shapes)))
    rank = len(to.shapes[0])
    queries, positions = to.shapes[0][-2], to.shapes[1][-2]
    if len({len(shape) for shape in to.shapes[:3]}) > 1:
        return None
    if op.groups > 1:
        k, v = (
            to.add(f"the {name} heads, each repeated", RepeatedHeads(op.groups, rank - 3), x)
            for name, x in (("key", k), ("value", v))
        )
    if isinstance(op, ops.AdditiveAttention):
        scores = _additive_scores(op, to, q, k)
    else:
        turn = (*range(rank - 2), rank - 1, rank - 2)
        turned = to.add("the keys, transposed", ops.Transpose(turn), k)
        scores = to.add("the products of queries and keys", ops.Product(), q, turned)
        if op.scale != 1:
            scale = to.number("the scale", op.scale)
            scores = to.add("the scores", ops.Mul(), scores, scale)
        if op.gain is not None:
            scores = to.add("the scaled scores", ops.Mul(), scores, to.weight(op.gain, ()))
    low = -np.inf if op.empty in ("nan", "zero") else -1e9
    seen: list[Ref] = []
    if op.causal:
        seen.append(to.add("the causal mask", Causal(queries, positions)))
    if op.window is not None:
        seen.append(to.add("the mask of the window", WindowMask(queries, positions, op.window)))
    for kind, mask in zip(op.masks, masks, strict=True):
        if kind == "add":
            scores = to.add("the masked scores", ops.Add(), scores, mask)
        else:
            unity = to.number("1", 1.0)
            if kind == "keep":
                part = mask
            else:
                part = to.add("the inverted mask", ops.Sub(), unity, mask)
            seen.append(part)
    for ref in seen:
        scores = to.add("the masked scores", Masked(low), scores, ref)
    weights = to.add("the attention weights", EmptySoftmax(-1), scores)
    out = to.add("the weighted values", ops.Product(), weights, v)
    if op.weights:
        return (out, weights)
    return out


def _additive_scores(op: ops.AdditiveAttention, to: Parts, q: Ref, k: Ref) -> Ref:
    wide = to.add("the queries", ops.Unsqueeze((-2,)), q)
    added = to.add("query + key", ops.Add(), wide, to.add("the keys", ops.Unsqueeze((-3,)), k))
    if op.inner is not None:
        added = to.add("the scaled sum", ops.Mul(), added, to.weight(op.inner, ()))
    made = to.add("tanh(query + key)", ops.Tanh(), added)
    if op.outer is not None:
        made = to.add(
            "the scaled features", ops.Mul(), made, to.weight(op.outer, (op.outer.value.size,))
        )
    scores = to.add("the scores", ops.ReduceSum((-1,)), made)
    if op.scale != 1:
        scores = to.add("the scaled scores", ops.Mul(), scores, to.number("the scale", op.scale))
    return scores


# Activations.


def _times_gate(op: Any, to: Parts) -> Ref:
    gate: dict[type, Op] = {
        ops.Swish: ops.Sigmoid(),
        ops.HardSwish: ops.HardSigmoid(1 / 6, 0.5),
    }
    x = X
    if getattr(op, "alpha", 1.0) != 1.0:
        x = to.add("the scaled input", ops.Mul(), X, to.number("alpha", op.alpha))
    return to.add("the output", ops.Mul(), X, to.add("the gate", gate[type(op)], x))


decomposes(ops.Swish, ops.HardSwish)(_times_gate)


@decomposes(ops.Gelu)
def _gelu(op: ops.Gelu, to: Parts) -> Ref:
    half, unity = to.number("1/2", 0.5), to.number("1", 1.0)
    if op.approximate == "tanh":
        cube = to.add("x cubed", ops.Pow(), X, to.number("the exponent", 3.0))
        part = to.add("0.044715 x^3", ops.Mul(), cube, to.number("0.044715", 0.044715))
        summed = to.add("x + 0.044715 x^3", ops.Add(), X, part)
        root = to.number("sqrt(2 / pi)", math.sqrt(2 / math.pi))
        inner = to.add("the tanh", ops.Tanh(), to.add("tanh's argument", ops.Mul(), summed, root))
    else:
        root = to.number("1 / sqrt(2)", math.sqrt(0.5))
        inner = to.add("erf", ops.Erf(), to.add("erf's argument", ops.Mul(), X, root))
    gate = to.add("the gate", ops.Mul(), to.add("1 + erf", ops.Add(), unity, inner), half)
    return to.add("the output", ops.Mul(), X, gate)


@decomposes(ops.Softplus)
def _softplus(op: ops.Softplus, to: Parts) -> Ref | None:
    if op.beta == 1:
        return None
    scaled = to.add("beta x", ops.Mul(), X, to.number("beta", op.beta))
    y = to.add("softplus(beta x)", ops.Softplus(), scaled)
    y = to.add("softplus(beta x) / beta", ops.Div(), y, to.number("beta", op.beta))
    if op.threshold is None or op.threshold >= _ROUNDED_AWAY:
        return y
    limit = to.number("the threshold", op.threshold)
    over = to.add("beta x > threshold", ops.Greater(), scaled, limit)
    return to.add("the output", ops.Where(), over, X, y)


@decomposes(ops.ScaledRelu)
def _scaled_relu(op: ops.ScaledRelu, to: Parts) -> Ref | None:
    if not op.threshold or not op.negative_slope:
        return None
    limit = to.number("the threshold", op.threshold)
    above = X
    if op.max_value is not None:
        above = to.add("the limited input", ops.Min(), X, to.number("the limit", op.max_value))
    shifted = to.add("x - threshold", ops.Sub(), X, limit)
    slope = to.number("the slope", op.negative_slope)
    below = to.add("slope (x - threshold)", ops.Mul(), shifted, slope)
    over = to.add("x > threshold", ops.Greater(), X, limit)
    return to.add("the output", ops.Where(), over, above, below)


@decomposes(ops.Selu, ops.Elu, ops.LeakyRelu, ops.PRelu)
def _two_sides(op: Any, to: Parts) -> Ref:
    zero = to.number("0", 0.0)
    above = to.add("the positive side", ops.Max(), X, zero)
    below = to.add("the negative side", ops.Min(), X, zero)
    if isinstance(op, ops.PRelu):
        shape = op.slope.value.shape
        slope = to.weight(op.slope, shape)
    else:
        alpha = 1.6732632423543772 if isinstance(op, ops.Selu) else op.alpha
        slope = to.number("alpha", alpha)
    if isinstance(op, ops.Selu | ops.Elu):
        below = to.add("exp(x) - 1", ops.Expm1(), below)
    below = to.add("the negative side times alpha", ops.Mul(), below, slope)
    if isinstance(op, ops.Selu):
        scale = to.number("the scale 1.0507", 1.0507009873554805)
        above = to.add("the scaled positive side", ops.Mul(), above, scale)
        below = to.add("the scaled negative side", ops.Mul(), below, scale)
    return to.add("the output", ops.Add(), above, below)


@decomposes(ops.Glu)
def _glu(op: ops.Glu, to: Parts) -> Ref:
    axis = op.axis % len(to.shapes[0])
    half = to.shapes[0][axis] // 2
    first = to.add("the first half", ops.Take(axis, tuple(range(half))), X)
    second = to.add("the second half", ops.Take(axis, tuple(range(half, 2 * half))), X)
    return to.add("the output", ops.Mul(), first, to.add("the gate", ops.Sigmoid(), second))


@decomposes(ops.Standardize)
def _standardize(op: ops.Standardize, to: Parts) -> Ref:
    mean, variance = (to.weight(weight, weight.value.shape) for weight in (op.mean, op.variance))
    deviation = to.add("the standard deviation", ops.Sqrt(), variance)
    if op.invert:
        scaled = to.add("the product with the standard deviation", ops.Mul(), X, deviation)
        return to.add("the output", ops.Add(), scaled, mean)
    centred = to.add("the centred input", ops.Sub(), X, mean)
    return to.add("the output", ops.Div(), centred, deviation)
