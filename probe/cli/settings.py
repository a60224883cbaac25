"""What is typed once: how a model is opened and on what it runs, from ``probe.toml``, or from
``[tool.probe]`` in ``pyproject.toml``, of the working directory.

They may name code to run, so no other folder is looked into, and none that came with the model
(SECURITY.md).
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from probe import printable
from probe.command_line import drawing, joined, opening
from probe.errors import BadInput, ProbeError, first_line
from probe.files.regular_file import exists, is_folder, read_file

if TYPE_CHECKING:
    from probe.cli.arguments import Arguments
    from probe.cli.comparing_options import Comparing
    from probe.listing import Listing
    from probe.model_comparison.reports.result import ModelComparison
    from probe.report import Report

_Noted = TypeVar("_Noted", "Listing", "ModelComparison", "Report")

__all__ = ["note", "noted", "of_comparison", "of_model", "to_blame"]

# ruff: noqa: PLC0415 - a parser of TOML waits until there is some.

_FILES = ("probe.toml", "pyproject.toml")
_MOST, _ROOT = 1 << 20, 0
_NOTE = "probe.settings"
"""Where click's context keeps what was taken."""
_GIVES = " gives "
_OPENING = ("factory", "imports")
_INPUTS = ("input", "text", "shape", "expect_input")
"""Options any of which leaves out the input of the settings."""


def of_model(arguments: "Arguments", runs: bool) -> "Arguments":
    """The arguments with what the settings say of the model and the command line does not; an input
    only where the model ``runs``."""
    path, found = _settings(arguments.model)
    if not runs:
        found = {name: value for name, value in found.items() if name in _OPENING}
    return replace(arguments, **_taken(found, arguments, path))


def of_comparison(arguments: "Comparing") -> "Comparing":
    """The same for both models of a comparison; the input is A's."""
    for side in ("a", "b"):
        path, found = _settings(getattr(arguments, side))
        if side == "b":
            found = {name: value for name, value in found.items() if name in _OPENING}
        arguments = replace(arguments, **_taken(found, arguments, path, side))
    return arguments


def note() -> str:
    """What was taken from the settings, as options; "" where nothing was."""
    context = click.get_current_context(silent=True)
    if context is None:
        return ""
    return "; ".join(context.meta.get(_NOTE, ()))


def noted(found: _Noted) -> _Noted:
    """A report, comparison or listing with what was taken from the settings among its notes."""
    if not (text := note()):
        return found
    return replace(found, notes=(*found.notes, text))


def to_blame(error: ProbeError | click.UsageError) -> str:
    """The sentence of an error that is about what was taken from the settings, with what was; "" of
    any other."""
    said = str(error)
    taken = [text for text in click.get_current_context().meta.get(_NOTE, ())]
    about = [text for text in taken if any(word in said for word in _telling(text))]
    return f"{said} ({'; '.join(about)})" if about else ""


def _telling(text: str) -> list[str]:
    """The options and values of a note by which a sentence is about them."""
    return [word for word in text.partition(_GIVES)[2].split() if len(word) > 2]


def _taken(
    found: Mapping[str, Any], arguments: "Arguments | Comparing", path: str, side: str = ""
) -> dict[str, Any]:
    """What is taken of the settings, by the names of the arguments, and noted: what the command
    line does not give, and no input where that gives another."""
    given = any(getattr(arguments, name, None) for name in _INPUTS)
    left_out = _INPUTS if given else ()
    if arguments.seed is not None:
        left_out = (*left_out, "input")
    taken = {}
    for name, value in found.items():
        field = f"{side}_{name}" if side and name in _OPENING else name
        if name not in left_out and not arguments.is_given(field):
            taken[field] = (name, value)
    if taken:
        words = _words(dict(taken.values()), side)
        meta = click.get_current_context().meta
        meta[_NOTE] = (*meta.get(_NOTE, ()), printable.line(f"{path}{_GIVES}{joined(words)}"))
    return {field: value for field, (_, value) in taken.items()}


def _words(taken: Mapping[str, Any], side: str) -> list[str]:
    """The same as it is typed."""
    words = opening(taken.get("factory"), taken.get("imports", ()), side=side)
    if "input" in taken:
        words += ["--input", taken["input"]]
    words += drawing(taken.get("shape"), 0)
    pairs = taken.get("arg", ())
    return [*words, *(word for name, value in pairs for word in ("--arg", f"{name}={value!r}"))]


