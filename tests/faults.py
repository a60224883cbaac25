"""Mistakes planted on purpose: in a framework, by another option or another call, or in arithmetic of the test's own.

Each row is (slug, layer family, function); the function gives (layer, the layer's input, wrong output). None is planted by the
edit of a hypothesis. ``python tests/faults.py`` writes the confusion table of docs/causes.md.
"""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
import qkeras
import scipy.signal
import tf_keras
import torch

import probe
from probe.hypotheses import REGISTERED

F = torch.nn.functional
nn = torch.nn
ROWS: list[tuple[str, str, Callable[[], tuple[Any, np.ndarray, Any]]]] = []


def plant(slug: str, family: str) -> Callable:
    def register(function: Callable) -> Callable:
        ROWS.append((slug, family, function))
        return function

    return register


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (scale * rng(seed).normal(size=shape)).astype(np.float32)


def torch_layer(kind: type, *args: Any, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    layer = kind(*args, **options).eval()
    for name, tensor in layer.state_dict().items():
        if name.startswith("running_var"):
            tensor.uniform_(0.01, 2.0)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm) and tensor.dtype.is_floating_point:
            tensor.normal_(1.0 if name == "weight" else 0.3, 0.5)
    return layer


def keras_layer(kind: Any, x: np.ndarray, *args: Any, seed: int = 0, **options: Any) -> Any:
    keras.utils.set_random_seed(seed)
    layer = kind(*args, **options)
    layer(x)
    layer.set_weights([draw(*w.shape, seed=seed + i + 1, scale=0.5) for i, w in enumerate(layer.get_weights())])
    return layer


