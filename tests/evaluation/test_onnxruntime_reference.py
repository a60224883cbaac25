"""A graph is emitted once for equal calls, and again for any call that it would not fit."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from probe.description import Step, Weight
from probe.evaluation import onnxruntime_reference as module
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.ops import BatchNormalization, Clip, Conv, LayerNormalization, MatMul, MaxPool, Relu
from probe.ops.elementwise.activation import _Plain


@pytest.fixture
def emitted(monkeypatch):
    """The steps that were emitted, with nothing kept from before."""
    seen = []
    before = module._emitted
    monkeypatch.setattr(module, "_PLANS", type(module._PLANS)())
    monkeypatch.setattr(
        module, "_emitted", lambda steps, *rest: seen.append(steps) or before(steps, *rest)
    )
    return seen


def _both(steps, *inputs):
    """NumPy's and ONNX Runtime's output, which must be close."""
    values = recompute(steps, inputs)
    observed = crosscheck(steps, inputs, values)[0]
    np.testing.assert_allclose(observed, values[-1][0], rtol=2e-5, atol=2e-5)
    return observed


def _weight(*shape, seed=0):
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return Weight(f"w{seed}", array, array)


def _x(*shape):
    return np.random.default_rng(9).normal(size=shape).astype(np.float32)


def test_equal_calls_share_a_graph_whatever_their_weights_and_sizes(emitted):
    for seed in range(3):
        _both(
            (Step(MatMul(_weight(5, 3, seed=seed), _weight(3, seed=seed + 10))), Step(Relu())),
            _x(2 + seed, 5),
        )
    assert len(emitted) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (MatMul(_weight(4, 3), _weight(3, seed=1)), MatMul(_weight(4, 3), None)),
        (MatMul(_weight(4, 3), _weight(3, seed=1)), MatMul(_weight(4, 2), _weight(2, seed=1))),
        (Clip(0.0, 1.0), Clip(-0.5, 1.0)),
        (LayerNormalization(None, None, 1e-5, (1,)), LayerNormalization(None, None, 1e-1, (1,))),
        (LayerNormalization(None, None, 1e-5, (0,)), LayerNormalization(None, None, 1e-5, (1,))),
        (
            BatchNormalization(None, None, _weight(4), None, 1e-3),
            BatchNormalization(None, _weight(4), None, None, 1e-3),
        ),
    ],
)
def test_what_differs_in_a_field_is_emitted_anew(emitted, first, second):
    for op in (first, second, first):
        _both((Step(op),), _x(3, 4))
    assert len(emitted) == 2


def test_the_sign_of_zero_counts():
    keys = [
        module._keys((Step(Clip(low, 1.0)),), [_x(2, 2)], [(_x(2, 2),)], []) for low in (0.0, -0.0)
    ]
    assert keys[0] != keys[1]


def test_an_emission_that_asks_for_shapes_is_repeated_for_others(emitted):
    """ceil_mode ends in pads that depend on the size, and a normalisation without parameters in
    ones of that size."""
    pool = MaxPool((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), ceil_mode=True)
    for size in (5, 6, 7, 6, 5):
        _both((Step(pool),), _x(1, 2, size, size + 1))
    assert len(emitted) == 3
    for size in (4, 5, 4):
        _both((Step(LayerNormalization(None, None, 1e-5, (1,))), Step(Relu())), _x(2, size))
    assert len(emitted) == 5


def test_ranks_and_steps_count(emitted):
    conv = Conv(_weight(4, 3, 3), None, (1,), ((1, 1),), (1,))
    _both((Step(conv),), _x(1, 3, 8))
    _both((Step(conv), Step(Relu())), _x(1, 3, 8))
    _both(
        (Step(Conv(_weight(4, 3, 3, 3), None, (1, 1), ((1, 1), (1, 1)), (1, 1))),), _x(1, 3, 8, 7)
    )
    _both((Step(Relu()),), _x(2, 3))
    _both((Step(Relu()),), _x(2, 3, 4))
    assert len(emitted) == 5


@dataclass(frozen=True, eq=False)
class _Odd(_Plain):
    """A user's op with a field that nothing is known of."""

    setting: object
    onnx = "Abs"

    def f(self, x):
        return np.abs(x)


def test_what_cannot_be_told_apart_is_not_kept(emitted):
    for _ in range(2):
        _both((Step(_Odd(object())),), _x(2, 3))
    assert len(emitted) == 2 and not module._PLANS


def test_a_weight_made_while_emitting_is_not_kept(emitted):
    @dataclass(frozen=True, eq=False)
    class Doubled(MatMul):
        def to_onnx(self, graph, *inputs):
            twice = replace(self.weight, effective=2 * self.weight.effective)
            return (graph.op("MatMul", inputs[0], graph.weight(twice)),)

    for seed in range(2):
        x, op = _x(2, 4), Doubled(_weight(4, 3, seed=seed), None)
        (observed,) = crosscheck((Step(op),), [x], [(np.zeros((2, 3)),)])
        np.testing.assert_allclose(observed, 2 * x @ op.weight.value, rtol=1e-5, atol=1e-5)
    assert len(emitted) == 2


def test_weights_are_found_wherever_an_op_holds_them():
    @dataclass(frozen=True, eq=False)
    class Several(MatMul):
        more: tuple

    op = Several(_weight(1), _weight(1, seed=1), ((_weight(1, seed=2), 3), None))
    weights: list[Weight] = []
    module._told(op, weights)
    assert [weight.name for weight in weights] == ["w0", "w1", "w2"]
    assert [part.name for part in fields(op)] == ["weight", "bias", "more"]


def test_as_many_graphs_are_kept_as_there_is_room_for(emitted, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_PLANS", 2)
    layers = [(Step(MatMul(_weight(5, units), None)),) for units in (2, 3, 4)]
    for layer in layers:
        _both(layer, _x(2, 5))
        assert len(module._PLANS) <= 2
    assert len(emitted) == 3
    for layer, count in zip(layers[::-1], (3, 3, 4), strict=True):
        _both(layer, _x(2, 5))
        assert len(emitted) == count
