"""Sums of products: convolutions and matrix products."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from probe import ops
from probe.by_hand.c.integers import Integers, NotFixedPoint, at_least_32, narrowest, width
from probe.by_hand.c.program import CProgram
from probe.by_hand.c.registry import writes
from probe.by_hand.c.text import axis_letters, indented, nest, point, scaled, times
from probe.ops.weight import Weight

_EXACT = 1 << 53
"""Up to here float64 holds every integer."""
_IN, _OUT, _TAPS = ("h", "w", "d"), ("p", "q", "r"), ("i", "j", "k")


@writes(ops.Conv)
def _conv(op: ops.Conv, program: CProgram, x: Integers, *others: Integers) -> Integers:
    if op.weight is None or others:
        raise NotFixedPoint("its kernel is an input")
    if len(op.strides) > len(_OUT):
        raise NotFixedPoint(f"it has {len(op.strides)} spatial axes")
    kernel = program.weight(op.weight)
    sums = _Sums(program, x, kernel, op.bias)
    values = sums.scaled(_convolved(op, x.values, kernel.values, sums.products_bound))
    made = program.made("sums", values, sums.exponent, sums.bounds, x)
    program.step("convolve", _conv_loops(op, x, kernel, made, sums), sums.words)
    return made


class _Sums:
    """What the sums of products of an input and a weight are: their point, their bounds, and the
    bias in the same form. The first axis of the weight is that of the outputs."""

    def __init__(
        self, program: CProgram, x: Integers, weight: Integers, bias: Weight | None, axis: int = 0
    ) -> None:
        rest = tuple(k for k in range(weight.values.ndim) if k != axis)
        above = np.maximum(weight.values, 0).sum(axis=rest)
        below = np.minimum(weight.values, 0).sum(axis=rest)
        low, high = min(x.low, 0), max(x.high, 0)  # the padding, and what is added up on the way
        highs = [int(a) * high + int(b) * low for a, b in zip(above, below, strict=True)]
        lows = [int(a) * low + int(b) * high for a, b in zip(above, below, strict=True)]
        self.products_bound = max(*map(abs, highs), *map(abs, lows), 1)
        products = x.exponent + weight.exponent
        self.exponent, self.bias, self._codes = products, None, np.zeros(len(highs), np.int64)
        self.words = (
            f"sums of {x.name} * {weight.name}: integer * 2^{x.exponent} times integer * "
            f"2^{weight.exponent}"
        )
        if bias is not None:
            self.bias = program.weight(bias)
            if self.bias.values.any():
                self.exponent = min(products, self.bias.exponent)
            self._codes = self.bias.values * 2**self.bias_shift
            self.words += f", and {self.bias.name}"
        self.product_shift = products - self.exponent
        highs = [top * 2**self.product_shift for top in highs]
        lows = [top * 2**self.product_shift for top in lows]
        tops = [max(top, top + int(b)) for top, b in zip(highs, self._codes, strict=True)]
        ends = [min(end, end + int(b)) for end, b in zip(lows, self._codes, strict=True)]
        self.bounds = min(0, *ends), max(0, *tops)
        self.ctype = at_least_32(*self.bounds)
        bits = width(*self.bounds)
        self.words += (
            f". The point of each sum: {point(self.exponent)}. The accumulator needs up to {bits} "
            f"bits in the worst case; {self.ctype} here."
        )

    @property
    def bias_shift(self) -> int:
        """By how many bits the bias is moved to the left."""
        assert self.bias is not None
        return max(0, self.bias.exponent - self.exponent)

    def scaled(self, products: np.ndarray, axis: int = 1) -> np.ndarray:
        """The sums of products with the bias, in the form of the sums."""
        shape = [-1 if k == axis else 1 for k in range(products.ndim)]
        return np.asarray(products * 2**self.product_shift + self._codes.reshape(shape))

    def begin(self, output: str) -> str:
        """The statement before the products are added up."""
        if self.bias is None or self.product_shift:
            return f"{self.ctype} sum = 0;"
        return f"{self.ctype} sum = {self._bias(output)};"

    def product(self, left: str, right: str) -> str:
        """The statement that adds a product."""
        if self.ctype == "int64_t":
            return f"sum += (int64_t){left} * {right};"
        return f"sum += {left} * {right};"

    def end(self, target: Integers, at: str, output: str) -> list[str]:
        """The statements after them."""
        lines = []
        if self.product_shift:
            lines.append(f"sum *= {_power(self.product_shift)};")
            if self.bias is not None:
                lines.append(f"sum += {self._bias(output)};")
        return [*lines, f"{at} = ({narrowest(target.low, target.high)})sum;"]

    def _bias(self, output: str) -> str:
        assert self.bias is not None
        text = self.bias.at([output])
        return scaled(text, 2**self.bias_shift, self.ctype)


def _power(shift: int) -> str:
    """Two to the power of a shift, as a constant of the type that holds it."""
    if shift > 30:
        return f"((int64_t)1 << {shift})"
    return str(2**shift)


def _conv_loops(
    op: ops.Conv, x: Integers, kernel: Integers, made: Integers, sums: _Sums
) -> list[str]:
    """The loops: batch, positions, channels of the output; cells of the kernel, channels."""
    spatial = len(op.strides)
    outputs, width_in, *cells = kernel.shape
    places, taps, reached = _OUT[:spatial], _TAPS[:spatial], _IN[:spatial]
    tests, begin = list[str](), list[str]()
    for axis in range(spatial):
        size, (before, after) = x.shape[2 + axis], op.pads[axis]
        text = times(places[axis], op.strides[axis])
        if cells[axis] > 1:
            text += f" + {times(taps[axis], op.dilations[axis])}"
        if before:
            text += f" - {before}"
        if before or after or size > 1:  # of a single cell no index is used
            begin.append(f"const int {reached[axis]} = {text};")
        if before:
            tests.append(f"{reached[axis]} < 0")
        if after > 0:
            tests.append(f"{reached[axis]} >= {size}")
    inner = [*begin]
    if tests:
        inner.append(f"if ({' || '.join(tests)}) continue; /* the padding is 0 */")
    group = outputs // op.groups
    channel = _channel(op.groups, group, width_in)
    product = sums.product(
        x.at(["b", channel, *reached]),
        kernel.at(["o", "c", *taps]),
    )
    if width_in > 1:
        inner += [f"for (int c = 0; c < {width_in}; c++)", f"  {product}"]
    else:
        inner.append(product)
    loops = [(tap, size) for tap, size in zip(taps, cells, strict=True) if size > 1]
    tapped = _looped(loops, inner, bool(tests))
    target = made.at(["b", "o", *places])
    body = [sums.begin("o"), *tapped, *sums.end(made, target, "o")]
    sizes = [made.shape[0], *made.shape[2:], made.shape[1]]
    return nest(zip(("b", *places, "o"), sizes, strict=True), body)


def _looped(loops: Sequence[tuple[str, int]], inner: list[str], skips: bool) -> list[str]:
    """The loops over the cells of a kernel; of a single cell a loop that is run once, where one is
    left out with ``continue``."""
    if loops:
        return nest(zip(*(list(part) for part in zip(*loops, strict=True)), strict=True), inner)
    if skips:
        return ["do {", *indented(inner), "} while (0);"]
    return ["{", *indented(inner), "}"]


def _channel(groups: int, outputs: int, inputs: int) -> str:
    """The channel of the input that a channel of the kernel stands for, in the group of ``o``."""
    if groups == 1:
        return "c" if inputs > 1 else "0"
    group = "o" if outputs == 1 else f"o / {outputs}"
    if inputs == 1:
        return group
    return f"{group} * {inputs} + c"


def _convolved(op: ops.Conv, x: np.ndarray, kernel: np.ndarray, bound: int) -> np.ndarray:
    """The sums of products as integers."""
    padded = np.pad(x, ((0, 0), (0, 0), *((max(0, a), max(0, b)) for a, b in op.pads)))
    cells = kernel.shape[2:]
    axes = tuple(range(2, x.ndim))
    spans = [(size - 1) * step + 1 for size, step in zip(cells, op.dilations, strict=True)]
    if any(pad < 0 for pads in op.pads for pad in pads):
        raise NotFixedPoint("it leaves out a border")
    view = sliding_window_view(padded, spans, axis=axes)
    starts = tuple(slice(None, None, step) for step in op.strides)
    inside = tuple(slice(None, None, step) for step in op.dilations)
    view = view[(slice(None), slice(None), *starts, *inside)]
    parts = []
    deep, wide = kernel.shape[0] // op.groups, kernel.shape[1]
    for group in range(op.groups):
        left = view[:, group * wide : (group + 1) * wide]
        right = kernel[group * deep : (group + 1) * deep]
        inner = (1, *range(left.ndim - len(cells), left.ndim))
        summed = _product(left, right, (inner, tuple(range(1, right.ndim))), bound)
        parts.append(np.moveaxis(summed, -1, 1))
    return np.concatenate(parts, axis=1)


def _product(
    left: np.ndarray,
    right: np.ndarray,
    axes: tuple[tuple[int, ...], tuple[int, ...]],
    bound: int,
) -> np.ndarray:
    """A sum of products, in float64 where that holds every sum exactly."""
    if bound < _EXACT:
        found = np.tensordot(left.astype(np.float64), right.astype(np.float64), axes)
        return found.astype(np.int64)
    return np.tensordot(left, right, axes)


@writes(ops.MatMul)
def _matmul(op: ops.MatMul, program: CProgram, x: Integers) -> Integers:
    weight = program.weight(op.weight)
    sums = _Sums(program, x, weight, op.bias, axis=1)
    last = x.values.ndim - 1
    products = _product(x.values, weight.values, ((last,), (0,)), sums.products_bound)
    values = sums.scaled(products, axis=last)
    made = program.made("sums", values, sums.exponent, sums.bounds, x)
    letters = [f"{letter}" for letter in axis_letters(x.values.ndim)[:-1]]
    inner = [
        f"for (int k = 0; k < {x.shape[-1]}; k++)",
        f"  {sums.product(x.at([*letters, 'k']), weight.at(['k', 'o']))}",
    ]
    body = [sums.begin("o"), *inner, *sums.end(made, made.at([*letters, "o"]), "o")]
    sizes = [*made.shape[:-1], made.shape[-1]]
    program.step("multiply", nest(zip((*letters, "o"), sizes, strict=True), body), sums.words)
    return made
