"""What one ported layer is: a live model, its input, the right port of a layer, and wrong ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Port = Callable[[Any, Any], np.ndarray]


def inputs_of(x: Any) -> Any:
    """The input of a case as a list of arrays, an array or arrays by name."""
    return list(x) if isinstance(x, tuple) else x


@dataclass(frozen=True)
class Mistake:
    """A port with a mistake, and the mistake in words; `causes` counts the mistakes made in it."""

    port: Port
    what: str
    causes: int = 1


@dataclass(frozen=True)
class Case:
    """A layer of a model, named as its framework does ("" is the model), with its ports.

    `build` gives the model and its input: an array, a tuple of arrays, or arrays by name.
    """

    name: str
    build: Callable[[], tuple[Any, Any]]
    layer: str
    right: Port
    wrong: Mapping[str, Mistake]
