"""Mistakes of layers that split channels and weave them again, of columns, and of norms over
neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from probe import ops
from probe.hypotheses.edits.axes_of_channels import of_channels
from probe.hypotheses.edits.mapped_tensors import axis_name
from probe.hypotheses.precision.low_precision import summing
from probe.hypotheses.registry import hypothesis, more
from probe.numerics.precision import Precision
from probe.ops import Take
from probe.ops.base import Evaluated
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []


def _woven(case: Case) -> Iterator[tuple[int, ops.Reshape, ops.Transpose, ops.Reshape]]:
    """A Reshape, a Transpose and a Reshape in a row: pixel and channel shuffles."""
    for position in range(len(case.steps) - 2):
        first, middle, last = (step.op for step in case.steps[position : position + 3])
        row = all(
            case.steps[at].sources(at) == (Ref(at - 1),) for at in (position + 1, position + 2)
        )
        if (
            row
            and isinstance(first, ops.Reshape)
            and isinstance(middle, ops.Transpose)
            and isinstance(last, ops.Reshape)
        ):
            yield position, first, middle, last


def _split_axes(sizes: tuple[int, ...], parts: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(start, stop, axis) of the parts that each axis of more than one was split into."""
    found, at = [], 0
    for axis, size in enumerate(sizes):
        start, product = at, 1
        while at < len(parts) and (product < size or at == start):
            product *= parts[at]
            at += 1
        if at - start > 1:
            found.append((start, at, axis))
    return found


@more("group-axis")
def woven_otherwise(case: Case) -> Iterator[Edit]:
    """Channels of a shuffle split or put together in another order.

    PyTorch's PixelShuffle takes the channels as (channel, row, column), TensorFlow's depth_to_space
    and ONNX's DepthToSpace (DCR) as (row, column, channel). A channel shuffle of g groups is undone
    by one of channels / g groups.
    """
    for position, first, middle, last in _woven(case):
        shape = case.input_of(position).shape
        turned = tuple(first.shape[axis] for axis in middle.perm)
        # a patch has rows and columns: of one axis that is split and kept so there are none
        several = max(map(len, (_split_axes(shape, first.shape), _split_axes(last.shape, turned))))
        patches = bool(summing(case)) and shape[:1] == last.shape[:1] and shape != last.shape
        patches = patches and several > 1
        main = "patch-order" if patches else ""
        parts = "pixels and channels of a patch" if patches else "parts"
        for start, stop, axis in _split_axes(shape, first.shape):
            name, verb = _axis_that_is_split(case, position, axis)
            for order in permutations(range(start, stop)):
                where = [*range(start), *order, *range(stop, len(first.shape))]
                if where == sorted(where):
                    continue
                split = replace(first, shape=tuple(first.shape[axis] for axis in where))
                back = np.argsort(where)
                turn = replace(middle, perm=tuple(int(back[axis]) for axis in middle.perm))
                own, other = first.shape[start:stop], split.shape[start:stop]
                claim = f"{name} {verb} split as {other} instead of {own}"
                if own == other:
                    axes = tuple(axis - start for axis in order)
                    claim = f"{name} {verb} split as {own} with the axes in the order {axes}"
                yield case.edit(
                    claim,
                    _three(case, position, split, turn),
                    main=main,
                    do=f"split {name} as {own}",
                )
                if len(order) == 2:
                    yield case.edit(
                        f"{name} {verb} split as {other} and transposed, not as {own}",
                        case.with_op(position, split),
                        do=f"split {name} as {own} and transpose",
                    )
        yield from _other_numbers_of_groups(case, position, first)
        for start, stop, _ in _split_axes(last.shape, turned):
            for order in permutations(range(start, stop)):
                if list(order) != sorted(order):
                    perm = (
                        *middle.perm[:start],
                        *(middle.perm[axis] for axis in order),
                        *middle.perm[stop:],
                    )
                    yield case.edit(
                        f"the {parts} are put together with their axes in the order "
                        f"{tuple(axis - start for axis in order)}",
                        _three(case, position, first, replace(middle, perm=perm)),
                        main=main,
                        do="put them together without exchanging their axes",
                    )


