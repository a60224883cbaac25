"""What a user gives, in the forms that it comes in: which arrays a model is run on, what a value is
held against, and what is refused in which words."""

import re
from dataclasses import replace

import numpy as np
import pytest
from chain_model import ChainModel

from probe import ops
from probe.capture.model_inputs import bind, bind_alone, draw, given_words, index_of, part_of
from probe.capture.question import question_of
from probe.capture.user_arrays import (
    InputArgument,
    Partial,
    Unshaped,
    as_array,
    as_arrays,
    as_outputs,
    part_at,
)
from probe.capture.user_layer_outputs import Theirs, check_names, of_layer
from probe.description import Description, Step
from probe.errors import BadInput, NotCompared, UnknownLayer
from probe.model import CallOutput, Capture, InputSpec

X = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
PAIR = InputSpec("a", (None, 3)), InputSpec("b", (2, 4))
OPEN = (InputSpec("a", (None, 3, None)),)


ONE = (InputSpec("x", (None, 3)),)


def model(inputs=ONE, function=lambda x: np.maximum(x, 0)):
    relu = function, Description((Step(ops.Relu()),))
    return ChainModel({"first": relu, "second": relu}, inputs)


def numbers(count, slack=0.0):
    return Unshaped(np.arange(count, dtype=float), "values.txt", slack)


def spread(values, text, shape, slack=0.0):
    values = np.asarray(values, float)
    return part_at(Unshaped(values, slack=slack), part_of(text)).spread(shape)


def test_an_index_for_each_axis():
    assert part_of("0, -1,1:3,:") == (0, -1, slice(1, 3), slice(None))
    assert part_of((0, slice(1, None))) == (0, slice(1, None, None)) and part_of(3) == (3,)
    assert index_of(np.int8(-2)) == -2


def test_a_part_in_its_place():
    found = spread([[1, 2], [3, 4]], "1,:2,1:3", (2, 3, 4), [[0.5, 0.0], [0.0, 0.25]])
    assert found.read == "" and found.known.sum() == 4
    np.testing.assert_array_equal(found.values[1, :2, 1:3], [[1, 2], [3, 4]])
    assert np.isnan(found.values[~found.known]).all() and found.known[1, :2, 1:3].all()
    np.testing.assert_array_equal(found.slack[1, :2, 1:3], [[0.5, 0], [0, 0.25]])
    assert found.slack.sum() == 0.75
    flat = spread([1, 2, 3, 4], "1,:2,1:3", (2, 3, 4))
    np.testing.assert_array_equal(flat.values, found.values)
    assert flat.read == "your 4 values are read in row-major (C) order as (2, 2)"
    assert spread([[[1], [2]]], "0,0,:2", (2, 3, 4)).read == ""
    np.testing.assert_array_equal(part_at(X[0], (1,)).spread((4, 3)).values[1], X[0])


def test_values_of_several_outputs():
    first, second = as_outputs([None, X], 2)
    assert first is None and second is X
    first, *rest = as_outputs(X.tolist(), 3)
    np.testing.assert_array_equal(first, X)
    assert rest == [None, None]
    np.testing.assert_array_equal(as_outputs(numbers(3), 1)[0], [0, 1, 2])
    assert [array.shape for array in as_arrays([X, 2])] == [(4, 3), ()]
    assert as_array(np.longdouble(1)).dtype == np.float64


def test_the_arrays_of_a_model():
    """By name, in order, or read as the model declares."""
    (found,), how = bind(model(), X)[1:]
    assert found is X and how == "given"
    pair = {"b": X[:2], "a": X}
    assert [array.shape for array in bind(model(PAIR), pair).arrays] == [(4, 3), (2, 3)]
    assert [array.shape for array in bind(model(PAIR), [X, X[:1]]).arrays] == [(4, 3), (1, 3)]
    assert bind(model(None), {"any": X}).arrays[0] is X
    assert bind(model(), X.tolist()).arrays[0].shape == (4, 3)
    (found,), how = bind(model(), numbers(6))[1:]
    np.testing.assert_array_equal(found, np.arange(6).reshape(2, 3))
    assert how == "values.txt, 6 numbers reshaped to (2, 3) in row-major order"
    assert bind(model(), numbers(6), shape=(-1, 2)).arrays[0].shape == (3, 2)
    assert bind(model(None), numbers(6)).how == "values.txt, read as (6,)"
    rows = Unshaped(X.astype(float), "rows.txt")
    assert bind(model(), rows).how == "rows.txt, read as (4, 3)"
    assert bind_alone(model(), "first", {"q": X, "r": X}).arrays == (X, X)
    alone = bind_alone(model(), "first", numbers(6), (2, 3))
    assert alone.how.startswith("the layer's own input, given by you: values.txt, 6 numbers resh")


