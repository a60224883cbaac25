"""A function of the framework that takes very many steps is one step of a search: what stands
around it is looked at as in any block."""

import numpy as np
import torch
from named_mistakes import named
from planting import draw, nn

SIZE = 64


def unit(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 0.5)


class Mixed(nn.Module):
    """Values that each depend on those before them, as a delta rule computes them in a chunk."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k = unit(q), unit(k)
        system = torch.tril(k @ k.transpose(1, 2), -1) + torch.eye(SIZE)
        mixed = torch.linalg.solve_triangular(system, v, upper=False, unitriangular=True)
        shares = torch.tril(q @ k.transpose(1, 2))
        return (shares @ mixed * 0.5).tanh()


def mixed(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The same with the first power of each sum of squares, not its root."""
    q, k = (x / (np.square(x).sum(-1, keepdims=True) + 0.5) for x in (q, k))
    system = np.tril(k @ k.swapaxes(1, 2), -1) + np.eye(SIZE)
    shares = np.tril(q @ k.swapaxes(1, 2))
    return np.tanh(shares @ np.linalg.solve(system, v) * 0.5).astype(np.float32)


def test_a_mistake_on_both_sides_of_a_triangular_system():
    q, k, v = (draw(2, SIZE, width) for width in (4, 4, 3))
    finding = named(Mixed().eval(), "", [q, k, v], mixed(q, k, v))
    assert finding.slug in ("changed-step", "scaled-tensor")
    assert finding.claim.count("torch.rsqrt") == 2
