"""Writes adapters/keras/describe/class_table.py: the names that the adapters of Keras register
descriptions for, by module.

Listing a file reads them and must not import NumPy or a framework. Of an adapter that cannot be
imported the names stay as they are: HGQ2 needs an environment of its own, in which the others lack
their packages.
"""

import importlib
import textwrap
from pathlib import Path

from probe.adapters.keras.describe.class_table import NAMES
from probe.adapters.keras.describe.describe import REGISTERED
from probe.adapters.keras.describe.described_classes import ADAPTERS

ROOT = Path(__file__).parent.parent
KERAS = ROOT / "adapters" / "keras"
TABLE = KERAS / "describe" / "class_table.py"
FAMILIES = ("layers", "operations", "tf_functions")
"""Folders of adapters/keras whose modules register descriptions."""

WIDTH = 100
"""Of a line."""

HEAD = '''"""The names that are registered with a description, by the module that does so.

This file is written by ``python tools/gen_class_table.py`` from what the modules register.
"""

__all__ = ["NAMES"]

NAMES = {
'''


def registered() -> dict[str, set[str]]:
    """Module, relative to adapters.keras -> the names that it registers."""
    for family in FAMILIES:
        for path in (KERAS / family).glob("[!_]*.py"):
            importlib.import_module(f"probe.adapters.keras.{family}.{path.stem}")
    names: dict[str, set[str]] = {}
    for module in ADAPTERS.values():
        try:
            importlib.import_module(module, "probe.adapters.keras")
        except ImportError:
            names[module] = set(NAMES[module].split())
    for name, function in REGISTERED.items():
        if function.__module__.startswith("probe.adapters."):  # and no test
            names.setdefault(_relative(function.__module__), set()).add(name)
    return names


def _relative(module: str) -> str:
    """As the table names modules: those of Keras each, another adapter as a whole."""
    inner = module.removeprefix("probe.adapters.")
    if inner.startswith("keras."):
        return inner.removeprefix("keras")
    return f"..{inner.partition('.')[0]}"


def text() -> str:
    """What the file holds."""
    rows = []
    for module, names in sorted(registered().items()):
        words = " ".join(sorted(names))
        row = f'    "{module}": "{words}",\n'
        if len(row) > WIDTH + 1:
            fits = len(words) <= WIDTH - 10
            parts = [words] if fits else textwrap.wrap(words, WIDTH - 11, break_on_hyphens=False)
            strings = "".join(f'        "{part} "\n' for part in parts[:-1])
            row = f'    "{module}": (\n{strings}        "{parts[-1]}"\n    ),\n'
        rows.append(row)
    return "".join([HEAD, *rows, "}\n"])


if __name__ == "__main__":
    TABLE.write_text(text(), encoding="utf-8")
