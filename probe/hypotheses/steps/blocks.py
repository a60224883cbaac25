"""Mistakes in the single numbers that a block of several calls computes with: epsilons, scales."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from probe import ops
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import call_name, tensor_name
from probe.hypotheses.registry import hypothesis, more
from probe.numerics.usual_numbers import EPSILONS
from probe.ops.base import Sum
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change
from probe.trial.edit import Edit

__all__: list[str] = []

_SMALL = 1e-2
"""No larger number that is added is an epsilon."""


@more("other-epsilon")
def other_epsilon(case: Case) -> Iterator[Edit]:
    """Another number that a block adds before it takes a root."""
    for value, places in _scalars(case, ops.Add):
        if 0 < value <= _SMALL:
            yield from _instead(case, "eps", value, places, EPSILONS)


@more("attention-scale")
def attention_scale(case: Case) -> Iterator[Edit]:
    """Another number that a block multiplies or divides a product by, such as 1/d in place of
    1/sqrt(d), or none."""
    for value, places in _scalars(case, ops.Mul, ops.Div):
        if value > 0 and value != 1 and all(_scales_scores(case, place) for place in places):
            yield from _instead(
                case, "the scale of the scores", value, places, _other_factors(case, places)
            )


@hypothesis("missing-scale")
def missing_scale(case: Case) -> Iterator[Edit]:
    """A constant factor of the layer is left out, applied twice or inverted, or has another usual
    value.

    Such as the multiplier of a residual branch, the factor of the logits, a temperature or the
    scaling factor of a mixture of experts. What it multiplies is off by a constant ratio.
    """
    for value, places in _scalars(case, ops.Mul, ops.Div):
        elsewhere = (_scales_rows(case, place) or _scales_scores(case, place) for place in places)
        if value not in (0, 1) and not any(elsewhere):
            if value > 0:
                others = _other_factors(case, places)
            else:
                others = (1.0, -value, value**2)
            yield from _instead(case, _factor_of(case, places), value, places, others)


def _factor_of(case: Case, places: Sequence[int]) -> str:
    """A factor by what it multiplies, where that is one tensor."""
    takers = [(place, at) for place in places for at in users_of(case).get(Ref(place), ())]
    sources = [ref for _, at in takers for ref in case.steps[at].sources(at)]
    others = [ref for ref in sources if ref.step not in places]
    if len(others) != 1:
        return "the factor"
    divides = isinstance(case.steps[takers[0][1]].op, ops.Div) and sources[0] == others[0]
    return f"the {'divisor' if divides else 'factor'} of {tensor_name(case, others[0])}"


def _other_factors(case: Case, places: Sequence[int]) -> Iterable[float]:
    """What may stand in place of a positive factor."""
    value = float(case.values[places[0]][0].item())
    sizes = dict.fromkeys(n for place in places for n in _sizes(case, place))
    usual = (1 / math.sqrt(n) if value < 1 else math.sqrt(n) for n in sizes)
    return dict.fromkeys((value**2, 1.0, math.sqrt(value), 1 / value, *usual))


def _scales_scores(case: Case, place: int) -> bool:
    """Whether a number multiplies queries, keys or their products, on the way to a softmax."""
    users = users_of(case)
    ahead = list(users.get(Ref(place), ()))
    behind = [ref.step for at in ahead for ref in case.steps[at].sources(at)]
    product = any(at >= 0 and _is_product(case, at) for at in behind)
    seen, softmax = set[int](), False
    while ahead:
        at = ahead.pop()
        op = case.steps[at].op
        softmax |= isinstance(op, ops.Softmax | ops.Attention)
        ends = isinstance(op, (ops.Softmax, *_CURVES)) or getattr(op, "weight", None) is not None
        if at in seen or ends:
            continue
        seen.add(at)
        product |= _is_product(case, at) or isinstance(op, ops.Attention)
        ahead += users.get(Ref(at), ())
    return softmax and product


_CURVES = (ops.Pow, ops.Exp, ops.Log, ops.Cos, ops.Sin, ops.Reciprocal)
"""What lies behind these is not multiplied by the number before."""


def _is_product(case: Case, position: int) -> bool:
    """Whether a step sums products of two tensors."""
    op = case.steps[position].op
    return isinstance(op, Sum) and getattr(op, "weight", None) is None


@hypothesis("embedding-scale")
def embedding_scale(case: Case) -> Iterator[Edit]:
    """The rows of an embedding are not multiplied by the square root of their size, or twice.

    The original Transformer and Gemma multiply by sqrt(d), BERT and Llama do not. Every row is off
    by the same factor; a norm behind it may hide that.
    """
    for value, places in _scalars(case, ops.Mul):
        if all(_scales_rows(case, place) for place in places):
            yield from _instead(case, "the embedding's factor", value, places, (1.0, value**2))
    for position, _ in case.having(ops.Embedding):
        size = case.values[position][0].shape[-1]
        by = ops.MulConstant(value=Weight("the factor", None, np.array(math.sqrt(size))))
        yield case.edit(
            f"the embedding is multiplied by sqrt({size}); the layer's is not",
            case.appended(by, at=position),
            do="take the rows as they are",
        )


def _scales_rows(case: Case, place: int) -> bool:
    """Whether a number multiplies rows of a table."""
    return any(
        ref.step >= 0 and isinstance(case.steps[ref.step].op, ops.Embedding | ops.Gather)
        for position in users_of(case).get(Ref(place), ())
        for ref in case.steps[position].sources(position)
    )


def _sizes(case: Case, place: int) -> Iterator[int]:
    """The sizes of what a number multiplies, and of what that is a product of."""
    for position in users_of(case).get(Ref(place), ()):
        for ref in case.steps[position].sources(position):
            made = case.steps[ref.step].sources(ref.step) if ref.step >= 0 else ()
            for source in (ref, *made):
                yield from (n for n in shape_of(case, source)[-3:] if n > 1)


def _scalars(case: Case, *kinds: type) -> Iterator[tuple[float, list[int]]]:
    """The single numbers that steps of these kinds take, parameters or what is made of these alone
    (exp of a logit scale), and where they stand: the same number of several calls, as in each layer
    of a network, is one."""
    found: dict[float, list[int]] = {}
    for position, op in case.having(*kinds) if case.calls else ():
        del op
        for ref in case.steps[position].sources(position):
            if ref.step in of_parameters(case) and case.values[ref.step][0].size == 1:
                places = found.setdefault(float(case.values[ref.step][0].item()), [])
                if ref.step not in places:
                    places.append(ref.step)
    yield from found.items()


def _instead(
    case: Case, name: str, value: float, places: Sequence[int], others: Iterable[float]
) -> Iterator[Edit]:
    module = call_name(case, case.calls[places[0]])
    where = f" in {module}" if module and module not in name else ""
    for other in others:
        if abs(other - value) > 1e-3 * abs(value):
            shapes = {place: case.values[place][0].shape for place in places}
            numbers = {
                place: Step(ops.Constant(np.full(shape, other)), ())
                for place, shape in shapes.items()
            }
            yield case.edit(
                f"{name} is {other:.6g}{where}; the block's is {value:.6g}",
                Change("", "", numbers).applied(case.steps),
                do=f"use {value:.6g}",
            )
