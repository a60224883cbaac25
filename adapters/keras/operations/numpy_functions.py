"""The operations of keras.ops.numpy that are put together from a few others."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref
from probe.errors import Undescribed

from ..describe.call import Call
from ..describe.describe import describes
from ..describe.op_builder import Chain
from .arithmetic import operation


def _two(
    call: Call, chain: Chain, first: str = "x1", second: str = "x2", early: bool = False
) -> tuple[Ref, Ref]:
    return chain.pair(call.arguments[first], call.arguments[second], early)


def _real(call: Call) -> None:
    if any(x.dtype.kind == "c" for x in call.inputs):
        raise Undescribed("it was given complex numbers")


_SIMPLE: dict[str, Callable[[Chain], Ref]] = {
    "Cbrt": lambda c: c.add(
        ops.Mul(),
        c.add(ops.Sign(), Ref(-1)),
        c.add(ops.Pow(), c.add(ops.Abs(), Ref(-1)), c.ref(1 / 3)),
    ),
    "Deg2rad": lambda c: c.add(ops.Mul(), Ref(-1), c.ref(np.pi / 180)),
    "Erfc": lambda c: c.add(ops.Sub(), c.ref(1.0), c.add(ops.Erf(), Ref(-1))),
    "Exp2": lambda c: c.add(ops.Pow(), c.ref(2.0), Ref(-1)),
    "Isfinite": lambda c: c.add(
        ops.Not(), c.add(ops.Or(), c.add(ops.IsNaN(), Ref(-1)), c.add(ops.IsInf(), Ref(-1)))
    ),
    "Isneginf": lambda c: c.add(ops.Equal(), Ref(-1), c.ref(-np.inf)),
    "Isposinf": lambda c: c.add(ops.Equal(), Ref(-1), c.ref(np.inf)),
    "Rad2deg": lambda c: c.add(ops.Mul(), Ref(-1), c.ref(180 / np.pi)),
}


@operation(*_SIMPLE)
def _simple(op: Any, call: Call, chain: Chain) -> Ref:
    return _SIMPLE[type(op).__name__](chain)


@operation("Conj", "Conjugate", "Real", "Imag", "Isreal")
def _of_real_numbers(op: Any, call: Call, chain: Chain) -> Ref:
    _real(call)
    kind = type(op).__name__
    if kind == "Isreal":
        return chain.add(ops.Equal(), chain.like(Ref(-1), 0.0), chain.ref(0.0))
    return chain.like(Ref(-1), 0.0) if kind == "Imag" else chain.add(ops.Identity(), Ref(-1))


@operation("Signbit")
def _sign_bit(op: Any, call: Call, chain: Chain) -> Ref:
    x = call.inputs[0]
    if (np.signbit(x) != (x < 0)).any():
        raise Undescribed("the sign of its zeros and NaN counts")
    return chain.add(ops.Less(), Ref(-1), chain.ref(0.0))


@operation("Sinc")
def _sinc(op: Any, call: Call, chain: Chain) -> Ref:
    turned = chain.add(ops.Mul(), Ref(-1), chain.ref(np.pi))
    zero = chain.add(ops.Equal(), Ref(-1), chain.ref(0.0))
    return chain.add(
        ops.Where(),
        zero,
        chain.ref(1.0),
        chain.add(ops.Div(), chain.add(ops.Sin(), turned), turned),
    )


@operation("Heaviside")
def _heaviside(op: Any, call: Call, chain: Chain) -> Ref:
    x, at_zero = _two(call, chain)
    zero, one = chain.ref(0.0), chain.ref(1.0)
    sides = chain.add(ops.Where(), chain.add(ops.Less(), x, zero), zero, one)
    return chain.add(ops.Where(), chain.add(ops.Equal(), x, zero), at_zero, sides)


@operation("Arctan2")
def _arctan2(op: Any, call: Call, chain: Chain) -> Ref:
    """The angle of (x, y): atan(y / x), and half a turn where x is negative."""
    if any(((array == 0) & np.signbit(array)).any() for array in call.inputs):
        raise Undescribed("the sign of its zeros counts")
    y, x = _two(call, chain)
    zero = chain.ref(0.0)
    half = chain.add(
        ops.Where(), chain.add(ops.Less(), y, zero), chain.ref(-np.pi), chain.ref(np.pi)
    )
    left = chain.add(ops.Where(), chain.add(ops.Less(), x, zero), half, zero)
    angle = chain.add(ops.Add(), chain.add(ops.Atan(), chain.add(ops.Div(), y, x)), left)
    origin = chain.add(ops.And(), chain.add(ops.Equal(), y, zero), chain.add(ops.Equal(), x, zero))
    return chain.add(ops.Where(), origin, zero, angle)


@operation("Logaddexp", "Logaddexp2")
def _log_add_exp(op: Any, call: Call, chain: Chain) -> Ref:
    x, y = _two(call, chain, early=True)
    apart = chain.add(ops.Neg(), chain.add(ops.Abs(), chain.add(ops.Sub(), x, y)))
    if type(op).__name__ == "Logaddexp":
        return chain.add(
            ops.Add(),
            chain.add(ops.Max(), x, y),
            chain.add(ops.Log1p(), chain.add(ops.Exp(), apart)),
        )
    two = chain.ref(float(np.float32(np.log(2.0)) if call.backend == "tensorflow" else np.log(2.0)))
    grown = chain.add(ops.Log1p(), chain.add(ops.Exp(), chain.add(ops.Mul(), apart, two)))
    return chain.add(ops.Add(), chain.add(ops.Max(), x, y), chain.add(ops.Div(), grown, two))


@operation("Ldexp")
def _ldexp(op: Any, call: Call, chain: Chain) -> Ref:
    x, power = _two(call, chain)
    return chain.add(ops.Mul(), x, chain.add(ops.Pow(), chain.ref(2.0), power))


@operation("Fmod")
def _fmod(op: Any, call: Call, chain: Chain) -> Ref:
    """The remainder with the sign of the first."""
    return chain.add(ops.Mod(fmod=True), *_two(call, chain))


@operation("Fmax", "Fmin")
def _passing_nan(op: Any, call: Call, chain: Chain) -> Ref:
    x, y = _two(call, chain)
    both = chain.add(ops.Max() if type(op).__name__ == "Fmax" else ops.Min(), x, y)
    found = chain.add(ops.Where(), chain.add(ops.IsNaN(), y), x, both)
    return chain.add(ops.Where(), chain.add(ops.IsNaN(), x), y, found)


def _close(chain: Chain, op: Any, x: Ref, y: Ref, rtol: float, atol: float) -> Ref:
    reach = chain.add(
        ops.Add(),
        chain.ref(float(atol)),
        chain.add(ops.Mul(), chain.ref(float(rtol)), chain.add(ops.Abs(), y)),
    )
    near = chain.add(ops.LessOrEqual(), chain.add(ops.Abs(), chain.add(ops.Sub(), x, y)), reach)
    if not op.equal_nan:
        return near
    return chain.add(
        ops.Or(), near, chain.add(ops.And(), chain.add(ops.IsNaN(), x), chain.add(ops.IsNaN(), y))
    )


@operation("Isclose", "AllClose")
def _is_close(op: Any, call: Call, chain: Chain) -> Ref:
    if call.inputs[0].dtype.kind != "f":
        raise Undescribed("it was given integers")
    given = call.arguments
    rtol, atol = (
        given.get(name, getattr(op, name, default))
        for name, default in (("rtol", 1e-5), ("atol", 1e-8))
    )
    near = _close(chain, op, *_two(call, chain), rtol, atol)
    return (
        near if type(op).__name__ == "Isclose" else chain.reduce(ops.ReduceAll, near, None, False)
    )


@operation("IsIn")
def _is_in(op: Any, call: Call, chain: Chain) -> Ref:
    x, among = _two(call, chain)
    flat = chain.reshape(among, (-1,))
    found = chain.reduce(
        ops.ReduceAny, chain.add(ops.Equal(), chain.expand_dims(x, -1), flat), -1, False
    )
    return chain.add(ops.Not(), found) if op.invert else found


@operation("Average")
def _average(op: Any, call: Call, chain: Chain) -> Ref:
    weights = call.arguments.get("weights")
    if weights is None:
        return chain.reduce(ops.ReduceMean, Ref(-1), op.axis, False)
    ref = chain.ref(chain.shaped(weights))
    if len(chain.shape(ref)) == 1 and len(call.shape) > 1:
        axis = chain.axes(Ref(-1), op.axis)[0]
        ref = chain.reshape(ref, [-1 if k == axis else 1 for k in range(len(call.shape))])
    ref = chain.expand(ref, call.shape)
    total = chain.reduce(ops.ReduceSum, chain.add(ops.Mul(), Ref(-1), ref), op.axis, False)
    return chain.add(ops.Div(), total, chain.reduce(ops.ReduceSum, ref, op.axis, False))


@operation("CountNonzero")
def _count_nonzero(op: Any, call: Call, chain: Chain) -> Ref:
    there = chain.add(ops.Cast(to="int32"), chain.add(ops.NotEqual(), Ref(-1), chain.ref(0.0)))
    return chain.reduce(ops.ReduceSum, there, op.axis, False)


@operation("Ptp")
def _peak_to_peak(op: Any, call: Call, chain: Chain) -> Ref:
    high, low = (
        chain.reduce(one, Ref(-1), op.axis, op.keepdims) for one in (ops.ReduceMax, ops.ReduceMin)
    )
    return chain.add(ops.Sub(), high, low)


@operation("NanToNum")
def _nan_to_num(op: Any, call: Call, chain: Chain) -> Ref:
    if call.dtype not in ("float32", "float64") and None in (op.posinf, op.neginf):
        raise Undescribed(f"it puts the largest number of {call.dtype} in place of infinity")
    most = float(np.finfo(call.dtype).max) if op.posinf is None or op.neginf is None else 0.0
    ends = (
        (np.inf, most if op.posinf is None else op.posinf),
        (-np.inf, -most if op.neginf is None else op.neginf),
    )
    found = chain.add(
        ops.Where(), chain.add(ops.IsNaN(), Ref(-1)), chain.ref(float(op.nan)), Ref(-1)
    )
    for end, value in ends:
        found = chain.add(
            ops.Where(),
            chain.add(ops.Equal(), Ref(-1), chain.ref(end)),
            chain.ref(float(value)),
            found,
        )
    return found


@operation("Trapezoid")
def _trapezoid(op: Any, call: Call, chain: Chain) -> Ref:
    axis = chain.axes(Ref(-1), op.axis)[0]
    size = call.shape[axis]
    pairs = chain.add(
        ops.Add(), chain.part(Ref(-1), axis, 1, size), chain.part(Ref(-1), axis, 0, size - 1)
    )
    widths: Any = float(op.dx)
    if op.x is not None:
        places = np.asarray(call.namespace.ops.convert_to_numpy(op.x))
        if places.ndim != 1:
            raise Undescribed("its places differ from line to line")
        widths = np.diff(places).reshape([-1 if k == axis else 1 for k in range(len(call.shape))])
    halves = chain.add(ops.Mul(), chain.add(ops.Mul(), pairs, chain.ref(0.5)), chain.ref(widths))
    return chain.reduce(ops.ReduceSum, halves, axis, False)


@operation("Vander")
def _vander(op: Any, call: Call, chain: Chain) -> Ref:
    count = call.shape[0] if op.N is None else int(op.N)
    powers = np.arange(count) if op.increasing else np.arange(count)[::-1]
    return chain.add(
        ops.Pow(), chain.expand_dims(Ref(-1), -1), chain.ref(powers.astype(np.float64))
    )


@operation("Select")
def _select(op: Any, call: Call, chain: Chain) -> Ref:
    """The first choice whose condition holds."""
    given = call.arguments
    found = chain.ref(
        float(given.get("default", 0))
        if not isinstance(given.get("default"), Ref)
        else given["default"]
    )
    for condition, choice in reversed(
        list(zip(given["condlist"], given["choicelist"], strict=True))
    ):
        found = chain.add(ops.Where(), chain.ref(condition), *chain.pair(choice, found))
    return found


@describes("ops.UnravelIndex")
def _unravel_index(op: Any, call: Call) -> Description:
    chain = Chain(call)
    rest, found = Ref(-1), []
    if (call.inputs[0] < 0).any():
        raise Undescribed("it was given negative places")
    for size in reversed(op.shape):
        found.append(chain.add(ops.Mod(), rest, chain.ref(int(size))))
        parts = chain.add(ops.Div(), chain.add(ops.Sub(), rest, found[-1]), chain.ref(int(size)))
        rest = chain.add(ops.Cast(to="int64"), parts)
    return chain.done(*reversed(found))


@operation("Linspace")
def _linspace(op: Any, call: Call, chain: Chain) -> Ref:
    if op.retstep or op.num < 2:
        raise Undescribed(
            "it gives the step too" if op.retstep else "it gives no more than the start"
        )
    start, stop = _two(call, chain, "start", "stop")
    rank = max(len(chain.shape(start)), len(chain.shape(stop)))
    axis = op.axis % (rank + 1)
    first, last = (
        chain.expand_dims(one, axis) if len(chain.shape(one)) == rank else one
        for one in (start, stop)
    )
    if not op.endpoint:
        short = chain.add(ops.Div(), chain.add(ops.Sub(), last, first), chain.ref(float(op.num)))
        last = chain.add(ops.Sub(), last, short)
    step = chain.add(ops.Div(), chain.add(ops.Sub(), last, first), chain.ref(float(op.num - 1)))
    places = np.arange(op.num, dtype=np.float64).reshape(
        [-1 if k == axis else 1 for k in range(rank + 1)]
    )
    return chain.add(ops.Add(), first, chain.add(ops.Mul(), step, chain.ref(places)))


@operation("Corrcoef")
def _corrcoef(op: Any, call: Call, chain: Chain) -> Ref:
    if len(call.shape) != 2:
        raise Undescribed(f"its input has {len(call.shape)} axes")
    centred = chain.add(ops.Sub(), Ref(-1), chain.reduce(ops.ReduceMean, Ref(-1), -1, True))
    length = chain.reduce(ops.ReduceL2, centred, -1, True)
    unit = chain.add(ops.Div(), centred, length)
    found = chain.add(ops.Einsum(equation="ik,jk->ij"), unit, unit, shape=(call.shape[0],) * 2)
    return chain.add(ops.Clip(low=-1.0, high=1.0), found)


@describes("ops.Hsplit", "ops.Vsplit", "ops.Dsplit", "ops.ArraySplit")
def _split(op: Any, call: Call) -> Description:
    """The parts of one axis; into so many parts that do not fit, the first ones are one longer."""
    chain, rank = Chain(call), len(call.shape)
    axis = {"Hsplit": min(1, rank - 1), "Vsplit": 0, "Dsplit": 2}.get(
        type(op).__name__, getattr(op, "axis", 0)
    ) % rank
    parts = op.indices_or_sections
    if isinstance(parts, int):
        ends = np.cumsum(
            [0, *(len(one) for one in np.array_split(np.arange(call.shape[axis]), parts))]
        ).tolist()
    else:
        ends = [0, *(int(one) for one in parts), call.shape[axis]]
    return chain.done(*(chain.part(Ref(-1), axis, start, stop) for start, stop in pairwise(ends)))
