"""Which tests a run has, in which order, and which skips and costs make one fail."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import loops
import pytest
from child_pytest import child_environment
from repository import ROOT

TESTS = ROOT / "tests"
SUITE = """
import bounded_cost, pytest

def test_first():
    pass

def test_last():
    pass

def test_listed():
    pytest.skip("as the list says")

def test_unlisted():
    pytest.skip("as nothing says")

def work():
    for _ in range(8):
        bounded_cost._unit()

def test_unmarked():
    work()

@pytest.mark.costly
def test_marked():
    work()
"""
CONFTEST = """
import bounded_cost, listed_skips
pytest_plugins = ["bounded_cost", "listed_skips", "loops"]
bounded_cost._MOST = 4
listed_skips.SKIPPED["test_it.py::test_listed"] = "a reason"
def pytest_configure(config):
    config.addinivalue_line("markers", "costly: as in this project")
"""


def outcomes(folder, *options):
    """What a child of its own says of each test: name -> passed, failed, skipped or error."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-vv"]
    run = subprocess.run(
        [*command, "--rootdir", folder, "-c", os.devnull, *options],
        capture_output=True,
        text=True,
        cwd=folder,
        env=child_environment(PYTHONPATH=str(TESTS / "support")),
        timeout=120,
    )
    assert run.stderr == "", run.stderr
    return dict(re.findall(r"::(\S+) (PASSED|FAILED|SKIPPED|ERROR)", run.stdout)), run.stdout


def test_what_fails(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(SUITE)
    found, printed = outcomes(tmp_path, "--only-listed-skips", "--bound-cost", "--reversed")
    assert list(found.items()) == [
        ("test_marked", "PASSED"),
        ("test_unmarked", "ERROR"),
        ("test_unlisted", "FAILED"),
        ("test_listed", "SKIPPED"),
        ("test_last", "PASSED"),
        ("test_first", "PASSED"),
    ], printed
    assert "is skipped (Skipped: as nothing says)" in printed
    assert "make it smaller, or mark it costly" in printed


def items(test, marks):
    return [
        SimpleNamespace(nodeid=f"{test}[{case}]", own_markers=list(own))
        for case, own in enumerate(marks)
    ]


def kept(items, mark):
    return [item.nodeid for item in items if mark not in {one.name for one in item.own_markers}]


@pytest.mark.parametrize("mark", ["costly", "exhaustive"])
def test_defaults_stay_in(mark):
    """So many cases of each test, none of them among those that are marked by themselves; and one
    case more exchanges one at most."""
    default, bare = getattr(pytest.mark, mark)(default=2).mark, getattr(pytest.mark, mark).mark
    cases = [[default, bare], *([default] for _ in range(9)), [bare], []]
    first = [*items("a.py::test", cases), *items("b.py::test", [[default]])]
    loops.put_defaults_in(first, mark)
    found = kept(first, mark)
    assert len(found) == 4 and {"a.py::test[11]", "b.py::test[0]"} < set(found)
    assert not {"a.py::test[0]", "a.py::test[10]"} & set(found)
    more = items("a.py::test", [*cases, [default]])
    loops.put_defaults_in(more, mark)
    assert len({*kept(more, mark)} - {*found}) <= 1


def test_the_first_of_each_kind_stays_in():
    """With a number so many of these, the same as of a test that has no others."""
    each = pytest.mark.exhaustive(each=lambda case: case % 3).mark
    some = pytest.mark.exhaustive(each=lambda case: case % 3, default=2).mark
    for mark, count in ((each, 3), (some, 2)):
        cases = items("a.py::test", [[mark]] * 9)
        for case, item in enumerate(cases):
            item.callspec = SimpleNamespace(params={"case": case, "fixture": None})
        loops.put_defaults_in(cases, "exhaustive")
        found = kept(cases, "exhaustive")
        assert len(found) == count
        assert {*found} <= {"a.py::test[0]", "a.py::test[1]", "a.py::test[2]"}


def test_of_a_test_with_both_marks_the_costly_cases_are_of_those_that_run():
    both = [mark(default=2).mark for mark in (pytest.mark.exhaustive, pytest.mark.costly)]
    cases = items("a.py::test", [both] * 12)
    loops.put_defaults_in(cases, "exhaustive")
    loops.put_defaults_in(cases, "costly", unless="exhaustive")
    assert [len(kept(cases, mark)) for mark in ("exhaustive", "costly")] == [2, 2]
    assert kept(cases, "costly") == kept(cases, "exhaustive")


def test_the_share_of_exhaustive_cases():
    names = [f"tests/ops/test_{file}.py::test[{case}]" for file in "abcd" for case in range(200)]
    shares = [
        {name for name in names if loops.in_share(name, commit, ["tests/ops/test_a.py"])}
        for commit in ("one", "other")
    ]
    for share in shares:
        assert {*names[:200]} < share
        assert 40 < len(share - {*names[:200]}) < 120
    assert shares[0] != shares[1]
    assert loops.in_share("tests/ops/linear/test_a.py::test", "one", ["tests/ops"])


@pytest.mark.parametrize(
    ("path", "tests"),
    [
        ("probe/ops/linear/conv.py", ["tests/ops/linear"]),
        ("probe/hypotheses/layers/no_file.py", ["tests/hypotheses"]),
        ("adapters/keras/no_folder/no_file.py", ["tests/adapters/keras"]),
        ("probe/weights_read_back/newton.py", ["tests/weights_read_back"]),
        ("adapters/tfmot.py", ["tests/adapters/test_tfmot.py"]),
        ("probe/api.py", ["tests/test_api.py"]),
        ("tests/ops/test_memory.py", ["tests/ops/test_memory.py"]),
        ("tests/ops/conftest.py", ["tests/ops"]),
        ("tests/ops/test_no_file.py", []),
        ("adapters/hgq/layers.py", []),
        ("tests/support/loops.py", []),
        ("docs/index.md", ["tests/documentation"]),
        ("README.md", ["tests/documentation"]),
        ("benchmarks/RESULTS.md", []),
    ],
)
def test_the_tests_of_a_changed_file(path, tests):
    assert loops.changed_rooms.tests_of(path) == tests


def test_a_change_is_what_differs_from_its_base(tmp_path, monkeypatch):
    """Committed, not committed and new; from where the branch left origin/main, or else from the
    commit before; and unknown without a history."""
    rooms = loops.changed_rooms
    monkeypatch.setattr(rooms, "ROOT", tmp_path)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    if rooms.git("--version") is None:
        pytest.skip("there is no git")
    assert rooms.changed() is None
    rooms.git("init", "--quiet")
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    for name in ("first", "second", "third"):
        (tmp_path / f"{name}.py").write_text(name)
        rooms.git("add", "--all")
        rooms.git(*author, "commit", "--quiet", "-m", name)
        if name == "first":
            assert rooms.changed() is None
            rooms.git("update-ref", "refs/remotes/origin/main", "HEAD")
    (tmp_path / "first.py").write_text("changed")
    (tmp_path / "with spaces.py").write_text("new")
    differing = ["first.py", "second.py", "third.py", "with spaces.py"]
    assert rooms.changed() == differing
    rooms.git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert rooms.changed() == [name for name in differing if name != "second.py"]
