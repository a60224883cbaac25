"""Arrays of the last tokens alone: llama.cpp goes on in its last block with those whose logits were
asked for."""

from collections.abc import Mapping

import numpy as np

from probe import printable
from probe.model_comparison.dumps.called import own_tensor
from probe.model_comparison.graphs.graph import Tensor

__all__ = ["with_all_tokens"]


def with_all_tokens(
    arrays: Mapping[str, np.ndarray], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays; those of the last tokens alone with the model's own values of the others, which
    are then not compared."""
    found, few = dict(arrays), list[str]()
    for name, array in arrays.items():
        own = own_tensor(name, tensors)
        rows = None if own is None else _rows(array, own.value)
        if own is None or rows is None:
            continue
        whole = own.value.copy()
        whole[..., -len(rows) :, :] = rows
        found[name] = whole
        few.append(f"{printable.name(name)} ({len(rows)} of {whole.shape[-2]})")
    if not few:
        return found, []
    return found, [
        "arrays of fewer tokens than the model's are compared with the last ones: "
        f"{printable.several(few, 4)}"
    ]


def _rows(array: np.ndarray, own: np.ndarray) -> np.ndarray | None:
    """The tokens that an array holds, where these are fewer than the model's; None else."""
    if not array.size or not array.ndim or own.ndim < 2 or own.dtype.kind != "f":
        return None
    if own.size != own.shape[-2] * own.shape[-1]:
        return None
    count, width = own.shape[-2:]
    for rows in (array.reshape(-1, array.shape[-1]), array.reshape(array.shape[0], -1).T):
        if rows.shape[1] == width and len(rows) < count:
            return rows
    return None
