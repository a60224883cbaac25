"""Functions that are made of several ops: each against PyTorch, in every precision, and at numbers
of every magnitude."""

import math

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn
from torch_functions import Net, assert_close, in_kind, refused

import probe

FIXED = np.random.default_rng(0)
X = FIXED.normal(size=(2, 3, 4, 6)).astype(np.float32)
Y = torch.from_numpy(FIXED.normal(size=(2, 3, 4, 6)).astype(np.float32))
ROWS = torch.from_numpy(FIXED.normal(size=(30, 6)).astype(np.float32))
EDGES = torch.linspace(-1.1, 1.3, 5)
AT, TWICE = torch.tensor([2, 0]), torch.tensor([2, 0, 2, 3])
INDEX = torch.from_numpy(FIXED.integers(0, 4, (2, 3, 6, 5)))
SOME = Y > 0.3

CASES = {
    "less": [lambda x: x.signbit(), lambda x: torch.signbit(x.round() * 0.0)],
    "where": [
        *(
            lambda x: torch.copysign(x, Y),
            lambda x: x.copysign(-2.0),
            lambda x: x.clone().copysign_(Y.round()),
        ),
        lambda x: torch.heaviside(x.round(), Y),
    ],
    "not": [lambda x: x.isfinite(), lambda x: (1 / x.round()).isfinite()],
    "equal": [lambda x: (1 / x.round()).isposinf(), lambda x: torch.isneginf(x.relu().log())],
    "lessorequal": [
        *(
            lambda x: torch.isclose(x, Y, rtol=0.5),
            lambda x: x.isclose(x * 1.001, atol=0.001, rtol=0.0),
        ),
        lambda x: torch.isclose(x.sqrt(), x.sqrt(), equal_nan=True),
    ],
    "mod": [lambda x: (3 * x).frac()],
    "mul": [
        torch.deg2rad,
        lambda x: x.rad2deg(),
        lambda x: torch.ldexp(x, INDEX[:, :, :4, :1] - 2),
        lambda x: x.ldexp(Y.round()),
    ],
    "pow": [torch.exp2, torch.special.exp2],
    "sin": [torch.sinc, lambda x: x.round().sinc()],
    "log": [
        *(
            lambda x: torch.logit(x.sigmoid()),
            lambda x: x.logit(0.1),
            lambda x: torch.special.logit(x, eps=1e-6),
        ),
        *(
            lambda x: torch.xlogy(x, Y.abs()),
            lambda x: torch.xlogy(x.round(), x.round().abs()),
            lambda x: torch.xlogy(2.0, x.abs()),
        ),
    ],
    "log1p": [lambda x: torch.special.xlog1py(x, Y.abs())],
    "logsumexp": [lambda x: torch.logaddexp(x, Y), lambda x: torch.logaddexp2(3 * x, Y)],
    "sqrt": [lambda x: torch.hypot(x, Y), lambda x: x.round().hypot(x.round())],
    "atan": [
        lambda x: torch.atan2(x, Y),
        lambda x: x.round().arctan2(Y.round()),
        lambda x: torch.arctan2(Y, x),
    ],
    "pairwisedistance": [
        *(
            lambda x: torch.cdist(x, Y),
            lambda x: torch.cdist(x, Y[0, 0], p=1.0),
            lambda x: torch.cdist(x[0, 0], Y, p=math.inf),
        ),
        *(
            lambda x: torch.cdist(x, Y, p=3.0),
            lambda x: torch.cdist(x, Y, p=0.5),
            lambda x: torch.cdist(x.round(), Y.round(), p=0.0),
        ),
        *(
            lambda x: torch.cdist(x, ROWS),
            lambda x: torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist"),
        ),
        lambda x: torch.cdist(x, ROWS, compute_mode="donot_use_mm_for_euclid_dist"),
    ],
    "scatternd": [
        *(
            lambda x: x.index_copy(1, AT, Y[:, :2]),
            lambda x: x.clone().index_copy_(-2, AT, Y[:, :, 1:3]),
        ),
        *(
            lambda x: x.index_fill(3, AT, 0.7),
            lambda x: x.clone().index_fill_(1, AT, -1.0),
            lambda x: x.index_fill(2, TWICE, Y[0, 0, 0, 0]),
        ),
        *(
            lambda x: x.masked_scatter(SOME, Y),
            lambda x: x.clone().masked_scatter_(SOME[0, 0, 0], Y),
        ),
        *(
            lambda x: (x > 0).flatten().long().bincount(minlength=4),
            lambda x: torch.bincount(
                (3 * x.abs()).long().flatten(),
                x.flatten().to(torch.promote_types(x.dtype, torch.float32)),
            ),
        ),
        *(
            lambda x: torch.histc((3 * x.abs()).floor().float(), 8, 0, 7),
            lambda x: torch.histc((3 * x).floor().float(), 5, -2, 2),
            lambda x: (3 * x).round().float().histc(7),
        ),
    ],
    "scatterelements": [
        *(
            lambda x, how=how, own=own: x.transpose(2, 3).scatter_reduce(
                3, INDEX, Y.transpose(2, 3).repeat(1, 1, 1, 2), how, include_self=own
            )
            for how in ("sum", "prod", "mean", "amax", "amin")
            for own in (True, False)
        ),
        *(
            lambda x, how=how, own=own: x.index_reduce(2, TWICE, Y, how, include_self=own)
            for how in ("prod", "mean", "amax", "amin")
            for own in (True, False)
        ),
        lambda x: x.clone().scatter_reduce_(
            1, torch.zeros(2, 5, 4, 6, dtype=torch.long), torch.cat([Y, Y], 1), "amax"
        ),
    ],
    "gather": [
        *(
            lambda x: x.as_strided((3, 4), (5, 2)),
            lambda x: x.as_strided((2, 3), (1, 7), 4),
            lambda x: x.transpose(0, 3).as_strided((3, 2, 2), (2, 1, 9)),
            lambda x: x[:, 1:].as_strided((2, torch.tensor(2), 3), (24, 6, 1)),
        ),
        lambda x: x.masked_select(SOME),
        lambda x: torch.masked_select(x, SOME[0, 0, 0]),
    ],
    "nonzero": [
        *(lambda x: (x > 0.5).nonzero(), lambda x: x.round().nonzero()),
        *(
            lambda x: torch.nonzero(x > 0.5, as_tuple=True)[1],
            lambda x: x.relu().flatten().nonzero(as_tuple=True)[0],
        ),
    ],
    "reducesum": [
        *(lambda x: torch.count_nonzero(x.round()), lambda x: (x > 0).count_nonzero((1, 3))),
        *(lambda x: torch.bucketize(x, EDGES), lambda x: torch.bucketize(x, EDGES, right=True)),
        *(
            lambda x: torch.searchsorted(Y.sort()[0], x),
            lambda x: torch.searchsorted(x[0, 0, 0].sort()[0], x, side="right"),
        ),
        lambda x: torch.searchsorted(EDGES, x[0, 0, 0, 0]),
    ],
    "solvetriangular": [
        *(
            lambda x, upper=upper: torch.linalg.solve_triangular(
                x[..., :4] + 3 * torch.eye(4, dtype=x.dtype), x, upper=upper
            )
            for upper in (True, False)
        ),
        lambda x: torch.linalg.solve_triangular(x[0, 0, :, :4], x, upper=False, unitriangular=True),
        lambda x: torch.linalg.solve_triangular(
            x[..., :4] / 4, x[:1, :1, :, :2], upper=True, unitriangular=True
        ),
    ],
    "topk": [
        *(
            lambda x: x.median(),
            lambda x: x.median(1)[0],
            lambda x: torch.median(x, 2, keepdim=True)[1],
        ),
        *(lambda x: x.kthvalue(2, 1)[0], lambda x: torch.kthvalue(x, 3, -1, True)[1]),
        *(
            lambda x: x.quantile(0.3),
            lambda x: torch.quantile(x, 0.9, dim=1, keepdim=True),
            lambda x: x.quantile(0.5, 3),
        ),
        lambda x: torch.quantile(x, EDGES[1:4].abs().to(x.dtype), 2),
    ],
    "sub": [
        *(
            lambda x: x.diff(),
            lambda x: torch.diff(x, 2, 1),
            lambda x: x.diff(dim=2, prepend=Y[:, :, :1], append=Y),
        ),
        lambda x: (x > 0).diff(dim=1),
    ],
}
ALL = [
    pytest.param(f, name, id=f"{name}-{k}")
    for name, functions in CASES.items()
    for k, f in enumerate(functions)
]
CANCELS = {"pairwisedistance-7"}
"""Distances of rows to themselves by a matrix product: as far from 0 in PyTorch as in NumPy."""


