"""A report as blocks: everything that is said of a call, put into words and in order once, for
whatever shows it. What renders them computes nothing.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from probe import printable
from probe.comparison.compare import PARTIES, Comparison, Worst
from probe.ops.weight import Grid
from probe.report.parameters import as_text
from probe.report.summaries import Summary, WeightSummary
from probe.report.weight_part import in_words

if TYPE_CHECKING:
    from probe.report import Finding, Outputs, Report

__all__ = [
    "LABELS",
    "Block",
    "Line",
    "Row",
    "arrays",
    "blocks",
    "compared",
    "facts",
    "headline",
    "inherited",
    "number",
    "reasons",
    "row",
    "short",
    "times",
]

_WEIGHTS = 100
"""How many of a layer's weights are listed."""
_CALLS = 24
"""How many of the calls of a composed layer are listed."""
_LARGE = 1e6
"""Beyond that, the digits of a ratio say nothing."""

LABELS = {"framework": "framework", "numpy": "NumPy", "onnx": "ONNX Runtime", "expected": "yours"}


@dataclass(frozen=True)
class Line:
    """Something with a name, and what belongs below it."""

    label: str
    text: str
    below: tuple[str, ...] = ()
    verdict: str = ""
    """"agree", "diverge" or "unchecked" where the text says so in words."""
    copied: bool = False
    """Whether the text is a command, which is shown as it is: neither wrapped nor escaped."""


