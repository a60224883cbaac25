"""Arrays walked in pieces, brought to other dtypes, and compared bit for bit."""

import ml_dtypes
import numpy as np
import pytest

from probe.numerics.blocks import apart, blocks, places, rows_of, same_bits
from probe.numerics.dtypes import LARGEST, float_of, flushed, in_floats, overflown, widened

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
LAYOUTS = {
    "as it is": lambda x: x,
    "transposed": lambda x: x.transpose(2, 0, 1),
    "reversed": lambda x: x[:, ::-1],
    "every other": lambda x: x[:, ::2],
    "broadcast": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "one element": lambda x: x[:1, :1, :1],
}


@pytest.mark.parametrize("size", [1, 3, 7, 20, 60])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_element_is_in_one_piece_at_its_place(layout, size):
    x = LAYOUTS[layout](X)
    seen = np.zeros(x.shape, int)
    for (part, other), locate in blocks(x, x + 100, size=size):
        assert 0 < part.size <= max(size, 1) or size < 2
        np.testing.assert_array_equal(other, part + 100)
        for place, value in enumerate(part.ravel()):
            index = tuple(map(int, locate(place)))
            assert x[index] == value
            seen[index] += 1
        many = locate(np.arange(part.size))
        np.testing.assert_array_equal(x[many], part.ravel())
    assert (seen == 1).all()


@pytest.mark.parametrize("size", [1, 9, 21, 1 << 20])
@pytest.mark.parametrize("together", [(1,), (0, -1), (), (0, 1, 2)])
def test_a_function_of_some_axes_in_pieces(together, size):
    pieces = []

    def centred(x):
        pieces.append(x.size)
        return x - x.sum(axis=tuple(together), keepdims=True)

    found = apart(centred, X, together, size)
    np.testing.assert_array_equal(found, X - X.sum(axis=tuple(together), keepdims=True))
    kept = int(np.prod([X.shape[axis] for axis in together]))
    assert max(pieces) <= max(size, kept)
    assert sum(pieces) == X.size
    with pytest.raises(np.exceptions.AxisError):
        apart(centred, np.float32(1), (0,))


def test_the_same_bits():
    nan = np.array([np.nan, 0.0, 1.0], np.float32)
    assert same_bits(nan, nan.copy())
    other = nan.copy()
    other[1] = -0.0
    assert not same_bits(nan, other)
    assert not same_bits(nan, nan.astype(np.float64)) and not same_bits(nan, nan[:2])
    assert same_bits(X.transpose(2, 0, 1), X.transpose(2, 0, 1).copy())
    long = np.zeros(3, np.longdouble)
    assert not same_bits(long, long)


def test_places():
    flat = np.array([0, 7, 59])
    for own, numpys in zip(places(flat, X.shape), np.unravel_index(flat, X.shape), strict=True):
        np.testing.assert_array_equal(own, numpys)
    assert places(0, ()) == ()
    np.testing.assert_array_equal(rows_of((np.array([1, 2]), 5), 2), [[1, 5], [2, 5]])
    assert rows_of((), 3).shape == (3, 0)


@pytest.mark.parametrize("dtype", LARGEST)
def test_beyond_the_largest_number_is_infinity(dtype):
    """As the dtype itself rounds."""
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    limit = LARGEST[dtype]
    x = np.array([limit, -limit, limit * (1 - 2.0**-22), 1.0, np.nan])
    with np.errstate(over="ignore"):
        rounded = x.astype(kind).astype(np.float64)
    np.testing.assert_array_equal(np.isinf(rounded), [True, True, False, False, False])
    (found,) = overflown([x], dtype)
    np.testing.assert_array_equal(found, [np.inf, -np.inf, x[2], 1, np.nan])
    small = [np.ones(3), np.zeros((0,)), np.arange(3), np.full(2, np.inf, np.float16)]
    for array, same in zip(small, overflown(small, dtype), strict=True):
        assert same is array
    (found,) = overflown([np.full((2, 3), -limit)[:, ::2]], dtype)
    assert (found == -np.inf).all()
    assert overflown([x], "float64")[0] is x


def test_floats():
    whole, real, truth = np.arange(3), np.ones(3, np.float16), np.array([True, False])
    found = in_floats([whole, real, truth], [np.ones(2)])
    assert [x.dtype for x in found] == [np.float64, np.float16, np.float64]
    for outputs in ([], [np.ones(2), whole]):
        assert [x.dtype for x in in_floats([whole], outputs)] == [whole.dtype]
    assert float_of(real) == np.float64 and float_of(whole) == whole.dtype
    assert widened(real).dtype == np.float64 and widened(whole) is whole
    np.testing.assert_array_equal(
        flushed(np.array([1e-3, -1e-3, 2e-3, -1.0]), 2e-3), [0, -0.0, 2e-3, -1]
    )
    assert np.signbit(flushed(np.array([-1e-3]), 2e-3))[0]
    assert flushed(whole, 9) is whole and flushed(real, 0) is real
