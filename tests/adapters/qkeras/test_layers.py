"""QKeras layers: every party agrees with the effective weights, alone and out of a file, and none
with the stored ones."""

import importlib
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import qkeras
import tf_keras
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from probe.adapters.qkeras.quantizers import grid_of
from qkeras import (
    QActivation,
    QBatchNormalization,
    QConv1D,
    QConv2D,
    QDense,
    QDepthwiseConv2D,
    quantized_bits,
    quantized_relu,
)
from representatives import exhaustive

import probe
from probe import ops

pytestmark = [
    # QKeras calls pyparsing by old names
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),
    # QKeras calls one twice
    pytest.mark.filterwarnings("ignore:The initializer .* is unseeded:UserWarning"),
    # QKeras serialises quantizers as constraints
    pytest.mark.filterwarnings("ignore:The `keras.constraints.serialize:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
]

WEIGHT_QUANTIZERS = st.one_of(
    st.none(),
    st.builds(
        quantized_bits,
        bits=st.integers(1, 8),
        integer=st.integers(0, 2),
        symmetric=st.sampled_from([0, 1]),
        keep_negative=st.booleans(),
        alpha=st.sampled_from([1, 0.5, 0.3]),
    ),
    st.builds(
        quantized_bits,
        bits=st.integers(2, 8),
        integer=st.integers(0, 2),
        alpha=st.sampled_from(["auto", "auto_po2", None]),
    ),
    st.sampled_from(["quantized_bits(5, 1, alpha=1)", "quantized_bits(4)", "quantized_relu(4, 1)"]),
)
RELUS = st.builds(
    quantized_relu,
    bits=st.integers(3, 8),
    integer=st.integers(0, 3),
    use_sigmoid=st.sampled_from([0, 1]),
    negative_slope=st.sampled_from([0.0, 0.25]),
    relu_upper_bound=st.sampled_from([None, 1.5]),
    is_quantized_clip=st.booleans(),
)
ACTIVATION_QUANTIZERS = st.one_of(
    RELUS,
    st.builds(
        quantized_bits,
        bits=st.integers(1, 8),
        integer=st.integers(0, 3),
        keep_negative=st.booleans(),
        alpha=st.sampled_from([None, 1, 0.3]),
    ),
    st.builds(
        quantized_bits,
        bits=st.integers(2, 8),
        integer=st.integers(0, 3),
        alpha=st.sampled_from(["auto", "auto_po2"]),
    ),
    st.sampled_from(
        [
            "quantized_relu(4, 2)",
            "quantized_bits(6, 2, alpha=1)",
            "tanh",
            "hard_sigmoid",
            "smooth_sigmoid",
            "relu",
        ]
    ),
)
ACTIVATIONS = st.one_of(st.none(), ACTIVATION_QUANTIZERS)
STRIDES = st.sampled_from([((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2))])
PADDING = st.sampled_from(["valid", "same"])
CONV = {"use_bias": st.booleans(), "bias_quantizer": WEIGHT_QUANTIZERS, "activation": ACTIVATIONS}


