"""Ports of transformers to plain PyTorch, which make one mistake where they are told to."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Mistakes = Mapping[int, str]
"""The mistake of each block that has one, by its index; -1 is what lies outside of the blocks."""


def linear(theirs: Any, transposed: bool = False) -> nn.Linear:
    """A linear layer with the weights of theirs."""
    weight = theirs.weight.detach().clone()
    weight = weight.T.contiguous() if transposed else weight
    bias = getattr(theirs, "bias", None)
    ours = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    ours.weight.data = weight
    if bias is not None:
        ours.bias.data = bias.detach().clone()
    return ours


def embedding(theirs: Any) -> nn.Embedding:
    """An embedding with the weights of theirs."""
    return nn.Embedding.from_pretrained(theirs.weight.detach().clone(), freeze=False)


def layer_norm(theirs: Any, eps: float | None = None) -> nn.LayerNorm:
    """A layer normalisation with the weights of theirs."""
    ours = nn.LayerNorm(theirs.weight.shape[0], eps=theirs.eps if eps is None else eps)
    ours.weight.data = theirs.weight.detach().clone()
    ours.bias.data = theirs.bias.detach().clone()
    return ours


class RootMeanSquare(nn.Module):
    """x over its root mean square, times a gain."""

    def __init__(self, theirs: Any, eps: float, shift: float = 0.0, centred: bool = False) -> None:
        super().__init__()
        self.gain = nn.Parameter(theirs.weight.detach().clone())
        self.eps, self.shift, self.centred = eps, shift, centred

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.eps) * (self.gain + self.shift)


def turn(x: torch.Tensor, base: float, size: int, neighbours: bool = False) -> torch.Tensor:
    """Rotate the first `size` features of heads, (batch, heads, positions, features)."""
    rates = 1 / base ** (torch.arange(0, size, 2, device=x.device) / size)
    angles = torch.arange(x.shape[2], device=x.device)[:, None] * rates
    cos, sin = angles.cos(), angles.sin()
    if neighbours:
        even, odd = x[..., 0:size:2], x[..., 1:size:2]
        turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1)
        return torch.cat([turned.flatten(-2), x[..., size:]], -1)
    one, two = x[..., : size // 2], x[..., size // 2 : size]
    return torch.cat([one * cos - two * sin, two * cos + one * sin, x[..., size:]], -1)


def heads(x: torch.Tensor, count: int) -> torch.Tensor:
    """(batch, positions, features) as (batch, heads, positions, features of a head)."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    hidden: torch.Tensor | None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention, its heads joined; where `hidden` is true nothing is seen."""
    scores = q @ k.transpose(-1, -2) * scale
    if bias is not None:
        scores = scores + bias
    if hidden is not None:
        scores = scores.masked_fill(hidden, -1e9)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def later(length: int, by: int = 1) -> torch.Tensor:
    """True where a key lies `by` or more positions behind the query."""
    place = torch.arange(length)
    return place[None, :] - place[:, None] >= by


class RotaryAttention(nn.Module):
    """Attention of Llama, Mistral, Qwen2 and Gemma."""

    def __init__(self, theirs: Any, config: Any, wrong: str) -> None:
        super().__init__()
        self.wq, self.wk, self.wv = map(linear, (theirs.q_proj, theirs.k_proj, theirs.v_proj))
        self.wo = linear(theirs.o_proj)
        if wrong == "no bias of queries":
            self.wq.bias = None
        self.queries, self.keys = config.num_attention_heads, config.num_key_value_heads
        self.base = config.rope_parameters["rope_theta"] * (3 if wrong == "rope base" else 1)
        self.window = getattr(config, "sliding_window", None)
        self.wrong = wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k = heads(self.wq(x), self.queries), heads(self.wk(x), self.keys)
        v = heads(self.wv(x), self.keys)
        size, wrong = q.shape[-1], self.wrong
        if wrong != "keys not turned":
            k = turn(k, self.base, size, wrong == "rope pairs")
        q = turn(q, self.base, size, wrong == "rope pairs")
        times = self.queries // self.keys
        if wrong == "order of repeated keys":
            k, v = k.repeat(1, times, 1, 1), v.repeat(1, times, 1, 1)
        else:
            k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
        scale = 1 / math.sqrt(x.shape[-1] if wrong == "scale" else size)
        hidden = later(x.shape[1], 2 if wrong == "mask off by one" else 1)
        if self.window is not None and wrong != "no window":
            far = self.window + 1 if wrong == "window off by one" else self.window
            hidden = hidden | later(x.shape[1], far).T
        return self.wo(attend(q, k, v, scale, hidden))


