"""QKeras layers that do more than quantise a weight: folded batch normalisation, quantised means,
an activation that adapts."""

import numpy as np
import pytest
import qkeras
import tf_keras
from qkeras import (
    QAdaptiveActivation,
    QAveragePooling2D,
    QConv2DBatchnorm,
    QDepthwiseConv2DBatchnorm,
    QGlobalAveragePooling2D,
    quantized_bits,
)
from representatives import exhaustive

import probe

pytestmark = [
    # QKeras calls pyparsing by old names
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),
    # QKeras serialises quantizers as constraints
    pytest.mark.filterwarnings("ignore:The `keras.constraints.serialize:UserWarning"),
    # QKeras calls one twice
    pytest.mark.filterwarnings("ignore:The initializer .* is unseeded:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _current():
    """QKeras 0.9.0 asks TensorFlow for names that it has moved; the first QKeras layer that is
    checked brings them back."""
    layer = qkeras.QDense(2)
    probe.check(layer, layer.name, np.zeros((1, 3), np.float32))


# QKeras calls itself by old options
@pytest.mark.filterwarnings("ignore:.*_range is deprecated:UserWarning")
def test_a_model_made_by_octave_convolution():
    """The part that QKeras 0.9.0 can make: with two frequencies it gives QAveragePooling2D an
    option that this does not have."""
    bits = {
        f"{name}_quantizer": quantized_bits(6, 1, alpha=1)
        for name in ("kernel", "bias", "depthwise")
    }
    options = {"kernel_size": (3, 3), "padding": "same", "use_separable": False, **bits}
    data = tf_keras.Input((8, 8, 4))
    with pytest.raises(TypeError, match="quantizer"):
        qkeras.QOctaveConv2D(4, alpha=0.5, name="two", **options)([data, None])
    high, _ = qkeras.QOctaveConv2D(4, alpha=0.0, name="octave", **options)([data, None])
    model = tf_keras.Model(data, high)
    reports = list(probe.sweep(model))
    assert reports
    assert all(report.ok for report in reports), [
        str(report) for report in reports if not report.ok
    ]


def model_of(layer, shape, seed=0):
    """The layer in a model of its own, its weights drawn, and an input."""
    random = np.random.default_rng(seed)
    data = tf_keras.Input(shape)
    model = tf_keras.Model(data, layer(data))
    for variable in layer.weights:
        if "variance" in variable.name:
            variable.assign(random.uniform(0.3, 4.0, size=variable.shape))
        elif variable.dtype.is_floating:
            variable.assign(random.normal(size=variable.shape) * 0.7)
    return model, random.normal(size=(2, *shape)).astype(np.float32)


def folding(mode, **options):
    bits = {"bias_quantizer": quantized_bits(8, 2, alpha=1), "folding_mode": mode, **options}
    full = QConv2DBatchnorm(
        4, (3, 2), kernel_quantizer=quantized_bits(5, 1, alpha=1), strides=2, **bits
    )
    return full, QDepthwiseConv2DBatchnorm(
        (3, 2), depth_multiplier=2, depthwise_quantizer=quantized_bits(5, 1, alpha="auto"), **bits
    )


@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("suffix", [".h5", *exhaustive(".keras")])
@pytest.mark.parametrize("mode", ["ema_stats_folding", "batch_stats_folding"])
@pytest.mark.parametrize(
    "options",
    [
        {"use_bias": True},
        *exhaustive({"use_bias": False, "bias_quantizer": None}, {"scale": False}),
    ],
)
def test_a_folded_batch_normalisation(mode, options, suffix, tmp_path):
    for layer in folding(mode, **options):
        model, x = model_of(layer, (9, 8, 3))
        before = [variable.numpy() for variable in model.variables]
        model.save(tmp_path / f"{layer.name}{suffix}")
        report = probe.check(tmp_path / f"{layer.name}{suffix}", layer.name, x)
        assert report.ok, str(report)
        assert not report.missing
        np.testing.assert_array_equal(report.outputs["framework"], model(x))
        kernel, bias = report.weights.values()
        attribute = (
            layer.kernel_quantizer_internal if hasattr(layer, "kernel_quantizer_internal") else None
        )
        quantizer = attribute or layer.depthwise_quantizer_internal
        folded = layer.get_folded_weights()
        theirs = np.asarray(quantizer(folded[0]))
        # A fitted scale carries on what the reciprocal square root was rounded to.
        np.testing.assert_array_max_ulp(
            kernel.effective, theirs, 4 if quantizer.alpha == "auto" else 0
        )
        assert "moving_variance + 0.001" in kernel.steps[0]
        assert "quantized_bits(5, 1" in kernel.steps[1]
        assert {"moving_mean", "moving_variance", "beta"} <= bias.parts.keys()
        assert (bias.stored is None) == (not layer.use_bias)
        for one, same in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(one.numpy(), same)


@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    "layer",
    [
        *folding("ema_stats_folding", use_bias=True),
        *exhaustive(*folding("batch_stats_folding", use_bias=True)),
    ],
    ids=["full", "depthwise", "full by batch", "depthwise by batch"],
)
def test_stored_weights_of_a_folded_layer_are_named(layer):
    """Who takes kernel and bias from get_weights() leaves the fold out, and the quantiser."""
    model, x = model_of(layer, (9, 8, 3))
    if isinstance(layer, QConv2DBatchnorm):
        raw = tf_keras.layers.Conv2D(4, (3, 2), strides=2)
    else:
        raw = tf_keras.layers.DepthwiseConv2D((3, 2), depth_multiplier=2)
    raw.build(x.shape)
    weights = probe.check(model, layer.name, x).weights
    kernel, bias = weights
    stored = {name: one.stored for name, one in weights.items()}
    unquantised = {name: one.parts[f"{name} before its quantizer"] for name, one in weights.items()}
    for taken, claim in (
        (stored, f"the stored {kernel} and {bias} instead of"),
        *(({name: stored[name]}, f"the stored {name} instead of") for name in weights),
        *(
            ({name: unquantised[name]}, f"the stored {name} before its quantizer is used")
            for name in weights
        ),
    ):
        raw.set_weights([taken.get(name, one.effective) for name, one in weights.items()])
        report = probe.check(model, layer.name, x, expected=np.asarray(raw(x)))
        assert report.verdict == "diverge"
        assert report.findings[0].slug == "raw-weights", str(report)
        assert report.findings[0].claim.startswith(claim), str(report)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("form", ["channels_last", "channels_first"])
