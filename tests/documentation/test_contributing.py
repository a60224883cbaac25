"""What CONTRIBUTING.md and SECURITY.md show is there: the worked example, the sessions and the
paths."""

import ast
import re
import textwrap
from pathlib import PurePosixPath

import keras
import pytest
from keras_cases import CASES
from repository import ROOT

import probe

PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "SECURITY.md")
}
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}


def blocks():
    """The file that a block of code says it stands in, and the block."""
    for block in re.findall(
        (
            r"^ *```python\n(.*?)^ "
            r"*```"
        ),
        PAGES["CONTRIBUTING.md"],
        re.DOTALL | re.MULTILINE,
    ):
        head, _, code = textwrap.dedent(block).partition("\n")
        yield head.removeprefix("# "), code


def test_the_worked_example_is_the_source():
    """Word for word: a description, and the case that is tried against Keras."""
    (source, description), (cases, case) = blocks()
    assert source.startswith("adapters/") and cases.startswith("tests/")
    assert description in (ROOT / source).read_text(encoding="utf-8")
    assert case in (ROOT / cases).read_text(encoding="utf-8")


def test_the_worked_example_agrees():
    (_, description), (_, case) = blocks()
    name = re.search(r'@describes\("(\w+)"\)', description)[1]
    assert case.startswith(f'_case("{name}"')
    options, (shape, *_) = CASES[name]
    model = keras.Sequential(
        [keras.Input(shape[1:]), getattr(keras.layers, name)(name="example", **options)]
    )
    report = probe.check(model, "example")
    assert (
        report.ok and report.kind == name and set(report.outputs) == {"framework", "numpy", "onnx"}
    )


def test_the_sessions_are_there():
    functions = [
        node
        for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    named = set(re.findall(r"nox -s (\w+)", PAGES["CONTRIBUTING.md"]))
    assert named == {node.name for node in functions}


@pytest.mark.parametrize("page", PAGES)
def test_the_paths_are_there(page):
    words = {word for quoted in re.findall(r"`([^`]+)`", PAGES[page]) for word in quoted.split()}
    paths = {
        word
        for word in words
        if "/" in word and "*" not in word and PurePosixPath(word).parts[0] in FOLDERS
    }
    assert len(paths) > 5
    assert not [path for path in sorted(paths) if not (ROOT / path).exists()]


def test_the_glossary_names_classes_where_they_are():
    rows = re.findall(r"^\|.*\| `(\w+)`, `(\S+\.py)` \|$", PAGES["CONTRIBUTING.md"], re.MULTILINE)
    assert len(rows) > 10
    for name, path in rows:
        assert f"class {name}" in re.findall(
            r"^class \w+", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE
        )
