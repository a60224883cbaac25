"""How one element is computed, as a value; as a person reads it, and as JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from probe import printable
from probe.comparison.compare import PARTIES
from probe.explanation.origin import Breakdown, LaterStep, Term, named_element, number, total
from probe.explanation.waterfall import waterfall
from probe.report.as_json import dumped, plain
from probe.report.blocks import LABELS
from probe.report.html import filled, page

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Field", "Story"]

SHOWN, SHOWN_INSIDE, OPENED = 12, 5, 3
"""Terms listed one by one, of a sum and of a sum inside it, and how many of the latter."""


@dataclass(frozen=True, eq=False)
class Field:
    """What of one input of the model can influence an element at all."""

    name: str
    mask: "np.ndarray"

    @property
    def box(self) -> tuple[tuple[int, int], ...] | None:
        """The (start, stop) on each axis that hold it, or None where it is nothing."""
        places = self.mask.nonzero() if self.mask.ndim else ()
        if self.mask.any():
            return tuple((int(at.min()), int(at.max()) + 1) for at in places)
        return None

    @property
    def count(self) -> int:
        return int(self.mask.sum())

    def as_dict(self) -> dict[str, Any]:
        """With every index where these are not simply all that the box holds."""
        told: dict[str, Any] = {
            "input": self.name,
            "shape": self.mask.shape,
            "count": self.count,
            "box": self.box,
        }
        whole = math.prod(stop - start for start, stop in self.box or ())
        if self.box is None or whole == self.count:
            return told
        return told | {"indices": [at.tolist() for at in self.mask.nonzero()]}

    def __str__(self) -> str:
        if self.box is None:
            return f"  {self.name}: no element of {self.mask.shape}"
        ranges = ", ".join(
            str(start) if stop == start + 1 else f"{start}:{stop}" for start, stop in self.box
        )
        if math.prod(stop - start for start, stop in self.box) == self.count:
            among = ""
        else:
            among = ", but not every element in these ranges"
        return f"  {self.name}[{ranges}]{among}: {self.count} of {self.mask.size} elements"


@dataclass(frozen=True, eq=False, repr=False)
class Story:
    """How one element of an output is computed; ``str(story)`` is what the command prints."""

    layer: str
    kind: str
    call: int
    at: tuple[int, ...]
    value: float
    """NumPy's, in float64."""
    origin: Breakdown
    parties: Mapping[str, float]
    allowance: float
    """How far the framework's value may lie from NumPy's by rounding."""
    verdict: str
    """Of the whole layer, or of what ``scope`` says."""
    sentence: str
    output: int = 0
    axes: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    framework: str = ""
    how: str = ""
    notes: tuple[str, ...] = ()
    scope: str = "the whole layer"
    """What the verdict is about: of a matrix product of very many weights, the element's own
    column."""
    sees: tuple[Field, ...] = ()
    """What can influence the element at all, for each input of the model, where that was asked
    for."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms, in the order of the layer's own axes; the bias is none of them."""
        return self.origin.terms

    @property
    def steps(self) -> tuple[LaterStep, ...]:
        """From the sum of the terms to the value."""
        return self.origin.steps

    @property
    def subtotals(self) -> dict[int, float]:
        """The sum of the products of each input channel, where the sum runs over channels."""
        return self.origin.subtotals

    def lines(self, every: bool = False) -> list[str]:
        """What is said of the element, before it is wrapped; with ``every`` each term and member
        is listed."""
        return _lines(self, every)

    def __str__(self) -> str:
        return printable.page(self.lines())

    @property
    def headline(self) -> str:
        """The element and its value in one line."""
        place = ", ".join(map(str, self.at))
        return f"{printable.name(self.layer) or '(root)'}[{place}] = {number(self.value)}"

    def __repr__(self) -> str:
        return f"<Story {self.headline}: {self.verdict}>"

    def to_html(self) -> str:
        """The element as a page of its own, with a waterfall of its terms."""
        return self.page()

    def page(self, command: str = "") -> str:
        """The same, with the command that it comes from."""
        return page("element.html", command, framework=self.framework, **self._values())

    def _repr_html_(self) -> str:
        return filled("element_fragment.html", **self._values())

    def _values(self) -> dict[str, Any]:
        """What the templates show."""
        bars, zero = waterfall(self.origin)
        padding = sum(term.padding for term in self.terms)
        more = f"; {padding} terms of padding are 0" if padding else ""
        name = printable.name(self.layer) or "(root)"
        where = f"[{', '.join(map(str, self.at))}]"
        return {
            "title": f"output{where} of {name} = {number(self.value)}",
            "heading": f"{name} ({printable.name(self.kind)}) of {self.source}",
            "verdict": self.verdict,
            "sentence": f"{self.scope}: {self.sentence.partition(': ')[2]}",
            "caption": f"{len(self.terms)} terms, the largest first{more}",
            "bars": bars,
            "zero": zero,
            "text": str(self).splitlines(),
        }

    def to_json(self) -> str:
        """All terms; NaN and inf are strings."""
        values = {
            name: value for name, value in vars(self).items() if name not in ("origin", "sees")
        }
        values["sees"] = [seen.as_dict() for seen in self.sees]
        values |= {**asdict(self.origin), "subtotals": self.subtotals}
        return dumped(plain(values))


