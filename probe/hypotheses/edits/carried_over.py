"""The states of loops that are not cleared between samples, or between the channels of one: each
begins with what the one before ended in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.edits.early_passes import differing
from probe.hypotheses.edits.grouped_changes import all_of
from probe.hypotheses.edits.loop_changes import body_of
from probe.hypotheses.edits.loop_states import before_first, taken_at
from probe.hypotheses.edits.loops import Loop, alike_loops
from probe.hypotheses.edits.rewriting import taking_instead
from probe.ops.base import Arrays, Op
from probe.ops.step import Ref, Step
from probe.trial.case import Case, users_of
from probe.trial.change import Change
from probe.trial.edit import Steps
from probe.trial.prices import STEP, price

__all__ = ["carried_over"]

_MOST = 40_000
"""How many steps are run at most for what the states of all rows begin with."""
_KINDS = (
    (0, 1, "sample"),
    (0, 2, "channel"),
    (1, 2, "channel of a sample"),
)
"""From which axis of a state on, and up to which, its rows are done one after the other."""


def carried_over(case: Case) -> Iterator[Change]:
    """Each sample, or each channel, begins with the states that the one before ended in."""
    for group in alike_loops(case):
        chains = [_chain(loop) for loop in group]
        known = [chain for chain in chains if chain is not None]
        if len(known) < len(group):
            continue
        for from_axis, to_axis, words in _KINDS:
            if not _first_is_right(case, known[0], from_axis, to_axis):
                continue
            for pass_more in (False, True):
                changes = [_carried(chain, from_axis, to_axis, pass_more) for chain in known]
                what = f"the states of the loop are not cleared between one {words} and the next"
                if pass_more:
                    what += ", and go on with a pass over what the layer's begin with"
                yield from _all(case, changes, what)
                yield from _all(case, changes[:1], f"{what}, in the first") if changes[1:] else ()


def _all(case: Case, changes: Sequence[Change | None], what: str) -> Iterator[Change]:
    known = [change for change in changes if change is not None]
    if known and len(known) == len(changes):
        together = all_of(known, case.steps)
        if together is not None:
            yield replace(together, what=what, where="", members=())


def _first_is_right(case: Case, chain: "_PassesInRow", from_axis: int, to_axis: int) -> bool:
    """Whether the row that begins as it should is right, as far as the output has these axes."""
    rows = chain.shape[:to_axis]
    if len(chain.shape) < to_axis or rows[-1] == 1 or case.region is not None:
        return False
    if not case.comparable or case.observed.shape[:to_axis] != rows:
        return False
    first: tuple[slice | int, ...] = (*[slice(None)] * from_axis, *[0] * (to_axis - from_axis))
    return not differing(case)[first].any()


@dataclass(frozen=True, eq=False)
class _PassesInRow:
    """All passes of a loop, each whole, as steps that take states and tensors from outside."""

    loop: Loop
    steps: Steps
    outside: tuple[Ref, ...]
    """What the inputs behind the states are."""
    begun: tuple[Ref | np.ndarray, ...]
    """What each state begins with: where the first pass lacks steps, because it does, zeros."""
    ends: tuple[Ref, ...]
    first: Mapping[int, int]
    """The steps of the first pass by their places in it."""

    @property
    def shape(self) -> tuple[int, ...]:
        return _shape(self.loop)


def _shape(loop: Loop) -> tuple[int, ...]:
    """The shape of the first state that the passes hand on."""
    place = next(iter(loop.carried().values()))
    return np.shape(loop.case.values[loop.start + place][0])


class _Chaining:
    """What puts the passes of a loop one behind the other."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.body = loop, body_of(loop.case, loop)
        self.carried = loop.carried()
        self.states = {index: number for number, index in enumerate(self.carried)}
        self.outside: dict[Ref, int] = {}
        self.steps: list[Step] = []
        self.positions: dict[int, int] = {}
        """Which of the steps a step of the layer is."""

    def add_pass(self, number: int, before: Mapping[int, int] | None) -> dict[int, int] | None:
        """A pass behind another: its steps by their places; None where one is not known."""
        places: dict[int, int] = {}
        for place in range(self.loop.size):
            at = self.loop.at(number, place)
            op = self._alike(place) if at is None else self.loop.case.steps[at].op
            refs = [self._taken(ref, number, places, before) for ref in self._sources(place)]
            known = tuple(ref for ref in refs if ref is not None)
            if op is None or len(known) < len(refs):
                return None
            places[place] = len(self.steps)
            if at is not None:
                self.positions[at] = places[place]
            self.steps.append(Step(op, known))
        return places

    def _sources(self, place: int) -> tuple[Ref, ...]:
        return self.body.steps[place].sources(place)

    def _alike(self, place: int) -> Op | None:
        """The op of a place that a pass lacks, where it is the same in the others."""
        first, second = (self.loop.case.steps[self.loop.at(k, place) or 0].op for k in (0, 1))
        return first if first is second or _same(first, second) else None

    def _taken(
        self, ref: Ref, number: int, places: Mapping[int, int], before: Mapping[int, int] | None
    ) -> Ref | None:
        if ref.step >= 0:
            return replace(ref, step=places[ref.step])
        if ref.index in self.states:
            if before is None:
                return Ref(-1, self.states[ref.index])
            return Ref(before[self.carried[ref.index]])
        given = self.loop.input(number, ref.index)
        if given is None:
            return None
        if given.step in self.positions:
            return replace(given, step=self.positions[given.step])
        if self.loop.first <= given.step < self.loop.end:
            return None
        return self.outer(given)

    def outer(self, ref: Ref) -> Ref:
        return Ref(-1, len(self.states) + self.outside.setdefault(ref, len(self.outside)))


