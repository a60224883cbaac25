"""Layers that move elements, pad, or pass them on: as steps."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from probe.description import Description
from probe.errors import Undescribed
from probe.ops import Identity, Pad, Reshape, Slice, Transpose

from ..describe.describe import ModuleCall, chain, describes

__all__ = [
    "depth_to_space",
    "flatten",
    "padded",
    "padding",
    "shuffled",
    "space_to_depth",
    "unflatten",
]

_MODES = {
    "Constant": "constant",
    "Zero": "constant",
    "Reflection": "reflect",
    "Replication": "edge",
    "Circular": "wrap",
}


@describes("Identity")
def identity(module: Any, call: ModuleCall) -> Description:
    return chain(Identity())


def _drops(module: Any) -> str:
    if module.training and module.p > 0:
        return "in training mode it drops elements at random; call eval() on it first"
    return ""


@describes(
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "AlphaDropout",
    "FeatureAlphaDropout",
    refuses=_drops,
)
def dropout(module: Any, call: ModuleCall) -> Description:
    return chain(Identity())


@describes("Flatten")
def flatten(module: Any, call: ModuleCall) -> Description:
    """Axes ``start_dim`` to ``end_dim`` become one."""
    shape, rank = call.x.shape, call.x.ndim
    if not rank:
        return chain(Reshape(shape=(1,)))
    start, end = module.start_dim % rank, module.end_dim % rank
    return chain(
        Reshape(shape=(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))
    )


@describes("Unflatten")
def unflatten(module: Any, call: ModuleCall) -> Description:
    """One axis becomes several; one of their sizes may be -1."""
    if isinstance(module.dim, str):
        raise Undescribed("named dimensions are not supported")
    shape, at, sizes = call.x.shape, module.dim % call.x.ndim, list(module.unflattened_size)
    if -1 in sizes:
        sizes[sizes.index(-1)] = shape[at] // max(1, -math.prod(sizes))
    return chain(Reshape(shape=(*shape[:at], *sizes, *shape[at + 1 :])))


def _paddings() -> tuple[str, ...]:
    return tuple(f"{mode}Pad{rank}d" for mode in _MODES for rank in (1, 2, 3))


@describes(*_paddings())
def padding(module: Any, call: ModuleCall) -> Description:
    """Pairs of amounts, the last axis first; negative ones crop."""
    kind = next(
        name
        for cls in type(module).__mro__
        if cls.__name__ in _paddings()
        for name in [cls.__name__]
    )
    return padded(
        call.x,
        module.padding,
        _MODES[kind[: kind.index("Pad")]],
        float(getattr(module, "value", 0.0)),
    )


def padded(
    x: np.ndarray, amounts: Sequence[int], mode: str = "constant", value: float = 0.0
) -> Description:
    """``F.pad``, with NumPy's word for the mode."""
    pairs = tuple(
        (int(amounts[at]), int(amounts[at + 1])) for at in range(len(amounts) - 2, -2, -2)
    )
    pairs = ((0, 0),) * (x.ndim - len(pairs)) + pairs
    steps: list[Any] = [
        Pad(pads=tuple((max(0, b), max(0, a)) for b, a in pairs), mode=mode, value=value)
    ]
    if any(amount < 0 for pair in pairs for amount in pair):
        if mode != "constant":
            raise Undescribed(f"negative {mode} padding is not supported")
        steps.append(
            Slice(
                starts=tuple(max(0, -b) for b, _ in pairs),
                stops=tuple(a if a < 0 else None for _, a in pairs),
            )
        )
    return chain(*steps)


@describes("ChannelShuffle")
def channel_shuffle(module: Any, call: ModuleCall) -> Description:
    return shuffled(call.x, module.groups)


def shuffled(x: np.ndarray, groups: int) -> Description:
    """``F.channel_shuffle``: (groups, channels / groups) read the other way round."""
    batch, channels, *space = x.shape
    split = Reshape(shape=(batch, groups, channels // groups, *space))
    return chain(
        split, Transpose(perm=(0, 2, 1, *range(3, 3 + len(space)))), Reshape(shape=x.shape)
    )


@describes("PixelShuffle")
def pixel_shuffle(module: Any, call: ModuleCall) -> Description:
    return depth_to_space(call.x, module.upscale_factor)


def depth_to_space(x: np.ndarray, r: int) -> Description:
    """``F.pixel_shuffle``: channels (c, r, r) become c channels of r times the height and width."""
    *lead, channels, height, width = x.shape
    n, deep = len(lead), channels // r**2
    split = Reshape(shape=(*lead, deep, r, r, height, width))
    weave = Transpose(perm=(*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return chain(split, weave, Reshape(shape=(*lead, deep, height * r, width * r)))


@describes("PixelUnshuffle")
def pixel_unshuffle(module: Any, call: ModuleCall) -> Description:
    return space_to_depth(call.x, module.downscale_factor)


def space_to_depth(x: np.ndarray, r: int) -> Description:
    """``F.pixel_unshuffle``: the other way round."""
    *lead, channels, height, width = x.shape
    n = len(lead)
    split = Reshape(shape=(*lead, channels, height // r, r, width // r, r))
    weave = Transpose(perm=(*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return chain(split, weave, Reshape(shape=(*lead, channels * r * r, height // r, width // r)))
