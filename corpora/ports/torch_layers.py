"""Convolutions, normalisations, activations, pooling and resizing of PyTorch."""

from functools import partial
from typing import Any

import numpy as np
from torch import nn

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import batch_norm, conv, gelu, gelu_tanh, linear, sigmoid
from corpora.ports.trained import inputs, tokens, train_torch, weights_of


def build_reflect() -> tuple[Any, np.ndarray]:
    layer = nn.Conv2d(8, 12, 5, padding=2, padding_mode="reflect")
    return train_torch(layer, 201), inputs(202, 2, 8, 9, 7)


def reflect(model: Any, x: np.ndarray, mode: str = "reflect") -> np.ndarray:
    w = weights_of(model)
    x = np.pad(x, [(0, 0), (0, 0), (2, 2), (2, 2)], mode=mode)
    return conv(x, w["weight"], w["bias"])


def build_weight_norm() -> tuple[Any, np.ndarray]:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 10, 3, padding=2, dilation=2))
    return train_torch(layer, 203), inputs(204, 2, 8, 20)


def weight_norm(
    model: Any, x: np.ndarray, axes: tuple[int, ...] = (1, 2), gain: bool = True, left: int = 2
) -> np.ndarray:
    w = weights_of(model)
    g, v = (w[f"parametrizations.weight.original{i}"] for i in (0, 1))
    kernel = g * v / np.sqrt((v * v).sum(axes, keepdims=True)) if gain else v
    x = np.pad(x, [(0, 0), (0, 0), (left, 4 - left)])
    return conv(x, kernel, w["bias"], dilation=2)


def build_transposed() -> tuple[Any, np.ndarray]:
    layer = nn.ConvTranspose2d(8, 8, 3, 2, 1, output_padding=1, groups=2)
    return train_torch(layer, 205, gain=2.0), inputs(206, 2, 8, 6, 5)


def transposed(model: Any, x: np.ndarray, extra: str = "end", groups: str = "in") -> np.ndarray:
    w = weights_of(model)
    b, _, h, k = x.shape
    y = np.zeros((b, 8, 2 * h + 2, 2 * k + 2), np.float32)
    for g in range(2):
        own = slice(4 * g, 4 * g + 4)
        kernel = w["weight"][own]
        if groups == "swapped":
            kernel = kernel.swapaxes(0, 1)
        for i in range(3):
            for j in range(3):
                tap = np.einsum("bchw,co->bohw", x[:, own], kernel[:, :, i, j])
                y[:, own, i : i + 2 * h : 2, j : j + 2 * k : 2] += tap
    cut = slice(0, -2) if extra == "start" else slice(1, -1)
    return y[:, :, cut, cut] + w["bias"].reshape(-1, 1, 1)


def build_batch_norm() -> tuple[Any, np.ndarray]:
    return train_torch(nn.BatchNorm1d(12), 207), inputs(208, 3, 12, 12)


def norm_1d(model: Any, x: np.ndarray, last: bool = False, root: bool = True) -> np.ndarray:
    w = {f"bn.{name}": value for name, value in weights_of(model).items()}
    if last:
        return batch_norm(x.swapaxes(1, 2), w, "bn").swapaxes(1, 2)
    if not root:
        w["bn.running_var"] = w["bn.running_var"] ** 2
    return batch_norm(x, w, "bn")


def build_instance() -> tuple[Any, np.ndarray]:
    layer = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
    return train_torch(layer, 209), inputs(210, 2, 8, 6, 6)


def instance(model: Any, x: np.ndarray, running: bool = True, eps: float = 1e-5) -> np.ndarray:
    w = weights_of(model)
    if running:
        return batch_norm(x, {f"n.{k}": v for k, v in w.items()}, "n", eps)
    y = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    return (y * w["weight"].reshape(-1, 1, 1) + w["bias"].reshape(-1, 1, 1)).astype(np.float32)


def build_group() -> tuple[Any, np.ndarray]:
    x = inputs(212, 2, 12, 5, 5) * np.linspace(0.3, 2, 12, dtype=np.float32)[:, None, None]
    return train_torch(nn.GroupNorm(3, 12), 211), x


def group(model: Any, x: np.ndarray, affine: str = "channel", sizes: str = "groups") -> np.ndarray:
    w = weights_of(model)
    groups = 4 if sizes == "channels per group" else 3
    g = x.reshape(2, groups, -1)
    y = (g - g.mean(-1, keepdims=True)) / np.sqrt(g.var(-1, keepdims=True) + 1e-5)
    gain, bias = w["weight"], w["bias"]
    if affine == "group":
        gain, bias = gain[:3].repeat(4), bias[:3].repeat(4)
    y = y.reshape(x.shape) * gain[:, None, None] + bias[:, None, None]
    return y.astype(np.float32)


