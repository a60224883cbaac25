"""What a layer gives when its steps are changed: everywhere, or, much sooner, at a few hundred
elements or in a slice of the output. What a change does not touch is not run again.

Most mistakes can be told apart from a sample of the output, so the last step that the edit left
alone is looked up, and the last sum of products computed, at those elements alone; everything is
computed only for the few mistakes that survive.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from probe.evaluation.allowance import Values
from probe.evaluation.numpy_reference import recompute
from probe.numerics.dtypes import widened
from probe.ops.base import Indices, Op, Rearrangement
from probe.ops.step import Ref, Step
from probe.trial.budget import Budget
from probe.trial.change import Change
from probe.trial.edit import Edit, Steps
from probe.trial.output_slices import Region, Sliced, alike
from probe.trial.prices import terms_price
from probe.trial.refusals import refused

__all__ = ["Evaluator", "last_sum"]

Shape = tuple[int, ...]


class _Base(NamedTuple):
    """The step of an edited layer from which on its output is computed element by element."""

    position: int
    """-1: the input."""
    values: Values
    """What the steps before it give."""
    inputs: Sequence[np.ndarray]
    own: np.ndarray | None = None
    """What it gives itself, where that is known."""


class Evaluator:
    """The steps of a layer, what each gives, and what they give when some are changed; what is run
    for that is taken from a budget."""

    def __init__(
        self,
        steps: Steps,
        inputs: tuple[np.ndarray, ...],
        values: Values,
        budget: Budget,
    ) -> None:
        self.steps, self.inputs, self.values, self.budget = steps, inputs, values, budget

    @cached_property
    def slices(self) -> Sliced:
        """Its slices, and which of its steps are those of a changed layer."""
        return Sliced(self.steps, self.inputs, self.values, self.budget.ran)

    def everywhere(self, edit: Edit) -> Values | None:
        """The outputs of every step; None where the edit cannot be run on these shapes."""
        try:
            return self._values(edit.steps, edit.inputs, self._unchanged(edit))
        except Exception as error:
            refused(error)
            return None

    def at(self, edit: Edit, where: Indices, region: Region | None = None) -> np.ndarray | None:
        """The output at some elements; None where only the whole can be computed. Of a layer of
        which a ``region`` is looked at it is computed from that, unless all that has to be is those
        elements."""
        known = self._unchanged(edit)
        position = _base(edit.steps, known)
        if region is not None and (
            position is None or any(k not in known for k in range(position))
        ):
            return self._in_region(edit, region, where)
        if position is None:
            return None
        try:
            return self._at(edit, self._base(edit, position, known), where)
        except Exception as error:
            refused(error)
            return None

    def changed(self, change: Change, region: Region | None = None) -> np.ndarray | None:
        """The output with a change, or that slice of it; None where it cannot be computed or
        nothing is changed by it."""
        try:
            with np.errstate(all="ignore"):
                if region is None:
                    return self._output(change)
                steps, inputs = change.applied(self.steps), change.inputs_of(self.inputs)
                return self.slices.of(steps, inputs, region)
        except Exception as error:  # what a field is changed to need not make sense to its op
            refused(error)
            return None

    def touched(self, change: Change) -> dict[int, tuple[np.ndarray, ...]]:
        """What the steps give that give something else with a change, by their positions; nothing
        where it cannot be computed."""
        try:
            with np.errstate(all="ignore"):
                return self._touched(change, self._inputs_with(change))
        except Exception as error:
            refused(error)
            return {}

    def _inputs_with(self, change: Change) -> Sequence[np.ndarray]:
        if change.inputs:
            return [widened(x) for x in change.inputs_of(self.inputs)]
        return self._wide

    def _output(self, change: Change) -> np.ndarray | None:
        inputs = self._inputs_with(change)
        outputs = self._touched(change, inputs)
        last = Ref(len(self.steps) - 1)
        out = last if change.out is None else change.out
        if out.step in outputs:
            return np.asarray(outputs[out.step][out.index])
        if out == last:
            return None
        return np.asarray(out.of(inputs, self.values))

    def _touched(
        self, change: Change, inputs: Sequence[np.ndarray]
    ) -> dict[int, tuple[np.ndarray, ...]]:
        """What the steps give that give something else than before, and at -1 the inputs."""
        count, values = len(self.steps), self.values
        outputs: dict[int, tuple[np.ndarray, ...]] = {-1: tuple(inputs)}
        behind = change.new_steps(count)
        new = list(behind)
        line = [position for position in change.steps if position < count]
        line += [at for k in change.inputs for at in self._takers.get((-1, k), ())]
        heapify(line)
        last = -1
        while line or new:
            if new and (not line or line[0] > behind[new[0]]):
                position = new.pop(0)
            elif (position := heappop(line)) == last:
                continue
            last = position
            step = change.steps.get(position)
            if step is None:
                op, refs = self._plan[position]
            else:
                op, refs = _planned(step, position)
            given = [outputs[at][k] if at in outputs else values[at][k] for at, k in refs]
            results = op.run(*given)
            self.budget.ran(op, given, results)
            if position < count:
                if _same(results, values[position]):
                    continue
                for taker in self._takers.get((position, 0), ()):
                    heappush(line, taker)
            outputs[position] = results
        return outputs

    @cached_property
    def _wide(self) -> list[np.ndarray]:
        return [widened(x) for x in self.inputs]

    @cached_property
    def _plan(self) -> list[tuple[Op, Sequence[tuple[int, int]]]]:
        return [_planned(step, at) for at, step in enumerate(self.steps)]

    @cached_property
    def _takers(self) -> dict[tuple[int, int], list[int]]:
        """Which steps take each input (-1, k), or something of each step (position, 0)."""
        found: dict[tuple[int, int], list[int]] = {}
        for position, step in enumerate(self.steps):
            for ref in dict.fromkeys(step.sources(position)):
                key = (ref.step, 0 if ref.step >= 0 else ref.index)
                found.setdefault(key, []).append(position)
        return found

    def _unchanged(self, edit: Edit) -> dict[int, tuple[np.ndarray, ...]]:
        """What the steps give that the edit leaves alone."""
        known = self.slices.unchanged(edit.steps, edit.inputs)
        return {at: self.values[place] for at, place in known.items()}

    def _values(
        self,
        steps: Sequence[Step],
        inputs: Sequence[np.ndarray],
        known: Mapping[int, tuple[np.ndarray, ...]],
    ) -> Values:
        return recompute(steps, inputs, ran=self.budget.ran, known=known)

    def _base(
        self, edit: Edit, position: int, known: Mapping[int, tuple[np.ndarray, ...]]
    ) -> _Base:
        if position in known:
            return _Base(position, [], (), known[position][0])
        before = self._values(edit.steps[: max(0, position)], edit.inputs, known)
        single = position < 0 or edit.steps[position].op.computes_elements
        inputs = edit.inputs if single else [widened(x) for x in edit.inputs]
        return _Base(position, before, inputs)

    def _at(self, edit: Edit, base: _Base, where: Indices) -> np.ndarray | None:
        shapes = self._shapes(edit, base)
        if shapes is None or shapes[-1] != np.shape(self.values[-1][0]):
            return None
        behind = edit.steps[base.position + 1 :]
        back = [where]
        for step, shape in zip(reversed(behind), reversed(shapes[:-1]), strict=True):
            origin = step.op.input_index(back[-1], [np.broadcast_to(0.0, shape)])
            if origin is None:
                return None
            back.append(origin)
        with np.errstate(all="ignore"):
            out = self._computed(edit, base, back.pop())
            for step, shape in zip(behind, shapes[1:], strict=True):
                indices = back.pop()
                if not isinstance(step.op, Rearrangement):
                    out = step.op.at((out,), indices, shape)
        return out

    def _in_region(self, edit: Edit, region: Region, where: Indices) -> np.ndarray | None:
        """The same from the slice of the output that these elements lie in."""
        try:
            y = self.slices.of(edit.steps, edit.inputs, region)
        except Exception as error:
            refused(error)
            return None
        if y.shape != region.of(np.asarray(self.values[-1][0])).shape:
            return None
        within = list(where)
        within[region.axis] = within[region.axis] - region.start
        return np.asarray(y[tuple(within)])

    def _computed(self, edit: Edit, base: _Base, where: Indices) -> np.ndarray:
        """The output of the base at some elements."""
        if base.position < 0:
            return widened(base.inputs[edit.steps[0].sources(0)[0].index][where])
        if base.own is not None:
            return base.own[where]
        chosen, op = _taken(edit, base), edit.steps[base.position].op
        if op.terms is not None:
            terms = op.terms(chosen, where)
            self.budget.charge(terms_price(op, terms))
            return np.asarray(terms.sum(axis=(1, 2)))
        shape = np.broadcast_shapes(*(x.shape for x in chosen))
        return op.at([widened(np.broadcast_to(x, shape)[where]) for x in chosen], where, shape)

    def _shapes(self, edit: Edit, base: _Base) -> list[Shape] | None:
        """The output shapes of the base and of the steps behind it; None where they are not known
        beforehand."""
        shape: Shape | None = self._shape(edit, base)
        shapes: list[Shape] = []
        for later in edit.steps[base.position + 1 :]:
            if shape is None:
                return None
            shapes.append(shape)
            shape = later.op.output_shape([shape])
        if shape is None:
            return None
        return [*shapes, shape]

    def _shape(self, edit: Edit, base: _Base) -> Shape | None:
        if base.position < 0:
            return base.inputs[edit.steps[0].sources(0)[0].index].shape
        if base.own is not None:
            return np.shape(base.own)
        chosen = _taken(edit, base)
        if self._alike(edit.steps, base.position, chosen):
            return np.shape(self.values[base.position][0])
        return edit.steps[base.position].op.output_shape([x.shape for x in chosen])

    def _alike(self, steps: Sequence[Step], position: int, inputs: Sequence[np.ndarray]) -> bool:
        """Whether a step differs from the layer's by nothing but the numbers in its weights."""
        if position >= len(self.steps) or not alike(steps[position].op, self.steps[position].op):
            return False
        sources = self.steps[position].sources(position)
        own = [np.shape(ref.of(self.inputs, self.values)) for ref in sources]
        return own == [x.shape for x in inputs]


