"""Spectra as steps: half of a line's frequencies and back, and frames of a signal under a window.

``put`` adds an op and gives the Ref of its output, as ``Builder.put`` does. Complex numbers go in
pairs of real and imaginary parts.
"""

from collections.abc import Sequence

import numpy as np

from probe import ops
from probe.description.builder import Builder
from probe.ops.step import Ref

__all__ = ["Pair", "framed", "half", "overlapped", "resized", "sounded", "unhalved", "window"]

Pair = tuple[Ref, Ref]


def _cut(rank: int, axis: int, start: int, stop: int | None, step: int = 1) -> ops.Slice:
    here = range(rank)
    return ops.Slice(
        tuple(start if k == axis else 0 for k in here),
        tuple(stop if k == axis else None for k in here),
        tuple(step if k == axis else 1 for k in here),
    )


def resized(build: Builder, x: Ref, rank: int, axis: int, have: int, size: int) -> Ref:
    """Cut off at ``size`` along an axis, or filled up with zeros."""
    if size < have:
        return build.add(_cut(rank, axis, 0, size), x)
    if size == have:
        return x
    return build.add(ops.Pad(pads=tuple((0, (size - have) * (k == axis)) for k in range(rank))), x)


def half(build: Builder, pair: Pair, rank: int, axis: int, size: int) -> Pair:
    """The frequencies up to the middle: those behind it are the same turned round where the line
    was real."""
    cut = _cut(rank, axis, 0, size // 2 + 1)
    return build.add(cut, pair[0]), build.add(cut, pair[1])


def unhalved(build: Builder, pair: Pair, rank: int, axis: int, have: int, size: int) -> Pair:
    """All frequencies of a real line of that size from those up to its middle, of which ``have``
    are given."""
    real, imaginary = (resized(build, x, rank, axis, have, size // 2 + 1) for x in pair)
    if size < 3:
        return real, imaginary
    back = _cut(rank, axis, (size - 1) // 2, 0, -1)
    joined = ops.Concat(axis=axis)
    return build.add(joined, real, build.add(back, real)), build.add(
        joined, imaginary, build.add(ops.Neg(), build.add(back, imaginary))
    )


def window(
    build: Builder, kind: str | Sequence[float] | np.ndarray | None, size: int, length: int
) -> Ref | None:
    """A window of that size amid zeros, (length): "hann" and "hamming" by their cosine, any other
    by its numbers; None is none.

    The cosine is a step, because its rounding is that of 1 where the window is next to nothing.
    """
    if kind is None:
        return None
    if isinstance(kind, str):
        least = {"hann": 0.5, "hamming": 0.54}[kind]
        turned = build.add(ops.Cos(), 2 * np.pi * np.arange(size) / size)
        scaled = build.add(ops.Mul(), turned, np.array(1 - least))
        values = build.add(ops.Sub(), np.array(least), scaled)
    else:
        values = build.ref(np.asarray(kind, np.float64))
    before = (length - size) // 2
    if length == size:
        return values
    return build.add(ops.Pad(pads=((before, length - size - before),)), values)


def framed(build: Builder, x: Ref, rank: int, time: int, length: int, step: int) -> tuple[Ref, int]:
    """(..., time) as (..., frames, length), and how many frames there are."""
    count = max(0, 1 + (time - length) // step)
    places = np.arange(count)[:, None] * step + np.arange(length)
    return build.add(ops.Gather(axis=rank - 1), x, places), count


def overlapped(build: Builder, x: Ref, shape: tuple[int, ...], step: int) -> Ref:
    """(..., frames, length) added up where the frames lie, (..., time)."""
    *lead, count, length = shape
    time = (count - 1) * step + length
    columns = build.add(
        ops.Transpose(perm=(0, 2, 1)), build.add(ops.Reshape(shape=(-1, count, length)), x)
    )
    image = ops.Col2Im(
        sizes=(1, time),
        kernel=(1, length),
        strides=(1, step),
        pads=((0, 0), (0, 0)),
        dilations=(1, 1),
    )
    return build.add(ops.Reshape(shape=(*lead, time)), build.add(image, columns))


def sounded(
    build: Builder,
    frames: Ref,
    window: Ref,
    shape: tuple[int, ...],
    step: int,
    part: tuple[int, int],
) -> Ref:
    """The signal of frames (..., frames, length): added up under the window, cut to that part,
    divided by what the squares of the window add up to there, and filled up with zeros."""
    *lead, count, length = shape
    start, stop = part
    squares = build.add(ops.Expand(shape=(count, length)), build.add(ops.Square(), window))
    below = overlapped(build, squares, (count, length), step)
    x = overlapped(build, build.add(ops.Mul(), frames, window), shape, step)
    x = build.add(ops.Slice((*(0,) * len(lead), start), (*(None,) * len(lead), stop)), x)
    x = build.add(ops.Div(), x, build.add(ops.Slice((start,), (stop,)), below))
    have = min(stop, (count - 1) * step + length) - start
    return resized(build, x, len(lead) + 1, len(lead), have, stop - start)
