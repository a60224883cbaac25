"""Mistakes with recurrences: gates in another order, biases, activations, and the wrong step of the
sequence."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import permutations, product
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.rewriting import Rewiring, rewired
from probe.hypotheses.edits.step_words import ordinal
from probe.hypotheses.registry import hypothesis, more
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps

__all__ = ["everywhere_and_singly"]

_MANY = 64
"""Steps of a sequence that are tried one by one."""


def everywhere_and_singly(
    case: Case, change: Callable[[Any], Any], kind: type = ops.Recurrence
) -> Iterator[tuple[Steps, str]]:
    """The steps with all recurrences changed, and with one of several; None leaves an op as it
    is."""
    found = [(position, change(case.steps[position].op)) for position, _ in case.having(kind)]
    found = [(position, op) for position, op in found if op is not None]
    if len(found) > 1:
        steps = case.steps
        for position, op in found:
            steps = (*steps[:position], replace(steps[position], op=op), *steps[position + 1 :])
        yield steps, ""
    for number, (position, op) in enumerate(found):
        yield (
            case.with_op(position, op),
            "" if len(found) == 1 else f" in the {ordinal(number + 1)} recurrence",
        )


def _read_as(layout: str, order: str) -> Callable[[Any], Any]:
    return lambda op: replace(op, gates=order) if op.gates == layout else None


def _kernels_read_as(layout: str, order: str) -> Callable[[Any], Any]:
    """The same of kernels alone: the blocks of the biases stay where they are."""

    def change(op: Any) -> Any:
        if op.gates != layout or not any(bias is not None and bias.any() for bias in op.biases()):
            return None
        other = replace(op, gates=order)
        for name in ("bias", "recurrent_bias"):
            weight = getattr(op, name)
            if weight is not None:
                moved = np.empty_like(weight.value)
                for gate in layout:
                    moved[..., other.block(gate)] = weight.value[..., op.block(gate)]
                other = replace(other, **{name: Weight(weight.name, None, moved)})
        return other

    return change


@hypothesis("gate-order")
def gate_order(case: Case) -> Iterator[Edit]:
    """The gates of an LSTM or GRU are in another order.

    The weight blocks are in the order i f c o in Keras, i f g o in PyTorch (the same order, with
    another name for c) and i o f c in ONNX; those of a GRU are z r h in Keras and ONNX and r z n in
    PyTorch. The error is there from the first time step.
    """
    gates = {op.gates for _, op in case.having(ops.Recurrence) if len(op.gates) > 1}
    readings = (
        ("the gate blocks", _read_as),
        ("the gate blocks of the kernels, not those of the biases,", _kernels_read_as),
    )
    for (blocks, reading), layout in product(readings, sorted(gates)):
        for order in permutations(layout):
            text = "".join(order)
            if text == layout:
                continue
            known = {
                "iofg": ", ONNX's order",
                "rzh": ", PyTorch's order",
                "zrh": ", Keras' order",
            }.get(text, "")
            for steps, where in everywhere_and_singly(case, reading(layout, text)):
                claim = (
                    f"{blocks} are read as {' '.join(text)}{known}; the layer's are "
                    f"{' '.join(layout)}{where}"
                )
                yield case.edit(claim, steps, do=f"read the blocks in the order {' '.join(layout)}")


@hypothesis("reset-after")
def reset_after(case: Case) -> Iterator[Edit]:
    """A GRU's reset gate was applied before the recurrent product instead of after it, or the
    reverse.

    Keras 3, PyTorch and cuDNN compute r * (h U + b'); the original paper, and Keras with
    ``reset_after=False``, compute (r * h) U. The first time step from a zero state hardly differs;
    the error grows with each step.
    """
    for steps, where in everywhere_and_singly(
        case,
        lambda op: replace(op, reset_after=not op.reset_after) if isinstance(op, ops.GRU) else None,
    ):
        after = next(op.reset_after for _, op in case.having(ops.GRU))
        if after:
            told = ("(r * h) U", "r * (h U + b')")
        else:
            told = ("r * (h U + b')", "(r * h) U")
        yield case.edit(
            f"the candidate uses {told[0]}; the layer uses {told[1]}{where}",
            steps,
            do=f"compute {told[1]}",
        )


def _biases(op: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The input's bias and the state's, where there are two."""
    first, second = op.biases()
    if first is None or second is None:
        return None
    return (first, second)


def _with_biases(op: Any, first: np.ndarray, second: np.ndarray) -> Any:
    name = op.bias.name
    if op.bias.value.ndim == 2:
        return replace(op, bias=Weight(name, None, np.stack([first, second])))
    return replace(
        op,
        bias=Weight(name, None, first),
        recurrent_bias=Weight(op.recurrent_bias.name, None, second),
    )


_BIASES = {
    "the bias of the recurrent product is missing": lambda first, second: (first, 0 * second),
    "the bias of the input product is missing": lambda first, second: (0 * first, second),
    "both biases are added outside the reset gate": lambda first, second: (
        first + second,
        0 * second,
    ),
    "the two biases are exchanged": lambda first, second: (second, first),
    "the input's bias is used twice": lambda first, second: (first, first),
    "the recurrent bias is used twice": lambda first, second: (second, second),
}


@hypothesis("recurrent-bias")
def recurrent_bias(case: Case) -> Iterator[Edit]:
    """One of a recurrent layer's two biases is missing, or the two were added up where that is
    wrong.

    PyTorch has bias_ih and bias_hh, and Keras' GRU with ``reset_after`` has a bias of two rows. In
    an LSTM their sum is equivalent; in a GRU the second is inside the reset gate: r * (h U + b').
    """

    def change(op: Any, pair: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Any:
        both = _biases(op)
        if both is None:
            return None
        return _with_biases(op, *pair(*both))

    for claim, pair in _BIASES.items():
        for steps, where in everywhere_and_singly(case, partial(change, pair=pair)):
            yield case.edit(f"{claim}{where}", steps, do="add each bias to its own product")


@more("gate-order")
def gate_turned(case: Case) -> Iterator[Edit]:
    """The update gate of a GRU is 1 minus the layer's: h = (1 - z) h + z n, as the paper has it,
    and not h = z h + (1 - z) n."""

    def change(op: Any) -> Any:
        if not isinstance(op, ops.GRU):
            return None
        names = ("kernel", "recurrent", "bias", "recurrent_bias")
        parts = {name: weight for name in names if (weight := getattr(op, name)) is not None}
        for name, weight in parts.items():
            value = np.array(weight.value)
            value[..., op.block("z")] *= -1
            parts[name] = Weight(weight.name, None, value)
        return replace(op, **parts)

    for steps, where in everywhere_and_singly(case, change):
        yield case.edit(
            f"the state is (1 - z) h + z n; the layer's is z h + (1 - z) n{where}",
            steps,
            do="compute z h + (1 - z) n",
        )


@more("transposed-kernel")
def recurrent_kernel_transposed(case: Case) -> Iterator[Edit]:
    """The recurrent kernel of each gate, which is square, transposed."""

    def change(op: Any) -> Any:
        weight, units = op.recurrent, op.recurrent.value.shape[0]
        if weight.value.shape[1] % units:
            return None
        gates = weight.value.reshape(units, -1, units).transpose(2, 1, 0)
        return replace(op, recurrent=Weight(weight.name, None, gates.reshape(units, -1)))

    names = " and ".join(op.recurrent.name for _, op in case.having(ops.Recurrence))
    for steps, where in everywhere_and_singly(case, change):
        yield case.edit(
            f"{names} {'are' if ' and ' in names else 'is'} transposed gate by gate{where}",
            steps,
            do="multiply as the framework does",
        )


@more("missing-bias")
def no_biases(case: Case) -> Iterator[Edit]:
    """Neither bias of a recurrence."""

    def change(op: Any) -> Any:
        if op.bias is None and op.recurrent_bias is None:
            return None
        return replace(op, bias=None, recurrent_bias=None)

    for steps, where in everywhere_and_singly(case, change):
        yield case.edit(f"no bias is added{where}", steps, do="add the recurrence's bias")


_FUNCTIONS: tuple[tuple[str, ops.Op], ...] = (
    ("sigmoid", ops.Sigmoid()),
    ("hard sigmoid, clip(0.2 x + 0.5)", ops.HardSigmoid(0.2, 0.5)),
    ("hard sigmoid, relu6(x + 3) / 6", ops.HardSigmoid(1 / 6, 0.5)),
    ("tanh", ops.Tanh()),
    ("relu", ops.Relu()),
    ("nothing", ops.Identity()),
)


def _alike(left: ops.Op, right: ops.Op) -> bool:
    return type(left) is type(right) and (
        not isinstance(left, ops.HardSigmoid)
        or abs(left.alpha - getattr(right, "alpha", 0.0)) < 1e-9
    )


@hypothesis("recurrent-activation")
def recurrent_activation(case: Case) -> Iterator[Edit]:
    """Another activation was used in the gates or for the state: sigmoid instead of hard sigmoid,
    or no tanh.

    hard_sigmoid was the default for the gates in Keras 1 and early Keras 2; Keras and PyTorch now
    use sigmoid. Hard sigmoid is clip(0.2 x + 0.5) in Keras 2 and relu6(x + 3) / 6 in Keras 3.
    """
    for field in ("recurrent_activation", "activation"):
        for name, function in _FUNCTIONS:

            def change(op: Any, field: str = field, function: ops.Op = function) -> Any:
                have = getattr(op, field, None)
                if have is None or _alike(have, function):
                    return None
                if field == "recurrent_activation" and isinstance(op, ops.GRU):
                    own = {"reset_activation": None}
                else:
                    own = {}
                return replace(op, **{field: function}, **own)

            for steps, where in everywhere_and_singly(case, change):
                have = next(
                    getattr(op, field)
                    for _, op in case.having(ops.Recurrence)
                    if hasattr(op, field)
                )
                if field == "recurrent_activation":
                    text = "in the gates"
                else:
                    text = "for the candidate and the output"
                yield case.edit(
                    f"{name} {text}; the layer uses {op_words(have)}{where}",
                    steps,
                    do=f"use {op_words(have)}",
                )


@hypothesis("other-time-step")
def other_time_step(case: Case) -> Iterator[Edit]:
    """The sequence was read in the other direction, or another time step of it was taken.

    ``output[:, -1]`` of a layer that reads backwards is its first step. A layer that returns the
    whole sequence is compared with its last step, or the reverse.
    """
    for steps, where in everywhere_and_singly(case, lambda op: replace(op, reverse=not op.reverse)):
        yield case.edit(
            f"the sequence is read in the other direction{where}",
            steps,
            do="check go_backwards and the direction of each layer",
        )
        yield from _ends(
            case.became_steps(steps), f"the sequence is read in the other direction{where}, "
        )
    yield from _ends(case, "")


def _ends(case: Case, lead: str) -> Iterator[Edit]:
    """The sequence turned round behind the recurrences, the whole of it for its last step, or one
    step for the whole."""
    recurrences = [position for position, _ in case.having(ops.Recurrence)]
    if not recurrences:
        return
    last = recurrences[-1]
    count = case.values[last][0].shape[0]
    yield case.edit(
        f"{lead}the output is in reverse order of the time steps",
        rewired(case, [Rewiring(Ref(last), (ops.Flip(axis=0),))]),
    )
    backward = [position for position, op in case.having(ops.Recurrence) if op.reverse]
    if not lead and 0 < len(backward) < len(recurrences):
        yield case.edit(
            "the outputs of the backward direction are not put back in the order of the time steps",
            rewired(case, [Rewiring(Ref(position), (ops.Flip(axis=0),)) for position in backward]),
            do="reverse them before they are joined with the outputs of the forward direction",
        )
    for position, op in case.having(ops.Slice):
        if (
            position >= recurrences[0]
            and op.stops[0] is not None
            and case.values[position][0].shape[0] == 1
        ):
            yield from _other_steps(case, position, op, count, lead)
    if lead:
        return
    if case.observed.ndim == case.healthy.ndim - 1:
        yield from _step_for_sequence(case)
    if case.observed.ndim == case.healthy.ndim + 1 and len(recurrences) == 1:
        yield from _sequence_for_step(case, last)


def _other_steps(case: Case, position: int, op: ops.Slice, count: int, lead: str) -> Iterator[Edit]:
    """Another time step where the layer takes one of so many; of a sequence that is read in the
    other direction, that which is then read last."""
    if lead:
        turned = replace(
            op,
            starts=(count - 1 - op.starts[0], *op.starts[1:]),
            stops=(count - op.starts[0], *op.stops[1:]),
        )
        yield case.edit(
            f"{lead}and the time step that is then read last",
            case.with_op(position, turned),
            do="check go_backwards",
        )
        return
    for at in range(count) if count <= _MANY else (0, 1, count // 2, count - 2, count - 1):
        if at != op.starts[0]:
            other = replace(op, starts=(at, *op.starts[1:]), stops=(at + 1, *op.stops[1:]))
            yield case.edit(
                f"time step {at} instead of {op.starts[0]} (of {count})",
                case.with_op(position, other),
                do="take the last time step that the layer reads",
            )


def _step_for_sequence(case: Case) -> Iterator[Edit]:
    rank = case.healthy.ndim
    for axis in (0, 1):
        for at in (case.healthy.shape[axis] - 1, 0):
            starts = tuple(at if k == axis else 0 for k in range(rank))
            stops = tuple(at + 1 if k == axis else None for k in range(rank))
            part = (ops.Slice(starts, stops), ops.Squeeze(axes=(axis,)))
            yield case.edit(
                f"only time step {at} instead of the whole sequence",
                case.appended(*part),
                do="return every time step",
            )


def _sequence_for_step(case: Case, last: int) -> Iterator[Edit]:
    """The output of the recurrence at step ``last``, time first or the batch first."""
    whole = (*case.steps[: last + 1], Step(ops.Outputs(), (Ref(last),)))
    for steps in (whole, (*whole, Step(ops.Transpose((1, 0, 2))))):
        yield case.edit(
            "the whole sequence instead of its last time step", steps, do="take the last time step"
        )
