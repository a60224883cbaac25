"""Networks of time series, graphs, recommenders and tables ported to NumPy, right and wrong.

Modules as practitioners write them from the papers. Written from those modules and from the errors
that porting them brings, without a look at the tool.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    batch_norm,
    conv,
    join_heads,
    layer_norm,
    linear,
    relu,
    sigmoid,
    softmax,
    split_heads,
)
from corpora.ports.trained import Weights, inputs, tokens, train_torch, weights_of


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0))).astype(np.float32)


class GraphAttention(nn.Module):
    """A graph attention layer of several heads over a dense adjacency matrix (GAT)."""

    def __init__(self, size: int = 6, heads: int = 3, width: int = 4) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.project = nn.Linear(size, heads * width, bias=False)
        self.of_target = nn.Parameter(torch.zeros(heads, width))
        self.of_source = nn.Parameter(torch.zeros(heads, width))
        self.bias = nn.Parameter(torch.zeros(heads * width))

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        h = self.project(x).view(n, self.heads, self.width)
        target = (h * self.of_target).sum(-1)
        source = (h * self.of_source).sum(-1)
        energy = F.leaky_relu(target[:, None] + source[None], 0.2)
        linked = (adjacency + torch.eye(n)) > 0
        energy = energy.masked_fill(~linked[..., None], -1e9)
        share = torch.softmax(energy, 1)
        y = torch.einsum("ijh,jhw->ihw", share, h).reshape(n, -1)
        return F.elu(y + self.bias)


def build_graph() -> tuple[Any, tuple[np.ndarray, ...]]:
    links = (np.random.default_rng(5301).random((9, 9)) < 0.3).astype(np.float32)
    np.fill_diagonal(links, 0)
    return train_torch(GraphAttention(), 5302, gain=1.8), (inputs(5303, 9, 6), links)


def graph(
    model: Any,
    x: tuple[np.ndarray, ...],
    slope: float = 0.2,
    over: int = 1,
    loops: bool = True,
    turned: bool = False,
    masked_with: float = -1e9,
    swapped: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    x, links = x
    h = linear(x, w["project.weight"]).reshape(9, 3, 4)
    target, source = (h * w["of_target"]).sum(-1), (h * w["of_source"]).sum(-1)
    if swapped:
        target, source = source, target
    energy = target[:, None] + source[None]
    energy = np.where(energy > 0, energy, np.float32(slope) * energy)
    linked = (links.T if turned else links) + (np.eye(9) if loops else 0) > 0
    energy = np.where(linked[..., None], energy, np.float32(masked_with))
    share = softmax(energy, over)
    y = np.einsum("ijh,jhw->ihw", share, h).reshape(9, 12)
    return _elu(y + w["bias"])


class DeepFactors(nn.Module):
    """A factorisation machine and a network over the embeddings of categories (DeepFM)."""

    def __init__(self, sizes: tuple[int, ...] = (7, 5, 9, 4), width: int = 4) -> None:
        super().__init__()
        starts = torch.cumsum(torch.tensor((0, *sizes[:-1])), 0)
        self.register_buffer("starts", starts)
        self.embedding = nn.Embedding(sum(sizes), width)
        self.first_order = nn.Embedding(sum(sizes), 1)
        self.bias = nn.Parameter(torch.zeros(1))
        self.deep = nn.Sequential(
            nn.Linear(len(sizes) * width, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        ids = ids + self.starts
        e = self.embedding(ids)
        pairs = 0.5 * (e.sum(1).square() - e.square().sum(1)).sum(-1, keepdim=True)
        first = self.first_order(ids).sum(1) + self.bias
        return torch.sigmoid(first + pairs + self.deep(e.flatten(1)))


def build_factors() -> tuple[Any, np.ndarray]:
    ids = np.stack(
        [tokens(5304 + i, 6, vocabulary=n, lowest=0) for i, n in enumerate((7, 5, 9, 4))]
    )
    model = train_torch(DeepFactors(), 5308, gain=1.3)
    model.first_order.weight.data -= 1
    return model, ids.T


def factors(
    model: Any,
    ids: np.ndarray,
    starts: bool = True,
    half: float = 0.5,
    sign: int = 1,
    first_over: str = "fields",
    flat: str = "fields",
    table_bits: int = 0,
    normed: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    if starts:
        ids = ids + np.array([0, 7, 12, 21])
    table = w["embedding.weight"]
    if table_bits:
        step = np.abs(table).max() / (2 ** (table_bits - 1) - 1)
        table = (np.round(table / step) * step).astype(np.float32)
    e = table[ids]
    pairs = half * sign * (e.sum(1) ** 2 - (e**2).sum(1)).sum(-1, keepdims=True)
    first = w["first_order.weight"][ids].sum(1) + w["bias"]
    deep = e.swapaxes(1, 2) if flat == "widths" else e
    deep = linear(deep.reshape(6, 16), w["deep.0.weight"], w["deep.0.bias"])
    if normed:
        deep = batch_norm(deep, w, "deep.1")
    deep = linear(relu(deep), w["deep.3.weight"], w["deep.3.bias"])
    if first_over == "dropped":
        first = w["bias"]
    return sigmoid((first + pairs + deep).astype(np.float32))


class Dice(nn.Module):
    """The activation of Alibaba's networks: a PReLU whose step is a normalised sigmoid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, eps=1e-3, affine=False)
        self.alpha = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = torch.sigmoid(self.norm(x.flatten(0, -2)).view_as(x))
        return p * x + (1 - p) * self.alpha * x


