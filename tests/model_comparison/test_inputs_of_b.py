"""How A's inputs are handed to B: in which orders of axes and types, the likeliest first."""

import numpy as np
import pytest
from chain_model import ChainModel

from probe import ops
from probe.description import Description, Step
from probe.errors import BadInput
from probe.model import InputSpec
from probe.model_comparison.inputs import AInputs, candidates

IMAGE = np.arange(2 * 5 * 6 * 3, dtype=np.float32).reshape(2, 5, 6, 3)


def model(*specs):
    inputs = tuple(InputSpec(name, shape, dtype) for name, shape, dtype in specs) or None
    return ChainModel({"relu": (np.abs, Description((Step(ops.Relu()),)))}, inputs)


def handed(b, arrays, x=None):
    names = [""] * len(arrays) if x is None else x
    a = AInputs(arrays if x is None else x, tuple(arrays), tuple(names))
    return [handed_on for ways in candidates(b, a) for handed_on in ways]


def test_the_channels_move_where_that_fits():
    (found,) = handed(model(("x", (None, 3, 5, 6), "float32")), [IMAGE])
    np.testing.assert_array_equal(found.arrays[0], IMAGE.transpose(0, 3, 1, 2))
    assert found.words == (f"input 0 of B is A's with the axes {found.pairs[0].way.text}",)
    (found,) = handed(model(("x", (2, None, None, 3), "float32")), [IMAGE])
    np.testing.assert_array_equal(found.arrays[0], IMAGE)
    assert found.words == ()
    every = handed(model(("x", (None, None, None, None), "float32")), [IMAGE])
    assert [array.arrays[0].shape for array in every] == [
        *((2, 5, 6, 3), (2, 3, 5, 6), (2, 6, 3, 5)),
    ]
    assert len(handed(model(), [IMAGE])) == 3
    assert len(handed(model(), [IMAGE.astype(np.int32)])) == 1


@pytest.mark.parametrize(
    ("kind", "wanted", "found"),
    [
        ("float32", "float64", "float64"),
        ("int64", "int32", "int32"),
        ("uint8", "int64", "int64"),
        ("int64", "float32", "int64"),
        ("float32", "int32", "float32"),
        ("bool", "int32", "bool"),
        ("float32", "string", "float32"),
    ],
)
def test_types(kind, wanted, found):
    x = np.ones((2, 3)).astype(kind)
    (candidate,) = handed(model(("x", (None, 3), wanted)), [x])
    assert candidate.arrays[0].dtype == found


def test_inputs_by_name():
    pair = model(("a", (None, 2), "float32"), ("b", (None, 3), "float32"))
    a, b = np.zeros((1, 2), np.float32), np.ones((1, 3), np.float32)
    (found,) = handed(pair, [b, a], {"b": b, "a": a})
    assert found.arrays == (a, b) and found.words == ()
    # by other names in A's order
    (found,) = handed(pair, [a, b], {"first": a, "second": b})
    assert [array.shape for array in found.arrays] == [(1, 2), (1, 3)]


def test_what_cannot_be_handed_on():
    with pytest.raises(BadInput, match=r"A is run on 1 inputs and B takes 2 \(a, b\): give B's"):
        handed(model(("a", (2,), "float32"), ("b", (2,), "float32")), [IMAGE])
    with pytest.raises(BadInput, match=r"A's input 1 has the shape \(2, 5, 6, 3\), which in no or"):
        handed(
            model(("a", (None, 3), "float32"), ("b", (None, 4, 5, 6), "float32")),
            [np.zeros((1, 3), np.float32), IMAGE.astype(complex)],
        )
