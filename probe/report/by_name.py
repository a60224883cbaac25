"""Mappings whose error names what there is."""

from collections.abc import Iterable
from typing import TypeVar

from probe import printable

__all__ = ["ByName", "unknown"]

_Value = TypeVar("_Value")


class ByName(dict[str, _Value]):
    """A dict by names; a KeyError says which there are."""

    def __missing__(self, name: object) -> _Value:
        raise unknown(name, self)


def unknown(name: object, names: Iterable[str]) -> KeyError:
    """The error of a name that is none of these."""
    return KeyError(f"no {name!r}: there is {printable.several(map(repr, names)) or 'nothing'}")
