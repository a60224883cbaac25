"""Layers of several inputs, over what each can be given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

import probe

KINDS = ["Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"]


@st.composite
def broadcast(draw, count):
    """Shapes that Keras merges: sizes of 1 anywhere but in the batch, and inputs of lower rank,
    which fill from the end.

    The batch is larger than any other size: see the fault below.
    """
    shape = draw(st.lists(st.integers(2, 5), min_size=1, max_size=3))
    shapes = []
    for _ in range(count):
        kept = shape[draw(st.integers(0, len(shape) - 1)) :] if draw(st.booleans()) else shape
        shapes.append((7, *(draw(st.sampled_from([n, n, 1])) for n in kept)))
    return shapes


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@examples(25)
def test_merging(keras, agrees, kind, data):
    count = 2 if kind == "Subtract" else data.draw(st.integers(2, 4))
    agrees(getattr(keras.layers, kind)(), *data.draw(broadcast(count)))


@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    lengths=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    data=st.data(),
)
@examples(25)
def test_concatenate(keras, agrees, shape, lengths, data):
    axis = data.draw(st.integers(-len(shape) + 1, len(shape) - 1).filter(bool))
    shapes = []
    for length in lengths:
        one = list(shape)
        one[axis] = length
        shapes.append(tuple(one))
    agrees(keras.layers.Concatenate(axis=axis), *shapes)


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("kind", [*KINDS, "Concatenate"])
def test_other_dtypes(keras, agrees, kind, policy):
    agrees(getattr(keras.layers, kind)(dtype=policy), (2, 3, 5), (2, 3, 5))


@pytest.mark.parametrize("kind", [*KINDS, "Concatenate"])
@pytest.mark.parametrize("masked", [(True, True), (True, False), (False, True)])
def test_masks_that_inputs_carry(keras, kind, masked):
    """Keras 3 leaves masked steps out of products, largest and smallest; Keras 2 and the other
    kinds do not look at masks."""
    layers = keras.layers
    inputs = [keras.Input((4, 3)), keras.Input((4, 3))]
    given = [layers.Masking()(x) if here else x for x, here in zip(inputs, masked, strict=True)]
    layer = getattr(layers, kind)()
    arrays = [
        np.random.default_rng(seed).normal(size=(2, 4, 3)).astype("float32") for seed in (0, 1)
    ]
    arrays[0][0, 2:] = arrays[1][:, 1] = arrays[1][0, 3] = 0
    report = probe.check(keras.Model(inputs, layer(given)), layer.name, arrays)
    assert report.ok and len(report.outputs) == 3, str(report)
    plain = {"Multiply": np.multiply, "Maximum": np.maximum, "Minimum": np.minimum}
    if kind in plain and keras.__name__ == "keras":
        assert not np.array_equal(report.outputs["framework"], plain[kind](*arrays))


@pytest.mark.parametrize("kind", ["Add", "Average"])
def test_keras_3_adds_some_inputs_along_the_wrong_axis(kind):
    """keras/src/backend/tensorflow/numpy.py, add: (2, 1) is taken for a bias of two channels where
    the other input has two."""
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a fault of the TensorFlow backend")
    layer = getattr(keras.layers, kind)()
    report = probe.check(
        layer,
        layer.name,
        given=[np.zeros((2, 2), np.float32), np.array([[1.0], [5.0]], np.float32)],
    )
    differing = {pair for pair, comparison in report.comparisons.items() if not comparison.ok}
    assert differing == {("framework", "numpy"), ("framework", "onnx")}


@pytest.mark.parametrize("kind", KINDS)
def test_two_calls_of_one_layer(keras, kind):
    """The same tensor twice is two inputs."""
    inputs = keras.Input((3,))
    layer = getattr(keras.layers, kind)()
    report = probe.check(
        keras.Model(inputs, layer([inputs, inputs])),
        layer.name,
        np.array([[1.0, -2.0, 3.0]], np.float32),
    )
    assert report.ok or kind == "Subtract"
