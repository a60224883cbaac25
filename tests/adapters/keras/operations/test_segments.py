"""How many segments a sum over segments has: as many as are asked for, as there are different ids,
or up to the last one where these are sorted."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from probe.adapters.keras.describe.call import KerasCall
from probe.adapters.keras.describe.op_builder import OpBuilder
from probe.adapters.keras.operations.scatter import _segment_sum

from probe.description import Ref
from probe.errors import Undescribed
from probe.evaluation.numpy_reference import recompute

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def summed(ids, number, ordered):
    ids = np.array(ids)
    arguments = {"data": Ref(-1, 0), "segment_ids": Ref(-1, 1)}
    call = KerasCall(None, keras, (X, ids), "float32", arguments)
    build = OpBuilder(call)
    ref = _segment_sum(SimpleNamespace(num_segments=number, sorted=ordered), call, build)
    (found,) = recompute(build.steps, call.inputs)[ref.step]
    assert found.shape == build.shape(ref)
    return found


@pytest.mark.parametrize(
    ("ids", "number", "ordered", "count"),
    [
        ([0, 2, 2], 4, False, 4),
        ([0, 2, 2], None, True, 3),
        ([1, 0, 1], None, False, 2),
        ([0, 0, 1], None, True, 2),
    ],
)
def test_the_number_of_segments(ids, number, ordered, count):
    found = summed(ids, number, ordered)
    expected = np.zeros((count, 4))
    np.add.at(expected, ids, X)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("ids", "number", "ordered"),
    [([0, 2, 2], None, False), ([0, 3, 1], 3, False), ([-1, 0, 1], 3, True)],
)
def test_ids_out_of_range(ids, number, ordered):
    with pytest.raises(Undescribed, match="some of its segment ids are out of range"):
        summed(ids, number, ordered)
