"""What networks do with complex numbers between transforms, checked in all parties."""

import pytest
import torch
from own_seed import RNG
from torch import nn
from torch.nn import functional as F

import probe

X = RNG.normal(size=(2, 4, 16)).astype("float32")
Y, MATRIX = (torch.from_numpy(RNG.normal(size=size).astype("float32")) for size in ((16,), (4, 4)))
WINDOW, MASK, AT = torch.hann_window(8), Y > 0, torch.tensor([2, 0, 0])
SPECTRUM = torch.complex(MATRIX, MATRIX.T)


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class SpectralConvolution(nn.Module):
    """Of a Fourier neural operator: the lowest frequencies of each channel, and a complex bias."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(RNG.normal(size=(4, 5, 3, 2)), dtype=torch.float))
        self.bias = nn.Parameter(SPECTRUM[:1, :1].clone())

    def forward(self, x):
        spectrum = torch.fft.rfft(x)
        made = torch.zeros(2, 5, 9, dtype=torch.cfloat)
        weight = torch.view_as_complex(self.weight)
        made[:, :, :3] = torch.einsum("bix,iox->box", spectrum[:, :, :3], weight)
        return torch.fft.irfft(made + self.bias)


def spectrum(x, **options):
    return torch.stft(x[:, 0], 8, 2, return_complex=True, **options)


def written(x):
    x = x.clone()
    x[:, 1] = 3.0
    return x.mul_(2).add_(1j)


FUNCTIONS = [
    lambda x: ((1 - 2j) * torch.fft.fft(x) - 1j + (2 - torch.fft.fft(x))).imag,
    lambda x: (torch.exp(1j * x) + torch.polar(x.abs(), Y)).square().real,
    lambda x: (torch.fft.fft(x) * torch.fft.fft(Y).conj()).real,
    lambda x: (torch.fft.fft(x) / (1 + torch.fft.fft(x)) + torch.fft.fft(x) / Y).real,
    lambda x: (2 / (torch.fft.fft(x, dim=1) + 9) + torch.fft.fft(x).reciprocal() ** 3).imag,
    lambda x: (torch.fft.fft(x)[..., :4] @ SPECTRUM + torch.matmul(SPECTRUM, x + 0j)[..., :4]).real,
    lambda x: F.linear(x[..., :4].to(torch.cfloat), SPECTRUM.mH, SPECTRUM[0]).imag,
    lambda x: written(torch.fft.rfft(x)).imag,
    lambda x: torch.where(MASK, torch.fft.fft(x), 2.0).masked_fill(~MASK, 1j).imag,
    lambda x: torch.fft.fftshift(torch.fft.fft(x)).chunk(2, 1)[0].repeat(1, 2, 1).real,
    lambda x: torch.fft.ifftshift(F.pad(torch.fft.fft(x)[:, AT], (1, 2), value=3), 2).imag,
    lambda x: torch.fft.fft(x).to(torch.cdouble).to(torch.cfloat).abs().unbind(1)[1],
    lambda x: (torch.fft.rfft(x) + 40j).angle(),
    lambda x: torch.stft(x[0, 0], 8, 3, window=WINDOW, return_complex=False),
    lambda x: spectrum(x, win_length=5, pad_mode="constant", normalized=True).real,
    lambda x: spectrum(x, window=WINDOW[1:], win_length=7, onesided=False, center=False).imag,
    lambda x: torch.istft(spectrum(x, window=WINDOW), 8, 2, window=WINDOW),
    lambda x: torch.istft(spectrum(x, normalized=True), 8, 2, normalized=True, length=14),
    lambda x: torch.istft(spectrum(x, onesided=False), 8, 2, onesided=False, length=19),
]


@pytest.mark.parametrize("model", [*map(Net, FUNCTIONS), SpectralConvolution()])
def test_all_parties_compute_it(model):
    report = probe.check(model.eval(), "", X)
    assert report.verdict == "agree" and not report.missing, report.sentence


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: torch.fft.rfft(x).angle(), "the phase jumps from pi to -pi"),
        (lambda x: (torch.fft.fft(x) * 0).angle(), "the phase is undefined"),
        (lambda x: (torch.fft.fft(x) ** 0.5).real, "second to fourth power"),
    ],
)
def test_what_rounding_decides_is_refused(function, why):
    report = probe.check(Net(function), "", X)
    assert report.verdict == "unchecked" and why in report.sentence
