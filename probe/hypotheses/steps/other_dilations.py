"""Windows with the dilations of another rule, those of another output stride, of another base or
counted from another number; and kernels that lie along another axis."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.listed_names import joined
from probe.hypotheses.edits.step_words import step_name
from probe.hypotheses.registry import more
from probe.ops.step import Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__: list[str] = []


@more("changed-step")
def other_dilations(case: Case) -> Iterator[Changes]:
    """The dilations of all windows of a size, which keep the size of what they give, or of one."""
    yield Changes(_other_dilations, "changed-step", STEPS)


_Windows = Sequence[tuple[int, ops.Conv | ops.MaxPool]]


def _other_dilations(case: Case) -> Iterator[Change]:
    groups: dict[object, list[tuple[int, ops.Conv | ops.MaxPool]]] = {}
    for position, op in case.having(ops.Conv, ops.MaxPool):
        kernel = _kernel(case, position, op)
        if max(kernel, default=1) > 1 and len({*op.dilations}) == 1:
            groups.setdefault((type(op), kernel), []).append((position, op))
    for group in groups.values():
        own = [op.dilations[0] for _, op in group]
        if max(own) > 1:
            for others in dict.fromkeys(_rules(own)):
                yield from _dilated(case, group, others)
            for which, rate in enumerate(own):
                for other in dict.fromkeys((2 * rate, rate // 2, rate + 1, rate - 1)):
                    if other > 0 and len(group) > 1:
                        yield from _dilated(case, group, (*own[:which], other, *own[which + 1 :]))


def _rules(own: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The dilations that other rules give in place of these, one for each window."""
    yield tuple(2 * rate for rate in own)
    yield tuple(max(1, rate // 2) for rate in own)
    yield tuple(rate + 1 for rate in own)
    yield tuple(max(1, rate - 1) for rate in own)
    for base in (2, 3, 4):
        yield tuple(base**number for number in range(len(own)))
        yield tuple(base ** (number + 1) for number in range(len(own)))
    yield tuple(number + 1 for number in range(len(own)))
    yield tuple(2 * number + 1 for number in range(len(own)))


def _kernel(case: Case, position: int, op: ops.Conv | ops.MaxPool) -> tuple[int, ...]:
    """The window's sizes; a kernel may be an input."""
    if isinstance(op, ops.MaxPool):
        return tuple(op.kernel)
    if op.weight is not None:
        return op.weight.value.shape[2:]
    return shape_of(case, case.steps[position].sources(position)[1])[2:]


def _dilated(case: Case, windows: _Windows, rates: Sequence[int]) -> Iterator[Change]:
    """Windows with other dilations, padded by so much more or less as they are longer."""
    steps: dict[int, Step] = {}
    before, behind = list[str](), list[str]()
    for (position, op), rate in zip(windows, rates, strict=True):
        if rate == op.dilations[0]:
            continue
        kernel = _kernel(case, position, op)
        longer = [(length - 1) * (rate - op.dilations[0]) for length in kernel]
        pads = [_padded(*pair, by) for pair, by in zip(op.pads, longer, strict=True)]
        if np.min(pads) < 0:
            return
        new = replace(op, dilations=(rate,) * len(op.dilations), pads=tuple(pads))
        steps[position] = Step(new, case.steps[position].sources(position))
        before.append(str(op.dilations[0]))
        behind.append(str(rate))
    names = [step_name(case, at) for at in steps]
    if len(names) == 1:
        yield Change(f"{names[0]} has dilation {behind[0]}, not {before[0]}", "", steps)
    elif names:
        what = f"{joined(names)} have dilations {joined(behind)}, not {joined(before)}"
        yield Change(what, "", steps)


def _padded(before: int, after: int, longer: int) -> tuple[int, int]:
    """A padding for windows that are longer, at the end that is padded alone or at both."""
    if not before or not after:
        return (before + longer, after) if before else (before, after + longer)
    return before + longer // 2, after + longer - longer // 2


@more("rearranged-tensor")
def kernels_along_the_other_axis(case: Case) -> Iterator[Changes]:
    """Kernels that are longer along one axis, such as 1 x 5, along the other: all, or one."""
    yield Changes(_turned, "rearranged-tensor", STEPS)


def _turned(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.Conv):
        if op.weight is None or op.weight.rows is not None or op.weight.shape is not None:
            continue
        weight, (*_, rows, columns) = op.weight, op.weight.value.shape
        if len(op.pads) < len(_BOTH) or rows == columns:
            continue
        order = weight.axes or tuple(range(weight.effective.ndim))
        new = replace(
            op,
            weight=replace(weight, effective=np.swapaxes(weight.effective, *order[-2:])),
            pads=(*op.pads[:-2], *op.pads[:-3:-1]),
            dilations=(*op.dilations[:-2], *op.dilations[:-3:-1]),
        )
        what = f"the kernel of {step_name(case, position)} lies along the other axis, as {columns} "
        what += f"x {rows} and not {rows} x {columns}"
        step = Step(new, case.steps[position].sources(position))
        yield Change(what, "", {position: step}, key=("kernel", "turned"))


_BOTH = ("rows", "columns")
"""The axes that are exchanged."""
