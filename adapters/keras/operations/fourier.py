"""The Fourier transforms of keras.ops: complex numbers are pairs of tensors."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref, Steps
from probe.description.stft import Pair, framed, half, overlapped, resized, unhalved, window
from probe.errors import Undescribed

from ..describe.call import Call
from ..describe.describe import describes


def _both(
    steps: Steps,
    x: Pair,
    axes: tuple[int, ...],
    inverse: bool = False,
    scale: float = 1.0,
    real: bool = False,
) -> Pair:
    done = steps.put(ops.Fourier(axes, inverse, scale), *(x[:1] if real else x))
    return Ref(done.step, 0), Ref(done.step, 1)


@describes("ops.FFT", "ops.FFT2", "ops.IFFT2")
def _fft(op: Any, call: Call) -> Description:
    steps, axes = Steps(), (-1,) if type(op).__name__ == "FFT" else (-2, -1)
    inverse = type(op).__name__ == "IFFT2"
    count = int(np.prod([call.shape[axis] for axis in axes]))
    return Description(
        steps.ended(*_both(steps, _pair(call), axes, inverse, 1 / count if inverse else 1.0))
    )


def _pair(call: Call) -> Pair:
    real, imaginary = call.arguments["x"]
    if not isinstance(real, Ref) or not isinstance(imaginary, Ref):
        raise Undescribed("one of its parts is no tensor that follows the input")
    return real, imaginary


@describes("ops.RFFT")
def _rfft(op: Any, call: Call) -> Description:
    steps, rank, have = Steps(), len(call.shape), call.shape[-1]
    size = op.fft_length or have
    x = resized(steps.put, Ref(-1), rank, rank - 1, have, size)
    return Description(
        steps.ended(*half(steps.put, _both(steps, (x, x), (-1,), real=True), rank, rank - 1, size))
    )


@describes("ops.IRFFT")
def _irfft(op: Any, call: Call) -> Description:
    steps, rank, have = Steps(), len(call.shape), call.shape[-1]
    size = op.fft_length or 2 * (have - 1)
    whole = unhalved(steps.put, _pair(call), rank, rank - 1, have, size)
    return Description(
        steps.ended(steps.put(ops.Identity(), _both(steps, whole, (-1,), True, 1 / size)[0]))
    )


def _window(steps: Steps, op: Any, otherwise: Any = None) -> Ref | None:
    kind = (
        otherwise
        if op.window is None
        else op.window
        if isinstance(op.window, str)
        else np.asarray(op.window)
    )
    return window(steps.put, kind, op.sequence_length, op.fft_length)


@describes("ops.STFT")
def _stft(op: Any, call: Call) -> Description:
    """Frames under a window each; with ``center`` the signal is mirrored at its ends.

    Without a window TensorFlow takes all of a frame, the other backends ``sequence_length``
    elements in its middle.
    """
    steps, rank, time = Steps(), len(call.shape), call.shape[-1]
    x, size = Ref(-1), op.fft_length
    if op.center:
        edge = (size // 2, size // 2)
        x = steps.put(ops.Pad(pads=(*((0, 0),) * (rank - 1), edge), mode="reflect"), x)
        time += sum(edge)
    x, _ = framed(steps.put, x, rank, time, size, op.sequence_stride)
    held = _window(steps, op, None if call.backend == "tensorflow" else np.ones(op.sequence_length))
    x = x if held is None else steps.put(ops.Mul(), x, held)
    return Description(
        steps.ended(*half(steps.put, _both(steps, (x, x), (-1,), real=True), rank + 1, rank, size))
    )


@describes("ops.ISTFT")
def _istft(op: Any, call: Call) -> Description:
    """Frames under the window over what windows that overlap for ever add up to, added up; Keras on
    PyTorch has PyTorch's own there."""
    steps, size, step = Steps(), op.fft_length, op.sequence_stride
    *lead, count, have = call.shape
    if call.backend not in ("tensorflow", "torch"):
        raise Undescribed(f"how the {call.backend} backend weighs frames is not known")
    own = (
        call.backend == "torch"
        and op.sequence_length == size
        and op.center is True
        and op.window is not None
    )
    whole = unhalved(steps.put, _pair(call), len(call.shape), len(call.shape) - 1, have, size)
    x, _ = _both(steps, whole, (-1,), True, 1 / size)
    held, below = _window(steps, op), None
    if held is not None and own:
        squares = steps.put(ops.Expand(shape=(count, size)), steps.put(ops.Square(), held))
        below = overlapped(steps.put, squares, (count, size), step)
    elif held is not None:
        held = steps.put(ops.Div(), held, _for_ever(steps, held, size, step))
    x = x if held is None else steps.put(ops.Mul(), x, held)
    x = overlapped(steps.put, x, (*lead, count, size), step)
    time = (count - 1) * step + size
    start = size // 2 if op.center else 0
    stop = start + op.length if op.length is not None else time - start
    x = steps.put(ops.Slice((*(0,) * len(lead), start), (*(None,) * len(lead), stop)), x)
    if below is None:
        return Description(steps.ended(x))
    x = steps.put(ops.Div(), x, steps.put(ops.Slice((start,), (stop,)), below))
    return Description(
        steps.ended(
            resized(steps.put, x, len(lead) + 1, len(lead), min(stop, time) - start, stop - start)
        )
    )


def _for_ever(steps: Steps, held: Ref, size: int, step: int) -> Ref:
    """What the squares of windows at every step add up to, under each element of one."""
    turns = -(-size // step)
    squares = steps.put(ops.Pad(pads=((0, turns * step - size),)), steps.put(ops.Square(), held))
    total = steps.put(
        ops.ReduceSum(axes=(0,), keepdims=True),
        steps.put(ops.Reshape(shape=(turns, step)), squares),
    )
    wide = steps.put(
        ops.Reshape(shape=(turns * step,)), steps.put(ops.Expand(shape=(turns, step)), total)
    )
    return steps.put(ops.Slice((0,), (size,)), wide)
