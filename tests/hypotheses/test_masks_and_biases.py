"""Masks and linear biases that come as inputs, norms of several steps, kernels that a convolution
takes as its second input."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import probe
from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.attention.decoder_attention import window_off_by_one
from probe.hypotheses.attention.heads_and_masks import _masks_of_other_kinds
from probe.hypotheses.edits.mapped_tensors import rearranged
from probe.ops.step import Ref, Step
from probe.trial.case import Case


def drawn(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


class Scores(nn.Module):
    """Attention of x to itself with something added to the scores of three heads."""

    def forward(self, x, added):
        q = x.unflatten(-1, (3, 4)).transpose(1, 2)
        return torch.softmax(q @ q.transpose(-1, -2) + added, -1) @ q


class Cross(nn.Module):
    def forward(self, x, other):
        return torch.softmax(x @ other.transpose(-1, -2), -1) @ other


APART = np.arange(9)[:, None] - np.arange(9)
PADDED = np.array([9, 7])
"""How many positions of each sample are none of padding."""


def mask(least, most, padding=True):
    real = np.arange(9) < PADDED[:, None] if padding else np.ones((2, 9), bool)
    keep = (APART >= least) & (APART <= most) & real[:, None]
    return np.where(keep, 0.0, -1e9).astype(np.float32)[:, None]


MASKS = {
    "the window reaches 3 positions to either side instead of 2": (mask(-2, 2), mask(-3, 3)),
    "the window reaches 4 positions to either side instead of 2": (mask(-2, 2), mask(-4, 4)),
    "the window is 3 positions wide instead of 4": (mask(0, 3), mask(0, 2)),
    "the sliding window of 5 positions is not applied": (mask(-2, 2), mask(-9, 9)),
    "the window ends at the query's own position": (mask(-2, 2), mask(0, 2)),
    "padding is attended to": (mask(-2, 2), mask(-2, 2, padding=False)),
}


@pytest.mark.parametrize("words", MASKS)
def test_a_mask_that_is_another(words):
    right, wrong = MASKS[words]
    x = drawn(2, 9, 12)
    y = Scores()(torch.tensor(x), torch.tensor(wrong)).numpy()
    report = probe.check(Scores(), "", (x, right), expected=y)
    assert report.findings[0].claim == words, report.findings
    assert report.findings[0].left <= 1
    right_y = Scores()(torch.tensor(x), torch.tensor(right)).numpy()
    assert not probe.check(Scores(), "", (x, right), expected=right_y).findings


class Turned(nn.Module):
    """Points by a matrix that is told as its difference from the identity."""

    def forward(self, x, identity):
        return x @ (torch.tanh(x[:, :3]) + identity)


def test_an_identity_that_is_added_is_no_mask():
    x, identity = drawn(2, 9, 3), np.eye(3, dtype=np.float32)
    y = (torch.tensor(x) @ torch.tanh(torch.tensor(x)[:, :3])).numpy()
    finding = probe.check(Turned(), "", (x, identity), expected=y).findings[0]
    words = "identity (input 1) is not added to the output of torch.tanh"
    assert (finding.claim, finding.left <= 1) == (words, True), finding


def test_no_window_is_of_no_position():
    for least in (0, -1):
        x = mask(least, 0 - least)[:, 0]
        steps = (Step(ops.Add(), (Ref(-1, 0), Ref(-1, 0))),)
        case = Case(steps, (x,), recompute(steps, (x,)), x)
        claims = [edit.claim for edit in window_off_by_one(case)]
        assert claims and not [
            claim for claim in claims if re.search(r"0 positions wide|1 positions", claim)
        ]


@pytest.mark.parametrize("steps", [6, 9])
def test_a_causal_mask_on_what_has_none(steps):
    x, other = drawn(2, 6, 4), drawn(2, steps, 4)
    scores = torch.tensor(x @ other.swapaxes(1, 2))
    later = torch.ones(6, steps, dtype=torch.bool).triu(1)
    y = torch.softmax(scores.masked_fill(later, -math.inf), -1) @ torch.tensor(other)
    report = probe.check(Cross(), "", (x, other), expected=y.numpy())
    assert report.findings[0].slug == "attention-mask"
    assert "a causal mask is applied" in report.findings[0].claim


def slopes(*places, of=4):
    return np.array([2.0 ** (-8 * (place + 1) / of) for place in places], np.float32)


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        (slopes(1, 3, 0), slopes(0, 1, 2), "the first 3 of 4 heads"),
        (slopes(1, 3, 0), slopes(0, 2, 1), "those of 4 heads, the odd places first"),
        (slopes(0, 2, 1), slopes(1, 3, 0), "those of 4 heads, the even places first"),
        (slopes(1, 3, 0), slopes(0, 1, 2, of=3), "2^(-8 i / 3)"),
        (slopes(1, 3, 0), slopes(0, 1, 2, of=8), "2^-i, as of 8 heads"),
    ],
)
def test_linear_biases_of_another_number_of_heads(right, wrong, words):
    x, places = drawn(2, 9, 12), np.arange(9, dtype=np.float32)
    biases = [(one[:, None, None] * (places - 8)).astype(np.float32) for one in (right, wrong)]
    y = Scores()(torch.tensor(x), torch.tensor(biases[1])).numpy()
    report = probe.check(Scores(), "", (x, biases[0]), expected=y)
    assert report.findings[0].slug == "alibi-slopes", report.findings
    assert words in report.findings[0].claim


class Normed(nn.Module):
    def forward(self, x):
        return self.norm(2 * self.norm(x + 1) + x.mean(0))

    def norm(self, x):
        x = x - x.mean(-1, keepdim=True)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)


def test_means_that_no_norm_subtracts():
    class Uncentred(Normed):
        def norm(self, x):
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)

    x = drawn(4, 9)
    report = probe.check(Normed(), "", x, expected=Uncentred()(torch.tensor(x)).numpy())
    assert report.findings[0].slug == "missing-centring"
    assert report.findings[0].left <= 1


class Image(nn.Module):
    """A convolution over an image between two layouts, then an activation."""

    def __init__(self):
        super().__init__()
        self.up, self.conv = nn.Linear(3, 6), nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.down = nn.Linear(6, 3)

    def forward(self, x, before=False, residual=False):
        image = self.up(x).transpose(1, 2).unflatten(2, (4, 5))
        y = self.conv(F.gelu(image) if before else image)
        y = (y + image if residual else y).flatten(2).transpose(1, 2)
        return self.down(y if before else F.gelu(y))


def test_an_activation_before_a_convolution_of_another_layout_and_a_shortcut_around_it():
    torch.manual_seed(0)
    net, x = Image().eval(), drawn(2, 20, 3)
    with torch.no_grad():
        before = net(torch.tensor(x), before=True).numpy()
        residual = net(torch.tensor(x), residual=True).numpy()
    report = probe.check(net, "", x, expected=before)
    assert report.findings[0].slug == "moved-step", report.findings
    assert "not after conv" in report.findings[0].claim
    report = probe.check(net, "", x, expected=residual)
    assert report.findings[0].slug == "extra-step", report.findings


class Block(nn.Module):
    """Pre-norm or post-norm, on values so small that epsilon counts."""

    def __init__(self, last=False):
        super().__init__()
        self.norm, self.inner, self.last = nn.LayerNorm(6, eps=1e-2), nn.Linear(6, 6), last

    def forward(self, x):
        return self.norm(x + self.inner(x)) if self.last else x + self.inner(self.norm(x))


def test_the_place_of_a_norm_whose_epsilon_counts():
    torch.manual_seed(0)
    net, x = Block().eval(), 0.1 * drawn(2, 5, 6)
    other = Block(last=True).eval()
    other.load_state_dict(net.state_dict())
    report = probe.check(net, "", x, expected=other(torch.tensor(x)).detach().numpy())
    assert report.findings[0].slug == "norm-placement", report.findings
    assert report.findings[0].left <= 1


class Causal(nn.Module):
    """A convolution by its function, padded on both sides and cut at its end."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 4, groups=3, padding=3)

    def forward(self, x, kernel=None, late=0):
        kernel = self.conv.weight.view(3, 4)[:, None] if kernel is None else kernel
        y = F.conv1d(x, kernel, self.conv.bias, padding=3, groups=3)
        return torch.tanh(y[..., late : late + x.shape[-1]])


