"""Recurrent, state-space, speech and encoder-decoder networks and the same ones again.

Written from the form of a pair alone, without a look at the tool that compares them.
"""

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from outside_language import (
    Edit,
    Passing,
    Scaled,
    Spec,
    Twice,
    coarse,
    edited,
    exchanged,
    exported,
    halved,
    hugging,
    ids,
    initial,
    option,
    param,
    put,
    quantised,
    randomised,
    rewritten,
    twisted,
    untied,
    whole,
)
from pair import Fault, Pair, Sources, at
from running import outputs
from torch import nn

Options = Mapping[str, Any]


def values(seed: int, *shape: int) -> np.ndarray:
    """An input of floats."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ported(
    name: str,
    build: Callable[[], Any],
    x: Any,
    port: Callable[..., Any],
    faults: Mapping[str, tuple[Options, str, Sources]],
    to_b: Callable[[Any], Any] = lambda x: x,
    from_b: Callable[[Any], Any] = lambda y: y,
    rounding: float = 1e-4,
) -> Pair:
    """A model and what `port` makes of it and of a folder; options of `port` plant the faults."""

    def make(folder: Path, options: Options) -> Any:
        return port(build(), folder, **options)

    wrong = {
        key: Fault(lambda folder, options=options: make(folder, options), what, sources)
        for key, (options, what, sources) in faults.items()
    }
    return Pair(
        name,
        lambda: (build(), x),
        lambda folder: make(folder, {}),
        wrong,
        to_b,
        from_b,
        rounding,
    )


def dumped(
    name: str,
    build: Callable[[], Any],
    x: Any,
    names: Mapping[str, str],
    faults: Mapping[str, Spec],
) -> Pair:
    """A model and the outputs of some of its layers as arrays, under names of their own."""

    def write(folder: Path, edits: Any = ()) -> Path:
        found = outputs(edited(build, edits), x)
        path = folder / f"{name}.npz"
        np.savez(path, **{theirs: found[ours] for ours, theirs in names.items()})
        return path

    wrong = {
        key: Fault(lambda folder, edits=edits: write(folder, edits), what, sources)
        for key, (edits, what, sources) in faults.items()
    }
    last = list(names.values())[-1]
    return Pair(name, lambda: (build(), x), write, wrong, from_b=lambda y: y[last])


def blocks(weight: np.ndarray, order: tuple[int, ...], axis: int = 0) -> np.ndarray:
    """The gates of a matrix in another order."""
    parts = np.split(weight, len(order), axis)
    return np.concatenate([parts[i] for i in order], axis)


# Recurrent networks of PyTorch.


class Tagger(nn.Module):
    """Embedded tokens, recurrent layers and a head for each place."""

    def __init__(self, kind: type[nn.Module], layers: int = 1, both: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(71, 12)
        self.rnn = kind(12, 16, layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(32 if both else 16, 9)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.table(input_ids))[0])


def tagger(kind: type[nn.Module], seed: int, *options: Any) -> Callable[[], nn.Module]:
    """What builds a tagger."""
    return lambda: randomised(Tagger(kind, *options), seed)


def _arrays(layer: Any, ending: str) -> list[np.ndarray]:
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [getattr(layer, f"{kind}_{ending}").detach().numpy() for kind in kinds]


def lstm_in_keras(
    model: Any,
    folder: Path,
    order: tuple[int, ...] = (0, 1, 2, 3),
    one_bias: bool = False,
    transposed: bool = False,
    swapped: bool = False,
    hard: bool = False,
) -> Any:
    """Two layers of LSTM in Keras, the two biases of each as one."""
    import keras

    given = keras.Input((11,), dtype="int32")
    embed = keras.layers.Embedding(71, 12, name="words")
    layers = [
        keras.layers.LSTM(
            16,
            return_sequences=True,
            recurrent_activation="hard_sigmoid" if hard and i else "sigmoid",
            name=f"memory_{i}",
        )
        for i in range(2)
    ]
    head = keras.layers.Dense(9, name="scores")
    again = keras.Model(given, head(layers[1](layers[0](embed(given)))))
    embed.set_weights([model.table.weight.detach().numpy()])
    for i, layer in enumerate(layers):
        into, own, bias, more = _arrays(model.rnn, f"l{i}")
        bias = bias if one_bias and i == 0 else bias + more
        turn = order if i == 1 else (0, 1, 2, 3)
        kernel, own = blocks(into, turn).T, blocks(own, turn).T
        if transposed and i == 0:
            own = np.concatenate([one.T for one in np.split(own, 4, 1)], 1)
        layer.set_weights([kernel, own, blocks(bias, turn)])
    head.set_weights([model.head.weight.detach().numpy().T, model.head.bias.detach().numpy()])
    return again


def gru_in_keras(
    model: Any,
    folder: Path,
    order: tuple[int, ...] = (1, 0, 2),
    reset_after: bool = True,
    no_second: bool = False,
) -> Any:
    """A GRU in Keras, whose update gate comes first."""
    import keras

    given = keras.Input((10,), dtype="int32")
    embed = keras.layers.Embedding(71, 12, name="words")
    layer = keras.layers.GRU(16, return_sequences=True, reset_after=reset_after, name="memory")
    head = keras.layers.Dense(9, name="scores")
    again = keras.Model(given, head(layer(embed(given))))
    embed.set_weights([model.table.weight.detach().numpy()])
    into, own, bias, more = (blocks(one, order) for one in _arrays(model.rnn, "l0"))
    more = 0 * more if no_second else more
    shift = np.stack([bias, more]) if reset_after else bias + more
    layer.set_weights([into.T, own.T, shift])
    head.set_weights([model.head.weight.detach().numpy().T, model.head.bias.detach().numpy()])
    return again


def elman_in_keras(
    model: Any, folder: Path, relu: bool = False, backwards: bool = False, no_bias: bool = False
) -> Any:
    """A plain recurrent layer in Keras."""
    import keras

    given = keras.Input((8,), dtype="int32")
    embed = keras.layers.Embedding(71, 12, name="words")
    layer = keras.layers.SimpleRNN(
        16,
        activation="relu" if relu else "tanh",
        return_sequences=True,
        go_backwards=backwards,
        name="memory",
    )
    head = keras.layers.Dense(9, name="scores")
    again = keras.Model(given, head(layer(embed(given))))
    embed.set_weights([model.table.weight.detach().numpy()])
    into, own, bias, more = _arrays(model.rnn, "l0")
    layer.set_weights([into.T, own.T, bias if no_bias else bias + more])
    head.set_weights([model.head.weight.detach().numpy().T, model.head.bias.detach().numpy()])
    return again


class TwoWays(nn.Module):
    """Two GRUs of one direction each for one of both directions, the second on the reversed."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.words, self.scores = copy.deepcopy(model.table), copy.deepcopy(model.head)
        self.there = nn.GRU(12, 16, batch_first=True)
        self.back = nn.GRU(12, 16, batch_first=True)
        for layer, ending in ((self.there, "l0"), (self.back, "l0_reverse")):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(layer, f"{kind}_l0").data = getattr(model.rnn, f"{kind}_{ending}").data
        self.turned_back, self.there_first = True, True

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.words(input_ids)
        there, back = self.there(x)[0], self.back(x.flip(1))[0]
        back = back.flip(1) if self.turned_back else back
        return self.scores(torch.cat([there, back] if self.there_first else [back, there], -1))


