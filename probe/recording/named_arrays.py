"""Outputs alone: arrays by the names of layers, as another program wrote them, which can be listed
and compared with but hold no layer that could be checked."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from probe.capture.printed_tensors import PrintedTensor
from probe.command_line import joined
from probe.errors import BadInput
from probe.listing import Layer
from probe.model import InputSpec, OnCall

__all__ = ["NamedArrays"]


class NamedArrays:
    """What ``probe.open_model`` returns for them (``probe.model.Model``)."""

    framework = "outputs alone"
    notes: tuple[str, ...] = ()
    other_files: tuple[str, ...] = ()
    input_hint = ""
    input_index_bound = None
    inputs: tuple[InputSpec, ...] | None = ()

    def __init__(self, source: str, arrays: Mapping[str, np.ndarray | PrintedTensor]) -> None:
        self.source, self._arrays = source, arrays

    def outputs_alone(self) -> Mapping[str, np.ndarray | PrintedTensor]:
        """The arrays."""
        return self._arrays

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(
            Layer(name, array.dtype.name, (), "outputs alone", array.shape)
            for name, array in self._arrays.items()
        )

    def names(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    def may_be_operation(self, name: str) -> bool:
        return False

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        return ()

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        command = joined(["probe", "MODEL", "--all", "--expect", self.source])
        raise BadInput(
            f"{self.source} contains only outputs, and no layer to check: give the model, and the "
            f"outputs as your values: {command}"
        )

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        self.run(inputs, {name}, on_call)
