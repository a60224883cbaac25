"""probe in pytest: a test for each layer of a model, or for each pair of layers of two models, and
forward passes that are recorded once and compared with later ones.

Nothing but pytest is imported before a test asks for it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probe import command_line, printable
from probe.files import atomic_write
from probe.files.regular_file import exists
from probe.pytest_mark import Asked, as_of_mark, asked_by

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["LayerUnderTest", "Run"]

# ruff: noqa: PLC0415 - NumPy and frameworks wait until a test asks for them.

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
    config = metafunc.config
    asked = asked_by(marker, metafunc.definition.path, config, config.stash[_KEPT])
    names: list[str] = []
    with _in_a_sentence():
        names = asked.names()
    metafunc.parametrize(
        "layer",
        [(asked, name) for name in names],
        indirect=True,
        ids=[name or "(root)" for name in names],
    )


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """A test fails with the sentence of an error of ours alone."""
    from probe.errors import ProbeError

    __tracebackhide__ = True
    try:
        yield
    except ProbeError as error:
        raise pytest.fail.Exception(as_of_mark(error), pytrace=False) from None


@pytest.fixture
def layer(request: pytest.FixtureRequest) -> "LayerUnderTest":
    """One layer of the model that the mark ``probe`` names."""
    if not hasattr(request, "param"):
        pytest.fail("the fixture `layer` needs the mark probe", pytrace=False)
    asked, name = request.param
    return LayerUnderTest(name, asked, request.node)


@pytest.fixture
def probe_run(request: pytest.FixtureRequest) -> "Run":
    """Forward passes, recorded with ``--probe-update`` and compared without."""
    return Run(request.node)


@dataclass(frozen=True, eq=False)
class LayerUnderTest:
    """A layer under test."""

    name: str
    asked: Asked = field(repr=False)
    node: pytest.Item = field(repr=False)

    @cached_property
    def report(self) -> "Report":
        """The layer checked against NumPy and ONNX Runtime."""
        from probe import check

        asked = self.asked
        with _in_a_sentence():
            return check(
                asked.opened(), self.name, asked.input(), search=asked.search, **asked.drawn()
            )

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
        from probe.report.text import cause_first

        report = self.report
        self.node.user_properties += properties(report).items()
        if report.ok:
            return
        if report.verdict == "unchecked" and not self.asked.options.get("strict"):
            pytest.skip(printable.line(report.sentence))
        again = {"repeat": self.asked.command(self.name)}
        text = printable.page(cause_first(report))
        _fail(self.node, headline(report), text, report, again)

    def _assert_pair(self) -> None:
        __tracebackhide__ = True
        from probe.model_comparison.reports.blocks import outcome
        from probe.model_comparison.reports.junit import properties
        from probe.model_comparison.reports.text import pair_text

        with _in_a_sentence():
            comparison = self.asked.compared()
        pair = next((pair for pair in comparison.pairs if self.name in pair.a), None)
        if pair is None:
            pytest.skip(f"no layer of the other model corresponds to {self.name!r}")
        self.node.user_properties += properties(pair).items()
        found = outcome(pair, comparison, bool(self.asked.options.get("strict")))
        if found.word == "skipped":
            pytest.skip(printable.line(found.said))
        if found.word == "failure":
            again = {"repeat": self.asked.command(self.name)}
            _fail(self.node, found.said, pair_text(pair, comparison), comparison, again)


@dataclass(frozen=True, eq=False)
class Run:
    """The recordings of one test, in a folder beside its file that is named as the file."""

    node: pytest.Item
    _names: set[str] = field(default_factory=set, repr=False)
    """Of the recordings that the test has asked for."""

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

        if name in self._names:
            raise AssertionError(
                f"two checks of this test have one recording: give each a name, such as "
                f"check(..., name={f'{name}2' if name else 'second'!r})"
            )
        self._names.add(name)
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
    raise AssertionError(printable.lines("\n".join([verdict, "", text, "", *lines])))


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
