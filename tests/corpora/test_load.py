"""What is said of others' mistakes does not depend on what else the machine does."""

from zlib import crc32

import pytest
from busy_processes import busy

import probe
from corpora.ports import cases_of, index
from corpora.ports.case import inputs_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
COUNT = 60


def sample():
    """So many of the mistakes, by their names: (family, case, mistake)."""
    names = [(entry["family"], entry["case"], entry["mistake"]) for entry in index.read()]
    return sorted(sorted(names, key=lambda name: crc32("/".join(name).encode()))[:COUNT])


def reports(names):
    """All that is said of each mistake."""
    for family, name, mistake in names:
        (case,) = (case for case in cases_of(family) if case.name == name)
        model, x = case.build()
        values = case.wrong[mistake].port(model, x)
        report = probe.check(model, case.layer, inputs_of(x), expected=values)
        findings = [
            (finding.slug, finding.also, finding.claim, finding.left) for finding in report.findings
        ]
        yield report.sentence, findings, report.diagnosis


@pytest.mark.slow
def test_sixty_mistakes_have_equal_causes_with_eight_busy_processes_beside():
    names = sample()
    alone = [*reports(names)]
    assert len(alone) == COUNT and sum(bool(findings) for _, findings, _ in alone) > COUNT / 2
    with busy(8):
        assert [*reports(names)] == alone
