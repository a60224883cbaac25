"""What an input could not have revealed is said, and inputs are drawn so that there is nothing to
say where the weights allow it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lazy import keras

import probe
from probe import ops

L, nn = keras.layers, torch.nn


def trained(model):
    """Random numbers in all weights, variances positive."""
    rng = np.random.default_rng(0)
    if isinstance(model, torch.nn.Module):
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(
                    torch.from_numpy(
                        rng.uniform(0.2, 1, tensor.shape)
                        if name.endswith("var")
                        else rng.normal(size=tensor.shape)
                    )
                )
        return model.eval()
    model.set_weights(
        [
            rng.uniform(0.2, 1, w.shape) if "variance" in w.path else rng.normal(size=w.shape)
            for w in model.weights
        ]
    )
    return model


KERAS = {
    "Dense": (lambda: L.Dense(5), (7,)),
    "Conv2D": (lambda: L.Conv2D(4, 3, padding="same"), (None, None, 3)),
    "Conv2D, stride 2": (lambda: L.Conv2D(4, 3, strides=2, padding="same"), (None, None, 3)),
    "Conv2D, kernel 4, stride 2": (
        lambda: L.Conv2D(4, 4, strides=2, padding="same"),
        (None, None, 3),
    ),
    "Conv2D, kernel 5, stride 3": (
        lambda: L.Conv2D(4, 5, strides=3, padding="same"),
        (None, None, 3),
    ),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(3, strides=2, padding="same"), (None, None, 3)),
    "Conv1D": (lambda: L.Conv1D(4, 4, strides=2, padding="same"), (None, 3)),
    "MaxPooling2D": (lambda: L.MaxPooling2D(3, 2, padding="same"), (None, None, 3)),
    "AveragePooling2D": (lambda: L.AveragePooling2D(4, 2, padding="same"), (None, None, 3)),
    "BatchNormalization": (lambda: L.BatchNormalization(), (6, 6, 3)),
    "ReLU": (lambda: L.ReLU(), (2,)),
    "relu6": (lambda: L.ReLU(6.0), (1,)),
    "LayerNormalization": (lambda: L.LayerNormalization(), (8,)),
}


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "seed"), [*((name, 0) for name in KERAS), *(("ReLU", seed) for seed in range(1, 5))]
)
def test_drawn_inputs_leave_nothing_unseen_in_keras(name, seed):
    make, shape = KERAS[name]
    model = trained(keras.Sequential([keras.Input(shape), make()]))
    report = probe.check(model, model.layers[0].name, seed=seed)
    assert report.ok, report.sentence
    assert report.blind == ()


TORCH = {
    "Linear": (lambda: nn.Linear(7, 5), (2, 7)),
    "Conv2d": (lambda: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 8, 8)),
    "Conv2d, stride 2": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 8, 8)),
    "Conv1d": (lambda: nn.Conv1d(3, 4, 3, padding=1), (2, 3, 9)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1), (2, 3, 8, 8)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3), (2, 3, 4, 4)),
    "ReLU": (lambda: nn.ReLU(), (1, 2)),
    "GELU": (lambda: nn.GELU(), (1, 4)),
    "Softmax": (lambda: nn.Softmax(-1), (2, 4)),
}


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in TORCH for seed in (0, 1)])
def test_drawn_inputs_leave_nothing_unseen_in_torch(name, seed):
    make, shape = TORCH[name]
    report = probe.check(trained(make()), "", shape=shape, seed=seed)
    assert report.ok, report.sentence
    assert report.blind == ()


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("kernel", "stride", "size", "missed"),
    [
        (3, 2, 9, True),
        (3, 2, 8, False),
        (4, 2, 8, True),
        (4, 2, 9, False),
        (3, 1, 9, False),
        (5, 2, 9, True),
        (2, 2, 8, False),
        (7, 3, 9, True),
    ],
)
def test_a_stride_that_never_meets_the_asymmetry(kernel, stride, size, missed):
    """The sentence is there exactly where padding at the end and on both sides give the same
    output."""
    model = trained(
        keras.Sequential(
            [keras.Input((size, size, 2)), L.Conv2D(3, kernel, strides=stride, padding="same")]
        )
    )
    report = probe.check(model, model.layers[0].name)
    assert any("equal on both sides" in told for told in report.blind) == missed
    x = torch.from_numpy(np.moveaxis(report.inputs[0], -1, 1).copy())
    w, b = (torch.from_numpy(array) for array in model.get_weights())
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    symmetric = nn.functional.conv2d(x, w.permute(3, 2, 0, 1), b, stride, -(-total // 2))
    mine = np.moveaxis(symmetric.numpy(), 1, -1)
    if missed:
        assert probe.check(model, model.layers[0].name, report.inputs[0], expected=mine).ok


def test_the_unevenness_of_one_axis_is_enough():
    pool = ops.MaxPool(kernel=(3, 3), strides=(2, 2), pads=((1, 1), (0, 1)), dilations=(1, 1))
    assert not pool.hides_same_padding((1, 1, 9, 8))
    assert replace(pool, pads=((1, 1), (1, 1))).hides_same_padding((1, 1, 9, 9))


@pytest.mark.tensorflow
def test_what_the_weights_hide_is_said_of_a_fresh_layer():
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3), L.BatchNormalization()])
    first, second = (probe.check(model, layer.name) for layer in model.layers)
    assert any("bias is all zero" in told for told in first.blind)
    assert any("are 0 and 1 (their defaults)" in told for told in second.blind)
