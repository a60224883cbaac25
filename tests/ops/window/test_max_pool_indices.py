"""Poolings that tell places, their inverse, and by power means, against PyTorch and ONNX
Runtime."""

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops
from probe.description import Ref, Step
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck

few = examples(30)
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
ADAPTIVE = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
UNPOOL = {1: F.max_unpool1d, 2: F.max_unpool2d, 3: F.max_unpool3d}
LP = {1: F.lp_pool1d, 2: F.lp_pool2d, 3: F.lp_pool3d}


@st.composite
def pools(draw, padded=True):
    rank = draw(st.integers(1, 3))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    strides = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    pads = tuple((p, p) for p in (draw(st.integers(0, k // 2 if padded else 0)) for k in kernel))
    sizes = [
        max(1, k - sum(pad)) + draw(st.integers(0, 5)) for k, pad in zip(kernel, pads, strict=True)
    ]
    # Few values: the first of equal ones wins.
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    x = rng.integers(-2, 3, size=(draw(st.integers(1, 2)), draw(st.integers(1, 3)), *sizes)).astype(
        np.float32
    )
    return x, {"kernel": kernel, "strides": strides, "pads": pads, "ceil_mode": draw(st.booleans())}


def same_places(op, x, theirs):
    """Values and places, in NumPy and in ONNX Runtime, are PyTorch's."""
    steps = (Step(op),)
    values = recompute(steps, [x])
    for party in (values[-1], crosscheck(steps, [x], values)):
        for ours, expected in zip(party, theirs, strict=True):
            np.testing.assert_array_equal(ours, expected.numpy())


@few
@given(pools(), st.data())
def test_places_of_maxima(case, data):
    x, how = case
    rank = x.ndim - 2
    dilations = tuple(data.draw(st.integers(1, 2)) for _ in range(rank))
    spans = [(k - 1) * d + 1 for k, d in zip(how["kernel"], dilations, strict=True)]
    assume(
        all(
            size + sum(pad) >= span
            for size, pad, span in zip(x.shape[2:], how["pads"], spans, strict=True)
        )
    )
    pads = [before for before, _ in how["pads"]]
    theirs = MAX[rank](
        torch.from_numpy(x),
        how["kernel"],
        how["strides"],
        pads,
        dilations,
        how["ceil_mode"],
        return_indices=True,
    )
    assume(torch.isfinite(theirs[0]).all())  # a window that sees padding alone has no place
    same_places(ops.MaxPoolIndices(**how, dilations=dilations), x, theirs)


@few
@given(pools(padded=False), st.data())
def test_places_of_adaptive_maxima(case, data):
    x, _ = case
    sizes = tuple(data.draw(st.integers(1, 4)) for _ in x.shape[2:])
    theirs = ADAPTIVE[x.ndim - 2](torch.from_numpy(x), sizes, return_indices=True)
    same_places(ops.AdaptiveMaxPoolIndices(output_size=sizes), x, theirs)


def test_nan_wins_and_the_last_of_them():
    x = np.array([[[1, np.nan, 3, np.nan, 9, 2.0]]], np.float32)
    theirs = F.max_pool1d(torch.from_numpy(x), 3, 3, return_indices=True)
    ours = recompute((Step(ops.MaxPoolIndices((3,), (3,), ((0, 0),), (1,))),), [x])[-1]
    for mine, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, expected.numpy())


@few
@given(pools(padded=False))
def test_max_unpool(case):
    x, how = case
    rank = x.ndim - 2
    assume(not how["ceil_mode"])
    x += np.random.default_rng(0).random(x.shape, np.float32)
    largest, places = MAX[rank](
        torch.from_numpy(x), how["kernel"], how["kernel"], return_indices=True
    )
    theirs = UNPOOL[rank](largest, places, how["kernel"], output_size=x.shape[2:]).numpy()
    steps = (Step(ops.MaxUnpool(sizes=x.shape[2:]), (Ref(-1, 0), Ref(-1, 1))),)
    given = [largest.numpy(), places.numpy()]
    values = recompute(steps, given)
    np.testing.assert_array_equal(values[-1][0], theirs)
    np.testing.assert_array_equal(crosscheck(steps, given, values)[0], theirs)


@few
@given(pools(padded=False), st.sampled_from([2, 1, 3.0, 4, 1.5]), st.booleans())
def test_lp_pool(agrees, case, p, positive):
    x, how = case
    rank = x.ndim - 2
    x += np.random.default_rng(0).random(x.shape, np.float32)
    x = np.abs(x) if positive or p not in (2, 4) else x
    op = ops.LpPool(
        kernel=how["kernel"],
        strides=how["strides"],
        pads=how["pads"],
        p=float(p),
        ceil_mode=how["ceil_mode"],
    )
    kernel, strides = (how[key][0] if rank == 1 else how[key] for key in ("kernel", "strides"))
    agrees(op, [x], lambda x: LP[rank](x, p, kernel, strides, how["ceil_mode"]))


def test_the_largest_of_a_window_is_where_it_is_said_to_be():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6))
    op = ops.FractionalMaxPool((2, 3), (np.tile([0, 3], (2, 3, 1)), np.tile([0, 1, 3], (2, 3, 1))))
    outputs = op.run(x)
    account = op.contributions([x], outputs, (1, 2, 1, 2))
    assert x[tuple(account.terms[0].where[0])] == outputs[0][1, 2, 1, 2] == x[1, 2, 3:5, 3:6].max()
    assert {tuple(at) for at in account.stages[0].members.where} == {
        (1, 2, row, column) for row in (3, 4) for column in (3, 4, 5)
    }
