"""A comparison in four stages: pairs of tensors are found, their errors measured, those of one
fault grouped, and each fault explained."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np

from probe.comparison.compare import Comparison
from probe.model_comparison.causes.other_checkpoint import OtherWeights, other_weights
from probe.model_comparison.causes.own_mistakes import (
    of_axes,
    of_dump,
    of_dumped,
    of_modes,
)
from probe.model_comparison.causes.reading import hidden
from probe.model_comparison.causes.unseen_weights import unseen_weights
from probe.model_comparison.dumps.axes import way_of_order
from probe.model_comparison.given_pairs import Pairing, given_pairs, of_one_integer_file
from probe.model_comparison.graphs.graph import ModelGraph, Tensor
from probe.model_comparison.graphs.shared_constants import share_constants
from probe.model_comparison.graphs.weights import anchors
from probe.model_comparison.matched import Matched, from_block
from probe.model_comparison.matching.arrays_alone import (
    in_gaps,
    left_alike,
    with_all_arrays,
    without_folded,
)
from probe.model_comparison.matching.expected_error import expected_error
from probe.model_comparison.matching.level import Level
from probe.model_comparison.matching.level_between import level_between
from probe.model_comparison.matching.merging import behind_partial, merged
from probe.model_comparison.matching.modes import tell_mode
from probe.model_comparison.matching.names import by_names, in_one_layout, names_of_layers, repeated
from probe.model_comparison.matching.own_values import by_own_values
from probe.model_comparison.matching.paired import Decision
from probe.model_comparison.matching.propagated import carried, own_is_nearer, propagated
from probe.model_comparison.matching.segments import Segment, names_of, segments
from probe.model_comparison.matching.structure import refined
from probe.model_comparison.matching.tolerance import tolerate
from probe.model_comparison.matching.undescribed import note_unknown, of_blocks
from probe.model_comparison.matching.walk import walk
from probe.model_comparison.matching.walk_state import WalkState
from probe.model_comparison.notes import (
    made_by_format,
    of_hidden_options,
    of_interface,
    of_ties,
    of_unseen_weights,
    of_withdrawn,
)
from probe.model_comparison.passes import ComparedPasses, of_integers, threads_for
from probe.model_comparison.reports.pictures import drawn
from probe.model_comparison.reports.result import Pair
from probe.model_comparison.rows import explained, of_other_weights, pair_of, repeated_pair
from probe.model_comparison.sides import Side
from probe.process.interrupts import held_back, interruptible
from probe.verdict.options import Search

__all__ = ["Compared", "compared"]

_EXPLAINED = 8
"""In how many sources the mistake is looked for."""
_UNSEARCHED = f"causes were searched for in {_EXPLAINED} sources before and not in this one"
_IN_PART = "causes were not searched for: only some of its elements are known"
_DRAWN = 24
"""Of how many pairs that differ there are pictures: of sources first."""
_INNOCENT = (
    "these values are right for the model's own inputs: only in the file the tensor before differs"
)

_Slack = dict[Tensor, np.ndarray | None]


class Compared(NamedTuple):
    """The pairs, and what was found out besides."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[tuple[str, ...], tuple[str, ...]]
    notes: tuple[str, ...]
    ends_open: bool
    """Whether an output of B has no partner and none is computed."""
    uncopied: str = ""
    """Says that nearly all layers hold other weights."""
    unheld: tuple[str, ...] = ()
    """Arrays named after layers of the model that stand for none of its tensors."""
    refused: str = ""
    """Why the models were not compared."""


def compared(
    passes: ComparedPasses,
    pairs: Pairing,
    search: Search | str,
    say: Callable[[str], None],
    tolerance: tuple[float, float] | None = None,
    first: int = 0,
) -> Compared:
    """The walk over one model on the other's tensors, and what follows from it. ``search`` says how
    causes are searched for, or why they are not; what lies within the user's ``tolerance`` is no
    difference. Of A's blocks the one with the number ``first`` and those behind are told."""
    if refused := of_integers(passes):
        return Compared((), ((), ()), (), False, refused=refused)
    with held_back(), threads_for(passes.walked.graph), interruptible():
        matched = from_block(_pair(passes, pairs, say), first)
        if tolerance is not None:
            tolerate(matched.segments, tolerance)
        say("computing propagated errors")
        errors = _measure(passes, matched)
        if passes.alone is None:
            note_unknown(matched.segments, errors.propagated, matched.level)
        groups = _group(passes, matched)
        rows = _explain(passes, matched, errors, groups, search, say)
        return _summarised(passes, matched, errors, rows, groups.others)


