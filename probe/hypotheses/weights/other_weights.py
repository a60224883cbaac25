"""The layer with the weights that the values were computed with, solved for from the values."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.errors import absorbed
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.edits.step_words import place_name, step_name, tensor_name
from probe.hypotheses.registry import hypothesis, more
from probe.ops.step import Ref
from probe.trial.case import Case, once, users_of
from probe.trial.edit import Edit
from probe.weights_read_back.altered_weights import Proportion, altered, cut, proportions
from probe.weights_read_back.newton import iterated_weights, weights_of_recurrences
from probe.weights_read_back.read_back import Solved, solved_weights
from probe.weights_read_back.relations import is_a_table, relation

__all__ = ["more_samples"]

_DIGITS = 1e-7
"""What a table's rows may be off by, as a share of the largest, where nothing is rounded."""


@hypothesis("other-weights")
def other_weights(case: Case) -> Iterator[Edit]:
    """The layer was computed with other weights than it holds.

    Such as a file of another epoch, a row in the wrong place, a flipped bit, or a tensor that was
    quantised, pruned or read only in part. If a layer is linear in its weights, probe computes them
    from enough output values: ``Finding.recovered`` has them by name, in the framework's layout,
    and ``--save`` writes them. The claim says how they differ from the layer's own.
    """
    if case.allowed is None or not case.comparable:
        return
    edits, names = _linear(case)
    yield from (edit for edit in edits if edit.short or names >= case.weights.keys())


@more("other-weights")
def altered_weights(case: Case) -> Iterator[Edit]:
    """What weights may have become, one of them or all, tried where they are not solved for."""
    yield from altered(case)


@more("other-weights")
def fitted_weights(case: Case) -> Iterator[Edit]:
    """A weight that one number has changed, which is fitted: a factor, what was pruned or clipped;
    or a scale of the layer that the same factor changes."""
    for proportion in proportions(case):
        if proportion.explains:
            yield from _scales(case, proportion)
        yield proportion.edit
    yield from cut(case)


def _scales(case: Case, proportion: Proportion) -> Iterator[Edit]:
    """The numbers of the layer that multiply or divide, with that factor: a scale of scores is
    written wrongly more often than a weight is."""
    for position, op in case.having(ops.Attention):
        words = f"the scale of {step_name(case, position)} is"
        or_both = f", or query or key are {proportion.factor:.6g} x the layer's"
        scale, factor = float(op.scale), proportion.factor
        yield _rescaled(case, position, words, scale, factor, "scale", or_both)
    for position, constant in case.having(ops.Constant):
        users = users_of(case).get(Ref(position), ())
        kinds = {type(case.steps[user].op) for user in users}
        if constant.value.size == 1 and constant.value.dtype.kind == "f" and kinds in _FACTORS:
            factor = proportion.factor if ops.Mul in kinds else 1 / (proportion.factor or np.inf)
            words = f"the factor of {place_name(case, position)} is"
            if ops.Div in kinds:
                words = f"the divisor of {place_name(case, position)} is"
            yield _rescaled(case, position, words, float(constant.value.item()), factor, "value")


_FACTORS = ({ops.Mul}, {ops.Div})


def _rescaled(
    case: Case,
    position: int,
    words: str,
    number: float,
    factor: float,
    name: str,
    or_both: str = "",
) -> Edit:
    """``or_both``: what else has the same effect, which is told of a number that is no root."""
    other = number * factor
    root = next((n for n in range(2, _ROOTS) if abs(other**2 * n - 1) < _SAME), 0)
    said = f" (1 / sqrt({root}))" if root else ""
    root = next((n for n in range(2, _ROOTS) if abs(other**2 / n - 1) < _SAME), 0)
    said = f" (sqrt({root}))" if root else said
    op: Any = case.steps[position].op
    value = np.full_like(op.value, other) if isinstance(op, ops.Constant) else other
    return case.edit(
        f"{words} {other:.6g}{said} instead of {number:.6g}{'' if said else or_both}",
        case.changed(position, **{name: value}),
        do="multiply by the layer's factor",
        fitted=1,
        main="missing-scale",
        as_healthy=True,
    )


