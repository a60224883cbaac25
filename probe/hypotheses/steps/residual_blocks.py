"""Mistakes with residual blocks as a whole: where their norms stand and what these subtract,
whether their branches are computed side by side, and in which order blocks follow one another."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Literal, NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.grouped_changes import all_and_each
from probe.hypotheses.edits.regrouped_steps import taken_together
from probe.hypotheses.edits.step_words import call_of, listed, step_name, steps_name
from probe.hypotheses.registry import hypothesis
from probe.ops.step import Ref, Step, weights_of
from probe.trial.case import Case, once, shape_of, users_of
from probe.trial.edit import Edit, Steps
from probe.trial.gathered import Gathered

__all__: list[str] = []

_Place = Literal["before", "behind", "sum"]
_WORDS: dict[_Place, str] = {
    "before": "to the input of the branch (pre-norm)",
    "behind": "to the output of the branch, before it is added",
    "sum": "to the sum (post-norm)",
}


class _Site(NamedTuple):
    """A residual sum and the norm of its branch."""

    total: int
    """The step that adds."""
    skip: Ref
    branch: Ref
    norm: int
    place: _Place
    takers: frozenset[int]
    """The steps of the branch that take the skip's tensor, or that which is normalised."""


def _wholes(case: Case) -> Iterable[Case]:
    """The block by its calls, and by their steps."""
    return dict.fromkeys((taken_together(case), case))


@hypothesis("norm-placement")
def norm_placement(case: Case) -> Iterator[Edit]:
    """The norms of a residual block stand at another place: before the branch, behind it, or behind
    the sum.

    The original Transformer, BERT and OPT-350m normalise the sum (post-norm), GPT-2 and Llama what
    the branch takes (pre-norm), OLMo 2 what the branch gives; ``norm_first`` of PyTorch's
    nn.TransformerEncoderLayer decides between the first two.
    """
    for whole in _wholes(case) if len(case.steps) > 2 else ():
        sites = list(_sites(whole))
        for old in _WORDS:
            alike = [site for site in sites if site.place == old]
            for group in all_and_each(alike):
                for new in _WORDS:
                    if new != old:
                        names = [step_name(whole, site.norm) for site in group]
                        yield whole.edit(
                            f"{listed(names)} applied {_WORDS[new]}, not {_WORDS[old]}",
                            _placed(whole, group, new),
                            do=f"apply {'each' if len(group) > 1 else 'it'} {_WORDS[old]}",
                            as_healthy=True,
                        )


@hypothesis("centred-norm")
def centred_norm(case: Case) -> Iterator[Edit]:
    """A norm that divides by the root mean square subtracts the mean, too: a layer norm in place of
    an RMS norm.

    T5, Llama and their like leave the mean as it is.
    """
    for whole in _wholes(case) if case.calls else ():
        norms = [
            at
            for at in range(len(whole.steps))
            if _normalises(whole, at) and not _normalises(whole, at, 1.0)
        ]
        for some in all_and_each(norms):
            steps = list(whole.steps)
            for at in some:
                steps[at] = Step(_Centred(steps[at].op), steps[at].sources(at))
            names = " and ".join(step_name(whole, at) for at in some)
            yield whole.edit(
                f"the mean is subtracted in {names}, as in layer normalisation",
                tuple(steps),
                do="divide by the root mean square, without subtracting the mean",
                as_healthy=True,
            )


@dataclass(frozen=True, eq=False)
class _Centred(ops.Op):
    op: ops.Op

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, *rest = inputs
        return self.op.run(x - x.mean(axis=-1, keepdims=True), *rest)


@hypothesis("sequential-branches")
def sequential_branches(case: Case) -> Iterator[Edit]:
    """Two branches of a residual block that both take its input are computed one after the other:
    the second takes the sum with the first.

    GPT-J, GPT-NeoX, Falcon and Cohere add attention and MLP to the same input; GPT-2 and Llama take
    the MLP of what attention has been added to.
    """
    for whole in _wholes(case) if case.calls else ():
        for total, _ in whole.having(ops.Add):
            addends = list(_addends(whole, Ref(total)))
            for skip, first, second in permutations(addends) if len(addends) == 3 else ():
                inner = _ancestors(whole, second) & _following(whole, skip)
                if inner and _ancestors(whole, first) & _following(whole, skip):
                    names = [_call_of(whole, ref) for ref in (second, first)]
                    yield whole.edit(
                        f"the branch of {names[0]} takes the sum of the input and the branch of "
                        f"{names[1]}, not the input alone",
                        _one_after_the_other(whole, total, (skip, first, second), inner),
                        do="give both branches the input",
                        as_healthy=True,
                    )


