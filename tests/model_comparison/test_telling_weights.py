"""Which weights tell a node from others: none whose rows are one number, whatever its size."""

from types import SimpleNamespace

import numpy as np
import pytest

from probe import ops
from probe.model_comparison.graphs.weights import telling
from probe.ops.weight import Weight


def node(rows):
    weight = Weight("w", None, np.asarray(rows, np.float64).T)
    return SimpleNamespace(op=ops.MatMul(weight, None), inputs=[object()])


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_rows_of_one_number_tell_nothing(size, rng):
    """As it was rounded; and a row that varies by more than that does."""
    varied = 1 + np.array([0.0, 1e-7, 2e-7, 0.0, 1e-7])
    assert not telling(node([size * varied] * 2))
    assert telling(node([size * varied, size * (1 + 1e-3 * rng.normal(size=5))]))
    assert not telling(node(np.zeros((2, 5))))
    assert not telling(node(size * rng.normal(size=(2, 3)))), "rows of few elements"
