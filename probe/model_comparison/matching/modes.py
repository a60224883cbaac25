"""Segments that differ because one model ran in training mode: one fault, wherever it shows."""

import re
from collections.abc import Sequence

from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.matching.paired import SharedReason
from probe.model_comparison.matching.segments import Segment

__all__ = ["tell_mode"]

_MODAL = re.compile(r"BatchNorm|Dropout|DropPath|DropBlock|StochasticDepth|Noise|RReLU", re.I)
"""Kinds of layers that compute something else in training."""


def tell_mode(all_segments: Sequence[Segment], b_trains: bool, words: str) -> None:
    """Tells it of the segments that differ where a layer of the model in training mode computes
    something else then: in them, or right behind a product that has it folded in in the other
    model."""
    modes = ("inference", "training") if b_trains else ("training", "inference")
    reason = SharedReason("mode", *modes, words)
    for segment in all_segments:
        ends = [segment.paired.a.tensor, segment.paired.b]
        nodes = segment.b if b_trains else segment.a
        trained, other = reversed(ends) if b_trains else ends
        folded = any(map(_trains, trained.consumers)) and not any(map(_is_modal, other.consumers))
        if segment.differs and (folded or any(map(_trains, nodes))):
            segment.shared_reason = reason


def _is_modal(node: GraphNode) -> bool:
    return bool(_MODAL.search(node.call.capture.kind))


def _trains(node: GraphNode) -> bool:
    return node.call.capture.training and _is_modal(node)
