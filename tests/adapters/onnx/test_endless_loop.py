"""A trusted model whose Loop never ends: Ctrl-C ends it, in Python and on the command line."""

import signal
import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import probe

pytestmark = pytest.mark.usefixtures("no_gc_callbacks")


@pytest.fixture
def endless(tmp_path):
    going = [
        helper.make_node("Size", ["x"], ["size"]),
        # computed, and always true
        helper.make_node("Cast", ["size"], ["going"], to=TensorProto.BOOL),
    ]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["on_out"]),
            helper.make_node("Neg", ["v"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info(*one)
            for one in (
                ("i", TensorProto.INT64, []),
                ("on", TensorProto.BOOL, []),
                ("v", TensorProto.FLOAT, [2, 3]),
            )
        ],
        [
            helper.make_tensor_value_info("on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, [2, 3]),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["r"], name="first"),
            *going,
            helper.make_node("Loop", ["", "going", "r"], ["y"], body=body, name="loop"),
        ],
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "endless.onnx")
    return str(tmp_path / "endless.onnx")


@pytest.mark.parametrize(
    "work",
    [
        lambda model, x: probe.check(model, "first", x),
        lambda model, x: list(probe.sweep(model, x)),
        lambda model, x: probe.explain(model, "first", x, at=(0, 0)),
    ],
)
def test_an_endless_loop_is_interrupted(endless, work):
    def send() -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    model, timer = probe.open_model(endless, trust=True), threading.Timer(0.5, send)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            work(model, np.ones((2, 3), np.float32))
    finally:
        timer.cancel()  # a failure must not interrupt what comes next
        timer.join()
    assert not [one for one in threading.enumerate() if one.name.startswith("probe-")]


@pytest.mark.parametrize("options", [["--layer", "first"], ["--all"]])
def test_the_command_is_interrupted(endless, options):
    imported = "import onnx, onnxruntime; from probe.cli import main; print('imported', flush=True)"
    words = [
        sys.executable,
        "-c",
        f"{imported}; main()",
        endless,
        *options,
        "--trust",
    ]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        try:
            assert command.stdout.readline() == "imported\n"
            with pytest.raises(subprocess.TimeoutExpired):
                command.wait(2)
            command.send_signal(signal.SIGINT)
            _, said = command.communicate(timeout=60)
        finally:
            command.kill()
    assert command.returncode == 2 and said.strip() == "probe: interrupted"
