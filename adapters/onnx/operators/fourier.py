"""Fourier transforms: the last axis holds a number, or its real and imaginary parts."""

from probe import ops
from probe.description import Ref
from probe.description.stft import framed, half, resized, unhalved
from probe.errors import Undescribed

from ..describe import Node, Value, node

__all__: list[str] = []


def _part(recipe: Node, x: Value, rank: int, part: int) -> Ref:
    """The real or imaginary parts, without the last axis."""
    picked = recipe.put(ops.Slice((*(0,) * (rank - 1), part), (*(None,) * (rank - 1), part + 1)), x)
    return recipe.put(ops.Squeeze(axes=(rank - 1,)), picked)


def _joined(recipe: Node, real: Ref, imaginary: Ref, rank: int) -> Ref:
    apart = [recipe.put(ops.Unsqueeze(axes=(rank,)), one) for one in (real, imaginary)]
    return recipe.put(ops.Concat(axis=rank), *apart)


@node("DFT")
def dft(recipe: Node, x: Value, length: Value | None = None, axis: Value | None = None) -> Ref:
    """Along one axis, which before opset 20 is an attribute; ``onesided`` gives the first half, or
    takes it for the inverse."""
    shape, inverse, onesided = (
        recipe.shape(x),
        bool(recipe.get("inverse", 0)),
        bool(recipe.get("onesided", 0)),
    )
    rank = len(shape) - 1
    (at,) = (recipe.get("axis", 1),) if recipe.opset < 20 else recipe.ints(axis) or (-2,)
    at = at % len(shape)
    have = shape[at]
    size = (recipe.ints(length) or (2 * (have - 1) if inverse and onesided else have,))[0]
    if inverse and onesided and have != size // 2 + 1:
        raise Undescribed(
            f"how a half of {have} frequencies is cut or filled for a line of "
            f"{size} differs between engines"
        )
    if inverse and onesided:  # of a half, whose other half is the same turned round: real again
        whole = unhalved(
            recipe.put,
            (_part(recipe, x, rank + 1, 0), _part(recipe, x, rank + 1, 1)),
            rank,
            at,
            have,
            size,
        )
        found = recipe.put(ops.Fourier((at,), True, 1 / size, coarse=True), *whole)
        return recipe.put(ops.Unsqueeze(axes=(rank,)), Ref(found.step, 0))
    parts = [
        resized(recipe.put, _part(recipe, x, rank + 1, k), rank, at, have, size)
        for k in range(shape[-1])
    ]
    done = recipe.put(
        ops.Fourier((at,), inverse, 1 / size if inverse else 1.0, coarse=True), *parts
    )
    pair = (Ref(done.step, 0), Ref(done.step, 1))
    if onesided:
        pair = half(recipe.put, pair, rank, at, size)
    return _joined(recipe, *pair, rank)


@node("STFT")
def stft(
    recipe: Node,
    signal: Value,
    step: Value,
    window: Value | None = None,
    length: Value | None = None,
) -> Ref:
    """(batch, time, 1 or 2) as (batch, frames, frequencies, 2)."""
    (_, time, parts), onesided = recipe.shape(signal), bool(recipe.get("onesided", 1))
    size = (recipe.ints(length) or (recipe.shape(window)[0] if window is not None else 0,))[0]
    (stride,) = recipe.ints(step) or (1,)
    made = []
    for part in range(parts):
        x, _ = framed(recipe.put, _part(recipe, signal, 3, part), 2, time, size, stride)
        made.append(x if window is None else recipe.put(ops.Mul(), x, window))
    done = recipe.put(ops.Fourier((2,), coarse=True), *made)
    pair = (Ref(done.step, 0), Ref(done.step, 1))
    return _joined(recipe, *(half(recipe.put, pair, 3, 2, size) if onesided else pair), 3)
