"""The mistakes that are known, one function each; trying starts with the commonest family.

A family of ops brings its own in a file of its own: one more line here, before the number formats.
"""

# ruff: noqa: F401, I001 - they register themselves, and this is the order in which they are tried.

from probe.hypotheses.steps import blocks
from probe.hypotheses.layers import parameters, patch_order
from probe.hypotheses.data import written_values
from probe.hypotheses.layers import recurrent, recurrent_states
from probe.hypotheses.attention import (
    heads_and_masks,
    rotary_embedding,
    decoder_attention,
    alibi_slopes,
)
from probe.hypotheses.layers import norm_gain
from probe.hypotheses.attention import packed_projections, expert_routing
from probe.hypotheses.precision import operand_precision, cast_order
from probe.hypotheses.layers import (
    layout,
    activation,
    sliding_windows,
    transpose_conv,
    resize,
    channel_order,
    normalization,
)
from probe.hypotheses.data import preprocessing, wrong_input
from probe.hypotheses.precision import number_formats, quantizer_levels
from probe.hypotheses.weights import quantised_weights
from probe.hypotheses.precision import accumulator_16bit, fixed_point, fixed_point_types
from probe.hypotheses.attention import relative_positions
from probe.hypotheses.steps import (
    residual_blocks,
    activation_of_steps,
    data_flow,
    changed_steps,
    moved_steps,
    tensors_of_blocks,
)
from probe.hypotheses.weights import other_weights
from probe.hypotheses.steps import changed_tensors, rarer_changes, fitted_numbers
from probe.hypotheses.registry import CAUSES, REGISTERED, Hypothesis, hypothesis, more
from probe.hypotheses.case import Case, Edit

__all__ = ["CAUSES", "REGISTERED", "Case", "Edit", "Hypothesis", "hypothesis", "more"]
