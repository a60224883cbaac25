"""Mistakes of sliding windows: padding, stride, dilation, divisor."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np

from probe import ops
from probe.errors import absorbed
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.edits.step_words import ordinal, step_name
from probe.hypotheses.registry import hypothesis, more
from probe.ops.base import Sum
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps

__all__ = ["kernel_of"]

_WINDOWED = (ops.Conv, ops.MaxPool, ops.AveragePool)
Pads = tuple[tuple[int, int], ...]


def kernel_of(
    case: Case, position: int, op: ops.Conv | ops.MaxPool | ops.AveragePool
) -> tuple[int, ...]:
    """The window's sizes; a kernel may be an input."""
    if not isinstance(op, ops.Conv):
        return op.kernel
    return (case.input_of(position, 1) if op.weight is None else op.weight.value).shape[2:]


def _padded(case: Case, position: int, pads: Pads) -> Steps:
    """The op with other pads; negative ones crop its input."""
    crops = [(min(0, before), min(0, after)) for before, after in pads]
    plain = tuple((max(0, before), max(0, after)) for before, after in pads)
    steps = case.changed(position, pads=plain)
    if not any(before or after for before, after in crops):
        return steps
    starts = (0, 0, *(-before for before, _ in crops))
    stops = (None, None, *(after or None for _, after in crops))
    return case.became_steps(steps).inserted(position, ops.Slice(starts, stops))


def _out(case: Case, position: int, op: Any, pads: Pads) -> tuple[int, ...]:
    """The output sizes with these pads."""
    sizes, kernel = case.input_of(position).shape[2:], kernel_of(case, position, op)
    dilations = getattr(op, "dilations", (1,) * len(pads))
    return tuple(
        (n + sum(pad) - (k - 1) * d - 1) // s + 1
        for n, pad, k, d, s in zip(sizes, pads, kernel, dilations, op.strides, strict=True)
    )


def _same_size(
    case: Case, position: int, op: Any, choices: Sequence[Sequence[tuple[int, int]]]
) -> Iterator[Pads]:
    """Pads from these choices per axis that differ from the op's and give the same output sizes."""
    want = case.values[position][0].shape[2:]
    for pads in product(*choices):
        if pads != op.pads and _out(case, position, op, pads) == want:
            yield pads


def _told(pads: Pads) -> str:
    return ", ".join(f"{before} before and {after} after" for before, after in dict.fromkeys(pads))


@hypothesis("symmetric-padding")
def symmetric_padding(case: Case) -> Iterator[Edit]:
    """Padded equally on both sides where the framework pads more at the end, or the reverse.

    "same" in TensorFlow puts the odd element at the end: for stride 2 and an even size the padding
    is (0, 1), where PyTorch's ``padding=1`` is (1, 1). Everything is shifted by one element. Stride
    1 with an odd kernel size hides this.
    """
    for position, op in case.having(*_WINDOWED):
        for pads in _evenly(case, position, op):
            yield case.edit(
                f"padded {_told(pads)}; the layer pads {_told(op.pads)}",
                _padded(case, position, pads),
                do=f"pad {_told(op.pads)}",
            )


