"""An input's and an accumulator's type with too few bits, as hls4ml computes a dense layer: in
integers, of which nothing here is shared with what is tested."""

import numpy as np
import pytest
import torch

import probe
from probe import Weight, ops
from probe.description import Step
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.precision.fixed_point import fixed_point, fraction_of
from probe.hypotheses.precision.fixed_point_types import accumulator_type, input_type
from probe.trial.case import Case


def cast(codes, fraction, kind, *, rounds=False, saturates=False):
    """The codes of ``ap_fixed<W, I>`` for integers with so many fraction bits."""
    word, integer = kind
    shift = fraction - (word - integer)
    if shift > 0:
        codes = (codes + (1 << (shift - 1)) * rounds) >> shift
    else:
        codes = codes << -shift
    low, high = -(1 << (word - 1)), (1 << (word - 1)) - 1
    return np.clip(codes, low, high) if saturates else ((codes - low) & ((1 << word) - 1)) + low


def dense(layer, x, *, given, accumulator, result, weights=(16, 6), relu=False, clips=False, **how):
    """Every type as (W, I); ``how`` is how the input is cast. The accumulator may clip."""
    fine = 30
    x, w, b = (
        np.rint(np.asarray(one, np.float64) * 2.0**fine).astype(np.int64)
        for one in (x, layer.weight.detach(), layer.bias.detach())
    )
    x = cast(x, fine, given, **how)
    w, b = (cast(one, fine, weights) for one in (w, b))
    fraction, of_weights = given[0] - given[1], weights[0] - weights[1]
    total = np.broadcast_to(cast(b, of_weights, accumulator, saturates=clips), (len(x), len(b)))
    for i in range(x.shape[1]):
        wide = accumulator[0] - accumulator[1] + WIDE[1], WIDE[1]
        product = cast(x[:, i, None] * w[None, :, i], fraction + of_weights, wide)
        total = cast(total + product, accumulator[0] - accumulator[1], accumulator, saturates=clips)
    total = np.maximum(total, 0) if relu else total
    y = cast(total, accumulator[0] - accumulator[1], result)
    return y / 2.0 ** (result[0] - result[1])


WIDE = (40, 16)


@pytest.fixture
def layer():
    """Weights that ap_fixed<16, 6> holds exactly, as of a quantised layer."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 10).eval()
    with torch.no_grad():
        for one in (layer.weight, layer.bias):
            one.copy_((one * 4 * 2**6).round() / 2**6)
    return layer


@pytest.fixture
def x():
    """What ap_fixed<16, 6> holds exactly."""
    values = 2 * np.random.default_rng(0).normal(size=(12, 24))
    return (np.rint(values * 2**10) / 2**10).astype(np.float32)


def named(layer, x, y):
    report = probe.check(layer, "", given=x, expected=y)
    assert report.findings, report
    assert report.findings[0].left <= 1, report
    return report.findings[0]


@pytest.mark.costly(default=2)
@pytest.mark.parametrize(
    ("types", "slug", "words"),
    [
        (
            {"accumulator": (18, 12), "result": (22, 12)},
            "fixed-point",
            ["the accumulator has 6 fraction bits", "rounded down (floor)", "12 would do"],
        ),
        (
            {"accumulator": (26, 14), "result": (24, 14)},
            "fixed-point",
            ["the accumulator has 12 fraction bits", "the output has 10 fraction bits"],
        ),
        (
            {"given": (12, 8), "accumulator": WIDE, "result": WIDE},
            "fixed-point",
            ["the input has 4 fraction bits, rounded down (floor); 10 would do"],
        ),
        (
            {"given": (13, 8), "accumulator": WIDE, "result": (24, 14), "rounds": True},
            "fixed-point",
            ["the input has 5 fraction bits, rounded half up; 10 would do"],
        ),
        (
            {"given": (13, 3), "accumulator": WIDE, "result": WIDE},
            "wrap-around",
            ["the input wraps around into -4 .. 4", "4 bits before the point would do"],
        ),
        (
            {"given": (10, 3), "accumulator": WIDE, "result": WIDE, "saturates": True},
            "saturation",
            ["the input is clipped to -4 .. 3.99219", "ap_fixed<10, 3>"],
        ),
    ],
    ids=[
        "accumulator",
        "accumulator and output",
        "input",
        "input rounded",
        "input wraps",
        "input saturates",
    ],
)
def test_the_type_that_is_too_narrow_is_named(layer, x, types, slug, words):
    finding = named(layer, x, dense(layer, x, **{"given": (16, 6), **types}))
    assert finding.slug == slug, finding
    for one in words:
        assert one in finding.claim, finding


def test_an_accumulator_that_wraps_in_front_of_an_activation(layer, x):
    """Behind the activation the output's own type holds all values."""
    net = torch.nn.Sequential(layer, torch.nn.ReLU()).eval()
    y = dense(layer, x, given=(16, 6), accumulator=(23, 4), result=WIDE, relu=True)
    report = probe.check(net, "", x, expected=y)
    first = report.findings[0]
    assert (first.slug, first.left <= 1) == ("wrap-around", True), report
    assert "the accumulator wraps around into -8 .. 8" in first.claim
    assert "it has 4 bits before the point (with the sign), 5 would do" in first.claim


