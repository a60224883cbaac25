"""Transposed convolution: every input element adds its multiple of the kernel to the output,
``strides`` apart.

Layouts are (batch, channel, *spatial) for data and (in channel, out channel / groups, *kernel) for
kernels, as in ONNX.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Sum
from probe.ops.contributions import Contributions, Terms, box
from probe.ops.linear.im2col_gemm import holds, powered, scale_of
from probe.ops.weight import Weight
from probe.ops.weight_effects import (
    affordable,
    by_group,
    of_channels,
    of_products,
    sizes,
)
from probe.ops.window.sliding_windows import Pads, flat

__all__ = ["ConvTranspose"]

_BLOCK = 1 << 21


@dataclass(frozen=True, eq=False)
class ConvTranspose(Sum):
    """The sum of the kernels that all inputs add, cropped (ONNX ConvTranspose). Input (batch,
    channel, *spatial).

    The uncropped size of an axis is (in - 1) * stride + (kernel - 1) * dilation + 1. ``crops`` are
    taken off it as (before, after); a negative one adds elements that only the bias reaches
    (PyTorch's ``output_padding``). The kernel is (in channel, out channel / groups, *kernel); where
    ``weight`` is None it is the second input.
    """

    weight: Weight | None
    bias: Weight | None
    strides: tuple[int, ...]
    crops: Pads
    dilations: tuple[int, ...]
    groups: int = 1

    def _kernel(self, inputs: Arrays) -> np.ndarray:
        if self.weight is None:
            return inputs[1]
        return self.weight.value

    def _sizes(self, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        return tuple(
            (n - 1) * s + (k - 1) * d + 1 - before - after
            for n, s, k, d, (before, after) in zip(
                sizes, self.strides, kernel, self.dilations, self.crops, strict=True
            )
        )

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        out = self._spread(x, self._kernel(inputs), x.dtype, 1, (1.0, 1.0))
        if self.bias is not None:
            out += self.bias.value.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 2))
        return (out,)

    def _spread(
        self, x: np.ndarray, w: np.ndarray, dtype: np.dtype, power: int, scales: tuple[float, float]
    ) -> np.ndarray:
        """Products of all inputs with all taps, matrix by matrix, each tap's added where it
        belongs."""
        groups, width, deep = self.groups, w.shape[0] // self.groups, w.shape[1]
        sizes, kernel = x.shape[2:], w.shape[2:]
        out = np.zeros((x.shape[0], groups * deep, *self._sizes(sizes, kernel)), dtype)
        # (groups, taps, out channel, in channel): a run of taps is one matrix
        matrix = powered(
            np.moveaxis(w.reshape(groups, width, deep, -1), (3, 2), (1, 2)), dtype, power, scales[1]
        )
        taps = list(np.ndindex(*kernel))
        for sample, image in zip(out, x, strict=True):
            for first in range(0, sizes[0], rows := self._rows(sizes, groups * deep)):
                part = powered(image[:, first : first + rows], dtype, power, scales[0])
                columns = part.reshape(groups, width, -1)
                step = max(1, _BLOCK // max(1, groups * deep * columns.shape[2]))
                for start in range(0, len(taps), step):
                    run = matrix[:, start : start + step].reshape(groups, -1, width)
                    product = np.matmul(run, columns).reshape(groups, -1, deep, *part.shape[1:])
                    for i, tap in enumerate(taps[start : start + step]):
                        self._add(
                            sample,
                            product[:, i].reshape(groups * deep, *part.shape[1:]),
                            tap,
                            first,
                        )
        return out

    def _rows(self, sizes: Sequence[int], channels: int) -> int:
        """How many places of the first axis one product takes."""
        return max(1, _BLOCK // max(1, channels * math.prod(sizes[1:])))

    def _add(self, out: np.ndarray, product: np.ndarray, tap: Sequence[int], first: int) -> None:
        """Adds one tap's products; those that the crops cut off are left out."""
        source, target = self._places(tap, product.shape[1:], out.shape[1:], first)
        out[(slice(None), *target)] += product[(slice(None), *source)]

    def _places(
        self, tap: Sequence[int], sizes: Sequence[int], counts: Sequence[int], first: int = 0
    ) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Where the inputs lie that a tap adds, and the outputs that it adds them to; ``first`` is
        the place of the first of the inputs on their first axis."""
        source, target = list[slice](), list[slice]()
        for axis, (t, s, d, (before, _), size, count) in enumerate(
            zip(tap, self.strides, self.dilations, self.crops, sizes, counts, strict=True)
        ):
            shift = t * d - before + (0 if axis else first * s)
            low = max(0, -(shift // s))
            high = max(low, min(size, (count - 1 - shift) // s + 1))
            source.append(slice(low, high))
            start = low * s + shift
            target.append(slice(start, start + (high - low) * s, s) if high > low else slice(0))
        return tuple(source), tuple(target)

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        if self.weight is None:
            return {}
        effect = self._effect(sizes(inputs[0]), worth, self.weight.value.shape)
        found = {} if effect is None else {"weight": effect}
        if self.bias is not None:
            axes = (0, *range(2, inputs[0].ndim))
            ones = np.ones((1, len(self.bias.value), *(1,) * len(self.strides)))
            found["bias"] = of_channels(ones, worth, axes, (-1,))
        return found

    def _effect(
        self, x: np.ndarray, worth: np.ndarray | None, shape: Sequence[int]
    ) -> np.ndarray | None:
        counts, both, taps = self._sizes(x.shape[2:], shape[2:]), slice(None), []
        if worth is not None and not worth.all():
            rows = by_group(worth, self.groups)
            if not affordable(x.size * math.prod(shape[2:]), rows):
                return None
        for tap in np.ndindex(*shape[2:]):
            source, target = self._places(tap, x.shape[2:], counts)
            reached = None if worth is None else worth[(both, both, *target)]
            taps.append(
                of_products(
                    by_group(x[(both, both, *source)], self.groups),
                    None if reached is None else by_group(reached, self.groups),
                )
            )
        effect = np.stack(taps, axis=-1)
        whole = (*effect.shape[:2], shape[1], effect.shape[-1])
        return np.broadcast_to(effect, whole).reshape(shape)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        if self.weight is None:
            kernel = inputs[1]
        else:
            kernel = graph.weight(self.weight)
        more = [max(0, -crop) for crop in flat(self.crops)]
        # Where the output also goes on, cropping waits until it has: ONNX Runtime wants something
        # left in between.
        pads = [0 if any(more) else crop for crop in flat(self.crops)]
        out = graph.op(
            "ConvTranspose",
            inputs[0],
            kernel,
            strides=self.strides,
            pads=pads,
            dilations=self.dilations,
            group=self.groups,
        )
        if any(more):
            rank = len(self.crops)
            out = graph.op("Pad", out, graph.const([0, 0, *more[:rank], 0, 0, *more[rank:]]))
            starts, ends = zip(
                *((max(0, before), -max(0, after) or 2**31) for before, after in self.crops),
                strict=True,
            )
            out = graph.op(
                "Slice",
                out,
                graph.const(list(starts)),
                graph.const(list(ends)),
                graph.const(list(range(2, 2 + rank))),
            )
        if self.bias is not None:
            column = graph.op(
                "Reshape", graph.weight(self.bias), graph.const([-1, *(1,) * len(self.crops)])
            )
            out = graph.op("Add", out, column)
        return (out,)

    def summary(self, inputs: Arrays) -> str:
        w = self._kernel(inputs)
        text = (
            f"each input element adds a {' x '.join(map(str, w.shape[2:]))} kernel, strides "
            f"{' x '.join(map(str, self.strides))}; "
        )
        channels = w.shape[0] // self.groups
        text += (
            f"an output is a sum over up to {self._overlaps(w.shape[2:])} positions and "
            f"{channels} channel{'s' * (channels != 1)}"
        )
        if self.groups > 1:
            text += f" of its group (of {self.groups})"
        if self.bias is not None:
            text += ", plus the bias"
        return text

    def _overlaps(self, kernel: Sequence[int]) -> int:
        """How many taps reach one output at most: those a whole number of strides apart."""
        return math.prod(
            -(-k // (s // math.gcd(s, d)))
            for k, s, d in zip(kernel, self.strides, self.dilations, strict=True)
        )

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        w = self._kernel(inputs)
        return w.shape[0] // self.groups * self._overlaps(w.shape[2:]) + (self.bias is not None)

    def _squares(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """The op on squares, in float32 on data scaled to 1 where that holds it (within 1e-4)."""
        by_x, by_w = scale_of(x), scale_of(w)
        if not (holds(by_x) and holds(by_w)):
            return self._spread(x, w, np.dtype(np.float64), 2, (1.0, 1.0))
        narrow = self._spread(x, w, np.dtype(np.float32), 2, (by_x, by_w))
        out = np.multiply(narrow, (by_x * by_w) ** -2, dtype=np.float64)
        out += math.prod(w.shape) // self.groups // w.shape[1] * 2.0**-126 * (by_x * by_w) ** -2
        return out

    def intermediates(self, inputs: Arrays, y: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.bias is None:
            return ()
        return (y - self.bias.value.astype(np.float64).reshape(-1, *(1,) * (y.ndim - 2)),)

    def sum_of_squares(self, inputs: Arrays) -> np.ndarray:
        out = self._squares(inputs[0], self._kernel(inputs))
        if self.bias is not None:
            out += np.square(self.bias.value.astype(np.float64)).reshape(
                -1, *(1,) * (inputs[0].ndim - 2)
            )
        return out

    def propagate(self, slack: np.ndarray) -> np.ndarray:
        assert self.weight is not None
        return np.sqrt(self._squares(slack, self.weight.value))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        still = of if self.weight is not None else of._replace(slacks=(None,))
        (own,) = super().error_bound(still, precision)
        if self.weight is None:
            for moved in ((of.slacks[0], of.inputs[1]), (of.inputs[0], of.slacks[1])):
                if not any(slack is None for slack in moved):
                    own = own + np.sqrt(
                        self._squares(*(np.asarray(slack, np.float64) for slack in moved))
                    )
        return (own,)

    def _sources(
        self, where: Arrays, sizes: Sequence[int], kernel: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Per spatial axis (elements, taps): which place each tap takes, and whether it takes one
        at all."""
        for at, n, k, s, d, (before, _) in zip(
            where, sizes, kernel, self.strides, self.dilations, self.crops, strict=True
        ):
            shifted = np.asarray(at)[:, None] + before - np.arange(k) * d
            place = shifted // s
            yield np.clip(place, 0, n - 1), (shifted % s == 0) & (place >= 0) & (place < n)

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, channels, taps), the bias first, zeros
        for taps that reach nothing."""
        x, w = inputs[0], self._kernel(inputs)
        kernel, count = w.shape[2:], len(where[0])
        width, deep = w.shape[0] // self.groups, w.shape[1]
        members = (where[1] // deep)[:, None] * width + np.arange(width)
        places, reached = [], np.ones((count, 1), bool)
        for axis, (place, hit) in enumerate(self._sources(where[2:], x.shape[2:], kernel)):
            shape = (count, 1, *(size if i == axis else 1 for i, size in enumerate(kernel)))
            places.append(place.reshape(shape))
            reached = (reached[:, :, None] & hit[:, None]).reshape(count, -1)
        spread = (slice(None), slice(None), *(None,) * len(kernel))
        gathered = x[(where[0].reshape(-1, *(1,) * (len(kernel) + 1)), members[spread], *places)]
        factors = w[members, (where[1] % deep)[:, None]].astype(np.float64)
        terms = (gathered * factors).reshape(count, width, -1) * reached[:, None]
        if self.bias is not None:
            first = np.zeros((count, width, 1))
            first[:, 0, 0] = self.bias.value[where[1]]
            terms = np.concatenate([first, terms], axis=2)
        return terms

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        x, w = inputs[0], self._kernel(inputs)
        split = mask.reshape(mask.shape[0], self.groups, -1, *mask.shape[2:])
        groups = np.any(split, axis=2)
        found = np.zeros((*groups.shape[:2], *x.shape[2:]), bool)
        for tap in np.ndindex(*w.shape[2:]):
            grid = []
            hits = np.ones((), bool)
            for axis, (t, n, s, d, (before, _)) in enumerate(
                zip(tap, x.shape[2:], self.strides, self.dilations, self.crops, strict=True)
            ):
                at = np.arange(n) * s + t * d - before
                hits = hits[..., None] & (at >= 0) & (at < mask.shape[2 + axis])
                grid.append(np.clip(at, 0, mask.shape[2 + axis] - 1))
            found |= groups[(slice(None), slice(None), *np.ix_(*grid))] & hits
        found = np.repeat(found, w.shape[0] // self.groups, axis=1)
        if len(inputs) == 1:
            return (found,)
        return (found, np.full(w.shape, mask.any()))

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        x, w = inputs[0], self._kernel(inputs)
        batch, channel, *position = at
        width, deep = w.shape[0] // self.groups, w.shape[1]
        axes = [
            [(int(p), tap) for tap, (p, ok) in enumerate(zip(place[0], hit[0], strict=True)) if ok]
            for place, hit in self._sources(
                [np.array([i]) for i in position], x.shape[2:], w.shape[2:]
            )
        ]
        picks = box(
            [
                range(channel // deep * width, (channel // deep + 1) * width),
                *(range(len(axis)) for axis in axes),
            ]
        )
        chosen = [
            np.array(axis, int).reshape(-1, 2)[pick]
            for axis, pick in zip(axes, picks[:, 1:].T, strict=True)
        ]
        where = np.column_stack(
            [np.full(len(picks), batch), picks[:, 0], *(picked[:, 0] for picked in chosen)]
        )
        rows = np.column_stack(
            [picks[:, 0], np.full(len(picks), channel % deep), *(picked[:, 1] for picked in chosen)]
        )
        factor = 1 if self.weight is None else self.weight
        terms = Terms(
            where, factor=factor, factor_where=rows, channels=picks[:, 0] if width > 1 else None
        )
        return Contributions((terms,), bias=self.bias, bias_where=(channel,))
