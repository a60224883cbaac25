"""To which layers a description applies, and every described class through a saved and reopened
file."""

import importlib
from collections import Counter

import keras as keras_3
import numpy as np
import pytest
import tf_keras
from probe.adapters.keras.describe.call import KerasCall
from probe.adapters.keras.describe.describe import (
    REGISTERED,
    computed_in,
    describe,
    described_class,
)
from probe.adapters.keras.describe.described_classes import DESCRIBED, FUNCTIONS, OPERATIONS
from probe.adapters.keras.describe.undescribed_classes import FOLLOWED, LEFT_OUT
from repository import script
from representatives import exhaustive

import probe
from probe.errors import Undescribed

gen_class_table = script("tools/gen_class_table.py")

FAMILIES = sorted({module for module in DESCRIBED.values() if not module.startswith("..")})
HERE = tuple(
    f".layers.{name}"
    for name in (
        "activation conv merging normalization pooling resize shape transpose_conv"
    ).split()
)
"""The families whose classes the models below hold; the others have models of their own."""
APPLICATIONS = {"CustomScaleLayer", "LayerScale", "StochasticDepth"}
"""Of keras.applications and not of keras.layers."""
ONLY_IN_KERAS_3 = {name for name in DESCRIBED if name.startswith("Adaptive")} | {"RMSNormalization"}
ONLY_IN_KERAS_2 = {"ThresholdedReLU"}


def test_the_table_is_what_the_families_register():
    registered = {}
    for family in FAMILIES:
        module = importlib.import_module(f"probe.adapters.keras{family}")
        registered |= {
            name: family
            for name, function in REGISTERED.items()
            if function.__module__ == module.__name__ and DESCRIBED.get(name) != "..qkeras"
        }
    # a part of the layers around it, without a description of its own
    registered["ConvLSTMCell"] = ".layers.recurrent"
    assert {name: module for name, module in DESCRIBED.items() if module in FAMILIES} == registered


@pytest.mark.parametrize(("table", "prefix"), [(OPERATIONS, "ops."), (FUNCTIONS, "tf.")])
def test_the_tables_of_operations_are_what_is_registered(table, prefix):
    for module in set(table.values()):
        importlib.import_module(f"probe.adapters.keras{module}")
    registered = {
        name: function.__module__
        for name, function in REGISTERED.items()
        if name.startswith(prefix)
    }
    assert {
        prefix + name: f"probe.adapters.keras{module}" for name, module in table.items()
    } == registered


def test_the_table_is_what_the_tool_writes():
    written = gen_class_table.TABLE.read_text(encoding="utf-8")
    assert gen_class_table.text() == written, "run python tools/gen_class_table.py"


def test_every_described_class_is_keras(keras):
    missing = ONLY_IN_KERAS_2 if keras.__name__ == "keras" else ONLY_IN_KERAS_3
    names = [
        name
        for name, module in DESCRIBED.items()
        if module in HERE and name not in missing | APPLICATIONS
    ]
    assert all(getattr(keras.layers, name).__name__ == name for name in names)


def why(layer):
    return probe.check(layer, layer.name, given=np.ones((2, 5, 4), np.float32)).missing.get(
        "numpy", ""
    )


def test_a_subclass_that_computes_otherwise_is_not_its_base(keras):
    layers = keras.layers

    class Own(layers.Dense):
        def call(self, inputs):
            return super().call(inputs) * 2

    class Convolves(layers.Conv1D):
        def convolution_op(self, inputs, kernel):
            return super().convolution_op(inputs, kernel * 2)

    class Configured(layers.Dense):
        def __init__(self, **options):
            super().__init__(3, activation="relu", **options)

        def get_config(self):
            return {"name": self.name}

    class Adds(layers.Dense):
        def helper(self):
            return 1

    for layer, what in ((Own(3), "call` of Dense"), (Convolves(3, 2), "convolution_op` of Conv1D")):
        with pytest.raises(Undescribed, match=f"it overrides `{what}"):
            described_class(layer)
        report = probe.check(
            layer,
            layer.name,
            given=np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32"),
        )
        assert report.ok and len(report.outputs) == 3, str(report)
        assert "Mul" in report.ops or isinstance(layer, Convolves)
    assert why(Configured()) == "" and why(Adds(3)) == ""


