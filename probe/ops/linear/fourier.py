"""Discrete Fourier transforms, of complex numbers given and returned as their real and imaginary
parts."""

import math
from dataclasses import dataclass

import numpy as np

from probe.errors import Undescribed
from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_sums
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.contributions import Contributions, Terms, box
from probe.ops.weight import Weight

__all__ = ["Fourier"]

_EACH = 4.0
"""What one of log2(N) stages may lose, in unit roundoffs of the root of all squares: six of 0.6,
the measured scale of a transform by powers of two (Schatzman, "Accuracy of the discrete Fourier
transform and the fast Fourier transform", SIAM J. Sci. Comput. 17, 1996)."""


_ANGLES = 30.0
"""What angles in the line's own dtype lose for each of its elements; ONNX Runtime 1.32 was seen to
lose 13."""
_LONGEST = 2048
_SHORT = 32


@dataclass(frozen=True, eq=False)
class Fourier(Op):
    """Sums of x[n] e^(-2 pi i k n / N) over ``axes`` (e^(+...) for the ``inverse``) times
    ``scale``; ONNX's DFT.

    Inputs: the real parts and, unless all are 0, the imaginary ones. Outputs: the real parts, the
    imaginary parts.
    """

    axes: tuple[int, ...] = (-1,)
    inverse: bool = False
    scale: float = 1.0
    coarse: bool = False
    """Whether the framework computes its angles in its own dtype, which is off by more the longer a
    line is: ONNX Runtime's DFT."""
    output_count = 2

    def summary(self, inputs: Arrays) -> str:
        sizes = " x ".join(str(inputs[0].shape[axis]) for axis in self.axes)
        kind = "complex" if len(inputs) > 1 else "real"
        return (
            f"the {'inverse ' if self.inverse else ''}Fourier transform of {sizes} {kind} "
            f"numbers, times {self.scale:g}"
        )

    def count(self, inputs: Arrays) -> int:
        """How many numbers one transform takes."""
        return math.prod(inputs[0].shape[axis] for axis in self.axes)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x = inputs[0] if len(inputs) == 1 else inputs[0] + 1j * inputs[1]
        dtype = inputs[0].dtype
        if self.inverse:
            found = np.fft.ifftn(x, axes=self.axes, norm="forward")
        else:
            found = np.fft.fftn(x, axes=self.axes)
        return (found.real * self.scale).astype(dtype), (found.imag * self.scale).astype(dtype)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """What the stages of a fast transform lose, everywhere alike, or what a sum of products
        does; slacks are independent.

        Where one output holds nearly everything (a tone, a mean far from 0), its last digits leak
        into the others.
        """
        count, scale = self.count(of.inputs), abs(self.scale)
        stages = (
            (2 if precision.casts else 1) * _EACH * precision.unit * (1 + math.log2(max(2, count)))
        )
        finite = [np.where(np.isfinite(x), x, 0.0) for x in of.inputs]
        squares = sum(np.square(x).sum(axis=self.axes, keepdims=True) for x in finite)
        if precision.certain:
            size = sum(np.abs(x).sum(axis=self.axes, keepdims=True) for x in finite)
            own = [
                np.maximum(stages, (len(of.inputs) * count + 2) * precision.unit) * scale * size
            ] * 2
        else:
            size = np.sqrt(squares)
            sums = [
                of_sums(
                    len(of.inputs) * count,
                    y / (scale or 1.0),
                    np.broadcast_to(squares, y.shape),
                    precision,
                )
                for y in of.outputs
            ]
            own = [np.maximum(stages * size, total) * scale for total in sums]
        peak = np.hypot(*of.outputs).max(axis=self.axes, keepdims=True, initial=0.0)
        more = 2 * precision.unit * np.where(np.isfinite(peak), peak, 0.0) + count * precision.tiny
        if self.coarse:
            more = more + _ANGLES * precision.unit * scale * size * sum(
                of.inputs[0].shape[axis] for axis in self.axes
            )
        moved = [
            np.square(slack).sum(axis=self.axes, keepdims=True)
            for slack in of.slacks
            if slack is not None
        ]
        if moved:
            more = more + scale * np.sqrt(sum(moved))
        return tuple(
            np.broadcast_to(bound + more, y.shape) for bound, y in zip(own, of.outputs, strict=True)
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        """As products with matrices of cosines and sines: ONNX Runtime's DFT computes its angles in
        float32, and loses digits."""
        shape = graph.shape(inputs[0])
        if len(inputs) > 1:
            real, imaginary = inputs
        else:
            real, imaginary = (inputs[0], graph.op("Mul", inputs[0], graph.const(0.0)))
        for axis in self.axes:
            perm: list[int] = [
                *(k for k in range(len(shape)) if k != axis % len(shape)),
                axis % len(shape),
            ]
            back = [perm.index(k) for k in range(len(shape))]
            turned = [
                graph.op(
                    "Reshape", graph.op("Transpose", x, perm=perm), graph.const([-1, shape[axis]])
                )
                for x in (real, imaginary)
            ]
            sizes = graph.const([shape[k] for k in perm])
            found = self._line(graph, turned[0], turned[1], shape[axis])
            real, imaginary = (
                graph.op("Transpose", graph.op("Reshape", x, sizes), perm=back) for x in found
            )
        by = graph.const(float(self.scale))
        if self.scale == 1:
            return (real, imaginary)
        return (graph.op("Mul", real, by), graph.op("Mul", imaginary, by))

    def _line(self, graph: Graph, real: str, imaginary: str, size: int) -> tuple[str, str]:
        """Of rows (lines, size). In two steps where the size has factors (Cooley and Tukey, 1965),
        so that no sum is long."""
        first = max(k for k in range(1, math.isqrt(size) + 1) if size % k == 0)
        if size <= _SHORT:
            return self._product(graph, real, imaginary, self._matrix(size, size, size))
        if first == 1:
            return self._pieces(graph, real, imaginary, size)
        second, to = size // first, graph.const([-1, first])
        shape = graph.const([-1, first, second])
        x = [
            graph.op("Transpose", graph.op("Reshape", part, shape), perm=[0, 2, 1])
            for part in (real, imaginary)
        ]
        x = list(
            self._line(graph, graph.op("Reshape", x[0], to), graph.op("Reshape", x[1], to), first)
        )
        cosine, sine = (graph.const(part[None]) for part in self._matrix(second, first, size))
        x = [graph.op("Reshape", part, graph.const([-1, second, first])) for part in x]
        mixed = (
            graph.op("Add", graph.op("Mul", x[0], cosine), graph.op("Mul", x[1], sine)),
            graph.op("Sub", graph.op("Mul", x[1], cosine), graph.op("Mul", x[0], sine)),
        )
        rows = [
            graph.op(
                "Reshape", graph.op("Transpose", part, perm=[0, 2, 1]), graph.const([-1, second])
            )
            for part in mixed
        ]
        found = [
            graph.op("Reshape", part, shape) for part in self._line(graph, rows[0], rows[1], second)
        ]
        real, imaginary = (
            graph.op(
                "Reshape", graph.op("Transpose", part, perm=[0, 2, 1]), graph.const([-1, size])
            )
            for part in found
        )
        return real, imaginary

    def _pieces(self, graph: Graph, real: str, imaginary: str, size: int) -> tuple[str, str]:
        """A long line without factors: its sums piece by piece."""
        if size > _LONGEST:
            raise Undescribed(
                f"a Fourier transform of length {size}, a number without small factors, would "
                "need too large a matrix"
            )
        count = math.isqrt(size) + 1
        each = -(-size // count)
        more = graph.const([0, 0, 0, count * each - size])
        matrices = [
            np.pad(part, ((0, count * each - size), (0, 0))).reshape(count, each, size)
            for part in self._matrix(size, size, size)
        ]
        pieces = [
            graph.op(
                "Transpose",
                graph.op("Reshape", graph.op("Pad", x, more), graph.const([-1, count, each])),
                perm=[1, 0, 2],
            )
            for x in (real, imaginary)
        ]
        found = self._product(graph, pieces[0], pieces[1], (matrices[0], matrices[1]))
        real, imaginary = (graph.op("ReduceSum", x, graph.const([0]), keepdims=0) for x in found)
        return real, imaginary

    def _matrix(self, rows: int, columns: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines, and sines with the sign of the direction."""
        turns = np.outer(np.arange(rows), np.arange(columns)) % size / size * (2 * np.pi)
        return np.cos(turns), np.sin(turns) * (-1 if self.inverse else 1)

    def _product(
        self, graph: Graph, real: str, imaginary: str, matrix: tuple[np.ndarray, np.ndarray]
    ) -> tuple[str, str]:
        cosine, sine = (graph.const(part) for part in matrix)
        return (
            graph.op("Add", graph.op("MatMul", real, cosine), graph.op("MatMul", imaginary, sine)),
            graph.op("Sub", graph.op("MatMul", imaginary, cosine), graph.op("MatMul", real, sine)),
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        seen = np.broadcast_to(mask.any(axis=self.axes, keepdims=True), inputs[0].shape).copy()
        return (seen,) * len(inputs)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        x = inputs[0]
        axes = [axis % x.ndim for axis in self.axes]
        places = box(
            [range(size) if axis in axes else at[axis] for axis, size in enumerate(x.shape)]
        )
        turns = sum((places[:, axis] * at[axis] % x.shape[axis]) / x.shape[axis] for axis in axes)
        angle = 2 * np.pi * np.asarray(turns, np.float64) * (-1 if self.inverse else 1)
        rows = np.arange(len(places))[:, None]
        terms = []
        for index, (name, share) in enumerate(
            (("cosine", np.cos(angle)), ("sine", np.sin(angle)))[: len(inputs)]
        ):
            factor = Weight(name, share * self.scale, share * self.scale)
            terms.append(Terms(places, input=index, factor=factor, factor_where=rows))
        return Contributions(tuple(terms))
