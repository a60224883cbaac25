"""Modules whose weights accelerate brings for each call and takes away after it, watched while they
are there.

accelerate puts a forward of its own on the instance (accelerate 1.11, hooks.py, add_hook_to_module)
around the class' one. For a watched pass its hook runs around the whole call instead, ours
included. accelerate is not imported.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch

__all__ = ["Offloaded"]

_RESTING = (torch.nn.Linear, torch.nn.Embedding)
"""What holds nearly all weights of a model, and gives one tensor that its arguments tell."""


class Offloaded:
    """The modules that accelerate prepares for a call; ``unchanged`` puts their forwards back.

    ``earlier`` is asked, of a module and its arguments, for what the call is known to give: it
    needs no weights then, and does not run.
    """

    def __init__(
        self,
        modules: Sequence[torch.nn.Module],
        earlier: Callable[[torch.nn.Module, Any], torch.Tensor | None] | None,
    ) -> None:
        self._modules = [
            module for module in modules if "_hf_hook" in vars(module) and "forward" in vars(module)
        ]
        self._earlier = earlier
        self._given: dict[torch.nn.Module, torch.Tensor] = {}
        """What the calls that are on need not compute."""
        self._asks = set[torch.nn.Module]()
        """Those of whose calls none has run yet."""

    def rests(self, module: torch.nn.Module) -> bool:
        """Whether the call of the module that is on does not run."""
        return module in self._given

    def brought(self, stack: ExitStack) -> None:
        """What comes before a call, to be entered before the hooks that see it."""
        for module in self._modules:
            own = vars(module)["_old_forward"]
            if getattr(own, "__func__", None) is not type(module).forward:
                module.forward = own
            elif self._earlier is not None and type(module) in _RESTING and not module.training:
                # PyTorch has looked the forward up when the first hook runs
                module.forward = functools.partial(self._forward, module)
                self._asks.add(module)
            else:
                del module.forward
            handle = module.register_forward_pre_hook(self._before, with_kwargs=True)
            stack.callback(handle.remove)

    def taken(self, stack: ExitStack) -> None:
        """What comes after it, to be entered after them."""
        for module in self._modules:
            stack.callback(module.register_forward_hook(self._after).remove)

    def _forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
        if self.rests(module):
            return self._given[module]
        return type(module).forward(module, *args, **kwargs)

    def _before(self, module: Any, args: Any, kwargs: Any) -> Any:
        with _unwatched():
            if self._earlier is not None and module in self._asks:
                found = self._earlier(module, (args, kwargs))
                if found is not None:
                    self._given[module] = found
                    return None
                self._asks.remove(module)
                del module.forward
            return module._hf_hook.pre_forward(module, *args, **kwargs)

    def _after(self, module: Any, args: Any, output: Any) -> Any:
        if self._given.pop(module, None) is not None:
            return None
        with _unwatched():
            return module._hf_hook.post_forward(module, output)


def _unwatched() -> AbstractContextManager[None]:
    """Bringing weights and taking them away are no calls of the model: they are not copied."""
    return torch._C.DisableTorchFunction()
