"""ConvNeXt, ViT and Swin of torchvision, made small, against their ONNX exports."""

from typing import Any

import torch
from convolutional_exports import Faults, net, pair
from edits import both, forward, option, put, removed, rows_exchanged, scaled, tensor
from pair import at
from torch import nn
from torchvision.models import ConvNeXt, SwinTransformer, VisionTransformer
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import shifted_window_attention


def _without_layer_scale(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.block(x) + x


def _convnext(**options: Any) -> nn.Module:
    blocks = [CNBlockConfig(24, 48, 2), CNBlockConfig(48, 96, 2), CNBlockConfig(96, None, 2)]
    return ConvNeXt(blocks, **options)


CONVNEXT = net(_convnext, 2000)
CONVNEXT_FAULTS: Faults = {
    "gelu_by_tanh": (
        put("features.3.0.block.4", lambda old: nn.GELU(approximate="tanh")),
        "GELU by tanh in one block",
        at("features.3.0.block.4"),
    ),
    "no_layer_scale": (
        forward("features.1.1", _without_layer_scale),
        "the layer scale of one block is missing",
        at("features.1.1"),
    ),
    "kernel_transposed": (
        tensor("features.5.0.block.0.weight", lambda old: old.transpose(2, 3)),
        "a depthwise kernel's height and width are exchanged",
        at("features.5.0.block.0"),
    ),
    "norm_epsilon": (
        option("features.2.0", eps=1e-2),
        "epsilon 0.01 for 1e-06 in one normalisation",
        at("features.2.0"),
    ),
    "no_norm": (
        removed("features.3.1.block.2"),
        "the normalisation of one block is missing",
        at("features.3.1.block.2"),
    ),
    "patches_mirrored": (
        tensor("features.4.1.weight", lambda old: old.flip(2)),
        "the kernel of a downsampling is upside down",
        at("features.4.1"),
    ),
    "two_faults": (
        both(
            scaled("features.1.0.block.3.weight", 5, -1.0),
            tensor("features.5.1.block.5.bias", torch.zeros_like),
        ),
        "a row of a dense layer has the other sign, and the bias of another is missing",
        (("features.1.0.block.3",), ("features.5.1.block.5",)),
    ),
}


def _norm_after(self: Any, x: torch.Tensor) -> torch.Tensor:
    y, _ = self.self_attention(x, x, x, need_weights=False)
    y = self.ln_1(x + y)
    return y + self.mlp(self.ln_2(y))


def _shortcut_from_norm(self: Any, x: torch.Tensor) -> torch.Tensor:
    normed = self.ln_1(x)
    y, _ = self.self_attention(normed, normed, normed, need_weights=False)
    y = normed + y
    return y + self.mlp(self.ln_2(y))


def _in_parallel(self: Any, x: torch.Tensor) -> torch.Tensor:
    normed = self.ln_1(x)
    y, _ = self.self_attention(normed, normed, normed, need_weights=False)
    return x + y + self.mlp(self.ln_2(x))


def _vit(**options: Any) -> nn.Module:
    return VisionTransformer(32, 8, 3, 4, 64, 128, **options)


def _roll_queries(amount: int) -> Any:
    def turn(old: torch.Tensor) -> torch.Tensor:
        return old.roll(amount, 0)

    return turn


def _block(index: int, rest: str = "") -> str:
    return f"encoder.layers.encoder_layer_{index}{rest}"


VIT = net(_vit, 2100, 32)
VIT_FAULTS: Faults = {
    "order_of_query_key_value": (
        both(
            tensor(_block(1, ".self_attention.in_proj_weight"), _roll_queries(64)),
            tensor(_block(1, ".self_attention.in_proj_bias"), _roll_queries(64)),
        ),
        "the fused weights hold value, query, key",
        at(_block(1, ".self_attention")),
    ),
    "heads": (
        option(_block(0, ".self_attention"), num_heads=2, head_dim=32),
        "two heads for four",
        at(_block(0, ".self_attention")),
    ),
    "positions_moved": (
        tensor("encoder.pos_embedding", lambda old: old.roll(1, 1)),
        "the embeddings of positions are moved by one",
        at("encoder"),
    ),
    "norm_after_attention": (
        forward(_block(2), _norm_after),
        "one block normalises after its attention",
        at(_block(2), _block(2, ".ln_1"), _block(2, ".self_attention")),
    ),
    "shortcut_from_norm": (
        forward(_block(1), _shortcut_from_norm),
        "a shortcut starts behind the normalisation",
        at(_block(1)),
    ),
    "relu_for_gelu": (
        put(_block(0, ".mlp.1"), lambda old: nn.ReLU()),
        "ReLU for GELU in one block",
        at(_block(0, ".mlp.1")),
    ),
    "norms_exchanged": (
        both(
            tensor(_block(1, ".ln_1.weight"), torch.ones_like),
            tensor(_block(1, ".ln_1.bias"), torch.zeros_like),
        ),
        "gain and shift of one normalisation are left out",
        at(_block(1, ".ln_1")),
    ),
    "mlp_beside_attention": (
        forward(_block(1), _in_parallel),
        "the dense layers of one block take the block's input",
        at(_block(1), _block(1, ".ln_2")),
    ),
}


def _without_mask(self: Any, x: torch.Tensor) -> torch.Tensor:
    down, right = self.shift_size
    y = shifted_window_attention(
        x.roll((-down, -right), (1, 2)),
        self.qkv.weight,
        self.proj.weight,
        self.get_relative_position_bias(),
        self.window_size,
        self.num_heads,
        shift_size=[0, 0],
        qkv_bias=self.qkv.bias,
        proj_bias=self.proj.bias,
        training=False,
    )
    return y.roll((down, right), (1, 2))


def _not_shifted_back(self: Any, x: torch.Tensor) -> torch.Tensor:
    down, right = self.shift_size
    return type(self).__mro__[1].forward(self, x).roll((-down, -right), (1, 2))


def _bias_transposed(self: Any) -> torch.Tensor:
    return type(self).__mro__[1].get_relative_position_bias(self).transpose(2, 3)


def _merged_by_rows(self: Any, x: torch.Tensor) -> torch.Tensor:
    parts = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return self.reduction(self.norm(torch.cat(parts, -1)))


def _swin(**options: Any) -> nn.Module:
    return SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], **options)


