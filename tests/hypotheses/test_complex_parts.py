"""Spectra of which a port takes another part, and mistakes in what complex numbers go through."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe

X = RNG.normal(size=(2, 3, 24)).astype(np.float32)
WINDOW = torch.hann_window(8)


class Mixed(nn.Module):
    """Of FNet: the real parts of a transform, through a layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(24, 4)

    def forward(self, x, part=lambda s: s.real):
        return torch.tanh(self.layer(part(torch.fft.fft2(x))))


class Correlated(nn.Module):
    """A circular correlation with learned filters, by spectra."""

    def __init__(self):
        super().__init__()
        self.filters = nn.Parameter(torch.tensor(RNG.normal(size=(3, 24)), dtype=torch.float))

    def forward(self, x, second=lambda s: s.conj(), back=torch.fft.irfft):
        return back(torch.fft.rfft(x) * second(torch.fft.rfft(self.filters)))


class Bands(nn.Module):
    """Logarithms of the power of frames, in bands."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", WINDOW)
        self.register_buffer("bands", torch.tensor(RNG.uniform(size=(4, 5)), dtype=torch.float))

    def forward(self, x, window=WINDOW, size=lambda s: s.real**2 + s.imag**2, **options):
        options = {"hop_length": 4, "return_complex": True} | options
        spectrum = torch.stft(x[:, 0], 8, window=window, **options)
        return torch.log(self.bands @ size(spectrum) + 1e-3)


@pytest.mark.parametrize(
    ("model", "wrong", "words"),
    [
        (Mixed, {"part": abs}, "the magnitudes are taken instead of the real parts"),
        (
            Mixed,
            {"part": lambda s: s.imag},
            "the imaginary parts are taken instead of the real ones",
        ),
        (Mixed, {"part": lambda s: s.real + s.imag}, "the sums of both parts"),
        (Correlated, {"second": lambda s: s}, "negation is not applied"),
        (Bands, {"size": abs}, "replaced by its square root"),
        (Bands, {"size": lambda s: s.real**2}, "the imaginary parts are taken as 0"),
        (Bands, {"window": torch.hann_window(8, False)}, "window is a symmetric Hann window"),
        (Bands, {"window": torch.hamming_window(8)}, "window is a periodic Hamming window"),
        (Bands, {"window": torch.ones(8)}, "window is not multiplied"),
        (Bands, {"pad_mode": "constant"}, "mode constant instead of reflect"),
        (Bands, {"normalized": True}, "0.353553 instead of 1"),
    ],
)
def test_another_part(model, wrong, words):
    model = model().eval()
    with torch.no_grad():
        values = model(torch.from_numpy(X), **wrong).numpy()
    findings = probe.check(model, "", X, expected=values).findings
    claims = [finding.claim for finding in findings if finding.left <= 1]
    assert any(words in claim for claim in claims), claims


class Sounded(nn.Module):
    """Of a vocoder: spectra of magnitudes and phases back to sound."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", WINDOW + 0.1)

    def forward(self, x, sign=1, **options):
        size, phase = x[:, :1].tile(1, 5, 1), x[:, 1:2].cumsum(1).tile(1, 5, 1)
        spectrum = torch.polar(size.exp(), sign * phase)
        return torch.istft(spectrum, 8, 2, **{"window": self.window} | options)


@pytest.mark.parametrize(
    ("wrong", "part", "words"),
    [
        ({"sign": -1}, slice(None), "the conjugate is taken"),
        ({"center": False}, slice(6, 52), "the slice starts 2 later"),
    ],
)
def test_a_signal_of_spectra(wrong, part, words):
    model = Sounded().eval()
    values = model(torch.from_numpy(X), **wrong).numpy()[:, part]
    report = probe.check(model, "", X, expected=values)
    claims = [finding.claim for finding in report.findings if finding.left <= 1]
    assert report.verdict == "diverge" and not report.missing
    assert any(words in claim for claim in claims), claims
