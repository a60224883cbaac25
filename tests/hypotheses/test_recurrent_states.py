"""States of recurrences that begin otherwise, are taken for another one, or are not reset."""

from importlib import import_module

import numpy as np
import pytest
import torch
from named_mistakes import named
from own_seed import RNG
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import probe


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture
def lstm():
    torch.manual_seed(0)
    return nn.LSTM(5, 6, batch_first=True).eval()


@torch.no_grad()
def step_by_step(lstm, x, state):
    """(hidden, cell) states of every step."""
    states = []
    for t in range(x.shape[1]):
        _, state = lstm(x[:, t : t + 1], state)
        states.append([one[0] for one in state])
    return [torch.stack(one, 1).numpy() for one in zip(*states, strict=True)]


def ones(lstm, count):
    return torch.ones(1, count, lstm.hidden_size)


@pytest.mark.parametrize(
    ("hidden", "cell", "told"),
    [(1, 1, "the state"), (1, 0, "the hidden state"), (0, 1, "the cell state")],
)
def test_states_that_begin_with_ones(lstm, hidden, cell, told):
    x, one = drawn(3, 7, 5), ones(lstm, 3)
    y, _ = step_by_step(lstm, torch.from_numpy(x), (hidden * one, cell * one))
    finding = named(lstm, "", x, [y, None, None])
    assert finding.slug == "initial-state"
    assert finding.claim == f"{told} begins with ones, not zeros"


def test_the_cell_state_for_the_output(lstm):
    x, zeros = drawn(3, 7, 5), 0 * ones(lstm, 3)
    _, cells = step_by_step(lstm, torch.from_numpy(x), (zeros, zeros))
    finding = named(lstm, "", x, [cells, None, None])
    assert finding.slug == "other-state"
    assert finding.claim == "the output is the cell state, not the hidden state"


@torch.no_grad()
def test_states_that_are_carried(lstm):
    x = drawn(3, 7, 5)
    parts, state = [], None
    for sample in torch.from_numpy(x).split(1):
        y, state = lstm(sample, state)
        parts.append(y)
    finding = named(lstm, "", x, [torch.cat(parts).numpy(), None, None])
    assert finding.slug == "carried-state"
    assert finding.claim == "the state is carried from each sample to the next"
    _, state = lstm(torch.from_numpy(x))
    again = lstm(torch.from_numpy(x), state)[0].numpy()
    finding = named(lstm, "", x, [again, None, None])
    assert finding.slug == "carried-state"
    assert "a pass over the same input" in finding.claim


@torch.no_grad()
def test_states_that_are_reset_at_every_step():
    torch.manual_seed(0)
    gru, x = nn.GRU(5, 6, batch_first=True).eval(), drawn(3, 7, 5)
    y = torch.cat([gru(one)[0] for one in torch.from_numpy(x).split(1, dim=1)], 1)
    finding = named(gru, "", x, [y.numpy(), None])
    assert finding.slug == "carried-state"
    assert finding.claim == "the state is reset at every time step"


@torch.no_grad()
def test_states_that_begin_anew_at_each_chunk():
    torch.manual_seed(0)
    gru, x = nn.GRU(5, 6, batch_first=True).eval(), drawn(3, 8, 5)
    y = torch.cat([gru(part)[0] for part in torch.from_numpy(x).split(3, dim=1)], 1)
    finding = named(gru, "", x, [y.numpy(), None])
    assert finding.slug == "carried-state"
    assert finding.claim == "the state is reset after every 3 time steps"


