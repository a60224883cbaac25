"""torch's functions of fake quantisation."""

import numpy as np
import pytest
import torch
from torch_functions import Net

import probe

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4, 6)).astype(np.float32)
STEPS, ZEROS = torch.tensor([0.02, 0.05, 0.011]), torch.tensor([0, 3, -7], dtype=torch.int32)

FUNCTIONS = {
    "numbers": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.03, 101, 0, 255),
    "by keyword": lambda x: torch.fake_quantize_per_tensor_affine(
        x, scale=0.03, zero_point=1, quant_min=-8, quant_max=7
    ),
    "tensors": lambda x: torch.fake_quantize_per_tensor_affine(
        x, torch.tensor(0.04), torch.tensor(5, dtype=torch.int32), 0, 255
    ),
    "channels": lambda x: torch.fake_quantize_per_channel_affine(x, STEPS, ZEROS, 1, -128, 127),
    "zeros of floats": lambda x: torch.fake_quantize_per_channel_affine(
        x, STEPS, ZEROS.float() + 0.3, 1, -128, 127
    ),
}


@pytest.mark.parametrize("which", FUNCTIONS)
def test_fake_quantisation(which):
    function = FUNCTIONS[which]
    report = probe.check(Net(function).eval(), "", X)
    assert report.verdict == "agree", report
    right = function(torch.from_numpy(X)).numpy()
    assert probe.check(Net(function).eval(), "", X, expected=right).verdict == "agree"
    x = X + 0.001  # levels above the right ones in some places
    wrong = function(torch.from_numpy(x)).numpy()
    assert probe.check(Net(function).eval(), "", X, expected=wrong).verdict == "diverge"


def test_levels_that_follow_from_the_input_are_not_read():
    def function(x):
        zero = torch.tensor(0, dtype=torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, x.abs().max() / 127, zero, -127, 127)

    report = probe.check(Net(function).eval(), "", X)
    assert report.verdict == "unchecked"
    assert "its scale is computed from the model's input" in report.sentence
