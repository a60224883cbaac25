"""Where the repository's own files lie, and its scripts as modules."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def script(path: str) -> ModuleType:
    """A script of ``tools`` or ``benchmarks``; it finds those beside it by their names, as where it
    is run."""
    folder = str((ROOT / path).parent)
    sys.path.insert(0, folder)
    try:
        return import_module(Path(path).stem)
    finally:
        sys.path.remove(folder)
