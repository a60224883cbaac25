"""Spectra of which a port takes another part, and mistakes in what complex numbers go through."""

import re

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe
from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.steps.complex_parts import _other_parts
from probe.ops.step import Ref, Step
from probe.trial.case import Case

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
            "the imaginary parts are taken instead of the real parts",
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


class Waves(nn.Module):
    """Cosines and sines of steps, and points of two coordinates: no complex numbers."""

    def forward(self, x, mistake=""):
        angles = x[:, 0] * torch.linspace(1, 3, 24)
        waves = [torch.cos(angles), torch.sin(angles)]
        left, right = x[:, 1].view(2, 12, 2).unbind(-1)
        waves = waves[::-1] if mistake == "sines" else waves
        left, right = (right, left) if mistake == "points" else (left, right)
        size = left if mistake == "size" else (left.square() + right.square()).sqrt()
        return torch.cat([*waves, 2 * left - right.exp(), size], -1)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("sines", "the cosines and sines are exchanged in torch.cos and torch.sin"),
        ("points", "the first and second elements of the last axis are exchanged"),
        ("size", "output 0 of unbind in line"),
    ],
)
def test_what_is_not_complex_has_no_imaginary_parts(mistake, words):
    model, x = Waves(), torch.from_numpy(X)
    wrong = model(x, mistake).numpy()
    first = probe.check(model, "", X, expected=wrong).findings[0]
    assert first.left <= 1 and words in first.claim, first


def test_all_words_of_what_is_not_complex():
    x = RNG.normal(size=(2, 3, 2))
    parts = [ops.Slice((0, 0, part), (2, 3, part + 1)) for part in (0, 1)]
    steps = (*(Step(op, (Ref(-1, 0),)) for op in (*parts, ops.Cos(), ops.Sin())),)
    steps += (Step(ops.Concat(axis=2), tuple(map(Ref, range(4)))),)
    steps += (*(Step(ops.Square(), (Ref(at),)) for at in (0, 1)), Step(ops.Add(), (Ref(5), Ref(6))))
    values = recompute(steps, (x,))
    claims = [change.claim for change in _other_parts(Case(steps, (x,), values, values[-1][0]))]
    assert len(claims) > 20
    assert not [claim for claim in claims if re.search("real|imaginary|conjugate", claim)]
