"""How one number came about: in the framework's own indices, and adding up, for every class that is
described."""

import json
import math
from dataclasses import replace

import keras
import numpy as np
import pytest
import qkeras
import torch
from chain_model import ChainModel
from explained_cases import LAYERS, call_of, drawn
from told_elements import told

import probe
from probe.description import Description, Step, Weight, weights_of
from probe.errors import BadInput, ProbeError
from probe.evaluation.numpy_reference import recompute
from probe.explanation.origin import number
from probe.numerics.dtypes import widened
from probe.ops import Concat, Identity, Mul, Relu

pytestmark = [
    # QKeras calls pyparsing by old names
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),
    # QKeras calls one twice
    pytest.mark.filterwarnings("ignore:The initializer .* is unseeded:UserWarning"),
]
ELEMENTS = 10
"""Of each layer; with more than a hundred layers, over a thousand in all."""


@pytest.mark.exhaustive(default=60)
@pytest.mark.parametrize(("name", "layer", "shapes"), LAYERS)
def test_terms_add_up_and_stand_where_they_say(name, layer, shapes):
    capture = call_of(layer, shapes)
    steps = capture.description.steps
    values = recompute(steps, capture.inputs)
    inputs = [widened(x) for x in capture.inputs]
    weights = {
        name: weight.effective.astype(np.float64) for name, weight in weights_of(steps).items()
    }
    rng = np.random.default_rng(1)
    for _ in range(ELEMENTS):
        at = tuple(int(rng.integers(size)) for size in values[-1][0].shape)
        origin = told(steps, inputs, values, weights, at)
        assert origin.terms or "ConstantPad" in name or "ZeroPad" in name


def test_there_are_a_thousand_elements():
    """Every family of described classes is held by ``test_trace_of_layer_families.py``."""
    assert len(LAYERS) * ELEMENTS >= 1000


def test_the_image_of_ones_hundreds_and_ten_thousands():
    layer = keras.layers.Conv2D(1, 2, kernel_initializer="ones", name="conv2d")
    model = keras.Sequential([keras.Input((4, 4, 3)), layer])
    x = np.ones((1, 4, 4, 3), np.float32) * np.array([1, 100, 10000], np.float32)
    story = probe.explain(model, "conv2d", x, at=(0, 1, 1, 0))
    assert story.subtotals == {0: 4.0, 1: 400.0, 2: 40000.0}
    assert "4 + 400 + 40000" in str(story)
    assert story.value == 40404 and set(story.parties.values()) == {40404.0}


def test_padding_terms_are_terms_and_name_their_weight():
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 5)).astype(np.float32)
    conv = torch.nn.Conv2d(3, 4, 3, padding=1).eval()
    story = probe.explain(conv, "", given=x, at=(1, 2, 0, -1))
    assert story.at == (1, 2, 0, 4)
    assert len(story.terms) == 27 and sum(term.padding for term in story.terms) == 15
    kept = [term for term in story.terms if not term.padding]
    assert {term.input_index for term in kept} == {
        (1, c, row, column) for c in range(3) for row in (0, 1) for column in (3, 4)
    }
    assert all(
        term.weight_index[0] == 2 and term.weight_index[1] == term.channel for term in story.terms
    )
    assert story.steps[1].words.startswith("plus bias[2] ")
    assert "15 padding terms, each 0" in str(story)


def test_the_largest_come_first_and_the_rest_is_summed_up():
    dense = torch.nn.Linear(100, 2).eval()
    story = probe.explain(
        dense,
        "",
        given=np.random.default_rng(0).normal(size=(1, 100)).astype(np.float32),
        at=(0, 1),
    )
    text = str(story)
    products = sorted((term.product for term in story.terms), key=lambda product: -abs(product))
    assert f"88 smaller terms, sum {number(math.fsum(products[12:]))}" in text
    assert number(products[0]) in text and number(products[20]) not in text
    told = json.loads(story.to_json())
    assert len(told["terms"]) == 100 and told["parties"].keys() == {"framework", "numpy", "onnx"}


def test_a_softmax_is_over_the_elements_along_its_axis():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    story = probe.explain(torch.nn.Softmax(1), "", given=x, at=(1, 2, 0))
    members = [member.input_index for change in story.steps for member in change.members]
    assert sorted(members) == [(1, 0, 0), (1, 1, 0), (1, 2, 0)]


def test_pooling_names_the_winner_and_the_divisor():
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    story = probe.explain(torch.nn.MaxPool2d(2), "", given=x, at=(0, 0, 1, 0))
    assert [term.input_index for term in story.terms] == [(0, 0, 3, 1)]
    assert {member.input_index for member in story.steps[-1].members} == {
        (0, 0, i, j) for i in (2, 3) for j in (0, 1)
    }
    assert "divided by 4, counting only elements inside the input" in str(
        probe.explain(
            torch.nn.AvgPool2d(3, 2, 1, count_include_pad=False), "", given=x, at=(0, 0, 0, 0)
        )
    )
    assert "divided by 9, counting padding" in str(
        probe.explain(torch.nn.AvgPool2d(3, 2, 1), "", given=x, at=(0, 0, 0, 0))
    )


