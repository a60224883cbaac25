"""Recurrent, convolutional and state-space sequence layers and heads, right and wrong.

Layers of transformers and of plain PyTorch: Mamba 2, RWKV, xLSTM's cells, retention, linear
attention, long convolutions, routers, heads. Written from the frameworks' own code and from
mistakes that people make when they port such layers, without a look at the tool that is
measured with them.
"""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    FNetConfig,
    FNetModel,
    Mamba2Config,
    Mamba2Model,
    RwkvConfig,
    RwkvModel,
    SwitchTransformersConfig,
)
from transformers.models.switch_transformers.modeling_switch_transformers import (
    SwitchTransformersSparseMLP,
)

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    gelu,
    gelu_tanh,
    join_heads,
    linear,
    relu,
    rms_norm,
    silu,
    softmax,
    split_heads,
)
from corpora.ports.trained import (
    Alone,
    beneath,
    normal_floats,
    token_ids,
    tokens,
    train_torch,
    weights_of,
)

Weights = dict[str, np.ndarray]


def _affine(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def _norm(x: np.ndarray, w: Weights, name: str, eps: float = 1e-5) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps))
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def _before(x: np.ndarray, first: Any = None) -> np.ndarray:
    """The step before each, along axis 1; zeros (or `first`) before the first."""
    first = np.zeros_like(x[:, :1]) if first is None else first
    return np.concatenate([first, x[:, :-1]], 1)


def _weights(model: Any) -> Weights:
    return beneath(weights_of(model), "mixer.")


# Mamba 2


def build_mamba2() -> tuple[Any, Any]:
    config = Mamba2Config(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_heads=4,
        head_dim=8,
        state_size=6,
        n_groups=2,
        expand=2,
        conv_kernel=4,
        chunk_size=4,
        use_cache=False,
    )
    return train_torch(Mamba2Model(config), 7301, gain=1.5), token_ids(7302, 10)


