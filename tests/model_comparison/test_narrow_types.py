"""Which type of an HLS layer is too narrow: against hls4ml's arithmetic, done over in whole numbers
from its templates (nnet_dense_latency.h, nnet_conv2d.h, nnet_activation.h)."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe


class Fixed(NamedTuple):
    """ap_fixed<width, integer>: cut off downwards (AP_TRN), wrapped (AP_WRAP)."""

    width: int
    integer: int

    @property
    def fraction(self) -> int:
        return self.width - self.integer

    def code(self, value: int, fraction: int) -> int:
        """The integer behind value / 2**fraction in this type."""
        shift = self.fraction - fraction
        cut = value << shift if shift >= 0 else value >> -shift
        half = 1 << (self.width - 1)
        return (cut + half) % (2 * half) - half

    def of(self, value: float) -> int:
        return self.code(math.floor(value * 2.0**40), 40)


WIDE = Fixed(40, 12)
FINE = 30


def dense(x, kernel, bias, data=WIDE, weight=WIDE, accum=WIDE, result=WIDE):
    """Each product is put into the accumulator's type before it is added."""
    out = np.empty((len(x), kernel.shape[1]))
    for row in range(len(x)):
        for column in range(kernel.shape[1]):
            total = accum.code(weight.of(bias[column]), weight.fraction)
            for k in range(kernel.shape[0]):
                product = data.of(x[row, k]) * weight.of(kernel[k, column])
                total += accum.code(product, data.fraction + weight.fraction)
                total = accum.code(total, accum.fraction)
            out[row, column] = result.code(total, accum.fraction) / 2**result.fraction
    return out.astype(np.float32)


def table(function, x, end, entries, result):
    """The index is data * entries / range as an int, cut off towards zero."""
    index = np.trunc(x.astype(np.float64) * entries / (2 * end)) + entries // 2
    held = function(2 * end * (np.clip(index, 0, entries - 1) - entries / 2) / entries)
    return np.vectorize(lambda one: result.of(one) / 2**result.fraction)(held).astype(np.float32)


def linear(count, width, scale=1.0):
    torch.manual_seed(count)
    layer = nn.Linear(count, width)
    nn.init.normal_(layer.weight, 0, scale / math.sqrt(count))
    nn.init.normal_(layer.bias, 0, 0.3)
    return layer


def compared(layer, x, values, name="fc1"):
    net = nn.Sequential()
    net.add_module(name, layer)
    return probe.compare(net.eval(), {name: values}, x)


X = RNG.uniform(-2, 2, (12, 20)).astype(np.float32)
NARROW = {
    "accumulator": ({"accum": Fixed(18, 10)}, "accumulator: each of 20 products is cut off to 8"),
    "input": ({"data": Fixed(9, 4)}, "input's type: it is cut off to 5 fraction bits"),
    "weights": ({"weight": Fixed(8, 3)}, "weights' type: weights and biases are cut off to 5"),
    "all of one type": (
        {"data": Fixed(16, 6), "weight": Fixed(16, 6), "accum": Fixed(16, 6)},
        "10 fraction bits",
    ),
    "input and accumulator": (
        {"data": Fixed(9, 4), "weight": Fixed(22, 6), "accum": Fixed(17, 6)},
        "input's type: it is cut off to 5 fraction bits",
    ),
}


@pytest.mark.parametrize("case", NARROW)
def test_the_narrow_type_of_a_dense_layer_is_named(case):
    types, said = NARROW[case]
    layer = linear(20, 9)
    kernel, bias = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
    values = dense(X, kernel, bias, result=Fixed(22, 8), **types)
    comparison = compared(layer, X, values)
    (source,) = comparison.sources
    assert [one.slug for one in source.findings] == ["fixed-point"]
    assert said in source.findings[0].claim, source.findings[0].claim


def test_the_bits_that_would_do_do():
    """With the bits that the finding asks for, the accumulator moves nothing by half the last bit
    that the values show."""
    layer = linear(20, 9)
    kernel, bias = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
    narrow = dense(X, kernel, bias, accum=Fixed(17, 10), result=Fixed(18, 8))
    claim = compared(layer, X, narrow).sources[0].findings[0].claim
    bits = int(claim.rpartition("; ")[2].split()[0])
    wide = dense(X, kernel, bias, accum=Fixed(bits + 10, 10), result=WIDE)
    less = dense(X, kernel, bias, accum=Fixed(bits + 8, 10), result=WIDE)
    exact = X.astype(np.float64) @ kernel.astype(np.float64) + bias
    half = 0.5 * 2.0**-7
    assert np.abs(wide - exact).max() <= half < np.abs(less - exact).max()


