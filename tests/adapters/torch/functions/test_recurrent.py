"""torch.lstm itself, whose parameters come as a flat list."""

import numpy as np
import pytest
import torch
from torch import nn

import probe


# PyTorch's own
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("projection", [0, 2])
def test_a_flat_list_of_parameters(bias, projection):
    torch.manual_seed(0)
    held = nn.LSTM(4, 5, 2, bias=bias, proj_size=projection)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.held = held

        def forward(self, x):
            states = torch.zeros(2, 3, projection or 5), torch.zeros(2, 3, 5)
            flat = self.held._flat_weights
            return torch.lstm(x, states, flat, bias, 2, 0.0, False, False, False)[0]

    x = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(np.float32)
    (report,) = [one for one in probe.sweep(Net().eval(), x) if "lstm" in one.layer]
    assert report.verdict == "agree", report
    names = {name.rpartition(".")[2] for name in report.weights}
    assert ("weight_hr_l0" in names) == bool(projection) and ("bias_ih_l1" in names) == bias
