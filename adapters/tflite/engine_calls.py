"""What an engine is asked to run, and what it gives."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from probe.errors import first_line

__all__ = ["EngineFile", "EngineRefusal", "Gave", "keep", "run_piece", "staged"]

_CALLS = {
    **dict.fromkeys(("xnnpack", "optimised", "reference"), ".litert_calls"),
    "tflm": ".tflm_calls",
}
"""Engine -> the module that imports its library, in a child process alone."""


_NODE = re.compile(r"(?<=\S)Node number")
"""LiteRT writes its sentences without a space between them."""


class EngineRefusal(Exception):
    """An engine refuses; ``stage`` is "load", "prepare" or "invoke"."""

    def __init__(self, why: str, stage: str) -> None:
        super().__init__(why)
        self.stage = stage


@dataclass(frozen=True, eq=False)
class EngineFile:
    """A file in memory; tensors have their numbers in the model that it is a part of."""

    content: bytes
    numbers: Mapping[int, int]
    """Number in the model -> number in this file, of tensors whose values are read or given."""
    inputs: tuple[int, ...]
    """In the order in which the file takes them."""
    outputs: tuple[int, ...]
    read: tuple[int, ...]
    """What is read after the run: never a handle, also among the outputs."""
    variables: tuple[int, ...] = ()
    """What is read before it, too."""
    bytes: int = 0
    """Of all its tensors, by the shapes of the file."""


@dataclass(eq=False)
class Gave:
    """What a piece gave."""

    arrays: dict[int, np.ndarray] = field(default_factory=dict)
    before: dict[int, np.ndarray] = field(default_factory=dict)
    delegated: set[int] = field(default_factory=set)


def run_piece(
    piece: EngineFile, values: Mapping[int, np.ndarray], engine: str, preserve: bool
) -> Gave:
    """Raises EngineRefusal where the engine does."""
    calls = import_module(_CALLS[engine], __package__)
    gave: Gave = calls.run(piece, values, engine, preserve)
    return gave


def staged(stage: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    try:
        return call(*args, **named)
    except (ValueError, RuntimeError, TypeError) as error:
        said = _NODE.sub("; node number", first_line(error))
        if said == type(error).__name__:
            said = "it gives no reason, as where memory runs out"
        raise EngineRefusal(said, stage) from None


def keep(arrays: dict[int, np.ndarray], at: int, read: Callable[[], np.ndarray]) -> None:
    """What can be read: a tensor that nothing has computed cannot."""
    try:
        arrays[at] = np.array(read())
    except (ValueError, RuntimeError, TypeError):
        return
