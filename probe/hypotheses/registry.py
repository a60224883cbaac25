"""The known mistakes by their slugs, in the order in which they are tried."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import cleandoc

from probe.hypotheses.case import Case, Edit

__all__ = ["CAUSES", "REGISTERED", "Hypothesis", "hypothesis", "more"]

Function = Callable[[Case], Iterator[Edit]]


@dataclass(frozen=True)
class Hypothesis:
    """A mistake by its slug."""

    slug: str
    function: Function
    family: str
    whole: bool = False
    """Whether it needs the whole batch to show."""
    last: bool = False
    """Whether it is tried only where no other mistake reproduces the values."""

    @property
    def text(self) -> str:
        return cleandoc(self.function.__doc__ or "")

    @property
    def title(self) -> str:
        return " ".join(self.text.partition("\n\n")[0].split())


REGISTERED: list[Hypothesis] = []
"""In the order in which they are tried."""
CAUSES: dict[str, Hypothesis] = {}
"""The one of each slug whose text explains it."""


def hypothesis(
    slug: str, *, whole: bool = False, last: bool = False
) -> Callable[[Function], Function]:
    """Registers a function under its slug; it is tried in the order of registration."""

    def register(function: Function) -> Function:
        family = function.__module__.rpartition(".")[2]
        CAUSES[slug] = Hypothesis(slug, function, family, whole, last)
        REGISTERED.append(CAUSES[slug])
        return function

    return register


def more(slug: str, *, whole: bool = False, last: bool = False) -> Callable[[Function], Function]:
    """Registers a function that makes further edits of a mistake which another function
    explains."""

    def register(function: Function) -> Function:
        family = function.__module__.rpartition(".")[2]
        REGISTERED.append(Hypothesis(slug, function, family, whole, last))
        return function

    return register
