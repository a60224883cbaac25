"""Of the matrix of layers and damages to their weights (tests/support/damaged_weights.py) a sample:
what was done is said, and the weights that were used are given. The whole matrix, of which not
every cell is named, is counted by benchmarks/weights.py."""

from functools import cache

import pytest
from damaged_weights import SUBJECTS, asked, cells

import probe

SAMPLE = 11
"""Every how many cells are asked by default."""
NOT_SAID = {
    "Keras Dense, softmax": ["clipped"],
    "Keras Embedding": ["clipped", "of another layer"],
    "PyTorch Embedding": ["clipped", "of another layer"],
    "PyTorch GRU, kernel": ["the second half not read", "a filter left out"],
    "PyTorch MultiheadAttention, input": [
        "the second half not read",
        "two filters exchanged",
        "a filter used twice",
        "a filter left out",
        "clipped",
        "an earlier checkpoint",
    ],
}
"""The cells whose damage is not said; one that is said now fails, and is taken out of the list."""


@cache
def built(name):
    (subject,) = (one for one in SUBJECTS if one.name == name)
    made = subject.build()
    return made, probe.open_model(made.model)


def marks(place, subject, damage):
    sampled = [] if place % SAMPLE == 0 else [pytest.mark.slow]
    if damage.name in NOT_SAID.get(subject.name, ()):
        return [*sampled, pytest.mark.xfail(raises=AssertionError)]
    return sampled


@pytest.mark.exhaustive(default=14)
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("subject", "damage"),
    [
        pytest.param(
            subject,
            damage,
            id=f"{subject.name}, {damage.name}",
            marks=marks(i, subject, damage),
        )
        for i, (subject, damage) in enumerate(cells())
    ],
)
def test_what_was_done_to_a_weight_is_said(subject, damage):
    found = asked(*built(subject.name), subject, damage)
    assert found.right, found.told
    assert found.recovered or not found.told.startswith("other-weights"), found.told
