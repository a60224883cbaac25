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

from ..describe.call import Call
from ..describe.describe import describes
from ..describe.op_builder import Chain
from ..layers.activation import along_axes, gelu_op
from ..layers.conv import padding_pairs

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

Body = Callable[[Chain, Callable[..., Any]], "Ref | list[Ref]"]


def function(*names: str) -> Callable[[Body], Body]:
    """Registers a body for functions of these names: it is given the chain, and what gives an
    argument by its name."""

    def register(body: Body) -> Body:
        def describe(layer: Any, call: Call) -> Description:
            chain = Chain(call)

            def argument(*possible: str, default: Any = None) -> Any:
                return next(
                    (
                        call.arguments[name]
                        for name in possible
                        if call.arguments.get(name) is not None
                    ),
                    default,
                )

            found = body(chain, argument)
            return chain.done(*found) if isinstance(found, list) else chain.done(found)

        describe.__module__ = body.__module__
        describes(*(f"tf.{name}" for name in names))(describe)
        return body

    return register


def _unary(op: Callable[[], ops.Op]) -> Body:
    return lambda chain, argument: chain.add(op(), chain.ref(argument("x", "features", "input")))


def _binary(op: Callable[[], ops.Op]) -> Body:
    """TensorFlow brings a number to the tensor's type, which a comparison sees."""
    return lambda chain, argument: chain.add(
        op(), *chain.pair(argument("x"), argument("y"), early=True)
    )


for _name, _op in UNARY.items():
    function(_name)(_unary(_op))
for _name, _op in BINARY.items():
    function(_name)(_binary(_op))


def _reduced(op: Callable[..., ops.Op]) -> Body:
    def body(chain: Chain, argument: Callable[..., Any]) -> Ref:
        axis = argument("axis", "reduction_indices")
        axes = None if axis is None else chain.ints(axis)
        return chain.reduce(
            op,
            argument("input_tensor"),
            axes,
            bool(argument("keepdims", "keep_dims", default=False)),
        )

    return body


for _name, _reduction in REDUCTIONS.items():
    function(_name)(_reduced(_reduction))


@function("nn.leaky_relu")
def _leaky_relu(chain, argument):
    return chain.add(
        ops.LeakyRelu(alpha=float(np.float32(argument("alpha", default=0.2)))), argument("features")
    )


@function("nn.gelu")
def _gelu(chain, argument):
    return chain.add(
        gelu_op("tanh" if argument("approximate", default=False) else "none", chain.call),
        argument("features"),
    )


@function("nn.silu")
def _silu(chain, argument):
    return chain.add(ops.Swish(alpha=float(argument("beta", default=1.0))), argument("features"))


@function("clip_by_value")
def _clip(chain, argument):
    low, high = argument("clip_value_min"), argument("clip_value_max")
    if isinstance(low, Ref) or isinstance(high, Ref):
        return chain.add(
            ops.Min(), chain.add(ops.Max(), argument("t"), chain.ref(low)), chain.ref(high)
        )
    return chain.add(ops.Clip(low=float(low), high=float(high)), argument("t"))


def _along(op: Callable[[int], ops.Op]) -> Callable[[Any, Call], Description]:
    def describe(layer: Any, call: Call) -> Description:
        axis = call.arguments.get("axis")
        return Description(along_axes(call.shape, (-1 if axis is None else axis,), op))

    return describe


describes("tf.nn.softmax")(_along(lambda axis: ops.Softmax(axis=axis)))
describes("tf.nn.log_softmax")(_along(lambda axis: ops.LogSoftmax(axis=axis)))


@function("math.squared_difference")
def _squared_difference(chain, argument):
    return chain.add(ops.Square(), chain.add(ops.Sub(), *chain.pair(argument("x"), argument("y"))))


@function("math.divide_no_nan")
def _divide_no_nan(chain, argument):
    left, right = chain.pair(argument("x"), argument("y"))
    zero = chain.add(ops.Equal(), right, chain.ref(0.0))
    return chain.add(ops.Where(), zero, chain.ref(0.0), chain.add(ops.Div(), left, right))