@hypothesis("exchanged-parts")
def exchanged_parts(case: Case) -> Iterator[Edit]:
    """Two parts of a layer that follow one another are computed in the other order.

    Such as cross-attention before self-attention, the MLP before attention, or two layers of a
    network exchanged.
    """
    for whole in _wholes(case) if len(case.steps) > 2 else ():
        found = dict.fromkeys(tuple(_joints(whole, k)) for k in range(len(whole.inputs)))
        triples = [some for joints in found for some in combinations(joints[:_JOINTS], 3)]
        triples.sort(key=lambda triple: triple[2].step - triple[0].step)
        for start, middle, end in triples[: _MOST if case.region is None else _FEW]:
            first = {at for at in _following(whole, start) if at <= middle.step}
            second = {at for at in _following(whole, middle) if at <= end.step}
            if all(any(_weighs(whole.steps[at].op) for at in part) for part in (first, second)):
                earlier, later = (
                    steps_name(whole, [at for at in sorted(part) if _weighs(whole.steps[at].op)])
                    for part in (second, first)
                )
                yield whole.edit(
                    f"{earlier} computed before {later.rpartition(' ')[0]}, not after",
                    _other_order(whole, (start, middle, end), first, second),
                    do="compute them in the layer's order",
                    as_healthy=True,
                )


_JOINTS, _MOST, _FEW = 32, 64, 8
"""Between how many tensors, from the input on, parts are looked for, and how many pairs of parts
are exchanged, of a small layer and of a large one."""


def _weighs(op: ops.Op) -> bool:
    return isinstance(op, Gathered) or bool(weights_of((Step(op),)))


def _joints(case: Case, index: int) -> Iterator[Ref]:
    """The tensors of the output's shape that an input goes through as a whole: of what is made of
    it before nothing is taken behind."""
    users, start = users_of(case), Ref(-1, index)
    if shape_of(case, start) == case.healthy.shape:
        yield start
    latest = max(users.get(start, [-1]))
    for at in sorted(_following(case, start)):
        if latest <= at and [np.shape(y) for y in case.values[at]] == [case.healthy.shape]:
            yield Ref(at)
        outputs = (Ref(at, k) for k in range(len(case.values[at])))
        latest = max([latest, *(user for output in outputs for user in users.get(output, ()))])


def _other_order(
    case: Case, joints: tuple[Ref, Ref, Ref], first: Collection[int], second: Collection[int]
) -> Steps:
    """The steps with the second part, from the second joint to the third, before the first."""
    start, middle, end = joints
    steps = list(case.steps[: end.step + 1])
    made = _copied(case, steps, second, middle, start)(end)
    made = _copied(case, steps, first, start, made)(middle)
    return _continued(case, steps, end.step, made)


def _addends(case: Case, ref: Ref) -> Iterator[Ref]:
    """What a sum of sums of tensors of one shape adds."""
    plain = _plain(case, ref)
    sources = case.steps[plain.step].sources(plain.step) if plain.step >= 0 else ()
    if plain.step < 0 or not isinstance(case.steps[plain.step].op, ops.Add):
        yield ref
    elif all(shape_of(case, source) == shape_of(case, ref) for source in sources):
        for source in sources:
            yield from _addends(case, source)
    else:
        yield ref


@once
def _following(case: Case, ref: Ref) -> set[int]:
    """The steps that a tensor goes into."""
    found: set[int] = set()
    for at, step in enumerate(case.steps):
        if any(source == ref or source.step in found for source in step.sources(at)):
            found.add(at)
    return found


def _call_of(case: Case, ref: Ref) -> str:
    return call_of(case, ref.step).partition("/")[0] or step_name(case, ref.step)


def _one_after_the_other(
    case: Case, total: int, parts: tuple[Ref, Ref, Ref], inner: Collection[int]
) -> Steps:
    """The steps with the second branch, whose steps are ``inner``, on the sum with the first."""
    skip, first, second = parts
    steps = [*case.steps[:total], Step(ops.Add(), (skip, first))]
    branch = _copied(case, steps, inner, skip, Ref(total))(second)
    steps.append(Step(ops.Add(), (Ref(total), branch)))
    return _continued(case, steps, total, Ref(len(steps) - 1))


def _copied(
    case: Case, steps: list[Step], inner: Collection[int], old: Ref, new: Ref
) -> Callable[[Ref], Ref]:
    """Appends some steps once more, on another tensor in place of one, and tells where what they
    give stands."""
    again: dict[int, int] = {}

    def taken(ref: Ref) -> Ref:
        if ref == old:
            return new
        return replace(ref, step=again.get(ref.step, ref.step))

    for at in sorted(inner):
        steps.append(Step(case.steps[at].op, tuple(map(taken, case.steps[at].sources(at)))))
        again[at] = len(steps) - 1
    return taken


def _continued(case: Case, steps: Sequence[Step], last: int, made: Ref) -> Steps:
    """These steps and those behind ``last``, for what that gives ``made``."""
    following = range(last + 1, len(case.steps))
    whole = list(steps)
    taken = _copied(case, whole, following, Ref(last), made)
    if not following and made.step != len(whole) - 1:
        whole.append(Step(ops.Identity(), (taken(Ref(last)),)))
    return tuple(whole)