@pytest.mark.parametrize("relu", [False, True])
def test_an_accumulator_that_saturates_at_each_addition(layer, x, relu):
    """So that sums come out wrong that end within its range."""
    net = torch.nn.Sequential(layer, torch.nn.ReLU()).eval() if relu else layer
    wide, narrow = (
        dense(layer, x, given=(16, 6), accumulator=one, result=WIDE, relu=relu, clips=True)
        for one in (WIDE, (23, 4))
    )
    low, high = -8, 8 - 2.0**-19
    inside = (wide > low) & (wide < high)
    assert (narrow != wide)[inside].any()
    report = probe.check(net, "", x, expected=narrow)
    first = report.findings[0]
    assert (first.slug, first.left <= 1) == ("saturation", True), report
    assert "the accumulator saturates at each addition, the bias first" in first.claim, report
    assert "4 bits before the point" in first.claim


def test_one_type_for_all(layer, x):
    """hls4ml's default: inputs, weights, accumulator and output have 10 fraction bits."""
    x = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    with torch.no_grad():
        layer.weight.normal_()
    y = dense(layer, x, given=(16, 6), accumulator=(16, 6), result=(16, 6))
    finding = named(layer, x, y)
    assert finding.slug == "fixed-point"
    assert "inputs and weights have 10 fraction bits, rounded down (floor), and" in finding.claim
    assert "the accumulator has 10 fraction bits, each product is rounded down" in finding.claim


def test_types_that_are_wide_enough_are_no_finding(layer, x):
    y = dense(layer, x, given=(16, 6), accumulator=WIDE, result=WIDE)
    assert probe.check(layer, "", given=x, expected=y).ok


def test_the_digits_of_float32_are_no_fixed_point():
    """Sums of large products lie on a grid, as fine as the largest of them has digits."""
    rng = np.random.default_rng(0)
    x, w = (100 * rng.normal(size=shape).astype(np.float32) for shape in ((8, 256), (256, 32)))
    y = (x @ w).astype(np.float64).ravel()
    assert fraction_of(y) is None
    assert fraction_of(np.floor(y * 4) / 4) == 2
    small = rng.normal(size=100)
    assert fraction_of(np.floor(small * 2**20) / 2**20) == 20


@pytest.mark.parametrize("mode", [np.floor, np.rint])
def test_where_the_result_alone_is_too_narrow_no_other_type_is_named(layer, x, mode):
    with torch.no_grad():
        y = mode(layer(torch.from_numpy(x)).numpy().astype(np.float64) * 2**4) / 2**4
    (finding,) = probe.check(layer, "", given=x, expected=y).findings
    assert finding.slug == "fixed-point" and "the output has 4 fraction bits" in finding.claim
    assert not any(word in str(finding) for word in ("accumulator", "input is"))


@pytest.mark.parametrize("thorough", [False, True])
def test_at_length_inputs_and_weights_may_have_other_fraction_bits(layer, x, thorough):
    kernel = layer.weight.detach().numpy().T
    steps = (Step(ops.MatMul(Weight("weight", kernel, kernel), None)),)
    observed = np.floor((np.floor(x * 2**5) / 2**5) @ (np.floor(kernel * 2**3) / 2**3) * 2**4)
    case = Case(steps, (x,), recompute(steps, [x]), observed / 2**4, thorough=thorough)
    claims = [edit.claim for edit in fixed_point(case)]
    different = "inputs have 5 fraction bits; weights have 3 fraction bits, rounded down (floor)"
    assert any(claim.startswith(different) for claim in claims) == thorough
    assert any(claim.startswith("inputs and weights have 5 fraction bits") for claim in claims)
    assert not any("inputs have 5 fraction bits; weights have 5" in claim for claim in claims)


@pytest.mark.parametrize("hypothesis", [accumulator_type, input_type])
def test_an_edit_counts_the_types_that_were_fitted(layer, x, hypothesis):
    """The accumulator's or the input's; the output's; and that of inputs and weights, where it is
    another one: of equally good causes the one with fewer comes first."""
    weight, bias = (
        Weight(name, one, one)
        for name, one in (
            ("weight", layer.weight.detach().numpy().T),
            ("bias", layer.bias.detach().numpy()),
        )
    )
    steps = (Step(ops.MatMul(weight, bias)),)
    observed = dense(layer, x, given=(12, 8), accumulator=(18, 12), result=(22, 12))
    edits = list(hypothesis(Case(steps, (x,), recompute(steps, [x]), observed)))
    counted = [
        1
        + ("the output has" in one.claim)
        + ("weights have" in one.claim or "inputs have" in one.claim)
        for one in edits
    ]
    assert set(counted) >= {1, 2}
    assert [one.fitted for one in edits] == counted