class Steps(nn.Module):
    """An LSTM as a loop over time, with states as one tensor of two."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.words, self.scores = copy.deepcopy(model.table), copy.deepcopy(model.head)
        into, own, bias, more = (torch.tensor(one) for one in _arrays(model.rnn, "l0"))
        self.matrix = nn.Parameter(torch.cat([into, own], 1))
        self.shift = nn.Parameter(bias + more)
        self.order, self.forget, self.cell_out = (0, 1, 2, 3), 0.0, torch.tanh

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.words(input_ids)
        state = torch.zeros(2, x.shape[0], 16)
        found = []
        for t in range(x.shape[1]):
            gates = torch.cat([x[:, t], state[0]], -1) @ self.matrix.T + self.shift
            parts = gates.chunk(4, -1)
            i, f, g, o = (parts[k] for k in self.order)
            cell = torch.sigmoid(f + self.forget) * state[1] + i.sigmoid() * g.tanh()
            state = torch.stack([o.sigmoid() * self.cell_out(cell), cell])
            found.append(state[0])
        return self.scores(torch.stack(found, 1))


def directions_exchanged(model: Any) -> None:
    """The weights of the two directions in each other's place."""
    for name, one in list(model.rnn.named_parameters()):
        if not name.endswith("reverse"):
            other = getattr(model.rnn, f"{name}_reverse")
            one.data, other.data = other.data.clone(), one.data.clone()


def gates(order: tuple[int, ...], ending: str) -> Edit:
    """The gates of a recurrent layer in another order."""

    def edit(model: Any) -> None:
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            one = getattr(model.rnn, f"{kind}_{ending}")
            one.data = torch.cat([one.data.chunk(len(order))[i] for i in order])

    return edit


LSTM_2 = tagger(nn.LSTM, 101, 2)
GRU_1 = tagger(nn.GRU, 102)
RNN_1 = tagger(nn.RNN, 103)
GRU_BOTH = tagger(nn.GRU, 104, 1, True)
LSTM_1 = tagger(nn.LSTM, 105)
LSTM_BOTH = tagger(nn.LSTM, 106, 2, True)
ORDER = "the gates of the {} are in the order of {}"


def only(x: Any) -> Any:
    """The one input."""
    return x["input_ids"]


