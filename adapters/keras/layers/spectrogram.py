"""Keras' spectrograms: the discrete Fourier transform of windows of a signal as a convolution with
cosines and sines."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref, Weight
from probe.errors import Undescribed

from ..describe.call import Call
from ..describe.describe import describes
from ..describe.op_builder import Chain
from .conv import padding_pairs

_COMPUTED = "computed by the layer, not stored"


def _framed(chain: Chain, x: Ref, kernel: Weight, step: int, pads: tuple[int, int] = (0, 0)) -> Ref:
    """A signal (batch, 1, time) with a bank of filters (frequencies, 1, frame): (batch,
    frequencies, frames)."""
    batch, _, time = chain.shape(x)
    frequencies, _, frame = kernel.value.shape
    op = ops.Conv(weight=kernel, bias=None, strides=(step,), pads=(pads,), dilations=(1,))
    return chain.add(op, x, shape=(batch, frequencies, (time + sum(pads) - frame) // step + 1))


def _power(chain: Chain, real: Ref, imaginary: Ref) -> Ref:
    return chain.add(ops.Add(), chain.add(ops.Square(), real), chain.add(ops.Square(), imaginary))


def _at_least(chain: Chain, x: Ref, least: float) -> Ref:
    return chain.add(ops.Max(), x, chain.ref(np.float64(least)))


@describes("STFTSpectrogram")
def _stft(layer: Any, call: Call) -> Description:
    if layer.mode == "angle":
        raise Undescribed("the angle of a frequency that the signal lacks is rounding alone")
    chain = Chain(call)
    first = layer.data_format == "channels_first"
    batch, channels, time = call.shape if first else (call.shape[0], call.shape[2], call.shape[1])
    x = chain.reshape(
        Ref(-1) if first else chain.transpose(Ref(-1), (0, 2, 1)), (batch * channels, 1, time)
    )
    (pads,) = padding_pairs(
        layer.padding, (time,), (layer.frame_length,), (layer._frame_step,), (1,)
    )

    def part(name: str) -> Ref:
        kernel = call.weight(name, getattr(layer, name), axes=(2, 1, 0))
        made = _framed(chain, x, kernel, layer._frame_step, pads)
        return chain.reshape(made, (batch, channels, *chain.shape(made)[1:]))

    parts = [
        part(name)
        for name, other in (("real_kernel", "imag"), ("imag_kernel", "real"))
        if layer.mode != other
    ]
    epsilon = float(call.namespace.backend.epsilon())
    if layer.mode in ("real", "imag"):
        made = parts[0]
    elif layer.mode == "stft":
        made = chain.concat(parts, 2)
    else:
        made = _power(chain, *parts)
        if layer.mode == "psd":
            bins = chain.shape(made)[2]
            inner = chain.part(made, 2, 1, bins - 1)
            padded = ops.Pad(pads=((0, 0), (0, 0), (1, 1), (0, 0)))
            made = chain.add(ops.Add(), made, chain.add(padded, inner, shape=chain.shape(made)))
        else:
            made = chain.add(ops.Sqrt(), _at_least(chain, made, epsilon))
        if layer.mode == "log":
            made = chain.add(ops.Log(), _at_least(chain, made, epsilon))
    _, _, bins, frames = chain.shape(made)
    if layer.expand_dims:
        made = chain.transpose(made, (0, 1, 3, 2) if first else (0, 3, 2, 1))
    else:
        made = chain.reshape(made, (batch, channels * bins, frames))
        made = made if first else chain.transpose(made, (0, 2, 1))
    return chain.done(made)


def _window(layer: Any) -> np.ndarray:
    turns = 2 * np.pi * np.arange(layer.sequence_length) / layer.sequence_length
    if layer.window == "hann":
        return np.asarray(0.5 - 0.5 * np.cos(turns))
    if layer.window == "hamming":
        return np.asarray(0.54 - 0.46 * np.cos(turns))
    if layer.window is None:
        return np.ones(layer.sequence_length)
    raise Undescribed(f"its window is {layer.window!r}")


def _banks(layer: Any) -> tuple[Weight, Weight]:
    """The cosines and the sines of every frequency under the window, which lies in the middle of
    the frame."""
    size = layer.fft_length
    before = (size - layer.sequence_length) // 2
    window = np.pad(_window(layer), (before, size - layer.sequence_length - before))
    turns = np.outer(np.arange(size // 2 + 1), np.arange(size)) % size * (2 * np.pi / size)
    return tuple(
        Weight(name, None, (f(turns) * window)[:, None], (_COMPUTED,))
        for name, f in (("cosines", np.cos), ("sines", np.sin))
    )  # type: ignore[return-value]


@describes("MelSpectrogram")
def _mel(layer: Any, call: Call) -> Description:
    chain = Chain(call)
    single = len(call.shape) == 1
    batch, time = (1, *call.shape) if single else call.shape
    half = layer.fft_length // 2
    x = chain.reshape(Ref(-1), (batch, 1, time))
    x = chain.add(
        ops.Pad(pads=((0, 0), (0, 0), (half, half)), mode="reflect"),
        x,
        shape=(batch, 1, time + 2 * half),
    )
    power = _power(
        chain, *(_framed(chain, x, bank, layer.sequence_stride) for bank in _banks(layer))
    )
    if layer.mag_exp == 1:
        power = chain.add(ops.Sqrt(), power)
    elif layer.mag_exp != 2:
        power = chain.add(ops.Pow(), chain.add(ops.Sqrt(), power), chain.ref(float(layer.mag_exp)))
    matrix = layer.linear_to_mel_weight_matrix(
        layer.num_mel_bins, half + 1, layer.sampling_rate, layer.min_freq, layer.max_freq
    )
    weight = Weight(
        "mel", None, np.asarray(call.namespace.ops.convert_to_numpy(matrix)), (_COMPUTED,)
    )
    frames = chain.transpose(power, (0, 2, 1))
    made = chain.add(
        ops.MatMul(weight=weight, bias=None),
        frames,
        shape=(*chain.shape(frames)[:2], layer.num_mel_bins),
    )
    if layer.power_to_db:
        ten = chain.ref(10.0)
        made = chain.add(
            ops.Mul(), ten, chain.add(ops.Log10(), _at_least(chain, made, layer.min_power))
        )
        reference = 10 * float(np.log10(max(abs(layer.ref_power), layer.min_power)))
        made = chain.add(ops.Sub(), made, chain.ref(reference))
        floor = chain.add(
            ops.Sub(), chain.reduce(ops.ReduceMax, made, None, True), chain.ref(float(layer.top_db))
        )
        made = chain.add(ops.Max(), made, floor)
    made = chain.transpose(made, (0, 2, 1))
    if call.dtype not in ("float32", "float64"):
        made = chain.add(ops.Cast(to=call.dtype), made)
    return chain.done(chain.reshape(made, chain.shape(made)[1:]) if single else made)
