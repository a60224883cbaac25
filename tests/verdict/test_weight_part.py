"""A weight counts as seen exactly where the framework's output changes with it, and what is said of
it is a share and a place."""

import copy

import numpy as np
import pytest
import torch
from lazy import keras

import probe
from probe.ops.step import weight_fields
from probe.report.weight_part import places, within_weight
from probe.verdict.judge import judge
from probe.verdict.options import Options, Yours

L, nn = keras.layers, torch.nn


def zeroed(rng, *shape):
    """Random numbers, those of some places of the last or second axis all 0."""
    x = rng.normal(size=shape).astype(np.float32)
    axis = 1 if len(shape) > 2 else -1
    index = [slice(None)] * len(shape)
    index[axis] = rng.permutation(shape[axis])[: shape[axis] // 2]
    x[tuple(index)] = 0
    return x


TORCH = {
    "Linear": (lambda: nn.Linear(6, 4), lambda rng: zeroed(rng, 3, 6)),
    "Conv2d": (lambda: nn.Conv2d(2, 2, 3, padding=1), lambda rng: zeroed(rng, 1, 2, 5, 4)),
    "Conv2d that padding reaches": (
        lambda: nn.Conv2d(1, 2, 3, padding=1),
        lambda rng: zeroed(rng, 2, 1, 1, 1) + 1,
    ),
    "Conv2d in groups": (
        lambda: nn.Conv2d(4, 4, 2, stride=2, groups=2),
        lambda rng: zeroed(rng, 2, 4, 5, 4),
    ),
    "Conv1d, dilated": (
        lambda: nn.Conv1d(4, 3, 2, dilation=2, bias=False),
        lambda rng: zeroed(rng, 1, 4, 6),
    ),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1),
        lambda rng: zeroed(rng, 1, 4, 2, 3),
    ),
    "ConvTranspose2d, cropped and in groups": (
        lambda: nn.ConvTranspose2d(4, 4, 3, padding=2, groups=2),
        lambda rng: zeroed(rng, 1, 4, 3, 3),
    ),
    "Embedding": (lambda: nn.Embedding(7, 3), lambda rng: rng.integers(7, size=(2, 3))),
    "EmbeddingBag": (
        lambda: nn.EmbeddingBag(7, 3, padding_idx=2),
        lambda rng: rng.integers(7, size=(2, 3)),
    ),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), lambda rng: rng.normal(size=(2, 4, 2, 3))),
    "LayerNorm": (lambda: nn.LayerNorm(5), lambda rng: rng.normal(size=(2, 5))),
    "PReLU": (lambda: nn.PReLU(4), lambda rng: np.abs(zeroed(rng, 1, 4, 2, 2)) - 0.5),
}


def captured(model, x):
    calls = []
    probe.open_model(model).run((x,), None, calls.append)
    return calls[-1]


def unseen(capture):
    """By name: which elements of the weights are said to have no effect on the output."""
    (step,) = (one for one in capture.description.steps if weight_fields(one.op))
    (x, *_), weights = capture.inputs, weight_fields(step.op)
    moved = [one.op.run(x)[0] for one in capture.description.steps[:1] if one is not step]
    effects = step.op.weight_effects([moved[0] if moved else x], None)
    assert effects.keys() == weights.keys()
    return {
        weights[name].name: within_weight(weights[name], effect == 0)
        for name, effect in effects.items()
    }


@pytest.mark.parametrize("name", TORCH)
def test_a_weight_is_unseen_where_the_output_of_torch_stays_as_it_is(name):
    rng = np.random.default_rng(len(name))
    make, draw = TORCH[name]
    model = make().eval()
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            low = 0.5 if key == "running_var" else -1.0
            drawn = torch.from_numpy(rng.uniform(low, 1, tensor.shape))
            tensor.copy_(drawn)
    drawn = draw(rng)
    x = drawn.astype(np.float32) if drawn.dtype.kind == "f" else drawn
    found = unseen(captured(model, x))
    own = model(torch.from_numpy(x)).detach().numpy()
    for key, mask in found.items():
        for index in np.ndindex(*mask.shape):
            other = copy.deepcopy(model)
            other.state_dict()[key][index] *= 3
            same = np.array_equal(other(torch.from_numpy(x)).detach().numpy(), own)
            assert same == mask[index], (key, index)


