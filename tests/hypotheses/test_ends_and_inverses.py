"""Ends of axes that are shifted or padded by hand, factors the other way round, and vectors along
another axis."""

import pytest
import torch
from planting import draw
from torch import nn

import probe


class Shifted(nn.Module):
    """What each place is mixed with stands before it, by a roll or with another end."""

    def __init__(self, end="wrap"):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.end = nn.Linear(4, 4), end

    def forward(self, x):
        first = {"zeros": torch.zeros_like(x[:, :1]), "edge": x[:, :1], "wrap": x[:, -1:]}
        before = torch.cat([first[self.end], x[:, :-1]], 1)
        return x + self.linear(before).tanh()


class Rolled(nn.Module):
    """A map that is rolled along both axes."""

    def __init__(self, wraps=True):
        super().__init__()
        self.wraps = wraps

    def forward(self, x):
        if self.wraps:
            return torch.roll(x, (-2, -2), (1, 2)).sigmoid()
        return nn.functional.pad(x[:, 2:, 2:], (0, 2, 0, 2)).sigmoid()


class Padded(nn.Module):
    """A moving sum over a row that goes on at its other end."""

    def __init__(self, wraps=True):
        super().__init__()
        self.wraps = wraps

    def forward(self, x):
        ends = (x[..., -1:], x[..., :1]) if self.wraps else 2 * [torch.zeros_like(x[..., :1])]
        wide = torch.cat([ends[0], x, ends[1]], -1)
        return 0.25 * wide[..., :-2] + 0.5 * wide[..., 1:-1] + 0.25 * wide[..., 2:]


class Scaled(nn.Module):
    """A ratio of two numbers that are computed, by which a tensor is multiplied."""

    def __init__(self, how="ratio"):
        super().__init__()
        self.how = how

    def forward(self, x):
        share = x.sigmoid().mean((1, 2))[:, None, None]
        if self.how == "ratio":
            return x * 0.88 / (1 - share)
        return x / 0.88 * (1 - share)


class Standardised(nn.Module):
    """Brought back to the mean and deviation of each row."""

    def __init__(self, undone=True, along=1):
        super().__init__()
        self.mean, self.spread = (nn.Parameter(torch.rand(4) + k) for k in (0.5, 1.5))
        self.undone, self.along = undone, along

    def forward(self, x):
        shape = (4, 1) if self.along == 1 else (1, 4)
        mean, spread = self.mean.view(shape), self.spread.view(shape)
        return x * spread + mean if self.undone else (x - mean) / spread


@pytest.mark.parametrize(
    ("own", "wrong", "claim"),
    [
        (Shifted("zeros"), Shifted("wrap"), "along axis 1 with the elements of the other end"),
        (Shifted("zeros"), Shifted("edge"), "padded in mode edge instead of constant"),
        (Rolled(), Rolled(False), "shifted by -2 along axis 1 with zeros"),
        (Padded(), Padded(False), "padded in mode constant instead of wrap"),
        (Scaled(), Scaled("inverted"), "divided by 0.88 and multiplied by"),
        (Standardised(), Standardised(undone=False), "and divided by spread"),
        (Standardised(), Standardised(along=2), "runs along axis 2"),
    ],
)
def test_it_is_named(own, wrong, claim):
    x = draw(2, 4, 4)
    wrong.load_state_dict(own.state_dict())
    with torch.no_grad():
        report = probe.check(own.eval(), "", x, expected=wrong(torch.from_numpy(x)).numpy())
    exact = [finding.claim for finding in report.findings if finding.left <= 1]
    assert any(claim in found for found in exact), [finding.claim for finding in report.findings]
