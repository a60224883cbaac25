"""Sampling at computed coordinates against PyTorch's grid_sample, and ONNX Runtime's."""

import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from probe import ops
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

NAMES = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}


@given(
    st.sampled_from(sorted(NAMES)),
    st.sampled_from(["zeros", "border", "reflection"]),
    st.booleans(),
    st.integers(2, 3),
    st.data(),
)
def test_against_pytorch(agrees, mode, padding, align, rank, data):
    rank = 2 if mode == "cubic" else rank
    sizes = st.lists(st.integers(1, 5), min_size=rank, max_size=rank)
    space, out = data.draw(sizes), data.draw(sizes)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.normal(size=(2, 3, *space)).astype(np.float32)
    grid = rng.uniform(-2.5, 2.5, (2, *out, rank)).astype(np.float32)
    if mode != "nearest" and data.draw(st.booleans()):
        grid = np.round(grid * 4) / 4  # on elements, and between them
    agrees(
        ops.GridSample(mode, padding, align),
        [x, grid],
        lambda x, grid: F.grid_sample(x, grid, NAMES[mode], padding, align),
    )


@given(st.sampled_from(["linear", "nearest"]), st.sampled_from([0.0, 2.5]), st.integers(0, 99))
def test_places_in_elements(agrees, mode, fill, seed):
    rng = np.random.default_rng(seed)
    x, places = (
        rng.normal(size=(2, 3, 4, 6)).astype(np.float32),
        rng.uniform(-2, 7, (2, 5, 3, 2)).astype(np.float32),
    )
    sizes = np.array([6, 4])

    def reference(x, places):
        grid = (places * 2 + 1) / places.new_tensor(sizes) - 1
        return F.grid_sample(x - fill, grid, NAMES[mode], "zeros", False) + fill

    agrees(ops.GridSample(mode, pixels=True, fill=fill), [x, places], reference)


def test_a_place_that_is_off_moves_the_output_by_the_step_between_neighbours():
    x = np.arange(6.0)[None, None, None]
    places = np.array([[[[2.5, 0.0]]]])
    op = ops.GridSample(pixels=True)
    (allowed,) = op.error_bound(
        Evaluated((x, places), (None, np.full(places.shape, 0.25)), op.run(x, places)),
        precision_of("float32"),
    )
    assert 0.25 < allowed.item() < 0.26 + 2.5 * 0.25  # beyond the image's only row lie zeros
    nearest = ops.GridSample("nearest", pixels=True)
    given = x, np.array([[[[2.4999999, 0.0]]]])
    (allowed,) = nearest.error_bound(
        Evaluated(given, (None, None), nearest.run(*given)), precision_of("float32")
    )
    assert allowed.item() >= 1, "the nearest may be the next"


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", sorted(NAMES))
def test_a_place_that_bfloat16_does_not_hold_may_be_any_of_those_around(mode, padding):
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 300))
    places = np.array([[[[0.5, 0.0], [-0.3, 0.2], [1e6, 0.0]]]])
    op, precision = ops.GridSample(mode, padding), precision_of("bfloat16")
    (y,) = op.run(x, places)
    (allowed,) = op.error_bound(Evaluated((x, places), (None, None), (y,)), precision)
    for off in np.linspace(-1, 1, 41)[:, None] * precision.unit * [1, 0]:
        moved = places * (1 + off) + off
        assert np.all(np.abs(op.run(x, moved)[0] - y) <= allowed)
    assert padding == "reflection" or np.all(allowed[..., 2] < 0.3), "far outside all is alike"


def test_places_far_outside(agrees):
    x, grid = (
        np.random.default_rng(0).normal(size=(1, 2, 4, 7)).astype(np.float32),
        np.array([[[[1e12, 0.1], [-0.2, -3e30]]]], np.float32),
    )
    for mode in NAMES:
        agrees(
            ops.GridSample(mode),
            [x, grid],
            lambda x, grid, mode=mode: F.grid_sample(
                x, grid.clip(-9, 9), NAMES[mode], "zeros", False
            ),
        )


def test_reach_and_account():
    rng = np.random.default_rng(0)
    x, grid = rng.normal(size=(2, 3, 4, 5)), rng.uniform(-0.9, 0.9, (2, 3, 2, 2))
    for mode in NAMES:
        op = ops.GridSample(mode, "border")
        (y,) = op.run(x, grid)
        at = (1, 2, 0, 1)
        mask = np.zeros(y.shape, bool)
        mask[at] = True
        seen, places = op.influence(mask, (x, grid))
        assert places.sum() == 2 and places[1, 0, 1].all()
        changed = np.where(seen, x, rng.normal(size=x.shape))
        assert op.run(changed, grid)[0][at] == y[at]
        (terms,) = op.contributions((x, grid), (y,), at).terms
        total = sum(
            terms.factor.value[k[0]] * x[tuple(row)]
            for row, k in zip(terms.where, terms.factor_where, strict=True)
        )
        np.testing.assert_allclose(total, y[at], rtol=1e-12)


def test_it_says_how_many_coordinates_a_place_has():
    inputs = np.zeros((2, 3, 4, 5)), np.zeros((2, 7, 6, 2))
    assert "each grid point of 2 coordinates" in ops.GridSample().summary(inputs)


def test_what_lies_outside_counts_only_where_it_is_a_number():
    """Of an image of one number, places that may lie anywhere take the same from within."""
    x, grid = np.full((1, 1, 4, 5), 7.0), np.full((1, 2, 2, 2), 1.0)
    slacks = (None, np.full(grid.shape, 100.0))
    bounds = {}
    for padding in ("zeros", "border", "reflection"):
        op = ops.GridSample("linear", padding)
        of = Evaluated((x, grid), slacks, op.run(x, grid))
        bounds[padding] = op.error_bound(of, precision_of("float32"))[0].max()
    assert max(bounds["border"], bounds["reflection"]) < 1e-3 < 0.3 < bounds["zeros"]