KERAS = {
    "Dense": (lambda: L.Dense(4), lambda rng: zeroed(rng, 3, 6)),
    "Conv2D": (lambda: L.Conv2D(3, 2), lambda rng: np.moveaxis(zeroed(rng, 1, 4, 4, 3), 1, -1)),
    "DepthwiseConv2D": (
        lambda: L.DepthwiseConv2D(2, depth_multiplier=2),
        lambda rng: np.moveaxis(zeroed(rng, 1, 4, 3, 3), 1, -1),
    ),
    "BatchNormalization": (L.BatchNormalization, lambda rng: zeroed(rng, 2, 3)),
}


@pytest.mark.parametrize("name", KERAS)
def test_a_weight_is_unseen_where_the_output_of_keras_stays_as_it_is(name):
    rng = np.random.default_rng(len(name))
    make, draw = KERAS[name]
    x = np.ascontiguousarray(draw(rng), np.float32)
    model = keras.Sequential([keras.Input(x.shape[1:]), make()])
    model.set_weights([rng.uniform(0.5, 1, one.shape) for one in model.get_weights()])
    found = unseen(captured(model, x))
    own = model(x).numpy()
    for variable in model.layers[0].variables:
        held = variable.numpy()
        for index in np.ndindex(*held.shape):
            other = held.copy()
            other[index] *= 3
            variable.assign(other)
            assert np.array_equal(model(x).numpy(), own) == found[variable.name][index], index
        variable.assign(held)


@pytest.fixture(scope="module")
def net():
    """The third unit is dead, so a column of the last layer meets only zeros."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        net[0].weight.abs_()
        net[0].bias.fill_(1)
        net[0].bias[2] = -100
    return net


X = np.abs(np.random.default_rng(0).normal(size=(5, 4))).astype(np.float32)


def test_a_share_and_a_place(net):
    report = probe.check(net, "2", X)
    found = report.sensitivity
    assert (found.detected, found.count, found.estimated) == (24, 27, False)
    assert found.unseen == ("weight[:, 2] meets only zeros on this input (3 of 24)",)
    said = f"this check would detect a relative change of {found.change:.1g} in all but 3 of 27"
    assert said in str(report)
    assert "weight[:, 2] meets only zeros" in str(report)
    assert "meets only zeros" in report.to_html()
    assert "in all 40 weights" in str(probe.check(net, "0", X))


def test_the_change_shows_in_each_weight_of_the_share(net):
    given = probe.check(net, "2", X).inputs[0]
    capture = captured(net[2], given)
    change = judge(capture, options=Options(detail=True)).sensitivity.change
    seen = 0
    for index in np.ndindex(3, 8):
        other = copy.deepcopy(net[2]).double()
        with torch.no_grad():
            other.weight[index] *= 1 + 3 * change
            mine = other(torch.from_numpy(given).double()).numpy()
        seen += judge(capture, Yours(mine)).verdict == "diverge"
    assert seen == 21


def test_outputs_that_are_cut_off():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, activation="relu", name="dense")])
    kernel, bias = np.ones((4, 3)), np.array([0.0, -100.0, 0.5])
    model.set_weights([kernel, bias])
    assert probe.check(model, "dense", X).sensitivity.unseen == (
        "kernel[:, 1] reaches only outputs that are cut off on this input (4 of 12)",
        "bias[1] reaches only outputs that are cut off on this input (1 of 3)",
    )


def test_rows_that_are_not_looked_up():
    report = probe.check(nn.Sequential(nn.Embedding(9, 2)).eval(), "0", np.array([[0, 3, 4]]))
    told = "weight[1:3, :], [5:9, :] is not looked up on this input (12 of 18)"
    assert report.sensitivity.unseen == (told,)


def test_a_layer_without_weights_is_unchanged(net):
    assert probe.check(net, "1", X).sensitivity is None


@pytest.mark.parametrize(
    ("shape", "where", "text"),
    [
        ((2, 3), (slice(None), slice(None)), "w"),
        ((2, 3), (slice(None), 2), "w[:, 2]"),
        ((2, 3), (slice(None), slice(1, 3)), "w[:, 1:3]"),
        ((4, 3), (slice(1, 3), slice(0, 2)), "w[1:3, 0:2]"),
        ((9,), (slice(0, 9, 2),), "w[0], [2], [4], [6] and more"),
        ((2, 2, 2), (0, slice(None), 1), "w[0, :, 1]"),
    ],
)
def test_places(shape, where, text):
    mask = np.zeros(shape, bool)
    mask[where] = True
    assert places("w", mask) == text
