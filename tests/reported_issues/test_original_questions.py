"""The questions that this tool grew from, each as it was asked."""

import keras
import numpy as np
import pytest
import qkeras
import tf_keras
import torch
from representatives import exhaustive

import probe


def test_group_norm_over_the_output_of_a_dense_layer():
    net = torch.nn.Sequential(
        torch.nn.Linear(64, 1024), torch.nn.GroupNorm(16, 1024), torch.nn.ReLU()
    )
    x = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    reports = list(probe.sweep(net, x))
    assert [report.layer for report in reports] == ["0", "1", "2"]
    assert all(report.ok for report in reports), [
        str(report) for report in reports if not report.ok
    ]
    assert reports[1].output_axes == ("batch", "channels")


@pytest.mark.costly
@pytest.mark.filterwarnings(
    "ignore:You are saving your model as an HDF5 file", "ignore:The `keras.constraints.serialize"
)
def test_qkeras_convolution_multiplies_by_quantised_weights(tmp_path):
    image = tf_keras.Input((32, 32, 3))
    quantizer = {
        "kernel_quantizer": qkeras.quantized_bits(4, 0, 1, alpha=1),
        "bias_quantizer": qkeras.quantized_bits(4, 0, 1, alpha=1),
    }
    layer = qkeras.QConv2D(16, 3, padding="same", name="conv2d", **quantizer)
    model = tf_keras.Model(image, layer(image))
    kernel, bias = layer.get_weights()
    bias = np.random.default_rng(1).normal(size=bias.shape).astype(np.float32) / 2
    layer.set_weights([kernel, bias])
    model.save(tmp_path / "model.h5")
    x = np.random.default_rng(0).uniform(size=(1, 32, 32, 3)).astype(np.float32)

    def by_hand(kernel, bias):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias

    report = probe.check(str(tmp_path / "model.h5"), "conv2d", x)
    assert report.ok, str(report)
    assert np.array_equal(report.weights["kernel"].stored, kernel)
    assert np.unique(report.weights["kernel"].effective).size <= 15
    effective = [report.weights[name].effective for name in ("kernel", "bias")]
    assert probe.check(str(tmp_path / "model.h5"), "conv2d", x, expected=by_hand(*effective)).ok
    wrong = probe.check(str(tmp_path / "model.h5"), "conv2d", x, expected=by_hand(kernel, bias))
    assert wrong.verdict == "diverge"
    assert "yours is the odd one out" in wrong.sentence


@pytest.mark.parametrize("shape", [(100,), (32, 100)])
@pytest.mark.parametrize("namespace", [keras, tf_keras])
def test_conv1d_wants_batch_steps_channels(namespace, shape):
    model = namespace.Sequential(
        [namespace.Input((100, 1)), namespace.layers.Conv1D(4, 3, name="conv1d")]
    )
    x = np.zeros(shape, np.float32)
    for arguments in ({"x": x}, {"given": x}):
        with pytest.raises(probe.ProbeError) as error:
            probe.check(model, "conv1d", **arguments)
        sentence = str(error.value)
        assert "(batch, steps, channels)" in sentence
        assert str(shape) in sentence
        assert "x[..., None]" in sentence or "x[None" in sentence
        assert "\n" not in sentence


@pytest.mark.parametrize("namespace", [keras, tf_keras])
def test_the_sum_of_a_convolution_runs_over_the_channels(namespace):
    layer = namespace.layers.Conv2D(
        1, 2, kernel_initializer="ones", bias_initializer="zeros", name="conv2d"
    )
    model = namespace.Sequential([namespace.Input((4, 4, 3)), layer])
    x = np.ones((1, 4, 4, 3), np.float32) * np.array([1, 100, 10000], np.float32)
    report = probe.check(model, "conv2d", x)
    assert report.ok
    assert (report.outputs["numpy"] == 40404).all()
    assert "13 parameters" in str(report)
    assert "sum over 2 x 2 positions and 3 channels" in str(report)


@pytest.mark.costly
@pytest.mark.parametrize("steps", [24, *exhaustive(96)])
@pytest.mark.parametrize("namespace", [keras, *exhaustive(tf_keras)])
def test_recurrences_a_convolution_and_a_dense_layer_at_every_step(namespace, steps):
    layers = namespace.layers

    def network(outputs):
        namespace.utils.set_random_seed(0)
        x = inputs = namespace.Input((steps, 3))
        x = layers.SimpleRNN(10, return_sequences=True, name="first")(x)
        x = layers.SimpleRNN(10, return_sequences=True, name="second")(x)
        x = layers.Conv1D(16, 3, padding="same", name="conv")(x)
        return namespace.Model(
            inputs, layers.TimeDistributed(layers.Dense(outputs), name="dense")(x)
        )

    x = np.random.default_rng(0).normal(size=(4, steps, 3)).astype(np.float32)
    model = network(1)
    reports = {report.layer: report for report in probe.sweep(model, x)}
    assert list(reports) == ["first", "second", "conv", "dense"]
    for report in reports.values():
        assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)
        if report.layer != "conv":
            assert report.input_axes == ("batch", "time", "features")
    assert (
        reports["first"].output_axes == reports["second"].output_axes == ("batch", "time", "units")
    )
    assert max(float(one.worst.allowance) for one in reports["second"].comparisons.values()) < 1e-5

    story = probe.explain(model, "dense", x, at=(0, 0, 0), sees=True)
    assert story.sees[0].box == ((0, 1), (0, 2), (0, 3))
    assert f"[0, 0:2, 0:3]: 6 of {x.size} elements" in str(story)
    (late,) = probe.explain(model, "second", x, at=(2, steps // 2, 7), sees=True).sees
    assert late.mask[2, : steps // 2 + 1].all() and not late.mask[2, steps // 2 + 1 :].any()

    wide = network(5)
    report = probe.check(wide, "dense", x, expected=np.asarray(model(x)))
    assert report.verdict == "diverge"
    assert f"yours has another shape: (4, {steps}, 5) and (4, {steps}, 1)" in report.sentence
    assert (
        f"NumPy and Keras losses would silently broadcast both to (4, {steps}, 5)"
    ) in report.sentence
