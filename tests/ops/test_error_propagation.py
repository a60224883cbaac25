"""Slack carried from step to step: chains of ops in float32, as fused activations and separable
convolutions are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from op_cases import CASES

from probe import ops
from probe.description import Step


@st.composite
def chains(draw, weight):
    """(x, steps, the same in PyTorch) on (batch, channel, length); each step takes what the step
    before gives."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels, length = draw(st.integers(1, 8)), draw(st.integers(6, 20))
    x = (rng.normal(size=(2, channels, length)) * 2.0 ** draw(st.floats(-4, 4))).astype(np.float32)
    steps, functions = [], []

    def normal(size, scale=1.0):
        return (rng.normal(size=size) * scale).astype(np.float32)

    for position in range(draw(st.integers(2, 5))):
        name = f"w{position}"
        kind = draw(
            st.sampled_from(
                [
                    "conv",
                    "depthwise",
                    "matmul",
                    "norm",
                    "layernorm",
                    "pool",
                    "mean",
                    "shift",
                    "softmax",
                    *ACTIVATIONS,
                ]
            )
        )
        if kind in ("conv", "depthwise"):
            groups, out = (1, draw(st.integers(1, 8))) if kind == "conv" else (channels, channels)
            kernel, scale = (
                weight(name, normal((out, channels // groups, 3), (3 * channels / groups) ** -0.5)),
                {"groups": groups},
            )
            steps.append(
                ops.Conv(
                    weight=kernel, bias=None, strides=(1,), pads=((1, 1),), dilations=(1,), **scale
                )
            )
            functions.append(
                lambda x, w, groups=groups, name=name: F.conv1d(
                    x, w[name], padding=1, groups=groups
                )
            )
            channels = out
        elif kind == "matmul":
            out = draw(st.integers(1, 20))
            steps.append(
                ops.MatMul(weight=weight(name, normal((length, out), length**-0.5)), bias=None)
            )
            functions.append(lambda x, w, name=name: x @ w[name])
            length = out
        elif kind == "norm":
            steps.append(
                ops.BatchNormalization(
                    scale=None,
                    bias=weight(name, normal(channels)),
                    mean=None,
                    variance=None,
                    epsilon=1e-3,
                )
            )
            functions.append(lambda x, w, name=name: x / (1 + 1e-3) ** 0.5 + w[name][:, None])
        elif kind == "layernorm":
            steps.append(ops.LayerNormalization(scale=None, bias=None, epsilon=1e-3, axes=(1, 2)))
            functions.append(lambda x, w: F.layer_norm(x, x.shape[1:], eps=1e-3))
        elif kind == "pool":
            steps.append(ops.MaxPool(kernel=(2,), strides=(1,), pads=((1, 0),), dilations=(1,)))
            functions.append(lambda x, w: F.max_pool1d(F.pad(x, (1, 0), value=-np.inf), 2, 1))
        elif kind == "mean":
            steps.append(
                ops.AveragePool(kernel=(3,), strides=(1,), pads=((1, 1),), count_include_pad=True)
            )
            functions.append(lambda x, w: F.avg_pool1d(x, 3, 1, 1))
        elif kind == "shift":
            steps.append(ops.AddConstant(value=weight(name, normal((channels, 1)))))
            functions.append(lambda x, w, name=name: x + w[name])
        elif kind == "softmax":
            steps.append(ops.Softmax(axis=1))
            functions.append(lambda x, w: x.softmax(1))
        else:
            steps.append(ACTIVATIONS[kind][0])
            functions.append(lambda x, w, f=ACTIVATIONS[kind][1]: f(x))

    def reference(x, **weights):
        for function in functions:
            x = function(x, weights)
        return x

    return x, tuple(map(Step, steps)), reference


ACTIVATIONS = {
    "relu": (ops.Relu(), F.relu),
    "tanh": (ops.Tanh(), torch.tanh),
    "sigmoid": (ops.Sigmoid(), torch.sigmoid),
    "gelu": (ops.Gelu(approximate="none"), F.gelu),
    "elu": (ops.Elu(), F.elu),
    "hard swish": (ops.HardSwish(), F.hardswish),
    "hard shrink": (ops.Shrink(lambd=0.5, bias=0.0), F.hardshrink),
}


@given(st.data())
def test_chain(agrees, weight, data):
    x, steps, reference = data.draw(chains(weight))
    agrees(steps, [x], reference, name="chains")


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose", "MatMul"])
def test_a_sum_is_stored_before_its_bias(name):
    op, x = CASES[name]
    (y,) = op.run_float64(x)
    (stored,) = op.intermediates([x], y)
    bare = replace(op, bias=None)
    np.testing.assert_allclose(stored, bare.run_float64(x)[0], rtol=1e-12, atol=1e-12)
    assert bare.intermediates([x], y) == ()


def test_a_log_of_a_softmax_is_stored_in_parts():
    op, x = CASES["LogSoftmax"]
    x = x.copy()
    x[0, 0, 1] = -np.inf
    with np.errstate(invalid="ignore"):
        below, of_sum, of_largest = op.intermediates([x], op.run_float64(x)[0])
    largest = x.max(axis=2, keepdims=True)
    logs = np.log(np.exp(x - largest).sum(axis=2, keepdims=True))
    finite = np.isfinite(x)
    np.testing.assert_allclose(below[finite], (largest - x)[finite])
    assert (below[~finite] == 0).all()
    np.testing.assert_allclose(of_sum[finite], -np.broadcast_to(logs, x.shape)[finite], atol=1e-12)
    np.testing.assert_allclose(of_largest[finite], np.broadcast_to(largest + logs, x.shape)[finite])