def _same(first: Op, second: Op) -> bool:
    mine, theirs = vars(first), vars(second)
    return type(first) is type(second) and all(
        value is theirs[name] or np.array_equal(value, theirs[name]) for name, value in mine.items()
    )


def _chain(loop: Loop) -> _PassesInRow | None:
    """The passes of a loop that hand on floats; None where it hands on nothing, and where a step
    that a pass lacks is not known."""
    case, chaining = loop.case, _Chaining(loop)
    if not loop.carried() or len(loop.numbers) * loop.size > _MOST:
        return None
    passes: list[dict[int, int]] = []
    for number in loop.numbers:
        places = chaining.add_pass(number, passes[-1] if passes else None)
        if places is None:
            return None
        passes.append(places)
    begun: list[Ref | np.ndarray] = []
    for index, place in chaining.carried.items():
        after = np.asarray(case.values[loop.start + place][0])
        if after.dtype.kind != "f":
            return None
        begun.append(np.zeros_like(after) if -1 in loop.part else loop.inputs[index][0])
    chain = _PassesInRow(
        loop,
        tuple(chaining.steps),
        tuple(chaining.outside),
        tuple(begun),
        tuple(Ref(passes[-1][place]) for place in chaining.carried.values()),
        passes[0],
    )
    return chain if -1 not in loop.part or _begins_with_zeros(chain) else None


def _begins_with_zeros(chain: _PassesInRow) -> bool:
    """Whether the first pass, where it is made whole, gives from zeros what the layer's gives."""
    case, loop = chain.loop.case, chain.loop
    given = [ref.of(case.inputs, case.values) for ref in chain.outside]
    zeros = [np.asarray(array) for array in chain.begun if not isinstance(array, Ref)]
    whole = recompute(chain.steps[: loop.size], (*zeros, *given), ran=case.budget.ran)
    return all(
        np.allclose(whole[chain.first[place]][0], case.values[at][0], rtol=1e-6, atol=1e-9)
        for place, at in loop.part[-1].items()
        if place in chain.first
    )


