"""What an element of a layer's output can be influenced by: against perturbation of each op and
gradients of whole networks."""

import numpy as np
import onnx
import pytest
import tensorflow
import tf_keras
import torch
from explained_cases import LAYERS, call_of
from onnx_cases import model as onnx_model

import probe
from probe.evaluation.numpy_reference import recompute
from probe.explanation.receptive_field import influence_of
from probe.numerics.dtypes import widened

pytestmark = [
    # QKeras calls pyparsing by old names
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),
    # QKeras calls one twice
    pytest.mark.filterwarnings("ignore:The initializer .* is unseeded:UserWarning"),
]
PROBED = 12
"""Elements of an input that are changed, of those that are said to be seen and of the others."""


@pytest.mark.exhaustive(default=60)
@pytest.mark.parametrize(("name", "layer", "shapes"), LAYERS)
def test_what_is_not_seen_has_no_influence_and_what_is_seen_has(name, layer, shapes):
    capture = call_of(layer, shapes)
    steps, inputs = capture.description.steps, [widened(x) for x in capture.inputs]
    y = recompute(steps, inputs)[-1][0]
    rng = np.random.default_rng(2)
    at = tuple(int(rng.integers(size)) for size in y.shape)
    mask = np.zeros(y.shape, bool)
    mask[at] = True
    reached = influence_of(steps, inputs, mask)

    def moves(k, place):
        """Whether another value there changes the element; far values of both signs, so that a
        maximum and a level change too."""
        for value in (100.0, -100.0, 0.25, -0.25, 2.0):
            changed = [x.copy() for x in inputs]
            changed[k][place] = value
            if recompute(steps, changed)[-1][0][at] != y[at]:
                return True
        return False

    for k, one in enumerate(reached):
        assert one.shape == inputs[k].shape
        for places, influence in ((np.argwhere(one), True), (np.argwhere(~one), False)):
            for place in rng.permutation(places)[:PROBED]:
                moved = moves(k, tuple(place))
                assert influence or not moved
                # A quantised weight may be zero; the rest is seen exactly.
                assert moved or not influence or name.startswith("Q")


class Residual(torch.nn.Module):
    """Sums, max(x, 0) and a reshape between the layers."""

    def __init__(self, activation):
        super().__init__()
        self.first = torch.nn.Conv2d(2, 4, 3, padding=1)
        self.second = torch.nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.norm = torch.nn.BatchNorm2d(4)
        self.pool = torch.nn.AvgPool2d(2)
        self.last = torch.nn.Linear(24, 5)
        self.activation = activation

    def forward(self, x):
        y = self.first(x)
        y = self.activation(self.norm(self.second(y)) + y)
        return self.last(self.pool(y).flatten(1))


def gradient(net, layer, x, at):
    """Where the gradient of that element in the model's input is not zero."""
    held = []
    handle = dict(net.named_modules())[layer].register_forward_hook(
        lambda module, args, output: held.append(output)
    )
    given = torch.from_numpy(x).requires_grad_()
    net(given)
    handle.remove()
    held[0][at].backward()
    return given.grad.numpy() != 0


@pytest.mark.parametrize(
    ("layer", "at"),
    [("second", (0, 3, 0, 0)), ("norm", (1, 0, 3, 2)), ("pool", (1, 0, 1, 1)), ("last", (1, 2))],
)
@pytest.mark.parametrize("activation", [torch.nn.Softplus(), torch.relu])
def test_a_network_with_sums_between_its_layers(activation, layer, at):
    torch.manual_seed(0)
    net = Residual(activation).eval()
    x = np.random.default_rng(0).normal(size=(2, 2, 6, 5)).astype(np.float32)
    net.last = torch.nn.Linear(4 * 3 * 2, 5)
    (field,) = probe.explain(net, layer, x, at=at, sees=True).sees
    influence = gradient(net, layer, x, at)
    assert (influence <= field.mask).all()
    if activation is not torch.relu:
        np.testing.assert_array_equal(influence, field.mask)


def test_a_functional_keras_model_with_two_inputs():
    layers = tf_keras.layers
    left, right = tf_keras.Input((6, 5, 2), name="left"), tf_keras.Input((3, 2, 4), name="right")
    pooled = layers.MaxPooling2D(2, name="pool")(
        layers.Conv2D(4, 3, padding="same", name="conv")(left)
    )
    joined = layers.Concatenate(name="joined")([layers.Add(name="sum")([pooled, right]), right])
    model = tf_keras.Model([left, right], layers.Conv2D(3, 1, name="out")(joined))
    rng = np.random.default_rng(0)
    given = [
        rng.normal(size=(1, 6, 5, 2)).astype(np.float32),
        rng.normal(size=(1, 3, 2, 4)).astype(np.float32),
    ]
    story = probe.explain(model, "out", given, at=(0, 2, 0, 1), sees=True)
    assert [(field.name, field.box) for field in story.sees] == [
        ("left", ((0, 1), (3, 6), (0, 3), (0, 2))),
        ("right", ((0, 1), (2, 3), (0, 1), (0, 4))),
    ]
    assert "left[0, 3:6, 0:3, 0:2]: 18 of 60 elements" in str(story)
    assert '"indices"' not in story.to_json()


