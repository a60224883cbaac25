"""Whether the layers of a config are of sizes that the file can hold: a loader makes their weights
before it reads any."""

import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from probe.files.size_limits import too_much

from .allow_list import objects

__all__ = ["STEPS", "built_slowly", "oversized", "rebuilt_slowly", "too_deep"]

STEPS = 1 << 18
"""So many places a layer may go through one by one: a quarter of a minute of sound, sample by
sample."""

_CALLS = 1 << 16
"""So many times layers may be called while a model is built, which takes about ten seconds."""

_COUNTS = frozenset(
    (
        "filters head_dim input_dim key_dim max_tokens n num_bins num_heads "
        "num_tokens output_dim units value_dim"
    ).split()
)
_SHAPES = frozenset(
    "cropping kernel_size output_shape output_size padding pool_size size target_shape".split()
)
_SQUARE = frozenset(
    (
        "GRU GRUCell LSTM LSTMCell SimpleRNN SimpleRNNCell QGRU QGRUCell QLSTM "
        "QLSTMCell QSimpleRNN QSimpleRNNCell"
    ).split()
)
"""Layers with a weight of units by units."""
_KEEP = frozenset(
    (
        "Activation BatchNormalization Dense Dropout ELU InputLayer LayerNormalization "
        "LeakyReLU ReLU"
    ).split()
)
"""Layers that give as many places as they take."""


def oversized(config: Mapping[str, Any], holds: int) -> str:
    """The first option that asks for far more than a file that holds so many bytes, in words; ""
    where there is none."""
    for found in objects(config):
        inner = found.value.get("config")
        for name, value in inner.items() if isinstance(inner, Mapping) else ():
            if too_much(4 * _asked(name, value, found.value["class_name"]), holds):
                return f"its layer {found.layer!r} has {name} = {value}"
    return ""


def too_deep(config: Mapping[str, Any]) -> str:
    """The first Sequential of Keras 2 with more layers than its recursion can go through, in words;
    "" where there is none.

    It goes through all of them anew for each one that it adds, and fails at the last.
    """
    most = sys.getrecursionlimit()
    for found in objects(config):
        layers = _layers(found.value)
        if (
            found.value["class_name"] == "Sequential"
            and len(layers) >= most
            and _declared(layers[0])
        ):
            return (
                f"a Sequential of {len(layers):,} layers is more than Keras 2 can build "
                f"({most:,}, from sys.getrecursionlimit())"
            )
    return ""


def built_slowly(config: Mapping[str, Any]) -> str:
    """The first UpSampling1D that gets more places than ``STEPS``, each of which Keras 2 makes a
    node of, in words; "" for none."""
    for found in objects(config):
        places: dict[Any, int] = {}
        before: Any = None
        for entry in _layers(found.value):
            inner, name = entry.get("config"), entry.get("name")
            if not isinstance(inner, Mapping):
                inner = {}
            taken = places.get(_taken(entry) or before, 0)
            shape = _declared(entry)
            before = name or inner.get("name")
            if len(shape) > 1 and isinstance(shape[1], int):
                length = shape[1]
            else:
                length = taken
            if entry.get("class_name") == "UpSampling1D" and length > STEPS:
                return (
                    f"its layer {before!r} repeats {length:,} elements one by one, more than the "
                    f"limit of {STEPS:,}"
                )
            if isinstance(before, str):
                places[before] = _length(entry.get("class_name"), inner, length)
    return ""


def rebuilt_slowly(config: Mapping[str, Any]) -> str:
    """The first Sequential of so many layers that Keras 3, which calls those before anew for each
    that it adds, makes more than ``_CALLS`` calls, in words; "" for none."""
    for found in objects(config):
        if found.value["class_name"] == "Sequential":
            count = len(_layers(found.value))
        else:
            count = 0
        calls = count * (count + 1) // 2
        if calls > _CALLS:
            return (
                f"a Sequential of {count:,} layers is rebuilt for each layer, in {calls:,} "
                f"calls, more than the limit of {_CALLS:,}"
            )
    return ""


def _length(kind: Any, inner: Mapping[str, Any], taken: int) -> int:
    """How many places a layer gives that takes so many; 0 where that is not known."""
    if kind == "UpSampling1D":
        return taken * math.prod(_numbers(inner.get("size")))
    if kind == "ZeroPadding1D":
        sides = list(_numbers(inner.get("padding")))
        return taken + (sum(sides) if len(sides) > 1 else 2 * sum(sides))
    if kind in _KEEP:
        return taken
    return 0


def _taken(entry: Mapping[str, Any]) -> Any:
    """The name of the only layer that one takes from, as Keras 2 writes it."""
    nodes = entry.get("inbound_nodes")
    while isinstance(nodes, list) and len(nodes) == 1:
        (nodes,) = nodes
    if isinstance(nodes, list) and nodes and isinstance(nodes[0], str):
        return nodes[0]
    return None


def _layers(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    inner = value.get("config")
    if isinstance(inner, Mapping):
        layers = inner.get("layers")
    else:
        layers = inner
    if isinstance(layers, list):
        return [layer for layer in layers if isinstance(layer, Mapping)]
    return []


def _declared(entry: Mapping[str, Any]) -> list[Any]:
    """The input shape that a layer says."""
    inner = entry.get("config")
    if not isinstance(inner, Mapping):
        inner = {}
    shape = inner.get("batch_input_shape") or inner.get("batch_shape")
    if isinstance(shape, list):
        return shape
    return []


def _asked(name: str, value: Any, kind: Any) -> int:
    """How many numbers an option asks for at least."""
    if name in ("batch_input_shape", "batch_shape", "shape") and isinstance(value, list) and value:
        # as many inputs has the layer that takes it
        if isinstance(value[-1], int):
            return value[-1]
        return 0
    if name in _SHAPES:
        return math.prod(size for size in _numbers(value) if size > 1)
    if name in _COUNTS and isinstance(value, int):
        if kind in _SQUARE:
            return value**2
        return value
    return 0


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _numbers(entry)