RECURRENT = [
    ported(
        "lstm_in_keras",
        LSTM_2,
        {"input_ids": ids(111, 11)},
        lstm_in_keras,
        {
            "order_of_onnx": (
                {"order": (0, 3, 1, 2)},
                ORDER.format("second layer", "ONNX: input, output, forget, cell"),
                at("rnn"),
            ),
            "one_bias": (
                {"one_bias": True},
                "the first layer lacks the recurrent bias",
                at("rnn"),
            ),
            "own_matrix_transposed": (
                {"transposed": True},
                "the first layer's recurrent matrices are transposed",
                at("rnn"),
            ),
            "hard_sigmoid": (
                {"hard": True},
                "the gates of the second layer are hard sigmoids",
                at("rnn"),
            ),
        },
        only,
    ),
    ported(
        "gru_in_keras",
        GRU_1,
        {"input_ids": ids(112)},
        gru_in_keras,
        {
            "order_kept": (
                {"order": (0, 1, 2)},
                ORDER.format("GRU", "PyTorch: reset, update, new"),
                at("rnn"),
            ),
            "reset_before": (
                {"reset_after": False},
                "the reset gate acts before the recurrent matrix, not behind it",
                at("rnn"),
            ),
            "no_recurrent_bias": (
                {"no_second": True},
                "the recurrent bias is dropped",
                at("rnn"),
            ),
        },
        only,
    ),
    ported(
        "elman_in_keras",
        RNN_1,
        {"input_ids": ids(113, 8)},
        elman_in_keras,
        {
            "relu": ({"relu": True}, "ReLU for the hyperbolic tangent", at("rnn")),
            "backwards": ({"backwards": True}, "the layer runs backwards in time", at("rnn")),
            "one_bias": ({"no_bias": True}, "the recurrent bias is dropped", at("rnn")),
        },
        only,
    ),
    rewritten(
        "gru_of_two_directions_split",
        GRU_BOTH,
        {"input_ids": ids(114, 9)},
        TwoWays,
        {
            "directions_exchanged": (
                option("", there_first=False),
                "the backward outputs come first",
                at("rnn", "head"),
            ),
            "not_turned_back": (
                option("", turned_back=False),
                "the backward outputs are not turned back in time",
                at("rnn"),
            ),
            "weights_exchanged": (
                exchanged("there", "back"),
                "the two directions have each other's weights",
                at("rnn"),
            ),
        },
    ),
    rewritten(
        "lstm_as_loop",
        LSTM_1,
        {"input_ids": ids(115, 9)},
        Steps,
        {
            "output_and_cell": (
                option("", order=(0, 1, 3, 2)),
                ORDER.format("loop", "input, forget, output, cell"),
                at("rnn"),
            ),
            "forget_bias": (
                option("", forget=1.0),
                "one is added to the forget gate",
                at("rnn"),
            ),
            "no_tanh_of_cell": (
                option("", cell_out=torch.nn.functional.relu),
                "the cell goes through ReLU, not tanh, on its way out",
                at("rnn"),
            ),
            "head_bias": (
                param("scores.bias", torch.zeros_like),
                "the head's bias is dropped",
                at("head"),
            ),
        },
    ),
    exported(
        "lstm_both_ways_exported",
        LSTM_BOTH,
        {"input_ids": ids(116, 9)},
        {
            "directions_exchanged": (
                directions_exchanged,
                "forward and backward weights of both layers are exchanged",
                at("rnn"),
            ),
            "order_of_gates": (
                gates((1, 0, 2, 3), "l1_reverse"),
                "input and forget gate of the second layer's backward half are exchanged",
                at("rnn"),
            ),
        },
        called={"input_ids": "words"},
        take=lambda y: y,
    ),
    exported(
        "gru_int8",
        GRU_1,
        {"input_ids": ids(117)},
        {
            "coarse_head": (
                param("head.weight", coarse),
                "the head was rounded to seven levels before",
                at("head"),
            ),
        },
        take=lambda y: y,
        then=quantised,
        rounding=0.05,
        after={
            "zero_point": (
                initial("table.weight_zero_point", lambda old: old + 20),
                "the zero point of the quantised embeddings is off by twenty",
                at("table"),
            ),
        },
    ),
    exported(
        "lstm_in_half_precision",
        LSTM_1,
        {"input_ids": ids(118, 8)},
        {
            "row_zero": (
                param("table.weight", lambda old: old.roll(1, 0)),
                "tokens are off by one in the table of embeddings",
                at("table"),
            ),
            "no_bias": (
                param("rnn.bias_ih_l0", torch.zeros_like),
                "the input bias is dropped",
                at("rnn"),
            ),
        },
        take=lambda y: y,
        then=halved,
        rounding=1e-2,
    ),
    dumped(
        "lstm_as_arrays",
        LSTM_2,
        {"input_ids": ids(119)},
        {"table": "01_words", "rnn": "02_memory", "head": "03_scores"},
        {
            "order_of_gates": (
                gates((0, 2, 1, 3), "l0"),
                "forget gate and cell of the first layer are exchanged",
                at("rnn"),
            ),
            "head_row": (
                param("head.weight", lambda old: old.roll(1, 0)),
                "the rows of the head are moved by one",
                at("head"),
            ),
        },
    ),
]


# State-space blocks and retention, in parallel and step by step.


class Diagonal(nn.Module):
    """A diagonal state-space layer as one long convolution."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.rates = nn.Parameter(torch.rand(width, states) + 0.2)
        self.turns = nn.Parameter(math.pi * torch.arange(states).repeat(width, 1).float())
        self.out = nn.Parameter(torch.randn(width, states, 2) / states**0.5)
        self.skip = nn.Parameter(torch.ones(width))
        self.step = nn.Parameter(torch.linspace(-2.5, -1.0, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[1]
        poles = torch.complex(-self.rates, self.turns)
        turned = poles * self.step.exp()[:, None]
        weights = torch.view_as_complex(self.out) * (turned.exp() - 1) / poles
        powers = (turned[..., None] * torch.arange(length)).exp()
        kernel = 2 * (weights[..., None] * powers).sum(1).real
        spectrum = torch.fft.rfft(x.transpose(1, 2), 2 * length) * torch.fft.rfft(
            kernel, 2 * length
        )
        y = torch.fft.irfft(spectrum, 2 * length)[..., :length].transpose(1, 2)
        return y + self.skip * x


class Filtered(nn.Module):
    """Blocks of a normalisation, a state-space layer and a mixing layer."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(3, 16)
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(3))
        self.spaces = nn.ModuleList(Diagonal(16, 4) for _ in range(3))
        self.mixes = nn.ModuleList(nn.Linear(16, 32) for _ in range(3))
        self.gate = nn.GLU()
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.into(x)
        for norm, space, mix in zip(self.norms, self.spaces, self.mixes, strict=True):
            x = x + self.gate(mix(nn.functional.gelu(space(norm(x)))))
        return self.head(x)


class Recurrence(nn.Module):
    """The state-space layer step by step."""

    def __init__(self, layer: Diagonal) -> None:
        super().__init__()
        self.poles = nn.Parameter(torch.complex(-layer.rates.data, layer.turns.data))
        self.read = nn.Parameter(torch.view_as_complex(layer.out.data.clone()))
        self.skip = nn.Parameter(layer.skip.data.clone())
        self.log_step = nn.Parameter(layer.step.data.clone())
        self.euler, self.late, self.both = False, False, True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = self.log_step.exp()[:, None]
        decay = (self.poles * step).exp()
        into = step if self.euler else (decay - 1) / self.poles
        state = torch.zeros(x.shape[0], *self.poles.shape, dtype=torch.complex64)
        found = []
        for t in range(x.shape[1]):
            before = state
            state = decay * state + into * x[:, t, :, None]
            seen = before if self.late else state
            found.append((self.read * seen).sum(-1).real * (2 if self.both else 1))
        return torch.stack(found, 1) + self.skip * x


