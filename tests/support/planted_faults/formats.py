"""Mistakes planted in number formats: narrower floats, quantisers, integers."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import qkeras
import tf_keras
import torch
from planting import (
    F,
    Rows,
    draw,
    kernel_bias,
    last,
    nn,
    parameters,
    planter,
    rng,
    same_pad,
    t,
    tf32,
    torch_layer,
)

ROWS: Rows = []
plant = planter(ROWS)


@plant("reduced-precision", "Linear")
def tensor_cores():
    layer, x = torch_layer(nn.Linear, 200, 30), draw(9, 200)
    w, b = (part.numpy() for part in parameters(layer))
    return layer, x, tf32(x) @ tf32(w).T + b


@plant("reduced-precision", "Linear")
def half_output():
    layer, x = torch_layer(nn.Linear, 200, 30), draw(9, 200)
    return layer, x, F.linear(t(x), *parameters(layer)).half().float().numpy()


@plant("reduced-precision", "Linear")
def brain_output():
    layer, x = torch_layer(nn.Linear, 200, 30), draw(9, 200)
    return (
        layer,
        x,
        F.linear(t(x), *parameters(layer)).numpy().astype(ml_dtypes.bfloat16).astype(np.float32),
    )


def _quantised(kind: Any, x: np.ndarray, *args: Any, bits: int = 0, **options: Any) -> Any:
    tf_keras.utils.set_random_seed(0)
    kernel, bias = ((bits, 0), (bits, 0)) if bits else ((4, 0), (6, 1))
    quantizers = {
        "kernel_quantizer": qkeras.quantized_bits(*kernel, 1, alpha=1),
        "bias_quantizer": qkeras.quantized_bits(*bias, 1, alpha=1),
    }
    layer = kind(*args, **quantizers, **options)
    layer(x)
    layer.set_weights(
        [draw(*w.shape, seed=i + 1, scale=0.4) for i, w in enumerate(layer.get_weights())]
    )
    return layer


@plant("raw-weights", "QConv2D")
def raw_convolution():
    x = draw(2, 8, 9, 3)
    layer = _quantised(qkeras.QConv2D, x, 5, 3, padding="same")
    return layer, x, last(F.conv2d(same_pad(x, 3, 1), *kernel_bias(layer)))


@plant("raw-weights", "QConv2D")
def raw_kernel_alone():
    x = draw(2, 8, 9, 3)
    layer = _quantised(qkeras.QConv2D, x, 5, 3, padding="same")
    w, b = kernel_bias(layer)
    return (
        layer,
        x,
        last(F.conv2d(same_pad(x, 3, 1), w, t(np.array(layer.bias_quantizer_internal(b.numpy()))))),
    )


@plant("raw-weights", "QDense")
def raw_dense():
    x = draw(7, 20)
    layer = _quantised(qkeras.QDense, x, 6)
    w, b = layer.get_weights()
    return layer, x, x @ w + b


@plant("rounding-mode", "QDense")
def floored_kernel():
    x = draw(7, 20)
    layer = _quantised(qkeras.QDense, x, 6)
    w, b = layer.get_weights()
    low = np.clip(np.floor(w * 8), -7, 7) / 8
    return layer, x, x @ low.astype(np.float32) + np.array(layer.bias_quantizer_internal(b))


@plant("rounding-mode", "QActivation")
def floored_activation():
    x = draw(7, 40, scale=2)
    return (
        qkeras.QActivation(qkeras.quantized_bits(5, 1, alpha=1)),
        x,
        np.clip(np.floor(x * 8), -16, 15) / 8,
    )


@plant("rounding-mode", "QActivation")
def half_away():
    x = np.round(draw(7, 40, scale=2) * 16).astype(np.float32) / 16
    return (
        qkeras.QActivation(qkeras.quantized_bits(5, 1, alpha=1)),
        x,
        np.clip(np.copysign(np.floor(np.abs(x) * 8 + 0.5), x), -16, 15) / 8,
    )


@plant("missing-activation", "QActivation")
def unquantised():
    x = draw(7, 40, scale=2)
    return qkeras.QActivation(qkeras.quantized_bits(5, 1, alpha=1)), x, x


@plant("raw-weights", "weight_norm")
def spectral_raw():
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(12, 7))
    layer.parametrizations.weight.original0.data.mul_(1.7)
    x = draw(5, 12)
    return (
        layer.eval(),
        x,
        F.linear(
            t(x), layer.parametrizations.weight.original1.detach(), layer.bias.detach()
        ).numpy(),
    )


def _fixed(
    layer: Any,
    x: np.ndarray,
    fraction: int,
    shift: Callable[[np.ndarray], np.ndarray],
    low: int,
    high: int,
) -> np.ndarray:
    """A dense layer in 64-bit integers: values of ``fraction`` bits, products of twice that, one
    shift back."""
    w, b = (
        np.rint(part.numpy().astype(np.float64) * 2**fraction).astype(np.int64)
        for part in parameters(layer)
    )
    codes = np.rint(x.astype(np.float64) * 2**fraction).astype(np.int64)
    return np.clip(shift(codes @ w.T + (b << fraction)), low, high) / 2**fraction


@plant("fixed-point", "Linear")
def integer_floor():
    layer, x = torch_layer(nn.Linear, 12, 9), draw(8, 12)
    return layer, x, _fixed(layer, x, 8, lambda acc: acc >> 8, -(1 << 15), (1 << 15) - 1)


@plant("fixed-point", "Linear")
def integer_half_up():
    layer, x = torch_layer(nn.Linear, 12, 9), draw(8, 12)
    return layer, x, _fixed(layer, x, 6, lambda acc: (acc + 32) >> 6, -(1 << 15), (1 << 15) - 1)


@plant("raw-integers", "Linear")
def integers_of_16_bits():
    layer, x = torch_layer(nn.Linear, 12, 9), draw(8, 12)
    return (
        layer,
        x,
        np.floor(layer(t(x)).detach().numpy().astype(float) * 1024 + 0.5).astype("int16"),
    )


@plant("printed-digits", "Linear")
def printed_with_percent_f():
    layer, x = torch_layer(nn.Linear, 12, 9), draw(8, 12)
    y = layer(t(x)).detach().numpy()
    return layer, x, np.array([float(f"{one:.4f}") for one in y.ravel()]).reshape(y.shape)


@plant("saturation", "Linear")
def integer_saturating():
    layer, x = torch_layer(nn.Linear, 12, 9), draw(8, 12)
    return layer, x, _fixed(layer, x, 7, lambda acc: acc >> 7, -128, 127)


@plant("wrap-around", "Linear")
def integer_wrapping():
    layer, x = torch_layer(nn.Linear, 12, 9), draw(8, 12)
    codes = _fixed(layer, x, 7, lambda acc: acc >> 7, -(1 << 15), (1 << 15) - 1) * 2**7
    return layer, x, ((codes.astype(np.int64) + 128) % 256 - 128) / 2**7


@plant("saturation", "Conv2d")
def rounded_and_clipped():
    layer, x = torch_layer(nn.Conv2d, 3, 5, 3, padding=1), draw(2, 3, 9, 8)
    codes = torch.floor(F.conv2d(t(x), *parameters(layer), padding=1).double() * 32 + 0.5)
    return layer, x, (codes.clamp(-32, 31) / 32).numpy()


@plant("wrap-around", "Conv2d")
def truncated_and_wrapped():
    layer, x = torch_layer(nn.Conv2d, 3, 5, 3, padding=1), draw(2, 3, 9, 8)
    codes = torch.floor(F.conv2d(t(x), *parameters(layer), padding=1).double() * 64)
    return layer, x, ((codes + 32).remainder(64) / 64 - 0.5).numpy()


@plant("reduced-precision", "Linear")
def half_accumulator():
    """One float16 product after another, as a C loop over _Float16 does."""
    layer, x = torch_layer(nn.Linear, 60, 9), draw(8, 60)
    w, b = (part.numpy().astype(np.float16) for part in parameters(layer))
    total = np.zeros((8, 9), np.float16)
    for i in range(60):
        total = total + x.astype(np.float16)[:, i, None] * w[None, :, i]
    return layer, x, (total + b).astype(np.float32)


@plant("reduced-precision", "Conv2d")
def brain_accumulator():
    """Taps one after another for each channel, in PyTorch's bfloat16."""
    layer, x = torch_layer(nn.Conv2d, 3, 5, 3), draw(2, 3, 7, 6)
    w, b = (part.bfloat16() for part in parameters(layer))
    total = torch.zeros(2, 5, 5, 4, dtype=torch.bfloat16)
    for channel in range(3):
        for i in range(3):
            for j in range(3):
                total += (
                    t(x).bfloat16()[:, channel, None, i : i + 5, j : j + 4]
                    * w[None, :, channel, i, j, None, None]
                )
    return layer, x, (total + b[:, None, None]).float().numpy()


