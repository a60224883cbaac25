"""Every class of ops: NumPy in float64 against ONNX Runtime, within the bound; where each element
comes from, and how that is told; no class is left out."""

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import numpy as np
import pytest
from op_cases import CASES, normal, positive, vector, weight
from told_elements import told

from probe import ops
from probe.description import Ref, Step
from probe.errors import Undescribed
from probe.evaluation.allowance import allowances
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated, Op
from probe.ops.step import weight_fields, weights_of

FLOAT32 = precision_of("float32")

X, PAIR, ROWS = normal(3, 4), (normal(3, 4), normal(3, 4)), normal(2, 3, 5)
BITS = np.array([[0, 1, 6], [7, 12, 5]], np.int32), np.array([[3, 1, 4], [2, 9, 5]], np.int32)
TRUTHS = np.array([[True, True, False], [False, True, False]])
OTHER_TRUTHS = np.array([[True, False, False], [True, True, False]])
PLACES = np.array([[0, 2], [1, 1]])
SIZE, ZERO, TWO = np.float32(0.25), np.asarray(3), np.asarray(2.0)
BOXES = np.array([[[0, 0, 2, 2], [0, 0, 2, 1.9], [3, 3, 5, 5]]], np.float32)
SCORES = np.array([[[0.5, 0.9, 0.7]]], np.float32)
LINE = ((2,), (2,), ((0, 0),))


def gates(count, size=3):
    """The weights of a recurrence whose inputs have 4 features."""
    return {
        "kernel": weight(normal(4, count * size)),
        "recurrent": weight(normal(size, count * size)),
        "bias": vector(count * size),
    }


