"""A recording as a model (``probe.model.Model``): its forward pass is the one that was written
down."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probe import printable
from probe.command_line import joined
from probe.description import Step
from probe.errors import BadInput, CannotOpen, Undescribed, UnknownLayer
from probe.listing import Layer, Shown, shaped
from probe.model import (
    CallOutput,
    Capture,
    Held,
    InputSpec,
    OnCall,
    Part,
    RecordedPass,
)
from probe.ops import ByParts, Chain, Op
from probe.ops.weight import grid_fits, leads_to_op
from probe.recording.members import FolderMembers, Table, ZipMembers
from probe.recording.plain_data import Unfit, all_weights, from_data
from probe.recording.replay import Replay, Source, sources_of

__all__ = ["Recording"]

_SHA256 = re.compile("[0-9a-f]{64}")
_NESTED = 16
"""How deep ops may lie within ops."""


@dataclass(frozen=True, eq=False)
class _Call:
    """A call, the numbers of its arrays, and of a block those of its calls."""

    capture: Capture
    arrays: tuple[int, ...]
    parts: tuple[tuple[int, str], ...] = ()


class Recording(Shown):
    """What ``probe.open_model`` returns for a recording. Raises Unfit where what stands in the
    index cannot be meant."""

    other_files: tuple[str, ...] = ()
    input_hint = ""
    input_index_bound = None

    def __init__(
        self, path: Path, members: ZipMembers | FolderMembers, index: Mapping[str, Any]
    ) -> None:
        self._path, self._members = path, members
        self._table = Table(members, index.get("arrays"))
        model, entry = _mapping(index, "model"), _mapping(index, "input")
        written = _text(index, "written")
        self.source, framework = _text(model, "source"), _text(model, "framework")
        self.framework = f"{framework}, recorded {written} in {path}"
        self.notes = _texts(model, "notes")
        self.layers: tuple[Layer, ...] = self._all(index.get("layers"), Layer)
        self.containers: tuple[Layer, ...] = self._all(index.get("blocks"), Layer)
        self.inputs: tuple[InputSpec, ...] | None = (
            None if entry.get("specs") is None else self._all(entry["specs"], InputSpec)
        )
        self._names = _texts(index, "names")
        self._only = None if index.get("only") is None else _texts(index, "only")
        seed = entry.get("seed")
        if type(seed) is not int:
            raise Unfit("a seed that is not a number")
        self._pass = RecordedPass(
            str(path),
            self._arrays(entry.get("arrays")),
            _text(entry, "how"),
            seed,
            _texts(index, "watching"),
            _digest(model),
        )
        self._outputs = self._arrays(index.get("outputs"))
        calls, inside = index.get("calls"), index.get("calls_inside")
        self._calls = self._ordered(calls)
        # all of a model that is a block itself
        self._inside = self._calls if inside == calls else self._ordered(inside)
        blocks = self._ordered(index.get("calls_of_blocks"))
        self._blocks = [(self._place(block), block) for block in blocks]
        if self._only is not None:  # what was left out is known by nothing
            held = {entry.capture.layer for entry in (*self._calls, *blocks)}
            self.layers = tuple(layer for layer in self.layers if layer.name in held)
            self.containers = tuple(
                container for container in self.containers if container.name in held
            )
        self.layers = shaped(self.layers, (entry.capture for entry in self._calls))
        self.containers = shaped(self.containers, (entry.capture for entry in blocks))

    # What it holds

    def recorded(self) -> RecordedPass:
        return self._pass

    @property
    def called_layers(self) -> tuple[str, ...]:
        """Of which layer each call is, in the order of execution."""
        return tuple(entry.capture.layer for entry in self._calls)

    def untraced(self, layer: str, call: int) -> str:
        calls = [entry.capture for entry in self._calls]
        places = {capture.key: place for place, capture in enumerate(calls)}
        waiting = [places[layer, call]] if (layer, call) in places else []
        seen, entries = set(waiting), list[str]()
        while waiting:
            place = waiting.pop()
            capture = calls[place]
            if capture.description is None and capture.key != (layer, call):
                entries.append(repr(capture.layer))
                continue
            for k, source in enumerate(self._sources[place]):
                if (
                    source is None
                    and k not in capture.fixed
                    and capture.inputs[k].dtype.kind == "f"
                ):
                    entries.append(f"what made input {k} of {capture.layer!r}")
                elif source is not None and source[0] >= 0 and source[0] not in seen:
                    seen.add(source[0])
                    waiting.append(source[0])
        if entries:
            return printable.several(entries, 3)
        return ""

    def names(self) -> tuple[str, ...]:
        return self._names

    def may_be_operation(self, name: str) -> bool:
        return False

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        return ()

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        """The recorded pass. What is given another input, or outputs in place of its own, is
        computed again in NumPy, and so is all that follows from it."""
        self._refuse(wanted)
        replay = Replay([entry.capture for entry in self._calls], self._sources, self._pass.arrays)
        replay.begin(inputs)
        blocks = {block.capture.layer for _, block in self._blocks}
        for place, call in enumerate(self._calls if wanted is None or wanted else ()):
            asked = wanted is None or any(
                call.capture.goes_by(name) and name not in blocks for name in wanted
            )
            if asked or replay.moves(place):
                capture = replay.call(place, self._checked(call))
                replacement = on_call(capture) if asked else None
                if replacement is not None:
                    replay.replace(place, replacement)
            for _, block in self._blocks_after(place, wanted):
                on_call(self._block(block))
        for _, block in self._blocks_after(-1, wanted):
            on_call(self._block(block))
        return self._outputs

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        raise BadInput(
            f"{self._path} holds one forward pass: {name!r} cannot run alone on another input "
            "without the model"
        )

    # Its calls

    def _refuse(self, wanted: Collection[str] | None) -> None:
        """Raises BadInput where a name is one of the model's and was not recorded, UnknownLayer
        where it is none."""
        if not wanted:
            return
        held = {
            name
            for entry in (*self._calls, *(block for _, block in self._blocks))
            for name in (entry.capture.layer, entry.capture.alias)
        }
        whole = {layer.name for layer in (*self.layers, *self.containers)} if not self._only else ()
        for name in wanted:
            if name in held or name in whole:
                continue
            if name not in self._names:
                raise UnknownLayer(name, self._names)
            record = joined(["probe", "record", "MODEL", "--layer", name, "-o", "run.npz"])
            raise BadInput(f"{self._path} does not hold {name!r}: record it by its name: {record}")

    def _checked(self, call: _Call) -> Capture:
        """The call, once the bytes of its arrays are known to be those that were written."""
        try:
            for number in call.arrays:
                self._table.check(number)
        except Unfit as error:
            raise CannotOpen(f"{self._path} is a damaged recording: {error}") from None
        return call.capture

    def _block(self, call: _Call) -> Capture:
        capture = self._checked(call)
        if capture.unseen is None:
            return capture
        parts = tuple(
            Part(self._checked(self._inside[number]), path) for number, path in call.parts
        )
        return replace(capture, parts=parts)

    def _blocks_after(
        self, place: int, wanted: Collection[str] | None
    ) -> Iterator[tuple[int, _Call]]:
        return (
            (at, block)
            for at, block in self._blocks
            if at == place and wanted is not None and block.capture.layer in wanted
        )

    def _place(self, block: _Call) -> int:
        """The last call before the block ends; -1 where that is not known."""
        inside = {self._inside[number].capture.key for number, _ in block.parts}
        return max(
            (place for place, entry in enumerate(self._calls) if entry.capture.key in inside),
            default=-1,
        )

    @cached_property
    def _sources(self) -> list[tuple[Source | None, ...]]:
        return sources_of([entry.capture for entry in self._calls], self._pass.arrays)

    # What stands in the index

    def _arrays(self, numbers: Any) -> tuple[np.ndarray, ...]:
        if not isinstance(numbers, list):
            raise Unfit("no list of arrays")
        return tuple(map(self._table.array, numbers))

    def _all(self, entries: Any, kind: type) -> Any:
        if isinstance(entries, list):
            values = from_data(entries, self._table.array)
            if all(type(value) is kind for value in values):
                return values
        raise Unfit(f"no list of {kind.__name__}s")

    def _ordered(self, entries: Any) -> list[_Call]:
        """Calls in the order of execution: none takes what a later one gives."""
        if not isinstance(entries, list):
            raise Unfit("no list of calls")
        found = [self._call(entry) for entry in entries]
        places = {entry.capture.key: place for place, entry in enumerate(found)}
        for place, entry in enumerate(found):
            for maker in entry.capture.made_by:
                if isinstance(maker, CallOutput) and (
                    places.get(maker[:2], -1) >= place and entry.capture.layer != maker.layer
                ):
                    raise Unfit(
                        f"the call {entry.capture.layer!r:.100} takes what a later one gives"
                    )
        return found

    def _call(self, entry: Any) -> _Call:
        numbers: list[int] = []

        def array(number: Any) -> np.ndarray:
            found = self._table.array(number)
            numbers.append(number)
            return found

        if not isinstance(entry, dict):
            raise Unfit("an entry of a call that is not an object")
        capture = from_data(entry.get("capture"), array)
        if not isinstance(capture, Capture):
            raise Unfit("an entry that is not a call")
        if capture.description is not None:
            _refuse_references(capture.description.steps, len(capture.inputs))
            for weight in all_weights(capture.description.steps):
                if not leads_to_op(weight):
                    raise Unfit(
                        f"the weight {weight.name!r:.100} with other rows, axes or sizes than its "
                        "array"
                    )
        if any(place is not None and place >= len(capture.inputs) for place in capture.fixed):
            raise Unfit(f"the call {capture.layer!r:.100} without the input that it says is fixed")
        if len(capture.made_by) not in (0, len(capture.inputs)):
            raise Unfit(f"the call {capture.layer!r:.100} with the sources of other inputs")
        if len(capture.input_names) not in (0, len(capture.inputs)):
            raise Unfit(f"the call {capture.layer!r:.100} with the names of other inputs")
        for grids, codes in (
            (capture.input_grids, capture.inputs),
            (capture.output_grids, capture.outputs),
        ):
            if grids and not (len(grids) == len(codes) and all(map(grid_fits, grids, codes))):
                raise Unfit(f"the call {capture.layer!r:.100} with codes of other arrays")
        if "exported" in entry:
            capture = replace(capture, alone=self._exported(entry["exported"], array))
        parts: tuple[tuple[int, str], ...] = ()
        if "unseen" in entry:
            unseen, parts = entry["unseen"], self._parts(entry.get("parts"))
            if not isinstance(unseen, str):
                raise Unfit("a block that does not say what was not captured")
            if len(capture.results) != len(capture.outputs):
                raise Unfit(f"the block {capture.layer!r:.100} with the sources of other outputs")
            capture = replace(capture, unseen=lambda: unseen)
        arrays = tuple(dict.fromkeys(numbers))
        inside = [self._inside[number].capture.held for number, _ in parts]
        size = sum(map(self._table.size, arrays)) + sum(part.bytes for part in inside if part)
        return _Call(replace(capture, held=Held(str(self._path), size)), arrays, parts)

    def _parts(self, entries: Any) -> tuple[tuple[int, str], ...]:
        if not isinstance(entries, list):
            raise Unfit("a block without calls")
        for part in entries:
            if not (
                isinstance(part, list)
                and len(part) == 2
                and type(part[0]) is int
                and 0 <= part[0] < len(self._inside)
                and isinstance(part[1], str)
            ):
                raise Unfit(f"a block with the call {part!r:.60}, which does not exist")
        return tuple((number, path) for number, path in entries)

    def _exported(
        self, entry: Any, array: Callable[[Any], np.ndarray]
    ) -> Callable[[], tuple[np.ndarray, ...]]:
        if isinstance(entry, list):
            arrays = tuple(map(array, entry))
            return lambda: arrays

        def refuse() -> tuple[np.ndarray, ...]:
            raise Undescribed(str(entry))

        return refuse


def _refuse_references(steps: Sequence[Step], inputs: int, depth: int = 0) -> None:
    """Raises Unfit where a step takes what is not there yet, or ops lie within ops without end."""
    if depth > _NESTED:
        raise Unfit("ops nested too deeply")
    if not steps:
        raise Unfit("a description without steps")
    for position, step in enumerate(steps):
        if not isinstance(step.op, Op):
            raise Unfit("a step without an op")
        for ref in step.sources(position):
            known = position if ref.step >= 0 else 0
            if not (-1 <= ref.step < position or (ref.step == -1 and not known)) or (
                ref.index < 0 or (ref.step == -1 and ref.index >= inputs)
            ):
                raise Unfit(f"a step that takes {ref}, which does not exist")
        if isinstance(step.op, ByParts):
            _refuse_references(step.op.steps, 1 << 16, depth + 1)
        _refuse_nested(step.op, depth)


def _refuse_nested(op: Op, depth: int) -> None:
    if isinstance(op, Chain):
        if depth > _NESTED:
            raise Unfit("ops nested too deeply")
        for part in op.parts:
            _refuse_nested(part, depth + 1)


def _mapping(index: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = index.get(key)
    if not isinstance(found, dict):
        raise Unfit(f"no entry {key!r}")
    return found


def _text(index: Mapping[str, Any], key: str) -> str:
    found = index.get(key)
    if not isinstance(found, str):
        raise Unfit(f"no text {key!r}")
    return found


def _digest(model: Mapping[str, Any]) -> str | None:
    found = model.get("sha256")
    if found is not None and not (isinstance(found, str) and _SHA256.fullmatch(found)):
        raise Unfit("a checksum of the model that is none")
    return found


def _texts(index: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = index.get(key)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise Unfit(f"no list of texts {key!r}")
    return tuple(found)
