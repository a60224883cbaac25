"""Norms of residual blocks that stand at another place: before a branch, behind it, or behind the
sum."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.case import Case, Edit, Gathered, Steps
from probe.hypotheses.changes import shape_of, users_of
from probe.hypotheses.primitives import taken_together
from probe.hypotheses.registry import hypothesis
from probe.hypotheses.step_words import step_name
from probe.ops.step import Ref, Step

__all__: list[str] = []

_Place = Literal["before", "behind", "sum"]
_WORDS: dict[_Place, str] = {
    "before": "to what the branch takes (pre-norm)",
    "behind": "to what the branch gives, before it is added",
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


@hypothesis("norm-placement", last=True)
def norm_placement(case: Case) -> Iterator[Edit]:
    """The norms of a residual block stand at another place: before the branch, behind it, or behind
    the sum.

    The original Transformer, BERT and OPT-350m normalise the sum (post-norm), GPT-2 and Llama what
    the branch takes (pre-norm), OLMo 2 what the branch gives; ``norm_first`` of PyTorch's
    nn.TransformerEncoderLayer decides between the first two.
    """
    for whole in dict.fromkeys((taken_together(case), case)) if len(case.steps) > 2 else ():
        sites = list(_sites(whole))
        for old in _WORDS:
            alike = [site for site in sites if site.place == old]
            some = [alike] if alike else []
            for group in some + ([[one] for one in alike] if len(alike) > 1 else []):
                for new in _WORDS:
                    if new != old:
                        names = [step_name(whole, site.norm) for site in group]
                        yield whole.edit(
                            f"{' and '.join(names)}: applied {_WORDS[new]}; the layer's: "
                            f"{_WORDS[old]}",
                            _placed(whole, group, new),
                            do=f"apply {'each' if len(group) > 1 else 'it'} {_WORDS[old]}",
                            as_healthy=True,
                        )


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


def _normalises(case: Case, position: int) -> bool:
    """Whether a step gives the same for twice its input, which is not constant."""
    op, sources = case.steps[position].op, case.steps[position].sources(position)
    if isinstance(op, ops.LayerNormalization | ops.RMSNormalization):
        return True
    if not isinstance(op, Gathered) or len(sources) != 1:
        return False
    x, (y, *more) = sources[0].of(case.inputs, case.values), case.values[position]
    if more or x.shape != y.shape or x.dtype.kind != "f" or not y.size or not np.ptp(y):
        return False
    with np.errstate(all="ignore"):
        return bool(np.allclose(op.run(2 * x)[0], y, rtol=0.05, atol=0.01 * np.ptp(y)))


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
            line += [one.step for one in case.steps[at].sources(at)]
    return found


def _placed(case: Case, sites: Sequence[_Site], new: _Place) -> Steps:
    """The steps with the norms of these sites at another place."""
    moved = {site.norm: site for site in sites}
    made: list[Step] = []
    views: dict[Ref, Ref] = {}
    normed: dict[int, Ref] = {}

    def view(ref: Ref) -> Ref:
        return ref if ref.step < 0 else views[ref]

    def put(site: _Site, old: Ref, ref: Ref) -> Ref:
        """What the norm gives for a tensor, which ``ref`` is now, in the shape that it takes."""
        if site.norm not in normed:
            step = case.steps[site.norm]
            own, shape = shape_of(case, step.sources(site.norm)[0]), shape_of(case, old)
            around = shape != own
            for op in (*around * (ops.Reshape(own),), step.op, *around * (ops.Reshape(shape),)):
                made.append(Step(op, (ref,)))
                ref = Ref(len(made) - 1)
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
        made.append(Step(step.op, inputs))
        for index in range(len(case.values[position])):
            views[Ref(position, index)] = Ref(len(made) - 1, index)
        for site in sites:
            if new == "sum" and position == site.total:
                views[Ref(position)] = put(site, Ref(position), Ref(len(made) - 1))
    last = views[Ref(len(case.steps) - 1)]
    if last != Ref(len(made) - 1):
        made.append(Step(ops.Outputs(), (last,)))
    return tuple(made)
