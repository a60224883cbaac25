"""Small language models of transformers against ports to plain PyTorch and against copies."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from edits import (
    Edit,
    both,
    entry,
    exchanged,
    option,
    put,
    rows_exchanged,
    tensor,
)
from pair import Fault, Pair, Sources, at
from seeded import give_weights, tokens
from torch import nn
from transformer_ports import GPT2, Bert, Mistakes, Phi, RotaryDecoder, T5Encoder

Build = Callable[[], tuple[nn.Module, Any]]
SMALL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def build(make: Callable[[], nn.Module], seed: int, length: int = 12) -> Build:
    """What builds a model with seeded weights and two sequences of tokens."""

    @cache
    def made() -> tuple[nn.Module, Any]:
        model = give_weights(make(), seed, gain=1.2)
        return model, {"input_ids": tokens(seed + 1, 2, length, vocabulary=60)}

    return lambda: deepcopy(made())


def ported(
    name: str,
    built: Build,
    port: Callable[[nn.Module, Mistakes], nn.Module],
    faults: Mapping[str, tuple[Mistakes, str, Sources]],
    to_b: Callable[[Any], Any] = lambda x: x,
) -> Pair:
    """A model and a port of it."""

    def write(mistakes: Mistakes, _folder: Path) -> nn.Module:
        return port(built()[0], mistakes).eval()

    wrong = {
        fault: Fault(partial(write, mistakes), what, sources)
        for fault, (mistakes, what, sources) in faults.items()
    }
    return Pair(name, built, partial(write, {}), wrong, to_b)


def copied(
    name: str,
    built: Build,
    faults: Mapping[str, tuple[Edit, str, Sources]],
    always: Edit = lambda model: None,
    rounding: float = 1e-4,
) -> Pair:
    """A model and a copy of it, which `always` changes in what is no fault."""

    def write(edit: Edit, _folder: Path) -> nn.Module:
        model, _ = built()
        edit(model)
        always(model)
        return model

    wrong = {
        fault: Fault(partial(write, edit), what, sources)
        for fault, (edit, what, sources) in faults.items()
    }
    return Pair(name, built, partial(write, lambda model: None), wrong, rounding=rounding)


def layer(index: int, rest: str = "") -> str:
    """A name in a layer of a decoder."""
    return f"model.layers.{index}{rest}"


def _llama() -> nn.Module:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL))


LLAMA = build(_llama, 3000)
LLAMA_PORT = ported(
    "llama_port",
    LLAMA,
    RotaryDecoder,
    {
        "rope_base": (
            {1: "rope base"},
            "one attention turns by the base 30000 for 10000",
            at(layer(1, ".self_attn")),
        ),
        "rope_pairs": (
            {0: "rope pairs"},
            "one attention turns neighbours, not halves",
            at(layer(0, ".self_attn")),
        ),
        "keys_not_turned": (
            {2: "keys not turned"},
            "one attention turns the queries alone",
            at(layer(2, ".self_attn")),
        ),
        "order_of_repeated_keys": (
            {1: "order of repeated keys"},
            "keys and values are repeated as a whole, not each",
            at(layer(1, ".self_attn")),
        ),
        "mask_off_by_one": (
            {0: "mask off by one"},
            "a token sees the next one",
            at(layer(0, ".self_attn")),
        ),
        "gate_and_value": (
            {1: "gate and value"},
            "the activation is on the other of the two dense layers",
            at(layer(1, ".mlp"), layer(1, ".mlp.act_fn")),
        ),
        "no_shortcut": ({2: "no shortcut"}, "the first shortcut is missing", at(layer(2))),
        "no_last_norm": ({-1: "no last norm"}, "the last norm is missing", at("model.norm")),
        "two_faults": (
            {0: "scale", 2: "centred norm"},
            "scores of one attention are scaled by the model's width, a norm subtracts the mean",
            ((layer(0, ".self_attn"),), (layer(2, ".post_attention_layernorm"),)),
        ),
    },
)


def _mistral() -> nn.Module:
    config = hf.MistralConfig(**SMALL, sliding_window=5)
    config._attn_implementation = "eager"
    return hf.MistralForCausalLM(config)


MISTRAL_PORT = ported(
    "mistral_port",
    build(_mistral, 3100),
    RotaryDecoder,
    {
        "no_window": ({1: "no window"}, "one attention sees all", at(layer(1, ".self_attn"))),
        "window_off_by_one": (
            {0: "window off by one"},
            "a window of 6 for 5",
            at(layer(0, ".self_attn")),
        ),
        "epsilon": (
            {1: "epsilon"},
            "epsilon 0.01 for 1e-06 in one norm",
            at(layer(1, ".input_layernorm")),
        ),
        "norm_of_the_input": (
            {1: "norm of the input"},
            "the second norm of a block takes the block's input",
            at(layer(1), layer(1, ".post_attention_layernorm")),
        ),
        "two_faults": (
            {1: "other activation", -1: "head of other words"},
            "GELU for SiLU in one block, the head's rows are moved by one",
            ((layer(1, ".mlp.act_fn"),), ("lm_head",)),
        ),
    },
)


def _qwen() -> nn.Module:
    return hf.Qwen2ForCausalLM(hf.Qwen2Config(**SMALL))


QWEN_PORT = ported(
    "qwen2_port",
    build(_qwen, 3200),
    RotaryDecoder,
    {
        "no_bias_of_queries": (
            {1: "no bias of queries"},
            "the bias of the queries is missing",
            at(layer(1, ".self_attn.q_proj")),
        ),
        "scale": (
            {2: "scale"},
            "scores are scaled by the model's width",
            at(layer(2, ".self_attn")),
        ),
        "centred_norm": (
            {0: "centred norm"},
            "a norm subtracts the mean",
            at(layer(0, ".post_attention_layernorm")),
        ),
    },
)


def _gemma() -> nn.Module:
    config = hf.GemmaConfig(
        **{**SMALL, "num_key_value_heads": 1}, head_dim=16, hidden_activation="gelu_pytorch_tanh"
    )
    return hf.GemmaForCausalLM(config)


GEMMA = build(_gemma, 3300)
GEMMA_PORT = ported(
    "gemma_port",
    GEMMA,
    RotaryDecoder,
    {
        "norm_without_one": (
            {1: "norm without one"},
            "a norm multiplies by its weight, not by one more",
            at(layer(1, ".input_layernorm")),
        ),
        "no_scale_of_embeddings": (
            {-1: "no scale of embeddings"},
            "the embeddings are not scaled",
            at("model.embed_tokens"),
        ),
        "exact_gelu": (
            {0: "other activation"},
            "exact GELU for the one by tanh",
            at(layer(0, ".mlp.act_fn")),
        ),
        "rope_pairs": (
            {2: "rope pairs"},
            "one attention turns neighbours, not halves",
            at(layer(2, ".self_attn")),
        ),
        "head_of_other_words": (
            {-1: "head of other words"},
            "the head's rows are moved by one, the embedding's are not",
            at("lm_head"),
        ),
    },
)


def _phi() -> nn.Module:
    config = hf.PhiConfig(
        **{**SMALL, "num_key_value_heads": 4},
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
    )
    return hf.PhiForCausalLM(config)


PHI_PORT = ported(
    "phi_port",
    build(_phi, 3400),
    Phi,
    {
        "all_features_turned": (
            {1: "all features turned"},
            "all features of a head are turned, not the first half",
            at(layer(1, ".self_attn")),
        ),
        "one_after_the_other": (
            {0: "one after the other"},
            "the dense layers of a block take what comes from its attention",
            at(layer(0)),
        ),
        "exact_gelu": (
            {2: "exact gelu"},
            "exact GELU for the one by tanh",
            at(layer(2, ".mlp.activation_fn")),
        ),
        "no_bias_of_the_head": (
            {-1: "no bias of the head"},
            "the head's bias is missing",
            at("lm_head"),
        ),
    },
)


def _gpt2() -> nn.Module:
    config = hf.GPT2Config(
        vocab_size=60,
        n_positions=32,
        n_embd=32,
        n_layer=3,
        n_head=4,
        bos_token_id=1,
        eos_token_id=2,
    )
    return hf.GPT2LMHeadModel(config)


def block(index: int, rest: str = "") -> str:
    """A name in a block of GPT-2."""
    return f"transformer.h.{index}{rest}"


GPT2_BUILD = build(_gpt2, 3500)
GPT2_PORT = ported(
    "gpt2_port",
    GPT2_BUILD,
    GPT2,
    {
        "order_of_split": (
            {1: "order of split"},
            "queries and keys are exchanged",
            at(block(1, ".attn"), block(1, ".attn.c_attn")),
        ),
        "split_by_heads": (
            {0: "split by heads"},
            "query, key and value are split within each head",
            at(block(0, ".attn"), block(0, ".attn.c_attn")),
        ),
        "no_scale": ({2: "no scale"}, "scores are not scaled", at(block(2, ".attn"))),
        "mask_off_by_one": (
            {1: "mask off by one"},
            "a token sees the next one",
            at(block(1, ".attn")),
        ),
        "exact_gelu": (
            {0: "exact gelu"},
            "exact GELU for the one by tanh",
            at(block(0, ".mlp.act")),
        ),
        "places_from_one": (
            {-1: "places from one"},
            "positions count from one",
            at("transformer.wpe", "transformer"),
        ),
        "head_of_other_words": (
            {-1: "head of other words"},
            "the head, which is the embedding, has its rows moved by one",
            at("lm_head"),
        ),
        "two_faults": (
            {0: "epsilon", 2: "no mask"},
            "epsilon 0.01 for 1e-05 in one norm, another block has no mask",
            ((block(0, ".ln_1"),), (block(2, ".attn"),)),
        ),
    },
)


def bert_build() -> tuple[nn.Module, Any]:
    config = hf.BertConfig(
        **{**SMALL, "num_key_value_heads": None}, type_vocab_size=2, hidden_act="gelu"
    )
    model = give_weights(hf.BertModel(config, add_pooling_layer=False), 3600, gain=1.2)
    mask = np.ones((2, 12), np.int64)
    mask[1, 9:] = 0
    return model, {"input_ids": tokens(3601, 2, 12, vocabulary=60), "attention_mask": mask}


def bert(index: int, rest: str = "") -> str:
    """A name in a layer of BERT."""
    return f"encoder.layer.{index}{rest}"


BERT_PORT = ported(
    "bert_port",
    bert_build,
    Bert,
    {
        "gelu_by_tanh": (
            {1: "gelu by tanh"},
            "GELU by tanh for the exact one",
            at(bert(1, ".intermediate.intermediate_act_fn")),
        ),
        "norm_before_sum": (
            {0: "norm before sum"},
            "a norm comes before its shortcut",
            at(bert(0, ".attention.output"), bert(0, ".attention.output.LayerNorm")),
        ),
        "no_kinds": (
            {-1: "no kinds"},
            "the embedding of kinds of tokens is missing",
            at("embeddings", "embeddings.token_type_embeddings"),
        ),
        "places_from_two": (
            {-1: "places from two"},
            "positions count from two",
            at("embeddings.position_embeddings", "embeddings"),
        ),
        "padding_seen": (
            {2: "padding seen"},
            "one attention sees the padding",
            at(bert(2, ".attention.self")),
        ),
        "epsilon": (
            {0: "epsilon"},
            "epsilon 0.001 for 1e-12 in one norm",
            at(bert(0, ".output.LayerNorm")),
        ),
        "two_faults": (
            {0: "scale", 1: "keys for values"},
            "scores of one attention are halved, the next mixes keys for values",
            (
                (bert(0, ".attention.self"),),
                (bert(1, ".attention.self"), bert(1, ".attention.self.value")),
            ),
        ),
    },
)


def _t5() -> nn.Module:
    config = hf.T5Config(
        vocab_size=60,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=3,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        feed_forward_proj="gated-gelu",
    )
    return hf.T5EncoderModel(config)


def t5(index: int, rest: str = "") -> str:
    """A name in a block of T5."""
    return f"encoder.block.{index}.layer.{rest}"


T5_PORT = ported(
    "t5_encoder_port",
    build(_t5, 3700),
    T5Encoder,
    {
        "scaled": (
            {1: "scaled"},
            "scores are scaled, which T5 does not do",
            at(t5(1, "0.SelfAttention")),
        ),
        "bias_transposed": (
            {2: "bias transposed"},
            "the biases of relative positions are transposed in one block",
            at(t5(2, "0.SelfAttention")),
        ),
        "no_bias": (
            {1: "no bias"},
            "one block adds no biases of relative positions",
            at(t5(1, "0.SelfAttention")),
        ),
        "centred_norm": (
            {0: "centred norm"},
            "a norm subtracts the mean",
            at(t5(0, "1.layer_norm")),
        ),
        "relu": ({2: "relu"}, "ReLU for GELU", at(t5(2, "1.DenseReluDense.act"))),
        "sides_of_buckets": (
            {-1: "sides of buckets"},
            "the buckets of earlier and later positions are exchanged",
            at(
                t5(0, "0.SelfAttention.relative_attention_bias"),
                t5(0, "0.SelfAttention"),
            ),
        ),
    },
)


def _eager(model: nn.Module) -> None:
    model.set_attn_implementation("eager")


LLAMA_COPY = copied(
    "llama_copy",
    LLAMA,
    {
        "rope_base": (
            tensor(
                "model.rotary_emb.inv_freq",
                lambda old: 1 / 500000.0 ** (torch.arange(0, 8, 2) / 8),
            ),
            "the base of the rotation is 500000 for 10000",
            at("model.rotary_emb"),
        ),
        "epsilon": (
            option(layer(1, ".post_attention_layernorm"), variance_epsilon=1e-2),
            "epsilon 0.01 for 1e-06 in one norm",
            at(layer(1, ".post_attention_layernorm")),
        ),
        "layers_exchanged": (
            exchanged(layer(1, ".mlp.down_proj.weight"), layer(2, ".mlp.down_proj.weight")),
            "two layers have the weights of each other",
            ((layer(1, ".mlp.down_proj"),), (layer(2, ".mlp.down_proj"),)),
        ),
        "heads_exchanged": (
            rows_exchanged(layer(0, ".self_attn.k_proj.weight"), 3, 11),
            "two rows of the keys' weights are exchanged, each in another head",
            at(layer(0, ".self_attn.k_proj")),
        ),
    },
    _eager,
)
GEMMA_COPY = copied(
    "gemma_copy",
    GEMMA,
    {
        "scale_of_embeddings": (
            tensor("model.embed_tokens.embed_scale", lambda old: old / 4),
            "the embeddings are scaled by a quarter of what they should be",
            at("model.embed_tokens"),
        ),
        "silu": (
            put(layer(2, ".mlp.act_fn"), lambda old: nn.SiLU()),
            "SiLU for GELU in one block",
            at(layer(2, ".mlp.act_fn")),
        ),
        "norm_weights_already_with_one": (
            tensor(layer(0, ".input_layernorm.weight"), lambda old: old + 1),
            "one norm's weights hold the one already, it is added twice",
            at(layer(0, ".input_layernorm")),
        ),
    },
    _eager,
)


def half(kind: torch.dtype) -> Edit:
    """All weights in half precision; the rates of rotations stay, as transformers loads them."""

    def edit(model: nn.Module) -> None:
        kept = {name: rates for name, rates in model.named_buffers() if name.endswith("inv_freq")}
        model.to(kind)
        for name, rates in kept.items():
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, nn.Buffer(rates, persistent=False))

    return edit


LLAMA_BFLOAT16 = copied(
    "llama_bfloat16",
    LLAMA,
    {
        "row": (
            tensor(layer(1, ".mlp.up_proj.weight"), lambda old: old.roll(1, 0)),
            "the rows of one layer are moved by one",
            at(layer(1, ".mlp.up_proj")),
        ),
        "rope_base": (
            tensor(
                "model.rotary_emb.inv_freq",
                lambda old: 1 / 500000.0 ** (torch.arange(0, 8, 2) / 8),
            ),
            "the base of the rotation is 500000 for 10000",
            at("model.rotary_emb"),
        ),
        "scale": (
            option(layer(2, ".self_attn"), scaling=0.25),
            "scores are scaled by 0.25 for 0.354",
            at(layer(2, ".self_attn")),
        ),
        "two_faults": (
            both(
                entry(layer(0, ".mlp.down_proj.weight"), (4,), 0.5),
                tensor(layer(2, ".post_attention_layernorm.weight"), torch.ones_like),
            ),
            "a row of one layer is greater by 0.5, the gain of a norm is left out",
            ((layer(0, ".mlp.down_proj"),), (layer(2, ".post_attention_layernorm"),)),
        ),
    },
    half(torch.bfloat16),
    0.1,
)
GPT2_FLOAT16 = copied(
    "gpt2_float16",
    GPT2_BUILD,
    {
        "bias": (
            tensor(block(1, ".mlp.c_fc.bias"), torch.zeros_like),
            "the bias of one layer is missing",
            at(block(1, ".mlp.c_fc")),
        ),
        "relu": (
            put(block(0, ".mlp.act"), lambda old: nn.ReLU()),
            "ReLU for GELU in one block",
            at(block(0, ".mlp.act")),
        ),
        "places": (
            tensor("transformer.wpe.weight", lambda old: old.roll(1, 0)),
            "the embeddings of positions are moved by one",
            at("transformer.wpe"),
        ),
    },
    half(torch.float16),
    2e-2,
)


PAIRS = [
    LLAMA_PORT,
    MISTRAL_PORT,
    QWEN_PORT,
    GEMMA_PORT,
    PHI_PORT,
    GPT2_PORT,
    BERT_PORT,
    T5_PORT,
    LLAMA_COPY,
    GEMMA_COPY,
    LLAMA_BFLOAT16,
    GPT2_FLOAT16,
]
