"""Layers whose call goes through TensorFlow's functions: with weights, layers, maps, branches and
loops inside; and what cannot be followed, with its reason."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import probe
from probe import ops

X = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")


def numbers(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def agrees(report):
    assert report.ok and list(report.outputs) == ["framework", "numpy", "onnx"], str(report)
    return report


def of(call, given=X, **options):
    """The report of a layer that computes this."""

    class Mine(keras.layers.Layer):
        def call(self, inputs):
            return call(inputs)

    return probe.check(Mine(name="mine", **options), "mine", given=given)


class TestTheQuestions:
    """/work/shared/QUESTIONS.md, 4 and 5: one kernel for each sample, and a sum over an axis."""

    def model(self, function):
        signal, kernel = keras.Input((2, 1)), keras.Input((3, 1))
        out = keras.layers.Lambda(lambda pair: function(*pair), name="convolve")([signal, kernel])
        return keras.Model([signal, kernel], out)

    given = (numbers(4, 2, 1), numbers(4, 3, 1))

    def by_hand(self, signals, kernels):
        padded = np.pad(signals[..., 0], ((0, 0), (1, 1)))
        return np.stack(
            [np.correlate(x, k, "valid") for x, k in zip(padded, kernels[..., 0], strict=True)]
        )[..., None]

    def test_one_kernel_for_all(self):
        model = self.model(lambda x, k: tf.nn.conv1d(x, k[0][..., None], 1, "SAME"))
        agrees(probe.check(model, "convolve", list(self.given)))
        mine = self.by_hand(self.given[0], np.repeat(self.given[1][:1], 4, axis=0))
        agrees_with_mine = probe.check(model, "convolve", list(self.given), expected=mine)
        assert agrees_with_mine.ok, str(agrees_with_mine)

    @pytest.mark.parametrize(
        "maps", [pytest.param("map_fn", marks=pytest.mark.costly), "vectorized_map"]
    )
    def test_one_kernel_for_each(self, maps):
        def each(x, k):
            def one(pair):
                return tf.nn.conv1d(pair[0][None], pair[1][..., None], 1, "SAME")[0]

            return (
                tf.map_fn(one, (x, k), fn_output_signature=tf.float32)
                if maps == "map_fn"
                else tf.vectorized_map(one, (x, k))
            )

        model = self.model(each)
        right = self.by_hand(*self.given)
        report = probe.check(model, "convolve", list(self.given), expected=right)
        assert report.ok and len(report.outputs) == 4, str(report)
        if maps == "vectorized_map":
            return
        for_all = self.by_hand(self.given[0], np.repeat(self.given[1][:1], 4, axis=0))
        wrong = probe.check(model, "convolve", list(self.given), expected=for_all)
        assert wrong.verdict == "diverge" and wrong.comparisons["framework", "numpy"].ok
        worst = wrong.comparisons["framework", "expected"].worst
        assert worst is not None and worst.index[0] > 0

    def test_a_sum_over_the_batch(self):
        inputs = keras.Input((10, 1))
        conv = keras.layers.Conv1D(6, 10, padding="same")(inputs)
        total = keras.layers.Lambda(lambda x: tf.reduce_sum(x, 0), name="total")(conv)
        report = probe.check(keras.Model(inputs, total), "total", numbers(4, 10, 1))
        assert agrees(report).ops == ("ReduceSum",)


class Head(keras.layers.Layer):
    """Attention by hand, with weights of its own and one that is only TensorFlow's."""

    def build(self, shape):
        self.query, self.key = (
            self.add_weight(shape=(shape[-1], 5), name=name) for name in ("query", "key")
        )
        self.bias = tf.Variable(np.float32([0.1, -0.2, 0.3, 0.4, -0.5]), name="bias")

    def call(self, x):
        q = tf.nn.bias_add(tf.matmul(x, self.query), self.bias)
        scores = tf.matmul(q, tf.matmul(x, self.key), transpose_b=True) / tf.sqrt(5.0)
        return tf.matmul(tf.nn.softmax(scores), x)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16", "float64"])
