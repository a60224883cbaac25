"""Which weights tell a node from others, and which node stands in the place of one with others."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import probe
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


def test_a_layer_with_the_weights_of_another_stands_in_its_own_place():
    torch.manual_seed(0)
    a, b = (nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh()) for _ in range(2))
    for mine, theirs in ((0, 0), (2, 0)):
        b[mine].load_state_dict(a[theirs].state_dict())
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    comparison = probe.compare(a.eval(), b.eval(), x)
    assert [(pair.a, pair.b) for pair in comparison.pairs] == [
        ((name,), (name,)) for name in "0123"
    ]
    assert [pair.b for pair in comparison.sources] == [("2",)]
