"""What a call of a PyTorch function is, as far as the function's name says it."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch.overrides import resolve_name

from ..functions import functions

__all__ = [
    "ARRAYS",
    "BOUNDED",
    "BRINGS",
    "CASTS",
    "CONSTRUCTORS",
    "DRAWS",
    "FACTS",
    "LEAVES",
    "NESTED",
    "NO_LAYERS",
    "names_of",
    "writes_to_argument",
]

CONSTRUCTORS = frozenset(
    f"{kind}{suffix}"
    for kind in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")
    for suffix in ("_like",)
) | frozenset(
    f"new_{kind}" for kind in ("zeros", "ones", "empty", "full", "tensor", "empty_strided")
)
CONSTRUCTORS |= frozenset("zeros ones empty eye rand randn".split())  # sizes may be tensors
"""What takes no more than shape and type from its argument."""
NO_LAYERS = frozenset(
    {
        "requires_grad_",
        "retain_grad",
        "grad",
        "is_complex",
        "set_",
        "resize_",
        "share_memory_",
        "pin_memory",
    }
)
CASTS = frozenset(
    "to type type_as _to_copy float double half bfloat16 bool byte int long short char".split()
)
BOUNDED = frozenset("clamp clamp_ clip clip_ clamp_min clamp_max maximum minimum".split())
"""What gives one of its arguments, in the type of those that have axes: bounds without axes may be
of another, as T5's are in float16."""
_WRITES = frozenset(
    f"__{name}__"
    for name in (
        "setitem iadd isub imul itruediv idiv ifloordiv imod ipow iand ior ixor ilshift irshift"
    ).split()
)
FACTS = frozenset(
    "shape size dim ndim numel stride dtype device layout grad_fn requires_grad is_leaf".split()
)
"""What is told of a tensor without its numbers."""
DRAWS = frozenset(
    f"{name}_"
    for name in (
        "bernoulli cauchy exponential geometric log_normal normal random uniform zero".split()
    )
)
"""What overwrites a tensor with numbers of its own, as functions of torch.nn.init do."""
ARRAYS = frozenset("numpy tolist __array__ __dlpack__".split())
LEAVES = ARRAYS | frozenset("item __float__ __int__ __index__ __complex__".split())
"""What gives a tensor's numbers to code that is no PyTorch, all or one."""
BRINGS = frozenset("tensor as_tensor asarray scalar_tensor full frombuffer from_dlpack".split())
"""What makes a tensor of numbers that may have come from there."""
NESTED = frozenset(
    {"_nested_tensor_from_mask", "_transformer_encoder_layer_fwd", "to_padded_tensor"}
)


@cache
def names_of(function: Callable[..., Any]) -> tuple[str, str]:
    """The name in the table of functions, and the one to show."""
    if isinstance(function, torch._ops.OpOverload):
        name = function._schema.name.rpartition("::")[2]
        return (f"aten.{name}" if f"aten.{name}" in functions() else name), str(function)
    name = function.__name__
    if name == "__get__":
        name = function.__self__.__name__  # type: ignore[attr-defined]
    shown = resolve_name(function) or name
    if shown.startswith("quantized."):
        return shown, shown  # torch.ops.quantized
    shown = shown.removesuffix(".__get__").removeprefix("torch.").removeprefix("nn.")
    return (shown if shown in functions() else name), shown


def writes_to_argument(
    function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bool:
    """Whether the call writes to a tensor that it is given."""
    if (
        name in _WRITES
        or kwargs.get("out") is not None
        or (name.endswith("_") and not name.endswith("__"))
    ):
        return True
    at = _inplace_at(function)
    return at is not None and bool(kwargs.get("inplace", at < len(args) and args[at]))


@cache
def _inplace_at(function: Callable[..., Any]) -> int | None:
    """Which argument of a function of torch.nn.functional is called ``inplace``."""
    if not isinstance(function, FunctionType):
        return None
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    if "inplace" in names:
        return names.index("inplace")
    return None
