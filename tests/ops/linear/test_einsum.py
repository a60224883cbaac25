"""Products of several inputs against PyTorch, TensorFlow and ONNX Runtime."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops
from probe.description import Ref, Step
from probe.explanation.receptive_field import influence_of


def normal(rng, shape):
    return rng.normal(rng.choice([0.0, 2.0]), 1, size=shape).astype(np.float32)


@examples(40)
@given(
    st.lists(st.integers(1, 4), max_size=2),
    st.integers(1, 5),
    st.integers(1, 200),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
)
def test_product(agrees, batch, n, k, m, seed):
    """Batches broadcast, and either side may be a vector."""
    rng = np.random.default_rng(seed)
    one, other = ([1 if rng.random() < 0.3 else size for size in batch] for _ in range(2))
    x = normal(rng, (k,) if rng.random() < 0.2 else (*one, n, k))
    y = normal(
        rng, (k,) if rng.random() < 0.2 else (*other[rng.integers(0, len(other) + 1) :], k, m)
    )
    agrees(ops.Product(), [x, y], torch.matmul)


EQUATIONS = [
    "ij,jk->ik",
    "bij,bjk",
    "bhqd,bhkd->bhqk",
    "...i,ij->...j",
    "bnc,c->bn",
    "ii->i",
    "bii->b",
    "ij->ji",
    "i,j->ij",
    "a,b,abc->c",
]


@examples(40)
@given(
    st.sampled_from([*EQUATIONS, "...ij,...jk->...ik", "bij,bij->", "b i, b j -> b", "xyz,y->xz"]),
    st.integers(0, 2**32 - 1),
)
def test_einsum(agrees, equation, seed):
    rng = np.random.default_rng(seed)
    sizes = {letter: int(rng.integers(1, 7)) for letter in "abcdefghijklmnopqrstuvwxyz"}
    dots = tuple(rng.integers(1, 4, size=2))
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    shapes = [
        (*(dots if "..." in term else ()), *(sizes[letter] for letter in term.replace("...", "")))
        for term in terms
    ]
    agrees(
        ops.Einsum(equation=equation),
        [normal(rng, shape) for shape in shapes],
        lambda *x: torch.einsum(equation, *x),
    )


@pytest.mark.parametrize(
    "op", [ops.Product(), ops.Einsum(equation="bij,bjk->bik"), ops.Einsum(equation="iij,ijk->ik")]
)
def test_reach_is_what_moves_the_output(op):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 3, 4)), rng.normal(size=(3, 4, 2))
    step = Step(op, (Ref(-1, 0), Ref(-1, 1)))
    base = op.run(x, y)[0]
    at = tuple(size - 1 for size in base.shape)
    mask = np.zeros(base.shape, bool)
    mask[at] = True
    for k, reached in enumerate(influence_of((step,), [x, y], mask)):
        moves = np.zeros(reached.shape, bool)
        for index in np.ndindex(*reached.shape):
            given = [x.copy(), y.copy()]
            given[k][index] += 1
            moves[index] = op.run(*given)[0][at] != base[at]
        np.testing.assert_array_equal(reached, moves)
