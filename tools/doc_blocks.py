"""The code blocks of README.md and docs/: found, run in order, and shown with what they print.

``python tools/doc_blocks.py [PAGE...]`` writes the output into the pages;
tests/documentation/test_code_blocks.py compares. In a page

- a ``console`` block holds commands after ``$ `` and their output; a line ``...`` in the output
  stands for lines left out;
- a ``python`` block runs in one namespace with the others of its page, and a ``text`` block behind
  it is what it prints;
- a block whose first line is a comment with nothing but a file name is written to that file;
- ``<!-- run first`` begins Python that a page needs and does not show;
- ``<!-- not run: REASON -->`` before a block leaves it out.

Each page has a folder of its own, in which ``examples`` is the one of the repository.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from probe.cli import main

__all__ = ["ROOT", "CodeBlock", "agrees", "blocks", "command", "pages", "shown"]

ROOT = Path(__file__).parent.parent
_FILE = re.compile(r"(?:#|//|/\*)\s*([\w./-]+\.\w+)\s*(?:\*/)?\s*")
_PART = re.compile(
    r"<!-- run first\n(?P<hidden>.*?)-->"
    r"|(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of a page, or hidden Python."""

    language: str
    body: str
    start: int
    """Where its body begins in the page."""
    reason: str = ""
    """Why it is not run."""
    behind: bool = False
    """Whether nothing stands between it and the block before."""

    @property
    def file(self) -> str:
        """The file that it is written to, or nothing."""
        found = _FILE.fullmatch(self.body.partition("\n")[0])
        return found[1] if found else ""


def pages() -> list[Path]:
    """README.md and the pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[CodeBlock]:
    """The blocks of a page, in order."""
    found, end = [], 0
    for part in _PART.finditer(text):
        behind = not text[end : part.start()].strip()
        end = part.end()
        if part["hidden"] is not None:
            found.append(CodeBlock("hidden", part["hidden"], part.start("hidden")))
        else:
            body = part["body"]
            found.append(
                CodeBlock(part["language"], body, part.start("body"), part["reason"] or "", behind)
            )
    return found


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def command(*arguments: str) -> str:
    """What ``probe`` prints, run in the repository's root."""
    with _inside(ROOT):
        return _probe(arguments)[0]


def _probe(arguments: Sequence[str]) -> tuple[str, int]:
    """What ``probe`` prints, and its exit status."""
    out, status = io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["probe", *arguments]),
        contextlib.redirect_stdout(out),
    ):
        try:
            main()
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else int(left.code is not None)
    return out.getvalue(), status


class _Shell:
    """Runs the commands of a page in the current folder, ``probe`` without a process of its own."""

    status = 0

    def says(self, line: str) -> str:
        """What a command prints, on standard output and standard error."""
        if line == "echo $?":
            return f"{self.status}\n"
        words = shlex.split(line)
        if words[0] == "probe" and not set(words) & {"|", ">", "&&", ";"}:
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                text, self.status = _probe(words[1:])
            return text + errors.getvalue()
        # Options meant for the tests of this project would reach a pytest that a page shows.
        environment = {**os.environ}
        environment.pop("PYTEST_ADDOPTS", None)
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", line],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.status = done.returncode
        return done.stdout


