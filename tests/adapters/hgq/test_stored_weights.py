"""Stored weights in place of the quantised ones, planted in HGQ2 itself: each diverges, and is
named with the weight concerned."""

import operator
import re
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
from hgq.quantizer import Quantizer
from hgq_cases import MODELS, alone, arrays, values

import probe

# Keras' own
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning"
)

DENSE = {"kernel": "_kq", "bias": "_bq"}
CELL = {"cell": {"kernel": "_kq", "recurrent_kernel": "_rkq", "bias": "_bq"}}
PARTS = {"query": "kernel", "key": "kernel", "value": "bias", "output": "kernel"}
HEADS = {
    f"_{part}_dense": {f"{part.replace('output', 'attention_output')}/{name}": DENSE[name]}
    for part, name in PARTS.items()
}
REST = {"query": "bias", "value": "kernel", "output": "bias"}
"""The other one of each projection; a key's bias adds the same to all scores of a query, which
softmax takes away."""
HEADS_REST = {
    f"_{part}_dense": {f"{part.replace('output', 'attention_output')}/{name}": DENSE[name]}
    for part, name in REST.items()
}
SHORTENED = {"_lin_k_proj": {"lin_key/kernel": "_kq"}, "_lin_v_proj": {"lin_value/kernel": "_kq"}}
FACTOR = {"graded_spikes_factor": "_graded_spikes_factor_q"}

