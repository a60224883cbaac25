"""Attention against PyTorch, TensorFlow's own arithmetic and ONNX Runtime, over shapes, masks and
head groups."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops
from probe.description import Ref, Step, Weight
from probe.explanation.receptive_field import influence_of
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

SEED = st.integers(0, 2**32 - 1)
MASKS = {"keep": bool, "drop": bool, "add": np.float32}


def normal(rng, shape):
    return rng.normal(rng.choice([0.0, 1.0]), rng.choice([0.3, 1.5]), size=shape).astype(np.float32)


def scores_of(op, q, k, masks):
    """What PyTorch's arithmetic gives for the masked scores; nothing of the op but its fields."""
    scores = torch.matmul(q, k.transpose(-1, -2)) * op.scale
    rows, columns = torch.arange(q.shape[-2])[:, None], torch.arange(k.shape[-2])
    allowed = torch.ones(scores.shape[-2:], dtype=torch.bool)
    allowed = allowed & (columns <= rows) if op.causal else allowed
    allowed = allowed & ((rows - columns).abs() < op.window) if op.window is not None else allowed
    for kind, mask in zip(op.masks, masks, strict=True):
        if kind == "add":
            scores = scores + mask
        else:
            allowed = allowed & (mask if kind == "keep" else ~mask)
    return scores, allowed


def reference(op, q, k, v, *masks):
    if op.groups > 1:
        k, v = (x.repeat_interleave(op.groups, -3) for x in (k, v))
    scores, allowed = scores_of(op, q, k, masks)
    fill = {"mean": -3e38}.get(op.empty, -torch.inf)
    weights = torch.where(allowed, scores, fill).softmax(-1)
    weights = (
        torch.where(allowed.any(-1, keepdim=True), weights, scores.softmax(-1))
        if op.empty == "raw"
        else weights
    )
    return torch.nan_to_num(weights) @ v if op.empty == "zero" else weights @ v


@examples(40)
@given(
    lead=st.lists(st.integers(1, 3), max_size=3),
    queries=st.integers(1, 9),
    positions=st.integers(1, 40),
    sizes=st.tuples(st.integers(1, 20), st.integers(1, 6)),
    kinds=st.lists(st.sampled_from(list(MASKS)), max_size=2),
    causal=st.booleans(),
    window=st.sampled_from([None, None, 1, 3]),
    empty=st.sampled_from(["zero", "mean", "raw"]),
    seed=SEED,
)
def test_attention(agrees, lead, queries, positions, sizes, kinds, causal, window, empty, seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 2])) if lead else 1
    lead = [*lead[:-1], lead[-1] * groups] if lead else []
    keyed = [*lead[:-1], lead[-1] // groups] if lead else []
    q, k, v = (
        normal(rng, (*lead, queries, sizes[0])),
        normal(rng, (*keyed, positions, sizes[0])),
        normal(rng, (*keyed, positions, sizes[1])),
    )
    masks = []
    for kind in kinds:
        shape = [1 if rng.random() < 0.3 else size for size in (*lead, queries, positions)]
        masks.append(normal(rng, shape) if kind == "add" else rng.random(shape) < 0.5)
    op = ops.Attention(sizes[0] ** -0.5, tuple(kinds), causal, window, groups, empty)
    agrees(op, [q, k, v, *masks], lambda *x: reference(op, *x))


@pytest.mark.parametrize(("groups", "causal"), [(1, True), (1, False), (4, True)])
def test_blocks_of_rows(agrees, groups, causal):
    """More scores than one block has; the output of PyTorch's own kernel."""
    rng = np.random.default_rng(groups)
    q, k, v = (
        normal(rng, (2, heads, n, 16))
        for heads, n in ((4, 300), (4 // groups, 700), (4 // groups, 700))
    )
    op = ops.Attention(0.25, causal=causal, groups=groups, empty="zero")
    agrees(
        op,
        [q, k, v],
        lambda *x: torch.nn.functional.scaled_dot_product_attention(
            *x, is_causal=causal, enable_gqa=True
        ),
    )


@pytest.mark.parametrize("weights", ["each", "mean"])
def test_weights_are_an_output(agrees, weights):
    rng = np.random.default_rng(3)
    q, k, v = normal(rng, (2, 3, 5, 8)), normal(rng, (2, 3, 7, 8)), normal(rng, (2, 3, 7, 4))
    op = ops.Attention(8**-0.5, ("keep",), weights=weights)
    mask = rng.random((5, 7)) < 0.7
    mask[:, 0] = True
    wide = [x.astype(np.float64) for x in (q, k, v)]
    scores, allowed = scores_of(op, *map(torch.tensor, wide[:2]), [torch.tensor(mask)])
    shares = torch.where(allowed, scores, -torch.inf).softmax(-1)
    theirs = shares if weights == "each" else shares.mean(1)
    np.testing.assert_allclose(op.run(*wide, mask)[1], theirs, atol=1e-15)
    steps = (Step(op, tuple(Ref(-1, i) for i in range(4))), Step(ops.Outputs(), (Ref(0, 1),)))
    agrees(steps, [q, k, v, mask], None)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 40.0, 3e4])
def test_scores_of_any_size(agrees, scale):
    """From means of everything to the value of a single position."""
    rng = np.random.default_rng(5)
    q, k, v = (rng.normal(size=(2, 3, 6, 8)).astype(np.float32) for _ in range(3))
    op = ops.Attention(scale)
    agrees(
        op,
        [q, k, v],
        lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale),
    )


