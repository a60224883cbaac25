"""Three parties compared in one pass say what three comparisons of two say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe.comparison import compare as module
from probe.comparison.compare import compare, compare_three

PAIRS = ((0, 1, 1.0), (1, 2, 1.0), (0, 2, 2.0))


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
        patch.setattr(module, "_BLOCK", block)
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
    monkeypatch.setattr(module, "_BLOCK", 10)
    exact = np.zeros((6, 7))
    framework, onnx = np.zeros((2, 6, 7), np.float32)
    framework[1, 2], framework[4, 4], onnx[5, 6] = 0.4, 0.5, 0.9
    one, two, three = compare_three(framework, exact, onnx, np.ones((6, 7), np.float32))
    assert (one.worst.index, two.worst.index, three.worst.index) == ((4, 4), (5, 6), (5, 6))
    assert (
        one.ratio == 0.5 and two.ratio == pytest.approx(0.9) and three.ratio == pytest.approx(0.45)
    )
    assert three.worst.allowance == 2.0
