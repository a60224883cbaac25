"""What recurrences have in common: the walk over the steps, masks, states, and the
accumulated rounding error.

Bounds carried from step to step grow without end, and would pass every fault. So a party whose
sequence is seen is judged step by step, each from the state that the party itself had before it
(``followed``); and what only shows at the end may lie as far off as a few runs do in which every
step is moved at random by what rounding may do to that one step (``error_bound``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Errors, Evaluated, Op, Sum
from probe.ops.contributions import Contributions, Stage, Terms, box
from probe.ops.elementwise.activation import Tanh
from probe.ops.linear.matmul import MatMul
from probe.ops.recurrent.random_runs import RandomRuns
from probe.ops.recurrent.running_error import Ball, Rounded, summed
from probe.ops.weight import Weight, zero_bias
from probe.ops.weight_effects import sizes

__all__ = ["Before", "Recurrence"]

States = tuple[np.ndarray, ...]
Stepper = Callable[[np.ndarray, States], States]
Arranged = tuple[Callable[[np.ndarray], np.ndarray], Stepper]

_WALKED = 1 << 18
_JUDGED = 1 << 18
_FLIPPED = 24
"""How many runs at least, where a state near a threshold is quantised to another level in some of
them."""


@dataclass(frozen=True, eq=False)
class Before:
    """What one step of one sample starts from."""

    step: int | None
    """The step read before; None where there is none."""
    states: States
    multiplied: np.ndarray
    """The first state as its product takes it."""

    @property
    def when(self) -> str:
        if self.step is None:
            return "at the start"
        return f"after time step {self.step}"


class _Walk(NamedTuple):
    """The steps in the order of reading, each from the state that a party had before it."""

    begun: Sequence[Ball]
    """The initial states."""
    after: Sequence[Ball]
    """The states after each step."""
    mask: np.ndarray | None
    kept: np.ndarray
    """The last step up to each that was not skipped; -1: none."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Recurrence(Op):
    """x (steps, batch, in) read step by step -> the sequence (steps, batch, units) and the last
    state(s) (batch, units).

    Inputs: x; with ``has_mask`` a mask (steps, batch), where a step that is 0 is skipped and the
    states stay; with ``has_states`` the initial states, which are zero otherwise. ``kernel`` (in,
    gates * units) and ``recurrent`` (units, gates * units) hold a block of columns for each letter
    of ``gates``, in that order; so do ``bias`` and ``recurrent_bias``, of which ``bias`` may hold
    both as (2, gates * units). ``reverse`` reads from the last step to the first; the sequence
    stays in the order of x. At a skipped step it repeats what stands before (0 at first), or is 0
    with ``zero_masked``.
    """

    narrows = True
    kernel: Weight
    recurrent: Weight
    bias: Weight | None = None
    recurrent_bias: Weight | None = None
    activation: Op = field(default_factory=Tanh)
    state_quantizer: Op | None = None
    """What the states go through before each step, where they do (QKeras)."""
    product_quantizer: Op | None = None
    """What the state goes through before its product with ``recurrent`` alone (PyTorch's dynamic
    quantisation).

    It sees the samples that a step does not skip; the others are 0 to it, which is in every range.
    """
    gates: str = "h"
    reverse: bool = False
    has_mask: bool = False
    has_states: bool = False
    zero_masked: bool = False

    state_count: ClassVar[int] = 1

    @property
    def output_count(self) -> int:
        return 1 + self.state_count

    @property
    def on_power_of_two_grid(self) -> bool:
        return any(
            op.on_power_of_two_grid
            for op in (self.activation, self.state_quantizer)
            if op is not None
        )

    @property
    def width(self) -> int:
        """The units of one gate."""
        return self.recurrent.value.shape[1] // len(self.gates)

    def block(self, letter: str) -> slice:
        """The columns of a gate."""
        at = self.gates.index(letter)
        return slice(at * self.width, (at + 1) * self.width)

    def biases(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The bias of the input's product, and that of the state's, in float64."""
        first, second = (
            None if weight is None else weight.value.astype(np.float64)
            for weight in (self.bias, self.recurrent_bias)
        )
        if first is not None and first.ndim == 2:
            return first[0], first[1]
        return first, second

    def operands(self, inputs: Arrays) -> tuple[np.ndarray, np.ndarray | None, States]:
        """(x, mask, initial states) of the op's inputs."""
        x, *rest = inputs
        mask = rest.pop(0) != 0 if self.has_mask else None
        if self.has_states:
            return x, mask, tuple(rest)
        return x, mask, tuple(np.zeros(shape, x.dtype) for shape in self.state_shapes(x))

    def undetected(self, inputs: Arrays) -> list[str]:
        x, _, states = self.operands(inputs)
        sentences = zero_bias(self.bias) + zero_bias(self.recurrent_bias)
        zero = not any(state.any() for state in states)
        if x.shape[1] == 1:
            sentences.append(
                "the batch is one sample, so a state that is carried from one sample to the next "
                "would not be detected"
            )
        if x.shape[0] == 1 and zero:
            sentences.append(
                f"there is one step and its state is zero, so {self.recurrent.name} could be "
                "anything"
            )
        if self.has_states and zero:
            sentences.append("the initial states are zero, so omitting them would not be detected")
        return sentences

    def state_shapes(self, x: np.ndarray) -> list[tuple[int, ...]]:
        return [(x.shape[1], self.recurrent.value.shape[0])] * self.state_count

    # What a cell gives.

    def arranged(self, dtype: np.dtype, batch: int) -> Arranged:
        """(x of some steps -> the input's share, share and states -> the next states), for so many
        samples."""
        raise NotImplementedError

    def cell(
        self,
        a: Rounded,
        x: Ball,
        before: Ball,
        rest: tuple[Ball, ...],
        keep: np.ndarray | None,
        carries: bool,
    ) -> tuple[Ball, ...]:
        """The states after each of several steps, whose states before are known (``rest``: the
        other states before the first one)."""
        raise NotImplementedError

    def taken(self, states: States) -> States:
        """The states as a step takes them."""
        if self.state_quantizer is None:
            return states
        return tuple(self.state_quantizer.run(state)[0] for state in states)

    def multiplied(self, state: np.ndarray) -> np.ndarray:
        """The state as its product takes it."""
        if self.product_quantizer is None:
            return state
        return self.product_quantizer.run(state)[0]

    def present(self, states: States, keep: np.ndarray | None) -> States:
        """The states of the samples that a step does not skip, where those of the others would
        count."""
        if keep is None or self.product_quantizer is None:
            return states
        return tuple(
            np.where(_like(keep, state), state, 0.0).astype(state.dtype) for state in states
        )

    # The walk.

    def _times(self, count: int) -> range:
        if self.reverse:
            return range(count - 1, -1, -1)
        return range(count)

    def _shares(
        self, x: np.ndarray, share: Callable[[np.ndarray], np.ndarray]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """(step, the input's share) in the order in which they are read, a few steps' shares at a
        time."""
        size = max(1, int(np.prod(self.state_shapes(x)[0])) * len(self.gates))
        times, many = self._times(len(x)), max(1, _WALKED // size)
        for start in range(0, len(times), many):
            some = times[start : start + many]
            low = min(some[0], some[-1])
            shares = share(x[low : low + len(some)])
            for t in some:
                yield t, shares[t - low]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, mask, states = self.operands(inputs)
        share, step = self.arranged(x.dtype, x.shape[1])
        out = np.empty((len(x), *states[0].shape), x.dtype)
        shown = np.zeros_like(states[0])
        for t, part in self._shares(x, share):
            keep = None if mask is None else mask[t]
            after = step(part, self.taken(self.present(states, keep)))
            if keep is None:
                shown = after[0]
            else:
                after = _where_kept(keep, after, states)
                shown = np.where(_like(keep, shown), after[0], 0.0 if self.zero_masked else shown)
            out[t], states = shown, after
        return (out, *states)

    # What rounding may do.

    def followed(
        self,
        inputs: Arrays,
        slacks: Errors,
        theirs: np.ndarray,
        precision: Precision,
        carries: bool = True,
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """The outputs and how far each may be off, where each step starts from the state that a
        party's sequence ``theirs`` shows."""
        return self._ended(self._judged(inputs, slacks, theirs, precision, carries), theirs)

    def _ended(
        self, walk: _Walk, theirs: np.ndarray
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """The outputs of the states after each step."""
        sequence, mask, kept = walk.after[0], walk.mask, walk.kept
        if mask is not None:
            shown = np.zeros(())
            if not self.zero_masked:
                at = (np.maximum(kept, 0), np.arange(mask.shape[1]))
                shown = np.where(_like(kept >= 0, sequence.value), theirs[self._order()][at], 0.0)
            sequence = sequence.where(
                _like(mask, sequence.value),
                Ball.exactly(np.broadcast_to(shown, sequence.value.shape)),
            )
        if not len(sequence.value):
            last = list(walk.begun)
        elif mask is None:
            last = [state[-1] for state in walk.after]
        else:
            last = [
                self._last(state, kept[-1], first)
                for state, first in zip(walk.after, walk.begun, strict=True)
            ]
        outputs = [sequence[self._order()], *last]
        return tuple(output.value for output in outputs), tuple(output.slack for output in outputs)

    def _order(self) -> slice:
        return slice(None, None, -1 if self.reverse else 1)

    def _last(self, state: Ball, at: np.ndarray, first: Ball) -> Ball:
        """The state after the last step that was not skipped."""
        last = state[np.maximum(at, 0), np.arange(len(at))]
        return last.where(_like(at >= 0, first.value), first)

    def _judged(
        self,
        inputs: Arrays,
        slacks: Errors,
        theirs: np.ndarray,
        precision: Precision,
        carries: bool,
    ) -> _Walk:
        """The states after each step, where each starts from what ``theirs`` shows before it."""
        x, mask, first = self.operands(inputs)
        slack = np.zeros(x.shape) if slacks[0] is None else slacks[0]
        moved = Ball(x, slack)[self._order()]
        begun = self._begun(first, slacks)
        if mask is not None:
            mask = mask[self._order()]
        states, kept = self._states_before(begun[0], theirs[self._order()], mask, len(x))
        a = Rounded(precision, self.on_power_of_two_grid)
        states, rest = self.taken_ball(a, states), tuple(begun[1:])
        parts: list[tuple[Ball, ...]] = []
        many = max(1, _JUDGED // max(1, begun[0].value.size * len(self.gates)))
        for start in range(0, len(x), many):
            some = slice(start, start + many)
            keep = None if mask is None else mask[some]
            parts.append(self.cell(a, moved[some], states[some], rest, keep, carries))
            rest = tuple(state[-1] for state in parts[-1][1:])
        if parts:
            after = [Ball.joined(state) for state in zip(*parts, strict=True)]
        else:
            after = [Ball.exactly(np.zeros((0, *state.value.shape))) for state in begun]
        return _Walk(begun, after, mask, kept)

    def _begun(self, first: States, slacks: Errors) -> list[Ball]:
        """The initial states, and how far each may be off."""
        offs: Errors = [None] * self.state_count
        if self.has_states:
            offs = slacks[len(slacks) - self.state_count :]
        return [
            Ball(state, np.zeros(state.shape) if slack is None else slack)
            for state, slack in zip(first, offs, strict=True)
        ]

    def _states_before(
        self, begun: Ball, theirs: np.ndarray, mask: np.ndarray | None, count: int
    ) -> tuple[Ball, np.ndarray]:
        """The first state before each step in the order of reading, and the last step up to each
        that was not skipped (-1: none)."""
        theirs, kept = np.asarray(theirs, np.float64), np.zeros((0, 0), int)
        before = np.concatenate([begun.value[None], theirs[:-1]])[:count]
        slack = np.zeros(before.shape)
        slack[:1] = begun.slack
        if mask is None:
            return Ball(before, slack), kept
        kept = np.maximum.accumulate(np.where(mask, np.arange(count)[:, None], -1), axis=0)
        last = np.concatenate([np.full((1, mask.shape[1]), -1), kept[:-1]])[:count]
        before = np.where(
            _like(last >= 0, theirs),
            theirs[np.maximum(last, 0), np.arange(mask.shape[1])],
            begun.value,
        )
        # a sample may join later
        states = Ball(before, np.where(_like(last >= 0, slack), 0.0, begun.slack))
        if self.product_quantizer is not None:
            states = states.where(_like(mask, before), Ball.exactly(np.zeros(before.shape)))
        return states, kept

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        walk = self._judged(of.inputs, of.slacks, of.outputs[0], precision, carries=False)
        _, own = self._ended(walk, of.outputs[0])
        if not precision.unit and not any(state.slack.any() for state in walk.after):
            return own
        wandered = self._wandered(of.inputs, of.outputs, walk)
        return tuple(np.maximum(bound, far) for bound, far in zip(own, wandered, strict=True))

    def _wandered(self, inputs: Arrays, outputs: Arrays, walk: _Walk) -> list[np.ndarray]:
        """Six of the scale at which the outputs wander when every step is moved by a sixth of its
        slack, at random and steadily."""
        x, mask, first = self.operands(inputs)
        runs = RandomRuns(first, least=4 if self.product_quantizer is None else _FLIPPED)
        share, step = self.arranged(x.dtype, runs.copies * x.shape[1])
        states = tuple(
            runs.tiled(state) + runs.drawn(ball.slack)
            for state, ball in zip(first, walk.begun, strict=True)
        )
        tolerance = np.zeros(walk.begun[0].slack.shape)
        sequence, still = np.zeros(outputs[0].shape), first[0]
        for order, (t, part) in enumerate(self._shares(x, share)):
            keep = None if mask is None else runs.tiled(mask[t])
            seen = self.present(states, keep)
            if order:
                seen = (self._tipped(seen[0], tolerance, runs), *seen[1:])
            slacks = [state.slack[order] for state in walk.after]
            after = runs.moved(step(runs.tiled(part), self.taken(seen)), slacks)
            if mask is None or keep is None:
                sequence[t] = runs.spread(after[0], outputs[0][t])
                tolerance = 2 * slacks[0]
            else:
                after = _where_kept(keep, after, states)
                kept = _like(mask[t], still)
                still = np.where(kept, outputs[0][t], still)
                sequence[t] = np.where(kept, runs.spread(after[0], still), 0.0)
                tolerance = np.where(kept, 2 * slacks[0], tolerance)
            states = after
        if mask is not None and not self.zero_masked:
            self._hold(sequence, mask)
        last = (runs.spread(*pair) for pair in zip(states, outputs[1:], strict=True))
        return [sequence, *last]

    def _tipped(self, state: np.ndarray, tolerance: np.ndarray, runs: RandomRuns) -> np.ndarray:
        """Copies of a state in which what may lie on either side of a quantiser's threshold lies on
        one in half of them."""
        if self.product_quantizer is None:
            return state
        share = 4 * float(tolerance.max(initial=0)) / max(float(state.max() - state.min()), 1e-30)
        moved = runs.tiled(tolerance) + share * np.abs(state)
        either = self.multiplied(state + moved) != self.multiplied(state - moved)
        sides = runs.sides(tolerance.shape).reshape(state.shape)
        return np.where(either, state + np.where(sides % 2, moved, -moved), state)

    def _hold(self, sequence: np.ndarray, mask: np.ndarray) -> None:
        before = np.zeros(sequence.shape[1:])
        for t in self._times(len(sequence)):
            before = np.where(_like(mask[t], before), sequence[t], before)
            sequence[t] = before

    def taken_ball(self, a: Rounded, state: Ball) -> Ball:
        """``taken``, of a state that may be off."""
        if self.state_quantizer is None:
            return state
        return a.apply(self.state_quantizer, state)

    def multiplied_ball(self, a: Rounded, state: Ball) -> Ball:
        """``multiplied``, of a state that may be off."""
        if self.product_quantizer is None:
            return state
        return a.apply(self.product_quantizer, state)

    # Sums of products.

    def inward(self) -> Sum:
        """The product with the input."""
        return MatMul(self.kernel, None)

    def onward(self) -> Sum:
        """The product with the state."""
        return MatMul(self.recurrent, None)

    def through(self, method: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
        """A product's ``method`` on a whole sequence (steps, batch, ...)."""
        return method(x)

    def summed(
        self, a: Rounded, parts: Sequence[tuple[Sum, Ball]], biases: Sequence[np.ndarray | None]
    ) -> Ball:
        """Products added up, and the biases (gates * units,)."""
        return summed(a, parts, biases, self.through)

    # What else an op says.

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        if self.product_quantizer is not None:
            return super().influence(mask, inputs)
        x, keep, states = self.operands(inputs)
        wanted = np.any(mask, axis=tuple(range(2, mask.ndim)))
        order = self._order()
        seen = np.maximum.accumulate(wanted[order][::-1], axis=0)[::-1][order]
        if keep is not None:
            seen = seen & keep
        found = [np.broadcast_to(_like(seen, x), x.shape)]
        if keep is not None:
            found.append(np.broadcast_to(wanted.any(axis=0), keep.shape))
        if self.has_states:
            found += [
                np.broadcast_to(_like(np.any(wanted, axis=0), state), state.shape)
                for state in states
            ]
        return tuple(found)

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        x = inputs[0]
        if worth is not None or x.ndim != self.kernel.value.ndim + 1:
            return {}
        read = x if not self.has_mask else x[np.asarray(inputs[1]) != 0]
        return {"kernel": sizes(read).reshape(-1, x.shape[-1]).max(axis=0, initial=0.0)[:, None]}

    def summary(self, inputs: Arrays) -> str:
        x = inputs[0]
        count = "1 step" if len(x) == 1 else f"{len(x)} steps"
        way = ", from the last to the first" if self.reverse else ""
        return f"{self.recurrent.value.shape[0]} units over {count}{way}" + (
            ", masked time steps skipped" if self.has_mask else ""
        )

    def before(self, inputs: Arrays, at: tuple[int, ...]) -> "Before":
        """What the step of an element starts from, whose samples are taken alone where none depends
        on others."""
        x, mask, states = self.operands(inputs)
        if self.product_quantizer is None:
            some = slice(at[1], at[1] + 1)
        else:
            some = slice(None)
        states = tuple(state[some] for state in states)
        share, step = self.arranged(x.dtype, len(states[0]))
        last, times = None, self._times(len(x))
        for t in times[: times.index(at[0])]:
            keep = None if mask is None else mask[t, some]
            if keep is not None and not keep.any():
                continue
            after = step(share(x[t : t + 1, some])[0], self.taken(self.present(states, keep)))
            if keep is None:
                states = after
            else:
                states = _where_kept(keep, after, states)
            if mask is None or mask[t, at[1]]:
                last = t
        states = self.taken(self.present(states, None if mask is None else mask[at[0], some]))
        place = slice(at[1] - (some.start or 0), at[1] - (some.start or 0) + 1)
        return Before(
            last, tuple(state[place] for state in states), self.multiplied(states[0])[place]
        )

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        x, mask, _ = self.operands(inputs)
        if mask is not None and not mask[at[0], at[1]]:
            text = "0" if self.zero_masked else "the previous output is repeated"
            return Contributions(
                (), (Stage(f"this time step is masked: {text}", float(outputs[0][at])),)
            )
        return self.told(x[at[0], at[1]], self.before(inputs, at), at, float(outputs[0][at]))

    def told(
        self, x: np.ndarray, before: "Before", at: tuple[int, ...], value: float
    ) -> Contributions:
        """How one element came about; ``x`` is the input of its step and sample."""
        return Contributions((), (Stage(type(self).__name__, value),))

    def terms_from(self, at: tuple[int, ...], letter: str, count: int) -> Terms:
        """The products with the input that go into one gate of an element."""
        column = self.block(letter).start + at[2]
        return Terms(
            box([at[0], at[1], range(count)]),
            factor=self.kernel,
            factor_where=box([range(count), column]),
        )


def _where_kept(keep: np.ndarray, after: States, before: States) -> States:
    """The states after a step; those before it where it is skipped."""
    return tuple(
        np.where(_like(keep, new), new, old) for new, old in zip(after, before, strict=True)
    )


def _like(flags: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Flags of the first axes, to be used with an array of more."""
    return flags.reshape(*flags.shape, *(1,) * (array.ndim - flags.ndim))
