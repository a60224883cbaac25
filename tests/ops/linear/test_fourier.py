"""Fourier transforms against PyTorch's and TensorFlow's, and ONNX Runtime's."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from lazy import tf

from probe import Ref, Step, ops


def both_parts(op, parts):
    """The real parts and the imaginary ones behind them, as one output."""
    return (
        Step(op, tuple(Ref(-1, k) for k in range(len(parts)))),
        Step(ops.Concat(axis=-1), (Ref(0, 0), Ref(0, 1))),
    )


SIZES = [1, 2, 3, 5, 8, 12, 17, 31, 64, 97, 128, 250, 1000, 1024]


@given(
    st.sampled_from(SIZES),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["noise", "tone", "far"]),
    st.integers(0, 99),
)
def test_a_line(agrees, size, inverse, both, kind, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(2, 3, size)) for _ in range(1 + both)]
    if kind == "tone":
        parts = [part * 1e-3 + np.cos(2 * np.pi * 3 * np.arange(size) / size) for part in parts]
    parts = [(part + (100 if kind == "far" else 0)).astype(np.float32) for part in parts]
    scale = 1 / size if inverse else 1.0

    def reference(*parts):
        x = torch.complex(parts[0], parts[1] if both else torch.zeros_like(parts[0]))
        x = torch.fft.ifft(x) if inverse else torch.fft.fft(x)
        return torch.cat([x.real, x.imag], -1)

    def other(*parts):
        x = tf.complex(parts[0], parts[1] if both else np.zeros_like(parts[0]))
        x = tf.signal.ifft(x) if inverse else tf.signal.fft(x)
        return tf.concat([tf.math.real(x), tf.math.imag(x)], -1).numpy()

    agrees(
        both_parts(ops.Fourier(inverse=inverse, scale=scale), parts),
        parts,
        reference,
        other,
        name="Fourier",
    )


@given(st.lists(st.integers(1, 7), min_size=3, max_size=3), st.booleans(), st.integers(0, 99))
def test_several_axes(agrees, shape, inverse, seed):
    parts = [
        np.random.default_rng(seed + k).normal(size=(2, *shape)).astype(np.float32) for k in (0, 1)
    ]

    def reference(real, imaginary):
        x = torch.complex(real, imaginary)
        x = (torch.fft.ifftn if inverse else torch.fft.fftn)(x, dim=(1, 3))
        return torch.cat([x.real, x.imag], -1)

    op = ops.Fourier((1, 3), inverse, 1 / (shape[0] * shape[2]) if inverse else 1.0)
    agrees(both_parts(op, parts), parts, reference, name="Fourier")


def test_reach_and_account():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(2, 5, 3)) for _ in range(2)]
    for op in (ops.Fourier((1,)), ops.Fourier((1, 2), True, 1 / 15)):
        y = op.run(*parts)
        mask = np.zeros(y[0].shape, bool)
        mask[1, 2, 1] = True
        assert [int(one.sum()) for one in op.influence(mask, parts)] == [op.count(parts)] * 2
        terms = op.contributions(parts, y, (1, 2, 1)).terms
        told = [
            parts[k][tuple(row)] * one.factor.value[at]
            for k, one in enumerate(terms)
            for at, row in enumerate(one.where)
        ]
        assert math.isclose(math.fsum(told), y[0][1, 2, 1], rel_tol=1e-12)


def test_it_says_what_it_transforms():
    x = np.zeros((2, 6))
    op = ops.Fourier(axes=(1,))
    assert "real" in op.summary((x,)) and "complex" not in op.summary((x,))
    assert "complex" in op.summary((x, x)) and "real" not in op.summary((x, x))
