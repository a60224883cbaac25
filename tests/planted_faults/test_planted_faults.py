"""Every planted mistake is named first, or in a declared tie; every cause has its text and its
planted mistake."""

import numpy as np
import pytest
from fault_catalogue import ROWS, asked, checked
from repository import ROOT

from probe.hypotheses import CAUSES, PATTERNS, REGISTERED
from probe.printable import WIDTH


@pytest.mark.exhaustive(each=lambda row: row[0])
@pytest.mark.parametrize(
    "row", ROWS, ids=[f"{slug} in {family} ({i})" for i, (slug, family, _) in enumerate(ROWS)]
)
def test_the_planted_mistake_is_named(row):
    slug, _, make = row
    report = asked(make)
    named = [finding.slug for finding in report.findings]
    assert named, report
    assert named[0] == slug or (slug in named and report.findings[0].tie), report
    assert report.findings[0].left <= 1
    assert all(finding.do for finding in report.findings), report
    text = str(report)
    assert slug in text
    assert all(len(line) <= WIDTH for line in text.splitlines()), text


def test_every_cause_is_planted_and_explained():
    every = (*REGISTERED, *PATTERNS)
    assert {mistake.slug for mistake in every} == set(CAUSES)
    assert set(CAUSES) - {slug for slug, _, _ in ROWS} == {"rounding"}, "which is no mistake"
    assert len([mistake for mistake in every if mistake in CAUSES.values()]) == len(CAUSES)
    for one in CAUSES.values():
        assert one.title.endswith("."), one.slug
        assert one.text


@pytest.mark.exhaustive(default=30)
@pytest.mark.parametrize("family", sorted({family for _, family, _ in ROWS}))
def test_healthy_values_give_no_finding(family):
    _, _, make = next(row for row in ROWS if row[1] == family)
    layer, x, _, *options = make()
    right = checked(layer, x, None, *options).outputs["framework"]
    report = checked(layer, x, right, *options)
    assert report.ok, report
    assert not report.findings
    assert not report.diagnosis


def _families():
    """Each family of layers; by default those in which a mistake is planted that is in none before
    them."""
    seen = set()
    for family in dict.fromkeys(family for _, family, _ in ROWS):
        slugs = {slug for slug, other, _ in ROWS if other == family}
        yield pytest.param(family, marks=[] if slugs - seen else pytest.mark.exhaustive)
        seen |= slugs


@pytest.mark.exhaustive(default=3)
@pytest.mark.parametrize("family", [*_families()])
def test_nan_and_inf_in_the_users_values_do_not_warn(family):
    """Warnings are errors here: one NaN, one inf, and nothing but NaN."""
    _, _, make = next(row for row in ROWS if row[1] == family)
    layer, x, _, *options = make()
    right = checked(layer, x, None, *options).outputs["framework"]
    first = np.array(right[0] if isinstance(right, tuple) else right, np.float32)
    for value in (np.nan, np.inf, -np.inf):
        one = first.copy()
        one.flat[one.size // 2] = value
        assert checked(layer, x, one, *options).verdict == "diverge"
    assert checked(layer, x, np.full_like(first, np.nan), *options).findings == ()


def test_the_page_of_causes_is_the_codes_own():
    """Run ``python tools/gen_docs.py causes`` after a change; what was named is what the tests
    above hold."""
    text = (ROOT / "docs" / "causes.md").read_text(encoding="utf-8")
    for one in CAUSES.values():
        assert f"### `{one.slug}`\n\n{one.text}\n" in text, "run python tools/gen_docs.py causes"
    rows = sorted(
        line.split(" | ")[:2]
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith("| planted |")
    )
    assert rows == sorted([f"| {slug}", family] for slug, family, _ in ROWS), (
        "run python tools/gen_docs.py causes"
    )
    assert "(wrong)" not in text
