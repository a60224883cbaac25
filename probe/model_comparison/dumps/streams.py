"""Two residual streams: layers of vLLM and sglang give (hidden_states, residual), and the layer
behind adds them as it normalises."""

import re
from collections.abc import Mapping

import numpy as np

from probe import printable
from probe.model_comparison.graphs.graph import Tensor
from probe.model_comparison.matching.own_values import apart

__all__ = ["streams_added"]

_FIRST = re.compile(r"(.+?)[-_.]?(?<!\d)0")
"""What the first of several outputs of a layer is called by."""


def streams_added(
    arrays: Mapping[str, np.ndarray], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays with one for each layer of the model that another engine has given two outputs:
    their sum, or the first alone, whichever is nearer to the model's."""
    found, summed = dict(arrays), list[str]()
    for name, hidden in arrays.items():
        first = _FIRST.fullmatch(name)
        if first is None or first[1] not in tensors or first[1] in arrays:
            continue
        inside = (f"{name}.", f"{name}/")
        if any(other == name or other.startswith(inside) for other in tensors):
            continue  # it is a layer or a block, and not one of several outputs
        second = name[:-1] + "1"
        own, residual = tensors[first[1]].value, arrays.get(second)
        if residual is None or residual.shape != hidden.shape or own.size != hidden.size:
            continue
        total = hidden + residual
        del found[name]
        if apart(total, own) < apart(hidden, own):
            del found[second]
            found[first[1]] = total
            summed.append(first[1])
        else:
            found[first[1]] = hidden
    if not summed:
        return found, []
    return found, [
        "the two outputs of a layer, (hidden_states, residual) as in vLLM and sglang, were added: "
        f"{printable.several(map(printable.name, summed), 4)}"
    ]
