"""What holds for ops of every family: what a slack of the input adds, what scaling does, and that
terms add up."""

from dataclasses import replace

import numpy as np
import pytest
from op_cases import CASES

from probe import Weight, ops
from probe.description import Ref, Step
from probe.evaluation.allowance import allowances
from probe.numerics.precision import precision_of, stored_in
from probe.ops.base import Evaluated
from probe.ops.step import weight_fields

FLOAT32 = precision_of("float32")


OF_THE_LARGEST = (
    "LayerNormalization",
    "GroupNormalization",
    "RMSNormalization",
    "RMSNormalization, centred",
    "LpNormalization",
    "LpNormalization, p = 1",
    "LRN",
    "Softmax",
)
OF_THE_LARGEST += (
    "LogSoftmax",
    "ReduceStd",
    "Det",
    "SingularValues",
    "GridSample",
    "GridSample, cubic",
    "Resize, cubic",
    "Fourier",
    "Fourier, coarse",
    "Fourier, inverse",
)
"""One bound for a whole sum or its neighbours: it is held against the element that moves most."""
LARGEST = ("MaxPool", "GlobalMaxPool", "Max", "Min", "ReduceMax", "ReduceMin")
"""The largest slack of those compared."""


HOMOGENEOUS = (
    "AveragePool",
    "AdaptiveAveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "MaxPool",
    "LpPool",
    "Einsum",
    "Fourier",
    "Resize",
)
HOMOGENEOUS += ("Im2Col", "Col2Im", "CumSum", "Add", "Sub", "Max", "Min", "Mean", "Concat")
HOMOGENEOUS += (
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceStd",
    "ReduceSum",
)
"""Four times the inputs, and the outputs are four times as large (a product's sixteen times)."""


WEIGHTED = [name for name, (op, *_) in CASES.items() if weight_fields(op) and name != "Standardize"]
"""Those that say what their weights move."""


def moved(op, inputs, slacks, outputs):
    """How far each output goes by independent errors of the inputs, and by the worst: from each
    element's own, the others left."""
    squares, sums = ([np.zeros(y.shape) for y in outputs] for _ in range(2))
    for position, slack in enumerate(slacks):
        for at in np.ndindex(() if slack is None else slack.shape):
            if slack is None:
                continue
            step = np.zeros(slack.shape)
            step[at] = slack[at]
            ends = [
                op.run_float64(
                    *(x + sign * step if k == position else x for k, x in enumerate(inputs))
                )
                for sign in (-1, 1)
            ]
            for k, (y, low, high) in enumerate(zip(outputs, *ends, strict=True)):
                far = np.maximum(np.abs(low - y), np.abs(high - y))
                squares[k] += far**2
                sums[k] += far
    return [np.sqrt(one) for one in squares], sums


@pytest.mark.parametrize("name", CASES)
def test_a_slack_is_passed_on_as_it_moves_the_output(name):
    op, *inputs = CASES[name]
    rng = np.random.default_rng(1)
    slacks = tuple(
        1e-3 * rng.uniform(0.5, 1.0, size=x.shape) * np.abs(x) if x.dtype.kind == "f" else None
        for x in inputs
    )
    outputs = op.run_float64(*inputs)
    own = op.error_bound(Evaluated(inputs, (None,) * len(inputs), outputs), FLOAT32)
    passed = op.error_bound(Evaluated(inputs, slacks, outputs), FLOAT32)
    for y, alone, slack, independent, worst in zip(
        outputs, own, passed, *moved(op, inputs, slacks, outputs), strict=True
    ):
        alone, slack = np.broadcast_to(alone, y.shape), np.broadcast_to(slack, y.shape)
        assert (slack >= 0.999 * independent).all(), (slack / independent).min()
        if name in LARGEST:
            most = max(np.max(one, initial=0.0) for one in slacks if one is not None)
        else:
            most = 3 * worst.max() if name in OF_THE_LARGEST else 1.05 * worst
        assert (slack - alone <= most + 1e-9).all(), np.nanmax((slack - alone) / worst)


