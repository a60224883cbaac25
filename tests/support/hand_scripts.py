"""A layer's steps written by hand, run with NumPy alone, and held against NumPy's reading."""

import ast

import numpy as np

from probe.by_hand.script import Computation
from probe.by_hand.script_file import body
from probe.by_hand.syntax import refuse_foreign
from probe.by_hand.trial import OVERFLOWS, tried
from probe.by_hand.writer import written
from probe.description import Ref, Step
from probe.errors import BadInput
from probe.evaluation.numpy_reference import recompute

__all__ = ["computation", "unwritten", "wrong"]


def computation(steps, *inputs, **names):
    """What steps, or one op, make of these inputs."""
    if not isinstance(steps, tuple):
        steps = (Step(steps, tuple(Ref(-1, k) for k in range(len(inputs)))),)
    arrays = [np.asarray(x) for x in inputs]
    return Computation(steps, arrays, recompute(steps, arrays), **names)


def unwritten(made):
    """The reasons why steps are not written, before anything is tried."""
    return [*written(made).stored.values()]


def wrong(made):
    """What is written and does not hold: an empty list where all does."""
    try:
        script = tried(made).script
    except BadInput as refused:
        return [] if OVERFLOWS in str(refused) else [str(refused)]
    before = written(made).stored
    refuse_foreign(ast.parse(body(script)))
    return [why for step, why in script.stored.items() if step not in before and why != OVERFLOWS]
