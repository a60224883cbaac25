"""Two mistakes at once, of which one is of the kinds that are tried last, or neither brings the
layer near to what was given; which pairs are tried first."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import probe
from probe import ops
from probe.diagnosis.scoring import Scored, View, on_the_whole
from probe.diagnosis.two_mistakes import _nearest_sums
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses import CAUSES, REGISTERED
from probe.numerics.precision import precision_of
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit
from probe.trial.fit import RoundingAllowance, Sample

F = torch.nn.functional


def named(model, x, y):
    report = probe.check(model, "", x, expected=y.numpy())
    assert report.findings and report.findings[0].left <= 1, report
    return {report.findings[0].slug, *report.findings[0].also}, report.findings[0].claim


@pytest.mark.costly
@torch.no_grad()
def test_gates_in_another_order_and_the_first_state_ignored():
    torch.manual_seed(0)
    gru = torch.nn.GRU(5, 6)
    x, state = torch.randn(7, 3, 5), torch.randn(1, 3, 6)
    wrong = torch.nn.GRU(5, 6)
    for name, weight in gru.named_parameters():
        reset, update, new = weight.chunk(3)
        getattr(wrong, name).copy_(torch.cat([update, reset, new]))
    report = probe.check(gru, "", (x, state), expected=wrong(x, torch.zeros(1, 3, 6))[0].numpy())
    (first, *_) = report.findings
    assert {first.slug, *first.also} == {"gate-order", "initial-state"}, report
    assert "input 1 is taken as zeros" in first.claim


class Residual(torch.nn.Module):
    def __init__(self, eps=1e-5):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = torch.nn.Conv2d(4, 6, 3, padding=1), torch.nn.BatchNorm2d(6, eps)
        self.conv2, self.norm2 = torch.nn.Conv2d(6, 6, 3, padding=1), torch.nn.BatchNorm2d(6, eps)
        self.short, self.norm3 = torch.nn.Conv2d(4, 6, 1), torch.nn.BatchNorm2d(6, eps)
        for one in (self.norm, self.norm2, self.norm3):
            one.running_var.copy_(torch.rand(6) + 0.2)
            one.running_mean.copy_(torch.randn(6))

    def forward(self, x):
        y = self.norm2(self.conv2(torch.relu(self.norm(self.conv(x)))))
        return torch.relu(y + self.norm3(self.short(x)))


@pytest.mark.costly
@torch.no_grad()
def test_a_forgotten_norm_and_another_epsilon_in_all_others():
    block, wrong = Residual().eval(), Residual(eps=1e-2).eval()
    wrong.norm3 = torch.nn.Identity()
    x = torch.randn(2, 4, 6, 6)
    slugs, claim = named(block, x, wrong(x))
    assert slugs == {"missing-step", "other-epsilon"}, claim
    assert "norm3 is left out" in claim and "epsilon is 0.01 instead of 1e-05" in claim


class Shifted(torch.nn.Module):
    """Its constant has axes of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.shift = torch.nn.Linear(8, 6), torch.full((1, 1), 3.0)

    def forward(self, x):
        return self.linear(torch.tanh(x - self.shift))


@torch.no_grad()
def test_a_bias_that_is_missing_and_another_constant_of_one_element():
    net, x = Shifted().eval(), 3 + torch.randn(4, 8)
    slugs, claim = named(net, x, torch.tanh(x - 2) @ net.linear.weight.T)
    assert slugs == {"scaled-tensor", "missing-bias"}, claim
    assert "the difference of x and input 1 is increased by 1" in claim


def scored(slug, effect):
    hypothesis = replace(CAUSES["missing-bias"], slug=slug)
    return Scored(hypothesis, Edit(slug, (), ()), 0, 0, effect=np.array(effect, float))


def test_pairs_are_tried_in_the_order_in_which_their_effects_add_up():
    a, b, c = scored("a", [4, 0, 0, 1]), scored("b", [0, 3, 0, 0]), scored("c", [0, 0, 1, 5])
    twice = scored("b", [0, 6, 0, 0])
    healthy = np.array([1.0, 2.0, 3.0, 4.0])
    observed = np.array([5.0, 5.0, 3.0, 5.0])
    some = Sample((np.arange(4),), observed, healthy, np.full(4, 1e-6))
    first = next(_nearest_sums([a, b, c, twice], [a, b, c, twice], some))
    assert {one.edit.claim for one in first} == {"a", "b"} and twice not in first
    of_two = list(_nearest_sums([a, b, c], [c], some))
    assert all(one is c for one, _ in of_two)


@pytest.mark.parametrize("wrong", ["nothing", "the same slug", "no number"])
def test_what_makes_no_pair(wrong):
    a = scored("a", [1, 0])
    b = scored("a" if wrong == "the same slug" else "b", [0, np.nan if wrong == "no number" else 1])
    healthy, apart = np.zeros(2), np.zeros(2) if wrong == "nothing" else np.ones(2)
    some = Sample((np.arange(2),), healthy + apart, healthy, np.full(2, 1e-6))
    assert list(_nearest_sums([a, b], [a, b], some)) == []


def test_a_second_mistake_behind_a_change_of_what_a_norm_is_made_of():
    """Such steps do not say what they round, so that the whole batch is held against what the
    healthy layer is allowed."""
    rng = np.random.default_rng(0)
    x, gain = rng.normal(size=(3, 16)), Weight("gain", None, rng.normal(size=16))
    steps = (Step(ops.LayerNormalization(gain, None, 1e-5, (1,)), (Ref(-1),)),)
    values = recompute(steps, (x,))
    case = Case(steps, (x,), values, np.tanh(values[-1][0]))
    rounding = RoundingAllowance(precision_of("float32"))
    view = View(case, rounding, np.full(x.shape, 1e-6), rounding)
    first, second = (
        next(one for one in REGISTERED if one.slug == slug)
        for slug in ("cast-order", "extra-activation")
    )
    edit = next(first.function(case))
    assert edit.as_healthy
    changed = view.became(edit)
    again = next(second.function(changed.case))
    scored = Scored(second, again, 0, 0, also=(Scored(first, edit, 0, 0),))
    assert on_the_whole(scored, view).edit.as_healthy


class Normalised(torch.nn.Module):
    """Cosines of two sets of directions, as large as learnt."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.weight = torch.nn.Parameter(torch.randn(6, 8))

    def forward(self, x):
        return 30 * F.normalize(x) @ F.normalize(self.weight).T


@pytest.mark.costly
@torch.no_grad()
def test_no_second_mistake_is_one_number_fitted_to_one_value():
    model, x = Normalised(), torch.randn(5, 8, generator=torch.Generator().manual_seed(4))
    y = 30 * F.normalize(x) @ F.normalize(model.weight, dim=0).T
    report = probe.check(model, "", x.numpy(), expected=y.numpy())
    assert (report.findings[0].slug, report.findings[0].also) == ("wrong-axis", ())
    largest = y.max()
    y[y == largest] = (largest + y[y < largest].max()) / 2
    (finding,) = probe.check(model, "", x.numpy(), expected=y.numpy()).findings
    assert (finding.slug, finding.also, finding.left > 1) == ("wrong-axis", (), True)
    assert finding.named == "wrong-axis (in part)"
    assert "it gives 29 of the 30 values that differ" in finding.claim
