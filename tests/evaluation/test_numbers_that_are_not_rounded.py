"""Fixed point written in floats: where no operation rounds, nothing is allowed."""

import numpy as np
import pytest
import torch
from own_seed import RNG

import probe


class FixedPoint(torch.nn.Module):
    """A dense layer in fixed point: its products are cut and its sum wraps around."""

    def __init__(self):
        super().__init__()
        weight = np.random.default_rng(0).normal(size=(6, 10))
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))

    def forward(self, x):
        return ported(x, self.weight)


def ported(x, weight, wrong=""):
    half = 0.5 if wrong == "input is rounded" else 0.0
    x = torch.clamp(torch.floor(x * 128 + half), -2048, 2047) / 128
    weight = torch.clamp(torch.floor(weight * 64 + 0.5), -128, 127) / 64
    products = x[:, None] * weight * 64
    if wrong == "sum is cut":
        total = torch.floor(products.sum(-1))
    else:
        total = torch.floor(products).sum(-1)
    total = torch.remainder(total + 512, 1024) - 512
    half = 0.0 if wrong == "output is cut" else 0.5
    return torch.clamp(torch.floor(torch.relu(total / 64) * 16 + half), -128, 127) / 16


X = (RNG.normal(size=(16, 10)) * 2).astype(np.float32)


def values(wrong=""):
    with torch.no_grad():
        return ported(torch.tensor(X), FixedPoint().weight, wrong).numpy()


def test_all_parties_give_the_same_numbers():
    report = probe.check(FixedPoint().eval(), "", X, expected=values())
    assert report.verdict == "agree" and not report.findings, report
    assert report.sentence.endswith("all values are identical"), report


@pytest.mark.parametrize("wrong", ["input is rounded", "sum is cut", "output is cut"])
def test_another_rounding_diverges(wrong):
    assert (values(wrong) != values()).any()
    report = probe.check(FixedPoint().eval(), "", X, expected=values(wrong))
    assert report.verdict == "diverge", report


class MaskedByTheLeastNumber(torch.nn.Module):
    """The mask that transformers' extended attention mask is: a rounding of 1 - 1 would be more
    than all scores, once it is multiplied."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.query, self.value = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    def forward(self, x, kept, masked=True):
        mask = (1 - kept)[:, None, :] * torch.finfo(x.dtype).min * float(masked)
        scores = self.query(x) @ x.transpose(1, 2) / 8**0.5 + mask
        return scores.softmax(-1) @ self.value(x)


def test_a_mask_that_is_computed_is_not_rounded():
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    kept = np.ones((2, 5), np.float32)
    kept[1, 3:] = 0
    model = MaskedByTheLeastNumber().eval()
    assert probe.check(model, "", (x, kept)).ok
    with torch.no_grad():
        wrong = model(torch.tensor(x), torch.tensor(kept), False).numpy()
    assert probe.check(model, "", (x, kept), expected=wrong).verdict == "diverge"
