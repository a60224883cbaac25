"""How one number of a layer's output came about: every term, the sum, and what each later step does
to it.

Ops say what one of their outputs is made of, in their own layout (``Op.contributions``). Here that
is followed back through the steps, and through whatever only moves elements, to the call's own
inputs and the framework's own weights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from probe.evaluation.allowance import Values
from probe.explanation.origin import Breakdown, LaterStep, Member, Term, total
from probe.numerics.dtypes import widened
from probe.ops import (
    Constant,
    Contributions,
    Outputs,
    Rearrangement,
    Reshape,
    Stage,
    Terms,
    Transpose,
    named,
)
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight

__all__ = ["origin_of"]


def origin_of(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    at: tuple[int, ...],
    output: int = 0,
    calls: Sequence[str] = (),
) -> Breakdown:
    """The terms and the later steps of one element of the last step's output; ``calls`` names the
    call that each step is part of."""
    road = _Road(steps, [widened(x) for x in inputs], values, calls)
    return road.trace(Ref(len(steps) - 1, output), at, tuple(range(len(at))))


Layout = tuple[int, ...] | None
"""Which axis of an array in between each axis of the output is; None where they no longer
correspond."""


class _Factor(NamedTuple):
    """The four fields of a Term that are about its weight."""

    name: str | None
    place: tuple[int, ...] | None
    value: float | None
    stored: float | None


@dataclass(frozen=True, eq=False)
class _Road:
    """The steps of one call with all their values."""

    steps: Sequence[Step]
    inputs: Sequence[np.ndarray]
    values: Values
    calls: Sequence[str] = ()

    def array(self, ref: Ref) -> np.ndarray:
        if ref.step < 0:
            return self.inputs[ref.index]
        return self.values[ref.step][ref.index]

    def inputs_of(self, position: int) -> list[np.ndarray]:
        return [self.array(ref) for ref in self.steps[position].sources(position)]

    def homes(
        self, ref: Ref, where: np.ndarray, rows: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, Ref | None, np.ndarray]]:
        """Follows elements (a row each) back through what only moves them: (which rows, whose
        element, which); None is padding."""
        if rows is None:
            rows = np.arange(len(where))
        op = self.steps[ref.step].op if ref.step >= 0 else None
        if isinstance(op, Outputs):
            yield from self.homes(self.steps[ref.step].sources(ref.step)[ref.index], where, rows)
            return
        if not isinstance(op, Rearrangement) or ref.index:
            yield rows, ref, where
            return
        which, back = op.follow(where, self.inputs_of(ref.step))
        sources = self.steps[ref.step].sources(ref.step)
        for k in np.unique(which).tolist():
            chosen = which == k
            if k < 0:
                yield rows[chosen], None, back[chosen]
            else:
                yield from self.homes(sources[k], back[chosen], rows[chosen])

    def name(self, ref: Ref) -> str:
        if ref.step >= 0 and self.calls and not isinstance(self.steps[ref.step].op, Constant):
            return f"output of {self.calls[ref.step]}"
        if ref.step >= 0:
            return f"{type(self.steps[ref.step].op).__name__} output"
        if len(self.inputs) == 1:
            return "input"
        return f"input {ref.index}"

    def labels(
        self, ref: Ref, where: np.ndarray, layout: Layout
    ) -> list[tuple[str, tuple[int, ...] | None, Ref | None, tuple[int, ...]]]:
        """Of each element: whose it is and its index there (None: padding), both for a reader and
        as they are."""
        entries: list[Any] = [None] * len(where)
        for rows, home, places in self.homes(ref, where):
            for row, place in zip(rows, places.tolist(), strict=True):
                at = tuple(place)
                if home is None:
                    entries[row] = ("padding", None, None, at)
                    continue
                if home.step < 0 or layout is None or len(layout) != len(at):
                    shown = at
                else:
                    shown = tuple(at[axis] for axis in layout)
                entries[row] = (self.name(home), shown, home, at)
        return entries

    def terms(self, position: int, group: Terms, layout: Layout, nested: bool) -> Iterator[Term]:
        """A group of terms with their elements named as the framework names them."""
        sources, given = self.steps[position].sources(position), self.inputs_of(position)
        x = given[group.input]
        inside = ((group.where >= 0) & (group.where < x.shape)).all(axis=1)
        taken = np.zeros(len(group.where))
        taken[inside] = x[tuple(group.where[inside].T)]
        labels: list[Any] = [("padding", None, None, ())] * len(taken)
        for row, label in zip(
            np.flatnonzero(inside).tolist(),
            self.labels(sources[group.input], group.where[inside], layout),
            strict=True,
        ):
            labels[row] = label
        factors = self._factors(position, group, layout)
        for row, (name, index, home, at) in enumerate(labels):
            weight = factors[row] if factors else _Factor(None, None, None, None)
            if weight.value is None:
                product = group.sign * taken[row]
            else:
                product = group.sign * taken[row] * weight.value
            if home is not None and home.step >= 0 and not nested:
                inner = self.trace(home, at, _kept(layout, len(at)), True)
            else:
                inner = None
            channel = None if group.channels is None else int(group.channels[row])
            yield Term(
                name,
                index,
                float(taken[row]),
                *weight,
                float(product),
                padding=index is None,
                channel=channel,
                inner=inner,
            )

    def _factors(self, position: int, group: Terms, layout: Layout) -> list[_Factor]:
        """What each term is multiplied by, named as the framework names it; nothing where they are
        added as they are."""
        if group.factor is None or group.factor_where is None:
            return []
        places = tuple(group.factor_where.T)
        if not isinstance(group.factor, Weight):
            ref = self.steps[position].sources(position)[group.factor]
            named_as = self.labels(ref, group.factor_where, layout)
            # an array without axes has one element for all
            values = np.broadcast_to(self.array(ref)[places], len(named_as))
            return [
                _Factor(label[0], label[1], float(value), None)
                for label, value in zip(named_as, values, strict=True)
            ]
        weight = group.factor
        indices = weight.index_of(places)
        used = weight.value[places].astype(np.float64)
        if weight.stored is None or weight.stored.shape != weight.effective.shape:
            told = np.full(len(used), np.nan)
        else:
            told = weight.stored[indices]
        held = [
            None if other == mine or np.isnan(other) else float(other)
            for mine, other in zip(used, told, strict=True)
        ]
        rows = np.stack(indices, axis=1).tolist()
        return [
            _Factor(weight.name, tuple(row), float(value), stored)
            for row, value, stored in zip(rows, used, held, strict=True)
        ]

    def changes(self, position: int, stages: Sequence[Stage], layout: Layout) -> list[LaterStep]:
        """What an op does after its sum, with the elements it takes besides."""
        lines = []
        for stage in stages:
            members: list[Member] = []
            if stage.members is not None:
                ref = self.steps[position].sources(position)[stage.members.input]
                named_as = self.labels(ref, stage.members.where, layout)
                taken = np.broadcast_to(
                    self.array(ref)[tuple(stage.members.where.T)], len(named_as)
                )
                members = [
                    Member(label[0], label[1], float(value))
                    for label, value in zip(named_as, taken, strict=True)
                ]
            lines.append(LaterStep(stage.words, stage.value, tuple(members)))
        return lines

    def trace(
        self, ref: Ref, at: tuple[int, ...], layout: Layout, nested: bool = False
    ) -> Breakdown:
        """Follows one element back to the sum it came from, or to the call's input."""
        later: list[LaterStep] = []
        while ref.step >= 0:
            if isinstance(self.steps[ref.step].op, Outputs):
                ref = self.steps[ref.step].sources(ref.step)[ref.index]
                continue
            op, inputs, value = (
                self.steps[ref.step].op,
                self.inputs_of(ref.step),
                float(self.array(ref)[at]),
            )
            sources = self.steps[ref.step].sources(ref.step)
            if isinstance(op, Rearrangement) and not ref.index:
                which, back = op.follow(np.array([at], int), inputs)
                if which[0] < 0:
                    return Breakdown((), None, value, value, (LaterStep("padding", value), *later))
                layout = _turned(layout, op, len(at), back.shape[1])
                ref, at = sources[which[0]], tuple(back[0].tolist())
                continue
            if ref.index:
                account = Contributions((), (Stage(op.title(inputs), value),))
            else:
                account = op.contributions(inputs, self.values[ref.step], at)
            later = self.changes(ref.step, account.stages, layout) + later
            group = account.terms[0] if len(account.terms) == 1 else None
            if (
                group is not None
                and len(group.where) == 1
                and group.factor is None
                and group.sign == 1
                and account.bias is None
            ):
                ref, at = sources[group.input], tuple(group.where[0].tolist())
                layout = _kept(layout, len(at))
                continue
            if not account.terms:
                return Breakdown((), None, value, value, tuple(later))
            return self._summed(ref, at, account, layout, nested, later)
        value = float(self.array(ref)[at])
        name = f"{self.name(ref)}[{', '.join(map(str, at))}]"
        return Breakdown(
            (Term(self.name(ref), at, value, None, None, None, None, value),),
            None,
            value,
            value,
            (LaterStep(name, value), *later),
        )

    def _summed(
        self,
        ref: Ref,
        at: tuple[int, ...],
        account: Contributions,
        layout: Layout,
        nested: bool,
        later: list[LaterStep],
    ) -> Breakdown:
        terms = tuple(
            term for group in account.terms for term in self.terms(ref.step, group, layout, nested)
        )
        products = [term.product for term in terms]
        first = [
            LaterStep(f"the sum of {len(terms)} term{'s' * (len(terms) != 1)}", total(products))
        ]
        bias = None
        if account.bias is not None:
            bias = float(account.bias.value[account.bias_where])
            first.append(
                LaterStep(
                    f"plus {named(account.bias, account.bias_where)}", total([*products, bias])
                )
            )
        computed = float(self.array(ref)[at]) if not account.stages else None
        return Breakdown(terms, bias, first[-1].value, computed, (*first, *later))


def _kept(layout: Layout, rank: int) -> Layout:
    """The layout where it still fits."""
    if layout is not None and len(layout) == rank:
        return layout
    return None


def _turned(layout: Layout, op: Rearrangement, rank: int, before: int) -> Layout:
    """The layout one op further back."""
    if layout is None or rank != before or isinstance(op, Reshape):
        return None
    if isinstance(op, Transpose):
        return tuple(op.perm[axis] for axis in layout)
    return layout
