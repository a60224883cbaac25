"""The drift of single calls, told by less than noisy passes of the model: much as these tell it."""

from collections import OrderedDict

import numpy as np
import pytest
import torch

import probe
from probe.capture.passes import captured
from probe.capture.question import Question
from probe.errors import CostWarning
from probe.evaluation.drift_of_calls import drift_by_rounding, drift_of
from probe.evaluation.propagated_error import drifts, root_mean_square

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
n = torch.nn


class Doubling(n.Module):
    """What has no description: the calls before it are not followed in NumPy."""

    def forward(self, x):
        return torch.from_numpy(2 * x.double().numpy()).to(x.dtype)


def net(*between, dtype=torch.float32):
    torch.manual_seed(0)
    names = [f"between{k}" for k in range(len(between))]
    return (
        n.Sequential(
            OrderedDict(
                first=n.Linear(6, 16),
                tanh=n.Tanh(),
                **dict(zip(names, between, strict=True)),
                block=n.Sequential(n.Linear(16, 16), n.Tanh()),
                last=n.Linear(16, 16),
            )
        )
        .eval()
        .to(dtype)
    )


def of(model, layer):
    """The passes for a layer, all calls of one of them, and the layer's own."""
    passes = captured(model, Question(layer, X))
    passed = passes.whole()
    return passes, passed.whole, passed.call(layer, 0)


def size(drift):
    return root_mean_square(drift.slack[0])


def by_passes(passes, layer):
    return size(drifts(passes.model, passes.arrays, {(layer, 0)}, few=True)[layer, 0])


@pytest.mark.parametrize("between", [(), (Doubling(),)])
def test_a_call_in_float32(between):
    passes, whole, last = of(net(*between), "last")
    expected = by_passes(passes, "last")
    assert 1e-8 < expected < 1e-5
    for few in (False, True):
        found = drift_of(passes.model, passes.arrays, whole, last, few=few)
        assert 0.6 < size(found) / expected < 1.6
        assert (found.road is None) == bool(between)


def test_a_container():
    passes, whole, block = of(net(), "block")
    found = drift_of(passes.model, passes.arrays, whole, block, few=True)
    # the container itself rounds nothing, but its first layer does in passes of the model
    assert 0.3 < size(found) / by_passes(passes, "block.1") < 1.4
    assert found.slack[0].shape == (40, 16)


def test_before_the_first_layer_and_the_model_is_nothing():
    passes, whole, first = of(net(), "first")
    assert drift_of(passes.model, passes.arrays, whole, first) is None
    assert drift_of(passes.model, passes.arrays, whole, whole) is None


def test_directly_behind_what_has_no_description():
    """The numbers of the first two layers cancel to a thousandth."""
    torch.manual_seed(0)
    layers = OrderedDict(first=n.Linear(6, 9), second=n.Linear(9, 9), odd=Doubling())
    model = n.Sequential(OrderedDict(**layers, last=n.Linear(9, 3))).eval()
    with torch.no_grad():
        model.first.bias += 1000
        model.second.bias -= model.second.weight @ model.first.bias
        theirs = model.double()(torch.from_numpy(X).double()).float().numpy()
    report = probe.check(model.float(), "last", X, expected=theirs)
    assert report.ok, report
    largest = float(np.abs(theirs - report.outputs["numpy"]).max())
    assert not probe.check(model, "last", X, expected=theirs + 40 * largest).ok


def test_in_half_precision_a_few_passes_that_round_otherwise_tell_it():
    passes, whole, last = of(net(dtype=torch.bfloat16), "last")
    with pytest.warns(CostWarning, match=r"rounding takes 2 more forward passes of 656 parameters"):
        found = drift_by_rounding(passes.model, passes.arrays, [last])
    assert set(found) == {("last", 0)}
    followed = drift_of(passes.model, passes.arrays, whole, last, few=True)
    assert size(followed) > 1e-3
    assert 0.5 < size(found["last", 0]) / size(followed) < 2
    assert followed.further > 1
    single, _, last = of(net(), "last")
    assert drift_by_rounding(single.model, single.arrays, [last]) is None
