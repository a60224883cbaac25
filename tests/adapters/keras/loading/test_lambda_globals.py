"""Lambda layers of a file whose functions call modules and helpers that the file does not hold."""

import numpy as np
import pytest
import tensorflow as tf

import probe
from probe.errors import CannotOpen, ForwardFailed

SCALE = 3.0


@pytest.fixture(params=["keras", "h5"])
def suffix(request):
    return request.param


def saved(keras, tmp_path, suffix, function, *shapes):
    inputs = [keras.Input(shape, name=f"input_{k}") for k, shape in enumerate(shapes)]
    given = inputs if len(inputs) > 1 else inputs[0]
    shape = {"output_shape": (7, 1)} if keras.__name__ == "keras" else {}
    layer = keras.layers.Lambda(function, name="own", **shape)
    path = tmp_path / f"model.{suffix}"
    keras.Model(inputs, layer(given)).save(path)
    return path


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_kernel_for_each_sample(keras, tmp_path, suffix):
    """As in the question that this program began with: ``tf`` is not in the file."""
    path = saved(
        keras,
        tmp_path,
        suffix,
        lambda pair: tf.map_fn(
            lambda one: tf.nn.conv1d(one[0][None], one[1][..., None], 1, "SAME")[0],
            (pair[0], pair[1]),
            fn_output_signature=tf.float32,
        ),
        (7, 3),
        (5, 3),
    )
    report = probe.check(probe.open_model(path, trust=True), "own")
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}
    told = any("tf for tensorflow" in note for note in report.notes)
    assert told is (keras.__name__ == "keras")  # Keras 2 has it by chance


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_usual_names_and_the_users_own(keras, tmp_path, suffix, monkeypatch):
    path = saved(
        keras,
        tmp_path,
        suffix,
        lambda x: tf.reduce_sum(x, -1, keepdims=True) * np.float32(2) * SCALE,
        (7, 3),
    )
    monkeypatch.delitem(globals(), "SCALE")  # Keras 2 looks into the function's module
    module = tmp_path / "of_mine.py"
    module.write_text("SCALE = 5.0\n")
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    model = probe.open_model(path, trust=True, imports=(str(module),))
    report = probe.check(model, "own", x)
    assert report.ok
    np.testing.assert_allclose(report.outputs["framework"], x.sum(-1, keepdims=True) * 10, 1e-5)
    with pytest.raises((ForwardFailed, CannotOpen), match=r"SCALE.*--import"):
        probe.check(probe.open_model(path, trust=True), "own", x)
