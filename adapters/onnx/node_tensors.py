"""The tensors that a node takes and gives, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from .operators.control_flow import free_names

__all__ = ["graphs_of", "kind_of", "replaced", "takes", "tensors_of"]


def takes(node: onnx.NodeProto) -> tuple[str, ...]:
    """The tensors that a node takes, those that the graphs it runs take from outside among them."""
    inner = [name for graph in graphs_of(node) for name in free_names(graph)]
    return tuple(dict.fromkeys(name for name in (*node.input, *inner) if name))


def graphs_of(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node runs, such as the branches of an If."""
    return [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]


def tensors_of(name: str, values: Mapping[str, Any]) -> list[tuple[str, np.ndarray]]:
    """The tensor of that name, or all those of a sequence, each with a name."""
    value = values.get(name) if name else None
    if value is None:
        return []
    if not isinstance(value, list):
        return [(name, value)]
    return [(f"{name}[{index}]", tensor) for index, tensor in enumerate(value)]


def replaced(
    node: onnx.NodeProto, values: Mapping[str, Any], replacement: Sequence[np.ndarray]
) -> dict[str, Any]:
    """What a node gives with other numbers in its tensors."""
    new, outputs = iter(replacement), dict[str, Any]()
    for name in filter(None, node.output):
        before = [array for _, array in tensors_of(name, values)]
        arrays = [np.asarray(next(new, array), array.dtype) for array in before]
        outputs[name] = arrays if isinstance(values[name], list) else arrays[0]
    return outputs


def kind_of(node: onnx.NodeProto) -> str:
    if node.domain in ("", "ai.onnx"):
        return str(node.op_type)
    return f"{node.domain}.{node.op_type}"
