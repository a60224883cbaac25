"""Windows, blocks of pixels and variables: what the builder's steps give, held against
TensorFlow."""

from types import SimpleNamespace

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from probe.adapters.keras.describe import windows
from probe.adapters.keras.describe.call import KerasCall
from probe.adapters.keras.describe.op_builder import OpBuilder
from probe.adapters.keras.describe.variables import array_of, cast, read_variable, shared, widened
from probe.adapters.keras.describe.windows import SlidingWindow, padding_pairs

from probe.description import Ref
from probe.errors import Undescribed
from probe.evaluation.numpy_reference import recompute

X = np.random.default_rng(0).normal(size=(2, 6, 4, 8)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 2, 8, 5)).astype(np.float32)
INPUT = Ref(-1)


def built(of_x):
    """What the steps give on (batch, height, width, channels)."""
    build = OpBuilder(KerasCall(None, SimpleNamespace(__name__="tf_keras"), (X,), "float32"))
    ref = of_x(build)
    (found,) = recompute(build.steps, (X,))[ref.step]
    assert build.shape(ref) == found.shape
    return found


def close(found, expected):
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-5, atol=1e-5)


def channels_first(build, apply):
    y = apply(windows.to_channels_first(build, INPUT))
    return windows.to_channels_last(build, y)


def test_blocks_of_pixels():
    close(built(lambda b: windows.depth_to_space(b, INPUT, 2)), tf.nn.depth_to_space(X, 2))
    close(built(lambda b: windows.space_to_depth(b, INPUT, 2)), tf.nn.space_to_depth(X, 2))
    # the channel outside, as PyTorch has it
    inner = built(lambda b: windows.depth_to_space(b, INPUT, 2, outer=False))
    order = X.reshape(2, 6, 4, 2, 4).swapaxes(3, 4).reshape(X.shape)
    close(inner, tf.nn.depth_to_space(order, 2))
    back = built(lambda b: windows.space_to_depth(b, INPUT, 2, outer=False))
    expected = np.asarray(tf.nn.space_to_depth(X, 2)).reshape(2, 3, 2, 4, 8).swapaxes(3, 4)
    close(back, expected.reshape(2, 3, 2, 32))


def test_a_local_response():
    found = built(lambda b: windows.local_response(b, INPUT, 2, 0.3, 0.6, 1.5))
    close(found, tf.nn.local_response_normalization(X, 2, 1.5, 0.3, 0.6))


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize(("strides", "dilations"), [((2, 1), (1, 1)), ((1, 1), (2, 1))])
def test_convolutions_and_poolings(padding, strides, dilations):
    window = SlidingWindow.padded(padding, X.shape[1:3], (3, 2), strides, dilations)

    def convolved(build):
        kernel = windows.kernel_of(build, KERNEL, windows.kernel_axes(2))
        assert windows.kernel_sizes(build, KERNEL) == KERNEL.shape
        return channels_first(build, lambda x: windows.convolved(build, x, window, kernel, 5))

    close(built(convolved), tf.nn.conv2d(X, KERNEL, strides, padding, dilations=dilations))
    for largest, kind in ((True, "MAX"), (False, "AVG")):
        if dilations == (1, 1) or (largest and padding == "VALID"):
            found = built(
                lambda b, largest=largest: channels_first(
                    b, lambda x: windows.pooled(b, x, window, largest)
                )
            )
            close(
                found,
                tf.nn.pool(X, (3, 2), kind, strides, padding, dilations=dilations),
            )
    patches = tf.image.extract_patches(
        X, [1, 3, 2, 1], [1, *strides, 1], [1, *dilations, 1], padding
    )

    def of_windows(build):
        return windows.columns(build, windows.to_channels_first(build, INPUT), window)

    found = built(of_windows).reshape(2, 8, 6, -1).transpose(0, 3, 2, 1)
    close(found, np.asarray(patches).reshape(found.shape))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_transposed_convolutions(padding):
    kernel = KERNEL.swapaxes(2, 3)
    wanted = (12, 4) if padding == "same" else (13, 5)
    window = SlidingWindow.padded(padding, wanted, (3, 2), (2, 1))

    def transposed(build):
        own = windows.kernel_of(build, kernel, (3, 2, 0, 1))
        return channels_first(
            build, lambda x: windows.transposed_convolved(build, x, window, own, 5, wanted)
        )

    expected = tf.nn.conv2d_transpose(X, kernel, (2, *wanted, 5), (2, 1), padding.upper())
    close(built(transposed), expected)


def test_padding_in_words():
    assert padding_pairs("CAUSAL", (9, 9), (3, 2), (1, 1), (2, 3)) == ((4, 0), (3, 0))
    assert padding_pairs("valid", (9,), (3,), (2,), (1,)) == ((0, 0),)
    assert padding_pairs("same", (9, 8), (4, 2), (2, 3), (1, 1)) == ((1, 2), (0, 0))
    with pytest.raises(Undescribed, match="its padding 'odd' is not supported"):
        padding_pairs("odd", (9,), (3,), (2,), (1,))
    window = SlidingWindow.padded(((1, 2), (0, 1)), (9, 8), (3, 2))
    assert window.strides == window.dilations == (1, 1)
    assert window.counts((9, 8)) == (10, 8)
    assert window.along([1]) == SlidingWindow((2,), (1,), ((0, 1),), (1,))
    assert windows.kernel_axes(2) == (3, 2, 0, 1) and windows.kernel_axes(1, True) == (1, 2, 0)


@pytest.mark.parametrize("package", [keras, tf_keras])
def test_variables_are_read_as_they_are_stored(package):
    layer = package.layers.Dense(3, dtype="mixed_bfloat16")
    layer.build((None, 4))
    read = read_variable(package)
    plain, used = (read("kernel", layer.kernel, dtype) for dtype in (None, "bfloat16"))
    assert plain.stored.dtype == np.float32 and plain.steps == ()
    assert used.steps == ("cast from float32 to bfloat16",) and used.stored is not used.effective
    rounded = plain.stored.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(used.effective, rounded)
    assert (rounded != plain.stored).any()
    np.testing.assert_array_equal(array_of(layer.kernel, package), plain.stored)
    assert read("kernel", layer.kernel, "float32").steps == ()
    before = plain.stored.copy()
    layer.kernel.assign(2 * before)
    np.testing.assert_array_equal(plain.stored, before)
    with pytest.raises(Undescribed, match="one of its weights is computed, not a variable"):
        array_of(before, package)


def test_arrays_of_tensors():
    half = tf.constant([1.5, 2.0], tf.bfloat16)
    assert shared(half).dtype == ml_dtypes.bfloat16
    assert widened(shared(half)).dtype == np.float32
    assert not shared(tf.constant([1.0])).flags.writeable
    assert shared(tf.constant(1.0)) == 1
    assert cast(np.float64([1 + 2.0**-10]), "bfloat16") == 1
    assert cast(np.float64([1 + 2.0**-10]), "float16") == 1 + 2.0**-10
