"""What one element is made of, as values: the terms of its sum and the steps after it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from probe import printable
from probe.report.blocks import number as _number

__all__ = [
    "Breakdown",
    "LaterStep",
    "Member",
    "Term",
    "named_element",
    "named_term",
    "number",
    "total",
]


def total(values: Iterable[float]) -> float:
    """The sum without rounding in between (math.fsum, which raises where infinities meet and where
    the sum overflows)."""
    values = list(values)
    try:
        return math.fsum(values)
    except (ValueError, OverflowError):
        return sum(values)


@dataclass(frozen=True, repr=False)
class Term:
    """One product of a sum, by the framework's own indices; without a weight, an input that is
    added as it is.

    ``input`` is "input" ("input 0", … where the call has several), or "Conv output" for a value in
    between, whose own making is ``inner``. A term of padding has no input index.
    """

    input: str
    input_index: tuple[int, ...] | None
    input_value: float
    weight: str | None
    weight_index: tuple[int, ...] | None
    weight_value: float | None
    weight_stored: float | None
    """What the model stores in place of ``weight_value``, where that is another number (quantised
    weights)."""
    product: float
    padding: bool = False
    channel: int | None = None
    inner: "Breakdown | None" = None

    def __repr__(self) -> str:
        return f"<Term {named_term(self)} = {number(self.product)}>"


@dataclass(frozen=True)
class Member:
    """An element that a step takes besides the value itself: of a window, of a group, of a
    softmax's axis."""

    input: str
    input_index: tuple[int, ...] | None
    value: float


@dataclass(frozen=True, repr=False)
class LaterStep:
    """One step on the way from the terms to the value: what is done, and the value after it."""

    words: str
    value: float
    members: tuple[Member, ...] = ()

    def __repr__(self) -> str:
        return f"<LaterStep {printable.line(self.words)}: {number(self.value)}>"


@dataclass(frozen=True, repr=False)
class Breakdown:
    """The terms of a sum, and what happened to it."""

    terms: tuple[Term, ...]
    bias: float | None
    """The one element of the bias that is added, or None."""
    total: float
    """The products and the bias, added up without rounding in between."""
    computed: float | None
    """What the recomputation has for ``total``, where it holds it as a value of its own."""
    steps: tuple[LaterStep, ...]

    def __repr__(self) -> str:
        return f"<Breakdown of {len(self.terms)} terms and {len(self.steps)} steps>"

    @property
    def subtotals(self) -> dict[int, float]:
        """The sum of the products of each input channel, where the sum runs over channels."""
        channels = sorted({term.channel for term in self.terms if term.channel is not None})
        return {
            channel: total(term.product for term in self.terms if term.channel == channel)
            for channel in channels
        }


def number(value: float) -> str:
    """A value with enough digits to tell float32 neighbours apart; a zero without its sign."""
    return _number(value + 0.0)


def named_element(name: str, index: tuple[int, ...] | None) -> str:
    """An element of an array: "input[0, 1]"."""
    if index is None:
        return "padding"
    return f"{printable.name(name)}[{', '.join(map(str, index))}]"


def named_term(term: Term) -> str:
    """What is multiplied in a term: "input[0, 1] × kernel[1, 2]"."""
    left = named_element(term.input, term.input_index)
    if term.weight is None:
        return left
    return f"{left} × {named_element(term.weight, term.weight_index)}"
