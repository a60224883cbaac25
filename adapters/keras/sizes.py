"""Whether the layers of a config are of sizes that the file can hold: a loader makes their weights before it reads any."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from probe.bounds import too_much

from .safety import objects

__all__ = ["oversized"]

_COUNTS = frozenset("filters head_dim input_dim key_dim max_tokens n num_bins num_heads num_tokens output_dim units value_dim".split())
_SHAPES = frozenset("cropping kernel_size output_shape output_size padding pool_size size target_shape".split())
_SQUARE = frozenset("GRU GRUCell LSTM LSTMCell SimpleRNN SimpleRNNCell QGRU QGRUCell QLSTM QLSTMCell QSimpleRNN QSimpleRNNCell".split())
"""Layers with a weight of units by units."""


def oversized(config: Mapping[str, Any], holds: int) -> str:
    """The first option that asks for far more than a file that holds so many bytes, in words; "" where there is none."""
    for found in objects(config):
        inner = found.value.get("config")
        for name, value in inner.items() if isinstance(inner, Mapping) else ():
            if too_much(4 * _asked(name, value, found.value["class_name"]), holds):
                return f"its layer {found.layer!r} has {name} = {value}"
    return ""


def _asked(name: str, value: Any, kind: Any) -> int:
    """How many numbers an option asks for at least."""
    if name in ("batch_input_shape", "batch_shape", "shape") and isinstance(value, list) and value:
        return value[-1] if isinstance(value[-1], int) else 0  # as many inputs has the layer that takes it
    if name in _SHAPES:
        return math.prod(size for size in _numbers(value) if size > 1)
    if name in _COUNTS and isinstance(value, int):
        return value**2 if kind in _SQUARE else value
    return 0


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _numbers(one)
