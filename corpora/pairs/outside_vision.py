"""Vision networks of PyTorch against their ONNX files and hand-written copies, right and faulty.

Written from what goes wrong when networks are exported, ported and quantised, without a look at
how they are compared. Healthy second models look different where they may: inputs renamed or in
another order, another layout, branches and projections merged, other number formats.
"""

import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import MethodType
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    quantize_dynamic,
    quantize_static,
)
from pair import Fault, Pair
from torch import nn
from torchvision.models import ConvNeXt, GoogLeNet, SwinTransformer, mobilenetv2, resnet, vgg
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d

Build = Callable[[], tuple[nn.Module, Any]]
Edit = Callable[[nn.Module], Any]
Wrong = tuple[str, tuple[tuple[str, ...], ...], Edit | None, dict[str, Any]]


def picture(seed: int, *shape: int) -> np.ndarray:
    """Smooth noise, another mean in each channel of an image."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    if len(shape) == 4:
        x = 0.6 * (x + np.roll(x, 1, 2) + np.roll(x, 1, 3))
        x = x + rng.normal(size=(1, shape[1], 1, 1))
    return x.astype(np.float32)


def tensors(x: Any) -> tuple[torch.Tensor, ...]:
    """The inputs as tensors."""
    return tuple(torch.tensor(one) for one in (x if isinstance(x, tuple) else (x,)))


def settled(model: nn.Module, seed: int, x: Any) -> nn.Module:
    """The model with weights that keep the signal, and statistics of what comes in."""
    generator = torch.Generator().manual_seed(seed)

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for name, one in model.named_parameters():
            if one.dim() > 1:
                one.copy_(noise(one) * (1.7 / one[0].numel()) ** 0.5)
            elif "bias" in name:
                one.copy_(0.25 * noise(one))
            else:
                one.copy_((1 + 0.25 * noise(one)).clamp(0.4, 1.6))
        for module in model.modules():
            if isinstance(module, nn.PReLU):
                module.weight.copy_(0.25 + 0.05 * noise(module.weight))
            if isinstance(module, FrozenBatchNorm2d):
                module.weight.copy_((1 + 0.25 * noise(module.weight)).clamp(0.4, 1.6))
                module.bias.copy_(0.25 * noise(module.bias))
                module.running_mean.copy_(0.3 * noise(module.running_mean))
                module.running_var.copy_((1 + 0.3 * noise(module.running_var)).clamp(0.3))
        norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
        if norms:
            model.eval()
            before = [one.momentum for one in norms]
            for one in norms:
                one.train()
                one.momentum = 1.0
            model(*tensors(x))
            for one, momentum in zip(norms, before, strict=True):
                one.momentum = momentum
                # A channel that hardly varies would be noise, many times as large.
                one.running_var.clamp_(min=0.1 * float(one.running_var.mean()))
    return model.eval()


def net(make: Callable[[], nn.Module], seed: int, *shapes: tuple[int, ...]) -> Build:
    """What builds a network and its input, each time as new."""

    @cache
    def made() -> tuple[nn.Module, Any]:
        torch.manual_seed(seed)
        inputs = tuple(picture(seed + 7 * i, *shape) for i, shape in enumerate(shapes))
        x = inputs[0] if len(inputs) == 1 else inputs
        return settled(make(), seed, x), x

    return lambda: deepcopy(made())


def change(name: str, how: Callable[[torch.Tensor], torch.Tensor]) -> Edit:
    """An edit of one tensor."""

    def edit(model: nn.Module) -> None:
        old = model.state_dict()[name]
        old.copy_(how(old.clone()))

    return edit


def exchange(one: str, other: str) -> Edit:
    """Two tensors exchanged."""

    def edit(model: nn.Module) -> None:
        tensor, second = model.state_dict()[one], model.state_dict()[other]
        kept = tensor.clone()
        tensor.copy_(second)
        second.copy_(kept)

    return edit


def setting(layer: str, **values: Any) -> Edit:
    """Attributes of one layer."""

    def edit(model: nn.Module) -> None:
        for name, value in values.items():
            setattr(model.get_submodule(layer), name, value)

    return edit


def replace(layer: str, make: Callable[[], nn.Module]) -> Edit:
    """Another module in a layer's place."""
    return lambda model: model.set_submodule(layer, make())


def method(layer: str, function: Callable[..., Any], name: str = "forward") -> Edit:
    """Another method of one layer."""

    def edit(model: nn.Module) -> None:
        owner = model.get_submodule(layer)
        setattr(owner, name, MethodType(function, owner))

    return edit


def redrawn(layer: str, seed: int) -> Edit:
    """The weights of another checkpoint in one layer."""

    def edit(model: nn.Module) -> None:
        generator = torch.Generator().manual_seed(seed)
        for one in model.get_submodule(layer).parameters():
            spread = one.std() if one.numel() > 1 else 1.0
            one.copy_(torch.randn(one.shape, generator=generator) * spread + one.mean())

    return edit


def second(
    build: Build,
    to_b: Callable[[Any], Any] = lambda x: x,
    *,
    edit: Edit | None = None,
    view: Callable[[nn.Module], nn.Module] = lambda model: model,
    finish: Callable[[Path, Any], None] | None = None,
    dynamo: bool = False,
    opset: int = 17,
    inputs: tuple[str, ...] = ("image",),
    outputs: tuple[str, ...] = ("scores",),
    batch: bool = False,
    half: bool = False,
    kept: bool = False,
    live: bool = False,
) -> Callable[[Path], Any]:
    """What writes the network as an .onnx, or gives it live: edited, and as `view` shows it."""

    def write(folder: Path) -> Any:
        model, x = build()
        with torch.no_grad():
            if edit is not None:
                edit(model)
            model = view(model).eval()
        given = tensors(to_b(x))
        if live:
            return model
        if half:
            model, given = model.half(), tuple(one.half() for one in given)
        path = folder / "second.onnx"
        options: dict[str, Any] = {}
        if dynamo:
            options = {"dynamo": True, "external_data": False, "verbose": False}
            if batch:
                size = torch.export.Dim("batch", min=1, max=64)
                options["dynamic_shapes"] = tuple({0: size} for _ in given)
        else:
            options = {"dynamo": False, "do_constant_folding": not kept}
            if kept:
                options["training"] = torch.onnx.TrainingMode.PRESERVE
            if batch:
                options["dynamic_axes"] = {name: {0: "batch"} for name in (*inputs, *outputs)}
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                given,
                str(path),
                opset_version=opset,
                input_names=list(inputs),
                output_names=list(outputs),
                **options,
            )
        if finish is not None:
            finish(path, to_b(x))
        return path

    return write


def wrong(
    what: str, *layers: str, edit: Edit | None = None, also: tuple[str, ...] = (), **way: Any
) -> Wrong:
    """A fault in one of these layers, and one in one of the others."""
    return what, (layers, also) if also else (layers,), edit, way


def pair(name: str, build: Build, faults: dict[str, Wrong], **way: Any) -> Pair:
    """A network and its second, and the second with faults."""
    shown = {key: way.pop(key) for key in ("to_b", "from_b", "rounding") if key in way}
    to_b = shown.get("to_b", lambda x: x)
    found = {
        fault: Fault(second(build, to_b, edit=edit, **{**way, **other}), what, sources)
        for fault, (what, sources, edit, other) in faults.items()
    }
    return Pair(name, build, second(build, to_b, **way), found, **shown)


