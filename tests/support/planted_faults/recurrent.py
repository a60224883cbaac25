"""Mistakes planted in recurrences: plain loops over the steps, and the weights of one framework
used in another."""

import keras
import numpy as np
import tf_keras
import torch
from planting import Rows, draw, keras_layer, nn, planter, t, torch_layer

ROWS: Rows = []
plant = planter(ROWS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def lstm(x, w, u, b, order="ifgo", gate=sigmoid, act=np.tanh, steps=None, keep=None):
    """x (batch, time, in) step by step -> (batch, time, units)."""
    n, (batch, count, _) = u.shape[0], x.shape
    h, c, out = np.zeros((batch, n)), np.zeros((batch, n)), np.zeros((batch, count, n))
    for at in steps if steps is not None else range(count):
        z = x[:, at] @ w + h @ u + b
        parts = {one: z[:, k * n : (k + 1) * n] for k, one in enumerate(order)}
        new = gate(parts["f"]) * c + gate(parts["i"]) * act(parts["g"])
        shown = gate(parts["o"]) * act(new)
        on = np.ones((batch, 1), bool) if keep is None else keep[:, at, None]
        h, c = np.where(on, shown, h), np.where(on, new, c)
        out[:, at] = h
    return out


def gru(x, w, u, b, rb, order="zrh", after=True, gate=sigmoid, act=np.tanh):
    n, (batch, count, _) = u.shape[0], x.shape
    h, out = np.zeros((batch, n)), np.zeros((batch, count, n))
    w, u, b, rb = (
        {one: part[..., k * n : (k + 1) * n] for k, one in enumerate(order)}
        for part in (w, u, b, rb)
    )
    for at in range(count):
        z, r = (gate(x[:, at] @ w[one] + h @ u[one] + b[one] + rb[one]) for one in "zr")
        inner = r * (h @ u["h"] + rb["h"]) if after else (r * h) @ u["h"] + rb["h"]
        h = z * h + (1 - z) * act(x[:, at] @ w["h"] + b["h"] + inner)
        out[:, at] = h
    return out


def rnn(x, w, u, b, act=np.tanh, keep=None):
    h, out = np.zeros((len(x), u.shape[0])), np.zeros((*x.shape[:2], u.shape[0]))
    for at in range(x.shape[1]):
        new = act(x[:, at] @ w + h @ u + b)
        h = new if keep is None else np.where(keep[:, at, None], new, h)
        out[:, at] = h
    return out


def held(layer):
    """(kernel, recurrent kernel, bias, recurrent bias) of a PyTorch layer, (in, gates * units)."""
    parts = {name: p.detach().numpy().astype(np.float64) for name, p in layer.named_parameters()}
    return (
        parts["weight_ih_l0"].T,
        parts["weight_hh_l0"].T,
        parts["bias_ih_l0"],
        parts["bias_hh_l0"],
    )


def of_keras(layer):
    return [np.array(one, np.float64) for one in layer.get_weights()]


X = draw(2, 7, 5)


def torch_pair(kind, **options):
    return torch_layer(kind, 5, 4, batch_first=True, **options), X


def keras_pair(kind, **options):
    return keras_layer(kind, X, 4, **{"return_sequences": True, **options}), X


for _order in ("iofg", "fiog", "igfo"):

    @plant("gate-order", "PyTorch LSTM")
    def torch_gates(order=_order):
        layer, x = torch_pair(nn.LSTM)
        w, u, b, rb = held(layer)
        return layer, x, [lstm(x, w, u, b + rb, order), None, None]

    @plant("gate-order", "Keras LSTM")
    def keras_gates(order=_order):
        layer, x = keras_pair(keras.layers.LSTM, return_sequences=order == "fiog")
        out = lstm(x, *of_keras(layer), order)
        return layer, x, out if layer.return_sequences else out[:, -1]


@plant("gate-order", "Keras GRU")
def keras_gru_in_torch():
    layer, x = keras_pair(keras.layers.GRU)
    w, u, b = (t(np.array(one)) for one in layer.get_weights())
    other = nn.GRU(5, 4, batch_first=True)
    with torch.no_grad():
        for name, value in (
            ("weight_ih_l0", w.T),
            ("weight_hh_l0", u.T),
            ("bias_ih_l0", b[0]),
            ("bias_hh_l0", b[1]),
        ):
            getattr(other, name).copy_(value)
        return layer, x, other(t(x))[0].numpy()


@plant("gate-order", "PyTorch GRU")
def torch_gru_in_keras():
    layer, x = torch_pair(nn.GRU)
    w, u, b, rb = (one.astype(np.float32) for one in held(layer))
    other = keras_layer(keras.layers.GRU, x, 4, return_sequences=True)
    other.set_weights([w, u, np.stack([b, rb])])
    return layer, x, [np.array(other(x)), None]


@plant("reset-after", "Keras GRU")
def keras_before():
    layer, x = keras_pair(keras.layers.GRU)
    w, u, b = of_keras(layer)
    return layer, x, gru(x, w, u, *b, after=False)


@plant("reset-after", "tf_keras GRU")
def keras_after():
    layer, x = keras_pair(tf_keras.layers.GRU, reset_after=False, return_sequences=False)
    w, u, b = of_keras(layer)
    return layer, x, gru(x, w, u, b, 0 * b)[:, -1]


@plant("reset-after", "PyTorch GRU")
def torch_before():
    layer, x = torch_pair(nn.GRU)
    return layer, x, [gru(x, *held(layer), order="rzh", after=False), None]


@plant("recurrent-bias", "PyTorch LSTM")
def one_bias():
    layer, x = torch_pair(nn.LSTM)
    w, u, b, _ = held(layer)
    return layer, x, [lstm(x, w, u, b), None, None]


@plant("recurrent-bias", "PyTorch RNN")
def other_bias():
    layer, x = torch_pair(nn.RNN)
    w, u, _, rb = held(layer)
    return layer, x, [rnn(x, w, u, rb), None]


@plant("recurrent-bias", "PyTorch GRU")
def summed_biases():
    layer, x = torch_pair(nn.GRU)
    w, u, b, rb = held(layer)
    return layer, x, [gru(x, w, u, b + rb, 0 * b, order="rzh"), None]


@plant("recurrent-bias", "Keras GRU")
def first_row():
    layer, x = keras_pair(keras.layers.GRU, return_sequences=False)
    w, u, b = of_keras(layer)
    return layer, x, gru(x, w, u, b[0], 0 * b[0])[:, -1]


@plant("recurrent-activation", "tf_keras LSTM")
def sigmoid_for_hard():
    layer, x = keras_pair(tf_keras.layers.LSTM, recurrent_activation="hard_sigmoid")
    return layer, x, lstm(x, *of_keras(layer))


@plant("recurrent-activation", "Keras LSTM")
def hard_for_sigmoid():
    layer, x = keras_pair(keras.layers.LSTM)
    return layer, x, lstm(x, *of_keras(layer), gate=hard_sigmoid)


@plant("recurrent-activation", "Keras GRU")
def hard_gru():
    layer, x = keras_pair(keras.layers.GRU, return_sequences=False)
    w, u, b = of_keras(layer)
    return layer, x, gru(x, w, u, *b, gate=hard_sigmoid)[:, -1]


@plant("recurrent-activation", "PyTorch RNN")
def relu_for_tanh():
    layer, x = torch_pair(nn.RNN)
    w, u, b, rb = held(layer)
    return layer, x, [rnn(x, w, u, b + rb, act=lambda z: np.maximum(z, 0)), None]


@plant("recurrent-activation", "Keras LSTM")
def no_output_tanh():
    layer, x = keras_pair(keras.layers.LSTM)
    return layer, x, lstm(x, *of_keras(layer), act=lambda z: z)


@plant("other-time-step", "Keras LSTM")
def first_for_last():
    layer, x = keras_pair(keras.layers.LSTM, return_sequences=False)
    return layer, x, lstm(x, *of_keras(layer))[:, 0]


@plant("other-time-step", "Keras LSTM")
def whole_for_last():
    layer, x = keras_pair(keras.layers.LSTM, return_sequences=False)
    return layer, x, lstm(x, *of_keras(layer))


@plant("other-time-step", "Keras LSTM")
def last_for_whole():
    layer, x = keras_pair(keras.layers.LSTM)
    return layer, x, lstm(x, *of_keras(layer))[:, -1]


@plant("other-time-step", "Keras SimpleRNN")
def not_backwards():
    layer, x = keras_pair(keras.layers.SimpleRNN, go_backwards=True)
    return layer, x, rnn(x, *of_keras(layer))


@plant("other-time-step", "Keras SimpleRNN")
def not_backwards_last():
    layer, x = keras_pair(keras.layers.SimpleRNN, go_backwards=True, return_sequences=False)
    return layer, x, rnn(x, *of_keras(layer))[:, -1]


@plant("other-time-step", "Keras SimpleRNN")
def order_of_time():
    layer, x = keras_pair(keras.layers.SimpleRNN, go_backwards=True)
    return layer, x, rnn(x[:, ::-1], *of_keras(layer))[:, ::-1]


@plant("other-time-step", "Keras Bidirectional")
def not_turned_back():
    x = X
    layer = keras_layer(
        lambda: keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True)), x
    )
    parts = of_keras(layer)
    return layer, x, np.concatenate([lstm(x, *parts[:3]), lstm(x[:, ::-1], *parts[3:])], axis=-1)


