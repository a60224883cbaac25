"""Ports to NumPy of single layers of Keras and PyTorch, and the mistakes one makes in them."""

import copy
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from scipy.special import erf
from torch import nn
from transformers import LlamaConfig, T5Config
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding
from transformers.models.t5.modeling_t5 import T5Attention

from corpora.ports.case import Case, Mistake, Port

Array = np.ndarray
KL = keras.layers


def case(
    name: str, build: Callable[[], tuple[Any, Any]], layer: str, port: Port, **wrong: str
) -> Case:
    """A case whose mistakes are flags of its port; `a__b` sets both, which are two causes."""
    mistakes = {
        flags: Mistake(
            partial(port, **dict.fromkeys(flags.split("__"), True)), what, len(flags.split("__"))
        )
        for flags, what in wrong.items()
    }
    return Case("unseen_" + name, build, layer, port, mistakes)


def normal(seed: int, *shape: int, scale: float = 1.0) -> Array:
    """Gaussian numbers in float32."""
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def random_weight(name: str, shape: Sequence[int], rng: np.random.Generator) -> Array:
    """A generic value of a weight."""
    if "var" in name:
        return rng.uniform(0.01, 0.4, shape).astype(np.float32)
    value = rng.normal(size=shape) * 0.5
    if name == "alpha":
        value = value * 2
    return (value + ("gamma" in name or name == "scale")).astype(np.float32)


def fresh(layer: Any) -> Any:
    """A layer or module of the same configuration, used nowhere yet."""
    if isinstance(layer, KL.Layer):
        return layer.__class__.from_config(layer.get_config())
    return copy.deepcopy(layer)


def of_keras(
    layer: Any,
    *shape: int,
    seed: int = 0,
    before: Any = None,
    after: Any = None,
    x: Array | None = None,
) -> tuple[Any, Any]:
    """A model of one Keras layer, perhaps with others around it, with random weights."""
    x = normal(seed, *shape) if x is None else x
    inputs = keras.Input(x.shape[1:], dtype=x.dtype.name)
    y = fresh(layer)(inputs if before is None else fresh(before)(inputs))
    return randomise(keras.Model(inputs, y if after is None else fresh(after)(y)), seed), x


def randomise(model: Any, seed: int) -> Any:
    """Random numbers for all weights of a Keras model or a torch module."""
    rng = np.random.default_rng(1000 + seed)
    if isinstance(model, keras.Model):
        for variable in model.weights:
            variable.assign(random_weight(variable.name, variable.shape, rng))
        return model
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.dtype == torch.float32 and "inv_freq" not in name:
            value.data.copy_(torch.tensor(random_weight(name, value.shape, rng)))
    return model.eval()


def of_torch(module: nn.Module, *shape: int, seed: int = 0) -> tuple[nn.Module, Array]:
    """A torch module with random weights, and its input."""
    return randomise(fresh(module), seed), normal(seed, *shape)


def weights(model: Any, layer: str) -> list[Array]:
    """The weights of a Keras layer."""
    return model.get_layer(layer).get_weights()


def params(module: Any) -> dict[str, Array]:
    """The parameters and buffers of a torch module."""
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def relu(x: Array) -> Array:
    return np.maximum(x, np.float32(0))


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def moments(x: Array, axes: Any, ddof: int = 0) -> tuple[Array, Array]:
    return x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True, ddof=ddof)


def pad(x: Array, *sides: tuple[int, int], value: float = 0.0, mode: str = "constant") -> Array:
    """Pads the axes between the first and the last."""
    widths = ((0, 0), *sides, (0, 0))
    if mode != "constant":
        return np.pad(x, widths, mode=mode)  # type: ignore[call-overload]
    return np.pad(x, widths, constant_values=value)


