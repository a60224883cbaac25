"""Borders that the code makes by itself, of repeated slices joined or by a table of places: another
value at the border, or on another side."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.rewriting import made_by, source_of
from probe.hypotheses.edits.step_words import place_name
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

_Mode = Literal["constant", "edge", "reflect", "symmetric", "wrap"]


class _Border(NamedTuple):
    """A step that gives what it takes with a border along one axis, as padding in a mode would."""

    position: int
    of: Ref
    axis: int
    before: int
    after: int
    mode: _Mode


@more("padding-value")
def border_of_another_value(case: Case) -> Iterator[Changes]:
    """A border that is made of slices of a tensor holds zeros, repeats, reflections or the other
    end."""
    yield Changes(_modes, "padding-value", STEPS)


@more("padding-on-other-side")
def border_on_another_side(case: Case) -> Iterator[Changes]:
    """A border that is made of slices of a tensor is on the other side, or on one side alone."""
    yield Changes(_sides, "padding-on-other-side", STEPS)


def _modes(case: Case) -> Iterator[Change]:
    for border in _borders(case):
        for mode in get_args(_Mode):
            if mode != border.mode:
                what = f"padded in mode {mode} instead of {border.mode}"
                yield _padded(case, border, border.before, border.after, mode, what)


def _sides(case: Case) -> Iterator[Change]:
    for border in _borders(case):
        both = border.before + border.after
        sides = {
            "on the other side": (border.after, border.before),
            "at the end alone": (0, both),
            "at the start alone": (both, 0),
            "equally on both sides": (both // 2, both - both // 2),
        }
        for words, (before, after) in sides.items():
            if (before, after) != (border.before, border.after):
                own = f"{border.before} before and {border.after} after"
                what = f"padded {words}; the layer pads {own}"
                yield _padded(case, border, before, after, border.mode, what)


def _padded(case: Case, border: _Border, before: int, after: int, mode: _Mode, what: str) -> Change:
    rank = np.ndim(border.of.of(case.inputs, case.values))
    pads = tuple((before, after) if axis == border.axis else (0, 0) for axis in range(rank))
    step = Step(ops.Pad(pads, mode), (border.of,))
    where = place_name(case, border.position)
    return Change(what, where, {border.position: step}, key=("border", what))


def _borders(case: Case) -> Iterator[_Border]:
    for position, op in case.having(ops.Concat, ops.Gather, ops.Take):
        y, sources = case.values[position][0], case.steps[position].sources(position)
        taken = list(sources if isinstance(op, ops.Concat) else sources[:1])
        for ref in taken + [
            source_of(case, ref) for ref in taken if made_by(case, ref, ops.Reshape)
        ]:
            yield from _as_padding(case, position, ref, y)


def _as_padding(case: Case, position: int, ref: Ref, y: np.ndarray) -> Iterator[_Border]:
    """How what a step takes is padded in what it gives, where all of it lies there in one piece."""
    x = np.asarray(ref.of(case.inputs, case.values))
    if x.ndim != y.ndim or x.dtype.kind != "f" or not x.size:
        return
    longer = [axis for axis in range(x.ndim) if y.shape[axis] > x.shape[axis]]
    if len(longer) != 1 or sum(y.shape[k] != x.shape[k] for k in range(x.ndim)) != 1:
        return
    (axis,) = longer
    more = y.shape[axis] - x.shape[axis]
    for before in range(more + 1):
        pads = [(before, more - before) if k == axis else (0, 0) for k in range(x.ndim)]
        inner = np.take(y, range(before, before + x.shape[axis]), axis)
        for mode in get_args(_Mode) if np.array_equal(inner, x) else ():
            if np.array_equal(np.pad(x, pads, mode), y):
                yield _Border(position, ref, axis, before, more - before, mode)
                return
