"""What is told of ONNX Runtime and does not hold of the installed one: raw nodes against the
specification's own words.

No line of ``probe.ops.engine_differences`` may claim these.
Where the specification's reference evaluator departs from its text, that is said too.
"""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from own_seed import RNG


def model(kind, inputs, opset=22, **attributes):
    """One node; an input that is None is left out."""
    given = {f"i{at}": np.asarray(x) for at, x in enumerate(inputs) if x is not None}
    node = helper.make_node(
        kind,
        [f"i{at}" if x is not None else "" for at, x in enumerate(inputs)],
        ["y"],
        **attributes,
    )
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in given.items()
    ]
    graph = helper.make_graph([node], "node", declared, [onnx.ValueInfoProto(name="y")])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
    ), given


def runtime(kind, inputs, opset=22, **attributes):
    proto, given = model(kind, inputs, opset, **attributes)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ).run(None, given)[0]


def reference(kind, inputs, opset=22, **attributes):
    proto, given = model(kind, inputs, opset, **attributes)
    return ReferenceEvaluator(proto).run(None, given)[0]


def corners(x, size, mode):
    """x_original = x_resized * (length_original - 1) / (length_resized - 1), the lengths being
    those of the tensors."""
    at = np.arange(size) * (len(x) - 1) / max(1, size - 1)
    low = np.minimum(np.floor(at).astype(int), len(x) - 1)
    if mode == "nearest":
        return x[np.ceil(at - 0.5).astype(int)]
    if mode == "linear":
        high = np.minimum(low + 1, len(x) - 1)
        return x[low] * (1 - (at - low)) + x[high] * (at - low)
    a, found = -0.75, np.zeros(size)
    for tap in (-1, 0, 1, 2):
        d = np.abs(at - (low + tap))
        weight = np.where(
            d <= 1, (a + 2) * d**3 - (a + 3) * d**2 + 1, a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        )
        found += weight * x[np.clip(low + tap, 0, len(x) - 1)]
    return found


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_resize_with_align_corners_follows_the_text(mode):
    """Downwards and upwards, from sizes and from scales whose product with the length is no whole
    number."""
    x, how = (
        RNG.normal(size=10).astype(np.float32),
        {"mode": mode, "coordinate_transformation_mode": "align_corners"},
    )
    for size in (1, 2, 3, 5, 7, 9, 10, 13, 20):
        told = corners(x.astype(np.float64), size, mode)
        by_size = runtime(
            "Resize", [x[None, None, None], None, None, np.array([1, 1, 1, size])], **how
        )
        by_scale = runtime(
            "Resize",
            [x[None, None, None], None, np.array([1, 1, 1, (size + 0.4) / 10], np.float32)],
            **how,
        )
        np.testing.assert_allclose(by_size.ravel(), told, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(by_scale.ravel(), told, rtol=1e-5, atol=1e-5)


def test_the_reference_evaluator_takes_another_length_where_scales_are_given():
    """It goes by the product of length and scale, of which the output's length is the whole
    part."""
    x, scales = (
        np.arange(10, dtype=np.float32)[None, None, None],
        np.array([1, 1, 1, 0.75], np.float32),
    )
    how = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    np.testing.assert_allclose(
        runtime("Resize", [x, None, scales], **how).ravel(), np.arange(7) * 9 / 6, rtol=1e-6
    )
    np.testing.assert_allclose(
        reference("Resize", [x, None, scales], **how).ravel(), np.arange(7) * 9 / 6.5, rtol=1e-6
    )


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resize_rounds_halves_as_it_is_told(nearest):
    """From 20 to 6: (1 + 0.5) / 0.3 - 0.5 = 4.5 and (4 + 0.5) / 0.3 - 0.5 = 14.5 (issue 28291)."""
    x, exact = np.arange(20, dtype=np.float32), [7, 27, 47, 67, 87, 107]  # sixths
    found = runtime(
        "Resize",
        [x[None, None, None], None, None, np.array([1, 1, 1, 6])],
        mode="nearest",
        nearest_mode=nearest,
    )
    told = {
        "floor": [at // 6 for at in exact],
        "ceil": [-(-at // 6) for at in exact],
        "round_prefer_floor": [-(-(at - 3) // 6) for at in exact],
        "round_prefer_ceil": [(at + 3) // 6 for at in exact],
    }[nearest]
    assert found.ravel().tolist() == told


@pytest.mark.parametrize("shape", [None, (2, 3, 5, 6)])
def test_max_unpool_counts_places_in_its_output(shape):
    """The text: indices into the flattened tensor, and ``output_shape`` sets that tensor's
    shape."""
    size = shape or (2, 3, 4, 6)
    x = RNG.normal(size=(2, 3, 2, 3)).astype(np.float32)
    places = RNG.permutation(int(np.prod(size)))[: x.size].reshape(x.shape)
    told = np.zeros(size, np.float32)
    told.flat[places] = x
    inputs = [x, places, *([] if shape is None else [np.array(shape)])]
    np.testing.assert_array_equal(
        runtime("MaxUnpool", inputs, kernel_shape=[2, 2], strides=[2, 2]), told
    )


def pooled(x, k, s, d, before, after, ceil, count):
    """One axis: (the mean, the largest) of each window; padding counts with ``count``, what lies
    beyond it never."""
    reach, size = (k - 1) * d + 1, len(x)
    steps = (
        -(-(size + before + after - reach) // s) if ceil else (size + before + after - reach) // s
    )
    steps -= ceil and steps * s >= size + before
    rows = [[at * s - before + tap * d for tap in range(k)] for at in range(steps + 1)]
    kept = [[x[place] for place in row if 0 <= place < size] for row in rows]
    counts = [
        sum(place < size + after for place in row) if count else len(some)
        for row, some in zip(rows, kept, strict=True)
    ]
    means = [
        sum(some) / number if number else np.nan for some, number in zip(kept, counts, strict=True)
    ]
    return np.array(means), np.array([max(some, default=-np.inf) for some in kept])


@pytest.mark.parametrize("opset", [11, 18, 19, 22])
def test_pools_follow_the_text_at_their_ends(opset):
    """ceil_mode with and without count_include_pad (issues 16203 and 24681), and windows that begin
    in the padding at the end."""
    for k, s, ceil, count in itertools.product((2, 3, 4), (1, 2, 3), (0, 1), (0, 1)):
        before, after = (int(one) for one in RNG.integers(0, k, 2))
        d = int(RNG.integers(1, 3)) if opset >= 19 else 1
        x = RNG.normal(size=int(RNG.integers((k - 1) * d + 1, 12))).astype(np.float32)
        given = {
            "kernel_shape": [k],
            "strides": [s],
            "pads": [before, after],
            "ceil_mode": ceil,
        } | ({"dilations": [d]} if d > 1 else {})
        mean, largest = pooled(x, k, s, d, before, after, ceil, count)
        found = runtime("AveragePool", [x[None, None]], opset, count_include_pad=count, **given)
        np.testing.assert_allclose(found.ravel(), mean, rtol=1e-4, atol=1e-5)
        found = runtime("MaxPool", [x[None, None]], opset, **given).ravel()
        np.testing.assert_allclose(np.where(found < -1e38, -np.inf, found), largest)


def test_local_response_normalisation_follows_the_text():
    x = RNG.normal(size=(3, 7, 2, 2)).astype(np.float32)
    for size in (1, 3, 5):
        half = size // 2
        sums = np.stack(
            [
                np.square(x[:, max(0, c - half) : c + half + 1].astype(np.float64)).sum(axis=1)
                for c in range(7)
            ],
            axis=1,
        )
        found = runtime("LRN", [x], size=size, alpha=0.3, beta=0.6, bias=0.8)
        np.testing.assert_allclose(found, x / (0.8 + 0.3 / size * sums) ** 0.6, rtol=1e-5)


@pytest.mark.parametrize("after", [0, 1])
def test_gru_without_a_bias_and_a_batch_of_three(after):
    """Pull request 3893."""
    x, w, r = (
        RNG.normal(size=size).astype(np.float32) for size in ((4, 3, 2), (1, 15, 2), (1, 15, 5))
    )
    h = np.zeros((3, 5))
    for step in x.astype(np.float64):
        share, on = step @ w[0].T, h @ r[0, :10].T
        z, reset = (
            1 / (1 + np.exp(-(share[:, at : at + 5] + on[:, at : at + 5]))) for at in (0, 5)
        )
        new = np.tanh(
            share[:, 10:] + (reset * (h @ r[0, 10:].T) if after else (reset * h) @ r[0, 10:].T)
        )
        h = z * h + (1 - z) * new
    found = runtime("GRU", [x, w, r], hidden_size=5, linear_before_reset=after)
    np.testing.assert_allclose(found[-1, 0], h, rtol=1e-5, atol=1e-6)


def test_nan_passes_where_it_is_said_not_to():
    x = np.array([np.nan, 1, -1, np.inf], np.float32)
    for kind, inputs in (
        ("Clip", [x, np.float32(-0.5), np.float32(0.5)]),
        ("Relu", [x]),
        ("Max", [x, np.array([0], np.float32)]),
        ("Min", [np.array([0], np.float32), x]),
        ("LeakyRelu", [x]),
        ("HardSigmoid", [x]),
    ):
        assert np.isnan(runtime(kind, inputs)).tolist() == [True, False, False, False], kind


def test_powers_and_remainders():
    x = np.array([-8.0, -2, 0, 2], np.float32)
    np.testing.assert_array_equal(
        runtime("Pow", [x, np.array([3, 2, 0, -1], np.float32)]), [-512, 4, 1, 0.5]
    )
    assert np.isnan(runtime("Pow", [x, np.float32(0.5)])).tolist() == [True, True, False, False]
    whole = np.array([5, -5, 5, -5]), np.array([3, 3, -3, -3])
    assert runtime("Mod", [*whole]).tolist() == [2, 1, -1, -2] and runtime(
        "Mod", [*whole], fmod=1
    ).tolist() == [2, -2, 2, -2]
