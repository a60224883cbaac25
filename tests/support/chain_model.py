"""A whole model (``probe.model.Model``) in a test's hands: NumPy functions one behind the other."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from probe.description import Description
from probe.errors import BadInput, ForwardFailed, UnknownLayer
from probe.listing import Layer
from probe.model import Capture, InputSpec, OnCall

__all__ = ["ChainModel"]


@dataclass
class ChainModel:
    """Each layer is a function of one array, and the steps that are said to be what it computes."""

    chain: Mapping[str, tuple[Callable[[np.ndarray], np.ndarray], Description]]
    inputs: tuple[InputSpec, ...] | None = (InputSpec("x", (None, 3)),)
    source: str = "a chain of a test"
    framework: str = f"numpy {np.__version__}"
    notes: tuple[str, ...] = ()
    other_files: tuple[str, ...] = ()
    input_hint: str = ""
    input_index_bound: int | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(Layer(name, "function", ("numpy", "onnx")) for name in self.chain)

    def names(self) -> tuple[str, ...]:
        return tuple(self.chain)

    def may_be_operation(self, name: str) -> bool:
        return False

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        return ()

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        for name in self.chain:
            x = self._called(name, x, on_call if wanted is None or name in wanted else None)
        return (x,)

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        if name not in self.chain:
            raise UnknownLayer(name, list(self.chain))
        if len(inputs) != 1:
            raise BadInput(f"{name!r} takes one input; you gave {len(inputs)}")
        self._called(name, inputs[0], on_call)

    def _called(self, name: str, x: np.ndarray, on_call: OnCall | None) -> np.ndarray:
        function, description = self.chain[name]
        try:
            y = function(x)
        except ValueError as error:
            raise ForwardFailed(f"{name!r} failed: {error}") from error
        capture = Capture(name, "function", 0, (x.copy(),), (y.copy(),), y.dtype.name, description)
        replaced = None if on_call is None else on_call(capture)
        return y if replaced is None else np.asarray(replaced[0], y.dtype)
