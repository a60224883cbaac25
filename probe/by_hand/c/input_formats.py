"""What is known of a layer's input by what made it: a quantiser gives no other numbers for any
input, which the numbers that are there cannot tell."""

from collections.abc import Mapping

from probe import ops
from probe.by_hand.c.integers import Integers, NotFixedPoint
from probe.by_hand.c.program import CProgram, InputFormat
from probe.model import CallOutput, Capture

__all__ = ["input_formats"]

_QUANTIZERS = (ops.QuantizedBits, ops.QuantizedRelu, ops.FixedPoint, ops.Binary, ops.Ternary)


def input_formats(
    capture: Capture, calls: Mapping[tuple[str, int], Capture]
) -> tuple[InputFormat | None, ...]:
    """For each input the form that its numbers have whatever the model is given; None where only
    this input's are known. ``calls`` are the other calls of the pass."""
    return tuple(_format(maker, calls, {capture.key}) for maker in capture.made_by)


def _format(
    maker: object, calls: Mapping[tuple[str, int], Capture], seen: set[tuple[str, int]]
) -> InputFormat | None:
    if not isinstance(maker, CallOutput) or (maker.layer, maker.call) in seen:
        return None
    call = calls.get((maker.layer, maker.call))
    if call is None or call.description is None:
        return None
    formats = [_format(before, calls, {*seen, call.key}) for before in call.made_by]
    quantized = any(type(step.op) in _QUANTIZERS for step in call.steps)
    if not quantized and (not formats or None in formats):
        return None
    try:
        outputs: tuple[Integers, ...] = CProgram(call).run(formats)
    except NotFixedPoint:
        return None
    if maker.output >= len(outputs):
        return None
    made = outputs[maker.output]
    return InputFormat(made.exponent, made.low, made.high, f"what {call.layer} can give")
