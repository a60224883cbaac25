"""Operators of TensorFlow Lite on codes, drawn as files of one node each, and what an engine and
our own arithmetic make of them."""

import platform
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from probe.adapters.tflite.arithmetic import EngineKernel
from probe.adapters.tflite.describe import describe_node
from probe.adapters.tflite.engine_calls import EngineFile, run_piece
from probe.adapters.tflite.reading import read_model
from tflite_draws import (
    DrawnFile,
    Draws,
    convolution,
    dense,
    mean_or_sum,
    of_two,
    pool,
    prelu,
    quantize,
    quotient,
    resize,
    transpose_conv,
    unary,
)

from probe.description import Description

__all__ = ["OPERATORS", "WITHOUT", "RanNode", "described", "drawn", "gave"]


class RanNode(NamedTuple):
    """What an engine gave, and whether XNNPACK took the node."""

    outputs: list[np.ndarray]
    delegated: bool


Draw = Callable[[Draws], Iterator[DrawnFile]]


def _all(*calls: Callable[[Draws], DrawnFile]) -> Draw:
    return lambda draws: (call(draws) for call in calls)


_SIGMOID, _TANH, _WIDE = (1 / 256, -128), (1 / 128, 0), (1 / 32768, 0)
_SOFTMAX, _LEAKY = ("SoftmaxOptions", {"beta": 1.0}), ("LeakyReluOptions", {"alpha": 0.3})
_OF_EVERY_TYPE = {
    "MEAN": _all(
        lambda draws: mean_or_sum(draws, "MEAN", (1, 2), True),
        lambda draws: mean_or_sum(draws, "MEAN", (1, 2), False),
        lambda draws: mean_or_sum(draws, "MEAN", (3,), True),
    ),
    "SUM": _all(
        lambda draws: mean_or_sum(draws, "SUM", (1, 2), True),
        lambda draws: mean_or_sum(draws.in_powers, "SUM", (3,), False),
    ),
    "DIV": _all(lambda draws: quotient(draws, False), lambda draws: quotient(draws, True)),
    "PRELU": _all(prelu),
}
_GELU = ("GeluOptions", {"approximate": False})
OPERATORS: Mapping[str, tuple[str, Draw]] = {
    "CONV_2D": (
        "int8",
        _all(
            lambda draws: convolution(draws, False, 1, True, 1),
            lambda draws: convolution(draws, False, 1, False, 0),
        ),
    ),
    "CONV_2D, grouped": ("int8", _all(lambda draws: convolution(draws, False, 2, True, 0))),
    "DEPTHWISE_CONV_2D": (
        "int8",
        _all(
            lambda draws: convolution(draws, True, 1, True, 0),
            lambda draws: convolution(draws, True, 1, False, 3),
        ),
    ),
    "FULLY_CONNECTED": (
        "int8",
        _all(lambda draws: dense(draws, True), lambda draws: dense(draws, False)),
    ),
    "ADD": ("int8", _all(lambda draws: of_two(draws, "ADD"))),
    "SUB": ("int8", _all(lambda draws: of_two(draws, "SUB"))),
    "MUL": ("int8", _all(lambda draws: of_two(draws, "MUL"))),
    "AVERAGE_POOL_2D": ("int8", _all(lambda draws: pool(draws, "AVERAGE_POOL_2D"))),
    "MAX_POOL_2D": ("int8", _all(lambda draws: pool(draws, "MAX_POOL_2D"))),
    "LOGISTIC": ("int8", _all(lambda draws: unary(draws, "LOGISTIC", None, _SIGMOID))),
    "TANH": ("int8", _all(lambda draws: unary(draws, "TANH", None, _TANH))),
    **{
        f"{operator}, int16": (
            "int16",
            _all(
                lambda draws, operator=operator: unary(draws, operator, None, _WIDE, 3),
                lambda draws, operator=operator: unary(draws, operator, None, _WIDE, 3, 2.0**-12),
                lambda draws, operator=operator: unary(draws, operator, None, _WIDE, 3, 2.0**-11),
            ),
        )
        for operator in ("LOGISTIC", "TANH")
    },
    "SOFTMAX": ("int8", _all(lambda draws: unary(draws, "SOFTMAX", _SOFTMAX, _SIGMOID))),
    "LEAKY_RELU": ("int8", _all(lambda draws: unary(draws, "LEAKY_RELU", _LEAKY, None))),
    "HARD_SWISH": ("int8", _all(lambda draws: unary(draws, "HARD_SWISH", None, None, 1))),
    "QUANTIZE, of floats": ("int8", _all(quantize)),
    "QUANTIZE, of codes": ("int8", _all(lambda draws: unary(draws, "QUANTIZE", None, None))),
    "TRANSPOSE_CONV": ("int8", _all(transpose_conv)),
    "RESIZE_BILINEAR": (
        "int8",
        _all(
            lambda draws: resize(draws, "RESIZE_BILINEAR", True, False),
            lambda draws: resize(draws, "RESIZE_BILINEAR", False, True),
        ),
    ),
    "RESIZE_NEAREST_NEIGHBOR": (
        "int8",
        _all(lambda draws: resize(draws, "RESIZE_NEAREST_NEIGHBOR", False, False)),
    ),
    "CONV_2D, int16": ("int16", _all(lambda draws: convolution(draws, False, 1, True, 1))),
    "DEPTHWISE_CONV_2D, int16": (
        "int16",
        _all(lambda draws: convolution(draws, True, 1, True, 0)),
    ),
    "FULLY_CONNECTED, int16": ("int16", _all(lambda draws: dense(draws, False))),
    "ADD, int16": ("int16", _all(lambda draws: of_two(draws, "ADD"))),
    "SUB, int16": ("int16", _all(lambda draws: of_two(draws, "SUB"))),
    "MUL, int16": ("int16", _all(lambda draws: of_two(draws, "MUL"))),
    "LEAKY_RELU, int16": ("int16", _all(lambda draws: unary(draws, "LEAKY_RELU", _LEAKY, None))),
    "TRANSPOSE_CONV, int16": ("int16", _all(transpose_conv)),
    **{
        f"{name}{'' if dtype == 'int8' else f', {dtype}'}": (dtype, draw)
        for name, draw in _OF_EVERY_TYPE.items()
        for dtype in ("int8", "uint8", "int16")
    },
    "ELU": (
        "int8",
        _all(
            lambda draws: unary(draws, "ELU", None, None, 1),
            lambda draws: unary(draws.in_powers, "ELU", None, None, 1),
        ),
    ),
    "GELU": (
        "int8",
        _all(
            lambda draws: unary(draws, "GELU", _GELU, None),
            lambda draws: unary(draws.in_powers, "GELU", _GELU, None),
        ),
    ),
}
"""Name -> the type of its codes, and files of it."""
WITHOUT = {
    ("SUM", "reference"),
    ("SUM, int16", "reference"),
    ("ELU", "reference"),
    *((f"{name}, uint8", "tflm") for name in _OF_EVERY_TYPE),
    ("DIV, int16", "tflm"),
    ("GELU", "tflm"),
}
"""The operators of which an engine has no kernel, or one that leaves its results as they are."""


