"""An exported layer run in ONNX Runtime: what is fed, what is said of it, and why it cannot be
run."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from probe.errors import Undescribed
from probe.evaluation.framework_export import by_exporter, run_exported
from probe.evaluation.onnxruntime_session import ran, reason
from probe.model import Capture

X = np.array([[1.0, -2.0, 3.0]], np.float32)


def exported(operator="Add", kind=TensorProto.FLOAT, inputs=("a", "b")):
    infos = [helper.make_tensor_value_info(name, kind, [1, 3]) for name in inputs]
    output = helper.make_tensor_value_info("y", kind, [1, 3])
    graph = helper.make_graph(
        [helper.make_node(operator, list(inputs), ["y"])], "layer", infos, [output]
    )
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def test_the_inputs_are_fed_in_order_and_in_the_types_that_are_asked_for():
    (found,) = run_exported(exported("Sub"), (X, 2 * X, X))
    np.testing.assert_array_equal(found, -X)
    assert found.dtype == np.float32
    for kind, dtype in ((TensorProto.DOUBLE, np.float64), (TensorProto.INT32, np.int32)):
        (found,) = run_exported(exported(kind=kind), (X, X))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, 2 * X)


def test_why_it_cannot_be_run():
    with pytest.raises(
        Undescribed, match=r"^the exported model takes 2 inputs, but the layer .*1$"
    ):
        run_exported(exported(), (X,))
    with pytest.raises(
        Undescribed, match=r"^ONNX Runtime cannot run the exported layer: .*Nonsense"
    ):
        run_exported(exported("Nonsense"), (X, X))
    with pytest.raises(Undescribed, match=r"^ONNX Runtime cannot run the exported layer: "):
        run_exported(exported(), (X, np.ones((1, 2), np.float32)))


def alone(*outputs):
    return replace(Capture("layer", "Layer", 0, (X,), (X,), "float32"), alone=lambda: outputs)


def test_what_is_said_of_it():
    assert by_exporter(replace(alone(), alone=None)) == (None, "")
    outputs, note = by_exporter(alone(X + np.float32(0.25)))
    assert note.endswith(
        "in ONNX Runtime, the layer differs by at most 0.25 (largest value 3); "
        "this is not an independent check"
    )
    np.testing.assert_array_equal(outputs[0], X + np.float32(0.25))
    for other in (alone(X[0]), alone(X, X), alone()):
        assert by_exporter(other)[1].endswith("the layer's outputs have different shapes")

    def fails():
        raise Undescribed("it is a loop")

    failed = by_exporter(replace(alone(), alone=fails))
    assert failed == (None, "the framework's exporter cannot export the layer: it is a loop")


ENDLESS = """
<ir_version: 8, opset_import: ["" : 18]>
layer (float[1, 3] a) => (float[1, 3] y) {
   go = Constant <value = bool {1}> ()
   y = Loop ("", go, a) <body = step
   (int64 k, bool before, float[1, 3] x) => (bool after, float[1, 3] z) {
      after = Identity (before)
      z = Neg (x)
   }>
}
"""


def test_a_session_ends_when_its_time_is_over():
    session = onnxruntime.InferenceSession(onnx.parser.parse_model(ENDLESS).SerializeToString())
    with pytest.raises(TimeoutError):
        ran(session, None, {"a": X}, seconds=0.05)
    session = onnxruntime.InferenceSession(exported("Sub"))
    np.testing.assert_array_equal(ran(session, ["y"], {"a": X, "b": X}, seconds=60)[0], 0 * X)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "RuntimeError"),
        ("[ONNXRuntimeError] : 1 : FAIL : It\n failed.", "It failed."),
        ("/a/b.cc:12 onnxruntime::f(int) const It failed.", "It failed."),
        ("First. Last sentence.", "First. Last sentence."),
        (f"First. {'X' * 192}. Last.", f"{'X' * 192}. Last."),
        (f"First. {'X' * 193}. Last.", f"{'X' * 193}. Last."),
        (f"First. {'X' * 194}. Last.", "Last."),
        (f"one two {'x' * 95} {'y' * 97}", f"… two {'x' * 95} {'y' * 97}"),
        (f"{'x' * 100} {'y' * 99}", f"{'x' * 100} {'y' * 99}"),
        (f"{'x' * 100} {'y' * 100}", f"… {'y' * 100}"),
    ],
)
def test_the_last_sentences_of_a_reason(text, said):
    assert reason(RuntimeError(text)) == said
    assert len(said) <= 200
