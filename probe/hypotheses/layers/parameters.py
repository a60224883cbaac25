"""Mistakes with the parameters: the wrong values, the wrong order, one left out."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, permutations

import numpy as np

from probe.hypotheses.data.mean_std_order import means_and_deviations
from probe.hypotheses.edits.grouped_changes import all_and_each
from probe.hypotheses.layers.patch_order import is_of_patches
from probe.hypotheses.layers.tied_head import tables_for_heads
from probe.hypotheses.registry import hypothesis
from probe.ops import (
    BatchNormalization,
    Beside,
    Conv,
    ConvTranspose,
    GroupNormalization,
    Identity,
    LayerNormalization,
    MatMul,
    RMSNormalization,
)
from probe.ops.step import Step
from probe.ops.weight import Weight
from probe.trial.case import Case, without_layer_number
from probe.trial.edit import Edit, Steps

__all__: list[str] = []

_NORMS = (BatchNormalization, LayerNormalization, GroupNormalization, RMSNormalization)


@hypothesis("raw-weights")
def raw_weights(case: Case) -> Iterator[Edit]:
    """The stored weights were used instead of the effective ones.

    ``get_weights()`` and ``state_dict()`` return what is stored. A quantised, pruned,
    re-parametrised or folded layer multiplies by other values (the effective weights); few distinct
    effective values are typical. Multiply by ``report.weights[...].effective``.
    """
    raw = {
        name: weight.stored
        for name, weight in case.weights.items()
        if weight.stored is not None
        and weight.stored.shape == weight.effective.shape
        and not np.array_equal(weight.stored, weight.effective)
    }
    for names in all_and_each(list(raw)):
        if len(names) < len(raw):
            alone = f" (only the {names[0]}; the other weights are effective ones)"
        else:
            alone = ""
        yield case.edit(
            f"the stored {_listed(names)} instead of the effective values{alone}",
            case.with_weights({name: raw[name] for name in names}),
            do="use the effective weights: "
            + ", ".join(f"report.weights[{name!r}].effective" for name in names)
            + ", or --save FILE.npz",
        )

    for name, weight in case.weights.items():
        for part, array in weight.parts.items():
            if array.shape == weight.effective.shape and not np.array_equal(
                array, weight.effective
            ):
                claim = (
                    f"the stored {part} is used as {name}, which is computed from "
                    f"{_listed(tuple(weight.parts))}"
                )
                yield case.edit(
                    claim,
                    case.with_weights({name: array}),
                    do=f"use report.weights[{name!r}].effective",
                )

    beside = list(case.having(Beside))
    for left in all_and_each(beside):
        added = _listed(tuple(op.words for _, op in left))
        alone = " alone" if left is beside else ""
        yield case.edit(
            f"the stored {left[0][1].weight}{alone}, without {added}",
            _without(case, [position for position, _ in left]),
            do=f"add {added}",
        )


def _without(case: Case, positions: list[int]) -> Steps:
    """The steps in which nothing is added beside the layer at these positions."""
    steps = list(case.steps)
    for position in positions:
        own, *_ = steps[position].sources(position)
        steps[position] = Step(Identity(), (own,))
    return tuple(steps)


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + " and " + names[-1]


@hypothesis("missing-bias")
def missing_bias(case: Case) -> Iterator[Edit]:
    """The bias is missing, or was added twice.

    The difference is one constant per output channel, equal to the bias (with an activation after
    it, only where the activation does not saturate).
    """
    for position, op in case.having(Conv, MatMul, ConvTranspose):
        if op.bias is not None and op.bias.effective.any():
            name = op.bias.name
            yield case.edit(
                f"{name} is not added",
                case.changed(position, bias=None),
                do=f"add {name}, one number per output channel",
            )
            yield case.edit(
                f"{name} is added twice",
                case.with_weights({name: 2 * op.bias.effective}),
                do=f"add {name} once",
            )


@hypothesis("flipped-kernel")
def flipped_kernel(case: Case) -> Iterator[Edit]:
    """True convolution instead of cross-correlation.

    ``np.convolve``, ``scipy.signal.convolve2d`` and textbooks flip the kernel; the frameworks'
    layers do not. Only symmetric kernels hide this; padding "valid" does not. A transposed
    convolution written as a convolution of the spread input needs the kernel flipped.
    """
    for position, op in case.having(Conv, ConvTranspose):
        if op.weight is None or math.prod(op.weight.value.shape[2:]) == 1:
            continue
        spatial = tuple(range(2, op.weight.value.ndim))
        for axes in (spatial, *((axis,) for axis in spatial if len(spatial) > 1)):
            flipped = _mapped(op.weight, partial(np.flip, axis=axes))
            if axes == spatial:
                along = "every spatial axis"
            else:
                along = f"spatial axis {axes[0] - 2} only"
            do = ""
            if isinstance(op, Conv):
                do = (
                    "the layer is a cross-correlation: use scipy.signal.correlate2d, or flip "
                    "the kernel before convolving"
                )
            changed = case.changed(position, weight=flipped)
            yield case.edit(f"{op.weight.name} was flipped along {along}", changed, do=do)


def _mapped(weight: Weight, function: Callable[[np.ndarray], np.ndarray]) -> Weight:
    """A weight with a function applied in the op's layout, to what is stored too."""
    stored = weight.stored
    same = stored is not None and stored.shape == weight.effective.shape
    return Weight(
        weight.name,
        function(weight.to_op(stored)) if stored is not None and same else None,
        function(weight.value),
    )


