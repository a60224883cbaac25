"""Lines for a shell that do what they say, whatever is in a name: every command that is printed to
be copied is made here."""

import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["drawing", "file", "joined", "of_layer", "of_process", "opening"]

_LONGEST = 3900
"""Characters: a page has a longer line shortened."""
_ESCAPED = re.compile(r"[\\'!]")


def joined(words: Iterable[str]) -> str:
    """The words quoted for a shell, on one line; "" where no line can give them to a program."""
    try:
        line = " ".join(map(_quoted, words))
    except UnicodeEncodeError:
        return ""
    if "\0" not in line and len(line) <= _LONGEST:
        return line
    return ""


def _quoted(word: str) -> str:
    """The word for a POSIX shell; for those with ``$'…'`` (bash, zsh, ksh) where a character of it
    does not print."""
    if word.isprintable() or "\0" in word:
        return shlex.quote(word)
    return f"$'{''.join(map(_escape, word))}'"


def _escape(character: str) -> str:
    if character.isprintable() and not _ESCAPED.match(character):
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def file(path: str) -> str:
    """A file's path as an argument that is no option."""
    if path[:1] == "-":
        return f"./{path}"
    return path


def of_layer(opened: Sequence[str], layer: str, call: int = 0) -> str:
    """The command that checks a call of a layer; ``opened`` are the words that open the model and
    give its input, its path first."""
    path, *options = opened
    path = f"./{path}" if path.isidentifier() else file(path)  # a word may be a verb of ``probe``
    named = [f"--layer={layer}"] if layer[:1] == "-" else ["--layer", layer]
    numbered = ["--call", str(call)] if call else []
    return joined(["probe", path, *named, *numbered, *options])


def of_process() -> str:
    """The command that this process was started with."""
    return joined(["probe", *sys.argv[1:]])


def opening(
    factory: object = None,
    imports: Iterable[str] = (),
    trust: bool = False,
    device: str | None = None,
    engine: str | None = None,
    signature: str | None = None,
    gguf: object = None,
    side: str = "",
) -> list[str]:
    """The options that open a model; those of one ``side`` of a comparison ("a" or "b")."""
    of_side = f"--{side}-" if side else "--"
    words = [] if factory is None else [f"{of_side}factory", str(factory)]
    words += [word for module in imports for word in (f"{of_side}import", module)]
    for name, given in (("engine", engine), ("signature", signature), ("gguf", gguf)):
        words += [] if given is None else [f"{of_side}{name}", str(given)]
    if trust:
        words += ["--trust"]
    return [*words, *(["--device", device] if device else [])]


def drawing(shape: Sequence[int] | Sequence[Sequence[int]] | None, seed: int) -> list[str]:
    """The options that draw a random input."""
    given: Sequence[Any] = shape or ()
    shapes = given if not given or isinstance(given[0], Iterable) else [given]
    words = [word for sizes in shapes for word in ("--shape", ",".join(map(str, sizes)))]
    return [*words, *(["--seed", str(seed)] if seed else [])]