@plant("other-time-step", "PyTorch LSTM, both directions")
def both_forward():
    layer, x = torch_pair(nn.LSTM, bidirectional=True)
    parts = {name: p.detach().numpy().astype(np.float64) for name, p in layer.named_parameters()}
    pair = []
    for end in ("", "_reverse"):
        w, u, b, rb = (
            parts[f"{name}_l0{end}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        pair.append(lstm(x, w.T, u.T, b + rb))
    return layer, x, [np.concatenate(pair, axis=-1), None, None]


def masked(kind, **options):
    """A model whose recurrent layer skips steps, its input, and the steps that it keeps."""
    x = X.copy()
    x[0, 4:] = x[1, 2] = x[1, 6] = 0
    inputs = keras.Input(X.shape[1:])
    layer = kind(4, **options)
    model = keras.Model(inputs, layer(keras.layers.Masking()(inputs)))
    layer.set_weights(
        [draw(*w.shape, seed=i + 1, scale=0.5) for i, w in enumerate(layer.get_weights())]
    )
    return model, layer, x, x.any(axis=-1)


def _row(model, layer, x, wrong):
    return model, x, wrong, {"at": layer.name}


@plant("ignored-mask", "Keras LSTM")
def padded_steps():
    model, layer, x, _ = masked(keras.layers.LSTM)
    return _row(model, layer, x, lstm(x, *of_keras(layer))[:, -1])


@plant("ignored-mask", "Keras SimpleRNN")
def padded_sequence():
    model, layer, x, _ = masked(keras.layers.SimpleRNN, return_sequences=True)
    return _row(model, layer, x, rnn(x, *of_keras(layer)))


@plant("ignored-mask", "Keras LSTM")
def zeros_for_held():
    model, layer, x, keep = masked(keras.layers.LSTM, return_sequences=True)
    return _row(model, layer, x, lstm(x, *of_keras(layer), keep=keep) * keep[..., None])


@plant("missing-bias", "Keras LSTM")
def lstm_without_bias():
    layer, x = keras_pair(keras.layers.LSTM)
    w, u, _ = of_keras(layer)
    return layer, x, lstm(x, w, u, 0.0)
