"""The user's own values of several layers: which inputs of a layer they also hold, and which of
them were compared with nothing."""

from collections.abc import Hashable, Mapping, Sequence
from hashlib import sha256

import numpy as np

from probe.capture.user_arrays import Expected, as_outputs
from probe.errors import BadInput, NotCompared, ProbeError, UnknownLayer
from probe.model import CallOutput, Capture, Compiled, Model
from probe.report import Report

__all__ = ["Theirs", "check_names", "of_layer"]


class Theirs:
    """The values by name of layer, in the course of one forward pass on ``arrays``."""

    def __init__(self, arrays: Sequence[np.ndarray], expected: Mapping[str, Expected]):
        self._expected = expected
        self._inputs: dict[Hashable, np.ndarray] = {}
        """By the call that made them, and by what the framework has in their place."""
        self._names: dict[Hashable, str] = {}
        """Whose values those are."""
        self.used: set[str] = set()
        """The names whose values were inputs of a call that was asked for."""
        if expected:
            self._inputs |= {_key(array): np.asarray(array) for array in arrays}
        self._waiting: dict[str, str] = dict.fromkeys(expected, "")
        """What was not compared, and why as far as that is known."""

    def name_of(self, capture: Capture) -> str:
        """The name that the values of a call were given by."""
        for name in (capture.layer, capture.alias):
            if name is not None and name in self._expected:
                return name
        return capture.layer

    def of(self, capture: Capture) -> Expected:
        """The values of a call, which are those of the layer's first."""
        if capture.call:
            return None
        return self._expected.get(self.name_of(capture))

    def inputs_of(self, capture: Capture) -> tuple[np.ndarray, ...] | None:
        """The user's own inputs of a call, where all are known: what the call made them that the
        user has values of, or else one whose captured output is equal."""
        producers = capture.made_by or (None,) * len(capture.inputs)
        keys = [
            _key(array) if producer not in self._inputs else producer
            for producer, array in zip(producers, capture.inputs, strict=True)
        ]
        own = [self._inputs.get(key) for key in keys]
        if any(
            mine is None or mine.shape != array.shape
            for mine, array in zip(own, capture.inputs, strict=True)
        ):
            return None
        self.used |= {self._names[key] for key in keys if key in self._names}
        return tuple(mine for mine in own if mine is not None)

    def remember(self, capture: Capture) -> None:
        """Takes the values of a call for what the framework's outputs are in the user's own run."""
        if (mine := self.of(capture)) is None:
            return
        if capture.alias in self._expected and self.name_of(capture) != capture.alias:
            self.refused(str(capture.alias), f"it is {capture.layer!r}, which has values too")
        try:
            outputs = as_outputs(mine, len(capture.outputs))
        except BadInput:
            return  # judging says so
        for index, (output, array) in enumerate(zip(capture.outputs, outputs, strict=True)):
            if array is not None:
                maker = CallOutput(capture.layer, capture.call, index)
                self._inputs |= {_key(output): array, maker: array}
                self._names |= dict.fromkeys((_key(output), maker), self.name_of(capture))

    def compared(self, capture: Capture, report: Report) -> None:
        """Takes note of a report on the values of a call."""
        if any("expected" in pair for pair in report.comparisons):
            self._waiting.pop(self.name_of(capture), None)
        else:
            self.refused(self.name_of(capture), report.sentence.removeprefix("unchecked: "))

    def refused(self, layer: str, why: str) -> None:
        self._waiting[layer] = why

    def close(self, model: Model, arrays: Sequence[np.ndarray]) -> None:
        """Raises NotCompared where a name was used by no report, with the reason that a pass which
        asks for it finds."""
        if not self._waiting:
            return
        missed = [name for name, why in self._waiting.items() if not why]
        named = set(model.names())
        why_not: dict[str, str] = {
            name: "the forward pass made no call of this name"
            for name in missed
            if name not in named
        }
        asked = [name for name in missed if name in named]

        def met(capture: Capture) -> None:
            why_not.setdefault(
                capture.layer,
                capture.why or "a sweep checks it under another name or as part of another layer",
            )

        def ask(names: Sequence[str]) -> None:
            try:
                model.run(arrays, set(names), met)
            except ProbeError as error:
                if len(names) == 1:
                    why_not.setdefault(names[0], str(error))
                    return
                for name in names:
                    ask([name])

        if asked:
            ask(asked)
        reasons = {
            name: why or why_not.get(name, "the forward pass did not call it")
            for name, why in self._waiting.items()
        }
        raise NotCompared(reasons, len(self._expected))


def of_layer(
    layer: str | tuple[str, str], expected: Expected | Mapping[str, Expected]
) -> tuple[Expected, Mapping[str, Expected]]:
    """The values of one layer, and all where a mapping holds those of others too."""
    if not isinstance(expected, Mapping):
        return expected, {}
    if not isinstance(layer, str) or layer not in expected:
        raise BadInput(
            f"expected has values of {', '.join(map(str, expected)) or 'no layer'}, but none for "
            f"the layer {layer!r}"
        )
    return expected[layer], expected


def check_names(model: Model, expected: Mapping[str, Expected]) -> None:
    """Raises BadInput or UnknownLayer where the values cannot be those of layers of the model."""
    if not isinstance(expected, Mapping):
        raise BadInput(
            f"expected must map layer names to their outputs; you gave {type(expected).__name__}"
        )
    if not expected:
        raise BadInput("expected is empty: leave it out, or map layer names to their outputs")
    known = set(model.names())
    for name in expected:
        if not isinstance(name, str):
            raise BadInput(
                f'the names of layers must be text ("" for a single layer); you gave '
                f"{type(name).__name__}"
            )
        if name not in known and not model.may_be_operation(name):
            if isinstance(model, Compiled) and (why := model.compiled_into_graph(name)):
                raise BadInput(why)
            raise UnknownLayer(name, model.names())


def _key(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return array.shape, sha256(np.ascontiguousarray(array).tobytes()).digest()
