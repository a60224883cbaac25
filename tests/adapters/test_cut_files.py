"""Files of which a part is missing: what is said is of the file, not of the library's reading."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from repository import EXAMPLES
from safetensors.torch import save_file

import probe
from probe.errors import CannotOpen


def _h5(folder):
    return _cut(EXAMPLES / "digits_qkeras.h5", folder / "cut.h5", 3000)


def _tflite(folder):
    return _cut(EXAMPLES / "digits_int8.tflite", folder / "cut.tflite", 4000)


def _cut(whole, path, size):
    path.write_bytes(whole.read_bytes()[:size])
    return path


def _safetensors(folder):
    save_file({"weight": torch.zeros(64, 64)}, folder / "whole.safetensors")
    return _cut(folder / "whole.safetensors", folder / "cut.safetensors", 4000)


def _onnx(folder):
    weight = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "weight")
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])
    node = helper.make_node("MatMul", ["x", "weight"], ["y"], "product")
    graph = helper.make_graph([node], "g", [value], [output], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path = folder / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    (folder / "net.data").unlink()
    return path


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (_h5, r"damaged or truncated \(it ends after 3,000 of [\d,]+ bytes: copy it once more\)"),
        (_tflite, r"\(its 4,000 bytes end before what they refer to\): copy or convert it once"),
        (_safetensors, r"its 4,000 bytes are not what its header says; copy or download it once"),
        (_onnx, r"net\.onnx lie in another file, .*net\.data, which is not there: put it beside"),
    ],
)
def test_what_is_missing_is_said_with_the_way_out(tmp_path, cut, words):
    options = {"factory": "torch.nn:Linear(64, 64)"} if cut is _safetensors else {}
    with pytest.raises(CannotOpen, match=words):
        probe.open_model(cut(tmp_path), **options)
