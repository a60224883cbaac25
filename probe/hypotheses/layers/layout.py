"""Mistakes of layout: the right numbers in another order."""

import math
from collections.abc import Iterator
from dataclasses import fields
from itertools import permutations

import numpy as np

from probe.hypotheses.edits.axes_of_channels import of_channels
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.registry import hypothesis
from probe.ops import BatchNormalization, Conv, GroupNormalization, MatMul, Reshape, Take, Transpose
from probe.ops.step import Ref
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_CONTIGUOUS = "a group is a block of contiguous channels"


@hypothesis("transposed-output")
def transposed_output(case: Case) -> Iterator[Edit]:
    """The values are right, but the axes are in another order.

    Channels first instead of channels last, height and width exchanged, or an array written in one
    order and read in another (``reshape`` used instead of ``transpose``). The sorted values are
    equal.
    """
    have, want = case.healthy.shape, case.observed.shape
    if case.healthy.size != case.observed.size or len(have) > 5:
        return
    do = f"bring the output to the layer's axes: {have}" + (
        f" ({', '.join(case.output_axes)})" if len(case.output_axes) == len(have) else ""
    )
    same = tuple(range(len(have)))
    perms = [
        perm
        for perm in permutations(same)
        if perm != same and tuple(have[axis] for axis in perm) != have
    ] + [
        perm
        for perm in permutations(same)
        if perm != same and tuple(have[axis] for axis in perm) == have
    ]
    for perm in perms:
        shape = tuple(have[axis] for axis in perm)
        if _moves_nothing(have, perm) and shape != want:
            continue
        if shape == want:
            yield case.edit(
                f"the axes of the output are in the order {perm}",
                case.appended(Transpose(perm)),
                do=do,
            )
    if have != want:
        yield case.edit(
            f"the values are right in row-major order, but their shape is {want}",
            case.appended(Reshape(want)),
            do=do,
        )
    for perm in perms:
        shape = tuple(have[axis] for axis in perm)
        if shape != want and not _moves_nothing(have, perm):
            claim = f"the output was written in the axis order {perm}, {shape}, and read as {want}"
            yield case.edit(claim, case.appended(Transpose(perm), Reshape(want)), do=do)
    if len(have) == len(want) and have == want:
        for perm in perms:
            shape = tuple(have[axis] for axis in perm)
            if shape != have and not _moves_nothing(have, perm):
                claim = f"the output was computed as {have}, read as {shape} and transposed back"
                yield case.edit(
                    claim,
                    case.appended(Reshape(shape), Transpose(tuple(np.argsort(perm).tolist()))),
                    do=do,
                )


def _moves_nothing(shape: tuple[int, ...], perm: tuple[int, ...]) -> bool:
    """Whether only axes of size 1 move."""
    wide = [axis for axis in perm if shape[axis] != 1]
    return wide == sorted(wide)


