"""Pairs that turn out to be none: where B's own tensor is A's, though it does not follow from the
tensors of A that stood for what comes before it, these stand for something else."""

from collections.abc import Callable, Sequence

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
    own with other values than A's, where one of the two is found elsewhere; and what leads to a
    tensor that is A's all the same, where that then agrees."""
    for look in (_inputs, _before_equal):
        for _ in range(_ROUNDS):
            wrong, right = look(walk, all_segments)
            if not wrong:
                break
            pairs = frozenset((paired.a.tensor.root, paired.b) for paired in wrong)
            again = walk_again(walk, withdrawn=walk.withdrawn | pairs)
            new_segments = segments(again)
            if not right(again) or _differing(new_segments) >= _differing(all_segments):
                break
            walk, all_segments = again, new_segments
    return walk, all_segments


def _differing(all_segments: Sequence[Segment]) -> int:
    return sum(segment.differs for segment in all_segments)


_Right = Callable[[WalkState], bool]
"""Whether a walk without the pairs shows that they were none."""


def _inputs(walk: WalkState, all_segments: Sequence[Segment]) -> tuple[list[Paired], _Right]:
    wrong = [
        segment.paired
        for segment in all_segments
        if segment.differs and segment.paired.b.input is not None
    ]

    def are_elsewhere(again: WalkState) -> bool:
        return all(
            paired.b in again.partner or again.partners_of_a.get(paired.a.tensor)
            for paired in wrong
        )

    return wrong, are_elsewhere


def _before_equal(walk: WalkState, all_segments: Sequence[Segment]) -> tuple[list[Paired], _Right]:
    """The pairs that lead to such a tensor, back to those where B's own tensor is A's too."""
    leading = {segment.paired.b: segment for segment in all_segments}
    equal = [
        segment for segment in all_segments if segment.differs and own_is_nearer(segment.paired)
    ]
    waiting, wrong = [*equal], dict[Paired, None]()
    while waiting:
        for x in tensors_read(waiting.pop()):
            paired = walk.partner.get(x)
            if paired is None or paired in wrong or paired.how == "given" or not _is_far(paired):
                continue
            wrong[paired] = None
            if x in leading:
                waiting.append(leading[x])

    def agree(again: WalkState) -> bool:
        return all(again.agrees(segment.paired.b) for segment in equal)

    return [*wrong], agree


def _is_far(paired: Paired) -> bool:
    """Whether B's own tensor is not A's."""
    a, own = in_axes_of_a(paired)
    if own is None:
        return True
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - own)
    return bool(np.nanmax(apart, initial=0.0) > _FAR * np.nanmax(np.abs(a), initial=0.0))
