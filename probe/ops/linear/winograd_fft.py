"""What a convolution loses on the way through transforms: Winograd's and Fourier's, which engines
take in place of sums of products."""

import math

import numpy as np

__all__ = ["of_fourier", "of_winograd"]

# F(6 x 6, 3 x 3) at the points 0, ±1, ±2, ±1/2 and infinity, the largest in use (Lavin and Gray,
# "Fast algorithms for convolutional neural networks", 2016): data, kernel and output transform.
DATA = np.array(
    [
        [1, 0, -21 / 4, 0, 21 / 4, 0, -1, 0],
        [0, 1, 1, -17 / 4, -17 / 4, 1, 1, 0],
        [0, -1, 1, 17 / 4, -17 / 4, -1, 1, 0],
        [0, 1 / 2, 1 / 4, -5 / 2, -5 / 4, 2, 1, 0],
        [0, -1 / 2, 1 / 4, 5 / 2, -5 / 4, -2, 1, 0],
        [0, 2, 4, -5 / 2, -5, 1 / 2, 1, 0],
        [0, -2, 4, 5 / 2, -5, -1 / 2, 1, 0],
        [0, -1, 0, 21 / 4, 0, -21 / 4, 0, 1],
    ]
)
KERNEL = np.array(
    [
        [1, 0, 0],
        *([-2 / 9, s * 2 / 9, -2 / 9] for s in (-1, 1)),
        *([1 / 90, s / 45, 2 / 45] for s in (1, -1)),
    ]
    + [[32 / 45, s * 16 / 45, 8 / 45] for s in (1, -1)]
    + [[0, 0, 1]]
)
_POINTS = np.array([1, -1, 2, -2, 1 / 2, -1 / 2])
OUTPUT = np.array([[float(k == 0), *_POINTS**k, float(k == 5)] for k in range(6)])
_TILE = 6
_EACH = 3.0
"""Roundings of one transformed number, as variances: a sum of up to eight terms along each of two
axes."""


def _both(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The matrix applied along the last two axes."""
    return matrix @ x @ matrix.T


def of_winograd(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The variance, in units of u²/3, of a padded x (batch, channel, height, width) convolved with
    w (out, channel, 3, 3).

    Every element is given that of the worst of its tile: where tiles begin is the engine's choice.
    """
    height, width = (size - 2 for size in x.shape[2:])
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    x = np.pad(x, [(0, 0), (0, 0), (0, rows * _TILE - height), (0, columns * _TILE - width)])
    squared = [np.square(matrix) for matrix in (DATA, KERNEL, OUTPUT)]

    def by_frequency(parts: np.ndarray) -> np.ndarray:
        return parts.reshape(*parts.shape[:2], 64).transpose(2, 0, 1)

    u, of_u = by_frequency(_both(KERNEL, w)), by_frequency(_both(squared[1], np.square(w)))
    sums = np.empty((len(x), len(w), height, width))
    for sample, target in zip(x, sums, strict=True):
        tiles = np.lib.stride_tricks.sliding_window_view(sample, (8, 8), axis=(1, 2))[
            :, ::_TILE, ::_TILE
        ].reshape(len(sample), -1, 8, 8)
        v, of_v = (
            by_frequency(_both(DATA, tiles)),
            by_frequency(_both(squared[0], np.square(tiles))),
        )
        total, squares = u @ v, np.square(u) @ np.square(v)
        variance = (
            _EACH * (np.square(u) @ of_v + of_u @ np.square(v))
            + len(sample) * (np.square(total) / 3 + squares / 6)
            + squares
        )
        variance += _EACH * np.square(total)
        back = _both(
            squared[2], variance.transpose(1, 2, 0).reshape(len(w), rows, columns, 8, 8)
        ).max(axis=(-1, -2))
        target[...] = back.repeat(_TILE, axis=1).repeat(_TILE, axis=2)[:, :height, :width]
    return sums


def of_fourier(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The same through Fourier transforms of a padded x (batch, channel, *spatial): one number for
    each sample and output channel.

    A transform of N numbers is off by about u √(log2 N) of their root mean square, everywhere
    alike.
    """
    axes = tuple(range(2, x.ndim))
    mean = np.square(x).mean(axis=axes)
    size = np.square(w).sum(axis=axes)
    steps = 1 + math.log2(max(2, math.prod(x.shape[2:])))
    return (4 * steps * mean @ size.T).reshape(len(x), len(w), *(1,) * len(axes))
