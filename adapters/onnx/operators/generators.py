"""Operators that make numbers of a size, a shape or two ends: ranges, windows, constants."""

import math
from collections.abc import Sequence

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node
from ..schema import numbers

__all__: list[str] = []


@node("Range", implied=("limit", "stash_type"))
def number_range(build: NodeBuilder, start: Value, limit: Value, delta: Value) -> Ref:
    """start + k * delta, as a running sum: ONNX Runtime adds one delta after the other, which loses
    more."""
    begin, end, by = (
        build.array(number).reshape(()).astype(np.float64) for number in (start, limit, delta)
    )
    count = math.ceil((end - begin) / by)
    if (max(0, count),) != build.outputs[0].shape:
        raise Undescribed(
            f"its output has {build.outputs[0].size} values, but its inputs imply {count}"
        )
    if count <= 0:
        return build.ref(np.zeros(0, build.outputs[0].dtype))
    first = build.add(ops.Reshape(shape=(1,)), start)
    rest = build.add(ops.Expand(shape=(count - 1,)), build.add(ops.Reshape(shape=(1,)), delta))
    return build.add(ops.CumSum(axis=0), build.add(ops.Concat(axis=0), first, rest))


@node("ConstantOfShape")
def constant_of_shape(build: NodeBuilder, shape: Value) -> Ref:
    tensor = build.get("value")
    value = np.zeros(1, np.float32) if tensor is None else numbers(tensor)
    return build.add(ops.Expand(shape=build.ints(shape) or ()), value.reshape(()))


@node("EyeLike", implied=("dtype",))
def eye_like(build: NodeBuilder, x: Value) -> Ref:
    rows, columns = build.shape(x)
    return build.ref(np.eye(rows, columns, build.get("k", 0), build.outputs[0].dtype))


def _register(name: str, factors: Sequence[float]) -> None:
    @node(name, implied=("output_datatype",))
    def window(build: NodeBuilder, size: Value) -> Ref:
        """A sum of cosines; a symmetric one ends at its first number."""
        count = int(build.array(size).reshape(()))
        length = count if build.get("periodic", 1) else count - 1
        found = build.ref(np.full(count, factors[0]))
        for order, factor in enumerate(factors[1:], 1):
            wave = build.add(ops.Cos(), np.arange(count) * (2 * math.pi * order / length))
            found = build.add(
                ops.Add(), found, build.add(ops.Affine(gain=factor, offset=0.0), wave)
            )
        return found


for _name, _factors in {
    "HannWindow": (0.5, -0.5),
    "HammingWindow": (25 / 46, -21 / 46),
    "BlackmanWindow": (0.42, -0.5, 0.08),
}.items():
    _register(_name, _factors)