def parameters(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return layer.weight.detach(), layer.bias.detach()


def t(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def same_pad(x: np.ndarray, kernel: int, stride: int) -> torch.Tensor:
    """Channels-last x as channels-first, padded as TensorFlow's "same" does."""
    first = t(x).permute(0, 3, 1, 2)
    pads = []
    for size in reversed(first.shape[2:]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(first, pads)


def last(y: torch.Tensor) -> np.ndarray:
    return y.permute(0, 2, 3, 1).numpy()


# Convolutions and dense layers of PyTorch, each with its weights used wrongly.

SUMS = {
    "Conv1d": (lambda: torch_layer(nn.Conv1d, 3, 5, 4, padding=2), (2, 3, 17), F.conv1d, {"padding": 2}),
    "Conv2d": (lambda: torch_layer(nn.Conv2d, 3, 5, (3, 3), padding=1), (2, 3, 9, 8), F.conv2d, {"padding": 1}),
    "Conv2d, stride 2": (
        lambda: torch_layer(nn.Conv2d, 4, 6, 3, padding=1, stride=2),
        (2, 4, 9, 12),
        F.conv2d,
        {"padding": 1, "stride": 2},
    ),
    "Conv2d, groups": (lambda: torch_layer(nn.Conv2d, 4, 6, 3, padding=1, groups=2), (2, 4, 9, 8), F.conv2d, {"padding": 1, "groups": 2}),
    "depthwise Conv2d": (lambda: torch_layer(nn.Conv2d, 4, 4, 3, padding=1, groups=4), (2, 4, 9, 8), F.conv2d, {"padding": 1, "groups": 4}),
    "Conv3d": (lambda: torch_layer(nn.Conv3d, 2, 3, 3, padding=1), (1, 2, 5, 6, 7), F.conv3d, {"padding": 1}),
}


def _sum(slug: str, family: str, wrong: Callable) -> None:
    make, shape, function, options = SUMS[family]

    def row():
        layer, x = make(), draw(*shape)
        return layer, x, wrong(function, t(x), *parameters(layer), options).numpy()

    ROWS.append((slug, family, row))


for _family in SUMS:
    _spatial = tuple(range(2, {"Conv1d": 3, "Conv3d": 5}.get(_family, 4)))
    _sum("missing-bias", _family, lambda f, x, w, b, o: f(x, w, None, **o))
    _sum("missing-bias", _family, lambda f, x, w, b, o: f(x, w, 2 * b, **o))
    _sum("flipped-kernel", _family, lambda f, x, w, b, o, axes=_spatial: f(x, w.flip(axes), b, **o))
    if len(_spatial) > 1:
        _sum("transposed-kernel", _family, lambda f, x, w, b, o: f(x, w.transpose(2, 3).contiguous(), b, **o))
    _sum("extra-activation", _family, lambda f, x, w, b, o: f(x, w, b, **o).relu())
    _sum("extra-activation", _family, lambda f, x, w, b, o: f(x, w, b, **o).sigmoid())
    _sum("transposed-output", _family, lambda f, x, w, b, o: f(x, w, b, **o).movedim(1, -1))
    _sum("reduced-precision", _family, lambda f, x, w, b, o: f(x.bfloat16().float(), w.bfloat16().float(), b, **o))
    _sum("reduced-precision", _family, lambda f, x, w, b, o: f(x, w.half().float(), b, **o))
    _sum("scaled-input", _family, lambda f, x, w, b, o: f(x / 255, w, b, **o))
    _sum("scaled-input", _family, lambda f, x, w, b, o: f(1.7 * x - 0.4, w, b, **o))
    _sum("reversed-channels", _family, lambda f, x, w, b, o: f(x.flip(1), w, b, **o))
    _sum("missing-padding", _family, lambda f, x, w, b, o: f(x, w, b, **{**o, "padding": 0}))
    if "Conv3d" not in _family:
        _sum(
            "padding-value",
            _family,
            lambda f, x, w, b, o: f(F.pad(x, [o["padding"]] * 2 * (x.ndim - 2), "reflect"), w, b, **{**o, "padding": 0}),
        )
    _sum("saturation", _family, lambda f, x, w, b, o: f(x, w, b, **o).clamp(-0.5, 0.5 - 2**-8))
_sum("ignored-stride", "Conv2d, stride 2", lambda f, x, w, b, o: f(x, w, b, padding=1))
_sum("ignored-stride", "Conv2d, stride 2", lambda f, x, w, b, o: f(x, w, b, padding=1)[:, :, :5, :6])
_sum("ignored-groups", "Conv2d, groups", lambda f, x, w, b, o: f(x[:, :2], w, b, padding=1))
_sum("group-axis", "Conv2d, groups", lambda f, x, w, b, o: f(x[:, [0, 2, 1, 3]], w, b, **o))
_sum("different-input", "Conv2d", lambda f, x, w, b, o: f(x.flip(0), w, b, **o))
_sum("different-input", "Conv2d", lambda f, x, w, b, o: f(x, w, b, **o)[0])
_sum("wrap-around", "Conv2d", lambda f, x, w, b, o: (f(x, w, b, **o) + 0.5).remainder(1) - 0.5)
_sum("missing-padding", "Conv2d", lambda f, x, w, b, o: f(F.pad(x, (0, 2, 0, 2)), w, b))


@plant("flipped-kernel", "Conv2d")
def scipy_convolve():
    layer, x = torch_layer(nn.Conv2d, 3, 5, 3), draw(2, 3, 9, 8)
    w, b = (part.numpy() for part in parameters(layer))
    planes = [[sum(scipy.signal.convolve2d(one[i], k[i], "valid") for i in range(3)) for k in w] for one in x]
    return layer, x, np.array(planes) + b[:, None, None]


@plant("flipped-kernel", "Conv1d")
def numpy_convolve():
    layer, x = torch_layer(nn.Conv1d, 1, 1, 5, padding=2), draw(1, 1, 40)
    w, b = (part.numpy() for part in parameters(layer))
    return layer, x, np.convolve(x[0, 0], w[0, 0], "same")[None, None] + b[0]


@plant("ignored-dilation", "Conv2d")
def no_dilation():
    layer, x = torch_layer(nn.Conv2d, 3, 5, 3, dilation=2, padding=2), draw(2, 3, 9, 8)
    return layer, x, F.conv2d(t(x), *parameters(layer), padding=1).numpy()


@plant("transposed-kernel", "Conv2d")
def buffer_order():
    layer, x = torch_layer(nn.Conv2d, 3, 5, (2, 3)), draw(2, 3, 9, 8)
    w, b = parameters(layer)
    read = w.permute(2, 3, 1, 0).contiguous().numpy().ravel().reshape(w.shape)
    return layer, x, F.conv2d(t(x), t(read), b).numpy()


@plant("flatten-order", "Linear")
def channels_last_rows():
    layer, x = torch_layer(nn.Linear, 60, 7), draw(4, 3, 4, 5)
    flat = x.transpose(0, 2, 3, 1).reshape(4, -1)
    return layer, x.reshape(4, -1), F.linear(t(flat), *parameters(layer)).numpy()


@plant("flatten-order", "Flatten")
def flatten_last():
    x = draw(2, 3, 4, 5)
    return nn.Flatten(), x, x.transpose(0, 2, 3, 1).reshape(2, -1)


LINEAR = {
    "missing-bias": lambda x, w, b: x @ w.T,
    "transposed-kernel": lambda x, w, b: x @ w + b,
    "extra-activation": lambda x, w, b: (x @ w.T + b).softmax(-1),
    "reduced-precision": lambda x, w, b: (x.bfloat16().float() @ w.bfloat16().float().T) + b,
    "scaled-input": lambda x, w, b: (255 * x) @ w.T + b,
    "reversed-channels": lambda x, w, b: x.flip(1) @ w.T + b,
    "different-input": lambda x, w, b: x.roll(1, 0) @ w.T + b,
    "transposed-output": lambda x, w, b: (x @ w.T + b).T,
    "saturation": lambda x, w, b: (x @ w.T + b).clamp(-0.75, 0.75),
    "fixed-point": lambda x, w, b: ((x @ w.T + b) * 64).floor() / 64,
}
for _slug, _wrong in LINEAR.items():

    def _linear(wrong=_wrong):
        layer, x = torch_layer(nn.Linear, 12, 12), draw(9, 12)
        return layer, x, wrong(t(x), *parameters(layer)).contiguous().numpy()

    ROWS.append((_slug, "Linear", _linear))


# Keras: the same layer with another option, or PyTorch with its weights.


def kernel_bias(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    w, b = (np.array(one) for one in layer.get_weights())
    return t(w).permute(3, 2, 0, 1).contiguous(), t(b)


@plant("symmetric-padding", "Keras Conv2D")
def torch_habit():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, strides=2, padding="same")
    return layer, x, last(F.conv2d(t(x).permute(0, 3, 1, 2), *kernel_bias(layer), stride=2, padding=1))


@plant("symmetric-padding", "PyTorch Conv2d")
def tensorflow_habit():
    layer, x = torch_layer(nn.Conv2d, 3, 5, 3, stride=2, padding=1), draw(2, 3, 8, 10)
    return layer, x, F.conv2d(F.pad(t(x), (0, 1, 0, 1)), *parameters(layer), stride=2).numpy()


@plant("padding-on-other-side", "Keras Conv2D")
def same_lower():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 4, padding="same")
    return layer, x, last(F.conv2d(F.pad(t(x).permute(0, 3, 1, 2), (2, 1, 2, 1)), *kernel_bias(layer)))


@plant("missing-activation", "Keras Conv2D")
def linear_conv():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same", activation="relu")
    return layer, x, last(F.conv2d(same_pad(x, 3, 1), *kernel_bias(layer)))


@plant("other-activation", "Keras Conv2D")
def relu6_conv():
    x = draw(2, 8, 10, 3, scale=3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same", activation="relu")
    return layer, x, last(F.relu6(F.conv2d(same_pad(x, 3, 1), *kernel_bias(layer))))


@plant("missing-bias", "Keras Conv2D with ReLU")
def relu_without_bias():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same", activation="relu")
    return layer, x, last(F.relu(F.conv2d(same_pad(x, 3, 1), kernel_bias(layer)[0])))


@plant("transposed-kernel", "Keras Conv2D")
def width_height():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same")
    w, b = kernel_bias(layer)
    return layer, x, last(F.conv2d(same_pad(x, 3, 1), w.transpose(2, 3), b))


@plant("transposed-kernel", "Keras Conv2D")
def reshaped_kernel():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same")
    w, b = layer.get_weights()
    return layer, x, last(F.conv2d(same_pad(x, 3, 1), t(np.array(w).reshape(5, 3, 3, 3)), t(np.array(b))))


@plant("transposed-output", "Keras Conv2D")
def channels_first_output():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same")
    return layer, x, np.array(layer(x)).transpose(0, 3, 1, 2)


@plant("flipped-kernel", "Keras Conv1D")
def keras_convolve():
    x = draw(1, 30, 1)
    layer = keras_layer(keras.layers.Conv1D, x, 1, 3, padding="valid")
    w, b = (np.array(one) for one in layer.get_weights())
    return layer, x, (np.convolve(x[0, :, 0], w[:, 0, 0], "valid") + b)[None, :, None]


@plant("missing-bias", "Keras SeparableConv2D")
def separable_bias():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.SeparableConv2D, x, 5, 3, padding="valid")
    depth, point, _ = (np.array(one) for one in layer.get_weights())
    middle = F.conv2d(t(x).permute(0, 3, 1, 2), t(depth.transpose(2, 3, 0, 1)), groups=3)
    return layer, x, last(F.conv2d(middle, t(point.transpose(3, 2, 0, 1))))


@plant("flipped-kernel", "Keras DepthwiseConv2D")
def depthwise_flip():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.DepthwiseConv2D, x, 3, padding="valid")
    w, b = (np.array(one) for one in layer.get_weights())
    return layer, x, last(F.conv2d(t(x).permute(0, 3, 1, 2), t(w.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1].copy()), t(b), groups=3))