def test_what_follows_the_sum():
    x = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
    bits = qkeras.quantized_bits(4, 0, 1, alpha=1)
    layer = qkeras.QDense(
        3,
        kernel_quantizer=bits,
        bias_quantizer=bits,
        activation=qkeras.quantized_relu(4, 1),
        name="q",
    )
    (given,) = drawn(layer, ((1, 4),))
    story = probe.explain(layer, "q", given=given, at=(0, 2))
    assert "QuantizedRelu: to multiples of 0.125 up to 1.875; level " in str(story)
    norm = torch.nn.LayerNorm(4).eval()
    words = [change.words for change in probe.explain(norm, "", given=x, at=(0, 1)).steps]
    assert words[1].startswith("minus the mean of 4 elements ") and "variance" in words[2]
    assert [word.partition("]")[0] for word in words[3:]] == ["times weight[1", "plus bias[1"]


def test_yours_stands_beside_the_others():
    x = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
    dense = torch.nn.Linear(4, 3).eval()
    mine = dense(torch.from_numpy(x)).detach().numpy() + np.float32(0.5)
    story = probe.explain(dense, "", given=x, at=(0, 1), expected=mine)
    assert story.parties["expected"] == mine[0, 1] and story.verdict == "diverge"
    assert abs(story.parties["framework"] - story.value) <= story.allowance


@pytest.mark.parametrize(
    ("at", "words"), [((0,), "give 2 indices"), ((0, 3), "out of range"), ((-2, 0), "out of range")]
)
def test_an_element_that_is_not_there(at, words):
    with pytest.raises(probe.ProbeError, match=words):
        probe.explain(torch.nn.Linear(4, 3).eval(), "", given=np.zeros((1, 4), np.float32), at=at)


def test_a_layer_without_a_description_is_a_sentence():
    class Own(torch.nn.Linear):
        def forward(self, x):
            return torch.special.airy_ai(x)

    with pytest.raises(probe.ProbeError, match=r"cannot be broken down: .*Own.*airy_ai"):
        probe.explain(Own(4, 2).eval(), "", given=np.zeros((1, 4), np.float32), at=(0, 0))


def test_not_a_number_and_infinity_are_told():
    x = np.array([[np.nan, np.inf, -np.inf, 1.0]], np.float32)
    story = probe.explain(torch.nn.Linear(4, 3).eval(), "", given=x, at=(0, 1))
    assert math.isnan(story.origin.total) and "nan" in str(story)
    assert json.loads(story.to_json())["value"] == "nan"


def test_weights_are_named_in_the_frameworks_layout():
    rng = np.random.default_rng(0)
    for axes, shape in [
        (None, None),
        ((2, 0, 1), None),
        ((1, 2, 0), (15, 2)),
        (None, (2, 15)),
        ((2, 1, 0), (5, 1, 6)),
    ]:
        effective = rng.normal(size=(2, 3, 5))
        weight = Weight("w", effective, effective, axes=axes, shape=shape)
        where = np.unravel_index(np.arange(weight.value.size), weight.value.shape)
        np.testing.assert_array_equal(effective[weight.index_of(where)], weight.value[where])


def test_elements_that_are_only_moved_are_followed():
    x, y = np.arange(6.0).reshape(2, 3), 10 + np.arange(4.0).reshape(2, 2)
    which, back = Concat(axis=-1).follow(np.array([[0, 2], [1, 3]]), [x, y])
    assert which.tolist() == [0, 1] and back.tolist() == [[0, 2], [1, 0]]
    assert Identity().follow(np.array([[1, 1]]), [x])[1].tolist() == [[1, 1]]
    account = Mul().contributions(
        [x, np.array([2.0, 3.0, 4.0]), np.array(5.0)], [x * [2.0, 3.0, 4.0] * 5], (1, 2)
    )
    assert [stage.value for stage in account.stages] == [100.0]


class Declared(ChainModel):
    """Whose listing says that the output has one feature, as a file may."""

    @property
    def layers(self):
        return tuple(replace(layer, output_shape=(None, 1)) for layer in super().layers)


class Unread(Declared):
    def refuse(self, layer, inputs):
        pass


def test_a_place_is_refused_by_a_file_before_it_is_loaded():
    relu = (lambda x: np.maximum(x, 0)), Description((Step(Relu()),))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    # what is loaded gives its own shape
    assert probe.explain(Declared({"relu": relu}), "relu", x, at=(1, 2)).value == 5
    unread = Unread({"relu": relu})
    with pytest.raises(
        BadInput, match=r"an index for each axis, such as \(0, 3, 5, 2\); you gave 3"
    ):
        probe.explain(torch.nn.ReLU(), "", np.ones((1, 2)), at=3)
    with pytest.raises(BadInput, match=r"is \(any, 1\), so it has no element"):
        probe.explain(unread, "relu", x, at=(1, 2))
    # of a later output or call the file does not tell
    for other in ({"output": 1}, {"call": 1}):
        with pytest.raises(ProbeError) as raised:
            probe.explain(unread, "relu", x, at=(1, 2), **other)
        assert "(any, 1)" not in str(raised.value)
