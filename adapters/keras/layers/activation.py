"""Keras' activations: as layers of their own and as the fused ``activation=`` of another layer.

Functions are known by identity, never by name alone: a user's own ``relu`` is not Keras'. Keras 2
and Keras 3 mean different functions by ``hard_sigmoid``. Where a Keras has a bug, the description
keeps to the definition and Keras diverges: up to 3.15 its sparsemax is none
(https://github.com/keras-team/keras/issues/23425).
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref, Step
from probe.errors import Undescribed
from probe.evaluation.numpy_reference import recompute

from ..describe.call import KerasCall
from ..describe.describe import describe, described_class, describes
from ..describe.described_classes import ADAPTERS, DESCRIBED
from ..describe.op_builder import as_list
from ..describe.variables import cast

__all__ = ["activation_steps", "along_axes", "gelu_op", "leaky_op"]

_FUNCTIONS: dict[str, Callable[[int], ops.Op]] = {
    "celu": lambda ndim: ops.Celu(),
    "elu": lambda ndim: ops.Elu(),
    "exponential": lambda ndim: ops.Exp(),
    "gelu": lambda ndim: ops.Gelu(approximate="none"),
    "glu": lambda ndim: ops.Glu(axis=ndim - 1),
    "hard_shrink": lambda ndim: ops.Shrink(lambd=0.5, bias=0.0, keeps_nan=False),
    "hard_sigmoid": lambda ndim: ops.HardSigmoid(alpha=1 / 6, beta=0.5),
    "hard_silu": lambda ndim: ops.HardSwish(),
    "hard_tanh": lambda ndim: ops.Clip(low=-1.0, high=1.0),
    "leaky_relu": lambda ndim: ops.LeakyRelu(alpha=0.2),
    "linear": lambda ndim: ops.Identity(),
    "log_sigmoid": lambda ndim: ops.LogSigmoid(),
    "log_softmax": lambda ndim: ops.LogSoftmax(axis=ndim - 1),
    "mish": lambda ndim: ops.Mish(),
    "relu": lambda ndim: ops.Relu(),
    "relu6": lambda ndim: ops.Relu6(),
    "selu": lambda ndim: ops.Selu(),
    "sigmoid": lambda ndim: ops.Sigmoid(),
    "silu": lambda ndim: ops.Swish(),
    "soft_shrink": lambda ndim: ops.Shrink(lambd=0.5, bias=0.5, keeps_nan=False),
    "softmax": lambda ndim: ops.Softmax(axis=ndim - 1),
    "softplus": lambda ndim: ops.Softplus(),
    "softsign": lambda ndim: ops.Softsign(),
    "sparse_plus": lambda ndim: ops.SparsePlus(),
    "sparse_sigmoid": lambda ndim: ops.SparseSigmoid(),
    "sparsemax": lambda ndim: ops.Sparsemax(axis=ndim - 1),
    "squareplus": lambda ndim: ops.Squareplus(b=4.0),
    "swish": lambda ndim: ops.Swish(),
    "tanh": lambda ndim: ops.Tanh(),
    "tanh_shrink": lambda ndim: ops.TanhShrink(),
}
"""What the functions of keras.activations, tf_keras.activations and tf.nn compute when called with
x alone."""


def _function_name(function: Any, namespace: Any) -> str | None:
    """The name under which ``function`` itself stands in the namespace's activations, or in
    tf.nn."""
    # By the name "log_softmax" Keras 2 finds a function that TensorFlow 2 shows nowhere but where
    # it is defined.
    tensorflow = [
        getattr(sys.modules.get("tensorflow"), "nn", None),
        sys.modules.get("tensorflow.python.ops.nn_ops"),
    ]
    homes = [namespace.activations, *tensorflow]
    return next(
        (name for name in _FUNCTIONS for home in homes if getattr(home, name, None) is function),
        None,
    )


def _root(value: Any) -> str:
    return str(getattr(value, "__module__", "")).partition(".")[0]


def activation_steps(
    activation: Any, call: KerasCall, ndim: int, before: Sequence[Step] | None = None
) -> tuple[Step, ...]:
    """The steps of a fused ``activation=`` on an output of rank ``ndim``; none for None and linear.

    A function of the user's own is followed through the operations that it makes of what the steps
    ``before`` give, where these are told; with none of them of the call's input.
    """
    if activation is None:
        return ()
    if _root(activation) == "qkeras":
        package = "qkeras"
    else:
        package = _root(type(activation))
    if package in ADAPTERS:
        adapter = importlib.import_module(ADAPTERS[package], __package__.rpartition(".")[0])
        found: tuple[Step, ...] = adapter.quantized_activation_steps(activation, call, ndim)
        return found
    if isinstance(activation, call.namespace.layers.Layer):
        if DESCRIBED.get(described_class(activation).__name__) != ".layers.activation":
            raise Undescribed(
                f"its activation is the layer {type(activation).__name__}, which is not "
                "supported as an activation"
            )
        inner = KerasCall(
            activation, call.namespace, (np.empty((0,) * ndim),), activation.compute_dtype
        )
        return describe(activation, inner).steps
    name = _function_name(activation, call.namespace)
    if name is None:
        text = (
            f"its activation {getattr(activation, '__name__', type(activation).__name__)!r} "
            "has no description"
        )
        if before is None:
            raise Undescribed(text)
        if before:
            x = cast(recompute(before, call.inputs)[-1][0], call.dtype)
        else:
            x = call.inputs[0]
        try:
            traced = call.tracer.function_steps(activation, x, call)
        except Undescribed as error:
            raise Undescribed(f"{text}, and it cannot be traced: {error}") from None
        build = Builder()
        made = build.include(before) if before else (Ref(-1),)
        start = len(build.steps)
        build.include(traced, *made)
        return tuple(build.steps[start:])
    if name == "linear":
        return ()
    op = _FUNCTIONS[name](ndim)
    if isinstance(op, ops.HardSigmoid) and call.legacy:
        op = ops.HardSigmoid(alpha=0.2, beta=0.5)
    if isinstance(op, ops.LeakyRelu):
        op = leaky_op(op.alpha, call)
    if isinstance(op, ops.Gelu):
        op = gelu_op(op.approximate, call)
    return (Step(op),)


def gelu_op(approximate: str, call: KerasCall) -> ops.Gelu:
    """TensorFlow has the constants of both forms from float32, also where it computes in
    float64."""
    if call.dtype == "float64" and call.backend == "tensorflow":
        raise Undescribed("in float64 TensorFlow's gelu divides by sqrt(2) rounded to float32")
    return ops.Gelu(approximate=approximate)


def leaky_op(slope: float, call: KerasCall) -> ops.LeakyRelu:
    """TensorFlow's kernel holds the slope in float32, also where it computes in float64."""
    return ops.LeakyRelu(alpha=float(np.float32(slope)) if call.backend == "tensorflow" else slope)


