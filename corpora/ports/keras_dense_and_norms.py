"""Dense layers and normalisations of Keras."""

from functools import partial
from typing import Any

import keras
import numpy as np

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import conv, gelu, gelu_quick, gelu_tanh
from corpora.ports.trained import inputs, train_keras


def build_dense() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Dense(16, activation="gelu", name="dense")
    model = keras.Sequential([keras.Input((7, 16)), layer])
    return train_keras(model, 21), inputs(22, 3, 7, 16)


def dense(
    model: Any,
    x: np.ndarray,
    activation: Any = gelu,
    transposed: bool = False,
    bias_last: bool = False,
    half: bool = False,
) -> np.ndarray:
    kernel, bias = model.get_layer("dense").get_weights()
    if transposed:
        kernel = kernel.T
    if half:
        x, kernel, bias = x.astype(np.float16), kernel.astype(np.float16), bias.astype(np.float16)
    if bias_last:
        return activation(x @ kernel) + bias
    return activation((x @ kernel + bias).astype(np.float32))


def build_einsum() -> tuple[Any, np.ndarray]:
    layer = keras.layers.EinsumDense("abc,cde->abde", (None, 4, 6), bias_axes="de", name="heads")
    model = keras.Sequential([keras.Input((5, 12)), layer])
    return train_keras(model, 23), inputs(24, 2, 5, 12)


def einsum(
    model: Any, x: np.ndarray, heads_last: bool = False, bias_order: str = "C"
) -> np.ndarray:
    kernel, bias = model.get_layer("heads").get_weights()
    y = x @ kernel.reshape(12, 24)
    y = y.reshape(2, 5, 6, 4).swapaxes(-1, -2) if heads_last else y.reshape(2, 5, 4, 6)
    return y + (bias.reshape(6, 4).T if bias_order == "F" else bias)


def build_batch_norm() -> tuple[Any, np.ndarray]:
    layers = [
        keras.layers.Conv2D(12, 1, use_bias=False, name="conv"),
        keras.layers.BatchNormalization(name="bn"),
    ]
    model = keras.Sequential([keras.Input((6, 6, 8)), *layers])
    return train_keras(model, 25), inputs(26, 3, 6, 6, 8)


def keras_batch_norm(
    model: Any,
    x: np.ndarray,
    eps: float = 1e-3,
    eps_on: str = "variance",
    batch: bool = False,
    order: tuple[int, ...] = (0, 1, 2, 3),
    gain: bool = True,
) -> np.ndarray:
    x = x @ model.get_layer("conv").get_weights()[0][0, 0]
    stored = model.get_layer("bn").get_weights()
    gamma, beta, mean, var = (stored[i] for i in order)
    if batch:
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    std = np.sqrt(var) + np.float32(eps) if eps_on == "std" else np.sqrt(var + np.float32(eps))
    y = (x - mean) / std
    return (y * gamma if gain else y) + beta


def build_layer_norm() -> tuple[Any, np.ndarray]:
    layer = keras.layers.LayerNormalization(name="ln")
    model = keras.Sequential([keras.Input((6, 10)), layer])
    return train_keras(model, 27), inputs(28, 3, 6, 10, shift=0.5)


def keras_layer_norm(
    model: Any, x: np.ndarray, axes: tuple[int, ...] = (-1,), ddof: int = 0, center: bool = True
) -> np.ndarray:
    gamma, beta = model.get_layer("ln").get_weights()
    mean = x.mean(axes, keepdims=True)
    var = x.var(axes, keepdims=True, ddof=ddof)
    y = (x - mean if center else x) / np.sqrt(var + np.float32(1e-3))
    return y * gamma + beta


def build_group_norm() -> tuple[Any, np.ndarray]:
    layer = keras.layers.GroupNormalization(groups=4, name="gn")
    model = keras.Sequential([keras.Input((5, 6, 16)), layer])
    x = inputs(30, 2, 5, 6, 16) * np.linspace(0.2, 2, 16, dtype=np.float32)
    return train_keras(model, 29), x


def keras_group_norm(
    model: Any,
    x: np.ndarray,
    dealt: bool = False,
    per_position: bool = False,
    variance: bool = True,
) -> np.ndarray:
    gamma, beta = model.get_layer("gn").get_weights()
    g = x.reshape(2, 5, 6, 4, 4)
    if dealt:
        g = g.swapaxes(-1, -2)
    axes = (4,) if per_position else (1, 2, 4)
    scale = g.var(axes, keepdims=True)
    scale = np.sqrt(scale + np.float32(1e-3)) if variance else scale + np.float32(1e-3)
    y = (g - g.mean(axes, keepdims=True)) / scale
    if dealt:
        y = y.swapaxes(-1, -2)
    return y.reshape(x.shape) * gamma + beta


