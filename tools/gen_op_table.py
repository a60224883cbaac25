"""Writes the table of probe/ops/__init__.py: which names each file of ops exports, from their
``__all__``.

A file is in it that exports an op which no other derives from, and one that is there already.
"""

import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from probe import ops

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "probe" / "ops" / "__init__.py"
_WIDTH = 89
"""What a line has room for beside its indent, quotes and a last space."""


def _is_op(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, ops.Op) and not kind.__subclasses__()


def files() -> Iterator[tuple[str, list[str]]]:
    """Each file of the table, as the table names it, and what it exports."""
    modules = {
        ".".join(path.relative_to(TABLE.parent).with_suffix("").parts)
        for path in TABLE.parent.rglob("*.py")
        if path.name != "__init__.py"
    }
    exported = {name: import_module(f"probe.ops.{name}") for name in sorted(modules)}
    for name, module in exported.items():
        names = list(getattr(module, "__all__", ()))
        if name in ops._FILES or any(_is_op(getattr(module, each)) for each in names):
            yield name, names


def _row(file: str, names: list[str]) -> str:
    words = " ".join(names)
    if len(f'    "{file}": "{words}",') <= 100:
        return f'    "{file}": "{words}",'
    *first, last = textwrap.wrap(words, _WIDTH)
    lines = [*(f'        "{line} "' for line in first), f'        "{last}"']
    return "\n".join([f'    "{file}": (', *lines, "    ),"])


def filled(text: str) -> str:
    """The file with its table and the imports for type checkers written anew."""
    table = dict(files())
    imports = "".join(f"    from probe.ops.{file} import *\n" for file in table)
    rows = "".join(f"{_row(*row)}\n" for row in table.items())
    text = re.sub(r"(?<=if TYPE_CHECKING:\n)(    from probe\.ops\.\S+ import \*\n)+", imports, text)
    return re.sub(r"(?<=^_FILES = \{\n)(.*\n)*?(?=\}$)", rows, text, flags=re.MULTILINE)


if __name__ == "__main__":
    TABLE.write_text(filled(TABLE.read_text(encoding="utf-8")), encoding="utf-8")
