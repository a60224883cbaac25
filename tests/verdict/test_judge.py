"""The verdict on one captured call: who is the odd one out, and what is never forgiven."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from lazy import Lazy, keras

import probe
from probe import Description, Ref, Step, Weight, ops
from probe.model import Capture
from probe.verdict.judge import judge
from probe.verdict.options import Options, Yours


def dense(rows=3, width=40, units=40, seed=0):
    """A dense layer as PyTorch computes it in float32."""
    rng = np.random.default_rng(seed)
    x, w, b = (
        rng.normal(size=size).astype(np.float32)
        for size in ((rows, width), (width, units), (units,))
    )
    y = torch.nn.functional.linear(
        torch.from_numpy(x), torch.from_numpy(w.T.copy()), torch.from_numpy(b)
    ).numpy()
    op = ops.MatMul(weight=Weight("kernel", w, w), bias=Weight("bias", b, b))
    return Capture("fc", "Dense", 0, (x,), (y,), "float32", Description((Step(op),)))


def convolution(channels=5, seed=0):
    rng = np.random.default_rng(seed)
    x, w = (
        rng.normal(size=size).astype(np.float32)
        for size in ((2, channels, 9, 9), (channels, channels, 3, 3))
    )
    y = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=1).numpy()
    op = ops.Conv(
        weight=Weight("kernel", w, w),
        bias=None,
        strides=(1, 1),
        pads=((1, 1), (1, 1)),
        dilations=(1, 1),
    )
    return Capture("conv", "Conv2D", 0, (x,), (y,), "float32", Description((Step(op),)))


@pytest.mark.parametrize("capture", [dense(), convolution()])
def test_a_healthy_layer_agrees(capture):
    report = judge(capture)
    assert report.verdict == "agree"
    assert list(report.comparisons) == [
        ("framework", "numpy"),
        ("framework", "onnx"),
        ("numpy", "onnx"),
    ]
    assert not report.missing


def test_one_weight_off_by_a_thousandth_is_seen():
    capture = dense()
    weight = capture.description.steps[0].op.weight.effective.copy()
    weight[
        np.unravel_index(np.argsort(np.abs(weight), axis=None)[weight.size // 2], weight.shape)
    ] *= 1.001
    step = capture.description.steps[0]
    changed = Step(replace(step.op, weight=replace(step.op.weight, effective=weight)))
    report = judge(replace(capture, description=Description((changed,))))
    assert report.verdict == "diverge"
    assert "the framework is the odd one out" in report.sentence


def test_expected_in_the_tenth_digit_is_rounding_in_the_fifth_is_not():
    capture = dense()
    y = capture.outputs[0].astype(np.float64)
    assert judge(capture, Yours(y * (1 + 1e-10))).ok
    assert judge(capture, Yours(y * (1 + 1e-5))).verdict == "diverge"


def test_a_transposed_array_of_equal_shape_diverges():
    capture = dense(rows=40)
    report = judge(capture, Yours(capture.outputs[0].T.copy()))
    assert report.verdict == "diverge"
    assert "yours is the odd one out" in report.sentence


@pytest.mark.parametrize(
    "wrong",
    [
        lambda y: y[:1],
        lambda y: y[None],
        lambda y: y.sum(axis=1, keepdims=True),
        lambda y: y.ravel(),
        lambda y: y[0, 0],
    ],
)
def test_nothing_is_broadcast(wrong):
    capture = dense()
    report = judge(capture, Yours(wrong(capture.outputs[0])))
    assert report.verdict == "diverge"
    assert "yours has another shape: " in report.sentence
    assert report.comparisons["framework", "expected"].ratio == np.inf


def test_nan_in_one_party_only_diverges_and_in_all_agrees():
    capture = dense()
    spoiled = capture.outputs[0].copy()
    spoiled[1, 2] = np.nan
    assert (
        "The positions of NaN or inf differ at 1 of 120 elements"
        in judge(capture, Yours(spoiled)).sentence
    )
    x = capture.inputs[0].copy()
    x[0, 0] = np.nan
    y = capture.outputs[0].copy()
    y[0] = np.nan
    assert judge(replace(capture, inputs=(x,), outputs=(y,))).ok
    negative = np.where(np.isnan(y), -np.inf, y)
    assert judge(replace(capture, inputs=(x,), outputs=(y,)), Yours(negative)).verdict == "diverge"


def test_no_description_is_unchecked_and_says_why():
    capture = replace(dense(), description=None, why="MyLayer has no description")
    report = judge(capture, Yours(capture.outputs[0]))
    assert report.verdict == "unchecked"
    assert report.missing == {
        "numpy": "MyLayer has no description",
        "onnx": "MyLayer has no description",
    }
    assert not report.ok


@dataclass(frozen=True, eq=False)
class _WrongNumPy(ops.Tanh):
    def f(self, x):
        return np.tanh(x) + 0.1


@dataclass(frozen=True, eq=False)
class _WrongOnnx(ops.Tanh):
    onnx = "Sin"


@pytest.mark.parametrize(
    ("op", "y", "words"),
    [
        (
            _WrongNumPy(),
            np.tanh,
            (
                "NumPy is the odd one out: the framework and ONNX Runtime agree, so this is "
                "an error in probe's NumPy computation"
            ),
        ),
        (_WrongOnnx(), np.tanh, "ONNX Runtime is the odd one out"),
        (ops.Tanh(), np.sin, "the framework is the odd one out: NumPy and ONNX Runtime agree"),
    ],
)
def test_the_sentence_names_the_odd_one_out(op, y, words):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    report = judge(Capture("act", "Tanh", 0, (x,), (y(x),), "float32", Description((Step(op),))))
    assert report.verdict == "diverge"
    assert words in report.sentence


def test_an_allowance_beyond_the_output_is_unchecked():
    x = (
        np.full((2, 64), 1e6, np.float32)
        + np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32) / 5
    )
    op = ops.LayerNormalization(scale=None, bias=None, epsilon=1e-12, axes=(1,))
    y = torch.nn.functional.layer_norm(torch.from_numpy(x), (64,), eps=1e-12).numpy()
    report = judge(Capture("norm", "LayerNorm", 0, (x,), (y,), "float32", Description((Step(op),))))
    assert report.verdict == "unchecked"
    assert (
        "while the output's own range is" in report.sentence
        and "would detect only 0" in report.sentence
    )


def test_what_varies_in_its_last_digits_only_is_judged_like_a_constant():
    """The gate of a squeeze-and-excitation over statistics as they were initialised: 0.5 and next
    to nothing."""
    x = np.random.default_rng(0).normal(size=(1, 96, 1, 1)).astype(np.float32) * np.float32(1e-7)
    y = torch.nn.functional.hardsigmoid(torch.from_numpy(x)).numpy()
    gate = Capture(
        "gate",
        "Hardsigmoid",
        0,
        (x,),
        (y,),
        "float32",
        Description((Step(ops.HardSigmoid(1 / 6, 0.5)),)),
    )
    assert judge(gate).ok, str(judge(gate))
    assert judge(replace(gate, outputs=(y + np.float32(1e-6),))).verdict == "diverge"


@pytest.mark.parametrize("low", [9, 11, 12.5, 14])
def test_an_activation_at_its_end_is_judged(low):
    """Its allowance is as large as the least that a constant is judged by, up to the rounding of
    the allowance itself."""
    x = np.linspace(low, low + 0.5, 7, dtype=np.float32)[None]
    assert probe.check(torch.nn.Tanh(), "", given=x).ok


def test_a_kernel_lost_in_the_rounding_of_the_bias_is_unchecked():
    """It could be any other: yours with no kernel at all is within rounding too."""
    layer = torch.nn.Linear(4, 3)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    with torch.no_grad():
        layer.weight.normal_(std=1e-8)
        layer.bias.fill_(1.0)
    report = probe.check(layer, "", given=x, expected=np.ones((5, 3), np.float32))
    assert report.verdict == "unchecked" and "own range" in report.sentence, str(report)


def test_a_user_tolerance_replaces_the_allowance():
    capture = dense()
    off = capture.outputs[0] + np.float32(1e-3)
    assert judge(capture, Yours(off)).verdict == "diverge"
    assert judge(capture, Yours(off), Options(tolerance=(0.0, 1e-2))).ok


def test_values_computed_from_the_users_own_inputs_are_judged_on_those():
    capture = dense()
    op = capture.description.steps[0].op
    mine = capture.inputs[0] + np.float32(0.25)
    y = mine @ op.weight.effective + op.bias.effective
    assert judge(capture, Yours(y)).verdict == "diverge"
    assert judge(capture, Yours(y, inputs=(mine,))).ok


@pytest.mark.parametrize(
    "order",
    [lambda t: np.sort(t, axis=1), lambda t: t[:, np.argsort(np.sign(t[0]), kind="stable")]],
)
def test_strictly_sequential_sums_of_sorted_terms_are_rounding(order):
    """The walk of partial sums is far beyond a random order's: the second look at the true terms
    settles it."""
    rng = np.random.default_rng(0)
    terms = order(rng.normal(size=(64, 4096)).astype(np.float32))
    x, w = terms, np.ones((4096, 1), np.float32)
    y = np.zeros((64, 1), np.float32)
    for column in range(4096):
        y[:, 0] += terms[:, column]
    op = ops.MatMul(weight=Weight("kernel", w, w), bias=None)
    capture = Capture(
        "sum", "Dense", 0, (x,), (y,), "float32", Description((Step(op), Step(ops.Relu())))
    )
    capture = replace(capture, outputs=(np.maximum(y, 0),))
    report = judge(capture)
    assert report.ok, report.sentence


def test_sums_of_blocks_are_rounding():
    """A kernel sums blocks from 0, here of 64 after a first one of 32, and so has partial sums
    twice as large as those from the start."""
    rng = np.random.default_rng(374)
    slope = np.concatenate(
        [
            np.full(size, sign)
            for size, sign in zip((32, 64, 64, 64, 64, 32), (1.0, -1.0) * 3, strict=True)
        ]
    )
    x = (slope + 0.3 * rng.standard_normal((4000, 320))).astype(np.float32)
    y, block = np.zeros(4000, np.float32), np.zeros(4000, np.float32)
    for at, column in enumerate(x.T):
        if at % 64 == 32:
            y, block = y + block, np.zeros(4000, np.float32)
        block += column
    w = np.ones((320, 1), np.float32)
    step = Step(ops.MatMul(weight=Weight("kernel", w, w), bias=None))
    capture = Capture(
        "sum", "Dense", 0, (x,), ((y + block)[:, None],), "float32", Description((step,))
    )
    report = judge(capture)
    assert report.ok, report.sentence


def test_a_sum_that_is_too_large_for_its_terms_to_move_is_rounding():
    """Added one after the other to 1e8 all of about 1 are lost: far more than errors that go up and
    down add up to."""
    x = np.random.default_rng(0).uniform(0.5, 1.5, (1, 60_000)).astype(np.float32)
    x[0, 0] = 1e8
    y = np.cumsum(x, axis=1, dtype=np.float32)[:, -1:]
    assert y[0, 0] == 1e8
    w = np.ones((60_000, 1), np.float32)
    description = Description((Step(ops.MatMul(weight=Weight("kernel", w, w), bias=None)),))
    assert judge(Capture("sum", "Dense", 0, (x,), (y,), "float32", description)).ok
    assert not judge(Capture("sum", "Dense", 0, (x,), (y - 3e5,), "float32", description)).ok


def test_a_wrong_sum_of_integers_has_no_allowance():
    x, w = np.array([[0, 1, 2]]), np.ones((3, 1), np.int64)
    description = Description((Step(ops.MatMul(weight=Weight("kernel", w, w), bias=None)),))
    report = judge(
        Capture("sum", "Dense", 0, (x,), (x @ w,), "int64", description), Yours(x @ w + 1)
    )
    assert (
        report.verdict == "diverge" and report.comparisons["numpy", "expected"].worst.allowance == 0
    )


def rounded(w, name):
    """Weights as a narrower format would hold them."""
    tensor = torch.from_numpy(w)
    if name == "tf32":
        return ((w.view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32)
    return tensor.to(getattr(torch, name)).float().numpy()


@pytest.mark.parametrize(
    ("name", "certain"), [("bfloat16", None), ("float16", False), ("tf32", False)]
)
def test_narrow_weights_diverge_in_their_own_words(name, certain):
    capture = dense(rows=8, width=2304, units=16)
    op = capture.description.steps[0].op
    y = capture.inputs[0] @ rounded(op.weight.effective, name) + op.bias.effective
    report = judge(capture, Yours(y))
    assert report.verdict == "diverge"
    pair = report.comparisons["numpy", "expected"]
    assert pair.ratio > 20
    if certain is not None:
        assert pair.certain is certain
        assert "unlikely to be rounding" in report.sentence


def test_a_missing_bias_is_certainly_other_arithmetic():
    capture = dense()
    report = judge(
        capture, Yours(capture.outputs[0] - capture.description.steps[0].op.bias.effective)
    )
    assert report.comparisons["numpy", "expected"].certain is True
    assert "above the worst case of any summation order" in report.sentence


def test_the_smallest_visible_change_is_seen_and_a_tenth_of_it_is_not():
    capture = dense(rows=1, width=64, units=1)
    report = judge(capture, options=Options(detail=True))
    op, x = capture.description.steps[0].op, capture.inputs[0].astype(np.float64)
    terms = x[0] * op.weight.effective[:, 0].astype(np.float64)
    largest = np.argmax(np.abs(terms))
    for factor, verdict in ((0.1, "agree"), (3.0, "diverge")):
        exact = terms.sum() + op.bias.effective[0] + factor * report.visible * terms[largest]
        assert judge(capture, Yours(np.array([[exact]]))).verdict == verdict


def test_what_the_input_could_not_have_revealed():
    capture = convolution()
    assert judge(capture, options=Options(detail=True)).blind == ()
    weight = np.ones((5, 5, 3, 3), np.float32)
    zeros = np.zeros(5, np.float32)
    x = np.ones((1, 5, 6, 6), np.float32)
    x[..., [0, -1]] = 0
    x[..., [0, -1], :] = 0
    op = ops.Conv(
        Weight("kernel", weight, weight),
        Weight("bias", zeros, zeros),
        (1, 1),
        ((1, 1), (1, 1)),
        (1, 1),
    )
    steps = (Step(op), Step(ops.Relu()))
    y = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), padding=1).numpy()
    report = judge(
        Capture("conv", "Conv2D", 0, (x,), (y,), "float32", Description(steps)),
        options=Options(detail=True),
    )
    assert report.ok
    told = " ".join(report.blind)
    for words in (
        "bias is all zero",
        "symmetric",
        "border of the input is zero",
        "no input of the Relu is negative",
    ):
        assert words in told


def test_infinite_elements_say_nothing_of_the_rounding_of_others():
    capture = dense(rows=3)
    x = capture.inputs[0].copy()
    x[1:, 0] = np.inf
    op = capture.description.steps[0].op
    y = x @ op.weight.effective + op.bias.effective
    assert judge(replace(capture, inputs=(x,), outputs=(y,))).ok


def of_framework(op, f, *inputs):
    """One op, and what a function of PyTorch's or Keras' gives."""
    given = inputs if isinstance(f, Lazy) else [torch.from_numpy(x) for x in inputs]
    steps = (Step(op, tuple(Ref(-1, number) for number in range(len(inputs)))),)
    return Capture(
        "layer",
        type(op).__name__,
        0,
        inputs,
        (np.asarray(f(*given)),),
        "float32",
        Description(steps),
    )


HUGE = np.array([[3e38, 2e38, -3e38, -1e38]], np.float32)
ONES = np.ones((4, 1), np.float32)


@pytest.mark.parametrize(
    ("op", "f", "inputs"),
    [
        (ops.ReduceMean(axes=(1,)), lambda x: x.mean(1), (np.abs(HUGE),)),
        (ops.ReduceL2(axes=(1,)), lambda x: x.square().sum(1).sqrt(), (HUGE / 1e15,)),
        (ops.HardSwish(), torch.nn.functional.hardswish, (HUGE,)),
        pytest.param(
            ops.Squareplus(), keras.activations.squareplus, (HUGE,), marks=pytest.mark.tensorflow
        ),
        # in this order
        (
            ops.MatMul(weight=Weight("kernel", ONES, ONES), bias=None),
            lambda x: x.cumsum(1)[:, -1:],
            (HUGE,),
        ),
        (ops.Mean(), lambda x, y: (x + y) / 2, (HUGE, HUGE)),
    ],
)
def test_numbers_beyond_float32_are_nobodys_fault(op, f, inputs):
    report = judge(of_framework(op, f, *inputs))
    assert report.verdict == "diverge"
    assert (
        "an intermediate result overflows float32"
    ) in report.sentence or "lie beyond float32" in report.sentence, report.sentence
    assert judge(of_framework(op, f, *(x / np.float32(1e30) for x in inputs))).ok


def test_a_lost_weight_is_no_matter_of_range_on_large_inputs():
    capture = dense(rows=3)
    x = capture.inputs[0] * np.float32(1e20)
    op = capture.description.steps[0].op
    y = (x @ op.weight.effective + op.bias.effective).astype(np.float32)
    capture = replace(capture, inputs=(x,), outputs=(y,))
    lost = y.copy()
    lost[:, 1] = np.nan  # of a column of weights that were exported as NaN
    assert judge(capture).ok
    assert "yours is the odd one out" in judge(capture, Yours(lost)).sentence


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["log", "rsqrt", "sign", "sqrt", "ceil", "reciprocal"])
def test_subnormal_numbers_taken_for_0_are_no_divergence(name):
    """TensorFlow's kernels do, in lines as long as a vector of the processor."""
    x = np.geomspace(1e-44, 1e-37, 64, dtype=np.float32)
    capture = of_framework(getattr(ops, name.capitalize())(), getattr(keras.ops, name), x)
    report = judge(capture)
    assert (
        report.ok
        and "assuming that the framework flushes subnormals to zero (FTZ)" in report.sentence
    ), str(report)
    assert (
        "the framework is compared with NumPy with subnormals (below 1.18e-38) flushed to zero"
    ) in report.notes
    wrong = np.where(x > 5e-38, capture.outputs[0] * 1.001 + 1, capture.outputs[0])
    assert judge(replace(capture, outputs=(wrong,))).verdict == "diverge"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_integers_wrap_around_in_the_layers_own_bits(dtype):
    x = np.random.default_rng(0).integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (3, 40), dtype)
    for op, f in ((ops.Add(), torch.add), (ops.Mul(), torch.mul)):
        assert judge(replace(of_framework(op, f, x, x), dtype=dtype)).ok
    assert judge(replace(of_framework(ops.Neg(), torch.neg, x), dtype=dtype)).ok
    wrong = (np.asarray(x * x) + 1).astype(dtype)
    assert (
        judge(
            replace(of_framework(ops.Mul(), torch.mul, x, x), outputs=(wrong,), dtype=dtype)
        ).verdict
        == "diverge"
    )