def conv(c: int, out: int, kernel: int = 3, stride: int = 1, act: Any = nn.ReLU) -> nn.Sequential:
    """Convolution, normalisation and activation."""
    return nn.Sequential(
        nn.Conv2d(c, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), act()
    )


# Residual nets with frozen normalisation.


def _resnext() -> nn.Module:
    return resnet.ResNet(
        resnet.Bottleneck,
        [1, 2, 1, 1],
        num_classes=12,
        groups=8,
        width_per_group=8,
        norm_layer=FrozenBatchNorm2d,
    )


def _stride_first(model: nn.Module) -> None:
    setting("layer3.0.conv1", stride=(2, 2))(model)
    setting("layer3.0.conv2", stride=(1, 1))(model)


RESNEXT = pair(
    "resnext_frozen_norms",
    net(_resnext, 21, (2, 3, 64, 64)),
    {
        "epsilon_of_a_frozen_norm": wrong(
            "a frozen normalisation with epsilon 0.05 for 1e-05",
            "layer2.0.bn2",
            "layer2.0.conv2",
            edit=setting("layer2.0.bn2", eps=0.05),
        ),
        "groups_rolled": wrong(
            "the kernels of a grouped convolution are rolled by one group",
            "layer2.1.conv2",
            "layer2.1.bn2",
            edit=change("layer2.1.conv2.weight", lambda old: old.roll(16, 0)),
        ),
        "stride_in_the_first": wrong(
            "the stride of a bottleneck lies in its 1x1 convolution, not in the 3x3",
            "layer3.0.conv1",
            "layer3.0.bn1",
            "layer3.0.conv2",
            edit=_stride_first,
        ),
        "frozen_statistics_of_another": wrong(
            "the moving mean of a frozen normalisation is that of its neighbour",
            "layer1.0.bn2",
            "layer1.0.conv2",
            edit=lambda model: model.layer1[0].bn2.running_mean.copy_(
                model.layer1[0].bn1.running_mean
            ),
        ),
    },
    opset=13,
    inputs=("pixel_values",),
)


def _vgg() -> nn.Module:
    features = vgg.make_layers([16, "M", 24, 24, "M", 32, "M"], batch_norm=True)
    model = vgg.VGG(features, num_classes=10, init_weights=False)
    model.avgpool = nn.AdaptiveAvgPool2d((3, 3))
    model.classifier = nn.Sequential(
        nn.Linear(32 * 9, 40), nn.ReLU(), nn.Dropout(0.4), nn.Linear(40, 10)
    )
    return model


VGG = pair(
    "vgg_batch_norm",
    net(_vgg, 22, (3, 3, 40, 40)),
    {
        "bias_before_the_norm": wrong(
            "the bias of a convolution that a normalisation follows is dropped",
            "features.4",
            "features.5",
            edit=change("features.4.bias", torch.zeros_like),
        ),
        "average_pooling": wrong(
            "the second pooling takes the average",
            "features.10",
            edit=replace("features.10", lambda: nn.AvgPool2d(2, 2)),
        ),
        "flattened_channels_last": wrong(
            "the first dense layer was made for a flatten with the channels last",
            "classifier.0",
            edit=change(
                "classifier.0.weight",
                lambda old: old.view(40, 32, 9).transpose(1, 2).reshape(40, -1),
            ),
        ),
        "dropout_scale": wrong(
            "dropout is gone, its factor 1 / 0.6 stayed",
            "classifier.3",
            "classifier.2",
            edit=change("classifier.3.weight", lambda old: old / 0.6),
        ),
    },
    dynamo=True,
    opset=18,
    batch=True,
)


def _mobile() -> nn.Module:
    blocks = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2], [6, 64, 2, 2]]
    return mobilenetv2.MobileNetV2(10, width_mult=0.35, inverted_residual_setting=blocks)


def _relu_after_projection(model: nn.Module) -> None:
    old = model.features[3].conv[3]
    model.features[3].conv[3] = nn.Sequential(old, nn.ReLU6())


MOBILE = pair(
    "mobilenet_v2_float16",
    net(_mobile, 23, (4, 3, 64, 64)),
    {
        "depthwise_rows_reversed": wrong(
            "the depthwise kernels of one block are in reverse order",
            "features.4.conv.1.0",
            "features.4.conv.1.1",
            edit=change("features.4.conv.1.0.weight", lambda old: old.flip(0)),
        ),
        "projection_of_another_checkpoint": wrong(
            "one projection has the weights of another checkpoint",
            "features.6.conv.2",
            "features.6.conv.3",
            edit=redrawn("features.6.conv.2", 5),
        ),
        "activation_after_projection": wrong(
            "ReLU6 behind a projection, which is linear",
            "features.3.conv.3",
            "features.3",
            edit=_relu_after_projection,
        ),
    },
    half=True,
    rounding=2e-2,
)


# A net that moves the image to another mean inside.


def _googlenet() -> nn.Module:
    return GoogLeNet(10, aux_logits=False, transform_input=True, init_weights=False)


def _branches_reversed(self: Any, x: torch.Tensor) -> list[torch.Tensor]:
    return [self.branch4(x), self.branch3(x), self.branch2(x), self.branch1(x)]


GOOGLENET = pair(
    "googlenet_transforms_inside",
    net(_googlenet, 24, (2, 3, 96, 96)),
    {
        "transform_forgotten": wrong(
            "the image is not moved to the other mean and scale inside the net",
            "conv1",
            "conv1.conv",
            "conv1.bn",
            edit=setting("", transform_input=False),
        ),
        "branches_reversed": wrong(
            "an inception block joins its branches in reverse order",
            "inception4b",
            edit=method("inception4b", _branches_reversed, "_forward"),
        ),
        "average_in_a_branch": wrong(
            "the pooling branch of a block averages",
            "inception3b.branch4.0",
            edit=replace("inception3b.branch4.0", lambda: nn.AvgPool2d(3, 1, 1)),
        ),
    },
    opset=12,
    inputs=("rgb",),
    outputs=("logits",),
)


# U-Nets.


