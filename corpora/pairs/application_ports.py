"""Ports of networks of keras.applications to PyTorch, written by hand.

Each is written as PyTorch has such networks: in its own classes, with its own names of layers, and
channels first. `NETWORKS` builds a Keras model, its port and an input for both.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
import torch.nn.functional as F
from keras_ports import conv, dense, depthwise, fill, norm, pad_same
from torch import nn

Built = tuple[keras.Model, nn.Module, np.ndarray]


class VGG16(nn.Module):
    """VGG16; the first dense layer has its inputs reordered, so that the forward can flatten."""

    def __init__(self, theirs: keras.Model) -> None:
        super().__init__()
        get = theirs.get_layer
        features: list[nn.Module] = []
        for block, depth in enumerate((2, 2, 3, 3, 3), 1):
            for index in range(1, depth + 1):
                features += [conv(get(f"block{block}_conv{index}"), 1, 1), nn.ReLU(inplace=True)]
            features.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            self._channels_first(get("fc1"), get("block5_pool").output.shape[1:]),
            nn.ReLU(inplace=True),
            dense(get("fc2")),
            nn.ReLU(inplace=True),
            dense(get("predictions")),
        )

    @staticmethod
    def _channels_first(layer: Any, shape: tuple[int, int, int]) -> nn.Linear:
        """A dense layer behind a flattened map of this shape (height, width, channels)."""
        ours = dense(layer)
        weight = ours.weight.data.unflatten(1, shape)
        ours.weight.data = weight.permute(0, 3, 1, 2).flatten(1).contiguous()
        return ours

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


class Bottleneck(nn.Module):
    """A block of ResNet50; Keras has the stride in the first convolution, not in the second."""

    def __init__(self, get: Callable[[str], Any], name: str, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = conv(get(f"{name}_1_conv"), stride)
        self.bn1 = norm(get(f"{name}_1_bn"))
        self.conv2 = conv(get(f"{name}_2_conv"), padding=1)
        self.bn2 = norm(get(f"{name}_2_bn"))
        self.conv3 = conv(get(f"{name}_3_conv"))
        self.bn3 = norm(get(f"{name}_3_bn"))
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if project:
            self.downsample = nn.Sequential(
                conv(get(f"{name}_0_conv"), stride), norm(get(f"{name}_0_bn"))
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class ResNet50(nn.Module):
    """ResNet50, with the attributes that torchvision has."""

    def __init__(self, theirs: keras.Model) -> None:
        super().__init__()
        get = theirs.get_layer

        def layer(stage: str, depth: int, stride: int) -> nn.Sequential:
            blocks = [Bottleneck(get, f"{stage}_block1", stride, True)]
            blocks += [Bottleneck(get, f"{stage}_block{i}", 1, False) for i in range(2, depth + 1)]
            return nn.Sequential(*blocks)

        self.conv1 = conv(get("conv1_conv"), 2, 3)
        self.bn1 = norm(get("conv1_bn"))
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = layer("conv2", 3, 1)
        self.layer2 = layer("conv3", 4, 2)
        self.layer3 = layer("conv4", 6, 2)
        self.layer4 = layer("conv5", 3, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = dense(get("predictions"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The zeros that Keras puts around the pooling never win behind a ReLU.
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class PreactivationUnit(nn.Module):
    """A block of ResNet50V2, whose last one of a stage has the stride."""

    def __init__(self, get: Callable[[str], Any], name: str, stride: int, project: bool) -> None:
        super().__init__()
        self.stride = stride
        self.norm0 = norm(get(f"{name}_preact_bn"))
        self.conv1 = conv(get(f"{name}_1_conv"))
        self.norm1 = norm(get(f"{name}_1_bn"))
        self.conv2 = conv(get(f"{name}_2_conv"), stride, 1)
        self.norm2 = norm(get(f"{name}_2_bn"))
        self.conv3 = conv(get(f"{name}_3_conv"))
        self.shortcut = conv(get(f"{name}_0_conv")) if project else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm0(x))
        if self.shortcut is not None:
            x = self.shortcut(y)
        elif self.stride > 1:
            x = F.max_pool2d(x, 1, self.stride)
        y = F.relu(self.norm1(self.conv1(y)))
        y = F.relu(self.norm2(self.conv2(y)))
        return x + self.conv3(y)


class ResNet50V2(nn.Module):
    """ResNet50V2."""

    def __init__(self, theirs: keras.Model) -> None:
        super().__init__()
        get = theirs.get_layer
        self.stem = conv(get("conv1_conv"), 2, 3)
        self.stages = nn.ModuleList()
        for stage, depth in enumerate((3, 4, 6, 3), 2):
            units = nn.Sequential()
            for index in range(1, depth + 1):
                stride = 2 if index == depth and stage < 5 else 1
                name = f"conv{stage}_block{index}"
                units.append(PreactivationUnit(get, name, stride, index == 1))
            self.stages.append(units)
        self.final_norm = norm(get("post_bn"))
        self.head = dense(get("predictions"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # No ReLU comes before the pooling: padding it by itself would put minus infinity there.
        x = F.max_pool2d(F.pad(self.stem(x), (1, 1, 1, 1)), 3, 2)
        for stage in self.stages:
            x = stage(x)
        x = F.relu(self.final_norm(x))
        return self.head(x.mean(dim=(2, 3)))


class DepthwiseSeparable(nn.Module):
    """A block of MobileNet; at stride 2 it pads below and to the right alone."""

    def __init__(self, get: Callable[[str], Any], index: int, stride: int) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1)
        self.dw = depthwise(get(f"conv_dw_{index}"), stride)
        self.dw_bn = norm(get(f"conv_dw_{index}_bn"))
        self.pw = conv(get(f"conv_pw_{index}"))
        self.pw_bn = norm(get(f"conv_pw_{index}_bn"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.dw_bn(self.dw(self.pad(x))))
        return F.relu6(self.pw_bn(self.pw(x)))


class MobileNet(nn.Module):
    """MobileNet, whose classifier is a convolution."""

    def __init__(self, theirs: keras.Model) -> None:
        super().__init__()
        get = theirs.get_layer
        self.conv_in = conv(get("conv1"), 2)
        self.bn_in = norm(get("conv1_bn"))
        strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
        self.body = nn.Sequential(
            *(DepthwiseSeparable(get, index, stride) for index, stride in enumerate(strides, 1))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(1e-3)
        self.conv_out = conv(get("conv_preds"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (0, 1, 0, 1))
        x = F.relu6(self.bn_in(self.conv_in(x)))
        x = self.dropout(self.pool(self.body(x)))
        return self.conv_out(x).flatten(1)


class InvertedResidual(nn.Module):
    """A block of MobileNetV2; the first of the network does not expand."""

    def __init__(self, get: Callable[[str], Any], name: str, stride: int, residual: bool) -> None:
        super().__init__()
        self.use_res_connect = residual
        parts: list[nn.Module] = []
        if name != "expanded_conv":
            parts += [conv(get(f"{name}_expand")), norm(get(f"{name}_expand_BN")), nn.ReLU6()]
        if stride == 2:
            parts.append(nn.ZeroPad2d((0, 1, 0, 1)))
        parts += [
            depthwise(get(f"{name}_depthwise"), stride, 1 if stride == 1 else 0),
            norm(get(f"{name}_depthwise_BN")),
            nn.ReLU6(),
            conv(get(f"{name}_project")),
            norm(get(f"{name}_project_BN")),
        ]
        self.conv = nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.use_res_connect:
            return x + self.conv(x)
        return self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2, with the attributes that torchvision has."""

    # How many blocks a stage has, and the stride of its first.
    STAGES = ((1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1))

    def __init__(self, theirs: keras.Model) -> None:
        super().__init__()
        get = theirs.get_layer
        features: list[nn.Module] = [
            nn.Sequential(
                nn.ZeroPad2d((0, 1, 0, 1)), conv(get("Conv1"), 2), norm(get("bn_Conv1")), nn.ReLU6()
            )
        ]
        index = 0
        for depth, first_stride in self.STAGES:
            for place in range(depth):
                name = f"block_{index}" if index else "expanded_conv"
                stride = 1 if place else first_stride
                # The blocks of a stage have the same width, but for the input of its first.
                features.append(InvertedResidual(get, name, stride, residual=place > 0))
                index += 1
        features.append(nn.Sequential(conv(get("Conv_1")), norm(get("Conv_1_bn")), nn.ReLU6()))
        self.features = nn.Sequential(*features)
        self.classifier = dense(get("predictions"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        x = torch.flatten(x, 1)
        return self.classifier(x)


class DenseLayer(nn.Module):
    """A layer of DenseNet; it returns the features that it adds."""

    def __init__(self, get: Callable[[str], Any], name: str) -> None:
        super().__init__()
        self.norm1 = norm(get(f"{name}_0_bn"))
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = conv(get(f"{name}_1_conv"))
        self.norm2 = norm(get(f"{name}_1_bn"))
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = conv(get(f"{name}_2_conv"), padding=1)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        x = torch.cat(features, 1)
        x = self.conv1(self.relu1(self.norm1(x)))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    """A block of DenseNet, every layer of which sees the features of all before it."""

    def __init__(self, get: Callable[[str], Any], name: str, depth: int) -> None:
        super().__init__()
        for index in range(1, depth + 1):
            self[f"denselayer{index}"] = DenseLayer(get, f"{name}_block{index}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet121(nn.Module):
    """DenseNet121."""

    def __init__(self, theirs: keras.Model) -> None:
        super().__init__()
        get = theirs.get_layer
        features: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=conv(get("conv1_conv"), 2, 3),
            norm0=norm(get("conv1_bn")),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(3, 2, 1),
        )
        for index, depth in enumerate((6, 12, 24, 16), 1):
            features[f"denseblock{index}"] = DenseBlock(get, f"conv{index + 1}", depth)
            if index < 4:
                features[f"transition{index}"] = nn.Sequential(
                    norm(get(f"pool{index + 1}_bn")),
                    nn.ReLU(inplace=True),
                    conv(get(f"pool{index + 1}_conv")),
                    nn.AvgPool2d(2, 2),
                )
        features["norm5"] = norm(get("bn"))
        self.features = nn.Sequential(features)
        self.classifier = dense(get("predictions"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.features(x), inplace=True)
        out = F.adaptive_avg_pool2d(out, (1, 1)).flatten(1)
        return self.classifier(out)


class SeparableConv2d(nn.Module):
    """A depthwise convolution and a pointwise one with nothing between, in Keras one layer."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        deep, point = np.array(layer.depthwise_kernel), np.array(layer.pointwise_kernel)
        inside, outside = point.shape[2:]
        self.depthwise = nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False)
        self.pointwise = nn.Conv2d(inside, outside, 1, bias=False)
        fill(self.depthwise, weight=deep.transpose(2, 3, 0, 1))
        fill(self.pointwise, weight=point.transpose(3, 2, 0, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.depthwise(x))


class XceptionBlock(nn.Module):
    """A block of Xception: separable convolutions, and a shortcut that may halve the map."""

    def __init__(
        self,
        get: Callable[[str], Any],
        name: str,
        depth: int,
        shortcut: tuple[Any, Any] | None = None,
        start_with_relu: bool = True,
    ) -> None:
        super().__init__()
        rep: list[nn.Module] = []
        for index in range(1, depth + 1):
            if index > 1 or start_with_relu:
                # The first one would overwrite the input of the shortcut if it were in place.
                rep.append(nn.ReLU(inplace=index > 1))
            rep.append(SeparableConv2d(get(f"{name}_sepconv{index}")))
            rep.append(norm(get(f"{name}_sepconv{index}_bn")))
        self.rep = nn.Sequential(*rep)
        self.skip = self.skip_bn = None
        if shortcut is not None:
            self.skip, self.skip_bn = conv(shortcut[0], 2), norm(shortcut[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.rep(x)
        if self.skip is None:
            return y + x
        # TensorFlow's SAME: one before only where the size is odd; the map may be negative.
        top, left = y.shape[2] % 2, y.shape[3] % 2
        y = F.max_pool2d(F.pad(y, (left, 1, top, 1), value=float("-inf")), 3, 2)
        return y + self.skip_bn(self.skip(x))


class Xception(nn.Module):
    """Xception."""

    def __init__(self, theirs: keras.Model) -> None:
        super().__init__()
        get = theirs.get_layer
        # Keras names the layers of the shortcuts by counting all that the session has made.
        convs = [
            one
            for one in theirs.layers
            if isinstance(one, keras.layers.Conv2D) and one.kernel_size == (1, 1)
        ]
        norms = [one for one in theirs.layers if one.name.startswith("batch_normalization")]
        shortcuts = list(zip(convs, norms, strict=True))

        self.conv1, self.bn1 = conv(get("block1_conv1"), 2), norm(get("block1_conv1_bn"))
        self.conv2, self.bn2 = conv(get("block1_conv2")), norm(get("block1_conv2_bn"))
        self.entry = nn.Sequential(
            XceptionBlock(get, "block2", 2, shortcuts[0], start_with_relu=False),
            XceptionBlock(get, "block3", 2, shortcuts[1]),
            XceptionBlock(get, "block4", 2, shortcuts[2]),
        )
        self.middle = nn.Sequential(*(XceptionBlock(get, f"block{i}", 3) for i in range(5, 13)))
        self.exit = XceptionBlock(get, "block13", 2, shortcuts[3])
        self.conv3 = SeparableConv2d(get("block14_sepconv1"))
        self.bn3 = norm(get("block14_sepconv1_bn"))
        self.conv4 = SeparableConv2d(get("block14_sepconv2"))
        self.bn4 = norm(get("block14_sepconv2_bn"))
        self.fc = dense(get("predictions"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = self.exit(self.middle(self.entry(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(x)))
        return self.fc(x.mean((2, 3)))


class SqueezeExcitation(nn.Module):
    """Scales the channels by what their means say."""

    def __init__(self, reduce: Any, expand: Any) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = conv(reduce), conv(expand)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = F.silu(self.fc1(self.avgpool(x)))
        return x * torch.sigmoid(self.fc2(scale))


class MBConv(nn.Module):
    """A block of EfficientNet."""

    def __init__(self, get: Callable[[str], Any], name: str, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.expand: nn.Module = nn.Identity()
        if not name.startswith("block1"):
            self.expand = nn.Sequential(
                conv(get(f"{name}_expand_conv")), norm(get(f"{name}_expand_bn")), nn.SiLU()
            )
        padding = kernel // 2 if stride == 1 else 0
        self.depthwise = depthwise(get(f"{name}_dwconv"), stride, padding)
        self.depthwise_bn = norm(get(f"{name}_bn"))
        self.se = SqueezeExcitation(get(f"{name}_se_reduce"), get(f"{name}_se_expand"))
        self.project = conv(get(f"{name}_project_conv"))
        self.project_bn = norm(get(f"{name}_project_bn"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.expand(x)
        if self.stride == 2:
            y = pad_same(y, self.kernel, 2)
        y = F.silu(self.depthwise_bn(self.depthwise(y)))
        y = self.project_bn(self.project(self.se(y)))
        if self.stride == 1 and x.shape[1] == y.shape[1]:
            y = y + x
        return y


class EfficientNetB0(nn.Module):
    """EfficientNetB0, which takes pixels of 0 to 255 and scales them itself."""

    # The blocks of a stage, the size of their kernels, and the stride of the first.
    STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, theirs: keras.Model) -> None:
        super().__init__()
        get = theirs.get_layer
        (scaling,) = (one for one in theirs.layers if isinstance(one, keras.layers.Normalization))
        mean, std = np.array(scaling.mean), np.sqrt(np.array(scaling.variance))
        self.register_buffer("mean", torch.from_numpy(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.from_numpy(std).reshape(1, 3, 1, 1))
        self.stem, self.stem_bn = conv(get("stem_conv"), 2), norm(get("stem_bn"))
        blocks = []
        for stage, (depth, kernel, stride) in enumerate(self.STAGES, 1):
            for letter in "abcd"[:depth]:
                name = f"block{stage}{letter}"
                blocks.append(MBConv(get, name, kernel, stride if letter == "a" else 1))
        self.blocks = nn.Sequential(*blocks)
        self.top, self.top_bn = conv(get("top_conv")), norm(get("top_bn"))
        self.classifier = nn.Sequential(nn.Dropout(0.2), dense(get("predictions")))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x / 255 - self.mean) / self.std
        x = F.silu(self.stem_bn(self.stem(pad_same(x, 3, 2))))
        x = self.blocks(x)
        x = F.silu(self.top_bn(self.top(x)))
        return self.classifier(x.mean((2, 3)))


def _give_statistics(model: keras.Model, rng: np.random.Generator) -> None:
    """Give the batch normalisations parameters that show where one was forgotten."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.5, 1.5, shape))
            layer.beta.assign(rng.uniform(-0.2, 0.2, shape))
            layer.moving_mean.assign(rng.normal(size=shape) * 0.1)
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, shape))


def _build(
    application: Callable[..., keras.Model],
    port: Callable[[keras.Model], nn.Module],
    size: int = 64,
    pixels: bool = False,
) -> Built:
    """The Keras model with seeded weights, its port, and noise or pixels as their input."""
    keras.utils.set_random_seed(0)
    shape = (size, size, 3)
    theirs = application(weights=None, classes=10, classifier_activation=None, input_shape=shape)
    rng = np.random.default_rng(0)
    _give_statistics(theirs, rng)
    x = rng.uniform(0, 255, (1, *shape)) if pixels else rng.normal(size=(1, *shape))
    return theirs, port(theirs).eval(), x.astype(np.float32)


NETWORKS: dict[str, Callable[[], Built]] = {
    "VGG16": partial(_build, keras.applications.VGG16, VGG16),
    "ResNet50": partial(_build, keras.applications.ResNet50, ResNet50),
    "ResNet50V2": partial(_build, keras.applications.ResNet50V2, ResNet50V2),
    "MobileNet": partial(_build, keras.applications.MobileNet, MobileNet),
    "MobileNetV2": partial(_build, keras.applications.MobileNetV2, MobileNetV2),
    "DenseNet121": partial(_build, keras.applications.DenseNet121, DenseNet121),
    "Xception": partial(_build, keras.applications.Xception, Xception, size=96),
    "EfficientNetB0": partial(
        _build, keras.applications.EfficientNetB0, EfficientNetB0, pixels=True
    ),
}
