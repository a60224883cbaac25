"""Heads, necks and blocks of vision: segmentation, detection, diffusion and window attention.

Of torchvision, of keras.applications, and small modules as practitioners write them. The ports and
their mistakes were written from the frameworks' own code and from what goes wrong when one writes
such a layer again, without a look at the tool that is measured on them.
"""

import math
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from keras.src.applications import mobilenet_v3
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection.retinanet import RetinaNetClassificationHead
from torchvision.models.maxvit import PartitionAttentionLayer
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.models.swin_transformer import SwinTransformerBlockV2
from torchvision.ops import FeaturePyramidNetwork, deform_conv2d

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    batch_norm,
    conv,
    gelu,
    join_heads,
    layer_norm,
    linear,
    relu,
    sigmoid,
    silu,
    softmax,
    split_heads,
)
from corpora.ports.trained import inputs, normal_floats, train_keras, train_torch, weights_of


def group_norm(
    x: np.ndarray, groups: int, weight: np.ndarray, bias: np.ndarray, eps: float
) -> np.ndarray:
    """Group normalisation of a batch, channels first."""
    y = x.reshape(len(x), groups, -1)
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + np.float32(eps))
    return y.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]


# DeepLab's pyramid of dilated convolutions.


def build_aspp() -> tuple[Any, np.ndarray]:
    return train_torch(ASPP(8, (2, 3, 4), 6), 9001, gain=1.6), inputs(9002, 2, 8, 11, 11)


def aspp(
    model: Any,
    x: np.ndarray,
    rates: tuple[int, int, int] = (2, 3, 4),
    pooled: str = "last",
    pooled_norm: bool = True,
    project_act: bool = True,
    eps: float = 1e-5,
) -> np.ndarray:
    w = weights_of(model)
    parts = [relu(batch_norm(conv(x, w["convs.0.0.weight"]), w, "convs.0.1", eps))]
    for i, rate in enumerate(rates, 1):
        y = conv(x, w[f"convs.{i}.0.weight"], padding=rate, dilation=rate)
        parts.append(relu(batch_norm(y, w, f"convs.{i}.1", eps)))
    p = conv(x.mean((2, 3), keepdims=True), w["convs.4.1.weight"])
    if pooled_norm:
        p = batch_norm(p, w, "convs.4.2", eps)
    p = np.broadcast_to(relu(p), parts[0].shape)
    parts = [p, *parts] if pooled == "first" else [*parts, p]
    y = batch_norm(conv(np.concatenate(parts, 1), w["project.0.weight"]), w, "project.1", eps)
    return relu(y) if project_act else y


# RetinaNet's classification head on two levels.


class HeadOfTwoLevels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = RetinaNetClassificationHead(8, 3, 4)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        return self.head([fine, coarse])


def build_retina() -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    x = (inputs(9004, 2, 8, 6, 5), inputs(9005, 2, 8, 3, 4))
    return train_torch(HeadOfTwoLevels(), 9003, gain=1.5), x


def retina(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    channels: str = "anchors, classes",
    moved: bool = True,
    columns_first: bool = False,
    levels: str = "fine first",
    act: bool = False,
    towers: int = 4,
) -> np.ndarray:
    w = weights_of(model)
    out = []
    for y in x if levels == "fine first" else x[::-1]:
        for i in range(towers):
            y = relu(conv(y, w[f"head.conv.{i}.0.weight"], w[f"head.conv.{i}.0.bias"], padding=1))
        y = conv(y, w["head.cls_logits.weight"], w["head.cls_logits.bias"], padding=1)
        if columns_first:
            y = y.swapaxes(2, 3)
        b, _, h, wide = y.shape
        if not moved:
            out.append(y.reshape(b, -1, 4))
        elif channels == "anchors, classes":
            out.append(y.reshape(b, 3, 4, h, wide).transpose(0, 3, 4, 1, 2).reshape(b, -1, 4))
        else:
            out.append(y.reshape(b, 4, 3, h, wide).transpose(0, 3, 4, 2, 1).reshape(b, -1, 4))
    y = np.concatenate(out, 1)
    return sigmoid(y) if act else y


# The feature pyramid.


class PyramidOfThree(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fpn = FeaturePyramidNetwork([5, 6, 8], 8)

    def forward(self, c2: torch.Tensor, c3: torch.Tensor, c4: torch.Tensor) -> torch.Tensor:
        return self.fpn({"p2": c2, "p3": c3, "p4": c4})["p2"]


def build_fpn() -> tuple[Any, tuple[np.ndarray, ...]]:
    x = (inputs(9007, 1, 5, 12, 8), inputs(9008, 1, 6, 6, 4), inputs(9009, 1, 8, 3, 2))
    return train_torch(PyramidOfThree(), 9006, gain=1.3), x


def _doubled(x: np.ndarray, how: str) -> np.ndarray:
    """Twice as many rows and columns."""
    if how == "nearest":
        return x.repeat(2, 2).repeat(2, 3)
    for axis in (2, 3):
        n = x.shape[axis]
        at = np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1)
        low = at.astype(int)
        high = np.minimum(low + 1, n - 1)
        share = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(4)])
        x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return x


