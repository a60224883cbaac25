"""Modules of one function, and what the tests of functions share."""

import numpy as np
import torch
from torch import nn

__all__ = ["Net", "assert_close", "in_kind", "refused"]


class Net(nn.Module):
    """A module that calls a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def in_kind(function, kind, tensors):
    """The function with the tensors of floats that it names in another type."""
    if not hasattr(function, "__globals__"):
        return function
    spaces = function.__globals__ | {name: one.to(kind) for name, one in tensors.items()}
    return type(function)(
        function.__code__, spaces, None, function.__defaults__, function.__closure__
    )


def refused(function, x):
    """Whether PyTorch has no such kernel, as only in 16 bits it may."""
    try:
        function(x)
    except RuntimeError:
        assert x.dtype != torch.float64
        return True
    return False


def assert_close(reports):
    """What NumPy and the framework gave in float64, where a wrong formula cannot pass."""
    for one in reports:
        ours, theirs = one.outputs["numpy"], one.outputs["framework"]
        for left, right in zip(
            *(part if isinstance(part, tuple) else (part,) for part in (ours, theirs)), strict=True
        ):
            np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)
