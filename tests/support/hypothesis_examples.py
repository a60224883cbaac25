"""How many cases a test draws: as many as it says in the profile ``ci``, a quarter of them by
default (``tests/conftest.py``)."""

from typing import Any

from hypothesis import settings

__all__ = ["examples"]

_FEWEST = 4


def examples(count: int, **options: Any) -> settings:
    """Settings for ``count`` cases where the profile draws 100, and in proportion where it draws
    others."""
    return settings(max_examples=max(_FEWEST, count * settings().max_examples // 100), **options)
