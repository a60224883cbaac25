"""What a tool that is scored is asked, and what it answers.

A tool is a module of corpora/ports/tools with a function ``answer(question: Question) -> Answer``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Question:
    """A layer of a live model, and values that are said to be its output.

    ``layer`` is its name in the framework ("" is the model); ``x`` is the model's input: an array,
    a tuple of arrays, or arrays by name.
    """

    model: Any
    layer: str
    x: Any
    framework: np.ndarray
    """What the layer puts out in its framework."""
    values: np.ndarray
    """What the port computes for it."""


@dataclass(frozen=True)
class Answer:
    """Whether the values differ from the layer's by more than rounding, where, and why."""

    differs: bool
    element: tuple[int, ...] | None = None
    """The index of an element that differs; None where the tool points at none."""
    cause: str = ""
    """The mistake in words, where one reproduces the values."""


Tool = Callable[[Question], Answer]
TOOLS = tuple(sorted(file.stem for file in (Path(__file__).parent / "tools").glob("[a-z]*.py")))


def tool(name: str) -> Tool:
    """The function ``answer`` of one of TOOLS."""
    answer: Tool = import_module(f"corpora.ports.tools.{name}").answer
    return answer


def elementwise(
    question: Question, differs: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Answer:
    """The answer of a tool that asks of each element of ``values`` and ``framework``, in float64,
    whether it differs; it points at the one with the largest difference."""
    if question.values.shape != question.framework.shape:
        return Answer(True)
    values, framework = (
        array.astype(np.float64) for array in (question.values, question.framework)
    )
    places = differs(values, framework)
    if not places.any():
        return Answer(False)
    difference = np.where(places, np.abs(values - framework), -1.0)
    index = np.unravel_index(difference.argmax(), difference.shape)
    return Answer(True, tuple(int(place) for place in index))
