"""The rest of a Keras model runs on the user's values of a layer, whatever kind of model makes the
call, and nothing of it stays."""

import numpy as np
import pytest

import probe
from probe.errors import BadInput

pytestmark = pytest.mark.tensorflow
X = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def parts(keras):
    """A functional model around a sequential one, with an activation that is called twice."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [keras.Input((6, 5, 4)), layers.Conv2D(4, 1, name="conv")], name="inner"
    )
    act, head = layers.ReLU(name="act"), layers.Dense(2, name="head")
    x = keras.Input((6, 5, 3))
    y = act(inner(act(layers.Conv2D(4, 1, name="first")(x))))
    flat = layers.Flatten(name="flat")
    return keras.Model(x, head(flat(y))), act, lambda values: np.asarray(head(flat(act(values))))


def own(model, layer):
    return probe.check(model, layer, X).outputs["framework"]


def test_a_functional_model_goes_on_from_them(parts):
    model, act, rest = parts
    values = own(model, "inner") + np.float32(1)
    for name in ("inner", "inner/conv"):
        sweep = probe.sweep(model, X, replace={name: values})
        reports = {report.call_name: report for report in sweep}
        assert all(report.ok for report in reports.values())
        assert np.array_equal(reports["head"].outputs["framework"], rest(values))
        assert sweep.effect.outputs[0].largest > 0
    assert bool(reports["inner/conv"].replaced) and not reports["act"].replaced
    assert not {"call", "quantized_call"} & {*vars(act)}
    assert np.array_equal(probe.check(model, "", X).outputs["framework"], np.asarray(model(X)))


def test_one_of_several_calls(parts):
    model, _, rest = parts
    inner = own(model, "inner")
    with pytest.raises(BadInput, match="'act' is called 2 times: give the number of the call"):
        probe.sweep(model, X, replace={"act": inner})
    values = np.abs(inner) + np.float32(2)  # which the activation leaves as they are
    report = probe.check(model, "head", X, replace={"act:1": values})
    assert report.ok and np.array_equal(report.outputs["framework"], rest(values))
