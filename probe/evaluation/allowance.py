"""How far an honest evaluation of a layer, in the layer's own dtype, may lie from the float64 recomputation.

No tolerance is set by hand. Each op says what rounding may do to its output (``Op.allowance``) and what becomes of
the slack its inputs arrive with; the allowance of a layer is that of its last step.

Sums of products have an unknown order of summation. Their rounding errors are a random walk along the partial
sums, and for a random order the expected squared partial sums of K terms with sum y and sum of squares Q add up to
K * (y**2 / 3 + Q / 6); each product is rounded too, which adds Q. With the unit roundoff u, whose error is uniform
(variance u**2 / 3), the scale of the error is

    u / sqrt(3) * sqrt(K * (y**2 / 3 + Q / 6) + Q)

and six of these are allowed (the statistical view of Higham and Mary, "A new approach to probabilistic rounding
error analysis", SIAM J. Sci. Comput. 41, 2019). Trained filters that follow the signal make real partial sums wander
further, and terms that are alike err alike, not by chance: where an element exceeds six of these, ``settle`` gathers its
true terms and lets these and their partial sums decide.

Engines compute layers of half precision in float32 and round what they store: a product of matrices is accumulated in float32 on
CPUs with AMX or AVX-512, in tensor cores and in the reference kernels of PyTorch, TensorFlow and ONNX Runtime. So ``stored_in``
is what such a layer is held against first, and ``precision_of`` of the half itself, where every operation and every partial sum is
rounded to it, is a second look that has to be named.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from probe.description.description import Ref, Step, weights_of
from probe.numerics.blocks import blocks, places

__all__ = [
    "LEAST_HOPE",
    "SIGMAS",
    "UNBOUNDED",
    "VANISHING",
    "Precision",
    "allowances",
    "carry",
    "of_axes",
    "of_partial_sums",
    "of_sums",
    "precision_of",
    "rounded",
    "settle",
    "smallest_visible_change",
    "stored_in",
    "whole_at",
    "worst_case",
]

SIGMAS = 6.0
UNBOUNDED = 1e150
"""What is allowed where slack leaves a function's domain or range: more than any difference, and finite, so that 0 times it is 0."""
_LOOK_TERMS = 1 << 24
_LOOK_FIRST = 8
_LOOK_BLOCK = 256
LEAST_HOPE = 100
"""What a second look may gain at least; and no more than so many times more than a sum has terms, where all err alike."""
_LOOK_BLOCK_TERMS = 1 << 20
_ALIKE = 8
"""Into how many kinds a last place parts the terms of a sum: those of one kind err alike."""


@dataclass(frozen=True)
class Precision:
    """The arithmetic of a party: unit roundoff, what may vanish, and whether it first rounds its operands.

    ``tiny`` is four times the smallest normal number: subnormals may be flushed, and TensorFlow's exp is 0 from 2.35e-38 down. The
    subnormal numbers of float16 are kept by the engines, which widen it: there it is the smallest of these.
    """

    name: str
    unit: float
    tiny: float
    casts: bool = False
    certain: bool = False
    """Whether a second look asks what no order of summation can exceed, instead of what is probable."""
    shortcuts: bool = False
    """Whether the party may take the shortcuts that lose digits (``Op.shortcut``)."""

    walks: bool = False
    """Whether recurrences look at the true partial sums of every step."""
    looks: bool = False
    """Whether sums over whole axes look at the true partial sums of every line."""
    part: bool = False
    """Whether sums may be given less than their allowance, found from a part of their terms (``Sum.part``)."""
    sketches: bool = False
    """Whether the party's recurrences have a sigmoid and tanh of their own, good to a few units of 1: ONNX Runtime's."""

    stored: float = 0.0
    """The unit roundoff of the dtype that each step's result is stored in, where that is less than what it is computed in."""

    @property
    def normal(self) -> float:
        """The smallest normal number."""
        return 2.0**-14 if self.name == "float16" else self.tiny / 4

    @property
    def narrow(self) -> bool:
        """Whether float32 is enough for an allowance: it holds what is added for tiny numbers."""
        return self.tiny >= 2.0**-126


