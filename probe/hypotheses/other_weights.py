"""The layer with the weights that the values were computed with, solved for from the values."""

from collections.abc import Iterator

from probe.hypotheses.case import Case, Edit
from probe.hypotheses.registry import hypothesis, more
from probe.hypotheses.weight_relations import altered, relation
from probe.hypotheses.weights_read_back import Solved, solved_weights

__all__ = ["more_samples"]


@hypothesis("other-weights", last=True)
def other_weights(case: Case) -> Iterator[Edit]:
    """The layer was computed with other weights than it holds.

    A file of another epoch, a row in the wrong place, a flipped bit, a tensor quantised, pruned or
    read only in part. Where a layer is linear in its weights they follow from enough values:
    ``Finding.recovered`` holds them by name, in the framework's layout, and ``--save`` writes them.
    The claim says how they differ from the layer's own.
    """
    for solved in _solved(case):
        if isinstance(solved, str):
            continue
        relations = [
            relation(name, case.weights[name].effective, array)
            for name, array in solved.arrays.items()
        ]
        told = [one for one in relations if one is not None]
        yield case.edit(
            "; ".join(one.words for one in told) or "the weights differ in their last digits",
            case.with_weights(solved.arrays),
            do="the weights used: --save FILE.npz, or report.findings[0].recovered",
            fitted=solved.freedoms,
            recovered=solved.arrays,
            short=len(told) == 1 and told[0].short,
        )


@more("other-weights", last=True)
def altered_weights(case: Case) -> Iterator[Edit]:
    """What weights may have become, tried where the values are too few to solve for them."""
    for name, weight in case.weights.items():
        for words, array in altered(name, weight.effective):
            yield case.edit(words, case.with_weights({name: array}))


def more_samples(case: Case) -> str:
    """How many more samples would tell the weights that the values were computed with; "" where
    that is not known."""
    return next((one for one in _solved(case) if isinstance(one, str)), "")


def _solved(case: Case) -> Iterator[Solved | str]:
    if case.allowed is not None and case.comparable:
        yield from solved_weights(case, case.allowed, case.over)