@describes("Activation")
def _activation(layer: Any, call: KerasCall) -> Description:
    return Description(
        activation_steps(layer.activation, call, len(call.shape), ()) or (Step(ops.Identity()),)
    )


@describes("ReLU")
def _relu(layer: Any, call: KerasCall) -> Description:
    slope, threshold = float(layer.negative_slope), float(layer.threshold)
    high = None if layer.max_value is None else float(layer.max_value)
    return Description((Step(_relu_op(high, slope, threshold, call)),))


def _relu_op(high: float | None, slope: float, threshold: float, call: KerasCall) -> ops.Op:
    if call.backend == "tensorflow" and not call.legacy and call.dtype == "float64":
        # `ops.cast` of a number goes through float32 there (keras/src/activations/activations.py,
        # ReLU).
        single = float(np.float32(threshold))
        if slope and single != threshold:
            raise Undescribed(
                "in float64 Keras compares with the threshold rounded to float32, but "
                "subtracts the exact threshold"
            )
        high, threshold = None if high is None else float(np.float32(high)), single
    if threshold:
        if call.legacy and not np.isfinite(call.inputs[0]).all():
            raise Undescribed(
                "Keras 2 multiplies by a mask here, which turns an infinite input into NaN"
            )
        return ops.ScaledRelu(max_value=high, negative_slope=slope, threshold=threshold)
    if slope:
        if high is None:
            return leaky_op(slope, call)
        return ops.ScaledRelu(max_value=high, negative_slope=slope, threshold=0.0)
    if high is None:
        return ops.Relu()
    return ops.Clip(low=0.0, high=high)


@describes("ThresholdedReLU")
def _thresholded_relu(layer: Any, call: KerasCall) -> Description:
    return Description((Step(_relu_op(None, 0.0, float(layer.theta), call)),))


@describes("LeakyReLU")
def _leaky_relu(layer: Any, call: KerasCall) -> Description:
    slope = float(layer.alpha if call.legacy else layer.negative_slope)
    return Description((Step(leaky_op(slope, call) if slope else ops.Relu()),))


@describes("ELU")
def _elu(layer: Any, call: KerasCall) -> Description:
    return Description((Step(ops.Elu(alpha=float(layer.alpha))),))


@describes("PReLU")
def _prelu(layer: Any, call: KerasCall) -> Description:
    return Description((Step(ops.PRelu(slope=call.weight("alpha", layer.alpha))),))


@describes("Softmax", arguments=("mask",))
def _softmax(layer: Any, call: KerasCall) -> Description:
    axes = as_list(layer.axis)
    steps = along_axes(call.shape, axes, lambda axis: ops.Softmax(axis=axis))
    mask = call.arguments.get("mask")
    if mask is None:
        return Description(steps)
    if call.dtype == "float16" and call.legacy:
        low = float(np.finfo(np.float16).min)
    elif call.dtype == "float16":
        low = -3e4
    else:
        low = -1e9
    first = Step(
        ops.Fill(value=low) if not call.legacy or layer.robust_masking else ops.Lower(value=low),
        (Ref(-1), mask),
    )
    # Keras 3 also leaves nothing of a row that is masked as a whole.
    last = () if call.legacy else (Step(ops.Fill(value=0.0), (Ref(len(steps)), mask)),)
    return Description((first, *steps, *last))


def along_axes(shape: tuple[int, ...], axes: Any, op: Callable[[int], ops.Op]) -> tuple[Step, ...]:
    """An op along one axis, applied along several at once: these are brought together at the end
    and flattened."""
    ndim = len(shape)
    wanted = sorted({int(axis) % ndim for axis in axes})
    if len(wanted) == 1:
        return (Step(op(wanted[0])),)
    rest = [axis for axis in range(ndim) if axis not in wanted]
    perm = (*rest, *wanted)
    merged = (*(shape[axis] for axis in rest), int(np.prod([shape[axis] for axis in wanted])))
    return (
        Step(ops.Transpose(perm=perm)),
        Step(ops.Reshape(shape=merged)),
        Step(op(len(rest))),
        Step(ops.Reshape(shape=tuple(shape[axis] for axis in perm))),
        Step(ops.Transpose(perm=tuple(np.argsort(perm).tolist()))),
    )
