"""Two mistakes at once, of which one at least is a change of a block that nobody listed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_seed import RNG

import probe


class Block(torch.nn.Module):
    """Attention with capped scores and a gated feed-forward part."""

    def __init__(self):
        super().__init__()
        self.norm, self.norm_2 = (torch.nn.LayerNorm(12) for _ in range(2))
        self.qkv, self.out = torch.nn.Linear(12, 36), torch.nn.Linear(12, 12)
        self.up, self.head = torch.nn.Linear(12, 12), torch.nn.Linear(12, 16)
        for number, parameter in enumerate(self.parameters()):
            values = np.random.default_rng(number).normal(size=parameter.shape)
            parameter.data = torch.tensor(values / np.sqrt(len(values)), dtype=torch.float32)

    def forward(self, x):
        return ported(self, x)


def ported(block, x, *wrong):
    batch, length, _ = x.shape
    normed = block.norm_2(x) if "norm" in wrong else block.norm(x)
    q, k, v = block.qkv(normed).reshape(batch, length, 3, 3, 4).permute(2, 0, 3, 1, 4)
    scores = torch.tanh(q @ k.transpose(-1, -2) / (3**0.5 if "scale" in wrong else 2)) * 3
    later = torch.ones(length, length).triu(1) > 0
    if "mask" in wrong:
        later = later.T
    heads = scores.masked_fill(later, -1e9).softmax(-1) @ v
    if "order" not in wrong:
        heads = heads.transpose(1, 2)
    skipped = normed if "skip" in wrong else x
    x = skipped + block.out(heads.reshape(batch, length, 12))
    x = x + F.silu(block.up(block.norm_2(x)))
    return F.elu(block.head(x)) if "elu" in wrong else F.softplus(block.head(x))


X = RNG.normal(size=(2, 5, 12)).astype(np.float32)


@pytest.mark.parametrize(
    ("wrong", "slugs"),
    [
        (("scale", "norm"), {"attention-scale", "swapped-inputs"}),
        (("scale", "skip"), {"attention-scale", "other-tensor"}),
        (("mask", "skip"), {"rearranged-tensor", "other-tensor"}),
        (("elu", "skip"), {"other-activation", "other-tensor"}),
        (("order", "skip"), {"flatten-order", "other-tensor"}),
    ],
)
def test_two_changes_at_once(wrong, slugs):
    block = Block().eval()
    with torch.no_grad():
        values = ported(block, torch.tensor(X), *wrong).numpy()
    finding = probe.check(block, "", X, expected=values).findings[0]
    assert finding.left <= 1 and {finding.slug, *finding.also} == slugs, finding


@pytest.mark.parametrize("lie", [np.zeros_like, np.negative, lambda y: y / 2])
def test_values_that_no_two_mistakes_give(lie):
    block = Block().eval()
    with torch.no_grad():
        values = lie(block(torch.tensor(X)).numpy())
    for finding in probe.check(block, "", X, expected=values).findings:
        assert not finding.also, finding