class GatedLayers(nn.Module):
    """Dense layers with a gate."""

    def __init__(self, theirs: Any, config: Any, wrong: str) -> None:
        super().__init__()
        self.w1, self.w2 = linear(theirs.gate_proj), linear(theirs.down_proj)
        self.w3 = linear(theirs.up_proj)
        kind = getattr(config, "hidden_activation", None) or config.hidden_act
        self.kind, self.wrong = "gelu" if wrong == "other activation" else kind, wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.w1(x), self.w3(x)
        if self.wrong == "gate and value":
            gate, value = value, gate
        if self.kind == "silu":
            gate = gate * torch.sigmoid(gate)
        else:
            gate = F.gelu(gate, approximate="tanh" if "tanh" in self.kind else "none")
        return self.w2(gate * value)


class RotaryBlock(nn.Module):
    """A block of Llama, Mistral, Qwen2 and Gemma."""

    def __init__(self, theirs: Any, config: Any, wrong: str) -> None:
        super().__init__()
        shift = 1.0 if config.model_type == "gemma" else 0.0
        eps = config.rms_norm_eps
        self.norm1 = RootMeanSquare(
            theirs.input_layernorm,
            1e-2 if wrong == "epsilon" else eps,
            0.0 if wrong == "norm without one" else shift,
        )
        self.norm2 = RootMeanSquare(
            theirs.post_attention_layernorm, eps, shift, wrong == "centred norm"
        )
        self.mix = RotaryAttention(theirs.self_attn, config, wrong)
        self.feed = GatedLayers(theirs.mlp, config, wrong)
        self.wrong = wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.mix(self.norm1(x))
        h = y if self.wrong == "no shortcut" else x + y
        return h + self.feed(self.norm2(x if self.wrong == "norm of the input" else h))


class RotaryDecoder(nn.Module):
    """A language model of Llama, Mistral, Qwen2 or Gemma."""

    def __init__(self, theirs: Any, mistakes: Mistakes) -> None:
        super().__init__()
        config, outside = theirs.config, mistakes.get(-1, "")
        self.tok = embedding(theirs.model.embed_tokens)
        self.scale = math.sqrt(config.hidden_size) if config.model_type == "gemma" else 1.0
        if outside == "no scale of embeddings":
            self.scale = 1.0
        self.blocks = nn.ModuleList(
            RotaryBlock(layer, config, mistakes.get(index, ""))
            for index, layer in enumerate(theirs.model.layers)
        )
        shift = 1.0 if config.model_type == "gemma" else 0.0
        self.norm = RootMeanSquare(theirs.model.norm, config.rms_norm_eps, shift)
        self.head = linear(theirs.lm_head)
        if outside == "head of other words":
            self.head.weight.data = self.head.weight.data.roll(1, 0)
        self.last = outside != "no last norm"

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.tok(input_ids) * self.scale
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x) if self.last else x)


class GPT2Block(nn.Module):
    """A block of GPT-2."""

    def __init__(self, theirs: Any, config: Any, wrong: str) -> None:
        super().__init__()
        self.before = layer_norm(theirs.ln_1, 1e-2 if wrong == "epsilon" else None)
        self.between = layer_norm(theirs.ln_2)
        self.qkv, self.out = linear(theirs.attn.c_attn, True), linear(theirs.attn.c_proj, True)
        self.up, self.down = linear(theirs.mlp.c_fc, True), linear(theirs.mlp.c_proj, True)
        self.count, self.wrong = config.n_head, wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wrong = self.wrong
        mixed = self.qkv(self.before(x))
        if wrong == "split by heads":
            q, k, v = heads(mixed, self.count).chunk(3, -1)
        else:
            q, k, v = (heads(part, self.count) for part in mixed.chunk(3, -1))
        if wrong == "order of split":
            q, k = k, q
        hidden = later(x.shape[1], 2 if wrong == "mask off by one" else 1)
        scale = 1.0 if wrong == "no scale" else q.shape[-1] ** -0.5
        y = self.out(attend(q, k, v, scale, None if wrong == "no mask" else hidden))
        x = x + y
        approximate = "none" if wrong == "exact gelu" else "tanh"
        return x + self.down(F.gelu(self.up(self.between(x)), approximate=approximate))