CASES = {
    "QConv2D": (lambda: QConv2D(3, 2), (3, 4, 2), {"": DENSE}),
    "QEinsumDense": (
        lambda: QEinsumDense("bti,ij->btj", (6, 4), bias_axes="j"),
        (6, 5),
        {"": DENSE},
    ),
    "QGRU": (lambda: QGRU(3, return_sequences=True), (4, 3), CELL),
    "QGRU before": (lambda: QGRU(3, reset_after=False), (4, 3), CELL),
    "QSimpleRNN": (lambda: QSimpleRNN(3, return_sequences=True), (4, 3), CELL),
    "QMultiHeadAttention": (lambda: QMultiHeadAttention(2, 3), (4, 3), HEADS),
    "QMultiHeadAttention, the rest": (lambda: QMultiHeadAttention(2, 3), (4, 3), HEADS_REST),
    "QLinformerAttention": (lambda: QLinformerAttention(2, 2, 3), (4, 3), SHORTENED),
    "QSALTAttention": (lambda: QSALTAttention(2, 2, 3), (4, 3), {"conv": {"conv/kernel": "_kq"}}),
    "QLIF": (
        lambda: QLIF(4, beta=0.7, graded_spikes_factor=1.3, return_sequences=True),
        (6, 4),
        {"cell": {"beta": "_beta_q", **FACTOR}},
    ),
    "QSimpleSNN": (
        lambda: QSimpleSNN(4, graded_spikes_factor=1.3, return_sequences=True),
        (6, 4),
        {"cell": FACTOR},
    ),
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
        elif (
            name == "i"
            and part.startswith("fixed_point_quantizer_kif")
            and variable.constraint is None
        ):
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
        np.testing.assert_array_equal(
            weight.effective, keras.ops.convert_to_numpy(quantizer(weight.stored))
        )
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


SPIKING = ("beta", "threshold", "graded_spikes_factor")
"""The names of spiking cells' weights, which CASES has, or which are used as they are stored."""
FOLDED = {"QBatchNormalization", "QBatchNormDense", "QEinsumDenseBatchnorm"}
KINDS = FOLDED | {
    "Bidirectional",
    "QConv1D",
    "QConv3D",
    "QDense",
    "QGRUCell",
    "QSimpleRNNCell",
    "RNN",
    "TimeDistributed",
}
"""The classes that quantise weights and are not in CASES; tables use theirs as they are stored, and
the rest has none."""


def coarse(model):
    """Fine lanes, and weights of 3 bits, so that what is stored is far from what is used."""
    rng = np.random.default_rng(3)
    for variable in model.variables:
        _, part, name = ("/" + variable.path).rsplit("/", 2)
        if name in ("kernel", "recurrent_kernel", "bias", "bn_gamma", "bn_beta", "moving_mean"):
            variable.assign(rng.normal(size=variable.shape))
        elif name in ("beta", "graded_spikes_factor", "moving_variance"):
            variable.assign(rng.uniform(0.55, 0.95, size=variable.shape))
        elif name == "f":
            variable.assign(np.full(variable.shape, 9.0))
        elif (
            name == "i"
            and part.startswith("fixed_point_quantizer_kif")
            and variable.constraint is None
        ):
            variable.assign(np.full(variable.shape, 6.0))
        elif name == "b":
            variable.assign(np.full(variable.shape, 12.0 if "table" in variable.path else 3.0))
    return model


def raw(weight, owner=None):
    """A quantizer's call that gives this weight back as it is stored; the quantizer is that of
    ``owner``, or whatever it is put through."""
    whole = Quantizer.call

    def call(self, inputs, training=None):
        made = whole(self, inputs, training=training)
        if owner is not None:
            return (
                keras.ops.reshape(keras.ops.convert_to_tensor(weight.stored), made.shape)
                if self is owner
                else made
            )
        same = made.shape == weight.stored.shape and np.array_equal(
            keras.ops.convert_to_numpy(inputs), weight.stored
        )
        return inputs if same else made

    return mock.patch.object(Quantizer, "call", call)


def modelled():
    """(what to call it, its model, the inputs) of those models of ``hgq_cases`` that hold these
    classes."""
    for build in MODELS[:4]:
        model = build()
        yield build.__name__, model, arrays(model)
    for name, model in alone():
        first, *rest = arrays(model)
        yield (
            name,
            model,
            [first, *((one > 0).astype(np.float32) if one.ndim == 3 else one for one in rest)],
        )


def captured(model, name, x, alone):
    """The outputs of a layer, called by itself or in its model."""
    found = []
    if alone:
        model.run_alone(name, x, lambda capture: found.append(capture.outputs))
    else:
        model.run(x, [name], lambda capture: found.append(capture.outputs))
    return found[0] if len(found[0]) > 1 else found[0][0]


def test_each_stored_weight_of_the_other_layers_is_named():
    """Each layer by itself, where it has one input, so that what comes in is fine; else in its
    model."""
    told: set[tuple[str, str]] = set()
    for place, model, x in modelled():
        opened, before = probe.open_model(coarse(model)), values(model)
        found: dict[str, list] = {}
        opened.run(
            x,
            None,
            lambda capture, found=found: (
                found.setdefault(capture.layer, [capture.kind, capture.inputs]) and None
            ),
        )
        for name, (kind, inputs) in found.items():
            if kind not in KINDS:
                continue
            single = len(inputs) == 1
            given = (
                [2 * np.random.default_rng(5).normal(size=inputs[0].shape).astype(np.float32)]
                if single
                else x
            )
            options = {"given": given} if single else {"x": given}
            healthy = probe.check(opened, name, **options)
            assert healthy.comparisons["framework", "numpy"].ok, str(healthy)
            layer = model.get_layer(name) if kind in FOLDED else None
            for part, weight in healthy.weights.items():
                if re.split("[./]", part)[-1] in SPIKING:
                    continue
                assert "quantizer(" in weight.steps[-1]
                if (kind, part) in told:
                    continue
                told.add((kind, part))
                owner = layer and getattr(layer, "kq" if part in ("kernel", "bn_gamma") else "bq")
                mistakes = [(raw(weight, owner), f"the stored {part} ")]
                if owner is not None:
                    left_out = mock.patch.object(
                        owner.quantizer, "call", lambda values, training=None: values
                    )
                    mistakes.append((left_out, f"{part} before its quantizer is used"))
                for mistake, words in mistakes:
                    with mistake:
                        wrong = captured(opened, name, given, single)
                    report = probe.check(opened, name, **options, expected=wrong)
                    said = f"{place}, {part} of {kind}: {report}"
                    assert (
                        report.verdict == "diverge" and report.comparisons["framework", "numpy"].ok
                    ), said
                    assert (
                        report.findings[0].slug == "raw-weights"
                        and words in report.findings[0].claim
                    ), said
        for one, other in zip(values(model), before, strict=True):
            np.testing.assert_array_equal(one, other)
    assert {kind for kind, _ in told} == KINDS


LANES = {
    "QGRU": ("cell._sq", "cell._praq", "cell._paq"),
    "QLinformerAttention": ("_output_dense._iq", "_softmax._oq"),
}


@pytest.mark.parametrize("case", LANES)
def test_a_lane_rounded_otherwise_diverges(case):
    """Sums on grids are exact: ties between levels are no excuse, however many quantizers follow
    one another."""
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
        assert all(
            weight.stored is weight.effective or (weight.stored == weight.effective).all()
            for weight in report.weights.values()
        )