@st.composite
def layers(draw):
    """A layer with its random configuration, and an input shape of pairwise different sizes."""
    kind = draw(
        st.sampled_from(
            [QDense, QConv1D, QConv2D, QDepthwiseConv2D, QBatchNormalization, QActivation]
        )
    )
    if kind is QActivation:
        return QActivation(draw(ACTIVATION_QUANTIZERS)), draw(
            st.sampled_from([(2, 7), (2, 5, 3), (2, 7, 5, 3)])
        )
    if kind is QBatchNormalization:
        names = ("beta_quantizer", "gamma_quantizer", "mean_quantizer")
        options = {name: draw(WEIGHT_QUANTIZERS) for name in names}
        options |= {
            "variance_quantizer": draw(
                st.sampled_from(
                    [None, quantized_bits(8, 3, keep_negative=False), quantized_relu(8, 3)]
                )
            )
        }
        options |= {
            "scale": draw(st.booleans()),
            "center": draw(st.booleans()),
            "axis": draw(st.sampled_from([-1, 1])),
        }
        return QBatchNormalization(**options), draw(st.sampled_from([(2, 7), (2, 7, 5, 3)]))
    options = {name: draw(choice) for name, choice in CONV.items()}
    if kind is QDense:
        return QDense(4, kernel_quantizer=draw(WEIGHT_QUANTIZERS), **options), draw(
            st.sampled_from([(2, 7), (2, 5, 3)])
        )
    strides, dilations = draw(STRIDES)
    if kind is QConv1D:
        options |= {
            "strides": strides[0],
            "dilation_rate": dilations[0],
            "padding": draw(st.sampled_from(["valid", "same", "causal"])),
        }
        return QConv1D(4, 3, kernel_quantizer=draw(WEIGHT_QUANTIZERS), **options), (2, 9, 3)
    options |= {"strides": strides, "dilation_rate": dilations, "padding": draw(PADDING)}
    options["data_format"] = draw(st.sampled_from(["channels_last", "channels_first"]))
    shape = (2, 9, 8, 3) if options["data_format"] == "channels_last" else (2, 3, 9, 8)
    if kind is QDepthwiseConv2D:
        multiplier = draw(st.sampled_from([1, 2]))
        return QDepthwiseConv2D(
            (3, 2),
            depth_multiplier=multiplier,
            depthwise_quantizer=draw(WEIGHT_QUANTIZERS),
            **options,
        ), shape
    return QConv2D(4, (3, 2), kernel_quantizer=draw(WEIGHT_QUANTIZERS), **options), shape


def filled(layer, shape, seed=0):
    """The layer built, its weights drawn wide enough to be clipped here and there, and an input."""
    random = np.random.default_rng(seed)
    layer.build(shape)
    weights = [
        random.normal(size=weight.shape).astype(np.float32) for weight in layer.get_weights()
    ]
    if isinstance(layer, QBatchNormalization):
        weights[-1] = random.uniform(1.0, 4.0, size=weights[-1].shape).astype(np.float32)
    layer.set_weights(weights)
    return (random.normal(size=shape) * 2).astype(np.float32)


@given(layers(), st.integers(0, 9))
@examples(300)
def test_all_parties_agree_on_a_layer_alone(case, seed):
    layer, shape = case
    x = filled(layer, shape, seed)
    before = layer.get_weights()
    report = probe.check(layer, layer.name, x)
    assert report.ok, str(report)
    assert not report.missing
    for one, same in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, same)
    for name, weight in report.weights.items():
        attribute = {
            "kernel": "kernel",
            "depthwise_kernel": "depthwise",
            "moving_mean": "mean",
            "moving_variance": "variance",
        }.get(name, name)
        np.testing.assert_array_equal(weight.stored, getattr(layer, name).numpy())
        internal = getattr(layer, f"{attribute}_quantizer_internal")
        np.testing.assert_array_equal(
            weight.effective,
            weight.stored if internal is None else internal(getattr(layer, name)).numpy(),
        )
        assert bool(weight.steps) == (internal is not None)


def by_four_bits(*names):
    return {f"{name}_quantizer": quantized_bits(4, 1, alpha=1) for name in names}


SAVED = {
    "QDense": (
        {"units": 4, "activation": "quantized_relu(4, 2)", **by_four_bits("kernel", "bias")},
        (9, 7),
    ),
    "QConv1D": (
        {
            "filters": 4,
            "kernel_size": 3,
            "padding": "causal",
            "activation": "tanh",
            **by_four_bits("kernel", "bias"),
        },
        (9, 7),
    ),
    "QConv2D": (
        {
            "filters": 4,
            "kernel_size": (3, 2),
            "strides": 2,
            "padding": "same",
            **by_four_bits("kernel", "bias"),
        },
        (9, 8, 3),
    ),
    "QConv2DTranspose": (
        {
            "filters": 4,
            "kernel_size": 3,
            "strides": 2,
            "padding": "same",
            **by_four_bits("kernel", "bias"),
        },
        (5, 4, 3),
    ),
    "QDepthwiseConv2D": (
        {
            "kernel_size": 3,
            "depth_multiplier": 2,
            "padding": "same",
            **by_four_bits("depthwise", "bias"),
        },
        (9, 8, 3),
    ),
    "QSeparableConv1D": (
        {"filters": 4, "kernel_size": 3, **by_four_bits("depthwise", "pointwise", "bias")},
        (9, 7),
    ),
    "QSeparableConv2D": (
        {
            "filters": 4,
            "kernel_size": 3,
            "strides": 2,
            **by_four_bits("depthwise", "pointwise", "bias"),
        },
        (9, 8, 3),
    ),
    "QBatchNormalization": (
        {**by_four_bits("beta", "gamma", "mean"), "variance_quantizer": quantized_relu(6, 3)},
        (9, 8, 3),
    ),
}


