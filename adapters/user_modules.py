"""Modules of the user's own, imported by their dotted name or by the path of their file."""

import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from probe.command_line import joined
from probe.errors import BadInput
from probe.files.regular_file import is_file, missing, open_file
from probe.suggestions import did_you_mean, near

__all__ = [
    *("factories", "import_all", "import_named", "import_option"),
    *("refuse_absent", "refuse_factory"),
]

_MOST, _READ, _SHOWN = 100, 1 << 20, 3
"""How many files of a folder are looked at for a class, how many bytes of each, and how many
classes are said."""


def refuse_factory(factory: object, kind: str) -> None:
    """BadInput where a factory is given for what it cannot build."""
    if factory is not None:
        raise BadInput(
            f"factory= (--factory) is only for a PyTorch state_dict; this is {kind}: leave it out"
        )


def import_all(names: Iterable[str]) -> list[ModuleType]:
    """The modules of the option "--import", for whatever is opened."""
    return [import_named(name) for name in names]


def refuse_absent(names: Iterable[str]) -> None:
    """BadInput where a module cannot be found; none is run, nor what it imports."""
    for name in names:
        package, found = name.partition(".")[0], is_file(name)
        if not name.endswith(".py"):
            with _importable(Path.cwd()), suppress(ValueError):
                found = package in sys.modules or importlib.util.find_spec(package) is not None
        if not found:
            import_named(name)


def import_named(name: str) -> ModuleType:
    """A module by its dotted name, the working directory included, or by the path of its .py
    file."""
    path = Path(name)
    folder = path.resolve().parent if name.endswith(".py") else Path.cwd()
    if name.endswith(".py") and not is_file(path):
        raise BadInput(missing(name))
    try:
        with _importable(folder):
            if name.endswith(".py"):
                return _from_file(path.resolve())
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raised = f"importing {name} raised {type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            meant = near(name, (path.stem for path in sorted(folder.glob("*.py"))[:_MOST]))
            raised += f"; {did_you_mean(meant)}" if meant else ""
        raise BadInput(raised) from error


def import_option(beside: Path, module: str = "", defines: str = "") -> str:
    """The option that imports a missing module, or the one that defines a class, where its file is
    in the working directory or beside a model: "--import net"; "--import MODULE" where it is in
    neither.

    Files are read, and none is run.
    """
    here = Path.cwd()
    if not (module or defines):
        return "--import MODULE"
    for folder in dict.fromkeys((here, beside.resolve().parent)):
        for path in [folder / f"{module}.py"] if module else sorted(folder.glob("*.py"))[:_MOST]:
            if is_file(path) and (not defines or _defines(path, defines)):
                if folder == here:
                    found = path.stem
                else:
                    found = str(beside.parent / path.name)
                return joined(["--import", found]) or "--import MODULE"
    return "--import MODULE"


def factories(text: str) -> list[str]:
    """What may be meant by a factory without a colon: the last classes of a .py file, which is not
    run, or a class where a file of the working directory defines it."""
    if text.endswith(".py") and is_file(text):
        names = re.findall(rb"^class (\w+)", _text(Path(text)), re.MULTILINE)
        return [f"{text}:{name.decode()}" for name in names[-_SHOWN:]]
    name = text.rpartition(".")[2]
    files = sorted(Path().glob("*.py"))[:_MOST] if name.isidentifier() else []
    return [f"{path}:{name}" for path in files if _defines(path, name)][:_SHOWN]


def _defines(path: Path, name: str) -> bool:
    """Whether a file holds a class or function of that name."""
    pattern = rf"^(?:class|def) {re.escape(name)}\b".encode()
    return re.search(pattern, _text(path), re.MULTILINE) is not None


def _text(path: Path) -> bytes:
    try:
        with open_file(path, "a module") as file:
            return file.read(_READ)
    except (BadInput, OSError):
        return b""


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
    """The folder can be imported from, last of all; no __pycache__ is written into it."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = before
