"""Ops that pick, repeat and overwrite elements, against PyTorch and ONNX Runtime: equal, not
near."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops
from probe.description import Ref, Step
from probe.explanation.receptive_field import influence_of


@st.composite
def array(draw, least=1):
    shape = draw(st.lists(st.integers(1, 5), min_size=least, max_size=4))
    return (
        np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(size=shape).astype(np.float32)
    )


@examples(30)
@given(array(), st.data())
def test_slice_with_steps(agrees, x, data):
    steps = tuple(data.draw(st.sampled_from([1, 2, 3, -1, -2])) for _ in x.shape)
    starts = tuple(data.draw(st.integers(-size, size - 1)) for size in x.shape)
    stops = tuple(
        None if step < 0 or data.draw(st.booleans()) else size
        for size, step in zip(x.shape, steps, strict=True)
    )
    where = tuple(slice(*part) for part in zip(starts, stops, steps, strict=True))
    agrees(
        ops.Slice(starts=starts, stops=stops, steps=steps),
        [x],
        lambda x: torch.from_numpy(x.numpy()[where].copy()),
    )


@examples(30)
@given(array(), st.data())
def test_gather(agrees, x, data):
    """By int64 indices, or by floats that hold them."""
    axis, rng = (
        data.draw(st.integers(0, x.ndim - 1)),
        np.random.default_rng(data.draw(st.integers(0, 99))),
    )
    size = x.shape[axis]
    some = np.array(rng.integers(-size, size, size=rng.integers(1, 4, size=rng.integers(1, 3))))
    kind = data.draw(st.sampled_from([np.int64, np.float32]))
    agrees(
        ops.Gather(axis=axis),
        [x, some.astype(kind)],
        lambda x, at: torch.from_numpy(np.take(x.numpy(), at.long().numpy(), axis)),
    )
    shape = tuple(
        int(rng.integers(1, n + 1)) if k != axis else int(rng.integers(1, 7))
        for k, n in enumerate(x.shape)
    )
    every = np.array(rng.integers(0, size, size=shape))
    agrees(ops.GatherElements(axis=axis), [x, every], lambda x, at: torch.gather(x, axis, at))
    deep = int(rng.integers(1, x.ndim + 1))
    at = np.stack([rng.integers(0, n, size=(3, 2)) for n in x.shape[:deep]], axis=-1)
    agrees(ops.GatherND(), [x, at], lambda x, at: x[tuple(at.movedim(-1, 0))])


@examples(30)
@given(array(least=2), st.data())
def test_repeats(agrees, x, data):
    repeats = tuple(data.draw(st.integers(1, 3)) for _ in x.shape)
    agrees(ops.Tile(repeats=repeats), [x], lambda x: x.repeat(*repeats))
    narrow = x[:1]
    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4)), *x.shape[1:])
    agrees(ops.Expand(shape=shape), [narrow], lambda x: x.expand(shape))
    k = data.draw(st.integers(-3, 3))
    agrees(ops.Trilu(upper=True, k=k), [x], lambda x: x.triu(k))
    agrees(ops.Trilu(upper=False, k=k), [x], lambda x: x.tril(k))


@examples(30)
@given(array(), st.data())
def test_scatter(agrees, x, data):
    """Put at places that differ; added at any."""
    axis, rng = (
        data.draw(st.integers(0, x.ndim - 1)),
        np.random.default_rng(data.draw(st.integers(0, 99))),
    )
    shape = tuple(int(rng.integers(1, n + 1)) for n in x.shape)
    at = np.argsort(rng.random(x.shape), axis=axis)[tuple(slice(n) for n in shape)]
    updates = rng.normal(size=shape).astype(np.float32)
    agrees(
        ops.ScatterElements(axis=axis), [x, at, updates], lambda x, at, u: x.scatter(axis, at, u)
    )
    at = np.array(rng.integers(0, x.shape[axis], size=shape))
    agrees(
        ops.ScatterElements(axis=axis, reduction="add"),
        [x, at, updates],
        lambda x, at, u: x.scatter_add(axis, at, u),
        name="ScatterAdd",
    )
    flat, some = x.reshape(-1), rng.permutation(x.size)[: max(1, x.size // 2), None]
    values = rng.normal(size=len(some)).astype(np.float32)
    agrees(ops.ScatterND(), [flat, some, values], lambda x, at, u: x.index_put((at[:, 0],), u))
    rows, values = (
        rng.integers(0, x.shape[0], size=(3, 1)),
        rng.normal(size=(3, *x.shape[1:])).astype(np.float32),
    )
    agrees(
        ops.ScatterND(reduction="add"),
        [x, rows, values],
        lambda x, at, u: x.index_add(0, at[:, 0], u),
        name="ScatterAdd",
    )


@pytest.mark.parametrize(
    ("op", "more"),
    [
        (ops.Gather(axis=1), [np.array([3, 0, 0])]),
        (ops.Trilu(upper=False), []),
        (ops.Slice(starts=(-1, 0), stops=(None, 3), steps=(-1, 2)), []),
        (ops.ScatterND(), [np.array([[1, 1], [2, 3]]), np.array([5.0, 6.0])]),
        (ops.ScatterElements(axis=0, reduction="add"), [np.array([[1, 1, 2, 0]]), np.ones((1, 4))]),
    ],
    ids=lambda part: type(part).__name__,
)
def test_reach_is_what_moves_the_output(op, more):
    given = [np.random.default_rng(0).normal(size=(3, 4)), *more]
    base = op.run(*given)[0]
    for at in np.ndindex(*base.shape):
        mask = np.zeros(base.shape, bool)
        mask[at] = True
        steps = (Step(op, tuple(Ref(-1, k) for k in range(len(given)))),)
        reached = influence_of(steps, given, mask)
        for k, one in enumerate(given):
            if one.dtype.kind != "f":
                continue
            for index in np.ndindex(*one.shape):
                changed = [other.copy() for other in given]
                changed[k][index] += 1
                assert reached[k][index] == (op.run(*changed)[0][at] != base[at]), (at, k, index)
