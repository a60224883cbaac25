"""QKeras' recurrent layers: quantised kernels, biases and states, both directions, alone, out of a
file, and inside Keras' wrappers."""

import numpy as np
import pytest
import qkeras
import tf_keras
from qkeras import QGRU, QLSTM, QBidirectional, QDense, QSimpleRNN, quantized_bits
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
    """QKeras 0.9.0 asks TensorFlow for names that it has moved; opening a QKeras model brings them
    back."""
    layer = QDense(2)
    probe.check(layer, layer.name, np.zeros((1, 3), np.float32))


def bits():
    return quantized_bits(5, 1, alpha=1)


def quantisers(state=None):
    return {
        "kernel_quantizer": bits(),
        "recurrent_quantizer": bits(),
        "bias_quantizer": bits(),
        "state_quantizer": state,
    }


def modelled(layer, seed=0):
    rng = np.random.default_rng(seed)
    data = tf_keras.Input((6, 3))
    model = tf_keras.Model(data, layer(data))
    layer.set_weights(
        [rng.normal(size=weight.shape).astype(np.float32) * 0.6 for weight in layer.get_weights()]
    )
    return model, rng.normal(size=(2, 6, 3)).astype(np.float32)


LAYERS = {
    "simple": lambda state: QSimpleRNN(
        5, activation="quantized_tanh(6)", return_sequences=True, **quantisers(state)
    ),
    "lstm": lambda state: QLSTM(
        5, activation="quantized_tanh(6)", return_sequences=True, **quantisers(state)
    ),
    "lstm of functions": lambda state: QLSTM(
        5, activation="binary_tanh", recurrent_activation="smooth_sigmoid", **quantisers(state)
    ),
    "gru": lambda state: QGRU(
        5, activation="quantized_tanh(6)", return_sequences=True, **quantisers(state)
    ),
    "gru reset before": lambda state: QGRU(
        5, activation="tanh", reset_after=False, return_sequences=True, **quantisers(state)
    ),
    "both ways": lambda state: QBidirectional(
        QLSTM(5, activation="quantized_tanh(6)", return_sequences=True, **quantisers(state))
    ),
}


@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize(
    "kind",
    ["simple", "both ways", *exhaustive("gru", "lstm", "lstm of functions", "gru reset before")],
)
@pytest.mark.parametrize(
    "state",
    [*exhaustive(None), quantized_bits(6, 1, alpha=1)],
    ids=["state as it is", "state quantised"],
)
def test_every_party_agrees_out_of_a_file(kind, state, tmp_path):
    layer = LAYERS[kind](state)
    model, x = modelled(layer)
    before = layer.get_weights()
    sources = [model]
    if kind not in ("both ways", "lstm of functions"):  # QKeras 0.9.0 itself cannot read these back
        model.save(tmp_path / "model.h5")
        sources.append(tmp_path / "model.h5")
    for source in sources:
        report = probe.check(source, layer.name, x)
        assert report.ok, str(report)
        assert set(report.outputs) == {"framework", "numpy", "onnx"}, report.missing
        np.testing.assert_array_equal(report.outputs["framework"], np.asarray(model(x)))
        assert all(
            "quantized_bits(5, 1, alpha=1)" in weight.steps[0] for weight in report.weights.values()
        )
        assert any((weight.effective != weight.stored).any() for weight in report.weights.values())
    for one, same in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("kind", [QSimpleRNN, *exhaustive(QLSTM, QGRU)])
def test_stored_weights_diverge_and_are_named(kind):
    layer = kind(5, activation="quantized_tanh(6)", return_sequences=True, **quantisers())
    model, x = modelled(layer)
    options = {} if kind is QSimpleRNN else {"recurrent_activation": layer.recurrent_activation}
    options |= {"reset_after": layer.reset_after} if kind is QGRU else {}
    plain = getattr(tf_keras.layers, kind.__name__[1:])(
        5, activation=layer.activation, return_sequences=True, **options
    )
    raw, _ = modelled(plain)
    weights = probe.check(model, layer.name, x).weights
    for stored in (tuple(weights), *((name,) for name in weights)):
        plain.set_weights(
            [one.stored if name in stored else one.effective for name, one in weights.items()]
        )
        report = probe.check(model, layer.name, x, expected=np.asarray(raw(x)))
        assert report.verdict == "diverge"
        assert report.comparisons["framework", "numpy"].ok
        assert report.findings[0].slug == "raw-weights", str(report)
        told = (
            "the stored kernel, recurrent_kernel and bias"
            if len(stored) > 1
            else f"the stored {stored[0]}"
        )
        assert report.findings[0].claim.startswith(f"{told} instead of"), str(report)


def test_a_quantised_layer_inside_a_wrapper_of_keras():
    """The wrapper is not QKeras', what it wraps is: its weights go through their quantisers all the
    same."""
    inner = QDense(
        4, kernel_quantizer=bits(), bias_quantizer=bits(), activation="quantized_relu(4)"
    )
    model, x = modelled(tf_keras.layers.TimeDistributed(inner))
    report = probe.check(model, model.layers[-1].name, x)
    assert report.ok, str(report)
    np.testing.assert_array_equal(
        report.weights["kernel"].effective, inner.kernel_quantizer_internal(inner.kernel)
    )


def test_a_cell_by_its_path():
    layer = QLSTM(5, activation="quantized_tanh(6)", **quantisers(quantized_bits(6, 1, alpha=1)))
    model, x = modelled(layer)
    report = probe.check(model, f"{layer.name}/{layer.cell.name}", x, call=0)
    assert report.ok, str(report)


def test_the_names_that_tensorflow_moved_are_there():
    assert qkeras.qrecurrent.nest.is_sequence([1])
    assert qkeras.qrecurrent.array_ops.unstack is not None
