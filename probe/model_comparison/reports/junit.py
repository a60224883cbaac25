"""A comparison of two models as JUnit XML, a test case for each pair."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from probe.model_comparison.reports.blocks import headline, names_of, outcome, ratio_of
from probe.model_comparison.reports.text import pair_text
from probe.report import junit

if TYPE_CHECKING:
    from probe.model_comparison.reports.result import ModelComparison, Pair

__all__ = ["properties", "suite"]


def suite(comparison: "ModelComparison", strict: bool = False) -> str:
    """The whole file. Where the verdict follows from no pair, the last case says it."""
    return junit.suite(f"{comparison.a} ~ {comparison.b}", [*_cases(comparison, strict)])


def properties(pair: "Pair") -> dict[str, str]:
    """What a CI server may sort by."""
    attributes = {"verdict": pair.verdict, "source": str(pair.source)}
    attributes |= {"local": ratio_of(pair.local), "propagated": ratio_of(pair.propagated)}
    if pair.findings:
        attributes["cause"] = pair.findings[0].named
    return attributes


def _cases(comparison: "ModelComparison", strict: bool) -> Iterator[junit.TestCase]:
    failed = False
    for pair in comparison.pairs:
        test = outcome(pair, comparison, strict)
        failed |= test.word == "failure"
        text = pair_text(pair, comparison) if test.word == "failure" else test.said
        name = f"{names_of(pair.a)} ~ {names_of(pair.b)}"
        yield junit.TestCase(name, "pair", properties(pair), test.word, test.said, text)
    verdict = comparison.verdict
    attributes: dict[str, str] = {"verdict": verdict}
    if verdict == "agree" or (verdict == "diverge" and failed):
        return
    word = "failure" if verdict == "diverge" or strict else "skipped"
    yield junit.TestCase(
        "both models", "pair", attributes, word, headline(comparison), str(comparison)
    )
