"""Every activation of both Keras, as a layer and fused, and the activation layers over their
options."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from hypothesis_examples import examples

import probe

_BOTH = (
    "elu exponential gelu hard_sigmoid leaky_relu linear log_softmax mish relu relu6 selu sigmoid "
    "silu softmax softplus softsign swish tanh"
)
_KERAS_3 = (
    "celu glu hard_shrink hard_silu hard_swish hard_tanh log_sigmoid soft_shrink "
    "sparse_plus sparse_sigmoid squareplus tanh_shrink"
)
NAMES = {"keras": sorted([*_BOTH.split(), *_KERAS_3.split()]), "tf_keras": _BOTH.split()}
BREAKS = np.array(
    [0, 0.5, -0.5, 1, -1, 2, -2, 2.5, -2.5, 3, -3, 6, -6, 20, -20, 1e-4, -1e-4, 0.25], np.float32
)
"""Where one of the functions bends, on which side it does so, and far out."""


def test_every_activation_is_here(keras):
    """What Keras has beside these: `threshold` needs arguments, which no layer gives it, and
    `sparsemax` has its own test."""
    helpers = {"deserialize", "get", "serialize"}
    functions = (
        {name for name in dir(keras.activations) if not name.startswith("_")}
        - helpers
        - {"threshold", "sparsemax"}
    )
    assert functions <= set(NAMES[keras.__name__])


EVERY = pytest.mark.parametrize(
    ("keras", "name"),
    [(module, name) for module in NAMES for name in NAMES[module]],
    indirect=["keras"],
)


@EVERY
def test_activation(keras, agrees, name):
    rng = np.random.default_rng(0)
    x = np.concatenate([BREAKS, 3 * rng.normal(size=30).astype(np.float32)]).reshape(2, 3, 8)
    agrees(keras.layers.Activation(name), x)
    agrees(keras.layers.Dense(6, activation=name), (2, 4))
    agrees(
        keras.layers.Conv1D(
            6, 3, activation=getattr(keras.activations, name, name), padding="same"
        ),
        (2, 5, 3),
    )


@pytest.mark.exhaustive(default=40)
@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16", "float64"])
@EVERY
def test_activation_in_another_dtype(keras, agrees, name, policy):
    x = np.concatenate(
        [BREAKS, np.random.default_rng(0).normal(size=30).astype(np.float32)]
    ).reshape(2, 3, 8)
    layer = keras.layers.Activation(name, dtype=policy)
    if (name, policy) == ("gelu", "float64"):
        assert (
            "sqrt(2) rounded to float32" in probe.check(layer, layer.name, given=x).missing["numpy"]
        )
    else:
        agrees(layer, np.minimum(x, 8))


def test_hard_sigmoid_means_something_else_in_keras_2():
    keras, tf_keras = pytest.importorskip("keras"), pytest.importorskip("tf_keras")
    x = np.linspace(-4, 4, 33, dtype=np.float32).reshape(1, -1)
    ours = [
        probe.check(layer, layer.name, given=x).outputs["numpy"]
        for layer in (k.layers.Activation("hard_sigmoid") for k in (keras, tf_keras))
    ]
    assert 0.08 < np.abs(ours[0] - ours[1]).max() < 0.084


def test_sparsemax(agrees):
    """Up to 3.15 Keras' sparsemax is none as soon as two elements share the mass:
    https://github.com/keras-team/keras/issues/23425."""
    keras = pytest.importorskip("keras")
    agrees(
        keras.layers.Activation("sparsemax"),
        np.array([[3.0, 0.5, -1.0], [0.0, 4.0, 1.5]], np.float32),
    )
    x = np.array([[1.0, 0.5, 0.0]], np.float32)
    layer = keras.layers.Activation("sparsemax")
    report = probe.check(layer, layer.name, given=x)
    assert (
        np.allclose(report.outputs["numpy"], [[0.75, 0.25, 0.0]])
        and report.comparisons["numpy", "onnx"].ok
    )
    sums_to_one = np.isclose(keras.ops.convert_to_numpy(keras.activations.sparsemax(x)).sum(), 1.0)
    assert report.ok == sums_to_one


def test_functions_of_tensorflow_and_layers_as_activations(keras, agrees):
    tf = pytest.importorskip("tensorflow")
    layers = keras.layers
    for function in (
        tf.nn.relu,
        tf.nn.relu6,
        tf.nn.leaky_relu,
        tf.nn.gelu,
        tf.nn.softmax,
        tf.nn.swish,
        tf.nn.tanh,
        tf.nn.sigmoid,
    ):
        agrees(layers.Dense(5, activation=function), (2, 4))
    for layer in (
        layers.LeakyReLU(0.1),
        layers.ReLU(max_value=1.0),
        layers.Softmax(axis=1),
        layers.Activation("gelu"),
    ):
        agrees(layers.Conv1D(5, 3, activation=layer), (2, 7, 4))


