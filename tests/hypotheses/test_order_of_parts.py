"""Axes, parts and modules taken in another order are named: what a reshape reads, what is joined,
which part each layer gets, and whose parameters it uses."""

import pytest
import torch
from planting import F, draw, nn, otherwise

import probe


class Reshaped(nn.Module):
    """Gates and shares that are sums of rows, and a projection of four parts for each head."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.gates, self.shares, self.out = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 8)
        self.packed, self.mistake = nn.Linear(8, 36), mistake

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        if self.mistake == "columns":
            return x.unflatten(-1, (4, 3)).sum(-2)
        return x.unflatten(-1, (3, 4)).sum(-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = (self.rows(self.gates(x)).tanh() * self.rows(self.shares(x)).cos()).sum(-1)
        sizes = (2, 2, 4, 4)
        if self.mistake == "flat":
            sizes = tuple(3 * size for size in sizes)
            parts = [part.unflatten(-1, (3, -1)) for part in self.packed(x).split(sizes, -1)]
        else:
            parts = list(self.packed(x).unflatten(-1, (3, 12)).split(sizes, -1))
        query, key, value, gate = parts
        y = (query * key.sigmoid()).sum(-1, keepdim=True).cumsum(1) * value * gate.tanh()
        return self.out(y.flatten(2)) * share[..., None]


class Branches(nn.Module):
    """A net for each slice, each under its part of a condition, joined."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4)) for _ in range(5)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(5))
        self.condition, self.out = nn.Linear(3, 20), nn.Linear(20, 6)
        self.mistake = mistake

    def forward(self, x: torch.Tensor, about: torch.Tensor) -> torch.Tensor:
        given = self.condition(about)
        parts = []
        for at, own in enumerate(x.unbind(1)):
            net = {"one net": 0, "next net": min(at + 1, 4)}
            part = max(at - 1, 0) if self.mistake == "part before" else at
            y = self.nets[net.get(self.mistake, at)](own + given[:, 4 * part : 4 * part + 4])
            parts.append(self.norms[at](own + y))
        if self.mistake == "last first":
            parts = [parts[-1], *parts[:-1]]
        return self.out(torch.cat(parts, -1))


class Levels(nn.Module):
    """One tower for two levels, and halves of several layers that go two ways."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.tower = nn.ModuleList(
            nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(4)
        )
        self.head = nn.Conv1d(4, 4, 1)
        self.both = nn.ModuleList(nn.Conv1d(4, 8, 1) for _ in range(2))
        self.gates, self.mistake = nn.ModuleList(nn.Conv1d(4, 8, 1) for _ in range(2)), mistake

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        made = []
        for y in (fine, coarse):
            for layer in self.tower[: 3 if self.mistake == "three layers" else 4]:
                y = layer(y)
            if self.mistake == "last twice":
                y = self.tower[-1](y)
            made.append(self.head(y))
        y = torch.cat(made, -1)
        total = 0 * y
        for gate, both in zip(self.gates, self.both, strict=True):
            wave, share = gate(y).chunk(2, 1)
            on, skipped = both(wave.tanh() * share.sigmoid()).chunk(2, 1)
            if self.mistake == "exchanged":
                on, skipped = skipped, on
            y, total = y + on, total + skipped.abs()
        return total + y


class Stages(nn.Module):
    """Stages of two lists of modules, of which each takes what the one before leaves."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.into, self.back = (nn.ModuleList(nn.Linear(6, 6) for _ in range(4)) for _ in range(2))
        self.shrink = 0.3 if mistake == "constant" else 0.45
        self.mistake = mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stages = list(zip(self.into, self.back, strict=True))
        if self.mistake == "from last":
            stages = stages[::-1]
        if self.mistake == "one less":
            del stages[1]
        if self.mistake == "one more":
            stages.append(stages[-1])
        rest, total = x, x.abs() * self.shrink
        for into, back in stages:
            part = back(torch.tanh(into(x if self.mistake == "of input" else rest)))
            rest, total = rest - part, total + part.cos()
        return total.cumsum(1) + (1 - self.shrink) * rest