def test_what_is_said_of_values_that_are_no_numbers():
    holed = np.array([1, np.nan, np.inf, -np.inf], np.float32)
    assert given_words((holed, X)) == "given; it contains 1 NaN and 2 infinite among 16 values"
    assert given_words((holed[:2],), "read") == "read; it contains 1 NaN among 2 values"
    assert given_words((X, np.array([1]))) == "given"


def test_what_is_drawn():
    (found,), how = draw(model(), seed=3)
    assert found.shape == (2, 3) and found.dtype == np.float32 and found.min() < 0 < found.max()
    assert how == "random, seed 3, shape (2, 3)"
    (other,), _ = draw(model(), seed=4)
    assert not np.array_equal(found, other)
    kinds = {"int32": (0, 1), "uint8": (0, 255), "bool": (0, 1), "bfloat16": (-9, 9)}
    for kind, (low, high) in kinds.items():
        (found,), _ = draw(model((InputSpec("x", (50, 3), kind),)))
        assert found.dtype == ("float32" if kind == "bfloat16" else kind)
        assert low <= found.min() < found.max() <= high
    (found,), _ = draw(model((InputSpec("x", (50,), "float32", 7),)))
    assert found.max() == 6 and found.min() == 0 and found.dtype == np.float32
    assert draw(model(None), (3, 2))[0][0].shape == (3, 2)
    bounded = replace(model(None), input_index_bound=5)
    first, second = draw(bounded, [(40,), (2, 2)])[0]
    assert first.dtype == np.int64 and first.max() == 4 and second.dtype == np.float32

    def only_of_64(x):
        if x.shape[2] != 64:
            raise ValueError("not that size")
        return x

    (found,), how = draw(model(OPEN, only_of_64))
    assert found.shape == (2, 3, 64)
    assert how.endswith("shape (2, 3, 64) (sizes that the model leaves open were found by trying)")


def capture(layer="first", call=0, outputs=(X,), made_by=()):
    return Capture(layer, "Relu", call, (X,), outputs, "float32", made_by=made_by)


def test_what_a_user_s_own_run_gave_a_layer():
    """The values of a call are the inputs of those behind it, by the call that made them or by what
    the framework has in their place."""
    mine = X + 1
    theirs = Theirs([2 * X], {"first": mine})
    assert theirs.of(capture()) is mine and theirs.of(capture(call=1)) is None
    assert theirs.of(capture("second")) is None
    assert theirs.inputs_of(capture("second")) is None
    theirs.remember(capture(outputs=(X,)))
    (found,) = theirs.inputs_of(capture("second"))
    np.testing.assert_array_equal(found, mine)
    assert theirs.used == {"first"}
    made = capture("second", made_by=(CallOutput("first", 0, 0),))
    np.testing.assert_array_equal(theirs.inputs_of(made)[0], mine)
    assert Theirs([X], {}).inputs_of(capture()) is None
    np.testing.assert_array_equal(Theirs([X], {"first": mine}).inputs_of(capture())[0], X)
    of_alias = Theirs([], {"other": mine})
    assert of_alias.name_of(replace(capture(), alias="other")) == "other"


def test_values_that_no_report_used():
    theirs = Theirs([], {"first": X, "nowhere": X, "second": X})
    theirs.refused("second", "it is no array")
    with pytest.raises(NotCompared) as raised:
        theirs.close(model(), (X,))
    text = str(raised.value)
    assert "nowhere" in text and "the forward pass made no call of this name" in text
    assert "second" in text and "it is no array" in text
    assert "a sweep checks it under another name or as part of another layer" in text
    Theirs([], {}).close(model(), (X,))


