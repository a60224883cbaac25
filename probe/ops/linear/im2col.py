"""Windows as columns and back: im2col and col2im, in any number of spatial axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_partial_sums, of_sums
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Op, Rearrangement
from probe.ops.contributions import Contributions, Terms
from probe.ops.window.sliding_windows import Pads, flat, padded, windows

__all__ = ["Col2Im", "Im2Col"]


def _counts(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    dilations: Sequence[int],
) -> tuple[int, ...]:
    """How many windows there are on each axis."""
    return tuple(
        (n + sum(pad) - (k - 1) * d - 1) // s + 1
        for n, k, s, pad, d in zip(sizes, kernel, strides, pads, dilations, strict=True)
    )


@dataclass(frozen=True, eq=False)
class Im2Col(Rearrangement):
    """The windows of (batch, channel, *spatial) as (batch, channel * taps, windows); cells of the
    padding are 0 (PyTorch's Unfold)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: Pads
    dilations: tuple[int, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        view = windows(padded(x, self.pads), self.kernel, self.strides, self.dilations)
        rank = len(self.kernel)
        turned = view.transpose(0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))
        return (
            turned.reshape(
                x.shape[0], x.shape[1] * math.prod(self.kernel), math.prod(view.shape[2 : 2 + rank])
            ),
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, (batch, channels, *sizes) = inputs[0], graph.shape(inputs[0])
        rank = len(self.kernel)
        if any(flat(self.pads)):
            before, after = flat(self.pads)[:rank], flat(self.pads)[rank:]
            x = graph.op("Pad", x, graph.const([0, 0, *before, 0, 0, *after]))
        split = [batch, channels]
        for axis, (n, k, s, d, pad) in enumerate(
            zip(sizes, self.kernel, self.strides, self.dilations, self.pads, strict=True)
        ):
            count = (n + pad[0] + pad[1] - d * (k - 1) - 1) // s + 1
            x = graph.op(
                "Gather",
                x,
                graph.const([tap * d + i * s for tap in range(k) for i in range(count)]),
                axis=2 + axis,
            )
            split += [k, count]
        x = graph.op("Reshape", x, graph.const(split))
        x = graph.op(
            "Transpose", x, perm=[0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2)]
        )
        return (
            graph.op(
                "Reshape",
                x,
                graph.const([batch, channels * math.prod(split[2::2]), math.prod(split[3::2])]),
            ),
        )

    def follow(self, where: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
        sizes = inputs[0].shape[2:]
        counts = _counts(sizes, self.kernel, self.strides, self.pads, self.dilations)
        channel, *taps = np.unravel_index(where[:, 1], (inputs[0].shape[1], *self.kernel))
        places = np.unravel_index(where[:, 2], counts)
        back = [where[:, 0], channel]
        inside = np.ones(len(where), bool)
        for tap, place, s, d, (before, _), n in zip(
            taps, places, self.strides, self.dilations, self.pads, sizes, strict=True
        ):
            at = place * s + tap * d - before
            inside &= (at >= 0) & (at < n)
            back.append(at)
        return np.where(inside, 0, -1), np.stack(back, axis=1)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is None:
            return (np.zeros(of.outputs[0].shape),)
        return self.run(of.slacks[0])


@dataclass(frozen=True, eq=False)
class Col2Im(Op):
    """Columns (batch, channel * taps, windows) added up where they lie in (batch, channel, *sizes)
    (ONNX Col2Im; PyTorch's Fold)."""

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: Pads
    dilations: tuple[int, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        counts = _counts(self.sizes, self.kernel, self.strides, self.pads, self.dilations)
        channels = x.shape[1] // math.prod(self.kernel)
        columns = x.reshape(x.shape[0], channels, *self.kernel, *counts)
        whole = np.zeros(
            (
                x.shape[0],
                channels,
                *(n + sum(pad) for n, pad in zip(self.sizes, self.pads, strict=True)),
            ),
            x.dtype,
        )
        # columns without elements have any number of taps
        for tap in np.ndindex(*self.kernel) if columns.size else ():
            cells = [
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, self.dilations, counts, self.strides, strict=True)
            ]
            whole[(slice(None), slice(None), *cells)] += columns[(slice(None), slice(None), *tap)]
        inner = [
            slice(before, before + n) for n, (before, _) in zip(self.sizes, self.pads, strict=True)
        ]
        return (np.ascontiguousarray(whole[(slice(None), slice(None), *inner)]),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        sizes, kernel = graph.const(list(self.sizes)), graph.const(list(self.kernel))
        return (
            graph.op(
                "Col2Im",
                inputs[0],
                sizes,
                kernel,
                strides=self.strides,
                pads=flat(self.pads),
                dilations=self.dilations,
            ),
        )

    def summary(self, inputs: Arrays) -> str:
        return (
            f"windows of {' x '.join(map(str, self.kernel))} with strides "
            f"{' x '.join(map(str, self.strides))}, summed where they overlap"
        )

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        return math.prod(
            -(-k // (s // math.gcd(s, d)))
            for k, s, d in zip(self.kernel, self.strides, self.dilations, strict=True)
        )

    def _sources(self, where: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows of taps, windows, whether they exist), each (elements, taps)."""
        counts = _counts(self.sizes, self.kernel, self.strides, self.pads, self.dilations)
        taps = np.stack(np.unravel_index(np.arange(math.prod(self.kernel)), self.kernel), axis=1)
        window = np.zeros((len(where[0]), len(taps)), int)
        inside = np.ones(window.shape, bool)
        for axis, (at, s, d, (before, _), n) in enumerate(
            zip(where[2:], self.strides, self.dilations, self.pads, counts, strict=True)
        ):
            shifted = np.asarray(at)[:, None] + before - taps[:, axis] * d
            inside &= (shifted % s == 0) & (shifted >= 0) & (shifted // s < n)
            window = window * n + np.clip(shifted // s, 0, n - 1)
        return np.asarray(where[1])[:, None] * len(taps) + np.arange(len(taps)), window, inside

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, 1, taps), zeros for taps that reach
        nothing."""
        row, window, inside = self._sources(where)
        return np.where(inside, inputs[0][where[0][:, None], row, window], 0.0)[:, None]

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        own = of_sums(
            self.term_count(of.inputs, of.outputs),
            of.outputs[0],
            self.run(np.square(of.inputs[0]))[0],
            precision,
        )
        if of.few is not None:
            own[of.few] = np.maximum(
                own[of.few], of_partial_sums(self.terms(of.inputs, of.few), precision)
            )
        return (own if of.slacks[0] is None else own + self.run(of.slacks[0])[0],)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        found = np.zeros(inputs[0].shape, bool)
        where = np.nonzero(mask)
        row, window, inside = self._sources(where)
        batch = np.broadcast_to(where[0][:, None], row.shape)
        found[batch[inside], row[inside], window[inside]] = True
        return (found,)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        row, window, inside = self._sources([np.array([i]) for i in at])
        rows = np.column_stack([np.full(int(inside.sum()), at[0]), row[inside], window[inside]])
        return Contributions((Terms(rows),))