def _other_numbers_of_groups(case: Case, position: int, first: ops.Reshape) -> Iterator[Edit]:
    """Channels that are split into groups and their parts, into another number of groups."""
    for start, stop, axis in _split_axes(case.input_of(position).shape, first.shape):
        name, verb = _axis_that_is_split(case, position, axis)
        own = first.shape[start:stop]
        if len(own) != 2:
            continue
        size = own[0] * own[1]
        for groups in range(2, size // 2 + 1):
            other = groups, size // groups
            if size % groups == 0 and other not in (own, own[::-1]):
                split = replace(first, shape=(*first.shape[:start], *other, *first.shape[stop:]))
                yield case.edit(
                    f"{name} {verb} split as {other} and transposed, not as {own}",
                    case.with_op(position, split),
                    do=f"split {name} as {own}",
                )


def _axis_that_is_split(case: Case, position: int, axis: int) -> tuple[str, str]:
    """An axis of what a step takes, with its verb: within a block channels only where a step says
    so, since it may be that of time steps or of positions."""
    (ref,) = case.steps[position].sources(position)
    if (not case.calls and axis) or of_channels(case, ref, axis):
        return "the channels", "are"
    return axis_name(case, ref, axis), "is"


def _three(case: Case, position: int, split: ops.Reshape, turn: ops.Transpose) -> tuple[Step, ...]:
    return case.became_steps(case.with_op(position, split)).with_op(position + 1, turn)


@more("flatten-order")
def columns_in_another_order(case: Case) -> Iterator[Edit]:
    """Columns with the taps first and the channels last, as TensorFlow's extract_patches gives
    them; PyTorch has channels first."""
    for position, op in case.having(ops.Im2Col):
        rows, taps = case.values[position][0].shape[1], int(np.prod(op.kernel))
        order = np.arange(rows).reshape(-1, taps).T.ravel()
        yield case.edit(
            "the columns are ordered with kernel positions first and channels last",
            case.appended(Take(1, order), at=position),
            do="order the columns with channels first and kernel positions last",
        )
    for position, image in case.having(ops.Col2Im):
        rows, taps = case.input_of(position).shape[1], int(np.prod(image.kernel))
        order = np.arange(rows).reshape(taps, -1).T.ravel()
        yield case.edit(
            "the columns are read with kernel positions first and channels last",
            case.inserted(position, Take(1, order)),
            do="read the columns with channels first and kernel positions last",
        )


@hypothesis("norm-over-neighbours")
def norm_over_neighbours(case: Case) -> Iterator[Edit]:
    """Local response normalisation with another window, or with alpha divided by the window size
    although the layer does not, or the reverse.

    PyTorch, Caffe and ONNX divide alpha by the number of channels in the window; TensorFlow does
    not. TensorFlow takes a radius, the others a size. For an even size the odd channel is on one
    side or the other.
    """
    for position, op in case.having(ops.LRN):
        if op.size != 1:
            yield case.edit(
                f"alpha is not divided by the window size {op.size}",
                case.changed(position, size=1),
                do=f"divide alpha by {op.size}",
            )
        reach = op.before + op.after
        other = [
            (op.after, op.before),
            (reach // 2, reach // 2),
            (op.size, op.size),
            (op.size - 1, op.size - 1),
            (0, 0),
        ]
        for before, after in dict.fromkeys(other):
            if (before, after) != (op.before, op.after):
                text = (
                    f"the window is {before} channels before and {after} after, instead of "
                    f"{op.before} and {op.after}"
                )
                yield case.edit(text, case.changed(position, before=before, after=after))
                yield case.edit(
                    f"{text}, and alpha is not divided",
                    case.changed(position, before=before, after=after, size=1),
                )
        for field, values in (
            ("beta", (0.5, 0.75, 1.0)),
            ("bias", (1.0, 2.0)),
            ("alpha", (1e-4, 1.0, 1e-5)),
        ):
            for value in values:
                if value != getattr(op, field):
                    steps = case.changed(position, **{field: value})
                    yield case.edit(f"{field} = {value:g} instead of {getattr(op, field):g}", steps)


@hypothesis("missing-centring")
def missing_centring(case: Case) -> Iterator[Edit]:
    """The mean was subtracted although the layer does not, or the reverse: layer normalisation
    instead of RMS normalisation."""
    for position, op in case.having(ops.RMSNormalization):
        layer = ops.LayerNormalization(scale=op.scale, bias=None, epsilon=op.epsilon, axes=op.axes)
        yield case.edit(
            "the mean is subtracted, as in layer normalisation",
            case.with_op(position, layer),
            do="do not subtract the mean",
        )
        if op.centred:
            text = "x is divided by its root mean square"
        else:
            text = "x is divided by its standard deviation"
        yield case.edit(text, case.changed(position, centred=not op.centred))
    for position, layer_norm in case.having(ops.LayerNormalization):
        rms = ops.RMSNormalization(
            scale=layer_norm.scale, epsilon=layer_norm.epsilon, axes=layer_norm.axes
        )
        steps = case.with_op(position, rms)
        yield case.edit(
            "the mean is not subtracted, as in RMS normalisation", steps, do="subtract the mean"
        )


@more("missing-centring")
def means_left_out(case: Case) -> Iterator[Edit]:
    """The mean that a norm of several steps subtracts, of one norm or of all."""
    norms: dict[Ref, list[int]] = {}
    for position, _ in case.having(ops.Sub):
        x, mean = case.steps[position].sources(position)
        if mean.step >= 0 and isinstance(case.steps[mean.step].op, ops.ReduceMean):
            if case.steps[mean.step].sources(mean.step) == (x,):
                norms.setdefault(mean, []).append(position)
    whole = sorted(at for places in norms.values() for at in places)
    for places in ([whole] if len(norms) > 1 else []) + list(norms.values()):
        steps = list(case.steps)
        for at in places:
            steps[at] = Step(ops.Identity(), steps[at].sources(at)[:1])
        which = " in any norm" if places is whole else ""
        yield case.edit(f"the mean is not subtracted{which}", tuple(steps), do="subtract the mean")


@dataclass(frozen=True, eq=False)
class _Recounted(ops.Op):
    """A pooling whose places are counted otherwise: in the whole tensor, or with the channels
    fastest."""

    op: ops.Op
    way: str

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        values, places = self.op.run(*inputs)
        shape = inputs[0].shape
        rank = values.ndim - 2
        batch, channel = (
            np.arange(n).reshape(-1, *(1,) * (rank + 1 - axis)) for axis, n in enumerate(shape[:2])
        )
        plane = int(np.prod(shape[2:]))
        match self.way:
            case "counted over the whole tensor":
                return values, places + (batch * shape[1] + channel) * plane
            case "counted over the sample":
                return values, places + channel * plane
            case "counted over the sample, channels last":
                return values, places * shape[1] + channel
            case "counted column by column":
                where = np.unravel_index(places, shape[2:])
                return values, np.ravel_multi_index(where[::-1], shape[:1:-1])
        return values, places + 1

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return self.op.error_bound(Evaluated(of.inputs, of.slacks, of.outputs), precision)


@hypothesis("place-counting")
def place_counting(case: Case) -> Iterator[Edit]:
    """The indices that max pooling returns are counted in another order, or not from 0.

    PyTorch counts within one channel plane, row by row; ONNX within the whole tensor, batch and
    channels included; TensorFlow's max_pool_with_argmax within one sample, channels last. Matlab
    and Fortran count columns first, and from 1.
    """
    ways = (
        "counted over the whole tensor",
        "counted over the sample",
        "counted over the sample, channels last",
    )
    for position, op in case.having(ops.MaxPoolIndices, ops.AdaptiveMaxPoolIndices):
        if case.input_of(position).ndim < 3:
            continue
        for way in (*ways, "counted column by column", "counted from 1"):
            steps = case.with_op(position, _Recounted(op, way))
            yield case.edit(
                f"the indices are {way}",
                steps,
                do="count them within one channel plane, row by row",
            )