def test_an_accumulator_that_wraps_is_named_with_the_integer_bits():
    layer = linear(20, 9, 4.0)
    kernel, bias = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
    values = dense(X, kernel, bias, accum=Fixed(24, 4), result=Fixed(26, 8))
    exact = X @ kernel + bias
    assert np.abs(exact).max() > 8
    finding = compared(layer, X, values).sources[0].findings[0]
    assert (finding.slug, *finding.also) == ("wrap-around", "fixed-point")
    enough = math.ceil(math.log2(np.abs(exact).max())) + 1
    assert f"(4 integer bits); {enough} would do" in finding.claim


def test_a_convolution_is_added_up_in_its_accumulator():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, padding=1)
    x = RNG.uniform(-1, 1, (2, 3, 6, 5)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 27)
    kernel = layer.weight.detach().numpy().reshape(4, 27).T
    flat = dense(columns, kernel, layer.bias.detach().numpy(), accum=Fixed(14, 5))
    values = flat.reshape(2, 6, 5, 4).transpose(0, 3, 1, 2).copy()
    finding = compared(layer, x, values, "conv").sources[0].findings[0]
    assert "accumulator: each of 27 products is cut off to 9 fraction bits" in finding.claim


@pytest.mark.parametrize(("layer", "function", "end"), [
    (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x)), 8.0),
    (nn.Tanh(), np.tanh, 4.0),
])  # fmt: skip
@pytest.mark.parametrize("entries", [256, 1024])
def test_a_coarse_table_is_named(layer, function, end, entries):
    x = RNG.normal(0, 2, (9, 40)).astype(np.float32)
    values = table(function, x, end, entries, Fixed(18, 8))
    finding = compared(layer, x, values).sources[0].findings[0]
    assert f"steps of {2 * end / entries:g} ({entries} entries over -{end:g} .. {end:g})" in (
        finding.claim
    )


def test_a_table_of_exp_that_tells_no_classes_apart_is_named():
    """hls4ml reads it by the highest bits of a type that the layer before made wide: every
    distance falls into its first entry."""
    x = RNG.normal(0, 1, (30, 5)).astype(np.float32)
    values = np.full(x.shape, math.floor(0.2 * 1024 + 1) / 1024, np.float32)
    comparison = compared(nn.Softmax(-1), x, values)
    finding = comparison.sources[0].findings[0]
    assert "the table of exp: distances to the largest value are read in steps of" in finding.claim
    [told] = [one for one in comparison.notes if "argmax" in one]
    assert told.endswith("none of them within rounding")


def test_a_result_that_is_cut_off_alone_is_named_as_such():
    layer = linear(20, 9)
    kernel, bias = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
    values = dense(X, kernel, bias, result=Fixed(12, 6))
    finding = compared(layer, X, values).sources[0].findings[0]
    assert "the output has 6 fraction bits" in finding.claim


def test_auto_of_a_configuration_is_the_type_of_the_model():
    """As config_from_keras_model writes it: "auto" everywhere, and the input as a layer."""
    net = nn.Sequential()
    net.add_module("fc1", linear(20, 9, 60.0))
    auto = {"result": "auto", "weight": "auto", "bias": "auto"}
    config = {
        "Model": {"Precision": {"default": "fixed<16,6>"}, "ReuseFactor": 1},
        "LayerName": {"input_layer": {"Precision": {"result": "fixed<8,1>"}},
                      "fc1": {"Trace": True, "Precision": auto}},
    }  # fmt: skip
    notes = probe.compare(net.eval(), net, X, types=config).notes
    assert any("input_layer, result fixed<8,1>" in one and "beyond [-1," in one for one in notes)
    assert any("fc1, accum fixed<16,6>" in one and "integer bits hold them" in one for one in notes)
    assert not any("no layer of the model" in one for one in notes)
