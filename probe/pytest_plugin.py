"""probe in pytest: a test for each layer of a model, or for each pair of layers of two models, and
forward passes that are recorded once and compared with later ones.

Nothing but pytest is imported before a test asks for it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probe import command_line
from probe.files import atomic_write
from probe.files.regular_file import exists

if TYPE_CHECKING:
    from probe.model_comparison.reports.result import ModelComparison
    from probe.report import Report

__all__ = ["Layer", "Run"]

# ruff: noqa: PLC0415 - NumPy and frameworks wait until a test asks for them.

_OPENING = ("factory", "imports", "trust", "device")
_CHECKING = ("input", "against", "layers", "shape", "seed", "strict")
_KEPT: pytest.StashKey[dict[Any, Any]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("probe", "layers of neural networks")
    group.addoption(
        "--probe-update",
        action="store_true",
        help="Record the forward passes that probe_run compares with.",
    )
    group.addoption(
        "--probe-report", metavar="DIR", help="Write a page of HTML for each layer that fails."
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_KEPT] = {}
    config.addinivalue_line(
        "markers",
        "probe(model, input=None, against=None, layers=None, shape=None, seed=0, strict=False, "
        "**opening): one test for each layer of a model file, which the argument `layer` is.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("probe")
    if marker is None:
        return
    if "layer" not in metafunc.fixturenames:
        pytest.fail("a test marked with probe takes the argument `layer`", pytrace=False)
    asked = _asked(marker, metafunc.definition.path, metafunc.config)
    names = asked.names()
    metafunc.parametrize(
        "layer",
        [(asked, name) for name in names],
        indirect=True,
        ids=[name or "(root)" for name in names],
    )


@dataclass(frozen=True, eq=False)
class _Asked:
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
        wanted = self.options.get("layers")
        if wanted is not None:
            return [wanted] if isinstance(wanted, str) else list(wanted)
        listing = None
        if not self.opening:
            listing = import_module("probe.adapters").list_file(self.model)
        found = listing.layers if listing is not None and listing.layers else self.opened().layers
        return [layer.name for layer in found]

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

    def compared(self) -> "ModelComparison":
        """The model and the one that it is compared with, once in a session."""
        key = ("compared", self.key)
        if key not in self.kept:
            from probe import compare

            against = self.options["against"]
            compared = compare(self.opened(), against, self.input(), **self.drawn())
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


def _asked(marker: pytest.Mark, test: Path, config: pytest.Config) -> _Asked:
    unknown = marker.kwargs.keys() - {*_OPENING, *_CHECKING}
    if len(marker.args) != 1 or unknown:
        known = ", ".join((*_CHECKING, *_OPENING))
        pytest.fail(f"the mark probe takes a model's file and the options {known}", pytrace=False)
    options = {name: marker.kwargs[name] for name in _CHECKING if name in marker.kwargs}
    for name in ("input", "against"):
        if options.get(name) is not None:
            options[name] = _file(options[name], test, config)
    opening = {name: marker.kwargs[name] for name in _OPENING if name in marker.kwargs}
    if ".py:" in str(opening.get("factory", "")):
        path, _, rest = str(opening["factory"]).partition(".py:")
        opening["factory"] = f"{_file(f'{path}.py', test, config)}:{rest}"
    return _Asked(_file(marker.args[0], test, config), options, opening, config.stash[_KEPT])


def _file(name: Any, test: Path, config: pytest.Config) -> str:
    """A file beside the test, or in pytest's root."""
    places = [test.parent / name, config.rootpath / name]
    places = places[:1] if Path(name).is_absolute() or places[0] == places[1] else places
    for place in places:
        if exists(place):
            return str(place)
    pytest.fail(f"there is no file {' or '.join(map(str, places))}", pytrace=False)


@pytest.fixture
def layer(request: pytest.FixtureRequest) -> "Layer":
    """One layer of the model that the mark ``probe`` names."""
    if not hasattr(request, "param"):
        pytest.fail("the fixture `layer` needs the mark probe", pytrace=False)
    asked, name = request.param
    return Layer(name, asked, request.node)


