"""The names of what models take and give: whether they tell which of another model's is meant."""

import re
from collections.abc import Sequence

__all__ = ["tell_apart"]

_NUMBER = re.compile(r"[_.:]*\d*$")


def tell_apart(names: Sequence[str]) -> bool:
    """Whether names say which array is which: those that differ by a number alone, as a framework
    gives them, say their places."""
    stems = {_NUMBER.sub("", name) for name in names}
    return len(stems) == len(names) and "" not in stems