@pytest.mark.parametrize(
    ("op", "f"),
    [
        (ops.Softmax(axis=0), lambda x: x.softmax(0)),
        (ops.LogSoftmax(axis=0), lambda x: x.log_softmax(0)),
        (ops.ReduceVar(axes=(0,), ddof=1), lambda x: x.sum(0) / 0),  # PyTorch's var warns
        (ops.ReduceStd(axes=(0,), ddof=1), lambda x: x.sum(0) / 0),
    ],
)
def test_an_axis_without_elements_is_no_traceback(op, f):
    report = judge(of_framework(op, f, np.zeros((0, 8), np.float32)))
    assert report.verdict != "diverge", report.sentence


@pytest.mark.parametrize(
    ("op", "f", "inputs"),
    [
        (ops.Log(), torch.log, (np.geomspace(1e-200, 1.0, 40),)),
        (ops.Square(), torch.square, (np.geomspace(1.0, 1e60, 40),)),
        (ops.Atanh(), torch.atanh, (1 - np.geomspace(1e-15, 0.5, 40),)),
        (ops.Elu(), torch.nn.functional.elu, (np.linspace(-1e300, 1e300, 40),)),
    ],
)
def test_numbers_that_float32_cannot_hold_are_no_divergence_of_a_float64_layer(op, f, inputs):
    """ONNX Runtime is asked in float32: it has no answer there, and the others are judged without
    it."""
    capture = replace(of_framework(op, f, *inputs), dtype="float64")
    report = judge(capture)
    assert report.ok and "float32, which overflows here" in report.missing["onnx"], str(report)
    wrong = capture.outputs[0].copy()
    wrong[3] *= 1 + 1e-12
    assert judge(replace(capture, outputs=(wrong,))).verdict == "diverge"


