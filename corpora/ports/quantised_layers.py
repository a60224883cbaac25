"""Dense layers of integers, and a norm of float16."""

from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import linear
from corpora.ports.trained import inputs, train_keras, train_torch, weights_of


def build_keras() -> tuple[Any, np.ndarray]:
    model = keras.Sequential([keras.Input((24,)), keras.layers.Dense(24, name="dense")])
    train_keras(model, 501)
    model.get_layer("dense").quantize("int8")
    return model, inputs(502, 3, 24, scale=2.0)


def keras_int8(
    model: Any,
    x: np.ndarray,
    descale: str = "divide",
    rounding: Any = np.round,
    range_of: str = "row",
    scale_of: str = "column",
    quantised_input: bool = True,
) -> np.ndarray:
    layer = model.get_layer("dense")
    kernel, scale, bias = (
        keras.ops.convert_to_numpy(a) for a in (layer._kernel, layer.kernel_scale, layer.bias)
    )
    top = np.abs(x).max(-1, keepdims=True) if range_of == "row" else np.abs(x).max()
    step = np.float32(127) / (top + np.float32(1e-7))
    if quantised_input:
        q = np.clip(rounding(x * step), -127, 127).astype(np.int32)
    else:
        q, step = x, np.float32(1)
    y = (q @ kernel.astype(np.int32)).astype(np.float32)
    if scale_of == "first":
        scale = scale[..., :1]
    y = y / (scale * step) if descale == "divide" else y * scale / step
    return y + bias


class IntegerLinear(nn.Module):
    """A linear layer of int8 weights with a scale per output, and of uint8 inputs."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(503)
        scale = 0.004 * np.exp(rng.normal(0, 0.5, 12))
        self.register_buffer("weight", torch.tensor(rng.integers(-127, 128, (12, 20)).astype("i1")))
        self.register_buffer("weight_scale", torch.tensor(scale.astype("f4")))
        self.register_buffer("input_scale", torch.tensor(np.float32(0.035)))
        self.register_buffer("input_zero_point", torch.tensor(97))
        self.register_buffer("bias", torch.tensor((0.3 * rng.standard_normal(12)).astype("f4")))

    def forward(self, x: Tensor) -> Tensor:
        q = torch.clamp(torch.round(x / self.input_scale) + self.input_zero_point, 0, 255)
        total = (q - self.input_zero_point) @ self.weight.T.float()
        return total * (self.input_scale * self.weight_scale) + self.bias


def build_integer() -> tuple[Any, np.ndarray]:
    return IntegerLinear().eval(), inputs(504, 3, 20, scale=2.2, shift=0.4)


def integer(
    model: Any,
    x: np.ndarray,
    zero: str = "subtracted",
    saturate: bool = True,
    scale_of: str = "output",
    read_as: str = "int8",
    accumulate: Any = np.int32,
) -> np.ndarray:
    w = weights_of(model)
    point = int(w["input_zero_point"])
    q = np.round(x / w["input_scale"]).astype(np.int64) + point
    q = np.clip(q, 0, 255) if saturate else q % 256
    weight = w["weight"].view(np.uint8) if read_as == "uint8" else w["weight"]
    if zero == "subtracted":
        q = q - point
    if zero == "128":
        q = q - 128
    total = (q.astype(np.int32) @ weight.T.astype(np.int32)).astype(accumulate)
    scale = w["weight_scale"] if scale_of == "output" else w["weight_scale"].mean()
    return (total * (w["input_scale"] * scale) + w["bias"]).astype(np.float32)


class FourBitLinear(nn.Module):
    """A linear layer of weights of four bits, packed in pairs, with scales of groups of inputs."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(505)
        packed = rng.integers(0, 256, (16, 16)).astype(np.uint8)
        self.register_buffer("packed", torch.tensor(packed))
        self.register_buffer("zeros", torch.tensor(rng.integers(6, 10, (16, 4))))
        scales = 0.05 * np.exp(rng.normal(0, 0.5, (16, 4)))
        self.register_buffer("scales", torch.tensor(scales.astype("f4")))

    def forward(self, x: Tensor) -> Tensor:
        codes = torch.stack([self.packed & 15, self.packed >> 4], -1).reshape(16, 4, 8)
        weight = (codes - self.zeros[..., None]) * self.scales[..., None]
        return x @ weight.reshape(16, 32).T


def build_four_bit() -> tuple[Any, np.ndarray]:
    return FourBitLinear().eval(), inputs(506, 3, 32)


