"""The user's own files and typed values as arrays; BadInput with one sentence where they cannot be read."""

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from probe.errors import BadInput
from probe.expected import Partial
from probe.inputs import part_of

__all__ = ["array", "expected", "given", "typed", "values"]


def array(path: str) -> np.ndarray | dict[str, np.ndarray]:
    """An array file; an .npz gives a dict of its arrays. Raises BadInput with the path and the reason."""
    if not Path(path).is_file():
        raise BadInput(f"there is no file {path}")
    try:
        if path.endswith((".txt", ".csv")):
            return np.loadtxt(path, delimiter="," if path.endswith(".csv") else None, ndmin=1)
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadInput(f"{path} is not an array file that can be read (.npy, .npz, .txt, .csv): {error}") from None
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if not loaded.files:
            raise BadInput(f"{path} holds no arrays")
        return {name: loaded[name] for name in loaded.files}


def given(path: str | None) -> Any:
    """An input file: an .npz with one array is that array, otherwise arrays by input name."""
    if path is None:
        return None
    held = array(path)
    return next(iter(held.values())) if isinstance(held, dict) and len(held) == 1 else held


def expected(path: str | None, layer: str) -> Any:
    """The user's values of one layer: of an .npz the array of that name, or its only one."""
    held = values(path, layer)
    return held[layer] if isinstance(held, dict) else held


def values(path: str | None, layer: str) -> Any:
    """The same, with those of other layers that an .npz holds beside the one of that name."""
    if path is None:
        return None
    held = array(path)
    if not isinstance(held, dict) or layer in held:
        return held
    if len(held) == 1:
        return next(iter(held.values()))
    raise BadInput(f"{path} holds {', '.join(held)}; none of them is named {layer!r}")


def typed(value: str, at: str) -> Any:
    """One value as it was typed; its last digit may have been rounded."""
    try:
        digits = Decimal(value).as_tuple().exponent
        return Partial(np.asarray(float(value)), part_of(at), 0.5 * 10.0**digits if isinstance(digits, int) else 0.0)
    except InvalidOperation:
        raise BadInput(f"--expect-value takes a number; you gave {value!r}") from None
