"""Architectures of transformers, opened from their directories and swept: every call is right in
NumPy, and nearly every one is checked."""

import pytest
from transformers_cases import CASES

import probe

FEW = ("Llama", "T5", "ViT")
SHARE = 0.005
"""Of the calls of a sweep, how many may be unchecked."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FEW else pytest.mark.exhaustive) for name in CASES],
)
def test_every_call_agrees(saved, name):
    unchecked, count = [], 0
    for report in probe.sweep(probe.open_model(saved(name))):
        count += 1
        assert report.verdict != "diverge", report
        if report.verdict == "unchecked":
            assert report.sentence.removeprefix("unchecked: ")
            unchecked.append((report.layer, report.kind, report.sentence))
    assert count > 10
    assert len(unchecked) <= SHARE * count, unchecked


def test_there_are_forty():
    assert len(CASES) >= 40
