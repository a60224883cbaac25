"""Blocks of a SavedModel: the operations in one name scope, and the signature as a whole."""

from collections.abc import Mapping
from typing import NamedTuple

from .outline import Outline, SavedTensor

__all__ = ["SavedBlock", "blocks_of"]


class SavedBlock(NamedTuple):
    """Operations that are checked as one layer."""

    operations: tuple[str, ...]
    """Their names, in the order of the graph."""
    taken: tuple[SavedTensor, ...]
    """What they take that none of them gives."""
    outputs: tuple[str, ...]
    """The names of the tensors that are used outside of them."""


def blocks_of(outline: Outline) -> Mapping[str, SavedBlock]:
    """Each name scope with operations that follow from the inputs, the outer ones first; "" is the
    signature."""
    operations = outline.operations
    users: dict[str, set[str]] = {}
    scopes: dict[str, list[str]] = {}
    for name, operation in operations.items():
        for tensor in operation.taken:
            users.setdefault(tensor.name, set()).add(name)
        parts = name.split("/")
        for count in range(1, len(parts)):
            scopes.setdefault("/".join(parts[:count]), []).append(name)
    blocks = {"": SavedBlock(tuple(operations), outline.inputs, outline.results)}
    for scope, names in scopes.items():
        if scope not in operations:
            blocks[scope] = _block(outline, names, users)
    return blocks


def _block(outline: Outline, names: list[str], users: Mapping[str, set[str]]) -> SavedBlock:
    operations = [outline.operations[name] for name in names]
    made = {tensor.name for operation in operations for tensor in operation.outputs}
    taken = {tensor.name: tensor for operation in operations for tensor in operation.taken}
    outside = {key for key in made if users.get(key, set()) - set(names)}
    outside |= made.intersection(outline.results)
    outside |= made - users.keys()  # what takes it is no layer
    return SavedBlock(
        operations=tuple(names),
        taken=tuple(tensor for key, tensor in taken.items() if key not in made),
        outputs=tuple(
            tensor.name
            for operation in operations
            for tensor in operation.outputs
            if tensor.name in outside
        ),
    )
