"""Tensors that no call which was seen has made: those of NumPy, code in C++ and vmap."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from weakref import ref

import torch

from .module_frames import ModuleFrame
from .module_tensors import ModuleTensors
from .tensor_marks import FOLLOWS, MADE, Marks
from .tensors import copied, dtype_name

__all__ = ["Unseen", "UnseenTensors"]


@dataclass
class Unseen:
    """Tensors that no call which was seen has made, in one place: what the first one goes into, its
    shape, and digests of all."""

    words: str
    dtype: str
    followed: bool
    """Whether what is called on them counts as following from the model's input."""
    digests: list[str] = field(default_factory=list)


class UnseenTensors:
    """Those of one pass: ``places`` by names like those of layers, ``given`` those among the inputs
    of layers, by the names of these."""

    def __init__(self, marks: Marks, held: ModuleTensors) -> None:
        self.places: dict[str, Unseen] = {}
        self.given: dict[str, Unseen] = {}
        self.arrays_left = False
        """Whether code that is no PyTorch has been given arrays that follow from the model's input,
        which may come back."""
        self._marks, self._held = marks, held
        self._known: dict[int, tuple[ref[torch.Tensor], Unseen]] = {}

    def note(
        self,
        tensors: Sequence[torch.Tensor],
        words: str,
        frame: ModuleFrame,
        followed: bool = False,
    ) -> None:
        """Takes note of those that came from nowhere seen; they follow from the model's input if
        arrays of it may have come back."""
        for tensor in tensors:
            if (
                self._marks.of(tensor) & (MADE | FOLLOWS)
                or self._held.name(tensor, frame) is not None
            ):
                continue
            with torch._C.DisableTorchFunction():
                empty = tensor.is_meta
            if empty or torch._C._functorch.is_functorch_wrapped_tensor(tensor):
                continue  # holds no numbers; within vmap it is the result that came from nowhere
            self._marks.add([tensor], MADE)
            digest = sha256(repr(tensor.shape).encode() + copied(tensor).tobytes()).hexdigest()
            alone = Unseen(
                f"{words}, {tuple(tensor.shape)},",
                dtype_name(tensor),
                followed or self.arrays_left,
                [digest],
            )
            self._known[id(tensor)] = ref(tensor), alone
            place = f"{frame.place}/unseen"
            if place in self.places:
                self.places[place].digests.append(digest)
            else:
                self.places[place] = replace(alone, digests=[digest])
            if self.arrays_left:
                self._marks.add([tensor], FOLLOWS)

    def note_given(self, layer: str, tensors: Sequence[torch.Tensor]) -> None:
        """Takes note of a layer that is given some of them."""
        if not self._known:
            return
        for tensor in tensors:
            known = self._known.get(id(tensor))
            if known is not None and known[0]() is tensor:
                words = f"the input of {layer!r}, {tuple(tensor.shape)},"
                self.given.setdefault(layer, replace(known[1], words=words))
