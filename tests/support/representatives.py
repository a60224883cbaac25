"""What the default run tries of a long table, and what it leaves to ``-m exhaustive``."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import pytest

__all__ = ["exhaustive", "representatives"]


def exhaustive(*values: Any) -> list:
    """Values of one parameter that other values of it stand for."""
    return [pytest.param(value, marks=pytest.mark.exhaustive) for value in values]


def representatives(
    rows: Iterable[Sequence], kind: Callable[[Any], Hashable], ids: Callable[[int, Any], str]
) -> list:
    """The rows as parameters: the first of each kind stands for the others, which are
    exhaustive."""
    seen: set[Hashable] = set()
    parameters = []
    for position, row in enumerate(rows):
        marks = [pytest.mark.exhaustive] if kind(row) in seen else []
        seen.add(kind(row))
        parameters.append(pytest.param(row, id=ids(position, row), marks=marks))
    return parameters
