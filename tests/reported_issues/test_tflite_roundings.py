"""Cases from issue trackers: integers of TFLite that differ by 1."""

import numpy as np
import pytest
from own_seed import RNG
from tflite_files import FlatNode, FlatTensor, Net, built

import probe

X, Y = (0.04, -5), (0.11, 3)
"""Scale and zero point of what a layer takes and gives."""


def convolution(path, depthwise, channels=32):
    """A scale for each channel."""
    scales = RNG.uniform(0.004, 0.02, channels).astype(np.float32)
    shape, axis = ((1, 3, 3, channels), 3) if depthwise else ((32, 3, 3, 32), 0)
    tensors = [
        FlatTensor("x", (1, 16, 16, channels), "int8", scale=X[0], zero_point=X[1]),
        FlatTensor("w", dtype="int8", data=RNG.integers(-127, 128, shape), scale=scales, axis=axis),
        FlatTensor("b", dtype="int32", data=RNG.integers(-900, 900, channels), scale=scales * X[0]),
        FlatTensor("y", (1, 16, 16, channels), "int8", scale=30 * Y[0] / 9, zero_point=Y[1]),
    ]
    sizes = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    kind, options = "CONV_2D", ("Conv2DOptions", sizes)
    if depthwise:
        kind, options = (
            "DEPTHWISE_CONV_2D",
            ("DepthwiseConv2DOptions", sizes | {"depthMultiplier": 1}),
        )
    built(Net(tensors, [FlatNode(kind, [0, 1, 2], [3], options, 3)], [0], [3]), path=path)
    return path


def dense(path, rows=64):
    """One scale, as older converters write them."""
    tensors = [
        FlatTensor("x", (rows, 64), "int8", scale=X[0], zero_point=X[1]),
        FlatTensor("w", dtype="int8", data=RNG.integers(-127, 128, (16, 64)), scale=0.011),
        FlatTensor("b", dtype="int32", data=RNG.integers(-900, 900, 16), scale=0.011 * X[0]),
        FlatTensor("y", (rows, 16), "int8", scale=Y[0], zero_point=Y[1]),
    ]
    options = ("FullyConnectedOptions", {})
    built(
        Net(tensors, [FlatNode("FULLY_CONNECTED", [0, 1, 2], [3], options, 4)], [0], [3]), path=path
    )
    return path


def product(path):
    tensors = [
        FlatTensor(name, (1, 64, 64), "int8", scale=scale, zero_point=zero)
        for name, (scale, zero) in (("x", X), ("z", (0.02, 7)), ("y", Y))
    ]
    node = FlatNode("MUL", [0, 1], [2], ("MulOptions", {}), 2)
    built(Net(tensors, [node], [0, 1], [2]), path=path)
    return path


def by(path, engine, inputs):
    return probe.check(probe.open_model(str(path), engine=engine), "y", inputs).outputs["framework"]


def drawn(path):
    return [
        RNG.integers(-128, 128, spec.shape).astype(np.int8)
        for spec in probe.open_model(str(path)).inputs
    ]


def named(path, engine, inputs, mine, slug):
    """The rounding of the user's values, where the framework is this engine."""
    model = probe.open_model(str(path), engine=engine)
    report = probe.check(model, "y", inputs, expected=mine)
    assert report.verdict == "diverge" and report.findings[0].slug == slug, str(report)
    assert "differ by 1, none by more: both are TFLite" in report.findings[0].claim
    return report.findings[0].claim


def test_tensorflow_104605(tmp_path):
    """Why Conv2D mismatches while DepthwiseConv2D matches: the optimised kernel of the one
    rounds halves up, that of the other as the reference does, below 8 channels."""
    for depthwise in (True, False):
        path = convolution(tmp_path / "net.tflite", depthwise, 4 if depthwise else 32)
        inputs = drawn(path)
        mine = by(path, "reference", inputs)
        model = probe.open_model(str(path), engine="optimised")
        if depthwise:
            assert probe.check(model, "y", inputs, expected=mine).ok
            continue
        assert "halves up the second time" in named(path, "optimised", inputs, mine, "rounds-twice")


def test_pyrtlnet_6(tmp_path):
    """17 and 18, -88 and -87 in a dense layer: "maybe a rounding issue?" NumPy rounds twice, LiteRT
    once."""
    path = dense(tmp_path / "net.tflite")
    inputs = drawn(path)
    claim = named(path, "xnnpack", inputs, gemmlowp(path, inputs), "rounds-twice")
    assert "the framework rounds once" in claim


