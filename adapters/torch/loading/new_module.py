"""What a factory returns, with nothing in it that was there before: a state_dict is written into it
and it is put into evaluation mode, which must reach nothing of the user's."""

import copy
import gc
import weakref
from typing import NamedTuple

import torch

from probe.errors import BadInput, first_line

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
    """The module, with copies of it, or of its parts, parameters and buffers, that were there
    ``before``; BadInput where one cannot be copied."""
    old = {id(part) for part in (*before.modules, *before.tensors)}
    copies: dict[int, object] = {}
    try:
        if id(module) in old:
            module = copy.deepcopy(module)
        for part in list(module.modules()):
            if id(part) in old:
                continue  # the user's, of which the module has a copy now
            members = (*part._modules.items(), *part._parameters.items(), *part._buffers.items())
            for name, member in members:
                if id(member) in old:
                    setattr(part, name, copy.deepcopy(member, copies))
    except Exception as error:  # whatever __deepcopy__ raises
        raise BadInput(
            f"the factory {label} returned a module that was there before, which cannot be copied: "
            f"make a new one each time ({first_line(error)})"
        ) from None
    _HANDED_OUT.update(module.modules())
    return module
