"""Factors that are left out or one too many, and integers that were not multiplied by their
scale."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from named_mistakes import named, of
from own_seed import RNG
from torch import nn

import probe
from probe import ops
from probe.diagnosis.reproducing import edits_of
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses import REGISTERED
from probe.ops.step import Ref, Step
from probe.trial.case import Case


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


class Scaled(nn.Module):
    """A branch with a multiplier, and logits with a temperature."""

    def __init__(self, multiplier=0.22, temperature=5.0):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 6)
        self.multiplier, self.temperature = multiplier, temperature

    def forward(self, x):
        y = x + self.second(torch.relu(self.first(x))) * self.multiplier
        return self.head(y) / self.temperature


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"multiplier": 1.0}, "the factor of the output of second is 1; the block's is 0.22"),
        (
            {"multiplier": 0.22**2},
            "the factor of the output of second is 0.0484; the block's is 0.22",
        ),
        ({"temperature": 1.0}, "the divisor of the output of head is 1; the block's is 5"),
        ({"temperature": 0.2}, "the divisor of the output of head is 0.2; the block's is 5"),
    ],
)
def test_a_factor_of_a_block_that_is_no_scale_of_scores(other, told):
    x = drawn(3, 5, 8)
    finding = named(Scaled().eval(), "", x, of(Scaled(**other).eval(), x))
    assert (finding.slug, finding.claim) == ("missing-scale", told)


class Similar(nn.Module):
    """CLIP's logits: cosines times exp of a stored scale, which is an array of one number."""

    def __init__(self, scaled=True):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(8, 6), nn.Parameter(torch.randn(5, 6))
        self.logit_scale, self.scaled = nn.Parameter(torch.full((1,), 2.3)), scaled

    def forward(self, x):
        cosines = F.normalize(self.image(x), dim=-1) @ F.normalize(self.text, dim=-1).T
        return cosines * self.logit_scale.exp() if self.scaled else cosines


def test_a_factor_that_is_made_of_a_parameter():
    x = drawn(3, 8)
    finding = named(Similar().eval(), "", x, of(Similar(False).eval(), x))
    assert finding.slug == "missing-scale"
    assert finding.claim.startswith("the factor of the matrix product with text / ")
    assert "is 1; " in finding.claim
    assert finding.claim.endswith("; the block's is 9.97418")


class Scores(nn.Module):
    def __init__(self, scale):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)
        self.scale = scale

    def forward(self, x):
        scores = (self.q(x) * self.scale) @ self.k(x).transpose(1, 2)
        return torch.softmax(scores, -1) @ x


def test_a_factor_of_scores_is_theirs():
    x = drawn(2, 5, 8)
    finding = named(Scores(0.3).eval(), "", x, of(Scores(1.0).eval(), x))
    assert finding.slug == "attention-scale"


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        *((3.0, "3"), (1 / np.sqrt(6), "1 / sqrt(6)"), (1 / 255, "1 / 255")),
        *((0.317, "0.317"), (41.5, "41.5")),
    ],
)
@pytest.mark.parametrize("layer", ["", "head"])
def test_one_factor_of_the_whole_output(layer, factor, words):
    x = drawn(3, 5, 8)
    model = Scaled().eval()
    y = probe.check(model, layer, x).outputs["framework"]
    finding = named(model, layer, x, (y * factor).astype(np.float32))
    assert finding.slug == "scaled-output"
    assert finding.claim == f"the output is multiplied by {words}"


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        (lambda y: np.rint(y / 0.0371), "divided by 0.0371, rounded to the nearest"),
        (lambda y: np.floor(y / 0.0371), "divided by 0.0371, rounded down (floor)"),
        (lambda y: np.trunc(y / 0.0371), "divided by 0.0371, rounded towards zero"),
        (
            lambda y: np.rint(y / 0.0125) + 101,
            "divided by 0.0125 plus 101, rounded to the nearest",
        ),
        (
            lambda y: np.clip(np.rint(y / 0.01) + 9, 0, 255),
            "divided by 0.01 plus 9, rounded to the nearest, clipped to 0 .. 255",
        ),
    ],
)
def test_codes_of_a_quantised_tensor(codes, told):
    torch.manual_seed(1)
    model, x = nn.Linear(8, 40).eval(), 3 * drawn(6, 8)
    finding = named(model, "", x, codes(of(model, x).astype(np.float64)))
    assert finding.slug == "raw-integers"
    assert finding.claim == f"your values are integers: the output {told}"
    assert "before you compare" in finding.do


