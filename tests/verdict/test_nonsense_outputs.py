"""Zeros, or the output negated, halved, doubled, reversed or shifted, never agree with it: in any
precision, at any depth."""

from itertools import product

import ml_dtypes
import numpy as np
import pytest
import torch
import torchvision
import transformers
from lazy import keras
from representatives import exhaustive

import probe
from probe.capture.model_inputs import bind
from probe.evaluation.propagated_error import drifts
from probe.verdict.judge import judge
from probe.verdict.options import Options, Yours

n = torch.nn
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def image(size, batch=2):
    return np.random.default_rng(0).normal(size=(batch, 3, size, size)).astype(np.float32)


def small():
    layers = [
        n.Conv2d(3, 16, 3, padding=1),
        n.BatchNorm2d(16),
        n.ReLU(),
        n.MaxPool2d(2),
        n.Conv2d(16, 32, 3),
        n.GELU(),
        n.AvgPool2d(2),
    ]
    return n.Sequential(
        *layers, n.Flatten(), n.Linear(288, 40), n.LayerNorm(40), n.Linear(40, 10), n.Softmax(1)
    ), image(16)


def shufflenet():
    return torchvision.models.shufflenet_v2_x0_5(weights=None), image(32)


def mobilenet():
    return torchvision.models.mobilenet_v3_small(weights=None), image(32)


def vit():
    net = torchvision.models.VisionTransformer(
        image_size=16, patch_size=4, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=64
    )
    for block in net.encoder.layers:
        for weight in block.parameters():
            if weight.ndim > 1:
                n.init.normal_(weight, std=0.2)
    return net, image(16)


def llama():
    config = transformers.LlamaConfig(
        vocab_size=97,
        hidden_size=64,
        intermediate_size=172,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_cache=False,
    )
    net = transformers.LlamaForCausalLM(config)
    for weight in net.parameters():
        if weight.ndim > 1:
            n.init.normal_(weight, std=0.15)
    return net, np.random.default_rng(0).integers(97, size=(2, 12))


class Recurrent(n.Module):
    def __init__(self):
        super().__init__()
        self.lstm = n.LSTM(12, 20, batch_first=True, bidirectional=True)
        self.gru = n.GRU(40, 16, batch_first=True)
        self.head = n.Linear(16, 5)

    def forward(self, x):
        return self.head(self.gru(self.lstm(x)[0])[0])


def recurrent():
    return Recurrent(), np.random.default_rng(0).normal(size=(3, 7, 12)).astype(np.float32)


def keras_convolutions(policy):
    layers = keras.layers
    settings = {"dtype": policy}
    net = keras.Sequential([
        keras.Input((14, 14, 3)),
        layers.Conv2D(16, 3, activation="relu", **settings),
        layers.BatchNormalization(**settings),
        layers.DepthwiseConv2D(3, **settings),
        layers.MaxPooling2D(2, **settings),
        layers.SeparableConv2D(24, 3, activation="swish", **settings),
        layers.GlobalAveragePooling2D(**settings),
        layers.Dense(10, activation="softmax", **settings),
    ])  # fmt: skip
    return net, np.moveaxis(image(14), 1, -1)


def keras_sequence(policy):
    layers = keras.layers
    settings = {"dtype": policy}
    x = inputs = keras.Input((9, 24))
    for _ in range(3):
        attended = layers.MultiHeadAttention(3, 8, **settings)(x, x)
        x = layers.LayerNormalization(**settings)(layers.Add(**settings)([x, attended]))
        x = layers.Dense(24, activation="gelu", **settings)(x)
    net = keras.Model(inputs, layers.LSTM(7, **settings)(x))
    return net, np.random.default_rng(0).normal(size=(2, 9, 24)).astype(np.float32)


