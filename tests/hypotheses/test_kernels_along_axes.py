"""Kernels that are longer along one axis than along the other."""

import numpy as np
import pytest
from own_seed import RNG
from tried_changes import claims_that_give

from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.steps.other_dilations import kernels_along_the_other_axis
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight

LAYOUTS = {"torch": None, "keras": (3, 2, 0, 1)}


def convolutions(layout, turned=False):
    """One along the columns, then one along the rows; ``turned``: the other way round."""
    steps = []
    for number, (rows, columns) in enumerate(((1, 5), (5, 1))):
        kernel = np.random.default_rng(number).standard_normal((3, 3, rows, columns))
        pads = ((rows // 2,) * 2, (columns // 2,) * 2)
        if turned:
            kernel, pads = kernel.swapaxes(2, 3), pads[::-1]
        axes = LAYOUTS[layout]
        stored = kernel if axes is None else kernel.transpose(np.argsort(axes))
        weight = Weight(f"conv{number}.weight", stored, stored, axes=axes)
        op = ops.Conv(weight, None, strides=(1, 1), pads=pads, dilations=(1, 1), groups=1)
        steps.append(Step(op, (Ref(number - 1),)))
    return tuple(steps)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_kernels_lie_along_the_other_axis(layout):
    x = RNG.standard_normal((2, 3, 6, 7))
    wrong = recompute(convolutions(layout, turned=True), (x,))[-1][0]
    claims = claims_that_give(wrong, kernels_along_the_other_axis, convolutions(layout), x)
    assert len(claims) == 1, claims
    assert "lies along the other axis, as 5 x 1 and not 1 x 5;" in claims[0]
