"""Mistakes planted on purpose, gathered from the modules of planted_faults/ beside this file."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from planting import Rows

import probe

_FOLDER = Path(__file__).parent / "planted_faults"
ROWS: Rows = [
    row
    for path in sorted(_FOLDER.glob("*.py"))
    for row in import_module(f"planted_faults.{path.stem}").ROWS
]


def asked(row: Callable[[], tuple]) -> probe.Report:
    """What is said of a planted mistake."""
    return checked(*row())


def checked(layer: Any, x: Any, expected: Any, options: Any = None) -> probe.Report:
    """What is said of these values of a row's layer."""
    if options and "at" in options:
        return probe.check(layer, options["at"], x, expected=expected)
    name = probe.open_model(layer).layers[0].name
    return probe.check(layer, name, given=x, expected=expected, **(options or {}))
