"""One family of user errors: each is one sentence that says what was wrong and the way out.

The library raises them, the command prints them as ``probe: …`` and exits with status 2.
"""

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from probe import printable
from probe.suggestions import did_you_mean, near_parts

__all__ = [
    "BadInput",
    "CannotOpen",
    "CostWarning",
    "ForwardFailed",
    "MissingExtra",
    "NotCompared",
    "NotReached",
    "NotTrusted",
    "ProbeError",
    "Undescribed",
    "UnknownLayer",
    "absorbed",
    "describing",
    "first_line",
    "in_words",
    "our_fault",
]


_LOG = logging.getLogger(__name__)
_REASON, _NAMED = 300, 6
"""Letters of a library's sentence; so many names are said where none is spelled alike."""


class ProbeError(Exception):
    """A mistake that the user can fix; ``str(error)`` is the sentence to show, whatever names of a
    file are in it."""

    def __init__(self, sentence: str = "") -> None:
        super().__init__(printable.sentence(sentence))


def first_line(error: BaseException) -> str:
    """The first line of what a library says went wrong, with those that it announces; the class of
    the error where it says nothing."""
    lines = list(filter(None, (" ".join(line.split()) for line in _said(error).splitlines())))
    first = next((at for at, line in enumerate(lines) if not line.endswith((":", ","))), None)
    last = None if first is None else first + 1
    return (" ".join(lines[:last]) or type(error).__name__)[:_REASON]


def in_words(error: BaseException) -> str:
    """What went wrong in a library, in words that fit into a sentence."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply for Python's recursion limit"
    if isinstance(error, OSError) and error.strerror:
        said = error.strerror
    else:
        said = _said(error)
    return (
        f"{type(error).__name__}: "
        f"{printable.line(' '.join(said[: 4 * _REASON].split()), _REASON) or 'no reason given'}"
    )


def _said(error: BaseException) -> str:
    """What a library says, without advice on settings of Python that are no help here."""
    text = str(error)
    if "set_int_max_str_digits" in text:
        return f"it contains an integer of more than {sys.get_int_max_str_digits():,} digits"
    return text


class CannotOpen(ProbeError):
    """The file is missing, broken, or of a kind that cannot be opened."""


class NotTrusted(ProbeError):
    """The file would run code of its own and the user has not agreed to that."""


class MissingExtra(ProbeError):
    """The framework that the file needs is not installed."""


class BadInput(ProbeError):
    """An array, a shape or an option does not fit the model."""


class ForwardFailed(ProbeError):
    """The model's own forward pass raised."""


class NotReached(ProbeError):
    """The forward pass produced no call of the layer that was asked for."""


class NotCompared(ProbeError):
    """Values that the user gave were compared with nothing; ``reasons`` says of each name why."""

    def __init__(self, reasons: Mapping[str, str], total: int):
        self.reasons = dict(reasons)
        by_reason: dict[str, list[str]] = {}
        for name, why in reasons.items():
            by_reason.setdefault(why, []).append(repr(name))
        text = "; ".join(f"{printable.several(names)} ({why})" for why, names in by_reason.items())
        super().__init__(
            f"the values given for {len(reasons)} of {total} names were not compared: {text}"
        )


class Undescribed(ProbeError):
    """The layer has no description, or uses an option that its description does not cover."""


class CostWarning(UserWarning):
    """What is about to run costs many forward passes of a large model; it says how many, and what
    does without."""


class UnknownLayer(ProbeError):
    """No layer of that name."""

    def __init__(self, wanted: str, names: Iterable[str]):
        names = [name for name in names if name]
        if wanted == "(root)":
            hint = 'the whole model is --layer "" (probe.check(model, ""))'
        elif meant := near_parts(wanted, names):
            hint = did_you_mean(map(repr, meant))
        else:
            hint = f"it has {printable.several(map(repr, names), _NAMED) or 'no layers'}"
        super().__init__(
            f"the model has no layer {printable.name(repr(wanted))}; {hint} {_LISTED_BY}"
        )


_LISTED_BY = "(probe MODEL lists the layers, probe MODEL --parts the blocks)"


def absorbed(error: Exception) -> None:
    """Notes a fault of ours that costs the user no more than a coarser answer: in the log, at the
    level of debugging, where a test that did not plant it fails (tests/conftest.py)."""
    if not isinstance(error, ProbeError):
        _LOG.debug("internal error", exc_info=error)


def our_fault(error: Exception, what: str) -> str:
    """The sentence where we failed at what should have worked."""
    absorbed(error)
    return f"{what} ({in_words(error)}); please report this bug"


@contextmanager
def describing() -> Iterator[None]:
    """A fault of ours within leaves one call undescribed, and ends no sweep."""
    try:
        yield
    except ProbeError:
        raise
    except Exception as error:
        raise Undescribed(our_fault(error, "it cannot be described")) from error
