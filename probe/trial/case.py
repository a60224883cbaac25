"""What a hypothesis is given: a layer, what it was applied to and gave, and what was observed."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import Any, TypeVar, overload

import numpy as np

from probe.description.description import Site
from probe.evaluation.allowance import Values
from probe.evaluation.numpy_reference import recompute
from probe.numerics.dtypes import widened
from probe.ops.base import Op, Rearrangement
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.attached_weights import with_weights_attached
from probe.trial.budget import Budget
from probe.trial.change import Change
from probe.trial.edit import Edit, Steps
from probe.trial.evaluator import Evaluator
from probe.trial.gathered import weights_in, with_weights
from probe.trial.output_slices import Region
from probe.trial.refusals import refused

__all__ = ["Case", "of_output", "once", "shape_of", "users_of", "without_layer_number"]

Kind = TypeVar("Kind", bound=Op)


@dataclass(frozen=True, eq=False)
class Case:
    """One output of one call and what a party gave for it."""

    steps: Steps
    inputs: tuple[np.ndarray, ...]
    values: Values
    """The healthy outputs of every step, in float64."""
    observed: np.ndarray
    """What the party gave, in float64; NaN where it gave nothing (``known`` says where)."""
    known: np.ndarray | None = None
    """Where the party gave a value; None: everywhere."""
    output_axes: tuple[str, ...] = ()
    thorough: bool = False
    """Whether edits are tried that are many or slow."""
    calls: tuple[str, ...] = ()
    """Of a layer that is composed of several calls: which one each step is of."""
    layer: str = ""
    """Its name in the model."""
    sites: Mapping[str, Site] = field(default_factory=dict)
    """What the reader of the model's code finds each of these calls by."""
    input_names: tuple[str, ...] = ()
    """What the layer itself calls its inputs, "" for one that it has no name for."""
    words: tuple[str, ...] = ()
    """Of a layer whose ops are taken apart: what each step gives, in words; "" where the op says
    it."""
    origins: tuple[int, ...] = ()
    """Of a layer whose ops are taken apart: which of its own steps each is of, -1 of none."""
    budget: Budget = field(default_factory=Budget, repr=False)
    """What may still be computed for it."""
    inner: bool = False
    """Whether it is one step of a recurrence, which is computed for every step."""
    allowed: np.ndarray | None = None
    """How far the party may be off the healthy output; None where that is not known."""
    others: Callable[[], Mapping[str, np.ndarray]] = dict
    """The parameters of the model's other layers in words, asked where nothing else helps."""
    tensors: Callable[[], Mapping[str, np.ndarray]] = dict
    """What the tensors of the model hold by their names, that of the layer among them, where its
    engine gives them the memory of others; asked where nothing else helps."""
    kernels: Callable[[], Mapping[str, Steps]] = dict
    """The same of other engines (``Description.kernels``)."""
    region: Region | None = None
    """The slice of the output that is looked at first, where computing all of it takes long."""
    cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    """What is made of it but once (``once``)."""

    @property
    def healthy(self) -> np.ndarray:
        return np.asarray(self.values[-1][0])

    @property
    def comparable(self) -> bool:
        """Whether the observation has the shape that it should have."""
        return self.healthy.shape == self.observed.shape

    @cached_property
    def evaluator(self) -> Evaluator:
        return Evaluator(self.steps, self.inputs, self.values, self.budget)

    def pick(self, array: np.ndarray) -> np.ndarray:
        """The values of an array shaped like the observation, where the party gave one (1-D)."""
        return array.ravel() if self.known is None else array[self.known]

    @cached_property
    def seen(self) -> np.ndarray:
        """The party's values (1-D)."""
        return self.pick(self.observed)

    def input_of(self, position: int, index: int = 0) -> np.ndarray:
        """What the step at ``position`` is applied to; a single 0 for one that takes nothing."""
        sources = self.steps[position].sources(position)
        if not sources:
            return np.zeros(())
        ref = sources[index]
        return widened(ref.of(self.inputs, self.values))

    @overload
    def having(self, kind: type[Kind], /) -> Iterator[tuple[int, Kind]]: ...
    @overload
    def having(self, *kinds: type) -> Iterator[tuple[int, Any]]: ...
    def having(self, *kinds: type) -> Iterator[tuple[int, Any]]:
        """(position, op) of the steps whose op is one of these."""
        for position, step in enumerate(self.steps):
            if isinstance(step.op, kinds):
                yield position, step.op

    @property
    def last(self) -> int:
        """The position of the last step that is more than a change of layout."""
        return max(
            (i for i, step in enumerate(self.steps) if not isinstance(step.op, Rearrangement)),
            default=len(self.steps) - 1,
        )

    def edit(
        self,
        claim: str,
        steps: Steps | None = None,
        inputs: tuple[np.ndarray, ...] | None = None,
        **more: Any,
    ) -> Edit:
        return Edit(
            claim,
            self.steps if steps is None else steps,
            self.inputs if inputs is None else inputs,
            **more,
        )

    def edit_of(self, change: Change, slug: str) -> Edit:
        """The layer with a change, which a cause is named for."""
        steps, inputs = change.applied(self.steps), change.inputs_of(self.inputs)
        calls = dict.fromkeys(self.calls[at] for at in change.places if 0 <= at < len(self.calls))
        return self.edit(
            change.claim,
            steps,
            inputs,
            main=change.slug or slug,
            as_healthy=True,
            calls=tuple(calls),
        )

    def with_op(self, position: int, op: Op) -> Steps:
        """The steps with one op exchanged."""
        return (
            *self.steps[:position],
            replace(self.steps[position], op=op),
            *self.steps[position + 1 :],
        )

    def changed(self, position: int, **fields: Any) -> Steps:
        """The steps with some fields of one op changed."""
        return self.with_op(position, replace(self.steps[position].op, **fields))

    def inserted(self, position: int, *before: Op) -> Steps:
        """The steps with ops put in front of the step at ``position``, on its first input."""
        count = len(before)

        def moved(step: Step) -> Step:
            if step.inputs is None:
                return step
            return replace(
                step,
                inputs=tuple(
                    replace(ref, step=ref.step + count) if ref.step >= position else ref
                    for ref in step.inputs
                ),
            )

        step = self.steps[position]
        first, *rest = step.sources(position)
        new = [Step(op, (first,) if not i else None) for i, op in enumerate(before)]
        here = replace(step, inputs=(Ref(position + count - 1), *rest))
        return (*self.steps[:position], *new, here, *map(moved, self.steps[position + 1 :]))

    def appended(self, *ops: Op, at: int | None = None) -> Steps:
        """The steps with ops put behind all others, or behind the step at ``at``, for all that take
        what it gives."""
        if at is None or at == len(self.steps) - 1:
            return (*self.steps, *(Step(op) for op in ops))
        count, behind = len(ops), [(k, step) for k, step in enumerate(self.steps) if k > at]

        def moved(ref: Ref) -> Ref:
            by = count if ref.step > at or ref == Ref(at) else 0
            return replace(ref, step=ref.step + by)

        rest = (Step(step.op, tuple(map(moved, step.sources(k)))) for k, step in behind)
        return (*self.steps[: at + 1], *(Step(op) for op in ops), *rest)

    @cached_property
    def weights(self) -> dict[str, Weight]:
        return weights_in(self.steps)

    def with_weights(self, arrays: Mapping[str, np.ndarray]) -> Steps:
        """The steps with other effective values, in the framework's layout, for the weights of
        these names."""
        return with_weights(self.steps, arrays)

    def became_steps(self, steps: Steps) -> "Case":
        """A case with other steps, to edit further; its values are still those of the old ones."""
        return replace(self, steps=steps)

    def became(self, edit: Edit) -> "Case":
        """The case in which the edited layer is taken for the healthy one."""
        values = recompute(edit.steps, edit.inputs, ran=self.budget.ran)
        return replace(self, steps=edit.steps, inputs=edit.inputs, values=values)

    def sample(self, index: int) -> "Case | None":
        """The case of one sample of the batch; None where the layer does not work sample by
        sample."""
        return self.samples(slice(index, index + 1))

    def samples(self, part: slice) -> "Case | None":
        """The case of some samples of the batch; None where the layer does not work sample by
        sample."""
        count = self.healthy.shape[:1]
        if not self.comparable or any(x.shape[:1] != count for x in self.inputs):
            return None
        inputs = tuple(x[part] for x in self.inputs)
        try:
            values = recompute(self.steps, inputs, ran=self.budget.ran)
        except Exception as error:
            refused(error)
            return None
        alone, among = np.asarray(values[-1][0]), self.healthy[part]
        if alone.shape != among.shape or not np.allclose(
            alone, among, rtol=1e-9, atol=1e-12, equal_nan=True
        ):
            return None
        known = None if self.known is None else self.known[part]
        return replace(
            self, inputs=inputs, values=values, observed=self.observed[part], known=known
        )


