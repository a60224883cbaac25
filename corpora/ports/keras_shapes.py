"""Layers of Keras that pool, resize, pad, look up, merge and move data."""

from functools import partial
from typing import Any

import keras
import numpy as np

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import conv, softmax
from corpora.ports.trained import inputs, tokens, train_keras


def _alone(layer: Any, shape: tuple[int, ...], seed: int, **kinds: float) -> tuple[Any, np.ndarray]:
    model = keras.Sequential([keras.Input(shape), layer])
    return train_keras(model, seed), inputs(seed + 1, 2, *shape, **kinds)


def _windows(x: np.ndarray, fill: float) -> np.ndarray:
    """The windows of 3 x 3 at steps of 2 of an odd side, padded by one on every side."""
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    return view[:, ::2, ::2].reshape(*view[:, ::2, ::2].shape[:4], 9)


def build_average() -> tuple[Any, np.ndarray]:
    layer = keras.layers.AveragePooling2D(3, 2, "same", name="pool")
    return _alone(layer, (9, 7, 8), 41, shift=1.0)


def average(model: Any, x: np.ndarray, count_padding: bool = False) -> np.ndarray:
    total = _windows(x, 0).sum(-1)
    count = 9 if count_padding else _windows(np.ones_like(x), 0).sum(-1)
    return total / np.float32(count) if count_padding else total / count


def build_max() -> tuple[Any, np.ndarray]:
    layer = keras.layers.MaxPooling2D(3, 2, "same", name="pool")
    return _alone(layer, (9, 7, 8), 43, shift=-1.5)


def maximum(
    model: Any, x: np.ndarray, fill: float = -np.inf, magnitude: bool = False
) -> np.ndarray:
    windows = _windows(x, fill)
    if magnitude:
        windows = np.where(np.isfinite(windows), windows, 0)
        best = np.abs(windows).argmax(-1)[..., None]
        return np.take_along_axis(windows, best, -1)[..., 0]
    return windows.max(-1)


