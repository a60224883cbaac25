"""The modules whose forwards are running, which calls of functions are named after."""

import inspect
import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import torch

from .exported_program import Program
from .torchscript import Script

__all__ = ["NOWHERE", "ModuleFrame", "SourceLine"]


class SourceLine(NamedTuple):
    """A line of the file of a module's class."""

    number: int | None
    """None: which one is not known."""
    code: str
    """With its place: ``block.py:12: x = x + self.gamma * y``."""
    expression: str = ""
    """What of it is run: ``self.gamma * y``."""


NOWHERE = SourceLine(None, "")


@dataclass
class ModuleFrame:
    """A module whose forward is running."""

    name: str
    module: torch.nn.Module
    atomic: bool
    follows: bool
    varies: bool
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The path that its calls are named after; an exported program, and TorchScript, say of
        every node where it came from."""
        if isinstance(self.module, Program | Script):
            return self.module.place
        return self.name

    def line(self) -> SourceLine:
        """The line of the file of the module's class that is run now."""
        if isinstance(self.module, Program | Script):  # whose calls come from no source line
            return NOWHERE
        return _line_in(_source_of(type(self.module).forward))

    @property
    def own_forward(self) -> bool:
        """Whether its forward is none of PyTorch's, as a Sequential's is, or inherited from it."""
        return not inspect.unwrap(type(self.module).forward).__module__.startswith("torch.nn.")

    def named(self, name: str, line: int | None) -> tuple[str, str | None]:
        """The name of a call, and the one by its source line."""
        layer = f"{self.place}/{name}"
        return self._counted(layer), None if line is None else self._counted(f"{layer}@{line}")

    def _counted(self, name: str) -> str:
        """The name, with how often it was taken before in this call of the module."""
        before = self.counts.get(name, 0)
        self.counts[name] = before + 1
        return name + (f":{before}" if before else "")


@lru_cache(maxsize=512)
def _source_of(forward: Callable[..., Any]) -> str:
    """The file that a class' forward is written in, as its code object names it; "" where it is in
    none."""
    forward = inspect.unwrap(forward)
    if isinstance(forward, FunctionType):
        return forward.__code__.co_filename
    return ""


def _line_in(path: str) -> SourceLine:
    """The line that the innermost function of that file is in now."""
    frame = sys._getframe(1) if path and not path.startswith("<") else None
    while frame is not None and frame.f_code.co_filename != path:
        frame = frame.f_back
    if frame is None:
        return NOWHERE
    number = frame.f_lineno
    text = linecache.getline(path, number).strip()
    if not text:
        return SourceLine(number, "")
    expression = _expression_of(frame.f_code, frame.f_lasti)
    return SourceLine(number, f"{Path(path).name}:{number}: {text}", expression)


@lru_cache(maxsize=4096)
def _expression_of(code: CodeType, instruction: int) -> str:
    """The expression which the instruction at that byte is of, in one line; "" before Python 3.11,
    whose code objects do not say it."""
    if sys.version_info < (3, 11):
        return ""
    places = next(islice(code.co_positions(), instruction // 2, None), (None,) * 4)
    first, last, start, stop = places
    if first is None or last is None or start is None or stop is None:
        return ""
    lines = [
        linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)
    ]
    lines[-1] = lines[-1][:stop]
    lines[0] = lines[0][start:]
    return " ".join(b"".join(lines).decode(errors="replace").split())