ALONG_AN_AXIS = {
    "ReduceAll": (ops.ReduceAll((1,)), TRUTHS),
    "ReduceAny": (ops.ReduceAny((1,)), TRUTHS),
    "Softmin": (ops.Softmin(1), X),
    "Sparsemax": (ops.Sparsemax(1), X),
    "ArgMax": (ops.ArgMax(1), X),
    "ArgMin": (ops.ArgMin(1), X),
    "TopK": (ops.TopK(2, 1), X),
}
ATTENTION = {
    "Attention": (ops.Attention(0.5), ROWS, normal(2, 4, 5), normal(2, 4, 6)),
    "AdditiveAttention": (
        ops.AdditiveAttention(0.5, outer=vector(5)),
        ROWS,
        normal(2, 4, 5),
        normal(2, 4, 6),
    ),
}
ELEMENTWISE = {
    "Celu": (ops.Celu(0.7), X),
    "Clip": (ops.Clip(-0.5, 0.5), X),
    "Elu": (ops.Elu(0.7), X),
    "Gelu": (ops.Gelu(), X),
    "HardSigmoid": (ops.HardSigmoid(0.2, 0.5), X),
    "Identity": (ops.Identity(), X),
    "LeakyRelu": (ops.LeakyRelu(0.1), X),
    "ScaledRelu": (ops.ScaledRelu(1.0, 0.1, 0.2), X),
    "Shrink": (ops.Shrink(0.5, 0.2), X),
    "Softplus": (ops.Softplus(2.0), X),
    "Squareplus": (ops.Squareplus(), X),
    "Swish": (ops.Swish(1.5), X),
    "ThresholdedRelu": (ops.ThresholdedRelu(0.3), X),
    "Cast": (ops.Cast("int32"), X),
    "Constant": (ops.Constant(normal(2, 3)), X),
    "Parameter": (ops.Parameter(weight(normal(2, 3))), X),
    "Stored": (ops.Stored("float16"), X),
    "FloorDiv": (ops.FloorDiv(), X, positive(3, 4)),
    "Mod": (ops.Mod(), X, positive(3, 4)),
    "BitCast": (ops.BitCast("int32", "uint32"), BITS[0] - 4),
    "BitShift": (ops.BitShift(True, "int32"), *BITS),
    "BitwiseAnd": (ops.BitwiseAnd(), *BITS),
    "BitwiseOr": (ops.BitwiseOr(), *BITS),
    "BitwiseXor": (ops.BitwiseXor(), *BITS),
    "BitwiseNot": (ops.BitwiseNot("int32"), BITS[0]),
    "Chain": (ops.Chain((ops.Relu(), ops.Tanh())), X),
    "And": (ops.And(), TRUTHS, OTHER_TRUTHS),
    "Or": (ops.Or(), TRUTHS, OTHER_TRUTHS),
    "Xor": (ops.Xor(), TRUTHS, OTHER_TRUTHS),
    "Not": (ops.Not(), TRUTHS),
    **{
        name: (getattr(ops, name)(), *PAIR)
        for name in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "NotEqual")
    },
    "IsInf": (ops.IsInf(), np.array([0.0, np.inf, -np.inf, np.nan])),
    "IsNaN": (ops.IsNaN(), np.array([0.0, np.inf, -np.inf, np.nan])),
    "Fill": (ops.Fill(-1e9), normal(2, 3), TRUTHS),
    "Lower": (ops.Lower(-100.0), normal(2, 3), TRUTHS),
    "MaskSteps": (ops.MaskSteps(0.0), ROWS * (np.arange(3) != 1)[:, None]),
    "Beside": (ops.Beside("kernel", "f(x)"), *PAIR),
    "AutoContrast": (ops.AutoContrast((1,), 0.0, 1.0), X),
}
LINEAR = {
    "Product": (ops.Product(), ROWS, normal(2, 5, 4)),
    "WeightedEinsum": (ops.WeightedEinsum("abc,cd->abd", weight(normal(5, 4))), ROWS),
}
LOOKUP = {
    "Bucketize": (ops.Bucketize((-0.5, 0.5)), X),
    "Lookup": (ops.Lookup((2, 5, 9), (1, 3, 2), 0), np.array([[9, 2], [7, 5]])),
    "OneHot": (ops.OneHot(4), np.array([1, 3, 0])),
    "Embedding": (ops.Embedding(weight(normal(6, 3))), np.array([[1, 5], [0, 2]])),
    "EmbeddingBag": (ops.EmbeddingBag(weight(normal(6, 3))), np.array([[1, 5], [0, 2]])),
    "Expand": (ops.Expand((2, 3, 4)), X),
    "Gather": (ops.Gather(1), X, PLACES),
    "GatherElements": (ops.GatherElements(1), X, PLACES),
    "GatherND": (ops.GatherND(), X, PLACES),
    "ScatterND": (ops.ScatterND(), X, PLACES, normal(2)),
    "Tile": (ops.Tile((2, 1)), X),
    "Trilu": (ops.Trilu(True), X),
    "CountNgrams": (
        ops.CountNgrams(((1,), (2, 3)), (0, 1), 1, 2, 0),
        np.array([[1, 2, 3, 1], [2, 3, 2, 3]]),
    ),
    "NonMaxSuppression": (ops.NonMaxSuppression(2, 0.5), BOXES, SCORES),
    "NonZero": (ops.NonZero(), np.array([[0.0, 1.5], [-2.0, 0.0]])),
    "Unique": (ops.Unique(None), np.array([3.0, 1.0, 3.0, 2.0])),
}
QUANTIZE = {
    "FloatQuantize": (ops.FloatQuantize(np.float32(0.5), 3, -6, -448.0, 448.0), X),
    "IntQuantize": (ops.IntQuantize(SIZE, np.float32(0), -8, 7), X),
    "SignQuantize": (ops.SignQuantize(SIZE), X),
    "AbsMaxQuantize": (ops.AbsMaxQuantize((1,)), X),
    "Float8": (ops.Float8(0.5), X),
    "DynamicQuantize": (ops.DynamicQuantize(255), X),
    "FakeQuantize": (ops.FakeQuantize(SIZE, ZERO), X),
    "FixedPoint": (ops.FixedPoint(np.asarray(1.0), TWO, TWO), X),
    "MiniFloat": (ops.MiniFloat(TWO, np.asarray(4.0), np.asarray(0.0)), X),
    "Affine": (ops.Affine(0.5, 0.25), X),
    "QuantizedSigmoid": (ops.QuantizedSigmoid(4), X),
    "QuantizedTanh": (ops.QuantizedTanh(4), X),
    "QuantizedUlaw": (ops.QuantizedUlaw(4), X),
    "ShiftedHardSwish": (ops.ShiftedHardSwish(), X),
    "AutoQuantizedBits": (ops.AutoQuantizedBits(4, axes=(0,)), X),
    "Binary": (ops.Binary(), X),
    "Ternary": (ops.Ternary(), X),
    "QuantizedBits": (ops.QuantizedBits(4), X),
    "QuantizedRelu": (ops.QuantizedRelu(4), X),
    "QuantizedPo2": (ops.QuantizedPo2(-3, 2), X),
    "QuantizedReluPo2": (ops.QuantizedReluPo2(-3, 2), X),
    "DynamicQuantizeLinear": (ops.DynamicQuantizeLinear(), X),
    "QuantizeLinear": (ops.QuantizeLinear(SIZE, ZERO, 0, 255), X),
    "NudgedFakeQuantize": (ops.NudgedFakeQuantize(np.float32(-1), np.float32(1)), X),
}
CODES = np.array([[-128, -7, 3], [90, 127, -60]])
WHOLE = np.array([[-54321, -700, 3], [900, 12345, -60]])
KERNEL = weight(np.array([[[2, -3]], [[-1, 4]], [[5, 1]]]))
LSTM_PARTS = {
    f"{gate}_{part}": weight(np.array(codes))
    for gate in ("input", "forget", "cell", "output")
    for part, codes in (
        ("weight", [[3, -4, 5], [7, 1, -2]]),
        ("recurrent", [[9, -4], [2, 8]]),
        ("bias", [60, -90]),
    )
}
OF_INTEGERS = {
    "IntegerConv": (
        ops.IntegerConv(KERNEL, weight(np.array([7, -2, 1])), (2,), ((1, 0),), (1,)),
        CODES[None, :1],
    ),
    "IntegerConvTranspose": (
        ops.IntegerConvTranspose(KERNEL, weight(np.array([7])), (2,), ((1, 0),), (1,)),
        CODES.reshape(1, 3, 2),
    ),
    "IntegerMatMul": (
        ops.IntegerMatMul(weight(np.array([[2], [3], [-4]])), weight(np.array([5]))),
        CODES,
    ),
    "SubtractZeroPoint": (ops.SubtractZeroPoint(-3), CODES),
    **{
        f"Requantize, {rounding}": (
            ops.Requantize(
                np.asarray(1518500250),
                np.asarray(-8),
                np.float32(1518500250 * 2.0**-39),
                *(-3, -128, 127, rounding),
            ),
            WHOLE,
        )
        for rounding in ("double", "up", "single", "fp32", "reduced")
    },
    "DivideRounded": (ops.DivideRounded(np.asarray(9)), WHOLE),
    "FunctionOfCodes": (ops.FunctionOfCodes("Tanh", 0.01, 2, 1 / 128, 0, -128, 127), CODES),
    "FunctionOfCodes, gemmlowp": (
        ops.FunctionOfCodes("Sigmoid", 0.03, 2, 1 / 256, -128, -128, 127, "gemmlowp"),
        CODES,
    ),
    "HardSwishOfCodes": (ops.HardSwishOfCodes(0.03, 0.02, -2, -128, 127), CODES),
    "FunctionOfCodes, Gelu": (
        ops.FunctionOfCodes("Gelu", 0.03, 2, 0.02, -100, -128, 127),
        CODES,
    ),
    "FunctionOfCodes, Elu": (
        ops.FunctionOfCodes("Elu", 0.03, 2, 0.02, -100, -128, 127, rounding="even"),
        CODES,
    ),
    "QuotientOfCodes": (
        ops.QuotientOfCodes(1717986944, 2, 3, -128, 127),
        CODES,
        np.where(CODES == 0, 7, CODES[::-1] + 1),
    ),
    "InterpolatedFunction": (ops.InterpolatedFunction(3e-4, 2e-4), WHOLE),
    "InterpolatedSoftmax": (ops.InterpolatedSoftmax(4e-4, 1.0), WHOLE),
    "QuantizeFloat": (ops.QuantizeFloat(0.25, 3, -128, 127), X),
    **{
        f"SquashedCodes, {function}": (ops.SquashedCodes(function, 20480, 11), WHOLE)
        for function in ("Sigmoid", "Tanh")
    },
    "ScaleInFloat32": (ops.ScaleInFloat32(0.003, 1.25, -128, 127), WHOLE),
    "ScaleInFloat32, away": (
        ops.ScaleInFloat32(0.003, 1.25, -128, 127, -4, "away"),
        WHOLE,
    ),
    "SoftmaxOfCodes": (ops.SoftmaxOfCodes(0.05, 1.0, 1 / 256, -128, -128, 127), CODES),
    "DynamicInput": (ops.DynamicInput((1,)), np.linspace(-1.0, 2.0, 12).reshape(3, 4)),
    "IntegerLSTM": (
        ops.IntegerLSTM(
            **LSTM_PARTS,
            multipliers=((1 << 30, -1),) * 8,
            hidden=(1 << 30, -22),
            cell_power=-11,
            zero_point=1,
            hidden_zero_point=-2,
        ),
        np.stack([CODES, -CODES], axis=1),
        np.array([[1, -7], [20, 5]]),
        np.array([[100, -900], [3000, 5]]),
    ),
}
RECURRENT = {
    "RNN": (ops.RNN(**gates(1)), normal(4, 2, 4)),
    "GRU": (ops.GRU(**gates(3)), normal(4, 2, 4)),
    "LSTM": (ops.LSTM(**gates(4)), normal(4, 2, 4)),
    "PeepholeLSTM": (
        ops.PeepholeLSTM(**gates(4), peepholes=weight(normal(3, 3))),
        normal(4, 2, 4),
    ),
    "PeepholeLSTM, clipped": (ops.PeepholeLSTM(**gates(4), cell_clip=0.2), normal(4, 2, 4)),
    "ConvLSTM": (
        ops.ConvLSTM(
            kernel=weight(normal(12, 4, 1)), recurrent=weight(normal(12, 3, 1)), bias=vector(12)
        ),
        normal(3, 2, 4, 5),
    ),
    "Packed": (ops.Packed((3, 1)), ROWS.transpose(1, 0, 2)[:2].repeat(2, axis=1)),
    "Unpacked": (ops.Unpacked((3, 1)), X.repeat(2, axis=0)[:4]),
}
SHAPE = {
    "NearestOnLines": (ops.NearestOnLines((3, 6), ((1.0, 0.0), (0.6, 0.1))), X),
    "ResizeNearest": (ops.ResizeNearest((1.0, 1.5), (3, 6)), X),
    "Append": (ops.Append(weight(normal(1, 4)), 0), X),
    "Flip": (ops.Flip(1), X),
    "Grouped": (ops.Grouped(2), normal(4, 3)),
    "Squeeze": (ops.Squeeze((1,)), normal(3, 1, 2)),
    "Unsqueeze": (ops.Unsqueeze((1,)), X),
    "Outputs": (ops.Outputs(), *PAIR),
    "Reshape": (ops.Reshape((2, 6)), X),
    "Take": (ops.Take(1, (3, 0)), X),
}
WINDOW = {
    "AdaptiveMaxPool": (ops.AdaptiveMaxPool((2,)), ROWS),
    "AdaptiveMaxPoolIndices": (ops.AdaptiveMaxPoolIndices((2,)), ROWS),
    "FractionalMaxPool": (ops.FractionalMaxPool((2,), (np.tile([0, 3], (2, 3, 1)),)), ROWS),
    "MaxPoolIndices": (ops.MaxPoolIndices(*LINE, (1,)), ROWS),
    "MaxUnpool": (ops.MaxUnpool((5,)), normal(1, 2, 2), np.array([[[1, 2], [0, 4]]])),
}
OTHERS = {
    "ByParts": (ops.ByParts((Step(ops.Add(), (Ref(-1, 0), Ref(-1, 1))),)), sum(PAIR), *PAIR),
    "Recomputed": (ops.Recomputed(lambda layer, x: 2 * x, None), X),
}
EVERY = (
    CASES
    | ALONG_AN_AXIS
    | ATTENTION
    | ELEMENTWISE
    | LINEAR
    | LOOKUP
    | QUANTIZE
    | OF_INTEGERS
    | RECURRENT
    | SHAPE
    | WINDOW
    | OTHERS
)
FILE = Path(__file__).parent / "words_of_every_op.txt"
WORDS = dict(line.split(" | ", 1) for line in FILE.read_text("utf-8").splitlines())
NOT_IN_ONNX = ("Recomputed", "SingularValues", "IntegerLSTM")
"""What ONNX has no form of."""
BASES = (
    "AdaptivePool Broadcast Elementwise Gated Mixing Pool Quantizer Rearrangement Recurrence Sum"
).split()
"""Classes that others derive from, and none is made of."""


