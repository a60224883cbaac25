"""Heads of detection, pose, segmentation and depth, ported to NumPy.

Modules of torchvision and transformers, and small ones written as practitioners write them. It was
written without a look at the tool that it measures: the mistakes are those that people make when
they port such a block to NumPy, C, another framework or a device.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.ops import FeaturePyramidNetwork, RoIAlign, clip_boxes_to_image
from transformers import DeformableDetrConfig
from transformers.models.deformable_detr.modeling_deformable_detr import (
    DeformableDetrMultiscaleDeformableAttention,
)
from transformers.models.detr.modeling_detr import DetrSinePositionEmbedding

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import batch_norm, conv, linear, relu, sigmoid, softmax
from corpora.ports.trained import inputs, train_torch, weights_of


def bilinear_at(image: np.ndarray, x: np.ndarray, y: np.ndarray, edge: bool = False) -> np.ndarray:
    """The values of an image (channels, rows, columns) at places in pixels, nought outside."""
    _, height, width = image.shape
    if edge:
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    total = np.zeros((len(image), *x.shape))
    for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, along in ((left, 1 - (x - left)), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            value = image[:, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
            total += value * (down * along * inside)
    return total.astype(np.float32)


def resize_bilinear(
    x: np.ndarray, height: int, width: int, corners: bool = False, half: bool = True
) -> np.ndarray:
    """Resize the last two axes as PyTorch's bilinear interpolation does."""

    def along(x: np.ndarray, axis: int, new: int) -> np.ndarray:
        old = x.shape[axis]
        if corners:
            at = np.arange(new) * (old - 1) / max(new - 1, 1)
        elif half:
            at = np.maximum((np.arange(new) + 0.5) * old / new - 0.5, 0)
        else:
            at = np.arange(new) * old / new
        low = np.minimum(np.floor(at).astype(int), old - 1)
        high = np.minimum(low + 1, old - 1)
        shape = [1] * x.ndim
        shape[axis] = new
        t = (at - low).reshape(shape)
        return np.take(x, low, axis) * (1 - t) + np.take(x, high, axis) * t

    return along(along(x, x.ndim - 2, height), x.ndim - 1, width).astype(np.float32)


