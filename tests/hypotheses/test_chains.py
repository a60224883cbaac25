"""Steps of one kind in a row, a module called twice, statistics along other axes, and a step that
stands behind a norm or a cap are told as one cause."""

import pytest
import torch
from planting import F, draw, nn, otherwise

import probe


class Pooled(nn.Module):
    """Three pools in a row and three residual sums in a row."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.layers, self.out = nn.ModuleList(nn.Conv1d(4, 4, 1) for _ in range(3)), nn.Linear(9, 5)
        self.mistake = mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for layer in self.layers:
            change = torch.tanh(layer(y))
            y = change if self.mistake == "around all" else y + change
        y = x + y if self.mistake == "around all" else y
        pools = [y]
        for _ in range(3):
            before = y if self.mistake == "side by side" else pools[-1]
            pools.append(F.max_pool1d(before, 3, 1, 1))
        return self.out(torch.cat(pools, 1))


class Gate(nn.Module):
    """A gate of two statistics by one module, a response norm, and a gated norm of groups."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6))
        self.norm, self.other = nn.LayerNorm(6), nn.LayerNorm(6)
        self.bias, self.mistake = nn.Parameter(torch.ones(6)), mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, most = x.mean(1), x.amax(1)
        once = self.mistake == "called once"
        y = self.gate(mean + most) if once else self.gate(mean) + self.gate(most)
        x = x * torch.sigmoid(y)[:, None]
        first, second = (2, 1) if self.mistake == "axes" else (1, 2)
        size = x.norm(dim=first, keepdim=True)
        x = self.norm(x) * (size / (size.mean(second, keepdim=True) + 0.1))
        other = self.other(x)
        if self.mistake == "over time":
            spread = (x.var(1, False, keepdim=True) + 1e-5).sqrt()
            other = (x - x.mean(1, keepdim=True)) / spread * self.other.weight + self.other.bias
        if self.mistake == "bias":
            return 3 * torch.tanh((other + self.bias) / 3)
        return 3 * torch.tanh(other / 3) + self.bias


class GatedNorm(nn.Module):
    """A gate before a norm of groups."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.into, self.out = nn.Linear(8, 24), nn.Linear(12, 8)
        self.skip, self.late = nn.Parameter(torch.ones(12, 1)), mistake == "gate"
        self.plain = mistake == "skip"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, gate = self.into(x).chunk(2, -1)
        gate = F.silu(gate)
        y = y if self.late else y * gate
        groups = y.unflatten(-1, (3, 4))
        groups = groups * torch.rsqrt(groups.pow(2).mean(-1, keepdim=True) + 1e-5)
        y = groups.flatten(-2) * gate if self.late else groups.flatten(-2)
        moved = (y.tanh() * x.mean(-1, keepdim=True)).transpose(1, 2)
        plain = y.tanh().transpose(1, 2) if self.plain else moved
        return self.out((moved.cumsum(-1) + self.skip * plain).transpose(1, 2))


CASES = {
    "around all": (Pooled, (2, 4, 9), "other-tensor", "is added once"),
    "side by side": (Pooled, (2, 4, 9), "other-tensor", "as the first F.max_pool1d"),
    "called once": (Gate, (2, 5, 6), "moved-step", "called once"),
    "axes": (Gate, (2, 5, 6), "changed-step", "not the other way round"),
    "over time": (Gate, (2, 5, 6), "changed-step", "axes is (1,) instead of (2,)"),
    "bias": (Gate, (2, 5, 6), "moved-step", "bias is added to"),
    "gate": (GatedNorm, (2, 5, 8), "moved-step", "is multiplied after"),
    "skip": (GatedNorm, (2, 5, 8), "missing-step", "as it is before"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_with_several_steps_is_one_cause(name):
    kind, shape, slug, words = CASES[name]
    model, x, wrong, _ = otherwise(kind, draw(*shape), mistake=name)
    report = probe.check(model, "", x, expected=wrong)
    assert report.findings, report
    first = report.findings[0]
    assert (first.slug, first.also) == (slug, ()), report
    assert words in first.claim
    assert first.left <= 1


@pytest.mark.parametrize(("kind", "shape"), [(Pooled, (2, 4, 9)), (Gate, (2, 5, 6))])
def test_healthy_values_have_no_cause(kind, shape):
    model, x, right, _ = otherwise(kind, draw(*shape))
    report = probe.check(model, "", x, expected=right)
    assert report.ok
    assert not report.findings


class Sums(nn.Module):
    """Running sums, and a mixture with the step before that is made twice."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.key, self.value = nn.Linear(4, 4), nn.Linear(4, 4)
        self.first, self.second = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
        self.mistake = mistake

    def running(self, x: torch.Tensor) -> torch.Tensor:
        if self.mistake == "all":
            return x.sum(1, keepdim=True).expand(x.shape)
        return x.cumsum(1) - x if self.mistake == "before" else x.cumsum(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = F.pad(x, (0, 0, 1, -1))
        x, last = (last, x) if self.mistake == "shares" else (x, last)
        key = self.key(x * self.first + last * (1 - self.first)).exp()
        value = self.value(x * self.second + last * (1 - self.second))
        return self.running(key * value) / (self.running(key) + 0.1)


@pytest.mark.parametrize(
    ("mistake", "slug", "words"),
    [
        ("all", "changed-step", "the sum over all elements"),
        ("before", "changed-step", "without its own"),
        ("shares", "swapped-inputs", "are exchanged in all 4 steps"),
    ],
)
def test_what_is_made_twice_is_one_cause(mistake, slug, words):
    model, x, wrong, _ = otherwise(Sums, draw(2, 6, 4), mistake=mistake)
    report = probe.check(model, "", x, expected=wrong)
    assert report.findings, report
    first = report.findings[0]
    assert (first.slug, first.also) == (slug, ()), report
    assert words in first.claim
    assert first.left <= 1
