"""The mistakes that are known, one function each; trying starts with the commonest family.

A family of ops brings its own in a file of its own: one more line here, before the number formats.
"""

# ruff: noqa: I001 - this is the order in which they are tried.

from probe.hypotheses import weights
from probe.hypotheses import recurrent
from probe.hypotheses import attention
from probe.hypotheses import operands
from probe.hypotheses import layout
from probe.hypotheses import activation
from probe.hypotheses import windows
from probe.hypotheses import transposed
from probe.hypotheses import resize
from probe.hypotheses import rearranged
from probe.hypotheses import normalization
from probe.hypotheses import preprocessing
from probe.hypotheses import inputs
from probe.hypotheses import formats
from probe.hypotheses import levels
from probe.hypotheses import accumulation
from probe.hypotheses import fixed
from probe.hypotheses.base import CAUSES, REGISTERED, Case, Edit, Hypothesis, hypothesis, more

__all__ = ["CAUSES", "REGISTERED", "Case", "Edit", "Hypothesis", "hypothesis", "more"]
__all__ += ["accumulation", "activation", "attention", "fixed", "formats", "inputs", "layout", "levels", "normalization", "operands"]
__all__ += ["preprocessing", "rearranged", "recurrent", "resize", "transposed", "weights", "windows"]
