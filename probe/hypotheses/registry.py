"""What a mistake is to the search: a function under a slug."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import cleandoc

from probe.hypotheses.edits.changes import Changes
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__ = ["Hypothesis", "hypothesis", "more"]

Function = Callable[[Case], Iterator[Edit | Changes]]


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
    explains: bool = True
    """Whether its text is that of the slug."""

    def __call__(self, case: Case) -> Iterator[Edit | Changes]:
        return self.function(case)

    @property
    def text(self) -> str:
        return cleandoc(self.function.__doc__ or "")

    @property
    def title(self) -> str:
        return " ".join(self.text.partition("\n\n")[0].split())


def hypothesis(slug: str, *, whole: bool = False) -> Callable[[Function], Hypothesis]:
    """Makes a function the mistake of a slug; the catalogue says when it is tried."""
    return lambda function: Hypothesis(slug, function, _family(function), whole)


def more(slug: str, *, whole: bool = False) -> Callable[[Function], Hypothesis]:
    """Makes a function one more that yields edits of a mistake which another function explains."""
    return lambda function: Hypothesis(slug, function, _family(function), whole, explains=False)


def _family(function: Function) -> str:
    return function.__module__.rpartition(".")[2]
