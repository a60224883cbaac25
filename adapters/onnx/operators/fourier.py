"""Fourier transforms: the last axis holds a number, or its real and imaginary parts."""

from probe import ops
from probe.description import Ref
from probe.description.stft import framed, half, resized, unhalved
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node

__all__: list[str] = []


def _part(build: NodeBuilder, x: Value, rank: int, part: int) -> Ref:
    """The real or imaginary parts, without the last axis."""
    picked = build.add(ops.Slice((*(0,) * (rank - 1), part), (*(None,) * (rank - 1), part + 1)), x)
    return build.add(ops.Squeeze(axes=(rank - 1,)), picked)


def _joined(build: NodeBuilder, real: Ref, imaginary: Ref, rank: int) -> Ref:
    apart = [build.add(ops.Unsqueeze(axes=(rank,)), part) for part in (real, imaginary)]
    return build.add(ops.Concat(axis=rank), *apart)


@node("DFT")
def dft(
    build: NodeBuilder, x: Value, length: Value | None = None, axis: Value | None = None
) -> Ref:
    """Along one axis, which before opset 20 is an attribute; ``onesided`` gives the first half, or
    takes it for the inverse."""
    shape, inverse, onesided = (
        build.shape(x),
        bool(build.get("inverse", 0)),
        bool(build.get("onesided", 0)),
    )
    rank = len(shape) - 1
    if build.opset < 20:
        (at,) = (build.get("axis", 1),)
    else:
        (at,) = build.ints(axis) or (-2,)
    at = at % len(shape)
    have = shape[at]
    size = (build.ints(length) or (2 * (have - 1) if inverse and onesided else have,))[0]
    if inverse and onesided and have != size // 2 + 1:
        raise Undescribed(
            f"how {have} one-sided frequencies are cropped or padded for a length of {size} "
            "differs between engines"
        )
    if inverse and onesided:  # of a half, whose other half is the same turned round: real again
        whole = unhalved(
            build,
            (_part(build, x, rank + 1, 0), _part(build, x, rank + 1, 1)),
            rank,
            at,
            have,
            size,
        )
        found = build.add(ops.Fourier((at,), True, 1 / size, coarse=True), *whole)
        return build.add(ops.Unsqueeze(axes=(rank,)), Ref(found.step, 0))
    parts = [
        resized(build, _part(build, x, rank + 1, k), rank, at, have, size) for k in range(shape[-1])
    ]
    done = build.add(ops.Fourier((at,), inverse, 1 / size if inverse else 1.0, coarse=True), *parts)
    pair = (Ref(done.step, 0), Ref(done.step, 1))
    if onesided:
        pair = half(build, pair, rank, at, size)
    return _joined(build, *pair, rank)


@node("STFT")
def stft(
    build: NodeBuilder,
    signal: Value,
    step: Value,
    window: Value | None = None,
    length: Value | None = None,
) -> Ref:
    """(batch, time, 1 or 2) as (batch, frames, frequencies, 2)."""
    (_, time, parts), onesided = build.shape(signal), bool(build.get("onesided", 1))
    size = (build.ints(length) or (build.shape(window)[0] if window is not None else 0,))[0]
    (stride,) = build.ints(step) or (1,)
    made = []
    for part in range(parts):
        x, _ = framed(build, _part(build, signal, 3, part), 2, time, size, stride)
        made.append(x if window is None else build.add(ops.Mul(), x, window))
    done = build.add(ops.Fourier((2,), coarse=True), *made)
    pair = (Ref(done.step, 0), Ref(done.step, 1))
    return _joined(build, *(half(build, pair, 3, 2, size) if onesided else pair), 3)
