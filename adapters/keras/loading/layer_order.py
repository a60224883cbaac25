"""Whether the layers of a functional model can be put in order: Keras 2 tries forever where one
takes, at length, its own output."""

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

__all__ = ["endless"]

_Call = tuple[str, int]
"""A layer's name and which of its calls."""


def endless(config: Any) -> str:
    """The name of a layer anywhere in the config that waits for itself or for a call that never
    comes; "" where there is none."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            if isinstance(part.get("layers"), list) and "input_layers" in part:
                found = _stuck(part["layers"])
                if found:
                    return found
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return ""


def _stuck(layers: list[Any]) -> str:
    entries = [
        layer
        for layer in layers
        if isinstance(layer, Mapping) and isinstance(layer.get("inbound_nodes"), list)
    ]
    calls: dict[_Call, set[_Call]] = {}
    for entry in entries:
        name, first = str(entry.get("name")), _first(entry)
        if str(entry.get("class_name")).rpartition(">")[2] == "InputLayer":
            calls[name, 0] = set()
            continue
        for number, node in enumerate(entry["inbound_nodes"], first):
            calls[name, number] = set(_taken(node)) | (
                {(name, number - 1)} if number > first else set()
            )
    inputs = {name for name, number in calls if number == 0 and not calls[name, 0]}
    calls = {
        call: {(name, 0) if name in inputs else (name, number) for name, number in taken}
        for call, taken in calls.items()
    }
    missing = next((call for call, taken in calls.items() if not taken <= calls.keys()), None)
    if missing is not None:
        return missing[0]
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        return str(error.args[1][0][0])
    return ""


def _first(entry: Mapping[str, Any]) -> int:
    """The number of a layer's first call: a model that has an input has been called once as it was
    made."""
    inner = entry.get("config")
    layers = inner.get("layers") if isinstance(inner, Mapping) else None
    if not isinstance(layers, list) or not isinstance(inner, Mapping):
        return 0
    first = layers[0] if layers and isinstance(layers[0], Mapping) else {}
    held = first.get("config")
    shaped = isinstance(held, Mapping) and bool(held.get("batch_input_shape"))
    begins = str(first.get("class_name")).rpartition(">")[2] == "InputLayer" or shaped
    return int("input_layers" in inner or begins or bool(inner.get("build_input_shape")))


def _taken(node: Any) -> Iterator[_Call]:
    """The calls whose outputs a call takes: [layer, call, output], and the same again among its
    keyword arguments."""
    if isinstance(node, list):
        if len(node) in (3, 4) and isinstance(node[0], str):
            if isinstance(node[1], int) and node[1] >= 0:
                yield node[0], node[1]
            node = node[3:]
        for part in node:
            yield from _taken(part)
    elif isinstance(node, Mapping):
        for part in node.values():
            yield from _taken(part)
