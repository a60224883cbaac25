"""A layer of several outputs: the one that differs is diagnosed, one mistake for all where there is
one."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

from probe import Description, Step, Weight, ops
from probe.description import Ref
from probe.model import Capture
from probe.verdict.judge import judge
from probe.verdict.options import Options, Search, Yours

F = torch.nn.functional


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X, W, B = drawn(2, 3, 8, 9), drawn(4, 3, 3, 3, seed=1), drawn(4, seed=2)


def layer(flip=False, bias=True, gelu="none"):
    """(convolution, GELU of the convolution), by PyTorch."""
    w = torch.from_numpy(W).flip(2, 3) if flip else torch.from_numpy(W)
    first = F.conv2d(torch.from_numpy(X), w, torch.from_numpy(B) if bias else None, padding=1)
    return [first.numpy(), F.gelu(first, approximate=gelu).numpy()]


@pytest.fixture
def capture():
    conv = ops.Conv(Weight("kernel", W, W), Weight("bias", B, B), (1, 1), ((1, 1), (1, 1)), (1, 1))
    steps = (Step(conv), Step(ops.Gelu()), Step(ops.Outputs(), (Ref(0), Ref(1))))
    described = Description(steps, output_names=("features", "activated"))
    return Capture("both", "Both", 0, (X,), tuple(layer()), "float32", described)


def test_the_output_that_differs_is_diagnosed(capture):
    features, activated = layer(gelu="tanh")
    report = judge(capture, Yours([features, activated]), Options(search=Search()))
    assert [finding.slug for finding in report.findings] == ["gelu-approximation"]
    assert report.findings[0].claim.startswith("activated: the tanh form")
    report = judge(capture, Yours([None, layer(bias=False)[1]]), Options(search=Search()))
    assert report.findings[0].slug == "missing-bias"


def test_one_mistake_behind_all_outputs_is_named_once(capture):
    report = judge(capture, Yours(layer(flip=True)), Options(search=Search()))
    assert [finding.slug for finding in report.findings] == ["flipped-kernel"]
    assert "this mistake explains all outputs that differ: features, activated" in report.diagnosis


def test_outputs_with_mistakes_of_their_own(capture):
    report = judge(
        capture, Yours([layer(bias=False)[0], layer(gelu="tanh")[1]]), Options(search=Search())
    )
    assert [finding.slug for finding in report.findings] == ["missing-bias", "gelu-approximation"]
    assert [finding.claim.partition(":")[0] for finding in report.findings] == [
        "features",
        "activated",
    ]


def test_outputs_without_a_cause_take_one_more_search_together(capture, monkeypatch):
    steps = (*capture.description.steps[:2], Step(ops.Outputs(), (Ref(0), Ref(1), Ref(0))))
    features, activated = layer()
    capture = replace(
        capture,
        outputs=(features, activated, features),
        description=Description(steps, output_names=("features", "activated", "again")),
    )
    outputs, shares = import_module("probe.diagnosis.outputs"), []
    diagnose = outputs.diagnose

    def noted(case, rounding, *, share, **options):
        shares.append(share)
        return diagnose(case, rounding, share=share, **options)

    monkeypatch.setattr(outputs, "diagnose", noted)
    unrelated = [drawn(*output.shape, seed=9) for output in capture.outputs]
    report = judge(capture, Yours(unrelated), Options(search=Search()))
    assert report.verdict == "diverge"
    assert shares == [1.0, 0.5, 0.5]
