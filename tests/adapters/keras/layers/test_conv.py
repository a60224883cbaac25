"""Convolutions of every kind and Dense, over their constructors' options."""

import numpy as np
import pytest
import tf_keras
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from representatives import exhaustive

import probe

KINDS = {
    "Conv1D": 1,
    "Conv2D": 2,
    "Conv3D": 3,
    "DepthwiseConv1D": 1,
    "DepthwiseConv2D": 2,
    "SeparableConv1D": 1,
    "SeparableConv2D": 2,
}


def _sizes(draw, padding, spans):
    """Spatial sizes: with "same" the kernel may be larger than the input."""
    return [
        draw(st.integers(1, 7)) if padding != "valid" else span + draw(st.integers(0, 4))
        for span in spans
    ]


@st.composite
def convolutions(draw, kind, legacy):
    """Options of a constructor and the shape of an input, as far as TensorFlow computes them on a
    CPU."""
    rank = KINDS[kind]
    per_axis = kind.startswith("Conv")
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    strides = (
        tuple(draw(st.integers(1, 3)) for _ in range(rank))
        if per_axis
        else (draw(st.integers(1, 3)),) * rank
    )
    dilated = max(strides) == 1 and draw(st.booleans())
    dilation = tuple(draw(st.integers(1, 3)) for _ in range(rank)) if dilated else (1,) * rank
    causal = rank == 1 and (per_axis or (legacy and kind == "SeparableConv1D"))
    padding = draw(st.sampled_from(["valid", "same", *(["causal"] if causal else [])]))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    sizes = _sizes(draw, padding, spans)
    groups = draw(st.sampled_from([1, 2, 3])) if per_axis and rank < 3 else 1
    # TensorFlow's oneDNN kernel leaves elements out of some strided convolutions of one channel
    # (not with TF_ENABLE_ONEDNN_OPTS=0): in three dimensions, and in two where one column comes
    # out. What stands there is whatever memory held, so no test asks for it.
    narrow = (
        strides[-1] > 1
        and (sizes[-1] - (spans[-1] if padding == "valid" else 1)) // strides[-1] == 0
    )
    channels = groups * draw(st.integers(2 if rank == 3 or (rank == 2 and narrow) else 1, 3))
    options = {
        "kernel_size": kernel,
        "strides": strides,
        "dilation_rate": dilation,
        "padding": padding,
        "data_format": draw(st.sampled_from(["channels_last", "channels_first"])),
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from([None, "relu", "tanh", "softmax"])),
    }
    if per_axis:
        options |= {"groups": groups, "filters": groups * draw(st.integers(1, 3))}
    else:
        options["depth_multiplier"] = draw(st.integers(1, 3))
    if kind.startswith("Separable"):
        options["filters"] = draw(st.integers(1, 5))
    batch = draw(st.integers(1, 2))
    first = options["data_format"] == "channels_first"
    return options, (batch, channels, *sizes) if first else (batch, *sizes, channels)


def _adds_bias_wrongly(keras, options, layer, shape):
    """Keras 3 on TensorFlow adds a bias along the last axis where that is as long as the bias: see
    the test of it."""
    out = layer.compute_output_shape(shape)
    first = options["data_format"] == "channels_first"
    return keras.__name__ == "keras" and first and options["use_bias"] and out[-1] == out[1]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@examples(30)
def test_convolution(keras, agrees, kind, data):
    options, shape = data.draw(convolutions(kind, keras.__name__ == "tf_keras"))
    layer = getattr(keras.layers, kind)(**options)
    if _adds_bias_wrongly(keras, options, layer, shape):
        layer = getattr(keras.layers, kind)(**options | {"use_bias": False})
    report = agrees(layer, shape)
    names = [v.name.split("/")[-1].split(":")[0] for v in layer.weights]
    assert list(report.weights) == names
    for name, value in zip(names, layer.get_weights(), strict=True):
        assert np.array_equal(report.weights[name].stored, value)
        assert report.weights[name].effective is report.weights[name].stored


@given(
    units=st.integers(1, 6),
    bias=st.booleans(),
    activation=st.sampled_from([None, "gelu", "softmax"]),
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=5),
)
@examples(30)
def test_dense(keras, agrees, units, bias, activation, shape):
    agrees(keras.layers.Dense(units, use_bias=bias, activation=activation), tuple(shape))


@pytest.mark.parametrize(
    ("kind", "kernel", "shape"), [("Conv1D", 3, (3, 9, 5)), ("Conv2D", (3, 2), (3, 7, 9, 5))]
)
def test_several_batch_axes_of_keras_2(kind, kernel, shape):
    """A channels-last convolution of Keras 2 takes any number of batch axes; Keras 3 refuses more
    than one."""
    keras = pytest.importorskip("tf_keras")
    layer = getattr(keras.layers, kind)(4, kernel, strides=2, padding="same", activation="softmax")
    inputs = keras.Input(shape)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    report = probe.check(keras.Model(inputs, layer(inputs)), layer.name, x)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)


