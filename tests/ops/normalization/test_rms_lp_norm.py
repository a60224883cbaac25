"""Normalisations by power means and norms, against PyTorch and ONNX Runtime."""

import numpy as np
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops

few = examples(30)


@st.composite
def arrays(draw, least=2, most=4, longest=7):
    shape = draw(st.lists(st.integers(1, longest), min_size=least, max_size=most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from([(0.0, 1.0), (20.0, 1.0), (0.0, 1e-4), (0.0, 300.0)]))
    return rng.normal(kind[0], kind[1], size=shape).astype(np.float32)


@few
@given(arrays(), st.sampled_from([1e-5, 0.1, 1e-7]), st.booleans(), st.data())
def test_rms_normalization(agrees, weight, x, epsilon, scaled, data):
    count = data.draw(st.integers(1, x.ndim - 1))
    axes = tuple(range(x.ndim - count, x.ndim))
    scale = (
        weight("weight", np.random.default_rng(1).normal(size=x.shape[-count:]).astype("f"))
        if scaled
        else None
    )
    op = ops.RMSNormalization(scale=scale, epsilon=epsilon, axes=axes)
    agrees(op, [x], lambda x, weight=None: F.rms_norm(x, x.shape[-count:], weight, epsilon))


@few
@given(arrays(), st.sampled_from([1e-5, 0.1]))
def test_division_by_the_deviation_of_what_is_not_centred(agrees, x, epsilon):
    assume(x.shape[-1] > 1)
    op = ops.RMSNormalization(scale=None, epsilon=epsilon, axes=(x.ndim - 1,), centred=True)
    agrees(
        op,
        [x],
        lambda x: x / (x.var(-1, correction=0, keepdim=True) + epsilon).sqrt(),
        name="RMSNormalization, centred",
    )


@few
@given(
    arrays(),
    st.sampled_from([1.0, 2.0, 3.0, 0.5, np.inf]),
    st.sampled_from([1e-12, 1.0]),
    st.data(),
)
def test_lp_normalization(agrees, x, p, epsilon, data):
    axis = data.draw(st.integers(0, x.ndim - 1))
    agrees(
        ops.LpNormalization(axes=(axis,), epsilon=epsilon, p=p),
        [x],
        lambda x: F.normalize(x, p, axis, epsilon),
    )
    squared = ops.LpNormalization(axes=(axis,), epsilon=epsilon, squared=True)
    agrees(squared, [x], lambda x: x / x.square().sum(axis, keepdim=True).clamp_min(epsilon).sqrt())


@few
@given(
    arrays(least=3, most=5, longest=5),
    st.integers(1, 7),
    st.sampled_from([(1e-4, 0.75, 1.0), (0.5, 0.5, 2.0), (3.0, 1.0, 0.1)]),
)
def test_lrn(agrees, x, size, numbers):
    alpha, beta, k = numbers
    op = ops.LRN(size=size, alpha=alpha, beta=beta, bias=k, before=size // 2, after=(size - 1) // 2)
    agrees(op, [x], lambda x: F.local_response_norm(x, size, alpha, beta, k))
