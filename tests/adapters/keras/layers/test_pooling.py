"""Windowed, global and adaptive poolings over their constructors' options."""

import keras as keras_3
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from probe.adapters.keras.describe.call import KerasCall
from probe.adapters.keras.describe.describe import describe

import probe
from probe.evaluation.numpy_reference import recompute

RANKS = (1, 2, 3)
FORMATS = st.sampled_from(["channels_last", "channels_first"])


def _shape(batch, channels, sizes, data_format):
    return (
        (batch, channels, *sizes) if data_format == "channels_first" else (batch, *sizes, channels)
    )


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", ["Max", "Average"])
@given(data=st.data())
@examples(30)
def test_windowed(keras, agrees, kind, rank, data):
    small = st.integers(1, 4)
    size = tuple(data.draw(small) for _ in range(rank))
    strides = data.draw(st.one_of(st.none(), st.tuples(*[small] * rank)))
    padding = data.draw(st.sampled_from(["valid", "same"]))
    data_format = data.draw(FORMATS)
    sizes = [data.draw(st.integers(k if padding == "valid" else 1, 8)) for k in size]
    layer = getattr(keras.layers, f"{kind}Pooling{rank}D")(
        size, strides=strides, padding=padding, data_format=data_format
    )
    agrees(
        layer,
        _shape(data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)), sizes, data_format),
    )


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", ["Max", "Average"])
@given(data=st.data())
@examples(15)
def test_global(keras, agrees, kind, rank, data):
    data_format, keepdims = data.draw(FORMATS), data.draw(st.booleans())
    sizes = [data.draw(st.integers(1, 6)) for _ in range(rank)]
    layer = getattr(keras.layers, f"Global{kind}Pooling{rank}D")(
        data_format=data_format, keepdims=keepdims
    )
    agrees(layer, _shape(2, data.draw(st.integers(1, 4)), sizes, data_format))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", ["Max", "Average"])
@given(data=st.data())
@examples(20)
def test_adaptive(agrees, kind, rank, data):
    layers = pytest.importorskip("keras").layers
    data_format = data.draw(FORMATS)
    # TensorFlow ends the process (SIGFPE) where Keras asks for a maximum that has one place along
    # an axis.
    least = 2 if kind == "Max" else 1
    sizes = [data.draw(st.integers(least, 8)) for _ in range(rank)]
    output = data.draw(st.one_of(st.integers(least, 5), st.tuples(*[st.integers(least, 5)] * rank)))
    layer = getattr(layers, f"Adaptive{kind}Pooling{rank}D")(output, data_format=data_format)
    agrees(layer, _shape(2, 3, sizes, data_format))


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16", "float64"])
def test_other_dtypes(keras, agrees, policy):
    layers = keras.layers
    for layer in (layers.MaxPooling2D(2, dtype=policy), layers.AveragePooling2D(2, dtype=policy)):
        agrees(layer, (2, 7, 8, 3))
    for layer in (
        layers.GlobalMaxPooling2D(dtype=policy),
        layers.GlobalAveragePooling2D(dtype=policy),
    ):
        agrees(layer, (2, 7, 8, 3))


def test_a_mask_reaches_an_average(keras):
    inputs = keras.Input((5, 3))
    layer = keras.layers.GlobalAveragePooling1D()
    model = keras.Model(inputs, layer(keras.layers.Masking()(inputs)))
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    x[:, 3:] = 0
    report = probe.check(model, layer.name, x)
    assert report.ok and np.allclose(report.outputs["numpy"], x[:, :3].mean(axis=1)), str(report)


@pytest.mark.parametrize("sizes", [(7, 6), (6, 6), (5, 5)])
def test_an_average_on_keras_pytorch_counts_copies_of_the_border(sizes, monkeypatch):
    """As keras/src/backend/torch/nn.py pads what PyTorch cannot pad itself."""
    monkeypatch.setattr(KerasCall, "backend", "torch")
    layer = keras_3.layers.AveragePooling2D((3, 2), 2, padding="same", data_format="channels_first")
    x = np.random.default_rng(0).normal(size=(2, 3, *sizes)).astype(np.float32)
    description = describe(layer, KerasCall(layer, keras_3, (x,), "float32"))
    pads = []
    for size, pool in zip(sizes, (3, 2), strict=True):
        total = max(0, (-(-size // 2) - 1) * 2 + pool - size)
        pads.append((total // 2, total - total // 2))
    if all(before == after for before, after in pads):
        expected = torch.nn.functional.avg_pool2d(
            torch.from_numpy(x), (3, 2), 2, [before for before, _ in pads], count_include_pad=False
        )
    else:
        padded = torch.nn.functional.pad(
            torch.from_numpy(x), (*pads[1], *pads[0]), mode="replicate"
        )
        expected = torch.nn.functional.avg_pool2d(padded, (3, 2), 2)
    (found,) = recompute(description.steps, (x,))[-1]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