@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("suffix", [".h5", *exhaustive(".keras")])
@pytest.mark.parametrize("kind", SAVED)
def test_a_saved_layer_agrees_and_its_stored_weights_diverge(kind, suffix, tmp_path):
    options, shape = SAVED[kind]
    layer = getattr(qkeras, kind)(**options)
    data = tf_keras.Input(shape)
    model = tf_keras.Model(data, layer(data))
    x = filled(layer, (2, *shape))
    model.save(tmp_path / f"model{suffix}")
    opened = probe.open_model(tmp_path / f"model{suffix}")
    report = probe.check(opened, layer.name, x)
    assert report.ok, str(report)
    assert not report.missing
    np.testing.assert_array_equal(report.outputs["framework"], model(x))
    for stored, weight in zip(layer.get_weights(), report.weights.values(), strict=True):
        np.testing.assert_array_equal(weight.stored, stored)
        assert (weight.effective != weight.stored).any()
        assert "quantized_" in weight.steps[0]
    plain = {
        name: value
        for name, value in options.items()
        if not name.endswith(("quantizer", "activation"))
    }
    raw = getattr(tf_keras.layers, kind[1:])(**plain)
    raw.build((2, *shape))
    names = tuple(report.weights)
    for stored in (names, *((name,) for name in names)):  # all of them, and each alone
        raw.set_weights(
            [
                one.stored if name in stored else one.effective
                for name, one in report.weights.items()
            ]
        )
        mine = np.asarray(
            raw(x) if getattr(layer, "activation", None) is None else layer.activation(raw(x))
        )
        wrong = probe.check(opened, layer.name, x, expected=mine)
        assert wrong.verdict == "diverge"
        assert wrong.comparisons["framework", "numpy"].ok
        assert not wrong.comparisons["framework", "expected"].ok
        assert wrong.findings[0].slug == "raw-weights", str(wrong)
        told = (
            f"the stored {stored[0]} instead of"
            if len(stored) == 1
            else f"the stored {', '.join(names[:-1])} and {names[-1]} instead of"
        )
        assert wrong.findings[0].claim.startswith(told), str(wrong)
    for before, after in zip(layer.get_weights(), report.weights.values(), strict=True):
        np.testing.assert_array_equal(before, after.stored)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_saved_network_of_activations(suffix, tmp_path):
    """Quantisers given as objects, as strings and with options; QKeras' own functions; layers of
    tf_keras between them."""
    data = tf_keras.Input((9, 8, 3))
    x = QActivation(quantized_bits(6, 2, alpha="auto_po2"), name="auto")(data)
    x = tf_keras.layers.Conv2D(5, 3, activation="relu", name="plain")(x)
    x = QActivation("quantized_relu(4, 1, negative_slope=0.25)", name="leaky")(x)
    x = QActivation("hard_sigmoid", name="hard")(x)
    x = tf_keras.layers.Activation("hard_sigmoid", name="keras2")(x)
    x = QActivation("quantized_bits(3, 0, keep_negative=False)", name="positive")(x)
    x = tf_keras.layers.Flatten(name="flatten")(x)
    tf_keras.Model(data, x).save(tmp_path / f"model{suffix}")
    reports = list(probe.sweep(tmp_path / f"model{suffix}"))
    assert [report.layer for report in reports] == [
        "auto",
        "plain",
        "leaky",
        "hard",
        "keras2",
        "positive",
        "flatten",
    ]
    assert all(report.ok for report in reports), [
        str(report) for report in reports if not report.ok
    ]


