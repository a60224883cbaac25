"""The arithmetic of HGQ2's quantizers bit for bit: ties, limits, values beyond them, zeros and
elements without any bits."""

import keras
import numpy as np
from hgq.quantizer import Quantizer, QuantizerConfig
from hgq.quantizer.internal.fixed_point_quantizer import get_fixed_quantizer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from probe.adapters.hgq.quantizers import quantizer_ops
from quantizers.minifloat.float_point_ops import float_quantize

from probe import ops
from probe.description import Step
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

ROUNDINGS = ("RND", "RND_CONV", "TRN", "TRN_ZERO", "RND_ZERO", "RND_MIN_INF", "RND_INF")


def values(rng, shape, step, high):
    """Levels and halves between them, their neighbours, limits, what lies beyond, zeros and
    denormals."""
    ties = rng.integers(-40, 40, shape) * step / 2
    near = np.nextafter(
        ties.astype(np.float32), rng.choice([-np.inf, np.inf], shape).astype(np.float32)
    )
    around = rng.normal(size=shape) * (high + step)
    special = rng.choice([0.0, -0.0, 1e-40, -3e-39, 1e4, -1e4, 300.25, 3e8, -1e30], shape)
    picked = rng.integers(0, 5, shape)
    return np.choose(
        picked, [ties, near, around, special, np.broadcast_to(high + step / 2, shape)]
    ).astype(np.float32)


def judged(op, x, theirs):
    np.testing.assert_array_equal(op.run(x)[0], theirs)
    wide = (x.astype(float),)
    y = op.run(*wide)
    allowed = op.error_bound(Evaluated(wide, (None,), y), precision_of("float32"))[0]
    assert (np.abs(theirs - y[0]) <= allowed).all()
    assert (np.abs(crosscheck([Step(op)], [x], [y])[0] - y[0]) <= allowed).all()
    # the digits of 3e8 and 1e30 are coarser than any level, whatever lies between
    ordinary = np.abs(x) <= 1e4
    assert (allowed < 1e-9)[ordinary].mean() > 0.4  # nothing is allowed between thresholds


MODES = [
    (rounding, overflow) for rounding in ROUNDINGS for overflow in ("WRAP", "SAT", "SAT_SYM", "")
]
# the library refuses any other
MODES += [(rounding, "WRAP_SM") for rounding in ("RND", "RND_CONV")]


@given(st.integers(0, 2**32 - 1), st.sampled_from(MODES))
@examples(120)
def test_fixed_point_is_hgqs(seed, mode):
    (rounding, overflow), rng = mode, np.random.default_rng(seed)
    bits = rng.choice([(4, 6), (1, 6), (1, 1)])
    k, i, f = (
        rng.integers(low, high, bits).astype(np.float64) for low, high in ((0, 2), (-3, 6), (-3, 9))
    )
    op = ops.FixedPoint(k, i, f, rounding, overflow)
    x = values(rng, (4, 6), op.step(), op.limits()[1])
    quantizer = get_fixed_quantizer(rounding, overflow or "WRAP")
    # TensorFlow takes subnormal numbers for zero, NumPy does not
    tensor = keras.ops.convert_to_tensor(x)
    wide = [np.broadcast_to(part, x.shape).astype(np.float32) for part in (k, i, f)]
    if overflow:
        theirs = np.where(k + i + f > 0, np.asarray(quantizer(tensor, *wide, False, None)), 0)
    else:
        theirs = np.asarray(quantizer.round(tensor, wide[2]))
    judged(op, x, theirs)


