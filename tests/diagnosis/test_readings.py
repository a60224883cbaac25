"""Values that are flat, have their axes in another order, are the integers of a fixed point or have
few digits: their mistake is found in one run, and what was assumed is said."""

from importlib import import_module

import numpy as np
import pytest
import torch
from own_seed import RNG
from wrapping import unwrapped

import probe as package
from probe.trial.budget import Budget

F = torch.nn.functional
X = RNG.normal(size=(2, 3, 8, 10)).astype(np.float32)


@pytest.fixture(scope="module")
def conv():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 5, 3, padding=1).eval()


@pytest.fixture(scope="module")
def without_bias(conv):
    w = conv.weight.detach()
    return F.conv2d(torch.from_numpy(X), w, None, padding=1).numpy()


FORMS = {
    "flat": (lambda y: y.ravel(), "are read in row-major (C) order as (2, 5, 8, 10)"),
    "a row for each sample": (
        lambda y: y.reshape(2, -1),
        "are read in row-major (C) order as (2, 5, 8, 10)",
    ),
    "no batch axis": (
        lambda y: y.reshape(10, 8, 10),
        "are read in row-major (C) order as (2, 5, 8, 10)",
    ),
    "channels last": (
        lambda y: y.transpose(0, 2, 3, 1),
        "are compared with the output's axes in the order (0, 2, 3, 1)",
    ),
    "flat, channels last": (
        lambda y: y.transpose(0, 2, 3, 1).ravel(),
        "are read in row-major (C) order as (2, 8, 10, 5)",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_mistake_is_found_whatever_the_form(conv, without_bias, form):
    make, words = FORMS[form]
    report = package.check(conv, "", given=X, expected=make(without_bias))
    assert report.verdict == "diverge" and "shapes differ" in str(report).lower()
    assert [one.slug for one in report.findings] == ["missing-bias"], report
    assert report.findings[0].left <= 1
    assert words in report.diagnosis[0]


@pytest.mark.parametrize(("width", "seed"), [(6, 0), (10, 2)], ids=["square", "wide"])
def test_the_axes_that_are_told_are_those_of_the_values(width, seed):
    """Read in another order whose shape fits too, the values would have to be transposed once
    more, to a shape that they do not have."""
    torch.manual_seed(seed)
    conv = torch.nn.Conv2d(2, 8, 3, stride=2, padding=1).eval()
    x = np.random.default_rng(seed).normal(size=(2, 2, 6, width)).astype(np.float32)
    padded = F.pad(torch.from_numpy(x), (0, 1, 0, 1))
    mine = F.conv2d(padded, conv.weight.detach(), conv.bias.detach(), stride=2).numpy()
    report = package.check(conv, "", given=x, expected=mine.transpose(0, 2, 3, 1))
    (finding,) = report.findings
    assert (finding.slug, finding.also) == ("symmetric-padding", ()), report
    assert "are compared with the output's axes in the order (0, 2, 3, 1)" in report.diagnosis[0]


@pytest.mark.parametrize("form", FORMS)
def test_values_that_are_right_but_for_the_form(conv, form):
    make, _ = FORMS[form]
    right = np.asarray(package.check(conv, "", given=X).outputs["framework"])
    report = package.check(conv, "", given=X, expected=make(right))
    assert report.verdict == "diverge"
    assert report.findings[0].slug == "transposed-output", report


@pytest.mark.parametrize("width", [6, 10])
def test_the_order_of_axes_is_the_one_that_takes_the_fewest_mistakes(width):
    """In a square map several orders have the shape of the values, and in one that is wrong they
    can be more like the layer's."""
    torch.manual_seed(0)
    strided = torch.nn.Conv2d(2, 8, 3, stride=2, padding=1).eval()
    x = np.random.default_rng(3).normal(size=(2, 2, 6, width)).astype(np.float32)
    padded = F.pad(torch.from_numpy(x), (0, 1, 0, 1))
    wrong = F.conv2d(padded, strided.weight.detach(), strided.bias.detach(), stride=2).numpy()
    mine = wrong.transpose(0, 2, 3, 1)
    report = package.check(strided, "", given=x, expected=mine)
    assert [finding.named for finding in report.findings] == ["symmetric-padding"], report
    assert "the output's axes in the order (0, 2, 3, 1)" in report.diagnosis[0]


def test_text_with_the_channels_last(probe, conv, without_bias, tmp_path):
    """It holds no shape, and is read as the output's."""
    torch.save(conv.state_dict(), tmp_path / "conv.pt")
    np.save(tmp_path / "x.npy", X)
    np.savetxt(tmp_path / "mine.txt", without_bias.transpose(0, 2, 3, 1).ravel())
    status, out, _ = probe(
        tmp_path / "conv.pt",
        *("--factory", "torch.nn:Conv2d(3, 5, 3, padding=1)", "--layer", ""),
        *("--input", tmp_path / "x.npy", "--expect", tmp_path / "mine.txt"),
    )
    assert status == 1 and "why: transposed-output and missing-bias: " in out
    assert "written in the axis order (0, 2, 3, 1), (2, 8, 10, 5)" in unwrapped(out)


@pytest.mark.exhaustive
def test_noise_of_another_shape_gives_no_finding(conv):
    noise = RNG.normal(size=2 * 5 * 8 * 10)
    report = package.check(conv, "", given=X, expected=noise)
    assert report.findings == () and "no known mistake" in " ".join(report.diagnosis)


def test_all_ways_to_read_values_are_tried_with_the_work_of_one_search(conv, monkeypatch):
    diagnose, budgets = import_module("probe.diagnosis.diagnose"), list[Budget]()

    def kept(work):
        budgets.append(Budget(work))
        return budgets[-1]

    monkeypatch.setattr(diagnose, "Budget", kept)
    monkeypatch.setattr(diagnose, "_WORK", work := 3e8)
    noise = RNG.normal(size=(2, 8, 10, 5)).astype(np.float32)
    report = package.check(conv, "", given=X, expected=noise)
    assert report.diagnosis and not report.findings
    assert len(budgets) > 2
    assert sum(budget.used for budget in budgets) < 1.2 * work


@pytest.mark.costly
def test_what_is_not_explained_is_located_in_the_order_that_fits(conv):
    right = np.array(package.check(conv, "", given=X).outputs["framework"])
    right[:, 2] += RNG.normal(size=right[:, 2].shape)
    told = " ".join(package.check(conv, "", given=X, expected=right.ravel()).diagnosis)
    assert "row-major" in told and "along channels, only these indices differ: 2" in told


def fixed(layer, x, fraction=6):
    """The layer in integers: rounded input and weights, the sum shifted back."""
    w, b = (
        np.rint(one.detach().numpy().astype(float) * 2**fraction).astype(np.int64)
        for one in (layer.weight, layer.bias)
    )
    codes = np.rint(x.astype(float) * 2**fraction).astype(np.int64)
    return (codes @ w.T + (b << fraction)) >> fraction


@pytest.fixture(scope="module")
def dense():
    torch.manual_seed(0)
    return torch.nn.Linear(12, 9).eval()


@pytest.mark.parametrize("flat", [False, True])
def test_integers_of_a_fixed_point_layer(dense, flat):
    x = RNG.normal(size=(8, 12)).astype(np.float32)
    mine = fixed(dense, x).astype(np.int16)
    report = package.check(dense, "", given=x, expected=mine.ravel() if flat else mine)
    (finding,) = report.findings
    assert {finding.slug, *finding.also} >= {"raw-integers", "fixed-point"}
    assert "integers: the output times 64; and inputs and weights have 6 frac" in finding.claim
    assert ("row-major" in " ".join(report.diagnosis)) is flat


@pytest.mark.parametrize(("dtype", "k"), [(np.int8, 4), (np.int16, 10), (np.int32, 20)])
def test_integers_that_agree_once_divided(dense, dtype, k):
    x = RNG.normal(size=(8, 12)).astype(np.float32)
    right = np.asarray(package.check(dense, "", given=x).outputs["framework"], np.float64)
    mine = np.rint(right * 2**k).astype(dtype)
    report = package.check(dense, "", given=x, expected=mine)
    assert report.verdict == "diverge"
    assert report.findings[0].slug == "raw-integers", report
    assert f"the output times {2**k}, rounded to the nearest" in report.findings[0].claim
    assert f"divide your values by {2**k}" in report.findings[0].do


def test_integers_on_the_grid_of_a_quantised_layer():
    x = (RNG.integers(-40, 40, (4, 12)) / 8).astype(np.float32)
    mine = (np.maximum(x, 0) * 128).astype(np.int16)
    (finding, *_) = package.check(torch.nn.ReLU(), "", given=x, expected=mine).findings
    assert finding.claim == "your values are integers: the output times 128"
    assert finding.do == "divide your values by 128 before you compare"


def test_integers_that_are_clipped():
    x = (RNG.integers(-40, 40, (4, 12)) / 8).astype(np.float32)
    mine = np.minimum(np.maximum(x, 0) * 32, 127).astype(np.int8)
    (finding, *_) = package.check(torch.nn.ReLU(), "", given=x, expected=mine).findings
    assert finding.claim == "your values are integers: the output times 32, clipped to -128 .. 127"


def test_a_mistake_in_integers(dense):
    x = RNG.normal(size=(8, 12)).astype(np.float32)
    mine = np.rint((x @ dense.weight.detach().numpy().T) * 256.0)
    report = package.check(dense, "", given=x, expected=mine)
    assert {"missing-bias", "raw-integers"} == {
        slug for one in report.findings for slug in (one.slug, *one.also)
    }, report


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("fmt", ["%.4f", "%.3f", "%.5g", "%.3e"])
def test_text_of_few_digits(dense, tmp_path, fmt):
    x = RNG.normal(size=(8, 12)).astype(np.float32)
    right = np.asarray(package.check(dense, "", given=x).outputs["framework"])
    np.savetxt(tmp_path / "mine.txt", right, fmt=fmt)
    mine = np.loadtxt(tmp_path / "mine.txt")
    report = package.check(dense, "", given=x, expected=mine)
    assert report.verdict == "diverge", "a smaller mistake would not show"
    assert [one.slug for one in report.findings] == ["printed-digits"], report
    assert report.findings[0].left <= 1
    word = "decimals" if fmt.endswith("f") else "significant digits"
    digits = int(fmt[2]) + fmt.endswith("e")
    assert f"agree to the {digits} {word}" in report.findings[0].claim
    wrong = right.copy()
    wrong[3, 4] += 0.01
    np.savetxt(tmp_path / "mine.txt", wrong, fmt=fmt)
    report = package.check(dense, "", given=x, expected=np.loadtxt(tmp_path / "mine.txt"))
    assert report.verdict == "diverge" and not report.findings, report


def test_a_mistake_written_with_few_digits(dense):
    x = RNG.normal(size=(8, 12)).astype(np.float32)
    wrong = np.round(x.astype(float) @ dense.weight.detach().numpy().T.astype(float), 4)
    report = package.check(dense, "", given=x, expected=wrong)
    assert {"missing-bias", "printed-digits"} == {
        slug for one in report.findings for slug in (one.slug, *one.also)
    }, report


def test_decimals_rounded_from_the_other_side():
    """Of many values some lie so near a half that the framework's rounding decides its decimals."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(50, 200).eval()
    x = RNG.normal(size=(400, 50)).astype(np.float32)
    report = package.check(layer, "", given=x)
    mine = np.round(np.asarray(report.outputs["framework"], np.float64), 4)
    assert (np.abs(np.round(report.outputs["numpy"], 4) - mine) > 5e-5).any()
    (finding,) = package.check(layer, "", given=x, expected=mine).findings
    assert finding.slug == "printed-digits" and finding.left <= 1


@pytest.fixture
def saved_dense(dense, tmp_path):
    """(The command's arguments for the layer on an input, its output)."""
    torch.save(dense.state_dict(), tmp_path / "dense.pt")
    x = RNG.normal(size=(8, 12)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    model = (tmp_path / "dense.pt", "--factory", "torch.nn:Linear(12, 9)", "--layer", "")
    right = np.asarray(package.check(dense, "", given=x).outputs["framework"])
    return (*model, "--input", tmp_path / "x.npy"), right


@pytest.mark.costly(default=3)
@pytest.mark.parametrize("fmt", ["%.6f", "%.4f", "%.5g", "%.3e", "%.9g"])
@pytest.mark.parametrize("name", ["mine.txt", "mine.csv", "mine.dat"])
def test_the_digits_that_a_text_leaves_out_are_allowed(probe, saved_dense, tmp_path, fmt, name):
    arguments, right = saved_dense
    delimiter = "," if name.endswith("csv") else " "
    np.savetxt(tmp_path / name, right, fmt=fmt, delimiter=delimiter)
    status, out, _ = probe(*arguments, "--expect", tmp_path / name)
    assert status == 0, out
    assert ("written with few digits" in out) is (fmt != "%.9g")
    np.savetxt(tmp_path / name, right[3], fmt=fmt, delimiter=delimiter)
    status, out, _ = probe(*arguments, "--expect", tmp_path / name, "--expect-at", "3,:")
    assert status == 0, out
    wrong = right.copy()
    wrong[3, 4] += 0.01
    np.savetxt(tmp_path / name, wrong, fmt=fmt, delimiter=delimiter)
    status, out, _ = probe(*arguments, "--expect", tmp_path / name)
    assert status == 1 and "DIFFER at 1 of 72 elements" in out


def test_a_mistake_in_a_text_of_few_digits_is_named_alone(probe, dense, saved_dense, tmp_path):
    arguments, right = saved_dense
    np.savetxt(tmp_path / "mine.txt", right - dense.bias.detach().numpy(), fmt="%.5f")
    status, out, _ = probe(*arguments, "--expect", tmp_path / "mine.txt")
    assert status == 1 and "why: missing-bias: " in out and "printed-digits" not in out


def test_whole_numbers_of_a_text_are_exact(probe, saved_dense, tmp_path):
    arguments, right = saved_dense
    np.savetxt(tmp_path / "mine.txt", np.rint(right * 128), fmt="%d")
    status, out, _ = probe(*arguments, "--expect", tmp_path / "mine.txt")
    assert status == 1 and "the output times 128, rounded" in unwrapped(out)
    assert "few digits" not in out
