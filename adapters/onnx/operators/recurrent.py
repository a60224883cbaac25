"""RNN, GRU and LSTM: an op for each direction, with masks where sequences differ in length."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node

__all__: list[str] = []

_GATES = {"RNN": "h", "GRU": "zrh", "LSTM": "iofg"}
_USUAL = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_FUNCTIONS: Mapping[
    str, Callable[[Callable[[float | None], float], Callable[[float | None], float]], ops.Op]
] = {
    "affine": lambda alpha, beta: ops.Affine(gain=alpha(None), offset=beta(None)),
    "elu": lambda alpha, beta: ops.Elu(alpha=alpha(1.0)),
    "hardsigmoid": lambda alpha, beta: ops.HardSigmoid(alpha=alpha(0.2), beta=beta(0.5)),
    "leakyrelu": lambda alpha, beta: ops.LeakyRelu(alpha=alpha(0.01)),
    "relu": lambda alpha, beta: ops.Relu(),
    "scaledtanh": lambda alpha, beta: _scaled_tanh(alpha(None), beta(None)),
    "sigmoid": lambda alpha, beta: ops.Sigmoid(),
    "softplus": lambda alpha, beta: ops.Softplus(),
    "softsign": lambda alpha, beta: ops.Softsign(),
    "tanh": lambda alpha, beta: ops.Tanh(),
    "thresholdedrelu": lambda alpha, beta: ops.ThresholdedRelu(
        threshold=alpha(None), keeps_nan=False
    ),
}
"""What ``activations`` may name; a number that has no default in the specification must be
given."""


def _scaled_tanh(alpha: float, beta: float) -> ops.Op:
    return ops.Chain(
        (ops.Affine(gain=beta, offset=0.0), ops.Tanh(), ops.Affine(gain=alpha, offset=0.0))
    )


def _functions(build: NodeBuilder, kind: str, ways: int) -> list[list[Any]]:
    """For each direction its functions; alphas and betas belong to those that take one, in the
    order of the list."""
    usual = _USUAL[kind]
    names = [
        str(name.decode() if isinstance(name, bytes) else name)
        for name in build.get("activations", usual * ways)
    ]
    given = {name: iter(build.get(f"activation_{name}", ())) for name in ("alpha", "beta")}

    def number(which: str, function: str) -> Callable[[float | None], float]:
        def found(default: float | None) -> float:
            value = next(given[which], default)
            if value is None:
                raise Undescribed(f"the activation {function} without its {which} is not supported")
            return float(value)

        return found

    made = []
    for name in names:
        if name.lower() not in _FUNCTIONS:
            raise Undescribed(f"the activation {name} is not supported")
        made.append(_FUNCTIONS[name.lower()](number("alpha", name), number("beta", name)))
    return [made[at : at + len(usual)] for at in range(0, len(made), len(usual))]


def _part(
    weight: Weight | None, way: int, axes: tuple[int, ...] | None, shape: Sequence[int]
) -> Weight | None:
    """What belongs to one direction, in the op's layout."""
    if weight is None:
        return None
    return replace(weight, rows=(way, way + 1), axes=axes, shape=tuple(shape))


