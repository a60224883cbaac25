"""Mistakes of transposed convolutions: which end is cropped, which way the kernel lies."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.case import Case, Edit
from probe.hypotheses.registry import hypothesis, more
from probe.ops.weight import Weight

__all__: list[str] = []


def _told(crops: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(f"{before} before and {after} after" for before, after in dict.fromkeys(crops))


@hypothesis("transpose-crop")
def transpose_crop(case: Case) -> Iterator[Edit]:
    """The output of a transposed convolution was cropped or extended on the other side.

    The full output has (in - 1) * stride + kernel elements; padding crops it, and an odd remainder
    is cropped at one end: TensorFlow crops more at the end, PyTorch crops equally and adds
    ``output_padding`` at the end. With a stride above 1 the output is shifted by one element. Or
    nothing was cropped at all.
    """
    for position, op in case.having(ops.ConvTranspose):
        do = f"crop the full output by {_told(op.crops)}"
        seen = {op.crops}
        choices = [_same_length(before, after) for before, after in op.crops]
        together = [
            tuple((before + by, after - by) for before, after in op.crops) for by in (1, -1, 2, -2)
        ]
        other = [
            tuple((0, 0) for _ in op.crops),
            tuple((before, max(0, after)) for before, after in op.crops),
            tuple((before, before) for before, _ in op.crops),
            tuple((after, before) for before, after in op.crops),
        ]
        each = product(*choices) if len(choices) < 3 else iter(())
        for crops in (*together, *other, *each):
            if crops in seen:
                continue
            seen.add(crops)
            yield case.edit(
                f"the full output is cropped by {_told(crops)}; the layer crops {_told(op.crops)}",
                case.changed(position, crops=crops),
                do=do,
            )


def _same_length(before: int, after: int) -> list[tuple[int, int]]:
    """Crops that leave as much: all to one end, halves, and one or two places further on."""
    total = before + after
    firsts = dict.fromkeys(
        [before, after, 0, total, total // 2, total - total // 2, before + 1, before - 1]
    )
    return [(first, total - first) for first in firsts]


def _with(case: Case, position: int, op: Any, kernel: np.ndarray, **fields: Any) -> Any:
    return case.changed(
        position, weight=Weight(op.weight.name, None, np.ascontiguousarray(kernel)), **fields
    )


@more("flipped-kernel")
def flipped_transposed(case: Case) -> Iterator[Edit]:
    """The transposed convolution computed as a convolution of the spread input, with the kernel as
    it is: it has to be flipped."""
    for position, op in case.having(ops.ConvTranspose):
        if op.weight is None:
            continue
        kernel = op.weight.value
        axes = tuple(range(2, kernel.ndim))
        yield case.edit(
            "every spatial axis of the kernel is flipped",
            _with(case, position, op, np.flip(kernel, axes)),
        )


@more("transposed-kernel")
def swapped_transposed(case: Case) -> Iterator[Edit]:
    """The kernel's input and output channels exchanged, or its spatial axes."""
    for position, op in case.having(ops.ConvTranspose):
        if op.weight is None:
            continue
        kernel = op.weight.value
        if kernel.shape[0] == kernel.shape[1]:
            yield case.edit(
                "input and output channels of the kernel are exchanged",
                _with(case, position, op, kernel.swapaxes(0, 1)),
            )
        if kernel.ndim > 3 and kernel.shape[-1] == kernel.shape[-2]:
            yield case.edit(
                "the last two axes of the kernel are exchanged",
                _with(case, position, op, kernel.swapaxes(-1, -2)),
            )


@more("ignored-dilation")
def ignored_dilation(case: Case) -> Iterator[Edit]:
    """Of a transposed convolution: the taps are neighbours."""
    for position, op in case.having(ops.ConvTranspose):
        if any(dilation > 1 for dilation in op.dilations):
            ones = (1,) * len(op.dilations)
            yield case.edit(
                f"dilation 1 instead of {op.dilations}", case.changed(position, dilations=ones)
            )


@more("missing-bias")
def dropped_bias(case: Case) -> Iterator[Edit]:
    """Of a transposed convolution: left out, or added twice."""
    for position, op in case.having(ops.ConvTranspose):
        if op.bias is None:
            continue
        yield case.edit("the bias is missing", case.changed(position, bias=None))
        twice = Weight(op.bias.name, None, 2 * op.bias.value.astype(np.float64))
        yield case.edit("the bias is added twice", case.changed(position, bias=twice))
