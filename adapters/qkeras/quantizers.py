"""QKeras' quantizers as ops: arithmetic of our own, of which QKeras' is what it is compared with.

They are described as they behave at inference: the stochastic ones round then like the plain ones.
``bernoulli`` draws at random at inference too, so that nothing can be recomputed of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import qkeras
import tf_keras
from tensorflow.python.ops import array_ops, array_ops_stack
from tensorflow.python.util import nest

from probe import ops
from probe.description import Grid
from probe.errors import MissingExtra, Undescribed

from ..keras.loading.import_framework import of_hgq2

__all__ = ["effective", "function_ops", "grid_of", "quantizer_ops", "settled"]

if not hasattr(qkeras, "QDense"):
    raise MissingExtra(of_hgq2())

# QKeras 0.9.0 calls names that TensorFlow has moved; with them its recurrent and transposed layers
# run as they are.
for _module, _name, _moved in (
    (nest, "is_sequence", nest.is_nested),
    (array_ops, "stack", array_ops_stack.stack),
    (array_ops, "unstack", array_ops_stack.unstack),
):
    if not hasattr(_module, _name):
        setattr(_module, _name, _moved)

_SIGMOIDS = {qkeras.quantizers.hard_sigmoid: 0.5, qkeras.quantizers.smooth_sigmoid: 0.1875}
"""QKeras' own sigmoids -> the slope of clip(slope * x + 0.5, 0, 1). Its hard_sigmoid is neither
that of Keras 2 nor of Keras 3."""

_FUNCTIONS: dict[Any, Callable[[], tuple[ops.Op, ...]]] = {
    qkeras.quantizers.hard_sigmoid: lambda: (ops.HardSigmoid(alpha=0.5, beta=0.5),),
    qkeras.quantizers.smooth_sigmoid: lambda: (ops.HardSigmoid(alpha=0.1875, beta=0.5),),
    qkeras.quantizers.hard_tanh: lambda: (
        ops.HardSigmoid(alpha=0.5, beta=0.5),
        ops.Affine(gain=2.0, offset=-1.0),
    ),
    qkeras.quantizers.smooth_tanh: lambda: (
        ops.HardSigmoid(alpha=0.1875, beta=0.5),
        ops.Affine(gain=2.0, offset=-1.0),
    ),
    qkeras.quantizers.binary_sigmoid: lambda: (ops.QuantizedSigmoid(bits=0, full=True),),
    qkeras.quantizers.binary_tanh: lambda: (
        ops.QuantizedSigmoid(bits=0, full=True),
        ops.Affine(gain=2.0, offset=-1.0),
    ),
}


def function_ops(function: Any) -> tuple[ops.Op, ...] | None:
    """The ops of an activation of QKeras' that is a plain function and no quantizer; None for
    anything else."""
    if callable(function) and getattr(function, "__hash__", None):
        found = _FUNCTIONS.get(function)
    else:
        found = None
    if found is None:
        return None
    return found()


def quantizer_ops(
    quantizer: Any, ndim: int, where: str, integer: np.ndarray | None = None
) -> tuple[ops.Op, ...]:
    """What a quantizer of QKeras does to an array of that rank; ``where`` begins the sentence if it
    cannot be told.

    ``integer`` are other integer bits than those that it holds now.
    """
    kind = type(quantizer)
    name = getattr(quantizer, "__name__", kind.__name__)
    plain = function_ops(quantizer)
    if plain is not None:
        return plain
    if kind not in _DESCRIBERS or tf_keras.backend.floatx() != "float32":
        if kind is qkeras.bernoulli:
            why = "which draws random numbers in inference too"
        else:
            why = "a quantizer that has no description"
        raise Undescribed(f"{where} {name}, {why}")
    stochastic = getattr(quantizer, "use_stochastic_rounding", False) or kind in (
        qkeras.stochastic_binary,
        qkeras.stochastic_ternary,
    )
    if stochastic and tf_keras.backend.learning_phase():
        raise Undescribed(
            f"{where} {name}, which rounds stochastically while Keras' learning phase is 1"
        )
    for option in ("bits", "integer"):
        numbers = np.asarray(getattr(quantizer, option, 0))
        if not np.isfinite(numbers).all() or (np.rint(numbers) != numbers).any():
            raise Undescribed(f"{where} {name} with {option} = {numbers}, not a whole number")
    chain = _DESCRIBERS[kind](quantizer, ndim)
    if integer is None:
        return chain
    return tuple(_with_integer(op, integer) for op in chain)


def _with_integer(op: ops.Op, integer: np.ndarray) -> ops.Op:
    if isinstance(op, ops.Quantizer):
        return replace(op, integer=_integer(integer))
    return op


def grid_of(chain: Sequence[ops.Op], stored: np.ndarray, value: np.ndarray) -> Grid | None:
    """The integers behind values that the quantizer's ops gave, where they are equally far
    apart."""
    op = chain[-1]
    if (
        not isinstance(op, ops.Quantizer | ops.Binary | ops.Ternary)
        or op.noise != 1
        or len(chain) > 1
    ):
        return None
    scale = np.asarray(op.step(stored), np.float32)
    if not scale.all():
        return None
    if isinstance(op, ops.Quantizer):
        bits, signed = (op.bits, getattr(op, "keep_negative", False))
    else:
        bits, signed = (op.levels - 1, True)
    grid = Grid(scale, bits, signed)
    # The straight-through estimator may leave a value a rounding away from its level.
    near = np.abs(grid.integers(value) * scale - value) <= 2.0**-20 * scale + 2.0**-22 * np.abs(
        stored
    )
    if near.all():
        return grid
    return None


def effective(
    chain: Sequence[ops.Op], quantizer: Any, stored: np.ndarray
) -> tuple[np.ndarray, str]:
    """Stored values as the quantizer's ops give them, in float32, and the words for what became of
    them.

    A value whose logarithm falls on a threshold rounds as the machine's own logarithm has it: for
    those the quantizer is asked.
    """
    value = stored.astype(np.float32)
    for op in chain:
        given, value = value, op.run(value)[0]
    last, words = chain[-1], _words(chain, quantizer, stored if len(chain) == 1 else given)
    if isinstance(last, ops.QuantizedPo2 | ops.QuantizedReluPo2):
        undecided = last.undecided(given)
        if undecided.any():
            value = np.where(
                undecided, np.asarray(quantizer(tf_keras.backend.constant(stored))), value
            )
            count = int(undecided.sum())
            words += (
                f"; {count} value{'' if count == 1 else 's'} on a threshold, rounded as "
                "QKeras does here"
            )
    return value, words


def _fixed(quantizer: Any) -> dict[str, Any]:
    return {
        "bits": int(quantizer.bits),
        "integer": _integer(quantizer.integer),
        "noise": float(np.asarray(quantizer.qnoise_factor)),
        "straight_through": bool(quantizer.use_ste),
    }


def _integer(bits: Any) -> int | np.ndarray:
    """Integer bits: one number, or one per channel of the last axis."""
    array = np.asarray(bits)
    if array.size == 1:
        return int(array.item())
    return array.astype(np.int64)


def settled(
    chain: Sequence[ops.Op], quantizer: Any, stored: np.ndarray, theirs: Callable[[], Any]
) -> tuple[np.ndarray, str]:
    """As ``effective``, of values that were computed and may be off by rounding.

    ``theirs`` gives the framework's own: it decides at a threshold.
    """
    value, words = effective(chain, quantizer, stored)
    around = [
        effective(chain, quantizer, stored * np.float32(1 + sign * 2.0**-21))[0] for sign in (-1, 1)
    ]
    undecided = np.abs(around[1] - around[0]) > 2.0**-16 * np.abs(value)
    if undecided.any():
        value = np.where(undecided, np.asarray(quantizer(theirs())), value)
    return value, words


def _bits(quantizer: Any, ndim: int) -> tuple[ops.Op, ...]:
    alpha, negative, common = quantizer.alpha, bool(quantizer.keep_negative), _fixed(quantizer)
    if isinstance(alpha, str):
        axes = _reduced(quantizer.scale_axis, ndim)
        return (
            ops.AutoQuantizedBits(
                **common, power_of_two="po2" in alpha, keep_negative=negative, axes=axes
            ),
        )
    alpha = 1.0 if alpha is None else np.asarray(alpha, np.float32)
    return (
        ops.QuantizedBits(
            **common, symmetric=bool(quantizer.symmetric), keep_negative=negative, alpha=alpha
        ),
    )


def _reduced(scale_axis: int | None, ndim: int) -> tuple[int, ...]:
    """The axes over which one scale is found (qkeras/quantizers.py, _get_scaling_axis: a negative
    axis keeps none)."""
    if ndim == 1:
        return (0,)
    if scale_axis is None:
        if tf_keras.backend.image_data_format() == "channels_last":
            scale_axis = ndim - 1
        else:
            scale_axis = 0
    return tuple(axis for axis in range(ndim) if axis != scale_axis)


def _hswish(quantizer: Any, ndim: int) -> tuple[ops.Op, ...]:
    bent = ops.ShiftedHardSwish(
        shift=float(quantizer.relu_shift), bound=float(quantizer.relu_upper_bound)
    )
    return (bent, *_bits(quantizer, ndim))


def _relu(quantizer: Any, ndim: int) -> tuple[ops.Op, ...]:
    upper = quantizer.relu_upper_bound
    if quantizer.use_sigmoid:
        slope = _internal_sigmoid() or 0.0
    else:
        slope = None
    return (
        ops.QuantizedRelu(
            **_fixed(quantizer),
            negative_slope=float(quantizer.negative_slope),
            upper_bound=None if upper is None else float(upper),
            quantized_clip=bool(quantizer.is_quantized_clip),
            sigmoid=slope,
        ),
    )


def _internal_sigmoid() -> float | None:
    """The slope of the sigmoid that qkeras.set_internal_sigmoid chose; None for the real one."""
    return _SIGMOIDS.get(qkeras.quantizers._sigmoid)


def _scale_of(quantizer: Any) -> Any:
    alpha = quantizer.alpha
    if alpha is None or isinstance(alpha, str):
        return alpha
    return np.asarray(alpha, np.float32)


def _binary(quantizer: Any, ndim: int) -> tuple[ops.Op, ...]:
    return (
        ops.Binary(
            alpha=_scale_of(quantizer), axes=_reduced(None, ndim), zero_one=bool(quantizer.use_01)
        ),
    )


def _ternary(quantizer: Any, ndim: int) -> tuple[ops.Op, ...]:
    if quantizer.threshold is None:
        threshold = quantizer.default_threshold
    else:
        threshold = quantizer.threshold
    rounds = int(quantizer.number_of_unrolls)
    return (
        ops.Ternary(
            alpha=_scale_of(quantizer),
            axes=_reduced(None, ndim),
            threshold=float(threshold),
            rounds=rounds,
        ),
    )


def _powers(quantizer: Any) -> dict[str, Any]:
    return {
        "low": int(quantizer._min_exp),
        "high": int(quantizer._max_exp),
        "max_value": None if quantizer.max_value is None else float(quantizer.max_value),
        "quadratic": bool(quantizer.quadratic_approximation),
        "floor": quantizer.log2_rounding == "floor",
        "noise": float(np.asarray(quantizer.qnoise_factor)),
        "straight_through": bool(quantizer.use_ste),
    }


def _relu_po2(quantizer: Any, ndim: int) -> tuple[ops.Op, ...]:
    return (
        ops.QuantizedReluPo2(**_powers(quantizer), negative_slope=float(quantizer.negative_slope)),
    )


def _curve(quantizer: Any) -> dict[str, Any]:
    return {
        "bits": int(quantizer.bits),
        "symmetric": bool(quantizer.symmetric),
        "slope": _internal_sigmoid(),
    }


def _tanh(quantizer: Any, ndim: int) -> tuple[ops.Op, ...]:
    return (ops.QuantizedTanh(**_curve(quantizer), real=bool(quantizer.use_real_tanh)),)


def _sigmoid(quantizer: Any, ndim: int) -> tuple[ops.Op, ...]:
    slope = None if quantizer.use_real_sigmoid else _internal_sigmoid()
    return (
        ops.QuantizedSigmoid(
            bits=int(quantizer.bits), symmetric=bool(quantizer.symmetric), slope=slope
        ),
    )


def _ulaw(quantizer: Any, ndim: int) -> tuple[ops.Op, ...]:
    return (
        ops.QuantizedUlaw(
            **_curve(quantizer), integer=int(quantizer.integer), u=float(quantizer.u)
        ),
    )


_DESCRIBERS: dict[type, Callable[[Any, int], tuple[ops.Op, ...]]] = {
    qkeras.binary: _binary,
    qkeras.quantized_bits: _bits,
    qkeras.quantized_hswish: _hswish,
    qkeras.quantized_po2: lambda quantizer, ndim: (ops.QuantizedPo2(**_powers(quantizer)),),
    qkeras.quantized_relu: _relu,
    qkeras.quantized_relu_po2: _relu_po2,
    qkeras.quantized_sigmoid: _sigmoid,
    qkeras.quantized_tanh: _tanh,
    qkeras.quantized_ulaw: _ulaw,
    qkeras.stochastic_binary: _binary,
    qkeras.stochastic_ternary: _ternary,
    qkeras.ternary: _ternary,
}


_OPTIONS = {
    "symmetric": 0,
    "keep_negative": True,
    "negative_slope": 0,
    "use_sigmoid": 0,
    "relu_upper_bound": None,
    "is_quantized_clip": True,
    "use_01": False,
    "threshold": None,
    "max_value": None,
    "quadratic_approximation": False,
    "log2_rounding": "rnd",
    "use_real_tanh": False,
    "use_real_sigmoid": False,
    "u": 255.0,
}
"""The options of the quantizers and their defaults, which go without saying."""


def _words(chain: Sequence[ops.Op], quantizer: Any, stored: np.ndarray) -> str:
    """Such as "quantized_bits(4, 0, alpha=1): scale 0.125, 16 levels, 3 values clipped"."""
    op = chain[-1]
    options = [
        str(_integer(getattr(quantizer, name)))
        for name in ("bits", "integer")
        if hasattr(quantizer, name)
    ]
    if isinstance(op, ops.Binary | ops.Ternary):
        options = []
    for option, default in _OPTIONS.items():
        if getattr(quantizer, option, default) != default and not (
            option == "symmetric" and isinstance(op, ops.AutoQuantizedBits)
        ):
            options.append(f"{option}={getattr(quantizer, option)}")
    alpha = getattr(quantizer, "alpha", None)
    if alpha is not None:
        options.append(f"alpha={alpha!r}" if np.ndim(alpha) == 0 else "alpha per channel")
    noise = float(np.asarray(getattr(quantizer, "qnoise_factor", 1.0)))
    if noise != 1:
        options.append(f"qnoise_factor={noise:g}")
    name = f"{getattr(quantizer, '__name__', type(quantizer).__name__)}({', '.join(options)})"
    if isinstance(op, ops.QuantizedPo2 | ops.QuantizedReluPo2):
        return f"{name}: powers of two from 2**{op.low} to 2**{op.high}"
    if not isinstance(op, ops.QuantizedBits | ops.AutoQuantizedBits | ops.Binary | ops.Ternary):
        return name
    steps, clipped = np.atleast_1d(op.step(stored)), int(np.count_nonzero(op.clipped(stored)))
    if steps.min() == steps.max():
        scale = f"{steps.min():g}"
    else:
        scale = f"{steps.min():g} to {steps.max():g} per channel"
    return (
        f"{name}: scale {scale}, {op.levels} levels, {clipped} "
        f"value{'' if clipped == 1 else 's'} clipped"
    )
