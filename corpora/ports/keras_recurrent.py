"""Recurrent layers of Keras: kernels (in, gates * units)."""

from functools import partial
from typing import Any

import keras
import numpy as np

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import conv, sigmoid
from corpora.ports.trained import inputs, tokens, train_keras


def _hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(np.float32(0.2) * x + np.float32(0.5), 0, 1)


def _lstm(
    x: np.ndarray,
    weights: list[np.ndarray],
    order: str = "ifco",
    forget_bias: float = 0.0,
    gate: Any = sigmoid,
    tanh_of_cell: bool = True,
    carry: bool = False,
) -> np.ndarray:
    kernel, recurrent, bias = weights
    units = recurrent.shape[0]
    out = np.zeros((*x.shape[:2], units), np.float32)
    h = c = np.zeros((1 if carry else len(x), units), np.float32)
    for b in range(len(x)) if carry else [slice(None)]:
        for t in range(x.shape[1]):
            part = x[b : b + 1, t] if carry else x[:, t]
            z = dict(zip(order, np.split(part @ kernel + h @ recurrent + bias, 4, -1), strict=True))
            c = gate(z["f"] + np.float32(forget_bias)) * c + gate(z["i"]) * np.tanh(z["c"])
            h = gate(z["o"]) * (np.tanh(c) if tanh_of_cell else c)
            out[b, t] = h
    return out


def build_lstm() -> tuple[Any, np.ndarray]:
    layer = keras.layers.LSTM(10, return_sequences=True, name="lstm")
    model = keras.Sequential([keras.Input((8, 6)), layer])
    return train_keras(model, 71), inputs(72, 3, 8, 6)


def lstm(model: Any, x: np.ndarray, **how: Any) -> np.ndarray:
    return _lstm(x, model.get_layer("lstm").get_weights(), **how)


def _gru(
    x: np.ndarray,
    weights: list[np.ndarray],
    order: str = "zrh",
    reset_after: bool = True,
    recurrent_bias: bool = True,
    update: str = "z h",
) -> np.ndarray:
    kernel, recurrent, bias = weights
    units = recurrent.shape[0]
    inner, outer = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    if not recurrent_bias:
        outer = np.zeros_like(outer)
    u = dict(zip(order, np.split(recurrent, 3, -1), strict=True))
    e = dict(zip(order, np.split(outer, 3), strict=True))
    h = np.zeros((len(x), units), np.float32)
    out = np.zeros((*x.shape[:2], units), np.float32)
    for t in range(x.shape[1]):
        a = dict(zip(order, np.split(x[:, t] @ kernel + inner, 3, -1), strict=True))
        z = sigmoid(a["z"] + h @ u["z"] + e["z"])
        r = sigmoid(a["r"] + h @ u["r"] + e["r"])
        reset = r * (h @ u["h"] + e["h"]) if reset_after else (r * h) @ u["h"] + e["h"]
        new = np.tanh(a["h"] + reset)
        h = z * h + (1 - z) * new if update == "z h" else (1 - z) * h + z * new
        out[:, t] = h
    return out


def build_gru() -> tuple[Any, np.ndarray]:
    layer = keras.layers.GRU(10, return_sequences=True, name="gru")
    model = keras.Sequential([keras.Input((8, 6)), layer])
    return train_keras(model, 73), inputs(74, 3, 8, 6)


def gru(model: Any, x: np.ndarray, **how: Any) -> np.ndarray:
    return _gru(x, model.get_layer("gru").get_weights(), **how)


def build_gru_before() -> tuple[Any, np.ndarray]:
    layer = keras.layers.GRU(10, reset_after=False, name="gru")
    model = keras.Sequential([keras.Input((8, 6)), layer])
    return train_keras(model, 75), inputs(76, 3, 8, 6)


def gru_before(model: Any, x: np.ndarray, step: int = -1, **how: Any) -> np.ndarray:
    how = {"reset_after": False, **how}
    return _gru(x, model.get_layer("gru").get_weights(), **how)[:, step]