@pytest.mark.parametrize(
    ("op", "f"),
    [
        (ops.Sin(), lambda x, y: torch.sin(x)),
        (ops.Cos(), lambda x, y: torch.cos(x)),
        (ops.Mod(), torch.remainder),
        (ops.Mod(fmod=True), torch.fmod),
    ],
)
def test_a_place_within_a_turn_that_float32_does_not_tell(op, f):
    """Of an angle of 1e9 and the like, ONNX Runtime's float32 keeps nothing; the framework's
    float64 is judged as sharply as ever."""
    x, y = (
        np.random.default_rng(0).uniform(-1e12, 1e12, 200),
        np.random.default_rng(1).uniform(1, 9, 200),
    )
    capture = replace(of_framework(op, f, x, y), dtype="float64")
    if not isinstance(op, ops.Mod):
        capture = replace(capture, inputs=(x,), description=Description((Step(op),)))
    assert judge(capture).ok, str(judge(capture))
    assert judge(replace(capture, outputs=(capture.outputs[0] + 1e-12,))).verdict == "diverge"


def test_numbers_that_onnx_runtime_cannot_hold_are_0_there():
    """A float64 layer whose values lie below float32's range."""
    x = np.geomspace(1e-200, 1.0, 40)[None, None]
    report = judge(
        replace(
            of_framework(ops.Transpose(perm=(0, 2, 1)), lambda x: x.transpose(1, 2), x),
            dtype="float64",
        )
    )
    assert report.ok and "onnx" in report.outputs, str(report)


class Failing(ops.Relu):
    """An op of ours with a fault."""

    def run(self, *inputs):
        raise IndexError("list index out of range")


@pytest.mark.plants_a_fault
def test_a_fault_of_ours_is_said_and_one_of_the_users_function_is_raised():
    capture = of_framework(ops.Relu(), torch.relu, np.ones((2, 3), np.float32))
    report = judge(replace(capture, description=Description((Step(Failing()),))))
    assert (
        report.verdict == "unchecked"
        and "IndexError: list index out of range); please report this bug"
        in report.missing["numpy"]
    )

    def theirs(layer, x):
        raise IndexError("the user's own")

    with pytest.raises(IndexError, match="the user's own"):
        judge(replace(capture, description=Description((Step(ops.Recomputed(theirs, None)),))))
