"""Encoder blocks of transformers: BERT, RoBERTa, T5, CLIP, Whisper, wav2vec 2."""

import math
from functools import partial
from typing import Any

import numpy as np
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    Wav2Vec2Config,
    WhisperConfig,
)
from transformers.models.t5.modeling_t5 import T5LayerFF
from transformers.models.wav2vec2.modeling_wav2vec2 import (
    Wav2Vec2FeatureEncoder,
    Wav2Vec2PositionalConvEmbedding,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    conv,
    gelu,
    gelu_quick,
    gelu_tanh,
    join_heads,
    layer_norm,
    linear,
    relu,
    rms_norm,
    softmax,
    split_heads,
)
from corpora.ports.trained import inputs, tokens, train_torch, weights_of

HIDDEN = np.float32(-1e9)


def _norm(x: np.ndarray, w: dict[str, np.ndarray], name: str, eps: float = 1e-5) -> np.ndarray:
    return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], eps)


def _dense(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def build_bert() -> tuple[Any, Any]:
    config = BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=32,
    )
    mask = np.ones((2, 8), int)
    mask[0, 6:] = 0
    kinds = np.zeros((2, 8), int)
    kinds[:, 4:] = 1
    return train_torch(BertModel(config), 451, gain=1.5), {
        "input_ids": tokens(452, 2, 8, vocabulary=50),
        "attention_mask": mask,
        "token_type_ids": kinds,
    }


def bert_embeddings(
    model: Any,
    x: Any,
    kinds: str = "given",
    positions: int = 0,
    norm: str = "of the sum",
    scaled: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    words = w["embeddings.word_embeddings.weight"][x["input_ids"]]
    if scaled:
        words = words * np.float32(math.sqrt(24))
    place = w["embeddings.position_embeddings.weight"][positions : positions + 8]
    which = x["token_type_ids"] if kinds == "given" else np.zeros_like(x["token_type_ids"])
    kind = w["embeddings.token_type_embeddings.weight"][which]
    if norm == "of the words":
        return _norm(words, w, "embeddings.LayerNorm", 1e-12) + kind + place
    return _norm(words + kind + place, w, "embeddings.LayerNorm", 1e-12)


def bert_layer(
    model: Any,
    x: Any,
    mask: str = "hides",
    eps: float = 1e-12,
    act: Any = gelu,
    norm: str = "after",
    residual: str = "attention",
    query: str = "query",
    key: str = "key",
    kinds: str = "given",
) -> np.ndarray:
    h = bert_embeddings(model, x, kinds=kinds)
    w = {
        name.removeprefix("encoder.layer.0."): v
        for name, v in weights_of(model).items()
        if name.startswith("encoder.layer.0.")
    }
    q, k, v = (
        split_heads(_dense(h, w, f"attention.self.{name}"), 4) for name in (query, key, "value")
    )
    scores = q @ k.swapaxes(-1, -2) / np.float32(math.sqrt(6))
    keep = x["attention_mask"][:, None, None].astype(np.float32)
    if mask == "hides":
        scores = np.where(keep > 0, scores, HIDDEN)
    if mask == "added":
        scores = scores + keep
    if mask == "multiplied":
        scores = scores * keep
    y = _dense(join_heads(softmax(scores) @ v), w, "attention.output.dense")
    if norm == "before the sum":
        a = h + _norm(y, w, "attention.output.LayerNorm", eps)
    else:
        a = _norm(h + y, w, "attention.output.LayerNorm", eps)
    y = _dense(act(_dense(a, w, "intermediate.dense")), w, "output.dense")
    return _norm((a if residual == "attention" else h) + y, w, "output.LayerNorm", eps)


def build_roberta() -> tuple[Any, Any]:
    config = RobertaConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=32,
        type_vocab_size=1,
    )
    ids = tokens(454, 2, 8, vocabulary=50, lowest=3)
    ids[0, 5:] = 1
    mask = (ids != 1).astype(int)
    return train_torch(RobertaModel(config), 453), {"input_ids": ids, "attention_mask": mask}


