"""Layers of HGQ2, live and out of a file: every party agrees with the effective weights, none with the stored ones."""

import keras
import numpy as np
import pytest
from hgq.layers import (
    QGRU,
    QAdd,
    QAffinedUnaryFunctionLUT,
    QAveragePooling1D,
    QAveragePow2,
    QBatchNormalization,
    QBatchNormDense,
    QConv1D,
    QConv2D,
    QConv3D,
    QDense,
    QDot,
    QEinsum,
    QEinsumDense,
    QEinsumDenseBatchnorm,
    QGlobalAveragePooling2D,
    QGlobalMaxPooling3D,
    QMaximum,
    QMaxPooling2D,
    QMeanPow2,
    QMinimum,
    QMultiply,
    QSoftmax,
    QSubtract,
    QSum,
    Quantizer,
    QUnaryFunctionLUT,
)
from hgq.quantizer import QuantizerConfig

import probe
from probe.errors import NotTrusted

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # Keras saving


def drawn(model, seed=0):
    """Weights, and bits by element that no training gives, some of them none at all and none of them whole numbers."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        name = variable.path.rpartition("/")[2]
        if name in ("kernel", "bias", "bn_gamma", "bn_beta", "moving_mean", "gamma", "scale"):
            variable.assign(rng.normal(size=variable.shape))
        elif name == "moving_variance":
            variable.assign(rng.uniform(0.5, 2, size=variable.shape))
        elif name in ("f", "b"):
            variable.assign(rng.integers(0, 7, size=variable.shape) + rng.uniform(-0.4, 0.4, size=variable.shape))
        elif name == "i":
            variable.assign(rng.integers(0, 3, size=variable.shape))
        elif name in ("m", "e"):
            variable.assign(rng.integers(2, 5, size=variable.shape))
    return model


def images():
    data = keras.Input((6, 6, 3))
    x = QMaxPooling2D(2)(QBatchNormalization()(QConv2D(4, 3, activation="relu", padding="same", enable_oq=True)(data)))
    y = QConv2D(4, 2, padding="same", use_bias=False)(x)
    x = QAveragePow2()([QAdd()([x, y]), y])
    x = QMinimum()([QMaximum()([QSubtract()([x, QMultiply()([x, y])]), y]), x])
    x = QSoftmax()(QDense(3, name="last", activation="tanh")(QGlobalAveragePooling2D()(x)))
    return keras.Model(data, x)


def sequences():
    data = keras.Input((6, 5))
    x = QConv1D(4, 3)(QEinsumDense("bti,ij->btj", (6, 4), bias_axes="j", enable_oq=True)(data))
    x = QEinsumDenseBatchnorm("bti,ij->btj", (4, 4), bias_axes="j")(QBatchNormDense(4)(x))
    x = QAffinedUnaryFunctionLUT("sigmoid")(QUnaryFunctionLUT("tanh")(x))
    x = Quantizer(QuantizerConfig("kif", "datalane"))(QAveragePooling1D(2)(x))
    y, z = QSum(axes=1, scale=0.5)(x), QMeanPow2(axes=(1,))(x)
    return keras.Model(data, [QEinsum("ab,ab->ab")([y, z]), QDot(axes=1)([y, z])])


def volumes():
    data = keras.Input((3, 4, 4, 2))
    return keras.Model(data, QSoftmax(stable=False)(QGlobalMaxPooling3D()(QConv3D(3, 2)(data))))


def floats(place, **options):
    """HGQ2 0.2.0 hands its float quantizer an option that this does not have."""
    config = QuantizerConfig("float", place, **options)
    config.config.pop("is_weight")
    return config


def of_floats():
    data = keras.Input((5,))
    bias = floats("bias", homogeneous_axis=(), heterogeneous_axis=None)
    return keras.Model(data, QDense(4, kq_conf=floats("weight"), bq_conf=bias, iq_conf=floats("datalane"))(data))


def of_modes(rounding, overflow):
    def build():
        def config(kind, place):
            return QuantizerConfig(kind, place, round_mode=rounding, overflow_mode=overflow)

        data = keras.Input((5,))
        weights = {"kq_conf": config("kbi", "weight"), "bq_conf": config("kif", "bias")}
        lanes = {"iq_conf": config("kif", "datalane"), "oq_conf": config("kbi", "datalane"), "enable_oq": True}
        return keras.Model(data, QDense(4, **weights, **lanes)(data))

    build.__name__ = f"{rounding} {overflow}"
    return build


MODES = [of_modes(rounding, overflow) for rounding in ("RND", "TRN", "RND_CONV", "S_RND") for overflow in ("WRAP", "SAT", "SAT_SYM")]


@pytest.mark.parametrize("build", [images, sequences, volumes, of_floats, *MODES], ids=lambda one: one.__name__)
def test_every_layer_agrees_out_of_a_file_too_and_nothing_is_written(build, tmp_path):
    model = drawn(build())
    x = (2 * np.random.default_rng(1).normal(size=(3, *model.input_shape[1:]))).astype(np.float32)
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in model.variables]
    sources = [model]
    if build not in (of_floats, *MODES):
        sources.append(tmp_path / "model.keras")
        model.save(sources[-1])
    for source in sources:
        reports = list(probe.sweep(source, x))
        assert len(reports) == len(model.layers) - 1
        for report in reports:
            assert set(report.outputs) == {"framework", "numpy", "onnx"}, report.missing
            judged = report.ok or ("own range" in report.sentence and all(one.ok for one in report.comparisons.values()))
            assert judged, str(report)
    for variable, one in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), one)


def test_a_file_lists_its_layers_without_hgq(tmp_path):
    model = sequences()
    model.save(tmp_path / "model.keras")
    opened = probe.open_model(tmp_path / "model.keras")
    assert [layer.why for layer in opened.layers] == [""] * (len(model.layers) - 1)
    data = keras.Input((5, 3))
    keras.Model(data, QGRU(4)(data)).save(tmp_path / "gru.keras")
    (layer,) = probe.open_model(tmp_path / "gru.keras").layers
    assert layer.why == "QGRU has no description"


def test_an_activation_of_the_users_own_in_a_file_is_not_trusted(tmp_path):
    @keras.saving.register_keras_serializable("mine")
    def own(x):
        return x * 2

    data = keras.Input((5,))
    keras.Model(data, QDense(4, activation=own)(data)).save(tmp_path / "model.keras")
    with pytest.raises(NotTrusted, match="own"):
        probe.open_model(tmp_path / "model.keras")


@pytest.mark.parametrize(("overflow", "word"), [("SAT_SYM", "clipped"), ("WRAP", "wrapped around")])
def test_effective_weights_are_hgqs_and_stored_ones_are_named(overflow, word):
    data = keras.Input((5,))
    config = QuantizerConfig("kbi", "weight", overflow_mode=overflow, round_mode="TRN")
    layer = QDense(4, name="l", activation="relu", kq_conf=config)
    model = drawn(keras.Model(data, layer(data)))
    x = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    report = probe.check(model, "l", x)
    for name, theirs in (("kernel", layer.qkernel), ("bias", layer.qbias)):
        weight = report.weights[name]
        np.testing.assert_array_equal(weight.effective, keras.ops.convert_to_numpy(theirs))
        np.testing.assert_array_equal(weight.grid.integers(weight.effective) * weight.grid.scale, weight.effective)
        assert weight.grid.integers(weight.effective).max() < 2 ** (weight.grid.bits - 1)
    kernel, bias = report.weights["kernel"], report.weights["bias"]
    assert kernel.steps[0].startswith(f"kbi quantizer(TRN, {overflow}): scale ")
    assert kernel.steps[0].endswith(word)
    given = keras.ops.convert_to_numpy(layer.iq(x))
    wrong = probe.check(model, "l", x, expected=np.maximum(given @ kernel.stored + bias.effective, 0))
    assert wrong.verdict == "diverge"
    assert wrong.findings[0].slug == "raw-weights", str(wrong)
    assert "kernel" in wrong.findings[0].claim


def test_a_quantizer_without_a_description_is_told():
    data = keras.Input((5,))
    config = QuantizerConfig("kif", "datalane", overflow_mode="WRAP_SM")
    model = keras.Model(data, QDense(4, name="l", iq_conf=config)(data))
    report = probe.check(model, "l", np.ones((2, 5), np.float32))
    assert report.missing["numpy"] == "its input goes through a quantizer of overflow mode WRAP_SM, which has no description"