@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize(("function", "name"), ALL)
def test_described_function(function, name):
    """All parties agree on every call; the last one is the function's."""
    model = probe.open_model(Net(function).eval())
    reports = list(probe.sweep(model, X))
    assert [one.verdict for one in reports] == ["agree"] * len(reports), "\n".join(
        str(one) for one in reports if not one.ok
    )
    assert reports[-1].layer.split(":")[0] == f"/{name}"
    assert not any(one.missing for one in reports)
    value = reports[-1].outputs["numpy"]
    value = value[0] if isinstance(value, tuple) else value
    if value.size:
        at = tuple(size // 2 for size in value.shape)
        story = probe.explain(model, reports[-1].layer, X, at=at)
        np.testing.assert_allclose(story.value, value[at], rtol=1e-6)
        assert str(story)


@pytest.mark.exhaustive(default=60)
@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize(("function", "name"), ALL)
@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_in_other_precisions(kind, function, name, request):
    """None of them is an alarm; and in float64 a wrong formula cannot pass."""
    function = in_kind(function, kind, {"Y": Y, "ROWS": ROWS, "EDGES": EDGES})
    x = torch.from_numpy(X).to(kind)
    if refused(function, x):
        return
    reports = list(probe.sweep(Net(function).eval(), x))
    assert [one.verdict for one in reports] == ["agree"] * len(reports), "\n".join(
        str(one) for one in reports if not one.ok
    )
    if kind != torch.float64 or any(case in request.node.callspec.id for case in CANCELS):
        return
    assert_close(reports)


SIZES = [10.0**k for k in (-45, -38, -30, -9, -3, -1)] + [
    0.25,
    0.5,
    0.75,
    0.999,
    1.0,
    1.5,
    3.0,
    10.0,
    88.0,
    1e3,
    1e9,
    1e19,
    1e30,
    0.0,
    math.inf,
]
OF_TWO = (
    torch.hypot,
    torch.atan2,
    torch.copysign,
    torch.logaddexp,
    torch.logaddexp2,
    torch.xlogy,
    torch.special.xlog1py,
    torch.isclose,
)
OF_TWO += (torch.heaviside,)


def logit_within(x):
    return torch.logit(x, 1e-3)


OF_ONE = (
    torch.exp2,
    torch.sinc,
    torch.frac,
    torch.logit,
    logit_within,
    torch.deg2rad,
    torch.rad2deg,
    torch.signbit,
    torch.isfinite,
)


class Two(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, y):
        return self.function(x, y)


def _numbers(kind):
    """Of every magnitude, with both signs, as far as the type and float32, in which ONNX Runtime is
    asked, hold them."""
    least, most = (
        (1e-37 if kind == torch.float64 else 0.0),
        (1e3 if kind == torch.float16 else 1e30),
    )
    x = torch.tensor(
        [one for one in SIZES if one in (0.0, math.inf) or least < one <= most], dtype=torch.float64
    )
    return torch.cat([x, -x]).to(kind)


@pytest.mark.parametrize("function", OF_TWO, ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    "kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
@pytest.mark.parametrize("dense", [False, True])
def test_two_numbers_of_every_magnitude(kind, function, dense):
    if dense:
        most = 5 if kind == torch.float16 else 30
        x = torch.from_numpy(
            RNG.normal(size=(2, 5000)) * np.exp(RNG.uniform(-most, most, (2, 5000)))
        ).to(kind)
        x, y = x[0], torch.where(torch.arange(5000) % 3 == 0, x[1], x[0] * x[1].clamp(0.5, 2))
    else:
        x = _numbers(kind)
        if function not in (torch.copysign, torch.atan2):
            x = torch.cat([x, torch.tensor([math.nan], dtype=kind)])
        x, y = (one.flatten() for one in torch.meshgrid(x, x, indexing="ij"))
    (report,) = probe.sweep(Two(function).eval(), [x, y])
    assert report.verdict == "agree" and not report.missing, str(report)


@pytest.mark.parametrize("function", OF_ONE, ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    "kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
def test_numbers_of_every_magnitude(kind, function):
    x = 2 ** torch.linspace(-60, 60, 3001, dtype=torch.float64)
    x = torch.cat([x, -x]).to(kind)
    nan = torch.tensor([math.nan, 0.25], dtype=kind)
    for one in (x, _numbers(kind), *(() if function is torch.signbit else (nan,))):
        (report,) = probe.sweep(Net(function).eval(), one)
        assert report.verdict == "agree", str(report)


def _sentence(function, x):
    *_, last = probe.sweep(Net(function).eval(), x)
    assert last.verdict == "unchecked"
    return last.sentence


def test_what_pytorch_does_not_say_is_refused_by_name():
    equal, nan = np.ones((2, 4), np.float32), np.float32([[0.5, np.nan], [1.0, 2.0]])
    assert "the index that PyTorch returns among equal values is undefined" in _sentence(
        lambda x: x.median(1)[0], equal
    )
    assert "the index that PyTorch returns among equal values is undefined" in _sentence(
        lambda x: x.kthvalue(2, 0)[1], equal
    )
    assert "contains a position twice" in _sentence(
        lambda x: x.index_copy(1, torch.tensor([1, 1]), x[:, :2]), equal
    )
    assert "the sign of a NaN" in _sentence(lambda x: torch.copysign(x, x), nan)
    assert "NaN cannot be ordered" in _sentence(lambda x: x.median(), nan)
    assert "between infinities" in _sentence(lambda x: (1 / (x - 1)).quantile(0.5), equal)
    assert "interpolation='higher'" in _sentence(
        lambda x: x.quantile(0.5, interpolation="higher"), equal
    )
    assert "computed from the model's input" in _sentence(lambda x: x.quantile(x[0, 0]), equal / 2)
    assert "exponents above 100" in _sentence(lambda x: torch.ldexp(x, torch.tensor(101)), equal)
    assert "a mean of integers" in _sentence(
        lambda x: x.scatter_reduce(1, x, x, "mean"), np.ones((2, 4), np.int64)
    )


@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("rows", [5, 25, 26, 90])
def test_distances_of_rows_that_are_close_to_each_other(kind, offset, rows):
    """By a matrix product they are differences of large numbers, and the root of what is left of
    those."""
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(rows, 8))).to(kind) + offset
    (report,) = probe.sweep(Net(lambda x: torch.cdist(x, x)).eval(), x)
    # what is left of the differences is less than their rounding
    few = kind == torch.float32 and offset == 1000 and rows > 25
    assert report.verdict == ("unchecked" if few else "agree") and not report.missing, str(report)
    assert "own range" in report.sentence or not few
    direct = np.sqrt(np.square(x.double().numpy()[:, None] - x.double().numpy()).sum(2))
    assert (
        (rows > 25) == (np.abs(report.outputs["framework"] - direct).max() > 1e-6)
        or kind == torch.float64
        or not offset
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.index_copy(0, AT, x[1:]),
        lambda x: x.index_fill(1, AT, 7),
        lambda x: x.scatter_reduce(1, x.abs() % 4, x, "amax"),
        lambda x: x.scatter_reduce(1, x.abs() % 4, x, "prod", include_self=False),
        lambda x: x.scatter_reduce(1, x.abs() % 4, x, "sum", include_self=False),
        lambda x: (x % 2).nonzero(),
        lambda x: x.count_nonzero(1),
        lambda x: x.abs().flatten().bincount(),
        lambda x: torch.histc(x.float(), 4, 0, 3),
        lambda x: (x & 6) | (x ^ -3) ^ (x > 2),
        lambda x: ~x.to(torch.int8) & True,
        lambda x: (x << 3) + (x >> 1) + (1 << x.abs()) + (-99 >> x.abs()),
        lambda x: (x.to(torch.int8) << 5) >> torch.tensor([0, 1, 9]).to(torch.int8)[:, None],
        lambda x: torch.bitwise_right_shift(torch.bitwise_left_shift(x, 2), x.abs() % 3),
        lambda x: (x == (x > 0)) & (x * (x < 3) != 2),
        lambda x: (x > 0).sum(1) + (x < 5).sum() + (x > 1).prod(),
        lambda x: torch.cat([x, x[:, :0], x.new_zeros(3, 0)], 1),
        lambda x: x.masked_fill(x > 2, 1.0) + torch.zeros(x.max() - x.max() + 4, dtype=x.dtype),
        lambda x: x.diff(),
        lambda x: x.median(),
        lambda x: torch.heaviside(x, torch.tensor(5)),
        lambda x: torch.atan2(x, x.flip(0)),
        lambda x: x.copysign(-1),
        lambda x: x.signbit(),
        lambda x: torch.xlogy(x, x.abs()),
        lambda x: x.rad2deg(),
        lambda x: x.exp2(),
        lambda x: x.logit(),
        lambda x: torch.bucketize(x, torch.tensor([0, 2, 4])),
        lambda x: x.isfinite(),
        lambda x: x.masked_scatter(x > 2, x.flip(0)),
        lambda x: x.float()[0, 0].quantile(0.5),
        lambda x: x.float()[0, 0].scatter_reduce(0, torch.tensor(0), x.float()[0, 1], "amax"),
    ],
)
def test_integers_and_what_has_no_axes(function):
    x = torch.from_numpy(np.random.default_rng(3).integers(-3, 9, (3, 4)))
    reports = list(probe.sweep(Net(function).eval(), x))
    assert [one.verdict for one in reports] == ["agree"] * len(reports), "\n".join(
        str(one) for one in reports if not one.ok
    )


