"""Encoders and fronts of transformers that no other module holds, in NumPy, right and wrong.

Proteins, speech, control and Fourier mixing, with tiny configurations. Written from the classes'
own code and from the errors that porting such blocks brings, without a look at the tool.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    DecisionTransformerConfig,
    DecisionTransformerModel,
    EsmConfig,
    FNetConfig,
    Speech2TextConfig,
    VitsConfig,
)
from transformers.models.esm.modeling_esm import EsmEmbeddings
from transformers.models.fnet.modeling_fnet import FNetLayer
from transformers.models.speech_to_text.modeling_speech_to_text import Conv1dSubsampler
from transformers.models.vits.modeling_vits import VitsWaveNet
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    conv,
    gelu,
    gelu_tanh,
    join_heads,
    layer_norm,
    linear,
    sigmoid,
    softmax,
    split_heads,
)
from corpora.ports.trained import Alone, beneath, inputs, tokens, train_torch, weights_of


def build_esm() -> tuple[Any, dict[str, np.ndarray]]:
    config = EsmConfig(
        vocab_size=33,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=20,
        pad_token_id=1,
        mask_token_id=32,
        token_dropout=True,
        emb_layer_norm_before=False,
        position_embedding_type="absolute",
    )
    ids = tokens(5101, 2, 10, vocabulary=32, lowest=4)
    ids[0, 3], ids[1, 2], ids[1, 5] = 32, 32, 32
    ids[1, 7:] = 1
    mask = (ids != 1).astype(np.int64)
    return train_torch(EsmEmbeddings(config), 5102, gain=2.0), {
        "input_ids": ids,
        "attention_mask": mask,
    }


def esm(
    model: Any,
    x: dict[str, np.ndarray],
    zeroed: bool = True,
    trained_with: float = 0.15 * 0.8,
    of_length: str = "true",
    inverted: bool = False,
    first: int = 2,
    padding_cleared: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    ids, mask = x["input_ids"], x["attention_mask"]
    y = w["word_embeddings.weight"][ids]
    hidden = ids == 32
    if zeroed:
        y = np.where(hidden[..., None], 0, y)
    length = mask.sum(1) if of_length == "true" else np.full(len(ids), ids.shape[1])
    kept = 1 - hidden.sum(1) / length
    ratio = (1 - trained_with) / kept
    if inverted:
        ratio = 1 / ratio
    y = y * ratio[:, None, None]
    places = np.where(ids != 1, np.cumsum(ids != 1, 1) - 1 + first, 1)
    y = y + w["position_embeddings.weight"][places]
    if padding_cleared:
        y = y * mask[..., None]
    return y.astype(np.float32)


def build_wavlm() -> tuple[Any, np.ndarray]:
    layer = Alone(WavLMAttention(12, 3, num_buckets=8, max_distance=10))
    return train_torch(layer, 5111, gain=1.8), inputs(5112, 2, 9, 12)


def wavlm(
    model: Any,
    x: np.ndarray,
    gate_of: str = "input",
    rows: tuple[int, int] = (2, 4),
    sign: int = 1,
    constant: bool = True,
    bias_scaled: bool = False,
    gate_ends: float = 2.0,
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    parts = {n: linear(x, w[f"{n}_proj.weight"], w[f"{n}_proj.bias"]) for n in "qkv"}
    q, k, v = (split_heads(parts[n], 3) for n in "qkv")
    apart = sign * (np.arange(9)[None] - np.arange(9)[:, None])
    far = np.abs(apart)
    with np.errstate(divide="ignore"):
        large = 2 + (np.log(far / 2) / np.log(10 / 2) * 2)
    bucket = np.where(far < 2, far, np.minimum(np.maximum(large, 0).astype(int), 3))
    bias = w["rel_attn_embed.weight"][bucket + 4 * (apart > 0)].transpose(2, 0, 1)
    source = q if gate_of == "query" else split_heads(x, 3)
    gates = linear(source, w["gru_rel_pos_linear.weight"], w["gru_rel_pos_linear.bias"])
    gates = gates.reshape(*gates.shape[:-1], *rows)
    a, b = np.split(sigmoid(gates.sum(-1 if rows == (2, 4) else -2)), 2, -1)
    weight = w["gru_rel_pos_const"] if constant else np.float32(1)
    bias = (a * (b * weight - 1) + np.float32(gate_ends)) * bias
    scores = q @ k.swapaxes(-1, -2)
    scores = (scores + bias) / 2 if bias_scaled else scores / 2 + bias
    return linear(join_heads(softmax(scores) @ v), w["out_proj.weight"], w["out_proj.bias"])


class WithSpeaker(nn.Module):
    """The WaveNet of VITS under a padding mask and with a speaker's embedding."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor, mask: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        return self.net(x, mask, speaker)