@plant("missing-activation", "Keras Dense")
def dense_logits():
    x = draw(6, 12)
    layer = keras_layer(keras.layers.Dense, x, 7, activation="softmax")
    w, b = (np.array(one) for one in layer.get_weights())
    return layer, x, x @ w + b


@plant("wrong-axis", "Keras Softmax")
def softmax_axis():
    x = draw(4, 5, 6)
    return keras.layers.Softmax(axis=-1), x, F.softmax(t(x), 1).numpy()


@plant("hard-sigmoid-definition", "Keras Activation")
def keras_two_sigmoid():
    x = draw(4, 50, scale=3)
    return keras.layers.Activation("hard_sigmoid"), x, np.array(tf_keras.layers.Activation("hard_sigmoid")(x))


@plant("hard-sigmoid-definition", "tf_keras Activation")
def keras_three_sigmoid():
    x = draw(4, 50, scale=3)
    return tf_keras.layers.Activation("hard_sigmoid"), x, F.hardsigmoid(t(x)).numpy()


@plant("gelu-approximation", "GELU")
def tanh_gelu():
    x = draw(4, 50)
    return nn.GELU(), x, F.gelu(t(x), approximate="tanh").numpy()


@plant("gelu-approximation", "GELU")
def sigmoid_gelu():
    x = draw(4, 50)
    return nn.GELU(), x, x / (1 + np.exp(-1.702 * x))