def fpn(
    model: Any,
    x: tuple[np.ndarray, ...],
    up: str = "nearest",
    from_above: str = "sum",
    lateral_bias: bool = True,
    smooth_of: int = 0,
) -> np.ndarray:
    w = weights_of(model)
    laterals = []
    for i, level in enumerate(x):
        bias = w[f"fpn.inner_blocks.{i}.0.bias"] if lateral_bias else None
        laterals.append(conv(level, w[f"fpn.inner_blocks.{i}.0.weight"], bias))

    def smoothed(y: np.ndarray, i: int) -> np.ndarray:
        name = f"fpn.layer_blocks.{i}.0."
        return conv(y, w[name + "weight"], w[name + "bias"], padding=1)

    p4 = laterals[2]
    p3 = laterals[1] + _doubled(smoothed(p4, 2) if from_above == "output" else p4, up)
    if from_above == "output":
        p2 = laterals[0] + _doubled(smoothed(p3, 1), up)
    elif from_above == "lateral":
        p2 = laterals[0] + _doubled(laterals[1], up)
    else:
        p2 = laterals[0] + _doubled(p3, up)
    return smoothed(p2, smooth_of)


# SSD's boxes from offsets and default boxes.


class DefaultBoxes(nn.Module):
    """Corners in pixels from offsets to default boxes (centre x, centre y, width, height)."""

    def __init__(self, side: int, boxes: torch.Tensor) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("boxes", boxes)

    def forward(self, offsets: torch.Tensor) -> torch.Tensor:
        moved = self.boxes[:, :2] + 0.1 * offsets[..., :2] * self.boxes[:, 2:]
        growth = torch.clamp(0.2 * offsets[..., 2:], max=math.log(1000 / 16))
        sizes = self.boxes[:, 2:] * torch.exp(growth)
        corners = torch.cat([moved - sizes / 2, moved + sizes / 2], -1)
        return corners * self.side


def build_boxes() -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(9010)
    boxes = np.concatenate([rng.uniform(0.1, 0.9, (24, 2)), rng.uniform(0.05, 0.6, (24, 2))], 1)
    x = inputs(9011, 2, 24, 4)
    x[0, 3, 2] = 26.0
    return DefaultBoxes(300, torch.tensor(boxes.astype(np.float32))).eval(), x


def boxes_of(
    model: Any,
    x: np.ndarray,
    variances: tuple[float, float] = (0.1, 0.2),
    times_size: bool = True,
    clamped: bool = True,
    half: float = 0.5,
    corner_order: str = "xy",
) -> np.ndarray:
    prior = weights_of(model)["boxes"]
    centre, size = np.float32(variances[0]), np.float32(variances[1])
    if times_size:
        moved = prior[:, :2] + centre * x[..., :2] * prior[:, 2:]
    else:
        moved = prior[:, :2] + centre * x[..., :2]
    growth = size * x[..., 2:]
    if clamped:
        growth = np.minimum(growth, np.float32(math.log(1000 / 16)))
    sizes = prior[:, 2:] * np.exp(growth)
    low, high = moved - sizes * np.float32(half), moved + sizes * np.float32(half)
    if corner_order == "yx":
        low, high = low[..., ::-1], high[..., ::-1]
    return np.concatenate([low, high], -1) * np.float32(300)


# A residual block of a diffusion U-Net, conditioned by scale and shift.


