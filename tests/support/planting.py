"""What the modules faults_*.py plant mistakes with: layers with drawn weights, arrays, and the list
that a row joins.

Such a module has ROWS, a list of (slug, layer family, function); the function gives (layer, the
layer's input, wrong output), or a fourth value, options for ``probe.check``; with ``at`` among them
the first is a model, and ``at`` the layer's name in it. The wrong output comes from a framework
used another way, or from arithmetic of the test's own, never from the edit of a hypothesis.
``faults.py`` gathers the modules by their names.
"""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch

F = torch.nn.functional
nn = torch.nn
Rows = list[tuple[str, str, Callable[[], tuple]]]


def planter(rows: Rows) -> Callable:
    """The decorator ``plant(slug, family)`` that adds a function to ``rows``."""

    def plant(slug: str, family: str) -> Callable:
        def register(function: Callable) -> Callable:
            rows.append((slug, family, function))
            return function

        return register

    return plant


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (scale * rng(seed).normal(size=shape)).astype(np.float32)


def torch_layer(kind: type, *args: Any, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    layer = kind(*args, **options).eval()
    for name, tensor in layer.state_dict().items():
        if name.startswith("running_var"):
            tensor.uniform_(0.01, 2.0)
        elif (
            isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm)
            and tensor.dtype.is_floating_point
        ):
            tensor.normal_(1.0 if name == "weight" else 0.3, 0.5)
    return layer


def keras_layer(kind: Any, x: np.ndarray, *args: Any, seed: int = 0, **options: Any) -> Any:
    keras.utils.set_random_seed(seed)
    layer = kind(*args, **options)
    layer(x)
    layer.set_weights(
        [draw(*w.shape, seed=seed + i + 1, scale=0.5) for i, w in enumerate(layer.get_weights())]
    )
    return layer


def otherwise(
    kind: type, x: Any, own: Any = None, given: Any = None, at: str = "", **mistake: Any
) -> tuple:
    """A block and its input, and what the same weights give in a block with a mistake, or where
    that is given something else."""
    torch.manual_seed(0)
    block, wrong = (kind(**{**(own or {}), **more}).eval() for more in ({}, mistake))
    kept: list[torch.Tensor] = []
    wrong.get_submodule(at).register_forward_hook(lambda _, x, y: kept.append(y))
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        wrong.load_state_dict({**wrong.state_dict(), **dict(block.named_parameters())})
        given = x if given is None else given
        wrong(*map(t, given if isinstance(given, list) else [given]))
    return block, x, kept[0].numpy(), {"at": at}


def parameters(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return layer.weight.detach(), layer.bias.detach()


def tf32(x: np.ndarray) -> np.ndarray:
    """As NVIDIA's conversion gives it, ties away from zero; in float32."""
    return ((x.astype(np.float32).view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32)


def t(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def same_pad(x: np.ndarray, kernel: int, stride: int) -> torch.Tensor:
    """Channels-last x as channels-first, padded as TensorFlow's "same" does."""
    first = t(x).permute(0, 3, 1, 2)
    pads = []
    for size in reversed(first.shape[2:]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(first, pads)


def last(y: torch.Tensor) -> np.ndarray:
    return y.permute(0, 2, 3, 1).numpy()


def kernel_bias(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    w, b = (np.array(one) for one in layer.get_weights())
    return t(w).permute(3, 2, 0, 1).contiguous(), t(b)
