"""The steps of two segments that are of other kinds: what only one of them has, and the tables of
positions that both have."""

from collections.abc import Iterator, Sequence

from probe import printable
from probe.model_comparison.causes.constants import own_numbers, with_its_numbers
from probe.model_comparison.causes.position_tables import (
    PositionTable,
    apart_in_words,
    position_table,
)
from probe.model_comparison.causes.weight_differences import Difference
from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.graphs.normalize import values_in
from probe.numerics.dtypes import widened
from probe.ops import Rearrangement

__all__ = ["differing_steps"]

_STEPS = 12
"""How many steps of a side are listed."""
Nodes = Sequence[GraphNode]


def differing_steps(a: Nodes, b: Nodes, alone_a: Nodes, alone_b: Nodes) -> Iterator[Difference]:
    """The steps of both sides, where some are ``alone``: without a counterpart in the other."""
    if not alone_a and not alone_b:
        return
    of_a, of_b = (
        printable.several([node.kind for node in nodes], _STEPS) or "none" for nodes in (a, b)
    )
    tables = _differing_tables(a, b)
    note = tables or _without_counterpart(alone_a, alone_b)
    yield Difference("steps", of_a, of_b, note=note, certain=bool(tables))


def _without_counterpart(alone_a: Nodes, alone_b: Nodes) -> str:
    """What one side alone computes; "" where both have steps of their own: these may well be the
    same computation in other words."""
    sides = [("A", alone_a, "B"), ("B", alone_b, "A")]
    computing = [
        (side, [node for node in nodes if _computes(node)], other) for side, nodes, other in sides
    ]
    held = [(side, nodes, other) for side, nodes, other in computing if nodes]
    if len(held) != 1:
        return ""
    side, nodes, other = held[0]
    named = [with_its_numbers(node) or node.kind for node in nodes]
    have = "has" if len(nodes) == 1 else "have"
    return f"{side}'s {printable.several(named, _STEPS)} {have} no counterpart in {other}"


def _computes(node: GraphNode) -> bool:
    """Whether a step makes new numbers of the model's input."""
    own = node.outputs and own_numbers(node.outputs[0]) is not None
    return not own and not isinstance(node.op, Rearrangement)


def _differing_tables(a: Nodes, b: Nodes) -> str:
    """What tables of positions differ in that the steps of both sides are applied to."""
    mine, theirs = (dict.fromkeys(_tables(nodes)) for nodes in (a, b))
    other = [table for table in theirs if table not in mine]
    for table in mine:
        for found in other:
            if words := apart_in_words(table, found):
                return words
    return ""


def _tables(nodes: Nodes) -> Iterator[PositionTable]:
    for node in nodes:
        for x in node.inputs:
            numbers = own_numbers(x)
            if numbers is None:
                continue
            table = position_table(widened(values_in(numbers)))
            if table is not None and table.kind != "frequencies":
                yield table._replace(twice="")