class Between(torch.nn.Module):
    """Functions that are no layers: a sine, a product with a mean over channels, and a join."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.Conv2d(3, 3, 1)
        self.third, self.fourth, self.last = (
            torch.nn.Conv2d(3, 2, 1),
            torch.nn.Conv2d(5, 2, 1),
            torch.nn.Conv2d(2, 2, 3),
        )

    def forward(self, x):
        y = self.first(x)
        z = self.second(torch.sin(y))
        w = self.third(z * y)
        v = self.fourth(torch.cat([w, y], 1))
        return self.last(v * v.mean((2, 3), keepdim=True))


@pytest.mark.parametrize(
    ("layer", "at"), [("second", (1, 2, 0, 3)), ("third", (0, 1, 2, 2)), ("fourth", (1, 0, 4, 4))]
)
def test_functions_between_the_layers_are_followed_place_by_place(layer, at):
    torch.manual_seed(0)
    net = Between().eval()
    x = np.random.default_rng(0).normal(size=(2, 2, 6, 5)).astype(np.float32)
    (field,) = probe.explain(net, layer, x, at=at, sees=True).sees
    np.testing.assert_array_equal(gradient(net, layer, x, at), field.mask)


def test_what_cannot_be_told_place_by_place_is_told_by_sample():
    torch.manual_seed(0)
    net = Between().eval()
    x = np.random.default_rng(0).normal(size=(2, 2, 6, 5)).astype(np.float32)
    (field,) = probe.explain(net, "last", x, at=(1, 0, 1, 1), sees=True).sees
    assert (gradient(net, "last", x, (1, 0, 1, 1)) <= field.mask).all()
    assert not field.mask[0].any()


@pytest.mark.parametrize(
    ("join", "turned"),
    [
        (lambda y, z: np.concatenate([y, z], 1), lambda at: at),
        (lambda y, z: np.concatenate([y, z], 1)[:, ::-1, ::-1].copy(), lambda at: 5 - at),
        (lambda y, z: np.stack([y, z], 2).reshape(len(y), 6, 6, 5), lambda at: at),
    ],
    ids=["joined", "turned round", "interleaved"],
)
def test_elements_that_code_beyond_pytorch_moves_about_are_followed_one_by_one(join, turned):
    class Beyond(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(2, 3, 3, padding=1)
            self.second, self.last = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(6, 2, 1)

        def forward(self, x):
            y = self.first(x)
            z = self.second(y)
            return self.last(torch.from_numpy(join(y.numpy(), z.numpy())))

    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(2, 2, 6, 5)).astype(np.float32)
    (field,) = probe.explain(Beyond().eval(), "last", x, at=(1, 0, 2, 3), sees=True).sees
    row = turned(2)
    assert field.box == ((1, 2), (0, 2), (row - 1, row + 2), (2, 5))


def test_a_function_of_each_element_beyond_pytorch_is_followed_place_by_place():
    class Beyond(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return self.last(torch.from_numpy(np.cosh(self.first(x).numpy())))

    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(2, 2, 6, 5)).astype(np.float32)
    (field,) = probe.explain(Beyond().eval(), "last", x, at=(1, 0, 2, 3), sees=True).sees
    assert field.box == ((1, 2), (0, 2), (1, 4), (2, 5))


def test_a_layer_that_follows_nothing_is_named():
    class Alone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 3)

        def forward(self, x):
            return self.second(torch.ones(2, 4)) + self.first(x)[:, :3]

    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    with pytest.raises(
        probe.ProbeError, match="'second' takes values that come from no preceding call"
    ):
        probe.explain(Alone().eval(), "second", x, at=(0, 1), sees=True)


def test_of_two_arrays_of_the_same_numbers_the_one_is_followed_that_was_taken():
    """Two branches with one layer, on the same numbers, told apart by which call made what."""

    class Branches(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.last = torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)

        def forward(self, a, b):
            left, right = self.shared(a), self.shared(b)
            return self.last(left) * right.sum()

    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    fields = probe.explain(Branches().eval(), "last", [x, x], at=(1, 0), sees=True).sees
    assert [field.count for field in fields] == [3, 0]
    assert fields[0].box == ((1, 2), (0, 3))


def test_of_two_onnx_tensors_of_the_same_numbers_the_one_is_followed_that_was_taken():
    given = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Relu", ["a"], ["l"], "left"),
        onnx.helper.make_node("Relu", ["b"], ["r"], "right"),
        onnx.helper.make_node("Softmax", ["l"], ["y"], "last", axis=1),
        onnx.helper.make_node("Add", ["y", "r"], ["z"], "sum"),
    ]
    model = onnx_model(nodes, {"a": given, "b": given}, outputs=["z"])
    fields = probe.explain(model, "last", [given, given], at=(1, 0), sees=True).sees
    assert [field.count for field in fields] == [4, 0]
    fields = probe.explain(model, "sum", [given, given], at=(1, 0), sees=True).sees
    assert [field.count for field in fields] == [4, 1]


def test_operations_of_a_subclassed_keras_model_are_followed_place_by_place():
    class Block(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = tf_keras.layers.Conv2D(2, 3, padding="same", name="conv")
            self.last = tf_keras.layers.Conv2D(2, 1, name="last")

        def call(self, x):
            y = self.conv(x)
            return self.last(tensorflow.concat([y * y, x], -1))

    x = np.random.default_rng(0).normal(size=(2, 6, 5, 2)).astype(np.float32)
    (field,) = probe.explain(Block(), "last", x, at=(1, 2, 2, 0), sees=True).sees
    assert field.box == ((1, 2), (1, 4), (1, 4), (0, 2)) and field.count == 18


def test_the_layer_alone_sees_no_model():
    with pytest.raises(probe.ProbeError, match="needs a run of the whole model"):
        probe.explain(
            torch.nn.Linear(4, 3).eval(),
            "",
            given=np.ones((1, 4), np.float32),
            at=(0, 1),
            sees=True,
        )