@hypothesis("transposed-kernel")
def transposed_kernel(case: Case) -> Iterator[Edit]:
    """Axes of the kernel are swapped, or its values were read in another order.

    Height and width exchanged, a square matrix transposed, or a buffer written as (height, width,
    in, out) and read as (out, in, height, width) without moving the axes. Nearly every element is
    wrong.
    """
    for position, op in case.having(Conv, MatMul, ConvTranspose):
        weight = op.weight
        if weight is None:
            continue
        have = weight.effective
        out = weight.axes[0] if weight.axes else 0
        patches = isinstance(op, Conv) and is_of_patches(op)  # of which patch-order tells more
        for perm in permutations(range(have.ndim)):
            if perm == tuple(range(have.ndim)) or (patches and perm[out] == out):
                continue
            shape = tuple(have.shape[axis] for axis in perm)
            if shape == have.shape:
                claim = (
                    f"{weight.name} {have.shape} is transposed: its axes are in the order {perm}"
                )
                yield _exchanged(case, position, weight, partial(np.transpose, axes=perm), claim)
        groups = getattr(op, "groups", 1)
        if groups > 1:
            read = _mapped(weight, partial(_by_group, groups=groups))
            yield case.edit(
                f"the first two axes of {weight.name} {have.shape} are read in the other order, "
                "group by group",
                case.changed(position, weight=read),
                do=f"use {weight.name} as the framework holds it: {weight.effective.shape}",
            )
        orders = _usual_orders(have.ndim)
        if have.size <= 1 << 18 or case.thorough:
            orders = tuple(dict.fromkeys((*orders, *permutations(range(have.ndim)))))
        for perm in orders:
            shape = tuple(have.shape[axis] for axis in perm)
            if shape == have.shape or (patches and perm[out] == out):
                continue
            claim = (
                f"the values of {weight.name} {have.shape} are read as an array of shape {shape}"
            )
            yield _exchanged(
                case, position, weight, partial(_read_as, shape=shape, perm=perm), claim
            )
            claim = (
                f"{weight.name} is written with the shape {shape} and its values read as "
                f"{have.shape}"
            )
            yield _exchanged(case, position, weight, partial(_written_as, perm=perm), claim)


