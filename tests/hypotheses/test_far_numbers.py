"""Numbers that are far from the layer's own: an exponent, a base, a limit or a cap, at one step or
at all that take it."""

import numpy as np
import pytest
import torch
from planting import draw
from torch import nn

import probe
from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.steps.fitted_numbers import fitted_number
from probe.ops.step import Ref, Step
from probe.trial.case import Case


class Decayed(nn.Module):
    """What came before decays at a rate of each head."""

    def __init__(self, first=1, base=2.0):
        super().__init__()
        self.first, self.base = first, base

    def forward(self, x):
        rates = 1 - self.base ** (-self.first - torch.arange(4.0))
        apart = torch.arange(8)[:, None] - torch.arange(8)
        shares = torch.where(apart >= 0, rates[:, None, None] ** apart.clamp(min=0), 0.0)
        return shares @ x


class Gated(nn.Module):
    """A gate, and the same number beside it."""

    def __init__(self, slope=3.0):
        super().__init__()
        torch.manual_seed(1)
        self.linear, self.slope = nn.Linear(4, 4), slope

    def forward(self, x):
        return torch.sigmoid(self.slope * self.linear(x)) / self.slope


class Levels(nn.Module):
    """Values between 0 and a learned limit, in 15 steps."""

    def __init__(self, limit=0.7):
        super().__init__()
        self.limit = nn.Parameter(torch.tensor([limit]))

    def forward(self, x):
        cut = torch.minimum(x, self.limit).relu()
        return torch.round(cut / self.limit * 15) / 15 * self.limit


class Branches(nn.Module):
    """Two branches that are added to what goes into them."""

    def __init__(self, share=1.0):
        super().__init__()
        torch.manual_seed(2)
        self.layers, self.share = nn.ModuleList(nn.Linear(4, 4) for _ in range(2)), share

    def forward(self, x):
        for layer in self.layers:
            made = layer(x).tanh()
            x = x + (made if self.share == 1 else self.share * made)
        return x


class Averaged(nn.Module):
    """The mean of as many first places as there are above the mean."""

    def __init__(self, fewer=0):
        super().__init__()
        self.fewer = fewer

    def forward(self, x):
        count = (x >= x.mean(-1, keepdim=True)).sum(-1, keepdim=True)
        if self.fewer:
            count = (count - self.fewer).clamp(min=1)
        return x.cumsum(-1).gather(-1, count - 1) / count


class Compressed(nn.Module):
    """A layer on the logarithm of what comes in."""

    def __init__(self, logarithm=True):
        super().__init__()
        torch.manual_seed(3)
        self.linear, self.logarithm = nn.Linear(4, 4), logarithm

    def forward(self, x):
        x = torch.nn.functional.softplus(x)
        return self.linear(torch.log1p(x) if self.logarithm else x).tanh()


@pytest.mark.parametrize(
    ("own", "wrong", "claim"),
    [
        (Decayed(), Decayed(first=5), "-5 is taken instead of -1"),
        (Decayed(), Decayed(base=8.0), "8 is taken instead of 2"),
        (Gated(), Gated(slope=0.23), "0.23 is taken instead of the number 3 in"),
        (Levels(), Levels(limit=6.0), "limit is taken as 6 in place of 0.7"),
        (Branches(), Branches(share=0.8), "multiplied by 0.8"),
        (Branches(), Branches(share=1e-12), "taken as 0 everywhere"),
        (Averaged(), Averaged(fewer=1), "is decreased by 1, down to the smallest"),
        (Compressed(False), Compressed(), "is replaced by log(1 + x)"),
    ],
)
def test_a_number_far_away_is_named(own, wrong, claim):
    x = draw(2, 4, 8, 4)
    with torch.no_grad():
        report = probe.check(own.eval(), "", x, expected=wrong(torch.from_numpy(x)).numpy())
    assert claim in report.findings[0].claim and report.findings[0].left <= 1, report


@pytest.mark.parametrize(
    ("factor", "claims"),
    [
        (1e-9, ["the output of the tanh is taken as 0 everywhere"]),
        (1e7, ["the output of the tanh is multiplied by 1e+07"]),
        (12345678.9, []),
        (0.123, ["the output of the tanh is multiplied by 0.123"]),
    ],
)
def test_a_fitted_number_is_neither_next_to_nothing_nor_endless(factor, claims):
    x = draw(4, 5).astype(float)
    steps = (*(Step(op, (Ref(-1, 0),)) for op in (ops.Tanh(), ops.Exp())),)
    steps += (Step(ops.Add(), (Ref(0), Ref(1))),)
    observed = factor * np.tanh(x) + np.exp(x)
    allowed = np.full(x.shape, 1e-7 * max(1, factor))
    case = Case(steps, (x,), recompute(steps, (x,)), observed, allowed=allowed)
    assert [edit.claim for edit in fitted_number(case)] == claims


def test_an_input_that_is_one_number_is_no_multiple():
    model, x = nn.Conv2d(2, 3, 3), draw(2, 2, 6, 6)
    with torch.no_grad():
        values = model(torch.full((2, 2, 6, 6), 0.7)).numpy()
    claims = [finding.claim for finding in probe.check(model, "", x, expected=values).findings]
    assert "the input is 0.7 everywhere" in claims


class Curved(nn.Module):
    """Half of x (1 + sin(x / 1.4142)), rounded to levels."""

    def forward(self, x):
        return torch.floor(x * (1 + torch.sin(x / 1.4142)) * 50) / 100


def test_a_constant_of_a_function_is_another_one():
    x = draw(6, 20)
    values = np.floor(x * (1 + np.sin(x / np.float32(1.702))) * 50) / np.float32(100)
    first, *_ = probe.check(Curved(), "", x, expected=values).findings
    assert first.left <= 1 and first.claim.startswith("1.702 is taken instead of 1.4142")