_UNITS = {
    "float16": (2.0**-11, 2.0**-24),
    "bfloat16": (2.0**-8, 2.0**-124),
    "float32": (2.0**-24, 2.0**-124),
    "float64": (2.0**-52, 2.0**-1020),
}
"""Of float64 twice the unit roundoff: NumPy errs as much as the framework does."""


@cache
def precision_of(dtype: str, casts: bool = False) -> Precision:
    """The precision of a floating dtype; integers and booleans are exact (unit 0)."""
    unit, tiny = _UNITS.get(dtype, (0.0, 0.0))
    return Precision(dtype, unit, tiny, casts)


VANISHING = 2.0**20 * precision_of("float32").tiny
"""What may be allowed because small numbers vanish, and not because anything is rounded."""


@cache
def stored_in(dtype: str) -> Precision:
    """The precision of a layer of that dtype: float16 and bfloat16 are computed in float32, and rounded where a step's result is stored."""
    own = precision_of(dtype)
    if own.unit <= precision_of("float32").unit:
        return own
    return replace(precision_of("float32"), name=dtype, stored=own.unit)


def of_storing(y: np.ndarray, precision: Precision) -> np.ndarray:
    """What rounding to the dtype that ``y`` is stored in may do to it; nothing where that holds it."""
    dtype = np.dtype(np.float16) if precision.name == "float16" else np.dtype(ml_dtypes.bfloat16)
    least = float(ml_dtypes.finfo(dtype).smallest_subnormal) / 2
    with np.errstate(all="ignore"):
        sizes = np.abs(y, dtype=np.float64)
        held = y.astype(dtype).astype(np.float64) == y
    return np.where(held | ~np.isfinite(sizes), 0.0, precision.stored * sizes + least)


def of_sums(count: int, total: np.ndarray, squares: np.ndarray, precision: Precision, owned: bool = False) -> np.ndarray:
    """Six of the scale above, for sums of ``count`` terms; ``squares`` is the sum of the squared terms (used up where ``owned``).

    Squares that are owned and float32 give an allowance in float32, where that holds what the precision adds for tiny numbers.
    """
    count = max(count, 1)
    narrow = owned and squares.dtype == np.float32 and precision.narrow
    out = squares if narrow or (owned and squares.dtype == np.float64) else np.array(squares, np.float64)
    factor = SIGMAS * precision.unit * math.sqrt(count) / 3
    for (sums, part), _ in blocks(total if total.shape == out.shape else np.broadcast_to(total, out.shape), out):
        part *= (count / 6 + (3 if precision.casts else 1)) * 3 / count
        sums = sums.astype(out.dtype)
        sums *= sums
        part += sums
        np.sqrt(part, out=part)
        part *= factor
        part += count * precision.tiny
    return out


def of_partial_sums(terms: np.ndarray, precision: Precision) -> np.ndarray:
    """The same from the true partial sums of ``terms`` (elements, channels, taps), the worse of two orders.

    Kernels sum blocks of neighbouring terms from 0 and add those up: panels of a matrix product, channels in groups of 16. So the
    partial sum at a term is the largest of those that end there, wherever they begin: at the first term, which is the bias where
    there is one, or after it.
    Where the precision asks for certainty: the worst case K * u * sum |terms| (Higham, "Accuracy and Stability of Numerical
    Algorithms", 2002, section 4.2), two roundings more for each term whose operands are rounded first.
    """
    if precision.certain:
        count = terms[0].size
        return (count + (2 if precision.casts else 0)) * precision.unit * np.abs(terms).sum(axis=(1, 2)) + count * precision.tiny
    squares = np.square(terms).sum(axis=(1, 2))
    orders = (terms, terms.swapaxes(1, 2)) if 1 not in terms.shape[1:] else (terms,)
    with np.errstate(all="ignore"):
        walk = np.maximum.reduce([_walk(order.reshape(len(terms), -1), precision) for order in orders])
        scale = np.sqrt(walk + (3 if precision.casts else 1) * squares)
    return SIGMAS * precision.unit / np.sqrt(3) * scale + terms[0].size * precision.tiny