def _settings(model: str) -> tuple[str, dict[str, Any]]:
    """The file, and what its first table whose name matches the model says, by the names of
    options."""
    if os.environ.get("PROBE_SETTINGS") == "0":
        return "", {}
    for name in _FILES:
        if not exists(name) or _brought_along(name, model):
            continue
        tables = _read(name)
        for pattern, table in tables.items():
            if not isinstance(table, Mapping):
                raise BadInput(
                    f"{name}: {pattern} stands in no table: settings stand in a table for a model, "
                    f"write {_header(name, _from_here(model))} above it"
                )
            parts = _parts(pattern, table)
            if parts != [pattern]:
                raise BadInput(
                    f"{name}: TOML parts names at their dots: write the table as "
                    f"{_header(name, '.'.join(parts))}, in quotes"
                )
            if _matches(model, pattern):
                return name, dict(_options(name, pattern, table))
    return "", {}


def _parts(pattern: str, table: Mapping[str, Any]) -> list[str]:
    """The names of the tables in each other that an unquoted name with dots has made; without
    those of pyproject.toml in front, which is none of them."""
    parts = [pattern]
    while inside := next((key for key, value in table.items() if _is_table(key, value)), ""):
        parts.append(inside)
        table = table[inside]
    return parts[2:] if parts[:2] == ["tool", "probe"] and len(parts) > 2 else parts


def _header(name: str, pattern: str) -> str:
    """The line above the settings of a model in a file of this name."""
    return f'["{pattern}"]' if name == _FILES[0] else f'[tool.probe."{pattern}"]'


def _is_table(key: str, value: Any) -> bool:
    """Whether an entry is no option, but a table: what stands behind the dot of a file's name."""
    return isinstance(value, Mapping) and key not in ("arg", "args")


def _brought_along(name: str, model: str) -> bool:
    """Whether the working directory is that of the model itself, or the file another user's."""
    here = Path.cwd().resolve()
    if is_folder(model) and here.is_relative_to(Path(model).resolve()):
        return True
    owner = Path(name).stat().st_uid
    return hasattr(os, "getuid") and owner not in (os.getuid(), _ROOT)


def _read(name: str) -> Mapping[str, Any]:
    text = read_file(name, "a file of settings", _MOST)
    if name == "pyproject.toml" and b"tool.probe" not in text:
        return {}
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        found: Any = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{name} cannot be read as TOML: {first_line(error)}") from None
    if name == "pyproject.toml":
        found = found.get("tool", {}).get("probe", {})
    if not isinstance(found, Mapping):
        raise BadInput(f"{name}: [tool.probe] is no table")
    return found


def _matches(model: str, pattern: str) -> bool:
    """Whether the model's path is the pattern's, from the working directory."""
    return fnmatchcase(_from_here(model), pattern.removeprefix("./").rstrip("/"))


def _from_here(model: str) -> str:
    here = Path.cwd()
    path = here / model
    if path.is_relative_to(here):
        path = path.relative_to(here)
    return path.as_posix()


def _options(name: str, pattern: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    found = {}
    for key, value in table.items():
        if key not in _KEYS:
            raise BadInput(
                f"{name}: {_header(name, pattern)} has the unknown setting {key!r}; there are "
                f"{', '.join(_KEYS)}"
            )
        option, parse, words = _KEYS[key]
        if (parsed := parse(value)) is None:
            raise BadInput(
                f"{name}: {key} of {_header(name, pattern)} is {words}; you gave {value!r}"
            )
        found[option] = parsed
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> tuple[str, ...] | None:
    values = [value] if isinstance(value, str) else value
    if isinstance(values, list) and all(isinstance(text, str) for text in values):
        return tuple(values)
    return None


def _shapes(value: Any) -> tuple[tuple[int, ...], ...] | None:
    if not isinstance(value, list) or not value:
        return None
    shapes = value if isinstance(value[0], list) else [value]
    if all(
        isinstance(sizes, list) and all(type(size) is int for size in sizes) for sizes in shapes
    ):
        return tuple(map(tuple, shapes))
    return None


def _literals(value: Any) -> tuple[tuple[str, Any], ...] | None:
    return tuple(value.items()) if isinstance(value, dict) else None


_KEYS: Mapping[str, tuple[str, Callable[[Any], Any], str]] = {
    "factory": ("factory", _text, 'a callable such as "net.py:Net"'),
    "import": ("imports", _texts, "a module, or a list of them"),
    "input": ("input", _text, "a file's name"),
    "shape": ("shape", _shapes, "a shape such as [1, 3, 224, 224], or a list of them"),
    "args": ("arg", _literals, "a table such as {use_cache = false}"),
}
"""The option that each is, what reads its value, and what that is in words."""
