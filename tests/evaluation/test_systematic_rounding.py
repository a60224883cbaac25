"""Sums that do not err by chance: smooth signals, few levels, terms that are nearly equal, and one
that outweighs all others."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_seed import RNG
from representatives import exhaustive
from torch import nn
from torch_functions import Net

import probe

SHAPE = (1, 3, 160, 160)


def waves():
    """Slow ones, of mean 0."""
    phase = np.linspace(0, 2 * np.pi, SHAPE[-1])
    x = np.stack(
        [
            np.sin(phase[:, None] + 0 * phase),
            np.sin(phase + 0 * phase[:, None]),
            5 * np.sin(phase[:, None] / 2 + phase),
        ]
    )
    x = x + 0.05 * RNG.normal(size=x.shape)
    return (x - x.mean((1, 2), keepdims=True))[None]


SIGNALS = {
    "waves": waves,
    "two levels": lambda: np.where(RNG.normal(size=SHAPE) > 0, 0.3, -0.7),
    "bytes": lambda: np.round(RNG.uniform(0, 255, size=SHAPE)) / 255,
    "nearly flat": lambda: 0.3 + 1e-6 * RNG.normal(size=SHAPE),
    "a ramp": lambda: np.broadcast_to(np.linspace(0, 1, SHAPE[-1]), SHAPE),
}


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize(
    "model",
    [
        *(
            nn.LayerNorm(160),
            nn.LayerNorm((160, 160)),
            nn.GroupNorm(1, 3),
            nn.InstanceNorm2d(3),
            nn.RMSNorm((160, 160)),
            nn.Softmax(2),
        ),
        *(
            nn.AdaptiveAvgPool2d((7, 5)),
            nn.AvgPool2d(40),
            nn.AdaptiveAvgPool2d(1),
            nn.Linear(160, 5),
            nn.Conv2d(3, 2, 15),
            nn.LPPool2d(2, 8),
        ),
        *(
            Net(lambda x: x.logsumexp((2, 3))),
            Net(lambda x: x.flatten(2).cumsum(2)),
            Net(lambda x: x.std((2, 3))),
            Net(lambda x: x.sum((2, 3))),
        ),
        *(
            Net(lambda x: x @ x.mT),
            Net(lambda x: F.normalize(x.flatten(2), dim=2)),
            Net(lambda x: x.flatten(2).norm(dim=2)),
        ),
        *(
            Net(lambda x: torch.fft.fft2(x).imag),
            Net(lambda x: F.scaled_dot_product_attention(x, x, x)),
            Net(lambda x: x.var()),
        ),
    ],
    ids=str,
)
def test_no_alarm(model, signal):
    """Partial sums that wander, and terms so alike that they are all rounded the same way."""
    reports = list(probe.sweep(model.eval(), SIGNALS[signal]().astype(np.float32)))
    assert reports
    for report in reports:
        few = report.verdict == "unchecked" and "own range" in report.sentence
        assert (report.ok or few) and all(one.ok for one in report.comparisons.values()), str(
            report
        )


@pytest.mark.parametrize("size", [16_384, 65_536])
def test_means_that_are_0_because_much_cancels(size):
    """ONNX Runtime adds a row up one after the other: 4 allowances of a random order."""
    rising = np.sort(RNG.normal(size=(8, size)), axis=1)
    x = (rising - rising.mean(axis=1, keepdims=True)).astype(np.float32)
    for norm, rows in ((nn.LayerNorm(size), x), (nn.GroupNorm(2, 2), x.reshape(4, 2, size))):
        (report,) = probe.sweep(norm, rows)
        assert report.ok, report.sentence


@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("low", [-16.5, *exhaustive(-12.0, -17.5)])
@pytest.mark.parametrize(
    "model", [nn.Softmax(-1), nn.LogSoftmax(-1), Net(lambda x: x.logsumexp(-1))], ids=str
)
def test_a_sure_answer_among_many(model, low):
    """A language model's: the sum of the exponentials is 1, and none of the others is large enough
    to move it."""
    x = low + 0.3 * RNG.normal(size=(4, 200_000))
    x[:, 7] = 0
    x = (x + np.arange(4)[:, None]).astype(np.float32)
    for report in probe.sweep(model, x):
        assert report.ok, report.sentence
    y = np.asarray(report.outputs["framework"])
    assert not probe.check(model, report.layer, x, expected=y * np.float32(1.02)).ok


def test_a_bias_that_outweighs_the_terms_it_is_added_to():
    """Kernels that start from the bias round every partial sum to its last place."""
    model = nn.Conv2d(64, 64, 7, padding=3, groups=64)
    with torch.no_grad():
        model.weight.copy_(
            torch.from_numpy(np.random.default_rng(0).normal(0, 0.01, model.weight.shape))
        )
        model.bias.fill_(1.0625)
    (report,) = probe.sweep(
        model, np.random.default_rng(1).normal(size=(8, 64, 64, 64)).astype(np.float32)
    )
    assert report.ok, report.sentence


def test_a_product_of_two_long_vectors():
    """Its result has no axes, and nearly all of its terms are rounded the same way."""
    x = (0.3 + 1e-6 * np.random.default_rng(0).normal(size=(2, 3_000_000))).astype(np.float32)
    *_, report = probe.sweep(Net(lambda x: x[0] @ x[1]), x)
    assert report.ok, report.sentence
