"""A `call` of the user's own that assigns to variables, or counts in an attribute, is followed from
where it began and leaves what it left; the framework is not blamed for it."""

import importlib

import numpy as np
import pytest
from representatives import exhaustive

import probe

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def _classes(keras):
    """Layers by name, each with a counter ``n`` and a mean."""
    legacy = keras.__name__ == "tf_keras"

    def mean_of(x):
        if legacy:
            return importlib.import_module("tensorflow").reduce_mean(x, 0)
        return keras.ops.mean(x, 0)

    class Counting(keras.layers.Layer):
        def build(self, shape):
            self.n = self.add_weight(shape=(), initializer="ones", trainable=False, name="n")
            self.mean = self.add_weight(
                shape=(4,), initializer="zeros", trainable=False, name="mean"
            )
            self.built = True

        def call(self, x):
            self.n.assign_add(1.0)
            return x * 2.0

    class CountedFirst(Counting):
        def call(self, x):
            self.n.assign_add(1.0)
            return x * self.n

    class CountedLast(Counting):
        def call(self, x):
            y = x * (1.0 + self.n)
            self.n.assign_add(1.0)
            return y

    class ReadThenCounted(Counting):
        def call(self, x):
            y = x * self.n
            self.n.assign_add(1.0)
            return y

    class Averaging(Counting):
        def call(self, x):
            y = x * 2.0
            self.mean.assign(0.5 * self.mean + 0.5 * mean_of(x))
            return y

    class Centred(Averaging):
        def call(self, x):
            return super().call(x) - self.mean

    class InAttribute(Counting):
        count = 0

        def call(self, x):
            self.count += 1
            return x * float(self.count)

    class Outer(Counting):
        def build(self, shape):
            super().build(shape)
            self.dense, self.inner = keras.layers.Dense(4), CountedFirst(name="inner")
            self.dense.build(shape)
            self.inner.build(shape)

        def call(self, x):
            self.dense.kernel.assign(self.dense.kernel * 0.5)
            return self.inner(self.dense(x))

    return {
        cls.__name__: cls
        for cls in (
            *(Counting, CountedFirst, CountedLast, ReadThenCounted),
            *(Averaging, Centred, InAttribute, Outer),
        )
    }


UNFOLLOWED = {
    "ReadThenCounted": "it assigns to 'n', and its operations, run one by one, give other values",
    "Centred": "reads a variable that the call changes",
}


@pytest.mark.costly
def test_layers_are_right_or_unchecked(keras):
    for name, cls in _classes(keras).items():
        layer, given = cls(name="mine"), keras.Input((4,), batch_size=3)
        model = keras.Model(given, layer(layer(given)))
        before = model.get_weights()
        reports = [one for one in probe.sweep(model, X) if one.layer == "mine"]
        assert len(reports) == 2
        for report in reports:
            if name in UNFOLLOWED:
                assert report.verdict == "unchecked" and UNFOLLOWED[name] in report.sentence, report
            else:
                assert report.verdict == "agree" and not report.notes, f"{name}\n{report}"
        assert all(map(np.array_equal, before, model.get_weights())), name
        whole = probe.check(model, "", X)
        assert whole.verdict in ("agree", "unchecked") and not whole.notes, whole


@pytest.mark.parametrize("used", [False, True])
def test_models_that_assign_between_their_layers(keras, used):
    class Inner(keras.Model):
        def __init__(self):
            super().__init__(name="inner")
            self.dense = keras.layers.Dense(4, name="dense")
            self.n = self.add_weight(shape=(), initializer="ones", trainable=False, name="n")

        def call(self, x):
            self.n.assign_add(1.0)
            return self.dense(x) * (self.n if used else 2.0)

    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def call(self, x):
            return self.inner(self.inner(x))

    model = Twice()
    model(X)
    reports = list(probe.sweep(model, X))
    assert {one.verdict for one in reports if one.layer == "inner/dense"} == {"agree"}
    others = [one for one in reports if one.layer != "inner/dense"]
    assert [one.call for one in others] == [0, 1]
    for report in others:
        if used:
            assert report.verdict == "unchecked" and "it assigns to 'n'" in report.sentence, report
        else:
            assert report.verdict == "agree", report
    # and no word of a pass that capturing changes
    assert probe.check(model, "inner/dense", X).notes == ("called 2 times; this is call 0",)


@pytest.mark.parametrize("seeded", [True, *exhaustive(False)])
def test_generators_of_random_numbers_are_no_reason(keras, seeded):
    """Their states are variables too, which dropout does not touch in inference."""

    class Dropping(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.dropout = keras.layers.Dropout(0.5, seed=1 if seeded else None)

        def call(self, x, training=False):
            return self.dropout(x * 2.0, training=training)

    given = keras.Input((4,), batch_size=3)
    model = keras.Model(given, Dropping(name="mine")(given))
    assert probe.check(model, "mine", X).verdict == "agree"


def test_a_call_that_makes_variables_is_followed_with_them():
    """Here in training alone, which is not how a model of Keras 2 is called to build it."""
    keras = importlib.import_module("tf_keras")

    class Mine(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="mine")
            self.dense = keras.layers.Dense(4, name="dense")

        def call(self, x, training=True):
            return self.dense(self.dense(x)) if training else x

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.mine = Mine()

        def call(self, x, training=True):
            return self.mine(x, training=training)

    report = next(one for one in probe.sweep(Net(), X) if one.layer == "mine")
    assert report.verdict == "agree" and "dense.kernel" in report.weights, report
