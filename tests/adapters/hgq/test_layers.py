"""Layers of HGQ2, live and out of a file: every party agrees with the effective weights, none with
the stored ones."""

import keras
import numpy as np
import pytest
from hgq.layers import QGRU, QLIF, QDense
from hgq.quantizer import QuantizerConfig
from hgq_cases import MODELS, alone, arrays, drawn, of_floats, values
from qkeras.quantizers import quantized_bits

import probe
from probe.errors import NotTrusted

pytestmark = [
    # Keras saving
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature:UserWarning"),
]


def of_modes(rounding, overflow):
    def build():
        def config(kind, place):
            return QuantizerConfig(kind, place, round_mode=rounding, overflow_mode=overflow)

        data = keras.Input((5,))
        weights = {"kq_conf": config("kbi", "weight"), "bq_conf": config("kif", "bias")}
        lanes = {
            "iq_conf": config("kif", "datalane"),
            "oq_conf": config("kbi", "datalane"),
            "enable_oq": True,
        }
        return keras.Model(data, QDense(4, **weights, **lanes)(data))

    build.__name__ = f"{rounding} {overflow}"
    return build


MODES = [
    of_modes(rounding, overflow)
    for rounding in ("RND", "TRN", "RND_CONV", "S_RND")
    for overflow in ("WRAP", "SAT", "SAT_SYM")
]
MODES += [of_modes(rounding, "WRAP_SM") for rounding in ("RND", "RND_CONV")]


@pytest.mark.parametrize("build", [*MODELS, of_floats, *MODES], ids=lambda one: one.__name__)
def test_every_layer_agrees_out_of_a_file_too_and_nothing_is_written(build, tmp_path):
    model = drawn(build())
    x = arrays(model)
    before = values(model)
    sources = [model]
    if build in MODELS:
        sources.append(tmp_path / "model.keras")
        model.save(sources[-1])
        listed = probe.open_model(sources[-1]).layers
        assert [layer.why for layer in listed] == [""] * (len(model.operations) - len(model.inputs))
    told = set()
    for source in sources:
        reports = list(probe.sweep(source, x))
        assert len(reports) == len(model.operations) - len(model.inputs)
        for report in reports:
            assert set(report.outputs) == {"framework", "numpy", "onnx"}, report.missing
            judged = report.ok or (
                "own range" in report.sentence
                and all(one.ok for one in report.comparisons.values())
            )
            assert judged, str(report)
            told |= {report.layer} if report.ok else set()
    assert len(told) > (len(model.operations) - len(model.inputs)) / 2
    for one, other in zip(values(model), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_alone_agree():
    """In wrappers, with initial states and masks, cells by themselves, and configured through
    HGQ2's own `qkeras`."""
    for name, model in alone():
        drawn(model, 2)
        first, *rest = arrays(model)
        # a mask, or a state
        x = [first, *((one > 0).astype(np.float32) if one.ndim == 3 else one for one in rest)]
        before = values(model)
        report = probe.check(model, name, x)
        assert report.verdict == "agree", str(report)
        assert set(report.outputs) == {"framework", "numpy", "onnx"}, report.missing
        for one, other in zip(values(model), before, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_stateful_layer_begins_where_it_ended():
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
    for layer in (QGRU(3, stateful=True), QLIF(4, stateful=True, return_sequences=True)):
        data = keras.Input(batch_shape=x.shape)
        model = drawn(keras.Model(data, layer(data)))
        fresh = probe.check(model, layer.name, x)
        model(x)
        held = probe.check(model, layer.name, x)
        assert fresh.ok and held.ok
        assert (fresh.outputs["numpy"] != held.outputs["numpy"]).any()


def test_quantizers_of_hgq2s_own_qkeras_are_read_from_a_file(tmp_path):
    data = keras.Input((5,))
    layer = QDense(
        4, name="l", kq_conf=quantized_bits(4, 1, alpha=0.5), bq_conf=quantized_bits(5, 1)
    )
    model = keras.Model(data, layer(data))
    model.save(tmp_path / "model.keras")
    report = probe.check(tmp_path / "model.keras", "l")
    assert report.ok, str(report)
    np.testing.assert_array_equal(
        report.weights["kernel"].effective, keras.ops.convert_to_numpy(layer.qkernel)
    )


def test_an_activation_of_the_users_own_in_a_file_is_not_trusted(tmp_path):
    @keras.saving.register_keras_serializable("mine")
    def own(x):
        return x * 2

    data = keras.Input((5,))
    keras.Model(data, QDense(4, activation=own)(data)).save(tmp_path / "model.keras")
    with pytest.raises(NotTrusted, match="own"):
        probe.open_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("overflow", "word"),
    [("SAT_SYM", "clipped"), ("WRAP", "wrapped around"), ("WRAP_SM", "reflected")],
)
def test_effective_weights_are_hgqs_and_stored_ones_are_named(overflow, word):
    data = keras.Input((5,))
    rounding = "RND" if overflow == "WRAP_SM" else "TRN"
    config = QuantizerConfig("kbi", "weight", overflow_mode=overflow, round_mode=rounding)
    layer = QDense(4, name="l", activation="relu", kq_conf=config)
    model = drawn(keras.Model(data, layer(data)))
    x = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    report = probe.check(model, "l", x)
    for name, theirs in (("kernel", layer.qkernel), ("bias", layer.qbias)):
        weight = report.weights[name]
        np.testing.assert_array_equal(weight.effective, keras.ops.convert_to_numpy(theirs))
        np.testing.assert_array_equal(
            weight.grid.integers(weight.effective) * weight.grid.scale, weight.effective
        )
        assert weight.grid.integers(weight.effective).max() < 2 ** (weight.grid.bits - 1)
    kernel, bias = report.weights["kernel"], report.weights["bias"]
    assert kernel.steps[0].startswith(f"kbi quantizer({rounding}, {overflow}): scale ")
    assert kernel.steps[0].endswith(word)
    given = keras.ops.convert_to_numpy(layer.iq(x))
    wrong = probe.check(
        model, "l", x, expected=np.maximum(given @ kernel.stored + bias.effective, 0)
    )
    assert wrong.verdict == "diverge"
    assert wrong.findings[0].slug == "raw-weights", str(wrong)
    assert "kernel" in wrong.findings[0].claim


def test_a_quantizer_without_a_description_is_told():
    data = keras.Input((5,))
    config = QuantizerConfig("kif", "datalane", scaler=3.0)
    model = keras.Model(data, QDense(4, name="l", iq_conf=config)(data))
    report = probe.check(model, "l", np.ones((2, 5), np.float32))
    assert report.missing["numpy"] == (
        "its input goes through a quantizer whose scale is not a power of two, which is not "
        "supported"
    )
