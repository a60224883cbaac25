"""Reports as JUnit XML, a test case for each call, for CI servers that run no Python tests."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from probe import printable
from probe.report.blocks import headline, inherited

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["TestCase", "case", "properties", "suite"]

_ILLEGAL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold."""


@dataclass(frozen=True)
class TestCase:
    """What is said of one call."""

    name: str
    kind: str
    properties: Mapping[str, str]
    outcome: str = ""
    """"failure" or "skipped", or nothing."""
    headline: str = ""
    text: str = ""


def properties(report: "Report") -> dict[str, str]:
    """What a CI server may sort by."""
    ratio = max((comparison.ratio for comparison in report.comparisons.values()), default=None)
    found = {"verdict": report.verdict}
    if ratio is not None:
        found["ratio"] = f"{ratio:.6g}"
    if report.findings:
        found["cause"] = report.findings[0].named
    return found


def case(report: "Report", strict: bool = False) -> TestCase:
    """A call; one that is unchecked is skipped, and with ``strict`` fails; one whose difference may
    come from a layer before is skipped and names it."""
    call = f":{report.call}" if report.call else ""
    name = (printable.name(report.layer) or "(root)") + call
    kind = printable.name(report.kind)
    if report.verdict == "agree":
        return TestCase(name, kind, properties(report))
    if report.inherits:
        return TestCase(name, kind, properties(report), "skipped", inherited(report), str(report))
    outcome = "failure" if report.verdict == "diverge" or strict else "skipped"
    text = str(report) if report.verdict == "diverge" else report.sentence
    return TestCase(name, kind, properties(report), outcome, headline(report), text)


def suite(source: str, cases: Sequence[TestCase]) -> str:
    """The whole file."""
    counts = {
        "tests": len(cases),
        "failures": sum(test.outcome == "failure" for test in cases),
        "errors": 0,
        "skipped": sum(test.outcome == "skipped" for test in cases),
    }
    told = {"name": _legal(source), **{name: str(count) for name, count in counts.items()}}
    root = ElementTree.Element("testsuites")
    all_ = ElementTree.SubElement(root, "testsuite", told)
    for test in cases:
        names = {"classname": _legal(f"probe.{test.kind}"), "name": _legal(test.name)}
        element = ElementTree.SubElement(all_, "testcase", names)
        held = ElementTree.SubElement(element, "properties")
        for name, value in test.properties.items():
            ElementTree.SubElement(held, "property", {"name": name, "value": _legal(value)})
        if test.outcome:
            message = {"message": _legal(test.headline)}
            ElementTree.SubElement(element, test.outcome, message).text = _legal(test.text)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
