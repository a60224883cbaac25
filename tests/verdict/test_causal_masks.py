"""A port of attention with a mask of -inf is checked whichever way the mask is applied."""

import numpy as np
import pytest
import torch

import probe

STEPS = 5
LATER = torch.ones(STEPS, STEPS, dtype=torch.bool).triu(1)


def infinite(scores):
    return torch.full((STEPS, STEPS), float("inf"), dtype=scores.dtype).triu(1)


MASKS = {
    "added": lambda scores: scores + -infinite(scores),
    "added before a product": lambda scores: (scores - infinite(scores)) * 0.5,
    "filled": lambda scores: scores.masked_fill(LATER, float("-inf")),
}


class Attention(torch.nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.query, self.key, self.mask = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8), mask

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(-1, -2) / 8**0.5
        return torch.softmax(self.mask(scores), -1) @ x


@pytest.mark.costly(default=2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mask", MASKS)
def test_a_port_of_masked_attention(mask, dtype):
    torch.manual_seed(0)
    net = torch.nn.Sequential(Attention(MASKS[mask]), torch.nn.Linear(8, 3)).eval().to(dtype)
    x = torch.randn(2, STEPS, 8)
    expected = net[0](x.to(dtype)).detach().float().numpy()
    assert np.isfinite(expected).all()
    assert probe.check(net, "0", x.numpy(), expected=expected).verdict == "agree"
    expected[1, 3, 2] += 0.25
    report = probe.check(net, "0", x.numpy(), expected=expected, search=False)
    assert report.verdict == "diverge"
