"""What a changed layer raises that does not run: an op's refusal is no internal error, which would
fail the test (tests/conftest.py); what is one, tests/verdict/test_absorbed_errors.py holds."""

import numpy as np
import pytest

from probe import ops
from probe.ops.weight import Weight
from probe.trial.refusals import refused

KERNEL = Weight("kernel", None, np.ones((3, 2)))
REFUSED = {
    "shapes": lambda: ops.MatMul(KERNEL, None).run(np.ones((2, 5))),
    "an axis": lambda: ops.Softmax(4).run(np.ones((2, 5))),
    "an index": lambda: np.ones(3)[7],
    "strings": lambda: np.ones(3) * np.array(["a", "b", "c"]),
    "an option": lambda: 3 // 0,
    "a mode": lambda: ops.Resize((2,), (2.0,), mode="nearest").run(np.ones((1, 1, 1))),
    "a number of another type": lambda: np.ones(3, np.int8) % 256,
    "an operator of booleans": lambda: -np.ones(3, bool),
    "another operator of booleans": lambda: np.ones(3, bool) - np.ones(3, bool),
    "bits of floats": lambda: np.bitwise_and(np.ones(3), np.ones(3)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_is_no_internal_error(what):
    with pytest.raises(Exception) as found:
        REFUSED[what]()
    assert not isinstance(found.value, AssertionError)
    refused(found.value)
