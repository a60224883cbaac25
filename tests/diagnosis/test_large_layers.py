"""Mistakes in layers of the sizes that people use: of those a slice of the output is looked at."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_seed import RNG
from torch import nn

import probe
from probe.diagnosis import diagnose, search
from probe.trial.budget import Budget

WIDE, HEADS = 256, 4


class Block(nn.Module):
    """A decoder block."""

    def __init__(self):
        super().__init__()
        self.norm, self.second = nn.LayerNorm(WIDE), nn.LayerNorm(WIDE)
        self.packed, self.out = nn.Linear(WIDE, 3 * WIDE), nn.Linear(WIDE, WIDE)
        self.up, self.down = nn.Linear(WIDE, 4 * WIDE), nn.Linear(4 * WIDE, WIDE)

    def forward(self, x):
        return ported(self, x)


def ported(
    m, x, split="heads first", scale=1.0, act=F.gelu, window=0, onto="the sum", out=None, norm=None
):
    """The block, or what was made of it."""
    b, t, d = x.shape
    q, k, v = m.packed(m.norm(x)).split(d, dim=-1)
    if split == "heads first":
        q, k, v = (one.view(b, t, HEADS, d // HEADS).transpose(1, 2) for one in (q, k, v))
    else:
        q, k, v = (one.view(b, t, d // HEADS, HEADS).permute(0, 3, 1, 2) for one in (q, k, v))
    y = None
    if window:
        apart = torch.arange(t)[:, None] - torch.arange(t)
        mask = (apart >= 0) & (apart < window)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    else:
        y = F.scaled_dot_product_attention(q * scale, k, v, is_causal=True)
    attended = m.out(y.transpose(1, 2).reshape(b, t, d))
    h = x + (attended if out is None else out(attended))
    normed = (m.second if norm is None else m.get_submodule(norm))(h)
    base = {"the sum": h, "the input": x, "the norm": normed}[onto]
    return base + m.down(act(m.up(normed)))


def varied(module, gain=1.5):
    torch.manual_seed(0)
    with torch.no_grad():
        for one in module.parameters():
            if one.ndim == 1:
                one.add_(0.3 * torch.randn_like(one))
            else:
                one.mul_(gain)
    return module.eval()


@pytest.fixture(scope="module")
def block():
    return varied(Block()), RNG.normal(size=(1, 80, WIDE)).astype(np.float32)


def of(function, *args, **kwargs):
    with torch.no_grad():
        return function(*args, **kwargs).numpy()


@pytest.fixture
def looked_at(monkeypatch):
    """The slices that searches look at."""
    slices = []
    real = diagnose.slice_of_output

    def kept(case, allowed):
        slices.append(real(case, allowed))
        return slices[-1]

    monkeypatch.setattr(diagnose, "slice_of_output", kept)
    return slices


@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    ("mistake", "slug"),
    [
        ({"act": F.relu}, "other-activation"),
        ({"scale": 0.125}, "attention-scale"),
        ({"split": "features first"}, "head-layout"),
        ({"onto": "the input"}, "other-tensor"),
        ({"onto": "the norm"}, "other-tensor"),
    ],
)
def test_a_mistake_in_a_block(block, looked_at, mistake, slug):
    module, x = block
    values = of(ported, module, torch.from_numpy(x), **mistake)
    report = probe.check(module, "", x, expected=values)
    assert report.findings, report
    assert report.findings[0].slug == slug, report
    assert report.findings[0].left <= 1, report
    assert looked_at[0] is not None


def test_another_norms_parameters_are_named(block, monkeypatch):
    module, x = block
    monkeypatch.setattr(diagnose, "_WORK_OF_LARGE", 2e9)
    values = of(ported, module, torch.from_numpy(x), norm="norm")
    (finding,) = probe.check(module, "", x, expected=values).findings
    assert (finding.slug, finding.left <= 1) == ("swapped-inputs", True), finding
    assert "second uses the parameters of norm" in finding.claim


def test_single_changes_are_tried_though_the_budget_is_used_up(block, monkeypatch):
    module, x = block
    values = of(ported, module, torch.from_numpy(x), out=lambda y: y / 2)
    # so little that most of what may happen to a step is not tried
    monkeypatch.setattr(diagnose, "_WORK_OF_LARGE", 1e9)
    monkeypatch.setattr(search, "_FOR_SINGLE", 0.0)
    assert not probe.check(module, "", x, expected=values).findings
    monkeypatch.setattr(search, "_FOR_SINGLE", 1.0)
    (finding,) = probe.check(module, "", x, expected=values).findings
    assert finding.left <= 1
    assert "the output of out is multiplied by 1/2" in finding.claim


def test_what_is_found_soon_is_found_as_soon_at_length(block, monkeypatch):
    module, x = block
    budgets = list[Budget]()

    def kept(work):
        budgets.append(Budget(work))
        return budgets[-1]

    monkeypatch.setattr(diagnose, "Budget", kept)
    values = of(ported, module, torch.from_numpy(x), onto="the norm")
    report = probe.check(module, "", x, expected=values, thorough=True)
    assert [one.slug for one in report.findings] == ["other-tensor"]
    assert sum(budget.used for budget in budgets) < diagnose._WORK_OF_LARGE


def test_a_mistake_that_shows_late_is_looked_for_where_it_shows(block, looked_at):
    module, x = block
    values = of(ported, module, torch.from_numpy(x), window=64)
    report = probe.check(module, "", x, expected=values)
    (first, *_) = looked_at
    assert first.start >= 64 - first.stop + first.start
    assert report.findings, report
    assert "64" in report.findings[0].claim, report


@pytest.mark.costly
def test_noise_is_nothing(block, looked_at):
    module, x = block
    y = of(module, torch.from_numpy(x))
    report = probe.check(module, "", x, expected=y + 0.1 * RNG.normal(size=y.shape))
    assert not report.findings, report
    assert looked_at[0] is not None
    assert not any("internal error" in line for line in (*report.diagnosis, *report.notes)), report


def test_a_recurrence(looked_at):
    module = varied(nn.LSTM(64, 128, batch_first=True), gain=1.0)
    x = RNG.normal(size=(1, 100, 64)).astype(np.float32)
    other = nn.LSTM(64, 128, batch_first=True)
    other.load_state_dict(module.state_dict() | {"bias_hh_l0": torch.zeros_like(module.bias_hh_l0)})
    values = of(lambda x: other(x)[0], torch.from_numpy(x))
    report = probe.check(module, "", x, expected=values)
    assert looked_at[0] is not None
    assert report.findings, report
    assert report.findings[0].slug == "recurrent-bias", report


class Bottleneck(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.three = nn.Conv2d(64, 32, 1), nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.last, self.shortcut = nn.Conv2d(32, 64, 1), nn.Conv2d(64, 64, 1, stride=2)

    def forward(self, x, inner=F.relu, pads=(1, 1), strided="three"):
        one, three = (2 if strided == name else 1 for name in ("one", "three"))
        y = inner(F.conv2d(x, self.one.weight, self.one.bias, stride=one))
        y = F.pad(y, (*pads, *pads))
        y = F.conv2d(y, self.three.weight, self.three.bias, stride=three)
        return F.relu(self.last(F.relu(y)) + self.shortcut(x))


@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    ("mistake", "slug"),
    [
        ({"inner": lambda x: x}, "missing-activation"),
        ({"inner": F.relu6}, "other-activation"),
        ({"pads": (0, 2)}, "padding-on-other-side"),
        ({"strided": "one"}, "ignored-stride"),
    ],
)
def test_a_mistake_in_a_block_of_convolutions(looked_at, mistake, slug):
    module = varied(Bottleneck(), gain=3.0)
    x = RNG.normal(size=(1, 64, 56, 56)).astype(np.float32)
    values = of(module, torch.from_numpy(x), **mistake)
    report = probe.check(module, "", x, expected=values)
    assert looked_at[0] is not None
    assert report.findings, report
    assert report.findings[0].left <= 1, report
    assert report.findings[0].slug == slug, report
