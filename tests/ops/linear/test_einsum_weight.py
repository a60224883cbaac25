"""Sums of products with a weight, and a weight joined to the input, against PyTorch and ONNX
Runtime."""

import numpy as np
import torch
from hypothesis import Phase, given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops

QUICK = examples(25, phases=[Phase.explicit, Phase.generate])
SEED = st.integers(0, 2**32 - 1)
EQUATIONS = [
    "bnd,ndh->bnh",
    "abc,cd->abd",
    "ab...,bc->ac...",
    "abc,c->abc",
    "ab,b->a",
    "aab,bc->ac",
    "abc,cb->a",
]


@QUICK
@given(equation=st.sampled_from(EQUATIONS), seed=SEED)
def test_weighted_einsum(agrees, weight, equation, seed):
    rng = np.random.default_rng(seed)
    sizes = {letter: int(rng.integers(1, 6)) for letter in "abcdehn"}
    given, held = equation.partition("->")[0].split(",")
    dots = tuple(rng.integers(1, 4, size=2)) if "..." in given else ()
    x = rng.normal(size=(*(sizes[letter] for letter in given.replace("...", "")), *dots)).astype(
        np.float32
    )
    kernel = weight(
        "kernel", rng.normal(size=[sizes[letter] for letter in held]).astype(np.float32)
    )
    agrees(
        ops.WeightedEinsum(equation, weight=kernel),
        [x],
        lambda x, kernel: torch.einsum(equation, x, kernel),
    )


@QUICK
@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4), seed=SEED)
def test_append(agrees, weight, sizes, seed):
    rng = np.random.default_rng(seed)
    axis = int(rng.integers(len(sizes)))
    shape = [
        int(rng.integers(1, 3)) if at == axis else 1 if rng.random() < 0.5 else size
        for at, size in enumerate(sizes)
    ]
    tail = weight("tail", rng.normal(size=shape).astype(np.float32))
    full = [shape[at] if at == axis else size for at, size in enumerate(sizes)]
    x = rng.normal(size=sizes).astype(np.float32)
    agrees(ops.Append(tail, axis), [x], lambda x, tail: torch.cat([x, tail.expand(*full)], axis))
