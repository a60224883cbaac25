"""The report for machines: JSON, and the arrays themselves as .npz."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probe import printable
from probe.comparison.compare import PARTIES
from probe.errors import BadInput
from probe.files import atomic_write
from probe.ops.weight import Weight
from probe.report.blocks import arrays
from probe.report.c_header import header, listing

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["SCHEMA", "as_dict", "refuse_ending", "save", "to_json"]


SCHEMA = 1
"""The version of what ``--json`` writes: another one where a key changes its meaning or goes."""


def _number(value: float) -> float | str:
    """JSON has no NaN and no inf: they become strings."""
    return value if math.isfinite(value) else str(value)


def _array(array: np.ndarray | None, known: np.ndarray | None = None) -> dict[str, Any] | None:
    """An array by shape, dtype and summary: of the values that are ``known``."""
    if array is None:
        return None
    told: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    if known is not None:
        array = array[known]
        told["given"] = int(array.size)
    if array.size:
        values = array.astype(np.float64)
        finite = values[np.isfinite(values)]
        told |= {"finite": int(finite.size)}
        if finite.size:
            told |= {
                "min": float(finite.min()),
                "max": float(finite.max()),
                "mean": float(finite.mean()),
            }
    return told


def _weight(weight: Weight) -> dict[str, Any]:
    told: dict[str, Any] = {
        "stored": _array(weight.stored),
        "effective": _array(weight.effective),
        "steps": list(weight.steps),
    }
    if weight.parts:
        told["parts"] = {name: _array(part) for name, part in weight.parts.items()}
    if weight.grid is not None:
        told["bits"], told["signed"] = weight.grid.bits, weight.grid.signed
    if (
        weight.stored is not None
        and weight.stored.shape == weight.effective.shape
        and weight.stored.size
    ):
        difference = np.abs(weight.stored.astype(np.float64) - weight.effective)
        told["largest_difference"] = _number(float(difference.max()))
        told["distinct_values"] = int(np.unique(weight.effective).size)
    return told


def as_dict(report: "Report") -> dict[str, Any]:
    """The report as plain lists, dicts, strings and numbers."""
    comparisons = []
    for (left, right), one in report.comparisons.items():
        told: dict[str, Any] = {
            "parties": [left, right],
            "ok": one.ok,
            "count": one.count,
            "size": one.size,
            "ratio": _number(one.ratio),
            "reason": one.reason,
            "certain": one.certain,
        }
        if one.worst is not None:
            told["worst"] = {
                "output": one.worst.output,
                "index": list(one.worst.index),
                "values": [_number(value) for value in one.worst.values],
                "allowance": _number(one.worst.allowance),
            }
        comparisons.append(told)
    return {
        "schema": SCHEMA,
        "layer": report.layer,
        "alias": report.alias,
        "kind": report.kind,
        "call": report.call,
        "source": report.source,
        "framework": report.framework,
        "verdict": report.verdict,
        "ok": report.ok,
        "sentence": report.sentence,
        "dtype": report.dtype,
        "input": report.how,
        "inputs": [_array(x) for x in report.inputs],
        "input_axes": list(report.input_axes),
        "output_axes": list(report.output_axes),
        "output_names": list(report.output_names),
        "ops": list(report.ops),
        "calls": list(report.calls),
        "parameters": list(report.parameters),
        "outputs": {
            party: [
                _array(one, report.known if party == "expected" and not i else None)
                for i, one in enumerate(arrays(report.outputs[party]))
            ]
            for party in PARTIES
            if party in report.outputs
        },
        "missing": dict(report.missing),
        "comparisons": comparisons,
        "weights": {name: _weight(weight) for name, weight in report.weights.items()},
        "findings": [
            {
                **vars(one),
                "also": list(one.also),
                "left": _number(one.left),
                "recovered": {name: _array(array) for name, array in one.recovered.items()},
            }
            for one in report.findings
        ],
        "diagnosis": list(report.diagnosis),
        "blind": list(report.blind),
        "smallest_visible_change": None if report.visible is None else _number(report.visible),
        "notes": list(report.notes),
    }


def to_json(report: "Report") -> str:
    """The report as JSON (no NaN, no inf, no array values)."""
    return json.dumps(as_dict(report), indent=2, allow_nan=False)


def refuse_ending(path: str | Path) -> None:
    """Raises BadInput where the name does not say which of the forms to write."""
    if Path(path).suffix not in (".npz", ".h", ".txt"):
        raise BadInput(f"a report is saved as .npz, .h or .txt; {path} has none of these suffixes")


def save(report: "Report", path: str | Path) -> None:
    """Writes what a test bench needs, whole or not at all (``writing``): a C header (.h), numbers a
    line each (.txt), or an .npz.

    The .npz holds ``input_0``, ``framework_0``, ``numpy_0``, …, ``stored:NAME`` and
    ``effective:NAME``, and for quantised weights ``integer:NAME``, ``scale:NAME``,
    ``zero_point:NAME`` and ``bits:NAME``; ``recovered:NAME`` where weights were solved for.
    """
    refuse_ending(path)
    suffix = Path(path).suffix
    if suffix in (".h", ".txt"):
        text = header(report) if suffix == ".h" else listing(report)
        atomic_write.write(path, lambda file: file.write(text.encode()), [report.source])
        return
    held: dict[str, np.ndarray] = {f"input_{i}": x for i, x in enumerate(report.inputs)}
    for party, output in report.outputs.items():
        held |= {f"{party}_{i}": one for i, one in enumerate(arrays(output)) if one is not None}
    for name, weight in report.weights.items():
        held[f"effective:{name}"] = weight.effective
        if weight.stored is not None:
            held[f"stored:{name}"] = weight.stored
        held |= {f"part:{name}:{part}": array for part, array in weight.parts.items()}
        if weight.grid is not None:
            held[f"integer:{name}"] = weight.grid.integers(weight.effective)
            held[f"scale:{name}"] = np.asarray(weight.grid.scale)
            held[f"zero_point:{name}"] = np.asarray(weight.grid.zero_point)
            held[f"bits:{name}"] = np.asarray(weight.grid.bits)
    for finding in report.findings[:1]:
        held |= {f"recovered:{name}": array for name, array in finding.recovered.items()}
    named = {printable.line(name): array for name, array in held.items()}
    atomic_write.write(path, lambda file: np.savez(file, **named), [report.source])  # type: ignore[arg-type]
