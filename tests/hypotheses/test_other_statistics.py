"""A statistic in place of one element, of other elements, or of another tensor."""

import pytest
import torch
from planting import draw
from torch import nn

import probe


class Centred(nn.Module):
    """A series about its last value and divided by its spread, and brought back."""

    def __init__(self, of="last"):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.of = nn.Linear(5, 5), of

    def forward(self, x):
        base = {
            "last": x[:, -1:],
            "mean": x.mean(1, keepdim=True),
            "largest": x.amax(1, keepdim=True),
        }[self.of]
        spread = 0.5 * (x.amax(1, keepdim=True) - x.amin(1, keepdim=True))
        return spread * self.linear((x - base) / spread).tanh() + base + 0.1 * x


class Pooled(nn.Module):
    """Mean and deviation of a sequence, weighted."""

    def __init__(self, plain=False):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.plain = nn.Linear(5, 5), plain

    def forward(self, x):
        shares = self.linear(x).softmax(1)
        mean = (shares * x).sum(1, keepdim=True)
        centre = x.mean(1, keepdim=True) if self.plain else mean
        spread = (shares * (x - centre) ** 2).sum(1, keepdim=True)
        return torch.cat([mean, spread.sqrt()], -1)


class Spectrum(nn.Module):
    """The real part of a spectrum."""

    def __init__(self, part="real"):
        super().__init__()
        self.part = part

    def forward(self, x):
        spectrum = torch.fft.fft(x, dim=1)
        return spectrum.real if self.part == "real" else spectrum.abs()


@pytest.mark.parametrize(
    ("own", "wrong", "claim"),
    [
        (Centred(), Centred(of="mean"), "the mean of the input along axis 1 is taken instead of"),
        (Centred(), Centred(of="largest"), "the maximum of the input along axis 1 is taken"),
        (Centred(of="mean"), Centred(), "the element at 7 of the input along axis 1 is taken"),
        (Pooled(), Pooled(plain=True), "the mean of the input along axis 1 is taken instead of"),
        (Spectrum(), Spectrum(part="abs"), "the magnitudes are taken instead of the real parts"),
    ],
)
def test_the_statistic_is_named(own, wrong, claim):
    x = draw(2, 8, 5)
    with torch.no_grad():
        report = probe.check(own.eval(), "", x, expected=wrong(torch.from_numpy(x)).numpy())
    exact = [finding.claim for finding in report.findings if finding.left <= 1]
    assert any(claim in found for found in exact), report


class Scaled(nn.Module):
    """A linear layer whose weights are whole numbers of one step."""

    def __init__(self, of="mean"):
        super().__init__()
        torch.manual_seed(1)
        self.weight, self.of = nn.Parameter(torch.randn(6, 9)), of

    def forward(self, x):
        size = self.weight.abs()
        step = size.mean() if self.of == "mean" else size.max()
        return x @ (self.weight / step).round().clamp(-1, 1).T * step


def test_another_statistic_of_a_parameter_is_one_number():
    x = draw(3, 9)
    with torch.no_grad():
        values = Scaled("largest")(torch.tensor(x)).numpy()
    first, *_ = probe.check(Scaled().eval(), "", x, expected=values).findings
    assert (first.slug, first.left <= 1) == ("changed-step", True)
    assert first.claim.startswith("maximum instead of mean")
