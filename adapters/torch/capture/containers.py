"""The containers that are asked for: the calls that each makes while it is on."""

from probe.model import Capture, Part

__all__ = ["Containers"]


class Containers:
    """Those that are on in one forward pass, the outermost first."""

    def __init__(self) -> None:
        self._on: list[tuple[str, list[Part]]] = []

    def __bool__(self) -> bool:
        return bool(self._on)

    def enter(self, name: str) -> None:
        self._on.append((name, []))

    def leave(self) -> tuple[Part, ...]:
        """The calls that the innermost one has made."""
        return tuple(self._on.pop()[1])

    def add(self, capture: Capture, owner: str) -> None:
        """Takes down a call; ``owner`` is the module whose weights it names."""
        for name, parts in self._on:
            parts.append(Part(capture, _path(owner, name)))


def _path(owner: str, container: str) -> str:
    """What the names of a module's weights begin with, seen from the container."""
    inside = not container or owner == container or owner.startswith(f"{container}.")
    path = owner[len(container) :].lstrip(".") if inside else owner
    return f"{path}." if path else ""
