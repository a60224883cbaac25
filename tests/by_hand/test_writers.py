"""Every op that is written gives what NumPy's own reading gives; those that are not have their
reason in a table."""

from dataclasses import replace

import numpy as np
import pytest
from hand_scripts import computation, unwritten, wrong
from op_cases import CASES, weight
from own_seed import RNG

from probe import ops
from probe.by_hand.registry import _HOMES, LEFT_OUT, writer_of
from probe.by_hand.script import Computation, HandScript, NamedValue, Statement
from probe.by_hand.trial import holds, tried
from probe.errors import BadInput
from probe.ops.quantize.dynamic import FLOAT8_TYPES
from probe.ops.step import Ref, Step

WRITTEN = {name: case for name, case in CASES.items() if type(case[0]).__name__ in _HOMES}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_op_is_written_as_numpy_computes_it(name):
    op, *inputs = WRITTEN[name]
    made = computation(op, *inputs)
    assert not unwritten(made)
    assert not wrong(made)


@pytest.mark.parametrize(
    "op, shapes",
    [
        (ops.NonMaxSuppression(3, 0.4, 0.2, True), [(2, 20, 4), (2, 3, 20)]),
        (ops.NonMaxSuppression(9, 0.1), [(1, 9, 4), (1, 1, 9)]),
        (ops.AdaptiveMaxPoolIndices((3, 2)), [(2, 3, 7, 5)]),
        (
            ops.FractionalMaxPool((2, 3), (np.tile([0, 2, 5], (2, 3, 1)), np.tile(1, (2, 3, 1)))),
            [(2, 3, 7, 4)],
        ),
        (
            ops.CountNgrams(((1,), (0, 1)), (0, 2), 1, 2, 2, "TFIDF", (0.5, 2.0)),
            [(2, 9)],
        ),
        (ops.CountNgrams(((1,), (0, 1)), (1, 0), 1, 2, 0, "IDF"), [(9,)]),
        (  # the last output lies where no element is in reach
            ops.Resize((5,), (1.0,), "cubic", "lines", outside="excluded", lines=((1.8, 2.7),)),
            [(2, 3, 8)],
        ),
    ],
)
def test_ops_of_loops_over_boxes_windows_and_words(op, shapes):
    inputs = [RNG.normal(size=shape) for shape in shapes]
    if isinstance(op, ops.CountNgrams):
        inputs = [RNG.integers(0, 2, size=shape) for shape in shapes]
    made = computation(op, *inputs)
    assert not unwritten(made)
    assert not wrong(made)


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("kind", ["uint64", "int64", "int8", "uint8"])
def test_the_highest_bits_are_moved(kind, left):
    most, by = np.iinfo(kind).max, np.array([0, 1, 3, 70], kind)
    x = np.array([most, most - 1, most // 3, most], kind)
    made = computation(ops.BitShift(left, kind), x, by)
    assert not unwritten(made)
    assert not wrong(made)


def test_many_groups_of_words_are_not_written():
    grams = tuple((k, k + 1) for k in range(30))
    op = ops.CountNgrams(grams, tuple(range(30)), 1, 2, 0)
    assert unwritten(computation(op, np.ones((2, 9), int))) == ["counts many groups of words"]


def test_each_writer_is_of_an_op_and_found():
    for name in _HOMES:
        assert writer_of(object.__new__(getattr(ops, name)))
    assert not set(LEFT_OUT) & set(_HOMES)


def test_a_class_that_derives_from_an_op_is_not_written_as_that():
    class Odd(ops.Relu):
        def f(self, x):
            return np.minimum(x, 0)

    assert unwritten(computation(Odd(), np.ones((2, 3)))) == ["Odd is not written here"]


def test_a_statement_of_another_rank_does_not_hold():
    computation = Computation((), (), ((np.zeros((2, 3)),),))
    named = (NamedValue("y", 0, 0, (1, 0)),)
    statement = Statement(("y = np.zeros((1, 3, 2))",), step=0, named=named)
    script = HandScript((), (statement,), {}, frozenset(), ("y",))
    assert not holds(computation, script)
    statement = replace(statement, lines=("y = np.zeros((3, 2))",))
    assert holds(computation, replace(script, statements=(statement,)))


KINDS, WAYS = sorted(FLOAT8_TYPES), ("division", "reciprocal", "wide division")
CODES = np.array([[[-128, 127, 5], [64, -3, 127]], [[0, -77, 31], [127, 126, -128]]], np.int8)
SUMS = np.array([[-70000, 12345, 3], [2**20, -(2**20), -3], [0, 77, -129]])
MULTIPLIERS = np.array([[1518500250], [1 << 30], [2**31 - 1]])
SHIFTS = np.array([[-8], [0], [2]])


@pytest.mark.parametrize(
    "op, x",
    [
        (ops.SubtractZeroPoint(-3), CODES),
        (ops.IntegerMatMul(weight(CODES[0].T[:, :2]), weight(np.array([5, -9], np.int32))), CODES),
        (ops.IntegerConv(weight(CODES), None, (1,), ((1, 1),), (1,)), CODES),
        (ops.IntegerConvTranspose(weight(CODES), None, (2,), ((0, 0),), (1,)), CODES),
        *(
            (ops.Requantize(MULTIPLIERS, SHIFTS, np.full((3, 1), 0.01), 4, -128, 127, way), SUMS)
            for way in ("double", "up", "single", "reduced", "fp32")
        ),
        (ops.DivideRounded(np.asarray(9)), SUMS),
        (ops.ScaleInFloat32(0.003, 1.25, -128, 127), SUMS),
        (ops.ScaleInFloat32(2.0**-7, 0.5, -128, 127, -4, "away"), SUMS),
        *((ops.QuantizeFloat(0.1, 3, -128, 127, "away", by), SUMS * 0.05) for by in WAYS),
        *(
            (ops.Float8(0.25, kind, saturates), SUMS * 0.07)
            for kind in KINDS
            for saturates in (0, 1)
        ),
    ],
)
def test_codes_and_floats_of_eight_bits(op, x):
    made = computation(op, x)
    assert not unwritten(made)
    assert not wrong(made)


def test_multipliers_of_channels_that_lie_last():
    op = ops.Requantize(MULTIPLIERS, SHIFTS, np.full((3, 1), 0.01), 4, -128, 127)
    steps = (
        Step(ops.Transpose((1, 0)), (Ref(-1),)),
        Step(op, (Ref(0),)),
        Step(ops.Transpose((1, 0)), (Ref(1),)),
    )
    assert not wrong(computation(steps, SUMS.T))


def test_ties_that_float32_decides():
    size, zero = np.float32(0.1), np.float32(0)
    x = (np.arange(-40, 40) + 0.5).astype(np.float32) * size
    for op in (
        ops.IntQuantize(size, zero, -128, 127),
        ops.FloatQuantize(size, 2, -16, -448.0, 448.0),
    ):
        assert not wrong(computation(op, x))


def test_a_layer_whose_own_floats_overflow_is_refused_with_that():
    op = (Step(ops.Exp(), (Ref(-1),)),)
    made = Computation(op, [np.array([1.0, 12.0])], ((np.array([np.e, np.inf]),),))
    with pytest.raises(BadInput, match="the layer's own type of floats overflows"):
        tried(made)