@plant("other-slope", "LeakyReLU")
def keras_slope():
    x = draw(4, 50)
    return nn.LeakyReLU(0.01), x, np.array(tf_keras.layers.LeakyReLU()(x))


@plant("other-slope", "LeakyReLU")
def odd_slope():
    x = draw(4, 50)
    return nn.LeakyReLU(0.01), x, F.leaky_relu(t(x), 0.137).numpy()


@plant("other-slope", "ELU")
def elu_alpha():
    x = draw(4, 50)
    return nn.ELU(1.0), x, F.elu(t(x), 0.5).numpy()


@plant("missing-activation", "ReLU")
def no_relu():
    x = draw(4, 50)
    return nn.ReLU(), x, x


@plant("other-activation", "Tanh")
def sigmoid_for_tanh():
    x = draw(4, 50)
    return nn.Tanh(), x, torch.sigmoid(t(x)).numpy()


@plant("other-activation", "SiLU")
def mish_for_silu():
    x = draw(4, 50)
    return nn.SiLU(), x, F.mish(t(x)).numpy()


# Normalisation.


def _batch_norm(x: np.ndarray, layer: Any, **changes: Any) -> np.ndarray:
    parts = {
        "weight": layer.weight,
        "bias": layer.bias,
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
        "eps": layer.eps,
    }
    return F.batch_norm(t(x), **{**parts, **changes}).detach().numpy()


