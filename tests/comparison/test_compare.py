"""Three parties compared in one pass say what three comparisons of two say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe.comparison import compare as of_two
from probe.comparison import compare_three as of_three
from probe.comparison.compare import compare
from probe.comparison.compare_three import compare_three

PAIRS = ((0, 1, 1.0), (1, 2, 1.0), (0, 2, 2.0))


def cut_into(block, patch):
    """Makes both go over arrays in blocks of so many elements."""
    for module in (of_two, of_three):
        patch.setattr(module, "_BLOCK", block)


def _same(one, other, exact=1e-5):
    assert (one.ok, one.count, one.size) == (other.ok, other.count, other.size)
    assert one.ratio == pytest.approx(other.ratio, rel=exact, abs=1e-7)
    if one.ratio:
        assert one.worst.values == other.worst.values or one.ratio == pytest.approx(
            other.ratio, rel=exact
        )


@examples(40)
@given(
    shape=st.lists(st.integers(1, 7), max_size=4),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]),
    wander=st.sampled_from([0.0, 0.5, 2.0]),
    third=st.sampled_from(["equal", "partly", "other"]),
    kind=st.sampled_from(["float32", "float64", "single", "zero"]),
    turned=st.booleans(),
    block=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_three_in_one_pass(shape, scale, wander, third, kind, turned, block, seed):
    rng = np.random.default_rng(seed)
    exact = rng.normal(size=shape) * scale
    allowed = np.asarray(np.abs(exact) * 2.0**-24 * (1 + rng.random(shape)) + 2.0**-124)
    framework = (exact + wander * allowed * rng.uniform(-1, 1, shape)).astype(np.float32)
    onnx = (exact + wander * allowed * rng.uniform(-1, 1, shape)).astype(np.float32)
    onnx = (
        framework.copy()
        if third == "equal"
        else np.where(rng.random(shape) < 0.5, framework, onnx)
        if third == "partly"
        else onnx
    )
    allowed = {
        "float32": allowed.astype(np.float32),
        "float64": allowed,
        "single": np.broadcast_to(allowed.max(), shape),
        "zero": np.broadcast_to(0.0, shape),
    }[kind]
    parties = [framework, exact, np.asarray(onnx)]
    if turned:
        parties = [part.T.copy().T for part in parties]
    with pytest.MonkeyPatch.context() as patch:
        cut_into(block, patch)
        found = compare_three(*parties, allowed)
        each = [
            compare([parties[left]], [parties[right]], [allowed], times)
            for left, right, times in PAIRS
        ]
    if found is None:
        assert not all(each) or max(one.ratio for one in each) > 1 - 1e-6
        return
    for one, other in zip(found, each, strict=True):
        _same(one, other)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_is_no_number_is_left_to_pairs(place, value):
    parties = [np.ones((3, 4), np.float32), np.ones((3, 4)), np.ones((3, 4), np.float32)]
    parties[place][1, 2] = value
    assert compare_three(*parties, np.full((3, 4), 1e-6)) is None
    assert (
        compare_three(
            *(part[:, :3] if k == place else part for k, part in enumerate(parties)),
            np.full((3, 4), 1e-6),
        )
        is None
    )


def test_the_worst_element_is_found_across_pieces(monkeypatch):
    cut_into(10, monkeypatch)
    exact = np.zeros((6, 7))
    framework, onnx = np.zeros((2, 6, 7), np.float32)
    framework[1, 2], framework[4, 4], onnx[5, 6] = 0.4, 0.5, 0.9
    one, two, three = compare_three(framework, exact, onnx, np.ones((6, 7), np.float32))
    assert (one.worst.index, two.worst.index, three.worst.index) == ((4, 4), (5, 6), (5, 6))
    assert (
        one.ratio == 0.5 and two.ratio == pytest.approx(0.9) and three.ratio == pytest.approx(0.45)
    )
    assert three.worst.allowance == 2.0


@examples(40)
@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    wander=st.sampled_from([0.5, 1.5, 3.0]),
    partial=st.booleans(),
    block=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_elements_beyond_a_part_of_the_allowance_are_looked_at(shape, wander, partial, block, seed):
    """With the whole allowance of those, the three agree exactly where each two do."""
    rng = np.random.default_rng(seed)
    exact = rng.normal(size=shape)
    part = np.full(shape, 1e-3)
    whole = part * rng.uniform(1, 2, shape)
    framework, onnx = (
        (exact + wander * part * rng.uniform(-1, 1, shape)).astype(np.float32) for _ in range(2)
    )
    parties, looked = (framework, exact, onnx), []

    def allowance_at(where):
        looked.append(where)
        return whole[where]

    with pytest.MonkeyPatch.context() as patch:
        cut_into(block, patch)
        found = compare_three(*parties, part.copy(), allowance_at, partial)
    each = [compare([parties[a]], [parties[b]], [whole], times) for a, b, times in PAIRS]
    assert (found is not None) == all(each)
    if found is None:
        return
    beyond = np.flatnonzero(np.maximum(*(np.abs(one - exact) for one in (framework, onnx))) > part)
    assert bool(looked) == (partial or bool(beyond.size))
    for comparison, other, (*_, times) in zip(found, each, PAIRS, strict=True):
        assert comparison.ok and comparison.ratio <= 1
        if looked:
            assert comparison.worst.allowance == times * whole[comparison.worst.index]
        if beyond.size:  # the worst of all is among those, or among the worst of what is left
            assert comparison.ratio <= other.ratio + 1e-5


def test_so_many_elements_are_looked_at_and_no_more(monkeypatch):
    monkeypatch.setattr(of_three, "_LOOKS", 3)
    exact, part = np.zeros(6), np.ones(6)
    for beyond, left_to_pairs in ((3, False), (4, True)):
        framework = np.zeros(6, np.float32)
        framework[:beyond] = 1.5
        found = compare_three(
            *(framework, exact, framework, part.copy()), lambda where: np.full(len(where[0]), 2.0)
        )
        assert (found is None) == left_to_pairs


@pytest.mark.parametrize("place", range(3))
def test_other_dtypes_are_left_to_pairs(place):
    parties = [np.ones(3, np.float32), np.ones(3), np.ones(3, np.float32)]
    assert compare_three(*parties, np.ones(3))
    parties[place] = parties[place].astype(np.float32 if place == 1 else np.float64)
    assert compare_three(*parties, np.ones(3)) is None


@pytest.mark.parametrize("nothing", [0.0, np.nan])
@pytest.mark.parametrize("first", [False, True])
def test_an_allowance_of_nothing_allows_what_is_equal(nothing, first):
    allowed = np.array([nothing, 1.0] if first else [1.0, nothing])
    far = np.where(allowed == 1, 1.5, 0.0)
    comparison = compare([far], [np.zeros(2)], [allowed], 2.0)
    assert comparison.ok and comparison.ratio == 0.75
    assert comparison.worst.index == (int(first),) and comparison.worst.allowance == 2.0
    far = np.where(allowed == 1, 2.5, 1e-9)
    comparison = compare([far], [np.zeros(2)], [allowed], 2.0)
    assert (comparison.ok, comparison.count, comparison.ratio) == (False, 2, np.inf)
    equal = compare([far], [far], [allowed])
    assert (equal.ok, equal.count, equal.ratio, str(equal)) == (True, 0, 0.0, "equal")


@examples(30)
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=2), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_several_outputs_are_all_compared(shapes, seed):
    """The whole is what each output is by itself, the worst of them first."""
    rng = np.random.default_rng(seed)
    left, allowed = [rng.normal(size=one) for one in shapes], [np.ones(one) for one in shapes]
    right = [one + rng.uniform(-1.1, 1.1, one.shape) for one in left]
    each = [compare([a], [b], [c]) for a, b, c in zip(left, right, allowed, strict=True)]
    found = compare(left, right, allowed)
    assert found.ok == all(each)
    assert (found.count, found.size) == (sum(x.count for x in each), sum(x.size for x in each))
    assert found.ratio == max(one.ratio for one in each)
    if found.worst is not None:
        worst = each[found.worst.output].worst
        assert (found.worst.index, found.worst.values) == (worst.index, worst.values)
        assert found.ratio == each[found.worst.output].ratio


def test_an_output_that_was_left_out_is_not_compared():
    one, other = np.zeros(2), np.ones(3)
    allowed = [np.ones(2), np.ones(3)]
    assert compare([one, None], [one, other], allowed).size == 2
    nothing = compare([None, None], [one, other], allowed)
    assert not nothing.ok and "no output to compare" in nothing.reason
    unlike = compare([one], [one, other], allowed)
    assert not unlike.ok and "the number of outputs differs: 1 and 2" in unlike.reason
