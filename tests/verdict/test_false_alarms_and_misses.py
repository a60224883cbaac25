"""A sample of benchmarks/truth.py: no right layer is called different, no planted fault is
passed."""

import pytest
from repository import script

truth = script("benchmarks/truth.py")


@pytest.mark.costly(default=2)
@pytest.mark.parametrize("family", script("benchmarks/healthy.py").FAMILIES)
def test_right_layers_do_not_diverge(family):
    for framework in (0, 1):
        tally = truth.healthy(family, framework, 20)
        assert tally.cases == 20
        assert not tally.sentences


@pytest.mark.costly
def test_every_planted_fault_diverges():
    found = truth.planted()
    assert len(found) == 13
    assert {
        fault: tally.cases - tally.said["diverge"] for fault, tally in found.items()
    } == dict.fromkeys(found, 0)
