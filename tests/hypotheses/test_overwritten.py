"""Loops that put "=" for "+=", outputs in the buffer of the input, and statistics of one row for
all."""

import numpy as np
import torch
from planting import F, draw, nn, t, torch_layer

import probe
from probe.report import Finding


def named(model: nn.Module, x: np.ndarray, wrong: np.ndarray) -> Finding:
    report = probe.check(model, "", x, expected=np.asarray(wrong))
    assert report.findings, report
    assert report.findings[0].left <= 1
    return report.findings[0]


def test_products_that_replace_one_another_in_a_transposed_convolution():
    layer, x = torch_layer(nn.ConvTranspose2d, 3, 4, 3, stride=2, padding=1), draw(2, 3, 4, 5)
    y = torch.zeros(2, 4, 9, 11)
    with torch.no_grad():
        for i, j in np.ndindex(4, 5):
            patch = torch.einsum("bc,cokl->bokl", t(x)[:, :, i, j], layer.weight)
            y[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] = patch
        wrong = y[:, :, 1:-1, 1:-1] + layer.bias[:, None, None]
    assert "the last product alone" in named(layer, x, wrong.numpy()).claim


def test_a_convolution_in_the_buffer_of_its_input():
    layer, x = torch_layer(nn.Conv2d, 3, 3, 3, padding=1, groups=3), draw(2, 3, 5, 6)
    buffer = F.pad(t(x), (1, 1, 1, 1))
    with torch.no_grad():
        for i, j in np.ndindex(5, 6):
            window = buffer[:, :, i : i + 3, j : j + 3]
            buffer[:, :, i + 1, j + 1] = (window * layer.weight[:, 0]).sum((2, 3)) + layer.bias
    wrong = buffer[:, :, 1:-1, 1:-1].numpy()
    assert "overwrites its own input, pixel by pixel" in named(layer, x, wrong).claim


class Gathered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("into", torch.tensor([0, 2, 2, 4, 1, 0, 2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(x), 5, 4).index_add(1, self.into, x.tanh())


def test_messages_that_replace_one_another():
    x, model = draw(2, 7, 4), Gathered()
    wrong = np.zeros((2, 5, 4), np.float32)
    wrong[:, model.into.numpy()] = np.tanh(x)
    assert "reduction is none instead of add" in named(model, x, wrong).claim


def test_statistics_of_the_first_row_for_all():
    layer, x = torch_layer(nn.LayerNorm, 8), draw(2, 5, 8)
    first = x[:, :1]
    wrong = (x - first.mean(-1, keepdims=True)) / np.sqrt(first.var(-1, keepdims=True) + 1e-5)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    assert "from the first place along axis 1" in named(layer, x, wrong * weight + bias).claim
