"""HGQ2: Keras 3 layers whose inputs, weights and outputs go through fixed point with bits of its own for every element.

A layer is described as the layer of Keras that it extends, between the quantizers of its input and its output; only how a weight is
read differs. The quantizers are arithmetic of our own (``probe.ops``). HGQ2 installs a package `qkeras` over QKeras': the two cannot
be in one environment.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from hgq.quantizer import Quantizer
from hgq.quantizer.internal.base import DefaultBitwidthMapper, DummyQuantizer
from hgq.quantizer.internal.fixed_point_quantizer import FixedPointQuantizerKBI, FixedPointQuantizerKIF
from hgq.quantizer.internal.float_point_quantizer import FloatPointQuantizer

from probe import ops
from probe.building import Steps
from probe.errors import Undescribed
from probe.layer import Description, Grid, Ref, Step, Weight

from .keras import conv, einsum, merging, pooling  # noqa: F401 (they register what the layers here extend)
from .keras.activation import activation_steps
from .keras.description import REGISTERED, Call, Reader, array_of, describes, read_variable

__all__ = ["custom_objects", "quantizer_ops", "reader"]

_OVERFLOWS = ("WRAP", "SAT", "SAT_SYM")


def custom_objects() -> dict[str, Any]:
    """What Keras must be told to load a model: nothing, since importing hgq registers its classes."""
    return {}


def quantizer_ops(quantizer: Any, where: str) -> tuple[ops.Op, ...]:
    """What a quantizer of HGQ2 does at inference; ``where`` begins the sentence if it cannot be told."""
    inner, before, after = quantizer.quantizer, [], []
    if quantizer.scaler is not None:
        size = np.asarray(quantizer.scaler, np.float64)
        if size.ndim or np.frexp(size)[0] != 0.5:
            raise Undescribed(f"{where} a quantizer that scales by what is no power of two")
        before.append(ops.Affine(gain=float(1 / size), offset=0.0))
        after.append(ops.Affine(gain=float(size), offset=0.0))
    if quantizer.affine is not None:
        after.append(ops.Affine(gain=float(quantizer.affine[0]), offset=float(quantizer.affine[1])))
    if type(inner) is DummyQuantizer:
        return (*before, *after)
    if type(getattr(inner, "bw_mapper", None)) is not DefaultBitwidthMapper:
        raise Undescribed(f"{where} {type(inner).__name__}, a quantizer whose bits are assigned in a way of its own")
    return (*before, _op(inner, where), *after)


def _op(inner: Any, where: str) -> ops.Op:
    def bits(name: str) -> np.ndarray:
        return np.rint(array_of(getattr(inner, name), keras).astype(np.float64))

    if type(inner) is FloatPointQuantizer:
        return ops.MiniFloat(bits("_m"), bits("_e"), bits("_e0"))
    if type(inner) not in (FixedPointQuantizerKBI, FixedPointQuantizerKIF):
        raise Undescribed(f"{where} {type(inner).__name__}, a quantizer without a description")
    by_bits = type(inner) is FixedPointQuantizerKBI
    rounding, overflow = inner.round_mode.removeprefix("S_"), inner.overflow_mode
    if overflow not in _OVERFLOWS:
        raise Undescribed(f"{where} a quantizer of overflow mode {overflow}, which has no description")
    if overflow == "WRAP" and inner.trainable and inner._is_weight and (not by_bits or rounding == "RND"):
        overflow = ""  # of weights the integer bits follow the values
    integer = bits("_i")
    return ops.FixedPoint(bits("_k"), integer, bits("_b") - integer if by_bits else bits("_f"), rounding, overflow)


def reader(layer: Any) -> Reader:
    """How the variables of a layer become weights: through the quantizer of that name."""
    plain = read_variable(keras)
    pairs = (("_kernel", "_kq"), ("bias", "_bq"))
    owners = {
        id(getattr(one, name)): getattr(one, quantizer)
        for one in layer._flatten_layers()
        for name, quantizer in pairs
        if getattr(one, name, None) is not None and isinstance(getattr(one, quantizer, None), Quantizer)
    }

    def read(name: str, variable: Any, dtype: str | None) -> Weight:
        if id(variable) not in owners:
            return plain(name, variable, dtype)
        stored = array_of(variable, keras)
        return _quantized(Weight(name, stored, stored), owners[id(variable)])

    return read


def _quantized(weight: Weight, quantizer: Any, off: np.ndarray | None = None, theirs: Callable[[], Any] | None = None) -> Weight:
    """The weight with its effective values quantised; where they were computed and may be ``off``, the framework's decide a threshold."""
    chain = quantizer_ops(quantizer, f"its {weight.name} goes through")

    def through(values: np.ndarray) -> np.ndarray:
        for op in chain:
            values = op.run(values)[0]
        return values

    given = weight.effective.astype(np.float32)
    value = through(given)
    undecided = np.zeros(given.shape, bool)
    if off is not None:
        undecided = through((given - off).astype(np.float32)) != through((given + off).astype(np.float32))
    for op in chain:
        undecided |= op.undecided(given) if isinstance(op, ops.MiniFloat) else False
    if undecided.any():
        asked = quantizer(given) if theirs is None else theirs()
        value = np.where(undecided, keras.ops.convert_to_numpy(asked), value)
    return replace(weight, effective=value, steps=(*weight.steps, _words(chain, quantizer, given)), grid=_grid(chain, value))


