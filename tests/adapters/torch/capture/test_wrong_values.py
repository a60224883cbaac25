"""What is said of values that a module cannot compute with, and the way out of it."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import probe
from probe.errors import BadInput, ForwardFailed

FLOATS = np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 6)
IDS = np.array([[1, 99, 3]])


class Tokens(nn.Module):
    """Ids and their places, each with a table; ``of`` looks up as a function or by an index."""

    def __init__(self, of="layer"):
        super().__init__()
        self.table, self.places, self.of = nn.Embedding(8, 4), nn.Embedding(5, 4), of

    def forward(self, ids):
        weight = self.table.weight
        if self.of == "function":
            return F.embedding(ids, weight)
        if self.of == "index":
            return weight[ids]
        return self.table(ids) + self.places(torch.arange(ids.shape[1]))


@pytest.mark.parametrize(
    ("module", "x", "words"),
    [
        (Tokens(), IDS, "rows 0 to 7 of a table, and the index 99 at [0, 1] is none"),
        (Tokens("function"), -IDS, "the index -1 at [0, 0] is none of them"),
        (nn.EmbeddingBag(8, 3), IDS, "the index 99 at [0, 1] is none of them"),
        (Tokens(), FLOATS, "values such as -0.6: give integers (random ones: np.random.randint(0,"),
        (Tokens(), FLOATS.reshape(1, 2, 1, 3), "np.random.randint(0, 8, (1, 2))"),
        (Tokens(), FLOATS // 1 * 0, "you gave float32: give integers, x.astype(np.int64)"),
        (Tokens("index"), FLOATS, "you gave float32 values such as -0.6: give integers"),
        (nn.Conv1d(6, 2, 1), IDS, "Conv1d expects (batch, channels, length) with 6 channels"),
        (nn.Sequential(nn.Linear(3, 2)), IDS, "computes in float32; you gave int64: give floats"),
        (nn.LayerNorm(3), IDS.astype("i1"), "you gave int8: give floats, x.astype(np.float32)"),
        (nn.Linear(3, 2).half(), IDS > 1, "you gave bool: give floats, x.astype(np.float16)"),
        (nn.BatchNorm1d(3), IDS, "you gave int64: give floats, x.astype(np.float32)"),
        (nn.GELU(), IDS, "you gave int64: give floats, x.astype(np.float32)"),
    ],
)
def test_values_of_the_model_s_own_input(module, x, words):
    with pytest.raises(BadInput, match=re.escape(words)) as raised:
        probe.check(module.eval(), "", x)
    for way in re.findall(r"x\.astype\(np\.\w+\)|np\.random\.randint\(.*?\)\)", str(raised.value)):
        x = np.asarray(eval(way))[:, :5]
        assert probe.check(module.eval(), "", x).verdict == "agree"


def test_an_image_of_no_ids_is_told_the_shape_of_ids():
    image = np.full((2, 3, 4, 4), 0.5, np.float32)
    with pytest.raises(BadInput, match=r"np\.random\.randint\(0, 8, \(2, 3\)\)"):
        probe.check(Tokens(), "", image)


class Two(nn.Module):
    """Indices and features."""

    def __init__(self):
        super().__init__()
        self.table, self.dense = nn.Embedding(8, 4), nn.Linear(5, 4)

    def forward(self, ids, features):
        return self.table(ids).mean(1) + self.dense(features)


def test_inputs_in_each_other_s_place_are_told():
    ids, features = np.array([[1, 2, 3]]), np.full((1, 5), 0.5, np.float32)
    assert probe.check(Two(), "", [ids, features]).verdict == "agree"
    for exchanged in ([features, ids], {"ids": features, "features": ids}):
        with pytest.raises(BadInput, match="runs with ids and features exchanged"):
            probe.check(Two(), "", exchanged)
    with pytest.raises(BadInput, match=r"give integers .random ones"):
        probe.check(Two(), "", [features, features])


@pytest.mark.parametrize(
    ("module", "x", "words"),
    [
        (Tokens(), np.zeros((1, 7), int), "the index 5 at [5] is none of them; the model computes"),
        (Tokens("index"), IDS, "on (1, 3) of integers from 1 to 99: IndexError: index 99 is out"),
    ],
)
def test_values_that_the_model_computes(module, x, words):
    with pytest.raises(ForwardFailed, match=re.escape(words)):
        probe.check(module, "", x)


class Both(nn.Module):
    """Ids and other features."""

    def __init__(self):
        super().__init__()
        self.table, self.linear, self.passes = nn.Embedding(8, 4), nn.Linear(6, 4), 0

    def forward(self, ids, dense):
        self.passes += 1
        return self.table(ids).mean(1) + self.linear(dense)


def test_two_inputs_in_each_other_s_place():
    module, ids, dense = Both().eval(), IDS % 8, FLOATS
    words = "Both fails on these inputs and runs with ids and dense exchanged"
    for x in ([dense, ids], {"ids": dense, "dense": ids}):
        with pytest.raises(BadInput, match=words):
            probe.check(module, "linear", x)
    assert module.passes == 0, "the module is as it was"
    assert probe.check(module, "linear", {"dense": dense, "ids": ids}).verdict == "agree"
    for x in ([dense, dense], [ids, dense[:, :5]]):  # another order does not help
        with pytest.raises((BadInput, ForwardFailed)) as raised:
            probe.check(module, "linear", x)
        assert "exchanged" not in str(raised.value)