def _pair(passes: ComparedPasses, pairs: Pairing, say: Callable[[str], None]) -> Matched:
    """Walks over one model on the other's tensors."""
    a, b, alone = passes.reference, passes.walked.graph, passes.alone
    say("pairing layers by their weights")
    share_constants(a, b)
    shared = anchors(a, b) if alone is None else {}
    decisions = [Decision(*both, "given") for both in given_pairs(pairs, a, b, alone)]
    if alone is None and not decisions:
        decisions += [Decision(*both, "name") for both in of_one_integer_file(a, b)]
    if alone is not None:
        for both in by_names(a, b):
            way = way_of_order(*both, passes.ordered)
            decisions.append(Decision(*both, "name", way, only=way is not None))
        decisions += _by_own_values(a, b, decisions)
    say("computing B's layers on A's tensors")
    level = level_between(a, b, shared) if alone is None else Level()
    state = walk(
        WalkState(
            *(a, b, shared),
            decisions=decisions,
            inputs=passes.walked.pairs,
            level=level,
            same_layout=passes.same_layout,
        )
    )
    if alone is not None:
        state, folded = without_folded(in_one_layout(state))
        state = in_gaps(with_all_arrays(state, folded), folded)
        return Matched(shared, level, state, segments(state), folded)
    state, all_segments = refined(state)
    for words in of_modes(a, b):
        tell_mode(all_segments, b.training, words)
    return Matched(shared, level, state, all_segments)


def _by_own_values(
    a: ModelGraph, b: ModelGraph, decisions: Sequence[Decision]
) -> Iterator[Decision]:
    """Pairs of arrays whose names tell nothing, by the values of the model itself."""
    named = {array for array, _, _ in repeated(a, b)} | {decision.a for decision in decisions}
    unnamed = [array for array in a.loose if array not in named]
    taken = {decision.b for decision in decisions}
    for both in by_own_values(unnamed, b, taken):
        yield Decision(*both, "values")


class _Measured(NamedTuple):
    """How far off both models' own tensors are."""

    slack_a: _Slack
    """What rounding may have done to A's."""
    slack_b: _Slack
    propagated: Mapping[Segment, Comparison | None]
    """B's own tensor against A's."""


def _measure(passes: ComparedPasses, matched: Matched) -> _Measured:
    """What has come down from before to each pair."""
    walk = matched.walk
    slack_a: _Slack = {tensor: tensor.rounding for tensor in passes.reference.loose}
    if passes.alone is None:
        wanted = {tensor for paired in walk.pairs for tensor in paired.a.tensors}
        slack_a = carried(passes.reference, wanted, walk.own)
    ends = {paired.b for paired in walk.pairs}
    slack_b = carried(passes.walked.graph, ends, walk.own, matched.level)
    down = {segment: propagated(segment.paired, slack_a, slack_b) for segment in matched.segments}
    return _Measured(slack_a, slack_b, down)


class _Groups(NamedTuple):
    """Which segments that differ belong together."""

    sources: Mapping[Segment, Sequence[Segment]]
    """The segments of a fault by the one where it is made, in execution order."""
    innocent: Sequence[Segment]
    """Those whose array is right for the model's own inputs: then one of the arrays given before is
    wrong."""
    others: OtherWeights | None = None


def _group(passes: ComparedPasses, matched: Matched) -> _Groups:
    """Tells the segments where a fault is made from those that show it."""
    innocent: list[Segment] = []
    if passes.alone is not None:
        innocent = [
            segment
            for segment in matched.segments
            if segment.differs and own_is_nearer(segment.paired)
        ]
    groups = behind_partial(merged(matched.segments, innocent))
    others: OtherWeights | None = None
    if passes.alone is None:
        both = passes.reference, passes.walked.graph
        others = other_weights(*both, matched.anchors, matched.level.unit)
    if others is not None:
        groups = others.together(groups)
    return _Groups({group[0]: group for group in groups}, innocent, others)


