"""A bias that is added behind a product, in another order of axes: of channels last, as operations
of TensorFlow have it."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe

X = RNG.normal(size=(2, 3, 6, 5)).astype(np.float32)


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=4, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.first(x).permute(0, 2, 3, 1))
        return torch.tanh(self.second(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class Apart(nn.Module):
    def __init__(self, other: Joined) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, bias=False)
        self.second = nn.Conv2d(4, 4, 3, groups=4, padding=1, bias=False)
        self.biases = nn.ParameterList()
        for mine, theirs in ((self.first, other.first), (self.second, other.second)):
            mine.weight.data = theirs.weight.data.clone()
            self.biases.append(nn.Parameter(theirs.bias.data.clone()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.first(x).permute(0, 2, 3, 1) + self.biases[0])
        x = self.second(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return torch.tanh(x + self.biases[1])


@pytest.fixture
def nets() -> tuple[Joined, Apart]:
    torch.manual_seed(0)
    joined = Joined().eval()
    return joined, Apart(joined).eval()


def test_it_belongs_to_the_product_on_either_side(nets: tuple[Joined, Apart]) -> None:
    for a, b in (nets, nets[::-1], (nets[1], nets[1])):
        comparison = probe.compare(a, b, X)
        assert comparison.verdict == "agree", str(comparison)


def test_what_the_product_alone_gives_is_compared_with_arrays(nets: tuple[Joined, Apart]) -> None:
    apart = nets[1]
    arrays = {
        name: probe.check(apart, name, X).outputs["framework"] for name in ("first", "second")
    }
    assert probe.compare(apart, arrays, X).verdict == "agree"
    arrays["second"] = -arrays["second"]
    comparison = probe.compare(apart, arrays, X, search=False)
    assert [pair.b for pair in comparison.sources] == [("second",)]


@pytest.mark.parametrize("fault", [np.zeros_like, np.negative, lambda array: array[::-1]])
def test_a_wrong_one_is_a_source(nets: tuple[Joined, Apart], fault: object) -> None:
    joined, apart = nets
    bias = apart.biases[1]
    bias.data = torch.tensor(np.ascontiguousarray(fault(bias.detach().numpy())))
    for a, b in ((joined, apart), (apart, joined)):
        comparison = probe.compare(a, b, X, search=False)
        assert comparison.verdict == "diverge"
        assert len(comparison.sources) == 1
