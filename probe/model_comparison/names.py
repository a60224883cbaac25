"""Arrays by names against the layers of a model: which of them a name stands for."""

import re
from collections.abc import Iterator

from probe.model_comparison.graph import Graph, Tensor

__all__ = ["by_names"]

_ACTIVATED = ("_linear", "_relu", "_softmax", "_tanh", "_sigmoid", "_elu", "_selu", "_hard_sigmoid")
"""What hls4ml puts behind a layer's name where it makes a layer of the activation."""
_PLAIN = re.compile(r"[^a-z0-9]+")


def by_names(alone: Graph, model: Graph) -> Iterator[tuple[Tensor, Tensor]]:
    """(array, tensor of the model) of one name: exactly, else but for case and punctuation."""
    exact: dict[str, Tensor] = {}
    plain: dict[str, list[Tensor]] = {}
    given = {array.name for array in alone.loose}
    for tensor in model.tensors:
        if tensor.recorded is not None and tensor.node is not None:
            exact[tensor.name] = tensor
    for name, tensor in exact.items():
        plain.setdefault(_plain(name), []).append(tensor)
    taken: set[Tensor] = set()
    for array in alone.loose:
        found = exact.get(array.name)
        if found is not None and any(f"{array.name}{end}" in given for end in _ACTIVATED):
            found = _before_activation(found)
        for end in _ACTIVATED:
            if found is None and array.name.endswith(end):
                found = exact.get(array.name.removesuffix(end))
        if found is None:
            alike = plain.get(_plain(array.name), [])
            found = alike[0] if len(alike) == 1 else None
        if found is not None and found not in taken:
            taken.add(found)
            yield array, found


def _before_activation(tensor: Tensor) -> Tensor:
    """What a layer has before the activation that it ends with."""
    node = tensor.node
    while node is not None and node.layout:
        node = node.inputs[0].node
    before = None if node is None or len(node.inputs) != 1 else node.inputs[0]
    if node is None or before is None or before.node is None or before.node.call is not node.call:
        return tensor
    return before


def _plain(name: str) -> str:
    return _PLAIN.sub("_", name.lower()).strip("_")