def build_rms() -> tuple[Any, np.ndarray]:
    layer = keras.layers.RMSNormalization(name="rms")
    model = keras.Sequential([keras.Input((6, 24)), layer])
    return train_keras(model, 31), inputs(32, 2, 6, 24, shift=0.3)


def keras_rms_norm(
    model: Any, x: np.ndarray, center: bool = False, total: bool = False, one: float = 0.0
) -> np.ndarray:
    (scale,) = model.get_layer("rms").get_weights()
    if center:
        x = x - x.mean(-1, keepdims=True)
    square = (x * x).sum(-1, keepdims=True) if total else (x * x).mean(-1, keepdims=True)
    return x / np.sqrt(square + np.float32(1e-6)) * (scale + np.float32(one))


def build_unit() -> tuple[Any, np.ndarray]:
    layer = keras.layers.UnitNormalization(axis=(1, 2), name="unit")
    model = keras.Sequential([keras.Input((4, 9)), layer])
    return model, inputs(34, 3, 4, 9)


def unit_norm(model: Any, x: np.ndarray, axes: tuple[int, ...] = (1, 2), p: int = 2) -> np.ndarray:
    if p == 1:
        return x / np.abs(x).sum(axes, keepdims=True)
    return x / np.sqrt((x * x).sum(axes, keepdims=True))


def build_normalization() -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(35)
    mean, var = rng.normal(0, 2, 9), np.exp(rng.normal(0.5, 0.7, 9))
    layers = [
        keras.layers.Normalization(mean=mean, variance=var, name="scaler"),
        keras.layers.Dense(8, activation="tanh", name="hidden"),
    ]
    model = keras.Sequential([keras.Input((9,)), *layers])
    return train_keras(model, 36), inputs(37, 3, 9, scale=2.0)


def scaled(model: Any, x: np.ndarray, how: str = "std") -> np.ndarray:
    layer = model.get_layer("scaler")
    mean, var = np.asarray(layer.mean), np.asarray(layer.variance)
    x = (x - mean) / (var if how == "variance" else np.sqrt(var))
    kernel, bias = model.get_layer("hidden").get_weights()
    if how == "twice":
        x = (x - mean) / np.sqrt(var)
    return np.tanh(x @ kernel + bias)


def build_folded() -> tuple[Any, np.ndarray]:
    layers = [
        keras.layers.Conv2D(10, 3, padding="same", name="conv"),
        keras.layers.BatchNormalization(epsilon=1e-3, name="bn"),
        keras.layers.ReLU(max_value=6.0, name="relu6"),
    ]
    model = keras.Sequential([keras.Input((7, 7, 6)), *layers])
    return train_keras(model, 38, gain=2.0), inputs(39, 2, 7, 7, 6)


def folded(model: Any, x: np.ndarray, bias_folded: bool = True, top: float = 6.0) -> np.ndarray:
    kernel, bias = model.get_layer("conv").get_weights()
    gamma, beta, mean, var = model.get_layer("bn").get_weights()
    factor = gamma / np.sqrt(var + np.float32(1e-3))
    kernel = kernel * factor
    bias = (bias - mean) * factor + beta if bias_folded else beta - mean * factor + bias
    y = conv(np.moveaxis(x, -1, 1), kernel.transpose(3, 2, 0, 1), bias, padding=1)
    return np.clip(np.moveaxis(y, 1, -1), 0, np.float32(top))


