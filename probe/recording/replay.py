"""A recorded forward pass made again from other numbers: what follows from what was moved is
computed in NumPy, all else stays as it was recorded."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probe.evaluation.reference import values_of
from probe.model import CallOutput, Capture, ModelInput

__all__ = ["Replay", "Source", "sources_of"]

Source = tuple[int, int]
"""The place of a call, -1 for the model's input, and which of its outputs."""
_TOLD_APART = 16
"""An array of more different numbers than that is told from others by its values."""


def sources_of(
    calls: Sequence[Capture], arrays: Sequence[np.ndarray]
) -> list[tuple[Source | None, ...]]:
    """Where each input of each call comes from: what made it, or else the one array before it that
    holds the same numbers. A recording has equal arrays once."""
    places: dict[tuple[str, int], int] = {}
    alike: dict[int, list[Source]] = {}
    for k, array in enumerate(arrays):
        alike.setdefault(id(array), []).append((-1, k))
    by_call: list[tuple[Source | None, ...]] = []
    for place, call in enumerate(calls):
        makers = call.made_by or (None,) * len(call.inputs)
        sources: list[Source | None] = []
        for k, (maker, array) in enumerate(zip(makers, call.inputs, strict=True)):
            source: Source | None = None
            if isinstance(maker, ModelInput) and maker.position < len(arrays):
                source = -1, maker.position
            elif isinstance(maker, CallOutput) and (maker.layer, maker.call) in places:
                source = places[maker.layer, maker.call], maker.output
            elif k not in call.fixed:
                same = alike.get(id(array), [])
                if len(same) == 1 and np.unique(array).size > _TOLD_APART:
                    (source,) = same
            sources.append(source)
        by_call.append(tuple(sources))
        places[call.key] = place
        for k, array in enumerate(call.outputs):
            alike.setdefault(id(array), []).append((place, k))
    return by_call


class Replay:
    """One pass. It holds what was moved, and that no longer than a later call takes it."""

    def __init__(
        self,
        calls: Sequence[Capture],
        sources: Sequence[Sequence[Source | None]],
        arrays: Sequence[np.ndarray],
    ) -> None:
        self._calls, self._sources, self._arrays = calls, sources, arrays
        self._moved: dict[Source, np.ndarray] = {}

    def begin(self, inputs: Sequence[np.ndarray]) -> None:
        """Says what the model is run on."""
        for k, (array, held) in enumerate(zip(inputs, self._arrays, strict=False)):
            if array is not held:
                self._moved[-1, k] = np.array(array)

    def moves(self, place: int) -> bool:
        """Whether a call is given other numbers than were recorded."""
        return any(source in self._moved for source in self._sources[place])

    def call(self, place: int, capture: Capture) -> Capture:
        """The call as it is in this pass."""
        if not self.moves(place):
            return capture
        inputs = tuple(
            array if source is None else self._moved.get(source, array)
            for source, array in zip(self._sources[place], capture.inputs, strict=True)
        )
        capture = replace(capture, inputs=inputs)
        outputs = self._computed(capture)
        self.replace(place, outputs)
        return replace(capture, outputs=tuple(outputs))

    def replace(self, place: int, outputs: Sequence[np.ndarray]) -> None:
        """Puts other outputs in the place of a call's own."""
        for k, (array, held) in enumerate(zip(outputs, self._calls[place].outputs, strict=True)):
            self._moved[place, k] = np.asarray(array, held.dtype)

    @staticmethod
    def _computed(capture: Capture) -> Sequence[np.ndarray]:
        """What NumPy gives for it; a call without description stays as it was recorded."""
        if capture.description is None:
            return capture.outputs
        values = values_of(capture)[-1]
        return [
            np.asarray(array, held.dtype)
            for array, held in zip(values, capture.outputs, strict=True)
        ]
