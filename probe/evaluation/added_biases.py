"""What rounding may do where a parameter is added to a sum of products: a port may begin the sum
with it, as C programs do, so that every partial sum is as large."""

from collections.abc import Sequence

import numpy as np

from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_sums
from probe.ops import Add, AddConstant, Constant, Parameter
from probe.ops.base import Rearrangement, Sum
from probe.ops.step import Ref, Step

__all__ = ["with_bias_first"]

_Arrays = Sequence[tuple[np.ndarray, ...]]


def with_bias_first(
    steps: Sequence[Step],
    position: int,
    inputs: Sequence[np.ndarray],
    values: _Arrays,
    precision: Precision,
) -> np.ndarray | None:
    """How much further the output of a step may be off if what it adds to a sum is the sum's first
    term; None of a step that adds no parameter to a sum."""
    op = steps[position].op
    sources = steps[position].sources(position)
    bias: np.ndarray | None = None
    if isinstance(op, AddConstant):
        bias = np.asarray(op.value.value, np.float64)
    elif type(op) is Add and len(sources) == 2:
        held = [k for k, ref in enumerate(sources) if _is_parameter(steps, ref)]
        if len(held) == 1:
            bias = np.asarray(sources[held[0]].of(inputs, values), np.float64)
            sources = (sources[1 - held[0]],)
    count = 0 if bias is None else _terms(steps, sources[0], inputs, values)
    if bias is None or not count:
        return None
    return of_sums(count, bias, np.square(bias), precision)


def _is_parameter(steps: Sequence[Step], ref: Ref) -> bool:
    """Whether a tensor is a parameter, in whatever order of axes."""
    while ref.step >= 0 and isinstance(steps[ref.step].op, Rearrangement):
        ref = steps[ref.step].sources(ref.step)[0]
    return ref.step >= 0 and isinstance(steps[ref.step].op, Constant | Parameter)


def _terms(steps: Sequence[Step], ref: Ref, inputs: Sequence[np.ndarray], values: _Arrays) -> int:
    """How many terms the sum has that gives a tensor, moved or not; 0 where none does."""
    while ref.step >= 0 and isinstance(steps[ref.step].op, Rearrangement):
        ref = steps[ref.step].sources(ref.step)[0]
    if ref.step < 0 or not isinstance(steps[ref.step].op, Sum):
        return 0
    step = steps[ref.step]
    operands = [source.of(inputs, values) for source in step.sources(ref.step)]
    return step.op.term_count(operands, values[ref.step])
