"""A small network, right and wrong, and Chromium or Chrome as installed."""

import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from playwright.sync_api import sync_playwright

import probe

RNG = np.random.default_rng(0)
WEIGHTS = {
    "first.weight": RNG.normal(size=(3, 3, 3, 3)),
    "second.weight": RNG.normal(size=(3, 3, 3, 3)),
    "first.bias": RNG.normal(size=3),
    "second.bias": RNG.normal(size=3),
}
X = RNG.normal(size=(2, 3, 8, 7)).astype(np.float32)
ARGUMENTS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""Root has no sandbox, and WebGL is drawn without a GPU."""


def net(path, *, wrong=False):
    """A residual block of two convolutions; ``wrong``: the second without its bias."""
    value = helper.make_tensor_value_info
    second = ["r", "second.weight"] if wrong else ["r", "second.weight", "second.bias"]
    nodes = [
        helper.make_node(
            "Conv", ["x", "first.weight", "first.bias"], ["a"], "first", pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("Conv", second, ["b"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["a", "b"], ["s"], "add"),
        helper.make_node("Sigmoid", ["s"], ["y"], "sigmoid"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, X.shape)],
        [value("y", TensorProto.FLOAT, X.shape)],
        [numpy_helper.from_array(one.astype(np.float32), name) for name, one in WEIGHTS.items()],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[opset]), path)
    return probe.open_model(path)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The network and one without a bias, opened; and the network's input."""
    folder = tmp_path_factory.mktemp("models")
    return net(folder / "net.onnx"), net(folder / "other.onnx", wrong=True), X


@pytest.fixture(scope="session")
def browser():
    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "neither chromium nor google-chrome is on PATH"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield started
        started.close()
