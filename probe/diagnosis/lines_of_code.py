"""A mistake that was found as lines of the layer's script: what yours does, what it should do."""

import difflib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from probe.by_hand.lines import MistakeLines, mistake_lines
from probe.by_hand.script import Computation
from probe.description.description import Site
from probe.diagnosis.recomposed import recomposed
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.attention.whole_rotations import by_tables, with_whole_rotations
from probe.ops import Add, Conv, ConvTranspose, MatMul, Parameter
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps
from probe.trial.gathered import Gathered
from probe.trial.refusals import refused

__all__ = ["lines_of"]

_LARGE = 1 << 25
"""Elements of all values from which on a layer is not computed once more for this."""


def lines_of(case: Case, edit: Edit) -> MistakeLines:
    """The lines in which the edited layer differs from the healthy one; () where it cannot be
    written, or differs in more than a few."""
    if sum(np.size(y) for outputs in case.values for y in outputs) > _LARGE:
        return ()
    try:
        steps, apart = recomposed(case, edit.steps)
        pairs = [(_layer(own), steps) for own in dict.fromkeys((case, apart))]
        pairs += _with_whole_rotations(case, pairs[0][0], steps)
        found = [_lines(layer, edited, edit.inputs) for layer, edited in pairs]
        return min(filter(None, found), key=_length, default=())
    except Exception as error:
        refused(error)
        return ()


def _with_whole_rotations(
    case: Case, layer: Computation, steps: Steps
) -> Iterator[tuple[Computation, Steps]]:
    """The layer and the edited steps with rotary embeddings as one op each: by the cosines and
    sines that are inputs, or by angles."""
    whole, places = with_whole_rotations(case, steps)
    if not places:
        return
    made = _edited(layer, whole, case.inputs)
    if layer.sites and len(layer.steps) == len(case.steps):
        own = zip(made.steps, made.sites, strict=True)
        sites = [
            layer.sites[places[id(step.op)]] if id(step.op) in places else site
            for step, site in own
        ]
        made = replace(made, sites=tuple(sites))
    named, edited = by_tables(whole, case.inputs), by_tables(steps, case.inputs)
    if named is None or edited is None:
        yield made, steps
    else:
        yield replace(made, steps=named, values=recompute(named, case.inputs)), edited


def _lines(layer: Computation, steps: Steps, inputs: Sequence[np.ndarray]) -> MistakeLines:
    """Those in which the steps of an edit differ from a layer."""
    return mistake_lines(layer, _edited(layer, steps, inputs))


def _edited(layer: Computation, steps: Steps, inputs: Sequence[np.ndarray]) -> Computation:
    """A layer with other steps or inputs."""
    steps = _rejoined(_opened(steps), tuple(layer.steps))
    values = recompute(steps, inputs)
    sites = _sites_of(layer, steps)
    return replace(layer, steps=steps, inputs=inputs, values=values, sites=sites)


def _length(lines: MistakeLines) -> tuple[int, int]:
    return len(lines), sum(len(line) for pair in lines for line in pair)


def _layer(case: Case) -> Computation:
    """The layer, with the steps of whole calls in the place of these."""
    steps, calls = _opened(case.steps), case.calls
    if steps is case.steps:
        values, sites = case.values, _sites(case, steps, calls)
    else:
        values = recompute(steps, case.inputs)
        sites = _sites(case, steps, _calls(case.steps, calls))
    return Computation(steps, case.inputs, values, case.input_names, sites=sites)


def _calls(steps: Steps, calls: Sequence[str]) -> tuple[str, ...]:
    """Which call each of the steps of whole calls is of."""
    found: list[str] = []
    for step, call in zip_longest(steps, calls[: len(steps)], fillvalue=""):
        assert isinstance(step, Step) and isinstance(call, str)
        if isinstance(step.op, Gathered):
            found += _calls(step.op.body, [step.op.call] * len(step.op.body))
        else:
            found.append(call)
    return tuple(found)