def build_wavenet() -> tuple[Any, tuple[np.ndarray, ...]]:
    config = VitsConfig(
        hidden_size=6, speaker_embedding_size=4, wavenet_kernel_size=3, wavenet_dilation_rate=2
    )
    mask = np.ones((2, 1, 14), np.float32)
    mask[1, :, 9:] = 0
    net = train_torch(WithSpeaker(VitsWaveNet(config, 3)), 5113)
    return net, (inputs(5114, 2, 6, 14) * mask, mask, inputs(5115, 2, 4, 1))


def wavenet(
    model: Any,
    x: tuple[np.ndarray, ...],
    normed: bool = True,
    residual_first: bool = True,
    rate: int = 2,
    own_slice: bool = True,
    tanh_first: bool = True,
    mask_inside: bool = True,
) -> np.ndarray:
    w = beneath(weights_of(model), "net.")

    def weight(name: str) -> np.ndarray:
        gain, v = (w[f"{name}.parametrizations.weight.original{i}"] for i in (0, 1))
        return gain * v / np.sqrt((v * v).sum((1, 2), keepdims=True)) if normed else gain * v

    y, mask, speaker = x
    speaker = conv(speaker, weight("cond_layer"), w["cond_layer.bias"])
    total = np.zeros_like(y)
    for i in range(3):
        name, reach = f"in_layers.{i}", rate**i
        h = conv(y, weight(name), w[f"{name}.bias"], padding=reach, dilation=reach)
        start = 12 * i if own_slice else 0
        h = h + speaker[:, start : start + 12]
        if tanh_first:
            h = np.tanh(h[:, :6]) * sigmoid(h[:, 6:])
        else:
            h = sigmoid(h[:, :6]) * np.tanh(h[:, 6:])
        h = conv(h, weight(f"res_skip_layers.{i}"), w[f"res_skip_layers.{i}.bias"])
        if i == 2:
            total = total + h
            continue
        kept, skipped = (h[:, :6], h[:, 6:]) if residual_first else (h[:, 6:], h[:, :6])
        y = y + kept
        if mask_inside:
            y = y * mask
        total = total + skipped
    return total * mask


