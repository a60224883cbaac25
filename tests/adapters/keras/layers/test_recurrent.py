"""Keras' recurrent layers: options at random, masks, states, cells inside and by themselves, and
convolving ones."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from representatives import exhaustive

import probe

KINDS = ["SimpleRNN", "LSTM", "GRU"]
ACTIVATIONS = ["tanh", "relu", "elu", "softsign", None, "softmax", "hard_sigmoid"]
GATES = ["sigmoid", "hard_sigmoid", "relu"]


@st.composite
def options_of(draw, kind, legacy):
    options = {
        name: draw(st.booleans())
        for name in ("return_sequences", "return_state", "go_backwards", "unroll", "use_bias")
    }
    options |= {
        "units": draw(st.integers(1, 5)),
        "activation": draw(st.sampled_from(ACTIVATIONS)),
        "dropout": 0.2,
    }
    if kind != "SimpleRNN":
        options["recurrent_activation"] = draw(st.sampled_from(GATES))
        options |= {"implementation": draw(st.sampled_from([1, 2]))} if legacy else {}
    if kind == "GRU":
        options["reset_after"] = draw(st.booleans())
    return options


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@examples(8)
def test_recurrence(keras, agrees, kind, data):
    options = data.draw(options_of(kind, keras.__name__ == "tf_keras"))
    shape = tuple(data.draw(st.integers(1, high)) for high in (3, 6, 4))
    layer = getattr(keras.layers, kind)(**options)
    report = agrees(layer, shape)
    assert report.input_axes == ("batch", "time", "features")
    assert report.output_axes == (
        ("batch", "time", "units") if options["return_sequences"] else ("batch", "units")
    )
    assert (
        list(report.weights) == ["kernel", "recurrent_kernel", "bias"][: len(layer.get_weights())]
    )
    for weight, value in zip(report.weights.values(), layer.get_weights(), strict=True):
        assert np.array_equal(weight.stored, value)
    if options["return_state"]:
        assert report.output_names[0] == "output" and len(report.output_names) == len(
            report.outputs["numpy"]
        )


@pytest.mark.parametrize("policy", ["float16", "float64", "mixed_float16", "mixed_bfloat16"])
def test_other_dtypes(keras, agrees, policy):
    dtype = "float64" if policy == "float64" else "float32"
    for kind in KINDS:
        x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(dtype)
        agrees(getattr(keras.layers, kind)(3, return_sequences=True, dtype=policy), x)


MIXED = [
    *(
        ("float32", "float64"),
        ("float64", "float32"),
        ("float32", "mixed_float16"),
        ("float16", "float32"),
        ("mixed_bfloat16", "float16"),
    ),
    *(("float32", "mixed_bfloat16"), ("float64", "float16"), ("mixed_float16", "float64")),
]


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("mixed", [*MIXED[:2], *exhaustive(*MIXED[2:])], ids="-".join)
def test_a_cell_of_another_precision_than_its_layer(agrees, mixed):
    """The cell casts what it is given, and the layer what the cell has given; Keras 2 fails itself
    where they differ."""
    cell, layer = mixed
    layers = pytest.importorskip("keras").layers
    x = (
        np.random.default_rng(0)
        .normal(size=(2, 5, 4))
        .astype("float64" if layer == "float64" else "float32")
    )
    made = [
        layers.LSTMCell(3, dtype=cell),
        layers.GRUCell(3, reset_after=False, dtype=cell),
        layers.SimpleRNNCell(3, dtype=cell),
    ]
    for one in made:
        rnn = layers.RNN(one, return_sequences=True, return_state=True, dtype=layer)
        agrees(rnn, x)
        right = probe.check(rnn, rnn.name, given=x).outputs["framework"]
        wrong = [right[0] + (0.25 if "bfloat16" in cell else 2.0**-5), *right[1:]]
        assert (
            probe.check(rnn, rnn.name, given=x, expected=wrong, search=False).verdict == "diverge"
        )


def test_stacked_cells_of_another_precision_than_their_stack():
    layers = pytest.importorskip("keras").layers
    stack = layers.RNN([layers.LSTMCell(3, dtype="float64"), layers.GRUCell(2, dtype="float64")])
    report = probe.check(stack, stack.name, given=np.ones((2, 5, 4), "float32"))
    assert (
        report.verdict == "unchecked"
        and "its cell computes in float64, and the layer around it in float32"
        in report.missing["numpy"]
    )


def test_cells_in_a_layer(keras, agrees):
    layers = keras.layers
    stacks = [
        [layers.LSTMCell(3), layers.GRUCell(2)],
        [layers.GRUCell(3, reset_after=False), layers.SimpleRNNCell(4), layers.LSTMCell(2)],
    ]
    for stack, (whole, back) in product(stacks, product((False, True), repeat=2)):
        report = agrees(
            layers.RNN(
                layers.StackedRNNCells(stack),
                return_sequences=whole,
                return_state=True,
                go_backwards=back,
            ),
            (2, 5, 4),
        )
        assert "cells.1.kernel" in report.weights
    for cell in (
        layers.SimpleRNNCell(3),
        layers.LSTMCell(3, recurrent_activation="hard_sigmoid"),
        layers.GRUCell(3),
    ):
        agrees(layers.RNN(cell, return_state=True), (2, 5, 4))


def test_a_cell_of_the_users_own_is_not_taken_for_its_base(keras, agrees):
    negative = keras.ops.negative if hasattr(keras, "ops") else lambda x: -x

    class Mine(keras.layers.SimpleRNNCell):
        def call(self, inputs, states, training=None):
            return negative(inputs), [negative(inputs)]

    report = agrees(keras.layers.RNN(Mine(4)), (2, 5, 4))
    np.testing.assert_array_equal(report.outputs["numpy"], -report.inputs[0][:, -1])


@pytest.mark.parametrize("rank", [1, *exhaustive(2, 3)])
def test_convolving(keras, agrees, rank):
    kind = getattr(keras.layers, f"ConvLSTM{rank}D")
    size = (7, 6, 5)[:rank]
    for padding, whole, back in (
        ("valid", True, False),
        ("same", False, True),
        ("same", True, True),
    ):
        options = {
            "strides": (2, 1, 1)[:rank],
            "return_sequences": whole,
            "go_backwards": back,
            "recurrent_activation": "sigmoid",
        }
        agrees(
            kind(2, (3, 2, 2)[:rank], padding=padding, return_state=True, **options),
            (2, 3, *size, 3),
        )
    agrees(kind(2, 2, dilation_rate=2, use_bias=False, return_sequences=True), (2, 3, *size, 3))


def masked_input():
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")
    x[0, 4:] = x[0, 2] = x[1, :2] = x[2] = 0
    return x


def check(keras, model, x, name="r"):
    for layer in model.layers:
        if layer.weights and not getattr(layer, "stateful", False) and layer.name == name:
            rng = np.random.default_rng(0)
            layer.set_weights([rng.normal(size=w.shape) * 0.6 for w in layer.get_weights()])
    report = probe.check(model, name, x)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)
    return report


@pytest.mark.parametrize("kind", ["LSTM", *exhaustive("SimpleRNN", "GRU")])
def test_masks(keras, kind):
    """Padding in front, in the middle, behind, and a sample of nothing else."""
    layers = keras.layers
    for whole, back, zeros, unrolled in ((1, 1, 0, 0), (0, 0, 0, 0), (1, 0, 1, 1))[
        : 1 if keras.__name__ == "tf_keras" else 3
    ]:
        options = {
            "return_sequences": bool(whole),
            "go_backwards": bool(back),
            "unroll": bool(unrolled),
        }
        options |= {"zero_output_for_mask": True} if zeros else {}
        inputs = keras.Input((6, 4))
        outputs = getattr(layers, kind)(3, return_state=True, name="r", **options)(
            layers.Masking()(inputs)
        )
        check(keras, keras.Model(inputs, outputs), masked_input())
    inputs = keras.Input((6,))
    model = keras.Model(
        inputs, getattr(layers, kind)(3, name="r")(layers.Embedding(7, 4, mask_zero=True)(inputs))
    )
    check(keras, model, np.random.default_rng(0).integers(0, 3, size=(3, 6)))


@pytest.mark.costly
def test_keras_zeroes_the_wrong_steps_of_an_unrolled_layer_that_reads_backwards(keras):
    """With zero_output_for_mask both Keras put the mask, in the order of time, on outputs in the
    order of reading."""
    inputs = keras.Input((6, 4))
    layer = keras.layers.LSTM(
        3,
        return_sequences=True,
        go_backwards=True,
        unroll=True,
        zero_output_for_mask=True,
        name="r",
    )
    report = probe.check(
        keras.Model(inputs, layer(keras.layers.Masking()(inputs))), "r", masked_input()
    )
    assert (
        report.comparisons["numpy", "onnx"].ok and not report.comparisons["framework", "numpy"].ok
    )


def test_masks_of_stacked_cells(keras):
    layers, inputs = keras.layers, keras.Input((6, 4))
    stack = layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(2)])
    outputs = layers.RNN(stack, return_sequences=True, return_state=True, name="r")(
        layers.Masking()(inputs)
    )
    check(keras, keras.Model(inputs, outputs), masked_input())


def test_initial_states(keras):
    layers, x = keras.layers, masked_input()
    inputs, h, c = keras.Input((6, 4)), keras.Input((3,)), keras.Input((3,))
    one = layers.LSTM(3, return_sequences=True, return_state=True, name="r")(
        inputs, initial_state=[h, c]
    )
    check(keras, keras.Model([inputs, h, c], one), [x, x[:, 0, :3] + 1, x[:, 1, :3]])
    other = layers.GRU(3, name="r")(inputs, initial_state=h)
    check(keras, keras.Model([inputs, h], other), [x, x[:, 0, :3] + 1])


def test_stateful(keras):
    """It starts from what the call before left, and watching leaves that as it was."""
    inputs, x = keras.Input(batch_shape=(3, 6, 4)), masked_input()
    for kind in KINDS:
        layer = getattr(keras.layers, kind)(3, stateful=True, return_sequences=True, name="r")
        model = keras.Model(inputs, layer(inputs))
        model(x)
        held = [np.copy(state.numpy()) for state in layer.states]
        report = check(keras, model, x)
        assert np.abs(held[0]).max() > 0 and all(
            np.array_equal(a, b.numpy()) for a, b in zip(held, layer.states, strict=True)
        )
        fresh = probe.check(
            keras.Model(
                inputs, getattr(keras.layers, kind)(3, return_sequences=True, name="s")(inputs)
            ),
            "s",
            x,
        )
        assert any(told.startswith("Constant") for told in report.ops) and not any(
            told.startswith("Constant") for told in fresh.ops
        )


def test_time_major_of_keras_2():
    keras = pytest.importorskip("tf_keras")
    for cell, whole in product((keras.layers.LSTMCell, keras.layers.SimpleRNNCell), (False, True)):
        inputs = keras.Input(batch_shape=(6, 3, 4))
        layer = keras.layers.RNN(cell(3), time_major=True, return_sequences=whole, name="r")
        report = check(keras, keras.Model(inputs, layer(inputs)), masked_input().transpose(1, 0, 2))
        assert report.input_axes[:2] == ("time", "batch")


def test_cells_by_their_path(keras):
    inputs, x, layers = keras.Input((6, 4)), masked_input(), keras.layers
    stack = layers.RNN(
        layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(2), layers.SimpleRNNCell(2)]),
        name="r",
    )
    model = keras.Model(inputs, stack(inputs))
    names = [name for name in probe.open_model(model).names() if name.startswith("r/")]
    assert len(names) == 4
    for name in names:
        report = check(keras, model, x, name)
        assert report.outputs["numpy"][0].ndim == 2 and any(
            "called" in note for note in report.notes
        )


# Keras 3's own, as it saves
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
# Keras 2's own, of the format under test
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_saved_and_reopened(keras, drawn, tmp_path):
    suffix = ".keras" if keras.__name__ == "keras" else ".h5"
    layers = keras.layers
    x = inputs = keras.Input((5, 6, 4))
    x = layers.TimeDistributed(layers.Dense(3))(layers.ConvLSTM1D(3, 2, return_sequences=True)(x))
    maps = layers.ConvLSTM2D(2, 2, return_sequences=True)(layers.Reshape((5, 3, 5, 1))(x))
    maps = layers.ConvLSTM3D(2, (1, 2, 2))(layers.Reshape((5, 2, 2, 4, 1))(maps))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(layers.Reshape((5, 15))(x))
    x = layers.LSTM(3)(
        layers.GRU(4, return_sequences=True)(layers.SimpleRNN(3, return_sequences=True)(x))
    )
    y = layers.RNN(
        layers.StackedRNNCells([layers.GRUCell(2), layers.LSTMCell(3), layers.SimpleRNNCell(2)])
    )(layers.RepeatVector(3)(x))
    drawn(keras.Model(inputs, [x, y, maps])).save(tmp_path / f"net{suffix}")
    reports = list(probe.sweep(probe.open_model(tmp_path / f"net{suffix}")))
    assert len(reports) >= 10
    for report in reports:
        assert report.verdict == "agree" and set(report.outputs) == {
            "framework",
            "numpy",
            "onnx",
        }, str(report)
