"""Mistakes of transposed convolutions: which end is cropped, which way the kernel lies."""

from collections.abc import Iterator
from itertools import product

from probe import ops
from probe.hypotheses.registry import hypothesis
from probe.trial.case import Case
from probe.trial.edit import Edit

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
