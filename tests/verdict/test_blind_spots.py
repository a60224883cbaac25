"""What an input could not have revealed is said, and inputs are drawn so that there is nothing to
say where the weights allow it."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from lazy import keras
from onnx import TensorProto, helper, numpy_helper

import probe
from probe import Step, Weight, ops
from probe.evaluation.numpy_reference import recompute
from probe.ops.weight import Grid
from probe.verdict.blind_spots import blind_spots

L, nn = keras.layers, torch.nn


def trained(model):
    """Random numbers in all weights, variances positive."""
    rng = np.random.default_rng(0)
    if isinstance(model, torch.nn.Module):
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(
                    torch.from_numpy(
                        rng.uniform(0.2, 1, tensor.shape)
                        if name.endswith("var")
                        else rng.normal(size=tensor.shape)
                    )
                )
        return model.eval()
    model.set_weights(
        [
            rng.uniform(0.2, 1, w.shape) if "variance" in w.path else rng.normal(size=w.shape)
            for w in model.weights
        ]
    )
    return model


KERAS = {
    "Dense": (lambda: L.Dense(5), (7,)),
    "Conv2D": (lambda: L.Conv2D(4, 3, padding="same"), (None, None, 3)),
    "Conv2D, stride 2": (lambda: L.Conv2D(4, 3, strides=2, padding="same"), (None, None, 3)),
    "Conv2D, kernel 4, stride 2": (
        lambda: L.Conv2D(4, 4, strides=2, padding="same"),
        (None, None, 3),
    ),
    "Conv2D, kernel 5, stride 3": (
        lambda: L.Conv2D(4, 5, strides=3, padding="same"),
        (None, None, 3),
    ),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(3, strides=2, padding="same"), (None, None, 3)),
    "Conv1D": (lambda: L.Conv1D(4, 4, strides=2, padding="same"), (None, 3)),
    "MaxPooling2D": (lambda: L.MaxPooling2D(3, 2, padding="same"), (None, None, 3)),
    "AveragePooling2D": (lambda: L.AveragePooling2D(4, 2, padding="same"), (None, None, 3)),
    "BatchNormalization": (lambda: L.BatchNormalization(), (6, 6, 3)),
    "ReLU": (lambda: L.ReLU(), (2,)),
    "relu6": (lambda: L.ReLU(6.0), (1,)),
    "LayerNormalization": (lambda: L.LayerNormalization(), (8,)),
}


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "seed"), [*((name, 0) for name in KERAS), *(("ReLU", seed) for seed in range(1, 5))]
)
def test_drawn_inputs_leave_nothing_unseen_in_keras(name, seed):
    make, shape = KERAS[name]
    model = trained(keras.Sequential([keras.Input(shape), make()]))
    report = probe.check(model, model.layers[0].name, seed=seed)
    assert report.ok, report.sentence
    assert report.blind == ()


TORCH = {
    "Linear": (lambda: nn.Linear(7, 5), (2, 7)),
    "Conv2d": (lambda: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 8, 8)),
    "Conv2d, stride 2": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 8, 8)),
    "Conv1d": (lambda: nn.Conv1d(3, 4, 3, padding=1), (2, 3, 9)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1), (2, 3, 8, 8)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3), (2, 3, 4, 4)),
    "ReLU": (lambda: nn.ReLU(), (1, 2)),
    "GELU": (lambda: nn.GELU(), (1, 4)),
    "Softmax": (lambda: nn.Softmax(-1), (2, 4)),
}


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in TORCH for seed in (0, 1)])
def test_drawn_inputs_leave_nothing_unseen_in_torch(name, seed):
    make, shape = TORCH[name]
    report = probe.check(trained(make()), "", shape=shape, seed=seed)
    assert report.ok, report.sentence
    assert report.blind == ()


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("kernel", "stride", "size", "missed"),
    [
        (3, 2, 9, True),
        (3, 2, 8, False),
        (4, 2, 8, True),
        (4, 2, 9, False),
        (3, 1, 9, False),
        (5, 2, 9, True),
        (2, 2, 8, False),
        (7, 3, 9, True),
    ],
)
def test_a_stride_that_never_meets_the_asymmetry(kernel, stride, size, missed):
    """The sentence is there exactly where padding at the end and on both sides give the same
    output."""
    model = trained(
        keras.Sequential(
            [keras.Input((size, size, 2)), L.Conv2D(3, kernel, strides=stride, padding="same")]
        )
    )
    report = probe.check(model, model.layers[0].name)
    assert any("equal on both sides" in told for told in report.blind) == missed
    x = torch.from_numpy(np.moveaxis(report.inputs[0], -1, 1).copy())
    w, b = (torch.from_numpy(array) for array in model.get_weights())
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    symmetric = nn.functional.conv2d(x, w.permute(3, 2, 0, 1), b, stride, -(-total // 2))
    mine = np.moveaxis(symmetric.numpy(), 1, -1)
    if missed:
        assert probe.check(model, model.layers[0].name, report.inputs[0], expected=mine).ok


def test_the_unevenness_of_one_axis_is_enough():
    pool = ops.MaxPool(kernel=(3, 3), strides=(2, 2), pads=((1, 1), (0, 1)), dilations=(1, 1))
    assert not pool.hides_same_padding((1, 1, 9, 8))
    assert replace(pool, pads=((1, 1), (1, 1))).hides_same_padding((1, 1, 9, 9))


@pytest.mark.tensorflow
def test_what_the_weights_hide_is_said_of_a_fresh_layer():
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3), L.BatchNormalization()])
    first, second = (probe.check(model, layer.name) for layer in model.layers)
    assert any("bias is all zero" in told for told in first.blind)
    assert any("are 0 and 1 (their defaults)" in told for told in second.blind)


def said(report, words):
    """Whether it is told, among what is not detectable or the notes."""
    assert report.ok, report.sentence
    return any(words in told for told in (*report.blind, *report.notes))


def test_a_window_of_the_op_and_masks_that_hide_nothing():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 3, 5, 4)).astype(np.float32) for _ in range(3))
    for window, missed in ((5, True), (4, False)):
        told = ops.Attention(scale=0.5, causal=True, window=window).undetected((q, k, v))
        assert any("within the window of 5" in one for one in told) == missed
    masked = ops.Attention(scale=0.5, masks=("add",))
    later = np.where(np.tri(5, dtype=bool), 0, -np.inf).astype(np.float32)
    assert "hides no position" in masked.undetected((q, k, v, np.zeros_like(later)))[0]
    assert "hides later positions alone" in masked.undetected((q, k, v, later))[0]
    padded = later.copy()
    padded[:, 0] = -np.inf
    assert masked.undetected((q, k, v, padded)) == []


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_batch_of_one_shows_no_state_that_is_carried(kind):
    layer = trained(getattr(nn, kind)(3, 4, batch_first=True))
    rng = np.random.default_rng(0)

    def report(samples, steps):
        return probe.check(layer, "", rng.normal(size=(samples, steps, 3)).astype(np.float32))

    assert report(2, 5).blind == ()
    assert said(report(1, 5), "carried from one sample to the next")
    assert not said(report(1, 5), "could be anything")
    assert said(report(2, 1), "there is one step and its state is zero, so")
    x = torch.randn(2, 5, 3)
    with torch.no_grad():  # the mistake, which the first sample alone does not show
        _, state = layer(x[:1])
        carried = torch.cat([layer(x[:1])[0], layer(x[1:], state)[0]])
        assert torch.equal(carried[:1], layer(x[:1])[0])
        assert not torch.allclose(carried, layer(x)[0], atol=1e-4)


@pytest.mark.tensorflow
def test_a_batch_of_one_of_a_stateful_layer_of_keras():
    lstm = L.LSTM(4, stateful=True, name="lstm")
    model = trained(keras.Sequential([keras.Input((5, 3), batch_size=1), lstm]))
    assert said(probe.check(model, "lstm"), "carried from one sample to the next")


@pytest.mark.parametrize(("epsilon", "missed"), [(1e-12, True), (1e-5, False)])
@pytest.mark.parametrize("kind", ["LayerNorm", "RMSNorm"])
def test_an_epsilon_that_rounding_hides(kind, epsilon, missed):
    make = {"LayerNorm": nn.LayerNorm, "RMSNorm": nn.RMSNorm}[kind]
    layer = trained(make(8, eps=epsilon))
    x = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    report = probe.check(layer, "", x)
    assert said(report, "another epsilon would not be detected") == missed
    y = layer(torch.from_numpy(x)).detach()
    layer.eps = 10 * epsilon
    assert probe.check(layer, "", x, expected=y.numpy()).ok == missed


def test_a_gain_of_one_and_inputs_without_order():
    x = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    for norm in (nn.LayerNorm(8), nn.GroupNorm(2, 8)):
        assert said(probe.check(norm, "", x), "weight is all one")
        assert said(probe.check(norm, "", x), "bias is all zero, so omitting it")
    layer = trained(nn.Bilinear(3, 2, 4))
    both = [np.zeros((5, 3), np.float32), np.ones((5, 2), np.float32)]
    report = probe.check(layer, "", given=both)
    assert said(report, "input 0 is all zero, so what multiplies it could be anything")
    assert said(report, "input 1 is constant, so a wrong order")


@pytest.mark.parametrize(("low", "missed"), [(0.0, True), (-1.0, False)])
def test_values_that_are_not_negative_show_no_padding_of_a_maximum(low, missed):
    pool = nn.MaxPool2d(3, 2, 1)
    x = np.random.default_rng(0).uniform(low, low + 1, (2, 3, 8, 8)).astype(np.float32)
    assert said(probe.check(pool, "", x), "padding with 0 instead of -inf") == missed
    zeros = nn.functional.pad(torch.from_numpy(x), (1, 1, 1, 1))
    mine = nn.functional.max_pool2d(zeros, 3, 2).numpy()
    assert probe.check(pool, "", x, expected=mine).ok == missed


@pytest.mark.parametrize(("size", "missed"), [(9, True), (8, False)])
@pytest.mark.parametrize("operator", ["Conv", "MaxPool", "AveragePool"])
def test_a_padding_that_no_window_reaches(operator, size, missed, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 2, size, size)).astype(np.float32)
    weight = numpy_helper.from_array(rng.normal(size=(3, 2, 3, 3)).astype(np.float32), "w")

    def saved(pads):
        conv = operator == "Conv"
        node = helper.make_node(
            *(operator, ["x", "w"] if conv else ["x"], ["y"]),
            **{"name": "here", "kernel_shape": [3, 3], "strides": [2, 2], "pads": pads},
        )
        held = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
        given = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        graph = helper.make_graph([node], "g", held, given, [weight] if conv else [])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path = tmp_path / f"{pads[2]}.onnx"
        onnx.save(model, path)
        return path

    path = saved([0, 0, 1, 1])
    opened = probe.open_model(path)
    report = probe.check(opened, opened.layers[0].name, x)
    assert said(report, "no window reaches the padding of 1 at the end of axis 2") == missed
    with_padding, without = (
        onnxruntime.InferenceSession(one, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for one in (path, saved([0, 0, 0, 0]))
    )
    assert np.array_equal(with_padding, without) == missed


def test_scales_that_are_the_same_in_another_order():
    values = np.ones((4, 4), np.float32)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    for scale, words in (
        (np.array([[2.0, 1.0], [1.0, 4.0]]), "transposed ones would not be detected"),
        (np.full((4, 1), 0.5), "all scales of w are equal"),
        (np.array([[2.0, 1.0], [8.0, 4.0]]), ""),
    ):
        grid = Grid(np.kron(scale, np.ones((2, 2))) if scale.shape == (2, 2) else scale, 8)
        step = Step(ops.MatMul(Weight("w", None, values, grid=grid), None))
        told = blind_spots((step,), (x,), recompute((step,), (x,)))
        assert words in told[0] if words else told == (), told


def test_a_tie_says_what_the_check_could_not_show():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3).eval()
    with torch.no_grad():
        w = conv.weight
        w.copy_((w + w.flip(2, 3).transpose(2, 3)) / 2)  # flipped, it is transposed
        conv.bias.zero_()
    x = np.random.default_rng(0).normal(size=(2, 2, 7, 7)).astype(np.float32)
    y = nn.functional.conv2d(torch.from_numpy(x), w.flip(2, 3)).detach().numpy()
    report = probe.check(conv, "", given=x, expected=y)
    assert [one.tie for one in report.findings] == [True, True]
    assert "bias is all zero, so omitting it would not change the output" in report.blind
    assert "not detectable with this input: bias is all zero" in str(report)