@function("linalg.l2_normalize", "math.l2_normalize")
def _l2_normalize(chain, argument):
    axis = argument("axis", "dim")
    axes = chain.axes(argument("x"), None if axis is None else chain.ints(axis))
    # The root of the sum of squares or of epsilon, whichever is more.
    return chain.add(
        ops.LpNormalization(
            axes=axes, epsilon=float(argument("epsilon", default=1e-12)), p=2.0, squared=True
        ),
        argument("x"),
    )


@function("compat.v1.norm", "norm", "linalg.norm")
def _norm(chain, argument):
    kind, axis = argument("ord", default="euclidean"), argument("axis")
    if kind not in ("euclidean", 2) or isinstance(axis, list | tuple):
        raise Undescribed(f"its ord is {kind!r}")
    return chain.reduce(
        ops.ReduceL2, argument("tensor"), axis, bool(argument("keepdims", default=False))
    )


@function("linalg.matmul")
def _matmul(chain, argument):
    def turned(ref: Ref, how: Any) -> Ref:
        rank = len(chain.shape(ref))
        return chain.transpose(ref, (*range(rank - 2), rank - 1, rank - 2)) if how else ref

    left = turned(chain.ref(argument("a")), argument("transpose_a"))
    return chain.product(left, turned(chain.ref(argument("b")), argument("transpose_b")))


@function("einsum")
def _einsum(chain, argument):
    given = [chain.ref(one) for one in argument("inputs", "args", default=())]
    equation = argument("equation")
    shape = np.einsum(
        equation, *(np.broadcast_to(np.float32(0), chain.shape(ref)) for ref in given)
    ).shape
    return chain.add(ops.Einsum(equation=equation), *given, shape=shape)


@function(
    "compat.v1.nn.conv1d",
    "compat.v1.nn.conv2d",
    "compat.v1.nn.convolution",
    "nn.conv1d",
    "nn.conv2d",
    "nn.convolution",
)
def _convolution(chain, argument):
    x, kernel = argument("input", "value"), chain.shaped(argument("filter", "filters"))
    if not str(argument("data_format", default="C")).endswith("C") or not isinstance(
        argument("padding"), str
    ):
        raise Undescribed("it is no plain channels-last convolution")
    batch, *sizes, channels = chain.shape(x)
    rank = len(sizes)
    *window, inner, filters = (
        chain.shape(kernel) if isinstance(kernel, Ref) else (int(size) for size in kernel.shape)
    )

    def spatial(value: Any) -> tuple[int, ...]:
        given = chain.ints(1 if value is None else value)
        return tuple(
            given * rank if len(given) == 1 else given if len(given) == rank else given[1:-1]
        )

    strides, dilations = (
        spatial(argument("strides", "stride")),
        spatial(argument("dilations", "dilation_rate")),
    )
    pads = padding_pairs(argument("padding"), sizes, window, strides, dilations)
    turned = (rank + 1, rank, *range(rank))
    weight = None if isinstance(kernel, Ref) else chain.weight(kernel, turned)
    computed = () if weight is not None else (chain.transpose(chain.ref(kernel), turned),)
    windows = zip(sizes, pads, window, strides, dilations, strict=True)
    out = [(n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, s, d in windows]
    op = ops.Conv(
        weight=weight,
        bias=None,
        strides=strides,
        pads=pads,
        dilations=dilations,
        groups=channels // inner,
    )
    y = chain.add(
        op,
        chain.transpose(x, (0, rank + 1, *range(1, rank + 1))),
        *computed,
        shape=(batch, filters, *out),
    )
    return chain.transpose(y, (0, *range(2, rank + 2), 1))


@function("nn.bias_add")
def _bias_add(chain, argument):
    if str(argument("data_format", default="C")).startswith("NC"):
        raise Undescribed("its channels come first")
    return chain.add(ops.Add(), argument("value"), chain.ref(argument("bias")))


@function("tensordot")
def _tensordot(chain, argument):
    left, axes = chain.ref(argument("a")), argument("axes")
    pairs = [1] if axes == 1 else [chain.ints(one) for one in axes]
    if pairs not in ([1], [[len(chain.shape(left)) - 1], [0]]):
        raise Undescribed("it sums over other axes than the last and the first")
    return chain.product(left, chain.ref(argument("b")))
