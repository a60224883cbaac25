"""Honest arithmetic of other kinds raises no alarm, a narrow accumulator does: dense and
convolution layers in float32."""

import numpy as np
import pytest
import scipy.fft
import torch

import probe
from probe import Description, Step, Weight, ops
from probe.model import Capture
from probe.ops.linear.winograd_fft import DATA, KERNEL, OUTPUT
from probe.verdict.judge import judge
from probe.verdict.options import Yours

F = torch.nn.functional


def dense(rows=8, width=1024, units=16, scale=1.0):
    rng = np.random.default_rng(0)
    x, w = (
        (scale * rng.normal(size=size)).astype(np.float32)
        for size in ((rows, width), (width, units))
    )
    op = ops.MatMul(weight=Weight("kernel", w, w), bias=None)
    return (
        x,
        w,
        lambda y: judge(Capture("fc", "Dense", 0, (x,), (y,), "float32", Description((Step(op),)))),
    )


def in_order(x, w, product, total):
    """Sequential sums with products in one format and the running sum in another."""
    found = np.zeros((len(x), w.shape[1]), total)
    for k in range(x.shape[1]):
        found = (
            found + (x[:, k, None].astype(product) * w[k].astype(product)).astype(total)
        ).astype(total)
    return found.astype(np.float32)


@pytest.mark.parametrize(
    ("product", "total"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.float32, np.float64),
        (np.float32, np.longdouble),
    ],
)
def test_wider_accumulators_do_not_alarm(product, total):
    x, w, judged = dense()
    report = judged(in_order(x, w, product, total))
    assert report.ok, report.sentence


def test_fused_multiply_add_does_not_alarm():
    """One rounding a step: in float64 a product of two float32 numbers is exact."""
    x, w, judged = dense()
    total = np.zeros((len(x), w.shape[1]), np.float32)
    for k in range(x.shape[1]):
        total = (total.astype(np.float64) + x[:, k, None].astype(np.float64) * w[k]).astype(
            np.float32
        )
    report = judged(total)
    assert report.ok, report.sentence


@pytest.mark.parametrize("blocks", [1, 8, 32, 256])
def test_blocked_and_pairwise_sums_do_not_alarm(blocks):
    x, w, judged = dense()
    parts = [in_order(x[:, k::blocks], w[k::blocks], np.float32, np.float32) for k in range(blocks)]
    while len(parts) > 1:
        parts = [left + right for left, right in zip(parts[::2], parts[1::2], strict=True)]
    assert judged(parts[0]).ok


@pytest.mark.parametrize("scale", [1e-19, 3e-20, 1e-21])
def test_flush_to_zero_does_not_alarm(scale):
    """Products, inputs and sums below the smallest normal number taken for zero."""
    x, w, judged = dense(scale=scale)
    tiny = np.finfo(np.float32).tiny

    def flushed(values):
        return np.where(np.abs(values) < tiny, np.float32(0), values)

    total = np.zeros((len(x), w.shape[1]), np.float32)
    with np.errstate(under="ignore"):
        for k in range(x.shape[1]):
            total = flushed(total + flushed(x[:, k, None] * w[k]))
    assert judged(total).verdict != "diverge"


@pytest.mark.parametrize("product", [np.float16, np.float32])
@pytest.mark.parametrize("width", [64, 1024, 2304])
def test_float16_accumulation_alarms(product, width):
    x, w, judged = dense(width=width)
    report = judged(in_order(x, w, product, np.float16))
    assert report.verdict == "diverge"
    assert "the framework is the odd one out" in report.sentence


def test_bfloat16_accumulation_alarms():
    x, w, judged = dense()
    total = torch.zeros(len(x), w.shape[1], dtype=torch.bfloat16)
    for k in range(x.shape[1]):
        total += (torch.from_numpy(x[:, k, None]) * torch.from_numpy(w[k])).bfloat16()
    assert judged(total.float().numpy()).verdict == "diverge"


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.skipif(not torch.backends.nnpack.is_available(), reason="this PyTorch has no NNPACK")
@pytest.mark.parametrize(
    "lift",
    [lambda x: x, lambda x: np.maximum(x, 0), lambda x: x + 5],
    ids=["signed", "positive", "offset"],
)
def test_winograd_is_named_and_no_divergence(lift):
    """NNPACK's, which PyTorch takes for batches of 16 and more where oneDNN is off."""
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(64, 16, 3, padding=1)
    x = lift(np.random.default_rng(0).normal(size=(16, 64, 7, 7)).astype(np.float32))
    with torch.backends.mkldnn.flags(enabled=False):
        (report,) = probe.sweep(layer, x)
        assert report.ok, report.sentence
        assert "the framework uses a Winograd or FFT algorithm" in report.sentence
        with torch.no_grad():
            layer.weight[3, 20, 1, 1] += 0.01
            wrong = layer(torch.from_numpy(x)).numpy()
            layer.weight[3, 20, 1, 1] -= 0.01
        assert probe.check(layer, "", x, expected=wrong, search=False).verdict == "diverge"
    (plain,) = probe.sweep(layer, x)
    assert plain.ok and "transforms" not in plain.sentence


