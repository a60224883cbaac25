"""Nets of Keras against ports to PyTorch: other axes, square maps, gates in another order."""

import numpy as np
import pytest
import torch
from own_seed import RNG

import probe

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow


def convolutional(size, channels):
    layers = keras.layers
    x = given = layers.Input((*size, channels))
    x = layers.Conv2D(8, 3, padding="same", strides=2, name="c1")(x)
    x = kept = layers.Activation("relu", name="a1")(layers.BatchNormalization(name="bn")(x))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="c2")(x)
    x = layers.Add(name="add")([layers.Conv2D(8, 3, padding="same", name="c3")(x), kept])
    x = layers.MaxPooling2D(2, name="pool")(layers.Activation("gelu", name="a2")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="dw")(x)
    x = layers.Dense(16, activation="tanh", name="d1")(layers.Flatten(name="flat")(x))
    model = keras.Model(given, layers.Dense(5, activation="softmax", name="d2")(x))
    drawn = [RNG.uniform(0.5, 1.5, one.shape) * 0.3 for one in model.get_weights()]
    signs = [1 if one.ndim == 1 else RNG.choice([-1, 1], one.shape) for one in drawn]
    model.set_weights([one * sign for one, sign in zip(drawn, signs, strict=True)])
    return model


class Port(torch.nn.Module):
    """The same, with the rows of the first dense layer in the order of channels first."""

    def __init__(self, model, size, channels, epsilon=1e-3, permuted=True):
        super().__init__()
        self.size = size

        def held(name):
            return [torch.tensor(one) for one in model.get_layer(name).get_weights()]

        self.c1 = torch.nn.Conv2d(channels, 8, 3, 2)
        self.c2, self.c3 = torch.nn.Conv2d(8, 8, 3, 1, 1), torch.nn.Conv2d(8, 8, 3, 1, 1)
        self.dw = torch.nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.bn, self.pool = torch.nn.BatchNorm2d(8, epsilon), torch.nn.MaxPool2d(2)
        for name in ("c1", "c2", "c3", "dw"):
            kernel, bias = held(name)
            order = (2, 3, 0, 1) if name == "dw" else (3, 2, 0, 1)
            getattr(self, name).weight.data = kernel.permute(*order).contiguous()
            getattr(self, name).bias.data = bias
        scale, shift, mean, variance = held("bn")
        self.bn.weight.data, self.bn.bias.data = scale, shift
        self.bn.running_mean, self.bn.running_var = mean, variance
        height, width = (-(-one // 2) // 2 for one in size)
        self.d1, self.d2 = torch.nn.Linear(8 * height * width, 16), torch.nn.Linear(16, 5)
        kernel, self.d1.bias.data = held("d1")
        if permuted:
            kernel = kernel.reshape(height, width, 8, 16).permute(2, 0, 1, 3).reshape(-1, 16)
        self.d1.weight.data = kernel.T.contiguous()
        kernel, self.d2.bias.data = held("d2")
        self.d2.weight.data = kernel.T.contiguous()

    def forward(self, x):
        pads = []
        for one in reversed(self.size):
            more = max((-(-one // 2) - 1) * 2 + 3 - one, 0)
            pads += [more // 2, more - more // 2]
        x = kept = torch.relu(self.bn(self.c1(torch.nn.functional.pad(x, pads))))
        x = torch.nn.functional.gelu(self.c3(torch.relu(self.c2(x))) + kept)
        x = torch.tanh(self.d1(torch.flatten(self.dw(self.pool(x)), 1)))
        return torch.softmax(self.d2(x), -1)


@pytest.mark.parametrize(("size", "channels", "batch"), [((12, 10), 3, 2), ((8, 8), 8, 1)])
def test_a_port_agrees_both_ways(size, channels, batch):
    model = convolutional(size, channels)
    port = Port(model, size, channels).eval()
    x = RNG.normal(size=(batch, *size, channels)).astype(np.float32)
    comparison = probe.compare(model, port, x)
    assert comparison.ok, str(comparison)
    assert not any(comparison.unpaired)
    assert comparison.inputs == ("input 0 of B is A's with the axes 0,3,1,2",)
    assert next(one for one in comparison.pairs if one.a == ("pool",)).axes == "0,3,1,2"
    back = probe.compare(port, model, x.transpose(0, 3, 1, 2).copy())
    assert back.ok, str(back)


@pytest.mark.parametrize(
    ("options", "layer", "name"),
    [({"epsilon": 1e-5}, "bn", "epsilon"), ({"permuted": False}, "d1", "weight")],
)
def test_the_usual_mistakes_of_a_port(options, layer, name):
    size = (12, 10)
    model = convolutional(size, 3)
    x = RNG.normal(size=(2, *size, 3)).astype(np.float32)
    comparison = probe.compare(model, Port(model, size, 3, **options).eval(), x)
    assert len(comparison.sources) == 1, str(comparison)
    source = comparison.sources[0]
    assert layer in source.a and layer in source.b
    read = [one for one, *_ in source.differs if one.startswith(name)]
    assert read or source.findings[0].slug == "flatten-order", str(comparison)


def recurrent():
    layers = keras.layers
    given = layers.Input((7, 5))
    y = layers.Bidirectional(layers.LSTM(6, return_sequences=True), name="both")(given)
    y = layers.GRU(8, return_sequences=True, name="gru")(y)
    model = keras.Model(given, layers.Dense(3, name="head")(layers.LSTM(4, name="last")(y)))
    model.set_weights([RNG.normal(0, 0.4, one.shape) for one in model.get_weights()])
    return model


class RecurrentPort(torch.nn.Module):
    def __init__(self, model, swapped=False):
        super().__init__()

        def put(layer, end, kernel, recurrent, first, second):
            parts = zip(
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
                (kernel.T, recurrent.T, first, second),
                strict=True,
            )
            for name, value in parts:
                getattr(layer, f"{name}_l0{end}").data = torch.tensor(np.ascontiguousarray(value))

        def reordered(array):  # Keras has z, r, h and PyTorch r, z, n
            z, r, h = np.split(array, 3, -1)
            return np.concatenate([z, r, h] if swapped else [r, z, h], -1)

        self.both = torch.nn.LSTM(5, 6, bidirectional=True, batch_first=True)
        self.gru = torch.nn.GRU(12, 8, batch_first=True)
        self.last, self.head = torch.nn.LSTM(8, 4, batch_first=True), torch.nn.Linear(4, 3)
        held = model.get_layer("both").get_weights()
        for end, (kernel, recurrent_kernel, bias) in (("", held[:3]), ("_reverse", held[3:])):
            put(self.both, end, kernel, recurrent_kernel, bias, 0 * bias)
        kernel, recurrent_kernel, bias = map(reordered, model.get_layer("gru").get_weights())
        put(self.gru, "", kernel, recurrent_kernel, bias[0], bias[1])
        kernel, recurrent_kernel, bias = model.get_layer("last").get_weights()
        put(self.last, "", kernel, recurrent_kernel, bias, 0 * bias)
        kernel, bias = model.get_layer("head").get_weights()
        self.head.weight.data, self.head.bias.data = (
            torch.tensor(kernel.T.copy()),
            torch.tensor(bias),
        )

    def forward(self, x):
        return self.head(self.last(self.gru(self.both(x)[0])[0])[0][:, -1])


def test_recurrences_agree_whatever_the_order_of_gates():
    model = recurrent()
    x = RNG.normal(size=(2, 7, 5)).astype(np.float32)
    comparison = probe.compare(model, RecurrentPort(model).eval(), x)
    assert comparison.ok, str(comparison)
    wrong = probe.compare(model, RecurrentPort(model, swapped=True).eval(), x)
    assert [one.b for one in wrong.sources] == [("gru",)], str(wrong)
    assert any("gate" in name for name, *_ in wrong.sources[0].differs)


def test_a_trace_of_hls4ml_by_its_names():
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((6,)),
            layers.Dense(8, activation="relu", name="fc1"),
            layers.Dense(4, name="fc2"),
        ]
    )
    model.set_weights([RNG.normal(0, 1, one.shape) for one in model.get_weights()])
    x = RNG.normal(size=(20, 6)).astype(np.float32)
    kernel, bias, *_ = model.get_weights()
    before = x @ kernel + bias
    after = np.maximum(before, 0)
    trace = {
        "fc1": before,
        "fc1_relu": after,
        "fc2_linear": after @ model.get_weights()[2] + model.get_weights()[3],
    }
    comparison = probe.compare(model, trace, x)
    assert comparison.ok and comparison.unpaired == ((), ()), str(comparison)
    trace["fc2_linear"] = np.floor(trace["fc2_linear"] * 2**5) / 2**5
    wrong = probe.compare(model, trace, x)
    assert [one.a for one in wrong.sources] == [("fc2",)], str(wrong)
    assert wrong.sources[0].findings[0].slug == "fixed-point"
