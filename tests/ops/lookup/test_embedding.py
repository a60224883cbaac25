"""Embeddings and bags of them against PyTorch, TensorFlow and ONNX Runtime."""

import numpy as np
import torch
from hypothesis import Phase, given
from hypothesis import strategies as st
from hypothesis_examples import examples
from lazy import tf

from probe import ops

F = torch.nn.functional
SEED = st.integers(0, 2**32 - 1)
QUICK = examples(30, phases=[Phase.explicit, Phase.generate])


@QUICK
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    rows=st.integers(1, 9),
    width=st.integers(1, 5),
    seed=SEED,
)
def test_embedding(agrees, weight, shape, rows, width, seed):
    rng = np.random.default_rng(seed)
    table = weight("table", rng.normal(size=(rows, width)).astype(np.float32), (0, 1))
    indices = np.asarray(rng.integers(0, rows, size=shape))
    agrees(
        ops.Embedding(table),
        [indices],
        lambda i, table: F.embedding(i, table),
        lambda i, table: tf.nn.embedding_lookup(table, i),
    )


@QUICK
@given(norm=st.sampled_from([1.0, 2.0, 3.0]), limit=st.sampled_from([0.3, 1.0, 5.0]), seed=SEED)
def test_rows_of_a_limited_norm(agrees, weight, norm, limit, seed):
    rng = np.random.default_rng(seed)
    table = weight("table", rng.normal(size=(6, 4)).astype(np.float32), (0, 1))
    op = ops.Embedding(table, limit, norm)
    agrees(
        op,
        [rng.integers(0, 6, size=(3, 2))],
        lambda i, table: F.embedding(i, table.clone(), max_norm=limit, norm_type=norm),
    )


@QUICK
@given(
    mode=st.sampled_from(["sum", "mean", "max"]),
    flat=st.booleans(),
    closed=st.booleans(),
    padding=st.sampled_from([None, 0, 3]),
    weighted=st.booleans(),
    bags=st.integers(1, 4),
    seed=SEED,
)
def test_embedding_bag(agrees, weight, mode, flat, closed, padding, weighted, bags, seed):
    rng = np.random.default_rng(seed)
    table = weight("table", rng.normal(size=(5, 3)).astype(np.float32), (0, 1))
    indices = rng.integers(0, 5, size=rng.integers(1, 9) if flat else (bags, rng.integers(1, 6)))
    weighted, closed = weighted and mode == "sum", closed and flat
    inputs = [indices]
    if flat:
        starts = np.sort(rng.integers(0, indices.size + 1, size=bags))
        starts[0] = 0
        inputs.append(np.append(starts, indices.size) if closed else starts)
    if weighted:
        inputs.append(rng.normal(size=indices.shape).astype(np.float32))

    def theirs(i, *more, table):
        offsets, factors = more[0] if flat else None, more[-1] if weighted else None
        options = {
            "mode": mode,
            "per_sample_weights": factors,
            "include_last_offset": closed,
            "padding_idx": padding,
        }
        return F.embedding_bag(i, table, offsets, **options)

    op = ops.EmbeddingBag(
        table, mode=mode, offsets=flat, weighted=weighted, closed=closed, padding=padding
    )
    agrees(op, inputs, theirs)
    (y,) = op.run(*inputs)
    where = tuple(np.array([0, y.shape[axis] - 1]) for axis in range(2))
    if mode != "max":
        np.testing.assert_allclose(op.terms(inputs, where).sum(axis=(1, 2)), y[where], atol=1e-12)
