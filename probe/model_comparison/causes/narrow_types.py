"""Which fixed-point type of a layer is too narrow, where another program's values show it: that of
the accumulator, of the weights, of the input, or a table.

The layer is computed as HLS code does: each product is cut off to the accumulator's type before it
is added, a function is looked up in a table whose argument is cut off too. What gives the very
values that were written is what was done; of the types that are narrowed then, the one that moves
the result most is named, with the bits that would do.
"""

from collections.abc import Sequence

import numpy as np

from probe.hypotheses.precision.fixed_point import fraction_of
from probe.model_comparison.causes.narrow_sums import of_sum
from probe.model_comparison.causes.narrow_tables import of_softmax, of_table
from probe.ops import Conv, Identity, MatMul, Relu, Reshape, Softmax, Transpose
from probe.ops.base import Elementwise
from probe.ops.step import Step
from probe.report import Finding

__all__ = ["narrow_types"]

_LAYOUT = (Transpose, Reshape, Identity)


def narrow_types(
    steps: Sequence[Step],
    values: Sequence[tuple[np.ndarray, ...]],
    inputs: Sequence[np.ndarray],
    seen: np.ndarray,
) -> tuple[Finding, ...]:
    """The type that is too narrow, where there is one but that of the result alone.

    Args:
        steps: A layer's, what is computed first and then elementwise functions.
        values: What each step gives.
        inputs: What the layer is given.
        seen: What the other program gives, in the layout of the last step.
    """
    fraction = fraction_of(seen)
    positions = [k for k, step in enumerate(steps) if not isinstance(step.op, _LAYOUT)]
    if fraction is None or not positions or seen.shape != values[-1][0].shape:
        return ()
    for step in reversed(steps[positions[-1] + 1 :]):
        if not isinstance(step.op, Transpose):
            return ()
        seen = seen.transpose(np.argsort(step.op.perm))
    first, tail = steps[positions[0]], [steps[k].op for k in positions[1:]]
    operands = [ref.of(inputs, values) for ref in first.sources(positions[0])]
    if len(operands) != 1 or operands[0].dtype.kind != "f":
        return ()
    x = operands[0].astype(np.float64)
    if isinstance(first.op, MatMul | Conv) and all(isinstance(op, Elementwise) for op in tail):
        return of_sum(first.op, x, tail, seen, fraction)
    if tail:
        return ()
    if isinstance(first.op, Softmax):
        return of_softmax(first.op, x, seen, fraction)
    if isinstance(first.op, Elementwise) and first.op.pointwise and not isinstance(first.op, Relu):
        return of_table(first.op, x, seen, fraction)
    return ()