def drawn(name: str, rng: np.random.Generator, size: int) -> list[DrawnFile]:
    """Files of an operator; ``size`` is the height and width of its tensors."""
    dtype, draw = OPERATORS[name]
    return list(draw(Draws(rng, dtype, size)))


def gave(case: DrawnFile, engine: str) -> RanNode:
    """The outputs of an engine that runs in this process."""
    graph = read_model(case.content, "a drawn file").subgraphs[0]
    numbers = {at: at for at in range(len(graph.tensors))}
    piece = EngineFile(case.content, numbers, graph.inputs, graph.outputs, graph.outputs)
    found = run_piece(piece, dict(zip(graph.inputs, case.inputs, strict=True)), engine, True)
    return RanNode([found.arrays[at] for at in graph.outputs], bool(found.delegated))


def described(
    case: DrawnFile,
    engine: str,
    outputs: list[np.ndarray],
    delegated: bool,
    machine: str = platform.machine(),
) -> Description:
    """The node as steps, in the arithmetic of the kernel that ran."""
    graph = read_model(case.content, "a drawn file").subgraphs[0]
    arrays = dict(zip(graph.inputs, case.inputs, strict=True))
    arrays |= dict(zip(graph.outputs, outputs, strict=True))
    kernel = EngineKernel(engine, machine, delegated)
    return describe_node(graph.nodes[0], graph, arrays, graph.inputs, kernel)
