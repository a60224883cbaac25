"""Ops of preprocessing and of masks against PyTorch and ONNX Runtime."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops

SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4)
SEEDS = st.integers(0, 2**32 - 1)


def drawn(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@given(
    shape=SHAPES,
    seed=SEEDS,
    boundaries=st.lists(st.floats(-2, 2, width=16), min_size=1, max_size=6, unique=True).map(
        sorted
    ),
)
@examples(20)
def test_bucketize(agrees, shape, seed, boundaries):
    x = drawn(shape, seed)
    x.flat[0] = boundaries[-1]
    agrees(
        ops.Bucketize(boundaries=tuple(boundaries)),
        [x],
        lambda v: torch.bucketize(v, torch.tensor(boundaries, dtype=v.dtype), right=True),
    )


@given(shape=SHAPES, seed=SEEDS, depth=st.integers(1, 6))
@examples(15)
def test_one_hot(agrees, shape, seed, depth):
    x = np.random.default_rng(seed).integers(0, depth, shape)
    agrees(ops.OneHot(depth=depth), [x], lambda v: torch.nn.functional.one_hot(v, depth).double())


def test_one_hot_of_no_place(agrees):
    agrees(
        ops.OneHot(depth=3),
        [np.array([-1, 3, 1])],
        lambda v: torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 1, 0]]).double(),
    )


@given(seed=SEEDS, modulus=st.sampled_from([0, 2, 3]))
@examples(10)
def test_lookup(agrees, seed, modulus):
    keys, values = (12, 7, -3), (2, 9, 4)
    x = np.random.default_rng(seed).choice([12, 7, -3, 0, 5, 100], (3, 4))

    def reference(v):
        out = torch.full_like(v, 1) + (torch.remainder(v, modulus) if modulus else 0)
        for key, value in zip(keys, values, strict=True):
            out = torch.where(v == key, value, out)
        return out

    agrees(ops.Lookup(keys=keys, values=values, default=1, modulus=modulus), [x], reference)


@given(seed=SEEDS, shape=SHAPES, invert=st.booleans())
@examples(20)
def test_standardize(agrees, weight, seed, shape, invert):
    rng = np.random.default_rng(seed)
    mean, variance = (
        weight(name, rng.uniform(0, 3, shape[-1]).astype("float32"))
        for name in ("mean", "variance")
    )
    op = ops.Standardize(mean=mean, variance=variance, epsilon=1e-7, invert=invert)

    def reference(v, mean, variance):
        deviation = torch.clamp(torch.sqrt(variance), min=1e-7)
        return v * deviation + mean if invert else (v - mean) / deviation

    agrees(op, [drawn(shape, seed)], reference)


@given(seed=SEEDS, ends=st.sampled_from([(0.0, 255.0), (-1.0, 1.0)]))
@examples(15)
def test_auto_contrast(agrees, seed, ends):
    low, high = ends

    def reference(v):
        least, most = v.amin((1, 2), keepdim=True), v.amax((1, 2), keepdim=True)
        return torch.clamp((v - least) / (most - least) * (high - low) + low, low, high)

    x = np.random.default_rng(seed).uniform(low, high, (2, 5, 4, 3)).astype("float32")
    agrees(ops.AutoContrast(axes=(1, 2), low=low, high=high), [x], reference)


@given(seed=SEEDS, steps=st.integers(1, 7), keepdims=st.booleans(), axis=st.sampled_from([1, 2]))
@examples(20)
def test_masks(agrees, seed, steps, keepdims, axis):
    rng = np.random.default_rng(seed)
    mask = rng.random((3, steps)) < 0.6
    mask[:, 0] = True
    x = drawn((3, steps, 4) if axis == 1 else (3, 4, steps), seed)

    def reference(v, kept):
        wide = kept[:, :, None] if axis == 1 else kept[:, None]
        total = torch.where(wide, v, 0.0).sum(axis, keepdim=keepdims)
        return total / wide.sum(axis, keepdim=keepdims)

    agrees(ops.MaskedMean(axis=axis, keepdims=keepdims), [x, mask], reference)
    wide = mask[:, :, None] if axis == 1 else mask[:, None]
    agrees(ops.Fill(value=-1e9), [x, wide], lambda v, kept: torch.where(kept, v, -1e9))
    agrees(ops.Lower(value=-100.0), [x, wide], lambda v, kept: torch.where(kept, v, v - 100.0))
    agrees(ops.MaskSteps(value=0.0), [np.where(wide, x, np.float32(0))], lambda v: v)


def test_what_a_mask_hides_does_not_matter():
    x, mask = np.array([[0.0, 2.0, 3.0]]), np.array([[1.0, 0.0, 1.0]])
    of_x, of_mask = ops.Fill(value=0.5).influence(np.ones(x.shape, bool), (x, mask))
    np.testing.assert_array_equal(of_x, [[True, False, True]])
    assert of_mask.all()