def gemmlowp(path, inputs):
    """A dense layer as gemmlowp's functions give it."""
    weights = probe.check(str(path), "y", inputs).weights
    kernel, bias = (
        next(weight.stored for weight in weights.values() if weight.stored.ndim == rank)
        for rank in (2, 1)
    )
    sums = (inputs[0].astype(np.int64) - X[1]) @ kernel.astype(np.int64).T + bias
    scale = np.float64(np.float32(X[0])) * np.float64(np.float32(0.011)) / np.float32(Y[0])
    fraction, shift = np.frexp(scale)
    product = sums * int(np.floor(fraction * 2**31 + 0.5))
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.trunc((product + nudge) / 2**31).astype(np.int64)
    mask = (1 << -int(shift)) - 1
    codes = (high >> -int(shift)) + ((high & mask) > (mask >> 1) + (high < 0)) + Y[1]
    return np.clip(codes, -128, 127).astype(np.int8)


def test_cmsis_nn_214(tmp_path):
    """Against BUILTIN_REF, FULLY_CONNECTED needs rounding once and MUL twice: no flag of the
    compiler fits both, since the reference is mixed."""
    path = dense(tmp_path / "dense.tflite")
    inputs = drawn(path)
    claim = named(path, "reference", inputs, gemmlowp(path, inputs), "rounds-twice")
    assert "the framework rounds once with a 31-bit multiplier" in claim
    path = product(tmp_path / "product.tflite")
    inputs = drawn(path)
    once = by(path, "xnnpack", inputs)
    model = probe.open_model(str(path), engine="reference")
    report = probe.check(model, "y", inputs, expected=once)
    assert report.findings[0].slug in ("rounds-once", "requantised-in-float"), str(report)
    assert "the framework rounds twice" in report.findings[0].claim


def test_tflite_micro_3252(tmp_path):
    """The trap of validating against Python: TFLM rounds twice where the interpreter rounds
    once."""
    pytest.importorskip("tflite_micro")
    path = convolution(tmp_path / "net.tflite", depthwise=True)
    inputs = drawn(path)
    device = by(path, "tflm", inputs)
    claim = named(path, "xnnpack", inputs, device, "rounds-twice")
    assert claim.startswith(
        "yours rounds twice, as TFLM and CMSIS-NN do; the framework rounds once"
    )
    assert probe.check(probe.open_model(str(path), engine="tflm"), "y", inputs, expected=device).ok


def test_leaky_relu_with_a_multiplier_of_8_bits(tmp_path):
    """XNNPACK's own arithmetic of LEAKY_RELU, which no other engine has."""
    path = tmp_path / "leaky.tflite"
    tensors = [
        FlatTensor(name, (1, 64, 64), "int8", scale=scale, zero_point=zero)
        for name, (scale, zero) in (("x", X), ("y", (0.055, 3)))
    ]
    node = FlatNode("LEAKY_RELU", [0], [1], ("LeakyReluOptions", {"alpha": 0.3}), 2)
    built(Net(tensors, [node], [0], [1]), path=path)
    inputs = drawn(path)
    exact = by(path, "reference", inputs)
    claim = named(path, "xnnpack", inputs, exact, "rounds-twice")
    assert "the framework rounds once with an 8-bit multiplier" in claim
    claim = named(path, "reference", inputs, by(path, "xnnpack", inputs), "rounds-once")
    assert "yours rounds once with an 8-bit multiplier" in claim


def test_one_file_under_two_engines(tmp_path):
    """Its layers are paired by their tensors: codes that differ by 1 have no other partner."""
    path = tmp_path / "net.tflite"
    tensors = [FlatTensor("x", (2048, 16), "int8", scale=X[0], zero_point=X[1])]
    nodes = []
    for layer in ("first", "second"):
        weights = RNG.integers(-127, 128, (16, 16))
        at = len(tensors)
        tensors += [
            FlatTensor(f"{layer}.w", dtype="int8", data=weights, scale=0.011),
            FlatTensor(
                f"{layer}.b",
                dtype="int32",
                data=RNG.integers(-900, 900, 16),
                scale=0.011 * tensors[-1].scale,
            ),
            FlatTensor(layer, (2048, 16), "int8", scale=Y[0], zero_point=Y[1]),
        ]
        numbers = [at - 1, at, at + 1]
        nodes.append(
            FlatNode("FULLY_CONNECTED", numbers, [at + 2], ("FullyConnectedOptions", {}), 4)
        )
    built(Net(tensors, nodes, [0], [len(tensors) - 1]), path=path)
    engines = (probe.open_model(str(path), engine=engine) for engine in ("optimised", "reference"))
    comparison = probe.compare(*engines, drawn(path))
    assert [pair.a for pair in comparison.pairs] == [("first",), ("second",)]
    assert [pair.source for pair in comparison.pairs] == [True, True], str(comparison)
    for pair in comparison.pairs:
        assert "A's layers with B's rounding give B's values" in pair.notes
        assert "neither is wrong: both are roundings of TFLite" in pair.notes
