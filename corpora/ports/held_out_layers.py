"""Layers of PyTorch and Keras held out: written without knowing what a diagnosis can name."""

import math
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn

from corpora.ports.case import Case, Mistake


def draw(seed: int, *shape: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Numbers of a normal distribution."""
    values = np.random.default_rng(seed).normal(shift, scale, shape)
    return values.astype(np.float32)


def trained_value(rng: Any, name: str, shape: tuple[int, ...], fan: int) -> np.ndarray:
    """What a trained weight of this name could hold."""
    noise = rng.normal(size=shape)
    last = name.rsplit(".", 1)[-1]
    if "var" in last:
        value = rng.uniform(0.2, 1.6, shape)
    elif "mean" in last:
        value = 0.4 * noise
    elif "bias" in last or last == "beta":
        value = 0.3 * noise
    elif len(shape) == 1:
        value = 1 + 0.3 * noise
    else:
        value = noise / math.sqrt(fan)
    return value.astype(np.float32)


def settle_torch(module: Any, seed: int) -> Any:
    """Give a module weights as after training, in evaluation."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                shape = tuple(tensor.shape)
                fan = math.prod(shape[1:]) if shape else 1
                tensor.copy_(torch.tensor(trained_value(rng, name, shape, fan)))
    return module.eval()


def settle_keras(model: Any, seed: int) -> Any:
    """Give a Keras model weights as after training."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        fan = math.prod(shape[:-1])
        variable.assign(trained_value(rng, variable.name, shape, fan))
    return model


def read(module: Any) -> dict[str, np.ndarray]:
    """The weights of a PyTorch module by name."""
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def one_keras(layer: Any, shape: tuple[int, ...], seed: int) -> Any:
    """A Keras model of one layer."""
    return settle_keras(keras.Sequential([keras.Input(shape), layer]), seed)


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def soft_max(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def correlate(
    x: np.ndarray, kernel: np.ndarray, stride: int = 1, dilation: int = 1, groups: int = 1
) -> np.ndarray:
    """A convolution of any rank without padding: channels first, kernel as PyTorch has it."""
    rank = x.ndim - 2
    axes = tuple(range(2, 2 + rank))
    spans = tuple((k - 1) * dilation + 1 for k in kernel.shape[2:])
    windows = sliding_window_view(x, spans, axis=axes)
    windows = windows[(slice(None),) * 2 + (slice(None, None, stride),) * rank]
    windows = windows[(Ellipsis,) + (slice(None, None, dilation),) * rank]
    ins, outs = x.shape[1] // groups, kernel.shape[0] // groups
    taps = tuple(range(2 + rank, 2 + 2 * rank))
    parts = []
    for g in range(groups):
        part = windows[:, g * ins : (g + 1) * ins]
        own = kernel[g * outs : (g + 1) * outs]
        y = np.tensordot(part, own, axes=((1, *taps), (1, *axes)))
        parts.append(np.moveaxis(y, -1, 1))
    return np.concatenate(parts, 1)


def along_channels(bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    return bias.reshape(-1, *(1,) * (x.ndim - 2))


# PyTorch: convolutions.


def build_even_same() -> tuple[Any, np.ndarray]:
    return settle_torch(nn.Conv1d(5, 7, 4, padding="same"), 9001), draw(9002, 2, 5, 13)


def even_same(
    model: Any, x: np.ndarray, left: int = 1, flip: bool = False, bias: bool = True
) -> np.ndarray:
    w = read(model)
    kernel = w["weight"][:, :, ::-1] if flip else w["weight"]
    y = correlate(np.pad(x, [(0, 0), (0, 0), (left, 3 - left)]), kernel)
    return y + w["bias"][:, None] if bias else y


def build_depthwise() -> tuple[Any, np.ndarray]:
    layer = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=4)
    return settle_torch(layer, 9003), draw(9004, 2, 4, 8, 6)


def depthwise(
    model: Any, x: np.ndarray, pad: tuple[int, int] = (1, 1), tiled: bool = False
) -> np.ndarray:
    w = read(model)
    x = np.pad(x, [(0, 0), (0, 0), pad, pad])
    y = np.empty((2, 8, 4, 3), np.float32)
    for o in range(8):
        c = o % 4 if tiled else o // 2
        y[:, o : o + 1] = correlate(x[:, c : c + 1], w["weight"][o : o + 1], stride=2)
    return y + w["bias"][:, None, None]


def build_spread() -> tuple[Any, np.ndarray]:
    layer = nn.ConvTranspose1d(6, 6, 4, stride=2, padding=1)
    return settle_torch(layer, 9005), draw(9006, 2, 6, 7)


def spread(
    model: Any, x: np.ndarray, cut: int = 1, flip: bool = False, swap: bool = False
) -> np.ndarray:
    w = read(model)
    kernel = w["weight"].transpose(1, 0, 2) if swap else w["weight"]
    if flip:
        kernel = kernel[:, :, ::-1]
    n = x.shape[-1]
    full = np.zeros((2, 6, 2 * n + 2), np.float32)
    for t in range(n):
        full[:, :, 2 * t : 2 * t + 4] += np.einsum("bi,iok->bok", x[:, :, t], kernel)
    return full[:, :, cut : cut + 2 * n] + w["bias"][:, None]


def build_ring() -> tuple[Any, np.ndarray]:
    layer = nn.Conv3d(2, 3, 3, padding=(1, 1, 0), padding_mode="circular")
    return settle_torch(layer, 9007), draw(9008, 2, 2, 4, 5, 4)


def ring(
    model: Any, x: np.ndarray, mode: Any = "wrap", turn: bool = False, bias: bool = True
) -> np.ndarray:
    w = read(model)
    kernel = w["weight"].swapaxes(2, 3) if turn else w["weight"]
    y = correlate(np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], mode=mode), kernel)
    return y + along_channels(w["bias"], y) if bias else y


def build_unfold() -> tuple[Any, np.ndarray]:
    return nn.Unfold((2, 3), padding=(0, 1), stride=2).eval(), draw(9009, 2, 3, 6, 7)


def unfold(
    model: Any, x: np.ndarray, channels_last: bool = False, columns_first: bool = False
) -> np.ndarray:
    x = np.pad(x, [(0, 0), (0, 0), (0, 0), (1, 1)])
    windows = sliding_window_view(x, (2, 3), axis=(2, 3))[:, :, ::2, ::2]
    if channels_last:
        rows = windows.transpose(0, 4, 5, 1, 2, 3)
    else:
        rows = windows.transpose(0, 1, 4, 5, 2, 3)
    if columns_first:
        rows = rows.swapaxes(-1, -2)
    return rows.reshape(2, 18, -1)


# PyTorch: norms.


def build_root_mean() -> tuple[Any, np.ndarray]:
    return settle_torch(nn.RMSNorm(16, eps=1e-2), 9010), draw(9011, 2, 5, 16, scale=0.5, shift=0.2)


def root_mean(
    model: Any, x: np.ndarray, eps: float = 1e-2, centred: bool = False, n: int = 16
) -> np.ndarray:
    w = read(model)
    if centred:
        x = x - x.mean(-1, keepdims=True)
    square = (x * x).sum(-1, keepdims=True) / n
    return x / np.sqrt(square + eps) * w["weight"]


def root_mean_outside(model: Any, x: np.ndarray) -> np.ndarray:
    rms = np.sqrt(np.mean(x**2, axis=-1, keepdims=True))
    return x / (rms + 1e-2) * read(model)["weight"]


def build_frozen_batch() -> tuple[Any, np.ndarray]:
    layer = settle_torch(nn.BatchNorm2d(6, eps=5e-3), 9012)
    layer.running_var.mul_(0.3)
    return layer, draw(9013, 3, 6, 4, 4, scale=0.6, shift=0.3)


def frozen_batch(
    model: Any, x: np.ndarray, eps: float = 5e-3, live: bool = False, root: bool = True
) -> np.ndarray:
    w = {name: value.reshape(-1, 1, 1) for name, value in read(model).items() if value.ndim}
    mean, var = w["running_mean"], w["running_var"]
    if live:
        mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    below = np.sqrt(var + eps) if root else var + eps
    return (x - mean) / below * w["weight"] + w["bias"]


def frozen_batch_swapped(model: Any, x: np.ndarray) -> np.ndarray:
    w = read(model)
    gain, bias = w["bias"][:, None, None], w["weight"][:, None, None]
    mean, var = w["running_mean"][:, None, None], w["running_var"][:, None, None]
    return gain * (x - mean) / np.sqrt(var + 5e-3) + bias


# PyTorch: recurrences.


def build_gated() -> tuple[Any, np.ndarray]:
    return settle_torch(nn.GRU(5, 6, batch_first=True), 9014), draw(9015, 2, 7, 5)


def gated(
    model: Any,
    x: np.ndarray,
    order: str = "rzn",
    early_reset: bool = False,
    keep: str = "z",
    bias_in_reset: bool = True,
) -> np.ndarray:
    w = read(model)
    h = np.zeros((x.shape[0], 6), np.float32)
    at = {gate: slice(6 * i, 6 * i + 6) for i, gate in enumerate(order)}
    wi, wh = w["weight_ih_l0"], w["weight_hh_l0"]
    bi, bh = w["bias_ih_l0"], w["bias_hh_l0"]
    outputs = []
    for t in range(x.shape[1]):
        xs = x[:, t] @ wi.T + bi
        r = logistic(xs[:, at["r"]] + h @ wh[at["r"]].T + bh[at["r"]])
        z = logistic(xs[:, at["z"]] + h @ wh[at["z"]].T + bh[at["z"]])
        un, bn = wh[at["n"]], bh[at["n"]]
        if early_reset:
            inner = (r * h) @ un.T + bn
        elif bias_in_reset:
            inner = r * (h @ un.T + bn)
        else:
            inner = r * (h @ un.T) + bn
        n = np.tanh(xs[:, at["n"]] + inner)
        h = (1 - z) * n + z * h if keep == "z" else z * n + (1 - z) * h
        outputs.append(h)
    return np.stack(outputs, 1)


def build_two_way() -> tuple[Any, np.ndarray]:
    layer = nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)
    return settle_torch(layer, 9016), draw(9017, 2, 6, 5)


def two_way(
    model: Any,
    x: np.ndarray,
    order: str = "ifgo",
    turn_back: bool = True,
    forget: float = 0.0,
    squash: bool = True,
    both_biases: bool = True,
    own_reverse: bool = True,
) -> np.ndarray:
    w = read(model)
    for level in (0, 1):
        sides = []
        for suffix in ("", "_reverse"):
            tag = f"_l{level}" + (suffix if own_reverse or level == 0 else "")
            xs = x[:, ::-1] if suffix else x
            h = c = np.zeros((x.shape[0], 4), np.float32)
            outs = []
            for t in range(x.shape[1]):
                a = xs[:, t] @ w["weight_ih" + tag].T + h @ w["weight_hh" + tag].T
                a = a + w["bias_ih" + tag]
                if both_biases:
                    a = a + w["bias_hh" + tag]
                gate = dict(zip(order, np.split(a, 4, axis=1), strict=True))
                c = logistic(gate["f"] + forget) * c + logistic(gate["i"]) * np.tanh(gate["g"])
                h = logistic(gate["o"]) * (np.tanh(c) if squash else c)
                outs.append(h)
            y = np.stack(outs, 1)
            sides.append(y[:, ::-1] if suffix and turn_back else y)
        x = np.concatenate(sides, -1)
    return x


# PyTorch: embeddings, pooling, attention and the rest.


def build_bag() -> tuple[Any, np.ndarray]:
    ids = np.random.default_rng(9019).integers(1, 20, (3, 7))
    ids[0, 5:] = 0
    ids[1, 2] = 0
    ids[2, :3] = 0
    return settle_torch(nn.EmbeddingBag(20, 6, mode="mean", padding_idx=0), 9018), ids


def bag(
    model: Any, ids: np.ndarray, count_padding: bool = False, skip: bool = True, shift: int = 0
) -> np.ndarray:
    table = read(model)["weight"]
    rows = table[(ids + shift) % 20]
    used = (ids != 0) if skip else np.ones_like(ids, bool)
    total = (rows * used[..., None]).sum(1)
    n = np.full((3, 1), ids.shape[1]) if count_padding else used.sum(1, keepdims=True)
    return (total / n).astype(np.float32)


def build_mean_pool() -> tuple[Any, np.ndarray]:
    layer = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False)
    return layer.eval(), draw(9020, 2, 3, 8, 8, shift=0.5)


def mean_pool(model: Any, x: np.ndarray, counted: str = "inside", start: int = -1) -> np.ndarray:
    y = np.zeros((2, 3, 5, 5), np.float32)
    for i in range(5):
        for j in range(5):
            top, left = 2 * i + start, 2 * j + start
            part = x[:, :, max(top, 0) : top + 3, max(left, 0) : left + 3]
            if part.size == 0:
                continue
            if counted == "inside":
                y[:, :, i, j] = part.mean((2, 3))
            elif counted == "all":
                y[:, :, i, j] = part.sum((2, 3)) / 9
            else:
                y[:, :, i, j] = part.sum((2, 3)) / (3 * part.shape[3])
    return y


def build_adaptive() -> tuple[Any, np.ndarray]:
    return nn.AdaptiveAvgPool1d(4).eval(), draw(9021, 2, 3, 10)


def adaptive(model: Any, x: np.ndarray, end: str = "ceil") -> np.ndarray:
    y = []
    for i in range(4):
        a = i * 10 // 4
        if end == "ceil":
            b = -(-(i + 1) * 10 // 4)
        elif end == "floor":
            b = (i + 1) * 10 // 4
        else:
            b = a + 2
        y.append(x[:, :, a:b].mean(-1))
    return np.stack(y, -1)


def build_heads() -> tuple[Any, Any]:
    padded = np.zeros((2, 7), bool)
    padded[0, 5:] = True
    padded[1, 6:] = True
    x = (draw(9023, 2, 4, 8), draw(9024, 2, 7, 8), draw(9025, 2, 7, 8), padded)
    return settle_torch(nn.MultiheadAttention(8, 2, batch_first=True), 9022), x


def heads(
    model: Any,
    x: Any,
    scale: float = 0.5,
    masked: str = "padding",
    split: str = "blocks",
    swap_kv: bool = False,
    out_bias: bool = True,
) -> np.ndarray:
    q, k, v, padded = x
    w = read(model)
    wq, wk, wv = np.split(w["in_proj_weight"], 3)
    bq, bk, bv = np.split(w["in_proj_bias"], 3)
    if swap_kv:
        wk, wv, bk, bv = wv, wk, bv, bk

    def by_head(a: np.ndarray) -> np.ndarray:
        if split == "interleaved":
            return a.reshape(2, -1, 4, 2).transpose(0, 3, 1, 2)
        return a.reshape(2, -1, 2, 4).transpose(0, 2, 1, 3)

    q, k, v = by_head(q @ wq.T + bq), by_head(k @ wk.T + bk), by_head(v @ wv.T + bv)
    scores = q @ k.swapaxes(-1, -2) * scale
    if masked == "padding":
        scores = np.where(padded[:, None, None], -np.inf, scores)
    elif masked == "rest":
        scores = np.where(padded[:, None, None], scores, -np.inf)
    p = soft_max(scores)
    if masked == "after":
        p = p * ~padded[:, None, None]
    y = (p @ v).transpose(0, 2, 1, 3).reshape(2, 4, 8)
    y = y @ w["out_proj.weight"].T
    y = y + w["out_proj.bias"] if out_bias else y
    return y.astype(np.float32)


def build_softplus() -> tuple[Any, np.ndarray]:
    return nn.Softplus(beta=2, threshold=3).eval(), draw(9026, 3, 40, scale=1.5)


def softplus(
    model: Any, x: np.ndarray, beta: float = 2.0, over: float = 2.0, limit: float = 1.5
) -> np.ndarray:
    return np.where(x > limit, x, np.log1p(np.exp(beta * np.minimum(x, 9))) / over)


def build_glu() -> tuple[Any, np.ndarray]:
    return nn.GLU(dim=1).eval(), draw(9027, 2, 6, 9)


def glu_swapped(model: Any, x: np.ndarray) -> np.ndarray:
    a, b = np.split(x, 2, axis=1)
    return logistic(a) * b


def build_bicubic() -> tuple[Any, np.ndarray]:
    layer = nn.Upsample(scale_factor=2, mode="bicubic", align_corners=False)
    return layer.eval(), draw(9028, 2, 2, 5, 4)


def cubic_matrix(n: int, a: float, centres: str, border: str) -> np.ndarray:
    m = np.zeros((2 * n, n), np.float32)
    for i in range(2 * n):
        if centres == "half":
            at = (i + 0.5) / 2 - 0.5
        elif centres == "corners":
            at = i * (n - 1) / (2 * n - 1)
        else:
            at = i / 2
        low = math.floor(at)
        for j in range(low - 1, low + 3):
            d = abs(at - j)
            if d <= 1:
                weight = (a + 2) * d**3 - (a + 3) * d**2 + 1
            else:
                weight = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
            if border == "clamp":
                m[i, min(max(j, 0), n - 1)] += weight
            elif 0 <= j < n:
                m[i, j] += weight
    return m


def bicubic(
    model: Any, x: np.ndarray, a: float = -0.75, centres: str = "half", border: str = "clamp"
) -> np.ndarray:
    rows = cubic_matrix(5, a, centres, border)
    columns = cubic_matrix(4, a, centres, border)
    return np.einsum("ih,bchw,jw->bcij", rows, x, columns)


def build_shuffle() -> tuple[Any, np.ndarray]:
    return nn.PixelShuffle(2).eval(), draw(9029, 2, 12, 3, 4)


def shuffle(model: Any, x: np.ndarray, order: str = "crs") -> np.ndarray:
    b, _, h, w = x.shape
    if order == "rsc":
        y = x.reshape(b, 2, 2, 3, h, w).transpose(0, 3, 4, 1, 5, 2)
    elif order == "csr":
        y = x.reshape(b, 3, 2, 2, h, w).transpose(0, 1, 4, 3, 5, 2)
    else:
        y = x.reshape(b, 3, 2, 2, h, w).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(b, 3, 2 * h, 2 * w)


def build_bilinear() -> tuple[Any, Any]:
    return settle_torch(nn.Bilinear(5, 5, 6), 9030), (draw(9031, 4, 5), draw(9032, 4, 5))


def bilinear(model: Any, x: Any, formula: str = "bi,oij,bj->bo", bias: bool = True) -> np.ndarray:
    w = read(model)
    y = np.einsum(formula, x[0], w["weight"], x[1])
    return y + w["bias"] if bias else y


# Keras: convolutions.


def build_leaky_conv() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="leaky_relu")
    return one_keras(layer, (8, 6, 4), 9033), draw(9034, 2, 8, 6, 4)


def leaky_conv(
    model: Any,
    x: np.ndarray,
    pad: tuple[int, int] = (0, 1),
    slope: float = 0.2,
    turn: bool = False,
    late_bias: bool = False,
) -> np.ndarray:
    kernel, bias = model.layers[-1].get_weights()
    if turn:
        kernel = kernel.swapaxes(0, 1)
    x = np.pad(x, [(0, 0), pad, pad, (0, 0)]).transpose(0, 3, 1, 2)
    y = correlate(x, kernel.transpose(3, 2, 0, 1), stride=2).transpose(0, 2, 3, 1)
    if late_bias:
        return np.where(y > 0, y, slope * y) + bias
    y = y + bias
    return np.where(y > 0, y, slope * y)


def build_separable() -> tuple[Any, np.ndarray]:
    layer = keras.layers.SeparableConv1D(6, 3, depth_multiplier=2, padding="same")
    return one_keras(layer, (9, 3), 9035), draw(9036, 2, 9, 3)


def separable(
    model: Any, x: np.ndarray, order: str = "channel", point: str = "io", pad: int = 1
) -> np.ndarray:
    depth, pointwise, bias = model.layers[-1].get_weights()
    windows = sliding_window_view(np.pad(x, [(0, 0), (pad, 2 - pad), (0, 0)]), 3, axis=1)
    formula = "btck,kcm->btcm" if order == "channel" else "btck,kcm->btmc"
    mid = np.einsum(formula, windows, depth).reshape(2, 9, 6)
    matrix = pointwise[0] if point == "io" else pointwise[0].T
    return mid @ matrix + bias


def build_causal() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv1D(5, 3, dilation_rate=2, padding="causal")
    return one_keras(layer, (10, 4), 9037), draw(9038, 2, 10, 4)


def causal(
    model: Any, x: np.ndarray, left: int = 4, dilation: int = 2, flip: bool = False
) -> np.ndarray:
    kernel, bias = model.layers[-1].get_weights()
    if flip:
        kernel = kernel[::-1]
    span = 2 * dilation
    x = np.pad(x, [(0, 0), (min(left, span), span - min(left, span)), (0, 0)])
    y = sum(x[:, k * dilation : k * dilation + 10] @ kernel[k] for k in range(3))
    return y + bias


def build_keras_transposed() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same")
    return one_keras(layer, (4, 3, 4), 9039), draw(9040, 2, 4, 3, 4)


def keras_transposed(
    model: Any, x: np.ndarray, cut: int = 0, flip: bool = False, swap: bool = False
) -> np.ndarray:
    kernel, bias = model.layers[-1].get_weights()
    if flip:
        kernel = kernel[::-1, ::-1]
    if swap:
        kernel = kernel.swapaxes(2, 3)
    full = np.zeros((2, 9, 7, 4), np.float32)
    for i in range(4):
        for j in range(3):
            tap = np.einsum("bi,hwoi->bhwo", x[:, i, j], kernel)
            full[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += tap
    return full[:, cut : cut + 8, cut : cut + 6] + bias


# Keras: norms.


def build_keras_layer_norm() -> tuple[Any, np.ndarray]:
    layer = keras.layers.LayerNormalization(epsilon=1e-2)
    return one_keras(layer, (5, 10), 9041), draw(9042, 2, 5, 10, scale=0.4, shift=0.3)


def keras_layer_norm(
    model: Any,
    x: np.ndarray,
    eps: float = 1e-2,
    ddof: int = 0,
    axis: int | tuple[int, ...] = -1,
    shift: bool = True,
) -> np.ndarray:
    gamma, beta = model.layers[-1].get_weights()
    mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True, ddof=ddof)
    y = (x - mean) / np.sqrt(var + eps) * gamma
    return y + beta if shift else y


def build_keras_group_norm() -> tuple[Any, np.ndarray]:
    x = draw(9044, 2, 4, 3, 6) * np.linspace(0.4, 2, 6, dtype=np.float32)
    return one_keras(keras.layers.GroupNormalization(groups=2), (4, 3, 6), 9043), x


def keras_group_norm(
    model: Any, x: np.ndarray, grouped: str = "blocks", over: tuple[int, ...] = (1, 2, 4)
) -> np.ndarray:
    gamma, beta = model.layers[-1].get_weights()
    if grouped == "strided":
        g = x.reshape(2, 4, 3, 3, 2).swapaxes(3, 4)
    else:
        g = x.reshape(2, 4, 3, 2, 3)
    y = (g - g.mean(over, keepdims=True)) / np.sqrt(g.var(over, keepdims=True) + 1e-3)
    if grouped == "strided":
        y = y.swapaxes(3, 4)
    return y.reshape(x.shape) * gamma + beta


# Keras: recurrences.


def build_hard_lstm() -> tuple[Any, np.ndarray]:
    layer = keras.layers.LSTM(5, recurrent_activation="hard_sigmoid", return_sequences=True)
    return one_keras(layer, (6, 4), 9045), draw(9046, 2, 6, 4)


def hard_lstm(
    model: Any, x: np.ndarray, order: str = "ifco", slope: float = 1 / 6, peek: bool = False
) -> np.ndarray:
    kernel, recurrent, bias = model.layers[-1].get_weights()
    h = c = np.zeros((2, 5), np.float32)
    outs = []

    def hard(a: np.ndarray) -> np.ndarray:
        return np.clip(slope * a + 0.5, 0, 1)

    for t in range(6):
        a = x[:, t] @ kernel + h @ recurrent + bias
        gate = dict(zip(order, np.split(a, 4, axis=1), strict=True))
        new = hard(gate["f"]) * c + hard(gate["i"]) * np.tanh(gate["c"])
        h = hard(gate["o"]) * np.tanh(c if peek else new)
        c = new
        outs.append(h)
    return np.stack(outs, 1)


def build_keras_gru() -> tuple[Any, np.ndarray]:
    layer = keras.layers.GRU(5, return_sequences=True, go_backwards=True)
    return one_keras(layer, (6, 4), 9047), draw(9048, 2, 6, 4)


def keras_gru(
    model: Any,
    x: np.ndarray,
    order: str = "zrh",
    rows: tuple[int, int] = (0, 1),
    backwards: bool = True,
    restore: bool = False,
    before: bool = False,
) -> np.ndarray:
    kernel, recurrent, bias = model.layers[-1].get_weights()
    bx, bh = bias[rows[0]], bias[rows[1]]
    h = np.zeros((2, 5), np.float32)
    outs = []
    for t in range(6):
        step = x[:, 5 - t] if backwards else x[:, t]
        xs = dict(zip(order, np.split(step @ kernel + bx, 3, axis=1), strict=True))
        hs = dict(zip(order, np.split(h @ recurrent + bh, 3, axis=1), strict=True))
        z, r = logistic(xs["z"] + hs["z"]), logistic(xs["r"] + hs["r"])
        inner = r * hs["h"]
        if before:
            inner = (r * h) @ recurrent[:, 10:] + bh[10:]
        h = z * h + (1 - z) * np.tanh(xs["h"] + inner)
        outs.append(h)
    return np.stack(outs[::-1] if restore else outs, 1)


def build_masked_rnn() -> tuple[Any, np.ndarray]:
    layers = [
        keras.Input((7,), dtype="int32"),
        keras.layers.Embedding(12, 4, mask_zero=True),
        keras.layers.SimpleRNN(5, return_sequences=True, name="held_rnn"),
    ]
    ids = np.random.default_rng(9050).integers(1, 12, (2, 7)).astype(np.int32)
    ids[0, 5:] = 0
    ids[1, 3] = 0
    return settle_keras(keras.Sequential(layers), 9049), ids


def masked_rnn(model: Any, ids: np.ndarray, skipped: str = "hold", shift: int = 0) -> np.ndarray:
    (table,) = model.layers[0].get_weights()
    kernel, recurrent, bias = model.layers[1].get_weights()
    h = np.zeros((2, 5), np.float32)
    outs = []
    for t in range(7):
        new = np.tanh(table[(ids[:, t] + shift) % 12] @ kernel + h @ recurrent + bias)
        used = (ids[:, t] != 0)[:, None]
        if skipped == "run":
            h = new
            outs.append(h)
        else:
            h = np.where(used, new, h)
            outs.append(h if skipped == "hold" else h * used)
    return np.stack(outs, 1).astype(np.float32)


# Keras: attention, dense layers, pooling and resizing.


def build_causal_heads() -> tuple[Any, np.ndarray]:
    x = keras.Input((5, 6))
    layer = keras.layers.MultiHeadAttention(2, key_dim=4, value_dim=3)
    model = keras.Model(x, layer(x, x, use_causal_mask=True))
    return settle_keras(model, 9051), 2 * draw(9052, 2, 5, 6)


def causal_heads(
    model: Any, x: np.ndarray, depth: int = 4, diagonal: int = 0, mix: str = "bhtv,hvd->btd"
) -> np.ndarray:
    wq, bq, wk, bk, wv, bv, wo, bo = model.layers[-1].get_weights()
    q = np.einsum("btd,dhk->bhtk", x, wq) + bq[:, None]
    k = np.einsum("btd,dhk->bhtk", x, wk) + bk[:, None]
    v = np.einsum("btd,dhk->bhtk", x, wv) + bv[:, None]
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(depth)
    scores = np.where(np.tri(5, k=diagonal, dtype=bool), scores, np.float32(-1e9))
    if mix == "raw":
        y = (soft_max(scores) @ v).transpose(0, 2, 3, 1).reshape(2, 5, 6)
        return y @ wo.reshape(6, 6) + bo
    return np.einsum(mix, soft_max(scores) @ v, wo) + bo


def build_einsum() -> tuple[Any, np.ndarray]:
    layer = keras.layers.EinsumDense("abc,cde->abde", (None, 3, 3), bias_axes="de")
    return one_keras(layer, (4, 5), 9053), draw(9054, 2, 4, 5)


def einsum_dense(
    model: Any, x: np.ndarray, formula: str = "abc,cde->abde", bias: str = "de"
) -> Any:
    kernel, b = model.layers[-1].get_weights()
    y = np.einsum(formula, x, kernel)
    return y + (b if bias == "de" else b.T)


def build_flat() -> tuple[Any, np.ndarray]:
    layers = [
        keras.Input((3, 4, 2)),
        keras.layers.Flatten(),
        keras.layers.Dense(7, activation="softsign"),
    ]
    return settle_keras(keras.Sequential(layers), 9055), draw(9056, 3, 3, 4, 2)


def flat(
    model: Any, x: np.ndarray, order: tuple[int, ...] = (0, 1, 2, 3), act: str = "softsign"
) -> np.ndarray:
    kernel, bias = model.layers[-1].get_weights()
    y = x.transpose(order).reshape(3, -1) @ kernel + bias
    return y / (1 + np.abs(y)) if act == "softsign" else np.tanh(y)


def build_same_pool() -> tuple[Any, np.ndarray]:
    layer = keras.layers.AveragePooling2D(3, strides=2, padding="same")
    return one_keras(layer, (6, 8, 2), 9057), draw(9058, 2, 6, 8, 2, shift=0.5)


def same_pool(model: Any, x: np.ndarray, start: int = 0, full: bool = False) -> np.ndarray:
    y = np.empty((2, 3, 4, 2), np.float32)
    for i in range(3):
        for j in range(4):
            top, left = 2 * i - start, 2 * j - start
            part = x[:, max(top, 0) : top + 3, max(left, 0) : left + 3]
            n = 9 if full else part.shape[1] * part.shape[2]
            y[:, i, j] = part.sum((1, 2)) / n
    return y


def build_resizing() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Resizing(7, 9, interpolation="bilinear")
    return one_keras(layer, (4, 6, 2), 9059), draw(9060, 2, 4, 6, 2)


def resizing(model: Any, x: np.ndarray, centres: str = "half") -> np.ndarray:
    def matrix(n: int, m: int) -> np.ndarray:
        out = np.zeros((m, n), np.float32)
        for i in range(m):
            if centres == "half":
                at = (i + 0.5) * n / m - 0.5
            elif centres == "corners":
                at = i * (n - 1) / (m - 1)
            else:
                at = i * n / m
            at = min(max(at, 0), n - 1)
            low = min(int(at), n - 2)
            share = round(at - low) if centres == "nearest" else at - low
            out[i, low] += 1 - share
            out[i, low + 1] += share
        return out

    return np.einsum("ih,bhwc,jw->bijc", matrix(4, 7), x, matrix(6, 9))


def build_additive() -> tuple[Any, Any]:
    query, value = keras.Input((3, 6)), keras.Input((5, 6))
    model = keras.Model([query, value], keras.layers.AdditiveAttention()([query, value]))
    return settle_keras(model, 9061), (draw(9062, 2, 3, 6), draw(9063, 2, 5, 6))


def additive(model: Any, x: Any, scaled: str = "outside", mixed: str = "value") -> np.ndarray:
    (scale,) = model.layers[-1].get_weights()
    query, value = x
    pairs = query[:, :, None] + value[:, None]
    if scaled == "outside":
        scores = (scale * np.tanh(pairs)).sum(-1)
    elif scaled == "inside":
        scores = np.tanh(scale * pairs).sum(-1)
    elif scaled == "mean":
        scores = (scale * np.tanh(pairs)).mean(-1)
    else:
        scores = np.tanh(pairs).sum(-1)
    if mixed == "over queries":
        p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        return p @ value
    return soft_max(scores) @ value


CASES = [
    Case(
        "held_conv1d_even_same",
        build_even_same,
        "",
        even_same,
        {
            "extra_left": Mistake(partial(even_same, left=2), "the odd pad is put on the left"),
            "flipped": Mistake(partial(even_same, flip=True), "kernel flipped, as np.convolve"),
            "flipped_no_bias": Mistake(
                partial(even_same, flip=True, bias=False), "kernel flipped, and no bias", 2
            ),
        },
    ),
    Case(
        "held_depthwise_multiplier",
        build_depthwise,
        "",
        depthwise,
        {
            "tiled": Mistake(
                partial(depthwise, tiled=True), "output channel o reads input o % C, not o // 2"
            ),
            "tf_same": Mistake(
                partial(depthwise, pad=(0, 1)), "padded 0 before and 1 after, as TensorFlow's same"
            ),
        },
    ),
    Case(
        "held_conv_transpose1d",
        build_spread,
        "",
        spread,
        {
            "cut_end": Mistake(partial(spread, cut=0), "the padding is cut off the end only"),
            "flipped": Mistake(partial(spread, flip=True), "kernel flipped in time"),
            "swapped": Mistake(partial(spread, swap=True), "kernel read as (out, in, k)"),
        },
    ),
    Case(
        "held_conv3d_circular",
        build_ring,
        "",
        ring,
        {
            "zeros": Mistake(partial(ring, mode="constant"), "zeros for padding, not circular"),
            "turned": Mistake(partial(ring, turn=True), "depth and height of the kernel swapped"),
            "reflect_no_bias": Mistake(
                partial(ring, mode="reflect", bias=False), "reflects the border, and no bias", 2
            ),
        },
    ),
    Case(
        "held_unfold",
        build_unfold,
        "",
        unfold,
        {
            "channels_last": Mistake(
                partial(unfold, channels_last=True), "rows ordered taps then channels"
            ),
            "columns_first": Mistake(
                partial(unfold, columns_first=True), "positions run down columns first"
            ),
        },
    ),
    Case(
        "held_rms_norm",
        build_root_mean,
        "",
        root_mean,
        {
            "centred": Mistake(partial(root_mean, centred=True), "subtracts the mean first"),
            "eps_outside": Mistake(root_mean_outside, "epsilon added after the root"),
            "eps": Mistake(partial(root_mean, eps=1e-5), "epsilon 1e-5, not 1e-2"),
            "unbiased": Mistake(partial(root_mean, n=15), "mean square over n - 1"),
        },
    ),
    Case(
        "held_batch_norm_eval",
        build_frozen_batch,
        "",
        frozen_batch,
        {
            "eps": Mistake(partial(frozen_batch, eps=1e-5), "epsilon 1e-5, not 5e-3"),
            "live": Mistake(partial(frozen_batch, live=True), "statistics of the batch"),
            "no_root": Mistake(partial(frozen_batch, root=False), "divides by the variance"),
            "swapped": Mistake(frozen_batch_swapped, "weight and bias read for each other"),
        },
    ),
    Case(
        "held_gru",
        build_gated,
        "",
        gated,
        {
            "order": Mistake(partial(gated, order="zrn"), "gates read in the order z, r, n"),
            "early_reset": Mistake(
                partial(gated, early_reset=True), "reset gate applied before the matrix"
            ),
            "kept": Mistake(partial(gated, keep="1-z"), "z and 1 - z swapped in the update"),
            "bias_out": Mistake(
                partial(gated, bias_in_reset=False), "b_hn added outside the reset gate"
            ),
            "order_bias": Mistake(
                partial(gated, keep="1-z", bias_in_reset=False),
                "z and 1 - z swapped, and b_hn outside the reset gate",
                2,
            ),
        },
    ),
    Case(
        "held_lstm_two_way",
        build_two_way,
        "",
        two_way,
        {
            "order": Mistake(partial(two_way, order="ifog"), "gates read as i, f, o, g"),
            "not_turned": Mistake(
                partial(two_way, turn_back=False), "outputs of the reverse side not turned back"
            ),
            "forget": Mistake(partial(two_way, forget=1.0), "1 added to the forget gate"),
            "unsquashed": Mistake(partial(two_way, squash=False), "no tanh of the cell"),
            "neighbour": Mistake(
                partial(two_way, own_reverse=False),
                "the second layer's reverse side has the forward side's weights",
            ),
            "order_bias": Mistake(
                partial(two_way, order="ifog", both_biases=False),
                "gates read as i, f, o, g, and only bias_ih added",
                2,
            ),
        },
    ),
    Case(
        "held_embedding_bag",
        build_bag,
        "",
        bag,
        {
            "denominator": Mistake(partial(bag, count_padding=True), "padding is counted"),
            "padding_in": Mistake(partial(bag, skip=False), "the padding row is averaged too"),
            "shifted": Mistake(partial(bag, shift=-1), "rows taken for ids less one"),
        },
    ),
    Case(
        "held_avg_pool_ceil",
        build_mean_pool,
        "",
        mean_pool,
        {
            "count_pad": Mistake(partial(mean_pool, counted="all"), "always divides by 9"),
            "count_rows": Mistake(
                partial(mean_pool, counted="columns"), "leaves out padded columns, not padded rows"
            ),
            "shifted": Mistake(partial(mean_pool, start=0), "windows begin without the padding"),
        },
    ),
    Case(
        "held_adaptive_pool",
        build_adaptive,
        "",
        adaptive,
        {
            "floor": Mistake(partial(adaptive, end="floor"), "the end of a window is floored"),
            "fixed": Mistake(partial(adaptive, end="fixed"), "every window is L // n wide"),
        },
    ),
    Case(
        "held_multihead_padding",
        build_heads,
        "",
        heads,
        {
            "scale": Mistake(
                partial(heads, scale=8**-0.5), "scaled by the root of the model's width"
            ),
            "inverted": Mistake(partial(heads, masked="rest"), "the mask is inverted"),
            "after": Mistake(partial(heads, masked="after"), "masked after the softmax"),
            "split": Mistake(partial(heads, split="interleaved"), "heads interleaved"),
            "swap_kv": Mistake(partial(heads, swap_kv=True), "K's and V's weights swapped"),
            "no_mask_no_bias": Mistake(
                partial(heads, masked="", out_bias=False), "no mask, and no output bias", 2
            ),
        },
    ),
    Case(
        "held_softplus",
        build_softplus,
        "",
        softplus,
        {
            "limit": Mistake(
                partial(softplus, limit=0.75), "linear beyond 0.75: beta multiplied in twice"
            ),
            "undivided": Mistake(partial(softplus, over=1.0), "not divided by beta"),
            "plain": Mistake(
                partial(softplus, beta=1.0, over=1.0, limit=20.0), "beta and threshold ignored", 2
            ),
        },
    ),
    Case(
        "held_glu",
        build_glu,
        "",
        lambda model, x: x[:, :3] * logistic(x[:, 3:]),
        {
            "swapped": Mistake(glu_swapped, "the first half gates the second"),
            "alternate": Mistake(
                lambda model, x: x[:, ::2] * logistic(x[:, 1::2]), "even and odd channels"
            ),
            "tanh": Mistake(lambda model, x: x[:, :3] * np.tanh(x[:, 3:]), "tanh for the gate"),
        },
    ),
    Case(
        "held_bicubic",
        build_bicubic,
        "",
        bicubic,
        {
            "a": Mistake(partial(bicubic, a=-0.5), "cubic coefficient -0.5, not -0.75"),
            "corners": Mistake(partial(bicubic, centres="corners"), "corners aligned"),
            "asymmetric": Mistake(partial(bicubic, centres="none"), "no half-pixel shift"),
            "border": Mistake(partial(bicubic, border="zeros"), "zeros beyond the border"),
        },
    ),
    Case(
        "held_pixel_shuffle",
        build_shuffle,
        "",
        shuffle,
        {
            "depth_to_space": Mistake(
                partial(shuffle, order="rsc"), "the channels' last axis is C"
            ),
            "turned": Mistake(partial(shuffle, order="csr"), "rows and columns of a cell swapped"),
        },
    ),
    Case(
        "held_bilinear",
        build_bilinear,
        "",
        bilinear,
        {
            "transposed": Mistake(
                partial(bilinear, formula="bi,oji,bj->bo"), "each output's matrix transposed"
            ),
            "no_bias": Mistake(partial(bilinear, bias=False), "no bias"),
        },
    ),
    Case(
        "held_keras_conv_leaky",
        build_leaky_conv,
        "",
        leaky_conv,
        {
            "symmetric": Mistake(
                partial(leaky_conv, pad=(1, 1)), "padded 1 on both sides, as PyTorch does"
            ),
            "slope": Mistake(partial(leaky_conv, slope=0.01), "negative slope 0.01, not 0.2"),
            "turned": Mistake(partial(leaky_conv, turn=True), "kernel's height and width swapped"),
            "late_bias": Mistake(partial(leaky_conv, late_bias=True), "bias after the activation"),
            "pad_slope": Mistake(
                partial(leaky_conv, pad=(1, 1), slope=0.01),
                "padded 1 on both sides, and negative slope 0.01",
                2,
            ),
        },
    ),
    Case(
        "held_keras_separable",
        build_separable,
        "",
        separable,
        {
            "multiplier": Mistake(
                partial(separable, order="multiplier"), "the multiplier runs before the channels"
            ),
            "transposed": Mistake(partial(separable, point="oi"), "pointwise kernel transposed"),
            "causal": Mistake(partial(separable, pad=2), "all the padding before"),
        },
    ),
    Case(
        "held_keras_causal",
        build_causal,
        "",
        causal,
        {
            "same": Mistake(partial(causal, left=2), "padded on both sides: not causal"),
            "one_short": Mistake(partial(causal, left=3), "one step of padding on the wrong side"),
            "undilated": Mistake(partial(causal, dilation=1), "dilation ignored"),
            "flipped": Mistake(partial(causal, flip=True), "kernel flipped in time"),
        },
    ),
    Case(
        "held_keras_conv_transpose",
        build_keras_transposed,
        "",
        keras_transposed,
        {
            "cut_start": Mistake(partial(keras_transposed, cut=1), "cut at the start"),
            "flipped": Mistake(partial(keras_transposed, flip=True), "kernel flipped"),
            "swapped": Mistake(partial(keras_transposed, swap=True), "kernel read as (in, out)"),
        },
    ),
    Case(
        "held_keras_layer_norm",
        build_keras_layer_norm,
        "",
        keras_layer_norm,
        {
            "eps": Mistake(partial(keras_layer_norm, eps=1e-3), "epsilon 1e-3, not 1e-2"),
            "unbiased": Mistake(partial(keras_layer_norm, ddof=1), "variance over n - 1"),
            "axes": Mistake(partial(keras_layer_norm, axis=(1, 2)), "statistics over time as well"),
            "unbiased_no_beta": Mistake(
                partial(keras_layer_norm, ddof=1, shift=False), "variance over n - 1, no beta", 2
            ),
        },
    ),
    Case(
        "held_keras_group_norm",
        build_keras_group_norm,
        "",
        keras_group_norm,
        {
            "strided": Mistake(
                partial(keras_group_norm, grouped="strided"), "groups of every second channel"
            ),
            "per_pixel": Mistake(
                partial(keras_group_norm, over=(4,)), "statistics of each pixel by itself"
            ),
            "instance": Mistake(
                partial(keras_group_norm, over=(1, 2)), "statistics of each channel by itself"
            ),
        },
    ),
    Case(
        "held_keras_lstm_hard",
        build_hard_lstm,
        "",
        hard_lstm,
        {
            "keras2": Mistake(partial(hard_lstm, slope=0.2), "hard sigmoid of 0.2 x + 0.5"),
            "order": Mistake(partial(hard_lstm, order="ifoc"), "gates read as i, f, o, c"),
            "old_cell": Mistake(partial(hard_lstm, peek=True), "the output shows the old cell"),
        },
    ),
    Case(
        "held_keras_gru_backwards",
        build_keras_gru,
        "",
        keras_gru,
        {
            "order": Mistake(partial(keras_gru, order="rzh"), "gates read as r, z, h"),
            "bias_twice": Mistake(
                partial(keras_gru, rows=(0, 0)), "the input's bias row for the recurrent one"
            ),
            "forwards": Mistake(partial(keras_gru, backwards=False), "runs forwards"),
            "restored": Mistake(partial(keras_gru, restore=True), "outputs put back in time order"),
            "before": Mistake(partial(keras_gru, before=True), "reset before the matrix"),
        },
    ),
    Case(
        "held_keras_masked_rnn",
        build_masked_rnn,
        "held_rnn",
        masked_rnn,
        {
            "unmasked": Mistake(partial(masked_rnn, skipped="run"), "masked steps are run"),
            "zeros": Mistake(partial(masked_rnn, skipped="zero"), "masked steps put out zeros"),
            "shifted": Mistake(partial(masked_rnn, shift=1), "the embedding of the next id"),
        },
    ),
    Case(
        "held_keras_causal_heads",
        build_causal_heads,
        "",
        causal_heads,
        {
            "scale": Mistake(partial(causal_heads, depth=3), "scaled by the root of value_dim"),
            "one_ahead": Mistake(partial(causal_heads, diagonal=1), "the mask lets one step ahead"),
            "open": Mistake(partial(causal_heads, diagonal=9), "no causal mask"),
            "merged": Mistake(partial(causal_heads, mix="raw"), "heads merged in the wrong order"),
        },
    ),
    Case(
        "held_keras_einsum_dense",
        build_einsum,
        "",
        einsum_dense,
        {
            "turned": Mistake(
                partial(einsum_dense, formula="abc,ced->abde"), "the kernel's outputs transposed"
            ),
            "bias_turned": Mistake(partial(einsum_dense, bias="ed"), "the bias transposed"),
        },
    ),
    Case(
        "held_keras_flatten_dense",
        build_flat,
        "",
        flat,
        {
            "channels_first": Mistake(
                partial(flat, order=(0, 3, 1, 2)), "flattened channels first"
            ),
            "width_first": Mistake(partial(flat, order=(0, 2, 1, 3)), "flattened width first"),
            "tanh": Mistake(partial(flat, act="tanh"), "tanh for softsign"),
        },
    ),
    Case(
        "held_keras_average_same",
        build_same_pool,
        "",
        same_pool,
        {
            "counted": Mistake(partial(same_pool, full=True), "padding counted in the mean"),
            "symmetric": Mistake(partial(same_pool, start=1), "windows begin in padding before"),
        },
    ),
    Case(
        "held_keras_resizing",
        build_resizing,
        "",
        resizing,
        {
            "corners": Mistake(partial(resizing, centres="corners"), "corners aligned"),
            "asymmetric": Mistake(partial(resizing, centres="none"), "no half-pixel shift"),
        },
    ),
    Case(
        "held_keras_additive",
        build_additive,
        "",
        additive,
        {
            "inside": Mistake(partial(additive, scaled="inside"), "the scale is within the tanh"),
            "mean": Mistake(partial(additive, scaled="mean"), "scores are means, not sums"),
            "unscaled": Mistake(partial(additive, scaled=""), "the scale is left out"),
            "axis": Mistake(
                partial(additive, mixed="over queries"), "the softmax runs over the queries"
            ),
        },
    ),
]
