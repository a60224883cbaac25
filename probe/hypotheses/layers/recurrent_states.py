"""Mistakes with the states of recurrences: what they begin with, which one is taken, and how far it
is carried."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import combinations, permutations
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.grouped_changes import all_and_each
from probe.hypotheses.edits.recurrent_decompositions import C, H, Scanned
from probe.hypotheses.edits.regrouped_steps import decomposed
from probe.hypotheses.edits.rewriting import origin_of, steps_taking
from probe.hypotheses.edits.step_words import step_name
from probe.hypotheses.layers.recurrent import everywhere_and_singly
from probe.hypotheses.registry import hypothesis, more
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case, users_of
from probe.trial.change import Change
from probe.trial.edit import Edit

__all__: list[str] = []


@hypothesis("initial-state")
def initial_state(case: Case) -> Iterator[Edit]:
    """The state begins otherwise: with zeros where one is given, with ones, with the cell state for
    the hidden state, or with that of another layer or direction.

    Keras and PyTorch begin with zeros unless ``initial_state`` or ``h_0`` is given; PyTorch's
    ``h_0`` has a row for each layer and direction (forward, then backward), and Keras' LSTM takes
    hidden and cell state in that order. The error fades with time.
    """
    given = _given_states(case)
    groups = list(all_and_each(given))
    for some in groups:
        zeros = {index: np.zeros_like(case.inputs[index]) for index in some}
        yield _of_inputs(case, zeros, f"{_listed(some)} taken as zeros")
    for some in groups:
        rows = {len(case.inputs[index]) for index in some if case.inputs[index].ndim > 2}
        for order in _orders(*rows) if len(rows) == 1 else ():
            turned = {index: case.inputs[index][list(order)] for index in some}
            words = f"{_listed(some)} taken with the rows (layers, directions) in the order {order}"
            yield _of_inputs(case, turned, words)
    for one, other in combinations(given, 2):
        first, second = case.inputs[one], case.inputs[other]
        if first.shape == second.shape:
            words = f"inputs {one} and {other}, the states, are exchanged"
            yield _of_inputs(case, {one: second, other: first}, words)
    yield from _not_handed_on(case)
    yield from _begun_with_ones(case)


def _orders(count: int) -> Iterator[tuple[int, ...]]:
    """Orders of a state's rows: all of few, else reversed, in pairs, and by the directions first or
    last."""
    rows = np.arange(count)
    usual = [rows[::-1], np.roll(rows, 1), np.roll(rows, -1)]
    if count % 2 == 0:
        usual += [rows.reshape(-1, 2)[:, ::-1], rows.reshape(-1, 2).T, rows.reshape(2, -1).T]
    orders = [tuple(order.ravel().tolist()) for order in usual]
    if count <= _FEW:
        orders = list(permutations(rows.tolist()))
    yield from (order for order in dict.fromkeys(orders) if order != tuple(rows.tolist()))


_FEW = 4
"""Rows that are tried in every order."""


def _not_handed_on(case: Case) -> Iterator[Edit]:
    """Recurrences that begin with zeros, not with what another one ended in."""

    def begun(position: int) -> Step:
        step = case.steps[position]
        op: Any = step.op
        return Step(replace(op, has_states=False), step.sources(position)[: 1 + op.has_mask])

    found = [position for position, op in case.having(ops.Recurrence) if op.has_states]
    inner = [
        position
        for position in found
        if origin_of(case, case.steps[position].sources(position)[-1]).step >= 0
    ]
    for some in all_and_each(inner, most=8):
        steps = {position: begun(position) for position in some}
        which = "" if some is inner else f" in {step_name(case, some[0])}"
        claim = f"the state begins with zeros, not with that of the call before{which}"
        made = Change("", "", steps).applied(case.steps)
        yield case.edit(claim, made, do="begin with the states that the layer is given")


def _given_states(case: Case) -> list[int]:
    """The inputs that are initial states of recurrences."""
    found = list[int]()
    for position, op in case.having(ops.Recurrence):
        states = case.steps[position].sources(position)[1 + op.has_mask :]
        for origin in (origin_of(case, ref) for ref in states if op.has_states):
            if origin.step < 0 and origin.index and origin.index not in found:
                found.append(origin.index)
    return found


def _listed(inputs: list[int]) -> str:
    many = len(inputs) > 1
    return f"input{'s' * many} {' and '.join(map(str, inputs))} {'are' if many else 'is'}"


def _of_inputs(case: Case, others: dict[int, np.ndarray], claim: str) -> Edit:
    inputs = tuple(others.get(k, x) for k, x in enumerate(case.inputs))
    return case.edit(claim, inputs=inputs, do="begin with the states that the layer is given")


def _begun_with_ones(case: Case) -> Iterator[Edit]:
    def change(op: Scanned, first: tuple[float, ...]) -> Scanned | None:
        count = len(op.sizes)
        if op.has_states or (count == 1 and not all(first)):
            return None
        return replace(op, first=first[:count])

    for first, words in (
        ((1.0, 1.0), "the state begins"),
        ((1.0, 0.0), "the hidden state begins"),
        ((0.0, 1.0), "the cell state begins"),
    ):
        yield from _otherwise(case, partial(change, first=first), f"{words} with ones, not zeros")


def _otherwise(case: Case, change: Any, claim: str, do: str = "") -> Iterator[Edit]:
    """The layer with its recurrences changed, by the steps of their cells."""
    if any(case.having(ops.Recurrence)):
        whole = decomposed(case)
        for steps, where in everywhere_and_singly(whole, change, Scanned):
            yield whole.edit(f"{claim}{where}", steps, as_healthy=True, do=do)


@more("initial-state")
def forget_bias(case: Case) -> Iterator[Edit]:
    """1 added to the bias of an LSTM's forget gate, as TensorFlow 1's cells do when they run and
    Keras' ``unit_forget_bias`` does when the weights are drawn."""

    def change(op: Any, by: float) -> Any:
        if not isinstance(op, ops.LSTM) or op.bias is None:
            return None
        bias = np.array(op.bias.value)
        np.atleast_2d(bias)[0, op.block("f")] += by
        return replace(op, bias=Weight(op.bias.name, None, bias))

    for by, words in ((1.0, "added to"), (-1.0, "subtracted from")):
        for steps, where in everywhere_and_singly(case, partial(change, by=by)):
            yield case.edit(
                f"1 is {words} the bias of the forget gate{where}",
                steps,
                do="use the bias as it is stored",
            )