class InterestPooling(nn.Module):
    """The history of a user, weighed by how near each item is to a candidate (DIN)."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.hidden = nn.Linear(4 * width, 8)
        self.act = Dice(8)
        self.score = nn.Linear(8, 1)

    def forward(
        self, candidate: torch.Tensor, history: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        q = candidate[:, None].expand_as(history)
        joined = torch.cat([q, history, q - history, q * history], -1)
        score = self.score(self.act(self.hidden(joined)))[..., 0]
        return ((score * mask)[:, None] @ history)[:, 0]


def build_interest() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(InterestPooling(), 5309, gain=1.5)
    model.act.norm.running_var.mul_(0.03)
    mask = (np.arange(6)[None] < np.array([[6], [3], [4]])).astype(np.float32)
    return model, (inputs(5310, 3, 5), inputs(5311, 3, 6, 5), mask)


def interest(
    model: Any,
    x: tuple[np.ndarray, ...],
    weights: str = "scores",
    difference: int = 1,
    order: tuple[int, ...] = (0, 1, 2, 3),
    masked: bool = True,
    step: str = "normalised",
    eps: float = 1e-3,
) -> np.ndarray:
    w = weights_of(model)
    candidate, history, mask = x
    q = np.broadcast_to(candidate[:, None], history.shape)
    parts = [q, history, difference * (q - history), q * history]
    h = np.concatenate([parts[i] for i in order], -1)
    h = linear(h, w["hidden.weight"], w["hidden.bias"])
    p = h
    if step == "normalised":
        mean, var = w["act.norm.running_mean"], w["act.norm.running_var"]
        p = (h - mean) / np.sqrt(var + np.float32(eps))
    p = sigmoid(p)
    h = (
        np.where(h > 0, h, w["act.alpha"] * h)
        if step == "PReLU"
        else h * (p + (1 - p) * w["act.alpha"])
    )
    score = linear(h, w["score.weight"], w["score.bias"])[..., 0]
    if weights == "softmax":
        score = softmax(np.where(mask > 0, score, np.float32(-1e9)))
    elif masked:
        score = score * mask
    return (score[:, None] @ history)[:, 0]


def sparsemax(z: torch.Tensor) -> torch.Tensor:
    """Project the last axis on the simplex."""
    ordered, _ = z.sort(-1, descending=True)
    sums = ordered.cumsum(-1) - 1
    ranks = torch.arange(1, z.shape[-1] + 1)
    support = (ranks * ordered > sums).sum(-1, keepdim=True)
    return (z - sums.gather(-1, support - 1) / support).clamp(min=0)


class FeatureMasks(nn.Module):
    """Two steps of TabNet's attentive transformer; puts out the masked features of both."""

    def __init__(self, features: int = 8, hidden: int = 5, gamma: float = 1.3) -> None:
        super().__init__()
        self.gamma = gamma
        self.layers = nn.ModuleList(nn.Linear(hidden, features, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(features) for _ in range(2))
        self.mix = nn.Linear(features, hidden)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        prior, out = torch.ones_like(x), []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            mask = sparsemax(norm(layer(hidden)) * prior)
            prior = prior * (self.gamma - mask)
            out.append(mask * x)
            hidden = torch.relu(self.mix(out[-1]))
        return torch.cat(out, -1)


def build_masks() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(FeatureMasks(), 5312)
    for norm in model.norms:
        norm.running_var.mul_(3)
    return model, (inputs(5313, 5, 8), inputs(5314, 5, 5))


def masks(
    model: Any,
    x: tuple[np.ndarray, ...],
    simplex: str = "sparsemax",
    prior_where: str = "before",
    gamma: float = 1.3,
    support_less: int = 0,
    norms: tuple[int, int] = (0, 1),
) -> np.ndarray:
    w = weights_of(model)
    x, hidden = x
    prior, out = np.ones_like(x), []
    for i in range(2):
        z = batch_norm(linear(hidden, w[f"layers.{i}.weight"]), w, f"norms.{norms[i]}")
        if prior_where == "before":
            z = z * prior
        if simplex == "softmax":
            mask = softmax(z)
        else:
            ordered = -np.sort(-z, -1)
            sums = ordered.cumsum(-1) - 1
            support = (np.arange(1, 9) * ordered > sums).sum(-1, keepdims=True)
            at = np.maximum(support - 1 - support_less, 0)
            mask = np.maximum(z - np.take_along_axis(sums, at, -1) / (at + 1), 0)
        if prior_where == "after":
            mask = mask * prior
        prior = prior * (np.float32(gamma) - mask)
        out.append(mask * x)
        hidden = relu(linear(out[-1], w["mix.weight"], w["mix.bias"]))
    return np.concatenate(out, -1).astype(np.float32)


class GatedResidual(nn.Module):
    """The gated residual network of the temporal fusion transformer."""

    def __init__(self, size: int, hidden: int, out: int, context: int = 0) -> None:
        super().__init__()
        self.first = nn.Linear(size, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.context = nn.Linear(context, hidden, bias=False) if context else None
        self.gate = nn.Linear(hidden, 2 * out)
        self.skip = nn.Linear(size, out) if size != out else nn.Identity()
        self.norm = nn.LayerNorm(out)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        h = self.first(x)
        if self.context is not None and context is not None:
            h = h + self.context(context)[:, None]
        h = self.second(F.elu(h))
        return self.norm(self.skip(x) + F.glu(self.gate(h)))


class VariableSelection(nn.Module):
    """The variables of each time, embedded, transformed and summed by learnt shares."""

    def __init__(self, variables: int = 4, width: int = 5, context: int = 3) -> None:
        super().__init__()
        self.shares = GatedResidual(variables * width, 6, variables, context)
        self.each = nn.ModuleList(GatedResidual(width, 6, width) for _ in range(variables))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        share = torch.softmax(self.shares(x.flatten(2), context), -1)
        parts = [net(x[:, :, i]) for i, net in enumerate(self.each)]
        return (torch.stack(parts, 2) * share[..., None]).sum(2)


def build_selection() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(VariableSelection(), 5315, gain=1.6)
    return model, (inputs(5316, 2, 6, 4, 5), inputs(5317, 2, 3))


def selection(
    model: Any,
    x: tuple[np.ndarray, ...],
    act: Any = _elu,
    gate_first: bool = False,
    context_at: str = "before",
    over: int = -1,
    norm_skip: bool = True,
    shared: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    x, context = x

    def layer(a: np.ndarray, name: str) -> np.ndarray:
        return linear(a, w[f"{name}.weight"], w[f"{name}.bias"])

    def network(a: np.ndarray, name: str, given: np.ndarray | None = None) -> np.ndarray:
        h = layer(a, f"{name}.first")
        if given is not None:
            given = linear(given, w[f"{name}.context.weight"])[:, None]
            h = h + given if context_at == "before" else h
        h = layer(act(h), f"{name}.second")
        if given is not None and context_at == "after":
            h = h + given
        a_half, b_half = np.split(layer(h, f"{name}.gate"), 2, -1)
        gated = sigmoid(a_half) * b_half if gate_first else a_half * sigmoid(b_half)
        skip = layer(a, f"{name}.skip") if f"{name}.skip.weight" in w else a
        weight, bias = w[f"{name}.norm.weight"], w[f"{name}.norm.bias"]
        if not norm_skip:
            return skip + layer_norm(gated, weight, bias)
        return layer_norm(skip + gated, weight, bias)

    share = softmax(network(x.reshape(2, 6, 20), "shares", context), over)
    parts = [network(x[:, :, i], f"each.{0 if shared else i}") for i in range(4)]
    return (np.stack(parts, 2) * share[..., None]).sum(2)


class ReversibleLinear(nn.Module):
    """DLinear in a reversible normalisation: trend and season of each series, each with a layer."""

    def __init__(self, past: int = 16, future: int = 6, series: int = 3, window: int = 5) -> None:
        super().__init__()
        self.window = window
        self.gain = nn.Parameter(torch.ones(series))
        self.shift = nn.Parameter(torch.zeros(series))
        self.season = nn.Linear(past, future)
        self.trend = nn.Linear(past, future)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = x[:, -1:]
        spread = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)
        y = (x - last) / spread * self.gain + self.shift
        side = self.window // 2
        wide = torch.cat([y[:, :1].repeat(1, side, 1), y, y[:, -1:].repeat(1, side, 1)], 1)
        trend = F.avg_pool1d(wide.transpose(1, 2), self.window, 1)
        season = y.transpose(1, 2) - trend
        y = (self.season(season) + self.trend(trend)).transpose(1, 2)
        return (y - self.shift) / (self.gain + 1e-10) * spread + last


def build_reversible() -> tuple[Any, np.ndarray]:
    model = train_torch(ReversibleLinear(), 5318)
    model.gain.data.copy_(torch.tensor([0.7, 1.3, 1.1]))
    x = inputs(5319, 2, 16, 3).cumsum(1) + np.array([20, -5, 3], np.float32)
    return model, x.astype(np.float32)


def reversible(
    model: Any,
    x: np.ndarray,
    centre: str = "last",
    ddof: int = 0,
    edges: str = "edge",
    layers: tuple[str, str] = ("season", "trend"),
    undone: bool = True,
    sides: tuple[int, int] = (2, 2),
) -> np.ndarray:
    w = weights_of(model)
    base = x[:, -1:] if centre == "last" else x.mean(1, keepdims=True)
    spread = np.sqrt(x.var(1, keepdims=True, ddof=ddof) + np.float32(1e-5))
    y = (x - base) / spread * w["gain"] + w["shift"]
    wide = np.pad(y, ((0, 0), sides, (0, 0)), edges)
    trend = np.stack([wide[:, t : t + 5].mean(1) for t in range(16)], 2)
    season = y.swapaxes(1, 2) - trend
    out = 0
    for part, name in zip((season, trend), layers, strict=True):
        out = out + linear(part, w[f"{name}.weight"], w[f"{name}.bias"])
    y = out.swapaxes(1, 2)
    if undone:
        y = (y - w["shift"]) / w["gain"]
    return (y * spread + base).astype(np.float32)


class TemporalBlock(nn.Module):
    """The block of a temporal convolutional network: two causal convolutions and a shortcut."""

    def __init__(self, size: int = 4, width: int = 6, dilation: int = 2) -> None:
        super().__init__()
        self.cut = 2 * dilation
        norm = nn.utils.parametrizations.weight_norm
        self.first = norm(nn.Conv1d(size, width, 3, padding=self.cut, dilation=dilation))
        self.second = norm(nn.Conv1d(width, width, 3, padding=self.cut, dilation=dilation))
        self.short = nn.Conv1d(size, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x)[..., : -self.cut])
        y = torch.relu(self.second(y)[..., : -self.cut])
        return torch.relu(y + self.short(x))


def build_temporal() -> tuple[Any, np.ndarray]:
    return train_torch(TemporalBlock(), 5320), inputs(5321, 2, 4, 13)


def _folded(w: Weights, name: str, over: tuple[int, ...]) -> np.ndarray:
    gain, v = (w[f"{name}.parametrizations.weight.original{i}"] for i in (0, 1))
    return gain * v / np.sqrt((v * v).sum(over, keepdims=True))


def temporal(
    model: Any,
    x: np.ndarray,
    cut: str = "end",
    over: tuple[int, ...] = (1, 2),
    last_relu: bool = True,
    dilations: tuple[int, int] = (2, 2),
    inner_relu: bool = True,
    int8: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    y = x
    for name, dilation in zip(("first", "second"), dilations, strict=True):
        weight, bias = _folded(w, name, over), w[f"{name}.bias"]
        if int8:
            scale = np.abs(weight).max() / np.float32(127)
            weight = np.floor(weight / scale).clip(-128, 127) * scale
        y = conv(y, weight, bias, padding=2 * dilation, dilation=dilation)
        if cut == "end":
            y = y[..., : -2 * dilation]
        elif cut == "middle":
            y = y[..., dilation:-dilation]
        else:
            y = y[..., 2 * dilation :]
        if inner_relu or name == "first":
            y = relu(y)
    y = y + conv(x, w["short.weight"], w["short.bias"])
    return relu(y) if last_relu else y


class Retention(nn.Module):
    """Multi-scale retention, in its parallel form, with a swish gate (RetNet)."""

    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.gate = nn.Linear(width, width, bias=False)
        self.norm = nn.GroupNorm(heads, width, eps=1e-6)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, width = x.shape
        q, k, v = (
            part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)
        )
        rate = 1 - 2.0 ** (-1 - torch.arange(self.heads))
        apart = torch.arange(t)[:, None] - torch.arange(t)[None]
        decay = torch.where(apart >= 0, rate[:, None, None] ** apart.clamp(min=0), 0.0)
        y = (q @ k.transpose(-1, -2) * k.shape[-1] ** -0.5 * decay) @ v
        y = self.norm(y.transpose(1, 2).reshape(b * t, width)).view(b, t, width)
        return self.output(F.silu(self.gate(x)) * y)


def build_retention() -> tuple[Any, np.ndarray]:
    return train_torch(Retention(), 5322, gain=1.5), inputs(5323, 2, 8, 12)


def retention(
    model: Any,
    x: np.ndarray,
    first_rate: int = 1,
    causal: bool = True,
    groups: int = 3,
    gate: Any = None,
    shared_softmax: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    q, k, v = (split_heads(a, 3) for a in np.split(linear(x, w["qkv.weight"]), 3, -1))
    rate = 1 - 2.0 ** (-first_rate - np.arange(3))[:, None, None]
    apart = np.arange(8)[:, None] - np.arange(8)[None]
    decay = rate ** np.abs(apart)
    if causal:
        decay = np.where(apart >= 0, decay, 0)
    scores = q @ k.swapaxes(-1, -2) / 2 * decay
    if shared_softmax:
        scores = softmax(np.where(apart >= 0, scores, -1e9))
    y = join_heads(scores @ v).reshape(2, 8, groups, 12 // groups)
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
    y = y.reshape(2, 8, 12) * w["norm.weight"] + w["norm.bias"]
    g = linear(x, w["gate.weight"])
    g = g * sigmoid(g) if gate is None else gate(g)
    return linear((g * y).astype(np.float32), w["output.weight"])


CASES = [
    Case(
        "graph_attention_dense",
        build_graph,
        "",
        graph,
        {
            "slope_of_default": Mistake(
                partial(graph, slope=0.01),
                "The leaky ReLU has a slope of 0.01 (PyTorch's default), where it is 0.2.",
            ),
            "softmax_over_targets": Mistake(
                partial(graph, over=0),
                "The softmax is over the nodes that receive, where it is over the neighbours of "
                "each.",
            ),
            "no_self_loops": Mistake(
                partial(graph, loops=False),
                "A node is not its own neighbour: the identity is not added to the adjacency "
                "matrix.",
            ),
            "adjacency_transposed": Mistake(
                partial(graph, turned=True),
                "The adjacency matrix is transposed (sources in rows), where a row holds the "
                "neighbours of a target.",
            ),
            "masked_energy_zero": Mistake(
                partial(graph, masked_with=0.0),
                "The energies of nodes that are not linked are 0 before the softmax, where they "
                "are -1e9.",
            ),
            "target_and_source_swapped": Mistake(
                partial(graph, swapped=True),
                "The attention vectors of target and source are swapped.",
            ),
        },
    ),
    Case(
        "deep_factorisation_machine",
        build_factors,
        "",
        factors,
        {
            "field_starts_forgotten": Mistake(
                partial(factors, starts=False),
                "The start of each field in the shared table is not added to its ids.",
            ),
            "half_forgotten": Mistake(
                partial(factors, half=1.0),
                "The pairs count twice: the factor 0.5 is forgotten.",
            ),
            "squares_the_wrong_way_round": Mistake(
                partial(factors, sign=-1),
                "The square of the sum is subtracted from the sum of squares, where it is the "
                "other way round.",
            ),
            "flattened_by_width": Mistake(
                partial(factors, flat="widths"),
                "The network's input is flattened with the fields innermost, where each field's "
                "embedding stands together.",
            ),
            "first_order_forgotten": Mistake(
                partial(factors, first_over="dropped"),
                "The first-order weights of the categories are not added, only the bias.",
            ),
            "batch_norm_forgotten": Mistake(
                partial(factors, normed=False),
                "The network's batch normalisation is forgotten.",
            ),
            "table_in_four_bits": Mistake(
                partial(factors, table_bits=4),
                "The embedding table is rounded to 4 bits with one scale for the whole table, "
                "where it is float32.",
            ),
        },
    ),
    Case(
        "interest_pooling_with_dice",
        build_interest,
        "",
        interest,
        {
            "softmax_of_scores": Mistake(
                partial(interest, weights="softmax"),
                "The scores go through a masked softmax, where they weigh as they are.",
            ),
            "difference_turned_round": Mistake(
                partial(interest, difference=-1),
                "The third part is history - candidate, where it is candidate - history.",
            ),
            "history_before_candidate": Mistake(
                partial(interest, order=(1, 0, 2, 3)),
                "The history is concatenated before the candidate.",
            ),
            "padding_not_masked": Mistake(
                partial(interest, masked=False),
                "The scores of padded items are not masked.",
            ),
            "step_not_normalised": Mistake(
                partial(interest, step="not normalised"),
                "Dice's sigmoid is taken of the values themselves, its batch normalisation is "
                "forgotten.",
            ),
            "epsilon_of_default": Mistake(
                partial(interest, eps=1e-5),
                "The epsilon of Dice's batch normalisation is 1e-5 (PyTorch's default), where it "
                "is 1e-3 (inherently small).",
            ),
            "prelu_for_dice": Mistake(
                partial(interest, step="PReLU"),
                "The activation is PReLU with Dice's alpha, where it is Dice.",
            ),
        },
    ),
    Case(
        "tabnet_feature_masks",
        build_masks,
        "",
        masks,
        {
            "softmax_for_sparsemax": Mistake(
                partial(masks, simplex="softmax"),
                "The masks are a softmax, where they are a sparsemax.",
            ),
            "prior_after_sparsemax": Mistake(
                partial(masks, prior_where="after"),
                "The prior multiplies the mask after the sparsemax, where it multiplies what goes "
                "into it.",
            ),
            "gamma_one": Mistake(
                partial(masks, gamma=1.0),
                "The relaxation is 1.0, where it is 1.3.",
            ),
            "support_one_less": Mistake(
                partial(masks, support_less=1),
                "The sparsemax takes its threshold from one number less than its support (an "
                "index from 0 taken for a count).",
            ),
            "second_norm_of_first_step": Mistake(
                partial(masks, norms=(0, 0)),
                "Both steps use the first batch normalisation, where each has its own.",
            ),
        },
    ),
    Case(
        "temporal_fusion_variable_selection",
        build_selection,
        "",
        selection,
        {
            "relu_for_elu": Mistake(
                partial(selection, act=relu),
                "The activation is ReLU, where it is ELU.",
            ),
            "gate_is_first_half": Mistake(
                partial(selection, gate_first=True),
                "The sigmoid is taken of the first half of the gate's output, where it is of the "
                "second.",
            ),
            "context_after_second_layer": Mistake(
                partial(selection, context_at="after"),
                "The context is added after the second layer, where it is added before the "
                "activation.",
            ),
            "softmax_over_time": Mistake(
                partial(selection, over=1),
                "The shares are a softmax over time, where it is over the variables.",
            ),
            "skip_outside_norm": Mistake(
                partial(selection, norm_skip=False),
                "The skip is added after the layer norm, where the norm is of the sum.",
            ),
            "one_network_for_all": Mistake(
                partial(selection, shared=True),
                "All variables go through the first one's network, where each has its own.",
            ),
        },
    ),
    Case(
        "reversible_trend_and_season",
        build_reversible,
        "",
        reversible,
        {
            "mean_for_last_value": Mistake(
                partial(reversible, centre="mean"),
                "The series' mean is subtracted (RevIN's first form), where it is their last "
                "value.",
            ),
            "unbiased_spread": Mistake(
                partial(reversible, ddof=1),
                "The variance is divided by n - 1, where it is by n.",
            ),
            "zeros_at_the_edges": Mistake(
                partial(reversible, edges="constant"),
                "The moving average is padded with zeros, where the first and last values are "
                "repeated.",
            ),
            "trend_and_season_swapped": Mistake(
                partial(reversible, layers=("trend", "season")),
                "The layers of trend and season are swapped.",
            ),
            "affine_not_undone": Mistake(
                partial(reversible, undone=False),
                "The gain and shift are not undone before the spread and last value are.",
            ),
            "average_of_the_past": Mistake(
                partial(reversible, sides=(4, 0)),
                "The moving average is of the four values before, where it is centred.",
            ),
        },
    ),
    Case(
        "temporal_convolution_block",
        build_temporal,
        "",
        temporal,
        {
            "cut_at_the_start": Mistake(
                partial(temporal, cut="start"),
                "The padding is cut off at the start, so outputs see the future, where it is cut "
                "off at the end.",
            ),
            "cut_on_both_sides": Mistake(
                partial(temporal, cut="middle"),
                "Half of the padding is cut off on each side (a centred convolution), where all "
                "is cut off at the end.",
            ),
            "weight_norm_over_kernel_alone": Mistake(
                partial(temporal, over=(2,)),
                "The weight norm divides by the length over the kernel alone, where it is over "
                "input channels and kernel.",
            ),
            "last_relu_forgotten": Mistake(
                partial(temporal, last_relu=False),
                "The ReLU after the shortcut's sum is forgotten.",
            ),
            "second_dilation_doubled": Mistake(
                partial(temporal, dilations=(2, 4)),
                "The second convolution has dilation 4, where both of a block have 2.",
            ),
            "weights_in_int8_cut_down": Mistake(
                partial(temporal, int8=True),
                "The folded weights are stored in int8 and rounded down to the next level, where "
                "they are float32.",
            ),
            "second_relu_and_cut": Mistake(
                partial(temporal, inner_relu=False, cut="middle"),
                "Two causes: the ReLU after the second convolution is forgotten, and the padding "
                "is cut off on both sides, where it is at the end.",
                causes=2,
            ),
        },
    ),
    Case(
        "retention_parallel",
        build_retention,
        "",
        retention,
        {
            "rates_of_the_paper": Mistake(
                partial(retention, first_rate=5),
                "The decays are 1 - 2 ** (-5 - head), as in the paper, where this module has "
                "1 - 2 ** (-1 - head).",
            ),
            "not_causal": Mistake(
                partial(retention, causal=False),
                "The decay is by the distance on both sides, where what comes later is zero.",
            ),
            "norm_over_all_heads": Mistake(
                partial(retention, groups=1),
                "The group norm is over all heads at once (a layer norm), where each head is a "
                "group.",
            ),
            "sigmoid_gate": Mistake(
                partial(retention, gate=sigmoid),
                "The gate is a sigmoid, where it is x * sigmoid(x).",
            ),
            "softmax_as_in_attention": Mistake(
                partial(retention, shared_softmax=True),
                "The decayed scores go through a softmax, where retention has none.",
            ),
        },
    ),
]
