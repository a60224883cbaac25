"""Differences between engines that are nobody's fault: the table holds in the installed ONNX Runtime, and NumPy is not blamed."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import torch

import probe
from probe import Description, Step, ops
from probe.judge import judge
from probe.known import KNOWN
from probe.model import Capture

POOLS = {
    "MaxPool": ops.MaxPool(kernel=(2, 2), strides=(2, 2), pads=((0, 0), (0, 0)), dilations=(1, 1)),
    "AdaptiveMaxPool": ops.AdaptiveMaxPool(output_size=(2, 2)),
    "GlobalMaxPool": ops.GlobalMaxPool(axes=(2, 3)),
}


def odd_input():
    """NaN at every place of a window."""
    x = np.random.default_rng(0).normal(size=(4, 1, 4, 4)).astype(np.float32)
    for sample in range(4):
        x[sample, 0, sample // 2, sample % 2] = np.nan
    return x


@pytest.mark.parametrize(("one", "name"), [(one, name) for one in KNOWN for name in one.ops if name in POOLS])
def test_onnx_runtime_does_what_the_table_says(one, name):
    x = odd_input()
    capture = Capture("pool", name, 0, (x,), POOLS[name].run(x), "float32", Description((Step(POOLS[name]),)))
    report = judge(capture)
    assert report.verdict == "diverge"
    assert "ONNX Runtime is the odd one out" in report.sentence
    assert f"known of it, {one.says}" in report.sentence
    assert judge(replace(capture, inputs=(np.nan_to_num(x),), outputs=POOLS[name].run(np.nan_to_num(x)))).ok


@pytest.mark.parametrize("layer", [keras.layers.MaxPooling2D(2), torch.nn.MaxPool2d(2)], ids=["keras", "torch"])
def test_nan_in_a_window_is_not_numpys_fault(layer):
    x = odd_input()
    for sample in range(4):
        (report,) = probe.sweep(
            layer, x[sample : sample + 1] if isinstance(layer, torch.nn.Module) else np.moveaxis(x, 1, -1)[sample : sample + 1]
        )
        assert "please report it" not in report.sentence
        if report.verdict == "diverge":
            assert "undefined between engines" in report.sentence or "ONNX Runtime is the odd one out" in report.sentence


def test_another_fault_is_still_named_beside_nan():
    x = odd_input()
    (y,) = POOLS["MaxPool"].run(x)
    capture = Capture("pool", "MaxPool", 0, (x,), (np.where(np.isnan(y), y, y + 1),), "float32", Description((Step(POOLS["MaxPool"]),)))
    report = judge(capture)
    assert report.verdict == "diverge"
    assert report.comparisons["framework", "numpy"].certain


@pytest.mark.parametrize("layer", [torch.nn.Softmax(-1), torch.nn.LogSoftmax(-1), keras.layers.Softmax()], ids=["torch", "log", "keras"])
def test_masked_scores_are_no_divergence(layer):
    """-inf, as attention masks have it."""
    x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    x[:, 5:] = -np.inf
    (report,) = probe.sweep(layer, x)
    assert report.ok, report.sentence