def same(n: int, k: int, s: int = 1, d: int = 1, *, early: bool = False) -> tuple[int, int]:
    """How much TensorFlow pads an axis before and after for "same"."""
    total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
    return (total - total // 2, total // 2) if early else (total // 2, total - total // 2)


def patches(
    x: Array,
    size: Sequence[int],
    stride: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
) -> Array:
    """The windows of (N, *space, C): (N, *out, *size, C)."""
    rank = len(size)
    stride, dilation = stride or (1,) * rank, dilation or (1,) * rank
    for axis in reversed(range(rank)):
        k, s, d = size[axis], stride[axis], dilation[axis]
        out = (x.shape[1 + axis] - (k - 1) * d - 1) // s + 1
        index = np.arange(out)[:, None] * s + np.arange(k) * d
        x = np.take(x, index, axis=1 + axis)
    outs = [1 + 2 * axis for axis in range(rank)]
    return x.transpose(0, *outs, *(axis + 1 for axis in outs), 2 * rank + 1)


def conv(
    x: Array, w: Array, stride: Sequence[int] | None = None, dilation: Sequence[int] | None = None
) -> Array:
    """Cross-correlates (N, *space, C) with (*size, C, O)."""
    rank = w.ndim - 2
    windows = patches(x, w.shape[:rank], stride, dilation)
    return windows.reshape(*windows.shape[: 1 + rank], -1) @ w.reshape(-1, w.shape[-1])


def deconv2d(x: Array, w: Array, s: Sequence[int], d: Sequence[int] = (1, 1)) -> Array:
    """The whole transposed convolution of (N, H, W, C) with (h, w, C, O), nothing cropped."""
    (n, h, wd, _), (kh, kw, _, o) = x.shape, w.shape
    full = ((h - 1) * s[0] + (kh - 1) * d[0] + 1, (wd - 1) * s[1] + (kw - 1) * d[1] + 1)
    y = np.zeros((n, *full, o), np.float32)
    for i in range(kh):
        for j in range(kw):
            top, left = i * d[0], j * d[1]
            y[
                :, top : top + (h - 1) * s[0] + 1 : s[0], left : left + (wd - 1) * s[1] + 1 : s[1]
            ] += x @ w[i, j]
    return y


def taps(
    n: int,
    m: int,
    *,
    cubic: float = 0.0,
    scale: float = 0.0,
    align: bool = False,
    corner: bool = False,
    renormalise: bool = False,
    table: int = 0,
) -> Array:
    """The matrix (m, n) that resizes an axis linearly, or with a cubic of coefficient `cubic`.

    TensorFlow rounds the fraction of the place to the steps of a table.
    """
    out = np.zeros((m, n))
    for i in range(m):
        ratio = scale or n / m
        at = (i + 0.5) * ratio - 0.5
        if align:
            at = i * (n - 1) / (m - 1)
        if corner:
            at = i * ratio
        base = int(np.floor(at))
        if table:
            at = base + np.rint((at - base) * table) / table
        for j in range(base - 1, base + 3):
            t = abs(at - j)
            weight = max(0.0, 1 - t)
            if cubic:
                a = cubic
                near = ((a + 2) * t - (a + 3)) * t * t + 1
                far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
                weight = near if t <= 1 else far if t < 2 else 0.0
            if 0 <= j < n or not renormalise:
                out[i, min(max(j, 0), n - 1)] += weight
    return (out / out.sum(axis=1, keepdims=True)).astype(np.float32)


# ---------------------------------------------------------------- Keras: convolutions and dense


def keras_conv2d(
    model: Any,
    x: Array,
    *,
    early: bool = False,
    flip: bool = False,
    bias_last: bool = False,
    oihw: bool = False,
) -> Array:
    w, b = weights(model, "conv")
    if flip:
        w = w[::-1, ::-1]
    if oihw:
        w = w.reshape(w.shape[3], w.shape[2], *w.shape[:2]).transpose(2, 3, 1, 0)
    sides = same(x.shape[1], 3, 2, early=early), same(x.shape[2], 2, 1, early=early)
    y = conv(pad(x, *sides), w, (2, 1))
    return relu(y) + b if bias_last else relu(y + b)


def keras_causal(
    model: Any,
    x: Array,
    *,
    centred: bool = False,
    late: bool = False,
    undilated: bool = False,
    backward: bool = False,
) -> Array:
    w, b = weights(model, "causal")
    d = 1 if undilated else 2
    total = (len(w) - 1) * d
    side = (total, 0)
    if centred:
        side = (total // 2, total - total // 2)
    if late:
        side = (0, total)
    return np.tanh(conv(pad(x, side), w[::-1] if backward else w, (1,), (d,)) + b)


def keras_deconv(
    model: Any,
    x: Array,
    *,
    crop_front: bool = False,
    flip: bool = False,
    torch_layout: bool = False,
    no_bias: bool = False,
) -> Array:
    w, b = weights(model, "up")
    if flip:
        w = w[::-1, ::-1]
    if torch_layout:
        w = w.reshape(*w.shape[:2], w.shape[3], w.shape[2])
    else:
        w = w.transpose(0, 1, 3, 2)
    y = deconv2d(x, w, (2, 3))
    h, wd = x.shape[1] * 2, x.shape[2] * 3
    extra = y.shape[1] - h, y.shape[2] - wd
    top, left = ((e - e // 2) if crop_front else e // 2 for e in extra)
    y = y[:, top : top + h, left : left + wd]
    return y if no_bias else y + b


def keras_separable(
    model: Any,
    x: Array,
    *,
    multiplier_first: bool = False,
    relu_between: bool = False,
    bias_twice: bool = False,
) -> Array:
    depth, point, b = weights(model, "separable")
    y = np.einsum("ntkc,kcm->ntcm", patches(x, (3,), (2,)), depth)
    if multiplier_first:
        y = y.swapaxes(2, 3)
    y = y.reshape(*y.shape[:2], -1)
    if relu_between:
        y = relu(y)
    y = y @ point[0] + b
    return relu(y + b if bias_twice else y)


def keras_depthwise(
    model: Any,
    x: Array,
    *,
    undilated: bool = False,
    flip: bool = False,
    multiplier_first: bool = False,
    kernel_swapped: bool = False,
) -> Array:
    w, b = weights(model, "depthwise")
    x = relu(x)
    d = (1, 1) if undilated else (2, 2)
    if flip:
        w = w[::-1, ::-1]
    if kernel_swapped:
        w = w.transpose(1, 0, 2, 3)
    sides = same(x.shape[1], 3, 1, d[0]), same(x.shape[2], 3, 1, d[1])
    y = np.einsum("nhwijc,ijcm->nhwcm", patches(pad(x, *sides), (3, 3), (1, 1), d), w)
    if multiplier_first:
        y = y.swapaxes(3, 4)
    return y.reshape(*y.shape[:3], -1) + b


def keras_dense(
    model: Any,
    x: Array,
    *,
    old_slope: bool = False,
    bias_last: bool = False,
    logistic: bool = False,
) -> Array:
    w, b = weights(model, "dense")
    y = x @ w if bias_last else x @ w + b
    if logistic:
        return sigmoid(y)
    y = np.clip(y * 0.2 + 0.5 if old_slope else y / 6 + 0.5, 0, 1)
    return y + b if bias_last else y


def keras_einsum(
    model: Any,
    x: Array,
    *,
    slope_of_torch: bool = False,
    no_bias: bool = False,
    heads_last: bool = False,
) -> Array:
    w, b = weights(model, "einsum")
    if heads_last:
        w = w.reshape(w.shape[0], w.shape[2], w.shape[1]).swapaxes(1, 2)
    y = np.einsum("bsd,dhk->bhsk", x, w)
    y = y if no_bias else y + b
    return np.where(y < 0, y * np.float32(0.01 if slope_of_torch else 0.2), y)


def keras_int8(
    model: Any,
    x: Array,
    *,
    one_scale: bool = False,
    truncate: bool = False,
    float_inputs: bool = False,
    bias_scaled: bool = False,
    top_128: bool = False,
) -> Array:
    layer = model.get_layer("dense")
    w = np.asarray(layer._kernel)
    w_scale, b = np.asarray(layer.kernel_scale), np.asarray(layer.bias)
    top = np.abs(x).max(axis=None if one_scale else -1, keepdims=True)
    x_scale = (np.float32(127) / (top + np.float32(1e-7))).astype(np.float32)
    q = np.trunc(x * x_scale) if truncate else np.round(x * x_scale)
    if float_inputs:
        q, x_scale = x, np.float32(1)
    y = q.astype(np.float32) @ w.astype(np.float32)
    scale = w_scale * x_scale
    if top_128:
        scale = scale * np.float32(128 / 127)
    return relu((y + b) / scale if bias_scaled else y / scale + b)


def build_int8() -> tuple[Any, Any]:
    model, x = of_keras(KL.Dense(6, activation="relu", name="dense"), 4, 9, seed=8)
    model.get_layer("dense").quantize("int8")
    return model, x * np.float32([[0.3], [2.0], [1.0], [0.1]])


KERAS_LINEAR = [
    case(
        "keras_conv2d",
        partial(
            of_keras,
            KL.Conv2D(5, (3, 2), (2, 1), "same", activation="relu", name="conv"),
            2,
            8,
            7,
            3,
            after=KL.GlobalAveragePooling2D(),
        ),
        "conv",
        keras_conv2d,
        early="'same' puts the odd row of padding before the image instead of after it",
        flip="the kernel is flipped, as in a mathematical convolution",
        bias_last="the bias is added after the activation",
        oihw="the kernel is read in PyTorch's layout (out, in, h, w)",
    ),
    case(
        "keras_conv1d_causal",
        partial(
            of_keras,
            KL.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="tanh", name="causal"),
            2,
            9,
            3,
            seed=1,
        ),
        "causal",
        keras_causal,
        centred="pads both sides equally, not causally",
        late="pads the end of the sequence instead of its beginning",
        undilated="the dilation rate is not applied",
        backward="the taps are applied in reverse, the first one to the present",
    ),
    case(
        "keras_conv2d_transpose",
        partial(
            of_keras, KL.Conv2DTranspose(2, (5, 4), (2, 3), "same", name="up"), 2, 4, 3, 5, seed=2
        ),
        "up",
        keras_deconv,
        crop_front="the odd row to crop is taken from the front instead of the end",
        flip="the kernel is flipped before it is scattered",
        torch_layout="the kernel's last axes are taken for (in, out), they are (out, in)",
        no_bias="the bias is forgotten",
    ),
    case(
        "keras_separable_conv1d",
        partial(
            of_keras,
            KL.SeparableConv1D(4, 3, 2, depth_multiplier=2, activation="relu", name="separable"),
            2,
            11,
            3,
            seed=3,
        ),
        "separable",
        keras_separable,
        multiplier_first="the depthwise channels are laid out multiplier-major",
        relu_between="the activation is applied between depthwise and pointwise too",
        bias_twice="the bias is added after each of the two convolutions",
    ),
    case(
        "keras_depthwise_conv2d",
        partial(
            of_keras,
            KL.DepthwiseConv2D(
                3, padding="same", depth_multiplier=2, dilation_rate=2, name="depthwise"
            ),
            1,
            8,
            7,
            3,
            seed=4,
            before=KL.ReLU(),
        ),
        "depthwise",
        keras_depthwise,
        undilated="the dilation rate is not applied",
        flip="the kernel is flipped",
        multiplier_first="output channels are multiplier-major instead of channel-major",
        kernel_swapped="the kernel's height and width are swapped",
    ),
    case(
        "keras_dense_hard_sigmoid",
        partial(of_keras, KL.Dense(4, activation="hard_sigmoid", name="dense"), 3, 5, 7, seed=5),
        "dense",
        keras_dense,
        old_slope="hard_sigmoid of Keras 2 (0.2x + 0.5) instead of Keras 3 (x/6 + 0.5)",
        bias_last="the bias is added after the activation",
        logistic="the smooth sigmoid instead of the hard one",
    ),
    case(
        "keras_einsum_dense",
        partial(
            of_keras,
            KL.EinsumDense("bsd,dhk->bhsk", (3, None, 4), "leaky_relu", "hk", name="einsum"),
            2,
            5,
            6,
            seed=6,
        ),
        "einsum",
        keras_einsum,
        slope_of_torch="leaky_relu with PyTorch's slope 0.01 instead of Keras's 0.2",
        no_bias="the bias over heads and features is forgotten",
        heads_last="the kernel is read as (dim, key, heads)",
    ),
    case(
        "keras_dense_int8",
        build_int8,
        "dense",
        keras_int8,
        one_scale="the inputs are quantised with one scale instead of one a row",
        truncate="quantises by truncation instead of by rounding",
        float_inputs="the inputs are not quantised, only the kernel is",
        bias_scaled="the bias is divided by the scales as well",
        top_128="de-scales as if the range were 128 instead of 127",
    ),
]


# ---------------------------------------------------------------- Keras: norms, pooling, resizing


def keras_batch_norm(
    model: Any,
    x: Array,
    *,
    torch_eps: bool = False,
    eps_outside: bool = False,
    batch_stats: bool = False,
    swapped: bool = False,
) -> Array:
    gamma, beta, mean, var = weights(model, "bn")
    x = x * np.float32(0.5) + 1
    if swapped:
        gamma, beta = beta, gamma
    if batch_stats:
        mean, var = moments(x, (0, 1))
    eps = np.float32(1e-5 if torch_eps else 1e-3)
    std = np.sqrt(var) + eps if eps_outside else np.sqrt(var + eps)
    return (x - mean) / std * gamma + beta


def keras_layer_norm(
    model: Any,
    x: Array,
    *,
    last_only: bool = False,
    unbiased: bool = False,
    torch_eps: bool = False,
    eps_outside: bool = False,
) -> Array:
    gamma, beta = weights(model, "ln")
    mean, var = moments(x, -1 if last_only else (-2, -1), int(unbiased))
    eps = np.float32(1e-5 if torch_eps else 1e-3)
    std = np.sqrt(var) + eps if eps_outside else np.sqrt(var + eps)
    return (x - mean) / std * gamma + beta


def keras_rms(
    model: Any,
    x: Array,
    *,
    centred: bool = False,
    gemma: bool = False,
    total: bool = False,
    eps_outside: bool = False,
) -> Array:
    (scale,) = weights(model, "rms")
    if centred:
        x = x - x.mean(axis=-1, keepdims=True)
    square = (x * x).sum(-1, keepdims=True) if total else (x * x).mean(-1, keepdims=True)
    eps = np.float32(0.02)
    root = np.sqrt(square) + eps if eps_outside else np.sqrt(square + eps)
    return x / root * (scale + 1 if gemma else scale)


def keras_unit(
    model: Any, x: Array, *, manhattan: bool = False, last: bool = False, squared: bool = False
) -> Array:
    axis: Any = -1 if last else (1, 2)
    if manhattan:
        return x / np.abs(x).sum(axis=axis, keepdims=True)
    norm = (x * x).sum(axis=axis, keepdims=True)
    return x / (norm if squared else np.sqrt(norm))


def keras_average_pool(
    model: Any, x: Array, *, whole_window: bool = False, early: bool = False
) -> Array:
    sides = same(x.shape[1], 3, 2, early=early), same(x.shape[2], 2, 2, early=early)
    total = patches(pad(x, *sides), (3, 2), (2, 2)).sum(axis=(3, 4))
    count = patches(pad(np.ones_like(x), *sides), (3, 2), (2, 2)).sum(axis=(3, 4))
    return total / (np.float32(6) if whole_window else count)


def keras_max_pool(model: Any, x: Array, *, zeros: bool = False, early: bool = False) -> Array:
    x = x * np.float32(0.5) - np.float32(2)
    side = same(x.shape[1], 4, 3, early=early)
    return patches(pad(x, side, value=0.0 if zeros else -np.inf), (4,), (3,)).max(axis=2)


def keras_upsample(
    model: Any, x: Array, *, align: bool = False, corner: bool = False, nearest: bool = False
) -> Array:
    if nearest:
        return x.repeat(2, axis=1).repeat(3, axis=2)
    rows, columns = (
        taps(n, n * f, align=align, corner=corner)
        for n, f in zip(x.shape[1:3], (2, 3), strict=True)
    )
    return np.einsum("ih,jw,nhwc->nijc", rows, columns, x)


def keras_resize(
    model: Any,
    x: Array,
    *,
    torch_cubic: bool = False,
    clamp: bool = False,
    no_crop: bool = False,
    crop_left: bool = False,
) -> Array:
    if not no_crop:
        start = 0 if crop_left else 3
        x = x[:, :, start : start + 4]
    rows, columns = (
        taps(n, m, cubic=-0.75 if torch_cubic else -0.5, renormalise=not clamp, table=1024)
        for n, m in zip(x.shape[1:3], (10, 6), strict=True)
    )
    return np.einsum("ih,jw,nhwc->nijc", rows, columns, x)


def keras_crop(
    model: Any, x: Array, *, up: bool = False, corner: bool = False, from_start: bool = False
) -> Array:
    spare = x.shape[1] - 4, x.shape[2] - 5
    top, left = ((s + 1) // 2 if up else s // 2 for s in spare)
    if corner:
        top, left = 0, 0
    if from_start:
        top, left = spare
    return x[:, top : top + 4, left : left + 5]


KERAS_SPACE = [
    case(
        "keras_batch_norm",
        partial(
            of_keras,
            KL.BatchNormalization(name="bn"),
            3,
            4,
            5,
            seed=10,
            before=KL.Rescaling(0.5, 1.0),
        ),
        "bn",
        keras_batch_norm,
        torch_eps="epsilon of PyTorch (1e-5) instead of Keras's 1e-3",
        eps_outside="epsilon is added to the deviation instead of the variance",
        batch_stats="normalises with the statistics of the batch",
        swapped="gamma and beta are taken in the wrong order",
    ),
    case(
        "keras_layer_norm",
        partial(
            of_keras,
            KL.LayerNormalization(axis=(1, 2), name="ln"),
            3,
            4,
            6,
            seed=11,
            x=normal(11, 3, 4, 6, scale=0.15) + np.float32(0.3),
        ),
        "ln",
        keras_layer_norm,
        last_only="normalises the last axis only, of the two",
        unbiased="the variance is the unbiased one",
        torch_eps="epsilon of PyTorch (1e-5) instead of Keras's 1e-3",
        eps_outside="epsilon is added to the deviation instead of the variance",
    ),
    case(
        "keras_rms_norm",
        partial(
            of_keras,
            KL.RMSNormalization(epsilon=0.02, name="rms"),
            3,
            5,
            6,
            seed=12,
            x=normal(12, 3, 5, 6, scale=0.5) + np.float32(0.2),
        ),
        "rms",
        keras_rms,
        centred="the mean is subtracted, as layer normalisation does",
        gemma="the scale is taken as an offset from one",
        total="divides by the root of the sum of squares, not of their mean",
        eps_outside="epsilon is added to the root instead of the mean square",
    ),
    case(
        "keras_unit_norm",
        partial(of_keras, KL.UnitNormalization(axis=(1, 2), name="unit"), 3, 4, 5, seed=13),
        "unit",
        keras_unit,
        manhattan="divides by the sum of magnitudes (L1) instead of the L2 norm",
        last="normalises along the last axis only",
        squared="divides by the squared norm",
    ),
    case(
        "keras_average_pool_same",
        partial(of_keras, KL.AveragePooling2D((3, 2), 2, "same", name="pool"), 2, 8, 7, 3, seed=14),
        "pool",
        keras_average_pool,
        whole_window="the average counts the padding",
        early="'same' puts the odd padding before the image",
    ),
    case(
        "keras_max_pool_same",
        partial(
            of_keras,
            KL.MaxPooling1D(4, 3, "same", name="pool"),
            2,
            12,
            3,
            seed=15,
            before=KL.Rescaling(0.5, -2.0),
        ),
        "pool",
        keras_max_pool,
        zeros="pads with zeros, which win over negative values",
        early="'same' puts the odd padding before the sequence",
    ),
    case(
        "keras_upsampling_bilinear",
        partial(
            of_keras,
            KL.UpSampling2D((2, 3), interpolation="bilinear", name="up"),
            2,
            4,
            5,
            3,
            seed=16,
        ),
        "up",
        keras_upsample,
        align="aligns the corners",
        corner="samples without the half-pixel offset",
        nearest="repeats pixels instead of interpolating",
    ),
    case(
        "keras_resizing_bicubic",
        partial(
            of_keras,
            KL.Resizing(10, 6, "bicubic", crop_to_aspect_ratio=True, name="resize"),
            2,
            8,
            11,
            3,
            seed=17,
        ),
        "resize",
        keras_resize,
        torch_cubic="the cubic has PyTorch's coefficient -0.75 instead of -0.5",
        clamp="repeats the border pixel instead of renormalising the weights inside",
        no_crop="squeezes the whole image instead of cropping to the aspect ratio",
        crop_left="crops from the left instead of the centre",
    ),
    case(
        "keras_center_crop",
        partial(of_keras, KL.CenterCrop(4, 5, name="crop"), 2, 9, 8, 3, seed=18),
        "crop",
        keras_crop,
        up="rounds the half of an odd margin up instead of down",
        corner="crops at the top left instead of the centre",
        from_start="takes the whole margin off the start",
    ),
]


# ---------------------------------------------------------------- Keras: recurrent and attention


def lstm_step(
    z: Array, c: Array, *, order: str = "ifco", hard: bool = False, raw_cell: bool = False
) -> tuple[Array, Array]:
    """The next h and c of gates in a certain order."""
    gates = dict(zip(order, np.split(z, 4, axis=-1), strict=True))
    gate = (lambda a: np.clip(a * np.float32(0.2) + np.float32(0.5), 0, 1)) if hard else sigmoid
    c = gate(gates["f"]) * c + gate(gates["i"]) * np.tanh(gates["c"])
    return gate(gates["o"]) * (c if raw_cell else np.tanh(c)), c


def keras_lstm(
    model: Any,
    x: Array,
    *,
    unmasked: bool = False,
    any_feature: bool = False,
    zero_output: bool = False,
    ifoc: bool = False,
    forget_one: bool = False,
    reset: bool = False,
) -> Array:
    w, u, b = weights(model, "lstm")
    units = u.shape[0]
    if forget_one:
        b = b + np.repeat(np.float32([0, 1, 0, 0]), units)
    differs = x != -1
    keep = (differs.all(-1) if any_feature else differs.any(-1))[..., None]
    x = x * keep
    if unmasked:
        keep = np.ones_like(keep)
    h = c = np.zeros((len(x), units), np.float32)
    outputs = []
    for t in range(x.shape[1]):
        new_h, new_c = lstm_step(x[:, t] @ w + h @ u + b, c, order="ifoc" if ifoc else "ifco")
        now = keep[:, t]
        h = np.where(now, new_h, 0 if reset else h)
        c = np.where(now, new_c, 0 if reset else c)
        outputs.append(np.where(now, new_h, 0) if zero_output else h)
    return np.stack(outputs, axis=1)


def build_lstm() -> tuple[Any, Any]:
    x = normal(20, 3, 7, 4)
    x[0, 5:] = x[1, 2:4] = x[2, 0] = -1
    x[0, 1, 2] = x[2, 3, 0] = -1
    return of_keras(
        KL.LSTM(5, return_sequences=True, name="lstm"), seed=20, x=x, before=KL.Masking(-1.0)
    )


def keras_gru(
    model: Any,
    x: Array,
    *,
    rzn: bool = False,
    mix: bool = False,
    reset_before: bool = False,
    bias_outside: bool = False,
    put_back: bool = False,
    forward: bool = False,
) -> Array:
    w, u, (b, d) = weights(model, "gru")
    h = np.zeros((len(x), u.shape[0]), np.float32)
    outputs = []
    for t in range(x.shape[1]) if forward else reversed(range(x.shape[1])):
        xz, xr, xn = np.split(x[:, t] @ w + b, 3, axis=-1)
        hz, hr, hn = np.split(h @ u + d, 3, axis=-1)
        if rzn:
            xz, xr, hz, hr = xr, xz, hr, hz
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        u_n, d_n = u[:, -h.shape[1] :], d[-h.shape[1] :]
        inner = r * hn
        if reset_before:
            inner = (r * h) @ u_n + d_n
        if bias_outside:
            inner = r * (h @ u_n) + d_n
        n = np.tanh(xn + inner)
        h = (1 - z) * h + z * n if mix else z * h + (1 - z) * n
        outputs.append(h)
    return np.stack(outputs[::-1] if put_back else outputs, axis=1)


def keras_bidirectional(
    model: Any,
    x: Array,
    *,
    unflipped: bool = False,
    summed: bool = False,
    shared: bool = False,
    not_reversed: bool = False,
) -> Array:
    ws = weights(model, "both")

    def run(x: Array, w: Array, u: Array, b: Array) -> Array:
        h, outputs = np.zeros((len(x), u.shape[0]), np.float32), []
        for t in range(x.shape[1]):
            h = np.tanh(x[:, t] @ w + h @ u + b)
            outputs.append(h)
        return np.stack(outputs, axis=1)

    ahead = run(x, *ws[:3])
    back = run(x if not_reversed else x[:, ::-1], *(ws[:3] if shared else ws[3:]))
    total = ahead + (back if unflipped else back[:, ::-1])
    return total if summed else total / 2


def keras_conv_lstm(
    model: Any,
    x: Array,
    *,
    ifoc: bool = False,
    hard: bool = False,
    flip: bool = False,
    raw_cell: bool = False,
) -> Array:
    w, u, b = weights(model, "cells")
    u = u[::-1, ::-1] if flip else u
    h = c = np.zeros(1, np.float32)
    for t in range(x.shape[1]):
        z = conv(x[:, t], w) + b
        if t == 0:
            h = c = np.zeros((*z.shape[:3], u.shape[2]), np.float32)
        z = z + conv(pad(h, same(h.shape[1], 3), same(h.shape[2], 2)), u)
        h, c = lstm_step(z, c, order="ifoc" if ifoc else "ifco", hard=hard, raw_cell=raw_cell)
    return h


def attend(q: Array, k: Array, v: Array, scale: float, mask: Array | None = None) -> Array:
    """Attention of (..., T, d) to (..., S, d), where the mask is true."""
    scores = q @ k.swapaxes(-1, -2) * np.float32(scale)
    if mask is not None:
        scores = np.where(mask, scores, np.float32(-1e9))
    return softmax(scores) @ v


def keras_mha(
    model: Any,
    xs: Any,
    *,
    lower_right: bool = False,
    value_scale: bool = False,
    no_output_bias: bool = False,
    heads_last: bool = False,
    unmasked: bool = False,
    scale_twice: bool = False,
) -> Array:
    wq, bq, wk, bk, wv, bv, wo, bo = weights(model, "mha")
    query, value = xs
    q = np.einsum("btd,dhk->bhtk", query, wq) + bq[:, None]
    k = np.einsum("btd,dhk->bhtk", value, wk) + bk[:, None]
    v = np.einsum("btd,dhk->bhtk", value, wv) + bv[:, None]
    t, s = query.shape[1], value.shape[1]
    mask = np.tril(np.ones((t, s), bool), s - t if lower_right else 0)
    scale = (v if value_scale else q).shape[-1] ** -0.5
    y = attend(q, k, v, scale * scale if scale_twice else scale, None if unmasked else mask)
    if heads_last:
        wo = wo.reshape(wo.shape[1], wo.shape[0], -1).swapaxes(0, 1)
    out = np.einsum("bhtk,hkd->btd", y, wo)
    return out if no_output_bias else out + bo


def build_mha() -> tuple[Any, Any]:
    query, value = keras.Input((5, 6)), keras.Input((7, 4))
    layer = KL.MultiHeadAttention(3, 4, value_dim=5, name="mha")
    model = keras.Model([query, value], layer(query, value, use_causal_mask=True))
    return randomise(model, 24), (normal(24, 2, 5, 6), normal(25, 2, 7, 4))


def keras_gqa(
    model: Any,
    x: Array,
    *,
    tiled: bool = False,
    wide: bool = False,
    open_gate: bool = False,
    not_causal: bool = False,
) -> Array:
    wq, bq, wk, bk, wg, bg, wv, bv, wo, bo = weights(model, "gqa")
    q, k, v, g = (
        np.einsum("btd,dhk->bhtk", x, w) + b[:, None]
        for w, b in ((wq, bq), (wk, bk), (wv, bv), (wg, bg))
    )
    k, v = (np.tile(a, (1, 2, 1, 1)) if tiled else a.repeat(2, axis=1) for a in (k, v))
    step = np.arange(x.shape[1])[:, None] - np.arange(x.shape[1])
    mask = abs(step) < (4 if wide else 3)
    y = attend(q, k, v, q.shape[-1] ** -0.5, mask if not_causal else mask & (step >= 0))
    y = y * (g if open_gate else sigmoid(g))
    return np.einsum("bhtk,hkd->btd", y, wo) + bo


def build_gqa() -> tuple[Any, Any]:
    x = keras.Input((6, 8))
    layer = KL.GroupQueryAttention(3, 4, 2, sliding_window=3, use_gate=True, name="gqa")
    return randomise(keras.Model(x, layer(x, x, use_causal_mask=True)), 26), normal(26, 2, 6, 8)


def keras_attention(
    model: Any,
    xs: Any,
    *,
    root: bool = False,
    key_value: bool = False,
    no_scale: bool = False,
    over_queries: bool = False,
) -> Array:
    (scale,) = weights(model, "attention")
    q, v, k = xs
    if key_value:
        k, v = v, k
    scores = q @ k.swapaxes(1, 2) * (1 if no_scale else scale)
    if root:
        scores = scores / np.float32(np.sqrt(q.shape[-1]))
    return softmax(scores, 1 if over_queries else -1) @ v


def build_attention(layer: Any, seed: int, masked: bool = False) -> tuple[Any, Any]:
    shapes = (5, 4), (6, 4), (6, 4)
    inputs = [keras.Input(shape) for shape in shapes]
    x = [normal(seed + i, 3, *shape) for i, shape in enumerate(shapes)]
    kwargs = {}
    if masked:
        inputs.append(keras.Input((6,), dtype="bool"))
        x.append(np.arange(6) < np.array([[4], [6], [3]]))
        kwargs = {"mask": [None, inputs[3]]}
    return randomise(keras.Model(inputs, fresh(layer)(inputs[:3], **kwargs)), seed), tuple(x)


def keras_additive(
    model: Any,
    xs: Any,
    *,
    scale_inside: bool = False,
    unmasked: bool = False,
    mask_last: bool = False,
    no_scale: bool = False,
) -> Array:
    (scale,) = weights(model, "additive")
    q, v, k, mask = xs
    both = q[:, :, None] + k[:, None]
    scores = (scale * np.tanh(both)).sum(-1)
    if scale_inside:
        scores = np.tanh(scale * both).sum(-1)
    if no_scale:
        scores = np.tanh(both).sum(-1)
    if mask_last:
        return (softmax(scores) * mask[:, None]) @ v
    return softmax(scores if unmasked else np.where(mask[:, None], scores, -1e9)) @ v


KERAS_SEQUENCES = [
    case(
        "keras_lstm_masked",
        build_lstm,
        "lstm",
        keras_lstm,
        unmasked="the mask is ignored, masked steps update the state",
        any_feature="masks a step if any feature is the mask value, not only if all are",
        zero_output="puts out zeros at masked steps instead of the last output",
        ifoc="the gates are taken in the order i, f, o, c instead of i, f, c, o",
        forget_one="adds the unit forget bias again, which the stored bias contains",
        reset="a masked step resets the state instead of holding it",
    ),
    case(
        "keras_gru_backwards",
        partial(
            of_keras,
            KL.GRU(4, return_sequences=True, go_backwards=True, name="gru"),
            2,
            6,
            3,
            seed=21,
        ),
        "gru",
        keras_gru,
        rzn="the gates are taken in PyTorch's order (r, z) instead of (z, r)",
        mix="the update gate weighs the candidate instead of the old state",
        reset_before="the reset gate is applied before the matrix product",
        bias_outside="the candidate's recurrent bias is left out of the reset product",
        put_back="the outputs are put back in the order of time",
        forward="the sequence is read forwards",
    ),
    case(
        "keras_bidirectional_rnn",
        partial(
            of_keras,
            KL.Bidirectional(KL.SimpleRNN(4, return_sequences=True), "ave", name="both"),
            2,
            6,
            3,
            seed=22,
        ),
        "both",
        keras_bidirectional,
        unflipped="the backward outputs are not put back in the order of time",
        summed="the directions are summed instead of averaged",
        shared="both directions use the forward weights",
        not_reversed="the backward cell reads the sequence forwards",
    ),
    case(
        "keras_conv_lstm2d",
        partial(of_keras, KL.ConvLSTM2D(2, (3, 2), name="cells"), 2, 4, 6, 7, 3, seed=23),
        "cells",
        keras_conv_lstm,
        ifoc="the gates are taken in the order i, f, o, c instead of i, f, c, o",
        hard="the hard sigmoid of Keras 2 on the gates",
        flip="the recurrent kernel is flipped",
        raw_cell="the output forgets the tanh of the cell",
    ),
    case(
        "keras_multi_head_attention",
        build_mha,
        "mha",
        keras_mha,
        lower_right="the causal mask is aligned with the last key instead of the first",
        value_scale="the scores are scaled with the dimension of the values",
        no_output_bias="the bias of the output projection is forgotten",
        heads_last="the output kernel is read as (value, heads, out)",
        unmasked="the causal mask is forgotten",
        scale_twice="the queries and the scores are both scaled",
    ),
    case(
        "keras_grouped_query_attention",
        build_gqa,
        "gqa",
        keras_gqa,
        tiled="the key and value heads are tiled instead of repeated one by one",
        wide="the sliding window is one step too wide",
        open_gate="the output gate lacks its sigmoid",
        not_causal="the window is not causal, it looks ahead",
    ),
    case(
        "keras_dot_attention",
        partial(build_attention, KL.Attention(use_scale=True, name="attention"), 27),
        "attention",
        keras_attention,
        root="the scores are divided by the root of the dimension too",
        key_value="the inputs are taken as query, key, value; they are query, value, key",
        no_scale="the learnt scale is forgotten",
        over_queries="the softmax runs over the queries",
    ),
    case(
        "keras_additive_attention",
        partial(build_attention, KL.AdditiveAttention(name="additive"), 30, True),
        "additive",
        keras_additive,
        scale_inside="the scale is applied inside the tanh",
        unmasked="the mask of the values is ignored",
        mask_last="the mask is applied after the softmax",
        no_scale="the scale is forgotten",
    ),
]


# ---------------------------------------------------------------- Keras: the rest


def keras_prelu(
    model: Any, x: Array, *, other_axis: bool = False, maximum: bool = False, negated: bool = False
) -> Array:
    (alpha,) = weights(model, "prelu")
    if other_axis:
        alpha = alpha.reshape(-1, 1, 1)
    if maximum:
        return np.maximum(x, alpha * x)
    return np.where(x > 0, x, (-alpha if negated else alpha) * x)


def keras_relu(
    model: Any,
    x: Array,
    *,
    slope_from_zero: bool = False,
    shifted: bool = False,
    no_threshold: bool = False,
    uncapped: bool = False,
) -> Array:
    slope, threshold, top = np.float32(0.2), np.float32(0 if no_threshold else 0.4), 1.5
    below = slope * (x if slope_from_zero else x - threshold)
    above = x - threshold if shifted else x
    return np.where(x >= threshold, above if uncapped else np.minimum(above, top), below)


def keras_normalization(
    model: Any,
    x: Array,
    *,
    not_inverted: bool = False,
    variance: bool = False,
    mean_first: bool = False,
) -> Array:
    layer = model.get_layer("norm")
    mean, var = np.asarray(layer.mean), np.asarray(layer.variance)
    scale = var if variance else np.sqrt(var)
    if not_inverted:
        return (x - mean) / scale
    return (x + mean) * scale if mean_first else x * scale + mean


def keras_bins(
    model: Any, x: Array, *, left: bool = False, from_minus_one: bool = False, clipped: bool = False
) -> Array:
    edges = np.float32([-1, -0.25, 0.5, 1.25])
    bins = np.searchsorted(edges, x, side="left" if left else "right")
    if from_minus_one:
        bins = bins - 1
    return (np.minimum(bins, len(edges) - 1) if clipped else bins).astype(np.int32)


def keras_counts(
    model: Any,
    xs: Any,
    *,
    unweighted: bool = False,
    once: bool = False,
    last_weight: bool = False,
    off: bool = False,
) -> Array:
    index, weight = xs
    out = np.zeros((len(index), 6), np.float32)
    for row in range(len(index)):
        for i, w in zip(index[row], weight[row], strict=True):
            at = (i - 1) % 6 if off else i
            if last_weight:
                out[row, at] = w
            else:
                out[row, at] += 1 if unweighted or once else w
    return np.minimum(out, 1) if once else out


def build_counts() -> tuple[Any, Any]:
    index, weight = keras.Input((5,), dtype="int32"), keras.Input((5,))
    layer = KL.CategoryEncoding(6, "count", name="counts")
    rng = np.random.default_rng(43)
    x = rng.integers(0, 6, (4, 5)).astype(np.int32), rng.uniform(0.5, 2, (4, 5))
    model = keras.Model([index, weight], layer(index, count_weights=weight))
    return model, (x[0], x[1].astype(np.float32))


def keras_logits(
    model: Any,
    x: Array,
    *,
    uncapped: bool = False,
    clipped: bool = False,
    not_divided: bool = False,
) -> Array:
    (table,) = weights(model, "tokens")
    y, cap = x @ table.T, np.float32(1.5)
    if uncapped:
        return y
    if clipped:
        return np.clip(y, -cap, cap)
    return cap * np.tanh(y if not_divided else y / cap)


def build_logits() -> tuple[Any, Any]:
    x = keras.Input((5, 4))
    layer = KL.ReversibleEmbedding(9, 4, logit_soft_cap=1.5, name="tokens")
    layer.build()
    return randomise(keras.Model(x, layer(x, reverse=True)), 44), normal(44, 2, 5, 4, scale=3)


def keras_dot(
    model: Any, xs: Any, *, raw: bool = False, other_axis: bool = False, one_side: bool = False
) -> Array:
    a, b = xs
    axes = (2, 1) if other_axis else (1, 2)
    if not raw:
        a = a / np.sqrt((a * a).sum(axes[0], keepdims=True))
        b = b if one_side else b / np.sqrt((b * b).sum(axes[1], keepdims=True))
    return np.einsum("nci,njc->nij", a, b)


def build_dot() -> tuple[Any, Any]:
    a, b = keras.Input((4, 3)), keras.Input((5, 4))
    layer = KL.Dot((1, 2), normalize=True, name="dot")
    return keras.Model([a, b], layer([a, b])), (normal(45, 2, 4, 3), normal(46, 2, 5, 4))


def keras_flatten(model: Any, x: Array, *, as_stored: bool = False, columns: bool = False) -> Array:
    y = x if as_stored else x.transpose(0, 2, 3, 1)
    if columns:
        y = x.transpose(0, 3, 2, 1)
    return y.reshape(len(x), -1)


def build_normalization() -> tuple[Any, Any]:
    layer = KL.Normalization(invert=True, name="norm")
    layer.adapt(normal(42, 9, 3, 4) * np.float32([1, 2, 0.5, 3]) + np.float32([1, -2, 3, 0.5]))
    x = keras.Input((3, 4))
    return keras.Model(x, layer(x)), normal(47, 5, 3, 4)


def bin_input() -> Array:
    x = normal(48, 4, 7)
    x[0, :4] = [-1, -0.25, 0.5, 1.25]
    return x


KERAS_OTHERS = [
    case(
        "keras_prelu",
        partial(of_keras, KL.PReLU(shared_axes=[1, 3], name="prelu"), 2, 4, 4, 3, seed=40),
        "prelu",
        keras_prelu,
        other_axis="the slopes run along the rows instead of the columns",
        maximum="takes max(x, alpha x), which fails for slopes over one",
        negated="the slope has the wrong sign",
    ),
    case(
        "keras_relu",
        partial(of_keras, KL.ReLU(1.5, 0.2, 0.4, name="relu"), 3, 4, 5, seed=41),
        "relu",
        keras_relu,
        slope_from_zero="below the threshold slope * x instead of slope * (x - threshold)",
        shifted="subtracts the threshold above it too",
        no_threshold="the threshold is ignored",
        uncapped="the greatest value is ignored",
    ),
    case(
        "keras_normalization_inverse",
        build_normalization,
        "norm",
        keras_normalization,
        not_inverted="normalises although the layer is the inverse",
        variance="scales with the variance instead of its root",
        mean_first="adds the mean before scaling",
    ),
    case(
        "keras_discretization",
        lambda: of_keras(KL.Discretization([-1.0, -0.25, 0.5, 1.25], name="bins"), x=bin_input()),
        "bins",
        keras_bins,
        left="a value on a boundary goes into the lower bin instead of the upper",
        from_minus_one="bins are counted as if what is below all boundaries had none",
        clipped="what is above all boundaries goes into the bin before",
    ),
    case(
        "keras_category_count",
        build_counts,
        "counts",
        keras_counts,
        unweighted="the weights of the counts are ignored",
        once="multi-hot instead of counts",
        last_weight="a repeated index keeps the last weight instead of the sum",
        off="the indices are taken to start at one",
    ),
    case(
        "keras_reversible_embedding",
        build_logits,
        "tokens",
        keras_logits,
        uncapped="the soft cap of the logits is forgotten",
        clipped="clips at the cap instead of bending with a tanh",
        not_divided="does not divide by the cap within the tanh",
    ),
    case(
        "keras_dot_normalized",
        build_dot,
        "dot",
        keras_dot,
        raw="does not normalise",
        other_axis="normalises along the axes that are kept instead of the contracted ones",
        one_side="normalises only the first input",
    ),
    case(
        "keras_flatten_channels_first",
        partial(of_keras, KL.Flatten("channels_first", name="flat"), 2, 3, 4, 5, seed=49),
        "flat",
        keras_flatten,
        as_stored="flattens as stored; Keras moves the channels last before",
        columns="flattens column by column",
    ),
]


# ---------------------------------------------------------------- PyTorch: convolutions, layout


def last(x: Array) -> Array:
    """Channels last."""
    return np.moveaxis(x, 1, -1)


def first(x: Array) -> Array:
    """Channels first."""
    return np.moveaxis(x, -1, 1)


def torch_conv2d(
    model: Any,
    x: Array,
    *,
    zeros: bool = False,
    symmetric: bool = False,
    interleaved: bool = False,
    undilated: bool = False,
) -> Array:
    p = params(model)
    w, b = p["0.weight"], p["0.bias"]
    mode = "constant" if zeros else "symmetric" if symmetric else "reflect"
    x, groups = pad(last(x), (2, 2), (1, 1), mode=mode), 2
    kernels = np.split(w.transpose(2, 3, 1, 0), groups, axis=-1)
    parts = [x[..., g::groups] for g in range(groups)] if interleaved else np.split(x, groups, -1)
    if undilated:
        x = x[:, 1:-1]
        parts = np.split(x, groups, -1)
    dilation = (1, 1) if undilated else (2, 1)
    y = [conv(part, k, (1, 2), dilation) for part, k in zip(parts, kernels, strict=True)]
    return first(np.concatenate(y, axis=-1) + b)


def torch_deconv2d(
    model: Any,
    x: Array,
    *,
    zero_row: bool = False,
    flip: bool = False,
    swapped_groups: bool = False,
    padded_front: bool = False,
) -> Array:
    p = params(model)
    w, b = p["weight"].transpose(2, 3, 0, 1), p["bias"]
    w = w[::-1, ::-1] if flip else w
    parts = list(zip(np.split(last(x), 2, -1), np.split(w, 2, 2), strict=True))
    if swapped_groups:
        parts = parts[::-1]
    y = np.concatenate([deconv2d(a, k, (2, 2), (1, 2)) for a, k in parts], axis=-1)
    if zero_row:
        return first(pad(y[:, 1:-1, 1:-1], (0, 1), (0, 1)) + b)
    return first((y[:, :-1, :-1] if padded_front else y[:, 1:, 1:]) + b)


def torch_unfold(
    model: Any,
    x: Array,
    *,
    kernel_first: bool = False,
    column_major: bool = False,
    replicate: bool = False,
) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), (0, 0), (1, 1)), mode="edge" if replicate else "constant")
    y = patches(last(x), (3, 2), (2, 1))
    n, h, w = y.shape[:3]
    order = (0, 3, 4, 5, 1, 2) if kernel_first else (0, 5, 3, 4, 1, 2)
    y = y.transpose(*order)
    if column_major:
        y = y.swapaxes(-1, -2)
    return y.reshape(n, -1, h * w)


def torch_fold(
    model: Any, x: Array, *, mean: bool = False, overwrite: bool = False, kernel_first: bool = False
) -> Array:
    n, c, h, w = len(x), 3, 5, 6
    rows, columns = (h - 3) // 2 + 1, w + 2 - 2 + 1
    blocks = x.reshape(n, c, 3, 2, rows, columns)
    if kernel_first:
        blocks = x.reshape(n, 3, 2, c, rows, columns).transpose(0, 3, 1, 2, 4, 5)
    y, count = np.zeros((n, c, h, w + 2), np.float32), np.zeros((h, w + 2), np.float32)
    for i in range(rows):
        for j in range(columns):
            top = 2 * i
            here = y[:, :, top : top + 3, j : j + 2]
            here[...] = blocks[..., i, j] + (0 if overwrite else here)
            count[top : top + 3, j : j + 2] += 1
    y = y / count if mean else y
    return y[..., 1:-1]


def torch_shuffle(
    model: Any, x: Array, *, depth_to_space: bool = False, swapped: bool = False
) -> Array:
    n, c, h, w = x.shape
    if depth_to_space:
        y = x.reshape(n, 3, 3, c // 9, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, c // 9, 3, 3, h, w).transpose(0, 1, 4, 2, 5, 3)
    if swapped:
        y = y.swapaxes(3, 5)
    return y.reshape(n, c // 9, h * 3, w * 3)


def torch_unshuffle(
    model: Any, x: Array, *, space_to_depth: bool = False, swapped: bool = False
) -> Array:
    n, c, h, w = x.shape
    y = x.reshape(n, c, h // 2, 2, w // 2, 2)
    order = (0, 3, 5, 1, 2, 4) if space_to_depth else (0, 1, 3, 5, 2, 4)
    if swapped:
        order = (0, 1, 5, 3, 2, 4)
    return y.transpose(*order).reshape(n, c * 4, h // 2, w // 2)


def torch_channels(model: Any, x: Array, *, inverse: bool = False, reverse: bool = False) -> Array:
    n, c = x.shape[:2]
    groups = c // 3 if inverse else 3
    y = x.reshape(n, groups, c // groups, *x.shape[2:])
    return (y[:, ::-1] if reverse else y.swapaxes(1, 2)).reshape(x.shape)


def torch_reflect(
    model: Any,
    x: Array,
    *,
    rows_first: bool = False,
    with_edge: bool = False,
    repeat: bool = False,
    swapped: bool = False,
) -> Array:
    rows, columns = (3, 0), (1, 2)
    if rows_first:
        rows, columns = columns, rows
    if swapped:
        rows, columns = rows[::-1], columns[::-1]
    mode = "symmetric" if with_edge else "edge" if repeat else "reflect"
    return np.pad(x, ((0, 0), (0, 0), rows, columns), mode=mode)  # type: ignore[call-overload]


def torch_bicubic(
    model: Any,
    x: Array,
    *,
    tf_cubic: bool = False,
    size_ratio: bool = False,
    renormalise: bool = False,
    align: bool = False,
) -> Array:
    rows, columns = (
        taps(
            n,
            int(n * 1.7),
            cubic=-0.5 if tf_cubic else -0.75,
            align=align,
            scale=0 if size_ratio else 1 / 1.7,
            renormalise=renormalise,
        )
        for n in x.shape[2:]
    )
    return np.einsum("ih,jw,nchw->ncij", rows, columns, x)


TORCH_SPACE = [
    case(
        "torch_conv2d_grouped",
        partial(
            of_torch,
            nn.Sequential(
                nn.Conv2d(4, 6, 3, (1, 2), (2, 1), (2, 1), 2, padding_mode="reflect"), nn.ReLU()
            ),
            2,
            4,
            6,
            7,
            seed=60,
        ),
        "0",
        torch_conv2d,
        zeros="pads with zeros although the padding mode is reflect",
        symmetric="the reflection repeats the border pixel",
        interleaved="the groups take every second channel instead of blocks of channels",
        undilated="the dilation is not applied, and the padding is lessened to fit",
    ),
    case(
        "torch_conv_transpose2d",
        partial(
            of_torch,
            nn.ConvTranspose2d(4, 6, (4, 2), 2, 1, 1, 2, dilation=(1, 2)),
            2,
            4,
            3,
            5,
            seed=61,
        ),
        "",
        torch_deconv2d,
        zero_row="output_padding appends zeros instead of uncovering computed rows",
        flip="the kernel is flipped before it is scattered",
        swapped_groups="the groups' outputs are put together in the wrong order",
        padded_front="the padding is cropped at the end instead of the front",
    ),
    case(
        "torch_unfold",
        partial(of_torch, nn.Unfold((3, 2), padding=(0, 1), stride=(2, 1)), 2, 3, 5, 6, seed=62),
        "",
        torch_unfold,
        kernel_first="the rows are ordered kernel-major instead of channel-major",
        column_major="the blocks are counted down the columns",
        replicate="pads with the border's values instead of zeros",
    ),
    case(
        "torch_fold",
        partial(
            of_torch, nn.Fold((5, 6), (3, 2), padding=(0, 1), stride=(2, 1)), 2, 18, 14, seed=63
        ),
        "",
        torch_fold,
        mean="overlaps are averaged instead of summed",
        overwrite="overlaps keep the last block instead of the sum",
        kernel_first="the rows are read kernel-major instead of channel-major",
    ),
    case(
        "torch_pixel_shuffle",
        partial(of_torch, nn.PixelShuffle(3), 2, 18, 2, 4, seed=64),
        "",
        torch_shuffle,
        depth_to_space="the channels are split as TensorFlow's depth_to_space does",
        swapped="the rows and columns of a block are swapped",
    ),
    case(
        "torch_pixel_unshuffle",
        partial(of_torch, nn.PixelUnshuffle(2), 2, 3, 4, 6, seed=65),
        "",
        torch_unshuffle,
        space_to_depth="the channels are ordered as TensorFlow's space_to_depth does",
        swapped="the rows and columns of a block are swapped",
    ),
    case(
        "torch_channel_shuffle",
        partial(of_torch, nn.ChannelShuffle(3), 2, 12, 2, 3, seed=66),
        "",
        torch_channels,
        inverse="shuffles back: the groups are taken for the channels of one",
        reverse="the groups are reversed instead of interleaved",
    ),
    case(
        "torch_reflection_pad",
        partial(of_torch, nn.ReflectionPad2d((1, 2, 3, 0)), 2, 3, 5, 4, seed=67),
        "",
        torch_reflect,
        rows_first="the padding is read as (top, bottom, left, right)",
        with_edge="the border is repeated in the reflection",
        repeat="replicates the border instead of reflecting",
        swapped="before and after are swapped",
    ),
    case(
        "torch_upsample_bicubic",
        partial(of_torch, nn.Upsample(scale_factor=1.7, mode="bicubic"), 2, 3, 5, 4, seed=68),
        "",
        torch_bicubic,
        tf_cubic="the cubic has TensorFlow's coefficient -0.5 instead of -0.75",
        size_ratio="the places come from the ratio of sizes instead of the scale factor",
        renormalise="renormalises the weights at the border instead of repeating it",
        align="aligns the corners",
    ),
]


# ---------------------------------------------------------------- PyTorch: pooling and norms


def torch_average_pool(
    model: Any, x: Array, *, no_padding: bool = False, overhang: bool = False
) -> Array:
    x = last(x)
    inside = np.ones_like(x)
    sides = (1, 1), (1, 1)
    counted = pad(inside, *sides, value=0.0 if no_padding else 1.0)
    more = (0, 1), (0, 0)
    value = 1.0 if overhang else 0.0
    total = patches(pad(pad(x, *sides), *more), (3, 3), (2, 2)).sum(axis=(3, 4))
    return first(total / patches(pad(counted, *more, value=value), (3, 3), (2, 2)).sum((3, 4)))


def torch_lp_pool(
    model: Any, x: Array, *, mean: bool = False, no_root: bool = False, square: bool = False
) -> Array:
    power = 2 if square else 3
    y = patches(last(relu(x)), (2, 3), (2, 3)) ** power
    y = y.mean(axis=(3, 4)) if mean else y.sum(axis=(3, 4))
    return first(y if no_root else y ** np.float32(1 / power))


def torch_adaptive(
    model: Any, x: Array, *, fixed: bool = False, floor_end: bool = False, maximum: bool = False
) -> Array:
    n, c, h, w = x.shape
    out = np.zeros((n, c, 3, 4), np.float32)
    for i in range(3):
        for j in range(4):
            spans = []
            for at, size, count in ((i, h, 3), (j, w, 4)):
                end = (at + 1) * size
                stop = end // count if floor_end else -(-end // count)
                span = (at * size // count, stop)
                if fixed:
                    step = size // count
                    span = (at * step, at * step + size - (count - 1) * step)
                spans.append(slice(*span))
            block = x[:, :, spans[0], spans[1]]
            out[:, :, i, j] = block.max((2, 3)) if maximum else block.mean((2, 3))
    return out


def torch_max_pool(
    model: Any, x: Array, *, zeros: bool = False, undilated: bool = False, magnitude: bool = False
) -> Array:
    x = last(x) * np.float32(0.5) - np.float32(1)
    x = pad(x, (1, 1), value=0.0 if zeros else -np.inf)
    windows = patches(x[:, :-2] if undilated else x, (3,), (2,), (1 if undilated else 2,))
    if magnitude:
        at = np.abs(np.where(np.isfinite(windows), windows, 0)).argmax(axis=2)[:, :, None]
        return first(np.take_along_axis(windows, at, axis=2)[:, :, 0])
    return first(windows.max(axis=2))


class Halved(nn.Module):
    """Halves, and takes one off."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0.5 - 1


def torch_group_norm(
    model: Any,
    x: Array,
    *,
    interleaved: bool = False,
    unbiased: bool = False,
    instance: bool = False,
    eps_outside: bool = False,
) -> Array:
    p = params(model)
    n, c, length = x.shape
    if interleaved:
        y = x.reshape(n, c // 3, 3, length).swapaxes(1, 2)
    else:
        y = x.reshape(n, 3, c // 3, length)
    mean, var = moments(y, -1 if instance else (2, 3), int(unbiased))
    eps = np.float32(0.01)
    y = (y - mean) / (np.sqrt(var) + eps if eps_outside else np.sqrt(var + eps))
    y = (y.swapaxes(1, 2) if interleaved else y).reshape(x.shape)
    return y * p["weight"][:, None] + p["bias"][:, None]


def torch_instance_norm(
    model: Any,
    x: Array,
    *,
    own_stats: bool = False,
    no_affine: bool = False,
    keras_eps: bool = False,
) -> Array:
    p = {name: value[:, None, None] for name, value in params(model).items() if value.ndim}
    mean, var = p["running_mean"], p["running_var"]
    if own_stats:
        mean, var = moments(x, (2, 3))
    eps = np.float32(1e-3 if keras_eps else 1e-5)
    y = (x - mean) / np.sqrt(var + eps)
    return y if no_affine else y * p["weight"] + p["bias"]


def torch_lrn(
    model: Any,
    x: Array,
    *,
    undivided: bool = False,
    late: bool = False,
    k_outside: bool = False,
    not_squared: bool = False,
) -> Array:
    size, alpha, beta, k = 4, np.float32(0.8), np.float32(0.6), np.float32(1.3)
    before = (size - 1) // 2 if late else size // 2
    square = np.abs(x) if not_squared else x * x
    square = np.pad(square, ((0, 0), (before, size - 1 - before), (0, 0)))
    total = np.lib.stride_tricks.sliding_window_view(square, size, axis=1).sum(axis=-1)
    total = total * (alpha if undivided else alpha / np.float32(size))
    return x / (k + total**beta if k_outside else (k + total) ** beta)


TORCH_POOL = [
    case(
        "torch_avg_pool2d_ceil",
        partial(of_torch, nn.AvgPool2d(3, 2, 1, ceil_mode=True), 2, 3, 6, 7, seed=70),
        "",
        torch_average_pool,
        no_padding="the average does not count the padding",
        overhang="the average counts what hangs over the padded input in ceil mode",
    ),
    case(
        "torch_lp_pool2d",
        partial(of_torch, nn.Sequential(nn.ReLU(), nn.LPPool2d(3, (2, 3))), 2, 3, 6, 6, seed=71),
        "1",
        torch_lp_pool,
        mean="takes the mean of the powers instead of their sum",
        no_root="the root at the end is forgotten",
        square="the power is two instead of three",
    ),
    case(
        "torch_adaptive_avg_pool2d",
        partial(of_torch, nn.AdaptiveAvgPool2d((3, 4)), 2, 3, 7, 6, seed=72),
        "",
        torch_adaptive,
        fixed="all windows have one size and stride instead of adapting",
        floor_end="the windows' ends are rounded down instead of up",
        maximum="takes the greatest instead of the mean",
    ),
    case(
        "torch_max_pool1d_dilated",
        partial(of_torch, nn.Sequential(Halved(), nn.MaxPool1d(3, 2, 1, 2)), 2, 3, 11, seed=73),
        "1",
        torch_max_pool,
        zeros="pads with zeros, which win over negative values",
        undilated="the dilation is ignored",
        magnitude="takes the value of the greatest magnitude",
    ),
    case(
        "torch_group_norm",
        partial(of_torch, nn.GroupNorm(3, 6, eps=0.01), 2, 6, 5, seed=74),
        "",
        torch_group_norm,
        interleaved="a group takes every third channel instead of a block of channels",
        unbiased="the variance is the unbiased one",
        instance="each channel is normalised for itself",
        eps_outside="epsilon is added to the deviation instead of the variance",
    ),
    case(
        "torch_instance_norm_tracked",
        partial(
            of_torch,
            nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
            2,
            3,
            4,
            5,
            seed=75,
        ),
        "",
        torch_instance_norm,
        own_stats="normalises with the sample's statistics instead of the running ones",
        no_affine="the weight and bias are forgotten",
        keras_eps="epsilon of Keras (1e-3) instead of PyTorch's 1e-5",
    ),
    case(
        "torch_local_response_norm",
        partial(of_torch, nn.LocalResponseNorm(4, 0.8, 0.6, 1.3), 2, 7, 5, seed=76),
        "",
        torch_lrn,
        undivided="alpha is not divided by the size of the window",
        late="an even window reaches further after the channel than before it",
        k_outside="k is added outside of the power",
        not_squared="sums magnitudes instead of squares",
    ),
]


# ---------------------------------------------------------------- PyTorch: recurrent, attention


def torch_lstm(
    model: Any,
    x: Array,
    *,
    one_bias: bool = False,
    ifog: bool = False,
    raw_cell: bool = False,
    unflipped: bool = False,
    late_join: bool = False,
) -> Array:
    p = params(model)
    for layer in range(2):
        outputs = []
        for end in ("", "_reverse"):
            name = f"_l{layer}{end}"
            w, u, proj = (p[k + name] for k in ("weight_ih", "weight_hh", "weight_hr"))
            b = p["bias_ih" + name] + (0 if one_bias else p["bias_hh" + name])
            h = np.zeros((x.shape[1], u.shape[1]), np.float32)
            c = np.zeros((x.shape[1], proj.shape[1]), np.float32)
            steps = []
            for row in x[::-1] if end else x:
                z = row @ w.T + h @ u.T + b
                y, c = lstm_step(z, c, order="ifoc" if ifog else "ifco", raw_cell=raw_cell)
                h = y @ proj.T
                steps.append(h)
            outputs.append(np.stack(steps[::-1] if end and not unflipped else steps))
        x = np.concatenate(outputs[::-1] if late_join else outputs, axis=-1)
    return x


def torch_gru(
    model: Any,
    x: Array,
    *,
    zrn: bool = False,
    mix: bool = False,
    bias_outside: bool = False,
    reset_before: bool = False,
    one_bias: bool = False,
) -> Array:
    p = params(model)
    w, u, b, d = (p[k + "_l0"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    d = d * 0 if one_bias else d
    size = u.shape[1]
    h = np.zeros((len(x), size), np.float32)
    outputs = []
    for t in range(x.shape[1]):
        xr, xz, xn = np.split(x[:, t] @ w.T + b, 3, axis=-1)
        hr, hz, hn = np.split(h @ u.T + d, 3, axis=-1)
        if zrn:
            xr, xz, hr, hz = xz, xr, hz, hr
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        inner = r * hn
        if bias_outside:
            inner = r * (hn - d[-size:]) + d[-size:]
        if reset_before:
            inner = (r * h) @ u[-size:].T + d[-size:]
        n = np.tanh(xn + inner)
        h = z * n + (1 - z) * h if mix else (1 - z) * n + z * h
        outputs.append(h)
    return np.stack(outputs, axis=1)


def torch_rnn(
    model: Any,
    x: Array,
    *,
    tanh: bool = False,
    one_bias: bool = False,
    untransposed: bool = False,
    batch_axis: bool = False,
) -> Array:
    p = params(model)
    x = x if batch_axis else x.swapaxes(0, 1)
    for layer in range(2):
        w, u, b, d = (p[f"{k}_l{layer}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h, steps = np.zeros((x.shape[1], len(u)), np.float32), []
        for row in x:
            z = row @ w.T + h @ (u if untransposed else u.T) + b + (0 if one_bias else d)
            h = np.tanh(z) if tanh else relu(z)
            steps.append(h)
        x = np.stack(steps)
    return x if batch_axis else x.swapaxes(0, 1)


def heads(x: Array, count: int, *, inner: bool = False) -> Array:
    """(B, T, D) to (B, count, T, D / count)."""
    if inner:
        return x.reshape(*x.shape[:2], -1, count).transpose(0, 3, 1, 2)
    return x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2)


def joined(x: Array) -> Array:
    """The inverse of `heads`."""
    return x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)


class MaskedAttention(nn.Module):
    """Attention with extra keys and a mask of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            6, 2, add_bias_kv=True, add_zero_attn=True, batch_first=True
        )
        self.register_buffer("hidden", torch.tensor(normal(82, 4, 5) > 0.3))

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> Any:
        return self.attention(q, k, k * 0.5, attn_mask=self.hidden)[0]


def torch_mha(
    model: Any,
    xs: Any,
    *,
    keep: bool = False,
    no_zero: bool = False,
    no_extra: bool = False,
    key_first: bool = False,
    whole_scale: bool = False,
    inner_heads: bool = False,
) -> Array:
    p = {name.removeprefix("attention."): value for name, value in params(model).items()}
    ws, bs = np.split(p["in_proj_weight"], 3), np.split(p["in_proj_bias"], 3)
    if key_first:
        ws, bs = [ws[1], ws[0], ws[2]], [bs[1], bs[0], bs[2]]
    x = xs[0], xs[1], xs[1] * np.float32(0.5)
    q, k, v = (a @ w.T + b for a, w, b in zip(x, ws, bs, strict=True))
    n, mask = len(q), p["hidden"] if keep else ~p["hidden"]
    if not no_extra:
        k, v = (
            np.concatenate([a, np.repeat(p[name], n, axis=0)], axis=1)
            for a, name in ((k, "bias_k"), (v, "bias_v"))
        )
    if not no_zero:
        k, v = (np.pad(a, ((0, 0), (0, 1), (0, 0))) for a in (k, v))
    mask = np.pad(mask, ((0, 0), (0, k.shape[1] - mask.shape[1])), constant_values=True)
    size = 6 if whole_scale else 3
    q, k, v = (heads(a, 2, inner=inner_heads) for a in (q, k, v))
    return joined(attend(q, k, v, size**-0.5, mask)) @ p["out_proj.weight"].T + p["out_proj.bias"]


def build_mha_torch() -> tuple[Any, Any]:
    return randomise(MaskedAttention(), 82), (normal(83, 2, 4, 6), normal(84, 2, 5, 6))


class Scaled(nn.Module):
    """Causal attention of grouped queries."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.7, enable_gqa=True)


def torch_sdpa(
    model: Any,
    xs: Any,
    *,
    lower_right: bool = False,
    tiled: bool = False,
    default_scale: bool = False,
    unmasked: bool = False,
    scale_divides: bool = False,
) -> Array:
    q, k, v = xs
    k, v = (np.tile(a, (1, 2, 1, 1)) if tiled else a.repeat(2, axis=1) for a in (k, v))
    t, s = q.shape[2], k.shape[2]
    mask = np.tril(np.ones((t, s), bool), s - t if lower_right else 0)
    scale = q.shape[-1] ** -0.5 if default_scale else 1 / 0.7 if scale_divides else 0.7
    return attend(q, k, v, scale, None if unmasked else mask)


def build_sdpa() -> tuple[Any, Any]:
    return Scaled(), (normal(85, 2, 4, 3, 5), normal(86, 2, 2, 6, 5), normal(87, 2, 2, 6, 4))


def torch_encoder(
    model: Any,
    x: Array,
    *,
    post_norm: bool = False,
    from_norm: bool = False,
    with_relu: bool = False,
    same_norm: bool = False,
    norm_skipped: bool = False,
) -> Array:
    p = params(model)

    def norm(x: Array, name: str) -> Array:
        mean, var = moments(x, -1)
        y = (x - mean) / np.sqrt(var + np.float32(1e-5))
        return y * p[name + ".weight"] + p[name + ".bias"]

    def linear(x: Array, name: str) -> Array:
        return x @ p[name + ".weight"].T + p[name + ".bias"]

    def attention(x: Array) -> Array:
        y = x @ p["self_attn.in_proj_weight"].T + p["self_attn.in_proj_bias"]
        q, k, v = (heads(part, 2) for part in np.split(y, 3, axis=-1))
        return linear(joined(attend(q, k, v, q.shape[-1] ** -0.5)), "self_attn.out_proj")

    def forward(x: Array) -> Array:
        y = linear(x, "linear1")
        y = relu(y) if with_relu else y * (1 + erf(y / np.sqrt(2))) / 2
        return linear(y.astype(np.float32), "linear2")

    second = "norm1" if same_norm else "norm2"
    if post_norm:
        x = norm(x + attention(x), "norm1")
        return norm(x + forward(x), second)
    y = norm(x, "norm1")
    x = (y if from_norm else x) + attention(x if norm_skipped else y)
    return x + forward(norm(x, second))


class Llama(nn.Module):
    """Llama's attention, with its rotary positions."""

    def __init__(self) -> None:
        super().__init__()
        config = LlamaConfig(
            hidden_size=12,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=6,
            attention_bias=True,
            rope_theta=50.0,
            rope_parameters={"rope_type": "default", "rope_theta": 50.0},
        )
        config._attn_implementation = "sdpa"
        self.rotary, self.attention = LlamaRotaryEmbedding(config), LlamaAttention(config, 0)

    def forward(self, x: torch.Tensor) -> Any:
        place = torch.arange(x.shape[1])[None]
        return self.attention(x, position_embeddings=self.rotary(x, place), attention_mask=None)


def torch_llama(
    model: Any,
    x: Array,
    *,
    interleaved: bool = False,
    base: bool = False,
    value_too: bool = False,
    tiled: bool = False,
    not_causal: bool = False,
) -> Array:
    p = {name.removeprefix("attention."): value for name, value in params(model).items()}
    q, k, v, t = *(x @ p[f"{n}_proj.weight"].T + p[f"{n}_proj.bias"] for n in "qkv"), x.shape[1]
    angle = np.arange(t)[:, None] * (10000.0 if base else 50.0) ** (-np.arange(3) / 3)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    def rotate(a: Array) -> Array:
        if interleaved:
            even, odd = a[..., ::2], a[..., 1::2]
            y = np.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)
            return y.reshape(a.shape)
        left, right = np.split(a, 2, axis=-1)
        return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)

    q, k, v = rotate(heads(q, 4)), heads(k, 2), heads(v, 2)
    k, v = rotate(k), rotate(v) if value_too else v
    k, v = (np.tile(a, (1, 2, 1, 1)) if tiled else a.repeat(2, axis=1) for a in (k, v))
    mask = None if not_causal else np.tril(np.ones((t, t), bool))
    return joined(attend(q, k, v, 6**-0.5, mask)) @ p["o_proj.weight"].T + p["o_proj.bias"]


class T5(nn.Module):
    """T5's attention with its relative positions."""

    def __init__(self) -> None:
        super().__init__()
        config = T5Config(
            d_model=8,
            d_kv=3,
            num_heads=2,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=16,
        )
        config._attn_implementation = "eager"
        self.attention = T5Attention(config, has_relative_attention_bias=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.attention(x)


def torch_t5(
    model: Any,
    x: Array,
    *,
    scaled: bool = False,
    other_sign: bool = False,
    one_sided: bool = False,
    linear: bool = False,
    rounded: bool = False,
) -> Array:
    p = {name.removeprefix("attention."): value for name, value in params(model).items()}
    q, k, v = (heads(x @ p[name + ".weight"].T, 2) for name in "qkv")
    places = np.arange(x.shape[1])
    step = places - places[:, None]
    step = -step if other_sign else step
    count, exact = (8, 4) if one_sided else (4, 2)
    size = np.maximum(-step, 0) if one_sided else np.abs(step)
    far = np.log(np.maximum(size, 1) / exact) / np.log(16 / exact) * (count - exact)
    large = np.minimum(exact + (np.rint(far) if rounded else np.trunc(far)), count - 1)
    bucket = np.where(size < exact, size, np.minimum(size, count - 1) if linear else large)
    bucket = bucket.astype(int) + (0 if one_sided else count) * (step > 0)
    bias = p["relative_attention_bias.weight"][bucket].transpose(2, 0, 1)
    scores = q @ k.swapaxes(-1, -2) * np.float32(3**-0.5 if scaled else 1) + bias
    return joined(softmax(scores) @ v) @ p["o.weight"].T


TORCH_SEQUENCES = [
    case(
        "torch_lstm_projected",
        partial(of_torch, nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2), 6, 2, 3, seed=80),
        "",
        torch_lstm,
        one_bias="the recurrent bias is forgotten",
        ifog="the gates are taken in the order i, f, o, g instead of i, f, g, o",
        raw_cell="the output forgets the tanh of the cell",
        unflipped="the reverse outputs are not put back in the order of time",
        late_join="the reverse direction is concatenated before the forward one",
        one_bias__unflipped="the recurrent bias is forgotten, and the reverse outputs not put "
        "back in the order of time",
    ),
    case(
        "torch_gru",
        partial(of_torch, nn.GRU(3, 4, batch_first=True), 2, 6, 3, seed=81),
        "",
        torch_gru,
        zrn="the gates are taken in Keras's order (z, r) instead of (r, z)",
        mix="the update gate weighs the candidate instead of the old state",
        bias_outside="the candidate's recurrent bias is left out of the reset product",
        reset_before="the reset gate is applied before the matrix product",
        one_bias="the recurrent biases are forgotten",
    ),
    case(
        "torch_rnn_relu",
        partial(of_torch, nn.RNN(3, 4, 2, nonlinearity="relu", batch_first=True), 2, 5, 3, seed=88),
        "",
        torch_rnn,
        tanh="tanh instead of the relu that was asked for",
        one_bias="the recurrent biases are forgotten",
        untransposed="the recurrent weight is not transposed",
        batch_axis="recurs over the batch, although batch_first is set",
    ),
    case(
        "torch_multihead_attention",
        build_mha_torch,
        "attention",
        torch_mha,
        keep="true in the boolean mask is read as keep, it hides",
        no_zero="the key of zeros that add_zero_attn appends is forgotten",
        no_extra="bias_k and bias_v are forgotten",
        key_first="the packed projection is read as key, query, value",
        whole_scale="scales with the whole dimension instead of a head's",
        inner_heads="the heads are split off the fast axis",
    ),
    case(
        "torch_scaled_dot_product_attention",
        build_sdpa,
        "",
        torch_sdpa,
        lower_right="is_causal is aligned with the last key instead of the first",
        tiled="the key and value heads are tiled instead of repeated one by one",
        default_scale="the default scale instead of the one given",
        unmasked="the causal mask is forgotten",
        scale_divides="divides by the scale instead of multiplying",
        tiled__default_scale="the heads are tiled, and the scale is the default one",
    ),
    case(
        "torch_transformer_encoder_layer",
        partial(
            of_torch,
            nn.TransformerEncoderLayer(
                6, 2, 7, activation="gelu", batch_first=True, norm_first=True
            ),
            2,
            5,
            6,
            seed=89,
        ),
        "",
        torch_encoder,
        post_norm="normalises after the sums although norm_first is set",
        from_norm="the residual starts from the normalised input",
        with_relu="relu instead of gelu",
        same_norm="the first norm is used twice",
        norm_skipped="the attention reads the input before its norm",
    ),
    case(
        "torch_llama_attention",
        lambda: (randomise(Llama(), 90), normal(90, 2, 5, 12)),
        "attention",
        torch_llama,
        interleaved="the rotation pairs neighbours instead of halves",
        base="the default base 10000 of the rotation instead of the one configured",
        value_too="the values are rotated too",
        tiled="the key and value heads are tiled instead of repeated one by one",
        not_causal="the causal mask is forgotten",
    ),
    case(
        "torch_t5_attention",
        lambda: (randomise(T5(), 91), normal(91, 2, 12, 8)),
        "attention",
        torch_t5,
        scaled="the scores are scaled, T5 does not",
        other_sign="the relative position is query minus key instead of key minus query",
        one_sided="the buckets are those of a decoder",
        linear="the far buckets are not logarithmic",
        rounded="the logarithmic bucket is rounded instead of cut",
    ),
]


# ---------------------------------------------------------------- PyTorch: the rest


def torch_bag(
    model: Any,
    x: Array,
    *,
    padding_counted: bool = False,
    padding_in: bool = False,
    summed: bool = False,
) -> Array:
    table = params(model)["weight"]
    real = np.ones(x.shape, np.float32) if padding_in else (x != 2).astype(np.float32)
    total = (table[x] * real[..., None]).sum(axis=1)
    if summed:
        return total
    return total / (np.float32(x.shape[1]) if padding_counted else real.sum(1, keepdims=True))


def build_bag() -> tuple[Any, Any]:
    x = np.array([[2, 3, 5, 2], [1, 2, 2, 0], [4, 6, 1, 1], [2, 5, 3, 6]])
    return randomise(nn.EmbeddingBag(7, 5, mode="mean", padding_idx=2), 92), x


def torch_bilinear(
    model: Any, xs: Any, *, no_bias: bool = False, swapped: bool = False, out_last: bool = False
) -> Array:
    p = params(model)
    w = p["weight"]
    if swapped:
        w = w.reshape(w.shape[0], w.shape[2], w.shape[1]).swapaxes(1, 2)
    if out_last:
        w = np.moveaxis(w.reshape(*w.shape[1:], w.shape[0]), -1, 0)
    y = np.einsum("...i,oij,...j->...o", xs[0], w, xs[1])
    return y if no_bias else y + p["bias"]


def build_bilinear() -> tuple[Any, Any]:
    return randomise(nn.Bilinear(3, 4, 5), 93), (normal(93, 2, 6, 3), normal(94, 2, 6, 4))


def torch_cosine(
    model: Any, xs: Any, *, added: bool = False, unguarded: bool = False, other_axis: bool = False
) -> Array:
    a, b = xs
    axis, eps = (2 if other_axis else 1), np.float32(1.4)
    norms = [np.sqrt((v * v).sum(axis)) for v in (a, b)]
    if added:
        under = norms[0] * norms[1] + eps
    elif unguarded:
        under = norms[0] * norms[1]
    else:
        under = np.maximum(norms[0], eps) * np.maximum(norms[1], eps)
    return (a * b).sum(axis) / under


def build_cosine() -> tuple[Any, Any]:
    return nn.CosineSimilarity(1, 1.4), (normal(95, 6, 4, 4, scale=0.7), normal(96, 6, 4, 4))


def torch_distance(
    model: Any,
    xs: Any,
    *,
    no_eps: bool = False,
    eps_inside: bool = False,
    squared: bool = False,
    magnitude: bool = False,
) -> Array:
    eps = np.float32(0 if no_eps or eps_inside else 0.1)
    difference = xs[0] - xs[1]
    difference = (np.abs(difference) if magnitude else difference) + eps
    total = (difference * difference).sum(-1, keepdims=True)
    total = total + np.float32(0.1) if eps_inside else total
    return total if squared else np.sqrt(total)


def build_distance() -> tuple[Any, Any]:
    return nn.PairwiseDistance(2.0, 0.1, True), (normal(97, 3, 4, 5), normal(98, 3, 4, 5))


def torch_glu(
    model: Any,
    x: Array,
    *,
    swapped: bool = False,
    tanh: bool = False,
    interleaved: bool = False,
    silu: bool = False,
) -> Array:
    value, gate = (x[:, ::2], x[:, 1::2]) if interleaved else np.split(x, 2, axis=1)
    if swapped:
        value, gate = gate, value
    if silu:
        value = value * gate
    return value * (np.tanh(gate) if tanh else sigmoid(gate))


def torch_hardswish(
    model: Any, x: Array, *, swish: bool = False, keras_two: bool = False, no_product: bool = False
) -> Array:
    gate = np.clip(x / 6 + np.float32(0.5), 0, 1)
    if swish:
        gate = sigmoid(x)
    if keras_two:
        gate = np.clip(x * np.float32(0.2) + np.float32(0.5), 0, 1)
    return gate if no_product else x * gate


def torch_softplus(
    model: Any,
    x: Array,
    *,
    undivided: bool = False,
    on_input: bool = False,
    beta_outside: bool = False,
    one: bool = False,
) -> Array:
    beta = np.float32(1 if one else 2)
    soft = np.log1p(np.exp(beta * x)) / (1 if undivided else beta)
    if beta_outside:
        soft = np.log1p(np.exp(x)) / beta
    return np.where((x if on_input else beta * x) > 1.5, x, soft)


def torch_celu(
    model: Any, x: Array, *, elu: bool = False, one: bool = False, selu: bool = False
) -> Array:
    alpha = np.float32(1 if one else 1.6)
    y = np.where(x > 0, x, alpha * np.expm1(x if elu else x / alpha))
    return y * np.float32(1.0507) if selu else y


def torch_gelu(
    model: Any,
    x: Array,
    *,
    logistic: bool = False,
    inverse_root: bool = False,
    constant: bool = False,
    square: bool = False,
) -> Array:
    if logistic:
        return x * sigmoid(np.float32(1.702) * x)
    root = np.float32(np.sqrt(np.pi / 2) if inverse_root else np.sqrt(2 / np.pi))
    cube = np.float32(0.44715 if constant else 0.044715) * (x * x if square else x * x * x)
    return x * (1 + np.tanh(root * (x + cube))) / 2


def torch_squeeze(
    model: Any,
    x: Array,
    *,
    maximum: bool = False,
    hard: bool = False,
    added: bool = False,
    no_relu: bool = False,
) -> Array:
    p = params(model)
    y = x.max((2, 3)) if maximum else x.mean((2, 3))
    y = y @ p["fc1.weight"][..., 0, 0].T + p["fc1.bias"]
    y = (y if no_relu else relu(y)) @ p["fc2.weight"][..., 0, 0].T + p["fc2.bias"]
    gate = (np.clip(y / 6 + np.float32(0.5), 0, 1) if hard else sigmoid(y))[..., None, None]
    return x + gate if added else x * gate


TORCH_OTHERS = [
    case(
        "torch_embedding_bag",
        build_bag,
        "",
        torch_bag,
        padding_counted="the mean divides by all indices, the padding included",
        padding_in="the padding's row is averaged too",
        summed="sums instead of averaging",
    ),
    case(
        "torch_bilinear",
        build_bilinear,
        "",
        torch_bilinear,
        no_bias="the bias is forgotten",
        swapped="the weight is read as (out, second, first)",
        out_last="the weight is read as (first, second, out)",
    ),
    case(
        "torch_cosine_similarity",
        build_cosine,
        "",
        torch_cosine,
        added="epsilon is added instead of bounding the norms",
        unguarded="epsilon is forgotten",
        other_axis="compares along the last axis instead of the second",
    ),
    case(
        "torch_pairwise_distance",
        build_distance,
        "",
        torch_distance,
        no_eps="epsilon is forgotten",
        eps_inside="epsilon is added to the sum of squares instead of the difference",
        squared="the root is forgotten",
        magnitude="epsilon is added to the magnitude of the difference",
    ),
    case(
        "torch_glu",
        partial(of_torch, nn.Sequential(nn.GLU(1), nn.Tanh()), 2, 6, 5, seed=99),
        "0",
        torch_glu,
        swapped="the first half is the gate instead of the second",
        tanh="the gate is a tanh",
        interleaved="takes every second channel as the gate",
        silu="the gate is a SiLU, as in SwiGLU",
    ),
    case(
        "torch_hardswish",
        lambda: (nn.Hardswish(), normal(100, 4, 30, scale=2.5)),
        "",
        torch_hardswish,
        swish="the smooth swish",
        keras_two="the gate has the slope 0.2 of Keras 2 instead of 1/6",
        no_product="only the gate, not multiplied with the input",
    ),
    case(
        "torch_softplus",
        lambda: (nn.Softplus(2, 1.5), normal(101, 4, 30)),
        "",
        torch_softplus,
        undivided="does not divide by beta",
        on_input="the threshold is compared with x instead of beta x",
        beta_outside="beta is left out of the exponential",
        one="beta is left at its default 1",
    ),
    case(
        "torch_celu",
        lambda: (nn.CELU(1.6), normal(102, 4, 30)),
        "",
        torch_celu,
        elu="ELU's formula, which does not divide by alpha in the exponential",
        one="alpha is left at its default 1",
        selu="is scaled as SELU is",
    ),
    case(
        "torch_gelu_tanh",
        lambda: (nn.GELU("tanh"), normal(103, 4, 30)),
        "",
        torch_gelu,
        logistic="the logistic approximation instead of the tanh one",
        inverse_root="the root of pi/2 instead of 2/pi",
        constant="the constant 0.44715 instead of 0.044715",
        square="the square of x instead of its cube",
    ),
    case(
        "torch_squeeze_excitation",
        partial(of_torch, torchvision.ops.SqueezeExcitation(5, 3), 3, 5, 4, 6, seed=104),
        "",
        torch_squeeze,
        maximum="squeezes with the greatest value instead of the mean",
        hard="the gate is a hard sigmoid",
        added="the gate is added instead of multiplied",
        no_relu="the activation between the two layers is forgotten",
    ),
]

CASES: list[Case] = [
    *KERAS_LINEAR,
    *KERAS_SPACE,
    *KERAS_SEQUENCES,
    *KERAS_OTHERS,
    *TORCH_SPACE,
    *TORCH_POOL,
    *TORCH_SEQUENCES,
    *TORCH_OTHERS,
]
