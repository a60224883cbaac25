"""QKeras layers: every party agrees with the effective weights, alone and out of a file, and none with the stored ones."""

import importlib
import sys
import types

import numpy as np
import pytest
import qkeras
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from qkeras import QActivation, QBatchNormalization, QConv1D, QConv2D, QDense, QDepthwiseConv2D, quantized_bits, quantized_relu

import probe

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),  # QKeras calls pyparsing by old names
    pytest.mark.filterwarnings("ignore:The initializer .* is unseeded:UserWarning"),  # QKeras calls one twice
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
    st.builds(quantized_bits, bits=st.integers(2, 8), integer=st.integers(0, 2), alpha=st.sampled_from(["auto", "auto_po2", None])),
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
    st.builds(quantized_bits, bits=st.integers(2, 8), integer=st.integers(0, 3), alpha=st.sampled_from(["auto", "auto_po2"])),
    st.sampled_from(["quantized_relu(4, 2)", "quantized_bits(6, 2, alpha=1)", "tanh", "hard_sigmoid", "smooth_sigmoid", "relu"]),
)
ACTIVATIONS = st.one_of(st.none(), ACTIVATION_QUANTIZERS)
STRIDES = st.sampled_from([((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2))])
PADDING = st.sampled_from(["valid", "same"])
CONV = {"use_bias": st.booleans(), "bias_quantizer": WEIGHT_QUANTIZERS, "activation": ACTIVATIONS}


@st.composite
def layers(draw):
    """A layer with its random configuration, and an input shape of pairwise different sizes."""
    kind = draw(st.sampled_from([QDense, QConv1D, QConv2D, QDepthwiseConv2D, QBatchNormalization, QActivation]))
    if kind is QActivation:
        return QActivation(draw(ACTIVATION_QUANTIZERS)), draw(st.sampled_from([(2, 7), (2, 5, 3), (2, 7, 5, 3)]))
    if kind is QBatchNormalization:
        names = ("beta_quantizer", "gamma_quantizer", "mean_quantizer")
        options = {name: draw(WEIGHT_QUANTIZERS) for name in names}
        options |= {"variance_quantizer": draw(st.sampled_from([None, quantized_bits(8, 3, keep_negative=False), quantized_relu(8, 3)]))}
        options |= {"scale": draw(st.booleans()), "center": draw(st.booleans()), "axis": draw(st.sampled_from([-1, 1]))}
        return QBatchNormalization(**options), draw(st.sampled_from([(2, 7), (2, 7, 5, 3)]))
    options = {name: draw(choice) for name, choice in CONV.items()}
    if kind is QDense:
        return QDense(4, kernel_quantizer=draw(WEIGHT_QUANTIZERS), **options), draw(st.sampled_from([(2, 7), (2, 5, 3)]))
    strides, dilations = draw(STRIDES)
    if kind is QConv1D:
        options |= {"strides": strides[0], "dilation_rate": dilations[0], "padding": draw(st.sampled_from(["valid", "same", "causal"]))}
        return QConv1D(4, 3, kernel_quantizer=draw(WEIGHT_QUANTIZERS), **options), (2, 9, 3)
    options |= {"strides": strides, "dilation_rate": dilations, "padding": draw(PADDING)}
    options["data_format"] = draw(st.sampled_from(["channels_last", "channels_first"]))
    shape = (2, 9, 8, 3) if options["data_format"] == "channels_last" else (2, 3, 9, 8)
    if kind is QDepthwiseConv2D:
        multiplier = draw(st.sampled_from([1, 2]))
        return QDepthwiseConv2D((3, 2), depth_multiplier=multiplier, depthwise_quantizer=draw(WEIGHT_QUANTIZERS), **options), shape
    return QConv2D(4, (3, 2), kernel_quantizer=draw(WEIGHT_QUANTIZERS), **options), shape


def filled(layer, shape, seed=0):
    """The layer built, its weights drawn wide enough to be clipped here and there, and an input."""
    random = np.random.default_rng(seed)
    layer.build(shape)
    weights = [random.normal(size=weight.shape).astype(np.float32) for weight in layer.get_weights()]
    if isinstance(layer, QBatchNormalization):
        weights[-1] = random.uniform(1.0, 4.0, size=weights[-1].shape).astype(np.float32)
    layer.set_weights(weights)
    return (random.normal(size=shape) * 2).astype(np.float32)


@given(layers(), st.integers(0, 9))
@settings(max_examples=300)
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
        attribute = {"kernel": "kernel", "depthwise_kernel": "depthwise", "moving_mean": "mean", "moving_variance": "variance"}.get(
            name, name
        )
        np.testing.assert_array_equal(weight.stored, getattr(layer, name).numpy())
        internal = getattr(layer, f"{attribute}_quantizer_internal")
        np.testing.assert_array_equal(weight.effective, weight.stored if internal is None else internal(getattr(layer, name)).numpy())
        assert bool(weight.steps) == (internal is not None)
