"""``--script`` on a model of ONNX, for which no framework has to start."""

import subprocess
import sys

import numpy as np
import onnx
from onnx_cases import single


def test_a_layer_is_written_from_the_command(probe, tmp_path):
    model, path = tmp_path / "relu.onnx", tmp_path / "hand.py"
    onnx.save(single("Relu", [np.ones((2, 3), np.float32)], {})[0], model)
    asked = (model, "--layer", "node", "--shape", "2,3")
    status, out, err = probe(*asked, "--script", path)
    assert status == 0 and f"written: {path}" in out, err
    assert "y = np.maximum(x, 0)  # (2, 3)" in path.read_text(encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-I", "-W", "error", path], capture_output=True, timeout=60
    )
    assert ended.returncode == 0
    for words, said in (
        ((model, "--script", path), "--script needs --layer"),
        ((*asked, "--script", tmp_path / "x.cpp"), "written as .py, or in integers as .c"),
        ((*asked, "--script", path, "--save", path.with_suffix(".npz")), "same file"),
        ((*asked, "--script", path, "--at", "0,0"), "--script checks the whole layer"),
    ):
        status, _, err = probe(*words)
        assert status == 2 and said in err and err.count("\n") == 1
