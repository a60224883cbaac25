"""The nets of examples/: small, and every layer of each agrees on real images."""

import numpy as np
import pytest
from repository import EXAMPLES

import probe


@pytest.mark.parametrize("name", ["digits_qkeras.h5", "digits.keras", "digits.pt", "digits.onnx"])
def test_every_layer_agrees_on_the_digits(name):
    path, images = EXAMPLES / name, np.load(EXAMPLES / "digits.npy")
    assert path.stat().st_size < 300_000
    if name.endswith((".pt", ".onnx")):
        images = images.transpose(0, 3, 1, 2)
    factory = f"{EXAMPLES / 'digits_net.py'}:DigitsNet" if name.endswith(".pt") else None
    reports = list(probe.sweep(probe.open_model(path, factory=factory), images))
    assert [report.layer for report in reports if not report.ok] == []
    assert len(reports) >= 7
    recognised = reports[-1].outputs["framework"].argmax(axis=1)
    assert (recognised == np.arange(10)).sum() >= 9