BATCH_NORM: dict[str, list[Callable]] = {
    "other-epsilon": [lambda n: {"eps": 1e-3}, lambda n: {"eps": 1e-6}, lambda n: {"eps": 0.0042}],
    "missing-parameter": [lambda n: {"weight": None}, lambda n: {"bias": None}, lambda n: {"weight": None, "bias": None}],
    "batchnorm-fold": [lambda n: {"running_mean": torch.zeros_like(n.running_mean)}],
    "swapped-parameters": [
        lambda n: {"weight": n.bias, "bias": n.weight},
        lambda n: {"running_mean": n.running_var, "running_var": n.running_mean.abs()},
    ],
    "batch-statistics": [lambda n: {"training": True, "running_mean": None, "running_var": None}],
}
for _slug, _changes in BATCH_NORM.items():
    for _change in _changes:
        for _kind, _shape in (("BatchNorm2d", (3, 5, 6, 7)), ("BatchNorm1d", (9, 5))):

            def _norm(change=_change, kind=_kind, shape=_shape):
                layer, x = torch_layer(getattr(nn, kind), 5), draw(*shape)
                layer.running_mean.abs_()
                return layer, x, _batch_norm(x, layer, **change(layer))

            ROWS.append((_slug, _kind, _norm))


@plant("epsilon-outside-sqrt", "BatchNorm2d")
def outside():
    layer, x = torch_layer(nn.BatchNorm2d, 5), draw(3, 5, 6, 7)
    gain, bias, mean, var = (p.detach().numpy()[:, None, None] for p in (layer.weight, layer.bias, layer.running_mean, layer.running_var))
    return layer, x, (x - mean) / (np.sqrt(var) + layer.eps) * gain + bias


@plant("unbiased-variance", "LayerNorm")
def torch_std():
    layer, x = torch_layer(nn.LayerNorm, 24), draw(3, 5, 24)
    v = t(x).var(-1, keepdim=True)
    y = (t(x) - t(x).mean(-1, keepdim=True)) / torch.sqrt(v + layer.eps) * layer.weight + layer.bias
    return layer, x, y.detach().numpy()


@plant("epsilon-outside-sqrt", "LayerNorm")
def annotated_transformer():
    layer, x = torch_layer(nn.LayerNorm, 24, eps=1e-3), draw(3, 5, 24)
    v = t(x).var(-1, keepdim=True, unbiased=False)
    y = (t(x) - t(x).mean(-1, keepdim=True)) / (torch.sqrt(v) + layer.eps) * layer.weight + layer.bias
    return layer, x, y.detach().numpy()


@plant("other-epsilon", "LayerNorm")
def bert_epsilon():
    layer, x = torch_layer(nn.LayerNorm, 24), draw(3, 5, 24, scale=0.05)
    return layer, x, F.layer_norm(t(x), (24,), layer.weight, layer.bias, 1e-12).detach().numpy()


@plant("other-epsilon", "Keras BatchNormalization")
def torch_epsilon():
    x = draw(3, 6, 7, 5)
    layer = keras.layers.BatchNormalization()
    layer(x)
    layer.set_weights([draw(5, seed=1), draw(5, seed=2), draw(5, seed=3), rng(4).uniform(0.01, 1, 5).astype(np.float32)])
    gamma, beta, mean, variance = (np.array(one) for one in layer.get_weights())
    return layer, x, (x - mean) / np.sqrt(variance + np.float32(1e-5)) * gamma + beta


@plant("missing-parameter", "LayerNorm")
def no_affine():
    layer, x = torch_layer(nn.LayerNorm, 24), draw(3, 5, 24)
    return layer, x, F.layer_norm(t(x), (24,), None, None, layer.eps).numpy()


