"""The mistakes that are known, one function each; the catalogue has them in the order in which they
are tried."""

from probe.hypotheses.catalogue import CAUSES, IN_LOOPS, PATTERNS, REGISTERED, SINGLE_CHANGES
from probe.hypotheses.registry import Hypothesis, hypothesis, more
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__ = [
    "CAUSES",
    "IN_LOOPS",
    "PATTERNS",
    "REGISTERED",
    "SINGLE_CHANGES",
    "Case",
    "Edit",
    "Hypothesis",
    "hypothesis",
    "more",
]
