"""One forward pass on its way into a store: the index, and each call as data, with the numbers of
its arrays."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from probe import __version__
from probe.capture.containers import keeping
from probe.capture.earlier_calls import resuming
from probe.capture.producers import digest
from probe.capture.watching import watching
from probe.description import weights_of
from probe.errors import Undescribed, UnknownLayer
from probe.listing import Layer
from probe.model import CallOutput, Capture, Containing, Model
from probe.process.interrupts import held_back, interruptible
from probe.process.one_thread import one_thread
from probe.recording.index import sealed
from probe.recording.interrupted import Interrupted
from probe.recording.origin import digest_of, versions
from probe.recording.plain_data import as_data
from probe.recording.store import SCHEMA, Arrays, Store

__all__ = ["Writer"]

_CALLS, _INSIDE = "calls", "calls_inside"
"""The passes of one recording: of the sweep's calls, and of blocks with what they call."""


class Writer:
    """One forward pass on its way into a store."""

    def __init__(
        self,
        store: Store,
        model: Model,
        layers: Collection[str] | None,
        progress: Callable[[str], None] | None,
        earlier: Interrupted | None,
    ) -> None:
        self._store, self._model, self._layers, self._progress = store, model, layers, progress
        self._earlier = earlier
        self._arrays = Arrays(store)
        self._made: dict[CallOutput, int] = {}
        """The array that a call gave, by its number."""
        self._read: dict[Hashable, int] = {}
        """What was read before, by what it is of and a quick digest: blocks have the calls of the
        sweep again."""
        self._alone: dict[
            tuple[str, int], tuple[Callable[[], tuple[np.ndarray, ...]], list[dict[str, Any]]]
        ] = {}
        """What exports calls without description, and their entries."""
        self._numbers: dict[int, int] = {}
        """The place among the calls inside of blocks, by the id of what a block has of it."""
        self._had: list[Capture] = []
        """What blocks have of them, which is kept for its id."""
        self._unseen: list[tuple[dict[str, Any], Callable[[], str]]] = []
        self._calls: list[dict[str, Any]] = []
        self._inside: list[dict[str, Any]] = []
        self._blocks: list[dict[str, Any]] = []

    def write(self, arrays: tuple[np.ndarray, ...], how: str, seed: int) -> None:
        model = self._model
        inputs = [self._kept(array, f"input{k}") for k, array in enumerate(arrays)]
        with held_back(), one_thread(), interruptible():  # as in a sweep
            if not (outputs := self._at_once(arrays)):
                with resuming(partial(self._output_of, _CALLS)):
                    outputs = model.run(arrays, None, self._call)
                self._made.clear()
                if names := self._asked_by_name():
                    self._run_blocks(arrays, names)
                self._ask_unseen()
            notes = watching(model, arrays, outputs)
        self._ask_exporters()
        index = {
            "schema": SCHEMA,
            "probe": __version__,
            "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "model": {
                "source": model.source,
                "sha256": digest_of(model),
                "framework": model.framework,
                "versions": versions(),
                "notes": list(model.notes),
            },
            "input": {
                "how": how,
                "seed": seed,
                "arrays": inputs,
                "specs": None if model.inputs is None else self._data(model.inputs),
            },
            "outputs": [self._kept(output, f"output{k}") for k, output in enumerate(outputs)],
            "watching": list(notes),
            "only": None if self._layers is None else sorted(self._layers),
            "layers": self._data(model.layers),
            "blocks": self._data(self._containers()),
            "names": list(model.names()),
            "calls": self._calls,
            "calls_inside": self._inside,
            "calls_of_blocks": self._blocks,
            "arrays": self._arrays.table,
        }
        self._store.finish(sealed(index))

    def _at_once(self, arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """One pass for calls and blocks, where all calls are made within the model as a whole and
        none of its values comes from nowhere; else ()."""
        names = {block.name for block in self._containers()}
        if self._layers is not None or "" not in names:
            return ()
        outputs = self._run_blocks(arrays, names)
        self._ask_unseen()
        if not self._inside or any(block["unseen"] for block in self._blocks):
            self._blocks, self._inside, self._unseen, self._had = [], [], [], []
            for table in (self._numbers, self._made, self._alone):
                table.clear()
            return ()
        self._calls = self._inside
        return outputs

    def _containers(self) -> tuple[Layer, ...]:
        if isinstance(self._model, Containing):
            return self._model.containers
        return ()

    def _run_blocks(
        self, arrays: tuple[np.ndarray, ...], names: set[str]
    ) -> tuple[np.ndarray, ...]:
        with keeping(self._call_inside), resuming(partial(self._output_of, _INSIDE)):
            return self._model.run(arrays, names, self._block)

    def _call(self, capture: Capture) -> None:
        if self._wanted(capture.layer, capture.alias):
            self._tell(capture)
            self._calls.append(self._call_entry(_CALLS, capture))

    def _call_inside(self, capture: Capture) -> Capture:
        """A call within blocks: they have no more of it than its name, so that it need not stay."""
        self._tell(capture)
        light = replace(
            capture,
            inputs=(),
            outputs=(),
            description=None,
            alone=None,
            again=None,
            changed=None,
            constants=None,
        )
        self._number(light, capture)
        return light

    def _number(self, had: Capture, whole: Capture) -> int:
        if id(had) not in self._numbers:
            self._numbers[id(had)] = len(self._inside)
            self._had.append(had)
            self._inside.append(self._call_entry(_INSIDE, whole))
        return self._numbers[id(had)]

    def _block(self, capture: Capture) -> None:
        self._tell(capture)
        parts = [[self._number(part.capture, part.capture), part.path] for part in capture.parts]
        entry = self._entry(replace(capture, parts=()))
        if capture.unseen is not None:
            entry["parts"] = parts
            self._unseen.append((entry, capture.unseen))
        self._blocks.append(entry)

    def _composed(self, entry: Mapping[str, Any]) -> bool:
        """Whether a block has a description of its calls."""
        inside = [self._inside[number]["capture"] for number, _ in entry.get("parts", ())]
        return (
            bool(inside) and not entry["unseen"] and all("description" in call for call in inside)
        )

    def _ask_unseen(self) -> None:
        """What each block says of values that came from nowhere, which may run the model again:
        nothing where the model as a whole has nothing to say."""
        whole = next((ask for entry, ask in self._unseen if not entry["capture"]["layer"]), None)
        nothing = whole is not None and not whole()
        for entry, ask in self._unseen:
            entry["unseen"] = "" if nothing else ask()

    def _wanted(self, *names: str | None) -> bool:
        asked = self._layers
        if asked is None:
            return True
        return any(
            name is not None and _matches(name, pattern) for name in names for pattern in asked
        )

    def _asked_by_name(self) -> set[str]:
        """The blocks, and what a sweep has no call of but is asked for."""
        model = self._model
        blocks = self._containers()
        swept = {entry["capture"]["layer"] for entry in self._calls}
        if self._layers is not None:
            others = set(model.names()) - swept
        else:
            others = set[str]()
        names = {
            name for name in {*(block.name for block in blocks), *others} if self._wanted(name)
        }
        for pattern in self._layers or ():
            if not any(_matches(name, pattern) for name in swept | names):
                raise UnknownLayer(pattern, model.names())
        return names

    def _tell(self, capture: Capture) -> None:
        if self._progress is not None:
            self._progress(capture.layer)

    def _output_of(
        self, place: str, layer: str, call: int, inputs: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, str] | None:
        if self._earlier is None:
            return None
        return self._earlier.output(place, layer, call, inputs, self._arrays)

    def _call_entry(self, place: str, capture: Capture) -> dict[str, Any]:
        """A call of a layer as data: as an interrupted recording has it, where it was not made
        again."""
        name = place, capture.layer, capture.call
        earlier = None if self._earlier is None else self._earlier.entry(*name)
        if earlier is None:
            entry = self._entry(capture)
            if "description" in entry["capture"] and len(entry["capture"]["outputs"]) == 1:
                self._store.add_call({"call": name, "entry": entry})
            return entry
        (output,) = earlier["capture"]["outputs"]
        self._made[CallOutput(capture.layer, capture.call, 0)] = output["array"]
        return dict(earlier)

    def _entry(self, capture: Capture) -> dict[str, Any]:
        """A call as data; one whose description or arrays have no form in a file says so."""
        # What calls the model is left out.
        plain = replace(capture, alone=None, again=None, constants=None, unseen=None)
        plain = replace(plain, changed=None, held=None)
        if plain.description is not None:
            plain = replace(plain, description=replace(plain.description, kernels=None))
        try:
            data = self._captured(plain)
        except Undescribed as error:
            plain = replace(plain, description=None, why=f"a recording cannot keep it: {error}")
            try:
                data = self._captured(plain)
            except Undescribed:
                nothing: dict[str, Any] = dict.fromkeys(
                    ("inputs", "outputs", "made_by", "fixed", "masks", "input_names"), ()
                )
                data = self._captured(replace(plain, **nothing))
        entry = {"capture": data}
        if capture.alone is not None:
            self._alone.setdefault(capture.key, (capture.alone, []))[1].append(entry)
        return entry

    def _captured(self, capture: Capture) -> Any:
        """The call as data. An input that an earlier call gave is not read again."""
        known: dict[int, int] = {}
        makers = capture.made_by or (None,) * len(capture.inputs)
        for k, (maker, array) in enumerate(zip(makers, capture.inputs, strict=True)):
            number = self._made.get(maker) if isinstance(maker, CallOutput) else None
            if number is None:
                known[id(array)] = self._kept(array, f"input{k}", capture)
            else:
                known[id(array)] = number
        for k, array in enumerate(capture.outputs):
            number = known[id(array)] = self._kept(array, f"output{k}", capture)
            self._made[CallOutput(capture.layer, capture.call, k)] = number
        for weight in weights_of(capture.steps).values():
            known[id(weight.effective)] = self._kept(weight.effective, weight.name, capture)
            if weight.stored is not None:
                stored = f"{weight.name}.stored"
                known[id(weight.stored)] = self._kept(weight.stored, stored, capture)
        return self._data(capture, known)

    def _ask_exporters(self) -> None:
        for alone, entries in self._alone.values():
            if all(map(self._composed, entries)):
                continue  # no exporter is asked, which takes a second for each
            exported = self._exported(alone)
            for entry in entries:
                entry["exported"] = exported

    def _exported(self, alone: Callable[[], tuple[np.ndarray, ...]]) -> Any:
        """What the framework's exporter makes of a call without description."""
        try:
            return [self._kept(array, "exported") for array in alone()]
        except Undescribed as error:
            return str(error)

    def _data(self, value: Any, known: Mapping[int, int] = MappingProxyType({})) -> Any:
        def keep(array: np.ndarray) -> int:
            number = known.get(id(array))
            if number is None:
                return self._arrays.keep(array, "array")
            return number

        return as_data(value, keep)

    def _kept(self, array: np.ndarray, words: str, of: Capture | None = None) -> int:
        """The number of an array, whose name in the file says what it is, and of which call."""
        name = words
        if of is not None:
            call = str(of.call) if of.call else ""
            name = ".".join(filter(None, (of.layer or "model", call, words)))
        key = name, array.shape, array.strides, array.dtype.str, digest(array)
        if key not in self._read:
            self._read[key] = self._arrays.keep(array, name)
        return self._read[key]


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)
