"""Weights that go through a DEQUANTIZE of their own, as each engine computes with them."""

from importlib.util import find_spec

import numpy as np
import pytest
from tflite_files import FlatNode, FlatTensor, Net, built

import probe


@pytest.fixture
def path(tmp_path):
    codes = np.arange(-6, 6).reshape(3, 4)
    tensors = [
        FlatTensor("x", (1, 4)),
        FlatTensor("kernel", dtype="int8", data=codes, scale=[0.1, 0.02, 0.5]),
        FlatTensor("wide", (3, 4)),
        FlatTensor("y", (1, 3)),
    ]
    nodes = [
        FlatNode("DEQUANTIZE", [1], [2]),
        FlatNode("FULLY_CONNECTED", [0, 2, -1], [3], ("FullyConnectedOptions", {})),
    ]
    built(Net(tensors, nodes, [0], [3]), path=tmp_path / "net.tflite")
    return str(tmp_path / "net.tflite")


def test_a_scale_for_each_channel(path):
    for engine in ("xnnpack", "optimised", "reference"):
        report = probe.check(probe.open_model(path, engine=engine), "y")
        assert report.ok and not any("DEQUANTIZE" in note for note in report.notes)


@pytest.mark.skipif(find_spec("tflite_micro") is None, reason="TFLM is not installed")
def test_tflm_has_one_scale_for_all_channels(path):
    """Its result is wrong, and the report says where that comes from."""
    report = probe.check(probe.open_model(path, engine="tflm"), "y")
    assert report.verdict == "diverge"
    assert report.notes == (
        "its weight kernel is not what the engine computes with: its DEQUANTIZE gives other "
        "numbers, by up to 2",
    )