def build_subsampler() -> tuple[Any, np.ndarray]:
    config = Speech2TextConfig(
        input_feat_per_channel=10,
        input_channels=1,
        conv_channels=16,
        d_model=12,
        num_conv_layers=2,
        conv_kernel_sizes=(5, 5),
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    return train_torch(Conv1dSubsampler(config), 5119, gain=1.8), inputs(5120, 2, 19, 10)


def subsampler(
    model: Any,
    x: np.ndarray,
    gate_first: bool = False,
    left: int = 2,
    gate: Any = sigmoid,
    last_gated: bool = True,
    half: bool = False,
    flipped: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    y = x.swapaxes(1, 2)
    for i in range(2):
        weight, bias = w[f"conv_layers.{i}.weight"], w[f"conv_layers.{i}.bias"]
        if half:
            weight, bias = (a.astype(np.float16).astype(np.float32) for a in (weight, bias))
        if flipped:
            weight = weight[..., ::-1]
        y = np.pad(y, ((0, 0), (0, 0), (left, 4 - left)))
        a, b = np.split(conv(y, weight, bias, stride=2), 2, 1)
        if gate_first:
            a, b = b, a
        y = a if i == 1 and not last_gated else a * gate(b)
    return y.swapaxes(1, 2)


def build_decision() -> tuple[Any, dict[str, np.ndarray]]:
    config = DecisionTransformerConfig(
        state_dim=5, act_dim=3, hidden_size=12, max_ep_len=30, n_layer=1, n_head=2, n_inner=16
    )
    times = np.array([[3, 4, 5, 6], [11, 12, 13, 14]])
    x = {
        "states": inputs(5125, 2, 4, 5),
        "actions": inputs(5126, 2, 4, 3),
        "returns_to_go": inputs(5127, 2, 4, 1, shift=2.0),
        "timesteps": times,
        "attention_mask": np.ones((2, 4), np.int64),
    }
    return train_torch(DecisionTransformerModel(config), 5128, gain=1.5), x


def decision(
    model: Any,
    x: dict[str, np.ndarray],
    order: tuple[str, ...] = ("return", "state", "action"),
    in_turn: bool = True,
    times: str = "given",
    timed: tuple[str, ...] = ("return", "state", "action"),
    return_scale: float = 1.0,
) -> np.ndarray:
    w = weights_of(model)
    given = {
        "return": x["returns_to_go"] * np.float32(return_scale),
        "state": x["states"],
        "action": x["actions"],
    }
    steps = x["timesteps"] if times == "given" else np.tile(np.arange(4), (2, 1))
    parts = []
    for name in order:
        y = linear(given[name], w[f"embed_{name}.weight"], w[f"embed_{name}.bias"])
        if name in timed:
            y = y + w["embed_timestep.weight"][steps]
        parts.append(y)
    y = np.stack(parts, 2).reshape(2, 12, 12) if in_turn else np.concatenate(parts, 1)
    return layer_norm(y, w["embed_ln.weight"], w["embed_ln.bias"])


def build_fnet() -> tuple[Any, np.ndarray]:
    config = FNetConfig(hidden_size=12, intermediate_size=20, num_hidden_layers=1)
    return train_torch(FNetLayer(config), 5129, gain=1.6), inputs(5130, 2, 10, 12)


def fnet(
    model: Any,
    x: np.ndarray,
    axes: tuple[int, ...] = (1, 2),
    part: str = "real",
    norm: str = "backward",
    act: Any = gelu_tanh,
    residual: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    spectrum = np.fft.fftn(x, axes=axes, norm=norm)
    y = np.abs(spectrum) if part == "magnitude" else spectrum.real
    name = "fourier.output.LayerNorm"
    y = x + y if residual else y
    y = layer_norm(y.astype(np.float32), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)
    h = act(linear(y, w["intermediate.dense.weight"], w["intermediate.dense.bias"]))
    h = linear(h, w["output.dense.weight"], w["output.dense.bias"])
    return layer_norm(h + y, w["output.LayerNorm.weight"], w["output.LayerNorm.bias"], 1e-12)


CASES = [
    Case(
        "esm_embeddings",
        build_esm,
        "",
        esm,
        {
            "mask_tokens_kept": Mistake(
                partial(esm, zeroed=False),
                "The embeddings of mask tokens are kept, as in BERT, where token dropout sets "
                "them to zero.",
            ),
            "ratio_without_eighty_percent": Mistake(
                partial(esm, trained_with=0.15),
                "The ratio of masked tokens in training is taken as 0.15, where the code has "
                "0.15 * 0.8 = 0.12.",
            ),
            "masked_share_of_padded_length": Mistake(
                partial(esm, of_length="padded"),
                "The share of mask tokens is of the padded length, where it is of the tokens that "
                "are not padding.",
            ),
            "ratio_inverted": Mistake(
                partial(esm, inverted=True),
                "The embeddings are divided by (1 - 0.12) / (1 - observed), where they are "
                "multiplied with it.",
            ),
            "positions_from_one": Mistake(
                partial(esm, first=1),
                "Positions of real tokens begin at padding_idx, where they begin at "
                "padding_idx + 1.",
            ),
            "padding_not_cleared": Mistake(
                partial(esm, padding_cleared=False),
                "The embeddings of padding are not multiplied with the attention mask at the end, "
                "so they are not zero.",
            ),
        },
    ),
    Case(
        "wavlm_attention",
        build_wavlm,
        "mixer",
        wavlm,
        {
            "gate_of_query": Mistake(
                partial(wavlm, gate_of="query"),
                "The gates are computed from the projected queries (the paper), where the code "
                "takes the layer's input, split into heads.",
            ),
            "gate_rows_read_as_columns": Mistake(
                partial(wavlm, rows=(4, 2)),
                "The first gate sums the even ones of the projection's 8 numbers and the second "
                "the odd ones, where they sum the first four and the last four.",
            ),
            "distance_of_query_minus_key": Mistake(
                partial(wavlm, sign=-1),
                "Distances are query - key, where they are key - query, so the halves of the "
                "bucket table are swapped.",
            ),
            "constant_forgotten": Mistake(
                partial(wavlm, constant=False),
                "gru_rel_pos_const is not used, the second gate is multiplied with 1.",
            ),
            "bias_scaled_with_the_scores": Mistake(
                partial(wavlm, bias_scaled=True),
                "The gated bias is added before the scores are divided by the root of the head's "
                "size, where it is added after.",
            ),
            "gate_plus_one": Mistake(
                partial(wavlm, gate_ends=1.0),
                "The gate is a * (b * c - 1) + 1, where it ends with + 2.",
            ),
        },
    ),
    Case(
        "vits_wavenet",
        build_wavenet,
        "",
        wavenet,
        {
            "weight_norm_not_divided": Mistake(
                partial(wavenet, normed=False),
                "The weights are gain * v, not divided by the length of v (the weight norm is "
                "folded without it).",
            ),
            "residual_and_skip_swapped": Mistake(
                partial(wavenet, residual_first=False),
                "The first half of res_skip is added to the skip sum and the second goes on, "
                "where it is the other way round.",
            ),
            "dilation_forgotten": Mistake(
                partial(wavenet, rate=1),
                "All three convolutions have dilation 1, where it is 1, 2, 4.",
            ),
            "speaker_slice_of_first_layer": Mistake(
                partial(wavenet, own_slice=False),
                "Each layer gets the first layer's slice of the speaker's conditioning, where "
                "each has its own.",
            ),
            "tanh_and_sigmoid_swapped": Mistake(
                partial(wavenet, tanh_first=False),
                "The first half of the channels goes through the sigmoid and the second through "
                "tanh, where it is the other way round.",
            ),
            "mask_at_the_end_alone": Mistake(
                partial(wavenet, mask_inside=False),
                "The padding mask is applied to the sum at the end alone, where it also clears "
                "the residual stream after each layer.",
            ),
        },
    ),
    Case(
        "speech_to_text_subsampler",
        build_subsampler,
        "",
        subsampler,
        {
            "gate_is_first_half": Mistake(
                partial(subsampler, gate_first=True),
                "The sigmoid is taken of the first half of the channels, where GLU takes it of "
                "the second.",
            ),
            "padding_of_same": Mistake(
                partial(subsampler, left=1),
                "The padding is 1 before and 3 after (uneven 'same'), where it is 2 and 2.",
            ),
            "tanh_gate": Mistake(
                partial(subsampler, gate=np.tanh),
                "The gate is a tanh, where it is a sigmoid.",
            ),
            "last_gate_forgotten": Mistake(
                partial(subsampler, last_gated=False),
                "The second convolution's first half is returned without its gate.",
            ),
            "weights_in_half_precision": Mistake(
                partial(subsampler, half=True),
                "Weights and biases are stored in float16, where they are float32 (inherently "
                "small).",
            ),
            "kernels_flipped": Mistake(
                partial(subsampler, flipped=True),
                "The kernels are reversed in time (a true convolution), where the layer "
                "correlates.",
            ),
        },
    ),
    Case(
        "decision_transformer_inputs",
        build_decision,
        "embed_ln",
        decision,
        {
            "state_action_return": Mistake(
                partial(decision, order=("state", "action", "return")),
                "Each step is state, action, return, where it is return, state, action.",
            ),
            "kinds_one_after_the_other": Mistake(
                partial(decision, in_turn=False),
                "All returns, then all states, then all actions, where the three of a step stand "
                "next to each other.",
            ),
            "steps_counted_from_zero": Mistake(
                partial(decision, times="counted"),
                "Time embeddings are of 0, 1, 2, 3 in each window, where they are of the "
                "timesteps that are given.",
            ),
            "returns_without_time": Mistake(
                partial(decision, timed=("state", "action")),
                "The returns get no time embedding.",
            ),
            "returns_scaled": Mistake(
                partial(decision, return_scale=1e-3),
                "Returns are divided by 1000 once more (the data set's scale), where the model "
                "takes them as given.",
            ),
        },
    ),
    Case(
        "fnet_layer",
        build_fnet,
        "",
        fnet,
        {
            "transform_of_channels_alone": Mistake(
                partial(fnet, axes=(2,)),
                "The Fourier transform is over the channels alone, where it is over time and "
                "channels.",
            ),
            "magnitude": Mistake(
                partial(fnet, part="magnitude"),
                "The magnitude of the spectrum is taken, where it is its real part.",
            ),
            "orthonormal_transform": Mistake(
                partial(fnet, norm="ortho"),
                "The transform is divided by the root of its size, where it is not normalised.",
            ),
            "residual_forgotten": Mistake(
                partial(fnet, residual=False),
                "The input is not added to the transform before the norm.",
            ),
            "erf_gelu": Mistake(
                partial(fnet, act=gelu),
                "GELU with erf, where it is the tanh form (inherently small).",
            ),
        },
    ),
]
