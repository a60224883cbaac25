"""Weights in the script: what each is called, how it is made of what the framework stores, and
which part and order of it an op takes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probe.by_hand.names import endings, words
from probe.by_hand.script import Statement
from probe.by_hand.values import Value, as_tuple, number, reshaped, shape_words
from probe.ops.step import Step, weight_fields
from probe.ops.weight import Grid, Weight, one_parameter

__all__ = ["WeightNames"]


class WeightNames:
    """The weights of some steps by their names, of which two may have one."""

    def __init__(self, steps: Sequence[Step]) -> None:
        ops = [getattr(step.op, "whole", None) or step.op for step in steps]  # by its cell or not
        weights = [weight for op in ops for weight in weight_fields(op).values()]
        least = 2 if any(_is_path(weight.name) for weight in weights) else 1
        self._hints = endings(dict.fromkeys(weight.name for weight in weights), least)
        self._own: dict[str, list[Weight]] = {}
        for weight in weights:
            self._own.setdefault(weight.name, []).append(weight)
        self._known: dict[tuple[str, int], str] = {}
        self._stored: dict[tuple[str, int], str] = {}
        self._made: list[Weight] = []  # kept, so that no other array has the identity of one

    def hint(self, weight: Weight) -> str:
        """What it should be called."""
        return self._hints.get(weight.name, weight.name)

    def known(self, weight: Weight) -> str | None:
        """What it is called already, whichever part of the same parameter it is."""
        key = weight.name, id(weight.effective)
        if key not in self._known:
            same = (made for made in self._made if made.name == weight.name)
            found = next((made for made in same if one_parameter(made, weight)), None)
            if found is None:
                return None
            before = found.name, id(found.effective)
            self._known[key] = self._known[before]
            if before in self._stored:
                self._stored[key] = self._stored[before]
            self._made.append(weight)
        return self._known[key]

    def of(self, weight: Weight) -> Weight | None:
        """The weight of the steps that one of a mistake was made of."""
        own = self._own.get(weight.name, [])
        same = [known for known in own if known.effective is weight.effective]
        alike = [known for known in own if known.rows == weight.rows]
        return next(iter([*same, *alike]), None)

    def others(self, weight: Weight) -> Iterator[Weight]:
        """The other weights of the steps, in the order of use."""
        for some in self._own.values():
            yield from (known for known in some if known is not weight)

    def stored_name(self, weight: Weight) -> str | None:
        """What it is called as it is stored, where that is loaded."""
        return self._stored.get((weight.name, id(weight.effective)))

    def loaded(
        self, weight: Weight, name: str
    ) -> Iterator[tuple[Statement, Mapping[str, np.ndarray]]]:
        """The statements that make it under a name, and the arrays that they load."""
        self._known[weight.name, id(weight.effective)] = name
        self._made.append(weight)
        shape = shape_words(weight.effective.shape)
        formula = _quantised(weight)
        if formula is None:
            effective = weight.steps and weight.stored is not weight.effective
            comment = f"effective: {words('; '.join(weight.steps))}" if effective else ""
            line = f'{name} = load("effective:{name}")'
            yield (
                Statement((line,), ", ".join(filter(None, (shape, comment)))),
                {f"effective:{name}": weight.effective},
            )
            return
        stored = f"stored_{name}"
        self._stored[weight.name, id(weight.effective)] = stored
        assert weight.stored is not None
        line = f'{stored} = load("stored:{name}")'
        yield Statement((line,), shape), {f"stored:{name}": weight.stored}
        text, arrays = formula.text(name, stored)
        yield Statement((f"{name} = {text}",), formula.comment), arrays

    def value(self, weight: Weight, name: str) -> Value:
        """What an op takes of it, in the op's layout."""
        shape = weight.effective.shape
        text = name
        if weight.rows is not None:
            first, end = weight.rows
            text = f"{name}[{first}:{end}]"
            shape = (end - first, *shape[1:])
        order = weight.axes
        if order == tuple(range(len(shape))):
            order = None
        value = Value(text, shape, order)
        if weight.shape is None:
            return value
        return _reshaped(value, _resolved(weight.shape, math.prod(shape)))


