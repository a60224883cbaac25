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
