"""Networks of graphs, recommenders, tables and series.

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
from corpora.ports.numpy_parts import conv, layer_norm, linear, relu, sigmoid, softmax
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


def _log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def _log_sum(x: np.ndarray, axis: int) -> np.ndarray:
    top = x.max(axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(x - top).sum(axis))


class GraphConvolution(nn.Module):
    """Sums over weighted edges, normalised by the degrees of both ends, with loops added."""

    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        self.lin = nn.Linear(size, out, bias=False)
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: torch.Tensor, edges: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        loops = torch.arange(len(x), device=x.device)
        source = torch.cat([edges[0], loops])
        target = torch.cat([edges[1], loops])
        weight = torch.cat([weight, torch.ones_like(x[:, 0])])
        degree = torch.zeros_like(x[:, 0]).index_add(0, target, weight)
        root = degree**-0.5
        norm = root[source] * weight * root[target]
        h = self.lin(x)
        out = torch.zeros_like(h).index_add(0, target, norm[:, None] * h[source])
        return out + self.bias


def build_graph_convolution() -> tuple[Any, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(6201)
    edges = np.stack([rng.integers(0, 9, 20), rng.integers(0, 9, 20)])
    weight = rng.uniform(0.2, 2.0, 20).astype(np.float32)
    model = train_torch(GraphConvolution(6, 5), 6202)
    return model, (inputs(6203, 9, 6), edges, weight)


def graph_convolution(
    model: Any,
    x: tuple[np.ndarray, ...],
    loops: bool = True,
    degree_of: int = 1,
    norm: str = "both ends",
    degree: str = "weights",
    flow: tuple[int, int] = (0, 1),
    bias: str = "after",
) -> np.ndarray:
    w = weights_of(model)
    x, edges, weight = x
    n = len(x)
    if loops:
        edges = np.concatenate([edges, np.stack([np.arange(n)] * 2)], 1)
        weight = np.concatenate([weight, np.ones(n, np.float32)])
    source, target = edges[flow[0]], edges[flow[1]]
    degrees = np.zeros(n, np.float32)
    np.add.at(degrees, edges[degree_of], np.float32(1) if degree == "count" else weight)
    if degree == "whole numbers":
        degrees = degrees.astype(np.int32).astype(np.float32)
    degrees = np.maximum(degrees, np.float32(1e-12))
    root = degrees ** np.float32(-0.5)
    if norm == "mean":
        share = weight / degrees[target]
    else:
        share = root[source] * weight * root[target]
    h = x @ w["lin.weight"].T
    if bias == "before":
        h = h + w["bias"]
    out = np.zeros_like(h)
    np.add.at(out, target, share[:, None] * h[source])
    return out if bias == "before" else out + w["bias"]


class RelationalConvolution(nn.Module):
    """A convolution of a graph with kinds of edges, whose weights are mixtures of bases."""

    def __init__(self, size: int, out: int, relations: int, bases: int) -> None:
        super().__init__()
        self.bases = nn.Parameter(torch.zeros(bases, size, out))
        self.mixture = nn.Parameter(torch.zeros(relations, bases))
        self.root = nn.Linear(size, out)
        self.relations = relations

    def forward(self, x: torch.Tensor, edges: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        weight = torch.einsum("rb,bio->rio", self.mixture, self.bases)
        out = self.root(x)
        for r in range(self.relations):
            mine = kind == r
            source, target = edges[0, mine], edges[1, mine]
            total = torch.zeros_like(x).index_add(0, target, x[source])
            count = torch.bincount(target, minlength=len(x)).clamp(min=1)
            out = out + (total / count[:, None]) @ weight[r]
        return F.relu(out)


def build_relational() -> tuple[Any, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(6204)
    edges = np.stack([rng.integers(0, 8, 26), rng.integers(0, 8, 26)])
    model = train_torch(RelationalConvolution(5, 5, 3, 2), 6205, gain=1.5)
    return model, (inputs(6206, 8, 5), edges, rng.integers(0, 3, 26))


def relational(
    model: Any,
    x: tuple[np.ndarray, ...],
    count_of: str = "relation",
    basis: str = "in by out",
    root: bool = True,
    first_relation: int = 0,
    pooled: str = "mean",
) -> np.ndarray:
    w = weights_of(model)
    x, edges, kind = x
    bases = w["bases"].swapaxes(1, 2) if basis == "out by in" else w["bases"]
    weight = np.einsum("rb,bio->rio", w["mixture"], bases)
    out = _dense(x, w, "root") if root else np.tile(w["root.bias"], (len(x), 1))
    degree = np.maximum(np.bincount(edges[1], minlength=len(x)), 1)
    for r in range(3):
        source, target = edges[:, kind == r]
        total = np.zeros_like(x)
        np.add.at(total, target, x[source])
        count = np.maximum(np.bincount(target, minlength=len(x)), 1)
        if count_of == "all edges":
            count = degree
        if pooled == "mean":
            total = (total / count[:, None]).astype(np.float32)
        out = out + total @ weight[r - first_relation]
    return relu(out)


class ContinuousFilter(nn.Module):
    """A convolution of atoms with filters of their distances."""

    def __init__(self, size: int, gaussians: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.atoms = nn.Embedding(20, size)
        self.register_buffer("centres", torch.linspace(0, cutoff, gaussians))
        self.filters = nn.Sequential(
            nn.Linear(gaussians, size), nn.Softplus(), nn.Linear(size, size)
        )
        self.inner = nn.Linear(size, size, bias=False)
        self.outer = nn.Linear(size, size)

    def forward(self, kind: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        h = self.atoms(kind)
        apart = place[:, None] - place[None]
        far = (apart * apart).sum(-1).add(1e-12).sqrt()
        width = self.centres[1] - self.centres[0]
        spread = torch.exp(-0.5 / width**2 * (far[..., None] - self.centres) ** 2)
        z = self.filters[1](self.filters[0](spread)) - 0.6931471805599453
        window = 0.5 * (torch.cos(far * torch.pi / self.cutoff) + 1)
        window = window * (far < self.cutoff) * (1 - torch.eye(len(kind), device=far.device))
        kernel = self.filters[2](z) * window[..., None]
        y = (kernel * self.inner(h)[None]).sum(1)
        y = F.softplus(self.outer(y)) - 0.6931471805599453
        return h + y


def build_continuous() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(ContinuousFilter(8, 10, 3.0), 6207, gain=1.3)
    return model, (tokens(6208, 9, vocabulary=20), normal_floats(6209, 9, 3))


def continuous(
    model: Any,
    x: tuple[np.ndarray, ...],
    shifted: bool = True,
    half: float = 0.5,
    window: str = "cosine and end",
    self_pair: bool = False,
    distance: str = "length",
    residual: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    kind, place = x
    h = w["atoms.weight"][kind]
    apart = place[:, None] - place[None]
    far = (apart * apart).sum(-1)
    if distance == "length":
        far = np.sqrt(far)
    shift = np.float32(np.log(2)) if shifted else np.float32(0)

    def soft(a: np.ndarray) -> np.ndarray:
        return np.logaddexp(a, np.float32(0)) - shift

    width = w["centres"][1] - w["centres"][0]
    spread = np.exp(-np.float32(half) / width**2 * (far[..., None] - w["centres"]) ** 2)
    kernel = _dense(soft(_dense(spread, w, "filters.0")), w, "filters.2")
    fade = np.float32(0.5) * (np.cos(far * np.float32(np.pi / 3)) + 1)
    if window == "end alone":
        fade = np.ones_like(fade)
    if window != "cosine alone":
        fade = fade * (far < 3)
    if not self_pair:
        fade = fade * (1 - np.eye(len(kind), dtype=np.float32))
    y = (kernel * fade[..., None] * _dense(h, w, "inner")).sum(1)
    y = soft(_dense(y, w, "outer"))
    return h + y if residual else y


class DotInteraction(nn.Module):
    """A recommender: counts through a small network, tables of ids, and dots of each pair."""

    def __init__(self, counts: int, tables: int, size: int) -> None:
        super().__init__()
        self.bottom = nn.Sequential(
            nn.Linear(counts, 12), nn.ReLU(), nn.Linear(12, size), nn.ReLU()
        )
        self.tables = nn.ModuleList(nn.Embedding(15, size) for _ in range(tables))
        self.top = nn.Linear(size + (tables + 1) * tables // 2, 4)

    def forward(self, counts: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        dense = self.bottom(torch.log1p(counts))
        rows = [table(ids[:, i]) for i, table in enumerate(self.tables)]
        every = torch.stack([dense, *rows], 1)
        dots = every @ every.transpose(1, 2)
        i, j = torch.tril_indices(every.shape[1], every.shape[1], -1)
        return torch.sigmoid(self.top(torch.cat([dense, dots[:, i, j]], 1)))


def build_dots() -> tuple[Any, tuple[np.ndarray, ...]]:
    counts = np.random.default_rng(6210).poisson(6.0, (5, 4)).astype(np.float32)
    model = train_torch(DotInteraction(4, 3, 6), 6211)
    return model, (counts, tokens(6212, 5, 3, vocabulary=15, lowest=0))


def dots(
    model: Any,
    x: tuple[np.ndarray, ...],
    log: str = "of one more",
    pairs: str = "rows below",
    dense_at: str = "first",
    last_activation: bool = True,
    joined: str = "dense first",
    table: str = "own",
    stored: str = "",
) -> np.ndarray:
    w = weights_of(model)
    counts, ids = x
    if log == "of one more":
        counts = np.log1p(counts)
    dense = _dense(relu(_dense(counts, w, "bottom.0")), w, "bottom.2")
    if last_activation:
        dense = relu(dense)
    rows = []
    for i in range(3):
        values = w[f"tables.{0 if table == 'first' else i}.weight"]
        if stored == "eight bits":
            scale = np.abs(values).max() / np.float32(127)
            values = np.round(values / scale).astype(np.int8) * scale
        rows.append(values[ids[:, i]])
    every = np.stack([dense, *rows] if dense_at == "first" else [*rows, dense], 1)
    gram = every @ every.swapaxes(1, 2)
    if pairs == "rows above":
        i, j = np.triu_indices(4, 1)
    else:
        i, j = np.tril_indices(4, -1)
    flat = gram[:, i, j]
    both = [flat, dense] if joined == "dots first" else [dense, flat]
    return sigmoid(_dense(np.concatenate(both, 1), w, "top"))


class CompressedInteractions(nn.Module):
    """Crosses of embedded fields, layer by layer; half of each layer goes straight to the end."""

    def __init__(self, fields: int, maps: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(fields * fields, maps, 1)
        self.second = nn.Conv1d(maps // 2 * fields, maps, 1)
        self.out = nn.Linear(maps // 2 + maps, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, d = x.shape
        z = torch.einsum("bhd,bmd->bhmd", x, x).reshape(b, -1, d)
        h, straight = F.relu(self.first(z)).chunk(2, 1)
        z = torch.einsum("bhd,bmd->bhmd", h, x).reshape(b, -1, d)
        last = F.relu(self.second(z))
        return self.out(torch.cat([straight, last], 1).sum(-1))


def build_crosses() -> tuple[Any, np.ndarray]:
    return train_torch(CompressedInteractions(4, 6), 6213, gain=1.5), inputs(6214, 6, 4, 5)


def crosses(
    model: Any,
    x: np.ndarray,
    order: str = "hidden, field",
    straight: str = "second half",
    activated: bool = True,
    pooled: str = "sum",
) -> np.ndarray:
    w = weights_of(model)
    b, _, d = x.shape

    def cross(h: np.ndarray, a: np.ndarray, name: str) -> np.ndarray:
        z = h[:, :, None] * a[:, None]
        if order == "field, hidden":
            z = z.swapaxes(1, 2)
        y = conv(z.reshape(b, -1, d), w[f"{name}.weight"], w[f"{name}.bias"])
        return relu(y) if activated else y

    y = cross(x, x, "first")
    h, kept = np.split(y, 2, 1)
    if straight == "first half":
        h, kept = kept, h
    last = cross(h, x, "second")
    maps = np.concatenate([kept, last], 1)
    return _dense(maps.mean(-1) if pooled == "mean" else maps.sum(-1), w, "out")


class NumberTokens(nn.Module):
    """Numbers of a table as tokens: waves of learned rates, a layer for each column."""

    def __init__(self, columns: int, waves: int, size: int) -> None:
        super().__init__()
        self.rates = nn.Parameter(torch.zeros(columns, waves))
        self.weight = nn.Parameter(torch.zeros(columns, 2 * waves, size))
        self.bias = nn.Parameter(torch.zeros(columns, size))
        self.first = nn.Parameter(torch.zeros(size))
        self.norm = nn.LayerNorm(size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angle = 2 * torch.pi * self.rates * x[..., None]
        waves = torch.cat([torch.cos(angle), torch.sin(angle)], -1)
        y = F.relu(torch.einsum("bci,cio->bco", waves, self.weight) + self.bias)
        y = torch.cat([self.first.expand(len(x), 1, -1), y], 1)
        return self.norm(y)


def build_number_tokens() -> tuple[Any, np.ndarray]:
    return train_torch(NumberTokens(5, 4, 8), 6215), 4 * normal_floats(6216, 4, 5)


def number_tokens(
    model: Any,
    x: np.ndarray,
    waves: str = "cosines first",
    turn: float = 2 * np.pi,
    kernel: str = "in by out",
    bias: str = "of each column",
    first: str = "in front",
    normalised: str = "all tokens",
    angles: str = "",
) -> np.ndarray:
    w = weights_of(model)
    angle = np.float32(turn) * w["rates"] * x[..., None]
    if angles == "half":
        angle = angle.astype(np.float16).astype(np.float32)
    c, s = np.cos(angle), np.sin(angle)
    if waves == "sines first":
        y = np.concatenate([s, c], -1)
    elif waves == "in turn":
        y = np.stack([c, s], -1).reshape(*c.shape[:-1], -1)
    else:
        y = np.concatenate([c, s], -1)
    kernels = w["weight"].swapaxes(1, 2) if kernel == "out by in" else w["weight"]
    y = np.einsum("bci,cio->bco", y, kernels)
    y = relu(y + (w["bias"][0] if bias == "of the first column" else w["bias"]))
    if normalised == "columns alone":
        y = layer_norm(y, w["norm.weight"], w["norm.bias"])
    token = np.broadcast_to(w["first"], (len(x), 1, 8))
    y = np.concatenate([y, token] if first == "at the end" else [token, y], 1)
    return y if normalised == "columns alone" else layer_norm(y, w["norm.weight"], w["norm.bias"])


class ObliviousTrees(nn.Module):
    """Soft trees that ask the same at a depth: the leaf is a product of one decision per depth."""

    def __init__(self, columns: int, trees: int, depth: int, out: int) -> None:
        super().__init__()
        self.trees, self.depth = trees, depth
        self.choice = nn.Parameter(torch.zeros(columns, trees, depth))
        self.threshold = nn.Parameter(torch.zeros(trees, depth))
        self.log_temperature = nn.Parameter(torch.zeros(trees, depth))
        self.response = nn.Parameter(torch.zeros(trees, 2**depth, out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = torch.einsum("bc,ctd->btd", x, torch.softmax(self.choice, 0))
        z = (seen - self.threshold) * torch.exp(-self.log_temperature)
        right = torch.clamp(0.5 * z + 0.5, 0, 1)
        leaf = x.new_ones(len(x), self.trees, 1)
        for d in range(self.depth):
            bit = torch.stack([1 - right[..., d], right[..., d]], -1)
            leaf = (leaf[..., None] * bit[:, :, None]).flatten(2)
        return torch.einsum("btl,tlo->bto", leaf, self.response).mean(1)


def build_trees() -> tuple[Any, np.ndarray]:
    return train_torch(ObliviousTrees(6, 4, 3, 2), 6217, gain=4.0), inputs(6218, 7, 6)


def trees(
    model: Any,
    x: np.ndarray,
    bits: str = "first depth highest",
    temperature: float = -1.0,
    step: str = "clipped",
    softmax_over: int = 0,
    sides: str = "left first",
    pooled: str = "mean",
) -> np.ndarray:
    w = weights_of(model)
    seen = np.einsum("bc,ctd->btd", x, softmax(w["choice"], softmax_over))
    z = (seen - w["threshold"]) * np.exp(np.float32(temperature) * w["log_temperature"])
    right = sigmoid(z) if step == "sigmoid" else np.clip(z / 2 + np.float32(0.5), 0, 1)
    leaf = np.ones((*z.shape[:2], 8), np.float32)
    for at in range(8):
        for d in range(3):
            bit = at >> (d if bits == "first depth lowest" else 2 - d) & 1
            if sides == "right first":
                bit = 1 - bit
            leaf[..., at] *= right[..., d] if bit else 1 - right[..., d]
    y = np.einsum("btl,tlo->bto", leaf, w["response"])
    return y.sum(1) if pooled == "sum" else y.mean(1)


class LongAndShortSeries(nn.Module):
    """A convolution, a GRU, a GRU over every third step, and a linear model of the last steps."""

    def __init__(self, series: int, size: int, skip: int, skip_size: int, linear: int) -> None:
        super().__init__()
        self.skip, self.last = skip, linear
        self.conv = nn.Conv2d(1, size, (3, series))
        self.gru = nn.GRU(size, size)
        self.skip_gru = nn.GRU(size, skip_size)
        self.out = nn.Linear(size + skip * skip_size, series)
        self.highway = nn.Linear(linear, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b = len(x)
        c = F.relu(self.conv(x[:, None])).squeeze(3)
        h = self.gru(c.permute(2, 0, 1))[1][0]
        turns = c.shape[-1] // self.skip
        s = c[:, :, -turns * self.skip :].reshape(b, -1, turns, self.skip)
        s = s.permute(2, 0, 3, 1).reshape(turns, b * self.skip, -1)
        s = self.skip_gru(s)[1][0].reshape(b, -1)
        y = self.out(torch.cat([h, s], 1))
        z = x[:, -self.last :].permute(0, 2, 1).reshape(-1, self.last)
        return y + self.highway(z).reshape(b, -1)


def build_long_short() -> tuple[Any, np.ndarray]:
    model = train_torch(LongAndShortSeries(4, 6, 3, 2, 4), 6219, gain=1.5)
    return model, inputs(6220, 3, 13, 4)


def long_short(
    model: Any,
    x: np.ndarray,
    skipped: str = "every third",
    highway: str = "last steps",
    reset: str = "after",
    candidate: Any = np.tanh,
    steps: str = "last",
    joined: str = "gru first",
) -> np.ndarray:
    w = weights_of(model)
    b = len(x)

    def gru(series: np.ndarray, name: str) -> np.ndarray:
        wi, wh = w[f"{name}.weight_ih_l0"], w[f"{name}.weight_hh_l0"]
        bi, bh = w[f"{name}.bias_ih_l0"], w[f"{name}.bias_hh_l0"]
        h = np.zeros((series.shape[1], wh.shape[1]), np.float32)
        for step in series:
            ri, zi, ni = np.split(step @ wi.T + bi, 3, -1)
            rh, zh, nh = np.split(h @ wh.T + bh, 3, -1)
            r, z = sigmoid(ri + rh), sigmoid(zi + zh)
            if reset == "before":
                n = candidate(ni + (r * h) @ np.split(wh, 3)[2].T + np.split(bh, 3)[2])
            else:
                n = candidate(ni + r * nh)
            h = (1 - z) * n + z * h
        return h

    c = relu(conv(x[:, None], w["conv.weight"], w["conv.bias"]))[..., 0]
    h = gru(c.transpose(2, 0, 1), "gru")
    s = c[:, :, :9] if steps == "first" else c[:, :, -9:]
    if skipped == "three in a row":
        s = s.reshape(b, 6, 3, 3).transpose(3, 0, 2, 1)
    else:
        s = s.reshape(b, 6, 3, 3).transpose(2, 0, 3, 1)
    s = gru(s.reshape(3, b * 3, 6), "skip_gru").reshape(b, -1)
    y = _dense(np.concatenate([h, s] if joined == "gru first" else [s, h], 1), w, "out")
    if highway == "none":
        return y
    z = x[:, -4:][:, ::-1] if highway == "newest first" else x[:, -4:]
    return y + _dense(z.swapaxes(1, 2), w, "highway")[..., 0]


def build_mixer() -> tuple[Any, np.ndarray]:
    inp = keras.Input((6, 6))
    y = keras.layers.LayerNormalization(axis=[1, 2], epsilon=1e-3, name="time_norm")(inp)
    y = keras.layers.Permute((2, 1))(y)
    y = keras.layers.Dense(6, activation="relu", name="time")(y)
    y = keras.layers.Permute((2, 1))(y)
    x = keras.layers.Add()([inp, y])
    y = keras.layers.LayerNormalization(axis=[1, 2], epsilon=1e-3, name="column_norm")(x)
    y = keras.layers.Dense(10, activation="relu", name="wide")(y)
    y = keras.layers.Dense(6, name="narrow")(y)
    y = keras.layers.Add()([x, y])
    y = keras.layers.Permute((2, 1))(y)
    y = keras.layers.Dense(3, name="ahead")(y)
    out = keras.layers.Permute((2, 1), name="forecast")(y)
    return train_keras(keras.Model(inp, out), 6221), inputs(6222, 3, 6, 6, scale=0.3)


def mixer(
    model: Any,
    x: np.ndarray,
    norm_over: tuple[int, ...] = (1, 2),
    eps: float = 1e-3,
    time_turned: bool = True,
    residual_of: str = "input",
    narrow_activated: bool = False,
    norms: tuple[str, str] = ("time_norm", "column_norm"),
) -> np.ndarray:
    w = {v.path: np.asarray(v) for v in model.weights}

    def norm(a: np.ndarray, name: str) -> np.ndarray:
        mean, var = a.mean(norm_over, keepdims=True), a.var(norm_over, keepdims=True)
        a = (a - mean) / np.sqrt(var + np.float32(eps))
        return a * w[f"{name}/gamma"] + w[f"{name}/beta"]

    def dense(a: np.ndarray, name: str) -> np.ndarray:
        return a @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    first = norm(x, norms[0])
    if time_turned:
        y = relu(dense(first.swapaxes(1, 2), "time")).swapaxes(1, 2)
    else:
        y = relu(dense(first, "time"))
    x = y + (first if residual_of == "norm" else x)
    y = dense(relu(dense(norm(x, norms[1]), "wide")), "narrow")
    x = x + (relu(y) if narrow_activated else y)
    return dense(x.swapaxes(1, 2), "ahead").swapaxes(1, 2)


CASES = [
    Case(
        "third_graph_convolution_by_edges",
        build_graph_convolution,
        "",
        graph_convolution,
        {
            "loops_forgotten": Mistake(
                partial(graph_convolution, loops=False),
                "No node has an edge to itself, where the layer adds one of weight 1 to each.",
            ),
            "degrees_of_sources": Mistake(
                partial(graph_convolution, degree_of=0),
                "The degrees are summed over the edges that leave a node, where they are over "
                "those that reach it.",
            ),
            "divided_by_degree": Mistake(
                partial(graph_convolution, norm="mean"),
                "A node's sum is divided by its degree, where each edge is by the roots of the "
                "degrees of both ends.",
            ),
            "degrees_count_edges": Mistake(
                partial(graph_convolution, degree="count"),
                "The degree is the number of edges, where it is the sum of their weights.",
            ),
            "degrees_as_whole_numbers": Mistake(
                partial(graph_convolution, degree="whole numbers"),
                "The sums of the weights are kept as integers, their fractions cut off, where "
                "they are floats.",
            ),
            "edges_turned": Mistake(
                partial(graph_convolution, flow=(1, 0)),
                "Messages go from the second row of the edges to the first, where they go from "
                "the first to the second.",
            ),
            "bias_before_the_sum": Mistake(
                partial(graph_convolution, bias="before"),
                "The bias is added before the sum over the edges, where it is added after it.",
            ),
        },
    ),
    Case(
        "third_relational_convolution",
        build_relational,
        "",
        relational,
        {
            "mean_over_all_kinds": Mistake(
                partial(relational, count_of="all edges"),
                "A kind's sum is divided by the number of edges of all kinds, where it is by "
                "those of this kind.",
            ),
            "bases_transposed": Mistake(
                partial(relational, basis="out by in"),
                "The bases are read as (out, in), as a linear layer's, where they are (in, out).",
            ),
            "own_features_left_out": Mistake(
                partial(relational, root=False),
                "The node's own features are left out and their layer's bias alone is kept, where "
                "they go through that layer.",
            ),
            "kinds_counted_from_one": Mistake(
                partial(relational, first_relation=1),
                "Kind r takes the weight of kind r - 1, as if kinds began at 1, where they begin "
                "at 0.",
            ),
            "summed_not_averaged": Mistake(
                partial(relational, pooled="sum"),
                "The neighbours of a kind are summed, where they are averaged.",
            ),
        },
    ),
    Case(
        "third_continuous_filter",
        build_continuous,
        "",
        continuous,
        {
            "softplus_not_shifted": Mistake(
                partial(continuous, shifted=False),
                "Softplus is used as it is, where the logarithm of 2 is subtracted from it.",
            ),
            "gaussians_without_half": Mistake(
                partial(continuous, half=1.0),
                "The exponent of the Gaussians has the factor 1, where it has one half.",
            ),
            "no_cosine_window": Mistake(
                partial(continuous, window="end alone"),
                "Pairs nearer than the cutoff count fully, where they fade by a cosine.",
            ),
            "cosine_comes_back": Mistake(
                partial(continuous, window="cosine alone"),
                "The cosine is not set to zero beyond the cutoff, where it rises again.",
            ),
            "atom_with_itself": Mistake(
                partial(continuous, self_pair=True),
                "An atom is its own neighbour at distance zero, where only the others are.",
            ),
            "squared_distances": Mistake(
                partial(continuous, distance="squared"),
                "The distances are squared, where their root is taken.",
            ),
            "atoms_not_added": Mistake(
                partial(continuous, residual=False),
                "The atoms' own vectors are not added to what they receive, where they are.",
            ),
        },
    ),
    Case(
        "third_dot_interaction",
        build_dots,
        "",
        dots,
        {
            "counts_without_logarithm": Mistake(
                partial(dots, log="none"),
                "The counts go in as they are, where their logarithm (of one more) does.",
            ),
            "pairs_from_above": Mistake(
                partial(dots, pairs="rows above"),
                "The dots are taken row by row above the diagonal, where they are below it.",
            ),
            "counts_stacked_last": Mistake(
                partial(dots, dense_at="last"),
                "The network's vector stands after the tables' rows, where it stands before them.",
            ),
            "dots_before_counts": Mistake(
                partial(dots, joined="dots first"),
                "The dots are put before the network's vector, where they come after it.",
            ),
            "last_relu_of_the_network_forgotten": Mistake(
                partial(dots, last_activation=False),
                "The network of the counts ends without ReLU, where its last layer has it too.",
            ),
            "tables_in_eight_bits": Mistake(
                partial(dots, stored="eight bits"),
                "The tables are kept as integers from -127 to 127 with one scale for a table, "
                "where they are float32.",
            ),
            "one_table_for_all": Mistake(
                partial(dots, table="first"),
                "All ids are looked up in the first table, where each column has its own.",
            ),
        },
    ),
    Case(
        "third_compressed_interactions",
        build_crosses,
        "",
        crosses,
        {
            "crosses_transposed": Mistake(
                partial(crosses, order="field, hidden"),
                "The crosses are laid out with the field first, where the hidden map is first.",
            ),
            "halves_swapped": Mistake(
                partial(crosses, straight="first half"),
                "The first half goes straight to the end and the second is crossed again, where "
                "it is the other way round.",
            ),
            "activation_forgotten": Mistake(
                partial(crosses, activated=False),
                "The crosses are used as they are, where ReLU follows each.",
            ),
            "averaged_over_the_embedding": Mistake(
                partial(crosses, pooled="mean"),
                "The maps are averaged over the embedding, where they are summed.",
            ),
        },
    ),
    Case(
        "third_number_tokens",
        build_number_tokens,
        "",
        number_tokens,
        {
            "sines_first": Mistake(
                partial(number_tokens, waves="sines first"),
                "The sines are put before the cosines, where they come after them.",
            ),
            "waves_in_turn": Mistake(
                partial(number_tokens, waves="in turn"),
                "Cosine and sine of a rate stand side by side, where all cosines come first.",
            ),
            "rates_in_radians": Mistake(
                partial(number_tokens, turn=1.0),
                "The rates are taken for radians, where they are multiplied by 2 pi.",
            ),
            "angles_in_half_precision": Mistake(
                partial(number_tokens, angles="half"),
                "The angles are rounded to half precision before cosine and sine, where they are "
                "float32.",
            ),
            "column_weights_transposed": Mistake(
                partial(number_tokens, kernel="out by in"),
                "The columns' weights are read as (out, in), where they are (in, out).",
            ),
            "bias_of_first_column": Mistake(
                partial(number_tokens, bias="of the first column"),
                "All columns get the bias of the first, where each has its own.",
            ),
            "first_token_at_the_end": Mistake(
                partial(number_tokens, first="at the end"),
                "The learned token is put after the columns, where it is before them.",
            ),
            "first_token_not_normalised": Mistake(
                partial(number_tokens, normalised="columns alone"),
                "The learned token is put in after the normalisation, where it is normalised with "
                "the columns.",
            ),
        },
    ),
    Case(
        "third_oblivious_trees",
        build_trees,
        "",
        trees,
        {
            "leaves_in_other_bits": Mistake(
                partial(trees, bits="first depth lowest"),
                "The first depth decides the lowest bit of the leaf's number, where it decides "
                "the highest.",
            ),
            "temperature_multiplied": Mistake(
                partial(trees, temperature=1.0),
                "The distance to the threshold is multiplied by the temperature, where it is "
                "divided by it.",
            ),
            "sigmoid_decisions": Mistake(
                partial(trees, step="sigmoid"),
                "The decisions are sigmoids, where they are straight lines clipped to 0 and 1.",
            ),
            "choice_over_trees": Mistake(
                partial(trees, softmax_over=1),
                "The softmax of the choice runs over the trees, where it runs over the columns.",
            ),
            "sides_swapped": Mistake(
                partial(trees, sides="right first"),
                "The first leaf of a pair is that above the threshold, where it is that below.",
            ),
            "trees_summed": Mistake(
                partial(trees, pooled="sum"),
                "The trees are summed, where they are averaged.",
            ),
        },
    ),
    Case(
        "third_long_and_short_series",
        build_long_short,
        "",
        long_short,
        {
            "three_steps_in_a_row": Mistake(
                partial(long_short, skipped="three in a row"),
                "The second GRU runs over three steps in a row, where it takes every third.",
            ),
            "linear_part_forgotten": Mistake(
                partial(long_short, highway="none"),
                "The forecast is that of the networks alone, where the linear model of the last "
                "four steps is added.",
            ),
            "linear_part_turned": Mistake(
                partial(long_short, highway="newest first"),
                "The linear model reads the last four steps from the newest, where it reads them "
                "in their order.",
            ),
            "reset_before_product": Mistake(
                partial(long_short, reset="before"),
                "The GRUs reset the state before its product with the weights (the paper's), "
                "where the product and its bias are reset.",
            ),
            "relu_candidate": Mistake(
                partial(long_short, candidate=relu),
                "The GRUs' candidates have ReLU, as the model's paper says, where they have tanh.",
            ),
            "skips_from_the_start": Mistake(
                partial(long_short, steps="first"),
                "The second GRU takes the first nine steps of eleven, where it takes the last.",
            ),
            "skips_joined_first": Mistake(
                partial(long_short, joined="skips first"),
                "The states of the second GRU are put before that of the first, where they come "
                "after it.",
            ),
        },
    ),
    Case(
        "third_keras_series_mixer",
        build_mixer,
        "forecast",
        mixer,
        {
            "normalised_over_columns": Mistake(
                partial(mixer, norm_over=(2,)),
                "Each step is normalised over its columns, where mean and variance are over steps "
                "and columns together.",
            ),
            "epsilon_of_torch": Mistake(
                partial(mixer, eps=1e-5),
                "Epsilon of the normalisations is 1e-5, where it is 1e-3.",
            ),
            "time_mixed_over_columns": Mistake(
                partial(mixer, time_turned=False),
                "The first layer mixes the columns (as many as steps), where it mixes the steps.",
            ),
            "residual_of_normalised": Mistake(
                partial(mixer, residual_of="norm"),
                "The first residual adds the normalised input, where it adds the input itself.",
            ),
            "second_activation_added": Mistake(
                partial(mixer, narrow_activated=True),
                "The second layer of the columns' network has ReLU too, where it has none.",
            ),
            "norms_swapped": Mistake(
                partial(mixer, norms=("column_norm", "time_norm")),
                "The weights of the two normalisations are swapped, where each has its own.",
            ),
            "epsilon_and_activation": Mistake(
                partial(mixer, eps=1e-5, narrow_activated=True),
                "Two causes: epsilon is 1e-5, where it is 1e-3, and the second layer of the "
                "columns' network has ReLU, where it has none.",
                causes=2,
            ),
        },
    ),
]