def test_a_method_replaced_on_the_instance_is_seen(keras):
    layer = keras.layers.Dense(3)
    original = layer.call
    layer.call = lambda inputs: original(inputs) * 2
    assert why(layer) == "`call` of this Dense instance has been replaced"


def test_another_class_of_the_same_name_is_another(keras):
    class Dense(keras.layers.Layer):
        def call(self, inputs):
            return inputs + 1

    with pytest.raises(Undescribed, match="Dense has no description"):
        described_class(Dense())
    layer = Dense()
    assert (
        probe.check(layer, layer.name, given=np.arange(10, dtype="float32").reshape(2, 5)).ops[-1]
        == "Add"
    )


def test_a_class_of_keras_without_a_description_is_named(keras):
    with pytest.raises(Undescribed, match="StringLookup has no description"):
        described_class(keras.layers.StringLookup())


def test_what_a_call_adds_is_refused(keras):
    layer = keras.layers.ReLU()
    x = np.ones((2, 3), np.float32)
    for arguments, reason in (
        ({"mask": x > 0}, "masks are not supported for it, and it received one"),
        ({"other": 1}, "called with the argument `other`"),
    ):
        with pytest.raises(Undescribed, match=reason):
            describe(layer, KerasCall(layer, keras, (x,), "float32", arguments))
    assert describe(
        layer, KerasCall(layer, keras, (x,), "float32", {"mask": None, "training": True})
    ).steps


def _one_axis(keras, layers):
    x = inputs = keras.Input((9, 4))
    x = layers.BatchNormalization()(layers.Conv1D(6, 3, padding="causal", activation="relu")(x))
    x = layers.LeakyReLU(0.2)(layers.DepthwiseConv1D(3, depth_multiplier=2)(x))
    x = layers.ELU(0.5)(layers.SeparableConv1D(5, 2, activation="hard_sigmoid")(x))
    x = layers.SpatialDropout1D(0.3)(layers.MaxPooling1D(2, 1, padding="same")(x))
    x = layers.AveragePooling1D(2, 1)(
        layers.UpSampling1D(2)(layers.Cropping1D((1, 0))(layers.ZeroPadding1D((2, 1))(x)))
    )
    if keras.__name__ == "keras":
        x = layers.AdaptiveMaxPooling1D(5)(layers.AdaptiveAveragePooling1D(7)(x))
    pooled = [layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)]
    merged = [
        getattr(layers, kind)()(pooled)
        for kind in ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")
    ]
    x = layers.RepeatVector(3)(layers.Concatenate()(merged))
    x = layers.Reshape((-1, 5))(layers.Permute((2, 1))(x))
    x = layers.Dropout(0.5)(
        layers.GaussianNoise(0.1)(layers.GaussianDropout(0.2)(layers.AlphaDropout(0.1)(x)))
    )
    x = layers.PReLU(shared_axes=[1])(
        layers.LayerNormalization()(layers.ActivityRegularization(0.1)(layers.Identity()(x)))
    )
    x = layers.UnitNormalization()(layers.Conv1DTranspose(5, 3, 2, padding="same")(x))
    x = layers.RMSNormalization()(x) if keras.__name__ == "keras" else x
    masked = layers.Masking(0.5)(x)
    x = layers.ReLU(max_value=1.5, negative_slope=0.1)(layers.GroupNormalization(5)(x))
    if keras.__name__ == "tf_keras":
        x = layers.ThresholdedReLU(0.1)(x)
    x = layers.Softmax()(
        layers.Dense(4, activation="gelu")(layers.Flatten()(layers.Activation("swish")(x)))
    )
    return keras.Model(inputs, [x, masked])


