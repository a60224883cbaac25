"""Architectures of transformers, opened from their directories and swept: every call is right in
NumPy, and nearly every one is checked."""

import contextlib

import pytest
from transformers_cases import CASES

import probe as library
from probe.errors import NotReached

FEW = ("Llama", "T5", "ViT")
SHARE = 0.005
"""Of the calls of a sweep, how many may be unchecked."""


NOT_IN_BFLOAT16 = {
    "XLNetLMHeadModel": "transformers 5.24 itself fails: it multiplies by positions in float32",
    "EncodecModel": "it adds a number in float32 to its codes, one call of a hundred",
}


def cases(few, left_out=()):
    return [
        pytest.param(name, marks=() if name in few else pytest.mark.exhaustive)
        for name in CASES
        if name not in left_out
    ]


def swept(folder):
    unchecked, count = [], 0
    for report in library.sweep(library.open_model(folder)):
        count += 1
        assert report.verdict != "diverge", report
        if report.verdict == "unchecked":
            assert report.sentence.removeprefix("unchecked: ")
            unchecked.append((report.layer, report.kind, report.sentence))
    assert count > 10
    assert len(unchecked) <= SHARE * count, unchecked


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("name", cases(FEW))
def test_every_call_agrees(saved, name):
    swept(saved(name))


@pytest.mark.parametrize("name", cases(FEW[:1], NOT_IN_BFLOAT16))
def test_every_call_agrees_in_bfloat16(copied, name):
    """As most models of the kind are: norms and softmaxes in float32 between products in it."""
    swept(copied(name, dtype="bfloat16"))


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("name", cases(FEW))
def test_every_block_agrees(saved, name):
    """Attention blocks, norms, experts, rotary embeddings and the whole model, each as one layer;
    what a config leaves unused is not called."""
    model, count = library.open_model(saved(name)), 0
    reports = library.sweep(model, layers=[one.name for one in model.containers])
    with contextlib.suppress(NotReached):
        for report in reports:
            count += 1
            assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, report
    assert count > 5


def test_the_command_sweeps_a_directory(probe, saved):
    status, out, _ = probe(saved("ViT"), "--all", "--strict")
    assert status == 0
    assert out.splitlines()[-1].endswith(" agree, 0 diverge, 0 unchecked")


def test_there_are_forty():
    assert len(CASES) >= 40
