"""Mistakes with activations: none, one too many, another one, another constant."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probe import ops
from probe.hypotheses.edits.activations import COMMON
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.step_words import step_name
from probe.hypotheses.registry import hypothesis
from probe.ops.base import Elementwise, Op
from probe.ops.quantize.qkeras_bits import Quantizer
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_ALONG = (ops.Softmax, ops.LogSoftmax, ops.Sparsemax, ops.Softmin)
_GRIDS = (ops.Floor, ops.Ceil, ops.Round, ops.Trunc, ops.Stored)


def _activations(case: Case) -> Iterator[tuple[int, Op]]:
    yield from case.having(Elementwise, *_ALONG)


@hypothesis("missing-activation")
def missing_activation(case: Case) -> Iterator[Edit]:
    """The layer's own activation was not applied.

    ``Conv2D(..., activation="relu")`` and ``Dense(..., activation=...)`` end with it; the layer's
    output is what comes after the activation.
    """
    for position, op in case.having(Elementwise, *_ALONG, ops.AbsMaxQuantize):
        steps = case.with_op(position, ops.Identity())
        do = f"apply {op_words(op)} there, too"
        if position == case.last:
            do = f"the layer's output is the one after its {op_words(op)}"
        yield case.edit(
            f"{op_words(op)} is not applied",
            steps,
            do=do,
        )


@hypothesis("extra-activation")
def extra_activation(case: Case) -> Iterator[Edit]:
    """An activation was applied that the layer does not have.

    The values are the output of the activation that follows the layer, often a separate layer.
    """
    for name, op in COMMON:
        yield case.edit(
            f"{name} was applied to the layer's output",
            case.appended(op),
            do="compare the values before that activation",
        )


@hypothesis("gelu-approximation")
def gelu_approximation(case: Case) -> Iterator[Edit]:
    """Another form of GELU was used: erf, tanh or sigmoid.

    The forms differ by up to 5e-4 (tanh) or 2e-2 (x * sigmoid(1.702 x)), most near x = +-2 and not
    at all at 0.
    """
    for position, op in case.having(ops.Gelu):
        other = "tanh" if op.approximate == "none" else "none"
        told = {"tanh": "the tanh form", "none": "the erf form"}
        yield case.edit(
            f"{told[other]} instead of {told[op.approximate]}",
            case.changed(position, approximate=other),
        )
        yield case.edit(
            f"x * sigmoid(1.702 x) instead of {told[op.approximate]}",
            case.with_op(position, ops.Swish(1.702)),
        )
    for position, swish in case.having(ops.Swish):
        if abs(swish.alpha - 1.702) < 1e-3:
            for form in ("none", "tanh"):
                yield case.edit(
                    f"GELU in its {form.replace('none', 'erf')} form",
                    case.with_op(position, ops.Gelu(form)),
                )


@hypothesis("hard-sigmoid-definition")
def hard_sigmoid_definition(case: Case) -> Iterator[Edit]:
    """Another definition of hard sigmoid: clip(0.2 x + 0.5, 0, 1) or relu6(x + 3) / 6.

    Keras 2 (and ONNX by default) uses the first, PyTorch and Keras 3 the second. They differ by up
    to 0.083 and saturate at 2.5 and 3.
    """
    for position, op in case.having(ops.HardSigmoid):
        for alpha, told in (
            (0.2, "clip(0.2 x + 0.5, 0, 1)"),
            (1 / 6, "relu6(x + 3) / 6"),
            (0.25, "clip(0.25 x + 0.5, 0, 1)"),
        ):
            if abs(alpha - op.alpha) > 1e-6:
                yield case.edit(
                    f"{told} instead of clip({op.alpha:.4g} x + {op.beta:g}, 0, 1)",
                    case.changed(position, alpha=alpha),
                )
    for position, _ in case.having(ops.HardSwish):
        yield case.edit(
            "x * clip(0.2 x + 0.5, 0, 1) instead of x * relu6(x + 3) / 6",
            case.with_op(position, _Gated(0.2)),
            as_healthy=True,
        )


@dataclass(frozen=True, eq=False)
class _Gated(Elementwise):
    """x * clip(alpha x + 0.5, 0, 1)."""

    alpha: float

    def f(self, x: np.ndarray) -> np.ndarray:
        return x * np.clip(self.alpha * x + 0.5, 0, 1)


_SLOPES = (0.3, 0.2, 0.1, 0.01, 0.05, 0.25, 0.02, 0.0, 1.0, 0.5)


@hypothesis("other-slope")
def other_slope(case: Case) -> Iterator[Edit]:
    """Another slope of a LeakyReLU, or another alpha of an ELU.

    The default slope of LeakyReLU is 0.3 in Keras 2 and 0.01 in PyTorch; many models use 0.1 or
    0.2. Only negative inputs differ, by a constant ratio.
    """
    kinds: dict[type, str] = {
        ops.LeakyRelu: "alpha",
        ops.Elu: "alpha",
        ops.Celu: "alpha",
        ops.ScaledRelu: "negative_slope",
    }
    for position, op in case.having(*kinds):
        field = kinds[type(op)]
        have = getattr(op, field)
        fitted = _fitted_slope(case, position, op)
        for slope in (*_SLOPES, *fitted):
            if slope != have and not (slope == 0 and isinstance(op, ops.Elu | ops.Celu)):
                claim = f"slope {slope:.6g} for negative inputs; the layer's is {have:.6g}"
                yield case.edit(
                    claim,
                    case.changed(position, **{field: slope}),
                    fitted=int(slope in fitted),
                    do=f"use {have:.6g}",
                )
    for position, op in case.having(ops.PRelu):
        mean = np.full_like(op.slope.effective, op.slope.effective.mean())
        yield case.edit(
            f"one slope {mean.flat[0]:.4g} for all channels instead of one per channel",
            case.changed(
                position,
                slope=Weight(op.slope.name, None, mean, axes=op.slope.axes, shape=op.slope.shape),
            ),
        )
        for slope in (0.25, 0.01, 0.0):
            flat = Weight(
                op.slope.name,
                None,
                np.full_like(op.slope.effective, slope),
                axes=op.slope.axes,
                shape=op.slope.shape,
            )
            yield case.edit(
                f"slope {slope:g} for all channels instead of {op.slope.name}",
                case.changed(position, slope=flat),
            )


def _fitted_slope(case: Case, position: int, op: Op) -> tuple[float, ...]:
    """The constant ratio at the negative inputs, where the activation is the last thing that
    happens."""
    if not case.comparable or position != case.last or not isinstance(op, ops.LeakyRelu | ops.Elu):
        return ()
    if case.values[position][0].shape != case.observed.shape or position != len(case.steps) - 1:
        return ()
    x, y = case.pick(case.input_of(position)), case.seen
    below = x < 0
    if below.sum() < 2:
        return ()
    base = x[below] if isinstance(op, ops.LeakyRelu) else np.expm1(x[below])
    return (float(base @ y[below] / (base @ base)),)


def _constant(op: Op, case: Case, position: int) -> float | None:
    """The number that an elementwise op in place of a step gives everywhere, or None."""
    if not isinstance(op, Elementwise):
        return None
    with np.errstate(all="ignore"):
        (y,) = op.run(case.input_of(position).astype(np.float64))
    return float(y.flat[0]) if y.size > 1 and (y == y.flat[0]).all() else None


@hypothesis("other-activation")
def other_activation(case: Case) -> Iterator[Edit]:
    """Another activation than the layer's.

    Each common activation is tried in its place: tanh for sigmoid, ReLU for ReLU6, SiLU for GELU,
    and an unquantised activation for a quantised one.
    """
    for position, op in _activations(case):
        if isinstance(op, _GRIDS):
            continue  # no activation, of which one may give the same few whole numbers
        shape, constants = case.values[position][0].shape, set[float]()
        for name, other in COMMON:
            if isinstance(other, _ALONG) and shape[other.axis : other.axis + 1 or None] == (1,):
                continue  # 1 everywhere: no activation that anybody takes
            if type(other) is type(op):
                continue
            constant = _constant(other, case, position)
            if constant in constants:
                continue
            claim = f"{name} instead of {op_words(op)}"
            if constant is not None:
                constants.add(constant)
                step = step_name(case, position)
                claim = f"the output of {step} is {constant:g} everywhere, as {name} gives"
            yield case.edit(
                claim,
                case.with_op(position, other),
                do=f"apply {op_words(op)}",
            )
        if isinstance(op, Quantizer):
            yield case.edit(
                f"ReLU instead of {op_words(op)}",
                case.with_op(position, ops.Relu()),
                do="quantise the activation too",
            )
