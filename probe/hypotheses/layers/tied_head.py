"""Heads of language models and the tables of their embeddings."""

from collections.abc import Iterator

import numpy as np

from probe import ops
from probe.hypotheses.registry import hypothesis
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__ = ["tables_for_heads"]


@hypothesis("tied-head")
def tied_head(case: Case) -> Iterator[Edit]:
    """The head multiplies by the table of an embedding where it has a matrix of its own, or by the
    table of another one, such as that of the positions.

    GPT-2 and Gemma tie the head to the embedding of the tokens, most larger models do not. The
    logits have the right shape and no relation to the right ones.
    """
    for position, op in case.having(ops.MatMul):
        for name, table in _tables(case).items():
            used, own = table.effective.T, op.weight.value
            if own.shape == used.shape and not np.array_equal(own, used):
                yield case.edit(
                    f"{name} is used in place of {op.weight.name}",
                    case.changed(position, weight=Weight(op.weight.name, None, used)),
                    do="use the matrix that the model's head holds",
                )


def _tables(case: Case) -> dict[str, Weight]:
    return {op.table.name: op.table for _, op in case.having(ops.Embedding)}


def tables_for_heads(case: Case) -> set[frozenset[str]]:
    """The names of each table and each product's weight."""
    heads = [op.weight.name for _, op in case.having(ops.MatMul)]
    return {frozenset((name, head)) for name in _tables(case) for head in heads}
