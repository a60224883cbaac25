"""Numbers that a model works out of its parameters alone: what rounding may do to them, where
another model holds them worked out."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from known_warnings import TORCH_EXPORT
from onnx import numpy_helper
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d

import probe

pytestmark = pytest.mark.filterwarnings(*TORCH_EXPORT)

_X = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)


class _Backbone(torch.nn.Module):
    """Three stages with frozen batch normalisations, and a pyramid, as in detection networks."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        for k, channels in enumerate((3, width, width)):
            stride = 1 + min(k, 1)
            conv = torch.nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
            self.add_module(f"conv{k}", conv)
            norm = FrozenBatchNorm2d(width)
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_()
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.01, 0.1)
            self.add_module(f"bn{k}", norm)
        self.fpn = FeaturePyramidNetwork([width, width], 8)

    def forward(self, x):
        x = torch.relu(self.bn0(self.conv0(x)))
        y = torch.relu(self.bn1(self.conv1(x)))
        z = torch.relu(self.bn2(self.conv2(y)))
        levels = self.fpn(OrderedDict(y=y, z=z))
        return levels["y"], levels["z"]


@pytest.fixture(scope="module")
def backbone():
    return _Backbone().eval()


@pytest.fixture(scope="module")
def exported(backbone, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("frozen") / "backbone.onnx"
    torch.onnx.export(backbone, (torch.from_numpy(_X),), path, dynamo=False, input_names=["x"])
    return path


def test_frozen_normalisation_that_the_exporter_has_worked_out_is_no_source(backbone, exported):
    there = probe.compare(backbone, exported, _X)
    assert there.verdict == "agree", str(there)
    assert len(there.pairs) == 18
    assert all(pair.verdict == "agree" for pair in there.pairs)
    back = probe.compare(exported, backbone, _X)
    assert back.verdict == "agree", str(back)


@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED"])
def test_factor_and_shift_folded_into_the_convolution_are_no_source(
    backbone, exported, level, tmp_path
):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}
    assert "Mul" not in kinds
    comparison = probe.compare(backbone, options.optimized_model_filepath, _X)
    assert comparison.verdict == "agree", str(comparison)


def test_constant_that_is_off_by_more_than_rounding_is_a_source(backbone, exported, tmp_path):
    model = onnx.load(exported)
    factor = next(i for i in model.graph.initializer if list(i.dims) == [1, 16, 1, 1])
    values = numpy_helper.to_array(factor).copy()
    values[0, 3] *= 1.00002
    factor.CopyFrom(numpy_helper.from_array(values, factor.name))
    onnx.save(model, tmp_path / "off.onnx")
    comparison = probe.compare(backbone, tmp_path / "off.onnx", _X)
    (source,) = comparison.sources
    assert source.b == ("/bn0/Mul",)
    assert source.differs[0][0].startswith("constant of Mul")
    assert source.notes[0] == "B's are 1.00002 times A's there"