REFUSED = {
    "an index must be an integer such as 0 or -1; you gave 0.5": lambda: index_of(0.5),
    "an index must be an integer such as 0 or -1; you gave True": lambda: part_of((0, True)),
    "'0,,1' is not an index or slice per axis such as 0,0:3,:,2": lambda: part_of("0,,1"),
    "'::2' is not an index": lambda: part_of("::2"),
    "the output has the shape (2, 3), so it has no element 2,0": lambda: spread(1, "2,0", (2, 3)),
    "1:1,0:2 selects no element of the output of shape (2, 3)": lambda: spread(
        1, "1:1,0:2", (2, 3)
    ),
    "0,: selects an array of shape (3,) from the output of shape (2, 3); you gave values of shape "
    "(2,): give 3 values, in that shape or flat": lambda: spread([1, 2], "0,:", (2, 3)),
    "you gave values of shape (3, 2): transpose or reshape them to (2, 3)": lambda: spread(
        np.zeros((3, 2)), ":,:", (2, 3)
    ),
    "the layer has 2 outputs; you gave 1 (use None to skip one)": lambda: as_outputs([X], 2),
    "expected is None for every output: there is nothing to compare": lambda: as_outputs(
        [None, None], 2
    ),
    "expected values must be numbers; load them from 'a.npy' first": lambda: as_outputs("a.npy", 1),
    "expected values must be numbers; you gave an array of dtype object": lambda: as_outputs({}, 1),
    "an input must not be a masked array with masked values (1 of 3 are masked)": lambda: as_array(
        np.ma.masked_array([1, 2, 3], [0, 1, 0])
    ),
    "an input cannot be converted to an array": lambda: as_array([[1], [1, 2]]),
    "expected_at says which part of the output expected is: give expected": lambda: question_of(
        "first", expected_at="0"
    ),
    "specify both rtol and atol, or neither": lambda: question_of("first", rtol=1e-3),
    "atol must be a finite number >= 0, such as 1e-5; you gave -1": lambda: question_of(
        "first", rtol=0, atol=-1
    ),
    "rtol must be a finite number >= 0, such as 1e-5; you gave inf": lambda: question_of(
        "first", rtol=np.inf, atol=0
    ),
    "expected has values of a, b, but none for the layer 'first'": lambda: of_layer(
        "first", {"a": X, "b": X}
    ),
    "expected has values of no layer, but none": lambda: of_layer("first", {}),
    "expected must map layer names to their outputs; you gave list": lambda: check_names(
        model(), [X]
    ),
    "expected is empty: leave it out": lambda: check_names(model(), {}),
    'the names of layers must be text ("" for a single layer); you gave int': lambda: check_names(
        model(), {1: X}
    ),
    "runs this model on arrays alone; you gave the argument scale (--arg)": lambda: bind(
        model(), InputArgument(X, {"scale": 2})
    ),
    "only a PyTorch module takes arguments such as scale": lambda: bind_alone(
        model(), "first", InputArgument(X, {"scale": 2})
    ),
    "a text can only be the input of a Hugging Face directory": lambda: bind(model(), "text"),
    "values.txt is one input, and the model takes 2 (a, b): give an .npz": lambda: bind(
        model(PAIR), numbers(3)
    ),
    "values.txt contains 7 numbers, which do not fill the shape (?, 3), 3 for each": lambda: bind(
        model(), numbers(7)
    ),
    "values.txt contains 6 numbers, and the model's input (?, 3, ?) leaves several sizes open": (
        lambda: bind(model(OPEN), numbers(6))
    ),
    "values.txt contains 6 numbers, which do not fill the shape (4, 2)": lambda: bind(
        model(), numbers(6), (4, 2)
    ),
    "this model's inputs have no names; give the 2 arrays as a list": lambda: bind(
        model(None), {"a": X, "b": X}
    ),
    "the model's inputs are named a, b; you gave a": lambda: bind(model(PAIR), {"a": X}),
    "the model's inputs are named x; you gave none": lambda: bind(model(), {}),
    "the model takes 2 inputs (a, b); you gave 1": lambda: bind(model(PAIR), [X]),
    "an input must hold real numbers; you gave an array of dtype complex64": lambda: bind(
        model(), X.astype(np.complex64)
    ),
    "seed must be an integer >= 0; you gave -1": lambda: draw(model(), seed=-1),
    "the model does not declare its input shape; give an input (--input x.npy)": lambda: draw(
        model(None)
    ),
    "the model does not declare its input shape (a hint); give": lambda: draw(
        replace(model(None), input_hint="a hint")
    ),
    "the model takes 2 inputs (a, b); you gave 1 shapes": lambda: draw(model(PAIR), (2, 3)),
    "or one for each input; you gave '2,3'": lambda: draw(model(PAIR), "2,3"),
    "random values of dtype string cannot be drawn for the input 'x'": lambda: draw(
        model((InputSpec("x", (2,), "string"),))
    ),
    "no random input can be drawn for 'x', whose shape is (?, -1)": lambda: draw(
        model((InputSpec("x", (None, -1)),))
    ),
    "the shape (?, 134217729) of the input 'x' exceeds the limit for random inputs (134,217,728 "
    "values, 32 axes)": lambda: draw(model((InputSpec("x", (None, (1 << 27) + 1)),))),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_refused(sentence):
    with pytest.raises(BadInput, match=re.escape(sentence)):
        REFUSED[sentence]()


def test_other_refusals():
    with pytest.raises(UnknownLayer, match="third"):
        check_names(model(), {"first": X, "third": X})
    check_names(model(), {"first": X, "second": X})
    assert of_layer("first", X) == (X, {})

    def never(x):
        raise ValueError("too small")

    with pytest.raises(BadInput, match=r"accepted none of the input shapes tried.* too small"):
        draw(model(OPEN, never))
    assert isinstance(question_of("first", X, X, expected_at="0").expected, Partial)
