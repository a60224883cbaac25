"""What PyTorch holds for each thread alone, taken along to the thread that runs a pass: autocast,
modes and gradients."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils import _python_dispatch as dispatch

__all__ = ["settings_here"]

_DEVICES = ("cpu", "cuda", "xpu", "mps")


def settings_here() -> Callable[[], AbstractContextManager[None]]:
    """What the calling thread has set, to be entered in others."""
    autocasts = [
        partial(
            torch.autocast,
            device,
            torch.get_autocast_dtype(device),
            True,
            torch.is_autocast_cache_enabled(),
        )
        for device in _DEVICES
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    ]
    gradients = (torch.is_inference_mode_enabled(), torch.is_grad_enabled())
    return partial(
        _settings,
        autocasts,
        *gradients,
        _get_current_function_mode_stack(),  # type: ignore[no-untyped-call]
        dispatch._get_current_dispatch_mode_stack(),
    )


@contextmanager
def _settings(
    autocasts: Sequence[Callable[[], torch.autocast]],
    inference: bool,
    gradients: bool,
    functions: list[Any],
    dispatched: list[Any],
) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(inference))
        stack.enter_context(torch.set_grad_enabled(gradients))
        # Not by entering a mode: one that is entered twice forgets what it has to put back in its
        # own thread.
        for mode in functions:
            _push_mode(mode)  # type: ignore[no-untyped-call]
            stack.callback(_pop_mode)
        for mode in dispatched:
            dispatch._push_mode(mode)
            stack.callback(dispatch._pop_mode)
        for autocast in autocasts:
            stack.enter_context(autocast())
        yield
