"""A weight that was read back is told as a product or a sum with something else that the layer
holds, where it is one."""

import numpy as np
import pytest
import torch
from planting import draw, nn

import probe


class Sized(nn.Module):
    """A direction times a size, with a bias and a share of the input beside it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.base, self.size = nn.Linear(7, 7), nn.Parameter(torch.rand(7) + 1.5)
        self.skip, self.rates = nn.Parameter(torch.randn(7)), nn.Parameter(torch.randn(7, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.base.weight / self.base.weight.norm(dim=1, keepdim=True)
        y = nn.functional.linear(x, weight * self.size[:, None], self.base.bias)
        shares = self.rates.softmax(-1)
        behind = x.roll(1, 1) * shares[:, 1] + x.roll(2, 1) * shares[:, 2]
        return y + behind + x * shares[:, 0] + self.skip * x


@pytest.fixture(scope="module")
def model() -> Sized:
    return Sized().eval()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("base.bias", "base.bias is multiplied by size"),
        ("skip", "skip is taken with the last slice along axis 1 of"),
    ],
)
def test_what_a_weight_was_joined_with_is_told(model, name, words):
    wrong, x = Sized().eval(), draw(3, 6, 7)
    with torch.no_grad():
        weight = wrong.get_parameter(name)
        shares = wrong.rates.softmax(-1)
        weight.copy_(weight * wrong.size if name == "base.bias" else weight - shares[:, 2])
    expected = wrong(torch.from_numpy(x)).detach().numpy()
    report = probe.check(model, "", x, expected=expected)
    assert report.findings, report
    assert report.findings[0].slug == "other-weights", report
    assert words in report.findings[0].claim
    assert report.findings[0].left <= 1


def test_other_weights_are_not_told_as_joined(model):
    wrong, x = Sized().eval(), draw(3, 6, 7)
    with torch.no_grad():
        wrong.base.bias.copy_(torch.from_numpy(draw(7, seed=5)))
    expected = wrong(torch.from_numpy(x)).detach().numpy()
    report = probe.check(model, "", x, expected=expected.astype(np.float32))
    assert "entries of base.bias" in report.findings[0].claim, report


class Packed(nn.Module):
    """Two numbers of four bits in each byte, of which none is solved for as a float."""

    def __init__(self):
        super().__init__()
        self.register_buffer("codes", torch.arange(24, dtype=torch.uint8).reshape(4, 6) * 7)
        self.scale = nn.Parameter(torch.rand(4, 1) + 0.1)

    def forward(self, x):
        halves = torch.stack([self.codes & 15, self.codes >> 4], -1).flatten(1)
        return x @ (halves.float() * self.scale).T


def test_the_bits_of_a_weight_are_not_solved_for():
    module = Packed().eval()
    x = draw(40, 12)
    with torch.no_grad():
        wrong = np.sin(module(torch.tensor(x)).numpy())
    report = probe.check(module, "", x, expected=wrong)
    assert report.verdict == "diverge" and "internal error" not in str(report), report
