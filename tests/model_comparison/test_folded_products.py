"""A product and the batch normalisation behind it as one product."""

from dataclasses import replace

import numpy as np
import pytest
from op_cases import normal, positive, vector, weight

from probe import ops
from probe.model_comparison.graphs.normalization import with_normalization

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
