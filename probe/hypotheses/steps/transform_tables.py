"""Banks of filters and transforms that a layer holds as a matrix, made by another formula: mel
bands of another scale or height, cosines of another type or with other factors, a lifter that
counts from elsewhere. The matrix itself tells which formula it was made by."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.mapped_tensors import mapped
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.tensor_maps import Map
from probe.hypotheses.registry import more
from probe.hypotheses.steps.changed_tensors import of_weights
from probe.ops.step import Ref
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

_LARGEST = 1 << 16
_NEAR = 1e-3
"""How near a table is to a formula, as a share of its largest entry, which float32 angles leave."""

_Ways = Iterator[tuple[str, np.ndarray]]


@more("other-table")
def transform_table(case: Case) -> Iterator[Changes]:
    """A bank of mel filters, a cosine transform or a cepstral lifter by another formula."""
    yield Changes(_of_tables, "other-table", STEPS)


def _of_tables(case: Case) -> Iterator[Change]:
    for at in sorted(of_parameters(case)):
        if isinstance(case.steps[at].op, ops.Parameter | ops.Constant):
            for way in _ways(np.asarray(case.values[at][0])):
                yield from mapped(case, Ref(at), way)
    yield from of_weights(case, _ways)


def _ways(x: np.ndarray) -> Iterator[Map]:
    """What the table may be instead, in words."""
    if x.dtype.kind != "f" or not 4 <= x.size <= _LARGEST or not np.isfinite(x).all():
        return
    for words, other in (*_lifters(x), *_banks(x), *_transforms(x)):
        if np.isfinite(other).all() and not np.allclose(other, x, rtol=1e-5, atol=0):
            yield Map(words, partial(_instead, other=other), False)


def _instead(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    return other.reshape(x.shape)


def _is_near(x: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(x - other).max() <= _NEAR * np.abs(x).max())


# Lifters.

_LIFTERS = range(4, 65)


def _lifters(x: np.ndarray) -> _Ways:
    """1 + L / 2 sin(pi n / L), of coefficients counted from 0."""
    if x.size != max(x.shape, default=0):
        return
    n = np.arange(x.size)
    for length in _LIFTERS:
        lifters = {k: 1 + length / 2 * np.sin(np.pi * (n + k) / length) for k in (0, 1)}
        for first, other in ((0, 1), (1, 0)):
            if _is_near(x.ravel(), lifters[first]):
                yield f"made of coefficients that are counted from {other}", lifters[other]


# Mel filters.


class _Bank(NamedTuple):
    """Triangles at equal distances on a scale of pitch."""

    rate: int
    low: float
    high: float
    scale: str = "Slaney's"
    in_pitch: bool = False
    """Whether the sides are lines over pitch instead of frequency."""
    of_area: bool = False
    """Whether each has the area 1 instead of the height 1."""

    def rows(self, bins: int, bands: int, which: slice = slice(None)) -> np.ndarray:
        pitch = _to_pitch(np.array([self.low, self.high]), self.scale)
        edges = np.linspace(pitch[0], pitch[1], bands + 2)
        at = np.linspace(0, self.rate / 2, bins)
        hertz = _to_hertz(edges, self.scale)
        if self.in_pitch:
            at = _to_pitch(at, self.scale)
        else:
            edges = hertz
        low, middle, high = (edges[k : k + bands, None][which] for k in range(3))
        heights = np.maximum(
            0, np.minimum((at - low) / (middle - low), (high - at) / (high - middle))
        )
        if self.of_area:
            heights = heights * (2 / (hertz[2:] - hertz[:-2]))[:, None][which]
        return np.asarray(heights)


def _to_pitch(hertz: np.ndarray, scale: str) -> np.ndarray:
    if scale == "HTK's":
        return np.asarray(2595 * np.log10(1 + hertz / 700))
    if scale == "a linear":
        return hertz
    above = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(hertz < 1000, 3 * hertz / 200, above)


def _to_hertz(pitch: np.ndarray, scale: str) -> np.ndarray:
    if scale == "HTK's":
        return np.asarray(700 * (10 ** (pitch / 2595) - 1))
    if scale == "a linear":
        return pitch
    return np.where(pitch < 15, pitch * 200 / 3, 1000 * np.exp((pitch - 15) * np.log(6.4) / 27))


_RATES = (16000, 22050, 24000, 8000, 44100, 48000, 32000, 11025)
_LOWEST = (0.0, 20.0, 30.0, 40.0, 50.0, 60.0, 64.0, 80.0, 125.0)
_HIGHEST = (8000.0, 7600.0, 7500.0, 7000.0, 4000.0, 3800.0, 3400.0, 11025.0, 12000.0, 14000.0)


def _banks(x: np.ndarray) -> _Ways:
    if x.ndim != 2 or min(x.shape) < 3 or (x < 0).any() or not 0.3 < (x == 0).mean() < 1:
        return
    rows = x if x.shape[0] <= x.shape[1] else x.T
    bands, bins = rows.shape
    found = _made_by(rows)
    if found is None:
        return
    others = {
        "up to half of the sampling rate": found._replace(high=found.rate / 2),
        "from 0 Hz on": found._replace(low=0.0),
        "from 20 Hz on": found._replace(low=20.0),
    }
    for scale, in_pitch, of_area in product(_SCALES, (False, True), (False, True)):
        other = found._replace(scale=scale, in_pitch=in_pitch, of_area=of_area)
        others[_differing(other, found)] = other
    for words, bank in others.items():
        filters = bank.rows(bins, bands)
        yield f"made {words}", filters if rows is x else filters.T


def _differing(bank: _Bank, own: _Bank) -> str:
    """What of a bank is not as that of the layer, in words."""
    size, lines = ("height", "area"), ("frequency", "pitch")
    words = []
    if bank.scale != own.scale:
        words.append(f"on {bank.scale} scale of pitch, not {own.scale}")
    if bank.of_area != own.of_area:
        words.append(f"with triangles of {size[bank.of_area]} 1, not of {size[own.of_area]} 1")
    if bank.in_pitch != own.in_pitch:
        words.append(f"with lines over {lines[bank.in_pitch]}, not over {lines[own.in_pitch]}")
    return ", and ".join(words)


_SCALES = ("Slaney's", "HTK's", "a linear")


def _made_by(rows: np.ndarray) -> _Bank | None:
    """Which bank a matrix is, told first by its middle row."""
    bands, bins = rows.shape
    middle = slice(bands // 2, bands // 2 + 1)
    for rate, low in product(_RATES, _LOWEST):
        for high in dict.fromkeys((rate / 2, *(h for h in _HIGHEST if h < rate / 2))):
            for scale, in_pitch in product(_SCALES[:2], (False, True)):
                bank = _Bank(rate, low, high, scale, in_pitch)
                filters = bank.rows(bins, bands, middle)
                if not _is_near(rows[middle] * filters.max(), filters * rows[middle].max()):
                    continue
                for whole in (bank, bank._replace(of_area=True)):
                    if _is_near(rows, whole.rows(bins, bands)):
                        return whole
    return None


# Cosine transforms.

_FACTORS = ("orthonormal", "2", "1")


def _transforms(x: np.ndarray) -> _Ways:
    """Rows of cosines of the middles of steps, each by a factor."""
    if x.ndim != 2 or min(x.shape) < 2:
        return
    for rows in (x, x.T):
        kept, size = rows.shape
        for first in (0, 1) if kept <= size else ():
            for factor in _FACTORS:
                if _is_near(rows, _cosines(kept, size, first, factor)):
                    for words, other in _other_cosines(kept, size, first, factor):
                        yield f"made {words}", other if rows is x else other.T
                    return


def _cosines(kept: int, size: int, first: int, factor: str, kind: str = "2") -> np.ndarray:
    k, n = np.arange(kept)[:, None] + first, np.arange(size)
    angles = {
        "2": np.pi * k * (2 * n + 1) / (2 * size),
        "3": np.pi * (2 * k + 1) * n / (2 * size),
        "4": np.pi * (2 * k + 1) * (2 * n + 1) / (4 * size),
        "1": np.pi * k * n / (size - 1),
        "without the half step": np.pi * k * n / size,
    }[kind]
    if factor != "orthonormal":
        return np.asarray(float(factor) * np.cos(angles))
    cosines = np.asarray(np.sqrt(2 / size) * np.cos(angles))
    halved = np.broadcast_to({"2": k == 0, "3": n == 0}.get(kind, False), cosines.shape)
    return np.where(halved, cosines * np.sqrt(0.5), cosines)


def _other_cosines(kept: int, size: int, first: int, factor: str) -> _Ways:
    for kind in ("3", "4", "1", "without the half step"):
        name = f"a cosine transform of type {kind}" if len(kind) == 1 else f"cosines {kind}"
        yield f"as {name}, not of type 2", _cosines(kept, size, first, factor, kind)
    for other in _FACTORS:
        words = {"orthonormal": "by the factors of an orthonormal transform"}.get(
            other, f"by {other}"
        )
        yield f"of cosines multiplied {words}", _cosines(kept, size, first, other)
    yield (
        f"of the rows from {1 - first} on, not from {first}",
        _cosines(kept, size, 1 - first, factor),
    )
    sines = np.sin(np.pi * (np.arange(kept)[:, None] + 1) * (2 * np.arange(size) + 1) / (2 * size))
    yield "of sines in place of cosines", np.sqrt(2 / size) * sines
