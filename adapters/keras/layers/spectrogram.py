"""Keras' spectrograms: the discrete Fourier transform of windows of a signal as a convolution with
cosines and sines."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref, Weight
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes
from ..describe.op_builder import OpBuilder
from ..describe.windows import SlidingWindow, padding_pairs

_UNIT = 2.0**-24
"""What rounding to float32 changes at most, relatively."""
_COMPUTED = "computed by the layer, not stored"


def _framed(
    build: OpBuilder,
    x: Ref,
    kernel: Weight,
    step: int,
    pads: tuple[int, int] = (0, 0),
    errors: tuple[float, ...] = (),
) -> Ref:
    """A signal (batch, 1, time) with a bank of filters (frequencies, 1, frame): (batch,
    frequencies, frames)."""
    frequencies, _, frame = kernel.value.shape
    window = SlidingWindow.padded((pads,), (), (frame,), (step,))
    conv = replace(window.conv(kernel), table_errors=errors)
    shape = (build.shape(x)[0], frequencies, *window.counts(build.shape(x)[2:]))
    return build.add(conv, x, shape=shape)


def _table_errors(kernels: Sequence[np.ndarray], turn: float) -> tuple[float, ...]:
    """How far entries of kernels (frequencies, 1, frame) may lie from cosine or sine under the
    window: their angles, ``turn`` for each frequency and place, are rounded to float32 in four
    steps, as is the product with the window and its scale."""
    size = np.abs(kernels).max(axis=(0, 1, 2)).astype(np.float64)  # of the window, by place
    frequencies, _, frame = kernels[0].shape
    angles = turn * np.outer(np.arange(frequencies), np.arange(frame))
    return tuple(map(float, (_UNIT * (4 * angles + 4) * size).max(axis=1)))


def _power(build: OpBuilder, real: Ref, imaginary: Ref) -> Ref:
    return build.add(ops.Add(), build.add(ops.Square(), real), build.add(ops.Square(), imaginary))


def _at_least(build: OpBuilder, x: Ref, least: float) -> Ref:
    return build.add(ops.Max(), x, np.float64(least))


@describes("STFTSpectrogram")
def _stft(layer: Any, call: KerasCall) -> Description:
    if layer.mode == "angle":
        raise Undescribed("the phase is undefined where the magnitude is zero")
    build = OpBuilder(call)
    first = layer.data_format == "channels_first"
    if first:
        batch, channels, time = call.shape
    else:
        batch, channels, time = (call.shape[0], call.shape[2], call.shape[1])
    x = build.reshape(
        Ref(-1) if first else build.transpose(Ref(-1), (0, 2, 1)), (batch * channels, 1, time)
    )
    (pads,) = padding_pairs(
        layer.padding, (time,), (layer.frame_length,), (layer._frame_step,), (1,)
    )

    kernels = [
        call.weight(name, getattr(layer, name), axes=(2, 1, 0))
        for name, other in (("real_kernel", "imag"), ("imag_kernel", "real"))
        if layer.mode != other
    ]
    turn = 2 * np.pi / layer._fft_length
    errors = _table_errors([kernel.value for kernel in kernels], turn)

    def part(kernel: Weight) -> Ref:
        spectrum = _framed(build, x, kernel, layer._frame_step, pads, errors)
        return build.reshape(spectrum, (batch, channels, *build.shape(spectrum)[1:]))

    parts = [part(kernel) for kernel in kernels]
    epsilon = float(call.namespace.backend.epsilon())
    if layer.mode in ("real", "imag"):
        spectrum = parts[0]
    elif layer.mode == "stft":
        spectrum = build.concat(parts, 2)
    else:
        spectrum = _power(build, *parts)
        if layer.mode == "psd":
            bins = build.shape(spectrum)[2]
            inner = build.part(spectrum, 2, 1, bins - 1)
            padded = ops.Pad(pads=((0, 0), (0, 0), (1, 1), (0, 0)))
            spectrum = build.add(
                ops.Add(), spectrum, build.add(padded, inner, shape=build.shape(spectrum))
            )
        else:
            spectrum = build.add(ops.Sqrt(), _at_least(build, spectrum, epsilon))
        if layer.mode == "log":
            spectrum = build.add(ops.Log(), _at_least(build, spectrum, epsilon))
    _, _, bins, frames = build.shape(spectrum)
    if layer.expand_dims:
        spectrum = build.transpose(spectrum, (0, 1, 3, 2) if first else (0, 3, 2, 1))
    else:
        spectrum = build.reshape(spectrum, (batch, channels * bins, frames))
        if not first:
            spectrum = build.transpose(spectrum, (0, 2, 1))
    return Description(build.ended(spectrum))


def _window(layer: Any) -> np.ndarray:
    turns = 2 * np.pi * np.arange(layer.sequence_length) / layer.sequence_length
    if layer.window == "hann":
        return np.asarray(0.5 - 0.5 * np.cos(turns))
    if layer.window == "hamming":
        return np.asarray(0.54 - 0.46 * np.cos(turns))
    if layer.window is None:
        return np.ones(layer.sequence_length)
    raise Undescribed(f"its window {layer.window!r} is not supported")


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
def _mel(layer: Any, call: KerasCall) -> Description:
    build = OpBuilder(call)
    single = len(call.shape) == 1
    batch, time = (1, *call.shape) if single else call.shape
    half = layer.fft_length // 2
    x = build.reshape(Ref(-1), (batch, 1, time))
    x = build.add(
        ops.Pad(pads=((0, 0), (0, 0), (half, half)), mode="reflect"),
        x,
        shape=(batch, 1, time + 2 * half),
    )
    power = _power(
        build, *(_framed(build, x, bank, layer.sequence_stride) for bank in _banks(layer))
    )
    if layer.mag_exp == 1:
        power = build.add(ops.Sqrt(), power)
    elif layer.mag_exp != 2:
        power = build.add(ops.Pow(), build.add(ops.Sqrt(), power), float(layer.mag_exp))
    matrix = layer.linear_to_mel_weight_matrix(
        layer.num_mel_bins, half + 1, layer.sampling_rate, layer.min_freq, layer.max_freq
    )
    weight = Weight(
        "mel", None, np.asarray(call.namespace.ops.convert_to_numpy(matrix)), (_COMPUTED,)
    )
    frames = build.transpose(power, (0, 2, 1))
    spectrum = build.add(
        ops.MatMul(weight=weight, bias=None),
        frames,
        shape=(*build.shape(frames)[:2], layer.num_mel_bins),
    )
    if layer.power_to_db:
        ten = build.ref(10.0)
        spectrum = build.add(
            ops.Mul(), ten, build.add(ops.Log10(), _at_least(build, spectrum, layer.min_power))
        )
        reference = 10 * float(np.log10(max(abs(layer.ref_power), layer.min_power)))
        spectrum = build.add(ops.Sub(), spectrum, reference)
        floor = build.add(
            ops.Sub(), build.reduce(ops.ReduceMax, spectrum, None, True), float(layer.top_db)
        )
        spectrum = build.add(ops.Max(), spectrum, floor)
    spectrum = build.transpose(spectrum, (0, 2, 1))
    if call.dtype not in ("float32", "float64"):
        spectrum = build.add(ops.Cast(to=call.dtype), spectrum)
    return Description(
        build.ended(build.reshape(spectrum, build.shape(spectrum)[1:]) if single else spectrum)
    )
