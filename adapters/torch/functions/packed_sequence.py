"""Sequences of different lengths packed for a recurrence, and unpacked behind it
(torch.nn.utils.rnn)."""

import numpy as np

from probe import ops
from probe.description import Ref

from .describe import CallBuilder, Outputs, Value, function

__all__: list[str] = []


@function("_pack_padded_sequence", onnx="pack", idle="lengths")
def pack(build: CallBuilder, input: Value, lengths: Value, batch_first: bool) -> Outputs:
    """(rows, how many samples have each step)."""
    sizes = tuple(int(size) for size in build.outputs[1])
    x = input
    if batch_first:
        x = build.add(ops.Transpose(perm=(1, 0, *range(2, build.rank(input)))), input)
    return build.add(ops.Packed(sizes=sizes), x), build.ref(np.asarray(sizes))


@function("_pad_packed_sequence", onnx="unpack", idle="total_length")
def unpack(
    build: CallBuilder,
    data: Value,
    batch_sizes: Value,
    batch_first: bool,
    padding_value: float,
    total_length: int,
) -> Outputs:
    """(steps, batch, ...), or batch first, with ``padding_value`` behind the shorter samples; and
    their lengths."""
    sizes = tuple(int(size) for size in build.array(batch_sizes))
    out = build.outputs[0]
    steps = out.shape[1] if batch_first else out.shape[0]
    rank = out.ndim
    x: Ref = build.add(ops.Unpacked(sizes=(*sizes, *(0,) * (steps - len(sizes)))), data)
    if padding_value:
        kept = (
            np.arange(max(sizes))[None]
            < np.asarray((*sizes, *(0,) * (steps - len(sizes))))[:, None]
        )
        x = build.add(
            ops.Fill(value=float(padding_value)), x, kept.reshape(*kept.shape, *(1,) * (rank - 2))
        )
    if batch_first:
        x = build.add(ops.Transpose(perm=(1, 0, *range(2, rank))), x)
    return x, build.ref(np.asarray(build.outputs[1]))