@hypothesis("flatten-order")
def flatten_order(case: Case) -> Iterator[Edit]:
    """A feature map was flattened in another order than the weights were trained with.

    Flattening (channels, height, width) gives another order than flattening (height, width,
    channels): the layer before is exact, and the dense layer after the flattening is wrong
    everywhere. Permute the rows of the matrix, or transpose before flattening.
    """
    do = "flatten in the framework's axis order, or permute the rows of the matrix once"
    for position, _ in case.having(MatMul):
        x = case.input_of(position)
        size = x.shape[-1]
        if x.ndim != 2:
            continue
        for first in range(2, size // 2 + 1):
            if size % first:
                continue
            steps = case.inserted(
                position,
                Reshape((x.shape[0], first, size // first)),
                Transpose((0, 2, 1)),
                Reshape(x.shape),
            )
            yield case.edit(
                (
                    f"the {size} inputs are read column by column, where the layer has them row by "
                    f"row of ({first}, {size // first})"
                ),
                steps,
                do=do,
            )
    for position, op in case.having(Reshape):
        x = case.input_of(position)
        if len(op.shape) >= x.ndim or x.ndim > 5:
            continue
        name = tensor_name(case, case.steps[position].sources(position)[0])
        for perm in permutations(range(1, x.ndim)):
            if not _moves_nothing(x.shape, (0, *perm)):
                yield case.edit(
                    f"{name} was flattened in the axis order {(0, *perm)}",
                    case.inserted(position, Transpose((0, *perm))),
                    do=do,
                )


@hypothesis("reversed-channels")
def reversed_channels(case: Case) -> Iterator[Edit]:
    """The channels are in reverse order, such as BGR instead of RGB.

    OpenCV and Caffe read images as BGR; most models of the frameworks expect RGB.
    """
    do = "reverse this axis back, such as BGR to RGB"
    x = case.inputs[0]
    for axis in dict.fromkeys((1, x.ndim - 1)):
        if x.ndim > 1 and x.shape[axis] > 1:
            inputs = (np.flip(x, axis), *case.inputs[1:])
            yield case.edit(
                f"axis {axis} of the input ({x.shape[axis]} elements) is reversed",
                inputs=inputs,
                main=_slug_of_reversed(case, Ref(-1), axis),
                do=do,
            )
    y = case.healthy
    for axis in range(1, y.ndim):
        if y.shape[axis] > 1:
            order = range(y.shape[axis] - 1, -1, -1)
            yield case.edit(
                f"axis {axis} of the output is reversed",
                case.appended(Take(axis, list(order))),
                main=_slug_of_reversed(case, Ref(len(case.steps) - 1), axis),
                do=do,
            )


def _slug_of_reversed(case: Case, ref: Ref, axis: int) -> str:
    """What an edit is named that reverses an axis: of time steps or places no channels."""
    return "rearranged-tensor" if of_channels(case, ref, axis) is False else ""


@hypothesis("wrong-axis")
def wrong_axis(case: Case) -> Iterator[Edit]:
    """Softmax, normalisation or concatenation along another axis.

    ``axis=1`` and ``axis=-1`` are the same for two dimensions and differ for four; channels are
    axis 1 in PyTorch and the last axis in Keras.
    """
    for position, op in case.having(object):
        names = {part.name for part in fields(op)}
        shape = case.input_of(position).shape
        rank = len(shape)
        if "axis" in names and not isinstance(op, Take):
            for axis in range(rank):
                # Parameters go along another axis only where it is as long; NumPy would broadcast
                # them along one of length 1.
                fits = shape[axis] == shape[op.axis % rank] or not isinstance(
                    op, BatchNormalization
                )
                if axis != op.axis % rank and fits:
                    yield case.edit(
                        f"{op_words(op)} over axis {axis} instead of {op.axis}",
                        case.changed(position, axis=axis),
                        do=f"take axis {op.axis}",
                    )
        if "axes" in names and isinstance(op.axes, tuple) and op.axes:
            parameters = [
                getattr(op, name) for name in names if isinstance(getattr(op, name), Weight)
            ]
            for axes in _others(op.axes, rank):
                if parameters and not _fits(shape, axes, parameters[0].value.size):
                    continue
                yield case.edit(
                    f"{op_words(op)} over axes {axes} instead of {op.axes}",
                    case.changed(position, axes=axes),
                    do=f"take axes {op.axes}",
                )


def _others(axes: tuple[int, ...], rank: int) -> Iterator[tuple[int, ...]]:
    for mask in range(1, 2**rank):
        chosen = tuple(axis for axis in range(rank) if mask >> axis & 1)
        if chosen != tuple(sorted(axis % rank for axis in axes)):
            yield chosen


def _fits(shape: tuple[int, ...], axes: tuple[int, ...], size: int) -> bool:
    return math.prod(shape[axis] for axis in axes) == size


@hypothesis("group-axis")
def group_axis(case: Case) -> Iterator[Edit]:
    """The groups were formed from interleaved channels instead of contiguous ones, or there are
    more or fewer of them.

    Group g of G contains the contiguous channels from g * (C/G) on in every framework; taking every
    G-th channel is another grouping.
    """
    for position, op in case.having(Conv, GroupNormalization):
        if op.groups < 2:
            continue
        if isinstance(op, GroupNormalization):
            yield from _groups_of_normalization(case, position, op)
        else:
            yield from _groups_of_convolution(case, position, op)


def _interleaved(channels: int, groups: int) -> np.ndarray:
    """The channels in the order of groups that each take every ``groups``-th one."""
    return np.arange(channels).reshape(channels // groups, groups).T.ravel()


def _groups_of_normalization(case: Case, position: int, op: GroupNormalization) -> Iterator[Edit]:
    groups, channels = op.groups, case.input_of(position).shape[1]
    for other in {channels // groups, channels, 1} - {groups}:
        size = channels // other
        yield case.edit(
            f"{other} group{'s' * (other > 1)} of {size} channel{'s' * (size > 1)} "
            f"instead of {groups} groups of {channels // groups}",
            case.changed(position, groups=other),
            do=f"form {groups} groups of {channels // groups} channels",
        )
    weave = _interleaved(channels, groups)
    parts = {
        name: Weight(weight.name, None, weight.value[weave])
        for name in ("scale", "bias")
        if (weight := getattr(op, name)) is not None
    }
    changed = case.became_steps(case.changed(position, **parts))
    steps = changed.appended(Take(1, np.argsort(weave)), at=position)
    steps = case.became_steps(steps).inserted(position, Take(1, weave))
    yield case.edit(f"the {groups} groups are interleaved", steps, do=_CONTIGUOUS)


def _groups_of_convolution(case: Case, position: int, op: Conv) -> Iterator[Edit]:
    groups = op.groups
    channels, outputs = case.input_of(position).shape[1], case.values[position][0].shape[1]
    weave = _interleaved(channels, groups)
    out = _interleaved(outputs, outputs // groups)
    if channels > groups:
        yield case.edit(
            "the input channels of the groups are interleaved",
            case.inserted(position, Take(1, weave)),
            do=_CONTIGUOUS,
        )
    if outputs <= groups:
        return
    yield case.edit(
        "the output channels are interleaved",
        case.appended(Take(1, out), at=position),
        do=_CONTIGUOUS,
    )
    if op.bias is not None:
        bias = Weight(op.bias.name, None, op.bias.value[np.argsort(out)])
        unmoved = case.became_steps(case.changed(position, bias=bias))
        yield case.edit(
            f"the output channels are interleaved before {op.bias.name} is added",
            unmoved.appended(Take(1, out), at=position),
            do=_CONTIGUOUS,
        )
    if channels > groups:
        both = case.became_steps(case.appended(Take(1, out), at=position))
        yield case.edit(
            "input and output channels are interleaved",
            both.inserted(position, Take(1, weave)),
            do=_CONTIGUOUS,
        )
