"""Faults planted in a framework's own layer: the layer says one thing and its output was computed
by another one.

Each row is (fault, layer, capture, wrong output). Inputs have both signs; sums have up to 2,304
terms.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tf_keras
import torch
from healthy import of_keras, of_torch
from torch import nn

from probe.model import Capture

__all__ = ["faults"]

F = nn.functional
Row = tuple[str, str, Capture, np.ndarray]


def bfloat16(w: np.ndarray) -> np.ndarray:
    return torch.from_numpy(w).bfloat16().float().numpy()


def tf32(w: np.ndarray) -> np.ndarray:
    """Ten bits of the fraction, to the nearest."""
    return ((np.ascontiguousarray(w).view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32)


def fixed_point(bits: int) -> Callable[[np.ndarray], np.ndarray]:
    """Weights as whole multiples of the step by which so many bits reach the largest of them."""

    def rounded(w: np.ndarray) -> np.ndarray:
        step = np.abs(w).max() / (2.0 ** (bits - 1) - 1)
        return (np.rint(w / step) * step).astype(np.float32)

    return rounded


def one_off(rank: float) -> Callable[[np.ndarray], np.ndarray]:
    """One weight off by 1 %: the one at that rank of all sizes, 0.5 the median and 1 the
    largest."""

    def changed(w: np.ndarray) -> np.ndarray:
        w = w.copy()
        order = np.argsort(np.abs(w), axis=None)
        w[np.unravel_index(order[int(rank * (w.size - 1))], w.shape)] *= np.float32(1.01)
        return w

    return changed


WEIGHTS = {
    "one weight off by 1 %": [one_off(rank) for rank in (0.5, 0.6, 0.75, 0.9, 1.0)],
    "weights in bfloat16": [bfloat16],
    "weights in TF32": [tf32],
    "weights in 16-bit fixed point": [fixed_point(16)],
    "weights in 12-bit fixed point": [fixed_point(12)],
    "weights in 8-bit fixed point": [fixed_point(8)],
}


def signed(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def torch_sums() -> Iterator[tuple[str, Any, np.ndarray]]:
    torch.manual_seed(0)
    yield "Linear of 64", nn.Linear(64, 10), signed(8, 64)
    yield "Linear of 2304", nn.Linear(2304, 16), signed(8, 2304)
    yield "Conv1d of 3 x 5", nn.Conv1d(3, 8, 5), signed(2, 3, 20)
    yield "Conv2d of 3 x 3 x 3", nn.Conv2d(3, 8, 3, padding=1), signed(1, 3, 12, 12)
    yield "Conv2d of 256 x 3 x 3", nn.Conv2d(256, 8, 3, padding=1), signed(1, 256, 7, 7)
    yield "depthwise Conv2d", nn.Conv2d(16, 16, 3, padding=1, groups=16), signed(1, 16, 9, 9)
    yield "Conv3d of 4 x 3 x 3 x 3", nn.Conv3d(4, 5, 3), signed(1, 4, 6, 6, 6)


def keras_sums() -> Iterator[tuple[str, Any, np.ndarray]]:
    keras.utils.set_random_seed(0)
    yield "Dense of 2304", keras.layers.Dense(16), signed(8, 2304)
    yield "Conv2D of 3 x 3 x 3", keras.layers.Conv2D(8, 3, padding="same"), signed(1, 12, 12, 3)
    yield "Conv2D of 3 x 3 x 256", keras.layers.Conv2D(8, 3, padding="same"), signed(1, 7, 7, 256)
    yield "DepthwiseConv2D", keras.layers.DepthwiseConv2D(3), signed(1, 9, 9, 16)


def in_sums() -> Iterator[Row]:
    """Weights and biases of PyTorch's and Keras' own layers."""
    for name, layer, x in torch_sums():
        with torch.no_grad():
            layer.bias.normal_()
        (capture,) = of_torch(layer, x)
        for fault, changes in {**WEIGHTS, "one bias missing": [one_missing]}.items():
            for change in changes:
                wrong = copy.deepcopy(layer)
                tensor = wrong.bias if change is one_missing else wrong.weight
                tensor.data = torch.from_numpy(change(tensor.detach().numpy()))
                yield fault, name, capture, wrong(torch.from_numpy(x)).detach().numpy()
    for name, layer, x in keras_sums():
        layer.build(x.shape)
        kernel, bias = layer.get_weights()
        bias = signed(*bias.shape, seed=1)
        layer.set_weights([kernel, bias])
        (capture,) = of_keras(layer, x)
        for fault, changes in {**WEIGHTS, "one bias missing": [one_missing]}.items():
            for change in changes:
                layer.set_weights(
                    [kernel, change(bias)] if change is one_missing else [change(kernel), bias]
                )
                yield fault, name, capture, np.asarray(layer(x))
        layer.set_weights([kernel, bias])


def one_missing(bias: np.ndarray) -> np.ndarray:
    """The bias of median size left out."""
    bias = bias.copy()
    bias[np.argsort(np.abs(bias))[bias.size // 2]] = 0
    return bias


def in_normalisations() -> Iterator[Row]:
    for seed, channels in enumerate((4, 64)):
        x = signed(2, channels, 8, 8)
        right, wrong = nn.BatchNorm2d(channels, eps=1e-3), nn.BatchNorm2d(channels, eps=1e-5)
        torch.manual_seed(seed)
        right.running_var.uniform_(0.2, 2)
        right.running_mean.normal_()
        wrong.load_state_dict(right.state_dict())
        (capture,) = of_torch(right, x)
        yield (
            "batch-norm eps 1e-5 for 1e-3",
            "BatchNorm2d",
            capture,
            wrong.eval()(torch.from_numpy(x)).detach().numpy(),
        )
        layers = [keras.layers.BatchNormalization(epsilon=epsilon) for epsilon in (1e-3, 1e-5)]
        last = signed(2, 8, 8, channels)
        for layer in layers:
            layer.build(last.shape)
            layer.set_weights(
                [
                    np.ones(channels),
                    np.zeros(channels),
                    right.running_mean.numpy(),
                    right.running_var.numpy(),
                ]
            )
        (capture,) = of_keras(layers[0], last)
        yield (
            "batch-norm eps 1e-5 for 1e-3",
            "BatchNormalization",
            capture,
            np.asarray(layers[1](last)),
        )
    for width, offset in ((16, 0), (768, 0), (768, 10), (768, 100)):
        x = signed(32, width) + np.float32(offset)
        (capture,) = of_torch(nn.LayerNorm(width, elementwise_affine=False), x)
        t = torch.from_numpy(x)
        wrong = (t - t.mean(1, keepdim=True)) / torch.sqrt(
            t.var(1, correction=1, keepdim=True) + 1e-5
        )
        yield (
            "layer-norm with ddof 1",
            f"LayerNorm of {width}, mean {offset}",
            capture,
            wrong.numpy(),
        )
        (capture,) = of_keras(keras.layers.LayerNormalization(epsilon=1e-5), x)
        yield (
            "layer-norm with ddof 1",
            f"LayerNormalization of {width}, mean {offset}",
            capture,
            wrong.numpy(),
        )


def in_activations() -> Iterator[Row]:
    x = signed(4, 100)
    (capture,) = of_torch(nn.GELU(), x)
    yield "tanh-GELU", "GELU", capture, nn.GELU(approximate="tanh")(torch.from_numpy(x)).numpy()
    (capture,) = of_keras(keras.layers.Activation("gelu"), x)
    yield (
        "tanh-GELU",
        "Activation",
        capture,
        np.asarray(keras.activations.gelu(x, approximate=True)),
    )
    others = (("Keras 3", keras, tf_keras), ("Keras 2", tf_keras, keras))
    for name, right, other in others:
        (capture,) = of_keras(right.layers.Activation("hard_sigmoid"), x)
        yield (
            "hard_sigmoid of the other Keras",
            name,
            capture,
            np.asarray(other.layers.Activation("hard_sigmoid")(x)),
        )


def in_padding() -> Iterator[Row]:
    for size, kernel, stride in ((8, 3, 2), (12, 5, 2), (9, 4, 1)):
        keras.utils.set_random_seed(0)
        layer, x = (
            keras.layers.Conv2D(5, kernel, strides=stride, padding="same"),
            signed(2, size, size, 3),
        )
        (capture,) = of_keras(layer, x)
        total = (-(-size // stride) - 1) * stride + kernel - size
        w = torch.from_numpy(np.asarray(layer.kernel).transpose(3, 2, 0, 1).copy())
        y = F.conv2d(torch.from_numpy(x).permute(0, 3, 1, 2), w, None, stride, -(-total // 2))
        shape = capture.outputs[0].shape
        yield (
            "symmetric for asymmetric padding",
            "Conv2D",
            capture,
            y.permute(0, 2, 3, 1).numpy()[:, : shape[1], : shape[2]],
        )


def in_accumulation() -> Iterator[Row]:
    """A dense layer of PyTorch that keeps its running sum in float16, with products in float16 or
    in float32."""
    torch.manual_seed(0)
    layer, x = nn.Linear(1024, 16, bias=False), signed(8, 1024)
    (capture,) = of_torch(layer, x)
    w = layer.weight.detach().numpy()
    for narrow in (np.float16, np.float32):
        total = np.zeros((8, 16), np.float16)
        for k in range(1024):
            total = (total + (x[:, k, None] * w[:, k]).astype(narrow)).astype(np.float16)
        yield (
            "float16 accumulation over 1,024 terms",
            "Linear of 1024",
            capture,
            total.astype(np.float32),
        )


def faults() -> Iterator[Row]:
    for family in (in_sums, in_normalisations, in_activations, in_padding, in_accumulation):
        yield from family()
