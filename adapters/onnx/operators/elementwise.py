"""Operators of each element: activations, arithmetic, comparisons, casts."""

import math
from collections.abc import Callable

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node

__all__ = ["TYPES", "cast", "clip"]

_PLAIN = (
    *(
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "Ceil",
        "Cos",
        "Cosh",
        "Erf",
        "Exp",
        "Floor",
        "HardSwish",
        "Identity",
    ),
    *(
        "IsNaN",
        "Log",
        "Mish",
        "Neg",
        "Not",
        "Reciprocal",
        "Relu",
        "Round",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
    ),
    *("Sqrt", "Tan", "Tanh"),
)
"""Operators without attributes that are ops of the same name."""
_UNARY: dict[str, Callable[[NodeBuilder], ops.Op]] = {
    "Celu": lambda build: ops.Celu(alpha=build.get("alpha", 1.0)),
    "Elu": lambda build: ops.Elu(alpha=build.get("alpha", 1.0)),
    "Gelu": lambda build: ops.Gelu(approximate=build.get("approximate", "none")),
    "HardSigmoid": lambda build: ops.HardSigmoid(
        alpha=build.get("alpha", 0.2), beta=build.get("beta", 0.5)
    ),
    "LeakyRelu": lambda build: ops.LeakyRelu(alpha=build.get("alpha", 0.01)),
    "Shrink": lambda build: ops.Shrink(
        lambd=build.get("lambd", 0.5), bias=build.get("bias", 0.0), keeps_nan=False
    ),
    "Swish": lambda build: ops.Swish(alpha=build.get("alpha", 1.0)),
    "ThresholdedRelu": lambda build: ops.ThresholdedRelu(
        threshold=build.get("alpha", 1.0), keeps_nan=False
    ),
}
_BINARY: dict[str, Callable[[], ops.Op]] = {
    "Add": ops.Add,
    "And": ops.And,
    "Equal": ops.Equal,
    "Greater": ops.Greater,
    "GreaterOrEqual": ops.GreaterOrEqual,
    "Less": ops.Less,
    "LessOrEqual": ops.LessOrEqual,
    "Mul": ops.Mul,
    "Or": ops.Or,
    "Pow": ops.Pow,
    "Sub": ops.Sub,
    "Xor": ops.Xor,
}
_SEVERAL: dict[str, Callable[[], ops.Op]] = {
    "Max": ops.Max,
    "Mean": ops.Mean,
    "Min": ops.Min,
    "Sum": ops.Add,
}


def _made(name: str) -> Callable[[NodeBuilder], ops.Op]:
    return lambda build: getattr(ops, name)()


def _register(name: str, op: Callable[[NodeBuilder], ops.Op]) -> None:
    @node(name)
    def unary(build: NodeBuilder, x: Value) -> Ref:
        return build.add(op(build), x)


def _register_binary(name: str, op: Callable[[], ops.Op]) -> None:
    @node(name)
    def binary(build: NodeBuilder, x: Value, y: Value) -> Ref:
        return build.add(op(), x, y)


def _register_several(name: str, op: Callable[[], ops.Op]) -> None:
    @node(name)
    def several(build: NodeBuilder, *values: Value) -> Ref:
        return build.add(op(), *values)


for _name in _PLAIN:
    _register(_name, _made(_name))
for _name, _op in _UNARY.items():
    _register(_name, _op)
for _name, _binary in _BINARY.items():
    _register_binary(_name, _binary)
for _name, _several in _SEVERAL.items():
    _register_several(_name, _several)


@node("Selu")
def selu(build: NodeBuilder, x: Value) -> Ref:
    alpha, gamma = build.get("alpha", ops.Selu.ALPHA), build.get("gamma", ops.Selu.GAMMA)
    if math.isclose(alpha, ops.Selu.ALPHA, rel_tol=1e-6) and math.isclose(
        gamma, ops.Selu.GAMMA, rel_tol=1e-6
    ):
        return build.add(ops.Selu(), x)
    return build.add(ops.Affine(gain=gamma, offset=0.0), build.add(ops.Elu(alpha=alpha), x))


@node("PRelu")
def prelu(build: NodeBuilder, x: Value, slope: Value) -> Ref:
    if isinstance(slope, Weight):
        return build.add(ops.PRelu(slope=slope), x)
    below = build.add(ops.Less(), x, np.asarray(0.0))
    return build.add(ops.Where(), below, build.add(ops.Mul(), x, slope), x)


