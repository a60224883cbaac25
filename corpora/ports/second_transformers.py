"""Blocks of transformers' language models that no other module holds, in NumPy, right and wrong.

Differential and latent attention, short convolutions, the delta rule, RWKV and older decoders, with
tiny configurations. Written from the classes' own code and from the errors that porting such blocks
brings, without a look at the tool.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    DeepseekV2Config,
    DiffLlamaConfig,
    GPTJConfig,
    Lfm2Config,
    NemotronConfig,
    Qwen3NextConfig,
    RwkvConfig,
)
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Attention
from transformers.models.diffllama.modeling_diffllama import DiffLlamaAttention
from transformers.models.gptj.modeling_gptj import GPTJBlock
from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv
from transformers.models.nemotron.modeling_nemotron import NemotronDecoderLayer
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet
from transformers.models.rwkv.modeling_rwkv import RwkvSelfAttention

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    conv,
    gelu_tanh,
    join_heads,
    layer_norm,
    linear,
    relu,
    rms_norm,
    rotary_angles,
    sigmoid,
    silu,
    softmax,
    split_heads,
)
from corpora.ports.trained import Alone, beneath, inputs, train_torch, weights_of


def _causal(length: int) -> np.ndarray:
    return np.triu(np.full((length, length), -1e9, np.float32), 1)


def _turn_pairs(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Turn the pairs (0, 1), (2, 3) and so on of the last axis."""
    c, s = np.cos(angles), np.sin(angles)
    a, b = x[..., ::2], x[..., 1::2]
    return np.stack([a * c - b * s, a * s + b * c], -1).reshape(x.shape)


