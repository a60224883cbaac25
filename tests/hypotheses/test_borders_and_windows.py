"""Borders that code makes by itself, and windows whose options are elsewhere."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn
from torch.nn import functional as F

import probe

X = RNG.normal(size=(2, 4, 15)).astype(np.float32)


def joined(x):
    return torch.cat([x[..., :1], x[..., :1], x, x[..., -1:], x[..., -1:]], -1)


def looked_up(x):
    return x[..., (torch.arange(x.shape[-1] + 4) - 2).clamp(0, x.shape[-1] - 1)]


def mirrored(x):
    return torch.cat([x[..., 1:3].flip(-1), x], -1)


class Smoothed(nn.Module):
    """A moving average of a series less its last value, with a border that is made by hand."""

    def __init__(self, border):
        super().__init__()
        self.border = border

    def forward(self, x, border=None, centre=lambda x: x[..., -1:]):
        y = x - 0.5 * centre(x)
        return y * y - F.avg_pool1d((border or self.border)(y), 3, 1)[..., : x.shape[-1]]


@pytest.mark.parametrize(
    ("border", "wrong", "slug", "words"),
    [
        (joined, lambda x: F.pad(x, (2, 2)), "padding-value", "mode constant instead of edge"),
        (looked_up, lambda x: F.pad(x, (2, 2), "reflect"), "padding-value", "mode reflect"),
        (mirrored, lambda x: F.pad(x, (2, 0), "circular"), "padding-value", "mode wrap instead"),
        (joined, lambda x: F.pad(x, (4, 0), "replicate"), "padding-on-other-side", "at the start"),
        (mirrored, lambda x: F.pad(x, (0, 2), "reflect"), "padding-on-other-side", "other side"),
    ],
)
def test_a_border_made_by_hand(border, wrong, slug, words):
    values = Smoothed(border)(torch.from_numpy(X), border=wrong).numpy()
    finding = probe.check(Smoothed(border).eval(), "", X, expected=values).findings[0]
    assert (finding.slug, finding.left <= 1) == (slug, True), finding
    assert words in finding.claim, finding.claim


@pytest.mark.parametrize(
    ("centre", "words"),
    [
        (
            lambda x: x.mean(-1, keepdim=True),
            "the mean of the input along axis 2 is taken",
        ),
        (
            lambda x: x.amax(-1, keepdim=True),
            "the maximum of the input along axis 2 is taken",
        ),
    ],
)
def test_a_statistic_for_the_last_value(centre, words):
    values = Smoothed(joined)(torch.from_numpy(X), centre=centre).numpy()
    finding = probe.check(Smoothed(joined).eval(), "", X, expected=values).findings[0]
    assert finding.left <= 1 and words in finding.claim, finding


class Branches(nn.Module):
    """Pooling and a convolution, then residual branches of two widths with dilations 1 and 3."""

    def __init__(self, pool=1, stride=2, dilations=(1, 3), shift=0):
        super().__init__()
        torch.manual_seed(1)
        self.pool, self.shift = pool, shift
        self.first = nn.Conv1d(4, 4, 4, stride, padding=2)
        self.last = nn.Conv1d(4, 4, 5, padding=2)
        for width in (3, 5):
            reach = width // 2
            convs = [nn.Conv1d(4, 4, width, padding=d * reach, dilation=d) for d in dilations]
            setattr(self, f"width{width}", nn.ModuleList(convs))

    def windows(self, layer, x):
        if not self.shift:
            return layer(x)
        (pad,) = layer.padding
        x = F.pad(x, (pad - self.shift, pad + self.shift))
        return F.conv1d(x, layer.weight, layer.bias, layer.stride)

    def forward(self, x):
        x = F.max_pool1d(x, 2, self.pool)
        x = torch.tanh(self.windows(self.first, x))
        for branch in (self.width3, self.width5):
            for conv in branch:
                x = x + conv(torch.relu(x))
        return self.windows(self.last, x)


@pytest.mark.parametrize(
    ("wrong", "slug", "words"),
    [
        ({"dilations": (3, 1)}, "changed-step", "each other's pads and dilations; width5"),
        ({"pool": 2, "stride": 1}, "ignored-stride", "the layer's are the other way round"),
        ({"dilations": (1, 6)}, "ignored-dilation", "dilation (6,) instead of (3,)"),
        ({"shift": 1}, "missing-padding", "1 element later"),
    ],
)
def test_options_of_windows(wrong, slug, words):
    model = Branches().eval()
    with torch.no_grad():
        other = Branches(**wrong)
        other.load_state_dict(model.state_dict())
        values = other(torch.from_numpy(X)).numpy()
    finding = probe.check(model, "", X, expected=values).findings[0]
    assert (finding.slug, finding.left <= 1) == (slug, True), finding
    assert words in finding.claim, finding.claim