_ROOTS, _SAME = 1025, 1e-5
"""Of which whole numbers roots are told, and how near to one a number is that."""


@more("other-weights")
def weights_inside(case: Case) -> Iterator[Edit]:
    """Weights that the layer is not linear in, such as those in front of attention, and what takes
    many words to say."""
    if case.allowed is None or not case.comparable:
        return
    linear = _linear(case)
    solved = iterated_weights(case, case.allowed, linear.names)
    inside = [_edit(case, weights) for weights in solved]
    yield from sorted([*linear.edits, *inside], key=lambda edit: not edit.short)


class _Linear(NamedTuple):
    """What solves the linear systems of a layer, and the names of all the weights in these."""

    edits: list[Edit]
    names: set[str]


@once
def _linear(case: Case) -> _Linear:
    assert case.allowed is not None
    tried = list(solved_weights(case, case.allowed))
    solved = [attempt.result for attempt in tried if isinstance(attempt.result, Solved)]
    solved = [weights for weights in solved if _gives(case, weights)]
    solved = solved or list(weights_of_recurrences(case, case.allowed))
    names = {name for attempt in tried for name in attempt.names}
    return _Linear([_edit(case, weights) for weights in solved], names)


def _gives(case: Case, solved: Solved) -> bool:
    """Whether the layer gives about the party's values with those weights."""
    assert case.allowed is not None
    try:
        steps = case.with_weights(solved.arrays)
        made = np.asarray(recompute(steps, case.inputs, ran=case.budget.ran)[-1][0])
    except (ValueError, IndexError, TypeError) as error:
        absorbed(error)
        return False
    # where the layer's own values are 0 little is allowed, and others may stand now
    with np.errstate(all="ignore"):
        tolerance = 4 * float(np.max(case.allowed, initial=0.0)) + _DIGITS * float(
            np.abs(case.seen).max(initial=0.0)
        )
        off = np.abs(case.observed - made) > tolerance
    return not case.pick(off).any()


def _edit(case: Case, solved: Solved) -> Edit:
    """The layer with weights that were solved for, and how they differ from its own in words."""
    relations = [
        relation(
            name,
            case.weights[name].effective,
            array,
            partial(solved.centred, name),
            case.others,
            partial(_beside, case, name),
        )
        for name, array in solved.arrays.items()
    ]
    told = [relation for relation in relations if relation is not None]
    return case.edit(
        "; ".join(relation.words for relation in told) or "the weights differ in their last digits",
        case.with_weights(solved.arrays),
        do="get the weights that were used: --save FILE.npz, or report.findings[0].recovered",
        fitted=solved.freedoms,
        recovered=solved.arrays,
        main="tied-head" if any(is_a_table(relation.words) for relation in told) else "",
        short=len(told) == 1 and told[0].short,
    )


def _beside(case: Case, name: str) -> dict[str, np.ndarray]:
    """What the layer holds and computes in the shape of a parameter, and the first and last slice
    of what has one axis more."""
    shape = case.weights[name].effective.shape
    found = {
        other: weight.effective.astype(np.float64)
        for other, weight in case.weights.items()
        if other != name and weight.effective.shape == shape
    }
    for position, (array, *several) in enumerate(case.values[:-1]):
        if array.dtype.kind != "f" or several or array.ndim not in (len(shape), len(shape) + 1):
            continue
        words = tensor_name(case, Ref(position))
        if array.shape == shape:
            found.setdefault(words, array)
        for axis in range(array.ndim if array.ndim > len(shape) else 0):
            if array.shape[:axis] + array.shape[axis + 1 :] == shape:
                for at, which in ((0, "first"), (-1, "last")):
                    part = np.take(array, at, axis)
                    found.setdefault(f"the {which} slice along axis {axis} of {words}", part)
    return found


def more_samples(case: Case) -> str:
    """How many more samples would tell the weights that the values were computed with; "" where
    that is not known."""
    if case.allowed is None or not case.comparable:
        return ""
    tried = solved_weights(case, case.allowed)
    return next((attempt.result for attempt in tried if isinstance(attempt.result, str)), "")