def concrete(base=Op):
    """The names of the classes of probe.ops that a description may have."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("probe.ops.") and kind.__name__ not in BASES:
            yield kind.__name__
        yield from concrete(kind)


def test_no_class_is_left_out():
    for module in walk_packages(ops.__path__, "probe.ops."):
        import_module(module.name)
    public = {name for name in concrete() if not name.startswith("_")}
    assert sorted(public - {type(op).__name__ for op, *_ in EVERY.values()}) == []


@pytest.mark.parametrize("name", EVERY)
def test_numpy_and_onnx_runtime_within_the_bound(name):
    op, *inputs = EVERY[name]
    steps = (Step(op, tuple(Ref(-1, position) for position in range(len(inputs)))),)
    values = recompute(steps, inputs)
    bounds = allowances(steps, inputs, values, FLOAT32)
    assert len(values[-1]) == len(bounds) == op.output_count or op.output_count is None
    if name in NOT_IN_ONNX:
        with pytest.raises(Undescribed):
            crosscheck(steps, inputs, values)
        return
    observed = crosscheck(steps, inputs, values)
    for y, theirs, bound in zip(values[-1], observed, bounds, strict=True):
        assert y.size and y.shape == theirs.shape == bound.shape
        assert not np.isnan(bound).any() and np.isfinite(bound[np.isfinite(y)]).all()
        same = (theirs == y) | (np.isnan(theirs) & np.isnan(y))
        assert (same | (np.abs(np.where(same, 0, theirs.astype(np.float64) - y)) <= bound)).all()


DRAWN = r"-?\d+\.\d{4,}(e-\d+)?|level \S+|input \d( is sel|, sin).*|in(terv|d)\S+ \d.*|the key \d"
OF_ALL_DRAWN = (
    *("Attention", "AdditiveAttention"),
    *("AbsMaxQuantize", "DynamicQuantize", "DynamicQuantizeLinear"),
)
"""Whose words hold numbers that the draws decide throughout."""
FOREIGN_FACTORS = ("Fourier", "Resize", "GridSample", "Attention", "AdditiveAttention")
"""Whose factors belong to the operation: neither a weight's nor an input's."""
MOVES = (-40, -1e-3, 0.7, 90)
TOO_MANY = (
    *("LpPool", "SingularValues", "Det", "FractionalMaxPool", "ConvLSTM", "Chain", "Recomputed"),
    *("Constant", "Parameter", "NonMaxSuppression", "NonZero", "IsInf", "IsNaN", "MaskSteps"),
    *("Where", "Equal", "NotEqual", "AutoQuantizedBits", "Fourier", "Sparsemax"),
)
"""Of which elements are said to matter that do not, on these inputs or on any."""


def named(name):
    """The op with each weight under the name of its field, and its inputs."""
    op, *inputs = EVERY[name]
    weights = {field: replace(getattr(op, field), name=field) for field in weight_fields(op)}
    return replace(op, **weights), [np.asarray(x) for x in inputs]


def elements(shape, count=3):
    """Some of an array, by their places."""
    rng = np.random.default_rng(1)
    return [tuple(int(rng.integers(size)) for size in shape) for _ in range(count)]


def matters(op, inputs, y, at):
    """For each float input: of which elements the output's depends, as far as moves of each show
    it."""
    for position, x in enumerate(inputs):
        found = np.zeros(x.shape, bool)
        for place in np.ndindex(x.shape if x.dtype.kind == "f" else (0,)):
            for move in MOVES:
                changed = [array.copy() for array in inputs]
                changed[position][place] += move
                with np.errstate(all="ignore"):
                    other = op.run_float64(*changed)[0]
                same = other.shape == y.shape and np.isclose(
                    other[at], y[at], rtol=1e-11, atol=0, equal_nan=True
                )
                found[place] |= not same
        yield found if x.dtype.kind == "f" else None


@pytest.mark.parametrize("name", [name for name in EVERY if name not in (*CASES, "Unique")])
def test_what_an_input_may_be_off_is_allowed_for(name):
    """Each element by itself: of sums independent errors are."""
    op, inputs = named(name)
    outputs = op.run_float64(*inputs)
    slacks = [
        1e-3 * np.abs(np.where(np.isfinite(x), x, 0)) if x.dtype.kind == "f" else None
        for x in inputs
    ]
    bounds = op.error_bound(Evaluated(inputs, slacks, outputs), FLOAT32)
    for position, slack in enumerate(slacks):
        for place in np.ndindex(() if slack is None else slack.shape):
            for sign in (-1, 1) if slack is not None else ():
                changed = [array.copy() for array in inputs]
                changed[position][place] += sign * slack[place]
                for y, moved, bound in zip(outputs, op.run_float64(*changed), bounds, strict=True):
                    same = (moved == y) | (np.isnan(moved) & np.isnan(y))
                    far = np.abs(np.where(same, 0, moved.astype(np.float64) - y))
                    assert (far <= 1.000001 * bound).all()


@pytest.mark.parametrize("name", EVERY)
def test_operands_that_are_rounded_first_are_allowed_for(name):
    op, inputs = named(name)
    outputs = op.run_float64(*inputs)
    evaluated = Evaluated(inputs, (None,) * len(inputs), outputs)
    plain, cast = (
        op.error_bound(evaluated, replace(FLOAT32, casts=casts)) for casts in (False, True)
    )
    for bound, least in zip(cast, plain, strict=True):
        # those of recurrences are drawn at random
        share = 0.95 if isinstance(op, ops.Recurrence) else 0.999
        assert (bound >= share * least).all()
    exact = name in OF_INTEGERS
    if isinstance(op, ops.Sum | ops.Attention | ops.Recurrence) and not exact:
        assert (cast[0] > 1.02 * plain[0]).any()


def what_it_says_of_itself(op, inputs, y):
    """Its output's shape, samples that are apart, and elements by themselves."""
    assert op.output_shape([x.shape for x in inputs]) in (None, y.shape)
    with np.errstate(all="ignore"):
        if op.samplewise and len({(x.ndim, len(x)) for x in inputs}) == 1:
            for k in range(len(y)):
                (one, *_) = op.run_float64(*(x[k : k + 1] for x in inputs))
                np.testing.assert_allclose(one, y[k : k + 1], rtol=1e-12, atol=1e-12)
        if op.computes_elements:
            where = tuple(map(np.array, zip(*elements(y.shape), strict=True)))
            taken = [np.broadcast_to(x, y.shape)[where] for x in inputs]
            np.testing.assert_allclose(op.at(taken, where, y.shape), y[where], rtol=1e-12)
        if op.takes_any_float:
            narrow = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs]
            wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in narrow]
            for own, other in zip(op.run_float64(*narrow), op.run_float64(*wide), strict=True):
                assert own.dtype == other.dtype and np.array_equal(own, other, equal_nan=True)