class UNet(nn.Module):
    """Two levels down and up, by interpolation or by transposed convolution."""

    def __init__(self, transposed: bool, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.enter = conv(3, 12, act=act)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), conv(12, 20, act=act))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), conv(20, 28, act=act))
        if transposed:
            self.up1: nn.Module = nn.ConvTranspose2d(28, 20, 3, 2, 1, 1)
            self.up2: nn.Module = nn.ConvTranspose2d(20, 12, 2, 2)
        else:
            self.up1 = nn.Sequential(_upsampled(), nn.Conv2d(28, 20, 1))
            self.up2 = nn.Sequential(_upsampled(), nn.Conv2d(20, 12, 1))
        self.join1 = Join()
        self.join2 = Join()
        self.mix1 = conv(40, 20, act=act)
        self.mix2 = conv(24, 12, act=act)
        self.mask = nn.Conv2d(12, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        high = self.enter(x)
        middle = self.down1(high)
        low = self.down2(middle)
        middle = self.mix1(self.join1(self.up1(low), middle))
        return self.mask(self.mix2(self.join2(self.up2(middle), high)))


class Join(nn.Module):
    """Two maps, channel behind channel."""

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.cat((one, other), 1)


def _joined_otherwise(self: Any, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.cat((other, one), 1)


def _upsampled(corners: bool = False) -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=corners)


UNET = pair(
    "unet_bilinear",
    net(lambda: UNet(False, nn.SiLU), 25, (1, 3, 32, 48)),
    {
        "corners": wrong(
            "one interpolation aligns the corners",
            "up1.0",
            edit=replace("up1.0", lambda: _upsampled(True)),
        ),
        "nearest": wrong(
            "one interpolation takes the nearest neighbour",
            "up2.0",
            edit=replace("up2.0", lambda: nn.Upsample(scale_factor=2)),
        ),
        "joined_otherwise": wrong(
            "the encoder's map stands before the decoder's",
            "join2",
            "mix2.0",
            edit=method("join2", _joined_otherwise),
        ),
        "relu_for_silu": wrong(
            "ReLU for SiLU in one block",
            "down1.1.2",
            edit=replace("down1.1.2", nn.ReLU),
        ),
    },
    dynamo=True,
    opset=18,
    inputs=("input_1",),
    outputs=("mask",),
)


class ChannelsLast(nn.Module):
    """A net that takes and gives images with the channels last."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _folded_twice(model: nn.Module) -> None:
    norm = model.down2[1][1]
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    model.down2[1][0].weight.mul_(gain[:, None, None, None])


def _to_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


UNET_LAST = pair(
    "unet_transposed_channels_last",
    net(lambda: UNet(True, lambda: nn.LeakyReLU(0.1)), 26, (2, 3, 40, 32)),
    {
        "kernel_not_flipped": wrong(
            "the kernel of a transposed convolution is turned by 180 degrees",
            "up1",
            edit=change("up1.weight", lambda old: old.flip(2, 3)),
        ),
        "slope": wrong(
            "a leaky ReLU with slope 0.01 for 0.1",
            "mix1.2",
            edit=setting("mix1.2", negative_slope=0.01),
        ),
        "folded_twice": wrong(
            "the gain of a normalisation is folded into its convolution, and applied again",
            "down2.1.0",
            "down2.1.1",
            edit=_folded_twice,
        ),
        "bgr": wrong(
            "the first kernel is made for BGR",
            "enter.0",
            "enter.1",
            edit=change("enter.0.weight", lambda old: old.flip(1)),
        ),
    },
    view=ChannelsLast,
    to_b=_to_last,
    from_b=lambda y: y.transpose(0, 3, 1, 2),
    opset=16,
    inputs=("nhwc_image",),
    batch=True,
)


# Detectors.


class Retina(nn.Module):
    """A pyramid over three maps, and the head of a RetinaNet, which gives a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.one = conv(3, 12, stride=4)
        self.two = conv(12, 18, stride=2)
        self.three = conv(18, 24, stride=2)
        self.pyramid = FeaturePyramidNetwork([12, 18, 24], 16)
        self.head = RetinaNetHead(16, 3, 5)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        one = self.one(image)
        two = self.two(one)
        maps = {"a": one, "b": two, "c": self.three(two)}
        return self.head(list(self.pyramid(maps).values()))


class Concatenated(nn.Module):
    """Scores and boxes in one tensor, the boxes first."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.inner(image)
        return torch.cat((found["bbox_regression"], found["cls_logits"]), -1)


def _towers_exchanged(model: nn.Module) -> None:
    for part in ("weight", "bias"):
        exchange(
            f"head.classification_head.conv.1.0.{part}", f"head.regression_head.conv.1.0.{part}"
        )(model)


RETINA = pair(
    "retina_head_concatenated",
    net(Retina, 27, (1, 3, 64, 64)),
    {
        "anchors_rolled": wrong(
            "the scores of the anchors are rolled by one anchor",
            "head.classification_head.cls_logits",
            edit=change("head.classification_head.cls_logits.weight", lambda old: old.roll(5, 0)),
        ),
        "towers_exchanged": wrong(
            "the second convolutions of the two towers are exchanged",
            "head.classification_head.conv.1.0",
            "head.classification_head.conv.1",
            also=("head.regression_head.conv.1.0", "head.regression_head.conv.1"),
            edit=_towers_exchanged,
        ),
        "prior_dropped": wrong(
            "the bias of the scores is dropped",
            "head.classification_head.cls_logits",
            edit=change("head.classification_head.cls_logits.bias", torch.zeros_like),
        ),
        "lateral_of_another": wrong(
            "a lateral convolution of the pyramid is that of another checkpoint",
            "pyramid.inner_blocks.1.0",
            "pyramid.inner_blocks.1",
            edit=redrawn("pyramid.inner_blocks.1.0", 6),
        ),
    },
    view=Concatenated,
    from_b=lambda y: y[..., 4:],
    outputs=("detections",),
)


class Sppf(nn.Module):
    """Pooling on top of pooling, all joined."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.enter = conv(c, c // 2, 1, act=nn.SiLU)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = conv(2 * c, c, 1, act=nn.SiLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [self.enter(x)]
        for _ in range(3):
            found.append(self.pool(found[-1]))
        return self.leave(torch.cat(found, 1))


class Split(nn.Module):
    """Half of the channels goes through a residual block."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.enter = conv(c, c, 1, act=nn.SiLU)
        self.one = conv(c // 2, c // 2, act=nn.SiLU)
        self.two = conv(c // 2, c // 2, act=nn.SiLU)
        self.leave = conv(3 * c // 2, c, 1, act=nn.SiLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, rest = self.enter(x).chunk(2, 1)
        return self.leave(torch.cat((kept, rest, rest + self.two(self.one(rest))), 1))


def _halves_exchanged(self: Any, x: torch.Tensor) -> torch.Tensor:
    rest, kept = self.enter(x).chunk(2, 1)
    return self.leave(torch.cat((kept, rest, rest + self.two(self.one(rest))), 1))


def _no_shortcut(self: Any, x: torch.Tensor) -> torch.Tensor:
    kept, rest = self.enter(x).chunk(2, 1)
    return self.leave(torch.cat((kept, rest, self.two(self.one(rest))), 1))


class Yolo(nn.Module):
    """A detector of one stage without anchors: boxes and scores of two maps, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 12, stride=2, act=nn.SiLU)
        self.down = conv(12, 16, stride=2, act=nn.SiLU)
        self.split = Split(16)
        self.deep = conv(16, 24, stride=2, act=nn.SiLU)
        self.sppf = Sppf(24)
        self.up = nn.Upsample(scale_factor=2)
        self.fuse = conv(40, 16, act=nn.SiLU)
        self.fine = nn.Conv2d(16, 9, 1)
        self.coarse = nn.Conv2d(24, 9, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        high = self.split(self.down(self.stem(image)))
        low = self.sppf(self.deep(high))
        high = self.fuse(torch.cat((self.up(low), high), 1))
        found = [self.fine(high).flatten(2), self.coarse(low).flatten(2)]
        return torch.cat(found, 2)


class Transposed(nn.Module):
    """Boxes as rows, and the maps of the two levels besides."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = self.inner(image).transpose(1, 2)
        return found, found[..., :4], found[..., 4:].sigmoid()


YOLO = pair(
    "yolo_rows_and_extra_outputs",
    net(Yolo, 28, (1, 3, 64, 64)),
    {
        "pool_of_three": wrong(
            "the pooling of the pyramid takes 3 for 5 pixels",
            "sppf.pool",
            edit=setting("sppf.pool", kernel_size=3, padding=1),
        ),
        "halves_exchanged": wrong(
            "the first half of the channels goes through the block, the second is kept",
            "split",
            "split.one.0",
            "split.enter.2",
            edit=method("split", _halves_exchanged),
        ),
        "no_shortcut": wrong(
            "the shortcut inside the split block is missing",
            "split",
            "split.two.2",
            edit=method("split", _no_shortcut),
        ),
        "epsilon": wrong(
            "a normalisation with epsilon 0.1 for 1e-05",
            "fuse.1",
            "fuse.0",
            edit=setting("fuse.1", eps=0.1),
        ),
    },
    view=Transposed,
    from_b=lambda y: y.transpose(0, 2, 1),
    outputs=("rows", "boxes", "classes"),
    inputs=("images",),
    opset=11,
)


# Recurrent nets over images.


class Crnn(nn.Module):
    """Convolutions, then an LSTM in both directions over the width."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(1, 12), nn.MaxPool2d(2), conv(12, 16), nn.MaxPool2d((4, 1)), conv(16, 16)
        )
        self.rnn = nn.LSTM(32, 14, bidirectional=True, batch_first=True)
        self.letters = nn.Linear(28, 11)

    def forward(self, line: torch.Tensor) -> torch.Tensor:
        maps = self.features(line)
        found, _ = self.rnn(maps.flatten(1, 2).transpose(1, 2))
        return self.letters(found)


