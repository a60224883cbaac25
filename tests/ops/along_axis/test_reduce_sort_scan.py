"""Reductions, orders and running sums against PyTorch, TensorFlow and ONNX Runtime."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from lazy import keras

from probe import ops
from probe.description import Ref, Step
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.explanation.receptive_field import influence_of
from probe.ops.shape.rearrange import Outputs


@st.composite
def sample(draw, longest=40):
    """Floats of any magnitude around zero or far from it, with the axes to reduce and whether they
    stay."""
    shape = draw(st.lists(st.integers(1, longest), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = (
        rng.normal(rng.choice([0.0, 3.0, 100.0]), 1, size=shape) * 2.0 ** rng.uniform(-6, 4)
    ).astype(np.float32)
    count = int(rng.integers(1, len(shape) + 1))
    axes = tuple(
        int(axis) - len(shape) * bool(rng.integers(2))
        for axis in rng.permutation(len(shape))[:count]
    )
    return x, axes, bool(rng.integers(2))


def extreme(function):
    return lambda x, axes, keep: function(x, dim=axes, keepdim=keep)


def product(x, axes, keep):
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


REDUCTIONS = [
    (ops.ReduceSum, lambda x, a, k: x.sum(a, k), keras.ops.sum),
    (ops.ReduceMean, lambda x, a, k: x.mean(a, k), keras.ops.mean),
    (ops.ReduceL1, lambda x, a, k: torch.linalg.vector_norm(x, 1, a, k), None),
    (ops.ReduceL2, lambda x, a, k: torch.linalg.vector_norm(x, 2, a, k), None),
    (ops.ReduceSumSquare, lambda x, a, k: x.square().sum(a, k), None),
    (ops.ReduceMax, lambda x, a, k: x.amax(a, k), keras.ops.max),
    (ops.ReduceMin, lambda x, a, k: x.amin(a, k), keras.ops.min),
    (ops.ReduceLogSumExp, lambda x, a, k: x.logsumexp(a, k), keras.ops.logsumexp),
    (ops.ReduceVar, lambda x, a, k: x.var(a, correction=0, keepdim=k), keras.ops.var),
    (ops.ReduceStd, lambda x, a, k: x.std(a, correction=0, keepdim=k), keras.ops.std),
]


@pytest.mark.parametrize(
    ("op", "reference", "tensorflow"), REDUCTIONS, ids=[row[0].__name__ for row in REDUCTIONS]
)
@examples(25)
@given(sample())
def test_reduction(agrees, op, reference, tensorflow, case):
    x, axes, keep = case
    exact = 1e-8 if "Var" in op.__name__ or "Std" in op.__name__ else 1e-11
    by_keras = tensorflow and (lambda x: tensorflow(x, axis=axes, keepdims=keep))
    agrees(
        op(axes=axes, keepdims=keep), [x], lambda x: reference(x, axes, keep), by_keras, exact=exact
    )


@examples(25)
@given(sample(longest=6))
def test_product_and_unbiased(agrees, case):
    x, axes, keep = case
    agrees(
        ops.ReduceProd(axes=axes, keepdims=keep),
        [x],
        lambda x: product(x, axes, keep),
        lambda x: keras.ops.prod(x, axes, keep),
    )
    if ops.ReduceVar(axes=axes).count(x) > 1:
        var, std = (op(axes=axes, keepdims=keep, ddof=1) for op in (ops.ReduceVar, ops.ReduceStd))
        agrees(var, [x], lambda x: x.var(axes, keepdim=keep), exact=1e-8)
        agrees(std, [x], lambda x: x.std(axes, keepdim=keep), exact=1e-8)


def test_all_axes_leave_none(agrees):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    agrees(ops.ReduceSum(axes=()), [x], lambda x: x.sum())
    agrees(ops.ReduceMean(axes=(0, 1)), [x], lambda x: x.mean())


@examples(25)
@given(sample(longest=9), st.data())
def test_order(case, data):
    """Places and sorted values are equal, bit for bit; equal elements stand in their order."""
    x, axes, keep = case
    axis = axes[0]
    x = np.round(x, 1)
    k = data.draw(st.integers(1, x.shape[axis]))
    line = torch.from_numpy(x)
    largest = torch.sort(line, dim=axis, descending=True, stable=True)
    smallest = torch.sort(line, dim=axis, stable=True)
    for op, theirs in [
        (ops.ArgMax(axis=axis, keepdims=keep), (line.argmax(axis, keep),)),
        (ops.ArgMin(axis=axis, keepdims=keep), (line.argmin(axis, keep),)),
        (ops.TopK(k=k, axis=axis), tuple(one.narrow(axis, 0, k) for one in largest)),
        (
            ops.TopK(k=k, axis=axis, largest=False),
            tuple(one.narrow(axis, 0, k) for one in smallest),
        ),
    ]:
        steps = (Step(op), Step(Outputs(), tuple(Ref(0, index) for index in range(len(theirs)))))
        values = recompute(steps, [x])
        for ours, torchs, onnx in zip(
            values[-1], theirs, crosscheck(steps, [x], values), strict=True
        ):
            np.testing.assert_array_equal(ours.astype(torchs.numpy().dtype), torchs.numpy())
            np.testing.assert_array_equal(onnx, torchs.numpy())


@examples(25)
@given(sample(longest=200))
def test_running(agrees, case):
    x, axes, _ = case
    agrees(
        ops.CumSum(axis=axes[0]),
        [x],
        lambda x: x.cumsum(axes[0]),
        lambda x: keras.ops.cumsum(x, axes[0]),
    )
    short = np.take(x, range(min(6, x.shape[axes[0]])), axes[0])
    agrees(
        ops.CumProd(axis=axes[0]),
        [short],
        lambda x: x.cumprod(axes[0]),
        lambda x: keras.ops.cumprod(x, axes[0]),
    )


@pytest.mark.parametrize("op", [ops.ReduceAll, ops.ReduceAny])
def test_truths(op):
    x = np.random.default_rng(0).random((3, 4, 2)) > 0.6
    steps = (Step(op(axes=(1,))),)
    values = recompute(steps, [x])
    theirs = (torch.all if op is ops.ReduceAll else torch.any)(torch.from_numpy(x), 1).numpy()
    np.testing.assert_array_equal(values[-1][0], theirs)
    np.testing.assert_array_equal(crosscheck(steps, [x], values)[0], theirs)


@pytest.mark.parametrize(
    "op",
    [
        ops.CumSum(axis=1),
        ops.CumProd(axis=1),
        ops.ReduceSum(axes=(1,)),
        ops.ReduceVar(axes=(0,), keepdims=True),
    ],
)
def test_reach_is_what_moves_the_output(op):
    x = np.random.default_rng(0).normal(size=(3, 4))
    base = op.run(x)[0]
    at = tuple(size // 2 for size in base.shape)
    mask = np.zeros(base.shape, bool)
    mask[at] = True
    (reached,) = influence_of((Step(op),), [x], mask)
    moves = np.zeros(x.shape, bool)
    for index in np.ndindex(*x.shape):
        changed = x.copy()
        changed[index] += 1
        moves[index] = op.run(changed)[0][at] != base[at]
    np.testing.assert_array_equal(reached, moves)
