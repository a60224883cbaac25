"""The way of a capture through judging is straight: it seldom comes back to a file it has left."""

from collections import Counter

import pytest
from repository import script

journeys = script("tools/journeys.py")
MOST = 60


@pytest.mark.parametrize("name", [name for name in journeys.journeys() if "judge" in name])
def test_a_judged_capture_seldom_comes_back(name):
    visits = Counter(journeys.stays(journeys.journeys()[name]))
    assert 1 < len(visits)
    assert visits.total() - len(visits) <= MOST, visits.most_common(5)
