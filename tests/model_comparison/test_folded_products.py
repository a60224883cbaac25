"""A product and the batch normalisation behind it as one product, and what passes through it."""

from dataclasses import replace

import numpy as np
import pytest
from op_cases import normal, positive, vector, weight

from probe import ops
from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.graphs.normalization import with_normalization
from probe.model_comparison.matching.propagated import _through

CONV = ops.Conv(weight(normal(4, 3, 3)), vector(4), (2,), ((1, 1),), (1,))
PRODUCT = ops.MatMul(weight(normal(5, 4)), vector(4))
NORM = ops.BatchNormalization(vector(4), vector(4), vector(4), weight(positive(4)), 1e-3)
PRODUCTS = {
    "Conv": (CONV, normal(2, 3, 7)),
    "Conv of an image": (
        ops.Conv(weight(normal(4, 3, 2, 2)), None, (1, 1), ((0, 0), (0, 0)), (1, 1)),
        normal(2, 3, 4, 5),
    ),
    "MatMul": (PRODUCT, normal(3, 5)),
    "MatMul without a bias": (replace(PRODUCT, bias=None), normal(3, 5)),
}


@pytest.mark.parametrize("left_out", [(), ("scale",), ("bias",), ("mean", "variance")])
@pytest.mark.parametrize("name", PRODUCTS)
def test_both_are_one(name, left_out):
    op, x = PRODUCTS[name]
    norm = replace(NORM, **dict.fromkeys(left_out))
    folded = with_normalization(op, norm)
    assert type(folded) is type(op)
    (y,) = norm.run(*op.run(x))
    np.testing.assert_allclose(folded.run(x)[0], y, rtol=1e-12, atol=1e-12)


def test_what_is_no_product_of_a_weight_and_a_normalisation():
    assert with_normalization(ops.Relu(), NORM) is None
    assert with_normalization(PRODUCT, ops.Relu()) is None
    assert with_normalization(PRODUCT, None) is None
    assert with_normalization(replace(CONV, weight=None), NORM) is None


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("groups", [1, 2])
def test_slack_passes_through_a_product_on_the_average(kind, groups):
    """As independent errors; weights in half precision are not summed in it."""
    kernel = (300 * normal(4, 6 // groups, 3)).astype(kind)
    conv = ops.Conv(weight(kernel), None, (1,), ((0, 0),), (1,), groups=groups)
    dense = ops.MatMul(weight((300 * normal(5, 4)).astype(kind)), None)
    for op, slack in ((conv, positive(2, 6, 7)), (dense, positive(2, 3, 5))):
        node = GraphNode(op, (None,), (), None)
        found = _through(node, slack)
        wide = op.weight.value.astype(np.float64)
        if op is dense:
            expected = np.sqrt(np.square(slack).mean(axis=(0, 1)) @ np.square(wide))
            assert found.shape == (4,)
        else:
            mean = np.square(slack).mean(axis=(0, 2))
            each = mean.reshape(groups, -1).repeat(4 // groups, axis=0)
            expected = np.sqrt((np.square(wide).sum(axis=2) * each).sum(axis=1)).reshape(-1, 1)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert _through(GraphNode(dense, (None,), (), None), None) == 0
    assert _through(GraphNode(None, (None,), (), None), positive(2, 3)) == 0
