"""Mistakes planted in blocks of several calls, written by hand in PyTorch."""

import numpy as np
import torch
from planting import F, Rows, draw, nn, otherwise, planter, t

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


class Gated(nn.Module):
    """A gated branch with a multiplier around a residual connection."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.norm, self.mistake = nn.LayerNorm(8), mistake
        self.gate, self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mistake = self.mistake
        h = x if mistake == "missing-step" else self.norm(x)
        gate, up = self.gate(h), self.up(x if mistake == "other-tensor" else h)
        gate = gate.roll(1, -1) if mistake == "rearranged-tensor" else gate
        gate = gate / 8**0.5 if mistake == "scaled-tensor" else gate
        up = up.relu() if mistake == "extra-step" else up
        if mistake == "moved-step":
            y = F.gelu(gate * up)
        else:
            y = F.gelu(gate) + up if mistake == "changed-step" else F.gelu(gate) * up
        y = x + self.down(y) * (1.0 if mistake == "missing-scale" else 0.22)
        return 3 * y if mistake == "scaled-output" else y


class Rms(nn.Module):
    """A norm that divides by the root mean square, and by habit subtracts the mean."""

    def __init__(self, centred: bool) -> None:
        super().__init__()
        self.weight, self.centred = nn.Parameter(torch.ones(6)), centred

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class Residual(nn.Module):
    """Two branches one after the other, each behind a norm."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.norm, self.last = Rms(mistake == "centred-norm"), nn.LayerNorm(6)
        self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 6)
        self.mistake = mistake

    def first(self, x: torch.Tensor) -> torch.Tensor:
        if self.mistake == "norm-placement":
            return self.norm(x + torch.tanh(self.inner(x)))
        return x + torch.tanh(self.inner(self.norm(x)))

    def second(self, x: torch.Tensor) -> torch.Tensor:
        return x + F.gelu(self.outer(self.last(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mistake == "exchanged-parts":
            return self.first(self.second(x))
        return self.second(self.first(x))


class Parallel(nn.Module):
    """Two branches that take the same normalised input."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.norm, self.mistake = nn.LayerNorm(6), mistake
        self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        y = x + torch.tanh(self.inner(h))
        h = self.norm(y) if self.mistake == "sequential-branches" else h
        return y + F.gelu(self.outer(h))


class Concatenated(nn.Module):
    """Two inputs, each in a half of the output."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.a, self.b, self.mistake = nn.Linear(6, 4), nn.Linear(6, 4), mistake

    def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        other = torch.zeros_like(other) if self.mistake == "missing-input" else other
        parts = [self.a(x), torch.tanh(self.b(other))]
        return torch.cat(parts[::-1] if self.mistake == "swapped-inputs" else parts, -1)


_MISTAKES = {
    Gated: (
        *("missing-step", "other-tensor", "rearranged-tensor", "scaled-tensor", "extra-step"),
        *("changed-step", "moved-step", "missing-scale", "scaled-output"),
    ),
    Residual: ("norm-placement", "centred-norm", "exchanged-parts"),
    Parallel: ("sequential-branches",),
    Concatenated: ("missing-input", "swapped-inputs"),
}
_GIVEN = {
    Gated: draw(3, 5, 8),
    Residual: draw(2, 4, 6),
    Parallel: draw(2, 4, 6),
    Concatenated: [draw(9, 6), draw(9, 6, seed=1)],
}
for _kind, _slugs in _MISTAKES.items():
    for _slug in _slugs:

        @plant(_slug, _kind.__name__)
        def mistaken(kind: type = _kind, slug: str = _slug) -> tuple:
            return otherwise(kind, _GIVEN[kind], mistake=slug)
