"""Which of a block's own steps a mistake does otherwise, and the lines of source that make them."""

from collections.abc import Hashable, Sequence

from probe.ops.step import Ref
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps

__all__ = ["changed_steps", "code_of"]

_MOST = 3
"""So many lines tell where a mistake is; more of them do not."""


def code_of(case: Case, edits: Sequence[Edit]) -> tuple[str, ...]:
    """The lines of the model's own source that make the calls which these edits do otherwise; ()
    where that are many."""
    calls = [call for edit in edits for call in _calls(case, edit)]
    found = dict.fromkeys(case.sites[call].code for call in calls if call in case.sites)
    lines = tuple(filter(None, found))
    return lines if len(lines) <= _MOST else ()


def _calls(case: Case, edit: Edit) -> list[str]:
    if edit.calls:
        return list(edit.calls)
    changed = changed_steps(case, edit)
    changed = _no_longer_taken(case, edit, changed) or changed
    return [case.calls[at] for at in changed if at < len(case.calls)]


def _no_longer_taken(case: Case, edit: Edit, takers: Sequence[int]) -> list[int]:
    """The steps whose outputs these took, where nothing in the edit takes them: what stands in
    their place was done otherwise."""
    taken = {maker for at in range(len(edit.steps)) for maker in _taken(edit.steps, at)}
    refs = dict.fromkeys(ref for at in takers for ref in case.steps[at].sources(at))
    return [ref.step for ref in refs if ref.step >= 0 and _maker(case.steps, ref) not in taken]


def changed_steps(case: Case, edit: Edit) -> list[int]:
    """The layer's own steps that have another op in an edit, or are not in it; where all are, those
    that take other tensors."""
    new = {id(step.op) for step in edit.steps}
    gone = [at for at, step in enumerate(case.steps) if id(step.op) not in new]
    if gone:
        return gone
    own = {id(step.op): at for at, step in enumerate(case.steps)}
    return [
        own[id(step.op)]
        for at, step in enumerate(edit.steps)
        if id(step.op) in own and _taken(edit.steps, at) != _taken(case.steps, own[id(step.op)])
    ]


def _taken(steps: Steps, position: int) -> list[Hashable]:
    return [_maker(steps, ref) for ref in steps[position].sources(position)]


def _maker(steps: Steps, ref: Ref) -> Hashable:
    if ref.step < 0:
        return ref
    return id(steps[ref.step].op), ref.index
