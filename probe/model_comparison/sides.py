"""The two sides of a comparison: models, or arrays by names that another program wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from probe.capture import array_files
from probe.capture.run import ModelLike, opened
from probe.capture.user_arrays import as_array
from probe.errors import BadInput, CannotOpen
from probe.model import Model

__all__ = ["Outputs", "Side", "side"]


class Outputs:
    """Arrays by names, and where they come from: outputs alone."""

    def __init__(self, arrays: Mapping[str, np.ndarray], source: str) -> None:
        self.arrays, self.source = dict(arrays), source
        if not self.arrays:
            raise BadInput(f"{source} holds no arrays")


Side = Model | Outputs


def side(source: ModelLike | Mapping[str, Any]) -> Side:
    """What one side is; CannotOpen where it is neither a model nor arrays."""
    if isinstance(source, Mapping):
        arrays = {str(name): as_array(one, f"the array {name!r}") for name, one in source.items()}
        return Outputs(arrays, f"{len(arrays)} arrays by name")
    if isinstance(source, str | Path):
        path = Path(source)
        recording = (path / "recording.json").is_file()
        if path.is_dir() and not recording and (files := sorted(path.rglob("*.npy"))):
            return Outputs(
                {str(one.relative_to(path).with_suffix("")): _array(one) for one in files},
                str(path),
            )
        if path.suffix == ".npz":
            try:
                return opened(source)
            except CannotOpen:
                found = array_files.array(str(path))
                assert isinstance(found, dict)
                return Outputs(found, str(path))
    return opened(source)


def _array(path: Path) -> np.ndarray:
    found = array_files.array(str(path))
    assert isinstance(found, np.ndarray)
    return found
