"""A single tensor that is kept in half precision: a state between the steps of a recurrence, a
table, what one call hands to the next."""

from collections.abc import Iterator
from itertools import chain, combinations, product

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import Changes
from probe.hypotheses.edits.grouped_changes import all_of
from probe.hypotheses.edits.mapped_tensors import tensors_of
from probe.hypotheses.edits.rewriting import inserted
from probe.hypotheses.edits.step_words import listed, tensor_name
from probe.hypotheses.precision.low_precision import StoredAs
from probe.hypotheses.registry import more
from probe.ops.base import Rearrangement
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step
from probe.trial.case import Case, users_of
from probe.trial.change import Change

__all__ = ["half_states", "is_small", "stored_in_half"]

_FORMATS = ("float16", "bfloat16")
_SMALL = 0.05
"""How large a difference rounding to a half format makes at most, as a share of the largest
value."""

_FEW = 3
"""Of how many states each choice of some is tried."""
_MOVING = (Rearrangement, ops.Pad, ops.Concat)
"""What gives values as it takes them."""


@more("reduced-precision")
def half_tensors(case: Case) -> Iterator[Changes]:
    """One tensor of a block, or the state of a recurrence between its steps, as float16 or
    bfloat16."""
    if is_small(case):
        yield Changes(_stored, "reduced-precision", only_new=True)


def is_small(case: Case) -> bool:
    """Whether the difference is one that rounding may make."""
    if not case.comparable:
        return False
    with np.errstate(invalid="ignore"):
        off = np.abs(case.seen - case.pick(case.healthy)).max(initial=0.0)
    return bool(off < _SMALL * np.abs(case.healthy).max(initial=0.0))


def _stored(case: Case) -> Iterator[Change]:
    if case.inner:
        yield from half_states(case)
        return
    if case.calls:
        yield from stored_in_half(case)


def stored_in_half(case: Case) -> Iterator[Change]:
    """One tensor that a step computes for others, stored in a half format."""
    last = len(case.steps) - 1
    for name, ref in product(_FORMATS, tensors_of(case)):
        computed = 0 <= ref.step < last and not isinstance(case.steps[ref.step].op, _MOVING)
        if computed and ref.of(case.inputs, case.values).dtype.kind == "f":
            yield inserted(case, ref, _narrow(name, ref), _words(case, ref, name))


def half_states(case: Case) -> Iterator[Change]:
    """What each step of a recurrence hands to the next, in half precision: for all that take it,
    or as it is handed on alone."""
    last = len(case.steps) - 1
    if not isinstance(case.steps[last].op, Outputs):
        return
    given = case.steps[last].sources(last)
    states = [ref for ref in dict.fromkeys(given) if ref.step >= 0]
    for name in _FORMATS:
        changes = [
            inserted(case, ref, _narrow(name, ref), _words(case, ref, name)) for ref in states
        ]
        sizes = range(len(changes), 0, -1) if len(changes) <= _FEW else (len(changes), 1)
        for some in chain.from_iterable(combinations(changes, size) for size in sizes):
            yield from filter(None, [all_of(some, case.steps)])
        for place, ref in enumerate(given):
            if given.count(ref) > 1 or len(users_of(case).get(ref, ())) > 1:
                sources = (*given[:place], Ref(last + 1), *given[place + 1 :])
                steps = {last: Step(case.steps[last].op, sources), last + 1: _narrow(name, ref)}
                yield Change(f"{_words(case, ref, name)} between the steps", "", steps)


def _narrow(name: str, ref: Ref) -> Step:
    return Step(StoredAs(name), (ref,))


def _words(case: Case, ref: Ref, name: str) -> str:
    return f"{listed([tensor_name(case, ref)])} stored as {name}"
