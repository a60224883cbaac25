"""What is known of a layer's input by what made it: a quantiser gives no other numbers for any
input, which the numbers that are there cannot tell."""

from collections.abc import Mapping

from probe import ops
from probe.by_hand.c.integers import NotFixedPoint
from probe.by_hand.c.program import CProgram, InputFormat
from probe.model import CallOutput, Capture

__all__ = ["input_formats"]

_QUANTIZERS = (ops.QuantizedBits, ops.QuantizedRelu, ops.FixedPoint, ops.Binary, ops.Ternary)
_Formats = tuple[InputFormat, ...]


def input_formats(
    capture: Capture, calls: Mapping[tuple[str, int], Capture]
) -> tuple[InputFormat | None, ...]:
    """For each input the form that its numbers have whatever the model is given; None where only
    this input's are known. ``calls`` are the other calls of the pass."""
    known: dict[tuple[str, int], _Formats] = {capture.key: ()}
    return tuple(_format(maker, calls, known) for maker in capture.made_by)


def _format(
    maker: object,
    calls: Mapping[tuple[str, int], Capture],
    known: dict[tuple[str, int], _Formats],
) -> InputFormat | None:
    if not isinstance(maker, CallOutput):
        return None
    key = maker.layer, maker.call
    if key not in known:  # each call once, however many ways lead to it
        known[key] = ()
        known[key] = _outputs(calls.get(key), calls, known)
    return next(iter(known[key][maker.output :]), None)


def _outputs(
    call: Capture | None,
    calls: Mapping[tuple[str, int], Capture],
    known: dict[tuple[str, int], _Formats],
) -> _Formats:
    """What a call gives; () where that is not known."""
    if call is None or call.description is None:
        return ()
    formats = [_format(before, calls, known) for before in call.made_by]
    quantized = any(type(step.op) in _QUANTIZERS for step in call.steps)
    if not quantized and (not formats or None in formats):
        return ()
    try:
        outputs = CProgram(call).run(formats)
    except NotFixedPoint:
        return ()
    words = f"what {call.layer} can give"
    return tuple(InputFormat(made.exponent, made.low, made.high, words) for made in outputs)
