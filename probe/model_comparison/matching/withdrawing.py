"""Pairs that turn out to be none: where B's own tensor is A's, though it does not follow from the
tensors of A that stood for what comes before it, these stand for something else."""

from collections.abc import Iterator, Sequence

import numpy as np

from probe.model_comparison.matching.paired import Paired
from probe.model_comparison.matching.propagated import in_axes_of_a, own_is_nearer
from probe.model_comparison.matching.segments import Segment, segments, tensors_read
from probe.model_comparison.matching.walk import walk_again
from probe.model_comparison.matching.walk_state import WalkState

__all__ = ["without_wrong_pairs"]

_ROUNDS = 4
_FAR = 1e-4
"""B's own tensor is not A's where it lies farther off than that part of its largest element."""


def without_wrong_pairs(
    walk: WalkState, all_segments: list[Segment]
) -> tuple[WalkState, list[Segment]]:
    """The walk without the pairs that were none, where fewer segments differ then: inputs of B's
    own with other values than A's, and what leads to a tensor that is A's all the same."""
    for wrong_pairs in (_inputs, _before_equal):
        for _ in range(_ROUNDS):
            wrong = frozenset(
                (paired.a.tensor.root, paired.b) for paired in wrong_pairs(walk, all_segments)
            )
            if not wrong:
                break
            again = walk_again(walk, withdrawn=walk.withdrawn | wrong)
            new_segments = segments(again)
            if _differing(new_segments) >= _differing(all_segments):
                break
            walk, all_segments = again, new_segments
    return walk, all_segments


def _differing(all_segments: Sequence[Segment]) -> int:
    return sum(segment.differs for segment in all_segments)


def _inputs(walk: WalkState, all_segments: Sequence[Segment]) -> Iterator[Paired]:
    for segment in all_segments:
        if segment.differs and segment.paired.b.input is not None:
            yield segment.paired


def _before_equal(walk: WalkState, all_segments: Sequence[Segment]) -> Iterator[Paired]:
    """The pairs that lead to such a tensor, back to those where B's own tensor is A's too."""
    leading = {segment.paired.b: segment for segment in all_segments}
    waiting = [
        segment for segment in all_segments if segment.differs and own_is_nearer(segment.paired)
    ]
    found: set[Paired] = set()
    while waiting:
        for x in tensors_read(waiting.pop()):
            paired = walk.partner.get(x)
            if paired is None or paired in found or paired.how == "given" or not _is_far(paired):
                continue
            found.add(paired)
            yield paired
            if x in leading:
                waiting.append(leading[x])


def _is_far(paired: Paired) -> bool:
    """Whether B's own tensor is not A's."""
    a, own = in_axes_of_a(paired)
    if own is None:
        return True
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - own)
    return bool(np.nanmax(apart, initial=0.0) > _FAR * np.nanmax(np.abs(a), initial=0.0))