class GPT2(nn.Module):
    """A language model of GPT-2, its head tied."""

    def __init__(self, theirs: Any, mistakes: Mistakes) -> None:
        super().__init__()
        inner, config = theirs.transformer, theirs.config
        self.words, self.places = embedding(inner.wte), embedding(inner.wpe)
        self.blocks = nn.ModuleList(
            GPT2Block(block, config, mistakes.get(index, "")) for index, block in enumerate(inner.h)
        )
        self.final = layer_norm(inner.ln_f)
        self.outside = mistakes.get(-1, "")

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        place = torch.arange(input_ids.shape[1])
        x = self.words(input_ids) + self.places(
            place + (1 if self.outside == "places from one" else 0)
        )
        for block in self.blocks:
            x = block(x)
        x = self.final(x)
        head = self.words.weight
        return x @ (head.roll(1, 0) if self.outside == "head of other words" else head).T


class PhiBlock(nn.Module):
    """A block of Phi, its two parts in parallel."""

    def __init__(self, theirs: Any, config: Any, wrong: str) -> None:
        super().__init__()
        self.norm = layer_norm(theirs.input_layernorm)
        inner = theirs.self_attn
        self.q, self.k, self.v = map(linear, (inner.q_proj, inner.k_proj, inner.v_proj))
        self.dense, self.fc1 = linear(inner.dense), linear(theirs.mlp.fc1)
        self.fc2 = linear(theirs.mlp.fc2)
        self.count, self.turned = config.num_attention_heads, inner.rotary_ndims
        self.base, self.wrong = config.rope_parameters["rope_theta"], wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        q, k, v = (heads(part(y), self.count) for part in (self.q, self.k, self.v))
        size = q.shape[-1] if self.wrong == "all features turned" else self.turned
        q, k = (turn(one, self.base, size, self.wrong == "rope pairs") for one in (q, k))
        mixed = self.dense(attend(q, k, v, q.shape[-1] ** -0.5, later(x.shape[1])))
        taken = self.norm(x + mixed) if self.wrong == "one after the other" else y
        approximate = "none" if self.wrong == "exact gelu" else "tanh"
        return x + mixed + self.fc2(F.gelu(self.fc1(taken), approximate=approximate))


class Phi(nn.Module):
    """A language model of Phi."""

    def __init__(self, theirs: Any, mistakes: Mistakes) -> None:
        super().__init__()
        self.embed = embedding(theirs.model.embed_tokens)
        self.h = nn.ModuleList(
            PhiBlock(layer, theirs.config, mistakes.get(index, ""))
            for index, layer in enumerate(theirs.model.layers)
        )
        self.ln, self.head = layer_norm(theirs.model.final_layernorm), linear(theirs.lm_head)
        if mistakes.get(-1) == "no bias of the head":
            self.head.bias = None

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(input_ids)
        for block in self.h:
            x = block(x)
        return self.head(self.ln(x))


class BertBlock(nn.Module):
    """A block of BERT, which normalises after its sums."""

    def __init__(self, theirs: Any, config: Any, wrong: str) -> None:
        super().__init__()
        inner, output = theirs.attention.self, theirs.attention.output
        self.query, self.key, self.value = map(linear, (inner.query, inner.key, inner.value))
        self.merge, self.norm1 = linear(output.dense), layer_norm(output.LayerNorm)
        self.wide, self.narrow = linear(theirs.intermediate.dense), linear(theirs.output.dense)
        self.norm2 = layer_norm(theirs.output.LayerNorm, 1e-3 if wrong == "epsilon" else None)
        self.count, self.wrong = config.num_attention_heads, wrong

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        wrong = self.wrong
        q, k, v = (heads(part(x), self.count) for part in (self.query, self.key, self.value))
        if wrong == "keys for values":
            v = k
        scale = q.shape[-1] ** -0.5 / (2 if wrong == "scale" else 1)
        y = self.merge(attend(q, k, v, scale, None if wrong == "padding seen" else hidden))
        x = x + self.norm1(y) if wrong == "norm before sum" else self.norm1(x + y)
        approximate = "tanh" if wrong == "gelu by tanh" else "none"
        return self.norm2(x + self.narrow(F.gelu(self.wide(x), approximate=approximate)))