class TimeFirst(nn.Module):
    """Probabilities with the time first, as a decoder takes them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, line: torch.Tensor) -> torch.Tensor:
        return self.inner(line).transpose(0, 1)


def _gates_rolled(old: torch.Tensor) -> torch.Tensor:
    i, f, g, o = old.chunk(4, 0)
    return torch.cat((i, g, f, o), 0)


def _directions_exchanged(model: nn.Module) -> None:
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        exchange(f"rnn.{part}_l0", f"rnn.{part}_l0_reverse")(model)


CRNN = pair(
    "crnn_time_first",
    net(Crnn, 29, (2, 1, 16, 40)),
    {
        "gates_exchanged": wrong(
            "forget and cell gate of the LSTM's input weights are exchanged",
            "rnn",
            edit=change("rnn.weight_ih_l0", _gates_rolled),
        ),
        "directions_exchanged": wrong(
            "the weights of the two directions are exchanged",
            "rnn",
            edit=_directions_exchanged,
        ),
        "one_bias": wrong(
            "only one of the LSTM's two biases was ported",
            "rnn",
            edit=change("rnn.bias_hh_l0", torch.zeros_like),
        ),
        "average_over_the_height": wrong(
            "the second pooling takes the average",
            "features.3",
            edit=replace("features.3", lambda: nn.AvgPool2d((4, 1))),
        ),
    },
    view=TimeFirst,
    from_b=lambda y: y.transpose(1, 0, 2),
    outputs=("time_major",),
)


class ConvGru(nn.Module):
    """A convolutional GRU over four frames, a convolution for each gate."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.encode = conv(3, c, stride=2)
        self.update = nn.Conv2d(2 * c, c, 3, padding=1)
        self.reset = nn.Conv2d(2 * c, c, 3, padding=1)
        self.candidate = nn.Conv2d(2 * c, c, 3, padding=1)
        self.mask = nn.Conv2d(c, 2, 1)

    def step(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        both = torch.cat((x, h), 1)
        z, r = self.update(both).sigmoid(), self.reset(both).sigmoid()
        return (1 - z) * h + z * self.candidate(torch.cat((x, r * h), 1)).tanh()

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        maps = [self.encode(one) for one in frames.split(3, 1)]
        h = torch.zeros_like(maps[0])
        for x in maps:
            h = self.step(x, h)
        return self.mask(h)


class MergedGru(nn.Module):
    """The same with update and reset in one convolution."""

    def __init__(self, model: ConvGru) -> None:
        super().__init__()
        self.encode, self.candidate, self.mask = model.encode, model.candidate, model.mask
        self.exchanged = self.kept_by_update = self.late_reset = False
        c = model.update.out_channels
        self.gates = nn.Conv2d(2 * c, 2 * c, 3, padding=1)
        self.gates.weight.copy_(torch.cat((model.update.weight, model.reset.weight)))
        self.gates.bias.copy_(torch.cat((model.update.bias, model.reset.bias)))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        maps = [self.encode(one) for one in frames.split(3, 1)]
        h = torch.zeros_like(maps[0])
        for x in maps:
            z, r = self.gates(torch.cat((x, h), 1)).sigmoid().chunk(2, 1)
            h = (1 - z) * h + z * self.candidate(torch.cat((x, r * h), 1)).tanh()
        return self.mask(h)


def _gates_of_gru_exchanged(model: nn.Module) -> None:
    for part in ("weight", "bias"):
        exchange(f"update.{part}", f"reset.{part}")(model)


GRU = pair(
    "conv_gru_merged_gates",
    net(ConvGru, 30, (1, 12, 24, 24)),
    {
        "gates_exchanged": wrong(
            "update and reset lie in the other order in the merged convolution",
            "update",
            "reset",
            edit=_gates_of_gru_exchanged,
        ),
        "candidate_input_exchanged": wrong(
            "the candidate's kernel takes the state before the input",
            "candidate",
            edit=change("candidate.weight", lambda old: old.roll(8, 1)),
        ),
        "bias_of_the_update": wrong(
            "the bias of the update gate is dropped",
            "update",
            edit=change("update.bias", torch.zeros_like),
        ),
    },
    view=MergedGru,
    opset=14,
    inputs=("frames",),
    outputs=("mask",),
)


# Two inputs.


class Guided(nn.Module):
    """An image and a guide of the same shape, joined before the first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.join = Join()
        self.stem = conv(6, 16)
        self.body = nn.Sequential(conv(16, 16), conv(16, 20, stride=2))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(20, 20, 1), nn.Hardsigmoid())
        self.head = nn.Conv2d(20, 3, 3, padding=1)

    def forward(self, image: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        x = self.body(self.stem(self.join(image, guide)))
        return self.head(x * self.gate(x))


class GuideFirst(nn.Module):
    """The same with its inputs in the other order."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, guide: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return self.inner(image, guide)


GUIDED = pair(
    "guided_inputs_reordered",
    net(Guided, 31, (1, 3, 32, 32), (1, 3, 32, 32)),
    {
        "inputs_exchanged": wrong(
            "image and guide are exchanged where they are joined",
            "join",
            "stem.0",
            "stem.1",
            edit=method("join", _joined_otherwise),
        ),
        "sigmoid_for_hard_sigmoid": wrong(
            "the gate has a sigmoid for a hard sigmoid",
            "gate.2",
            edit=replace("gate.2", nn.Sigmoid),
        ),
        "gate_by_maximum": wrong(
            "the gate looks at the maximum",
            "gate.0",
            edit=replace("gate.0", lambda: nn.AdaptiveMaxPool2d(1)),
        ),
    },
    view=GuideFirst,
    to_b=lambda x: (x[1], x[0]),
    inputs=("guide", "image"),
    opset=15,
)


# Images made larger.


class SuperResolution(nn.Module):
    """Convolutions, and channels moved to pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.extract = nn.Sequential(nn.Conv2d(3, 20, 5, padding=2), nn.Tanh())
        self.map = nn.Sequential(nn.Conv2d(20, 16, 3, padding=1), nn.Tanh())
        self.expand = nn.Conv2d(16, 12, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shuffle(self.expand(self.map(self.extract(x))))


def _depth_to_space(self: Any, x: torch.Tensor) -> torch.Tensor:
    n, c, h, w = x.shape
    y = x.view(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // 4, 2 * h, 2 * w)


SUPER = pair(
    "super_resolution",
    net(SuperResolution, 41, (1, 3, 20, 24)),
    {
        "depth_to_space": wrong(
            "the channels are moved to pixels in the order of depth to space",
            "shuffle",
            edit=method("shuffle", _depth_to_space),
        ),
        "too_coarse": wrong(
            "the weights of one convolution are rounded to eighths",
            "map.0",
            edit=change("map.0.weight", lambda old: (old * 8).round() / 8),
        ),
        "edge_repeated": wrong(
            "a convolution repeats the edge where it pads with zeros",
            "expand",
            edit=setting("expand", padding_mode="replicate"),
        ),
    },
    batch=True,
    inputs=("low",),
    outputs=("high",),
)


# Branches merged into one convolution.


class Branches(nn.Module):
    """Three branches, each with its normalisation, and one activation."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.large = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c))
        self.small = nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c))
        self.same = nn.BatchNorm2d(c)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.large(x) + self.small(x) + self.same(x))


