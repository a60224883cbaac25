"""A change of one pass of a loop, whose steps are a case, made in every pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

from probe.hypotheses.edits.early_passes import early_passes
from probe.hypotheses.edits.grouped_changes import all_of, shared
from probe.hypotheses.edits.loops import Loop, alike_loops, without_count
from probe.hypotheses.edits.step_words import ordinal, tensor_name
from probe.ops.base import Op
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step
from probe.trial.case import Case, once
from probe.trial.change import Change

__all__ = ["behind_loop", "body_of", "in_each_pass"]


@once
def body_of(case: Case, loop: Loop) -> Case:
    """The steps of the pass in the middle, and behind them what it gives."""
    number = loop.middle
    first = loop.start + number * loop.size
    places = {refs[number]: index for index, refs in enumerate(loop.inputs)}

    def within(ref: Ref) -> Ref:
        if first <= ref.step < first + loop.size:
            return replace(ref, step=ref.step - first)
        return Ref(-1, places[ref])

    span = range(first, first + loop.size)
    steps = [Step(case.steps[at].op, tuple(map(within, case.steps[at].sources(at)))) for at in span]
    steps.append(Step(Outputs(), tuple(Ref(place) for place, _ in loop.given)))
    inputs = tuple(refs[number].of(case.inputs, case.values) for refs in loop.inputs)
    values = [case.values[at] for at in span]
    values.append(tuple(case.values[first + place][0] for place, _ in loop.given))
    body = replace(
        case,
        steps=tuple(steps),
        inputs=inputs,
        values=values,
        calls=(*(_in_each(case, case.calls[at]) for at in span), "") if case.calls else (),
        words=(*(case.words[at] for at in span), "") if case.words else (),
        origins=(),
        inner=True,
    )
    names = [tensor_name(case, refs[number]) for refs in loop.inputs]
    carried = loop.carried()
    names = [_LAST if index in carried else name for index, name in enumerate(names)]
    plain = replace(body, input_names=tuple(names))
    for index, place in carried.items():
        names[index] = f"{tensor_name(plain, Ref(place))} (of the pass before)"
    return replace(body, input_names=tuple(names))


def _in_each(case: Case, call: str) -> str:
    """A call of a pass; of a module its name alone, which each pass calls."""
    site = case.sites.get(call)
    return call if site is not None and site.function else without_count(call)


_LAST = "the value of the pass before"


def in_each_pass(case: Case, make: Callable[[Case], Iterator[Change]]) -> Iterator[Change]:
    """The changes of one pass of a loop, made in all of its passes: in all loops of the same code,
    then in each alone."""
    for group in alike_loops(case):
        body, alone = body_of(case, group[0]), list[Change]()
        look = early_passes(case, group)
        for change in shared(make(body), body):
            if not change.steps or change.out is not None or change.inputs:
                continue
            if look is not None and not look.helps(_in_all(group, body, change, look.passes)):
                continue
            yield from filter(None, [_in_all(group, body, change)])
            if len(group) > 1:
                alone.append(change)
        for change in alone:
            for number, loop in enumerate(group):
                which = f"the {ordinal(number + 1)} of {len(group)} loops"
                if look is None or look.helps(_everywhere(loop, body, change, look.passes)):
                    yield from filter(None, [_everywhere(loop, body, change, which=which)])


def _in_all(
    group: Sequence[Loop], body: Case, change: Change, passes: int | None = None
) -> Change | None:
    """A change of the body made in so many passes of all loops of the same code."""
    changes = [_everywhere(loop, body, change, passes) for loop in group]
    known = [member for member in changes if member is not None]
    if len(known) < len(group) or len(group) == 1:
        return known[0] if known else None
    together = all_of(known, group[0].case.steps)
    return together and replace(together, what=known[0].what, where="", members=())


def _everywhere(
    loop: Loop,
    body: Case,
    change: Change,
    passes: int | None = None,
    which: str = "the loop",
) -> Change | None:
    """A change of the body, made in every pass, or in so many; None where another pass has no such
    ops."""
    gives = change.steps.get(loop.size, body.steps[-1]).sources(loop.size)
    given = [
        (*role, ref) for role, ref in zip(loop.given, gives, strict=True) if ref != Ref(role[0])
    ]
    handed = {index: ref for _, index, ref in given if index >= 0}
    new = [at for at in sorted(change.steps) if at > loop.size]
    own = {at for at in change.steps if at < loop.size}
    taking = own | {
        at
        for at in range(loop.size)
        for ref in body.steps[at].sources(at)
        if ref.step < 0 and ref.index in handed
    }
    made: dict[int, Step] = {}
    names: dict[Ref, Ref] = {}
    for number in loop.numbers[:passes]:
        changed = _Pass(loop, body, number, new, handed)
        steps = changed.steps(change, sorted(own if number == loop.numbers[0] else taking))
        if steps is None:
            return None
        made |= steps
        outside = [(loop.at(number, place), ref) for place, index, ref in given if index < 0]
        names |= {
            Ref(old): renamed
            for old, ref in outside
            if old is not None and (renamed := changed.ref(ref)) is not None
        }
    made |= behind_loop(loop, names)
    claim, first = change.claim, min(own, default=given[0][0] if given else 0)
    if change.of < 0 and not own and not new:
        claim = " and ".join(
            f"{taker} takes {tensor_name(body, ref)} in place of {tensor_name(body, Ref(place))}"
            for place, index, ref in given
            for taker in ["what follows the loop" if index < 0 else "the next pass"]
        )
    of = loop.at(loop.middle, change.of if 0 <= change.of < loop.size else first)
    return replace(
        change,
        what=f"{claim}, in every pass of {which}",
        where="",
        steps=made,
        out=names.get(Ref(len(loop.case.steps) - 1)),
        of=-1 if of is None else of,
        key=None,
        part=None,
    )


class _Pass(NamedTuple):
    """A pass with a change in it, by positions in the layer."""

    loop: Loop
    body: Case
    number: int
    new: Sequence[int]
    """The steps of the body that the change adds."""
    handed: Mapping[int, Ref]
    """What the pass before gives instead."""

    def steps(self, change: Change, changed: Sequence[int]) -> dict[int, Step] | None:
        """The steps that are others; what a pass that lacks steps cannot do stays as it is. None
        where a whole one has no such ops."""
        made: dict[int, Step] = {}
        for at in (*self.new, *changed):
            position = self.position(at)
            step = change.steps.get(at) or self.body.steps[at]
            op = None if position is None else self._op(at, step.op)
            refs = None if position is None else self._sources(at, position, step)
            if refs is not None and not all(self._is_there(ref, made) for ref in refs):
                refs = None
            if position is not None and op is not None and refs is not None:
                made[position] = Step(op, refs)
            elif self.number not in self.loop.part:
                return None
        return made

    def position(self, at: int) -> int | None:
        if at < self.loop.size:
            return self.loop.at(self.number, at)
        before = self.loop.numbers.index(self.number) * len(self.new)
        return len(self.loop.case.steps) + before + self.new.index(at)

    def ref(self, ref: Ref) -> Ref | None:
        if ref.step >= 0:
            position = self.position(ref.step)
            return None if position is None else replace(ref, step=position)
        if self._is_handed(ref):
            return self._replace(number=self.number - 1).ref(self.handed[ref.index])
        return self.loop.input(self.number, ref.index)

    def _is_handed(self, ref: Ref) -> bool:
        """Whether the pass before gives something else for an input."""
        first = self.number == self.loop.numbers[0]
        return not first and ref.step < 0 and ref.index in self.handed

    def _sources(self, at: int, position: int, step: Step) -> tuple[Ref, ...] | None:
        """What a step takes: where the change leaves that as it is, what it takes in this pass."""
        own, before = tuple[Ref, ...](), tuple[Ref, ...]()
        if at < self.loop.size:
            own = self.loop.case.steps[position].sources(position)
            before = self.body.steps[at].sources(at)
        refs: list[Ref | None] = []
        for k, ref in enumerate(step.sources(at)):
            same = k < len(own) and ref == before[k]
            refs.append(own[k] if same and not self._is_handed(ref) else self.ref(ref))
        known = tuple(ref for ref in refs if ref is not None)
        return known if len(known) == len(refs) else None

    def _is_there(self, ref: Ref, steps: Mapping[int, Step]) -> bool:
        """Whether a tensor is the layer's, or of a step that this pass could add."""
        first = self.position(self.new[0]) if self.new else None
        return first is None or ref.step < first or ref.step in steps

    def _op(self, at: int, op: Op) -> Op | None:
        """An op of the changed body as this pass has it."""
        loop, steps = self.loop, self.body.steps
        places = [place for place in range(loop.size) if steps[place].op is op]
        position = loop.at(self.number, places[0]) if places else None
        if position is not None:
            return loop.case.steps[position].op
        position = self.position(at)
        if at > loop.size or position is None:
            return op
        was, mine = steps[at].op, loop.case.steps[position].op
        if mine is was:
            return op
        before, here, after = (_held(each) for each in (was, mine, op))
        if type(op) is type(was):
            changed = {name: value for name, value in after.items() if value is not before[name]}
            return replace(mine, **changed)
        if around := {name: mine for name, value in after.items() if value is was}:
            return replace(op, **around)
        return op if _alike(before, here) else None


def behind_loop(loop: Loop, names: Mapping[Ref, Ref]) -> dict[int, Step]:
    """The steps behind a loop where these tensors have other names."""
    steps = loop.case.steps
    behind = {at: steps[at].sources(at) for at in range(loop.end, len(steps))}
    return {
        at: Step(steps[at].op, tuple(names.get(ref, ref) for ref in refs))
        for at, refs in behind.items()
        if not names.keys().isdisjoint(refs)
    }


def _held(op: Op) -> dict[str, Any]:
    kind: Any = type(op)
    return {part.name: getattr(op, part.name) for part in fields(kind) if part.init}


def _alike(fields_of: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    return all(value is others[name] or value == others[name] for name, value in fields_of.items())