def test_weights(dtype):
    if dtype == "float32":
        layer = Head(name="mine")
        report = agrees(probe.check(layer, "mine", given=numbers(2, 4, 6)))
        assert set(report.weights) == {"query", "bias", "key"}
        assert np.array_equal(report.weights["query"].stored, layer.query.numpy())
        return

    class Plain(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(3, shape[-1], 4), name="kernel")

        def call(self, x):
            y = tf.nn.conv1d(x, tf.convert_to_tensor(self.kernel), 1, "SAME")
            return tf.nn.softmax(y) * tf.reduce_max(x)

    report = agrees(probe.check(Plain(name="mine", dtype=dtype), "mine", given=numbers(2, 7, 6)))
    (weight,) = report.weights.values()
    assert weight.name == "kernel" and weight.stored.shape == (3, 6, 4)


def test_a_kernel_is_a_weight_of_the_convolution():
    class Conv(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(3, shape[-1], 4), name="kernel")

        def call(self, x):
            return tf.nn.conv1d(x, self.kernel, 1, "SAME")

    layer, x = Conv(name="mine"), numbers(2, 7, 6)
    report = agrees(probe.check(layer, "mine", given=x))
    assert [one.partition(":")[0] for one in report.ops] == ["Transpose", "Conv", "Transpose"]
    flipped = tf.nn.conv1d(x, tf.reverse(layer.kernel, [0]), 1, "SAME").numpy()
    wrong = probe.check(layer, "mine", given=x, expected=flipped)
    assert wrong.verdict == "diverge" and wrong.findings[0].slug == "flipped-kernel", str(wrong)
    story = probe.explain(layer, "mine", x, at=(1, 3, 2))
    assert {term.weight for term in story.terms} == {"kernel"}
    assert np.isclose(sum(term.product for term in story.terms), story.value)


