"""A cause that leaves more than the allowance is a part of the reason, or none; rounding is the
reason of nothing that has an order to it; and what was ruled out is said."""

import numpy as np
import pytest
import torch

import probe
from probe import Weight, ops
from probe.description import Step
from probe.diagnosis.localization import unlike_rounding
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses import Case

F = torch.nn.functional
ENTRY = np.arange(2048)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture
def conv():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 5, 3, padding=1, stride=2).eval()


def without_bias(conv, x):
    given = torch.from_numpy(x).double()
    return F.conv2d(given, conv.weight.detach().double(), stride=2, padding=1).numpy()


@pytest.fixture
def x():
    return drawn(2, 3, 8, 10).astype(np.float32)


@pytest.mark.costly
def test_what_leaves_little_is_said_to_be_a_part_of_the_reason(conv, x):
    y = without_bias(conv, x)
    report = probe.check(conv, "", given=x, expected=y + 2e-6 * drawn(*y.shape, seed=1))
    first = report.findings[0]
    assert first.slug == "missing-bias" and 1 < first.left < 1000, report
    assert str(first).startswith("missing-bias (in part): ")
    text = str(report)
    assert "why: missing-bias (in part): " in text and "the remaining difference is" in text
    exact = probe.check(conv, "", given=x, expected=y)
    assert exact.findings[0].named == "missing-bias" and "in part" not in str(exact)


@pytest.mark.costly
def test_what_leaves_thousands_of_times_the_allowance_is_no_reason(conv, x):
    y = without_bias(conv, x)
    report = probe.check(conv, "", given=x, expected=y + 5e-3 * drawn(*y.shape, seed=1))
    assert report.verdict == "diverge"
    assert report.findings == (), report


@pytest.mark.costly
def test_what_was_ruled_out_and_what_to_try_next_is_said(conv, x):
    report = probe.check(conv, "", given=x, expected=drawn(2, 5, 4, 5, seed=2))
    told = "; ".join(report.diagnosis)
    assert "ruled out: " in told and "causes that probe causes lists" in told
    assert "the input that would tell most next is np.zeros(" in told
    x = np.linspace(-3, 3, 40, dtype=np.float32).reshape(2, 20)
    told = "; ".join(
        probe.check(torch.nn.GELU(), "", given=x, expected=drawn(2, 20, seed=3)).diagnosis
    )
    assert "is np.linspace(-8, 8, 40).reshape(2, 20)" in told


@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w * (1 + 1.5e-5 * (np.arange(64) == 3))[:, None], "along features, most of it"),
        # more entries of each row than pursuit looks for, and too few samples to solve for all
        (lambda w: w * (1 + 1e-4 * (0.5 ** np.minimum(ENTRY, 1)) * (ENTRY < 9)), "it follows one"),
    ],
    ids=["one row scaled", "a few inputs scaled"],
)
def test_rounding_is_no_reason_of_an_error_with_an_order(change, words):
    """Beyond what is probable of rounding, and within what its worst case could do."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(2048, 64).eval()
    x = drawn(256, 2048).astype(np.float32)
    w, b = (one.detach().double().numpy() for one in (layer.weight, layer.bias))
    noise = 1e-7 * drawn(256, 64, seed=5)
    y = x.astype(np.float64) @ change(w).T + b + noise
    report = probe.check(layer, "", given=x, expected=y)
    assert report.comparisons["numpy", "expected"].certain is False
    assert "rounding" not in [one.slug for one in report.findings], report
    told = "; ".join(report.diagnosis)
    assert f"the difference is not rounding: {words}" in told, report


def test_noise_within_the_worst_case_may_be_rounding():
    torch.manual_seed(0)
    layer = torch.nn.Linear(2048, 64).eval()
    x = drawn(64, 2048).astype(np.float32)
    w, b = (one.detach().double().numpy() for one in (layer.weight, layer.bias))
    y = x.astype(np.float64) @ w.T + b
    report = probe.check(layer, "", given=x, expected=y + 5e-6 * y.std() * drawn(64, 64, seed=1))
    assert [one.slug for one in report.findings] == ["rounding"], report
    assert "in part" not in str(report)


def summed(x, w):
    """A convolution's case, and its sums by one product after another in float32."""
    steps = (Step(ops.Conv(Weight("w", None, w), None, (1, 1), ((0, 0), (0, 0)), (1, 1))),)
    values = recompute(steps, (x,))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, w[0].size)
    made = np.stack([columns * one.reshape(-1) for one in w], axis=1)
    return steps, values, made


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", ["in turn", "sorted", "far from zero", "one large sample"])
def test_honest_sums_have_no_order(seed, order):
    """Of windows that overlap, and numbers of quite different sizes."""
    x = drawn(4, 8, 9, 9, seed=seed).astype(np.float32)
    if order == "far from zero":
        x += 10
    if order == "one large sample":
        x[1] *= 300
    w = drawn(16, 8, 3, 3, seed=seed + 9).astype(np.float32)
    steps, values, made = summed(x, w)
    if order == "sorted":
        made = np.sort(made, axis=-1)
    sums = np.add.accumulate(made, axis=-1, dtype=np.float32)[..., -1]
    y = sums.reshape(4, 7, 7, 16).transpose(0, 3, 1, 2).astype(np.float64)
    case = Case(steps, (x,), values, y)
    size = np.abs(made).sum(axis=-1).reshape(4, 7, 7, 16).transpose(0, 3, 1, 2)
    assert not unlike_rounding(case, 2.0**-24 * size)


