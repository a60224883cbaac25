"""SavedModels of TensorFlow: folders with saved_model.pb. The graph is read and looked at before
TensorFlow loads it; nothing of Keras' own is deserialised.
"""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.errors import BadInput
from probe.listing import Listing

from ..user_modules import refuse_factory
from .proto import read

if TYPE_CHECKING:
    from .model import SavedModel

__all__ = ["list_file", "open_model"]


def open_model(
    source: str | os.PathLike[str],
    *,
    trust: bool = False,
    factory: Any = None,
    imports: Sequence[str] = (),
    device: str | None = None,
    signature: str | None = None,
) -> "SavedModel":
    """A folder, of which one signature runs; the served one by default."""
    refuse_factory(factory, "a SavedModel")
    if imports:
        raise BadInput(
            "imports= (--import) is for files with layers of your own, and not for a SavedModel"
        )
    if device not in (None, "cpu"):
        raise BadInput("a SavedModel runs on the CPU here: leave out --device")
    folder = read(Path(source), trust)
    name = folder.signature(signature)
    model: SavedModel = importlib.import_module(".model", __package__).SavedModel(
        folder, name, trust
    )
    return model


def list_file(path: str | os.PathLike[str]) -> Listing:
    """The operations of the served signature, from the protocol buffer alone."""
    folder = read(Path(path))
    name = folder.signature(None)
    others = [other for other in folder.signatures if other != name]
    notes = [f"the signature {name}"]
    if others:
        notes.append(f"other signatures, with --signature: {', '.join(others)}")
    return Listing(tuple(folder.layers(name)), notes=tuple(notes))
