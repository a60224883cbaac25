"""The operations of keras.ops that a functional model of Keras 3 records beside its layers:
arithmetic and reductions.

Each is a class with a ``call``; its options are attributes, named as the arguments of the function
are.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from probe import ops
from probe.description import Description, Ref, Step
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes, description_of
from ..describe.op_builder import OpBuilder, as_list
from ..describe.ordered import extreme_place, on_one_axis
from ..describe.rearranged import divided_no_nan
from ..layers.activation import along_axes, gelu_op, leaky_op

__all__ = ["as_layer", "data_format", "operation"]

UNARY: dict[str, Callable[[Any], ops.Op]] = {
    "Abs": lambda op: ops.Abs(),
    "Absolute": lambda op: ops.Abs(),
    "Arccos": lambda op: ops.Acos(),
    "Arccosh": lambda op: ops.Acosh(),
    "Arcsin": lambda op: ops.Asin(),
    "Arcsinh": lambda op: ops.Asinh(),
    "Arctan": lambda op: ops.Atan(),
    "Arctanh": lambda op: ops.Atanh(),
    "Ceil": lambda op: ops.Ceil(),
    "Celu": lambda op: ops.Celu(alpha=float(op.alpha)),
    "Copy": lambda op: ops.Identity(),
    "Cos": lambda op: ops.Cos(),
    "Cosh": lambda op: ops.Cosh(),
    "Elu": lambda op: ops.Elu(alpha=float(op.alpha)),
    "Erf": lambda op: ops.Erf(),
    "Exp": lambda op: ops.Exp(),
    "Expm1": lambda op: ops.Expm1(),
    "Fabs": lambda op: ops.Abs(),
    "Floor": lambda op: ops.Floor(),
    "HardShrink": lambda op: ops.Shrink(lambd=float(op.threshold), bias=0.0, keeps_nan=False),
    "HardSigmoid": lambda op: ops.HardSigmoid(alpha=1 / 6, beta=0.5),
    "HardSilu": lambda op: ops.HardSwish(),
    "HardTanh": lambda op: ops.Clip(low=-1.0, high=1.0),
    "Isinf": lambda op: ops.IsInf(),
    "Isnan": lambda op: ops.IsNaN(),
    "Log": lambda op: ops.Log(),
    "Log10": lambda op: ops.Log10(),
    "Log1p": lambda op: ops.Log1p(),
    "Log2": lambda op: ops.Log2(),
    "LogSigmoid": lambda op: ops.LogSigmoid(),
    "Negative": lambda op: ops.Neg(),
    "Reciprocal": lambda op: ops.Reciprocal(),
    "Relu": lambda op: ops.Relu(),
    "Relu6": lambda op: ops.Relu6(),
    "Rsqrt": lambda op: ops.Rsqrt(),
    "Selu": lambda op: ops.Selu(),
    "Sigmoid": lambda op: ops.Sigmoid(),
    "Sign": lambda op: ops.Sign(),
    "Silu": lambda op: ops.Swish(),
    "Sin": lambda op: ops.Sin(),
    "Sinh": lambda op: ops.Sinh(),
    "SoftShrink": lambda op: ops.Shrink(
        lambd=float(op.threshold), bias=float(op.threshold), keeps_nan=False
    ),
    "Softplus": lambda op: ops.Softplus(),
    "Softsign": lambda op: ops.Softsign(),
    "SparsePlus": lambda op: ops.SparsePlus(),
    "SparseSigmoid": lambda op: ops.SparseSigmoid(),
    "Sqrt": lambda op: ops.Sqrt(),
    "Square": lambda op: ops.Square(),
    "Squareplus": lambda op: ops.Squareplus(b=float(op.b)),
    "StopGradient": lambda op: ops.Identity(),
    "Tan": lambda op: ops.Tan(),
    "Tanh": lambda op: ops.Tanh(),
    "TanhShrink": lambda op: ops.TanhShrink(),
    "Threshold": lambda op: ops.ThresholdedRelu(
        threshold=float(op.threshold), value=float(op.default_value), keeps_nan=False
    ),
    "Trunc": lambda op: ops.Trunc(),
}

BINARY: dict[str, Callable[[], ops.Op]] = {
    "Add": ops.Add,
    "Divide": ops.Div,
    "Equal": ops.Equal,
    "FloorDivide": ops.FloorDiv,
    "Greater": ops.Greater,
    "GreaterEqual": ops.GreaterOrEqual,
    "Less": ops.Less,
    "LessEqual": ops.LessOrEqual,
    "Maximum": ops.Max,
    "Minimum": ops.Min,
    "Mod": ops.Mod,
    "Multiply": ops.Mul,
    "NotEqual": ops.NotEqual,
    "Power": ops.Pow,
    "Subtract": ops.Sub,
    "TrueDivide": ops.Div,
}

_EARLY = frozenset(("Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "Mod", "NotEqual"))
"""Those of two operands that make a number a tensor before they look at the other one
(keras/src/backend/*/numpy.py)."""

_LOGICAL: dict[str, Callable[[], ops.Op]] = {
    "LogicalAnd": ops.And,
    "LogicalOr": ops.Or,
    "LogicalXor": ops.Xor,
}

REDUCTIONS: dict[str, Callable[..., ops.Op]] = {
    "All": ops.ReduceAll,
    "Amax": ops.ReduceMax,
    "Amin": ops.ReduceMin,
    "Any": ops.ReduceAny,
    "Logsumexp": ops.ReduceLogSumExp,
    "Max": ops.ReduceMax,
    "Mean": ops.ReduceMean,
    "Min": ops.ReduceMin,
    "Prod": ops.ReduceProd,
    "Std": ops.ReduceStd,
    "Sum": ops.ReduceSum,
    "Var": ops.ReduceVar,
}


def operation(
    *names: str,
) -> Callable[
    [Callable[[Any, KerasCall, OpBuilder], Ref]], Callable[[Any, KerasCall, OpBuilder], Ref]
]:
    """Registers a function for operations of these names; it gives the last of the steps it adds to
    the builder."""

    def register(
        function: Callable[[Any, KerasCall, OpBuilder], Ref],
    ) -> Callable[[Any, KerasCall, OpBuilder], Ref]:
        def describe(op: Any, call: KerasCall) -> Description:
            build = OpBuilder(call)
            return Description(build.ended(function(op, call, build)))

        describe.__module__ = function.__module__
        describes(*(f"ops.{name}" for name in names))(describe)
        return function

    return register


def data_format(op: Any, call: KerasCall) -> str:
    """Where the channels stand: what the operation was made with, or what the process is set to."""
    return str(op.data_format or call.namespace.config.image_data_format())


def as_layer(kind: str, op: Any, call: KerasCall, **attributes: Any) -> Description:
    """An operation that does what the layer of class ``kind`` with these attributes does."""
    return description_of(kind)(
        SimpleNamespace(data_format=data_format(op, call), **attributes), call
    )


@operation(*UNARY)
def _unary(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.add(UNARY[type(op).__name__](op), Ref(-1))


@operation("LeakyRelu")
def _leaky_relu(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.add(leaky_op(float(op.negative_slope), call), Ref(-1))


@operation("Gelu")
def _gelu(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.add(gelu_op("tanh" if op.approximate else "none", call), Ref(-1))


@operation("Clip")
def _clip(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    if all(end is None or isinstance(end, int | float) for end in (op.x_min, op.x_max)):
        low, high = (None if end is None else float(end) for end in (op.x_min, op.x_max))
        return build.add(ops.Clip(low=low, high=high), Ref(-1))
    x = Ref(-1)
    for kind, end in ((ops.Max, op.x_min), (ops.Min, op.x_max)):
        if end is not None:
            x = build.add(kind(), x, build.ref(end))
    return x


@operation("Round")
def _round(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    if op.decimals:
        raise Undescribed("rounding to decimals is not supported")
    return build.add(ops.Round(), Ref(-1))


@operation(*BINARY)
def _binary(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    kind = type(op).__name__
    left, right = build.pair(call.arguments["x1"], call.arguments["x2"], early=kind in _EARLY)
    return build.add(BINARY[kind](), left, right)


@operation("LogicalNot")
def _logical_not(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.add(ops.Not(), build.truth(Ref(-1)))


@operation("LogicalAnd", "LogicalOr", "LogicalXor")
def _logical(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.add(
        _LOGICAL[type(op).__name__](),
        *(build.truth(build.ref(call.arguments[name])) for name in ("x1", "x2")),
    )


@operation("DivideNoNan")
def _divide_no_nan(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return divided_no_nan(build, *build.pair(call.arguments["x1"], call.arguments["x2"]))


@operation("Hypot")
def _hypot(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    squares = [
        build.add(ops.Square(), operand)
        for operand in build.pair(call.arguments["x1"], call.arguments["x2"])
    ]
    return build.add(ops.Sqrt(), build.add(ops.Add(), *squares))


@operation(*REDUCTIONS)
def _reduction(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    if getattr(op, "initial", None) is not None:
        raise Undescribed("the argument `initial` is not supported")
    return build.reduce(REDUCTIONS[type(op).__name__], Ref(-1), op.axis, op.keepdims)


@operation("Norm")
def _norm(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    axes = build.axes(Ref(-1), op.axis)
    if op.ord in (None, 2, "fro") and (len(axes) == 1 or op.ord != 2):
        return build.reduce(ops.ReduceL2, Ref(-1), op.axis, op.keepdims)
    if op.ord == 1 and len(axes) == 1:
        return build.reduce(ops.ReduceL1, Ref(-1), op.axis, op.keepdims)
    raise Undescribed(f"ord={op.ord!r} is not supported")


@describes("ops.Moments")
def _moments(op: Any, call: KerasCall) -> Description:
    build = OpBuilder(call)
    return Description(
        build.ended(
            *(
                build.reduce(part, Ref(-1), op.axes, op.keepdims)
                for part in (ops.ReduceMean, ops.ReduceVar)
            )
        )
    )


@operation("Argmax", "Argmin")
def _places(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    ref, axis = Ref(-1), op.axis
    if axis is None:
        if op.keepdims:
            raise Undescribed("a norm over all axes with keepdims is not supported")
        ref, axis = build.reshape(ref, (-1,)), 0
    kind = ops.ArgMax if type(op).__name__ == "Argmax" else ops.ArgMin
    return extreme_place(build, kind, ref, axis, bool(op.keepdims))


@operation("Cumsum", "Cumprod")
def _cumulated(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    ref, axis = on_one_axis(build, Ref(-1), op.axis)
    kind = ops.CumSum if type(op).__name__ == "Cumsum" else ops.CumProd
    total = build.add(kind(axis=axis), ref)
    dtype = call.inputs[0].dtype
    if dtype.kind in "iu" and op.dtype is None:
        return build.add(ops.Cast(to=dtype.name), total)
    return total


_ALONG: dict[str, Callable[[int], ops.Op]] = {
    "LogSoftmax": lambda axis: ops.LogSoftmax(axis=axis),
    "Softmax": lambda axis: ops.Softmax(axis=axis),
    "Sparsemax": lambda axis: ops.Sparsemax(axis=axis),
}


@describes(*(f"ops.{name}" for name in _ALONG))
def _along(op: Any, call: KerasCall) -> Description:
    axes = range(len(call.shape)) if op.axis is None else as_list(op.axis)
    return Description(along_axes(call.shape, axes, _ALONG[type(op).__name__]))


@describes("ops.Glu")
def _glu(op: Any, call: KerasCall) -> Description:
    return Description((Step(ops.Glu(axis=op.axis % len(call.shape))),))


@operation("Normalize")
def _normalize(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    axes = build.axes(Ref(-1), -1 if op.axis is None else op.axis)
    if op.epsilon is None:
        epsilon = call.namespace.backend.epsilon()
    else:
        epsilon = op.epsilon
    if op.order != 2:
        raise Undescribed(f"order={op.order!r} is not supported")
    return build.add(ops.LpNormalization(axes=axes, epsilon=float(epsilon), p=2.0), Ref(-1))
