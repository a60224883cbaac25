"""FakeQuantize bit for bit against PyTorch's own functions, and in ONNX Runtime."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops
from probe.description import Step
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

SCALES = st.floats(2.0**-60, 2.0**60, width=32) | st.sampled_from([2.0**-7, 0.1, 1.0, 1e-3])
RANGES = st.sampled_from(
    [(-128, 127), (0, 255), (-127, 127), (0, 127), (-8, 7), (0, 15), (-32768, 32767), (-1, 1)]
)


def values(draw, scale, high, count=64):
    """Ties, levels, values at and beyond the ends, zeros, denormals and huge ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = (rng.normal(size=count) * scale * high).astype(np.float32)
    x[:16] = ((rng.integers(-high - 2, high + 2, 16) + 0.5) * np.float64(scale)).astype(np.float32)
    x[16:24] = (rng.integers(-high - 2, high + 2, 8) * np.float64(scale)).astype(np.float32)
    x[24:32] = [0, -0.0, 1e-40, -1e-45, 3e38, -3e38, np.inf, -np.inf]
    return x


BYTES = st.sampled_from([(-128, 127), (0, 255)])
"""The ranges of PyTorch's quantised tensors."""
USUAL_SCALES = st.floats(2.0**-30, 2.0**30, width=32) | st.sampled_from([2.0**-7, 0.1, 1.0, 1e-3])


@st.composite
def cases(draw, ranges=RANGES, scales=SCALES):
    low, high = draw(ranges)
    scale = float(np.float32(draw(scales)))
    return values(draw, scale, max(high, -low)), scale, draw(st.integers(low, high)), low, high


@examples(60)
@given(case=cases(), nan=st.booleans())
def test_of_a_whole_tensor(case, nan):
    x, scale, zero, low, high = case
    x[-1] = np.nan if nan else x[-1]
    op = ops.FakeQuantize(size=np.float32(scale), zero_point=np.asarray(zero), low=low, high=high)
    theirs = torch.fake_quantize_per_tensor_affine(
        torch.from_numpy(x), scale, zero, low, high
    ).numpy()
    np.testing.assert_array_equal(op.run(x)[0], theirs)


@examples(40)
@given(data=st.data(), axis=st.integers(0, 2), floating=st.booleans())
def test_by_channel(data, axis, floating):
    low, high = data.draw(RANGES)
    scales = np.array(
        [data.draw(st.floats(2.0**-20, 2.0**20, width=32)) for _ in range(3)], np.float32
    )
    kind = st.floats(max(low, -2), min(high, 15), width=32) if floating else st.integers(low, high)
    zeros = np.array([data.draw(kind) for _ in range(3)], np.float32 if floating else np.int32)
    rows = np.stack([values(data.draw, float(scale), max(high, -low)) for scale in scales])
    x = np.moveaxis(rows.reshape(3, 8, 8), 0, axis)
    around = [-1 if at == axis else 1 for at in range(3)]
    op = ops.FakeQuantize(
        scales.reshape(around), zeros.reshape(around), low, high, zero_first=floating, wraps=True
    )
    given_ = [torch.from_numpy(np.ascontiguousarray(one)) for one in (x, scales, zeros)]
    theirs = torch.fake_quantize_per_channel_affine(*given_, axis, low, high).numpy()
    np.testing.assert_array_equal(op.run(x)[0], theirs)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@examples(40)
@given(case=cases(BYTES, USUAL_SCALES))
def test_quantising_a_tensor_adds_the_zero_point_first(case):
    x, scale, zero, low, high = case
    op = ops.FakeQuantize(np.float32(scale), np.asarray(zero), low, high, zero_first=True)
    x = x[np.abs(x) < 2.0**30 * scale]  # beyond 32 bits the kernels disagree among themselves
    made = torch.quantize_per_tensor(
        torch.from_numpy(x), scale, zero, torch.qint8 if low else torch.quint8
    )
    np.testing.assert_array_equal(op.codes(x), made.int_repr().numpy())
    np.testing.assert_array_equal(op.run(x)[0], made.dequantize().numpy())


@examples(25)
@given(case=cases(), zero_first=st.booleans(), wraps=st.booleans())
def test_onnx_runtime_and_float64_within_the_allowance(case, zero_first, wraps):
    x, scale, zero, low, high = case
    x = x[np.abs(x) < 2.0**30 * scale][:40]
    op = ops.FakeQuantize(np.float32(scale), np.asarray(zero), low, high, zero_first, wraps)
    ours = op.run(x.astype(np.float64))
    allowed = op.error_bound(
        Evaluated([x.astype(np.float64)], [None], ours), precision_of("float32")
    )[0]
    (theirs,) = crosscheck([Step(op)], [x], [ours])
    assert (np.abs(theirs - ours[0]) <= allowed).all()
    assert (np.abs(op.run(x)[0] - ours[0]) <= allowed).all()
    inner = np.abs(x / np.float32(scale) % 1 - 0.5) > 1e-2
    assert (allowed[inner] <= 2**-20 * np.abs(ours[0][inner]) + 1e-45).all(), (
        "only at a tie may a level be another"
    )


@pytest.mark.parametrize("high", [0, -1, 1 << 24, 1 << 62])
def test_levels_that_float32_cannot_count(high):
    """What such a description allowed for rounding was more than any value."""
    with pytest.raises(ValueError, match="must be from 1 to 16,777,215"):
        ops.DynamicQuantize(high=high).run(np.linspace(-1, 2, 6).reshape(2, 3))


def test_ranges_of_their_own():
    """Over the last two axes: each part of the first as if it were alone, its allowance too."""
    x = np.random.default_rng(0).normal(size=(5, 3, 4)) * np.logspace(-3, 3, 5)[:, None, None]
    op, whole = ops.DynamicQuantize(high=127, axes=2), ops.DynamicQuantize(high=127)
    (y,) = op.run(x)
    slack = 1e-6 * np.abs(x)
    (allowed,) = op.error_bound(Evaluated((x,), (slack,), (y,)), precision_of("float32"))
    for part, own, off, bound in zip(x, y, slack, allowed, strict=True):
        np.testing.assert_array_equal(own, whole.run(part)[0])
        np.testing.assert_array_equal(
            bound, whole.error_bound(Evaluated((part,), (off,), (own,)), precision_of("float32"))[0]
        )
    assert (
        not np.array_equal(y, whole.run(x)[0])
        and "own range" in op.summary((x,))
        and "own range" in whole.summary((x,))
    )
    assert op.run(x[:0])[0].shape == (0, 3, 4)
