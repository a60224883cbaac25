"""One mistake made at all places of a pattern that repeats, options that belong to a sibling, and
a layout that is changed and changed back, are one cause."""

import pytest
import torch
from planting import F, draw, nn, otherwise

import probe


class Heads(nn.Module):
    """Keys and values of two heads for four heads of queries."""

    def __init__(self, tiled: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 8), nn.Linear(16, 8)
        self.tiled = tiled

    def split(self, name: str, y: torch.Tensor) -> torch.Tensor:
        y = y.unflatten(-1, (-1, 4)).transpose(1, 2)
        if name == "q":
            return y
        return y.repeat(1, 2, 1, 1) if self.tiled else y.repeat_interleave(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (self.split(name, getattr(self, name)(x)) for name in "qkv")
        return ((q @ k.transpose(-1, -2) / 2).softmax(-1) @ v).transpose(1, 2).flatten(2)


class Scan(nn.Module):
    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.decay, self.into = nn.Parameter(-draw_tensor(6, 4)), nn.Linear(6, 4)
        self.step, self.mistake = nn.Linear(6, 6), mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, outputs = torch.zeros(len(x), 6, 4), []
        step, into = F.softplus(self.step(x)), self.into(x)
        for t in range(x.shape[1]):
            kept = step[:, t, :, None] * self.decay
            kept = 1 + kept if self.mistake == "euler" else kept.exp()
            given = into[:, t, None].expand(-1, 6, -1)
            given = given if self.mistake == "no step" else step[:, t, :, None] * given
            state = kept * state + given * x[:, t, :, None]
            outputs.append(state.sum(-1))
        return torch.stack(outputs, 1)


def draw_tensor(*shape: int) -> torch.Tensor:
    return torch.from_numpy(abs(draw(*shape, seed=3)))


class Windows(nn.Module):
    def __init__(self, grid: bool = False) -> None:
        super().__init__()
        self.qkv, self.grid = nn.Linear(8, 24), grid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, height, width, _ = x.shape
        sizes = (2, height // 2, 2, width // 2) if self.grid else (height // 2, 2, width // 2, 2)
        order = (0, 2, 4, 1, 3, 5) if self.grid else (0, 1, 3, 2, 4, 5)
        y = x.view(batch, *sizes, -1).permute(order).reshape(-1, 4, 8)
        q, k, v = self.qkv(y).chunk(3, -1)
        y = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        split = y.view(batch, height // 2, width // 2, 2, 2, -1)
        back = [order.index(axis) for axis in range(6)]
        return split.permute(back).reshape(batch, height, width, -1)


class Pyramid(nn.Module):
    def __init__(self, rates: tuple[int, ...] = (1, 2, 3)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(3, 4, 3, padding=rate, dilation=rate) for rate in rates
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x).relu() for branch in self.branches], 1)


class Residual(nn.Module):
    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(4))
        self.mistake = mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = F.silu(layer(norm(x)))
            y = y.flip(-1) if self.mistake == "flip" else y
            x = (norm(x) if self.mistake == "normed" else x) + y
        return x


CASES = {
    "tiled keys and values": (Heads, (2, 6, 16), {"tiled": True}, "grouped-heads"),
    "no step size": (Scan, (2, 5, 6), {"mistake": "no step"}, "missing-step"),
    "first order": (Scan, (2, 5, 6), {"mistake": "euler"}, "changed-step"),
    "grid for windows": (Windows, (2, 4, 6, 8), {"grid": True}, "rearranged-tensor"),
    "exchanged rates": (Pyramid, (2, 3, 8, 8), {"rates": (3, 2, 1)}, "changed-step"),
    "rates moved on": (Pyramid, (2, 3, 8, 8), {"rates": (2, 3, 1)}, "changed-step"),
    "one rate": (Pyramid, (2, 3, 8, 8), {"rates": (2, 2, 2)}, "changed-step"),
    "flipped branches": (Residual, (3, 8), {"mistake": "flip"}, "rearranged-tensor"),
    "normed residuals": (Residual, (3, 8), {"mistake": "normed"}, "other-tensor"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_mistake_at_several_steps_is_one_cause(name):
    kind, shape, mistake, slug = CASES[name]
    model, x, wrong, _ = otherwise(kind, draw(*shape), **mistake)
    report = probe.check(model, "", x, expected=wrong)
    assert report.findings, report
    assert report.findings[0].slug == slug, report
    assert report.findings[0].left <= 1
    assert not report.findings[0].also


def test_healthy_values_have_no_cause():
    model, x, right, _ = otherwise(Pyramid, draw(2, 3, 8, 8))
    report = probe.check(model, "", x, expected=right)
    assert report.ok
    assert not report.findings
