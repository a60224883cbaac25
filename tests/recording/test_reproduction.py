"""``probe repro``: a folder that shows a difference without the model."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


@pytest.fixture
def given(tmp_path):
    """A file with a product between two layers, its input, and values with one mistake."""
    nodes = [
        helper.make_node("Relu", ["x"], ["h"], name="relu"),
        helper.make_node("MatMul", ["h", "w"], ["p"], name="product"),
        helper.make_node("Tanh", ["p"], ["y"], name="tanh"),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 4])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(KERNEL, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(made, tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", X)
    mine = np.maximum(X, 0) @ KERNEL
    mine[1, 2] += 0.25
    np.save(tmp_path / "mine.npy", mine)
    return (tmp_path / "net.onnx", "--layer", "product", "--input", tmp_path / "x.npy")


def test_what_is_written(given, tmp_path, probe):
    folder = tmp_path / "shown"
    status, out, _ = probe("repro", *given, "--expect", tmp_path / "mine.npy", "-o", folder)
    assert status == 1 and f"\n\nwritten to {folder}: call.npz, " in out
    assert {one.name for one in folder.iterdir()} == {
        *("call.npz", "values.npz", "show.py", "layer.onnx", "README.md"),
        *("layer.py", "layer.npz"),
    }
    by_hand = subprocess.run(
        [sys.executable, "-I", "-W", "error", folder / "layer.py"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert by_hand.returncode == 0 and "0 of 8 elements beyond" in by_hand.stdout
    assert "python layer.py" in (folder / "README.md").read_text(encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, "-I", "-c", _WITHOUT, folder / "show.py"], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line.split(" (")[0].strip() for line in lines[:-1]] == [
        *("framework", "NumPy", "ONNX Runtime", "yours")
    ]
    assert "at [1, 2]" in lines[-1] and abs(float(lines[-1].split()[-1])) == pytest.approx(
        0.25, rel=1e-4
    )
    session = onnxruntime.InferenceSession(str(folder / "layer.onnx"))
    (taken,) = session.get_inputs()
    (y,) = session.run(None, {taken.name: np.maximum(X, 0)})
    assert np.allclose(y, np.maximum(X, 0) @ KERNEL, atol=1e-6)
    assert "probe repro" in (folder / "README.md").read_text(encoding="utf-8")
    again = ("--layer", "product", "--expect", tmp_path / "mine.npy")
    status, out, err = probe(folder / "call.npz", *again)
    assert status == 1, err


_WITHOUT = """
import runpy, sys
for name in ("onnx", "onnxruntime", "torch", "tensorflow", "probe"):
    sys.modules[name] = None
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_from_a_recording(given, tmp_path, probe):
    assert probe("record", *given[:1], *given[3:], "-o", tmp_path / "run.npz")[0] == 0
    asked = (tmp_path / "run.npz", "--layer", "product", "--expect", tmp_path / "mine.npy")
    status, _, _ = probe("repro", *asked, "-o", tmp_path / "shown")
    assert status == 1 and (tmp_path / "shown" / "layer.onnx").exists()


def test_nothing_to_show(given, tmp_path, probe):
    status, _, err = probe("repro", *given, "-o", tmp_path / "shown")
    assert status == 2 and "agrees, so there is nothing to show" in err
    status, _, _ = probe("repro", *given, "-o", tmp_path / "shown", "--anyway")
    assert status == 0 and (tmp_path / "shown" / "show.py").exists()


def test_another_shape(given, tmp_path, probe):
    """Where the values have no element to compare, their shapes are printed."""
    np.save(tmp_path / "short.npy", np.ones((2, 3), np.float32))
    folder = tmp_path / "shown"
    assert probe("repro", *given, "--expect", tmp_path / "short.npy", "-o", folder)[0] == 1
    shown = subprocess.run([sys.executable, folder / "show.py"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "yours        (2, 3)" in shown.stdout


def test_a_folder_with_other_files(given, tmp_path, probe):
    status, _, err = probe("repro", *given, "-o", tmp_path)
    assert status == 2 and "holds other files" in err