class ScaleShiftBlock(nn.Module):
    def __init__(self, channels: int, out: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.emb = nn.Linear(embedding, 2 * out)
        self.norm2 = nn.GroupNorm(groups, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.emb(F.silu(time))[:, :, None, None].chunk(2, 1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


def build_scale_shift() -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    model = train_torch(ScaleShiftBlock(8, 12, 16, 4), 9012, gain=1.3)
    return model, (inputs(9013, 2, 8, 7, 7, shift=0.3), normal_floats(9014, 2, 16))


def scale_shift(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    one: bool = True,
    order: str = "scale, shift",
    time_act: bool = True,
    groups: int = 4,
    conditioned: str = "after norm2",
    skip_of: str = "input",
) -> np.ndarray:
    w = weights_of(model)
    image, time = x
    first = silu(group_norm(image, groups, w["norm1.weight"], w["norm1.bias"], 1e-5))
    h = conv(first, w["conv1.weight"], w["conv1.bias"], padding=1)
    emb = linear(silu(time) if time_act else time, w["emb.weight"], w["emb.bias"])
    scale, shift = np.split(emb[:, :, None, None], 2, 1)
    if order == "shift, scale":
        scale, shift = shift, scale
    factor = 1 + scale if one else scale
    if conditioned == "before norm2":
        h = group_norm(h * factor + shift, groups, w["norm2.weight"], w["norm2.bias"], 1e-5)
    else:
        h = group_norm(h, groups, w["norm2.weight"], w["norm2.bias"], 1e-5) * factor + shift
    h = conv(silu(h), w["conv2.weight"], w["conv2.bias"], padding=1)
    return conv(image if skip_of == "input" else first, w["skip.weight"], w["skip.bias"]) + h


# The attention over positions in the middle of a VAE.


class AttnBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels, eps=1e-6)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        y = self.norm(x)
        q = self.q(y).reshape(b, c, h * w).permute(0, 2, 1)
        k = self.k(y).reshape(b, c, h * w)
        v = self.v(y).reshape(b, c, h * w)
        scores = torch.softmax(torch.bmm(q, k) * c**-0.5, dim=2)
        y = torch.bmm(v, scores.permute(0, 2, 1)).reshape(b, c, h, w)
        return x + self.proj_out(y)


def build_vae_attention() -> tuple[Any, np.ndarray]:
    return train_torch(AttnBlock(16), 9015, gain=1.4), inputs(9016, 2, 16, 5, 6, scale=0.3)


def vae_attention(
    model: Any,
    x: np.ndarray,
    scale_by: int = 16,
    over: str = "keys",
    mixed: str = "over keys",
    residual_of: str = "input",
    eps: float = 1e-6,
    back: str = "channels, positions",
) -> np.ndarray:
    w = weights_of(model)
    b, c, height, wide = x.shape
    y = group_norm(x, 4, w["norm.weight"], w["norm.bias"], eps)
    q, k, v = (conv(y, w[f"{n}.weight"], w[f"{n}.bias"]).reshape(b, c, -1) for n in "qkv")
    scores = softmax(q.swapaxes(1, 2) @ k / np.float32(scale_by**0.5), 2 if over == "keys" else 1)
    z = v @ (scores.swapaxes(1, 2) if mixed == "over keys" else scores)
    if back == "positions, channels":
        z = z.swapaxes(1, 2)
    z = conv(z.reshape(b, c, height, wide), w["proj_out.weight"], w["proj_out.bias"])
    return (x if residual_of == "input" else y) + z


# Swin's second version.


def build_swin2() -> tuple[Any, np.ndarray]:
    block = train_torch(SwinTransformerBlockV2(12, 3, [4, 4], [2, 2]), 9017, gain=1.5)
    block.attn.logit_scale.data[1] = 5.2
    return block, normal_floats(9018, 1, 8, 8, 12)


def _in_windows(x: np.ndarray) -> np.ndarray:
    """(batch, 8, 8, channels) to (batch * 4, 16, channels)."""
    b, _, _, c = x.shape
    return x.reshape(b, 2, 4, 2, 4, c).transpose(0, 1, 3, 2, 4, 5).reshape(b * 4, 16, c)


def swin2(
    model: Any,
    x: np.ndarray,
    norm: str = "after",
    key_bias: bool = False,
    clamped: bool = True,
    logs: bool = True,
    sixteen: bool = True,
    cosine: bool = True,
    masked: bool = True,
    half: bool = False,
) -> np.ndarray:
    w = weights_of(model)

    def normed(y: np.ndarray, name: str) -> np.ndarray:
        return layer_norm(y, w[f"{name}.weight"], w[f"{name}.bias"])

    y = normed(x, "norm1") if norm == "before" else x
    y = _in_windows(np.roll(y, (-2, -2), (1, 2)))
    bias = w["attn.qkv.bias"].copy()
    if not key_bias:
        bias[12:24] = 0
    qkv = linear(y, w["attn.qkv.weight"], bias)
    q, k, v = (split_heads(part, 3) for part in np.split(qkv, 3, -1))
    if cosine:
        q = q / np.linalg.norm(q, axis=-1, keepdims=True)
        k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    scale = w["attn.logit_scale"]
    if clamped:
        scale = np.minimum(scale, np.float32(math.log(100)))
    scores = q @ k.swapaxes(-1, -2) * np.exp(scale)
    if half:
        scores = scores.astype(np.float16)

    steps = np.arange(-3, 4, dtype=np.float32)
    table = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1) / np.float32(3)
    table = table * 8
    if logs:
        table = np.sign(table) * np.log2(np.abs(table) + 1) / np.float32(3)
    table = relu(linear(table.reshape(49, 2), w["attn.cpb_mlp.0.weight"], w["attn.cpb_mlp.0.bias"]))
    table = linear(table, w["attn.cpb_mlp.2.weight"])
    at = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(16, 2)
    apart = at[:, None] - at[None] + 3
    place = sigmoid(table[apart[..., 0] * 7 + apart[..., 1]].transpose(2, 0, 1))
    scores = scores + (16 * place if sixteen else place)
    if masked:
        zone = np.repeat([0, 1, 2], [4, 2, 2])
        region = _in_windows((3 * zone[:, None] + zone).reshape(1, 8, 8, 1))[..., 0]
        apart_regions = region[:, None] != region[:, :, None]
        scores = scores + np.where(apart_regions, np.float32(-100), 0)[:, None]
    y = join_heads(softmax(scores.astype(np.float32)) @ v)
    y = linear(y, w["attn.proj.weight"], w["attn.proj.bias"])
    y = y.reshape(1, 2, 2, 4, 4, 12).transpose(0, 1, 3, 2, 4, 5).reshape(x.shape)
    y = np.roll(y, (2, 2), (1, 2))
    x = x + (y if norm == "before" else normed(y, "norm1"))
    y = normed(x, "norm2") if norm == "before" else x
    y = gelu(linear(y, w["mlp.0.weight"], w["mlp.0.bias"]))
    y = linear(y, w["mlp.3.weight"], w["mlp.3.bias"])
    return x + (y if norm == "before" else normed(y, "norm2"))


# MaxViT's attention over a grid of far positions.


def build_grid() -> tuple[Any, np.ndarray]:
    layer = PartitionAttentionLayer(
        12, 4, 3, "grid", (6, 6), 2, nn.GELU, nn.LayerNorm, 0.0, 0.0, 0.0
    )
    return train_torch(layer, 9019, gain=1.6), inputs(9020, 2, 12, 6, 6)


def grid(
    model: Any,
    x: np.ndarray,
    taken: str = "grid",
    back: str = "grid",
    scale_by: int = 12,
    bias: str = "kept",
    qkv_order: str = "q, k, v",
    mlp_norm: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    b, c = x.shape[:2]
    if taken == "grid":
        y = x.reshape(b, c, 3, 2, 3, 2).transpose(0, 3, 5, 2, 4, 1)
    else:
        y = x.reshape(b, c, 2, 3, 2, 3).transpose(0, 2, 4, 3, 5, 1)
    y = y.reshape(b * 4, 9, c)
    z = layer_norm(y, w["attn_layer.0.weight"], w["attn_layer.0.bias"])
    z = linear(z, w["attn_layer.1.to_qkv.weight"], w["attn_layer.1.to_qkv.bias"])
    if qkv_order == "per head":
        q, k, v = z.reshape(b * 4, 9, 3, 3, 4).transpose(3, 0, 2, 1, 4)
    else:
        q, k, v = (split_heads(part, 3) for part in np.split(z, 3, -1))
    scores = q @ k.swapaxes(-1, -2) / np.float32(scale_by**0.5)
    at = np.stack(np.meshgrid(np.arange(3), np.arange(3), indexing="ij"), -1).reshape(9, 2)
    apart = at[:, None] - at[None] + 2
    if bias == "of the opposite offset":
        apart = at[None] - at[:, None] + 2
    table = w["attn_layer.1.relative_position_bias_table"]
    scores = scores + table[apart[..., 0] * 5 + apart[..., 1]].transpose(2, 0, 1)
    z = join_heads(softmax(scores) @ v)
    y = y + linear(z, w["attn_layer.1.merge.weight"], w["attn_layer.1.merge.bias"])
    z = layer_norm(y, w["mlp_layer.0.weight"], w["mlp_layer.0.bias"]) if mlp_norm else y
    z = gelu(linear(z, w["mlp_layer.1.weight"], w["mlp_layer.1.bias"]))
    y = y + linear(z, w["mlp_layer.3.weight"], w["mlp_layer.3.bias"])
    if back == "grid":
        return y.reshape(b, 2, 2, 3, 3, c).transpose(0, 5, 3, 1, 4, 2).reshape(x.shape)
    return y.reshape(b, 2, 2, 3, 3, c).transpose(0, 5, 1, 3, 2, 4).reshape(x.shape)


# A detector's head that gives each side of a box as a distribution over bins.


class BinsToBoxes(nn.Module):
    """Boxes (centre, size) in pixels and class scores, of two levels of 8 and 16 pixels a cell."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins
        points, strides = [], []
        for stride, (h, w) in ((8, (4, 6)), (16, (2, 3))):
            y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
            points.append(torch.stack([x, y]).reshape(2, -1))
            strides.append(torch.full((h * w,), float(stride)))
        self.register_buffer("points", torch.cat(points, 1))
        self.register_buffer("strides", torch.cat(strides))
        self.register_buffer("project", torch.arange(bins, dtype=torch.float32))

    def forward(self, sides: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        b, _, n = sides.shape
        shares = sides.view(b, 4, self.bins, n).softmax(2)
        near, far = (shares * self.project[:, None]).sum(2).chunk(2, 1)
        low, high = self.points - near, self.points + far
        boxes = torch.cat([(low + high) / 2, high - low], 1) * self.strides
        return torch.cat([boxes, classes.sigmoid()], 1)


def build_bins() -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    return BinsToBoxes(8).eval(), (inputs(9021, 2, 32, 30), inputs(9022, 2, 3, 30))


def bins_to_boxes(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    half: float = 0.5,
    bins_at: int = 2,
    expected: bool = True,
    as_corners: bool = False,
    strides: tuple[int, int] = (8, 16),
    sides_swapped: bool = False,
) -> np.ndarray:
    sides, classes = x
    points, scales = [], []
    for stride, (h, w) in zip(strides, ((4, 6), (2, 3)), strict=True):
        rows, columns = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
        points.append(np.stack([columns, rows]).reshape(2, -1) + half)
        scales.append(np.full(h * w, stride))
    centre = np.concatenate(points, 1).astype(np.float32)
    scale = np.concatenate(scales).astype(np.float32)
    if bins_at == 2:
        logits = sides.reshape(2, 4, 8, 30)
    else:
        logits = sides.reshape(2, 8, 4, 30).swapaxes(1, 2)
    if expected:
        reach = (softmax(logits, 2) * np.arange(8, dtype=np.float32)[:, None]).sum(2)
    else:
        reach = logits.argmax(2).astype(np.float32)
    near, far = reach[:, :2], reach[:, 2:]
    if sides_swapped:
        near, far = far, near
    low, high = centre - near, centre + far
    if as_corners:
        boxes = np.concatenate([low, high], 1) * scale
    else:
        boxes = np.concatenate([(low + high) / 2, high - low], 1) * scale
    return np.concatenate([boxes, sigmoid(classes)], 1)


# A deformable convolution with a mask.


class DeformableBlock(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(channels, 18, 3, padding=1)
        self.modulator = nn.Conv2d(channels, 9, 3, padding=1)
        self.regular = nn.Conv2d(channels, out, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        offset = self.offset(x)
        mask = 2.0 * torch.sigmoid(self.modulator(x))
        return deform_conv2d(x, offset, self.regular.weight, padding=1, mask=mask)


def build_deformable() -> tuple[Any, np.ndarray]:
    return train_torch(DeformableBlock(6, 5), 9023), inputs(9024, 1, 6, 7, 8)


def _sampled(x: np.ndarray, rows: np.ndarray, columns: np.ndarray, border: str) -> np.ndarray:
    """The image (channels, height, width) between pixels; (channels, *rows.shape)."""
    h, w = x.shape[1:]
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    out = np.zeros((len(x), *rows.shape), np.float32)
    for i in (top, top + 1):
        for j in (left, left + 1):
            share = (1 - np.abs(rows - i)) * (1 - np.abs(columns - j))
            if border == "zeros":
                share = share * ((i >= 0) & (i < h) & (j >= 0) & (j < w))
            out += share.astype(np.float32) * x[:, np.clip(i, 0, h - 1), np.clip(j, 0, w - 1)]
    return out


def deformable(
    model: Any,
    x: np.ndarray,
    pairs: str = "dy, dx in turn",
    twice: bool = True,
    border: str = "zeros",
    between: str = "bilinear",
    mask: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    _, _, height, wide = x.shape
    offset = conv(x, w["offset.weight"], w["offset.bias"], padding=1)[0]
    share = sigmoid(conv(x, w["modulator.weight"], w["modulator.bias"], padding=1)[0])
    share = share * 2 if twice else share
    if pairs == "all dy, then all dx":
        dy, dx = offset[:9], offset[9:]
    elif pairs == "dx, dy in turn":
        dx, dy = offset[::2], offset[1::2]
    else:
        dy, dx = offset[::2], offset[1::2]
    y = np.zeros((5, height, wide), np.float32)
    for tap in range(9):
        rows = np.arange(height)[:, None] + tap // 3 - 1 + dy[tap]
        columns = np.arange(wide)[None] + tap % 3 - 1 + dx[tap]
        if between == "nearest":
            rows, columns = np.round(rows), np.round(columns)
        values = _sampled(x[0], rows, columns, border)
        if mask:
            values = values * share[tap]
        y += np.tensordot(w["regular.weight"][:, :, tap // 3, tap % 3], values, 1)
    return y[None]


# MobileNetV3's block of keras.applications, with stride 2.


def build_mobile3() -> tuple[Any, np.ndarray]:
    start = keras.Input((8, 8, 8))
    end = mobilenet_v3._inverted_res_block(
        start, 2, 12, 3, 2, 0.25, mobilenet_v3.hard_swish, block_id=1
    )
    model = train_keras(keras.Model(start, end), 9025, gain=1.6)
    return model, inputs(9026, 2, 8, 8, 8)


def _hard_swish(x: np.ndarray) -> np.ndarray:
    return x * np.clip(x / 6 + np.float32(0.5), 0, 1)


def mobile3(
    model: Any,
    x: np.ndarray,
    pad: tuple[int, int] = (0, 1),
    gate: str = "relu6 of six",
    act: Any = _hard_swish,
    eps: float = 1e-3,
    squeeze_act: Any = relu,
    project_act: bool = False,
) -> np.ndarray:
    def array(name: str, which: str) -> np.ndarray:
        layer = model.get_layer(f"expanded_conv_1_{name}")
        return keras.ops.convert_to_numpy(getattr(layer, which))

    def normed(y: np.ndarray, name: str) -> np.ndarray:
        mean, var = array(name, "moving_mean"), array(name, "moving_variance")
        y = (y - mean) / np.sqrt(var + np.float32(eps))
        return y * array(name, "gamma") + array(name, "beta")

    y = act(normed(x @ array("expand", "kernel")[0, 0], "expand_bn"))
    y = np.pad(y, ((0, 0), pad, pad, (0, 0)))
    taps = array("depthwise", "kernel")[..., 0]
    y = sum(y[:, i : i + 7 : 2, j : j + 7 : 2] * taps[i, j] for i in range(3) for j in range(3))
    y = act(normed(y, "depthwise_bn"))
    s = y.mean((1, 2), keepdims=True)
    s = s @ array("squeeze_excite_conv", "kernel")[0, 0] + array("squeeze_excite_conv", "bias")
    s = squeeze_act(s) @ array("squeeze_excite_conv_1", "kernel")[0, 0]
    s = s + array("squeeze_excite_conv_1", "bias")
    if gate == "sigmoid":
        s = sigmoid(s)
    elif gate == "fifth":
        s = np.clip(np.float32(0.2) * s + np.float32(0.5), 0, 1)
    else:
        s = np.clip(s + 3, 0, 6) / 6
    y = normed((y * s) @ array("project", "kernel")[0, 0], "project_bn")
    return act(y) if project_act else y


# A max pooling without aliasing.


class MaxBlurPool(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        kernel = taps[:, None] * taps
        kernel = kernel / kernel.sum()
        self.register_buffer("kernel", kernel.expand(channels, 1, 4, 4).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.max_pool2d(F.relu(x), 2, stride=1)
        y = F.pad(y, (1, 2, 1, 2), mode="reflect")
        return F.conv2d(y, self.kernel, stride=2, groups=y.shape[1])


def build_blur() -> tuple[Any, np.ndarray]:
    return MaxBlurPool(4).eval(), inputs(9027, 2, 4, 10, 12)


def blur(
    model: Any,
    x: np.ndarray,
    taps: tuple[int, ...] = (1, 3, 3, 1),
    pad: tuple[int, int] = (1, 2),
    mode: str = "reflect",
    stride_at: str = "blur",
) -> np.ndarray:
    y = relu(x)
    y = np.maximum(y[:, :, :-1], y[:, :, 1:])
    y = np.maximum(y[..., :-1], y[..., 1:])
    if stride_at == "pool":
        y = y[:, :, ::2, ::2]
    y = np.pad(y, ((0, 0), (0, 0), pad, pad), mode=mode)
    kernel = np.outer(taps, taps).astype(np.float32)
    kernel = np.broadcast_to(kernel / kernel.sum(), (4, 1, len(taps), len(taps)))
    return conv(y, kernel, stride=1 if stride_at == "pool" else 2, groups=4)


# A generalised mean over positions, whitened and normalised: a head for image retrieval.


class RetrievalHead(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([2.6]), requires_grad=False)
        self.eps = 1e-6
        self.whiten = nn.Linear(channels, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.clamp(min=self.eps).pow(self.p).mean((-2, -1)).pow(1.0 / self.p)
        y = F.normalize(y, dim=-1)
        return F.normalize(self.whiten(y), dim=-1)


def build_retrieval() -> tuple[Any, np.ndarray]:
    return train_torch(RetrievalHead(12, 8), 9028), inputs(9029, 3, 12, 5, 5)


def retrieval(
    model: Any,
    x: np.ndarray,
    p: float = 2.6,
    negative: str = "clamped",
    root: str = "of the mean",
    first_norm: bool = True,
    norm_over: int = -1,
) -> np.ndarray:
    w = weights_of(model)
    y = np.abs(x) if negative == "absolute" else np.maximum(x, np.float32(1e-6))
    if root == "of the sum":
        y = (y**p).sum((2, 3)) ** (1 / p)
    elif root == "forgotten":
        y = (y**p).mean((2, 3))
    else:
        y = (y**p).mean((2, 3)) ** (1 / p)
    if first_norm:
        y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    y = linear(y, w["whiten.weight"], w["whiten.bias"])
    return (y / np.linalg.norm(y, axis=norm_over, keepdims=True)).astype(np.float32)


CASES = [
    Case(
        "second_aspp",
        build_aspp,
        "",
        aspp,
        {
            "pooled_branch_first": Mistake(
                partial(aspp, pooled="first"),
                "The pooled branch is concatenated first (the order of DeepLab's TensorFlow "
                "code), where it comes last.",
            ),
            "rates_doubled": Mistake(
                partial(aspp, rates=(4, 6, 8)),
                "The dilations are twice as large (those of output stride 8), where they are 2, 3 "
                "and 4.",
            ),
            "pooled_branch_without_norm": Mistake(
                partial(aspp, pooled_norm=False),
                "The batch normalisation of the pooled branch is forgotten.",
            ),
            "eps_of_tensorflow": Mistake(
                partial(aspp, eps=1e-3),
                "All batch normalisations have an epsilon of 1e-3, where it is 1e-5.",
            ),
            "no_relu_behind_projection": Mistake(
                partial(aspp, project_act=False),
                "The ReLU behind the projection is forgotten.",
            ),
        },
    ),
    Case(
        "second_retinanet_classes",
        build_retina,
        "",
        retina,
        {
            "not_moved": Mistake(
                partial(retina, moved=False),
                "The maps are reshaped to rows of classes as they lie, where the channels are "
                "moved behind the positions first.",
            ),
            "classes_before_anchors": Mistake(
                partial(retina, channels="classes, anchors"),
                "The channels are read as classes times anchors, where they are anchors times "
                "classes.",
            ),
            "columns_first": Mistake(
                partial(retina, columns_first=True),
                "The positions are listed column by column, where they are listed row by row.",
            ),
            "coarse_level_first": Mistake(
                partial(retina, levels="coarse first"),
                "The coarse level is concatenated before the fine one.",
            ),
            "sigmoid_applied": Mistake(
                partial(retina, act=True),
                "A sigmoid is applied, where the head returns logits.",
            ),
            "three_convolutions": Mistake(
                partial(retina, towers=3),
                "Three of the four convolutions before the logits are applied.",
            ),
        },
    ),
    Case(
        "second_fpn_finest_level",
        build_fpn,
        "",
        fpn,
        {
            "bilinear": Mistake(
                partial(fpn, up="bilinear"),
                "The level above is enlarged bilinearly, where it is the nearest pixel.",
            ),
            "from_smoothed_level": Mistake(
                partial(fpn, from_above="output"),
                "The level above is added after its 3x3 convolution, where it is added before.",
            ),
            "from_lateral_alone": Mistake(
                partial(fpn, from_above="lateral"),
                "To the finest level only the lateral of the level above is added, where it is "
                "the sum that holds the levels above that, too.",
            ),
            "lateral_biases_forgotten": Mistake(
                partial(fpn, lateral_bias=False),
                "The biases of the 1x1 convolutions are forgotten.",
            ),
            "smoothing_of_coarsest": Mistake(
                partial(fpn, smooth_of=2),
                "The 3x3 convolution of the coarsest level is used (the list is read in the order "
                "of the top-down pass), where the finest level has its own.",
            ),
        },
    ),
    Case(
        "second_ssd_boxes",
        build_boxes,
        "",
        boxes_of,
        {
            "variances_forgotten": Mistake(
                partial(boxes_of, variances=(1.0, 1.0)),
                "The offsets are not multiplied by the variances 0.1 and 0.2.",
            ),
            "one_variance_for_both": Mistake(
                partial(boxes_of, variances=(0.1, 0.1)),
                "The sizes' offsets are multiplied by 0.1 like the centres', where it is 0.2.",
            ),
            "not_times_size": Mistake(
                partial(boxes_of, times_size=False),
                "The centres' offsets are not multiplied by the default box's size.",
            ),
            "growth_not_clamped": Mistake(
                partial(boxes_of, clamped=False),
                "The growth is not limited to log(1000 / 16) before exp.",
            ),
            "whole_size_on_each_side": Mistake(
                partial(boxes_of, half=1.0),
                "The whole size is taken off and added to the centre, where it is half of it.",
            ),
            "rows_before_columns": Mistake(
                partial(boxes_of, corner_order="yx"),
                "The corners are given as y, x (TensorFlow's order), where they are x, y.",
            ),
        },
    ),
    Case(
        "second_unet_scale_shift_block",
        build_scale_shift,
        "",
        scale_shift,
        {
            "scale_without_one": Mistake(
                partial(scale_shift, one=False),
                "The normalised values are multiplied by scale, where it is 1 + scale.",
            ),
            "shift_before_scale": Mistake(
                partial(scale_shift, order="shift, scale"),
                "The embedding's halves are read as shift and scale, where they are scale and "
                "shift.",
            ),
            "embedding_without_silu": Mistake(
                partial(scale_shift, time_act=False),
                "The SiLU before the embedding's linear layer is forgotten.",
            ),
            "two_groups": Mistake(
                partial(scale_shift, groups=2),
                "Both group normalisations have 2 groups, where they have 4.",
            ),
            "conditioned_before_the_norm": Mistake(
                partial(scale_shift, conditioned="before norm2"),
                "Scale and shift are applied before the second normalisation, where they are "
                "applied behind it.",
            ),
            "skip_of_activated": Mistake(
                partial(scale_shift, skip_of="activated"),
                "The 1x1 shortcut is taken from the normalised and activated values, where it is "
                "taken from the block's input.",
            ),
            "no_silu_and_no_one": Mistake(
                partial(scale_shift, time_act=False, one=False),
                "Two causes: the SiLU before the embedding's linear layer is forgotten, and the "
                "normalised values are multiplied by scale, where it is 1 + scale.",
                causes=2,
            ),
        },
    ),
    Case(
        "second_vae_attention",
        build_vae_attention,
        "",
        vae_attention,
        {
            "not_scaled": Mistake(
                partial(vae_attention, scale_by=1),
                "The scores are not divided by the root of the number of channels.",
            ),
            "softmax_over_queries": Mistake(
                partial(vae_attention, over="queries"),
                "The softmax is taken over the queries, where it is taken over the keys.",
            ),
            "shares_not_transposed": Mistake(
                partial(vae_attention, mixed="over queries"),
                "The values are multiplied by the shares as they are, so summed over the queries, "
                "where the shares are transposed before.",
            ),
            "residual_of_normalised": Mistake(
                partial(vae_attention, residual_of="normalised"),
                "The normalised values are added at the end, where the input is added.",
            ),
            "eps_of_pytorch": Mistake(
                partial(vae_attention, eps=1e-5),
                "The group normalisation has PyTorch's epsilon of 1e-5, where it is 1e-6 "
                "(inherently small).",
            ),
            "result_read_as_positions_first": Mistake(
                partial(vae_attention, back="positions, channels"),
                "The result is held with positions before channels when it is reshaped to the "
                "image, where channels come first.",
            ),
        },
    ),
    Case(
        "second_swin_v2_block",
        build_swin2,
        "",
        swin2,
        {
            "norm_before": Mistake(
                partial(swin2, norm="before"),
                "The normalisations come before attention and MLP (version 1), where they come "
                "behind them.",
            ),
            "key_bias_used": Mistake(
                partial(swin2, key_bias=True),
                "The stored bias of the keys is added, where it is set to 0.",
            ),
            "logit_scale_not_limited": Mistake(
                partial(swin2, clamped=False),
                "The logarithm of the scale is not limited to log(100).",
            ),
            "offsets_linear": Mistake(
                partial(swin2, logs=False),
                "The offsets between positions go to the MLP linearly, where they are spaced "
                "by log2.",
            ),
            "bias_without_sixteen": Mistake(
                partial(swin2, sixteen=False),
                "The sigmoid of the position bias is not multiplied by 16.",
            ),
            "not_cosine": Mistake(
                partial(swin2, cosine=False),
                "Queries and keys are not brought to length 1.",
            ),
            "scores_in_half_precision": Mistake(
                partial(swin2, half=True),
                "The scaled scores are rounded to float16 before the position bias is added, "
                "where they stay float32.",
            ),
        },
    ),
    Case(
        "second_maxvit_grid_attention",
        build_grid,
        "",
        grid,
        {
            "windows": Mistake(
                partial(grid, taken="windows", back="windows"),
                "Attention is within windows of 3x3 neighbours, where it is over a grid of every "
                "second pixel.",
            ),
            "put_back_as_windows": Mistake(
                partial(grid, back="windows"),
                "The groups are put back as windows of neighbours, where they were taken as a "
                "grid.",
            ),
            "scaled_by_the_head": Mistake(
                partial(grid, scale_by=4),
                "The scores are divided by the root of a head's size, 4 (the usual attention), "
                "where torchvision takes that of all features, 12.",
            ),
            "opposite_offset": Mistake(
                partial(grid, bias="of the opposite offset"),
                "The position bias is that of key minus query, where it is query minus key.",
            ),
            "qkv_per_head": Mistake(
                partial(grid, qkv_order="per head"),
                "The projection is read as q, k and v of each head in turn, where all of q comes "
                "first.",
            ),
            "mlp_norm_forgotten": Mistake(
                partial(grid, mlp_norm=False),
                "The normalisation before the MLP is forgotten.",
            ),
        },
    ),
    Case(
        "second_bins_to_boxes",
        build_bins,
        "",
        bins_to_boxes,
        {
            "corner_of_the_cell": Mistake(
                partial(bins_to_boxes, half=0.0),
                "A cell's point is its corner, where it is its centre, 0.5 further.",
            ),
            "bins_before_sides": Mistake(
                partial(bins_to_boxes, bins_at=1),
                "The channels are read as bins times sides, where they are sides times bins.",
            ),
            "likeliest_bin": Mistake(
                partial(bins_to_boxes, expected=False),
                "Each side is the likeliest bin, where it is the expected one.",
            ),
            "corners_returned": Mistake(
                partial(bins_to_boxes, as_corners=True),
                "The boxes are given as two corners, where they are centre and size.",
            ),
            "strides_of_the_other_level": Mistake(
                partial(bins_to_boxes, strides=(16, 8)),
                "The strides of the two levels are swapped.",
            ),
            "sides_swapped": Mistake(
                partial(bins_to_boxes, sides_swapped=True),
                "The first two distances are added and the last two are taken off, where it is "
                "left and top that are taken off.",
            ),
        },
    ),
    Case(
        "second_deformable_convolution",
        build_deformable,
        "",
        deformable,
        {
            "dx_before_dy": Mistake(
                partial(deformable, pairs="dx, dy in turn"),
                "Each pair of offsets is read as x and y, where it is y and x.",
            ),
            "all_dy_first": Mistake(
                partial(deformable, pairs="all dy, then all dx"),
                "The offsets are read as nine of y and nine of x, where y and x come in turn.",
            ),
            "mask_not_doubled": Mistake(
                partial(deformable, twice=False),
                "The mask is the sigmoid, where it is twice the sigmoid.",
            ),
            "border_repeated": Mistake(
                partial(deformable, border="clamped"),
                "Positions outside the image take the border's pixels, where they are 0.",
            ),
            "nearest_pixel": Mistake(
                partial(deformable, between="nearest"),
                "The nearest pixel is taken, where it is between four pixels.",
            ),
            "mask_forgotten": Mistake(
                partial(deformable, mask=False),
                "The mask is forgotten.",
            ),
            "mask_not_doubled_and_border_repeated": Mistake(
                partial(deformable, twice=False, border="clamped"),
                "Two causes: the mask is the sigmoid, where it is twice the sigmoid, and positions "
                "outside the image take the border's pixels, where they are 0.",
                causes=2,
            ),
        },
    ),
    Case(
        "second_keras_mobilenet_v3_block",
        build_mobile3,
        "",
        mobile3,
        {
            "padded_as_pytorch": Mistake(
                partial(mobile3, pad=(1, 1)),
                "The strided depthwise convolution pads a row and a column on each side "
                "(PyTorch's way), where it is below and on the right alone.",
            ),
            "gate_sigmoid": Mistake(
                partial(mobile3, gate="sigmoid"),
                "The squeeze-and-excitation gate is a sigmoid, where it is ReLU6(x + 3) / 6.",
            ),
            "gate_of_a_fifth": Mistake(
                partial(mobile3, gate="fifth"),
                "The gate is 0.2 x + 0.5 between 0 and 1 (the old hard sigmoid of Keras), where "
                "it is x / 6 + 0.5.",
            ),
            "swish": Mistake(
                partial(mobile3, act=silu),
                "The activations are swish, where they are hard swish.",
            ),
            "eps_of_pytorch": Mistake(
                partial(mobile3, eps=1e-5),
                "All batch normalisations have an epsilon of 1e-5, where it is 1e-3.",
            ),
            "squeezed_with_hard_swish": Mistake(
                partial(mobile3, squeeze_act=_hard_swish),
                "The squeezed channels go through hard swish like the rest of the block, where "
                "it is ReLU.",
            ),
            "eps_and_padding_of_pytorch": Mistake(
                partial(mobile3, eps=1e-5, pad=(1, 1)),
                "Two causes: the batch normalisations have an epsilon of 1e-5, where it is 1e-3, "
                "and the strided convolution pads on each side, where it is below and on the "
                "right alone.",
                causes=2,
            ),
            "activation_at_the_end": Mistake(
                partial(mobile3, project_act=True),
                "Hard swish is applied behind the projection too, where it is linear.",
            ),
        },
    ),
    Case(
        "second_max_blur_pool",
        build_blur,
        "",
        blur,
        {
            "zero_padding": Mistake(
                partial(blur, mode="constant"),
                "The padding is zeros, where it is a reflection.",
            ),
            "edge_repeated": Mistake(
                partial(blur, mode="symmetric"),
                "The reflection repeats the border's pixel, where it does not.",
            ),
            "padding_sides_swapped": Mistake(
                partial(blur, pad=(2, 1)),
                "Two pixels are padded before and one behind, where it is one and two.",
            ),
            "three_taps": Mistake(
                partial(blur, taps=(1, 2, 1), pad=(1, 1)),
                "The filter is 1, 2, 1, where it is 1, 3, 3, 1.",
            ),
            "stride_before_the_blur": Mistake(
                partial(blur, stride_at="pool"),
                "The stride of 2 is at the max pooling, where it is at the blur.",
            ),
        },
    ),
    Case(
        "second_retrieval_head",
        build_retrieval,
        "",
        retrieval,
        {
            "power_of_three": Mistake(
                partial(retrieval, p=3.0),
                "The power is 3 (the start value), where the learned one is 2.6.",
            ),
            "absolute_values": Mistake(
                partial(retrieval, negative="absolute"),
                "Negative values count by their magnitude, where they are clamped to 1e-6.",
            ),
            "root_forgotten": Mistake(
                partial(retrieval, root="forgotten"),
                "The root of the mean power is forgotten.",
            ),
            "first_norm_forgotten": Mistake(
                partial(retrieval, first_norm=False),
                "The pooled vector is not brought to length 1 before the linear layer.",
            ),
            "norm_over_the_batch": Mistake(
                partial(retrieval, norm_over=0),
                "The result is divided by its length along the batch, where it is along the "
                "features.",
            ),
        },
    ),
]
