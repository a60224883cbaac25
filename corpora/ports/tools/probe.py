"""``probe.check``: its verdict, the element furthest beyond its allowance, and the first cause that
gives the values."""

import probe
from corpora.ports.case import inputs_of
from corpora.ports.tool import Answer, Question


def answer(question: Question) -> Answer:
    report = probe.check(
        question.model, question.layer, inputs_of(question.x), expected=question.values
    )
    worst = report.comparisons["framework", "expected"].worst
    return Answer(
        report.verdict == "diverge",
        None if worst is None else worst.index,
        next((str(finding) for finding in report.findings if finding.left <= 1), ""),
    )