def _walk(terms: np.ndarray, precision: Precision) -> np.ndarray:
    """The sum over each row of the squared partial sums, each no larger than rounding can be of its term.

    A partial sum is a multiple of its last place, and the term added to it is rounded to that: so terms that are alike, to a small part
    of the last place, err alike (a constant image, two levels, terms too small to move the sum). Theirs add up before they are squared.
    """
    if not terms.size or not precision.unit:
        return np.zeros(len(terms))
    sums = _largest_sums(terms)
    last = np.ldexp(2 * min(precision.unit, 2.0**-24), np.frexp(sums.max(axis=1, keepdims=True))[1] - 1)
    kind = np.rint(terms * (_ALIKE / last))
    order = np.argsort(kind, axis=1)
    sums = np.take_along_axis(np.minimum(sums, np.abs(terms) / precision.unit), order, axis=1)
    kind = np.take_along_axis(kind, order, axis=1)
    first = np.ones(terms.shape, bool)
    first[:, 1:] = kind[:, 1:] != kind[:, :-1]
    starts = np.flatnonzero(first)
    return np.bincount(starts // terms.shape[1], np.square(np.add.reduceat(sums.ravel(), starts)), len(terms))


def _largest_sums(terms: np.ndarray) -> np.ndarray:
    """The largest sum of consecutive terms that ends at each of a row, without its sign."""
    sums = np.zeros((len(terms), terms.shape[1] + 1))
    np.cumsum(terms, axis=1, out=sums[:, 1:])
    above = sums - np.minimum.accumulate(sums, axis=1)
    below = np.maximum.accumulate(sums, axis=1) - sums
    return np.maximum(above, below, out=above)[:, 1:]


def of_axes(terms: np.ndarray, axes: tuple[int, ...], total: np.ndarray, squares: np.ndarray, precision: Precision) -> np.ndarray:
    """``of_sums`` of ``terms`` over whole ``axes``; where the precision ``looks``, by the true partial sums of every line too."""
    axes = tuple(sorted(axis % terms.ndim for axis in axes))
    sizes = [terms.shape[axis] for axis in axes]
    own = of_sums(math.prod(sizes), total, squares, precision)
    if not precision.looks or not terms.size or not axes:
        return own
    across = [axis for axis in range(terms.ndim) if axis not in axes]
    lines = terms.transpose(*across, *axes).reshape(-1, sizes[0], math.prod(sizes[1:]))
    step = max(1, _LOOK_BLOCK_TERMS // math.prod(sizes))
    looked = [of_partial_sums(lines[start : start + step], precision) for start in range(0, len(lines), step)]
    return np.maximum(own, np.concatenate(looked).reshape(own.shape))


Values = Sequence[tuple[np.ndarray, ...]]
"""The outputs of every step, as ``recompute`` keeps them."""


def allowances(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precision: Precision,
    look: tuple[int, tuple[np.ndarray, ...]] | None = None,
) -> tuple[np.ndarray, ...]:
    """What rounding may do to each output of the last step, carried from step to step.

    ``look`` names a step and the indices of those of its elements whose true partial sums are to decide.
    """
    arrived = [rounded(x, precision) for x in inputs]
    carried: list[tuple[np.ndarray | None, ...]] = []
    grids = any(step.op.on_grid for step in steps)
    with np.errstate(all="ignore"):
        for position, step in enumerate(steps):
            sources = step.sources(position)
            given = [_pick(ref, inputs, values) for ref in sources]
            slacks = [_pick(ref, arrived, carried) for ref in sources]
            if not step.op.moves:
                slacks = [slack if slack is None else slack.astype(np.float64, copy=False) for slack in slacks]
            where = look[1] if look is not None and look[0] == position else None
            carried.append(carry(step.op, given, slacks, values[position], precision, grids, where))
    return tuple(np.zeros(y.shape) if one is None else one for y, one in zip(values[-1], carried[-1], strict=True))


def rounded(x: np.ndarray, precision: Precision) -> np.ndarray | None:
    """How far an input is off that a party first rounds, or flushes; None where it takes it as it is."""
    if not precision.casts or x.dtype.kind != "f":
        return None
    sizes = np.where(np.isfinite(x), np.abs(x), 0.0)
    return np.maximum(precision.unit * sizes, np.minimum(sizes, precision.tiny))


def carry(
    op: Any,
    given: Sequence[np.ndarray],
    slacks: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
    precision: Precision,
    grids: bool,
    where: tuple[np.ndarray, ...] | None = None,
) -> tuple[np.ndarray | None, ...]:
    """The allowance of one op; with ``grids`` None for outputs that are exact, since all they are made of is."""
    if grids and all(slack is None for slack in slacks) and op.exact(given, precision):
        return (None,) * len(outputs)
    made = op.allowance(given, slacks, outputs, precision, where)
    if any(slack is not None and slack.size and not slack.max() < UNBOUNDED for slack in slacks):
        made = tuple(np.where(np.isnan(one), UNBOUNDED, one) for one in made)
    if precision.stored and op.stores():
        made = tuple(
            one if y.dtype.kind != "f" else sum((of_storing(part, precision) for part in (y, *op.on_the_way(given, y))), start=one)
            for one, y in zip(made, outputs, strict=True)
        )
    return tuple(one if one.any() else None for one in made) if grids else made


def settle(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precision: Precision,
    error: np.ndarray,
    allowed: np.ndarray,
    output: int = 0,
) -> np.ndarray:
    """The allowance of one output after a second look at its elements beyond ``allowed``, the worst first.

    Looking stops where an element stays beyond (the verdict is then certain) or where the terms gathered would no longer
    be few; the elements not reached are then given what the tightest looked-at element gained.
    """
    beyond, ratio = _beyond(error, allowed)
    most = max((np.size(x) for x in inputs), default=0)
    if beyond.size and any(step.op.looks for step in steps) and ratio.max() < LEAST_HOPE + most:
        precision = replace(precision, looks=True)
        allowed = np.maximum(allowed, allowances(steps, inputs, values, precision)[output])
        beyond, ratio = _beyond(error, allowed)
    if not beyond.size:
        return allowed
    beyond = beyond[_largest_first(ratio)]
    refined = allowed.copy().ravel()
    seen, gain, budget = 0, np.inf, _LOOK_TERMS
    while seen < beyond.size and budget > 0:
        block = beyond[seen : seen + (_LOOK_BLOCK if seen else _LOOK_FIRST)]
        found = _trace(steps, inputs, values, places(block, allowed.shape), output)
        if found is None:
            return allowed
        position, where, cost = found
        looked = allowances(steps, inputs, values, precision, (position, where))[output].ravel()[block]
        gain = min(gain, float(np.min(looked / np.maximum(refined[block], np.finfo(float).tiny))))
        refined[block] = np.maximum(refined[block], looked)
        seen += block.size
        budget -= cost * block.size
        if (error.ravel()[block] > refined[block]).any():
            return refined.reshape(allowed.shape)
    if seen < beyond.size:
        refined[beyond[seen:]] *= max(gain, 1.0)
    return refined.reshape(allowed.shape)


def _beyond(error: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which elements lie beyond what is allowed, and how many times that."""
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = np.flatnonzero((error > allowed) & np.isfinite(error))
        return beyond, error.ravel()[beyond] / np.maximum(allowed.ravel()[beyond], np.finfo(float).tiny)


def _largest_first(ratio: np.ndarray, count: int = 1 << 14) -> np.ndarray:
    """An order in which the largest ``count`` come first, sorted; looking seldom gets further."""
    if ratio.size <= count:
        return np.argsort(-ratio, kind="stable")
    order = np.argpartition(-ratio, count)
    first = np.sort(order[:count])
    order[:count] = first[np.argsort(-ratio[first], kind="stable")]
    return order


def whole_at(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precision: Precision,
    where: tuple[np.ndarray, ...],
    error: np.ndarray,
) -> np.ndarray:
    """The allowance of single elements of the first output, for steps that do nothing but move the elements of one sum.

    Where the error lies beyond that, the true partial sums decide, as in ``settle``.
    """
    found = _trace(steps, inputs, values, where)
    assert found is not None
    position, at, count = found
    op = steps[position].op
    given = [_pick(ref, inputs, values) for ref in steps[position].sources(position)]
    assert op.products is not None
    allowed = np.empty(len(error))
    step = max(1, _LOOK_BLOCK_TERMS // max(1, count))
    for start in range(0, len(error), step):
        few = tuple(part[start : start + step] for part in at)
        terms = op.products(given, few)
        own = of_sums(count, values[position][0][few], np.square(terms).sum(axis=(1, 2)), precision)
        beyond = error[start : start + step] > own
        if beyond.any():
            own[beyond] = np.maximum(own[beyond], of_partial_sums(terms[beyond], precision))
        allowed[start : start + step] = own
    return allowed


def worst_case(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values, precision: Precision, index: tuple[int, ...], output: int = 0
) -> float:
    """What no order of summation can exceed at one element of an output.

    Only sums have an allowance below their worst case; an element that comes from none of the last steps' sums is given the
    allowance it has, which counts every rounding.
    """
    where = tuple(np.array([at]) for at in index)
    found = _trace(steps, inputs, values, where, output)
    look = None if found is None else found[:2]
    return float(allowances(steps, inputs, values, replace(precision, certain=True), look)[output][index])


def smallest_visible_change(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values, precision: Precision, count: int = 64
) -> float | None:
    """The smallest relative change of one weight that would have left the allowance, seen from ``count`` of the largest outputs.

    None where the outputs are not traced back to a sum, or see nothing.
    """
    last = values[-1][0]
    if not last.size or last.dtype.kind != "f":
        return None
    spread = np.linspace(0, last.size - 1, min(last.size, 64 * count)).astype(np.intp)
    sizes = np.abs(np.nan_to_num(last.ravel()[spread]))
    where = places(spread[np.argsort(-sizes, kind="stable")[:count]], last.shape)
    found = _trace(steps, inputs, values, where)
    if found is None or found[2] * count > _LOOK_TERMS:
        return None
    position, where, _ = found
    op = steps[position].op
    if not weights_of((steps[position],)):
        return None
    given = [_pick(ref, inputs, values) for ref in steps[position].sources(position)]
    assert op.products is not None
    largest = np.abs(op.products(given, where)).max(axis=(1, 2))
    allowed = carry(op, given, [None] * len(given), values[position], precision, False)[0]
    assert allowed is not None
    allowed = allowed[where]
    with np.errstate(all="ignore"):
        seen = allowed / largest
    seen = seen[np.isfinite(seen)]
    return float(seen.min()) if seen.size else None


def _pick(ref: Ref, inputs: Sequence, values: Sequence) -> np.ndarray:
    return inputs[ref.index] if ref.step < 0 else values[ref.step][ref.index]


def _trace(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values, where: tuple[np.ndarray, ...], output: int = 0
) -> tuple[int, tuple[np.ndarray, ...], int] | None:
    """Follows elements of an output of the last step back to the sum they came from: (step, indices there, terms a sum), or None."""
    position = len(steps) - 1
    while position >= 0:
        step = steps[position]
        sources = step.sources(position)
        given = [_pick(ref, inputs, values) for ref in sources]
        if step.op.products is not None and not output:
            return position, where, step.op.terms_of(given, values[position])
        source = step.op.source(output)
        back = None if source is None else step.op.origin(where, given)
        if source is None or back is None or sources[source].step < 0:
            return None
        where, position, output = back, sources[source].step, sources[source].index
    return None
