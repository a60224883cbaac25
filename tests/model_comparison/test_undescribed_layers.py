"""Layers of B that have no description: what is not known of them is no source, and says why."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from known_warnings import TORCH_EXPORT
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from own_seed import RNG
from quantized_nets import Inputs, Pooled, exported, images
from torch import nn

import probe

pytestmark = pytest.mark.filterwarnings(*TORCH_EXPORT)
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]


def inverted(shift, gain):
    """gain relu(inverse(x + shift))."""
    nodes = [
        helper.make_node("Add", ["x", "shift"], ["a"], "shifted"),
        helper.make_node("Inverse", ["a"], ["b"], "inverse", domain="com.microsoft"),
        helper.make_node("Relu", ["b"], ["c"], "relu"),
        helper.make_node("Mul", ["c", "gain"], ["y"], "scaled"),
    ]
    held = {"shift": shift * np.eye(4), "gain": np.full((1, 1, 4), gain)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4, 4])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in held.items()],
    )
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=9)


def test_a_layer_without_description_shows_no_fault_of_the_ones_before():
    x = RNG.normal(size=(3, 4, 4)).astype(np.float32)
    net = inverted(3.0, 2.0)
    assert probe.compare(net, net, x).ok
    for other, at in ((inverted(4.0, 2.0), "shifted"), (inverted(3.0, 1.5), "scaled")):
        found = probe.compare(net, other, x)
        (source,) = found.sources
        assert at in source.b and len(source.differs) == 1, str(found)


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = Pooled(), nn.Linear(8, 5)

    def forward(self, x):
        return torch.softmax(self.head(self.body(x)), 1)


def test_a_softmax_of_integers_is_unchecked(tmp_path):
    torch.manual_seed(0)
    net, given = Last().eval(), images()
    ready = exported(net, given[0], tmp_path)
    quantize_static(
        *(ready, tmp_path / "small.onnx", Inputs(given), QuantFormat.QOperator),
        activation_type=QuantType.QUInt8,
    )
    assert "QLinearSoftmax" in str(onnx.load(tmp_path / "small.onnx"))
    found = probe.compare(net, tmp_path / "small.onnx", given[0])
    assert found.verdict == "unchecked" and not found.sources, str(found)
    assert "com.microsoft.QLinearSoftmax has no description, so the rounding" in found.sentence


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(5, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


@pytest.mark.filterwarnings("ignore:Exporting a model to ONNX with a batch_size:UserWarning")
def test_behind_an_lstm_of_integers_the_comparison_goes_on(tmp_path):
    torch.manual_seed(0)
    net, x = Recurrent().eval(), RNG.normal(size=(1, 6, 5)).astype(np.float32)
    quantize_dynamic(exported(net, x, tmp_path), tmp_path / "small.onnx")
    found = probe.compare(tmp_path / "net.onnx", tmp_path / "small.onnx", x)
    assert found.verdict == "unchecked" and not found.sources, str(found)
    assert "com.microsoft.DynamicQuantizeLSTM has no description" in found.sentence
    assert found.pairs[-1].verdict == "agree"


def test_a_layout_in_blocks_is_said_not_to_be_taken_apart(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)),
    ).eval()
    x = images()[0]
    plain, blocked = tmp_path / "net.onnx", tmp_path / "all.onnx"
    torch.onnx.export(net, (torch.from_numpy(x),), plain, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(blocked), 3
    onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    if not any(node.domain.endswith("nchwc") for node in onnx.load(blocked).graph.node):
        pytest.skip("this processor has no layout in blocks")
    found = probe.compare(plain, blocked, x)
    assert found.ok, str(found)
    assert "of B are of com.microsoft.nchwc" in found.notes[0]
    assert not probe.compare(plain, plain, x).notes
