"""Relative position biases that are looked up in a table: which row each distance takes."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from probe.hypotheses.attention.decoder_attention import HIDDEN
from probe.hypotheses.edits.step_words import input_name
from probe.hypotheses.registry import hypothesis
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_FURTHEST = (128, 256, 64, 32, 16, 8, 512)
"""Usual max_distance, from which on all distances share a bucket."""
_MOST = 512
"""How many queries or keys a bias may be of."""


@hypothesis("relative-buckets")
def relative_buckets(case: Case) -> Iterator[Edit]:
    """Relative positions are put in other buckets than the layer's: unidirectional instead of
    bidirectional, another max_distance, no logarithm, or a rounded one.

    T5's encoder has buckets for the positions before a query and for those after it, its decoder
    has all buckets for those before; the first half of the buckets holds one distance each, and the
    second goes on to max_distance in logarithmic steps, truncated to whole numbers.
    """
    for index, x in enumerate(case.inputs):
        apart = _apart(x)
        if apart is None:
            continue
        for name, table in case.others().items():
            rows = _rows(x, apart, table)
            if rows is None:
                continue
            hidden = x <= HIDDEN
            for words, others in _formulas(apart, len(table), rows):
                biases = np.moveaxis(table[others], -1, 0)
                other = np.where(hidden, x, biases).astype(x.dtype)
                yield case.edit(
                    f"{words}: {input_name(case, index)} holds rows of {name} for other distances",
                    inputs=(*case.inputs[:index], other, *case.inputs[index + 1 :]),
                    do=f"add {input_name(case, index)} to the scores as it is",
                )


def _apart(x: np.ndarray) -> np.ndarray | None:
    """How far each key lies behind each query, the last query at the last key, where an input may
    be a bias of (batch, heads, queries, keys)."""
    if x.ndim != 4 or x.dtype.kind != "f" or not 2 <= max(x.shape[-2:]) <= _MOST:
        return None
    queries, keys = x.shape[-2:]
    return np.arange(keys) - np.arange(keys - queries, keys)[:, None]


def _rows(x: np.ndarray, apart: np.ndarray, table: np.ndarray) -> np.ndarray | None:
    """The row of the table (rows, heads) that each distance takes, shaped like ``apart``; -1 for
    those that are hidden, None where the bias is no rows of it by distance."""
    if table.ndim != 2 or table.shape[1] != x.shape[1] or table.dtype.kind != "f":
        return None
    rows = np.full(apart.shape, -1)
    for distance in np.unique(apart):
        there = x[..., apart == distance]
        seen = np.argwhere((there > HIDDEN).all(axis=1))
        if not seen.size:
            continue
        sample, place = seen[0]
        row = there[sample, :, place]
        known = (there == row[:, None]) | (there <= HIDDEN)
        alike = np.flatnonzero(np.isclose(table, row, rtol=1e-6).all(axis=1))
        if not known.all() or not alike.size:
            return None
        rows[apart == distance] = alike[0]
    if len(np.unique(rows)) > 1:
        return rows
    return None


def _formulas(apart: np.ndarray, count: int, own: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Other buckets of distances, in words; any max_distance that gives the layer's own rows may
    be its own."""
    tried = {
        (both, furthest): _buckets(apart, count, both, furthest)
        for both in (True, False)
        for furthest in (*_FURTHEST, *range(count // 4 + 1, _FURTHEST[0]))
    }
    mine = [key for key, buckets in tried.items() if (buckets == own)[own >= 0].all()]
    found: dict[bytes, tuple[str, np.ndarray]] = {}
    for both, furthest in mine or [(True, _FURTHEST[0])]:
        for words, of in (
            (
                f"the buckets are {'uni' if both else 'bi'}directional",
                partial(_buckets, both=not both),
            ),
            ("the far buckets are not logarithmic", partial(_buckets, both=both, log=False)),
            (
                "the logarithm is rounded instead of truncated",
                partial(_buckets, both=both, rounded=True),
            ),
        ):
            buckets = of(apart, count, furthest=furthest)
            found.setdefault(buckets.tobytes(), (words, buckets))
    for (both, furthest), buckets in tried.items():
        if furthest in _FURTHEST and both == (mine[0][0] if mine else True):
            words = f"max_distance is {furthest}"
            found.setdefault(buckets.tobytes(), (words, buckets))
    for words, buckets in found.values():
        if not (buckets == own)[own >= 0].all():
            yield words, buckets


def _buckets(
    apart: np.ndarray,
    count: int,
    both: bool,
    furthest: int,
    log: bool = True,
    rounded: bool = False,
) -> np.ndarray:
    """T5's buckets (Raffel et al., 2020; transformers' ``_relative_position_bucket``)."""
    start = np.where(apart > 0, count // 2, 0) if both else np.zeros_like(apart)
    far = np.abs(apart) if both else np.maximum(-apart, 0)
    count = count // 2 if both else count
    exact = count // 2
    if not log:
        return np.asarray(start + np.minimum(far, count - 1))
    if exact < 1 or furthest <= exact:
        return np.asarray(start + np.minimum(far, exact))
    ratios = np.log(np.maximum(far, 1).astype(np.float32) / exact) / math.log(furthest / exact)
    steps = ratios * (count - exact)
    steps = np.rint(steps) if rounded else np.trunc(steps)
    many = np.minimum(exact + steps, count - 1).astype(int)
    return np.asarray(start + np.where(far < exact, far, many))
