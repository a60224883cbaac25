"""Plain modules of TensorFlow: opened, or refused with the reason; and no wrong value of a layer of
a SavedModel agrees."""

import numpy as np
import pytest
import tensorflow as tf
from own_seed import RNG

import probe
from probe.errors import CannotOpen, ForwardFailed, NotTrusted

X = RNG.normal(size=(3, 4)).astype(np.float32)
ROWS = tf.TensorSpec([None, 4], tf.float32, name="x")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Folders by their names: of several signatures, of one that changes a variable, of one that
    calls Python, and of TensorFlow 1 with a variable."""
    root = tmp_path_factory.mktemp("plain")

    class Plain(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(RNG.normal(size=(4, 4)).astype(np.float32), name="w")
            self.count = tf.Variable(0.0, name="count")

        @tf.function(input_signature=[ROWS])
        def nested(self, x):
            def body(i, h):
                return i + 1, tf.cond(
                    tf.reduce_sum(h) > 0, lambda: tf.nn.relu(h @ self.w), lambda: -h @ self.w
                )

            return {"y": tf.while_loop(lambda i, h: i < 4, body, (0, x))[1]}

        @tf.function(input_signature=[ROWS, tf.TensorSpec([], tf.int32, name="k")])
        def switch(self, x, k):
            return {"y": tf.switch_case(k, [lambda: x @ self.w, lambda: tf.sin(x)])}

        @tf.function(input_signature=[ROWS])
        def mapped(self, x):
            return {"y": tf.map_fn(lambda row: tf.tanh(row * 2), x) @ self.w}

        @tf.function(input_signature=[ROWS])
        def drawn(self, x):
            return {"y": x + tf.random.normal(tf.shape(x))}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
        def words(self, words):
            return {"y": tf.size(words)}

        @tf.function(input_signature=[ROWS])
        def counting(self, x):
            self.count.assign_add(tf.reduce_sum(x))
            return {"y": x * self.count}

        @tf.function(input_signature=[ROWS])
        def python(self, x):
            return {"y": tf.numpy_function(np.tanh, [x], tf.float32)}

    names = ("nested", "switch", "mapped", "drawn", "words")
    net = Plain()
    signatures = {name: getattr(net, name) for name in names}
    for folder, held in (
        ("several", signatures),
        ("counting", {"serving_default": net.counting}),
        ("python", {"serving_default": net.python}),
    ):
        module = tf.Module()
        module.w, module.count, module.signatures_of = net.w, net.count, held
        tf.saved_model.save(module, str(root / folder), signatures=held)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], "x")
        w = tf.compat.v1.get_variable("w", initializer=2 * np.eye(4, dtype=np.float32))
        y = tf.nn.relu(x @ w, name="y")
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(root / "old"), {"x": x}, {"y": y})
    return root


@pytest.mark.parametrize(
    ("signature", "inputs", "kinds"),
    [
        ("nested", [X], {"While", "StatelessWhile"}),
        ("switch", {"x": X, "k": np.int32(0)}, {"Case", "StatelessCase"}),
        ("mapped", [X], {"MatMul"}),
        ("drawn", [X], {"AddV2"}),
    ],
)
def test_signatures_with_control_flow_are_checked(plain, signature, inputs, kinds):
    model = probe.open_model(plain / "several", signature=signature)
    reports = list(probe.sweep(model, inputs))
    assert not [report for report in reports if report.verdict == "diverge"]
    agreeing = {report.kind for report in reports if report.verdict == "agree"}
    assert agreeing & kinds
    for report in reports:
        assert report.verdict == "agree" or report.sentence


def test_what_cannot_be_run_is_refused_with_its_reason(plain, saved):
    with pytest.raises(CannotOpen, match="takes or gives words of the type string"):
        probe.open_model(plain / "several", signature="words").names()
    with pytest.raises(CannotOpen, match=r"changes a variable.*AssignAddVariableOp"):
        probe.open_model(plain / "counting", trust=True).names()
    with pytest.raises(CannotOpen, match="uses a table or another resource"):
        probe.open_model(saved / "table", trust=True).names()
    with pytest.raises(NotTrusted, match="holds the operation PyFunc"):
        probe.open_model(plain / "python")
    trusted = probe.open_model(plain / "python", trust=True)
    with pytest.raises(ForwardFailed, match="PyFunc"):
        trusted.run([X], set(), lambda capture: None)
    old = probe.open_model(plain / "old", trust=True)
    assert {report.verdict for report in probe.sweep(old, X)} == {"agree"}
    assert list(probe.check(old, "", X).weights) == ["w"]


def _one_off(array):
    array = array.copy()
    array.flat[array.size // 2] += 0.01 * np.abs(array).max()
    return array


@pytest.mark.parametrize("layer", ["MatMul", "outer/inner/Tanh", "outer/inner", "outer", ""])
def test_no_wrong_value_of_a_layer_agrees(saved, layer):
    model = probe.open_model(saved / "net", signature="scopes")
    right = probe.check(model, layer, X)
    outputs = right.outputs["framework"]
    first = outputs[0] if isinstance(outputs, list | tuple) else outputs
    for fault in (np.zeros_like, np.negative, lambda array: array / 2, _one_off):
        wrong = fault(first)
        expected = [wrong, *outputs[1:]] if isinstance(outputs, list | tuple) else wrong
        report = probe.check(model, layer, X, expected=expected, search=False)
        assert report.verdict == "diverge", (layer, fault)
    same = probe.check(model, layer, X, expected=outputs, search=False)
    assert same.verdict == "agree"
