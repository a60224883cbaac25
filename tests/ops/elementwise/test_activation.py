"""Every activation against PyTorch, Keras and ONNX Runtime."""

from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from lazy import available, keras

from probe import ops
from probe.description import Step
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Elementwise, Evaluated

act = keras.activations


@st.composite
def sample(draw, least=1, most=6):
    """A float32 array of any rank: signed values of any magnitude, a third of them multiples of 1/8
    so that bends are hit."""
    shape = draw(st.lists(st.integers(1, most), min_size=least, max_size=4 if most < 10 else 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=shape) * 2.0 ** draw(st.floats(-8, 6))
    return np.where(rng.random(shape) < 1 / 3, np.round(x * 8) / 8, x).astype(np.float32)


def sparsemax(x, axis):
    """The projection onto the simplex by bisection on its level, which shares nothing with the
    sorting form."""
    low, high = x.amax(axis, keepdim=True) - 1, x.amax(axis, keepdim=True)
    for _ in range(80):
        middle = (low + high) / 2
        over = (x - middle).clamp(min=0).sum(axis, keepdim=True) > 1
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    return (x - low).clamp(min=0)


def scaled_relu(max_value, negative_slope, threshold):
    """Keras' ReLU layer, whose tensorflow kernel is called with the same three numbers."""

    def by_hand(x):
        above = x if max_value is None else x.clamp(max=max_value)
        return torch.where(
            x <= threshold,
            negative_slope * (x - threshold) if negative_slope else 0 * x.nan_to_num(0, 0, 0),
            above,
        )

    def by_keras(x):
        return act.relu(x, negative_slope=negative_slope, max_value=max_value, threshold=threshold)

    return (
        ops.ScaledRelu(max_value=max_value, negative_slope=negative_slope, threshold=threshold),
        by_hand,
        by_keras,
    )


ELEMENTWISE = [
    (ops.Identity(), lambda x: x, act.linear),
    (ops.Relu(), F.relu, act.relu),
    (ops.Relu6(), F.relu6, act.relu6),
    (ops.Abs(), torch.abs, keras.ops.abs),
    (ops.Neg(), torch.neg, keras.ops.negative),
    (ops.LeakyRelu(alpha=0.01), lambda x: F.leaky_relu(x, 0.01), lambda x: act.leaky_relu(x, 0.01)),
    (ops.LeakyRelu(alpha=0.3), lambda x: F.leaky_relu(x, 0.3), lambda x: act.leaky_relu(x, 0.3)),
    (ops.Elu(), F.elu, act.elu),
    (ops.Elu(alpha=0.3), lambda x: F.elu(x, 0.3), lambda x: act.elu(x, 0.3)),
    (ops.Selu(), F.selu, act.selu),
    (ops.Celu(), F.celu, act.celu),
    (ops.Celu(alpha=0.4), lambda x: F.celu(x, 0.4), lambda x: act.celu(x, 0.4)),
    (ops.Celu(alpha=2.5), lambda x: F.celu(x, 2.5), lambda x: act.celu(x, 2.5)),
    (ops.Sigmoid(), torch.sigmoid, act.sigmoid),
    (ops.HardSigmoid(alpha=1 / 6, beta=0.5), F.hardsigmoid, act.hard_sigmoid),
    (ops.HardSigmoid(alpha=0.2, beta=0.5), lambda x: (0.2 * x + 0.5).clamp(0, 1), None),
    (ops.Tanh(), torch.tanh, act.tanh),
    (ops.Softplus(), lambda x: torch.logaddexp(x, torch.zeros_like(x)), act.softplus),
    (ops.Softplus(beta=1.0, threshold=20.0), F.softplus, None),
    (ops.Softplus(beta=2.0, threshold=3.0), lambda x: F.softplus(x, 2, 3), None),
    (ops.Softplus(beta=0.3, threshold=15.0), lambda x: F.softplus(x, 0.3, 15), None),
    (ops.Softsign(), F.softsign, act.softsign),
    (ops.Exp(), torch.exp, act.exponential),
    (ops.Gelu(approximate="none"), F.gelu, lambda x: act.gelu(x, approximate=False)),
    (
        ops.Gelu(approximate="tanh"),
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: act.gelu(x, approximate=True),
    ),
    (ops.HardSwish(), F.hardswish, act.hard_silu),
    (ops.Swish(), F.silu, act.silu),
    (ops.Swish(alpha=1.702), lambda x: x * torch.sigmoid(1.702 * x), None),
    (ops.Mish(), F.mish, act.mish),
    (ops.LogSigmoid(), F.logsigmoid, act.log_sigmoid),
    (ops.Clip(low=-1.0, high=1.0), F.hardtanh, act.hard_tanh),
    (ops.Clip(low=None, high=0.7), lambda x: x.clamp(max=0.7), None),
    (ops.Clip(low=-0.1, high=None), lambda x: x.clamp(min=-0.1), None),
    (ops.ThresholdedRelu(threshold=0.5), lambda x: F.threshold(x, 0.5, 0), None),
    (ops.ThresholdedRelu(threshold=-1.0, value=3.3), lambda x: F.threshold(x, -1, 3.3), None),
    (
        ops.ThresholdedRelu(threshold=-1.0, value=3.3, keeps_nan=False),
        None,
        lambda x: act.threshold(x, -1, 3.3),
    ),
    (ops.Shrink(lambd=0.5, bias=0.0), F.hardshrink, None),
    (ops.Shrink(lambd=1.3, bias=1.3), lambda x: F.softshrink(x, 1.3), None),
    (ops.Shrink(lambd=0.5, bias=0.0, keeps_nan=False), None, act.hard_shrink),
    (ops.Shrink(lambd=1.3, bias=1.3, keeps_nan=False), None, lambda x: act.soft_shrink(x, 1.3)),
    (ops.TanhShrink(), F.tanhshrink, act.tanh_shrink),
    (ops.Squareplus(), lambda x: (x + torch.sqrt(x * x + 4)) / 2, act.squareplus),
    (
        ops.Squareplus(b=0.3),
        lambda x: (x + torch.sqrt(x * x + 0.3)) / 2,
        lambda x: act.squareplus(x, 0.3),
    ),
    (
        ops.SparsePlus(),
        lambda x: torch.where(x >= 1, x, (x.clamp(-1, 1) + 1) ** 2 / 4),
        act.sparse_plus,
    ),
    (ops.SparseSigmoid(), lambda x: ((x + 1) / 2).clamp(0, 1), act.sparse_sigmoid),
    scaled_relu(None, 0.0, 0.0),
    scaled_relu(6.0, 0.0, 0.0),
    scaled_relu(None, 0.2, 0.0),
    scaled_relu(2.5, 0.3, 0.7),
    scaled_relu(None, 0.1, -0.4),
]
IDS = [repr(op).replace("products=None", "").replace("(, ", "(") for op, _, _ in ELEMENTWISE]
GRID = np.concatenate(
    [
        2.0 ** np.linspace(-30, 6.3, 20001),
        -(2.0 ** np.linspace(-30, 6.3, 20001)),
        np.linspace(-12, 12, 40001),
    ]
)


@pytest.mark.parametrize(("op", "reference", "tensorflow"), ELEMENTWISE, ids=IDS)
def test_elementwise(agrees, op, reference, tensorflow):
    """Over every magnitude that matters, and densely where the bends are."""
    agrees(op, [GRID.astype(np.float32)], reference, tensorflow)


@pytest.mark.parametrize("edge", [0.7, 0.4, -0.1, 0.5])
def test_the_rounding_of_an_edge_decides_on_it(agrees, edge):
    """0.4 is more in float32 than in float64, 0.7 is less: frameworks compare with the rounded one.
    0.5 is exact."""
    x = np.float32(edge) + np.spacing(np.float32(edge)) * np.arange(-3, 4, dtype=np.float32)
    agrees(ops.ThresholdedRelu(threshold=edge, value=9.0), [x], lambda x: F.threshold(x, edge, 9))
    agrees(ops.Shrink(lambd=abs(edge), bias=0.0), [x], lambda x: F.hardshrink(x, abs(edge)))
    op, _, by_keras = scaled_relu(None, 0.0, edge)
    agrees(op, [x], None, by_keras)


@pytest.mark.parametrize(("op", "reference", "tensorflow"), ELEMENTWISE, ids=IDS)
def test_nan_and_inf_stand_at_the_same_places(op, reference, tensorflow):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e18, -1e18, 1e-45], np.float32)
    values = recompute((Step(op),), [x])
    ours = values[-1][0].astype(np.float32)
    observed = {"onnx": crosscheck((Step(op),), [x], values)[0]}
    # PyTorch's vectorised erf form of GELU gives NaN for inf.
    if reference is not None and "Gelu" not in repr(op):
        observed["torch"] = reference(torch.from_numpy(x)).numpy()
    if tensorflow is not None and available():
        observed["tensorflow"] = np.asarray(tensorflow(x))
    for party, theirs in observed.items():
        odd = ~(np.isfinite(ours) & np.isfinite(theirs))
        np.testing.assert_array_equal(ours[odd], theirs[odd], err_msg=party)


