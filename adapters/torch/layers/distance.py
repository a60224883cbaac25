"""Layers of two tensors: similarities, distances, and the bilinear form."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref
from probe.errors import Undescribed

from ..describe.describe import ModuleCall, describes

__all__ = ["cosine_similarity", "pairwise_distance"]


def _two(call: ModuleCall) -> tuple[np.ndarray, np.ndarray]:
    if len(call.inputs) != 2:
        raise Undescribed(f"it was called with {len(call.inputs)} tensors; two were expected")
    return call.inputs[0], call.inputs[1]


def cosine_similarity(x: np.ndarray, y: np.ndarray, dim: int = 1, eps: float = 1e-8) -> Description:
    """``F.cosine_similarity``: both divided by their norms (at least eps, which in float16 may be
    0) and multiplied."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    if x.dtype == np.float16:
        eps = float(np.float16(eps))
    build = Builder()
    parts = []
    for index, rows in enumerate((x, y)):
        ref = Ref(-1, index)
        if rows.shape != shape:
            ref = build.add(ops.Expand(shape=shape), ref)
        parts.append(build.add(ops.LpNormalization(axes=(dim % len(shape),), epsilon=eps), ref))
    build.add(ops.ReduceSum(axes=(dim % len(shape),), keepdims=False), build.add(ops.Mul(), *parts))
    return Description(build.ended())


@describes("CosineSimilarity", several=True)
def _cosine(module: Any, call: ModuleCall) -> Description:
    return cosine_similarity(*_two(call), module.dim, module.eps)


def pairwise_distance(
    x: np.ndarray, y: np.ndarray, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Description:
    """``F.pairwise_distance``: the p-norm over the last axis of x - y + eps."""
    build = Builder()
    less = build.add(ops.Sub(), Ref(-1, 0), Ref(-1, 1))
    moved = build.add(ops.Add(), less, np.asarray(eps, np.float64))
    over: dict[str, Any] = {"axes": (max(x.ndim, y.ndim) - 1,), "keepdims": keepdim}
    if p == 2:
        build.add(ops.ReduceL2(**over), moved)
    elif p == 1:
        build.add(ops.ReduceL1(**over), moved)
    elif math.isinf(p) and p > 0:
        build.add(ops.ReduceMax(**over), build.add(ops.Abs(), moved))
    elif p > 0:
        powers = build.add(ops.Pow(), build.add(ops.Abs(), moved), float(p))
        total = build.add(ops.ReduceSum(**over), powers)
        build.add(ops.Pow(), total, 1.0 / p)
    else:
        raise Undescribed(f"p={p} is not supported")
    return Description(build.ended())


@describes("PairwiseDistance", several=True)
def _pairwise(module: Any, call: ModuleCall) -> Description:
    return pairwise_distance(*_two(call), float(module.norm), module.eps, module.keepdim)


@describes("Bilinear", several=True)
def _bilinear(module: Any, call: ModuleCall) -> Description:
    """x1 A_k x2 for every output k, plus the bias."""
    _two(call)
    build = Builder()
    weight = build.ref(call.required("weight"))
    out = build.add(ops.Einsum(equation="...i,kij,...j->...k"), Ref(-1, 0), weight, Ref(-1, 1))
    bias = call.weight("bias")
    if bias is not None:
        build.add(ops.AddConstant(value=bias), out)
    return Description(build.ended())