def _row(term: Term) -> tuple[str, ...]:
    """A term in columns: input, its value, weight, its value, product."""
    if term.weight is None:
        return (named_element(term.input, term.input_index), "", "", "", number(term.product))
    weight = f"×  {named_element(term.weight, term.weight_index)}"
    value = ""
    if term.weight_value is not None:
        value = number(term.weight_value)
    if term.weight_stored is not None:
        value += f" (stored {term.weight_stored:.6g})"
    return (
        named_element(term.input, term.input_index),
        number(term.input_value),
        weight,
        value,
        f"=  {number(term.product)}",
    )


def _aligned(rows: Sequence[Sequence[str]], indent: int = 2) -> list[str]:
    """Columns under one another."""
    if rows:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    else:
        widths = []
    return [
        " " * indent
        + "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width
        ).rstrip()
        for row in rows
    ]


def _terms(terms: Sequence[Term], shown: int | None, indent: int) -> list[str]:
    """The largest terms (``shown`` None: all), those made of others opened up, and the rest in one
    line."""
    counted = [term for term in terms if not term.padding]
    ranked = sorted(
        counted, key=lambda term: -abs(term.product) if term.product == term.product else -math.inf
    )
    listed = ranked if shown is None or len(ranked) <= shown + 1 else ranked[:shown]
    lines = []
    for position, (line, term) in enumerate(
        zip(_aligned([_row(term) for term in listed], indent), listed, strict=True)
    ):
        lines.append(line)
        opened = shown is None or position < OPENED
        if term.inner is not None and term.inner.terms and opened:
            inside = None if shown is None else SHOWN_INSIDE
            lines += _terms(term.inner.terms, inside, indent + 4)
            lines += [
                " " * (indent + 4) + f"{change.words}: {number(change.value)}"
                for change in term.inner.steps
            ]
    if len(listed) < len(ranked):
        rest = total(term.product for term in ranked[len(listed) :])
        lines.append(
            " " * indent + f"{len(ranked) - len(listed)} smaller terms, sum {number(rest)}"
        )
    padding = len(terms) - len(counted)
    if padding:
        lines.append(" " * indent + f"{padding} padding term{'s' * (padding != 1)}, each 0")
    return lines


def _members(change: LaterStep, every: bool) -> list[str]:
    """The elements that a step takes, the largest first."""
    if len(change.members) < 2:
        return []
    ranked = sorted(
        change.members,
        key=lambda member: -member.value if member.value == member.value else -math.inf,
    )
    few = every or len(ranked) <= SHOWN + 1
    listed = ranked if few else ranked[: SHOWN // 2] + ranked[-SHOWN // 2 :]
    rows = _aligned(
        [
            (named_element(member.input, member.input_index), number(member.value))
            for member in listed
        ],
        6,
    )
    if len(listed) < len(ranked):
        rows.insert(SHOWN // 2, f"      … {len(ranked) - len(listed)} more between …")
    return rows


def _heading(story: Story) -> list[str]:
    call = f", call {story.call}" if story.call else ""
    if story.axes:
        where = (
            f" ({', '.join(f'{name} {i}' for name, i in zip(story.axes, story.at, strict=True))})"
        )
    else:
        where = ""
    output = f"output {story.output}" if story.output else "output"
    lines = [
        (
            f"{printable.name(story.layer) or '(root)'} ({printable.name(story.kind)}{call}) of "
            f"{story.source}, {story.framework}"
        )
    ]
    return [
        *lines,
        *([f"input: {story.how}"] if story.how else []),
        "",
        f"{output}[{', '.join(map(str, story.at))}]{where} = {number(story.value)}",
    ]


def _lines(story: Story, every: bool) -> list[str]:
    lines = [*_heading(story), ""]
    if len(story.terms) > 1 or any(term.weight for term in story.terms):
        lines.append(
            f"{len(story.terms)} terms" + (", the largest first" if len(story.terms) > 1 else "")
        )
        lines += _terms(story.terms, None if every else SHOWN, 2)
        if len(story.subtotals) > 1:
            few = len(story.subtotals) <= SHOWN_INSIDE
            lines += [
                "",
                "by input channel"
                + (f": {' + '.join(map(number, story.subtotals.values()))}" if few else ""),
            ]
            largest = sorted(
                story.subtotals.items(),
                key=lambda pair: -abs(pair[1]) if len(story.subtotals) > SHOWN else pair[0],
            )
            most = len(largest) if every else SHOWN
            lines += _aligned(
                [(f"channel {channel}", number(value)) for channel, value in largest[:most]]
            )
            if len(largest) > most:
                lines.append(
                    f"  {len(largest) - most} other channels, sum "
                    f"{number(total((value for _, value in largest[most:])))}"
                )
        lines.append("")
    lines.append("from here to the output")
    widths = max(len(change.words) for change in story.steps) if story.steps else 0
    for change in story.steps:
        lines.append(f"  {change.words.ljust(min(widths, 72))}  {number(change.value)}")
        lines += _members(change, every)
    lines += ["", "parties"]
    for party in PARTIES:
        if party in story.parties:
            lines.append(f"  {LABELS[party]:<14} {number(story.parties[party])}")
        elif party in story.missing:
            lines.append(f"  {LABELS[party]:<14} missing: {story.missing[party]}")
    lines.append(f"  allowance for rounding of this element: {story.allowance:.3g}")
    if story.sees:
        lines += [
            "",
            "receptive field: this element can be influenced by these elements of the "
            "model's input",
            *map(str, story.sees),
        ]
    for note in story.notes:
        lines += ["", f"note: {note}"]
    return [*lines, "", f"{story.scope}: {story.sentence}"]
