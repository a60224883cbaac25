"""What a test draws follows from its name: neither from the tests before it, nor from the
selection that it is part of.

A plugin of pytest, which tests/conftest.py names. Before each test it seeds the generators that the
test may draw from with the test's name; before a file is imported, with the file's; and before a
fixture that several tests share is set up, with the fixture's.
"""

import random
import sys
from zlib import crc32

import numpy as np
import pytest

__all__ = ["RNG"]

RNG = np.random.default_rng()
"""For the files of tests and their helpers; a test can ask for the fixture ``rng`` instead."""


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that is seeded with the name of the test."""
    return RNG


def _seed(name: str) -> None:
    number = crc32(name.encode())
    RNG.bit_generator.state = np.random.default_rng(number).bit_generator.state
    random.seed(number)
    # Layers of Keras 2 take their first weights from here.
    np.random.seed(number)  # noqa: NPY002
    if torch := sys.modules.get("torch"):
        torch.manual_seed(number)


_running = pytest.StashKey[str]()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    if isinstance(collector, pytest.Module):
        _seed(collector.nodeid)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    item.session.stash[_running] = item.nodeid
    _seed(item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    if fixturedef.scope == "function":
        return (yield)
    _seed(fixturedef.argname)
    try:
        return (yield)
    finally:
        _seed(request.session.stash[_running])
