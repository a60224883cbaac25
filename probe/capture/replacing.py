"""The user's values in the place of layers' outputs: the rest of the model runs on them, and what
becomes of its outputs is told."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from probe import printable
from probe.capture.user_arrays import Expected, Unshaped, as_outputs, holds_numbers
from probe.capture.user_codes import codes_of
from probe.errors import BadInput, NotReached, UnknownLayer
from probe.listing import Layer
from probe.model import (
    AndEvery,
    Capture,
    Compiled,
    Containing,
    InputSpec,
    Model,
    NamesArrays,
    OnCall,
    Rounding,
    SeesCalls,
    recorded,
)
from probe.report.effect import Effect, OutputChange, changes, largest_change

__all__ = ["Replace", "Replacing", "effect_of", "replaced", "replacing"]

Replace: TypeAlias = Mapping[str, Expected]
"""The user's outputs by names of layers, with the number of a call where there are several:
"relu:1"."""

Arrays = tuple[np.ndarray, ...]


def replacing(model: Model, arrays: Sequence[np.ndarray], values: Replace | None) -> Model:
    """The model with these values in the place of layers' outputs; as it is where there are none.

    One pass on ``arrays`` tells what they replace. Raises BadInput, UnknownLayer or NotReached
    where they cannot.
    """
    if values is None:
        return model
    if not isinstance(values, Mapping):
        raise BadInput(
            f"replace must map layer names to their outputs; you gave {printable.kind(values)}"
        )
    if not values:
        raise BadInput("replace is empty: leave it out, or map layer names to their outputs")
    if (recording := recorded(model)) is not None:
        raise BadInput(
            f"{recording.path} is a recording, whose layers cannot run on other values (replace=, "
            "--replace): give the model"
        )
    named = {name: _called(model, name) for name in values}
    numbered = {layer for name, (layer, number) in named.items() if number is not None}
    if any(map(model.may_be_operation, numbered)):
        model.run(arrays, numbered, lambda _: None)  # "block/add:1" may be the name of another one
        named = {name: _called(model, name) for name in values}
    found: dict[str, list[Capture]] = {layer: [] for layer, _ in named.values()}

    def keep(capture: Capture) -> None:
        for layer, calls in found.items():
            if capture.goes_by(layer):
                calls.append(capture)

    outputs = model.run(arrays, set(found), keep)
    own: list[ReplacedCall] = []
    for name, (layer, number) in named.items():
        capture = _chosen(name, found[layer], layer, number)
        if any(other.capture.key == capture.key for other in own):
            raise BadInput(f"you gave values of {name!r} twice: give one array for each call")
        own.append(ReplacedCall(name, capture, _checked(name, values[name], capture)))
    return Replacing(model, tuple(arrays), own, outputs)


@dataclass(frozen=True, eq=False)
class ReplacedCall:
    """A call, and what takes the place of its outputs."""

    name: str
    """As the user gave it."""
    capture: Capture
    """The call on what the model itself hands it."""
    values: Arrays

    @cached_property
    def change(self) -> OutputChange:
        """Where the values differ most from what the model gives there."""
        return largest_change(self.capture.outputs, self.values)


class Replacing:
    """A model whose layers run on the user's values of some of them (``probe.model.Model``)."""

    def __init__(
        self, model: Model, arrays: Arrays, calls: Sequence[ReplacedCall], outputs: Arrays
    ) -> None:
        self.model = model
        self._arrays, self._outputs = arrays, outputs
        self._calls = {call.capture.key: call for call in calls}
        known = {layer.name for layer in model.layers}
        self._layers = frozenset(call.capture.layer for call in calls)
        self._beside = AndEvery(
            name for name in self._layers if name not in known and not model.may_be_operation(name)
        )
        """What a pass that asks for every layer does not push: blocks."""

    @cached_property
    def effect(self) -> Effect:
        """What becomes of the model's outputs; takes a pass."""
        outputs = self.run(self._arrays, (), lambda _: None)
        replaced = {call.name: call.change for call in self._calls.values()}
        return Effect(replaced, changes(self._outputs, outputs))

    @property
    def call_names(self) -> frozenset[str]:
        """The calls whose outputs were replaced, each with its number where that is not 0."""
        return frozenset(f"{layer}:{call}" if call else layer for layer, call in self._calls)

    def replaced(self, capture: Capture) -> str:
        """As the function of this name."""
        call = self._calls.get(capture.key)
        if call is None:
            return ""
        return f"by your values, {call.change.words}"

    def after(self, capture: Capture) -> Capture:
        """A call with what the rest of the model sees for its outputs."""
        call = self._calls.get(capture.key)
        return capture if call is None else replace(capture, outputs=call.values)

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        def push(capture: Capture) -> Sequence[np.ndarray] | None:
            if wanted is None:
                asked = capture.layer not in self._beside
            else:
                asked = any(map(capture.goes_by, wanted))
            given = on_call(self._within(capture)) if asked else None
            call = self._calls.get(capture.key)
            return given if call is None else call.values

        if wanted is None:
            return self.model.run(inputs, self._beside or None, push)
        return self.model.run(inputs, {*wanted, *self._layers}, push)

    def _within(self, capture: Capture) -> Capture:
        """A container in which the calls whose outputs were replaced are taken as they are."""
        if not capture.parts:
            return capture
        parts = tuple(part._replace(capture=self.opaque(part.capture)) for part in capture.parts)
        return replace(capture, parts=parts)

    def opaque(self, capture: Capture) -> Capture:
        """The same without what makes other outputs than these."""
        call = self._calls.get(capture.key)
        if call is None:
            return capture
        why = f"its output was replaced by your values of {call.name!r}"
        return replace(capture, outputs=call.values, description=None, why=why)

    # As the model itself has it.

    @property
    def source(self) -> str:
        return self.model.source

    @property
    def framework(self) -> str:
        return self.model.framework

    @property
    def notes(self) -> tuple[str, ...]:
        return self.model.notes

    @property
    def other_files(self) -> tuple[str, ...]:
        return self.model.other_files

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.model.layers

    @property
    def containers(self) -> tuple[Layer, ...]:
        return self.model.containers if isinstance(self.model, Containing) else ()

    @property
    def inputs(self) -> tuple[InputSpec, ...] | None:
        return self.model.inputs

    @property
    def input_hint(self) -> str:
        return self.model.input_hint

    @property
    def input_index_bound(self) -> int | None:
        return self.model.input_index_bound

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        return self.model.input_order(names)

    def argument_names(self) -> tuple[str, ...]:
        return self.model.argument_names() if isinstance(self.model, NamesArrays) else ()

    def output_names(self) -> tuple[str, ...]:
        return self.model.output_names() if isinstance(self.model, NamesArrays) else ()

    def names(self) -> tuple[str, ...]:
        return self.model.names()

    def may_be_operation(self, name: str) -> bool:
        return self.model.may_be_operation(name)

    def compiled_into_graph(self, name: str) -> str:
        return self.model.compiled_into_graph(name) if isinstance(self.model, Compiled) else ""

    def settings(self) -> AbstractContextManager[None]:
        return self.model.settings()

    def rounding_otherwise(self, seed: int) -> AbstractContextManager[object] | None:
        return self.model.rounding_otherwise(seed) if isinstance(self.model, Rounding) else None

    def unseen_input(self, layer: str, inputs: Sequence[np.ndarray]) -> str:
        return self.model.unseen_input(layer, inputs) if isinstance(self.model, SeesCalls) else ""

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        self.model.run_alone(name, inputs, on_call)