CASES = [
    Case(
        "keras_dense_gelu",
        build_dense,
        "dense",
        dense,
        {
            "gelu_of_tanh": Mistake(
                partial(dense, activation=gelu_tanh),
                "GELU by its tanh approximation, where Keras' default is the exact one by erf; "
                "inherently small.",
            ),
            "gelu_of_sigmoid": Mistake(
                partial(dense, activation=gelu_quick),
                "GELU as x * sigmoid(1.702 x) (quick GELU), where it is the exact one by erf.",
            ),
            "bias_after_activation": Mistake(
                partial(dense, bias_last=True),
                "The bias is added after the activation, where it goes before.",
            ),
            "kernel_transposed": Mistake(
                partial(dense, transposed=True),
                "The square kernel is transposed, as for a Linear of PyTorch.",
            ),
            "computed_in_float16": Mistake(
                partial(dense, half=True),
                "Input, kernel and bias are cast to float16 and multiplied so, where the layer "
                "computes in float32; inherently small.",
            ),
            "transposed_and_quick_gelu": Mistake(
                partial(dense, transposed=True, activation=gelu_quick),
                "Two causes: the square kernel is transposed, and GELU is x * sigmoid(1.702 x).",
                causes=2,
            ),
        },
    ),
    Case(
        "keras_einsum_dense_heads",
        build_einsum,
        "heads",
        einsum,
        {
            "sizes_before_heads": Mistake(
                partial(einsum, heads_last=True),
                "The product is split as (size, heads) and transposed, where its 24 columns are "
                "(heads, size).",
            ),
            "bias_column_major": Mistake(
                partial(einsum, bias_order="F"),
                "The bias of (heads, size) is read column by column (its data as (size, heads), "
                "transposed).",
            ),
        },
    ),
    Case(
        "keras_batch_normalization",
        build_batch_norm,
        "bn",
        keras_batch_norm,
        {
            "eps_added_to_std": Mistake(
                partial(keras_batch_norm, eps_on="std"),
                "Epsilon is added to the standard deviation, where it is added to the variance "
                "under the root.",
            ),
            "eps_of_pytorch": Mistake(
                partial(keras_batch_norm, eps=1e-5),
                "Epsilon is 1e-5 (PyTorch's default), where Keras' is 1e-3.",
            ),
            "batch_statistics": Mistake(
                partial(keras_batch_norm, batch=True),
                "Mean and variance are of the batch at hand (training mode), where inference "
                "takes the moving ones.",
            ),
            "gamma_and_beta_swapped": Mistake(
                partial(keras_batch_norm, order=(1, 0, 2, 3)),
                "Gamma and beta are swapped: the weights are unpacked as beta, gamma, mean, "
                "variance.",
            ),
            "gamma_forgotten_and_eps_on_std": Mistake(
                partial(keras_batch_norm, gain=False, eps_on="std"),
                "Two causes: gamma is not applied (as of scale=False), and epsilon is added to "
                "the standard deviation.",
                causes=2,
            ),
        },
    ),
    Case(
        "keras_layer_normalization",
        build_layer_norm,
        "ln",
        keras_layer_norm,
        {
            "over_time_too": Mistake(
                partial(keras_layer_norm, axes=(1, 2)),
                "Mean and variance are over time and features together, where they are over the "
                "features of each step.",
            ),
            "unbiased_variance": Mistake(
                partial(keras_layer_norm, ddof=1),
                "The variance is divided by n - 1 (as torch.var and pandas do), where it is by n.",
            ),
            "mean_not_subtracted": Mistake(
                partial(keras_layer_norm, center=False),
                "The mean is not subtracted before the division by the standard deviation.",
            ),
        },
    ),
    Case(
        "keras_group_normalization",
        build_group_norm,
        "gn",
        keras_group_norm,
        {
            "groups_dealt_out": Mistake(
                partial(keras_group_norm, dealt=True),
                "Channels are dealt to the groups in turn (channel % 4), where a group is a block "
                "of neighbouring channels.",
            ),
            "statistics_per_position": Mistake(
                partial(keras_group_norm, per_position=True),
                "Mean and variance are of the channels of a group at each position, where they "
                "are over the positions too.",
            ),
            "root_forgotten": Mistake(
                partial(keras_group_norm, variance=False),
                "The division is by the variance plus epsilon, its square root forgotten.",
            ),
        },
    ),
    Case(
        "keras_rms_normalization",
        build_rms,
        "rms",
        keras_rms_norm,
        {
            "mean_subtracted": Mistake(
                partial(keras_rms_norm, center=True),
                "The mean is subtracted first, as of a layer normalisation; RMS takes none.",
            ),
            "sum_of_squares": Mistake(
                partial(keras_rms_norm, total=True),
                "Divided by the root of the sum of squares (the L2 norm), where it is the root of "
                "their mean.",
            ),
            "one_plus_scale": Mistake(
                partial(keras_rms_norm, one=1.0),
                "The gain is 1 + scale as in Gemma, where this layer's scale is the gain.",
            ),
        },
    ),
    Case(
        "keras_unit_normalization",
        build_unit,
        "unit",
        unit_norm,
        {
            "each_step_of_its_own": Mistake(
                partial(unit_norm, axes=(-1,)),
                "Each step is brought to length 1, where the layer's axis=(1, 2) takes a sample "
                "as a whole.",
            ),
            "sum_of_magnitudes": Mistake(
                partial(unit_norm, p=1),
                "Divided by the sum of magnitudes (L1), where it is the L2 norm.",
            ),
        },
    ),
    Case(
        "keras_normalization_then_dense",
        build_normalization,
        "hidden",
        scaled,
        {
            "divided_by_variance": Mistake(
                partial(scaled, how="variance"),
                "The preprocessing layer before divides by its variance, where it divides by the "
                "square root of it.",
            ),
            "normalised_twice": Mistake(
                partial(scaled, how="twice"),
                "The input is normalised twice: by hand before the model, and by the model's "
                "first layer again.",
            ),
        },
    ),
    Case(
        "keras_conv_batch_norm_folded",
        build_folded,
        "relu6",
        folded,
        {
            "bias_left_out_of_fold": Mistake(
                partial(folded, bias_folded=False),
                "Folding the batch normalisation into the convolution, the convolution's own bias "
                "is added unscaled, where it is multiplied by gamma / std too.",
            ),
            "relu_without_six": Mistake(
                partial(folded, top=np.inf),
                "A plain ReLU, where the layer clips at 6.",
            ),
        },
    ),
]