class RepVgg(nn.Module):
    """Three blocks of branches behind a stem."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 14, stride=2)
        self.blocks = nn.Sequential(Branches(14), Branches(14), Branches(14))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(14, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)))


def _gain(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return gain, norm.bias - gain * norm.running_mean


def merged(mistake: str = "") -> Callable[[nn.Module], nn.Module]:
    """Each block as one convolution, the second with a mistake."""

    def view(model: nn.Module) -> nn.Module:
        for number, block in enumerate(model.blocks):
            made = mistake if number == 1 else ""
            c = block.same.num_features
            one = nn.Conv2d(c, c, 3, 1, 1)
            large, shift = _gain(block.large[1])
            small, small_shift = _gain(block.small[1])
            same, same_shift = _gain(block.same)
            kernel = block.large[0].weight * large[:, None, None, None]
            row = 0 if made == "corner" else 1
            kernel[:, :, row, row] += block.small[0].weight[:, :, 0, 0] * small[:, None]
            if made != "identity":
                kernel[:, :, 1, 1] += torch.diag(same)
            one.weight.copy_(kernel)
            one.bias.copy_(shift + same_shift + (0 if made == "bias" else small_shift))
            model.blocks[number] = nn.Sequential(one, nn.ReLU())
        return model

    return view


REPVGG = pair(
    "repvgg_merged",
    net(RepVgg, 42, (2, 3, 32, 32)),
    {
        "identity_forgotten": wrong(
            "the branch without a convolution is left out of one merged kernel",
            "blocks.1.same",
            "blocks.1",
            view=merged("identity"),
        ),
        "in_the_corner": wrong(
            "the 1x1 kernel lies in the corner of the merged kernel",
            "blocks.1.small.0",
            "blocks.1.small.1",
            "blocks.1.small",
            "blocks.1",
            view=merged("corner"),
        ),
        "shift_forgotten": wrong(
            "the shift of the 1x1 branch is left out of the merged bias",
            "blocks.1.small.1",
            "blocks.1.small",
            "blocks.1",
            view=merged("bias"),
        ),
    },
    view=merged(),
)


# Attention.


class Attention(nn.Module):
    """Attention with three projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = (
            one(x).view(n, t, self.heads, c // self.heads).transpose(1, 2)
            for one in (self.query, self.key, self.value)
        )
        weights = (q @ k.transpose(-1, -2) * self.scale).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, c))


class Fused(nn.Module):
    """The same with one projection."""

    def __init__(self, old: Attention, order: str) -> None:
        super().__init__()
        self.heads, self.scale, self.order = old.heads, old.scale, order
        parts = [old.query, old.key, old.value]
        width = old.out.in_features
        self.qkv = nn.Linear(width, 3 * width)
        self.qkv.weight.copy_(torch.cat([one.weight for one in parts]))
        self.qkv.bias.copy_(torch.cat([one.bias for one in parts]))
        self.proj = old.out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        size = c // self.heads
        if self.order == "head first":
            parts = self.qkv(x).view(n, t, self.heads, 3, size).permute(3, 0, 2, 1, 4)
        else:
            parts = self.qkv(x).view(n, t, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        weights = (q @ k.transpose(-1, -2) * self.scale).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, c))


class Block(nn.Module):
    """Attention and two dense layers, each behind its normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, 4)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SigmoidGelu(nn.Module):
    """GELU as a sigmoid approximates it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (1.702 * x).sigmoid()


class Positions(nn.Module):
    """Something learnt for each place."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(places, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.table


class Vit(nn.Module):
    """A small transformer over patches; the mean of the tokens is classified."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.positions = Positions(16, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(3)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.positions(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(self.norm(self.blocks(tokens)).mean(1))


def fused(order: str = "", second_block: str = "") -> Callable[[nn.Module], nn.Module]:
    """Each block with one projection."""

    def view(model: nn.Module) -> nn.Module:
        for number, block in enumerate(model.blocks):
            block.attention = Fused(block.attention, second_block if number == 1 else order)
        return model

    return view


def _query_and_value(model: nn.Module) -> None:
    for part in ("weight", "bias"):
        exchange(f"blocks.0.attention.query.{part}", f"blocks.0.attention.value.{part}")(model)


VIT = pair(
    "vit_fused_projection",
    net(Vit, 43, (2, 3, 32, 32)),
    {
        "head_first": wrong(
            "one fused projection is read as if each head had its three parts together",
            "blocks.1.attention.query",
            "blocks.1.attention.key",
            "blocks.1.attention.value",
            "blocks.1.attention",
            view=fused(second_block="head first"),
        ),
        "query_and_value": wrong(
            "query and value are exchanged in a fused projection",
            "blocks.0.attention.query",
            "blocks.0.attention.value",
            "blocks.0.attention",
            edit=_query_and_value,
        ),
        "scale_of_the_width": wrong(
            "the scores are scaled by the width, not by that of a head",
            "blocks.2.attention",
            edit=setting("blocks.2.attention", scale=24**-0.5),
        ),
        "positions_rolled": wrong(
            "the positions are rolled by one, as if a class token stood first",
            "positions",
            edit=change("positions.table", lambda old: old.roll(1, 0)),
        ),
        "sigmoid_gelu": wrong(
            "GELU by a sigmoid in one block (inherently small)",
            "blocks.1.mlp.1",
            edit=replace("blocks.1.mlp.1", SigmoidGelu),
        ),
    },
    view=fused(),
    inputs=("pixel_values",),
    outputs=("logits",),
)

