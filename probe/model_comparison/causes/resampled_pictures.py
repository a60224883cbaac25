"""Pictures of which one is the other shifted, smoothed or resized in another way: each place of it
follows from those around it in the other."""

from itertools import product

import numpy as np

from probe.report import Finding

__all__ = ["resampled"]

_REACH = 2
"""How far the places lie that one is made of."""
_LEAST = 12
"""Pictures of fewer places along an axis say nothing."""
_ROWS = 20000
_SHARE = 0.5
"""What the places around may leave of what A's own place does, at most."""
_ALIKE = 0.2
"""What they may leave of the deviation, at most."""
_EXACT = 1e-4
_BLOCK, _BLOCKS = 8, 16
"""Places along both axes whose means are compared, and how many such means tell something."""
_COARSE, _COARSE_OF_FINE = 0.1, 0.5
"""How far the means may lie apart: as a part of their deviation, and of what single places do."""
_SUM = 0.05
"""How far the shares of the places may be from 1 together."""


def resampled(a: np.ndarray, b: np.ndarray) -> Finding | None:
    """That B's picture is A's by shares of the places around each, the same everywhere."""
    if (axes := _axes(a.shape)) is None:
        return None
    x, y = (np.moveaxis(values.astype(np.float64), axes, (-2, -1)) for values in (a, b))
    x, y = (values.reshape(-1, *values.shape[-2:]) for values in (x, y))
    offsets = [*product(range(-_REACH, _REACH + 1), repeat=2)]
    inner = y[:, _REACH:-_REACH, _REACH:-_REACH].reshape(-1)
    few = np.unique(np.linspace(0, inner.size - 1, _ROWS).astype(int))
    columns = np.stack([_shifted(x, *offset).reshape(-1)[few] for offset in offsets], axis=1)
    wanted = inner[few]
    train, test = slice(0, None, 2), slice(1, None, 2)
    shares = np.linalg.lstsq(columns[train], wanted[train], rcond=None)[0]
    left = _rms(columns[test] @ shares - wanted[test])
    own = columns[:, offsets.index((0, 0))]
    apart, deviation = _rms(own[test] - wanted[test]), float(wanted.std())
    largest = int(np.abs(shares).argmax())
    if left <= _EXACT * deviation and abs(shares[largest] - 1) <= _EXACT:
        down, right = offsets[largest]
        if (down, right) != (0, 0):
            words = f"shifted by {(-down, -right)} places along the axes {axes}"
            return _finding(words, "crop-place")
    if left <= min(_SHARE * apart, _ALIKE * deviation) and abs(shares.sum() - 1) <= _SUM:
        claim = (
            "smoothed, or resized in another way (filter, antialiasing or corners): each of its "
            f"places follows from 5 x 5 of A's to {left / deviation:.2g} of the deviation, from "
            f"A's own place to {apart / deviation:.2g}"
        )
        return _finding(claim)
    return _alike(x, y)


def _alike(x: np.ndarray, y: np.ndarray) -> Finding | None:
    """That two pictures are the same but for what is small in them."""
    height, width = (size // _BLOCK for size in x.shape[-2:])
    if height * width < _BLOCKS:
        return None
    means = [
        values[:, : height * _BLOCK, : width * _BLOCK]
        .reshape(-1, height, _BLOCK, width, _BLOCK)
        .mean((2, 4))
        for values in (x, y)
    ]
    coarse, fine = _rms(means[0] - means[1]), _rms(x - y)
    deviation, of_means = float(y.std()), float(means[1].std())
    if coarse > _COARSE * of_means or coarse > _COARSE_OF_FINE * fine or fine > deviation:
        return None
    return _finding(
        f"in other detail: the means over {_BLOCK} x {_BLOCK} places are equal to "
        f"{coarse / of_means:.2g} of their deviation, single places to {fine / deviation:.2g} of "
        "theirs, as after another resize, noise or compression"
    )


def _finding(words: str, slug: str = "resize-kernel") -> Finding:
    do = "prepare the picture for both models in the same way"
    return Finding(slug, f"is A's picture {words}", 0.0, do=do)


def _axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The two axes of places in a picture: the longest neighbours."""
    best: tuple[int, tuple[int, int]] | None = None
    for axis in range(len(shape) - 1):
        least = min(shape[axis : axis + 2])
        if least >= _LEAST and (best is None or least > best[0]):
            best = least, (axis, axis + 1)
    return None if best is None else best[1]


def _shifted(x: np.ndarray, down: int, right: int) -> np.ndarray:
    height, width = x.shape[-2:]
    return x[
        :,
        _REACH + down : height - _REACH + down,
        _REACH + right : width - _REACH + right,
    ]


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error))))