@given(sample(), st.data())
def test_random_attributes(agrees, x, data):
    """The attributes that a user sets freely, at values of no meaning."""
    a, b = (data.draw(st.floats(0.0625, 4, width=32)) for _ in range(2))
    op, reference = data.draw(
        st.sampled_from(
            [
                (ops.LeakyRelu(alpha=a), lambda x: F.leaky_relu(x, a)),
                (ops.Elu(alpha=a), lambda x: F.elu(x, a)),
                (ops.Celu(alpha=a), lambda x: F.celu(x, a)),
                (ops.HardSigmoid(alpha=a, beta=b), lambda x: (a * x + b).clamp(0, 1)),
                (ops.Softplus(beta=a, threshold=5 * b), lambda x: F.softplus(x, a, 5 * b)),
                (ops.Swish(alpha=a), lambda x: x * torch.sigmoid(a * x)),
                (ops.Clip(low=-a, high=b), lambda x: x.clamp(-a, b)),
                (ops.ThresholdedRelu(threshold=a - 1, value=b), lambda x: F.threshold(x, a - 1, b)),
                (ops.Shrink(lambd=a, bias=a), lambda x: F.softshrink(x, a)),
                (ops.Squareplus(b=a), lambda x: (x + torch.sqrt(x * x + a)) / 2),
                scaled_relu(2 * a, b, a)[:2],
            ]
        )
    )
    agrees(op, [x], reference)