def _op(
    kind: str,
    way: int,
    functions: Sequence[Any],
    clip: float | None,
    coupled: bool,
    held: Mapping[str, Weight | None],
    **given: Any,
) -> Any:
    """The op of one direction. ``clip`` bounds what goes into the functions of the gates, not what
    goes into the cell's."""
    kernel, recurrent, gates = held["W"], held["R"], _GATES[kind]
    assert kernel is not None and recurrent is not None
    columns, size = kernel.effective.shape[1:]
    if clip is None:
        bound = functions
    else:
        bound = [ops.Chain((ops.Clip(low=-clip, high=clip), function)) for function in functions]
    shared: dict[str, Any] = {
        "kernel": _part(kernel, way, (2, 1, 0), (size, columns)),
        "recurrent": _part(recurrent, way, (2, 1, 0), (columns // len(gates), columns)),
        "bias": _part(held["B"], way, None, (2, columns)),
        **given,
    }
    if kind == "RNN":
        return ops.RNN(**shared, activation=bound[0])
    shared |= {"gates": gates, "recurrent_activation": bound[0], "activation": bound[1]}
    if kind == "GRU":
        return ops.GRU(**shared)
    peepholes = _part(held["P"], way, None, (3, columns // 4))
    if peepholes is None and not coupled and type(bound[1]) is type(functions[2]) is ops.Tanh:
        return ops.LSTM(**shared)
    return ops.PeepholeLSTM(**shared, peepholes=peepholes, coupled=coupled, shown=functions[2])


def _mask(build: NodeBuilder, lengths: Value | None, steps: int, batch: int) -> Ref | None:
    """(steps, batch): whether a step belongs to its sequence."""
    if lengths is None:
        return None
    if (build.array(lengths) < 1).any():
        raise Undescribed("a sequence of zero time steps is not supported")
    if (build.array(lengths) == steps).all() and isinstance(lengths, Weight):
        return None
    times = build.ref(np.arange(steps, dtype=np.float64)[:, None])
    return build.add(
        ops.Less(),
        times,
        build.add(ops.Reshape(shape=(1, batch)), build.add(ops.Cast(to="float32"), lengths)),
    )


def _state(build: NodeBuilder, value: Value, way: int, batch_first: bool) -> Ref:
    """The initial state of one direction."""
    axis, shape = int(batch_first), build.shape(value)
    starts, stops = (
        tuple(way if k == axis else 0 for k in range(3)),
        tuple(way + 1 if k == axis else None for k in range(3)),
    )
    part = build.add(ops.Slice(starts=starts, stops=stops), value)
    return build.add(ops.Reshape(shape=(shape[1 - axis], shape[2])), part)


def _beside(
    build: NodeBuilder, parts: Sequence[Ref], axis: int, perm: tuple[int, ...] | None
) -> Ref:
    """The directions along an axis of their own."""
    each = [build.add(ops.Unsqueeze(axes=(axis,)), part) for part in parts]
    whole = each[0] if len(each) == 1 else build.add(ops.Concat(axis=axis), *each)
    if perm is None:
        return whole
    return build.add(ops.Transpose(perm=perm), whole)


def _register(kind: str) -> None:
    @node(kind, implied=("hidden_size",))
    def recurrence(
        build: NodeBuilder,
        x: Value,
        w: Value,
        r: Value,
        b: Value | None = None,
        lengths: Value | None = None,
        h: Value | None = None,
        c: Value | None = None,
        p: Value | None = None,
    ) -> tuple[Ref, ...]:
        """Steps that lie beyond a sequence are 0 in Y; Y_h and Y_c are the states at its end."""
        held = {
            name: build.weight(name, value)
            for name, value in zip("WRBP", (w, r, b, p), strict=True)
        }
        batch_first, (ways, _, units) = bool(build.get("layout", 0)), build.shape(r)
        batch, steps = build.shape(x)[:2] if batch_first else build.shape(x)[1::-1]
        functions, mask = _functions(build, kind, ways), _mask(build, lengths, steps, batch)
        states = [h, c][: 2 if kind == "LSTM" else 1]
        if any(state is not None for state in states):
            empty = np.zeros((batch, ways, units) if batch_first else (ways, batch, units))
            states = [empty if state is None else state for state in states]
        inputs = [state for state in states if state is not None]
        more: dict[str, Any] = {
            "has_mask": mask is not None,
            "has_states": bool(inputs),
            "zero_masked": True,
        }
        if kind == "GRU":
            more["reset_after"] = bool(build.get("linear_before_reset", 0))
        coupled, clip, built = bool(build.get("input_forget", 0)), build.get("clip"), []
        sequence = build.add(ops.Transpose(perm=(1, 0, 2)), x) if batch_first else x
        for way in range(ways):
            reverse = build.get("direction", "forward") == "reverse" or way == 1
            op = _op(kind, way, functions[way], clip, coupled, held, reverse=reverse, **more)
            begun = [_state(build, value, way, batch_first) for value in inputs]
            built.append(build.add(op, sequence, *([] if mask is None else [mask]), *begun))
        ended = [
            [Ref(output.step, index) for output in built]
            for index in range(1, 3 if kind == "LSTM" else 2)
        ]
        last = [_beside(build, state, 0, (1, 0, 2) if batch_first else None) for state in ended]
        return (_beside(build, built, 1, (2, 0, 1, 3) if batch_first else None), *last)


for _kind in _GATES:
    _register(_kind)
