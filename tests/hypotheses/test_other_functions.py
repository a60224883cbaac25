"""Another function in place of one of a block's, or of several of its steps."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe


class Block(nn.Module):
    """A linear layer and what a function makes of its output."""

    def __init__(self, behind):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, 12)
        self.behind = behind

    def forward(self, x):
        return self.behind(self.linear(x))


def decoded(y):
    places, sizes = y.sigmoid().chunk(2, -1)
    return torch.cat([places, (2 * sizes) ** 2 * 0.5], -1)


def by_exp(y):
    places, sizes = y.chunk(2, -1)
    return torch.cat([places.sigmoid(), sizes.exp() * 0.5], -1)


def argmax(y):
    return nn.functional.one_hot(y.argmax(-1), 12).float() @ torch.arange(12.0)


def by_hand(y):
    """A softmax in its steps."""
    shares = (y - y.amax(-1, keepdim=True)).exp()
    return shares / shares.sum(-1, keepdim=True)


@pytest.mark.parametrize(
    ("own", "other", "claim"),
    [
        (lambda y: (y + 3).clamp(0, 6) / 6, torch.sigmoid, "sigmoid of the output of linear"),
        (
            lambda y: (0.2 * y + 0.5).clamp(0, 1),
            nn.functional.hardsigmoid,
            "relu6(x + 3) / 6 of the output of linear instead of",
        ),
        (lambda y: y * (y + 3).relu().clamp(max=6) / 6, nn.functional.silu, "SiLU of the output"),
        (
            lambda y: y + (1.5 * y).sin() ** 2 / 1.5,
            nn.functional.elu,
            "ELU of the output of linear instead of",
        ),
        (by_hand, torch.sigmoid, "sigmoid of the output of linear instead of"),
        (
            lambda y: y.log_softmax(-1),
            nn.functional.logsigmoid,
            "log sigmoid instead of log softmax",
        ),
        (lambda y: y.logsumexp(-1), lambda y: y.amax(-1), "maximum instead of logsumexp"),
        (lambda y: y.softmax(-1) @ torch.arange(12.0), argmax, "1 for the largest, 0 for all"),
        (
            lambda y: torch.fft.fft2(y, dim=(1, 2)).real,
            lambda y: torch.fft.fft2(y, dim=(1, 2), norm="ortho").real,
            "scale is 0.129099 instead of 1",
        ),
        (decoded, by_exp, "exp of the output of linear instead of"),
        (nn.functional.elu, torch.relu, "ReLU instead of ELU"),
        (
            lambda y: y - y.mean(-1, keepdim=True),
            lambda y: y - y.median(-1, keepdim=True)[0],
            "the lower median instead of mean",
        ),
        (
            lambda y: y.std(1, unbiased=False),
            lambda y: y.square().mean(1).sqrt(),
            "the root of the mean square instead of standard deviation",
        ),
        (lambda y: y.square().mean(1), lambda y: y.square().sum(1), "sum instead of mean"),
    ],
)
def test_the_function_is_named(own, other, claim):
    x = RNG.normal(size=(3, 5, 6)).astype(np.float32)
    with torch.no_grad():
        wrong = Block(other)(torch.from_numpy(x)).numpy()
    report = probe.check(Block(own).eval(), "", x, expected=wrong)
    exact = [finding.claim for finding in report.findings if finding.left <= 1]
    assert any(claim in found for found in exact), report


class Quantised(nn.Module):
    """A GELU of whole numbers of a step, by a polynomial for the error function."""

    def forward(self, x, step):
        codes = x / step
        size = torch.minimum(codes.abs() * step, torch.tensor(2.0))
        share = codes.sign() * (1 - 0.25 * (size - 2) ** 2)
        return codes * step * (1 + share) / 2


def test_the_function_that_steps_stand_for_in_place_of_them():
    step = np.array([0.05], np.float32)
    x = (np.round(RNG.normal(size=(6, 20)) / step) * step).astype(np.float32)
    values = nn.functional.gelu(torch.from_numpy(x)).numpy()
    first, *_ = probe.check(Quantised(), "", [x, step], expected=values).findings
    assert (first.slug, first.left <= 1) == ("other-activation", True), first
    assert first.claim.startswith("GELU of x (input 0) instead of")
