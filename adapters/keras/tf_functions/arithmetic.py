"""TensorFlow's functions that a functional model of Keras 2 records as layers: TFOpLambda, and
SlicingOpLambda for ``x[...]``.

They are known by the name under which TensorFlow exports them; what loading a file may call is what
is described here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes
from ..describe.op_builder import OpBuilder
from ..describe.rearranged import divided_no_nan, einsum
from ..layers.activation import along_axes, gelu_op

UNARY: dict[str, Callable[[], ops.Op]] = {
    "compat.v1.math.log_sigmoid": ops.LogSigmoid,
    "grad_pass_through": ops.Identity,
    "identity": ops.Identity,
    "math.abs": ops.Abs,
    "math.acos": ops.Acos,
    "math.acosh": ops.Acosh,
    "math.asin": ops.Asin,
    "math.asinh": ops.Asinh,
    "math.atan": ops.Atan,
    "math.atanh": ops.Atanh,
    "math.ceil": ops.Ceil,
    "math.cos": ops.Cos,
    "math.cosh": ops.Cosh,
    "math.erf": ops.Erf,
    "math.exp": ops.Exp,
    "math.expm1": ops.Expm1,
    "math.floor": ops.Floor,
    "math.is_inf": ops.IsInf,
    "math.is_nan": ops.IsNaN,
    "math.log": ops.Log,
    "math.log1p": ops.Log1p,
    "math.log_sigmoid": ops.LogSigmoid,
    "math.logical_not": ops.Not,
    "math.negative": ops.Neg,
    "math.reciprocal": ops.Reciprocal,
    "math.rint": ops.Round,
    "math.round": ops.Round,
    "math.rsqrt": ops.Rsqrt,
    "math.sigmoid": ops.Sigmoid,
    "math.sign": ops.Sign,
    "math.sin": ops.Sin,
    "math.sinh": ops.Sinh,
    "math.softplus": ops.Softplus,
    "math.softsign": ops.Softsign,
    "math.sqrt": ops.Sqrt,
    "math.square": ops.Square,
    "math.tan": ops.Tan,
    "math.tanh": ops.Tanh,
    "nn.elu": ops.Elu,
    "nn.relu": ops.Relu,
    "nn.relu6": ops.Relu6,
    "nn.selu": ops.Selu,
    "nn.sigmoid": ops.Sigmoid,
    "nn.softplus": ops.Softplus,
    "nn.softsign": ops.Softsign,
    "nn.tanh": ops.Tanh,
    "stop_gradient": ops.Identity,
}

BINARY: dict[str, Callable[[], ops.Op]] = {
    "__operators__.add": ops.Add,
    "compat.v1.floor_div": ops.FloorDiv,
    "math.add": ops.Add,
    "math.divide": ops.Div,
    "math.equal": ops.Equal,
    "math.floordiv": ops.FloorDiv,
    "math.floormod": ops.Mod,
    "math.greater": ops.Greater,
    "math.greater_equal": ops.GreaterOrEqual,
    "math.less": ops.Less,
    "math.less_equal": ops.LessOrEqual,
    "math.logical_and": ops.And,
    "math.logical_or": ops.Or,
    "math.logical_xor": ops.Xor,
    "math.maximum": ops.Max,
    "math.minimum": ops.Min,
    "math.multiply": ops.Mul,
    "math.not_equal": ops.NotEqual,
    "math.pow": ops.Pow,
    "math.subtract": ops.Sub,
    "math.truediv": ops.Div,
}

REDUCTIONS: dict[str, Callable[..., ops.Op]] = {
    "math.reduce_all": ops.ReduceAll,
    "math.reduce_any": ops.ReduceAny,
    "math.reduce_euclidean_norm": ops.ReduceL2,
    "math.reduce_logsumexp": ops.ReduceLogSumExp,
    "math.reduce_max": ops.ReduceMax,
    "math.reduce_mean": ops.ReduceMean,
    "math.reduce_min": ops.ReduceMin,
    "math.reduce_prod": ops.ReduceProd,
    "math.reduce_std": ops.ReduceStd,
    "math.reduce_sum": ops.ReduceSum,
    "math.reduce_variance": ops.ReduceVar,
}

Argument = Callable[..., Any]
"""Gives an argument by the names that it may have."""
Body = Callable[[OpBuilder, Argument], Ref | list[Ref]]


def function(*names: str) -> Callable[[Body], Body]:
    """Registers a body for functions of these names: it is given the builder, and what gives an
    argument by its name."""

    def register(body: Body) -> Body:
        def describe(layer: Any, call: KerasCall) -> Description:
            build = OpBuilder(call)

            def argument(*possible: str, default: Any = None) -> Any:
                return next(
                    (
                        call.arguments[name]
                        for name in possible
                        if call.arguments.get(name) is not None
                    ),
                    default,
                )

            found = body(build, argument)
            return Description(build.ended(*(found if isinstance(found, list) else (found,))))

        describe.__module__ = body.__module__
        describes(*(f"tf.{name}" for name in names))(describe)
        return body

    return register


def _unary(op: Callable[[], ops.Op]) -> Body:
    return lambda build, argument: build.add(op(), argument("x", "features", "input"))


def _binary(op: Callable[[], ops.Op]) -> Body:
    """TensorFlow brings a number to the tensor's type, which a comparison sees."""
    return lambda build, argument: build.add(
        op(), *build.pair(argument("x"), argument("y"), early=True)
    )


