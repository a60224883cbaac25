"""Operators of each element: activations, arithmetic, comparisons, casts."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..describe import Node, Value, node

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
_UNARY: dict[str, Callable[[Node], Any]] = {
    "Celu": lambda recipe: ops.Celu(alpha=recipe.get("alpha", 1.0)),
    "Elu": lambda recipe: ops.Elu(alpha=recipe.get("alpha", 1.0)),
    "Gelu": lambda recipe: ops.Gelu(approximate=recipe.get("approximate", "none")),
    "HardSigmoid": lambda recipe: ops.HardSigmoid(
        alpha=recipe.get("alpha", 0.2), beta=recipe.get("beta", 0.5)
    ),
    "LeakyRelu": lambda recipe: ops.LeakyRelu(alpha=recipe.get("alpha", 0.01)),
    "Shrink": lambda recipe: ops.Shrink(
        lambd=recipe.get("lambd", 0.5), bias=recipe.get("bias", 0.0), keeps_nan=False
    ),
    "Swish": lambda recipe: ops.Swish(alpha=recipe.get("alpha", 1.0)),
    "ThresholdedRelu": lambda recipe: ops.ThresholdedRelu(
        threshold=recipe.get("alpha", 1.0), keeps_nan=False
    ),
}
_BINARY: dict[str, Callable[[], Any]] = {
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
_SEVERAL: dict[str, Callable[[], Any]] = {
    "Max": ops.Max,
    "Mean": ops.Mean,
    "Min": ops.Min,
    "Sum": ops.Add,
}


def _made(name: str) -> Callable[[Node], Any]:
    return lambda recipe: getattr(ops, name)()


def _register(name: str, op: Callable[[Node], Any]) -> None:
    @node(name)
    def unary(recipe: Node, x: Value) -> Ref:
        return recipe.put(op(recipe), x)


def _register_binary(name: str, op: Callable[[], Any]) -> None:
    @node(name)
    def binary(recipe: Node, x: Value, y: Value) -> Ref:
        return recipe.put(op(), x, y)


def _register_several(name: str, op: Callable[[], Any]) -> None:
    @node(name)
    def several(recipe: Node, *values: Value) -> Ref:
        return recipe.put(op(), *values)


for _name in _PLAIN:
    _register(_name, _made(_name))
for _name, _op in _UNARY.items():
    _register(_name, _op)
for _name, _binary in _BINARY.items():
    _register_binary(_name, _binary)
for _name, _several in _SEVERAL.items():
    _register_several(_name, _several)


@node("Selu")
def selu(recipe: Node, x: Value) -> Ref:
    alpha, gamma = recipe.get("alpha", ops.Selu.ALPHA), recipe.get("gamma", ops.Selu.GAMMA)
    if math.isclose(alpha, ops.Selu.ALPHA, rel_tol=1e-6) and math.isclose(
        gamma, ops.Selu.GAMMA, rel_tol=1e-6
    ):
        return recipe.put(ops.Selu(), x)
    return recipe.put(ops.Affine(gain=gamma, offset=0.0), recipe.put(ops.Elu(alpha=alpha), x))


@node("PRelu")
def prelu(recipe: Node, x: Value, slope: Value) -> Ref:
    if isinstance(slope, Weight):
        return recipe.put(ops.PRelu(slope=slope), x)
    below = recipe.put(ops.Less(), x, np.asarray(0.0))
    return recipe.put(ops.Where(), below, recipe.put(ops.Mul(), x, slope), x)


@node("Dropout", implied=("is_test", "seed"))
def dropout(
    recipe: Node, x: Value, ratio: Value | None = None, training: Value | None = None
) -> tuple[Ref, Ref]:
    """What is dropped is drawn, and is what the run's own mask says; without a mask nothing can be
    said."""
    share = recipe.get("ratio", 0.5) if ratio is None else float(recipe.array(ratio).reshape(()))
    if training is None or not recipe.array(training).any() or share == 0:
        return recipe.put(ops.Identity(), x), recipe.ref(np.ones(recipe.shape(x), bool))
    if 1 not in recipe.present or recipe.inside:
        raise Undescribed("in training mode it drops elements at random")
    recipe.notes.append(
        "which elements it drops is drawn at random: its own mask was taken as it came"
    )
    kept = recipe.outputs[recipe.present.index(1)]
    larger = recipe.put(ops.Affine(gain=1 / (1 - share), offset=0.0), x)
    return recipe.put(ops.Where(fixed=True), kept, larger, np.asarray(0.0)), recipe.ref(kept)


@node("Clip")
def clip(recipe: Node, x: Value, low: Value | None = None, high: Value | None = None) -> Ref:
    bounds = [
        recipe.get(name) if value is None else float(recipe.array(value))
        for name, value in (("min", low), ("max", high))
    ]
    return recipe.in_floats(ops.Clip(low=bounds[0], high=bounds[1]), x)


@node("Div")
def div(recipe: Node, x: Value, y: Value) -> Ref:
    """Of integers without what follows the point."""
    quotient = recipe.put(ops.Div(), x, y)
    kind = recipe.outputs[0].dtype
    return quotient if kind.kind == "f" else recipe.put(ops.Cast(to=kind.name), quotient)


@node("Mod")
def mod(recipe: Node, x: Value, y: Value) -> Ref:
    return recipe.put(ops.Mod(fmod=bool(recipe.get("fmod", 0))), x, y)


@node("Where")
def where(recipe: Node, condition: Value, x: Value, y: Value) -> Ref:
    return recipe.put(ops.Where(fixed=isinstance(condition, Weight)), condition, x, y)


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
"""The names of ONNX' types."""


