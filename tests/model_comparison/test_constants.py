"""Numbers that a model works out of its parameters alone: what rounding may do to them, where
another model holds them worked out."""

import copy
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


def test_constants_that_a_graph_works_out_are_no_source(backbone, exported, tmp_path):
    path = tmp_path / "unfolded.onnx"
    x = torch.from_numpy(_X)
    torch.onnx.export(backbone, (x,), path, dynamo=False, do_constant_folding=False)
    assert "Sqrt" in {node.op_type for node in onnx.load(path).graph.node}
    for a, b in ((path, exported), (exported, path)):
        comparison = probe.compare(a, b, _X)
        assert comparison.verdict == "agree", str(comparison)


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
    assert not any("hidden by rounding" in note for note in comparison.notes)


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


class _Block(torch.nn.Module):
    """Attention with rotary embeddings, a bias by distance and a mask, and what is scaled by
    parameters behind it."""

    def __init__(self, base: float = 10000.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.project, self.out = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)
        self.distances = torch.nn.Embedding(16, 4)
        self.register_buffer("inv_freq", base ** (-torch.arange(0, 8, 2) / 8))
        self.register_buffer("attn_mask", torch.triu(torch.full((7, 7), -100.0), 1))
        self.A_log = torch.nn.Parameter(torch.rand(32))
        self.gamma = torch.nn.Parameter(torch.rand(32) + 0.5)
        self.scale, self.bucket, self.masked = 8**-0.5, 8, True

    def turned(self, x, cos, sin):
        return x * cos + torch.cat([-x[..., 4:], x[..., :4]], -1) * sin

    def forward(self, x):
        count, length, _ = x.shape
        parts = self.project(x).chunk(3, -1)
        q, k, v = (part.reshape(count, length, 4, 8).transpose(1, 2) for part in parts)
        places = torch.arange(length)
        angles = torch.outer(places.float(), self.inv_freq)
        angles = torch.cat([angles, angles], -1)
        q, k = (self.turned(part, angles.cos(), angles.sin()) for part in (q, k))
        apart = (places[:, None] - places[None] + self.bucket).clamp(0, 15)
        scores = q @ k.transpose(-1, -2) * self.scale
        scores = scores + self.distances(apart).permute(2, 0, 1)[None]
        if self.masked:
            scores = scores + self.attn_mask
        mixed = torch.softmax(scores, -1) @ v
        y = self.out(mixed.transpose(1, 2).reshape(count, length, 32))
        return x + torch.exp(y * -torch.exp(self.A_log)) * self.gamma


_TOKENS = np.random.default_rng(1).normal(size=(2, 7, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def block():
    return _Block().eval()


def _source(block, other, tmp_path=None):
    if tmp_path is not None:
        path = tmp_path / "other.onnx"
        torch.onnx.export(other, (torch.from_numpy(_TOKENS),), path, dynamo=False)
        other = path
    comparison = probe.compare(block, other, _TOKENS)
    (source,) = comparison.sources
    return source


@pytest.mark.parametrize("to_onnx", [False, True])
def test_base_of_a_rotary_embedding_is_fitted(block, to_onnx, tmp_path):
    source = _source(block, _Block(500000.0).eval(), tmp_path if to_onnx else None)
    assert source.notes[0] == (
        "the cosines of a rotary position embedding: base 10000 in A, 500000 in B"
    )
    assert source.differs[0][0].endswith(", made of inv_freq")


def test_exported_block_agrees(block, tmp_path):
    path = tmp_path / "block.onnx"
    torch.onnx.export(block, (torch.from_numpy(_TOKENS),), path, dynamo=False)
    comparison = probe.compare(block, path, _TOKENS)
    assert comparison.verdict == "agree", str(comparison)


def test_parameter_behind_a_constant_is_named(block, tmp_path):
    other = copy.deepcopy(block)
    other.A_log.data += 0.5
    source = _source(block, other)
    assert source.differs[0][0].endswith(", neg(exp(A_log))")
    assert source.notes[0] == "A_log: B's are A's plus 0.5 there"
    assert source.findings == ()
    exported = _source(block, other, tmp_path)
    assert exported.differs[0][0].endswith(", neg(exp(A_log))")


def test_order_of_a_layer_scale_is_named(block, tmp_path):
    other = copy.deepcopy(block)
    other.gamma.data = other.gamma.data.flip(0)
    source = _source(block, other, tmp_path)
    assert source.differs[0][0].endswith(", gamma")
    assert source.notes[0].endswith(": reversed")


def test_mask_that_is_left_out_is_named(block):
    other = copy.deepcopy(block)
    other.masked = False
    source = _source(block, other)
    assert source.notes[0] == "A's Add of attn_mask has no counterpart in B"
    assert source.findings[0].claim == "attn_mask is not added to the input"


def test_shifted_buckets_of_a_bias_are_one_source(block, tmp_path):
    other = copy.deepcopy(block)
    other.bucket = 9
    source = _source(block, other)
    assert source.b == ("distances",)
    assert source.notes[0] == "B's are A's plus 1 there"
    exported = _source(block, other, tmp_path)
    assert exported.differs[0][0].endswith(", made by distances")
    assert exported.notes[0] == (
        "B's are A's shifted by -1 along axis 2, with others in the last place"
    )


def test_scale_of_attention_is_told_by_the_size_it_comes_from(block):
    other = copy.deepcopy(block)
    other.scale = 1 / 8
    assert _source(block, other).notes[0] == "1 / sqrt(8) in A, 1 / 8 in B"


class _Gated(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.leave = torch.nn.Linear(6, 8), torch.nn.Linear(8, 5)
        self.gate = torch.nn.Parameter(torch.randn(8))
        self.mixed = torch.nn.Parameter(torch.randn(8, 8))
        self.factor = 1.0

    def forward(self, x):
        gate = self.mixed @ self.mixed.T @ torch.softmax(self.gate, 0)
        return self.leave(torch.relu(self.enter(x) * gate * self.factor))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrower_copy_works_its_constants_out_in_its_own_type(dtype):
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    net, narrow = _Gated().eval(), _Gated().eval().to(dtype)
    for seed in range(4):
        with torch.no_grad():
            net.gate.copy_(torch.randn(8, generator=torch.Generator().manual_seed(seed)))
            narrow.gate.copy_(net.gate)
        assert probe.compare(net, narrow, x).ok, seed
    narrow.factor = 1.05
    assert probe.compare(net, narrow, x, search=False).verdict == "diverge"
