"""What masks keep, and values brought to a mean and a spread."""

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, Value, number
from probe.by_hand.writer import HandWriter


def _held(w: HandWriter, mask: Value) -> str:
    """Where a mask holds: a truth, or a number above one half."""
    return f"{mask.at(SUM)} > 0.5"


@writes(ops.Fill)
def _fill(op: ops.Fill, w: HandWriter, x: Value, mask: Value) -> Value:
    (x, mask), order = w.aligned(x, mask)
    text = f"np.where({_held(w, mask)}, {x.text}, {number(op.value)})"
    return w.result(text, ATOM, order)


@writes(ops.Lower)
def _lower(op: ops.Lower, w: HandWriter, x: Value, mask: Value) -> Value:
    (x, mask), order = w.aligned(w.named("values", x), mask)
    text = f"np.where({_held(w, mask)}, {x.text}, {x.text} + {number(op.value)})"
    return w.result(text, ATOM, order)


@writes(ops.MaskSteps)
def _mask_steps(op: ops.MaskSteps, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    some = f"({x.text} != {number(op.value)}).any(axis={x.axes[-1]}, keepdims=True)"
    return w.result(f"np.where({some}, {x.text}, 0)", ATOM, x.order)


@writes(ops.MaskedMean)
def _masked_mean(op: ops.MaskedMean, w: HandWriter, x: Value, mask: Value) -> Value:
    if op.axis not in (1, 2) or x.rank != 3:
        raise Unwritten("a mean over another axis")
    x, mask = w.plain(x), w.plain(mask)
    index = "[:, :, None]" if op.axis == 1 else "[:, None, :]"
    kept = w.let("kept", Value(f"({_held(w, mask)}){index}", (*mask.shape, 1)))
    along = f"axis={op.axis}" + (", keepdims=True" if op.keepdims else "")
    total = f"np.where({kept.text}, {x.text}, 0).sum({along})"
    return w.result(f"{total} / {kept.text}.sum({along})", PRODUCT)


@writes(ops.Standardize)
def _standardize(op: ops.Standardize, w: HandWriter, x: Value) -> Value:
    (x, mean, variance), order = w.aligned(x, w.weight(op.mean), w.weight(op.variance))
    deviation = f"np.maximum({variance.root}, {number(op.epsilon)})"
    if op.invert:
        return w.result(f"{x.at(PRODUCT)} * {deviation} + {mean.at(PRODUCT)}", SUM, order)
    return w.result(f"({x.at(SUM)} - {mean.at(PRODUCT)}) / {deviation}", PRODUCT, order)


@writes(ops.AutoContrast)
def _auto_contrast(op: ops.AutoContrast, w: HandWriter, x: Value) -> Value:
    x = w.named("values", w.plain(x))
    axes = [axis % x.rank for axis in op.axes]
    along = f"axis=({', '.join(map(str, axes))},), keepdims=True"
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    least = w.let("least", Value(f"{x.text}.min({along})", shape))
    most = w.let("most", Value(f"{x.text}.max({along})", shape))
    low, high = number(op.low), number(op.high)
    span = number(op.high - op.low)
    part = f"({x.text} - {least.text}) / ({most.text} - {least.text}) * {span} + {low}"
    text = f"np.where({most.text} == {least.text}, {x.text}, np.clip({part}, {low}, {high}))"
    return w.result(text, ATOM)
