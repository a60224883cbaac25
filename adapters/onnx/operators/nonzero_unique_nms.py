"""Operators that give as many elements as the values say, or count them."""

from itertools import pairwise

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node

__all__: list[str] = []

_NEAR = 2.0**-18
"""Some roundings of a share of areas in float32."""


def _narrow(build: NodeBuilder, x: Value) -> None:
    """Raises where float32, in which the graphs compute, holds fewer values apart."""
    values = build.array(x)
    if values.dtype == np.float64:
        with np.errstate(over="ignore"):
            few = values.astype(np.float32)
        if np.unique(few).size != np.unique(values).size:
            raise Undescribed(
                "values that are equal in float32 but not in their own type are not supported"
            )


@node("NonZero")
def non_zero(build: NodeBuilder, x: Value) -> Ref:
    if not build.rank(x):
        raise Undescribed("the indices of a scalar are not supported")
    return build.add(ops.NonZero(), x)


@node("Unique")
def unique(build: NodeBuilder, x: Value) -> tuple[Ref, ...]:
    if build.array(x).dtype.kind == "f" and np.isnan(build.array(x)).any():
        raise Undescribed("whether two NaN are equal is undefined")
    _narrow(build, x)
    axis = build.get("axis")
    found = build.add(
        ops.Unique(
            axis=None if axis is None else axis % build.rank(x), rising=bool(build.get("sorted", 1))
        ),
        x,
    )
    return tuple(Ref(found.step, at) for at in range(4))


@node("NonMaxSuppression")
def non_max_suppression(
    build: NodeBuilder,
    boxes: Value,
    scores: Value,
    most: Value | None = None,
    overlap: Value | None = None,
    least: Value | None = None,
) -> Ref:
    """Each bound is a number of the model, or as it came."""
    bounds = [
        None if bound is None else build.array(bound).reshape(-1)
        for bound in (most, overlap, least)
    ]
    count, share, score = (
        None if bound is None or not bound.size else bound[0].item() for bound in bounds
    )
    if score is not None and (build.array(scores) == score).any():
        raise Undescribed(
            "a score is equal to the threshold: by the ONNX specification its box is kept, "
            "but ONNX Runtime removes it"
        )
    op = ops.NonMaxSuppression(
        most=count or 0,
        overlap=share or 0.0,
        least=score,
        centred=bool(build.get("center_point_box", 0)),
    )
    if op.margin(*(build.array(operand).astype(np.float64) for operand in (boxes, scores))) < _NEAR:
        raise Undescribed(
            "an overlap is so near its threshold that rounding decides which box is removed"
        )
    return build.add(op, boxes, scores)


@node("TfIdfVectorizer")
def count_ngrams(build: NodeBuilder, x: Value) -> Ref:
    """Of integers; ``ngram_counts`` says where in the pool those of each length begin."""
    if build.get("pool_strings"):
        raise Undescribed("strings are not supported")
    pool, begins = (
        list(build.get("pool_int64s")),
        [*build.get("ngram_counts"), len(build.get("pool_int64s"))],
    )
    grams = [
        tuple(pool[at : at + size])
        for size, (begin, end) in enumerate(pairwise(begins), 1)
        for at in range(begin, end, size)
    ]
    op = ops.CountNgrams(
        grams=tuple(grams),
        places=tuple(build.get("ngram_indexes")),
        shortest=build.get("min_gram_length"),
        longest=build.get("max_gram_length"),
        skips=build.get("max_skip_count"),
        mode=build.get("mode"),
        weights=tuple(build.get("weights", ())),
    )
    return build.add(op, x)