def build_bidirectional() -> tuple[Any, np.ndarray]:
    layer = keras.layers.LSTM(7, return_sequences=True)
    layer = keras.layers.Bidirectional(layer, name="both")
    model = keras.Sequential([keras.Input((6, 6)), layer])
    return train_keras(model, 77), inputs(78, 2, 6, 6)


def bidirectional(
    model: Any, x: np.ndarray, turn_back: bool = True, first: str = "forward", same: bool = False
) -> np.ndarray:
    weights = model.get_layer("both").get_weights()
    ahead = _lstm(x, weights[:3])
    back = _lstm(x[:, ::-1], weights[:3] if same else weights[3:])
    if turn_back:
        back = back[:, ::-1]
    return np.concatenate([ahead, back] if first == "forward" else [back, ahead], -1)


def build_bidirectional_last() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Bidirectional(keras.layers.GRU(7), merge_mode="ave", name="both")
    model = keras.Sequential([keras.Input((6, 6)), layer])
    return train_keras(model, 79), inputs(80, 2, 6, 6)


def bidirectional_last(
    model: Any, x: np.ndarray, backward: str = "its last", merge: str = "ave"
) -> np.ndarray:
    weights = model.get_layer("both").get_weights()
    ahead = _gru(x, weights[:3])[:, -1]
    back = _gru(x[:, ::-1], weights[3:])
    back = back[:, -1] if backward == "its last" else back[:, 0]
    return ahead + back if merge == "sum" else (ahead + back) / 2


def build_masked() -> tuple[Any, np.ndarray]:
    layers = [
        keras.layers.Embedding(30, 8, mask_zero=True, name="words"),
        keras.layers.SimpleRNN(9, return_sequences=True, name="rnn"),
    ]
    model = train_keras(keras.Sequential([keras.Input((7,), dtype="int32"), *layers]), 81)
    ids = tokens(82, 3, 7, vocabulary=30).astype(np.int32)
    ids[0, 5:] = 0
    ids[1, 3:] = 0
    return model, ids


def _tanh_of_table(x: np.ndarray) -> np.ndarray:
    table = np.tanh(np.linspace(-4, 4, 33)).astype(np.float32)
    return table[np.clip(np.round((x + 4) * 4), 0, 32).astype(int)]


def masked(
    model: Any,
    ids: np.ndarray,
    at_padding: str = "hold",
    act: Any = np.tanh,
    in_place: bool = False,
) -> np.ndarray:
    (table,) = model.get_layer("words").get_weights()
    kernel, recurrent, bias = model.get_layer("rnn").get_weights()
    h = np.zeros((len(ids), 9), np.float32)
    out = []
    for t in range(ids.shape[1]):
        if in_place:
            new = h.copy()
            for unit in range(9):
                total = table[ids[:, t]] @ kernel[:, unit] + new @ recurrent[:, unit] + bias[unit]
                new[:, unit] = act(total)
        else:
            new = act(table[ids[:, t]] @ kernel + h @ recurrent + bias)
        kept = (ids[:, t] != 0)[:, None]
        if at_padding == "hold":
            new = np.where(kept, new, h)
        elif at_padding == "zero":
            new = np.where(kept, new, 0)
        h = new
        out.append(h)
    return np.stack(out, 1)


def build_backwards() -> tuple[Any, np.ndarray]:
    layer = keras.layers.SimpleRNN(
        9, activation="relu", go_backwards=True, return_sequences=True, name="rnn"
    )
    model = keras.Sequential([keras.Input((7, 6)), layer])
    return train_keras(model, 83), inputs(84, 2, 7, 6)


def backwards(
    model: Any, x: np.ndarray, turned: str = "before", transposed: bool = False, act: str = "relu"
) -> np.ndarray:
    kernel, recurrent, bias = model.get_layer("rnn").get_weights()
    if turned in ("before", "both"):
        x = x[:, ::-1]
    if transposed:
        recurrent = recurrent.T
    h = np.zeros((len(x), 9), np.float32)
    out = []
    for t in range(x.shape[1]):
        h = x[:, t] @ kernel + h @ recurrent + bias
        h = np.maximum(h, 0) if act == "relu" else np.tanh(h)
        out.append(h)
    y = np.stack(out, 1)
    return y[:, ::-1] if turned == "both" else y