@pytest.mark.parametrize("left_out", ["scale", "center"])
def test_parameters_are_paired_with_quantizers_by_name(left_out):
    """By position, beta would go through gamma's quantizer, or mean through beta's."""
    quantizers = {
        f"{name}_quantizer": quantized_bits(8, k, alpha=1)
        for k, name in enumerate(("gamma", "beta", "mean", "variance"))
    }
    layer = QBatchNormalization(**{left_out: False}, **quantizers)
    x = filled(layer, (2, 5, 3))
    report = probe.check(layer, layer.name, x)
    assert report.ok, str(report)
    used = {name: weight.steps[0].partition(":")[0] for name, weight in report.weights.items()}
    signatures = [f"quantized_bits(8, {k}, alpha=1)" for k in range(4)]
    wanted = dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), signatures, strict=True))
    del wanted[{"scale": "gamma", "center": "beta"}[left_out]]
    assert used == wanted


@pytest.mark.parametrize(
    ("quantizer", "words"),
    [
        (
            quantized_bits(4, 0, alpha=1),
            "quantized_bits(4, 0, alpha=1): scale 0.125, 16 levels, 2 values clipped",
        ),
        (
            quantized_bits(4, 0, 1, alpha=1.0),
            (
                "quantized_bits(4, 0, symmetric=1, alpha=1.0): scale "
                "0.125, 15 levels, 3 values clipped"
            ),
        ),
        (
            quantized_bits(1, 0, alpha=0.5),
            "quantized_bits(1, 0, alpha=0.5): scale 0.5, 2 levels, 0 values clipped",
        ),
        (
            quantized_bits(4, 0, keep_negative=False, alpha=1),
            "quantized_bits(4, 0, keep_negative=False, alpha=1): scale 0.0625, 16 levels, 4 "
            "values clipped",
        ),
        (
            quantized_bits(3, 0, alpha=np.array([1, 0.5], np.float32)),
            (
                "quantized_bits(3, 0, alpha per channel): scale 0.125 to 0.25 per channel, 8 "
                "levels, 2 values clipped"
            ),
        ),
        (
            quantized_bits(3, 0, alpha="auto"),
            (
                "quantized_bits(3, 0, alpha='auto'): scale 0.333333 to 0.5 per channel, 7 "
                "levels, 0 values clipped"
            ),
        ),
        (
            quantized_bits(3, 0, alpha="auto_po2"),
            (
                "quantized_bits(3, 0, alpha='auto_po2'): scale 0.25 to 0.5 per channel, 7 "
                "levels, 2 values clipped"
            ),
        ),
        (quantized_relu(3, 1), "quantized_relu(3, 1)"),
    ],
)
def test_the_steps_in_words(quantizer, words):
    layer = QDense(2, use_bias=False, kernel_quantizer=quantizer)
    layer.build((2, 3))
    layer.set_weights([np.array([[0.5, -1.5], [1.0, -0.25], [-1.0, 0.75]], np.float32)])
    report = probe.check(layer, layer.name, np.ones((2, 3), np.float32))
    assert report.weights["kernel"].steps == (words,)


def test_per_channel_alpha_and_scale_axis():
    rng = np.random.default_rng(0)
    for quantizer in (
        quantized_bits(4, 0, alpha=rng.uniform(0.5, 2, 5).astype(np.float32)),
        quantized_bits(4, 0, alpha=[0.5, 1, 2, 3, 4]),
    ):
        layer = QConv2D(5, 3, kernel_quantizer=quantizer)
        x = filled(layer, (2, 9, 8, 3))
        assert probe.check(layer, layer.name, x).ok
    for axis in (0, 1, 2, -1):
        layer = QConv2D(
            5, 3, kernel_quantizer=quantized_bits(4, 0, alpha="auto_po2", scale_axis=axis)
        )
        x = filled(layer, (2, 9, 8, 3))
        report = probe.check(layer, layer.name, x)
        assert report.ok
        np.testing.assert_array_equal(
            report.weights["kernel"].effective, layer.kernel_quantizer_internal(layer.kernel)
        )