for _name, _op in UNARY.items():
    function(_name)(_unary(_op))
for _name, _op in BINARY.items():
    function(_name)(_binary(_op))


def _reduced(op: Callable[..., ops.Op]) -> Body:
    def body(build: OpBuilder, argument: Argument) -> Ref:
        axis = argument("axis", "reduction_indices")
        axes = None if axis is None else build.ints(axis)
        return build.reduce(
            op,
            argument("input_tensor"),
            axes,
            bool(argument("keepdims", "keep_dims", default=False)),
        )

    return body


for _name, _reduction in REDUCTIONS.items():
    function(_name)(_reduced(_reduction))


@function("nn.leaky_relu")
def _leaky_relu(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(
        ops.LeakyRelu(alpha=float(np.float32(argument("alpha", default=0.2)))), argument("features")
    )


@function("nn.gelu")
def _gelu(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(
        gelu_op("tanh" if argument("approximate", default=False) else "none", build.call),
        argument("features"),
    )


@function("nn.silu")
def _silu(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(ops.Swish(alpha=float(argument("beta", default=1.0))), argument("features"))


@function("clip_by_value")
def _clip(build: OpBuilder, argument: Argument) -> Ref:
    low, high = argument("clip_value_min"), argument("clip_value_max")
    if isinstance(low, Ref) or isinstance(high, Ref):
        return build.add(ops.Min(), build.add(ops.Max(), argument("t"), low), high)
    return build.add(ops.Clip(low=float(low), high=float(high)), argument("t"))


def _along(op: Callable[[int], ops.Op]) -> Callable[[Any, KerasCall], Description]:
    def describe(layer: Any, call: KerasCall) -> Description:
        axis = call.arguments.get("axis")
        return Description(along_axes(call.shape, (-1 if axis is None else axis,), op))

    return describe


describes("tf.nn.softmax")(_along(lambda axis: ops.Softmax(axis=axis)))
describes("tf.nn.log_softmax")(_along(lambda axis: ops.LogSoftmax(axis=axis)))


@function("math.squared_difference")
def _squared_difference(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(ops.Square(), build.add(ops.Sub(), *build.pair(argument("x"), argument("y"))))


@function("math.divide_no_nan")
def _divide_no_nan(build: OpBuilder, argument: Argument) -> Ref:
    return divided_no_nan(build, *build.pair(argument("x"), argument("y")))


@function("linalg.l2_normalize", "math.l2_normalize")
def _l2_normalize(build: OpBuilder, argument: Argument) -> Ref:
    axis = argument("axis", "dim")
    axes = build.axes(argument("x"), None if axis is None else build.ints(axis))
    # The root of the sum of squares or of epsilon, whichever is more.
    return build.add(
        ops.LpNormalization(
            axes=axes, epsilon=float(argument("epsilon", default=1e-12)), p=2.0, squared=True
        ),
        argument("x"),
    )


@function("compat.v1.norm", "norm", "linalg.norm")
def _norm(build: OpBuilder, argument: Argument) -> Ref:
    kind, axis = argument("ord", default="euclidean"), argument("axis")
    if kind not in ("euclidean", 2) or isinstance(axis, list | tuple):
        raise Undescribed(f"ord={kind!r} is not supported")
    return build.reduce(
        ops.ReduceL2, argument("tensor"), axis, bool(argument("keepdims", default=False))
    )


@function("linalg.matmul")
def _matmul(build: OpBuilder, argument: Argument) -> Ref:
    def turned(ref: Ref, how: Any) -> Ref:
        rank = len(build.shape(ref))
        if how:
            return build.transpose(ref, (*range(rank - 2), rank - 1, rank - 2))
        return ref

    left = turned(build.ref(argument("a")), argument("transpose_a"))
    return build.product(left, turned(build.ref(argument("b")), argument("transpose_b")))


@function("einsum")
def _einsum(build: OpBuilder, argument: Argument) -> Ref:
    operands = [build.ref(operand) for operand in argument("inputs", "args", default=())]
    return einsum(build, argument("equation"), operands)


@function("nn.bias_add")
def _bias_add(build: OpBuilder, argument: Argument) -> Ref:
    if str(argument("data_format", default="C")).startswith("NC"):
        raise Undescribed("the data format channels_first is not supported")
    return build.add(ops.Add(), argument("value"), argument("bias"))


@function("tensordot")
def _tensordot(build: OpBuilder, argument: Argument) -> Ref:
    left, axes = build.ref(argument("a")), argument("axes")
    if axes == 1:
        pairs: list[Any] = [1]
    else:
        pairs = [build.ints(places) for places in axes]
    if pairs not in ([1], [[len(build.shape(left)) - 1], [0]]):
        raise Undescribed("only sums over the last and the first axis are supported")
    return build.product(left, build.ref(argument("b")))
