"""The rounding error of a sum of products with unspecified summation order.

The rounding errors are a random walk along the partial sums, and for a random order the expected
squared partial sums of K terms with sum y and sum of squares Q add up to K * (y**2 / 3 + Q / 6);
each product is rounded too, which adds Q. With the unit roundoff u, whose error is uniform
(variance u**2 / 3), the scale of the error is

    u / sqrt(3) * sqrt(K * (y**2 / 3 + Q / 6) + Q)

and six of these are allowed (the statistical view of Higham and Mary, "A new approach to
probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019). Trained filters that follow
the signal make real partial sums wander further, and terms that are alike err alike, not by chance:
where an element exceeds six of these, ``settle`` gathers its true terms and lets these and their
partial sums decide.
"""

import math

import numpy as np

from probe.numerics.blocks import blocks
from probe.numerics.precision import SIGMAS, Precision

__all__ = ["LOOK_BLOCK_TERMS", "of_axes", "of_partial_sums", "of_sums"]

LOOK_BLOCK_TERMS = 1 << 20
_ALIKE = 8
"""Into how many kinds a last place parts the terms of a sum: those of one kind err alike."""


def of_sums(
    count: int, total: np.ndarray, squares: np.ndarray, precision: Precision, owned: bool = False
) -> np.ndarray:
    """Six of the scale above, for sums of ``count`` terms; ``squares`` is the sum of the squared
    terms (used up where ``owned``).

    Squares that are owned and float32 give an allowance in float32, where that holds what the
    precision adds for tiny numbers.
    """
    count = max(count, 1)
    narrow = owned and squares.dtype == np.float32 and precision.narrow
    if narrow or (owned and squares.dtype == np.float64):
        out = squares
    else:
        out = np.array(squares, np.float64)
    factor = SIGMAS * precision.unit * math.sqrt(count) / 3
    for (sums, part), _ in blocks(
        total if total.shape == out.shape else np.broadcast_to(total, out.shape), out
    ):
        part *= (count / 6 + (3 if precision.casts else 1)) * 3 / count
        sums = sums.astype(out.dtype)
        sums *= sums
        part += sums
        np.sqrt(part, out=part)
        part *= factor
        part += count * precision.tiny
    return out


def of_partial_sums(terms: np.ndarray, precision: Precision) -> np.ndarray:
    """The same from the true partial sums of ``terms`` (elements, channels, taps), the worse of two
    orders.

    Kernels sum blocks of neighbouring terms from 0 and add those up: panels of a matrix product,
    channels in groups of 16. So the partial sum at a term is the largest of those that end there,
    wherever they begin: at the first term, which is the bias where there is one, or after it. Where
    the precision asks for certainty: the worst case K * u * sum |terms| (Higham, "Accuracy and
    Stability of Numerical Algorithms", 2002, section 4.2), two roundings more for each term whose
    operands are rounded first.
    """
    if precision.certain:
        count = terms[0].size
        bound = (
            (count + (2 if precision.casts else 0))
            * precision.unit
            * np.abs(terms).sum(axis=(1, 2))
        )
        return np.asarray(bound + count * precision.tiny)
    squares = np.square(terms).sum(axis=(1, 2))
    orders = (terms, terms.swapaxes(1, 2)) if 1 not in terms.shape[1:] else (terms,)
    with np.errstate(all="ignore"):
        walk = np.maximum.reduce(
            [_walk(order.reshape(len(terms), -1), precision) for order in orders]
        )
        scale = np.sqrt(walk + (3 if precision.casts else 1) * squares)
    return np.asarray(SIGMAS * precision.unit / np.sqrt(3) * scale + terms[0].size * precision.tiny)


def _walk(terms: np.ndarray, precision: Precision) -> np.ndarray:
    """The sum over each row of the squared partial sums, each no larger than rounding can be of its
    term.

    A partial sum is a multiple of its last place, and the term added to it is rounded to that: so
    terms that are alike, to a small part of the last place, err alike (a constant image, two
    levels, terms too small to move the sum). Theirs add up before they are squared.
    """
    if not terms.size or not precision.unit:
        return np.zeros(len(terms))
    sums = _largest_sums(terms)
    last = np.ldexp(
        2 * min(precision.unit, 2.0**-24), np.frexp(sums.max(axis=1, keepdims=True))[1] - 1
    )
    kind = np.rint(terms * (_ALIKE / last))
    order = np.argsort(kind, axis=1)
    sums = np.take_along_axis(np.minimum(sums, np.abs(terms) / precision.unit), order, axis=1)
    kind = np.take_along_axis(kind, order, axis=1)
    first = np.ones(terms.shape, bool)
    first[:, 1:] = kind[:, 1:] != kind[:, :-1]
    starts = np.flatnonzero(first)
    return np.bincount(
        starts // terms.shape[1], np.square(np.add.reduceat(sums.ravel(), starts)), len(terms)
    )


def _largest_sums(terms: np.ndarray) -> np.ndarray:
    """The largest sum of consecutive terms that ends at each of a row, without its sign."""
    sums = np.zeros((len(terms), terms.shape[1] + 1))
    np.cumsum(terms, axis=1, out=sums[:, 1:])
    above = sums - np.minimum.accumulate(sums, axis=1)
    below = np.maximum.accumulate(sums, axis=1) - sums
    np.maximum(above, below, out=above)
    return above[:, 1:]


def of_axes(
    terms: np.ndarray,
    axes: tuple[int, ...],
    total: np.ndarray,
    squares: np.ndarray,
    precision: Precision,
) -> np.ndarray:
    """``of_sums`` of ``terms`` over whole ``axes``; where the precision says ``refine``, by the
    true partial sums of every line too."""
    axes = tuple(sorted(axis % terms.ndim for axis in axes))
    sizes = [terms.shape[axis] for axis in axes]
    own = of_sums(math.prod(sizes), total, squares, precision)
    if not precision.refine or not terms.size or not axes:
        return own
    across = [axis for axis in range(terms.ndim) if axis not in axes]
    lines = terms.transpose(*across, *axes).reshape(-1, sizes[0], math.prod(sizes[1:]))
    step = max(1, LOOK_BLOCK_TERMS // math.prod(sizes))
    looked = [
        of_partial_sums(lines[start : start + step], precision)
        for start in range(0, len(lines), step)
    ]
    return np.asarray(np.maximum(own, np.concatenate(looked).reshape(own.shape)))