VIT_LIVE = pair(
    "vit_fused_live",
    net(lambda: Vit(16), 44, (2, 3, 32, 32)),
    {
        "patch_transposed": wrong(
            "the kernel of the patches has height and width exchanged",
            "patches",
            edit=change("patches.weight", lambda old: old.transpose(2, 3)),
        ),
        "epsilon": wrong(
            "the normalisation before the dense layers has the epsilon 0.1 for 1e-06",
            "blocks.0.norm2",
            edit=setting("blocks.0.norm2", eps=0.1),
        ),
        "bias_of_the_value": wrong(
            "the fused projection has no bias for the value",
            "blocks.2.attention.value",
            "blocks.2.attention",
            edit=change("blocks.2.attention.value.bias", torch.zeros_like),
        ),
    },
    view=fused(),
    live=True,
)


# Segmentation with dilated convolutions.


class DeepLab(nn.Module):
    """A backbone, the head of DeepLab, and an interpolation to the image's size."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(conv(3, 12, stride=2), conv(12, 20, stride=2))
        self.classifier = DeepLabHead(20, 5, [2, 3, 4])
        self.resize = nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": self.resize(self.classifier(self.backbone(x)))}


class OnlyOut(nn.Module):
    """The map alone, twice: as scores and as labels."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.inner(x)["out"]
        return found, found.argmax(1)


def _smaller_rate(model: nn.Module) -> None:
    setting("classifier.0.convs.2.0", dilation=(2, 2), padding=(2, 2))(model)


DEEPLAB = pair(
    "deeplab_head_dictionary",
    net(DeepLab, 45, (4, 3, 48, 48)),
    {
        "rate": wrong(
            "a branch is dilated by 2 for 3",
            "classifier.0.convs.2.0",
            "classifier.0.convs.2.1",
            edit=_smaller_rate,
        ),
        "corners": wrong(
            "the last interpolation aligns the corners",
            "resize",
            edit=setting("resize", align_corners=True),
        ),
        "pooled_by_maximum": wrong(
            "the pooled branch takes the maximum",
            "classifier.0.convs.4.0",
            edit=replace("classifier.0.convs.4.0", lambda: nn.AdaptiveMaxPool2d(1)),
        ),
        "branches_exchanged": wrong(
            "the projection takes two branches in the other order",
            "classifier.0.project.0",
            "classifier.0.project.1",
            edit=change(
                "classifier.0.project.0.weight",
                lambda old: torch.cat((old[:, 256:512], old[:, :256], old[:, 512:]), 1),
            ),
        ),
    },
    view=OnlyOut,
    outputs=("out", "labels"),
)


# Number formats.


class Style(nn.Module):
    """A net of style transfer: reflected edges and normalised instances."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            nn.ReflectionPad2d(2),
            nn.Conv2d(3, 12, 5),
            nn.InstanceNorm2d(12, affine=True),
            nn.ReLU(),
        )
        self.down = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(12, 18, 3, 2),
            nn.InstanceNorm2d(18, affine=True),
            nn.ReLU(),
        )
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(18, 12, 3, padding=1))
        self.leave = nn.Sequential(nn.ReLU(), nn.Conv2d(12, 3, 3, padding=1), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(self.up(self.down(self.enter(x))))


def stored_as_bfloat16(path: Path, x: Any) -> None:
    """Kernels as bfloat16, made float32 where they are used."""
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
            name = tensor.name
            rounded = numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16)
            tensor.CopyFrom(numpy_helper.from_array(rounded, f"{name}_bfloat16"))
            casts.append(
                onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
            )
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    onnx.save(model, path)


STYLE = pair(
    "style_bfloat16_weights",
    net(Style, 46, (1, 3, 24, 32)),
    {
        "zeros_for_reflection": wrong(
            "one edge is padded with zeros, not by reflection",
            "down.0",
            edit=replace("down.0", lambda: nn.ZeroPad2d(1)),
        ),
        "first_bgr": wrong(
            "the first kernel is made for BGR",
            "enter.1",
            edit=change("enter.1.weight", lambda old: old.flip(1)),
        ),
        "gain_dropped": wrong(
            "the gains of a normalisation are 1",
            "down.2",
            edit=change("down.2.weight", torch.ones_like),
        ),
        "bilinear": wrong(
            "a bilinear interpolation for the nearest neighbour",
            "up.0",
            edit=replace("up.0", _upsampled),
        ),
    },
    finish=stored_as_bfloat16,
    rounding=2e-2,
)


class Face(nn.Module):
    """An embedding of a face: depthwise convolutions, PReLU, and unit length at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.PReLU(16))
        self.depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.pointwise = nn.Sequential(nn.Conv2d(16, 24, 1), nn.PReLU(24))
        self.pool = nn.AvgPool2d(4)
        self.dense = nn.Linear(24 * 16, 32)
        self.act = nn.PReLU(32)
        self.embedding = nn.Linear(32, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.pointwise(self.depthwise(self.stem(x))))
        return self.embedding(self.act(self.dense(x.flatten(1))))


def quantised(path: Path, x: Any) -> None:
    """Weights as 8 bits, inputs quantised as they come."""
    original = path.with_name("float.onnx")
    path.rename(original)
    quantize_dynamic(original, path)


FACE = pair(
    "face_quantised_dynamically",
    net(Face, 47, (2, 3, 32, 32)),
    {
        "slopes_reversed": wrong(
            "the slopes of a PReLU are negative",
            "pointwise.1",
            edit=change("pointwise.1.weight", lambda old: -3 * old),
        ),
        "half_of_the_channels": wrong(
            "the halves of a depthwise convolution's channels are exchanged",
            "depthwise",
            edit=change("depthwise.weight", lambda old: old.roll(8, 0)),
        ),
        "rows_rolled": wrong(
            "the rows of the dense layer are rolled by one",
            "dense",
            edit=change("dense.weight", lambda old: old.roll(1, 0)),
        ),
        "maximum": wrong(
            "the pooling takes the maximum",
            "pool",
            edit=replace("pool", lambda: nn.MaxPool2d(4)),
        ),
    },
    finish=quantised,
    kept=True,
    rounding=6e-2,
)


