"""Operators that give as many elements as the values say, or count them."""

from itertools import pairwise

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import Node, Value, node

__all__: list[str] = []

_NEAR = 2.0**-18
"""Some roundings of a share of areas in float32."""


def _narrow(recipe: Node, x: Value) -> None:
    """Raises where float32, in which the graphs compute, holds fewer values apart."""
    values = recipe.array(x)
    if values.dtype == np.float64:
        with np.errstate(over="ignore"):
            few = values.astype(np.float32)
        if np.unique(few).size != np.unique(values).size:
            raise Undescribed("values that float32 does not hold apart have no description")


@node("NonZero")
def non_zero(recipe: Node, x: Value) -> Ref:
    if not recipe.rank(x):
        raise Undescribed("the places of a single number have no description")
    return recipe.put(ops.NonZero(), x)


@node("Unique")
def unique(recipe: Node, x: Value) -> tuple[Ref, ...]:
    if recipe.array(x).dtype.kind == "f" and np.isnan(recipe.array(x)).any():
        raise Undescribed("whether one NaN is another has no description")
    _narrow(recipe, x)
    axis = recipe.get("axis")
    found = recipe.put(
        ops.Unique(
            axis=None if axis is None else axis % recipe.rank(x),
            rising=bool(recipe.get("sorted", 1)),
        ),
        x,
    )
    return tuple(Ref(found.step, at) for at in range(4))


@node("NonMaxSuppression")
def non_max_suppression(
    recipe: Node,
    boxes: Value,
    scores: Value,
    most: Value | None = None,
    overlap: Value | None = None,
    least: Value | None = None,
) -> Ref:
    """Each bound is a number of the model, or as it came."""
    bounds = [
        None if one is None else recipe.array(one).reshape(-1) for one in (most, overlap, least)
    ]
    count, share, score = (None if one is None or not one.size else one[0].item() for one in bounds)
    if score is not None and (recipe.array(scores) == score).any():
        raise Undescribed(
            "a score is equal to its bound: by the operator's text its box stays, "
            "and ONNX Runtime removes it"
        )
    op = ops.NonMaxSuppression(
        most=count or 0,
        overlap=share or 0.0,
        least=score,
        centred=bool(recipe.get("center_point_box", 0)),
    )
    if op.margin(*(recipe.array(one).astype(np.float64) for one in (boxes, scores))) < _NEAR:
        raise Undescribed("an overlap lies so near its bound that rounding decides who is left out")
    return recipe.put(op, boxes, scores)


@node("TfIdfVectorizer")
def count_ngrams(recipe: Node, x: Value) -> Ref:
    """Of integers; ``ngram_counts`` says where in the pool those of each length begin."""
    if recipe.get("pool_strings"):
        raise Undescribed("words have no description")
    pool, begins = (
        list(recipe.get("pool_int64s")),
        [*recipe.get("ngram_counts"), len(recipe.get("pool_int64s"))],
    )
    grams = [
        tuple(pool[at : at + size])
        for size, (begin, end) in enumerate(pairwise(begins), 1)
        for at in range(begin, end, size)
    ]
    op = ops.CountNgrams(
        grams=tuple(grams),
        places=tuple(recipe.get("ngram_indexes")),
        shortest=recipe.get("min_gram_length"),
        longest=recipe.get("max_gram_length"),
        skips=recipe.get("max_skip_count"),
        mode=recipe.get("mode"),
        weights=tuple(recipe.get("weights", ())),
    )
    return recipe.put(op, x)
