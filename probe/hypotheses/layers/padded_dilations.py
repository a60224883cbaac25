"""Another dilation of a convolution, with the padding that belongs to it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product

from probe import ops
from probe.hypotheses.edits.recurrent_decompositions import Scanned
from probe.hypotheses.edits.regrouped_steps import decomposed
from probe.hypotheses.layers.recurrent import everywhere_and_singly
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


@more("ignored-dilation")
def dilations_of_cells(case: Case) -> Iterator[Edit]:
    """The dilation of the other convolution of a recurrent cell, or none, padded to the same
    size."""
    if not any(case.having(ops.ConvLSTM)):
        return
    whole = decomposed(case)
    for claim, change in _in_cells(whole):
        for steps, where in everywhere_and_singly(whole, change, Scanned):
            yield whole.edit(
                f"{claim}{where}", steps, as_healthy=True, do="use the layer's dilations"
            )


def _in_cells(case: Case) -> Iterator[tuple[str, Callable[[Scanned], Scanned | None]]]:
    """Changes of the cells by what they are in words."""
    for op in [op for _, op in case.having(Scanned) if op.spatial][:1]:
        convs = {at: step.op for at, step in enumerate(op.body) if isinstance(step.op, ops.Conv)}
        ones = (1,) * len(op.spatial)
        for at, dilations in product(convs, dict.fromkeys([c.dilations for c in convs.values()])):
            for other in dict.fromkeys((dilations, ones)):
                claim = f"{op.words[at]} has the dilation {other}, padded to the same size"
                yield claim, partial(_dilated, position=at, dilations=other)


def _dilated(op: Scanned, position: int, dilations: tuple[int, ...]) -> Scanned | None:
    conv = op.body[position].op if position < len(op.body) else None
    if not isinstance(conv, ops.Conv) or conv.weight is None or conv.dilations == dilations:
        return None
    kernel = conv.weight.value.shape[2:]
    pads = list[tuple[int, int]]()
    for size, mine, other, (before, after) in zip(
        kernel, conv.dilations, dilations, conv.pads, strict=True
    ):
        more = (size - 1) * (other - mine)
        pads.append((before + more // 2, after + more - more // 2))
    if min(map(min, pads)) < 0:
        return None
    step = replace(op.body[position], op=replace(conv, dilations=dilations, pads=tuple(pads)))
    return replace(op, body=(*op.body[:position], step, *op.body[position + 1 :]))


def _other_dilations(own: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    others = [tuple(f(d) for d in own) for f in _DILATIONS if max(own) > 1]
    yield from ((str(other), other) for other in dict.fromkeys(others) if min(other) > 1)


_DILATIONS: tuple[Callable[[int], int], ...] = (
    *(lambda d: 2 * d, lambda d: d // 2, lambda d: d + 1, lambda d: d - 1),
    *(lambda d: 3 * d, lambda d: 4 * d, lambda d: d**2),
)
