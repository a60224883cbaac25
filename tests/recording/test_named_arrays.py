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


def test_a_link_in_a_folder_is_not_read(model, tmp_path, probe):
    """Whoever made the folder may have meant a file of another's."""
    folder = tmp_path / "mine"
    (folder / "inner").mkdir(parents=True)
    np.save(tmp_path / "secret.npy", np.maximum(X, 0))
    np.save(folder / "tanh.npy", np.tanh(np.maximum(X, 0)))
    for name in ("relu.npy", "inner/relu.npy"):
        (folder / name).symlink_to(tmp_path / "secret.npy")
        for command in (
            (folder,),
            (model, "--all", "--input", tmp_path / "x.npy", "--expect", folder),
            ("compare", model, folder, "--input", tmp_path / "x.npy"),
        ):
            status, _, err = probe(*command)
            assert status == 2 and f"{name} is a symbolic link" in err, err
        (folder / name).unlink()


def test_an_archive_that_is_called_an_array(model, tmp_path, probe):
    (tmp_path / "mine").mkdir()
    np.savez(tmp_path / "relu.npz", relu=X)
    (tmp_path / "relu.npz").rename(tmp_path / "mine" / "relu.npy")
    for command in ((tmp_path / "mine",), (model, "--all", "--expect", tmp_path / "mine")):
        status, _, err = probe(*command)
        assert status == 2 and "relu.npy holds several arrays" in err, err


@pytest.mark.parametrize("kind", [str, bytes, complex, "V4"])
def test_arrays_that_hold_no_numbers(model, tmp_path, kind):
    """They are left out of a comparison, which says so."""
    others = np.zeros((2, 3), kind)
    mine = {"relu": np.maximum(X, 0), "tanh": others}
    for sides in ((str(model), mine), (mine, str(model))):
        comparison = library.compare(*sides, X)
        assert [pair.verdict for pair in comparison.pairs] == ["agree"]
        assert any("'tanh' of" in note for note in comparison.notes), comparison.notes
    with pytest.raises(library.ProbeError, match="holds no arrays of real numbers"):
        library.compare(str(model), {"tanh": others}, X)