def _evenly(case: Case, position: int, op: Any) -> list[Pads]:
    """Pads equal on both sides, as those of another framework, that give the same output sizes."""
    even = [((k - 1) // 2, (k - 1) // 2) for k in kernel_of(case, position, op)]
    if not even:
        return []
    choices = [
        [
            pad,
            (max(pad), max(pad)),
            half,
            (min(pad), min(pad)),
            (sum(pad) // 2, sum(pad) - sum(pad) // 2),
            (half[0] - 1, half[0]),
        ]
        for pad, half in zip(op.pads, even, strict=True)
    ]
    choices = [
        [pad for pad in dict.fromkeys(axis) if min(pad) >= 0 and sum(pad) >= 0] for axis in choices
    ]
    whole = [
        tuple(axis[min(i, len(axis) - 1)] for axis in choices)
        for i in range(max(map(len, choices)))
    ]
    mixed = _same_size(case, position, op, choices) if len(choices) < 3 else ()
    want = case.values[position][0].shape[2:]
    return [
        pads
        for pads in dict.fromkeys((*whole, *mixed))
        if pads != op.pads and _out(case, position, op, pads) == want
    ]


def _on_other_side(case: Case, position: int, op: Any) -> list[Pads]:
    """The pads of one or more axes exchanged."""
    if all(before == after for before, after in op.pads):
        return []
    choices = [[*dict.fromkeys(((after, before), (before, after)))] for before, after in op.pads]
    return [*_same_size(case, position, op, choices)]


def _starts(pads: Pads) -> tuple[int, ...]:
    """Where the first window starts: of pads that give the same output sizes those with the same
    starts give the same windows."""
    return tuple(before for before, _ in pads)


@hypothesis("padding-on-other-side")
def padding_on_other_side(case: Case) -> Iterator[Edit]:
    """The odd element of the padding is at the start instead of the end.

    ONNX's SAME_LOWER instead of SAME_UPPER. Everything is shifted by one element where the total
    padding is odd.
    """
    for position, op in case.having(*_WINDOWED):
        named = set(map(_starts, _evenly(case, position, op)))
        for pads in _on_other_side(case, position, op):
            if _starts(pads) in named:
                continue
            claim = f"padded {_told(pads)}; the layer pads {_told(op.pads)}"
            yield case.edit(claim, _padded(case, position, pads), do=f"pad {_told(op.pads)}")
    for position, pad in case.having(ops.Pad):
        own, seen = tuple(pair for pair in pad.pads if any(pair)), {pad.pads}
        for words, moved in _SIDES.items():
            pads = tuple(moved(*pair) for pair in pad.pads)
            if pads not in seen:
                seen.add(pads)
                steps = case.changed(position, pads=pads)
                claim = f"padded {words}; the layer pads {_told(own)}"
                yield case.edit(claim, steps, do=f"pad {_told(own)}")


_SIDES: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "on the other side": lambda before, after: (after, before),
    "at the end alone": lambda before, after: (0, before + after),
    "at the start alone": lambda before, after: (before + after, 0),
    "equally on both sides": lambda before, after: (
        (before + after) // 2,
        before + after - (before + after) // 2,
    ),
}


@hypothesis("missing-padding")
def missing_padding(case: Case) -> Iterator[Edit]:
    """The input was not padded, or the windows start one element off.

    The values are those of the "valid" positions alone (a smaller output), or the whole output is
    shifted by the padding.
    """
    for position, op in case.having(*_WINDOWED):
        if any(sum(pad) for pad in op.pads):
            nothing = ((0, 0),) * len(op.pads)
            yield case.edit(
                f"not padded; the layer pads {_told(op.pads)}",
                _padded(case, position, nothing),
                do=f"pad {_told(op.pads)}",
            )
        if not case.comparable:
            continue
        for shift, (pads, named) in _shifted(case, position, op).items():
            if not named:
                yield case.edit(
                    f"the windows start {_later(shift)}",
                    _padded(case, position, pads),
                    do="start the windows at the padding",
                )


def _shifted(case: Case, position: int, op: Any) -> dict[tuple[int, ...], tuple[Pads, bool]]:
    """The pads with which the windows start so many elements later, and whether others are told by
    these."""
    named = set(map(_starts, _evenly(case, position, op)))
    named.update(map(_starts, _on_other_side(case, position, op)))
    far = max(kernel_of(case, position, op), default=2) - 1 if len(op.pads) == 1 else 1
    steps = sorted(range(-far, far + 1), key=abs)
    padding = tuple(before for before, _ in op.pads)
    shifts = (padding, tuple(-before for before in padding), *product(steps, repeat=len(op.pads)))
    made = {}
    for shift in filter(any, dict.fromkeys(shifts)):
        moved = zip(op.pads, shift, strict=True)
        pads = tuple((before - by, after + by) for (before, after), by in moved)
        made[shift] = pads, _starts(pads) in named
    return made


def _later(shift: Sequence[int]) -> str:
    """By how many elements windows start later or earlier, those axes left out that stay."""
    told = [
        f"{abs(by)} element{'s' * (abs(by) > 1)} {'later' if by > 0 else 'earlier'}" for by in shift
    ]
    if len(shift) == 1:
        return told[0]
    if len({*shift}) == 1:
        return f"{told[0]} along each of the {len(shift)} axes"
    axes = [f"the {ordinal(axis)} of the {len(shift)} axes" for axis in range(1, len(shift) + 1)]
    moved = zip(shift, told, axes, strict=True)
    return " and ".join(f"{words} along {axis}" for by, words, axis in moved if by)


@more("missing-padding")
def shifted_everywhere(case: Case) -> Iterator[Edit]:
    """The windows of all steps start as many elements off, where in one of them that is told
    otherwise."""
    windowed = list(case.having(*_WINDOWED))
    if not case.comparable or not 1 < len(windowed) <= _MOST:
        return
    each = [_shifted(case, position, op) for position, op in windowed]
    for shift in each[0]:
        if not all(shift in shifts for shifts in each) or not any(s[shift][1] for s in each):
            continue
        everywhere = case
        for (position, _), shifts in reversed(list(zip(windowed, each, strict=True))):
            everywhere = everywhere.became_steps(_padded(everywhere, position, shifts[shift][0]))
        claim = f"the windows start {_later(shift)} in all {len(windowed)} steps"
        yield case.edit(claim, everywhere.steps, do="start the windows at the padding")


_MOST = 8
"""In how many steps windows are moved at once."""


def _padded_with(
    case: Case, position: int, mode: str = "constant", value: float | np.ndarray = 0.0
) -> Steps:
    """The steps with a window padded otherwise; ``value``: a number, or one for each channel."""
    op: Any = case.steps[position].op
    unpadded = case.became_steps(case.changed(position, pads=((0, 0),) * len(op.pads)))
    pads = ((0, 0), (0, 0), *op.pads)
    if np.size(value) == 1:
        return unpadded.inserted(position, ops.Pad(pads, mode, np.asarray(value).item()))
    less, more = (
        ops.AddConstant(Weight("the padding", None, sign * np.asarray(value))) for sign in (-1, 1)
    )
    return unpadded.inserted(position, less, ops.Pad(pads), more)


def _padded_earlier(case: Case, position: int) -> Iterator[Edit]:
    """The input padded with zeros before the steps that it goes through first, such as a
    normalisation."""
    (ref, *_) = case.steps[position].sources(position)
    before = case.steps[: ref.step + 1]
    if not before or case.inputs[0].ndim < 3 or any(isinstance(step.op, Sum) for step in before):
        return
    try:
        zeros = (np.zeros_like(case.inputs[0]), *case.inputs[1:])
        made = np.asarray(recompute(before, zeros)[ref.step][ref.index])
    except (ValueError, IndexError, TypeError) as error:
        absorbed(error)
        return
    value = made[:1].mean(axis=tuple(range(2, made.ndim)), keepdims=True)
    if made.any() and made.ndim > 2 and np.allclose(made, value, rtol=1e-6):
        yield case.edit(
            f"padded with zeros before {step_name(case, ref.step)}, not after it",
            _padded_with(case, position, value=value),
            do=f"pad the output of {step_name(case, ref.step)}",
        )


@hypothesis("padding-value")
def padding_value(case: Case) -> Iterator[Edit]:
    """Padded with another value than the layer's (usually zero).

    Reflected, replicated or circular padding, zeros instead of the -inf of a max pooling, or the
    zero point of a quantised tensor. Only the border is wrong.
    """
    padded = [at for at, op in case.having(*_WINDOWED) if any(sum(pad) for pad in op.pads)]
    for mode in ("edge", "reflect", "symmetric", "wrap") if len(padded) > 1 else ():
        everywhere = case
        for position in reversed(padded):
            everywhere = everywhere.became_steps(_padded_with(everywhere, position, mode))
        yield case.edit(f"padded in mode {mode} in all {len(padded)} steps", everywhere.steps)
    for position in padded:
        op: Any = case.steps[position].op
        usual = -np.inf if isinstance(op, ops.MaxPool) else 0.0
        for mode in ("edge", "reflect", "symmetric", "wrap"):
            yield case.edit(
                f"padded in mode {mode} instead of with {usual:g}",
                _padded_with(case, position, mode),
                do=f"pad with {usual:g}",
            )
        yield from _padded_earlier(case, position)
        x = case.input_of(position)
        values = {
            0.0,
            1.0,
            -1.0,
            0.5,
            128.0,
            255.0,
            float(x.min(initial=0.0)),
            float(x.mean()) if x.size else 0.0,
        } - {usual}
        for value in sorted(values, key=abs):
            yield case.edit(
                f"padded with {value:.6g} instead of {usual:g}",
                _padded_with(case, position, value=value),
                do=f"pad with {usual:g}",
            )
    for position, op in case.having(ops.Pad):
        for mode in ("constant", "edge", "reflect", "symmetric", "wrap"):
            if mode != op.mode:
                yield case.edit(
                    f"padded in mode {mode} instead of {op.mode}",
                    case.changed(position, mode=mode),
                    do=f"pad in mode {op.mode}",
                )


def _cropped(case: Case, position: int, steps: Steps) -> Steps:
    """The steps with the output of one cut to the size it has in the healthy layer."""
    shape = case.values[position][0].shape
    return case.became_steps(steps).appended(ops.Slice((0,) * len(shape), shape), at=position)


@hypothesis("ignored-stride")
def ignored_stride(case: Case) -> Iterator[Edit]:
    """Stride 1 was used: the output is larger, or holds only its first windows; or another
    convolution or pooling of the block has the stride.

    ResNet's paper has the stride at the first convolution of a bottleneck, torchvision (v1.5) at
    the 3 x 3.
    """
    for position, op in case.having(*_WINDOWED):
        if any(stride > 1 for stride in op.strides):
            steps = case.changed(position, strides=(1,) * len(op.strides))
            do = f"use the strides {op.strides}"
            yield case.edit(f"stride 1 instead of {op.strides}", steps, do=do)
            yield case.edit(
                f"stride 1 instead of {op.strides}, the output cut to the layer's size",
                _cropped(case, position, steps),
                do=do,
            )
    for (one, first), (other, second) in combinations(case.having(*_WINDOWED), 2):
        if first.strides != second.strides and len(first.strides) == len(second.strides):
            moved = case.became_steps(case.changed(one, strides=second.strides))
            names = step_name(case, one), step_name(case, other)
            yield case.edit(
                f"{names[0]} has the strides {second.strides} and {names[1]} has {first.strides}; "
                "the layer's are the other way round",
                moved.changed(other, strides=first.strides),
                do=f"use the strides {first.strides} in {names[0]}",
            )


@hypothesis("ignored-dilation")
def ignored_dilation(case: Case) -> Iterator[Edit]:
    """Dilation 1 was used: the kernel's elements are applied to adjacent inputs."""
    for position, op in case.having(ops.Conv, ops.MaxPool, ops.ConvTranspose):
        if all(dilation == 1 for dilation in op.dilations):
            continue
        steps = case.changed(position, dilations=(1,) * len(op.dilations))
        do = f"use the dilations {op.dilations}"
        yield case.edit(f"dilation 1 instead of {op.dilations}", steps, do=do)
        if isinstance(op, ops.ConvTranspose):
            continue
        yield case.edit(
            f"dilation 1 instead of {op.dilations}, the output cut to the layer's size",
            _cropped(case, position, steps),
            do=do,
        )
        shrunk = []
        for (before, after), k, d in zip(
            op.pads, kernel_of(case, position, op), op.dilations, strict=True
        ):
            less = (k - 1) * (d - 1)
            first = less // 2
            if before + after >= less:  # where one side has no more, the other side has less
                first = min(before, max(first, less - after))
            shrunk.append((before - first, after - (less - first)))
        centred = case.became_steps(steps)
        yield case.edit(
            f"dilation 1 instead of {op.dilations}, and the padding reduced accordingly",
            _padded(centred, position, tuple(shrunk)),
            do=do,
        )


@hypothesis("ignored-groups")
def ignored_groups(case: Case) -> Iterator[Edit]:
    """A grouped or depthwise convolution was computed without groups: every filter reads the first
    channels."""
    for position, op in case.having(ops.Conv):
        if op.groups == 1 or op.weight is None:
            continue
        x = case.input_of(position)
        width = op.weight.value.shape[1]
        cut = ops.Slice((0,) * x.ndim, (None, width, *(None,) * (x.ndim - 2)))
        steps = case.became_steps(case.changed(position, groups=1)).inserted(position, cut)
        yield case.edit(
            f"every filter reads the first {width} of {x.shape[1]} channels",
            steps,
            do=f"use {op.groups} groups: each filter reads the channels of its own group",
        )
        if width == 1:
            kernel = op.weight.value
            spread = np.repeat(kernel, x.shape[1], axis=1)
            full = Weight(op.weight.name, None, spread)
            yield case.edit(
                "every filter reads all channels",
                case.changed(position, groups=1, weight=full),
                do="each filter reads its own channel",
            )


@hypothesis("pool-counts-padding")
def pool_counts_padding(case: Case) -> Iterator[Edit]:
    """Average pooling divides by the whole window size instead of by the number of elements inside
    the input, or the reverse.

    PyTorch's ``count_include_pad`` is on by default; TensorFlow never counts padding. Only the
    border is wrong, by the ratio of the two counts.
    """
    for position, op in case.having(ops.AveragePool):
        cells = int(np.prod(op.kernel))
        for include in (True, False):
            if include != op.count_include_pad or op.divisor_override is not None:
                steps = case.changed(position, count_include_pad=include, divisor_override=None)
                yield case.edit(
                    f"padding is {'counted' if include else 'not counted'} in the divisor", steps
                )
        if op.divisor_override != cells:
            yield case.edit(
                f"the sum is always divided by {cells}",
                case.changed(position, divisor_override=cells),
            )
        yield case.edit("the sum is not divided", case.changed(position, divisor_override=1))


@more("changed-step")
def other_pooling(case: Case) -> Iterator[Edit]:
    """The mean of each window instead of its largest value, or the reverse."""
    for position, op in case.having(ops.MaxPool):
        mean = ops.AveragePool(op.kernel, op.strides, op.pads, op.ceil_mode)
        yield case.edit("AveragePool instead of MaxPool", case.with_op(position, mean))
        if any(map(any, op.pads)):
            counting = replace(mean, count_include_pad=True)
            claim = "AveragePool that counts padding instead of MaxPool"
            yield case.edit(claim, case.with_op(position, counting))
    for position, mean in case.having(ops.AveragePool):
        dilations = (1,) * len(mean.kernel)
        most = ops.MaxPool(mean.kernel, mean.strides, mean.pads, dilations, mean.ceil_mode)
        yield case.edit("MaxPool instead of AveragePool", case.with_op(position, most))


@hypothesis("pool-ceil")
def pool_ceil(case: Case) -> Iterator[Edit]:
    """The number of windows was rounded the other way (``ceil_mode``), so that the last row and
    column are missing or additional.

    When rounding up, PyTorch leaves out a window that would start after the end of the input; older
    versions of ONNX Runtime keep it (pytorch#71549).
    """
    for position, op in case.having(ops.MaxPool, ops.AveragePool):
        steps = case.changed(position, ceil_mode=not op.ceil_mode)
        yield case.edit(
            f"the number of windows is rounded {'down' if op.ceil_mode else 'up'}", steps
        )
        sizes = case.input_of(position).shape[2:]
        ends = []
        for size, k, s, (before, after) in zip(sizes, op.kernel, op.strides, op.pads, strict=True):
            windows = -(-(size + before + after - k) // s) + 1
            ends.append((before, max(after, (windows - 1) * s + k - size - before)))
        if tuple(ends) != op.pads:
            steps = case.changed(position, ceil_mode=False, pads=tuple(ends))
            yield case.edit(
                "the number of windows is rounded up, including windows that start after the input",
                steps,
            )