def _flips(layer: Any, thresholds: tuple[float, ...]) -> tuple:
    """QKeras' own quantiser on inputs that the user's layer before moved across thresholds by less
    than 2^-18 of them."""
    x = draw(8, 40)
    places = [(1 + 2 * i, 3 + 5 * i) for i in range(len(thresholds))]
    mine = x.copy()
    for place, threshold in zip(places, thresholds, strict=True):
        x[place] = np.float32(threshold * (1 - 2**-20))
        mine[place] = np.float32(threshold * (1 + 2**-20))
    return layer, x, np.array(layer(mine))


@plant("boundary-flip", "QActivation")
def flipped_bits():
    return _flips(
        qkeras.QActivation(qkeras.quantized_bits(4, 0, alpha=1)), (0.1875, 0.4375, -0.5625)
    )


@plant("boundary-flip", "QActivation")
def flipped_ternary():
    return _flips(qkeras.QActivation(qkeras.ternary(alpha=1.0, threshold=0.5)), (0.5, -0.5))


@plant("boundary-flip", "QActivation")
def flipped_tanh():
    return _flips(qkeras.QActivation(qkeras.quantized_tanh(5)), (0.28125, -0.65625))


def fake_quantize(size: float, zero_point: int, kind: torch.dtype = torch.qint8) -> Any:
    """PyTorch's own, with the scale and the zero point that it was given."""
    ends = torch.iinfo(kind)
    layer = torch.ao.quantization.FakeQuantize(
        torch.ao.quantization.MinMaxObserver, ends.min, ends.max, dtype=kind
    )
    torch.ao.quantization.disable_observer(layer)
    layer.scale.fill_(size)
    layer.zero_point.fill_(zero_point)
    return layer.eval()


