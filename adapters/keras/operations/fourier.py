"""The Fourier transforms of keras.ops: complex numbers are pairs of tensors."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref
from probe.description.stft import (
    Pair,
    framed,
    half,
    overlapped,
    resized,
    sounded,
    unhalved,
    window,
)
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes


def _both(
    build: Builder,
    x: Pair,
    axes: tuple[int, ...],
    inverse: bool = False,
    scale: float = 1.0,
    real: bool = False,
) -> Pair:
    done = build.add(ops.Fourier(axes, inverse, scale), *(x[:1] if real else x))
    return Ref(done.step, 0), Ref(done.step, 1)


@describes("ops.FFT", "ops.FFT2", "ops.IFFT2")
def _fft(op: Any, call: KerasCall) -> Description:
    build, axes = Builder(), (-1,) if type(op).__name__ == "FFT" else (-2, -1)
    inverse = type(op).__name__ == "IFFT2"
    count = int(np.prod([call.shape[axis] for axis in axes]))
    return Description(
        build.ended(*_both(build, _pair(call), axes, inverse, 1 / count if inverse else 1.0))
    )


def _pair(call: KerasCall) -> Pair:
    real, imaginary = call.arguments["x"]
    if not isinstance(real, Ref) or not isinstance(imaginary, Ref):
        raise Undescribed("its real or imaginary part does not come from the input")
    return real, imaginary


@describes("ops.RFFT")
def _rfft(op: Any, call: KerasCall) -> Description:
    build, rank, have = Builder(), len(call.shape), call.shape[-1]
    size = op.fft_length or have
    x = resized(build, Ref(-1), rank, rank - 1, have, size)
    return Description(
        build.ended(*half(build, _both(build, (x, x), (-1,), real=True), rank, rank - 1, size))
    )


@describes("ops.IRFFT")
def _irfft(op: Any, call: KerasCall) -> Description:
    build, rank, have = Builder(), len(call.shape), call.shape[-1]
    size = op.fft_length or 2 * (have - 1)
    whole = unhalved(build, _pair(call), rank, rank - 1, have, size)
    return Description(
        build.ended(build.add(ops.Identity(), _both(build, whole, (-1,), True, 1 / size)[0]))
    )


def _window(build: Builder, op: Any, otherwise: Any = None) -> Ref | None:
    if op.window is None:
        kind = otherwise
    elif isinstance(op.window, str):
        kind = op.window
    else:
        kind = np.asarray(op.window)
    return window(build, kind, op.sequence_length, op.fft_length)


@describes("ops.STFT")
def _stft(op: Any, call: KerasCall) -> Description:
    """Frames under a window each; with ``center`` the signal is mirrored at its ends.

    Without a window TensorFlow takes all of a frame, the other backends ``sequence_length``
    elements in its middle.
    """
    build, rank, time = Builder(), len(call.shape), call.shape[-1]
    x, size = Ref(-1), op.fft_length
    if op.center:
        edge = (size // 2, size // 2)
        x = build.add(ops.Pad(pads=(*((0, 0),) * (rank - 1), edge), mode="reflect"), x)
        time += sum(edge)
    x, _ = framed(build, x, rank, time, size, op.sequence_stride)
    weighting = _window(
        build, op, None if call.backend == "tensorflow" else np.ones(op.sequence_length)
    )
    if weighting is not None:
        x = build.add(ops.Mul(), x, weighting)
    return Description(
        build.ended(*half(build, _both(build, (x, x), (-1,), real=True), rank + 1, rank, size))
    )


@describes("ops.ISTFT")
def _istft(op: Any, call: KerasCall) -> Description:
    """Frames under the window over what windows that overlap for ever add up to, added up; Keras on
    PyTorch has PyTorch's own there."""
    build, size, step = Builder(), op.fft_length, op.sequence_stride
    *lead, count, have = call.shape
    if call.backend not in ("tensorflow", "torch"):
        raise Undescribed(f"frame weighting by the {call.backend} backend is not modelled")
    own = (
        call.backend == "torch"
        and op.sequence_length == size
        and op.center is True
        and op.window is not None
    )
    whole = unhalved(build, _pair(call), len(call.shape), len(call.shape) - 1, have, size)
    x, _ = _both(build, whole, (-1,), True, 1 / size)
    weighting = _window(build, op)
    time = (count - 1) * step + size
    start = size // 2 if op.center else 0
    stop = start + op.length if op.length is not None else time - start
    if own and weighting is not None:
        return Description(
            build.ended(sounded(build, x, weighting, (*lead, count, size), step, (start, stop)))
        )
    if weighting is not None:
        weighting = build.add(ops.Div(), weighting, _for_ever(build, weighting, size, step))
        x = build.add(ops.Mul(), x, weighting)
    x = overlapped(build, x, (*lead, count, size), step)
    cut = ops.Slice((*(0,) * len(lead), start), (*(None,) * len(lead), stop))
    return Description(build.ended(build.add(cut, x)))


def _for_ever(build: Builder, window: Ref, size: int, step: int) -> Ref:
    """What the squares of windows at every step add up to, under each element of one."""
    turns = -(-size // step)
    squares = build.add(ops.Pad(pads=((0, turns * step - size),)), build.add(ops.Square(), window))
    total = build.add(
        ops.ReduceSum(axes=(0,), keepdims=True),
        build.add(ops.Reshape(shape=(turns, step)), squares),
    )
    wide = build.add(
        ops.Reshape(shape=(turns * step,)), build.add(ops.Expand(shape=(turns, step)), total)
    )
    return build.add(ops.Slice((0,), (size,)), wide)
