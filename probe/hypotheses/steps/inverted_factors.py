"""Two steps that scale or shift a tensor, both the other way round: divided where it is multiplied,
or the whole undone where it is done."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.registry import more
from probe.ops.base import Rearrangement
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__: list[str] = []

_INVERSE: dict[type, type[Any]] = {
    ops.Mul: ops.Div,
    ops.Div: ops.Mul,
    ops.Add: ops.Sub,
    ops.Sub: ops.Add,
}
_WORDS: dict[type, str] = {
    ops.Mul: "multiplied by",
    ops.Div: "divided by",
    ops.Add: "increased by",
    ops.Sub: "decreased by",
}


@more("changed-step")
def both_inverted(case: Case) -> Iterator[Changes]:
    """A factor and a divisor exchanged, a normalisation in place of what undoes it."""
    yield Changes(_inverted, "changed-step", STEPS)


class _Affine(NamedTuple):
    """A step that scales or shifts a tensor."""

    kind: type[Any]
    main: Ref
    by: Ref


def _affine(case: Case, position: int) -> _Affine | None:
    kind, sources = type(case.steps[position].op), case.steps[position].sources(position)
    if kind not in _INVERSE or len(sources) != 2 or position in of_parameters(case):
        return None
    for main, by in (sources, sources[::-1]):
        if shape_of(case, main) == shape_of(case, Ref(position)):
            if main.step not in of_parameters(case) and main != by:
                return _Affine(kind, main, by)
        if kind in (ops.Div, ops.Sub):
            break
    return None


def _inverted(case: Case) -> Iterator[Change]:
    for last in range(len(case.steps)):
        second = _affine(case, last)
        if second is None:
            continue
        between, ref = False, second.main
        while ref.step >= 0 and isinstance(case.steps[ref.step].op, Rearrangement):
            between, ref = True, case.steps[ref.step].sources(ref.step)[0]
        first = _affine(case, ref.step) if ref.step >= 0 else None
        if first is None or len(users_of(case)[ref]) > 1:
            continue
        steps = {
            ref.step: Step(_INVERSE[first.kind](), (first.main, first.by)),
            last: Step(_INVERSE[second.kind](), (second.main, second.by)),
        }
        yield Change(_told(case, first, second, False), "", steps, of=last)
        if not between:
            new = len(case.steps)
            steps = {
                new: Step(_INVERSE[second.kind](), (first.main, second.by)),
                last: Step(_INVERSE[first.kind](), (Ref(new), first.by)),
            }
            yield Change(_told(case, first, second, True), "", steps, of=last)


def _told(case: Case, first: _Affine, second: _Affine, undone: bool) -> str:
    x = tensor_name(case, first.main)
    both = [(_WORDS[part.kind], tensor_name(case, part.by)) for part in (first, second)]
    other = [
        (_WORDS[_INVERSE[part.kind]], tensor_name(case, part.by))
        for part in ((second, first) if undone else (first, second))
    ]
    own, inverse = (" and ".join(f"{word} {name}" for word, name in some) for some in (both, other))
    return f"{x} is {inverse}, not {own}"
