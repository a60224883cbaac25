"""Layers of Brevitas: the layer of torch.nn, with quantisers of its weight, bias, input and output
around it.

None of brevitas is imported. A quantiser says itself, in the call, which scale, zero point and bits
it uses; its arithmetic is that of ``ops.IntQuantize``, ``ops.FloatQuantize`` and
``ops.SignQuantize``. (brevitas/nn/quant_layer.py and brevitas/proxy, 0.13.)
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Grid, Ref, Weight
from probe.errors import Undescribed
from probe.ops.window.same_padding import same_padding

from ..describe.describe import ModuleCall, chain, describe, described_as, describes, ntuple

_PLACE = "brevitas.nn"
_ROUNDINGS = {
    "RoundSte": "even",
    "FloorSte": "floor",
    "CeilSte": "ceil",
    "RoundToZeroSte": "zero",
    "DPURoundSte": "up",
}
_CLAMPS = ("TensorClamp", "TensorClampSte", "InplaceTensorClampSte")
_INTEGERS = (
    "RescalingIntQuant",
    "PrescaledRestrictIntQuant",
    "DecoupledRescalingIntQuant",
    "DecoupledRescalingIntQuantWithInput",
)
Quantizer = ops.IntQuantize | ops.FloatQuantize | ops.SignQuantize


def _refuses(module: Any) -> str:
    if module.training:
        return "in training mode its quantisers adapt to the batch; call eval() on it first"
    if getattr(module, "export_mode", False):
        return "it is in export mode"
    return ""


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().numpy(force=True))


def _quantizer(tensor_quant: Any, *given: Any) -> tuple[Quantizer | None, int, bool]:
    """What a quantiser does, its bits and whether it is signed; None where it only looks on.
    ``given`` is what it is called with."""
    kind = type(tensor_quant).__name__
    if kind in ("BinaryQuant", "ClampedBinaryQuant", "TernaryQuant"):
        _refuse_delay(tensor_quant)
        _, scale, _, bits = tensor_quant(*given)
        return (
            ops.SignQuantize(_array(scale), getattr(tensor_quant, "threshold", None)),
            int(bits),
            True,
        )
    if kind not in (*_INTEGERS, "FloatQuant"):
        raise Undescribed(f"its quantiser is a {kind}, which has no description")
    if getattr(tensor_quant, "observer_only", False):
        return None, 0, True
    if kind == "FloatQuant":
        return _float(tensor_quant, given)
    if kind.startswith("Decoupled"):
        inner = tensor_quant.decoupled_int_quant
    else:
        inner = tensor_quant.int_quant
    _refuse_delay(inner)
    if type(inner).__name__ not in ("IntQuant", "DecoupledIntQuant"):
        raise Undescribed(
            f"its quantiser rounds with {type(inner).__name__}, which is not supported"
        )
    rounding = _rounding(inner, inner.tensor_clamp_impl)
    around = _in_groups(inner.input_view_impl, given)
    _, scale, zero, bits, *before = tensor_quant(*given)
    low, high = (int(limit(bits)) for limit in (inner.min_int, inner.max_int))
    divided = (around(before[0]), around(before[1])) if before else None
    op = ops.IntQuantize(around(scale), around(zero), low, high, rounding, divided)
    return op, round(float(bits)), bool(inner.signed)


def _float(tensor_quant: Any, arguments: tuple[Any, ...]) -> tuple[Quantizer, int, bool]:
    """The same for one to small floats."""
    clamp = tensor_quant.float_clamp_impl
    if _rounding(tensor_quant, clamp.tensor_clamp_impl) != "even":
        # where steps change, logarithms would decide
        raise Undescribed("its float quantiser does not round to nearest, which is not supported")
    if not clamp.saturating:
        raise Undescribed(
            "its float quantiser maps overflow to infinity or NaN, which is not supported"
        )
    around = _in_groups(tensor_quant.input_view_impl, arguments)
    _, scale, _, exponent, mantissa, bias, *_ = tensor_quant(*arguments)
    largest = tensor_quant.compute_max_mantissa(mantissa) * 2 ** (2**exponent - 1 - bias)
    available = clamp.max_available_float
    high = min(float(largest), float("inf") if available is None else float(available()))
    lowest = 1 - round(float(bias)) - round(float(mantissa))
    op = ops.FloatQuantize(
        around(scale), round(float(mantissa)), lowest, -high if tensor_quant.signed else 0.0, high
    )
    return (
        op,
        round(float(exponent + mantissa)) + bool(tensor_quant.signed),
        bool(tensor_quant.signed),
    )


def _rounding(quant: Any, clamp: Any) -> str:
    rounding, clamped = type(quant.float_to_int_impl).__name__, type(clamp).__name__
    if rounding not in _ROUNDINGS or clamped not in _CLAMPS:
        raise Undescribed(
            f"its quantiser rounds with {rounding} and clips with {clamped}, which is not supported"
        )
    return _ROUNDINGS[rounding]


def _in_groups(view: Any, arguments: tuple[Any, ...]) -> Callable[[Any], np.ndarray]:
    """What brings a scale to the layout of what is quantised: one for each group of neighbours is
    repeated for each of them."""
    kind = type(view).__name__
    if kind == "Identity":
        return _array
    if kind != "OverSubChannelBlockView":
        raise Undescribed(f"its quantiser views its input through {kind}, which is not supported")
    shape, axis = tuple(arguments[0].shape), view.group_dim % arguments[0].ndim

    def repeated(scale: Any) -> np.ndarray:
        values = _array(scale)
        if values.ndim <= len(shape):
            return values
        whole = np.broadcast_to(values, tuple(view.expanded_groupwise_shape))
        flat = whole.reshape(*whole.shape[:axis], -1, *whole.shape[axis + 2 :])
        return flat.take(range(shape[axis]), axis=axis)

    return repeated


def _refuse_delay(quant: Any) -> None:
    if type(quant.delay_wrapper.delay_impl).__name__ != "_NoDelay":
        raise Undescribed("its quantiser is delayed until later in training")


def _quantised(weight: Weight, op: Quantizer | None, bits: int, signed: bool) -> Weight:
    """The weight after its quantiser, in the stored dtype as the layer computes it, and the words
    for it."""
    if op is None:
        return weight
    (effective,) = op.run(weight.effective)
    match op:
        case ops.IntQuantize():
            ends = f"{'' if signed else 'u'}int{bits} from {op.low} to {op.high}"
        case ops.FloatQuantize():
            ends = f"float{bits} with {op.mantissa} mantissa bits from {op.low:g} to {op.high:g}"
        case _:
            ends = f"{op.levels} levels"
    words = f"quantised to {ends}, {_range('scale', op.size)}"
    grid = None
    if isinstance(op, ops.SignQuantize) and np.all(op.size):
        grid = Grid(np.asarray(op.size, np.float64), op.levels - 1, True)
    if isinstance(op, ops.FloatQuantize):
        words += f": {int(op.clipped(weight.effective).sum())} values clipped"
    if isinstance(op, ops.IntQuantize):
        zero = np.asarray(op.zero_point)
        words += f", {_range('zero point', zero)}" if zero.any() else ""
        words += (
            f", divided by {_range('another scale', op.before[0])}" if op.before is not None else ""
        )
        words += (
            f": {int(np.broadcast_to(op.clipped(weight.effective), effective.shape).sum())} "
            "values clipped"
        )
        if np.array_equal(zero, np.rint(zero)) and np.all(op.size):
            grid = Grid(np.asarray(op.size, np.float64), bits, signed, zero.astype(np.int64))
    return replace(
        weight,
        effective=effective.astype(weight.effective.dtype),
        steps=(*weight.steps, words),
        grid=grid,
    )


def _range(name: str, values: np.ndarray) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    if low == high:
        return f"{name} {low:g}"
    return f"{name} {low:g} to {high:g} per channel"


def _activation(proxy: Any, call: ModuleCall) -> tuple[Description | None, Quantizer | None]:
    """The activation of an input, output or activation quantiser, and what it quantises to; both
    None where it is off."""
    fused = proxy.fused_activation_quant_proxy
    if fused is None:
        return None, None
    inner = fused.activation_impl
    if type(inner).__name__ == "Identity":
        function = None
    else:
        function = describe(inner, replace(call, arguments={}))
    if not proxy.is_quant_enabled:
        return function, None
    if "Dynamic" in type(proxy).__name__:
        raise Undescribed("dynamic quantisation (a scale per input) is not supported")
    return function, _quantizer(fused.tensor_quant, proxy._zero_hw_sentinel())[0]


def _put(build: Builder, x: Ref, proxy: Any, call: ModuleCall) -> Ref:
    function, op = _activation(proxy, call)
    if function is not None:
        (x,) = build.include(function.steps, x)
    if op is None:
        return x
    return build.add(op, x)


@describes(
    *(
        f"{_PLACE}.quant_activation.{name}"
        for name in ("QuantIdentity", "QuantReLU", "QuantHardTanh")
    ),
    f"{_PLACE}.quant_layer.QuantNonLinearActLayer",
    refuses=_refuses,
)
def _activated(module: Any, call: ModuleCall) -> Description:
    build = Builder()
    x = _put(build, Ref(-1), module.input_quant, call)
    x = _put(build, x, module.act_quant, call)
    if build.steps:
        return Description(build.ended(x))
    return chain(ops.Identity())


_SUMS = {
    "quant_linear.QuantLinear": "Linear",
    **{f"quant_conv.QuantConv{rank}d": f"Conv{rank}d" for rank in (1, 2, 3)},
    **{
        f"quant_convtranspose.QuantConvTranspose{rank}d": f"ConvTranspose{rank}d"
        for rank in (1, 2, 3)
    },
}


def _register(name: str, plain: str) -> None:
    @describes(f"{_PLACE}.{name}", refuses=_refuses)
    def sums(module: Any, call: ModuleCall) -> Description:
        """The float layer on quantised numbers."""
        build = Builder()
        x = _put(build, Ref(-1), module.input_quant, call)
        weight, scale = _weight(module, call)
        weights = {"weight": weight, "bias": _bias(module, call, scale)}
        held = replace(call, read=lambda name: weights[name])
        if getattr(module, "is_same_padded_strided", False):
            pads = _same(module, call.x.shape)
            x = build.add(ops.Pad(pads=((0, 0), (0, 0), *pads), mode="constant"), x)
            shape = (
                *call.x.shape[:2],
                *(size + sum(pad) for size, pad in zip(call.x.shape[2:], pads, strict=True)),
            )
            held = replace(held, inputs=(np.broadcast_to(np.float32(0), shape),))
        described = described_as(plain, module, held)
        (y,) = build.include(described.steps, x)
        return replace(described, steps=build.ended(_put(build, y, module.output_quant, call)))


for _name, _plain in _SUMS.items():
    _register(_name, _plain)


def _same(module: Any, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Padding "same" with strides, which PyTorch refuses and Brevitas does itself: an odd cell
    comes after."""
    rank = len(module.kernel_size)
    if len(shape) != rank + 2:
        raise Undescribed("an input without a batch axis is not supported")
    pads = []
    for size, k, s, d in zip(
        shape[2:],
        module.kernel_size,
        ntuple(module.stride, rank),
        ntuple(module.dilation, rank),
        strict=True,
    ):
        total = same_padding(size, (k - 1) * d + 1, s)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def _weight(module: Any, call: ModuleCall) -> tuple[Weight, np.ndarray | None]:
    """The weight, and the scale that a quantiser of the bias multiplies the input's with."""
    weight, proxy = call.required("weight"), module.weight_quant
    if not proxy.is_quant_enabled:
        if hasattr(module, "weight_orig"):
            raise Undescribed("it uses weight_orig instead of its weight")
        return weight, None
    given: tuple[Any, ...] = (module.weight,)
    if proxy.requires_quant_input:  # accumulator-aware quantisation
        given = (module.weight, *_input_bits(module, call))
    op, bits, signed = _quantizer(proxy.tensor_quant, *given)
    return _quantised(weight, op, bits, signed), None if op is None else np.asarray(op.size)


