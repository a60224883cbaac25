"""Slices of a layer's output, computed from no more of its steps than that takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_seed import RNG
from torch import nn

import probe
from probe import ops
from probe.diagnosis import outputs
from probe.diagnosis.diagnose import Diagnosis
from probe.evaluation.numpy_reference import recompute
from probe.trial.output_slices import Region, Sliced


class Causal(nn.Module):
    """A decoder block with packed projections."""

    def __init__(self):
        super().__init__()
        self.norm, self.second = nn.LayerNorm(24), nn.LayerNorm(24)
        self.packed, self.out = nn.Linear(24, 72), nn.Linear(24, 24)
        self.up, self.down = nn.Linear(24, 96), nn.Linear(96, 24)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.packed(self.norm(x)).split(d, dim=-1)
        q, k, v = (one.view(b, t, 4, d // 4).transpose(1, 2) for one in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.second(x)), approximate="tanh"))


class Bottleneck(nn.Module):
    """Convolutions, one of them with a stride, around a shortcut with a stride."""

    def __init__(self):
        super().__init__()
        self.one, self.three = nn.Conv2d(6, 4, 1), nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.last, self.shortcut = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 1, stride=2)

    def forward(self, x):
        y = F.relu(self.norm(self.three(F.relu(self.one(x)))))
        return F.relu(self.last(y) + self.shortcut(x))


class Pooled(nn.Module):
    """Pooling, a depthwise convolution and an upsampling of other sizes than those of the input."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 5, padding=2, groups=4)
        self.up = nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1)

    def forward(self, x):
        return self.up(F.max_pool2d(self.depthwise(x), 2))


def encoder():
    return nn.TransformerEncoderLayer(24, 3, 40, dropout=0.0, batch_first=True)


BLOCKS = {
    "causal": (Causal, (1, 40, 24), 1, 0.3),
    "encoder": (encoder, (2, 40, 24), 1, 0.9),
    "bottleneck": (Bottleneck, (1, 6, 64, 10), 2, 0.4),
    "pooled": (Pooled, (1, 4, 60, 6), 2, 0.5),
    "lstm": (lambda: nn.LSTM(6, 8, 2, batch_first=True), (2, 40, 6), 1, 0.4),
}


@pytest.fixture
def case_of(monkeypatch):
    """The case that the search is given for wrong values of a module."""

    def caught(module, x):
        cases = []

        def diagnose(case, *_, **__):
            cases.append(case)
            return Diagnosis(())

        monkeypatch.setattr(outputs, "diagnose", diagnose)
        with torch.no_grad():
            y = module(torch.from_numpy(x))
        y = (y[0] if isinstance(y, tuple) else y).numpy()
        probe.check(module, "", x, expected=y + 1)
        return cases[0]

    return caught


def made(name):
    kind, shape, axis, most = BLOCKS[name]
    torch.manual_seed(0)
    return kind().eval(), RNG.normal(size=shape).astype(np.float32), axis, most


def regions(axis, size):
    return [
        Region(axis, start, start + 8)
        for start in dict.fromkeys((0, 1, size // 2, size // 2 + 1, size - 8))
    ]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_slice_is_that_of_the_whole(case_of, name):
    module, x, axis, most = made(name)
    case = case_of(module, x)
    sliced = Sliced(case.steps, case.inputs, case.values)
    cheapest = min(sliced.work(one) for one in regions(axis, case.healthy.shape[axis]))
    assert cheapest < most * sliced.work()
    for region in regions(axis, case.healthy.shape[axis]):
        for position, (_, op) in enumerate(case.having(object)):
            # another object for the same op: everything behind it is computed again
            steps = case.with_op(position, replace(op))
            y = sliced.of(steps, case.inputs, region)
            np.testing.assert_allclose(y, region.of(case.healthy), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_slice_of_a_changed_layer(case_of, name):
    module, x, axis, _ = made(name)
    case = case_of(module, x)
    sliced = Sliced(case.steps, case.inputs, case.values)
    size = case.healthy.shape[axis]
    shown = 0
    for position in range(len(case.steps)):
        if case.values[position][0].dtype.kind != "f" or len(case.values[position]) > 1:
            continue
        steps = case.appended(ops.Neg(), at=position)
        whole = np.asarray(recompute(steps, case.inputs)[-1][0])
        for region in regions(axis, size):
            y = sliced.of(steps, case.inputs, region)
            np.testing.assert_allclose(y, region.of(whole), rtol=1e-4, atol=1e-5)
        shown += not np.allclose(whole, case.healthy)
    assert shown > 2


def test_other_inputs_are_taken(case_of):
    module, x, axis, _ = made("causal")
    case = case_of(module, x)
    other = (np.roll(case.inputs[0], 1, axis=1), *case.inputs[1:])
    whole = np.asarray(recompute(case.steps, other)[-1][0])
    for region in regions(axis, 40):
        y = Sliced(case.steps, case.inputs, case.values).of(case.steps, other, region)
        np.testing.assert_allclose(y, region.of(whole), rtol=1e-4, atol=1e-5)


def test_a_step_on_another_axis_is_not_taken_for_one_position_after_the_other(case_of):
    module, x, axis, _ = made("encoder")
    case = case_of(module, x)
    sliced = Sliced(case.steps, case.inputs, case.values)
    position, norm = next(case.having(ops.LayerNormalization))
    bare = replace(norm, scale=None, bias=None)
    steps = case.with_op(position, replace(bare, axes=(1,)))
    whole = np.asarray(recompute(steps, case.inputs)[-1][0])
    region = Region(axis, 16, 24)
    np.testing.assert_allclose(
        sliced.of(steps, case.inputs, region), region.of(whole), rtol=1e-4, atol=1e-5
    )
