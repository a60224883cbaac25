"""Arithmetic, comparisons and reductions of a graph of TensorFlow."""

from collections.abc import Callable

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.ordered import extreme_place, top_k
from ..describe.rearranged import flipped, is_finite
from .node import FLOATS, GraphOperation, node, numpy_dtype

_FUNCTIONS: dict[str, Callable[[], ops.Op]] = {
    "Abs": ops.Abs,
    "Acos": ops.Acos,
    "Acosh": ops.Acosh,
    "Asin": ops.Asin,
    "Asinh": ops.Asinh,
    "Atan": ops.Atan,
    "Atanh": ops.Atanh,
    "Ceil": ops.Ceil,
    "Cos": ops.Cos,
    "Cosh": ops.Cosh,
    "Elu": ops.Elu,
    "Erf": ops.Erf,
    "Exp": ops.Exp,
    "Expm1": ops.Expm1,
    "Floor": ops.Floor,
    "IsInf": ops.IsInf,
    "IsNan": ops.IsNaN,
    "Log": ops.Log,
    "Log1p": ops.Log1p,
    "LogicalNot": ops.Not,
    "Neg": ops.Neg,
    "Relu": ops.Relu,
    "Relu6": ops.Relu6,
    "Rint": ops.Round,
    "Round": ops.Round,
    "Rsqrt": ops.Rsqrt,
    "Selu": ops.Selu,
    "Sigmoid": ops.Sigmoid,
    "Sign": ops.Sign,
    "Sin": ops.Sin,
    "Sinh": ops.Sinh,
    "Softplus": ops.Softplus,
    "Softsign": ops.Softsign,
    "Sqrt": ops.Sqrt,
    "Square": ops.Square,
    "Tan": ops.Tan,
    "Tanh": ops.Tanh,
}

_PAIRS: dict[str, Callable[[], ops.Op]] = {
    "Add": ops.Add,
    "AddV2": ops.Add,
    "FloorDiv": ops.FloorDiv,
    "FloorMod": ops.Mod,
    "Greater": ops.Greater,
    "GreaterEqual": ops.GreaterOrEqual,
    "Less": ops.Less,
    "LessEqual": ops.LessOrEqual,
    "LogicalAnd": ops.And,
    "LogicalOr": ops.Or,
    "Maximum": ops.Max,
    "Minimum": ops.Min,
    "Mul": ops.Mul,
    "Sub": ops.Sub,
    "TruncateMod": lambda: ops.Mod(fmod=True),
}

_REDUCTIONS: dict[str, Callable[..., ops.Op]] = {
    "All": ops.ReduceAll,
    "Any": ops.ReduceAny,
    "EuclideanNorm": ops.ReduceL2,
    "Max": ops.ReduceMax,
    "Mean": ops.ReduceMean,
    "Min": ops.ReduceMin,
    "Prod": ops.ReduceProd,
    "Sum": ops.ReduceSum,
}


@node(*_FUNCTIONS)
def _function(n: GraphOperation) -> Ref:
    return n.whole(n.build.add(_FUNCTIONS[n.kind](), n.ref(0)))


@node("Reciprocal", "Inv")
def _reciprocal(n: GraphOperation) -> Ref:
    n.floats()
    return n.build.add(ops.Reciprocal(), n.ref(0))


@node("LeakyRelu")
def _leaky_relu(n: GraphOperation) -> Ref:
    return n.build.add(ops.LeakyRelu(alpha=float(np.float32(n.attr("alpha")))), n.ref(0))


@node("Erfc")
def _erfc(n: GraphOperation) -> Ref:
    return n.build.add(ops.Sub(), 1.0, n.build.add(ops.Erf(), n.ref(0)))


@node("IsFinite")
def _is_finite(n: GraphOperation) -> Ref:
    return is_finite(n.build, n.ref(0))


@node(*_PAIRS)
def _pair(n: GraphOperation) -> Ref:
    return n.whole(n.build.add(_PAIRS[n.kind](), n.ref(0), n.ref(1)))


@node("TruncateDiv")
def _truncated_divide(n: GraphOperation) -> Ref:
    quotient = n.build.add(ops.Div(), n.ref(0), n.ref(1))
    return n.build.add(ops.Cast(to=n.dtypes[0]), quotient)


