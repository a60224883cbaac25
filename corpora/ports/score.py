"""Asks a tool about every port, and counts what it saw, located and named."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from corpora.ports import FAMILIES, HELD_OUT, cases_of
from corpora.ports.check_twins import framework_output
from corpora.ports.tool import Answer, Question, Tool


@dataclass(frozen=True)
class Row:
    """What a tool answered about one port; ``mistake`` is "" for the right one."""

    family: str
    case: str
    mistake: str
    what: str
    answer: Answer
    located: bool
    """Whether it points at an element that the mistake changes."""


def rows(tool: Tool, families: Sequence[str]) -> Iterator[Row]:
    """Each right port and each wrong one, in the order of the corpus."""
    for family in families:
        for case in cases_of(family):
            model, x = case.build()
            framework = framework_output(model, x, case.layer)
            right = case.right(model, x)
            ports = [("", "", right)]
            ports += [
                (name, mistake.what, mistake.port(model, x)) for name, mistake in case.wrong.items()
            ]
            for name, what, values in ports:
                answer = tool(Question(model, case.layer, x, framework, values))
                yield Row(family, case.name, name, what, answer, _located(answer, values, right))


def _located(answer: Answer, values: np.ndarray, right: np.ndarray) -> bool:
    if answer.element is None or not answer.differs or values.shape != right.shape:
        return False
    element = answer.element
    return bool(values[element] != right[element])


def counts(found: Sequence[Row]) -> dict[str, int]:
    """Of right ports: how many there are, and how many are said to differ. Of wrong ones: how many
    there are, are said to differ, located, and given a cause."""
    wrong = [row for row in found if row.mistake]
    right = [row for row in found if not row.mistake]
    total = Counter(right=len(right), false_alarms=sum(row.answer.differs for row in right))
    total |= Counter(
        wrong=len(wrong),
        seen=sum(row.answer.differs for row in wrong),
        located=sum(row.located for row in wrong),
        named=sum(bool(row.answer.cause) for row in wrong),
    )
    return {
        name: total[name] for name in ("right", "false_alarms", "wrong", "seen", "located", "named")
    }


def groups(found: Sequence[Row]) -> dict[str, dict[str, int]]:
    """The counts of the ports held out and of all others, each where all its families are there."""
    others = tuple(family for family in FAMILIES if family not in HELD_OUT)
    families = {row.family for row in found}
    return {
        name: counts([row for row in found if row.family in members])
        for name, members in (("held out", HELD_OUT), ("others", others))
        if {*members} <= families
    }
