"""Modules whose weights accelerate brings for each call and takes away after it, watched while they
are there.

accelerate puts a forward of its own on the instance (accelerate 1.11, hooks.py, add_hook_to_module)
around the class' one. For a watched pass its hook runs around the whole call instead, ours
included. accelerate is not imported.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch

__all__ = ["Offloaded"]


class Offloaded:
    """The modules that accelerate prepares for a call; ``unchanged`` puts their forwards back."""

    def __init__(self, modules: Sequence[torch.nn.Module]) -> None:
        self._modules = [
            module for module in modules if "_hf_hook" in vars(module) and "forward" in vars(module)
        ]

    def brought(self, stack: ExitStack) -> None:
        """What comes before a call, to be entered before the hooks that see it."""
        for module in self._modules:
            own = vars(module)["_old_forward"]
            if getattr(own, "__func__", None) is type(module).forward:
                del module.forward
            else:
                module.forward = own
            handle = module.register_forward_pre_hook(_before, with_kwargs=True)
            stack.callback(handle.remove)

    def taken(self, stack: ExitStack) -> None:
        """What comes after it, to be entered after them."""
        for module in self._modules:
            stack.callback(module.register_forward_hook(_after).remove)


def _before(module: Any, args: Any, kwargs: Any) -> Any:
    with _unwatched():
        return module._hf_hook.pre_forward(module, *args, **kwargs)


def _after(module: Any, args: Any, output: Any) -> Any:
    with _unwatched():
        return module._hf_hook.post_forward(module, output)


def _unwatched() -> AbstractContextManager[None]:
    """Bringing weights and taking them away are no calls of the model: they are not copied."""
    return torch._C.DisableTorchFunction()