def build_conv_lstm() -> tuple[Any, np.ndarray]:
    layer = keras.layers.ConvLSTM2D(6, 3, padding="same", name="convlstm")
    model = keras.Sequential([keras.Input((4, 6, 6, 4)), layer])
    return train_keras(model, 85), inputs(86, 2, 4, 6, 6, 4)


def conv_lstm(
    model: Any, x: np.ndarray, order: str = "ifco", bias_twice: bool = False
) -> np.ndarray:
    kernel, recurrent, bias = model.get_layer("convlstm").get_weights()
    kernel, recurrent = kernel.transpose(3, 2, 0, 1), recurrent.transpose(3, 2, 0, 1)
    x = np.moveaxis(x, -1, 2)
    h = c = np.zeros((len(x), 6, 6, 6), np.float32)
    for t in range(x.shape[1]):
        z = conv(x[:, t], kernel, bias, padding=1)
        z = z + conv(h, recurrent, bias if bias_twice else None, padding=1)
        z = dict(zip(order, np.split(z, 4, 1), strict=True))
        c = sigmoid(z["f"]) * c + sigmoid(z["i"]) * np.tanh(z["c"])
        h = sigmoid(z["o"]) * np.tanh(c)
    return np.moveaxis(h, 1, -1)


CASES = [
    Case(
        "keras_lstm",
        build_lstm,
        "lstm",
        lstm,
        {
            "gates_as_ifoc": Mistake(
                partial(lstm, order="ifoc"),
                "The gates are read in the order input, forget, output, cell (ifog of some "
                "papers and tools), where Keras has input, forget, cell, output.",
            ),
            "gates_as_onnx": Mistake(
                partial(lstm, order="iofc"),
                "The gates are read in ONNX's order input, output, forget, cell, where Keras has "
                "input, forget, cell, output.",
            ),
            "forget_bias_added_again": Mistake(
                partial(lstm, forget_bias=1.0),
                "1 is added to the forget gate once more (TensorFlow 1's forget_bias), though "
                "the stored bias has it.",
            ),
            "hard_sigmoid_gates": Mistake(
                partial(lstm, gate=_hard_sigmoid),
                "The gates use the hard sigmoid clip(0.2 x + 0.5) (the default of old Keras), "
                "where they use the sigmoid.",
            ),
            "tanh_of_cell_forgotten": Mistake(
                partial(lstm, tanh_of_cell=False),
                "The output gate multiplies the cell state as it is, its tanh forgotten.",
            ),
            "state_carried_between_samples": Mistake(
                partial(lstm, carry=True),
                "The state is not reset between the samples of the batch: each one starts from "
                "where the one before ended.",
            ),
            "order_and_forget_bias": Mistake(
                partial(lstm, order="ifoc", forget_bias=1.0),
                "Two causes: gates read as input, forget, output, cell, and 1 added to the "
                "forget gate again.",
                causes=2,
            ),
        },
    ),
    Case(
        "keras_gru",
        build_gru,
        "gru",
        gru,
        {
            "reset_gate_first": Mistake(
                partial(gru, order="rzh"),
                "The gates are read as reset, update, new (PyTorch's order), where Keras has "
                "update, reset, new.",
            ),
            "reset_before_product": Mistake(
                partial(gru, reset_after=False),
                "The reset gate multiplies the state before the recurrent product "
                "(reset_after=False), where this layer has reset_after=True.",
            ),
            "recurrent_bias_dropped": Mistake(
                partial(gru, recurrent_bias=False),
                "Of the two rows of the bias the second, recurrent one is dropped.",
            ),
            "update_gate_inverted": Mistake(
                partial(gru, update="1 - z"),
                "The update gate is inverted: h = (1 - z) h + z new, where Keras has "
                "z h + (1 - z) new.",
            ),
        },
    ),
    Case(
        "keras_gru_reset_before",
        build_gru_before,
        "gru",
        gru_before,
        {
            "reset_after_product": Mistake(
                partial(gru_before, reset_after=True),
                "The reset gate multiplies the recurrent product (CuDNN's way), where this layer "
                "with reset_after=False multiplies the state before the product.",
            ),
            "step_before_the_last": Mistake(
                partial(gru_before, step=-2),
                "The state of the last step but one is returned, where it is the last.",
            ),
        },
    ),
    Case(
        "keras_bidirectional_lstm",
        build_bidirectional,
        "both",
        bidirectional,
        {
            "backward_not_turned_back": Mistake(
                partial(bidirectional, turn_back=False),
                "The backward layer's outputs are left in reversed time before they are joined.",
            ),
            "backward_half_first": Mistake(
                partial(bidirectional, first="backward"),
                "The halves are concatenated backward first, where forward comes first.",
            ),
            "forward_weights_twice": Mistake(
                partial(bidirectional, same=True),
                "The backward direction uses the forward direction's weights.",
            ),
        },
    ),
    Case(
        "keras_bidirectional_gru_average",
        build_bidirectional_last,
        "both",
        bidirectional_last,
        {
            "backward_state_of_last_step": Mistake(
                partial(bidirectional_last, backward="of last step"),
                "The backward direction gives its output at the last step of time, when it has "
                "seen one step, where it gives its final state.",
            ),
            "summed": Mistake(
                partial(bidirectional_last, merge="sum"),
                "The two directions are summed, where merge_mode='ave' averages.",
            ),
        },
    ),
    Case(
        "keras_simple_rnn_masked",
        build_masked,
        "rnn",
        masked,
        {
            "mask_ignored": Mistake(
                partial(masked, at_padding="run"),
                "Padded steps (id 0) are run like any other, where the mask skips them and the "
                "state is held.",
            ),
            "state_zeroed_at_padding": Mistake(
                partial(masked, at_padding="zero"),
                "State and output are set to zero at padded steps, where they are held.",
            ),
            "activation_forgotten": Mistake(
                partial(masked, act=lambda x: x),
                "The default tanh of the recurrent layer is not applied.",
            ),
            "state_updated_in_place": Mistake(
                partial(masked, in_place=True),
                "The state is overwritten unit by unit within a step, so later units see the new "
                "state of earlier ones.",
            ),
            "tanh_of_a_table": Mistake(
                partial(masked, act=_tanh_of_table),
                "tanh is looked up in a table of steps of 0.25 between -4 and 4.",
            ),
        },
    ),
    Case(
        "keras_simple_rnn_backwards",
        build_backwards,
        "rnn",
        backwards,
        {
            "not_reversed": Mistake(
                partial(backwards, turned="never"),
                "go_backwards is ignored: the sequence runs from the first step.",
            ),
            "outputs_turned_back": Mistake(
                partial(backwards, turned="both"),
                "The outputs are turned back to the order of time, where a layer with "
                "go_backwards leaves them reversed.",
            ),
            "recurrent_transposed": Mistake(
                partial(backwards, transposed=True),
                "The recurrent kernel is transposed.",
            ),
            "tanh_and_not_reversed": Mistake(
                partial(backwards, turned="never", act="tanh"),
                "Two causes: go_backwards is ignored, and the activation is the default tanh, "
                "where it is ReLU.",
                causes=2,
            ),
        },
    ),
    Case(
        "keras_conv_lstm2d",
        build_conv_lstm,
        "convlstm",
        conv_lstm,
        {
            "cell_and_output_swapped": Mistake(
                partial(conv_lstm, order="ifoc"),
                "The channels of the cell candidate and of the output gate are swapped.",
            ),
            "bias_added_twice": Mistake(
                partial(conv_lstm, bias_twice=True),
                "The bias is added to the recurrent convolution as well, so it counts twice.",
            ),
        },
    ),
]
