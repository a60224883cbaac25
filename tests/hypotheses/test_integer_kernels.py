"""The kernels of a block in integers of few bits."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch.nn import functional as F

import probe


class Block(torch.nn.Module):
    """Two convolutions and a shortcut of one pixel."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv1d(4, 6, 3)
        self.second = torch.nn.Conv1d(6, 6, 3)
        self.short = torch.nn.Conv1d(4, 6, 1)

    def forward(self, x):
        y = self.second(self.first(x).relu()).relu()
        return y + self.short(x)[..., 4:]


def quantised(kernel, rounded, each):
    over = (1, 2) if each else None
    scale = np.abs(kernel).max(axis=over, keepdims=True) / np.float32(127)
    return rounded(kernel / scale).clip(-128, 127) * scale


@pytest.mark.parametrize(
    ("rounded", "each", "words"),
    [
        (np.floor, False, "one scale for all, rounded down (floor)"),
        (np.round, True, "a scale for each slice along the first axis"),
        (np.trunc, True, "a scale for each slice along the first axis, rounded towards zero"),
    ],
)
def test_kernels_of_one_size_in_integers(rounded, each, words):
    torch.manual_seed(4)
    model, x = Block().eval(), RNG.normal(size=(2, 4, 13)).astype(np.float32)
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}
    with torch.no_grad():
        y = torch.tensor(x)
        for name in ("first", "second"):
            kernel = torch.tensor(quantised(w[f"{name}.weight"], rounded, each))
            y = F.conv1d(y, kernel, torch.tensor(w[f"{name}.bias"])).relu()
        values = (y + model.short(torch.tensor(x))[..., 4:]).numpy()
    first, *_ = probe.check(model, "", x, expected=values).findings
    assert (first.slug, first.left <= 1) == ("reduced-precision", True), first
    claim = "first.weight and second.weight are kept as integers from -127 to 127 with "
    assert first.claim == claim + words
