"""Steps left out, inputs ignored, tensors exchanged: in blocks of the user's own code."""

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_seed import RNG
from torch import nn

import probe


class Block(nn.Module):
    """What many are: a norm and a gated sum around a residual connection."""

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.LayerNorm(8), nn.LayerNorm(8)
        self.gate, self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        h = self.norm(x)
        y = self.down(F.silu(self.gate(h)) * self.up(h))
        return self.last(x + y)


def made():
    torch.manual_seed(0)
    block = Block().eval()
    with torch.no_grad():
        for one in block.parameters():
            one.add_(0.3 * torch.randn_like(one))
    return block, RNG.normal(size=(3, 5, 8)).astype(np.float32)


def residual_forgotten(b, x):
    h = b.norm(x)
    return b.last(b.down(F.silu(b.gate(h)) * b.up(h)))


def norm_forgotten(b, x):
    return b.last(x + b.down(F.silu(b.gate(x)) * b.up(x)))


def last_norm_forgotten(b, x):
    h = b.norm(x)
    return x + b.down(F.silu(b.gate(h)) * b.up(h))


def gate_forgotten(b, x):
    return b.last(x + b.down(b.up(b.norm(x))))


def residual_of_normalised(b, x):
    h = b.norm(x)
    return b.last(h + b.down(F.silu(b.gate(h)) * b.up(h)))


def up_of_the_input(b, x):
    h = b.norm(x)
    return b.last(x + b.down(F.silu(b.gate(h)) * b.up(x)))


MISTAKES = {
    residual_forgotten: ("missing-step", "the input is not added to the output of down"),
    norm_forgotten: ("missing-step", "norm is left out"),
    last_norm_forgotten: ("missing-step", "last is left out"),
    gate_forgotten: ("missing-step", "the output of F.silu is not multiplied with"),
    residual_of_normalised: ("other-tensor", "takes the output of norm"),
    up_of_the_input: ("other-tensor", "up takes the input in place of the output of norm"),
}


@pytest.mark.costly(default=2)
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.__name__)
def test_a_block_computed_with_a_mistake(mistake):
    block, x = made()
    with torch.no_grad():
        y = mistake(block, torch.tensor(x)).numpy()
    report = probe.check(block, "", x, expected=y)
    slug, words = MISTAKES[mistake]
    assert report.findings, report.diagnosis
    assert report.findings[0].slug == slug, report.findings
    assert words in report.findings[0].claim
    assert report.findings[0].left <= 1


@pytest.mark.costly
def test_a_right_block_has_no_finding_and_noise_no_cause():
    block, x = made()
    with torch.no_grad():
        y = block(torch.tensor(x)).numpy()
    assert probe.check(block, "", x, expected=y).verdict == "agree"
    for wrong in (RNG.normal(size=y.shape), y * (1 + 0.01 * RNG.normal(size=y.shape))):
        report = probe.check(block, "", x, expected=wrong.astype(np.float32))
        assert report.verdict == "diverge"
        assert not any(one.left <= 1 for one in report.findings)


def test_the_order_of_a_concatenation():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x):
            return torch.cat([self.a(x), torch.tanh(self.b(x))], -1)

    block, x = Joined().eval(), RNG.normal(size=(9, 6)).astype(np.float32)
    with torch.no_grad():
        left, right = block.a(torch.tensor(x)), torch.tanh(block.b(torch.tensor(x)))
    report = probe.check(block, "", x, expected=torch.cat([right, left], -1).numpy())
    assert report.findings[0].slug == "swapped-inputs"
    assert "are exchanged in" in report.findings[0].claim


def test_an_initial_state_that_was_ignored():
    class Begun(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(4, 3, batch_first=True)

        def forward(self, x, h):
            return self.rnn(x, h)[0]

    block = Begun().eval()
    x, h = RNG.normal(size=(2, 5, 4)).astype(np.float32), RNG.normal(size=(1, 2, 3))
    h = h.astype(np.float32)
    with torch.no_grad():
        y = block(torch.tensor(x), torch.zeros(1, 2, 3)).numpy()
    report = probe.check(block, "", [x, h], expected=y)
    assert report.findings[0].slug == "initial-state"
    assert report.findings[0].claim == "input 1 is taken as zeros"


def test_of_a_call_with_several_steps_it_is_said_which():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.both = nn.Linear(6, 8)

        def forward(self, x):
            gate, up = self.both(x).chunk(2, -1)
            return torch.tanh(gate) * up

    block, x = Gated().eval(), RNG.normal(size=(9, 6)).astype(np.float32)
    with torch.no_grad():
        up, gate = block.both(torch.tensor(x)).chunk(2, -1)
        y = (torch.tanh(gate) * up).numpy()
    claim = probe.check(block, "", x, expected=y).findings[0].claim
    assert "output 0 of chunk" in claim and "output 1 of chunk" in claim


def test_two_normalisations_are_left_out_together():
    one, other = keras.Input((4, 6)), keras.Input((5, 6))
    model = keras.Model([one, other], keras.layers.Dot(2, normalize=True, name="dot")([one, other]))
    rng = np.random.default_rng(7)
    x, y = (rng.normal(size=(2, n, 6)).astype(np.float32) for n in (4, 5))
    (first,) = probe.check(model, "dot", [x, y], expected=x @ y.swapaxes(1, 2)).findings
    assert first.slug == "missing-step" and first.left <= 1
    assert "first Lp normalisation" in first.claim and "second Lp normalisation" in first.claim


def test_a_mean_of_steps_that_are_kept_is_divided_by_all_of_them():
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            keras.layers.Embedding(9, 4, mask_zero=True),
            keras.layers.GlobalAveragePooling1D(name="mean"),
        ]
    )
    ids = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 0], [1, 1, 1, 1, 1, 1]])
    (table,) = model.layers[0].get_weights()
    y = (table[ids] * (ids > 0)[..., None]).sum(1) / 6
    (first,) = probe.check(model, "mean", ids, expected=y.astype(np.float32)).findings
    assert first.claim == "the mask is taken as 1 everywhere where the number of steps takes it"


def test_the_axes_of_a_sequence_are_left_as_they_are():
    torch.manual_seed(0)
    m = nn.RNN(4, 5, batch_first=True).eval()
    x = np.random.default_rng(8).normal(size=(3, 6, 4)).astype(np.float32)
    other = nn.RNN(4, 5).eval()
    other.load_state_dict(m.state_dict())
    with torch.no_grad():
        y = other(torch.tensor(x))[0].numpy()
    (first,) = probe.check(m, "", x, expected=y).findings
    assert first.slug == "missing-step" and "are not brought to the order" in first.claim


class Sums(nn.Module):
    """Each sum takes the one before it twice: 2 ** 30 ways lead from the last to the first."""

    def forward(self, x):
        for _ in range(30):
            x = x + torch.tanh(x)
        return x


def test_steps_of_many_ways_are_gone_through_once():
    x = RNG.normal(size=(2, 3)).astype(np.float32)
    model = Sums().eval()
    y = model(torch.from_numpy(x)).numpy()
    assert probe.check(model, "", x, expected=y + x).verdict == "diverge"
