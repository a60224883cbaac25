"""Why transformers, or code of a directory's own, could not make something of a config."""

import linecache
import traceback
from pathlib import Path
from types import FrameType

from probe import printable
from probe.errors import first_line

__all__ = ["reason"]

_PACKAGES = ("transformers", "transformers_modules")
"""The second is where transformers imports code of a directory's own."""
_LOOKUPS = ("__getitem__", "__getattr__", "__getattribute__")
"""Functions in whose place the line that looks something up is told."""
_LETTERS = 120
"""Of a line of code."""


def reason(error: Exception) -> str:
    """What was raised on purpose, in its own words; of what Python or PyTorch raised, also the last
    line of a model's code, which names what was wrong."""
    said, kind = first_line(error), type(error).__name__
    frames = list(traceback.walk_tb(error.__traceback__))
    if frames and _line(*frames[-1]).startswith("raise ") and not isinstance(error, KeyError):
        return said
    words = said if said == kind else f"{kind}: {said}"
    if isinstance(error, RecursionError):
        words = "it calls itself without end"
    models = [
        (frame, number)
        for frame, number in frames
        if frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES
        and frame.f_code.co_name not in _LOOKUPS
    ]
    if not models:
        return words
    frame, number = models[-1]
    line, file = printable.end(_line(frame, number), _LETTERS), frame.f_code.co_filename
    return f'{words}, raised by "{line}" ({Path(file).name}, line {number})'


def _line(frame: FrameType, number: int) -> str:
    return linecache.getline(frame.f_code.co_filename, number).strip()