def four_bit(
    model: Any, x: np.ndarray, low_first: bool = True, zero: int = 0, groups: str = "blocks"
) -> np.ndarray:
    w = weights_of(model)
    low, high = w["packed"] & 15, w["packed"] >> 4
    codes = np.stack([low, high] if low_first else [high, low], -1).reshape(16, 32)
    scales, zeros = w["scales"], w["zeros"] + zero
    if groups == "in turn":
        scales, zeros = np.tile(scales, 8), np.tile(zeros, 8)
    else:
        scales, zeros = scales.repeat(8, 1), zeros.repeat(8, 1)
    return linear(x, ((codes.astype(np.int64) - zeros) * scales).astype(np.float32))


def build_half() -> tuple[Any, np.ndarray]:
    norm = train_torch(LlamaRMSNorm(32), 507).half()
    return norm, inputs(508, 2, 4, 32, scale=40.0).clip(-2000, 2000).astype(np.float16)


def half_norm(
    model: Any, x: np.ndarray, squares: Any = np.float32, product: Any = np.float16
) -> np.ndarray:
    gain = weights_of(model)["weight"]
    with np.errstate(over="ignore"):
        square = (x.astype(squares) ** 2).mean(-1, keepdims=True, dtype=squares)
    y = x.astype(np.float32) / np.sqrt(square.astype(np.float32) + np.float32(1e-6))
    return (gain.astype(product) * y.astype(product)).astype(np.float16)


CASES = [
    Case(
        "keras_dense_int8",
        build_keras,
        "dense",
        keras_int8,
        {
            "multiplied_by_scale": Mistake(
                partial(keras_int8, descale="multiply"),
                "The sums are multiplied by kernel_scale, where Keras stores the scale that "
                "weights were multiplied by, so they are divided by it.",
            ),
            "truncated": Mistake(
                partial(keras_int8, rounding=np.trunc),
                "Quantised inputs are truncated toward zero, where they are rounded.",
            ),
            "range_of_whole_batch": Mistake(
                partial(keras_int8, range_of="batch"),
                "Inputs are quantised with the largest magnitude of the batch, where each row "
                "has its own.",
            ),
            "scale_of_first_column": Mistake(
                partial(keras_int8, scale_of="first"),
                "The scale of the first output is taken for all of them.",
            ),
            "input_not_quantised": Mistake(
                partial(keras_int8, quantised_input=False),
                "The input is left in float32 (weights alone are int8), where Keras quantises it "
                "as well.",
            ),
        },
    ),
    Case(
        "integer_linear_asymmetric",
        build_integer,
        "",
        integer,
        {
            "zero_point_forgotten": Mistake(
                partial(integer, zero="forgotten"),
                "The zero point of the input is not subtracted before the product.",
            ),
            "zero_point_of_128": Mistake(
                partial(integer, zero="128"),
                "128 is subtracted for the zero point, where it is 97.",
            ),
            "wraps_around": Mistake(
                partial(integer, saturate=False),
                "Quantised inputs wrap around at 256 (a cast without clipping), where they "
                "saturate.",
            ),
            "one_scale_for_all": Mistake(
                partial(integer, scale_of="layer"),
                "One scale for the whole weight (the mean), where each output has its own.",
            ),
            "weight_read_unsigned": Mistake(
                partial(integer, read_as="uint8"),
                "The weight's bytes are read as uint8, where they are int8.",
            ),
            "sum_in_int16": Mistake(
                partial(integer, accumulate=np.int16),
                "Sums are kept in int16 and overflow, where they need int32.",
            ),
            "zero_point_and_scale": Mistake(
                partial(integer, zero="128", scale_of="layer"),
                "Two causes: 128 is subtracted for the zero point 97, and one scale is used for "
                "all outputs.",
                causes=2,
            ),
        },
    ),
    Case(
        "four_bit_linear_packed",
        build_four_bit,
        "",
        four_bit,
        {
            "high_half_first": Mistake(
                partial(four_bit, low_first=False),
                "The high four bits of a byte are taken for the first weight, where it is the low "
                "ones.",
            ),
            "zero_point_plus_one": Mistake(
                partial(four_bit, zero=1),
                "1 is added to the zero points, as for GPTQ's first format.",
            ),
            "groups_in_turn": Mistake(
                partial(four_bit, groups="in turn"),
                "Inputs take the groups' scales in turn (input % 4), where a group is 8 "
                "neighbouring inputs.",
            ),
        },
    ),
    Case(
        "llama_rms_norm_float16",
        build_half,
        "",
        half_norm,
        {
            "squares_in_float16": Mistake(
                partial(half_norm, squares=np.float16),
                "Squares and their mean are in float16, where large values overflow to infinity; "
                "Llama computes them in float32.",
            ),
            "product_in_float32": Mistake(
                partial(half_norm, product=np.float32),
                "The gain multiplies before the cast back to float16 (Gemma's order), where Llama "
                "casts first; inherently small.",
            ),
        },
    ),
]