@node("Atan2")
def _atan2(n: GraphOperation) -> Ref:
    """The angle of (x, y): atan(y / x), and half a turn where x is negative."""
    for k in (0, 1):
        values = n.values(k)
        if ((values == 0) & np.signbit(values)).any():
            raise Undescribed("its result depends on the signs of zeros, which are not compared")
    build, y, x = n.build, n.ref(0), n.ref(1)
    half = build.add(ops.Where(), build.add(ops.Less(), y, 0.0), -np.pi, np.pi)
    left = build.add(ops.Where(), build.add(ops.Less(), x, 0.0), half, 0.0)
    angle = build.add(ops.Add(), build.add(ops.Atan(), build.add(ops.Div(), y, x)), left)
    origin = build.add(ops.And(), build.add(ops.Equal(), y, 0.0), build.add(ops.Equal(), x, 0.0))
    return build.add(ops.Where(), origin, 0.0, angle)


@node("Pow")
def _pow(n: GraphOperation) -> Ref:
    n.floats()
    return n.build.add(ops.Pow(), n.ref(0), n.ref(1))


@node("Equal", "NotEqual")
def _equal(n: GraphOperation) -> Ref:
    n.only(incompatible_shape_error=True)
    return n.build.add(ops.Equal() if n.kind == "Equal" else ops.NotEqual(), n.ref(0), n.ref(1))


@node("RealDiv", "Div")
def _divide(n: GraphOperation) -> Ref:
    n.floats()
    return n.build.add(ops.Div(), n.ref(0), n.ref(1))


@node("DivNoNan", "MulNoNan", "Xdivy", "Xlogy", "Xlog1py")
def _zero_where_one_is_zero(n: GraphOperation) -> Ref:
    """0 where the divisor, or else the factor that is told, is 0, whatever the other one is."""
    x, y, build = n.ref(0), n.ref(1), n.build
    told = {"DivNoNan": y, "MulNoNan": y}.get(n.kind, x)
    if n.kind in ("Xlogy", "Xlog1py"):
        y = build.add(ops.Log() if n.kind == "Xlogy" else ops.Log1p(), y)
    divides = n.kind in ("DivNoNan", "Xdivy")
    found = build.add(ops.Div() if divides else ops.Mul(), x, y)
    return build.add(ops.Where(), build.add(ops.Equal(), told, 0.0), 0.0, found)


@node("SquaredDifference")
def _squared_difference(n: GraphOperation) -> Ref:
    difference = n.build.add(ops.Sub(), n.ref(0), n.ref(1))
    return n.whole(n.build.add(ops.Square(), difference))


@node("AddN", "AccumulateNV2")
def _add_n(n: GraphOperation) -> Ref:
    n.seen.add("shape")  # of the inputs, which have it
    return n.whole(n.build.add(ops.Add(), *n.refs()))


@node("ClipByValue")
def _clip(n: GraphOperation) -> Ref:
    return n.build.add(ops.Min(), n.build.add(ops.Max(), n.ref(0), n.ref(1)), n.ref(2))


@node("BiasAdd", "BiasAddV1")
def _bias_add(n: GraphOperation) -> Ref:
    bias = n.ref(1)
    if n.kind == "BiasAdd" and n.attr("data_format") == "NCHW":
        rank = len(n.shape(0))
        bias = n.build.reshape(bias, (-1, *(1,) * (rank - 2)))
    return n.build.add(ops.Add(), n.ref(0), bias)


@node("SelectV2", "Select")
def _select(n: GraphOperation) -> Ref:
    condition, x = n.ref(0), n.ref(1)
    shape = n.build.shape(condition)
    if n.kind == "Select" and len(shape) == 1:  # a row of the others for each element
        condition = n.build.reshape(condition, (*shape, *(1,) * (len(n.shape(1)) - 1)))
    return n.build.add(ops.Where(), condition, x, n.ref(2))