@given(st.integers(0, 2**32 - 1), st.sampled_from(("RND", "RND_CONV")), st.booleans())
@examples(60)
def test_what_is_folded_back_at_its_ends_is_hgqs(seed, rounding, large):
    """WRAP_SM at the ends of its turns and their halves, half a level before, and next to each; and
    where float32 has no levels left."""
    rng = np.random.default_rng(seed)
    k, i, f = (
        rng.integers(low, high, (1, 6)).astype(np.float64)
        for low, high in ((0, 2), (-3, 6), (-3, 9))
    )
    op = ops.FixedPoint(k, i, f, rounding, "WRAP_SM")
    half, step = np.exp2(np.maximum(i, -f)) / 2, op.step()
    x = (
        rng.integers(-12, 12, (8, 6)) * half + rng.choice([-1, 0, -0.5, 0.5, 1], (8, 6)) * step
    ).astype(np.float32)
    x = np.nextafter(x, (x + rng.integers(-1, 2, x.shape)).astype(np.float32))
    if large:
        x = np.ldexp(x, rng.integers(0, 120, x.shape)).astype(np.float32)
    x[0, :3] = [np.inf, -np.inf, np.nan] if large else [1e-40, -1e-40, -0.0]
    wide = [np.broadcast_to(part, x.shape).astype(np.float32) for part in (k, i, f)]
    theirs = np.asarray(
        get_fixed_quantizer(rounding, "WRAP_SM")(keras.ops.convert_to_tensor(x), *wide, False, None)
    )
    theirs = np.where(k + i + f > 0, theirs, np.float32(0))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(op.run(x)[0], theirs)
    if not large:
        judged(op, x, theirs)


@given(st.integers(0, 2**32 - 1))
@examples(60)
def test_small_floats_are_hgqs(seed):
    rng = np.random.default_rng(seed)
    m, e, e0 = (
        rng.integers(low, high, (1, 6)).astype(np.float32)
        for low, high in ((-1, 6), (0, 5), (-2, 3))
    )
    op = ops.MiniFloat(m, e, e0)
    x = values(rng, (8, 6), np.float32(2.0**-4), np.float32(8))
    wide = [np.broadcast_to(part, x.shape).astype(np.float32) for part in (m, e, e0)]
    theirs, mine = np.asarray(float_quantize(x, *wide)), op.run(x)[0]
    undecided = op.undecided(x)  # float32's logarithm falls on either side of a power of two
    np.testing.assert_array_equal(np.where(undecided, theirs, mine), theirs)
    y = op.run(x.astype(float))
    allowed = op.error_bound(Evaluated((x.astype(float),), (None,), y), precision_of("float32"))[0]
    assert (np.abs(theirs - y[0]) <= allowed).all()
    assert (np.abs(crosscheck([Step(op)], [x], [y])[0] - y[0]) <= allowed).all()


@given(st.data())
@examples(80)
def test_a_quantizer_as_a_layer_is_hgqs(data):
    """As it is configured: of a weight or a lane, trainable or not, with a scaler and an affine map
    around it."""
    kind = data.draw(st.sampled_from(("kbi", "kif")))
    options = {
        "round_mode": data.draw(st.sampled_from(("RND", "TRN", "RND_CONV", "S_RND", "S_RND_CONV"))),
        "overflow_mode": data.draw(st.sampled_from(("WRAP", "WRAP_SM", "SAT", "SAT_SYM"))),
        "trainable": data.draw(st.booleans()),
        "scaler": data.draw(st.sampled_from((None, 0.25, 8.0))),
        "affine": data.draw(st.sampled_from((None, (0.25, 0.5), (-2.0, 1.0)))),
    }
    if options["overflow_mode"] == "WRAP_SM" and options["round_mode"] == "TRN":
        options["round_mode"] = "RND"
    quantizer = Quantizer(
        QuantizerConfig(
            kind, data.draw(st.sampled_from(("weight", "datalane", "bias", "table"))), **options
        )
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    quantizer.build((4, 6))
    for variable in quantizer.variables:
        name, shape = variable.path.rpartition("/")[2], variable.shape
        if name in ("b", "i", "f"):
            variable.assign(rng.integers(-2, 8, shape) + rng.uniform(-0.4, 0.4, shape))
        elif name == "k":
            variable.assign(rng.integers(0, 2, shape))
    chain = quantizer_ops(quantizer, "it is")
    fixed = next(op for op in chain if isinstance(op, ops.FixedPoint))
    made = x = (
        values(rng, (4, 6), fixed.step(), fixed.limits()[1]) * np.float32(options["scaler"] or 1)
    ).astype(np.float32)
    for op in chain:
        (made,) = op.run(made)
    np.testing.assert_array_equal(made, np.asarray(quantizer(x)))
