"""The row blocks that several products take of one parameter, read in another order."""

import numpy as np
import pytest

from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.attention.heads_and_masks import blocks_in_another_order
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case


@pytest.mark.parametrize(("count", "orders"), [(2, 1), (3, 5), (4, 23), (5, 0)])
def test_every_order_of_few_blocks(count, orders):
    values = np.random.default_rng(0).normal(size=(3 * count, 5))
    blocks = [
        Weight("w", values, values, axes=(1, 0), rows=(3 * k, 3 * k + 3)) for k in range(count)
    ]
    steps = [Step(ops.MatMul(block, None), (Ref(-1),)) for block in blocks]
    steps.append(Step(ops.Concat(1), tuple(map(Ref, range(count)))))
    x = np.random.default_rng(1).normal(size=(4, 5))
    outputs = recompute(steps, (x,))
    case = Case(tuple(steps), (x,), outputs, outputs[-1][0])
    claims = {edit.claim for edit in blocks_in_another_order(case)}
    assert len(claims) == orders
    assert all(claim.startswith("the row blocks of w are read in the order") for claim in claims)
