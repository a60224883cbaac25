"""Elements moved, and none changed."""

from collections.abc import Sequence
from dataclasses import replace

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, Value, as_tuple, composed, number
from probe.by_hand.writer import HandWriter


@writes(ops.Transpose)
def _transpose(op: ops.Transpose, w: HandWriter, x: Value) -> Value:
    perm = [int(axis) % x.rank for axis in op.perm]
    return replace(x, order=composed(x.order, perm))


@writes(ops.Outputs)
def _outputs(op: ops.Outputs, w: HandWriter, *values: Value) -> tuple[Value, ...]:
    return values


@writes(ops.Reshape)
def _reshape(op: ops.Reshape, w: HandWriter, x: Value) -> Value:
    x = w.plain(x)
    return w.result(f"{x.at(ATOM)}.reshape{as_tuple(w.shape())}")


_MODES = {mode: f'mode="{mode}"' for mode in ("reflect", "edge", "wrap", "symmetric")}


@writes(ops.Pad)
def _pad(op: ops.Pad, w: HandWriter, x: Value) -> Value:
    pads: list[tuple[int, int]] = [(0, 0)] * x.rank
    for axis, pair in zip(x.axes, op.pads, strict=True):
        pads[axis] = pair
    if op.mode == "constant":
        how = f", constant_values={number(op.value)}" if op.value else ""
    elif op.mode in _MODES:
        how = f", {_MODES[op.mode]}"
    else:
        raise Unwritten("a padding mode of its own")
    return w.result(f"np.pad({x.text}, {pairs(pads)}{how})", ATOM, x.order)


def pairs(pads: Sequence[tuple[int, int]]) -> str:
    """Pairs of whole numbers as a tuple."""
    words = [as_tuple(pair) for pair in pads]
    return f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})"