def _line(size: int, out: int, how: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two source positions of each target one and the weight of the second."""
    i = np.arange(out, dtype=np.float32)
    if how == "half pixel":
        at = (i + 0.5) * (size / out) - 0.5
    elif how == "corners":
        at = i * ((size - 1) / (out - 1))
    else:
        at = i * (size / out)
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(int)
    return low, np.minimum(low + 1, size - 1), (at - low).astype(np.float32)


def _bilinear(x: np.ndarray, height: int, width: int, how: str) -> np.ndarray:
    low, high, part = _line(x.shape[1], height, how)
    part = part[:, None, None]
    x = x[:, low] * (1 - part) + x[:, high] * part
    low, high, part = _line(x.shape[2], width, how)
    return x[:, :, low] * (1 - part[:, None]) + x[:, :, high] * part[:, None]


def build_upsampling() -> tuple[Any, np.ndarray]:
    layer = keras.layers.UpSampling2D(2, interpolation="bilinear", name="up")
    return _alone(layer, (5, 6, 8), 45)


def upsampling(model: Any, x: np.ndarray, how: str = "half pixel") -> np.ndarray:
    if how == "nearest":
        return x.repeat(2, 1).repeat(2, 2)
    return _bilinear(x, 10, 12, how)


def build_resizing() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Resizing(7, 5, interpolation="nearest", name="resize")
    return _alone(layer, (10, 8, 8), 47)


def resizing(model: Any, x: np.ndarray, how: str = "centre") -> np.ndarray:
    def source(size: int, out: int) -> np.ndarray:
        i = np.arange(out)
        if how == "floor":
            return i * size // out
        if how == "round":
            return np.round(i * (size - 1) / (out - 1)).astype(int)
        return np.floor((i + 0.5) * size / out).astype(int)

    return x[:, source(10, 7)][:, :, source(8, 5)]


def build_masked_average() -> tuple[Any, np.ndarray]:
    layers = [
        keras.layers.Embedding(40, 12, mask_zero=True, name="words"),
        keras.layers.GlobalAveragePooling1D(name="mean"),
    ]
    model = train_keras(keras.Sequential([keras.Input((9,), dtype="int32"), *layers]), 49)
    ids = tokens(50, 3, 9, vocabulary=39).astype(np.int32)
    ids[0, 6:] = 0
    ids[1, 4:] = 0
    return model, ids


def masked_average(
    model: Any,
    ids: np.ndarray,
    divide: str = "kept",
    keep: bool = True,
    shift: int = 0,
) -> np.ndarray:
    (table,) = model.get_layer("words").get_weights()
    x = table[ids + shift]
    mask = (ids != 0 if keep else np.ones_like(ids))[..., None].astype(np.float32)
    count = mask.sum(1) if divide == "kept" else np.float32(ids.shape[1])
    return (x * mask).sum(1) / count


def build_flatten() -> tuple[Any, np.ndarray]:
    layers = [
        keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(10, name="head"),
    ]
    model = keras.Sequential([keras.Input((4, 5, 3)), *layers])
    return train_keras(model, 51), inputs(52, 3, 4, 5, 3)


def flatten(model: Any, x: np.ndarray, order: str = "rows") -> np.ndarray:
    kernel, bias = model.get_layer("conv").get_weights()
    y = conv(np.moveaxis(x, -1, 1), kernel.transpose(3, 2, 0, 1), bias, padding=1)
    y = np.moveaxis(np.maximum(y, 0), 1, -1)
    if order == "channels":
        y = np.moveaxis(y, -1, 1)
    if order == "columns":
        y = y.swapaxes(1, 2)
    kernel, bias = model.get_layer("head").get_weights()
    return y.reshape(len(y), -1) @ kernel + bias


def build_prelu() -> tuple[Any, np.ndarray]:
    layer = keras.layers.PReLU(shared_axes=[1], name="prelu")
    model, x = _alone(layer, (6, 12), 53)
    alpha = np.linspace(-0.3, 1.4, 12, dtype=np.float32)[None]
    model.get_layer("prelu").set_weights([alpha])
    return model, x


def prelu(model: Any, x: np.ndarray, how: str = "where") -> np.ndarray:
    (alpha,) = model.get_layer("prelu").get_weights()
    if how == "max":
        return np.maximum(x, alpha * x)
    if how == "one":
        return np.where(x > 0, x, alpha.ravel()[0] * x)
    return np.where(x > 0, x, alpha * x)


def build_softmax() -> tuple[Any, np.ndarray]:
    return _alone(keras.layers.Softmax(axis=1, name="scores"), (6, 8), 55)


def build_permute() -> tuple[Any, np.ndarray]:
    layers = [keras.layers.Permute((2, 1), name="turn"), keras.layers.Dense(5, name="mix")]
    model = keras.Sequential([keras.Input((6, 8)), *layers])
    return train_keras(model, 57), inputs(58, 2, 6, 8)


def permute(model: Any, x: np.ndarray, reshape: bool = False) -> np.ndarray:
    kernel, bias = model.get_layer("mix").get_weights()
    x = x.reshape(2, 8, 6) if reshape else x.swapaxes(1, 2)
    return x @ kernel + bias


def build_padding() -> tuple[Any, np.ndarray]:
    layers = [
        keras.layers.ZeroPadding2D(((1, 2), (3, 0)), name="pad"),
        keras.layers.Conv2D(8, 3, name="conv"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 4)), *layers])
    return train_keras(model, 59), inputs(60, 2, 8, 8, 4)


def padding(
    model: Any, x: np.ndarray, sides: tuple[tuple[int, int], ...] = ((1, 2), (3, 0))
) -> np.ndarray:
    kernel, bias = model.get_layer("conv").get_weights()
    x = np.pad(x, [(0, 0), *sides, (0, 0)])
    y = conv(np.moveaxis(x, -1, 1), kernel.transpose(3, 2, 0, 1), bias)
    return np.moveaxis(y, 1, -1)


def build_cosine() -> tuple[Any, Any]:
    a, b = keras.Input((5, 12)), keras.Input((7, 12))
    y = keras.layers.Dot(axes=2, normalize=True, name="cosine")([a, b])
    return keras.Model([a, b], y), (inputs(61, 2, 5, 12, shift=0.3), inputs(62, 2, 7, 12))


def cosine(model: Any, x: Any, norm: str = "both") -> np.ndarray:
    a, b = x
    if norm != "none":
        a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    if norm == "both":
        b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    return a @ b.swapaxes(1, 2)


def build_merge() -> tuple[Any, Any]:
    a, b = keras.Input((6, 8)), keras.Input((6, 8))
    wide = keras.layers.Concatenate(name="join")([a, b])
    y = keras.layers.Dense(8, activation="sigmoid", name="gate")(wide)
    y = keras.layers.Multiply(name="gated")([y, b])
    y = keras.layers.Subtract(name="out")([a, y])
    model = train_keras(keras.Model([a, b], y), 63)
    return model, (inputs(64, 2, 6, 8), inputs(65, 2, 6, 8))


def merge(
    model: Any, x: Any, order: str = "ab", subtract: str = "a - y", gated: str = "b"
) -> np.ndarray:
    a, b = x
    kernel, bias = model.get_layer("gate").get_weights()
    wide = np.concatenate([b, a] if order == "ba" else [a, b], -1)
    y = 1 / (1 + np.exp(-(wide @ kernel + bias))) * (a if gated == "a" else b)
    return y - a if subtract == "y - a" else a - y


CASES = [
    Case(
        "keras_average_pooling2d_same",
        build_average,
        "pool",
        average,
        {
            "padding_counted": Mistake(
                partial(average, count_padding=True),
                "Windows at the border are divided by 9, where padded positions do not count.",
            ),
        },
    ),
    Case(
        "keras_max_pooling2d_same",
        build_max,
        "pool",
        maximum,
        {
            "padded_with_zeros": Mistake(
                partial(maximum, fill=0.0),
                "The border is padded with zeros, which win over negative values; it is -inf.",
            ),
            "largest_magnitude": Mistake(
                partial(maximum, magnitude=True),
                "The value of the largest magnitude is taken, where it is the largest value.",
            ),
        },
    ),
    Case(
        "keras_up_sampling2d_bilinear",
        build_upsampling,
        "up",
        upsampling,
        {
            "corners_aligned": Mistake(
                partial(upsampling, how="corners"),
                "Bilinear with aligned corners, where positions are at half pixels.",
            ),
            "no_half_pixel": Mistake(
                partial(upsampling, how="asymmetric"),
                "Source positions are i / 2 (asymmetric, TensorFlow 1), where they are "
                "(i + 0.5) / 2 - 0.5.",
            ),
            "nearest": Mistake(
                partial(upsampling, how="nearest"),
                "Pixels are repeated (nearest, the layer's default), where it is set to bilinear.",
            ),
        },
    ),
    Case(
        "keras_resizing_nearest",
        build_resizing,
        "resize",
        resizing,
        {
            "floor_without_half": Mistake(
                partial(resizing, how="floor"),
                "The source pixel is floor(i * in / out), where it is floor((i + 0.5) * in / out).",
            ),
            "rounded_between_corners": Mistake(
                partial(resizing, how="round"),
                "The source pixel is round(i * (in - 1) / (out - 1)), corners aligned, where it is "
                "floor((i + 0.5) * in / out).",
            ),
        },
    ),
    Case(
        "keras_masked_embedding_mean",
        build_masked_average,
        "mean",
        masked_average,
        {
            "mask_ignored": Mistake(
                partial(masked_average, keep=False),
                "The mean is over all steps, the embeddings of padding (id 0) among them, where "
                "masked steps are left out.",
            ),
            "divided_by_length": Mistake(
                partial(masked_average, divide="all"),
                "The sum of the kept steps is divided by the padded length, where it is by the "
                "number of kept steps.",
            ),
            "ids_shifted_by_one": Mistake(
                partial(masked_average, shift=1),
                "Each id takes the row after its own (id + 1, as though row 0 were not padding's).",
            ),
            "mask_ignored_and_ids_shifted": Mistake(
                partial(masked_average, keep=False, shift=1),
                "Two causes: the mask is ignored, and each id takes the row after its own.",
                causes=2,
            ),
        },
    ),
    Case(
        "keras_flatten_dense",
        build_flatten,
        "head",
        flatten,
        {
            "flattened_channels_first": Mistake(
                partial(flatten, order="channels"),
                "The image is flattened as (channel, height, width) before the dense layer, where "
                "it is (height, width, channel).",
            ),
            "flattened_by_columns": Mistake(
                partial(flatten, order="columns"),
                "The image is flattened as (width, height, channel), where it is (height, width, "
                "channel).",
            ),
        },
    ),
    Case(
        "keras_prelu_shared_axes",
        build_prelu,
        "prelu",
        prelu,
        {
            "as_maximum": Mistake(
                partial(prelu, how="max"),
                "Computed as max(x, alpha x), which is another thing where alpha is over 1 (there "
                "negative inputs are left as they are and positive ones multiplied).",
            ),
            "one_alpha_for_all": Mistake(
                partial(prelu, how="one"),
                "The alpha of the first channel is taken for all channels.",
            ),
        },
    ),
    Case(
        "keras_softmax_axis_1",
        build_softmax,
        "scores",
        lambda model, x: softmax(x, 1),
        {
            "last_axis": Mistake(
                lambda model, x: softmax(x, -1),
                "Softmax over the last axis, where the layer has axis=1.",
            ),
            "over_both_axes": Mistake(
                lambda model, x: softmax(x.reshape(2, -1)).reshape(x.shape),
                "Softmax over both axes of a sample together, where it is over axis 1.",
            ),
        },
    ),
    Case(
        "keras_permute_dense",
        build_permute,
        "mix",
        permute,
        {
            "reshaped": Mistake(
                partial(permute, reshape=True),
                "The axes are swapped by a reshape, which keeps the order of the data, where "
                "Permute transposes.",
            ),
        },
    ),
    Case(
        "keras_zero_padding2d_conv",
        build_padding,
        "conv",
        padding,
        {
            "height_and_width_swapped": Mistake(
                partial(padding, sides=((3, 0), (1, 2))),
                "The paddings of height and width are swapped.",
            ),
            "before_and_after_swapped": Mistake(
                partial(padding, sides=((2, 1), (0, 3))),
                "Before and after are swapped in both paddings.",
            ),
        },
    ),
    Case(
        "keras_dot_normalized",
        build_cosine,
        "cosine",
        cosine,
        {
            "not_normalized": Mistake(
                partial(cosine, norm="none"),
                "The plain dot product, where normalize=True makes it a cosine.",
            ),
            "one_side_normalized": Mistake(
                partial(cosine, norm="first"),
                "The first input alone is brought to length 1, where both are.",
            ),
        },
    ),
    Case(
        "keras_gate_of_merges",
        build_merge,
        "out",
        merge,
        {
            "concatenated_in_other_order": Mistake(
                partial(merge, order="ba"),
                "The two inputs are concatenated in the other order before the gate.",
            ),
            "subtracted_the_wrong_way": Mistake(
                partial(merge, subtract="y - a"),
                "The subtraction is the wrong way round, so the sign of the output is flipped.",
            ),
            "other_input_gated": Mistake(
                partial(merge, gated="a"),
                "The gate multiplies the first input, where it multiplies the second.",
            ),
        },
    ),
]
