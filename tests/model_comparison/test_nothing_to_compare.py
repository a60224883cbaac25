"""Pairs that hold NaN and nothing else verify nothing."""

import warnings

import numpy as np
import torch
from torch import nn

import probe

TOLD = "every value is NaN in A and in B: there is nothing to compare"


class Net(nn.Module):
    """One of two branches takes the logarithm of negative numbers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        y = self.a(x)
        return self.b(torch.log(-y.abs() - 1)), self.c(y)


def test_some_pairs_of_nan():
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    net = Net().eval()
    comparison = probe.compare(net, net, x)
    assert comparison.verdict == "unchecked"
    assert comparison.sentence == f"unchecked: 5 of 7 pairs agree; in /log of B {TOLD}"
    unchecked = {one.b for one in comparison.pairs if one.verdict == "unchecked"}
    assert unchecked == {("/log",), ("b",)}
    assert all(one.notes == (TOLD,) for one in comparison.pairs if one.b in unchecked)


def test_nan_throughout():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = probe.compare(net, net, np.full((5, 4), np.nan, np.float32))
    assert (comparison.verdict, TOLD in comparison.sentence) == ("unchecked", True)
    assert {one.verdict for one in comparison.pairs} == {"unchecked"}
