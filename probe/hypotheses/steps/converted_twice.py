"""A parameter that is converted once more than it should be: at the export of the weights and again
where the layer computes."""

from collections.abc import Iterator, Sequence

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.rewriting import of_parameters, taking_instead
from probe.hypotheses.edits.step_words import joined, tensor_name
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__: list[str] = []


@more("moved-step")
def converted_twice(case: Case) -> Iterator[Changes]:
    """Several functions of a parameter, such as -exp(a) of a decay, applied to what they give."""
    yield Changes(_converted_twice, "moved-step", STEPS, only_new=True)


def _converted_twice(case: Case) -> Iterator[Change]:
    constant = of_parameters(case)
    for position in sorted(constant):
        users = users_of(case).get(Ref(position), ())
        if not constant.issuperset(users):
            chain = _chain(case, position)
            for count in range(len(chain), 1, -1):
                yield _again(case, position, chain[-count:], users)


def _chain(case: Case, position: int) -> list[int]:
    """The steps of one tensor each, beside numbers, by which a parameter becomes what a step
    gives."""
    found, at = list[int](), position
    while case.steps[at].sources(at) and shape_of(case, Ref(at)) == shape_of(case, Ref(position)):
        found.insert(0, at)
        main = _main(case, at)
        if main is None:
            break
        at = main.step
    return found


def _main(case: Case, position: int) -> Ref | None:
    sources = case.steps[position].sources(position)
    mains = [ref for ref in sources if not isinstance(case.steps[ref.step].op, ops.Constant)]
    return mains[0] if len(mains) == 1 else None


def _again(case: Case, position: int, chain: Sequence[int], users: Sequence[int]) -> Change:
    """The steps of a chain once more behind its last one."""
    steps, before = dict[int, Step](), Ref(position)
    for new, at in enumerate(chain, len(case.steps)):
        main = _main(case, at)
        refs = (before if ref == main else ref for ref in case.steps[at].sources(at))
        steps[new], before = Step(case.steps[at].op, tuple(refs)), Ref(new)
    steps |= {user: taking_instead(case, user, Ref(position), before) for user in users}
    names = joined([op_words(case.steps[at].op) for at in chain])
    what = f"{names} are applied once more to {tensor_name(case, Ref(position))}"
    return Change(what, "", steps, of=position)