SWIN = net(_swin, 2200, 32)
SWIN_FAULTS: Faults = {
    "no_mask": (
        forward("features.1.1.attn", _without_mask),
        "windows that were shifted attend across the border",
        at("features.1.1.attn"),
    ),
    "no_shift": (
        option("features.1.1.attn", shift_size=[0, 0]),
        "the windows of one block are not shifted",
        at("features.1.1.attn"),
    ),
    "not_shifted_back": (
        forward("features.1.1.attn", _not_shifted_back),
        "the windows are not shifted back",
        at("features.1.1.attn", "features.1.1"),
    ),
    "bias_transposed": (
        forward("features.3.0.attn", _bias_transposed, "get_relative_position_bias"),
        "the biases of relative positions are transposed",
        at("features.3.0.attn"),
    ),
    "merged_by_rows": (
        forward("features.2", _merged_by_rows),
        "four patches are merged row by row, not column by column",
        at("features.2", "features.2.norm"),
    ),
    "heads_exchanged": (
        tensor("features.3.1.attn.proj.weight", lambda old: old.roll(12, 1)),
        "the heads come in another order into the projection",
        at("features.3.1.attn", "features.3.1.attn.proj"),
    ),
    "two_faults": (
        both(
            put("features.1.0.mlp.1", lambda old: nn.SiLU()),
            rows_exchanged("head.bias", 1, 4),
        ),
        "SiLU for GELU in the first block, and two biases of the head are exchanged",
        (("features.1.0.mlp.1",), ("head",)),
    ),
}


PAIRS = [
    pair("convnext", CONVNEXT, "dynamo", CONVNEXT_FAULTS),
    pair("vit", VIT, "dynamo", VIT_FAULTS),
    pair("swin", SWIN, "kept", SWIN_FAULTS),
]
