"""Weights that two models hold other values of although their layers agree: what this input does
not show."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from probe import printable
from probe.evaluation.numpy_reference import recompute
from probe.model_comparison.causes.reading import aligned, matched
from probe.model_comparison.causes.weight_differences import close
from probe.model_comparison.causes.weight_relations import RoundingBetween
from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.graphs.normalization import FoldedNode
from probe.model_comparison.graphs.normalize import is_constant
from probe.model_comparison.graphs.weights import held_weights
from probe.model_comparison.matching.segments import Segment, joined, names_of
from probe.numerics.dtypes import widened
from probe.ops import Op, Recurrence
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.report.weight_part import places, within_weight
from probe.trial.refusals import refused

__all__ = ["unseen_weights"]

_LIKE = 1e-3
"""How far the output may move, as a part of its largest value, by weights that correspond."""
_FOLDED = 4e-6
"""How far weights may lie apart that were folded in float32, as a share of the largest."""
_ADDED = ("bias", "recurrent_bias")
"""Of a recurrence, whose two biases may be shared out in any way."""


def unseen_weights(segment: Segment) -> tuple[str, ...]:
    """A sentence for each weight that differs between two segments that agree."""
    where = printable.name(" + ".join(names_of(segment.b, segment.paired.b)))
    pairs, _, _ = matched(*aligned(segment))
    notes = [note for left, right in pairs for note in _of_nodes(left, right, segment)]
    return tuple(f"{where}: {sentence}" for sentence in dict.fromkeys(notes))


def _of_nodes(left: GraphNode, right: GraphNode, segment: Segment) -> Iterator[str]:
    """Of parameters that two nodes are applied to, and of the weights of their ops."""
    for first, second in zip(left.inputs, right.inputs, strict=False):
        own, other = is_constant(first), is_constant(second)
        if isinstance(own, Weight) and isinstance(other, Weight):
            differ = _apart(own, other.value)
            if differ is not None:
                yield _said(own, other.value, differ, "does not show")
    mine, theirs = dict(held_weights(left)), dict(held_weights(right))
    for name in mine.keys() & theirs.keys():
        if isinstance(left.op, Recurrence) and name in _ADDED:
            continue
        other_values = _in_order(left, right, name, theirs[name].value)
        differ = _apart(mine[name], other_values, isinstance(left, FoldedNode))
        if differ is not None:
            yield from _unseen(left, right, name, other_values, differ, segment)


def _in_order(left: GraphNode, right: GraphNode, name: str, value: np.ndarray) -> np.ndarray:
    """B's weight, of a recurrence with its gates in A's order."""
    a, b = left.op, right.op
    if not isinstance(a, Recurrence) or not isinstance(b, Recurrence) or a.gates == b.gates:
        return value
    if name not in ("kernel", "recurrent") or sorted(a.gates) != sorted(b.gates):
        return value
    return np.concatenate([value[..., b.block(gate)] for gate in a.gates], axis=-1)


def _apart(mine: Weight, theirs: np.ndarray, folded: bool = False) -> np.ndarray | None:
    """Which elements of A's weight are others in B; None where none is, or the shapes differ. Of
    weights that a normalisation was ``folded`` into a share of the largest is rounding."""
    value = mine.value
    if value.shape != theirs.shape or np.array_equal(value, theirs):
        return None
    differ = ~close(widened(value), widened(theirs))
    if folded:
        left, right = (widened(values).reshape(1, -1) for values in (value, theirs))
        differ &= ~RoundingBetween().between(left, right, _FOLDED, 0.0).reshape(value.shape)
    if differ.any():
        return differ
    return None


def _unseen(
    left: GraphNode,
    right: GraphNode,
    name: str,
    theirs: np.ndarray,
    differ: np.ndarray,
    segment: Segment,
) -> Iterator[str]:
    """Why what differs in one weight does not show: part of it may meet only zeros."""
    mine, op = dict(held_weights(left))[name], left.op
    assert op is not None
    effects = op.weight_effects([x.value for x in left.inputs], None)
    unmet = differ & (effects[name] == 0 if name in effects else False)
    rest = differ & ~unmet
    why = _why_hidden(left, name, theirs, segment) if rest.any() else ""
    if rest.any() and not why:
        yield from _of_other_rows(right, name, mine)
        return
    for mask, reason in ((unmet, op.unmet_weights), (rest, why)):
        if mask.any():
            yield _said(mine, theirs, mask, reason)


def _why_hidden(node: GraphNode, name: str, theirs: np.ndarray, segment: Segment) -> str:
    """Why B's weight in the place of A's gives what A's does; "" where it does not, as in another
    order of the same rows."""
    assert node.op is not None
    try:
        op = replace(node.op, **{name: Weight("", None, theirs)})
    except Exception as error:
        refused(error)
        return ""
    inputs = [widened(x.value) for x in node.inputs]
    alone = (Step(node.op, tuple(Ref(-1, k) for k in range(len(inputs)))),)
    if _gives_the_same(alone, 0, op, inputs):
        return "is hidden by rounding"
    whole = joined(segment.a, segment.paired.a.tensor)
    if whole is None or node not in whole.places:
        return ""
    place = whole.places[node]
    same = _gives_the_same(whole.steps, place, op, whole.inputs)
    if same:
        return "reaches only outputs that are cut off"
    return ""


def _gives_the_same(
    steps: Sequence[Step], place: int, op: Op, inputs: Sequence[np.ndarray]
) -> bool:
    """Whether the steps with another op at one place give nearly what they do."""
    others = [replace(step, op=op) if k == place else step for k, step in enumerate(steps)]
    try:
        own, changed = (np.asarray(recompute(those, inputs)[-1][0]) for those in (steps, others))
        with np.errstate(invalid="ignore"):
            off = np.nan_to_num(np.abs(changed - own), nan=0.0).max(initial=0.0)
        return bool(off <= _LIKE * np.nan_to_num(np.abs(own)).max(initial=0.0))
    except Exception as error:
        refused(error)
        return False


def _of_other_rows(node: GraphNode, name: str, other: Weight) -> Iterator[str]:
    """Of B's weight, whose rows are A's in another order, those that A has not; nothing where it
    is another matrix altogether."""
    weight = dict(held_weights(node))[name]
    value = np.ascontiguousarray(weight.value, np.float32)
    if value.ndim != 2 or node.op is None:
        return
    known = {row.tobytes() for row in np.ascontiguousarray(other.value, np.float32)}
    fresh = np.array([row.tobytes() not in known for row in value])
    effects = node.op.weight_effects([x.value for x in node.inputs], None)
    unmet = name in effects and not (fresh[:, None] & (effects[name] != 0)).any()
    if fresh.any() and unmet:
        mask = within_weight(weight, np.broadcast_to(fresh[:, None], value.shape))
        yield (
            f"{places(weight.name, mask)} of B is not in A but {node.op.unmet_weights} on this "
            "input"
        )


def _said(mine: Weight, theirs: np.ndarray, differ: np.ndarray, why: str) -> str:
    where = places(mine.name, within_weight(mine, differ))
    change = _change(mine.value[differ], theirs[differ])
    return f"{where} differs ({change}) but {why} on this input"


def _change(a: np.ndarray, b: np.ndarray) -> str:
    """How B's numbers follow from A's, where they do simply, or else how far they lie apart."""
    a, b = widened(a), widened(b)
    with np.errstate(all="ignore"):
        ratio = b / a
    largest = float(np.abs(b - a).max())
    if not np.isfinite(ratio).all() or np.ptp(ratio) > 1e-4 * np.abs(ratio).max():
        return f"by up to {largest:.3g}"
    factor = float(np.median(ratio))
    if abs(factor - 1) > 1e-3:
        return f"x {factor:.4g}"
    return f"by {abs(factor - 1):.1g} of it"