@node("Dropout", implied=("is_test", "seed"))
def dropout(
    build: NodeBuilder, x: Value, ratio: Value | None = None, training: Value | None = None
) -> tuple[Ref, Ref]:
    """What is dropped is drawn, and is what the run's own mask says; without a mask nothing can be
    said."""
    if ratio is None:
        share = build.get("ratio", 0.5)
    else:
        share = float(build.array(ratio).reshape(()))
    if training is None or not build.array(training).any() or share == 0:
        return build.add(ops.Identity(), x), build.ref(np.ones(build.shape(x), bool))
    if 1 not in build.present or build.inside:
        raise Undescribed("in training mode it drops elements at random")
    build.notes.append("it drops elements at random; the mask it returned was used")
    kept = build.outputs[build.present.index(1)]
    larger = build.add(ops.Affine(gain=1 / (1 - share), offset=0.0), x)
    return build.add(ops.Where(fixed=True), kept, larger, np.asarray(0.0)), build.ref(kept)


@node("Clip")
def clip(build: NodeBuilder, x: Value, low: Value | None = None, high: Value | None = None) -> Ref:
    bounds = [
        build.get(name) if value is None else float(build.array(value))
        for name, value in (("min", low), ("max", high))
    ]
    return build.in_floats(ops.Clip(low=bounds[0], high=bounds[1]), x)


@node("Div")
def div(build: NodeBuilder, x: Value, y: Value) -> Ref:
    """Of integers without what follows the point."""
    quotient = build.add(ops.Div(), x, y)
    kind = build.outputs[0].dtype
    if kind.kind == "f":
        return quotient
    return build.add(ops.Cast(to=kind.name), quotient)


@node("Mod")
def mod(build: NodeBuilder, x: Value, y: Value) -> Ref:
    return build.add(ops.Mod(fmod=bool(build.get("fmod", 0))), x, y)


@node("Where")
def where(build: NodeBuilder, condition: Value, x: Value, y: Value) -> Ref:
    return build.add(ops.Where(fixed=isinstance(condition, Weight)), condition, x, y)


TYPES = {
    **{
        1: "float32",
        2: "uint8",
        3: "int8",
        4: "uint16",
        5: "int16",
        6: "int32",
        7: "int64",
        9: "bool",
        10: "float16",
        11: "float64",
    },
    **{12: "uint32", 13: "uint64"},
}
"""The names of ONNX' types that NumPy has."""
_BFLOAT16 = 16


@node("Cast", implied=("round_mode", "saturate"))
def cast(build: NodeBuilder, x: Value) -> Ref:
    kind = "bfloat16" if build.get("to") == _BFLOAT16 else TYPES.get(build.get("to"))
    if kind is None:
        raise Undescribed(f"a cast to type {build.get('to')} is not supported")
    return build.add(ops.Cast(to=kind), x)


@node("IsInf")
def isinf(build: NodeBuilder, x: Value) -> Ref:
    """Infinities of the signs that are asked for."""
    negative, positive = build.get("detect_negative", 1), build.get("detect_positive", 1)
    found = build.add(ops.IsInf(), x)
    if negative and positive:
        return found
    sign = build.add(
        (ops.Less if negative else ops.Greater)(),
        x,
        np.asarray(0.0 if negative or positive else np.inf),
    )
    return build.add(ops.And(), found, sign)


def _running(
    build: NodeBuilder, op: Callable[..., ops.Op], first: float, x: Value, axis: Value
) -> Ref:
    """Along an axis, from its end with ``reverse``, each element itself left out with
    ``exclusive``."""
    rank, along = build.rank(x), int(np.ravel(build.array(axis))[0]) % build.rank(x)
    turned = build.add(ops.Flip(axis=along), x) if build.get("reverse", 0) else x
    found = build.add(op(axis=along), turned)
    if build.get("exclusive", 0):
        stops = tuple(size - (k == along) for k, size in enumerate(build.shape(x)))
        found = build.add(ops.Slice(starts=(0,) * rank, stops=stops), found)
        found = build.add(
            ops.Pad(
                pads=tuple((int(k == along), 0) for k in range(rank)), mode="constant", value=first
            ),
            found,
        )
    if build.get("reverse", 0):
        return build.add(ops.Flip(axis=along), found)
    return found


@node("CumSum")
def cumsum(build: NodeBuilder, x: Value, axis: Value) -> Ref:
    return _running(build, ops.CumSum, 0.0, x, axis)


@node("CumProd")
def cumprod(build: NodeBuilder, x: Value, axis: Value) -> Ref:
    return _running(build, ops.CumProd, 1.0, x, axis)


@node("CastLike", implied=("round_mode", "saturate", "target_type"))
def cast_like(build: NodeBuilder, x: Value, other: Value) -> Ref:
    kind = build.outputs[0].dtype.name
    if kind not in TYPES.values():
        raise Undescribed(f"a cast to {kind} is not supported")
    return build.add(ops.Cast(to=kind), x)
