"""The boxes that the places of a convolution are cut into: each place in one, in runs."""

import math

import numpy as np
import pytest

from probe.ops.linear.im2col_gemm import _blocks


@pytest.mark.parametrize("out", [(7,), (4, 5), (3, 4, 5), (1, 6, 2)])
@pytest.mark.parametrize("per_position", [1, 3, 1000])
@pytest.mark.parametrize("block", [1, 6, 13, 40, 1 << 20])
def test_each_place_is_in_one_box(out, per_position, block):
    room = max(1, block // per_position)
    places = np.arange(math.prod(out)).reshape(out)
    seen = []
    for box, run in _blocks(out, per_position, block):
        found = places[box].ravel()
        assert 0 < found.size <= room
        np.testing.assert_array_equal(found, np.arange(run.start, run.stop))
        seen += found.tolist()
    assert seen == [*range(math.prod(out))]


def test_no_more_boxes_than_rows_need():
    assert len([*_blocks((4, 5), 1, 20)]) == 1
    assert len([*_blocks((4, 5), 1, 10)]) == 2
    assert len([*_blocks((4, 5), 1, 19)]) == 2
    assert len([*_blocks((4, 5), 1, 3)]) == 8