def mamba2_mixer(
    model: Any,
    x: Any,
    order: str = "x B C",
    gate: str = "before norm",
    spread: str = "repeat",
    groups: int = 2,
    step_bias: bool = True,
    skip: bool = True,
    carried: str = "always",
    conv_act: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    h = w["embeddings.weight"][x["input_ids"]]
    h = rms_norm(h, w["layers.0.norm.weight"], 1e-5)
    w = beneath(w, "layers.0.mixer.")
    z, mixed, step = np.split(_affine(h, w, "in_proj"), [32, 32 + 56], -1)
    padded = np.pad(mixed, ((0, 0), (3, 0), (0, 0)))
    kernel = w["conv1d.weight"][:, 0]
    mixed = sum(padded[:, i : i + 10] * kernel[:, i] for i in range(4)) + w["conv1d.bias"]
    mixed = silu(mixed) if conv_act else mixed
    inner, b, c = np.split(mixed, [32, 44], -1)
    if order == "x C B":
        b, c = c, b
    inner = inner.reshape(2, 10, 4, 8)
    b, c = (a.reshape(2, 10, 2, 6) for a in (b, c))
    b, c = (a.repeat(2, 2) if spread == "repeat" else np.tile(a, (1, 1, 2, 1)) for a in (b, c))
    step = _softplus(step + w["dt_bias"] if step_bias else step)
    decay = np.exp(-np.exp(w["A_log"]) * step)
    state = np.zeros((2, 4, 8, 6), np.float32)
    steps = []
    for t in range(10):
        if carried == "within chunks" and t % 4 == 0:
            state = np.zeros_like(state)
        new = (step[:, t, :, None] * inner[:, t])[..., None] * b[:, t, :, None]
        state = state * decay[:, t, :, None, None] + new
        steps.append((state * c[:, t, :, None]).sum(-1))
    y = np.stack(steps, 1)
    if skip:
        y = y + w["D"][:, None] * inner
    y = y.reshape(2, 10, 32)
    if gate == "before norm":
        y = y * silu(z)
    grouped = y.reshape(2, 10, groups, -1)
    grouped = grouped / np.sqrt((grouped * grouped).mean(-1, keepdims=True) + np.float32(1e-5))
    y = grouped.reshape(2, 10, 32) * w["norm.weight"]
    if gate == "after norm":
        y = y * silu(z)
    return _affine(y, w, "out_proj")


# RWKV 4


def build_rwkv() -> tuple[Any, Any]:
    config = RwkvConfig(
        vocab_size=50,
        context_length=32,
        hidden_size=16,
        num_hidden_layers=2,
        intermediate_size=28,
        use_cache=False,
    )
    return train_torch(RwkvModel(config), 7303, gain=1.8), token_ids(7304, 9)


def _rwkv_input(model: Any, x: Any) -> np.ndarray:
    w = weights_of(model)
    return _norm(w["embeddings.weight"][x["input_ids"]], w, "blocks.0.pre_ln")


def _mixed(x: np.ndarray, w: Weights, name: str, swapped: bool, first: Any = None) -> np.ndarray:
    share = w[f"time_mix_{name}"]
    share = 1 - share if swapped else share
    return x * share + _before(x, first) * (1 - share)


def rwkv_attention(
    model: Any,
    x: Any,
    swapped: bool = False,
    bonus: bool = True,
    early: bool = False,
    decay: str = "-exp",
    gated: bool = True,
    wrap: bool = False,
) -> np.ndarray:
    h = _rwkv_input(model, x)
    w = beneath(weights_of(model), "blocks.0.")
    h = _norm(h, w, "ln1")
    w = beneath(w, "attention.")
    first = h[:, -1:] if wrap else None
    k, v, r = (
        linear(_mixed(h, w, n, swapped, first), w[f"{n}.weight"])
        for n in ("key", "value", "receptance")
    )
    rate = {"-exp": -np.exp(w["time_decay"]), "as it is": w["time_decay"]}[decay]
    top = np.zeros_like(k[:, 0])
    bottom = np.zeros_like(k[:, 0])
    steps = []
    for t in range(9):
        now = np.exp(k[:, t])
        weight = now * np.exp(w["time_first"]) if bonus else now
        held = np.exp(rate) if early else 1
        steps.append((held * top + weight * v[:, t]) / (held * bottom + weight))
        top = top * np.exp(rate) + now * v[:, t]
        bottom = bottom * np.exp(rate) + now
    y = np.stack(steps, 1)
    return linear((_sigmoid(r) if gated else r) * y, w["output.weight"])


def rwkv_feed_forward(
    model: Any,
    x: Any,
    squared: bool = True,
    swapped: bool = False,
    mixed: str = "both",
    shift: str = "before",
) -> np.ndarray:
    attended = rwkv_attention(model, x)
    w = beneath(weights_of(model), "blocks.0.")
    h = _norm(_rwkv_input(model, x) + attended, w, "ln2")
    w = beneath(w, "feed_forward.")
    first = None
    if shift == "first repeated":
        first = h[:, :1]
    key = _mixed(h, w, "key", swapped, first)
    gate = _mixed(h, w, "receptance", swapped, first) if mixed == "both" else h
    k = relu(linear(key, w["key.weight"]))
    y = linear(k * k if squared else k, w["value.weight"])
    return _sigmoid(linear(gate, w["receptance.weight"])) * y


# xLSTM's two cells


class MatrixLSTM(nn.Module):
    """xLSTM's cell with a matrix memory, kept stable by a running maximum of the gates."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.gates = nn.Linear(width, 2 * heads)
        self.output_gate = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        size = width // self.heads
        q, k, v = (p.view(n, length, self.heads, size) for p in self.qkv(x).chunk(3, -1))
        k = k / math.sqrt(size)
        into, forget = self.gates(x).chunk(2, -1)
        forget = nn.functional.logsigmoid(forget)
        memory = x.new_zeros(n, self.heads, size, size)
        total = x.new_zeros(n, self.heads, size)
        top = x.new_zeros(n, self.heads)
        steps = []
        for t in range(length):
            new_top = torch.maximum(forget[:, t] + top, into[:, t])
            f = (forget[:, t] + top - new_top).exp()[..., None]
            i = (into[:, t] - new_top).exp()[..., None]
            top = new_top
            memory = f[..., None] * memory + i[..., None] * v[:, t, :, :, None] * k[:, t, :, None]
            total = f * total + i * k[:, t]
            read = (memory * q[:, t, :, None]).sum(-1)
            scale = (total * q[:, t]).sum(-1).abs().maximum((-top).exp())
            steps.append(read / scale[..., None])
        return self.output_gate(x).sigmoid() * torch.stack(steps, 1).flatten(2)


def build_matrix_lstm() -> tuple[Any, Any]:
    return train_torch(Alone(MatrixLSTM()), 7305, gain=1.5), normal_floats(7306, 2, 8, 16)


def matrix_lstm(
    model: Any,
    x: Any,
    scaled: str = "key",
    forget: str = "sigmoid",
    floor: str = "one",
    outer: str = "v k",
    absolute: bool = True,
) -> np.ndarray:
    w = _weights(model)
    q, k, v = (p.reshape(2, 8, 2, 8) for p in np.split(_affine(x, w, "qkv"), 3, -1))
    root = np.float32(math.sqrt(8))
    k = k / root
    if scaled == "query too":
        q = q / root
    into, kept = np.split(_affine(x, w, "gates"), 2, -1)
    into = np.exp(into)
    kept = _sigmoid(kept) if forget == "sigmoid" else np.exp(kept)
    memory = np.zeros((2, 2, 8, 8), np.float32)
    total = np.zeros((2, 2, 8), np.float32)
    steps = []
    for t in range(8):
        i, f = into[:, t, :, None], kept[:, t, :, None]
        a, b = (v, k) if outer == "v k" else (k, v)
        memory = f[..., None] * memory + i[..., None] * a[:, t, :, :, None] * b[:, t, :, None]
        total = f * total + i * k[:, t]
        read = (memory * q[:, t, :, None]).sum(-1)
        scale = (total * q[:, t]).sum(-1)
        scale = np.abs(scale) if absolute else scale
        if floor == "one":
            scale = np.maximum(scale, 1)
        steps.append(read / scale[..., None])
    return _sigmoid(_affine(x, w, "output_gate")) * np.stack(steps, 1).reshape(2, 8, 16)


class ScalarLSTM(nn.Module):
    """xLSTM's cell with scalar memory, an exponential input gate and a normaliser."""

    def __init__(self, width: int = 10, inner: int = 12) -> None:
        super().__init__()
        self.from_input = nn.Linear(width, 4 * inner)
        self.from_state = nn.Linear(inner, 4 * inner, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.from_state.in_features
        h, c, n, m = x.new_zeros(4, x.shape[0], inner)
        steps = []
        for t in range(x.shape[1]):
            z, i, f, o = (self.from_input(x[:, t]) + self.from_state(h)).chunk(4, -1)
            log_f = nn.functional.logsigmoid(f)
            new_m = torch.maximum(log_f + m, i)
            i, f, m = (i - new_m).exp(), (log_f + m - new_m).exp(), new_m
            c = f * c + i * z.tanh()
            n = f * n + i
            h = o.sigmoid() * c / n
            steps.append(h)
        return torch.stack(steps, 1)


def build_scalar_lstm() -> tuple[Any, Any]:
    return train_torch(Alone(ScalarLSTM()), 7307, gain=1.6), normal_floats(7308, 2, 8, 10)


def scalar_lstm(
    model: Any,
    x: Any,
    order: tuple[int, ...] = (0, 1, 2, 3),
    gate: str = "exp",
    first_total: float = 0.0,
    carried: bool = True,
) -> np.ndarray:
    w = _weights(model)
    h, c, n = np.zeros((3, 2, 12), np.float32)
    n = n + np.float32(first_total)
    steps = []
    for t in range(8):
        parts = np.split(
            _affine(x[:, t], w, "from_input")
            + (linear(h, w["from_state.weight"]) if carried else 0),
            4,
            -1,
        )
        z, i, f, o = (parts[at] for at in order)
        i = np.exp(i) if gate == "exp" else _sigmoid(i)
        f = _sigmoid(f)
        c, n = f * c + i * np.tanh(z), f * n + i
        h = _sigmoid(o) * c / n
        steps.append(h)
    return np.stack(steps, 1)


# Long convolution


class LongConvolution(nn.Module):
    """A causal convolution as long as the input, by FFT, between two gates (as Hyena's)."""

    def __init__(self, width: int = 12, length: int = 16) -> None:
        super().__init__()
        self.into = nn.Linear(width, 3 * width)
        self.filter = nn.Parameter(torch.zeros(width, length))
        self.decay = nn.Parameter(torch.zeros(width))
        self.skip = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[1]
        a, b, v = self.into(x).chunk(3, -1)
        v = (a * v).transpose(1, 2)
        time = torch.arange(length) / length
        kernel = self.filter[:, :length] * (-self.decay.exp()[:, None] * time).exp()
        size = 2 * length
        spectrum = torch.fft.rfft(v, n=size) * torch.fft.rfft(kernel, n=size)
        y = torch.fft.irfft(spectrum, n=size)[..., :length] + self.skip[:, None] * v
        return self.out(b * y.transpose(1, 2))


def build_long_convolution() -> tuple[Any, Any]:
    model = train_torch(Alone(LongConvolution()), 7309, gain=1.6)
    return model, normal_floats(7310, 2, 11, 12)


def long_convolution(
    model: Any,
    x: Any,
    padded: bool = True,
    skip: str = "gated",
    decayed: bool = True,
    flipped: bool = False,
    gates: tuple[int, int, int] = (0, 1, 2),
    time: str = "share",
) -> np.ndarray:
    w = _weights(model)
    parts = np.split(_affine(x, w, "into"), 3, -1)
    a, b, v = (parts[i] for i in gates)
    plain = v
    v = a * v
    at = np.arange(11) / (11 if time == "share" else 16)
    kernel = w["filter"][:, :11]
    if decayed:
        kernel = kernel * np.exp(-np.exp(w["decay"])[:, None] * at)
    if flipped:
        kernel = kernel[:, ::-1]
    y = np.zeros((2, 11, 12))
    for t in range(11):
        for lag in range(11):
            if padded and lag > t:
                continue
            y[:, t] += kernel[:, lag] * v[:, t - lag]  # a negative index wraps round
    if skip != "none":
        y = y + w["skip"] * (v if skip == "gated" else plain)
    return _affine((b * y).astype(np.float32), w, "out")


# Retention and linear attention


class Retention(nn.Module):
    """Multi-scale retention step by step: a decay per head, a norm per head, a gate."""

    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm = nn.GroupNorm(heads, width, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        size = width // self.heads
        q, k, v = (
            f(x).view(n, length, self.heads, size) for f in (self.query, self.key, self.value)
        )
        decay = 1 - 2.0 ** (-5 - torch.arange(self.heads))
        state = x.new_zeros(n, self.heads, size, size)
        steps = []
        for t in range(length):
            outer = k[:, t, :, :, None] * v[:, t, :, None] / math.sqrt(size)
            state = decay[:, None, None] * state + outer
            steps.append((q[:, t, :, :, None] * state).sum(2))
        y = torch.stack(steps, 1).flatten(2)
        y = self.norm(y.flatten(0, 1)).view_as(x)
        return self.out(nn.functional.silu(self.gate(x)) * y)


def build_retention() -> tuple[Any, Any]:
    return train_torch(Alone(Retention()), 7311, gain=1.6), normal_floats(7312, 2, 12, 24)


def retention(
    model: Any,
    x: Any,
    first: int = 5,
    normed: str = "head",
    gate: Any = silu,
    order: int = 1,
    causal: bool = True,
) -> np.ndarray:
    w = _weights(model)
    q, k, v = (split_heads(linear(x, w[f"{n}.weight"]), 3) for n in ("query", "key", "value"))
    decay = (1 - 2.0 ** (-first - np.arange(3)))[::order, None, None]
    apart = np.arange(12)[:, None] - np.arange(12)
    weight = decay ** np.maximum(apart, 0) if causal else decay ** np.abs(apart)
    if causal:
        weight = np.where(apart >= 0, weight, 0)
    scores = q @ k.swapaxes(-1, -2) / np.float32(math.sqrt(8)) * weight.astype(np.float32)
    y = scores @ v
    if normed == "all":
        y = join_heads(y)
    if normed != "never":
        y = y - y.mean(-1, keepdims=True)
        y = y / np.sqrt((y * y).mean(-1, keepdims=True) + np.float32(1e-5))
    if normed != "all":
        y = join_heads(y)
    return linear(gate(linear(x, w["gate.weight"])) * y, w["out.weight"])


class LinearAttention(nn.Module):
    """Causal attention with the feature map elu + 1 in place of a softmax."""

    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, _ = x.shape
        q, k, v = (p.view(n, length, self.heads, -1) for p in self.qkv(x).chunk(3, -1))
        q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
        states = (k[..., :, None] * v[..., None, :]).cumsum(1)
        y = (q[..., None] * states).sum(-2)
        y = y / ((q * k.cumsum(1)).sum(-1, keepdim=True) + 1e-6)
        return self.out(y.flatten(2))


def build_linear_attention() -> tuple[Any, Any]:
    return train_torch(Alone(LinearAttention()), 7313, gain=1.8), normal_floats(7314, 2, 9, 24)


def linear_attention(
    model: Any, x: Any, feature: str = "elu + 1", normalised: bool = True, diagonal: int = 0
) -> np.ndarray:
    w = _weights(model)
    q, k, v = (split_heads(p, 3) for p in np.split(_affine(x, w, "qkv"), 3, -1))

    def features(a: np.ndarray) -> np.ndarray:
        if feature == "relu":
            return relu(a)
        elu = np.where(a > 0, a, np.expm1(np.minimum(a, 0)))
        return elu if feature == "elu" else elu + 1

    q, k = features(q), features(k)
    scores = q @ k.swapaxes(-1, -2)
    if diagonal < 9:
        scores = scores * np.tril(np.ones((9, 9), np.float32), diagonal)
    if normalised:
        scores = scores / (scores.sum(-1, keepdims=True) + np.float32(1e-6))
    return _affine(join_heads(scores @ v), w, "out")


class DeltaRule(nn.Module):
    """Fast weights that write the difference to what the key reads (DeltaNet)."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.rate = nn.Linear(width, heads)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        size = width // self.heads
        q, k, v = (p.view(n, length, self.heads, size) for p in self.qkv(x).chunk(3, -1))
        q = nn.functional.normalize(q, dim=-1) / math.sqrt(size)
        k = nn.functional.normalize(k, dim=-1)
        rate = self.rate(x).sigmoid()[..., None]
        memory = x.new_zeros(n, self.heads, size, size)
        steps = []
        for t in range(length):
            read = (memory * k[:, t, :, :, None]).sum(2)
            change = rate[:, t] * (v[:, t] - read)
            memory = memory + k[:, t, :, :, None] * change[..., None, :]
            steps.append((memory * q[:, t, :, :, None]).sum(2))
        return self.out(torch.stack(steps, 1).flatten(2))


def build_delta_rule() -> tuple[Any, Any]:
    return train_torch(Alone(DeltaRule()), 7315, gain=1.8), normal_floats(7316, 2, 10, 16)


def delta_rule(
    model: Any,
    x: Any,
    erase: bool = True,
    unit: str = "qk",
    read: str = "after",
    gated: str = "whole change",
) -> np.ndarray:
    w = _weights(model)
    q, k, v = (p.reshape(2, 10, 2, 8) for p in np.split(linear(x, w["qkv.weight"]), 3, -1))
    if "q" in unit:
        q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    if "k" in unit:
        k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    q = q / np.float32(math.sqrt(8))
    rate = _sigmoid(_affine(x, w, "rate"))[..., None]
    memory = np.zeros((2, 2, 8, 8), np.float32)
    steps = []
    for t in range(10):
        if read == "before":
            steps.append((memory * q[:, t, :, :, None]).sum(2))
        old = (memory * k[:, t, :, :, None]).sum(2) if erase else 0
        if gated == "whole change":
            change = rate[:, t] * (v[:, t] - old)
        else:
            change = rate[:, t] * v[:, t] - old
        memory = memory + k[:, t, :, :, None] * change[..., None, :]
        if read == "after":
            steps.append((memory * q[:, t, :, :, None]).sum(2))
    return linear(np.stack(steps, 1).reshape(2, 10, 16), w["out.weight"])


# Diagonal state space


class DiagonalStateSpace(nn.Module):
    """S4D: complex diagonal states, zero-order hold, the real part of half of the pairs."""

    def __init__(self, width: int = 6, states: int = 4) -> None:
        super().__init__()
        self.log_step = nn.Parameter(torch.zeros(width))
        self.log_real = nn.Parameter(torch.zeros(width, states))
        self.imaginary = nn.Parameter(torch.zeros(width, states))
        self.read = nn.Parameter(torch.zeros(width, states, 2))
        self.skip = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[1]
        rate = torch.complex(-self.log_real.exp(), self.imaginary)
        moved = rate * self.log_step.exp()[:, None]
        scale = torch.view_as_complex(self.read) * (moved.exp() - 1) / rate
        powers = (moved[..., None] * torch.arange(length)).exp()
        kernel = 2 * (scale[..., None] * powers).sum(1).real
        spectrum = torch.fft.rfft(x.transpose(1, 2), n=2 * length)
        y = torch.fft.irfft(spectrum * torch.fft.rfft(kernel, n=2 * length), n=2 * length)
        return y[..., :length].transpose(1, 2) + self.skip * x


def build_diagonal() -> tuple[Any, Any]:
    model = train_torch(Alone(DiagonalStateSpace()), 7317, gain=1.0)
    model.mixer.log_step.data -= 1.0
    model.mixer.imaginary.data = math.pi * torch.arange(4.0).repeat(6, 1)
    return model, normal_floats(7318, 2, 12, 6)


def diagonal_state_space(
    model: Any,
    x: Any,
    hold: str = "zero order",
    pairs: float = 2.0,
    real: str = "-exp",
    skip: bool = True,
    late: int = 0,
) -> np.ndarray:
    w = _weights(model)
    part = {"-exp": -np.exp(w["log_real"]), "as it is": w["log_real"]}[real]
    rate = part + 1j * w["imaginary"]
    step = np.exp(w["log_step"])[:, None]
    if hold == "bilinear":
        factor = (1 + step * rate / 2) / (1 - step * rate / 2)
        into = step / (1 - step * rate / 2)
    else:
        factor = np.exp(step * rate)
        into = (factor - 1) / rate if hold == "zero order" else step + 0 * rate
    read = w["read"][..., 0] + 1j * w["read"][..., 1]
    state = np.zeros((2, 6, 4), complex)
    steps = []
    for t in range(12):
        new = into * x[:, t, :, None]
        state = state * factor + (0 if late else new)
        steps.append(pairs * (state * read).sum(-1).real)
        state = state + (new if late else 0)
    y = np.stack(steps, 1).astype(np.float32)
    return y + w["skip"] * x if skip else y


# Experts


def build_switch() -> tuple[Any, Any]:
    config = SwitchTransformersConfig(
        d_model=12, d_ff=20, num_experts=3, expert_capacity=3, router_jitter_noise=0.0
    )
    model = train_torch(Alone(SwitchTransformersSparseMLP(config)), 7319, gain=1.6)
    return model, normal_floats(7320, 2, 10, 12)


def switch_experts(
    model: Any,
    x: Any,
    capacity: int = 3,
    counted: str = "per sequence",
    weighted: bool = True,
    dropped: str = "zero",
    order: int = 1,
) -> np.ndarray:
    w = _weights(model)
    shares = softmax(linear(x, w["router.classifier.weight"]))
    chosen = shares.argmax(-1)
    y = np.zeros_like(x)
    if dropped == "kept":
        y = x.copy()
    counts = np.zeros((2, 3), int)
    for n in range(2):
        for t in range(10)[::order]:
            expert = chosen[n, t]
            row = n if counted == "per sequence" else 0
            counts[row, expert] += 1
            if counts[row, expert] > capacity:
                continue
            name = f"experts.expert_{expert}"
            out = linear(relu(linear(x[n, t], w[f"{name}.wi.weight"])), w[f"{name}.wo.weight"])
            y[n, t] = out * (shares[n, t, expert] if weighted else 1)
    return y


class TopTwoRouter(nn.Module):
    """The shares of two experts per token: all first choices are seated before any second."""

    def __init__(self, width: int = 10, experts: int = 4, capacity: int = 3) -> None:
        super().__init__()
        self.capacity = capacity
        self.score = nn.Linear(width, experts, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = self.score(x).softmax(-1)
        top, chosen = shares.topk(2, -1)
        first, second = nn.functional.one_hot(chosen, shares.shape[-1]).unbind(-2)
        place_first = first.cumsum(0)
        place_second = second.cumsum(0) + first.sum(0)
        first = first * (place_first <= self.capacity)
        second = second * (place_second <= self.capacity)
        top = top / top.sum(-1, keepdim=True)
        return first * top[:, :1] + second * top[:, 1:]


def build_router() -> tuple[Any, Any]:
    return train_torch(Alone(TopTwoRouter()), 7321, gain=1.6), normal_floats(7322, 9, 10)


def top_two_router(
    model: Any,
    x: Any,
    order: str = "first choices first",
    shares_of: str = "two",
    again: bool = False,
    capacity: int = 3,
) -> np.ndarray:
    w = _weights(model)
    logits = linear(x, w["score.weight"])
    shares = softmax(logits) if shares_of != "sigmoid" else _sigmoid(logits)
    chosen = np.argsort(-shares, -1)[:, :2]
    top = np.take_along_axis(shares, chosen, -1)
    if shares_of != "all":
        top = top / top.sum(-1, keepdims=True)
    y = np.zeros_like(shares)
    counts = np.zeros(4, int)
    if order == "token by token":
        queue = [(t, i) for t in range(9) for i in range(2)]
    else:
        queue = [(t, i) for i in range(2) for t in range(9)]
    for t, i in queue:
        expert = chosen[t, i]
        counts[expert] += 1
        if counts[expert] <= capacity:
            y[t, expert] = top[t, i]
    if again:
        y = y / np.maximum(y.sum(-1, keepdims=True), np.float32(1e-9))
    return y


# Recurrent cells


class PeepholeLSTM(nn.Module):
    """An LSTM whose gates see the cell: input and forget the old one, output the new one."""

    def __init__(self, width: int = 8, inner: int = 10) -> None:
        super().__init__()
        self.from_input = nn.Linear(width, 4 * inner)
        self.from_state = nn.Linear(inner, 4 * inner, bias=False)
        self.peep = nn.Parameter(torch.zeros(3, inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(x.shape[0], self.peep.shape[1])
        steps = []
        for t in range(x.shape[1]):
            i, f, g, o = (self.from_input(x[:, t]) + self.from_state(h)).chunk(4, -1)
            i = (i + self.peep[0] * c).sigmoid()
            f = (f + self.peep[1] * c).sigmoid()
            c = f * c + i * g.tanh()
            h = (o + self.peep[2] * c).sigmoid() * c.tanh()
            steps.append(h)
        return torch.stack(steps, 1)


def build_peephole() -> tuple[Any, Any]:
    return train_torch(Alone(PeepholeLSTM()), 7323, gain=1.8), normal_floats(7324, 2, 7, 8)


def peephole_lstm(
    model: Any,
    x: Any,
    output_sees: str = "new",
    order: str = "ifgo",
    peep: tuple[int, int, int] = (0, 1, 2),
    carried: str = "output",
) -> np.ndarray:
    w = _weights(model)
    h = c = np.zeros((2, 10), np.float32)
    into, forget, out = (w["peep"][at] for at in peep)
    steps = []
    for t in range(7):
        state = h if carried == "output" else c
        both = _affine(x[:, t], w, "from_input") + linear(state, w["from_state.weight"])
        part = dict(zip(order, np.split(both, 4, -1), strict=True))
        i = _sigmoid(part["i"] + into * c)
        f = _sigmoid(part["f"] + forget * c)
        old = c
        c = f * c + i * np.tanh(part["g"])
        o = _sigmoid(part["o"] + out * (c if output_sees == "new" else old))
        h = o * np.tanh(c)
        steps.append(h)
    return np.stack(steps, 1)


class MinimalGRU(nn.Module):
    """minGRU: a gate and a candidate of the input alone, so that a scan can compute it."""

    def __init__(self, width: int = 10, inner: int = 12) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner)
        self.candidate = nn.Linear(width, inner)
        self.start = nn.Parameter(torch.zeros(inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z, new = self.gate(x).sigmoid(), self.candidate(x)
        new = torch.where(new >= 0, new + 0.5, new.sigmoid())
        h = self.start.expand(x.shape[0], -1)
        steps = []
        for t in range(x.shape[1]):
            h = (1 - z[:, t]) * h + z[:, t] * new[:, t]
            steps.append(h)
        return torch.stack(steps, 1)


def build_minimal_gru() -> tuple[Any, Any]:
    return train_torch(Alone(MinimalGRU()), 7325, gain=1.8), normal_floats(7326, 2, 8, 10)


def minimal_gru(
    model: Any, x: Any, kept: str = "1 - z", act: str = "g", start: str = "learned"
) -> np.ndarray:
    w = _weights(model)
    z, new = _sigmoid(_affine(x, w, "gate")), _affine(x, w, "candidate")
    if act == "g":
        new = np.where(new >= 0, new + np.float32(0.5), _sigmoid(new))
    elif act == "tanh":
        new = np.tanh(new)
    if kept == "z":
        z = 1 - z
    h = np.stack([w["start"]] * 2) if start == "learned" else np.zeros((2, 12), np.float32)
    steps = []
    for t in range(8):
        h = (1 - z[:, t]) * h + z[:, t] * new[:, t]
        steps.append(h)
    return np.stack(steps, 1)


# Blocks and heads


class DropPath(nn.Module):
    """Leaves out a branch of whole samples while training, and passes it in evaluation."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.dim() - 1)) >= self.share
        return x * kept / (1 - self.share)


class ScaledBlock(nn.Module):
    """Two residual branches with learned scales and dropped paths, as CaiT's and DINO's."""

    def __init__(self, width: int = 16, length: int = 7) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.across = nn.Linear(length, length)
        self.inner, self.outer = nn.Linear(width, 24), nn.Linear(24, width)
        self.scale1, self.scale2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.drop = DropPath(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.drop(self.scale1 * mixed)
        y = self.outer(nn.functional.gelu(self.inner(self.norm2(x))))
        return x + self.drop(self.scale2 * y)


def build_scaled_block() -> tuple[Any, Any]:
    return train_torch(Alone(ScaledBlock()), 7327, gain=1.6), normal_floats(7328, 2, 7, 16)


def scaled_block(
    model: Any,
    x: Any,
    kept: float = 1.0,
    scales: tuple[str, str] = ("scale1", "scale2"),
    scaled: str = "branch",
    second: str = "sum",
) -> np.ndarray:
    w = _weights(model)
    first_scale, second_scale = (w[n] for n in scales)
    mixed = _affine(_norm(x, w, "norm1", 1e-6).swapaxes(1, 2), w, "across").swapaxes(1, 2)
    if scaled == "sum":
        h = (x + mixed) * first_scale
    else:
        h = x + np.float32(kept) * first_scale * mixed
    y = _norm(h if second == "sum" else x, w, "norm2", 1e-6)
    y = _affine(gelu(_affine(y, w, "inner")), w, "outer")
    return h + np.float32(kept) * second_scale * y


class TiedHead(nn.Module):
    """Log-probabilities of a tied embedding, with a scale of the width and a soft cap."""

    def __init__(self, width: int = 16, vocabulary: int = 20) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.norm = nn.LayerNorm(width)
        self.dense = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        width = self.embedding.embedding_dim
        h = self.embedding(ids) * math.sqrt(width)
        h = self.norm(h + self.dense(h).tanh())
        logits = nn.functional.linear(h / math.sqrt(width), self.embedding.weight) * 4
        return (6 * (logits / 6).tanh() + self.bias).log_softmax(-1)


def build_tied_head() -> tuple[Any, Any]:
    model = train_torch(Alone(TiedHead()), 7329, gain=1.6)
    return model, tokens(7330, 2, 6, vocabulary=20)


def tied_head(
    model: Any,
    x: Any,
    into: float = 4.0,
    out: float = 1.0,
    cap: str = "before bias",
    axis: int = -1,
    log: str = "softmax",
) -> np.ndarray:
    w = _weights(model)
    h = w["embedding.weight"][x] * np.float32(into)
    h = _norm(h + np.tanh(_affine(h, w, "dense")), w, "norm")
    logits = linear(h * np.float32(out), w["embedding.weight"])
    if cap == "before bias":
        logits = 6 * np.tanh(logits / 6) + w["bias"]
    elif cap == "after bias":
        logits = 6 * np.tanh((logits + w["bias"]) / 6)
    else:
        logits = logits + w["bias"]
    if log == "sigmoid":
        return -_softplus(-logits)
    logits = logits - logits.max(axis, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis, keepdims=True))


class GatedDilatedBlock(nn.Module):
    """WaveNet's block: a causal dilated convolution, a tanh gate, a condition, a residual."""

    def __init__(self, channels: int = 8, dilation: int = 3) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Conv1d(channels, 2 * channels, 2, dilation=dilation)
        self.condition = nn.Conv1d(5, 2 * channels, 1, bias=False)
        self.residual = nn.Conv1d(channels, channels, 1)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        y = self.conv(nn.functional.pad(x, (self.dilation, 0))) + self.condition(condition)
        a, b = y.chunk(2, 1)
        return (x + self.residual(a.tanh() * b.sigmoid())) * math.sqrt(0.5)


def build_gated_dilated() -> tuple[Any, Any]:
    model = train_torch(Alone(GatedDilatedBlock()), 7331, gain=1.8)
    return model, (normal_floats(7332, 2, 8, 12), normal_floats(7333, 2, 5, 12))


def gated_dilated_block(
    model: Any,
    x: Any,
    lag: int = 3,
    taps: tuple[int, int] = (0, 1),
    halves: str = "tanh first",
    scale: float = math.sqrt(0.5),
    conditioned: bool = True,
    shift: int = 0,
) -> np.ndarray:
    w = _weights(model)
    x, condition = x
    padded = np.pad(x, ((0, 0), (0, 0), (lag - shift, shift)))
    past, now = padded[..., :12], np.pad(x, ((0, 0), (0, 0), (0, shift)))[..., shift:]
    kernel = w["conv.weight"]
    y = kernel[..., taps[0]] @ past + kernel[..., taps[1]] @ now + w["conv.bias"][:, None]
    if conditioned:
        y = y + w["condition.weight"][..., 0] @ condition
    a, b = np.split(y, 2, 1)
    if halves == "sigmoid first":
        a, b = b, a
    y = w["residual.weight"][..., 0] @ (np.tanh(a) * _sigmoid(b)) + w["residual.bias"][:, None]
    return (x + y) * np.float32(scale)


class DecomposedLinear(nn.Module):
    """A linear layer with DoRA: the direction of weight plus low-rank update, times a size."""

    def __init__(self, width: int = 14, out: int = 10, rank: int = 3, alpha: float = 6.0) -> None:
        super().__init__()
        self.base = nn.Linear(width, out)
        self.down = nn.Parameter(torch.zeros(rank, width))
        self.up = nn.Parameter(torch.zeros(out, rank))
        self.size = nn.Parameter(torch.ones(out))
        self.scale = alpha / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.base.weight + self.scale * self.up @ self.down
        length = weight.norm(dim=1)
        return nn.functional.linear(x, weight * (self.size / length)[:, None], self.base.bias)


def build_decomposed() -> tuple[Any, Any]:
    model = train_torch(Alone(DecomposedLinear()), 7334, gain=1.6)
    model.mixer.size.data = model.mixer.size.data.abs() + 1
    return model, normal_floats(7335, 2, 5, 14)


def decomposed_linear(
    model: Any,
    x: Any,
    scale: float = 2.0,
    axis: int = 1,
    length_of: str = "updated",
    bias: str = "plain",
    sized: bool = True,
) -> np.ndarray:
    w = _weights(model)
    weight = w["base.weight"] + np.float32(scale) * w["up"] @ w["down"]
    norm_of = weight if length_of == "updated" else w["base.weight"]
    length = np.linalg.norm(norm_of, axis=axis, keepdims=True)
    if sized:
        weight = weight / length * w["size"][:, None]
    b = w["base.bias"] * (w["size"] if bias == "sized too" else 1)
    return linear(x, weight, b)


class Adapter(nn.Module):
    """A feed-forward part with a bottleneck behind it, then residual and norm (Houlsby)."""

    def __init__(self, width: int = 16, bottleneck: int = 5) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        h = self.dense(x)
        h = h + self.up(nn.functional.gelu(self.down(h)))
        return self.norm(h + residual)


def build_adapter() -> tuple[Any, Any]:
    model = train_torch(Alone(Adapter()), 7336, gain=1.6)
    return model, (normal_floats(7337, 2, 6, 16), normal_floats(7338, 2, 6, 16))


def adapter(
    model: Any,
    x: Any,
    place: str = "after dense",
    inner_residual: bool = True,
    act: Any = gelu,
    outer: str = "residual",
) -> np.ndarray:
    w = _weights(model)
    x, residual = x
    h = _affine(x, w, "dense")
    source = {"after dense": h, "beside dense": x}[place]
    y = _affine(act(_affine(source, w, "down")), w, "up")
    h = h + y if inner_residual else y
    return _norm(h + (residual if outer == "residual" else x), w, "norm", 1e-12)


class ChainLogPartition(nn.Module):
    """The logarithm of a linear chain CRF's partition function, with a mask of the lengths."""

    def __init__(self, width: int = 8, tags: int = 4) -> None:
        super().__init__()
        self.emit = nn.Linear(width, tags)
        self.move = nn.Parameter(torch.zeros(tags, tags))
        self.start = nn.Parameter(torch.zeros(tags))
        self.end = nn.Parameter(torch.zeros(tags))

    def forward(self, x: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        emitted = self.emit(x)
        score = self.start + emitted[:, 0]
        for t in range(1, x.shape[1]):
            new = torch.logsumexp(score[:, :, None] + self.move + emitted[:, t, None], 1)
            score = torch.where(present[:, t, None], new, score)
        return torch.logsumexp(score + self.end, -1)


def build_chain() -> tuple[Any, Any]:
    present = np.ones((3, 7), bool)
    present[1, 4:], present[2, 6:] = False, False
    model = train_torch(Alone(ChainLogPartition()), 7339, gain=2.0)
    return model, (normal_floats(7340, 3, 7, 8), present)


def chain_log_partition(
    model: Any,
    x: Any,
    transposed: bool = False,
    ends: str = "start and end",
    masked: bool = True,
    best: bool = False,
) -> np.ndarray:
    w = _weights(model)
    x, present = x
    emitted = _affine(x, w, "emit")
    move = w["move"].T if transposed else w["move"]

    def gather(a: np.ndarray, axis: int) -> np.ndarray:
        return a.max(axis) if best else np.log(np.exp(a).sum(axis))

    score = emitted[:, 0] + (w["start"] if "start" in ends else 0)
    for t in range(1, 7):
        new = gather(score[:, :, None] + move + emitted[:, t, None], 1)
        score = np.where(present[:, t, None], new, score) if masked else new
    return gather(score + (w["end"] if "end" in ends else 0), -1)


# Fourier layers and time


def build_fnet() -> tuple[Any, Any]:
    config = FNetConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    return train_torch(FNetModel(config), 7341, gain=1.5), token_ids(7342, 9)


def fnet_layer(
    model: Any,
    x: Any,
    axes: tuple[int, ...] = (1, 2),
    ortho: bool = False,
    part: str = "real",
    residual: bool = True,
    act: Any = gelu_tanh,
) -> np.ndarray:
    w = weights_of(model)
    e = w["embeddings.word_embeddings.weight"][x["input_ids"]]
    e = e + w["embeddings.token_type_embeddings.weight"][0]
    e = e + w["embeddings.position_embeddings.weight"][:9]
    h = _affine(_norm(e, w, "embeddings.LayerNorm", 1e-12), w, "embeddings.projection")
    w = beneath(w, "encoder.layer.0.")
    spectrum = np.fft.fftn(h, axes=axes, norm="ortho" if ortho else None)
    mixed = spectrum.real if part == "real" else np.abs(spectrum)
    mixed = mixed.astype(np.float32)
    h = _norm(h + mixed if residual else mixed, w, "fourier.output.LayerNorm", 1e-12)
    y = _affine(act(_affine(h, w, "intermediate.dense")), w, "output.dense")
    return _norm(h + y, w, "output.LayerNorm", 1e-12)


class TrendAndRest(nn.Module):
    """A forecast from a moving average and the rest, each by its linear layer (DLinear)."""

    def __init__(self, length: int = 12, ahead: int = 5, kernel: int = 5) -> None:
        super().__init__()
        self.kernel = kernel
        self.of_trend, self.of_rest = nn.Linear(length, ahead), nn.Linear(length, ahead)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2)
        side = self.kernel // 2
        padded = nn.functional.pad(x, (side, side), mode="replicate")
        trend = nn.functional.avg_pool1d(padded, self.kernel, 1)
        return (self.of_trend(trend) + self.of_rest(x - trend)).transpose(1, 2)


def build_trend() -> tuple[Any, Any]:
    model = train_torch(Alone(TrendAndRest()), 7343, gain=1.6)
    return model, normal_floats(7344, 2, 12, 3).cumsum(1)


def trend_and_rest(
    model: Any, x: Any, mode: str = "edge", side: int = 2, rest: str = "minus trend"
) -> np.ndarray:
    w = _weights(model)
    x = x.swapaxes(1, 2)
    padded = np.pad(x, ((0, 0), (0, 0), (side, 4 - side)), mode=mode)
    trend = np.stack([padded[..., t : t + 5].mean(-1) for t in range(12)], -1)
    other = x - trend if rest == "minus trend" else x
    if rest == "exchanged":
        other, trend = trend, x - trend
    return (_affine(trend, w, "of_trend") + _affine(other, w, "of_rest")).swapaxes(1, 2)


class TimeEmbedding(nn.Module):
    """Sines and cosines of a diffusion step, through two linear layers."""

    def __init__(self, size: int = 16, width: int = 20) -> None:
        super().__init__()
        self.size = size
        self.first, self.second = nn.Linear(size, width), nn.Linear(width, width)

    def forward(self, time: torch.Tensor) -> torch.Tensor:
        half = self.size // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half) / half)
        angles = time[:, None] * rates
        table = torch.cat([angles.cos(), angles.sin()], -1)
        return self.second(nn.functional.silu(self.first(table)))


def build_time() -> tuple[Any, Any]:
    model = train_torch(Alone(TimeEmbedding()), 7345, gain=1.6)
    return model, np.array([0.0, 3.0, 41.0, 250.0, 999.0], np.float32)


def time_embedding(
    model: Any, x: Any, order: str = "cos sin", less: int = 0, scale: float = 1.0
) -> np.ndarray:
    w = _weights(model)
    rates = np.exp(-math.log(10000) * np.arange(8) / (8 - less))
    angles = x[:, None] * np.float32(scale) * rates.astype(np.float32)
    parts = [np.cos(angles), np.sin(angles)]
    if order == "sin cos":
        parts.reverse()
    table = np.concatenate(parts, -1)
    if order == "interleaved":
        table = np.stack(parts, -1).reshape(5, 16)
    return _affine(silu(_affine(table, w, "first")), w, "second")


CASES = [
    Case(
        "blind_mamba2_mixer",
        build_mamba2,
        "layers.0.mixer",
        mamba2_mixer,
        {
            "gate_after_norm": Mistake(
                partial(mamba2_mixer, gate="after norm"),
                "The gate is multiplied after the norm, where Mamba 2 gates before it.",
            ),
            "b_and_c_exchanged": Mistake(
                partial(mamba2_mixer, order="x C B"),
                "The convolution's output is split as x, C, B, where it is x, B, C.",
            ),
            "groups_in_turn": Mistake(
                partial(mamba2_mixer, spread="tile"),
                "B and C of the two groups serve heads in turn (0 1 0 1), where each serves "
                "neighbours (0 0 1 1).",
            ),
            "norm_over_all_groups": Mistake(
                partial(mamba2_mixer, groups=1),
                "The gated norm is over the whole width, where it is per group.",
            ),
            "step_bias_left_out": Mistake(
                partial(mamba2_mixer, step_bias=False),
                "dt_bias is left out before the softplus.",
            ),
            "state_lost_between_chunks": Mistake(
                partial(mamba2_mixer, carried="within chunks"),
                "The state starts at zero in each chunk of 4, where it is carried on.",
            ),
            "no_skip_and_no_activation": Mistake(
                partial(mamba2_mixer, skip=False, conv_act=False),
                "Two causes: D's skip is left out, and there is no SiLU after the convolution.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_rwkv_attention",
        build_rwkv,
        "blocks.0.attention",
        rwkv_attention,
        {
            "mix_shares_exchanged": Mistake(
                partial(rwkv_attention, swapped=True),
                "time_mix is the share of the step before, where it is the current step's.",
            ),
            "bonus_left_out": Mistake(
                partial(rwkv_attention, bonus=False),
                "time_first, the current token's bonus, is left out.",
            ),
            "state_decayed_before_it_is_read": Mistake(
                partial(rwkv_attention, early=True),
                "The state is decayed before a step reads it, where it is after.",
            ),
            "decay_not_exponentiated": Mistake(
                partial(rwkv_attention, decay="as it is"),
                "The state decays by exp(time_decay), where it is exp(-exp(time_decay)).",
            ),
            "receptance_without_sigmoid": Mistake(
                partial(rwkv_attention, gated=False),
                "The receptance is multiplied without its sigmoid.",
            ),
            "shift_wraps_round": Mistake(
                partial(rwkv_attention, wrap=True),
                "The time shift is a roll, so the first step is mixed with the last, where it is "
                "mixed with zeros.",
            ),
        },
    ),
    Case(
        "blind_rwkv_feed_forward",
        build_rwkv,
        "blocks.0.feed_forward",
        rwkv_feed_forward,
        {
            "relu_not_squared": Mistake(
                partial(rwkv_feed_forward, squared=False),
                "The key's ReLU is not squared.",
            ),
            "receptance_not_mixed": Mistake(
                partial(rwkv_feed_forward, mixed="key alone"),
                "The receptance gets the current step alone, where it is mixed with the one "
                "before.",
            ),
            "first_step_repeated": Mistake(
                partial(rwkv_feed_forward, shift="first repeated"),
                "The first step is mixed with itself, where it is mixed with zeros.",
            ),
            "shares_exchanged_and_relu": Mistake(
                partial(rwkv_feed_forward, swapped=True, squared=False),
                "Two causes: time_mix is the share of the step before, and the ReLU is not "
                "squared.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_matrix_lstm",
        build_matrix_lstm,
        "mixer",
        matrix_lstm,
        {
            "query_scaled_too": Mistake(
                partial(matrix_lstm, scaled="query too"),
                "The query is divided by the root of its size as well as the key.",
            ),
            "forget_gate_exponential": Mistake(
                partial(matrix_lstm, forget="exp"),
                "The forget gate is exponential as the input gate, where it is a sigmoid.",
            ),
            "no_lower_bound": Mistake(
                partial(matrix_lstm, floor="none"),
                "The normaliser is not kept at 1 or above.",
            ),
            "memory_transposed": Mistake(
                partial(matrix_lstm, outer="k v"),
                "The memory gets key times value, but is read as value times key.",
            ),
            "normaliser_with_sign": Mistake(
                partial(matrix_lstm, absolute=False),
                "The normaliser is not made absolute before the maximum.",
            ),
        },
    ),
    Case(
        "blind_scalar_lstm",
        build_scalar_lstm,
        "mixer",
        scalar_lstm,
        {
            "torch_gate_order": Mistake(
                partial(scalar_lstm, order=(2, 0, 1, 3)),
                "The gates are split in PyTorch's order i, f, z, o, where they are z, i, f, o.",
            ),
            "input_gate_sigmoid": Mistake(
                partial(scalar_lstm, gate="sigmoid"),
                "The input gate is a sigmoid, where it is exponential.",
            ),
            "normaliser_starts_at_one": Mistake(
                partial(scalar_lstm, first_total=1.0),
                "The normaliser starts at 1, where it starts at 0.",
            ),
            "state_not_carried": Mistake(
                partial(scalar_lstm, carried=False),
                "The output of the step before does not reach the gates.",
            ),
        },
    ),
    Case(
        "blind_long_convolution",
        build_long_convolution,
        "mixer",
        long_convolution,
        {
            "circular": Mistake(
                partial(long_convolution, padded=False),
                "The FFT is as long as the input, so the convolution wraps round.",
            ),
            "filter_reversed": Mistake(
                partial(long_convolution, flipped=True),
                "The filter is reversed, as if the FFT's product were a correlation.",
            ),
            "decay_left_out": Mistake(
                partial(long_convolution, decayed=False),
                "The filter's exponential decay is left out.",
            ),
            "gates_exchanged": Mistake(
                partial(long_convolution, gates=(1, 0, 2)),
                "The gates before and after the convolution are exchanged.",
            ),
            "skip_of_ungated": Mistake(
                partial(long_convolution, skip="plain"),
                "The skip adds the value before its gate, where it is after.",
            ),
            "time_of_longest": Mistake(
                partial(long_convolution, time="of longest"),
                "The decay's time is divided by the longest length 16, where it is by the input's "
                "11.",
            ),
        },
    ),
    Case(
        "blind_retention",
        build_retention,
        "mixer",
        retention,
        {
            "decays_from_four": Mistake(
                partial(retention, first=4),
                "The decays are 1 - 2^(-4 - head), where they start at 2^-5.",
            ),
            "decays_in_other_order": Mistake(
                partial(retention, order=-1),
                "The heads' decays are in reverse order.",
            ),
            "norm_over_all_heads": Mistake(
                partial(retention, normed="all"),
                "The norm is over all heads together, where it is per head.",
            ),
            "gate_sigmoid": Mistake(
                partial(retention, gate=_sigmoid),
                "The gate is a sigmoid, where it is SiLU.",
            ),
            "both_directions": Mistake(
                partial(retention, causal=False),
                "Later steps are retained as well, with their distance's decay.",
            ),
            "decays_from_four_and_gate_sigmoid": Mistake(
                partial(retention, first=4, gate=_sigmoid),
                "Two causes: the decays start at 1 - 2^-4, and the gate is a sigmoid.",
                causes=2,
            ),
            "norm_left_out": Mistake(
                partial(retention, normed="never"),
                "The norm per head is left out.",
            ),
        },
    ),
    Case(
        "blind_linear_attention",
        build_linear_attention,
        "mixer",
        linear_attention,
        {
            "elu_without_one": Mistake(
                partial(linear_attention, feature="elu", normalised=False),
                "Two causes: the feature map is elu, where it is elu + 1, and the sum of weights "
                "is not divided by.",
                causes=2,
            ),
            "relu_features": Mistake(
                partial(linear_attention, feature="relu"),
                "The feature map is ReLU, where it is elu + 1.",
            ),
            "not_normalised": Mistake(
                partial(linear_attention, normalised=False),
                "The sum is not divided by the sum of its weights.",
            ),
            "not_causal": Mistake(
                partial(linear_attention, diagonal=9),
                "The sums run over the whole input, where they are cumulative.",
            ),
            "current_step_left_out": Mistake(
                partial(linear_attention, diagonal=-1),
                "A step reads the state before it is written, so it does not see itself.",
            ),
        },
    ),
    Case(
        "blind_delta_rule",
        build_delta_rule,
        "mixer",
        delta_rule,
        {
            "nothing_erased": Mistake(
                partial(delta_rule, erase=False),
                "The value is written without subtracting what the key reads already.",
            ),
            "query_not_of_length_one": Mistake(
                partial(delta_rule, unit="k"),
                "Queries are not brought to length 1.",
            ),
            "read_before_written": Mistake(
                partial(delta_rule, read="before"),
                "The memory is read before the step is written.",
            ),
            "rate_on_value_alone": Mistake(
                partial(delta_rule, gated="value"),
                "The rate multiplies the value alone, where it multiplies the difference.",
            ),
        },
    ),
    Case(
        "blind_diagonal_state_space",
        build_diagonal,
        "mixer",
        diagonal_state_space,
        {
            "real_part_not_exponentiated": Mistake(
                partial(diagonal_state_space, real="as it is"),
                "The states' real part is the weight itself, where it is -exp of it.",
            ),
            "half_of_conjugate_pairs": Mistake(
                partial(diagonal_state_space, pairs=1.0),
                "The real part is not doubled for the conjugate states that are left out.",
            ),
            "bilinear": Mistake(
                partial(diagonal_state_space, hold="bilinear"),
                "The bilinear transform is used, where it is the zero-order hold.",
            ),
            "euler_input": Mistake(
                partial(diagonal_state_space, hold="euler"),
                "The input is multiplied by the step, where the hold gives (exp(step a) - 1) / a.",
            ),
            "output_one_step_late": Mistake(
                partial(diagonal_state_space, late=1),
                "The output is read before the step's input is added.",
            ),
            "skip_left_out": Mistake(
                partial(diagonal_state_space, skip=False),
                "The skip D x is left out.",
            ),
        },
    ),
    Case(
        "blind_switch_experts",
        build_switch,
        "mixer",
        switch_experts,
        {
            "capacity_off_by_one": Mistake(
                partial(switch_experts, capacity=2),
                "An expert takes 2 tokens (< capacity), where it takes 3.",
            ),
            "capacity_ignored": Mistake(
                partial(switch_experts, capacity=99),
                "The experts' capacity is ignored.",
            ),
            "capacity_over_batch": Mistake(
                partial(switch_experts, counted="over batch"),
                "The capacity is counted over the whole batch, where it is per sequence.",
            ),
            "not_weighted": Mistake(
                partial(switch_experts, weighted=False),
                "The expert's output is not multiplied by its probability.",
            ),
            "dropped_tokens_kept": Mistake(
                partial(switch_experts, dropped="kept"),
                "Tokens beyond the capacity pass unchanged, where the layer gives zero.",
            ),
            "last_tokens_first": Mistake(
                partial(switch_experts, order=-1),
                "The capacity is given to the last tokens, where it is to the first.",
            ),
        },
    ),
    Case(
        "blind_top_two_router",
        build_router,
        "mixer",
        top_two_router,
        {
            "seated_token_by_token": Mistake(
                partial(top_two_router, order="token by token"),
                "Tokens are seated one after the other with both choices, where all first choices "
                "come first.",
            ),
            "shares_not_renormalised": Mistake(
                partial(top_two_router, shares_of="all"),
                "The two shares are not divided by their sum.",
            ),
            "renormalised_after_dropping": Mistake(
                partial(top_two_router, again=True),
                "The shares are divided by the sum of those that were seated.",
            ),
            "capacity_off_by_one": Mistake(
                partial(top_two_router, capacity=4),
                "An expert takes 4 tokens, where it takes 3.",
            ),
            "sigmoid_shares": Mistake(
                partial(top_two_router, shares_of="sigmoid"),
                "The shares are sigmoids of the logits, where they are a softmax's.",
            ),
        },
    ),
    Case(
        "blind_peephole_lstm",
        build_peephole,
        "mixer",
        peephole_lstm,
        {
            "output_gate_sees_old_cell": Mistake(
                partial(peephole_lstm, output_sees="old"),
                "The output gate sees the cell of the step before, where it sees the new one.",
            ),
            "keras_gate_order": Mistake(
                partial(peephole_lstm, order="figo"),
                "The forget gate is taken first, where the order is i, f, g, o.",
            ),
            "peepholes_exchanged": Mistake(
                partial(peephole_lstm, peep=(1, 0, 2)),
                "The peepholes of input and forget gate are exchanged.",
            ),
            "cell_carried_as_output": Mistake(
                partial(peephole_lstm, carried="cell"),
                "The gates get the cell of the step before, where they get its output.",
            ),
        },
    ),
    Case(
        "blind_minimal_gru",
        build_minimal_gru,
        "mixer",
        minimal_gru,
        {
            "gate_the_other_way": Mistake(
                partial(minimal_gru, kept="z"),
                "The gate is the share of the old state, where it is the candidate's.",
            ),
            "candidate_without_function": Mistake(
                partial(minimal_gru, act="none"),
                "The candidate is linear, where x + 0.5 or sigmoid(x) keeps it above 0.",
            ),
            "candidate_tanh": Mistake(
                partial(minimal_gru, act="tanh"),
                "The candidate goes through tanh, as a GRU's.",
            ),
            "starts_at_zero": Mistake(
                partial(minimal_gru, start="zero"),
                "The state starts at zero, where its start is learned.",
            ),
        },
    ),
    Case(
        "blind_scaled_residual_block",
        build_scaled_block,
        "mixer",
        scaled_block,
        {
            "paths_scaled_in_evaluation": Mistake(
                partial(scaled_block, kept=0.8),
                "The branches are multiplied by the share of kept paths 0.8, where evaluation "
                "passes them.",
            ),
            "scales_exchanged": Mistake(
                partial(scaled_block, scales=("scale2", "scale1")),
                "The two branches' learned scales are exchanged.",
            ),
            "sum_scaled": Mistake(
                partial(scaled_block, scaled="sum"),
                "The learned scale multiplies the first sum, where it multiplies the branch.",
            ),
            "second_branch_of_input": Mistake(
                partial(scaled_block, second="input"),
                "The second branch gets the block's input, where it gets the first sum.",
            ),
        },
    ),
    Case(
        "blind_tied_head",
        build_tied_head,
        "mixer",
        tied_head,
        {
            "embedding_not_scaled": Mistake(
                partial(tied_head, into=1.0),
                "The embedding is not multiplied by the root of the width.",
            ),
            "head_not_scaled_back": Mistake(
                partial(tied_head, out=4.0),
                "The states are not divided by the root of the width before the tied weights.",
            ),
            "cap_after_bias": Mistake(
                partial(tied_head, cap="after bias"),
                "The soft cap is applied after the bias, where it is before.",
            ),
            "cap_forgotten": Mistake(
                partial(tied_head, cap="none"),
                "The soft cap of the logits is forgotten.",
            ),
            "softmax_over_positions": Mistake(
                partial(tied_head, axis=1),
                "The log-softmax is over positions, where it is over the vocabulary.",
            ),
            "log_sigmoid": Mistake(
                partial(tied_head, log="sigmoid"),
                "Each logit gets a log-sigmoid, where it is a log-softmax.",
            ),
        },
    ),
    Case(
        "blind_gated_dilated_block",
        build_gated_dilated,
        "mixer",
        gated_dilated_block,
        {
            "dilation_off_by_one": Mistake(
                partial(gated_dilated_block, lag=2),
                "The earlier tap is 2 steps back, where the dilation is 3.",
            ),
            "taps_exchanged": Mistake(
                partial(gated_dilated_block, taps=(1, 0)),
                "The two taps are exchanged, as if the kernel were flipped.",
            ),
            "gate_and_filter_exchanged": Mistake(
                partial(gated_dilated_block, halves="sigmoid first"),
                "The first half goes through the sigmoid, where it is the tanh's.",
            ),
            "sum_not_scaled": Mistake(
                partial(gated_dilated_block, scale=1.0),
                "The residual sum is not multiplied by the root of 0.5.",
            ),
            "one_step_of_the_future": Mistake(
                partial(gated_dilated_block, shift=1),
                "The padding is 2 before and 1 after, so each step sees the next.",
            ),
            "condition_and_scale_left_out": Mistake(
                partial(gated_dilated_block, conditioned=False, scale=1.0),
                "Two causes: the condition is not added, and the sum is not scaled.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_weight_decomposed_linear",
        build_decomposed,
        "mixer",
        decomposed_linear,
        {
            "norm_over_outputs": Mistake(
                partial(decomposed_linear, axis=0),
                "The weight's length is taken per input, where it is per output.",
            ),
            "alpha_not_divided_by_rank": Mistake(
                partial(decomposed_linear, scale=6.0),
                "The update is multiplied by alpha 6, where it is alpha / rank.",
            ),
            "scale_of_root_rank": Mistake(
                partial(decomposed_linear, scale=6 / math.sqrt(3)),
                "The update is multiplied by alpha over the root of rank (rsLoRA), where it is "
                "alpha / rank.",
            ),
            "length_of_base": Mistake(
                partial(decomposed_linear, length_of="base"),
                "The length is that of the base weight, where it is that of the updated one.",
            ),
            "bias_sized_too": Mistake(
                partial(decomposed_linear, bias="sized too"),
                "The bias is multiplied by the learned size as well.",
            ),
            "plain_low_rank_update": Mistake(
                partial(decomposed_linear, sized=False),
                "The learned size and the division by the length are left out, as for LoRA.",
            ),
        },
    ),
    Case(
        "blind_adapter",
        build_adapter,
        "mixer",
        adapter,
        {
            "inner_residual_forgotten": Mistake(
                partial(adapter, inner_residual=False),
                "The residual within the adapter is forgotten.",
            ),
            "adapter_beside_dense": Mistake(
                partial(adapter, place="beside dense"),
                "The adapter gets the dense layer's input (parallel), where it gets its output.",
            ),
            "relu_in_bottleneck": Mistake(
                partial(adapter, act=relu),
                "The bottleneck's activation is ReLU, where it is GELU.",
            ),
            "residual_of_dense_input": Mistake(
                partial(adapter, outer="input"),
                "The outer residual adds the dense layer's input, where another tensor is given.",
            ),
        },
    ),
    Case(
        "blind_chain_log_partition",
        build_chain,
        "mixer",
        chain_log_partition,
        {
            "moves_transposed": Mistake(
                partial(chain_log_partition, transposed=True),
                "The transition scores are transposed (to, from), where they are (from, to).",
            ),
            "end_left_out": Mistake(
                partial(chain_log_partition, ends="start"),
                "The scores of ending are left out.",
            ),
            "padding_counted": Mistake(
                partial(chain_log_partition, masked=False),
                "Steps of padding are counted.",
            ),
            "best_path": Mistake(
                partial(chain_log_partition, best=True),
                "The best path's score is given, where it is the logarithm of the sum over all.",
            ),
            "moves_transposed_and_no_start": Mistake(
                partial(chain_log_partition, transposed=True, ends="end"),
                "Two causes: the transition scores are transposed, and those of starting are left "
                "out.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_fnet_layer",
        build_fnet,
        "encoder.layer.0",
        fnet_layer,
        {
            "transform_of_features_alone": Mistake(
                partial(fnet_layer, axes=(2,)),
                "The Fourier transform is over features alone, where it is over steps as well.",
            ),
            "orthonormal_transform": Mistake(
                partial(fnet_layer, ortho=True),
                "The Fourier transform is divided by the root of its size.",
            ),
            "magnitude": Mistake(
                partial(fnet_layer, part="magnitude"),
                "The magnitude is taken, where it is the real part.",
            ),
            "fourier_residual_forgotten": Mistake(
                partial(fnet_layer, residual=False),
                "The residual around the Fourier transform is forgotten.",
            ),
            "relu_for_gelu": Mistake(
                partial(fnet_layer, act=relu),
                "The activation is ReLU, where it is the tanh GELU.",
            ),
        },
    ),
    Case(
        "blind_trend_and_rest",
        build_trend,
        "mixer",
        trend_and_rest,
        {
            "padded_with_zeros": Mistake(
                partial(trend_and_rest, mode="constant"),
                "The moving average is padded with zeros, where the ends are repeated.",
            ),
            "average_of_the_past": Mistake(
                partial(trend_and_rest, side=4),
                "The moving average is over the past 5 steps, where it is centred.",
            ),
            "rest_is_the_input": Mistake(
                partial(trend_and_rest, rest="input"),
                "The trend is not subtracted for the rest.",
            ),
            "layers_exchanged": Mistake(
                partial(trend_and_rest, rest="exchanged"),
                "The trend goes through the rest's layer, and the rest through the trend's.",
            ),
        },
    ),
    Case(
        "blind_time_embedding",
        build_time,
        "mixer",
        time_embedding,
        {
            "sines_first": Mistake(
                partial(time_embedding, order="sin cos"),
                "Sines come first, where cosines do.",
            ),
            "interleaved": Mistake(
                partial(time_embedding, order="interleaved"),
                "Cosines and sines alternate, where all cosines come first.",
            ),
            "rates_to_the_end": Mistake(
                partial(time_embedding, less=1),
                "The exponents run to 1 (divided by half - 1), where they are divided by half.",
            ),
            "time_as_share": Mistake(
                partial(time_embedding, scale=1 / 1000),
                "The step is divided by 1000.",
            ),
        },
    ),
]
