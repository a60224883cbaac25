"""The mistakes that are known, one function each; trying starts with the commonest family.

A family of ops brings its own in a file of its own: one more line here, before the number formats.
"""

# ruff: noqa: I001 - this is the order in which they are tried.

from probe.hypotheses import blocks
from probe.hypotheses import parameters
from probe.hypotheses import written_values
from probe.hypotheses import recurrent
from probe.hypotheses import attention
from probe.hypotheses import rotary_and_heads
from probe.hypotheses import operand_precision
from probe.hypotheses import layout
from probe.hypotheses import activation
from probe.hypotheses import sliding_windows
from probe.hypotheses import transpose_conv
from probe.hypotheses import resize
from probe.hypotheses import channel_order
from probe.hypotheses import normalization
from probe.hypotheses import preprocessing
from probe.hypotheses import wrong_input
from probe.hypotheses import number_formats
from probe.hypotheses import quantizer_levels
from probe.hypotheses import quantised_weights
from probe.hypotheses import accumulator_16bit
from probe.hypotheses import fixed_point
from probe.hypotheses import fixed_point_types
from probe.hypotheses import residual_blocks
from probe.hypotheses import activation_of_steps
from probe.hypotheses import data_flow
from probe.hypotheses import changed_steps
from probe.hypotheses import moved_steps
from probe.hypotheses import tensors_of_blocks
from probe.hypotheses import other_weights
from probe.hypotheses import changed_tensors
from probe.hypotheses import fitted_numbers
from probe.hypotheses.registry import CAUSES, REGISTERED, Hypothesis, hypothesis, more
from probe.hypotheses.case import Case, Edit

__all__ = ["CAUSES", "REGISTERED", "Case", "Edit", "Hypothesis", "hypothesis", "more"]
__all__ += [
    "accumulator_16bit",
    "activation",
    "activation_of_steps",
    "attention",
    "blocks",
    "changed_steps",
    "changed_tensors",
    "channel_order",
    "data_flow",
    "fitted_numbers",
    "fixed_point",
    "fixed_point_types",
    "layout",
]
__all__ += [
    "moved_steps",
    "normalization",
    "number_formats",
    "operand_precision",
    "other_weights",
    "parameters",
    "preprocessing",
    "quantised_weights",
    "quantizer_levels",
]
__all__ += [
    "recurrent",
    "residual_blocks",
    "resize",
    "rotary_and_heads",
    "sliding_windows",
    "tensors_of_blocks",
    "transpose_conv",
    "written_values",
    "wrong_input",
]