@examples(20)
@given(
    lead=st.lists(st.integers(1, 3), max_size=1),
    n=st.integers(1, 6),
    m=st.integers(1, 9),
    d=st.integers(1, 12),
    seed=SEED,
)
def test_additive_attention(agrees, lead, n, m, d, seed):
    rng = np.random.default_rng(seed)
    q, k, v = normal(rng, (*lead, n, d)), normal(rng, (*lead, m, d)), normal(rng, (*lead, m, 3))
    shapes = {"outer": (d,), "inner": (), "gain": ()}
    arrays = {
        name: np.array(normal(rng, shape)) for name, shape in shapes.items() if rng.random() < 0.6
    }
    parts = {name: Weight(name, array, array) for name, array in arrays.items()}
    op = ops.AdditiveAttention(1.0, causal=bool(rng.random() < 0.3), empty="raw", **parts)

    def theirs(q, k, v, outer=1.0, inner=1.0, gain=1.0):
        scores = (torch.tanh(inner * (q[..., :, None, :] + k[..., None, :, :])) * outer).sum(
            -1
        ) * gain
        if op.causal:
            scores = scores.masked_fill(torch.ones(n, m).triu(1).bool(), -torch.inf)
        return scores.softmax(-1) @ v

    agrees(op, [q, k, v], theirs)


def test_terms_add_up_and_reach_is_what_moves_the_output():
    rng = np.random.default_rng(0)
    q, k, v = (
        rng.normal(size=(2, 4, 3, 5)),
        rng.normal(size=(2, 2, 4, 5)),
        rng.normal(size=(2, 2, 4, 2)),
    )
    op = ops.Attention(0.5, causal=True, groups=2)
    (y,) = op.run(q, k, v)
    where = tuple(np.array(one) for one in ((1, 0), (3, 1), (1, 2), (0, 1)))
    np.testing.assert_allclose(op.terms([q, k, v], where).sum(axis=(1, 2)), y[where], atol=1e-14)
    at = (1, 3, 1, 0)
    account = op.contributions([q, k, v], [y], at)
    (terms,) = account.terms
    taken = v[tuple(terms.where.T)] * terms.factor.value[terms.factor_where[:, 0]]
    assert (
        len(taken) == 2
        and np.isclose(taken.sum(), y[at])
        and "0 to the other 2" in account.stages[0].words
    )
    mask = np.zeros(y.shape, bool)
    mask[at] = True
    for i, reached in enumerate(
        influence_of((Step(op, (Ref(-1, 0), Ref(-1, 1), Ref(-1, 2))),), [q, k, v], mask)
    ):
        moves = np.zeros(reached.shape, bool)
        for index in np.ndindex(*reached.shape):
            given = [q.copy(), k.copy(), v.copy()]
            given[i][index] += 1
            moves[index] = op.run(*given)[0][at] != y[at]
        np.testing.assert_array_equal(reached, moves)