def _turn_halves(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Turn the pairs (0, n / 2), (1, n / 2 + 1) and so on of the last axis."""
    c, s = np.cos(angles), np.sin(angles)
    a, b = np.split(x, 2, -1)
    return np.concatenate([a * c - b * s, a * s + b * c], -1)


class Turned(nn.Module):
    """A layer that is given its rotary angles as (cosine, sine), and a causal mask if asked."""

    def __init__(self, mixer: nn.Module, size: int, how: str = "halves", block: bool = False):
        super().__init__()
        self.mixer, self.size, self.how, self.block = mixer, size, how, block

    def forward(self, x: torch.Tensor) -> Any:
        t = x.shape[1]
        angles = torch.from_numpy(rotary_angles(t, self.size))[None].expand(len(x), -1, -1)
        if self.how == "complex":
            places: Any = torch.polar(torch.ones_like(angles), angles)
        elif self.how == "sine first":
            places = angles.sin(), angles.cos()
        else:
            twice = torch.cat([angles, angles], -1)
            places = twice.cos(), twice.sin()
        mask = torch.from_numpy(_causal(t))[None, None]
        return self.mixer(x, attention_mask=mask, position_embeddings=places)


def build_diffllama() -> tuple[Any, np.ndarray]:
    config = DiffLlamaConfig(
        hidden_size=24,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        num_hidden_layers=4,
    )
    layer = train_torch(Turned(DiffLlamaAttention(config, 2), 6), 5103, gain=1.6)
    return layer, inputs(5104, 2, 7, 24)


def diffllama(
    model: Any,
    x: np.ndarray,
    depth: int = 2,
    shrink_by: str = "initial lambda",
    pairs: str = "halves",
    norm_over: str = "pair of heads",
    second: float = -1.0,
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    q = split_heads(linear(x, w["q_proj.weight"]), 4)
    k = split_heads(linear(x, w["k_proj.weight"]), 2)
    v = split_heads(linear(x, w["v_proj.weight"]), 2)
    angles = rotary_angles(7, 6)
    q, k = _turn_halves(q, angles), _turn_halves(k, angles).repeat(2, 1)
    share = softmax(q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(6)) + _causal(7))
    both = np.concatenate([v[:, :1], v[:, 1:]], -1)
    y = share @ both
    start = 0.8 - 0.6 * np.exp(-0.3 * depth)
    lam = np.exp((w["lambda_q1"] * w["lambda_k1"]).sum())
    lam = lam + second * np.exp((w["lambda_q2"] * w["lambda_k2"]).sum()) + start
    if pairs == "neighbours":
        y = y[:, ::2] - lam * y[:, 1::2]
    else:
        y = y[:, :2] - lam * y[:, 2:]
    if norm_over == "all":
        y = y / np.sqrt((y * y).mean((1, 3), keepdims=True) + 1e-5)
    else:
        y = y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-5)
    y = y * (1 - (start if shrink_by == "initial lambda" else lam))
    return linear(join_heads(y).astype(np.float32), w["o_proj.weight"])


def build_latent() -> tuple[Any, np.ndarray]:
    config = DeepseekV2Config(
        hidden_size=24,
        num_attention_heads=3,
        num_key_value_heads=3,
        q_lora_rank=12,
        kv_lora_rank=10,
        qk_rope_head_dim=4,
        qk_nope_head_dim=8,
        v_head_dim=8,
        num_hidden_layers=1,
    )
    layer = Turned(DeepseekV2Attention(config, 0), 4, "complex")
    return train_torch(layer, 5105, gain=1.8), inputs(5106, 2, 6, 24)


def latent(
    model: Any,
    x: np.ndarray,
    turn: Any = _turn_pairs,
    scale_size: int = 12,
    up: str = "each head",
    norm_latent: bool = True,
    rope_first: bool = False,
    turn_key: bool = True,
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    q = rms_norm(linear(x, w["q_a_proj.weight"]), w["q_a_layernorm.weight"])
    q = split_heads(linear(q, w["q_b_proj.weight"]), 3)
    kv = linear(x, w["kv_a_proj_with_mqa.weight"])
    small, k_turned = kv[..., :10], kv[:, None, :, 10:]
    if norm_latent:
        small = rms_norm(small, w["kv_a_layernorm.weight"])
    large = linear(small, w["kv_b_proj.weight"])
    if up == "keys and then values":
        k, v = split_heads(large[..., :24], 3), split_heads(large[..., 24:], 3)
    else:
        k, v = np.split(split_heads(large, 3), 2, -1)
    q_plain, q_turned = (q[..., 4:], q[..., :4]) if rope_first else (q[..., :8], q[..., 8:])
    angles = rotary_angles(6, 4)
    q_turned = turn(q_turned, angles)
    if turn_key:
        k_turned = turn(k_turned, angles)
    scores = q_plain @ k.swapaxes(-1, -2) + q_turned @ k_turned.swapaxes(-1, -2)
    share = softmax(scores / np.float32(np.sqrt(scale_size)) + _causal(6))
    return linear(join_heads(share @ v), w["o_proj.weight"])


def build_short_conv() -> tuple[Any, np.ndarray]:
    config = Lfm2Config(
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        conv_L_cache=3,
        conv_bias=True,
        full_attn_idxs=[1],
    )
    return train_torch(Alone(Lfm2ShortConv(config, 0)), 5107, gain=1.3), inputs(5108, 2, 9, 12)


def short_conv(
    model: Any,
    x: np.ndarray,
    order: tuple[int, int, int] = (0, 1, 2),
    left: int = 2,
    flipped: bool = False,
    gate: Any = None,
    restart_at: int = 0,
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    parts = np.split(linear(x, w["in_proj.weight"], w["in_proj.bias"]), 3, -1)
    before, after, value = (parts[i] for i in order)
    if gate is not None:
        before, after = gate(before), gate(after)
    kernel = w["conv.weight"][:, 0].T
    if flipped:
        kernel = kernel[::-1]
    bx = np.pad(before * value, ((0, 0), (left, 2 - left), (0, 0)))
    y = np.empty_like(value)
    for t in range(9):
        window = bx[:, t : t + 3].copy()
        if restart_at and restart_at <= t < restart_at + 2:
            window[:, : restart_at + 2 - t] = 0
        y[:, t] = (window * kernel).sum(1) + w["conv.bias"]
    return linear(after * y, w["out_proj.weight"], w["out_proj.bias"])


def build_delta() -> tuple[Any, np.ndarray]:
    config = Qwen3NextConfig(
        hidden_size=16,
        num_hidden_layers=2,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=4,
        linear_value_head_dim=4,
        linear_conv_kernel_dim=4,
        layer_types=["linear_attention", "full_attention"],
    )
    layer = Alone(Qwen3NextGatedDeltaNet(config, 0))
    return train_torch(layer, 5109, gain=1.5), inputs(5110, 2, 8, 16)


def delta(
    model: Any,
    x: np.ndarray,
    unit: bool = True,
    scaled: bool = True,
    gate_before_norm: bool = False,
    decay_first: bool = True,
    key_heads: str = "repeated",
    layout: str = "each key head",
    conv_act: bool = True,
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    b, t, _ = x.shape
    mixed = linear(x, w["in_proj_qkvz.weight"])
    if layout == "flat":
        q, k, v, z = np.split(mixed, [8, 16, 32], -1)
    else:
        groups = mixed.reshape(b, t, 2, 24)
        q, k, v, z = (p.reshape(b, t, -1) for p in np.split(groups, [4, 8, 16], -1))
    ba = linear(x, w["in_proj_ba.weight"]).reshape(b, t, 2, 4)
    beta, a = sigmoid(ba[..., :2].reshape(b, t, 4)), ba[..., 2:].reshape(b, t, 4)
    qkv = np.concatenate([q, k, v], -1).swapaxes(1, 2)
    qkv = conv(qkv, w["conv1d.weight"], padding=3, groups=32)[..., :t].swapaxes(1, 2)
    if conv_act:
        qkv = silu(qkv)
    q, k = (part.reshape(b, t, 2, 4) for part in np.split(qkv[..., :16], 2, -1))
    v = qkv[..., 16:].reshape(b, t, 4, 4)
    if unit:
        q, k = (p / np.sqrt((p * p).sum(-1, keepdims=True) + 1e-6) for p in (q, k))
    if key_heads == "tiled":
        q, k = np.tile(q, (1, 1, 2, 1)), np.tile(k, (1, 1, 2, 1))
    else:
        q, k = q.repeat(2, 2), k.repeat(2, 2)
    if scaled:
        q = q / np.sqrt(4)
    fade = np.exp(-np.exp(w["A_log"]) * np.logaddexp(0, a + w["dt_bias"]))
    state, out = np.zeros((b, 4, 4, 4)), []
    for i in range(t):
        if decay_first:
            state = state * fade[:, i, :, None, None]
        known = np.einsum("bhk,bhkv->bhv", k[:, i], state)
        new = (v[:, i] - known) * beta[:, i, :, None]
        if not decay_first:
            state = state * fade[:, i, :, None, None]
        state = state + k[:, i, :, :, None] * new[:, :, None]
        out.append(np.einsum("bhk,bhkv->bhv", q[:, i], state))
    y = np.stack(out, 1).astype(np.float32)
    z = silu(z.reshape(b, t, 4, 4))
    if gate_before_norm:
        y = rms_norm(y * z, w["norm.weight"])
    else:
        y = rms_norm(y, w["norm.weight"]) * z
    return linear(y.reshape(b, t, 16), w["out_proj.weight"])


def build_rwkv() -> tuple[Any, np.ndarray]:
    config = RwkvConfig(hidden_size=12, attention_hidden_size=16, num_hidden_layers=1)
    layer = train_torch(Alone(RwkvSelfAttention(config, 0)), 5116, gain=1.8)
    rng = np.random.default_rng(5117)
    w = layer.mixer
    for name in ("key", "value", "receptance"):
        share = rng.uniform(0.2, 0.9, (1, 1, 12)).astype(np.float32)
        getattr(w, f"time_mix_{name}").data.copy_(torch.from_numpy(share))
    w.time_decay.data.copy_(torch.linspace(-3, 0.5, 16))
    return layer, inputs(5118, 2, 9, 12)


def rwkv(
    model: Any,
    x: np.ndarray,
    decay: str = "minus exp",
    bonus_kept: bool = False,
    own_share: bool = True,
    gated: bool = True,
    before_first: str = "zeros",
    decay_in_output: bool = False,
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    first = x[:, :1] if before_first == "itself" else np.zeros_like(x[:, :1])
    past = np.concatenate([first, x[:, :-1]], 1)

    def mixed(name: str) -> np.ndarray:
        share = w[f"time_mix_{name}"]
        now, then = (x, past) if own_share else (past, x)
        return linear(now * share + then * (1 - share), w[f"{name}.weight"])

    k, v, r = mixed("key"), mixed("value"), mixed("receptance")
    if gated:
        r = sigmoid(r)
    fade = -np.exp(w["time_decay"])
    if decay == "twice":
        fade = -np.exp(fade)
    num, den, out = np.zeros((2, 16)), np.zeros((2, 16)), []
    for t in range(9):
        here = np.exp(k[:, t] + w["time_first"])
        seen = np.exp(fade) if decay_in_output else 1
        out.append((seen * num + here * v[:, t]) / (seen * den + here))
        add = here if bonus_kept else np.exp(k[:, t])
        num = np.exp(fade) * num + add * v[:, t]
        den = np.exp(fade) * den + add
    y = np.stack(out, 1).astype(np.float32)
    return linear(r * y, w["output.weight"])


def build_nemotron() -> tuple[Any, np.ndarray]:
    config = NemotronConfig(
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=8,
        vocab_size=50,
    )
    layer = train_torch(Turned(NemotronDecoderLayer(config, 0), 4), 5121, gain=1.7)
    for norm in (layer.mixer.input_layernorm, layer.mixer.post_attention_layernorm):
        norm.weight.data -= 1
    return layer, inputs(5122, 2, 7, 24, shift=0.2)


def nemotron(
    model: Any,
    x: np.ndarray,
    plus: float = 1.0,
    squared: bool = True,
    turned: int = 4,
    centred: bool = True,
    eps: float = 1e-5,
    residual: str = "kept",
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")

    def norm(a: np.ndarray, name: str) -> np.ndarray:
        gain, bias = w[f"{name}.weight"] + np.float32(plus), w[f"{name}.bias"]
        if centred:
            return layer_norm(a, gain, bias, eps)
        return rms_norm(a, gain, eps) + bias

    def turn(a: np.ndarray) -> np.ndarray:
        a, rest = a[..., :turned], a[..., turned:]
        return np.concatenate([_turn_halves(a, rotary_angles(7, turned)), rest], -1)

    y = norm(x, "input_layernorm")
    q, k, v = (linear(y, w[f"self_attn.{n}_proj.weight"]) for n in "qkv")
    q, k, v = turn(split_heads(q, 3)), turn(split_heads(k, 1)), split_heads(v, 1)
    share = softmax(q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(8)) + _causal(7))
    x = x + linear(join_heads(share @ v), w["self_attn.o_proj.weight"])
    y = norm(x, "post_attention_layernorm")
    h = relu(linear(y, w["mlp.up_proj.weight"]))
    if squared:
        h = h * h
    return (y if residual == "of the norm" else x) + linear(h, w["mlp.down_proj.weight"])


def build_gptj() -> tuple[Any, np.ndarray]:
    config = GPTJConfig(
        n_embd=24, n_head=2, rotary_dim=8, n_layer=1, n_inner=40, vocab_size=50, n_positions=16
    )
    layer = Turned(GPTJBlock(config, 0), 8, "sine first")
    return train_torch(layer, 5123, gain=1.7), inputs(5124, 2, 8, 24)


def gptj(
    model: Any,
    x: np.ndarray,
    turn: Any = _turn_pairs,
    rate_size: int = 8,
    parallel: bool = True,
    act: Any = gelu_tanh,
    mlp_of: str = "norm",
    scaled: bool = True,
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    y = layer_norm(x, w["ln_1.weight"], w["ln_1.bias"])
    q, k, v = (split_heads(linear(y, w[f"attn.{n}_proj.weight"]), 2) for n in "qkv")
    angles = rotary_angles(8, rate_size)[:, :4]
    q = np.concatenate([turn(q[..., :8], angles), q[..., 8:]], -1)
    k = np.concatenate([turn(k[..., :8], angles), k[..., 8:]], -1)
    scores = q @ k.swapaxes(-1, -2)
    if scaled:
        scores = scores / np.float32(np.sqrt(12))
    z = linear(join_heads(softmax(scores + _causal(8)) @ v), w["attn.out_proj.weight"])
    if not parallel:
        y = layer_norm(x + z, w["ln_1.weight"], w["ln_1.bias"])
    if mlp_of == "input":
        y = x
    h = act(linear(y, w["mlp.fc_in.weight"], w["mlp.fc_in.bias"]))
    return x + z + linear(h, w["mlp.fc_out.weight"], w["mlp.fc_out.bias"])


CASES = [
    Case(
        "diffllama_attention",
        build_diffllama,
        "mixer",
        diffllama,
        {
            "depth_minus_one": Mistake(
                partial(diffllama, depth=1),
                "lambda_init uses the paper's l - 1 with an index that already begins at 0, so it "
                "is that of the layer before.",
            ),
            "one_minus_whole_lambda": Mistake(
                partial(diffllama, shrink_by="lambda"),
                "The normalised heads are multiplied with 1 - lambda, where it is 1 - lambda_init.",
            ),
            "neighbouring_heads_paired": Mistake(
                partial(diffllama, pairs="neighbours"),
                "Heads 2i and 2i + 1 are subtracted (the paper's code), where it is heads i and "
                "i + heads / 2.",
            ),
            "norm_over_all_heads": Mistake(
                partial(diffllama, norm_over="all"),
                "The RMS norm is over all heads of a token at once, where each has its own.",
            ),
            "second_lambda_added": Mistake(
                partial(diffllama, second=1.0),
                "exp(lambda_q2 . lambda_k2) is added to the first exponential, where it is "
                "subtracted.",
            ),
        },
    ),
    Case(
        "deepseek_v2_latent_attention",
        build_latent,
        "mixer",
        latent,
        {
            "rotary_halves": Mistake(
                partial(latent, turn=_turn_halves),
                "The rotary part is turned in halves (Llama's way), where DeepSeek-V2 turns "
                "neighbouring pairs.",
            ),
            "scale_of_plain_part": Mistake(
                partial(latent, scale_size=8),
                "Scores are divided by the root of qk_nope_head_dim (8), where the head has 8 "
                "and 4 rotary numbers, 12.",
            ),
            "keys_and_then_values": Mistake(
                partial(latent, up="keys and then values"),
                "kv_b_proj's output is read as all keys and then all values, where each head has "
                "its key and value next to each other.",
            ),
            "latent_not_normalised": Mistake(
                partial(latent, norm_latent=False),
                "The RMS norm of the compressed keys and values (kv_a_layernorm) is forgotten.",
            ),
            "rotary_part_of_query_first": Mistake(
                partial(latent, rope_first=True),
                "The first 4 numbers of a query's head are taken for its rotary part, where they "
                "are the last 4.",
            ),
            "shared_key_not_turned_and_scale": Mistake(
                partial(latent, turn_key=False, scale_size=8),
                "Two causes: the shared key is not turned (only queries are), and scores are "
                "divided by the root of 8, where it is 12.",
                causes=2,
            ),
        },
    ),
    Case(
        "lfm2_short_convolution",
        build_short_conv,
        "mixer",
        short_conv,
        {
            "value_and_second_gate_swapped": Mistake(
                partial(short_conv, order=(0, 2, 1)),
                "in_proj's output is read as B, x, C, where it is B, C, x.",
            ),
            "centred_convolution": Mistake(
                partial(short_conv, left=1),
                "The convolution is padded by 1 on both sides, where it is causal, padded by 2 "
                "before.",
            ),
            "kernel_flipped": Mistake(
                partial(short_conv, flipped=True),
                "The kernel is flipped in time (np.convolve), where the layer correlates.",
            ),
            "gates_through_sigmoid": Mistake(
                partial(short_conv, gate=sigmoid),
                "Both gates go through a sigmoid, where they multiply as they are.",
            ),
            "state_lost_between_chunks": Mistake(
                partial(short_conv, restart_at=5),
                "The sequence is computed in two chunks and the convolution's state is zero at "
                "the second (from position 5), where it has the two values before.",
            ),
        },
    ),
    Case(
        "qwen3_next_gated_delta_net",
        build_delta,
        "mixer",
        delta,
        {
            "no_unit_length": Mistake(
                partial(delta, unit=False),
                "Queries and keys are not normalised to length 1 before the recurrence.",
            ),
            "query_not_scaled": Mistake(
                partial(delta, scaled=False),
                "The queries are not divided by the root of the head's size.",
            ),
            "gate_before_norm": Mistake(
                partial(delta, gate_before_norm=True),
                "The gate is multiplied before the RMS norm (Mamba-2's order), where it comes "
                "after it.",
            ),
            "error_of_undecayed_state": Mistake(
                partial(delta, decay_first=False),
                "The delta rule's error is taken against the state before its decay, where the "
                "state decays first.",
            ),
            "key_heads_tiled": Mistake(
                partial(delta, key_heads="tiled"),
                "The two query and key heads are tiled (0, 1, 0, 1) over the four value heads, "
                "where each is repeated (0, 0, 1, 1).",
            ),
            "projection_read_flat": Mistake(
                partial(delta, layout="flat"),
                "in_proj_qkvz's output is read as all q, all k, all v, all z, where each key head "
                "has its own q, k, v and z in turn.",
            ),
            "convolution_without_silu": Mistake(
                partial(delta, conv_act=False),
                "The SiLU after the short convolution is forgotten.",
            ),
        },
    ),
    Case(
        "rwkv_time_mixing",
        build_rwkv,
        "mixer",
        rwkv,
        {
            "decay_converted_twice": Mistake(
                partial(rwkv, decay="twice"),
                "-exp is taken twice of time_decay (once at the conversion, once in the loop).",
            ),
            "bonus_kept_in_state": Mistake(
                partial(rwkv, bonus_kept=True),
                "time_first is also in what is added to the state, where it is for the current "
                "token's output alone.",
            ),
            "shares_of_now_and_before_swapped": Mistake(
                partial(rwkv, own_share=False),
                "The time mix multiplies the token before with time_mix and the token itself "
                "with 1 - time_mix, where it is the other way round.",
            ),
            "receptance_without_sigmoid": Mistake(
                partial(rwkv, gated=False),
                "The receptance multiplies without its sigmoid.",
            ),
            "first_token_mixed_with_itself": Mistake(
                partial(rwkv, before_first="itself"),
                "The first token is mixed with itself, where what is before it is zero.",
            ),
            "past_decayed_for_output": Mistake(
                partial(rwkv, decay_in_output=True),
                "The state is decayed before the current output reads it too, where it is only "
                "in the update, so each token is decayed once more than it should be.",
            ),
        },
    ),
    Case(
        "nemotron_decoder_layer",
        build_nemotron,
        "mixer",
        nemotron,
        {
            "norm_weight_without_one": Mistake(
                partial(nemotron, plus=0.0),
                "The norms multiply with their weight, where LayerNorm1P multiplies with "
                "weight + 1.",
            ),
            "relu_not_squared": Mistake(
                partial(nemotron, squared=False),
                "The feed-forward's activation is ReLU, where it is ReLU squared.",
            ),
            "whole_head_turned": Mistake(
                partial(nemotron, turned=8),
                "The rotary turn is of the whole head, where partial_rotary_factor is 0.5.",
            ),
            "norm_without_mean": Mistake(
                partial(nemotron, centred=False),
                "The norms are RMS norms, the mean is not subtracted.",
            ),
            "residual_of_the_norm": Mistake(
                partial(nemotron, residual="of the norm"),
                "The second residual adds the normalised values, where it adds those before the "
                "norm.",
            ),
            "norm_without_one_and_no_square": Mistake(
                partial(nemotron, plus=0.0, squared=False),
                "Two causes: the norms multiply with weight, where it is weight + 1, and the "
                "activation is ReLU, where it is ReLU squared.",
                causes=2,
            ),
        },
    ),
    Case(
        "gptj_block",
        build_gptj,
        "mixer",
        gptj,
        {
            "rotary_halves": Mistake(
                partial(gptj, turn=_turn_halves),
                "The rotary part is turned in halves (GPT-NeoX), where GPT-J turns neighbouring "
                "pairs.",
            ),
            "rates_of_whole_head": Mistake(
                partial(gptj, rate_size=12),
                "The rotary rates are 10000 ** (-2i / 12), with the head's size, where they are "
                "of rotary_dim, 8.",
            ),
            "feed_forward_after_attention": Mistake(
                partial(gptj, parallel=False),
                "The feed-forward takes the norm of input plus attention, where it runs beside "
                "attention on the same normalised input.",
            ),
            "feed_forward_of_the_input": Mistake(
                partial(gptj, mlp_of="input"),
                "The feed-forward takes the input itself, where it takes ln_1 of it.",
            ),
            "relu_activation": Mistake(
                partial(gptj, act=relu),
                "The activation is ReLU, where it is the tanh form of GELU.",
            ),
            "scores_not_scaled": Mistake(
                partial(gptj, scaled=False),
                "The scores are not divided by the root of the head's size.",
            ),
        },
    ),
]
