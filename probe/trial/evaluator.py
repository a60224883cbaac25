"""What a layer gives when its steps are changed: everywhere, or, much sooner, at a few hundred
elements or in a slice of the output. What a change does not touch is not run again.

Most mistakes can be told apart from a sample of the output, so the last step that the edit left
alone is looked up, and the last sum of products computed, at those elements alone; everything is
computed only for the few mistakes that survive.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from probe.evaluation.allowance import Values
from probe.evaluation.numpy_reference import recompute
from probe.numerics.dtypes import widened
from probe.ops.base import Indices, Rearrangement
from probe.ops.step import Ref, Step
from probe.trial.budget import Budget
from probe.trial.edit import Edit
from probe.trial.output_slices import Region, Sliced, alike
from probe.trial.prices import terms_price

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
        steps: Sequence[Step],
        inputs: Sequence[np.ndarray],
        values: Values,
        budget: Budget,
    ) -> None:
        self.steps, self.inputs, self.values, self.budget = steps, inputs, values, budget
        self.slices = Sliced(steps, inputs, values, budget.ran)

    def everywhere(self, edit: Edit) -> Values | None:
        """The outputs of every step; None where the edit cannot be run on these shapes."""
        try:
            return self._values(edit.steps, edit.inputs, self._unchanged(edit))
        except (ValueError, IndexError, TypeError, MemoryError):
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
        except (ValueError, IndexError, TypeError):
            return None

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
        except (ValueError, IndexError, TypeError, MemoryError):
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
        return None if shape is None else [*shapes, shape]

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
    return -1 if steps and steps[0].sources(0)[0].step < 0 else None
