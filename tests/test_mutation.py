"""tools/mutation.py: which mistakes it makes in a source, and when a test has found one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from child_pytest import child_environment
from repository import ROOT, script

mutants = script("tools/mutants.py")


def changed(text, kind, folder):
    """The texts with a mistake of a kind."""
    file = folder / "source.py"
    file.write_text(text, encoding="utf-8")
    found = [each for each in mutants.of_file(file) if mutants.is_another_program(each)]
    return [each.text().decode() for each in found if each.kind == kind]


@pytest.mark.parametrize(
    ("kind", "text", "with_a_mistake"),
    [
        ("arithmetic", "x = (a) * (b)", ["x = (a) / (b)"]),
        ("arithmetic", "x = 'ä', -a", ["x = 'ä', a"]),
        ("comparison", "x = a < b not  in c", ["x = a <= b not  in c", "x = a < b in c"]),
        (
            "logic",
            "x = a or b and not c",
            ["x = a and b and not c", "x = a or b or not c", "x = a or b and  c"],
        ),
        ("logic", "x = zip(a, strict=True)", []),
        ("logic", "x: 'True' = not(a)", ["x: 'True' = (a)"]),
        ("logic", "x = True", ["x = False"]),
        ("constant", "x = 3, True", ["x = (4), True", "x = (2), True"]),
        ("constant", "x = 0.5, 0.0", ["x = (1.0), 0.0", "x = 0.5, (1.0)"]),
        ("constant", "x = f'{a:3}'", []),
        (
            "dropped statement",
            "def f():\n    g()\n    return 1",
            ["def f():\n    pass\n    return 1"],
        ),
        ("dropped statement", "x = f(x)\ny = x\n'text'", ["pass\ny = x\n'text'"]),
        ("dropped statement", "x[0] = y\ny = x", ["pass\ny = x"]),
        ("exchanged arguments", "f(a, (b), c=d)", ["f(b, (a), c=d)"]),
        ("exchanged arguments", "f(a, *b), f(a, a), max(a, b), isinstance(a, b)", []),
        ("turned condition", "[x for x in y if x]", ["[x for x in y if not (x)]"]),
        ("turned condition", "if (x := f()):\n    pass", ["if (not (x := f())):\n    pass"]),
        ("turned condition", "x = a if not b else c", []),
    ],
)
def test_mistakes_of_a_kind(kind, text, with_a_mistake, tmp_path):
    assert changed(text, kind, tmp_path) == with_a_mistake


def test_as_many_of_each_kind_as_there_are(tmp_path):
    file = tmp_path / "source.py"
    file.write_text("x = 1 + 2 + 3 + 4\nif x:\n    pass\n", encoding="utf-8")
    drawn = [mutants.drawn([file], 5, seed) for seed in (0, 0, 1)]
    assert sorted(each.kind for each in drawn[0]) == [
        *("arithmetic", "arithmetic", "constant", "constant", "turned condition")
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 5


def test_tests_of_a_room(monkeypatch):
    """Those above it, which are about each op, are its own too; a room that needs another
    environment has none here."""
    monkeypatch.chdir(ROOT)
    mutation = script("tools/mutation.py")
    own, others = mutation.rooms(Path("probe/ops/linear/conv.py"))
    assert {"tests/ops/linear/test_conv.py", "tests/ops/test_every_op.py"} < {*own}
    assert not any(test.startswith("tests/ops/window") for test in own)
    assert not {*own} & {*others}
    assert mutation.rooms(Path("adapters/tfmot.py"))[0] == ["tests/adapters/test_tfmot.py"]
    assert not mutation.can_be_tested(Path("adapters/hgq/layers.py"))
    assert mutation.can_be_tested(Path("adapters/tfmot.py"))


SOURCE = """
def rest(left, right):
    return left - right

def is_large(value):
    return value > 3.0

def both():
    return 'a', True
"""
ROOM = """
import pytest
from adapters.area.numbers import is_large, rest

def test_rest():
    assert rest(5, 3) == 2

def test_that_fails_by_itself():
    assert not is_large(9)

@pytest.mark.costly
def test_between():
    assert is_large(5)
"""
OTHERS = """
from adapters.area.numbers import is_large

def test_large():
    assert is_large(9) and not is_large(3)
"""
OPTIONS = """
[pytest]
pythonpath = .
addopts = -p xdist.plugin -p pytest_timeout --import-mode=importlib -m "not costly"
markers =
    costly: as in this project
"""


@pytest.mark.costly
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the tool forks")
def test_what_kills(tmp_path):
    """The room's own tests, those of it that .ci/run adds, or only others, or none; and no test
    that fails without the mistake too."""
    source = tmp_path / "adapters/area/numbers.py"
    for path, text in {
        source: SOURCE,
        tmp_path / "tests/adapters/area/test_numbers.py": ROOM,
        tmp_path / "tests/adapters/other/test_large.py": OTHERS,
        tmp_path / "pytest.ini": OPTIONS,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in ("changed_rooms", "mutants", "mutation"):
        (tmp_path / "tools").mkdir(exist_ok=True)
        shutil.copy(ROOT / f"tools/{name}.py", tmp_path / "tools")
    times = source.stat().st_mtime_ns
    run = subprocess.run(
        [sys.executable, "tools/mutation.py", "adapters", "--at-least", "60"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=child_environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
        timeout=120,
    )
    found = [line for line in run.stdout.splitlines() if line and line[0] not in "@+- "]
    place = Path("adapters/area/numbers.py")
    assert found == [
        f"killed by its room: {place}:3 arithmetic tests/adapters/area/test_numbers.py::test_rest",
        f"killed by others only: {place}:6 comparison "
        "tests/adapters/other/test_large.py::test_large",
        f"killed by its room's marked tests: {place}:6 constant "
        "tests/adapters/area/test_numbers.py::test_between",
        f"survived: {place}:9 logic",
        "4 mutants: {'killed by its room': 1, 'killed by others only': 1, "
        "\"killed by its room's marked tests\": 1, 'survived': 1}",
    ], run.stdout + run.stderr
    assert "-    return value > 3.0\n+    return value > (6.0)\n" in run.stdout
    assert run.returncode == 1
    assert source.read_text(encoding="utf-8") == SOURCE and source.stat().st_mtime_ns == times
