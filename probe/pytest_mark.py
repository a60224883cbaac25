"""What a mark ``probe`` asks for: a model and how it is opened, its input, which of its layers.

Nothing but pytest is imported before a test asks for it.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import pytest

from probe import command_line
from probe.files.regular_file import exists
from probe.suggestions import did_you_mean, near

if TYPE_CHECKING:
    from probe.errors import ProbeError
    from probe.model_comparison.reports.result import ModelComparison

__all__ = ["Asked", "as_of_mark", "asked_by"]

# ruff: noqa: PLC0415 - NumPy and frameworks wait until a test asks for them.

_OPTION = re.compile(r"(--(\w+) ([\w./,:-]*\w))")
"""Of the command line, with its value."""
_OPENING = ("factory", "imports", "trust", "device", "engine", "signature", "gguf")
_CHECKING = ("input", "against", "layers", "shape", "seed", "search", "strict")


@dataclass(frozen=True, eq=False)
class Asked:
    """What a mark says, with its files found."""

    model: str
    options: Mapping[str, Any]
    opening: Mapping[str, Any]
    kept: dict[Any, Any] = field(repr=False)
    """What the session has opened and compared."""

    @property
    def key(self) -> str:
        return repr((self.model, sorted(self.options.items()), sorted(self.opening.items())))

    def names(self) -> list[str]:
        """The names to test: as the file tells them, or else as the opened model does."""
        listing = None
        if not self.opening:
            listing = import_module("probe.adapters").list_file(self.model)
        if listing is not None and listing.layers:
            found = listing.layers
        else:
            found = self.opened().layers
        names = [layer.name for layer in found]
        wanted = self.options.get("layers")
        if wanted is None:
            return names
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        self._refuse_unknown(name for name in wanted if name not in names)
        return wanted

    def _refuse_unknown(self, others: Iterable[str]) -> None:
        """Raises UnknownLayer where one of these, which are no listed layers, is no block, inner
        layer or operation either."""
        for name in others:
            model = self.opened()
            if name not in model.names() and not model.may_be_operation(name):
                from probe.errors import UnknownLayer

                raise UnknownLayer(name, model.names())

    def opened(self) -> Any:
        """The model, opened once in a session."""
        key = ("model", self.model, repr(sorted(self.opening.items())))
        if key not in self.kept:
            from probe import open_model

            self.kept[key] = open_model(self.model, **self.opening)
        return self.kept[key]

    def input(self) -> Any:
        from probe.capture.array_files import input_file

        return input_file(self.options.get("input"))

    def drawn(self) -> dict[str, Any]:
        """How a random input is drawn."""
        return {name: self.options[name] for name in ("shape", "seed") if name in self.options}

    @property
    def search(self) -> bool:
        """Whether causes are searched for."""
        return bool(self.options.get("search", True))

    def compared(self) -> "ModelComparison":
        """The model and the one that it is compared with, once in a session."""
        key = ("compared", self.key)
        if key not in self.kept:
            from probe import compare

            against = self.options["against"]
            compared = compare(
                self.opened(), against, self.input(), search=self.search, **self.drawn()
            )
            inputs = {"x": self._input_words()}
            self.kept[key] = compared.opened_by(self._opening_words(), (against,), inputs)
        found: ModelComparison = self.kept[key]
        return found

    def command(self, name: str) -> str:
        """What repeats a check on the command line; "" where no command does."""
        against = self.options.get("against")
        opening = self._opening_words("a" if against else "")
        if not opening:
            return ""
        if not against:
            return command_line.of_layer((*opening, *self._input_words()), name)
        model, *options = opening
        files = map(command_line.file, (model, against))
        return command_line.joined(["probe", "compare", *files, *self._input_words(), *options])

    def _opening_words(self, side: str = "") -> list[str]:
        """What opens the model on the command line; nothing where its factory is a function."""
        if not isinstance(self.opening.get("factory"), str | None):
            return []
        return [self.model, *command_line.opening(**self.opening, side=side)]

    def _input_words(self) -> list[str]:
        if self.options.get("input"):
            return ["--input", self.options["input"]]
        return command_line.drawing(self.options.get("shape"), self.options.get("seed", 0))


def as_of_mark(error: "ProbeError") -> str:
    """The sentence, and how the options in it are written in a mark."""
    written = dict.fromkeys(
        f"{option} is {option[2:].partition(' ')[0]}={_as_of_python(value)}"
        for option, name, value in _OPTION.findall(str(error))
        if name in _VALUES
    )
    return f"{error}{'; in the mark ' * bool(written)}{' and '.join(written)}"


def _as_of_python(value: str) -> str:
    """A value of the command line as Python writes it."""
    if re.fullmatch(r"[\d,]+", value):
        return f"({', '.join(value.split(','))})"
    return f'"{value}"'


def asked_by(marker: pytest.Mark, test: Path, config: pytest.Config, kept: dict[Any, Any]) -> Asked:
    """What a mark asks for; fails where it says what it cannot mean."""
    names = (*_CHECKING, *_OPENING)
    wrong = ""
    if unknown := sorted(marker.kwargs.keys() - {*names}):
        wrong = f"; it has no {unknown[0]}"
        if meant := did_you_mean(near(unknown[0], names)):
            wrong += f", {meant}"
    if len(marker.args) != 1 or wrong:
        known = ", ".join(names)
        pytest.fail(
            f"the mark probe takes a model's file and the options {known}{wrong}", pytrace=False
        )
    given = {name: value for name, value in marker.kwargs.items() if value is not None}
    for name, value in {"model": marker.args[0], **given}.items():
        fits, words = _VALUES[name]
        if not fits(value):
            pytest.fail(f"{name} of the mark probe is {words}; you gave {value!r}", pytrace=False)
    options = {name: given[name] for name in _CHECKING if name in given}
    for name in ("input", "against"):
        if name in options:
            options[name] = _file(options[name], test, config)
    opening = {name: given[name] for name in _OPENING if name in given}
    if ".py:" in str(opening.get("factory", "")):
        path, _, rest = str(opening["factory"]).partition(".py:")
        opening["factory"] = f"{_file(f'{path}.py', test, config)}:{rest}"
    return Asked(_file(marker.args[0], test, config), options, opening, kept)


def _is_file(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _is_number(value: object) -> bool:
    return isinstance(value, SupportsIndex)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _is_shape(value: object) -> bool:
    """Whether it is the shape of an input, or a list of such."""
    return isinstance(value, list | tuple) and (
        all(map(_is_number, value)) or all(isinstance(item, list | tuple) for item in value)
    )


_VALUES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(("model", "input", "against"), (_is_file, "a file's name")),
    **dict.fromkeys(("search", "strict", "trust"), (_is_flag, "True or False")),
    "layers": (lambda value: isinstance(value, str) or _are_names(value), "a name or names"),
    "shape": (_is_shape, "a shape such as (1, 3, 224, 224), or one for each input"),
    "seed": (_is_number, "a whole number"),
    "factory": (lambda value: isinstance(value, str) or callable(value), "a name or a callable"),
    "imports": (_are_names, "a list of modules' names"),
    "device": (lambda value: isinstance(value, str), "a device's name"),
    "engine": (lambda value: isinstance(value, str), "an engine's name"),
    "signature": (lambda value: isinstance(value, str), "a signature's name"),
    "gguf": (_is_file, "a file's name"),
}
"""What the options of a mark may be, and the same in words."""


def _file(name: Any, test: Path, config: pytest.Config) -> str:
    """A file beside the test, or in pytest's root."""
    places = [test.parent / name, config.rootpath / name]
    if Path(name).is_absolute() or places[0] == places[1]:
        places = places[:1]
    for place in places:
        if exists(place):
            return str(place)
    pytest.fail(f"there is no file {' or '.join(map(str, places))}", pytrace=False)