@pytest.mark.parametrize(
    ("channels", "size", "kernel"), [(3, 32, 3), (16, 28, 5), (64, 40, 7), (1, 100, 3)]
)
def test_fourier_is_named_and_no_divergence(channels, size, kernel):
    """Through the transform of the whole picture, half of which is dark."""
    rng = np.random.default_rng(0)
    x, w = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((1, channels, size, size), (4, channels, kernel, kernel))
    )
    x[:, :, : size // 2] *= np.float32(1e-2)
    y = F.conv2d(torch.from_numpy(x), torch.from_numpy(w)).numpy()
    found = scipy.fft.rfft2(x)[0] * scipy.fft.rfft2(w[:, :, ::-1, ::-1], s=(size, size))
    mine = scipy.fft.irfft2(found.sum(axis=1), s=(size, size))[None, :, kernel - 1 :, kernel - 1 :]
    assert mine.dtype == np.float32
    op = ops.Conv(Weight("kernel", w, w), None, (1, 1), ((0, 0), (0, 0)), (1, 1))
    report = judge(
        Capture("conv", "Conv2D", 0, (x,), (y,), "float32", Description((Step(op),))), Yours(mine)
    )
    assert report.ok, report.sentence
    assert "assuming that yours uses a Winograd or FFT algorithm" in report.sentence


def test_winograds_transforms_convolve():
    """Six sums over three neighbours each, out of eight numbers."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=8), rng.normal(size=3)
    np.testing.assert_allclose(
        OUTPUT @ ((KERNEL @ w) * (DATA @ x)), np.correlate(x, w, "valid"), rtol=0, atol=1e-12
    )


TANH = {
    "1 - 2 / (exp(2x) + 1)": lambda x: 1 - 2 / (np.exp(2 * x) + 1),
    "2 sigmoid(2x) - 1": lambda x: 2 / (1 + np.exp(-2 * x)) - 1,
    "a quotient": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "sinh / cosh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
}


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("form", TANH)
def test_tanh_from_exponentials_is_named_and_no_divergence(form):
    """As C code often has it, which loses digits near 0."""
    x = np.linspace(-3, 3, 4001, dtype=np.float32).reshape(1, -1)
    net = torch.nn.Sequential(torch.nn.Tanh())
    report = probe.check(net, "0", x, expected=TANH[form](x))
    assert report.verdict == "agree"
    assert "yours computes the hyperbolic tangent from exponentials" in report.sentence
    for wrong in (np.tanh(x) * np.float32(1 + 1e-5), np.tanh(x) + np.float32(2e-6), x - x**3 / 3):
        assert probe.check(net, "0", x, expected=wrong, search=False).verdict == "diverge"


@pytest.mark.parametrize(("mean", "epsilon"), [(2, 1e-6), (2, 1e-12), (10, 1e-4), (20, 1e-3)])
def test_another_epsilon_is_no_variance_from_squares(mean, epsilon):
    """What E[x^2] - E[x]^2 may lose would cover it, but these values have lost no digit."""
    layer = torch.nn.LayerNorm(64).eval()
    x = np.random.default_rng(0).normal(mean, 1, (8, 64)).astype(np.float32)
    wide = x.astype(np.float64)
    below, square = wide - wide.mean(-1, keepdims=True), (wide**2).mean(-1, keepdims=True)

    def normalised(variance, epsilon):
        return (below / np.sqrt(variance + epsilon)).astype(np.float32)

    exact = below.var(-1, keepdims=True)
    report = probe.check(layer, "", x, expected=normalised(exact, epsilon))
    assert report.verdict == "diverge" and report.findings[0].slug == "other-epsilon"
    narrow = square.astype(np.float32) - np.square(x.mean(-1, keepdims=True))
    assert probe.check(layer, "", x, expected=normalised(narrow, 1e-5)).verdict == "agree"