def test_a_boundary_within_the_slack_lies_on_either_side():
    x, slack = np.array([-0.1, 0.1, 0.3]), np.full(3, 0.2)
    op = ops.Bucketize((0.0,))
    assert np.array_equal(
        op.error_bound(Evaluated([x], (slack,), op.run_float64(x)), FLOAT32)[0], [1, 1, 0]
    )


@pytest.mark.parametrize("name", [name for name in CASES if name.partition(",")[0] in HOMOGENEOUS])
def test_an_allowance_grows_with_the_numbers(name):
    """As rounding errors do, whose sizes are relative."""
    op, *inputs = CASES[name]
    larger = [4 * x for x in inputs]
    times = 16 if name == "Einsum" else 4
    once, grown = (
        op.error_bound(Evaluated(xs, (None,) * len(xs), op.run_float64(*xs)), FLOAT32)
        for xs in (inputs, larger)
    )
    for one, other in zip(once, grown, strict=True):
        assert np.allclose(times * one, other, rtol=1e-9, atol=1e3 * FLOAT32.tiny)


@pytest.mark.parametrize("name", [name for name, (op, *_) in CASES.items() if op.terms])
def test_the_terms_of_an_element_add_up_to_it(name):
    op, *inputs = CASES[name]
    (y,) = op.run_float64(*inputs)
    where = tuple(axis.ravel() for axis in np.indices(y.shape))
    assert np.allclose(op.terms(inputs, where).sum(axis=(1, 2)), y.ravel(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_shape_of_the_output_is_known_beforehand(name):
    op, *inputs = CASES[name]
    assert op.output_shape([x.shape for x in inputs]) in (op.run_float64(*inputs)[0].shape, None)


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3, 2, 1)])
def test_what_does_not_fit_is_refused_as_numpy_does(shape):
    """The errors that mean of a changed layer, in the search, that it does not fit."""
    refused = set()
    for name, (op, *inputs) in CASES.items():
        given = [np.ones(shape, x.dtype) for x in inputs]
        try:
            op.output_shape([shape] * len(given))
            op.run(*given)
        except (ValueError, IndexError, TypeError):
            refused.add(name)
    assert refused


SINGLE = [name for name, (op, *_) in CASES.items() if op.computes_elements]


@pytest.mark.parametrize("name", SINGLE)
def test_an_element_is_computed_from_those_at_its_place(name):
    op, *inputs = CASES[name]
    (y,) = op.run_float64(*inputs)
    where = tuple(axis.ravel() for axis in np.indices(y.shape))
    elements = [np.broadcast_to(x, y.shape)[where] for x in inputs]
    np.testing.assert_allclose(op.at(elements, where, y.shape), y.ravel(), rtol=1e-12, atol=1e-12)


def test_shapes_and_elements_are_seen_of_these():
    known = {n for n, (op, *xs) in CASES.items() if op.output_shape([x.shape for x in xs])}
    assert {"Conv", "MatMul", "Add", "BatchNormalization", "Transpose"} <= known
    assert {"Add", "Mean", "AddConstant", "MulConstant", "BatchNormalization"} <= {*SINGLE}


SAMPLEWISE = [
    name
    for name, (op, *inputs) in CASES.items()
    if op.samplewise and len({(x.ndim, x.shape[0]) for x in inputs}) == 1
]


@pytest.mark.parametrize("name", SAMPLEWISE)
def test_a_sample_depends_on_itself_alone(name):
    op, *inputs = CASES[name]
    whole = op.run_float64(*inputs)
    for sample in range(len(inputs[0])):
        alone = op.run_float64(*(x[sample : sample + 1] for x in inputs))
        for y, one in zip(whole, alone, strict=True):
            np.testing.assert_allclose(one, y[sample : sample + 1], rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "k", "places"),
    [
        ([5.0, 3.0, 1.0, 0.0], 2, [0, 0]),
        ([5.0, 3.0, 2.999, 0.0], 2, [0, 4]),
        ([5.0, 4.999, 1.0, 0.0], 3, [4, 4, 0]),
        ([5.0, 3.0, 1.0, 0.0], 4, [0, 0, 0, 0]),
    ],
)
def test_a_place_is_unsure_where_another_element_is_as_close(x, k, places):
    """One that is left out may come in last."""
    op, inputs = ops.TopK(k, 1), [np.array([x])]
    slacks = (np.full((1, 4), 1e-3),)
    bound = op.error_bound(Evaluated(inputs, slacks, op.run_float64(*inputs)), FLOAT32)
    assert np.array_equal(bound[1], [places])


