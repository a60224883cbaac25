"""Ops on several inputs against PyTorch, Keras and ONNX Runtime."""

from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lazy import keras, tf

from probe import ops
from probe.description import Ref, Step
from probe.evaluation.onnxruntime_reference import crosscheck


@st.composite
def inputs(draw, broadcast=True):
    """Two to four arrays; where they broadcast, some axes of some of them have size 1."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = []
    for _ in range(draw(st.integers(2, 4))):
        own = [1 if broadcast and draw(st.integers(0, 5)) == 0 else size for size in shape]
        arrays.append(
            (
                rng.normal(draw(st.sampled_from([0, 5])), 1, size=own)
                * 2.0 ** draw(st.floats(-6, 6))
            ).astype(np.float32)
        )
    return arrays


MERGES = [
    # keras.ops.add of (2, 2) and (2, 1) broadcasts along the wrong axis in Keras 3.15
    (ops.Add(), torch.add, tf.add),
    (ops.Beside(weight="kernel", words="f(x)"), torch.add, tf.add),
    (ops.Sub(), torch.sub, keras.ops.subtract),
    (ops.Mul(), torch.mul, keras.ops.multiply),
    (ops.Max(), torch.maximum, keras.ops.maximum),
    (ops.Min(), torch.minimum, keras.ops.minimum),
]


@pytest.mark.parametrize(
    ("op", "reference", "tensorflow"), MERGES, ids=[type(op).__name__ for op, _, _ in MERGES]
)
@given(inputs())
def test_merge(agrees, op, reference, tensorflow, arrays):
    agrees(op, arrays, lambda *x: reduce(reference, x), lambda *x: reduce(tensorflow, x))


@pytest.mark.parametrize(
    ("op", "reference"),
    [
        (ops.Add(), torch.add),
        (ops.Mul(), torch.mul),
        (ops.Max(), torch.maximum),
        (ops.Min(), torch.minimum),
    ],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
def test_merge_of_truth_values(op, reference):
    """ONNX has operators of their own for these: Keras takes the minimum of masks."""
    arrays = [np.array(bits, bool) for bits in ((0, 0, 1, 1), (0, 1, 0, 1), (1, 1, 1, 1))]
    right = reduce(reference, map(torch.from_numpy, arrays)).numpy()
    values = op.run(*arrays)
    steps = (Step(op, tuple(Ref(-1, k) for k in range(3))),)
    (found,) = crosscheck(steps, arrays, [values])
    assert found.dtype == values[0].dtype == right.dtype == bool
    assert np.array_equal(values[0], right) and np.array_equal(found, right)


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
@pytest.mark.parametrize("op", [ops.Mul(), ops.Max(), ops.Min()], ids=lambda op: type(op).__name__)
def test_merge_of_truth_values_and_numbers(op, dtype):
    arrays = [np.array((0, 1, 0, 1), bool), np.array((3, 0, -2, 5), dtype)]
    values = op.run(*arrays)
    (found,) = crosscheck((Step(op, (Ref(-1), Ref(-1, 1))),), arrays, [values])
    assert np.array_equal(values[0], found) and found.dtype.kind == values[0].dtype.kind


@given(inputs())
def test_mean(agrees, arrays):
    same = all(x.shape == arrays[0].shape for x in arrays)
    agrees(
        ops.Mean(),
        arrays,
        lambda *x: sum(x) / len(x),
        (lambda *x: keras.layers.Average()(list(x))) if same else None,
    )


@given(inputs(broadcast=False), st.data())
def test_concat(agrees, arrays, data):
    axis = data.draw(st.integers(-arrays[0].ndim, arrays[0].ndim - 1))
    arrays = [np.concatenate([x] * data.draw(st.integers(1, 2)), axis=axis) for x in arrays]
    agrees(
        ops.Concat(axis=axis),
        arrays,
        lambda *x: torch.cat(x, axis),
        lambda *x: keras.ops.concatenate(x, axis),
    )


@given(inputs())
def test_constants(agrees, weight, arrays):
    x, value = arrays[0], weight("value", arrays[1])
    agrees(
        ops.AddConstant(value=value),
        [x],
        lambda x, value: x + value,
        lambda x, value: tf.add(x, value),
    )
    agrees(
        ops.MulConstant(value=value),
        [x],
        lambda x, value: x * value,
        lambda x, value: keras.ops.multiply(x, value),
    )
