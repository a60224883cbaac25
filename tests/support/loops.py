"""Which tests a run has: the marks `exhaustive` and `costly`, which the README's command leaves out
but for the cases that MARK(default=n) and MARK(each=kind) leave in, and the options of .ci/run and
of the nightly run. CONTRIBUTING.md has the table.

A plugin of pytest, which tests/conftest.py names.
"""

from collections import defaultdict
from inspect import signature
from zlib import crc32

import pytest
from repository import script

changed_rooms = script("tools/changed_rooms.py")

_SHARE = 8
"""Of so many exhaustive cases --exhaustive-share runs one."""


def pytest_addoption(parser):
    group = parser.getgroup("loops", "which tests of this project run")
    group.addoption(
        "--exhaustive-share",
        action="store_true",
        help="of the exhaustive cases those in the rooms that the change touches, and of the others"
        " an eighth that the commit chooses; all in a checkout without a history",
    )
    group.addoption("--reversed", action="store_true", help="the last test first")


def put_defaults_in(items, mark, unless=None):
    """Takes a mark ``mark(default=n)`` from n cases of each test: from the first by a hash of their
    names, so that one case more does not choose all others anew. A mark ``mark(each=kind)`` is
    taken from the first case of each kind, which the function ``kind`` says of the test's
    parameters; with both, from n of these. Cases with the mark ``unless`` are none of them."""
    cases = defaultdict(list)
    for item in items:
        marks = [found for found in item.own_markers if found.name == mark]
        chosen = marks and all(found.kwargs for found in marks)
        if chosen and unless not in {found.name for found in item.own_markers}:
            count, kind = marks[0].kwargs.get("default"), marks[0].kwargs.get("each")
            cases[item.nodeid.partition("[")[0], count, kind].append(item)
    for (_, count, kind), alike in cases.items():
        candidates = first_of_each(alike, kind) if kind else alike
        for item in sorted(candidates, key=lambda item: crc32(item.nodeid.encode()))[:count]:
            item.own_markers[:] = [found for found in item.own_markers if found.name != mark]


def first_of_each(items, kind):
    """The first case of each kind."""
    names = signature(kind).parameters
    firsts = {}
    for item in items:
        given = {name: item.callspec.params[name] for name in names}
        firsts.setdefault(kind(**given), item)
    return list(firsts.values())


def in_share(nodeid, commit, paths):
    """Whether an exhaustive case is among those that a change is tried with: it lies beneath one of
    the paths, or the commit's hash chooses it."""
    beneath = nodeid.startswith(tuple(f"{path}{end}" for path in paths for end in ("/", "::")))
    return beneath or crc32(f"{commit} {nodeid}".encode()) % _SHARE == 0


def leave_out_of_share(items, config):
    paths, commit = changed_rooms.tests_of_change(), changed_rooms.git("rev-parse", "HEAD")
    if paths is None:
        return
    left_out = {
        item
        for item in items
        if item.get_closest_marker("exhaustive") and not in_share(item.nodeid, commit, paths)
    }
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    put_defaults_in(items, "exhaustive")
    put_defaults_in(items, "costly", unless="exhaustive")
    if config.getoption("--exhaustive-share"):
        leave_out_of_share(items, config)
    if config.getoption("--reversed"):
        items.reverse()
