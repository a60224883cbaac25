"""What --model-explorer writes: graphs, node data and pairs in the form that the tool reads.

tests/browser/test_model_explorer.py gives the same files to the tool itself.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import probe
from probe.errors import BadInput
from probe.model_comparison.reports import model_explorer as of_comparison
from probe.report import model_explorer
from probe.report.html import entry

X = np.random.default_rng(0).normal(size=(2, 3, 8, 7)).astype(np.float32)


class Block(torch.nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.BatchNorm2d(3, eps)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)) + x)


class Net(torch.nn.Module):
    def __init__(self, eps=1e-5):
        super().__init__()
        torch.manual_seed(0)
        self.block, self.last = Block(eps), torch.nn.Softmax(dim=1)

    def forward(self, x):
        return self.last(self.block(x))


def the_only(files, name):
    (held,) = files[name].values()
    return held


def test_the_graph_of_a_sweep():
    reports = list(probe.sweep(Net().eval(), X, flow=True))
    files = model_explorer.of_sweep("net.pt", [entry(one, 0, False) for one in reports])
    (graph,) = files["graph.json"]["graphs"]
    nodes = {one["id"]: one for one in graph["nodes"]}
    assert list(nodes) == ["block.conv", "block.norm", "block/add", "block/relu", "last"]
    assert {one["namespace"] for one in nodes.values()} == {"block", ""}
    assert [one["label"] for one in nodes.values()] == ["conv", "norm", "add", "relu", "last"]
    sources = {
        name: [edge["sourceNodeId"] for edge in one["incomingEdges"]] for name, one in nodes.items()
    }
    assert sources["block/add"] == ["block.norm"] and sources["last"] == ["block/relu"]
    attributes = {one["key"]: one["value"] for one in nodes["block.conv"]["attrs"]}
    assert attributes["class"] == "Conv2d" and attributes["verdict"] == "agree"
    assert set(files["error.json"]) == set(files["verdict.json"]) == {graph["id"]}
    results = the_only(files, "error.json")["results"]
    for report in reports:
        (*_, worst) = sorted(one.ratio for one in report.comparisons.values())
        assert results[report.call_name]["value"] == worst
    assert the_only(files, "verdict.json")["results"]["last"]["value"] == "agree"


def test_calls_whose_names_are_shown_alike_are_nodes_of_their_own():
    """Names of more than 160 letters that differ in the middle alone."""
    net = Net().eval()
    (first, second, *_) = (entry(one, 0, False) for one in probe.sweep(net, X, flow=True))
    names = [f"{'a' * 110}{letter}{'b' * 90}" for letter in "xy"]
    entries = [
        replace(first, name=names[0], call=(names[0], 0), inputs_from=(None,)),
        replace(second, name=names[1], call=(names[1], 0), inputs_from=((names[0], 0),)),
    ]
    files = model_explorer.of_sweep("net.pt", entries)
    (graph,) = files["graph.json"]["graphs"]
    one, other = graph["nodes"]
    assert one["id"] != other["id"] and not one["incomingEdges"]
    assert [edge["sourceNodeId"] for edge in other["incomingEdges"]] == [one["id"]]
    assert set(the_only(files, "verdict.json")["results"]) == {one["id"], other["id"]}


class Colons(torch.nn.Module):
    """The second call of ``r``, and a layer called ``r:1``."""

    def __init__(self):
        super().__init__()
        self.r, self.sum = torch.nn.ReLU(), torch.nn.Softmax(dim=1)
        self.add_module("r:1", torch.nn.Sigmoid())

    def forward(self, x):
        once = self.r(x)
        twice = self.r(once)
        return self.sum(getattr(self, "r:1")(once)), twice


def test_a_colon_in_a_name_is_no_number_of_a_call():
    reports = list(probe.sweep(Colons().eval(), X, flow=True))
    assert [(one.layer, one.call, *one.inputs_from) for one in reports] == [
        ("r", 0, None),
        ("r", 1, ("r", 0)),
        ("r:1", 0, ("r", 0)),
        ("sum", 0, ("r:1", 0)),
    ]
    files = model_explorer.of_sweep("net.pt", [entry(one, 0, False) for one in reports])
    (graph,) = files["graph.json"]["graphs"]
    classes = {
        node["id"]: next(one["value"] for one in node["attrs"] if one["key"] == "class")
        for node in graph["nodes"]
    }
    (edge,) = graph["nodes"][-1]["incomingEdges"]
    assert classes[edge["sourceNodeId"]] == "Sigmoid"


def test_what_was_not_compared_and_what_is_infinite():
    layer = torch.nn.Linear(7, 7).eval()
    reports = [
        probe.check(layer, "", X, expected=np.zeros(5)),
        probe.check(torch.nn.ReLU(), "", given=np.full((2, 3), np.nan, np.float32)),
    ]
    assert [one.verdict for one in reports] == ["diverge", "unchecked"]
    files = model_explorer.of_sweep("net.pt", [entry(one, 0, False) for one in reports])
    text = json.dumps(files, allow_nan=False)
    assert (
        "Infinity" not in text and the_only(files, "error.json")["thresholds"][-1]["value"] == 1e9
    )


def test_two_graphs_their_pairs_and_the_source():
    found = probe.compare(Net().eval(), Net(1e-3).eval(), X)
    files = of_comparison.files(found)
    left, right = files["graph.json"]["graphs"]
    assert len(left["nodes"]) == len(right["nodes"]) == 5
    ids = [{one["id"] for one in side["nodes"]} for side in (left, right)]
    assert not ids[0] & ids[1]
    entries = files["pairs.json"]["mappingEntries"]
    for side, key in zip(ids, ("leftNodeIds", "rightNodeIds"), strict=True):
        listed = [name for one in entries for name in one[key]]
        assert len(listed) == len(set(listed)) and set(listed) <= side
    for side, known in zip((left, right), ids, strict=True):
        data = files["error.json"][side["id"]]["results"]
        (beyond,) = (name for name, one in data.items() if one["value"] > 1)
        assert beyond in ("A:block.norm", "B:block.norm") and set(data) <= known
    for side, known in zip((left, right), ids, strict=True):
        for one in side["nodes"]:
            assert {edge["sourceNodeId"] for edge in one["incomingEdges"]} <= known


def test_a_folder_that_holds_other_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(BadInput, match="holds other files"):
        model_explorer.refuse_folder(str(tmp_path))
    with pytest.raises(BadInput, match="cannot write"):
        model_explorer.refuse_folder(str(tmp_path / "mine.txt"))
    new = tmp_path / "a" / "b"
    model_explorer.refuse_folder(str(new))
    model_explorer.write(str(new), {"graph.json": {"label": "x", "graphs": []}})
    model_explorer.refuse_folder(str(new))
    assert json.loads((new / "graph.json").read_text(encoding="utf-8")) == {
        "label": "x",
        "graphs": [],
    }
