"""How much memory a comparison takes: what calls hand on is held once, and of a long pass the rest
lies in a temporary file."""

import copy

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

import probe
from probe.model_comparison.graphs import spool
from probe.model_comparison.graphs.graph import recorded_pass
from probe.model_comparison.graphs.spool import Spool


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16, np.int8])
def test_an_array_in_the_file_is_the_same(dtype, monkeypatch):
    monkeypatch.setattr(spool, "_IN_MEMORY", 0)
    kept = Spool()
    rng = np.random.default_rng(0)
    arrays = [(rng.normal(size=(3, 40000 + k, 2)) * 9).astype(dtype) for k in range(3)]
    arrays.append(np.asfortranarray(arrays[0]))
    found = [kept.keep(one) for one in arrays]
    del kept
    for one, other in zip(arrays, found, strict=True):
        assert not other.flags.owndata and not other.flags.writeable
        assert one.dtype == other.dtype and one.shape == other.shape
        assert one.tobytes() == other.tobytes()


def test_small_arrays_and_the_first_ones_stay_in_memory(monkeypatch):
    monkeypatch.setattr(spool, "_IN_MEMORY", 1 << 20)
    kept, small, large = Spool(), np.ones(9), np.ones(1 << 17)
    assert kept.keep(large) is large and kept.keep(small) is small
    assert kept.keep(large) is not large


def test_a_full_disk_leaves_arrays_in_memory(monkeypatch):
    monkeypatch.setattr(spool, "_IN_MEMORY", 0)

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool.tempfile, "TemporaryFile", full)
    large = np.ones(1 << 17)
    assert Spool().keep(large) is large


def net(depth):
    torch.manual_seed(0)
    parts = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Tanh()) for _ in range(depth)]
    return nn.Sequential(nn.Conv2d(3, 8, 1), *parts).eval()


X = np.random.default_rng(0).normal(size=(1, 3, 96, 96)).astype(np.float32)


def test_what_calls_hand_on_is_held_once():
    graph, _ = recorded_pass(probe.open_model(net(4)), [X])
    arrays = {id(one) for node in graph.nodes for one in node.call.capture.inputs}
    arrays |= {id(one) for node in graph.nodes for one in node.call.capture.outputs}
    assert len(arrays) == len(graph.nodes) + 1


def test_a_pass_in_a_file_is_compared_as_in_memory(monkeypatch):
    model, other = net(3), net(3)
    other[2][0].weight.data[5] *= 1.5
    in_memory = probe.compare(model, other, X)
    monkeypatch.setattr(spool, "_IN_MEMORY", 0)
    in_file = probe.compare(model, other, X)
    assert in_file.to_json() == in_memory.to_json()
    assert [one.b for one in in_file.sources] == [("2.0",)]
    assert probe.compare(model, copy.deepcopy(model), X).ok
