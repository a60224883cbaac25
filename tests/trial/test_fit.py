"""What a changed layer is allowed where only the healthy one's allowance is known."""

import numpy as np

from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.fit import as_healthy

STEPS = (Step(ops.Identity(), (Ref(-1),)),)


def test_elements_in_another_order_are_allowed_what_they_were():
    x = np.array([[1.0, 200.0, 3.0], [400.0, 5.0, 600.0]])
    allowed = 1e-6 * np.abs(x)
    case = Case(STEPS, (x,), recompute(STEPS, (x,)), x)
    order = np.array([3, 0, 5, 1, 4, 2])
    moved = x.ravel()[order].reshape(x.shape)
    usual = as_healthy(case, allowed, x).ravel()
    np.testing.assert_array_equal(as_healthy(case, allowed, moved).ravel(), usual[order])


def test_other_elements_are_allowed_what_is_allowed_at_their_place():
    x = np.array([[1.0, 200.0, 3.0], [400.0, 5.0, 600.0]])
    allowed = 1e-6 * np.abs(x)
    case = Case(STEPS, (x,), recompute(STEPS, (x,)), x)
    other = np.where(x == 3.0, 4.0, x)[:, ::-1]
    usual = as_healthy(case, allowed, x)
    ratio = as_healthy(case, allowed, other) / usual
    np.testing.assert_allclose(ratio, ratio.flat[0])
