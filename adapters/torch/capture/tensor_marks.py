"""What is known of the tensors of a pass, such as that they follow from the model's input.

A tensor is known by its identity: what another tensor was, whose id it has now, is not known of it.
"""

from collections.abc import Iterable
from weakref import ref

import torch

__all__ = [
    "CONSTANT",
    "FOLLOWS",
    "MADE",
    "OF_ARGUMENTS",
    "VARIES",
    "Marks",
]

# Bits of plain integers: of an enum.Flag each & is two calls of Python, for every tensor of a call.
FOLLOWS = 1
"""It follows from the model's input."""
OF_ARGUMENTS = 2
"""It follows from the arguments of a container, if not from the model's input."""
MADE = 4
"""It was there before the pass, or a call that is seen has made it."""
CONSTANT = 8
"""A module gives it that takes what follows, and made it of nothing that does."""
VARIES = FOLLOWS | OF_ARGUMENTS


class Marks:
    """The marks of each tensor; one that has none follows from nothing known."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[torch.Tensor], int]] = {}

    def add(self, tensors: Iterable[torch.Tensor], marks: int) -> None:
        for tensor in tensors:
            key = id(tensor)
            known = self._known.get(key)
            if known is not None and known[0]() is tensor:
                self._known[key] = known[0], known[1] | marks
            else:
                self._known[key] = ref(tensor), marks

    def of(self, *tensors: torch.Tensor) -> int:
        """The marks that any of the tensors has."""
        marks = 0
        for tensor in tensors:
            known = self._known.get(id(tensor))
            if known is not None and known[0]() is tensor:
                marks |= known[1]
        return marks

    def constant(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is known to follow neither from the model's input nor from the arguments
        of a container."""
        marks = self.of(tensor)
        return not marks & VARIES or bool(marks & CONSTANT)
