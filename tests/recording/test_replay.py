"""A recorded pass made again from other numbers: what follows from them is computed, all else stays
as it was recorded."""

import numpy as np
import pytest

from probe import Description, Step, ops
from probe.model import CallOutput, Capture, ModelInput
from probe.recording.replay import Replay, sources_of

X = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
FEW = X[:2, :2]


def capture(name, given, description, made_by=(), fixed=(), outputs=None):
    given = given if isinstance(given, tuple) else (given,)
    outputs = (2 * given[0],) if outputs is None else outputs
    steps = Description((Step(ops.Affine(2.0, 0.0)),)) if description else None
    return Capture(name, "Kind", 0, given, outputs, "float32", steps, made_by=made_by, fixed=fixed)


def test_where_inputs_come_from():
    """What made them, or the one array of more than 16 numbers that is the same."""
    first = capture("first", X, True)
    (y,) = first.outputs
    calls = [
        first,
        capture("by identity", (y, X, y.copy()), True),
        capture("made", (FEW, FEW), True, made_by=(CallOutput("first", 0, 0), ModelInput(1))),
        capture("unknown makers", FEW, True, made_by=(CallOutput("no call", 0, 0),)),
        capture("an input that is none", FEW, True, made_by=(ModelInput(9),)),
        capture("fixed", y, True, fixed=(0,)),
        capture("few numbers", FEW, True),
        capture("twice", X, True, outputs=(X,)),
        capture("of either", X, True),
    ]
    assert sources_of(calls, (X, FEW)) == [
        *(((-1, 0),), ((0, 0), (-1, 0), None), ((0, 0), (-1, 1)), (None,), (None,), (None,)),
        *((None,), ((-1, 0),), (None,)),
    ]


@pytest.fixture
def calls():
    first = capture("first", X, True)
    second = capture("second", first.outputs, True)
    opaque = capture("opaque", second.outputs, False)
    other = capture("other", X + 1, True)
    return [first, second, opaque, other]


def replayed(calls, x):
    replay = Replay(calls, sources_of(calls, (X,)), (X,))
    replay.begin((x,))
    return replay, [replay.call(place, call) for place, call in enumerate(calls)]


def test_another_input_is_followed(calls):
    x = X + np.float32(0.5)
    replay, (first, second, opaque, other) = replayed(calls, x)
    np.testing.assert_array_equal(first.inputs[0], x)
    np.testing.assert_array_equal(second.inputs[0], 2 * x)
    np.testing.assert_array_equal(second.outputs[0], 4 * x)
    np.testing.assert_array_equal(opaque.inputs[0], 4 * x)
    assert second.outputs[0].dtype == np.float32
    # what has no description, and what follows from something else, is as it was
    np.testing.assert_array_equal(opaque.outputs[0], 8 * X)
    assert other is calls[3]
    assert [replay.moves(place) for place in range(4)] == [True, True, True, False]


def test_the_recorded_input_moves_nothing(calls):
    replay, made = replayed(calls, X)
    assert all(call is held for call, held in zip(made, calls, strict=True))
    replay.replace(1, [np.zeros((4, 5))])
    assert [replay.moves(place) for place in range(4)] == [False, False, True, False]
    (given,) = replay.call(2, calls[2]).inputs
    assert not given.any() and given.dtype == np.float32
