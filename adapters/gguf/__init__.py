"""GGUF files of llama.cpp: weights without a graph, listed, and compared with their source.

They are never run: ``probe compare`` holds them against a Hugging Face directory.
"""

import os
from pathlib import Path
from typing import Any, NoReturn

from probe import printable
from probe.errors import CannotOpen
from probe.listing import Layer, Listing
from probe.model_comparison.weight_files import WeightFiles

from .. import gguf_header as header
from .weights import weight_files as _weight_files

__all__ = ["list_file", "open_model", "weight_files"]

_WEIGHTS = "a GGUF file holds weights and no layers that could be run"


def open_model(source: str | os.PathLike[str], **_: Any) -> NoReturn:
    """Raises CannotOpen with the way out, or with what is wrong with the file."""
    header.read(Path(source))
    raise CannotOpen(
        f"{source}: {_WEIGHTS}: compare it with the Hugging Face directory that it was converted "
        f"from, probe compare DIRECTORY {printable.name(str(source))}"
    )


def list_file(path: str | os.PathLike[str]) -> Listing:
    """The tensors of a file and the types that they are stored in, from its header alone."""
    file = header.read(Path(path))
    layers = tuple(
        Layer(name, tensor.type.name, (), _WEIGHTS, tensor.shape, tensor.rows * tensor.shape[-1])
        for name, tensor in file.tensors.items()
    )
    about = f"a GGUF file of the architecture {printable.name(file.architecture or 'unknown')}"
    return Listing(
        layers, "dtype", False, (f"{about}: compare it with its Hugging Face directory",)
    )


def weight_files(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> WeightFiles:
    """What ``probe compare A B`` compares, of which one at least is a GGUF file. Raises CannotOpen
    or BadInput with one sentence."""
    return _weight_files(Path(a), Path(b))
