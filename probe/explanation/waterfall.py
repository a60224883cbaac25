"""The terms of one element as a waterfall: the largest first, the others together, the bias, then
each later step."""

from collections.abc import Iterator
from dataclasses import dataclass

from probe.explanation.origin import Breakdown, named_term, number, total

__all__ = ["Fall", "waterfall"]

_SHOWN = 12
"""Terms with a bar of their own."""


@dataclass(frozen=True)
class Fall:
    """A bar from one sum to the next; of a later step from zero to its value."""

    label: str
    value: str
    after: str
    start: float
    width: float
    """Both of 0 .. 1."""
    kind: str


def _stages(origin: Breakdown) -> Iterator[tuple[str, float, float, float, str]]:
    """(label, value, from, to, kind) of each bar."""
    ranked = sorted(
        (term for term in origin.terms if not term.padding),
        key=lambda term: -abs(term.product) if term.product == term.product else float("-inf"),
    )
    listed = ranked if len(ranked) <= _SHOWN + 1 else ranked[:_SHOWN]
    done: list[float] = []
    for term in listed:
        before = total(done)
        done.append(term.product)
        yield named_term(term), term.product, before, total(done), _sign(term.product)
    if rest := [term.product for term in ranked[len(listed) :]]:
        before = total(done)
        done += rest
        yield f"the other {len(rest)} terms", total(rest), before, total(done), _sign(total(rest))
    if origin.bias is not None:
        before = total(done)
        done.append(origin.bias)
        yield "bias", origin.bias, before, total(done), _sign(origin.bias)
    for change in origin.steps:
        yield change.words, change.value, 0.0, change.value, "rest"


def _sign(value: float) -> str:
    return "minus" if value < 0 else "plus"


def waterfall(origin: Breakdown) -> tuple[tuple[Fall, ...], float]:
    """The bars, and where zero lies (0 .. 1)."""
    stages = list(_stages(origin))
    ends = [0.0, *(end for stage in stages for end in stage[2:4] if abs(end) < float("inf"))]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        if value == value:
            return min(1.0, max(0.0, (value - low) / span))
        return 0.0

    bars = []
    for label, value, before, after, kind in stages:
        start, stop = sorted((place(before), place(after)))
        width = max(stop - start, 0.002)
        bars.append(Fall(label, number(value), number(after), start, width, kind))
    return tuple(bars), place(0.0)