def _two_axes(keras, layers):
    x = inputs = keras.Input((9, 8, 4))
    x = layers.DepthwiseConv2D(3, padding="same")(
        layers.Conv2D(6, (3, 2), strides=2, padding="same", groups=2)(x)
    )
    x = layers.SpatialDropout2D(0.3)(layers.SeparableConv2D(5, 2, padding="same")(x))
    x = layers.UpSampling2D((2, 3))(
        layers.Cropping2D(((1, 0), (0, 1)))(layers.ZeroPadding2D(((2, 1), (0, 1)))(x))
    )
    x = layers.Conv2DTranspose(4, 3, 2, padding="same")(x)
    if keras.__name__ == "keras":
        x = layers.SpectralNormalization(layers.Conv2DTranspose(5, 2))(x)
    x = layers.AveragePooling2D(2, 1)(
        layers.MaxPooling2D((3, 2), 2, padding="same")(layers.Resizing(12, 11)(x))
    )
    if keras.__name__ == "keras":
        x = layers.AdaptiveMaxPooling2D((3, 2))(layers.AdaptiveAveragePooling2D((4, 3))(x))
    return keras.Model(
        inputs, [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D(keepdims=True)(x)]
    )


def _three_axes(keras, layers):
    x = inputs = keras.Input((5, 6, 4, 2))
    x = layers.SpatialDropout3D(0.3)(
        layers.Conv3D(3, (2, 3, 2), padding="same", activation="tanh")(x)
    )
    x = layers.UpSampling3D((1, 2, 3))(
        layers.Cropping3D(((1, 0), (0, 1), (1, 1)))(layers.ZeroPadding3D(1)(x))
    )
    x = layers.Conv3DTranspose(2, 2)(x)
    x = layers.AveragePooling3D(2, 1)(layers.MaxPooling3D((3, 2, 2), 2, padding="same")(x))
    if keras.__name__ == "keras":
        x = layers.AdaptiveMaxPooling3D((3, 2, 2))(layers.AdaptiveAveragePooling3D((4, 3, 2))(x))
    return keras.Model(inputs, [layers.GlobalAveragePooling3D()(x), layers.GlobalMaxPooling3D()(x)])


@pytest.mark.costly
@pytest.mark.parametrize("suffix", [".keras", *exhaustive(".h5")])
# Keras 3's own, as it saves
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
# Keras 2's own, of the format under test
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_every_class_saved_and_reopened(keras, drawn, tmp_path, suffix):
    kinds = Counter()
    for build in (_one_axis, _two_axes, _three_axes):
        model = drawn(build(keras, keras.layers))
        model.save(tmp_path / f"net{suffix}")
        for report in probe.sweep(probe.open_model(tmp_path / f"net{suffix}")):
            assert report.verdict == "agree", str(report)
            assert set(report.outputs) == {"framework", "numpy", "onnx"}, report.missing
            kinds[report.kind] += 1
    # Keras 2 cannot load its own SpectralNormalization from a file ("Unknown layer").
    missing = (
        ONLY_IN_KERAS_2
        if keras.__name__ == "keras"
        else {*ONLY_IN_KERAS_3, "SpectralNormalization"}
    )
    assert (
        set(kinds)
        == {name for name, module in DESCRIBED.items() if module in HERE} - missing - APPLICATIONS
    )


@pytest.mark.parametrize("package", ["keras", "tf_keras", "qkeras"])
def test_every_exported_class_is_described_or_left_out(package):
    module = importlib.import_module(package)
    base = importlib.import_module("keras" if package == "keras" else "tf_keras").layers.Layer
    exported = getattr(module, "layers", module) if package != "qkeras" else module
    names = {
        value.__name__
        for value in vars(exported).values()
        if isinstance(value, type) and issubclass(value, base)
    }
    if package == "qkeras":
        names = {name for name in names if name.startswith("Q")}
    left = LEFT_OUT[package]
    assert names - set(DESCRIBED) - set(FOLLOWED) == set(left)
    assert all(left.values()) and not set(left) & set(DESCRIBED)


def test_a_recurrence_of_keras_3_computes_in_the_dtype_of_its_cell():
    cases = {
        "bfloat16": keras_3.layers.RNN(
            keras_3.layers.LSTMCell(3, dtype="bfloat16"), dtype="float32"
        ),
        "float32": tf_keras.layers.RNN(tf_keras.layers.LSTMCell(3, dtype="float64")),
        "float16": keras_3.layers.Dense(3, dtype="mixed_float16"),
        "": object(),
    }
    for dtype, layer in cases.items():
        assert computed_in(layer) == dtype
