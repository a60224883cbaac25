"""Ops that hold several operations, taken apart: the mathematics alone, without what only keeps
floating point in range, so that an edit can reach what is inside."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.case import Case, Gathered, Steps, once
from probe.ops.base import Elementwise, Op
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight

__all__ = [
    "Causal",
    "Masked",
    "Scanned",
    "as_last_step",
    "taken_apart",
    "taken_together",
]

_SUMS = (ops.Conv, ops.ConvTranspose, ops.MatMul)
_LARGE = 1 << 22
"""Elements of all arrays of a layer from which on it is left as it is."""
_MANY = 1 << 20
"""Quantised weights from which on they are left as they are."""


class _Parts:
    """Steps under construction, each with what it gives in words."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self.shapes = shapes
        """Of the op's inputs."""
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


_Unfold = Callable[[Any, _Parts], Ref | tuple[Ref, ...] | None]
_UNFOLDS: dict[type, _Unfold] = {}


def _of(*kinds: type) -> Callable[[_Unfold], _Unfold]:
    def register(function: _Unfold) -> _Unfold:
        _UNFOLDS.update(dict.fromkeys(kinds, function))
        return function

    return register


X = Ref(-1, 0)


@_of(*_SUMS)
def _sum(op: Any, to: _Parts) -> Ref | None:
    weight = op.weight
    quantised = weight is not None and by_integers(weight)
    if op.bias is None and not quantised:
        return None
    given = tuple(Ref(-1, k) for k in range(len(to.shapes)))
    if quantised:
        given = (*given, _dequantised(weight, to))
    if quantised and isinstance(op, ops.MatMul):
        y = to.add("", ops.Product(), *given)
    else:
        y = to.add("", replace(op, bias=None, weight=None if quantised else weight), *given)
    if op.bias is None:
        return y
    spatial = 0 if isinstance(op, ops.MatMul) else len(to.shapes[0]) - 2
    bias = to.weight(op.bias, (op.bias.value.size, *(1,) * spatial))
    return to.add("", ops.Add(), y, bias)


def by_integers(weight: Weight) -> bool:
    """Whether a weight is taken apart into its integers and what they are scaled by."""
    size = weight.effective.size
    return weight.grid is not None and weight.rows is None and 0 < size <= _MANY


def _dequantised(weight: Weight, to: _Parts) -> Ref:
    """scale * (integer - zero point), in the op's layout."""
    assert weight.grid is not None
    grid, name = weight.grid, weight.name
    rank = weight.effective.ndim

    def held(words: str, array: np.ndarray) -> Ref:
        array = np.asarray(array)
        array = array.reshape((1,) * (rank - array.ndim) + array.shape) if array.ndim else array
        return to.add(words, ops.Parameter(Weight(words, None, array)))

    y = held(f"the integers of {name}", grid.integers(weight.effective).astype(np.float64))
    if np.any(grid.zero_point):
        zero = held(f"the zero point of {name}", np.asarray(grid.zero_point, np.float64))
        y = to.add(f"the integers of {name} - zero point", ops.Sub(), y, zero)
    scale = held(f"the scale of {name}", np.asarray(grid.scale, np.float64))
    y = to.add(f"the dequantised {name}", ops.Mul(), y, scale)
    if weight.axes is not None:
        y = to.add(name, ops.Transpose(weight.axes), y)
    return y if weight.shape is None else to.add(name, ops.Reshape(weight.shape), y)


@_of(ops.AbsMaxQuantize)
def _abs_max_quantize(op: ops.AbsMaxQuantize, to: _Parts) -> Ref:
    size = to.add("the magnitudes", ops.Abs(), X)
    most = to.add("the largest magnitude", ops.ReduceMax(op.axes, True), size)
    most = to.add("the divisor", ops.Add(), most, to.number("epsilon", op.epsilon))
    step = to.add("the factor", ops.Div(), to.number("the highest level", op.high), most)
    y = to.add("the scaled input", ops.Mul(), X, step)
    y = to.add("the input's integers", ops.Round(), y)
    y = to.add("the clipped integers", ops.Clip(float(op.low), float(op.high)), y)
    return to.add("the quantised input", ops.Div(), y, step)


