"""The calls of TFLM's interpreter; imported in a child process alone."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import tflite_micro

from .engine_calls import Gave, Piece, keep, staged

__all__ = ["run"]

_ARENA = 1 << 26
"""Bytes that TFLM's interpreter takes at least."""


def run(piece: Piece, values: Mapping[int, np.ndarray], engine: str, preserve: bool) -> Gave:
    runtime = tflite_micro.runtime
    config = runtime.InterpreterConfig
    running = staged(
        "load",
        runtime.Interpreter.from_bytes,
        piece.content,
        arena_size=_ARENA + 4 * piece.bytes,
        intrepreter_config=config.kPreserveAllTensors if preserve else config.kAllocationRecording,
    )
    gave = Gave()
    if preserve:
        for at in piece.variables:
            keep(gave.before, at, partial(_of_tflm, running, piece.numbers[at]))
    for place, at in enumerate(piece.inputs):
        staged("prepare", running.set_input, values[at], place)
    staged("invoke", running.invoke)
    if preserve:
        for at in piece.read:
            keep(gave.arrays, at, partial(_of_tflm, running, piece.numbers[at]))
    else:
        for place, at in enumerate(piece.outputs):
            keep(gave.arrays, at, partial(running.get_output, place))
    return gave


def _of_tflm(running: Any, number: int) -> np.ndarray:
    array: np.ndarray = running.GetTensor(number, 0)["tensor_data"]
    return array
