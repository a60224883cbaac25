"""Every op that is written gives what NumPy's own reading gives; those that are not have their
reason in a table."""

from dataclasses import replace

import numpy as np
import pytest
from hand_scripts import computation, unwritten, wrong
from op_cases import CASES
from own_seed import RNG

from probe import ops
from probe.by_hand.registry import _HOMES, LEFT_OUT, writer_of
from probe.by_hand.script import Computation, HandScript, NamedValue, Statement
from probe.by_hand.trial import holds

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
    ],
)
def test_ops_of_loops_over_boxes_windows_and_words(op, shapes):
    inputs = [RNG.normal(size=shape) for shape in shapes]
    if isinstance(op, ops.CountNgrams):
        inputs = [RNG.integers(0, 2, size=shape) for shape in shapes]
    made = computation(op, *inputs)
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
