"""The weights that would give a party's values, where a layer is not linear in them: by the method
of Levenberg (1944) and Marquardt (1963), from the layer's own.

The projections in front of attention, the products inside of a recurrence. Where the whole sequence
of a recurrence is seen, each time step is held against the state that the party itself had before
it: then each unit depends on its own columns alone, and few equations are solved for each.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from probe.numerics.dtypes import widened
from probe.ops.elementwise.bitwise import (
    BitCast,
    BitShift,
    BitwiseAnd,
    BitwiseNot,
    BitwiseOr,
    BitwiseXor,
)
from probe.ops.recurrent.gate_blocks import Gated
from probe.ops.recurrent.rnn_lstm_gru import GRU, LSTM, RNN
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Steps
from probe.trial.gathered import weights_in
from probe.trial.prices import STEP, multiplied, solving
from probe.weights_read_back.levenberg_marquardt import Problem, all_of, few_of, left_after_step
from probe.weights_read_back.read_back import Solved
from probe.weights_read_back.wanted_outputs import wanted_of

__all__ = ["depending", "iterated_weights", "through", "weights_of_recurrences"]

_MOST = {False: 1 << 10, True: 1 << 13}
"""How many entries are solved for together, at length or not."""
_CELLS = 1 << 22
"""How many slopes are kept at a time: of more values some are looked at, drawn at random."""
_LEAST = 0.05
"""What every value may be off by at least, as a share of the most: others may stand where the
layer's own are 0."""
_ENOUGH = 5
"""How many times as many time steps as entries of a unit are looked at."""
_ZERO = 1e-7
_BITS = (BitCast, BitShift, BitwiseAnd, BitwiseNot, BitwiseOr, BitwiseXor)
"""What has no slope, and takes integers alone."""


def weights_of_recurrences(case: Case, allowed: np.ndarray) -> Iterator[Solved]:
    """What the weights of a recurrence would have to be whose sequence is known."""
    for position, op in case.having(RNN, LSTM, GRU):
        for parts in _parts_of(op):
            if arrays := _in_recurrence(case, position, op, parts, allowed):
                yield Solved(arrays, sum(array.size for array in arrays.values()))
                return


def iterated_weights(case: Case, allowed: np.ndarray, solved: Collection[str]) -> Iterator[Solved]:
    """What a weight would have to be that is none of the ``solved``, as far as the case's budget
    goes."""
    few, slack = _few_samples(case, allowed)
    problems: list[tuple[float, int, str, Problem, np.ndarray]] = []
    for name, weight in case.weights.items():
        if name in solved or weight.effective.size > _MOST[case.thorough]:
            continue
        if not any(isinstance(case.steps[at].op, _BITS) for at in depending(case, name)):
            problem = _of_weight(few, name, slack)
            output = problem.run(problem.have)
            slopes = problem.slopes(problem.have, output)
            if slopes.size:
                case.budget.charge(solving(*slopes.shape[1:]))
                rest = left_after_step(slopes, problem.apart(output))
                problems.append((rest, len(problems), name, problem, slopes))
    for _, _, name, problem, slopes in sorted(problems):
        found = few_of(problem, slopes)
        if found is None:
            found = all_of(problem)
        if found is not None:
            weight, (entries, freedoms) = case.weights[name], found
            yield Solved({name: _tidy(entries, weight.effective)}, freedoms)
            return


def _tidy(entries: np.ndarray, have: np.ndarray) -> np.ndarray:
    """The entries as an array, with 0 for what has come of rounding."""
    array = np.array(entries, np.float64).reshape(have.shape)
    array[(np.abs(array) < _ZERO * np.abs(array).max(initial=0.0)) & (have != 0)] = 0.0
    return array


