"""What becomes of a model's outputs where the user's values take the place of a layer's: does an
error matter?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probe import printable

__all__ = ["Effect", "OutputChange", "changes", "largest_change"]

_SCORED = {2: "samples", 3: "positions"}
"""The ranks of outputs whose last axis holds scores, and what each row of them is."""


@dataclass(frozen=True)
class OutputChange:
    """How far an output lies from what it was."""

    output: int
    """Which of the outputs."""
    shape: tuple[int, ...]
    largest: float
    """The largest difference; NaN where the shapes differ, or one of two values is NaN."""
    index: tuple[int, ...] = ()
    """Where that is."""
    before: float = math.nan
    after: float = math.nan
    deviation: float = math.nan
    """The standard deviation of the output as it was."""
    reason: str = ""
    """Why there is no largest difference."""
    argmax_changed: int | None = None
    """In how many rows the largest of the last axis is another; None where that axis holds no
    scores."""
    rows: int | None = None
    """How many there are."""

    @property
    def words(self) -> str:
        """Of a layer's output and the values that take its place."""
        if self.reason:
            return self.reason
        if not self.largest:
            return "equal to its output"
        return f"at most {self.largest:.3g} from its output, at {_place(self.index)}"

    @property
    def clause(self) -> str:
        """Of an output of the model: what follows its name."""
        if self.reason:
            said = f"changes: {self.reason}"
        elif not self.largest:
            return "does not change"
        else:
            share = ""
            if self.deviation > 0:
                share = f" ({100 * self.largest / self.deviation:.3g} % of its deviation)"
            said = (
                f"changes by at most {self.largest:.3g}{share}, at {_place(self.index)} from "
                f"{self.before:.6g} to {self.after:.6g}"
            )
        if self.argmax_changed is None:
            return said
        what = _SCORED[len(self.shape)]
        return f"{said}; its argmax changes in {self.argmax_changed} of {self.rows} {what}"


@dataclass(frozen=True)
class Effect:
    """What the user's values of some layers make of the model's outputs."""

    replaced: Mapping[str, OutputChange]
    """By the names that the user gave: where the values differ most from the layer's own."""
    outputs: tuple[OutputChange, ...]

    @property
    def sentence(self) -> str:
        """All of it in words."""
        given = [
            f"{printable.name(repr(name))} ({change.words})"
            for name, change in self.replaced.items()
        ]
        if not self.outputs:
            told = "the model gives no array of numbers that could change"
        elif len(self.outputs) == 1:
            told = f"the model's output {self.outputs[0].clause}"
        else:
            told = "; ".join(f"output {change.output} {change.clause}" for change in self.outputs)
        return f"with your values of {printable.several(given, 8)}, {told}"

    def facts(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "sentence": self.sentence,
            "replaced": {name: vars(change) for name, change in self.replaced.items()},
            "outputs": [vars(change) for change in self.outputs],
        }


def changes(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> tuple[OutputChange, ...]:
    """Of each output that holds numbers."""
    return tuple(
        _change(place, old, new)
        for place, (old, new) in enumerate(zip(before, after, strict=False))
        if isinstance(old, np.ndarray) and old.dtype.kind in "fiubV"  # a list is a sequence of ONNX
    )


def largest_change(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> OutputChange:
    """That of the output which changes most."""
    return max(changes(before, after), key=lambda change: (bool(change.reason), change.largest))


def _change(place: int, before: np.ndarray, after: np.ndarray) -> OutputChange:
    if before.shape != after.shape:
        reason = f"its shape is {after.shape}, it was {before.shape}"
        return OutputChange(place, before.shape, math.nan, reason=reason)
    if not before.size:
        return OutputChange(place, before.shape, 0.0)
    old, new = before.astype(np.float64), after.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where(old == new, 0.0, np.abs(new - old))
    apart[np.isnan(old) & np.isnan(new)] = 0.0
    changed, rows = _argmax(old, new)
    if odd := int(np.isnan(apart).sum()):
        reason = f"{odd} of {old.size} values are NaN in one of the two"
        return OutputChange(
            place, before.shape, math.nan, reason=reason, argmax_changed=changed, rows=rows
        )
    index = tuple(int(k) for k in np.unravel_index(int(apart.argmax()), apart.shape))
    finite = old[np.isfinite(old)]
    return OutputChange(
        place,
        before.shape,
        float(apart[index]),
        index,
        float(old[index]),
        float(new[index]),
        float(finite.std()) if finite.size else math.nan,
        argmax_changed=changed,
        rows=rows,
    )


def _argmax(before: np.ndarray, after: np.ndarray) -> tuple[int | None, int | None]:
    """In how many rows the largest is another, and of how many."""
    if before.ndim not in _SCORED or before.shape[-1] < 2:
        return None, None
    moved = before.argmax(-1) != after.argmax(-1)
    return int(moved.sum()), moved.size


def _place(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]"
