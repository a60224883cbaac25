"""PyTorch: opens state_dicts, checkpoints, pickled and live modules, and watches them run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from probe.errors import CannotOpen

from . import (
    activation,
    attention,
    conv,
    distance,
    embedding,
    normalization,
    norms,
    pooling,
    recurrent,
    resize,
    shape,
    transformer,
    windows,
)
from .factory import Factory, build
from .files import contents, load
from .model import TorchModel, mode_of, unwrapped
from .state import fill, without_factory

__all__ = ["FAMILIES", "open_model"]

FAMILIES = (activation, attention, conv, distance, embedding, normalization, norms, pooling, recurrent, resize, shape, transformer, windows)
"""The modules whose import fills the table of descriptions."""


def open_model(source: Any, *, trust: bool = False, factory: Factory | None = None, imports: Sequence[str] = ()) -> TorchModel:
    """A path to what torch.save or safetensors wrote, or a live module, which keeps its mode."""
    if isinstance(source, torch.jit.ScriptModule):
        raise CannotOpen("this is a TorchScript module, whose layers cannot be watched; give the module that it was made from")
    if isinstance(source, torch.nn.Module):
        return _live(source)
    path = Path(source)
    found, notes = contents(path, load(path, trust, imports))
    if isinstance(found, torch.nn.Module):
        if factory is not None:
            notes = (*notes, "the file holds a whole module, so the factory was not used")
        module = unwrapped(found)
    elif factory is None:
        raise without_factory(path, found)
    else:
        module = unwrapped(build(factory))
        notes = (*notes, *fill(module, found, path))
    module.eval()
    return TorchModel(module, str(path), (*notes, "put in evaluation mode"))


def _live(module: torch.nn.Module) -> TorchModel:
    inner = unwrapped(module)
    notes = (mode_of(inner),) if inner is module else (mode_of(inner), "it was compiled; it runs uncompiled here")
    return TorchModel(inner, f"a live {type(inner).__name__} (torch.nn.Module)", notes)
