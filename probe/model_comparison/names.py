"""Arrays by names against the layers of a model: which of them a name stands for."""

import re
from collections.abc import Iterator

from probe.model_comparison.graph import Graph, Tensor

__all__ = ["by_names"]

_PLAIN = re.compile(r"[^a-z0-9]+")


def by_names(alone: Graph, model: Graph) -> Iterator[tuple[Tensor, Tensor]]:
    """(array, tensor of the model) of one name: exactly, else but for case and punctuation."""
    exact: dict[str, Tensor] = {}
    plain: dict[str, list[Tensor]] = {}
    for tensor in model.tensors:
        if tensor.recorded is not None and tensor.node is not None:
            exact[tensor.name] = tensor
    for name, tensor in exact.items():
        plain.setdefault(_plain(name), []).append(tensor)
    taken: set[Tensor] = set()
    for array in alone.loose:
        found = exact.get(array.name)
        if found is None:
            alike = plain.get(_plain(array.name), [])
            found = alike[0] if len(alike) == 1 else None
        if found is not None and found not in taken:
            taken.add(found)
            yield array, found


def _plain(name: str) -> str:
    return _PLAIN.sub("_", name.lower()).strip("_")
