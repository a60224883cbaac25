"""What a call of a layer of the user's own changes: the variables that it assigns to and the
attributes that it sets.

Following the call makes it once more: from the state that the call itself began with, and leaving
the one that it has left.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe import printable

from ..describe.tensors import Tensors
from .restore_state import restores_of, unchanged, variables_of

__all__ = ["State", "begun_with", "state_of"]


@dataclass(frozen=True, eq=False)
class State:
    """What a layer, and whatever it holds, was at one moment."""

    layer: Any
    tensors: Tensors
    restores: Sequence[Callable[[], None]]
    values: Sequence[tuple[Any, np.ndarray]]
    """Its variables and what they held."""

    def restore(self) -> None:
        for restore in self.restores:
            restore()

    @contextmanager
    def restored(self) -> Iterator[None]:
        """The layer as it was, for as long as the body runs."""
        with unchanged(self.layer):
            self.restore()
            yield

    def assigned(self) -> str:
        """The names of the variables that hold other values now, in words."""
        names = [
            _name(variable)
            for variable, values in self.values
            if not _same(values, _values(variable, self.tensors))
        ]
        return printable.several([repr(name) for name in dict.fromkeys(names)])

    def is_built(self) -> bool:
        """Whether the layer had all variables that it has now."""
        before = {id(variable) for variable, _ in self.values}
        return all(id(variable) in before for variable in variables_of(self.layer))


def state_of(layer: Any, tensors: Tensors) -> State:
    """What a layer is now. Variables of TensorFlow are not copied."""
    values = [(variable, _values(variable, tensors)) for variable in variables_of(layer)]
    return State(layer, tensors, restores_of(layer), values)


def begun_with(state: State | None) -> dict[str, Any]:
    """What a ``KerasCall`` says of the state that it began with, once it has ended.

    A call that made variables is followed from where it ended: without them, following it would
    make others.
    """
    if state is None:
        return {}
    begun = state.restored if state.is_built() else nullcontext
    return {"begun": begun, "assigned": state.assigned()}


def _values(variable: Any, tensors: Tensors) -> np.ndarray:
    if hasattr(variable, "read_value"):
        stored = variable.read_value()
    else:
        stored = variable._value
    return tensors.array(stored)


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    if left.shape == right.shape and left.size and np.may_share_memory(left, right):
        return True  # a variable that is assigned to takes new memory
    return left.shape == right.shape and left.tobytes() == right.tobytes()


def _name(variable: Any) -> str:
    return str(variable.name).partition(":")[0].rpartition("/")[2]