class Plain(nn.Module):
    """Three convolutions without normalisation, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, 2, 1)
        self.conv2 = nn.Conv2d(12, 16, 3, 1, 1)
        self.conv3 = nn.Conv2d(16, 16, 3, 2, 1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for one in (self.conv1, self.conv2, self.conv3):
            x = self.relu(one(x))
        return self.fc(self.pool(x).flatten(1))


class Calibration(CalibrationDataReader):
    """The input itself, and a few like it."""

    def __init__(self, x: np.ndarray) -> None:
        self.left = [{"image": x}, {"image": 0.8 * x[::-1].copy()}]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def quantised_statically(
    initializer: str = "", how: Callable[[np.ndarray], np.ndarray] = lambda old: old
) -> Callable[[Path, Any], None]:
    """Quantised and made float again around each layer, one number of the file changed."""

    def finish(path: Path, x: Any) -> None:
        original = path.with_name("float.onnx")
        path.rename(original)
        quantize_static(original, path, Calibration(x), quant_format=QuantFormat.QDQ)
        if initializer:
            model = onnx.load(path)
            (tensor,) = [one for one in model.graph.initializer if one.name == initializer]
            old = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(how(old).astype(old.dtype), initializer))
            onnx.save(model, path)

    return finish


QDQ = pair(
    "plain_quantised_statically",
    net(Plain, 48, (2, 3, 32, 32)),
    {
        "scale_of_a_weight": wrong(
            "the scale of one quantised kernel is 1.5 times as large",
            "conv2",
            finish=quantised_statically("conv2.weight_scale", lambda old: old * 1.5),
        ),
        "zero_point": wrong(
            "the zero point of one quantised kernel is 30, not 0",
            "conv3",
            finish=quantised_statically("conv3.weight_zero_point", lambda old: old + 30),
        ),
        "kernels_reversed": wrong(
            "the quantised kernels of one layer are in reverse order",
            "conv1",
            finish=quantised_statically("conv1.weight_quantized", lambda old: old[::-1]),
        ),
        "dense_columns": wrong(
            "the dense layer was made for a flatten with the channels last",
            "fc",
            edit=change(
                "fc.weight", lambda old: old.view(10, 16, 4).transpose(1, 2).reshape(10, 64)
            ),
        ),
    },
    finish=quantised_statically(),
    kept=True,
    opset=13,
    rounding=6e-2,
)


# Images normalised inside.


class Normalise(nn.Module):
    """Bytes made numbers of about unit size."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([123.7, 116.3, 103.5]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([58.4, 57.1, 57.4]).view(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


class Bytes(nn.Module):
    """A net that normalises its image, and looks at patches without padding first."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.body = nn.Sequential(nn.ReLU(), conv(16, 20), conv(20, 20))
        self.head = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(20, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(self.normalise(x))))


def _bytes() -> tuple[nn.Module, np.ndarray]:
    rng = np.random.default_rng(49)
    x = rng.uniform(0, 255, (2, 3, 32, 32)) * np.array([0.9, 0.7, 0.5]).reshape(3, 1, 1)
    x = x.astype(np.float32)
    return settled(Bytes(), 49, 0.8 * x[::-1].copy() + 20), x


class OfTheBatch(nn.Module):
    """A normalisation that was left in training mode."""

    def __init__(self, old: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = old.weight, old.bias, old.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
        y = (x - mean) / (variance + self.eps).sqrt()
        return y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


def _left_in_training(model: nn.Module) -> None:
    model.body[2][1] = OfTheBatch(model.body[2][1])


def _normalise_folded(model: nn.Module) -> nn.Module:
    """The normalisation as part of the first kernel, which has no padding."""
    mean, std = model.normalise.mean, model.normalise.std
    model.stem.weight.div_(std)
    model.stem.bias.sub_((model.stem.weight * mean).sum((1, 2, 3)))
    model.normalise = nn.Identity()
    return model


BYTES = pair(
    "normalised_inside",
    _bytes,
    {
        "mean_of_bgr": wrong(
            "the means of the channels are in the order of BGR",
            "normalise",
            edit=change("normalise.mean", lambda old: old.flip(1)),
        ),
        "scaled_to_one": wrong(
            "the deviations are those of images between -1 and 1",
            "normalise",
            edit=change("normalise.std", lambda old: torch.full_like(old, 127.5)),
        ),
        "second_block_scale": wrong(
            "the moving variance of a normalisation is taken for its deviation",
            "body.2.1",
            "body.2.0",
            edit=change("body.2.1.running_var", lambda old: old * old),
        ),
        "training_mode": wrong(
            "a normalisation was left in training mode and takes the batch's statistics",
            "body.2.1",
            edit=_left_in_training,
        ),
    },
    inputs=("bytes",),
)
BYTES_FOLDED = pair(
    "normalised_in_the_first_kernel",
    _bytes,
    {
        "mean_forgotten": wrong(
            "the first kernel was made with the deviations, and without the means",
            "normalise",
            "stem",
            edit=change("normalise.mean", torch.zeros_like),
        ),
        "average": wrong(
            "the last pooling takes the average",
            "head.0",
            edit=replace("head.0", lambda: nn.AdaptiveAvgPool2d(1)),
        ),
        "rows_reversed": wrong(
            "the rows of a convolution are in reverse order",
            "body.2.0",
            "body.2.1",
            edit=change("body.2.0.weight", lambda old: old.flip(0)),
        ),
    },
    view=_normalise_folded,
    opset=16,
    batch=True,
)


# Channels padded to a multiple of eight.


class Narrow(nn.Module):
    """Convolutions with odd numbers of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 13, 3, padding=1)
        self.two = nn.Conv2d(13, 11, 3, 2, 1)
        self.three = nn.Conv2d(11, 6, 3, padding=1)
        self.act1, self.act2 = nn.ELU(), nn.ELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.three(self.act2(self.two(self.act1(self.one(x)))))


def _padded(model: nn.Module) -> nn.Module:
    """Zero channels up to 16 between the convolutions."""

    def wide(old: nn.Conv2d, c: int, out: int) -> nn.Conv2d:
        new = nn.Conv2d(c, out, 3, old.stride, old.padding, old.dilation)
        new.weight.zero_()
        new.bias.zero_()
        new.weight[: old.out_channels, : old.in_channels] = old.weight
        new.bias[: old.out_channels] = old.bias
        return new

    model.one, model.two = wide(model.one, 3, 16), wide(model.two, 16, 16)
    model.three = wide(model.three, 16, 6)
    return model


NARROW = pair(
    "channels_padded",
    net(Narrow, 50, (1, 3, 28, 28)),
    {
        "relu_for_elu": wrong(
            "ReLU for ELU behind the first convolution",
            "act1",
            edit=replace("act1", nn.ReLU),
        ),
        "dilated": wrong(
            "the last convolution is dilated, its padding keeps the shape",
            "three",
            edit=setting("three", dilation=(2, 2), padding=(2, 2)),
        ),
        "one_row_of_another": wrong(
            "two rows of a kernel are exchanged, those of its bias are not",
            "two",
            edit=change("two.weight", lambda old: old[[0, 1, 7, 3, 4, 5, 6, 2, 8, 9, 10]]),
        ),
    },
    view=_padded,
)


# Newer backbones of torchvision.


def _convnext() -> nn.Module:
    blocks = [CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 2)]
    return ConvNeXt(blocks, layer_scale=0.5, num_classes=9)


def _dense_exchanged(model: nn.Module) -> None:
    for part in ("weight", "bias"):
        exchange(f"features.3.0.block.3.{part}", f"features.3.1.block.3.{part}")(model)


