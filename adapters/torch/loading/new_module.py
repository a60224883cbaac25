"""What a factory returns, with nothing in it that was there before: a state_dict is written into it
and it is put into evaluation mode, which must reach nothing of the user's."""

import copy
import gc
import weakref
from typing import NamedTuple

import torch

from probe.errors import BadInput

__all__ = ["Alive", "alive", "own"]

_HANDED_OUT: "weakref.WeakSet[torch.nn.Module]" = weakref.WeakSet()
"""What ``own`` has returned, which another model is made of; a frozen object is not among those
that the garbage collector tells."""


class Alive(NamedTuple):
    """Modules and tensors, held so that no new one takes the place of one that has ended."""

    modules: list[torch.nn.Module]
    tensors: list[torch.Tensor]


def alive() -> Alive:
    """Those there are."""
    objects = gc.get_objects()
    modules = [part for part in objects if issubclass(type(part), torch.nn.Module)]
    tensors = [part for part in objects if issubclass(type(part), torch.Tensor)]
    return Alive([*modules, *_HANDED_OUT], tensors)


def own(module: torch.nn.Module, before: Alive, label: str) -> torch.nn.Module:
    """The module; BadInput where it, or a part that has parameters, was there ``before``. Other
    such parts, and constants that it shares, are copied."""
    old = {id(part) for part in (*before.modules, *before.tensors)}
    for name, part in module.named_modules():
        if id(part) in old and (part is module or _has_tensors(part)):
            what = f"its part {name!r}" if name else "a module"
            raise BadInput(
                f"the factory {label} returned {what} that was there before; its weights would be "
                f"overwritten: make a new one each time, as {type(part).__name__}(...) does, or "
                "copy.deepcopy of the other"
            )
    copies: dict[int, object] = {}
    for part in list(module.modules()):
        held = (*part._modules.items(), *part._parameters.items(), *part._buffers.items())
        for name, value in held:
            if id(value) in old:
                setattr(part, name, copy.deepcopy(value, copies))
    _HANDED_OUT.update(module.modules())
    return module


def _has_tensors(module: torch.nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())
