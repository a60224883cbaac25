"""The calls of TFLM's interpreter; imported in a child process alone."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import tflite_micro

from .engine_calls import EngineFile, EngineRefusal, Gave, keep, staged

__all__ = ["run"]

_ARENA = 1 << 26
"""Bytes that TFLM's interpreter takes at least."""


def run(piece: EngineFile, values: Mapping[int, np.ndarray], engine: str, preserve: bool) -> Gave:
    with _heard() as said:
        try:
            return _run(piece, values, preserve)
        except EngineRefusal as failed:
            raise EngineRefusal(said() or str(failed), failed.stage) from None


@contextmanager
def _heard() -> Iterator[Callable[[], str]]:
    """What TFLM prints, which its errors leave out: the last lines, asked for within."""
    before = os.dup(2)
    with tempfile.TemporaryFile() as place:
        os.dup2(place.fileno(), 2)

        def said() -> str:
            place.seek(0)
            lines = place.read().decode(errors="replace").split("\n")
            return "; ".join([line.strip() for line in lines if line.strip()][-2:])

        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)


def _run(piece: EngineFile, values: Mapping[int, np.ndarray], preserve: bool) -> Gave:
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
            if at not in piece.read:
                continue
            keep(gave.arrays, at, partial(running.get_output, place))
    return gave


def _of_tflm(running: Any, number: int) -> np.ndarray:
    array: np.ndarray = running.GetTensor(number, 0)["tensor_data"]
    return array
