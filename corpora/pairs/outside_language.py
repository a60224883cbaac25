"""Language models of transformers, made small, against exports, copies and re-implementations.

Written from the form of a pair alone, without a look at the tool that compares them.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from pair import Fault, Pair, Sources, at
from torch import nn
from transformers import AttentionInterface

transformers.logging.set_verbosity_error()

Edit = Callable[[Any], None]
Spec = tuple[Edit | Sequence[Edit], str, Sources]
Inputs = dict[str, np.ndarray]
VOCABULARY = 71


def randomised(model: nn.Module, seed: int) -> nn.Module:
    """The model with weights that show every fault: gains, shifts and biases vary as well."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(one.weight) for one in model.modules() if isinstance(one, nn.Embedding)}
    with torch.no_grad():
        for name, one in model.named_parameters():
            noise = torch.randn(one.shape, generator=generator)
            if name.endswith(("A_log", "original0", ".D")):
                one += 0.2 * noise
            elif id(one) in embeddings:
                one.copy_(0.6 * noise)
            elif name.endswith("_proj"):
                one.copy_(1.3 * noise / math.sqrt(one.shape[-1]))
            elif one.dim() > 1:
                one.copy_(1.3 * noise / math.sqrt(one[0].numel()))
            elif bool((one == 1).all()):
                one.copy_(1 + 0.2 * noise)
            else:
                one.copy_(0.2 * noise)
    return model.eval()


def hugging(kind: str, seed: int, attention: str = "eager", **options: Any) -> Callable[[], Any]:
    """What builds a model of transformers, by the name of its class, from a tiny config."""
    stem = kind
    for ending in ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "MTModel", "Model"):
        stem = stem.removesuffix(ending)

    def build() -> nn.Module:
        config = getattr(transformers, f"{stem}Config")(**options)
        config._attn_implementation = attention
        torch.manual_seed(seed)
        return randomised(getattr(transformers, kind)(config), seed)

    return build


def ids(seed: int, length: int = 10, batch: int = 2) -> np.ndarray:
    """Tokens."""
    return np.random.default_rng(seed).integers(3, VOCABULARY, (batch, length))


def padded(seed: int, length: int = 10) -> Inputs:
    """Tokens, the second row of which ends early."""
    mask = np.ones((2, length), np.int64)
    mask[1, length - 3 :] = 0
    return {"input_ids": ids(seed, length), "attention_mask": mask}


def param(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Edit:
    """Another value for a parameter or buffer."""

    def edit(model: nn.Module) -> None:
        owner, _, last = name.rpartition(".")
        one = getattr(model.get_submodule(owner), last)
        one.data = change(one.data.clone()).contiguous()

    return edit


def option(name: str, **options: Any) -> Edit:
    """Other attributes of a module."""

    def edit(model: nn.Module) -> None:
        for key, value in options.items():
            setattr(model.get_submodule(name), key, value)

    return edit


def put(name: str, make: Callable[[Any], Any]) -> Edit:
    """Another module in a module's place."""

    def edit(model: nn.Module) -> None:
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, make(model.get_submodule(name)))

    return edit


def exchanged(first: str, second: str) -> Edit:
    """Two parts in each other's place."""

    def edit(model: nn.Module) -> None:
        one, two = model.get_submodule(first), model.get_submodule(second)
        for name, part in ((first, two), (second, one)):
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, part)

    return edit


def untied(name: str, seed: int) -> Edit:
    """A layer with weights of its own, as from a loader that did not tie it."""

    def edit(model: nn.Module) -> None:
        layer = model.get_submodule(name)
        generator = torch.Generator().manual_seed(seed)
        layer.weight = nn.Parameter(0.3 * torch.randn(layer.weight.shape, generator=generator))

    return edit


def other_checkpoint(name: str, build: Callable[[], Any]) -> Edit:
    """A part with the weights of another training run."""

    def edit(model: nn.Module) -> None:
        model.get_submodule(name).load_state_dict(build().get_submodule(name).state_dict())

    return edit


def whole(build: Callable[[], Any], *names: str) -> Sources:
    """A source for each part of a model: it, or anything in it."""
    known = [name for name, _ in build().named_modules()]
    return tuple(
        tuple(name for name in known if f"{name}.".startswith(f"{part}.")) for part in names
    )


class Passing(nn.Module):
    """A layer that was left out."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return hidden_states


class Twice(nn.Module):
    """A layer that runs twice."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        once = self.layer(hidden_states, *args, **kwargs)
        return self.layer(once[0] if isinstance(once, tuple) else once, *args, **kwargs)


