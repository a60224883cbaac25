"""Operators that make numbers of a size, a shape or two ends: ranges, windows, constants."""

import math
from collections.abc import Sequence

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import Node, Value, node

__all__: list[str] = []


@node("Range", implied=("limit", "stash_type"))
def number_range(recipe: Node, start: Value, limit: Value, delta: Value) -> Ref:
    """start + k * delta, as a running sum: ONNX Runtime adds one delta after the other, which loses
    more."""
    begin, end, by = (
        recipe.array(one).reshape(()).astype(np.float64) for one in (start, limit, delta)
    )
    count = math.ceil((end - begin) / by)
    if (max(0, count),) != recipe.outputs[0].shape:
        raise Undescribed(
            f"its output has {recipe.outputs[0].size} numbers where its inputs say {count}"
        )
    if count <= 0:
        return recipe.ref(np.zeros(0, recipe.outputs[0].dtype))
    first = recipe.put(ops.Reshape(shape=(1,)), start)
    rest = recipe.put(ops.Expand(shape=(count - 1,)), recipe.put(ops.Reshape(shape=(1,)), delta))
    return recipe.put(ops.CumSum(axis=0), recipe.put(ops.Concat(axis=0), first, rest))


@node("ConstantOfShape")
def constant_of_shape(recipe: Node, shape: Value) -> Ref:
    tensor = recipe.get("value")
    value = np.zeros(1, np.float32) if tensor is None else recipe.tensor(tensor)
    return recipe.put(ops.Expand(shape=recipe.ints(shape) or ()), value.reshape(()))


@node("EyeLike", implied=("dtype",))
def eye_like(recipe: Node, x: Value) -> Ref:
    rows, columns = recipe.shape(x)
    return recipe.ref(np.eye(rows, columns, recipe.get("k", 0), recipe.outputs[0].dtype))


def _register(name: str, factors: Sequence[float]) -> None:
    @node(name, implied=("output_datatype",))
    def window(recipe: Node, size: Value) -> Ref:
        """A sum of cosines; a symmetric one ends at its first number."""
        count = int(recipe.array(size).reshape(()))
        length = count if recipe.get("periodic", 1) else count - 1
        found = recipe.ref(np.full(count, factors[0]))
        for order, factor in enumerate(factors[1:], 1):
            wave = recipe.put(ops.Cos(), np.arange(count) * (2 * math.pi * order / length))
            found = recipe.put(
                ops.Add(), found, recipe.put(ops.Affine(gain=factor, offset=0.0), wave)
            )
        return found


for _name, _factors in {
    "HannWindow": (0.5, -0.5),
    "HammingWindow": (25 / 46, -21 / 46),
    "BlackmanWindow": (0.42, -0.5, 0.08),
}.items():
    _register(_name, _factors)