def _by_group(array: np.ndarray, groups: int) -> np.ndarray:
    """Kernels (groups * out, in, ...) whose values are read as (groups * in, out, ...)."""
    first, second, *kernel = array.shape
    split = array.reshape(groups, second, first // groups, *kernel)
    return split.swapaxes(1, 2).reshape(array.shape)


def _usual_orders(rank: int) -> tuple[tuple[int, ...], ...]:
    """(out, in, *k) to (*k, in, out) and back, all reversed, the second axis to the end and the
    last to the second place, the first two exchanged."""
    if rank < 3:
        return tuple(permutations(range(rank)))
    spatial = tuple(range(rank - 2))
    there, back = (*range(2, rank), 1, 0), (rank - 1, rank - 2, *spatial)
    return (
        there,
        back,
        tuple(reversed(range(rank))),
        (0, *range(2, rank), 1),
        (0, rank - 1, *range(1, rank - 1)),
        (1, 0, *range(2, rank)),
    )


def _read_as(array: np.ndarray, shape: tuple[int, ...], perm: tuple[int, ...]) -> np.ndarray:
    return array.reshape(shape).transpose(np.argsort(perm))


def _written_as(array: np.ndarray, perm: tuple[int, ...]) -> np.ndarray:
    return array.transpose(perm).reshape(array.shape)


def _exchanged(
    case: Case,
    position: int,
    weight: Weight,
    function: Callable[[np.ndarray], np.ndarray],
    claim: str,
) -> Edit:
    """The edit in which a function was applied to a weight in the framework's layout."""
    stored = weight.stored
    same = stored is not None and stored.shape == weight.effective.shape
    before = function(stored) if stored is not None and same else None
    changed = replace(weight, stored=before, effective=function(weight.effective))
    return case.edit(
        claim,
        case.changed(position, weight=changed),
        do=f"use {weight.name} as the framework holds it: {weight.effective.shape}, not transposed",
    )


@hypothesis("swapped-parameters")
def swapped_parameters(case: Case) -> Iterator[Edit]:
    """Two parameters of the same shape are exchanged.

    Gamma and beta, or mean and variance: files store them in different orders (Keras: gamma, beta,
    mean, variance; Caffe: mean, variance, then scale and shift). Or each is quantised with the
    other's quantiser.
    """
    told = {*means_and_deviations(case), *tables_for_heads(case)}
    alike = [
        (first, second)
        for first, second in combinations(case.weights.values(), 2)
        if first.effective.shape == second.effective.shape
        and (first.effective.dtype.kind in "iu") == (second.effective.dtype.kind in "iu")
        and frozenset((first.name, second.name)) not in told
    ]
    for first, second in alike:
        if len(alike) > _PAIRS and not _related(first.name, second.name):
            continue
        if np.array_equal(first.effective, second.effective):
            continue
        swapped = {first.name: second.effective, second.name: first.effective}
        yield case.edit(
            f"{first.name} and {second.name} are exchanged",
            case.with_weights(swapped),
            do="match parameters by name",
        )
        for into, used in ((first, second), (second, first)):
            if (used.effective == 0).all() or (used.effective == 1).all():
                continue  # as good as leaving the other one out, which is what is done
            yield case.edit(
                f"{used.name} is also used in place of {into.name}",
                case.with_weights({into.name: used.effective}),
                do="match parameters by name",
            )


_PAIRS = 64
"""Of more pairs of parameters, as a network of several layers has, only those are exchanged that
stand beside one another, or at the same place of two layers."""


def _related(first: str, second: str) -> bool:
    beside = (name.rpartition(".")[0].rpartition(".")[0] for name in (first, second))
    return len({*beside}) == 1 or without_layer_number(first) == without_layer_number(second)


@hypothesis("missing-parameter")
def missing_parameter(case: Case) -> Iterator[Edit]:
    """A parameter was ignored: gamma or beta of a normalisation, or the variance.

    For example because ``scale``, ``center`` or ``affine`` was assumed to be off. The error is a
    factor or an offset per channel.
    """
    for position, op in case.having(*_NORMS):
        held = {
            name: weight
            for name in ("scale", "bias", "variance")
            if (weight := getattr(op, name, None)) is not None
        }
        present = list(held)
        for names in (*((name,) for name in present), ("scale", "bias")):
            if all(name in present for name in names):
                text = " and ".join(held[name].name for name in names)
                verb = "is" if len(names) == 1 else "are"
                yield case.edit(
                    f"{text} {verb} not applied",
                    case.changed(position, **dict.fromkeys(names)),
                    do=f"apply {text}",
                )


@hypothesis("batchnorm-fold")
def batchnorm_fold(case: Case) -> Iterator[Edit]:
    """A batch normalisation was folded incorrectly into the preceding layer.

    The folded bias is (bias - mean) * gain + beta. Without the bias or the mean, the error is a
    constant offset per channel; without the gain, it is a ratio.
    """
    for position, op in case.having(BatchNormalization):
        if op.mean is not None:
            yield case.edit(
                f"the mean is not subtracted: {op.mean.name} * gain is missing from the offset",
                case.changed(position, mean=None),
                do="the folded bias is (bias - mean) * gain + beta",
            )
            yield case.edit(
                f"{op.mean.name} is added instead of subtracted",
                case.with_weights({op.mean.name: -op.mean.effective}),
            )
        for before, sums in case.having(Conv, MatMul):
            if before < position and sums.bias is not None:
                yield case.edit(
                    f"the fold lost {sums.bias.name}",
                    case.changed(before, bias=None),
                    do="the folded bias is (bias - mean) * gain + beta",
                )
