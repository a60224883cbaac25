"""Hugging Face directories: what they hold is listed from their files, and opened with
transformers' own class of ``architectures``; and live models of these classes.

Neither transformers nor PyTorch is imported before a model has to run; what needs them is imported
from here by name.
"""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.errors import MissingExtra
from probe.listing import Listing
from probe.process.extras import install
from probe.process.interrupts import held_back, interruptible
from probe.process.log_suppression import silenced

from ..user_modules import import_all
from .directory import listing, read

if TYPE_CHECKING:
    from probe.model import Model

__all__ = ["list_file", "open_model"]


def list_file(path: str | os.PathLike[str]) -> Listing | None:
    """What the headers of the files and config.json tell; None of pickled files, which tell
    nothing."""
    directory = read(Path(path))
    if directory.pickled:
        return None
    return listing(directory)


def open_model(
    source: Any,
    *,
    trust: bool = False,
    factory: Any = None,
    imports: Sequence[str] = (),
    device: str | None = None,
    gguf: str | os.PathLike[str] | None = None,
) -> "Model":
    """A directory with config.json and the parameters; with a factory the parameters alone are
    taken from it, and ``gguf`` is a file whose weights take their place. Or a live model.
    ``device`` None is the CPU, for a live one where it is."""
    import_all(imports)
    if not isinstance(source, str | os.PathLike):
        live: Model = _opening().live(source, device)
        return live
    directory = read(Path(source))
    if factory is None:
        directory.architecture  # noqa: B018 - refuses what names none, before anything is imported
    weights = None if gguf is None else Path(gguf)
    model: Model = _opening().opened(directory, trust, factory, imports, device, weights)
    return model


def _opening() -> Any:
    try:
        # packages that transformers finds installed say what they miss
        with held_back(), silenced("", logs=True), interruptible():
            return importlib.import_module(".opening", __package__)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(("probe", str(__package__))):
            raise
        raise MissingExtra(
            f"opening a Hugging Face directory needs {error.name}, which is not installed: "
            f"{install('transformers')}"
        ) from None
