"""The operations of keras.ops.numpy that are put together from a few others."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes
from ..describe.op_builder import OpBuilder
from ..describe.rearranged import is_finite
from .arithmetic import operation


def _two(
    call: KerasCall, build: OpBuilder, first: str = "x1", second: str = "x2", early: bool = False
) -> tuple[Ref, Ref]:
    return build.pair(call.arguments[first], call.arguments[second], early)


def _real(call: KerasCall) -> None:
    if any(x.dtype.kind == "c" for x in call.inputs):
        raise Undescribed("complex inputs are not supported")


_SIMPLE: dict[str, Callable[[OpBuilder], Ref]] = {
    "Cbrt": lambda c: c.add(
        ops.Mul(),
        c.add(ops.Sign(), Ref(-1)),
        c.add(ops.Pow(), c.add(ops.Abs(), Ref(-1)), c.ref(1 / 3)),
    ),
    "Deg2rad": lambda c: c.add(ops.Mul(), Ref(-1), c.ref(np.pi / 180)),
    "Erfc": lambda c: c.add(ops.Sub(), c.ref(1.0), c.add(ops.Erf(), Ref(-1))),
    "Exp2": lambda c: c.add(ops.Pow(), c.ref(2.0), Ref(-1)),
    "Isfinite": lambda c: is_finite(c, Ref(-1)),
    "Isneginf": lambda c: c.add(ops.Equal(), Ref(-1), c.ref(-np.inf)),
    "Isposinf": lambda c: c.add(ops.Equal(), Ref(-1), c.ref(np.inf)),
    "Rad2deg": lambda c: c.add(ops.Mul(), Ref(-1), c.ref(180 / np.pi)),
}


@operation(*_SIMPLE)
def _simple(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return _SIMPLE[type(op).__name__](build)


@operation("Conj", "Conjugate", "Real", "Imag", "Isreal")
def _of_real_numbers(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    _real(call)
    kind = type(op).__name__
    if kind == "Isreal":
        return build.add(ops.Equal(), build.like(Ref(-1), 0.0), 0.0)
    if kind == "Imag":
        return build.like(Ref(-1), 0.0)
    return build.add(ops.Identity(), Ref(-1))


@operation("Signbit")
def _sign_bit(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    x = call.inputs[0]
    if (np.signbit(x) != (x < 0)).any():
        raise Undescribed(
            "its result depends on the signs of zeros and NaN, which are not compared"
        )
    return build.add(ops.Less(), Ref(-1), 0.0)


@operation("Sinc")
def _sinc(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    turned = build.add(ops.Mul(), Ref(-1), np.pi)
    zero = build.add(ops.Equal(), Ref(-1), 0.0)
    return build.add(
        ops.Where(),
        zero,
        build.ref(1.0),
        build.add(ops.Div(), build.add(ops.Sin(), turned), turned),
    )


@operation("Heaviside")
def _heaviside(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    x, at_zero = _two(call, build)
    zero, one = build.ref(0.0), build.ref(1.0)
    sides = build.add(ops.Where(), build.add(ops.Less(), x, zero), zero, one)
    return build.add(ops.Where(), build.add(ops.Equal(), x, zero), at_zero, sides)


@operation("Arctan2")
def _arctan2(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """The angle of (x, y): atan(y / x), and half a turn where x is negative."""
    if any(((array == 0) & np.signbit(array)).any() for array in call.inputs):
        raise Undescribed("its result depends on the signs of zeros, which are not compared")
    y, x = _two(call, build)
    zero = build.ref(0.0)
    half = build.add(ops.Where(), build.add(ops.Less(), y, zero), -np.pi, np.pi)
    left = build.add(ops.Where(), build.add(ops.Less(), x, zero), half, zero)
    angle = build.add(ops.Add(), build.add(ops.Atan(), build.add(ops.Div(), y, x)), left)
    origin = build.add(ops.And(), build.add(ops.Equal(), y, zero), build.add(ops.Equal(), x, zero))
    return build.add(ops.Where(), origin, zero, angle)


@operation("Logaddexp", "Logaddexp2")
def _log_add_exp(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    x, y = _two(call, build, early=True)
    apart = build.add(ops.Neg(), build.add(ops.Abs(), build.add(ops.Sub(), x, y)))
    if type(op).__name__ == "Logaddexp":
        return build.add(
            ops.Add(),
            build.add(ops.Max(), x, y),
            build.add(ops.Log1p(), build.add(ops.Exp(), apart)),
        )
    two = build.ref(float(np.float32(np.log(2.0)) if call.backend == "tensorflow" else np.log(2.0)))
    grown = build.add(ops.Log1p(), build.add(ops.Exp(), build.add(ops.Mul(), apart, two)))
    return build.add(ops.Add(), build.add(ops.Max(), x, y), build.add(ops.Div(), grown, two))


@operation("Ldexp")
def _ldexp(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    x, power = _two(call, build)
    return build.add(ops.Mul(), x, build.add(ops.Pow(), 2.0, power))


@operation("Fmod")
def _fmod(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """The remainder with the sign of the first."""
    return build.add(ops.Mod(fmod=True), *_two(call, build))


@operation("Fmax", "Fmin")
def _passing_nan(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    x, y = _two(call, build)
    both = build.add(ops.Max() if type(op).__name__ == "Fmax" else ops.Min(), x, y)
    found = build.add(ops.Where(), build.add(ops.IsNaN(), y), x, both)
    return build.add(ops.Where(), build.add(ops.IsNaN(), x), y, found)


def _close(build: OpBuilder, op: Any, x: Ref, y: Ref, rtol: float, atol: float) -> Ref:
    tolerance = build.add(
        ops.Add(),
        build.ref(float(atol)),
        build.add(ops.Mul(), build.ref(float(rtol)), build.add(ops.Abs(), y)),
    )
    near = build.add(ops.LessOrEqual(), build.add(ops.Abs(), build.add(ops.Sub(), x, y)), tolerance)
    if not op.equal_nan:
        return near
    return build.add(
        ops.Or(), near, build.add(ops.And(), build.add(ops.IsNaN(), x), build.add(ops.IsNaN(), y))
    )


@operation("Isclose", "AllClose")
def _is_close(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    if call.inputs[0].dtype.kind != "f":
        raise Undescribed("integer inputs are not supported")
    given = call.arguments
    rtol, atol = (
        given.get(name, getattr(op, name, default))
        for name, default in (("rtol", 1e-5), ("atol", 1e-8))
    )
    near = _close(build, op, *_two(call, build), rtol, atol)
    if type(op).__name__ == "Isclose":
        return near
    return build.reduce(ops.ReduceAll, near, None, False)


@operation("IsIn")
def _is_in(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    x, among = _two(call, build)
    flat = build.reshape(among, (-1,))
    found = build.reduce(
        ops.ReduceAny, build.add(ops.Equal(), build.expand_dims(x, -1), flat), -1, False
    )
    if op.invert:
        return build.add(ops.Not(), found)
    return found


@operation("Average")
def _average(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    weights = call.arguments.get("weights")
    if weights is None:
        return build.reduce(ops.ReduceMean, Ref(-1), op.axis, False)
    ref = build.ref(build.shaped(weights))
    if len(build.shape(ref)) == 1 and len(call.shape) > 1:
        axis = build.axes(Ref(-1), op.axis)[0]
        ref = build.reshape(ref, [-1 if k == axis else 1 for k in range(len(call.shape))])
    ref = build.expand(ref, call.shape)
    total = build.reduce(ops.ReduceSum, build.add(ops.Mul(), Ref(-1), ref), op.axis, False)
    return build.add(ops.Div(), total, build.reduce(ops.ReduceSum, ref, op.axis, False))


@operation("CountNonzero")
def _count_nonzero(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    there = build.add(ops.Cast(to="int32"), build.add(ops.NotEqual(), Ref(-1), 0.0))
    return build.reduce(ops.ReduceSum, there, op.axis, False)


@operation("Ptp")
def _peak_to_peak(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    high, low = (
        build.reduce(reduction, Ref(-1), op.axis, op.keepdims)
        for reduction in (ops.ReduceMax, ops.ReduceMin)
    )
    return build.add(ops.Sub(), high, low)


@operation("NanToNum")
def _nan_to_num(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    if call.dtype not in ("float32", "float64") and None in (op.posinf, op.neginf):
        raise Undescribed(
            f"it replaces infinity by the largest {call.dtype}, which is not supported"
        )
    if op.posinf is None or op.neginf is None:
        most = float(np.finfo(call.dtype).max)
    else:
        most = 0.0
    ends = (
        (np.inf, most if op.posinf is None else op.posinf),
        (-np.inf, -most if op.neginf is None else op.neginf),
    )
    found = build.add(
        ops.Where(), build.add(ops.IsNaN(), Ref(-1)), build.ref(float(op.nan)), Ref(-1)
    )
    for end, value in ends:
        found = build.add(ops.Where(), build.add(ops.Equal(), Ref(-1), end), float(value), found)
    return found


@operation("Trapezoid")
def _trapezoid(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    axis = build.axes(Ref(-1), op.axis)[0]
    size = call.shape[axis]
    pairs = build.add(
        ops.Add(), build.part(Ref(-1), axis, 1, size), build.part(Ref(-1), axis, 0, size - 1)
    )
    widths: Any = float(op.dx)
    if op.x is not None:
        places = np.asarray(call.namespace.ops.convert_to_numpy(op.x))
        if places.ndim != 1:
            raise Undescribed("sample points x that differ between lines are not supported")
        widths = np.diff(places).reshape([-1 if k == axis else 1 for k in range(len(call.shape))])
    halves = build.add(ops.Mul(), build.add(ops.Mul(), pairs, 0.5), widths)
    return build.reduce(ops.ReduceSum, halves, axis, False)


@operation("Vander")
def _vander(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    count = call.shape[0] if op.N is None else int(op.N)
    if op.increasing:
        powers = np.arange(count)
    else:
        powers = np.arange(count)[::-1]
    return build.add(ops.Pow(), build.expand_dims(Ref(-1), -1), powers.astype(np.float64))


@operation("Select")
def _select(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """The first choice whose condition holds."""
    given = call.arguments
    default = given["default"]
    found = build.ref(default if isinstance(default, Ref) else float(default))
    for condition, choice in reversed(
        list(zip(given["condlist"], given["choicelist"], strict=True))
    ):
        found = build.add(ops.Where(), build.ref(condition), *build.pair(choice, found))
    return found


@describes("ops.UnravelIndex")
def _unravel_index(op: Any, call: KerasCall) -> Description:
    build = OpBuilder(call)
    rest, found = Ref(-1), []
    if (call.inputs[0] < 0).any():
        raise Undescribed("negative indices are not supported")
    for size in reversed(op.shape):
        found.append(build.add(ops.Mod(), rest, int(size)))
        parts = build.add(ops.Div(), build.add(ops.Sub(), rest, found[-1]), int(size))
        rest = build.add(ops.Cast(to="int64"), parts)
    return Description(build.ended(*reversed(found)))


@operation("Linspace")
def _linspace(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    if op.retstep:
        raise Undescribed("retstep=True is not supported")
    if op.num < 2:
        raise Undescribed("an output with the start value only is not supported")
    start, stop = _two(call, build, "start", "stop")
    rank = max(len(build.shape(start)), len(build.shape(stop)))
    axis = op.axis % (rank + 1)
    first, last = (
        build.expand_dims(end, axis) if len(build.shape(end)) == rank else end
        for end in (start, stop)
    )
    if not op.endpoint:
        short = build.add(ops.Div(), build.add(ops.Sub(), last, first), float(op.num))
        last = build.add(ops.Sub(), last, short)
    step = build.add(ops.Div(), build.add(ops.Sub(), last, first), float(op.num - 1))
    places = np.arange(op.num, dtype=np.float64).reshape(
        [-1 if k == axis else 1 for k in range(rank + 1)]
    )
    return build.add(ops.Add(), first, build.add(ops.Mul(), step, places))


@operation("Corrcoef")
def _corrcoef(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    if len(call.shape) != 2:
        raise Undescribed(f"an input with {len(call.shape)} axes is not supported")
    centred = build.add(ops.Sub(), Ref(-1), build.reduce(ops.ReduceMean, Ref(-1), -1, True))
    length = build.reduce(ops.ReduceL2, centred, -1, True)
    unit = build.add(ops.Div(), centred, length)
    found = build.add(ops.Einsum(equation="ik,jk->ij"), unit, unit, shape=(call.shape[0],) * 2)
    return build.add(ops.Clip(low=-1.0, high=1.0), found)


@describes("ops.Hsplit", "ops.Vsplit", "ops.Dsplit", "ops.ArraySplit")
def _split(op: Any, call: KerasCall) -> Description:
    """The parts of one axis; into so many parts that do not fit, the first ones are one longer."""
    build, rank = OpBuilder(call), len(call.shape)
    axis = {"Hsplit": min(1, rank - 1), "Vsplit": 0, "Dsplit": 2}.get(
        type(op).__name__, getattr(op, "axis", 0)
    ) % rank
    parts = op.indices_or_sections
    if isinstance(parts, int):
        ends = np.cumsum(
            [0, *(len(part) for part in np.array_split(np.arange(call.shape[axis]), parts))]
        ).tolist()
    else:
        ends = [0, *(int(place) for place in parts), call.shape[axis]]
    return Description(
        build.ended(*(build.part(Ref(-1), axis, start, stop) for start, stop in pairwise(ends)))
    )