def _taken(edit: Edit, base: _Base) -> list[np.ndarray]:
    """What the base is applied to."""
    sources = edit.steps[base.position].sources(base.position)
    return [ref.of(base.inputs, base.values) for ref in sources]


def last_sum(steps: Sequence[Step]) -> int | None:
    """The last step that can be had element by element where all behind it acts on each element
    alone; -1 where the whole layer acts so, else None."""
    return _base(steps, {})


def _base(steps: Sequence[Step], known: Mapping[int, object]) -> int | None:
    """The last step that can be had element by element where all behind it acts on each element
    alone, else None.

    That is one whose values are known, a sum of products or a merge; -1 where the whole layer acts
    so.
    """
    for position in range(len(steps) - 1, -1, -1):
        op, sources = steps[position].op, steps[position].sources(position)
        single = op.computes_elements
        if position in known or op.terms is not None or (single and len(sources) > 1):
            return position
        if not (single or isinstance(op, Rearrangement)) or len(sources) != 1:
            return None
        if position and sources[0] != Ref(position - 1):
            return None
    if steps and steps[0].sources(0)[0].step < 0:
        return -1
    return None


def _planned(step: Step, position: int) -> tuple[Op, Sequence[tuple[int, int]]]:
    """What a step runs, and on what."""
    return step.op, [(ref.step, ref.index) for ref in step.sources(position)]


def _same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return len(one) == len(other) and all(map(_equal, one, other))


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    if a is b:
        return True
    if a.shape != b.shape or a.size >= (1 << 16):
        return False
    if a.size and a.dtype.kind == "f" and a.item(0) != b.item(0) and a.item(0) == a.item(0):
        return False
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
