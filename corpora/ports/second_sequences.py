"""Recurrent layers, memories and state space layers ported to NumPy, right and wrong.

Keras and PyTorch's recurrent layers with options that are seldom used, and modules as practitioners
write them. Written from the frameworks' references and from the errors that porting such layers
brings, without a look at the tool.
"""

from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import conv, gelu, layer_norm, linear, sigmoid, softmax
from corpora.ports.trained import inputs, train_keras, train_torch, weights_of


def build_stacked() -> tuple[Any, np.ndarray]:
    x = inputs(5201, 3, 7, 4)
    x[0, 4:], x[1, 2], x[2, :2] = 0, 0, 0
    i = keras.Input((7, 4))
    cells = [layers.LSTMCell(6), layers.GRUCell(5)]
    y = layers.Masking()(i)
    y = layers.RNN(cells, return_sequences=True, zero_output_for_mask=True, name="stack")(y)
    return train_keras(keras.Model(i, y), 5202, gain=1.3), x


def stacked(
    model: Any,
    x: np.ndarray,
    lstm_order: str = "ifgo",
    states_held: bool = True,
    masked_output: str = "zero",
    gru_order: str = "zr",
    update_keeps: bool = True,
    passed_on: str = "h",
) -> np.ndarray:
    kernel, recurrent, bias, kernel2, recurrent2, bias2 = model.get_layer("stack").get_weights()
    h, c, s = np.zeros((3, 6)), np.zeros((3, 6)), np.zeros((3, 5))
    last, out = np.zeros((3, 5)), []
    for t in range(7):
        there = (x[:, t] != 0).any(-1, keepdims=True)
        parts = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, -1)
        gates = dict(zip(lstm_order, parts, strict=True))
        c_new = sigmoid(gates["f"]) * c + sigmoid(gates["i"]) * np.tanh(gates["g"])
        h_new = sigmoid(gates["o"]) * np.tanh(c_new)
        given = np.split((h_new if passed_on == "h" else c_new) @ kernel2 + bias2[0], 3, -1)
        past = np.split(s @ recurrent2 + bias2[1], 3, -1)
        opened = {n: sigmoid(given[i] + past[i]) for i, n in enumerate(gru_order)}
        new = np.tanh(given[2] + opened["r"] * past[2])
        z = opened["z"] if update_keeps else 1 - opened["z"]
        s_new = z * s + (1 - z) * new
        held = ~there & states_held
        h, c, s = (np.where(held, a, b) for a, b in ((h, h_new), (c, c_new), (s, s_new)))
        last = np.where(there, s, last)
        out.append(np.where(there, s, 0 if masked_output == "zero" else last))
    return np.stack(out, 1).astype(np.float32)


def build_two_kinds() -> tuple[Any, np.ndarray]:
    i = keras.Input((6, 4))
    y = layers.Bidirectional(
        layers.LSTM(5, return_sequences=True, activation="softsign", use_bias=False),
        backward_layer=layers.GRU(
            5, return_sequences=True, go_backwards=True, recurrent_activation="hard_sigmoid"
        ),
        merge_mode="mul",
        name="both",
    )(i)
    return train_keras(keras.Model(i, y), 5203, gain=1.5), inputs(5204, 2, 6, 4)


def two_kinds(
    model: Any,
    x: np.ndarray,
    merge: Any = np.multiply,
    turned_back: bool = True,
    forward_act: str = "softsign",
    out_act: str = "softsign",
    hard: str = "sixth",
    both_biases: bool = True,
) -> np.ndarray:
    kernel, recurrent, kernel2, recurrent2, bias2 = model.get_layer("both").get_weights()
    acts = {"softsign": lambda a: a / (1 + np.abs(a)), "tanh": np.tanh}
    h, c, out = np.zeros((2, 5)), np.zeros((2, 5)), []
    for t in range(6):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * acts[forward_act](g)
        h = sigmoid(o) * acts[out_act](c)
        out.append(h)
    first = np.stack(out, 1)

    def gate(a: np.ndarray) -> np.ndarray:
        return np.clip(a / 6 + 0.5 if hard == "sixth" else 0.2 * a + 0.5, 0, 1)

    s, out = np.zeros((2, 5)), []
    for t in range(5, -1, -1):
        given = np.split(x[:, t] @ kernel2 + bias2[0], 3, -1)
        past = np.split(s @ recurrent2 + (bias2[1] if both_biases else 0), 3, -1)
        z, r = gate(given[0] + past[0]), gate(given[1] + past[1])
        s = z * s + (1 - z) * np.tanh(given[2] + r * past[2])
        out.append(s)
    second = np.stack(out[::-1] if turned_back else out, 1)
    return merge(first, second).astype(np.float32)