@pytest.fixture
def probe_run(request: pytest.FixtureRequest) -> "Run":
    """Forward passes, recorded with ``--probe-update`` and compared without."""
    return Run(request.node)


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer under test."""

    name: str
    asked: _Asked = field(repr=False)
    node: pytest.Item = field(repr=False)

    @cached_property
    def report(self) -> "Report":
        """The layer checked against NumPy and ONNX Runtime."""
        from probe import check

        asked = self.asked
        return check(asked.opened(), self.name, asked.input(), **asked.drawn())

    def assert_agrees(self) -> None:
        """Fails where the layer diverges; skips where it is unchecked (fails with ``strict``), and
        where it only inherits what an earlier layer does.

        Raises:
            AssertionError: Its first line is the verdict; the report follows, and the command that
                repeats it.
        """
        __tracebackhide__ = True
        if self.asked.options.get("against") is not None:
            self._assert_pair()
            return
        from probe.report.blocks import headline
        from probe.report.junit import properties

        report = self.report
        self.node.user_properties += properties(report).items()
        if report.ok:
            return
        if report.verdict == "unchecked" and not self.asked.options.get("strict"):
            pytest.skip(report.sentence)
        again = {"repeat": self.asked.command(self.name)}
        _fail(self.node, headline(report), str(report), report, again)

    def _assert_pair(self) -> None:
        __tracebackhide__ = True
        from probe.model_comparison.reports.blocks import outcome
        from probe.model_comparison.reports.junit import properties
        from probe.model_comparison.reports.text import pair_text

        comparison = self.asked.compared()
        pair = next((one for one in comparison.pairs if self.name in one.a), None)
        if pair is None:
            pytest.skip(f"no layer of the other model corresponds to {self.name!r}")
        self.node.user_properties += properties(pair).items()
        found = outcome(pair, comparison, bool(self.asked.options.get("strict")))
        if found.word == "skipped":
            pytest.skip(found.said)
        if found.word == "failure":
            again = {"repeat": self.asked.command(self.name)}
            _fail(self.node, found.said, pair_text(pair, comparison), comparison, again)


@dataclass(frozen=True, eq=False)
class Run:
    """The recordings of one test, in a folder beside its file that is named as the file."""

    node: pytest.Item

    def check(self, model: Any, x: Any = None, name: str = "") -> None:
        """Records a forward pass with ``--probe-update``; otherwise compares one with the
        recording, each layer by its allowance for rounding.

        Args:
            model: As for ``probe.check``.
            x: The model's input.
            name: Of the recording, where a test makes several.

        Raises:
            AssertionError: A layer gives another result than was recorded, or nothing was.
        """
        __tracebackhide__ = True
        from probe import compare
        from probe.recording.record import record_inside

        path = self._path(name)
        if self.node.config.getoption("probe_update"):
            atomic_write.make_folder(path.parent)
            record_inside(model, x, path.parent, path.name)
            return
        if not exists(path):
            raise AssertionError(f"there is no recording {path}: run pytest --probe-update once")
        found = compare(str(path), model, x)
        self.node.user_properties.append(("verdict", found.verdict))
        if not found.ok:
            test = f"{self.node.path}{self.node.nodeid[self.node.nodeid.find('::') :]}"
            again = {"repeat": ["pytest", test], "record anew": ["pytest", test, "--probe-update"]}
            lines = {label: command_line.joined(words) for label, words in again.items()}
            _fail(self.node, found.sentence, str(found), found, lines)

    def _path(self, name: str) -> Path:
        chain = self.node.listchain()
        classes = [_as_file(part.name) for part in chain if isinstance(part, pytest.Class)]
        folder = self.node.path.with_suffix("").joinpath(*classes)
        return folder / f"{_as_file(self.node.name, *filter(None, [name]))}.npz"


_LONG = 120
"""Bytes of a file's name: a name that is longer is cut."""


def _as_file(*names: str) -> str:
    """The names as that of a file, which is no other names' too."""
    whole = "-".join(names)
    plain = re.sub(r"[^\w.-]+", "_", whole).strip("_").encode()[:_LONG].decode(errors="ignore")
    if plain == whole:
        return whole
    return f"{plain}-{sha256(ascii(names).encode()).hexdigest()[:12]}"


def _fail(
    node: pytest.Item, verdict: str, text: str, shown: Any, commands: Mapping[str, str]
) -> None:
    """Raises AssertionError, and writes the page where one was asked for."""
    __tracebackhide__ = True
    folder = node.config.getoption("probe_report")
    lines = [f"{label}: {command}" for label, command in commands.items() if command]
    if folder:
        lines.append(_page(node, Path(folder) / f"{_as_file(node.nodeid)}.html", shown.to_html()))
    raise AssertionError("\n".join([verdict, "", text, "", *lines]))


def _page(node: pytest.Item, place: Path, page: str) -> str:
    """Writes a page; what is said of it."""
    from probe.errors import BadInput

    try:
        atomic_write.make_folder(place.parent)
        atomic_write.write_inside(place.parent, place.name, lambda file: file.write(page.encode()))
    except BadInput as error:
        return f"no page: {error}"
    node.user_properties.append(("report", str(place)))
    return f"page: {place}"
