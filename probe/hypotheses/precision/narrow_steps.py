"""A tensor within a block stored in 16 bits, or a step or a call that computes in them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import call_name, listed, step_name
from probe.hypotheses.precision.half_tensors import is_small, stored_in_half
from probe.hypotheses.precision.low_precision import StoredAs
from probe.hypotheses.registry import more
from probe.ops.base import Rearrangement
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step, weights_of
from probe.trial.case import Case, users_of
from probe.trial.change import Change

__all__: list[str] = []

_FORMATS = ("float16", "bfloat16")


@more("reduced-precision")
def narrow_steps(case: Case) -> Iterator[Changes]:
    """A step or a call that computes in 16 bits, or what one step gives stored in them."""
    if case.calls or len(case.steps) > 1:
        yield Changes(_narrow, "reduced-precision", PARTS)


def _narrow(case: Case) -> Iterator[Change]:
    if case.inner:
        return
    floats = [at for at in range(len(case.steps)) if _is_float(case, Ref(at))]
    if not (case.calls and is_small(case)):  # of these half_tensors has tried them
        yield from stored_in_half(case)
    for name in _FORMATS:
        for some, words in (*_single(case, floats), *_calls(case, floats)):
            yield _computed_in(case, some, name, f"{words} computed in {name}")


def _is_float(case: Case, ref: Ref) -> bool:
    values = case.values[ref.step]
    return len(values) == 1 and np.asarray(values[0]).dtype.kind == "f"


def _single(case: Case, floats: Iterable[int]) -> Iterator[tuple[list[int], str]]:
    """The steps of several operands, or of one that is made of more than parameters."""
    constant = of_parameters(case)
    for at in floats:
        sources = case.steps[at].sources(at)
        moves = isinstance(case.steps[at].op, Rearrangement | Outputs)
        if at not in constant and sources and not moves and not weights_of((case.steps[at],)):
            yield [at], listed([step_name(case, at)])


def _calls(case: Case, floats: Iterable[int]) -> Iterator[tuple[list[int], str]]:
    """The steps of each call of several."""
    calls: dict[str, list[int]] = {}
    for at in floats:
        if "".join(case.calls[at : at + 1]) and not weights_of((case.steps[at],)):
            calls.setdefault(case.calls[at], []).append(at)
    for call, some in calls.items():
        if len([at for at in some if case.steps[at].sources(at)]) > 1:
            yield some, listed([call_name(case, call) or call])


def _computed_in(case: Case, some: list[int], name: str, what: str) -> Change:
    """Steps that round what they take and what they give."""
    results = {Ref(at) for at in some}
    taken = [ref for at in some for ref in case.steps[at].sources(at)]
    floats = [
        ref
        for ref in dict.fromkeys(taken)
        if np.asarray(ref.of(case.inputs, case.values)).dtype.kind == "f" and ref not in results
    ]
    free = len(case.steps)
    narrow = {ref: Ref(free + k) for k, ref in enumerate((*floats, *results))}
    steps = {place.step: Step(StoredAs(name), (ref,)) for ref, place in narrow.items()}
    users = {at for ref in results for at in users_of(case).get(ref, ())}
    for at in sorted({*some, *users}):
        step = case.steps[at]
        inside = narrow if at in some else {ref: narrow[ref] for ref in results}
        sources = tuple(inside.get(ref, ref) for ref in step.sources(at))
        steps[at] = replace(step, inputs=sources) if sources else step
    last = narrow.get(Ref(len(case.steps) - 1))
    return Change(what, "", steps, out=last, of=some[0])
