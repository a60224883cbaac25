"""An interrupt at a chosen one of the places where Python looks for signals, in our own files:
after a call, before a jump back, at the start of a function. Between them no handler runs."""

import dis
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

_CALLS = frozenset(
    (
        "CALL CALL_KW CALL_FUNCTION CALL_FUNCTION_KW CALL_FUNCTION_EX "
        "CALL_METHOD JUMP_BACKWARD RESUME"
    ).split()
)
"""Not Python 3.11's PRECALL: between it and its CALL no handler runs, and an interrupt there would
keep a lock from being given back by its ``with``."""


class _Press:
    def __init__(self, folder: str, places: frozenset[int]) -> None:
        self.folder, self.places, self.count, self.last = folder, places, 0, dict[int, str]()

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(self.folder):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            before, self.last[id(frame)] = self.last.get(id(frame), ""), name
            if name == "RESUME" or before in _CALLS:
                self.count += 1
                if self.count in self.places:
                    signal.raise_signal(signal.SIGINT)
        return self


def places(work: Callable[[], Any], folder: Path) -> int:
    """How many there are."""
    return _pressed(work, folder, frozenset())[0]


def pressed(work: Callable[[], Any], folder: Path, *at: int) -> bool:
    """Whether an interrupt at these places came through."""
    return _pressed(work, folder, frozenset(at))[1]


def _pressed(work: Callable[[], Any], folder: Path, at: frozenset[int]) -> tuple[int, bool]:
    press, came, before = _Press(str(folder), at), False, sys.gettrace()
    try:
        sys.settrace(press)
        try:
            work()
        finally:
            sys.settrace(before)
    except KeyboardInterrupt:
        came = True
    sys.settrace(before)
    return press.count, came
