"""The arithmetic of a convolution: gathered windows times kernels, in blocks of a few MiB and in
the layout the data arrives in.

Data that arrives as a transposed view of channels-last memory stays there (a window's row is then
one run), and the result is such a view too, so that the Transpose that follows costs nothing.
Depthwise kernels are laid along the channels of windows that are never gathered, in either layout.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from probe.numerics.blocks import blocks

__all__ = ["convolve", "convolve_squares", "holds", "narrows", "powered", "scale_of"]

Pads = Sequence[tuple[int, int]]
_BLOCK = 1 << 20
_PLANE, _FEW = 1 << 10, 16
"""Of how many planes, larger than that, elements are brought side by side at once: caches tell few
lines apart that lie a plane apart."""
_KERNEL, _PIECE = 1 << 22, 1 << 18
"""How much of a kernel is widened at once, where it is used again and where it is not: small pieces
take memory that caches hold."""


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    strides: Sequence[int],
    pads: Pads,
    dilations: Sequence[int],
    groups: int,
    dtype: np.dtype | None = None,
) -> np.ndarray:
    """Cross-correlation of (batch, channel, *spatial) with (out channel, channel / groups,
    *kernel), in ``dtype`` or that of x."""
    return _Window(x, w, strides, pads, dilations, groups).sums(
        x.dtype if dtype is None else dtype, 1, (1.0, 1.0)
    )


def convolve_squares(
    x: np.ndarray,
    w: np.ndarray,
    strides: Sequence[int],
    pads: Pads,
    dilations: Sequence[int],
    groups: int,
) -> np.ndarray:
    """The same of squares, for allowances: in float32 (within 1e-4) where that holds them, else on
    data scaled to 1, in float64.

    Products below 2^-126 of what is largest may vanish there; that much is added.
    """
    window = _Window(x, w, strides, pads, dilations, groups)
    count = math.prod(w.shape[1:])
    plain, floor = narrows(x, w, count)
    if plain:
        out = window.sums(np.dtype(np.float32), 2, (1.0, 1.0))
        out += np.float32(floor)
        return out
    by_x, by_w = scale_of(x), scale_of(w)
    if not (holds(by_x) and holds(by_w)):
        return window.sums(np.dtype(np.float64), 2, (1.0, 1.0))
    narrow = window.sums(np.dtype(np.float32), 2, (by_x, by_w))
    out = np.multiply(narrow, (by_x * by_w) ** -2, dtype=np.float64)
    out += count * 2.0**-126 * (by_x * by_w) ** -2
    return out


def narrows(x: np.ndarray, w: np.ndarray, count: int) -> tuple[bool, float]:
    """Whether float32 holds sums of ``count`` products of their squares as they are, and how much
    may vanish there."""
    norms = (_norm(x), _norm(w))
    return all(1e-4 < norm < 1e7 for norm in norms), count * 2.0**-126 * max(1.0, *norms) ** 2


def _norm(array: np.ndarray) -> float:
    """The Euclidean norm of all elements; inf or NaN where that is not finite."""
    floats = array if array.dtype.kind == "f" else array.astype(np.float64)
    if floats.flags.c_contiguous:
        whole = floats.reshape(-1)
        return math.sqrt(float(np.dot(whole, whole)))
    # in the order of memory, so that nothing is copied
    flat = (part.ravel(order="K") for (part,), _ in blocks(floats, size=_BLOCK))
    return math.sqrt(sum(float(np.dot(part, part)) for part in flat))


def scale_of(array: np.ndarray) -> float:
    """The power of two that brings the largest absolute value to between 1/2 and 1; NaN where there
    is none."""
    largest = float(max(-array.min(initial=0), array.max(initial=0)))
    if math.isfinite(largest) and largest:
        return math.ldexp(1.0, -math.frexp(largest)[1])
    return math.nan


def holds(scale: float) -> bool:
    """Whether float32 holds such data well enough to scale and square it there."""
    return 1e-15 < scale < 1e15


class _Window:
    """A convolution's geometry over one x and one w."""

    def __init__(
        self,
        x: np.ndarray,
        w: np.ndarray,
        strides: Sequence[int],
        pads: Pads,
        dilations: Sequence[int],
        groups: int,
    ):
        if groups < 1 or w.shape[0] % groups or x.shape[1] != groups * w.shape[1]:
            raise ValueError(
                f"a kernel of shape {w.shape} does not take "
                f"{x.shape[1]} channels in {groups} groups"
            )
        self.x, self.w, self.strides, self.dilations, self.groups = (
            x,
            w,
            tuple(strides),
            tuple(dilations),
            groups,
        )
        self.pads = tuple(pads)
        self.kernel = w.shape[2:]
        self.taps = math.prod(self.kernel)
        self.width, self.deep = w.shape[1], w.shape[0] // groups
        self.depthwise = self.width == 1 and groups > 1
        self.direct = (
            self.taps == 1
            and not self.depthwise
            and not any(before or after for before, after in self.pads)
        )
        self.out = tuple(
            (size + before + after - (k - 1) * d - 1) // s + 1
            for size, (before, after), k, d, s in zip(
                x.shape[2:], pads, self.kernel, dilations, strides, strict=True
            )
        )

    def sums(self, dtype: np.dtype, power: int, scales: tuple[float, float]) -> np.ndarray:
        batch, channels = self.x.shape[0], self.w.shape[0]
        last = _channels_last(self.x) and (self.groups == 1 or self.depthwise)
        if last:
            out = np.moveaxis(np.empty((batch, *self.out, channels), dtype), -1, 1)
        else:
            out = np.empty((batch, channels, *self.out), dtype)
        if not out.size:
            return out
        if self.depthwise:
            kernels = powered(self.w, dtype, power, scales[1])
            for sample, image in zip(out, self.x, strict=True):
                self._depthwise(image, kernels, sample, dtype, power, scales[0])
            return out
        boxes = list(_blocks(self.out, self.x.shape[1] * self.taps))
        once = batch == 1 and len(boxes) == 1
        step = channels
        if self.groups == 1:
            step = max(1, (_PIECE if once else _KERNEL) // max(1, self.width * self.taps))
        gather, windows = (self._last if last else self._first), None
        for start in range(0, channels, step):
            rows = slice(start, start + step)
            w = powered(self.w[rows], dtype, power, scales[1])
            matrix: np.ndarray
            form: tuple[int, ...]
            if last:
                matrix = np.moveaxis(w, (0, 1), (-1, -2)).reshape(-1, len(w))
                form = (-1, len(w))
            else:
                matrix = w.reshape(self.groups, -1, self.width * self.taps)
                form = (self.groups, matrix.shape[1], -1)
            for sample, image in zip(out[:, rows], self.x, strict=True):
                flat = (np.moveaxis(sample, 0, -1) if last else sample).reshape(form)
                for box, run in boxes:
                    if windows is None or not once:
                        windows = None  # so that its memory is taken again
                        windows = gather(image, box, dtype, power, scales[0])
                    if last:
                        np.matmul(windows, matrix, out=flat[run])
                    else:
                        np.matmul(matrix, windows, out=flat[:, :, run])
        return out

    def _first(
        self, image: np.ndarray, box: Sequence[slice], dtype: np.dtype, power: int, scale: float
    ) -> np.ndarray:
        """What lies under the kernels at the positions of a box, channels first: (groups, channels
        * taps, positions)."""
        region = self._region(image, box, False, dtype, power, scale)
        if not self.direct:
            shape = tuple(part.stop - part.start for part in box)
            columns = np.empty((len(image), *self.kernel, *shape), dtype)
            for tap in np.ndindex(*self.kernel):
                columns[(slice(None), *tap)] = region[(slice(None), *self._under(tap, shape))]
            region = columns
        return region.reshape(self.groups, self.width * self.taps, -1)

    def _last(
        self, image: np.ndarray, box: Sequence[slice], dtype: np.dtype, power: int, scale: float
    ) -> np.ndarray:
        """The same channels last: (positions, taps * channels)."""
        channels, joined = len(image), self.dilations[-1] == 1
        region = self._region(image, box, True, dtype, power, scale)
        if not self.direct:
            shape = tuple(part.stop - part.start for part in box)
            columns = np.empty((*shape, *self.kernel[:-1], self.kernel[-1] * channels), dtype)
            for tap in np.ndindex(*self.kernel[:-1]):
                target = columns[(*(slice(None),) * len(shape), *tap)]
                if joined:
                    rows = region[self._under((*tap, 0), (*shape[:-1], region.shape[-2]))[:-1]]
                    runs = sliding_window_view(
                        rows.reshape(*rows.shape[:-2], -1), self.kernel[-1] * channels, axis=-1
                    )
                    target[...] = runs[..., :: self.strides[-1] * channels, :][..., : shape[-1], :]
                    continue
                for at in range(self.kernel[-1]):
                    target[..., at * channels : (at + 1) * channels] = region[
                        self._under((*tap, at), shape)
                    ]
            region = columns
        return region.reshape(-1, self.taps * channels)

    def _depthwise(
        self,
        image: np.ndarray,
        w: np.ndarray,
        out: np.ndarray,
        dtype: np.dtype,
        power: int,
        scale: float,
    ) -> None:
        """Each channel under its own ``deep`` kernels, which lie along the channels of windows that
        are never gathered.

        Without strides, kernels are repeated over a few neighbouring columns: loops over few
        channels alone would be short.
        """
        channels, rank = len(image), len(self.out)
        at, under = [*range(rank)], [*range(rank, 2 * rank)]
        for box, _ in _blocks(self.out, channels * math.prod(self.strides)):
            region = np.ascontiguousarray(self._region(image, box, True, dtype, power, scale))
            shape = tuple(part.stop - part.start for part in box)
            several = 1
            if self.strides[-1] == 1:
                several = next(
                    n
                    for n in range(1, shape[-1] + 1)
                    if not shape[-1] % n and (n * channels >= 512 or n == shape[-1])
                )
            steps = [step * size for step, size in zip(self.strides, region.strides, strict=False)]
            steps[-1] *= several
            taps = [step * size for step, size in zip(self.dilations, region.strides, strict=False)]
            form = (*shape[:-1], shape[-1] // several, *self.kernel, several * channels)
            windows = as_strided(region, form, (*steps, *taps, region.itemsize), writeable=False)
            for kernel in range(self.deep):
                factors = np.tile(
                    np.ascontiguousarray(np.moveaxis(w[kernel :: self.deep, 0], 0, -1)), several
                )
                sums = np.einsum(
                    windows, [*at, *under, 2 * rank], factors, [*under, 2 * rank], [*at, 2 * rank]
                )
                out[(slice(kernel, None, self.deep), *box)] = np.moveaxis(
                    sums.reshape(*shape, channels), -1, 0
                )

    def _under(self, tap: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
        """The cells of a region that lie under one tap, for ``shape`` output positions."""
        return tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, self.dilations, shape, self.strides, strict=True)
        )

    def _region(
        self,
        image: np.ndarray,
        box: Sequence[slice],
        last: bool,
        dtype: np.dtype,
        power: int,
        scale: float,
    ) -> np.ndarray:
        """What the windows of a box see of one sample: padded, in ``dtype``, scaled and squared
        where asked."""
        if self.direct:
            cells = tuple(
                slice(part.start * s, (part.stop - 1) * s + 1, s)
                for part, s in zip(box, self.strides, strict=True)
            )
            view = image[(slice(None), *cells)]
            if last:
                view = np.moveaxis(view, 0, -1)
            if view.dtype == dtype and power == 1:
                return view
            return powered(view, dtype, power, scale)
        sizes: list[int] = []
        inside: list[slice] = []
        seen: list[slice] = []
        for part, size, (before, _), k, d, s in zip(
            box, image.shape[1:], self.pads, self.kernel, self.dilations, self.strides, strict=True
        ):
            first, span = (
                part.start * s - before,
                (part.stop - 1 - part.start) * s + (k - 1) * d + 1,
            )
            low, high = min(max(first, 0), size), min(max(first + span, 0), size)
            sizes.append(span)
            seen.append(slice(low, high))
            inside.append(slice(low - first, max(high, low) - first) if high > low else slice(0, 0))
        whole = all(part.stop - part.start == span for part, span in zip(seen, sizes, strict=True))
        view = image[(slice(None), *seen)]
        if last:
            view = np.moveaxis(view, 0, -1)
        if whole:
            if view.dtype == dtype and power == 1:
                return view
            return powered(view, dtype, power, scale)
        region = np.zeros((*sizes, len(image)) if last else (len(image), *sizes), dtype)
        if last:
            target = region[tuple(inside)]
        else:
            target = region[(slice(None), *inside)]
        if not target.size:
            return region
        if last and image.flags.c_contiguous and view[..., 0].size > _PLANE:
            few = _FEW
        else:
            few = len(image)
        for first in range(0, len(image), few):
            some = np.s_[..., first : first + few] if last else np.s_[first : first + few]
            powered(view[some], dtype, power, scale, target[some])
        return region


def _channels_last(x: np.ndarray) -> bool:
    """Whether x is a transposed view of (batch, *spatial, channel) memory with more than a few
    channels."""
    return x.shape[1] > 4 and not x.flags.c_contiguous and np.moveaxis(x, 1, -1).flags.c_contiguous


def powered(
    array: np.ndarray, dtype: np.dtype, power: int, scale: float, out: np.ndarray | None = None
) -> np.ndarray:
    """scale * array in ``dtype``, squared where ``power`` is 2."""
    if power == 1:
        if out is None:
            return array.astype(dtype, copy=False)
        out[...] = array
        return out
    if scale != 1.0:
        out = np.multiply(array, scale, out=out, dtype=dtype, casting="same_kind")
    elif array.dtype == dtype:
        return np.square(array, out=out)
    elif out is None:
        out = array.astype(dtype)
    else:
        out[...] = array
    return np.square(out, out=out)


def _blocks(
    out: Sequence[int], per_position: int, block: int = _BLOCK
) -> Iterator[tuple[tuple[slice, ...], slice]]:
    """Cuts the output positions into boxes whose windows hold about ``block`` numbers, each with
    its run of flat positions."""
    room = max(1, block // max(1, per_position))
    if (total := math.prod(out)) <= room:
        yield tuple(slice(0, size) for size in out), slice(0, total)
        return
    sizes = list(out)
    for axis in range(len(sizes)):
        rest = math.prod(out[axis + 1 :])
        sizes[axis] = min(out[axis], max(1, room // max(1, rest)))
        if sizes[axis] > 1 or rest <= room:
            break
    starts = [range(0, size, step) for size, step in zip(out, sizes, strict=True)]
    for corner in np.ndindex(*(len(start) for start in starts)):
        box = tuple(
            slice(start[i], min(start[i] + step, size))
            for start, i, step, size in zip(starts, corner, sizes, out, strict=True)
        )
        first = int(np.ravel_multi_index([part.start for part in box], out))
        yield box, slice(first, first + math.prod(part.stop - part.start for part in box))
