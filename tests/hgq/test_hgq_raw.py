"""Stored weights in place of the quantised ones, planted in HGQ2 itself: each diverges, and is named with the weight concerned."""

import operator
from unittest import mock

import keras
import numpy as np
import pytest
from hgq.layers import (
    QGRU,
    QLIF,
    QConv2D,
    QDenseT,
    QEinsumDense,
    QEinsumDenseT,
    QLinformerAttention,
    QMultiHeadAttention,
    QSimpleRNN,
    QSimpleSNN,
)
from hgq.layers.attn import QSALTAttention
from hgq_cases import values

import probe

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # Keras' own

DENSE = {"kernel": "_kq", "bias": "_bq"}
CELL = {"cell": {"kernel": "_kq", "recurrent_kernel": "_rkq", "bias": "_bq"}}
PARTS = {"query": "kernel", "key": "kernel", "value": "bias", "output": "kernel"}
HEADS = {f"_{part}_dense": {f"{part.replace('output', 'attention_output')}/{name}": DENSE[name]} for part, name in PARTS.items()}
SHORTENED = {"_lin_k_proj": {"lin_key/kernel": "_kq"}, "_lin_v_proj": {"lin_value/kernel": "_kq"}}
FACTOR = {"graded_spikes_factor": "_graded_spikes_factor_q"}

CASES = {
    "QConv2D": (lambda: QConv2D(3, 2), (3, 4, 2), {"": DENSE}),
    "QEinsumDense": (lambda: QEinsumDense("bti,ij->btj", (6, 4), bias_axes="j"), (6, 5), {"": DENSE}),
    "QGRU": (lambda: QGRU(3, return_sequences=True), (4, 3), CELL),
    "QGRU before": (lambda: QGRU(3, reset_after=False), (4, 3), CELL),
    "QSimpleRNN": (lambda: QSimpleRNN(3, return_sequences=True), (4, 3), CELL),
    "QMultiHeadAttention": (lambda: QMultiHeadAttention(2, 3), (4, 3), HEADS),
    "QLinformerAttention": (lambda: QLinformerAttention(2, 2, 3), (4, 3), SHORTENED),
    "QSALTAttention": (lambda: QSALTAttention(2, 2, 3), (4, 3), {"conv": {"conv/kernel": "_kq"}}),
    "QLIF": (lambda: QLIF(4, beta=0.7, graded_spikes_factor=1.3, return_sequences=True), (6, 4), {"cell": {"beta": "_beta_q", **FACTOR}}),
    "QSimpleSNN": (lambda: QSimpleSNN(4, graded_spikes_factor=1.3, return_sequences=True), (6, 4), {"cell": FACTOR}),
}


def made(case):
    """A layer of fine lanes and coarse weights, its input, and the quantizer of each weight."""
    build, shape, owners = CASES[case]
    rng = np.random.default_rng(3)
    layer, x = build(), (2 * rng.normal(size=(2, *shape))).astype(np.float32)
    layer(*(keras.Input(shape) for _ in given(layer, x)))  # Keras records what it is called with
    for variable in layer.variables:
        _, part, name = ("/" + variable.path).rsplit("/", 2)
        if name in ("kernel", "recurrent_kernel", "bias"):
            variable.assign(rng.normal(size=variable.shape))
        elif name == "f":
            variable.assign(np.full(variable.shape, 9.0))
        elif name == "i" and part.startswith("fixed_point_quantizer_kif") and variable.constraint is None:
            variable.assign(np.full(variable.shape, 6.0))
        elif name == "b":
            variable.assign(np.full(variable.shape, 12.0 if "table" in variable.path else 3.0))
    quantizers = {
        name: getattr(getattr(layer, owner) if owner else layer, attribute)
        for owner, parts in owners.items()
        for name, attribute in parts.items()
    }
    return layer, x, quantizers


def given(layer, x):
    return (x, x) if "Attention" in type(layer).__name__ else (x,)


@pytest.mark.parametrize("case", CASES)
def test_each_stored_weight_is_named(case):
    layer, x, quantizers = made(case)
    before = values(layer)
    healthy = probe.check(layer, layer.name, given=given(layer, x))
    assert healthy.verdict == "agree", str(healthy)
    assert set(quantizers) <= set(healthy.weights)
    for name, quantizer in quantizers.items():
        weight = healthy.weights[name]
        np.testing.assert_array_equal(weight.effective, keras.ops.convert_to_numpy(quantizer(weight.stored)))
        assert "quantizer(" in weight.steps[0]
        with mock.patch.object(quantizer.quantizer, "call", lambda values, training=None: values):
            raw = keras.ops.convert_to_numpy(layer(*given(layer, x)))
        report = probe.check(layer, layer.name, given=given(layer, x), expected=raw)
        assert report.verdict == "diverge", name
        assert report.comparisons["framework", "numpy"].ok
        assert report.findings[0].slug == "raw-weights", f"{name}: {report}"
        assert f"the stored {name} " in report.findings[0].claim
    for one, other in zip(values(layer), before, strict=True):
        np.testing.assert_array_equal(one, other)


LANES = {"QGRU": ("cell._sq", "cell._praq", "cell._paq"), "QLinformerAttention": ("_output_dense._iq", "_softmax._oq")}


@pytest.mark.parametrize("case", LANES)
def test_a_lane_rounded_otherwise_diverges(case):
    """Sums on grids are exact: ties between levels are no excuse, however many quantizers follow one another."""
    layer, x, _ = made(case)
    for variable in layer.variables:
        if variable.path.endswith("/f"):
            variable.assign(np.full(variable.shape, 5.0))
    for path in LANES[case]:
        inner = operator.attrgetter(path)(layer).quantizer
        with mock.patch.object(inner.stateless_quantizer, "round_fn", keras.ops.floor):
            wrong = keras.ops.convert_to_numpy(layer(*given(layer, x)))
        report = probe.check(layer, layer.name, given=given(layer, x), expected=wrong)
        assert report.comparisons["framework", "numpy"].ok
        assert (report.outputs["framework"] != wrong).any() and report.verdict == "diverge", path


def test_weights_inside_tables_are_used_as_they_are_stored():
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    for layer in (QDenseT(3), QEinsumDenseT("bij,jk->bik", (6, 3), bias_axes="k", n_hl=0)):
        layer(x)
        report = probe.check(layer, layer.name, x)
        assert report.ok and report.weights
        assert all(weight.stored is weight.effective or (weight.stored == weight.effective).all() for weight in report.weights.values())
