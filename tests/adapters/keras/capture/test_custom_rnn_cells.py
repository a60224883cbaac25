"""RNN over a cell of the user's own: followed step by step, in every option of the layer, in Keras
2 and 3."""

import importlib

import keras as keras_3
import numpy as np
import pytest
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell
from representatives import exhaustive

import probe

X = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
X[1, 4:] = X[2, 2] = 0


@pytest.fixture(scope="module")
def made(keras):
    """(keras, a cell of one state, one of two states and a layer inside, one that draws numbers,
    the functions to write them with)."""
    legacy = keras.__name__ == "tf_keras"
    functions = importlib.import_module("tensorflow") if legacy else keras.ops
    joined = functions.concat if legacy else functions.concatenate

    class Plain(keras.layers.Layer):
        def __init__(self, units, **options):
            super().__init__(**options)
            self.units = self.state_size = units

        def build(self, shape):
            self.kernel = self.add_weight(
                shape=(shape[-1], self.units), name="kernel", initializer="glorot_uniform"
            )
            self.recurrent = self.add_weight(
                shape=(self.units, self.units), name="recurrent", initializer="orthogonal"
            )
            self.built = True

        def call(self, x, states):
            h = functions.tanh(
                functions.matmul(x, self.kernel) + functions.matmul(states[0], self.recurrent)
            )
            return h, [h]

    class Begun(Plain):
        def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
            return functions.ones((batch_size, self.units)) * 0.3

    class Two(keras.layers.Layer):
        def __init__(self, units, **options):
            super().__init__(**options)
            self.units, self.state_size = units, [units, units]

        def build(self, shape):
            self.dense = keras.layers.Dense(self.units)
            self.dense.build((None, shape[-1] + self.units))
            self.built = True

        def call(self, x, states, training=None):
            h, c = states
            z = self.dense(joined([x, h], -1))
            c = c * functions.sigmoid(z) + z
            return functions.tanh(c) * 2.0, [functions.tanh(c), c]

    class Drawing(Plain):
        def call(self, x, states):
            h = super().call(x, states)[0]
            shape = (3, self.units)
            return h + (functions.random.normal(shape) if legacy else keras.random.normal(shape)), [
                h
            ]

    return {"Plain": Plain, "Begun": Begun, "Two": Two, "Drawing": Drawing}


def model(keras, layer, masked=False, batch=None):
    given = keras.Input(batch_size=batch, shape=X.shape[1:])
    return keras.Model(given, layer(keras.layers.Masking()(given) if masked else given))


def checked(keras, layer, masked=False, **options):
    net = model(keras, layer, masked)
    report = probe.check(net, layer.name, X, **options)
    assert report.kind == "RNN" and list(report.outputs)[:3] == ["framework", "numpy", "onnx"], (
        report
    )
    return report


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("masked", [False, *exhaustive(True)])
@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("Plain", {}),
        ("Plain", {"return_sequences": True, "unroll": True}),
        ("Plain", {"return_sequences": True, "go_backwards": True, "return_state": True}),
        ("Plain", {"return_sequences": True, "zero_output_for_mask": True}),
        ("Two", {"return_sequences": True, "return_state": True}),
        ("Begun", {"go_backwards": True}),
    ],
)
def test_a_cell_of_the_users_own_is_followed(keras, made, cell, options, masked):
    layer = keras.layers.RNN(made[cell](5), **options)
    report = checked(keras, layer, masked)
    assert report.ok, report


@pytest.mark.costly
@pytest.mark.parametrize("masked", [True, *exhaustive(False)])
def test_stacked_with_other_cells(keras, made, masked):
    cells = [made["Plain"](5), made["Two"](4), keras.layers.LSTMCell(3)]
    assert checked(
        keras, keras.layers.RNN(cells, return_sequences=True, return_state=True), masked
    ).ok


def test_states_that_were_given_or_kept(keras, made):
    layer = keras.layers.RNN(made["Plain"](5), return_sequences=True)
    given, state = keras.Input(X.shape[1:]), keras.Input((5,))
    net = keras.Model([given, state], layer(given, initial_state=[state]))
    assert probe.check(net, layer.name, [X, np.full((3, 5), 0.7, np.float32)]).ok
    kept = keras.layers.RNN(made["Plain"](5), stateful=True)
    net = model(keras, kept, batch=3)
    net(X)
    before = [np.array(weight) for weight in net.get_weights()]
    assert probe.check(net, kept.name, X).ok
    assert all(
        np.array_equal(one, other) for one, other in zip(before, net.get_weights(), strict=True)
    )


