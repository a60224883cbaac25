"""Which call of a forward pass made each tensor that another call takes, for frameworks whose
tensors are objects.

A tensor is known by its identity, and where a framework lets tensors be written to it is still what
the call made if the framework has counted no writes since and its numbers are the same. What an
operation that is no captured call makes of it, a view as well, is another tensor, made by nothing
known.
"""

import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from probe.model import Argument, CallOutput, ModelInput, Producer

__all__ = ["Producers", "digest", "unasked"]

Tensor: TypeAlias = Any
"""One of whichever framework."""

_PARTS = 64
_SMALL = 1 << 12
"""Bytes of an array that is digested as it is."""


_ASKED = ContextVar("_ASKED", default=True)


@contextmanager
def unasked() -> Iterator[None]:
    """Passes in which nobody asks what made a tensor, which costs reading each of them twice: all
    are then made by nothing known."""
    before = _ASKED.set(False)
    try:
        yield
    finally:
        _ASKED.reset(before)


class _Entry(NamedTuple):
    tensor: "weakref.ref[Tensor]"
    producer: Producer
    state: tuple[int, int] | None
    order: int


class Producers:
    """Of one forward pass; ``writes`` is how often a tensor was written to, as far as the framework
    counts, and None where tensors cannot be."""

    def __init__(self, writes: Callable[[Tensor], int] | None = None) -> None:
        self._writes = writes
        self._asked = _ASKED.get()
        self._made: dict[int, _Entry] = {}
        self.count = 0
        """How many calls were noted so far."""

    def of(self, tensor: Tensor, array: np.ndarray) -> Producer | None:
        """What made the tensor, whose values the array holds; None where that is not known."""
        made = self._made.get(id(tensor))
        if made is None or made.tensor() is not tensor or made.state != self._state(tensor, array):
            return None
        return made.producer

    def note_inputs(self, tensors: Sequence[Tensor], arrays: Sequence[np.ndarray]) -> None:
        """Takes note of what the pass is called on."""
        for index, (tensor, array) in enumerate(zip(tensors, arrays, strict=True)):
            self._note(tensor, array, ModelInput(index))

    def note_arguments(
        self,
        layer: str,
        call: int,
        tensors: Sequence[Tensor],
        arrays: Sequence[np.ndarray],
        fixed: Collection[int],
    ) -> None:
        """Takes note of what a container is called on, where nothing that is known made it;
        ``fixed`` are those that do not follow from the model's input."""
        for index, (tensor, array) in enumerate(zip(tensors, arrays, strict=True)):
            if self.of(tensor, array) is None:
                self._note(tensor, array, Argument(layer, call, index, index in fixed))

    def note_outputs(
        self,
        layer: str,
        call: int,
        tensors: Sequence[Tensor],
        arrays: Sequence[np.ndarray],
        since: int,
        described: bool,
    ) -> None:
        """Takes note of what a call gives that began when ``count`` was ``since``.

        What a call inside it has made is the inner one's, unless this one is described as a whole.
        """
        self.count += 1
        known = set[int]()
        for index, (tensor, array) in enumerate(zip(tensors, arrays, strict=True)):
            made = self._made.get(id(tensor))
            inner = made is not None and made.order > since and made.tensor() is tensor
            if id(tensor) not in known and (described or not inner):
                self._note(tensor, array, CallOutput(layer, call, index))
            known.add(id(tensor))

    def _note(self, tensor: Tensor, array: np.ndarray, producer: Producer) -> None:
        if not self._asked:
            return
        with suppress(TypeError):  # a number of NumPy's takes no weak reference
            known = weakref.ref(tensor)
            self._made[id(tensor)] = _Entry(known, producer, self._state(tensor, array), self.count)

    def _state(self, tensor: Tensor, array: np.ndarray) -> tuple[int, int] | None:
        if self._writes is None:
            return None
        return (self._writes(tensor), digest(array))


def digest(array: np.ndarray) -> int:
    """A number that other values of the array would hardly give: of a large one the sums of its
    parts and some elements, at the speed of its memory."""
    if array.dtype.hasobject:  # strings
        return hash((array.shape, *array.ravel().tolist()))
    if array.nbytes <= _SMALL:
        return hash((array.shape, array.tobytes()))
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    words = data[: len(data) // 8 * 8].view(np.uint64)
    parts = words[: len(words) // _PARTS * _PARTS].reshape(_PARTS, -1)
    ends = words[len(parts[0]) * _PARTS :].tobytes() + data[len(words) * 8 :].tobytes()
    picked = words[:: len(words) // _PARTS].tobytes()
    return hash((array.shape, np.add.reduce(parts, axis=1).tobytes(), picked, ends))
