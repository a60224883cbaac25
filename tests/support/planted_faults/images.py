"""Mistakes planted in how an image is normalised and cut into patches."""

import numpy as np
import torch
from planting import Rows, draw, nn, otherwise, planter, torch_layer

ROWS: Rows = []
plant = planter(ROWS)
MEAN, DEVIATION = torch.tensor([0.4, 0.5, 0.3]), torch.tensor([0.2, 0.25, 0.3])


class Preprocessed(nn.Module):
    """Pixels of 0 to 255, normalised, and a convolution."""

    def __init__(self, divided_first: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", MEAN.reshape(3, 1, 1))
        self.register_buffer("deviation", DEVIATION.reshape(3, 1, 1))
        self.conv, self.divided_first = nn.Conv2d(3, 4, 3), divided_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.divided_first:
            return self.conv(x / 255 / self.deviation - self.mean)
        return self.conv((x / 255 - self.mean) / self.deviation)


@plant("mean-std-order", "Normalised pixels")
def divided_before_the_mean_is_subtracted() -> tuple:
    x = 255 * np.abs(draw(2, 3, 6, 6)).clip(0, 1)
    return otherwise(Preprocessed, x, divided_first=True)


@plant("patch-order", "Patch embedding")
def channels_last_in_each_patch() -> tuple:
    layer, x = torch_layer(nn.Conv2d, 3, 6, 2, 2), draw(2, 3, 6, 6)
    kernel, bias = (one.detach().numpy() for one in (layer.weight, layer.bias))
    patches = x.reshape(2, 3, 3, 2, 3, 2).transpose(0, 2, 4, 3, 5, 1).reshape(2, 3, 3, 12)
    return layer, x, (patches @ kernel.reshape(6, 12).T + bias).transpose(0, 3, 1, 2)
