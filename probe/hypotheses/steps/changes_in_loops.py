"""Mistakes in one statement of a loop that the model's code runs step by step, such as a recurrence
written out: made in each of its passes, as a port makes them."""

from collections.abc import Iterator
from functools import partial

from probe.hypotheses.edits.carried_over import carried_over
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.loop_changes import in_each_pass
from probe.hypotheses.edits.loop_states import not_cleared, reset_within, started_otherwise
from probe.hypotheses.edits.loops import alike_loops, loops
from probe.hypotheses.edits.mapped_tensors import rearranged
from probe.hypotheses.edits.numbers_of_passes import passes_left_out, run_otherwise
from probe.hypotheses.edits.overwritten import copied_onto_itself
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.tensor_maps import transposed
from probe.hypotheses.precision.half_tensors import half_states, is_small
from probe.hypotheses.registry import Hypothesis, more
from probe.hypotheses.steps.changed_steps import changed_step
from probe.hypotheses.steps.data_flow import missing_step, other_tensor, swapped_inputs
from probe.hypotheses.steps.functions_of_parts import function_of_sum, norm_of_parts
from probe.hypotheses.steps.moved_steps import moved_step
from probe.hypotheses.steps.other_operands import (
    complemented,
    own_activations,
    shown_states,
    taken_later,
)
from probe.hypotheses.steps.packed_parts import parts_in_another_order, parts_reordered
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []


def _runs_loops(case: Case) -> bool:
    """Whether a layer may run a loop: where its steps are of no calls, they tell themselves."""
    return any(case.calls) or bool(loops(case))


def _of_loops(case: Case, mistake: Hypothesis) -> Iterator[Changes]:
    if _runs_loops(case):
        make = partial(in_each_pass, make=partial(_changes_of, mistake))
        yield Changes(make, mistake.slug, STEPS, every_pass=True)


def _changes_of(mistake: Hypothesis, body: Case) -> Iterator[Change]:
    for changes in mistake(body):
        if isinstance(changes, Changes):
            yield from changes.make(body)


@more("initial-state")
def other_start_of_loops(case: Case) -> Iterator[Changes]:
    """A state of a loop that begins with other values."""
    if _runs_loops(case):
        yield Changes(started_otherwise, "initial-state", STEPS, every_pass=True)


@more("carried-state")
def reset_in_loops(case: Case) -> Iterator[Changes]:
    """A state of a loop that is reset within the sequence, such as at each chunk of it."""
    if _runs_loops(case):
        yield Changes(reset_within, "carried-state", STEPS, every_pass=True)


@more("carried-state")
def carried_over_in_loops(case: Case) -> Iterator[Changes]:
    """States of a loop that are not cleared between samples or channels."""
    if _runs_loops(case):
        yield Changes(carried_over, "carried-state", STEPS, every_pass=True)


@more("carried-state")
def sums_not_cleared_in_loops(case: Case) -> Iterator[Changes]:
    """A sum that begins anew in each pass of a loop, and goes on from that of the pass before."""
    if _runs_loops(case):
        yield Changes(not_cleared, "carried-state", STEPS, every_pass=True)


@more("reduced-precision")
def half_states_of_loops(case: Case) -> Iterator[Changes]:
    """A state of a loop in half precision."""
    if case.calls and is_small(case):
        make = partial(in_each_pass, make=half_states)
        yield Changes(make, "reduced-precision", STEPS, every_pass=True)


@more("changed-step")
def other_numbers_of_passes(case: Case) -> Iterator[Changes]:
    """A loop that runs more or fewer times."""
    if _runs_loops(case):
        yield Changes(run_otherwise, "changed-step", STEPS, every_pass=True)


@more("missing-step")
def pass_left_out(case: Case) -> Iterator[Changes]:
    """One layer of several that a loop goes through."""
    if _runs_loops(case):
        yield Changes(passes_left_out, "missing-step", STEPS, every_pass=True)


@more("packed-order")
def parts_in_loops(case: Case) -> Iterator[Changes]:
    """Gates read in another order in each pass."""
    yield from _of_loops(case, parts_in_another_order)


