"""Layers that TensorFlow Model Optimization prunes, quantises or clusters: live, and out of both
kinds of file."""

import re
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.clustering.keras.experimental import (
    cluster as by_channel,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import (
    QuantizeLayer,
)

import probe
from probe.process.extras import install

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
    # tfmot calls them
    pytest.mark.filterwarnings("ignore:`layer.(add_variable|updates)` .*:UserWarning"),
]
LINEAR = tfmot.clustering.keras.CentroidInitialization.LINEAR
quantizers = tfmot.quantization.keras.quantizers


def drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        values = rng.normal(size=variable.shape)
        variable.assign(np.abs(values) + 0.5 if "variance" in variable.name else values)
    return model


def network():
    """Convolutions with what follows them, merged, pooled and classified."""
    layers, data = tf_keras.layers, tf_keras.Input((6, 6, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, name="first")(data)))
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.Add()([x, layers.Conv2D(4, 1, padding="same", name="second")(x)])
    x = layers.Dense(3, activation="softmax", name="last")(layers.GlobalAveragePooling2D()(x))
    return drawn(tf_keras.Model(data, x))


def dense():
    data = tf_keras.Input((5,))
    return drawn(tf_keras.Model(data, tf_keras.layers.Dense(6, activation="relu", name="l")(data)))


def recurrent():
    data = tf_keras.Input((4, 3))
    return drawn(tf_keras.Model(data, tf_keras.layers.LSTM(5, name="l")(data)))


def pruned(model):
    model = tfmot.sparsity.keras.prune_low_magnitude(model)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        for _, mask, _ in getattr(layer, "pruning_vars", ()):
            mask.assign((rng.random(mask.shape) > 0.4).astype(np.float32))
    return model


def quantised(model):
    """Ranges out of a few passes in training mode, those of activations narrowed so that values are
    clipped."""
    model = tfmot.quantization.keras.quantize_model(model)
    for _ in range(2):
        model(
            np.random.default_rng(1).normal(size=(8, *model.input_shape[1:])).astype(np.float32),
            training=True,
        )
    for variable in model.variables:
        if (
            variable.name.split(":")[0].endswith(("_min", "_max"))
            and variable.shape.rank == 0
            and "kernel" not in variable.name
        ):
            variable.assign(-2.3 if "_min" in variable.name else 3.1)
    return model


def clustered(model):
    return tfmot.clustering.keras.cluster_weights(
        model, number_of_clusters=4, cluster_centroids_init=LINEAR
    )


def clustered_by_channel(model):
    return by_channel.cluster_weights(
        model, 3, cluster_centroids_init=LINEAR, cluster_per_channel=True
    )


def clustered_sparsely(model):
    model.set_weights(
        [np.where(np.abs(one) < 0.4, np.float32(0), one) for one in model.get_weights()]
    )
    return by_channel.cluster_weights(
        model, 4, cluster_centroids_init=LINEAR, preserve_sparsity=True
    )


BOTH = (".keras", ".h5")
CASES = [
    (network, pruned, BOTH),
    (network, quantised, BOTH),
    (network, clustered, BOTH[:1]),
    (network, clustered_by_channel, BOTH[1:]),
    (dense, clustered_sparsely, BOTH),
    (recurrent, pruned, BOTH[:1]),  # Keras 2 cannot write two masks of one layer to an .h5
    (recurrent, clustered, BOTH[:1]),
]


def some(*others):
    """Those of CASES that by default stand for the others."""
    return pytest.mark.parametrize(
        ("build", "treat", "forms"),
        [
            pytest.param(*case, marks=[pytest.mark.exhaustive] if case[:2] in others else [])
            for case in CASES
        ],
        ids=lambda one: getattr(one, "__name__", "-"),
    )


@pytest.mark.costly(default=1)
@pytest.mark.exhaustive(default=2)
@some((network, clustered), (recurrent, pruned))
def test_every_layer_agrees_out_of_files_and_nothing_is_written(build, treat, forms, tmp_path):
    model = treat(build())
    x = np.random.default_rng(2).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    before = [variable.numpy().copy() for variable in model.variables]
    sources = [model]
    for form in forms:
        sources.append(tmp_path / f"model{form}")
        model.save(sources[-1])
    for source in sources:
        reports = list(probe.sweep(source, x))
        assert len(reports) == sum(
            not isinstance(layer, tf_keras.layers.InputLayer) for layer in model.layers
        )
        for report in reports:
            assert report.ok, str(report)
            assert set(report.outputs) == {"framework", "numpy", "onnx"}, report.missing
        weights = [weight for report in reports for weight in report.weights.values()]
        assert any(weight.steps for weight in weights)
        assert not [key for weight in weights for key in weight.parts if "{}" in key]
    for variable, one in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), one)