def _opened(steps: Steps) -> Steps:
    """The steps with those of whole calls in the place of these."""
    if not any(isinstance(step.op, Gathered) for step in steps):
        return steps
    made: list[Step] = []
    ends: list[int] = []
    for position, step in enumerate(steps):
        taken = [_moved(ref, ends) for ref in step.sources(position)]
        if isinstance(step.op, Gathered):
            made += _body(step.op.body, taken, len(made))
        else:
            made.append(Step(step.op, tuple(taken)))
        ends.append(len(made) - 1)
    return tuple(made)


def _rejoined(steps: Steps, healthy: Steps) -> Steps:
    """The steps with a sum and the bias that is added to it as one op, as the layer has them."""
    own = {id(step.op.weight): step.op for step in healthy if isinstance(step.op, _BIASED)}
    made = [Step(step.op, step.sources(position)) for position, step in enumerate(steps)]
    for position, step in enumerate(made):
        product, bias = (*step.sources(position), Ref(-1), Ref(-1))[:2]
        if not isinstance(step.op, Add) or product.step < 0 or bias.step < 0:
            continue
        op, parameter = made[product.step].op, made[bias.step].op
        if not isinstance(op, _BIASED) or not isinstance(parameter, Parameter):
            continue
        whole = own.get(id(op.weight))
        if whole is None or whole.bias is None or op.bias is not None:
            continue
        if parameter.weight.effective is whole.bias.effective:
            made[position] = Step(whole, made[product.step].sources(product.step))
    return tuple(made)


_BIASED = (Conv, ConvTranspose, MatMul)


def _moved(ref: Ref, ends: Sequence[int]) -> Ref:
    return ref if ref.step < 0 else replace(ref, step=ends[ref.step])


def _body(body: Steps, taken: Sequence[Ref], begin: int) -> list[Step]:
    """The steps of a call, on what it is applied to."""
    made = []
    for position, step in enumerate(_opened(body)):
        sources = step.sources(position)
        made.append(
            Step(
                step.op,
                tuple(
                    taken[ref.index] if ref.step < 0 else replace(ref, step=ref.step + begin)
                    for ref in sources
                ),
            )
        )
    return made


def _sites(case: Case, steps: Steps, calls: Sequence[str]) -> tuple[Site, ...]:
    """Where each step comes from, of a layer that is composed of several calls."""
    if not any(calls):
        return ()
    places = {call: place for place, call in enumerate(dict.fromkeys(calls))}
    known = {call: case.sites.get(call, Site(call, "", -1)) for call in places}
    found = [known[call]._replace(part=places[call]) for call in calls]
    return (*found, *[Site("", "", -1)] * (len(steps) - len(found)))


def _sites_of(healthy: Computation, steps: Steps) -> tuple[Site, ...]:
    """The same of the steps of an edited layer: a new one belongs to the call before it."""
    if not healthy.sites:
        return ()
    same = _aligned(healthy.sites, [id(s.op) for s in healthy.steps], [id(s.op) for s in steps])
    by_op = {id(step.op): site for step, site in zip(healthy.steps, healthy.sites, strict=True)}
    alike = _aligned(healthy.sites, [*map(_key, healthy.steps)], [*map(_key, steps)])
    found: list[Site] = []
    for position, step in enumerate(steps):
        before = found[-1] if found else healthy.sites[0]
        known = same.get(position) or by_op.get(id(step.op)) or alike.get(position)
        found.append(known or before)
    return tuple(found)


def _aligned(
    sites: Sequence[Site], own: Sequence[Hashable], others: Sequence[Hashable]
) -> dict[int, Site]:
    """The sites of the steps that stand in the same order in both."""
    matcher = difflib.SequenceMatcher(None, own, others, autojunk=False)
    return {
        other + k: sites[mine + k]
        for mine, other, size in matcher.get_matching_blocks()
        for k in range(size)
    }


def _key(step: Step) -> str:
    """Equal for ops that are alike."""
    return f"{type(step.op).__name__} {getattr(step.op, 'perm', '')}"
