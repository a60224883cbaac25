"""Which of the names that there are may have been meant by one that there is not."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean", "near", "near_parts"]

_COMPARED = 500
"""Letters of names that are held against one another."""
_NEAR = 3
_ALIKE = 0.6


def did_you_mean(names: Iterable[str]) -> str:
    """The question, such as "did you mean 'a', 'b' or 'c'?"; "" without names."""
    *others, last = [*names] or [""]
    if not last:
        return ""
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def near(wanted: str, names: Iterable[str], most: int = _NEAR, alike: float = _ALIKE) -> list[str]:
    """The names that are spelled alike, but for capitals, the nearest first."""
    spelled: dict[str, list[str]] = {}
    for name in names:
        if len(name) <= _COMPARED:
            spelled.setdefault(name.lower(), []).append(name)
    words = get_close_matches(wanted[:_COMPARED].lower(), spelled, n=most, cutoff=alike)
    return [name for word in words for name in spelled[word]][:most]


def near_parts(wanted: str, names: Iterable[str]) -> list[str]:
    """The same of names of several parts: those that end with it, then those that are spelled
    alike, that contain it, or whose last part is spelled alike."""
    wanted = wanted[:_COMPARED].lower()
    names = [name for name in names if len(name) <= _COMPARED]
    spelled = {name: name.lower() for name in names}
    last = {name: re.split(r"[./]", folded)[-1] for name, folded in spelled.items()}
    ends = get_close_matches(wanted, set(last.values()), n=1, cutoff=0.7)
    found = [
        *(name for name in names if spelled[name].endswith((f".{wanted}", f"/{wanted}"))),
        *near(wanted, names, alike=0.5),
        *(name for name in names if wanted and wanted in spelled[name]),
        *(name for name in names if last[name] in ends),
    ]
    return list(dict.fromkeys(found))[:_NEAR]