@_of(ops.MaskedMean)
def _masked_mean(op: ops.MaskedMean, to: _Parts) -> Ref | None:
    if len(to.shapes) != 2 or len(to.shapes[0]) != 3:
        return None
    kept = to.add("the mask", ops.Unsqueeze((3 - op.axis,)), Ref(-1, 1))
    part = to.add("the steps that are kept", ops.Mul(), X, kept)
    total = to.add("the sum", ops.ReduceSum((op.axis,), op.keepdims), part)
    count = to.add("the number of steps", ops.ReduceSum((op.axis,), op.keepdims), kept)
    return to.add("the mean", ops.Div(), total, count)


def _standardised(op: Any, to: _Parts, x: Ref, axes: tuple[int, ...]) -> Ref:
    """(x - mean) / sqrt(variance + epsilon)."""
    mean = to.add("the mean", ops.ReduceMean(axes, True), x)
    centred = to.add("the centred input", ops.Sub(), x, mean)
    square = to.add("the squares", ops.Square(), centred)
    variance = to.add("the variance", ops.ReduceMean(axes, True), square)
    epsilon = to.number("epsilon", op.epsilon)
    summed = to.add("the variance + epsilon", ops.Add(), variance, epsilon)
    root = to.add("the standard deviation", ops.Sqrt(), summed)
    return to.add("the normalised input", ops.Div(), centred, root)


def _with_gain(op: Any, to: _Parts, x: Ref, shape: Sequence[int]) -> Ref:
    if op.scale is not None:
        x = to.add("the product with the gain", ops.Mul(), x, to.weight(op.scale, shape))
    if getattr(op, "bias", None) is not None:
        x = to.add("the output", ops.Add(), x, to.weight(op.bias, shape))
    return x


@_of(ops.LayerNormalization)
def _layer_norm(op: ops.LayerNormalization, to: _Parts) -> Ref:
    shape = [size if axis in op.axes else 1 for axis, size in enumerate(to.shapes[0])]
    return _with_gain(op, to, _standardised(op, to, X, op.axes), shape)


