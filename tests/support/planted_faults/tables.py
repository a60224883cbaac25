"""Mistakes planted in the formulas of tables that a block holds or computes: windows, frequencies,
the angles of two axes."""

import math

import torch
from planting import Rows, draw, nn, otherwise, planter, t

ROWS: Rows = []
plant = planter(ROWS)


class Frames(nn.Module):
    def __init__(self, periodic: bool = True) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(16, periodic=periodic), persistent=False)
        self.basis = nn.Parameter(t(draw(16, 9)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log1p(((x.unfold(-1, 16, 8) * self.window) @ self.basis) ** 2)


class Timestep(nn.Module):
    def __init__(self, count: int = 8) -> None:
        super().__init__()
        self.count, self.project = count, nn.Linear(16, 8)

    def forward(self, time: torch.Tensor) -> torch.Tensor:
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(8.0) / self.count)
        angles = time[:, None] * frequencies
        return self.project(torch.cat([angles.sin(), angles.cos()], -1))


class AxialRotation(nn.Module):
    """The features of each place turned by angles of its row and of its column."""

    def __init__(self, row_first: bool = False, base: float = 100.0) -> None:
        super().__init__()
        self.project, self.row_first, self.base = nn.Linear(8, 8), row_first, base

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row, column = torch.arange(9) // 3, torch.arange(9) % 3
        frequencies = self.base ** (-torch.arange(2.0) / 2)
        places = (row, column) if self.row_first else (column, row)
        angles = torch.cat([place[:, None] * frequencies for place in places], -1)
        even, odd = self.project(x).unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = angles.cos(), angles.sin()
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


@plant("other-table", "Frames with a window")
def symmetric_window():
    return otherwise(Frames, draw(3, 64, seed=1), periodic=False)


@plant("changed-step", "Sinusoidal time step")
def one_frequency_less():
    return otherwise(Timestep, 300 * abs(draw(5)), count=7)


@plant("swapped-inputs", "Axial rotation")
def axes_exchanged():
    return otherwise(AxialRotation, draw(2, 9, 8), row_first=True)


@plant("changed-step", "Axial rotation")
def larger_base():
    return otherwise(AxialRotation, draw(2, 9, 8), base=1000.0)
