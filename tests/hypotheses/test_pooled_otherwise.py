"""What a mask keeps, pooled otherwise; norms of another kind; a factor for one step; a scale and a
shift exchanged."""

import pytest
import torch
from planting import draw
from torch import nn

import probe


class Block(nn.Module):
    """Two layers and a function of them, the input and a mask."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.function = nn.Linear(5, 5), nn.Linear(5, 5), function

    def forward(self, x, mask):
        return self.function(self.a(x), self.b(x), x, mask.float()[..., None])


def kept_mean(a, b, x, mask):
    return (a * mask).sum(1) / mask.sum(1)


def kept_max(a, b, x, mask):
    return a.masked_fill(mask == 0, -1e9).amax(1)


def last_kept(a, b, x, mask):
    return a[torch.arange(3), mask.sum(1)[:, 0].long() - 1]


def by_root(a, b, x, mask):
    return a * torch.rsqrt(a.pow(2).mean(-1, keepdim=True) + 1e-6)


def by_magnitude(a, b, x, mask):
    return a / (a.abs().mean(-1, keepdim=True) + 1e-6)


def modulated(a, b, x, mask):
    return a * (1 + b.mean(1, keepdim=True)) + b.amax(1, keepdim=True)


def modulated_the_other_way(a, b, x, mask):
    return a * (1 + b.amax(1, keepdim=True)) + b.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("own", "wrong", "claim"),
    [
        (kept_mean, kept_max, "the largest of those that are kept of the output of a"),
        (kept_mean, last_kept, "the last that is kept of the output of a along axis 1"),
        (kept_max, kept_mean, "the mean of those that are kept of the output of a"),
        (by_root, by_magnitude, "the mean of the magnitudes of the output of a is taken"),
        (
            modulated,
            modulated_the_other_way,
            "the output of mean and the output of amax are exchanged in",
        ),
        (
            lambda a, b, x, mask: x + 0.1 * b.tanh() * a,
            lambda a, b, x, mask: 0.93 * x + 0.1 * b.tanh() * a,
            "is multiplied by 0.93 where the sum",
        ),
    ],
)
def test_it_is_named(own, wrong, claim):
    x, mask = draw(3, 6, 5), torch.ones(3, 6, dtype=torch.bool)
    mask[0, 4:], mask[1, 2:] = False, False
    with torch.no_grad():
        values = Block(wrong)(torch.from_numpy(x), mask).numpy()
        report = probe.check(Block(own).eval(), "", [x, mask.numpy()], expected=values)
    exact = [finding.claim for finding in report.findings if finding.left <= 1]
    assert any(claim in found for found in exact), [finding.claim for finding in report.findings]
