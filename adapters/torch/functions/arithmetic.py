"""Arithmetic, comparisons and changes of type."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed
from probe.ops.quantize.dynamic import FLOAT8_TYPES

from .describe import CallBuilder, Outputs, Value, function, in_type
from .gather_sort import nonzero

__all__ = ["add", "clamp", "of_one_kind", "where"]

_UNARY: dict[str, tuple[str, Callable[[], ops.Op]]] = {
    "abs absolute": ("Abs", ops.Abs),
    "acos arccos": ("Acos", ops.Acos),
    "acosh arccosh": ("Acosh", ops.Acosh),
    "asin arcsin": ("Asin", ops.Asin),
    "asinh arcsinh": ("Asinh", ops.Asinh),
    "atan arctan": ("Atan", ops.Atan),
    "atanh arctanh": ("Atanh", ops.Atanh),
    "ceil": ("Ceil", ops.Ceil),
    "cos": ("Cos", ops.Cos),
    "cosh": ("Cosh", ops.Cosh),
    "erf special_erf": ("Erf", ops.Erf),
    "exp": ("Exp", ops.Exp),
    "expm1 special_expm1": ("Expm1", ops.Expm1),
    "fix trunc": ("Trunc", ops.Trunc),
    "floor": ("Floor", ops.Floor),
    "isinf": ("IsInf", ops.IsInf),
    "isnan": ("IsNaN", ops.IsNaN),
    "log": ("Log", ops.Log),
    "log10": ("Log10", ops.Log10),
    "log1p special_log1p": ("Log1p", ops.Log1p),
    "log2": ("Log2", ops.Log2),
    "neg negative __neg__": ("Neg", ops.Neg),
    "positive clone detach contiguous alias lift_fresh_copy": ("Identity", ops.Identity),
    "reciprocal": ("Reciprocal", ops.Reciprocal),
    "rsqrt": ("Rsqrt", ops.Rsqrt),
    "sign sgn": ("Sign", ops.Sign),
    "sin": ("Sin", ops.Sin),
    "sinh": ("Sinh", ops.Sinh),
    "sqrt": ("Sqrt", ops.Sqrt),
    "square": ("Square", ops.Square),
    "tan": ("Tan", ops.Tan),
}
_BINARY: dict[str, tuple[str, Callable[[], ops.Op]]] = {
    "mul multiply __mul__ __rmul__ __imul__": ("Mul", ops.Mul),
    "floor_divide __floordiv__ __ifloordiv__": ("FloorDiv", ops.FloorDiv),
    "remainder __mod__ __imod__": ("Mod", ops.Mod),
    "fmod": ("Mod", lambda: ops.Mod(fmod=True)),
    "pow float_power __pow__ __ipow__": ("Pow", ops.Pow),
    "maximum": ("Max", ops.Max),
    "minimum": ("Min", ops.Min),
    "eq __eq__": ("Equal", ops.Equal),
    "ne not_equal __ne__": ("NotEqual", ops.NotEqual),
    "gt greater __gt__": ("Greater", ops.Greater),
    "ge greater_equal __ge__": ("GreaterOrEqual", ops.GreaterOrEqual),
    "lt less __lt__": ("Less", ops.Less),
    "le less_equal __le__": ("LessOrEqual", ops.LessOrEqual),
}
_LOGICAL: dict[str, Callable[[], ops.Op]] = {
    "and": ops.And,
    "not": ops.Not,
    "or": ops.Or,
    "xor": ops.Xor,
}
_TURNED: dict[str, tuple[str, Callable[[], ops.Op]]] = {
    "__rdiv__ __rtruediv__": ("Div", ops.Div),
    "__rpow__": ("Pow", ops.Pow),
    "__rfloordiv__": ("FloorDiv", ops.FloorDiv),
    "__rmod__": ("Mod", ops.Mod),
}


def _in_place(names: str) -> list[str]:
    """The names, and those of the methods that write to their tensor."""
    return [
        form
        for name in names.split()
        for form in ((name,) if name.startswith("__") else (name, f"{name}_"))
    ]


def _register(names: str, onnx: str, op: Callable[[], ops.Op]) -> None:
    @function(*_in_place(names), onnx=onnx.lower())
    def unary(build: CallBuilder, input: Value, *, memory_format: Any = None) -> Ref:
        return build.add(op(), input)


def _register_binary(names: str, onnx: str, op: Callable[[], ops.Op], turned: bool) -> None:
    @function(*_in_place(names), onnx=onnx.lower())
    def binary(build: CallBuilder, input: Value, other: Value) -> Ref:
        left, right = of_one_kind(build, input, other)
        if turned:
            return build.add(op(), right, left)
        return build.add(op(), left, right)


def of_one_kind(build: CallBuilder, input: Value, other: Value) -> tuple[Value, Value]:
    """A truth beside an integer is 0 or 1."""
    kinds = [build.array(operand).dtype.kind for operand in (input, other)]
    if "b" not in kinds or not set(kinds) & {"i", "u"}:
        return input, other
    left, right = (
        _cast(build, operand, "int64") if kind == "b" else operand
        for operand, kind in zip((input, other), kinds, strict=True)
    )
    return left, right


for _names, (_onnx, _op) in _UNARY.items():
    _register(_names, _onnx, _op)
for _names, (_onnx, _op) in _BINARY.items():
    _register_binary(_names, _onnx, _op, False)
for _names, (_onnx, _op) in _TURNED.items():
    _register_binary(_names, _onnx, _op, True)


def _register_logical(name: str, op: Callable[[], ops.Op]) -> None:
    @function(*_in_place(f"logical_{name}"), onnx=name)
    def logical(build: CallBuilder, input: Value, other: Value | None = None) -> Ref:
        """A number holds where it is not 0; written over numbers, the answer is one."""
        given = [operand for operand in (input, other) if operand is not None]
        found = build.add(
            op(),
            *(
                operand if build.array(operand).dtype == bool else _cast(build, operand, "bool")
                for operand in given
            ),
        )
        if build.kinds[0] == "bool":
            return found
        return _cast(build, found, build.kinds[0])


for _name, _one in _LOGICAL.items():
    _register_logical(_name, _one)


def _register_choice(name: str, onnx: str, op: Callable[[], ops.Op]) -> None:
    @function(name, onnx=onnx)
    def choice(build: CallBuilder, input: Value, other: Value) -> Ref:
        """Of a NaN and a number the number."""
        found = build.add(op(), input, other)
        for operand, instead in ((input, other), (other, input)):
            if np.isnan(build.array(operand)).any():
                found = build.add(ops.Where(), build.add(ops.IsNaN(), operand), instead, found)
        return found


_register_choice("fmax", "max", ops.Max)
_register_choice("fmin", "min", ops.Min)


def _scaled(build: CallBuilder, value: Value, alpha: float) -> Value:
    if alpha == 1:
        return value
    return build.add(ops.Mul(), value, alpha)


@function("add", "add_", "__add__", "__radd__", "__iadd__", onnx="add")
def add(build: CallBuilder, input: Value, other: Value, *, alpha: float = 1) -> Ref:
    return build.add(ops.Add(), input, _scaled(build, other, alpha))


@function("sub", "sub_", "subtract", "subtract_", "__sub__", "__isub__", onnx="sub")
def sub(build: CallBuilder, input: Value, other: Value, *, alpha: float = 1) -> Ref:
    return build.add(ops.Sub(), input, _scaled(build, other, alpha))


@function("rsub", "__rsub__", onnx="sub")
def rsub(build: CallBuilder, input: Value, other: Value, *, alpha: float = 1) -> Ref:
    return build.add(ops.Sub(), other, _scaled(build, input, alpha))


@function(
    "div",
    "div_",
    "divide",
    "divide_",
    "true_divide",
    "true_divide_",
    "__div__",
    "__truediv__",
    "__itruediv__",
    "__idiv__",
    onnx="div",
)
def div(build: CallBuilder, input: Value, other: Value, *, rounding_mode: str | None = None) -> Ref:
    if rounding_mode == "floor":
        return build.add(ops.FloorDiv(), input, other)
    if rounding_mode is None:
        return build.add(ops.Div(), input, other)
    if all(build.array(value).dtype.kind in "iu" for value in (input, other)):
        # a float64 holds no more than 53 bits of a quotient
        sizes = [build.add(ops.Abs(), value) for value in (input, other)]
        signs = [build.add(ops.Sign(), value) for value in (input, other)]
        size = build.add(ops.FloorDiv(), *sizes)
        return build.add(ops.Mul(), build.add(ops.Mul(), *signs), size)
    return build.add(ops.Trunc(), build.add(ops.Div(), input, other))


@function("round", "round_", onnx="round")
def rounded(build: CallBuilder, input: Value, *, decimals: int = 0) -> Ref:
    if not decimals:
        return build.add(ops.Round(), input)
    if build.array(input).dtype.kind != "f":
        raise Undescribed("rounding integers to decimals is not supported")
    tens = 10.0 ** abs(decimals)
    there, back = (ops.Mul(), ops.Div()) if decimals > 0 else (ops.Div(), ops.Mul())
    return build.add(back, build.add(ops.Round(), build.add(there, input, tens)), tens)


@function("addcmul", "addcmul_", onnx="add")
def addcmul(
    build: CallBuilder, input: Value, tensor1: Value, tensor2: Value, *, value: float = 1
) -> Ref:
    return build.add(
        ops.Add(), input, build.add(ops.Mul(), _scaled(build, tensor1, value), tensor2)
    )


@function("addcdiv", "addcdiv_", onnx="add")
def addcdiv(
    build: CallBuilder, input: Value, tensor1: Value, tensor2: Value, *, value: float = 1
) -> Ref:
    return build.add(
        ops.Add(), input, _scaled(build, build.add(ops.Div(), tensor1, tensor2), value)
    )


@function("lerp", "lerp_", onnx="add")
def lerp(build: CallBuilder, input: Value, end: Value, weight: Value) -> Ref:
    """input + weight * (end - input), or end - (1 - weight) * (end - input) where the weight is 1/2
    or more."""
    apart = build.add(ops.Sub(), end, input)
    near = build.add(ops.Add(), input, build.add(ops.Mul(), weight, apart))
    far = build.add(ops.Sub(), end, build.add(ops.Mul(), build.add(ops.Sub(), 1.0, weight), apart))
    small = build.add(ops.Less(), build.add(ops.Abs(), weight), 0.5)
    return build.add(ops.Where(fixed=True), small, near, far)


@function("clamp", "clamp_", "clip", "clip_", onnx="clip")
def clamp(
    build: CallBuilder, input: Value, min: Value | None = None, max: Value | None = None
) -> Ref:
    numbers = all(bound is None or isinstance(bound, int | float) for bound in (min, max))
    if numbers and build.array(input).dtype.kind == "f":
        low, high = (None if bound is None else float(bound) for bound in (min, max))  # type: ignore[arg-type]
        return build.add(ops.Clip(low=low, high=high), input)
    found = build.ref(input)
    if min is not None:
        found = build.add(ops.Max(), found, min)
    if max is None:
        return found
    return build.add(ops.Min(), found, max)


@function("clamp_min", "clamp_min_", onnx="clip")
def clamp_min(build: CallBuilder, input: Value, min: Value) -> Ref:
    return clamp(build, input, min)


@function("clamp_max", "clamp_max_", onnx="clip")
def clamp_max(build: CallBuilder, input: Value, max: Value) -> Ref:
    return clamp(build, input, None, max)


@function("where", onnx="where")
def where(
    build: CallBuilder, condition: Value, input: Value | None = None, other: Value | None = None
) -> Outputs:
    """With a condition alone the places where it holds."""
    if input is None or other is None:
        return nonzero(build, condition, as_tuple=True)
    return _chosen(build, condition, input, other)


def _chosen(build: CallBuilder, condition: Value, input: Value, other: Value) -> Ref:
    if build.kinds == ("bool",):  # ONNX Runtime chooses between numbers alone
        other = build.add(ops.And(), build.add(ops.Not(), condition), other)
        return build.add(ops.Or(), build.add(ops.And(), condition, input), other)
    return build.add(ops.Where(fixed=build.fixed(condition)), condition, input, other)


@function("Tensor.where", onnx="where")
def where_of_tensor(build: CallBuilder, input: Value, condition: Value, other: Value) -> Ref:
    """The method: the tensor comes first, and its condition second."""
    return _chosen(build, condition, input, other)


@function("masked_fill", "masked_fill_", onnx="where")
def masked_fill(build: CallBuilder, input: Value, mask: Value, value: Value) -> Ref:
    whole = build.outputs[0].dtype.kind in "iu" and build.array(value).dtype.kind == "f"
    given = _cast(build, value, build.kinds[0]) if whole else value
    return _chosen(build, mask, given, input)  # in a tensor of truths the value is one


@function("nan_to_num", "nan_to_num_", onnx="where")
def nan_to_num(
    build: CallBuilder,
    input: Value,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Ref:
    largest = float(np.finfo(np.float32).max)
    found = build.add(ops.Where(), build.add(ops.IsNaN(), input), nan or 0.0, input)
    high, low = largest if posinf is None else posinf, -largest if neginf is None else neginf
    found = build.add(ops.Where(), build.add(ops.Equal(), found, np.float64(np.inf)), high, found)
    return build.add(ops.Where(), build.add(ops.Equal(), found, np.float64(-np.inf)), low, found)


def _cast(build: CallBuilder, input: Value, dtype: str) -> Ref:
    return build.add(ops.Cast(to=dtype), input)


_TYPES = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "bool": "bool",
    "byte": "uint8",
}
_TYPES |= {"char": "int8", "short": "int16", "int": "int32", "long": "int64"}


def _register_cast(name: str, to: str) -> None:
    @function(name, onnx="cast")
    def cast(build: CallBuilder, input: Value, memory_format: Any = None) -> Ref:
        return _cast(build, input, to)


for _name, _to in _TYPES.items():
    _register_cast(_name, _to)


@function(
    "to",
    "type",
    "type_as",
    "_to_copy",
    onnx="cast",
    idle="args dtype device layout pin_memory copy other",
)
def to(build: CallBuilder, input: Value, *args: Any, **kwargs: Any) -> Ref:
    """Whatever the arguments: the type is that of the output."""
    kind = build.kinds[0]
    if kind in FLOAT8_TYPES:
        return build.add(ops.Float8(kind=kind, saturates=_saturates(kind)), input)
    if kind in _TYPES.values() or kind.startswith("uint"):
        return _cast(build, input, kind)
    if kind.startswith("complex"):
        return build.add(ops.Identity(), input)
    raise Undescribed(f"a cast to {kind} is not supported")


@cache
def _saturates(kind: str) -> bool:
    """Whether this PyTorch clips what is too large for a type: newer ones do so to
    float8_e4m3fn, where older ones give NaN."""
    return bool(torch.tensor(1e9).to(getattr(torch, kind)).float().isfinite())


@function("cumsum", "cumsum_", onnx="cumsum")
def cumsum(build: CallBuilder, input: Value, dim: int, *, dtype: Any = None) -> Ref:
    return in_type(
        build,
        dtype,
        input,
        lambda x: build.add(ops.CumSum(axis=dim) if build.rank(input) else ops.Identity(), x),
    )


@function("cumprod", "cumprod_", onnx="cumprod")
def cumprod(build: CallBuilder, input: Value, dim: int, *, dtype: Any = None) -> Ref:
    return in_type(
        build,
        dtype,
        input,
        lambda x: build.add(ops.CumProd(axis=dim) if build.rank(input) else ops.Identity(), x),
    )