def test_the_noise_of_a_training_schedule_is_part_of_the_effective_weight():
    quantizer = quantized_bits(4, 0, alpha=1, qnoise_factor=0.25, use_variables=True)
    layer = QDense(4, kernel_quantizer=quantizer)
    x = filled(layer, (2, 7))
    report = probe.check(layer, layer.name, x)
    assert report.ok
    assert "qnoise_factor=0.25" in report.weights["kernel"].steps[0]


def doubled(w):
    return w * 2


doubled.alpha = "auto"  # spares it what QKeras asks of quantizers when it initialises a kernel


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        (
            QDense,
            {"kernel_quantizer": "bernoulli()"},
            "its kernel goes through bernoulli, which draws random numbers in inference too",
        ),
        (
            QDense,
            {"kernel_quantizer": doubled},
            "its kernel goes through doubled, a quantizer that has no description",
        ),
        (
            QDense,
            {"kernel_quantizer": "quantized_bits(4.5, 0, alpha=1)"},
            "its kernel goes through quantized_bits with bits = 4.5, not a whole number",
        ),
        (
            QDense,
            {"kernel_quantizer": quantized_bits(float("nan"), 0, alpha=1)},
            "its kernel goes through quantized_bits with bits = nan, not a whole number",
        ),
        (
            QActivation,
            {"activation": "bernoulli()"},
            "its output goes through bernoulli, which draws",
        ),
    ],
)
def test_what_has_no_description_says_so(kind, options, why):
    layer = kind(4, **options) if kind is QDense else kind(**options)
    x = filled(layer, (2, 7))
    report = probe.check(layer, layer.name, x)
    assert report.verdict == "unchecked"
    assert why in report.missing["numpy"]


def test_the_sigmoid_that_qkeras_was_told_to_use():
    layer, x = (
        QActivation(quantized_relu(4, 1, use_sigmoid=1)),
        np.linspace(-4, 4, 50, dtype=np.float32).reshape(2, 25),
    )
    try:
        for mode, verdict in (("hard", "agree"), ("smooth", "agree"), ("real", "agree")):
            qkeras.quantizers.set_internal_sigmoid(mode)
            assert probe.check(layer, layer.name, x).verdict == verdict, mode
    finally:
        qkeras.quantizers.set_internal_sigmoid("hard")


@pytest.mark.parametrize(
    "name",
    [
        *("hard_sigmoid", "smooth_sigmoid", "binary_sigmoid"),
        *("hard_tanh", "smooth_tanh", "binary_tanh"),
    ],
)
def test_a_function_of_qkeras_as_an_activation(name):
    layer = QDense(4, activation=getattr(qkeras.quantizers, name))
    report = probe.check(layer, layer.name, filled(layer, (5, 7)))
    assert report.verdict == "agree" and set(report.outputs) == {"framework", "numpy", "onnx"}


def test_the_qkeras_of_hgq2_is_recognised(monkeypatch):
    monkeypatch.setitem(sys.modules, "qkeras", types.ModuleType("qkeras"))
    for name in ("probe.adapters.qkeras", "probe.adapters.qkeras.quantizers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(probe.ProbeError, match="hgq2, which overwrites QKeras"):
        importlib.import_module("probe.adapters.qkeras")


def test_integers_stand_behind_values_that_are_equally_far_apart():
    stored = np.linspace(-1.5, 1.5, 24, dtype=np.float32)
    op = ops.QuantizedBits(4)
    (value,) = op.run(stored)
    grid = grid_of((op,), stored, value)
    np.testing.assert_array_equal(grid.integers(value) * grid.scale, value)
    assert (grid.bits, grid.signed) == (4, True)
    # as far off as the straight-through estimator leaves it, and farther
    assert grid_of((op,), stored, value + 2.0**-23 * np.abs(stored)) is not None
    assert grid_of((op,), stored, value + 2.0**-16 * np.abs(stored)) is None
    assert grid_of((op, op), stored, value) is None
    assert grid_of((ops.QuantizedPo2(-3, 2),), stored, value) is None
    assert grid_of((replace(op, noise=0.5),), stored, value) is None
