"""Normalisations against PyTorch, Keras and ONNX Runtime, on inputs near zero, far from it, and
nearly constant."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from lazy import keras

import probe
from probe import ops

EPSILONS = st.sampled_from([1e-3, 1e-5, 1e-6, 0.1])


@st.composite
def activations(draw, least=2):
    """(x, rng): a batch whose mean may be many of its deviations away from zero."""
    shape = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 12)),
        *draw(st.lists(st.integers(1, 7), min_size=least - 2, max_size=3)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(draw(st.sampled_from([0, 0, 1, 10, 100])), 1, size=shape) * 2.0 ** draw(
        st.floats(-5, 5)
    )
    return x.astype(np.float32), rng


def parameters(draw, weight, rng, shape, names):
    """Each of the parameters, or None; the variance positive, small ones among them."""
    made = {}
    for name in names:
        array = rng.normal(size=shape)
        array = np.exp(3 * array) if name == "variance" else array
        made[name] = weight(name, array.astype(np.float32)) if draw(st.booleans()) else None
    return made


@given(activations(), EPSILONS, st.data())
def test_batch_normalization(agrees, weight, case, epsilon, data):
    (x, rng), axis = case, data.draw(st.integers(-case[0].ndim, case[0].ndim - 1))
    given_ = parameters(
        data.draw, weight, rng, x.shape[axis], ["scale", "bias", "mean", "variance"]
    )

    def by_torch(x, scale=None, bias=None, mean=None, variance=None):
        x = x.movedim(axis, 0)[None]
        mean = torch.zeros(x.shape[1], dtype=x.dtype) if mean is None else mean
        variance = torch.ones(x.shape[1], dtype=x.dtype) if variance is None else variance
        return F.batch_norm(x, mean, variance, scale, bias, eps=epsilon)[0].movedim(0, axis)

    def by_keras(x, scale=None, bias=None, mean=None, variance=None):
        size = x.shape[axis]
        mean, variance = (
            np.zeros(size, "f") if mean is None else mean,
            np.ones(size, "f") if variance is None else variance,
        )
        return keras.ops.batch_normalization(
            x, mean, variance, axis, offset=bias, scale=scale, epsilon=epsilon
        )

    agrees(ops.BatchNormalization(**given_, epsilon=epsilon, axis=axis), [x], by_torch, by_keras)


@given(activations(), EPSILONS, st.data())
def test_layer_normalization(agrees, weight, case, epsilon, data):
    """PyTorch's is over the trailing axes, Keras' over any."""
    x, rng = case
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))))
    given_ = parameters(
        data.draw, weight, rng, tuple(x.shape[axis] for axis in axes), ["scale", "bias"]
    )
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    back = np.argsort([*rest, *axes]).tolist()

    def by_torch(x, scale=None, bias=None):
        return F.layer_norm(
            x.permute(*rest, *axes), [x.shape[axis] for axis in axes], scale, bias, epsilon
        ).permute(back)

    def by_keras(x, scale=None, bias=None):
        layer = keras.layers.LayerNormalization(
            axis=list(axes), epsilon=epsilon, scale=scale is not None, center=bias is not None
        )
        layer.build(x.shape)
        layer.set_weights([one for one in (scale, bias) if one is not None])
        return layer(x)

    op = ops.LayerNormalization(**given_, epsilon=epsilon, axes=axes)
    agrees(op, [x], by_torch, by_keras if x.shape[0] > 0 and 0 not in axes else None)


@given(activations(), st.integers(1, 4), EPSILONS, st.data())
def test_group_normalization(agrees, weight, case, groups, epsilon, data):
    x, rng = case
    x = np.concatenate([x] * groups, axis=1) if x.shape[1] % groups else x
    assume(x[0].size > groups)  # PyTorch refuses groups of one element
    x = (x + rng.normal(0, 0.1, x.shape) * np.abs(x).mean()).astype(np.float32)
    given_ = parameters(data.draw, weight, rng, x.shape[1], ["scale", "bias"])

    def by_keras(x, scale=None, bias=None):
        layer = keras.layers.GroupNormalization(
            groups, axis=1, epsilon=epsilon, scale=scale is not None, center=bias is not None
        )
        layer.build(x.shape)
        layer.set_weights([one for one in (scale, bias) if one is not None])
        return layer(x)

    op = ops.GroupNormalization(**given_, groups=groups, epsilon=epsilon)
    agrees(
        op,
        [x],
        lambda x, scale=None, bias=None: F.group_norm(x, groups, scale, bias, epsilon),
        by_keras,
    )


@pytest.mark.parametrize("offset", [0, 3, 1000])
def test_at_real_sizes(agrees, offset):
    """Long rows and wide groups, with a mean up to a thousand deviations away."""
    x = np.random.default_rng(offset).normal(offset, 1, size=(4, 64, 14, 15)).astype(np.float32)
    agrees(
        ops.GroupNormalization(scale=None, bias=None, groups=8, epsilon=1e-5),
        [x],
        lambda x: F.group_norm(x, 8),
        None,
    )
    row = x.reshape(64, -1)
    agrees(
        ops.LayerNormalization(scale=None, bias=None, epsilon=1e-5, axes=(1,)),
        [row],
        lambda x: F.layer_norm(x, x.shape[1:]),
        lambda x: keras.layers.LayerNormalization(epsilon=1e-5, scale=False, center=False)(x),
    )


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (torch.nn.BatchNorm1d(4).train(), (0, 4)),
        (torch.nn.LayerNorm(4), (0, 4)),
        (torch.nn.GroupNorm(2, 4), (0, 4, 3)),
    ],
    ids=["batch", "layer", "group"],
)
def test_no_samples_have_no_mean(module, shape):
    """NumPy warns of one."""
    report = probe.check(module, "", np.zeros(shape, np.float32))
    assert "the output is empty" in report.sentence
