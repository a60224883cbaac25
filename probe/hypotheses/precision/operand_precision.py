"""Products whose operands hardware rounds, in layers that have several: attention, separable
convolutions."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from probe import ops
from probe.description.builder import Builder
from probe.hypotheses.precision.low_precision import SWITCHES, WAYS, StoredAs, narrow_weights
from probe.hypotheses.registry import more
from probe.ops.base import Sum
from probe.ops.step import Ref
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps

__all__: list[str] = []

_ORDERS = {
    "queries": "",
    "scores": ", scores scaled and not queries",
    "fused": ", weights divided by their sum last",
}
"""What an attention scales, or that it is one kernel, which scales the scores and divides last; and
how that is told."""


@more("reduced-precision")
def products_of_narrow_operands(case: Case) -> Iterator[Edit]:
    """Layers of several products that round what each of them multiplies, and keep float32 between
    them: as hardware computes them."""
    attentions = [op for _, op in case.having(ops.Attention)]
    if not case.comparable or not (attentions or len(list(case.having(Sum))) > 1):
        return
    with np.errstate(invalid="ignore"):
        far = not np.abs(case.seen - case.pick(case.healthy)).max() < np.abs(case.healthy).max() / 8
    if far:  # which rounding operands does not do, and trying takes long
        return
    inside = attentions and all(type(op) is ops.Attention and op.groups == 1 for op in attentions)
    grouped = [position for position, op in case.having(ops.Conv) if op.groups > 1]
    for name, ways in WAYS.items():
        do = f"compute in float32: {name} was used" + SWITCHES.get(name, "")
        # which no hardware takes for float32 by itself
        for way in ways if case.thorough else ways[: name != "float16"]:
            claim = f"the operands of every product are rounded to {name}"
            claim += "" if way == ways[0] else f" ({way})"
            for order, told in _ORDERS.items() if inside else ():
                # rounding commutes with powers of two
                if order != "scores" or any(math.frexp(op.scale)[0] != 0.5 for op in attentions):
                    yield case.edit(claim + told, _narrow_operands(case, name, way, order), do=do)
            but = " except those of the attention" if attentions else ""
            yield case.edit(claim + but, _narrow_operands(case, name, way, ""), do=do)
            if grouped:
                yield case.edit(
                    f"{claim} except those of grouped convolutions",
                    _narrow_operands(case, name, way, "", grouped),
                    do=do,
                )


def _narrow_operands(
    case: Case, name: str, way: str, order: str, spared: Collection[int] = ()
) -> Steps:
    """The steps with a rounding before every product but the ``spared``; before those of an
    attention where its ``order`` is given."""
    build, places = Builder(), list[tuple[Ref, ...]]()

    def narrow(ref: Ref) -> Ref:
        return build.add(StoredAs(name, way), ref)

    for position, step in enumerate(narrow_weights(case, name, way)[0]):
        step = case.steps[position] if position in spared else step
        sources = [
            ref if ref.step < 0 else places[ref.step][ref.index] for ref in step.sources(position)
        ]
        if isinstance(step.op, ops.Attention) and order:
            places.append(_narrow_attention(step.op, sources, order, build, narrow))
            continue
        weighted = getattr(step.op, "weight", None) is not None
        if position in spared or not isinstance(step.op, Sum):
            count = 0
        elif weighted:
            count = 1
        else:
            count = len(sources)
        made = build.add(step.op, *map(narrow, sources[:count]), *sources[count:])
        places.append(
            tuple(replace(made, index=index) for index in range(len(case.values[position])))
        )
    return build.ended()


def _narrow_attention(
    op: ops.Attention,
    sources: Sequence[Ref],
    order: str,
    build: Builder,
    narrow: Callable[[Ref], Ref],
) -> tuple[Ref, Ref]:
    """An attention as steps for its weights and then its mean of values; the outputs are that and
    the weights as it gives them."""
    q, k, v, *masks = sources
    if order == "queries":
        q = build.add(ops.MulConstant(Weight("scale", None, np.asarray(op.scale))), q)
    weighing = replace(op, weights="each", scale=1.0 if order == "queries" else op.scale)
    share = replace(build.add(weighing, narrow(q), narrow(k), v, *masks), index=1)
    if op.weights == "mean":
        told = build.add(ops.GlobalAveragePool(axes=(-3,), keepdims=False), share)
    else:
        told = share
    if order != "fused":
        return build.add(ops.Product(), narrow(share), narrow(v)), told
    largest = build.add(ops.GlobalMaxPool(axes=(-1,)), share)
    exponentials = build.add(ops.Div(), share, largest)  # of which the largest is 1
    return build.add(
        ops.Mul(), build.add(ops.Product(), narrow(exponentials), narrow(v)), largest
    ), told
