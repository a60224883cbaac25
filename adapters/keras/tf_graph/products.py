"""Products of matrices and tensors of a graph of TensorFlow."""

import numpy as np

from probe import ops
from probe.description import Ref

from ..describe.rearranged import einsum
from .node import GraphOperation, node


@node("MatMul")
def _mat_mul(n: GraphOperation) -> Ref:
    return _product(n, n.attr("transpose_a"), n.attr("transpose_b"))


@node("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def _batch_mat_mul(n: GraphOperation) -> Ref:
    return _product(n, n.attr("adj_x"), n.attr("adj_y"))


def _product(n: GraphOperation, turns_left: bool, turns_right: bool) -> Ref:
    build = n.build
    rank, other = len(n.shape(0)), len(n.shape(1))
    if turns_left:
        left = build.transpose(n.ref(0), _last_two(rank))
    else:
        left = n.ref(0)
    if other == 2:
        weight = n.weight(1, (1, 0) if turns_right else (0, 1))
    else:
        weight = None
    shape = build.shape(left)
    if weight is not None:
        op = ops.MatMul(weight=weight, bias=None)
        return build.add(op, left, shape=(*shape[:-1], weight.value.shape[1]))
    if turns_right:
        right = build.transpose(n.ref(1), _last_two(other))
    else:
        right = n.ref(1)
    lead = np.broadcast_shapes(shape[:-2], build.shape(right)[:-2])
    return n.whole(
        build.add(ops.Product(), left, right, shape=(*lead, shape[-2], build.shape(right)[-1]))
    )


def _last_two(rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1, rank - 2)


@node("Einsum")
def _einsum(n: GraphOperation) -> Ref:
    return einsum(n.build, str(n.attr("equation")), n.refs())


@node("Cross")
def _cross(n: GraphOperation) -> Ref:
    def turned(k: int, by: int) -> Ref:
        return n.build.take(n.ref(k), n.build.ref(np.roll(np.arange(3), -by)), -1)

    one, other = (n.build.add(ops.Mul(), turned(0, by), turned(1, 3 - by)) for by in (1, 2))
    return n.build.add(ops.Sub(), one, other)
