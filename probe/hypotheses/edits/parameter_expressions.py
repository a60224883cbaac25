"""What is made of parameters and numbers alone, as code has it: ``1 + norm.weight``."""

import numpy as np

from probe import ops
from probe.ops import Constant, Parameter
from probe.ops.base import Rearrangement
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref
from probe.trial.case import Case

__all__ = ["expression"]

_LONG = 60
"""Characters of an expression, beyond which its parameters alone are named."""
_SIGNS: dict[type, str] = {ops.Add: "+", ops.Sub: "-", ops.Mul: "*", ops.Div: "/"}

_FUNCTIONS: dict[type, str] = {
    ops.ReduceMean: "mean",
    ops.ReduceSum: "sum",
    ops.ReduceMax: "max",
    ops.ReduceMin: "min",
    ops.ReduceL2: "norm",
    ops.ReduceStd: "std",
    ops.ReduceVar: "var",
    ops.Product: "matmul",
}
"""As NumPy has them; of all others the name of their op."""


def expression(case: Case, ref: Ref) -> str:
    """What is made of parameters and numbers alone: ``1 + norm.weight``."""
    op = case.steps[ref.step].op
    sources = case.steps[ref.step].sources(ref.step)
    if isinstance(op, Parameter):
        return op.weight.name
    if isinstance(op, Constant):
        return _number(op.value)
    parts = [expression(case, source) for source in sources]
    sign = _SIGNS.get(type(op))
    if sign is not None and len(parts) == 2:
        text = f" {sign} ".join(f"({part})" if " " in part else part for part in parts)
    elif isinstance(op, ops.Neg) and parts:
        text = f"-{f'({parts[0]})' if ' ' in parts[0] else parts[0]}"
    elif isinstance(op, Rearrangement | ops.Cast | ops.Identity | Outputs) and parts:
        text = parts[0]
    else:
        function = _FUNCTIONS.get(type(op)) or type(op).__name__.lstrip("_").lower()
        text = f"{function}({', '.join(parts)})"
    if len(text) <= _LONG:
        return text
    held = dict.fromkeys(_parameters(case, ref))
    return f"what is computed from {' and '.join(held) or 'constants'}"


def _parameters(case: Case, ref: Ref) -> list[str]:
    op = case.steps[ref.step].op
    if isinstance(op, Parameter):
        return [op.weight.name]
    sources = case.steps[ref.step].sources(ref.step)
    return [name for source in sources for name in _parameters(case, source)]


def _number(value: np.ndarray) -> str:
    if value.size == 1 and value.dtype.kind in "iu":
        return f"{value.item()}"
    if value.size == 1:
        return f"{value.item():.6g}"
    if value.dtype.kind in "fiu" and np.array_equal(value, np.arange(value.size)):
        return f"arange({value.size})"
    return f"a constant of shape {value.shape}"
