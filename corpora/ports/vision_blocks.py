"""Blocks of torchvision."""

from functools import partial
from typing import Any

import numpy as np
from torch import nn
from torchvision.models.convnext import CNBlock
from torchvision.models.densenet import _DenseLayer
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.shufflenetv2 import InvertedResidual as ShuffleUnit
from torchvision.models.squeezenet import Fire
from torchvision.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torchvision.models.vision_transformer import EncoderBlock, VisionTransformer
from torchvision.ops.misc import SqueezeExcitation

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    batch_norm,
    conv,
    gelu,
    gelu_quick,
    join_heads,
    layer_norm,
    linear,
    relu,
    sigmoid,
    softmax,
    split_heads,
)
from corpora.ports.trained import inputs, train_torch, weights_of


def _relu6(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, np.float32(6))


def build_basic() -> tuple[Any, np.ndarray]:
    down = nn.Sequential(nn.Conv2d(8, 16, 1, 2, bias=False), nn.BatchNorm2d(16))
    return train_torch(BasicBlock(8, 16, 2, down), 301, gain=1.5), inputs(302, 2, 8, 10, 10)


def basic(
    model: Any,
    x: np.ndarray,
    relu_before_sum: bool = False,
    down_norm: bool = True,
    eps: float = 1e-5,
    down_from: int = 0,
    norms: tuple[str, str] = ("bn1", "bn2"),
) -> np.ndarray:
    w = weights_of(model)
    y = relu(batch_norm(conv(x, w["conv1.weight"], stride=2, padding=1), w, norms[0], eps))
    y = batch_norm(conv(y, w["conv2.weight"], padding=1), w, norms[1], eps)
    if relu_before_sum:
        y = relu(y)
    short = conv(x[:, :, down_from:, down_from:], w["downsample.0.weight"], stride=2)
    if down_norm:
        short = batch_norm(short, w, "downsample.1", eps)
    return y + short if relu_before_sum else relu(y + short)


def build_bottleneck() -> tuple[Any, np.ndarray]:
    down = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
    return train_torch(Bottleneck(16, 8, 2, down), 303, gain=1.5), inputs(304, 2, 16, 8, 8)


def bottleneck(
    model: Any,
    x: np.ndarray,
    stride_at: int = 2,
    residual: bool = True,
    variance: str = "",
) -> np.ndarray:
    w = weights_of(model)
    if variance == "of the layer before":
        w["bn2.running_var"] = w["bn1.running_var"]
    first, second = (2, 1) if stride_at == 1 else (1, 2)
    y = relu(batch_norm(conv(x, w["conv1.weight"], stride=first), w, "bn1"))
    y = relu(batch_norm(conv(y, w["conv2.weight"], stride=second, padding=1), w, "bn2"))
    y = batch_norm(conv(y, w["conv3.weight"]), w, "bn3")
    short = batch_norm(conv(x, w["downsample.0.weight"], stride=2), w, "downsample.1")
    return relu(y + short if residual else y)


def build_inverted() -> tuple[Any, np.ndarray]:
    return train_torch(InvertedResidual(8, 8, 1, 4), 305, gain=2.0), inputs(306, 2, 8, 7, 7)


def inverted(
    model: Any,
    x: np.ndarray,
    linear_end: bool = True,
    act: Any = _relu6,
    residual: bool = True,
    eps: float = 1e-5,
) -> np.ndarray:
    w = weights_of(model)
    y = act(batch_norm(conv(x, w["conv.0.0.weight"]), w, "conv.0.1", eps))
    y = conv(y, w["conv.1.0.weight"], padding=1, groups=32)
    y = act(batch_norm(y, w, "conv.1.1", eps))
    y = batch_norm(conv(y, w["conv.2.weight"]), w, "conv.3", eps)
    if not linear_end:
        y = act(y)
    return x + y if residual else y


