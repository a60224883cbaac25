"""Bidirectional with every merge mode, and TimeDistributed over layers of every family."""

from itertools import product

import numpy as np
import pytest
from representatives import exhaustive

import probe

MODES = ["concat", "sum", "ave", "mul", None]


@pytest.mark.parametrize("mode", ["concat", "sum", *exhaustive("ave", "mul", None)])
def test_bidirectional(keras, agrees, mode):
    layers = keras.layers
    pairs = list(product((layers.SimpleRNN, layers.LSTM, layers.GRU), (False, True)))
    for number, (kind, whole) in enumerate(pairs[MODES.index(mode) % 2 :: 2]):
        inner = kind(3, return_sequences=whole, return_state=number % 2 == 1)
        report = agrees(layers.Bidirectional(inner, merge_mode=mode), (2, 5, 4))
        assert "backward_layer.recurrent_kernel" in report.weights
    agrees(
        layers.Bidirectional(layers.ConvLSTM1D(3, 2, return_sequences=True), merge_mode=mode),
        (2, 4, 6, 3),
    )


def test_two_different_layers(keras, agrees):
    layers = keras.layers
    back = layers.GRU(2, return_sequences=True, go_backwards=True)
    agrees(
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), backward_layer=back), (2, 5, 4)
    )


def test_masks_and_states_of_both_directions(keras):
    layers = keras.layers
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")
    x[0, 4:] = x[1, :2] = 0
    # Keras 2 takes seconds to draw an LSTM with a mask
    kind = layers.LSTM if keras.__name__ == "keras" else layers.SimpleRNN
    for mode, whole in (("concat", True), ("mul", False), (None, True)):
        inputs = keras.Input((6, 4))
        outputs = layers.Bidirectional(kind(3, return_sequences=whole), merge_mode=mode, name="r")(
            layers.Masking()(inputs)
        )
        assert probe.check(keras.Model(inputs, outputs), "r", x).ok
    inputs, h, c = keras.Input((6, 4)), keras.Input((3,)), keras.Input((3,))
    outputs = layers.Bidirectional(layers.GRU(3), name="r")(inputs, initial_state=[h, c])
    assert probe.check(
        keras.Model([inputs, h, c], outputs), "r", [x, x[:, 0, :3] + 1, x[:, 1, :3]]
    ).ok


INNER = {
    "Dense": lambda layers: (layers.Dense(3, activation="relu"), (4,)),
    "Conv2D": lambda layers: (layers.Conv2D(3, 2, padding="same"), (5, 6, 4)),
    "DepthwiseConv1D": lambda layers: (layers.DepthwiseConv1D(2), (6, 4)),
    "BatchNormalization": lambda layers: (layers.BatchNormalization(), (6, 4)),
    "LayerNormalization": lambda layers: (layers.LayerNormalization(), (6, 4)),
    "MaxPooling1D": lambda layers: (layers.MaxPooling1D(2), (6, 4)),
    "GlobalAveragePooling1D": lambda layers: (layers.GlobalAveragePooling1D(), (6, 4)),
    "Flatten": lambda layers: (layers.Flatten(), (6, 4)),
    "Reshape": lambda layers: (layers.Reshape((4, 6)), (6, 4)),
    "Softmax": lambda layers: (layers.Softmax(axis=1), (6, 4)),
    "Activation": lambda layers: (layers.Activation("gelu"), (6, 4)),
    "Dropout": lambda layers: (layers.Dropout(0.5), (4,)),
    "LSTM": lambda layers: (layers.LSTM(3, return_sequences=True), (6, 4)),
    "Bidirectional": lambda layers: (layers.Bidirectional(layers.GRU(2)), (6, 4)),
    "TimeDistributed": lambda layers: (layers.TimeDistributed(layers.Dense(2)), (6, 4)),
}


@pytest.mark.parametrize("kind", INNER)
def test_time_distributed(keras, agrees, kind):
    inner, shape = INNER[kind](keras.layers)
    report = agrees(keras.layers.TimeDistributed(inner), (2, 5, *shape))
    assert report.input_axes[:2] == ("batch", "time")


def test_a_sequential_model_at_every_step(keras, agrees):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6, 5, 3)), layers.Conv2D(4, 2), layers.Flatten(), layers.Dense(2)]
    )
    agrees(layers.TimeDistributed(model), (2, 4, 6, 5, 3))


def test_a_layer_that_works_across_the_batch_is_applied_step_by_step(agrees):
    keras = pytest.importorskip("keras")
    report = agrees(keras.layers.TimeDistributed(keras.layers.Softmax(axis=0)), (3, 5, 4))
    np.testing.assert_allclose(report.outputs["numpy"].sum(axis=0), 1.0, rtol=1e-6)


def test_a_mask_on_the_way_to_a_dense_layer_changes_nothing(keras):
    inputs = keras.Input((6, 4))
    outputs = keras.layers.TimeDistributed(keras.layers.Dense(3), name="t")(
        keras.layers.Masking()(inputs)
    )
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")
    x[0, 3:] = 0
    assert probe.check(keras.Model(inputs, outputs), "t", x).ok