def test_states_in_half_precision(lstm):
    x, out = drawn(2, 6, 5), []
    h = c = np.zeros((2, 6))
    w, u, b, d = (weight.detach().numpy() for weight in lstm.parameters())
    for t in range(6):
        i, f, g, o = np.split(x[:, t] @ w.T + b + h @ u.T + d, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        c = c.astype(np.float16).astype(np.float64)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    finding = named(lstm, "", x, [np.stack(out, 1).astype(np.float32), None, None])
    assert finding.slug == "reduced-precision"
    assert finding.claim == "the cell state is stored as float16"


class Packed(nn.Module):
    """The last states of both directions over sequences of different lengths."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.LSTM(5, 6, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return torch.cat([*self.rnn(packed)[1][0]], -1)


@pytest.mark.parametrize("directions", [(0,), (1,), (0, 1)])
@torch.no_grad()
def test_directions_that_run_through_the_padding(directions):
    block, x, lengths = Packed().eval(), drawn(3, 7, 5), np.array([3, 7, 5])
    ends = block(torch.from_numpy(x), torch.from_numpy(lengths)).numpy()
    for direction in directions:
        part = slice(6 * direction, 6 * direction + 6)
        ends[:, part] = block(torch.from_numpy(x), torch.tensor([7, 7, 7])).numpy()[:, part]
    finding = named(block, "", [x, lengths], ends)
    assert finding.slug == "ignored-mask"
    which = {(0,): " of the first recurrence", (1,): " of the second recurrence"}
    told = f"masked time steps{which.get(directions, '')} are computed like all others"
    assert finding.claim == f"{told}, with what the padding of the input holds"


class Given(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.LSTM(5, 6, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x, h, c):
        return self.rnn(x, (h, c))[0]


@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda h, c: (0 * h, 0 * c), "inputs 1 and 2 are taken as zeros"),
        (lambda h, c: (h, 0 * c), "input 2 is taken as zeros"),
        (lambda h, c: (c, h), "inputs 1 and 2, the states, are exchanged"),
        (
            lambda h, c: (h[[0, 2, 1, 3]], c[[0, 2, 1, 3]]),
            "inputs 1 and 2 are taken with the rows (layers, directions) in the order (0, 2, 1, 3)",
        ),
        (
            lambda h, c: (h[[1, 0, 3, 2]], c),
            "input 1 is taken with the rows (layers, directions) in the order (1, 0, 3, 2)",
        ),
    ],
)
def test_given_states(other, told):
    block = Given().eval()
    x, h, c = drawn(3, 7, 5), drawn(4, 3, 6), drawn(4, 3, 6)
    with torch.no_grad():
        y = block(torch.from_numpy(x), *map(torch.from_numpy, other(h, c))).numpy()
    finding = named(block, "", [x, h, c], y)
    assert (finding.slug, finding.claim) == ("initial-state", told)


class Handed(nn.Module):
    """A decoder that begins with what an encoder ended in."""

    def __init__(self, handed=True):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = (nn.GRU(5, 6, batch_first=True) for _ in range(2))
        self.handed = handed

    def forward(self, x, y):
        _, state = self.encoder(x)
        return self.decoder(y, state if self.handed else None)[0]


def test_a_state_that_is_not_handed_on():
    x, y = drawn(3, 7, 5), drawn(3, 4, 5)
    with torch.no_grad():
        wrong = Handed(False).eval()(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    finding = named(Handed().eval(), "", [x, y], wrong)
    assert finding.slug == "initial-state"
    told = "the state begins with zeros, not with that of the call before in decoder"
    assert finding.claim == told


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(weights, x, fed="hidden", shown="hidden", begun=0.0):
    """The last state of a Keras LSTM."""
    kernel, recurrent, bias = weights
    state = dict.fromkeys(("hidden", "cell"), np.full((len(x), len(recurrent)), begun))
    for now in x.transpose(1, 0, 2):
        i, f, g, o = np.split(now @ kernel + state[fed] @ recurrent + bias, 4, axis=1)
        cell = sigmoid(f) * state["cell"] + sigmoid(i) * np.tanh(g)
        state = {"cell": cell, "hidden": sigmoid(o) * np.tanh(cell)}
    return state[shown].astype(np.float32)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("mistake", "slug", "told"),
    [
        ({"shown": "cell"}, "other-state", "the output is the cell state, not the hidden state"),
        ({"fed": "cell"}, "other-state", "the gates take the cell state, not the hidden state"),
        ({"begun": 1.0}, "initial-state", "the state begins with ones, not zeros"),
    ],
)
def test_states_of_keras(mistake, slug, told):
    keras = import_module("keras")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((7, 5)), keras.layers.LSTM(6)])
    (layer,), x = model.layers, drawn(3, 7, 5)
    right, wrong = (by_hand(layer.get_weights(), x, **one) for one in ({}, mistake))
    assert probe.check(model, layer.name, x, expected=right).verdict == "agree"
    finding = named(model, layer.name, x, wrong)
    assert (finding.slug, finding.claim) == (slug, told)
