"""Weights that are quantised by another scale or rounding, and tensors kept in few bits."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn
from torch.nn import functional as F

import probe


def named(report, slug, claim):
    assert report.findings, report.diagnosis
    first = report.findings[0]
    assert (first.slug, first.left <= 1) == (slug, True), first
    assert first.claim == claim


def linear_of_four_bits():
    qnn = pytest.importorskip("brevitas.nn")
    torch.manual_seed(3)
    first = qnn.QuantLinear(14, 9, bias=True, weight_bit_width=4)
    return nn.Sequential(first, nn.Tanh(), nn.Linear(9, 5)).eval()


@pytest.mark.parametrize(
    ("slug", "claim", "axis", "levels", "rounded"),
    [
        (
            "fixed-point",
            "quantised with one scale for all, the largest magnitude over 8",
            *(None, 8, np.round),
        ),
        (
            "fixed-point",
            "quantised with a scale for each row along the last axis, the largest magnitude over 7",
            *(1, 7, np.round),
        ),
        ("rounding-mode", "rounded towards zero", *(None, 7, np.trunc)),
    ],
)
def test_weights_that_a_layer_quantises_by_another_quantiser(slug, claim, axis, levels, rounded):
    model, x = linear_of_four_bits(), RNG.normal(size=(6, 14)).astype(np.float32)
    kernel, bias = (p.detach().numpy() for p in (model[0].weight, model[0].bias))
    head = [p.detach().numpy() for p in model[2].parameters()]

    def values(axis, levels, rounded):
        scale = np.abs(kernel).max(axis, keepdims=True) / np.float32(levels)
        weight = np.clip(rounded(kernel / scale), -levels, levels) * scale
        return np.tanh(x @ weight.T + bias) @ head[0].T + head[1]

    assert probe.check(model, "", x, expected=values(None, 7, np.round)).verdict == "agree"
    report = probe.check(model, "", x, expected=values(axis, levels, rounded))
    first, *_ = report.findings
    assert (first.slug, first.left <= 1) == (slug, True), first
    assert f"0.weight is {claim}" in first.claim


class Tables(nn.Module):
    """Two tables that are looked up, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(11, 6) for _ in range(2))
        self.head = nn.Linear(6, 5)

    def forward(self, ids):
        return self.head(torch.tanh(self.tables[0](ids[:, 0]) * self.tables[1](ids[:, 1])))


def test_tables_in_eight_bits():
    torch.manual_seed(4)
    model, ids = Tables().eval(), RNG.integers(0, 11, (8, 2))
    first, second = (table.weight.detach().numpy() for table in model.tables)
    head = [p.detach().numpy() for p in model.head.parameters()]

    def in_bits(table):
        scale = np.abs(table).max() / np.float32(127)
        return np.round(table / scale).astype(np.int8) * scale

    def values(kept):
        rows = np.tanh(kept(first)[ids[:, 0]] * kept(second)[ids[:, 1]])
        return rows @ head[0].T + head[1]

    assert probe.check(model, "", ids, expected=values(np.asarray)).verdict == "agree"
    report = probe.check(model, "", ids, expected=values(in_bits))
    claim = "are kept as integers from -127 to 127 with one scale for all"
    named(report, "reduced-precision", f"tables.0.weight and tables.1.weight {claim}")


class Attention(nn.Module):
    def forward(self, q, k, v):
        return F.softmax(torch.tanh(q) @ torch.exp(k).transpose(1, 2) * 0.5, -1) @ torch.sin(v)


def test_keys_and_values_in_four_bits():
    model = Attention().eval()
    q, k, v = RNG.normal(size=(3, 2, 6, 4)).astype(np.float32)

    def in_bits(x):
        scale = np.abs(x).max(-1, keepdims=True) / np.float32(7)
        return np.round(x / scale) * scale

    def values(kept):
        keys = torch.tensor(kept(np.exp(k)).swapaxes(1, 2))
        shares = F.softmax(torch.tanh(torch.tensor(q)) @ keys * 0.5, -1)
        return shares.numpy() @ kept(np.sin(v))

    assert probe.check(model, "", [q, k, v], expected=values(np.asarray)).verdict == "agree"
    first, *_ = probe.check(model, "", [q, k, v], expected=values(in_bits)).findings
    assert (first.slug, first.left <= 1) == ("reduced-precision", True), first
    told = "are kept as integers from -7 to 7 with a scale for each row along the last axis"
    assert first.claim.endswith(told)
