"""The page docs/causes.md: the mistakes that are named, at length, and the confusion table of those
that are planted."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from fault_catalogue import ROWS, asked

from probe.hypotheses import CAUSES


def table() -> str:
    """The confusion table: for each planted mistake what was named first, and what it was tied
    with."""
    lines = ["| planted | in | named first | tied with |", "|---|---|---|---|"]
    right = 0
    for slug, family, row in ROWS:
        findings = asked(row).findings
        named = [finding.slug for finding in findings]
        hit = bool(named) and (named[0] == slug or (slug in named and findings[0].tie))
        right += hit
        lines.append(
            f"| {slug} | {family} | "
            f"{named[0] if named else 'nothing'}{'' if hit else ' (wrong)'} | "
            f"{', '.join(named[1:])} |"
        )
    head = (
        f"{right} of {len(ROWS)} planted mistakes ({right / len(ROWS):.1%}) are named first or "
        "in a declared tie."
    )
    return "\n".join([head, "", *lines])


def listed() -> str:
    """The mistakes, a line each."""
    return "\n".join(
        f"- [`{cause.slug}`](#{cause.slug}): {cause.title}" for cause in CAUSES.values()
    )


def page() -> str:
    """docs/causes.md: the mistakes in a line each and at length, then the confusion table."""
    told = [f"### `{cause.slug}`\n\n{cause.text}\n" for cause in CAUSES.values()]
    return "\n".join(
        [
            "# Causes",
            "",
            "For everybody whose values diverge: the mistakes that `probe` looks for and names, "
            "as `probe causes` lists them and `probe causes SLUG` explains them.",
            "[Find the mistake](find-the-mistake.md) says how they are looked for.",
            "",
            "This page is written by `python tools/gen_docs.py causes`, from the docstrings in "
            "`probe/hypotheses/` and the mistakes planted in the tests.",
            "",
            listed(),
            "",
            "## At length",
            "",
            *told,
            "## Planted and named",
            "",
            table(),
            "",
        ]
    )
