"""Asking about a case that a user brought to an issue tracker, built again with the frameworks
here.

The modules test_threads_*.py have the cases: each names its thread and takes its shapes and numbers
from there; what the thread found to be the cause must be named.
"""

import probe

__all__ = ["asked", "named"]


def asked(layer, x, wrong, **options):
    return probe.check(
        layer, probe.open_model(layer).layers[0].name, given=x, expected=wrong, **options
    )


def named(report, slug):
    """The thread's cause first, or in a declared tie, and nothing left of the difference."""
    slugs = [finding.slug for finding in report.findings]
    assert slugs, report
    assert slugs[0] == slug or (slug in slugs and report.findings[0].tie), report
    assert report.findings[0].left <= 1
    return report.findings[slugs.index(slug)]
