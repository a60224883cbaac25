"""SavedModels: listed without TensorFlow, run in a process of their own, described operation by
operation."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from own_seed import RNG
from probe.adapters.saved_model import allow_list
from probe.adapters.saved_model.processes import start_forking
from repository import EXAMPLES

import probe
from probe.errors import BadInput, CannotOpen, NotTrusted, UnknownLayer


@pytest.fixture(scope="session")
def net(saved):
    return probe.open_model(saved / "net")


X = RNG.normal(size=(2, 4)).astype(np.float32)


def _verdicts(results):
    return {result.layer: result.verdict for result in results}


def test_a_folder_is_listed_without_tensorflow(saved):
    code = (
        "import json, sys; from probe.adapters import list_file; listing = list_file(sys.argv[1]); "
        "assert not {'tensorflow', 'keras'} & set(sys.modules); "
        "print(json.dumps([[layer.name for layer in listing.layers], list(listing.notes)]))"
    )
    command = [sys.executable, "-c", code, str(saved / "net")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    names, notes = json.loads(done.stdout)
    assert {"first/MatMul", "first/Relu", "second/MatMul", "ArgMax"} <= set(names)
    assert notes[0] == "the signature serving_default"
    assert "branching" in notes[1] and "integers" in notes[1]


def test_every_operation_agrees(net):
    captures = []
    results = net.run([X], None, captures.append)
    assert {capture.layer: capture.dtype for capture in captures} == {
        "first/MatMul": "float32",
        "first/Relu": "float32",
        "second/Cast": "float16",
        "second/MatMul": "float16",
        "ArgMax": "float16",
    }
    assert not [capture.why for capture in captures if capture.why]
    weights = [step.op for step in captures[0].description.steps]
    assert any("w" in str(vars(op)) for op in weights)
    assert {layer.name: layer.parameters for layer in net.layers}["second/MatMul"] == 18
    # Nothing changes by being looked at.
    for theirs, ours in zip(net.run([X], set(), captures.append), results, strict=True):
        np.testing.assert_array_equal(theirs, ours)
    assert net.output_names() == ("argmax", "y")


def test_an_operation_alone_and_with_its_output_replaced(net):
    captures = []
    net.run([X], None, captures.append)
    for capture in captures:
        alone = []
        net.run_alone(capture.layer, capture.inputs, alone.append)
        np.testing.assert_array_equal(alone[0].outputs[0], capture.outputs[0])
    with pytest.raises(BadInput, match="takes 1 input"):
        net.run_alone("first/Relu", [X, X], captures.append)
    with pytest.raises(UnknownLayer):
        net.run_alone("first/Gelu", [X], captures.append)
    seen = []
    mine = np.ones((2, 6), np.float32)

    def replaced(capture):
        seen.append(capture)
        return [mine] if capture.layer == "first/Relu" else None

    outputs = net.run([X], {"first/Relu", "second/Cast", "second/MatMul"}, replaced)
    np.testing.assert_array_equal(seen[1].inputs[0], mine)
    np.testing.assert_array_equal(outputs[1], seen[2].outputs[0])
    assert len(np.unique(outputs[1][:, 0])) == 1


def test_sweep_block_and_record(net, saved, tmp_path):
    assert {report.verdict for report in probe.sweep(net, X)} == {"agree"}
    assert probe.check(net, "", X).ok
    assert probe.check(net, ("first/MatMul", "second/Cast"), X).ok
    probe.record(net, X, tmp_path / "run.npz")
    recorded = list(probe.sweep(tmp_path / "run.npz"))
    assert [report.verdict for report in recorded] == ["agree"] * 5


def test_signatures(saved):
    model = probe.open_model(saved / "net", signature="branching")
    reports = list(probe.sweep(model, X))
    assert {report.verdict for report in reports} == {"agree"}
    assert {"If", "While"} & {layer.kind for layer in model.layers}
    integers = probe.open_model(saved / "net", signature="integers")
    reports = list(probe.sweep(integers, np.arange(8, dtype=np.int32).reshape(2, 4)))
    assert {report.verdict for report in reports} == {"agree"} and len(reports) == 3
    with pytest.raises(BadInput, match=r"'codes' takes integers .* such as 0.5: give"):
        probe.check(integers, "", np.full((2, 4), 0.5))
    with pytest.raises(BadInput, match=r"its signatures: .*branching"):
        probe.open_model(saved / "net", signature="other")


def test_what_is_refused(saved, tmp_path):
    with pytest.raises(NotTrusted, match=r"HashTableV2|InitializeTable|LookupTable"):
        probe.open_model(saved / "table")
    with pytest.raises(NotTrusted, match="TensorFlow 1"):
        probe.open_model(saved / "old")
    old = probe.open_model(saved / "old", trust=True)
    assert {report.verdict for report in probe.sweep(old, X)} == {"agree"}
    with pytest.raises(BadInput, match="runs on the CPU"):
        probe.open_model(saved / "net", device="gpu")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "saved_model.pbtxt").write_text("saved_model_schema_version: 1")
    with pytest.raises(CannotOpen, match="as text"):
        probe.open_model(tmp_path / "text")


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only there are processes forked")


@on_linux
def test_a_crash_is_a_sentence_and_the_next_run_another_process(saved):
    before = _forked()
    model = probe.open_model(saved / "net")
    first = model.run([X], set(), lambda capture: None)
    [number] = _forked() - before
    os.kill(number, signal.SIGSEGV)
    with pytest.raises(probe.ForwardFailed, match=r"running .*net crashes \(SIGSEGV\)"):
        model.run([X], set(), lambda capture: None)
    after = model.run([X], set(), lambda capture: None)
    np.testing.assert_array_equal(first[1], after[1])


def _forked():
    """The numbers of the processes that models run in."""
    forking = start_forking().process.pid
    text = Path(f"/proc/{forking}/task/{forking}/children").read_text(encoding="utf-8")
    return set(map(int, text.split()))


@on_linux
def test_memory_that_is_not_given_is_a_sentence(saved):
    model = probe.open_model(saved / "net", signature="filled")
    with pytest.raises(probe.ForwardFailed, match=r"^TensorFlow: Fill: OOM .*\[262144,262144\]"):
        model.run([X], set(), lambda capture: None)


def test_no_operation_that_is_allowed_waits_for_another():
    """What blocks is nowhere on the list, so that processor time bounds whatever runs."""
    waiting = re.compile(
        "Accumulator|Barrier|Batch(Function)?$|Collective|Dataset|Dequeue|Enqueue|Iterator|Mutex|"
        "Queue|Recv|Rpc|Send|[Ss]tage|TensorArray|Nccl"
    )
    names = [name for name in dir(tf.raw_ops) if waiting.search(name)]
    assert len(names) > 200 and not allow_list._ALLOWED & {*names, "_Recv", "_Send"}


def test_keras_against_its_export_and_onnx(tmp_path):
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 3), batch_size=1),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(name="flat"),
            layers.Dense(5, activation="softmax", name="dense"),
        ]
    )
    model.export(tmp_path / "export", verbose=False)
    x = RNG.normal(size=(1, 8, 8, 3)).astype(np.float32)
    export = probe.open_model(tmp_path / "export")
    assert {report.verdict for report in probe.sweep(export, x)} == {"agree"}
    assert probe.compare(model, export, x).verdict == "agree"
    tf2onnx = pytest.importorskip("tf2onnx")
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    function = loaded.signatures["serving_default"]
    given = list(function.structured_input_signature[1].values())
    called = tf.function(function, input_signature=given)
    tf2onnx.convert.from_function(called, given, output_path=str(tmp_path / "net.onnx"))
    assert probe.compare(export, tmp_path / "net.onnx", x).verdict == "agree"


def test_an_export_against_tflite(tmp_path):
    """Whose convolutions have the bias that is an operation of its own in the export."""
    keras = pytest.importorskip("keras")
    pytest.importorskip("ai_edge_litert")
    keras.models.load_model(EXAMPLES / "digits.keras").export(tmp_path / "digits", verbose=False)
    export, x = probe.open_model(tmp_path / "digits"), np.load(EXAMPLES / "digits.npy")
    for kind in ("float", "int8"):
        comparison = probe.compare(export, EXAMPLES / f"digits_{kind}.tflite", x)
        assert comparison.verdict == "agree", str(comparison)