def roberta_embeddings(
    model: Any, x: Any, first: int = 2, padding: str = "one place", kinds: bool = True
) -> np.ndarray:
    w = weights_of(model)
    ids = x["input_ids"]
    kept = ids != 1
    place = np.cumsum(kept, 1) - 1 + first
    if padding == "one place":
        place = np.where(kept, place, 1)
    else:
        place = np.broadcast_to(first + np.arange(8), ids.shape)
    h = w["embeddings.word_embeddings.weight"][ids]
    h = h + w["embeddings.position_embeddings.weight"][place]
    if kinds:
        h = h + w["embeddings.token_type_embeddings.weight"][0]
    return _norm(h, w, "embeddings.LayerNorm", 1e-12)


def build_t5() -> tuple[Any, Any]:
    config = T5Config(
        vocab_size=50,
        d_model=24,
        d_kv=8,
        d_ff=48,
        num_layers=1,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
    )
    model = train_torch(T5EncoderModel(config), 455, gain=0.8)
    name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"
    model.get_submodule(name).weight.data *= 3
    return model, {"input_ids": tokens(456, 2, 12, vocabulary=50)}


def t5_attention(
    model: Any,
    x: Any,
    scale: float = 1.0,
    both_ways: bool = True,
    position: str = "key - query",
    center: bool = False,
    furthest: int = 20,
    bias: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    name = "encoder.block.0.layer.0."
    h = w["shared.weight"][x["input_ids"]]
    normed = h - h.mean(-1, keepdims=True) if center else h
    normed = rms_norm(normed, w[f"{name}layer_norm.weight"], 1e-6)
    name += "SelfAttention."
    q, k, v = (split_heads(linear(normed, w[f"{name}{n}.weight"]), 4) for n in "qkv")
    apart = np.arange(12)[None] - np.arange(12)[:, None]
    if position == "query - key":
        apart = -apart
    if both_ways:
        buckets, start = 4, np.where(apart > 0, 4, 0)
        apart = np.abs(apart)
    else:
        buckets, start = 8, 0
        apart = np.maximum(-apart, 0)
    exact = buckets // 2
    far = np.log(np.maximum(apart, 1) / exact) / math.log(furthest / exact) * (buckets - exact)
    far = np.minimum(exact + far.astype(int), buckets - 1)
    bucket = start + np.where(apart < exact, apart, far)
    scores = q @ k.swapaxes(-1, -2) * np.float32(scale)
    if bias:
        scores = scores + w[f"{name}relative_attention_bias.weight"][bucket].transpose(2, 0, 1)
    return h + linear(join_heads(softmax(scores) @ v), w[f"{name}o.weight"])


def build_t5_feed() -> tuple[Any, np.ndarray]:
    config = T5Config(d_model=24, d_ff=40, feed_forward_proj="gated-gelu")
    return train_torch(T5LayerFF(config), 457, gain=1.4), inputs(458, 2, 6, 24)


def t5_feed(
    model: Any,
    x: np.ndarray,
    gate: tuple[str, str] = ("wi_0", "wi_1"),
    act: Any = gelu_tanh,
    residual: bool = True,
    combine: str = "product",
) -> np.ndarray:
    w = weights_of(model)
    y = rms_norm(x, w["layer_norm.weight"], 1e-6)
    name = "DenseReluDense."
    a = act(linear(y, w[f"{name}{gate[0]}.weight"]))
    b = linear(y, w[f"{name}{gate[1]}.weight"])
    y = linear(a * b if combine == "product" else a + b, w[f"{name}wo.weight"])
    return x + y if residual else y


def build_clip() -> tuple[Any, np.ndarray]:
    config = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=8,
        patch_size=4,
    )
    model = train_torch(CLIPVisionModel(config), 459, gain=1.5)
    return model, inputs(460, 2, 3, 8, 8)


