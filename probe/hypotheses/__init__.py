"""The mistakes that are known, one function each; trying starts with the commonest family.

A family of ops brings its own in a file of its own: one more line here, before the number formats.
"""

# ruff: noqa: F401, I001 - they register themselves, and this is the order in which they are tried.

from probe.hypotheses import (
    blocks,
    parameters,
    written_values,
    recurrent,
    attention,
    rotary_embedding,
    decoder_attention,
    alibi_slopes,
    norm_gain,
    packed_projections,
    expert_routing,
    operand_precision,
    layout,
    activation,
    sliding_windows,
    transpose_conv,
    resize,
    channel_order,
    normalization,
    preprocessing,
    wrong_input,
    number_formats,
    quantizer_levels,
    quantised_weights,
    accumulator_16bit,
    fixed_point,
    fixed_point_types,
    residual_blocks,
    activation_of_steps,
    data_flow,
    changed_steps,
    moved_steps,
    tensors_of_blocks,
    other_weights,
    changed_tensors,
    fitted_numbers,
)
from probe.hypotheses.registry import CAUSES, REGISTERED, Hypothesis, hypothesis, more
from probe.hypotheses.case import Case, Edit

__all__ = ["CAUSES", "REGISTERED", "Case", "Edit", "Hypothesis", "hypothesis", "more"]