@pytest.mark.costly
def test_other_integers_are_none_of_the_output():
    torch.manual_seed(1)
    model, x = nn.Linear(8, 40).eval(), drawn(6, 8)
    report = probe.check(model, "", x, expected=RNG.integers(-9, 9, (6, 40)).astype(np.float32))
    assert report.verdict == "diverge"
    assert not report.findings, report


def test_a_factor_at_the_end_of_a_thousand_steps():
    steps = [Step(ops.Relu(), (Ref(k - 1),)) for k in range(1500)]
    steps += [Step(ops.Constant(np.array(0.25)), ()), Step(ops.Mul(), (Ref(1499), Ref(1500)))]
    inputs = (np.ones((2, 3)),)
    values = recompute(tuple(steps), inputs)
    case = Case(tuple(steps), inputs, values, values[-1][0], calls=("long",) * len(steps))
    (search,) = (one for one in REGISTERED if one.slug == "missing-scale")
    assert "the factor of the output of the 1500th long (ReLU) is 1; the block's is 0.25" in [
        edit.claim for edit in edits_of(search, case)
    ]


@pytest.mark.parametrize(("epsilon", "words"), [(1e-3, "eps = 0.001;"), (2.3e-3, "(fitted)")])
def test_an_epsilon_is_named_once(epsilon, words):
    """As a usual one where it is, and else by its value."""
    x = torch.from_numpy(RNG.normal(scale=0.1, size=(8, 3, 5, 5)).astype(np.float32))
    norm = nn.BatchNorm2d(3).train()
    norm(x)
    norm.eval()
    other = copy.deepcopy(norm)
    other.eps = epsilon
    report = probe.check(norm, "", x.numpy(), expected=other(x).detach().numpy())
    (cause,) = report.findings
    assert cause.slug == "other-epsilon" and words in cause.claim
    assert "another variant" not in cause.claim, cause.claim


class Scored(nn.Module):
    """Attention of a width that its scale does not tell, and a part beside it."""

    def __init__(self, scale: float = 0.43) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.query, self.beside = nn.Linear(7, 9, bias=False), nn.Linear(7, 9)
        self.pair = nn.Linear(7, 18)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        k, v = self.pair(x).chunk(2, -1)
        y = F.scaled_dot_product_attention(self.query(x), k, v, scale=self.scale)
        return y + self.beside(x)


def test_a_factor_of_a_weight_is_told_of_the_scale_that_it_may_be():
    x = drawn(2, 5, 7)
    wrong = Scored(1 / 11**0.5)(torch.from_numpy(x)).detach().numpy()
    first = probe.check(Scored().eval(), "", x, expected=wrong).findings[0]
    assert first.slug == "missing-scale"
    assert "0.301511 (1 / sqrt(11)) instead of 0.43" in first.claim
    assert first.left <= 1


def test_a_weight_that_is_left_out_is_taken_as_0():
    model, wrong, x = Scored().eval(), Scored(), drawn(2, 5, 7)
    with torch.no_grad():
        wrong.beside.weight.zero_()
    expected = wrong(torch.from_numpy(x)).detach().numpy()
    report = probe.check(model, "", x, expected=expected)
    assert any("beside.weight" in finding.claim for finding in report.findings), report
    assert "e-0" not in report.findings[0].claim


def test_a_factor_of_the_input_may_be_one_of_the_kernel():
    model, x = nn.Linear(6, 4).eval(), drawn(5, 6)
    weight, bias = (part.detach().numpy() for part in (model.weight, model.bias))
    report = probe.check(model, "", x, expected=x @ (-0.37 * weight).T + bias)
    first = report.findings[0]
    assert first.slug == "scaled-input", report
    assert "the input is, or weight is -0.37 x what it should be" in first.claim