class Scaled(nn.Module):
    """A layer whose output has another scale."""

    def __init__(self, layer: nn.Module, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.scale * self.layer(*args, **kwargs)


def twisted(name: str, **twist: Any) -> Edit:
    """A module of attention that computes it in another way.

    `axis` is the axis of the softmax; `tile` repeats all heads of keys as a row, not each one;
    `ahead` lets each place see so many later ones; `blind` hides the place itself; `times`
    multiplies the scale; `dropped` is the share of weights that a dropout left in zeroes.
    """
    known = f"twist_{len(twisted_names)}"
    twisted_names.append(known)

    def attend(
        module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float = 1.0, **_: Any
    ) -> Any:
        groups = query.shape[1] // key.shape[1]
        if twist.get("tile"):
            key, value = key.repeat(1, groups, 1, 1), value.repeat(1, groups, 1, 1)
        else:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ key.transpose(2, 3) * scaling * twist.get("times", 1.0)
        rows, columns = scores.shape[-2:]
        if "ahead" in twist:
            seen = torch.ones(rows, columns).tril(twist["ahead"])
            scores = scores + (1 - seen) * -1e9
        elif twist.get("no_mask"):
            pass
        elif mask is not None:
            scores = scores + mask[..., :columns]
        weights = scores.softmax(twist.get("axis", -1))
        if "dropped" in twist:
            generator = torch.Generator().manual_seed(5)
            kept = torch.rand((rows, columns), generator=generator) > twist["dropped"]
            weights = weights * kept / (1 - twist["dropped"])
        return (weights @ value).transpose(1, 2).contiguous(), weights

    AttentionInterface.register(known, attend)

    def edit(model: nn.Module) -> None:
        attention = model.get_submodule(name)
        attention.config = copy.copy(attention.config)
        attention.config._attn_implementation_internal = known

    return edit


twisted_names: list[str] = []


def edited(build: Callable[[], Any], edits: Edit | Sequence[Edit]) -> Any:
    """The model, changed."""
    model = build()
    for edit in edits if isinstance(edits, (tuple, list)) else (edits,):
        edit(model)
    return model.eval()


def _first(output: Any) -> Any:
    return output[0]


class Called(nn.Module):
    """A model that takes its inputs by position, for an exporter."""

    def __init__(self, model: nn.Module, names: Sequence[str], take: Callable[[Any], Any]) -> None:
        super().__init__()
        self.model, self.names, self.take = model, list(names), take

    def forward(self, *values: torch.Tensor) -> Any:
        return self.take(self.model(**dict(zip(self.names, values, strict=True))))


def export(
    model: nn.Module,
    x: Inputs,
    path: Path,
    dynamo: bool = False,
    take: Callable[[Any], Any] = _first,
    called: Mapping[str, str] | None = None,
) -> Path:
    """The model as ONNX, its inputs in the order of x and by the names that `called` has."""
    given = tuple(torch.from_numpy(np.ascontiguousarray(value)) for value in x.values())
    names = [(called or {}).get(name, name) for name in x]
    options: dict[str, Any] = {"opset_version": 18, "dynamo": dynamo, "input_names": names}
    if dynamo:
        options["verbose"] = False
    called_model = Called(model, list(x), take).eval()
    torch.onnx.export(called_model, given, str(path), **options)
    return path


def exported(
    name: str,
    build: Callable[[], Any],
    x: Inputs,
    faults: Mapping[str, Spec],
    to_b: Callable[[Any], Any] = lambda x: x,
    from_b: Callable[[Any], Any] = lambda y: y,
    then: Callable[[Path], Path] = lambda path: path,
    rounding: float = 1e-4,
    port: Callable[[Any], Any] = lambda model: model,
    after: Mapping[str, tuple[Callable[[Path], None], str, Sources]] | None = None,
    **options: Any,
) -> Pair:
    """A model and its export, written again by `port`, converted by `then`, broken by `after`."""

    def write(folder: Path, edits: Edit | Sequence[Edit] = ()) -> Path:
        path = folder / f"{name}.onnx"
        return then(export(edited(lambda: port(build()), edits), to_b(x), path, **options))

    def broken(change: Callable[[Path], None]) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            path = write(folder)
            change(path)
            return path

        return make

    wrong = {
        key: Fault(lambda folder, edits=edits: write(folder, edits), what, sources)
        for key, (edits, what, sources) in faults.items()
    }
    for key, (change, what, sources) in (after or {}).items():
        wrong[key] = Fault(broken(change), what, sources)
    return Pair(name, lambda: (build(), x), write, wrong, to_b, from_b, rounding)


def rewritten(
    name: str,
    build: Callable[[], Any],
    x: Any,
    port: Callable[[Any], Any],
    faults: Mapping[str, Spec],
    to_b: Callable[[Any], Any] = lambda x: x,
    from_b: Callable[[Any], Any] = lambda y: y,
    rounding: float = 1e-4,
) -> Pair:
    """A model and a live re-implementation of it, whose faults are edits of the second."""

    def make(edits: Edit | Sequence[Edit] = ()) -> Any:
        return edited(lambda: port(build()), edits)

    wrong = {
        key: Fault(lambda folder, edits=edits: make(edits), what, sources)
        for key, (edits, what, sources) in faults.items()
    }
    return Pair(name, lambda: (build(), x), lambda folder: make(), wrong, to_b, from_b, rounding)


# Decoders of the kind of Llama, written again with other names.


def turned(x: torch.Tensor, theta: float, pairs: str, start: int) -> torch.Tensor:
    """Rotary positions, of dimensions i and i + d/2 ("half") or 2 i and 2 i + 1 ("neighbours")."""
    size = x.shape[-1]
    rates = theta ** (-torch.arange(0, size, 2) / size)
    angles = (torch.arange(x.shape[-2]) + start)[:, None] * rates
    if pairs == "half":
        first, second = x[..., : size // 2], x[..., size // 2 :]
    else:
        first, second = x[..., ::2], x[..., 1::2]
    one = first * angles.cos() - second * angles.sin()
    two = second * angles.cos() + first * angles.sin()
    if pairs == "half":
        return torch.cat([one, two], -1)
    return torch.stack([one, two], -1).flatten(-2)


class Gain(nn.Module):
    """Root mean square normalisation."""

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.gain, self.eps = nn.Parameter(weight.clone()), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.gain


def dense(weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Linear:
    """A dense layer of these weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone())
    return layer


class Mixing(nn.Module):
    """Attention with one matrix for queries, keys and values."""

    def __init__(self, qkv: nn.Linear, out: nn.Linear, heads: int, groups: int, size: int) -> None:
        super().__init__()
        self.wqkv, self.wo = qkv, out
        self.heads, self.groups, self.size = heads, groups, size
        self.theta, self.pairs, self.start, self.ahead = 10000.0, "half", 0, 0
        self.tile, self.axis, self.scale = False, -1, size**-0.5
        self.after = False
        self.norms: Any = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        parts = self.wqkv(x).view(batch, length, -1, self.size).transpose(1, 2)
        q, k, v = parts.split([self.heads, self.groups, self.groups], 1)
        if self.norms is not None:
            q, k = self.norms[0](q), self.norms[1](k)
        q = turned(q, self.theta, self.pairs, 0)
        k = turned(k, self.theta, self.pairs, self.start)
        times = self.heads // self.groups
        if self.tile:
            k, v = k.repeat(1, times, 1, 1), v.repeat(1, times, 1, 1)
        else:
            k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
        scores = q @ k.transpose(2, 3) * self.scale
        seen = torch.ones(length, length).tril(self.ahead).bool()
        seen = seen.T if self.after else seen
        weights = scores.masked_fill(~seen, -1e9).softmax(self.axis)
        return self.wo((weights @ v).transpose(1, 2).reshape(batch, length, -1))


class Gated(nn.Module):
    """The gated dense layers, gate and up in one matrix."""

    def __init__(self, both: nn.Linear, down: nn.Linear, act: Callable[..., Any]) -> None:
        super().__init__()
        self.w13, self.w2, self.act = both, down, act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.w13(x).chunk(2, -1)
        return self.w2(self.act(gate) * up)


class Block(nn.Module):
    """One block of a decoder."""

    def __init__(self, norm_1: Gain, mix: Mixing, norm_2: Gain, ff: nn.Module) -> None:
        super().__init__()
        self.norm_1, self.mix, self.norm_2, self.ff = norm_1, mix, norm_2, ff

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.mix(self.norm_1(x))
        return x + self.ff(self.norm_2(x))


class Decoder(nn.Module):
    """A decoder that takes tokens alone."""

    def __init__(self, table: nn.Embedding, blocks: list[Block], norm: Gain, head: nn.Linear):
        super().__init__()
        self.table, self.blocks = table, nn.ModuleList(blocks)
        self.norm, self.head = norm, head
        self.scale = 1.0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.table(tokens) * self.scale
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def neighbours(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys for pairs of neighbours, from those for halves."""
    rest = weight.shape[1:]
    return weight.view(heads, 2, -1, *rest).transpose(1, 2).reshape(-1, *rest)


def halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys for halves, from those for pairs of neighbours."""
    rest = weight.shape[1:]
    return weight.view(heads, -1, 2, *rest).transpose(1, 2).reshape(-1, *rest)


def decoder(pairs: str = "half", plus_one: bool = False, permuted: bool = True) -> Any:
    """What writes Mistral, Qwen2, Qwen3 or Gemma again."""

    def port(model: Any) -> Decoder:
        config, inner = model.config, model.model
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        eps, one = config.rms_norm_eps, 1.0 if plus_one else 0.0
        blocks = []
        for layer in inner.layers:
            own = layer.self_attn
            q, k, v = own.q_proj, own.k_proj, own.v_proj
            rows = {
                kind: [getattr(q, kind), getattr(k, kind), getattr(v, kind)]
                for kind in ("weight", "bias")
            }
            for some in rows.values():
                if pairs == "neighbours" and permuted and some[0] is not None:
                    some[0], some[1] = neighbours(some[0], heads), neighbours(some[1], groups)
            bias = None if q.bias is None else torch.cat(rows["bias"])
            mix = Mixing(
                dense(torch.cat(rows["weight"]), bias),
                dense(own.o_proj.weight),
                heads,
                groups,
                size,
            )
            mix.pairs, mix.theta = pairs, config.rope_parameters["rope_theta"]
            if hasattr(own, "q_norm"):
                mix.norms = nn.ModuleList(
                    Gain(norm.weight.data, eps) for norm in (own.q_norm, own.k_norm)
                )
            ff = layer.mlp
            if hasattr(ff, "experts"):
                gated: nn.Module = Experts(ff)
            else:
                both = torch.cat([ff.gate_proj.weight, ff.up_proj.weight])
                gated = Gated(dense(both), dense(ff.down_proj.weight), ff.act_fn)
            norms = (layer.input_layernorm, layer.post_attention_layernorm)
            gains = [Gain(norm.weight.data + one, eps) for norm in norms]
            blocks.append(Block(gains[0], mix, gains[1], gated))
        table = nn.Embedding.from_pretrained(inner.embed_tokens.weight.data.clone())
        norm = Gain(inner.norm.weight.data + one, eps)
        again = Decoder(table, blocks, norm, dense(model.lm_head.weight))
        if plus_one:
            again.scale = config.hidden_size**0.5
        return again.eval()

    return port


class Experts(nn.Module):
    """Experts as a list, in another order than the first model's, the router's rows alike."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        weights = block.experts
        count = weights.gate_up_proj.shape[0]
        self.order = list(reversed(range(count)))
        self.router = dense(block.gate.weight.data[self.order])
        self.experts = nn.ModuleList(
            Gated(dense(weights.gate_up_proj[i]), dense(weights.down_proj[i]), weights.act_fn)
            for i in self.order
        )
        self.best, self.shared_out, self.before = block.gate.top_k, True, True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.router(x)
        shares, chosen = logits.softmax(-1).topk(self.best, -1)
        if self.shared_out:
            shares = shares / shares.sum(-1, keepdim=True)
        gates = torch.zeros_like(logits).scatter(-1, chosen, shares)
        return sum(gates[..., i, None] * one(x) for i, one in enumerate(self.experts))


def tokens(x: Any) -> Any:
    """Tokens under the name that the second model has for them."""
    return {"tokens": x["input_ids"]}


GROUPED = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=48,
    use_cache=False,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
ROPE = at("model.rotary_emb", *(f"model.layers.{i}.self_attn" for i in range(3)))


def theta(value: float) -> Edit:
    """Another base of the rotary positions, in all blocks of a decoder written again."""

    def edit(model: Any) -> None:
        for block in model.blocks:
            block.mix.theta = value

    return edit


def unpermuted(model: Any) -> None:
    """Rows of one block's queries and keys go back to the order of halves."""
    mix = model.blocks[1].mix
    q, k, v = mix.wqkv.weight.data.split([32, 16, 16])
    mix.wqkv.weight.data = torch.cat([halves(q, 4), halves(k, 2), v])


MISTRAL = hugging("MistralForCausalLM", 1, sliding_window=None, **GROUPED)
OTHER_MISTRAL = hugging("MistralForCausalLM", 91, sliding_window=None, **GROUPED)
QWEN2 = hugging("Qwen2ForCausalLM", 2, tie_word_embeddings=True, **GROUPED)
QWEN3 = hugging("Qwen3ForCausalLM", 3, head_dim=16, tie_word_embeddings=True, **GROUPED)
GEMMA = hugging("GemmaForCausalLM", 4, head_dim=8, **GROUPED)
MIXTRAL = hugging("MixtralForCausalLM", 5, num_local_experts=4, sliding_window=None, **GROUPED)
PHI3 = hugging("Phi3ForCausalLM", 6, **GROUPED)


def _other_block(model: Any) -> None:
    model.blocks[2] = decoder("neighbours")(OTHER_MISTRAL()).blocks[2]


def _blocks_exchanged(model: Any) -> None:
    model.blocks[0], model.blocks[1] = model.blocks[1], model.blocks[0]


def _gate_and_up(weight: torch.Tensor) -> torch.Tensor:
    gate, up = weight.chunk(2)
    return torch.cat([up, gate])


DECODERS = [
    rewritten(
        "mistral_neighbours",
        MISTRAL,
        {"input_ids": ids(11)},
        decoder("neighbours"),
        {
            "rows_not_permuted": (
                unpermuted,
                "rows of queries and keys of the second block keep the order for halves",
                at(*(f"model.layers.1.self_attn{one}" for one in ("", ".q_proj", ".k_proj"))),
            ),
            "another_checkpoint": (
                _other_block,
                "the last block has the weights of another checkpoint",
                whole(MISTRAL, "model.layers.2"),
            ),
            "gate_and_up": (
                param("blocks.0.ff.w13.weight", _gate_and_up),
                "the first block's fused matrix holds up, then gate",
                at(*(f"model.layers.0.mlp{one}" for one in ("", ".gate_proj", ".up_proj"))),
            ),
            "heads_tiled": (
                option("blocks.1.mix", tile=True),
                "the second block repeats its heads of keys as 0 1 0 1, not 0 0 1 1",
                at("model.layers.1.self_attn"),
            ),
            "blocks_exchanged": (
                _blocks_exchanged,
                "the first and second block are exchanged",
                whole(MISTRAL, "model.layers.0", "model.layers.1"),
            ),
        },
        tokens,
    ),
    rewritten(
        "mistral_halves",
        MISTRAL,
        {"input_ids": ids(12, 12, 1)},
        decoder("half"),
        {
            "rope_pairing": (
                option("blocks.0.mix", pairs="neighbours"),
                "the first block turns pairs of neighbours, its rows are for halves",
                at("model.layers.0.self_attn"),
            ),
            "one_ahead": (
                option("blocks.2.mix", ahead=1),
                "each place of the last block sees the next one as well",
                at("model.layers.2.self_attn"),
            ),
            "mask_on_the_other_side": (
                option("blocks.0.mix", after=True),
                "the first block's mask hides earlier places, not later ones",
                at("model.layers.0.self_attn"),
            ),
            "softmax_over_queries": (
                option("blocks.1.mix", axis=-2),
                "the softmax of the second block runs over queries",
                at("model.layers.1.self_attn"),
            ),
        },
        tokens,
    ),
    rewritten(
        "qwen2_fused",
        QWEN2,
        {"input_ids": ids(13)},
        decoder("half"),
        {
            "rope_base": (theta(1e6), "the base of rotary positions is 1e6, not 1e4", ROPE),
            "no_key_bias": (
                param("blocks.0.mix.wqkv.bias", lambda old: torch.cat([old[:32], 0 * old[32:]])),
                "the biases of keys and values of the first block are dropped",
                at(
                    "model.layers.0.self_attn",
                    "model.layers.0.self_attn.k_proj",
                    "model.layers.0.self_attn.v_proj",
                ),
            ),
            "head_not_tied": (
                untied("head", 3),
                "the head has weights of its own",
                at("lm_head"),
            ),
            "keys_one_later": (
                option("blocks.2.mix", start=1),
                "positions of keys in the last block are off by one",
                at("model.layers.2.self_attn"),
            ),
        },
        tokens,
    ),
    rewritten(
        "qwen3_fused",
        QWEN3,
        {"input_ids": ids(14, 8)},
        decoder("half"),
        {
            "no_norm_of_keys": (
                lambda model: model.blocks[1].mix.norms.__setitem__(1, nn.Identity()),
                "the second block does not normalise its keys",
                at("model.layers.1.self_attn.k_norm", "model.layers.1.self_attn"),
            ),
            "norms_exchanged": (
                lambda model: setattr(
                    model.blocks[0].mix, "norms", model.blocks[0].mix.norms[::-1]
                ),
                "the first block's normalisations of queries and keys are exchanged",
                at(
                    "model.layers.0.self_attn.q_norm",
                    "model.layers.0.self_attn.k_norm",
                    "model.layers.0.self_attn",
                ),
            ),
            "scale_of_width": (
                option("blocks.2.mix", scale=8**-0.5),
                "the last block's scores are over the root of 8, not of its head's size of 16",
                at("model.layers.2.self_attn"),
            ),
        },
        tokens,
    ),
    rewritten(
        "gemma_gain_folded",
        GEMMA,
        {"input_ids": ids(15)},
        decoder("half", plus_one=True),
        {
            "no_plus_one": (
                param("blocks.1.norm_2.gain", lambda old: old - 1),
                "the second normalisation of the second block lacks its 1 +",
                at("model.layers.1.post_attention_layernorm"),
            ),
            "embedding_scale": (
                option("", scale=1.0),
                "the embeddings are not multiplied by the root of the width",
                at("model.embed_tokens", "model"),
            ),
            "gelu_by_erf": (
                option("blocks.0.ff", act=nn.GELU()),
                "the first block's GELU is exact, not by tanh (inherently small)",
                at("model.layers.0.mlp.act_fn"),
            ),
            "epsilon": (
                option("norm", eps=1e-1),
                "the last normalisation's epsilon is 0.1",
                at("model.norm"),
            ),
        },
        tokens,
    ),
    rewritten(
        "mixtral_experts_reversed",
        MIXTRAL,
        {"input_ids": ids(16)},
        decoder("half"),
        {
            "experts_order": (
                lambda model: model.blocks[1].ff.experts.__init__(
                    list(reversed(model.blocks[1].ff.experts))
                ),
                "the second block's experts are in another order than its router's rows",
                at(*(f"model.layers.1.mlp{one}" for one in ("", ".gate", ".experts"))),
            ),
            "shares_not_normalised": (
                option("blocks.0.ff", shared_out=False),
                "the first block's chosen experts' shares are not brought to a sum of one",
                at("model.layers.0.mlp", "model.layers.0.mlp.gate", "model.layers.0.mlp.experts"),
            ),
            "one_expert": (
                option("blocks.2.ff", best=1),
                "the last block asks the best expert alone",
                at("model.layers.2.mlp", "model.layers.2.mlp.gate", "model.layers.2.mlp.experts"),
            ),
        },
        tokens,
    ),
]


# Other ports: into other classes, into layers of PyTorch, into a scan.


def phi3_as_llama(model: Any) -> Any:
    """Fused matrices of Phi-3 in the split ones of Llama."""
    again = hugging("LlamaForCausalLM", 0, **GROUPED)()
    state = {}
    for name, value in model.state_dict().items():
        if "qkv_proj" in name:
            for kind, rows in zip("qkv", value.split([32, 16, 16]), strict=True):
                state[name.replace("qkv_proj", f"{kind}_proj")] = rows
        elif "gate_up_proj" in name:
            for kind, rows in zip(("gate", "up"), value.chunk(2), strict=True):
                state[name.replace("gate_up_proj", f"{kind}_proj")] = rows
        else:
            state[name] = value
    again.load_state_dict(state, strict=False)
    for layer in (*again.model.layers, again.model):
        for one in layer.children():
            if hasattr(one, "variance_epsilon"):
                one.variance_epsilon = model.config.rms_norm_eps
    return again


def gptj_as_neox(model: Any) -> Any:
    """GPT-J in GPT-NeoX: queries, keys and values fused head by head, pairs as halves."""
    config = model.config
    again = hugging(
        "GPTNeoXForCausalLM",
        0,
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=128,
        hidden_act="gelu_new",
        layer_norm_eps=config.layer_norm_epsilon,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
        max_position_embeddings=32,
        use_cache=False,
    )()

    def rotary(weight: torch.Tensor) -> torch.Tensor:
        heads = weight.view(2, 16, 32)
        turning = heads[:, :8].reshape(2, 4, 2, 32).transpose(1, 2).reshape(2, 8, 32)
        return torch.cat([turning, heads[:, 8:]], 1)

    with torch.no_grad():
        again.gpt_neox.embed_in.weight.copy_(model.transformer.wte.weight)
        for old, new in zip(model.transformer.h, again.gpt_neox.layers, strict=True):
            for norm in (new.input_layernorm, new.post_attention_layernorm):
                norm.load_state_dict(old.ln_1.state_dict())
            q, k = rotary(old.attn.q_proj.weight), rotary(old.attn.k_proj.weight)
            v = old.attn.v_proj.weight.view(2, 16, 32)
            new.attention.query_key_value.weight.copy_(torch.cat([q, k, v], 1).reshape(96, 32))
            new.attention.query_key_value.bias.zero_()
            new.attention.dense.weight.copy_(old.attn.out_proj.weight)
            new.attention.dense.bias.zero_()
            new.mlp.dense_h_to_4h.load_state_dict(old.mlp.fc_in.state_dict())
            new.mlp.dense_4h_to_h.load_state_dict(old.mlp.fc_out.state_dict())
        again.gpt_neox.final_layer_norm.load_state_dict(model.transformer.ln_f.state_dict())
    again.lm_head = dense(model.lm_head.weight, model.lm_head.bias)
    return again.eval()


def _tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.gelu(x, approximate="tanh")


class Stack(nn.Module):
    """GPT-2 in PyTorch's own encoder layers, whose matrices are the transposed ones."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        inner = model.transformer
        self.words = nn.Embedding.from_pretrained(inner.wte.weight.data.clone())
        self.places = nn.Parameter(inner.wpe.weight.data.clone())
        self.stages = nn.ModuleList()
        for block in inner.h:
            stage = nn.TransformerEncoderLayer(
                32, 4, 128, 0.0, _tanh_gelu, model.config.layer_norm_epsilon, True, True
            )
            with torch.no_grad():
                stage.self_attn.in_proj_weight.copy_(block.attn.c_attn.weight.T)
                stage.self_attn.in_proj_bias.copy_(block.attn.c_attn.bias)
                for new, old in (
                    (stage.self_attn.out_proj, block.attn.c_proj),
                    (stage.linear1, block.mlp.c_fc),
                    (stage.linear2, block.mlp.c_proj),
                ):
                    new.weight.copy_(old.weight.T)
                    new.bias.copy_(old.bias)
            stage.norm1.load_state_dict(block.ln_1.state_dict())
            stage.norm2.load_state_dict(block.ln_2.state_dict())
            self.stages.append(stage)
        self.last = copy.deepcopy(inner.ln_f)
        self.first = 0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        x = self.words(tokens) + self.places[self.first : self.first + length]
        hidden = torch.ones(length, length).triu(1).bool()
        for stage in self.stages:
            x = stage(x, src_mask=hidden)
        return self.last(x) @ self.words.weight.T


class Scan(nn.Module):
    """The mixer of Mamba as a plain loop over time."""

    def __init__(self, mixer: Any) -> None:
        super().__init__()
        self.into, self.out = copy.deepcopy(mixer.in_proj), copy.deepcopy(mixer.out_proj)
        self.kernel = nn.Parameter(mixer.conv1d.weight.data[:, 0].clone())
        self.shift = nn.Parameter(mixer.conv1d.bias.data.clone())
        self.parts, self.step = copy.deepcopy(mixer.x_proj), copy.deepcopy(mixer.dt_proj)
        self.decay = nn.Parameter(-mixer.A_log.data.exp())
        self.skip = nn.Parameter(mixer.D.data.clone())
        self.states, self.rank = mixer.ssm_state_size, mixer.time_step_rank
        self.late, self.zero_order = 0, False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, gate = self.into(x).chunk(2, -1)
        width, length = self.kernel.shape[1], x.shape[1]
        long = nn.functional.pad(u, (0, 0, width - 1 - self.late, self.late))
        u = self.shift + sum(long[:, i : i + length] * self.kernel[:, i] for i in range(width))
        u = nn.functional.silu(u)
        step, into, out = self.parts(u).split([self.rank, self.states, self.states], -1)
        step = nn.functional.softplus(self.step(step))
        state = torch.zeros(x.shape[0], u.shape[-1], self.states)
        found = []
        for t in range(length):
            decay = torch.exp(step[:, t, :, None] * self.decay)
            state = decay * state + step[:, t, :, None] * into[:, t, None] * u[:, t, :, None]
            found.append((state * out[:, t, None]).sum(-1))
        y = torch.stack(found, 1) + self.skip * u
        return self.out(y * nn.functional.silu(gate))


class Scanned(nn.Module):
    """Mamba as loops."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        inner = model.backbone
        self.table = copy.deepcopy(inner.embeddings)
        eps = model.config.layer_norm_epsilon
        self.gains = nn.ModuleList(Gain(layer.norm.weight.data, eps) for layer in inner.layers)
        self.scans = nn.ModuleList(Scan(layer.mixer) for layer in inner.layers)
        self.gain = Gain(inner.norm_f.weight.data, eps)
        self.head = dense(self.table.weight.data)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.table(tokens)
        for gain, scan in zip(self.gains, self.scans, strict=True):
            x = x + scan(gain(x))
        return self.head(self.gain(x))


GPTJ = hugging(
    "GPTJForCausalLM",
    7,
    vocab_size=VOCABULARY,
    n_embd=32,
    n_layer=3,
    n_head=2,
    rotary_dim=8,
    n_positions=32,
    use_cache=False,
    bos_token_id=1,
    eos_token_id=2,
)
GPT2 = hugging(
    "GPT2LMHeadModel",
    8,
    vocab_size=VOCABULARY,
    n_embd=32,
    n_layer=3,
    n_head=4,
    n_positions=24,
    use_cache=False,
    bos_token_id=1,
    eos_token_id=2,
)
MAMBA = hugging(
    "MambaForCausalLM",
    9,
    vocab_size=VOCABULARY,
    hidden_size=24,
    num_hidden_layers=3,
    state_size=4,
    use_cache=False,
    bos_token_id=1,
    eos_token_id=2,
)


def _rows_of_neighbours(weight: torch.Tensor) -> torch.Tensor:
    """Queries' turning rows back in the order of pairs of neighbours, fused head by head."""
    heads = weight.view(2, 48, 32)
    back = heads[:, :8].reshape(2, 2, 4, 32).transpose(1, 2).reshape(2, 8, 32)
    return torch.cat([back, heads[:, 8:]], 1).reshape(96, 32)


def _all_queries_first(weight: torch.Tensor) -> torch.Tensor:
    return weight.view(2, 3, 16, 32).transpose(0, 1).reshape(96, 32)


def _untransposed(model: Any) -> None:
    layer = model.stages[1].self_attn.out_proj
    layer.weight.data = layer.weight.data.T.contiguous()


PORTS = [
    rewritten(
        "phi3_split",
        PHI3,
        padded(21),
        phi3_as_llama,
        {
            "heads_tiled": (
                twisted("model.layers.0.self_attn", tile=True),
                "the first block repeats its heads of keys as 0 1 0 1",
                at("model.layers.0.self_attn"),
            ),
            "mask_forgotten": (
                twisted("model.layers.1.self_attn", no_mask=True),
                "the second block does without its mask",
                at("model.layers.1.self_attn"),
            ),
            "dropout_left_in": (
                twisted("model.layers.2.self_attn", dropped=0.2),
                "a dropout of weights is left in the last block",
                at("model.layers.2.self_attn"),
            ),
            "block_twice": (
                put("model.layers.1", Twice),
                "the second block runs twice",
                whole(PHI3, "model.layers.1"),
            ),
        },
    ),
    rewritten(
        "gptj_as_neox",
        GPTJ,
        {"input_ids": ids(22)},
        gptj_as_neox,
        {
            "rows_not_permuted": (
                param("gpt_neox.layers.1.attention.query_key_value.weight", _rows_of_neighbours),
                "the second block's queries keep the rows of pairs of neighbours",
                at("transformer.h.1.attn", "transformer.h.1.attn.q_proj"),
            ),
            "fused_by_kind": (
                param("gpt_neox.layers.0.attention.query_key_value.weight", _all_queries_first),
                "the first block's fused matrix has all queries first, not head by head",
                at(
                    "transformer.h.0.attn",
                    *(f"transformer.h.0.attn.{kind}_proj" for kind in "qkv"),
                ),
            ),
            "gelu_exact": (
                put("gpt_neox.layers.2.mlp.act", lambda old: nn.GELU()),
                "the last block's GELU is exact, not by tanh (inherently small)",
                at("transformer.h.2.mlp.act"),
            ),
            "not_parallel": (
                option("gpt_neox.layers.1", use_parallel_residual=False),
                "the second block's dense layers come after its attention, not beside it",
                at("transformer.h.1", "transformer.h.1.mlp", "transformer.h.1.ln_1"),
            ),
        },
    ),
    rewritten(
        "gpt2_as_encoder_layers",
        GPT2,
        {"input_ids": ids(23)},
        Stack,
        {
            "not_transposed": (
                _untransposed,
                "the projection of the second block's attention is not transposed",
                at("transformer.h.1.attn.c_proj", "transformer.h.1.attn"),
            ),
            "positions_later": (
                option("", first=1),
                "positions start at one",
                at("transformer.wpe", "transformer"),
            ),
            "norm_behind": (
                option("stages.2", norm_first=False),
                "the last block normalises behind its parts",
                at("transformer.h.2", "transformer.h.2.ln_1", "transformer.h.2.ln_2"),
            ),
            "relu": (
                option("stages.0", activation=torch.relu),
                "ReLU for GELU in the first block",
                at("transformer.h.0.mlp.act"),
            ),
        },
        tokens,
    ),
    rewritten(
        "mamba_as_loop",
        MAMBA,
        {"input_ids": ids(24, 9)},
        Scanned,
        {
            "no_skip": (
                param("scans.1.skip", torch.zeros_like),
                "the second mixer has no skip (D)",
                at("backbone.layers.1.mixer"),
            ),
            "convolution_not_causal": (
                option("scans.0", late=1),
                "the first convolution sees one place ahead",
                at("backbone.layers.0.mixer", "backbone.layers.0.mixer.conv1d"),
            ),
            "kernel_mirrored": (
                param("scans.2.kernel", lambda old: old.flip(1)),
                "the last convolution's kernel is mirrored in time",
                at("backbone.layers.2.mixer.conv1d", "backbone.layers.2.mixer"),
            ),
            "no_step_bias": (
                param("scans.0.step.bias", torch.zeros_like),
                "the first step's bias is dropped",
                at("backbone.layers.0.mixer.dt_proj", "backbone.layers.0.mixer"),
            ),
            "decay_not_exponential": (
                param("scans.1.decay", lambda old: -(-old).log()),
                "the second mixer takes the logarithm of its decay for the decay",
                at("backbone.layers.1.mixer"),
            ),
        },
        tokens,
    ),
]


# Exports, whose inputs and outputs are often not those of the first model.


def explicit(x: Any) -> Any:
    """Positions, and an additive mask of four dimensions, in another order than tokens first."""
    kept = np.asarray(x["attention_mask"])
    length = kept.shape[1]
    seen = np.tril(np.ones((length, length), bool))[None, None] & (kept[:, None, None] > 0)
    mask = np.where(seen, 0, -1e9).astype(np.float32)
    places = np.tile(np.arange(length, dtype=np.int64), (len(kept), 1))
    return {"position_ids": places, "attention_mask": mask, "input_ids": x["input_ids"]}


def truth(x: Any) -> Any:
    """The mask as one of true and false over keys, in front of the tokens."""
    return {"attention_mask": x["attention_mask"] > 0, "input_ids": x["input_ids"]}


def with_cache(output: Any) -> Any:
    """The logits, then keys and values of each block."""
    layers = output.past_key_values.layers
    return (output.logits, *(one for layer in layers for one in (layer.keys, layer.values)))


def all_states(output: Any) -> Any:
    """The hidden states of all layers as one tensor."""
    return torch.stack(output.hidden_states)


def last(y: np.ndarray) -> np.ndarray:
    """The last of a stack."""
    return y[-1]


def quantised(path: Path) -> Path:
    """The file by quantize_dynamic at its defaults."""
    from onnxruntime.quantization import quantize_dynamic

    small = path.with_name(f"{path.stem}_int8.onnx")
    quantize_dynamic(path, small)
    return small


def halved(path: Path) -> Path:
    """The file in half precision, its inputs and outputs as well."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=False), path)
    return path


def initial(ending: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Another value for the first initial tensor of a file whose name ends so."""

    def edit(path: Path) -> None:
        import onnx

        model = onnx.load(path)
        one = next(one for one in model.graph.initializer if one.name.endswith(ending))
        value = onnx.numpy_helper.to_array(one)
        one.CopyFrom(onnx.numpy_helper.from_array(change(value).astype(value.dtype), one.name))
        onnx.save(model, path)

    return edit


def coarse(weight: torch.Tensor) -> torch.Tensor:
    """The weights on seven levels."""
    step = weight.abs().max() / 3
    return (weight / step).round() * step


OPT = hugging(
    "OPTForCausalLM",
    30,
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    ffn_dim=64,
    word_embed_proj_dim=32,
    max_position_embeddings=32,
    use_cache=False,
    bos_token_id=1,
    eos_token_id=2,
)
QWEN2_CACHE = hugging(
    "Qwen2ForCausalLM", 31, tie_word_embeddings=True, **{**GROUPED, "use_cache": True}
)
GEMMA2 = hugging(
    "Gemma2ForCausalLM",
    32,
    head_dim=8,
    query_pre_attn_scalar=16,
    sliding_window=4,
    attn_logit_softcapping=2.0,
    final_logit_softcapping=5.0,
    **GROUPED,
)
LLAMA = hugging("LlamaForCausalLM", 33, **GROUPED)
ENCODER = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=32,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
ROBERTA = hugging("RobertaModel", 34, type_vocab_size=2, **ENCODER)
ELECTRA = hugging(
    "ElectraModel", 35, embedding_size=16, type_vocab_size=2, output_hidden_states=True, **ENCODER
)
ALBERT = hugging("AlbertModel", 36, embedding_size=16, hidden_act="gelu", **ENCODER)
DISTILBERT = hugging(
    "DistilBertModel",
    37,
    vocab_size=VOCABULARY,
    dim=32,
    n_layers=3,
    n_heads=4,
    hidden_dim=64,
    max_position_embeddings=32,
)
NEOX = hugging(
    "GPTNeoXForCausalLM",
    38,
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=32,
    use_cache=False,
    bos_token_id=1,
    eos_token_id=2,
)
TYPES = {
    "input_ids": ids(44),
    "token_type_ids": np.array([[0] * 4 + [1] * 6, [0] * 7 + [1] * 3], np.int64),
}
OPT_LAYER = "model.decoder.layers"


EXPORTS = [
    exported(
        "opt_renamed",
        OPT,
        padded(41),
        {
            "positions_not_moved": (
                option("model.decoder.embed_positions", offset=1),
                "the offset of positions is one, not two",
                at("model.decoder.embed_positions"),
            ),
            "scale_twice": (
                option(f"{OPT_LAYER}.1.self_attn", scaling=1 / 8),
                "the second block's queries are divided by the head's size, not its root",
                at(f"{OPT_LAYER}.1.self_attn"),
            ),
            "layer_left_out": (
                put(f"{OPT_LAYER}.1", lambda old: Passing()),
                "the second block is left out",
                whole(OPT, f"{OPT_LAYER}.1"),
            ),
            "one_ahead": (
                twisted(f"{OPT_LAYER}.0.self_attn", ahead=1),
                "each place of the first block sees the next one",
                at(f"{OPT_LAYER}.0.self_attn"),
            ),
        },
        called={"input_ids": "tokens", "attention_mask": "kept"},
    ),
    exported(
        "qwen2_with_cache",
        QWEN2_CACHE,
        {"input_ids": ids(42)},
        {
            "sees_all": (
                twisted("model.layers.2.self_attn", no_mask=True),
                "the last block sees later places",
                at("model.layers.2.self_attn"),
            ),
            "no_query_bias": (
                param("model.layers.0.self_attn.q_proj.bias", torch.zeros_like),
                "the bias of the first block's queries is dropped",
                at("model.layers.0.self_attn.q_proj"),
            ),
        },
        take=with_cache,
    ),
    exported(
        "llama_explicit_mask_and_positions",
        LLAMA,
        padded(43),
        {
            "blocks_exchanged": (
                exchanged("model.layers.1", "model.layers.2"),
                "the second and last block are exchanged",
                whole(LLAMA, "model.layers.1", "model.layers.2"),
            ),
            "epsilon": (
                option("model.layers.0.input_layernorm", variance_epsilon=0.1),
                "the first normalisation's epsilon is 0.1",
                at("model.layers.0.input_layernorm"),
            ),
            "softmax_over_queries": (
                twisted("model.layers.1.self_attn", axis=-2),
                "the second block's softmax runs over queries",
                at("model.layers.1.self_attn"),
            ),
        },
        to_b=explicit,
    ),
    exported(
        "gemma2_capped",
        GEMMA2,
        padded(45, 12),
        {
            "no_cap_of_scores": (
                option("model.layers.1.self_attn", attn_logit_softcapping=None),
                "the second block's scores are not capped",
                at("model.layers.1.self_attn"),
            ),
            "embedding_scale": (
                param("model.embed_tokens.embed_scale", torch.ones_like),
                "the embeddings lack their scale",
                at("model.embed_tokens"),
            ),
            "window_longer": (
                lambda model: setattr(model.config, "sliding_window", 5),
                "the windows of the first and last block are one place longer",
                at("model", "model.layers.0.self_attn", "model.layers.2.self_attn"),
            ),
        },
    ),
    exported(
        "roberta_types",
        ROBERTA,
        TYPES,
        {
            "types_forgotten": (
                param("embeddings.token_type_embeddings.weight", lambda old: old[:1].repeat(2, 1)),
                "all tokens have the type 0",
                at("embeddings.token_type_embeddings"),
            ),
            "positions_by_one": (
                param("embeddings.position_embeddings.weight", lambda old: old.roll(1, 0)),
                "positions are off by one",
                at("embeddings.position_embeddings"),
            ),
            "keys_and_values": (
                exchanged(
                    "encoder.layer.1.attention.self.value", "encoder.layer.1.attention.self.key"
                ),
                "the second block's keys and values are exchanged",
                at(
                    "encoder.layer.1.attention.self",
                    "encoder.layer.1.attention.self.key",
                    "encoder.layer.1.attention.self.value",
                ),
            ),
        },
        to_b=lambda x: {name: x[name] for name in ("token_type_ids", "input_ids")},
        called={"token_type_ids": "segments", "input_ids": "words"},
    ),
    exported(
        "electra_all_states",
        ELECTRA,
        padded(46),
        {
            "no_projection_bias": (
                param("embeddings_project.bias", torch.zeros_like),
                "the bias of the projection of embeddings is dropped",
                at("embeddings_project"),
            ),
            "silu": (
                put("encoder.layer.1.intermediate.intermediate_act_fn", lambda old: nn.SiLU()),
                "SiLU for GELU in the second block",
                at("encoder.layer.1.intermediate.intermediate_act_fn"),
            ),
        },
        to_b=truth,
        from_b=last,
        take=all_states,
    ),
    exported(
        "albert_unrolled",
        ALBERT,
        {"input_ids": ids(47)},
        {
            "one_time_less": (
                lambda model: setattr(model.encoder.config, "num_hidden_layers", 2),
                "the shared block runs twice, not three times",
                at("encoder", *whole(ALBERT, "encoder.albert_layer_groups")[0]),
            ),
            "no_mapping_bias": (
                param("encoder.embedding_hidden_mapping_in.bias", torch.zeros_like),
                "the bias behind the embeddings is dropped",
                at("encoder.embedding_hidden_mapping_in"),
            ),
        },
    ),
    exported(
        "distilbert_int8",
        DISTILBERT,
        padded(48),
        {
            "coarse": (
                param("transformer.layer.1.ffn.lin1.weight", coarse),
                "a matrix of the second block was rounded to seven levels before",
                at("transformer.layer.1.ffn.lin1"),
            ),
        },
        then=quantised,
        rounding=0.1,
        after={
            "two_bits": (
                initial("word_embeddings.weight_quantized", lambda old: old // 64 * 64),
                "the quantised embeddings keep their two highest bits alone",
                at("embeddings.word_embeddings"),
            ),
            "scale": (
                initial("position_embeddings.weight_scale", lambda old: old * 2),
                "the scale of the quantised positions is twice too large",
                at("embeddings.position_embeddings"),
            ),
        },
    ),
    exported(
        "neox_in_half_precision",
        NEOX,
        padded(49),
        {
            "norms_exchanged": (
                exchanged("gpt_neox.layers.1.input_layernorm", "gpt_neox.final_layer_norm"),
                "the first normalisation of the second block and the last of all are exchanged",
                (("gpt_neox.layers.1.input_layernorm",), ("gpt_neox.final_layer_norm",)),
            ),
            "rates": (
                param("gpt_neox.rotary_emb.inv_freq", lambda old: old * 1.5),
                "the rates of rotary positions are half again as high",
                at("gpt_neox.rotary_emb", *(f"gpt_neox.layers.{i}.attention" for i in range(3))),
            ),
        },
        then=halved,
        rounding=1e-2,
    ),
]

BLOOM = hugging(
    "BloomForCausalLM",
    50,
    vocab_size=VOCABULARY,
    hidden_size=32,
    n_layer=2,
    n_head=4,
    use_cache=False,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
MODERNBERT = hugging(
    "ModernBertModel",
    51,
    global_attn_every_n_layers=2,
    local_attention=6,
    cls_token_id=1,
    sep_token_id=2,
    **ENCODER,
)


def _halves_of_gate(weight: torch.Tensor) -> torch.Tensor:
    return weight.roll(len(weight) // 2, 0)


def _queries_first(weight: torch.Tensor) -> torch.Tensor:
    return weight.view(4, 3, 8, -1).transpose(0, 1).reshape(weight.shape)


DYNAMO = [
    exported(
        "bloom_by_dynamo",
        BLOOM,
        padded(55),
        {
            "fused_by_kind": (
                param("transformer.h.1.self_attention.query_key_value.weight", _queries_first),
                "the second block's fused matrix has all queries first, not head by head",
                at(
                    "transformer.h.1.self_attention.query_key_value",
                    "transformer.h.1.self_attention",
                ),
            ),
            "relu": (
                put("transformer.h.0.mlp.gelu_impl", lambda old: nn.ReLU()),
                "ReLU for GELU in the first block",
                at("transformer.h.0.mlp.gelu_impl"),
            ),
        },
        dynamo=True,
    ),
    exported(
        "modernbert_by_dynamo",
        MODERNBERT,
        padded(56),
        {
            "gate_and_value": (
                param("layers.1.mlp.Wi.weight", _halves_of_gate),
                "gate and value of the second block's fused matrix are exchanged",
                at("layers.1.mlp", "layers.1.mlp.Wi", "layers.1.mlp.act"),
            ),
        },
        dynamo=True,
    ),
]


def distilbert_in_keras(model: Any, **twist: Any) -> Any:
    """DistilBERT of layers of Keras; options say what goes wrong in its second block."""
    import keras

    class Places(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=shape[1:], name="table")

        def call(self, x: Any) -> Any:
            return x + self.table

    def numbers(*layers: Any) -> list[np.ndarray]:
        found = []
        for layer in layers:
            weight = layer.weight.detach().numpy()
            found += [weight.T if weight.ndim == 2 else weight, layer.bias.detach().numpy()]
        return found

    words = keras.Input((10,), dtype="int32", name="words")
    kept = keras.Input((10,), dtype="int32", name="kept")
    old = model.embeddings
    layers: list[tuple[Any, list[np.ndarray]]] = []

    def use(layer: Any, *given: Any, held: list[np.ndarray], **options: Any) -> Any:
        layers.append((layer, held))
        return layer(*given, **options)

    held = [old.word_embeddings.weight.detach().numpy()]
    x = use(keras.layers.Embedding(VOCABULARY, 32, name="table"), words, held=held)
    held = [old.position_embeddings.weight.detach().numpy()[twist.get("first", 0) :][:10]]
    x = use(Places(name="places"), x, held=held)

    def norm(name: str, eps: float = 1e-12) -> Any:
        return keras.layers.LayerNormalization(epsilon=eps, name=name)

    x = use(norm("norm"), x, held=numbers(old.LayerNorm))
    mask = keras.ops.expand_dims(kept > 0, 1)
    for i, block in enumerate(model.transformer.layer):
        own = block.attention
        wrong = twist if i == 1 else {}
        parts = numbers(own.q_lin, own.k_lin, own.v_lin, own.out_lin)
        shapes = [(32, 4, 8), (4, 8)] * 3 + [(4, 8, 32), (32,)]
        if wrong.get("heads_inner"):
            parts = [
                one.reshape(32, 8, 4).swapaxes(1, 2).reshape(32, 32) if n == 4 else one
                for n, one in enumerate(parts)
            ]
        held = [one.reshape(shape) for one, shape in zip(parts, shapes, strict=True)]
        attention = keras.layers.MultiHeadAttention(4, 8, name=f"attention_{i}")
        seen = None if wrong.get("no_mask") else mask
        y = use(attention, x, x, held=held, attention_mask=seen)
        x = use(
            norm(f"norm_{i}a", wrong.get("eps", 1e-12)), x + y, held=numbers(block.sa_layer_norm)
        )
        wide = keras.layers.Dense(64, "relu" if wrong.get("relu") else "gelu", name=f"wide_{i}")
        y = use(wide, x, held=numbers(block.ffn.lin1))
        y = use(keras.layers.Dense(32, name=f"narrow_{i}"), y, held=numbers(block.ffn.lin2))
        x = use(norm(f"norm_{i}b"), x + y, held=numbers(block.output_layer_norm))
    again = keras.Model([words, kept], x)
    for layer, held in layers:
        layer.set_weights(held)
    return again


def _in_keras(**twist: Any) -> Callable[[Path], Any]:
    return lambda folder: distilbert_in_keras(DISTILBERT(), **twist)


BLOCK = "transformer.layer.1"
KERAS = [
    Pair(
        "distilbert_in_keras",
        lambda: (DISTILBERT(), padded(57)),
        _in_keras(),
        {
            "no_mask": Fault(
                _in_keras(no_mask=True),
                "the second block attends to padding",
                at(f"{BLOCK}.attention"),
            ),
            "epsilon": Fault(
                _in_keras(eps=1e-1),
                "the second block's first normalisation has an epsilon of 0.1",
                at(f"{BLOCK}.sa_layer_norm"),
            ),
            "relu": Fault(
                _in_keras(relu=True),
                "ReLU for GELU in the second block",
                at(f"{BLOCK}.ffn.activation", f"{BLOCK}.ffn"),
            ),
            "positions_by_one": Fault(
                _in_keras(first=1),
                "positions start at one",
                at("embeddings.position_embeddings"),
            ),
            "heads_inner": Fault(
                _in_keras(heads_inner=True),
                "the second block's values are cut into heads with the heads innermost",
                at(f"{BLOCK}.attention", f"{BLOCK}.attention.v_lin"),
            ),
        },
        lambda x: tuple(one.astype(np.int32) for one in x.values()),
    ),
]

GRANITE = hugging(
    "GraniteForCausalLM",
    60,
    embedding_multiplier=6.0,
    residual_multiplier=0.4,
    attention_multiplier=0.2,
    logits_scaling=3.0,
    **GROUPED,
)
COHERE = hugging("CohereForCausalLM", 61, logit_scale=0.25, **GROUPED)
NEMOTRON = hugging("NemotronForCausalLM", 62, hidden_act="relu2", **GROUPED)
FALCON = hugging(
    "FalconForCausalLM",
    63,
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    multi_query=True,
    parallel_attn=True,
    alibi=False,
    bias=True,
    use_cache=False,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
MPNET = hugging("MPNetModel", 64, **ENCODER)


class LastPlace(nn.Module):
    """A language model that gives the logits of the last place alone."""

    def __init__(self, lm: nn.Module) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.lm(input_ids=input_ids, attention_mask=attention_mask).logits[:, -1]


def last_of_falcon() -> nn.Module:
    """Falcon's logits of the last place."""
    return LastPlace(FALCON()).eval()


def _everywhere(model: Any) -> Any:
    return model.lm


MORE = [
    exported(
        "granite_scaled",
        GRANITE,
        padded(65),
        {
            "no_residual_scale": (
                option("model.layers.1", residual_multiplier=1.0),
                "the second block adds its parts at full scale, not at 0.4",
                at("model.layers.1"),
            ),
            "embedding_scale": (
                option("model", embedding_multiplier=1.0),
                "the embeddings are not multiplied by 6",
                at("model", "model.embed_tokens"),
            ),
            "usual_scale_of_scores": (
                option("model.layers.0.self_attn", scaling=8**-0.5),
                "the first block's scores are over the root of the head's size, not times 0.2",
                at("model.layers.0.self_attn"),
            ),
        },
        called={"input_ids": "x", "attention_mask": "m"},
    ),
    exported(
        "cohere_neighbours",
        COHERE,
        padded(66),
        {
            "heads_tiled": (
                twisted("model.layers.1.self_attn", tile=True),
                "the second block repeats its heads of keys as 0 1 0 1",
                at("model.layers.1.self_attn"),
            ),
            "mean_kept": (
                put("model.layers.2.input_layernorm", lambda old: Gain(old.weight.data, 1e-5)),
                "the last block's normalisation does not subtract the mean",
                at("model.layers.2.input_layernorm"),
            ),
        },
        dynamo=True,
    ),
    exported(
        "nemotron_one_plus",
        NEMOTRON,
        padded(67),
        {
            "no_plus_one": (
                param("model.layers.1.post_attention_layernorm.weight", lambda old: old - 1),
                "the second block's second normalisation lacks its 1 +",
                at("model.layers.1.post_attention_layernorm"),
            ),
            "relu_not_squared": (
                put("model.layers.0.mlp.act_fn", lambda old: nn.ReLU()),
                "the first block's ReLU is not squared",
                at("model.layers.0.mlp.act_fn"),
            ),
        },
    ),
    Pair(
        "falcon_last_place",
        lambda: (last_of_falcon(), padded(68)),
        lambda folder: _everywhere(last_of_falcon()),
        {
            "blocks_exchanged": Fault(
                lambda folder: edited(FALCON, exchanged("transformer.h.0", "transformer.h.2")),
                "the first and last block are exchanged",
                whole(last_of_falcon, "lm.transformer.h.0", "lm.transformer.h.2"),
            ),
            "key_before_query": Fault(
                lambda folder: edited(
                    FALCON,
                    param(
                        "transformer.h.1.self_attention.query_key_value.weight",
                        lambda old: torch.cat([old[32:40], old[:32], old[40:]]),
                    ),
                ),
                "the second block's fused matrix holds the key's rows before the queries'",
                at(
                    "lm.transformer.h.1.self_attention",
                    "lm.transformer.h.1.self_attention.query_key_value",
                ),
            ),
        },
        from_b=lambda y: y[:, -1],
    ),
    exported(
        "mpnet_relative_positions",
        MPNET,
        padded(69),
        {
            "no_relative_positions": (
                param("encoder.relative_attention_bias.weight", torch.zeros_like),
                "the biases of relative positions are zero",
                at("encoder.relative_attention_bias", "encoder"),
            ),
            "heads_of_positions": (
                param("encoder.relative_attention_bias.weight", lambda old: old.flip(1)),
                "the biases of relative positions belong to other heads",
                at("encoder.relative_attention_bias", "encoder"),
            ),
            "block_left_out": (
                lambda model: model.encoder.layer.__delitem__(2),
                "the last block is left out",
                whole(MPNET, "encoder.layer.2"),
            ),
        },
    ),
]

WRITTEN_AND_EXPORTED = [
    exported(
        "gemma_written_again_exported",
        GEMMA,
        {"input_ids": ids(71, 8)},
        {
            "no_plus_one": (
                param("norm.gain", lambda old: old - 1),
                "the last normalisation lacks its 1 +",
                at("model.norm"),
            ),
            "head_not_tied": (untied("head", 9), "the head has weights of its own", at("lm_head")),
            "one_ahead": (
                option("blocks.1.mix", ahead=1),
                "each place of the second block sees the next one as well",
                at("model.layers.1.self_attn"),
            ),
        },
        to_b=tokens,
        port=decoder("neighbours", plus_one=True),
        take=lambda y: y,
    ),
    exported(
        "mixtral_written_again_exported",
        MIXTRAL,
        {"input_ids": ids(72, 8)},
        {
            "router_row": (
                param("blocks.2.ff.router.weight", lambda old: old.roll(1, 0)),
                "the rows of the last block's router are moved by one against its experts",
                at(*(f"model.layers.2.mlp{one}" for one in ("", ".gate", ".experts"))),
            ),
            "one_experts_gate_and_up": (
                param("blocks.0.ff.experts.1.w13.weight", _gate_and_up),
                "one expert of the first block has gate and up exchanged",
                at(*(f"model.layers.0.mlp{one}" for one in ("", ".experts"))),
            ),
        },
        to_b=tokens,
        port=decoder("half"),
        take=lambda y: y,
    ),
    exported(
        "mamba_unrolled_exported",
        MAMBA,
        {"input_ids": ids(73, 6)},
        {
            "decay_of_another": (
                param("scans.1.decay", lambda old: old.flip(1)),
                "the second mixer's decays are in the opposite order of states",
                at("backbone.layers.1.mixer"),
            ),
            "gate_first": (
                param("scans.0.into.weight", lambda old: old.roll(len(old) // 2, 0)),
                "the first mixer's gate comes first in its fused matrix",
                at("backbone.layers.0.mixer", "backbone.layers.0.mixer.in_proj"),
            ),
            "epsilon": (
                option("gain", eps=0.3),
                "the last normalisation's epsilon is 0.3",
                at("backbone.norm_f"),
            ),
        },
        to_b=tokens,
        port=Scanned,
        take=lambda y: y,
    ),
]

PAIRS = [*DECODERS, *PORTS, *EXPORTS, *DYNAMO, *KERAS, *MORE, *WRITTEN_AND_EXPORTED]
