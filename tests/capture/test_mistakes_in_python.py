"""What is given to ``probe.check`` by mistake is told in one sentence with the way out."""

import re

import numpy as np
import pytest
from torch import nn

import probe
from probe.errors import ProbeError

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
MODEL = nn.Linear(3, 2)
PAIR = nn.Bilinear(3, 3, 2)
MISTAKES = {
    "one array is np.array(x)": lambda: probe.check(MODEL, "", X.tolist()),
    "holds no array (numbers, texts and None are": lambda: probe.check(MODEL, "", 3),
    "np.load('x.npy')": lambda: probe.check(MODEL, "", "x.npy"),
    "sizes of a shape are integers, such as (1, 3": lambda: probe.check(MODEL, "", shape=(2.0, 3)),
    "you gave (True, 3)": lambda: probe.check(MODEL, "", shape=(True, 3)),
    "seed must be an integer >= 0; you gave 'a'": lambda: probe.check(
        MODEL, "", shape=(2, 3), seed="a"
    ),
    "call is the number of a call, from 0 (None: all); you gave 'a'": lambda: probe.check(
        MODEL, "", X, call="a"
    ),
    "such as 'run.npz'; you gave 5": lambda: probe.record(MODEL, X, 5),
    "such as 'run.npz'; you gave 7": lambda: probe.script(MODEL, "", X, 7),
    "the layer has 1 output; you gave 2": lambda: probe.check(MODEL, "", X, expected=(X, X)),
    "a segment is a tuple of two names, ('a', 'b')": lambda: probe.check(MODEL, ["a", "b"], X),
    "Bilinear takes (input1, input2); you gave 1 input (missing": lambda: probe.check(PAIR, "", X),
    "dict(input1=input1, input2=input2)": lambda: probe.check(PAIR, "", [X]),
    "give an instance, Linear()": lambda: probe.check(nn.Linear, "", X),
    "after module.load_state_dict(...)": lambda: probe.check(MODEL.state_dict(), "", X),
    "you gave ndarray; the input comes behind the layer's name, or as x=": lambda: probe.check(
        MODEL, X
    ),
    'text ("" for a single layer); you gave ndarray': lambda: probe.explain(MODEL, X, at=(0, 0)),
    "an array is the input, x=": lambda: probe.check(X, "", X),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_one_sentence(words):
    with pytest.raises(ProbeError, match=re.escape(words)) as raised:
        MISTAKES[words]()
    assert "\n" not in str(raised.value)


def test_names_of_a_report_are_told():
    report = probe.check(MODEL, "", X)
    with pytest.raises(KeyError, match=r"no 'kernel': there is 'weight', 'bias'"):
        report.weights["kernel"]
    (swept,) = probe.sweep(MODEL, X)
    for outputs in (report.outputs, swept.outputs):
        with pytest.raises(KeyError, match=r"no 'torch': there is 'framework', 'numpy', 'onnx'"):
            outputs["torch"]
    assert report.weights.get("kernel") is None


class Convolved(nn.Module):
    """Its second layer fits images of 8 x 8 alone."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 2, 3, padding=1), nn.Linear(128, 2)

    def forward(self, x):
        return self.second(self.first(x).flatten(1))


class OfSteps(nn.Module):
    """It takes samples of steps of features."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2)

    def forward(self, x):
        samples, steps, _ = x.shape
        return self.first(x).reshape(steps, samples, 2)


@pytest.mark.parametrize(
    ("module", "shape"),
    [(Convolved(), (2, 3, 8, 8)), (OfSteps(), (2, 32, 3)), (nn.Embedding(7, 2), (2, 32))],
)
def test_a_shape_that_is_proposed_is_accepted(module, shape):
    words = f"(shape=, --shape {','.join(map(str, shape))})"
    with pytest.raises(ProbeError, match=re.escape(words)):
        probe.check(module, "")
    assert probe.check(module, "", shape=shape).ok


def test_arrays_are_proposed_for_several_inputs():
    words = (
        r"give its 2 inputs, --input inputs.npz of np.savez\('inputs.npz', input1=input1, input2="
    )
    with pytest.raises(ProbeError, match=words):
        probe.check(PAIR, "")


def test_two_models_that_do_not_fit_each_other():
    with pytest.raises(ProbeError, match=r"^B: .*; B's own input is x_b= \(--input-b\)$"):
        probe.compare(MODEL, nn.Linear(4, 2), X)
    with pytest.raises(ProbeError, match=r"^B: .* with 4 features; you gave \(2, 3\).* size 4$"):
        probe.compare(MODEL, nn.Linear(4, 2), X, x_b=X)
    found = probe.compare(nn.Sequential(MODEL), {"foo": np.ones((2, 7))}, X)
    words = 'corresponds to one of A: name those that do, --pairs pairs.json of {"0": "foo"}'
    assert found.verdict == "unchecked" and words in found.sentence


def test_one_name_is_a_list_of_one(tmp_path):
    chain = nn.Sequential(MODEL, nn.ReLU())
    assert [report.layer for report in probe.sweep(chain, X, layers="1")] == ["1"]
    run = probe.record(chain, X, tmp_path / "run.npz", layers="1")
    assert [layer.name for layer in run.layers] == ["1"] and probe.check(run, "1").ok