def build_squeeze() -> tuple[Any, np.ndarray]:
    block = SqueezeExcitation(16, 6, nn.SiLU)
    return train_torch(block, 307, gain=2.0), inputs(308, 2, 16, 6, 6, shift=0.5)


def squeeze(
    model: Any, x: np.ndarray, act: str = "silu", gate: str = "sigmoid", pool: str = "mean"
) -> np.ndarray:
    w = weights_of(model)
    s = x.mean((2, 3), keepdims=True) if pool == "mean" else x.max((2, 3), keepdims=True)
    s = conv(s, w["fc1.weight"], w["fc1.bias"])
    s = relu(s) if act == "relu" else s * sigmoid(s)
    s = conv(s, w["fc2.weight"], w["fc2.bias"])
    if gate == "hard sigmoid":
        return x * np.clip(s / 6 + np.float32(0.5), 0, 1)
    return x + sigmoid(s) if gate == "added" else x * sigmoid(s)


def build_convnext() -> tuple[Any, np.ndarray]:
    return train_torch(CNBlock(12, 1e-6, 0.0), 309, gain=2.0), inputs(310, 2, 12, 9, 9)


def convnext(
    model: Any,
    x: np.ndarray,
    layer_scale: bool = True,
    norm_over: str = "channels",
    act: Any = gelu,
    eps: float = 1e-6,
) -> np.ndarray:
    w = weights_of(model)
    y = conv(x, w["block.0.weight"], w["block.0.bias"], padding=3, groups=12)
    if norm_over == "positions":
        y = (y - y.mean((2, 3), keepdims=True)) / np.sqrt(y.var((2, 3), keepdims=True) + eps)
        y = y.transpose(0, 2, 3, 1) * w["block.2.weight"] + w["block.2.bias"]
    else:
        y = layer_norm(y.transpose(0, 2, 3, 1), w["block.2.weight"], w["block.2.bias"], eps)
    y = act(linear(y, w["block.3.weight"], w["block.3.bias"]))
    y = linear(y, w["block.5.weight"], w["block.5.bias"]).transpose(0, 3, 1, 2)
    return (x + w["layer_scale"] * y if layer_scale else x + y).astype(np.float32)


def build_swin() -> tuple[Any, np.ndarray]:
    block = SwinTransformerBlock(12, 3, [4, 4], [2, 2])
    return train_torch(block, 311, gain=2.0), inputs(312, 2, 8, 8, 12)


def swin(
    model: Any,
    x: np.ndarray,
    masked: bool = True,
    shift: int = 2,
    back: bool = True,
    bias: str = "kept",
    partition: str = "transposed",
) -> np.ndarray:
    w = weights_of(model)
    y = layer_norm(x, w["norm1.weight"], w["norm1.bias"])

    def windows(a: np.ndarray) -> np.ndarray:
        b, c = len(a), a.shape[-1]
        if partition == "reshaped":
            return a.reshape(b * 4, 16, c)
        return a.reshape(b, 2, 4, 2, 4, c).transpose(0, 1, 3, 2, 4, 5).reshape(b * 4, 16, c)

    y = windows(np.roll(y, (-shift, -shift), (1, 2)))
    qkv = linear(y, w["attn.qkv.weight"], w["attn.qkv.bias"])
    q, k, v = (split_heads(part, 3) for part in np.split(qkv, 3, -1))
    scores = q @ k.swapaxes(-1, -2) / np.float32(2)
    at = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(16, 2)
    apart = at[:, None] - at[None] + 3
    index = apart[..., 0] * 7 + apart[..., 1]
    if bias == "rows and columns swapped":
        index = apart[..., 1] * 7 + apart[..., 0]
    if bias != "dropped":
        table = w["attn.relative_position_bias_table"]
        scores = scores + table[index.T if bias == "sign" else index].transpose(2, 0, 1)
    if masked and shift:
        zone = np.zeros(8, int)
        zone[4:6], zone[6:] = 1, 2
        region = windows((3 * zone[:, None] + zone).reshape(1, 8, 8, 1))[..., 0]
        hidden = np.where(region[:, None] != region[:, :, None], np.float32(-100), 0)
        scores = scores + np.tile(hidden, (2, 1, 1))[:, None]
    y = join_heads(softmax(scores.astype(np.float32)) @ v)
    y = linear(y, w["attn.proj.weight"], w["attn.proj.bias"])
    if partition == "reshaped":
        y = y.reshape(2, 8, 8, 12)
    else:
        y = y.reshape(2, 2, 2, 4, 4, 12).transpose(0, 1, 3, 2, 4, 5).reshape(2, 8, 8, 12)
    if back:
        y = np.roll(y, (shift, shift), (1, 2))
    x = x + y
    y = layer_norm(x, w["norm2.weight"], w["norm2.bias"])
    y = gelu(linear(y, w["mlp.0.weight"], w["mlp.0.bias"]))
    return x + linear(y, w["mlp.3.weight"], w["mlp.3.bias"])


