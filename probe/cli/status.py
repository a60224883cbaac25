"""What is going on, on one line of standard error that is written over; nothing where no terminal
sees it."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from probe import printable

__all__ = ["Status", "status"]

_FRAMEWORKS = {
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "tf_keras": "Keras 2",
    "qkeras": "QKeras",
    "torch": "PyTorch",
    "transformers": "transformers",
}
_BAR, _POLL = 20, 0.1


class Status:
    """The line; ``clear`` it before anything else is written to the terminal."""

    def __init__(self) -> None:
        self._shown = ""

    @property
    def seen(self) -> bool:
        """Whether a terminal shows it that can write over a line."""
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def show(self, text: str) -> None:
        """Writes over what was shown before."""
        if not self.seen:
            return
        columns, text = _columns(), printable.line(text)
        text = text if len(text) < columns else f"{text[: columns - 2]}…"
        if text == self._shown:
            return
        self._write(f"\r{text:<{len(self._shown)}}\r{text}")
        self._shown = text

    def step(self, what: str, done: int, total: int, name: str) -> None:
        """The same with a bar: "layer 37 of 181 [####      ] conv2d"."""
        count = f" of {total}" if done <= total else ""
        filled = min(_BAR, _BAR * done // max(total, 1))
        self.show(f"{what} {done}{count} [{'#' * filled}{' ' * (_BAR - filled)}] {name}")

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            self._write(f"\r{'':<{len(self._shown)}}\r")
            self._shown = ""

    @contextmanager
    def importing(self, text: str) -> Iterator[None]:
        """Says ``text``, and which framework is being imported from when that begins."""
        if not self.seen:
            yield
            return
        self.show(text)
        before, done = set(sys.modules), threading.Event()

        def watch() -> None:
            while not done.wait(_POLL):
                begun = [name for name in _FRAMEWORKS if name in sys.modules and name not in before]
                if begun:
                    self.show(f"importing {_FRAMEWORKS[begun[-1]]}")

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self._shown = ""


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


status = Status()
