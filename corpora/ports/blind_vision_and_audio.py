"""Blocks of detectors, image generators, audio networks and recommenders, right and wrong.

Box decoding, pyramids, attention by windows and grids, sampling, residual blocks of diffusion,
audio front ends and blocks, and the interactions of recommenders. They were written from the
frameworks' references alone, without a look at the tool that is measured on them.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.retinanet import RetinaNetClassificationHead
from torchvision.models.maxvit import PartitionAttentionLayer
from torchvision.models.mobilenetv3 import InvertedResidual, InvertedResidualConfig
from torchvision.models.segmentation.deeplabv3 import ASPP
from transformers.models.convnextv2.configuration_convnextv2 import ConvNextV2Config
from transformers.models.convnextv2.modeling_convnextv2 import ConvNextV2Layer
from transformers.models.encodec.configuration_encodec import EncodecConfig
from transformers.models.encodec.modeling_encodec import EncodecResnetBlock
from transformers.models.seamless_m4t_v2.configuration_seamless_m4t_v2 import SeamlessM4Tv2Config
from transformers.models.seamless_m4t_v2.modeling_seamless_m4t_v2 import (
    SeamlessM4Tv2ConformerConvolutionModule,
)
from transformers.models.speecht5.modeling_speecht5 import HifiGanResidualBlock

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    batch_norm,
    conv,
    gelu,
    layer_norm,
    linear,
    relu,
    sigmoid,
    silu,
    softmax,
)
from corpora.ports.trained import inputs, train_torch, weights_of

F32 = np.float32


def _normalised(y: np.ndarray, eps: float) -> np.ndarray:
    return (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + F32(eps))


def _affine(y: np.ndarray, shape: Any, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    over = (1, -1) + (1,) * (len(shape) - 2)
    return y.reshape(shape) * w[name + ".weight"].reshape(over) + w[name + ".bias"].reshape(over)


def group_norm(
    x: np.ndarray, w: dict[str, np.ndarray], name: str, groups: int, eps: float = 1e-5
) -> np.ndarray:
    """Normalise contiguous groups of channels."""
    return _affine(_normalised(x.reshape(len(x), groups, -1), eps), x.shape, w, name)


def strided_group_norm(
    x: np.ndarray, w: dict[str, np.ndarray], name: str, groups: int
) -> np.ndarray:
    """Normalise groups of every n-th channel, as no framework does."""
    apart = x.reshape(len(x), -1, groups, x[0, 0].size).swapaxes(1, 2)
    y = _normalised(apart.reshape(len(x), groups, -1), 1e-5)
    y = y.reshape(apart.shape).swapaxes(1, 2)
    return _affine(y, x.shape, w, name)


def twice(x: np.ndarray) -> np.ndarray:
    """Repeat each pixel in both directions."""
    return x.repeat(2, 2).repeat(2, 3)


def twice_linear(x: np.ndarray) -> np.ndarray:
    """Double both sides by linear interpolation, with half-pixel centres."""
    for axis in (2, 3):
        n = x.shape[axis]
        at = np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1)
        low = np.floor(at).astype(int)
        part = (at - low).astype(F32).reshape([-1 if i == axis else 1 for i in range(4)])
        high = np.minimum(low + 1, n - 1)
        x = x.take(low, axis) * (1 - part) + x.take(high, axis) * part
    return x


def sample(image: np.ndarray, y: np.ndarray, x: np.ndarray, swapped: bool = False) -> np.ndarray:
    """Bilinear samples of (channels, height, width) at y and x, zero beyond the borders."""
    height, width = image.shape[1:]
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    dy, dx = (y - top).astype(F32), (x - left).astype(F32)
    if swapped:
        dy, dx = 1 - dy, 1 - dx
    total = np.zeros((image.shape[0], *y.shape), F32)
    for i, wy in ((0, 1 - dy), (1, dy)):
        for j, wx in ((0, 1 - dx), (1, dx)):
            row, column = top + i, left + j
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixel = image[:, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
            total += pixel * (wy * wx * inside)
    return total


class BoxDecoder(nn.Module):
    """Faster R-CNN's boxes from the head's deltas and fixed anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 4)
        self.coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        corner = torch.arange(10.0)[:, None] * torch.tensor([7.0, 3.0])
        size = torch.tensor([[16.0, 24.0], [32.0, 12.0]]).repeat(5, 1)
        anchors = torch.cat([corner, corner + size], 1)
        self.register_buffer("anchors", anchors, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Boxes (anchors, 4) as corners."""
        return self.coder.decode_single(self.head(x), self.anchors)


def build_boxes() -> tuple[Any, np.ndarray]:
    return train_torch(BoxDecoder(), 4101, gain=2.0), inputs(4102, 10, 12)


def boxes(
    model: Any,
    x: np.ndarray,
    weights: tuple[float, ...] = (10, 10, 5, 5),
    order: tuple[int, ...] = (0, 1, 2, 3),
    extra: float = 0,
    corners: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    d = linear(x, w["head.weight"], w["head.bias"])[:, list(order)]
    d = d / np.array(weights, F32)
    anchors = model.anchors.numpy()
    size = anchors[:, 2:] - anchors[:, :2] + F32(extra)
    centre = anchors[:, :2] + size / 2 + d[:, :2] * size
    size = np.exp(d[:, 2:]) * size
    if not corners:
        return np.concatenate([centre, size], 1)
    return np.concatenate([centre - size / 2, centre + size / 2], 1)


class RetinaScores(nn.Module):
    """RetinaNet's classification head on one map."""

    def __init__(self) -> None:
        super().__init__()
        self.head = RetinaNetClassificationHead(8, 3, 5, norm_layer=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (batch, height * width * anchors, classes)."""
        return self.head([x])


def build_retina() -> tuple[Any, np.ndarray]:
    return train_torch(RetinaScores(), 4103, gain=1.4), inputs(4104, 2, 8, 4, 6)


def retina(
    model: Any,
    x: np.ndarray,
    split: str = "anchors, classes",
    order: str = "rows",
    last_relu: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    for i in range(4):
        name = f"head.conv.{i}.0."
        x = conv(x, w[name + "weight"], w[name + "bias"], padding=1)
        x = relu(x) if i < 3 or last_relu else x
    x = conv(x, w["head.cls_logits.weight"], w["head.cls_logits.bias"], padding=1)
    if split == "classes, anchors":
        x = x.reshape(2, 5, 3, 4, 6).transpose(0, 3, 4, 2, 1)
    elif order == "columns":
        x = x.reshape(2, 3, 5, 4, 6).transpose(0, 4, 3, 1, 2)
    elif order == "anchors":
        x = x.reshape(2, 3, 5, 4, 6).transpose(0, 1, 3, 4, 2)
    else:
        x = x.reshape(2, 3, 5, 4, 6).transpose(0, 3, 4, 1, 2)
    return x.reshape(2, -1, 5)


class Pyramid(nn.Module):
    """The finest map of torchvision's feature pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.fpn = torchvision.ops.FeaturePyramidNetwork([6, 10], 8)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """The map of the fine level."""
        return self.fpn({"fine": fine, "coarse": coarse})["fine"]


def build_pyramid() -> tuple[Any, tuple[np.ndarray, ...]]:
    x = inputs(4106, 2, 6, 7, 7), inputs(4107, 2, 10, 3, 3)
    return train_torch(Pyramid(), 4105), x


def pyramid(
    model: Any,
    x: Any,
    rows: str = "floor",
    smoothed: bool = False,
    output: int = 0,
    merge: str = "sum",
) -> np.ndarray:
    w = weights_of(model)
    fine, coarse = x
    fine = conv(fine, w["fpn.inner_blocks.0.0.weight"], w["fpn.inner_blocks.0.0.bias"])
    coarse = conv(coarse, w["fpn.inner_blocks.1.0.weight"], w["fpn.inner_blocks.1.0.bias"])
    if smoothed:
        name = "fpn.layer_blocks.1.0."
        coarse = conv(coarse, w[name + "weight"], w[name + "bias"], padding=1)
    at = np.arange(7) * 3 // 7
    if rows == "halves":
        at = np.minimum(np.arange(7) // 2, 2)
    elif rows == "nearest centre":
        at = np.floor((np.arange(7) + 0.5) * 3 / 7).astype(int)
    up = coarse[:, :, at][:, :, :, at]
    y = (fine + up) / 2 if merge == "mean" else fine + up
    name = f"fpn.layer_blocks.{output}.0."
    return conv(y.astype(F32), w[name + "weight"], w[name + "bias"], padding=1)


class YoloDecoder(nn.Module):
    """YOLOv5's boxes from a map."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Conv2d(8, 3 * 7, 1)
        self.stride = 16.0
        anchors = torch.tensor([[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]])
        self.register_buffer("anchors", anchors, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Boxes (batch, anchors * rows * columns, 7): centre, size, objectness, two classes."""
        n, _, h, w = x.shape
        y = self.m(x).view(n, 3, 7, h, w).permute(0, 1, 3, 4, 2).sigmoid()
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack([columns, rows], -1).to(y.dtype) - 0.5
        centre = (y[..., :2] * 2 + grid) * self.stride
        size = (y[..., 2:4] * 2) ** 2 * self.anchors.view(1, 3, 1, 1, 2)
        return torch.cat([centre, size, y[..., 4:]], -1).view(n, -1, 7)


def build_yolo() -> tuple[Any, np.ndarray]:
    return train_torch(YoloDecoder(), 4108, gain=1.5), inputs(4109, 2, 8, 3, 4)


def yolo(
    model: Any,
    x: np.ndarray,
    grid: str = "columns, rows",
    half: float = 0.5,
    size: str = "square",
    anchors: str = "kept",
) -> np.ndarray:
    w = weights_of(model)
    y = conv(x, w["m.weight"], w["m.bias"]).reshape(2, 3, 7, 3, 4).transpose(0, 1, 3, 4, 2)
    raw, y = y, sigmoid(y)
    rows, columns = np.meshgrid(np.arange(3), np.arange(4), indexing="ij")
    pair = [rows, columns] if grid == "rows, columns" else [columns, rows]
    centre = (y[..., :2] * 2 + np.stack(pair, -1).astype(F32) - F32(half)) * 16
    boxes_of = model.anchors.numpy()
    boxes_of = boxes_of[::-1] if anchors == "reversed" else boxes_of
    factor = np.exp(raw[..., 2:4]) if size == "exp" else (y[..., 2:4] * 2) ** 2
    wide = factor * boxes_of.reshape(1, 3, 1, 1, 2)
    return np.concatenate([centre, wide, y[..., 4:]], -1).reshape(2, -1, 7).astype(F32)


class DistributionBoxes(nn.Module):
    """YOLOv8's distribution of distances: four sides of eight bins."""

    def __init__(self) -> None:
        super().__init__()
        self.cv = nn.Conv2d(8, 32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Corners (batch, 4, positions), in cells."""
        n, _, h, w = x.shape
        y = self.cv(x).view(n, 4, 8, h * w).softmax(2)
        y = (y * torch.arange(8.0).view(1, 1, 8, 1)).sum(2)
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        centre = torch.stack([columns, rows]).view(1, 2, -1).to(y.dtype) + 0.5
        return torch.cat([centre - y[:, :2], centre + y[:, 2:]], 1)


def build_distribution() -> tuple[Any, np.ndarray]:
    return train_torch(DistributionBoxes(), 4110, gain=2.0), inputs(4111, 2, 8, 3, 5)


def distribution(
    model: Any,
    x: np.ndarray,
    first_bin: int = 0,
    split: str = "sides, bins",
    half: float = 0.5,
    most_likely: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    y = conv(x, w["cv.weight"], w["cv.bias"])
    if split == "bins, sides":
        y = y.reshape(2, 8, 4, 15).swapaxes(1, 2)
    y = softmax(y.reshape(2, 4, 8, 15), 2)
    if most_likely:
        y = y.argmax(2).astype(F32)
    else:
        y = (y * (np.arange(8, dtype=F32) + first_bin)[:, None]).sum(2)
    rows, columns = np.meshgrid(np.arange(3), np.arange(5), indexing="ij")
    centre = np.stack([columns, rows]).reshape(1, 2, -1).astype(F32) + F32(half)
    return np.concatenate([centre - y[:, :2], centre + y[:, 2:]], 1)


def build_convnextv2() -> tuple[Any, np.ndarray]:
    layer = ConvNextV2Layer(ConvNextV2Config(), 10)
    return train_torch(layer, 4112, gain=1.6), inputs(4113, 2, 10, 8, 8)


def convnextv2(
    model: Any,
    x: np.ndarray,
    norm_over: tuple[int, ...] = (1, 2),
    mean_over: tuple[int, ...] = (3,),
    inner_residual: bool = True,
    power: str = "norm",
    before_gelu: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    y = conv(x, w["dwconv.weight"], w["dwconv.bias"], padding=3, groups=10)
    y = y.transpose(0, 2, 3, 1)
    y = layer_norm(y, w["layernorm.weight"], w["layernorm.bias"], 1e-6)
    y = linear(y, w["pwconv1.weight"], w["pwconv1.bias"])
    y = y if before_gelu else gelu(y)
    square = (y * y).sum(norm_over, keepdims=True)
    response = square if power == "square" else np.sqrt(square)
    response = response / (response.mean(mean_over, keepdims=True) + F32(1e-6))
    z = w["grn.weight"] * (y * response) + w["grn.bias"]
    z = z + y if inner_residual else z
    z = gelu(z) if before_gelu else z
    z = linear(z, w["pwconv2.weight"], w["pwconv2.bias"]).transpose(0, 3, 1, 2)
    return x + z


def build_maxvit_grid() -> tuple[Any, np.ndarray]:
    layer = PartitionAttentionLayer(
        12, 6, 4, "grid", (8, 8), 2, nn.GELU, nn.LayerNorm, 0.0, 0.0, 0.0
    )
    return train_torch(layer, 4114, gain=2.0), inputs(4115, 2, 12, 8, 8)


def build_maxvit_window() -> tuple[Any, np.ndarray]:
    layer = PartitionAttentionLayer(
        12, 4, 4, "window", (8, 8), 2, nn.GELU, nn.LayerNorm, 0.0, 0.0, 0.0
    )
    return train_torch(layer, 4116, gain=2.0), inputs(4117, 2, 12, 8, 8)


def maxvit(
    model: Any,
    x: np.ndarray,
    kind: str,
    heads: int,
    scale_of: int = 12,
    heads_last: bool = False,
    bias: str = "kept",
) -> np.ndarray:
    w = weights_of(model)
    if kind == "grid":
        y = x.reshape(2, 12, 4, 2, 4, 2).transpose(0, 3, 5, 2, 4, 1)
    else:
        y = x.reshape(2, 12, 2, 4, 2, 4).transpose(0, 2, 4, 3, 5, 1)
    y = y.reshape(2, 4, 16, 12)
    z = layer_norm(y, w["attn_layer.0.weight"], w["attn_layer.0.bias"])
    z = linear(z, w["attn_layer.1.to_qkv.weight"], w["attn_layer.1.to_qkv.bias"])
    size = 12 // heads

    def split(part: np.ndarray) -> np.ndarray:
        if heads_last:
            return part.reshape(2, 4, 16, size, heads).transpose(0, 1, 4, 2, 3)
        return part.reshape(2, 4, 16, heads, size).transpose(0, 1, 3, 2, 4)

    q, k, v = (split(part) for part in np.split(z, 3, -1))
    scores = q @ k.swapaxes(-1, -2) * F32(scale_of**-0.5)
    at = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(16, 2)
    apart = at[:, None] - at[None] + 3
    index = apart[..., 0] * 7 + apart[..., 1]
    table = w["attn_layer.1.relative_position_bias_table"]
    if bias == "mirrored":
        index = index.T
    if bias != "none":
        scores = scores + table[index].transpose(2, 0, 1)
    z = (softmax(scores.astype(F32)) @ v).transpose(0, 1, 3, 2, 4).reshape(2, 4, 16, 12)
    y = y + linear(z, w["attn_layer.1.merge.weight"], w["attn_layer.1.merge.bias"])
    z = layer_norm(y, w["mlp_layer.0.weight"], w["mlp_layer.0.bias"])
    z = gelu(linear(z, w["mlp_layer.1.weight"], w["mlp_layer.1.bias"]))
    y = y + linear(z, w["mlp_layer.3.weight"], w["mlp_layer.3.bias"])
    if kind == "grid":
        return y.reshape(2, 2, 2, 4, 4, 12).transpose(0, 5, 3, 1, 4, 2).reshape(x.shape)
    return y.reshape(2, 2, 2, 4, 4, 12).transpose(0, 5, 1, 3, 2, 4).reshape(x.shape)


class Warp(nn.Module):
    """Samples of the input where a convolution says: a flow in pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input, moved."""
        h, w = x.shape[2:]
        flow = self.flow(x)
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        at_x = (columns + flow[:, 0]) * 2 / (w - 1) - 1
        at_y = (rows + flow[:, 1]) * 2 / (h - 1) - 1
        grid = torch.stack([at_x, at_y], -1)
        return functional.grid_sample(x, grid, padding_mode="zeros", align_corners=True)


def build_warp() -> tuple[Any, np.ndarray]:
    return train_torch(Warp(), 4118), inputs(4119, 2, 4, 6, 8)


def warp(
    model: Any,
    x: np.ndarray,
    flow_order: tuple[int, int] = (0, 1),
    aligned: bool = True,
    border: str = "zeros",
    corner: bool = False,
    sign: int = 1,
) -> np.ndarray:
    w = weights_of(model)
    flow = sign * conv(x, w["flow.weight"], w["flow.bias"], padding=1)
    rows, columns = np.meshgrid(np.arange(6.0), np.arange(8.0), indexing="ij")
    across = (columns + flow[:, flow_order[0]]).astype(F32)
    down = (rows + flow[:, flow_order[1]]).astype(F32)
    if not aligned:
        across, down = across * 8 / 7 - 0.5, down * 6 / 5 - 0.5
    if border == "clamped":
        across, down = np.clip(across, 0, 7), np.clip(down, 0, 5)
    return np.stack([sample(x[i], down[i], across[i], corner) for i in range(len(x))])


class Deformable(nn.Module):
    """A deformable convolution with a mask (DCNv2)."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Conv2d(6, 18, 3, padding=1)
        self.mask = nn.Conv2d(6, 9, 3, padding=1)
        self.dcn = torchvision.ops.DeformConv2d(6, 5, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve x at the offset positions."""
        return self.dcn(x, self.offset(x), self.mask(x).sigmoid())


def build_deformable() -> tuple[Any, np.ndarray]:
    return train_torch(Deformable(), 4120), inputs(4121, 1, 6, 6, 7)


def deformable(
    model: Any,
    x: np.ndarray,
    order: str = "y, x by position",
    gate: str = "sigmoid",
    taps: str = "rows",
) -> np.ndarray:
    w = weights_of(model)
    offset = conv(x, w["offset.weight"], w["offset.bias"], padding=1)[0]
    mask = conv(x, w["mask.weight"], w["mask.bias"], padding=1)[0]
    if gate == "sigmoid":
        mask = sigmoid(mask)
    elif gate == "twice sigmoid":
        mask = 2 * sigmoid(mask)
    elif gate == "none":
        mask = np.ones_like(mask)
    rows, columns = np.meshgrid(np.arange(6.0), np.arange(7.0), indexing="ij")
    total = np.zeros((5, 6, 7), F32)
    for tap in range(9):
        i, j = divmod(tap, 3)
        place = j * 3 + i if taps == "columns" else tap
        if order == "all y, then all x":
            dy, dx = offset[place], offset[9 + place]
        elif order == "x, y by position":
            dx, dy = offset[2 * place], offset[2 * place + 1]
        else:
            dy, dx = offset[2 * place], offset[2 * place + 1]
        at_y, at_x = (rows + i - 1 + dy).astype(F32), (columns + j - 1 + dx).astype(F32)
        pixel = sample(x[0], at_y, at_x) * mask[place]
        total += np.einsum("oc,chw->ohw", w["dcn.weight"][:, :, i, j], pixel)
    return (total + w["dcn.bias"][:, None, None])[None]


class RegionAlign(nn.Module):
    """RoIAlign of a convolution's map."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 5, 1)
        self.align = torchvision.ops.RoIAlign((3, 4), 0.25, 2, aligned=True)

    def forward(self, x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """Regions (rois, channels, 3, 4)."""
        return self.align(self.body(x), rois)


def build_regions() -> tuple[Any, tuple[np.ndarray, ...]]:
    rois = np.array([[0, 6, 4, 30, 22], [1, 9, 13, 39, 33], [1, 3, 5, 18, 41]], F32)
    return train_torch(RegionAlign(), 4122), (inputs(4123, 2, 3, 12, 12), rois)


def regions(
    model: Any,
    x: Any,
    half: float = 0.5,
    order: str = "x, y",
    samples: int = 2,
    reduce: str = "mean",
) -> np.ndarray:
    w = weights_of(model)
    image, rois = x
    image = conv(image, w["body.weight"], w["body.bias"])
    out = np.zeros((3, 5, 3, 4), F32)
    for r, (number, *box) in enumerate(rois):
        if order == "y, x":
            top, left, bottom, right = np.array(box) / 4 - half
        else:
            left, top, right, bottom = np.array(box) / 4 - half
        part = (np.arange(samples) + 0.5) / samples
        rows = top + (np.arange(3)[:, None] + part) * (bottom - top) / 3
        columns = left + (np.arange(4)[:, None] + part) * (right - left) / 4
        at_y, at_x = np.meshgrid(rows.ravel(), columns.ravel(), indexing="ij")
        got = sample(image[int(number)], at_y, at_x).reshape(5, 3, samples, 4, samples)
        out[r] = got.max((2, 4)) if reduce == "max" else got.mean((2, 4))
    return out


class TimeResBlock(nn.Module):
    """The residual block of diffusion models, conditioned on a time embedding."""

    def __init__(self, channels: int, out: int, time: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, out)
        self.norm2 = nn.GroupNorm(groups, out, eps=1e-6)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, out, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Add the block's change to x."""
        y = self.conv1(functional.silu(self.norm1(x)))
        y = y + self.time_emb_proj(functional.silu(time))[:, :, None, None]
        y = self.conv2(functional.silu(self.norm2(y)))
        return self.conv_shortcut(x) + y


def build_time_block() -> tuple[Any, tuple[np.ndarray, ...]]:
    x = inputs(4125, 2, 8, 6, 6), inputs(4126, 2, 10)
    return train_torch(TimeResBlock(8, 12, 10, 4), 4124, gain=1.5), x


def time_block(
    model: Any,
    x: Any,
    time_at: str = "before norm2",
    silu_time: bool = True,
    norm: Any = group_norm,
    short_of: str = "input",
    first_silu: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    image, time = x
    z = norm(image, w, "norm1", 4)
    z = silu(z) if first_silu else z
    short = conv(
        z if short_of == "norm" else image, w["conv_shortcut.weight"], w["conv_shortcut.bias"]
    )
    y = conv(z, w["conv1.weight"], w["conv1.bias"], padding=1)
    time = silu(time) if silu_time else time
    time = linear(time, w["time_emb_proj.weight"], w["time_emb_proj.bias"])[:, :, None, None]
    if time_at == "before norm2":
        y = y + time
    y = norm(y, w, "norm2", 4)
    if time_at == "after norm2":
        y = y + time
    y = conv(silu(y), w["conv2.weight"], w["conv2.bias"], padding=1)
    if time_at == "at the end":
        y = y + time
    return short + y


class TimeEmbedding(nn.Module):
    """Sinusoids of a time step, then an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(16, 24)
        self.linear_2 = nn.Linear(24, 24)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, 24)."""
        rate = torch.exp(-np.log(10000.0) * torch.arange(8.0) / 8)
        angle = steps[:, None] * rate
        y = torch.cat([angle.cos(), angle.sin()], -1)
        return self.linear_2(functional.silu(self.linear_1(y)))


def build_time_embedding() -> tuple[Any, np.ndarray]:
    steps = np.array([0, 3, 17, 120, 481], F32)
    return train_torch(TimeEmbedding(), 4127, gain=1.5), steps


def time_embedding(
    model: Any,
    x: np.ndarray,
    order: str = "cos, sin",
    divisor: int = 8,
    last_silu: bool = False,
    scale: float = 1,
) -> np.ndarray:
    w = weights_of(model)
    rate = np.exp(-np.log(10000.0) * np.arange(8) / divisor).astype(F32)
    angle = x[:, None] * F32(scale) * rate
    if order == "sin, cos":
        y = np.concatenate([np.sin(angle), np.cos(angle)], -1)
    elif order == "interleaved":
        y = np.stack([np.cos(angle), np.sin(angle)], -1).reshape(len(x), 16)
    else:
        y = np.concatenate([np.cos(angle), np.sin(angle)], -1)
    y = silu(linear(y, w["linear_1.weight"], w["linear_1.bias"]))
    y = linear(y, w["linear_2.weight"], w["linear_2.bias"])
    return silu(y) if last_silu else y


class UpBlock(nn.Module):
    """U-Net's step up: enlarge, smooth, join the skip, convolve."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.smooth = nn.Conv2d(8, 6, 3, padding=1)
        self.norm = nn.GroupNorm(3, 12)
        self.join = nn.Conv2d(12, 5, 3, padding=1)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """The joined map."""
        x = self.smooth(self.up(x))
        top, left = (skip.shape[2] - x.shape[2]) // 2, (skip.shape[3] - x.shape[3]) // 2
        skip = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
        return self.join(functional.silu(self.norm(torch.cat([skip, x], 1))))


def build_up() -> tuple[Any, tuple[np.ndarray, ...]]:
    x = inputs(4129, 2, 8, 4, 4), inputs(4130, 2, 6, 11, 12)
    return train_torch(UpBlock(), 4128, gain=1.5), x


def up_block(
    model: Any,
    x: Any,
    enlarge: Any = twice,
    smooth_first: bool = False,
    skip_first: bool = True,
    crop: tuple[int, int] = (1, 2),
    norm: Any = group_norm,
) -> np.ndarray:
    w = weights_of(model)
    y, skip = x
    if smooth_first:
        y = enlarge(conv(y, w["smooth.weight"], w["smooth.bias"], padding=1))
    else:
        y = conv(enlarge(y), w["smooth.weight"], w["smooth.bias"], padding=1)
    skip = skip[:, :, crop[0] : crop[0] + 8, crop[1] : crop[1] + 8]
    y = np.concatenate([skip, y] if skip_first else [y, skip], 1)
    y = silu(norm(y, w, "norm", 3))
    return conv(y, w["join.weight"], w["join.bias"], padding=1)


class EfficientAttention(nn.Module):
    """ECA: a gate of each channel from its neighbours' means."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weigh the channels."""
        y = self.conv(x.mean((2, 3))[:, None])[:, 0]
        return x * y.sigmoid()[:, :, None, None]


def build_eca() -> tuple[Any, np.ndarray]:
    return train_torch(EfficientAttention(), 4131, gain=3.0), inputs(4132, 2, 9, 5, 5, shift=0.4)


def eca(
    model: Any, x: np.ndarray, edges: str = "zeros", flipped: bool = False, pool: str = "mean"
) -> np.ndarray:
    kernel = weights_of(model)["conv.weight"][0, 0]
    kernel = kernel[::-1] if flipped else kernel
    mean = x.max((2, 3)) if pool == "max" else x.mean((2, 3))
    modes = {"zeros": "constant", "repeated": "edge", "wrapped": "wrap"}
    wide = np.pad(mean, ((0, 0), (1, 1)), mode=modes[edges])
    gate = sum(kernel[i] * wide[:, i : i + 9] for i in range(3))
    return x * sigmoid(gate)[:, :, None, None]


class Cbam(nn.Module):
    """CBAM: gates of the channels, then of the positions."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 12))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weigh channels and positions."""
        gate = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        x = x * gate.sigmoid()[:, :, None, None]
        maps = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * self.spatial(maps).sigmoid()


def build_cbam() -> tuple[Any, np.ndarray]:
    return train_torch(Cbam(), 4133, gain=2.0), inputs(4134, 2, 12, 7, 7)


def cbam(
    model: Any,
    x: np.ndarray,
    maps: str = "max, mean",
    gates: str = "of the sum",
    pooled_of: str = "gated",
) -> np.ndarray:
    w = weights_of(model)

    def mlp(s: np.ndarray) -> np.ndarray:
        s = relu(linear(s, w["mlp.0.weight"], w["mlp.0.bias"]))
        return linear(s, w["mlp.2.weight"], w["mlp.2.bias"])

    mean, largest = x.mean((2, 3)), x.max((2, 3))
    if gates == "of the sum":
        gate = sigmoid(mlp(mean) + mlp(largest))
    elif gates == "summed before":
        gate = sigmoid(mlp(mean + largest))
    else:
        gate = sigmoid(mlp(mean)) + sigmoid(mlp(largest))
    y = x * gate[:, :, None, None]
    seen = x if pooled_of == "input" else y
    both = [seen.max(1, keepdims=True), seen.mean(1, keepdims=True)]
    both = both[::-1] if maps == "mean, max" else both
    return y * sigmoid(conv(np.concatenate(both, 1), w["spatial.weight"], padding=3))


def build_aspp() -> tuple[Any, np.ndarray]:
    return train_torch(ASPP(8, [2, 3], 6), 4135, gain=1.6), inputs(4136, 2, 8, 9, 9, shift=0.3)


def aspp(
    model: Any,
    x: np.ndarray,
    rates: tuple[int, ...] = (2, 3),
    pooled: str = "last",
    pool: str = "mean",
) -> np.ndarray:
    w = weights_of(model)
    parts = [relu(batch_norm(conv(x, w["convs.0.0.weight"]), w, "convs.0.1"))]
    for i, rate in enumerate(rates, 1):
        y = conv(x, w[f"convs.{i}.0.weight"], padding=rate, dilation=rate)
        parts.append(relu(batch_norm(y, w, f"convs.{i}.1")))
    if pool == "max":
        y = x.max((2, 3), keepdims=True)
    else:
        y = x.mean((2, 3), keepdims=True)
    y = relu(batch_norm(conv(y, w["convs.3.1.weight"]), w, "convs.3.2"))
    y = np.broadcast_to(y, parts[0].shape)
    parts = [y, *parts] if pooled == "first" else [*parts, y]
    y = conv(np.concatenate(parts, 1), w["project.0.weight"])
    return relu(batch_norm(y, w, "project.1"))


class Spp(nn.Module):
    """YOLOv5's SPPF: pooled three times in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.cv1 = nn.Conv2d(8, 4, 1)
        self.cv2 = nn.Conv2d(16, 6, 1)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The joined pools."""
        x = functional.silu(self.cv1(x))
        a = self.m(x)
        b = self.m(a)
        return functional.silu(self.cv2(torch.cat([x, a, b, self.m(b)], 1)))


def build_spp() -> tuple[Any, np.ndarray]:
    model = train_torch(Spp(), 4137, gain=1.5)
    with torch.no_grad():
        model.cv1.bias.copy_(torch.tensor([-1.4, -0.9, -1.9, 0.2]))
    return model, inputs(4138, 2, 8, 9, 9, scale=0.3)


def spp(
    model: Any, x: np.ndarray, edge: float = -np.inf, chained: bool = True, backwards: bool = False
) -> np.ndarray:
    w = weights_of(model)

    def pool(a: np.ndarray) -> np.ndarray:
        wide = np.pad(a, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=edge)
        return np.lib.stride_tricks.sliding_window_view(wide, (5, 5), (2, 3)).max((4, 5))

    x = silu(conv(x, w["cv1.weight"], w["cv1.bias"]))
    a = pool(x)
    b = pool(a) if chained else pool(x)
    parts = [x, a, b, pool(b) if chained else pool(x)]
    parts = parts[::-1] if backwards else parts
    return silu(conv(np.concatenate(parts, 1), w["cv2.weight"], w["cv2.bias"]))


class Focus(nn.Module):
    """YOLOv5's Focus: four pixels to channels, then a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(12, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve both sides."""
        parts = [x[..., i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
        return functional.silu(self.conv(torch.cat(parts, 1)))


def build_focus() -> tuple[Any, np.ndarray]:
    return train_torch(Focus(), 4139, gain=1.5), inputs(4140, 2, 3, 8, 10)


def focus(model: Any, x: np.ndarray, order: str = "columns last") -> np.ndarray:
    w = weights_of(model)
    pairs = [(0, 0), (1, 0), (0, 1), (1, 1)]
    if order == "rows last":
        pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    parts = [x[..., i::2, j::2] for i, j in pairs]
    y = np.concatenate(parts, 1)
    if order == "channel by channel":
        y = np.stack(parts, 2).reshape(y.shape)
    return silu(conv(y, w["conv.weight"], w["conv.bias"], padding=1))


def build_causal_conformer() -> tuple[Any, np.ndarray]:
    config = SeamlessM4Tv2Config(hidden_size=12, conv_depthwise_kernel_size=5)
    module = SeamlessM4Tv2ConformerConvolutionModule(config)
    return train_torch(module, 4201, gain=1.6), inputs(4202, 2, 9, 12)


def causal_conformer(
    model: Any,
    x: np.ndarray,
    left: int = 4,
    gate: str = "second half",
    norm_over: str = "channels",
    flipped: bool = False,
    act: Any = silu,
) -> np.ndarray:
    w = weights_of(model)
    y = layer_norm(x, w["layer_norm.weight"], w["layer_norm.bias"])
    y = conv(y.swapaxes(1, 2), w["pointwise_conv1.weight"])
    a, b = np.split(y, 2, 1)
    if gate == "alternate":
        a, b = y[:, 0::2], y[:, 1::2]
    y = b * sigmoid(a) if gate == "first half" else a * sigmoid(b)
    y = np.pad(y, ((0, 0), (0, 0), (left, 4 - left)))
    kernel = w["depthwise_conv.weight"]
    y = conv(y, kernel[..., ::-1] if flipped else kernel, groups=12)
    scale, shift = w["depthwise_layer_norm.weight"], w["depthwise_layer_norm.bias"]
    if norm_over == "time":
        y = (y - y.mean(2, keepdims=True)) / np.sqrt(y.var(2, keepdims=True) + F32(1e-5))
        y = y * scale[:, None] + shift[:, None]
    else:
        y = layer_norm(y.swapaxes(1, 2), scale, shift).swapaxes(1, 2)
    return conv(act(y), w["pointwise_conv2.weight"]).swapaxes(1, 2)


class DemucsPair(nn.Module):
    """One encoder and one decoder of Demucs around nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(2, 6, 8, 4), nn.ReLU(), nn.Conv1d(6, 12, 1), nn.GLU(dim=1)
        )
        self.decoder = nn.Sequential(
            nn.Conv1d(6, 12, 3), nn.GLU(dim=1), nn.ConvTranspose1d(6, 2, 8, 4)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode, add the cropped skip, decode."""
        skip = self.encoder(x)
        y = functional.pad(skip.flip(1), (2, 1))
        apart = y.shape[-1] - skip.shape[-1]
        y = y[..., apart // 2 : apart // 2 + skip.shape[-1]]
        return self.decoder(y + skip)


def build_demucs() -> tuple[Any, np.ndarray]:
    return train_torch(DemucsPair(), 4203, gain=1.5), inputs(4204, 2, 2, 48)


def demucs(
    model: Any,
    x: np.ndarray,
    gate: str = "second half",
    start: int = 1,
    flipped: bool = False,
    first_relu: bool = True,
) -> np.ndarray:
    w = weights_of(model)

    def glu(y: np.ndarray) -> np.ndarray:
        a, b = np.split(y, 2, 1)
        return b * sigmoid(a) if gate == "first half" else a * sigmoid(b)

    y = conv(x, w["encoder.0.weight"], w["encoder.0.bias"], stride=4)
    y = relu(y) if first_relu else y
    skip = glu(conv(y, w["encoder.2.weight"], w["encoder.2.bias"]))
    y = np.pad(skip[:, ::-1], ((0, 0), (0, 0), (2, 1)))[..., start : start + skip.shape[-1]]
    y = glu(conv(y + skip, w["decoder.0.weight"], w["decoder.0.bias"]))
    kernel = w["decoder.2.weight"]
    kernel = kernel[..., ::-1] if flipped else kernel
    steps = y.shape[-1]
    out = np.zeros((len(x), 2, 4 * (steps - 1) + 8), F32)
    for t in range(steps):
        out[..., 4 * t : 4 * t + 8] += np.einsum("bi,iok->bok", y[..., t], kernel)
    return out + w["decoder.2.bias"][:, None]


class MelFront(nn.Module):
    """Logarithmic mel features of a wave, then a linear layer, as Whisper's front end."""

    def __init__(self) -> None:
        super().__init__()
        edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 8) / 2595) - 1)
        bins = np.linspace(0, 8000, 17)
        up = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
        down = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
        mel = np.maximum(0, np.minimum(up, down)).astype(F32)
        self.register_buffer("mel", torch.from_numpy(mel), persistent=False)
        self.register_buffer("window", torch.hann_window(32), persistent=False)
        self.out = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, frames, 5)."""
        s = torch.stft(x, 32, 16, window=self.window, center=True, return_complex=True)
        power = s[..., :-1].abs() ** 2
        y = torch.clamp(self.mel @ power, min=1e-6).log10()
        return self.out(((y + 4) / 4).transpose(1, 2))


def build_mel() -> tuple[Any, np.ndarray]:
    return train_torch(MelFront(), 4205), inputs(4206, 2, 160, scale=0.3)


def mel_front(
    model: Any,
    x: np.ndarray,
    window: str = "periodic",
    edge: str = "reflect",
    power: int = 2,
    drop: str = "last",
    log: Any = np.log10,
) -> np.ndarray:
    w = weights_of(model)
    wide = np.pad(x, ((0, 0), (16, 16)), mode=edge)
    shape = np.hanning(33)[:32] if window == "periodic" else np.hanning(32)
    frames = np.lib.stride_tricks.sliding_window_view(wide, 32, 1)[:, ::16]
    frames = frames[:, :-1] if drop == "last" else frames[:, 1:]
    s = np.abs(np.fft.rfft(frames * shape.astype(F32), axis=-1)).astype(F32) ** power
    y = log(np.maximum(s @ model.mel.numpy().T, F32(1e-6)))
    return linear(((y + 4) / 4).astype(F32), w["out.weight"], w["out.bias"])


class SincConv(nn.Module):
    """SincNet's first layer: band passes with learned edges, in hertz."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Parameter(torch.tensor([30.0, 300.0, 900.0, 1600.0, 2500.0]))
        self.band = nn.Parameter(torch.tensor([100.0, 250.0, 400.0, -500.0, 700.0]))
        n = (torch.arange(31.0) - 15) / 8000
        self.register_buffer("n", n, persistent=False)
        window = 0.54 - 0.46 * torch.cos(2 * torch.pi * torch.arange(31.0) / 30)
        self.register_buffer("window", window, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Filter (batch, 1, time) into five bands."""
        low = 50 + self.low.abs()
        high = torch.clamp(low + 50 + self.band.abs(), 50, 4000)
        wide = 2 * high[:, None] * torch.sinc(2 * high[:, None] * self.n)
        narrow = 2 * low[:, None] * torch.sinc(2 * low[:, None] * self.n)
        kernel = (wide - narrow) * self.window / (2 * (high - low)[:, None])
        return functional.conv1d(x, kernel[:, None])


def build_sinc() -> tuple[Any, np.ndarray]:
    return SincConv().eval(), inputs(4207, 2, 1, 90)


def sinc_conv(
    model: Any,
    x: np.ndarray,
    lowest: float = 50,
    absolute: bool = True,
    window: str = "Hamming",
    over_band: bool = True,
    pi_twice: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    band = np.abs(w["band"]) if absolute else w["band"]
    low = lowest + np.abs(w["low"])
    high = np.clip(low + 50 + band, 50, 4000)
    n = (np.arange(31) - 15) / 8000 * (np.pi if pi_twice else 1)

    def passes(f: np.ndarray) -> np.ndarray:
        return 2 * f[:, None] * np.sinc(2 * f[:, None] * n)

    kernel = (passes(high) - passes(low)) * (np.hanning(31) if window == "Hann" else np.hamming(31))
    if over_band:
        kernel = kernel / (2 * (high - low)[:, None])
    return conv(x, kernel[:, None].astype(F32))


class Joint(nn.Module):
    """The joint network of an RNN transducer."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Linear(8, 10)
        self.pred = nn.Linear(6, 10, bias=False)
        self.out = nn.Linear(10, 7)

    def forward(self, encoded: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (batch, time, labels + 1, vocabulary)."""
        y = self.enc(encoded)[:, :, None] + self.pred(predicted)[:, None]
        return self.out(y.tanh()).log_softmax(-1)


def build_joint() -> tuple[Any, tuple[np.ndarray, ...]]:
    x = inputs(4209, 2, 5, 8), inputs(4210, 2, 5, 6)
    return train_torch(Joint(), 4208, gain=1.5), x


def joint(
    model: Any,
    x: Any,
    act: Any = np.tanh,
    swapped: bool = False,
    over: int = -1,
    late: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    a = linear(x[0], w["enc.weight"], w["enc.bias"])
    b = linear(x[1], w["pred.weight"])
    if late:
        b = np.pad(b, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    y = a[:, None] + b[:, :, None] if swapped else a[:, :, None] + b[:, None]
    y = linear(act(y), w["out.weight"], w["out.bias"])
    y = y - y.max(over, keepdims=True)
    return y - np.log(np.exp(y).sum(over, keepdims=True))


class WaveBlock(nn.Module):
    """WaveNet's gated residual block: dilated and causal."""

    def __init__(self) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(6, 12, 2, dilation=4)
        self.condition = nn.Conv1d(3, 12, 1, bias=False)
        self.mix = nn.Conv1d(6, 6, 1)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Add the block's change, scaled by the root of a half."""
        y = self.dilated(functional.pad(x, (4, 0))) + self.condition(c)
        a, b = y.chunk(2, 1)
        return (x + self.mix(a.tanh() * b.sigmoid())) * 0.5**0.5


def build_wave() -> tuple[Any, tuple[np.ndarray, ...]]:
    x = inputs(4212, 2, 6, 14), inputs(4213, 2, 3, 14)
    return train_torch(WaveBlock(), 4211, gain=1.5), x


def wave(
    model: Any,
    x: Any,
    left: int = 4,
    gate: str = "tanh, sigmoid",
    scale: float = 0.5**0.5,
    condition: str = "both halves",
    dilation: int = 4,
) -> np.ndarray:
    w = weights_of(model)
    image, c = x
    wide = np.pad(image, ((0, 0), (0, 0), (left, dilation - left)))
    y = conv(wide, w["dilated.weight"], w["dilated.bias"], dilation=dilation)
    extra = conv(c, w["condition.weight"])
    if condition == "first half":
        extra = extra * (np.arange(12) < 6)[:, None]
    a, b = np.split((y + extra).astype(F32), 2, 1)
    y = sigmoid(a) * np.tanh(b) if gate == "sigmoid, tanh" else np.tanh(a) * sigmoid(b)
    return (image + conv(y, w["mix.weight"], w["mix.bias"])) * F32(scale)


def build_hifigan() -> tuple[Any, np.ndarray]:
    block = HifiGanResidualBlock(6, 3, (1, 3, 5), 0.1)
    return train_torch(block, 4214, gain=1.2), inputs(4215, 2, 6, 20)


def hifigan(
    model: Any,
    x: np.ndarray,
    slope: float = 0.1,
    dilations: tuple[int, ...] = (1, 3, 5),
    second: str = "not dilated",
    residual: str = "each",
) -> np.ndarray:
    w = weights_of(model)

    def leaky(a: np.ndarray) -> np.ndarray:
        return np.where(a > 0, a, a * F32(slope))

    first = x
    for i, d in enumerate(dilations):
        kernel, bias = w[f"convs1.{i}.weight"], w[f"convs1.{i}.bias"]
        y = conv(leaky(x), kernel, bias, padding=d, dilation=d)
        e = d if second == "dilated" else 1
        kernel, bias = w[f"convs2.{i}.weight"], w[f"convs2.{i}.bias"]
        y = conv(leaky(y), kernel, bias, padding=e, dilation=e)
        x = y if residual == "last" else x + y
    return x + first if residual == "last" else x


class Statistics(nn.Module):
    """ECAPA's attentive statistics: weighed mean and deviation over time."""

    def __init__(self) -> None:
        super().__init__()
        self.tdnn = nn.Conv1d(8, 5, 1)
        self.conv = nn.Conv1d(5, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Means and deviations (batch, 16)."""
        a = self.conv(self.tdnn(x).tanh()).softmax(2)
        mean = (a * x).sum(2)
        spread = (a * (x - mean[..., None]) ** 2).sum(2)
        return torch.cat([mean, spread.clamp(1e-12).sqrt()], 1)


def build_statistics() -> tuple[Any, np.ndarray]:
    return train_torch(Statistics(), 4216, gain=1.5), inputs(4217, 2, 8, 12)


def statistics(
    model: Any,
    x: np.ndarray,
    over: int = 2,
    root: bool = True,
    about: str = "weighed mean",
    deviation_first: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    a = np.tanh(conv(x, w["tdnn.weight"], w["tdnn.bias"]))
    a = softmax(conv(a, w["conv.weight"], w["conv.bias"]), over)
    mean = (a * x).sum(2)
    centre = x.mean(2) if about == "plain mean" else mean
    spread = (a * (x - centre[..., None]) ** 2).sum(2)
    spread = np.sqrt(spread) if root else spread
    return np.concatenate([spread, mean] if deviation_first else [mean, spread], 1)


class Interaction(nn.Module):
    """DLRM: dot products of all pairs of features, after the dense ones."""

    def __init__(self) -> None:
        super().__init__()
        self.bottom = nn.Linear(5, 6)
        self.top = nn.Linear(16, 4)

    def forward(self, dense: torch.Tensor, sparse: torch.Tensor) -> torch.Tensor:
        """Scores (batch, 4)."""
        d = self.bottom(dense).relu()
        t = torch.cat([d[:, None], sparse], 1)
        z = t @ t.transpose(1, 2)
        i, j = torch.tril_indices(5, 5, -1)
        return self.top(torch.cat([d, z[:, i, j]], 1))


def build_interaction() -> tuple[Any, tuple[np.ndarray, ...]]:
    x = inputs(4219, 3, 5), inputs(4220, 3, 4, 6)
    return train_torch(Interaction(), 4218, gain=1.5), x


def interaction(
    model: Any, x: Any, pairs: str = "below", dense: str = "first", scaled: bool = False
) -> np.ndarray:
    w = weights_of(model)
    d = relu(linear(x[0], w["bottom.weight"], w["bottom.bias"]))
    t = np.concatenate([x[1], d[:, None]] if dense == "last feature" else [d[:, None], x[1]], 1)
    z = t @ t.swapaxes(1, 2)
    z = z / F32(np.sqrt(6)) if scaled else z
    i, j = np.tril_indices(5, -1) if pairs == "below" else np.triu_indices(5, 1)
    if pairs == "with the diagonal":
        i, j = (k[:10] for k in np.tril_indices(5))
    y = [z[:, i, j], d] if dense == "after the pairs" else [d, z[:, i, j]]
    return linear(np.concatenate(y, 1), w["top.weight"], w["top.bias"])


class Cross(nn.Module):
    """DCNv2: two cross layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(9, 9), nn.Linear(9, 9)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Cross x with itself."""
        y = x
        for layer in self.layers:
            y = x * layer(y) + y
        return y


def build_cross() -> tuple[Any, np.ndarray]:
    return train_torch(Cross(), 4221), inputs(4222, 4, 9)


def cross(
    model: Any,
    x: np.ndarray,
    factor: str = "first",
    residual: str = "last",
    bias: str = "inside",
    transposed: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    y = x
    for i in range(2):
        kernel, b = w[f"layers.{i}.weight"], w[f"layers.{i}.bias"]
        z = linear(y, kernel.T if transposed else kernel, b if bias == "inside" else None)
        z = (y if factor == "last" else x) * z
        z = z if bias == "inside" else z + b
        y = z + (x if residual == "first" else y)
    return y


class Factorisation(nn.Module):
    """A factorisation machine of dense features: linear part and pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(7, 1)
        self.v = nn.Parameter(torch.zeros(7, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (batch, 1)."""
        square_of_sum = (x @ self.v) ** 2
        sum_of_squares = (x**2) @ (self.v**2)
        return self.first(x) + 0.5 * (square_of_sum - sum_of_squares).sum(1, keepdim=True)


def build_factorisation() -> tuple[Any, np.ndarray]:
    return train_torch(Factorisation(), 4223), inputs(4224, 6, 7)


def factorisation(
    model: Any,
    x: np.ndarray,
    half: float = 0.5,
    squares: str = "x and v",
    own: bool = False,
    linear_part: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    pairs = (x @ w["v"]) ** 2
    if not own:
        pairs = pairs - (x if squares == "v" else x**2) @ w["v"] ** 2
    first = linear(x, w["first.weight"], w["first.bias"]) if linear_part else w["first.bias"]
    return first + F32(half) * pairs.sum(1, keepdims=True)


class Interest(nn.Module):
    """DIN: a pooled history, weighed by an MLP of candidate and item."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(20, 8), nn.Sigmoid(), nn.Linear(8, 1))

    def forward(self, query: torch.Tensor, items: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Interests (batch, 5)."""
        q = query[:, None].expand_as(items)
        score = self.mlp(torch.cat([q, items, q - items, q * items], -1))[..., 0]
        return ((score * mask)[..., None] * items).sum(1)


def build_interest() -> tuple[Any, tuple[np.ndarray, ...]]:
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]], F32)
    x = inputs(4226, 3, 5), inputs(4227, 3, 4, 5), mask
    return train_torch(Interest(), 4225, gain=2.0), x


def interest(
    model: Any,
    x: Any,
    sign: int = 1,
    weigh: str = "scores",
    order: tuple[int, ...] = (0, 1, 2, 3),
    masked: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    query, items, mask = x
    q = np.broadcast_to(query[:, None], items.shape)
    parts = [q, items, sign * (q - items), q * items]
    y = np.concatenate([parts[i] for i in order], -1)
    y = sigmoid(linear(y, w["mlp.0.weight"], w["mlp.0.bias"]))
    score = linear(y, w["mlp.2.weight"], w["mlp.2.bias"])[..., 0]
    if weigh == "softmax":
        score = softmax(np.where(mask > 0, score, F32(-1e9)))
    elif weigh == "mean":
        score = score * mask / mask.sum(1, keepdims=True)
    elif masked:
        score = score * mask
    return (score[..., None] * items).sum(1)


class Mmoe(nn.Module):
    """MMoE: shared experts, a gate for each task."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.Linear(6, 3 * 5)
        self.gates = nn.Linear(6, 2 * 3, bias=False)
        self.towers = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of two tasks (batch, 2)."""
        e = self.experts(x).relu().view(-1, 3, 5)
        g = self.gates(x).view(-1, 2, 3).softmax(-1)
        return ((g @ e) * self.towers.weight).sum(-1) + self.towers.bias


def build_mmoe() -> tuple[Any, np.ndarray]:
    return train_torch(Mmoe(), 4228, gain=1.8), inputs(4229, 5, 6)


def mmoe(
    model: Any,
    x: np.ndarray,
    over: str = "experts",
    split: str = "tasks, experts",
    experts: str = "experts, units",
) -> np.ndarray:
    w = weights_of(model)
    e = relu(linear(x, w["experts.weight"], w["experts.bias"]))
    if experts == "units, experts":
        e = e.reshape(-1, 5, 3).swapaxes(1, 2)
    e = e.reshape(-1, 3, 5)
    g = linear(x, w["gates.weight"])
    if split == "experts, tasks":
        g = g.reshape(-1, 3, 2).swapaxes(1, 2)
    g = g.reshape(-1, 2, 3)
    if over == "none":
        g = sigmoid(g)
    else:
        g = softmax(g, 1 if over == "tasks" else 2)
    return ((g @ e) * w["towers.weight"]).sum(-1) + w["towers.bias"]


def build_mobilenet_v3() -> tuple[Any, np.ndarray]:
    config = InvertedResidualConfig(8, 5, 24, 8, True, "HS", 1, 1, 1.0)
    block = InvertedResidual(config, partial(nn.BatchNorm2d, eps=1e-3))
    return train_torch(block, 4141, gain=1.8), inputs(4142, 2, 8, 7, 7)


def hard_swish(x: np.ndarray) -> np.ndarray:
    """x by a hard sigmoid of x."""
    return x * np.clip(x / 6 + F32(0.5), 0, 1)


def mobilenet_v3(
    model: Any,
    x: np.ndarray,
    act: Any = hard_swish,
    gate: str = "hard sigmoid",
    squeeze_at: str = "after the activation",
    eps: float = 1e-3,
    residual: bool = True,
) -> np.ndarray:
    w = weights_of(model)

    def squeeze(y: np.ndarray) -> np.ndarray:
        s = y.mean((2, 3), keepdims=True)
        s = relu(conv(s, w["block.2.fc1.weight"], w["block.2.fc1.bias"]))
        s = conv(s, w["block.2.fc2.weight"], w["block.2.fc2.bias"])
        if gate == "sigmoid":
            return y * sigmoid(s)
        offset = F32(0.5)
        return y * np.clip(s * F32(0.2) + offset if gate == "of 0.2" else s / 6 + offset, 0, 1)

    y = act(batch_norm(conv(x, w["block.0.0.weight"]), w, "block.0.1", eps))
    y = conv(y, w["block.1.0.weight"], padding=2, groups=24)
    y = batch_norm(y, w, "block.1.1", eps)
    y = act(squeeze(y)) if squeeze_at == "before the activation" else squeeze(act(y))
    y = batch_norm(conv(y, w["block.3.0.weight"]), w, "block.3.1", eps)
    return x + y if residual else y


def build_encodec() -> tuple[Any, np.ndarray]:
    block = EncodecResnetBlock(EncodecConfig(), 8, [2, 1])
    return train_torch(block, 4230, gain=1.5), inputs(4231, 2, 8, 13)


def encodec(
    model: Any,
    x: np.ndarray,
    left: int = 4,
    edge: str = "reflect",
    norm_over: tuple[int, ...] = (1, 2),
    act: Any = None,
    shortcut: bool = True,
    short_of: str = "input",
) -> np.ndarray:
    w = weights_of(model)

    def elu(a: np.ndarray) -> np.ndarray:
        return np.where(a > 0, a, np.expm1(a)) if act is None else act(a)

    def part(y: np.ndarray, name: str, dilation: int = 1) -> np.ndarray:
        name = f"{name}.conv."
        v = w[name + "parametrizations.weight.original1"]
        size = np.sqrt((v * v).sum(norm_over, keepdims=True))
        kernel = w[name + "parametrizations.weight.original0"] * v / size
        return conv(y, kernel, w[name + "bias"], dilation=dilation)

    first = elu(x)
    wide = np.pad(first, ((0, 0), (0, 0), (left, 4 - left)), mode=edge)
    y = part(elu(part(wide, "block.1", 2)), "block.3")
    if not shortcut:
        return x + y
    return part(first if short_of == "activated" else x, "shortcut") + y


CASES = [
    Case(
        "blind_faster_rcnn_boxes",
        build_boxes,
        "",
        boxes,
        {
            "weights_forgotten": Mistake(
                partial(boxes, weights=(1, 1, 1, 1)),
                "The deltas are not divided by the coder's weights (10, 10, 5, 5).",
            ),
            "weights_of_the_first_stage": Mistake(
                partial(boxes, weights=(10, 10, 10, 10)),
                "All four deltas are divided by 10, where those of width and height are by 5.",
            ),
            "y_before_x": Mistake(
                partial(boxes, order=(1, 0, 3, 2)),
                "The deltas are read as (dy, dx, dh, dw), where they are (dx, dy, dw, dh).",
            ),
            "sizes_with_one_more": Mistake(
                partial(boxes, extra=1),
                "Width and height of an anchor are x2 - x1 + 1 (the old pixel convention), where "
                "they are x2 - x1.",
            ),
            "centre_and_size": Mistake(
                partial(boxes, corners=False),
                "The boxes are given as centre and size, where they are corners.",
            ),
        },
    ),
    Case(
        "blind_retinanet_scores",
        build_retina,
        "",
        retina,
        {
            "classes_before_anchors": Mistake(
                partial(retina, split="classes, anchors"),
                "The channels are split as (classes, anchors), where they are (anchors, classes).",
            ),
            "columns_before_rows": Mistake(
                partial(retina, order="columns"),
                "The positions run column by column, where they run row by row.",
            ),
            "anchors_outermost": Mistake(
                partial(retina, order="anchors"),
                "All positions of the first anchor come first, where the anchors of a position "
                "are neighbours.",
            ),
            "last_relu_forgotten": Mistake(
                partial(retina, last_relu=False),
                "The fourth convolution's ReLU is forgotten.",
            ),
        },
    ),
    Case(
        "blind_feature_pyramid_merge",
        build_pyramid,
        "",
        pyramid,
        {
            "rows_by_halving": Mistake(
                partial(pyramid, rows="halves"),
                "The coarse map (3 x 3) is enlarged to 7 x 7 by i // 2, its last pixel repeated, "
                "where nearest takes i * 3 // 7.",
            ),
            "nearest_centre": Mistake(
                partial(pyramid, rows="nearest centre"),
                "The enlargement takes the pixel at the nearest centre (nearest-exact), where "
                "nearest takes i * 3 // 7.",
            ),
            "smoothed_map_handed_down": Mistake(
                partial(pyramid, smoothed=True),
                "The coarse level's 3x3 convolution is applied before it is handed down, where "
                "the map before it is.",
            ),
            "output_of_other_level": Mistake(
                partial(pyramid, output=1),
                "The fine map is convolved with the coarse level's output convolution.",
            ),
            "halves_and_mean": Mistake(
                partial(pyramid, rows="halves", merge="mean"),
                "Two causes: the coarse map is enlarged by i // 2, and the two maps are "
                "averaged, where they are added.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_yolov5_boxes",
        build_yolo,
        "",
        yolo,
        {
            "grid_rows_first": Mistake(
                partial(yolo, grid="rows, columns"),
                "The grid is (row, column), where it is (column, row).",
            ),
            "half_cell_forgotten": Mistake(
                partial(yolo, half=0),
                "The 0.5 is not taken off the centres.",
            ),
            "size_by_exp": Mistake(
                partial(yolo, size="exp"),
                "The sizes are exp(t) * anchor (YOLOv3), where they are (2 sigmoid(t))^2 * anchor.",
            ),
            "anchors_reversed": Mistake(
                partial(yolo, anchors="reversed"),
                "The anchors are in reverse order.",
            ),
            "half_cell_and_exp": Mistake(
                partial(yolo, half=0, size="exp"),
                "Two causes: the 0.5 is not taken off the centres, and the sizes are by exp "
                "(YOLOv3's decoding).",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_yolov8_distribution_boxes",
        build_distribution,
        "",
        distribution,
        {
            "bins_from_one": Mistake(
                partial(distribution, first_bin=1),
                "The bins count from 1, where they count from 0.",
            ),
            "bins_before_sides": Mistake(
                partial(distribution, split="bins, sides"),
                "The 32 channels are split as (bins, sides), where they are (sides, bins).",
            ),
            "anchor_at_corner": Mistake(
                partial(distribution, half=0),
                "The anchor point is the cell's corner, where it is its centre (+ 0.5).",
            ),
            "most_likely_bin": Mistake(
                partial(distribution, most_likely=True),
                "The distance is the most likely bin, where it is the distribution's mean.",
            ),
        },
    ),
    Case(
        "blind_convnextv2_layer",
        build_convnextv2,
        "",
        convnextv2,
        {
            "norm_over_channels": Mistake(
                partial(convnextv2, norm_over=(3,), mean_over=(1, 2)),
                "The response's norm is over the channels and its mean over the positions, where "
                "it is the other way round.",
            ),
            "mean_over_everything": Mistake(
                partial(convnextv2, norm_over=(1, 2), mean_over=(0, 3)),
                "The mean of the norms is over batch and channels, where it is over channels.",
            ),
            "without_inner_residual": Mistake(
                partial(convnextv2, inner_residual=False),
                "The response normalisation does not add its input.",
            ),
            "squared_response": Mistake(
                partial(convnextv2, power="square"),
                "The response is the sum of squares, its root is forgotten.",
            ),
            "gelu_after_response_norm": Mistake(
                partial(convnextv2, before_gelu=True),
                "The response normalisation comes before GELU, where it comes after it.",
            ),
        },
    ),
    Case(
        "blind_maxvit_grid_attention",
        build_maxvit_grid,
        "",
        partial(maxvit, kind="grid", heads=2),
        {
            "windows_for_grid": Mistake(
                partial(maxvit, kind="window", heads=2),
                "Attention is within windows of neighbours, where it is over a grid of distant "
                "pixels.",
            ),
            "scaled_by_head": Mistake(
                partial(maxvit, kind="grid", heads=2, scale_of=6),
                "Scores are scaled by the root of the head's size (6), where this layer takes "
                "that of all features (12).",
            ),
            "relative_bias_forgotten": Mistake(
                partial(maxvit, kind="grid", heads=2, bias="none"),
                "The relative position bias is forgotten.",
            ),
        },
    ),
    Case(
        "blind_maxvit_window_attention",
        build_maxvit_window,
        "",
        partial(maxvit, kind="window", heads=3),
        {
            "relative_bias_mirrored": Mistake(
                partial(maxvit, kind="window", heads=3, bias="mirrored"),
                "The relative position is key minus query, where it is query minus key.",
            ),
            "heads_innermost": Mistake(
                partial(maxvit, kind="window", heads=3, heads_last=True),
                "The features are split as (size, heads), where they are (heads, size).",
            ),
            "scale_and_bias": Mistake(
                partial(maxvit, kind="window", heads=3, scale_of=4, bias="mirrored"),
                "Two causes: scores are scaled by the head's size, where they are by all "
                "features, and the relative position is mirrored.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_warp_by_flow",
        build_warp,
        "",
        warp,
        {
            "flow_of_y_first": Mistake(
                partial(warp, flow_order=(1, 0)),
                "The flow's first channel moves along y, where it moves along x.",
            ),
            "corners_not_aligned": Mistake(
                partial(warp, aligned=False),
                "grid_sample is computed with align_corners=False, where it is True.",
            ),
            "border_clamped": Mistake(
                partial(warp, border="clamped"),
                "Beyond the border the nearest pixel is taken, where there are zeros.",
            ),
            "weights_of_opposite_corners": Mistake(
                partial(warp, corner=True),
                "The weights of opposite corners are exchanged in the bilinear interpolation.",
            ),
            "flow_backwards": Mistake(
                partial(warp, sign=-1),
                "The flow is taken off the positions, where it is added.",
            ),
        },
    ),
    Case(
        "blind_deformable_convolution",
        build_deformable,
        "",
        deformable,
        {
            "offsets_x_first": Mistake(
                partial(deformable, order="x, y by position"),
                "The offsets are read as (x, y) pairs, where they are (y, x).",
            ),
            "offsets_in_two_halves": Mistake(
                partial(deformable, order="all y, then all x"),
                "The offsets are read as nine y and then nine x, where they are pairs.",
            ),
            "mask_doubled": Mistake(
                partial(deformable, gate="twice sigmoid"),
                "The mask is 2 sigmoid (as some deformable layers have it), where it is sigmoid.",
            ),
            "mask_forgotten": Mistake(
                partial(deformable, gate="none"),
                "The mask is not applied (DCNv1).",
            ),
            "taps_by_columns": Mistake(
                partial(deformable, taps="columns"),
                "Offsets and masks run over the kernel column by column, where they run row by "
                "row.",
            ),
        },
    ),
    Case(
        "blind_roi_align",
        build_regions,
        "",
        regions,
        {
            "half_pixel_forgotten": Mistake(
                partial(regions, half=0),
                "The regions are not moved by half a pixel (aligned=False).",
            ),
            "boxes_y_first": Mistake(
                partial(regions, order="y, x"),
                "The boxes are read as (y1, x1, y2, x2), where they are (x1, y1, x2, y2).",
            ),
            "one_sample_for_a_bin": Mistake(
                partial(regions, samples=1),
                "A bin is its centre's sample, where it is the mean of 2 x 2 samples.",
            ),
            "largest_sample": Mistake(
                partial(regions, reduce="max"),
                "A bin is its largest sample, where it is the mean.",
            ),
        },
    ),
    Case(
        "blind_diffusion_residual_block",
        build_time_block,
        "",
        time_block,
        {
            "time_after_second_norm": Mistake(
                partial(time_block, time_at="after norm2"),
                "The time embedding is added after the second normalisation, where it is before.",
            ),
            "time_at_the_end": Mistake(
                partial(time_block, time_at="at the end"),
                "The time embedding is added to the block's end, where it is before the second "
                "normalisation.",
            ),
            "time_without_silu": Mistake(
                partial(time_block, silu_time=False),
                "SiLU is not applied to the time embedding before its projection.",
            ),
            "strided_groups": Mistake(
                partial(time_block, norm=strided_group_norm),
                "A group is every fourth channel, where it is consecutive channels.",
            ),
            "shortcut_of_normalised": Mistake(
                partial(time_block, short_of="norm"),
                "The shortcut convolves the normalised and activated input, where it convolves "
                "the input itself.",
            ),
            "no_silu_and_time_late": Mistake(
                partial(time_block, first_silu=False, time_at="after norm2"),
                "Two causes: the first SiLU is forgotten, and the time embedding is added after "
                "the second normalisation.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_diffusion_time_embedding",
        build_time_embedding,
        "",
        time_embedding,
        {
            "sines_first": Mistake(
                partial(time_embedding, order="sin, cos"),
                "Sines come before cosines, where cosines come first.",
            ),
            "interleaved": Mistake(
                partial(time_embedding, order="interleaved"),
                "Cosines and sines alternate, where all cosines come first.",
            ),
            "divided_by_one_less": Mistake(
                partial(time_embedding, divisor=7),
                "The exponent is i / (half - 1), where it is i / half.",
            ),
            "silu_at_the_end": Mistake(
                partial(time_embedding, last_silu=True),
                "SiLU is applied after the second linear layer too.",
            ),
            "step_scaled": Mistake(
                partial(time_embedding, scale=0.001),
                "The step is divided by 1000 (continuous time), where it is taken as it is.",
            ),
        },
    ),
    Case(
        "blind_unet_up_block",
        build_up,
        "",
        up_block,
        {
            "bilinear_enlargement": Mistake(
                partial(up_block, enlarge=twice_linear),
                "The map is enlarged bilinearly, where it is by the nearest pixel.",
            ),
            "convolved_before_enlarged": Mistake(
                partial(up_block, smooth_first=True),
                "The map is convolved and then enlarged, where it is enlarged first.",
            ),
            "skip_joined_last": Mistake(
                partial(up_block, skip_first=False),
                "The skip is concatenated after the enlarged map, where it comes before.",
            ),
            "skip_cropped_rounded_up": Mistake(
                partial(up_block, crop=(2, 2)),
                "The crop of 11 rows to 8 starts at row 2, where (11 - 8) // 2 is 1.",
            ),
            "crop_and_groups": Mistake(
                partial(up_block, crop=(0, 0), norm=strided_group_norm),
                "Two causes: the skip is cropped from its top left corner, and a group is every "
                "third channel.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_efficient_channel_attention",
        build_eca,
        "",
        eca,
        {
            "edges_repeated": Mistake(
                partial(eca, edges="repeated"),
                "The convolution over the channels repeats the outermost ones, where it pads "
                "zeros.",
            ),
            "edges_wrapped": Mistake(
                partial(eca, edges="wrapped"),
                "The convolution over the channels wraps around, where it pads zeros.",
            ),
            "kernel_flipped": Mistake(
                partial(eca, flipped=True),
                "The kernel is flipped (numpy.convolve), where it is a cross-correlation.",
            ),
        },
    ),
    Case(
        "blind_cbam",
        build_cbam,
        "",
        cbam,
        {
            "mean_map_first": Mistake(
                partial(cbam, maps="mean, max"),
                "The map of means is concatenated before that of maxima, where it is after.",
            ),
            "gates_added_after_sigmoid": Mistake(
                partial(cbam, gates="sum of sigmoids"),
                "The sigmoids of the two pooled vectors are added, where the sigmoid is of "
                "their sum.",
            ),
            "pooled_vectors_added_before_mlp": Mistake(
                partial(cbam, gates="summed before"),
                "Mean and maximum are added before the MLP, where each goes through it.",
            ),
            "positions_from_the_input": Mistake(
                partial(cbam, pooled_of="input"),
                "The spatial gate looks at the block's input, where it looks at the input "
                "weighed by the channels' gate.",
            ),
        },
    ),
    Case(
        "blind_deeplab_aspp",
        build_aspp,
        "",
        aspp,
        {
            "rates_swapped": Mistake(
                partial(aspp, rates=(3, 2)),
                "The rates of the two dilated convolutions are swapped.",
            ),
            "pooled_branch_first": Mistake(
                partial(aspp, pooled="first"),
                "The pooled branch is concatenated first, where it is last.",
            ),
            "pooled_by_maximum": Mistake(
                partial(aspp, pool="max"),
                "The image is pooled by its maximum, where it is by its mean.",
            ),
            "not_dilated": Mistake(
                partial(aspp, rates=(1, 1)),
                "The dilation is forgotten.",
            ),
        },
    ),
    Case(
        "blind_yolov5_sppf",
        build_spp,
        "",
        spp,
        {
            "padded_with_zeros": Mistake(
                partial(spp, edge=0),
                "The max pool pads zeros, where padding never wins.",
            ),
            "pools_side_by_side": Mistake(
                partial(spp, chained=False),
                "All three pools are of the same map, where each is of the one before.",
            ),
            "concatenated_backwards": Mistake(
                partial(spp, backwards=True),
                "The four maps are concatenated in reverse.",
            ),
        },
    ),
    Case(
        "blind_yolov5_focus",
        build_focus,
        "",
        focus,
        {
            "pixels_row_by_row": Mistake(
                partial(focus, order="rows last"),
                "The four pixels are taken as 00, 01, 10, 11, where they are 00, 10, 01, 11.",
            ),
            "channel_by_channel": Mistake(
                partial(focus, order="channel by channel"),
                "The four pixels of a channel are neighbours (PixelUnshuffle), where all "
                "channels of a pixel are.",
            ),
        },
    ),
    Case(
        "blind_seamless_causal_conformer_convolution",
        build_causal_conformer,
        "",
        causal_conformer,
        {
            "padded_on_both_sides": Mistake(
                partial(causal_conformer, left=2),
                "The depthwise convolution is padded by 2 on both sides, where it is causal (4 on "
                "the left).",
            ),
            "gate_is_first_half": Mistake(
                partial(causal_conformer, gate="first half"),
                "GLU gates with the first half of the channels, where the second half is the gate.",
            ),
            "norm_over_time": Mistake(
                partial(causal_conformer, norm_over="time"),
                "The second layer normalisation has its statistics over time, where they are "
                "over the channels.",
            ),
            "kernel_flipped": Mistake(
                partial(causal_conformer, flipped=True),
                "The depthwise kernel is flipped in time.",
            ),
            "gate_and_padding": Mistake(
                partial(causal_conformer, gate="first half", left=2),
                "Two causes: GLU's halves are swapped, and the convolution is padded on both "
                "sides.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_demucs_encoder_and_decoder",
        build_demucs,
        "",
        demucs,
        {
            "gate_is_first_half": Mistake(
                partial(demucs, gate="first half"),
                "GLU gates with the first half of the channels.",
            ),
            "trimmed_one_late": Mistake(
                partial(demucs, start=2),
                "The centre trim starts one step late (rounded up), where 3 // 2 is 1.",
            ),
            "transposed_kernel_flipped": Mistake(
                partial(demucs, flipped=True),
                "The transposed convolution's kernel is flipped in time.",
            ),
            "encoder_without_relu": Mistake(
                partial(demucs, first_relu=False),
                "The encoder's ReLU is forgotten.",
            ),
        },
    ),
    Case(
        "blind_log_mel_front",
        build_mel,
        "",
        mel_front,
        {
            "symmetric_window": Mistake(
                partial(mel_front, window="symmetric"),
                "The Hann window is symmetric (numpy.hanning(32)), where it is periodic.",
            ),
            "padded_with_zeros": Mistake(
                partial(mel_front, edge="constant"),
                "The wave is padded with zeros, where it is reflected.",
            ),
            "magnitude": Mistake(
                partial(mel_front, power=1),
                "The mel filters weigh magnitudes, where they weigh powers.",
            ),
            "first_frame_dropped": Mistake(
                partial(mel_front, drop="first"),
                "The first frame is dropped, where the last one is.",
            ),
            "natural_logarithm": Mistake(
                partial(mel_front, log=np.log),
                "The logarithm is the natural one, where it is to base 10.",
            ),
        },
    ),
    Case(
        "blind_sinc_convolution",
        build_sinc,
        "",
        sinc_conv,
        {
            "lowest_edge_forgotten": Mistake(
                partial(sinc_conv, lowest=0),
                "The lowest frequency of 50 Hz is not added to the lower edges.",
            ),
            "sign_of_band_kept": Mistake(
                partial(sinc_conv, absolute=False),
                "The bandwidth's absolute value is not taken, so a negative one inverts the band.",
            ),
            "hann_window": Mistake(
                partial(sinc_conv, window="Hann"),
                "The window is Hann's, where it is Hamming's.",
            ),
            "not_divided_by_band": Mistake(
                partial(sinc_conv, over_band=False),
                "The filters are not divided by twice their bandwidth.",
            ),
            "pi_twice": Mistake(
                partial(sinc_conv, pi_twice=True),
                "The argument is multiplied by pi, though numpy.sinc does that itself.",
            ),
        },
    ),
    Case(
        "blind_transducer_joint",
        build_joint,
        "",
        joint,
        {
            "time_and_labels_swapped": Mistake(
                partial(joint, swapped=True),
                "Time and labels are swapped in the sum of all pairs (both are 5).",
            ),
            "relu": Mistake(
                partial(joint, act=relu),
                "ReLU, where it is tanh.",
            ),
            "normalised_over_labels": Mistake(
                partial(joint, over=2),
                "The log-softmax is over the label positions, where it is over the vocabulary.",
            ),
            "prediction_one_late": Mistake(
                partial(joint, late=True),
                "The prediction network's output is shifted by one label (a second start symbol).",
            ),
        },
    ),
    Case(
        "blind_wavenet_block",
        build_wave,
        "",
        wave,
        {
            "gates_swapped": Mistake(
                partial(wave, gate="sigmoid, tanh"),
                "The first half goes through sigmoid and the second through tanh.",
            ),
            "looks_ahead": Mistake(
                partial(wave, left=0),
                "The convolution is padded on the right and looks ahead.",
            ),
            "not_scaled": Mistake(
                partial(wave, scale=1),
                "The sum is not multiplied by the root of a half.",
            ),
            "condition_of_the_filter_alone": Mistake(
                partial(wave, condition="first half"),
                "The condition is added to the filter alone, where the gate has its own.",
            ),
            "dilation_of_next_block": Mistake(
                partial(wave, left=8, dilation=8),
                "The dilation is 8 (the next block's), where it is 4.",
            ),
        },
    ),
    Case(
        "blind_hifigan_residual_block",
        build_hifigan,
        "",
        hifigan,
        {
            "slope_of_a_hundredth": Mistake(
                partial(hifigan, slope=0.01),
                "The leaky ReLU's slope is 0.01 (the default), where it is 0.1.",
            ),
            "second_convolutions_dilated": Mistake(
                partial(hifigan, second="dilated"),
                "The second convolutions are dilated too, where they are not.",
            ),
            "dilations_reversed": Mistake(
                partial(hifigan, dilations=(5, 3, 1)),
                "The dilations run 5, 3, 1, where they are 1, 3, 5.",
            ),
            "one_residual_for_all": Mistake(
                partial(hifigan, residual="last"),
                "The input is added once, at the end, where each pair adds its own.",
            ),
            "slope_and_dilations": Mistake(
                partial(hifigan, slope=0.2, dilations=(1, 2, 4)),
                "Two causes: the slope is 0.2, where it is 0.1, and the dilations are 1, 2, 4, "
                "where they are 1, 3, 5.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_attentive_statistics",
        build_statistics,
        "",
        statistics,
        {
            "softmax_over_channels": Mistake(
                partial(statistics, over=1),
                "The attention's softmax is over the channels, where it is over time.",
            ),
            "variance": Mistake(
                partial(statistics, root=False),
                "The second half is the variance, its root is forgotten.",
            ),
            "deviation_about_plain_mean": Mistake(
                partial(statistics, about="plain mean"),
                "The deviation is about the plain mean, where it is about the weighed one.",
            ),
            "deviation_first": Mistake(
                partial(statistics, deviation_first=True),
                "Deviations are concatenated before means.",
            ),
        },
    ),
    Case(
        "blind_dlrm_interaction",
        build_interaction,
        "",
        interaction,
        {
            "pairs_above_the_diagonal": Mistake(
                partial(interaction, pairs="above"),
                "The pairs are read above the diagonal, row by row, where they are below it: the "
                "same values in another order.",
            ),
            "diagonal_included": Mistake(
                partial(interaction, pairs="with the diagonal"),
                "The diagonal is included and the list cut at ten pairs.",
            ),
            "dense_after_pairs": Mistake(
                partial(interaction, dense="after the pairs"),
                "The dense features are concatenated after the pairs, where they come before.",
            ),
            "dense_as_last_feature": Mistake(
                partial(interaction, dense="last feature"),
                "The dense vector is the last of the features, where it is the first.",
            ),
        },
    ),
    Case(
        "blind_dcn_v2_cross",
        build_cross,
        "",
        cross,
        {
            "multiplied_by_the_last": Mistake(
                partial(cross, factor="last"),
                "A layer multiplies by its own input, where it is by the first one.",
            ),
            "first_added": Mistake(
                partial(cross, residual="first"),
                "A layer adds the first input, where it adds its own.",
            ),
            "bias_outside": Mistake(
                partial(cross, bias="outside"),
                "The bias is added after the multiplication (DCN's first version).",
            ),
            "kernel_transposed": Mistake(
                partial(cross, transposed=True),
                "The square kernels are transposed.",
            ),
            "bias_and_residual": Mistake(
                partial(cross, bias="outside", residual="first"),
                "Two causes: the bias is added after the multiplication, and each layer adds the "
                "first input.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_factorisation_machine",
        build_factorisation,
        "",
        factorisation,
        {
            "half_forgotten": Mistake(
                partial(factorisation, half=1),
                "The pairs are not halved, so each counts twice.",
            ),
            "squares_of_x_forgotten": Mistake(
                partial(factorisation, squares="v"),
                "The sum of squares has x, where it has x squared.",
            ),
            "own_pairs_kept": Mistake(
                partial(factorisation, own=True),
                "The pairs of a feature with itself are not taken off.",
            ),
            "linear_part_forgotten": Mistake(
                partial(factorisation, linear_part=False),
                "The linear part is forgotten, but for its bias.",
            ),
        },
    ),
    Case(
        "blind_din_interest",
        build_interest,
        "",
        interest,
        {
            "difference_the_other_way": Mistake(
                partial(interest, sign=-1),
                "The difference is item minus query, where it is query minus item.",
            ),
            "softmax_of_scores": Mistake(
                partial(interest, weigh="softmax"),
                "The scores go through a softmax, where DIN takes them as they are.",
            ),
            "mask_forgotten": Mistake(
                partial(interest, masked=False),
                "The mask of the history is forgotten.",
            ),
            "product_before_difference": Mistake(
                partial(interest, order=(0, 1, 3, 2)),
                "The product is concatenated before the difference.",
            ),
            "mean_of_history": Mistake(
                partial(interest, weigh="mean"),
                "The sum is divided by the length of the history.",
            ),
        },
    ),
    Case(
        "blind_mmoe",
        build_mmoe,
        "",
        mmoe,
        {
            "softmax_over_tasks": Mistake(
                partial(mmoe, over="tasks"),
                "The gate's softmax is over the tasks, where it is over the experts.",
            ),
            "gates_split_the_other_way": Mistake(
                partial(mmoe, split="experts, tasks"),
                "The gates are split as (experts, tasks), where they are (tasks, experts).",
            ),
            "experts_split_the_other_way": Mistake(
                partial(mmoe, experts="units, experts"),
                "The experts' outputs are split as (units, experts).",
            ),
            "sigmoid_gates": Mistake(
                partial(mmoe, over="none"),
                "The gates are sigmoids, where they are a softmax.",
            ),
        },
    ),
    Case(
        "blind_mobilenet_v3_inverted_residual",
        build_mobilenet_v3,
        "",
        mobilenet_v3,
        {
            "swish": Mistake(
                partial(mobilenet_v3, act=silu),
                "The activations are x * sigmoid(x), where they are hard.",
            ),
            "sigmoid_gate": Mistake(
                partial(mobilenet_v3, gate="sigmoid"),
                "The squeeze's gate is a sigmoid, where it is a hard one.",
            ),
            "hard_sigmoid_of_a_fifth": Mistake(
                partial(mobilenet_v3, gate="of 0.2"),
                "The hard sigmoid is clip(0.2 x + 0.5) (old Keras's), where it is "
                "clip(x / 6 + 0.5).",
            ),
            "squeeze_before_activation": Mistake(
                partial(mobilenet_v3, squeeze_at="before the activation"),
                "The squeeze comes before the second activation, where it comes after.",
            ),
            "default_epsilon": Mistake(
                partial(mobilenet_v3, eps=1e-5),
                "The normalisations' epsilon is 1e-5 (the default), where it is 1e-3.",
            ),
            "swish_and_no_residual": Mistake(
                partial(mobilenet_v3, act=silu, residual=False),
                "Two causes: the activations are x * sigmoid(x), and the residual is forgotten.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_encodec_residual_block",
        build_encodec,
        "",
        encodec,
        {
            "padded_on_both_sides": Mistake(
                partial(encodec, left=2),
                "The dilated convolution is padded by 2 on both sides, where it is causal.",
            ),
            "padded_with_zeros": Mistake(
                partial(encodec, edge="constant"),
                "The start is padded with zeros, where it is reflected.",
            ),
            "weight_norm_over_all": Mistake(
                partial(encodec, norm_over=(0, 1, 2)),
                "The weights' norm is over the whole kernel, where it is of each filter.",
            ),
            "relu": Mistake(
                partial(encodec, act=relu),
                "ReLU, where it is ELU.",
            ),
            "shortcut_without_convolution": Mistake(
                partial(encodec, shortcut=False),
                "The shortcut is the input itself, where it is convolved.",
            ),
            "shortcut_of_activated": Mistake(
                partial(encodec, short_of="activated"),
                "The shortcut convolves the activated input (changed in place), where it "
                "convolves the input.",
            ),
        },
    ),
]
