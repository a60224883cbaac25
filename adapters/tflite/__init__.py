"""TFLite files (.tflite): each node of the flatbuffer that follows from the model's input is a
layer, run by LiteRT or by TFLM."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probe import printable
from probe.errors import BadInput, CannotOpen
from probe.files.regular_file import open_file
from probe.listing import Listing
from probe.model import Model

from ..user_modules import refuse_factory
from .dataflow import Dataflow
from .describe import described
from .engines import engine_of
from .listing import layers, notes
from .model import TfliteModel
from .reading import read_model
from .run_limits import refuse_endless, refuse_untrusted
from .schema import TfliteFile

__all__ = ["described", "list_file", "open_model"]


def open_model(
    source: str | os.PathLike[str],
    *,
    trust: bool = False,
    factory: Any = None,
    imports: Sequence[str] = (),
    device: str | None = None,
    engine: str | None = None,
    signature: str | None = None,
) -> Model:
    """A path to a .tflite file."""
    if device not in (None, "cpu"):
        raise BadInput(f"a TFLite model runs on the CPU; you gave the device {device!r}")
    if imports:
        raise BadInput(
            "imports= (--import) is only for custom classes of Keras and PyTorch models; "
            "this is a TFLite model"
        )
    refuse_factory(factory, "a TFLite model")
    file, asked = _read(source), engine_of(engine)
    flow = Dataflow(file if signature is None else _of_signature(file, signature, str(source)))
    if not trust:
        refuse_untrusted(flow.model, str(source))
    refuse_endless(flow.model, str(source))
    return TfliteModel(flow, str(source), asked, trust)


def _of_signature(file: TfliteFile, key: str, what: str) -> TfliteFile:
    """The file with the subgraph of this signature as what runs."""
    keys = {signature.key: signature.subgraph for signature in file.signatures}
    if key not in keys:
        listed = printable.several(map(repr, keys)) or "none"
        raise BadInput(f"{what} has no signature {printable.name(key)!r}; it has {listed}")
    return file.starting_at(keys[key])


def list_file(path: str | os.PathLike[str]) -> Listing:
    """The layers of a file, of which nothing is run."""
    flow = Dataflow(_read(path))
    return Listing(layers(flow), notes=notes(flow))


def _read(source: str | os.PathLike[str]) -> TfliteFile:
    path = Path(source)
    with open_file(path, "a TFLite model", CannotOpen) as file:
        return read_model(file.read(), str(path))