@node("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def _bits(n: GraphOperation) -> Ref:
    return n.build.add(getattr(ops, n.kind)(), n.ref(0), n.ref(1))


@node("Invert")
def _invert(n: GraphOperation) -> Ref:
    return n.build.add(ops.BitwiseNot(kind=n.dtypes[0]), n.ref(0))


@node("LeftShift", "RightShift")
def _shift(n: GraphOperation) -> Ref:
    op = ops.BitShift(left=n.kind == "LeftShift", kind=n.dtypes[0])
    return n.build.add(op, n.ref(0), n.ref(1))


@node("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
def _fake_quantised(n: GraphOperation) -> Ref:
    """The kernel of one range that is no attribute divides by the step, the others multiply."""
    if n.kind == "FakeQuantWithMinMaxArgs":
        low, high = (np.asarray(n.attr(name), np.float32) for name in ("min", "max"))
    else:
        low, high = n.fixed(1), n.fixed(2)
    op = ops.NudgedFakeQuantize(
        low,
        high,
        int(n.attr("num_bits")),
        bool(n.attr("narrow_range")),
        divides=n.kind == "FakeQuantWithMinMaxVars",
    )
    return n.build.add(op, n.ref(0), shape=n.shape(0))


@node("AdjustContrastv2")
def _contrast(n: GraphOperation) -> Ref:
    """The distance from the mean of each channel of an image times the factor."""
    build, x = n.build, n.ref(0)
    rank = len(n.shape(0))
    mean = build.reduce(ops.ReduceMean, x, (rank - 3, rank - 2), True)
    apart = build.add(ops.Mul(), build.add(ops.Sub(), x, mean), n.ref(1))
    return build.add(ops.Add(), apart, mean)


@node("Cast")
def _cast(n: GraphOperation) -> Ref:
    n.only(Truncate=False)
    before, after = n.inputs[0].dtype, n.dtypes[0]
    if (
        before in FLOATS
        and after in FLOATS
        and (before == after or FLOATS.index(after) < FLOATS.index(before))
        and {before, after} != {"bfloat16", "float16"}
    ):
        return n.ref(0)  # nothing is rounded
    return n.build.add(ops.Cast(to=after), n.ref(0))


@node(*_REDUCTIONS)
def _reduction(n: GraphOperation) -> Ref:
    if n.kind in ("Mean", "EuclideanNorm"):
        n.floats()
    axes = [axis % max(1, len(n.shape(0))) for axis in n.ints(1)]
    return n.whole(n.build.reduce(_REDUCTIONS[n.kind], n.ref(0), axes, bool(n.attr("keep_dims"))))


@node("L2Loss")
def _l2_loss(n: GraphOperation) -> Ref:
    total = n.build.reduce(ops.ReduceSumSquare, n.ref(0), None, False)
    return n.build.add(ops.Div(), total, 2.0)


@node("Softmax", "LogSoftmax")
def _softmax(n: GraphOperation) -> Ref:
    axis = len(n.shape(0)) - 1
    op = ops.Softmax(axis=axis) if n.kind == "Softmax" else ops.LogSoftmax(axis=axis)
    return n.build.add(op, n.ref(0))


@node("Cumsum", "Cumprod")
def _cumulative(n: GraphOperation) -> Ref:
    build, x, shape = n.build, n.ref(0), n.shape(0)
    axis = n.ints(1)[0] % len(shape)
    if n.attr("reverse"):
        x = flipped(build, x, (axis,))
    if n.attr("exclusive"):
        first = np.full([1 if k == axis else m for k, m in enumerate(shape)], n.kind == "Cumprod")
        rest = [build.part(x, axis, 0, shape[axis] - 1)] if shape[axis] > 1 else []
        x = build.concat([build.ref(first.astype(numpy_dtype(n.dtypes[0]))), *rest], axis)
    y = build.add(ops.CumSum(axis=axis) if n.kind == "Cumsum" else ops.CumProd(axis=axis), x)
    if n.attr("reverse"):
        y = flipped(build, y, (axis,))
    return n.whole(y)


@node("ArgMax", "ArgMin")
def _argument(n: GraphOperation) -> Ref:
    kind = ops.ArgMax if n.kind == "ArgMax" else ops.ArgMin
    return extreme_place(n.build, kind, n.ref(0), n.ints(1)[0])


@node("TopKV2", "TopK")
def _top_k(n: GraphOperation) -> list[Ref]:
    count = n.ints(1)[0] if n.kind == "TopKV2" else int(n.attr("k"))
    if not n.attr("sorted") and count > 1:
        raise Undescribed("sorted=False is not supported")
    return top_k(n.build, n.ref(0), count)


@node("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _batch_norm(n: GraphOperation) -> list[Ref]:
    """Its first output; with batch statistics those of this batch. Variances of a sample are used
    beside, never here."""
    build, x = n.build, n.ref(0)
    n.seen.add("exponential_avg_factor")  # of the averages, which are other outputs
    rank, layout = len(n.shape(0)), str(n.attr("data_format"))
    channel = 1 if layout.startswith("NC") else rank - 1
    over = [axis for axis in range(rank) if axis != channel]

    def wide(ref: Ref) -> Ref:
        return build.reshape(ref, [-1 if axis == channel else 1 for axis in range(rank)])

    if n.attr("is_training"):
        mean = build.reduce(ops.ReduceMean, x, over, True)
        apart = build.add(ops.Sub(), x, mean)
        variance = build.reduce(ops.ReduceMean, build.add(ops.Square(), apart), over, True)
    else:
        apart, variance = build.add(ops.Sub(), x, wide(n.ref(3))), wide(n.ref(4))
    epsilon = float(np.float32(n.attr("epsilon")))
    factor = build.add(ops.Rsqrt(), build.add(ops.Add(), variance, epsilon))
    scaled = build.add(ops.Mul(), apart, build.add(ops.Mul(), factor, wide(n.ref(1))))
    return [build.add(ops.Add(), scaled, wide(n.ref(2)))]
