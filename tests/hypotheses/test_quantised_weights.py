"""Integers behind weights that a port has otherwise: their scale, zero point, order and type."""

import keras
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from own_seed import RNG
from torch.ao import quantization

import probe


def named(report, slug, words):
    assert report.findings, report.diagnosis
    first = report.findings[0]
    assert (first.slug, first.left <= 1) == (slug, True), first
    assert words in first.claim


def keras_dense():
    layer = keras.layers.Dense(16, name="dense")
    model = keras.Sequential([keras.Input((12,)), layer])
    layer.set_weights([RNG.normal(size=one.shape) for one in layer.get_weights()])
    layer.quantize("int8")
    kernel, scale, bias = (one.numpy() for one in (layer._kernel, layer.kernel_scale, layer.bias))
    return model, kernel, scale, bias


def dense_int8(x, kernel, scale, bias, rounded=np.round):
    step = np.float32(127) / (np.abs(x).max(-1, keepdims=True) + np.float32(1e-7))
    total = np.clip(rounded(x * step), -127, 127).astype(np.int32) @ kernel.astype(np.int32)
    return total.astype(np.float32) / (scale * step) + bias


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_the_scale_and_the_rounding_of_an_int8_layer_of_keras():
    model, kernel, scale, bias = keras_dense()
    # so large that an epsilon of 1e-7 is lost in them: the largest is 127 to the last digit
    x = RNG.uniform(-6, 6, size=(3, 12)).astype(np.float32)
    check = lambda y: probe.check(model, "dense", x, expected=y)  # noqa: E731
    assert check(dense_int8(x, kernel, scale, bias)).verdict == "agree"
    inverted = dense_int8(x, kernel, 1 / scale, bias)
    named(check(inverted), "ignored-scale", "the scale of kernel is inverted")
    first = dense_int8(x, kernel, np.full_like(scale, scale[0]), bias)
    named(check(first), "transposed-scale", "from the first place along axis 1")
    cut = dense_int8(x, kernel, scale, bias, rounded=np.trunc)
    named(check(cut), "rounding-mode", "the scaled input is rounded towards zero")


def test_the_zero_point_and_the_order_of_integers_of_an_onnx_model(tmp_path):
    codes = RNG.integers(0, 256, (12, 8)).astype(np.uint8)
    scale = RNG.uniform(0.01, 0.05, 8).astype(np.float32)
    zero = RNG.integers(100, 150, 8).astype(np.uint8)
    held = {"codes": codes, "scale": scale, "zero": zero}
    nodes = [
        helper.make_node("DequantizeLinear", list(held), ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 12))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (3, 8))],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    path = str(tmp_path / "q.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    x = RNG.normal(size=(3, 12)).astype(np.float32)
    pairs = codes.reshape(6, 2, 8)[:, ::-1].reshape(12, 8)
    port = lambda by, codes=codes: x @ ((codes.astype(np.float32) - zero - by) * scale)  # noqa: E731
    check = lambda y: probe.check(path, "product", x, expected=y)  # noqa: E731
    assert check(port(0)).verdict == "agree"
    named(check(port(1)), "zero-point", "increased by 1")
    named(check(port(-zero.astype(np.float32))), "zero-point", "taken as 0")
    named(check(port(0, pairs)), "nibble-order", "exchanged in pairs along axis 0")


class Integers(torch.nn.Module):
    """A linear layer of int8 weights and uint8 inputs."""

    def __init__(self):
        super().__init__()
        weight = RNG.integers(-127, 128, (8, 40)).astype("i1")
        self.register_buffer("weight", torch.tensor(weight))

    def forward(self, x):
        codes = torch.clamp(torch.round(x / 0.03) + 90, 0, 255)
        return ((codes - 90) @ self.weight.T.float()) * 0.001


def integers(m, x, unsigned=False, total=np.int32, clipped=True, point=90):
    codes = np.round(x / np.float32(0.03)).astype(np.int64) + 90
    codes = np.clip(codes, 0, 255) if clipped else codes % 256
    weight = m.weight.numpy()
    weight = weight.view(np.uint8) if unsigned else weight
    product = ((codes - point).astype(np.int32) @ weight.T.astype(np.int32)).astype(total)
    return product.astype(np.float32) * np.float32(0.001)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"unsigned": True}, "read as integers without a sign"),
        ({"total": np.int16}, "wrapped around in int16"),
        ({"clipped": False}, "wrapping around at the ends instead of a clip"),
    ],
    ids=lambda one: "" if isinstance(one, dict) else one,
)
def test_types_that_are_too_narrow_or_read_without_a_sign(wrong, words):
    m, x = Integers().eval(), (3 * RNG.normal(size=(4, 40))).astype(np.float32)
    assert probe.check(m, "", x, expected=integers(m, x)).verdict == "agree"
    report = probe.check(m, "", x, expected=integers(m, x, **wrong))
    assert words in report.findings[0].claim
    assert report.findings[0].left <= 1


@pytest.mark.filterwarnings("ignore")  # of torch.ao, which is deprecated
def test_a_bias_is_rounded_to_whole_numbers_of_the_sums_of_integers():
    torch.manual_seed(7)
    stub, linear = quantization.QuantStub(), torch.nn.Linear(10, 6)
    model = torch.nn.Sequential(stub, linear, quantization.DeQuantStub()).eval()
    model.qconfig = quantization.get_default_qconfig("fbgemm")
    quantization.prepare(model, inplace=True)
    x = RNG.normal(size=(8, 10)).astype(np.float32)
    model(torch.from_numpy(3 * x))
    quantization.convert(model, inplace=True)
    scale, zero = float(model[0].scale), int(model[0].zero_point)
    codes = np.clip(np.round(x / np.float32(scale)) + zero, 0, 255).astype(np.int64) - zero
    weight = model[1].weight()
    units = scale * weight.q_per_channel_scales().numpy()
    whole = np.round(model[1].bias().detach().numpy() / units).astype(np.int64)
    values = (codes @ weight.int_repr().numpy().T.astype(np.int64) + whole) * units
    report = probe.check(model, "", x, expected=values.astype(np.float32))
    assert report.findings[0].left <= 1, report
    assert "1.bias is rounded to whole numbers of the sums" in report.findings[0].claim
