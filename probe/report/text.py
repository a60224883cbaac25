"""The report as a person reads it, on a page of plain text."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from probe import printable
from probe.comparison.compare import PARTIES, Comparison
from probe.ops.weight import Weight
from probe.report.parameters import as_text

if TYPE_CHECKING:
    from probe.report import Finding, Outputs, Report

__all__ = ["line", "reasons", "render"]

_DEEP = 13 * " "
_WEIGHTS = 100
"""How many of a layer's weights are listed."""
_CALLS = 24
"""How many of the calls of a composed layer are listed."""

LABELS = {"framework": "framework", "numpy": "NumPy", "onnx": "ONNX Runtime", "expected": "yours"}


def number(value: float) -> str:
    """A value with enough digits to tell float32 neighbours apart."""
    return f"{value:.9g}"


def _axes(shape: Sequence[int], names: Sequence[str]) -> str:
    if len(names) != len(shape):
        return f"({', '.join(map(str, shape))})"
    return "(" + ", ".join(f"{name} {size}" for name, size in zip(names, shape, strict=True)) + ")"


def arrays(output: "Outputs") -> tuple[np.ndarray | None, ...]:
    """The outputs as a tuple, also where there is one."""
    return output if isinstance(output, tuple) else (output,)


def _weight(weight: Weight) -> list[str]:
    effective = weight.effective
    lines = [f"  {printable.name(weight.name):<18} {_axes(effective.shape, ())} {effective.dtype}"]
    lines += [f"    -> {step}" for step in weight.steps]
    if weight.stored is None:
        lines.append(
            "    not stored under this name; computed from "
            f"{', '.join(weight.parts) or 'other weights'}"
        )
    elif weight.stored.shape != effective.shape:
        lines.append(f"    stored as {weight.stored.shape}")
    elif np.array_equal(weight.stored, effective, equal_nan=effective.dtype.kind == "f"):
        if weight.steps:
            lines.append("    stored and effective values are identical")
    else:
        difference = np.abs(weight.stored.astype(np.float64) - effective)
        lines.append(
            "    stored and effective values differ by up to "
            f"{float(np.max(difference)):.3g}; distinct values: "
            f"{np.unique(weight.stored).size} stored, {np.unique(effective).size} effective"
        )
    return lines


def _times(ratio: float) -> str:
    """A ratio in words; beyond a million its digits say nothing."""
    return f"up to {ratio:.3g} x" if ratio < 1e6 else "more than 1e6 x"


def _pair(pair: tuple[str, str], comparison: Comparison) -> str:
    names = f"{LABELS[pair[0]]} and {LABELS[pair[1]]}"
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
            f"{_times(comparison.ratio)} the allowance"
        )
    return f"  {names:<28} {said}"


def _worst(report: "Report") -> list[str]:
    """The worst element of the worst pair, with every party's value there."""
    failed = [one for one in report.comparisons.values() if not one.ok]
    rated = [
        comparison
        for comparison in failed or report.comparisons.values()
        if comparison.worst is not None and comparison.ratio
    ]
    if not rated:
        return []
    comparison = max(rated, key=lambda one: one.ratio)
    worst = comparison.worst
    assert worst is not None
    where = (
        f"{report.output_name(worst.output)}, "
        if any(isinstance(output, tuple) for output in report.outputs.values())
        else ""
    )
    names = (
        report.output_axes
        if len(report.output_axes) == len(worst.index) and not worst.output
        else ()
    )
    at = (
        ", ".join(f"{name} {i}" for name, i in zip(names, worst.index, strict=True))
        if names
        else ", ".join(map(str, worst.index))
    )
    label = "worst element" if failed else "largest difference at"
    lines = [
        f"{label}: {where}[{', '.join(map(str, worst.index))}]" + (f" ({at})" if names else "")
    ]
    for party in PARTIES:
        values = arrays(report.outputs[party])[worst.output] if party in report.outputs else None
        if (
            values is not None
            and len(worst.index) == values.ndim
            and all(i < n for i, n in zip(worst.index, values.shape, strict=True))
        ):
            lines.append(f"  {LABELS[party]:<14} {number(float(values[worst.index]))}")
    lines.append(f"  difference {worst.error:.3g}; allowance {worst.allowance:.3g}")
    return lines


def _summary(values: np.ndarray, known: np.ndarray | None = None) -> str:
    if known is not None:
        return f"{_summary(values[known])}, {int(known.sum())} of {known.size} values"
    if not values.size:
        return "empty"
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return "no finite value"
    odd = f", {values.size - finite.size} NaN or inf" if finite.size < values.size else ""
    return (
        f"min {float(finite.min()):.6g}  mean {float(finite.mean(dtype=np.float64)):.6g}  max "
        f"{float(finite.max()):.6g}{odd}"
    )


def reasons(report: "Report") -> list[str]:
    """The mistakes found, what they explain and what to do; then what else was seen of the
    difference."""
    lines: list[str] = []
    for tie, found in groupby(report.findings, lambda one: one.tie):
        group = list(found)
        for one in [group] if tie else [[alone] for alone in group]:
            lines += ["", *_explained(one)]
    if report.diagnosis:
        lines += [
            "",
            *(
                ("why: " if not i and not report.findings else "     ") + told
                for i, told in enumerate(report.diagnosis)
            ),
        ]
    return lines