def clip_layer(model: Any, x: np.ndarray, act: Any = gelu_quick, pre: bool = True) -> np.ndarray:
    w = {name.removeprefix("vision_model."): v for name, v in weights_of(model).items()}
    patches = conv(x, w["embeddings.patch_embedding.weight"], stride=4)
    patches = patches.reshape(2, 24, 4).swapaxes(1, 2)
    token = np.broadcast_to(w["embeddings.class_embedding"], (2, 1, 24))
    h = np.concatenate([token, patches], 1) + w["embeddings.position_embedding.weight"]
    if pre:
        h = _norm(h, w, "pre_layrnorm")
    w = {
        name.removeprefix("encoder.layers.0."): v
        for name, v in w.items()
        if name.startswith("encoder.layers.0.")
    }
    y = _norm(h, w, "layer_norm1")
    q, k, v = (split_heads(_dense(y, w, f"self_attn.{n}_proj"), 4) for n in "qkv")
    y = join_heads(softmax(q @ k.swapaxes(-1, -2) / np.float32(math.sqrt(6))) @ v)
    h = h + _dense(y, w, "self_attn.out_proj")
    return h + _dense(act(_dense(_norm(h, w, "layer_norm2"), w, "mlp.fc1")), w, "mlp.fc2")


def build_whisper() -> tuple[Any, np.ndarray]:
    config = WhisperConfig(
        vocab_size=60,
        d_model=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        num_mel_bins=10,
        max_source_positions=12,
        decoder_layers=1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    return train_torch(WhisperEncoder(config), 461, gain=1.5), inputs(462, 2, 10, 24)


def whisper_front(
    model: Any,
    x: np.ndarray,
    sines: str = "stored",
    first_stride: int = 1,
    act: Any = gelu,
    second_act: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    strides = (2, 1) if first_stride == 2 else (1, 2)
    y = act(conv(x, w["conv1.weight"], w["conv1.bias"], stride=strides[0], padding=1))
    y = conv(y, w["conv2.weight"], w["conv2.bias"], stride=strides[1], padding=1)
    y = (act(y) if second_act else y).swapaxes(1, 2)
    place = w["embed_positions.weight"]
    if sines != "stored":
        rates = np.exp(-np.arange(8) * math.log(10000) / 7)
        angles = np.arange(12)[:, None] * rates
        place = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(12, 16)
        if sines == "cosines first":
            place = np.concatenate([np.cos(angles), np.sin(angles)], -1)
    return _norm((y + place).astype(np.float32), w, "layers.0.self_attn_layer_norm")


def build_features() -> tuple[Any, np.ndarray]:
    config = Wav2Vec2Config(
        conv_dim=(12, 12, 12),
        conv_kernel=(10, 3, 2),
        conv_stride=(5, 2, 2),
        conv_bias=False,
        feat_extract_norm="group",
    )
    return train_torch(Wav2Vec2FeatureEncoder(config), 463, gain=1.7), inputs(464, 2, 160)


def features(
    model: Any, x: np.ndarray, norm: str = "over time", everywhere: bool = False
) -> np.ndarray:
    w = weights_of(model)
    gain, bias = (w[f"conv_layers.0.layer_norm.{n}"] for n in ("weight", "bias"))
    y = x[:, None]
    for i, stride in enumerate((5, 2, 2)):
        y = conv(y, w[f"conv_layers.{i}.conv.weight"], stride=stride)
        if i == 0 or everywhere:
            axis = 1 if norm == "over channels" else 2
            y = (y - y.mean(axis, keepdims=True)) / np.sqrt(y.var(axis, keepdims=True) + 1e-5)
            y = (y * gain[:, None] + bias[:, None]).astype(np.float32)
        y = gelu(y)
    return y


def build_positions() -> tuple[Any, np.ndarray]:
    config = Wav2Vec2Config(
        hidden_size=16, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4
    )
    return train_torch(Wav2Vec2PositionalConvEmbedding(config), 465), inputs(466, 2, 11, 16)


def positions(
    model: Any,
    x: np.ndarray,
    norm_axes: tuple[int, ...] = (0, 1),
    removed: str = "last",
    act: Any = gelu,
) -> np.ndarray:
    w = weights_of(model)
    g, v = (w[f"conv.parametrizations.weight.original{i}"] for i in (0, 1))
    kernel = g * v / np.sqrt((v * v).sum(norm_axes, keepdims=True))
    y = conv(x.swapaxes(1, 2), kernel, w["conv.bias"], padding=4, groups=4)
    y = y[..., 1:] if removed == "first" else y[..., :-1]
    return act(y).swapaxes(1, 2)


CASES = [
    Case(
        "bert_embeddings",
        build_bert,
        "embeddings",
        bert_embeddings,
        {
            "segments_ignored": Mistake(
                partial(bert_embeddings, kinds="zero"),
                "token_type_ids are ignored: every token gets the embedding of segment 0.",
            ),
            "positions_from_one": Mistake(
                partial(bert_embeddings, positions=1),
                "Positions count from 1, where they count from 0.",
            ),
            "norm_of_the_words_alone": Mistake(
                partial(bert_embeddings, norm="of the words"),
                "The layer norm is applied to the word embeddings before segments and positions "
                "are added, where it is of the sum.",
            ),
            "words_scaled": Mistake(
                partial(bert_embeddings, scaled=True),
                "Word embeddings are multiplied by the root of hidden_size, as in the original "
                "Transformer, where BERT's are not.",
            ),
        },
    ),
    Case(
        "bert_layer",
        build_bert,
        "encoder.layer.0",
        bert_layer,
        {
            "mask_added_as_zeros_and_ones": Mistake(
                partial(bert_layer, mask="added"),
                "The mask of 0 and 1 is added to the scores as it is, where padding must get a "
                "large negative number.",
            ),
            "mask_multiplies_scores": Mistake(
                partial(bert_layer, mask="multiplied"),
                "The mask multiplies the scores before the softmax, so padding gets a score of "
                "0, not none.",
            ),
            "eps_of_pytorch": Mistake(
                partial(bert_layer, eps=1e-5),
                "Epsilon of the layer norms is 1e-5, where BERT's is 1e-12; inherently small.",
            ),
            "norm_before_the_sum": Mistake(
                partial(bert_layer, norm="before the sum"),
                "The attention's output is normalised and then added, where the sum is normalised.",
            ),
            "second_residual_of_input": Mistake(
                partial(bert_layer, residual="input"),
                "The second residual adds the layer's input, where it adds the attention's "
                "normalised output.",
            ),
            "query_and_key_swapped": Mistake(
                partial(bert_layer, query="key", key="query"),
                "The projections of query and key are swapped, which transposes the scores.",
            ),
            "mask_and_activation": Mistake(
                partial(bert_layer, mask="none", act=relu),
                "Two causes: the padding mask is ignored, and the activation is ReLU, where it is "
                "GELU.",
                causes=2,
            ),
        },
    ),
    Case(
        "roberta_embeddings",
        build_roberta,
        "embeddings",
        roberta_embeddings,
        {
            "positions_from_zero": Mistake(
                partial(roberta_embeddings, first=0),
                "Positions count from 0 as BERT's, where RoBERTa's count from padding_idx + 1 = 2.",
            ),
            "padding_gets_positions": Mistake(
                partial(roberta_embeddings, padding="counted"),
                "Padding gets running positions, where all of it gets position padding_idx = 1.",
            ),
            "segment_row_forgotten": Mistake(
                partial(roberta_embeddings, kinds=False),
                "The one row of token_type_embeddings is not added (RoBERTa 'has no segments').",
            ),
        },
    ),
    Case(
        "t5_self_attention",
        build_t5,
        "encoder.block.0.layer.0",
        t5_attention,
        {
            "scaled": Mistake(
                partial(t5_attention, scale=1 / math.sqrt(8)),
                "Scores are divided by the root of the head's size, where T5 does not scale.",
            ),
            "buckets_of_decoder": Mistake(
                partial(t5_attention, both_ways=False),
                "Relative positions are put in the decoder's one-way buckets, where an encoder's "
                "tell both directions apart.",
            ),
            "relative_position_inverted": Mistake(
                partial(t5_attention, position="query - key"),
                "The relative position is query minus key, where it is key minus query.",
            ),
            "norm_subtracts_mean": Mistake(
                partial(t5_attention, center=True),
                "The layer norm subtracts the mean, where T5's is an RMS norm.",
            ),
            "distance_of_128": Mistake(
                partial(t5_attention, furthest=128),
                "The buckets are spread to a distance of 128, the default, where this model's "
                "max_distance is 20.",
            ),
            "scaled_and_no_bias": Mistake(
                partial(t5_attention, scale=1 / math.sqrt(8), bias=False),
                "Two causes: scores are divided by the root of the head's size, and the relative "
                "position bias is forgotten.",
                causes=2,
            ),
        },
    ),
    Case(
        "t5_gated_feed_forward",
        build_t5_feed,
        "",
        t5_feed,
        {
            "gate_and_linear_swapped": Mistake(
                partial(t5_feed, gate=("wi_1", "wi_0")),
                "wi_0 and wi_1 are swapped, so GELU is applied to the wrong one.",
            ),
            "relu_in_gate": Mistake(
                partial(t5_feed, act=relu),
                "The gate's activation is ReLU (T5 1.0), where it is GELU.",
            ),
            "halves_added": Mistake(
                partial(t5_feed, combine="sum"),
                "Gate and linear part are added, where they are multiplied.",
            ),
        },
    ),
    Case(
        "clip_vision_layer",
        build_clip,
        "encoder.layers.0",
        clip_layer,
        {
            "exact_gelu": Mistake(
                partial(clip_layer, act=gelu),
                "GELU by erf, where CLIP's is x * sigmoid(1.702 x).",
            ),
            "norm_before_the_layers_forgotten": Mistake(
                partial(clip_layer, pre=False),
                "The layer norm between embeddings and first layer (pre_layrnorm) is forgotten.",
            ),
        },
    ),
    Case(
        "whisper_front",
        build_whisper,
        "layers.0.self_attn_layer_norm",
        whisper_front,
        {
            "sines_and_cosines_in_turn": Mistake(
                partial(whisper_front, sines="in turn"),
                "The sinusoids are sine and cosine in turn, where Whisper has all sines and then "
                "all cosines.",
            ),
            "cosines_first": Mistake(
                partial(whisper_front, sines="cosines first"),
                "The sinusoids are all cosines and then all sines, where sines come first.",
            ),
            "stride_at_first_convolution": Mistake(
                partial(whisper_front, first_stride=2),
                "The stride of 2 is at the first convolution, where it is at the second.",
            ),
            "second_activation_forgotten": Mistake(
                partial(whisper_front, second_act=False),
                "The GELU after the second convolution is forgotten.",
            ),
        },
    ),
    Case(
        "wav2vec2_features",
        build_features,
        "",
        features,
        {
            "normalised_over_channels": Mistake(
                partial(features, norm="over channels"),
                "The first layer's norm is over the channels at each time (layer norm), where it "
                "is over time for each channel (a group norm of one channel a group).",
            ),
            "norm_after_every_convolution": Mistake(
                partial(features, everywhere=True),
                "The norm is applied after every convolution, where it is after the first alone.",
            ),
        },
    ),
    Case(
        "wav2vec2_positions",
        build_positions,
        "",
        positions,
        {
            "weight_norm_of_output_channels": Mistake(
                partial(positions, norm_axes=(1, 2)),
                "The weight norm is of each output channel (dim 0), where it is of each tap "
                "(dim 2).",
            ),
            "first_step_removed": Mistake(
                partial(positions, removed="first"),
                "The surplus step of the even kernel is cut off at the start, where it is cut "
                "off at the end.",
            ),
        },
    ),
]