KERAS = (keras_convolutions, keras_sequence)
NETS = (small, vit, recurrent, shufflenet, mobilenet, llama, *KERAS)
BY_DEFAULT = {
    *((small, dtype) for dtype in DTYPES),
    (vit, "bfloat16"),
    (recurrent, "float16"),
    (keras_convolutions, "bfloat16"),
    (keras_sequence, "float16"),
}
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def build(net, dtype):
    if net in KERAS:
        keras.utils.set_random_seed(0)
        return net(POLICIES[dtype])
    torch.manual_seed(0)
    module, x = net()
    stored = {"bfloat16": ml_dtypes.bfloat16}.get(dtype, dtype)
    return module.to(DTYPES[dtype]).eval(), x.astype(stored) if x.dtype.kind == "f" else x


def nonsense(y):
    yield "zeros", np.zeros_like(y)
    yield "negated", -y
    yield "halved", y / 2
    yield "doubled", 2 * y
    yield "reversed", y.ravel()[::-1].reshape(y.shape)
    for axis in range(y.ndim):
        yield f"shifted along axis {axis}", np.roll(y, 1, axis)


def captured(module, x, layer=None):
    """The calls of a pass, or those of one layer, and what rounding may have done before each."""
    model = probe.open_model(module)
    model, arrays, _ = bind(model, x, None, 0)
    calls = []
    model.run(arrays, None if layer is None else {layer}, calls.append)
    last = None if layer is None else (layer, 0)
    return calls, drifts(model, arrays, None, names={one.layer for one in calls}, last=last)


@pytest.mark.costly(default=2)
@pytest.mark.parametrize(
    ("net", "dtype"),
    [
        pytest.param(
            *one,
            id=f"{one[0].__name__}-{one[1]}",
            marks=[
                *([pytest.mark.tensorflow] if one[0] in KERAS else []),
                *([] if one in BY_DEFAULT else [pytest.mark.exhaustive]),
            ],
        )
        for one in product(NETS, DTYPES)
    ],
)
def test_nonsense_never_agrees(net, dtype):
    calls, before = captured(*build(net, dtype))
    verdicts = {"agree": 0, "diverge": 0, "unchecked": 0}
    said = []
    for one in calls:
        healthy = judge(one, options=Options(threads=1))
        verdicts[healthy.verdict] += 1
        assert healthy.verdict != "diverge", f"{one.layer}: {healthy.sentence}"
        y = one.outputs[0]
        if not healthy.ok or y.dtype.kind != "f":
            continue
        drift = before.get((one.layer, one.call))
        right = judge(one, Yours(y, drift=drift), Options(threads=1))
        assert right.verdict != "diverge", f"{one.layer}: {right.sentence}"
        for words, wrong in nonsense(y):
            if not np.array_equal(wrong, y):
                report = judge(
                    one,
                    Yours([wrong, *[None] * (len(one.outputs) - 1)], drift=drift),
                    Options(threads=1),
                )
                said += [f"{one.layer} ({one.kind}), {words}: {report.sentence}"] * report.ok
    assert not said, "\n".join(said)
    assert verdicts["agree"] > 0.9 * len(calls), verdicts


@pytest.mark.costly
@pytest.mark.parametrize("dtype", ["bfloat16", *exhaustive("float16")])
def test_deep_in_resnet18(dtype):
    """A convolution of 2304 terms behind eleven others: what may have happened in those is far
    below the values."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None).to(DTYPES[dtype]).eval()
    x = image(48, batch=1).astype({"bfloat16": ml_dtypes.bfloat16}.get(dtype, dtype))
    (call,), before = captured(net, x, "layer3.1.conv2")
    drift, y = before[call.layer, call.call], call.outputs[0].astype(np.float32)
    assert judge(call, Yours(y, drift=drift), Options(threads=1)).ok
    for wrong in (-y, 0 * y, y / 2, np.roll(y, 1, 1)):
        report = judge(call, Yours(wrong, drift=drift), Options(threads=1))
        assert report.verdict == "diverge"
        assert report.comparisons["numpy", "expected"].worst.allowance < 0.5, report.sentence