@dataclass(frozen=True, eq=False)
class _RowByRow(Op):
    """What the states of all rows begin with, where each goes on with what the row before ended
    in."""

    steps: Steps
    ends: tuple[Ref, ...]
    from_axis: int
    to_axis: int
    more: Steps = ()
    """A pass that rows behind the first do once more; its first input is the state."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        count = len(self.ends)
        begun = first = inputs[:count]
        for _ in range(self.rows(np.shape(begun[0]))):
            values = recompute(self.steps, (*begun, *inputs[count:]))
            ends = [ref.of((), values) for ref in self.ends]
            after = [self._shifted(*pair) for pair in zip(first, ends, strict=True)]
            if self.more:
                further = recompute(self.more, (after[0], *inputs[count:]))[-1][0]
                after = [self._with_first(first[0], further)]
            if all(map(np.array_equal, begun, after)):
                break
            begun = tuple(after)
        return tuple(begun)

    def rows(self, shape: Sequence[int]) -> int:
        """How many there are, of which each is right after one more time."""
        return int(np.prod(shape[self.from_axis : self.to_axis]))

    def _flat(self, array: np.ndarray) -> np.ndarray:
        apart, behind = array.shape[: self.from_axis], array.shape[self.to_axis :]
        return np.reshape(array, (*apart, -1, *behind))

    def _shifted(self, first: np.ndarray, end: np.ndarray) -> np.ndarray:
        shifted = np.roll(self._flat(end), 1, self.from_axis).reshape(end.shape)
        return self._with_first(np.broadcast_to(first, end.shape), shifted)

    def _with_first(self, first: np.ndarray, others: np.ndarray) -> np.ndarray:
        given = self._flat(np.array(others))
        where: tuple[slice | int, ...] = (*[slice(None)] * self.from_axis, 0)
        given[where] = self._flat(np.asarray(first))[where]
        return given.reshape(others.shape)


@price.register
def _(op: _RowByRow, inputs: Arrays, outputs: Arrays) -> float:
    rows, size = op.rows(outputs[0].shape), sum(y.size for y in outputs)
    return float(rows * len(op.steps) * (STEP + size))


def _carried(chain: _PassesInRow, from_axis: int, to_axis: int, pass_more: bool) -> Change | None:
    """The loop whose rows go on from one another; None where that is too much, or where what the
    states begin with is not of a pass."""
    loop, count = chain.loop, len(chain.loop.case.steps)
    op = _RowByRow(chain.steps, chain.ends, from_axis, to_axis)
    if op.rows(chain.shape) * len(chain.steps) > _MOST:
        return None
    new: dict[int, Step] = {}
    begun: list[Ref] = []
    for start in chain.begun:
        if isinstance(start, Ref):
            begun.append(start)
        else:
            new[count + len(new)] = Step(ops.Constant(start), ())
            begun.append(Ref(count + len(new) - 1))
    at = count + len(new)
    if pass_more:
        return _with_pass_more(chain, op, at) if not new and len(begun) == 1 else None
    new[at] = Step(op, (*begun, *chain.outside))
    starts = [Ref(at, number) for number in range(len(begun))]
    if -1 in loop.part:
        return _with_first_pass(chain, new, starts)
    change = taken_at(loop, dict(zip(loop.carried(), starts, strict=True)), loop.numbers[0])
    return None if change is None else replace(change, steps={**change.steps, **new})


def _with_first_pass(chain: _PassesInRow, new: dict[int, Step], starts: Sequence[Ref]) -> Change:
    """The first pass made whole, and all that take what the layer's gives take what it gives."""
    loop, case = chain.loop, chain.loop.case
    states, shift = len(starts), len(case.steps) + len(new)

    def moved(ref: Ref) -> Ref:
        if ref.step >= 0:
            return replace(ref, step=ref.step + shift)
        return starts[ref.index] if ref.index < states else chain.outside[ref.index - states]

    steps = dict(new)
    for at, step in enumerate(chain.steps[: loop.size]):
        steps[shift + at] = Step(step.op, tuple(map(moved, step.sources(at))))
    names = {Ref(at): Ref(shift + chain.first[place]) for place, at in loop.part[-1].items()}
    # What the second pass makes of the states was left to a constant in the first.
    own = {ref.step for ref in names}
    takers = {user for ref in names for user in users_of(case).get(ref, ())} - own
    for user in takers:
        refs = (names.get(ref, ref) for ref in case.steps[user].sources(user))
        steps[user] = Step(case.steps[user].op, tuple(refs))
    return Change("", "", steps, of=min(own))


def _with_pass_more(chain: _PassesInRow, op: _RowByRow, at: int) -> Change | None:
    """Rows behind the first go on from the one before with a pass over the element of the sequence
    that the layer's state begins with."""
    loop, case = chain.loop, chain.loop.case
    (index,) = loop.carried()
    (start,) = (ref for ref in chain.begun if isinstance(ref, Ref))
    state = Ref(at + 1)
    further = before_first(loop, index, state, at + 2)
    if further is None:
        return None
    outside = list(chain.outside)
    local = {position: number for number, position in enumerate(further.steps)}

    def moved(ref: Ref) -> Ref:
        if ref == state:
            return Ref(-1, 0)
        if ref.step in local:
            return replace(ref, step=local[ref.step])
        if ref not in outside:
            outside.append(ref)
        return Ref(-1, 1 + outside.index(ref))

    more = [
        Step(step.op, tuple(map(moved, step.sources(position))))
        for position, step in further.steps.items()
    ]
    if local.get(further.after.step) != len(more) - 1:
        return None
    steps = {at: Step(replace(op, more=tuple(more)), (start, *outside))}
    for user in users_of(case).get(start, ()):
        steps[user] = taking_instead(case, user, start, Ref(at))
    return Change("", "", steps, of=start.step)