T = TypeVar("T")


def once(function: Callable[..., T]) -> Callable[..., T]:
    """A function of a case that is computed once for it, and kept as long as the case is."""

    @wraps(function)
    def kept(case: Case, *more: Any) -> T:
        key = (function, *more)
        if key not in case.cache:
            case.cache[key] = function(case, *more)
        made: T = case.cache[key]
        return made

    return kept


def shape_of(case: Case, ref: Ref) -> tuple[int, ...]:
    return np.shape(ref.of(case.inputs, case.values))


@once
def users_of(case: Case) -> dict[Ref, list[int]]:
    """The steps that take each tensor."""
    found: dict[Ref, list[int]] = {}
    for position, step in enumerate(case.steps):
        for ref in dict.fromkeys(step.sources(position)):
            found.setdefault(ref, []).append(position)
    return found


def without_layer_number(name: str) -> str:
    """The name of a call or a weight as it is in every layer of a network: without the numbers that
    end one of its parts but the last."""
    return _NUMBER.sub("", name)


_NUMBER = re.compile(r"\d+(?=[./])")


def of_output(
    steps: Steps,
    inputs: tuple[np.ndarray, ...],
    values: Values,
    output: int,
    observed: np.ndarray,
    known: np.ndarray | None = None,
) -> Case:
    """The case of one output; of a layer with several, its steps end in one more that takes that
    output alone."""
    if len(values[-1]) > 1:
        steps, values = (
            (*steps, Step(Outputs(), (Ref(len(steps) - 1, output),))),
            [*values, (values[-1][output],)],
        )
    return Case(with_weights_attached(steps, values), inputs, values, observed, known)