@more("packed-order")
def parameters_of_loops(case: Case) -> Iterator[Changes]:
    """Coefficients that are split before a loop read in another order."""
    if _runs_loops(case):
        yield Changes(_parameters_reordered, "packed-order", STEPS, every_pass=True)


def _parameters_reordered(case: Case) -> Iterator[Change]:
    constant = of_parameters(case)
    if any(group[0].carried() for group in alike_loops(case)):
        for change in parts_reordered(case):
            if constant.issuperset(change.steps):
                yield change


@more("missing-step")
def missing_in_loops(case: Case) -> Iterator[Changes]:
    """A step left out of each pass."""
    yield from _of_loops(case, missing_step)


@more("swapped-inputs")
def swapped_in_loops(case: Case) -> Iterator[Changes]:
    """Two gates or parameters exchanged in each pass."""
    yield from _of_loops(case, swapped_inputs)


@more("other-tensor")
def other_tensor_in_loops(case: Case) -> Iterator[Changes]:
    """A state read before it is updated, or after, in each pass."""
    yield from _of_loops(case, other_tensor)


@more("moved-step")
def moved_in_loops(case: Case) -> Iterator[Changes]:
    """A step at another place of each pass."""
    yield from _of_loops(case, moved_step)


@more("moved-step")
def function_of_sum_in_loops(case: Case) -> Iterator[Changes]:
    """A norm or activation of a sum, not of each of its terms, in each pass."""
    yield from _of_loops(case, function_of_sum)


@more("changed-step")
def norms_of_parts_in_loops(case: Case) -> Iterator[Changes]:
    """A norm of each gate, not of all, in each pass."""
    yield from _of_loops(case, norm_of_parts)


@more("changed-step")
def changed_in_loops(case: Case) -> Iterator[Changes]:
    """Another option or operation in each pass."""
    yield from _of_loops(case, changed_step)


@more("extra-step")
def activation_in_loops(case: Case) -> Iterator[Changes]:
    """An activation of the loop on another tensor of it, too."""
    if _runs_loops(case):
        make = partial(in_each_pass, make=own_activations)
        yield Changes(make, "extra-step", STEPS, every_pass=True)


@more("extra-step")
def activation_of_shown_states(case: Case) -> Iterator[Changes]:
    """An activation of a state as a pass shows it, such as an LSTM's tanh, and not as the next
    takes it."""
    if _runs_loops(case):
        make = partial(in_each_pass, make=shown_states)
        yield Changes(make, "extra-step", STEPS, every_pass=True)


@more("extra-step")
def complements_in_loops(case: Case) -> Iterator[Changes]:
    """What a state that decays is given, multiplied by 1 - the decay, as in a moving average."""
    if _runs_loops(case):
        make = partial(in_each_pass, make=complemented)
        yield Changes(make, "extra-step", STEPS, every_pass=True)


@more("changed-step")
def shifted_in_place_in_loops(case: Case) -> Iterator[Changes]:
    """A memory that is shifted in place from the wrong end in each pass."""
    if _runs_loops(case):
        make = partial(in_each_pass, make=copied_onto_itself)
        yield Changes(make, "changed-step", STEPS, every_pass=True)


@more("other-tensor")
def state_updated_early(case: Case) -> Iterator[Changes]:
    """A state that a step reads after it is updated, or decayed, not before."""
    if _runs_loops(case):
        make = partial(in_each_pass, make=taken_later)
        yield Changes(make, "other-tensor", STEPS, every_pass=True)


@more("rearranged-tensor")
def rearranged_in_loops(case: Case) -> Iterator[Changes]:
    """A tensor transposed or reversed in each pass."""
    if _runs_loops(case):
        for make in (partial(rearranged, ways=transposed), partial(rearranged, few=_MAPS)):
            changes = partial(in_each_pass, make=make)
            yield Changes(changes, "rearranged-tensor", STEPS, every_pass=True)


_MAPS = 2
"""How many maps of each tensor are tried beside its transposition."""
