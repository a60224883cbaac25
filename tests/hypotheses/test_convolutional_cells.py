"""Recurrences whose products are convolutions: what is done otherwise within their cells."""

import keras
import numpy as np
import pytest
from named_mistakes import named
from planting import draw
from torch import from_numpy
from torch.nn import functional as F

pytestmark = pytest.mark.tensorflow


def same(x: np.ndarray, kernel: np.ndarray, dilation: int) -> np.ndarray:
    """Of (batch, place, channel), padded to the same size."""
    given = from_numpy(np.ascontiguousarray(x.swapaxes(1, 2), np.float32))
    taps = from_numpy(kernel.transpose(2, 1, 0).copy())
    y = F.conv1d(given, taps, padding=dilation, dilation=dilation)
    return y.numpy().swapaxes(1, 2)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def convolved(layer, x: np.ndarray, mistake: str) -> np.ndarray:
    kernel, recurrent, bias = (np.asarray(v) for v in layer.get_weights())
    h = c = np.zeros((len(x), 7, 3), np.float32)
    out, state_dilation = [], 2 if mistake == "dilated state" else 1
    for t in range(x.shape[1]):
        if mistake == "reset":
            h = c = np.zeros_like(h)
        z = same(x[:, t], kernel, 1 if mistake == "plain input" else 2) + bias
        z = z + same(h, recurrent, state_dilation)
        i, f, g, o = np.split(z, 4, -1)
        old, c = c, sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = (sigmoid(o) * np.tanh(old if mistake == "old cell" else c)).astype(np.float32)
        out.append(h)
    return np.stack(out, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("mistake", "slug", "words"),
    [
        ("dilated state", "ignored-dilation", "the state's convolution has the dilation (2,)"),
        ("plain input", "ignored-dilation", "the input's convolution has the dilation (1,)"),
        ("old cell", "other-tensor", "the activated cell state takes"),
        ("reset", "carried-state", "the state is reset at every time step"),
    ],
)
def test_a_cell_of_convolutions(mistake, slug, words):
    layer = keras.layers.ConvLSTM1D(
        3, 3, padding="same", dilation_rate=2, return_sequences=True, name="cell"
    )
    given = keras.Input((4, 7, 2))
    model, x = keras.Model(given, layer(given)), 2 * draw(2, 4, 7, 2)
    for weight in layer.weights:
        weight.assign(draw(*weight.shape))
    finding = named(model, "cell", x, convolved(layer, x, mistake))
    assert (finding.slug, finding.also) == (slug, ())
    assert words in finding.claim
