"""Which weights a check sees: the sentence, and the places of those that it does not."""

import numpy as np
import pytest

from probe.ops.weight import Weight
from probe.report.weight_part import Sensitivity, in_words, places, share, within_weight


@pytest.mark.parametrize(
    ("visible", "sensitivity", "words"),
    [
        (None, None, ""),
        (
            0.0123,
            None,
            "this check would detect a relative change of 0.01 in the weight that shows it best; "
            "in how many others was not determined: there are too many",
        ),
        (0.2, Sensitivity(0.03, 1640, 1640), "a relative change of 0.03 in all 1,640 weights"),
        (0.2, Sensitivity(0.03, 1, 1640), "of 0.03 in all but 1,639 of 1,640 weights"),
        (0.2, Sensitivity(0.03, 40, 1640, True), "in all but about 1,600 of 1,640 weights"),
        (0.2, Sensitivity(None, 0, 8), "of 0.2 in the weight that shows it best"),
    ],
)
def test_what_is_detected(visible, sensitivity, words):
    text = in_words(visible, sensitivity)
    assert words in text and bool(words) == bool(text)


def mask(*indices):
    found = np.zeros((3, 4, 5), bool)
    for index in indices:
        found[index] = True
    return found


@pytest.mark.parametrize(
    ("where", "words", "count"),
    [
        (mask(...), "w", "60 of 60"),
        (mask(1), "w[1, :, :]", "20 of 60"),
        (mask((slice(None), slice(1, 3))), "w[:, 1:3, :]", "30 of 60"),
        (mask((slice(None), 2, 0)), "w[:, 2, 0]", "3 of 60"),
        (mask((0, 1), (2, slice(3, 5))), "w[0, 1, :], [2, 3, :]", "10 of 60"),
        (
            mask(*((0, 0, k) for k in (0, 2, 4)), (1, 1, 1)),
            "w[0, 0, 0], [0, 0, 2], [0, 0, 4], [1, 1, 1]",
            "4 of 60",
        ),
        (
            mask(*((0, 0, k) for k in (0, 2, 4)), (1, 1, 1), (2, 2, 2)),
            "w[0, 0, 0], [0, 0, 2], [0, 0, 4], [1, 1, 1] and more",
            "5 of 60",
        ),
        (np.broadcast_to(np.array([[True], [False]]), (2, 9)), "w[0, :]", "9 of 18"),
    ],
)
def test_places(where, words, count):
    assert places("w", where) == words and share(where) == count


@pytest.mark.parametrize(
    ("options", "of_op"),
    [
        ({}, lambda x: x),
        ({"axes": (2, 0, 1)}, lambda x: x.transpose(2, 0, 1)),
        ({"rows": (1, 3)}, lambda x: x[1:3]),
        ({"axes": (1, 0, 2), "shape": (4, 15)}, lambda x: x.transpose(1, 0, 2).reshape(4, 15)),
    ],
)
def test_a_mask_in_the_layout_of_the_framework(options, of_op):
    values = np.arange(60.0).reshape(3, 4, 5)
    weight = Weight("w", values, values, **options)
    np.testing.assert_array_equal(weight.value, of_op(values))
    wanted = weight.value % 7 == 1
    found = within_weight(weight, wanted)
    assert sorted(values[found]) == sorted(weight.value[wanted])
    assert within_weight(weight, np.ones((1,) * wanted.ndim, bool)).sum() == weight.value.size
