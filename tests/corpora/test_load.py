"""What is said of others' mistakes does not depend on what else the machine does."""

import subprocess
import sys
from contextlib import contextmanager
from zlib import crc32

import pytest
from repository import ROOT

import probe

sys.path.append(str(ROOT))

from corpora.ports import cases_of, index

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
COUNT = 60


def drawn():
    """So many of the mistakes, by their names: (family, case, mistake)."""
    names = [(entry["family"], entry["case"], entry["mistake"]) for entry in index.read()]
    return sorted(sorted(names, key=lambda name: crc32("/".join(name).encode()))[:COUNT])


def told(names):
    """All that is said of each mistake."""
    for family, name, mistake in names:
        (case,) = (case for case in cases_of(family) if case.name == name)
        model, x = case.build()
        values = case.wrong[mistake].port(model, x)
        inputs = list(x) if isinstance(x, tuple) else x
        report = probe.check(model, case.layer, inputs, expected=values)
        findings = [(one.slug, one.also, one.claim, one.left) for one in report.findings]
        yield report.sentence, findings, report.diagnosis


@contextmanager
def busy(count):
    """Children that take all the processors they get, until this ends."""
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait(timeout=60)


@pytest.mark.slow
def test_sixty_mistakes_have_equal_causes_with_eight_busy_processes_beside():
    names = drawn()
    alone = [*told(names)]
    assert len(alone) == COUNT and sum(bool(findings) for _, findings, _ in alone) > COUNT / 2
    with busy(8):
        assert [*told(names)] == alone
