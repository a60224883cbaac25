"""What people read of a comparison: the sources first, whole names, which side is meant, and the
way out."""

import json
import re

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import probe as library
from probe.model_comparison.reports import model_explorer

BLOCK = "a_block_with_a_long_name"


def convolution(path, factor=1.0):
    """Two convolutions of the same shape whose names differ only in the middle."""
    weight = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", [x, w], [y], name=f"/{BLOCK}/{BLOCK}.{number}/{BLOCK}/conv")
        for number, (x, w, y) in enumerate([("x", "w0", "h"), ("h", "w1", "y")])
    ]
    held = [
        numpy_helper.from_array(weight, "w0"),
        numpy_helper.from_array(weight[::-1] * np.float32(factor), "w1"),
    ]
    x, y = (helper.make_tensor_value_info(k, TensorProto.FLOAT, ["n", 3, 8, 8]) for k in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    opsets = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    return path


@pytest.fixture
def models(tmp_path):
    return convolution(tmp_path / "a.onnx"), convolution(tmp_path / "b.onnx", 2)


def test_in_a_pipe_sources_come_first_and_names_are_whole(probe, models):
    status, out, _ = probe("compare", *models, "--shape", "2,3,8,8")
    lines = out.splitlines()
    source = next(at for at, line in enumerate(lines) if line.startswith("source: "))
    table = next(at for at, line in enumerate(lines) if line.startswith("A   "))
    assert (status, source < table) == (1, True) and lines[-1].startswith(" ")
    rows = [line for line in lines[table:] if line.startswith("/")]
    assert len(rows) == 2 and all(f"{BLOCK}.{k}/" in row for k, row in enumerate(rows))
    differs = next(line for line in lines if "differs:" in line)
    assert re.match(
        r"  differs: B's are 2 times A's: weight\[.*\] and 8 more of 9: \S+ in", differs
    )
    assert out.count("2 times A's") == 2, "at the source and in the verdict"


def test_one_line_is_not_cut_where_no_terminal_shows_it(probe, models, tmp_path):
    asked = ("--shape", "2,3,8,8", "-q")
    _, out, _ = probe("compare", *models, *asked)
    assert out.count("\n") == 1 and len(out) > 100 and out.endswith("1 of 2 pairs agree\n")
    _, cut, _ = probe("compare", *models, *asked, "--color", "always")
    assert "…" in cut
    name = f"/{BLOCK}/{BLOCK}.0/{BLOCK}/conv"
    np.save(tmp_path / "y.npy", np.zeros((2, 3, 8, 8)))
    _, out, _ = probe(models[0], *asked, "--layer", name, "--expect", tmp_path / "y.npy")
    assert "…" not in out and len(out) > 100


def test_the_width_of_the_terminal_is_taken(probe, models, monkeypatch):
    asked = ("--shape", "2,3,8,8", "--color", "always", "-v")
    for columns, whole in ((100, False), (240, True)):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, out, _ = probe("compare", *models, *asked)
        rows = [line for line in out.splitlines() if line.startswith("/")]
        assert all((f"{BLOCK}.{k}/" in row) == whole for k, row in enumerate(rows)), columns
        assert max(map(len, rows)) <= columns + 20, "the codes of its colours apart"


def test_everything_said_is_in_the_json_and_the_page_begins_with_the_sources(models):
    found = library.compare(*map(str, models), shape=(1, 3, 8, 8))
    (pair,) = found.sources
    told = json.loads(found.to_json())
    (row,) = [row for row in told["pairs"] if row["source"]]
    assert (row["relations"], row["notes"]) == ([*pair.relations], [*pair.notes])
    assert row["commands"] and all(f"look closer: {line}" in str(found) for line in row["commands"])
    assert (told["notes"], told["sentence"]) == ([*found.notes], found.sentence)
    page = found.to_html()
    assert page.index("<summary>source: ") < page.index('<table class="sortable"')
    graph = model_explorer.files(found)["graph.json"]["graphs"][0]
    assert graph["nodes"][0]["namespace"] == f"{BLOCK}/{BLOCK}/0/{BLOCK}"


def test_an_error_says_which_side_it_is_of(probe, models, tmp_path):
    for name, shape in (("last", (2, 8, 8, 3)), ("flat", (2, 192)), ("good", (2, 3, 8, 8))):
        np.save(tmp_path / f"{name}.npy", np.ones(shape, np.float32))
    last, flat, good = (tmp_path / f"{name}.npy" for name in ("last", "flat", "good"))
    for given, words in (
        (
            ("--input", last),
            "A: the model expects (any, 3, 8, 8); you gave (2, 8, 8, 3): move the channel axis, ",
        ),
        (
            ("--input", flat),
            "A: the model expects (any, 3, 8, 8); you gave (2, 192): reshape it, x.reshape(2, ",
        ),
        (("--input", good, "--input-b", flat), "B: the model expects (any, 3, 8, 8); "),
    ):
        status, out, err = probe("compare", *models, *given)
        assert (status, out, err.count("\n")) == (2, "", 1) and words in err


def test_advice_is_that_of_the_command(probe, models, tmp_path):
    a, b = models
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "state.pt")
    np.save(tmp_path / "x.npy", np.ones(3))
    library.record(str(a), None, str(tmp_path / "run.npz"))
    first, y = library.open_model(str(a)).layers[0].name, tmp_path / "x.npy"
    for given, words in (
        (("compare", tmp_path / "state.pt", b), "--a-factory 'package.module:Net'"),
        (("compare", b, tmp_path / "state.pt"), "--b-factory 'package.module:Net'"),
        ((a, b), f"two models are compared by probe compare {a} {b}"),
        (("diff", a, b), f"two models are compared by probe compare {a} {b}"),
        ((a, "conv2d"), "a layer is given by --layer conv2d"),
        (
            ("compare", tmp_path / "x.npy", b),
            "is a NumPy array and no model: the model comes first",
        ),
        (("compare", a, b, "--text", "x"), "A: a text can only be the input of"),
        (("compare", a, b, "--replace-b", f"{first}={y}"), "B: your values of"),
        (
            ("compare", tmp_path / "run.npz", a, "--replace", f"{first}={y}"),
            "(replace=, --replace)",
        ),
        (("compare", a, tmp_path / "run.npz", "--replace-b", f"{first}={y}"), "--replace-b)"),
        (("compare", a, b, "--rtol", "0"), "--rtol needs --atol"),
        (("compare", a, b, "--arg", "flag=True"), "which only a PyTorch module takes"),
    ):
        status, out, err = probe(*given)
        assert (status, out, err.count("\n")) == (2, "", 1) and words in err, err