def _transcript(body: str, shell: _Shell) -> str:
    """A console block with what its commands print now."""
    lines: list[str] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            lines += [line, *shell.says(line[2:]).rstrip().splitlines()]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def shown(text: str) -> Iterator[tuple[CodeBlock, str]]:
    """The blocks of a page that show output, each with what it should show.

    Raises AssertionError where Python prints what no block shows.
    """
    names: dict[str, object] = {"__name__": "page"}
    shell = _Shell()
    printed = ran = ""
    loaded, path = set(sys.modules), sys.path[:]
    with tempfile.TemporaryDirectory() as folder, _inside(Path(folder)):
        Path("examples").symlink_to(ROOT / "examples")
        try:
            for block in blocks(text):
                if block.language == "text" and block.behind and ran == "python":
                    yield block, printed
                    printed = ""
                assert not printed, f"this is printed, and no block of text shows it:\n{printed}"
                ran = "" if block.reason or block.file else block.language
                if block.reason:
                    continue
                if block.file:
                    Path(block.file).parent.mkdir(parents=True, exist_ok=True)
                    Path(block.file).write_text(block.body, encoding="utf-8")
                elif block.language == "console":
                    yield block, _transcript(block.body, shell)
                elif block.language in ("python", "hidden"):
                    out = io.StringIO()
                    with contextlib.redirect_stdout(out):
                        exec(compile(block.body, f"<block at {block.start}>", "exec"), names)
                    printed = "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())
            assert not printed, f"this is printed, and no block of text shows it:\n{printed}"
        finally:
            sys.path[:] = path
            for name in set(sys.modules) - loaded:
                if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
                    del sys.modules[name]


def _comparable(text: str) -> str:
    """Versions, times and the last digits of rounding errors differ between machines, and on a busy
    one a search that has found its cause may not come to its end."""
    text = re.sub(r"^ *the search for the mistake stopped after .*\n", "", text, flags=re.M)
    text = re.sub(r"\d+\.\d+\.\d+(\+\w+)?", "VERSION", text)
    text = re.sub(r"in \d+\.\d+s\b( \(\d+:\d+:\d+\))?", "in SECONDS", text)
    text = re.sub(r"\b0\.\d+ x the allowance", "SHARE x the allowance", text)
    text = re.sub(
        r"\b0\.\d+(?= +\S+ +agree$)", "SHARE", text, flags=re.MULTILINE
    )  # of a comparison
    return re.sub(
        r"-?\d+(\.\d+)?(e[+-]\d+)?",
        lambda match: f"{float(match[0]):.2g}" if abs(float(match[0])) > 1e-3 else "SMALL",
        text,
    )


def agrees(old: str, new: str) -> bool:
    """Whether a page shows what is printed, but for the lines that it leaves out."""
    pieces = re.split(r"^ *\.\.\.\n", old, flags=re.MULTILINE)
    pattern = r"(?:.*\n)*?".join(re.escape(_comparable(piece)) for piece in pieces)
    return re.fullmatch(pattern, _comparable(new)) is not None


def _sections(text: str) -> list[str]:
    """A console block, a command with its output at a time."""
    return re.split(r"^(?=\$ )", text, flags=re.MULTILINE)


def _elided(old: str, new: str) -> str:
    """What is printed now, without the paragraphs whose first word begins none that ``old`` shows,
    where that leaves some out."""
    if not re.search(r"^ *\.\.\.$", old, re.MULTILINE):
        return new
    (_, _, old), (line, _, new) = old.partition("\n"), new.partition("\n")
    words = {
        part.split()[0] for part in re.split(r"\n\n|^ *\.\.\.\n", old, flags=re.M) if part.split()
    }
    lines: list[str] = []
    for part in new.rstrip("\n").split("\n\n"):
        kept = bool(part.split()) and part.split()[0] in words
        if kept:
            lines += [] if not lines or lines[-1] == "..." else [""]
            lines.append(part)
        elif not lines or lines[-1] != "...":
            lines.append("...")
    made = "".join(f"{line}\n" for line in lines)
    return f"{line}\n" + (made if agrees(made, new) else new)


def _brought_up_to_date(old: str, new: str) -> str:
    if agrees(old, new):
        return old
    before, now = _sections(old), _sections(new)
    if len(before) != len(now):
        return new
    return "".join(map(_elided, before, now))


def _updated(text: str) -> str:
    """A page with its output brought up to date."""
    made, end = "", 0
    for block, new in shown(text):
        made += text[end : block.start] + _brought_up_to_date(block.body, new)
        end = block.start + len(block.body)
    return made + text[end:]


if __name__ == "__main__":
    for page in [Path(name).resolve() for name in sys.argv[1:]] or pages():
        print(page.name, flush=True)
        page.write_text(_updated(page.read_text(encoding="utf-8")))