def test_the_kernel_of_a_function_and_what_is_cut_off_it():
    torch.manual_seed(0)
    net, x = Causal().eval(), drawn(2, 3, 10)
    with torch.no_grad():
        flipped = net(torch.tensor(x), kernel=net.conv.weight.flip(-1)).numpy()
        late = net(torch.tensor(x), late=2).numpy()
    report = probe.check(net, "", x, expected=flipped)
    assert report.findings[0].slug == "flipped-kernel"
    report = probe.check(net, "", x, expected=late)
    assert report.findings[0].claim == "the windows start 2 elements later"


@pytest.mark.parametrize(
    ("kind", "rows", "hidden"),
    [
        ("keep", [[1, 0, 0], [1, 1, 1]], True),  # the second sees all, and nothing when inverted
        ("keep", [[0, 0, 0], [1, 1, 0]], False),
        ("drop", [[0, 0, 0], [1, 1, 0]], True),
        ("drop", [[1, 1, 1], [1, 0, 0]], False),
        ("add", [[0, 0, 0], [1, 1, 1]], None),
    ],
)
def test_an_inverted_mask_may_hide_every_position_of_a_query(kind, rows, hidden, rng):
    seen = np.array(rows, bool if kind != "add" else np.float64)
    inputs = (rng.normal(size=(1, 2, 4)), *[rng.normal(size=(1, 3, 4))] * 2, seen)
    steps = (Step(ops.Attention(0.5, masks=(kind,)), tuple(Ref(-1, k) for k in range(4))),)
    values = recompute(steps, inputs)
    case = Case(steps, inputs, values, values[-1][0] + 1)
    edits = [*_masks_of_other_kinds(case, 0, steps[0].op)]
    assert [edit.steps[0].op.empty for edit in edits if "inverted" in edit.claim] == {
        None: [],
        False: ["nan"],
        True: ["nan", "mean"],
    }[hidden]