class Bert(nn.Module):
    """An encoder of BERT, without its pooler."""

    def __init__(self, theirs: Any, mistakes: Mistakes) -> None:
        super().__init__()
        table = theirs.embeddings
        self.words, self.places = map(embedding, (table.word_embeddings, table.position_embeddings))
        self.kinds, self.norm = embedding(table.token_type_embeddings), layer_norm(table.LayerNorm)
        self.blocks = nn.ModuleList(
            BertBlock(layer, theirs.config, mistakes.get(index, ""))
            for index, layer in enumerate(theirs.encoder.layer)
        )
        self.outside = mistakes.get(-1, "")

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        place = torch.arange(input_ids.shape[1]) + (2 if self.outside == "places from two" else 0)
        x = self.words(input_ids) + self.places(place)
        if self.outside != "no kinds":
            x = x + self.kinds(torch.zeros_like(input_ids))
        x = self.norm(x)
        for block in self.blocks:
            x = block(x, attention_mask[:, None, None, :] == 0)
        return x


class T5Block(nn.Module):
    """A block of T5's encoder."""

    def __init__(self, theirs: Any, config: Any, wrong: str) -> None:
        super().__init__()
        first, second = theirs.layer
        inner, dense = first.SelfAttention, second.DenseReluDense
        self.q, self.k, self.v, self.o = map(linear, (inner.q, inner.k, inner.v, inner.o))
        eps = config.layer_norm_epsilon
        self.norm1 = RootMeanSquare(first.layer_norm, eps)
        self.norm2 = RootMeanSquare(second.layer_norm, eps, centred=wrong == "centred norm")
        self.gate, self.value, self.back = map(linear, (dense.wi_0, dense.wi_1, dense.wo))
        self.count, self.wrong = config.num_heads, wrong

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        q, k, v = (heads(part(y), self.count) for part in (self.q, self.k, self.v))
        scale = q.shape[-1] ** -0.5 if self.wrong == "scaled" else 1.0
        if self.wrong == "bias transposed":
            bias = bias.transpose(-1, -2)
        x = x + self.o(attend(q, k, v, scale, None, None if self.wrong == "no bias" else bias))
        y = self.norm2(x)
        act = F.relu if self.wrong == "relu" else partial(F.gelu, approximate="tanh")
        return x + self.back(act(self.gate(y)) * self.value(y))


class T5Encoder(nn.Module):
    """T5's encoder."""

    def __init__(self, theirs: Any, mistakes: Mistakes) -> None:
        super().__init__()
        inner = theirs.encoder
        self.words = embedding(theirs.shared)
        self.blocks = nn.ModuleList(
            T5Block(block, theirs.config, mistakes.get(index, ""))
            for index, block in enumerate(inner.block)
        )
        self.table = embedding(inner.block[0].layer[0].SelfAttention.relative_attention_bias)
        self.final = RootMeanSquare(inner.final_layer_norm, theirs.config.layer_norm_epsilon)
        self.farthest = theirs.config.relative_attention_max_distance
        self.outside = mistakes.get(-1, "")

    def buckets(self, length: int) -> torch.Tensor:
        place = torch.arange(length)
        steps = place[None, :] - place[:, None]
        half = self.table.num_embeddings // 2
        exact = half // 2
        far = steps.abs().clamp(min=1)
        logs = torch.log(far / exact) / math.log(self.farthest / exact) * (half - exact)
        coarse = (exact + logs.long()).clamp(max=half - 1)
        found = torch.where(steps.abs() < exact, steps.abs(), coarse)
        behind = steps < 0 if self.outside == "sides of buckets" else steps > 0
        return found + half * behind

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.words(input_ids)
        bias = self.table(self.buckets(input_ids.shape[1])).permute(2, 0, 1)[None]
        for block in self.blocks:
            x = block(x, bias)
        return self.final(x)
