"""torch's casts to narrow types."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from hypothesis_examples import examples
from torch import nn
from torch_functions import Net

import probe

FLOAT8 = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
NEAR = [
    *(448.0, 463.99, 464.0, 464.01, 480.0, 500.0, np.inf, -np.inf, np.nan, -1e9),
    *(240.0, 247.9, 248.0, 57344.0, 61439.0, 61440.0, 65000.0, 0.001953125, 9.765625e-4, -1e-9),
]
"""What lies about the largest and the smallest number of each type."""


def to(kind):
    return Net(lambda x: x.to(getattr(torch, kind)).float()).eval()


@given(
    arrays(np.float32, (1, 12), elements=st.floats(-70000, 70000, width=32)),
    st.floats(2**-12, 1, width=32),
    st.sampled_from(FLOAT8),
)
@examples(60)
def test_types_of_eight_bits_are_torch_bit_for_bit(x, size, kind):
    for values in (x * np.float32(size), np.asarray([NEAR], np.float32)):
        report = probe.check(to(kind), "", values)
        assert report.verdict == "agree" and "identical" in report.sentence, report


@pytest.mark.parametrize("kind", ["uint16", "uint32"])
def test_integers_without_a_sign(kind):
    x = np.linspace(0, 60000, 20, dtype=np.float32).reshape(2, 10)
    (report, *_) = probe.sweep(to(kind), x)
    assert report.verdict == "agree", report


def test_a_type_that_is_not_read_is_unchecked():
    (report, *_) = probe.sweep(to("float8_e8m0fnu"), np.ones((1, 4), np.float32))
    assert report.verdict == "unchecked" and "float8_e8m0fnu" in report.sentence


class ScaledLinear(nn.Module):
    """What runs where products are of numbers of eight bits."""

    def __init__(self, kind):
        super().__init__()
        self.linear, self.kind = nn.Linear(16, 7), getattr(torch, kind)

    def forward(self, x):
        scale = 448 / x.abs().max()
        weight = self.linear.weight.to(self.kind).float()
        return (x * scale).to(self.kind).float() @ weight.T / scale + self.linear.bias


@pytest.mark.parametrize("kind", FLOAT8[::2])
def test_products_of_eight_bits(kind):
    torch.manual_seed(0)
    module = ScaledLinear(kind).eval()
    x = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    assert probe.check(module, "", x).verdict == "agree"
    other = ScaledLinear(FLOAT8[2] if kind == FLOAT8[0] else FLOAT8[0])
    other.load_state_dict(module.state_dict())
    with torch.no_grad():
        wrong = other(torch.from_numpy(x)).numpy()
    report = probe.check(module, "", x, expected=wrong, search=False)
    assert report.verdict == "diverge" and "yours is the odd one out" in report.sentence


@pytest.mark.parametrize("divisor", [1 << 31, -(1 << 31), 7, -7])
def test_quotients_of_integers_of_more_than_53_bits_are_cut(divisor):
    """And are integers, of which bits can be taken."""
    module = Net(lambda x: torch.div(x, divisor, rounding_mode="trunc") & 0xFF).eval()
    x = np.random.default_rng(0).integers(-(2**62), 2**62, (1, 500))
    report = probe.check(module, "", x)
    assert report.verdict == "agree" and "identical" in report.sentence, report
    floored = (x // divisor) & 0xFF
    assert probe.check(module, "", x, expected=floored, search=False).verdict == "diverge"
