"""Layers that move elements, pad, or pass them on: as steps."""

import math
from typing import Any

from probe.errors import Undescribed
from probe.layer import Description
from probe.ops import Identity, Pad, Reshape, ResizeNearest, Slice, Transpose

from .description import Call, chain, describes, ntuple

__all__ = ["flatten", "padding", "unflatten", "upsample"]

_MODES = {"Constant": "constant", "Zero": "constant", "Reflection": "reflect", "Replication": "edge", "Circular": "wrap"}


@describes("Identity")
def identity(module: Any, call: Call) -> Description:
    return chain(Identity())


def _drops(module: Any) -> str:
    return "in training mode it drops elements at random; call eval() on it first" if module.training and module.p > 0 else ""


@describes("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout", refuses=_drops)
def dropout(module: Any, call: Call) -> Description:
    return chain(Identity())


@describes("Flatten")
def flatten(module: Any, call: Call) -> Description:
    """Axes ``start_dim`` to ``end_dim`` become one."""
    shape, rank = call.x.shape, call.x.ndim
    if not rank:
        return chain(Reshape(shape=(1,)))
    start, end = module.start_dim % rank, module.end_dim % rank
    return chain(Reshape(shape=(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])))


@describes("Unflatten")
def unflatten(module: Any, call: Call) -> Description:
    """One axis becomes several; one of their sizes may be -1."""
    if isinstance(module.dim, str):
        raise Undescribed("named axes have no description")
    shape, at, sizes = call.x.shape, module.dim % call.x.ndim, list(module.unflattened_size)
    if -1 in sizes:
        sizes[sizes.index(-1)] = shape[at] // max(1, -math.prod(sizes))
    return chain(Reshape(shape=(*shape[:at], *sizes, *shape[at + 1 :])))


def _paddings() -> tuple[str, ...]:
    return tuple(f"{mode}Pad{rank}d" for mode in _MODES for rank in (1, 2, 3))


@describes(*_paddings())
def padding(module: Any, call: Call) -> Description:
    """Pairs of amounts, the last axis first; negative ones crop."""
    kind = next(name for cls in type(module).__mro__ if cls.__name__ in _paddings() for name in [cls.__name__])
    mode = _MODES[kind[: kind.index("Pad")]]
    amounts = module.padding
    pairs = tuple((amounts[at], amounts[at + 1]) for at in range(len(amounts) - 2, -2, -2))
    pairs = ((0, 0),) * (call.x.ndim - len(pairs)) + pairs
    steps: list[Any] = [Pad(pads=tuple((max(0, b), max(0, a)) for b, a in pairs), mode=mode, value=float(getattr(module, "value", 0.0)))]
    if any(amount < 0 for pair in pairs for amount in pair):
        if mode != "constant":
            raise Undescribed(f"a negative amount of {mode} padding")
        steps.append(Slice(starts=tuple(max(0, -b) for b, _ in pairs), stops=tuple(a if a < 0 else None for _, a in pairs)))
    return chain(*steps)


def _interpolates(module: Any) -> str:
    return "" if module.mode == "nearest" else f"mode={module.mode!r} has no description; only 'nearest' has"


@describes("Upsample", "UpsamplingNearest2d", refuses=_interpolates)
def upsample(module: Any, call: Call) -> Description:
    """Repeats the element at floor(i / scale); the scale is the given one, or that of the sizes."""
    have, rank = call.x.shape[2:], call.x.ndim - 2
    if module.size is not None:
        sizes = ntuple(module.size, rank)
    else:
        given = tuple(float(scale) for scale in ntuple(module.scale_factor, rank))
        sizes = tuple(math.floor(size * scale) for size, scale in zip(have, given, strict=True))
    scales = tuple(size / old for size, old in zip(sizes, have, strict=True))
    if module.size is None and not module.recompute_scale_factor:
        # Where a size of two dimensions is kept or doubled, PyTorch goes by the sizes all the same (ATen/native/UpSample.h, nearest_idx).
        by_size = (1, 2) if rank == 2 else ()
        scales = tuple(ratio if ratio in by_size else scale for ratio, scale in zip(scales, given, strict=True))
    return chain(ResizeNearest(scales=(1.0, 1.0, *scales), sizes=(*call.x.shape[:2], *sizes)))


@describes("ChannelShuffle")
def channel_shuffle(module: Any, call: Call) -> Description:
    """(groups, channels / groups) read the other way round."""
    batch, channels, *space = call.x.shape
    split = Reshape(shape=(batch, module.groups, channels // module.groups, *space))
    return chain(split, Transpose(perm=(0, 2, 1, *range(3, 3 + len(space)))), Reshape(shape=call.x.shape))


@describes("PixelShuffle")
def pixel_shuffle(module: Any, call: Call) -> Description:
    """Channels (c, r, r) become c channels of r times the height and width."""
    r, (*lead, channels, height, width) = module.upscale_factor, call.x.shape
    n, deep = len(lead), channels // module.upscale_factor**2
    split = Reshape(shape=(*lead, deep, r, r, height, width))
    weave = Transpose(perm=(*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return chain(split, weave, Reshape(shape=(*lead, deep, height * r, width * r)))


@describes("PixelUnshuffle")
def pixel_unshuffle(module: Any, call: Call) -> Description:
    """The other way round."""
    r, (*lead, channels, height, width) = module.downscale_factor, call.x.shape
    n = len(lead)
    split = Reshape(shape=(*lead, channels, height // r, r, width // r, r))
    weave = Transpose(perm=(*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return chain(split, weave, Reshape(shape=(*lead, channels * r * r, height // r, width // r)))
