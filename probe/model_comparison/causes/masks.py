"""What the masks that two models add to the scores of attention hide."""

from collections.abc import Iterator

import numpy as np

from probe.model_comparison.causes.weight_differences import Difference
from probe.model_comparison.graphs.axes import Way
from probe.model_comparison.graphs.graph import GraphNode
from probe.ops import Add
from probe.trial.refusals import refused

__all__ = ["differing_masks"]

_HIDDEN = -50.0
"""What a mask adds to a place that it hides, or less."""


def differing_masks(a: GraphNode, b: GraphNode, way: Way) -> Iterator[Difference]:
    """The places that one of two additions hides, in A's order of axes, and the other does not."""
    if not isinstance(a.op, Add) or not isinstance(b.op, Add):
        return
    mine, theirs = _hidden(a), _hidden(b)
    if mine is None or theirs is None:
        return
    try:
        theirs = way.to_a(theirs)
    except ValueError as error:  # of a pair behind that has other axes
        refused(error)
        return
    if mine.shape != theirs.shape or np.array_equal(mine, theirs):
        return
    of_a, of_b = (
        f"{int(hidden.sum())} of {hidden.size} places hidden" for hidden in (mine, theirs)
    )
    yield Difference("mask", of_a, of_b, a, note=_in_words(mine, theirs), certain=True)


def _hidden(node: GraphNode) -> np.ndarray | None:
    """Which places an addition hides; None where no operand is a mask of zeros and large negative
    numbers."""
    for x in node.inputs:
        value = x.value
        if value.dtype.kind != "f" or not value.size:
            continue
        hidden = value <= _HIDDEN
        if hidden.any() and not value[~hidden].any():
            return np.broadcast_to(hidden, node.outputs[0].value.shape)
    return None


def _in_words(mine: np.ndarray, theirs: np.ndarray) -> str:
    told = []
    for words, places in (
        ("leaves {} places open that A's hides", mine & ~theirs),
        ("hides {} places that A's leaves open", theirs & ~mine),
    ):
        if places.any():
            told.append(words.format(int(places.sum())) + _along(places))
    return f"B's mask {' and '.join(told)}"


def _along(places: np.ndarray) -> str:
    """How far these places lie from the one that looks at them, on the last two axes."""
    if places.ndim < 2 or places.shape[-1] != places.shape[-2]:
        return ""
    steps = np.diff(np.argwhere(places)[:, -2:], axis=1).ravel()
    ahead = steps[steps > 0]
    if len(ahead):
        return f", {len(ahead)} of them up to {ahead.max()} ahead of the place that looks"
    if not steps.any():
        return ", the place itself that looks"
    return ""
