"""Names in a sentence: several of them with their verb, and which of several."""

from collections.abc import Sequence

__all__ = ["few", "joined", "listed", "ordinal"]


def listed(names: Sequence[str]) -> str:
    """The names with their verb."""
    if len(names) == 1:
        return f"{names[0]} {'are' if _plural(names[0]) else 'is'}"
    return f"{joined(names)} are"


def joined(names: Sequence[str]) -> str:
    """Several names: "a, b and c", or "a, b, c and 2 more"."""
    *before, last = few(names)
    return f"{', '.join(before)} and {last}"


def few(names: Sequence[str]) -> Sequence[str]:
    return names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]


_PLURAL = {"products", "squares", "keys", "queries", "values", "weights", "scores"}
_PLURAL |= {"heads", "groups", "states", "features", "sums", "integers"}
_PLURAL |= {"indices", "constants"}


def _plural(name: str) -> bool:
    """Whether a tensor's name is of several: "the scores of attn"."""
    head = name.partition(" of ")[0].partition(",")[0]
    return head.split()[-1] in _PLURAL


_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()


def ordinal(number: int) -> str:
    """ "first" for 1."""
    if number <= len(_ORDINALS):
        return _ORDINALS[number - 1]
    return f"{number}th"
