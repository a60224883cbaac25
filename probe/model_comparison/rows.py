"""The pair of a report: what was found out of a segment, in A's axes and by names."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from probe import printable
from probe.comparison.compare import Comparison, Worst, compare
from probe.model_comparison.graphs.axes import Way
from probe.model_comparison.graphs.graph import GraphCall, Tensor
from probe.model_comparison.graphs.node_values import digits
from probe.model_comparison.matching.paired import Paired
from probe.model_comparison.matching.segments import Segment, calls_of, names_of, read_by
from probe.model_comparison.reports.result import Pair
from probe.model_comparison.sides import Side

if TYPE_CHECKING:
    from probe.model_comparison.causes.why import Reasons

__all__ = ["NAN_ALONE", "explained", "pair_of", "repeated_pair"]

NAN_ALONE = "every value is NaN in A and in B: there is nothing to compare"


def pair_of(segment: Segment, down: Comparison | None, alone: Side | None) -> Pair:
    """The pair that a segment ends in; `down` is how far B's own tensor is from A's."""
    paired = segment.paired
    local = paired.local
    if segment.unknown:
        local = None
    elif local is not None:
        local = _in_a(local, paired)
    beside_a, beside_b = (segment.b, segment.a) if segment.differs else (None, None)
    a_names = names_of(segment.a, paired.a.tensor, beside_a)
    b_names = names_of(segment.b, paired.b, beside_b)
    called = (_last(calls_of(segment.a, beside_a)), _last(calls_of(segment.b, beside_b)))
    tensors = (paired.a.tensor.name, paired.b.name)
    axes = _axes(paired)
    given = ""
    as_it_is = axes.merged is None and not paired.a.tensor.rearranged
    if alone is not None and as_it_is and _is_output(paired.b, segment):
        given = paired.a.tensor.name
    if alone is Side.B:
        axes = axes.inverse
        a_names, b_names = b_names, a_names
        called, tensors = called[::-1], tensors[::-1]
        local, down = _exchanged(local), _exchanged(down)
    if local is None:
        verdict = "unchecked"
    elif local.ok:
        verdict = "agree"
    else:
        verdict = "diverge"
    empty = verdict == "agree" and _holds_nan_alone(paired.a.tensor.value)
    if verdict == "agree" and (paired.vague or empty):
        verdict = "unchecked"
    return Pair(
        *(a_names, b_names, axes.text, paired.how, local, down, verdict),
        fitting=paired.fitting,
        shape=tuple(paired.a.tensor.value.shape),
        tensors=tensors,
        after=read_by(segment),
        called=called,
        given=given,
        notes=(*filter(None, [segment.unknown]), *[NAN_ALONE] * empty),
        computed="A" if alone is Side.B else "B",
    )


def _is_output(tensor: Tensor, segment: Segment) -> bool:
    """Whether a tensor is what the last layer of a segment gives."""
    calls = calls_of(segment.b, segment.a if segment.differs else None)
    last = tensor.node is not None and bool(calls) and tensor.node.call is calls[-1]
    return last and tensor.recorded is not None


def _exchanged(comparison: Comparison | None) -> Comparison | None:
    """The same with the values of A and B in each other's place."""
    if comparison is None or comparison.worst is None:
        return comparison
    first, second = comparison.worst.values
    return replace(comparison, worst=replace(comparison.worst, values=(second, first)))


def _last(calls: Sequence[GraphCall]) -> tuple[str, int] | None:
    """The layer of the last of them, and which of its calls it is."""
    if calls:
        return (calls[-1].capture.layer, calls[-1].capture.call)
    return None


def _holds_nan_alone(values: np.ndarray) -> bool:
    return bool(values.size and values.dtype.kind == "f" and np.isnan(values).all())


def _axes(paired: Paired) -> Way:
    """How the axes of A's tensor become those of B's, as the framework gave it."""
    _, perm = paired.b.shown
    if paired.way.merged is not None or len(paired.way.perm) != len(perm):
        return paired.way
    return Way(tuple(paired.way.perm[axis] for axis in perm))


def _in_a(local: Comparison, paired: Paired) -> Comparison:
    """The comparison with its worst element's index in A's axes."""
    worst = local.worst
    if worst is None or not paired.way.text:
        return local
    shape = paired.b_shape
    place = np.ravel_multi_index(worst.index, shape) if shape else 0
    try:
        flags = np.zeros(shape, bool)
        flags.flat[place] = True
        index = tuple(int(k) for k in np.argwhere(paired.way.to_a(flags))[0])
    except (ValueError, IndexError):
        return local
    return replace(local, worst=Worst(worst.output, index, worst.values, worst.allowance))


def explained(pair: Pair, group: Sequence[Segment], reasons: "Reasons") -> Pair:
    """The pair where a fault is made, which the segments of its group show."""
    return replace(
        pair,
        source=True,
        differs=tuple((option.name, option.a, option.b) for option in reasons.differences),
        relations=tuple(option.note for option in reasons.differences),
        findings=reasons.findings,
        notes=(*reasons.notes, *_also(group)),
    )


def of_other_weights(pair: Pair, group: Sequence[Segment], sentence: str) -> Pair:
    """The first of the pairs whose layers hold other weights altogether."""
    return replace(pair, source=True, notes=(sentence, *_also(group)))


def _also(group: Sequence[Segment]) -> Iterator[str]:
    """Where else the segments of a group show their fault."""
    also = [
        printable.name(" + ".join(names_of(segment.b, segment.paired.b))) for segment in group[1:]
    ]
    if also:
        yield f"the same difference also appears at {printable.several(also, 4)}"


def repeated_pair(array: Tensor, first: Tensor, tensor: Tensor, alone: Side) -> Pair:
    """An array against another that stands for the same tensor of the model."""
    slack = digits(first.value)
    ends, names = (first.value, array.value), (tensor.name, array.name)
    if alone is Side.A:
        ends, names = ends[::-1], names[::-1]
    local = compare((ends[0],), (ends[1],), (2 * slack,))
    return Pair(
        *((array.name,), (array.name,), "", "name", local, None),
        verdict="agree" if local.ok else "diverge",
        source=not local.ok,
        shape=tuple(array.value.shape),
        tensors=names,
        computed=alone.other.value,
        notes=(f"{first.name} is the same tensor of the model",),
    )