@hypothesis("other-state")
def other_state(case: Case) -> Iterator[Edit]:
    """The cell state of an LSTM is taken for its hidden state, or the final state of another layer
    or direction.

    The hidden state is o * tanh(c), the output of each step; PyTorch returns (output, (h_n, c_n)),
    of which h_n and c_n have a row for each layer and direction, Keras with ``return_state`` the
    output, h and c.
    """
    do = "take the hidden state, o * tanh(c)"

    def shown(op: Scanned) -> Scanned | None:
        if len(op.sizes) > 1:
            return replace(op, shown=1)
        return None

    yield from _otherwise(case, shown, "the output is the cell state, not the hidden state", do)

    def fed(op: Scanned) -> Scanned | None:
        if len(op.sizes) < 2 or op.sizes[0] != op.sizes[1]:
            return None
        body = (
            Step(step.op, tuple(C if ref == H else ref for ref in step.sources(position)))
            for position, step in enumerate(op.body)
        )
        return replace(op, body=tuple(body))

    yield from _otherwise(case, fed, "the gates take the cell state, not the hidden state", do)
    ends = [
        (Ref(position, index), f"the final {kind} state of recurrence {number}")
        for number, (position, op) in enumerate(case.having(ops.Recurrence))
        for index, kind in enumerate(("hidden", "cell")[: isinstance(op, ops.LSTM) + 1], 1)
    ]
    for (one, taken), (other, instead) in permutations(ends, 2):
        users = users_of(case).get(one, ())
        shapes = {case.values[ref.step][ref.index].shape for ref in (one, other)}
        if users and len(shapes) == 1 and min(users) > other.step:
            claim = f"{instead} is taken in place of {taken}"
            yield case.edit(claim, steps_taking(case, one, other), do=f"take {taken}")


@hypothesis("carried-state")
def carried_state(case: Case) -> Iterator[Edit]:
    """The state is not reset: each sample begins with the state that the one before ended in, or
    the layer with that of a pass before. Or it is reset at every step, or at each chunk of them.

    Keras with ``stateful=True`` keeps the state of each sample from batch to batch until
    ``reset_states()``; PyTorch begins with zeros unless the state is handed on. The first sample,
    or the first step, is right.
    """
    ways: dict[str, dict[str, Any]] = {
        "the state is carried from each sample to the next": {"carried": True},
        "the state begins with what a pass over the same input ended with": {"again": True},
        "the state is reset at every time step": {"reset": 1},
    }
    for size in _chunks(case):
        ways[f"the state is reset after every {size} time steps"] = {"reset": size}
    for claim, changed in ways.items():
        change: Any = partial(replace, **changed)
        yield from _otherwise(case, change, claim, "begin each sample with the layer's state")


def _chunks(case: Case) -> list[int]:
    """After how many time steps what was observed may first differ, from either end."""
    lengths = {len(case.values[at][0]) for at, _ in case.having(ops.Recurrence)}
    if not case.comparable:
        return []
    apart = np.abs(case.observed - case.healthy)
    apart = apart > _DIFFERS * apart.max(initial=0.0)
    found = list[int]()
    for axis, size in enumerate(apart.shape):
        wrong = np.flatnonzero(np.moveaxis(apart, axis, 0).reshape(size, -1).any(axis=1))
        if size in lengths and len(wrong):
            found += [int(wrong[0]), int(size - 1 - wrong[-1])]
    intervals = found or range(2, min(max(lengths, default=0), _SHORT))
    return [size for size in dict.fromkeys(intervals) if size > 1]


_DIFFERS, _SHORT = 1e-3, 16
"""From which share of the largest difference on an element differs; and how many chunks are tried
where the output has no time steps."""
