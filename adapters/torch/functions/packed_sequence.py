"""Sequences of different lengths packed for a recurrence, and unpacked behind it
(torch.nn.utils.rnn)."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref

from .describe import Function, Value, function

__all__: list[str] = []


@function("_pack_padded_sequence", onnx="pack", idle="lengths")
def pack(recipe: Function, input: Value, lengths: Value, batch_first: bool) -> Any:
    """(rows, how many samples have each step)."""
    sizes = tuple(int(size) for size in recipe.outputs[1])
    x = (
        recipe.put(ops.Transpose(perm=(1, 0, *range(2, recipe.rank(input)))), input)
        if batch_first
        else input
    )
    return recipe.put(ops.Packed(sizes=sizes), x), recipe.ref(np.asarray(sizes))


@function("_pad_packed_sequence", onnx="unpack", idle="total_length")
def unpack(
    recipe: Function,
    data: Value,
    batch_sizes: Value,
    batch_first: bool,
    padding_value: float,
    total_length: int,
) -> Any:
    """(steps, batch, ...), or batch first, with ``padding_value`` behind the shorter samples; and
    their lengths."""
    sizes = tuple(int(size) for size in recipe.array(batch_sizes))
    out = recipe.outputs[0]
    steps = out.shape[1] if batch_first else out.shape[0]
    rank = out.ndim
    x: Ref = recipe.put(ops.Unpacked(sizes=(*sizes, *(0,) * (steps - len(sizes)))), data)
    if padding_value:
        kept = (
            np.arange(max(sizes))[None]
            < np.asarray((*sizes, *(0,) * (steps - len(sizes))))[:, None]
        )
        x = recipe.put(
            ops.Fill(value=float(padding_value)),
            x,
            recipe.ref(kept.reshape(*kept.shape, *(1,) * (rank - 2))),
        )
    x = recipe.put(ops.Transpose(perm=(1, 0, *range(2, rank))), x) if batch_first else x
    return x, recipe.ref(np.asarray(recipe.outputs[1]))
