"""A container as one layer: the steps of the calls that it makes, put together along the data flow.

What made an array is known by its tensor's identity (``Capture.made_by``); where it is not, the one
array before it that holds the same numbers is what it was. What neither finds is a constant where
the adapter says so (``Capture.fixed``), and is else taken as it was captured, which has to be said.
"""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from probe.composition.called_again_step import with_calls_again
from probe.description import (
    Builder,
    Description,
    Grid,
    Ref,
    Site,
    Step,
    Taken,
    Weight,
    field_names,
)
from probe.model import Argument, CallOutput, Capture, Part, Producer, WorkedOut
from probe.numerics.precision import precision_of
from probe.ops import Cast, Constant, Op, Outputs, Stored

__all__ = ["composed"]

_TOLD_APART = 16
"""An array of more different numbers than that is told from others by its values."""


def composed(container: Capture, reached: Collection[int] | None = None) -> Capture:
    """The container with a description, and in ``parts`` the calls that make its outputs; without
    one, and with why, where it cannot be composed.

    Of a segment ``reached`` are the places of its calls among the ``parts``.
    """
    why = ""
    if container.unseen is not None:
        why = container.unseen()
    why = why or _undescribed(container)
    if why:
        return replace(container, why=why)
    whole = _composed(container, reached)
    assert whole.description is not None
    pinned = any(not taken.why and taken.call >= 0 for taken in whole.description.taken)
    if pinned or any(part.capture.constants or part.capture.again for part in whole.parts):
        return replace(whole, opened=partial(_composed, container, reached, opened=True))
    return whole


def _composed(
    container: Capture, reached: Collection[int] | None, *, opened: bool = False
) -> Capture:
    if opened:
        container = with_calls_again(container)
    build = _Composition(container, reached, opened)
    description = build.description()
    return replace(
        container,
        inputs=build.inputs,
        dtype=_coarsest(build.live, container.dtype),
        description=description,
        why="",
        made_by=tuple(build.makers),
        input_names=tuple(build.names) if any(build.names) else (),
        input_grids=_with_others(container.input_grids, len(build.inputs)),
        parts=tuple(build.live),
        notes=(*container.notes, *build.notes()),
        alone=None,
    )


def _with_others(grids: tuple[Grid | None, ...], count: int) -> tuple[Grid | None, ...]:
    """Those of the container's own inputs, and none of what its calls take beside them."""
    if not any(grids):
        return ()
    return (*grids, *[None] * (count - len(grids)))


def _undescribed(container: Capture) -> str:
    """Why nothing of a container can be computed; "" where something can, or it gives what it was
    given."""
    if any(part.capture.description is not None for part in container.parts):
        return ""
    if all(maker is not None and maker in container.made_by for maker in container.results):
        return ""
    if not container.parts:
        return container.why
    first = container.parts[0].capture
    return f"none of the calls in {container.kind} has a description; {first.layer}: {first.why}"


def _coarsest(parts: Sequence[Part], otherwise: str) -> str:
    """The precision of the calls that errs most."""
    floats = [part.capture.dtype for part in parts if precision_of(part.capture.dtype).unit]
    return max(floats, key=lambda dtype: precision_of(dtype).unit, default=otherwise)


class _Output(NamedTuple):
    """What a call of the container gave: its place among the calls, and which of its outputs."""

    place: int
    output: int


class _Cast(NamedTuple):
    """The same in another type, that the framework brings it to between two calls."""

    source: "_Output | Ref"
    to: str


_Source = _Output | Ref | _Cast | WorkedOut
"""Where an array comes from: a call, an input of the container, or numbers alone."""


class _Taker(NamedTuple):
    """A call that takes an array: its place, the precision it computes in, and the input in
    words."""

    place: int
    dtype: str
    words: str
    fixed: bool
    mask: bool
    name: str
    """What the call that takes it calls it, or ""."""


