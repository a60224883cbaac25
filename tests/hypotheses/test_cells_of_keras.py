"""Keras' RNN over a cell of the model's own, whose passes are steps of one layer without calls."""

import keras
import numpy as np
import pytest
from named_mistakes import named
from planting import draw

pytestmark = pytest.mark.tensorflow


class Leaky(keras.layers.Layer):
    """A gate that reads the state element by element, and a moving average."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = self.state_size = self.output_size = units

    def build(self, shape) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], 2 * self.units), name="kernel")
        self.own = self.add_weight(shape=(self.units,), name="own")

    def call(self, x, states):
        keep, new = keras.ops.split(keras.ops.matmul(x, self.kernel), 2, axis=-1)
        keep = keras.ops.sigmoid(keep + self.own * states[0])
        state = keep * states[0] + (1 - keep) * keras.ops.tanh(new)
        return state, [state]


def leaky(layer, x: np.ndarray, mistake: str) -> np.ndarray:
    kernel, own = (np.asarray(v) for v in layer.get_weights())
    state, out = np.zeros(4), []
    for sample in x:
        state = state if mistake == "kept" else np.zeros(4)
        for t, frame in enumerate(sample):
            if mistake == "chunks" and t == 3:
                state = np.zeros(4)
            keep, new = np.split(frame @ kernel, 2)
            keep = 1 / (1 + np.exp(-keep - own * state))
            shown = np.maximum(new, 0) if mistake == "relu" else np.tanh(new)
            state = keep * state + (1 - keep) * shown
            out.append(state)
    return np.reshape(out, (*x.shape[:2], 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("mistake", "slug", "words"),
    [
        ("kept", "carried-state", "are not cleared between one sample and the next"),
        ("chunks", "carried-state", "is reset at pass 3 (counted from 0) of the loop"),
        ("relu", "changed-step", "ReLU instead of tanh, in every pass of the loop"),
    ],
)
def test_a_loop_without_calls(mistake, slug, words):
    layer = keras.layers.RNN(Leaky(4), return_sequences=True, name="cells")
    given = keras.Input((6, 5))
    model, x = keras.Model(given, layer(given)), 2 * draw(3, 6, 5)
    for weight in layer.weights:
        weight.assign(draw(*weight.shape))
    finding = named(model, "cells", x, leaky(layer, x, mistake))
    assert (finding.slug, finding.also) == (slug, ())
    assert words in finding.claim