def _input_bits(module: Any, call: ModuleCall) -> tuple[Any, bool]:
    """How many bits what comes in has, and whether one is a sign: of its own quantiser, or of the
    QuantTensor."""
    if module.input_quant.is_quant_enabled:
        return module.input_quant.bit_width(), module.input_quant.is_signed
    brought = call.scales[0] if call.scales else None
    if brought is None or brought.bits is None:
        raise Undescribed(
            "its weight quantiser needs the input's bit width, which the input does not carry"
        )
    return module.weight.new_tensor(brought.bits), brought.signed


def _bias(module: Any, call: ModuleCall, weight_scale: np.ndarray | None) -> Weight | None:
    bias, proxy = call.weight("bias"), module.bias_quant
    if bias is None or not proxy.is_quant_enabled:
        return bias
    if not proxy.requires_input_scale:
        return _quantised(bias, *_quantizer(proxy.tensor_quant, module.bias))
    given = _input_scale(module, call)
    if given is None or weight_scale is None or given.size != 1:
        raise Undescribed("its bias scale is not the input scale times the weight scale")
    scale = weight_scale.reshape(-1) * given.reshape(-1)
    return _quantised(
        bias, *_quantizer(proxy.tensor_quant, module.bias, module.weight.new_tensor(scale))
    )


def _input_scale(module: Any, call: ModuleCall) -> np.ndarray | None:
    """The scale of what comes in: that of its own quantiser, or the one that a QuantTensor brings
    along."""
    if module.input_quant.is_quant_enabled:
        op = _activation(module.input_quant, call)[1]
        if op is None:
            return None
        return np.asarray(op.size)
    brought = call.scales[0] if call.scales else None
    if brought is None:
        return None
    return brought.size


@describes(f"{_PLACE}.quant_embedding.QuantEmbedding", refuses=_refuses)
def _embedding(module: Any, call: ModuleCall) -> Description:
    if module.max_norm is not None:
        raise Undescribed("max_norm with quantised rows is not supported")
    weight, _ = _weight(module, call)
    return described_as("Embedding", module, replace(call, read=lambda name: weight))


@describes(f"{_PLACE}.quant_eltwise.QuantEltwiseAdd", refuses=_refuses, several=True)
def _add(module: Any, call: ModuleCall) -> Description:
    build = Builder()
    both = [
        _put(build, call.arguments[name], module.input_quant, call) for name in ("input", "other")
    ]
    return Description(
        build.ended(_put(build, build.add(ops.Add(), *both), module.output_quant, call))
    )