def test_means_with_a_quantised_divisor(form, suffix, tmp_path):
    bits = quantized_bits(5, 0, alpha=1)
    for layer in (
        QAveragePooling2D(
            (2, 3),
            average_quantizer=bits,
            activation=quantized_bits(6, 2, alpha=1),
            data_format=form,
        ),
        QAveragePooling2D((3, 3), strides=2, data_format=form),
        QGlobalAveragePooling2D(
            average_quantizer=quantized_bits(9, 0, alpha=1),
            activation=qkeras.quantized_relu(5, 1),
            data_format=form,
        ),
    ):
        model, x = model_of(layer, (9, 7, 3))
        # no kernel of TensorFlow's for the other on a CPU
        if form == "channels_last" or isinstance(layer, QGlobalAveragePooling2D):
            model.save(tmp_path / f"{layer.name}{suffix}")
            report = probe.check(tmp_path / f"{layer.name}{suffix}", layer.name, x)
            assert report.ok, str(report)
            assert not report.missing


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("kind", ["quantized_bits", "quantized_relu"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_an_activation_that_adapts_uses_the_bits_it_had_before_the_call(kind, per_channel, capsys):
    layer = QAdaptiveActivation(kind, 6, per_channel=per_channel, ema_decay=0.5)
    random = np.random.default_rng(0)
    x = (random.normal(size=(4, 5, 3)) * [1, 4, 20]).astype(np.float32)
    data = tf_keras.Input((5, 3))
    model = tf_keras.Model(data, layer(data))
    for _ in range(3):
        model(x, training=True)
    used = layer.quantizer.integer.numpy()
    assert used.any()
    layer.ema_max.assign(layer.ema_max * 64)  # the call itself moves the bits, for the next one
    report = probe.check(model, layer.name, x)
    assert report.ok, str(report)
    np.testing.assert_array_equal(layer.quantizer.integer.numpy(), used)
    wrong = probe.check(
        model, layer.name, x, expected=np.asarray(qkeras.quantized_bits(6, 1, alpha=1)(x))
    )
    assert wrong.verdict == "diverge"


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_a_transposed_convolution_with_its_channels_first(padding, strides, dilation):
    options = {
        "padding": padding,
        "strides": strides,
        "dilation_rate": dilation,
        "data_format": "channels_first",
    }
    layer = qkeras.QConv2DTranspose(3, 2, kernel_quantizer=quantized_bits(4, 0, alpha=1), **options)
    report = probe.check(
        layer, layer.name, np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    )
    assert report.ok and not report.missing, str(report)