def stepwise(model: Filtered) -> nn.Module:
    """The same network with recurrences."""
    again = copy.deepcopy(model)
    again.spaces = nn.ModuleList(Recurrence(layer) for layer in model.spaces)
    return Renamed(again)


class Renamed(nn.Module):
    """A network under another name."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return self.net(*args)


def filtered() -> nn.Module:
    """A small network of state-space layers."""
    torch.manual_seed(120)
    model = Filtered().eval()
    with torch.no_grad():
        for space in model.spaces:
            space.skip += 0.3 * torch.randn(16)
        for norm in model.norms:
            norm.weight += 0.2 * torch.randn(16)
    return model


class Retention(nn.Module):
    """Retention in its parallel form, one decay for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(24, 24, bias=False) for _ in range(3))
        self.gate, self.out = nn.Linear(24, 24), nn.Linear(24, 24)
        self.norm = nn.GroupNorm(3, 24, eps=1e-12)
        self.register_buffer("decays", 1 - 2.0 ** (-1 - torch.arange(3.0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            one(x).view(batch, length, 3, 8).transpose(1, 2) for one in (self.q, self.k, self.v)
        )
        places = torch.arange(length)
        apart = places[:, None] - places
        decay = torch.where(apart >= 0, self.decays[:, None, None] ** apart.clamp(min=0), 0.0)
        y = (q @ k.transpose(2, 3) * 8**-0.5 * decay) @ v
        y = self.norm(y.transpose(1, 2).reshape(batch * length, 24)).view(batch, length, 24)
        return self.out(nn.functional.silu(self.gate(x)) * y)


class Retaining(nn.Module):
    """Two blocks of retention."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(71, 24)
        self.first, self.second = Retention(), Retention()
        self.norm_1, self.norm_2 = nn.LayerNorm(24), nn.LayerNorm(24)
        self.head = nn.Linear(24, 71, bias=False)
        self.head.weight = self.table.weight

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.table(input_ids)
        x = x + self.first(self.norm_1(x))
        return self.head(x + self.second(self.norm_2(x)))


class Recalling(nn.Module):
    """Retention step by step, with one matrix for all of queries, keys, values and gate."""

    def __init__(self, layer: Retention) -> None:
        super().__init__()
        rows = (layer.q.weight, layer.k.weight, layer.v.weight, layer.gate.weight)
        self.all = nn.Linear(24, 96)
        self.all.weight.data = torch.cat([one.data for one in rows])
        self.all.bias.data = torch.cat([torch.zeros(72), layer.gate.bias.data])
        self.norm, self.out = copy.deepcopy(layer.norm), copy.deepcopy(layer.out)
        self.register_buffer("decays", layer.decays.clone())
        self.scale, self.decay_first, self.late = 8**-0.5, True, False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v, gate = self.all(x).chunk(4, -1)
        q, k, v = (one.view(batch, length, 3, 8) for one in (q, k, v))
        state = torch.zeros(batch, 3, 8, 8)
        found = []
        for t in range(length):
            new, before = k[:, t, :, :, None] * v[:, t, :, None], state
            decay = self.decays[:, None, None]
            state = decay * state + new if self.decay_first else decay * (state + new)
            seen = before if self.late else state
            y = (q[:, t, :, :, None] * seen).sum(2) * self.scale
            found.append(self.norm(y.reshape(batch, 24)))
        return self.out(nn.functional.silu(gate) * torch.stack(found, 1))


def recalling(model: Retaining) -> nn.Module:
    """The same network step by step."""
    again = copy.deepcopy(model)
    again.first, again.second = Recalling(model.first), Recalling(model.second)
    return Renamed(again)


KEYS_AND_VALUES = [*range(24), *range(48, 72), *range(24, 48), *range(72, 96)]


def decayed_once_more(model: Retaining) -> nn.Module:
    """Step by step, the new pair decays at once: each head's normalisation takes that away."""
    again = recalling(model)
    again.net.first.decay_first = again.net.second.decay_first = False
    return again


SPACES = [
    rewritten(
        "state_space_as_recurrence",
        filtered,
        values(121, 2, 20, 3),
        stepwise,
        {
            "euler": (
                option("net.spaces.1", euler=True),
                "the second layer's input is made discrete by Euler's rule",
                at("spaces.1"),
            ),
            "one_step_late": (
                option("net.spaces.0", late=True),
                "the first layer reads the state before its input",
                at("spaces.0"),
            ),
            "half_of_the_pairs": (
                option("net.spaces.2", both=False),
                "the last layer counts one of each pair of conjugates",
                at("spaces.2"),
            ),
            "no_skip": (
                param("net.spaces.1.skip", torch.zeros_like),
                "the second layer has no skip",
                at("spaces.1"),
            ),
            "gate_and_value": (
                param("net.mixes.0.weight", lambda old: old.roll(16, 0)),
                "value and gate are exchanged in the first mixing matrix",
                at("mixes.0"),
            ),
        },
    ),
    rewritten(
        "retention_step_by_step",
        lambda: randomised(Retaining(), 122),
        {"input_ids": ids(122, 9)},
        lambda model: recalling(model),
        {
            "one_step_late": (
                option("net.second", late=True),
                "each place of the second block reads the state before its own key and value",
                at("second"),
            ),
            "decays_of_heads": (
                param("net.first.decays", lambda old: old.flip(0)),
                "the decays of the first block's heads are in another order",
                at("first"),
            ),
            "head_not_tied": (
                untied("net.head", 4),
                "the head has weights of its own",
                at("head"),
            ),
            "epsilon": (
                option("net.first.norm", eps=0.1),
                "epsilon 0.1 in the first block's normalisation of heads",
                at("first.norm", "first"),
            ),
        },
        to_b=only,
    ),
    rewritten(
        "retention_decayed_once_more",
        lambda: randomised(Retaining(), 123),
        {"input_ids": ids(123, 8)},
        decayed_once_more,
        {
            "keys_and_values": (
                param("net.first.all.weight", lambda old: old[KEYS_AND_VALUES]),
                "keys and values of the first block's fused matrix are exchanged",
                at("first", "first.k", "first.v"),
            ),
            "no_gate_bias": (
                param("net.second.all.bias", torch.zeros_like),
                "the bias of the second block's gate is dropped",
                at("second.gate"),
            ),
        },
        to_b=only,
    ),
]


# Recurrent networks of Keras, in ONNX written by hand.


def keras_tagger(kind: str, seed: int, both: bool) -> Callable[[], Any]:
    """What builds a tagger in Keras."""

    def build() -> Any:
        import keras

        given = keras.Input((9,), dtype="int32", name="tokens")
        x = keras.layers.Embedding(71, 12, name="words")(given)
        layer = getattr(keras.layers, kind)(16, return_sequences=True, name="memory")
        x = (keras.layers.Bidirectional(layer, name="both") if both else layer)(x)
        x = keras.layers.LayerNormalization(epsilon=1e-3, name="norm")(x)
        model = keras.Model(given, keras.layers.Dense(9, name="scores")(x))
        draw = np.random.default_rng(seed)
        model.set_weights([0.4 * draw.normal(size=one.shape) for one in model.get_weights()])
        return model

    return build


def in_onnx(
    model: Any,
    folder: Path,
    reset_after: bool = True,
    order: tuple[int, ...] | None = None,
    ways: tuple[int, ...] = (0, 1),
    epsilon: float = 1e-3,
    no_own_bias: bool = False,
    interleaved: bool = False,
) -> Path:
    """The tagger as nodes of ONNX, with the last states as one more output."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    lstm = any(layer.name == "memory" for layer in model.layers)
    layers = {layer.name: layer.get_weights() for layer in model.layers}
    every = layers["memory"] if lstm else layers["both"]
    count = 1 if lstm else 2
    stored = [every[3 * i : 3 * i + 3] for i in range(count)]
    if not lstm:
        stored = [stored[i] for i in ways]
    turn = order or ((0, 3, 1, 2) if lstm else (0, 1, 2))
    w = np.stack([blocks(one[0].T, turn) for one in stored])
    r = np.stack([blocks(one[1].T, turn) for one in stored])
    b = []
    for one in stored:
        first, second = (one[2], 0 * one[2]) if lstm else one[2]
        second = 0 * second if no_own_bias else second
        b.append(np.concatenate([blocks(first, turn), blocks(second, turn)]))
    held = {
        "table": layers["words"][0],
        "w": w,
        "r": r,
        "b": np.stack(b),
        "gain": layers["norm"][0],
        "shift": layers["norm"][1],
        "kernel": layers["scores"][0],
        "offset": layers["scores"][1],
        "shape": np.array([0, 0, -1]),
    }
    how: dict[str, Any] = {"hidden_size": 16}
    if not lstm:
        how |= {"direction": "bidirectional", "linear_before_reset": int(reset_after)}
    joined = [0, 1, 3, 2] if interleaved else [0, 1, 2, 3]
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["x"]),
        helper.make_node("Transpose", ["x"], ["time_first"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM" if lstm else "GRU", ["time_first", "w", "r", "b"], ["y", "last"], **how
        ),
        helper.make_node("Transpose", ["y"], ["batch_first"], perm=[2, 0, 1, 3]),
        helper.make_node("Transpose", ["batch_first"], ["ordered"], perm=joined),
        helper.make_node("Reshape", ["ordered", "shape"], ["flat"]),
        helper.make_node(
            "LayerNormalization", ["flat", "gain", "shift"], ["normed"], epsilon=epsilon
        ),
        helper.make_node("MatMul", ["normed", "kernel"], ["product"]),
        helper.make_node("Add", ["product", "offset"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("tokens", TensorProto.INT32, [None, 9])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 9, 9]),
            helper.make_tensor_value_info("last", TensorProto.FLOAT, [count, None, 16]),
        ],
        [
            numpy_helper.from_array(
                np.asarray(one, np.int64 if name == "shape" else np.float32), name
            )
            for name, one in held.items()
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = folder / "tagger.onnx"
    onnx.save(made, path)
    return path


BY_HAND = [
    ported(
        "keras_gru_both_ways_in_onnx",
        keras_tagger("GRU", 131, True),
        ids(131, 9).astype(np.int32),
        in_onnx,
        {
            "reset_before": (
                {"reset_after": False},
                "linear_before_reset is 0: the reset gate acts before the recurrent matrix",
                at("both"),
            ),
            "ways_exchanged": (
                {"ways": (1, 0)},
                "the weights of the two directions are exchanged",
                at("both"),
            ),
            "order_of_pytorch": (
                {"order": (1, 0, 2)},
                ORDER.format("GRU", "PyTorch: reset, update, new"),
                at("both"),
            ),
            "directions_interleaved": (
                {"interleaved": True},
                "the outputs of the directions alternate, feature by feature",
                at("both"),
            ),
            "no_own_bias": (
                {"no_own_bias": True},
                "the recurrent biases are dropped",
                at("both"),
            ),
        },
    ),
    ported(
        "keras_lstm_in_onnx",
        keras_tagger("LSTM", 132, False),
        ids(132, 9).astype(np.int32),
        in_onnx,
        {
            "order_of_keras": (
                {"order": (0, 1, 2, 3)},
                ORDER.format("LSTM", "Keras: input, forget, cell, output"),
                at("memory"),
            ),
            "epsilon": (
                {"epsilon": 1e-1},
                "the normalisation's epsilon is 0.1, not 0.001",
                at("norm"),
            ),
        },
    ),
]


# Encoder-decoders and speech encoders of transformers.

NUMBERS = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0, decoder_start_token_id=1)
T5 = hugging(
    "T5ForConditionalGeneration",
    140,
    vocab_size=71,
    d_model=32,
    d_kv=8,
    d_ff=48,
    num_layers=2,
    num_heads=4,
    feed_forward_proj="gated-gelu",
    use_cache=False,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=20,
    pad_token_id=0,
    decoder_start_token_id=0,
    eos_token_id=2,
)
SIDES = dict(
    vocab_size=71,
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    use_cache=False,
    **NUMBERS,
)
BART = hugging(
    "BartForConditionalGeneration", 141, max_position_embeddings=32, scale_embedding=True, **SIDES
)
WHISPER = hugging(
    "WhisperForConditionalGeneration",
    142,
    num_mel_bins=16,
    max_source_positions=20,
    max_target_positions=16,
    **SIDES,
)
SPEECH = dict(
    vocab_size=71,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    conv_dim=(16, 16),
    conv_kernel=(5, 3),
    conv_stride=(4, 2),
    num_feat_extract_layers=2,
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=4,
)
WAV2VEC2 = hugging("Wav2Vec2Model", 143, **SPEECH)
TWO_TEXTS = {"input_ids": ids(150, 9), "decoder_input_ids": ids(151, 6)}


class FirstRemoved(nn.Module):
    """The place that an even kernel adds, removed in front."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, 1:]


def as_hubert(model: Any) -> Any:
    """wav2vec 2.0 in the class of HuBERT."""
    again = hugging("HubertModel", 0, **SPEECH)()
    again.load_state_dict(model.state_dict())
    return again


def answer_first(x: Any) -> Any:
    """The decoder's tokens in front."""
    return {name: x[name] for name in ("decoder_input_ids", "input_ids")}


SELF = "decoder.block.1.layer.0.SelfAttention"
PAIRED = [
    exported(
        "t5_exported",
        T5,
        TWO_TEXTS,
        {
            "biases_of_both_sides": (
                option("decoder.block.0.layer.0.SelfAttention", is_decoder=False),
                "the decoder's relative positions are put in classes as the encoder's are",
                at(
                    "decoder.block.0.layer.0.SelfAttention",
                    "decoder.block.0.layer.0.SelfAttention.relative_attention_bias",
                ),
            ),
            "scaled_scores": (
                param(f"{SELF}.q.weight", lambda old: old / 8**0.5),
                "the scores of the decoder's second block are divided by a root",
                at(SELF, f"{SELF}.q"),
            ),
            "head_scaled": (
                put("lm_head", lambda old: Scaled(old, 32**-0.5)),
                "the head's input is divided by the root of the width",
                at("lm_head"),
            ),
            "epsilon": (
                option("encoder.block.0.layer.0.layer_norm", variance_epsilon=0.1),
                "epsilon 0.1 in the first normalisation",
                at("encoder.block.0.layer.0.layer_norm"),
            ),
        },
    ),
    exported(
        "bart_inputs_reversed",
        BART,
        TWO_TEXTS,
        {
            "no_embedding_scale": (
                option("model.decoder.embed_tokens", embed_scale=1.0),
                "the decoder's embeddings are not multiplied by the root of the width",
                at("model.decoder.embed_tokens"),
            ),
            "attentions_exchanged": (
                exchanged(
                    "model.decoder.layers.0.encoder_attn", "model.encoder.layers.1.self_attn"
                ),
                "the encoder's second attention and the decoder's first to it have each other's "
                "weights",
                whole(
                    BART,
                    "model.encoder.layers.1.self_attn",
                    "model.decoder.layers.0.encoder_attn",
                ),
            ),
            "positions_by_one": (
                option("model.encoder.embed_positions", offset=3),
                "the encoder's positions are moved by three, not two",
                at("model.encoder.embed_positions"),
            ),
            "block_left_out": (
                put("model.decoder.layers.1", lambda old: Passing()),
                "the decoder's second block is left out",
                whole(BART, "model.decoder.layers.1"),
            ),
        },
        to_b=answer_first,
        called={"decoder_input_ids": "so_far", "input_ids": "text"},
    ),
    exported(
        "whisper_exported",
        WHISPER,
        {
            "input_features": values(152, 2, 16, 40),
            "decoder_input_ids": ids(153, 5),
            "decoder_attention_mask": np.ones((2, 5), np.int64),
        },
        {
            "block_twice": (
                put("model.encoder.layers.0", Twice),
                "the encoder's first block runs twice",
                whole(WHISPER, "model.encoder.layers.0"),
            ),
            "softmax_over_queries": (
                twisted("model.decoder.layers.0.encoder_attn", axis=-2),
                "the softmax of the decoder's first attention to the encoder runs over queries",
                at("model.decoder.layers.0.encoder_attn"),
            ),
            "bands_upside_down": (
                param("model.encoder.conv1.weight", lambda old: old.flip(1)),
                "the first convolution takes the bands of frequency upside down",
                at("model.encoder.conv1"),
            ),
        },
    ),
    rewritten(
        "wav2vec2_as_hubert",
        WAV2VEC2,
        {"input_values": values(154, 2, 240)},
        as_hubert,
        {
            "positions_by_one": (
                put("encoder.pos_conv_embed.padding", lambda old: FirstRemoved()),
                "behind the convolution of positions the first place is removed, not the last",
                at("encoder.pos_conv_embed.padding", "encoder.pos_conv_embed"),
            ),
            "gelu_by_tanh": (
                put(
                    "feature_extractor.conv_layers.1.activation",
                    lambda old: nn.GELU(approximate="tanh"),
                ),
                "GELU by tanh in the second convolution (inherently small)",
                at("feature_extractor.conv_layers.1.activation"),
            ),
            "groups_of_norm": (
                put(
                    "feature_extractor.conv_layers.0.layer_norm",
                    lambda old: _grouped(old, 4),
                ),
                "the first normalisation has four groups, not one for each channel",
                at("feature_extractor.conv_layers.0.layer_norm"),
            ),
        },
    ),
    dumped(
        "wav2vec2_as_arrays",
        WAV2VEC2,
        {"input_values": values(155, 1, 200)},
        {
            "feature_extractor.conv_layers.0": "conv0",
            "feature_extractor.conv_layers.1": "conv1",
            "feature_projection.projection": "projected",
            "encoder.pos_conv_embed": "positions",
            "encoder.layers.0": "block0",
            "encoder.layers.1": "block1",
        },
        {
            "kernel_mirrored": (
                param("feature_extractor.conv_layers.1.conv.weight", lambda old: old.flip(2)),
                "the second convolution's kernel is mirrored in time",
                at("feature_extractor.conv_layers.1.conv"),
            ),
            "other_bias": (
                param("encoder.layers.0.attention.v_proj.bias", torch.zeros_like),
                "the bias of the first block's values is dropped",
                at("encoder.layers.0.attention.v_proj"),
            ),
        },
    ),
]


def _grouped(old: nn.GroupNorm, groups: int) -> nn.GroupNorm:
    new = nn.GroupNorm(groups, old.num_channels, old.eps)
    new.load_state_dict(old.state_dict())
    return new


class Reader(nn.Module):
    """A GRU reads, another writes and looks at what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(71, 12), nn.Embedding(71, 12)
        self.reader = nn.GRU(12, 16, batch_first=True)
        self.writer = nn.GRU(12, 16, batch_first=True)
        self.key = nn.Linear(16, 16, bias=False)
        self.joined = nn.Linear(32, 16)
        self.head = nn.Linear(16, 71)

    def forward(self, text: torch.Tensor, so_far: torch.Tensor) -> torch.Tensor:
        read, state = self.reader(self.source(text))
        written, _ = self.writer(self.target(so_far), state)
        weights = (written @ self.key(read).transpose(1, 2)).softmax(-1)
        return self.head(torch.tanh(self.joined(torch.cat([weights @ read, written], -1))))


class Written(nn.Module):
    """The same with cells, a key folded into the queries, and the joined matrix split."""

    def __init__(self, model: Reader) -> None:
        super().__init__()
        self.a, self.b = copy.deepcopy(model.source), copy.deepcopy(model.target)
        self.read_cell, self.write_cell = nn.GRUCell(12, 16), nn.GRUCell(12, 16)
        for cell, layer in ((self.read_cell, model.reader), (self.write_cell, model.writer)):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(cell, kind).data = getattr(layer, f"{kind}_l0").data.clone()
        self.query = nn.Linear(16, 16, bias=False)
        self.query.weight.data = model.key.weight.data.T.contiguous()
        self.of_read, self.of_written = nn.Linear(16, 16), nn.Linear(16, 16, bias=False)
        self.of_read.weight.data = model.joined.weight.data[:, :16].clone()
        self.of_read.bias.data = model.joined.bias.data.clone()
        self.of_written.weight.data = model.joined.weight.data[:, 16:].clone()
        self.out = copy.deepcopy(model.head)
        self.axis, self.handed_over = -1, True

    def forward(self, so_far: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(text.shape[0], 16)
        read, written = [], []
        for token in self.a(text).unbind(1):
            state = self.read_cell(token, state)
            read.append(state)
        state = state if self.handed_over else 0 * state
        for token in self.b(so_far).unbind(1):
            state = self.write_cell(token, state)
            written.append(state)
        memory, states = torch.stack(read, 1), torch.stack(written, 1)
        weights = (self.query(states) @ memory.transpose(1, 2)).softmax(self.axis)
        return self.out(torch.tanh(self.of_read(weights @ memory) + self.of_written(states)))


def listener(seed: int) -> Callable[[], Any]:
    """What builds a small recogniser of speech in Keras: convolutions, an LSTM both ways, a sum."""

    def build() -> Any:
        import keras

        given = keras.Input((24, 6), name="bands")
        x = keras.layers.Conv1D(12, 5, 2, "same", activation="relu", name="fold")(given)
        x = keras.layers.Conv1D(12, 3, padding="causal", dilation_rate=2, name="wide")(x)
        x = keras.layers.BatchNormalization(epsilon=1e-3, name="norm")(x)
        memory = keras.layers.LSTM(10, return_sequences=True, name="memory")
        x = keras.layers.Bidirectional(memory, merge_mode="sum", name="both")(x)
        model = keras.Model(given, keras.layers.Dense(8, "softmax", name="letters")(x))
        draw = np.random.default_rng(seed)
        held = [0.4 * draw.normal(size=one.shape) for one in model.get_weights()]
        names = [one.path.rsplit("/", 1)[-1] for one in model.weights]
        model.set_weights(
            [
                np.abs(one) + 0.3 if name in ("gamma", "moving_variance") else one
                for name, one in zip(names, held, strict=True)
            ]
        )
        return model

    return build


class Listening(nn.Module):
    """The recogniser in PyTorch: the normalisation folded away, logarithms at the end."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        held = {layer.name: layer.get_weights() for layer in model.layers}
        self.fold, self.wide = nn.Conv1d(6, 12, 5, 2), nn.Conv1d(12, 12, 3, dilation=2)
        gain, shift, mean, variance = held["norm"]
        scale = gain / np.sqrt(variance + 1e-3)
        kernel, bias = held["wide"]
        for layer, one, more in (
            (self.fold, *held["fold"]),
            (self.wide, kernel * scale, (bias - mean) * scale + shift),
        ):
            layer.weight.data = torch.tensor(one.transpose(2, 1, 0).copy())
            layer.bias.data = torch.tensor(more)
        self.rnn = nn.LSTM(12, 10, batch_first=True, bidirectional=True)
        for i, ending in enumerate(("l0", "l0_reverse")):
            into, own, more = held["both"][3 * i : 3 * i + 3]
            getattr(self.rnn, f"weight_ih_{ending}").data = torch.tensor(into.T.copy())
            getattr(self.rnn, f"weight_hh_{ending}").data = torch.tensor(own.T.copy())
            getattr(self.rnn, f"bias_ih_{ending}").data = torch.tensor(more)
            getattr(self.rnn, f"bias_hh_{ending}").data = torch.zeros(40)
        self.letters = nn.Linear(10, 8)
        kernel, bias = held["letters"]
        self.letters.weight.data = torch.tensor(kernel.T.copy())
        self.letters.bias.data = torch.tensor(bias)
        self.before, self.causal, self.only = 1, 4, None

    def forward(self, bands: torch.Tensor) -> torch.Tensor:
        x = nn.functional.pad(bands.transpose(1, 2), (self.before, 3 - self.before))
        x = torch.relu(self.fold(x))
        x = self.wide(nn.functional.pad(x, (self.causal, 4 - self.causal))).transpose(1, 2)
        there, back = self.rnn(x)[0].chunk(2, -1)
        return self.letters(there + back).log_softmax(-1)


class LastStates(nn.Module):
    """The last state and cell of two layers of LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.rnn = nn.Embedding(71, 12), nn.LSTM(12, 16, 2, batch_first=True)

    def forward(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rnn(self.table(input_ids))[1]


MORE = [
    rewritten(
        "reader_and_writer",
        lambda: randomised(Reader(), 160),
        (ids(160, 9), ids(161, 5)),
        Written,
        {
            "softmax_over_writer": (
                option("", axis=1),
                "the softmax runs over what is written, not over what was read",
                at(""),
            ),
            "state_not_handed_over": (
                option("", handed_over=False),
                "the writer starts with zeros, not with the reader's last state",
                at("writer", ""),
            ),
            "key_not_transposed": (
                param("query.weight", lambda old: old.T),
                "the matrix of keys is applied to queries without being transposed",
                at("key", ""),
            ),
            "tables_exchanged": (
                exchanged("a", "b"),
                "the two tables of embeddings are exchanged",
                (("source",), ("target",)),
            ),
        },
        to_b=lambda x: (x[1], x[0]),
    ),
    rewritten(
        "keras_listener_in_torch",
        listener(162),
        values(162, 2, 24, 6),
        Listening,
        {
            "padded_as_torch": (
                option("", before=2),
                "the first convolution pads two places in front and one behind, not one and two",
                at("fold"),
            ),
            "not_causal": (
                option("", causal=2),
                "the second convolution pads both sides alike, it is not causal",
                at("wide", "norm"),
            ),
            "order_of_onnx": (
                gates((0, 3, 1, 2), "l0"),
                ORDER.format("forward LSTM", "ONNX: input, output, forget, cell"),
                at("both"),
            ),
            "backward_bias": (
                param("rnn.bias_ih_l0_reverse", torch.zeros_like),
                "the biases of the backward LSTM are dropped",
                at("both"),
            ),
        },
        from_b=np.exp,
    ),
    exported(
        "lstm_states_stacked",
        lambda: randomised(LastStates(), 163),
        {"input_ids": ids(163, 7)},
        {
            "forget_and_input": (
                gates((1, 0, 2, 3), "l1"),
                "input and forget gate of the second layer are exchanged",
                at("rnn"),
            ),
            "no_recurrent_bias": (
                param("rnn.bias_hh_l0", torch.zeros_like),
                "the first layer's recurrent bias is dropped",
                at("rnn"),
            ),
        },
        from_b=lambda y: y[0],
        take=torch.stack,
    ),
]

MARIAN = hugging("MarianMTModel", 170, max_position_embeddings=32, scale_embedding=True, **SIDES)
SPEECH_TO_TEXT = hugging(
    "Speech2TextForConditionalGeneration",
    171,
    max_source_positions=32,
    max_target_positions=16,
    input_feat_per_channel=8,
    conv_channels=24,
    **SIDES,
)
MARIAN_TEXTS = {**TWO_TEXTS, "decoder_attention_mask": np.ones((2, 6), np.int64)}

TRANSLATORS = [
    exported(
        "marian_exported",
        MARIAN,
        MARIAN_TEXTS,
        {
            "sines_and_cosines_alternate": (
                param(
                    "model.encoder.embed_positions.weight",
                    lambda old: old.view(-1, 2, 16).transpose(1, 2).reshape(-1, 32),
                ),
                "sines and cosines of the encoder's positions alternate, they are not halves",
                at("model.encoder.embed_positions"),
            ),
            "keys_of_decoder": (
                twisted("model.decoder.layers.1.self_attn", no_mask=True),
                "the decoder's second block sees later places",
                at("model.decoder.layers.1.self_attn"),
            ),
            "no_embedding_scale": (
                option("model.encoder", embed_scale=1.0),
                "the encoder's embeddings are not multiplied by the root of the width",
                at("model.encoder", "model.encoder.embed_tokens"),
            ),
        },
    ),
    dumped(
        "speech_to_text_as_arrays",
        SPEECH_TO_TEXT,
        {
            "input_features": values(172, 2, 32, 8),
            "decoder_input_ids": ids(173, 5),
        },
        {
            "model.encoder.conv": "subsampled",
            "model.encoder.layers.0": "heard_0",
            "model.encoder.layers.1": "heard_1",
            "model.decoder.layers.0": "said_0",
            "model.decoder.layers.1": "said_1",
            "lm_head": "letters",
        },
        {
            "attention_scale": (
                option("model.decoder.layers.1.encoder_attn", scaling=1.0),
                "the decoder's second attention to the encoder has no scale",
                at("model.decoder.layers.1.encoder_attn"),
            ),
            "kernel_mirrored": (
                param("model.encoder.conv.conv_layers.1.weight", lambda old: old.flip(2)),
                "the second convolution's kernel is mirrored in time",
                at("model.encoder.conv.conv_layers.1"),
            ),
        },
    ),
]

PAIRS = [*RECURRENT, *SPACES, *BY_HAND, *PAIRED, *MORE, *TRANSLATORS]
