"""How one element of an output came about, held against the arrays that it was made of."""

import math

from probe.explanation.origin import number
from probe.explanation.trace import origin_of

__all__ = ["told"]

UNIT = 2.0**-53


def holds(term, inputs, weights, intermediate, foreign_factors=False):
    """A term says what stands at the places that it names."""
    if term.padding:
        assert term.input_value == 0 and term.input_index is None
    elif not term.input.startswith("input"):
        assert (
            intermediate
            and term.inner is not None
            and math.isclose(
                term.inner.steps[-1].value, term.input_value, rel_tol=1e-12, abs_tol=1e-12
            )
        )
        assert not any(inner.inner for inner in term.inner.terms)
        for inner in term.inner.terms:
            holds(inner, inputs, weights, False)
    else:
        assert inputs[int(term.input[5:] or 0)][term.input_index] == term.input_value
    if term.weight in weights:
        assert weights[term.weight][term.weight_index] == term.weight_value
    elif term.weight is not None and not foreign_factors:
        assert inputs[int(term.weight[5:])][term.weight_index] == term.weight_value
    assert abs(term.product) == abs(
        term.input_value * (1.0 if term.weight is None else term.weight_value)
    )


def told(steps, inputs, values, weights, at, foreign_factors=False):
    """The element's origin: its terms stand where they say and add up to it. With
    ``foreign_factors`` some factors are neither a weight's nor an input's."""
    origin = origin_of(steps, inputs, values, at)
    for term in origin.terms:
        holds(term, inputs, weights, True, foreign_factors)
    for change in origin.steps:
        for member in change.members:
            if member.input.startswith("input"):
                assert inputs[int(member.input[5:] or 0)][member.input_index] == member.value
    parts = [
        *(term.product for term in origin.terms),
        *([] if origin.bias is None else [origin.bias]),
    ]
    if parts:
        assert origin.total == math.fsum(parts)
    if origin.computed is not None:
        bound = max(1, len(parts)) * UNIT * math.fsum(map(abs, parts or [origin.total]))
        assert abs(origin.total - origin.computed) <= bound
        assert number(origin.total) == number(origin.computed) or abs(origin.total) < bound * 2**23
    value = float(values[-1][0][at])
    assert math.isclose(origin.steps[-1].value, value, rel_tol=1e-12, abs_tol=1e-12)
    return origin
