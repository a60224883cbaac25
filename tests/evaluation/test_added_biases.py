"""A port in float32 that begins a sum with the bias is right, also where the layer adds the bias
behind the sum."""

import numpy as np
import pytest
import torch
from own_seed import RNG

import probe


class Product(torch.nn.Module):
    """A product with parameters, and a bias that is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(64, 5) - 0.5)
        self.bias = torch.nn.Parameter(torch.rand(5) - 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


def _bias_first(terms: np.ndarray, bias: np.ndarray) -> np.ndarray:
    total = np.broadcast_to(bias, terms.shape[:-1]).astype(np.float32)
    for place in range(terms.shape[-1]):
        total = (total + terms[..., place]).astype(np.float32)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_a_sum_of_small_terms_that_begins_with_the_bias(seed: int) -> None:
    torch.manual_seed(seed)
    net = Product().eval()
    weight, bias = (array.detach().numpy() for array in (net.weight, net.bias))
    x = (0.02 * RNG.normal(size=(10, 64))).astype(np.float32)
    mine = _bias_first(x[:, None] * weight.T[None], bias)
    assert probe.check(net, "", x, expected=mine, search=False).verdict == "agree"
    mine[3, 2] += np.float32(3e-6)
    assert probe.check(net, "", x, expected=mine, search=False).verdict == "diverge"


def test_a_bilinear_form_of_small_inputs() -> None:
    layer = torch.nn.Bilinear(16, 12, 5).eval()
    a, b = ((0.1 * RNG.normal(size=(8, size))).astype(np.float32) for size in (16, 12))
    weight, bias = (array.detach().numpy() for array in (layer.weight, layer.bias))
    terms = a[:, None, :, None] * b[:, None, None, :] * weight[None]
    mine = _bias_first(terms.reshape(8, 5, -1), bias)
    inputs = {"input1": a, "input2": b}
    assert probe.check(layer, "", inputs, expected=mine, search=False).verdict == "agree"
