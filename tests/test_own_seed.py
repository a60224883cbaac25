"""What a test draws follows from its name, in every order and selection; and no file of tests has a
generator that its tests share."""

import ast
import os
import re
import subprocess
import sys

import pytest
from child_pytest import child_environment
from repository import ROOT

TESTS = ROOT / "tests"
SUITE = """
from pathlib import Path
import own_seed, pytest

@pytest.fixture(scope="module")
def shared():
    return own_seed.RNG.integers(1 << 60)

X = own_seed.RNG.integers(1 << 60)

@pytest.mark.parametrize("case", [1, 2])
def test_drawn(case, rng, shared):
    with Path("drawn.txt").open("a") as file:
        file.write(f"{case} {X} {shared} {rng.integers(1 << 60)}\\n")

def test_other(rng, shared):
    rng.integers(1 << 60, size=5)
"""


def drawn(folder, *tests):
    """What the cases of a child's test draw, as they come."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "own_seed"]
    run = subprocess.run(
        [
            *command,
            "--rootdir",
            folder,
            "-c",
            os.devnull,
            *(f"test_it.py::{name}" for name in tests),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env=child_environment(PYTHONPATH=str(TESTS / "support")),
        timeout=120,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    lines = (folder / "drawn.txt").read_text().splitlines()
    (folder / "drawn.txt").unlink()
    return lines


@pytest.mark.costly
def test_order_and_selection_change_nothing(tmp_path):
    (tmp_path / "test_it.py").write_text(SUITE)
    first, second = drawn(tmp_path, "test_drawn", "test_other")
    assert drawn(tmp_path, "test_other", "test_drawn[2]", "test_drawn[1]") == [second, first]
    assert drawn(tmp_path, "test_drawn[2]") == [second]
    (_, *at_import_and_shared, own), (_, *others, other) = first.split(), second.split()
    assert at_import_and_shared == others
    assert len({*others, own, other}) == 4


MAKERS = ("default_rng", "Generator", "Random", "RandomState", "SeedGenerator")


def generators(tree):
    """The names that a module gives to generators of its own, at its top, and those that it imports
    from another's."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module != "own_seed":
            yield from (name.name for name in node.names if name.name == "RNG")
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if ast.unparse(node.value.func).rpartition(".")[2] in MAKERS:
                yield from (name.id for name in node.targets if isinstance(name, ast.Name))


def shared_chance(source):
    """Lines of a module's functions that draw from a generator of the whole module, and lines that
    seed a framework where the module is imported."""
    tree = ast.parse(source)
    names = {*generators(tree)}
    bodies = [
        body
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.Lambda)
        for body in (node.body if isinstance(node.body, list) else [node.body])
    ]
    read = {
        node.lineno
        for body in bodies
        for node in ast.walk(body)
        if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load)
    }
    seeded = {
        node.lineno
        for node in tree.body
        if isinstance(node, ast.Expr) and re.match(r"[\w.]*seed\(", ast.unparse(node))
    }
    return sorted(read | seeded)


def test_no_test_shares_its_chance():
    source = """
RNG = np.random.default_rng(0)
torch.manual_seed(0)
X = RNG.normal(size=3)
def drawn():
    return RNG.normal(size=3)
def local():
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    return rng.normal(size=3)
LATER = lambda: RNG.normal(size=3)
"""
    assert shared_chance(source) == [3, 6, 11]
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        if path.name != "own_seed.py"
        for line in shared_chance(path.read_text(encoding="utf-8"))
    ]
    assert not found, "draw from own_seed.RNG or the fixture rng: each test has its own numbers"