def test_a_function_of_the_output_is_no_rounding():
    x = drawn(4, 8, 9, 9).astype(np.float32)
    steps, values, _ = summed(x, drawn(16, 8, 3, 3, seed=9).astype(np.float32))
    y = np.asarray(values[-1][0])
    noise = 1e-6 * drawn(*y.shape, seed=1)
    case = Case(steps, (x,), values, y + 1e-6 * np.sin(y / 4) + noise)
    assert "is a function of the output" in unlike_rounding(case, np.full(y.shape, 1e-6))
    assert not unlike_rounding(Case(steps, (x,), values, y + noise), np.full(y.shape, 1e-6))


class Chosen(torch.nn.Module):
    """The row of the best expert."""

    def __init__(self):
        super().__init__()
        self.scores, self.rows = torch.nn.Linear(6, 6), torch.nn.Embedding(6, 4)

    def forward(self, x):
        return self.rows.weight[self.scores(x).argmax(-1)]


@pytest.mark.costly
def test_samples_of_few_values_are_in_no_order():
    torch.manual_seed(0)
    model = Chosen().eval()
    x = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    second = model.scores(torch.from_numpy(x)).topk(2).indices[:, 1]
    report = probe.check(model, "", x, expected=model.rows.weight[second].detach().numpy())
    assert report.verdict == "diverge"
    assert "different-input" not in [one.slug for one in report.findings]


class QuantisedSum(torch.nn.Module):
    """The sum of two branches at their scales, rounded, with its mean rounded again: a number at
    the middle of two levels may fall on either, of which a mean of some is allowed many levels."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scales", torch.tensor([0.05, 0.025, 0.1, 0.02]))

    def forward(self, a, b):
        a, b = (torch.round(x / s) * s for x, s in zip((a, b), self.scales[:2], strict=True))
        mean = (torch.round((a + b) / self.scales[2]) * self.scales[2]).mean((2, 3))
        return torch.round(mean / self.scales[3])


def test_in_a_wide_allowance_what_leaves_least_is_named():
    """That the scale of the sum is the first one, too, leaves nearly all that is allowed."""
    a, b = (drawn(3, 6, 4, 4, seed=seed).astype(np.float32) for seed in (1, 2))
    model, b = QuantisedSum().eval(), 4 * np.abs(b)
    s = model.scales.numpy()
    total = np.round(a / s[0]) * s[0] + np.round(b / s[1]) * s[0]
    expected = np.round((np.round(total / s[2]) * s[2]).mean((2, 3)) / s[3])
    report = probe.check(model, "", (a, b), expected=expected)
    assert [finding.slug for finding in report.findings] == ["other-tensor"], report
    assert report.findings[0].left < 0.1
