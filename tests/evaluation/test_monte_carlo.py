"""The allowance of several calls behind one another: as wide as rounding and not much wider, at any
depth."""

import numpy as np
import pytest

from probe import ops
from probe.description import Description, Ref, Site, Step, Weight
from probe.evaluation.bounds import Bounds
from probe.evaluation.monte_carlo import pooled, runs_of
from probe.evaluation.reference import recomputed
from probe.numerics.precision import precision_of, stored_in

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 24)).astype(np.float32)


def chain(depth, dtype="float32"):
    """So many products and activations, each a call of its own."""
    rng = np.random.default_rng(1)
    weights = [(rng.normal(size=(24, 24)) / 24**0.5).astype(np.float32) for _ in range(depth)]
    if dtype == "float16":
        weights = [w.astype(np.float16).astype(np.float32) for w in weights]
    steps = []
    for w in weights:
        steps += [Step(ops.MatMul(weight=Weight("w", w, w), bias=None)), Step(ops.Tanh())]
    sites = tuple(Site(f"call {k}", dtype, k) for k in range(len(steps)))
    return Description(tuple(steps), sites=sites), weights


@pytest.mark.parametrize("depth", [1, 4, 32])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_it_is_a_few_times_the_error_at_any_depth(depth, dtype):
    described, weights = chain(depth, dtype)
    kind = np.dtype(dtype)
    layer = recomputed(described, (X.astype(kind).astype(np.float32),))
    y = X.astype(kind)
    for w in weights:
        product = (y.astype(np.float32) @ w).astype(kind)
        y = np.tanh(product.astype(np.float32)).astype(kind)
    error = np.abs(y.astype(np.float64) - layer.values[-1][0])
    for look in range(len(runs_of(layer.values[-1]))):
        (allowed,) = Bounds(layer, stored_in(dtype)).look(look)
        assert (error <= allowed).all()
        rms = [float(np.sqrt(np.square(one).mean())) for one in (allowed, error)]
        assert rms[0] < 20 * rms[1]


def test_rounding_inside_is_allowed_more():
    layer = recomputed(chain(4, "float16")[0], (X,))
    (stored,), (inside,) = (
        Bounds(layer, one).usual() for one in (stored_in("float16"), precision_of("float16"))
    )
    assert (inside > stored).all()


def test_what_leaves_a_functions_domain_is_infinite():
    """A number that is 0 but for rounding, and its logarithm."""
    one = np.full((40, 3), 1 / 3, np.float32)
    steps = (
        Step(ops.ReduceSum(axes=(1,), keepdims=True), (Ref(-1),)),
        Step(ops.Constant(value=np.asarray(1.0)), ()),
        Step(ops.Sub(), (Ref(0), Ref(1))),
        Step(ops.Log(), (Ref(2),)),
    )
    sites = tuple(Site(f"call {k}", "float32", k) for k in range(len(steps)))
    layer = recomputed(Description(steps, sites=sites), (one,))
    (allowed,) = Bounds(layer, precision_of("float32")).usual()
    assert np.isinf(allowed).all()


def test_steps_that_round_nothing_add_nothing():
    steps = (Step(ops.Neg(), (Ref(-1),)), Step(ops.Transpose(perm=(1, 0))))
    sites = (Site("neg", "float32", 0), Site("transpose", "float32", 1))
    layer = recomputed(Description(steps, sites=sites), (X,))
    (allowed,) = Bounds(layer, precision_of("float32")).usual()
    assert not allowed.any()


def test_elements_of_a_size_are_told_together():
    rng = np.random.default_rng(2)
    output = np.repeat([1.0, 1000.0], 500)
    variance = np.square(output) * rng.chisquare(2, size=1000) / 2
    together = pooled(variance, output, together=True)
    assert np.unique(together).size == 2 and together[0] < together[-1]
    assert (pooled(variance, output) >= together).all()
    variance[3] = np.inf
    assert np.isinf(pooled(variance, output)[3]) and np.isfinite(pooled(variance, output)[4])
