"""Blocks of pose, depth, super-resolution and keras.applications, and steps around a model, ported.

Modules of transformers, blocks of keras.applications, and small modules written as practitioners
write them: a camera's image before the model, a diffusion step after it, an integer sum within it.
It was written without a look at the tool that it measures: the mistakes are those that people make
when they port such a block to NumPy, C, another framework or a device.
"""

from functools import partial
from typing import Any

import keras
import numpy as np
import torch
import torch.nn.functional as F
from keras.src.applications.inception_resnet_v2 import inception_resnet_block
from keras.src.applications.mobilenet_v3 import _inverted_res_block, hard_swish
from torch import nn
from transformers import DPTConfig
from transformers.models.dpt.modeling_dpt import DPTFeatureFusionLayer

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import batch_norm, conv, linear, relu, silu, softmax
from corpora.ports.third_vision import resize_bilinear
from corpora.ports.trained import inputs, train_keras, train_torch, weights_of


class KeypointHead(nn.Module):
    """Heatmaps by a transposed convolution, and each joint's place as the mean of its heatmap."""

    def __init__(self) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(8, 10, 4, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(10)
        self.final_layer = nn.Conv2d(10, 5, 1)
        self.beta = 3.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.final_layer(torch.relu(self.bn(self.deconv(x))))
        b, joints, h, w = y.shape
        share = F.softmax(self.beta * y.flatten(2), dim=-1).view(b, joints, h, w)
        px = (share.sum(2) * torch.linspace(0, 1, w)).sum(-1)
        py = (share.sum(3) * torch.linspace(0, 1, h)).sum(-1)
        return torch.stack((px, py), -1)


def build_keypoints() -> tuple[Any, np.ndarray]:
    return train_torch(KeypointHead(), 7201, gain=1.2), inputs(7202, 2, 8, 4, 3)


def keypoints(
    model: Any,
    x: np.ndarray,
    turned: bool = True,
    border: int = 2,
    beta: float = 3.0,
    over: str = "pixels",
    ends: str = "with both",
    axes: str = "x, y",
) -> np.ndarray:
    w = weights_of(model)
    spread = np.zeros((2, 8, 7, 5), np.float32)
    spread[:, :, ::2, ::2] = x
    kernel = w["deconv.weight"].swapaxes(0, 1)
    if turned:
        kernel = kernel[:, :, ::-1, ::-1]
    around = ((border, 4 - border), (border, 4 - border))
    y = conv(np.pad(spread, [(0, 0), (0, 0), *around]), kernel)
    y = relu(batch_norm(y, w, "bn"))
    y = conv(y, w["final_layer.weight"], w["final_layer.bias"]) * np.float32(beta)
    if over == "pixels":
        share = softmax(y.reshape(2, 5, 48)).reshape(2, 5, 8, 6)
    else:
        share = softmax(y, 3) / 8
    if ends == "with both":
        along, down = np.linspace(0, 1, 6), np.linspace(0, 1, 8)
    else:
        along, down = np.arange(6) / 6, np.arange(8) / 8
    px, py = (share.sum(2) * along).sum(-1), (share.sum(3) * down).sum(-1)
    return np.stack([px, py] if axes == "x, y" else [py, px], -1).astype(np.float32)


def build_fusion() -> tuple[Any, tuple[np.ndarray, ...]]:
    config = DPTConfig(fusion_hidden_size=6, use_batch_norm_in_fusion_residual=False)
    model = train_torch(DPTFeatureFusionLayer(config), 7203, gain=1.3)
    return model, (inputs(7204, 2, 6, 4, 5), inputs(7205, 2, 6, 3, 4))


def fusion(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    corners: bool = True,
    inplace: bool = False,
    refined: str = "residual",
    residual_corners: bool = False,
    first_relu: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    hidden, residual = x

    def unit(y: np.ndarray, name: str) -> np.ndarray:
        active = relu(y) if first_relu else y
        z = conv(active, w[f"{name}.convolution1.weight"], w[f"{name}.convolution1.bias"], 1, 1)
        z = conv(relu(z), w[f"{name}.convolution2.weight"], w[f"{name}.convolution2.bias"], 1, 1)
        return z + (active if inplace else y)

    residual = resize_bilinear(residual, 4, 5, corners=residual_corners)
    if refined == "residual":
        y = hidden + unit(residual, "residual_layer1")
    else:
        y = unit(hidden + residual, "residual_layer1")
    y = resize_bilinear(unit(y, "residual_layer2"), 8, 10, corners=corners)
    return conv(y, w["projection.weight"], w["projection.bias"])


class DenseInDense(nn.Module):
    """An ESRGAN's residual block of dense blocks, and its enlargement by two."""

    def __init__(self, width: int = 6, growth: int = 4) -> None:
        super().__init__()
        for block in (1, 2):
            for index in range(3):
                out = width if index == 2 else growth
                layer = nn.Conv2d(width + index * growth, out, 3, padding=1)
                self.add_module(f"rdb{block}_conv{index + 1}", layer)
        self.conv_up = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def dense(self, x: torch.Tensor, block: int) -> torch.Tensor:
        one, two, three = (getattr(self, f"rdb{block}_conv{i}") for i in (1, 2, 3))
        a = F.leaky_relu(one(x), 0.2)
        b = F.leaky_relu(two(torch.cat((x, a), 1)), 0.2)
        return three(torch.cat((x, a, b), 1)) * 0.2 + x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.dense(self.dense(x, 1), 2) * 0.2 + x
        y = F.interpolate(y, scale_factor=2, mode="nearest")
        return self.conv_last(F.leaky_relu(self.conv_up(y), 0.2))


def build_dense() -> tuple[Any, np.ndarray]:
    return train_torch(DenseInDense(), 7206, gain=2.0), inputs(7207, 2, 6, 5, 5)


def dense(
    model: Any,
    x: np.ndarray,
    inner: float = 0.2,
    outer: float = 0.2,
    slope: float = 0.2,
    newest: str = "last",
    last_active: bool = False,
    up: str = "nearest",
) -> np.ndarray:
    w = weights_of(model)

    def layer(y: np.ndarray, name: str) -> np.ndarray:
        return conv(y, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)

    def leaky(y: np.ndarray) -> np.ndarray:
        return np.where(y > 0, y, np.float32(slope) * y)

    y = x
    for block in (1, 2):
        maps = [y]
        for index in (1, 2, 3):
            joined = np.concatenate(maps if newest == "last" else maps[::-1], 1)
            z = layer(joined, f"rdb{block}_conv{index}")
            maps.append(z if index == 3 and not last_active else leaky(z))
        y = maps[-1] * np.float32(inner) + y
    y = y * np.float32(outer) + x
    y = y.repeat(2, 2).repeat(2, 3) if up == "nearest" else resize_bilinear(y, 10, 10)
    return layer(leaky(layer(y, "conv_up")), "conv_last")


def _layers(model: Any, kind: type) -> list[Any]:
    """The layers of a class in the order of their making."""

    def number(layer: Any) -> int:
        last = layer.name.rsplit("_", 1)[-1]
        return int(last) if last.isdigit() else 0

    named = [layer for layer in model.layers if type(layer) is kind and "block" not in layer.name]
    return sorted(named, key=number)


def _keras_conv(
    x: np.ndarray, kernel: np.ndarray, bias: np.ndarray | None = None, groups: int = 1, **how: Any
) -> np.ndarray:
    """Convolve with channels last by the convolution of channels first."""
    y = conv(x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), bias, groups=groups, **how)
    return y.transpose(0, 2, 3, 1)


def build_inception() -> tuple[Any, np.ndarray]:
    image = keras.Input((4, 5, 16))
    model = keras.Model(image, inception_resnet_block(image, 0.2, "block8", 1))
    return train_keras(model, 7208, gain=1.5), inputs(7209, 2, 4, 5, 16)


def inception(
    model: Any,
    x: np.ndarray,
    scale: float = 0.2,
    scaled: str = "branches",
    eps: float = 1e-3,
    order: str = "short first",
    last: str = "linear",
    kernels: str = "along rows, along columns",
) -> np.ndarray:
    layers = zip(
        _layers(model, keras.layers.Conv2D),
        _layers(model, keras.layers.BatchNormalization),
        strict=True,
    )

    def step(y: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
        convolution, norm = next(layers)
        kernel = np.array(convolution.kernel)
        if kernels == "swapped":
            kernel, padding = kernel.swapaxes(0, 1), padding[::-1]
        y = _keras_conv(y, kernel, padding=padding)
        beta, mean, var = (np.array(weight) for weight in norm.weights)
        return relu((y - mean) / np.sqrt(var + np.float32(eps)) + beta)

    short = step(x, (0, 0))
    long = step(step(step(x, (0, 0)), (0, 1)), (1, 0))
    y = np.concatenate([short, long] if order == "short first" else [long, short], -1)
    end = model.get_layer("block8_1_conv")
    y = _keras_conv(y, np.array(end.kernel), np.array(end.bias))
    if last == "relu":
        y = relu(y)
    if scaled == "branches":
        return relu(x + np.float32(scale) * y)
    return relu(np.float32(scale) * x + y)


def build_mobile() -> tuple[Any, np.ndarray]:
    image = keras.Input((8, 8, 8))
    y = _inverted_res_block(image, 3, 12, 5, 2, 0.25, hard_swish, 1)
    return train_keras(keras.Model(image, y), 7210, gain=2.0), inputs(7211, 2, 8, 8, 8)


def mobile(
    model: Any,
    x: np.ndarray,
    before: tuple[int, int] = (1, 2),
    gate: str = "x / 6 + 0.5",
    act: str = "hard swish",
    squeezed: str = "relu",
    eps: float = 1e-3,
    gate_at: str = "after the depthwise",
) -> np.ndarray:
    w = {weight.path: np.array(weight) for weight in model.weights}

    def norm(y: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, var = (
            w[f"expanded_conv_1_{name}_bn/{part}"]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (y - mean) / np.sqrt(var + np.float32(eps)) * gamma + beta

    def active(y: np.ndarray) -> np.ndarray:
        if act == "swish":
            return silu(y)
        return y * np.clip(y + 3, 0, 6) / np.float32(6)

    def excite(y: np.ndarray) -> np.ndarray:
        name = "expanded_conv_1_squeeze_excite_conv"
        s = y.mean((1, 2)) @ w[f"{name}/kernel"][0, 0] + w[f"{name}/bias"]
        s = relu(s) if squeezed == "relu" else active(s)
        s = s @ w[f"{name}_1/kernel"][0, 0] + w[f"{name}_1/bias"]
        slope = np.float32(1 / 6 if gate == "x / 6 + 0.5" else 0.2)
        return y * np.clip(slope * s + np.float32(0.5), 0, 1)[:, None, None]

    y = active(norm(_keras_conv(x, w["expanded_conv_1_expand/kernel"]), "expand"))
    y = np.pad(y, [(0, 0), before, before, (0, 0)])
    kernel = w["expanded_conv_1_depthwise/kernel"].swapaxes(2, 3)
    y = norm(_keras_conv(y, kernel, groups=24, stride=2), "depthwise")
    y = excite(active(y)) if gate_at == "after the depthwise" else active(excite(y))
    return norm(_keras_conv(y, w["expanded_conv_1_project/kernel"]), "project")


class CameraFront(nn.Module):
    """A camera's NV12 image to normalised red, green and blue, and the model's first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)

    def forward(self, luma: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
        y = 1.164 * (luma.float() - 16)
        chroma = chroma.float().repeat_interleave(2, 1).repeat_interleave(2, 2) - 128
        u, v = chroma.unbind(-1)
        rgb = torch.stack((y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u), 1)
        x = (rgb.clamp(0, 255) / 255 - self.mean) / self.std
        return torch.relu(self.conv1(x))


def build_camera() -> tuple[Any, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(7213)
    luma = rng.integers(16, 236, (2, 8, 10)).astype(np.uint8)
    chroma = rng.integers(60, 200, (2, 4, 5, 2)).astype(np.uint8)
    return train_torch(CameraFront(), 7212, gain=1.5), (luma, chroma)


def camera(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    black: int = 16,
    matrix: tuple[float, ...] = (1.164, 1.596, 0.392, 0.813, 2.017),
    pair: str = "u, v",
    beyond: str = "cut",
    colours: str = "rgb",
    held: str = "float32",
    chroma: str = "repeated",
) -> np.ndarray:
    w = weights_of(model)
    luma, both = x
    both = both.astype(np.float32)
    if chroma == "repeated":
        both = both.repeat(2, 1).repeat(2, 2)
    else:
        both = resize_bilinear(both.transpose(0, 3, 1, 2), 8, 10).transpose(0, 2, 3, 1)
    u, v = (both - 128).transpose(3, 0, 1, 2)
    if pair == "v, u":
        u, v = v, u
    gain, vr, ug, vg, ub = matrix
    y = gain * (luma.astype(np.float32) - black)
    rgb = np.stack([y + vr * v, y - ug * u - vg * v, y + ub * u], 1)
    if held == "int16":
        c, d, e = ((part.astype(np.int16)) for part in (luma, u, v))
        c = 298 * (c - 16) + 128
        rgb = np.stack([c + 409 * e, c - 100 * d - 208 * e, c + 516 * d], 1) >> 8
    rgb = np.clip(rgb, 0, 255) if beyond == "cut" else rgb.astype(np.int32).astype(np.uint8)
    if colours == "bgr":
        rgb = rgb[:, ::-1]
    image = ((rgb / 255.0 - w["mean"]) / w["std"]).astype(np.float32)
    return relu(conv(image, w["conv1.weight"], w["conv1.bias"], stride=2, padding=1))


class GuidedStep(nn.Module):
    """A DDIM step with classifier-free guidance, from step 601 to step 401."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, 10, 3, padding=1)
        self.context = nn.Linear(6, 10)
        self.conv_out = nn.Conv2d(10, 4, 3, padding=1)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.register_buffer("alphas_cumprod", torch.cumprod(1 - betas, 0).float())

    def forward(self, x: torch.Tensor, null: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        context = self.context(torch.cat((null, text)))[:, :, None, None]
        noise = self.conv_out(F.silu(self.conv_in(torch.cat((x, x))) + context))
        without, conditioned = noise.chunk(2)
        noise = without + 4.0 * (conditioned - without)
        now, then = self.alphas_cumprod[601], self.alphas_cumprod[401]
        image = ((x - (1 - now).sqrt() * noise) / now.sqrt()).clamp(-2, 2)
        return then.sqrt() * image + (1 - then).sqrt() * noise


def build_guided() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(GuidedStep(), 7214)
    null = np.repeat(inputs(7217, 1, 6), 2, 0)
    return model, (inputs(7215, 2, 4, 4, 4), null, inputs(7216, 2, 6))


def guided(
    model: Any,
    x: tuple[np.ndarray, ...],
    order: str = "without first",
    strength: float = 4.0,
    steps: tuple[int, int] = (601, 401),
    cut: bool = True,
    betas: str = "roots",
    noise_by: str = "root",
    towards: str = "from without",
) -> np.ndarray:
    w = weights_of(model)
    image, null, text = x
    context = np.concatenate([null, text] if order == "without first" else [text, null])
    context = linear(context, w["context.weight"], w["context.bias"])[..., None, None]
    y = conv(np.concatenate([image, image]), w["conv_in.weight"], w["conv_in.bias"], padding=1)
    noise = conv(silu(y + context), w["conv_out.weight"], w["conv_out.bias"], padding=1)
    without, conditioned = noise[:2], noise[2:]
    start = without if towards == "from without" else conditioned
    noise = start + np.float32(strength) * (conditioned - without)
    table = w["alphas_cumprod"]
    if betas == "multiplied in float16":
        steady = 1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        table = np.cumprod(steady.astype(np.float16), dtype=np.float16).astype(np.float32)
    if betas == "straight":
        table = np.cumprod(1 - np.linspace(0.00085, 0.012, 1000)).astype(np.float32)
    now, then = table[steps[0]], table[steps[1]]
    spread = np.sqrt(1 - now), np.sqrt(1 - then)
    if noise_by == "variance":
        spread = 1 - now, 1 - then
    clean = (image - spread[0] * noise) / np.sqrt(now)
    if cut:
        clean = np.clip(clean, -2, 2)
    return np.sqrt(then) * clean + spread[1] * noise


class IntegerSum(nn.Module):
    """A shortcut's sum of two 8 bit maps of other scales, with ReLU, as a device computes it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scales", torch.tensor([0.0625, 0.03, 0.045]))
        self.register_buffer("zero_points", torch.tensor([12, -20, -70], dtype=torch.int32))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        za, zb, zy = self.zero_points
        sa, sb, sy = self.scales
        real = (a.int() - za) * sa + (b.int() - zb) * sb
        q = torch.clamp(torch.round(real / sy) + zy, -128, 127)
        q = torch.maximum(q, zy.float())
        return (q - zy) * sy


def build_integer_sum() -> tuple[Any, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(7218)
    a, b = (rng.integers(-128, 128, (2, 4, 5, 5)).astype(np.int8) for _ in range(2))
    return IntegerSum().eval(), (a, b)


def integer_sum(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    zero_b: bool = True,
    scale_of_b: int = 1,
    rounding: Any = np.round,
    beyond: str = "cut",
    floor: str = "zero point",
) -> np.ndarray:
    w = weights_of(model)
    za, zb, zy = (int(z) for z in w["zero_points"])
    a, b = (y.astype(np.float32) for y in x)
    real = (a - za) * w["scales"][0] + (b - (zb if zero_b else 0)) * w["scales"][scale_of_b]
    q = rounding(real / w["scales"][2]).astype(np.int32) + zy
    if beyond == "cut":
        q = np.clip(q, -128, 127)
    else:
        q = q.astype(np.int8).astype(np.int32)
    q = np.maximum(q, zy if floor == "zero point" else 0)
    return ((q - zy) * w["scales"][2]).astype(np.float32)


CASES = [
    Case(
        "third_soft_argmax_keypoints",
        build_keypoints,
        "",
        keypoints,
        {
            "transposed_kernel_not_turned": Mistake(
                partial(keypoints, turned=False),
                "The transposed convolution's kernel is slid over the spread image as stored, "
                "where it is turned by 180 degrees.",
            ),
            "temperature_forgotten": Mistake(
                partial(keypoints, beta=1.0),
                "The heatmaps are not multiplied by 3 before the softmax.",
            ),
            "softmax_by_row": Mistake(
                partial(keypoints, over="row"),
                "The softmax is over the pixels of each row, where it is over all pixels of a map.",
            ),
            "places_without_the_end": Mistake(
                partial(keypoints, ends="without the last"),
                "A column's place is its index over the width, where it is over the width less 1.",
            ),
            "rows_before_columns": Mistake(
                partial(keypoints, axes="y, x"),
                "A joint's place is (y, x), where it is (x, y).",
            ),
            "shifted_by_one_pixel": Mistake(
                partial(keypoints, border=3),
                "The spread image is padded by 3 before and 1 after, where it is padded by 2 on "
                "both sides.",
            ),
        },
    ),
    Case(
        "third_dpt_feature_fusion",
        build_fusion,
        "",
        fusion,
        {
            "enlarged_by_centres": Mistake(
                partial(fusion, corners=False),
                "The map is enlarged with align_corners=False, where the corners are aligned.",
            ),
            "relu_in_place": Mistake(
                partial(fusion, inplace=True),
                "A unit's first ReLU is in place, so the shortcut adds its output, where it adds "
                "the unit's input.",
            ),
            "sum_refined": Mistake(
                partial(fusion, refined="sum"),
                "The first unit refines the sum of both maps, where it refines the residual and "
                "the sum comes after.",
            ),
            "residual_resized_by_corners": Mistake(
                partial(fusion, residual_corners=True),
                "The residual is resized with its corners aligned, where it is align_corners="
                "False.",
            ),
            "first_relu_forgotten": Mistake(
                partial(fusion, first_relu=False),
                "The ReLU before a unit's first convolution is forgotten.",
            ),
            "relu_in_place_and_centres": Mistake(
                partial(fusion, inplace=True, corners=False),
                "Two causes: a unit's first ReLU is in place and spoils the shortcut, and the map "
                "is enlarged with align_corners=False.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_esrgan_dense_blocks",
        build_dense,
        "",
        dense,
        {
            "dense_blocks_not_scaled": Mistake(
                partial(dense, inner=1.0),
                "A dense block's output is added whole, where it is multiplied by 0.2.",
            ),
            "outer_residual_not_scaled": Mistake(
                partial(dense, outer=1.0),
                "The two blocks' output is added whole to the input, where it is multiplied by "
                "0.2.",
            ),
            "usual_slope": Mistake(
                partial(dense, slope=0.01),
                "Leaky ReLU has the slope 0.01, where it is 0.2.",
            ),
            "newest_map_first": Mistake(
                partial(dense, newest="first"),
                "A dense block's maps are concatenated with the newest first, where it comes last.",
            ),
            "last_layer_activated": Mistake(
                partial(dense, last_active=True),
                "A dense block's last convolution is activated, where it is linear.",
            ),
            "enlarged_bilinearly": Mistake(
                partial(dense, up="bilinear"),
                "The map is enlarged bilinearly, where each pixel is repeated.",
            ),
        },
    ),
    Case(
        "third_keras_inception_resnet_block",
        build_inception,
        "",
        inception,
        {
            "residual_not_scaled": Mistake(
                partial(inception, scale=1.0),
                "The branches are added whole, where they are multiplied by 0.2.",
            ),
            "shortcut_scaled": Mistake(
                partial(inception, scaled="shortcut"),
                "The shortcut is multiplied by 0.2, where it is the branches.",
            ),
            "epsilon_of_pytorch": Mistake(
                partial(inception, eps=1e-5),
                "The batch normalisations have an epsilon of 1e-5, where Keras has 1e-3.",
            ),
            "long_branch_first": Mistake(
                partial(inception, order="long first"),
                "The branch of three convolutions is concatenated first, where it comes second.",
            ),
            "last_convolution_activated": Mistake(
                partial(inception, last="relu"),
                "ReLU is applied to the last 1x1 convolution before the sum too, where that is "
                "linear.",
            ),
            "kernels_transposed": Mistake(
                partial(inception, kernels="swapped"),
                "The 1x3 and 3x1 kernels lie along the other axis each.",
            ),
        },
    ),
    Case(
        "third_keras_mobilenet_v3_block",
        build_mobile,
        "",
        mobile,
        {
            "padded_on_the_other_side": Mistake(
                partial(mobile, before=(2, 1)),
                "The map is padded by 2 before and 1 after (as with PyTorch's padding=2), where "
                "it is 1 before and 2 after.",
            ),
            "old_hard_sigmoid": Mistake(
                partial(mobile, gate="0.2 x + 0.5"),
                "The gate is 0.2 x + 0.5 (Keras 2's hard sigmoid), where it is x / 6 + 0.5.",
            ),
            "swish": Mistake(
                partial(mobile, act="swish"),
                "The activation is the exact swish, where it is the hard one.",
            ),
            "hard_swish_in_the_gate": Mistake(
                partial(mobile, squeezed="hard swish"),
                "The gate's inner activation is the block's hard swish, where it is ReLU.",
            ),
            "gated_before_activation": Mistake(
                partial(mobile, gate_at="before the activation"),
                "The gate comes before the depthwise convolution's activation, where it comes "
                "after it.",
            ),
            "epsilon_of_pytorch": Mistake(
                partial(mobile, eps=1e-5),
                "The batch normalisations have an epsilon of 1e-5, where they have 1e-3.",
            ),
        },
    ),
    Case(
        "third_camera_image_front",
        build_camera,
        "",
        camera,
        {
            "full_range": Mistake(
                partial(camera, black=0, matrix=(1.0, 1.402, 0.344, 0.714, 1.772)),
                "The image is taken for one of full range (JPEG's matrix), where it is of limited "
                "range, 16 to 235.",
            ),
            "matrix_of_709": Mistake(
                partial(camera, matrix=(1.164, 1.793, 0.213, 0.533, 2.112)),
                "The matrix is that of BT.709, where it is BT.601's.",
            ),
            "chroma_swapped": Mistake(
                partial(camera, pair="v, u"),
                "The chroma pairs are read as V, U (NV21), where they are U, V.",
            ),
            "wrapped_beyond_a_byte": Mistake(
                partial(camera, beyond="wrapped"),
                "Colours are cast to bytes, which drops their fractions, without being cut at 0 "
                "and 255, so that they wrap round.",
            ),
            "blue_first": Mistake(
                partial(camera, colours="bgr"),
                "The colours go into the model as blue, green, red, where red is first.",
            ),
            "chroma_smoothed": Mistake(
                partial(camera, chroma="bilinear"),
                "The chroma is enlarged bilinearly, where each pair is repeated for 2 x 2 pixels.",
            ),
            "products_held_in_16_bits": Mistake(
                partial(camera, held="int16"),
                "The matrix is in whole numbers of 1/256 and its products overflow 16 bits, where "
                "it is in floating point.",
            ),
            "chroma_swapped_and_blue_first": Mistake(
                partial(camera, pair="v, u", colours="bgr"),
                "Two causes: the chroma pairs are read as V, U, and the colours go into the model "
                "as blue, green, red.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_guided_ddim_step",
        build_guided,
        "",
        guided,
        {
            "halves_swapped": Mistake(
                partial(guided, order="text first"),
                "The batch's first half is the one with the text, where the guidance takes it for "
                "the one without.",
            ),
            "guided_from_the_conditioned": Mistake(
                partial(guided, towards="from the conditioned"),
                "The difference is added to the conditioned noise (the paper's 1 + w), where it "
                "is added to the unconditioned one.",
            ),
            "usual_strength": Mistake(
                partial(guided, strength=7.5),
                "The guidance has the usual strength of 7.5, where it is 4.",
            ),
            "next_step_is_one_earlier": Mistake(
                partial(guided, steps=(601, 600)),
                "The step goes to 600, where it goes 200 back to 401.",
            ),
            "image_not_cut": Mistake(
                partial(guided, cut=False),
                "The predicted image is not cut at -2 and 2.",
            ),
            "betas_in_a_straight_line": Mistake(
                partial(guided, betas="straight"),
                "The betas are evenly spaced, where their roots are.",
            ),
            "alphas_multiplied_in_float16": Mistake(
                partial(guided, betas="multiplied in float16"),
                "The running product of the alphas is made in half precision, where it is made in "
                "double precision.",
            ),
            "noise_by_variance": Mistake(
                partial(guided, noise_by="variance"),
                "The noise is multiplied by 1 - alpha, where it is by its root.",
            ),
        },
    ),
    Case(
        "third_integer_shortcut_sum",
        build_integer_sum,
        "",
        integer_sum,
        {
            "zero_point_forgotten": Mistake(
                partial(integer_sum, zero_b=False),
                "The second map's zero point is not subtracted.",
            ),
            "scale_of_the_first": Mistake(
                partial(integer_sum, scale_of_b=0),
                "The second map is multiplied by the first one's scale, where it has its own.",
            ),
            "floored": Mistake(
                partial(integer_sum, rounding=np.floor),
                "The quotient is floored, where it is rounded to the nearest integer.",
            ),
            "wrapped": Mistake(
                partial(integer_sum, beyond="wrapped"),
                "A sum beyond 8 bits wraps round, where it is cut at -128 and 127.",
            ),
            "relu_at_integer_zero": Mistake(
                partial(integer_sum, floor="0"),
                "ReLU cuts the integers at 0, where it cuts them at the output's zero point.",
            ),
        },
    ),
]
