"""torchvision's deformable convolution, checked in all parties, and mistakes in a port of it."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe

ops = pytest.importorskip("torchvision.ops")
X = RNG.normal(size=(2, 4, 9, 8)).astype(np.float32)


class Deformed(nn.Module):
    def __init__(self, size=3, groups=1, gated=True, **options):
        super().__init__()
        torch.manual_seed(0)
        self.gated = gated
        taps = size * size if isinstance(size, int) else size[0] * size[1]
        windows = {name: options[name] for name in options if name not in ("groups", "bias")}
        self.offset = nn.Conv2d(4, 2 * taps * groups, size, **windows)
        self.gate = nn.Conv2d(4, taps * groups, size, **windows)
        self.deform = ops.DeformConv2d(4, 6, size, **options)

    def forward(self, x, turned=lambda offset: offset, gate=torch.sigmoid):
        mask = gate(self.gate(x)) if self.gated else None
        return self.deform(x, 3 * turned(self.offset(x)), mask)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"stride": 2, "padding": 1, "bias": False},
        {"size": (3, 2), "groups": 2, "dilation": 2, "padding": (2, 1)},
        {"size": 1, "gated": False},
    ],
)
def test_all_parties_compute_it(options):
    report = probe.check(Deformed(**options).eval(), "", X)
    assert report.verdict == "agree" and not report.missing, report.sentence


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"gate": torch.ones_like}, "is not multiplied with the output of the GridSample"),
        ({"turned": lambda o: o.unflatten(1, (9, 2)).flip(2).flatten(1, 2)}, "is reversed"),
    ],
)
def test_a_mistake_in_it(wrong, words):
    model = Deformed(padding=1).eval()
    with torch.no_grad():
        values = model(torch.from_numpy(X), **wrong).numpy()
    findings = probe.check(model, "", X, expected=values).findings
    claims = [finding.claim for finding in findings if finding.left <= 1]
    assert any(words in claim for claim in claims), claims