@plant("wrong-axis", "LayerNorm")
def rows_for_columns():
    layer, x = torch_layer(nn.LayerNorm, 6), draw(3, 6, 6)
    y = F.layer_norm(t(x).transpose(1, 2).contiguous(), (6,), layer.weight, layer.bias, layer.eps).transpose(1, 2)
    return layer, x, y.detach().numpy()


@plant("group-axis", "GroupNorm")
def interleaved_groups():
    layer, x = torch_layer(nn.GroupNorm, 3, 12), draw(2, 12, 5, 4)
    groups = t(x).reshape(2, 4, 3, 5, 4)
    mean, v = groups.mean((1, 3, 4), keepdim=True), groups.var((1, 3, 4), keepdim=True, unbiased=False)
    y = ((groups - mean) / torch.sqrt(v + layer.eps)).reshape(x.shape)
    return layer, x, (y * layer.weight[:, None, None] + layer.bias[:, None, None]).detach().numpy()


@plant("other-epsilon", "GroupNorm")
def group_epsilon():
    layer, x = torch_layer(nn.GroupNorm, 3, 12), draw(2, 12, 5, 4, scale=0.1)
    return layer, x, F.group_norm(t(x), 3, layer.weight, layer.bias, 1e-3).detach().numpy()


@plant("unbiased-variance", "GroupNorm")
def group_variance():
    layer, x = torch_layer(nn.GroupNorm, 3, 12), draw(2, 12, 5, 4)
    groups = t(x).reshape(2, 3, -1)
    y = ((groups - groups.mean(-1, keepdim=True)) / torch.sqrt(groups.var(-1, keepdim=True) + layer.eps)).reshape(x.shape)
    return layer, x, (y * layer.weight[:, None, None] + layer.bias[:, None, None]).detach().numpy()


@plant("dropout-active", "Dropout")
def dropping():
    torch.manual_seed(0)
    x = draw(40, 50)
    return nn.Dropout(0.3).eval(), x, F.dropout(t(x), 0.3, training=True).numpy()


# Pooling.


@plant("pool-counts-padding", "AvgPool2d")
def valid_cells():
    x = draw(2, 3, 8, 9)
    return nn.AvgPool2d(3, 2, padding=1), x, F.avg_pool2d(t(x), 3, 2, 1, count_include_pad=False).numpy()


@plant("pool-counts-padding", "Keras AveragePooling2D")
def whole_window():
    x = draw(2, 9, 9, 3)
    y = F.avg_pool2d(F.pad(t(x).permute(0, 3, 1, 2), (1, 1, 1, 1)), 3, 2)
    return keras.layers.AveragePooling2D(3, 2, padding="same"), x, last(y)


@plant("padding-value", "MaxPool2d")
def zeros_win():
    x = draw(2, 3, 8, 9) - 2
    return nn.MaxPool2d(3, 2, padding=1), x, F.max_pool2d(F.pad(t(x), (1, 1, 1, 1)), 3, 2).numpy()


@plant("pool-ceil", "MaxPool2d")
def more_windows():
    x = draw(2, 3, 8, 9)
    return nn.MaxPool2d(3, 2), x, F.max_pool2d(t(x), 3, 2, ceil_mode=True).numpy()


@plant("symmetric-padding", "Keras MaxPooling2D")
def pool_habit():
    x = draw(2, 8, 8, 3)
    return keras.layers.MaxPooling2D(3, 2, padding="same"), x, last(F.max_pool2d(t(x).permute(0, 3, 1, 2), 3, 2, 1))


@plant("ignored-stride", "MaxPool2d")
def dense_windows():
    x = draw(2, 3, 8, 9)
    return nn.MaxPool2d(2, 2), x, F.max_pool2d(t(x), 2, 1).numpy()


@plant("padding-value", "ReflectionPad2d")
def zeros_for_reflection():
    x = draw(2, 3, 8, 9)
    return nn.ReflectionPad2d(2), x, F.pad(t(x), (2, 2, 2, 2)).numpy()


# Number formats.


