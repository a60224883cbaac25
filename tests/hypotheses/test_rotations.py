"""Rotary embeddings whose heads lie behind the positions, and those by complex numbers."""

import math

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe


def halves(x):
    return torch.cat([-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]], -1)


def neighbours(x):
    return torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)


class Rotated(nn.Module):
    """Attention of two heads, whose queries and keys a function rotates by the angles of pairs."""

    def __init__(self, rotated, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.project = nn.Linear(16, 48)
        self.rotated = rotated
        self.register_buffer("rates", 100.0 ** (-torch.arange(4) / 4))

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (2, 8)) for part in self.project(x).chunk(3, -1))
        angles = torch.arange(x.shape[1])[:, None] * self.rates
        q, k = self.rotated(q, angles), self.rotated(k, angles)
        scores = torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(8)
        return torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v).flatten(-2)


def by_neighbours(x, angles):
    angles = angles.repeat_interleave(2, -1)[:, None]
    return x * angles.cos() + neighbours(x) * angles.sin()


def by_halves(x, angles):
    angles = torch.cat([angles, angles], -1)[:, None]
    return x * angles.cos() + halves(x) * angles.sin()


def by_complex(x, angles):
    x = torch.view_as_complex(x.transpose(1, 2).reshape(x.shape[0], 2, -1, 4, 2))
    turned = torch.view_as_real(x * torch.polar(torch.ones_like(angles), angles))
    return turned.flatten(-2).transpose(1, 2)


@pytest.mark.parametrize(
    ("own", "other", "claim"),
    [
        (by_neighbours, by_halves, "the two halves are rotated together"),
        (by_halves, by_neighbours, "neighbouring features are rotated together"),
        (by_complex, by_halves, "the two halves are rotated together"),
        (by_complex, lambda x, angles: by_complex(x, angles / 2), "positions are divided by 2"),
    ],
)
def test_pairs_and_frequencies(own, other, claim):
    x = RNG.normal(size=(2, 7, 16)).astype(np.float32)
    with torch.no_grad():
        wrong = Rotated(other).eval()(torch.from_numpy(x)).numpy()
    finding = probe.check(Rotated(own).eval(), "", x, expected=wrong).findings[0]
    assert finding.left <= 1
    assert claim in finding.claim
