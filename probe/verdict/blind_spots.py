"""What this input, on these weights, could not have revealed: mistakes that would have left the
output as it is."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np

from probe.evaluation.allowance import Values
from probe.numerics.dtypes import widened
from probe.ops import Add, Attention, Mul, Product, Transpose
from probe.ops.step import Step, weights_of
from probe.ops.weight import Weight

__all__ = ["blind_spots"]

_SAME = 2.0**-22
"""What differs by less of the largest value is float32's rounding."""


def blind_spots(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values
) -> tuple[str, ...]:
    """A sentence for each mistake that this check cannot see; empty where the input and the weights
    leave none."""
    if all(isinstance(step.op, Transpose) for step in steps):
        return ()
    sentences: list[str] = []
    for position, step in enumerate(steps):
        operands = [ref.of(inputs, values) for ref in step.sources(position)]
        if operands and operands[0].size:
            sentences += step.op.undetected(operands)
            sentences += _epsilon(step.op, operands, values[position][0])
            sentences += _gain(step.op)
            sentences += _heads(step.op, operands)
        if isinstance(step.op, Add):
            sentences += _rotation(steps, position, inputs, values)
    for weight in weights_of(tuple(steps)).values():
        sentences += _scales(weight)
    for number, x in enumerate(inputs):
        sentences += _constant(x, "the input" if len(inputs) == 1 else f"input {number}")
    return tuple(dict.fromkeys(sentences))


def _constant(x: np.ndarray, name: str) -> Iterator[str]:
    if x.size < 2 or x.dtype.kind not in "fiub" or x.min() != x.max():
        return
    if x.flat[0]:
        yield f"{name} is constant, so a wrong order of its elements gives the same output"
    else:
        yield f"{name} is all zero, so what multiplies it could be anything"


def _epsilon(op: Any, inputs: Sequence[np.ndarray], y: np.ndarray) -> Iterator[str]:
    """Of an op that keeps a denominator from 0."""
    if not getattr(op, "epsilon", 0.0) or y.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):
        other = np.asarray(replace(op, epsilon=10 * op.epsilon).run(*map(widened, inputs))[0])
        moved = np.abs(other - y).max(initial=0.0)
    if moved <= _SAME * np.abs(y).max(initial=0.0):
        yield (
            f"an epsilon of {10 * op.epsilon:g} instead of {op.epsilon:g} changes less than "
            "rounding does, so another epsilon would not be detected"
        )


def _gain(op: Any) -> Iterator[str]:
    gain = getattr(op, "scale", None)
    if isinstance(gain, Weight) and (gain.value == 1).all():
        yield f"{gain.name} is all one, so omitting it would not change the output"


def _heads(op: Any, inputs: Sequence[np.ndarray]) -> Iterator[str]:
    """Of scores of several heads of queries, (batch, heads, queries, d), with one of keys."""
    if not isinstance(op, Attention | Product) or inputs[0].ndim < 4 or inputs[1].ndim < 4:
        return
    if inputs[0].shape[-3] > 1 and (inputs[1] == inputs[1][..., :1, :, :]).all():
        yield (
            "one key and value head serves all heads of queries, so another order of repeating "
            "heads would not be detected"
        )


def _rotation(
    steps: Sequence[Step], position: int, inputs: Sequence[np.ndarray], values: Values
) -> Iterator[str]:
    """Of x cos + turned(x) sin, where no feature is turned."""
    for plain, turned in permutations(steps[position].sources(position), 2):
        if not all(
            ref.step >= 0 and isinstance(steps[ref.step].op, Mul) for ref in (plain, turned)
        ):
            continue
        cosines, sines = (
            [source.of(inputs, values) for source in steps[ref.step].sources(ref.step)]
            for ref in (plain, turned)
        )
        if any((cosine == 1).all() for cosine in cosines) and any(not sine.any() for sine in sines):
            yield (
                "every angle of the rotary embedding is 0 (position 0 alone), so other pairs of "
                "features, another base or direction would not be detected"
            )
            return


def _scales(weight: Weight) -> Iterator[str]:
    """Of a weight that has several scales."""
    scale = None if weight.grid is None else np.asarray(weight.grid.scale)
    if scale is None or scale.size < 2:
        return
    blocks = scale.reshape([size for size in scale.shape if size > 1])
    if (scale == scale.flat[0]).all():
        yield f"all scales of {weight.name} are equal, so those of another axis would not differ"
    elif blocks.ndim == 2 and np.array_equal(blocks, blocks.T):
        yield (
            f"the scales of {weight.name} are the same read by rows or by columns, so transposed "
            "ones would not be detected"
        )