class AnchorHead(nn.Module):
    """The boxes of one level: a convolution's offsets from anchors, cut at the image's edges."""

    def __init__(self, stride: int = 8, height: int = 4, width: int = 6) -> None:
        super().__init__()
        self.image = (height * stride, width * stride)
        self.bbox_pred = nn.Conv2d(8, 2 * 4, 3, padding=1)
        self.coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        middle = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4) * float(stride)
        shapes = torch.tensor([[-12.0, -6.0, 12.0, 6.0], [-5.0, -9.0, 5.0, 9.0]])
        self.register_buffer("anchors", (middle + shapes).reshape(-1, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, h, w = x.shape
        deltas = self.bbox_pred(x).view(n, 2, 4, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 4)
        boxes = [self.coder.decode_single(each, self.anchors) for each in deltas]
        return torch.stack([clip_boxes_to_image(each, self.image) for each in boxes])


def build_anchor_head() -> tuple[Any, np.ndarray]:
    return train_torch(AnchorHead(), 7001, gain=3.0), inputs(7002, 2, 8, 4, 6)


def anchor_head(
    model: Any,
    x: np.ndarray,
    weights: tuple[float, ...] = (10, 10, 5, 5),
    channels: str = "anchors, then coordinates",
    legacy: float = 0.0,
    limits: tuple[int, int] = (48, 32),
    half: float = 0.5,
) -> np.ndarray:
    w = weights_of(model)
    y = conv(x, w["bbox_pred.weight"], w["bbox_pred.bias"], padding=1)
    if channels == "anchors, then coordinates":
        y = y.reshape(2, 2, 4, 4, 6).transpose(0, 3, 4, 1, 2)
    else:
        y = y.reshape(2, 4, 2, 4, 6).transpose(0, 3, 4, 2, 1)
    dx, dy, dw, dh = np.moveaxis(y.reshape(2, -1, 4) / np.float32(weights), -1, 0)
    x1, y1, x2, y2 = w["anchors"].T
    width, height = x2 - x1 + np.float32(legacy), y2 - y1 + np.float32(legacy)
    cx = x1 + np.float32(0.5) * width + dx * width
    cy = y1 + np.float32(0.5) * height + dy * height
    width, height = np.exp(dw) * width, np.exp(dh) * height
    right, bottom = (np.float32(limit) for limit in limits)
    return np.stack(
        [
            np.clip(cx - np.float32(half) * width, 0, right),
            np.clip(cy - np.float32(half) * height, 0, bottom),
            np.clip(cx + np.float32(half) * width - np.float32(legacy), 0, right),
            np.clip(cy + np.float32(half) * height - np.float32(legacy), 0, bottom),
        ],
        -1,
    )


class GridHead(nn.Module):
    """The detections of one scale of a YOLOv5: boxes in pixels, objectness and classes."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.no = 5 + classes
        self.m = nn.Conv2d(12, 3 * self.no, 1)
        self.stride = 16.0
        self.register_buffer("anchors", torch.tensor([[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.m(x)
        b, _, ny, nx = x.shape
        y = x.view(b, 3, self.no, ny, nx).permute(0, 1, 3, 4, 2).sigmoid()
        yv, xv = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
        grid = torch.stack((xv, yv), 2).expand(1, 3, ny, nx, 2) - 0.5
        xy = (y[..., :2] * 2 + grid) * self.stride
        wh = (y[..., 2:4] * 2) ** 2 * self.anchors.view(1, 3, 1, 1, 2)
        return torch.cat((xy, wh, y[..., 4:]), -1).view(b, -1, self.no)


def build_grid_head() -> tuple[Any, np.ndarray]:
    return train_torch(GridHead(), 7003, gain=1.5), inputs(7004, 2, 12, 3, 4)


def grid_head(
    model: Any,
    x: np.ndarray,
    sizes: str = "squared",
    offset: float = -0.5,
    grid: str = "x, y",
    order: str = "anchors first",
    scores: str = "apart",
) -> np.ndarray:
    w = weights_of(model)
    y = conv(x, w["m.weight"], w["m.bias"]).reshape(2, 3, 8, 3, 4).transpose(0, 1, 3, 4, 2)
    raw, y = y, sigmoid(y)
    down, along = np.meshgrid(np.arange(3), np.arange(4), indexing="ij")
    cells = np.stack([along, down] if grid == "x, y" else [down, along], -1).astype(np.float32)
    xy = (y[..., :2] * 2 + cells + np.float32(offset)) * np.float32(16)
    anchors = w["anchors"].reshape(1, 3, 1, 1, 2)
    wh = np.exp(raw[..., 2:4]) * anchors if sizes == "exp" else (y[..., 2:4] * 2) ** 2 * anchors
    classes = y[..., 5:] * y[..., 4:5] if scores == "multiplied" else y[..., 5:]
    y = np.concatenate([xy, wh, y[..., 4:5], classes], -1)
    if order == "cells first":
        y = y.transpose(0, 2, 3, 1, 4)
    return y.reshape(2, -1, 8)


class DistributionHead(nn.Module):
    """The boxes of a YOLOv8: each side's distance is the mean of a distribution over bins."""

    def __init__(self, bins: int = 8, stride: float = 8.0) -> None:
        super().__init__()
        self.bins, self.stride = bins, stride
        self.cv2 = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8, eps=1e-3),
            nn.SiLU(),
            nn.Conv2d(8, 4 * bins, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cv2(x)
        b, _, h, w = y.shape
        y = y.view(b, 4, self.bins, h * w).softmax(2)
        distance = (y * torch.arange(self.bins).view(1, 1, -1, 1)).sum(2)
        sy, sx = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        points = torch.stack((sx, sy)).view(1, 2, h * w)
        first, last = points - distance[:, :2], points + distance[:, 2:]
        return torch.cat(((first + last) / 2, last - first), 1) * self.stride


def build_distribution_head() -> tuple[Any, np.ndarray]:
    return train_torch(DistributionHead(), 7005, gain=2.0), inputs(7006, 2, 8, 4, 5)


def distribution_head(
    model: Any,
    x: np.ndarray,
    layout: str = "sides, bins",
    first_bin: int = 0,
    point: float = 0.5,
    form: str = "xywh",
    eps: float = 1e-3,
    mean: str = "expected",
) -> np.ndarray:
    w = weights_of(model)
    y = batch_norm(conv(x, w["cv2.0.weight"], padding=1), w, "cv2.1", eps)
    y = conv(y * sigmoid(y), w["cv2.3.weight"], w["cv2.3.bias"])
    if layout == "sides, bins":
        y = y.reshape(2, 4, 8, 20)
    else:
        y = y.reshape(2, 8, 4, 20).swapaxes(1, 2)
    bins = np.arange(first_bin, first_bin + 8, dtype=np.float32).reshape(1, 1, 8, 1)
    if mean == "expected":
        distance = (softmax(y, 2) * bins).sum(2)
    else:
        distance = y.argmax(2).astype(np.float32)
    down, along = np.meshgrid(np.arange(4), np.arange(5), indexing="ij")
    points = np.stack([along, down]).reshape(1, 2, 20).astype(np.float32) + np.float32(point)
    first, last = points - distance[:, :2], points + distance[:, 2:]
    if form == "xywh":
        return np.concatenate([(first + last) / 2, last - first], 1) * np.float32(8)
    return np.concatenate([first, last], 1) * np.float32(8)


class PaddedPositions(nn.Module):
    """What DETR adds to the features of a padded image: positions from its mask of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.input_proj = nn.Conv2d(6, 16, 1)
        self.position_embedding = DetrSinePositionEmbedding(8, normalize=True)

    def forward(self, features: torch.Tensor, pixel_mask: torch.Tensor) -> torch.Tensor:
        shape = features.shape
        mask = F.interpolate(pixel_mask[None].float(), size=shape[-2:]).to(torch.bool)[0]
        positions = self.position_embedding(shape, features.device, features.dtype, mask=mask)
        y = self.input_proj(features) + positions
        return y.flatten(2).transpose(1, 2)


def build_padded_positions() -> tuple[Any, tuple[np.ndarray, ...]]:
    mask = np.zeros((2, 10, 12), np.int64)
    mask[0, :8, :12] = 1
    mask[1, :10, :8] = 1
    return train_torch(PaddedPositions(), 7007), (inputs(7008, 2, 6, 5, 6, scale=0.5), mask)


def padded_positions(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    masked: bool = True,
    first: int = 1,
    scale: float = 2 * np.pi,
    order: str = "interleaved",
    axes: str = "rows, columns",
    pairs: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    features, mask = x
    mask = mask[:, ::2, ::2].astype(np.float32)
    if not masked:
        mask = np.ones_like(mask)
    down, along = mask.cumsum(1), mask.cumsum(2)
    down_end, along_end = down[:, -1:, :] + 1e-6, along[:, :, -1:] + 1e-6
    down = (down - (1 - first)) / down_end * scale
    along = (along - (1 - first)) / along_end * scale
    index = np.arange(8)
    rates = 10000.0 ** ((2 * (index // 2) if pairs else index) / 8)

    def waves(place: np.ndarray) -> np.ndarray:
        angle = place[..., None] / rates
        sines, cosines = np.sin(angle[..., 0::2]), np.cos(angle[..., 1::2])
        if order == "halves":
            return np.concatenate([sines, cosines], -1)
        return np.stack([sines, cosines], -1).reshape(*angle.shape)

    both = [waves(down), waves(along)]
    if axes == "columns, rows":
        both = both[::-1]
    y = conv(features, w["input_proj.weight"], w["input_proj.bias"])
    y = y.transpose(0, 2, 3, 1) + np.concatenate(both, -1)
    return y.reshape(2, 30, 16).astype(np.float32)


SHAPES = [(4, 6), (2, 3)]


class DeformableCrossAttention(nn.Module):
    """Queries with reference points that look at two levels of a feature pyramid."""

    def __init__(self) -> None:
        super().__init__()
        config = DeformableDetrConfig(d_model=16, num_feature_levels=2)
        self.attn = DeformableDetrMultiscaleDeformableAttention(config, 4, 2)

    def forward(
        self, queries: torch.Tensor, memory: torch.Tensor, points: torch.Tensor
    ) -> torch.Tensor:
        y, _ = self.attn(
            queries,
            encoder_hidden_states=memory,
            reference_points=points[:, :, None].expand(-1, -1, 2, -1),
            spatial_shapes=torch.tensor(SHAPES),
            spatial_shapes_list=SHAPES,
            level_start_index=torch.tensor([0, 24]),
        )
        return y


def build_deformable() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(DeformableCrossAttention(), 7009, gain=1.3)
    points = np.random.default_rng(7010).uniform(0.1, 0.9, (2, 5, 2)).astype(np.float32)
    return model, (inputs(7011, 2, 5, 16), inputs(7012, 2, 30, 16), points)


def deformable(
    model: Any,
    x: tuple[np.ndarray, np.ndarray, np.ndarray],
    over: str = "width, height",
    shift: float = -0.5,
    shares: str = "over levels and points",
    layout: str = "levels, points",
    edge: bool = False,
    places: str = "x, y",
) -> np.ndarray:
    w = weights_of(model)
    queries, memory, points = x

    def project(name: str, value: np.ndarray) -> np.ndarray:
        return linear(value, w[f"attn.{name}.weight"], w[f"attn.{name}.bias"])

    value = project("value_proj", memory).reshape(2, 30, 4, 4)
    offsets = project("sampling_offsets", queries)
    share = project("attention_weights", queries)
    if layout == "levels, points":
        offsets = offsets.reshape(2, 5, 4, 2, 2, 2)
        share = share.reshape(2, 5, 4, 2, 2)
    else:
        offsets = offsets.reshape(2, 5, 4, 2, 2, 2).swapaxes(3, 4)
        share = share.reshape(2, 5, 4, 2, 2).swapaxes(3, 4)
    if shares == "over levels and points":
        share = softmax(share.reshape(2, 5, 4, 4)).reshape(2, 5, 4, 2, 2)
    else:
        share = softmax(share)
    y = np.zeros((2, 4, 4, 5), np.float32)
    start = 0
    for level, (rows, columns) in enumerate(SHAPES):
        maps = value[:, start : start + rows * columns].transpose(0, 2, 3, 1)
        maps = maps.reshape(2, 4, 4, rows, columns)
        start += rows * columns
        size = (columns, rows) if over == "width, height" else (rows, columns)
        at = points[:, :, None, None] + offsets[:, :, :, level] / np.float32(size)
        if places == "y, x":
            at = at[..., ::-1]
        for b in range(2):
            for head in range(4):
                place = at[b, :, head]
                seen = bilinear_at(
                    maps[b, head],
                    place[..., 0] * columns + shift,
                    place[..., 1] * rows + shift,
                    edge,
                )
                y[b, head] += (seen * share[b, :, head, level]).sum(-1)
    y = y.reshape(2, 16, 5).swapaxes(1, 2)
    return project("output_proj", y)


class RegionHead(nn.Module):
    """The features of proposals: aligned regions of a map, and a layer on them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = RoIAlign((2, 3), 0.25, 2, aligned=True)
        self.fc6 = nn.Linear(5 * 6, 12)

    def forward(self, features: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc6(self.pool(features, boxes).flatten(1)))


def build_region_head() -> tuple[Any, tuple[np.ndarray, ...]]:
    boxes = [
        [0, 3.0, 4.0, 21.0, 17.0],
        [1, 6.5, 0.5, 27.0, 20.0],
        [0, 10.0, 9.0, 13.0, 30.0],
        [1, 2.0, 12.0, 30.0, 19.0],
    ]
    features = inputs(7014, 2, 5, 8, 9)
    return train_torch(RegionHead(), 7013, gain=1.5), (features, np.float32(boxes))


def region_head(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    shift: float = 0.5,
    samples: int = 2,
    take: str = "mean",
    rounded: bool = False,
    flat: str = "channels first",
) -> np.ndarray:
    w = weights_of(model)
    features, boxes = x
    pooled = np.zeros((len(boxes), 5, 2, 3), np.float32)
    for index, (image, *corners) in enumerate(boxes):
        x1, y1, x2, y2 = (corner * 0.25 - shift for corner in corners)
        if rounded:
            x1, y1, x2, y2 = (np.round(corner * 0.25) for corner in corners)
        wide, high = (x2 - x1) / 3, (y2 - y1) / 2
        for i in range(2):
            for j in range(3):
                inner = (np.arange(samples) + 0.5) / samples
                down, along = np.meshgrid(
                    y1 + (i + inner) * high, x1 + (j + inner) * wide, indexing="ij"
                )
                seen = bilinear_at(features[int(image)], along, down, edge=True)
                pooled[index, :, i, j] = getattr(seen, take)((1, 2))
    if flat == "channels last":
        pooled = pooled.transpose(0, 2, 3, 1)
    return relu(linear(pooled.reshape(len(boxes), -1), w["fc6.weight"], w["fc6.bias"]))


class Pyramid(nn.Module):
    """Three strided convolutions and torchvision's feature pyramid on them; its finest level."""

    def __init__(self) -> None:
        super().__init__()
        self.c3 = nn.Conv2d(3, 6, 3, 2, 1)
        self.c4 = nn.Conv2d(6, 8, 3, 2, 1)
        self.c5 = nn.Conv2d(8, 10, 3, 2, 1)
        self.fpn = FeaturePyramidNetwork([6, 8, 10], 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        c3 = torch.relu(self.c3(x))
        c4 = torch.relu(self.c4(c3))
        c5 = torch.relu(self.c5(c4))
        return self.fpn({"0": c3, "1": c4, "2": c5})["0"]


def build_pyramid() -> tuple[Any, np.ndarray]:
    return train_torch(Pyramid(), 7015, gain=1.4), inputs(7016, 2, 3, 18, 22)


def pyramid(
    model: Any,
    x: np.ndarray,
    up: str = "floor",
    passed: str = "sum",
    merge: str = "sum",
    out: int = 0,
) -> np.ndarray:
    w = weights_of(model)
    maps = []
    for name in ("c3", "c4", "c5"):
        x = relu(conv(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2, padding=1))
        maps.append(x)

    def smooth(y: np.ndarray, level: int) -> np.ndarray:
        name = f"fpn.layer_blocks.{level}.0"
        return conv(y, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)

    def enlarge(y: np.ndarray, height: int, width: int) -> np.ndarray:
        if up == "bilinear":
            return resize_bilinear(y, height, width)
        centre = 0.5 if up == "centre" else 0.0
        rows = ((np.arange(height) + centre) * y.shape[2] / height).astype(int)
        columns = ((np.arange(width) + centre) * y.shape[3] / width).astype(int)
        return y[:, :, rows][:, :, :, columns]

    above = None
    for level in (2, 1, 0):
        name = f"fpn.inner_blocks.{level}.0"
        inner = conv(maps[level], w[f"{name}.weight"], w[f"{name}.bias"])
        if above is not None:
            down = enlarge(above, *inner.shape[2:])
            inner = (inner + down) / 2 if merge == "mean" else inner + down
        above = smooth(inner, level) if passed == "smoothed" and level else inner
    assert above is not None
    return smooth(above, out)


def build_aspp() -> tuple[Any, np.ndarray]:
    return train_torch(ASPP(6, [2, 3, 4], 6), 7017, gain=1.5), inputs(7018, 2, 6, 9, 10)


def aspp(
    model: Any,
    x: np.ndarray,
    rates: tuple[int, ...] = (2, 3, 4),
    pooled: str = "last",
    pool: str = "mean",
    branch_relu: bool = True,
    edge: str = "constant",
) -> np.ndarray:
    w = weights_of(model)
    parts = [relu(batch_norm(conv(x, w["convs.0.0.weight"]), w, "convs.0.1"))]
    for index, rate in enumerate(rates, 1):
        around = np.pad(x, [(0, 0), (0, 0), (rate, rate), (rate, rate)], mode=edge)
        y = conv(around, w[f"convs.{index}.0.weight"], dilation=rate)
        parts.append(relu(batch_norm(y, w, f"convs.{index}.1")))
    y = x.mean((2, 3), keepdims=True) if pool == "mean" else x.max((2, 3), keepdims=True)
    y = batch_norm(conv(y, w["convs.4.1.weight"]), w, "convs.4.2")
    y = np.broadcast_to(relu(y) if branch_relu else y, parts[0].shape)
    parts = [*parts, y] if pooled == "last" else [y, *parts]
    return relu(batch_norm(conv(np.concatenate(parts, 1), w["project.0.weight"]), w, "project.1"))


CASES = [
    Case(
        "third_anchor_box_head",
        build_anchor_head,
        "",
        anchor_head,
        {
            "offsets_not_divided": Mistake(
                partial(anchor_head, weights=(1, 1, 1, 1)),
                "The offsets are not divided by the coder's weights (RetinaNet's ones), where "
                "they are divided by 10, 10, 5 and 5.",
            ),
            "same_weight_for_sizes": Mistake(
                partial(anchor_head, weights=(10, 10, 10, 10)),
                "The offsets of width and height are divided by 10 as those of the centre, where "
                "they are divided by 5.",
            ),
            "coordinates_before_anchors": Mistake(
                partial(anchor_head, channels="coordinates, then anchors"),
                "The convolution's channels are read as (coordinates, anchors), where they are "
                "(anchors, coordinates).",
            ),
            "one_pixel_wider": Mistake(
                partial(anchor_head, legacy=1.0),
                "Widths and heights are x2 - x1 + 1 (Detectron's old convention) and the far "
                "corners are drawn in by 1, where no pixel is added.",
            ),
            "cut_at_swapped_limits": Mistake(
                partial(anchor_head, limits=(32, 48)),
                "x is cut at the image's height and y at its width, where it is the other way "
                "round.",
            ),
            "whole_size_from_centre": Mistake(
                partial(anchor_head, half=1.0),
                "The corners are the centre less and plus the whole width and height, where it "
                "is half of them.",
            ),
        },
    ),
    Case(
        "third_yolov5_head",
        build_grid_head,
        "",
        grid_head,
        {
            "sizes_by_exp": Mistake(
                partial(grid_head, sizes="exp"),
                "Width and height are exp(raw) * anchor (the paper of YOLOv3), where they are "
                "(2 * sigmoid(raw))^2 * anchor.",
            ),
            "grid_not_moved": Mistake(
                partial(grid_head, offset=0.0),
                "The cells' corners are added as they are, where 0.5 is subtracted from them.",
            ),
            "grid_rows_for_x": Mistake(
                partial(grid_head, grid="y, x"),
                "The grid holds (row, column), so x gets the row and y the column, where x gets "
                "the column.",
            ),
            "cells_before_anchors": Mistake(
                partial(grid_head, order="cells first"),
                "The detections are listed cell by cell with the anchors inside, where they are "
                "listed anchor by anchor with the cells inside.",
            ),
            "classes_times_objectness": Mistake(
                partial(grid_head, scores="multiplied"),
                "The classes' scores are multiplied by the objectness already, where the head "
                "puts them out as they are.",
            ),
            "grid_swapped_and_not_moved": Mistake(
                partial(grid_head, grid="y, x", offset=0.0),
                "Two causes: the grid holds (row, column), and 0.5 is not subtracted from it.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_yolov8_distribution_head",
        build_distribution_head,
        "",
        distribution_head,
        {
            "bins_before_sides": Mistake(
                partial(distribution_head, layout="bins, sides"),
                "The channels are read as (bins, sides), where they are (sides, bins).",
            ),
            "bins_from_one": Mistake(
                partial(distribution_head, first_bin=1),
                "The bins are numbered from 1, where the first stands for the distance 0.",
            ),
            "points_at_corners": Mistake(
                partial(distribution_head, point=0.0),
                "The distances go from the cells' corners, where they go from their centres.",
            ),
            "corners_for_centres": Mistake(
                partial(distribution_head, form="xyxy"),
                "The boxes are put out by their two corners, where they are centre and size.",
            ),
            "epsilon_of_pytorch": Mistake(
                partial(distribution_head, eps=1e-5),
                "The batch normalisation has PyTorch's usual epsilon of 1e-5, where the model "
                "has 1e-3.",
            ),
            "likeliest_bin": Mistake(
                partial(distribution_head, mean="likeliest"),
                "A side's distance is the likeliest bin, where it is the mean of the bins by "
                "their probabilities.",
            ),
        },
    ),
    Case(
        "third_detr_positions_of_padded_image",
        build_padded_positions,
        "",
        padded_positions,
        {
            "mask_ignored": Mistake(
                partial(padded_positions, masked=False),
                "The positions are counted over the whole padded map, where they are counted "
                "over the pixels that the mask keeps.",
            ),
            "counted_from_zero": Mistake(
                partial(padded_positions, first=0),
                "Rows and columns are counted from 0, where the cumulative sum begins at 1.",
            ),
            "not_scaled_to_a_turn": Mistake(
                partial(padded_positions, scale=1.0),
                "The normalised positions are not multiplied by 2 pi.",
            ),
            "sines_then_cosines": Mistake(
                partial(padded_positions, order="halves"),
                "All sines come before all cosines, where they alternate.",
            ),
            "columns_before_rows": Mistake(
                partial(padded_positions, axes="columns, rows"),
                "The waves of x come before those of y, where y's come first.",
            ),
            "rates_not_in_pairs": Mistake(
                partial(padded_positions, pairs=False),
                "Each channel has a rate of its own, where a sine and its cosine share one.",
            ),
        },
    ),
    Case(
        "third_deformable_cross_attention",
        build_deformable,
        "",
        deformable,
        {
            "offsets_over_height_and_width": Mistake(
                partial(deformable, over="height, width"),
                "The offsets (x, y) are divided by (height, width), where they are divided by "
                "(width, height).",
            ),
            "pixels_not_moved_by_half": Mistake(
                partial(deformable, shift=0.0),
                "A place is multiplied by the level's size without subtracting the half pixel.",
            ),
            "softmax_by_level": Mistake(
                partial(deformable, shares="over points"),
                "The weights' softmax is over the points of each level, where it is over levels "
                "and points together.",
            ),
            "points_before_levels": Mistake(
                partial(deformable, layout="points, levels"),
                "Offsets and weights are read as (heads, points, levels), where they are (heads, "
                "levels, points).",
            ),
            "places_outside_held_at_edge": Mistake(
                partial(deformable, edge=True),
                "Places outside the map take the edge's values, where they take 0.",
            ),
            "places_swapped": Mistake(
                partial(deformable, places="y, x"),
                "A place's first coordinate is taken for y, where it is x.",
            ),
        },
    ),
    Case(
        "third_region_head",
        build_region_head,
        "",
        region_head,
        {
            "boxes_not_moved_by_half": Mistake(
                partial(region_head, shift=0.0),
                "The scaled boxes are not moved by half a pixel (aligned=False), where 0.5 is "
                "subtracted.",
            ),
            "one_sample": Mistake(
                partial(region_head, samples=1),
                "One sample in the middle of each bin, where there are 2 x 2.",
            ),
            "greatest_sample": Mistake(
                partial(region_head, take="max"),
                "The greatest of a bin's samples is taken, where it is their mean.",
            ),
            "corners_rounded": Mistake(
                partial(region_head, rounded=True),
                "The scaled corners are rounded to whole pixels (RoIPool), where they are kept "
                "and moved by half a pixel.",
            ),
            "flattened_channels_last": Mistake(
                partial(region_head, flat="channels last"),
                "The pooled region is flattened with the channels last, where the layer's "
                "weights expect them first.",
            ),
            "not_moved_and_one_sample": Mistake(
                partial(region_head, shift=0.0, samples=1),
                "Two causes: the scaled boxes are not moved by half a pixel, and each bin has one "
                "sample in its middle.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_feature_pyramid",
        build_pyramid,
        "",
        pyramid,
        {
            "bilinear_on_the_way_down": Mistake(
                partial(pyramid, up="bilinear"),
                "The coarser level is enlarged bilinearly, where the nearest pixel is taken.",
            ),
            "nearest_by_centres": Mistake(
                partial(pyramid, up="centre"),
                "The nearest pixel is found from the pixels' centres (nearest-exact), where it is "
                "the floor of index * old / new.",
            ),
            "smoothed_map_passed_down": Mistake(
                partial(pyramid, passed="smoothed"),
                "A level passes its 3x3 convolution's output down, where it passes the sum from "
                "before that convolution.",
            ),
            "halved_sum": Mistake(
                partial(pyramid, merge="mean"),
                "The lateral map and the one from above are averaged, where they are added.",
            ),
            "output_layer_of_the_coarsest": Mistake(
                partial(pyramid, out=2),
                "The finest level is smoothed by the 3x3 convolution of the coarsest one, where "
                "it has the first one.",
            ),
        },
    ),
    Case(
        "third_atrous_pyramid",
        build_aspp,
        "",
        aspp,
        {
            "rates_reversed": Mistake(
                partial(aspp, rates=(4, 3, 2)),
                "The dilations are 4, 3, 2 in the order of the branches, where they are 2, 3, 4.",
            ),
            "pooled_branch_first": Mistake(
                partial(aspp, pooled="first"),
                "The pooled branch is concatenated first (TensorFlow's DeepLab), where it is the "
                "last.",
            ),
            "greatest_of_image": Mistake(
                partial(aspp, pool="max"),
                "The image is pooled to its greatest values, where it is pooled to their mean.",
            ),
            "pooled_branch_without_relu": Mistake(
                partial(aspp, branch_relu=False),
                "The pooled branch's ReLU is forgotten.",
            ),
            "edges_repeated": Mistake(
                partial(aspp, edge="edge"),
                "The dilated convolutions are padded with the edge's values, where they are "
                "padded with noughts.",
            ),
        },
    ),
]