class _Composition(Builder):
    """A container's steps under construction; ``opened``: whole numbers are computed, too."""

    def __init__(
        self, container: Capture, reached: Collection[int] | None, opened: bool = False
    ) -> None:
        super().__init__(container.inputs, container.outputs)
        self._opened = opened
        self.container, self.live = container, list[Part]()
        self.makers: list[Producer | None] = [
            *(container.made_by or (None,) * len(container.inputs))
        ]
        self.names = [*(container.input_names or ("",) * len(container.inputs))]
        self._places = {
            part.capture.key: place
            for place, part in enumerate(container.parts)
            if reached is None or place in reached
        }
        self._inputs: dict[Hashable, int] = {}
        """The inputs, by what made them or by their numbers."""
        for index, maker in enumerate(self.makers):
            self._inputs.setdefault(_key(maker, container.inputs[index]), index)
        self._sources: dict[int, list[_Source | None]] = {}
        self._fixed: list[int] = []
        self._taken: list[Taken] = []
        self._sites: list[Site] = []
        self._weights: dict[str, np.ndarray] = {}
        self._known: dict[Hashable, int] = {}
        """The steps of what is computed from numbers alone."""
        self._numbered: dict[str, dict[Hashable, list[_Output | Ref]]] = {}

    def description(self) -> Description:
        last = _Taker(len(self.container.parts), self.container.dtype, "", False, False, "")
        results = [
            self._source(
                maker,
                output,
                last._replace(words=f"output {index}", fixed=index in self.container.fixed_results),
            )
            for index, (maker, output) in enumerate(
                zip(self.container.results, self.container.outputs, strict=True)
            )
        ]
        needed = self._needed(results)
        places = sorted(needed)
        self.live = [self.container.parts[place] for place in places]
        values: dict[_Output, Ref] = {}
        for at, place in enumerate(places):
            self._add_call(place, at, needed[place], values)
        steps = self.ended(*(self._found(result, values) for result in results))
        self._sites += [Site("", "", -1)] * (len(steps) - len(self._sites))
        several = len(self.live) > 1
        return Description(
            steps, sites=tuple(self._sites) if several else (), taken=tuple(self._taken)
        )

    def _needed(self, results: Sequence[_Source]) -> dict[int, set[int]]:
        """The calls that the results come from, and which of their outputs are used."""
        needed: dict[int, set[int]] = {}

        def need(source: _Source | None) -> None:
            if isinstance(source, _Cast):
                source = source.source
            if isinstance(source, _Output):
                needed.setdefault(source.place, set()).add(source.output)

        for result in results:
            need(result)
        for place in range(len(self.container.parts) - 1, -1, -1):
            if place in needed and any(not self._pinned(place, output) for output in needed[place]):
                self._sources[place] = self._sources_of(place)
                for source in self._sources[place]:
                    need(source)
        return needed

    def _sources_of(self, place: int) -> list[_Source | None]:
        """Where the inputs of a call come from, as far as its steps use them."""
        capture = self.container.parts[place].capture
        assert capture.description is not None
        used = {
            ref.index
            for position, step in enumerate(capture.description.steps)
            for ref in step.sources(position)
            if ref.step < 0
        }
        makers = capture.made_by or (None,) * len(capture.inputs)
        names = capture.input_names or ("",) * len(capture.inputs)
        constants = capture.constants() if self._opened and capture.constants else {}
        sources: list[_Source | None] = [None] * len(capture.inputs)
        for index, x in enumerate(capture.inputs):
            if index in used and index in constants and index in capture.fixed:
                sources[index] = constants[index]
            elif index in used:
                fixed, masked = index in capture.fixed, index in capture.masks
                words = f"input {index} of {capture.layer}"
                taker = _Taker(place, capture.dtype, words, fixed, masked, names[index])
                sources[index] = self._source(makers[index], x, taker)
        return sources

    def _source(self, maker: Producer | None, array: np.ndarray, taker: "_Taker") -> _Source:
        """Where an array comes from that is taken there."""
        fixed = taker.fixed
        if isinstance(maker, Argument) and maker not in self.makers:
            # of a container within this one, which nothing that is known has made
            fixed, maker = fixed or maker.fixed, None
        inside = self._inside(maker)
        if inside is not None:
            return inside
        if maker is None and not fixed and (same := self._by_value(array, taker)) is not None:
            return same
        key = _key(maker, array)
        if key not in self._inputs:
            self._inputs[key] = len(self.inputs)
            if fixed:
                self._fixed.append(len(self.inputs))
            elif maker is None:
                if taker.mask:
                    why = ""
                else:
                    why = f"{taker.words} came from no captured call"
                self._taken.append(Taken(len(self.inputs), -1, why))
            self._append_input(array, maker, taker.name)
        return Ref(-1, self._inputs[key])

    def _inside(self, maker: Producer | None) -> _Output | None:
        if not isinstance(maker, CallOutput):
            return None
        place = self._places.get((maker.layer, maker.call))
        if place is None:
            return None
        return _Output(place, maker.output)

    def _by_value(self, array: np.ndarray, taker: "_Taker") -> _Source | None:
        """The one array before that holds the same numbers, where these are told from others, in
        the same type or brought to the taker's."""
        if np.unique(array).size <= _TOLD_APART:
            return None
        for to in ("", taker.dtype):
            alike = [
                source
                for source in self._by_numbers(to).get(_numbers(array), ())
                if isinstance(source, Ref) or source.place < taker.place
            ]
            if len(alike) == 1:
                if to:
                    return _Cast(alike[0], to)
                return alike[0]
        return None

    def _by_numbers(self, to: str) -> dict[Hashable, list[_Output | Ref]]:
        """The arrays before by their numbers, or by those that they are rounded to."""
        if to not in self._numbered:
            found = self._numbered.setdefault(to, {})
            for index, x in enumerate(self.container.inputs):
                found.setdefault(_numbers(_in_type(x, to)), []).append(Ref(-1, index))
            for place in self._places.values():
                for output, y in enumerate(self.container.parts[place].capture.outputs):
                    key = _numbers(_in_type(y, to))
                    found.setdefault(key, []).append(_Output(place, output))
        return self._numbered[to]

    def _found(self, source: _Source, values: Mapping[_Output, Ref]) -> Ref:
        """The output of a step, or the input, that a source is by now."""
        if isinstance(source, _Cast):
            return self.add(Stored(to=source.to), self._found(source.source, values))
        if isinstance(source, _Output):
            return values[source]
        if isinstance(source, WorkedOut):
            return self._worked_out(source)
        return source

    def _worked_out(self, source: WorkedOut) -> Ref:
        """The steps of what is computed from numbers alone, those that several tensors were made by
        once."""
        made: list[int] = []
        described = source.description
        for position, (step, site) in enumerate(zip(described.steps, described.sites, strict=True)):
            refs = tuple(replace(ref, step=made[ref.step]) for ref in step.sources(position))
            if isinstance(step.op, Outputs):
                return refs[0]
            numbers = _numbers(step.op.value) if isinstance(step.op, Constant) else id(step.op)
            if (numbers, refs) not in self._known:
                self._known[numbers, refs] = self._append(step.op, refs).step
                self._sites.append(site)
            made.append(self._known[numbers, refs])
        return Ref(made[-1])

    def _append_input(self, array: np.ndarray, maker: Producer | None, name: str = "") -> Ref:
        self.inputs = (*self.inputs, array)
        self.makers.append(maker)
        self.names.append(name)
        return Ref(-1, len(self.inputs) - 1)

    def _pinned(self, place: int, output: int) -> bool:
        """Whether an output is taken as it was captured: of a call without description, and whole
        numbers that a call makes of almost equal ones as it happens to round."""
        capture = self.container.parts[place].capture
        if capture.description is None:
            return True
        if self._opened or capture.outputs[output].dtype.kind not in "biu":
            return False
        return any(x.dtype.kind == "f" for x in capture.inputs) or any(
            type(step.op).equally_right is not Op.equally_right
            for step in capture.description.steps
        )

    def _add_call(self, place: int, at: int, outputs: set[int], values: dict[_Output, Ref]) -> None:
        """Adds the steps of a call, which is the one ``at`` that place among the live ones."""
        part = self.container.parts[place]
        capture = part.capture
        for output in sorted(outputs):
            if self._pinned(place, output):
                array, why = capture.outputs[output], ""
                if capture.description is None:
                    why = f"{capture.layer}: {capture.why}"
                ref = self._append_input(array, CallOutput(capture.layer, capture.call, output))
                self._taken.append(Taken(ref.index, at, why))
                values[_Output(place, output)] = ref
        if capture.description is None or place not in self._sources:
            return
        floats = all(output.dtype.kind == "f" for output in capture.outputs)
        inputs = []
        for source, x in zip(self._sources[place], capture.inputs, strict=True):
            ref = Ref(-1) if source is None else self._found(source, values)
            if source is not None and floats and x.dtype.kind in "biu":
                ref = self._floats(ref)
            inputs.append(ref)
        steps = tuple(
            Step(self._renamed(step.op, part), step.inputs) for step in capture.description.steps
        )
        refs = self.include(steps, *inputs)
        if len(refs) != len(capture.outputs):
            refs = tuple(Ref(len(self.steps) - 1, k) for k in range(len(capture.outputs)))
        for output, ref in enumerate(refs):
            values.setdefault(_Output(place, output), ref)
        for step in self.steps[len(self._sites) :]:
            kind = step.op.to if isinstance(step.op, Stored) else capture.dtype
            shown, function = self._shown(capture), capture.function
            self._sites.append(Site(shown, kind, at, function, capture.code, capture.expression))

    def _floats(self, ref: Ref) -> Ref:
        """Whole numbers as the floats that a layer of floats takes them for."""
        return self.add(Cast(to="float64"), ref)

    def _shown(self, capture: Capture) -> str:
        """The name of a call, seen from the container."""
        name = capture.layer.removeprefix(self.container.layer).lstrip("./")
        return (name or capture.kind) + (f":{capture.call}" if capture.call else "")

    def _renamed(self, op: Op, part: Part) -> Op:
        """The op with its weights named from the container, and numbers kept that it would round
        to be stored."""
        if isinstance(op, Cast) and op.to in _FLOATS:
            return Stored(to=op.to)
        kind: Any = type(op)
        held = {
            name: value
            for name in field_names(kind)
            if isinstance(value := getattr(op, name), Weight)
        }
        if not held:
            return op
        return replace(op, **{name: self._named(value, part) for name, value in held.items()})

    def _named(self, weight: Weight, part: Part) -> Weight:
        name = part.path + weight.name
        if not _same(self._weights.setdefault(name, weight.effective), weight.effective):
            name = f"{name} ({self._shown(part.capture)})"
        return replace(weight, name=name)

    def notes(self) -> Iterator[str]:
        """What it takes besides its own arguments."""
        count, taken = len(self.container.inputs), {taken.input for taken in self._taken}
        others = [k for k in range(count, len(self.inputs)) if k not in taken]
        masks = [taken.input for taken in self._taken if taken.call < 0 and not taken.why]
        if masks:
            text = "is a mask" if len(masks) == 1 else "are masks"
            made = f"{_listed(masks)} {text} that no captured call made"
            yield f"{made}; the captured values were used"
        outside = [k for k in others if k not in self._fixed]
        if outside:
            yield f"it also takes what was computed outside it: {_listed(outside)}"
        fixed = [k for k in others if k in self._fixed]
        if fixed:
            yield (
                f"{_listed(fixed)} {'is' if len(fixed) == 1 else 'are'} computed within from "
                "constants, not from the model's input; the captured values were used"
            )