class Pyramid(nn.Module):
    """Three levels, each added to the one above, and smoothed at last."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.levels, self.smooth = (
            nn.ModuleList(nn.Conv1d(3, 3, k, padding=k // 2) for _ in range(3)) for k in (1, 3)
        )
        self.mistake = mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, made = 0 * x[..., ::4], []
        for stride, level, smooth in zip((4, 2, 1), self.levels, self.smooth, strict=True):
            y = level(x[..., ::stride]) + (F.interpolate(y, scale_factor=2.0) if made else y)
            made.append(smooth(y))
            y = made[-1] if self.mistake == "smoothed" else y
        return torch.cat(made, -1)


class Graph(nn.Module):
    """Two keys and values for four queries, weighed by links, and windows of three dilations."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(8, 12), nn.Linear(8, 6), nn.Linear(8, 6)
        rates = [4, 6, 8] if mistake == "rates" else [2, 3, 4]
        self.windows = nn.ModuleList(nn.Conv1d(6, 1, 3, dilation=r, padding=r) for r in rates)
        self.mistake = mistake

    def shared(self, x: torch.Tensor) -> torch.Tensor:
        heads = x.unflatten(-1, (2, 3))
        if self.mistake == "tiled":
            return heads.repeat(1, 2, 1)
        return heads.repeat_interleave(2, 1)

    def forward(self, x: torch.Tensor, links: torch.Tensor) -> torch.Tensor:
        query, key = self.query(x).unflatten(-1, (4, 3)), self.shared(self.key(x))
        scores = torch.einsum("nhd,mhd->nmh", query, key).tanh() + 1
        if self.mistake == "links":
            links = links.T
        share = scores * ((links + torch.eye(len(x))) > 0)[..., None]
        y = torch.einsum("nmh,mhd->ndh", share, self.shared(self.value(x))).flatten(1)
        y = y.reshape(1, 6, -1)
        return torch.cat([window(y) for window in self.windows], 1)


CASES = {
    "columns": (Reshaped, "rearranged-tensor", "is read as (2, 6, 4, 3) and transposed to"),
    "flat": (Reshaped, "packed-order", "packed.weight are taken in blocks"),
    "one net": (Branches, "other-tensor", "use the parameters of nets.0"),
    "next net": (Branches, "other-tensor", "each use the parameters of the one behind it"),
    "part before": (Branches, "packed-order", "are taken that are 0, 0, 1, 2, 3"),
    "last first": (Branches, "swapped-inputs", "is part 0 of torch.cat, not 4"),
    "three layers": (Levels, "missing-step", "tower.3"),
    "from last": (Stages, "other-tensor", "into.3 use each other's parameters in the reverse"),
    "of input": (Stages, "other-tensor", "into.3 takes the input in place of the"),
    "last twice": (Levels, "moved-step", "applied twice"),
    "constant": (Stages, "changed-step", "0.3 is taken instead of 0.45 and 0.7 instead of 0.55"),
    "one less": (Stages, "missing-step", "into.1, the second torch.tanh in line"),
    "one more": (Stages, "changed-step", "runs 5 times, not 4"),
    "smoothed": (Pyramid, "other-tensor", "takes the output of smooth.0 in place of"),
    "links": (Graph, "rearranged-tensor", "transposed: axis 0 of (6, 6"),
    "tiled": (Graph, "grouped-heads", "tiled (0 1 0 1), not repeated (0 0 1 1)"),
    "rates": (Graph, "changed-step", "windows.2 have dilations 4, 6 and 8, not 2, 3 and 4"),
    "exchanged": (Levels, "packed-order", "both.0 is split as if its 2 parts"),
}
SHAPES = {
    Reshaped: [(2, 6, 8)],
    Branches: [(2, 5, 4), (2, 3)],
    Levels: [(2, 4, 7), (2, 4, 4)],
    Stages: [(4, 6)],
    Pyramid: [(2, 3, 12)],
    Graph: [(6, 8), (6, 6)],
}


@pytest.mark.parametrize("mistake", CASES)
def test_parts_in_another_order_are_named(mistake):
    kind, slug, words = CASES[mistake]
    given = [draw(*shape) for shape in SHAPES[kind]]
    model, given, wrong, _ = otherwise(kind, given, mistake=mistake)
    report = probe.check(model, "", given, expected=wrong)
    assert report.findings, report
    first = report.findings[0]
    assert (first.slug, first.also) == (slug, ()), report
    assert words in first.claim
    assert first.left <= 1
