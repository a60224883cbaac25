"""Weights of a sum: a softmax for masked scores and back, divided by their sum or by how many."""

import pytest
import torch
from planting import draw
from torch import nn

import probe


class Pooled(nn.Module):
    """A sum over time, weighted by scores that a mask keeps."""

    def __init__(self, weigh="masked"):
        super().__init__()
        torch.manual_seed(0)
        self.score, self.weigh = nn.Linear(5, 1), weigh

    def forward(self, x, mask):
        scores, kept = self.score(x).squeeze(-1), mask.float()
        if self.weigh == "masked":
            weights = scores * kept
        elif self.weigh == "softmax":
            weights = scores.masked_fill(~mask, -1e9).softmax(-1)
        elif self.weigh == "mean":
            weights = scores * kept / kept.sum(-1, keepdim=True)
        else:
            weights = scores * kept
            weights = weights / weights.sum(-1, keepdim=True)
        return (weights[..., None] * x).sum(1)


@pytest.mark.parametrize(
    ("own", "wrong", "claim"),
    [
        ("masked", "softmax", "a softmax of the output of squeeze over axis 1, of what"),
        ("softmax", "masked", "0 where they are masked, is taken instead of its softmax"),
        ("masked", "mean", "are divided by how many are kept along axis 1"),
        ("masked", "shares", "divided by"),
    ],
)
def test_the_weights_are_named(own, wrong, claim):
    x, mask = draw(3, 6, 5), torch.ones(3, 6, dtype=torch.bool)
    mask[0, 4:], mask[1, :2], mask[2, 3] = False, False, False
    with torch.no_grad():
        values = Pooled(wrong)(torch.from_numpy(x), mask).numpy()
        report = probe.check(Pooled(own).eval(), "", [x, mask.numpy()], expected=values)
    exact = [finding.claim for finding in report.findings if finding.left <= 1]
    assert any(claim in found for found in exact), report
