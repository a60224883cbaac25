"""A convolution whose kernel is another tensor of the same sample, one kernel for each: in Keras a
layer of the user's own."""

import keras
import numpy as np
import pytest

import probe
from probe import Ref, Step, ops
from probe.description.custom_layers import _OWN


class SampleConv(keras.layers.Layer):
    """``call([x, kernels])``: x (batch, height, width, channels), kernels (batch, 3, 3, channels,
    filters)."""

    def call(self, inputs):
        return keras.ops.vectorized_map(
            lambda pair: keras.ops.conv(pair[0][None], pair[1], padding="same")[0], inputs
        )

    def compute_output_shape(self, shapes):
        return (*shapes[0][:3], shapes[1][-1])


def steps(layer, call):
    """One convolution in as many groups as there are samples."""
    (batch, height, width, channels), (_, *kernel, _, filters) = (x.shape for x in call.inputs)
    conv = ops.Conv(
        weight=None,
        bias=None,
        strides=(1, 1),
        pads=((1, 1), (1, 1)),
        dilations=(1, 1),
        groups=batch,
    )
    return [
        Step(ops.Transpose(perm=(0, 3, 1, 2)), (Ref(-1, 0),)),
        Step(ops.Reshape(shape=(1, batch * channels, height, width))),
        Step(ops.Transpose(perm=(0, 4, 3, 1, 2)), (Ref(-1, 1),)),
        Step(ops.Reshape(shape=(batch * filters, channels, *kernel))),
        Step(conv, (Ref(1), Ref(3))),
        Step(ops.Reshape(shape=(batch, filters, height, width))),
        Step(ops.Transpose(perm=(0, 2, 3, 1))),
    ]


def by_hand(layer, x, kernels):
    """The same in NumPy alone."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.einsum("bhwcij,bijcf->bhwf", windows, kernels)


@pytest.fixture
def model():
    before = dict(_OWN)
    image, kernels = keras.Input((6, 5, 4)), keras.Input((3, 3, 4, 7))
    yield keras.Model([image, kernels], SampleConv(name="each")([image, kernels]))
    _OWN.clear()
    _OWN.update(before)


def inputs():
    rng = np.random.default_rng(0)
    return [
        rng.normal(size=(3, 6, 5, 4)).astype("float32"),
        rng.normal(size=(3, 3, 3, 4, 7)).astype("float32"),
    ]


def test_without_a_word_it_is_followed(model):
    report = probe.check(model, "each", inputs())
    assert report.ok and list(report.outputs) == ["framework", "numpy", "onnx"], str(report)


def test_described_as_one_grouped_convolution(model):
    probe.describes(SampleConv)(steps)
    report = probe.check(model, "each", inputs())
    assert report.ok and list(report.outputs) == ["framework", "numpy", "onnx"], str(report)
    story = probe.explain(model, "each", inputs(), at=(1, 2, 3, 4))
    assert len(story.terms) == 36 and np.isclose(
        sum(term.product for term in story.terms), story.value
    )


def test_recomputed_by_a_function(model):
    probe.recomputes(SampleConv)(by_hand)
    report = probe.check(model, "each", inputs())
    assert report.ok and list(report.outputs) == ["framework", "numpy"], str(report)


def test_the_first_kernel_for_all_samples_is_found_out(model):
    probe.describes(SampleConv)(steps)
    x, kernels = inputs()
    mine = by_hand(None, x.astype(float), np.repeat(kernels[:1].astype(float), 3, axis=0))
    report = probe.check(model, "each", [x, kernels], expected=mine)
    assert report.verdict == "diverge" and report.comparisons["framework", "numpy"].ok
    worst = report.comparisons["framework", "expected"].worst
    assert worst is not None and worst.index[0] > 0