def bound_of(op, q, k, v, slacks=(None, None, None)):
    inputs = (q, k, v)
    return op.error_bound(
        Evaluated(inputs, slacks, op.run_float64(*inputs)), precision_of("float32")
    )[0]


def drawn():
    rng = np.random.default_rng(11)
    return [rng.normal(size=size) for size in ((2, 3, 1, 32), (2, 3, 9, 32), (2, 3, 9, 4))]


def test_a_query_is_allowed_what_it_is_allowed_alone():
    q, k, v = drawn()
    op = ops.Attention(0.25)
    np.testing.assert_allclose(
        bound_of(op, np.tile(q, (1, 1, 5, 1)), k, v),
        np.tile(bound_of(op, q, k, v), (1, 1, 5, 1)),
        rtol=1e-4,
    )


def test_large_queries_of_small_keys_are_as_others():
    q, k, v = drawn()
    op, times = ops.Attention(0.25), 2.0**70
    np.testing.assert_allclose(
        bound_of(op, q * times, k / times, v), bound_of(op, q, k, v), rtol=1e-3
    )


@pytest.mark.parametrize("which", [0, 1, 2], ids=["queries", "keys", "values"])
def test_a_slack_covers_what_it_moves(which):
    """Each number by its own sign."""
    inputs, op, rng = drawn(), ops.Attention(0.25), np.random.default_rng(0)
    slacks = [None, None, None]
    slacks[which] = 1e-3 * np.abs(inputs[which])
    (y,) = op.run_float64(*inputs)
    squares = np.zeros(y.shape)
    for _ in range(200):
        moved = list(inputs)
        moved[which] = moved[which] + slacks[which] * rng.choice([-1, 1], size=moved[which].shape)
        squares += np.square(op.run_float64(*moved)[0] - y)
    assert (np.sqrt(squares / 200) <= 1.2 * bound_of(op, *inputs, slacks)).all()


def test_the_slack_of_an_added_mask_covers_what_it_moves():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 3, n, 8)) for n in (5, 7, 7))
    mask = rng.normal(size=(1, 3, 5, 7))
    mask[..., 4] = -1e9
    op = ops.Attention(scale=8**-0.5, masks=("add",))
    (exact,), off = op.run_float64(q, k, v, mask), 1e-3 * np.abs(mask)
    (bound,) = op.error_bound(
        Evaluated((q, k, v, mask), (None, None, None, off), (exact,)), precision_of("float32")
    )
    (narrow,) = op.error_bound(
        Evaluated((q, k, v, mask), (None,) * 4, (exact,)), precision_of("float32")
    )
    squares = np.zeros(exact.shape)
    for _ in range(200):
        moved = mask + off * rng.choice([-1, 1], size=mask.shape)
        squares += np.square(op.run_float64(q, k, v, moved)[0] - exact) / 200
    assert (np.sqrt(squares) <= 1.2 * bound).all()
    assert (bound <= 30 * np.sqrt(squares).max()).all() and narrow.max() < 1e-2 * bound.max()


@pytest.mark.parametrize("shape", [(1, 1, 5, 8), (1, 1, 6, 7), (9,)])
def test_a_mask_of_other_queries_or_keys_is_no_mask_of_these(shape):
    q, k, v = (np.ones((1, 2, size, 3)) for size in (5, 7, 7))
    with pytest.raises(ValueError, match="a mask of"):
        ops.Attention(scale=1.0, masks=("drop",)).run(q, k, v, np.zeros(shape, bool))