def with_stored(wrapper, name, weights, x):
    """What the layer gives with one weight as it is stored, everything else as it is."""
    layer = wrapper.layer
    if type(wrapper).__name__.startswith("Quantize"):
        through = [
            (
                variable,
                (lambda values, *args, **kwargs: values)
                if f"/{name}:" in f"/{variable.name}"
                else quantizer,
                ranges,
            )
            for variable, quantizer, ranges in wrapper._weight_vars
        ]
        with mock.patch.object(wrapper, "_weight_vars", through):
            return wrapper(x).numpy()
    plain = type(layer).from_config(layer.get_config())
    plain.build(x.shape)
    plain.set_weights(
        [one.stored if key == name else one.effective for key, one in weights.items()]
    )
    return plain(x).numpy()


@pytest.mark.exhaustive(default=1)
@some(
    (network, pruned), (network, clustered), (network, clustered_by_channel), (recurrent, clustered)
)
def test_each_stored_weight_out_of_a_file_is_named(build, treat, forms, tmp_path):
    model = treat(build())
    x = np.random.default_rng(2).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    model.save(tmp_path / f"model{forms[-1]}")
    opened, told = probe.open_model(tmp_path / f"model{forms[-1]}"), 0
    for report in list(probe.sweep(opened, x)):
        for name, weight in report.weights.items():
            if not weight.steps:
                continue
            # Many: between the input and levels of 8 bits a small difference shows only here and
            # there.
            given = (
                np.random.default_rng(3)
                .normal(size=(60, *report.inputs[0].shape[1:]))
                .astype(np.float32)
            )
            wrong = with_stored(model.get_layer(report.layer), name, report.weights, given)
            found = probe.check(opened, report.layer, given=given, expected=wrong)
            assert found.verdict == "diverge" and found.comparisons["framework", "numpy"].ok, str(
                found
            )
            assert found.findings[0].slug == "raw-weights", str(found)
            assert found.findings[0].claim.startswith(
                f"the stored {name} instead of the effective values"
            ), str(found)
            told += 1
    assert told >= {network: 3, dense: 1, recurrent: 2}[build]


WORDS = {
    pruned: "times its mask: 11 of 30 values masked",
    quantised: "LastValueQuantizer(8 bits, narrow): scale 0.0183073, 255 levels, 0 values clipped",
    clustered: "the nearest of 4 cluster centroids",
}


@pytest.mark.parametrize("treat", WORDS, ids=lambda one: one.__name__)
def test_effective_weights_are_tfmots_and_stored_ones_are_named(treat):
    model = treat(dense())
    wrapper, x = model.layers[-1], np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
    report = probe.check(model, wrapper.name, x)
    kernel = report.weights["kernel"]
    assert kernel.steps[0].startswith(WORDS[treat])
    assert not np.array_equal(kernel.stored, kernel.effective)
    given = report.inputs[0]
    mine = np.maximum(given @ kernel.stored + report.weights["bias"].stored, 0)
    if treat is quantised:
        mine = tf.quantization.fake_quant_with_min_max_vars(mine, -2.3, 3.1).numpy()
        integers = kernel.grid.integers(kernel.effective).astype(np.float32)
        np.testing.assert_array_equal(integers * kernel.grid.scale, kernel.effective)
        assert np.abs(integers).max() <= 127
    wrong = probe.check(model, wrapper.name, x, expected=mine)
    assert wrong.verdict == "diverge"
    assert wrong.findings[0].slug == "raw-weights", str(wrong)
    assert "kernel" in wrong.findings[0].claim
    model(x)  # leaves in the layer what it multiplies by, and of a pruned one writes it
    np.testing.assert_array_equal(kernel.effective, wrapper.layer.kernel.numpy())


@pytest.mark.parametrize(
    "quantizer",
    [
        quantizers.AllValuesQuantizer(
            num_bits=5, per_axis=False, symmetric=False, narrow_range=False
        ),
        quantizers.FixedQuantizer(num_bits=4, init_min=-1.3, init_max=2.2, narrow_range=True),
        quantizers.LastValueQuantizer(num_bits=4, per_axis=True, symmetric=True, narrow_range=True),
        None,
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_quantizer_as_a_layer(quantizer):
    layer = QuantizeLayer(quantizer)
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    layer(x, training=True)
    report = probe.check(layer, layer.name, x * np.float32(1.5))
    assert report.ok, str(report)
    np.testing.assert_array_equal(
        report.outputs["framework"], report.outputs["numpy"].astype(np.float32)
    )


def test_where_it_is_not_installed_the_extra_is_named(tmp_path, monkeypatch):
    clustered(dense()).save(tmp_path / "model.h5")
    monkeypatch.delitem(sys.modules, "probe.adapters.tfmot", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    opened = probe.open_model(tmp_path / "model.h5")
    assert [layer.why for layer in opened.layers] == [""]
    with pytest.raises(probe.ProbeError, match=re.escape(install("tfmot"))):
        probe.check(opened, "cluster_l", np.zeros((1, 5), np.float32))
