"""Masks whose edge lies elsewhere are told as such, whatever code made them."""

import math

import numpy as np
import pytest
import torch
from planting import F, draw, nn, t

import probe

SIZE = 12
QUERY, KEY = torch.arange(SIZE)[:, None], torch.arange(SIZE)[None]
PAST = KEY <= QUERY


def window(reach: int) -> torch.Tensor:
    return (QUERY - KEY).abs() <= reach


def blocks(*ends: int) -> torch.Tensor:
    number = torch.bucketize(torch.arange(SIZE), torch.tensor(ends), right=True)
    return number[:, None] == number


def tree(parents: tuple[int, ...], deep: bool = True) -> torch.Tensor:
    mask = torch.eye(SIZE, dtype=torch.bool)
    for node, parent in enumerate(parents):
        while parent >= 0:
            mask[node, parent] = True
            parent = parents[parent] if deep else -1
    return mask


PARENTS = (-1, 0, 0, 1, 1, 2, 5, 5, 3, 3, 9, 6)
MASKS = {
    "window for blocks": (
        blocks(4, 8) & PAST,
        window(3) & PAST,
        "attention-mask",
        "made of the last 4 keys before each query, not those of its block",
    ),
    "blocks for a window": (
        window(3) & PAST,
        blocks(4, 8) & PAST,
        "attention-mask",
        "blocks of 4 positions",
    ),
    "wider window": (
        window(3),
        window(4),
        "window-off-by-one",
        "wider by 1 position on both sides",
    ),
    "narrower window": (
        window(3),
        window(2),
        "window-off-by-one",
        "narrower by 1 position on both",
    ),
    "sliding": (
        PAST & window(3),
        PAST & window(2),
        "window-off-by-one",
        "narrower by 1 position on the side of earlier keys",
    ),
    "no window": (PAST & window(3), PAST, "window-off-by-one", "made without its window"),
    "one block": (blocks(4, 9), blocks(5, 9), "window-off-by-one", "block 0 ends at position 5"),
    "all blocks": (
        PAST & blocks(4, 9),
        PAST & blocks(3, 8),
        "window-off-by-one",
        "all blocks end -1 further on",
    ),
    "joined": (blocks(4, 9), blocks(4), "attention-mask", "no block ends at position 9"),
    "prefix": (PAST | (KEY < 4), PAST | (KEY < 5), "window-off-by-one", "a prefix of 5 keys"),
    "parents": (tree(PARENTS), tree(PARENTS, False), "attention-mask", "the last one before it"),
}


SEEN, SEES = KEY == 0, QUERY == 0
BESIDE = window(2) | SEEN | SEES
MASKS |= {
    "wider beside a global token": (
        BESIDE,
        window(3) | SEEN | SEES,
        "window-off-by-one",
        "a window of 3 tokens before and 3 behind",
    ),
    "half beside a global token": (
        BESIDE,
        window(1) | SEEN | SEES,
        "window-off-by-one",
        "a window of 1 tokens before and 1 behind",
    ),
    "not seen by all": (
        BESIDE,
        window(2) | SEES,
        "attention-mask",
        "token 0 is attended to only within the window",
    ),
    "sees its window": (BESIDE, window(2) | SEEN, "attention-mask", "attends only to its window"),
}


class Attention(nn.Module):
    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.project, self.mask = nn.Linear(8, 24), mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.project(x).chunk(3, -1)
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(8)
        return scores.masked_fill(~self.mask, -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("name", MASKS)
def test_an_edge_that_was_moved_is_told(name):
    own, other, slug, words = MASKS[name]
    x = draw(2, SIZE, 8)
    wrong = Attention(other)(t(x)).detach().numpy()
    report = probe.check(Attention(own).eval(), "", x, expected=wrong)
    assert report.findings[0].slug == slug, report
    assert words in report.findings[0].claim
    assert report.findings[0].left <= 1


class Cached(nn.Module):
    """Queries that come behind what is in a cache, and documents that are packed into a row."""

    def __init__(self, cached: bool = True, apart: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.query, self.pair = nn.Linear(8, 8), nn.Linear(8, 16)
        self.cached, self.apart = cached, apart

    def forward(self, x: torch.Tensor, held: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
        k, v = self.pair(torch.cat([held, x], 1)).chunk(2, -1)
        queries, keys = x.shape[1], k.shape[1]
        seen = torch.ones(queries, keys).tril(keys - queries if self.cached else 0).bool()
        same = document[:, -queries:, None] == document[:, None]
        seen = same & seen if self.apart else seen
        mask = seen.expand(len(x), queries, keys)
        return F.scaled_dot_product_attention(self.query(x), k, v, mask)


@pytest.mark.parametrize(
    ("mistake", "slug", "words"),
    [
        ({"apart": False}, "missing-step", "left out of"),
        ({"cached": False}, "attention-mask", "the causal mask begins at the first key"),
    ],
)
def test_the_parts_of_a_mask_are_told_by_themselves(mistake, slug, words):
    document = np.array([[0] * 6 + [1] * 3, [0] * 4 + [1] * 5])
    document = document if "apart" in mistake else 0 * document
    inputs = [draw(2, 5, 8), draw(2, 4, 8, seed=1), document]
    wrong = Cached(**mistake)(*map(t, inputs)).detach().numpy()
    report = probe.check(Cached().eval(), "", inputs, expected=wrong)
    assert report.findings[0].slug == slug, report
    assert words in report.findings[0].claim
    assert report.findings[0].left <= 1


def test_scores_that_differ_otherwise_have_no_moved_edge():
    x = draw(2, SIZE, 8)
    model = Attention(window(3)).eval()
    noisy = model(t(x)).detach().numpy() + 1e-2 * np.random.default_rng(0).normal(size=x.shape)
    report = probe.check(model, "", x, expected=noisy.astype(np.float32))
    assert not any(finding.left <= 1 for finding in report.findings), report
