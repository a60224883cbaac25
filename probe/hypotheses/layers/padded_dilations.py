"""Another dilation of a convolution, with the padding that belongs to it."""

import math
from collections.abc import Callable, Iterator

from probe import ops
from probe.hypotheses.layers.sliding_windows import kernel_of
from probe.hypotheses.registry import more
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []


@more("ignored-dilation")
def other_dilation(case: Case) -> Iterator[Edit]:
    """Another dilation, with the padding that belongs to it on both sides or on one."""
    for position, op in case.having(ops.Conv):
        kernel = kernel_of(case, position, op)
        for told, dilations in _other_dilations(op.dilations):
            more = [
                (k - 1) * (d - own)
                for k, d, own in zip(kernel, dilations, op.dilations, strict=True)
            ]
            for side, share in (("on both sides", 0.5), ("before", 1.0), ("after", 0.0)):
                pads = tuple(
                    (before + math.ceil(by * share), after + by - math.ceil(by * share))
                    for (before, after), by in zip(op.pads, more, strict=True)
                )
                if any(more) and min(map(min, pads)) >= 0:
                    claim = f"dilation {told} instead of {op.dilations}, padded as it needs {side}"
                    steps = case.changed(position, dilations=dilations, pads=pads)
                    yield case.edit(claim, steps, do=f"use the dilations {op.dilations}")


def _other_dilations(own: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    others = [tuple(f(d) for d in own) for f in _DILATIONS if max(own) > 1]
    yield from ((str(other), other) for other in dict.fromkeys(others) if min(other) > 1)


_DILATIONS: tuple[Callable[[int], int], ...] = (
    *(lambda d: 2 * d, lambda d: d // 2, lambda d: d + 1, lambda d: d - 1),
    *(lambda d: 3 * d, lambda d: 4 * d, lambda d: d**2),
)
