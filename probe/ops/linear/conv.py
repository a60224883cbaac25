"""Convolution. Layouts are (batch, channel, *spatial) for data and (out channel, in channel /
groups, *kernel) for kernels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.dtypes import float_of
from probe.numerics.precision import SIGMAS, Precision
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Sum
from probe.ops.contributions import Contributions, Terms, box
from probe.ops.exactness import without_rounding
from probe.ops.linear.im2col_gemm import convolve, convolve_squares
from probe.ops.linear.winograd_fft import of_fourier, of_winograd
from probe.ops.weight import Weight, zero_bias
from probe.ops.weight_effects import (
    affordable,
    by_group,
    of_channels,
    of_products,
    sizes,
)
from probe.ops.window.same_padding import (
    hides_asymmetry,
    symmetric_padding,
    unreached_padding,
)
from probe.ops.window.sliding_windows import Pads, flat, padded, seen, under, windows

__all__ = ["Conv"]

_PART = 8
_WORTH = 1 << 25
"""So many products at least."""


@dataclass(frozen=True, eq=False)
class Conv(Sum):
    """Cross-correlation (ONNX Conv). Input (batch, channel, *spatial), output (batch, out channel,
    *spatial).

    The kernel is (out channel, in channel / groups, *kernel); where ``weight`` is None it is the
    second input.
    """

    weight: Weight | None
    bias: Weight | None
    strides: tuple[int, ...]
    pads: Pads
    dilations: tuple[int, ...]
    groups: int = 1
    may_use_lossy_algorithm: bool = False
    table_errors: tuple[float, ...] = ()
    """Of a kernel of cosines and sines: how far an entry of each filter may lie from the formula,
    by which an FFT computes."""
    lossy_algorithm = (
        "uses a Winograd or FFT algorithm, which loses more digits than direct summation"
    )
    takes_any_float = True

    @property
    def samplewise(self) -> bool:
        return self.weight is not None

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        batch, _, *sizes = shapes[0]
        if self.weight is None:
            channels, _, *kernel = shapes[1]
        else:
            channels, _, *kernel = self.weight.value.shape
        windows = zip(sizes, self.pads, kernel, self.dilations, self.strides, strict=True)
        counts = ((n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, d, s in windows)
        return (batch, channels, *counts)

    def hides_same_padding(self, shape: Sequence[int]) -> bool:
        if self.weight is None:
            kernel = (1,) * len(self.strides)
        else:
            kernel = self.weight.value.shape[2:]
        return hides_asymmetry(shape, kernel, self.strides, self.pads, self.dilations)

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        if precision.lossy:
            return False
        kernel = inputs[1] if self.weight is None else self.weight.value
        added = [] if self.bias is None else [self.bias.value]
        count = math.prod(kernel.shape[1:])
        return without_rounding([(count, [inputs[0], kernel])], added, precision)

    def undetected(self, inputs: Arrays) -> list[str]:
        x, sentences = inputs[0], zero_bias(self.bias)
        if self.weight is not None:
            kernel = self.weight.value
            flipped = np.flip(kernel, tuple(range(2, kernel.ndim)))
            if math.prod(kernel.shape[2:]) > 1 and np.array_equal(kernel, flipped):
                sentences.append(
                    "every kernel is symmetric, so convolution and cross-correlation give "
                    "the same result"
                )
        padded = any(before or after for before, after in self.pads)
        if padded and not any(np.take(x, [0, -1], axis=axis).any() for axis in range(2, x.ndim)):
            sentences.append(
                "the border of the input is zero, so another padding mode would give the "
                "same result"
            )
        span = self._kernel(inputs).shape[2:]
        if x.ndim == len(self.strides) + 2:
            sentences += unreached_padding(x.shape, span, self.strides, self.pads, self.dilations)
        return sentences + [symmetric_padding(x.shape)] * self.hides_same_padding(x.shape)

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        if self.weight is None:
            return {}
        effect = self._effect(sizes(inputs[0]), worth)
        found = {} if effect is None else {"weight": effect}
        if self.bias is not None:
            axes = (0, *range(2, inputs[0].ndim))
            ones = np.ones((1, len(self.bias.value), *(1,) * (inputs[0].ndim - 2)))
            found["bias"] = of_channels(ones, worth, axes, (-1,))
        return found

    def _effect(self, x: np.ndarray, worth: np.ndarray | None) -> np.ndarray | None:
        assert self.weight is not None
        deep, width, *kernel = self.weight.value.shape
        axes, each = (0, *range(2, x.ndim)), (self.groups, deep // self.groups)
        alike = worth is None or bool(worth.all())
        cells = padded(x.max(axis=0, keepdims=True) if alike else x, self.pads)
        view = windows(cells, kernel, self.strides, self.dilations)
        if alike:
            taps = [view[(..., *tap)].max(axis=axes, initial=0.0) for tap in np.ndindex(*kernel)]
            effect = np.stack(taps, axis=-1).reshape(self.groups, 1, width, *kernel)
            if worth is not None:
                least = worth.min(axis=axes, initial=np.inf)
                effect = effect * least.reshape(*each, *(1,) * (x.ndim - 1))
        else:
            assert worth is not None
            rows = by_group(worth, self.groups)
            if not affordable(cells.size * math.prod(kernel), rows):
                return None
            taps = [
                of_products(by_group(view[(..., *tap)], self.groups), rows)
                for tap in np.ndindex(*kernel)
            ]
            effect = np.stack(taps, axis=-1).swapaxes(1, 2).reshape(*each, width, *kernel)
        if self.groups == 1:
            return effect[0]
        return np.broadcast_to(effect, (*each, width, *kernel)).reshape(deep, width, *kernel)

    def _kernel(self, inputs: Arrays) -> np.ndarray:
        if self.weight is None:
            return inputs[1]
        return self.weight.value

    def _squares(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return convolve_squares(x, w, self.strides, self.pads, self.dilations, self.groups)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._summed(inputs, inputs[0].dtype),)

    def run_float64(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._summed(inputs, float_of(inputs[0])),)

    def _summed(self, inputs: Arrays, dtype: np.dtype) -> np.ndarray:
        out = convolve(
            inputs[0],
            self._kernel(inputs),
            self.strides,
            self.pads,
            self.dilations,
            self.groups,
            dtype,
        )
        if self.bias is not None:
            out += self.bias.value.astype(dtype).reshape(-1, *(1,) * (out.ndim - 2))
        return out

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        if self.weight is None:
            kernel = inputs[1]
        else:
            kernel = graph.weight(self.weight)
        bias = () if self.bias is None else (graph.weight(self.bias),)
        return (
            graph.op(
                "Conv",
                inputs[0],
                kernel,
                *bias,
                strides=self.strides,
                pads=flat(self.pads),
                dilations=self.dilations,
                group=self.groups,
            ),
        )

    def summary(self, inputs: Arrays) -> str:
        channels, *kernel = self._kernel(inputs).shape[1:]
        text = (
            f"each output is a sum over {' x '.join(map(str, kernel))} positions and "
            f"{channels} channel{'s' * (channels != 1)}"
        )
        if self.groups > 1:
            text += f" of its group (of {self.groups})"
        if self.bias is not None:
            text += ", plus the bias"
        return text

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        return math.prod(self._kernel(inputs).shape[1:]) + (self.bias is not None)

    def sum_of_squares(self, inputs: Arrays) -> np.ndarray:
        return self._with_bias(self._squares(inputs[0], self._kernel(inputs)), inputs[0].ndim)

    def partial_squares_pay(self, inputs: Arrays, outputs: Arrays) -> bool:
        """Where enough channels are summed for an eighth of them to tell."""
        shape = () if self.weight is None or self.groups > 1 else self.weight.value.shape
        return (
            math.prod(shape[1:]) >= 128
            and shape[1] >= 8 * _PART
            and math.prod(shape[1:]) * outputs[0].size > _WORTH
        )

    def partial_squares(self, inputs: Arrays) -> np.ndarray:
        """The squares of every eighth channel."""
        x, w = (array[:, ::_PART].astype(np.float32) for array in (inputs[0], self._kernel(inputs)))
        return self._with_bias(self._squares(x, w), x.ndim)

    def intermediates(self, inputs: Arrays, y: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.bias is None:
            return ()
        return (y - self.bias.value.astype(np.float64).reshape(-1, *(1,) * (y.ndim - 2)),)

    def _with_bias(self, out: np.ndarray, rank: int) -> np.ndarray:
        if self.bias is not None:
            squared = np.square(self.bias.value.astype(np.float64)).reshape(-1, *(1,) * (rank - 2))
            if squared.max(initial=0) > 1e30:
                out = out.astype(np.float64, copy=False)
            np.add(out, squared, out=out, casting="same_kind")
        return out

    def propagate(self, slack: np.ndarray) -> np.ndarray:
        assert self.weight is not None
        out = self._squares(slack, self.weight.value).astype(np.float64, copy=False)
        return np.sqrt(out, out=out)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        still = of if self.weight is not None else of._replace(slacks=(None,))
        (own,) = super().error_bound(still, precision)
        if self.weight is None:
            for moved in ((of.slacks[0], of.inputs[1]), (of.inputs[0], of.slacks[1])):
                if not any(slack is None for slack in moved):
                    own = own + np.sqrt(
                        self._squares(*(np.asarray(slack, np.float64) for slack in moved))
                    )
        if (
            precision.lossy
            and precision.unit
            and self.groups == 1
            and math.prod(self._kernel(of.inputs).shape[2:]) > 1
        ):
            x, w = padded(of.inputs[0], self.pads), self._kernel(of.inputs).astype(np.float64)
            variance = of_fourier(x, w)
            if w.shape[2:] == (3, 3) and {*self.strides, *self.dilations} == {1}:
                variance = np.maximum(variance, of_winograd(x, w))
            own = np.maximum(own, SIGMAS * precision.unit / math.sqrt(3) * np.sqrt(variance))
            if self.table_errors:
                errors = np.reshape(self.table_errors, (-1, *(1,) * (w.ndim - 1)))
                squares = self._squares(of.inputs[0], np.broadcast_to(errors, w.shape))
                own = own + SIGMAS / math.sqrt(3) * np.sqrt(squares)
        return (own,)

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, channels, taps), the bias first where
        there is one."""
        x, w = inputs[0], self._kernel(inputs)
        width, deep = w.shape[1], w.shape[0] // self.groups
        batch, channel, *position = where
        cells, inside = under(
            position, x.shape[2:], w.shape[2:], self.strides, self.pads, self.dilations
        )
        planes = (batch * x.shape[1] + channel // deep * width)[:, None] + np.arange(width)
        gathered = x.reshape(-1, math.prod(x.shape[2:]))[planes[:, :, None], cells[:, None, :]]
        if not inside.all():
            gathered = np.where(inside[:, None, :], gathered, 0.0)
        terms = gathered * w[channel].reshape(len(batch), width, -1).astype(np.float64)
        if self.bias is not None:
            first = np.zeros((len(batch), width, 1))
            first[:, 0, 0] = self.bias.value[channel]
            terms = np.concatenate([first, terms], axis=2)
        return terms

    def in_other_order(self, inputs: Arrays, terms: np.ndarray) -> np.ndarray | None:
        """Down the columns of the window, as oneDNN's kernels for few channels go."""
        sizes = self._kernel(inputs).shape[2:]
        if sum(size > 1 for size in sizes) < 2:
            return None
        count = math.prod(sizes)
        first, taps = terms[:, :, :-count], terms[:, :, -count:].reshape(*terms.shape[:2], *sizes)
        axes = (0, 1, *range(taps.ndim - 1, 1, -1))
        return np.concatenate([first, taps.transpose(axes).reshape(*terms.shape[:2], -1)], axis=2)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        x, kernel = inputs[0], self._kernel(inputs)
        groups = np.any(mask.reshape(mask.shape[0], self.groups, -1, *mask.shape[2:]), axis=2)
        members = seen(
            groups,
            x.shape[2:],
            kernel.shape[2:],
            self.strides,
            self.pads,
            self.dilations,
        )
        found = np.repeat(members, kernel.shape[1], axis=1)
        if len(inputs) == 1:
            return (found,)
        return (found, np.full(kernel.shape, mask.any()))

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        shape = self._kernel(inputs).shape
        batch, channel, *position = at
        taps = box([range(size) for size in shape[1:]])
        first = [
            i * s - before
            for i, s, (before, _) in zip(position, self.strides, self.pads, strict=True)
        ]
        members = channel // (shape[0] // self.groups) * shape[1] + taps[:, 0]
        where = np.column_stack(
            [
                np.full(len(taps), batch),
                members,
                np.array(first, int) + taps[:, 1:] * np.array(self.dilations, int),
            ]
        )
        factor = 1 if self.weight is None else self.weight
        rows = np.column_stack([np.full(len(taps), channel), taps])
        channels = members if shape[1] > 1 else None
        return Contributions(
            (Terms(where, factor=factor, factor_where=rows, channels=channels),),
            bias=self.bias,
            bias_where=(channel,),
        )
