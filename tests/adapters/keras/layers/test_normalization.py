"""Normalisations over their constructors' options, on any axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

import probe

SHAPES = st.lists(st.integers(2, 6), min_size=2, max_size=5).map(tuple)
EPSILONS = st.sampled_from([1e-3, 1e-5, 1e-6, 0.1])


@given(shape=SHAPES, epsilon=EPSILONS, scale=st.booleans(), center=st.booleans(), data=st.data())
@examples(50)
def test_batch_normalization(keras, agrees, shape, epsilon, scale, center, data):
    ndim = len(shape)
    axis = data.draw(st.sampled_from([axis for axis in range(-ndim, ndim) if axis % ndim]))
    layer = keras.layers.BatchNormalization(axis=axis, epsilon=epsilon, scale=scale, center=center)
    report = agrees(layer, shape)
    assert list(report.weights) == [
        *["gamma"] * scale,
        *["beta"] * center,
        "moving_mean",
        "moving_variance",
    ]


@given(shape=SHAPES, data=st.data())
@examples(20)
def test_batch_normalization_of_keras_2(agrees, shape, data):
    layers = pytest.importorskip("tf_keras").layers
    axes = data.draw(st.lists(st.integers(1, len(shape) - 1), min_size=1, unique=True))
    agrees(layers.BatchNormalization(axis=axes), shape)
    agrees(layers.BatchNormalization(axis=axes[:1], virtual_batch_size=1), shape)
    agrees(layers.BatchNormalization(renorm=True), shape)


@given(shape=SHAPES, epsilon=EPSILONS, scale=st.booleans(), center=st.booleans(), data=st.data())
@examples(50)
def test_layer_normalization(keras, agrees, shape, epsilon, scale, center, data):
    ndim = len(shape)
    axes = st.integers(-ndim, ndim - 1).filter(lambda axis: axis % ndim)
    axis = data.draw(
        st.one_of(axes, st.lists(axes, min_size=1, max_size=ndim, unique_by=lambda a: a % ndim))
    )
    agrees(
        keras.layers.LayerNormalization(axis=axis, epsilon=epsilon, scale=scale, center=center),
        shape,
    )


@given(
    groups=st.integers(1, 3),
    each=st.integers(2, 3),
    others=st.lists(st.integers(1, 5), max_size=3),
    epsilon=EPSILONS,
    scale=st.booleans(),
    center=st.booleans(),
    data=st.data(),
)
@examples(40)
def test_group_normalization(keras, agrees, groups, each, others, epsilon, scale, center, data):
    place = data.draw(st.integers(1, len(others) + 1))
    shape = [2, *others]
    shape.insert(place, groups * each)
    axis = (
        place
        if keras.__name__ == "tf_keras" and place < len(others) + 1
        else data.draw(st.sampled_from([place, place - len(shape)]))
    )
    agrees(
        keras.layers.GroupNormalization(
            groups, axis=axis, epsilon=epsilon, scale=scale, center=center
        ),
        tuple(shape),
    )


@pytest.mark.parametrize(
    "policy", ["float16", "mixed_float16", "bfloat16", "mixed_bfloat16", "float64"]
)
def test_other_dtypes(keras, agrees, policy):
    layers = keras.layers
    for layer in (
        layers.BatchNormalization(dtype=policy),
        layers.LayerNormalization(dtype=policy),
        layers.GroupNormalization(2, dtype=policy),
    ):
        # These layers of Keras 3 take an input in the dtype that it has.
        x = (
            np.random.default_rng(0)
            .normal(size=(3, 5, 7, 4))
            .astype("float64" if policy == "float64" else "float32")
        )
        agrees(layer, x)
        agrees(
            type(layer).from_config(layer.get_config() | {"name": "flat", "axis": -1}), x[:, 0, 0]
        )


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_instance_normalization(keras, agrees, axis):
    agrees(keras.layers.GroupNormalization(-1, axis=axis), (2, 5, 6, 4))


def test_training_mode_is_named(keras):
    inputs = keras.Input((4,))
    layer = keras.layers.BatchNormalization()
    model = keras.Model(inputs, layer(inputs, training=True))
    report = probe.check(model, layer.name, np.ones((2, 4), np.float32))
    assert report.verdict == "unchecked" and "training mode" in report.missing["numpy"]
    frozen = keras.layers.BatchNormalization(trainable=False)
    model = keras.Model(inputs, frozen(inputs, training=True))
    assert probe.check(
        model, frozen.name, np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    ).ok
