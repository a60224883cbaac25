"""What the builder of steps gives for each of its methods: NumPy's values, in the shape it says."""

from types import SimpleNamespace

import numpy as np
import pytest
from probe.adapters.keras.describe.call import KerasCall
from probe.adapters.keras.describe.op_builder import OpBuilder, as_list

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed
from probe.evaluation.numpy_reference import recompute

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7
PLACES = np.array([[2, 0], [1, -1]])
MASK = np.array([True, False, True])
WHOLE = np.array([[3, 0, -2]], np.int32)
FIRST, AT, TRUE, INTEGERS = (Ref(-1, place) for place in range(4))
OF_X = {
    "reshape": (lambda b: b.reshape(FIRST, (4, -1)), X.reshape(4, -1)),
    "reshape to known sizes": (lambda b: b.reshape(FIRST, (3, 8)), X.reshape(3, 8)),
    "transpose": (lambda b: b.transpose(FIRST, None), X.T),
    "transpose by axes": (lambda b: b.transpose(FIRST, (1, -1, 0)), X.transpose(1, 2, 0)),
    "expand_dims": (lambda b: b.expand_dims(FIRST, -1), X[..., None]),
    "expand_dims twice": (lambda b: b.expand_dims(FIRST, (0, 2)), X[None, :, None]),
    "squeeze": (lambda b: b.squeeze(b.reshape(FIRST, (1, 24, 1)), None), X.reshape(24)),
    "squeeze one": (lambda b: b.squeeze(b.reshape(FIRST, (1, 24, 1)), -1), X.reshape(1, 24)),
    "concat": (lambda b: b.concat([FIRST, FIRST], -2), np.concatenate([X, X], 1)),
    "stack": (lambda b: b.stack([FIRST, FIRST], 1), np.stack([X, X], 1)),
    "stack behind": (lambda b: b.stack([FIRST, FIRST], -1), np.stack([X, X], -1)),
    "part": (lambda b: b.part(FIRST, 1, 1, 3), X[:, 1:3]),
    "part to its end": (lambda b: b.part(FIRST, 2, 0, -1, 2), X[:, :, ::2]),
    "getitem": (lambda b: b.getitem(FIRST, (0, ..., slice(None, None, -1))), X[0, ..., ::-1]),
    "getitem at its end": (lambda b: b.getitem(FIRST, (None, 1, -3)), X[None, 1, -3]),
    "getitem by places": (lambda b: b.getitem(FIRST, (slice(1), AT)), X[:1, PLACES]),
    "take": (lambda b: b.take(FIRST, AT, 1), X.take(PLACES, 1)),
    "take of all": (lambda b: b.take(FIRST, AT, None), X.take(PLACES)),
    "picked": (lambda b: b.picked(FIRST, np.array([[5, -1], [0, 23]])), [[-2, 0], [-7, 16]]),
    "picked without gaps": (lambda b: b.picked(FIRST, np.array([23, 1])), [16, -6]),
    "product": (lambda b: b.product(FIRST, b.ref(X[0].T)), X @ X[0].T),
    "product of rows": (lambda b: b.product(FIRST, b.transpose(FIRST, (0, 2, 1))), X @ X.mT),
    "product by a line": (lambda b: b.product(FIRST, b.ref(X[0, 0])), X @ X[0, 0]),
    "expand": (lambda b: b.expand(b.ref(X[:1]), X.shape), np.broadcast_to(X[:1], X.shape)),
    "like": (lambda b: b.like(FIRST, 2.5), np.full(X.shape, 2.5)),
    "truth": (lambda b: b.truth(INTEGERS), WHOLE.astype(bool)),
    "truth of truths": (lambda b: b.truth(TRUE), MASK),
    "told": (lambda b: b.told(FIRST, X.shape), X),
    "early number": (lambda b: b.pair(FIRST, 0.1, early=True)[1], np.float32(0.1)),
    "number": (lambda b: b.pair(FIRST, 0.1)[1], 0.1),
    "integers beside floats": (lambda b: b.pair(INTEGERS, FIRST)[0], WHOLE.astype(float)),
    "integer number": (lambda b: b.pair(INTEGERS, 5)[1], np.int32(5)),
    "shaped": (lambda b: b.ref(b.shaped([[1, 2], [3, 4]])), [[1, 2], [3, 4]]),
}


def builder():
    keras = SimpleNamespace(__name__="tf_keras")
    return OpBuilder(KerasCall(None, keras, (X, PLACES, MASK, WHOLE), "float32"))


def value(build, ref):
    """What the steps give, which has the shape that the builder goes on with."""
    inputs = build.call.inputs
    found = inputs[ref.index] if ref.step < 0 else recompute(build.steps, inputs)[ref.step][0]
    assert build.shape(ref) == found.shape
    return found


@pytest.mark.parametrize("name", OF_X)
def test_values(name):
    of_x, expected = OF_X[name]
    build = builder()
    found = value(build, of_x(build))
    assert found.shape == np.shape(expected)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("parts", "axis", "stops"),
    [(2, -1, [2]), ((1, -1), 2, [1, 3]), ([1, -1], 1, [1]), ([1, 1, 1], 1, [1, 2])],
)
def test_split(parts, axis, stops):
    build = builder()
    found = [value(build, ref) for ref in build.split(FIRST, parts, axis)]
    for own, part in zip(found, np.split(X, stops, axis), strict=True):
        np.testing.assert_array_equal(own, part)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axis", [None, 1, (-1, 0), ()])
def test_reductions(axis, keep):
    build = builder()
    found = value(build, build.reduce(ops.ReduceSum, FIRST, axis, keep))
    np.testing.assert_array_equal(found, X.sum(axis, keepdims=keep))


def test_sizes():
    build = builder()
    assert build.ints([2, AT, np.int64(-1)]) == [2, 2, 0, 1, -1, -1]
    assert build.ints(INTEGERS) == [3, 0, -2] and build.ints(np.array(4)) == [4]
    assert build.axes(FIRST, None) == (0, 1, 2) and build.axes(FIRST, (-1, 0)) == (0, 2)
    assert [build.dtype(ref).kind for ref in (FIRST, AT, TRUE)] == ["f", "i", "b"]
    assert build.dtype(build.transpose(INTEGERS, None)) == np.float64
    assert as_list((1, 2)) == [1, 2] and as_list("ab") == ["ab"]


@pytest.mark.parametrize(
    ("reason", "asked"),
    [
        ("incompatible shapes", lambda b: b.add(ops.Add(), FIRST, b.ref(X[0].T))),
        ("slice of the input is empty", lambda b: b.getitem(FIRST, slice(2, 2))),
        ("beyond its number of axes", lambda b: b.getitem(FIRST, 2)),
        ("indexing by a boolean mask", lambda b: b.take(FIRST, TRUE, 1)),
        ("indexing by several tensors", lambda b: b.getitem(FIRST, (AT, AT))),
        ("indexing by several tensors", lambda b: b.getitem(FIRST, (None, AT))),
        ("indexing by str", lambda b: b.getitem(FIRST, "x")),
        ("indexing by bool", lambda b: b.getitem(FIRST, True)),
        ("slicing at computed positions", lambda b: b.getitem(FIRST, slice(AT, None))),
        ("it was called with a str, not a number", lambda b: b.ref("x")),
    ],
)
def test_refusals(reason, asked):
    with pytest.raises(Undescribed, match=reason):
        asked(builder())