_FLOATS = ("bfloat16", "float16", "float32", "float64")


def _listed(inputs: Sequence[int]) -> str:
    """Such as "inputs 2 to 4"."""
    if len(inputs) == 1:
        return f"input {inputs[0]}"
    if inputs == list(range(inputs[0], inputs[-1] + 1)):
        return f"inputs {inputs[0]} to {inputs[-1]}"
    return f"inputs {', '.join(map(str, inputs))}"


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two readings of a parameter hold the same numbers."""
    alike = left.shape == right.shape and left.dtype == right.dtype
    return alike and (np.may_share_memory(left, right) or np.array_equal(left, right))


def _in_type(array: np.ndarray, to: str) -> np.ndarray:
    """Floats rounded to a type, as a capture has them."""
    if not to or array.dtype.kind != "f" or to not in _FLOATS:
        return array
    if to == "bfloat16":
        return array.astype(ml_dtypes.bfloat16).astype(np.float32)
    return array.astype(to)


def _key(maker: Producer | None, array: np.ndarray) -> Hashable:
    """What an input is known by: what made it, or else its numbers."""
    if maker is None:
        return _numbers(array)
    return maker


def _numbers(array: np.ndarray) -> tuple[Hashable, ...]:
    """Equal for arrays of the same shape, type and numbers."""
    return array.shape, array.dtype.str, sha256(array.tobytes()).digest()
