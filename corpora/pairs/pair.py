"""What a pair is: a model twice, the second a healthy port, export or copy, and faulty ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Sources = tuple[tuple[str, ...], ...]


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Fault:
    """A second model with a fault, the fault in words, and where it lies.

    `build` writes into the folder that it is given where the model is a file. `sources` holds one
    tuple for each fault that was planted: the layers of the first model, named as its framework
    names them, in whose own computation it lies. A tuple has several where the second model
    computes them as one (a folded batch normalisation) or the fault lies between them (an addition
    belongs to the block that holds it). A comparison is right where it names at least one layer of
    each tuple, and none outside of them.
    """

    build: Callable[[Path], Any]
    what: str
    sources: Sources


@dataclass(frozen=True)
class Pair:
    """A model and the same network again.

    `build` gives the first model, live, and its input in its own layout: an array, a tuple of
    arrays, or arrays by name. `right` and each `wrong` give the second: a live model, or the path
    of an .onnx or .npz in the folder that they are given. `to_b` and `from_b` turn the input into
    what the second takes and its output into the layout of the first; a comparison has to find out
    by itself. Where the second is in half precision, so is the input it is given. `rounding` is
    what healthy outputs may differ by, over the greatest magnitude.
    """

    name: str
    build: Callable[[], tuple[Any, Any]]
    right: Callable[[Path], Any]
    wrong: Mapping[str, Fault]
    to_b: Callable[[Any], Any] = _same
    from_b: Callable[[Any], Any] = _same
    rounding: float = 1e-4


def at(*layers: str) -> Sources:
    """One source, in any of these layers."""
    return (layers,)
