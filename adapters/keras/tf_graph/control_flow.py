"""Operations of a graph of TensorFlow that call functions: calls, branches and loops."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.errors import Undescribed

from .node import GraphTensor

if TYPE_CHECKING:
    from .walk import GraphWalk

__all__ = ["CONTROL_FLOW", "Special"]

Special = Callable[["GraphWalk", Any, Sequence[GraphTensor], Any], Sequence[GraphTensor]]
"""Gives what an operation of a graph gives, with the walk at hand."""

_MOST = 256
"""Iterations."""


def _call(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    return walk.called(graph, operation.get_attr("f").name, inputs)


def _if(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    if bool(np.any(walk.value(inputs[0]))):
        branch = "then_branch"
    else:
        branch = "else_branch"
    return walk.called(graph, operation.get_attr(branch).name, inputs[1:])


def _case(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    branches, place = operation.get_attr("branches"), int(walk.value(inputs[0]))
    chosen = branches[place if 0 <= place < len(branches) else -1]
    return walk.called(graph, chosen.name, inputs[1:])


def _while(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    tensors = list(inputs)
    goes_on, body = (operation.get_attr(name).name for name in ("cond", "body"))
    for _ in range(_MOST + 1):
        (condition,) = walk.called(graph, goes_on, tensors)
        if not bool(np.any(walk.value(condition))):
            return tensors
        tensors = walk.called(graph, body, tensors)
    raise Undescribed(f"its loop runs more than {_MOST} iterations, too many to unroll")


CONTROL_FLOW: dict[str, Special] = {
    "Case": _case,
    "If": _if,
    "PartitionedCall": _call,
    "StatefulPartitionedCall": _call,
    "StatelessCase": _case,
    "StatelessIf": _if,
    "StatelessWhile": _while,
    "While": _while,
}