@dataclass(frozen=True)
class Block:
    """What is said of one matter."""

    name: str
    """"head", "layer", "weights", "parties", "pairs", "worst", "limits", "note", "effect", "why" or
    "verdict"."""
    title: str = ""
    lines: tuple[Line, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    """The same for programs, by the keys of the JSON: numbers, words, mappings and sequences of
    them, or what gives such as its ``facts()``."""


@dataclass(frozen=True)
class Row:
    """A call of a sweep in columns."""

    verdict: str
    name: str
    kind: str
    shape: str
    text: str
    cause: str = ""
    """The mistake found, by its name."""
    claim: str = ""
    """The same in words."""

    @property
    def said(self) -> str:
        """The text and the cause."""
        if self.cause:
            return f"{self.text}; {self.cause}"
        return self.text


def blocks(report: "Report", every: bool = False) -> tuple[Block, ...]:
    """What is said of a call, in the order of the text: the verdict comes last. With ``every`` all
    weights and calls are listed; without, nothing more than the shapes is said of values of another
    shape that no mistake explains."""
    found = [block for block in _all(report, every) if block.title or block.lines]
    if not every and _of_another_shape(report):
        found = [block for block in found if block.name in _OF_SHAPES]
    return tuple(found)


_OF_SHAPES = ("head", "layer", "why", "verdict")
"""What is said of values of another shape, by the names of blocks."""


def _of_another_shape(report: "Report") -> bool:
    """Whether the user's values have another shape, as which no mistake gives them."""
    if report.findings or "expected" not in report.outputs:
        return False
    sides = (arrays(report.outputs[party]) for party in ("framework", "expected"))
    return any(
        theirs is not None and yours is not None and theirs.shape != yours.shape
        for theirs, yours in zip(*sides, strict=False)
    )


def facts(report: "Report") -> dict[str, object]:
    """The facts of all blocks, by the keys of the JSON."""
    return {name: value for block in _all(report) for name, value in block.facts.items()}


def _all(report: "Report", every: bool = False) -> Iterator[Block]:
    """Every block, those too that have nothing to be read."""
    yield _head(report)
    yield _layer(report, every)
    yield _weights(report, every)
    yield _parties(report)
    yield _pairs(report)
    yield _worst(report)
    yield _limits(report)
    yield Block("note", facts={"notes": report.notes})
    yield from (Block("note", "", (Line("note", note),)) for note in report.notes)
    yield _effect(report)
    found = [_finding(finding) for finding in report.findings]
    yield Block("why", facts={"findings": found, "diagnosis": report.diagnosis, "ask": report.ask})
    yield from reasons(report)
    told = {name: getattr(report, name) for name in ("verdict", "ok", "sentence", "inherits")}
    yield Block("verdict", "", (Line("", report.sentence, verdict=report.verdict),), told)


def _effect(report: "Report") -> Block:
    """What values in the place of layers' outputs make of the model's."""
    lines = []
    if report.replaced:
        lines.append(Line("replaced", f"in the layers after it {report.replaced}"))
    if report.effect is not None:
        lines.append(Line("effect", report.effect.sentence))
    facts = {"replaced": report.replaced, "effect": report.effect}
    return Block("effect", "", tuple(lines), facts)


_COUNTED = re.compile(r":\d+$")
"""How a name ends that another call before it would shift."""


def headline(report: "Report", width: int | None = printable.WIDTH) -> str:
    """The verdict in one line of at most 100 columns, or ``width``; None: of any length."""
    name = printable.name(report.layer) or "(root)"
    call = f", call {report.call}" if report.call else ""
    told = report.sentence.partition(": ")[2].partition(". ")[0]
    if report.verdict == "diverge" and report.findings:
        told = str(report.findings[0])
    told = told.replace("the largest difference is", "up to")
    return printable.end(f"{report.verdict}: {name}{call}: {told}", width)


def row(report: "Report") -> Row:
    """The call in columns, for a sweep."""
    call = f":{report.call}" if report.call else ""
    first = next(iter(arrays(next(iter(report.outputs.values())))), None)
    ratios = [comparison.ratio for comparison in report.comparisons.values()]
    if report.verdict == "agree":
        text = f"up to {max(ratios):.2g} x the allowance" if any(ratios) else "equal"
        if "are NaN" in report.sentence:
            text += f"; {report.sentence.rpartition('; ')[2]}"
    else:
        # what every difference beyond rounding has in common is left to the report at length
        text = report.sentence.partition(": ")[2].partition(". This is not rounding")[0]
        if report.inherits:
            text += f"; {inherited(report)}"
    if report.replaced:
        text += f"; replaced {report.replaced}"
    if report.alias is not None and _COUNTED.search(report.layer):
        text += f"; also {printable.name(report.alias.rpartition('/')[2])}"
    found = report.findings[0] if report.findings else None
    return Row(
        report.verdict,
        printable.name(report.layer) + call,
        printable.name(report.kind),
        "" if first is None else str(first.shape),
        text,
        "" if found is None else found.named,
        "" if found is None else found.claim,
    )


def inherited(report: "Report") -> str:
    """Where a difference in your values may come from."""
    return f"it may come from {printable.name(report.inherits)}: your values do not say its inputs"


def number(value: float) -> str:
    """A value with enough digits to tell float32 neighbours apart."""
    return f"{value:.9g}"


def arrays(output: "Outputs") -> tuple[np.ndarray | None, ...]:
    """The outputs as a tuple, also where there is one."""
    if isinstance(output, tuple):
        return output
    return (output,)


def _axes(shape: Sequence[int], names: Sequence[str]) -> str:
    if len(names) != len(shape):
        return f"({', '.join(map(str, shape))})"
    return "(" + ", ".join(f"{name} {size}" for name, size in zip(names, shape, strict=True)) + ")"


def _from(how: str) -> str:
    """Where an input comes from: the model's own input, unless the layer's was given."""
    if how.startswith("the layer's own input"):
        return f", {how}"
    return f"; model input: {how}"


def _head(report: "Report") -> Block:
    call = f", call {report.call}" if report.call else ""
    name, kind = printable.name(report.layer) or "(root)", printable.name(report.kind)
    told = ("layer", "alias", "kind", "call", "source", "framework")
    return Block(
        "head",
        f"{name} ({kind}{call}) of {report.source}, {report.framework}",
        facts={field: getattr(report, field) for field in told},
    )


def _layer(report: "Report", every: bool) -> Block:
    """Its other name, inputs, outputs and what is computed."""
    lines = []
    if report.alias is not None:
        also = f"{printable.name(report.alias)}, by the line that calls it"
        lines.append(Line("also", also))
    for i, x in enumerate(report.inputs):
        label = "input" if len(report.inputs) == 1 else f"input {i}"
        how = _from(report.how) if not i and report.how else ""
        shape = _axes(x.shape, () if i else report.input_axes)
        lines.append(Line(label, f"{shape} {x.dtype}{_codes(report.input_grids, i)}{how}"))
    first = next(iter(report.outputs.values()))
    for i, y in enumerate(arrays(first)):
        if y is not None:
            label = report.output_name(i) if isinstance(first, tuple) else "output"
            kind = report.dtype if y.dtype.kind == "f" else y.dtype
            shape = _axes(y.shape, () if i else report.output_axes)
            lines.append(Line(label, f"{shape} {kind}{_codes(report.output_grids, i)}"))
    told = ("dtype", "input_axes", "output_axes", "output_names", "ops", "calls", "parameters")
    facts = {"input": report.how, "inputs": [*map(Summary, report.inputs)]}
    facts |= {field: getattr(report, field) for field in told}
    for kind, grids in (("input_codes", report.input_grids), ("output_codes", report.output_grids)):
        facts |= {kind: list(map(_grid, grids))} if any(grids) else {}
    return Block("layer", "", (*lines, *_computed(report, every)), facts)


def _codes(grids: Sequence[Grid | None], place: int) -> str:
    """What the integers of an input or output stand for."""
    grid = grids[place] if place < len(grids) else None
    if grid is None:
        return ""
    if np.size(grid.scale) != 1:
        return ", codes with a scale for each channel"
    scale, zero = (float(np.ravel(part)[0]) for part in (grid.scale, grid.zero_point))
    return f", codes of scale {scale:.6g} and zero point {zero:g}"


def _grid(grid: Grid | None) -> dict[str, object] | None:
    if grid is None:
        return None
    scale, zero = (np.ravel(part).tolist() for part in (grid.scale, grid.zero_point))
    return {"scale": scale, "zero_point": zero, "bits": grid.bits, "signed": grid.signed}


def _computed(report: "Report", every: bool) -> Iterator[Line]:
    """Each op in words, and what it does beside its weights; of a composed layer the calls."""
    if report.calls:
        names = [name for name in dict.fromkeys(report.calls) if name]
        shown = names if every else names[:_CALLS]
        listed = ", ".join(map(printable.name, shown))
        if len(names) > len(shown):
            more = f", … and {len(names) - len(shown)} more"
        else:
            more = ""
        text = f"{len(names)} calls, {len(report.ops)} steps: {listed}{more}"
        yield Line("computed", text)
        return
    label = "computed"
    parameters = report.parameters or ({},) * len(report.ops)
    for words, values in zip(report.ops, parameters, strict=True):
        if words not in ("Transpose", "Outputs"):  # they compute nothing
            yield Line(label, words, (text,) if (text := as_text(values)) else ())
            label = ""


def _weights(report: "Report", every: bool) -> Block:
    weights = {name: WeightSummary(weight) for name, weight in report.weights.items()}
    facts = {"weights": weights}
    if not weights:
        return Block("weights", facts=facts)
    shown = [*weights.values()][: None if every else _WEIGHTS]
    more = [Line(f"… and {len(weights) - len(shown):,} more", "")]
    return Block(
        "weights",
        f"weights, {sum(summary.weight.effective.size for summary in weights.values())} parameters",
        (*map(_weight, shown), *(more if len(weights) > len(shown) else ())),
        facts,
    )


def _weight(summary: WeightSummary) -> Line:
    weight = summary.weight
    effective = weight.effective
    below = [f"-> {step}" for step in weight.steps]
    if weight.stored is None:
        below.append(
            "not stored under this name; computed from "
            f"{', '.join(weight.parts) or 'other weights'}"
        )
    elif weight.stored.shape != effective.shape:
        below.append(f"stored as {weight.stored.shape}")
    elif summary.same:
        if weight.steps:
            below.append("stored and effective values are identical")
    else:
        below.append(
            f"stored and effective values differ by up to {summary.largest_difference:.3g}; "
            f"distinct values: {summary.distinct_stored} stored, {summary.distinct} effective"
        )
    shape = f"{_axes(effective.shape, ())} {effective.dtype}"
    return Line(printable.name(weight.name), shape, tuple(below))


def _parties(report: "Report") -> Block:
    lines = []
    outputs: dict[str, list[Summary | None]] = {}
    for party in PARTIES:
        if party in report.outputs:
            several = isinstance(report.outputs[party], tuple)
            outputs[party] = [*_outputs(report, party)]
            for i, output in enumerate(outputs[party]):
                name = f"{report.output_name(i)}: " if several else ""
                text = "not given" if output is None else _summary(output)
                lines.append(Line("" if i else LABELS[party], f"{name}{text}"))
        elif party in report.missing:
            lines.append(Line(LABELS[party], f"missing: {report.missing[party]}"))
    facts = {"outputs": outputs, "missing": report.missing}
    return Block("parties", "parties", tuple(lines), facts)


def _outputs(report: "Report", party: str) -> Iterator[Summary | None]:
    """What a party gives, output by output."""
    for i, array in enumerate(arrays(report.outputs[party])):
        known = report.known if party == "expected" and not i else None
        yield None if array is None else Summary(array, known)


def _summary(summary: Summary) -> str:
    if summary.known is None:
        part = ""
    else:
        part = f", {summary.values.size} of {summary.known.size} values"
    if not summary.values.size:
        return f"empty{part}"
    if not summary.finite.size:
        return f"no finite value{part}"
    odd = summary.values.size - summary.finite.size
    told = f"min {summary.low:.6g}  mean {summary.mean:.6g}  max {summary.high:.6g}"
    return told + (f", {odd} NaN or inf" if odd else "") + part


def times(ratio: float) -> str:
    """A ratio in words."""
    if ratio < _LARGE:
        return f"up to {ratio:.3g} x"
    return "more than 1e6 x"


def short(ratio: float, digits: int = 3) -> str:
    """A ratio in a column of numbers; "" where nothing was compared."""
    if math.isnan(ratio):
        return ""
    if ratio >= _LARGE:
        if math.isinf(ratio):
            return "inf"
        return ">1e6"
    return f"{ratio:.{digits}g}"


def _pairs(report: "Report") -> Block:
    told = [
        {"parties": pair} | compared(comparison) for pair, comparison in report.comparisons.items()
    ]
    lines = dict.fromkeys(_pair_lines(report.comparisons))
    return Block("pairs", "", tuple(lines), {"comparisons": told})


def _pair_lines(comparisons: Mapping[tuple[str, str], Comparison]) -> Iterator[Line]:
    """A line for each pair; one for all of a party that differs from every other alike."""
    failed = {pair: comparison for pair, comparison in comparisons.items() if not comparison.ok}
    odd = _odd_one_out(comparisons, failed)
    ratios = [comparison.ratio for comparison in failed.values()]
    for pair, comparison in comparisons.items():
        if odd and pair in failed:
            others = f"{LABELS[odd]} and each of the others"
            yield _pair(others, replace(comparison, ratio=max(ratios)))
        else:
            yield _pair(f"{LABELS[pair[0]]} and {LABELS[pair[1]]}", comparison)


def _odd_one_out(
    comparisons: Mapping[tuple[str, str], Comparison], failed: Mapping[tuple[str, str], Comparison]
) -> str:
    """The party of which the same is said beside each of several others; "" where there is none."""
    told = {(each.count, each.size, each.reason) for each in failed.values()}
    for party in PARTIES if len(failed) > 1 and len(told) == 1 else ():
        if failed.keys() == {pair for pair in comparisons if party in pair}:
            return party
    return ""


def compared(comparison: Comparison) -> dict[str, object]:
    """The facts of a comparison."""
    told = {name: getattr(comparison, name) for name in ("ok", "count", "size", "ratio", "reason")}
    told["certain"] = comparison.certain
    if comparison.worst is not None:
        told["worst"] = vars(comparison.worst)
    return told


def _pair(parties: str, comparison: Comparison) -> Line:
    if comparison.ok and not comparison.size:
        said = "have the same shape and no elements"
    elif comparison.ok and not comparison.ratio:
        said = "are equal"
    elif comparison.ok:
        said = f"agree; the largest difference is {comparison.ratio:.2g} x the allowance"
    elif comparison.reason:
        said = f"DIFFER: {comparison.reason}"
    else:
        said = (
            f"DIFFER at {comparison.count} of {comparison.size} elements, by "
            f"{times(comparison.ratio)} the allowance"
        )
    verdict = "agree" if comparison.ok else "diverge"
    return Line(parties, said, verdict=verdict)


def _worst(report: "Report") -> Block:
    """The worst element of the worst pair, with every party's value there."""
    failed = [pair for pair, comparison in report.comparisons.items() if not comparison.ok]
    rated = {
        pair: report.comparisons[pair].ratio
        for pair in failed or report.comparisons
        if report.comparisons[pair].worst is not None and report.comparisons[pair].ratio
    }
    if not rated:
        return Block("worst")
    pair = max(rated, key=lambda pair: rated[pair])
    worst = report.comparisons[pair].worst
    assert worst is not None
    several = any(isinstance(output, tuple) for output in report.outputs.values())
    where = f"{report.output_name(worst.output)}, " if several else ""
    named = len(report.output_axes) == len(worst.index) and not worst.output
    at = ", ".join(
        f"{name} {i}"
        for name, i in zip(report.output_axes if named else (), worst.index, strict=named)
    )
    lines = []
    for party in PARTIES:
        if party in report.outputs:
            values = arrays(report.outputs[party])[worst.output]
        else:
            values = None
        if (
            values is not None
            and len(worst.index) == values.ndim
            and all(i < n for i, n in zip(worst.index, values.shape, strict=True))
        ):
            lines.append(Line(LABELS[party], number(float(values[worst.index]))))
    lines.append(Line(f"difference {worst.error:.3g}; allowance {worst.allowance:.3g}", ""))
    lines += [Line(told, "") for told in _largest_error(report, pair, worst) if failed]
    label = "worst element" if failed else "largest difference at"
    place = f"{where}[{', '.join(map(str, worst.index))}]"
    return Block("worst", f"{label}: {place}" + f" ({at})" * named, tuple(lines))


def _largest_error(report: "Report", pair: tuple[str, str], worst: Worst) -> Iterator[str]:
    """Where a pair lies furthest apart, where that is not where it does in units of what is
    allowed."""
    left, right = (arrays(report.outputs[party])[worst.output] for party in pair)
    if left is None or right is None or left.shape != right.shape:
        return
    with np.errstate(all="ignore"):
        apart = np.nan_to_num(np.abs(np.subtract(left, right, dtype=np.float64)), posinf=0.0)
    index = tuple(map(int, np.unravel_index(int(apart.argmax()), apart.shape)))
    if apart[index] > _LARGER * worst.error:
        place = ", ".join(map(str, index))
        yield f"the largest difference is {apart[index]:.3g}, at [{place}]"


_LARGER = 1.001
"""By how much the largest difference is larger than that of the worst element to be told."""


def _limits(report: "Report") -> Block:
    """What this check could have seen, and what not."""
    lines = []
    sensitivity = report.sensitivity
    if detected := in_words(report.visible, sensitivity):
        lines.append(Line("sensitivity", detected))
    if sensitivity is not None:
        lines += [Line("not detectable with this input", told) for told in sensitivity.unseen]
    lines += [Line("not detectable with this input", told) for told in report.blind]
    facts = {
        "blind": report.blind,
        "smallest_visible_change": report.visible,
        "sensitivity": None if sensitivity is None else vars(sensitivity),
    }
    return Block("limits", "", tuple(lines), facts)


def reasons(report: "Report") -> Iterator[Block]:
    """The mistakes found, what they explain and what to do; then what else was seen of the
    difference."""
    for tie, found in groupby(report.findings, lambda finding: finding.tie):
        group = list(found)
        for findings in [group] if tie else [[alone] for alone in group]:
            yield Block("why", "", (_explained(findings),))
    if report.diagnosis:
        first, *rest = report.diagnosis
        yield Block("why", "", (Line("" if report.findings else "why", first, tuple(rest)),))


def _finding(finding: "Finding") -> dict[str, object]:
    recovered = {name: Summary(array) for name, array in finding.recovered.items()}
    return vars(finding) | {"recovered": recovered}


def _explained(findings: Sequence["Finding"]) -> Line:
    """A mistake, or several that explain the values equally well: one sentence of all, what they
    explain, and what to do."""
    first = findings[0]
    if first.party == "expected":
        whose = ""
    else:
        whose = f" (of {LABELS[first.party]}'s values)"
    names = [finding.named for finding in findings]
    claims = [f"{name} ({finding.claim})" for name, finding in zip(names, findings, strict=True)]
    if len(findings) == 1:
        text = f"{names[0]}{whose}: {first.claim}"
    else:
        text = f"a tie{whose}: these explain the values equally well: {', or '.join(claims)}"
    below = [f"in {code}" for code in first.code]
    most = max(finding.left for finding in findings)
    if first.slug != "rounding" and most <= 1:
        rest = f"largest remaining difference {most:.2g} x the allowance"
        below.append(f"reproduces these values ({rest})")
    elif first.slug != "rounding":
        below.append(
            f"explains {min(finding.explained for finding in findings):.3%} of the difference; the "
            f"remaining difference is {times(most)} the allowance"
        )
    done = dict.fromkeys(
        (finding.do, name) for finding, name in zip(findings, names, strict=True) if finding.do
    )
    below += [do if len(done) == 1 else f"{name}: {do}" for do, name in done]
    return Line("why", text, (*below, *_in_code(first)))


_MOST_LINES = 3


def _in_code(finding: "Finding") -> Iterator[str]:
    """The mistake as lines of the layer's script."""
    for theirs, layers in finding.lines[:_MOST_LINES]:
        yield f"{LABELS[finding.party]}: {theirs or '(no such line)'}"
        yield f"layer: {layers or '(no such line)'}"
    if (more := len(finding.lines) - _MOST_LINES) > 0:
        yield f"and {more} more lines of the layer's script"
