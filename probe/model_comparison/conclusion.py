"""The verdict on two models, and its sentence."""

import json
from collections.abc import Sequence
from dataclasses import replace

from probe import printable
from probe.capture.replacing import Replacing
from probe.model_comparison.graphs.weights import held_weights
from probe.model_comparison.pairing import Compared
from probe.model_comparison.passes import ComparedPasses
from probe.model_comparison.reports.blocks import names_of, placed, relation_of
from probe.model_comparison.reports.result import ModelComparison, Pair
from probe.model_comparison.rows import NAN_ALONE
from probe.model_comparison.sides import Side
from probe.model_comparison.unmade_outputs import unmade_outputs
from probe.report.effect import Effect

__all__ = ["concluded"]


def concluded(
    outcome: Compared,
    passes: ComparedPasses,
    sources: tuple[str, str],
    strict: bool,
    tolerance: tuple[float, float] | None = None,
) -> ModelComparison:
    """The comparison of two models that came from these ``sources``."""
    unmade = () if outcome.refused else tuple(unmade_outputs(passes, tolerance))
    replacing = _of_sides(passes)
    outcome = outcome._replace(pairs=tuple(_marked(pair, replacing) for pair in outcome.pairs))
    verdict, sentence = _verdict(outcome, strict, unmade, _beside(outcome.pairs, passes, replacing))
    return ModelComparison(
        *(verdict, sentence, outcome.pairs, outcome.unpaired, *sources, passes.of_a.how),
        notes=(*passes.notes, *unmade, *outcome.notes),
        inputs=passes.walked.words,
        effect=(_effect(replacing[0]), _effect(replacing[1])),
    )


_IN_WORDS = ("steps", "input", "layers", "inputs", "mask")
"""Of these what is told says where."""

Sides = tuple[Replacing | None, Replacing | None]
"""A, and B, where the user's values took the place of layers' outputs."""


def _of_sides(passes: ComparedPasses) -> Sides:
    if passes.alone is Side.A:
        return None, passes.walked.replacing
    if passes.alone is Side.B:
        return passes.walked.replacing, None
    return passes.of_a.replacing, passes.walked.replacing


def _effect(model: Replacing | None) -> Effect | None:
    return None if model is None else model.effect


def _marked(pair: Pair, replacing: Sides) -> Pair:
    """The pair, where an output in it was replaced by the user's values told as that."""
    told = [
        f"the output of {printable.several(found)} of {side}"
        for side, model, names in zip("AB", replacing, (pair.a, pair.b), strict=True)
        if model is not None and (found := [name for name in names if name in model.call_names])
    ]
    if not told:
        return pair
    words = f"{' and '.join(told)} was replaced by your values"
    pair = replace(pair, replaced=words, notes=(words, *pair.notes))
    if pair.verdict != "diverge":
        return pair
    pair = replace(pair, findings=(), differs=(), relations=(), notes=(words,))
    return replace(pair, verdict="unchecked", source=False)


def _beside(pairs: Sequence[Pair], passes: ComparedPasses, replacing: Sides) -> str:
    """What layers with weights no pair compares since they are in one with a layer whose output was
    replaced."""
    graphs = (passes.of_a.graph, passes.walked.graph)
    weighing = {
        node.call.name for graph in graphs for node in graph.nodes if any(held_weights(node))
    }
    for pair in pairs:
        if not pair.replaced or pair.verdict != "unchecked":
            continue
        for side, model, names in zip("AB", replacing, (pair.a, pair.b), strict=True):
            known = frozenset[str]() if model is None else model.call_names
            rest = [name for name in names if name in weighing - known]
            if rest and known.intersection(names):
                return f"{printable.several(rest)} of {side} was not compared: {pair.replaced}"
    return ""