CONVNEXT = pair(
    "convnext_dynamo",
    net(_convnext, 51, (2, 3, 32, 32)),
    {
        "layer_scale": wrong(
            "a block is added without its layer scale",
            "features.3.1",
            edit=change("features.3.1.layer_scale", torch.ones_like),
        ),
        "dense_layers_exchanged": wrong(
            "the first dense layers of two blocks are exchanged",
            "features.3.0.block.3",
            also=("features.3.1.block.3",),
            edit=_dense_exchanged,
        ),
        "large_kernel_transposed": wrong(
            "height and width of a depthwise kernel are exchanged",
            "features.1.0.block.0",
            edit=change("features.1.0.block.0.weight", lambda old: old.transpose(2, 3)),
        ),
        "relu_for_gelu": wrong(
            "ReLU for GELU in one block",
            "features.1.0.block.4",
            edit=replace("features.1.0.block.4", nn.ReLU),
        ),
    },
    dynamo=True,
    opset=20,
    inputs=("x",),
    outputs=("y",),
)


def _swin() -> nn.Module:
    return SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=6)


def _key_and_value(old: torch.Tensor) -> torch.Tensor:
    q, k, v = old.chunk(3, 0)
    return torch.cat((q, v, k), 0)


SWIN = pair(
    "swin_small",
    net(_swin, 52, (1, 3, 32, 32)),
    {
        "not_shifted": wrong(
            "the windows of the second block are not shifted",
            "features.1.1.attn",
            "features.1.1",
            edit=setting("features.1.1.attn", shift_size=[0, 0]),
        ),
        "key_and_value": wrong(
            "the rows of key and value are exchanged in one projection",
            "features.3.0.attn.qkv",
            "features.3.0.attn",
            edit=change("features.3.0.attn.qkv.weight", _key_and_value),
        ),
        "merged_in_another_order": wrong(
            "the four neighbours are merged row by row, not column by column",
            "features.2.reduction",
            "features.2",
            edit=change(
                "features.2.reduction.weight",
                lambda old: torch.cat([old.chunk(4, 1)[i] for i in (0, 2, 1, 3)], 1),
            ),
        ),
        "positions_turned": wrong(
            "the table of relative positions is in reverse order",
            "features.1.0.attn",
            "features.1.0",
            edit=change("features.1.0.attn.relative_position_bias_table", lambda old: old.flip(0)),
        ),
    },
    inputs=("pixel_values",),
)


# Heat maps of two stages, stacked.


class Stage(nn.Module):
    """Down and up again, added to what came in, and its own heat maps."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.down = conv(c, c, stride=2)
        self.up = nn.Upsample(scale_factor=2, mode="bicubic", align_corners=False)
        self.mix = conv(c, c)
        self.drop = nn.Dropout(0.2)
        self.heat = nn.Conv2d(c, 4, 1)
        self.back = nn.Conv2d(4, c, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.drop(self.mix(x + self.up(self.down(x))))
        heat = self.heat(y)
        return heat, x + y + self.back(heat)


class Hourglass(nn.Module):
    """Two stages; the heat maps of the last come first."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 12, stride=2)
        self.first = Stage(12)
        self.second = Stage(12)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        early, x = self.first(self.stem(x))
        late, _ = self.second(x)
        return late, early


class Stacked(nn.Module):
    """The heat maps of both stages in one tensor, in the order in which they are made."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        late, early = self.inner(x)
        return torch.stack((early, late))


class LeftIn(nn.Module):
    """Dropout that was traced as it trained: its mask is a constant."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.register_buffer("mask", (torch.rand(1, 12, 16, 16, generator=generator) > 0.2) / 0.8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.mask


HOURGLASS = pair(
    "hourglass_stacked",
    net(Hourglass, 53, (2, 3, 32, 32)),
    {
        "dropout_left_in": wrong(
            "dropout was left in one stage, with the mask of the export",
            "first.drop",
            edit=replace("first.drop", LeftIn),
        ),
        "bilinear": wrong(
            "a bilinear interpolation for a bicubic one",
            "second.up",
            edit=replace("second.up", _upsampled),
        ),
        "stage_of_another_checkpoint": wrong(
            "one convolution of the second stage is that of another checkpoint",
            "second.mix.0",
            "second.mix.1",
            edit=redrawn("second.mix.0", 8),
        ),
        "bias_dropped": wrong(
            "the bias of the way back into the features is dropped",
            "first.back",
            edit=change("first.back.bias", torch.zeros_like),
        ),
    },
    view=Stacked,
    from_b=lambda y: y[1],
    outputs=("heat",),
)


# Normalisation folded by hand, live.


class Dark(nn.Module):
    """A small net of residual blocks with leaky ReLU."""

    def __init__(self) -> None:
        super().__init__()

        def leaky() -> nn.Module:
            return nn.LeakyReLU(0.1)

        self.enter = conv(3, 12, act=leaky)
        self.down = conv(12, 18, stride=2, act=leaky)
        self.narrow = conv(18, 9, 1, act=leaky)
        self.wide = conv(9, 18, act=leaky)
        self.last = conv(18, 24, stride=2, act=leaky)
        self.head = nn.Conv2d(24, 7, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(self.enter(x))
        return self.head(self.last(x + self.wide(self.narrow(x))))


def folded(layer: str = "", mistake: str = "") -> Callable[[nn.Module], nn.Module]:
    """Each normalisation made part of its convolution, one with a mistake."""

    def view(model: nn.Module) -> nn.Module:
        for name, part in model.named_children():
            if not isinstance(part, nn.Sequential):
                continue
            made = mistake if name == layer else ""
            old, norm = part[0], part[1]
            eps = 0.05 if made == "epsilon" else norm.eps
            gain = norm.weight / (norm.running_var + eps).sqrt()
            mean = 0 * norm.running_mean if made == "mean" else norm.running_mean
            new = nn.Conv2d(old.in_channels, old.out_channels, old.kernel_size, old.stride)
            new.padding = old.padding
            rows = gain.roll(1, 0) if made == "rows" else gain
            new.weight.copy_(old.weight * rows[:, None, None, None])
            new.bias.copy_(norm.bias - gain * mean)
            part[0] = new
            if made != "twice":
                part[1] = nn.Identity()
        return model

    return view


DARK = pair(
    "darknet_folded_live",
    net(Dark, 54, (2, 3, 32, 32)),
    {
        "epsilon": wrong(
            "one normalisation is folded with epsilon 0.05 for 1e-05",
            "down.1",
            "down.0",
            view=folded("down", "epsilon"),
        ),
        "mean": wrong(
            "one normalisation is folded without its moving mean",
            "narrow.1",
            "narrow.0",
            view=folded("narrow", "mean"),
        ),
        "rows": wrong(
            "the gains are rolled by one row where they are folded",
            "wide.1",
            "wide.0",
            view=folded("wide", "rows"),
        ),
        "twice": wrong(
            "one normalisation is folded, and applied again",
            "last.1",
            "last.0",
            view=folded("last", "twice"),
        ),
    },
    view=folded(),
    live=True,
)


PAIRS = [
    RESNEXT,
    VGG,
    MOBILE,
    GOOGLENET,
    UNET,
    UNET_LAST,
    RETINA,
    YOLO,
    CRNN,
    GRU,
    GUIDED,
    SUPER,
    REPVGG,
    VIT,
    VIT_LIVE,
    DEEPLAB,
    STYLE,
    FACE,
    QDQ,
    BYTES,
    BYTES_FOLDED,
    NARROW,
    CONVNEXT,
    SWIN,
    HOURGLASS,
    DARK,
]
