"""What every model of ``probe.model.Model`` keeps, whatever opened it: one net as NumPy functions,
an ONNX and a TFLite file, a PyTorch module, a Keras model and a recording."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import torch
from chain_model import ChainModel
from module_state import bits, unchanged
from onnx import helper, numpy_helper
from tflite_files import FlatNode, FlatTensor, Net, built

import probe
from probe import Description, Step, Weight, ops
from probe.errors import BadInput, ForwardFailed, ProbeError, UnknownLayer
from probe.model import CallOutput, ModelInput, StopForward, is_model, recorded
from probe.report.as_json import as_dict

NAMES = ("first", "relu", "second")


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = drawn(0, 5, 3)
KERNELS, BIASES = (drawn(1, 3, 4), drawn(2, 4, 2)), (drawn(3, 4), drawn(4, 2))
HIDDEN = X @ KERNELS[0] + BIASES[0]
POSITIVE = np.maximum(HIDDEN, 0)
LAST = POSITIVE @ KERNELS[1] + BIASES[1]
INPUTS, OUTPUTS = (X, HIDDEN, POSITIVE), (HIDDEN, POSITIVE, LAST)


@dataclass(frozen=True)
class Subject:
    """A model of the net, what its framework calls the parts, and whether it was left as it was."""

    model: Any
    kinds: tuple[str, str, str]
    weights: dict[str, tuple[int, ...]]
    """Of the first layer: name -> shape as the framework stores it."""
    unchanged: Callable[[], bool]
    parameters: tuple[int, int, int] = (16, 0, 10)


def chain(folder):
    layers = {}
    for name, kernel, bias in zip(("first", "second"), KERNELS, BIASES, strict=True):
        held = [Weight("kernel", kernel, kernel), Weight("bias", bias, bias)]
        layers[name] = (
            (lambda x, k=kernel, b=bias: x @ k + b),
            Description((Step(ops.MatMul(*held)),)),
        )
    layers["relu"] = (lambda x: np.maximum(x, 0)), Description((Step(ops.Relu()),))
    before = [array.copy() for array in (*KERNELS, *BIASES)]
    return Subject(
        ChainModel({name: layers[name] for name in NAMES}),
        ("function",) * 3,
        {"kernel": (3, 4), "bias": (4,)},
        lambda: all(map(np.array_equal, before, (*KERNELS, *BIASES))),
        (0, 0, 0),
    )


def onnx_file(folder):
    held = {
        "first.kernel": KERNELS[0],
        "first.bias": BIASES[0],
        "second.kernel": KERNELS[1],
        "second.bias": BIASES[1],
    }
    nodes = [
        helper.make_node("Gemm", ["x", "first.kernel", "first.bias"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["p"], name="relu"),
        helper.make_node("Gemm", ["p", "second.kernel", "second.bias"], ["y"], name="second"),
    ]
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])]
        for name, size in (("x", 3), ("y", 2))
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "net", *ends, constants)
    path, opset = folder / "net.onnx", helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[opset]), path)
    return of_file(path, ("Gemm", "Relu", "Gemm"), {"first.kernel": (3, 4), "first.bias": (4,)})


def tflite_file(folder):
    tensors = [
        FlatTensor("x", (1, 3), signature=(-1, 3)),
        *(
            FlatTensor(f"{name}.{part}", data=data)
            for name, kernel, bias in zip(("first", "second"), KERNELS, BIASES, strict=True)
            for part, data in (("kernel", kernel.T), ("bias", bias))
        ),
        FlatTensor("first", (1, 4), signature=(-1, 4)),
        FlatTensor("relu", (1, 4), signature=(-1, 4)),
        FlatTensor("second", (1, 2), signature=(-1, 2)),
    ]
    dense = ("FullyConnectedOptions", {})
    nodes = [
        FlatNode("FULLY_CONNECTED", [0, 1, 2], [5], dense),
        FlatNode("RELU", [5], [6]),
        FlatNode("FULLY_CONNECTED", [6, 3, 4], [7], dense),
    ]
    built(Net(tensors, nodes, [0], [7]), path=folder / "net.tflite")
    kinds = "FULLY_CONNECTED", "RELU", "FULLY_CONNECTED"
    return of_file(folder / "net.tflite", kinds, {"first.kernel": (4, 3), "first.bias": (4,)})


def of_file(path, kinds, weights):
    before = path.read_bytes()
    return Subject(probe.open_model(path), kinds, weights, lambda: path.read_bytes() == before)


def module():
    net = torch.nn.Sequential(
        OrderedDict(first=torch.nn.Linear(3, 4), relu=torch.nn.ReLU(), second=torch.nn.Linear(4, 2))
    )
    with torch.no_grad():
        for layer, kernel, bias in zip((net.first, net.second), KERNELS, BIASES, strict=True):
            layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
    return net.eval()


TORCH = ("Linear", "ReLU", "Linear"), {"weight": (4, 3), "bias": (4,)}


def torch_module(folder):
    net = module()
    before = bits(net)
    return Subject(
        probe.open_model(net),
        *TORCH,
        lambda: (
            unchanged(before, net)
            and not any(one.training or one._forward_hooks for one in net.modules())
            and not any("forward" in vars(one) for one in net.modules())
        ),
    )


def keras_model(folder):
    layers = keras.layers
    net = keras.Sequential(
        [
            layers.Input((3,), name="x"),
            layers.Dense(4, name="first"),
            layers.ReLU(name="relu"),
            layers.Dense(2, name="second"),
        ]
    )
    before = [KERNELS[0], BIASES[0], KERNELS[1], BIASES[1]]
    net.set_weights(before)
    calls = [layer.call for layer in net.layers]
    return Subject(
        probe.open_model(net),
        ("Dense", "ReLU", "Dense"),
        {"kernel": (3, 4), "bias": (4,)},
        lambda: (
            all(map(np.array_equal, before, net.get_weights()))
            and [layer.call for layer in net.layers] == calls
            and all(layer.trainable for layer in net.layers)
        ),
    )


def recording(folder):
    probe.record(module(), X, folder / "run.npz")
    return of_file(folder / "run.npz", *TORCH)


SUBJECTS = [chain, onnx_file, tflite_file, torch_module, keras_model, recording]


@pytest.fixture(scope="module", params=SUBJECTS)
def subject(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("net"))


def ran(model, wanted, x=X):
    """The calls that a pass pushes, and its outputs."""
    captures = []
    outputs = model.run([x], wanted, captures.append)
    return captures, outputs


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_it_says_of_itself(subject):
    model = subject.model
    assert is_model(model) and model.source and model.framework
    assert all(isinstance(text, str) for text in (*model.notes, *model.other_files))
    layers = model.layers
    assert tuple(layer.name for layer in layers) == NAMES
    assert tuple(layer.kind for layer in layers) == subject.kinds
    assert tuple(layer.parameters for layer in layers) == subject.parameters
    assert all(layer.checkable == ("numpy", "onnx") and not layer.why for layer in layers)
    for layer, outputs in zip(layers, OUTPUTS, strict=True):
        assert layer.output_shape in (None, (None, outputs.shape[1]), outputs.shape)
    names = model.names()
    assert set(NAMES) <= set(names) and len(set(names)) == len(names)
    if model.inputs is None:
        assert model.input_order(("x",)) == ()
        assert recorded(model) is not None or "first" in model.input_hint
    else:
        (spec,) = model.inputs
        assert spec.shape in ((None, 3), X.shape) and spec.dtype == "float32"


def test_a_pass_pushes_each_call_once_in_order(subject):
    captures, outputs = ran(subject.model, None)
    assert [(one.layer, one.call) for one in captures] == [(name, 0) for name in NAMES]
    assert tuple(one.kind for one in captures) == subject.kinds
    for capture, x, y in zip(captures, INPUTS, OUTPUTS, strict=True):
        assert [type(array) for array in (*capture.inputs, *capture.outputs)] == [np.ndarray] * 2
        assert capture.dtype == capture.outputs[0].dtype.name == "float32"
        assert capture.description is not None and not capture.why and not capture.training
        close(capture.inputs[0], x)
        close(capture.outputs[0], y)
    makers = (ModelInput(0), CallOutput("first", 0, 0), CallOutput("relu", 0, 0))
    for capture, maker in zip(captures, makers, strict=True):
        assert capture.made_by in ((), (maker,))
    (output,) = outputs
    close(output, LAST)
    assert subject.unchanged()


def test_only_what_is_wanted_is_pushed(subject):
    captures, (output,) = ran(subject.model, {"relu"})
    assert [one.layer for one in captures] == ["relu"]
    captures, (unwatched,) = ran(subject.model, ())
    assert not captures and np.array_equal(output, unwatched)


def test_arrays_of_a_callback_take_the_place_of_the_outputs(subject):
    seen = {}

    def doubled(capture):
        seen[capture.layer] = capture
        return [2 * capture.outputs[0]] if capture.layer == "first" else None

    subject.model.run([X], {"first", "second"}, doubled)
    close(seen["first"].outputs[0], HIDDEN)
    close(seen["second"].inputs[0], 2 * POSITIVE)
    captures, _ = ran(subject.model, {"second"})
    close(captures[0].inputs[0], POSITIVE)


def test_arrays_are_copies(subject):
    """What is written into them changes neither the model nor what it was given."""
    given = X.copy()
    for capture in ran(subject.model, None, given)[0]:
        assert not any(np.shares_memory(array, given) for array in capture.inputs)
    report = probe.check(subject.model, "first", given)
    stored = [weight.stored for weight in report.weights.values()]
    for array in (*report.inputs, *report.outputs.values(), *stored):
        assert not np.shares_memory(array, given)
        if array.flags.writeable:
            array[...] = 77
    assert subject.unchanged()
    close(probe.check(subject.model, "first", X).outputs["framework"], HIDDEN)


def test_a_pass_may_be_ended(subject):
    seen = []

    def stopped(capture):
        seen.append(capture.layer)
        raise StopForward

    with suppress(StopForward):
        subject.model.run([X], None, stopped)
    assert seen == ["first"] and subject.unchanged()
    captures, _ = ran(subject.model, None)
    assert [one.layer for one in captures] == list(NAMES)


def test_one_layer_alone(subject):
    captures = []
    if recorded(subject.model):
        with pytest.raises(BadInput, match="'second' cannot run alone"):
            subject.model.run_alone("second", [POSITIVE], captures.append)
        return
    subject.model.run_alone("second", [2 * POSITIVE], captures.append)
    (capture,) = captures
    assert (capture.layer, capture.call) == ("second", 0)
    close(capture.inputs[0], 2 * POSITIVE)
    close(capture.outputs[0], 2 * POSITIVE @ KERNELS[1] + BIASES[1])
    with pytest.raises(ProbeError):
        subject.model.run_alone("second", [X, X], captures.append)
    with pytest.raises(UnknownLayer):
        subject.model.run_alone("third", [X], captures.append)
    assert len(captures) == 1 and subject.unchanged()


def test_what_is_not_there_is_one_sentence(subject):
    with pytest.raises(UnknownLayer) as error:
        probe.check(subject.model, "nothing", X)
    assert all(repr(name) in str(error.value) for name in NAMES), str(error.value)
    with pytest.raises((BadInput, ForwardFailed)) as error:
        probe.check(subject.model, "first", drawn(5, 5, 7))
    assert "\n" not in str(error.value), str(error.value)
    assert subject.unchanged()


def test_a_check_twice(subject):
    """Weights by the framework's names, in its layout; the same both times."""
    reports = [probe.check(subject.model, "first", X) for _ in range(2)]
    for report in reports:
        assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)
        shapes = {name: weight.stored.shape for name, weight in report.weights.items()}
        assert shapes == subject.weights
        close(report.inputs[0], X)
        close(report.outputs["framework"], HIDDEN)
    one, other = reports
    assert as_dict(one) == as_dict(other)
    assert all(np.array_equal(array, other.outputs[name]) for name, array in one.outputs.items())
    assert subject.unchanged()


def test_a_sweep_has_each_call_once_in_order(subject):
    reports = list(probe.sweep(subject.model, X))
    assert [(report.layer, report.call) for report in reports] == [(name, 0) for name in NAMES]
    assert all(report.ok for report in reports)
    assert subject.unchanged()
