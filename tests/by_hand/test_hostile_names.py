"""Text of a file never becomes code: names, words and sources of a script that do their worst."""

import ast
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import probe
from probe import Description, Weight, ops
from probe.by_hand.names import endings, identifier
from probe.by_hand.script_file import body
from probe.by_hand.syntax import refuse_foreign
from probe.by_hand.write import script_files, write_script
from probe.description import Ref, Site, Step
from probe.evaluation.reference import inputs_of, values_of
from probe.model import Capture
from probe.verdict.judge import judge
from probe.verdict.options import Options

EVIL = (
    '"""\nimport os\nos.abort()\n"""',
    "'); __import__('os').abort() #",
    '"); __import__("os").abort() #',
    "\\",
    '\\"""',
    "{x} %s {0} {{",
    "# -*- coding: rot13 -*-",
    "\x1b]0;owned\x07\r\n\u202egnp.exe\u2028\x7f\ud800\0",
    "np",
    "load",
    "data",
    "lambda",
    "__builtins__",
    "print",
    "1",
    "",
    "\uff4e\uff50",
    "a" * 10_000,
    "../../etc/passwd",
    "x.y/z:0",
)


def described(name):
    """A block of two calls whose every text is that name."""
    kernel = Weight(name, np.eye(3), np.eye(3) * 2, (name, name))
    bias = replace(kernel, effective=np.ones(3), stored=np.ones(3), name=f"{name}.{name}")
    steps = (
        Step(ops.MatMul(kernel, bias), (Ref(-1),)),
        Step(ops.Softmin(1), (Ref(0),)),
        Step(ops.Outputs(), (Ref(1), Ref(0))),
    )
    sites = (Site(name, "float32", 0), Site(f"{name}/{name}", "float32", 1), Site("", "", -1))
    return Description(steps, (name, name), (name, name), (name, name), sites)


@pytest.mark.parametrize("name", EVIL, ids=range(len(EVIL)))
def test_a_hostile_name_is_text(name, tmp_path):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    description = described(name)
    outputs = tuple(np.float32(y) for y in values_of(captured(name, description, x, (x, x)))[-1])
    capture = captured(name, description, x, outputs)
    report = replace(judge(capture, None, Options(detail=True)), source=name, framework=name)
    files = script_files(capture, report, inputs_of(capture), values_of(capture))
    tree = ast.parse(files.text)
    refuse_foreign(tree)
    assert all(isinstance(node, _ALLOWED) for node in tree.body), ast.dump(tree)
    assert all(key.isascii() and key.replace(":", "").isidentifier() for key in files.arrays)
    write_script(tmp_path / "hand.py", files)
    write_script(tmp_path / "hand.py", files)
    if name in EVIL[:8]:
        ended = subprocess.run(
            [sys.executable, "-I", "-W", "error", tmp_path / "hand.py"],
            capture_output=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr


_ALLOWED = (
    *(ast.Expr, ast.Import, ast.ImportFrom, ast.Assign),
    *(ast.FunctionDef, ast.If, ast.For, ast.Raise),
)


def captured(name, description, x, outputs):
    return Capture(name, name, 0, (x,), outputs, "float32", description)


def test_identifiers():
    for name in EVIL:
        word = identifier(name)
        assert word.isidentifier() and word.isascii() and len(word) <= 62
        assert word not in ("np", "load", "data", "lambda", "print")
    assert endings(["a.0.w", "a.1.w", "b.w"]) == {"a.0.w": "a_0_w", "a.1.w": "a_1_w", "b.w": "b_w"}


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "from os import path",
        "open('x')",
        "().__class__",
        "x.tofile('x')",
        "(lambda: 0)()",
        "exec('1')",
        "np.save('x', 1)",
        "x.base.dump('y')",
        "[open][0]('x')",
    ],
)
def test_what_no_script_needs_is_refused(text):
    with pytest.raises(ValueError, match="a script "):
        refuse_foreign(ast.parse(text))


def test_an_undescribed_layer_is_one_sentence(tmp_path):
    x = np.ones((2, 3), np.float32)
    capture = Capture("a", "A", 0, (x,), (x,), "float32", None, "it is a test")
    with pytest.raises(probe.Undescribed, match="'a' cannot be written by hand: it is a test"):
        script_files(capture, judge(capture), (), ())
    assert body and not [*tmp_path.iterdir()]
