"""Layers of the user's own that the user tells about: as steps of ops, or as a NumPy function."""

import keras
import numpy as np
import pytest
import tf_keras
import torch
from torch import nn

import probe
from probe import ops
from probe.description.custom_layers import _OWN

X = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def forgotten():
    """What a test registers is gone after it."""
    before = dict(_OWN)
    yield
    _OWN.clear()
    _OWN.update(before)


class Gated(nn.Module):
    """x times the sigmoid of a projection of x: a function that only this net has."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return x * torch.sigmoid(x @ self.weight.T)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), Gated(), nn.ReLU()).eval()


def gated_steps(layer, call):
    product = probe.Step(ops.MatMul(weight=call.weight("weight", axes=(1, 0)), bias=None))
    return [product, ops.Sigmoid(), probe.Step(ops.Mul(), (probe.Ref(-1, 0), probe.Ref(1)))]


def test_an_unknown_module_is_broken_down():
    assert [one.layer for one in probe.sweep(net(), X)] == [
        "0",
        "1/matmul",
        "1/sigmoid",
        "1/mul",
        "2",
    ]


def test_a_module_as_steps():
    probe.describes(Gated)(gated_steps)
    model = probe.open_model(net())
    assert [one.name for one in model.layers if one.checkable] == ["0", "1", "2"]
    reports = list(probe.sweep(model, X))
    assert [(one.layer, one.verdict) for one in reports] == [
        ("0", "agree"),
        ("1", "agree"),
        ("2", "agree"),
    ]
    assert list(reports[1].outputs) == ["framework", "numpy", "onnx"] and list(
        reports[1].weights
    ) == ["weight"]
    story = probe.explain(model, "1", X, at=(1, 2, 3))
    assert np.isclose(story.value, reports[1].outputs["numpy"][1, 2, 3])
    wrong = reports[1].outputs["framework"] / 2
    assert probe.check(model, "1", X, expected=wrong).verdict == "diverge"


@pytest.mark.parametrize("register", [probe.describes, probe.recomputes])
def test_what_is_no_class_is_refused(register):
    """Such as a layer in place of its class, or the decorator without one."""
    for given, words in ((nn.ReLU(), "you gave a ReLU"), (lambda layer, call: None, "a function")):
        with pytest.raises(probe.ProbeError, match=words):
            register(given)
    assert nn.ReLU not in _OWN


def test_a_subclass_is_another_class():
    probe.describes(Gated)(gated_steps)

    class Doubled(Gated):
        def forward(self, x):
            return 2 * super().forward(x)

    assert "/" in next(iter(probe.sweep(Doubled().eval(), X))).layer


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_module_as_a_numpy_function(dtype):
    @probe.recomputes(Gated)
    def gated(layer, x):
        return x / (1 + np.exp(-(x @ layer.weight.detach().numpy().T)))

    model = net().to(torch.float32 if dtype == np.float32 else torch.float64)
    report = probe.check(model, "1", X.astype(dtype))
    assert (
        report.ok
        and list(report.outputs) == ["framework", "numpy"]
        and "NumPy function" in report.missing["onnx"]
    )
    assert 0.001 < report.comparisons["framework", "numpy"].ratio < 0.7
    for factor in (1 + 1e-4, 0.5):
        spoilt = probe.check(
            model,
            "1",
            X.astype(dtype),
            expected=(report.outputs["framework"] * factor).astype(dtype),
        )
        assert spoilt.verdict == "diverge"


def test_a_wrong_function_diverges():
    @probe.recomputes(Gated)
    def gated(layer, x):
        return x / (1 + np.exp(-(x @ layer.weight.detach().numpy())))

    assert probe.check(net(), "1", X).verdict == "diverge"


def test_what_is_registered_must_be_steps():
    probe.describes(Gated)(lambda layer, call: "x")
    report = probe.check(net(), "1", X)
    assert (
        report.verdict == "unchecked"
        and "must return an op, steps or a Description; it returned str" in report.sentence
    )


@pytest.mark.parametrize("namespace", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_keras(namespace):
    class Shift(namespace.layers.Layer):
        """A moving sum over time, which numpy computes and no op does."""

        def build(self, shape):
            self.offset = self.add_weight(shape=(4,), name="offset", initializer="random_normal")

        def call(self, x):
            return (
                namespace.backend.tile(x, (1, 1, 1)) + self.offset
                if namespace is tf_keras
                else x + self.offset
            )

    data = namespace.Input((6, 4))
    model = namespace.Model(data, namespace.layers.ReLU(name="act")(Shift(name="shift")(data)))

    @probe.describes(Shift)
    def steps(layer, call):
        return ops.AddConstant(value=call.weight("offset", layer.offset))

    report = probe.check(model, "shift", X)
    assert (
        report.ok
        and list(report.outputs) == ["framework", "numpy", "onnx"]
        and list(report.weights) == ["offset"]
    )
    del _OWN[Shift]

    @probe.recomputes(Shift)
    def by_hand(layer, x):
        return x + layer.offset.numpy()

    assert [one.verdict for one in probe.sweep(model, X)] == ["agree", "agree"]