def test_a_map_that_leaves_nothing_of_a_mask_is_said_to_ignore_it():
    mask = np.array(
        [[True, True, True, True, False, False], [True, True, True, False, True, False]]
    )
    x = drawn(2, 6)
    steps = (
        Step(ops.Cast("float64"), (Ref(-1, 1),)),
        Step(ops.Mul(), (Ref(-1), Ref(0))),
        Step(ops.ReduceSum((1,), False), (Ref(1),)),
    )
    values = recompute(steps, (x, mask))
    case = Case(steps, (x, mask), values, values[-1][0])
    words = [change.what for change in rearranged(case)]
    assert "input 1 is taken as 1 everywhere" in words
    assert not any("input 1" in each and "the first of 2 blocks" in each for each in words)
    assert any("input 1" in each and "in turn" in each for each in words)


class Pooled(nn.Module):
    """Frames weighed by a softmax over those that are valid, for each channel."""

    def forward(self, x, valid):
        scores = torch.sin(3 * x).masked_fill(valid == 0, float("-inf"))
        return (torch.softmax(scores, -1) * x).sum(-1)


def test_a_port_that_masks_by_a_large_number_has_shares_where_all_is_masked():
    x, valid = drawn(2, 6, 11), np.ones((2, 1, 11), np.float32)
    valid[1, :, 7:] = 0
    scores = np.where(valid == 0, -1e9, np.sin(3 * x))
    shares = np.exp(scores - scores.max(1, keepdims=True))
    y = (shares / shares.sum(1, keepdims=True) * x).sum(-1)
    (finding,) = probe.check(Pooled(), "", (x, valid), expected=y.astype(np.float32)).findings
    assert (finding.slug, finding.also, finding.left <= 1) == ("wrong-axis", (), True), finding
