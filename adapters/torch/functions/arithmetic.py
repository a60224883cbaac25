"""Arithmetic, comparisons and changes of type."""

from collections.abc import Callable
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import Function, Value, function, in_type
from .gather_sort import nonzero

__all__ = ["add", "clamp", "where"]

_UNARY: dict[str, tuple[str, Callable[[], Any]]] = {
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
_BINARY: dict[str, tuple[str, Callable[[], Any]]] = {
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
_LOGICAL: dict[str, Callable[[], Any]] = {
    "and": ops.And,
    "not": ops.Not,
    "or": ops.Or,
    "xor": ops.Xor,
}
_TURNED: dict[str, tuple[str, Callable[[], Any]]] = {
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


def _register(names: str, onnx: str, op: Callable[[], Any]) -> None:
    @function(*_in_place(names), onnx=onnx.lower())
    def unary(recipe: Function, input: Value, *, memory_format: Any = None) -> Ref:
        return recipe.put(op(), input)


def _register_binary(names: str, onnx: str, op: Callable[[], Any], turned: bool) -> None:
    @function(*_in_place(names), onnx=onnx.lower())
    def binary(recipe: Function, input: Value, other: Value) -> Ref:
        return recipe.put(op(), other, input) if turned else recipe.put(op(), input, other)


for _names, (_onnx, _op) in _UNARY.items():
    _register(_names, _onnx, _op)
for _names, (_onnx, _op) in _BINARY.items():
    _register_binary(_names, _onnx, _op, False)
for _names, (_onnx, _op) in _TURNED.items():
    _register_binary(_names, _onnx, _op, True)


def _register_logical(name: str, op: Callable[[], Any]) -> None:
    @function(*_in_place(f"logical_{name}"), onnx=name)
    def logical(recipe: Function, input: Value, other: Value | None = None) -> Ref:
        """A number holds where it is not 0; written over numbers, the answer is one."""
        given = [one for one in (input, other) if one is not None]
        found = recipe.put(
            op(),
            *(
                one if recipe.array(one).dtype == bool else _cast(recipe, one, "bool")
                for one in given
            ),
        )
        return found if recipe.kinds[0] == "bool" else _cast(recipe, found, recipe.kinds[0])


for _name, _one in _LOGICAL.items():
    _register_logical(_name, _one)


def _register_choice(name: str, onnx: str, op: Callable[[], Any]) -> None:
    @function(name, onnx=onnx)
    def choice(recipe: Function, input: Value, other: Value) -> Ref:
        """Of a NaN and a number the number."""
        found = recipe.put(op(), input, other)
        for one, instead in ((input, other), (other, input)):
            if np.isnan(recipe.array(one)).any():
                found = recipe.put(ops.Where(), recipe.put(ops.IsNaN(), one), instead, found)
        return found


_register_choice("fmax", "max", ops.Max)
_register_choice("fmin", "min", ops.Min)


def _scaled(recipe: Function, value: Value, alpha: float) -> Value:
    return value if alpha == 1 else recipe.put(ops.Mul(), value, alpha)


@function("add", "add_", "__add__", "__radd__", "__iadd__", onnx="add")
def add(recipe: Function, input: Value, other: Value, *, alpha: float = 1) -> Ref:
    return recipe.put(ops.Add(), input, _scaled(recipe, other, alpha))


@function("sub", "sub_", "subtract", "subtract_", "__sub__", "__isub__", onnx="sub")
def sub(recipe: Function, input: Value, other: Value, *, alpha: float = 1) -> Ref:
    return recipe.put(ops.Sub(), input, _scaled(recipe, other, alpha))


@function("rsub", "__rsub__", onnx="sub")
def rsub(recipe: Function, input: Value, other: Value, *, alpha: float = 1) -> Ref:
    return recipe.put(ops.Sub(), other, _scaled(recipe, input, alpha))


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
def div(recipe: Function, input: Value, other: Value, *, rounding_mode: str | None = None) -> Ref:
    if rounding_mode == "floor":
        return recipe.put(ops.FloorDiv(), input, other)
    quotient = recipe.put(ops.Div(), input, other)
    return quotient if rounding_mode is None else recipe.put(ops.Trunc(), quotient)


@function("round", "round_", onnx="round")
def rounded(recipe: Function, input: Value, *, decimals: int = 0) -> Ref:
    if not decimals:
        return recipe.put(ops.Round(), input)
    if recipe.array(input).dtype.kind != "f":
        raise Undescribed("rounding integers to decimals has no description")
    tens = 10.0 ** abs(decimals)
    there, back = (ops.Mul(), ops.Div()) if decimals > 0 else (ops.Div(), ops.Mul())
    return recipe.put(back, recipe.put(ops.Round(), recipe.put(there, input, tens)), tens)


@function("addcmul", "addcmul_", onnx="add")
def addcmul(
    recipe: Function, input: Value, tensor1: Value, tensor2: Value, *, value: float = 1
) -> Ref:
    return recipe.put(
        ops.Add(), input, recipe.put(ops.Mul(), _scaled(recipe, tensor1, value), tensor2)
    )


@function("addcdiv", "addcdiv_", onnx="add")
def addcdiv(
    recipe: Function, input: Value, tensor1: Value, tensor2: Value, *, value: float = 1
) -> Ref:
    return recipe.put(
        ops.Add(), input, _scaled(recipe, recipe.put(ops.Div(), tensor1, tensor2), value)
    )


@function("lerp", "lerp_", onnx="add")
def lerp(recipe: Function, input: Value, end: Value, weight: Value) -> Ref:
    """input + weight * (end - input), or end - (1 - weight) * (end - input) where the weight is 1/2
    or more."""
    apart = recipe.put(ops.Sub(), end, input)
    near = recipe.put(ops.Add(), input, recipe.put(ops.Mul(), weight, apart))
    far = recipe.put(
        ops.Sub(), end, recipe.put(ops.Mul(), recipe.put(ops.Sub(), 1.0, weight), apart)
    )
    small = recipe.put(ops.Less(), recipe.put(ops.Abs(), weight), 0.5)
    return recipe.put(ops.Where(fixed=True), small, near, far)


@function("clamp", "clamp_", "clip", "clip_", onnx="clip")
def clamp(
    recipe: Function, input: Value, min: Value | None = None, max: Value | None = None
) -> Ref:
    numbers = all(bound is None or isinstance(bound, int | float) for bound in (min, max))
    if numbers and recipe.array(input).dtype.kind == "f":
        low, high = (None if bound is None else float(bound) for bound in (min, max))  # type: ignore[arg-type]
        return recipe.put(ops.Clip(low=low, high=high), input)
    found = recipe.ref(input)
    found = found if min is None else recipe.put(ops.Max(), found, min)
    return found if max is None else recipe.put(ops.Min(), found, max)


@function("clamp_min", "clamp_min_", onnx="clip")
def clamp_min(recipe: Function, input: Value, min: Value) -> Ref:
    return clamp(recipe, input, min)


@function("clamp_max", "clamp_max_", onnx="clip")
def clamp_max(recipe: Function, input: Value, max: Value) -> Ref:
    return clamp(recipe, input, None, max)


@function("where", onnx="where")
def where(
    recipe: Function, condition: Value, input: Value | None = None, other: Value | None = None
) -> Any:
    """With a condition alone the places where it holds."""
    if input is None or other is None:
        return nonzero(recipe, condition, as_tuple=True)
    if recipe.kinds == ("bool",):  # ONNX Runtime chooses between numbers alone
        other = recipe.put(ops.And(), recipe.put(ops.Not(), condition), other)
        return recipe.put(ops.Or(), recipe.put(ops.And(), condition, input), other)
    return recipe.put(ops.Where(fixed=recipe.fixed(condition)), condition, input, other)


@function("Tensor.where", onnx="where")
def where_of_tensor(recipe: Function, input: Value, condition: Value, other: Value) -> Ref:
    """The method: the tensor comes first, and its condition second."""
    return where(recipe, condition, input, other)


@function("masked_fill", "masked_fill_", onnx="where")
def masked_fill(recipe: Function, input: Value, mask: Value, value: Value) -> Ref:
    return where(recipe, mask, value, input)  # in a tensor of truths the value is one


@function("nan_to_num", "nan_to_num_", onnx="where")
def nan_to_num(
    recipe: Function,
    input: Value,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Ref:
    largest = float(np.finfo(np.float32).max)
    found = recipe.put(ops.Where(), recipe.put(ops.IsNaN(), input), nan or 0.0, input)
    high, low = largest if posinf is None else posinf, -largest if neginf is None else neginf
    found = recipe.put(ops.Where(), recipe.put(ops.Equal(), found, np.float64(np.inf)), high, found)
    return recipe.put(ops.Where(), recipe.put(ops.Equal(), found, np.float64(-np.inf)), low, found)


_BITS = {
    "bitwise_and __and__ __rand__ __iand__": ("And", ops.And),
    "bitwise_or __or__ __ror__ __ior__": ("Or", ops.Or),
    "bitwise_xor __xor__ __rxor__ __ixor__": ("Xor", ops.Xor),
}


def _register_bits(names: str, onnx: str, op: Callable[[], Any]) -> None:
    @function(*names.split(), onnx=onnx.lower())
    def bits(recipe: Function, input: Value, other: Value) -> Ref:
        if any(recipe.array(value).dtype.kind != "b" for value in (input, other)):
            raise Undescribed("bits of integers have no description")
        return recipe.put(op(), input, other)


for _names, (_onnx, _op) in _BITS.items():
    _register_bits(_names, _onnx, _op)


@function("bitwise_not", "__invert__", onnx="not")
def invert(recipe: Function, input: Value) -> Ref:
    if recipe.array(input).dtype.kind != "b":
        raise Undescribed("bits of integers have no description")
    return recipe.put(ops.Not(), input)


def _cast(recipe: Function, input: Value, dtype: str) -> Ref:
    return recipe.put(ops.Cast(to=dtype), input)


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
    def cast(recipe: Function, input: Value, memory_format: Any = None) -> Ref:
        return _cast(recipe, input, to)


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
def to(recipe: Function, input: Value, *args: Any, **kwargs: Any) -> Ref:
    """Whatever the arguments: the type is that of the output."""
    kind = recipe.kinds[0]
    return (
        _cast(recipe, input, kind) if kind in _TYPES.values() else recipe.put(ops.Identity(), input)
    )


@function("cumsum", "cumsum_", onnx="cumsum")
def cumsum(recipe: Function, input: Value, dim: int, *, dtype: Any = None) -> Ref:
    return in_type(
        recipe,
        dtype,
        input,
        lambda x: recipe.put(ops.CumSum(axis=dim) if recipe.rank(input) else ops.Identity(), x),
    )


@function("cumprod", "cumprod_", onnx="cumprod")
def cumprod(recipe: Function, input: Value, dim: int, *, dtype: Any = None) -> Ref:
    return in_type(
        recipe,
        dtype,
        input,
        lambda x: recipe.put(ops.CumProd(axis=dim) if recipe.rank(input) else ops.Identity(), x),
    )
