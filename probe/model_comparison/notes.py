"""What is said of a comparison as a whole."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from probe import printable
from probe.model_comparison.causes.own_mistakes import ties
from probe.model_comparison.graphs.graph import Tensor
from probe.model_comparison.matching.segments import Segment
from probe.model_comparison.matching.walk_state import WalkState
from probe.model_comparison.reports.blocks import differing
from probe.model_comparison.reports.result import Pair

__all__ = [
    "made_by_format",
    "of_hidden_options",
    "of_interface",
    "of_ties",
    "of_unseen_weights",
    "of_withdrawn",
]

_TOLD = 8
"""So many hidden differences are told one by one."""


def made_by_format(pairs: Sequence[Pair]) -> Iterable[str]:
    """What the number format is expected to do in one layer, at most."""
    most = max(pairs, key=lambda pair: pair.expected or 0.0, default=None)
    if most is not None and most.expected:
        yield (
            "B's number format is expected to make an error of at most "
            f"{100 * most.expected:.2g} % of the deviation in one layer, in "
            f"{printable.name(' + '.join(most.b))}"
        )


def of_unseen_weights(pairs: Sequence[Pair]) -> Iterable[str]:
    """What is said of weights in the pairs that agree."""
    return (note for pair in pairs if pair.verdict == "agree" for note in pair.notes)


def of_interface(walk: WalkState) -> Iterable[str]:
    """How B's inputs and A's correspond, where B has others of its own."""
    sentences = []
    own = [b for b in walk.b.inputs if b not in walk.partner or walk.partner[b].how == "values"]
    for b in own:
        if b in walk.partner:
            sentences.append(f"{b.name} of B is what {walk.partner[b].a.tensor.name} of A gives")
        else:
            sentences.append(f"{b.name} of B, of shape {b.value.shape}, is no tensor of A")
    for a in walk.a.inputs if own else ():
        partners = [b for b in walk.partners_of_a.get(a, ()) if walk.agrees(b)]
        if partners and all(b.input is None for b in partners):
            sentences.append(f"{a.name} of A is what {partners[0].name} of B gives")
    if sentences:
        yield f"B has inputs of its own: {'; '.join(sentences)}"


def of_withdrawn(walk: WalkState) -> Iterable[str]:
    """Which tensors are others in B without that what follows from them is."""
    pairs = sorted((b.name, a.name) for a, b in walk.withdrawn if b.input is None)
    if pairs:
        of_b, of_a = (
            printable.several([*dict.fromkeys(names)], _TOLD) for names in zip(*pairs, strict=True)
        )
        yield (
            f"{of_b} of B gives other values than {of_a} of A, and what follows from them is A's "
            "again: they are taken for no pairs"
        )


def of_hidden_options(pairs: Sequence[Pair]) -> Iterable[str]:
    """What options differ in without that this input shows it."""
    hiding = [pair for pair in pairs if pair.differs and pair.verdict == "agree"]
    for pair in hiding[:_TOLD]:
        where = printable.name(" + ".join(pair.b))
        yield f"{differing(*pair.differs[0])} ({where}): hidden by rounding on this input"
    if len(hiding) > _TOLD:
        yield f"{len(hiding) - _TOLD} more options differ, hidden by rounding on this input"


def of_ties(
    all_segments: Sequence[Segment],
    slack_a: Mapping[Tensor, np.ndarray | None],
    slack_b: Mapping[Tensor, np.ndarray | None],
) -> list[str]:
    """What is to be said of the largest of the last outputs."""
    ends = (segment.paired for segment in reversed(all_segments))
    last = next((paired for paired in ends if not paired.b.consumers), None)
    if last is None or last.a.columns or last.way.text or last.b.value.dtype.kind != "f":
        return []
    if last.a.tensor.value.shape != last.b.value.shape:
        return []
    slacks = [slack_a.get(last.a.tensor), slack_b.get(last.b)]
    allowed = sum((slack for slack in slacks if slack is not None), np.zeros(()))
    return [*filter(None, [ties(last.a.tensor.value, last.b.value, allowed)])]
