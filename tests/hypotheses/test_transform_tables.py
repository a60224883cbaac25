"""Banks of filters and transforms that a port makes by another formula."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from scipy import fft
from torch import nn
from transformers.audio_utils import mel_filter_bank

import probe

RATE = {"num_frequency_bins": 65, "num_mel_filters": 12, "sampling_rate": 16000}
OF_WHISPER = {
    "min_frequency": 0.0,
    "max_frequency": 8000.0,
    "norm": "slaney",
    "mel_scale": "slaney",
}
OF_KALDI = {
    **{"min_frequency": 20.0, "max_frequency": 7600.0, "mel_scale": "kaldi"},
    "triangularize_in_mel_space": True,
}


def bank(**options):
    return mel_filter_bank(**RATE, **options).astype(np.float32)


class Bands(nn.Module):
    """Logarithms of bands of a spectrum, and their cepstrum under a lifter."""

    def __init__(self, bands, cosines):
        super().__init__()
        self.register_buffer("bands", torch.from_numpy(bands))
        self.register_buffer("cosines", torch.tensor(cosines, dtype=torch.float))
        self.register_buffer("lifter", torch.tensor(lifter(0), dtype=torch.float))

    def forward(self, x, bands=None, cosines=None, lifter=None):
        bands, cosines, lifter = (
            own if other is None else torch.tensor(other, dtype=torch.float)
            for other, own in ((bands, self.bands), (cosines, self.cosines), (lifter, self.lifter))
        )
        y = torch.log((x**2) @ bands + 1e-3) @ cosines.T * lifter
        return y - y.mean(1, keepdim=True)


def lifter(first):
    return 1 + 11 * np.sin(np.pi * (np.arange(8) + first) / 22)


def transform(kind=2, norm="ortho", rows=slice(0, 8)):
    return fft.dct(np.eye(12), kind, norm=norm, axis=0)[rows]


@pytest.mark.parametrize(
    ("own", "wrong", "words"),
    [
        (OF_WHISPER, {"bands": bank(**OF_WHISPER | {"norm": None})}, "of height 1, not of area 1"),
        (OF_WHISPER, {"bands": bank(**OF_WHISPER | {"mel_scale": "htk"})}, "on HTK's scale"),
        (
            OF_KALDI,
            {"bands": bank(**OF_KALDI | {"triangularize_in_mel_space": False})},
            "with lines over frequency, not over pitch",
        ),
        (OF_KALDI, {"bands": bank(**OF_KALDI | {"max_frequency": 8000.0})}, "half of the sampling"),
        (OF_WHISPER, {"cosines": transform(norm="backward")}, "cosines multiplied by 2"),
        (OF_WHISPER, {"cosines": transform(3)}, "a cosine transform of type 3"),
        (OF_WHISPER, {"cosines": transform(rows=slice(1, 9))}, "of the rows from 1 on"),
        (OF_WHISPER, {"lifter": lifter(1)}, "lifter is made of coefficients"),
    ],
)
def test_another_formula(own, wrong, words):
    model = Bands(bank(**own), transform()).eval()
    x = RNG.normal(size=(2, 9, 65)).astype(np.float32)
    values = model(torch.from_numpy(x), **wrong).numpy()
    finding = probe.check(model, "", x, expected=values).findings[0]
    assert (finding.slug, finding.left <= 1) == ("other-table", True), finding
    assert words in finding.claim, finding.claim


def sigmoids(points):
    return (1 / (1 + np.exp(-np.asarray(points)))).astype(np.float32)


class Gate(nn.Module):
    """Numbers times their sigmoid, which is looked up in a table."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.tensor(sigmoids((np.arange(64) - 32) / 4)))

    def forward(self, x):
        return x * self.table[(torch.floor(x * 4).long() + 32).clamp(0, 63)]


@pytest.mark.parametrize(
    ("points", "factor", "words"),
    [
        ((np.arange(64) - 31.5) / 4, 4, "made with numbers that begin +0.5 step further on"),
        (np.linspace(-8, 8, 64), 4, "made with 63 in place of 64 (both ends included)"),
        ((np.arange(64) - 32) / 8, 8, "of a sigmoid up to 4, with the index that belongs to it"),
    ],
)
def test_a_function_that_is_looked_up_at_other_numbers(points, factor, words):
    x = RNG.normal(size=(6, 40)).astype(np.float32) * 3
    index = np.clip(np.floor(x * np.float32(factor)).astype(int) + 32, 0, 63)
    first, *_ = probe.check(Gate(), "", x, expected=x * sigmoids(points)[index]).findings
    assert (first.slug, first.left <= 1) == ("other-table", True), first
    assert first.claim.startswith(f"table is {words}")
