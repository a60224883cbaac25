"""Mistakes planted in Keras' preprocessing, by PyTorch, torchvision, scikit-learn, pandas' and
NumPy's ways of doing the same."""

from typing import Any

import keras
import numpy as np
import sklearn.preprocessing
import tensorflow as tf
import tf_keras
import torch
import torchvision.transforms.v2.functional as V
from planting import F, Rows, draw, last, planter, rng, t

ROWS: Rows = []
plant = planter(ROWS)

MEAN, VARIANCE = (
    np.array([120.0, 90.0, 60.0, 33.0], np.float32),
    np.array([400.0, 2500.0, 90.0, 4.0], np.float32),
)
COLOURS = ([123.675, 116.28, 103.53], [3409.9, 3262.7, 3000.0])


def grey(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers from 0 to 255, as images have them."""
    return rng(seed).uniform(0, 255, shape).astype(np.float32)


def normalized(x: np.ndarray, mean: Any, deviation: Any) -> np.ndarray:
    """By torchvision, which takes the deviation."""
    return last(
        V.normalize(
            t(x).permute(0, 3, 1, 2), np.asarray(mean).tolist(), np.asarray(deviation).tolist()
        )
    )


def fixed() -> tuple[Any, np.ndarray]:
    return keras.layers.Normalization(mean=MEAN, variance=VARIANCE), grey(2, 5, 6, 4)


@plant("variance-for-deviation", "Keras Normalization")
def divided_by_the_variance():
    layer, x = fixed()
    return layer, x, normalized(x, MEAN, VARIANCE)


@plant("swapped-parameters", "Keras Normalization")
def mean_and_variance():
    layer, x = fixed()
    return layer, x, normalized(x, VARIANCE, np.sqrt(MEAN))


@plant("missing-parameter", "Keras Normalization")
def not_centred():
    layer, x = fixed()
    return layer, x, normalized(x, 0 * MEAN, np.sqrt(VARIANCE))


@plant("missing-parameter", "Keras Normalization")
def centred_only():
    layer, x = fixed()
    return layer, x, normalized(x, MEAN, 0 * VARIANCE + 1)


@plant("ignored-inversion", "Keras Normalization, inverted")
def not_inverted():
    layer, x = (
        keras.layers.Normalization(mean=MEAN, variance=VARIANCE, invert=True),
        draw(2, 5, 6, 4),
    )
    return layer, x, normalized(x, MEAN, np.sqrt(VARIANCE))


@plant("ignored-inversion", "Keras Normalization")
def inverted():
    layer, x = fixed()
    return layer, x, x * np.sqrt(VARIANCE) + MEAN


@plant("unbiased-variance", "Keras Normalization, adapted")
def deviation_by_pytorch():
    """The deviation of a small sample, which PyTorch divides by n - 1."""
    x = grey(9, 4)
    layer = keras.layers.Normalization()
    layer.adapt(x)
    return layer, x, ((t(x) - t(x).mean(0)) / t(x).std(0)).numpy()


@plant("batch-statistics", "Keras Normalization, adapted")
def scaled_by_scikit_learn():
    """Fitted to the very batch."""
    layer, x = keras.layers.Normalization(), grey(9, 4, seed=1)
    layer.adapt(grey(50, 4))
    return layer, x, sklearn.preprocessing.StandardScaler().fit_transform(x.astype(float))


@plant("reversed-channels", "Keras Normalization")
def another_order_of_colours():
    x = grey(2, 5, 6, 3)
    layer = keras.layers.Normalization(mean=COLOURS[0], variance=COLOURS[1])
    return layer, x, normalized(x[..., ::-1], COLOURS[0], np.sqrt(COLOURS[1]))


@plant("scaled-input", "Keras Normalization")
def already_divided():
    layer, x = fixed()
    return layer, x, normalized(x / 255, MEAN, np.sqrt(VARIANCE))


@plant("other-constant", "Keras Rescaling")
def to_one_and_not_to_both_sides():
    """torchvision's ToTensor for Keras' "tf" mode."""
    layer, x = keras.layers.Rescaling(1 / 127.5, -1.0), grey(2, 5, 6, 3)
    return layer, x, last(V.to_dtype(t(x).permute(0, 3, 1, 2), scale=False) / 255)


@plant("other-constant", "Keras Rescaling")
def to_both_sides_and_not_to_one():
    layer, x = keras.layers.Rescaling(1 / 255), grey(2, 5, 6, 3)
    return layer, x, normalized(x, [127.5] * 3, [127.5] * 3)


@plant("other-constant", "Keras Rescaling")
def by_256():
    layer, x = keras.layers.Rescaling(1 / 255), grey(2, 5, 6, 3)
    return layer, x, x / np.float32(256)


@plant("missing-parameter", "Keras Rescaling")
def no_offset():
    layer, x = keras.layers.Rescaling(1 / 127.5, -1.0), grey(2, 5, 6, 3)
    return layer, x, x / np.float32(127.5)


@plant("missing-parameter", "Keras Rescaling")
def no_scale():
    layer, x = keras.layers.Rescaling(0.02, -1.5), grey(2, 5, 6, 3)
    return layer, x, x - np.float32(1.5)


@plant("offset-before-scale", "Keras Rescaling")
def shifted_first():
    layer, x = keras.layers.Rescaling(0.02, -1.5), grey(2, 5, 6, 3)
    return layer, x, (x - np.float32(1.5)) * np.float32(0.02)


@plant("swapped-parameters", "Keras Rescaling")
def scale_and_offset():
    layer, x = keras.layers.Rescaling(0.02, -1.5), grey(2, 5, 6, 3)
    return layer, x, x * np.float32(-1.5) + np.float32(0.02)


@plant("scaled-input", "Keras Rescaling")
def twice():
    layer, x = keras.layers.Rescaling(1 / 255, -0.5), grey(2, 5, 6, 3)
    return layer, x, x / np.float32(255) / np.float32(255) - np.float32(0.5)


EDGES = [-1.0, 0.0, 0.5, 2.0]


def on_boundaries() -> np.ndarray:
    x = draw(40)
    x[::3] = np.resize(EDGES, 14)
    return x.reshape(8, 5)


@plant("boundary-side", "Keras Discretization")
def right_edges():
    x = on_boundaries()
    return keras.layers.Discretization(EDGES), x, np.digitize(x, EDGES, right=True)


@plant("boundary-side", "Keras Discretization")
def bucketize_by_pytorch():
    """torch.bucketize counts a number on a boundary to the lower interval."""
    x = on_boundaries()
    return keras.layers.Discretization(EDGES), x, torch.bucketize(t(x), torch.tensor(EDGES)).numpy()


@plant("boundary-side", "Keras Discretization, one hot")
def right_edges_one_hot():
    x = on_boundaries()[:, :1]
    return (
        keras.layers.Discretization(EDGES, output_mode="one_hot"),
        x,
        np.eye(5)[np.digitize(x[:, 0], EDGES, right=True)],
    )


@plant("off-by-one", "Keras Discretization")
def from_one():
    x = draw(8, 5)
    return keras.layers.Discretization(EDGES), x, np.digitize(x, EDGES) + 1


@plant("off-by-one", "Keras Discretization")
def inner_intervals():
    x = draw(8, 5)
    return keras.layers.Discretization(EDGES), x, np.digitize(x, EDGES) - 1


@plant("off-by-one", "Keras CategoryEncoding")
def categories_from_one():
    x = np.array([1, 5, 2, 3, 4])
    return (
        keras.layers.CategoryEncoding(6, output_mode="one_hot"),
        x,
        F.one_hot(t(x) - 1, 6).numpy(),
    )


@plant("off-by-one", "Keras CategoryEncoding")
def shifted_categories():
    x = rng(0).integers(0, 5, (4, 3))
    return (
        keras.layers.CategoryEncoding(6, output_mode="multi_hot"),
        x,
        F.one_hot(t(x) + 1, 6).amax(1).numpy(),
    )


@plant("counts-for-presence", "Keras CategoryEncoding")
def counted():
    x = np.array([[1, 1, 2], [0, 3, 3], [4, 4, 4], [0, 1, 5]])
    return (
        keras.layers.CategoryEncoding(6, output_mode="multi_hot"),
        x,
        F.one_hot(t(x), 6).sum(1).numpy(),
    )


@plant("counts-for-presence", "Keras CategoryEncoding, counts")
def present():
    x = np.array([[1, 1, 2], [0, 3, 3], [4, 4, 4], [0, 1, 5]])
    return (
        keras.layers.CategoryEncoding(6, output_mode="count"),
        x,
        F.one_hot(t(x), 6).amax(1).numpy(),
    )


@plant("off-by-one", "Keras IntegerLookup")
def no_place_for_the_unknown():
    x = np.array([12, 36, 1138, 36])
    return (
        keras.layers.IntegerLookup(vocabulary=[12, 36, 1138]),
        x,
        sklearn.preprocessing.LabelEncoder().fit([12, 36, 1138]).transform(x),
    )


def image(*shape: int) -> np.ndarray:
    return draw(*shape, seed=3)


def by_pytorch(x: np.ndarray, sizes: tuple[int, int], **options: Any) -> np.ndarray:
    return last(F.interpolate(t(x).permute(0, 3, 1, 2), sizes, **options))


@plant("resize-coordinates", "Keras Resizing")
def corners_aligned():
    x = image(1, 6, 7, 2)
    return (
        keras.layers.Resizing(9, 13),
        x,
        by_pytorch(x, (9, 13), mode="bilinear", align_corners=True),
    )


@plant("resize-coordinates", "Keras 2 Resizing")
def asymmetric_by_tensorflow_1():
    x = image(1, 6, 7, 2)
    return (
        tf_keras.layers.Resizing(9, 13),
        x,
        tf.compat.v1.image.resize_bilinear(x, (9, 13)).numpy(),
    )


@plant("resize-coordinates", "Keras Resizing nearest")
def floors_by_tensorflow_1():
    x = image(1, 6, 7, 2)
    layer = keras.layers.Resizing(4, 11, interpolation="nearest")
    return layer, x, tf.compat.v1.image.resize_nearest_neighbor(x, (4, 11)).numpy()


@plant("resize-kernel", "Keras Resizing bicubic")
def cubic_by_pytorch():
    x = image(1, 6, 7, 2)
    return (
        keras.layers.Resizing(9, 13, interpolation="bicubic"),
        x,
        by_pytorch(x, (9, 13), mode="bicubic"),
    )


@plant("resize-kernel", "Keras Resizing")
def means_of_areas():
    x = image(1, 12, 14, 2)
    return keras.layers.Resizing(4, 7), x, by_pytorch(x, (4, 7), mode="area")


@plant("resize-kernel", "Keras Resizing")
def nearest_for_linear():
    x = image(1, 6, 7, 2)
    return keras.layers.Resizing(9, 13), x, tf.image.resize(x, (9, 13), "nearest").numpy()


@plant("crop-place", "Keras CenterCrop")
def rounded_by_torchvision():
    """torchvision rounds half of what is cut off where Keras cuts it down to a whole number."""
    x = image(1, 9, 12, 2)
    return keras.layers.CenterCrop(6, 5), x, last(V.center_crop(t(x).permute(0, 3, 1, 2), [6, 5]))


@plant("crop-place", "Keras CenterCrop")
def from_the_corner():
    x = image(1, 9, 12, 2)
    return keras.layers.CenterCrop(6, 5), x, x[:, :6, :5]


@plant("crop-place", "Keras 2 CenterCrop")
def one_to_the_right():
    x = image(2, 8, 10, 3)
    return tf_keras.layers.CenterCrop(4, 4), x, x[:, 2:6, 4:8]


@plant("crop-place", "Keras Cropping2D")
def before_for_after():
    x = image(2, 8, 10, 3)
    return keras.layers.Cropping2D(((1, 3), (2, 0))), x, x[:, 3:-1, :-2]
