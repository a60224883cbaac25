"""Modules of the user's own, imported by their dotted name or by the path of their file."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from probe.errors import BadInput

__all__ = ["import_named"]


def import_named(name: str) -> ModuleType:
    """A module by its dotted name, the working directory included, or by the path of its .py
    file."""
    path = Path(name)
    folder = path.resolve().parent if name.endswith(".py") else Path.cwd()
    if name.endswith(".py") and not path.is_file():
        raise BadInput(f"the file {name} does not exist")
    try:
        with _importable(folder):
            return (
                _from_file(path.resolve())
                if name.endswith(".py")
                else importlib.import_module(name)
            )
    except Exception as error:
        raise BadInput(f"importing {name} raised {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    name = path.stem if known is None else f"{path.stem} ({path})"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """The folder can be imported from, last of all."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
