"""examples/digits.ipynb: its cells run, and what they show is what is kept in it.

``nox -s notebook`` runs it in a kernel.
"""

import ast
import json
import re

import pytest
from repository import EXAMPLES

CELLS = json.loads((EXAMPLES / "digits.ipynb").read_text())["cells"]
CODE = ["".join(one["source"]) for one in CELLS if one["cell_type"] == "code"]
KEPT = [one["outputs"] for one in CELLS if one["cell_type"] == "code"]


def words(markup):
    """Without numbers, which other machines round otherwise, and versions."""
    return re.sub(r"[\d.]+(e-?\d+)?", "#", re.sub(r"<[^>]+>", " ", markup)).split()


def test_every_cell_shows_what_is_kept(monkeypatch):
    monkeypatch.chdir(EXAMPLES)
    names = {}
    for text, kept in zip(CODE, KEPT, strict=True):
        *before, last = ast.parse(text).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(before, []), "cell", "exec"), names)
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        (output,) = kept
        assert repr(shown) == "".join(output["data"]["text/plain"])
        assert words(shown._repr_html_()) == words("".join(output["data"]["text/html"]))


@pytest.mark.parametrize("word", ["raw-weights", "7 agree, 0 diverge, 0 unchecked", "stored"])
def test_it_tells_the_story(word):
    assert word in "".join("".join(one["data"]["text/html"]) for (one,) in KEPT)