def replaced(model: Model, capture: Capture) -> str:
    """By what the output of a call was replaced in what follows it; "" where it was not."""
    return model.replaced(capture) if isinstance(model, Replacing) else ""


def effect_of(model: Model) -> Effect | None:
    """What becomes of the model's outputs; None where no layer's was replaced."""
    return model.effect if isinstance(model, Replacing) else None


def _called(model: Model, name: str) -> tuple[str, int | None]:
    """The layer that a name is of, and which of its calls: "relu:1"."""
    if not isinstance(name, str):
        raise BadInput(
            f"the names of layers in replace must be text; you gave {printable.kind(name)}"
        )
    known = set(model.names())
    layer, number = name, None
    before, colon, digits = name.rpartition(":")
    if name not in known and colon and digits.isdecimal():
        layer, number = before, int(digits)
    if not layer:
        raise BadInput(
            "nothing runs after the model as a whole, so its output cannot be replaced: give "
            "your values of it with --expect (expected=)"
        )
    if layer not in known and not model.may_be_operation(layer):
        if isinstance(model, Compiled) and (why := model.compiled_into_graph(layer)):
            raise BadInput(why)
        raise UnknownLayer(layer, model.names())
    return layer, number


def _chosen(name: str, calls: Sequence[Capture], layer: str, number: int | None) -> Capture:
    """The call that values replace the output of."""
    if not calls:
        raise NotReached(
            f"the forward pass did not call {layer!r}, so there is no output to replace"
        )
    if number is None and len(calls) > 1:
        raise BadInput(
            f"{layer!r} is called {len(calls)} times: give the number of the call that your values "
            f"replace, from {layer}:0 to {layer}:{len(calls) - 1}"
        )
    if number is not None and number >= len(calls):
        raise BadInput(
            f"{layer!r} is called {len(calls)} times; call {number} does not exist (calls are "
            "numbered from 0)"
        )
    capture = calls[number or 0]
    if not all(map(holds_numbers, capture.outputs)) or not capture.outputs:
        raise BadInput(
            f"{name!r} gives no arrays of numbers that could be replaced"
            f"{': ' * bool(capture.why)}{capture.why}"
        )
    return capture


