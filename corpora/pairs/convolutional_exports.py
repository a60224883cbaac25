"""Convolutional nets of torchvision against their ONNX exports, made from faulty copies."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import torch
import torchvision.models as nets
from edits import (
    Edit,
    both,
    entry,
    exchanged,
    forward,
    option,
    put,
    removed,
    rows_exchanged,
    scaled,
    tensor,
)
from exports import exported, fold_by_hand
from pair import Fault, Pair, Sources, at
from seeded import give_statistics, give_weights, image
from torch import nn

Build = Callable[[], tuple[nn.Module, Any]]
Faults = dict[str, tuple[Edit, str, Sources]]


def net(make: Callable[..., nn.Module], seed: int, size: int = 64, **options: Any) -> Build:
    """What builds a net with ten classes and an input of two images."""

    @cache
    def made() -> tuple[nn.Module, Any]:
        torch.manual_seed(seed)
        model = give_weights(make(num_classes=10, **options), seed)
        give_statistics(model, seed + 1, image(seed + 2, 8, 3, size, size))
        return model, image(seed + 3, 2, 3, size, size)

    return lambda: deepcopy(made())


def pair(name: str, build: Build, way: str, faults: Faults) -> Pair:
    """A net and its export."""
    wrong = {
        fault: Fault(exported(build, way, edit), what, sources)
        for fault, (edit, what, sources) in faults.items()
    }
    return Pair(name, build, exported(build, way), wrong)


def _without_first_relu(self: Any, x: torch.Tensor) -> torch.Tensor:
    short = x if self.downsample is None else self.downsample(x)
    return self.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))) + short)


def _without_shortcut(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


def _relu_before_sum(self: Any, x: torch.Tensor) -> torch.Tensor:
    y = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
    return y + x


def _shortcut_from_convolution(self: Any, x: torch.Tensor) -> torch.Tensor:
    y = self.relu(self.bn1(self.conv1(x)))
    return self.relu(self.bn2(self.conv2(y)) + y)


RESNET = net(nets.resnet18, 1000)
RESNET_FOLDED: Faults = {
    "one_weight": (
        entry("layer2.0.conv1.weight", (3, 5, 1, 1), 1.5),
        "one weight of a convolution is greater by 1.5",
        at("layer2.0.conv1", "layer2.0.bn1"),
    ),
    "row_scaled": (
        scaled("layer1.1.conv2.weight", 7, 1.3),
        "the kernel of one output channel is 1.3 times as large",
        at("layer1.1.conv2", "layer1.1.bn2"),
    ),
    "no_relu_between_convolutions": (
        forward("layer3.0", _without_first_relu),
        "the ReLU after the first normalisation of a block is missing",
        at("layer3.0.relu", "layer3.0"),
    ),
    "no_shortcut": (
        forward("layer2.1", _without_shortcut),
        "the shortcut of a block is missing",
        at("layer2.1", "layer2.1.relu"),
    ),
    "average_for_maximum": (
        put("maxpool", lambda old: nn.AvgPool2d(3, 2, 1)),
        "average pooling for max pooling",
        at("maxpool"),
    ),
    "statistics_of_another": (
        exchanged("layer4.0.bn2.running_var", "layer4.0.downsample.1.running_var"),
        "the variances of two normalisations are exchanged",
        (("layer4.0.bn2", "layer4.0.conv2"), ("layer4.0.downsample.1", "layer4.0.downsample.0")),
    ),
    "no_norm_in_the_shortcut": (
        removed("layer2.0.downsample.1"),
        "the normalisation in a downsampling shortcut is missing",
        at("layer2.0.downsample.1", "layer2.0.downsample.0"),
    ),
    "channels_of_the_image": (
        tensor("conv1.weight", lambda old: old.flip(1)),
        "the first kernel is made for BGR",
        at("conv1", "bn1"),
    ),
}
RESNET_KEPT: Faults = {
    "epsilon": (
        option("layer1.0.bn1", eps=1e-2),
        "epsilon 0.01 for 1e-05 in one normalisation",
        at("layer1.0.bn1"),
    ),
    "relu_before_sum": (
        forward("layer3.1", _relu_before_sum),
        "ReLU before the shortcut is added, not after",
        at("layer3.1", "layer3.1.relu"),
    ),
    "shortcut_from_another_tensor": (
        forward("layer1.1", _shortcut_from_convolution),
        "the shortcut starts behind the first convolution of the block",
        at("layer1.1", "layer1.1.relu"),
    ),
    "reflected": (
        option("layer1.1.conv1", padding_mode="reflect"),
        "padding by reflection for zeros",
        at("layer1.1.conv1"),
    ),
    "dilated": (
        option("layer2.1.conv2", dilation=(2, 2), padding=(2, 2)),
        "dilation 2 and padding 2, which keep the shape",
        at("layer2.1.conv2"),
    ),
    "transposed_kernel": (
        tensor("layer1.0.conv2.weight", lambda old: old.transpose(2, 3)),
        "the kernel's height and width are exchanged",
        at("layer1.0.conv2"),
    ),
    "input_and_output_channels": (
        tensor("layer3.1.conv1.weight", lambda old: old.transpose(0, 1)),
        "the kernel's input and output channels are exchanged",
        at("layer3.1.conv1"),
    ),
    "two_faults": (
        both(
            scaled("layer1.1.bn2.weight", 3, 2.0),
            rows_exchanged("fc.weight", 2, 7),
        ),
        "a gain of a normalisation is doubled, and two rows of the last layer are exchanged",
        (("layer1.1.bn2",), ("fc",)),
    ),
}


def folded(mistake: str, layer: str, what: str, convolution: str) -> Fault:
    """A fold by hand of ResNet with a mistake at one normalisation."""

    def fold(model: nn.Module, x: Any) -> None:
        fold_by_hand(model, x, mistake, layer)

    return Fault(exported(RESNET, "folded", None, fold), what, at(layer, convolution))


FOLDED_BY_HAND = Pair(
    "resnet18_folded_by_hand",
    RESNET,
    exported(RESNET, "folded", None, fold_by_hand),
    {
        "mean_forgotten": folded(
            "mean", "layer1.0.bn2", "folded without the moving mean", "layer1.0.conv2"
        ),
        "variance_for_deviation": folded(
            "variance", "layer2.0.bn1", "folded with the variance, not its root", "layer2.0.conv1"
        ),
        "epsilon": folded("epsilon", "bn1", "folded with epsilon 0.01 for 1e-05", "conv1"),
        "rows_reversed": folded(
            "rows",
            "layer3.0.downsample.1",
            "the gains are multiplied onto the rows in reverse order",
            "layer3.0.downsample.0",
        ),
        "gain_of_the_mean": folded(
            "gain of the mean",
            "layer4.1.bn1",
            "the mean's part of the bias is folded without the gain",
            "layer4.1.conv1",
        ),
    },
)


MOBILE = net(nets.mobilenet_v3_small, 1100)
MOBILE_FAULTS: Faults = {
    "relu6_for_hardswish": (
        put("features.5.block.0.2", lambda old: nn.ReLU6()),
        "ReLU6 for hard swish after one expansion",
        at("features.5.block.0.2"),
    ),
    "sigmoid_for_hard_sigmoid": (
        put("features.1.block.1.scale_activation", lambda old: nn.Sigmoid()),
        "a sigmoid for the hard sigmoid of one squeeze and excitation",
        at("features.1.block.1.scale_activation"),
    ),
    "depthwise_flipped": (
        tensor("features.3.block.1.0.weight", lambda old: old.flip(3)),
        "a depthwise kernel is mirrored left to right",
        at("features.3.block.1.0", "features.3.block.1.1"),
    ),
    "depthwise_dilated": (
        option("features.5.block.1.0", dilation=(2, 2), padding=(4, 4)),
        "a depthwise convolution is dilated, its padding keeps the shape",
        at("features.5.block.1.0", "features.5.block.1.1"),
    ),
    "epsilon": (
        option("features.2.block.2.1", eps=0.1),
        "epsilon 0.1 for 0.001 in one normalisation",
        at("features.2.block.2.1", "features.2.block.2.0"),
    ),
    "squeeze_by_maximum": (
        put("features.4.block.2.avgpool", lambda old: nn.AdaptiveMaxPool2d(1)),
        "squeeze and excitation squeezes by the maximum",
        at("features.4.block.2.avgpool"),
    ),
    "two_faults": (
        both(
            removed("features.2.block.1.2"),
            tensor("classifier.0.bias", torch.zeros_like),
        ),
        "a ReLU after a depthwise convolution and the bias of the first dense layer are missing",
        (("features.2.block.1.2",), ("classifier.0",)),
    ),
}


def _unshuffled(self: Any, x: torch.Tensor) -> torch.Tensor:
    kept, rest = x.chunk(2, dim=1)
    return torch.cat((kept, self.branch2(rest)), dim=1)


def _shuffled_otherwise(self: Any, x: torch.Tensor) -> torch.Tensor:
    kept, rest = x.chunk(2, dim=1)
    y = torch.cat((kept, self.branch2(rest)), dim=1)
    n, c, h, w = y.shape
    return y.view(n, c // 2, 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def _branches_exchanged(self: Any, x: torch.Tensor) -> torch.Tensor:
    y = torch.cat((self.branch2(x), self.branch1(x)), dim=1)
    n, c, h, w = y.shape
    return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def _halves_exchanged(self: Any, x: torch.Tensor) -> torch.Tensor:
    rest, kept = x.chunk(2, dim=1)
    y = torch.cat((kept, self.branch2(rest)), dim=1)
    n, c, h, w = y.shape
    return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


SHUFFLE = net(nets.shufflenet_v2_x0_5, 1200)
SHUFFLE_FAULTS: Faults = {
    "not_shuffled": (
        forward("stage2.2", _unshuffled),
        "the channels of one unit are not shuffled",
        at("stage2.2"),
    ),
    "shuffled_otherwise": (
        forward("stage3.4", _shuffled_otherwise),
        "the shuffle takes the groups for the channels of a group",
        at("stage3.4"),
    ),
    "branches_exchanged": (
        forward("stage3.0", _branches_exchanged),
        "the two branches are joined in the other order",
        at("stage3.0"),
    ),
    "halves_exchanged": (
        forward("stage2.1", _halves_exchanged),
        "the first half of the channels is computed and the second kept",
        at("stage2.1"),
    ),
    "depthwise_kernels_exchanged": (
        rows_exchanged("stage2.3.branch2.3.weight", 4, 9),
        "the depthwise kernels of two channels are exchanged",
        at("stage2.3.branch2.3"),
    ),
    "relu_after_depthwise": (
        put("stage3.2.branch2.4", lambda old: nn.Sequential(old, nn.ReLU())),
        "a ReLU after a depthwise convolution where there is none",
        at("stage3.2.branch2.4", "stage3.2.branch2.5"),
    ),
}


def _relu_before_norm(self: Any, inputs: list[torch.Tensor]) -> torch.Tensor:
    return self.conv1(self.norm1(self.relu1(torch.cat(inputs, 1))))


def _newest_first(self: Any, inputs: list[torch.Tensor]) -> torch.Tensor:
    return self.conv1(self.relu1(self.norm1(torch.cat(list(reversed(inputs)), 1))))


DENSE = net(nets.densenet121, 1300)
DENSE_FAULTS: Faults = {
    "relu_before_norm": (
        forward("features.denseblock2.denselayer3", _relu_before_norm, "bn_function"),
        "ReLU and normalisation of one layer are in the other order",
        at(
            "features.denseblock2.denselayer3.norm1",
            "features.denseblock2.denselayer3.relu1",
            "features.denseblock2.denselayer3",
        ),
    ),
    "joined_newest_first": (
        forward("features.denseblock1.denselayer4", _newest_first, "bn_function"),
        "one layer joins the features before it in the other order",
        at("features.denseblock1.denselayer4"),
    ),
    "transition_by_maximum": (
        put("features.transition2.pool", lambda old: nn.MaxPool2d(2, 2)),
        "a transition takes the maximum",
        at("features.transition2.pool"),
    ),
    "mean_not_moved": (
        tensor("features.denseblock3.denselayer7.norm1.running_mean", torch.zeros_like),
        "the moving mean of one normalisation is 0",
        at("features.denseblock3.denselayer7.norm1"),
    ),
    "kernel_turned": (
        tensor("features.denseblock1.denselayer2.conv2.weight", lambda old: old.flip(2, 3)),
        "a kernel is turned by 180 degrees",
        at("features.denseblock1.denselayer2.conv2"),
    ),
}


def _expands_exchanged(self: Any, x: torch.Tensor) -> torch.Tensor:
    x = self.squeeze_activation(self.squeeze(x))
    one = self.expand1x1_activation(self.expand1x1(x))
    three = self.expand3x3_activation(self.expand3x3(x))
    return torch.cat([three, one], 1)


SQUEEZE = net(nets.squeezenet1_1, 1400)
SQUEEZE_FAULTS: Faults = {
    "expands_exchanged": (
        forward("features.6", _expands_exchanged),
        "the expansions of a fire module are joined in the other order",
        at("features.6"),
    ),
    "no_relu": (
        removed("features.4.expand3x3_activation"),
        "the ReLU of one expansion is missing",
        at("features.4.expand3x3_activation"),
    ),
    "no_bias": (
        tensor("features.9.squeeze.bias", torch.zeros_like),
        "the bias of a squeeze is missing",
        at("features.9.squeeze"),
    ),
    "kernel_transposed": (
        tensor("features.3.expand3x3.weight", lambda old: old.transpose(2, 3)),
        "the kernel's height and width are exchanged",
        at("features.3.expand3x3"),
    ),
    "leaky": (
        put("features.7.squeeze_activation", lambda old: nn.LeakyReLU(0.1)),
        "leaky ReLU for ReLU",
        at("features.7.squeeze_activation"),
    ),
    "two_faults": (
        both(
            scaled("features.0.weight", 11, 0.5),
            put("classifier.3", lambda old: nn.AdaptiveMaxPool2d(1)),
        ),
        "a row of the first kernel is halved, and the last pooling takes the maximum",
        (("features.0",), ("classifier.3",)),
    ),
}


def _without_sum(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.block(x)


EFFICIENT = net(nets.efficientnet_b0, 1500)
EFFICIENT_FAULTS: Faults = {
    "relu_in_excitation": (
        put("features.2.0.block.2.activation", lambda old: nn.ReLU()),
        "ReLU for SiLU in one squeeze and excitation",
        at("features.2.0.block.2.activation"),
    ),
    "wrong_dilation": (
        option("features.3.1.block.1.0", dilation=(2, 2), padding=(4, 4)),
        "a depthwise convolution is dilated, its padding keeps the shape",
        at("features.3.1.block.1.0", "features.3.1.block.1.1"),
    ),
    "no_shortcut": (
        forward("features.4.2", _without_sum),
        "the shortcut of a block is missing",
        at("features.4.2"),
    ),
    "bgr": (
        tensor("features.0.0.weight", lambda old: old.flip(1)),
        "the first kernel is made for BGR",
        at("features.0.0", "features.0.1"),
    ),
    "activation_after_projection": (
        put("features.5.1.block.3", lambda old: nn.Sequential(old, nn.SiLU())),
        "SiLU after a projection, which is linear",
        at("features.5.1.block.3", "features.5.1"),
    ),
    "excitation_weights": (
        rows_exchanged("features.6.1.block.2.fc2.weight", 5, 6),
        "two rows of an excitation's second layer are exchanged",
        at("features.6.1.block.2.fc2"),
    ),
}


REG = net(nets.regnet_y_400mf, 1600)
REG_FAULTS: Faults = {
    "groups_exchanged": (
        tensor("trunk_output.block2.block2-0.f.b.0.weight", lambda old: old.roll(8, 0)),
        "the kernels of a grouped convolution are moved by one group",
        at("trunk_output.block2.block2-0.f.b.0"),
    ),
    "gate_without_bias": (
        tensor("trunk_output.block1.block1-0.f.se.fc2.bias", torch.zeros_like),
        "the bias of an excitation is missing",
        at("trunk_output.block1.block1-0.f.se.fc2"),
    ),
    "no_relu": (
        removed("trunk_output.block3.block3-1.activation"),
        "the ReLU after a block's sum is missing",
        at("trunk_output.block3.block3-1.activation"),
    ),
    "beta": (
        entry("trunk_output.block2.block2-1.f.c.1.bias", (0,), 0.7),
        "one shift of a normalisation is greater by 0.7",
        at("trunk_output.block2.block2-1.f.c.1"),
    ),
    "two_faults": (
        both(
            removed("trunk_output.block1.block1-0.proj.1"),
            tensor("fc.weight", lambda old: old * 1.02),
        ),
        "the shortcut's normalisation is missing, and the last weights are 1.02 times as large",
        (("trunk_output.block1.block1-0.proj.1",), ("fc",)),
    ),
}


PAIRS = [
    pair("resnet18_folded", RESNET, "folded", RESNET_FOLDED),
    pair("resnet18_kept", RESNET, "kept", RESNET_KEPT),
    FOLDED_BY_HAND,
    pair("mobilenet_v3_small", MOBILE, "dynamo", MOBILE_FAULTS),
    pair("shufflenet_v2", SHUFFLE, "kept", SHUFFLE_FAULTS),
    pair("densenet121", DENSE, "kept", DENSE_FAULTS),
    pair("squeezenet", SQUEEZE, "dynamo", SQUEEZE_FAULTS),
    pair("efficientnet_b0", EFFICIENT, "folded", EFFICIENT_FAULTS),
    pair("regnet_y", REG, "kept", REG_FAULTS),
]
