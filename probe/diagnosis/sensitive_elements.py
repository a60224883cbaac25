"""Which elements of an op's inputs its output tells of: those that, were they a little off, would
change it.

An element behind a zero is not among them (a ReLU that clips it, a mask, a weight of attention that
is 0), nor one that is rounded off, or less than the largest.
"""

import numpy as np

from probe import ops
from probe.ops.base import Arrays, Op
from probe.ops.elementwise.n_ary import narrowed

__all__ = ["SMALL", "sensitive", "shift"]

SMALL = 2.0**-20
"""How far an input is moved, by its largest magnitude."""


@np.errstate(all="ignore")
def sensitive(op: Op, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
    """Which elements of each input change one of the masked ones of the first output when they
    change a little; none where it is not known which can influence it at all."""
    if type(op).influence is Op.influence:
        return tuple(np.zeros(x.shape, bool) for x in inputs)
    output = op.run(*inputs)[0]
    found = []
    for k in range(len(inputs)):
        moving = mask & _moved(op, inputs, k, output)
        reached = op.influence(moving, inputs)[k]
        if isinstance(op, ops.Product | ops.Einsum):
            reached = reached & _multiplied(op, moving, inputs, k)
        elif isinstance(op, ops.Softmax):
            reached = reached & (output != 0)
        elif isinstance(op, ops.ReduceMax | ops.ReduceMin):
            reached = reached & (inputs[k] == op.kept(output, inputs[k]))
        found.append(reached)
    return tuple(found)


def shift(x: np.ndarray) -> np.ndarray:
    """A little of its largest magnitude for each element, another amount each; zeros for whole
    numbers."""
    finite = np.abs(x[np.isfinite(x)]) if x.dtype.kind == "f" else np.zeros(0)
    amounts = np.random.default_rng(0).uniform(0.5, 1, x.shape)
    return np.asarray(SMALL * finite.max(initial=0.0) * amounts, x.dtype)


def _moved(op: Op, inputs: Arrays, k: int, output: np.ndarray) -> np.ndarray:
    """Which elements of the output change when all of one input do, each by another amount; all
    behind whole numbers, which do not."""
    x, amounts = inputs[k], shift(inputs[k])
    if not amounts.any():
        return np.ones(output.shape, bool)
    changed = np.zeros(output.shape, bool)
    for moved in (x + amounts, x - amounts):
        changed |= op.run(*inputs[:k], moved, *inputs[k + 1 :])[0] != output
    return changed


def _multiplied(
    op: ops.Product | ops.Einsum, mask: np.ndarray, inputs: Arrays, k: int
) -> np.ndarray:
    """Which elements of one input go into masked sums with factors that are not 0."""
    *given, out = op.labels(inputs)
    x, labels = inputs[k], given[k]
    if len({*labels}) < len(labels):  # a diagonal
        return np.ones(x.shape, bool)
    letters = [letter for part in given for letter in part]
    parts = [(mask, out), (np.ones(x.shape), labels)]
    parts += [(inputs[at] != 0, part) for at, part in enumerate(given) if at != k]
    operands = [
        operand
        for array, part in parts
        for operand in (array.astype(float), [letters.index(letter) for letter in part])
    ]
    counts = np.einsum(*operands, [letters.index(letter) for letter in labels], optimize=True)
    return narrowed(counts > 0.5, x.shape)
