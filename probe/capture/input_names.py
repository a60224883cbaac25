"""What a call itself calls its inputs: its parameters, as its arguments fill them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from probe.description import Ref

__all__ = ["input_names"]


def input_names(
    arguments: Mapping[str, Any],
    count: int,
    unpacked: Callable[[str], Sequence[str]] = lambda name: (),
) -> tuple[str, ...]:
    """The name of each of ``count`` inputs, "" where it has none; () where none has.

    ``arguments`` are those of the call by the names of its parameters, with the ``Ref`` of an input
    in its place. Of several inputs in one argument each has its key or its number behind the
    argument's name, or the name that the call unpacks it to, which ``unpacked`` gives of a
    parameter: ``cos, sin = position_embeddings``.
    """
    names = [""] * count
    for name, value in arguments.items():
        for ref, called in _named(name, value, unpacked):
            if 0 <= ref.index < count and not names[ref.index]:
                names[ref.index] = called
    return tuple(names) if any(names) else ()


def _named(
    name: str, value: Any, unpacked: Callable[[str], Sequence[str]]
) -> Iterator[tuple[Ref, str]]:
    """The inputs in one argument, and what each is called."""
    if isinstance(value, Ref):
        yield value, name
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _named(str(key), part, _not_unpacked)
    elif isinstance(value, list | tuple) and len(value) == 1:
        yield from _named(name, value[0], _not_unpacked)
    elif isinstance(value, list | tuple):
        targets = unpacked(name) if any(isinstance(part, Ref) for part in value) else ()
        for number, part in enumerate(value):
            called = targets[number] if len(targets) == len(value) else f"{name}_{number}"
            yield from _named(called, part, _not_unpacked)


def _not_unpacked(name: str) -> Sequence[str]:
    return ()
