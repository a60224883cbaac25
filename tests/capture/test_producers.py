"""Which call made what another call takes: in PyTorch, Keras and ONNX, and where it cannot be told
nothing is named."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from chain_model import ChainModel
from data_flow import flow
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from onnx import helper
from onnx_cases import model as onnx_model
from torch import nn

import probe
from probe.capture.producers import Producers, digest, unasked
from probe.model import CallOutput, ModelInput

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
]
X = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
V = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


class Written(nn.Module):
    """A module whose forward is a function of it."""

    def __init__(self, forward, **modules):
        super().__init__()
        torch.manual_seed(0)
        for name, module in modules.items():
            self.add_module(name, module)
        self.written = forward

    def forward(self, *inputs):
        return self.written(self, *inputs)


def residual(self, x):
    y = self.act(self.norm(self.conv(x)))
    y = self.norm(self.conv(y))
    y += x
    return self.act(y)


def convolved(forward) -> nn.Module:
    return Written(
        forward, conv=nn.Conv2d(3, 3, 3, padding=1), norm=nn.BatchNorm2d(3), act=nn.ReLU(True)
    ).eval()


RESIDUAL = {
    "conv": [0],
    "norm": ["conv"],
    "act": ["norm"],
    "conv:1": ["act"],
    "norm:1": ["conv:1"],
    "/add": ["norm:1", 0],
    "act:1": ["/add"],
}


def test_a_residual_block_of_shared_modules_that_write_in_place():
    assert flow(convolved(residual), X) == RESIDUAL


def test_an_exported_program_and_torchscript_say_the_same():
    net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)).eval()
    known = {"0/conv": [0], "1/relu": ["0/conv"], "3/gemm": ["2/reshape"]}
    for model in (torch.export.export(net, (torch.from_numpy(X),)), torch.jit.script(net)):
        told = flow(model, X)
        assert (
            known.items() <= told.items()
            or {
                **known,
                "3/gemm": ["2/flatten"],
            }.items()
            <= told.items()
        ), told


def test_two_inputs_and_a_layer_called_twice():
    def forward(self, a, b):
        return self.lin(a) + self.lin(self.lin(b)) * self.lin(a)

    told = flow(Written(forward, lin=nn.Linear(4, 4)), V, V)
    assert told == {
        "lin": [0],
        "lin:1": [1],
        "lin:2": ["lin:1"],
        "lin:3": [0],
        "/mul": ["lin:2", "lin:3"],
        "/add": ["lin", "/mul"],
    }


def test_several_outputs_are_told_apart():
    def forward(self, x):
        y, (_, c) = self.lstm(x)
        left, right = y.chunk(2, -1)
        return self.lin(right) + self.lin(left) + self.lin(c[0, :, None, :2])

    net = Written(forward, lstm=nn.LSTM(4, 4, batch_first=True), lin=nn.Linear(2, 2)).eval()
    told = flow(net, V[None])
    assert told["lstm"] == [0] and told["/slice"] == ["lstm[2]"]
    assert told["lin"] == ["/split[1]"] and told["lin:1"] == ["/split"]


def test_what_lies_between_is_known_where_it_is_a_call_that_is_asked_for():
    net = nn.Sequential(nn.Linear(4, 6), nn.Flatten(), nn.Linear(6, 2))

    def forward(self, x):
        return self.net[2](self.net[0](x).reshape(10, 3).view(5, 6))

    model = Written(forward, net=net).eval()
    assert flow(model, V)["net.2"] == ["/reshape:1"]
    assert flow(model, V, wanted=["net.0", "net.2"]) == {"net.0": [0], "net.2": [None]}
    assert flow(model, V, wanted=["net.2"]) == {"net.2": [None]}


def test_of_a_container_and_its_inside_the_inner_call_has_made_it():
    net = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2), nn.Identity())
    assert flow(net, V, wanted=["0", "0.0", "0.1", "1", "2"]) == {
        "0.0": [0],
        "0.1": ["0.0"],
        "0": [0],
        "1": ["0.1"],
        "2": ["1"],
    }
    assert flow(net, V, wanted=["0", "1"]) == {"0": [0], "1": ["0.1"]}, "a call within a container"
    inside = nn.Sequential(nn.MultiheadAttention(4, 2), nn.Linear(4, 4)).eval()

    def forward(self, x):
        return self.net[1](self.net[0](x, x, x)[0])

    told = flow(
        Written(forward, net=inside), V[:, None], wanted=["net.0", "net.0.out_proj", "net.1"]
    )
    assert told["net.1"] == ["net.0"], "described as a whole"


def through_data(y):
    y.data.mul_(2)


def through_numpy(y):
    y.numpy()[...] += 1


def one_element(y):
    y.data[0, 0] = 1


def turned(y):
    y.data.copy_(y.data.flip(1).clone())


def swapped(y):
    y.data[:, [0, 3]] = y.data[:, [3, 0]]


def through_a_view(y):
    y[:, :2].mul_(2)


def another_memory(y):
    y.data = y.data * 2


@pytest.mark.parametrize("rows", [5, 3000])
@pytest.mark.parametrize(
    "write",
    [through_data, through_numpy, one_element, turned, through_a_view, another_memory, swapped],
    ids=lambda write: write.__name__,
)
def test_what_was_written_to_unseen_was_made_by_nobody(write, rows):
    """PyTorch counts the writes to a view, and none of those past it."""

    class Hidden(nn.Module):
        def forward(self, y):
            with torch._C.DisableTorchFunction():
                write(y)
            return y

    def forward(self, x):
        y = self.first(x)
        self.hidden(y)
        return self.last(y)

    net = Written(forward, first=nn.Linear(4, 4), hidden=Hidden(), last=nn.Linear(4, 2)).eval()
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    assert flow(net, x, wanted=["first", "last"]) == {"first": [0], "last": [None]}
    assert flow(net, x)["last"] == [None]


def test_a_write_counts_that_leaves_the_numbers_as_they_were():
    def forward(self, x):
        y = self.lin(x)
        return self.lin(y.mul_(1)) + self.lin(y)

    net = Written(forward, lin=nn.Linear(4, 4))
    assert flow(net, V, wanted=["lin"]) == {"lin": [0], "lin:1": [None], "lin:2": [None]}
    assert flow(net, V)["lin:2"] == ["/mul"]


def test_a_tensor_that_an_operation_in_place_has_made_is_its_output():
    def forward(self, x):
        y = self.lin(x)
        kept = y
        F.relu_(y)
        y.add_(1)
        return self.lin(kept) + self.lin(F.leaky_relu(y, inplace=True))

    told = flow(Written(forward, lin=nn.Linear(4, 4)), V)
    assert told["lin:1"] == ["/add"] and told["/add"] == ["/relu"] and told["/relu"] == ["lin"]
    assert told["lin:2"] == ["/leakyrelu"]


def test_in_inference_mode_no_writes_are_counted():
    def forward(self, x):
        with torch.inference_mode():
            y = self.lin(x)
            z = self.lin(y)
            y.mul_(2)
            return self.lin(y) + self.lin(z)

    told = flow(Written(forward, lin=nn.Linear(4, 4)), V)
    assert told["lin:1"] == ["lin"] and told["lin:3"] == ["lin:1"] and told["lin:2"] == ["/mul"]
    told = flow(Written(forward, lin=nn.Linear(4, 4)), V, wanted=["lin"])
    assert told["lin:2"] == [None] and told["lin:3"] == ["lin:1"]


def test_values_put_in_the_place_of_an_output_are_that_output():
    told = flow(
        convolved(residual), X, on_call=lambda capture: [one + 1 for one in capture.outputs]
    )
    assert told == RESIDUAL


def test_memory_that_is_used_again_names_nobody_else():
    def forward(self, x):
        for _ in range(200):
            y = self.lin(x)
            del y
            with torch._C.DisableTorchFunction():
                unseen = [torch.ones(5, 4) for _ in range(3)]
            self.lin(unseen.pop())
        return x

    told = flow(Written(forward, lin=nn.Linear(4, 4)), V)
    assert {made for name, (made,) in told.items() if name.startswith("lin")} == {0, None}


OPERATIONS = [
    lambda self, a, b: self.lin(a),
    lambda self, a, b: self.act(a * 1),
    lambda self, a, b: a + b,
    lambda self, a, b: torch.cat([a, b], 1)[:, 1:5],
    lambda self, a, b: a.mul_(1.25),
    lambda self, a, b: F.elu(a + b, inplace=True),
    lambda self, a, b: a.t().contiguous().t(),
    lambda self, a, b: self.drop(a),
]


@examples(40)
@given(
    st.lists(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9), st.integers(0, 9)),
        min_size=1,
        max_size=12,
    )
)
def test_of_numbers_that_occur_once_the_call_that_gave_them_is_named(program):
    """Numbers that differ say by themselves who made them: the last call that gave them."""

    def forward(self, x):
        tensors = [x + 0.5]
        for operation, left, right in program:
            a, b = tensors[left % len(tensors)], tensors[right % len(tensors)]
            tensors.append(operation(self, a, b))
        return tensors[-1]

    net = Written(forward, lin=nn.Linear(4, 4), act=nn.Tanh(), drop=nn.Identity()).eval()
    given, calls = {V.tobytes(): {ModelInput(0)}}, []
    probe.open_model(net).run([V], None, calls.append)
    for capture in calls:
        for producer, taken in zip(capture.made_by, capture.inputs, strict=True):
            assert producer in given[taken.tobytes()]
        for index, output in enumerate(capture.outputs):
            made = CallOutput(capture.layer, capture.call, index)
            given.setdefault(output.tobytes(), set()).add(made)


def test_numbers_that_are_alike_are_no_proof():
    def forward(self, a, b):
        left, right = self.lin(a), self.lin(b)
        return self.lin(left) + self.lin(right)

    told = flow(Written(forward, lin=nn.Linear(4, 4)), V, V.copy())
    assert told["lin:2"] == ["lin"] and told["lin:3"] == ["lin:1"]


def test_alone_a_layer_takes_what_it_is_given():
    made = []
    net = nn.Sequential(nn.Bilinear(4, 4, 2))
    probe.open_model(net).run_alone("0", [V, V], lambda one: made.append(one.made_by))
    node = helper.make_node("Add", ["a", "b"], ["y"], "sum")
    add = onnx_model([node], {"a": V, "b": V})
    probe.open_model(add).run_alone("sum", [V, V], lambda one: made.append(one.made_by))
    assert made == [(ModelInput(0), ModelInput(1))] * 2


def test_onnx_nodes_name_what_they_take():
    nodes = [
        helper.make_node("Split", ["x"], ["l", "r"], "split", axis=1, num_outputs=2),
        helper.make_node("MatMul", ["l", "w"], ["m"], "first"),
        helper.make_node("MatMul", ["r", "w"], ["n"], "second"),
        helper.make_node("Identity", ["m"], ["same"], "same"),
        helper.make_node("Add", ["m", "n"], ["s"], "sum"),
        helper.make_node("Mul", ["same", "s"], ["t"], "product"),
        helper.make_node("Dropout", ["t"], ["u", ""], "drop"),
        helper.make_node("Sub", ["u", "z"], ["y"], "difference"),
    ]
    x, z, w = V, V[:, :2], np.ones((2, 2), np.float32)
    model = onnx_model(nodes, {"x": x, "z": z}, {"w": w})
    expected = {
        "split": [0],
        "first": ["split"],
        "second": ["split[1]"],
        "same": ["first"],
        "sum": ["first", "second"],
        "product": ["same", "sum"],
        "drop": ["product"],
        "difference": ["drop", 1],
    }
    assert flow(model, x, z) == expected
    assert flow(model, x, z, wanted=["first", "sum"]) == {"first": [None], "sum": ["first", None]}


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_keras(name):
    keras = pytest.importorskip(name)
    layers = keras.layers
    left, right = keras.Input((7, 5), name="left"), keras.Input((7, 5), name="right")
    dense = layers.Dense(5, name="dense")
    y, h, _ = layers.LSTM(5, return_sequences=True, return_state=True, name="lstm")(
        layers.Masking(name="mask")(left)
    )
    inner = keras.Sequential(
        [keras.Input((7, 5)), layers.ReLU(name="cut"), layers.Dropout(0.5, name="drop")],
        name="inner",
    )
    z = inner(layers.Add(name="sum")([dense(dense(y)), right]))
    z = layers.Reshape((35,), name="flat")(z)
    model = keras.Model([left, right], layers.Concatenate(name="joined")([h, z]))
    x, other = np.random.default_rng(0).normal(size=(2, 2, 7, 5)).astype(np.float32)
    x[:, 4:] = 0
    told = flow(model, x, other)
    assert told["mask"] == [0] and told["lstm"][0] == "mask" and told["dense:1"] == ["dense"]
    assert told["dense"] == ["lstm"] and told["sum"] == ["dense:1", 1]
    assert told["inner/cut"] == ["sum"] and told["inner/drop"] == ["inner/cut"]
    assert told["flat"] == ["inner/drop"]
    assert told["joined"] in (["lstm[1]", "flat"], ["lstm", "flat"])
    assert flow(model, x, other, wanted=["inner", "flat"])["flat"] == ["inner/drop"]

    class Block(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = layers.Dense(5, name="first"), layers.Dense(5, name="second")

        def call(self, x):
            y = self.first(x)
            return self.second(self.second(y) * y + x)

    told = flow(Block(), other)
    (product,) = (one for one in told if "mul" in one)
    (total,) = (one for one in told if "add" in one)
    assert told == {
        "first": [0],
        "second": ["first"],
        product: ["second", "first"],
        total: [product, 0],
        "second:1": [total],
    }
    assert flow(Block(), other, wanted=["first", "second"])["second:1"] == [None]


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_a_variable_that_a_layer_gives_is_made_by_nobody(name):
    """It is the same object after it was assigned to."""
    keras = pytest.importorskip(name)

    class Count(keras.layers.Layer):
        def build(self, shape):
            self.n = self.add_weight(shape=(5, 4), initializer="zeros", trainable=False)

        def call(self, x):
            self.n.assign_add(self.n + 1)
            return self.n

    class Block(keras.Model):
        def __init__(self):
            super().__init__()
            self.count, self.cut = Count(name="count"), keras.layers.ReLU(name="cut")

        def call(self, x):
            n = self.count(x)
            self.count(x)
            return self.cut(n)

    told = flow(Block(), V, wanted=["count", "cut"])
    assert told == {"count": [0], "count:1": [0], "cut": [None]}


@pytest.mark.tensorflow
def test_a_cast_in_mixed_precision_is_another_tensor():
    keras = pytest.importorskip("keras")
    policy = keras.DTypePolicy("mixed_float16")
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, dtype=policy, name="a"),
            keras.layers.Dense(3, dtype=policy, name="b"),
            keras.layers.Dense(3, dtype="float32", name="c"),
        ]
    )
    assert flow(model, V) == {"a": [None], "b": ["a"], "c": [None]}


TORCH_BACKEND = """
import sys

