"""What is made of parameters and numbers alone, as code has it: ``1 + norm.weight``."""

import numpy as np

from probe import ops
from probe.hypotheses.edits.op_words import op_words
from probe.ops import Constant, Parameter
from probe.ops.base import Rearrangement
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref
from probe.trial.case import Case, shape_of

__all__ = ["expression", "part_expression"]

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
    if not sources and hasattr(op, "in_words"):
        return op_words(op)
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


def part_expression(case: Case, ref: Ref) -> str:
    """The same of what moves or cuts out elements of one that has the same expression:
    ``scales[1]``, ``a.T``."""
    name, moves = expression(case, ref), list[str]()
    while isinstance(case.steps[ref.step].op, Rearrangement | ops.Cast | ops.Identity):
        sources = case.steps[ref.step].sources(ref.step)
        if not sources:
            break
        moves.insert(0, _move(case, ref, sources[0]))
        ref = sources[0]
    return f"({name}){''.join(moves)}" if " " in name and any(moves) else name + "".join(moves)


def _move(case: Case, ref: Ref, source: Ref) -> str:
    """What one step does to a tensor, as an index or an attribute; "" where the elements stay."""
    op, whole = case.steps[ref.step].op, shape_of(case, source)
    if isinstance(op, ops.Slice):
        spans = zip(op.starts, op.stops, op.steps or (1,) * len(whole), whole, strict=True)
        cut = [_span(range(*slice(*ends).indices(size)), size) for *ends, size in spans]
        while cut and cut[-1] == ":":
            cut.pop()
        return f"[{', '.join(cut)}]" if cut else ""
    if isinstance(op, ops.Transpose) and tuple(op.perm) != tuple(range(len(op.perm))):
        order = ", ".join(str(axis) for axis in op.perm)
        return ".T" if tuple(op.perm) == (1, 0) else f".permute({order})"
    return ""


def _span(kept: range, size: int) -> str:
    if kept == range(size):
        return ":"
    if len(kept) == 1:
        return str(kept[0])
    step = f":{kept.step}" if kept.step != 1 else ""
    return f"{kept.start}:{kept.stop}{step}"


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
