"""The facts of a report's blocks as JSON."""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.report.blocks import facts

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["SCHEMA", "as_dict", "dumped", "plain", "to_json"]

SCHEMA = 1
"""The version of what ``--json`` writes: another one where a key changes its meaning or goes."""


def to_json(report: "Report") -> str:
    """The report as JSON (no NaN, no inf, no array values)."""
    return dumped(as_dict(report))


def as_dict(report: "Report") -> dict[str, object]:
    """The report as plain lists, dicts, strings and numbers."""
    return plain(facts(report))


def plain(facts: Mapping[str, object]) -> dict[str, object]:
    """Facts as plain lists, dicts, strings and numbers, with the version of the schema."""
    return {"schema": SCHEMA} | {name: _plain(value) for name, value in facts.items()}


def dumped(facts: Mapping[str, object]) -> str:
    """Plain facts as text."""
    return json.dumps(facts, indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    """NaN and inf become strings, as JSON has neither."""
    if hasattr(value, "facts"):
        return _plain(value.facts())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
