"""Mistakes with the router of a mixture of experts."""

from collections.abc import Iterator

from probe import ops
from probe.hypotheses.edits.rewriting import Rewiring, made_by, rewired, source_of, steps_taking
from probe.hypotheses.registry import hypothesis
from probe.ops.step import Ref
from probe.trial.case import Case, users_of
from probe.trial.edit import Edit

__all__: list[str] = []


@hypothesis("topk-normalisation")
def topk_normalisation(case: Case) -> Iterator[Edit]:
    """The weights of the chosen experts are not divided by their sum, or are divided although the
    layer does not.

    The experts are right; their weighted sum is scaled by one factor per token.
    """
    for position, _ in case.having(ops.Div):
        sources = case.steps[position].sources(position)
        if made_by(case, sources[1], ops.ReduceSum) and source_of(case, sources[1]) == sources[0]:
            yield case.edit(
                "the weights of the chosen experts are not divided by their sum",
                steps_taking(case, Ref(position), sources[0]),
                do="divide them by their sum",
            )
    for position, op in case.having(ops.TopK):
        chosen = Ref(position)
        users = users_of(case).get(chosen, ())
        if made_by(case, source_of(case, chosen), ops.Softmax) and not any(
            isinstance(case.steps[at].op, ops.ReduceSum) for at in users
        ):
            norm = ops.LpNormalization((op.axis,), 0.0, p=1.0)
            steps = rewired(case, [Rewiring(chosen, (norm,))])
            yield case.edit(
                "the weights of the chosen experts are divided by their sum, as of a softmax over "
                "these alone",
                steps,
                also=("router-order",),
                do="take the softmax over all experts, and do not divide again",
            )


@hypothesis("router-order")
def router_order(case: Case) -> Iterator[Edit]:
    """The softmax of a router is computed before the top k experts are chosen instead of after it,
    or not at all.

    Computed over all experts, the weights of the chosen ones sum to less than 1. If they are then
    divided by their sum, both orders give the same values.
    """
    for position, op in case.having(ops.Softmax):
        source = source_of(case, Ref(position))
        if not made_by(case, source, ops.TopK):
            continue
        logits = source_of(case, source)
        top = case.steps[source.step].op
        yield case.edit(
            "the softmax is taken over all experts, before the top are chosen",
            rewired(case, [Rewiring(Ref(position), (op, top), source=logits)]),
            do="take the softmax of the chosen scores alone",
        )
    for position, _ in case.having(ops.Softmax):
        behind = users_of(case).get(Ref(position), ())
        if behind and all(isinstance(case.steps[at].op, ops.TopK) for at in behind):
            yield case.edit(
                "the scores of the router are used as they are, without a softmax",
                steps_taking(case, Ref(position), source_of(case, Ref(position))),
                do="take the softmax of the scores",
            )