@_of(ops.GroupNormalization)
def _group_norm(op: ops.GroupNormalization, to: _Parts) -> Ref:
    _, channels, *spatial = shape = to.shapes[0]
    split = (-1, op.groups, channels // op.groups, *spatial)
    groups = to.add("the groups", ops.Reshape(split), X)
    y = _standardised(op, to, groups, tuple(range(2, len(split))))
    y = to.add("the normalised input", ops.Reshape((-1, *shape[1:])), y)
    return _with_gain(op, to, y, (channels, *(1,) * len(spatial)))


@_of(ops.RMSNormalization)
def _rms_norm(op: ops.RMSNormalization, to: _Parts) -> Ref:
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


@_of(ops.BatchNormalization)
def _batch_norm(op: ops.BatchNormalization, to: _Parts) -> Ref:
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


@_of(ops.Attention, ops.AdditiveAttention)
def _attention(op: Any, to: _Parts) -> Ref | tuple[Ref, ...] | None:
    if op.weights == "mean":
        return None
    q, k, v, *masks = (Ref(-1, index) for index in range(len(to.shapes)))
    rank = len(to.shapes[0])
    queries, positions = to.shapes[0][-2], to.shapes[1][-2]
    if len({len(shape) for shape in to.shapes[:3]}) > 1:
        return None
    if op.groups > 1:
        k, v = (
            to.add(f"the {name} heads, each repeated", _Repeated(op.groups, rank - 3), x)
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
        seen.append(to.add("the mask of the window", _Window(queries, positions, op.window)))
    for kind, mask in zip(op.masks, masks, strict=True):
        if kind == "add":
            scores = to.add("the masked scores", ops.Add(), scores, mask)
        else:
            one = to.number("1", 1.0)
            part = mask if kind == "keep" else to.add("the inverted mask", ops.Sub(), one, mask)
            seen.append(part)
    for one in seen:
        scores = to.add("the masked scores", Masked(low), scores, one)
    weights = to.add("the attention weights", _Softmax(-1), scores)
    out = to.add("the weighted values", ops.Product(), weights, v)
    return (out, weights) if op.weights else out


def _additive_scores(op: ops.AdditiveAttention, to: _Parts, q: Ref, k: Ref) -> Ref:
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


@dataclass(frozen=True, eq=False)
class _Repeated(Op):
    """Each slice along ``axis`` as often as others share it; ``tiled``: all of them, again and
    again."""

    count: int
    axis: int
    tiled: bool = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.tiled:
            return (np.concatenate([inputs[0]] * self.count, axis=self.axis),)
        return (np.repeat(inputs[0], self.count, axis=self.axis),)


@dataclass(frozen=True, eq=False)
class Causal(Op):
    """Which of the positions each query sees: those up to its own, and so many later ones.

    With ``from_last`` the last query is the last position's, else the first one is the first's.
    """

    queries: int
    positions: int
    later_positions: int = 0
    from_last: bool = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        own = np.arange(self.queries) + (self.positions - self.queries) * self.from_last
        seen = own[:, None] + self.later_positions >= np.arange(self.positions)
        return (seen.astype(np.float64),)


@dataclass(frozen=True, eq=False)
class _Window(Op):
    """Which of the positions are less than ``size`` away from each query."""

    queries: int
    positions: int
    size: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        away = np.abs(np.arange(self.queries)[:, None] - np.arange(self.positions))
        return ((away < self.size).astype(np.float64),)


@dataclass(frozen=True, eq=False)
class Masked(Op):
    """The first input where the second is true, else ``value``."""

    value: float

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.where(inputs[1] != 0, inputs[0], self.value),)


@dataclass(frozen=True, eq=False)
class _Softmax(ops.Softmax):
    """A row without any value that is finite gives 0."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            return (np.nan_to_num(super().run(*inputs)[0], nan=0.0),)


# Activations.


def _times_gate(op: Any, to: _Parts) -> Ref:
    gate: dict[type, Op] = {
        ops.Swish: ops.Sigmoid(),
        ops.HardSwish: ops.HardSigmoid(1 / 6, 0.5),
    }
    x = X
    if getattr(op, "alpha", 1.0) != 1.0:
        x = to.add("the scaled input", ops.Mul(), X, to.number("alpha", op.alpha))
    return to.add("the output", ops.Mul(), X, to.add("the gate", gate[type(op)], x))


_of(ops.Swish, ops.HardSwish)(_times_gate)


@_of(ops.Gelu)
def _gelu(op: ops.Gelu, to: _Parts) -> Ref:
    half, one = to.number("1/2", 0.5), to.number("1", 1.0)
    if op.approximate == "tanh":
        cube = to.add("x cubed", ops.Pow(), X, to.number("the exponent", 3.0))
        part = to.add("0.044715 x^3", ops.Mul(), cube, to.number("0.044715", 0.044715))
        summed = to.add("x + 0.044715 x^3", ops.Add(), X, part)
        root = to.number("sqrt(2 / pi)", math.sqrt(2 / math.pi))
        inner = to.add("the tanh", ops.Tanh(), to.add("tanh's argument", ops.Mul(), summed, root))
    else:
        root = to.number("1 / sqrt(2)", math.sqrt(0.5))
        inner = to.add("erf", ops.Erf(), to.add("erf's argument", ops.Mul(), X, root))
    gate = to.add("the gate", ops.Mul(), to.add("1 + erf", ops.Add(), one, inner), half)
    return to.add("the output", ops.Mul(), X, gate)


@_of(ops.Softplus)
def _softplus(op: ops.Softplus, to: _Parts) -> Ref | None:
    if op.beta == 1 or op.threshold is not None:
        return None
    scaled = to.add("beta x", ops.Mul(), X, to.number("beta", op.beta))
    y = to.add("softplus(beta x)", ops.Softplus(), scaled)
    return to.add("the output", ops.Div(), y, to.number("beta", op.beta))


@_of(ops.Selu, ops.Elu, ops.LeakyRelu, ops.PRelu)
def _two_sides(op: Any, to: _Parts) -> Ref:
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


@_of(ops.Glu)
def _glu(op: ops.Glu, to: _Parts) -> Ref:
    axis = op.axis % len(to.shapes[0])
    half = to.shapes[0][axis] // 2
    first = to.add("the first half", ops.Take(axis, tuple(range(half))), X)
    second = to.add("the second half", ops.Take(axis, tuple(range(half, 2 * half))), X)
    return to.add("the output", ops.Mul(), first, to.add("the gate", ops.Sigmoid(), second))


@_of(ops.Standardize)
def _standardize(op: ops.Standardize, to: _Parts) -> Ref | None:
    if op.invert:
        return None
    centred = to.add("the centred input", ops.Sub(), X, to.weight(op.mean, op.mean.value.shape))
    variance = to.weight(op.variance, op.variance.value.shape)
    return to.add(
        "the output", ops.Div(), centred, to.add("the standard deviation", ops.Sqrt(), variance)
    )


# Recurrences.


@dataclass(frozen=True, eq=False)
class Scanned(Op):
    """A recurrence by the steps of its cell: (x of one step, states) -> the next states.

    ``first`` is what a state without initial values begins with; with ``carried`` each sample
    begins with the states that the one before ended in.
    """

    body: Steps
    words: tuple[str, ...]
    sizes: tuple[int, ...]
    reverse: bool = False
    has_mask: bool = False
    has_states: bool = False
    zero_masked: bool = False
    first: float = 0.0
    carried: bool = False
    zero_states: bool = False
    """Whether a step that is skipped sets the states to 0."""
    in_place: bool = False
    """Whether each unit of a state overwrites the old one before the next unit is computed."""

    def begun(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        if self.has_states:
            return tuple(inputs[1 + self.has_mask :])
        return tuple(np.full((inputs[0].shape[1], size), self.first) for size in self.sizes)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.carried:
            return self._carried(inputs)
        return self._scanned(inputs, self.begun(inputs))

    def _carried(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        states = tuple(state[:1] for state in self.begun(inputs))
        parts = []
        for at in range(inputs[0].shape[1]):
            one = [x[:, at : at + 1] for x in inputs[: 1 + self.has_mask]]
            parts.append(self._scanned(one, states))
            states = parts[-1][1:]
        out, *rest = zip(*parts, strict=True)
        return (np.concatenate(out, axis=1), *(np.concatenate(one) for one in rest))

    def _scanned(
        self, inputs: Sequence[np.ndarray], states: tuple[np.ndarray, ...]
    ) -> tuple[np.ndarray, ...]:
        x, mask = inputs[0], inputs[1] != 0 if self.has_mask else None
        out = np.zeros((len(x), *states[0].shape))
        held = np.zeros_like(states[0])
        shares = self._ahead(x)
        times = range(len(x) - 1, -1, -1) if self.reverse else range(len(x))
        for t in times:
            after = (self._one_by_one if self.in_place else self._step)(x[t], states, shares, t)
            if mask is None:
                out[t] = after[0]
            else:
                keep = mask[t][:, None]
                after = tuple(
                    np.where(keep, new, 0.0 if self.zero_states else old)
                    for new, old in zip(after, states, strict=True)
                )
                held = np.where(keep, after[0], 0.0 if self.zero_masked else held)
                out[t] = held
            states = after
        return (out, *states)

    def _one_by_one(
        self,
        x: np.ndarray,
        states: Sequence[np.ndarray],
        ahead: dict[int, tuple[np.ndarray, bool]],
        t: int,
    ) -> tuple[np.ndarray, ...]:
        now = [state.copy() for state in states]
        for unit in range(max(state.shape[-1] for state in now)):
            for state, new in zip(now, self._step(x, now, ahead, t), strict=True):
                if unit < state.shape[-1]:
                    state[..., unit] = new[..., unit]
        return tuple(now)

    def next_states(self, x: np.ndarray, states: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        return self._step(x, states, self._ahead(x[None]), 0)

    def _ahead(self, x: np.ndarray) -> dict[int, tuple[np.ndarray, bool]]:
        """What takes no state, for all steps of the sequence at once, and whether it takes x."""
        found: dict[int, tuple[np.ndarray, bool]] = {}
        for position, step in enumerate(self.body):
            sources = step.sources(position)
            if all(ref.step in found or (ref.step < 0 and not ref.index) for ref in sources):
                given = [found[ref.step][0] if ref.step >= 0 else x for ref in sources]
                takes = any(ref.step < 0 or found[ref.step][1] for ref in sources)
                found[position] = step.op.run(*given)[0], takes
        return found

    def _step(
        self,
        x: np.ndarray,
        states: Sequence[np.ndarray],
        ahead: dict[int, tuple[np.ndarray, bool]],
        t: int,
    ) -> tuple[np.ndarray, ...]:
        given, values = (x, *states), list[Any]()
        for position, (run, refs) in enumerate(self._plan):
            if (known := ahead.get(position)) is not None:
                values.append(known[0][t] if known[1] else known[0])
            else:
                values.append(run(*[given[at] if step < 0 else values[step] for step, at in refs]))
        return tuple(values[-1])

    @cached_property
    def _plan(self) -> list[tuple[Callable[..., Any], list[tuple[int, int]]]]:
        """What each step of the body runs, and on what; the last one gives all states."""
        return [
            (_quick(step.op), [(ref.step, ref.index) for ref in step.sources(position)])
            for position, step in enumerate(self.body)
        ]


def _quick(op: Op) -> Callable[..., Any]:
    """The function of an op of one output, without what only large arrays need."""
    if isinstance(op, Elementwise) and op.pointwise:
        return op.f
    if isinstance(op, ops.Add | ops.Sub | ops.Mul):
        return lambda x, *more: reduce(type(op).function, more, x)
    if isinstance(op, ops.Outputs):
        return op.run
    return lambda *given: op.run(*given)[0]


_GATES = {"i": "input gate", "f": "forget gate", "o": "output gate", "g": "candidate"}
_GATES |= {"z": "update gate", "r": "reset gate", "h": "candidate"}


def _block(weight: Weight, name: str, array: np.ndarray) -> Weight:
    return Weight(f"{weight.name} of {name}", None, np.asarray(array, np.float64))


class _Gate:
    """The products of one gate with the input and the state, and their biases."""

    def __init__(self, op: Any, letter: str, alone: str) -> None:
        self.name = alone or f"the {_GATES[letter]}"
        columns = op.block(letter)
        self.kernel = _block(op.kernel, self.name, op.kernel.value[:, columns])
        self.recurrent = _block(op.recurrent, self.name, op.recurrent.value[:, columns])
        first, second = op.biases()
        self.biases = [
            None if one is None else Weight(f"the {which}bias of {self.name}", None, one[columns])
            for which, one in (("", first), ("recurrent ", second))
        ]

    def of_input(self, to: _Parts) -> Ref:
        kernel = to.weight(self.kernel, self.kernel.value.shape)
        share = to.add(f"the input term of {self.name}", ops.Product(), X, kernel)
        return self._with(to, share, 0)

    def of_state(self, to: _Parts, state: Ref) -> Ref:
        kernel = to.weight(self.recurrent, self.recurrent.value.shape)
        share = to.add(f"the recurrent term of {self.name}", ops.Product(), state, kernel)
        return self._with(to, share, 1)

    def _with(self, to: _Parts, y: Ref, which: int) -> Ref:
        bias = self.biases[which]
        if bias is None:
            return y
        return to.add(
            f"a term of {self.name} with its bias", ops.Add(), y, to.weight(bias, bias.value.shape)
        )

    def summed(self, to: _Parts, state: Ref) -> Ref:
        return to.add(
            f"the sum of {self.name}", ops.Add(), self.of_input(to), self.of_state(to, state)
        )


H, C = Ref(-1, 1), Ref(-1, 2)


def _lstm(op: ops.LSTM, to: _Parts) -> tuple[Ref, ...]:
    gates = {}
    for letter in "ifog":
        function = op.activation if letter == "g" else op.recurrent_activation
        summed = _Gate(op, letter, "").summed(to, H)
        gates[letter] = to.add(f"the {_GATES[letter]}", function, summed)
    kept = to.add("the product of forget gate and cell state", ops.Mul(), gates["f"], C)
    new = to.add("the product of input gate and candidate", ops.Mul(), gates["i"], gates["g"])
    cell = to.add("the cell state", ops.Add(), kept, new)
    shown = to.add("the activated cell state", op.activation, cell)
    h = to.add("the state", ops.Mul(), gates["o"], shown)
    if op.projection is not None:
        h = to.add("the projected state", ops.MatMul(op.projection, None), h)
    return h, cell


def _gru(op: ops.GRU, to: _Parts) -> tuple[Ref, ...]:
    z = to.add("the update gate", op.recurrent_activation, _Gate(op, "z", "").summed(to, H))
    r = to.add("the reset gate", op.recurrent_activation, _Gate(op, "r", "").summed(to, H))
    gate = _Gate(op, "h", "")
    share = gate.of_input(to)
    if op.reset_after:
        inner = to.add(
            "the product of reset gate and recurrent term", ops.Mul(), r, gate.of_state(to, H)
        )
    else:
        inner = gate.of_state(to, to.add("the product of reset gate and state", ops.Mul(), r, H))
    n = to.add("the candidate", op.activation, to.add("the sum", ops.Add(), share, inner))
    kept = to.add("the product of update gate and state", ops.Mul(), z, H)
    rest = to.add("1 - the update gate", ops.Sub(), to.number("1", 1.0), z)
    return (
        to.add(
            "the new state",
            ops.Add(),
            kept,
            to.add("the product of 1 - update gate and candidate", ops.Mul(), rest, n),
        ),
    )


def _rnn(op: ops.RNN, to: _Parts) -> tuple[Ref, ...]:
    return (to.add("the new state", op.activation, _Gate(op, "h", "the state").summed(to, H)),)


_CELLS: dict[type, Callable[[Any, _Parts], tuple[Ref, ...]]] = {
    ops.LSTM: _lstm,
    ops.GRU: _gru,
    ops.RNN: _rnn,
}


@_of(*_CELLS)
def _recurrence(op: Any, to: _Parts) -> Ref | None:
    if op.state_quantizer is not None or op.product_quantizer is not None:
        return None
    if isinstance(op, ops.GRU) and not op.fits:
        return None
    cell = _Parts(())
    cell.add("the states", ops.Outputs(), *_CELLS[type(op)](op, cell))
    sizes = tuple(shape[1] for shape in op.state_shapes(np.zeros(to.shapes[0])))
    flags = {
        name: getattr(op, name) for name in ("reverse", "has_mask", "has_states", "zero_masked")
    }
    given = tuple(Ref(-1, k) for k in range(len(to.shapes)))
    return to.add(
        "the recurrence", Scanned(tuple(cell.steps), tuple(cell.words), sizes, **flags), *given
    )


# The whole.


@once
def taken_apart(case: Case, sums: bool = False) -> Case:
    """The case with every op taken apart that holds several operations, or biases alone (``sums``);
    as it is where that would not give the same values."""
    if sum(y.size for made in case.values for y in made) > _LARGE:
        return case
    steps: list[Step] = []
    calls: list[str] = []
    words: list[str] = []
    places: dict[Ref, Ref] = {}

    def moved(ref: Ref) -> Ref:
        if ref.step < 0:
            return ref
        return places.get(ref) or replace(places[Ref(ref.step)], index=ref.index)

    for position, step in enumerate(case.steps):
        sources = tuple(map(moved, step.sources(position)))
        call = case.calls[position] if position < len(case.calls) else ""
        whole = sums and not isinstance(step.op, _SUMS)
        parts = None if whole else _unfolded(case, position)
        if parts is None:
            steps.append(Step(step.op, sources))
            calls.append(call)
            words.append("")
            places[Ref(position)] = Ref(len(steps) - 1)
            continue
        inner, made, told = parts
        before = len(steps)
        for one in inner:
            refs = (
                sources[ref.index] if ref.step < 0 else replace(ref, step=before + ref.step)
                for ref in one.sources(0)
            )
            steps.append(Step(one.op, tuple(refs)))
        calls += [call] * len(inner)
        words += told
        for index, ref in enumerate(made):
            places[Ref(position, index)] = replace(ref, step=before + ref.step)
    last = places[Ref(len(case.steps) - 1)]
    if last != Ref(len(steps) - 1):
        steps.append(Step(ops.Outputs(), (last,)))
        calls.append("")
        words.append("")
    try:
        values = recompute(steps, case.inputs)
    except (ValueError, IndexError, TypeError):
        return case
    again, healthy = np.asarray(values[-1][0]), case.healthy
    largest = float(np.abs(healthy[np.isfinite(healthy)]).max(initial=0))
    if again.shape != healthy.shape or not np.allclose(
        again, healthy, rtol=1e-7, atol=1e-7 * largest, equal_nan=True
    ):
        return case
    return replace(case, steps=tuple(steps), values=values, calls=tuple(calls), words=tuple(words))


def _unfolded(case: Case, position: int) -> tuple[list[Step], tuple[Ref, ...], list[str]] | None:
    """The steps that an op is made of, what gives its outputs, and their words."""
    step = case.steps[position]
    function = _UNFOLDS.get(type(step.op))
    if function is None:
        return None
    shapes = [np.shape(ref.of(case.inputs, case.values)) for ref in step.sources(position)]
    to = _Parts(shapes)
    made = function(step.op, to)
    if made is None:
        return None
    outputs = made if isinstance(made, tuple) else (made,)
    if len(case.values[position]) > len(outputs):
        outputs = tuple(replace(outputs[0], index=k) for k in range(len(case.values[position])))
    return to.steps, outputs, to.words


@once
def taken_together(case: Case, depth: int = 0) -> Case:
    """The case with the steps of each call of several as one step, which can be left out or moved:
    of the innermost calls, or of those at a depth within the container; as it is where there are
    none."""
    groups: dict[str, list[int]] = {}
    for position, call in enumerate(case.calls):
        path = call.partition("/")[0] if "/" in call else ""
        path = path or (call if case.calls.count(call) > 1 or depth else "")
        name = ".".join(path.split(".")[:depth]) if depth else path
        if name:
            groups.setdefault(name, []).append(position)
    users: dict[int, set[int]] = {}
    for position, step in enumerate(case.steps):
        for ref in step.sources(position):
            users.setdefault(ref.step, set()).add(position)
    whole: dict[int, tuple[str, list[int]]] = {}
    inside: set[int] = set()
    for name, members in groups.items():
        last, held = members[-1], set(members)
        closed = all(users.get(at, set()) <= held for at in members[:-1])
        if len(members) > 1 and closed and len(case.values[last]) == 1:
            whole[last] = name, members
            inside |= held - {last}
    if not whole:
        return case
    places: dict[int, int] = {}
    steps: list[Step] = []
    calls: list[str] = []
    values: list[tuple[np.ndarray, ...]] = []

    def moved(ref: Ref) -> Ref:
        return ref if ref.step < 0 else replace(ref, step=places[ref.step])

    for position, step in enumerate(case.steps):
        if position in inside:
            continue
        places[position] = len(steps)
        if position in whole:
            name, members = whole[position]
            body, given = _body(case, members)
            steps.append(Step(Gathered(body), tuple(map(moved, given))))
            calls.append(name)
        else:
            steps.append(Step(step.op, tuple(map(moved, step.sources(position)))))
            calls.append(case.calls[position] if position < len(case.calls) else "")
        values.append(case.values[position])
    return replace(case, steps=tuple(steps), values=values, calls=tuple(calls), words=())


def as_last_step(case: Case, own: Collection[int], name: str) -> Case:
    """The case with these steps, and all that follow from them, as one step behind the others."""
    members = set(own)
    for position, step in enumerate(case.steps):
        if members.intersection(ref.step for ref in step.sources(position)):
            members.add(position)
    before = [position for position in range(len(case.steps)) if position not in members]
    places = {position: at for at, position in enumerate(before)}

    def moved(sources: Iterable[Ref]) -> tuple[Ref, ...]:
        return tuple(replace(one, step=places.get(one.step, -1)) for one in sources)

    body, given = _body(case, sorted(members))
    steps = [Step(case.steps[at].op, moved(case.steps[at].sources(at))) for at in before]
    steps.append(Step(Gathered(body), moved(given)))
    values = [*(case.values[at] for at in before), case.values[-1]]
    calls = (*(case.calls[at] if at < len(case.calls) else "" for at in before), name)
    return replace(case, steps=tuple(steps), values=values, calls=calls)


def _body(case: Case, members: Sequence[int]) -> tuple[Steps, tuple[Ref, ...]]:
    """The steps of a call with its inputs, and where these come from."""
    given: list[Ref] = []
    places = {position: at for at, position in enumerate(members)}
    steps = []
    for position in members:
        sources = []
        for ref in case.steps[position].sources(position):
            if ref.step in places:
                sources.append(replace(ref, step=places[ref.step]))
                continue
            if ref not in given:
                given.append(ref)
            sources.append(Ref(-1, given.index(ref)))
        steps.append(Step(case.steps[position].op, tuple(sources)))
    return tuple(steps), tuple(given)
