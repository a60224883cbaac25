"""HGQ2's quantizers as ops, arithmetic of our own (``probe.ops``), and weights that go through
them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from hgq.quantizer.internal.base import DefaultBitwidthMapper, DummyQuantizer
from hgq.quantizer.internal.fixed_point_quantizer import (
    FixedPointQuantizerKBI,
    FixedPointQuantizerKIF,
)
from hgq.quantizer.internal.float_point_quantizer import FloatPointQuantizer

from probe import ops
from probe.description import Builder, Grid, Ref, Weight
from probe.errors import Undescribed

from ..keras.describe.variables import array_of

__all__ = ["quantized", "quantizer_ops", "through"]

_OVERFLOWS = ("WRAP", "WRAP_SM", "SAT", "SAT_SYM")


def quantizer_ops(quantizer: Any, where: str) -> tuple[ops.Op, ...]:
    """What a quantizer of HGQ2 does at inference; ``where`` begins the sentence if it cannot be
    told."""
    inner, before, after = quantizer.quantizer, [], []
    if quantizer.scaler is not None:
        size = np.asarray(quantizer.scaler, np.float64)
        if size.ndim or np.frexp(size)[0] != 0.5:
            raise Undescribed(
                f"{where} a quantizer whose scale is not a power of two, which is not supported"
            )
        before.append(ops.Affine(gain=float(1 / size), offset=0.0))
        after.append(ops.Affine(gain=float(size), offset=0.0))
    if quantizer.affine is not None:
        after.append(ops.Affine(gain=float(quantizer.affine[0]), offset=float(quantizer.affine[1])))
    if type(inner) is DummyQuantizer:
        return (*before, *after)
    if type(getattr(inner, "bw_mapper", None)) is not DefaultBitwidthMapper:
        raise Undescribed(
            f"{where} {type(inner).__name__}, a quantizer with a custom bit-width mapper, "
            "which is not supported"
        )
    return (*before, _op(inner, where), *after)


def _op(inner: Any, where: str) -> ops.Op:
    def bits(name: str) -> np.ndarray:
        held = getattr(inner, name)
        if isinstance(held, keras.Variable):
            array = array_of(held, keras)
        else:
            array = keras.ops.convert_to_numpy(held)
        return np.rint(array.astype(np.float64))

    kind = type(inner)
    if (
        f"{kind.__module__}.{kind.__name__}"
        == "qkeras.quantizers.frozen_quantizer.FrozenFixedPointQuantizer"
    ):
        kind = FixedPointQuantizerKBI  # HGQ2's own `qkeras` holds its bits as constants
    if kind is FloatPointQuantizer:
        return ops.MiniFloat(bits("_m"), bits("_e"), bits("_e0"))
    if kind not in (FixedPointQuantizerKBI, FixedPointQuantizerKIF):
        raise Undescribed(f"{where} {kind.__name__}, a quantizer that has no description")
    by_bits = kind is FixedPointQuantizerKBI
    rounding, overflow = inner.round_mode.removeprefix("S_"), inner.overflow_mode
    if overflow not in _OVERFLOWS:
        raise Undescribed(
            f"{where} a quantizer with overflow mode {overflow}, which is not supported"
        )
    if (
        overflow == "WRAP"
        and inner.trainable
        and inner._is_weight
        and (not by_bits or rounding == "RND")
    ):
        overflow = ""  # of weights the integer bits follow the values
    integer = bits("_i")
    return ops.FixedPoint(
        bits("_k"), integer, bits("_b") - integer if by_bits else bits("_f"), rounding, overflow
    )


def quantized(
    weight: Weight,
    quantizer: Any,
    off: np.ndarray | None = None,
    theirs: Callable[[], Any] | None = None,
) -> Weight:
    """The weight with its effective values quantised; where they were computed and may be ``off``,
    the framework's decide a threshold."""
    chain = quantizer_ops(quantizer, f"its {weight.name} goes through")

    def applied(values: np.ndarray) -> np.ndarray:
        for op in chain:
            values = op.run(values)[0]
        return values

    effective = weight.effective.astype(np.float32)
    value = applied(effective)
    undecided = np.zeros(effective.shape, bool)
    if off is not None:
        undecided = applied((effective - off).astype(np.float32)) != applied(
            (effective + off).astype(np.float32)
        )
    for op in chain:
        if isinstance(op, ops.MiniFloat):
            undecided |= op.undecided(effective)
    if undecided.any():
        asked = quantizer(effective) if theirs is None else theirs()
        value = np.where(undecided, keras.ops.convert_to_numpy(asked), value)
    parts = weight.parts
    if weight.steps:  # what is folded
        parts = {**parts, f"{weight.name} before its quantizer": effective}
    return replace(
        weight,
        effective=value,
        steps=(*weight.steps, _words(chain, quantizer, effective)),
        parts=parts,
        grid=_grid(chain, value),
    )


def _grid(chain: Sequence[ops.Op], value: np.ndarray) -> Grid | None:
    if len(chain) != 1 or not isinstance(chain[0], ops.FixedPoint):
        return None
    op, scale = chain[0], chain[0].step()
    size = max(int(np.abs(value / scale).max(initial=0)), 1)
    signed = bool(np.any(value < 0) or np.any(op.sign))
    return Grid(scale, max(op.bits, size.bit_length() + signed), signed)


def _words(chain: Sequence[ops.Op], quantizer: Any, values: np.ndarray) -> str:
    """Such as "kbi quantizer(RND, SAT_SYM): scale 0.0156, 1 sign, 2 integer and 6 fraction bits, 3
    values clipped"."""
    op = next((op for op in chain if isinstance(op, ops.FixedPoint | ops.MiniFloat)), None)
    name = f"{quantizer.q_type} quantizer"
    if not isinstance(op, ops.FixedPoint):
        if op is None:
            return name
        return f"{name} {op.summary(())}"
    steps, (low, high) = op.step(), op.limits()
    if steps.min() == steps.max():
        scale = f"{steps.min():g}"
    else:
        scale = f"{steps.min():g} to {steps.max():g} per element"
    if op.overflow:
        beyond = int(np.count_nonzero((values < low - steps / 2) | (values > high + steps / 2)))
    else:
        beyond = 0
    way = {"WRAP": "wrapped around", "WRAP_SM": "reflected"}.get(op.overflow, "clipped")
    done = f"{beyond} value{'' if beyond == 1 else 's'} {way}"
    said = op.summary(()).removeprefix("to fixed point with ").partition(" bits")[0]
    return (
        f"{name}({op.rounding}, {op.overflow or 'WRAP of weights'}): scale {scale}, {said} "
        f"bits, {done}"
    )


def through(build: Builder, x: Ref, quantizer: Any, where: str) -> Ref:
    """``x`` through a quantizer."""
    for op in quantizer_ops(quantizer, where):
        x = build.add(op, x)
    return x