def _verdict(
    outcome: Compared, strict: bool, unmade: Sequence[str], beside: str
) -> tuple[str, str]:
    """The verdict, and the sentence that gives its reason."""
    if outcome.refused:
        return "unchecked", f"unchecked: {outcome.refused}"
    pairs = outcome.pairs
    sources = [pair for pair in pairs if pair.source]
    agreeing = f"{sum(pair.verdict == 'agree' for pair in pairs)} of {len(pairs)} pairs agree"
    if count := sum(bool(pair.replaced) and pair.verdict != "agree" for pair in pairs):
        agreeing += f" ({count} with outputs that were replaced)"
    if outcome.uncopied and (sources or not pairs):
        return "diverge", f"diverge: {outcome.uncopied}{_and_more(sources)}"
    if sources:
        return "diverge", f"diverge: {_of_sources(sources)}; {agreeing}"
    if unmade:
        return "diverge", f"diverge: {unmade[0]}; {agreeing}"
    if not pairs:
        return "unchecked", f"unchecked: no tensor of B corresponds to one of A{_by_hand(outcome)}"
    if any(pair.verdict == "diverge" for pair in pairs):
        return "diverge", f"diverge: {agreeing}"
    unchecked = _why_unchecked(outcome, agreeing, strict)
    if beside and not unchecked:
        unchecked = f"unchecked: {agreeing}; {beside}"
    if unchecked:
        return "unchecked", unchecked
    return "agree", f"agree: {agreeing}"


def _by_hand(outcome: Compared) -> str:
    """How the user says which layers correspond."""
    if not all(outcome.unpaired):
        return ""
    first, second = (json.dumps(printable.name(names[0])) for names in outcome.unpaired)
    return f": name those that do, --pairs pairs.json of {{{first}: {second}}} (pairs=)"


def _why_unchecked(outcome: Compared, agreeing: str, strict: bool) -> str:
    """What could not be compared though all that was agrees; "" where nothing is left."""
    empty = [pair for pair in outcome.pairs if NAN_ALONE in pair.notes]
    if empty:
        where = printable.name(names_of(empty[0].b))
        return f"unchecked: {agreeing}; in {where} of B {NAN_ALONE}"
    uncomputed = [pair for pair in outcome.pairs if _is_uncomputed(pair)]
    if uncomputed:
        why = "".join(f": {note}" for note in uncomputed[0].notes[:1])
        return (
            f"unchecked: {agreeing}; {names_of(uncomputed[0].b)} of B could not be computed from "
            f"A's tensors{why}"
        )
    if outcome.unheld:
        return (
            f"unchecked: {agreeing}, but no tensor of the model was found for "
            f"{printable.several(outcome.unheld, 3)}; name its pair (pairs=, --pairs)"
        )
    if outcome.ends_open:
        return f"unchecked: {agreeing}, but an output of B corresponds to none of A"
    if strict and any(outcome.unpaired):
        names = [*outcome.unpaired[0], *outcome.unpaired[1]]
        return f"unchecked: {agreeing}, without a partner: {printable.several(names, 3)}"
    return ""


def _is_uncomputed(pair: Pair) -> bool:
    """Whether a pair was not compared, neither on A's tensors nor on the models' own."""
    agrees = pair.propagated is not None and pair.propagated.ok
    return pair.verdict == "unchecked" and not agrees and not pair.replaced


def _of_sources(sources: Sequence[Pair]) -> str:
    first = sources[0]
    name = printable.name(names_of(first.b))
    why = ""
    if first.differs:
        field, mine, theirs = first.differs[0]
        told = relation_of(first, 0)
        if field != "steps":  # of which others alone prove nothing
            why = f" ({placed(field)} {_short(mine)} in A, {_short(theirs)} in B)"
        if told:
            why = f" ({told})" if field in _IN_WORDS else f" ({told}: {field})"
    if first.findings:
        why = f" ({first.findings[0].named})"
    return f"B differs from A in {name}{why}{_and_more(sources)}"


def _and_more(sources: Sequence[Pair]) -> str:
    if sources[1:]:
        return f" and {len(sources) - 1} more source{'s' * (len(sources) > 2)}"
    return ""


def _short(value: object) -> str:
    if isinstance(value, float):
        text = f"{value:g}"
    elif value is None:
        text = "none"
    else:
        text = str(value)
    if len(text) <= 40:
        return text
    return f"{text[:37]}..."