def _is_path(name: str) -> bool:
    return "." in name or "/" in name


def _resolved(shape: Sequence[int], count: int) -> tuple[int, ...]:
    """A shape in which one size may be -1."""
    rest = -math.prod(shape)
    return tuple(count // rest if size == -1 else size for size in shape)


def _reshaped(value: Value, shape: tuple[int, ...]) -> Value:
    """The value in another shape: by an index, where only axes of one place are left out."""
    if value.own_shape == shape:
        return value
    dropped = _dropped(value.own_shape, shape)
    if dropped is not None:
        lying = {value.axes[axis] for axis in dropped}
        index = ["0" if axis in lying else ":" for axis in range(value.rank)]
        kept = [axis for axis in range(value.rank) if axis not in lying]
        order = tuple(kept.index(axis) for axis in value.axes if axis not in lying)
        text = f"{value.text}[{_short_index(index)}]"
        sizes = tuple(value.shape[axis] for axis in kept)
        return Value(text, sizes, None if order == tuple(range(len(order))) else order)
    text = value.text
    if value.order is not None:
        text += f".transpose{as_tuple(value.order)}"
    return Value(reshaped(text, shape), shape)


def _short_index(index: list[str]) -> str:
    while index[-1] == ":":
        index = index[:-1]
    lead = next(place for place, word in enumerate(index) if word != ":")
    if lead > 1 and ":" not in index[lead:]:
        return ", ".join(["...", *index[lead:]])
    return ", ".join(index)


def _dropped(shape: Sequence[int], to: Sequence[int]) -> list[int] | None:
    """The axes of one place that are left out of a shape; None where more is changed."""
    found, left = [], list(to)
    for axis, size in enumerate(shape):
        if left and left[0] == size and (size != 1 or len(shape) - axis == len(left)):
            left.pop(0)
        elif size == 1:
            found.append(axis)
        else:
            return None
    return found if found and not left else None


@dataclass(frozen=True, eq=False)
class _Formula:
    """How the effective values are made of the stored ones: scale * clip(round(stored / scale))."""

    scale: np.ndarray
    low: int
    high: int
    zero: int
    comment: str

    def text(self, name: str, stored: str) -> tuple[str, Mapping[str, np.ndarray]]:
        arrays: dict[str, np.ndarray] = {}
        if self.scale.size == 1:
            size = number(self.scale.ravel()[0])
        else:
            size = f'load("scale:{name}")'
            arrays[f"scale:{name}"] = self.scale
        levels = f"np.round({stored} / {size})"
        if self.zero:
            levels += f" + {self.zero}"
        clipped = f"np.clip({levels}, {self.low}, {self.high})"
        if self.zero:
            clipped = f"({clipped} - {self.zero})"
        return f"{size} * {clipped}", arrays

    def values(self, stored: np.ndarray) -> np.ndarray:
        levels = np.round(stored.astype(np.float64) / self.scale) + self.zero
        return np.asarray(self.scale * (np.clip(levels, self.low, self.high) - self.zero))


def _quantised(weight: Weight) -> _Formula | None:
    """The formula that gives the effective values bit for bit, where there is one."""
    stored, grid = weight.stored, weight.grid
    if stored is None or grid is None or stored.shape != weight.effective.shape:
        return None
    if not stored.size or np.size(grid.zero_point) != 1:
        return None
    zero = int(np.ravel(grid.zero_point)[0])
    scale = np.asarray(grid.scale, np.float64)
    exact = weight.effective.astype(np.float64)
    comment = words("; ".join(weight.steps)) or "quantised"
    for low, high in _ranges(grid):
        formula = _Formula(scale, low, high, zero, f"{comment}; halves to even")
        with np.errstate(all="ignore"):
            if np.array_equal(formula.values(stored), exact):
                return formula
    return None


def _ranges(grid: Grid) -> list[tuple[int, int]]:
    """The lowest and the highest integer that such a grid may have."""
    if not grid.signed:
        return [(0, 2**grid.bits - 1)]
    high = 2 ** (grid.bits - 1) - 1
    return [(-high - 1, high), (-high, high)]
