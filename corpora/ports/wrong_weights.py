"""Right formulas with wrong weights or input: other versions, other rows, other number formats."""

from functools import partial
from typing import Any

import keras
import numpy as np
from torch import nn

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import batch_norm, conv, linear, relu
from corpora.ports.trained import inputs, tokens, train_keras, train_torch, weights_of

Weights = dict[str, np.ndarray]


def build_stack() -> tuple[Any, np.ndarray]:
    layers = [nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16)]
    return train_torch(nn.Sequential(*layers), 521), inputs(522, 3, 16)


def stack(model: Any, x: np.ndarray, change: Any = None) -> np.ndarray:
    w = {name: value.copy() for name, value in weights_of(model).items()}
    if change is not None:
        change(w)
    x = np.tanh(linear(x, w["0.weight"], w["0.bias"]))
    return linear(x, w["2.weight"], w["2.bias"])


def _earlier_epoch(w: Weights) -> None:
    rng = np.random.default_rng(523)
    for name in ("2.weight", "2.bias"):
        step = 0.03 * rng.standard_normal(w[name].shape) * np.abs(w[name]).mean()
        w[name] += step.astype(np.float32)


def _average(w: Weights) -> None:
    rng = np.random.default_rng(524)
    for name in w:
        drift = 0.1 * rng.standard_normal(w[name].shape) * np.abs(w[name]).mean()
        w[name] = (0.97 * w[name] + drift).astype(np.float32)


def _other_layer(w: Weights) -> None:
    w["2.weight"], w["2.bias"] = w["4.weight"], w["4.bias"]


def _row_twice(w: Weights) -> None:
    w["2.weight"][9] = w["2.weight"][8]


def _rows_moved(w: Weights) -> None:
    w["2.weight"] = np.roll(w["2.weight"], 1, 0)


def _bit(w: Weights, bit: int = 30) -> None:
    w["2.weight"].view(np.uint32)[5, 3] ^= np.uint32(1 << bit)


def _half(w: Weights) -> None:
    for name in w:
        w[name] = w[name].astype(np.float16).astype(np.float32)


