"""Where little or nothing can be compared, "agree" is not all that is said."""

import warnings

import numpy as np
import pytest
import torch

import probe
from probe.report.text import line


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()).eval()


def test_nan_of_the_users_is_counted_wherever_it_hides_something(net):
    x = np.ones((3, 4), np.float32)
    x[0, 0], x[1, 1] = np.nan, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reports = list(probe.sweep(net, x))
    for report in reports:
        assert report.ok and "of its 9 numbers are NaN, behind which no fault shows" in report.sentence
        assert "are NaN, behind which no fault shows" in line(report)
    report = probe.check(net, "0", x)
    assert "3 of its 9 numbers are NaN" in report.sentence
    assert "given; it holds 1 NaN and 1 infinite of 12 numbers" in str(report)
    assert "the layer's own input, given; it holds 1 NaN" in str(probe.check(net, "0", given=x))


def test_without_nan_nothing_is_said_of_it(net):
    report = probe.check(net, "0", np.ones((3, 4), np.float32))
    assert "NaN" not in str(report)


def test_nan_throughout_is_nothing_to_compare(net):
    x = np.full((3, 4), np.nan, np.float32)
    for report in (probe.check(net, "0", x), *probe.sweep(net, x)):
        assert report.verdict == "unchecked"
        assert "the output is NaN throughout: there is no number to compare" in report.sentence
    assert probe.check(net, "0", x, expected=np.zeros((3, 3))).verdict == "diverge"
