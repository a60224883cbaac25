"""Recurrent networks, state spaces and linear attention.

Written from the frameworks' references and from how ports go wrong, without a look at any tool.
"""

from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    conv,
    join_heads,
    layer_norm,
    linear,
    relu,
    rms_norm,
    sigmoid,
    silu,
    softmax,
)
from corpora.ports.trained import (
    inputs,
    normal_floats,
    tokens,
    train_keras,
    train_torch,
    weights_of,
)


def _dense(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def _half(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


class SimpleRecurrentUnits(nn.Module):
    """Recurrent units whose gates read the state element by element, with a highway."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(size, 3 * size, bias=False)
        self.forget_peep = nn.Parameter(torch.zeros(size))
        self.reset_peep = nn.Parameter(torch.zeros(size))
        self.forget_bias = nn.Parameter(torch.zeros(size))
        self.reset_bias = nn.Parameter(torch.zeros(size))
        self.highway = 3.0**0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        candidate, forget, reset = self.project(x).chunk(3, -1)
        c = torch.zeros_like(x[:, 0])
        out = []
        for t in range(x.shape[1]):
            f = torch.sigmoid(forget[:, t] + self.forget_peep * c + self.forget_bias)
            r = torch.sigmoid(reset[:, t] + self.reset_peep * c + self.reset_bias)
            c = f * c + (1 - f) * candidate[:, t]
            out.append(r * c + (1 - r) * x[:, t] * self.highway)
        return torch.stack(out, 1)


def build_sru() -> tuple[Any, np.ndarray]:
    return train_torch(SimpleRecurrentUnits(10), 6115, gain=1.5), inputs(6116, 2, 8, 10)


def sru(
    model: Any,
    x: np.ndarray,
    highway: float = 3.0**0.5,
    order: tuple[int, int, int] = (0, 1, 2),
    reset_reads: str = "state before",
    peep: bool = True,
    keep: str = "state",
    bounded: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    parts = np.split(x @ w["project.weight"].T, 3, -1)
    candidate, forget, reset = (parts[i] for i in order)
    c = np.zeros_like(x[:, 0])
    out = []
    for t in range(x.shape[1]):
        old = c if peep else np.zeros_like(c)
        f = sigmoid(forget[:, t] + w["forget_peep"] * old + w["forget_bias"])
        if keep == "candidate":
            c = (1 - f) * c + f * candidate[:, t]
        else:
            c = f * c + (1 - f) * candidate[:, t]
        seen = c if reset_reads == "state after" else old
        r = sigmoid(reset[:, t] + w["reset_peep"] * seen + w["reset_bias"])
        shown = np.tanh(c) if bounded else c
        out.append(r * shown + (1 - r) * x[:, t] * np.float32(highway))
    return np.stack(out, 1)


class OrderedNeurons(nn.Module):
    """An LSTM whose cells forget in an order, by cumulative softmaxes over chunks of cells."""

    def __init__(self, size: int, hidden: int, chunk: int) -> None:
        super().__init__()
        self.hidden, self.chunk, self.levels = hidden, chunk, hidden // chunk
        self.inner = nn.Linear(size, 4 * hidden + 2 * self.levels)
        self.outer = nn.Linear(hidden, 4 * hidden + 2 * self.levels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(x.shape[0], self.hidden)
        c = x.new_zeros(x.shape[0], self.levels, self.chunk)
        out = []
        for t in range(x.shape[1]):
            gates = self.inner(x[:, t]) + self.outer(h)
            master_in, master_forget = gates[:, : 2 * self.levels].chunk(2, 1)
            master_in = 1 - torch.cumsum(torch.softmax(master_in, -1), -1)[..., None]
            master_forget = torch.cumsum(torch.softmax(master_forget, -1), -1)[..., None]
            rest = gates[:, 2 * self.levels :].view(-1, self.levels * 4, self.chunk)
            o, g, i, f = rest.chunk(4, 1)
            overlap = master_forget * master_in
            f = torch.sigmoid(f) * overlap + (master_forget - overlap)
            i = torch.sigmoid(i) * overlap + (master_in - overlap)
            c = f * c + i * torch.tanh(g)
            h = (torch.sigmoid(o) * torch.tanh(c)).reshape(-1, self.hidden)
            out.append(h)
        return torch.stack(out, 1)


def build_ordered() -> tuple[Any, np.ndarray]:
    return train_torch(OrderedNeurons(6, 12, 3), 6117, gain=1.5), inputs(6118, 2, 7, 6)


def ordered(
    model: Any,
    x: np.ndarray,
    order: str = "ogif",
    input_master: str = "falling",
    overlap_used: bool = True,
    levels: str = "by chunk",
    outer_bias: bool = True,
    masters: tuple[int, int] = (0, 1),
) -> np.ndarray:
    w = weights_of(model)
    h, c = np.zeros((len(x), 12), np.float32), np.zeros((len(x), 12), np.float32)
    out = []
    for t in range(x.shape[1]):
        gates = _dense(x[:, t], w, "inner") + h @ w["outer.weight"].T
        if outer_bias:
            gates = gates + w["outer.bias"]
        heads = (gates[:, :4], gates[:, 4:8])
        rising = np.cumsum(softmax(heads[masters[0]]), -1)
        master_in = rising if input_master == "rising" else 1 - rising
        master_forget = np.cumsum(softmax(heads[masters[1]]), -1)
        if levels == "in turn":
            master_in, master_forget = np.tile(master_in, 3), np.tile(master_forget, 3)
        else:
            master_in, master_forget = np.repeat(master_in, 3, -1), np.repeat(master_forget, 3, -1)
        part = dict(zip(order, np.split(gates[:, 8:], 4, -1), strict=True))
        f, i = sigmoid(part["f"]), sigmoid(part["i"])
        if overlap_used:
            both = master_forget * master_in
            f, i = f * both + (master_forget - both), i * both + (master_in - both)
        else:
            f, i = f * master_forget, i * master_in
        c = f * c + i * np.tanh(part["g"])
        h = sigmoid(part["o"]) * np.tanh(c)
        out.append(h)
    return np.stack(out, 1)


class LegendreMemory(nn.Module):
    """A memory of Legendre polynomials over a window of steps, and a hidden state that reads it."""

    def __init__(self, size: int, hidden: int, order: int, window: float) -> None:
        super().__init__()
        rows = np.arange(order)[:, None]
        columns = np.arange(order)[None]
        sign = np.where(rows < columns, -1.0, (-1.0) ** (rows - columns + 1))
        a = (2 * rows + 1) / window * sign
        b = (2 * rows + 1) / window * (-1.0) ** rows
        # The zero-order hold of a step of one.
        joint = np.zeros((order + 1, order + 1))
        joint[:order, :order], joint[:order, order:] = a, b
        held = torch.linalg.matrix_exp(torch.tensor(joint)).float()
        self.register_buffer("a", held[:order, :order].clone())
        self.register_buffer("b", held[:order, order].clone())
        self.encode_x = nn.Linear(size, 1, bias=False)
        self.encode_h = nn.Linear(hidden, 1, bias=False)
        self.encode_m = nn.Linear(order, 1, bias=False)
        self.kernel_x = nn.Linear(size, hidden)
        self.kernel_h = nn.Linear(hidden, hidden, bias=False)
        self.kernel_m = nn.Linear(order, hidden, bias=False)
        self.hidden, self.order = hidden, order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(x.shape[0], self.hidden)
        m = x.new_zeros(x.shape[0], self.order)
        out = []
        for t in range(x.shape[1]):
            u = self.encode_x(x[:, t]) + self.encode_h(h) + self.encode_m(m)
            m = m @ self.a.T + u * self.b
            h = torch.tanh(self.kernel_x(x[:, t]) + self.kernel_h(h) + self.kernel_m(m))
            out.append(h)
        return torch.stack(out, 1)


def build_legendre() -> tuple[Any, np.ndarray]:
    return train_torch(LegendreMemory(5, 8, 6, 12.0), 6119), inputs(6120, 2, 9, 5)


def legendre(
    model: Any,
    x: np.ndarray,
    discretised: str = "held",
    transposed: bool = False,
    reads: str = "new memory",
    memory_encoded: bool = True,
    state: str = "",
) -> np.ndarray:
    w = weights_of(model)
    a, b = w["a"], w["b"]
    if discretised == "Euler":
        r, q = np.arange(6)[:, None], np.arange(6)[None]
        sign = np.where(r < q, -1.0, (-1.0) ** (r - q + 1))
        a = (np.eye(6) + (2 * r + 1) / 12 * sign).astype(np.float32)
        b = ((2 * r + 1) / 12 * (-1.0) ** r)[:, 0].astype(np.float32)
    if transposed:
        a = a.T
    h, m = np.zeros((len(x), 8), np.float32), np.zeros((len(x), 6), np.float32)
    out = []
    for t in range(x.shape[1]):
        u = _dense(x[:, t], w, "encode_x") + _dense(h, w, "encode_h")
        if memory_encoded:
            u = u + _dense(m, w, "encode_m")
        old = m
        m = m @ a.T + u * b
        if state == "half":
            m = _half(m)
        seen = old if reads == "old memory" else m
        h = _dense(x[:, t], w, "kernel_x") + _dense(h, w, "kernel_h") + _dense(seen, w, "kernel_m")
        h = np.tanh(h)
        out.append(h)
    return np.stack(out, 1)


class GatedLinearAttention(nn.Module):
    """Linear attention whose state decays by a gate for each channel of the keys."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(size, size // 2, bias=False)
        self.k = nn.Linear(size, size // 2, bias=False)
        self.v = nn.Linear(size, size, bias=False)
        self.g = nn.Linear(size, size, bias=False)
        self.decay = nn.Sequential(nn.Linear(size, 4, bias=False), nn.Linear(4, size // 2))
        self.norm = nn.RMSNorm(size // heads, eps=1e-5)
        self.o = nn.Linear(size, size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.heads, -1) for f in (self.q, self.k, self.v))
        decay = F.logsigmoid(self.decay(x)).view(b, t, self.heads, -1) / 16
        q = q * q.shape[-1] ** -0.5
        s = x.new_zeros(b, self.heads, q.shape[-1], v.shape[-1])
        out = []
        for i in range(t):
            s = decay[:, i].exp()[..., None] * s + k[:, i, :, :, None] * v[:, i, :, None]
            out.append((q[:, i, :, :, None] * s).sum(-2))
        y = self.norm(torch.stack(out, 1)).reshape(b, t, c)
        return self.o(y * F.silu(self.g(x)))


def build_gated_linear() -> tuple[Any, np.ndarray]:
    return train_torch(GatedLinearAttention(16, 2), 6121, gain=1.8), inputs(6122, 2, 9, 16)


def gated_linear(
    model: Any,
    x: np.ndarray,
    sharpness: float = 16.0,
    decay_bias: bool = True,
    gate: Any = silu,
    norm_over: str = "head",
    decays: str = "keys",
    read: str = "after",
) -> np.ndarray:
    w = weights_of(model)
    b, t, c = x.shape
    q = _dense(x, w, "q").reshape(b, t, 2, 4)
    k = _dense(x, w, "k").reshape(b, t, 2, 4)
    v = _dense(x, w, "v").reshape(b, t, 2, 8)
    z = _dense(x, w, "decay.0") @ w["decay.1.weight"].T
    if decay_bias:
        z = z + w["decay.1.bias"]
    z = z.reshape(b, t, 2, 4)
    decay = np.exp(-np.log1p(np.exp(-z)) / np.float32(sharpness))
    if decays == "new pairs too":
        k = k * (1 - decay)
    q = q / np.float32(2)
    s = np.zeros((b, 2, 4, 8), np.float32)
    out = []
    for i in range(t):
        new = k[:, i, :, :, None] * v[:, i, :, None]
        old = decay[:, i, :, :, None] * s
        s = old + new
        out.append((q[:, i, :, :, None] * (old if read == "before" else s)).sum(-2))
    y = np.stack(out, 1)
    if norm_over == "all channels":
        y = rms_norm(y.reshape(b, t, c), np.tile(w["norm.weight"], 2), 1e-5)
    else:
        y = rms_norm(y, w["norm.weight"], 1e-5).reshape(b, t, c)
    return _dense(y * gate(_dense(x, w, "g")), w, "o")


class RandomFeatureAttention(nn.Module):
    """Attention by positive random features of the softmax's kernel."""

    def __init__(self, size: int, heads: int, features: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        drawn = np.random.default_rng(6123).standard_normal((features, size // heads))
        self.register_buffer("projection", torch.tensor(drawn, dtype=torch.float32))

    def features(self, x: torch.Tensor, query: bool) -> torch.Tensor:
        scale = x.shape[-1] ** -0.25
        raised = scale * x @ self.projection.T
        length = (x * x).sum(-1, keepdim=True) / 2 * scale**2
        top = raised.amax(-1, True) if query else raised.amax((-1, -2), True)
        return len(self.projection) ** -0.5 * (torch.exp(raised - length - top) + 1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = self.features(q, True), self.features(k, False)
        norm = q @ k.sum(-2)[..., None]
        y = q @ (k.transpose(-1, -2) @ v) / norm
        return self.out(y.transpose(1, 2).reshape(b, t, c))


def build_random_features() -> tuple[Any, np.ndarray]:
    model = train_torch(RandomFeatureAttention(16, 2, 12), 6124, gain=1.3)
    return model, normal_floats(6125, 2, 7, 16)


def random_features(
    model: Any,
    x: np.ndarray,
    power: float = -0.25,
    length: bool = True,
    eps: str = "within",
    top_of_keys: str = "all keys",
    divided: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    b, t, _ = x.shape
    y = _dense(x, w, "qkv").reshape(b, t, 3, 2, 8).transpose(2, 0, 3, 1, 4)
    scale = np.float32(8.0**power)

    def features(a: np.ndarray, over: tuple[int, ...]) -> np.ndarray:
        raised = scale * a @ w["projection"].T
        if length:
            shift = (a * a).sum(-1, keepdims=True) / 2 * scale**2
        else:
            shift = np.float32(0)
        f = np.exp(raised - shift - raised.max(over, keepdims=True))
        return (f if eps == "dropped" else f + np.float32(1e-4)) / np.float32(np.sqrt(12))

    q = features(y[0], (-1,))
    k = features(y[1], (-1,) if top_of_keys == "each key" else (-1, -2))
    kernel = q @ k.swapaxes(-1, -2)
    if divided:
        kernel = kernel / kernel.sum(-1, keepdims=True)
    return _dense(join_heads(kernel @ y[2]), w, "out")


class MovingAverages(nn.Module):
    """Damped moving averages of several rates for each channel, a skip and SiLU."""

    def __init__(self, size: int, rates: int) -> None:
        super().__init__()
        self.damping = nn.Parameter(torch.zeros(size, rates))
        self.decay = nn.Parameter(torch.zeros(size, rates))
        self.expand = nn.Parameter(torch.zeros(size, rates))
        self.read = nn.Parameter(torch.zeros(size, rates))
        self.skip = nn.Parameter(torch.zeros(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = torch.sigmoid(self.damping)
        q = 1 - p * torch.sigmoid(self.decay)
        taps = torch.arange(x.shape[1], device=x.device)
        powers = q[..., None] ** taps
        gain = p * self.expand * self.read * self.read.shape[1] ** -0.5
        kernel = (gain[..., None] * powers).sum(1)
        padded = F.pad(x.transpose(1, 2), (x.shape[1] - 1, 0))
        y = F.conv1d(padded, kernel.flip(-1)[:, None], groups=x.shape[2]).transpose(1, 2)
        return F.silu(y + x * self.skip)


def build_averages() -> tuple[Any, np.ndarray]:
    return train_torch(MovingAverages(8, 4), 6126, gain=3.0), inputs(6127, 2, 9, 8)


def averages(
    model: Any,
    x: np.ndarray,
    rate: str = "damped",
    gained: bool = True,
    scaled: bool = True,
    backwards: bool = False,
    skip: str = "within",
) -> np.ndarray:
    w = weights_of(model)
    p, a = sigmoid(w["damping"]), sigmoid(w["decay"])
    q = 1 - p if rate == "of the damping alone" else 1 - p * a
    if rate == "of the decay alone":
        q = 1 - a
    h = np.zeros((len(x), 8, 4), np.float32)
    out = np.zeros_like(x)
    steps = range(x.shape[1])
    for t in reversed(steps) if backwards else steps:
        u = w["expand"] * x[:, t, :, None]
        h = q * h + (p * u if gained else u)
        out[:, t] = (h * w["read"]).sum(-1) * np.float32(0.5 if scaled else 1.0)
    if skip == "after":
        return silu(out) + x * w["skip"]
    return silu(out + x * w["skip"])


def build_conv_lstm1d() -> tuple[Any, np.ndarray]:
    inp = keras.Input((5, 10, 3))
    cell = keras.layers.ConvLSTM1D(
        4, 3, padding="same", dilation_rate=2, return_sequences=True, name="cell"
    )
    return train_keras(keras.Model(inp, cell(inp)), 6128, gain=1.6), inputs(6129, 2, 5, 10, 3)


def conv_lstm1d(
    model: Any,
    x: np.ndarray,
    order: str = "ifgo",
    dilated_state: bool = False,
    recurrent_gate: str = "sigmoid",
    shows: str = "new cell",
    dilation: int = 2,
    bias: bool = True,
) -> np.ndarray:
    kernel, recurrent, b = (np.asarray(v) for v in model.get_layer("cell").get_weights())

    def same(a: np.ndarray, k: np.ndarray, rate: int) -> np.ndarray:
        y = conv(a.swapaxes(1, 2), k.transpose(2, 1, 0), padding=rate, dilation=rate)
        return y.swapaxes(1, 2)

    def gate(z: np.ndarray) -> np.ndarray:
        if recurrent_gate == "hard":
            return np.clip(np.float32(0.2) * z + np.float32(0.5), 0, 1)
        return sigmoid(z)

    h = np.zeros((len(x), 10, 4), np.float32)
    c = np.zeros_like(h)
    out = []
    for t in range(x.shape[1]):
        z = same(x[:, t], kernel, dilation) + same(h, recurrent, 2 if dilated_state else 1)
        if bias:
            z = z + b
        part = dict(zip(order, np.split(z, 4, -1), strict=True))
        old = c
        c = gate(part["f"]) * c + gate(part["i"]) * np.tanh(part["g"])
        h = gate(part["o"]) * np.tanh(old if shows == "old cell" else c)
        out.append(h)
    return np.stack(out, 1)


class IndependentCell(keras.layers.Layer):
    """A recurrent cell in which each unit reads its own state alone, by a bounded weight."""

    def __init__(self, units: int, bound: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.bound = bound

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.recurrent = self.add_weight(shape=(self.units,), name="recurrent_weight")
        self.bias = self.add_weight(shape=(self.units,), name="bias")

    def call(self, x: Any, states: Any) -> Any:
        own = keras.ops.clip(self.recurrent, -self.bound, self.bound)
        h = keras.ops.relu(x @ self.kernel + own * states[0] + self.bias)
        return h, [h]


def build_independent() -> tuple[Any, np.ndarray]:
    inp = keras.Input((6, 5))
    y = keras.layers.RNN(IndependentCell(7, 0.9), return_sequences=True, name="first")(inp)
    y = keras.layers.LayerNormalization(name="norm")(y)
    y = keras.layers.RNN(
        IndependentCell(4, 0.9), return_sequences=True, go_backwards=True, name="second"
    )(y)
    return train_keras(keras.Model(inp, y), 6130), inputs(6131, 3, 6, 5)


def independent(
    model: Any,
    x: np.ndarray,
    bounded: bool = True,
    activation: Any = relu,
    turned_back: bool = False,
    backwards: bool = True,
    eps: float = 1e-3,
    state: str = "carried",
) -> np.ndarray:
    w = {v.path: np.asarray(v) for v in model.weights}

    def layer(a: np.ndarray, name: str) -> np.ndarray:
        kernel, own, bias = (np.asarray(v) for v in model.get_layer(name).get_weights())
        if bounded:
            own = np.clip(own, -0.9, 0.9).astype(np.float32)
        h = np.zeros((len(a), len(own)), np.float32)
        out = []
        for t in range(a.shape[1]):
            if state == "zero again at step 3" and t == 3:
                h = np.zeros_like(h)
            h = activation(a[:, t] @ kernel + own * h + bias)
            out.append(h)
        return np.stack(out, 1)

    y = layer(x, "first")
    y = layer_norm(y, w["norm/gamma"], w["norm/beta"], eps)
    y = layer(y[:, ::-1] if backwards else y, "second")
    return y[:, ::-1] if turned_back else y


def build_sentence() -> tuple[Any, np.ndarray]:
    inp = keras.Input((8,), dtype="int32")
    y = keras.layers.Embedding(20, 6, mask_zero=True, name="words")(inp)
    y = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True), name="both")(y)
    scores = keras.layers.Dense(5, activation="tanh", name="seen")(y)
    scores = keras.layers.Dense(1, use_bias=False, name="asked")(scores)
    there = keras.ops.expand_dims(keras.ops.not_equal(inp, 0), -1)
    share = keras.layers.Softmax(axis=1, name="share")(scores, mask=there)
    out = keras.layers.Dot(axes=(1, 1), name="pooled")([share, y])
    ids = tokens(6132, 3, 8, vocabulary=20)
    ids[1, 5:], ids[2, 3:] = 0, 0
    return train_keras(keras.Model(inp, out), 6133, gain=1.8), ids


def sentence(
    model: Any,
    x: np.ndarray,
    masked: str = "softmax and states",
    order: str = "ifgo",
    merged: str = "concatenated",
    turned_back: bool = True,
    activated: bool = True,
    pooled: str = "shares",
) -> np.ndarray:
    w = {name: model.get_layer(name).get_weights() for name in ("words", "both", "seen", "asked")}
    e = w["words"][0][x]
    there = x != 0

    def lstm(backwards: bool) -> np.ndarray:
        kernel, recurrent, bias = w["both"][3:] if backwards else w["both"][:3]
        h, c = np.zeros((len(x), 4), np.float32), np.zeros((len(x), 4), np.float32)
        out = [h] * 8
        for step, t in enumerate(reversed(range(8)) if backwards else range(8)):
            z = e[:, t] @ kernel + h @ recurrent + bias
            part = dict(zip(order, np.split(z, 4, -1), strict=True))
            new_c = sigmoid(part["f"]) * c + sigmoid(part["i"]) * np.tanh(part["g"])
            new_h = sigmoid(part["o"]) * np.tanh(new_c)
            known = there[:, t, None] | (masked == "softmax alone")
            c, h = np.where(known, new_c, c), np.where(known, new_h, h)
            out[t if turned_back else step] = h
        return np.stack(out, 1)

    ahead, back = lstm(False), lstm(True)
    y = np.concatenate([back, ahead] if merged == "backwards first" else [ahead, back], -1)
    seen = y @ w["seen"][0] + w["seen"][1]
    scores = (np.tanh(seen) if activated else seen) @ w["asked"][0]
    if masked != "states alone":
        scores = np.where(there[..., None], scores, np.float32(-1e9))
    share = softmax(scores, 1)
    if pooled == "masked mean":
        share = (there / there.sum(1, keepdims=True))[..., None].astype(np.float32)
    return share.swapaxes(1, 2) @ y


CASES = [
    Case(
        "third_simple_recurrent_units",
        build_sru,
        "",
        sru,
        {
            "highway_not_scaled": Mistake(
                partial(sru, highway=1.0),
                "The highway's input is added as it is (the paper's first version), where it is "
                "multiplied by the root of 3.",
            ),
            "gates_of_projection_swapped": Mistake(
                partial(sru, order=(0, 2, 1)),
                "The second part of the projection is taken for reset and the third for forget, "
                "where it is the other way round.",
            ),
            "reset_reads_new_state": Mistake(
                partial(sru, reset_reads="state after"),
                "The reset gate reads the new state, where it reads the one before.",
            ),
            "peepholes_forgotten": Mistake(
                partial(sru, peep=False),
                "The gates do not read the state at all, where each has a weight for it.",
            ),
            "forget_gate_turned": Mistake(
                partial(sru, keep="candidate"),
                "The forget gate weights the candidate and its complement the state, where it is "
                "the other way round.",
            ),
            "tanh_of_state": Mistake(
                partial(sru, bounded=True),
                "The output has tanh of the state, where it has the state itself.",
            ),
        },
    ),
    Case(
        "third_ordered_neurons_lstm",
        build_ordered,
        "",
        ordered,
        {
            "gates_in_order_of_torch": Mistake(
                partial(ordered, order="ifgo"),
                "The four gates are read as input, forget, cell, output, where they are output, "
                "cell, input, forget.",
            ),
            "input_master_rises": Mistake(
                partial(ordered, input_master="rising"),
                "The input's master gate is the cumulative softmax, where it is one minus that.",
            ),
            "masters_multiplied_alone": Mistake(
                partial(ordered, overlap_used=False),
                "The gates are multiplied by their master gates, where they act in the overlap of "
                "the two and the master gates alone beyond it.",
            ),
            "levels_tiled": Mistake(
                partial(ordered, levels="in turn"),
                "The four levels are tiled over the cells, where each level has three cells in a "
                "row.",
            ),
            "masters_swapped": Mistake(
                partial(ordered, masters=(1, 0)),
                "The first four numbers are taken for the forget master gate and the next four "
                "for the input's, where it is the other way round.",
            ),
            "second_bias_forgotten": Mistake(
                partial(ordered, outer_bias=False),
                "The bias of the recurrent projection is forgotten, where both projections have "
                "one.",
            ),
        },
    ),
    Case(
        "third_legendre_memory",
        build_legendre,
        "",
        legendre,
        {
            "euler_step": Mistake(
                partial(legendre, discretised="Euler"),
                "The memory's matrices are discretised by an Euler step, where they are by a "
                "zero-order hold.",
            ),
            "matrix_transposed": Mistake(
                partial(legendre, transposed=True),
                "The memory is multiplied by the transposed matrix, where it is by the matrix "
                "itself.",
            ),
            "reads_old_memory": Mistake(
                partial(legendre, reads="old memory"),
                "The hidden state reads the memory of the step before, where it reads the new one.",
            ),
            "memory_not_encoded": Mistake(
                partial(legendre, memory_encoded=False),
                "What is written to the memory is encoded from input and hidden state, where the "
                "memory is encoded too.",
            ),
            "memory_in_half_precision": Mistake(
                partial(legendre, state="half"),
                "The memory is rounded to half precision after each step, which is inherently "
                "small, where it is kept in float32.",
            ),
        },
    ),
    Case(
        "third_gated_linear_attention",
        build_gated_linear,
        "",
        gated_linear,
        {
            "gate_not_tempered": Mistake(
                partial(gated_linear, sharpness=1.0),
                "The log of the decay is used as it is, where it is divided by 16.",
            ),
            "decay_bias_forgotten": Mistake(
                partial(gated_linear, decay_bias=False),
                "The bias of the decay's second layer is forgotten, where it is added before the "
                "sigmoid.",
            ),
            "sigmoid_gate": Mistake(
                partial(gated_linear, gate=sigmoid),
                "The output gate is a sigmoid, where it is SiLU.",
            ),
            "normalised_over_all_heads": Mistake(
                partial(gated_linear, norm_over="all channels"),
                "The normalisation runs over the channels of both heads, where each head has its "
                "own.",
            ),
            "keys_times_one_minus_decay": Mistake(
                partial(gated_linear, decays="new pairs too"),
                "The keys are multiplied by one minus the decay (as in HGRN), where they are not.",
            ),
            "read_before_writing": Mistake(
                partial(gated_linear, read="before"),
                "The query reads the decayed state before the new pair is added, where it reads "
                "the state with it.",
            ),
        },
    ),
    Case(
        "third_random_feature_attention",
        build_random_features,
        "",
        random_features,
        {
            "whole_scale_on_both": Mistake(
                partial(random_features, power=-0.5),
                "Queries and keys are each divided by the root of the head's size, where each is "
                "by its fourth root.",
            ),
            "length_not_subtracted": Mistake(
                partial(random_features, length=False),
                "The exponent is the projection alone, where half of the squared length is "
                "subtracted from it.",
            ),
            "top_of_each_key": Mistake(
                partial(random_features, top_of_keys="each key"),
                "The maximum that is subtracted for stability is that of each key, which changes "
                "the keys' shares, where it is one of all keys.",
            ),
            "not_divided_by_norm": Mistake(
                partial(random_features, divided=False),
                "The sum of the values is used as it is, where it is divided by the sum of the "
                "kernel.",
            ),
        },
    ),
    Case(
        "third_damped_moving_averages",
        build_averages,
        "",
        averages,
        {
            "damping_alone": Mistake(
                partial(averages, rate="of the damping alone"),
                "The state keeps 1 - p of itself (a plain moving average), where it keeps one "
                "minus the product of p and the decay.",
            ),
            "input_not_weighted": Mistake(
                partial(averages, gained=False),
                "The new input is added as it is, where it is multiplied by the damping p.",
            ),
            "sum_of_rates_not_scaled": Mistake(
                partial(averages, scaled=False),
                "The sum over the four rates is used as it is, where it is divided by the root of "
                "four.",
            ),
            "kernel_not_flipped": Mistake(
                partial(averages, backwards=True),
                "The averages run from the end to the start, where they run from the start.",
            ),
            "skip_after_activation": Mistake(
                partial(averages, skip="after"),
                "The weighted input is added after SiLU, where it is added before.",
            ),
        },
    ),
    Case(
        "third_keras_conv_lstm1d_dilated",
        build_conv_lstm1d,
        "cell",
        conv_lstm1d,
        {
            "gates_in_another_order": Mistake(
                partial(conv_lstm1d, order="igfo"),
                "The gates are read as input, cell, forget, output (TensorFlow's old cell), where "
                "Keras has input, forget, cell, output.",
            ),
            "state_convolved_with_dilation": Mistake(
                partial(conv_lstm1d, dilated_state=True),
                "The state's convolution is dilated by 2 like the input's, where it is not "
                "dilated.",
            ),
            "hard_sigmoid_gates": Mistake(
                partial(conv_lstm1d, recurrent_gate="hard"),
                "The gates are hard sigmoids (the default of old versions of Keras), where they "
                "are sigmoids.",
            ),
            "shows_old_cell": Mistake(
                partial(conv_lstm1d, shows="old cell"),
                "The output reads the cell before its update, where it reads the new one.",
            ),
            "dilation_forgotten": Mistake(
                partial(conv_lstm1d, dilation=1),
                "The input's convolution is not dilated, where its rate is 2.",
            ),
            "bias_forgotten": Mistake(
                partial(conv_lstm1d, bias=False),
                "The bias of the gates (with ones for the forget gate) is forgotten, where it is "
                "added to both convolutions' sum.",
            ),
        },
    ),
    Case(
        "third_keras_independent_cells",
        build_independent,
        "second",
        independent,
        {
            "weights_not_bounded": Mistake(
                partial(independent, bounded=False),
                "The states' weights are used as they are, where they are clipped to 0.9.",
            ),
            "tanh_cells": Mistake(
                partial(independent, activation=np.tanh),
                "The cells have tanh (a recurrent cell's default), where they have ReLU.",
            ),
            "turned_back_in_time": Mistake(
                partial(independent, turned_back=True),
                "The second layer's steps are turned back into the order of time, where Keras "
                "leaves them as they were computed, the last step first.",
            ),
            "second_layer_forwards": Mistake(
                partial(independent, backwards=False),
                "The second layer runs forwards, where it runs from the end.",
            ),
            "epsilon_of_torch": Mistake(
                partial(independent, eps=1e-5),
                "Epsilon of the normalisation between the layers is 1e-5, where it is 1e-3.",
            ),
            "state_lost_between_chunks": Mistake(
                partial(independent, state="zero again at step 3"),
                "The steps are computed in two chunks of three and the states begin at zero in "
                "each, where they are carried on.",
            ),
        },
    ),
    Case(
        "third_keras_sentence_by_attention",
        build_sentence,
        "pooled",
        sentence,
        {
            "padding_has_shares": Mistake(
                partial(sentence, masked="states alone"),
                "The softmax gives shares to the padding, where it is masked.",
            ),
            "states_run_over_padding": Mistake(
                partial(sentence, masked="softmax alone"),
                "The LSTMs run over the padding too, so that the backward one begins in it, where "
                "their states stand still there.",
            ),
            "gates_in_order_of_onnx": Mistake(
                partial(sentence, order="iofg"),
                "The gates are read as input, output, forget, cell (ONNX's), where Keras has "
                "input, forget, cell, output.",
            ),
            "backwards_first": Mistake(
                partial(sentence, merged="backwards first"),
                "The backward states are put before the forward ones, where they come after them.",
            ),
            "backwards_not_turned": Mistake(
                partial(sentence, turned_back=False),
                "The backward LSTM's steps stay in the order in which they are computed, where "
                "they are turned back into the order of the words.",
            ),
            "scores_without_tanh": Mistake(
                partial(sentence, activated=False),
                "The scores come from the linear layer as it is, where tanh follows it.",
            ),
            "mean_of_the_words": Mistake(
                partial(sentence, pooled="masked mean"),
                "The words are averaged, where each has its share by the softmax.",
            ),
        },
    ),
]