def test_half_precision_uses_the_cast_weights(keras, agrees):
    for policy, dtype in (("mixed_float16", "float16"), ("mixed_bfloat16", "bfloat16")):
        layer = keras.layers.Conv2D(4, 3, padding="same", activation="relu", dtype=policy)
        kernel = agrees(layer, (2, 7, 5, 3)).weights["kernel"]
        assert kernel.steps == (f"cast from float32 to {dtype}",)
        assert kernel.stored.dtype == np.float32 and np.array_equal(
            kernel.stored, layer.get_weights()[0]
        )
        assert 0 < np.abs(kernel.effective.astype(float) - kernel.stored).max() < 0.02


@pytest.mark.parametrize(
    "policy", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16", "float64"]
)
@pytest.mark.parametrize(
    "kind", ["Dense", "Conv1D", "Conv2D", "DepthwiseConv2D", "SeparableConv2D"]
)
def test_other_dtypes(keras, agrees, kind, policy):
    options = {"Dense": {"units": 6}, "DepthwiseConv2D": {"kernel_size": 3}}.get(
        kind, {"filters": 6, "kernel_size": 3}
    )
    layer = getattr(keras.layers, kind)(**options, activation="sigmoid", dtype=policy)
    agrees(layer, (2, *{"Dense": (), "Conv1D": (8,)}.get(kind, (8, 9)), 5))


def test_keras_3_adds_some_biases_along_the_wrong_axis(drawn):
    """keras/src/backend/tensorflow/numpy.py, add: a channels-first output as wide as it is deep
    gets its bias along the width."""
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a fault of the TensorFlow backend")
    layer = drawn(keras.layers.Conv1D(3, 2, data_format="channels_first"), (2, 5, 4))
    report = probe.check(
        layer, layer.name, given=np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    )
    differing = {pair for pair, comparison in report.comparisons.items() if not comparison.ok}
    assert report.verdict == "diverge" and differing == {
        ("framework", "numpy"),
        ("framework", "onnx"),
    }


GROUPED = np.random.default_rng(3).normal(size=(2, 5, 6, 7, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 4, "padding": "same", "activation": "relu"},
        *exhaustive({"groups": 2}, {"groups": 2, "strides": (2, 1, 3), "use_bias": False}),
    ],
)
def test_grouped_convolutions_in_three_dimensions(keras, drawn, options):
    """TensorFlow's kernel for CPUs has no groups: Keras compiles it, also where functions run
    eagerly so that they can be watched."""
    layers = keras.layers
    conv = layers.Conv3D(8, (2, 3, 2), name="conv", **options)
    model = keras.Sequential(
        [
            keras.Input(GROUPED.shape[1:]),
            layers.ReLU(name="before"),
            conv,
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    drawn(conv)
    import tensorflow as tf  # noqa: PLC0415

    before = tf.config.functions_run_eagerly()
    reports = list(probe.sweep(model, GROUPED))
    assert [report.verdict for report in reports] == ["agree"] * 4, [
        report.sentence for report in reports
    ]
    assert probe.check(model, "conv", GROUPED).ok
    assert (
        probe.check(
            model, "conv", GROUPED, expected=np.roll(reports[1].outputs["numpy"], 1, axis=-1)
        ).verdict
        == "diverge"
    )
    assert tf.config.functions_run_eagerly() == before
    wrapped = layers.TimeDistributed(layers.Conv3D(8, (2, 3, 2), **options))
    assert probe.check(wrapped, wrapped.name, given=GROUPED[:, None]).ok


def test_what_runs_only_with_its_functions_compiled_is_said_to():
    import keras  # noqa: PLC0415

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def build(self, shape):
            self.kernel = self.add_weight(shape=(2, 2, 2, 2, 6))

        def call(self, x):
            return self.dense(keras.ops.conv(x, self.kernel))

    model = Own()
    model(GROUPED)
    with pytest.raises(
        probe.ProbeError, match="the same depth: 4 vs 2; it succeeds without capturing"
    ):
        list(probe.sweep(model, GROUPED))


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("implementation", [1, 2])
@pytest.mark.parametrize("strides", [1, 2])
def test_locally_connected(rank, implementation, strides):
    layer = getattr(tf_keras.layers, f"LocallyConnected{rank}D")(
        5,
        (3, 2)[:rank],
        strides=strides,
        implementation=implementation,
        activation="tanh",
        bias_initializer="random_normal",
    )
    report = probe.check(
        layer,
        layer.name,
        given=np.random.default_rng(0).normal(size=(2, *(7, 6)[:rank], 3)).astype("float32"),
    )
    assert report.ok and len(report.outputs) == 3, str(report)
