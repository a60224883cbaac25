"""examples/digits.ipynb: its cells run, and come to what is kept in it.

``nox -s notebook`` runs it in a kernel.
"""

import ast
import json
import re

import pytest
from repository import EXAMPLES

CELLS = json.loads((EXAMPLES / "digits.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = ["".join(one["source"]) for one in CELLS if one["cell_type"] == "code"]
KEPT = [one["outputs"] for one in CELLS if one["cell_type"] == "code"]


def verdicts(markup):
    """What it comes to, whatever the sentences around it."""
    return re.findall(r"\b(?:agree|diverge|unchecked|raw-weights|conv2d\w*)\b", markup)


def test_every_cell_comes_to_what_is_kept(monkeypatch):
    monkeypatch.chdir(EXAMPLES)
    names = {}
    for text, kept in zip(CODE, KEPT, strict=True):
        *before, last = ast.parse(text).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(before, []), "cell", "exec"), names)
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        (output,) = kept
        assert repr(shown) == "".join(output["data"]["text/plain"])
        kept = verdicts("".join(output["data"]["text/html"]))
        assert verdicts(shown._repr_html_()) == kept and kept


@pytest.mark.parametrize("word", ["raw-weights", "7 agree, 0 diverge, 0 unchecked", "stored"])
def test_it_tells_the_story(word):
    assert word in "".join("".join(one["data"]["text/html"]) for (one,) in KEPT)
