"""Mistakes planted in blocks of several calls, written by hand in PyTorch."""

import numpy as np
import torch
from planting import F, Rows, draw, nn, planter, t

ROWS: Rows = []
plant = planter(ROWS)


class Block(nn.Module):
    """Attention of one head behind a norm, with a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(t(draw(8, seed=5)))
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.by_hand(x, 1e-6, 8**-0.5)

    def by_hand(self, x: torch.Tensor, epsilon: float, scale: float) -> torch.Tensor:
        y = self.gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon))
        scores = F.softmax(self.q(y) @ self.k(y).transpose(-1, -2) * scale, dim=-1)
        return x + self.o(scores @ self.v(y))


def _planted(slug: str, epsilon: float, scale: float) -> None:
    @plant(slug, "Block")
    def block() -> tuple:
        torch.manual_seed(0)
        made, x = Block().eval(), 0.1 * draw(2, 5, 8)
        with torch.no_grad():
            wrong = made.by_hand(t(x), epsilon, scale).numpy()
        return made, x, np.asarray(wrong), {"at": ""}


_planted("other-epsilon", 1e-5, 8**-0.5)
_planted("attention-scale", 1e-6, 1 / 8)
