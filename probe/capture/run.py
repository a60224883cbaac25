"""A model opened: what a user names it by, or has at hand, as what the other functions take."""

import os
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from typing import Any, TypeAlias

from probe.capture.flags import flags_checked
from probe.model import Model, is_model

__all__ = ["ModelLike", "Named", "as_names", "open_model", "opened"]

Named: TypeAlias = str | tuple[str, str]
"""A layer, or the first and the last one of a segment."""

ModelLike: TypeAlias = Any
"""What ``open_model`` takes, or has returned."""


@flags_checked
def open_model(
    source: ModelLike,
    *,
    trust: bool = False,
    factory: str | Callable[[], object] | None = None,
    imports: Sequence[str] = (),
    device: str | None = None,
    engine: str | None = None,
    signature: str | None = None,
    gguf: str | os.PathLike[str] | None = None,
) -> Model:
    """Opens a saved model, or wraps a live one.

    Args:
        source: A path, a ``keras.Model``, ``tf_keras.Model``, ``torch.nn.Module`` or a single layer
            of these, an exported program, or an ``onnx.ModelProto``.
        trust: Whether a file may run the code it holds.
        factory: What builds the module that a PyTorch state_dict belongs to: "pkg.mod:Net",
            "net.py:Net(10)" or a callable.
        imports: Modules to import first, with the user's own layers: names, or paths of .py files.
        device: Where it runs: "cpu", "cuda", "cuda:1" or "mps"; "disk": on the CPU, with the
            parameters of a Hugging Face directory read while they are needed. None: a file on the
            CPU (a large directory from the disk), a live model where it is. A live PyTorch module
            that is elsewhere is copied there.
        engine: What runs a .tflite file: "xnnpack" (the default: LiteRT with its XNNPACK delegate),
            "optimised" or "reference" (LiteRT's own kernels) or "tflm" (TensorFlow Lite for
            Microcontrollers).
        signature: Which signature of a .tflite file runs, by its name. None: the first subgraph.
        gguf: A GGUF file whose weights, dequantised, take the place of those of a Hugging Face
            directory, where transformers knows how to load its architecture.

    Returns:
        The model: its ``layers``, and what the other functions take in place of a path.

    Raises:
        CannotOpen: The file is missing, broken, or of a kind that cannot be opened.
        BadInput: There is no such device or engine.
        NotTrusted: The file holds code, and ``trust`` is not given.
        MissingExtra: The framework that the file needs is not installed.
    """
    model: Model = import_module("probe.adapters").open_model(
        source,
        trust=trust,
        factory=factory,
        imports=as_names(imports) or (),
        device=device,
        engine=engine,
        signature=signature,
        gguf=gguf,
    )
    return model


def opened(model: ModelLike) -> Model:
    """The model itself where an adapter has opened it, or else opened."""
    if is_model(model):
        return model
    return open_model(model)


def as_names(names: Collection[str] | None) -> tuple[str, ...] | None:
    """Names that a user gives; one alone is a text."""
    if isinstance(names, str):
        return (names,)
    return None if names is None else tuple(names)
