"""What convolution and pooling share: padding and sliding windows over the trailing axes, in any
number of them.

Padding is always resolved to (before, after) pairs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["Pads", "flat", "padded", "seen", "under", "windows"]

Pads = tuple[tuple[int, int], ...]


def flat(pads: Pads) -> list[int]:
    """(before, after) pairs as ONNX wants them: all the befores, then all the afters."""
    return [before for before, _ in pads] + [after for _, after in pads]


def padded(x: np.ndarray, pads: Pads, value: float = 0.0) -> np.ndarray:
    """x with its trailing axes padded; the array itself where there is nothing to pad."""
    if not any(before or after for before, after in pads):
        return x
    return np.pad(x, [(0, 0)] * (x.ndim - len(pads)) + list(pads), constant_values=value)


def windows(
    x: np.ndarray, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> np.ndarray:
    """A view (*leading, *out, *kernel) of the windows over the trailing axes of a padded x."""
    rank = len(kernel)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    axes = tuple(range(x.ndim - rank, x.ndim))
    view = sliding_window_view(x, spans, axis=axes)
    steps = [slice(None, None, s) for s in strides] + [slice(None, None, d) for d in dilations]
    return view[(slice(None),) * (x.ndim - rank) + tuple(steps)]


def under(
    position: Sequence[np.ndarray],
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    dilations: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """The cells under the windows of single outputs, as places in row-major order (outputs, taps),
    and which lie inside and no padding.

    Places of the padding are those of some cell at the edge.
    """
    count = len(position[0])
    cells, inside = np.zeros((count, 1), np.intp), np.ones((count, 1), bool)
    for at, size, k, s, (before, _), d in zip(
        position, sizes, kernel, strides, pads, dilations, strict=True
    ):
        here = (at * s - before)[:, None] + d * np.arange(k)
        cells = (cells[:, :, None] * size + here.clip(0, size - 1)[:, None, :]).reshape(count, -1)
        inside = (inside[:, :, None] & ((here >= 0) & (here < size))[:, None, :]).reshape(count, -1)
    return cells, inside


def seen(
    mask: np.ndarray,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    dilations: Sequence[int],
) -> np.ndarray:
    """Which elements of (batch, channel, *sizes) lie in the window of a masked output."""
    spans = [
        max(size + before + after, (count - 1) * s + (k - 1) * d + 1)
        for size, (before, after), count, k, s, d in zip(
            sizes, pads, mask.shape[2:], kernel, strides, dilations, strict=True
        )
    ]
    whole = np.zeros((*mask.shape[:2], *spans), bool)
    for tap in np.ndindex(*kernel):
        places = [
            slice(t * d, t * d + (count - 1) * s + 1, s)
            for t, d, s, count in zip(tap, dilations, strides, mask.shape[2:], strict=True)
        ]
        whole[(slice(None), slice(None), *places)] |= mask
    return whole[
        (
            slice(None),
            slice(None),
            *(slice(before, before + size) for size, (before, _) in zip(sizes, pads, strict=True)),
        )
    ]