def _cut_to_bfloat16(w: Weights) -> None:
    for name in w:
        w[name] = (w[name].view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _two_decimals(w: Weights) -> None:
    for name in w:
        w[name] = np.round(w[name], 2)


def _pruned(w: Weights) -> None:
    w["2.weight"][np.abs(w["2.weight"]) < 0.05] = 0


def _transposed_and_bias_of_other(w: Weights) -> None:
    w["2.weight"] = w["2.weight"].T
    w["2.bias"] = w["4.bias"]


def build_conv() -> tuple[Any, np.ndarray]:
    layers = [nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU()]
    x = np.random.default_rng(526).random((2, 3, 8, 8), np.float32)
    return train_torch(nn.Sequential(*layers), 525, gain=2.0), x


def convolution(
    model: Any,
    x: np.ndarray,
    statistics: str = "stored",
    bias: bool = True,
    colours: str = "RGB",
    pixels: float = 1.0,
    layout: str = "OIHW",
) -> np.ndarray:
    w = dict(weights_of(model))
    if statistics == "fresh":
        w["1.running_mean"], w["1.running_var"] = np.zeros(12, "f4"), np.ones(12, "f4")
    if statistics == "affine fresh":
        w["1.weight"], w["1.bias"] = np.ones(12, "f4"), np.zeros(12, "f4")
    kernel = w["0.weight"]
    if layout == "HW swapped":
        kernel = kernel.swapaxes(2, 3)
    if layout == "data as HWIO":
        kernel = kernel.reshape(3, 3, 3, 12).transpose(3, 2, 0, 1)
    x = x[:, ::-1] if colours == "BGR" else x
    y = conv(x * np.float32(pixels), kernel, w["0.bias"] if bias else None, padding=1)
    return relu(batch_norm(y, w, "1"))


def build_words() -> tuple[Any, np.ndarray]:
    layers = [
        keras.layers.Embedding(40, 12, name="words"),
        keras.layers.Dense(10, activation="relu", name="hidden"),
    ]
    model = train_keras(keras.Sequential([keras.Input((6,), dtype="int32"), *layers]), 527)
    return model, tokens(528, 3, 6, vocabulary=38).astype(np.int32)


def words(model: Any, ids: np.ndarray, shift: int = 0, order: str = "stored") -> np.ndarray:
    (table,) = model.get_layer("words").get_weights()
    kernel, bias = model.get_layer("hidden").get_weights()
    if order == "columns":
        table = table.reshape(12, 40).T
    return relu(table[ids + shift] @ kernel + bias)


def build_lora() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Dense(16, name="dense")
    model = keras.Sequential([keras.Input((12,)), layer])
    train_keras(model, 529)
    layer.enable_lora(3, lora_alpha=12)
    rng = np.random.default_rng(530)
    layer.lora_kernel_a.assign(rng.standard_normal((12, 3)) / 3.5)
    layer.lora_kernel_b.assign(0.15 * rng.standard_normal((3, 16)))
    return model, inputs(531, 3, 12)


def lora(model: Any, x: np.ndarray, factor: float = 4.0, merged: int = 1) -> np.ndarray:
    layer = model.get_layer("dense")
    kernel, bias, a, b = (
        keras.ops.convert_to_numpy(v)
        for v in (layer._kernel, layer.bias, layer.lora_kernel_a, layer.lora_kernel_b)
    )
    return x @ (kernel + np.float32(merged * factor) * (a @ b)) + bias


CASES = [
    Case(
        "weights_of_second_linear",
        build_stack,
        "2",
        stack,
        {
            "earlier_epoch": Mistake(
                partial(stack, change=_earlier_epoch),
                "The layer's weight and bias are those of an earlier epoch, a few percent off.",
            ),
            "moving_average": Mistake(
                partial(stack, change=_average),
                "All weights are the moving average (EMA) of training, not the ones in the model.",
            ),
            "other_layers_weights": Mistake(
                partial(stack, change=_other_layer),
                "The layer has weight and bias of the third linear layer, of the same shapes.",
            ),
            "row_twice": Mistake(
                partial(stack, change=_row_twice),
                "Row 9 of the weight is a copy of row 8, so one output is wrong.",
            ),
            "rows_moved_by_one": Mistake(
                partial(stack, change=_rows_moved),
                "The rows of the weight are moved by one, the bias is not.",
            ),
            "bit_flipped": Mistake(
                partial(stack, change=_bit),
                "The topmost bit of the exponent of one weight, [5, 3], is flipped.",
            ),
            "sign_flipped": Mistake(
                partial(stack, change=partial(_bit, bit=31)),
                "The sign bit of one weight, [5, 3], is flipped.",
            ),
            "weights_of_float16": Mistake(
                partial(stack, change=_half),
                "All weights went through float16; inherently small.",
            ),
            "weights_cut_to_bfloat16": Mistake(
                partial(stack, change=_cut_to_bfloat16),
                "All weights are cut to bfloat16 (the low 16 bits dropped, not rounded).",
            ),
            "two_decimals": Mistake(
                partial(stack, change=_two_decimals),
                "All weights are rounded to two decimals (exported as text).",
            ),
            "small_weights_pruned": Mistake(
                partial(stack, change=_pruned),
                "Weights below 0.05 in magnitude are set to zero (pruned).",
            ),
            "transposed_and_other_bias": Mistake(
                partial(stack, change=_transposed_and_bias_of_other),
                "Two causes: the square weight is transposed, and the bias is the third linear "
                "layer's.",
                causes=2,
            ),
        },
    ),
    Case(
        "weights_of_conv_and_norm",
        build_conv,
        "2",
        convolution,
        {
            "running_statistics_not_loaded": Mistake(
                partial(convolution, statistics="fresh"),
                "The running mean and variance were not loaded and are 0 and 1.",
            ),
            "gain_and_shift_not_loaded": Mistake(
                partial(convolution, statistics="affine fresh"),
                "The batch normalisation's weight and bias were not loaded and are 1 and 0.",
            ),
            "conv_bias_not_loaded": Mistake(
                partial(convolution, bias=False),
                "The convolution's bias was not loaded and is 0.",
            ),
            "colours_reversed": Mistake(
                partial(convolution, colours="BGR"),
                "The image's channels are BGR (OpenCV), where the model was given RGB.",
            ),
            "pixels_up_to_255": Mistake(
                partial(convolution, pixels=255.0),
                "Pixels are 0 to 255, where the model was given 0 to 1.",
            ),
            "height_and_width_swapped": Mistake(
                partial(convolution, layout="HW swapped"),
                "The kernel's height and width are swapped.",
            ),
            "data_read_as_hwio": Mistake(
                partial(convolution, layout="data as HWIO"),
                "The kernel's data (out, in, height, width) is read as though it were stored as "
                "(height, width, in, out).",
            ),
            "statistics_and_colours": Mistake(
                partial(convolution, statistics="fresh", colours="BGR"),
                "Two causes: the running statistics were not loaded, and the channels are BGR.",
                causes=2,
            ),
        },
    ),
    Case(
        "weights_of_embedding",
        build_words,
        "hidden",
        words,
        {
            "vocabulary_moved_by_two": Mistake(
                partial(words, shift=2),
                "Ids are 2 too large for the table (special tokens counted that are not in it).",
            ),
            "table_read_by_columns": Mistake(
                partial(words, order="columns"),
                "The table's data is read as (size, vocabulary) and transposed.",
            ),
        },
    ),
    Case(
        "weights_with_lora",
        build_lora,
        "dense",
        lora,
        {
            "lora_forgotten": Mistake(
                partial(lora, merged=0),
                "The LoRA part is forgotten: the base kernel alone.",
            ),
            "lora_not_scaled": Mistake(
                partial(lora, factor=1.0),
                "The LoRA product is added without the factor alpha / rank = 4.",
            ),
            "lora_merged_twice": Mistake(
                partial(lora, merged=2),
                "The LoRA product is added twice: merged into the kernel and added again.",
            ),
        },
    ),
]
