"""Convolutions of Keras: channels last, kernels (*taps, in, out)."""

from functools import partial
from typing import Any

import keras
import numpy as np

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import conv, relu
from corpora.ports.trained import inputs, train_keras


def _one_layer(shape: tuple[int, ...], layer: Any, seed: int) -> tuple[Any, np.ndarray]:
    model = keras.Sequential([keras.Input(shape), layer])
    return train_keras(model, seed), inputs(seed + 1, 2, *shape)


def _channels_first(x: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.moveaxis(x, -1, 1), np.moveaxis(kernel, (-1, -2), (0, 1))


def _same(size: int, taps: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + taps - size, 0)
    return total // 2, total - total // 2


def build_strided() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv2D(12, 3, 2, "same", activation="relu", name="down")
    return _one_layer((16, 12, 8), layer, 1)


def strided(
    model: Any, x: np.ndarray, pad: str = "same", flip: bool = False, use_bias: bool = True
) -> np.ndarray:
    kernel, bias = model.get_layer("down").get_weights()
    if flip:
        kernel = kernel[::-1, ::-1]
    sides = [_same(n, 3, 2) for n in x.shape[1:3]]
    if pad == "lower":
        sides = [(after, before) for before, after in sides]
    if pad == "symmetric":
        sides = [(1, 1), (1, 1)]
    x, kernel = _channels_first(np.pad(x, [(0, 0), *sides, (0, 0)]), kernel)
    y = np.moveaxis(conv(x, kernel, stride=2), 1, -1)
    return relu(y + bias if use_bias else y)


def build_causal() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv1D(16, 3, dilation_rate=4, padding="causal", name="causal")
    return _one_layer((24, 8), layer, 3)


def causal(model: Any, x: np.ndarray, pad: str = "left", backwards: bool = False) -> np.ndarray:
    kernel, bias = model.get_layer("causal").get_weights()
    if backwards:
        kernel = kernel[::-1]
    reach = (kernel.shape[0] - 1) * 4
    sides = {"left": (reach, 0), "both": (reach // 2, reach // 2), "first": (reach, 0)}[pad]
    x = np.pad(x, [(0, 0), sides, (0, 0)], mode="edge" if pad == "first" else "constant")
    x, kernel = _channels_first(x, kernel)
    return np.moveaxis(conv(x, kernel, bias, dilation=4), 1, -1)


def build_grouped() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv2D(24, 3, padding="same", groups=4, name="grouped")
    return _one_layer((9, 9, 16), layer, 5)


def grouped(model: Any, x: np.ndarray, take: str = "block", put: str = "block") -> np.ndarray:
    kernel, bias = model.get_layer("grouped").get_weights()
    out = []
    for g in range(4):
        part = x[..., g::4] if take == "stride" else x[..., 4 * g : 4 * g + 4]
        part, taps = _channels_first(part, kernel[..., 6 * g : 6 * g + 6])
        out.append(np.moveaxis(conv(part, taps, padding=1), 1, -1))
    if put == "stride":
        return np.stack(out, -1).reshape(*x.shape[:3], 24) + bias
    return np.concatenate(out, -1) + bias


def build_volume() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv3D(8, 3, strides=(1, 2, 2), name="volume")
    return _one_layer((6, 9, 9, 4), layer, 7)


def volume(
    model: Any, x: np.ndarray, axes: tuple[int, ...] = (0, 1, 2), shift: int = 0
) -> np.ndarray:
    kernel, bias = model.get_layer("volume").get_weights()
    x, kernel = _channels_first(x, kernel.transpose(*axes, 3, 4))
    bias = np.roll(bias, shift)
    return np.moveaxis(conv(x, kernel, bias, stride=(1, 2, 2)), 1, -1)


def build_depthwise() -> tuple[Any, np.ndarray]:
    layer = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")
    return _one_layer((10, 8, 8), layer, 9)


def depthwise(
    model: Any, x: np.ndarray, order: str = "channel first", kernel_as: str = "channel first"
) -> np.ndarray:
    kernel, bias = model.get_layer("depthwise").get_weights()
    kh, kw, c, m = kernel.shape
    if kernel_as == "multiplier first":
        kernel = kernel.reshape(kh, kw, m, c).transpose(0, 1, 3, 2)
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    h, w = x.shape[1] - 2, x.shape[2] - 2
    y = np.zeros((len(x), h, w, c, m), np.float32)
    for i in range(kh):
        for j in range(kw):
            y += x[:, i : i + h, j : j + w, :, None] * kernel[i, j]
    if order == "multiplier first":
        y = y.swapaxes(-1, -2)
    return y.reshape(len(x), h, w, c * m) + bias


def build_separable() -> tuple[Any, np.ndarray]:
    layer = keras.layers.SeparableConv2D(
        16, 3, padding="same", depth_multiplier=2, activation="relu", name="separable"
    )
    return _one_layer((8, 8, 8), layer, 11)


def separable(
    model: Any, x: np.ndarray, between: bool = False, transposed: bool = False
) -> np.ndarray:
    depth, point, bias = model.get_layer("separable").get_weights()
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    y = np.zeros((len(x), 8, 8, 8, 2), np.float32)
    for i in range(3):
        for j in range(3):
            y += x[:, i : i + 8, j : j + 8, :, None] * depth[i, j]
    y = y.reshape(len(x), 8, 8, 16)
    if between:
        y = relu(y)
    point = point[0, 0].T if transposed else point[0, 0]
    return relu(y @ point + bias)


def build_transposed() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same", name="up")
    return _one_layer((6, 5, 8), layer, 13)


def transposed(
    model: Any, x: np.ndarray, crop: str = "end", flip: bool = False, swapped: bool = False
) -> np.ndarray:
    kernel, bias = model.get_layer("up").get_weights()
    if flip:
        kernel = kernel[::-1, ::-1]
    if swapped:
        kernel = kernel.swapaxes(2, 3)
    b, h, w, _ = x.shape
    y = np.zeros((b, 2 * h + 1, 2 * w + 1, kernel.shape[2]), np.float32)
    for i in range(3):
        for j in range(3):
            y[:, i : i + 2 * h : 2, j : j + 2 * w : 2] += x @ kernel[i, j].T
    y = y[:, 1:, 1:] if crop == "start" else y[:, :-1, :-1]
    return y + bias


def build_strided_valid() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv1D(12, 5, strides=3, name="frames", activation="elu")
    return _one_layer((31, 6), layer, 15)


def strided_valid(
    model: Any, x: np.ndarray, start: int = 0, unrolled: str = "time first", alpha: float = 1.0
) -> np.ndarray:
    kernel, bias = model.get_layer("frames").get_weights()
    frames = np.stack([x[:, t : t + 5] for t in range(start, 27, 3)], 1)
    if unrolled == "channel first":
        frames = frames.swapaxes(2, 3)
    frames = frames.reshape(*frames.shape[:2], -1)
    y = frames @ kernel.reshape(-1, 12) + bias
    return np.where(y > 0, y, alpha * np.expm1(np.minimum(y, 0))).astype(np.float32)


CASES = [
    Case(
        "keras_conv2d_same_stride_2",
        build_strided,
        "down",
        strided,
        {
            "symmetric_padding": Mistake(
                partial(strided, pad="symmetric"),
                "SAME padding of a strided convolution is done with one row and column on every "
                "side as PyTorch's padding=1, where TensorFlow puts the odd one after.",
            ),
            "kernel_flipped": Mistake(
                partial(strided, flip=True),
                "The kernel is flipped in both directions, a true convolution as of "
                "scipy.signal.convolve, where Keras cross-correlates.",
            ),
            "symmetric_and_no_bias": Mistake(
                partial(strided, pad="symmetric", use_bias=False),
                "Two causes: SAME is padded on both sides alike, and the bias is forgotten.",
                causes=2,
            ),
        },
    ),
    Case(
        "keras_conv1d_causal_dilated",
        build_causal,
        "causal",
        causal,
        {
            "same_in_place_of_causal": Mistake(
                partial(causal, pad="both"),
                "The padding is put on both sides (same), so each output sees the future, where "
                "causal padding is all before the first step.",
            ),
            "taps_reversed": Mistake(
                partial(causal, backwards=True),
                "The taps are applied in reversed order of time: tap 0 to the newest sample.",
            ),
            "history_of_first_sample": Mistake(
                partial(causal, pad="first"),
                "The history before the first step is filled with the first sample (a streaming "
                "buffer primed with it), where causal padding is zeros.",
            ),
        },
    ),
    Case(
        "keras_conv2d_groups",
        build_grouped,
        "grouped",
        grouped,
        {
            "input_dealt_out": Mistake(
                partial(grouped, take="stride"),
                "Input channels are dealt to the groups in turn (channel % groups), where a group "
                "has a block of neighbouring channels.",
            ),
            "outputs_interleaved": Mistake(
                partial(grouped, put="stride"),
                "The groups' output channels are interleaved, where they are concatenated group "
                "after group.",
            ),
        },
    ),
    Case(
        "keras_conv3d",
        build_volume,
        "volume",
        volume,
        {
            "depth_and_width_of_kernel_swapped": Mistake(
                partial(volume, axes=(2, 1, 0)),
                "The kernel's axes of depth and width are swapped: read as (width, height, depth).",
            ),
            "bias_shifted_by_one": Mistake(
                partial(volume, shift=1),
                "Each output channel gets the bias of the channel before it (an off-by-one in the "
                "read of the bias file).",
            ),
        },
    ),
    Case(
        "keras_depthwise_conv2d",
        build_depthwise,
        "depthwise",
        depthwise,
        {
            "multiplier_major_output": Mistake(
                partial(depthwise, order="multiplier first"),
                "Output channels are ordered by multiplier and then channel, where Keras has "
                "channel * depth_multiplier + multiplier.",
            ),
            "kernel_read_multiplier_first": Mistake(
                partial(depthwise, kernel_as="multiplier first"),
                "The kernel's last two axes are read as (multiplier, channel) by a reshape of the "
                "raw data, where they are (channel, multiplier).",
            ),
        },
    ),
    Case(
        "keras_separable_conv2d",
        build_separable,
        "separable",
        separable,
        {
            "activation_between": Mistake(
                partial(separable, between=True),
                "ReLU is applied between the depthwise and the pointwise part as well, as in "
                "MobileNet, where the layer applies it at its end alone.",
            ),
            "pointwise_transposed": Mistake(
                partial(separable, transposed=True),
                "The pointwise kernel is transposed (out, in); it is square, so nothing complains.",
            ),
        },
    ),
    Case(
        "keras_conv2d_transpose",
        build_transposed,
        "up",
        transposed,
        {
            "cropped_at_the_start": Mistake(
                partial(transposed, crop="start"),
                "SAME crops the extra row and column of the transposed convolution from the top "
                "and left, where they go from the bottom and right.",
            ),
            "kernel_flipped": Mistake(
                partial(transposed, flip=True),
                "The kernel is flipped: zeros are put between the inputs and the result is "
                "cross-correlated with the kernel as it is stored.",
            ),
            "kernel_in_and_out_swapped": Mistake(
                partial(transposed, swapped=True),
                "The kernel is read as (height, width, in, out) as a Conv2D's, where a transposed "
                "convolution's is (height, width, out, in).",
            ),
            "cropped_at_the_start_and_flipped": Mistake(
                partial(transposed, crop="start", flip=True),
                "Two causes: cropped from the top and left, and the kernel flipped.",
                causes=2,
            ),
        },
    ),
    Case(
        "keras_conv1d_strided_valid",
        build_strided_valid,
        "frames",
        strided_valid,
        {
            "frames_aligned_with_the_end": Mistake(
                partial(strided_valid, start=2),
                "The frames are aligned with the end of the signal: the first starts at sample 2, "
                "where a valid strided convolution starts at sample 0.",
            ),
            "patches_channel_first": Mistake(
                partial(strided_valid, unrolled="channel first"),
                "The im2col patches are flattened with the channel before the tap, and multiplied "
                "with a kernel flattened with the tap before the channel.",
            ),
            "elu_as_selu_alpha": Mistake(
                partial(strided_valid, alpha=1.6732632),
                "ELU is computed with alpha 1.673 (SELU's), where it is 1.",
            ),
        },
    ),
]
