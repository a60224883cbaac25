"""A comparison of two models for other programs."""

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.comparison.compare import Comparison

if TYPE_CHECKING:
    from probe.model_comparison.result import ModelComparison, Pair

__all__ = ["SCHEMA", "as_dict", "to_json"]

SCHEMA = 1
"""Another one where a key changes its meaning or goes."""


def to_json(comparison: "ModelComparison") -> str:
    return json.dumps(as_dict(comparison), indent=2, allow_nan=False)


def as_dict(comparison: "ModelComparison") -> dict[str, Any]:
    """The comparison as plain lists, dicts, strings and numbers."""
    return {
        "schema": SCHEMA,
        "a": comparison.a,
        "b": comparison.b,
        "verdict": comparison.verdict,
        "ok": comparison.ok,
        "sentence": comparison.sentence,
        "input": comparison.how,
        "inputs": list(comparison.inputs),
        "notes": list(comparison.notes),
        "unpaired": {
            side: list(names) for side, names in zip("ab", comparison.unpaired, strict=True)
        },
        "pairs": [_pair(one) for one in comparison.pairs],
    }


def _pair(pair: "Pair") -> dict[str, Any]:
    return {
        "a": list(pair.a),
        "b": list(pair.b),
        "axes": pair.axes,
        "how": pair.how,
        "verdict": pair.verdict,
        "source": pair.source,
        "shape": list(pair.shape),
        "fitting": pair.fitting,
        "local": _compared(pair.local),
        "propagated": _compared(pair.propagated),
        "expected": None if pair.expected is None else _number(pair.expected),
        "differs": [[name, _plain(a), _plain(b)] for name, a, b in pair.differs],
        "findings": [
            {
                "slug": one.slug,
                "also": list(one.also),
                "claim": one.claim,
                "left": _number(one.left),
            }
            for one in pair.findings
        ],
        "notes": list(pair.notes),
    }


def _compared(one: Comparison | None) -> dict[str, Any] | None:
    if one is None:
        return None
    told: dict[str, Any] = {
        "ok": one.ok,
        "count": one.count,
        "size": one.size,
        "ratio": _number(one.ratio),
        "reason": one.reason,
    }
    if one.worst is not None:
        told["worst"] = {
            "index": list(one.worst.index),
            "values": [_number(value) for value in one.worst.values],
            "allowance": _number(one.worst.allowance),
        }
    return told


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float | np.floating):
        return _number(float(value))
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value)
