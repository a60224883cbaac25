"""``probe.check``: its verdict, the element furthest beyond its allowance, and the first cause that
gives the values."""

import probe
from corpora.ports.case import inputs_of
from corpora.ports.tool import Answer, Question


def answer(question: Question) -> Answer:
    report = probe.check(
        question.model, question.layer, inputs_of(question.x), expected=question.values
    )
    return Answer(
        report.verdict == "diverge",
        element(report),
        next((str(finding) for finding in report.findings if finding.left <= 1), ""),
    )


def element(report: probe.Report) -> tuple[int, ...] | None:
    """The index of the element of the values that is furthest beyond its allowance; None where none
    is, or nothing was compared."""
    comparison = report.comparisons.get(("framework", "expected"))
    worst = None if comparison is None else comparison.worst
    return None if worst is None else worst.index