def test_layers_inside_are_described_as_layers():
    class Block(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = keras.layers.Dense(6, "tanh", name="dense")
            self.norm = keras.layers.LayerNormalization(name="norm")
            self.lstm = keras.layers.LSTM(6, return_sequences=True, name="lstm")
            self.drop = keras.layers.Dropout(0.5)

        def build(self, shape):
            for one in (self.dense, self.norm, self.lstm):
                one.build(shape)

        def call(self, x):
            return self.lstm(tf.nn.relu(self.norm(self.drop(self.dense(x)))) + x) * tf.exp(-x)

    layer = Block(name="mine")
    report = agrees(probe.check(layer, "mine", given=numbers(2, 4, 6)))
    assert {"dense.kernel", "norm.gamma", "lstm.recurrent_kernel"} <= set(report.weights)
    kinds = [one.partition(":")[0] for one in report.ops]
    assert kinds == (
        "MatMul Tanh LayerNormalization Relu Add Transpose LSTM Transpose Neg Exp Mul".split()
    ), kinds


def test_masks():
    class Mean(keras.layers.Layer):
        supports_masking = True

        def call(self, x, mask=None):
            kept = tf.cast(mask, x.dtype)[..., None]
            return tf.math.divide_no_nan(tf.reduce_sum(x * kept, 1), tf.reduce_sum(kept, 1))

        def compute_mask(self, x, mask=None):
            return None

    inputs = keras.Input((4, 6))
    model = keras.Model(inputs, Mean(name="mine")(keras.layers.Masking()(inputs)))
    x = numbers(2, 4, 6)
    x[0, 2:] = 0
    agrees(probe.check(model, "mine", x))


def test_an_activation_of_the_users_own():
    layer = keras.layers.Dense(4, activation=lambda x: tf.nn.relu(x) - 0.1 * tf.square(x))
    agrees(probe.check(layer, layer.name, given=X))


def test_a_model_is_left_as_it_was():
    inputs = keras.Input((4, 6))
    layer = Head(name="mine")
    model = keras.Model(inputs, layer(inputs))
    before, attributes = [np.array(one) for one in layer.get_weights()], dict(vars(layer))
    probe.check(model, "mine", numbers(2, 4, 6))
    assert vars(layer) == attributes and len(layer._inbound_nodes) == 1
    assert all(map(np.array_equal, before, layer.get_weights()))


GOES = {
    "if": lambda x: tf.exp(x) if tf.reduce_sum(x) > 100.0 else tf.tanh(x),
    "cond": lambda x: tf.cond(tf.reduce_sum(x) > 100.0, lambda: tf.exp(x), lambda: tf.sin(x)),
    "switch_case": lambda x: tf.switch_case(
        tf.argmax(x[0], output_type=tf.int32) % 3, [lambda: x, lambda: x * 2, lambda: x * 3]
    ),
    "while_loop": lambda x: tf.while_loop(
        lambda k, y: k < 4, lambda k, y: (k + 1, tf.tanh(y) + x), (0, x)
    )[1],
    "until it is small": lambda x: tf.while_loop(
        lambda y: tf.reduce_max(tf.abs(y)) > 0.1, lambda y: (y * 0.5,), (x,)
    )[0],
    "scan": lambda x: tf.transpose(
        tf.scan(lambda a, row: 0.5 * a + tf.tanh(row), tf.transpose(x)), [1, 0]
    ),
    "foldl": lambda x: tf.foldl(lambda a, row: a * 0.3 + row, x),
    "map_fn": lambda x: tf.map_fn(lambda row: tf.nn.softmax(row) * row[0], x),
    "map_fn of two": lambda x: tf.map_fn(
        lambda pair: (pair[0] * pair[1], tf.reduce_sum(pair[0])),
        (x, x + 1),
        fn_output_signature=(tf.float32, tf.float32),
    ),
    "vectorized_map": lambda x: tf.vectorized_map(lambda row: tf.nn.softmax(row) * row[0], x),
    "vectorized_map outer": lambda x: tf.vectorized_map(lambda row: row[:, None] * row[None, :], x),
    "function": tf.function(lambda x: tf.nn.relu(x) + 1),
    "custom gradient": lambda x: tf.nn.silu(x),
    "recompute": lambda x: tf.recompute_grad(lambda y: tf.tanh(y) * 2)(x),
    "keras.ops beside": lambda x: keras.ops.relu(tf.math.cumsum(x, 1)) + keras.ops.softmax(x),
    "partly unknown": lambda x: tf.reshape(x, [-1, tf.shape(x)[1] // 2, 2]),
}


@pytest.mark.parametrize("name", GOES)
def test_branches_loops_and_maps(name):
    agrees(of(GOES[name]))


def test_a_loop_in_python_on_a_tensor():
    class Power(keras.layers.Layer):
        def call(self, x):
            y = x
            for _ in tf.range(3):
                y = y * x
            while tf.reduce_max(y) > 1.0:
                y = y / 2
            return y

    agrees(probe.check(Power(name="mine"), "mine", given=X))


def listed(x):
    return tf.raw_ops.TensorListFromTensor(tensor=x, element_shape=[6])


REFUSED = {
    "RandomStandardNormal": lambda x: tf.nn.relu(x) + tf.random.normal([6]),
    "StatelessRandom": lambda x: tf.nn.relu(x) + tf.random.stateless_normal([6], [1, 2]),
    "EagerPyFunc": lambda x: tf.ensure_shape(
        tf.py_function(lambda y: y.numpy() * 2, [x], tf.float32), [3, 6]
    ),
    "Where": lambda x: tf.boolean_mask(x, x[:, 0] > -10),
    "Lgamma": lambda x: tf.math.lgamma(tf.abs(x) + 1),
    "MatrixInverse": lambda x: tf.linalg.inv(x[:, :3] + 3 * tf.eye(3)),
    "complex": lambda x: tf.abs(tf.signal.fft(tf.cast(x, tf.complex64))),
    "float16": lambda x: tf.cast(tf.exp(tf.cast(x, tf.float16)), tf.float32),
    "its input is not a tensor of numbers": lambda x: tf.raw_ops.TensorListStack(
        input_handle=tf.stack([listed(x), listed(2 * x)])[1],
        element_shape=[6],
        element_dtype=x.dtype,
    ),
    "half_pixel_centers=False": lambda x: tf.compat.v1.image.resize_bilinear(
        tf.reshape(x, [1, 3, 6, 1]), [5, 5]
    ),
    "256 iterations": lambda x: tf.while_loop(
        lambda k, y: k < 500, lambda k, y: (k + 1, y * 0.99 + 0.1 * x), (0, x)
    )[1],
    "does not depend on its inputs": lambda x: tf.ones([3, 6]),
    "gives other values than the call": lambda x: (
        tf.exp(x) if tf.executing_eagerly() else tf.exp(x) * 2
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_followed_says_why(why):
    report = of(REFUSED[why])
    assert report.verdict == "unchecked" and why in report.missing["numpy"], str(report)
    place = "test_calls.py:" in report.missing["numpy"]
    assert place or "TensorFlow's" not in report.missing["numpy"], report.missing["numpy"]
    assert len(report.missing["numpy"]) <= 260, report.missing["numpy"]


@pytest.mark.parametrize(
    ("why", "words"),
    {
        "RandomStandardNormal": "it draws random numbers",
        "StatelessRandom": "it draws random numbers",
        "EagerPyFunc": "it keeps a state",
    }.items(),
)
def test_what_an_operation_without_a_description_does(why, words):
    assert words in of(REFUSED[why]).missing["numpy"]


def test_an_attribute_that_no_description_looks_at(monkeypatch):
    """LeakyRelu's slope, with a description that forgets it."""
    walk = importlib.import_module("probe.adapters.keras.tf_graph.walk")
    monkeypatch.setitem(
        walk.DESCRIBED, "LeakyRelu", lambda n: n.build.add(ops.LeakyRelu(alpha=0.2), n.ref(0))
    )
    assert of(lambda x: tf.nn.relu(x) + tf.nn.leaky_relu(x, 0.2)).ok
    report = of(lambda x: tf.nn.relu(x) + tf.nn.leaky_relu(x, 0.3))
    assert report.verdict == "unchecked", str(report)
    assert "LeakyRelu" in report.missing["numpy"], report.missing
    assert "its attribute alpha=0.3" in report.missing["numpy"], report.missing


@pytest.mark.parametrize("first", ["assign", "read"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_variable_that_the_call_changes(first, compiled):
    """What it holds after the call is not what the call has read."""

    class Counting(keras.layers.Layer):
        def build(self, shape):
            self.count = self.add_weight(shape=(), initializer="ones", name="count")

        def call(self, x):
            count = self.count.value if first == "read" else None
            y = tf.nn.relu(x) * count if first == "read" else tf.nn.relu(x)
            add = (lambda: self.count.assign_add(1.0)) if not compiled else self.added
            add()
            return y if first == "read" else y * self.count

        @tf.function
        def added(self):
            self.count.assign_add(1.0)

    layer = Counting(name="mine")
    layer.build((3, 6))
    report = probe.check(layer, "mine", given=X)
    assert report.verdict == "unchecked" and (
        "it reads a variable that the call changes" in report.missing["numpy"]
    ), str(report)
    assert float(layer.count) == 1.0


def test_a_state_in_python_that_the_call_changes():
    class Counting(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.count = [1.0]

        def call(self, x):
            self.count.append(self.count[-1] + 1)
            return tf.nn.relu(x) * self.count[-1]

    layer = Counting(name="mine")
    layer(X)
    report = probe.check(layer, "mine", given=X)
    # followed from the state that the call began with, and left as it was
    assert report.verdict == "agree" and "Constant: 3.0" in str(report), str(report)
    assert layer.count == [1.0, 2.0]


def test_a_wrong_port_of_a_lambda_is_told():
    layer = keras.layers.Lambda(lambda x: tf.nn.softmax(tf.reduce_mean(x, axis=1)), name="mine")
    x = numbers(3, 5, 5)
    other = np.exp(x.mean(axis=2)) / np.exp(x.mean(axis=2)).sum(axis=-1, keepdims=True)
    for mine, slug in ((x.mean(axis=1), "missing-activation"), (other, "wrong-axis")):
        wrong = probe.check(layer, "mine", given=x, expected=mine)
        assert wrong.verdict == "diverge" and wrong.comparisons["framework", "numpy"].ok
        assert wrong.findings[0].slug == slug, str(wrong)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.vectorized_map(lambda row: row * row[0], x),
        lambda x: tf.map_fn(lambda row: tf.nn.relu(row) * row[0], x),
    ],
)
def test_in_keras_2(function):
    class Mine(tf_keras.layers.Layer):
        def call(self, x):
            return function(x)

    agrees(probe.check(Mine(name="mine"), "mine", given=X))


def test_a_file_with_a_lambda_stays_refused(tmp_path):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2, name="mine")(inputs))
    model.save(tmp_path / "net.keras")
    with pytest.raises(probe.ProbeError, match="Lambda"):
        probe.open_model(tmp_path / "net.keras")