@given(sample(least=2), st.data())
def test_prelu(agrees, weight, x, data):
    """One slope, or one a channel."""
    count = data.draw(st.sampled_from([1, x.shape[1]]))
    slope = (
        np.random.default_rng(count).normal(size=(count, *(1,) * (x.ndim - 2))).astype(np.float32)
    )
    agrees(
        ops.PRelu(slope=weight("slope", slope)), [x], lambda x, slope: F.prelu(x, slope.reshape(-1))
    )


ALONG = [
    (lambda axis: ops.Softmax(axis=axis), torch.softmax, lambda x, axis: act.softmax(x, axis=axis)),
    (lambda axis: ops.Softmin(axis=axis), F.softmin, None),
    (
        lambda axis: ops.LogSoftmax(axis=axis),
        torch.log_softmax,
        lambda x, axis: act.log_softmax(x, axis=axis),
    ),
    # Keras' own is wrong: https://github.com/keras-team/keras/issues/23425
    (lambda axis: ops.Sparsemax(axis=axis), sparsemax, None),
]


@pytest.mark.parametrize(
    ("op", "reference", "tensorflow"), ALONG, ids=["Softmax", "Softmin", "LogSoftmax", "Sparsemax"]
)
@given(sample(most=40), st.data())
def test_along_an_axis(agrees, op, reference, tensorflow, x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    if x.shape[axis] == 1:  # Keras warns: "The softmax operation will always return the value 1".
        tensorflow = None
    agrees(
        op(axis),
        [x],
        reference and (lambda x: reference(x, axis)),
        tensorflow and (lambda x: tensorflow(x, axis)),
    )


@given(sample(), st.data())
def test_glu(agrees, x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    x = np.concatenate([x, x[::-1] * 0.7], axis=axis)
    agrees(ops.Glu(axis=axis), [x], lambda x: F.glu(x, axis), lambda x: act.glu(x, axis=axis))


def test_a_single_number_is_bounded_as_one_in_a_row():
    """Arrays of no axes: NumPy's functions give numbers for them."""
    kinds = [
        kind
        for kind in (getattr(ops, name) for name in dir(ops))
        if isinstance(kind, type) and issubclass(kind, Elementwise) and kind.f is not Elementwise.f
    ]
    assert ops.Relu in kinds and len(kinds) > 20
    for op in (kind() for kind in kinds if not fields(kind)):
        single, row = (
            op.error_bound(
                Evaluated((x,), (np.full(x.shape, 1e-3),), op.run_float64(x)),
                precision_of("float32"),
            )
            for x in (np.array(0.0004), np.array([0.0004]))
        )
        np.testing.assert_array_equal(single[0], row[0][0], err_msg=type(op).__name__)