def _sites(case: Case) -> Iterator[_Site]:
    users = users_of(case)
    norms = [at for at in range(len(case.steps)) if _normalises(case, at)]
    for total, _ in case.having(ops.Add) if norms else ():
        sources = case.steps[total].sources(total)
        if len(sources) != 2 or any(
            shape_of(case, ref) != shape_of(case, Ref(total)) for ref in sources
        ):
            continue
        for skip, branch in (sources, sources[::-1]):
            inside = _ancestors(case, branch)
            takers = frozenset(at for at in users.get(skip, ()) if at in inside)
            if not takers:
                continue
            before = [at for at in norms if at in takers]
            behind = [at for at in norms if _plain(case, branch) == Ref(at)]
            of_sum = [
                at for at in norms if _plain(case, case.steps[at].sources(at)[0]) == Ref(total)
            ]
            if len(before) == 1 == len(takers):
                norm = before[0]
                theirs = frozenset(at for at in users.get(Ref(norm), ()) if at in inside)
                yield _Site(total, skip, branch, norm, "before", theirs)
            if behind:
                yield _Site(total, skip, branch, behind[0], "behind", takers)
            if len(of_sum) == 1 == len(users[case.steps[of_sum[0]].sources(of_sum[0])[0]]):
                yield _Site(total, skip, branch, of_sum[0], "sum", takers)


@once
def _normalises(case: Case, position: int, added: float = 0.0) -> bool:
    """Whether a step is a norm, of several steps one that gives the same for twice its input, and
    that is not constant; with a number ``added``, whether that makes no difference to it either."""
    op, sources = case.steps[position].op, case.steps[position].sources(position)
    if isinstance(op, ops.LayerNormalization | ops.RMSNormalization):
        return not added or isinstance(op, ops.LayerNormalization)
    if not isinstance(op, Gathered) or len(sources) != 1:
        return False
    x, (y, *more) = sources[0].of(case.inputs, case.values), case.values[position]
    if more or x.shape != y.shape or x.dtype.kind != "f" or not y.size or not np.ptp(y):
        return False
    with np.errstate(all="ignore"):
        other = op.run(2 * x + added)[0]
        return bool(np.allclose(other, y, rtol=0.05, atol=0.01 * np.ptp(y)))


def _plain(case: Case, ref: Ref) -> Ref:
    """The tensor behind what gives it as it is, or in another shape."""
    while ref.step >= 0 and isinstance(case.steps[ref.step].op, ops.Identity | ops.Reshape):
        (ref,) = case.steps[ref.step].sources(ref.step)
    return ref


def _ancestors(case: Case, ref: Ref) -> set[int]:
    """The steps that a tensor is made by."""
    found, line = set[int](), [ref.step]
    while line:
        at = line.pop()
        if at >= 0 and at not in found:
            found.add(at)
            line += [source.step for source in case.steps[at].sources(at)]
    return found


def _placed(case: Case, sites: Sequence[_Site], new: _Place) -> Steps:
    """The steps with the norms of these sites at another place."""
    moved = {site.norm: site for site in sites}
    steps: list[Step] = []
    views: dict[Ref, Ref] = {}
    normed: dict[int, Ref] = {}

    def view(ref: Ref) -> Ref:
        if ref.step < 0:
            return ref
        return views[ref]

    def put(site: _Site, old: Ref, ref: Ref) -> Ref:
        """What the norm gives for a tensor, which ``ref`` is now, in the shape that it takes."""
        if site.norm not in normed:
            step = case.steps[site.norm]
            own, shape = shape_of(case, step.sources(site.norm)[0]), shape_of(case, old)
            around = shape != own
            for op in (*around * (ops.Reshape(own),), step.op, *around * (ops.Reshape(shape),)):
                steps.append(Step(op, (ref,)))
                ref = Ref(len(steps) - 1)
            normed[site.norm] = ref
        return normed[site.norm]

    def taken(ref: Ref, position: int) -> Ref:
        for site in sites:
            inner = Ref(site.norm) if site.place == "before" else site.skip
            if new == "before" and ref == inner and position in site.takers:
                return put(site, site.skip, view(site.skip))
            if new == "behind" and ref == site.branch and position == site.total:
                return put(site, ref, view(ref))
        return view(ref)

    for position, step in enumerate(case.steps):
        if position in moved:
            views[Ref(position)] = view(step.sources(position)[0])
            continue
        inputs = tuple(taken(ref, position) for ref in step.sources(position))
        steps.append(Step(step.op, inputs))
        for index in range(len(case.values[position])):
            views[Ref(position, index)] = Ref(len(steps) - 1, index)
        for site in sites:
            if new == "sum" and position == site.total:
                views[Ref(position)] = put(site, Ref(position), Ref(len(steps) - 1))
    last = views[Ref(len(case.steps) - 1)]
    if last != Ref(len(steps) - 1):
        steps.append(Step(ops.Outputs(), (last,)))
    return tuple(steps)