def _explain(
    passes: ComparedPasses,
    matched: Matched,
    errors: _Measured,
    groups: _Groups,
    search: Search | str,
    say: Callable[[str], None],
) -> list[Pair]:
    """The pair of each segment, with the reason where a fault is made."""
    searched = {*islice(groups.sources, _EXPLAINED)}
    shown = _shown(errors, groups.sources)
    rows: list[Pair] = []
    for segment in matched.segments:
        paired = segment.paired
        if paired.b.input is not None and not segment.differs:
            continue
        expected = expected_error(segment.b, paired.b, matched.level, paired.a.tensor.value)
        pair = replace(
            pair_of(segment, errors.propagated[segment], passes.alone), expected=expected
        )
        if segment in groups.sources:
            say(f"explaining {names_of(segment.b, paired.b)[-1]}")
            how = search if segment in searched else _UNSEARCHED
            if paired.a.tensor.partial:
                how = _IN_PART
            group = groups.sources[segment]
            if groups.others is not None and groups.others.explains(group):
                pair = of_other_weights(pair, group, groups.others.sentence)
            else:
                pair = _of_source(pair, segment, group, passes, matched.walk, how)
        elif segment in groups.innocent:
            pair = replace(pair, verdict="agree", notes=(_INNOCENT,))
        elif segment.differs:
            pair = replace(pair, notes=("this difference is explained at a source listed below",))
        elif passes.alone is None and pair.verdict == "agree":
            pair = replace(pair, differs=tuple(hidden(segment)), notes=unseen_weights(segment))
        if segment in shown:
            pair = replace(pair, drawn=drawn(paired, errors.slack_a, errors.slack_b))
        rows.append(pair)
    if passes.alone is not None:
        again = repeated(passes.reference, passes.walked.graph)
        rows += [repeated_pair(*same, passes.alone) for same in again]
    return rows


def _shown(errors: _Measured, sources: Collection[Segment]) -> set[Segment]:
    """The segments of which there are pictures."""
    apart = [
        segment
        for segment, down in errors.propagated.items()
        if segment.differs or (down is not None and not down.ok)
    ]
    return {*sorted(apart, key=lambda segment: segment not in sources)[:_DRAWN]}


def _of_source(
    pair: Pair,
    segment: Segment,
    group: Sequence[Segment],
    passes: ComparedPasses,
    walk: WalkState,
    search: Search | str,
) -> Pair:
    """The pair of a segment where a fault is made, and why."""
    from probe.model_comparison.causes.why import (  # noqa: PLC0415 - all causes: only for a source
        reasons,
        reasons_alone,
    )

    if passes.alone is None:
        inputs = [tensor.value for tensor in passes.reference.inputs]
        return explained(pair, group, reasons(segment, search, walk, inputs))
    why = reasons_alone(segment, passes.walked.graph, walk.values, search)
    why.further[:0] = of_dumped(segment, passes.walked.graph, passes.reference)
    return explained(pair, group, why)


def _summarised(
    passes: ComparedPasses,
    matched: Matched,
    errors: _Measured,
    rows: Sequence[Pair],
    others: OtherWeights | None,
) -> Compared:
    """The pairs with what is said of them all, and what none of them accounts for."""
    a, b, walk = passes.reference, passes.walked.graph, matched.walk
    uncopied = "" if others is None else others.sentence
    ends_open, unheld = False, tuple[str, ...]()
    free_b = matched.untold(b.nodes, of_b=True)
    if passes.alone is None:
        free_a = matched.untold(a.nodes, of_b=False)
        ends_open = any(map(walk.is_open, b.outputs))
        said = {
            segment.shared_reason.words
            for segment in matched.segments
            if segment.shared_reason is not None
        }
        modes = [words for words in of_modes(a, b) if words not in said]
        mistakes = [*of_interface(walk), *of_withdrawn(walk), *modes, *of_blocks(a, b)]
        unseen = [*of_unseen_weights(rows)]
    else:
        free = _arrays_left(passes, matched)
        free_a = tuple(array.name for array in free)
        layers, alike = names_of_layers(b), left_alike(walk)
        unheld = tuple(array.name for array in free if array.name in layers or array in alike)
        read = [(pair.a if passes.alone is Side.A else pair.b, pair.axes) for pair in rows]
        mistakes, unseen = [*matched.folded.values(), *of_dump(a), *of_axes(read)], []
    notes = (
        *([uncopied] if uncopied and not any(pair.source for pair in rows) else []),
        *walk.notes,
        *mistakes,
        *matched.level.notes,
        *made_by_format(rows),
        *matched.level.cut(walk.values),
        *of_hidden_options(rows),
        *unseen,
        *of_ties(matched.segments, errors.slack_a, errors.slack_b),
    )
    unpaired = (free_b, free_a) if passes.alone is Side.B else (free_a, free_b)
    return Compared(tuple(rows), unpaired, notes, ends_open, uncopied, unheld)


def _arrays_left(passes: ComparedPasses, matched: Matched) -> tuple[Tensor, ...]:
    """The arrays that stand for no tensor of the model."""
    arrays = passes.reference
    known = {tensor for paired in matched.walk.pairs for tensor in paired.a.tensors}
    known |= {array for array, _, _ in repeated(arrays, passes.walked.graph)}
    return tuple(array for array in arrays.loose if array not in known | matched.folded.keys())
