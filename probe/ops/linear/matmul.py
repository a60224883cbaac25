"""Matrix products."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Graph, Indices, Sum
from probe.ops.contributions import Contributions, Terms, box
from probe.ops.exactness import without_rounding
from probe.ops.linear.im2col_gemm import holds, narrows, powered, scale_of
from probe.ops.weight import Weight, zero_bias
from probe.ops.weight_effects import affordable, of_channels, of_products, sizes

__all__ = ["MatMul"]

_BLOCK, _PIECE, _FEW = 1 << 20, 1 << 17, 8
"""How much of a weight is widened at once; for so few rows, where that takes longer than the
product, no more than caches hold."""
_PART = 8


def _product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x @ w by blocks of columns, so that a wide w is never held twice in float64."""
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim > 2 else x
    if w.dtype == x.dtype:
        return np.asarray(rows @ w).reshape(*x.shape[:-1], w.shape[1])
    out = np.empty((*rows.shape[:-1], w.shape[1]), x.dtype)
    for columns in _columns(w, rows):
        np.matmul(rows, w[:, columns].astype(x.dtype, copy=False), out=out[..., columns])
    return out.reshape(*x.shape[:-1], w.shape[1])


def _squared_product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x² @ w², for allowances: in float32 where that holds it, else on data scaled to 1 or in
    float64, and then in float64."""
    plain, floor = narrows(x, w, w.shape[0])
    by_x, by_w = (1.0, 1.0) if plain else (scale_of(x), scale_of(w))
    narrow = plain or (holds(by_x) and holds(by_w))
    dtype = np.dtype(np.float32 if narrow else np.float64)
    by_x, by_w = (by_x, by_w) if narrow else (1.0, 1.0)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim > 2 else x
    rows = powered(rows, dtype, 2, by_x)
    out = np.empty((*rows.shape[:-1], w.shape[1]), np.float32 if plain else np.float64)
    for columns in _columns(w, rows):
        out[..., columns] = rows @ powered(w[:, columns], dtype, 2, by_w)
    if plain:
        out += np.float32(floor)
    elif narrow:
        out += w.shape[0] * 2.0**-126
        out *= (by_x * by_w) ** -2
    return out.reshape(*x.shape[:-1], w.shape[1])


def _columns(w: np.ndarray, rows: np.ndarray) -> Iterator[slice]:
    # a few columns of (in, out) lie far apart in memory
    small = rows.size <= _FEW * w.shape[0] and w.T.flags.c_contiguous
    step = max(1, (_PIECE if small else _BLOCK) // max(1, w.shape[0]))
    return (slice(start, start + step) for start in range(0, w.shape[1], step))


@dataclass(frozen=True, eq=False)
class MatMul(Sum):
    """x (..., in) times weight (in, out), plus bias (out,) (ONNX MatMul and Add)."""

    weight: Weight
    bias: Weight | None
    samplewise = True

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        return (*shapes[0][:-1], self.weight.value.shape[1])

    def undetected(self, inputs: Arrays) -> list[str]:
        return zero_bias(self.bias)

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        width = self.weight.value.shape[1]
        rows = sizes(inputs[0]).reshape(-1, self.weight.value.shape[0])
        of_rows = None if worth is None else worth.reshape(-1, width)
        cheap = of_rows is None or of_rows.all() or affordable(rows.size, of_rows)
        found = {"weight": of_products(rows, of_rows)} if cheap else {}
        if self.bias is not None:
            found["bias"] = of_channels(np.ones((len(rows), 1)), of_rows, (0,), (-1,))
        return found

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        added = [] if self.bias is None else [self.bias.value]
        return without_rounding(
            [(self.weight.value.shape[0], [inputs[0], self.weight.value])], added, precision
        )

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        out = _product(inputs[0], self.weight.value)
        if self.bias is not None:
            out += self.bias.value.astype(out.dtype)
        return (out,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        turned = graph.turned(self.weight)
        if turned is None:
            product = graph.op("MatMul", inputs[0], graph.weight(self.weight))
            return (
                product if self.bias is None else graph.op("Add", product, graph.weight(self.bias)),
            )
        # Gemm takes (out, in) as it is, and wants two axes.
        sizes = graph.op("Concat", graph.op("Shape", inputs[0], end=-1), graph.const([-1]), axis=0)
        bias = () if self.bias is None else (graph.weight(self.bias),)
        product = graph.op("Gemm", graph.op("Flatten", inputs[0], axis=-1), turned, *bias, transB=1)
        return (graph.op("Reshape", product, sizes),)

    def summary(self, inputs: Arrays) -> str:
        return f"each output is a sum over {self.weight.value.shape[0]} inputs" + (
            ", plus the bias" if self.bias is not None else ""
        )

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        return self.weight.value.shape[0] + (self.bias is not None)

    def sum_of_squares(self, inputs: Arrays) -> np.ndarray:
        return self._with_bias(_squared_product(inputs[0], self.weight.value))

    def intermediates(self, inputs: Arrays, y: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.bias is None:
            return ()
        return (y - self.bias.value.astype(np.float64),)

    def _with_bias(self, out: np.ndarray) -> np.ndarray:
        if self.bias is not None:
            squared = np.square(self.bias.value.astype(np.float64))
            if squared.max(initial=0) > 1e30:
                out = out.astype(np.float64, copy=False)
            np.add(out, squared, out=out, casting="same_kind")
        return out

    def partial_squares_pay(self, inputs: Arrays, outputs: Arrays) -> bool:
        return (
            math.prod(self.weight.value.shape) >= 1 << 14
            and self.weight.value.shape[0] >= 16 * _PART
        )

    def partial_squares(self, inputs: Arrays) -> np.ndarray:
        """The squares of every eighth input."""
        return self._with_bias(
            _squared_product(
                inputs[0][..., ::_PART].astype(np.float32),
                self.weight.value[::_PART].astype(np.float32),
            )
        )

    def propagate(self, slack: np.ndarray) -> np.ndarray:
        return np.sqrt(_squared_product(slack, self.weight.value), dtype=np.float64)

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, in, 1), the bias first where there is
        one."""
        *rows, columns = where
        terms = inputs[0][tuple(rows)] * self.weight.value[:, columns].T.astype(np.float64)
        if self.bias is not None:
            terms = np.concatenate(
                [self.bias.value[columns].astype(np.float64)[:, None], terms], axis=1
            )
        return terms[:, :, None]

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        count = self.weight.value.shape[0]
        where = box([*at[:-1], range(count)])
        return Contributions(
            (Terms(where, factor=self.weight, factor_where=box([range(count), at[-1]])),),
            bias=self.bias,
            bias_where=at[-1:],
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=-1, keepdims=True), inputs[0].shape),)