def build_merging() -> tuple[Any, np.ndarray]:
    return train_torch(PatchMerging(8), 313), inputs(314, 2, 6, 6, 8)


def merging(model: Any, x: np.ndarray, order: str = "columns last") -> np.ndarray:
    w = weights_of(model)
    a, b, c, d = (x[:, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1)))
    parts = [a, b, c, d] if order == "columns last" else [a, c, b, d]
    y = layer_norm(np.concatenate(parts, -1), w["norm.weight"], w["norm.bias"])
    return linear(y, w["reduction.weight"])


def build_vit_block() -> tuple[Any, np.ndarray]:
    return train_torch(EncoderBlock(4, 24, 48, 0.0, 0.0), 315, gain=1.6), inputs(316, 2, 7, 24)


def vit_block(
    model: Any,
    x: np.ndarray,
    residual_of: str = "input",
    act: Any = gelu,
    eps: float = 1e-6,
    scaled: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    y = layer_norm(x, w["ln_1.weight"], w["ln_1.bias"], eps)
    qkv = linear(y, w["self_attention.in_proj_weight"], w["self_attention.in_proj_bias"])
    q, k, v = (split_heads(part, 4) for part in np.split(qkv, 3, -1))
    scores = q @ k.swapaxes(-1, -2)
    scores = scores / np.float32(np.sqrt(6)) if scaled else scores
    z = join_heads(softmax(scores) @ v)
    z = linear(z, w["self_attention.out_proj.weight"], w["self_attention.out_proj.bias"])
    x = (y if residual_of == "norm" else x) + z
    y = layer_norm(x, w["ln_2.weight"], w["ln_2.bias"], eps)
    y = act(linear(y, w["mlp.0.weight"], w["mlp.0.bias"]))
    return x + linear(y, w["mlp.3.weight"], w["mlp.3.bias"])


def build_vit_front() -> tuple[Any, np.ndarray]:
    model = VisionTransformer(8, 2, 1, 2, 16, 32, num_classes=5)
    return train_torch(model, 317), inputs(318, 2, 3, 8, 8)


def vit_front(
    model: Any,
    x: np.ndarray,
    token: str = "first",
    order: str = "rows",
    positions: str = "all",
) -> np.ndarray:
    w = weights_of(model)
    y = conv(x, w["conv_proj.weight"], w["conv_proj.bias"], stride=2)
    y = y.swapaxes(2, 3) if order == "columns" else y
    y = y.reshape(2, 16, 16) if order == "not transposed" else y.reshape(2, 16, 16).swapaxes(1, 2)
    token_of_class = np.broadcast_to(w["class_token"], (2, 1, 16))
    place = w["encoder.pos_embedding"]
    if positions == "patches alone":
        y = y + place[:, :16]
        y = np.concatenate([token_of_class, y], 1)
    else:
        y = np.concatenate([token_of_class, y] if token == "first" else [y, token_of_class], 1)
        y = y + place
    return _first_block(y, w)


def _first_block(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    name = "encoder.layers.encoder_layer_0."
    w = {key.removeprefix(name): value for key, value in w.items() if key.startswith(name)}
    y = layer_norm(x, w["ln_1.weight"], w["ln_1.bias"], 1e-6)
    qkv = linear(y, w["self_attention.in_proj_weight"], w["self_attention.in_proj_bias"])
    q, k, v = (split_heads(part, 2) for part in np.split(qkv, 3, -1))
    z = join_heads(softmax(q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(8))) @ v)
    x = x + linear(z, w["self_attention.out_proj.weight"], w["self_attention.out_proj.bias"])
    y = layer_norm(x, w["ln_2.weight"], w["ln_2.bias"], 1e-6)
    y = gelu(linear(y, w["mlp.0.weight"], w["mlp.0.bias"]))
    return x + linear(y, w["mlp.3.weight"], w["mlp.3.bias"])


def build_shuffle() -> tuple[Any, np.ndarray]:
    return train_torch(ShuffleUnit(16, 16, 1), 319, gain=1.5), inputs(320, 2, 16, 6, 6)


def shuffle(model: Any, x: np.ndarray, mix: str = "interleave", kept: str = "first") -> np.ndarray:
    w = weights_of(model)
    a, b = x[:, :8], x[:, 8:]
    if kept == "second":
        a, b = b, a
    b = relu(batch_norm(conv(b, w["branch2.0.weight"]), w, "branch2.1"))
    b = batch_norm(conv(b, w["branch2.3.weight"], padding=1, groups=8), w, "branch2.4")
    b = relu(batch_norm(conv(b, w["branch2.5.weight"]), w, "branch2.6"))
    if mix == "none":
        return np.concatenate([a, b], 1)
    if mix == "back":
        return np.concatenate([a, b], 1).reshape(2, 8, 2, 6, 6).swapaxes(1, 2).reshape(x.shape)
    return np.stack([a, b], 2).reshape(x.shape)


def build_fire() -> tuple[Any, np.ndarray]:
    return train_torch(Fire(12, 6, 8, 8), 321, gain=1.4), inputs(322, 2, 12, 7, 7)


def fire(
    model: Any, x: np.ndarray, order: tuple[str, ...] = ("1x1", "3x3"), squeezed: bool = True
) -> np.ndarray:
    w = weights_of(model)
    s = conv(x, w["squeeze.weight"], w["squeeze.bias"])
    s = relu(s) if squeezed else s
    parts = {
        "1x1": conv(s, w["expand1x1.weight"], w["expand1x1.bias"]),
        "3x3": conv(s, w["expand3x3.weight"], w["expand3x3.bias"], padding=1),
    }
    return relu(np.concatenate([parts[name] for name in order], 1))


def build_dense_layer() -> tuple[Any, np.ndarray]:
    layer = _DenseLayer(12, 6, 2, 0.0)
    return train_torch(layer, 323, gain=1.5), inputs(324, 2, 12, 6, 6)


def dense_layer(model: Any, x: np.ndarray, norm_first: bool = True) -> np.ndarray:
    w = weights_of(model)
    if norm_first:
        y = conv(relu(batch_norm(x, w, "norm1")), w["conv1.weight"])
    else:
        y = conv(batch_norm(relu(x), w, "norm1"), w["conv1.weight"])
    return conv(relu(batch_norm(y, w, "norm2")), w["conv2.weight"], padding=1)


CASES = [
    Case(
        "resnet_basic_block",
        build_basic,
        "",
        basic,
        {
            "relu_before_the_sum": Mistake(
                partial(basic, relu_before_sum=True),
                "The second ReLU is applied before the shortcut is added, where it comes after.",
            ),
            "shortcut_without_norm": Mistake(
                partial(basic, down_norm=False),
                "The shortcut's batch normalisation is forgotten.",
            ),
            "shortcut_takes_odd_pixels": Mistake(
                partial(basic, down_from=1),
                "The shortcut's strided 1x1 convolution takes the odd rows and columns, where it "
                "takes the even ones.",
            ),
            "norms_swapped": Mistake(
                partial(basic, norms=("bn2", "bn1")),
                "bn1 and bn2 are swapped (same shapes, loaded by order).",
            ),
            "eps_and_shortcut_norm": Mistake(
                partial(basic, down_norm=False, eps=1e-3),
                "Two causes: the shortcut's batch normalisation is forgotten, and epsilon is "
                "1e-3, where it is 1e-5.",
                causes=2,
            ),
        },
    ),
    Case(
        "resnet_bottleneck",
        build_bottleneck,
        "",
        bottleneck,
        {
            "stride_at_first_convolution": Mistake(
                partial(bottleneck, stride_at=1),
                "The stride is at the first 1x1 convolution (the paper's ResNet), where "
                "torchvision has it at the 3x3 one.",
            ),
            "shortcut_forgotten": Mistake(
                partial(bottleneck, residual=False),
                "The shortcut is not added.",
            ),
            "variance_of_other_norm": Mistake(
                partial(bottleneck, variance="of the layer before"),
                "bn2 uses the running variance of bn1.",
            ),
        },
    ),
    Case(
        "mobilenet_v2_inverted_residual",
        build_inverted,
        "",
        inverted,
        {
            "activation_at_the_end": Mistake(
                partial(inverted, linear_end=False),
                "ReLU6 is applied after the last 1x1 convolution too, where the bottleneck is "
                "linear.",
            ),
            "relu_without_six": Mistake(
                partial(inverted, act=relu),
                "ReLU, where it is ReLU6.",
            ),
            "residual_forgotten": Mistake(
                partial(inverted, residual=False),
                "The residual is not added, though stride is 1 and the channels agree.",
            ),
        },
    ),
    Case(
        "squeeze_excitation",
        build_squeeze,
        "",
        squeeze,
        {
            "relu_inside": Mistake(
                partial(squeeze, act="relu"),
                "ReLU between the two layers, where this block has SiLU.",
            ),
            "hard_sigmoid_gate": Mistake(
                partial(squeeze, gate="hard sigmoid"),
                "The gate is a hard sigmoid (MobileNetV3's), where it is a sigmoid.",
            ),
            "gate_added": Mistake(
                partial(squeeze, gate="added"),
                "The gate is added to the input, where it multiplies it.",
            ),
        },
    ),
    Case(
        "convnext_block",
        build_convnext,
        "",
        convnext,
        {
            "layer_scale_forgotten": Mistake(
                partial(convnext, layer_scale=False),
                "The block's layer scale is not applied.",
            ),
            "normalised_over_positions": Mistake(
                partial(convnext, norm_over="positions"),
                "Mean and variance are over the positions of each channel, where they are over "
                "the channels of each position.",
            ),
            "quick_gelu": Mistake(
                partial(convnext, act=gelu_quick),
                "GELU as x * sigmoid(1.702 x), where it is the exact one.",
            ),
        },
    ),
    Case(
        "swin_block_shifted",
        build_swin,
        "",
        swin,
        {
            "mask_forgotten": Mistake(
                partial(swin, masked=False),
                "The mask of the shifted windows is forgotten, so pixels from opposite borders "
                "attend to each other.",
            ),
            "not_shifted_back": Mistake(
                partial(swin, back=False),
                "The image is not rolled back after the windows' attention.",
            ),
            "shifted_the_other_way": Mistake(
                partial(swin, shift=-2),
                "The cyclic shift goes the other way (+2), where windows are shifted by -2.",
            ),
            "relative_bias_swapped": Mistake(
                partial(swin, bias="rows and columns swapped"),
                "The index of the relative position bias has rows and columns swapped.",
            ),
            "relative_bias_mirrored": Mistake(
                partial(swin, bias="sign"),
                "The relative position is key minus query, where it is query minus key.",
            ),
            "windows_by_reshape": Mistake(
                partial(swin, partition="reshaped"),
                "The windows are cut by a mere reshape, so that a window is two rows of the "
                "image, where it is a square of 4 x 4.",
            ),
            "no_mask_and_no_bias": Mistake(
                partial(swin, masked=False, bias="dropped"),
                "Two causes: the shifted windows' mask and the relative position bias are "
                "forgotten.",
                causes=2,
            ),
        },
    ),
    Case(
        "swin_patch_merging",
        build_merging,
        "",
        merging,
        {
            "patches_row_by_row": Mistake(
                partial(merging, order="columns first"),
                "The four pixels are concatenated row by row (00, 01, 10, 11), where Swin has "
                "00, 10, 01, 11.",
            ),
        },
    ),
    Case(
        "vit_encoder_block",
        build_vit_block,
        "",
        vit_block,
        {
            "residual_of_normalised": Mistake(
                partial(vit_block, residual_of="norm"),
                "The residual adds the normalised input to the attention, where it adds the "
                "input itself.",
            ),
            "scores_not_scaled": Mistake(
                partial(vit_block, scaled=False),
                "Scores are not divided by the root of the head's size.",
            ),
            "quick_gelu": Mistake(
                partial(vit_block, act=gelu_quick),
                "GELU as x * sigmoid(1.702 x) (CLIP's), where it is the exact one.",
            ),
        },
    ),
    Case(
        "vit_patches_to_first_block",
        build_vit_front,
        "encoder.layers.encoder_layer_0",
        vit_front,
        {
            "class_token_last": Mistake(
                partial(vit_front, token="last"),
                "The class token is appended after the patches, where it goes before.",
            ),
            "patches_by_columns": Mistake(
                partial(vit_front, order="columns"),
                "The patches run column by column, where they run row by row.",
            ),
            "positions_shifted_by_one": Mistake(
                partial(vit_front, positions="patches alone"),
                "The position embeddings start at the first patch, the class token gets none, so "
                "each patch has the position of the one before.",
            ),
            "not_transposed": Mistake(
                partial(vit_front, order="not transposed"),
                "Channels and patches (16 of each) are not transposed after the flattening, so "
                "each channel's map is taken for a token.",
            ),
        },
    ),
    Case(
        "shufflenet_unit",
        build_shuffle,
        "",
        shuffle,
        {
            "not_shuffled": Mistake(
                partial(shuffle, mix="none"),
                "The channels of the two branches are concatenated, the shuffle forgotten.",
            ),
            "shuffled_the_wrong_way": Mistake(
                partial(shuffle, mix="back"),
                "The shuffle splits channels as (size, groups), the inverse of the right one.",
            ),
            "branches_swapped": Mistake(
                partial(shuffle, kept="second"),
                "The second half of the channels is passed through and the first one is "
                "convolved, where it is the other way round.",
            ),
        },
    ),
    Case(
        "squeezenet_fire",
        build_fire,
        "",
        fire,
        {
            "expansions_swapped": Mistake(
                partial(fire, order=("3x3", "1x1")),
                "The 3x3 expansion is concatenated before the 1x1 one.",
            ),
            "squeeze_without_activation": Mistake(
                partial(fire, squeezed=False),
                "The ReLU after the squeeze convolution is forgotten.",
            ),
        },
    ),
    Case(
        "densenet_layer",
        build_dense_layer,
        "",
        dense_layer,
        {
            "relu_before_norm": Mistake(
                partial(dense_layer, norm_first=False),
                "ReLU comes before the first batch normalisation, where it comes after it.",
            ),
        },
    ),
]
