"""Outputs alone: what another program wrote, listed and compared with."""

import numpy as np
import onnx
import pytest
from onnx import helper

import probe as library

X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    """A file of two layers, and an input for it."""
    nodes = [
        helper.make_node("Relu", ["x"], ["h"], name="relu"),
        helper.make_node("Tanh", ["h"], ["y"], name="tanh"),
    ]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(made, tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "net.onnx"


@pytest.fixture(params=["file", "folder"])
def outputs(request, tmp_path):
    relu = np.maximum(X, 0)
    arrays = {"relu": relu, "tanh": np.tanh(relu)}
    if request.param == "file":
        np.savez(tmp_path / "mine.npz", **arrays)
        return tmp_path / "mine.npz"
    (tmp_path / "mine").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "mine" / f"{name}.npy", array)
    return tmp_path / "mine"


def test_they_are_listed(outputs, probe):
    status, out, _ = probe(outputs)
    assert status == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[1][:4] == ["relu", "float32", "(2,", "3)"] and lines[2][0] == "tanh"


def test_they_are_values_of_all_layers(outputs, model, tmp_path, probe):
    status, out, _ = probe(model, "--all", "--input", tmp_path / "x.npy", "--expect", outputs)
    assert status == 0 and "2 agree" in out


def test_a_recording_holds_values_of_all_layers(model, tmp_path, probe):
    library.record(str(model), X, tmp_path / "run.npz")
    given = ("--all", "--input", tmp_path / "x.npy", "--expect", tmp_path / "run.npz")
    status, out, _ = probe(model, *given)
    assert status == 0 and "2 agree" in out


@pytest.mark.parametrize("asked", [("--all",), ("--layer", "relu")])
def test_no_layer_of_them_is_checked(outputs, asked, probe):
    status, _, err = probe(outputs, *asked)
    assert status == 2 and "contains only outputs, and no layer to check: give the model" in err


def test_both_sides_of_a_comparison(outputs, model, tmp_path):
    kept = library.record(str(model), X, tmp_path / "run.npz")
    for a in (str(model), kept):
        comparison = library.compare(a, str(outputs), X)
        assert comparison.ok, str(comparison)


def test_a_folder_that_holds_other_files_too_is_refused(outputs, probe):
    """As the one that somebody works in: its arrays belong to nothing in common."""
    folder = outputs.parent
    (folder / "notes.txt").write_text("mine")
    status, out, err = probe(folder)
    assert (status, out) == (2, "") and "a folder of nothing but .npy files" in err
