"""Distances of rows: of each to its own, and of all to all."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function
from .gather_sort import refuse_many

__all__ = ["pairwise_distance"]


@function("pairwise_distance", onnx="pairwisedistance")
def pairwise_distance(
    build: CallBuilder,
    x1: Value,
    x2: Value,
    p: float = 2.0,
    eps: float = 1e-6,
    keepdim: bool = False,
) -> tuple[Ref, ...]:
    return build.module_outputs("PairwiseDistance", (x1, x2), norm=p, eps=eps, keepdim=keepdim)


@function("cdist", "_cdist_forward", onnx="pairwisedistance")
def cdist(
    build: CallBuilder, x1: Value, x2: Value, p: float = 2.0, compute_mode: Any = None
) -> Ref:
    """The p-norms of the differences of all rows; of p = 2 by a matrix product beyond 25 rows
    (aten/src/ATen/native/Distance.cpp)."""
    modes = {
        None: 0,
        "use_mm_for_euclid_dist_if_necessary": 0,
        "use_mm_for_euclid_dist": 1,
        "donot_use_mm_for_euclid_dist": 2,
    }
    mode = modes.get(compute_mode, compute_mode)
    left, right = build.shape(x1), build.shape(x2)
    if not left[-1]:
        return build.add(ops.Expand(shape=build.outputs[0].shape), 0.0)
    if p == 2 and (mode == 1 or (mode == 0 and max(left[-2], right[-2]) > 25)):
        return euclidean_dist(build, x1, x2)
    refuse_many(build.outputs[0].size * left[-1])
    lifted = [
        build.add(ops.Reshape(shape=(*left[:-1], 1, left[-1])), x1),
        build.add(ops.Reshape(shape=(*right[:-2], 1, *right[-2:])), x2),
    ]
    rank = max(len(left), len(right)) + 1
    if p == 0:
        differ = build.add(ops.Cast(to=build.kinds[0]), build.add(ops.NotEqual(), *lifted))
        return build.add(ops.ReduceSum(axes=(rank - 1,)), differ)
    less = build.add(ops.Sub(), *lifted)
    if p == 2:
        return build.add(ops.ReduceL2(axes=(rank - 1,)), less)
    if p == 1:
        return build.add(ops.ReduceL1(axes=(rank - 1,)), less)
    size = build.add(ops.Abs(), less)
    if math.isinf(p):
        return build.add(ops.ReduceMax(axes=(rank - 1,)), size)
    total = build.add(ops.ReduceSum(axes=(rank - 1,)), build.add(ops.Pow(), size, float(p)))
    return build.add(ops.Pow(), total, 1.0 / float(p))


@function("_euclidean_dist", onnx="pairwisedistance")
def euclidean_dist(build: CallBuilder, x1: Value, x2: Value) -> Ref:
    """The root of [-2 x1, |x1|², 1] [x2, 1, |x2|²]ᵀ, no less than 0, which loses digits of rows
    that are close to each other."""
    sides = []
    for rows, factor in ((x1, -2.0), (x2, 1.0)):
        shape = build.shape(rows)
        rank = len(shape)
        square = build.add(
            ops.ReduceSum(axes=(rank - 1,), keepdims=True), build.add(ops.Square(), rows)
        )
        ones = build.ref(np.ones((*shape[:-1], 1)))
        if factor == 1:
            scaled = build.ref(rows)
        else:
            scaled = build.add(ops.Mul(), rows, factor)
        sides.append(
            build.add(
                ops.Concat(axis=rank - 1),
                *((scaled, square, ones) if factor != 1 else (scaled, ones, square)),
            )
        )
    turned = build.add(ops.Transpose(perm=(*range(rank - 2), rank - 1, rank - 2)), sides[1])
    return build.add(
        ops.Sqrt(),
        build.add(ops.Clip(low=0.0, high=None), build.add(ops.Product(), sides[0], turned)),
    )


@function("pdist", onnx="pairwisedistance")
def pdist(build: CallBuilder, input: Value, p: float = 2.0) -> Ref:
    """The distance of every row to each behind it."""
    rows = build.shape(input)[0]
    pairs = [(row, other) for row in range(rows) for other in range(row + 1, rows)]
    left, right = (
        build.add(ops.Gather(axis=0), input, np.array([pair[k] for pair in pairs])) for k in (0, 1)
    )
    less = build.add(ops.Sub(), left, right)
    if p == 2:
        return build.add(ops.ReduceL2(axes=(1,), keepdims=False), less)
    if p == 1:
        return build.add(ops.ReduceL1(axes=(1,), keepdims=False), less)
    raise Undescribed(f"p={p} is not supported")
