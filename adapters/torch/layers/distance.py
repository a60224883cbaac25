"""Layers of two tensors: similarities, distances, and the bilinear form."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Recipe, Ref
from probe.errors import Undescribed

from ..describe.describe import Call, describes

__all__ = ["cosine_similarity", "pairwise_distance"]


def _two(call: Call) -> tuple[np.ndarray, np.ndarray]:
    if len(call.inputs) != 2:
        raise Undescribed(f"it was called with {len(call.inputs)} tensors where two were expected")
    return call.inputs[0], call.inputs[1]


def cosine_similarity(x: np.ndarray, y: np.ndarray, dim: int = 1, eps: float = 1e-8) -> Description:
    """``F.cosine_similarity``: both divided by their norms (at least eps, which in float16 may be
    0) and multiplied."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    eps = float(np.float16(eps)) if x.dtype == np.float16 else eps
    recipe = Recipe()
    parts = []
    for index, one in enumerate((x, y)):
        ref = Ref(-1, index)
        if one.shape != shape:
            ref = recipe.put(ops.Expand(shape=shape), ref)
        parts.append(recipe.put(ops.LpNormalization(axes=(dim % len(shape),), epsilon=eps), ref))
    recipe.put(
        ops.ReduceSum(axes=(dim % len(shape),), keepdims=False), recipe.put(ops.Mul(), *parts)
    )
    return Description(tuple(recipe.steps))


@describes("CosineSimilarity", several=True)
def _cosine(module: Any, call: Call) -> Description:
    return cosine_similarity(*_two(call), module.dim, module.eps)


def pairwise_distance(
    x: np.ndarray, y: np.ndarray, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Description:
    """``F.pairwise_distance``: the p-norm over the last axis of x - y + eps."""
    recipe = Recipe()
    less = recipe.put(ops.Sub(), Ref(-1, 0), Ref(-1, 1))
    moved = recipe.put(ops.Add(), less, recipe.put(ops.Constant(value=np.asarray(eps, np.float64))))
    over: dict[str, Any] = {"axes": (max(x.ndim, y.ndim) - 1,), "keepdims": keepdim}
    if p == 2:
        recipe.put(ops.ReduceL2(**over), moved)
    elif p == 1:
        recipe.put(ops.ReduceL1(**over), moved)
    elif math.isinf(p) and p > 0:
        recipe.put(ops.ReduceMax(**over), recipe.put(ops.Abs(), moved))
    elif p > 0:
        powers = recipe.put(
            ops.Pow(),
            recipe.put(ops.Abs(), moved),
            recipe.put(ops.Constant(value=np.asarray(float(p)))),
        )
        total = recipe.put(ops.ReduceSum(**over), powers)
        recipe.put(ops.Pow(), total, recipe.put(ops.Constant(value=np.asarray(1.0 / p))))
    else:
        raise Undescribed(f"p={p} has no description")
    return Description(tuple(recipe.steps))


@describes("PairwiseDistance", several=True)
def _pairwise(module: Any, call: Call) -> Description:
    return pairwise_distance(*_two(call), float(module.norm), module.eps, module.keepdim)


@describes("Bilinear", several=True)
def _bilinear(module: Any, call: Call) -> Description:
    """x1 A_k x2 for every output k, plus the bias."""
    _two(call)
    recipe = Recipe()
    weight = recipe.put(ops.Parameter(weight=call.required("weight")))
    out = recipe.put(ops.Einsum(equation="...i,kij,...j->...k"), Ref(-1, 0), weight, Ref(-1, 1))
    bias = call.weight("bias")
    if bias is not None:
        recipe.put(ops.AddConstant(value=bias), out)
    return Description(tuple(recipe.steps))
