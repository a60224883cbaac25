"""A recording is made of an ONNX model, opened and checked where nothing but the base package is
installed: this file runs in such an environment too (nox -s wheel)."""

import subprocess
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

FRAMEWORKS = {"tensorflow", "keras", "tf_keras", "qkeras", "torch", "transformers", "h5py", "scipy"}
COMMAND = """
import sys
sys.argv[0] = "probe"
from probe.cli import main
try:
    main()
finally:
    print("imported", *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def asked(folder, *arguments):
    """(exit status, output) of the command, which imports no framework."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, cwd=folder
    )
    errors, _, imported = done.stderr.rpartition("imported ")
    assert not errors and not FRAMEWORKS & set(imported.split()), done.stderr
    return done.returncode, done.stdout


def test_without_any_framework(tmp_path):
    rng = np.random.default_rng(0)
    weight, x = (rng.normal(size=size).astype(np.float32) for size in ((4, 5), (3, 4)))
    given, gives = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [3, 4]), ("y", [3, 5]))
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"], "dense"),
        helper.make_node("Relu", ["z"], ["y"], "relu"),
    ]
    graph = helper.make_graph(
        nodes, "net", [given], [gives], [numpy_helper.from_array(weight, "w")]
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "right.npy", x @ weight)
    np.save(tmp_path / "wrong.npy", x @ weight + np.float32(0.1))

    status, out = asked(tmp_path, "record", "net.onnx", "--input", "x.npy", "-o", "run.npz")
    assert (status, out) == (0, "written: run.npz (2 layers)\n")
    assert asked(tmp_path, "run.npz")[0] == 0
    status, out = asked(tmp_path, "run.npz", "--layer", "dense", "--expect", "right.npy")
    assert status == 0 and "recorded" in out and "agree" in out
    assert asked(tmp_path, "run.npz", "--layer", "dense", "--expect", "wrong.npy")[0] == 1
    assert asked(tmp_path, "run.npz", "--all")[0] == 0
