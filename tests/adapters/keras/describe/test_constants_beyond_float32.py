"""Numbers that floating point does not hold, beside inputs that lie on them: 0.1 of float32 is more
than 0.1, 0.3 too, 0.7 is less.

Comparisons and thresholds decide by what a framework makes of such a number, and what is put in a
place is rounded.
"""

import keras as keras_3
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import probe

PRECISIONS = ("float32", "float64", "bfloat16", "float16")


def lying_on(dtype):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3))
    x[:, 0], x[:, 1], x[:, 2, :2], x[:, 2, 2:] = 0.1, np.float32(0.1), 0.3, np.float32(0.3)
    x[:, 3, 0], x[:, 3, 1], x[:, 3, 2], x[:, 4] = 0.7, -0.3, -0.1, np.float32(0.7)
    return x.astype(getattr(ml_dtypes, dtype, dtype))


def judged(model, x):
    reports = list(probe.sweep(model, x))
    assert reports and not [str(one) for one in reports if one.verdict != "agree"]


@pytest.fixture(params=PRECISIONS)
def precision(request):
    before = keras_3.config.dtype_policy()
    keras_3.config.set_dtype_policy(request.param)
    yield request.param
    keras_3.config.set_dtype_policy(before)


def test_operations(precision):
    k, a = keras_3.ops, keras_3.activations
    x = keras_3.Input((6, 5, 3), dtype=precision)
    made = [
        k.greater(x, 0.1),
        k.greater_equal(x, 0.3),
        k.less(x, 0.7),
        k.less_equal(x, 0.1),
        k.equal(x, 0.3),
        k.not_equal(x, 0.7),
    ]
    made += [
        k.where(x > 0.1, x, 0.3),
        k.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)), constant_values=0.1),
        k.clip(x, 0.1, 0.7),
    ]
    made += [
        k.maximum(x, 0.1),
        k.minimum(x, 0.3),
        k.mod(x, 0.3),
        k.floor_divide(x, 0.3),
        k.logaddexp(x, 0.1),
        k.full_like(x, 0.1) + x,
    ]
    made += [
        a.threshold(x, 0.1, 0.3),
        a.hard_shrink(x, 0.3),
        a.soft_shrink(x, 0.1),
        a.relu(x, 0.0, 0.7),
        a.relu(x, threshold=0.1),
    ]
    judged(keras_3.Model(x, made), lying_on(precision))


def test_tensorflows_own_functions():
    x = tf_keras.Input((6, 5, 3))
    made = [
        x > 0.1,
        x >= 0.3,
        x < 0.7,
        x <= 0.1,
        tf.equal(x, 0.3),
        tf.not_equal(x, 0.7),
        tf.maximum(x, 0.1),
        tf.clip_by_value(x, 0.1, 0.7),
    ]
    judged(tf_keras.Model(x, [tf.cast(one, "float32") for one in made]), lying_on("float32"))


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_layers(keras, dtype):
    layers = keras.layers
    for layer in (
        layers.ReLU(max_value=0.7),
        layers.ReLU(threshold=0.1),
        *(
            [layers.ReLU(max_value=0.7, negative_slope=0.1, threshold=0.3)]
            if dtype != "float64" or keras is tf_keras
            else []
        ),
        layers.LeakyReLU(0.1),
        layers.ELU(0.3),
        layers.Masking(0.1),
        layers.Masking(0.7),
    ):
        inputs = keras.Input((6, 5, 3), dtype=dtype)
        layer = type(layer).from_config({**layer.get_config(), "dtype": dtype})
        judged(keras.Model(inputs, layer(inputs)), lying_on(dtype))


def test_keras_3_compares_with_one_number_and_subtracts_another_in_float64():
    layer = keras_3.layers.ReLU(max_value=0.7, negative_slope=0.1, threshold=0.3, dtype="float64")
    report = probe.check(layer, layer.name, given=lying_on("float64"))
    assert (
        report.verdict == "unchecked"
        and "compares with the threshold rounded to float32" in report.sentence
    )
    on_it, below = (float(value) for value in layer(np.float64([np.float32(0.3), 0.2])))
    assert on_it != float(np.float32(0.3)) and abs(below + 0.1 * (0.3 - 0.2)) < 1e-15


def test_a_number_beside_integers_takes_their_type():
    """And sums wrap around in it, those of a running sum too; where an operation makes it a tensor
    first it is none of that type."""
    k, x = keras_3.ops, keras_3.Input((40,), dtype="uint8")
    made = [
        x + 1,
        x * 2,
        3 - x,
        x // 3,
        k.maximum(x, 100),
        k.cumsum(x, -1),
        k.cumprod(x, -1),
        k.equal(x, -1),
        k.greater(x, 300),
        x / 255,
    ]
    judged(keras_3.Model(x, made), np.random.default_rng(0).integers(0, 256, (3, 40), "uint8"))


def test_integers_are_interpolated_and_rounded(keras):
    x = np.arange(60, dtype="uint8").reshape(1, 4, 5, 3)
    for interpolation in ("nearest", "bilinear", "bicubic"):
        layer = keras.layers.UpSampling2D(2, interpolation=interpolation)
        report = probe.check(layer, layer.name, given=x)
        rounded = keras is keras_3 and interpolation != "nearest"
        assert report.verdict == ("unchecked" if rounded else "agree"), str(report)
        assert not rounded or np.asarray(layer(x)).dtype == np.uint8