def _checked(name: str, given: Expected, capture: Capture) -> Arrays:
    """The values of each output, those of the model where none are given; BadInput where they
    cannot take its place."""
    outputs = capture.outputs
    if isinstance(given, Unshaped) and given.values.size == outputs[0].size:
        given = given.values.reshape(outputs[0].shape)
    try:
        arrays = as_outputs(given, len(outputs))
    except BadInput as error:
        raise BadInput(f"your values of {name!r} cannot replace its output: {error}") from None
    grids = capture.output_grids or (None,) * len(outputs)
    codes = [
        array if array is None or grid is None else codes_of(array, grid)[0]
        for array, grid in zip(arrays, grids, strict=True)
    ]
    return tuple(
        own if array is None else _fitting(f"your values of {name!r}", array, own)
        for own, array in zip(outputs, codes, strict=True)
    )


def _fitting(words: str, array: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The values in the type of the output that they replace."""
    if array.shape != own.shape:
        turned = " in another order of axes" * (sorted(array.shape) == sorted(own.shape))
        raise BadInput(
            f"{words} have the shape {array.shape}{turned}; the output that they replace has "
            f"{own.shape}"
        )
    with np.errstate(all="ignore"):
        values = array.astype(own.dtype)
        wrong = np.isnan(array) & ~np.isnan(own) if array.dtype.kind == "f" else np.zeros(1, bool)
        why = "which the layers after it would spread"
        if not wrong.any() and own.dtype.kind == "f":
            wrong, why = np.isinf(values) & np.isfinite(array), f"beyond what {own.dtype} holds"
        elif not wrong.any():
            wrong, why = values != array, f"which {own.dtype}, the type of its output, cannot hold"
    if not wrong.any():
        return values
    index = tuple(int(k) for k in np.argwhere(wrong)[0])
    place = ", ".join(map(str, index))
    raise BadInput(f"{words} have {array[index]} at [{place}], {why}")
