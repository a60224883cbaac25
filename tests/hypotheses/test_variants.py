"""Ops that a port has otherwise, where no field of theirs says so: another op of the same name."""

from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_seed import RNG
from torch import nn

import probe

X = RNG.normal(size=(2, 3, 10, 9)).astype(np.float32)


def of_largest_magnitude(x):
    most, least = F.max_pool2d(x, 2), -F.max_pool2d(-x, 2)
    return torch.where(most >= -least, most, least)


def as_maximum(m, x):
    return torch.maximum(x, m.weight.reshape(-1, 1, 1) * x)


def to_even(x):
    rows, columns = (torch.round(torch.arange(7) * (n - 1) / 6).long() for n in (10, 9))
    return x[:, :, rows][:, :, :, columns]


def zeros_beyond(x):
    """Of an image with a border of zeros that is wide enough, the middle of what is made of it."""
    wide = F.interpolate(F.pad(x, (4, 4, 4, 4)), scale_factor=2, mode="bicubic")
    return wide[:, :, 8:-8, 8:-8]


def equal_windows(x):
    return F.avg_pool2d(x[:, :, :8, :8], 2)


def until_floor(x):
    cells = lambda n: [slice(i * n // 4, (i + 1) * n // 4) for i in range(4)]  # noqa: E731
    rows = [[x[:, :, a, b].mean((2, 3)) for b in cells(9)] for a in cells(10)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def slopes():
    m = nn.PReLU(3)
    with torch.no_grad():
        m.weight.copy_(torch.tensor([0.25, 1.5, -0.5]))
    return m


def old_hard_swish(x):
    return x * torch.clip(0.2 * x + 0.5, 0, 1)


def of_table(x):
    table = torch.tanh(torch.linspace(-8, 8, 257))
    return table[torch.clip(torch.round((x + 8) * 16), 0, 256).long()]


FOLD = nn.Fold((5, 6), (3, 2), stride=(2, 1), padding=(0, 1))


def blocks_of(m, x):
    """For each block the flat cells of an image without its padding that it covers, and -1."""
    image = F.pad(
        torch.arange(1.0, 1 + x.shape[-2] * x.shape[-1]).reshape(1, 1, *x.shape[-2:]), (1, 1, 0, 0)
    )
    return F.unfold(image, m.kernel_size, stride=m.stride)[0].T.long() - 1


def last_block(m, x):
    y = torch.zeros(2, 3, 5 * 6)
    columns = x.reshape(2, 3, 6, -1)
    for block, cells in enumerate(blocks_of(m, torch.zeros(1, 1, 5, 6))):
        y[:, :, cells[cells >= 0]] = columns[:, :, cells >= 0, block]
    return y.reshape(2, 3, 5, 6)


def mean_of_blocks(m, x):
    return m(x) / torch.clamp(m(torch.ones_like(x)), min=1)


def zero_rows(m, x):
    y = m(x) - m.bias.reshape(-1, 1, 1)
    y[:, :, -1], y[:, :, :, -1] = 0, 0
    return y + m.bias.reshape(-1, 1, 1)


def cosine(bounded):
    """The cosine of the two halves of x along axis 1 with another bound of the norms."""

    def of(m, x):
        a, b = x.chunk(2, 1)
        return (a * b).sum(1) / (bounded(a) * bounded(b))

    return of


class Cosine(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.CosineSimilarity(1, 1.4)

    def forward(self, x):
        return self.inner(*x.chunk(2, 1))


def mean_over_padding(m, x):
    rows = F.embedding(x, m.weight)
    return (rows * (x != m.padding_idx)[..., None]).mean(1)


class Below(nn.Module):
    def forward(self, x):
        return torch.tanh(x.clamp(max=0.7)) * x


def by_sizes(mode):
    return lambda m, x: F.interpolate(x, (17, 15), mode=mode)


FAULTS = {
    "the same bound at both ends": (Below(), lambda m, x: torch.tanh(x.clamp(-0.7, 0.7)) * x),
    "coordinates by the ratio of the sizes, 1.7, 1.66667": (
        nn.Upsample(scale_factor=1.7, mode="bicubic"),
        by_sizes("bicubic"),
    ),
    "coordinates by the ratio of the sizes, 1, 1, 1.7, 1.66667": (
        nn.Upsample(scale_factor=1.7),
        by_sizes("nearest"),
    ),
    "the value of the largest magnitude": (nn.MaxPool2d(2), lambda m, x: of_largest_magnitude(x)),
    "the smallest value": (nn.MaxPool2d(2), lambda m, x: -F.max_pool2d(-x, 2)),
    "AveragePool instead of MaxPool": (
        nn.MaxPool2d(3, 2, 1),
        lambda m, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    "AveragePool that counts padding instead of MaxPool": (
        nn.MaxPool2d(3, 2, 1),
        lambda m, x: F.avg_pool2d(x, 3, 2, 1),
    ),
    "MaxPool instead of AveragePool": (
        nn.AvgPool2d(3, 2, 1),
        lambda m, x: F.max_pool2d(x, 3, 2, 1),
    ),
    "max(x, slope x)": (slopes(), as_maximum),
    "halves rounded to even": (nn.Upsample((7, 7)), lambda m, x: to_even(x)),
    "zeros beyond the border": (
        nn.Upsample(scale_factor=2, mode="bicubic"),
        lambda m, x: zeros_beyond(x),
    ),
    "the rest at the end unused": (nn.AdaptiveAvgPool2d(4), lambda m, x: equal_windows(x)),
    "not at the ceiling": (nn.AdaptiveAvgPool2d(4), lambda m, x: until_floor(x)),
    "clip(0.2 x + 0.5, 0, 1)": (nn.Hardswish(), lambda m, x: old_hard_swish(x)),
    "a table's values of tanh in steps of 0.0625": (nn.Tanh(), lambda m, x: of_table(x)),
    "wrapping around": (nn.Hardtanh(0, 255), lambda m, x: x % 256),
    "padding of mode edge": (
        nn.Unfold((3, 2), stride=(2, 1), padding=(0, 1)),
        lambda m, x: F.unfold(F.pad(x, (1, 1, 0, 0), mode="replicate"), (3, 2), stride=(2, 1)),
    ),
    "padded on the other side": (
        nn.ZeroPad2d((3, 0, 0, 0)),
        lambda m, x: F.pad(x, (0, 3, 0, 0)),
    ),
    "the output padding filled with zeros": (
        nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1),
        zero_rows,
    ),
    "epsilon added to the norm": (
        Cosine(),
        cosine(lambda x: x.norm(dim=1) + 1.4),
    ),
    "epsilon added to the sum of squares": (
        Cosine(),
        cosine(lambda x: torch.sqrt(x.square().sum(1) + 1.4)),
    ),
    "the mean where blocks overlap": (FOLD, mean_of_blocks),
    "the last block where blocks overlap": (FOLD, last_block),
    "the mean over the padding too": (
        nn.EmbeddingBag.from_pretrained(torch.rand(7, 5), mode="mean", padding_idx=2),
        mean_over_padding,
    ),
}


INPUTS = {
    nn.Fold: RNG.normal(size=(2, 18, 14)).astype(np.float32),
    nn.ConvTranspose2d: X[:, :, :4, :5],
    Cosine: RNG.normal(size=(5, 8, 4)).astype(np.float32),
    nn.EmbeddingBag: np.array([[1, 2, 3, 6], [2, 2, 5, 1], [0, 4, 4, 3]]),
}


@pytest.mark.parametrize("words", FAULTS)
def test_another_op_of_the_same_name(words):
    m, port = FAULTS[words]
    x = np.round(300 * X) if words == "wrapping around" else INPUTS.get(type(m), 3 * X)
    with torch.no_grad():
        y = port(m, torch.tensor(x)).numpy()
    report = probe.check(m, "", x, expected=y)
    assert report.findings, report.diagnosis
    assert words in report.findings[0].claim
    assert report.findings[0].left <= 1


@pytest.mark.tensorflow
def test_a_threshold_that_is_subtracted_above_it_too():
    keras = import_module("keras")
    model = keras.Sequential([keras.Input((4, 5)), keras.layers.ReLU(1.5, 0.2, 0.4, name="relu")])
    x = 2 * RNG.normal(size=(3, 4, 5)).astype(np.float32)
    y = np.where(x > 0.4, np.minimum(x - np.float32(0.4), 1.5), 0.2 * (x - np.float32(0.4)))
    report = probe.check(model, "relu", x, expected=y.astype(np.float32))
    assert "the threshold subtracted above it" in report.findings[0].claim
    assert report.findings[0].left <= 1


@pytest.mark.tensorflow
# Keras' own
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_inputs_quantised_by_truncation():
    keras = import_module("keras")
    model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(6, name="dense")])
    layer = model.get_layer("dense")
    layer.quantize("int8")
    x = RNG.normal(size=(4, 9)).astype(np.float32)
    scale = np.float32(127) / (np.abs(x).max(-1, keepdims=True) + np.float32(1e-7))
    codes = np.trunc(x * scale).astype(np.float32)
    y = codes @ np.float32(layer._kernel) / (np.float32(layer.kernel_scale) * scale)
    report = probe.check(model, "dense", x, expected=y + np.float32(layer.bias))
    assert "the scaled input is rounded towards zero" in report.findings[0].claim
    assert report.findings[0].left <= 1


def test_a_state_that_is_overwritten_in_place():
    torch.manual_seed(0)
    m = nn.RNN(4, 5, batch_first=True).eval()
    x = RNG.normal(size=(2, 6, 4)).astype(np.float32)
    state, seen = np.zeros((2, 5)), []
    (wx, wh, bx, bh) = (one.detach().numpy().astype(float) for one in m.parameters())
    for t in range(6):
        for unit in range(5):
            share = x[:, t] @ wx[unit] + state @ wh[unit] + bx[unit] + bh[unit]
            state[:, unit] = np.tanh(share)
        seen.append(state.copy())
    y = np.stack(seen, 1).astype(np.float32)
    report = probe.check(m, "", x, expected=y)
    assert "overwritten before the next" in report.findings[0].claim
    right = m(torch.tensor(x))[0].detach().numpy()
    assert probe.check(m, "", x, expected=right).verdict == "agree"


@pytest.mark.tensorflow
def test_a_state_that_begins_anew_behind_a_masked_step():
    """The output is 0 there, and each run of steps between two masked ones is one of its own."""
    keras = import_module("keras")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((7, 3)), keras.layers.Masking(), keras.layers.LSTM(4, return_sequences=True)]
    )
    x = RNG.normal(size=(2, 7, 3)).astype(np.float32)
    x[0, 2], x[1, [1, 4]] = 0, 0
    y = np.zeros((2, 7, 4), np.float32)
    for sample, masked in ((0, [-1, 2, 7]), (1, [-1, 1, 4, 7])):
        for before, after in pairwise(masked):
            run = x[sample : sample + 1, before + 1 : after]
            if run.size:
                y[sample, before + 1 : after] = np.asarray(model.layers[-1](run))[0]
    finding = probe.check(model, model.layers[-1].name, x, expected=y).findings[0]
    assert finding.left <= 1, finding
    assert "the state is set to 0 at steps that are skipped" in finding.claim
