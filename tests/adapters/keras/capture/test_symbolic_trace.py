"""A layer of the user's own is followed through the operations that its call makes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import probe

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


class Gated(keras.layers.Layer):
    """Weights of its own, a constant, and several operations."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), name="kernel")
        self.scale = self.add_weight(shape=(5,), name="scale", initializer="random_normal")

    def call(self, x):
        y = keras.ops.matmul(x, self.kernel)
        return keras.ops.relu(y) * self.scale + keras.ops.mean(y, axis=-1, keepdims=True) * 0.3


class Block(keras.layers.Layer):
    """Layers inside, one of them of the user's own, and what lies between them."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense, self.norm = (
            keras.layers.Dense(4, "tanh", name="dense"),
            keras.layers.BatchNormalization(name="norm"),
        )
        self.gated, self.last = Gated(name="gated"), keras.layers.Dense(4, name="last")

    def build(self, shape):
        for layer, size in ((self.dense, 4), (self.norm, 4), (self.gated, 4), (self.last, 5)):
            layer.build((None, size))

    def call(self, x, training=False):
        first, second = self.norm(self.dense(x), training=training), self.last(self.gated(x))
        return first, keras.ops.concatenate([first + x, second], axis=-1)


class Legacy(tf_keras.layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")
        self.dense = tf_keras.layers.Dense(4, name="dense")

    def call(self, x):
        y = tf.matmul(x, self.kernel)
        return self.dense(tf.nn.relu(y)) + tf.reduce_mean(y, axis=-1, keepdims=True) + x[:, :1]


def model_of(layer, namespace):
    inputs = namespace.Input((4,))
    return namespace.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    "layer", [Gated(name="mine"), Legacy(name="mine"), Gated(name="mine", dtype="mixed_float16")]
)
def test_operations_and_weights(layer):
    model = model_of(layer, tf_keras if isinstance(layer, Legacy) else keras)
    before, nodes = layer.get_weights(), len(layer._inbound_nodes)
    reports = {report.layer: report for report in probe.sweep(model, X)}
    report = reports["mine"]
    assert report.ok and len(report.outputs) == 3 and "kernel" in report.weights, str(report)
    assert report.ops[0].startswith("MatMul") and report.ops[-1] == "Add"
    assert len(layer._inbound_nodes) == nodes and all(
        map(np.array_equal, before, layer.get_weights())
    )


def test_layers_inside_are_checked_alone_too():
    model = model_of(Block(name="block"), keras)
    reports = {report.layer: report for report in probe.sweep(model, X)}
    assert set(reports) == {"block/dense", "block/norm", "block/gated", "block/last", "block"}
    assert all(report.ok for report in reports.values())
    assert {"dense.kernel", "gated.scale", "last.bias", "norm.gamma"} <= set(
        reports["block"].weights
    )
    assert len(reports["block"].outputs["numpy"]) == 2


def test_a_fault_between_the_layers_is_seen():
    block = Block(name="block")
    model = model_of(block, keras)
    right = probe.check(model, "block", X).outputs["framework"]
    report = probe.check(
        model, "block", X, expected=[right[0], np.concatenate([right[0], right[1][:, 4:]], axis=1)]
    )
    assert report.verdict == "diverge" and report.comparisons["framework", "numpy"].ok


@pytest.mark.parametrize("namespace", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_names_that_keras_gives_are_not_used_up(namespace):
    layer = Gated(name="mine") if namespace is keras else Legacy(name="mine")
    model = model_of(layer, namespace)

    def number() -> int:
        return int(f"0{namespace.layers.Dense(2).name.removeprefix('dense').strip('_')}")

    first = number()
    probe.check(model, "mine", X)
    assert number() == first + 1


def test_what_cannot_be_followed_says_why():
    class Outside(keras.layers.Layer):
        def call(self, x):
            return keras.ops.convert_to_tensor(np.sort(np.asarray(x)))

        def compute_output_spec(self, x):
            return x

    layer = Outside(name="mine")
    report = probe.check(layer, "mine", given=X)
    assert (
        report.verdict == "unchecked"
        and "its `call` cannot be traced: symbolic tracing failed" in report.missing["numpy"]
    )


@pytest.mark.parametrize("namespace", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_a_lambda_is_followed_where_it_is_trusted(namespace, tmp_path):
    exp = keras.ops.exp if namespace is keras else tf.exp
    layer = namespace.layers.Lambda(lambda x: exp(x) * 2 + x[:, :1], name="mine", output_shape=(4,))
    report = probe.check(model_of(layer, namespace), "mine", X)
    assert report.ok and report.ops[0] == "Exp" and len(report.outputs) == 3, str(report)


def test_layers_of_a_pipeline_are_checked_one_by_one():
    pipeline = keras.layers.Pipeline(
        [keras.layers.Rescaling(1 / 255, name="scale"), keras.layers.CenterCrop(4, 4, name="crop")],
        name="pre",
    )
    inputs = keras.Input((6, 7, 3))
    x = np.random.default_rng(0).uniform(0, 255, size=(2, 6, 7, 3)).astype("float32")
    reports = list(probe.sweep(keras.Model(inputs, pipeline(inputs)), x))
    assert [report.layer for report in reports] == ["pre/scale", "pre/crop"] and all(
        report.ok for report in reports
    )


class Adds(keras.layers.Layer):
    def __init__(self, number, **options):
        super().__init__(**options)
        self.number = number

    def call(self, x):
        return keras.ops.add(x, np.float32(self.number()))


@pytest.mark.parametrize("size", [(), (1,), (4,)])
def test_numbers_that_a_call_draws_are_no_constants(size):
    """One, too; a fixed one is."""
    rng = np.random.default_rng(0)
    drawn, fixed = Adds(lambda: rng.normal(size=size)), Adds(lambda: np.full(size, 0.5))
    report = probe.check(drawn, drawn.name, given=X, search=False)
    assert report.verdict == "unchecked", report
    assert "it produces different values in every call, such as random numbers" in report.sentence
    assert probe.check(fixed, fixed.name, given=X, search=False).verdict == "agree"
