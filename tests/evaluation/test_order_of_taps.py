"""A port that sums the window of a convolution column by column is right, though its partial sums
are larger than those along the rows."""

import numpy as np
import torch
from own_seed import RNG

import probe


def test_a_window_that_is_summed_down_its_columns() -> None:
    signs = np.array([1, 1, 1, 1, -1, -1, -1.9])
    kernel = (signs * RNG.uniform(0.9, 1.1, (16, 1, 7, 7))).astype(np.float32)
    x = (0.1 + 1e-4 * RNG.normal(size=(1, 1, 24, 24))).astype(np.float32)
    layer = torch.nn.Conv2d(1, 16, 7, bias=False).eval()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel))
    windows = np.lib.stride_tricks.sliding_window_view(x[0, 0], (7, 7))
    mine = np.zeros((16, 18, 18), np.float32)
    for column in range(7):
        for row in range(7):
            mine += kernel[:, 0, row, column, None, None] * windows[:, :, row, column]
    assert probe.check(layer, "", x, expected=mine[None], search=False).verdict == "agree"
    mine[3, 4, 5] += np.float32(1e-4)
    assert probe.check(layer, "", x, expected=mine[None], search=False).verdict == "diverge"
