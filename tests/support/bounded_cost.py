"""With --bound-cost, a test that costs far more than one in the README's command may, and is not
marked ``costly``, fails.

What counts is the processor time of the test and of its ended children, in units of a fixed piece
of work that is measured before the first test: a slow or busy machine lengthens both. The nightly
run has the option; no other run depends on a machine's speed.

A plugin of pytest, which tests/conftest.py names.
"""

import os
from time import process_time

import numpy as np
import pytest

_MOST = 300
"""Units: 5 s where the costly tests begin at half a second, so that those near the border are far
below, as is the import of a part of a framework, which the first test to need it pays for."""
_EXEMPT = ("costly", "exhaustive", "slow", "gpu")


def pytest_addoption(parser):
    parser.getgroup("loops").addoption(
        "--bound-cost",
        action="store_true",
        help="fail a test that takes far too much processor time and is not marked costly",
    )


def pytest_configure(config):
    if config.getoption("--bound-cost"):
        config.pluginmanager.register(Bound(min(_unit() for _ in range(5))), "bound")


def _unit() -> float:
    """The processor time of a fixed piece of work: half in Python, half in NumPy."""
    began = process_time()
    sum(number % 7 for number in range(400_000))
    np.sort(np.random.default_rng(0).normal(size=250_000))
    return process_time() - began


def _spent() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Bound:
    """Fails tests beyond the bound as they are torn down."""

    def __init__(self, unit: float):
        self.most = _MOST * unit
        self.began = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self):
        self.began = _spent()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        spent = _spent() - self.began
        marked = any(item.get_closest_marker(mark) for mark in _EXEMPT)
        if call.when == "teardown" and spent > self.most and not marked:
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} takes {spent:.1f} s of processor time, more than the"
                f" {self.most:.1f} s that a test may take here: make it smaller, or mark it costly"
            )
        return report
