"""How B's input follows from A's, where it is another: read off the two inputs."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

import probe
from probe.model_comparison.causes.input_relations import of_input

MEAN = np.array([0.485, 0.456, 0.406])[:, None, None]
STD = np.array([0.229, 0.224, 0.225])[:, None, None]
CAFFE = np.array([103.939, 116.779, 123.68])[:, None, None]


def scene():
    """A picture that is smooth but for a little noise."""
    coarse = torch.tensor(RNG.normal(size=(2, 3, 20, 24)))
    fine = 0.15 * torch.tensor(RNG.normal(size=(2, 3, 160, 192)))
    picture = interpolate(coarse, (160, 192), mode="bicubic") + fine
    return (picture - picture.min()) / (picture.max() - picture.min())


SCENE = scene()


def resized(mode, **options):
    return interpolate(SCENE, (48, 64), mode=mode, **options).float().numpy()


X = resized("bilinear", antialias=True)
ROWS = RNG.normal(size=(4, 9)).astype(np.float32)
RELATED = {
    "the reverse order, as BGR for RGB": (X, X[:, ::-1]),
    "with the channels (axis 3) in the order (1, 2, 0)": (
        X.transpose(0, 2, 3, 1),
        X.transpose(0, 2, 3, 1)[..., [1, 2, 0]],
    ),
    "times 0.00392157 plus 0": (X, X / 255),
    "B's is normalized by ImageNet's mean and standard deviation": (X, (X - MEAN) / STD),
    "A's is normalized by ImageNet's mean and standard deviation": ((X - MEAN) / STD, 255 * X),
    "BGR for RGB, times 255 plus (-103.939, -116.779, -123.68): B's is normalized by Caffe's": (
        X,
        255 * X[:, ::-1] - CAFFE,
    ),
    "reversed along axis 3": (X, X[..., ::-1]),
    "the axes 2 and 3 exchanged": (X[..., :48], X[..., :48].swapaxes(2, 3)),
    "last in memory, read as if they were first": (X, np.moveaxis(X, 1, -1).reshape(X.shape)),
    "first in memory, read as if they were last": (
        X,
        np.moveaxis(X.reshape(2, 48, 64, 3), -1, 1),
    ),
    "reshaped from (2, 3, 48, 64) to (2, 48, 64, 3), where axes": (X, X.reshape(2, 48, 64, 3)),
    "the samples in the order (1, 0, 2, 3)": (ROWS, ROWS[[1, 0, 2, 3]]),
    "the slices along axis 1 in the order (1, 0, 2, 3, 4, 5, …)": (
        ROWS,
        ROWS[:, [1, 0, *range(2, 9)]],
    ),
    "rounded to steps of 0.00392157": (X, np.rint(X * 255) / 255),
    "clipped to 0.3 .. 0.6": (X, np.clip(X, 0.3, 0.6)),
    "by one curve": (X, X**2.2),
    "shifted by (1, 2) places along the axes (2, 3)": (X, np.roll(X, (1, 2), (2, 3))),
    "smoothed, or resized in another way": (X, avg_pool2d(torch.tensor(X), 3, 1, 1).numpy()),
    "in other detail: the means over 8 x 8 places": (X, resized("bilinear")),
}


@pytest.mark.parametrize("claim", RELATED)
def test_a_relation_is_named(claim):
    a, b = (np.asarray(values, np.float32) for values in RELATED[claim])
    finding = of_input(a, b)
    assert finding is not None and claim in finding.claim, finding


@pytest.mark.parametrize("shape", [(1, 2), (1, 3), (2, 2), (1, 5), (3, 4), (2, 3, 40, 40)])
def test_of_unrelated_inputs_nothing_is_said(shape):
    for seed in range(20):
        a, b = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
        assert of_input(a, b) is None
        assert of_input(a, np.zeros_like(a)) is None


class Preprocessed(nn.Module):
    """The normalisation of a picture, and what follows."""

    def __init__(self, body, divisor=255.0, flipped=False):
        super().__init__()
        self.body, self.divisor, self.flipped = body, divisor, flipped
        self.mean, self.std = (nn.Buffer(torch.tensor(x, dtype=torch.float32)) for x in (MEAN, STD))

    def forward(self, x):
        if self.flipped:
            x = x.flip(1)
        return self.body((x / self.divisor - self.mean) / self.std)


def body():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3)).eval()


def test_an_input_in_another_order_is_the_one_source():
    net, flipped = body(), X[:, ::-1].copy()
    (source,) = probe.compare(net, net, X, x_b=flipped).sources
    assert source.findings[0].slug == "reversed-channels"


def test_faults_of_a_preprocessing_within_b():
    """What B makes of its own input is told against A's, which was made outside."""
    net, raw = body(), 255 * X
    outside = ((X - MEAN) / STD).astype(np.float32)
    for fault, claim in (
        ({"divisor": 256.0}, "what B makes of its input is A's times 0.996094 plus ("),
        ({"flipped": True}, "BGR for RGB"),
    ):
        found = probe.compare(net, Preprocessed(net, **fault).eval(), outside, x_b=raw)
        claims = [one.findings[0].claim for one in found.sources if one.b != ("input 0",)]
        assert len(claims) == 1 and claim in claims[0], str(found)


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 6, batch_first=True)

    def forward(self, x, h, c):
        return self.lstm(x, (h, c))[0]


def test_states_that_are_exchanged():
    shapes = ((2, 4, 5), (1, 2, 6), (1, 2, 6))
    x, h, c = (RNG.normal(size=shape).astype(np.float32) for shape in shapes)
    net = Cell().eval()
    found = probe.compare(net, net, (x, h, c), x_b=(x, c, h))
    claims = [source.findings[0].claim for source in found.sources]
    assert claims == ["inputs 1 and 2, the states, are exchanged"]
    finding = of_input(h, c, inputs=(x, h, c))
    assert finding.slug == "swapped-inputs" and "A's input 2" in finding.claim