sys.modules["tensorflow"] = None
import keras
import numpy as np
from data_flow import flow


class Block(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(5, name="first")
        self.second = keras.layers.Dense(5, name="second")

    def call(self, x):
        y = self.second(self.first(x))
        if not isinstance(y, keras.KerasTensor):
            y.data.mul_(2)
        return self.second(y)


assert keras.backend.backend() == "torch"
told = flow(Block(), np.ones((2, 4), np.float32), wanted=["first", "second"])
assert told == {"first": [0], "second": ["first"], "second:1": [None]}, told
"""


@pytest.mark.exhaustive
@pytest.mark.tensorflow
def test_keras_on_pytorch_sees_what_was_written_to():
    path = os.pathsep.join(one for one in sys.path if one)
    result = subprocess.run(
        [sys.executable, "-c", TORCH_BACKEND],
        env={**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("shape", [(3,), (40, 7), (100, 33), (5000, 3), (64, 64, 8), (257, 1031)])
def test_adigest_tells_arrays_apart(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    known = digest(x)
    assert digest(x.copy()) == known == digest(np.asfortranarray(x))
    for place in rng.integers(x.size, size=20):
        y = x.copy()
        y.flat[place] = np.nextafter(y.flat[place], np.float32(9))
        assert digest(y) != known
    for other in (x[::-1], -x, x.astype(np.float64), x.reshape(1, *shape), rng.permutation(x)):
        assert digest(np.array(other)) != known
    assert digest(np.array(["a", "b"], object)) != digest(np.array(["a", "c"], object))


def test_the_latest_call_counts_but_for_what_one_inside_has_made():
    class Tensor:
        pass

    x, y = Tensor(), Tensor()
    producers = Producers(lambda tensor: 0)
    producers.note_inputs([x], [V])
    producers.note_outputs("same", 0, [x], [V], since=0, described=False)
    assert producers.of(x, V) == CallOutput("same", 0, 0)
    since = producers.count
    producers.note_outputs("inner", 0, [y, y], [V, V], since, described=True)
    producers.note_outputs("outer", 0, [x, y], [V, V], since, described=False)
    assert producers.of(y, V) == CallOutput("inner", 0, 0)
    assert producers.of(x, V) == CallOutput("outer", 0, 0)
    producers.note_outputs("whole", 0, [y], [V], since, described=True)
    assert producers.of(y, V) == CallOutput("whole", 0, 0)
    assert producers.of(y, V + 1) is None and producers.of(Tensor(), V) is None
    place = id(y)
    del y
    others = [Tensor()]
    while id(others[-1]) != place:
        others.append(Tensor())
    assert producers.of(others[-1], V) is None, "it lies where the other has lain"
    producers.note_inputs([number := np.float32(1)], [np.asarray(number)])
    assert producers.of(number, np.asarray(number)) is None, "it takes no weak reference"


def test_a_model_that_says_nothing_is_followed_by_its_numbers():
    halved = probe.Description((probe.Step(probe.ops.Relu()),))
    chain = ChainModel({name: (lambda x: np.maximum(x, 0), halved) for name in "ab"})
    (field,) = probe.explain(chain, "b", V[:, :3], at=(1, 2), sees=True).sees
    assert field.box == ((1, 2), (2, 3))


def test_where_nobody_asks_nothing_is_noted_and_reports_are_the_same():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    with unasked():
        assert flow(net, x) == {"0": [None], "1": [None], "2": [None]}
    assert flow(net, x) == {"0": [0], "1": ["0"], "2": ["1"]}
    assert [one.verdict for one in probe.sweep(net, x)] == ["agree"] * 3
