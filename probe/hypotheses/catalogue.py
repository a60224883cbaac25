"""The known mistakes, in the order in which they are tried: the modules of each tier, the commonest
family first, and of a module its functions from first to last.

A family of ops brings its own in a module of its own: one more line here, before the number
formats.
"""

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

from probe.hypotheses.attention import (
    alibi_slopes,
    decoder_attention,
    expert_routing,
    global_tokens,
    heads_and_masks,
    mask_edges,
    packed_projections,
    relative_positions,
    rotary_embedding,
    scaled_rotation,
)
from probe.hypotheses.data import (
    mean_std_order,
    preprocessing,
    reused_buffer,
    written_values,
    wrong_input,
)
from probe.hypotheses.layers import (
    activation,
    channel_order,
    layout,
    norm_gain,
    normalization,
    padded_dilations,
    parameters,
    patch_order,
    recurrent,
    recurrent_masks,
    recurrent_states,
    resize,
    sliding_windows,
    tied_head,
    transpose_conv,
)
from probe.hypotheses.precision import (
    accumulator_16bit,
    another_kernel,
    cast_order,
    few_bits,
    fixed_point,
    fixed_point_types,
    float8,
    half_tensors,
    integer_arithmetic,
    integer_sums,
    narrow_steps,
    number_formats,
    operand_precision,
    quantiser_steps,
    quantizer_levels,
    requantisation,
    rounded_quotients,
)
from probe.hypotheses.registry import Hypothesis
from probe.hypotheses.steps import (
    activation_of_steps,
    blocks,
    called_otherwise,
    chains,
    changed_steps,
    changed_tensors,
    changes_in_loops,
    chunks,
    colour_factors,
    complex_parts,
    computed_tables,
    converted_twice,
    data_flow,
    ends_of_axes,
    exchanged_steps,
    far_numbers,
    fewer_passes,
    fitted_numbers,
    functions_of_parts,
    inverted_factors,
    kept_bits,
    left_untried,
    made_pads,
    moved_padding,
    moved_steps,
    other_dilations,
    other_operands,
    other_statistics,
    overwritten_buffers,
    packed_parts,
    pooled_otherwise,
    rarer_changes,
    related_numbers,
    remade_parameters,
    repeated_changes,
    repeated_slices,
    reshaped_axes,
    residual_blocks,
    running_sums,
    sibling_options,
    sibling_tables,
    sibling_weights,
    single_changes,
    streamed_filters,
    tensors_of_blocks,
    transform_tables,
    weights_of_sums,
)
from probe.hypotheses.weights import code_formats, normed_weights, other_weights, quantised_weights

__all__ = [
    "ANY_STEP",
    "AT_ONE_STEP",
    "CAUSES",
    "COMMON",
    "IN_LOOPS",
    "OF_PATTERNS",
    "PATTERNS",
    "REGISTERED",
    "SINGLE_CHANGES",
    "WRITTEN_OUT",
]

COMMON = (
    blocks,
    mean_std_order,
    patch_order,
    tied_head,
    parameters,
    written_values,
    requantisation,
    integer_sums,
    recurrent,
    recurrent_masks,
    recurrent_states,
    heads_and_masks,
    rotary_embedding,
    decoder_attention,
    mask_edges,
    global_tokens,
    alibi_slopes,
    norm_gain,
    packed_projections,
    expert_routing,
    operand_precision,
    cast_order,
    fewer_passes,
    layout,
    activation,
    sliding_windows,
    padded_dilations,
    transpose_conv,
    resize,
    channel_order,
    normalization,
    normed_weights,
    preprocessing,
    wrong_input,
    float8,
    rounded_quotients,
    quantiser_steps,
    integer_arithmetic,
    number_formats,
    quantizer_levels,
    quantised_weights,
    code_formats,
    accumulator_16bit,
    fixed_point,
    fixed_point_types,
)
"""What is tried of every layer."""
ANY_STEP = (
    another_kernel,
    half_tensors,
    reused_buffer,
    complex_parts,
    relative_positions,
    residual_blocks,
    called_otherwise,
    converted_twice,
    data_flow,
    activation_of_steps,
    exchanged_steps,
    packed_parts,
    other_statistics,
    changed_steps,
    related_numbers,
    colour_factors,
    running_sums,
    moved_steps,
    functions_of_parts,
    chunks,
    moved_padding,
    tensors_of_blocks,
    transform_tables,
    other_weights,
    changed_tensors,
    rarer_changes,
    fitted_numbers,
)
"""What is tried only where none of these reproduces the values."""
AT_ONE_STEP = (single_changes,)
"""What has an amount of work of its own after these, in large layers, where they are cut short."""
WRITTEN_OUT = (changes_in_loops,)
"""What has an amount of work of its own before these, where the code runs a loop step by step."""
OF_PATTERNS = (
    streamed_filters,
    repeated_slices,
    sibling_weights,
    other_dilations,
    kept_bits,
    sibling_options,
    sibling_tables,
    narrow_steps,
    few_bits,
    chains,
    overwritten_buffers,
    computed_tables,
    made_pads,
    remade_parameters,
    scaled_rotation,
    weights_of_sums,
    pooled_otherwise,
    inverted_factors,
    ends_of_axes,
    left_untried,
    reshaped_axes,
    repeated_changes,
    other_operands,
    far_numbers,
)
"""What has an amount of work of its own after all of these."""


def _of(*modules: ModuleType) -> Iterator[Hypothesis]:
    """The mistakes that modules define, in their order."""
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Hypothesis) and value.function.__module__ == module.__name__:
                yield value


REGISTERED = (*_of(*COMMON), *(replace(mistake, last=True) for mistake in _of(*ANY_STEP)))
"""In the order in which they are tried."""
SINGLE_CHANGES = tuple(replace(mistake, last=True) for mistake in _of(*AT_ONE_STEP))
"""The mistakes of AT_ONE_STEP."""
PATTERNS = tuple(replace(mistake, last=True) for mistake in _of(*OF_PATTERNS))
"""The mistakes of OF_PATTERNS."""
IN_LOOPS = tuple(replace(mistake, last=True) for mistake in _of(*WRITTEN_OUT))
"""The mistakes of WRITTEN_OUT."""
CAUSES = {mistake.slug: mistake for mistake in (*REGISTERED, *PATTERNS) if mistake.explains}
"""The one of each slug whose text explains it."""
