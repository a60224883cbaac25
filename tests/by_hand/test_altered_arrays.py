"""An array that a mistake makes of one of the layer's is an expression of that, which gives it."""

import numpy as np
import pytest
from own_seed import RNG

from probe.by_hand.altered import expressed
from probe.by_hand.altered_elements import pattern
from probe.by_hand.values import Value


@pytest.mark.parametrize(
    "altered, text",
    [
        (lambda x: x.reshape(2, 3, 4, 2).swapaxes(1, 2).reshape(2, 24), None),
        (lambda x: np.repeat(x[:, :12], 2, axis=1), "np.repeat(x[:, :12], 2, axis=1)"),
        (
            lambda x: np.concatenate([x[:, :12]] * 2, axis=1),
            "np.concatenate([x[:, 0:12], x[:, 0:12]], axis=1)",
        ),
        (lambda x: np.pad(x[:, :-1], ((0, 0), (1, 0))), "np.pad(x[:, :-1], [(0, 0), (1, 0)])"),
        (lambda x: np.cumsum(x, axis=1), "np.cumsum(x, axis=1)"),
        (lambda x: x**2, "x ** 2"),
        (lambda x: x * np.array([2.0, 0.5])[:, None], "x * np.array([2, 0.5])[:, None]"),
        (lambda x: np.tri(*x.shape), "np.tri(2, 24)"),
        (lambda x: x % 256, "x % 256"),
        (
            lambda x: np.roll(x, 12, axis=1),
            "np.concatenate([x[:, 12:], x[:, :12]], axis=1)",
        ),
        (lambda x: np.roll(x, -1, axis=1), "np.roll(x, -1, axis=1)"),
        (lambda x: np.roll(x, 1, axis=1), "np.roll(x, 1, axis=1)"),
        (lambda x: 0 * x, "np.zeros_like(x)"),
        (lambda x: 0 * x + 1, "np.ones_like(x)"),
        (lambda x: 0 * x + 3, "np.full_like(x, 3)"),
        (lambda x: np.repeat(x[:, :1], 24, axis=1), "np.repeat(x[:, 0:1], 24, axis=1)"),
    ],
)
def test_what_was_made_of_an_array_is_an_expression(altered, text):
    x = np.rint(1000 * RNG.normal(size=(2, 24)))
    made = expressed(Value("x", x.shape), x, altered(x))
    assert made is not None and np.allclose(eval(made.text, {"np": np, "x": x}), altered(x))
    assert text is None or made.text == text


@pytest.mark.parametrize(
    "array, text",
    [
        (np.tri(4, 6, 1), "np.tri(4, 6, 1)"),
        (np.tri(5, 5) - np.tri(5, 5, -2), "(np.tri(5, 5) - np.tri(5, 5, -2))"),
        (
            np.tri(5, 5, dtype=bool) & ~np.tri(5, 5, -2, dtype=bool),
            "(np.tri(5, 5, dtype=bool) & ~np.tri(5, 5, -2, dtype=bool))",
        ),
        (
            np.where(np.tri(4, 4, 1) - np.tri(4, 4, -2), 0, -9.0)[None],
            "np.broadcast_to(np.where(np.tri(4, 4, 1) - np.tri(4, 4, -2), 0, -9), (1, 4, 4))",
        ),
        (np.arange(16.0).reshape(4, 4), None),
        (np.array([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]), None),
        (np.stack([np.tri(3, 3), np.tri(3, 3, 1)]), None),
    ],
)
def test_a_band_along_the_diagonal_is_written_as_one(array, text):
    found = pattern(array)
    if text is None:
        assert found is None
    else:
        assert found.text == text
        assert np.array_equal(eval(found.text, {"np": np}), array)


def test_what_is_scaled_is_not_looked_for_among_what_is_moved(monkeypatch):
    monkeypatch.setattr(np, "roll", None)  # of a large array each takes long
    x = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    value = Value("x", x.shape)
    assert expressed(value, x, x / 255).text == "x / 255"
    assert expressed(value, x, x[[1, 1, 0]]).text == "np.take(x, [1, 1, 0], axis=0)"
