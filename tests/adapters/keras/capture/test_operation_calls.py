"""What a model of the user's own does between its layers becomes layers of a sweep, in order, each
recomputed."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import probe
from probe.errors import BadInput

ops = keras.ops
X = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)


def residual(namespace, relu):
    """A model whose own code adds, cuts off and scales, with a weight of its own, and one of the
    same kind inside."""

    class Block(namespace.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = namespace.layers.Dense(6, "tanh", name="dense")

        def call(self, x):
            return relu(self.dense(x) + x)

    class Net(namespace.Model):
        def __init__(self):
            super().__init__()
            self.first, self.block = namespace.layers.Dense(6, name="first"), Block(name="block")
            self.last = namespace.layers.Dense(2, name="last")
            self.gain = self.add_weight(shape=(6,), name="gain", initializer="random_normal")

        def call(self, x, training=False):
            y = self.first(x)
            y = relu(y + x) * 2.0
            y = self.block(y) * self.gain
            return {"out": self.last(y), "kept": relu(y)}

    return Net()


@pytest.fixture(params=["keras", "tf_keras"])
def net(request):
    return residual(keras, ops.relu) if request.param == "keras" else residual(tf_keras, tf.nn.relu)


ORDER = [
    "first",
    "/add",
    "/relu",
    "/multiply",
    "block/dense",
    "block/add",
    "block/relu",
    "/multiply:1",
    "last",
    "/relu:1",
]


def test_operations_become_layers_in_order(net):
    net(X)
    before = [np.array(one) for one in net.get_weights()]
    reports = list(probe.sweep(net, X))
    assert [report.layer for report in reports] == ORDER
    for report in reports:
        assert report.ok and len(report.outputs) == 3, str(report)
    assert "gain" in next(report for report in reports if report.layer == "/multiply:1").weights
    assert not any(layer._inbound_nodes for layer in (net.first, net.block, net.last))
    assert all(map(np.array_equal, before, net.get_weights()))


def test_one_of_them_is_asked_for(net):
    net(X)
    right = probe.check(net, "/relu", X)
    assert right.ok and not any("watching" in note for note in right.notes), str(right)
    report = probe.check(
        net, "block/relu", X, expected=probe.check(net, "block/add", X).outputs["framework"]
    )
    assert report.findings[0].slug == "missing-activation", str(report)


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
def test_values_of_ones_own_in_a_sweep(net):
    net(X)
    right = probe.check(net, "/relu", X).outputs["framework"]
    for mine, verdict in ((right, "agree"), (right + 0.1, "diverge")):
        reports = {report.layer: report for report in probe.sweep(net, X, expected={"/relu": mine})}
        assert reports["/relu"].verdict == verdict and list(reports) == ORDER
    assert "influence" in str(probe.explain(net, "block/relu", X, at=(0, 0), sees=True))


def test_a_name_that_no_operation_has(net):
    net(X)
    with pytest.raises(probe.ProbeError, match="/relu:2"):
        probe.check(net, "/relu:2", X)
    with pytest.raises(probe.ProbeError, match="cannot run alone"):
        probe.check(net, "/relu", given=X)


def lost(namespace, body):
    """A model whose call is ``body`` after a dense layer."""

    class Lost(namespace.Model):
        def __init__(self):
            super().__init__()
            self.dense = namespace.layers.Dense(6, name="dense")

        def call(self, x):
            return body(self.dense(x))

    return Lost()


LOST = {
    "symbolic tracing failed": (
        keras,
        lambda y: keras.ops.convert_to_tensor(np.sort(np.asarray(y))),
    ),
    "one by one failed": (
        keras,
        lambda y: keras.ops.conv_transpose(y[:, None], np.ones((2, 3, 6), "float32"), 2),
    ),
    "give other values than the call itself": (
        keras,
        lambda y: y * 2.0 if hasattr(y, "numpy") else y * 3.0,
    ),
    "does not depend on its inputs": (
        tf_keras,
        lambda y: tf.ones((3, 2)) if not hasattr(y, "numpy") else y,
    ),
}


@pytest.mark.parametrize("why", LOST)
def test_what_cannot_be_followed_is_listed_with_its_reason(why):
    model = lost(*LOST[why])
    model(X)
    reports = list(probe.sweep(model, X))
    assert [report.layer for report in reports] == ["dense", "/call"]
    assert (
        reports[0].ok and reports[1].verdict == "unchecked" and why in reports[1].missing["numpy"]
    ), str(reports[1])


def test_numbers_of_numpy_and_a_part_of_a_variable():
    """A tensor's own operators take a float64 of NumPy's for a number, the functions of keras.ops
    for a float64 tensor."""

    class Shifted(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.places = (
                keras.layers.Dense(6, name="dense"),
                self.add_weight(shape=(5, 6), initializer="random_normal"),
            )

        def call(self, x):
            return self.dense(x) * np.sqrt(8.0) + self.places[:3]

    model = Shifted()
    model(X)
    reports = {report.layer: report for report in probe.sweep(model, X)}
    assert list(reports) == ["dense", "/multiply", "/add"] and all(
        report.ok for report in reports.values()
    )


# Keras 3 as it reads variables
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn.t accept:DeprecationWarning")
def test_a_model_in_training_mode_and_a_state_are_as_they_were():
    class Running(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.drop = (
                keras.layers.BatchNormalization(name="norm"),
                keras.layers.Dropout(0.5, seed=1, name="drop"),
            )

        def call(self, x, training=True):
            return self.drop(self.norm(x, training=training) + x, training=training)

    model = Running()
    model(X)
    before = [ops.convert_to_numpy(one) for one in model.variables]
    layers = {report.layer: report for report in probe.sweep(model, X)}
    assert list(layers) == ["norm", "/add", "drop"] and layers["/add"].ok
    assert all(
        np.array_equal(one, ops.convert_to_numpy(other))
        for one, other in zip(before, model.variables, strict=True)
    )


def of_a_dict(namespace, relu):
    """A model whose call takes tensors by name, one of them in a pair whose first it never looks
    at."""

    @namespace.saving.register_keras_serializable("tests")
    class Joined(namespace.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.wide, self.narrow = (
                namespace.layers.Dense(5, name="wide"),
                namespace.layers.Dense(5, name="narrow"),
            )

        def call(self, inputs):
            other = inputs["pair"][1] if "pair" in inputs else inputs["right"]
            left, right = self.wide(inputs["left"]), self.narrow(other)
            return {"sum": relu(left) + right * 2.0, "difference": left - right}

    return Joined


JOINED = ["wide", "narrow", "/relu", "/multiply", "/add", "/subtract"]


# Keras 3's own, as it saves
@pytest.mark.costly(default=1)
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
@pytest.mark.parametrize(
    ("namespace", "relu"), [(keras, ops.relu), (tf_keras, tf.nn.relu)], ids=["keras", "tf_keras"]
)
def test_a_model_that_takes_a_dict(namespace, relu, tmp_path):
    kind = of_a_dict(namespace, relu)
    given = {"right": X, "left": X[:, :4]}

    def swept(model, x, **options):
        reports = list(probe.sweep(model, x, **options))
        assert sorted(one.layer for one in reports) == sorted(JOINED)
        assert all(one.ok and len(one.outputs) == 3 for one in reports), [
            str(one) for one in reports if not one.ok
        ]

    net = kind()
    swept(net, given)  # which also builds it
    swept(net, [given["left"], given["right"]])
    net.save(tmp_path / "net.keras")
    saved = probe.open_model(tmp_path / "net.keras", trust=True)
    swept(saved, given)
    swept(saved, None, shape=[(2, 4), (2, 6)])
    assert probe.check(saved, "/relu", given).ok
    with pytest.raises(BadInput, match="inputs are named left, right; you gave left, wrong"):
        probe.check(saved, "/relu", {"left": X, "wrong": X})
    with pytest.raises(BadInput, match="it takes a dict with the keys left, right"):
        probe.check(saved, "/relu")
    with pytest.raises(BadInput, match=r"takes 2 inputs \(left, right\); you gave 3"):
        probe.check(saved, "/relu", [X, X, X])
    nested = kind()
    nested({"left": X[:, :4], "pair": [X, X]})
    swept(nested, {"left": X[:, :4], "pair/0": X, "pair/1": X})


def test_variables_that_a_sweep_makes_are_not_left_waiting_in_the_callers_thread():
    """Keras keeps those without a value in a list of the thread, which a first call on symbolic
    tensors begins."""
    waiting = "uninitialized_variables"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    state = importlib.import_module("keras.src.backend.common.global_state")
    state.set_global_attribute(waiting, [])
    net = of_a_dict(keras, ops.relu)()
    list(probe.sweep(net, {"right": X, "left": X[:, :4]}))
    assert net.built and state.get_global_attribute(waiting) == []
