"""What the default run tries of a long table, and what it leaves to ``-m exhaustive``."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import pytest

__all__ = ["ONE_KERAS", "exhaustive", "representatives"]


def exhaustive(*values: Any) -> list:
    """Values of one parameter that other values of it stand for."""
    return [pytest.param(value, marks=pytest.mark.exhaustive) for value in values]


ONE_KERAS = pytest.mark.parametrize("keras", ["keras", *exhaustive("tf_keras")], indirect=True)
"""For a test by which Keras 3 stands for Keras 2 too: what differs between them has tests of its
own."""


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
