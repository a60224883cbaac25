"""Attention nodes over heads, caches, masks of every rank, windows, soft caps and outputs, against
ONNX Runtime and onnx.reference."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from onnx import helper
from onnx.reference import ReferenceEvaluator
from wrapping import unwrapped

import probe

OUTPUTS = ("Y", "present_key", "present_value", "scores")


def model_of(inputs, attributes, outputs, opset):
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in inputs.items()
    ]
    order = ["Q", "K", "V", "mask", "past_key", "past_value", "lengths"]
    names = [one if one in inputs else "" for one in order]
    while not names[-1]:
        names.pop()
    graph = helper.make_graph(
        [helper.make_node("Attention", names, outputs, name="node", **attributes)],
        "graph",
        declared,
        [onnx.ValueInfoProto(name=name) for name in outputs if name],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@st.composite
def nodes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, groups, shared = (draw(st.integers(1, 3)) for _ in range(3))
    heads = groups * shared
    positions, more, size, wide = (
        draw(st.integers(1, 4)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 5)),
    )
    flat, opset = draw(st.booleans()), draw(st.sampled_from([23, 24, 25]))
    kind = draw(st.sampled_from(["float32", "float16"]))

    def normal(count, length, width):
        x = rng.normal(size=(batch, count, length, width)).astype(kind)
        return x.transpose(0, 2, 1, 3).reshape(batch, length, -1) if flat else x

    inputs = {
        "Q": normal(heads, positions, size),
        "K": normal(groups, more, size),
        "V": normal(groups, more, wide),
    }
    attributes = {"q_num_heads": heads, "kv_num_heads": groups} if flat else {}
    total, cache = (
        more,
        draw(st.sampled_from(["", "past", "lengths"] if opset > 23 else ["", "past"])),
    )
    if cache == "past":
        past = draw(st.integers(1, 3))
        inputs |= {
            f"past_{name}": rng.normal(size=(batch, groups, past, width)).astype(kind)
            for name, width in (("key", size), ("value", wide))
        }
        total += past
    elif cache == "lengths":
        inputs["lengths"] = rng.integers(1, more + 1, batch)
    single = cache == "past" and positions == 1 < more and opset < 25  # see below
    causal = draw(st.booleans()) and not single
    shapes = [None, (positions, total), (batch, 1, positions, total), (1, heads, positions, total)]
    # ONNX Runtime's own kernel takes no rank 1 or 3
    shapes += [(total,), (1, positions, total)] if opset > 24 else []
    shape = draw(st.sampled_from(shapes))
    if shape is not None:
        truth = draw(st.booleans())
        mask = rng.random(shape) > 0.3 if truth else rng.normal(size=shape).astype(kind)
        if draw(st.booleans()) and not truth:
            mask[rng.random(shape) > 0.7] = -np.inf
        inputs["mask"] = mask
    attributes |= {"is_causal": 1} if causal else {}
    attributes |= {"softcap": 1.5} if draw(st.booleans()) else {}
    attributes |= {"scale": 0.4} if draw(st.booleans()) else {}
    if opset > 24:
        attributes |= {
            name: draw(st.integers(-1, 3)) for name in ("left_window_size", "right_window_size")
        }
    outputs = ["Y"]
    if cache == "past":
        outputs += ["present_key", "present_value"]
    elif draw(st.booleans()):
        outputs += ["", "", "scores"]
        attributes["qk_matmul_output_mode"] = draw(st.sampled_from([0, 1, 3]))
    return inputs, attributes, outputs, opset


@examples(80)
@given(nodes())
def test_every_option(case):
    inputs, attributes, outputs, opset = case
    proto = model_of(inputs, attributes, outputs, opset)
    (report,) = probe.sweep(proto, list(inputs.values()))
    assert report.verdict == "agree", str(report)
    assert not report.missing


@pytest.mark.parametrize("fault", ["softcap", "causal", "left", "past", "scale"])
def test_a_fault_is_a_divergence(fault):
    rng = np.random.default_rng(0)
    shapes = {
        "Q": (2, 4, 3, 5),
        "K": (2, 2, 4, 5),
        "V": (2, 2, 4, 6),
        "past_key": (2, 2, 2, 5),
        "past_value": (2, 2, 2, 6),
    }
    inputs = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    healthy = {"is_causal": 1, "softcap": 1.5, "left_window_size": 3}
    change = {
        "softcap": {"softcap": 1.6},
        "causal": {"is_causal": 0},
        "left": {"left_window_size": 2},
        "scale": {"scale": 0.5},
        "past": {},
    }
    outputs = ["Y", "present_key", "present_value"]
    other = inputs | (
        {"past_key": inputs["past_key"][:, :, ::-1].copy()} if fault == "past" else {}
    )
    faulty = probe.check(
        model_of(other, healthy | change[fault], outputs, 25), "node", list(other.values())
    ).outputs["framework"]
    proto = model_of(inputs, healthy, outputs, 25)
    assert probe.check(proto, "node", list(inputs.values())).ok
    report = probe.check(proto, "node", list(inputs.values()), expected=faulty, search=False)
    assert report.verdict == "diverge"


def test_rows_that_see_nothing_are_zeros():
    """As the operator's text has it; onnx.reference and ONNX Runtime agree."""
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(size=(1, 2, 3, 4)).astype(np.float32) for name in "QKV"} | {
        "mask": np.tri(3, k=-1, dtype=bool)
    }
    proto = model_of(inputs, {}, ["Y"], 23)
    (report,) = probe.sweep(proto, list(inputs.values()))
    assert report.ok and not report.missing
    (theirs,) = ReferenceEvaluator(proto).run(None, inputs)
    for found in (report.outputs["numpy"], theirs):
        assert (found[:, :, 0] == 0).all() and found[:, :, 1:].all()


def test_a_single_query_with_a_cache_is_not_causal_to_onnx_runtime():
    rng = np.random.default_rng(0)
    shapes = {
        "Q": (1, 1, 1, 3),
        "K": (1, 1, 2, 3),
        "V": (1, 1, 2, 3),
        "past_key": (1, 1, 2, 3),
        "past_value": (1, 1, 2, 3),
    }
    inputs = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for opset, ok in ((24, False), (25, True)):
        proto = model_of(inputs, {"is_causal": 1}, ["Y", "present_key", "present_value"], opset)
        (report,) = probe.sweep(proto, list(inputs.values()))
        np.testing.assert_allclose(
            report.outputs["numpy"][0], ReferenceEvaluator(proto).run(None, inputs)[0], rtol=1e-4
        )
        known = "known difference of ONNX Runtime: before opset 25"
        assert report.ok is ok and (known in unwrapped(str(report))) is not ok


def test_the_scores_of_hidden_keys_in_onnx_runtime():
    """The text adds -inf to them; ONNX Runtime adds the lowest number that the type holds, and the
    report says so."""
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(size=(1, 2, 3, 4)).astype(np.float32) for name in "QKV"}
    proto = model_of(
        inputs, {"is_causal": 1, "qk_matmul_output_mode": 2}, ["Y", "", "", "scores"], 23
    )
    (report,) = probe.sweep(proto, list(inputs.values()))
    assert report.verdict == "diverge"
    assert "it adds the lowest finite number to the score of a masked key" in unwrapped(str(report))
    lowest, theirs = report.outputs["framework"][1], ReferenceEvaluator(proto).run(None, inputs)[1]
    hidden = ~np.tri(3, dtype=bool)
    assert (lowest[..., hidden] < -1e38).all() and (theirs[..., hidden] == -np.inf).all()
    assert (report.outputs["numpy"][1][..., hidden] == -np.inf).all()
