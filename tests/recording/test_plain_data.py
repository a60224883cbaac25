"""Every class that a recording keeps comes back equal, bit for bit."""

import collections.abc
import inspect
import json
import types
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin

import ml_dtypes
import numpy as np
import pytest
from own_seed import RNG

from probe import ops
from probe.description import Grid, Ref, Step, Weight
from probe.errors import Undescribed
from probe.model import CallAgain, Held, Part
from probe.recording.plain_data import Unfit, _fields, as_data, from_data, kinds

DTYPES = [np.float32, np.float64, np.int8, ml_dtypes.bfloat16, np.float16, np.int64]


def drawn_array() -> np.ndarray:
    dtype = DTYPES[RNG.integers(len(DTYPES))]
    return RNG.normal(scale=9, size=RNG.integers(1, 4, size=RNG.integers(0, 4))).astype(dtype)


def drawn(hint: Any, depth: int = 0) -> Any:
    """A value of a type; of several the last that is not None."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = [
            one
            for one in inner
            if one is not type(None) and get_origin(one) is not collections.abc.Callable
        ]
        return drawn(kinds[RNG.integers(len(kinds))], depth) if kinds else None
    if origin is tuple:
        sizes = (inner[0],) * 2 if inner[1:] == (...,) else inner
        return tuple(drawn(one, depth + 1) for one in sizes)
    if origin is Literal:
        return inner[0]
    if origin is collections.abc.Sequence:
        return [drawn(inner[0]), drawn(inner[0])]
    if origin is collections.abc.Mapping:
        return {"part": drawn(inner[1], depth + 1)}
    if hint in (type(None), Part, Held, CallAgain):
        return None
    if hint is float:
        return [0.1, float("inf"), -0.0, np.float32(0.3), 2][RNG.integers(5)]
    if hint is int:
        return [-7, 1 << 40, np.int64(3)][RNG.integers(3)]
    if hint is bool:
        return bool(RNG.integers(2))
    if hint is str:
        return "ein Wort\u00e4\n"
    if hint is np.ndarray:
        return drawn_array()
    if hint is ops.Op:
        return ops.LeakyRelu(alpha=0.1)
    if hint is Weight:
        grid = Grid(drawn_array(), 8, zero_point=drawn_array())
        return Weight(
            "w",
            drawn_array(),
            drawn_array(),
            ("x 2",),
            {"g": drawn_array()},
            (1, 0),
            (2, 3),
            (0, 1),
            grid,
        )
    if hint is Step:
        return Step(ops.Relu(), (Ref(-1, 0),))
    return instance(hint, depth + 1)


def instance(kind: Any, depth: int = 0) -> Any:
    given = {}
    for name, (hint, _) in _fields(kind).items():
        given[name] = () if hint == tuple[Part, ...] else drawn(hint, depth)
    return kind(**given)


def assert_equal(one: Any, other: Any) -> None:
    """Equal to the last bit, and of the same types."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray | np.generic):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    elif is_dataclass(one):
        for part in fields(one):
            assert_equal(getattr(one, part.name), getattr(other, part.name))
    elif isinstance(one, tuple | list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key, value in one.items():
            assert_equal(value, other[key])
    else:
        assert repr(one) == repr(other)


def back(value: Any) -> Any:
    arrays: list[np.ndarray] = []

    def keep(array: np.ndarray) -> int:
        arrays.append(array)
        return len(arrays) - 1

    return from_data(
        json.loads(json.dumps(as_data(value, keep), allow_nan=False)), arrays.__getitem__
    )


@pytest.mark.parametrize("name", sorted(kinds()))
def test_every_class_comes_back(name):
    for _ in range(20):
        value = instance(kinds()[name])
        assert_equal(back(value), value)


def test_every_op_that_can_be_made_is_known():
    made = {
        one
        for name, one in inspect.getmembers(ops)
        if isinstance(one, type)
        and issubclass(one, ops.Op)
        and is_dataclass(one)
        and "__dataclass_params__" in vars(one)
        and not name.startswith("_")
    }
    assert made - set(kinds().values()) == {ops.Recomputed, ops.Op}
    assert len(kinds()) > 200


def test_what_has_no_form_is_refused():
    function = ops.Recomputed(lambda layer, x: x, None)
    with pytest.raises(Undescribed, match="Recomputed cannot be stored"):
        as_data(Step(function), lambda array: 0)
    with pytest.raises(Undescribed, match=r"LeakyRelu\.alpha cannot be stored"):
        as_data(ops.LeakyRelu(alpha="much"), lambda array: 0)


@pytest.mark.parametrize(
    "data",
    [
        {"is": "eval"},
        {"is": "Recomputed", "function": None, "layer": None},
        {"is": ["Relu"]},
        {"is": "Relu", "more": 1},
        {"is": "LeakyRelu", "alpha": "much"},
        {"is": "LeakyRelu", "alpha": [0.1]},
        {"is": "Ref"},
        {"is": "Step", "op": {"is": "Ref", "step": 0}},
        {"is": "Conv", "weight": None, "bias": None, "strides": [1.5], "pads": [], "dilations": []},
        {"float": "1e999"},
        {"list": 3},
        {"map": []},
        {"array": 0, "more": 0},
        {},
    ],
)
def test_what_does_not_fit_is_refused(data):
    with pytest.raises(Unfit):
        from_data(data, lambda number: np.zeros(3))
