"""The containers that are asked for: the calls that each makes while it is on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from probe.model import Capture, Part

__all__ = ["Containers", "keeping"]

_KEPT = ContextVar[Callable[[Capture], Capture]]("_KEPT", default=lambda capture: capture)


@contextmanager
def keeping(what: Callable[[Capture], Capture]) -> Iterator[None]:
    """Passes in which containers keep of each call what this gives, and not its arrays."""
    before = _KEPT.set(what)
    try:
        yield
    finally:
        _KEPT.reset(before)


class Containers:
    """Those that are on in one forward pass, the outermost first; ``separator`` stands between the
    names of a layer and of one inside it."""

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._on: list[tuple[str, list[Part]]] = []

    def __bool__(self) -> bool:
        return bool(self._on)

    def enter(self, name: str) -> None:
        self._on.append((name, []))

    def leave(self) -> tuple[Part, ...]:
        """The calls that the innermost one has made."""
        return tuple(self._on.pop()[1])

    def add(self, capture: Capture, owner: str) -> None:
        """Takes down a call; ``owner`` is the layer whose weights it names."""
        if self._on:
            capture = _KEPT.get()(capture)
        for name, parts in self._on:
            parts.append(Part(capture, self._path(owner, name)))

    def _path(self, owner: str, container: str) -> str:
        """What the names of a layer's weights begin with, seen from the container."""
        start = container + self._separator if container else ""
        path = "" if owner == container else owner.removeprefix(start)
        if path:
            return path + self._separator
        return ""
