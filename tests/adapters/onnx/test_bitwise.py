"""Operators on bits in every width, against ONNX Runtime; and reductions of what is scattered,
against PyTorch as well."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from onnx.reference import ReferenceEvaluator
from onnx_cases import single

import probe
from probe import ops
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

KINDS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
few = examples(40)


def drawn(rng, kind, *shape):
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


@few
@given(st.sampled_from(KINDS), st.sampled_from(["LEFT", "RIGHT"]), st.integers(0, 999))
def test_shifts(kind, way, seed):
    """By negative numbers and by more than all bits too."""
    rng = np.random.default_rng(seed)
    x, by = drawn(rng, kind, 4, 5), rng.integers(-3 if kind[0] == "i" else 0, 70, 5).astype(kind)
    proto, inputs = single("BitShift", [x, by], {"direction": way}, 28)
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and set(report.missing) <= ({"onnx"} if kind == "uint64" else set()), str(
        report
    )
    (theirs,) = ReferenceEvaluator(proto).run(None, dict(zip(["v0", "v1"], inputs, strict=True)))
    np.testing.assert_array_equal(report.outputs["numpy"], theirs)


@few
@given(st.sampled_from(KINDS), st.sampled_from(["And", "Or", "Xor", "Not"]), st.integers(0, 999))
def test_bit_by_bit(kind, name, seed):
    rng = np.random.default_rng(seed)
    values = [drawn(rng, kind, 4, 5)] + ([] if name == "Not" else [drawn(rng, kind, 4, 1)])
    proto, inputs = single(f"Bitwise{name}", values, {}, 18)
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and set(report.missing) <= ({"onnx"} if kind == "uint64" else set()), str(
        report
    )


@pytest.mark.parametrize("fault", ["x", "by", "way"])
def test_a_fault_is_a_divergence(fault):
    rng = np.random.default_rng(0)
    x, by = drawn(rng, "int16", 4, 5), rng.integers(0, 9, 5).astype(np.int16)
    proto, inputs = single("BitShift", [x, by], {"direction": "RIGHT"}, 28)
    other = (
        [x ^ np.int16(256), by]
        if fault == "x"
        else [x, by + np.int16(1)]
        if fault == "by"
        else [x, by]
    )
    wrong, given_ = single(
        "BitShift", other, {"direction": "LEFT" if fault == "way" else "RIGHT"}, 28
    )
    faulty = probe.check(wrong, "node", given_).outputs["framework"]
    assert probe.check(proto, "node", inputs, expected=faulty).verdict == "diverge"


@few
@given(
    st.sampled_from(["mul", "max", "min", "add"]),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 999),
)
def test_reductions_of_what_is_scattered(how, kind, seed):
    """Many at one place; what slack does is bounded by the allowance."""
    rng = np.random.default_rng(seed)
    x, updates = rng.normal(size=(4, 6)).astype(kind), rng.normal(size=(4, 9)).astype(kind)
    at = rng.integers(0, 6, (4, 9))
    proto, inputs = single("ScatterElements", [x, at, updates], {"axis": 1, "reduction": how}, 18)
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and not report.missing, str(report)
    names = {"mul": "prod", "max": "amax", "min": "amin", "add": "sum"}
    theirs = (
        torch.from_numpy(x)
        .double()
        .scatter_reduce(1, torch.from_numpy(at), torch.from_numpy(updates).double(), names[how])
    )
    np.testing.assert_allclose(report.outputs["numpy"], theirs.numpy(), rtol=1e-12)
    op, wide = (
        ops.ScatterElements(axis=1, reduction=how),
        [x.astype(np.float64), at, updates.astype(np.float64)],
    )
    slack = [np.full(x.shape, 1e-3), None, np.full(updates.shape, 1e-3)]
    (healthy,) = op.run(*wide)
    (allowed,) = op.error_bound(Evaluated(wide, slack, [healthy]), precision_of("float32"))
    moved = [
        wide[0] + rng.uniform(-1e-3, 1e-3, x.shape),
        at,
        wide[2] + rng.uniform(-1e-3, 1e-3, updates.shape),
    ]
    assert (np.abs(op.run(*moved)[0] - healthy) <= allowed).all()