def _few_samples(case: Case, allowed: np.ndarray) -> tuple[Case, np.ndarray]:
    """So many samples of the batch as tell the largest weights that are solved for."""
    sizes = [weight.effective.size for weight in case.weights.values()]
    most = max((size for size in sizes if size <= _MOST[case.thorough]), default=0)
    count = case.healthy.shape[0] if case.healthy.ndim else 1
    each = max(1, case.healthy.size // max(1, count))
    some = slice(0, -(-2 * most // each) + 1)
    slack = np.broadcast_to(allowed, case.healthy.shape)
    if some.stop >= count or (part := case.samples(some)) is None:
        return case, slack
    return part, slack[some]


def _of_weight(case: Case, name: str, slack: np.ndarray) -> Problem:
    """The whole layer as a function of one weight."""
    have = case.weights[name].effective.astype(np.float64)
    dirty = depending(case, name)
    slack = np.maximum(slack, _LEAST * slack.max(initial=0.0))
    slack = slack if case.known is None else np.where(case.known, slack, np.inf)

    count, most = case.observed.size, _CELLS // have.size
    some: slice | np.ndarray = slice(None)
    if count > most:
        some = np.random.default_rng(0).choice(count, most, replace=False)

    def run(entries: np.ndarray) -> np.ndarray:
        steps = case.with_weights({name: entries.reshape(have.shape)})
        return through(case, steps, dirty).reshape(-1, 1)[some]

    columns = np.arange(have.size)[:, None]
    target = case.observed.reshape(-1, 1)[some]
    slack = slack.reshape(-1, 1)[some]
    return Problem(have.reshape(-1), run, target, slack, columns, case.budget)


def depending(case: Case, name: str) -> set[int]:
    """The steps whose outputs a weight changes."""
    found = set[int]()
    for i, step in enumerate(case.steps):
        if name in weights_in((step,)) or any(ref.step in found for ref in step.sources(i)):
            found.add(i)
    return found


def through(case: Case, steps: Steps, dirty: Collection[int]) -> np.ndarray:
    """What the layer gives with other steps, of which those are run anew."""
    values = list(case.values)
    with np.errstate(all="ignore"):
        for i in sorted(dirty):
            given = [widened(ref.of(case.inputs, values)) for ref in steps[i].sources(i)]
            values[i] = steps[i].op.run(*given)
            case.budget.ran(steps[i].op, given, values[i])
    return np.asarray(values[-1][0])


# Recurrences.

_Part = tuple[str, int | None]
"""A field of a recurrence, or a row of its bias of two."""


def _parts_of(op: Gated) -> Iterator[tuple[_Part, ...]]:
    """What is solved for together: of two biases that are added up one at a time."""
    plain = op.state_quantizer is None and op.product_quantizer is None
    if not plain or getattr(op, "projection", None) is not None:
        return
    if isinstance(op, GRU) and not op.reset_after:
        return
    products: tuple[_Part, ...] = (("kernel", None), ("recurrent", None))
    biases: list[_Part] = []
    for name in ("bias", "recurrent_bias"):
        if (weight := getattr(op, name)) is not None:
            biases += (
                [(name, row) for row in range(2)] if weight.value.ndim == 2 else [(name, None)]
            )
    yield from [(*products, bias) for bias in biases] or [products]


def _in_recurrence(
    case: Case,
    position: int,
    op: Any,
    parts: Sequence[_Part],
    allowed: np.ndarray,
) -> dict[str, np.ndarray]:
    """The weights of a recurrence whose sequence is known, each step of it from the state before;
    none where there are none."""
    sequence = next(iter(wanted_of(case, position, allowed)), None)
    if sequence is None or not np.isfinite(sequence.target).all() or op.has_mask:
        return {}
    count = len(case.steps[position].sources(position))
    x, _, states = op.operands([case.input_of(position, i) for i in range(count)])
    full = {name: np.array(getattr(op, name).value, np.float64) for name, _ in parts}
    views = [full[name] if row is None else full[name][row] for name, row in parts]
    ends = np.cumsum([view.size for view in views])
    have = np.concatenate([view.reshape(-1) for view in views])
    columns = np.arange(len(have)).reshape(-1, op.width)
    some = slice(0, -(-_ENOUGH * len(columns) // max(1, len(x))))
    x, states = x[:, some], tuple(state[some] for state in states)
    target, slack = sequence.target[:, some], sequence.slack[:, some]
    times = len(x) if op.state_count > 1 else 1
    cost = times * STEP + multiplied(have.size, target.size // op.width)

    def changed(entries: np.ndarray) -> dict[str, np.ndarray]:
        for view, part in zip(views, np.split(entries, ends[:-1]), strict=True):
            view[...] = part.reshape(view.shape)
        return full

    def run(entries: np.ndarray) -> np.ndarray:
        case.budget.charge(cost)
        weights = {name: Weight("", None, array) for name, array in changed(entries).items()}
        return _step_by_step(replace(op, **weights), x, states, target).reshape(-1, op.width)

    problem = Problem(
        have,
        run,
        target.reshape(-1, op.width),
        slack.reshape(-1, op.width),
        columns,
        case.budget,
    )
    found = all_of(problem)
    if found is None or np.array_equal(found[0], have):
        return {}
    return {
        getattr(op, name).name: _in_framework(getattr(op, name), array)
        for name, array in changed(found[0]).items()
        if not np.array_equal(array, getattr(op, name).value)
    }


def _step_by_step(
    op: Any, x: np.ndarray, states: tuple[np.ndarray, ...], theirs: np.ndarray
) -> np.ndarray:
    """The sequence in which each step starts from the state that ``theirs`` shows."""
    order = slice(None, None, -1 if op.reverse else 1)
    x, theirs = x[order], theirs[order]
    before = np.concatenate([states[0][None], theirs[:-1]])
    if op.state_count == 1:
        share, step = op.arranged(x.dtype, x.shape[0] * x.shape[1])
        flat = share(x.reshape(1, -1, x.shape[-1]))[0]
        made = step(flat, (before.reshape(-1, before.shape[-1]),))[0].reshape(theirs.shape)
    else:
        share, step = op.arranged(x.dtype, x.shape[1])
        made, rest = np.empty_like(theirs), states[1:]
        for t, part in enumerate(share(x)):
            made[t], *rest = step(part, (before[t], *rest))
    return np.asarray(made[order])


def _in_framework(weight: Weight, array: np.ndarray) -> np.ndarray:
    """An array in the op's layout in the framework's; what the op does not use stays."""
    place = weight.to_op(np.arange(weight.effective.size).reshape(weight.effective.shape))
    whole = np.array(weight.effective, np.float64).reshape(-1)
    whole[place.reshape(-1)] += (array - weight.value).reshape(-1)
    return _tidy(whole, weight.effective)