@plant("boundary-flip", "FakeQuantize")
def flipped_fake():
    layer = fake_quantize(0.03125, 128, torch.quint8)
    x = draw(8, 40)
    x[2, 3], x[5, 7] = 0.03125 * 3.5 * (1 - 2**-20), 0.03125 * 8.5 * (1 + 2**-20)
    mine = x.copy()
    mine[2, 3], mine[5, 7] = 0.03125 * 3.5 * (1 + 2**-20), 0.03125 * 8.5 * (1 - 2**-20)
    return layer, x, layer(t(mine)).detach().numpy()


@plant("rounding-mode", "FakeQuantize")
def levels_cut_off():
    """A cast to an integer."""
    layer, x = fake_quantize(0.0625, -3), draw(8, 40, scale=2)
    return layer, x, (np.clip(np.trunc(x * 16) - 3, -128, 127) + 3) * np.float32(0.0625)


def twice_rounded(sums: np.ndarray, multiplier: float, zero_point: int) -> np.ndarray:
    """Sums of integers brought to int8 by a multiplier of 31 bits and a shift, rounding after
    each."""
    shift = int(np.ceil(-np.log2(multiplier))) - 1
    product = sums.astype(np.int64) * round(multiplier * 2**shift * 2**31)
    high = (product + 2**30) >> 31
    half = 1 << (shift - 1)
    return np.clip(np.sign(high) * ((np.abs(high) + half) >> shift) + zero_point, -128, 127)


@plant("rounding-mode", "FakeQuantize")
def integers_rounded_twice():
    layer, unit = fake_quantize(0.11, 5), 0.0004937
    sums = rng(3).integers(-20000, 20000, (16, 500))
    codes = twice_rounded(sums, unit / float(layer.scale[0]), 5)
    return layer, (sums * unit).astype(np.float32), (codes - 5) * layer.scale.numpy()


@plant("swapped-parameters", "QDense")
def bias_as_the_kernel():
    x = draw(7, 20)
    layer = _quantised(qkeras.QDense, x, 6)
    w, b = (np.array(layer.kernel_quantizer_internal(one)) for one in layer.get_weights())
    return layer, x, x @ w + b


@plant("few-digits", "Linear")
def printed_by_c():
    layer, x = torch_layer(nn.Linear, 200, 30), draw(9, 200, scale=9)
    w, b = (
        np.array([float(f"{value:f}") for value in part.numpy().ravel()]).reshape(part.shape)
        for part in parameters(layer)
    )
    return layer, x, (x @ w.T + b).astype(np.float32)


@plant("few-digits", "Conv2d")
def four_digits_in_all():
    layer, x = torch_layer(nn.Conv2d, 3, 5, 3, padding=1), draw(2, 3, 9, 8)
    w, b = (
        t(np.array([float(f"{value:.4g}") for value in part.numpy().ravel()], np.float32)).view(
            part.shape
        )
        for part in parameters(layer)
    )
    return layer, x, F.conv2d(t(x), w, b, padding=1).numpy()


@plant("few-digits", "QDense")
def printed_and_cut():
    """Six digits behind the point are one too few for an odd number of steps of 2^-7."""
    x = draw(7, 20)
    layer = _quantised(qkeras.QDense, x, 6, bits=8)
    w, b = (
        layer.kernel_quantizer_internal(layer.kernel),
        layer.bias_quantizer_internal(layer.bias),
    )
    texts = (
        np.array([float(f"{value:f}") for value in np.ravel(one)]).reshape(one.shape)
        for one in (w, b)
    )
    w, b = (np.floor(text * 128) / 128 for text in texts)
    return layer, x, (x @ w + b).astype(np.float32)
