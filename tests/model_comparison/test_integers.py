"""A net that ONNX Runtime has quantised to 8 bits against the net itself: the precision is no
fault, and a fault in it stands out."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from known_warnings import TORCH_EXPORT
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

import probe

pytestmark = pytest.mark.filterwarnings(*TORCH_EXPORT)
NETS = {
    "squeezenet": torchvision.models.squeezenet1_1,
    "mobilenet": torchvision.models.mobilenet_v3_small,
}
WAYS = ["static per tensor", "static per channel", "dynamic per tensor", "dynamic per channel"]


class _Images(CalibrationDataReader):
    def __init__(self, images: list[np.ndarray]) -> None:
        self.left = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.left, None)
        return None if image is None else {"x": image}


def _images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(count, 3, 8, 8)).repeat(8, 2).repeat(8, 3)
    return [
        (one[None] + 0.3 * rng.normal(size=(1, *one.shape))).astype(np.float32) for one in coarse
    ]


def _net(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    net = NETS[name](weights=None)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
            if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
                module.bias.normal_(0, 0.1)
    return net.eval()


@pytest.fixture(scope="module", params=NETS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    net, images = _net(request.param), _images(4)
    torch.onnx.export(
        *(net, (torch.from_numpy(images[0]),), folder / "net.onnx"),
        dynamo=False,
        input_names=["x"],
    )
    quant_pre_process(folder / "net.onnx", folder / "ready.onnx")
    return net, images, folder


def _quantized(pair: Any, way: str) -> Path:
    _, images, folder = pair
    path, channels = folder / f"{way}.onnx", way.endswith("channel")
    if path.exists():
        return Path(path)
    if way.startswith("static"):
        quantize_static(
            folder / "ready.onnx",
            path,
            _Images(images),
            quant_format=QuantFormat.QDQ,
            per_channel=channels,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    else:
        quantize_dynamic(
            folder / "ready.onnx", path, per_channel=channels, weight_type=QuantType.QUInt8
        )
    return Path(path)


@pytest.mark.costly(default=1)
@pytest.mark.exhaustive(default=3)
@pytest.mark.parametrize("way", WAYS)
def test_a_quantised_net_has_no_source(pair: Any, way: str) -> None:
    net, images, _ = pair
    found = probe.compare(net, _quantized(pair, way), images[0])
    assert found.verdict == "agree", str(found)
    assert not any(found.unpaired)
    assert any("rounded to integers of 8 bits" in one for one in found.notes)
    expected = [one.expected for one in found.pairs if one.expected is not None]
    assert len(expected) > 20
    assert 0.001 < np.median(expected) < 0.1


def _weight(model: onnx.ModelProto, node: onnx.NodeProto) -> onnx.TensorProto:
    made = {out: one for one in model.graph.node for out in one.output}
    name = made[node.input[1]].input[0] if node.input[1] in made else node.input[1]
    return _held(model, name)


def _held(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(one for one in model.graph.initializer if one.name == name)


def _change(held: onnx.TensorProto, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    old = numpy_helper.to_array(held)
    new = edit(old.copy()).astype(old.dtype)
    assert not np.array_equal(new, old)
    held.CopyFrom(numpy_helper.from_array(new, held.name))


def _convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [one for one in model.graph.node if one.op_type in ("Conv", "ConvInteger")]


def _own_parameter(model: onnx.ModelProto, node: onnx.NodeProto, place: int, factor: float,
                   shift: float) -> None:  # fmt: skip
    """Gives one node another scale or zero point, which it shared with others."""
    name = f"{node.name} changed"
    old = numpy_helper.to_array(_held(model, node.input[place]))
    new = (old * factor + shift).astype(old.dtype)
    model.graph.initializer.append(numpy_helper.from_array(new, name))
    node.input[place] = name


def _dequantizing(model: onnx.ModelProto, node: onnx.NodeProto, place: int) -> onnx.NodeProto:
    made = {out: one for one in model.graph.node for out in one.output}
    return made[node.input[place]]


def _scale_of_weights(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    _own_parameter(model, _dequantizing(model, node, 1), 1, 1.1, 0)


def _scale_of_input(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    _own_parameter(model, _dequantizing(model, node, 0), 1, 2, 0)


def _zero_point_of_input(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    _own_parameter(model, _dequantizing(model, node, 0), 2, 1, 1)


def _exchange(old: np.ndarray) -> np.ndarray:
    return old[[1, 0, *range(2, len(old))]]


def _weights_off_by_one(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    _change(_weight(model, node), lambda old: np.clip(old.astype(int) + 1, -127, 127))


def _channels_exchanged(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    _change(_weight(model, node), _exchange)


def _no_bias(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    _change(_held(model, _dequantizing(model, node, 2).input[0]), np.zeros_like)


STATIC: dict[Any, str] = {
    _scale_of_weights: "1.1 times A's: another scale",
    _scale_of_input: "dequantises by scale",
    _zero_point_of_input: "dequantises by scale",
    _weights_off_by_one: "moved by +1 of its steps: another zero point",
    _channels_exchanged: "",
    _no_bias: "A's layers with B's bias give B's values",
}


@pytest.mark.costly(default=1)
@pytest.mark.exhaustive(default=5)
@pytest.mark.parametrize("fault", STATIC, ids=lambda one: one.__name__.strip("_"))
def test_a_fault_in_a_quantised_net_is_the_only_source(
    pair: Any, fault: Any, tmp_path: Path
) -> None:
    _, images, folder = pair
    model = onnx.load(_quantized(pair, "static per channel"))
    node = _convolutions(model)[7]
    fault(model, node)
    onnx.save(model, tmp_path / "faulty.onnx")
    found = probe.compare(folder / "net.onnx", tmp_path / "faulty.onnx", images[0])
    assert found.verdict == "diverge", str(found)
    assert len(found.sources) == 1, str(found)
    source = found.sources[0]
    touched = {node.name, _dequantizing(model, node, 0).name}
    assert touched & set(source.b), source
    assert STATIC[fault] in " ".join(source.notes), source.notes


def _scale_of_result(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    scales = next(
        one for one in model.graph.node if one.output[0] == _scaling(model, node).input[1]
    )
    assert scales.op_type == "Mul"
    _own_parameter(model, scales, 1, 0.9, 0)


def _scaling(model: onnx.ModelProto, node: onnx.NodeProto) -> onnx.NodeProto:
    (cast,) = (one for one in model.graph.node if node.output[0] in one.input)
    (scaled,) = (one for one in model.graph.node if cast.output[0] in one.input)
    return scaled


def _zero_point_of_weights(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    _own_parameter(model, node, 3, 1, 1)


@pytest.mark.costly(default=1)
@pytest.mark.exhaustive(default=3)
@pytest.mark.parametrize(
    "fault", [_scale_of_result, _zero_point_of_weights], ids=lambda one: one.__name__.strip("_")
)
def test_a_fault_in_dynamic_integers_is_the_only_source(
    pair: Any, fault: Any, tmp_path: Path
) -> None:
    _, images, folder = pair
    model = onnx.load(_quantized(pair, "dynamic per tensor"))
    node = _convolutions(model)[5]
    fault(model, node)
    onnx.save(model, tmp_path / "faulty.onnx")
    found = probe.compare(folder / "net.onnx", tmp_path / "faulty.onnx", images[0])
    assert found.verdict == "diverge", str(found)
    assert len(found.sources) == 1, str(found)
    assert _scaling(model, node).name in found.sources[0].b, found.sources[0]


@pytest.mark.costly
def test_a_half_whose_normalisations_are_folded_is_a_level_and_a_missing_bias_is_none(
    tmp_path: Path,
) -> None:
    """Folded in float16, where a bias is a small difference of large numbers."""
    torch.manual_seed(0)
    parts = [
        torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        for _ in range(3)
    ]
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), *parts).eval()
    for _, norm, _ in parts:
        torch.nn.init.uniform_(norm.running_mean, 0.5, 2)
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
        norm.bias.data = norm.running_mean / (norm.running_var + norm.eps).sqrt() + 1e-3
    x = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    half = copy.deepcopy(net).half()
    torch.onnx.export(half, (torch.from_numpy(x).half(),), tmp_path / "half.onnx", dynamo=False)
    found = probe.compare(net, tmp_path / "half.onnx", x)
    assert found.verdict == "agree", str(found)
    model = onnx.load(tmp_path / "half.onnx")
    node = _convolutions(model)[2]
    _change(_held(model, node.input[2]), lambda old: old * 0 - 0.2)
    onnx.save(model, tmp_path / "faulty.onnx")
    (source,) = probe.compare(net, tmp_path / "faulty.onnx", x).sources
    assert node.name in source.b


class Scaled(torch.nn.Module):
    """A learned scale and a normalisation by groups, which the export writes as constants."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = torch.nn.Conv2d(3, 8, 3), torch.nn.GroupNorm(2, 8)
        self.scale = torch.nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.last = torch.nn.Conv2d(8, 4, 1)
        torch.nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(self.norm.bias, 0, 0.2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.last(torch.relu(self.norm(self.first(x))) * self.scale)


def test_constants_that_are_rounded_to_integers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, images = Scaled().eval(), _images(4)
    torch.onnx.export(
        *(net, (torch.from_numpy(images[0]),), tmp_path / "net.onnx"),
        dynamo=False,
        input_names=["x"],
    )
    quant_pre_process(tmp_path / "net.onnx", tmp_path / "ready.onnx")
    quantize_static(tmp_path / "ready.onnx", tmp_path / "small.onnx", _Images(images))
    for reference in (net, str(tmp_path / "net.onnx")):
        comparison = probe.compare(reference, str(tmp_path / "small.onnx"), images[0])
        assert comparison.ok, str(comparison)
    model = onnx.load(tmp_path / "small.onnx")
    (held,) = [one for one in model.graph.initializer if one.name == "scale_quantized"]
    codes = numpy_helper.to_array(held).copy()
    codes[3] -= 40
    held.CopyFrom(numpy_helper.from_array(codes, held.name))
    comparison = probe.compare(net, model, images[0])
    assert len(comparison.sources) == 1, str(comparison)
