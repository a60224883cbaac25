"""Slopes of attention with linear biases (ALiBi) that are those of another number of heads."""

import math
from collections.abc import Iterator

import numpy as np

from probe.hypotheses.edits.step_words import input_name
from probe.hypotheses.registry import hypothesis
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_MOST = 256
"""How many heads a bias may be of."""


@hypothesis("alibi-slopes")
def alibi_slopes(case: Case) -> Iterator[Edit]:
    """The linear biases of attention (ALiBi) have the slopes of another number of heads, or in
    another order.

    For 2^n heads they are 2^(-8 i / 2^n); of any other number Bloom takes those of the power of two
    below and every other one of the power above, and MPT those of the power above, the even places
    first. With 8 heads all agree.
    """
    for index, x in enumerate(case.inputs):
        slopes = _slopes(x)
        if slopes is None:
            continue
        falling = "in falling order", np.sort(slopes)[::-1]
        for words, others in (*_formulas(len(slopes)), falling):
            if not np.allclose(others, slopes, rtol=1e-3):
                factors = np.resize(others / slopes, math.prod(x.shape[:-1]))
                biases = (x * factors.reshape(*x.shape[:-1], 1)).astype(x.dtype)
                yield case.edit(
                    f"the slopes of {input_name(case, index)} are {words}",
                    inputs=(*case.inputs[:index], biases, *case.inputs[index + 1 :]),
                    do=f"add {input_name(case, index)} to the scores as it is",
                )


def _slopes(x: np.ndarray) -> np.ndarray | None:
    """The slope of each head, where an input falls or rises evenly along its last axis and no two
    heads alike; heads follow one another, again in each sample."""
    if x.ndim < 3 or x.dtype.kind != "f" or x.shape[-1] < 2:
        return None
    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    rises = np.diff(rows, axis=1)
    slopes = np.abs(rises[:, 0])
    if not slopes.size or not slopes.all() or not np.allclose(rises, rises[:, :1], rtol=1e-3):
        return None
    heads = next(
        n
        for n in range(1, len(slopes) + 1)
        if np.allclose(slopes, np.resize(slopes[:n], len(slopes)))
    )
    alike = len({*np.round(slopes[:heads], 6)}) < heads
    if alike or not 1 < heads <= _MOST:
        return None
    return slopes[:heads]


def _formulas(heads: int) -> Iterator[tuple[str, np.ndarray]]:
    above, below = 2 ** math.ceil(math.log2(heads)), 2 ** math.floor(math.log2(heads))
    yield f"2^(-8 i / {heads})", _slopes_of(heads)
    yield "2^-i, as of 8 heads", 2.0 ** -np.arange(1, heads + 1)
    if above != heads:
        odd, even = _slopes_of(above)[::2], _slopes_of(above)[1::2]
        yield f"those of the first {heads} of {above} heads", _slopes_of(above)[:heads]
        yield f"those of {above} heads, the odd places first", np.r_[odd, even][:heads]
        yield f"those of {above} heads, the even places first", np.r_[even, odd][:heads]
        yield (
            f"those of {below} heads and odd places of {above}",
            np.r_[_slopes_of(below), odd][:heads],
        )
        yield (
            f"those of {below} heads and the first places of {above}",
            np.r_[_slopes_of(below), _slopes_of(above)][:heads],
        )


def _slopes_of(heads: int) -> np.ndarray:
    """Those of 2^n heads (Press et al., 2021, "Train Short, Test Long")."""
    return np.asarray(2.0 ** (-8 * np.arange(1, heads + 1) / heads))
