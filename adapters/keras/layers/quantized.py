"""Keras 3's own quantised layers and LoRA: the plain description of the class, with the weights
that the call really uses.

``quantize("int8")`` and ``"int4"`` store integers and scales (keras/src/layers/core/dense.py,
_int8_call and its kin) and, where the layer has an ``inputs_quantizer``, round the input too, by
the largest magnitude in each call. ``"float8"`` rounds input and kernel to e4m3fn. GPTQ and AWQ
store integers of 2 to 8 bits in groups. LoRA adds alpha / rank * A B to the kernel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np

from probe import ops
from probe.description import Builder, Description, Grid, Ref, Weight
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import completes
from ..describe.variables import array_of, cast, read_variable, widened
from ..describe.with_attributes import changed
from .activation import activation_steps


@dataclass(frozen=True, eq=False)
class _Used:
    """The weight that a layer multiplies by or looks up in, and what happens to the input
    before."""

    weight: Weight
    before: ops.Op | None = None
    others: Mapping[str, Weight] = field(default_factory=dict)
    """Weights beside it that are not used as they are stored."""


_MARK = object()
"""Stands for the variable that is not read as it is."""


@completes
def _quantized(
    layer: Any, call: KerasCall, plain: Callable[[Any, KerasCall], Description]
) -> Description | None:
    """The steps of a layer that Keras has quantised, or on which LoRA is enabled."""
    if not getattr(layer, "quantization_mode", None) and not getattr(layer, "lora_enabled", False):
        return None
    name, mode = (
        "embeddings" if hasattr(layer, "_embeddings") else "kernel",
        layer.quantization_mode,
    )
    # a ReversibleEmbedding, which LoRA changes in its forward direction alone
    backwards = bool(call.arguments.get("reverse"))
    untied = backwards and not layer.tie_weights
    if untied:
        name = "reverse_embeddings"
    if mode not in _MODES:
        raise Undescribed(f"its Keras quantisation mode {mode} is not supported")
    used = _MODES[mode](layer, call, name)
    if backwards and mode is not None:
        used = replace(used, before=_inputs(layer, call))
    if layer.lora_enabled and mode is None and not untied:
        used = _Used(_with_lora(layer, call, name, used.weight))
    elif layer.lora_enabled and not backwards:
        return _beside(layer, call, name, used, plain)
    described = plain(_bare(layer, **{name: _MARK}), _reading(call, used))
    if used.before is None:
        return described
    build = Builder()
    x = build.add(used.before, Ref(-1))
    return replace(described, steps=build.ended(*build.include(described.steps, x)))


def _bare(layer: Any, **values: Any) -> Any:
    """The layer as if it were neither quantised nor had LoRA, with these attributes."""
    return changed(layer, quantization_mode=None, lora_enabled=False, **values)


def _reading(call: KerasCall, used: _Used) -> KerasCall:
    """The call with a reader that gives the used weight for the marked variable, and others by
    name."""
    read = call.read or read_variable(call.namespace)

    def reading(name: str, variable: Any, dtype: str | None) -> Weight:
        if variable is _MARK:
            return used.weight
        return used.others.get(name) or read(name, variable, dtype)

    return replace(call, read=reading)


def _beside(
    layer: Any,
    call: KerasCall,
    name: str,
    used: _Used,
    plain: Callable[[Any, KerasCall], Description],
) -> Description:
    """LoRA beside integers: its two products take the input as it is, and are added before the
    bias."""
    read = read_variable(call.namespace)
    first, second = (
        read(f"lora_{name}_{part}", getattr(layer, f"lora_{name}_{part}"), call.dtype)
        for part in "ab"
    )
    bare = _bare(layer, **{name: _MARK, "bias": None, "activation": None})
    main = plain(bare, _reading(call, used))
    build = Builder()
    if used.before is None:
        x = Ref(-1)
    else:
        x = build.add(used.before, Ref(-1))
    (product,) = build.include(main.steps, x)
    (low_rank,) = build.include(plain(bare, _reading(call, _Used(first))).steps, Ref(-1))
    low_rank = build.add(ops.MatMul(second, None), low_rank)
    factor = float(layer.lora_alpha / layer.lora_rank)
    words = f"{factor:g} (lora_alpha / lora_rank) times x lora_{name}_a lora_{name}_b"
    low_rank = build.add(ops.Affine(gain=factor, offset=0.0), low_rank)
    y = build.add(ops.Beside(weight=name, words=words), product, low_rank)
    bias = call.weight("bias", getattr(layer, "bias", None))
    if bias is not None:
        y = build.add(ops.AddConstant(bias), y)
    activation = activation_steps(getattr(layer, "activation", None), call, len(call.shape))
    if activation:
        (y,) = build.include(activation, y)
    return replace(main, steps=build.ended(y))


def _stored(layer: Any, call: KerasCall, name: str) -> np.ndarray:
    return array_of(_variable(layer, name), call.namespace)


def _variable(layer: Any, name: str) -> Any:
    return getattr(layer, name if name == "reverse_embeddings" else f"_{name}")


def _plain(layer: Any, call: KerasCall, name: str) -> _Used:
    return _Used(read_variable(call.namespace)(name, _variable(layer, name), call.dtype))


def _with_lora(layer: Any, call: KerasCall, name: str, weight: Weight) -> Weight:
    """Keras computes it at each access, in an order of its own: what is read during the call is
    what the call used."""
    first, second = (
        array_of(getattr(layer, f"lora_{name}_{part}"), call.namespace) for part in "ab"
    )
    effective = widened(np.array(call.namespace.ops.convert_to_numpy(getattr(layer, name))))
    factor = layer.lora_alpha / layer.lora_rank
    words = (
        f"plus {factor:g} (lora_alpha / lora_rank) times lora_{name}_a lora_{name}_b, of rank "
        f"{layer.lora_rank}"
    )
    return replace(
        weight,
        effective=effective,
        steps=(words,),
        parts={f"lora_{name}_a": first, f"lora_{name}_b": second},
    )


def _inputs(layer: Any, call: KerasCall) -> ops.Op | None:
    """How the input is rounded in each call, where it is."""
    quantizer = getattr(layer, "inputs_quantizer", None)
    if not quantizer:
        return None
    if type(quantizer).__name__ != "AbsMaxQuantizer":
        raise Undescribed(
            f"its inputs go through {type(quantizer).__name__}, which has no description"
        )
    axes = (
        getattr(layer, "quantization_axis", None)
        or getattr(layer, "_input_reduced_axes", None)
        or (-1,)
    )
    axes = (axes,) if isinstance(axes, int) else tuple(axes)
    low, high = quantizer.value_range
    ndim = len(call.shape)
    return ops.AbsMaxQuantize(
        axes=tuple(axis % ndim for axis in axes),
        low=low,
        high=high,
        epsilon=float(quantizer.epsilon),
    )


def _int8(layer: Any, call: KerasCall, name: str) -> _Used:
    integers = _stored(layer, call, name)
    scale = array_of(getattr(layer, f"{name}_scale"), call.namespace)
    around = _along(layer, integers, scale, name)
    weight = _divided(name, integers, integers, scale, around, 8)
    return _Used(weight, None if name == "embeddings" else _inputs(layer, call))


def _along(layer: Any, integers: np.ndarray, scale: np.ndarray, name: str) -> np.ndarray:
    """The scale with the axes of the integers it belongs to."""
    if name == "embeddings":
        return scale[:, None]
    if hasattr(layer, "_adjust_scale_for_dequant"):
        return np.asarray(layer._adjust_scale_for_dequant(scale))
    return np.expand_dims(scale, tuple(range(integers.ndim - scale.ndim)))


def _divided(
    name: str,
    stored: np.ndarray,
    integers: np.ndarray,
    scale: np.ndarray,
    around: np.ndarray,
    bits: int,
) -> Weight:
    """integers / scale, in float32."""
    effective = (integers.astype(np.float32) / around).astype(np.float32)
    if scale.size and scale.min() == scale.max():
        text = f"{scale.min():g}"
    else:
        text = f"{scale.min():g} to {scale.max():g}"
    words = f"int{bits} divided by {name}_scale ({text})"
    grid = Grid((1 / around.astype(np.float64)), bits)
    return Weight(
        name,
        stored,
        effective,
        (words,),
        {f"{name}_scale": scale, **_unpacked(name, stored, integers)},
        grid=grid,
    )


def _unpacked(name: str, stored: np.ndarray, integers: np.ndarray) -> dict[str, np.ndarray]:
    """The integers as a part of a weight that is stored in another shape."""
    if stored.shape == integers.shape:
        return {}
    return {f"{name} unpacked to its integers": integers.astype(np.float32)}


def _int4(layer: Any, call: KerasCall, name: str) -> _Used:
    packed = _stored(layer, call, name)
    einsum, reverse = hasattr(layer, "_int4_unpacked_column_size"), name == "reverse_embeddings"
    if einsum:
        count = layer._int4_unpacked_column_size
    else:
        count = layer.output_dim if reverse else layer._orig_output_dim
    integers = _nibbles(packed, int(count), axis=0 if reverse else -1)
    scale = array_of(getattr(layer, f"{name}_scale"), call.namespace)
    if getattr(layer, "_int4_block_size", None) in (None, -1):
        if einsum:
            around = scale[None]
        else:
            around = _along(layer, integers, scale, name)
        weight = _shaped(_divided(name, packed, integers, scale, around, 4), layer)
        return _Used(weight, None if name == "embeddings" else _inputs(layer, call))
    zero = array_of(getattr(layer, f"{name}_zero"), call.namespace).astype(np.float32)
    groups = array_of(layer.g_idx, call.namespace).astype(np.int64)
    axis = 1 if name == "embeddings" else 0
    parts = {f"{name}_scale": scale, f"{name}_zero": zero}
    return _Used(
        _shaped(
            _grouped(
                name, packed, integers, scale.take(groups, axis), zero.take(groups, axis), 4, parts
            ),
            layer,
        )
    )


def _shaped(weight: Weight, layer: Any) -> Weight:
    """The matrix that an EinsumDense holds in the shape of its kernel; of other layers as it is."""
    shape = getattr(layer, "original_kernel_shape", None)
    if shape is None or weight.effective.ndim != 2:
        return weight
    grid = weight.grid
    if grid is not None:
        scale, zero = (
            np.broadcast_to(part, weight.effective.shape).reshape(shape)
            for part in (grid.scale, grid.zero_point)
        )
        grid = replace(grid, scale=scale, zero_point=zero)
    parts = {
        key: part.reshape(shape) if part.shape == weight.effective.shape else part
        for key, part in weight.parts.items()
    }
    return replace(weight, effective=weight.effective.reshape(shape), parts=parts, grid=grid)


def _grouped(
    name: str,
    stored: np.ndarray,
    integers: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    bits: int,
    parts: Mapping[str, np.ndarray],
) -> Weight:
    """(integers - zero) * scale, by groups."""
    effective = (integers.astype(np.float32) - zero) * scale
    words = f"int{bits} minus {name}_zero, times {name}_scale, in groups"
    grid = Grid(scale.astype(np.float64), bits, bits != 8, zero.astype(np.int64))
    return Weight(
        name, stored, effective, (words,), {**parts, **_unpacked(name, stored, integers)}, grid=grid
    )


def _nibbles(packed: np.ndarray, count: int, unsigned: bool = False, axis: int = -1) -> np.ndarray:
    """4-bit integers, two to a byte, the low half first (keras.quantizers.pack_int4)."""
    low, high = packed & 15, (packed >> 4) & 15
    pairs = np.stack((low, high), axis=axis if axis < 0 else axis + 1)
    shape = list(packed.shape)
    shape[axis] *= 2
    flat = pairs.reshape(shape).astype(np.int16)
    flat = flat.take(np.arange(count), axis=axis)
    if unsigned:
        return flat
    return np.where(flat > 7, flat - 16, flat)


def _calibrated(layer: Any, call: KerasCall, name: str, bits: int) -> Weight:
    """What GPTQ and AWQ hold: (units, inputs) integers in groups of inputs."""
    packed = array_of(layer.quantized_kernel, call.namespace)
    if hasattr(layer, "units"):
        count = layer.units
    else:
        count = layer.gptq_unpacked_column_size or layer.awq_unpacked_column_size
    if bits == 4:
        integers = _nibbles(packed, int(count), unsigned=True, axis=0)
    else:
        integers = packed
    scale, zero = (
        array_of(getattr(layer, f"kernel_{part}"), call.namespace).astype(np.float32)
        for part in ("scale", "zero")
    )
    groups = array_of(layer.g_idx, call.namespace).astype(np.int64)
    held = _grouped(
        name,
        packed,
        integers,
        scale[:, groups],
        zero[:, groups],
        bits,
        {"kernel_scale": scale, "kernel_zero": zero},
    )
    parts = {
        **held.parts,
        "quantized_kernel": packed,
        "kernel unpacked to its integers": integers.T.astype(np.float32),
    }
    grid = Grid(
        scale[:, groups].T.astype(np.float64), bits, False, zero[:, groups].T.astype(np.int64)
    )
    return _shaped(
        replace(held, stored=None, effective=held.effective.T, parts=parts, grid=grid), layer
    )


def _gptq(layer: Any, call: KerasCall, name: str) -> _Used:
    if not layer.is_gptq_calibrated:
        return _plain(layer, call, name)
    config = getattr(layer.dtype_policy, "weight_bits", None) or getattr(
        layer, "gptq_weight_bits", None
    )
    return _Used(_calibrated(layer, call, name, int(config or 4)))


def _awq(layer: Any, call: KerasCall, name: str) -> _Used:
    if not layer.is_awq_calibrated:
        return _plain(layer, call, name)
    weight = _calibrated(layer, call, name, 4)
    scales = array_of(layer.awq_scales, call.namespace)
    words = (*weight.steps, "divided by awq_scales")
    if len(scales) == len(weight.effective):
        divisor = scales.reshape(-1, *(1,) * (weight.effective.ndim - 1))
    else:
        divisor = scales[:, None]
    parts = {
        **weight.parts,
        "awq_scales": scales,
        "kernel not divided by awq_scales": weight.effective,
    }
    if weight.grid is None:
        grid = None
    else:
        grid = replace(weight.grid, scale=weight.grid.scale / divisor)
    return _Used(
        replace(weight, effective=weight.effective / divisor, steps=words, parts=parts, grid=grid)
    )


def _float8(layer: Any, call: KerasCall, name: str) -> _Used:
    scale, other = (
        float(array_of(getattr(layer, f"{part}_scale"), call.namespace))
        for part in (name, "inputs")
    )
    stored = _stored(layer, call, name)
    limit = np.float32(ml_dtypes.finfo("float8_e4m3fn").max)  # type: ignore[no-untyped-call]
    inside = np.clip(stored.astype(np.float32) / np.float32(scale), -limit, limit)
    effective = inside.astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * np.float32(scale)
    weight = Weight(
        name,
        stored,
        cast(effective, call.dtype),
        (f"rounded to float8_e4m3fn, {name}_scale {scale:g}",),
        {f"{name}_scale": np.array(scale, np.float32)},
    )
    others = {}
    if layer.bias is not None and call.dtype == "float32":
        bias = array_of(layer.bias, call.namespace)
        others["bias"] = Weight("bias", bias, cast(bias, "bfloat16"), ("rounded to bfloat16",))
    return _Used(weight, ops.Float8(size=other), others)


_MODES: dict[str | None, Callable[[Any, KerasCall, str], _Used]] = {
    None: _plain,
    "int8": _int8,
    "int4": _int4,
    "float8": _float8,
    "gptq": _gptq,
    "awq": _awq,
}
