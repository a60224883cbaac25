"""A loop that runs once or twice more, or some times less, or with one pass left out or run twice:
a layer, an iteration or a time step too many or too few."""

from collections.abc import Iterator

from probe.hypotheses.edits.loop_changes import behind_loop
from probe.hypotheses.edits.loops import Loop, loops, repetitions
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import step_name, steps_name
from probe.ops import Parameter
from probe.ops.step import Ref, Step, weights_of
from probe.trial.case import Case, users_of
from probe.trial.change import Change

__all__ = ["ended_early", "passes_left_out", "run_otherwise"]

_REPETITIONS = 6
"""How many runs of steps that stand several times are looked at."""
_MORE, _LESS, _ALONE = 2, 3, 12
"""How many passes more or less, and of how many each is left out."""


def run_otherwise(case: Case) -> Iterator[Change]:
    """Loops that hand something on, with passes more, which repeat the last, or less."""
    for loop in loops(case):
        outside = [place for place, index in loop.given if index < 0]
        if loop.passes in loop.part or not loop.carried() or not outside:
            continue
        last = {place: Ref(loop.start + (loop.passes - 1) * loop.size + place) for place in outside}
        for less in range(1, min(_LESS, loop.passes - 1) + 1):
            fewer = {ref: Ref(ref.step - less * loop.size) for ref in last.values()}
            yield _run(loop, len(loop.numbers) - less, {}, fewer)
        steps: dict[int, Step] = {}
        for more in range(1, _MORE + 1):
            steps |= _once_more(loop, more)
            first = len(case.steps) + (more - 1) * loop.size
            names = {ref: Ref(first + place) for place, ref in last.items()}
            yield _run(loop, len(loop.numbers) + more, dict(steps), names)
        for number in range(loop.passes - 1) if loop.passes <= _ALONE else ():
            again = _once_more(loop, 1, number)
            names = {ref: Ref(_place(loop, ref, number)) for ref in _handed(loop, number)}
            yield _one_pass(loop, number, "run twice", names, again)


def ended_early(case: Case) -> Iterator[Change]:
    """Loops that end some passes earlier, those as well that have few passes or of which the last
    one lacks what nothing takes. Of several layers, each with its own weights, one is left out."""
    constant = of_parameters(case)
    for repetition in repetitions(case)[:_REPETITIONS]:
        end = repetition.before + repetition.size + repetition.length
        last = [
            at
            for at in range(end - min(repetition.size, repetition.length), end)
            if at not in constant
        ]
        shown = [at for at in last if _taken_behind(case, at, end)]
        if any(_weights(case, at) != _weights(case, at - repetition.size) for at in last):
            continue
        for less in range(1, min(_LESS, repetition.length // repetition.size + 1) + 1):
            names = {Ref(at): Ref(at - less * repetition.size) for at in shown}
            if shown and min(ref.step for ref in names.values()) >= repetition.before:
                yield _ends_with(case, end, names, less)


def _taken_behind(case: Case, at: int, end: int) -> bool:
    """Whether a step from ``end`` on takes what a step gives, or the layer gives it."""
    takers = users_of(case).get(Ref(at), ())
    return at == len(case.steps) - 1 or any(taker >= end for taker in takers)


def _weights(case: Case, at: int) -> set[str]:
    """The names of the weights that a step takes."""
    taken = [case.steps[ref.step] for ref in case.steps[at].sources(at) if ref.step >= 0]
    own = [step for step in taken if isinstance(step.op, Parameter)]
    return set(weights_of((case.steps[at], *own)))


def _ends_with(case: Case, end: int, names: dict[Ref, Ref], less: int) -> Change:
    steps = {
        at: Step(case.steps[at].op, tuple(names.get(ref, ref) for ref in sources))
        for at in range(end, len(case.steps))
        if not names.keys().isdisjoint(sources := case.steps[at].sources(at))
    }
    passes = f"{less} pass{'es' * (less > 1)}"
    what = f"the loop that ends with {step_name(case, end - 1)} ends {passes} earlier"
    return Change(what, "", steps, names.get(Ref(len(case.steps) - 1)), of=end - 1)


def passes_left_out(case: Case) -> Iterator[Change]:
    """One pass of a loop that hands something on left out, but the last."""
    for loop in loops(case):
        for number in range(loop.passes - 1) if loop.passes <= _ALONE else ():
            handed = _handed(loop, number)
            names = {ref: loop.inputs[index][number] for ref, index in handed.items()}
            if names:
                yield _one_pass(loop, number, "left out", names, {})


def _handed(loop: Loop, number: int) -> dict[Ref, int]:
    """What a pass hands on, and as which of the inputs of the next."""
    begin = loop.start + number * loop.size
    return {Ref(begin + place): index for index, place in loop.carried().items()}


def _one_pass(
    loop: Loop, number: int, words: str, names: dict[Ref, Ref], steps: dict[int, Step]
) -> Change:
    """All behind a pass that takes other tensors in place of what it hands on."""
    case, begin = loop.case, loop.start + number * loop.size
    taking = {
        at: Step(case.steps[at].op, tuple(names.get(ref, ref) for ref in sources))
        for at in range(begin + loop.size, len(case.steps))
        if not names.keys().isdisjoint(sources := case.steps[at].sources(at))
    }
    span = range(begin, begin + loop.size)
    what = f"{steps_name(case, span)} {words}"
    return Change(what, "", {**taking, **steps}, of=begin)


def _place(loop: Loop, ref: Ref, number: int) -> int:
    """Where a step of a pass stands that is run once more behind the layer's."""
    return len(loop.case.steps) + ref.step - loop.start - number * loop.size


def _once_more(loop: Loop, which: int, number: int = -1) -> dict[int, Step]:
    """The steps of a pass, the last, behind it, or behind one of those that were added."""
    case, carried = loop.case, loop.carried()
    begin = loop.start + number % loop.passes * loop.size
    first = len(case.steps) + (which - 1) * loop.size
    before = begin if which == 1 else first - loop.size
    names = {loop.inputs[index][number]: Ref(before + place) for index, place in carried.items()}
    names |= {Ref(begin + place): Ref(first + place) for place in range(loop.size)}
    return {
        first + place: Step(
            case.steps[begin + place].op,
            tuple(names.get(ref, ref) for ref in case.steps[begin + place].sources(begin + place)),
        )
        for place in range(loop.size)
    }


def _run(loop: Loop, times: int, steps: dict[int, Step], names: dict[Ref, Ref]) -> Change:
    case = loop.case
    what = f"the loop that ends with {step_name(case, loop.end - 1)} runs {times} "
    what += f"time{'s' * (times != 1)}, not {len(loop.numbers)}"
    out = names.get(Ref(len(case.steps) - 1))
    return Change(what, "", {**behind_loop(loop, names), **steps}, out, of=loop.start)