@node("Cast", implied=("round_mode", "saturate"))
def cast(recipe: Node, x: Value) -> Ref:
    kind = TYPES.get(recipe.get("to"))
    if kind is None:
        raise Undescribed(f"a cast to type {recipe.get('to')} has no description")
    return recipe.put(ops.Cast(to=kind), x)


@node("IsInf")
def isinf(recipe: Node, x: Value) -> Ref:
    """Infinities of the signs that are asked for."""
    negative, positive = recipe.get("detect_negative", 1), recipe.get("detect_positive", 1)
    found = recipe.put(ops.IsInf(), x)
    if negative and positive:
        return found
    sign = recipe.put(
        (ops.Less if negative else ops.Greater)(),
        x,
        np.asarray(0.0 if negative or positive else np.inf),
    )
    return recipe.put(ops.And(), found, sign)


def _running(recipe: Node, op: Callable[..., Any], first: float, x: Value, axis: Value) -> Ref:
    """Along an axis, from its end with ``reverse``, each element itself left out with
    ``exclusive``."""
    rank, along = recipe.rank(x), int(np.ravel(recipe.array(axis))[0]) % recipe.rank(x)
    turned = recipe.put(ops.Flip(axis=along), x) if recipe.get("reverse", 0) else x
    found = recipe.put(op(axis=along), turned)
    if recipe.get("exclusive", 0):
        stops = tuple(size - (k == along) for k, size in enumerate(recipe.shape(x)))
        found = recipe.put(ops.Slice(starts=(0,) * rank, stops=stops), found)
        found = recipe.put(
            ops.Pad(
                pads=tuple((int(k == along), 0) for k in range(rank)), mode="constant", value=first
            ),
            found,
        )
    return recipe.put(ops.Flip(axis=along), found) if recipe.get("reverse", 0) else found


@node("CumSum")
def cumsum(recipe: Node, x: Value, axis: Value) -> Ref:
    return _running(recipe, ops.CumSum, 0.0, x, axis)


@node("CumProd")
def cumprod(recipe: Node, x: Value, axis: Value) -> Ref:
    return _running(recipe, ops.CumProd, 1.0, x, axis)


@node("CastLike", implied=("round_mode", "saturate", "target_type"))
def cast_like(recipe: Node, x: Value, other: Value) -> Ref:
    kind = recipe.outputs[0].dtype.name
    if kind not in TYPES.values():
        raise Undescribed(f"a cast to {kind} has no description")
    return recipe.put(ops.Cast(to=kind), x)
