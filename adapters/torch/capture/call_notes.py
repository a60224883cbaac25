"""What the report of a module's call says beside its values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .tensors import autocast_in

__all__ = ["notes_on_autocast", "notes_on_hooks", "notes_on_window", "user_hooks"]


def notes_on_hooks(module: torch.nn.Module) -> Iterator[str]:
    """Names the hooks that are neither ours nor PyTorch's own re-parametrisations."""
    for when, hooks in (("before", module._forward_pre_hooks), ("after", module._forward_hooks)):
        for called in user_hooks(hooks):
            yield (
                f"it has a user-registered forward hook, {called}, which runs {when} it and may "
                "change its output"
            )


def user_hooks(hooks: Mapping[int, Any]) -> Iterator[str]:
    """The names of the hooks that are neither ours nor PyTorch's own re-parametrisations."""
    for hook in hooks.values():
        if not str(hook.__module__).startswith(("torch.", str(__package__).rpartition(".")[0])):
            yield getattr(hook, "__qualname__", type(hook).__name__)


def notes_on_window(module: torch.nn.Module, inputs: Sequence[np.ndarray]) -> Iterator[str]:
    """That the sequence is too short for an attention of transformers to leave any of it out."""
    config = getattr(module, "config", None)
    window = getattr(module, "sliding_window", getattr(config, "sliding_window", None))
    sizes = [x.shape[1] if x.ndim == 3 else x.shape[-1] for x in inputs if x.ndim in (3, 4)]
    if (
        isinstance(window, int)
        and "Attention" in type(module).__name__
        and 0 < max(sizes, default=0) <= window
    ):
        yield (
            f"{max(sizes)} positions all lie within the sliding window of {window}, so another "
            "window, or none, would not be detected"
        )


def notes_on_autocast(tensors: Sequence[torch.Tensor]) -> tuple[str, ...]:
    on = autocast_in(tensors)
    if on is None:
        return ()
    return (f"computed under torch.autocast in {on}",)
