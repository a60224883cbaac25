"""Mistakes planted on purpose, gathered from the modules of planted_faults/ beside this file."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

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
    layer, x, wrong, *options = row()
    if options and "at" in options[0]:
        return probe.check(layer, options[0]["at"], x, expected=wrong)
    return probe.check(
        layer,
        probe.open_model(layer).layers[0].name,
        given=x,
        expected=wrong,
        **(options[0] if options else {}),
    )