def build_layer() -> tuple[Any, np.ndarray]:
    return train_torch(nn.LayerNorm([6, 8]), 213), inputs(214, 2, 3, 6, 8, shift=0.4)


def layer(model: Any, x: np.ndarray, axes: tuple[int, ...] = (-2, -1), std: str = "") -> np.ndarray:
    w = weights_of(model)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    y = x / np.sqrt(var + 1e-5) - mean if std == "precedence" else (x - mean) / np.sqrt(var + 1e-5)
    return (y * w["weight"] + w["bias"]).astype(np.float32)


def build_response() -> tuple[Any, np.ndarray]:
    return nn.LocalResponseNorm(5, alpha=0.5, beta=0.75, k=2.0).eval(), inputs(215, 2, 12, 4, 4)


def response(
    model: Any, x: np.ndarray, divide: bool = True, size: int = 5, k: float = 2.0
) -> np.ndarray:
    square = np.pad(x * x, [(0, 0), (size // 2, size // 2), (0, 0), (0, 0)])
    total = sum(square[:, i : i + 12] for i in range(size))
    if divide:
        total = total / 5
    return (x / (k + 0.5 * total) ** 0.75).astype(np.float32)


def _activation(make: Any, seed: int) -> Any:
    return lambda: (train_torch(make(), seed), inputs(seed + 1, 3, 8, 12, scale=1.5))


def softplus(model: Any, x: np.ndarray, divide: bool = True) -> np.ndarray:
    y = np.logaddexp(0, 2 * x)
    return (y / 2 if divide else y).astype(np.float32)


def selu(model: Any, x: np.ndarray, scale_all: bool = True) -> np.ndarray:
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    low = alpha * np.expm1(np.minimum(x, 0))
    y = scale * np.where(x > 0, x, low) if scale_all else np.where(x > 0, scale * x, low)
    return y.astype(np.float32)


def soft_shrink(model: Any, x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.maximum(np.abs(x) - np.float32(0.5), 0)


def glu(model: Any, x: np.ndarray, gate: str = "second", axis: int = 1) -> np.ndarray:
    a, b = np.split(x, 2, axis)
    return sigmoid(a) * b if gate == "first" else a * sigmoid(b)


def log_softmax(model: Any, x: np.ndarray, axis: int = 1) -> np.ndarray:
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def build_shuffle() -> tuple[Any, np.ndarray]:
    conv_and_shuffle = nn.Sequential(nn.Conv2d(6, 16, 3, padding=1), nn.PixelShuffle(2))
    return train_torch(conv_and_shuffle, 231), inputs(232, 2, 6, 5, 4)


def shuffle(model: Any, x: np.ndarray, order: str = "channel first") -> np.ndarray:
    w = weights_of(model)
    y = conv(x, w["0.weight"], w["0.bias"], padding=1)
    if order == "channel last":
        y = y.reshape(2, 2, 2, 4, 5, 4).transpose(0, 3, 4, 1, 5, 2)
    elif order == "columns first":
        y = y.reshape(2, 4, 2, 2, 5, 4).transpose(0, 1, 4, 3, 5, 2)
    else:
        y = y.reshape(2, 4, 2, 2, 5, 4).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(2, 4, 10, 8)


def build_bicubic() -> tuple[Any, np.ndarray]:
    return nn.Upsample(scale_factor=2, mode="bicubic").eval(), inputs(233, 2, 8, 6, 5)


def bicubic(
    model: Any, x: np.ndarray, a: float = -0.75, edge: str = "clamp", corners: bool = False
) -> np.ndarray:
    def taps(size: int) -> np.ndarray:
        matrix = np.zeros((2 * size, size))
        for i in range(2 * size):
            at = i * (size - 1) / (2 * size - 1) if corners else (i + 0.5) / 2 - 0.5
            for j in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
                d = abs(at - j)
                near = (a + 2) * d**3 - (a + 3) * d**2 + 1
                weight = near if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
                if edge == "clamp":
                    matrix[i, min(max(j, 0), size - 1)] += weight
                elif 0 <= j < size:
                    matrix[i, j] += weight
        return matrix.astype(np.float32)

    return taps(x.shape[2]) @ x @ taps(x.shape[3]).T


def build_corners() -> tuple[Any, np.ndarray]:
    return nn.Upsample(scale_factor=3, mode="linear", align_corners=True).eval(), inputs(
        234, 2, 8, 7
    )


def linear_up(model: Any, x: np.ndarray, corners: bool = True) -> np.ndarray:
    size = x.shape[2]
    i = np.arange(3 * size)
    at = i * (size - 1) / (3 * size - 1) if corners else np.clip((i + 0.5) / 3 - 0.5, 0, size - 1)
    low = np.floor(at).astype(int)
    part = (at - low).astype(np.float32)
    return x[..., low] * (1 - part) + x[..., np.minimum(low + 1, size - 1)] * part


def build_average() -> tuple[Any, np.ndarray]:
    return nn.AvgPool2d(3, 2, padding=1).eval(), inputs(235, 2, 8, 7, 9, shift=1.0)


def average(model: Any, x: np.ndarray, counted: bool = True) -> np.ndarray:
    def total(a: np.ndarray) -> np.ndarray:
        a = np.pad(a, [(0, 0), (0, 0), (1, 1), (1, 1)])
        view = np.lib.stride_tricks.sliding_window_view(a, (3, 3), (2, 3))
        return view[:, :, ::2, ::2].sum((-1, -2))

    return total(x) / (np.float32(9) if counted else total(np.ones_like(x)))


def build_adaptive() -> tuple[Any, np.ndarray]:
    return nn.AdaptiveAvgPool1d(4).eval(), inputs(236, 2, 8, 10)


def adaptive(model: Any, x: np.ndarray, how: str = "overlap") -> np.ndarray:
    n = x.shape[2]
    if how == "resized":
        return x[..., : n // 4 * 4].reshape(2, 8, 4, n // 4).mean(-1)
    ends = [-(-(i + 1) * n // 4) if how == "overlap" else (i + 1) * n // 4 for i in range(4)]
    return np.stack([x[..., i * n // 4 : ends[i]].mean(-1) for i in range(4)], -1)


def build_max_dilated() -> tuple[Any, np.ndarray]:
    return nn.MaxPool1d(3, 2, padding=1, dilation=2).eval(), inputs(237, 2, 8, 14, shift=-1.0)


def max_dilated(model: Any, x: np.ndarray, fill: float = -np.inf, dilation: int = 2) -> np.ndarray:
    x = np.pad(x, [(0, 0), (0, 0), (1, 1)], constant_values=fill)
    last = x.shape[2] - 4
    return np.stack(
        [x[..., t : t + 2 * dilation + 1 : dilation].max(-1) for t in range(0, last, 2)], -1
    )


def build_bag() -> tuple[Any, Any]:
    bag = train_torch(nn.EmbeddingBag(30, 12, mode="mean", padding_idx=0), 238)
    ids = tokens(239, 14, vocabulary=30)
    ids[[2, 9]] = 0
    return bag, (ids, np.array([0, 3, 8]))


def bag(model: Any, x: Any, how: str = "mean", skip: bool = True) -> np.ndarray:
    ids, offsets = x
    table = weights_of(model)["weight"]
    out = []
    if how == "lengths":
        parts = [ids[:3], ids[3:11], ids[11:]]
    else:
        parts = np.split(ids, offsets[1:])
    for part in parts:
        rows = table[part[part != 0] if skip else part]
        out.append(rows.sum(0) if how == "sum" else rows.mean(0))
    return np.stack(out)


def build_unfold() -> tuple[Any, np.ndarray]:
    model = nn.Sequential(nn.Unfold((2, 3), stride=(2, 1)), nn.Flatten(), nn.Linear(18 * 12, 8))
    return train_torch(model, 240), inputs(241, 2, 3, 6, 6)


def unfold(model: Any, x: np.ndarray, order: str = "channel first") -> np.ndarray:
    w = weights_of(model)
    view = np.lib.stride_tricks.sliding_window_view(x, (2, 3), (2, 3))[:, :, ::2]
    axes = (0, 1, 4, 5, 2, 3) if order == "channel first" else (0, 4, 5, 1, 2, 3)
    return view.transpose(axes).reshape(2, -1) @ w["2.weight"].T + w["2.bias"]


def build_bilinear() -> tuple[Any, Any]:
    layer = train_torch(nn.Bilinear(8, 8, 6), 242, gain=2.0)
    return layer, (inputs(243, 3, 8), inputs(244, 3, 8))


def build_long() -> tuple[Any, np.ndarray]:
    x = inputs(246, 2, 5, 24) + np.array([900.0, -400.0], np.float32)[:, None, None]
    return train_torch(nn.LayerNorm(24), 245), x


def long_norm(model: Any, x: np.ndarray, passes: int = 2) -> np.ndarray:
    w = weights_of(model)
    mean = x.mean(-1, keepdims=True)
    var = ((x - mean) ** 2).mean(-1, keepdims=True)
    if passes == 1:
        var = np.maximum((x * x).mean(-1, keepdims=True) - mean * mean, 0)
    return (x - mean) / np.sqrt(var + np.float32(1e-5)) * w["weight"] + w["bias"]


def build_ids() -> tuple[Any, np.ndarray]:
    model = nn.Sequential(nn.Embedding(400, 12), nn.Linear(12, 12))
    return train_torch(model, 247, gain=2.0), tokens(248, 2, 12, vocabulary=400)


def embedded(
    model: Any, ids: np.ndarray, kind: Any = np.int64, bias: str = "features", gather: str = "rows"
) -> np.ndarray:
    w = weights_of(model)
    table = w["0.weight"]
    x = table[ids.astype(kind)]
    if gather == "flat":
        x = table.ravel()[ids[..., None].clip(0, 4788) + np.arange(12)]
    along_time = w["1.bias"][:, None]
    return linear(x, w["1.weight"]) + (along_time if bias == "time" else w["1.bias"])


CASES = [
    Case(
        "torch_layer_norm_far_from_zero",
        build_long,
        "",
        long_norm,
        {
            "variance_in_one_pass": Mistake(
                partial(long_norm, passes=1),
                "The variance is the mean of squares minus the square of the mean in float32, "
                "which cancels where the mean is large; it is to be of the differences.",
            ),
        },
    ),
    Case(
        "torch_embedding_linear",
        build_ids,
        "1",
        embedded,
        {
            "ids_in_uint8": Mistake(
                partial(embedded, kind=np.uint8),
                "Ids are kept in uint8, so those over 255 wrap around to other rows.",
            ),
            "bias_along_time": Mistake(
                partial(embedded, bias="time"),
                "The bias is added along the time axis, of the same length as the features.",
            ),
            "row_stride_forgotten": Mistake(
                partial(embedded, gather="flat"),
                "The table is read from the flat position id, where a row starts at id * 12.",
            ),
        },
    ),
    Case(
        "torch_conv2d_reflect",
        build_reflect,
        "",
        reflect,
        {
            "padded_with_zeros": Mistake(
                partial(reflect, mode="constant"),
                "The border is padded with zeros, where padding_mode is reflect.",
            ),
            "edge_pixel_repeated": Mistake(
                partial(reflect, mode="symmetric"),
                "The border is mirrored with the edge pixel repeated (NumPy's symmetric), where "
                "reflect leaves it out.",
            ),
        },
    ),
    Case(
        "torch_conv1d_weight_norm",
        build_weight_norm,
        "",
        weight_norm,
        {
            "norm_over_everything": Mistake(
                partial(weight_norm, axes=(0, 1, 2)),
                "The weight's norm is over the whole tensor, where it is of each output channel.",
            ),
            "gain_not_applied": Mistake(
                partial(weight_norm, gain=False),
                "v is taken as the weight, without the norm and the gain of weight_norm.",
            ),
            "padded_on_the_left": Mistake(
                partial(weight_norm, left=4),
                "All the padding is before the signal (causal), where it is two on either side.",
            ),
        },
    ),
    Case(
        "torch_conv_transpose2d",
        build_transposed,
        "",
        transposed,
        {
            "output_padding_at_the_start": Mistake(
                partial(transposed, extra="start"),
                "The output padding's row and column are added at the top and left, where they "
                "are at the bottom and right.",
            ),
            "in_and_out_swapped": Mistake(
                partial(transposed, groups="swapped"),
                "The weight's first two axes are read as (out, in / groups) as a Conv2d's, where "
                "they are (in, out / groups).",
            ),
        },
    ),
    Case(
        "torch_batch_norm1d",
        build_batch_norm,
        "",
        norm_1d,
        {
            "over_the_last_axis": Mistake(
                partial(norm_1d, last=True),
                "The parameters are broadcast along the last axis (time), where they belong to "
                "the channels of axis 1; both have length 12.",
            ),
            "variance_taken_as_std": Mistake(
                partial(norm_1d, root=False),
                "The running variance is taken for the standard deviation: no square root.",
            ),
        },
    ),
    Case(
        "torch_instance_norm2d_tracked",
        build_instance,
        "",
        instance,
        {
            "instance_statistics": Mistake(
                partial(instance, running=False),
                "Statistics are of each instance, where track_running_stats=True takes the "
                "running ones in evaluation.",
            ),
            "eps_of_keras": Mistake(
                partial(instance, eps=1e-3),
                "Epsilon is 1e-3, where it is 1e-5.",
            ),
        },
    ),
    Case(
        "torch_group_norm",
        build_group,
        "",
        group,
        {
            "affine_per_group": Mistake(
                partial(group, affine="group"),
                "All channels of a group get one gain and bias (those of index group), where "
                "every channel has its own.",
            ),
            "groups_and_size_mixed_up": Mistake(
                partial(group, sizes="channels per group"),
                "There are 4 groups of 3 channels, where there are 3 groups of 4 (the number of "
                "groups taken for the size of one).",
            ),
        },
    ),
    Case(
        "torch_layer_norm_two_axes",
        build_layer,
        "",
        layer,
        {
            "last_axis_alone": Mistake(
                partial(layer, axes=(-1,)),
                "Mean and variance are over the last axis, where normalized_shape has two.",
            ),
            "parentheses_forgotten": Mistake(
                partial(layer, std="precedence"),
                "The mean is subtracted after the division, x / std - mean, for want of "
                "parentheses.",
            ),
        },
    ),
    Case(
        "torch_local_response_norm",
        build_response,
        "",
        response,
        {
            "alpha_not_divided_by_size": Mistake(
                partial(response, divide=False),
                "alpha multiplies the sum of squares (TensorFlow's), where it multiplies their "
                "mean over the window of 5.",
            ),
            "window_of_three": Mistake(
                partial(response, size=3),
                "The window has 3 channels, where size is 5 (half of it taken to each side is 2).",
            ),
            "alpha_and_k": Mistake(
                partial(response, divide=False, k=1.0),
                "Two causes: alpha is not divided by the size, and the constant k is 1, where it "
                "is 2.",
                causes=2,
            ),
        },
    ),
    Case(
        "torch_gelu_tanh",
        _activation(lambda: nn.GELU(approximate="tanh"), 216),
        "",
        lambda model, x: gelu_tanh(x),
        {
            "exact_gelu": Mistake(
                lambda model, x: gelu(x),
                "The exact GELU by erf, where approximate='tanh'; inherently small.",
            ),
            "cube_missing": Mistake(
                lambda model, x: (
                    0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x * x)))
                ).astype(np.float32),
                "Within the tanh 0.044715 multiplies x squared, where it multiplies x cubed.",
            ),
        },
    ),
    Case(
        "torch_softplus_beta",
        _activation(lambda: nn.Softplus(beta=2), 218),
        "",
        softplus,
        {
            "not_divided_by_beta": Mistake(
                partial(softplus, divide=False),
                "log(1 + exp(2 x)) is not divided by beta = 2.",
            ),
        },
    ),
    Case(
        "torch_selu",
        _activation(nn.SELU, 220),
        "",
        selu,
        {
            "scale_on_positive_side": Mistake(
                partial(selu, scale_all=False),
                "The scale 1.0507 multiplies the positive side alone, where it multiplies both.",
            ),
        },
    ),
    Case(
        "torch_softshrink",
        _activation(nn.Softshrink, 222),
        "",
        soft_shrink,
        {
            "hard_shrink": Mistake(
                lambda model, x: np.where(np.abs(x) > 0.5, x, 0).astype(np.float32),
                "Values beyond the threshold are kept as they are (hard shrinkage), where soft "
                "shrinkage takes the threshold off them.",
            ),
        },
    ),
    Case(
        "torch_hardswish",
        _activation(nn.Hardswish, 224),
        "",
        lambda model, x: x * np.clip(x / 6 + np.float32(0.5), 0, 1),
        {
            "slope_of_old_keras": Mistake(
                lambda model, x: x * np.clip(np.float32(0.2) * x + np.float32(0.5), 0, 1),
                "The hard sigmoid within has slope 0.2 (old Keras), where it is 1/6.",
            ),
            "smooth_swish": Mistake(
                lambda model, x: x * sigmoid(x),
                "The smooth swish x * sigmoid(x), where it is the hard one.",
            ),
        },
    ),
    Case(
        "torch_glu",
        _activation(lambda: nn.GLU(1), 226),
        "",
        glu,
        {
            "halves_swapped": Mistake(
                partial(glu, gate="first"),
                "The first half goes through the sigmoid, where the second half is the gate.",
            ),
        },
    ),
    Case(
        "torch_log_softmax",
        _activation(lambda: nn.LogSoftmax(1), 228),
        "",
        log_softmax,
        {
            "last_axis": Mistake(
                partial(log_softmax, axis=-1),
                "Over the last axis, where dim is 1.",
            ),
        },
    ),
    Case(
        "torch_pixel_shuffle",
        build_shuffle,
        "1",
        shuffle,
        {
            "order_of_depth_to_space": Mistake(
                partial(shuffle, order="channel last"),
                "Channels are split as (row, column, channel) as in TensorFlow's depth_to_space, "
                "where PixelShuffle has (channel, row, column).",
            ),
            "rows_and_columns_swapped": Mistake(
                partial(shuffle, order="columns first"),
                "Within a block, rows and columns are swapped.",
            ),
        },
    ),
    Case(
        "torch_upsample_bicubic",
        build_bicubic,
        "",
        bicubic,
        {
            "a_of_minus_half": Mistake(
                partial(bicubic, a=-0.5),
                "The cubic kernel has a = -0.5 (Keys; Pillow, TensorFlow), where PyTorch's has "
                "a = -0.75.",
            ),
            "zeros_beyond_the_border": Mistake(
                partial(bicubic, edge="zero"),
                "Pixels beyond the border count as zeros, where the edge pixel is repeated.",
            ),
            "keys_and_corners_aligned": Mistake(
                partial(bicubic, a=-0.5, corners=True),
                "Two causes: a = -0.5, where it is -0.75, and corners are aligned, where they "
                "are not.",
                causes=2,
            ),
        },
    ),
    Case(
        "torch_upsample_linear_aligned",
        build_corners,
        "",
        linear_up,
        {
            "half_pixels": Mistake(
                partial(linear_up, corners=False),
                "Positions are at half pixels, where align_corners is True.",
            ),
        },
    ),
    Case(
        "torch_avg_pool2d_padded",
        build_average,
        "",
        average,
        {
            "padding_not_counted": Mistake(
                partial(average, counted=False),
                "Windows at the border are divided by the pixels within the image, where "
                "count_include_pad is True and they are divided by 9.",
            ),
        },
    ),
    Case(
        "torch_adaptive_avg_pool1d",
        build_adaptive,
        "",
        adaptive,
        {
            "windows_do_not_overlap": Mistake(
                partial(adaptive, how="floor"),
                "A window ends at floor((i + 1) n / 4), where it ends at the ceiling of that, so "
                "windows overlap.",
            ),
            "equal_windows": Mistake(
                partial(adaptive, how="resized"),
                "Four windows of n // 4 steps are taken and the rest is left over.",
            ),
        },
    ),
    Case(
        "torch_max_pool1d_dilated",
        build_max_dilated,
        "",
        max_dilated,
        {
            "padded_with_zeros": Mistake(
                partial(max_dilated, fill=0.0),
                "Padded with zeros, where max pooling pads with -inf.",
            ),
            "dilation_ignored": Mistake(
                partial(max_dilated, dilation=1),
                "The window's three taps are neighbours, where dilation is 2.",
            ),
        },
    ),
    Case(
        "torch_embedding_bag_mean",
        build_bag,
        "",
        bag,
        {
            "padding_counted": Mistake(
                partial(bag, skip=False),
                "padding_idx 0 is averaged with the rest, where its entries are left out.",
            ),
            "offsets_taken_as_lengths": Mistake(
                partial(bag, how="lengths"),
                "The last offset is taken for the length of the second bag, where offsets are "
                "where bags start.",
            ),
        },
    ),
    Case(
        "torch_unfold_linear",
        build_unfold,
        "2",
        unfold,
        {
            "patches_channel_last": Mistake(
                partial(unfold, order="channel last"),
                "A patch is flattened as (row, column, channel), where Unfold has (channel, row, "
                "column).",
            ),
        },
    ),
    Case(
        "torch_bilinear",
        build_bilinear,
        "",
        lambda model, x: (
            np.einsum("bi,oij,bj->bo", x[0], weights_of(model)["weight"], x[1])
            + weights_of(model)["bias"]
        ),
        {
            "inputs_swapped": Mistake(
                lambda model, x: (
                    np.einsum("bi,oij,bj->bo", x[1], weights_of(model)["weight"], x[0])
                    + weights_of(model)["bias"]
                ),
                "The two inputs are swapped (the weight's axes of in1 and in2).",
            ),
        },
    ),
]
