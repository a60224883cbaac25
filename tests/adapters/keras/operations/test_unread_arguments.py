"""Options and arguments of operations between layers: what a description does not look at makes the
operation unchecked, by name."""

import inspect
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from probe.adapters.keras.describe.call import KerasCall
from probe.adapters.keras.describe.describe import REGISTERED, describe
from probe.adapters.keras.describe.described_classes import OPERATIONS
from probe.adapters.keras.describe.operation_options import _TOLD

import probe
from probe import ops
from probe.description import Description, Ref, Step
from probe.errors import Undescribed

TOLD = "which its description does not support"
X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)


def classes():
    """The classes of the described operations."""
    modules = [module for name, module in sys.modules.items() if name.startswith("keras.src.ops.")]
    found = {
        one.__name__: one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type)
    }
    return [found[name] for name in OPERATIONS]


def blind(operation, call):
    return Description((Step(ops.Identity()),))


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_every_option_and_argument(kind, monkeypatch):
    """With a description that looks at nothing, each that is set is told; an option of a release to
    come is such a one."""
    monkeypatch.setitem(REGISTERED, f"ops.{kind.__name__}", blind)
    operation = object.__new__(kind)
    parameters = [
        one
        for one in list(inspect.signature(kind.__init__).parameters.values())[1:]
        if one.name != "name"
    ]
    for name in [
        one.name for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]:
        for place in (name, f"_{name}"):
            vars(operation).clear()
            vars(operation)[place] = 17
            if name in _TOLD.get(kind.__name__, ()):
                assert describe(operation, KerasCall(operation, keras, (X,), "float32"))
                continue
            with pytest.raises(Undescribed, match=f"{kind.__name__} has option {name}=17, {TOLD}"):
                describe(operation, KerasCall(operation, keras, (X,), "float32"))
    vars(operation).clear()
    for value, told in (
        (17, True),
        (Ref(-1, 1), True),
        ([Ref(-1, 1)], True),
        (None, False),
        (Ref(-1), False),
    ):
        call = KerasCall(operation, keras, (X, X), "float32", {"foo": value})
        if told:
            with pytest.raises(Undescribed, match=f"{kind.__name__} was called with `foo`, {TOLD}"):
                describe(operation, call)
        else:
            assert describe(operation, call).steps


def model(function):
    inputs = keras.Input(X.shape[1:])
    return keras.Model(inputs, function(inputs))


def test_a_type_that_is_asked_for():
    """Whole numbers asked for of floats: a description that does not look at the type would be
    wrong with confidence."""
    for function in (
        lambda x: keras.ops.cumsum(x, 1, dtype="int32"),
        lambda x: keras.ops.cumprod(x, 1, dtype="int32"),
    ):
        reports = list(probe.sweep(model(function), X * 3))
        assert [(one.verdict, "has option dtype='int32'" in one.sentence) for one in reports] == [
            ("unchecked", True)
        ]
    for function in (
        lambda x: keras.ops.cumsum(x, 1),
        lambda x: keras.ops.cumsum(x, 1, dtype="float32"),
        lambda x: keras.ops.ones_like(x, "int32"),
    ):
        assert [one.verdict for one in probe.sweep(model(function), X)] == ["agree"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.math.cumsum(x, 1, exclusive=False),
        lambda x: tf.nn.softmax(x, axis=1),
        lambda x: tf.nn.relu(x, name="mine"),
        lambda x: tf.argmax(x, 1, output_type=tf.int32),
        lambda x: tf.unstack(x, axis=1, num=3),
    ],
)
def test_arguments_of_functions_of_tensorflow(function):
    inputs = tf_keras.Input(X.shape[1:])
    assert [one.verdict for one in probe.sweep(tf_keras.Model(inputs, function(inputs)), X)] == [
        "agree"
    ]


def test_an_argument_of_a_function_of_tensorflow_that_is_not_read(monkeypatch):
    inputs = tf_keras.Input(X.shape[1:])
    network = tf_keras.Model(inputs, tf.math.cumsum(inputs, 1, exclusive=True))
    monkeypatch.setitem(
        REGISTERED,
        "tf.math.cumsum",
        lambda layer, call: Description((Step(ops.CumSum(axis=call.arguments["axis"])),)),
    )
    (report,) = probe.sweep(network, X)
    assert report.missing["numpy"] == f"math.cumsum was called with `exclusive`, {TOLD}"
