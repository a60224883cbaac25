"""Sums that are kept in 16 bits while they are added up."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probe.hypotheses.precision.low_precision import narrow_weights, narrowed, summing
from probe.hypotheses.registry import hypothesis, more
from probe.numerics.blocks import places
from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Indices, Sum
from probe.trial.case import Case
from probe.trial.edit import Edit
from probe.trial.prices import price

__all__ = ["Accumulated"]

_TERMS, _MANY_TERMS = 1 << 22, 1 << 26
"""Products that may be added up one after another for a whole output, and for one looked at at
length."""
_BLOCK = 1 << 18


_ADDED = 30.0
"""The price of a product that is rounded and added."""


@dataclass(frozen=True, eq=False)
class Accumulated(Sum):
    """Another sum of products, added up one after another in a 16-bit format."""

    inner: Sum
    format: str
    taps_first: bool = False
    """Whether the channels of one tap follow one another, instead of the taps of one channel."""
    bias_first: bool = False
    fused: bool = False
    """Whether a product is added before it is rounded, as by a fused multiply-add."""
    limit: int = _TERMS

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        return self.inner.output_shape(shapes)

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        terms = self.inner.terms(inputs, where)  # type: ignore[misc]
        rows = (terms.swapaxes(1, 2) if self.taps_first else terms).reshape(len(terms), -1)
        if not self.bias_first and getattr(self.inner, "bias", None) is not None:
            rows = np.roll(rows, -1, axis=1)
        return self._added(rows)[:, None, None]

    def _added(self, rows: np.ndarray) -> np.ndarray:
        """The last partial sum of each row."""
        with np.errstate(all="ignore"):
            if self.format == "float16" and not self.fused:
                return np.add.accumulate(rows.astype(np.float16), axis=1, dtype=np.float16)[
                    :, -1
                ].astype(np.float64)
            total = np.zeros(len(rows))
            for term in np.ascontiguousarray(rows.T):
                total = narrowed(
                    total + (term if self.fused else narrowed(term, self.format)), self.format
                )
            return total

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (shaped,) = self.inner.run(*inputs)
        count = self.inner.term_count(inputs, (shaped,))
        if shaped.size * count > self.limit:
            raise ValueError(
                f"{shaped.size * count} products are too many to accumulate one by one"
            )
        out, step = np.empty(shaped.size), max(1, _BLOCK // count)
        for start in range(0, shaped.size, step):
            where = places(np.arange(start, min(start + step, shaped.size)), shaped.shape)
            out[start : start + step] = self.terms(inputs, where)[:, 0, 0]
        return (out.reshape(shaped.shape),)

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        return self.inner.term_count(inputs, outputs)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (precision.unit * np.abs(of.outputs[0]) + precision.tiny,)


@price.register
def _(op: Accumulated, inputs: Arrays, outputs: Arrays) -> float:
    return _ADDED * op.term_count(inputs, outputs) * outputs[0].size


@more("reduced-precision")
def accumulation(case: Case) -> Iterator[Edit]:
    """The accumulator itself in float16 or bfloat16: every partial sum is rounded, so that the
    order of summation shows."""
    found = [(position, op) for position, op in summing(case) if op.terms is not None]
    if not found:
        return
    position, op = found[-1]
    given = [case.input_of(position, i) for i in range(len(case.steps[position].sources(position)))]
    count = op.term_count(given, case.values[position])
    whole = count * math.prod(case.values[position][0].shape)
    limit = _MANY_TERMS if case.thorough else _TERMS
    if whole > limit:
        return
    orders = [(False, "")]
    if case.values[position][0].ndim > 2:
        orders = [(False, "channel by channel"), (True, "kernel position by kernel position")]
    for name in ("float16", "bfloat16"):
        _, weights = narrow_weights(case, name, "ties to even")
        inputs = tuple(narrowed(x, name) if x.dtype.kind == "f" else x for x in case.inputs)
        narrow = case.became_steps(weights)
        for taps_first, told in orders:
            for bias_first in (False, True) if getattr(op, "bias", None) is not None else (False,):
                for fused in (False, True) if case.thorough or count <= 1024 else (False,):
                    how = ", ".join(
                        part
                        for part in (
                            told,
                            "the bias first" if bias_first else "",
                            "fused" if fused else "",
                        )
                        if part
                    )
                    for sides, given_inputs, base in (
                        (", inputs and weights rounded to it", inputs, narrow),
                        ("", case.inputs, case),
                    ):
                        if not sides and not case.thorough and (fused or bias_first):
                            continue
                        inner = base.steps[position].op
                        added = Accumulated(inner, name, taps_first, bias_first, fused, limit)  # type: ignore[arg-type]
                        yield case.edit(
                            f"products are summed in {name}{sides}" + (f" ({how})" if how else ""),
                            base.with_op(position, added),
                            given_inputs,
                            do=(
                                f"accumulate in float32: {name} keeps "
                                f"{'11' if name == 'float16' else '8'} bits of each partial sum"
                            ),
                        )


@hypothesis("rounding")
def rounding(case: Case) -> Iterator[Edit]:
    """No mistake: another order of summation, a fused multiply-add, or another last bit of a
    function.

    Every correct evaluation in the layer's own precision has rounding errors; the allowance is a
    bound on them, computed from the terms of this input. This is reported when the difference is
    within the allowance and only your own tolerances are tighter, or when no mistake fits and the
    worst case of rounding could explain it (Winograd and FFT convolutions, sorted terms).
    """
    yield from ()
