"""A model of the user's own that calls TensorFlow's functions between its layers: what lies between
them becomes layers of a sweep."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from representatives import exhaustive

import probe

X = np.random.default_rng(0).normal(size=(2, 7, 8, 3)).astype("float32")


class Block(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = keras.layers.Dense(6, name="dense")
        self.drop = keras.layers.Dropout(0.3, name="drop")

    def call(self, x):
        return tf.nn.relu(self.drop(self.dense(x)) + x)


class Net(keras.Model):
    def __init__(self, last=tf.nn.softmax, **options):
        super().__init__(**options)
        self.conv = keras.layers.Conv2D(6, 3, name="conv")
        self.norm = keras.layers.BatchNormalization(name="norm")
        self.block, self.out = Block(name="block"), keras.layers.Dense(3, name="out")
        self.gain = self.add_weight(shape=(6,), name="gain", initializer="random_normal")
        self.last = last

    def call(self, x, training=False):
        y = tf.nn.relu(self.norm(self.conv(x), training=training))
        y = self.block(tf.reduce_mean(y, [1, 2]) * self.gain)
        return {"out": self.last(self.out(y)), "kept": y}


ORDER = "conv norm /mul block/dense block/drop block/relu out /softmax".split()


@pytest.mark.costly
@pytest.mark.parametrize("policy", ["float32", *exhaustive("mixed_bfloat16")])
def test_pieces_between_layers(policy):
    net = Net(dtype=policy)
    net(X)
    before, attributes = [np.array(one) for one in net.get_weights()], dict(vars(net))
    reports = {report.layer: report for report in probe.sweep(net, X)}
    assert list(reports) == ORDER
    for report in reports.values():
        assert report.ok and len(report.outputs) == 3, str(report)
    assert "gain" in reports["/mul"].weights and reports["block/relu"].ops == ("Add", "Relu")
    assert all(map(np.array_equal, before, net.get_weights())) and vars(net) == attributes
    mine = np.maximum(reports["block/relu"].outputs["framework"] - 0.1, 0)
    assert probe.check(net, "block/relu", X, expected=mine, search=False).verdict == "diverge"
    swept = {one.layer: one for one in probe.sweep(net, X, expected={"block/relu": mine})}
    assert swept["block/relu"].verdict == "diverge" and swept["out"].verdict != "diverge"


def test_what_has_no_description_is_unchecked_alone():
    net = Net(last=lambda y: tf.math.lgamma(tf.abs(y) + 1))
    net(X)
    reports = {report.layer: report for report in probe.sweep(net, X)}
    assert [name for name, one in reports.items() if not one.ok] == ["/lgamma"]
    missing = reports["/lgamma"].missing["numpy"]
    assert missing.startswith("TensorFlow's Lgamma (test_graph_calls.py:"), missing


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (lambda y: tf.nn.relu(y) + tf.random.normal([3]), "RandomStandardNormal"),
        (lambda y: tf.exp(y) * (1 if tf.executing_eagerly() else 2), "gives other values"),
    ],
)
def test_what_cannot_be_followed_is_listed_with_its_reason(last, why):
    net = Net(last=last)
    net(X)
    reports = {report.layer: report for report in probe.sweep(net, X)}
    assert reports["/call"].verdict == "unchecked" and why in reports["/call"].missing["numpy"], (
        str(reports["/call"])
    )
    assert all(one.ok for name, one in reports.items() if name != "/call")


def test_a_branch_on_a_value_is_taken_as_it_goes():
    net = Net(last=lambda y: keras.ops.relu(y) if float(keras.ops.sum(y)) > 0 else -y)
    net(X)
    reports = {report.layer: report for report in probe.sweep(net, X)}
    assert reports["/if"].ok and len(reports["/if"].outputs) == 3, str(reports["/if"])


@pytest.mark.parametrize("namespace", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_maps_over_samples_between_layers(namespace):
    class Mapped(namespace.Model):
        def __init__(self):
            super().__init__()
            self.dense = namespace.layers.Dense(6, name="dense")
            self.out = namespace.layers.Dense(3, name="out")

        def call(self, x):
            y = tf.map_fn(lambda row: tf.nn.softmax(row) * row[0], self.dense(x))
            z = tf.vectorized_map(lambda row: row * row[0], y)
            return self.out(tf.nn.relu(z))

    net, x = Mapped(), X[:, 0, 0]
    net(x)
    reports = list(probe.sweep(net, x))
    assert [one.layer for one in reports] == ["dense", "/relu", "out"]
    assert all(one.ok and len(one.outputs) == 3 for one in reports), [str(one) for one in reports]


def test_the_whole_is_composed_of_layers_and_pieces():
    net = Net()
    net(X)
    whole = probe.check(net, "", X)
    assert whole.ok and list(whole.outputs) == ["framework", "numpy", "onnx"], str(whole)
    kinds = {one.partition(":")[0] for one in whole.ops}
    assert {"Conv", "BatchNormalization", "ReduceMean", "MatMul", "Softmax"} <= kinds
