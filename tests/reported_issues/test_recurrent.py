"""Cases from issue trackers: recurrences."""

import keras
import numpy as np
import torch
from planting import draw
from reported_issue import asked, named

import probe

nn = torch.nn


def gru(inputs, units):
    torch.manual_seed(0)
    return nn.GRU(inputs, units, batch_first=True).eval()


def parts_of(layer):
    """(input weights, recurrent weights, input bias, recurrent bias) of a GRU, in float64: gates r,
    z, n."""
    return [
        getattr(layer, name).detach().double().numpy()
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    ]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loop(x, layer, candidate):
    """A GRU step by step; ``candidate`` gives n from what the input, the state and the reset gate
    give."""
    w, u, b, c = parts_of(layer)
    h, out = np.zeros((len(x), u.shape[1])), []
    for step in np.moveaxis(x.astype(np.float64), 1, 0):
        from_x, from_h = np.split(step @ w.T, 3, axis=1), np.split(h @ u.T, 3, axis=1)
        bx, bh = np.split(b, 3), np.split(c, 3)
        r, z = (sigmoid(from_x[k] + bx[k] + from_h[k] + bh[k]) for k in (0, 1))
        n = candidate(from_x[2], bx[2], from_h[2], bh[2], r, h, np.split(u, 3)[2])
        h = (1 - z) * n + z * h
        out.append(h)
    return np.stack(out, axis=1)


def keras_gru(layer, x):
    """Keras' GRU with PyTorch's weights in PyTorch's order of gates, as both threads copied
    them."""
    units = layer.hidden_size
    copied = keras.layers.GRU(units, return_sequences=True)
    copied(x)
    w, u, b, c = (np.float32(one) for one in parts_of(layer))
    copied.set_weights([w.T, u.T, np.stack([b, c])])
    return np.array(copied(x))


def states(y):
    """The values of every step, and the last state left out."""
    return [np.float32(y), None]


def test_keras_15915():
    """A GRU of 80 inputs and 512 units over 10 steps; the weights are transposed, the gates stay in
    PyTorch's order."""
    layer, x = gru(80, 512), draw(1, 10, 80)
    assert probe.check(
        layer,
        "",
        given=x,
        expected=states(loop(x, layer, lambda x, bx, h, bh, r, *_: np.tanh(x + bx + r * (h + bh)))),
    ).ok
    named(probe.check(layer, "", given=x, expected=states(keras_gru(layer, x))), "gate-order")


def test_keras_8720():
    """The same with an input of 7 and a state of 13; biases that are not zero differ too."""
    layer, x = gru(7, 13), draw(2, 6, 7)
    named(probe.check(layer, "", given=x, expected=states(keras_gru(layer, x))), "gate-order")


def test_coremltools_1124():
    """n = tanh(W x + r * (U h) + b), one bias that is the sum of both, for tanh(W x + b + r * (U h
    + c))."""
    layer, x = gru(5, 8), draw(2, 6, 5)
    wrong = loop(x, layer, lambda x, bx, h, bh, r, *_: np.tanh(x + r * h + bx + bh))
    named(probe.check(layer, "", given=x, expected=states(wrong)), "recurrent-bias")


def test_coremltools_1123():
    """reset_after=False, the other formula of the GRU, for a Keras layer that resets after the
    product."""
    x = draw(2, 6, 5)
    layer = keras.layers.GRU(8, return_sequences=True, reset_after=True)
    other = keras.layers.GRU(8, return_sequences=True, reset_after=False)
    layer(x), other(x)
    w, u, _ = layer.get_weights()
    layer.set_weights([w, u, np.stack([draw(24, seed=1, scale=0.5), np.zeros(24, np.float32)])])
    other.set_weights([w, u, layer.get_weights()[2][0]])
    named(asked(layer, x, np.array(other(x))), "reset-after")


def test_onnxscript_2852():
    """GRU(1, 32) over 10 steps exported without linear_before_reset: off by about 0.1."""
    layer, x = gru(1, 32), draw(1, 10, 1)
    wrong = loop(
        x, layer, lambda x, bx, h, bh, r, state, u: np.tanh(x + bx + (r * state) @ u.T + bh)
    )
    report = probe.check(layer, "", given=x, expected=states(wrong))
    named(report, "reset-after")
    assert 0.01 < np.abs(report.outputs["framework"][0] - wrong).max() < 1