@plant("reduced-precision", "Linear")
def tf32():
    layer, x = torch_layer(nn.Linear, 200, 30), draw(9, 200)
    w, b = (part.numpy() for part in parameters(layer))

    def narrow(values):
        return ((values.view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32)

    return layer, x, narrow(x) @ narrow(w).T + b


@plant("reduced-precision", "Linear")
def half_output():
    layer, x = torch_layer(nn.Linear, 200, 30), draw(9, 200)
    return layer, x, F.linear(t(x), *parameters(layer)).half().float().numpy()


@plant("reduced-precision", "Linear")
def brain_output():
    layer, x = torch_layer(nn.Linear, 200, 30), draw(9, 200)
    return layer, x, F.linear(t(x), *parameters(layer)).numpy().astype(ml_dtypes.bfloat16).astype(np.float32)


def _quantised(kind: Any, x: np.ndarray, *args: Any, **options: Any) -> Any:
    tf_keras.utils.set_random_seed(0)
    quantizers = {"kernel_quantizer": qkeras.quantized_bits(4, 0, 1, alpha=1), "bias_quantizer": qkeras.quantized_bits(6, 1, 1, alpha=1)}
    layer = kind(*args, **quantizers, **options)
    layer(x)
    layer.set_weights([draw(*w.shape, seed=i + 1, scale=0.4) for i, w in enumerate(layer.get_weights())])
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
    return layer, x, last(F.conv2d(same_pad(x, 3, 1), w, t(np.array(layer.bias_quantizer_internal(b.numpy())))))


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
    return qkeras.QActivation(qkeras.quantized_bits(5, 1, alpha=1)), x, np.clip(np.floor(x * 8), -16, 15) / 8


@plant("rounding-mode", "QActivation")
def half_away():
    x = np.round(draw(7, 40, scale=2) * 16).astype(np.float32) / 16
    return qkeras.QActivation(qkeras.quantized_bits(5, 1, alpha=1)), x, np.clip(np.copysign(np.floor(np.abs(x) * 8 + 0.5), x), -16, 15) / 8


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
    return layer.eval(), x, F.linear(t(x), layer.parametrizations.weight.original1.detach(), layer.bias.detach()).numpy()


def _fixed(layer: Any, x: np.ndarray, fraction: int, shift: Callable[[np.ndarray], np.ndarray], low: int, high: int) -> np.ndarray:
    """A dense layer in 64-bit integers: values of ``fraction`` bits, products of twice that, one shift back."""
    w, b = (np.rint(part.numpy().astype(np.float64) * 2**fraction).astype(np.int64) for part in parameters(layer))
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


@plant("fixed-point", "Linear")
def integer_saturating():
    layer, x = torch_layer(nn.Linear, 12, 9), draw(8, 12)
    return layer, x, _fixed(layer, x, 7, lambda acc: acc >> 7, -128, 127)


ROOT = Path(__file__).parent.parent


def table() -> str:
    """The confusion table: for each planted mistake what was named first, and what it was tied with."""
    lines = ["| planted | in | named first | tied with |", "|---|---|---|---|"]
    right = 0
    for slug, family, row in ROWS:
        layer, x, wrong = row()
        findings = probe.check(layer, probe.open_model(layer).layers[0].name, given=x, expected=wrong).findings
        named = [finding.slug for finding in findings]
        hit = bool(named) and (named[0] == slug or (slug in named and findings[0].tie))
        right += hit
        lines.append(f"| {slug} | {family} | {named[0] if named else 'nothing'}{'' if hit else ' (wrong)'} | {', '.join(named[1:])} |")
    head = f"{right} of {len(ROWS)} planted mistakes ({right / len(ROWS):.1%}) are named first or in a declared tie."
    return "\n".join([head, "", *lines])


def page() -> str:
    """docs/causes.md: the mistakes at length, then the confusion table."""
    told = [f"### `{one.slug}`\n\n{one.text}\n" for one in REGISTERED]
    lead = "Generated by `python tests/faults.py` from the docstrings of `probe/hypotheses/` and the mistakes planted in the tests."
    return "\n".join(["# The mistakes that `probe` names", "", lead, "", *told, "## Planted and named", "", table(), ""])


if __name__ == "__main__":
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "causes.md").write_text(page())
