"""Values of another shape than the output that are a part of it, and values of a part alone."""

import json
from importlib import import_module

import numpy as np
import pytest
import torch
from own_seed import RNG
from repository import EXAMPLES

import probe
from probe.diagnosis.part_of_output import parts_equal_to

pytestmark = pytest.mark.tensorflow

MODEL, X = str(EXAMPLES / "digits.keras"), np.load(EXAMPLES / "digits.npy")


@pytest.mark.parametrize(
    "at",
    ["3", "3,:,:,5", "0,0:3,0:3,0", ":,:,:,7", "2,1:4,:,2:5", "4,4,4", ":,3,3,:", "9,7,7,1"],
)
def test_a_part_is_found_wherever_it_lies(at):
    # None of its values lies within 2e-6 of that at 9,7,7,1.
    whole = np.random.default_rng(0).normal(size=(10, 8, 8, 16))
    part = whole[eval(f"np.s_[{at}]")]
    found = parts_equal_to(part.astype(np.float32), whole, np.full(whole.shape, 1e-6))
    names = at.split(",")
    full = [
        ":" if one == f"0:{size}" else one
        for one, size in zip([*names, *[":"] * (4 - len(names))], whole.shape, strict=True)
    ]
    assert found == (",".join(full),)
    assert parts_equal_to(part + 1e-3, whole, np.full(whole.shape, 1e-6)) == ()


def test_the_whole_an_empty_array_and_many_equal_parts():
    whole = np.zeros((4, 5, 6))
    assert parts_equal_to(whole, whole, np.zeros(())) == ()
    assert parts_equal_to(np.zeros((0, 5)), whole, np.zeros(())) == ()
    assert len(parts_equal_to(np.zeros((2, 2)), whole, np.zeros(()))) == 8


@pytest.fixture(scope="module")
def right():
    return np.asarray(probe.check(MODEL, "conv2d", X).outputs["numpy"], np.float32)


def test_the_report_says_which_part_it_is(right):
    report = probe.check(MODEL, "conv2d", X, expected=right[3, :, :, 5])
    assert report.verdict == "diverge"
    assert "--expect-at 3,:,:,5" in report.diagnosis[0] and "output[3, :, :, 5]" in str(report)
    assert probe.check(MODEL, "conv2d", X, expected=right[3, :, :, 5], expected_at="3,:,:,5").ok


@pytest.mark.costly
def test_what_was_not_given_is_neither_counted_nor_located(right):
    noise = np.random.default_rng(0).uniform(1, 2, (1, 3, 3)).astype(np.float32)
    wrong = right[:1, :3, :3, 0] + noise  # which no mistake explains
    report = probe.check(MODEL, "conv2d", X, expected=wrong, expected_at="0:1,0:3,0:3,0")
    text = str(report)
    assert "NaN" not in text and "9 of the output's 10240 values" in text
    assert "every element differs" in text and "only these indices" not in text
    mine = json.loads(report.to_json())["outputs"]["expected"][0]
    assert (mine["given"], mine["finite"]) == (9, 9)
    wrong = right[:1, :5, :3, 0].copy()
    wrong[0, 2] += 1
    text = str(probe.check(MODEL, "conv2d", X, expected=wrong, expected_at="0:1,2:7,0:3,0"))
    assert "along height, only these indices" not in text or "of 2..6" in text


@pytest.mark.parametrize("at", ["3,:,:,5", "0", "2,1:5,2:6,3"])
def test_a_part_with_a_mistake_in_it(at):
    keras = import_module("keras")
    layer = keras.layers.Conv2D(6, 3, padding="same")
    x = RNG.normal(size=(4, 8, 9, 3)).astype(np.float32)
    layer(x)
    layer.bias.assign(RNG.normal(size=6))
    right = np.asarray(layer(x))
    part = (right - layer.bias.numpy())[eval(f"np.s_[{at}]")]
    report = probe.check(layer, layer.name, given=x, expected=part)
    (finding,) = report.findings
    assert finding.slug == "missing-bias" and finding.left <= 1
    full = ",".join([*at.split(","), ":", ":", ":"][:4])
    assert f"--expect-at {full}" in finding.do and "your values are then output[" in finding.claim
    again = probe.check(layer, layer.name, given=x, expected=part, expected_at=full)
    assert again.findings[0].slug == "missing-bias"


def test_a_part_of_nothing_gets_no_cause():
    keras = import_module("keras")
    layer = keras.layers.Conv2D(6, 3, padding="same")
    x = RNG.normal(size=(4, 8, 9, 3)).astype(np.float32)
    layer(x)
    report = probe.check(layer, layer.name, given=x, expected=RNG.normal(size=(8, 9)))
    assert report.findings == () and "no known mistake" in report.diagnosis[0]


@pytest.mark.costly(default=1)
@pytest.mark.exhaustive(default=2)
@pytest.mark.parametrize(
    "at",
    [
        "3",
        "3,:,:,5",
        "3,1:4,2:5,5",
        "1:3,2:4,0:3,1:3",
        "3,:,0:3,5",
        ":,3,3,:",
        "2:5,:,:,:",
        "4,:,4,:",
    ],
)
def test_flat_values_of_a_part_are_found_and_taken_at_its_place(at, right):
    part = right[eval(f"np.s_[{at}]")]
    full = ",".join([*at.split(","), ":", ":", ":"][:4])
    report = probe.check(MODEL, "conv2d", X, expected=part.ravel())
    assert f"compare them there with --expect-at {full}" in report.diagnosis[0], report.diagnosis
    report = probe.check(MODEL, "conv2d", X, expected=part.ravel(), expected_at=full)
    assert report.ok and f"in row-major (C) order as {part.shape}" in report.notes[-1]
    wrong = part.ravel() + np.float32(1)
    assert probe.check(MODEL, "conv2d", X, expected=wrong, expected_at=full).verdict == "diverge"
    wrong = part.ravel()[::-1]
    assert "equal" not in " ".join(probe.check(MODEL, "conv2d", X, expected=wrong).diagnosis)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 2), r"shape \(4, 2\): transpose or reshape them to \(2, 4\)"),
        ((3, 2), r"shape \(3, 2\): give 8 values, in that shape or flat"),
        ((7,), r"shape \(7,\): give 8 values, in that shape or flat"),
    ],
)
def test_values_of_another_shape_than_the_part_are_told_how(shape, words):
    with pytest.raises(probe.ProbeError, match=words):
        probe.check(MODEL, "conv2d", X, expected=np.zeros(shape), expected_at="0,0:2,0:4,3")


def test_a_part_without_elements_or_values_is_refused():
    linear, x = torch.nn.Linear(3, 2), np.ones((4, 3), np.float32)
    with pytest.raises(probe.BadInput, match=r"0:0,0:2 selects no element of .* \(4, 2\)"):
        probe.check(linear, "", x, expected=np.zeros((0, 2)), expected_at="0:0,0:2")
    with pytest.raises(probe.BadInput, match="expected_at says which part"):
        probe.check(linear, "", x, expected_at="0,0")


def test_more_axes_than_can_be_compared():
    linear, x = torch.nn.Linear(3, 2), np.ones((4, 3), np.float32)
    with pytest.raises(probe.BadInput, match="at most 32 axes; you gave 40"):
        probe.check(linear, "", x, expected=np.zeros((4, 2, *[1] * 38)))