def _explained(found: Sequence["Finding"]) -> list[str]:
    """A mistake, or several that explain the values equally well: one sentence of all, what they
    explain, and what to do."""
    first = found[0]
    whose = "" if first.party == "expected" else f" (of {LABELS[first.party]}'s values)"
    names = [" and ".join((one.slug, *one.also)) for one in found]
    claims = [f"{name} ({one.claim})" for name, one in zip(names, found, strict=True)]
    lines = [
        f"why: {names[0]}{whose}: {first.claim}"
        if len(found) == 1
        else f"why: a tie{whose}: these explain the values equally well: {', or '.join(claims)}"
    ]
    most = max(one.left for one in found)
    if first.slug != "rounding" and most <= 1:
        rest = f"largest remaining difference {most:.2g} x the allowance"
        lines.append(f"     reproduces these values ({rest})")
    elif first.slug != "rounding":
        lines.append(
            f"     explains {min(one.explained for one in found):.3%} of the difference; the "
            f"remaining difference is {_times(most)} the allowance"
        )
    done = dict.fromkeys((one.do, name) for one, name in zip(found, names, strict=True) if one.do)
    lines += [f"     {do}" if len(done) == 1 else f"     {name}: {do}" for do, name in done]
    return lines


def _computed(report: "Report") -> list[str]:
    """Each op in words, and what it does beside its weights on a line of its own; of a composed
    layer the calls."""
    if report.calls:
        names = [name for name in dict.fromkeys(report.calls) if name]
        shown = ", ".join(map(printable.name, names[:_CALLS]))
        more = f", … and {len(names) - _CALLS} more" if len(names) > _CALLS else ""
        return [f"computed   {len(names)} calls, {len(report.ops)} steps: {shown}{more}"]
    lines: list[str] = []
    parameters = report.parameters or ({},) * len(report.ops)
    for words, values in zip(report.ops, parameters, strict=True):
        if words != "Transpose":
            lines.append(f"{'' if lines else 'computed':<10} {words}")
            lines += [_DEEP + text] if (text := as_text(values)) else []
    return lines


def render(report: "Report") -> str:
    """The whole report."""
    call = f", call {report.call}" if report.call else ""
    lines = [
        (
            f"{printable.name(report.layer) or '(root)'} ({printable.name(report.kind)}{call}) "
            f"of {report.source}, {report.framework}"
        ),
        "",
    ]
    if report.alias is not None:
        lines.append(f"{'also':<10} {printable.name(report.alias)}, by the line that calls it")
    for i, x in enumerate(report.inputs):
        label = "input" if len(report.inputs) == 1 else f"input {i}"
        lines.append(
            f"{label:<10} {_axes(x.shape, () if i else report.input_axes)} {x.dtype}"
            + (f", {report.how}" if not i and report.how else "")
        )
    first = next(iter(report.outputs.values()))
    for i, y in enumerate(arrays(first)):
        if y is not None:
            label = "output" if not isinstance(first, tuple) else report.output_name(i)
            kind = report.dtype if y.dtype.kind == "f" else y.dtype
            lines.append(f"{label:<10} {_axes(y.shape, () if i else report.output_axes)} {kind}")
    lines += _computed(report)
    if report.weights:
        lines += [
            "",
            f"weights, {sum(weight.effective.size for weight in report.weights.values())} "
            "parameters",
        ]
        for weight in list(report.weights.values())[:_WEIGHTS]:
            lines += _weight(weight)
        if len(report.weights) > _WEIGHTS:
            lines.append(f"  … and {len(report.weights) - _WEIGHTS:,} more")
    lines += ["", "parties"]
    for party in PARTIES:
        if party in report.outputs:
            for i, one in enumerate(arrays(report.outputs[party])):
                name = (
                    f"{report.output_name(i)}: " if isinstance(report.outputs[party], tuple) else ""
                )
                known = report.known if party == "expected" and not i else None
                lines.append(
                    f"  {'' if i else LABELS[party]:<14} "
                    f"{name}{'skipped' if one is None else _summary(one, known)}"
                )
        elif party in report.missing:
            lines.append(f"  {LABELS[party]:<14} missing: {report.missing[party]}")
    if report.comparisons:
        lines += ["", *(_pair(pair, comparison) for pair, comparison in report.comparisons.items())]
    worst = _worst(report)
    if worst:
        lines += ["", *worst]
    if report.visible is not None:
        lines += [
            "",
            f"sensitivity: this check would detect a relative change of {report.visible:.1g} "
            "in one weight",
        ]
    lines += [f"not detectable with this input: {told}" for told in report.blind]
    for note in report.notes:
        lines += ["", f"note: {note}"]
    lines += reasons(report)
    lines += ["", report.sentence]
    return printable.page(lines)


def line(report: "Report") -> str:
    """The report on one line, for a sweep."""
    call = f":{report.call}" if report.call else ""
    first = next(iter(arrays(next(iter(report.outputs.values())))), None)
    shape = "" if first is None else str(first.shape)
    ratios = [comparison.ratio for comparison in report.comparisons.values()]
    if report.verdict == "agree":
        told = f"largest difference {max(ratios):.2g} x the allowance" if any(ratios) else "equal"
        told += f"; {report.sentence.rpartition('; ')[2]}" if "are NaN" in report.sentence else ""
    else:
        told = report.sentence.partition(": ")[2]
        told += "".join(
            f"; {' and '.join((one.slug, *one.also))}: {one.claim}" for one in report.findings[:1]
        )
    return printable.line(
        f"{report.verdict:<9} {printable.name(report.layer) + call:<32} "
        f"{printable.name(report.kind):<22} {shape:<22} {told}"
    )
