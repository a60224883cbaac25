"""What the default run tries of a long table, and what it leaves to ``-m exhaustive``."""

from typing import Any

import pytest

__all__ = ["exhaustive"]


def exhaustive(*values: Any) -> list:
    """Values of one parameter that other values of it stand for."""
    return [pytest.param(value, marks=pytest.mark.exhaustive) for value in values]