def _grid(chain: Sequence[ops.Op], value: np.ndarray) -> Grid | None:
    if len(chain) != 1 or not isinstance(chain[0], ops.FixedPoint):
        return None
    op, scale = chain[0], chain[0].step()
    size = max(int(np.abs(value / scale).max(initial=0)), 1)
    signed = bool(np.any(value < 0) or np.any(op.sign))
    return Grid(scale, max(op.bits, size.bit_length() + signed), signed)


def _words(chain: Sequence[ops.Op], quantizer: Any, given: np.ndarray) -> str:
    """Such as "kbi quantizer(RND, SAT_SYM): scale 0.0156, 1 sign, 2 integer and 6 fraction bits, 3 values clipped"."""
    op = next((op for op in chain if isinstance(op, ops.FixedPoint | ops.MiniFloat)), None)
    name = f"{quantizer.q_type} quantizer"
    if not isinstance(op, ops.FixedPoint):
        return name if op is None else f"{name} {op.says(())}"
    steps, (low, high) = op.step(), op.limits()
    scale = f"{steps.min():g}" if steps.min() == steps.max() else f"{steps.min():g} to {steps.max():g} by element"
    beyond = int(np.count_nonzero((given < low - steps / 2) | (given > high + steps / 2))) if op.overflow else 0
    done = f"{beyond} value{'' if beyond == 1 else 's'} {'wrapped around' if op.overflow == 'WRAP' else 'clipped'}"
    said = op.says(()).removeprefix("to fixed point of ").partition(" bits")[0]
    return f"{name}({op.rounding}, {op.overflow or 'WRAP of weights'}): scale {scale}, {said} bits, {done}"


def _through(steps: Steps, x: Ref, quantizer: Any, where: str) -> Ref:
    for op in quantizer_ops(quantizer, where):
        x = steps.put(op, x)
    return x


def _between(layer: Any, call: Call, plain: Callable[[Any, Call], Description]) -> Description:
    """A description between the quantizers of the layer's inputs and of its output."""
    if call.training:
        raise Undescribed("its quantizers follow the batch in training mode")
    if call.dtype != "float32":
        raise Undescribed(f"it computes in {call.dtype}")
    if call.carried:
        raise Undescribed("a mask reaches it")
    steps, sources = Steps(), [Ref(-1, index) for index in range(len(call.inputs))]
    if layer.enable_iq:
        several = not isinstance(layer.iq, Quantizer)
        each = list(layer.iq) if several else [layer.iq]
        sources = [_through(steps, x, one, "its input goes through") for x, one in zip(sources, each, strict=True)]
    described = plain(layer, call)
    (y,) = steps.include(described.steps, *sources)
    if layer.enable_oq:
        y = _through(steps, y, layer.oq, "its output goes through")
    return replace(described, steps=steps.ended(y))


