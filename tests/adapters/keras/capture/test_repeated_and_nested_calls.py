"""Every call can be asked for: layers called several times, nested models, layers inside wrappers
and layers of the user's own."""

import numpy as np
import pytest

import probe

X = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)


def nested(namespace):
    layers = namespace.layers
    shared = layers.Dense(4, name="shared")
    deep_in = namespace.Input((6, 4))
    deep = namespace.Model(
        deep_in,
        shared(layers.Conv1D(4, 3, padding="same", name="conv")(deep_in)) * 2.0,
        name="deep",
    )
    middle = namespace.Sequential(
        [namespace.Input((6, 4)), deep, layers.ReLU(name="act")], name="middle"
    )
    data = namespace.Input((6, 4))
    x = shared(shared(middle(data)))
    x = layers.TimeDistributed(layers.Dense(3, name="inside"), name="each")(x)
    return namespace.Model(data, layers.Bidirectional(layers.LSTM(2, name="lstm"), name="both")(x))


def test_names_and_numbers_of_calls(keras):
    model = nested(keras)
    reports = list(probe.sweep(model, X))
    assert all(report.ok and len(report.outputs) == 3 for report in reports), [
        str(one) for one in reports if not one.ok
    ]
    names = [(report.layer, report.call) for report in reports]
    assert [one for one in names if one[0] == "middle/deep/shared"] == [
        ("middle/deep/shared", call) for call in range(3)
    ]
    product = [
        name
        for name, _ in names
        if name.startswith("middle/deep/")
        and name not in ("middle/deep/conv", "middle/deep/shared")
    ]
    assert len(product) == 1 and "mul" in product[0]
    assert {"middle/act", "each", "both"} <= {name for name, _ in names}


def test_one_call_is_picked(keras):
    model = nested(keras)
    found = [probe.check(model, "middle/deep/shared", X, call=call) for call in range(3)]
    assert [(report.ok, report.call) for report in found] == [(True, 0), (True, 1), (True, 2)]
    assert not np.array_equal(found[1].outputs["framework"], found[2].outputs["framework"])
    np.testing.assert_array_equal(found[1].outputs["framework"], found[2].inputs[0])
    with pytest.raises(probe.ProbeError, match="is called 3 times; call 3 does not exist"):
        probe.check(model, "middle/deep/shared", X, call=3)


def test_inside_wrappers_by_path(keras):
    model = nested(keras)
    names = probe.open_model(model).names()
    assert "each/inside" in names and any(name.startswith("both/") for name in names)
    assert probe.check(model, "each/inside", X).ok


def test_training_is_said_and_checked_as_it_is(keras):
    layers = keras.layers
    data = keras.Input((6, 4))
    x = layers.Dense(4, name="dense")(data)
    x = layers.BatchNormalization(name="norm")(x, training=True)
    reports = {
        report.layer: report
        for report in probe.sweep(keras.Model(data, layers.ReLU(name="act")(x)), X)
    }
    assert reports["dense"].ok and reports["act"].ok
    assert reports["norm"].verdict == "unchecked" and "training mode" in reports["norm"].sentence
