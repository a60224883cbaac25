"""What hypotheses try: maps of the input as their words say them, crops that leave as much."""

import re

import numpy as np
import pytest

from probe.hypotheses.transpose_conv import _same_length
from probe.hypotheses.wrong_input import _MAPS


@pytest.mark.parametrize(("factor", "offset", "words"), _MAPS)
def test_a_map_is_what_it_is_called(factor, offset, words):
    x = np.array([-1.5, 0.0, 2.0])
    np.testing.assert_allclose(
        eval(re.sub(r"(\d) x", r"\1 * x", words), {"x": x}), factor * x + offset, atol=1e-12
    )


def test_crops_of_three_places_are_tried_at_every_place():
    for before in range(4):
        assert {*_same_length(before, 3 - before)} >= {(0, 3), (1, 2), (2, 1), (3, 0)}