def own_words(op, inputs, outputs, at):
    """How an element came about, but for what the op's class says of all of them."""
    of_class = " ".join(type(op).__doc__.partition("\n\n")[0].split()).rstrip(".")
    title, stages = op.title(inputs), op.contributions(inputs, outputs, at).stages
    words = dict.fromkeys([title, *(stage.words for stage in stages)])
    words.pop(f"{type(op).__name__}: {of_class}", None)
    drawn = r"-?\d+(\.\d+)?" if type(op).__name__ in OF_ALL_DRAWN else DRAWN
    return re.sub(drawn, "…", "; ".join(words))


@pytest.mark.parametrize("name", EVERY)
def test_an_element(name):
    """Its terms add up and stand where they say, it is told as words_of_every_op.txt has it, but
    for what the draws decide, and the inputs that it depends on are those that move it."""
    op, inputs = named(name)
    kind = type(op).__name__
    steps = (Step(op, tuple(Ref(-1, position) for position in range(len(inputs)))),)
    values = recompute(steps, inputs)
    weights = {key: w.effective for key, w in weights_of(steps).items()}
    y = values[-1][0]
    what_it_says_of_itself(op, inputs, y)
    first, *more = elements(y.shape)
    for at in (first, *more) if kind not in ("IsInf", "IsNaN") else ():
        told(steps, inputs, values, weights, at, foreign_factors=kind in FOREIGN_FACTORS)

    assert own_words(op, inputs, values[-1], first) == WORDS.get(name, "")

    mask = np.zeros(y.shape, bool)
    for flags in op.influence(mask, inputs):
        assert not flags.any()
    mask[first] = True
    reached = op.influence(mask, inputs)
    assert [flags.shape for flags in reached] == [x.shape for x in inputs]
    for flags, moving in zip(reached, matters(op, inputs, y, first), strict=True):
        if moving is not None:
            assert not (moving & ~flags).any()
            assert kind in TOO_MANY or not (flags & ~moving).any()


def all_words():
    """The lines of words_of_every_op.txt."""
    for name in EVERY:
        op, inputs = named(name)
        with np.errstate(all="ignore"):
            outputs = op.run_float64(*inputs)
            words = own_words(op, inputs, outputs, elements(outputs[0].shape)[0])
        if words:
            yield f"{name} | {words}"


def test_each_line_is_of_an_op():
    assert WORDS.keys() <= EVERY.keys()


if __name__ == "__main__":  # PYTHONPATH=tests/support python tests/ops/test_every_op.py
    FILE.write_text("\n".join(all_words()) + "\n", "utf-8")
