"""A convolution or a running sum that is computed in chunks or tiles, each without what the one
before leaves it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.rewriting import made_by
from probe.hypotheses.edits.step_words import step_name
from probe.hypotheses.registry import more
from probe.ops.base import Op
from probe.ops.step import Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

_DIFFERS = 1e-3
"""From which share of the largest difference on an element differs."""
_SHORT = 16
"""How many ends of a chunk are tried where the output does not tell it."""


@more("carried-state")
def computed_in_chunks(case: Case) -> Iterator[Changes]:
    """Each chunk of a sequence, or tile of an image, begins with zeros where the layer has the
    elements before it."""
    yield Changes(_in_chunks, "carried-state", STEPS, only_new=True)


def _in_chunks(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.Conv, ops.CumSum):
        x = case.input_of(position)
        where, sources = step_name(case, position), case.steps[position].sources(position)
        tiles: Op = op
        for axis in [op.axis % x.ndim] if isinstance(op, ops.CumSum) else range(2, x.ndim):
            for words, chunks in _begun_anew(case, position, op, axis):
                what = f"{where} is restarted {words} along axis {axis}"
                yield Change(what, "", {position: Step(chunks, sources)}, of=position)
                if chunks.both and getattr(tiles, "axis", 0) != axis:
                    tiles = replace(chunks, op=tiles)
        if isinstance(tiles, _Chunks) and isinstance(tiles.op, _Chunks):
            what = f"{where} is computed in tiles, each with zeros around it"
            yield Change(what, "", {position: Step(tiles, sources)}, of=position)


def _begun_anew(case: Case, position: int, op: Any, axis: int) -> Iterator[tuple[str, "_Chunks"]]:
    """The op in chunks along an axis, in words."""
    length, shift = case.input_of(position).shape[axis], _padded_before(case, position, op, axis)
    after = 0 if isinstance(op, ops.CumSum) else op.pads[axis - 2][1]
    for first in _starts(case, length - shift):
        for both in (False, True) if after else (False,):
            start = first + after * both
            chunks = _Chunks(op, axis, tuple(range(start, length - shift, start)), shift, both)
            edges = "before it and behind it" if both else "before it"
            if chunks.starts:
                yield f"at each chunk of {start}, with zeros {edges},", chunks
            if len(chunks.starts) > 1:
                yield f"at {start}, with zeros {edges},", replace(chunks, starts=(start,))


def _starts(case: Case, size: int) -> list[int]:
    """Where what was observed first differs along axes of this size, and where at most places;
    of an output without such an axis the first few."""
    if not case.comparable:
        return []
    apart = np.abs(case.observed - case.healthy)
    apart = apart > _DIFFERS * apart.max(initial=0.0)
    axes = [axis for axis, length in enumerate(apart.shape) if length == size]
    if not axes:
        return [*range(1, min(size, _SHORT))]
    found = list[int]()
    for axis in axes:
        wrong = apart.mean(axis=tuple(k for k in range(apart.ndim) if k != axis))
        found += [int(np.argmax(wrong > 0)), int(np.argmax(wrong))]  # tiles end along each axis
        found.append(int(np.argmax(wrong[::-1] > 0)))  # of a sequence that is turned round
    return [first for first in dict.fromkeys(found) if first > 0]


def _padded_before(case: Case, position: int, op: Any, axis: int) -> int:
    """How many elements a step before has put in front of those that a convolution takes."""
    (x, *_) = case.steps[position].sources(position)
    if isinstance(op, ops.CumSum) or any(op.pads[axis - 2]) or not made_by(case, x, ops.Pad):
        return 0
    pad: Any = case.steps[x.step].op
    return int(pad.pads[axis][0])


@dataclass(frozen=True, eq=False)
class _Chunks(Op):
    """An op on each of some chunks, with zeros before it, and ``both``, also behind."""

    op: Any
    axis: int
    starts: tuple[int, ...]
    shift: int
    both: bool

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, *rest = inputs
        out = np.array(self.op.run(*inputs)[0])
        ends = [*self.starts, out.shape[self.axis]]
        for first, (start, stop) in enumerate(zip([0, *self.starts], ends, strict=True)):
            behind = stop + self.shift if self.both and first < len(self.starts) else None
            own = np.zeros_like(x)
            place = [slice(None)] * x.ndim
            place[self.axis] = slice(start + self.shift if start else 0, behind)
            own[tuple(place)] = x[tuple(place)]
            place[self.axis] = slice(start, stop)
            out[tuple(place)] = self.op.run(own, *rest)[0][tuple(place)]
        return (out,)
