"""The engines that run a .tflite file."""

import platform
from functools import cache
from importlib import metadata
from importlib.util import find_spec

import ai_edge_litert

from probe.errors import BadInput, MissingExtra

from .arithmetic import ENGINES

__all__ = ["DEFAULT", "engine_of", "machine", "version"]

DEFAULT = "xnnpack"
"""What Python's interpreter and Android run."""


def engine_of(name: str | None) -> str:
    """The engine of that name. Raises BadInput where there is none, and MissingExtra where its
    package is not installed."""
    engine = DEFAULT if name is None else name
    if engine not in ENGINES:
        raise BadInput(f"the engine must be one of {', '.join(ENGINES)}; you gave {name!r}")
    if engine == "tflm" and find_spec("tflite_micro") is None:
        raise MissingExtra(
            "the engine tflm needs tflite_micro, which is not installed: pip install tflite-micro "
            "(it has wheels for Linux)"
        )
    return engine


@cache
def version(engine: str) -> str:
    """Name and version of what runs it."""
    if engine != "tflm":
        return f"LiteRT {ai_edge_litert.__version__}"
    return f"TFLM {metadata.version('tflite-micro')}"


def machine() -> str:
    """The processor's architecture: kernels differ by it."""
    return platform.machine()
