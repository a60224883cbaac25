"""A forward pass in a file, and opened again as a model without any framework."""

from collections.abc import Sequence
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

from probe.errors import CannotOpen
from probe.listing import Listing, calls_of

if TYPE_CHECKING:
    from probe.model import Model

__all__ = ["list_file", "open_model"]


def open_model(
    source: str | PathLike[str],
    *,
    trust: bool = False,
    factory: object = None,
    imports: Sequence[str] = (),
    device: str | None = None,
) -> "Model":
    """The model that a recording is, or named arrays; nothing of a framework is needed for it."""
    for name, given in (("factory", factory), ("import", imports), ("device", device)):
        if given:
            raise CannotOpen(f"{source} is a recording, which runs nothing: leave out --{name}")
    model: Model = import_module("probe.recording.opening").opened(source)
    return model


def list_file(path: str | PathLike[str]) -> Listing:
    """Its layers, and how many calls of them there are where that is more."""
    model = open_model(path)
    count = calls_of(getattr(model, "called_layers", ()))
    return Listing(model.layers, notes=(count,) if count else ())
