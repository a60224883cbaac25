"""The calls of LiteRT's interpreter; imported in a child process alone."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert

from .engine_calls import EngineFile, Gave, keep, staged

__all__ = ["run"]

_RESOLVERS = {
    "xnnpack": litert.OpResolverType.AUTO,
    "optimised": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": litert.OpResolverType.BUILTIN_REF,
}


def run(piece: EngineFile, values: Mapping[int, np.ndarray], engine: str, preserve: bool) -> Gave:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors takes memory
        running = staged(
            "load",
            litert.Interpreter,
            model_content=piece.content,
            num_threads=1,
            experimental_op_resolver_type=_RESOLVERS[engine],
            experimental_preserve_all_tensors=preserve,
        )
    details = {detail["index"]: detail for detail in running.get_input_details()}
    for at in piece.inputs:
        number = piece.numbers[at]
        if number in details and tuple(details[number]["shape"]) != values[at].shape:
            staged("prepare", running.resize_tensor_input, number, values[at].shape)
    staged("prepare", running.allocate_tensors)
    gave = Gave()
    for at in piece.variables:
        keep(gave.before, at, partial(_tensor, running, piece.numbers[at]))
    for at in piece.inputs:
        if piece.numbers[at] in details:
            staged("invoke", running.set_tensor, piece.numbers[at], values[at])
    staged("invoke", running.invoke)
    wanted = piece.read
    if not preserve:  # a handle that is read crashes the interpreter
        wanted = tuple(at for at in piece.outputs if at in piece.read)
    for at in wanted:
        keep(gave.arrays, at, partial(_tensor, running, piece.numbers[at]))
    if engine == "xnnpack" and preserve:
        numbers = {number: at for at, number in piece.numbers.items()}
        gave.delegated = {
            numbers[int(number)]
            for node in running._get_ops_details()
            if node["op_name"] == "DELEGATE"
            for number in node["outputs"]
            if int(number) in numbers
        }
    return gave


def _tensor(running: Any, number: int) -> np.ndarray:
    try:
        array: np.ndarray = running.get_tensor(number)
        return array
    except ValueError:  # one without elements has no memory either
        detail = running._get_tensor_details(number, 0)
        if 0 not in detail["shape"]:
            raise
        return np.zeros(detail["shape"], detail["dtype"])
