"""The mistakes that are known, one function each; trying starts with the commonest family."""

from probe.hypotheses import weights, layout, activation, windows, normalization, inputs, formats  # noqa: F401, I001 (the order in which they are tried)
from probe.hypotheses.base import REGISTERED, Case, Edit, Hypothesis, hypothesis

__all__ = ["REGISTERED", "Case", "Edit", "Hypothesis", "hypothesis"]