class SentenceEncoder(nn.Module):
    """The last states of a GRU in both directions over sentences of given lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5, bidirectional=True, batch_first=True)
        self.project = nn.Linear(10, 7, bias=False)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, h = self.rnn(packed)
        return torch.tanh(self.project(torch.cat([h[0], h[1]], -1)))


def build_packed() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(SentenceEncoder(), 5205, gain=1.3)
    return model, (inputs(5206, 3, 8, 6), np.array([3, 8, 5]))


def packed(
    model: Any,
    x: tuple[np.ndarray, ...],
    forward_end: str = "length",
    backward_start: str = "length",
    order: tuple[int, int] = (0, 1),
    reset: str = "after",
    restored: bool = True,
    keeps: str = "z",
) -> np.ndarray:
    w = weights_of(model)
    x, lengths = x

    def step(a: np.ndarray, h: np.ndarray, end: str) -> np.ndarray:
        given = linear(a, w[f"rnn.weight_ih_l0{end}"], w[f"rnn.bias_ih_l0{end}"])
        weight, bias = w[f"rnn.weight_hh_l0{end}"], w[f"rnn.bias_hh_l0{end}"]
        past = linear(h, weight, bias)
        r, z = sigmoid(given[:5] + past[:5]), sigmoid(given[5:10] + past[5:10])
        if reset == "before":
            new = np.tanh(given[10:] + linear(r * h, weight[10:], bias[10:]))
        else:
            new = np.tanh(given[10:] + r * past[10:])
        return (1 - z) * new + z * h if keeps == "z" else z * new + (1 - z) * h

    rows = []
    for sentence, length in zip(x, lengths, strict=True):
        ahead, back = np.zeros(5, np.float32), np.zeros(5, np.float32)
        for t in range(length if forward_end == "length" else 8):
            ahead = step(sentence[t], ahead, "")
        for t in reversed(range(length if backward_start == "length" else 8)):
            back = step(sentence[t], back, "_reverse")
        ends = (ahead, back)
        rows.append(np.concatenate([ends[order[0]], ends[order[1]]]))
    y = np.stack(rows)
    if not restored:
        y = y[np.argsort(-lengths)]
    return np.tanh(linear(y, w["project.weight"]))


class NormedLSTM(nn.Module):
    """An LSTM whose two products and cell state have a layer norm each, and a forget bias."""

    def __init__(self, size: int, hidden: int, forget_bias: float = 1.0) -> None:
        super().__init__()
        self.hidden, self.forget_bias = hidden, forget_bias
        self.input = nn.Linear(size, 4 * hidden, bias=False)
        self.state = nn.Linear(hidden, 4 * hidden, bias=False)
        self.norm_input = nn.LayerNorm(4 * hidden)
        self.norm_state = nn.LayerNorm(4 * hidden)
        self.norm_cell = nn.LayerNorm(hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(len(x), self.hidden)
        out = []
        for step in x.unbind(1):
            gates = self.norm_input(self.input(step)) + self.norm_state(self.state(h))
            i, g, f, o = gates.chunk(4, -1)
            c = torch.sigmoid(f + self.forget_bias) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(self.norm_cell(c))
            out.append(h)
        return torch.stack(out, 1)


def build_normed() -> tuple[Any, np.ndarray]:
    return train_torch(NormedLSTM(5, 6), 5207), inputs(5208, 2, 8, 5)


def normed(
    model: Any,
    x: np.ndarray,
    forget_bias: float = 1.0,
    norm_of: str = "each product",
    cell_norm: bool = True,
    keeps_normed: bool = False,
    order: str = "igfo",
    half: bool = False,
) -> np.ndarray:
    w = weights_of(model)

    def norm(a: np.ndarray, name: str, pieces: int = 1) -> np.ndarray:
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        if pieces == 1:
            return layer_norm(a, weight, bias)
        a = a.reshape(len(a), pieces, -1)
        return layer_norm(a, weight.reshape(pieces, -1), bias.reshape(pieces, -1)).reshape(
            len(a), -1
        )

    h = c = np.zeros((2, 6), np.float32)
    out = []
    pieces = 4 if norm_of == "each gate" else 1
    for t in range(8):
        a, b = linear(x[:, t], w["input.weight"]), linear(h, w["state.weight"])
        if norm_of == "sum":
            gates = norm(a + b, "norm_input")
        else:
            gates = norm(a, "norm_input", pieces) + norm(b, "norm_state", pieces)
        parts = dict(zip(order, np.split(gates, 4, -1), strict=True))
        c = sigmoid(parts["f"] + np.float32(forget_bias)) * c
        c = c + sigmoid(parts["i"]) * np.tanh(parts["g"])
        seen = norm(c, "norm_cell") if cell_norm else c
        h = sigmoid(parts["o"]) * np.tanh(seen)
        if keeps_normed:
            c = seen
        if half:
            h = h.astype(np.float16).astype(np.float32)
        out.append(h)
    return np.stack(out, 1)


class LocationDecoder(nn.Module):
    """Steps of a decoder whose attention sees where it looked before (Tacotron 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4 + 6, 8)
        self.query = nn.Linear(8, 7, bias=False)
        self.key = nn.Linear(6, 7, bias=False)
        self.location = nn.Conv1d(2, 5, 3, padding=1, bias=False)
        self.place = nn.Linear(5, 7, bias=False)
        self.energy = nn.Linear(7, 1, bias=False)

    def forward(
        self, frames: torch.Tensor, memory: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        b, t, _ = memory.shape
        h = c = memory.new_zeros(b, 8)
        context = memory.new_zeros(b, 6)
        share = total = memory.new_zeros(b, t)
        hidden = torch.arange(t)[None] >= lengths[:, None]
        keys, out = self.key(memory), []
        for frame in frames.unbind(1):
            h, c = self.cell(torch.cat([frame, context], -1), (h, c))
            seen = self.location(torch.stack([share, total], 1)).transpose(1, 2)
            energy = torch.tanh(self.query(h)[:, None] + keys + self.place(seen))
            energy = self.energy(energy)[..., 0].masked_fill(hidden, -torch.inf)
            share = torch.softmax(energy, -1)
            total = total + share
            context = (share[:, None] @ memory)[:, 0]
            out.append(torch.cat([h, context], -1))
        return torch.stack(out, 1)


def build_location() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(LocationDecoder(), 5209, gain=1.8)
    return model, (inputs(5210, 2, 5, 4), inputs(5211, 2, 7, 6), np.array([7, 4]))


def location(
    model: Any,
    x: tuple[np.ndarray, ...],
    masked: str = "minus infinity",
    sees: str = "last and total",
    query_of: str = "h",
    old_context: bool = False,
    total_of: str = "shares",
    order: str = "ifgo",
) -> np.ndarray:
    w = weights_of(model)
    frames, memory, lengths = x
    h = c = np.zeros((2, 8), np.float32)
    context, share, total = np.zeros((2, 6)), np.zeros((2, 7)), np.zeros((2, 7))
    hidden = np.arange(7)[None] >= lengths[:, None]
    keys, out = linear(memory, w["key.weight"]), []
    for t in range(5):
        a = np.concatenate([frames[:, t], context], -1)
        gates = linear(a, w["cell.weight_ih"], w["cell.bias_ih"])
        gates = gates + linear(h, w["cell.weight_hh"], w["cell.bias_hh"])
        g = dict(zip(order, np.split(gates, 4, -1), strict=True))
        c = sigmoid(g["f"]) * c + sigmoid(g["i"]) * np.tanh(g["g"])
        h = sigmoid(g["o"]) * np.tanh(c)
        pair = (total, share) if sees == "total and last" else (share, total)
        seen = conv(np.stack(pair, 1), w["location.weight"], padding=1).swapaxes(1, 2)
        query = linear(c if query_of == "c" else h, w["query.weight"])
        energy = np.tanh(query[:, None] + keys + linear(seen, w["place.weight"]))
        energy = linear(energy, w["energy.weight"])[..., 0]
        if masked != "not":
            energy = np.where(hidden, 0 if masked == "zero" else -1e9, energy)
        share = softmax(energy)
        total = np.maximum(total, share) if total_of == "largest" else total + share
        before = context
        context = (share[:, None] @ memory)[:, 0]
        out.append(np.concatenate([h, before if old_context else context], -1))
    return np.stack(out, 1).astype(np.float32)


class DiagonalStates(nn.Module):
    """S4D: a diagonal state space layer, its kernel applied by FFT, with a gated output."""

    def __init__(self, width: int = 5, states: int = 4) -> None:
        super().__init__()
        self.log_dt = nn.Parameter(torch.zeros(width))
        self.log_a_real = nn.Parameter(torch.zeros(width, states))
        self.a_imag = nn.Parameter(torch.zeros(width, states))
        self.c = nn.Parameter(torch.zeros(width, states, 2))
        self.d = nn.Parameter(torch.zeros(width))
        self.output = nn.Conv1d(width, 2 * width, 1)

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        length = u.shape[-1]
        dt = self.log_dt.exp()[:, None]
        a = torch.complex(-self.log_a_real.exp(), self.a_imag)
        c = torch.view_as_complex(self.c) * (torch.exp(dt * a) - 1) / a
        powers = torch.exp((dt * a)[..., None] * torch.arange(length))
        kernel = 2 * torch.einsum("hn,hnl->hl", c, powers).real
        spectrum = torch.fft.rfft(kernel, 2 * length) * torch.fft.rfft(u, 2 * length)
        y = torch.fft.irfft(spectrum, 2 * length)[..., :length] + u * self.d[:, None]
        return F.glu(self.output(F.gelu(y)), 1)


def build_diagonal() -> tuple[Any, np.ndarray]:
    model = train_torch(DiagonalStates(), 5212, gain=1.5)
    model.log_dt.data.copy_(torch.linspace(-2.5, -0.7, 5))
    model.log_a_real.data.copy_(torch.full((5, 4), float(np.log(0.5))))
    model.a_imag.data.copy_(torch.arange(4).expand(5, 4) * np.pi)
    return model, inputs(5213, 2, 5, 16)


def diagonal(
    model: Any,
    x: np.ndarray,
    twice: bool = True,
    rule: str = "hold",
    wraps: bool = False,
    skip: bool = True,
    conjugate: bool = False,
    act_first: bool = True,
    half: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    dt = np.exp(w["log_dt"])[:, None]
    a = -np.exp(w["log_a_real"]) + 1j * w["a_imag"]
    c = w["c"][..., 0] + (-1j if conjugate else 1j) * w["c"][..., 1]
    if rule == "bilinear":
        step = (1 + dt * a / 2) / (1 - dt * a / 2)
        c = c * dt / (1 - dt * a / 2)
    elif rule == "Euler input":
        step, c = np.exp(dt * a), c * dt
    else:
        step = np.exp(dt * a)
        c = c * (step - 1) / a
    powers = step[..., None] ** np.arange(16)
    kernel = (2 if twice else 1) * np.einsum("hn,hnl->hl", c, powers).real
    if half:
        kernel = kernel.astype(np.float16)
    kernel = kernel.astype(np.float32)
    if wraps:
        spectrum = np.fft.rfft(kernel, 16) * np.fft.rfft(x, 16)
        y = np.fft.irfft(spectrum, 16)
    else:
        y = np.stack([(x[..., : t + 1] * kernel[:, t::-1]).sum(-1) for t in range(16)], -1)
    if skip:
        y = y + x * w["d"][:, None]
    y = gelu(y) if act_first else y
    a, b = np.split(conv(y, w["output.weight"], w["output.bias"]), 2, 1)
    return (a * sigmoid(b)).astype(np.float32)


class MemoryHead(nn.Module):
    """A neural Turing machine's reading head: by content, then gate, shift and sharpening."""

    def __init__(self, hidden: int = 6, width: int = 5) -> None:
        super().__init__()
        self.width = width
        self.address = nn.Linear(hidden, width + 6)

    def forward(self, h: torch.Tensor, memory: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        key, beta, gate, shift, gamma = self.address(h).split([self.width, 1, 1, 3, 1], -1)
        near = F.cosine_similarity(memory + 1e-16, torch.tanh(key)[:, None] + 1e-16, dim=-1)
        share = torch.softmax(F.softplus(beta) * near, -1)
        gate = torch.sigmoid(gate)
        share = gate * share + (1 - gate) * before
        shift = torch.softmax(shift, -1)
        wide = torch.cat([share[:, -1:], share, share[:, :1]], -1)
        share = sum(shift[:, i : i + 1] * wide[:, i : i + share.shape[1]] for i in range(3))
        share = share ** (1 + F.softplus(gamma))
        share = share / (share.sum(-1, keepdim=True) + 1e-16)
        return (share[:, None] @ memory)[:, 0]


def build_memory() -> tuple[Any, tuple[np.ndarray, ...]]:
    before = np.exp(inputs(5214, 3, 8))
    before /= before.sum(-1, keepdims=True)
    model = train_torch(MemoryHead(), 5215, gain=2.5)
    return model, (inputs(5216, 3, 6), inputs(5217, 3, 8, 5), before)


def memory_head(
    model: Any,
    x: tuple[np.ndarray, ...],
    near: str = "cosine",
    gate_swapped: bool = False,
    shift_sign: int = 1,
    wraps: bool = True,
    sharpened: str = "one plus",
    strength: str = "softplus",
) -> np.ndarray:
    w = weights_of(model)
    h, memory, before = x
    a = linear(h, w["address.weight"], w["address.bias"])
    key, beta, gate, shift, gamma = np.split(a, [5, 6, 7, 10], -1)
    key = np.tanh(key)[:, None]
    score = (memory * key).sum(-1)
    if near == "cosine":
        score = score / (np.linalg.norm(memory, axis=-1) * np.linalg.norm(key, axis=-1))
    beta = np.exp(beta) if strength == "exp" else np.logaddexp(0, beta)
    share = softmax(beta * score)
    gate = sigmoid(gate)
    if gate_swapped:
        gate = 1 - gate
    share = gate * share + (1 - gate) * before
    shift = softmax(shift)[:, ::shift_sign]
    wide = np.pad(share, ((0, 0), (1, 1)), "wrap" if wraps else "constant")
    share = sum(shift[:, i : i + 1] * wide[:, i : i + 8] for i in range(3))
    if sharpened == "one plus":
        share = share ** (1 + np.logaddexp(0, gamma))
    elif sharpened == "without one":
        share = share ** np.logaddexp(0, gamma)
    share = share / (share.sum(-1, keepdims=True) + 1e-16)
    return (share[:, None] @ memory)[:, 0].astype(np.float32)


CASES = [
    Case(
        "keras_stacked_cells_masked",
        build_stacked,
        "stack",
        stacked,
        {
            "lstm_output_gate_third": Mistake(
                partial(stacked, lstm_order="ifog"),
                "The LSTM cell's parts are read as input, forget, output, candidate, where Keras "
                "has input, forget, candidate, output.",
            ),
            "masked_steps_move_states": Mistake(
                partial(stacked, states_held=False),
                "The states are updated at masked steps too, where they are held.",
            ),
            "masked_steps_repeat_output": Mistake(
                partial(stacked, masked_output="last"),
                "Masked steps repeat the last output, where zero_output_for_mask makes them zero.",
            ),
            "gru_reset_gate_first": Mistake(
                partial(stacked, gru_order="rz"),
                "The GRU cell's gates are read as reset and update (PyTorch's order), where Keras "
                "has update and reset.",
            ),
            "update_gate_turned_round": Mistake(
                partial(stacked, update_keeps=False),
                "The GRU's state is (1 - z) * old + z * new (the paper), where Keras has "
                "z * old + (1 - z) * new.",
            ),
            "cell_state_passed_on": Mistake(
                partial(stacked, passed_on="c"),
                "The second cell is given the LSTM's cell state, where it is given its hidden "
                "state.",
            ),
        },
    ),
    Case(
        "keras_bidirectional_of_two_kinds",
        build_two_kinds,
        "both",
        two_kinds,
        {
            "summed": Mistake(
                partial(two_kinds, merge=np.add),
                "The two directions are summed, where merge_mode is 'mul'.",
            ),
            "backward_not_turned_back": Mistake(
                partial(two_kinds, turned_back=False),
                "The backward layer's outputs are merged in the order in which they were "
                "computed, from the last step on.",
            ),
            "tanh_for_softsign": Mistake(
                partial(two_kinds, forward_act="tanh", out_act="tanh"),
                "The forward LSTM has tanh, where its activation is softsign.",
            ),
            "output_tanh_alone": Mistake(
                partial(two_kinds, out_act="tanh"),
                "The cell state goes out through tanh, where the layer's activation, softsign, "
                "is used there too.",
            ),
            "old_hard_sigmoid": Mistake(
                partial(two_kinds, hard="fifth"),
                "The hard sigmoid is 0.2 x + 0.5 (Keras 2), where it is x / 6 + 0.5.",
            ),
            "recurrent_bias_forgotten": Mistake(
                partial(two_kinds, both_biases=False),
                "The second row of the GRU's bias, that of the recurrent product, is forgotten.",
            ),
        },
    ),
    Case(
        "torch_gru_of_packed_sentences",
        build_packed,
        "",
        packed,
        {
            "forward_through_padding": Mistake(
                partial(packed, forward_end="padded"),
                "The forward state is that of the last padded step, where it is that of each "
                "sentence's last word.",
            ),
            "backward_from_padding": Mistake(
                partial(packed, backward_start="padded"),
                "The backward direction begins at the end of the padding, where it begins at each "
                "sentence's last word.",
            ),
            "directions_swapped": Mistake(
                partial(packed, order=(1, 0)),
                "The backward state is concatenated before the forward one.",
            ),
            "reset_before_product": Mistake(
                partial(packed, reset="before"),
                "The reset gate multiplies the state before the recurrent product, where PyTorch "
                "multiplies the product and its bias.",
            ),
            "sorted_order_kept": Mistake(
                partial(packed, restored=False),
                "The sentences stay sorted by length, where their first order is restored.",
            ),
            "update_gate_turned_round_and_padding": Mistake(
                partial(packed, keeps="1 - z", forward_end="padded"),
                "Two causes: the state is z * new + (1 - z) * old, where it is the other way "
                "round, and the forward direction runs through the padding.",
                causes=2,
            ),
        },
    ),
    Case(
        "layer_norm_lstm_loop",
        build_normed,
        "",
        normed,
        {
            "forget_bias_forgotten": Mistake(
                partial(normed, forget_bias=0.0),
                "The forget gate's constant 1 is not added.",
            ),
            "norm_of_each_gate": Mistake(
                partial(normed, norm_of="each gate"),
                "Each gate is normalised on its own (6 numbers), where a norm is over all four "
                "(24 numbers).",
            ),
            "norm_of_the_sum": Mistake(
                partial(normed, norm_of="sum"),
                "One norm, norm_input, is applied to the sum of both products, where each product "
                "has its own.",
            ),
            "cell_not_normalised": Mistake(
                partial(normed, cell_norm=False),
                "tanh is taken of the cell state itself, where it is taken of its layer norm.",
            ),
            "normalised_cell_kept": Mistake(
                partial(normed, keeps_normed=True),
                "The normalised cell state goes on to the next step, where the one before the "
                "norm does.",
            ),
            "gates_in_torch_order": Mistake(
                partial(normed, order="ifgo"),
                "The gates are read as input, forget, candidate, output (nn.LSTM), where this "
                "cell has input, candidate, forget, output.",
            ),
            "hidden_state_in_half_precision": Mistake(
                partial(normed, half=True),
                "The hidden state is stored in float16 between the steps, where it is float32 "
                "(inherently small).",
            ),
        },
    ),
    Case(
        "location_sensitive_decoder",
        build_location,
        "",
        location,
        {
            "memory_not_masked": Mistake(
                partial(location, masked="not"),
                "The padded end of the memory is not masked.",
            ),
            "masked_energy_zero": Mistake(
                partial(location, masked="zero"),
                "The energies of padding are set to 0, where they are minus infinity.",
            ),
            "last_and_total_swapped": Mistake(
                partial(location, sees="total and last"),
                "The location convolution's channels are the cumulated and the last shares, where "
                "it is the last and then the cumulated ones.",
            ),
            "query_of_cell_state": Mistake(
                partial(location, query_of="c"),
                "The query is made of the LSTM's cell state, where it is made of its hidden state.",
            ),
            "context_of_step_before": Mistake(
                partial(location, old_context=True),
                "The output holds the context of the step before, where it holds the new one.",
            ),
            "largest_share_kept": Mistake(
                partial(location, total_of="largest"),
                "The cumulated shares are the largest so far, where they are the sum.",
            ),
        },
    ),
    Case(
        "diagonal_state_space",
        build_diagonal,
        "",
        diagonal,
        {
            "conjugates_not_counted": Mistake(
                partial(diagonal, twice=False),
                "The kernel is the real part, where it is twice that for the conjugate states.",
            ),
            "bilinear_rule": Mistake(
                partial(diagonal, rule="bilinear"),
                "The states are discretised by the bilinear rule (S4), where it is a zero-order "
                "hold.",
            ),
            "input_times_step": Mistake(
                partial(diagonal, rule="Euler input"),
                "The input's factor is dt (Mamba's short form), where it is (exp(dt A) - 1) / A.",
            ),
            "convolution_wraps": Mistake(
                partial(diagonal, wraps=True),
                "The FFT has the sequence's length, so the convolution wraps round, where it is "
                "padded to twice the length.",
            ),
            "skip_forgotten": Mistake(
                partial(diagonal, skip=False),
                "D * u is not added.",
            ),
            "c_conjugated": Mistake(
                partial(diagonal, conjugate=True),
                "The imaginary part of C is subtracted, so C is conjugated.",
            ),
            "gelu_forgotten": Mistake(
                partial(diagonal, act_first=False),
                "The GELU between the states and the output layer is forgotten.",
            ),
            "kernel_in_half_precision": Mistake(
                partial(diagonal, half=True),
                "The convolution's kernel is stored in float16, where it is float32 (inherently "
                "small).",
            ),
        },
    ),
    Case(
        "turing_machine_reading_head",
        build_memory,
        "",
        memory_head,
        {
            "dot_product_for_cosine": Mistake(
                partial(memory_head, near="dot"),
                "Content is compared by dot product, where it is by cosine.",
            ),
            "gate_turned_round": Mistake(
                partial(memory_head, gate_swapped=True),
                "The gate weighs the shares of the step before, and 1 - gate those by content, "
                "where it is the other way round.",
            ),
            "shift_the_other_way": Mistake(
                partial(memory_head, shift_sign=-1),
                "The three weights of the shift are read for -1, 0, +1, where they are for +1, 0, "
                "-1: the first takes the share of the row before.",
            ),
            "shift_does_not_wrap": Mistake(
                partial(memory_head, wraps=False),
                "The shift loses what leaves the memory at its ends, where it wraps round.",
            ),
            "sharpening_forgotten": Mistake(
                partial(memory_head, sharpened="not"),
                "The shares are not raised to the power gamma.",
            ),
            "sharpening_without_one": Mistake(
                partial(memory_head, sharpened="without one"),
                "The power is softplus(gamma), where it is 1 + softplus(gamma).",
            ),
            "strength_by_exp": Mistake(
                partial(memory_head, strength="exp"),
                "The content's strength is exp(beta), where it is softplus(beta).",
            ),
        },
    ),
]