def _describes(*names: str) -> Callable[[Callable[[Any, Call], Description]], None]:
    def register(plain: Callable[[Any, Call], Description]) -> None:
        describes(*(f"hgq.{name}" for name in names))(lambda layer, call: _between(layer, call, plain))

    return register


for _name in (
    *("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "Add", "Subtract", "Multiply", "Maximum", "Minimum", "Dot"),
    *(f"{pooled}Pooling{rank}D" for pooled in ("Max", "Average", "GlobalMax", "GlobalAverage") for rank in (1, 2, 3)),
):
    _describes(f"Q{_name}")(REGISTERED[_name])


@describes("hgq.Quantizer")
def _quantizer(layer: Any, call: Call) -> Description:
    if call.training:
        raise Undescribed("it follows the batch in training mode")
    return Description(tuple(Step(op) for op in quantizer_ops(layer, "it is")) or (Step(ops.Identity()),))


def _scaled(steps: Sequence[Step], gain: float) -> Description:
    return Description((*steps, Step(ops.Affine(gain=float(gain), offset=0.0))))


@_describes("QAveragePow2")
def _average(layer: Any, call: Call) -> Description:
    return _scaled(REGISTERED["Add"](layer, call).steps, layer._scale)


@_describes("QSum", "QMeanPow2")
def _sum(layer: Any, call: Call) -> Description:
    return _scaled((Step(ops.ReduceSum(axes=tuple(layer.axes), keepdims=bool(layer.keepdims))),), layer.scale)


@_describes("QEinsum")
def _einsum(layer: Any, call: Call) -> Description:
    return Description((Step(ops.Einsum(equation=layer.equation), tuple(Ref(-1, index) for index in range(len(call.inputs)))),))


@_describes("QUnaryFunctionLUT")
def _function(layer: Any, call: Call) -> Description:
    return Description(activation_steps(layer.activation, call, len(call.shape)) or (Step(ops.Identity()),))


@_describes("QAffinedUnaryFunctionLUT")
def _affined(layer: Any, call: Call) -> Description:
    line = (Step(ops.MulConstant(call.weight("scale", layer.scale))), Step(ops.AddConstant(call.weight("bias", layer.bias))))
    return Description((*line, *activation_steps(layer.activation, call, len(call.shape))))


def _parts(layer: Any, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    found = {name: getattr(layer, attribute, None) for name, attribute in names.items()}
    return {name: array_of(variable, keras) for name, variable in found.items() if variable is not None}


_NORM = {"bn_gamma": "bn_gamma", "bn_beta": "bn_beta", "moving_mean": "moving_mean", "moving_variance": "moving_variance"}


def _gain(parts: Mapping[str, np.ndarray], epsilon: float) -> np.ndarray:
    wide = parts.get("bn_gamma", np.float32(1)) / np.sqrt((parts["moving_variance"] + np.float32(epsilon)).astype(np.float64))
    return np.asarray(wide, np.float32)


_SHARE = np.float32(2.0**-21)
"""How far what was computed may be off, of the magnitude of its largest term."""


@_describes("QBatchNormalization")
def _batch_normalization(layer: Any, call: Call) -> Description:
    """x * quantised(gamma / sqrt(variance + epsilon)) + quantised(beta - mean * the same); without a beta HGQ2 takes 1."""
    parts = _parts(layer, _NORM)
    gain = _gain(parts, layer.epsilon)
    shift = parts["moving_mean"] * gain
    beta = parts.get("bn_beta", np.float32(1))
    shape, root = tuple(layer._shape), f"sqrt(moving_variance + {layer.epsilon:g})"
    first = Weight("bn_gamma", parts.get("bn_gamma"), gain, (f"divided by {root}",), parts, shape=shape)
    words = f"{'bn_beta' if 'bn_beta' in parts else '1'} - moving_mean * bn_gamma / {root}"
    second = Weight("bn_beta", parts.get("bn_beta"), beta - shift, (words,), parts, shape=shape)
    made = [
        _quantized(first, layer.kq, _SHARE * np.abs(gain), lambda: layer.qscaler_and_qoffset[0]),
        _quantized(second, layer.bq, _SHARE * (np.abs(beta) + np.abs(shift)), lambda: layer.qscaler_and_qoffset[1]),
    ]
    return Description((Step(ops.MulConstant(made[0])), Step(ops.AddConstant(made[1]))))


def _with(call: Call, kernel: Weight, bias: Weight) -> Call:
    return replace(call, read=lambda name, variable, dtype: kernel if name == "kernel" else bias)


@_describes("QBatchNormDense")
def _normalized_dense(layer: Any, call: Call) -> Description:
    """The normalisation of the input folded into kernel and bias, as HGQ2 folds it: its bias lacks the division by the deviation."""
    parts = _parts(layer, _NORM)
    kernel, bias = array_of(layer._kernel, keras), array_of(layer.bias, keras)
    folded = _gain(parts, layer.epsilon)[:, None] * kernel
    shift = (parts["moving_mean"].astype(np.float64) @ kernel.astype(np.float64)).astype(np.float32)
    off = _SHARE * (np.abs(bias) + np.abs(parts["moving_mean"]) @ np.abs(kernel))

    def theirs(index: int) -> Any:
        return layer.get_fused_qkernel_and_qbias(layer.moving_mean, layer.moving_variance)[index]

    words = f"times bn_gamma / sqrt(moving_variance + {layer.epsilon:g})"
    first = _quantized(Weight("kernel", kernel, folded, (words,), parts), layer.kq, _SHARE * np.abs(folded), lambda: theirs(0))
    second = _quantized(Weight("bias", bias, bias - shift, ("less moving_mean times kernel",), parts), layer.bq, off, lambda: theirs(1))
    return REGISTERED["Dense"](layer, _with(call, first, second))


@_describes("QEinsumDenseBatchnorm")
def _normalized_einsum(layer: Any, call: Call) -> Description:
    """The normalisation of the output folded into kernel and bias."""
    parts = _parts(layer, _NORM)
    kernel, bias = array_of(layer._kernel, keras), array_of(layer.bias, keras)
    epsilon = float(keras.backend.epsilon())  # HGQ2 adds Keras' own, not the layer's
    gain = _gain(parts, epsilon)
    folded = np.einsum(layer.fused_kernel_equation, kernel, gain)
    shift = (parts["moving_mean"] * gain).reshape(layer._norm_offset_cast_shape)
    off = _SHARE * (np.abs(bias) + np.abs(shift))

    def theirs(index: int) -> Any:
        return layer.get_fused_qkernel_and_qbias(False, layer.moving_mean, layer.moving_variance)[index]

    root = f"sqrt(moving_variance + {epsilon:g})"
    first = Weight("kernel", kernel, folded, (f"times gamma / {root}",), parts)
    second = Weight("bias", bias, bias - shift, (f"less moving_mean * gamma / {root}",), parts)
    kernel_weight = _quantized(first, layer.kq, _SHARE * np.abs(folded), lambda: theirs(0))
    return REGISTERED["EinsumDense"](layer, _with(call, kernel_weight, _quantized(second, layer.bq, off, lambda: theirs(1))))


@_describes("QSoftmax")
def _softmax(layer: Any, call: Call) -> Description:
    """Two tables: of exp, and of 1 / (sum + epsilon); each between quantizers of its own."""
    if call.arguments.get("mask") is not None:
        raise Undescribed("a mask reaches it")
    steps, x, axes = Steps(), Ref(-1), tuple(layer.axes)
    sign = -1.0 if layer.stable else 1.0
    if layer.stable:
        x = steps.put(ops.Sub(), steps.put(ops.ReduceMax(axes=axes, keepdims=True), x), x)
        x = _through(steps, x, layer.exp_table.iq, "its exponent goes through")
    x = steps.put(ops.Exp(), steps.put(ops.Affine(gain=sign * float(layer.input_scaler), offset=0.0), x))
    x = _through(steps, x, layer.exp_table.oq, "its exponential goes through")
    total = _through(steps, steps.put(ops.ReduceSum(axes=axes, keepdims=True), x), layer.inv_table.iq, "its sum goes through")
    total = steps.put(ops.Reciprocal(), steps.put(ops.Affine(gain=1.0, offset=float(keras.backend.epsilon())), total))
    total = _through(steps, total, layer.inv_table.oq, "its divisor goes through")
    return Description(steps.ended(steps.put(ops.Mul(), x, total)))
