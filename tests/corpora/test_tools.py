"""The tools that are scored on the corpus of ports, and how they are scored."""

import numpy as np
import pytest
import torch

from corpora.ports import __main__ as command
from corpora.ports import score, scores
from corpora.ports.case import Case, Mistake
from corpora.ports.tool import TOOLS, Answer, Question, tool

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
BIAS = np.array([5, -5], np.float32)
WEIGHT = np.linspace(1, 2, 6, dtype=np.float32).reshape(2, 3)


def net():
    layer = torch.nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(WEIGHT))
        layer.bias.copy_(torch.from_numpy(BIAS))
    return torch.nn.Sequential(layer).eval(), X


def right(model, x):
    return x @ WEIGHT.T + BIAS


CASE = Case(
    "linear",
    net,
    "0",
    right,
    {"bias": Mistake(lambda model, x: right(model, x) - BIAS, "the bias is forgotten")},
)


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_tells_the_right_port_from_the_wrong_one(name, monkeypatch):
    monkeypatch.setattr(score, "cases_of", {"family": [CASE]}.__getitem__)
    right_row, wrong_row = score.rows(tool(name), ["family"])
    count = score.counts([right_row, wrong_row])
    assert (count["right"], count["wrong"], count["false_alarms"], count["seen"]) == (1, 1, 0, 1)
    assert count["located"] == (name != "cosine") and count["named"] == (name == "probe")
    assert wrong_row.what == "the bias is forgotten"
    assert ("bias" in wrong_row.answer.cause) == (name == "probe")


@pytest.mark.parametrize("name", [name for name in TOOLS if name != "probe"])
def test_other_shapes_and_values_that_are_not_numbers_differ(name):
    framework = np.ones((2, 3))
    for values in (np.ones((3, 2)), np.full((2, 3), np.nan)):
        assert tool(name)(Question(None, "", None, framework, values)).differs
    assert tool(name)(Question(None, "", None, framework, framework.copy())) == Answer(False)


class Sorted(torch.nn.Module):
    def forward(self, x):
        return torch.from_numpy(np.sort(x.numpy()))


def test_probe_answers_where_it_compares_nothing():
    model = torch.nn.Sequential(Sorted())
    values = np.sort(X)
    assert tool("probe")(Question(model, "0", X, values, values + 1)) == Answer(False)


def test_a_tool_points_at_the_largest_difference():
    framework = np.ones((2, 3))
    values = framework + np.array([[0, 1e-3, 0], [1e-2, 0, 1e-7]])
    for name in ("allclose", "relative"):
        answer = tool(name)(Question(None, "", None, framework, values))
        assert answer == Answer(True, (1, 0))
    tiny = framework + 1e-7
    assert not tool("allclose")(Question(None, "", None, framework, tiny)).differs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a tool"),
        (["--tool", "polygraph"], "invalid choice"),
        (["--tool", "allclose", "torch_layer"], "no family torch_layer"),
    ],
)
def test_the_command_refuses(arguments, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert words in capsys.readouterr().err


def test_the_table_has_every_tool():
    assert {*scores.TITLES} == {*TOOLS} == {*scores.read()}
    table = scores.table()
    assert all(title in table for title in scores.TITLES.values())
    assert f"\n\n{table}\n\n" in scores.README.read_text(encoding="utf-8")
