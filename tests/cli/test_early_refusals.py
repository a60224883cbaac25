"""What the file itself rules out is refused before a framework is imported."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper
from repository import EXAMPLES
from representatives import exhaustive

KERAS, QKERAS = str(EXAMPLES / "digits.keras"), str(EXAMPLES / "digits_qkeras.h5")
WITHOUT = """
import sys
for name in ("tensorflow", "keras", "tf_keras", "torch"):
    sys.modules[name] = None
from probe.cli import main
main()
"""


@pytest.fixture
def without(tmp_path):
    """The command where importing a framework fails."""
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8)))

    def run(*arguments):
        ended = subprocess.run(
            [sys.executable, "-c", WITHOUT, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=os.environ,
            cwd=tmp_path,
        )
        return ended.returncode, ended.stderr

    return run


@pytest.mark.costly
@pytest.mark.parametrize("model", [QKERAS, *exhaustive(KERAS)])
def test_a_name_an_input_and_an_element(without, model):
    for asked, words in (
        (("--layer", "conv2"), "did you mean 'conv2d'"),
        (("--layer", "conv2d", "--input", "x.npy"), "add a last axis, x[..., None]"),
        (("--layer", "conv2d", "--at", "0,0,9,0"), "index out of range"),
        (("--layer", "conv2d", "--at", "0,0"), "give 4 indices"),
    ):
        status, err = without(model, *asked)
        assert status == 2 and words in err and err.count("\n") == 1, err
    status, err = without(model, "--layer", "conv2d")
    assert status == 2 and ": pip install " in err, err


def test_what_the_file_allows_is_asked_of_the_model(probe):
    """Inner layers, inputs and negative indices."""
    for asked in (("--at", "-1,-1,-1,-1"), ("--shape", "3,8,8,1")):
        assert probe(KERAS, "--layer", "conv2d", *asked)[0] == 0


def test_a_folder_that_is_made_for_nothing_is_taken_away(probe, tmp_path):
    """But not one that was there."""
    (tmp_path / "there").mkdir()
    missing = tmp_path / "missing.onnx"
    for folder in ("made", "there"):
        explorer = ("--model-explorer", tmp_path / folder)
        assert probe(missing, "--all", *explorer)[0] == 2
        assert probe("compare", missing, missing, *explorer)[0] == 2
        assert probe("repro", missing, "--layer", "a", "-o", tmp_path / folder)[0] == 2
    assert [one.name for one in tmp_path.iterdir()] == ["there"]


def test_a_pass_that_calls_no_layer_says_so(probe, tmp_path):
    value = [helper.make_tensor_value_info("x", 1, [2, 3])]
    graph = helper.make_graph([], "g", value, value)
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "empty.onnx")
    status, out, _ = probe(tmp_path / "empty.onnx", "--all")
    assert status == 2
    assert out.strip() == "0 agree, 0 diverge, 0 unchecked: the forward pass called no layer"


def test_a_factory_for_what_none_builds(probe, tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"], name="relu")
    values = [helper.make_tensor_value_info(name, 1, [2, 3]) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opset, net = [helper.make_opsetid("", 21)], tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), net)
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "mine.npz", relu=np.ones((2, 3)))
    np.save(tmp_path / "folder" / "relu.npy", np.ones((2, 3)))
    of_onnx = "--factory) is only for a PyTorch state_dict; this is an ONNX model"
    for asked, words in (
        ((net, "--factory", "net:Net"), of_onnx),
        ((net, "--all", "--factory", "net:Net"), of_onnx),
        (("compare", net, net, "--a-factory", "net:Net"), of_onnx.replace("--", "--a-")),
        (("record", net, "-o", tmp_path / "run.npz", "--factory", "net:Net"), of_onnx),
        ((KERAS, "--all", "--factory", "net:Net"), "this is a Keras model"),
        (
            ("compare", net, tmp_path / "mine.npz", "--b-factory", "net:Net"),
            "leave out --b-factory",
        ),
        (("compare", net, tmp_path / "folder", "--b-factory", "net:Net"), "leave out --b-factory"),
    ):
        status, out, err = probe(*asked)
        assert (status, out) == (2, "") and words in err and err.count("\n") == 1, err
