"""Which elements of a layer's weights a check sees on its input: how large a change of each it
would detect, and which meet only zeros."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from probe.evaluation.allowance import Values, Visible
from probe.ops.base import Elementwise, Op
from probe.ops.step import Step, weight_fields
from probe.ops.weight import Weight
from probe.report.weight_part import Sensitivity, places, share, within_weight

__all__ = ["sensitivity"]

_MOST = 1 << 24
"""Of more elements, of weights or of outputs, it takes too long to tell which are seen."""
_NEAR = 2.0**-10
"""How far an input of an activation is moved, as a part of it and of the mean, to see whether it
counts."""
_LOOKED = 1 << 16
"""So many elements of a weight tell the share that shows a change."""
_SMALL = 0.01
"""A relative change that each weight is to show, where the worst of them shows no smaller one."""
_WORTH_MOST = 1e150


def sensitivity(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    visible: Visible | None,
) -> Sensitivity | None:
    """What is seen of the weights, those of the step where a change is ``visible`` element by
    element; None where no step tells."""
    if any(y.size > _MOST for outputs in values for y in outputs):
        return None
    live = _live(steps, inputs, values)
    unseen: list[str] = []
    detected: Sensitivity | None = None
    for position, step in enumerate(steps):
        operands = [ref.of(inputs, values) for ref in step.sources(position)]
        weights = weight_fields(step.op)
        counts = [weight.effective.size for weight in weights.values()]
        if not all(counts) or not 0 < sum(counts) <= _MOST:
            continue
        reached = live.get(position)
        worth = None if reached is None else reached.astype(np.float64)
        effects = step.op.weight_effects(operands, worth)
        plain = effects if worth is None else step.op.weight_effects(operands, None)
        unseen += _unseen(step.op, weights, effects, plain)
        if visible is not None and position == visible.step and effects.keys() == weights.keys():
            detected = _detected(step.op, weights, operands, visible.allowed, reached)
    if detected is None and not unseen:
        return None
    return replace(detected or Sensitivity(None, 0, 0), unseen=tuple(unseen))


def _live(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values
) -> dict[int, np.ndarray | None]:
    """For each step which elements of its first output may count in the last step's outputs where
    they change little; None for all."""
    live: dict[int, np.ndarray | None] = {len(steps) - 1: None}
    for position in range(len(steps) - 1, 0, -1):
        if position not in live:
            continue
        step = steps[position]
        sources = step.sources(position)
        operands = [ref.of(inputs, values) for ref in sources]
        counting = _counting(step.op, operands, values[position], live[position])
        for ref, mask in zip(sources, counting, strict=True):
            if ref.step < 0:
                continue
            other = live.get(ref.step, np.zeros((), bool))
            if mask is None or other is None or ref.index:
                live[ref.step] = None
            else:
                live[ref.step] = other | mask
    return {at: mask if mask is None or not mask.all() else None for at, mask in live.items()}


def _counting(
    op: Op,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    live: np.ndarray | None,
) -> Sequence[np.ndarray | None]:
    """Which elements of each input count in those of the first output that do; None for all."""
    back: Sequence[np.ndarray | None] = [None] * len(inputs)
    if live is not None:
        back = op.influence(live, inputs)
    if not isinstance(op, Elementwise) or not op.pointwise or op.jumps:
        return back
    if inputs[0].dtype.kind != "f":
        return back
    x = inputs[0].astype(np.float64, copy=False)
    with np.errstate(all="ignore"):
        step = _NEAR * (np.abs(x) + np.abs(x[np.isfinite(x)]).mean() if x.size else 0.0)
        moves = (op.f(x + step) != outputs[0]) | (op.f(x - step) != outputs[0])
    return [moves if live is None else live & moves]


def _unseen(
    op: Op,
    weights: Mapping[str, Weight],
    effects: Mapping[str, np.ndarray],
    plain: Mapping[str, np.ndarray],
) -> Iterator[str]:
    """A sentence for the elements of a weight that meet nothing, and for those that reach only
    outputs which do not count."""
    for name, weight in weights.items():
        if name not in effects or name not in plain:
            continue
        unmet = plain[name] == 0
        hidden = (effects[name] == 0) & ~unmet
        reasons = ((unmet, op.unmet_weights), (hidden, "reaches only outputs that are cut off"))
        for mask, reason in reasons:
            if mask.any():
                where = within_weight(weight, mask)
                yield f"{places(weight.name, where)} {reason} on this input ({share(where)})"


def _detected(
    op: Op,
    weights: Mapping[str, Weight],
    inputs: Sequence[np.ndarray],
    allowed: np.ndarray,
    live: np.ndarray | None,
) -> Sensitivity:
    """The relative change that shows in each element of the weights that is seen at all, or else in
    most of them."""
    with np.errstate(all="ignore"):
        worth = np.minimum(1 / allowed.astype(np.float64), _WORTH_MOST)
    worth = np.where(worth > 0, worth, 0.0)
    effects = op.weight_effects(inputs, worth if live is None else worth * live)
    if effects.keys() != weights.keys():
        return Sensitivity(None, 0, 0)
    needed, total = [], 0
    for name, weight in weights.items():
        value = weight.value
        total += value.size
        effect = np.broadcast_to(effects[name], value.shape)
        looked = np.linspace(0, value.size - 1, min(value.size, _LOOKED)).astype(np.intp)
        where = np.unravel_index(looked, value.shape)
        size, effect = np.abs(value[where].astype(np.float64)), effect[where]
        with np.errstate(all="ignore"):
            # a weight of 0 has no relative change: any other value shows
            change = np.where(size > 0, 1 / (effect * size), 0.0)
        needed.append((np.where(effect > 0, change, np.inf), value.size / max(1, looked.size)))
    seen = np.concatenate([change[np.isfinite(change)] for change, _ in needed])
    if not seen.size:
        return Sensitivity(None, 0, total)
    worst = float(seen.max())
    least = worst if worst <= _SMALL else max(_SMALL, float(np.quantile(seen, 0.9)))
    missed = sum(float((change > least).sum()) * times for change, times in needed)
    estimated = any(times > 1 for _, times in needed)
    return Sensitivity(least, total - math.ceil(missed), total, estimated)
