"""No array beyond a limit, whatever makes it; and nothing else is changed by that."""

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest

from probe.description import Step
from probe.evaluation.numpy_reference import recompute
from probe.numerics.memory_limit import limit, limited
from probe.ops import Neg, Tile

LIMIT = 1 << 20
LARGE = 1 << 18
MAKERS = {
    "empty": lambda: np.empty(LARGE),
    "zeros": lambda: np.zeros(LARGE),
    "tile": lambda: np.tile(np.ones(4), LARGE),
    "broadcasting": lambda: np.ones((1 << 9, 1)) * np.ones(1 << 9),
    "pad": lambda: np.pad(np.ones(3), (0, LARGE)),
    "repeat": lambda: np.repeat(np.ones(3), LARGE),
    "a copy": lambda: np.broadcast_to(1.0, (LARGE,)).copy(),
    "einsum": lambda: np.einsum("a,b->ab", np.ones(1 << 9), np.ones(1 << 9)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_way_to_make_an_array(name):
    with limited(LIMIT), pytest.raises(MemoryError, match="Unable to allocate"):
        MAKERS[name]()
    assert limit() is None
    assert MAKERS[name]().nbytes >= LIMIT


def test_what_is_within_it_is_made():
    with limited(LIMIT):
        assert np.zeros(LIMIT // 8).sum() == 0
        with limited(64):
            with pytest.raises(MemoryError):
                np.empty(9)
            assert np.empty(8).size == 8
        assert limit() == LIMIT and np.empty(9).size == 9
        with limited(None):
            assert limit() == LIMIT
    with pytest.raises(ValueError, match="here"), limited(LIMIT):
        raise ValueError("here")
    assert limit() is None


def test_other_threads_have_none():
    found = []
    with limited(LIMIT):
        other = threading.Thread(target=lambda: found.append((np.ones(LARGE).sum(), limit())))
        other.start()
        other.join()
    assert found == [(LARGE, None)]


def test_all_steps_together_are_within_it():
    steps = (Step(Tile((1 << 14,))), *[Step(Neg())] * 9)
    x = np.ones(2)
    assert len(recompute(steps, [x])) == 10
    with limited(LIMIT), pytest.raises(MemoryError, match="the steps give"):
        recompute(steps, [x])


OUTLIVES = """
import sys
import numpy as np
from probe.numerics.memory_limit import limited

with limited(1 << 20):
    kept = [np.ones(1000), np.zeros(10), np.arange(5)]
kept[0].resize(2000, refcheck=False)
sys.kept = kept


class Late:
    def __del__(self, kept=kept):
        kept.clear()


sys.late = Late()
"""


def test_arrays_outlive_it():
    """They are freed at the very end of a process, when our own modules are gone."""
    with limited(LIMIT):
        kept = [np.full(100, k) for k in range(100)]
    del kept[::2]
    gc.collect()
    assert [int(one[7]) for one in kept] == list(range(1, 100, 2))
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", OUTLIVES])
    assert done.returncode == 0