@pytest.mark.parametrize("divisor", [2, -3, torch.tensor([[1], [-2], [5]])], ids=str)
def test_whole_quotients_of_integers_in_onnxruntime(divisor):
    x = torch.from_numpy(np.random.default_rng(3).integers(-(2**50), 2**50, (3, 4)))
    (report,) = probe.sweep(Net(lambda x: x // divisor).eval(), x)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, report
    assert np.array_equal(report.outputs["onnx"], (x // divisor).numpy())


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("axis", [0, -1])
def test_the_largest_in_any_order(largest, axis):
    """Of few among many PyTorch gives the order of its selection, of which nothing is promised."""
    x = torch.from_numpy(np.random.default_rng(0).permutation(40 * 40).reshape(40, 40) / 7.0)
    net = Net(lambda x: x.topk(30, axis, largest=largest, sorted=False)).eval()
    (report,) = probe.sweep(net, x)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, report
    values, places = report.outputs["framework"]
    other = places.copy()
    np.moveaxis(other, axis, -1)[3, 5] = np.moveaxis(x.argsort(axis).numpy(), axis, -1)[
        3, 3 if largest else -3
    ]
    wrong = probe.check(net, report.layer, x, expected=[values, other])
    assert wrong.verdict == "diverge" and wrong.comparisons["numpy", "expected"].count == 1


@pytest.mark.parametrize(
    "function",
    [
        *(
            lambda x: torch.copysign(x, Y),
            lambda x: torch.hypot(x, Y),
            lambda x: torch.atan2(x, Y),
            lambda x: torch.logaddexp(x, Y),
        ),
        *(
            torch.exp2,
            torch.rad2deg,
            lambda x: torch.xlogy(x, Y.abs()),
            lambda x: x.quantile(0.3, 2),
        ),
        *(
            lambda x: torch.cdist(x, Y),
            lambda x: torch.cdist(x, ROWS),
            lambda x: torch.cdist(x, ROWS, p=1.0),
        ),
        *(
            lambda x, how=how: x.scatter_reduce(2, INDEX[..., :4, :4], Y, how)
            for how in ("sum", "prod", "mean", "amax")
        ),
    ],
)
def test_values_that_are_a_little_off_diverge(function):
    model = probe.open_model(Net(function).eval())
    *_, last = probe.sweep(model, X)
    given = last.outputs["framework"]
    report = probe.check(model, last.layer, X, expected=given * np.float32(1 + 1e-4))
    assert (
        report.verdict == "diverge"
        and report.comparisons["numpy", "expected"].count > given.size * 0.9
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cdist(x, x + 1),
        lambda x: torch.cdist(x.repeat(10, 1), x + 1),
        lambda x: torch.cdist(x, x + 1, p=1.0),
        lambda x: x.index_copy(0, AT, x[1:]),
        lambda x: x.scatter_reduce(1, (x.abs() % 4).long(), x, "amax"),
        lambda x: x.kthvalue(2, 1)[0],
        lambda x: x.quantile(0.3),
        lambda x: torch.hypot(x, x + 1),
        lambda x: x.sigmoid().logit(1e-3),
        lambda x: x.copysign(-1),
        lambda x: (x > 0).nonzero(),
    ],
)
def test_calls_of_an_exported_program(function):
    x = torch.from_numpy(X[0, 0, :3])
    reports = list(probe.sweep(torch.export.export(Net(function).eval(), (x,), strict=False), x))
    assert [one.verdict for one in reports] == ["agree"] * len(reports), "\n".join(
        str(one) for one in reports if not one.ok
    )


@pytest.mark.parametrize(
    "function",
    [lambda x: torch.cdist(x, x, p=1.0), lambda x: torch.searchsorted(x[:, 0].sort()[0], x)],
)
def test_more_pairs_than_memory_holds_are_refused_by_name(function):
    *_, report = probe.sweep(Net(function), torch.ones(3_000, 2))
    assert report.verdict == "unchecked" and "exceeds the limit" in report.sentence