def test_an_activation_of_the_users_own_is_followed(keras, agrees):
    """Through the operations that it makes, whatever its name."""
    tf = pytest.importorskip("tensorflow")
    math = keras.ops if hasattr(keras, "ops") else tf.math
    largest, total = (
        (keras.ops.max, keras.ops.sum) if hasattr(keras, "ops") else (tf.reduce_max, tf.reduce_sum)
    )

    def relu(x):
        return math.square(keras.activations.relu(x)) * 0.1

    def shares(x):
        e = math.exp(x - largest(x, axis=-1, keepdims=True))
        return e / total(e, axis=-1, keepdims=True)

    layers = keras.layers
    for function in (relu, shares, lambda x: x * keras.activations.sigmoid(1.702 * x)):
        agrees(layers.Dense(5, activation=function), (2, 4))
        agrees(layers.Conv2D(5, 3, activation=function), (2, 6, 7, 4))
        agrees(layers.Conv1DTranspose(3, 2, activation=function), (2, 5, 4))
        agrees(layers.EinsumDense("ab,bc->ac", 4, activation=function), (2, 4))
        agrees(layers.Activation(function), (2, 4))


@pytest.mark.filterwarnings("ignore:`tf.numpy_function`")
def test_an_activation_that_cannot_be_followed_is_named(keras):
    tf = pytest.importorskip("tensorflow")

    def relu(x):
        return tf.numpy_function(lambda x: x * np.float32(2), [x], tf.float32)

    layer = keras.layers.Dense(3, activation=relu)
    report = probe.check(layer, layer.name, given=np.ones((1, 2), np.float32))
    assert report.verdict == "unchecked" and report.missing["numpy"].startswith(
        "its activation 'relu' has no description, and it cannot be"
    )


def test_an_activation_of_the_users_own_inside_a_recurrence_is_named(keras):
    layer = keras.layers.SimpleRNN(3, activation=lambda x: x * 0.5)
    report = probe.check(layer, layer.name, given=np.ones((1, 2, 2), np.float32))
    assert report.verdict == "unchecked" and report.missing["numpy"] == (
        "its activation '<lambda>' has no description"
    )


VALUES = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5, 3.0]),
    st.floats(-8, 8, width=32, allow_subnormal=False),
)
TENSORS = arrays(np.float32, st.tuples(st.just(3), st.integers(1, 5)), elements=VALUES).map(
    lambda x: np.hstack([x, BREAKS.reshape(3, 6)])
)


@given(
    x=TENSORS,
    max_value=st.sampled_from([None, 0.0, 2.0, 6.0, 0.3]),
    slope=st.sampled_from([0.0, 0.25, 0.3]),
    threshold=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
@examples(60)
def test_relu(keras, agrees, x, max_value, slope, threshold):
    agrees(keras.layers.ReLU(max_value=max_value, negative_slope=slope, threshold=threshold), x)


@given(x=TENSORS, alpha=st.sampled_from([0.0, 0.25, 0.3, 1.7]))
@examples(20)
def test_leaky_and_exponential(keras, agrees, x, alpha):
    agrees(keras.layers.LeakyReLU(alpha), x)
    agrees(keras.layers.ELU(alpha), x)


@given(x=TENSORS, theta=st.sampled_from([0.0, 0.5, 1.0, 2.0]))
@examples(20)
def test_thresholded(agrees, x, theta):
    agrees(pytest.importorskip("tf_keras").layers.ThresholdedReLU(theta), x)


@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=5), data=st.data())
@examples(20)
def test_prelu(keras, agrees, shape, data):
    shared = data.draw(st.one_of(st.none(), st.lists(st.integers(1, len(shape) - 1), unique=True)))
    report = agrees(keras.layers.PReLU(shared_axes=shared), tuple(shape))
    assert report.weights["alpha"].stored.shape == tuple(
        1 if shared and axis in shared else n for axis, n in enumerate(shape[1:], 1)
    )


@given(shape=st.lists(st.integers(1, 5), min_size=2, max_size=4), data=st.data())
@examples(40)
def test_softmax(keras, agrees, shape, data):
    axes = st.integers(-len(shape), len(shape) - 1)
    axis = data.draw(
        st.one_of(
            axes,
            st.lists(axes, min_size=1, max_size=len(shape), unique_by=lambda a: a % len(shape)),
        )
    )
    agrees(keras.layers.Softmax(axis=axis), tuple(shape))


def test_nan_and_infinity_stay_where_they_are(keras, agrees):
    x = np.array([[1.0, 2.0, np.nan, np.inf, -np.inf, -1.0]], np.float32)
    layers = keras.layers
    for layer in (
        layers.ReLU(),
        layers.ReLU(max_value=2.0),
        layers.ReLU(negative_slope=0.5),
        layers.LeakyReLU(0.3),
        layers.ELU(0.5),
    ):
        agrees(layer, x)
    for options in (
        {"threshold": 2.0},
        {"threshold": 2.0, "max_value": 3.0},
        {"threshold": 1.5, "negative_slope": 0.5},
    ):
        layer = layers.ReLU(**options)
        if keras.__name__ == "keras":
            agrees(layer, x)
        else:
            assert (
                "turns an infinite input into NaN"
                in probe.check(layer, layer.name, given=x).missing["numpy"]
            )