@pytest.mark.costly
def test_a_fault_is_seen(keras, made):
    layer = keras.layers.RNN(made["Plain"](5), return_sequences=True)
    right = np.asarray(model(keras, layer)(X))
    assert checked(keras, layer, expected=right).ok
    wrong = right.copy()
    wrong[0, 3] = wrong[0, 2]
    assert checked(keras, layer, expected=wrong).verdict == "diverge"
    assert checked(keras, layer, expected=right[:, ::-1]).verdict == "diverge"
    weights = layer.cell.get_weights()
    report = checked(keras, layer)
    for name, array in zip(("kernel", "recurrent"), weights, strict=True):
        (held,) = [
            weight for key, weight in report.weights.items() if key.rpartition(".")[2] == name
        ]
        np.testing.assert_array_equal(held.stored, array)


@pytest.mark.costly
def test_what_cannot_be_followed_is_unchecked(keras, made):
    layer = keras.layers.RNN(made["Drawing"](5))
    drawn = probe.check(model(keras, layer), layer.name, X)
    assert (
        drawn.verdict == "unchecked"
        and "it produces different values in every call, such as random numbers" in drawn.sentence
    )
    long = keras.layers.RNN(made["Plain"](2))
    report = probe.check(long, long.name, given=np.zeros((1, 300, 4), np.float32))
    assert report.verdict == "unchecked" and "its loop runs 300 iterations" in report.sentence


def test_a_layer_that_draws_numbers_is_unchecked(keras):
    class Noisy(keras.layers.Layer):
        def call(self, x):
            if keras.__name__ == "tf_keras":
                return x + importlib.import_module("tensorflow").random.normal((3, 6, 4))
            return x + keras.random.normal((3, 6, 4))

    report = probe.check(model(keras, Noisy(name="noisy")), "noisy", X)
    assert report.verdict == "unchecked" and "such as random numbers" in report.sentence


class _OneState(keras_3.layers.Layer):
    """As the cells of Keras' own tests are written, in a module of Keras (rnn/rnn_test.py)."""

    __module__ = "keras.src.layers.rnn.rnn_test"

    def __init__(self, units, state_size=None, **options):
        super().__init__(**options)
        self.units = units
        self.state_size = state_size or units

    def build(self, shape):
        for name, rows in (("kernel", shape[-1]), ("recurrent", self.units)):
            drawn = keras_3.initializers.RandomNormal(0, 0.5, seed=rows)
            weight = self.add_weight(shape=(rows, self.units), initializer=drawn, name=name)
            setattr(self, name, weight)

    def call(self, inputs, states):
        output = keras_3.ops.matmul(inputs, self.kernel)
        output = output + keras_3.ops.matmul(states[0], self.recurrent)
        return output, [output]


class _TwoStates(_OneState):
    __module__ = "keras.src.layers.rnn.rnn_test"

    def __init__(self, units, state_size=None, **options):
        super().__init__(units, state_size or [units, units], **options)

    def call(self, inputs, states):
        first, _ = super().call(inputs, states)
        second = keras_3.ops.matmul(inputs, self.kernel) - states[1]
        return first + second, [first, second]


class _Dropping(_OneState, DropoutRNNCell):
    __module__ = "keras.src.layers.rnn.dropout_rnn_cell_test"

    def __init__(self, units, **options):
        super().__init__(units, **options)
        self.dropout, self.recurrent_dropout = 0.5, 0.5
        self.seed_generator = keras_3.random.SeedGenerator(1)

    def call(self, inputs, states, training=False):
        if training:
            inputs = inputs * self.get_dropout_mask(inputs)
        return super().call(inputs, states)


@pytest.mark.costly
def test_cells_that_keras_does_not_list_are_followed():
    stack = [_OneState(5), _TwoStates(4), _OneState(3)]
    for cell, options in (
        (_OneState(5, state_size=(5,)), {"go_backwards": True, "unroll": True}),
        (_TwoStates(5), {"return_sequences": True, "return_state": True}),
        (stack, {"return_sequences": True}),
        (_Dropping(5), {}),
    ):
        report = checked(keras_3, keras_3.layers.RNN(cell, **options))
        assert report.verdict == "agree", f"{cell}\n{report}"
    dropping = keras_3.layers.RNN(_Dropping(5))
    given = keras_3.Input(X.shape[1:])
    trained = keras_3.Model(given, dropping(given, training=True))
    report = probe.check(trained, dropping.name, X)
    assert report.verdict == "unchecked" and "dropout is active in it" in report.sentence, report
