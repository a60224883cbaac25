"""A mistake that leaves a small difference of large numbers is told, though what float32 rounds
grows with it: the layer without the mistake is allowed far less."""

import numpy as np
import torch
from planting import draw, nn

import probe


class Difference(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.share, self.start = nn.Parameter(torch.tensor(0.5)), 0.35
        with torch.no_grad():
            noise = 1e-4 * torch.randn(6, 6)
            self.second.weight.copy_(2 * self.first.weight + noise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x) - (self.share.square() * 2 + self.start) * self.second(x)
        return y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-12)


def test_a_mistake_that_grows_rounding_is_told():
    model, wrong, x = Difference().eval(), Difference().eval(), draw(2, 5, 6)
    wrong.start = 0.0
    with torch.no_grad():
        expected = wrong(torch.from_numpy(x)).numpy()
    report = probe.check(model, "", x, expected=expected)
    assert report.findings, report
    assert report.findings[0].slug == "missing-step", report
    assert "0.35 is not added" in report.findings[0].claim
    assert report.findings[0].left <= 1


def test_values_that_are_nearly_those_of_a_mistake_are_not():
    """A second difference of a thousandth is no rounding."""
    model, wrong, x = Difference().eval(), Difference().eval(), draw(2, 5, 6)
    wrong.start = 0.35 * 1.5
    with torch.no_grad():
        expected = wrong(torch.from_numpy(x)).numpy()
    off = 5e-4 * np.random.default_rng(0).normal(size=expected.shape)
    report = probe.check(model, "", x, expected=(expected + off).astype(np.float32))
    assert not any(finding.left <= 1 for finding in report.findings), report
