"""The same numbers by another way: unchanged, with the rounding of both ways allowed."""

import numpy as np

from probe import ops
from probe.description import Ref, Step, Weight
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

PRECISION = precision_of("float32")


def test_only_the_allowance_grows():
    """A product whose parts cancel: its float32 sum is off by what the parts round, which the
    product itself knows nothing of."""
    rng = np.random.default_rng(0)
    x, whole = (
        rng.normal(size=(9, 40)).astype(np.float32),
        rng.normal(size=(40, 3)).astype(np.float32),
    )
    large = (1000 * rng.normal(size=(40, 3))).astype(np.float32)
    rest = (whole.astype(np.float64) - large).astype(np.float32)
    whole = (rest.astype(np.float64) + large).astype(np.float64)
    halves = [
        Step(ops.MatMul(weight=Weight(name, part, part), bias=None), (Ref(-1),))
        for name, part in (("large", large), ("rest", rest))
    ]
    op = ops.ByParts((*halves, Step(ops.Add(), (Ref(0), Ref(1)))))
    wide = x.astype(np.float64)
    y = wide @ whole
    (kept,) = op.run(y, wide)
    assert kept is y
    plain = ops.MatMul(weight=Weight("whole", None, whole), bias=None)
    (alone,) = plain.error_bound(Evaluated((wide,), (None,), (y,)), PRECISION)
    (allowed,) = op.error_bound(Evaluated((y, wide), (alone, None), (y,)), PRECISION)
    error = np.abs((x @ large + x @ rest) - y)
    assert (error > alone).any() and (error <= allowed).all() and (allowed >= alone).all()


def test_the_account_goes_on_to_the_first_input():
    op = ops.ByParts((Step(ops.Identity()),), "f(x) + g(x)")
    y = np.arange(6.0).reshape(2, 3)
    assert (
        op.contributions((y, y), (y,), (1, 2)).stages[0].words == "ByParts: computed as f(x) + g(x)"
    )
    assert op.input_index((np.array([1]), np.array([2])), (y, y))[1] == 2
    assert [mask.sum() for mask in op.influence(y > 4, (y, y))] == [1, 0]
