"""What two models differ in although it is no fault, beside a fault: it is not told as the
cause."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import probe

_X = np.random.default_rng(3).normal(size=(2, 6, 8)).astype(np.float32)


class _Experts(nn.Module):
    """Four experts, two of which each place asks."""

    def __init__(self, flat):
        super().__init__()
        self.flat, self.shared_out, self.best = flat, True, 2
        self.order = [0, 1, 2, 3]
        self.router = nn.Linear(8, 4, bias=False)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(4))

    def forward(self, x):
        y = x.flatten(0, 1) if self.flat else x
        logits = self.router(y)
        shares, chosen = logits.softmax(-1).topk(self.best, -1, sorted=True)
        if self.shared_out:
            shares = shares / shares.sum(-1, keepdim=True)
        gates = torch.zeros_like(logits).scatter(-1, chosen, shares)
        y = sum(gates[..., k, None] * expert(y) for k, expert in enumerate(self.experts))
        return y.reshape(x.shape)


def _in_reverse(block):
    """The same with its experts, and so the rows of its router, in reverse order."""
    block.experts = nn.ModuleList(block.experts[::-1])
    block.router.weight.data = block.router.weight.data.flip(0)


@pytest.fixture
def experts():
    torch.manual_seed(0)
    first = nn.Sequential(_Experts(True), nn.LayerNorm(8), _Experts(True)).eval()
    second = copy.deepcopy(first)
    for block in (second[0], second[2]):
        block.flat = False
        _in_reverse(block)
    return first, second


def test_order_of_experts_that_their_router_has_too_is_no_fault(experts):
    first, second = experts
    assert probe.compare(first, second, _X).verdict == "agree"
    second[0].best = 1
    comparison = probe.compare(first, second, _X)
    (source,) = comparison.sources
    assert {difference[0] for difference in source.differs} <= {"k", "steps"}
    assert "(k 2 in A, 1 in B)" in comparison.sentence
    assert "reverse" not in str(comparison)


class _Rotating(nn.Module):
    """Queries and keys with rotary positions, in two ways of writing them."""

    def __init__(self, halves, base=1e4, first=0):
        super().__init__()
        self.halves, self.base, self.first = halves, base, first
        self.q, self.k = (nn.Linear(8, 8) for _ in range(2))

    def turned(self, x, first):
        angles = torch.outer(torch.arange(first, first + 6.0), self.base ** (-torch.arange(4) / 4))
        if self.halves:
            angles = torch.cat([angles, angles], -1)
            turned = torch.cat([-x[..., 4:], x[..., :4]], -1)
            return x * angles.cos() + turned * angles.sin()
        one, two = x.chunk(2, -1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([one * cos - two * sin, two * cos + one * sin], -1)

    def forward(self, x):
        q, k = self.turned(self.q(x), 0), self.turned(self.k(x), self.first)
        return (q @ k.transpose(1, 2)).softmax(-1)


def _rotating(*arguments):
    torch.manual_seed(0)
    return _Rotating(*arguments).eval()


def test_positions_are_told_although_they_are_written_with_other_steps():
    first = _rotating(True)
    assert probe.compare(first, _rotating(False), _X).verdict == "agree"
    comparison = probe.compare(first, _rotating(False, 1e6), _X)
    assert "embedding: base 10000 in A, 1e+06 in B); " in comparison.sentence
    (source,) = probe.compare(first, _rotating(False, 1e4, 2), _X).sources
    assert source.notes[0].endswith("embedding: first position 0 in A, 2 in B")


class _Masked(nn.Module):
    """Scores with a mask that is made of which places are padding."""

    def __init__(self, hidden, ahead=0, padded=True):
        super().__init__()
        self.hidden, self.ahead, self.padded = hidden, ahead, padded
        self.q = nn.Linear(8, 8)

    def forward(self, x):
        seen = torch.ones(6, 6).tril(self.ahead)
        if self.padded:
            seen = seen * (x[:, None, :, 0] > -0.5)
        return (self.q(x) @ x.transpose(1, 2) + (1 - seen) * self.hidden).softmax(-1)


def _masked(*arguments):
    torch.manual_seed(0)
    return _Masked(*arguments).eval()


def test_places_that_a_mask_hides_are_compared_not_what_it_adds():
    x = _X.copy()
    x[:, :, 0] = 1
    x[1, :2, 0] = -1
    lowest = float(np.finfo(np.float32).min)
    first = _masked(lowest)
    assert probe.compare(first, _masked(-1e9), x).verdict == "agree"
    (source,) = probe.compare(first, _masked(-1e9, 1, False), x).sources
    assert source.differs[0][0] == "mask"
    assert source.findings == ()
    words, ahead = source.notes[0].split(" hides, ")
    assert words.startswith("B's mask leaves ")
    assert ahead == "10 of them up to 1 ahead of the place that looks"


class _Branches(nn.Module):
    """Branches that are one kernel in a merged copy."""

    def __init__(self):
        super().__init__()
        self.large, self.small = nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(5, 5, 1)
        self.same = nn.BatchNorm2d(5)
        nn.init.uniform_(self.same.running_var, 0.5, 2)
        nn.init.normal_(self.same.bias)

    def forward(self, x):
        return (self.large(x) + self.small(x) + self.same(x)).relu()

    def merged(self, whole=True):
        made = nn.Conv2d(5, 5, 3, padding=1)
        gain = self.same.weight / (self.same.running_var + self.same.eps).sqrt()
        kernel = self.large.weight.clone()
        kernel[:, :, 1, 1] += self.small.weight[:, :, 0, 0] + whole * torch.diag(gain)
        made.weight.data = kernel
        made.bias.data = self.large.bias + self.small.bias + self.same.bias
        return nn.Sequential(made, nn.ReLU())


@torch.no_grad()
def test_block_of_a_merged_branch_is_told_from_the_next():
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 5, 1), _Branches(), _Branches()).eval()
    second = nn.Sequential(first[0], first[1].merged(False), first[2].merged())
    x = np.random.default_rng(0).normal(size=(2, 3, 9, 8)).astype(np.float32)
    comparison = probe.compare(first, second, x)
    (source,) = comparison.sources
    assert {name[:1] for name in source.a} == {"1"}
    assert comparison.pairs[-1].verdict == "agree"
    assert not any(difference[0].startswith("weight") for difference in source.differs)
    assert "same" in source.findings[0].claim


class _Attention(nn.Module):
    """Attention whose three products are one, which it reads in some order."""

    def __init__(self, read):
        super().__init__()
        self.read, self.qkv, self.head = read, nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x):
        batch, steps, _ = x.shape
        parts = self.read(self.qkv(x), batch, steps)
        q, k, v = (part.transpose(1, 2) for part in parts)
        weights = (q @ k.transpose(2, 3) / 2).softmax(-1)
        return self.head((weights @ v).transpose(1, 2).reshape(batch, steps, 8))


def _parts_first(y, batch, steps):
    return y.reshape(batch, steps, 3, 2, 4).unbind(2)


def _heads_first(y, batch, steps):
    return y.reshape(batch, steps, 2, 3, 4).unbind(3)


def _value_for_query(y, batch, steps):
    return _parts_first(y, batch, steps)[::-1]


def _attention(read):
    torch.manual_seed(0)
    return _Attention(read).eval()


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (
            _heads_first,
            "channels 0 to 3 of qkv, 12 to 15 of qkv in the place of channels 0 to 7 of",
        ),
        (_value_for_query, "reads channels 16 to 23 of qkv in the place of channels 0 to 7 of qkv"),
    ],
)
def test_elements_that_attention_reads_in_place_of_others_are_told(read, words):
    both = _attention(_parts_first), _attention(read)
    (source,) = probe.compare(*both, _X, search=False).sources
    assert words in source.notes[0]
    assert source.differs[0][0] == "input"


def test_columns_that_a_rotary_table_turns_together_are_told():
    first, second = _rotating(True), _rotating(True)

    def turned(x, first):
        angles = torch.outer(torch.arange(first, first + 6.0), 1e4 ** (-torch.arange(4) / 4))
        angles = angles.repeat_interleave(2, -1)
        half = torch.cat([-x[..., 4:], x[..., :4]], -1)
        return x * angles.cos() + half * angles.sin()

    second.turned = turned
    comparison = probe.compare(first, second, _X)
    assert ": for halves in A, for pairs of neighbours in B" in comparison.sentence


class _Shares(nn.Module):
    """Shares of gated numbers, in two ways of writing the gate."""

    def __init__(self, whole, divided):
        super().__init__()
        self.whole, self.divided, self.first, self.head = (
            whole,
            divided,
            *map(nn.Linear, (8, 8), (8, 3)),
        )

    def forward(self, x):
        x = self.first(x)
        y = nn.functional.silu(x) + 2 if self.whole else 2 + x * torch.sigmoid(x)
        if self.divided:
            y = y / y.sum(-1, keepdim=True)
        return self.head(torch.tanh(y))


def _shares(*arguments):
    torch.manual_seed(0)
    return _Shares(*arguments).eval()


def test_a_step_that_one_side_has_more_is_proven_by_leaving_it_out():
    found = probe.compare(_shares(True, True), _shares(False, False), _X, search=False)
    assert found.sources[0].notes[0] == (
        "Div in /div of A is left out in B: without it, A's layers give B's values"
    )
    found = probe.compare(_shares(True, False), _shares(False, True), _X, search=False)
    assert found.sources[0].notes[0] == (
        "B has Div in /div besides: without it, B's layers give A's values"
    )


class _Narrow(nn.Module):
    """Convolutions of 5 and 3 channels."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 3, 3), nn.Conv2d(3, 2, 1)
        self.act = nn.ELU()

    def forward(self, x):
        return self.last(self.act(self.two(self.act(self.one(x)))))


def _filled_up(net):
    """The same with channels of zeros, 8 of each."""
    wide = copy.deepcopy(net)
    for name, (inner, outer) in {"one": (3, 8), "two": (8, 8), "last": (8, 2)}.items():
        old = net.get_submodule(name)
        new = nn.Conv2d(inner, outer, old.kernel_size)
        for held in (new.weight, new.bias):
            held.data.zero_()
        new.weight.data[: old.out_channels, : old.in_channels] = old.weight.data
        new.bias.data[: old.out_channels] = old.bias.data
        setattr(wide, name, new)
    return wide


def test_channels_that_are_filled_up_with_zeros_are_no_fault():
    torch.manual_seed(0)
    net, x = _Narrow().eval(), np.random.default_rng(0).normal(size=(2, 3, 9, 9))
    wide, x = _filled_up(net), x.astype(np.float32)
    assert probe.compare(net, wide, x).verdict == "agree"
    wide.two.weight.data[:2] = wide.two.weight.data[:2].flip(0)
    (source,) = probe.compare(net, wide, x).sources
    assert "two" in source.b
    assert (
        source.notes[0] == "B's are A's with 2 of 3 places of axis 0 exchanged: 0 and 1 exchanged"
    )
