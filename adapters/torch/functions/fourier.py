"""Fourier transforms, of lines and of frames under a window, and back; of complex numbers arrays
hold the parts along a last axis more (complex_numbers.py)."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from probe import ops
from probe.description import Ref
from probe.description.stft import Pair, framed, half, resized, sounded, unhalved
from probe.errors import Undescribed

from .complex_numbers import joined, pair_of, rank_of
from .describe import CallBuilder, Value, function

__all__: list[str] = []


def _scale(count: int, inverse: bool, norm: str | None) -> float:
    if norm == "ortho":
        return 1 / math.sqrt(count)
    if inverse == (norm in (None, "backward")):
        return 1 / count
    return 1.0


def _transformed(
    build: CallBuilder, parts: Sequence[Ref], axes: Sequence[int], inverse: bool, scale: float
) -> Pair:
    done = build.add(ops.Fourier(tuple(axes), inverse, scale), *parts)
    return Ref(done.step, 0), Ref(done.step, 1)


def _line(
    build: CallBuilder,
    kind: str,
    x: Value,
    sizes: Sequence[int | None],
    dims: Sequence[int],
    norm: str | None,
) -> Ref:
    """fft, ifft, rfft, irfft along some axes; the real ones halve the last of them, or make it
    whole."""
    rank, inverse, real = (
        rank_of(build, x),
        "ifft" in kind or kind == "irfft",
        kind in ("rfft", "irfft"),
    )
    axes, parts = [dim % rank for dim in dims], pair_of(build, x)
    have = dict(enumerate(build.shape(x)))
    wanted = [
        have[axis] if size in (None, -1) else int(size or 0)
        for axis, size in zip(axes, sizes, strict=True)
    ]
    last = axes[-1]
    if kind == "irfft" and sizes[-1] in (None, -1):
        wanted[-1] = 2 * (have[last] - 1)
    whole = axes if kind != "irfft" else axes[:-1]
    for axis, size in list(zip(axes, wanted, strict=True))[: len(whole)]:
        parts = tuple(resized(build, part, rank, axis, have[axis], size) for part in parts)
    scale = _scale(math.prod(wanted), inverse, norm)
    if kind == "irfft":
        pair: Pair = (
            parts[0],
            parts[-1] if len(parts) > 1 else build.add(ops.Mul(), parts[0], 0.0),
        )
        if whole:
            pair = _transformed(build, pair, whole, True, 1.0)
        pair = unhalved(build, pair, rank, last, have[last], wanted[-1])
        return build.add(ops.Identity(), _transformed(build, pair, (last,), True, scale)[0])
    pair = _transformed(build, parts, axes, inverse, scale)
    return joined(build, half(build, pair, rank, last, wanted[-1]) if real else pair, rank)


def _register(kind: str) -> None:
    @function(f"complex.fft_{kind}", onnx="dft")
    def one(
        build: CallBuilder,
        input: Value,
        n: int | None = None,
        dim: int = -1,
        norm: str | None = None,
    ) -> Ref:
        return _line(build, kind, input, (n,), (dim,), norm)

    def several(
        build: CallBuilder, input: Value, s: Any = None, dim: Any = None, norm: str | None = None
    ) -> Ref:
        if dim is None:
            rank = rank_of(build, input)
            if s is None:
                dim = tuple(range(rank))
            else:
                dim = tuple(range(rank - len(s), rank))
        return _line(
            build, kind, input, (None,) * len(dim) if s is None else tuple(s), tuple(dim), norm
        )

    @function(f"complex.fft_{kind}2", onnx="dft")
    def two(
        build: CallBuilder,
        input: Value,
        s: Any = None,
        dim: Any = (-2, -1),
        norm: str | None = None,
    ) -> Ref:
        return several(build, input, s, dim, norm)

    function(f"complex.fft_{kind}n", onnx="dft")(several)


def _shifted(build: CallBuilder, input: Value, dim: Any, back: int) -> Ref:
    rank, x = build.rank(input), build.ref(input)
    if dim is None:
        dim = range(rank)
    for axis in (dim,) if isinstance(dim, int) else dim:
        size = build.shape(input)[axis]
        places = tuple((k - (size + back) // 2) % size for k in range(size))
        x = build.add(ops.Take(axis % rank, places), x)
    return x


@function("fft_fftshift", onnx="gather")
def shifted(build: CallBuilder, input: Value, dim: Any = None) -> Ref:
    """The frequency 0 in the middle."""
    return _shifted(build, input, dim, 0)


@function("fft_ifftshift", onnx="gather")
def shifted_back(build: CallBuilder, input: Value, dim: Any = None) -> Ref:
    return _shifted(build, input, dim, 1)


_PAD_MODES: dict[str, Literal["constant", "reflect", "edge", "wrap"]] = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


def _window(build: CallBuilder, window: Value | None, length: int | None, size: int) -> Ref | None:
    """The window amid zeros; None is none."""
    if window is None and length in (None, size):
        return None
    values = np.ones(length or size) if window is None else window
    (have,) = build.shape(values)
    before = (size - have) // 2
    if have == size:
        return build.ref(values)
    return build.add(ops.Pad(pads=((before, size - have - before),)), values)


@function("stft", "complex.stft", onnx="stft", idle="return_complex")
def stft(
    build: CallBuilder,
    input: Value,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Value | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Ref:
    """(..., time) as (..., frequencies, frames), of frames under a window each."""
    parts, rank, time = pair_of(build, input), rank_of(build, input), build.shape(input)
    length, step = time[rank - 1], hop_length or n_fft // 4
    if window is not None and id(window) in build.complexes:
        raise Undescribed("a complex window is not supported")
    if align_to_window is not None:
        raise Undescribed("align_to_window is not supported")
    if center:
        edge = n_fft // 2
        pads = (*((0, 0),) * (rank - 1), (edge, edge))
        pad = ops.Pad(pads=pads, mode=_PAD_MODES[pad_mode])
        parts, length = tuple(build.add(pad, part) for part in parts), length + 2 * edge
    framed_parts = [framed(build, part, rank, length, n_fft, step)[0] for part in parts]
    weighting = _window(build, window, win_length, n_fft)
    if weighting is not None:
        framed_parts = [build.add(ops.Mul(), part, weighting) for part in framed_parts]
    scale = 1 / math.sqrt(n_fft) if normalized else 1.0
    pair = _transformed(build, framed_parts, (rank,), False, scale)
    if onesided or (onesided is None and len(parts) == 1):
        pair = half(build, pair, rank + 1, rank, n_fft)
    turned = ops.Transpose(perm=(*range(rank - 1), rank, rank - 1))
    return joined(build, [build.add(turned, part) for part in pair], rank + 1)


@function("complex.istft", onnx="istft")
def istft(
    build: CallBuilder,
    input: Value,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Value | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Ref:
    """(..., frequencies, frames) as (..., time): frames under the window added up, over what the
    squares of the window add up to."""
    if return_complex or (window is not None and id(window) in build.complexes):
        raise Undescribed("a complex signal or window is not supported")
    rank, step = rank_of(build, input), hop_length or n_fft // 4
    *lead, have, count = build.shape(input)[:rank]
    turned = ops.Transpose(perm=(*range(rank - 2), rank - 1, rank - 2))
    real, imaginary = (build.add(turned, part) for part in pair_of(build, input))
    pair = real, imaginary
    if onesided or (onesided is None and have != n_fft):
        pair = unhalved(build, pair, rank, rank - 1, have, n_fft)
    scale = 1 / (math.sqrt(n_fft) if normalized else n_fft)
    frames, _ = _transformed(build, pair, (rank - 1,), True, scale)
    weighting = _window(build, window, win_length, n_fft) or build.ref(np.ones(n_fft))
    start = n_fft // 2 if center else 0
    time = (count - 1) * step + n_fft
    stop = time - start if length is None else start + length
    return sounded(build, frames, weighting, (*lead, count, n_fft), step, (start, stop))


for _kind in ("fft", "ifft", "rfft", "irfft"):
    _register(_kind)
