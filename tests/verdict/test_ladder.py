"""The rules by which a party is allowed: from the tightest to the loosest, and no further than
needed."""

import numpy as np
import pytest

from probe import ops
from probe.description import Description, Step, Weight
from probe.evaluation.bounds import Bounds
from probe.evaluation.party import Party, compared
from probe.evaluation.reference import recomputed
from probe.numerics.precision import precision_of, stored_in
from probe.verdict import ladder

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 40)).astype(np.float32)
W = RNG.normal(size=(40, 5)).astype(np.float32)
DENSE = Step(ops.MatMul(weight=Weight("kernel", W, W), bias=None))


def party(*steps, off=0.0, dtype="float32", name="framework", x=X):
    """What a party gave whose values lie ``off`` from NumPy's, in units of the first bound."""
    layer = recomputed(Description(steps), (x,))
    bounds = Bounds(layer, stored_in(dtype))
    outputs = tuple(
        y + off * slack if y.dtype.kind == "f" else y
        for y, slack in zip(layer.values[-1], bounds.usual(), strict=True)
    )
    return Party(name, outputs, bounds)


def forbidden(monkeypatch, *names):
    def raises(*_):
        raise AssertionError("a looser rule was asked")

    for name in names:
        monkeypatch.setattr(ladder, name, raises)
    monkeypatch.setattr(ladder, "ROUNDING", tuple(getattr(ladder, one) for one in NAMES))


NAMES = ("first_bound", "second_look", "equal_indices")


def test_nothing_looser_is_asked_where_a_rule_holds(monkeypatch):
    forbidden(monkeypatch, "second_look", "equal_indices", "lossy_algorithms", "subnormals_flushed")
    result = ladder.judged(party(DENSE, off=0.9))
    assert result.comparison.ok and not result.allowed.lossy
    with pytest.raises(AssertionError, match="looser"):
        ladder.judged(party(DENSE, off=1.1))


@pytest.mark.parametrize("off", [1.01, 3.0, 1e4])
@pytest.mark.parametrize(
    "steps", [(DENSE,), (DENSE, Step(ops.Softmax(axis=1))), (Step(ops.TopK(k=3, axis=1)),)]
)
def test_each_rule_allows_at_least_what_the_one_before_allows(steps, off):
    one = party(*steps, off=off)
    result = None
    for rule in ladder.ROUNDING:
        allowed = rule(one, result)
        if allowed is None:
            continue
        after = compared(one, allowed)
        if result is not None:
            for before, slack in zip(result.allowance, after.allowance, strict=True):
                assert (slack >= before).all()
        result = after


def test_none_holds_where_the_values_are_wrong():
    wrong = party(DENSE, off=1e6)
    result = ladder.judged(wrong)
    assert not result.comparison.ok and not result.doubt and not result.allowed.lossy
    assert result.party is wrong and result.reference[0] is wrong.layer.values[-1][0]


def test_half_precision_inside_is_named_and_needs_power():
    """Values within what rounding every partial sum to float16 may do, but not within rounding of
    the stored output."""
    x, w = X[:, :4], W[:4]
    step = Step(ops.MatMul(weight=Weight("kernel", w, w), bias=None))
    layer = recomputed(Description((step,)), (x,))
    bounds = Bounds(layer, stored_in("float16"))
    first = bounds.usual()[0]
    inside = bounds.by(precision_of("float16")).usual()[0]
    (y,) = layer.values[-1]
    where = np.unravel_index(np.argmax(inside / first), y.shape)
    moved = y.copy()
    moved[where] += 0.9 * inside[where]
    result = ladder.judged(Party("framework", (moved,), bounds))
    assert result.comparison.ok
    assert "float16" in result.allowed.lossy
    assert (result.allowance[0] >= first).all()


def test_a_result_is_a_value():
    result = ladder.judged(party(DENSE))
    with pytest.raises(AttributeError):
        result.doubt = "changed"
    with pytest.raises(AttributeError):
        result.allowed.lossy = "changed"
