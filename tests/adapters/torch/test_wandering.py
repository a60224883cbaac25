"""Sums whose partial sums go far from where a random order would take them: smooth signals, and one term that outweighs all others."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import probe

RNG = np.random.default_rng(0)
PHASE = np.linspace(0, 2 * np.pi, 256)
WAVES = np.stack([np.sin(PHASE[:, None] + 0 * PHASE), np.sin(PHASE + 0 * PHASE[:, None]), 5 * np.sin(PHASE[:, None] / 2 + PHASE)])
WAVES = WAVES + 0.05 * RNG.normal(size=WAVES.shape)
WAVES = (WAVES - WAVES.mean((1, 2), keepdims=True)).astype(np.float32)[None]
"""(1, 3, 256, 256): slow waves of mean 0."""


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "model",
    [
        *(nn.LayerNorm(256), nn.LayerNorm((256, 256)), nn.GroupNorm(3, 3), nn.GroupNorm(1, 3), nn.InstanceNorm2d(3), nn.RMSNorm(256)),
        *(nn.AdaptiveAvgPool2d((7, 5)), nn.AvgPool2d(64), nn.Linear(256, 5), nn.Conv2d(3, 2, 31), nn.LPPool2d(2, 16), nn.Softmax(2)),
        *(Net(lambda x: x.logsumexp((2, 3))), Net(lambda x: x.cumsum(3)), Net(lambda x: x.std((2, 3))), Net(lambda x: x.sum(3))),
        *(Net(lambda x: x @ x.mT), Net(lambda x: torch.fft.fft2(x).imag), Net(lambda x: F.scaled_dot_product_attention(x, x, x))),
    ],
    ids=str,
)
def test_slow_waves(model):
    reports = list(probe.sweep(model.eval(), WAVES))
    assert [one.verdict for one in reports] == ["agree"] * len(reports), "\n".join(str(one) for one in reports if not one.ok)


@pytest.mark.parametrize("size", [16_384, 65_536])
def test_means_that_are_0_because_much_cancels(size):
    """ONNX Runtime adds a row up one after the other: 4 allowances of a random order."""
    rising = np.sort(RNG.normal(size=(8, size)), axis=1)
    x = (rising - rising.mean(axis=1, keepdims=True)).astype(np.float32)
    for report in probe.sweep(nn.LayerNorm(size), x):
        assert report.ok, report.sentence
    for report in probe.sweep(nn.GroupNorm(2, 2), x.reshape(4, 2, size)):
        assert report.ok, report.sentence


@pytest.mark.parametrize("low", [-12.0, -16.5, -17.5])
@pytest.mark.parametrize("model", [nn.Softmax(-1), nn.LogSoftmax(-1), Net(lambda x: x.logsumexp(-1))], ids=str)
def test_a_sure_answer_among_many(model, low):
    """A language model's: the sum of the exponentials is 1, and none of the others is large enough to move it."""
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
        model.weight.copy_(torch.from_numpy(np.random.default_rng(0).normal(0, 0.01, model.weight.shape)))
        model.bias.fill_(1.0625)
    (report,) = probe.sweep(model, np.random.default_rng(1).normal(size=(8, 64, 64, 64)).astype(np.float32))
    assert report.ok, report.sentence