WINDOWS = {
    "MaxPoolIndices": ops.MaxPoolIndices((2,), (2,), ((0, 0),), (1,)),
    "AdaptiveMaxPoolIndices": ops.AdaptiveMaxPoolIndices((2,)),
    "FractionalMaxPool": ops.FractionalMaxPool((2,), (np.array([[[0, 2]]]),)),
}


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize(
    ("x", "off", "places"),
    [
        ([5.0, 3.0, 1.0, 0.0], [1e-3] * 4, [0, 0]),
        ([5.0, 4.999, 1.0, 0.0], [1e-3] * 4, [4, 0]),
        ([5.0, 4.999, 1.0, 0.0], [0, 0, 1e-3, 1e-3], [0, 0]),
        ([5.0, 5.0, 1.0, 1.0], [0, 0, 0, 1e-3], [0, 4]),
    ],
)
def test_the_place_of_a_maximum_is_unsure_where_another_comes_near(name, x, off, places):
    """Of equal elements that are exact the first is the maximum."""
    op, inputs = WINDOWS[name], [np.array([[x]])]
    bound = op.error_bound(
        Evaluated(inputs, (np.array([[off]]),), op.run_float64(*inputs)), FLOAT32
    )
    assert np.array_equal(bound[1], [[places]])
    assert np.array_equal(bound[0], [[[max(off[:2]), max(off[2:])]]])


PICKING = {
    name: CASES[name]
    for name in (
        "MaxPool",
        "GlobalMaxPool",
        "Max",
        "Min",
        "Transpose",
        "Slice",
        "Concat",
        "Pad",
        "Where",
    )
}
PICKING |= {"TopK": (ops.TopK(2, 1), CASES["Pad"][1])}


@pytest.mark.parametrize("name", PICKING)
def test_elements_of_the_inputs_are_stored_without_rounding(name):
    op, *inputs = PICKING[name]
    outputs = op.run_float64(*inputs)
    for allowed in allowances(
        (Step(op, tuple(Ref(-1, at) for at in range(len(inputs)))),),
        inputs,
        [outputs],
        stored_in("bfloat16"),
    ):
        assert not np.any(allowed)


def _with_another(op, field, value):
    return replace(op, **{field: Weight(field, value, value, ())})


@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("name", WEIGHTED)
def test_what_a_weight_moves_is_its_effect(name, valued, rng):
    """Of the element of the output that it moves furthest, where an input is zero; at least so much
    of one in units that differ."""
    op, x, *_ = CASES[name]
    x = x.copy()
    x[:, 0] *= not valued
    (out,) = op.run_float64(x)
    worth = rng.uniform(0.5, 2, size=out.shape) * (rng.random(out.shape) < 0.8) if valued else None
    effects, weights = op.weight_effects((x,), worth), weight_fields(op)
    assert effects.keys() == weights.keys()
    for field, effect in effects.items():
        value, step = weights[field].value, 1e-6
        moved = np.zeros(value.shape)
        for at in np.ndindex(*value.shape):
            other = value.copy()
            other[at] += step
            far = np.abs(_with_another(op, field, other).run_float64(x)[0] - out) / step
            moved[at] = (far if worth is None else far * worth).max()
        effect = np.broadcast_to(effect, value.shape)
        assert ((effect == 0) == (moved == 0)).all(), field
        assert (effect <= 1.0001 * moved).all(), field  # at least so far
        assert valued or (effect >= 0.9999 * moved).all(), field
