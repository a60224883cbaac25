"""Matrix products against PyTorch, TensorFlow and ONNX Runtime."""

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from lazy import tf

from probe import ops


def by_tensorflow(x, kernel, bias=0.0):
    """As two-dimensional products: tf.matmul on (a, 1, b) inputs corrupts the heap in TensorFlow
    2.21 with oneDNN."""
    flat = tf.matmul(x.reshape(-1, x.shape[-1]), kernel) + bias
    return tf.reshape(flat, (*x.shape[:-1], kernel.shape[1]))


@given(
    rows=st.lists(st.integers(1, 5), max_size=3),
    width=st.integers(1, 300),
    out=st.integers(1, 40),
    biased=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@example(rows=[7], width=5000, out=3, biased=True, seed=0)
@example(rows=[2], width=40, out=30000, biased=True, seed=1)
def test_matmul(agrees, weight, rows, width, out, biased, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.choice([0.0, 3.0]), 1, size=(*rows, width)).astype(np.float32)
    kernel = weight(
        "kernel", rng.normal(rng.choice([0.0, 0.1]), 0.2, size=(width, out)).astype(np.float32)
    )
    bias = weight("bias", rng.normal(size=out).astype(np.float32)) if biased else None
    op = ops.MatMul(weight=kernel, bias=bias)
    agrees(
        op,
        [x],
        lambda x, kernel, bias=None: torch.nn.functional.linear(x, kernel.T, bias),
        by_tensorflow,
    )
